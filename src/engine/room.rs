//! Room for one more ban: caps, who gives way at them, and how they are told.

use std::time::Duration;

use super::bans::{end_of, lift};
use super::{Action, Engine};
use crate::decide::{Cap, MAX_PREFIXES, Measure, Place, Scope, Standing, State, Tally, spoofable_share};
use crate::event::{Alarm, BanEndReason, Event};
use crate::time::Stamp;

/// A cap as a listing shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CapUse {
    /// Which one.
    pub cap: Cap,
    /// How much of it is used.
    pub used: usize,
    /// The most there may be.
    pub limit: usize,
    /// How it has fared.
    pub tally: Tally,
}

impl Engine {
    /// Makes room for a ban that is about to be entered: at a cap the least of those it bounds gives way.
    ///
    /// # Errors
    /// The cap at which nothing ranks low enough to give way.
    pub(super) fn make_room(
        &mut self,
        standing: &Standing,
        now: Stamp,
        actions: &mut Vec<Action>,
    ) -> Result<(), Cap> {
        let per_minute = Cap::PerMinute { spoofable: !standing.validated };
        // A person is not held up, and a renewed ban is one more all the same.
        if !standing.is_manual() {
            let used = self.used(per_minute, now.boot);
            if used >= self.limit(per_minute) {
                self.reach(per_minute, false, now, actions);
                return Err(per_minute);
            }
            self.caps.keep(per_minute, used, self.limit(per_minute));
        }
        let place = Place::of(standing.measure, standing.target);
        let full = Cap::Set { place, spoofable: false };
        // How many the kernel has room for is known from its refusal alone.
        self.caps.keep(full, self.used(full, now.boot), self.caps.tally(full).level);
        let both = [true, false];
        let set = both.map(|spoofable| Cap::Set { place, spoofable }).into_iter().filter(|_| place.prefix);
        let caps = set.chain(both.map(|spoofable| Cap::Bans { spoofable }));
        // Whoever gives way in the set gives way among all.
        for cap in caps.filter(|cap| !(cap.is_spoofable() && standing.validated)) {
            self.make_room_at(cap, standing, now, actions)?;
        }
        if !standing.is_manual() {
            self.caps.decide(!standing.validated, now.boot);
        }
        Ok(())
    }

    fn make_room_at(
        &mut self,
        cap: Cap,
        standing: &Standing,
        now: Stamp,
        actions: &mut Vec<Action>,
    ) -> Result<(), Cap> {
        let limit = self.limit(cap);
        self.caps.keep(cap, self.used(cap, now.boot), limit);
        // More than one where the limit has just been lowered.
        while self.used(cap, now.boot) >= limit {
            let evicted = scope(cap).and_then(|scope| self.ledger.give_way(scope, standing, false));
            self.reach(cap, evicted.is_some(), now, actions);
            let Some(evicted) = evicted else { return Err(cap) };
            evict(&evicted, now, actions);
        }
        Ok(())
    }

    /// The kernel has no room in the set of a ban that it was asked for the first time: the least there gives way, and
    /// it is asked once more at once.
    pub(super) fn make_room_in_kernel(
        &mut self,
        standing: &Standing,
        now: Stamp,
        actions: &mut Vec<Action>,
    ) -> bool {
        let place = Place::of(standing.measure, standing.target);
        let cap = Cap::Set { place, spoofable: false };
        // Without the newcomer, which is in the ledger already.
        let used = self.used(cap, now.boot).saturating_sub(1);
        // Else it is a refusal like any other, and told as one.
        let Some(evicted) = self.ledger.give_way(Scope::Set(place), standing, true) else { return false };
        if self.caps.reach(cap, true, used) {
            let what = format!("the kernel's set {} is full: the least give way", place.set());
            actions.push(Action::Tell(Event::Alarm(Alarm { time: now, what })));
        }
        evict(&evicted, now, actions);
        true
    }

    fn reach(&mut self, cap: Cap, evicted: bool, now: Stamp, actions: &mut Vec<Action>) {
        if self.caps.reach(cap, evicted, self.used(cap, now.boot)) {
            let limit = self.limit(cap);
            let of = if cap.is_spoofable() { " on spoofable evidence" } else { "" };
            let what = match cap {
                Cap::PerMinute { .. } => {
                    let of = if cap.is_spoofable() { of } else { " on validated evidence" };
                    format!("the limit of {limit} bans a minute{of} is reached: more have to wait")
                }
                Cap::Bans { .. } => {
                    format!("the limit of {limit} bans{of} is reached: the least give way to newer ones")
                }
                Cap::Set { place, .. } => {
                    let set = place.set();
                    format!("the limit of {limit} elements{of} in set {set} is reached: the least give way")
                }
            };
            actions.push(Action::Tell(Event::Alarm(Alarm { time: now, what })));
        }
    }

    /// The most that a cap allows.
    pub(super) fn limit(&self, cap: Cap) -> usize {
        let limit = match cap {
            Cap::Bans { .. } => self.policy.max,
            Cap::PerMinute { .. } => self.policy.per_minute,
            Cap::Set { .. } => usize::try_from(MAX_PREFIXES).unwrap_or(usize::MAX),
        };
        if cap.is_spoofable() { spoofable_share(limit) } else { limit }
    }

    fn used(&self, cap: Cap, now: Duration) -> usize {
        match scope(cap) {
            Some(scope) => self.ledger.count(scope, cap.is_spoofable()),
            None => self.caps.within_a_minute(cap.is_spoofable(), now),
        }
    }

    /// The caps and how much of each is used: all of the interval sets where there is anything to say of one.
    pub fn caps(&self, now: Stamp) -> impl Iterator<Item = CapUse> {
        let places = [Measure::Ban, Measure::Restrict].into_iter().flat_map(|measure| {
            [false, true]
                .into_iter()
                .flat_map(move |ipv6| [false, true].map(|prefix| Place { measure, ipv6, prefix }))
        });
        let caps = [true, false].into_iter().flat_map(move |spoofable| {
            let sets = places.clone().map(move |place| Cap::Set { place, spoofable });
            [Cap::Bans { spoofable }, Cap::PerMinute { spoofable }].into_iter().chain(sets)
        });
        let uses = caps.map(move |cap| CapUse {
            cap,
            used: self.used(cap, now.boot),
            limit: self.limit(cap),
            tally: self.caps.tally(cap),
        });
        uses.filter(|one| match one.cap {
            // The others are bounded by the number of all bans, until the kernel says otherwise.
            Cap::Set { place, .. } => (place.prefix && one.used > 0) || one.tally != Tally::default(),
            _ => true,
        })
    }
}

const fn scope(cap: Cap) -> Option<Scope> {
    match cap {
        Cap::Bans { .. } => Some(Scope::All),
        Cap::Set { place, .. } => Some(Scope::Set(place)),
        Cap::PerMinute { .. } => None,
    }
}

pub(super) fn evict(evicted: &Standing, now: Stamp, actions: &mut Vec<Action>) {
    // What the kernel has refused is not there unless it is asked again just now, and liftings that it refuses as well
    // must not pile up.
    if !matches!(evicted.state, State::Refused { again, .. } if again < Duration::MAX) {
        actions.push(Action::Enforce(lift(evicted)));
    }
    end_of(evicted, BanEndReason::Evicted, now, actions);
}
