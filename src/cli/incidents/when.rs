//! A moment as people type it.

use std::str::FromStr;
use std::time::Duration;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;

use crate::time::{Wall, parse_duration};

/// A moment, or how long ago it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// So long ago.
    Ago(Duration),
    /// Then.
    At(Wall),
    /// The midnight, in UTC, that began the day so many days ago.
    Day(i64),
    /// The latest moment at which clocks in UTC showed this.
    Clock(Time),
}

impl When {
    /// The moment, seen from `now`.
    pub(super) fn at(self, now: Wall) -> Wall {
        match self {
            Self::Ago(ago) => Wall(now.0.saturating_sub(i64::try_from(ago.as_micros()).unwrap_or(i64::MAX))),
            Self::At(wall) => wall,
            Self::Day(ago) => Wall(midnight(now) - ago * DAY),
            Self::Clock(time) => {
                let seconds =
                    i64::from(time.hour()) * 3600 + i64::from(time.minute()) * 60 + i64::from(time.second());
                let today = midnight(now) + seconds * 1_000_000;
                Wall(if today <= now.0 { today } else { today - DAY })
            }
        }
    }
}

const EXPECTED: &str = "how long ago (90s, 12h, 7d) or a time in UTC (yesterday, 22:00, 2026-01-02, 2026-01-02T03:04) is expected";

/// Microseconds in a day: UTC as computers keep it has no others.
const DAY: i64 = 86_400_000_000;

const fn midnight(now: Wall) -> i64 {
    now.0 - now.0.rem_euclid(DAY)
}

impl FromStr for When {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(ago) = parse_duration(text) {
            return Ok(Self::Ago(ago));
        }
        match text {
            "today" => return Ok(Self::Day(0)),
            "yesterday" => return Ok(Self::Day(1)),
            // A duration has no colon; a time has one before anything else that could be a date's.
            _ if text.find(':').is_some_and(|at| at <= 2) => {
                return text.parse().map(Self::Clock).map_err(|_| EXPECTED);
            }
            _ => {}
        }
        let utc = |at: DateTime| at.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
        let timestamp = text
            .parse()
            .ok()
            .or_else(|| text.parse().ok().and_then(utc))
            .or_else(|| utc(text.parse::<Date>().ok()?.to_datetime(jiff::civil::Time::midnight())));
        timestamp.map(|timestamp: jiff::Timestamp| Self::At(Wall(timestamp.as_microsecond()))).ok_or(EXPECTED)
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
            ("today", "2026-01-02T00:00:00.000000Z"),
            ("yesterday", "2026-01-01T00:00:00.000000Z"),
            ("03:04", "2026-01-02T03:04:00.000000Z"),
            ("22:00", "2026-01-01T22:00:00.000000Z"),
            ("2026-01-02", "2026-01-02T00:00:00.000000Z"),
            ("2026-01-02T03:04", "2026-01-02T03:04:00.000000Z"),
            ("2026-01-02 03:04:05", "2026-01-02T03:04:05.000000Z"),
            ("2026-01-02T03:04:05.000006Z", "2026-01-02T03:04:05.000006Z"),
            ("2026-01-02T03:04:05+09:00", "2026-01-01T18:04:05.000000Z"),
        ] {
            assert_eq!(text.parse::<When>().unwrap().at(now).to_string(), expected, "{text}");
        }
        for text in ["", "tomorrow", "7", "2026-13-01", "-7d", "25:00", ":", "7:00 "] {
            assert!(text.parse::<When>().is_err(), "{text}");
        }
    }
}
