//! Liftings that the kernel refused: they are asked for again until they are done.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use ipnet::IpNet;

use super::Measure;

/// Between tries at what the kernel refused, doubling.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// How long to wait after so many refusals in a row.
pub(super) fn pause(tries: u32) -> Duration {
    FIRST_RETRY.saturating_mul(1 << tries.saturating_sub(1).min(6)).min(LONGEST_RETRY)
}

/// What is still to be lifted, by target and measure.
#[derive(Debug, Default)]
pub(super) struct Owed {
    lifts: HashMap<(IpNet, Measure), (u32, Duration)>,
    due: BTreeSet<(Duration, IpNet, Measure)>,
}

impl Owed {
    /// The kernel refused it at boot time `now`.
    pub(super) fn refused(&mut self, target: IpNet, measure: Measure, now: Duration) {
        let tries = self.take(target, measure).map_or(1, |tries| tries.saturating_add(1));
        let again = now.saturating_add(pause(tries));
        self.lifts.insert((target, measure), (tries, again));
        self.due.insert((again, target, measure));
    }

    /// It is done, or wanted no more. Tells how often it was refused.
    pub(super) fn take(&mut self, target: IpNet, measure: Measure) -> Option<u32> {
        let (tries, again) = self.lifts.remove(&(target, measure))?;
        self.due.remove(&(again, target, measure));
        Some(tries)
    }

    pub(super) fn contains(&self, target: IpNet, measure: Measure) -> bool {
        self.lifts.contains_key(&(target, measure))
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.due.first().map(|(at, ..)| *at)
    }

    /// The next that is due by `now`. It is owed until it is done.
    pub(super) fn next(&mut self, now: Duration) -> Option<(IpNet, Measure)> {
        let (_, target, measure) = self.due.first().copied().filter(|(at, ..)| *at <= now)?;
        self.due.pop_first();
        Some((target, measure))
    }
}
