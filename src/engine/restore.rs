//! Making the kernel agree with the ledger after others have changed what it holds.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use ipnet::IpNet;

use super::bans::{TICK, end_of, lift, put};
use super::room::evict;
use super::{Action, Engine};
use crate::decide::{Measure, Place, Standing, State, spoofable_share};
use crate::enforce::{Change, Held};
use crate::event::BanEndReason;
use crate::time::Stamp;

impl Standing {
    fn place(&self) -> Place {
        Place::of(self.measure, self.target)
    }

    /// Whether there is no more than a tick left of it: the kernel may have ended it already.
    fn is_over(&self, now: Stamp) -> bool {
        self.until().is_some_and(|until| until <= now.boot.saturating_add(TICK))
    }
}

impl Engine {
    /// The bans that the kernel is to hold in the sets that `wanted` says, the newest last.
    pub fn standing_in(&self, wanted: impl Fn(Place) -> bool) -> Vec<IpNet> {
        let mut standing: Vec<_> = self
            .ledger
            .iter()
            .filter(|ban| !matches!(ban.state, State::Refused { .. }) && wanted(ban.place()))
            .map(|ban| (ban.since.boot, ban.target))
            .collect();
        standing.sort_unstable();
        standing.into_iter().map(|(_, target)| target).collect()
    }

    /// The bans that the kernel is known to hold in the sets that `wanted` says.
    pub fn held_bans(&self, wanted: impl Fn(Place) -> bool) -> Vec<(Measure, IpNet)> {
        let held = self.ledger.iter().filter(|ban| ban.state == State::Held && wanted(ban.place()));
        held.map(|ban| (ban.measure, ban.target)).collect()
    }

    /// The changes that put these bans into the kernel again, as far as they still stand.
    #[must_use]
    pub fn put_again(&self, targets: &[IpNet], now: Stamp) -> Vec<Change> {
        let standing = targets.iter().filter_map(|target| self.ledger.find(*target));
        standing.filter(|ban| !ban.is_over(now)).map(|ban| put(ban, now)).collect()
    }

    /// Whether a ban in `place` stands in the kernel since `before`, and is not one of `others`.
    #[must_use]
    pub fn is_held_besides(&self, place: Place, others: &HashSet<IpNet>, before: Duration) -> bool {
        self.ledger.iter().any(|ban| {
            ban.state == State::Held
                && ban.since.boot <= before
                && ban.place() == place
                && !others.contains(&ban.target)
        })
    }

    /// Ends bans whose elements somebody has deleted. What he left of them beside goes as well.
    pub fn unbanned_in_kernel(
        &mut self,
        bans: impl Iterator<Item = (Measure, IpNet)>,
        now: Stamp,
        actions: &mut Vec<Action>,
    ) {
        for (measure, target) in bans {
            let is_held = |ban: &&Standing| ban.state == State::Held && ban.measure == measure;
            if self.ledger.find(target).filter(is_held).is_none() {
                continue;
            }
            if let Some(ban) = self.ledger.remove(target) {
                let reason = if ban.is_over(now) { BanEndReason::Expired } else { BanEndReason::Unban };
                end_of(&ban, reason, now, actions);
                actions.push(Action::Enforce(lift(&ban)));
            }
        }
    }

    /// The bans that are not among what was `held` in the sets that `seen` says, and whose whole set is empty: nobody
    /// deletes elements one by one until none is left, but a flush does. One ban alone may have been lifted. The newest
    /// come last.
    #[must_use]
    pub fn lost(&self, held: &[Held], seen: impl Fn(Place) -> bool, now: Stamp) -> Vec<IpNet> {
        let filled: HashSet<Place> = held.iter().map(|held| Place::of(held.measure, held.target)).collect();
        let is_lost = |ban: &&Standing| {
            ban.state == State::Held
                && !ban.is_over(now)
                && seen(ban.place())
                && !filled.contains(&ban.place())
        };
        let mut many: HashMap<Place, usize> = HashMap::new();
        for ban in self.ledger.iter().filter(is_lost) {
            *many.entry(ban.place()).or_default() += 1;
        }
        let flushed = |place| many.get(&place).is_some_and(|&many| many > 1);
        if many.is_empty() { Vec::new() } else { self.standing_in(flushed) }
    }

    /// Takes back, at the start, the repetitions that an earlier process knew: on which kind of evidence, how often, and when
    /// last (boot time).
    pub fn recall_repetitions(&mut self, repetitions: impl Iterator<Item = (IpNet, bool, u32, Duration)>) {
        for (target, validated, times, last) in repetitions {
            self.ledger.recall(target, validated, times, last);
        }
    }

    /// Takes back, at the start, the bans that an earlier process knew, and brings them and what is `held` together: the
    /// kernel says what stands and for how long, they say why. Gives those that the kernel has lost, the newest last: all
    /// in sets that were `made` anew, and those of a flush. Others that it does not hold were lifted meanwhile.
    pub fn recall_bans(
        &mut self,
        mut bans: Vec<Standing>,
        held: &[Held],
        made: impl Fn(Place) -> bool,
        now: Stamp,
        actions: &mut Vec<Action>,
    ) -> Vec<IpNet> {
        let in_kernel: HashMap<_, _> = held.iter().map(|held| ((held.target, held.measure), held)).collect();
        bans.retain(|ban| {
            self.shield.covers(ban.target).is_none() && !self.policy.lacking.lacks(ban.measure, ban.target)
        });
        let over = self.beyond_caps(&mut bans);
        for mut ban in bans {
            if let Some(held) = in_kernel.get(&(ban.target, ban.measure)) {
                let age = now.boot.saturating_sub(ban.since.boot);
                ban.timeout = held.expires.map(|left| left.saturating_add(age));
            }
            self.ledger.enter(ban);
        }
        for ban in over {
            evict(&ban, now, actions);
            // Until it is lifted it is not to be taken for somebody else's.
            self.ledger.owe(ban.target, ban.measure, now);
        }
        let mut lost = self.lost(held, |place| !made(place), now);
        lost.extend(self.standing_in(made));
        // A prefix that another one covers has no element, and nobody can have deleted it.
        let prefixes: Vec<_> =
            held.iter().map(|held| (Place::of(held.measure, held.target), held.target)).collect();
        let prefixes: Vec<_> = prefixes.into_iter().filter(|(place, _)| place.prefix).collect();
        let covers = |ban: &Standing, (place, target): (Place, IpNet)| {
            place == ban.place() && target.contains(&ban.target) && target != ban.target
        };
        let covered = self.ledger.iter().filter(|ban| {
            ban.place().prefix
                && !in_kernel.contains_key(&(ban.target, ban.measure))
                && prefixes.iter().any(|prefix| covers(ban, *prefix))
        });
        let covered = covered.map(|ban| ban.target);
        lost.extend(covered.collect::<Vec<_>>());
        let spared = lost.iter().copied().collect();
        self.reconcile_in(held, |_| true, &spared, now, actions);
        lost
    }

    /// Takes out of these bans those that the caps have no room for, as they may be lower than those of the earlier process. The
    /// least give way; bans by hand never do.
    fn beyond_caps(&self, bans: &mut Vec<Standing>) -> Vec<Standing> {
        bans.sort_unstable_by(|a, b| b.by_rank(a));
        let share = spoofable_share(self.policy.max);
        let (mut all, mut spoofable) = (0, 0);
        let is_over = |ban: &mut Standing| {
            let over = !ban.is_manual() && (all >= self.policy.max || (!ban.validated && spoofable >= share));
            all += usize::from(!over);
            spoofable += usize::from(!over && !ban.validated);
            over
        };
        bans.extract_if(.., is_over).collect()
    }

    /// Notes whose bans change, for whoever saves them. `saved` are the targets whose bans are saved.
    pub fn track_bans(&mut self, saved: &HashSet<IpNet>) {
        self.ledger.track();
        let over = saved.iter().filter(|target| self.ledger.find(**target).is_none()).copied();
        let new = self.ledger.iter().map(|ban| ban.target).filter(|target| !saved.contains(target));
        let differ: Vec<IpNet> = over.chain(new).collect();
        self.ledger.mark(differ);
    }

    /// Notes no changes any more.
    pub fn untrack_bans(&mut self) {
        self.ledger.untrack();
    }

    /// Notes all bans and repetitions as changed.
    pub fn mark_bans(&mut self) {
        self.ledger.mark_all();
    }

    /// Takes at most so many of the targets whose bans or repetitions have changed.
    pub fn take_changed_bans(&mut self, most: usize) -> Vec<IpNet> {
        self.ledger.take_changed(most)
    }
}
