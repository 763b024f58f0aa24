//! How often something happens: `3.2` for people, a number with three decimals for programs.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// So many thousandths a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct PerSecond(pub u64);

impl PerSecond {
    /// So many within a time; none within no time.
    #[must_use]
    pub fn of(many: u64, within: Duration) -> Self {
        let rate =
            u128::from(many).saturating_mul(1_000_000_000).checked_div(within.as_micros()).unwrap_or(0);
        Self(u64::try_from(rate).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for PerSecond {
    /// Three figures are enough to compare; whoever wants more counts the packets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.saturating_add(50) / 100, self.0.saturating_add(500) / 1000) {
            (0, _) if self.0 > 0 => f.write_str("<0.1"),
            (0, _) => f.write_str("0"),
            (tenths @ 1..100, _) => write!(f, "{}.{}", tenths / 10, tenths % 10),
            (_, whole) => write!(f, "{whole}"),
        }
    }
}

impl Serialize for PerSecond {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // The number nearest to the decimals, which a division would miss at times.
        let decimals = format!("{}.{:03}", self.0 / 1000, self.0 % 1000);
        serializer.serialize_f64(decimals.parse().map_err(serde::ser::Error::custom)?)
    }
}

impl<'de> Deserialize<'de> for PerSecond {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let decimals = format!("{:.3}", f64::deserialize(deserializer)?);
        let (whole, thousandths) = decimals.split_once('.').unwrap_or((&decimals, "0"));
        let number = |digits: &str| digits.parse::<u64>().map_err(|_| de::Error::custom("no rate"));
        Ok(Self(number(whole)?.saturating_mul(1000).saturating_add(number(thousandths)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_has_three_figures_at_most_and_never_hides_that_there_is_something() {
        for (many, seconds, shown) in [
            (0, 60, "0"),
            (1, 60, "<0.1"),
            (3, 60, "0.1"),
            (192, 60, "3.2"),
            (597, 60, "10"),
            (60_030, 60, "1001"),
            (7, 0, "0"),
        ] {
            assert_eq!(PerSecond::of(many, Duration::from_secs(seconds)).to_string(), shown, "{many}");
        }
    }

    #[test]
    fn a_rate_reads_back_from_json() {
        for (rate, text) in [(0, "0.0"), (1, "0.001"), (3_250, "3.25"), (1_234_567_891, "1234567.891")] {
            assert_eq!(serde_json::to_string(&PerSecond(rate)).unwrap(), text);
            assert_eq!(serde_json::from_str::<PerSecond>(text).unwrap(), PerSecond(rate));
        }
        assert_eq!(serde_json::from_str::<PerSecond>("3").unwrap(), PerSecond(3000));
        for text in ["-1", "1e300", "\"3\""] {
            assert!(serde_json::from_str::<PerSecond>(text).is_err(), "{text}");
        }
    }
}
