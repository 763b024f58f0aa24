//! The bans that stand: what was asked of the kernel, what it holds, and when it ends.

mod changes;

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use ipnet::IpNet;

use super::owed::{Owed, pause};
use super::{MANUAL, Measure, Place};
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

    /// Whether a person decided.
    #[must_use]
    pub fn is_manual(&self) -> bool {
        self.rule == MANUAL && self.incident.is_none()
    }

    fn grade(&self) -> Grade {
        match (self.is_manual(), self.validated) {
            (true, _) => Grade::Manual,
            (_, true) => Grade::Validated,
            (_, false) => Grade::Spoofable,
        }
    }

    /// Whether it gives way before the other one: then it is less.
    #[must_use]
    pub fn by_rank(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }

    /// Who gives way first: spoofable before validated, few repetitions before many, short remaining before long.
    fn rank(&self) -> Rank {
        (self.grade(), self.before, self.until().unwrap_or(Duration::MAX), self.target)
    }
}

/// What a ban rests on. A person's decision gives way to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Grade {
    Spoofable,
    Validated,
    Manual,
}

type Rank = (Grade, u32, Duration, IpNet);

/// Bans that share a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All there are.
    All,
    /// Those of one set.
    Set(Place),
}

/// The bans of a scope in the order in which they give way.
#[derive(Debug, Default)]
struct Order {
    ranks: BTreeSet<Rank>,
    spoofable: usize,
}

impl Order {
    fn insert(&mut self, rank: Rank) {
        if self.ranks.insert(rank) && rank.0 == Grade::Spoofable {
            self.spoofable += 1;
        }
    }

    fn remove(&mut self, rank: &Rank) {
        if self.ranks.remove(rank) && rank.0 == Grade::Spoofable {
            self.spoofable -= 1;
        }
    }
}

/// What is due for a ban.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// Its time is over; it has left the ledger.
    Expired(Standing),
    /// The kernel is to be asked again.
    Retry(Standing),
    /// The kernel is to be asked again to lift what stands no more.
    Lift(IpNet, Measure),
}

/// All bans, at most one a target.
#[derive(Debug, Default)]
pub struct Ledger {
    bans: HashMap<IpNet, Standing>,
    due: BTreeSet<(Duration, IpNet)>,
    order: Order,
    /// The same for each set.
    sets: HashMap<Place, Order>,
    owed: Owed,
    /// How often a target has been banned on validated evidence, or not, and when last (boot time). Apart, because
    /// forged scans must not make a proven offence look like a repeated one.
    history: HashMap<(IpNet, bool), (u32, Duration)>,
    /// The same, in the order in which it is forgotten.
    forgettable: BTreeSet<(bool, u32, Duration, IpNet)>,
    /// Whose ban has changed since somebody took it; none where nobody does.
    changed: Option<BTreeSet<IpNet>>,
}

/// How many targets' repetitions are remembered; beyond that those with the fewest are forgotten, the oldest first.
const MAX_HISTORY: usize = 200_000;

/// The lengths that an IPv6 source of validated evidence widens to, one after another.
pub const WIDENED: [u8; 3] = [64, 56, 48];

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

    /// How many there are in a scope: all, or those on spoofable evidence.
    #[must_use]
    pub fn count(&self, scope: Scope, spoofable: bool) -> usize {
        let Some(order) = self.order_of(scope) else { return 0 };
        if spoofable { order.spoofable } else { order.ranks.len() }
    }

    fn order_of(&self, scope: Scope) -> Option<&Order> {
        match scope {
            Scope::All => Some(&self.order),
            Scope::Set(place) => self.sets.get(&place),
        }
    }

    /// How often `target` has been banned before, if not longer than `forget` ago: for what follows from `validated`
    /// evidence on such evidence alone, else on any. Bans of the prefixes that it widens to are its own.
    #[must_use]
    pub fn before(&self, target: IpNet, validated: bool, now: Stamp, forget: Duration) -> u32 {
        let of = |target: IpNet, kind: bool| match self.history.get(&(target, kind)) {
            Some((times, last)) if now.boot.saturating_sub(*last) < forget => *times,
            _ => 0,
        };
        let widened = WIDENED.into_iter().filter(|_| matches!(target, IpNet::V6(_)));
        let widened = widened.filter(|length| *length < target.prefix_len());
        let wider = widened.filter_map(|length| Some(IpNet::new(target.addr(), length).ok()?.trunc()));
        let kinds: &[bool] = if validated { &[true] } else { &[true, false] };
        let times = wider.chain([target]).flat_map(|target| kinds.iter().map(move |kind| of(target, *kind)));
        times.max().unwrap_or_default()
    }

    /// Enters a ban, in place of an earlier one of the same target.
    pub fn enter(&mut self, standing: Standing) {
        self.remove(standing.target);
        let Standing { target, validated, before, since, .. } = standing;
        self.remember(target, validated, before.saturating_add(1), since.boot);
        self.owed.take(standing.target, standing.measure);
        self.index(&standing, true);
        self.bans.insert(standing.target, standing);
    }

    /// Takes a ban out.
    pub fn remove(&mut self, target: IpNet) -> Option<Standing> {
        let standing = self.bans.remove(&target)?;
        self.index(&standing, false);
        Some(standing)
    }

    /// Puts back what was just taken out.
    pub fn put_back(&mut self, standing: Standing) {
        self.index(&standing, true);
        self.bans.insert(standing.target, standing);
    }

    fn remember(&mut self, target: IpNet, validated: bool, times: u32, last: Duration) {
        if let Some((times, last)) = self.history.remove(&(target, validated)) {
            self.forgettable.remove(&(validated, times, last, target));
        }
        if self.history.len() >= MAX_HISTORY
            && let Some((kind, _, _, least)) = self.forgettable.pop_first()
        {
            self.history.remove(&(least, kind));
        }
        self.history.insert((target, validated), (times, last));
        self.forgettable.insert((validated, times, last, target));
    }

    /// Records that the kernel refused to lift what is to go: it is asked again until it has.
    pub fn owe(&mut self, target: IpNet, measure: Measure, now: Stamp) {
        self.owed.refused(target, measure, now.boot);
    }

    /// Records that the kernel has lifted it.
    pub fn lifted(&mut self, target: IpNet, measure: Measure) {
        self.owed.take(target, measure);
    }

    /// Whether the kernel may hold it only because it has refused to lift it.
    #[must_use]
    pub fn is_owed(&self, target: IpNet, measure: Measure) -> bool {
        self.owed.contains(target, measure)
    }

    /// Records that the kernel holds the ban. Returns it if that is news.
    pub fn confirm(&mut self, target: IpNet, measure: Measure) -> Option<&Standing> {
        let standing = self.bans.get(&target).filter(|standing| standing.measure == measure)?;
        // What is put back after a flush was never given up: nothing to index or to save anew.
        if standing.state == State::Held {
            return None;
        }
        self.set_state(target, State::Held);
        self.bans.get(&target)
    }

    /// Records that the kernel refused the ban, and when to ask again. Returns it if it is the first time.
    pub fn refuse(&mut self, target: IpNet, measure: Measure, errno: i32, now: Stamp) -> Option<&Standing> {
        let standing = self.bans.get(&target).filter(|standing| standing.measure == measure)?;
        let tries = match standing.state {
            State::Refused { tries, .. } => tries.saturating_add(1),
            State::Asked | State::Held => 1,
        };
        self.set_state(target, State::Refused { errno, tries, again: now.boot.saturating_add(pause(tries)) });
        if tries == 1 { self.bans.get(&target) } else { None }
    }

    /// Boot time of the next deed.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        let due = self.due.first().map(|(at, _)| *at);
        [due, self.owed.next_deadline()].into_iter().flatten().min()
    }

    /// What is due by `now`, one at a time, oldest first.
    pub fn next_deed(&mut self, now: Stamp) -> Option<Deed> {
        if let Some((target, measure)) = self.owed.next(now.boot) {
            return Some(Deed::Lift(target, measure));
        }
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

    /// Takes out the ban of a scope that gives way first, if it ranks no higher than `newcomer`. With `held`, of those
    /// that the kernel holds.
    pub fn give_way(&mut self, scope: Scope, newcomer: &Standing, held: bool) -> Option<Standing> {
        let most = (newcomer.grade(), newcomer.before);
        let ranks = self.order_of(scope)?.ranks.iter();
        let is_held = |target: &IpNet| self.bans.get(target).is_some_and(|ban| ban.state == State::Held);
        let target = ranks
            // Remaining time does not shield what stands: else a full ledger of long bans would refuse every newcomer.
            .take_while(|(grade, before, ..)| *grade != Grade::Manual && (*grade, *before) <= most)
            .map(|(.., target)| *target)
            .find(|target| *target != newcomer.target && (!held || is_held(target)))?;
        self.remove(target)
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
        let set = self.sets.entry(Place::of(standing.measure, standing.target)).or_default();
        if present {
            self.order.insert(rank);
            set.insert(rank);
            self.due.extend(due);
        } else {
            self.order.remove(&rank);
            set.remove(&rank);
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
            let before = ledger.before(target, false, now, forget);
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
            ledger.before(target, false, now, forget)
        };
        assert_eq!((ban(&mut ledger, 1, at(1)), ban(&mut ledger, 1, at(2))), (1, 2));
        for forged in 0..u32::try_from(MAX_HISTORY).unwrap() + 10 {
            ban(&mut ledger, 1 << 24 | forged, at(3));
        }
        assert_eq!((ledger.history.len(), ledger.forgettable.len()), (MAX_HISTORY, MAX_HISTORY));
        assert_eq!(ban(&mut ledger, 1, at(4)), 3);
        assert_eq!((ban(&mut ledger, 2, at(5)), ban(&mut ledger, 2, at(6))), (1, 2));
    }

    #[test]
    fn a_ban_that_the_kernel_is_known_to_hold_is_no_change_when_it_is_put_back() {
        let mut ledger = Ledger::default();
        ledger.track();
        let target = "192.0.2.7/32".parse().unwrap();
        ledger.enter(Standing {
            target,
            measure: Measure::Ban,
            rule: String::new(),
            reason: None,
            incident: None,
            validated: true,
            before: 0,
            since: Stamp { boot: Duration::from_secs(1), wall_us: 0 },
            timeout: None,
            state: State::Asked,
        });
        assert!(ledger.confirm(target, Measure::Ban).is_some(), "news the first time");
        assert_eq!(ledger.take_changed(9), [target]);
        assert!(ledger.confirm(target, Measure::Ban).is_none());
        assert!(!ledger.has_changed(), "nothing to save again");
    }
}
