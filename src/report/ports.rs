//! Ports as runs of consecutive ones: `22-25,80` for programs, `22, 23, 80-82 …` for people.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Ascending runs of ports, written as `22-25,80` (also in JSON); empty for none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortRanges(pub Vec<RangeInclusive<u16>>);

/// What is not a list of ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("ports are expected, for example 22-25,80")]
pub struct ParsePortsError;

impl PortRanges {
    /// For people: two neighbours stay apart, and ` …` stands where there are more than are shown: more than `most`
    /// entries, or `distinct` ports beyond those listed.
    #[must_use]
    pub fn describe(&self, distinct: u64, most: usize) -> String {
        self.describe_with(distinct, most, |_| None)
    }

    /// The same with the names that single ports have, as in `22 ssh`.
    #[must_use]
    pub fn describe_with<'a>(
        &self,
        distinct: u64,
        most: usize,
        name: impl Fn(u16) -> Option<&'a str>,
    ) -> String {
        let single = |port: u16| name(port).map_or_else(|| port.to_string(), |name| format!("{port} {name}"));
        let mut entries = Vec::new();
        let mut listed = 0_u64;
        for run in &self.0 {
            let (first, last) = (*run.start(), *run.end());
            listed += u64::from(last.saturating_sub(first)) + 1;
            match last.saturating_sub(first) {
                0 => entries.push(single(first)),
                1 => entries.extend([single(first), single(last)]),
                _ => entries.push(format!("{first}-{last}")),
            }
        }
        let more = entries.len() > most || distinct > listed;
        entries.truncate(most);
        let mut list = entries.join(", ");
        if more {
            list.push_str(" …");
        }
        list
    }
}

impl fmt::Display for PortRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, run) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            match (run.start(), run.end()) {
                (first, last) if first == last => write!(f, "{comma}{first}")?,
                (first, last) => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

impl FromStr for PortRanges {
    type Err = ParsePortsError;

    fn from_str(text: &str) -> Result<Self, ParsePortsError> {
        let port = |digits: &str| digits.parse::<u16>().map_err(|_| ParsePortsError);
        let run = |entry: &str| {
            let (first, last) = entry.split_once('-').unwrap_or((entry, entry));
            Ok(port(first)?..=port(last)?)
        };
        text.split(',').filter(|entry| !entry.is_empty()).map(run).collect::<Result<_, _>>().map(Self)
    }
}

impl Serialize for PortRanges {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PortRanges {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_written_with_a_dash_and_read_back() {
        for text in ["", "22", "22-25,80", "0,65534-65535", "1-65535"] {
            assert_eq!(text.parse::<PortRanges>().unwrap().to_string(), text);
        }
        for text in ["http", "22-", "-", "1-65536", "1-2-3"] {
            assert_eq!(text.parse::<PortRanges>(), Err(ParsePortsError), "{text:?}");
        }
    }

    #[test]
    fn people_see_runs_of_three_as_ranges_and_where_the_list_was_cut() {
        let describe =
            |text: &str, distinct, most| text.parse::<PortRanges>().unwrap().describe(distinct, most);
        assert_eq!(describe("", 0, 4), "");
        assert_eq!(describe("1-2,4,65534-65535", 5, 9), "1, 2, 4, 65534, 65535");
        assert_eq!(describe("65533-65535", 3, 9), "65533-65535");
        assert_eq!(describe("1,3,5,7", 4, 2), "1, 3 …");
        assert_eq!(describe("1,3", 70, 9), "1, 3 …");
    }
}
