//! How much is told of the same thing: a scan in full, a flood in one line a second.
//!
//! Each key may have a burst of lines at once. What comes beyond is withheld and counted, and from then on the key has
//! one line a second, which says how much was withheld, until a second passes in which nothing was. The first of these
//! lines waits until the burst is paid for, so that in the long run there is no more than a line a second.

use std::collections::HashMap;
use std::time::Duration;

use ipnet::IpNet;

/// What lines are counted together. All of them are known beforehand: rules and places in the code.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// What a rule leads to.
    Rule(String),
    /// Alarms.
    Alarms,
    /// A place in the code that logs, by the address of its metadata.
    Place(usize),
}

impl Key {
    /// How many lines are told at once.
    fn burst(&self) -> u32 {
        match self {
            // Somebody asks for each of them.
            Self::Rule(rule) if rule == crate::decide::MANUAL => 256,
            // An incident and its ban, of two sources.
            Self::Rule(_) => 4,
            // Each is raised once for its kind.
            Self::Alarms => 16,
            // One for each capture at the start, or for each warning of a configuration.
            Self::Place(_) => 64,
        }
    }
}

/// What was withheld.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Withheld {
    /// How many lines, by what they tell of.
    pub(super) counts: [u64; Kind::ALL.len()],
    /// Whom the latest was about.
    pub(super) latest: Option<IpNet>,
    /// The latest, where it is words alone.
    pub(super) words: Option<(tracing::Level, String)>,
}

impl Withheld {
    pub(super) fn count(&mut self, kind: Kind, about: Option<IpNet>) {
        if let Some(count) = self.counts.get_mut(kind as usize) {
            *count += 1;
        }
        self.latest = about.or(self.latest);
    }

    /// How many lines in all.
    pub(super) fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// What a line tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Incident,
    Update,
    End,
    Ban,
    BanEnd,
    Other,
}

impl Kind {
    pub(super) const ALL: [Self; 6] =
        [Self::Incident, Self::Update, Self::End, Self::Ban, Self::BanEnd, Self::Other];
}

/// A line each second, once a burst is used up.
const EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct Bucket {
    /// When all lines so far would have been told at one a second.
    paid: Duration,
    /// Something was withheld: from now on one line a second.
    flooded: bool,
    withheld: Withheld,
}

/// How much was told of each key.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    buckets: HashMap<Key, Bucket>,
}

impl Throttle {
    /// Where the line may be told, true. Else what was withheld so far, to be counted there.
    pub(super) fn admit(&mut self, key: Key, now: Duration) -> Result<(), &mut Withheld> {
        let ahead = EVERY * (key.burst() - 1);
        let bucket = self.buckets.entry(key).or_default();
        if !bucket.flooded && bucket.paid.saturating_sub(now) <= ahead {
            bucket.paid = bucket.paid.max(now) + EVERY;
            return Ok(());
        }
        if !bucket.flooded {
            bucket.flooded = true;
            bucket.paid = bucket.paid.max(now + EVERY);
        }
        Err(&mut bucket.withheld)
    }

    /// When something withheld is to be told, if anything is.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.buckets.values().filter(|bucket| bucket.flooded).map(|bucket| bucket.paid).min()
    }

    /// What was withheld and is to be told now.
    pub(super) fn take_due(&mut self, now: Duration) -> Option<(Key, Withheld)> {
        for (key, bucket) in &mut self.buckets {
            if !bucket.flooded || bucket.paid > now {
                continue;
            }
            if bucket.withheld.total() == 0 {
                bucket.flooded = false;
                continue;
            }
            bucket.paid = now + EVERY;
            return Some((key.clone(), std::mem::take(&mut bucket.withheld)));
        }
        None
    }

    /// Everything that was withheld: the end has come.
    pub(super) fn take_all(&mut self) -> Vec<(Key, Withheld)> {
        let withheld = self.buckets.drain().map(|(key, bucket)| (key, bucket.withheld));
        withheld.filter(|(_, withheld)| withheld.total() > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    fn scan() -> Key {
        Key::Rule("tcp-syn-scan".into())
    }

    /// Offers a line every millisecond for so long; when each was told, and how many lines those have taken in.
    fn flood(throttle: &mut Throttle, from: Duration, milliseconds: u32) -> (Vec<Duration>, u64) {
        let (mut told, mut counted) = (Vec::new(), 0);
        for at in 0..milliseconds {
            let now = from + MILLISECOND * at;
            while let Some((key, withheld)) = throttle.take_due(now) {
                assert_eq!(key, scan());
                counted += withheld.total();
                told.push(now);
            }
            match throttle.admit(scan(), now) {
                Ok(()) => {
                    told.push(now);
                    counted += 1;
                }
                Err(withheld) => withheld.count(Kind::Incident, None),
            }
        }
        (told, counted)
    }

    #[test]
    fn a_scan_is_told_line_by_line() {
        let mut throttle = Throttle::default();
        for _ in 0..4 {
            assert_eq!(throttle.admit(scan(), Duration::ZERO), Ok(()));
        }
        assert_eq!(throttle.next_due(), None);
        assert!(throttle.admit(scan(), Duration::ZERO).is_err());
        assert_eq!(throttle.admit(Key::Rule("udp-scan".into()), Duration::ZERO), Ok(()), "another rule");
    }

    #[test]
    fn a_flood_has_no_more_than_a_line_a_second_and_every_line_is_counted() {
        let mut throttle = Throttle::default();
        let (told, counted) = flood(&mut throttle, Duration::from_secs(1000), 60_000);
        assert!(told.len() <= 61, "{}", told.len());
        // But for the burst no two lines are less than a second apart.
        assert!(told[3..].array_windows().all(|[one, next]| *next - *one >= EVERY), "{told:?}");
        let rest: u64 = throttle.take_all().iter().map(|(_, withheld)| withheld.total()).sum();
        assert_eq!(counted + rest, 60_000);
    }

    #[test]
    fn after_a_quiet_second_lines_are_told_again() {
        let mut throttle = Throttle::default();
        flood(&mut throttle, Duration::ZERO, 5_000);
        let due = throttle.next_due().unwrap();
        assert!(throttle.take_due(due).is_some(), "what the flood's end left");
        let quiet = throttle.next_due().unwrap();
        assert_eq!(quiet, due + EVERY);
        assert!(throttle.take_due(quiet).is_none());
        assert_eq!(throttle.next_due(), None, "nothing wakes anybody any more");
        for _ in 0..4 {
            assert_eq!(throttle.admit(scan(), quiet), Ok(()));
        }
    }
}
