//! The two times an event carries, and durations as people write and read them.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// When an event happened, as the capture shell stamped it. The core reads no clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Time since boot, suspended time included (`CLOCK_BOOTTIME`): all windows and timeouts run on it.
    pub boot: Duration,
    /// Wall-clock time in microseconds since 1970-01-01T00:00:00Z: only ever shown.
    pub wall_us: i64,
}

impl Stamp {
    /// The moment `duration` later.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let us = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self { boot: self.boot.saturating_add(duration), wall_us: self.wall_us.saturating_add(us) }
    }
}

/// A wall-clock time in microseconds since 1970-01-01T00:00:00Z, shown and exchanged as RFC 3339 in UTC with
/// microseconds (`2026-01-02T03:04:05.000006Z`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wall(pub i64);

impl Wall {
    /// A capture file can claim any time; what no calendar has (beyond the year 9999) is shown as its last moment.
    #[must_use]
    pub fn timestamp(self) -> jiff::Timestamp {
        let end = if self.0 < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
        jiff::Timestamp::from_microsecond(self.0).unwrap_or(end)
    }
}

impl From<Stamp> for Wall {
    fn from(stamp: Stamp) -> Self {
        Self(stamp.wall_us)
    }
}

impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.6}", self.timestamp())
    }
}

impl Serialize for Wall {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Wall {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let timestamp: jiff::Timestamp =
            String::deserialize(deserializer)?.parse().map_err(de::Error::custom)?;
        Ok(Self(timestamp.as_microsecond()))
    }
}

/// The units of a duration, longest first, in seconds.
const UNITS: [(char, u64); 5] = [('w', 604_800), ('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

/// What is wrong with a duration somebody wrote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseDurationError {
    /// Nothing there.
    #[error("a duration is missing; write for example 90s, 10m, 1h, 7d or 2w")]
    Empty,
    /// Something else than a digit where a number must stand.
    #[error("a number is expected before {0:?}; write for example 90s, 10m, 1h, 7d or 2w")]
    NoNumber(char),
    /// A number followed by none of the units.
    #[error("{0} needs a unit: s, m, h, d or w")]
    NoUnit(u64),
    /// A unit there is not.
    #[error("{0:?} is no unit of time; the units are s, m, h, d and w")]
    UnknownUnit(char),
    /// Units out of order, or one of them twice.
    #[error("units go from long to short, each once, as in 1h30m")]
    Order,
    /// More seconds than can be counted.
    #[error("the duration is too long")]
    TooLong,
}

/// Reads a duration in whole seconds: `90s`, `10m`, `1h`, `7d`, `2w`, or several units from long to short, `1h30m` or
/// `3h 5m`. Zero (`0s`) is a duration; whoever cannot use it says so.
///
/// # Errors
/// A [`ParseDurationError`] that tells a person what to write instead.
pub fn parse_duration(text: &str) -> Result<Duration, ParseDurationError> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(ParseDurationError::Empty);
    }
    let mut seconds: u64 = 0;
    let mut shorter_than = u64::MAX;
    while let Some(first) = rest.chars().next() {
        let after_number = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        let digits = rest.strip_suffix(after_number).unwrap_or(rest);
        if digits.is_empty() {
            return Err(ParseDurationError::NoNumber(first));
        }
        let number: u64 = digits.parse().map_err(|_| ParseDurationError::TooLong)?;
        let unit = after_number.chars().next().ok_or(ParseDurationError::NoUnit(number))?;
        let length = UNITS
            .iter()
            .find_map(|&(name, length)| (name == unit).then_some(length))
            .ok_or(ParseDurationError::UnknownUnit(unit))?;
        if length >= shorter_than {
            return Err(ParseDurationError::Order);
        }
        shorter_than = length;
        seconds = number
            .checked_mul(length)
            .and_then(|part| seconds.checked_add(part))
            .ok_or(ParseDurationError::TooLong)?;
        rest = after_number.get(unit.len_utf8()..).unwrap_or_default().trim_start();
    }
    Ok(Duration::from_secs(seconds))
}

/// Writes a duration for people: its two longest units, cut off and not rounded (`9m 41s`, `3h 5m`, `2d 4h`, `1h`).
///
/// Days are the longest unit, because "7d" is how the configuration speaks of a week. What is shorter than a second is `0s`.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let total = duration.as_secs();
    let mut units = UNITS.iter().filter(|&&(name, _)| name != 'w').peekable();
    while units.next_if(|&&(name, length)| name != 's' && total < length).is_some() {}
    let mut rest = total;
    let mut parts = Vec::with_capacity(2);
    for &(name, length) in units.take(2) {
        let count = rest / length;
        rest %= length;
        if count > 0 || parts.is_empty() {
            parts.push(format!("{count}{name}"));
        }
    }
    parts.join(" ")
}

/// Whole seconds, rounded up: what is left of a timeout is never shown as nothing before it is over.
#[must_use]
pub fn seconds_rounded_up(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_time_is_rfc_3339_in_utc_with_microseconds_both_ways() {
        let wall = Wall(1_767_323_045_000_006);
        assert_eq!(wall.to_string(), "2026-01-02T03:04:05.000006Z");
        assert_eq!(serde_json::from_str::<Wall>("\"2026-01-02T03:04:05.000006Z\"").unwrap(), wall);
        assert_eq!(Wall(0).to_string(), "1970-01-01T00:00:00.000000Z");
        assert_eq!(Wall(i64::MAX).to_string(), "9999-12-30T22:00:00.999999Z");
    }

    fn seconds(text: &str) -> Result<u64, ParseDurationError> {
        parse_duration(text).map(|duration| duration.as_secs())
    }

    #[test]
    fn durations_are_read_in_every_unit_and_in_several() {
        for (text, expected) in [
            ("90s", 90),
            ("10m", 600),
            ("1h", 3_600),
            ("1d", 86_400),
            ("7d", 604_800),
            ("2w", 1_209_600),
            ("1h30m", 5_400),
            (" 3h 5m ", 11_100),
            ("0s", 0),
        ] {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_wrong_duration_says_what_is_wrong_with_it() {
        use ParseDurationError::*;
        for (text, expected) in [
            ("", Empty),
            ("  ", Empty),
            ("10", NoUnit(10)),
            ("m", NoNumber('m')),
            ("-1m", NoNumber('-')),
            ("1.5h", UnknownUnit('.')),
            ("1y", UnknownUnit('y')),
            ("5 m", UnknownUnit(' ')),
            ("1m1h", Order),
            ("1m1m", Order),
            ("1hé", NoNumber('é')),
            ("99999999999999999999s", TooLong),
            ("99999999999999999w", TooLong),
        ] {
            assert_eq!(seconds(text), Err(expected), "{text:?}");
        }
    }

    #[test]
    fn durations_for_people_show_their_two_longest_units() {
        for (seconds, expected) in [
            (0, "0s"),
            (41, "41s"),
            (60, "1m"),
            (581, "9m 41s"),
            (3_600, "1h"),
            (3_605, "1h"),
            (11_100, "3h 5m"),
            (187_200, "2d 4h"),
            (604_800, "7d"),
        ] {
            assert_eq!(format_duration(Duration::from_secs(seconds)), expected);
        }
        assert_eq!(format_duration(Duration::from_millis(999)), "0s");
    }

    #[test]
    fn what_is_left_of_a_second_counts_as_a_whole_one() {
        assert_eq!(seconds_rounded_up(Duration::from_millis(1)), 1);
        assert_eq!(seconds_rounded_up(Duration::from_secs(600)), 600);
        assert_eq!(seconds_rounded_up(Duration::MAX), u64::MAX);
    }
}
