//! The bans that stand: what was asked of the kernel, what it holds, and when it ends.

mod changes;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use ipnet::IpNet;

use super::Measure;
use crate::event::IncidentId;
use crate::time::Stamp;

/// What is known of one ban.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Whom.
    pub target: IpNet,
    /// What is dropped.
    pub measure: Measure,
    /// The rule's id, or `manual`.
    pub rule: String,
    /// The administrator's words, for a manual ban.
    pub reason: Option<String>,
    /// What led to it.
    pub incident: Option<IncidentId>,
    /// Whether the evidence was validated, or a person decided.
    pub validated: bool,
    /// How many bans the target had before, within the time they are remembered.
    pub before: u32,
    /// When it was decided.
    pub since: Stamp,
    /// How long from then; `None` is until it is lifted.
    pub timeout: Option<Duration>,
    /// What the kernel says.
    pub state: State,
}

/// Where a ban is between the decision and the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The kernel has been asked.
    Asked,
    /// The kernel has committed it.
    Held,
    /// The kernel refused it.
    Refused {
        /// Its errno.
        errno: i32,
        /// How often in a row.
        tries: u32,
        /// Boot time of the next try.
        again: Duration,
    },
}

impl Standing {
    /// Boot time at which it ends.
    #[must_use]
    pub fn until(&self) -> Option<Duration> {
        self.timeout.map(|timeout| self.since.boot.saturating_add(timeout))
    }

    /// Boot time at which something is to be done about it.
    fn due(&self) -> Option<Duration> {
        match self.state {
            State::Refused { again, .. } => Some(self.until().map_or(again, |until| until.min(again))),
            State::Asked | State::Held => self.until(),
        }
    }

    /// Who gives way first: spoofable before validated, few repetitions before many, short remaining before long.
    fn rank(&self) -> (bool, u32, Duration, IpNet) {
        (self.validated, self.before, self.until().unwrap_or(Duration::MAX), self.target)
    }
}

/// What is due for a ban.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// Its time is over; it has left the ledger.
    Expired(Standing),
    /// The kernel is to be asked again.
    Retry(Standing),
}

/// Between tries at what the kernel refused, doubling.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// All bans, at most one a target.
#[derive(Debug, Default)]
pub struct Ledger {
    bans: HashMap<IpNet, Standing>,
    due: BTreeSet<(Duration, IpNet)>,
    ranks: BTreeSet<(bool, u32, Duration, IpNet)>,
    /// How often a target has been banned, and when last (boot time).
    history: HashMap<IpNet, (u32, Duration)>,
    /// The same, in the order in which it is forgotten.
    forgettable: BTreeSet<(u32, Duration, IpNet)>,
    /// Whose ban has changed since somebody took it; none where nobody does.
    changed: Option<BTreeSet<IpNet>>,
}

/// How many targets' repetitions are remembered; beyond that those with the fewest are forgotten, the oldest first.
const MAX_HISTORY: usize = 200_000;

impl Ledger {
    /// The ban of exactly this target.
    #[must_use]
    pub fn find(&self, target: IpNet) -> Option<&Standing> {
        self.bans.get(&target)
    }

    /// The ban that covers all of `net`: of itself or of a wider prefix.
    #[must_use]
    pub fn covering(&self, net: IpNet) -> Option<&Standing> {
        (0..=net.prefix_len()).rev().find_map(|length| {
            let wider = IpNet::new(net.addr(), length).ok()?.trunc();
            self.bans.get(&wider)
        })
    }

    /// All bans, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Standing> {
        self.bans.values()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bans.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bans.is_empty()
    }

    /// How often `target` has been banned before, if not longer than `forget` ago.
    #[must_use]
    pub fn before(&self, target: IpNet, now: Stamp, forget: Duration) -> u32 {
        match self.history.get(&target) {
            Some((times, last)) if now.boot.saturating_sub(*last) < forget => *times,
            _ => 0,
        }
    }

    /// Enters a ban, in place of an earlier one of the same target.
    pub fn enter(&mut self, standing: Standing) {
        self.remove(standing.target);
        self.remember(standing.target, standing.before.saturating_add(1), standing.since.boot);
        self.index(&standing, true);
        self.bans.insert(standing.target, standing);
    }

    /// Takes a ban out.
    pub fn remove(&mut self, target: IpNet) -> Option<Standing> {
        let standing = self.bans.remove(&target)?;
        self.index(&standing, false);
        Some(standing)
    }

    /// Forgets how often `target` was banned.
    fn forget(&mut self, target: IpNet) {
        if let Some((times, last)) = self.history.remove(&target) {
            self.forgettable.remove(&(times, last, target));
        }
    }

    fn remember(&mut self, target: IpNet, times: u32, last: Duration) {
        self.forget(target);
        if self.history.len() >= MAX_HISTORY
            && let Some((_, _, least)) = self.forgettable.pop_first()
        {
            self.history.remove(&least);
        }
        self.history.insert(target, (times, last));
        self.forgettable.insert((times, last, target));
    }

    /// Records that the kernel holds the ban. Returns it if that is news.
    pub fn confirm(&mut self, target: IpNet, measure: Measure) -> Option<&Standing> {
        let before = self.bans.get(&target).filter(|standing| standing.measure == measure)?.state;
        self.set_state(target, State::Held);
        (before != State::Held).then(|| self.bans.get(&target)).flatten()
    }

    /// Records that the kernel refused the ban, and when to ask again.
    pub fn refuse(&mut self, target: IpNet, measure: Measure, errno: i32, now: Stamp) {
        let Some(standing) = self.bans.get(&target).filter(|standing| standing.measure == measure) else {
            return;
        };
        let tries = match standing.state {
            State::Refused { tries, .. } => tries.saturating_add(1),
            State::Asked | State::Held => 1,
        };
        let wait = FIRST_RETRY.saturating_mul(1 << tries.saturating_sub(1).min(6)).min(LONGEST_RETRY);
        self.set_state(target, State::Refused { errno, tries, again: now.boot.saturating_add(wait) });
    }

    /// Boot time of the next deed.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        self.due.first().map(|(at, _)| *at)
    }

    /// What is due by `now`, one at a time, oldest first.
    pub fn next_deed(&mut self, now: Stamp) -> Option<Deed> {
        let &(at, target) = self.due.first()?;
        if at > now.boot {
            return None;
        }
        if self.bans.get(&target)?.until().is_some_and(|until| until <= now.boot) {
            return self.remove(target).map(Deed::Expired);
        }
        self.set_state(target, State::Asked);
        self.bans.get(&target).cloned().map(Deed::Retry)
    }

    /// Takes out the ban that gives way first, if it ranks below `newcomer`.
    pub fn give_way(&mut self, newcomer: &Standing) -> Option<Standing> {
        let first = self.ranks.first()?;
        let (validated, before, _, target) = *first;
        // Remaining time does not shield what stands: else a full ledger of long bans would refuse every newcomer.
        ((validated, before) <= (newcomer.validated, newcomer.before)).then(|| self.remove(target)).flatten()
    }

    fn set_state(&mut self, target: IpNet, state: State) {
        if let Some(standing) = self.remove(target) {
            // A retry counts as one more try only when it is refused again.
            let state = match (standing.state, state) {
                (State::Refused { errno, tries, .. }, State::Asked) => {
                    State::Refused { errno, tries, again: Duration::MAX }
                }
                _ => state,
            };
            let standing = Standing { state, ..standing };
            self.index(&standing, true);
            self.bans.insert(target, standing);
        }
    }

    fn index(&mut self, standing: &Standing, present: bool) {
        self.mark([standing.target]);
        let rank = standing.rank();
        let due = standing.due().filter(|due| *due != Duration::MAX).map(|due| (due, standing.target));
        if present {
            self.ranks.insert(rank);
            self.due.extend(due);
        } else {
            self.ranks.remove(&rank);
            due.map(|due| self.due.remove(&due));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn forged_sources_push_out_no_repeated_offender_and_repetitions_are_still_learnt() {
        let mut ledger = Ledger::default();
        let forget = Duration::from_secs(86_400);
        let at = |seconds| Stamp { boot: Duration::from_secs(seconds), wall_us: 0 };
        let ban = |ledger: &mut Ledger, address: u32, now: Stamp| {
            let target = IpNet::from(std::net::IpAddr::from(Ipv4Addr::from_bits(address)));
            let before = ledger.before(target, now, forget);
            ledger.enter(Standing {
                target,
                measure: Measure::Restrict,
                rule: String::new(),
                reason: None,
                incident: None,
                validated: false,
                before,
                since: now,
                timeout: None,
                state: State::Held,
            });
            ledger.remove(target);
            ledger.before(target, now, forget)
        };
        assert_eq!((ban(&mut ledger, 1, at(1)), ban(&mut ledger, 1, at(2))), (1, 2));
        for forged in 0..u32::try_from(MAX_HISTORY).unwrap() + 10 {
            ban(&mut ledger, 1 << 24 | forged, at(3));
        }
        assert_eq!((ledger.history.len(), ledger.forgettable.len()), (MAX_HISTORY, MAX_HISTORY));
        assert_eq!(ban(&mut ledger, 1, at(4)), 3);
        assert_eq!((ban(&mut ledger, 2, at(5)), ban(&mut ledger, 2, at(6))), (1, 2));
    }
}
