//! A moment as people type it.

use std::str::FromStr;
use std::time::Duration;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use crate::time::{Wall, parse_duration};

/// A moment, or how long ago it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// So long ago.
    Ago(Duration),
    /// Then.
    At(Wall),
}

impl When {
    /// The moment, seen from `now`.
    pub(super) fn at(self, now: Wall) -> Wall {
        match self {
            Self::Ago(ago) => Wall(now.0.saturating_sub(i64::try_from(ago.as_micros()).unwrap_or(i64::MAX))),
            Self::At(wall) => wall,
        }
    }
}

impl FromStr for When {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(ago) = parse_duration(text) {
            return Ok(Self::Ago(ago));
        }
        let utc = |at: DateTime| at.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
        let timestamp = text
            .parse()
            .ok()
            .or_else(|| text.parse().ok().and_then(utc))
            .or_else(|| utc(text.parse::<Date>().ok()?.to_datetime(jiff::civil::Time::midnight())));
        timestamp
            .map(|timestamp: jiff::Timestamp| Self::At(Wall(timestamp.as_microsecond())))
            .ok_or("how long ago (90s, 12h, 7d) or a time in UTC (2026-01-02, 2026-01-02T03:04) is expected")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_duration_ago_or_a_time_in_utc() {
        let now = Wall(1_767_323_045_000_000);
        for (text, expected) in [
            ("7d", "2025-12-26T03:04:05.000000Z"),
            ("1h30m", "2026-01-02T01:34:05.000000Z"),
            ("2026-01-02", "2026-01-02T00:00:00.000000Z"),
            ("2026-01-02T03:04", "2026-01-02T03:04:00.000000Z"),
            ("2026-01-02 03:04:05", "2026-01-02T03:04:05.000000Z"),
            ("2026-01-02T03:04:05.000006Z", "2026-01-02T03:04:05.000006Z"),
            ("2026-01-02T03:04:05+09:00", "2026-01-01T18:04:05.000000Z"),
        ] {
            assert_eq!(text.parse::<When>().unwrap().at(now).to_string(), expected, "{text}");
        }
        for text in ["", "yesterday", "7", "2026-13-01", "-7d"] {
            assert!(text.parse::<When>().is_err(), "{text}");
        }
    }
}
