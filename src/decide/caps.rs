//! How many bans there may be, so that nothing an attacker sends can fill what a worse offender needs.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::Place;

/// A bound on bans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cap {
    /// In all, or of those on spoofable evidence.
    Bans {
        /// Which of the two.
        spoofable: bool,
    },
    /// Decided within a minute, of one kind of evidence.
    PerMinute {
        /// Which kind.
        spoofable: bool,
    },
    /// In one of the kernel's sets, or of those on spoofable evidence in it.
    Set {
        /// The set.
        place: Place,
        /// Which of the two.
        spoofable: bool,
    },
}

impl Cap {
    /// Whether it bounds spoofable evidence alone.
    #[must_use]
    pub const fn is_spoofable(self) -> bool {
        let (Self::Bans { spoofable } | Self::PerMinute { spoofable } | Self::Set { spoofable, .. }) = self;
        spoofable
    }
}

/// The name in listings and JSON.
impl fmt::Display for Cap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_spoofable() {
            f.write_str("spoofable-")?;
        }
        match self {
            Self::Bans { .. } => f.write_str("bans"),
            Self::PerMinute { spoofable: true } => f.write_str("per-minute"),
            Self::PerMinute { spoofable: false } => f.write_str("validated-per-minute"),
            Self::Set { place, .. } => f.write_str(place.set()),
        }
    }
}

/// What of a limit spoofable evidence may take: three quarters. The last quarter is out of reach of forged sources.
#[must_use]
pub const fn spoofable_share(limit: usize) -> usize {
    limit - limit / 4
}

/// How a cap has fared since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Bans that were not made.
    pub refused: u64,
    /// Bans that ended early for another.
    pub evicted: u64,
    /// Whether it is reached, and was told to be.
    pub reached: bool,
    /// How many bans there were when it was.
    pub level: usize,
}

/// The tallies of all caps, and what was decided within the last minute.
#[derive(Debug, Default)]
pub struct Caps {
    tallies: BTreeMap<Cap, Tally>,
    spoofable: Minute,
    validated: Minute,
}

impl Caps {
    /// How a cap has fared.
    #[must_use]
    pub fn tally(&self, cap: Cap) -> Tally {
        self.tallies.get(&cap).copied().unwrap_or_default()
    }

    /// A cap stands in the way, and a ban gave way or was refused. Tells whether that is to be an alarm: once, until
    /// it is left. `used` is how many there are.
    pub fn reach(&mut self, cap: Cap, evicted: bool, used: usize) -> bool {
        let tally = self.tallies.entry(cap).or_default();
        tally.level = used;
        *(if evicted { &mut tally.evicted } else { &mut tally.refused }) += 1;
        !std::mem::replace(&mut tally.reached, true)
    }

    /// A cap stands not in the way. It is left once a tenth of it is free, so that one that is only just not reached
    /// every now and then is told once.
    pub fn keep(&mut self, cap: Cap, used: usize, limit: usize) {
        if let Some(tally) = self.tallies.get_mut(&cap)
            && used.saturating_add(limit.div_ceil(10)) <= limit
        {
            tally.reached = false;
        }
    }

    /// How many were decided within the last minute.
    #[must_use]
    pub fn within_a_minute(&self, spoofable: bool, now: Duration) -> usize {
        if spoofable { self.spoofable.count(now) } else { self.validated.count(now) }
    }

    /// One more was decided.
    pub fn decide(&mut self, spoofable: bool, now: Duration) {
        if spoofable { self.spoofable.add(now) } else { self.validated.add(now) }
    }
}

/// Counts of the last 60 seconds, a second each.
#[derive(Debug)]
struct Minute {
    seconds: [(u64, usize); 60],
}

impl Default for Minute {
    fn default() -> Self {
        Self { seconds: [(0, 0); 60] }
    }
}

impl Minute {
    fn add(&mut self, now: Duration) {
        let second = now.as_secs();
        let slot = usize::try_from(second % 60).unwrap_or_default();
        if let Some((of, count)) = self.seconds.get_mut(slot) {
            *count = if *of == second { *count + 1 } else { 1 };
            *of = second;
        }
    }

    fn count(&self, now: Duration) -> usize {
        let recent = |&&(second, _): &&(u64, usize)| now.as_secs().saturating_sub(second) < 60;
        self.seconds.iter().filter(recent).map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_decided_a_minute_ago_counts_no_more() {
        let mut caps = Caps::default();
        for second in 100..170 {
            caps.decide(second % 2 == 0, Duration::from_secs(second));
        }
        let at = |second| [true, false].map(|kind| caps.within_a_minute(kind, Duration::from_secs(second)));
        assert_eq!(at(169), [30, 30]);
        assert_eq!(at(199), [15, 15]);
        assert_eq!(at(229), [0, 0]);
    }

    #[test]
    fn a_cap_is_told_once_until_a_tenth_of_it_is_free() {
        let mut caps = Caps::default();
        let cap = Cap::Bans { spoofable: true };
        assert!(caps.reach(cap, true, 100));
        assert!(!caps.reach(cap, false, 100));
        caps.keep(cap, 91, 100);
        assert!(!caps.reach(cap, false, 100));
        caps.keep(cap, 90, 100);
        assert!(caps.reach(cap, false, 100));
        assert_eq!(caps.tally(cap), Tally { refused: 3, evicted: 1, reached: true, level: 100 });
        assert_eq!(cap.to_string(), "spoofable-bans");
    }

    #[test]
    fn the_smallest_limit_has_a_share_for_everybody() {
        assert_eq!([1, 2, 3, 4, 100].map(spoofable_share), [1, 2, 3, 3, 75]);
    }
}
