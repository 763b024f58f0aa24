//! Sources, or prefixes of them: those seen once, and those that came back.
//!
//! A source enters with its first packet as a *newcomer*: one small entry, no heap. Its second packet makes it *tracked*,
//! with counters. The two are tables of their own, and what is new pushes out of its own table only: a million forged
//! sources with one packet each never reach those that have come back.

use std::net::IpAddr;
use std::ops::Range;

use foldhash::fast::SeedableRandomState;
use ipnet::IpNet;
use smallvec::SmallVec;

use super::Seen;
use super::key::SourceKey;
use super::memory::Remembered;
use super::probe::Arrival;
use super::reload::{Keys, Passage};
use super::ruleset::{Compiled, Ruleset, SOURCE_KEY};
use super::shape::{ShapeId, Shapes, Share};
use super::source::{Cold, Context, Counted, Newcomer, Source, Tally};
use super::table::{Place, Prepared, Table};
use crate::time::Stamp;

/// How much the table of sources holds at most; that of prefixes holds as much again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Sources seen once.
    pub probation: u32,
    /// Sources seen again, or with an open incident.
    pub tracked: u32,
    /// What all tracked ones together may have done: distinct packets, of about 130 octets each.
    pub sightings: u32,
}

impl Capacity {
    /// Room for so many tracked sources, for half as many again that were seen once, and for four sightings of each: most
    /// sources come for one port, and a scanner is found by its eighth.
    #[must_use]
    pub const fn of(tracked: u32) -> Self {
        Self { probation: tracked.saturating_add(tracked / 2), tracked, sightings: tracked.saturating_mul(4) }
    }
}

impl Default for Capacity {
    /// At most about 60 MiB for sources, and as much for prefixes; 15 MiB when only forged sources come.
    fn default() -> Self {
        Self::of(65_536)
    }
}

/// How full a table is, and what it lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occupancy {
    /// Entries seen once.
    pub probation: u32,
    /// Entries with counters.
    pub tracked: u32,
    /// What these have done.
    pub sightings: u32,
    /// Entries with counters that were pushed out.
    pub evicted: u64,
    /// Entries seen once that were pushed out.
    pub evicted_once: u64,
    /// What there is room for.
    pub capacity: Capacity,
}

/// Where the members of a group are, and under which key.
pub(super) type Members<'a> = (&'a Population, &'a dyn Fn(IpAddr) -> SourceKey);

/// See the module.
#[derive(Debug)]
pub(super) struct Population {
    newcomers: Table<Newcomer>,
    pub(super) tracked: Table<Source>,
    sightings: usize,
    capacity: Capacity,
}

impl Population {
    pub(super) fn new(capacity: Capacity, state: &dyn Fn() -> SeedableRandomState) -> Self {
        // One hash does for both.
        let hasher = state();
        Self {
            newcomers: Table::new(capacity.probation, hasher.clone()),
            tracked: Table::new(capacity.tracked, hasher),
            sightings: 0,
            capacity,
        }
    }

    pub(super) fn occupancy(&self) -> Occupancy {
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Occupancy {
            probation: number(self.newcomers.len()),
            tracked: number(self.tracked.len()),
            sightings: number(self.sightings),
            evicted: self.tracked.evicted(),
            evicted_once: self.newcomers.evicted(),
            capacity: self.capacity,
        }
    }

    pub(super) fn find(&self, key: &SourceKey) -> Option<&Source> {
        self.tracked.find(key).and_then(|place| self.tracked.at(place))
    }

    /// Has what is known of some keys fetched into the cache, and what it takes to enter those that are not tracked: which
    /// these are, it tells by their numbers.
    pub(super) fn anticipate(&mut self, keys: impl Iterator<Item = SourceKey>) -> SmallVec<[usize; 64]> {
        let keys: SmallVec<[Prepared; 64]> = keys.map(|key| self.tracked.prepare(&key)).collect();
        let (places, missing) = self.tracked.expect(&keys);
        let sources = || places.iter().filter_map(|&place| self.tracked.at(place));
        let used: usize = sources().map(Source::sightings).sum();
        let touched = sources().map(Source::touch).fold(0, u64::wrapping_add);
        let entered = if missing.is_empty() { 0 } else { self.newcomers.touch(&keys, missing.len()) };
        std::hint::black_box((used, touched, entered));
        missing
    }

    /// Counts a packet of a tracked source.
    pub(super) fn count(
        &mut self,
        place: Place,
        share: &Share,
        shape: ShapeId,
        arrival: &Arrival<'_>,
        hold: u16,
        context: Context<'_>,
    ) -> Counted {
        self.changing(place, |source| source.count(share, shape, arrival, hold, context)).unwrap_or_default()
    }

    /// Changes a tracked source, and keeps count of the sightings of all.
    fn changing<T>(&mut self, place: Place, change: impl FnOnce(&mut Source) -> T) -> Option<T> {
        let source = self.tracked.at_mut(place)?;
        let before = source.sightings();
        let result = change(source);
        let after = source.sightings();
        self.sightings = (self.sightings + after).saturating_sub(before);
        Some(result)
    }

    /// The place of a source that is not tracked: now it is, unless this is its first packet, and one packet is not
    /// enough. Tells also whether it is new here.
    pub(super) fn admit(
        &mut self,
        key: &SourceKey,
        shape: ShapeId,
        arrival: &Arrival<'_>,
        context: Context<'_>,
    ) -> (Option<Place>, bool) {
        let share = context.shapes.get(shape).and_then(|shape| shape.shares.get(context.key));
        let at_once = share.is_some_and(|share| share.at_once);
        let found = self.newcomers.find(key);
        let first = found.and_then(|place| self.newcomers.at_mut(place));
        let new = first.as_ref().is_none_or(|newcomer| newcomer.first.is_none());
        if new && !at_once {
            let only = || Cold::new(&arrival.probe(context.interfaces), shape);
            match first {
                Some(newcomer) => newcomer.first = Some(only()),
                None => {
                    let newcomer = Newcomer { first: Some(only()), ..Newcomer::default() };
                    self.newcomers.insert(*key, newcomer);
                }
            }
            return (None, true);
        }
        let newcomer = found.and_then(|place| self.newcomers.remove(place));
        (Some(self.track(key, newcomer, context)), new)
    }

    /// As [`Self::admit`], for a group. Where no rule can fire before a second member comes, a lone one is only
    /// remembered, and what it has done is taken over from it then.
    pub(super) fn admit_group(
        &mut self,
        key: &SourceKey,
        shape: ShapeId,
        arrival: &Arrival<'_>,
        members: Option<Members<'_>>,
        context: Context<'_>,
    ) -> Option<Place> {
        let lone = self.newcomers.find(key).and_then(|place| self.newcomers.at_mut(place));
        let lone = lone.and_then(|lone| lone.first.as_ref()).map(|first| first.saddr);
        if members.is_some() && lone == Some(arrival.observation.packet.saddr) {
            return None;
        }
        let (place, _) = self.admit(key, shape, arrival, context);
        if let (Some(place), Some((sources, key_of)), Some(lone)) = (place, members, lone)
            && let Some(member) = sources.find(&key_of(lone))
        {
            self.changing(place, |group| group.take_over(member, context));
        }
        place
    }

    fn track(&mut self, key: &SourceKey, newcomer: Option<Newcomer>, context: Context<'_>) -> Place {
        let mut source = Source::default();
        if let Some(newcomer) = newcomer {
            source.resume(&newcomer, context);
        }
        self.sightings += source.sightings();
        let most = usize::try_from(self.capacity.sightings).unwrap_or(usize::MAX);
        // One of the others gives way for each new one; while they have done too much, a few more.
        for _ in 0..4 {
            if self.sightings <= most {
                break;
            }
            let gone = self.tracked.evict();
            self.sightings -= gone.map_or(0, |gone| gone.sightings());
        }
        let (place, gone) = self.tracked.insert(*key, source);
        self.sightings -= gone.map_or(0, |gone| gone.sightings());
        place
    }

    /// What is kept of those that came back, at some places of their table.
    pub(super) fn tracked_within(
        &self,
        places: Range<usize>,
    ) -> impl Iterator<Item = (SourceKey, Remembered)> {
        let tracked = self.tracked.within(places);
        tracked.flat_map(|(key, source)| source.kept().map(move |kept| (key, kept)))
    }

    /// The same of those seen once.
    pub(super) fn newcomers_within(
        &self,
        places: Range<usize>,
    ) -> impl Iterator<Item = (SourceKey, Remembered)> {
        let newcomers = self.newcomers.within(places);
        newcomers.filter_map(|(key, newcomer)| Some((key, newcomer.kept()?)))
    }

    /// How many places the table of either has.
    pub(super) fn places(&self, newcomers: bool) -> usize {
        if newcomers { self.newcomers.places() } else { self.tracked.places() }
    }

    /// Takes back what was kept before, of somebody who had done nothing else if `alone`.
    pub(super) fn take_back(
        &mut self,
        key: &SourceKey,
        kept: Remembered,
        alone: bool,
        now: i64,
        context: Context<'_>,
    ) {
        let tracked = self.tracked.find(key);
        let newcomer = self.newcomers.find(key);
        if alone && tracked.is_none() && newcomer.is_none() {
            self.newcomers.insert(*key, Newcomer::of(kept));
            return;
        }
        let Some(share) = context.shapes.get(kept.shape).and_then(|shape| shape.shares.get(context.key))
        else {
            return;
        };
        let place = tracked.unwrap_or_else(|| {
            let newcomer = newcomer.and_then(|place| self.newcomers.remove(place));
            self.track(key, newcomer, context)
        });
        self.changing(place, |source| source.take_back(share, &kept, now, context));
    }

    pub(super) fn forget(
        &mut self,
        key: &SourceKey,
        index: usize,
        rules: &Ruleset,
        shapes: &mut Shapes,
        hasher: &SeedableRandomState,
    ) {
        if let Some(place) = self.tracked.find(key) {
            self.changing(place, |source| source.forget(index, rules, shapes, hasher));
        }
    }

    /// Goes on with other rules. Of `groups`, those that nothing is counted per any more go.
    pub(super) fn carry_over(&mut self, passage: &Passage<'_>, groups: bool) {
        let keys_of = |key: &SourceKey| {
            if groups { passage.keys_of(key) } else { Keys::from_slice(&[SOURCE_KEY]) }
        };
        self.newcomers.retain(|key, newcomer| {
            newcomer.carry_over(passage, &keys_of(key));
            newcomer.first.is_some() || newcomer.previous_ack.is_some()
        });
        self.tracked.retain(|key, source| {
            let keys = keys_of(key);
            source.carry_over(passage, &keys);
            !keys.is_empty()
        });
        self.sightings = self.tracked.values_mut().map(|source| source.sightings()).sum();
    }

    /// Goes on with room for more or less; then the least recently used give way.
    pub(super) fn resize(&mut self, capacity: Capacity) {
        self.newcomers.resize(capacity.probation);
        let gone = self.tracked.resize(capacity.tracked);
        self.sightings -= gone.iter().map(Source::sightings).sum::<usize>();
        self.capacity = capacity;
        let most = usize::try_from(capacity.sightings).unwrap_or(usize::MAX);
        // Each look of the hand is a short one, and may find nobody.
        for _ in 0..self.tracked.places() {
            if self.sightings <= most {
                break;
            }
            self.sightings -= self.tracked.evict().map_or(0, |gone| gone.sightings());
        }
    }

    /// Forgets who lies within `net`, and what wider keys have of them.
    pub(super) fn forget_senders(&mut self, net: IpNet) {
        self.newcomers.retain(|key, newcomer| {
            !net.contains(&key.net()) && newcomer.first.is_none_or(|cold| !net.contains(&cold.saddr))
        });
        self.tracked.retain(|key, source| {
            source.forget_senders(net);
            !net.contains(&key.net())
        });
        self.sightings = self.tracked.values_mut().map(|source| source.sightings()).sum();
    }

    /// The latest segment of a source whose lateness was in question.
    pub(super) fn previous_ack(&self, key: &SourceKey) -> Option<(u32, u16)> {
        if let Some(source) = self.find(key) {
            return source.previous_ack;
        }
        self.newcomers.find(key).and_then(|place| self.newcomers.at(place))?.previous_ack
    }

    pub(super) fn note_ack(&mut self, key: &SourceKey, ack: (u32, u16)) {
        if let Some(source) = self.tracked.find_mut(key) {
            source.previous_ack = Some(ack);
        } else if let Some(newcomer) = self.newcomers.find_mut(key) {
            newcomer.previous_ack = Some(ack);
        } else {
            self.newcomers.insert(*key, Newcomer { previous_ack: Some(ack), ..Newcomer::default() });
        }
    }

    pub(super) fn seen(&self, key: &SourceKey, now: Stamp, context: Context<'_>) -> Seen {
        if let Some(source) = self.find(key) {
            return source.seen(now, context);
        }
        self.once(key, context).map_or_else(Seen::default, |source| source.seen(now, context))
    }

    /// What somebody who came once would be tracked as.
    fn once(&self, key: &SourceKey, context: Context<'_>) -> Option<Source> {
        let newcomer = self.newcomers.find(key).and_then(|place| self.newcomers.at(place))?;
        let mut source = Source::default();
        source.resume(newcomer, context);
        Some(source)
    }

    /// What a rule counts of somebody, be it seen once or tracked.
    pub(super) fn tally(
        &self,
        key: &SourceKey,
        index: usize,
        rule: &Compiled,
        at: Stamp,
        context: Context<'_>,
    ) -> Option<Tally> {
        match self.find(key) {
            Some(source) => Some(source.tally(index, rule, at, context)),
            None => self.once(key, context).map(|source| source.tally(index, rule, at, context)),
        }
    }

    /// Forgets all counts.
    pub(super) fn clear(&mut self) {
        self.tracked.values_mut().for_each(Source::clear);
        self.newcomers.values_mut().for_each(|newcomer| *newcomer = Newcomer::default());
        self.sightings = 0;
    }
}
