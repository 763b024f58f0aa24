//! What is known of one source (or prefix).
//!
//! All rules share one list of *sightings*: packets that are alike in everything any rule counts (their shape, protocol,
//! destination port, addresses) are one sighting, with the time of the latest. A rule's count is a question to that list.
//! So a packet that repeats an earlier one, as most do, costs one look and one time stamp, however many rules count it,
//! and a source takes memory for what it did and not for what it might be suspected of.

mod evidence;
mod newcomer;
mod purge;
mod reload;

use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use foldhash::fast::SeedableRandomState;
use smallvec::SmallVec;

pub(super) use self::evidence::Tally;
pub(super) use self::newcomer::Newcomer;
use super::incident::{Open, earlier};
use super::key::SourceKey;
use super::memory::Remembered;
use super::probe::{Arrival, Ends, Interfaces, Probe, Sighting, nanoseconds};
use super::rate::{Rates, Totals};
use super::rule::Fields;
use super::ruleset::{Compiled, Counting, Ruleset};
use super::shape::{ShapeId, Shapes, Share};
use super::table::Pinned;
use super::tool::Marks;
use super::{Seen, SeenCount};
use crate::filter::mask::Mask;
use crate::packet::protocol::has_ports;
use crate::packet::{Verdict, as_number};
use crate::time::Stamp;

/// With so many sightings those that no rule needs any more are looked for.
const PURGE_AT: usize = 32;
/// How many lines of the cache with sightings are fetched beforehand; of more, the processor foresees the next itself.
const TOUCHED: usize = 4;

/// A source that has come back. In this order: what every packet needs comes first, in one line of the cache.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct Source {
    /// Apart from `cold`, as every packet searches all of it. Most sources do no more than fits in the entry itself.
    hot: SmallVec<[Hot; 3]>,
    /// Indices of its open incidents; no box where there are none, as nearly always.
    incidents: Option<Box<SmallVec<[u32; 2]>>>,
    rates: Rates,
    /// As many as `hot`.
    cold: Vec<Cold>,
    /// Sequence number and destination port of its latest segment whose lateness was in question.
    pub(super) previous_ack: Option<(u32, u16)>,
    purge_at: u32,
    /// No rule of these shapes can fire before so many sightings more. Two, as a prefix often sends two kinds in turn.
    unripe: [(ShapeId, u32); 2],
}

/// The part of a sighting that changes.
#[derive(Debug, Clone, Copy)]
struct Hot {
    /// A keyed hash of all that makes the sighting what it is.
    key: u64,
    /// Boot time in nanoseconds.
    last: i64,
    bytes: u64,
    /// Four thousand million packets alike, without an incident, is nothing that happens.
    packets: u32,
    /// When the wider keys were told of it, in seconds since boot, its lowest 16 bits.
    told: u16,
    /// Whether the latest packet looks made by hand.
    raw: bool,
    /// Whether rules that fired have forgotten it since: it counts for the others, and takes no more packets.
    closed: bool,
}

/// The part of a sighting that stays; of a newcomer it is all.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cold {
    pub(super) first: Stamp,
    pub(super) saddr: IpAddr,
    daddr: IpAddr,
    sport: u16,
    dport: u16,
    pub(super) shape: ShapeId,
    flags: u16,
    length: u32,
    protocol: u8,
    ttl: u8,
    marks: Marks,
    message: u16,
    interface: u8,
    verdict: Verdict,
    /// Whether the first packet looks made by hand.
    raw: bool,
}

/// What more is known of a packet must not cost memory: it fits into what the alignment leaves over.
const _: () = assert!(size_of::<Hot>() == 32 && size_of::<Cold>() == 80 && size_of::<Newcomer>() == 96);

/// What a packet adds to the sightings of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    /// Nothing: it repeats what counts for every rule.
    None,
    /// A sighting, and no value that a rule would count.
    Sighting,
    /// Perhaps a value.
    Value,
}

/// What came of counting a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counted {
    /// The first rule that fired.
    pub(super) fired: Option<usize>,
    /// Whether the wider keys are to be told.
    pub(super) fresh: bool,
}

/// What a packet is counted with.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) rules: &'a Ruleset,
    pub(super) shapes: &'a Shapes,
    /// What is counted per, by its place in [`Ruleset::keys`].
    pub(super) key: usize,
    /// Keys the hashes of sightings, see [`Self::key_of`].
    pub(super) hasher: &'a SeedableRandomState,
    pub(super) interfaces: &'a Interfaces,
}

impl Context<'_> {
    /// A number that only packets alike have: 64 bits, keyed, so that nobody outside can make two collide.
    fn key_of(&self, share: &Share, shape: ShapeId, ends: Ends<'_>) -> u64 {
        let plain = u64::from(shape) << 32 | u64::from(ends.protocol) << 16 | u64::from(ends.dport);
        let daddr = if share.by_daddr { as_number(*ends.daddr) } else { 0 };
        if share.by_saddr {
            self.hasher.hash_one((plain, daddr, as_number(*ends.saddr)))
        } else {
            self.hasher.hash_one((plain, daddr))
        }
    }

    /// The distinct value that a rule counts of a sighting.
    fn value_of(&self, fields: Fields, cold: &Cold) -> u64 {
        let port = u64::from(cold.protocol) << 16 | u64::from(cold.dport);
        match fields {
            Fields { dport: true, daddr: false, saddr: false, .. } => port,
            Fields { dport: false, daddr: false, saddr: false, .. } => u64::from(cold.protocol),
            Fields { dport, daddr, saddr, protocol } => self.hasher.hash_one((
                if dport { port } else { 0 },
                if protocol { cold.protocol } else { 0 },
                if daddr { as_number(cold.daddr) } else { 0 },
                if saddr { as_number(cold.saddr) } else { 0 },
            )),
        }
    }
}

/// A rule's place as a small number: there are at most [`super::MAX_RULES`].
fn number(index: usize) -> u16 {
    u16::try_from(index).unwrap_or(u16::MAX)
}

/// The seconds of a boot time, their lowest 16 bits.
fn seconds(now: i64) -> u16 {
    u16::try_from(now.div_euclid(1_000_000_000) & 0xffff).unwrap_or_default()
}

impl Pinned for Source {
    fn is_pinned(&self) -> bool {
        self.incidents.is_some()
    }
}

/// One distinct value of a rule: what it weighs, and whether only accepted packets had it.
struct Value {
    value: u64,
    accepted: bool,
    weight: u8,
}

impl Source {
    /// Indices of its open incidents.
    pub(super) fn incidents(&self) -> &[u32] {
        self.incidents.as_ref().map_or(&[], |incidents| incidents.as_slice())
    }

    pub(super) fn attach(&mut self, incident: u32) {
        self.incidents.get_or_insert_default().push(incident);
    }

    pub(super) fn detach(&mut self, incident: u32) {
        if let Some(incidents) = &mut self.incidents {
            incidents.retain(|other| *other != incident);
        }
        self.incidents.take_if(|incidents| incidents.is_empty());
    }

    /// Reads what the next packet will be compared with, so that it is near then: the lines of the cache with the first
    /// sightings, two in each, and the last one of the entry.
    pub(super) fn touch(&self) -> u64 {
        let sightings = self.hot.iter().step_by(2).take(TOUCHED).fold(0, |sum, hot| sum ^ hot.key);
        sightings ^ self.rates.touch() ^ u64::from(self.cold.is_empty())
    }

    /// How many sightings it holds.
    pub(super) fn sightings(&self) -> usize {
        self.hot.len()
    }

    /// Counts a packet for the rules of a share.
    pub(super) fn count(
        &mut self,
        share: &Share,
        shape: ShapeId,
        arrival: &Arrival<'_>,
        hold: u16,
        context: Context<'_>,
    ) -> Counted {
        let (now, length) = (arrival.now, arrival.length());
        let mut fired = None;
        for &index in &share.rates {
            let Some(rule) = context.rules.rules.get(index) else { continue };
            let (packets, bytes) = self.rates.add(number(index), length, now, rule.window);
            let sum = if rule.counting == Counting::Bytes { bytes } else { packets };
            let asked = || {
                let newest = Cold::new(&arrival.probe(context.interfaces), shape);
                rule.threshold.saturating_mul(self.values(index, rule, &newest, now, context))
            };
            if fired.is_none() && sum >= rule.threshold && sum >= asked() {
                fired = Some(index);
            }
        }
        let key = context.key_of(share, shape, arrival.ends());
        let (fresh, news) = self.sight(key, share, shape, arrival, hold, context);
        // A packet that repeats what counts already makes no rule fire.
        if news != News::None && self.is_ripe(shape, news) && self.hot.len() >= share.least {
            let earlier = |index: &usize| fired.is_none_or(|fired| *index < fired);
            let indices = share.distinct.iter().copied().filter(earlier);
            fired = self.first_to_fire(indices, shape, now, context).or(fired);
        }
        Counted { fired, fresh }
    }

    /// Whether a packet adds nothing to the values of the latest new sighting, which still count for every rule: most
    /// members of a prefix come for the same port.
    fn is_like_the_latest(&self, share: &Share, shape: ShapeId, arrival: &Arrival<'_>) -> bool {
        let (Some(hot), Some(cold)) = (self.hot.last(), self.cold.last()) else { return false };
        let Ends { protocol, dport, daddr, .. } = arrival.ends();
        !share.counts_saddr
            && arrival.now - hot.last < share.shortest
            && (cold.shape, cold.protocol, cold.dport, &cold.daddr) == (shape, protocol, dport, daddr)
    }

    /// Goes on from what is known of a newcomer.
    pub(super) fn resume(&mut self, newcomer: &Newcomer, context: Context<'_>) {
        self.previous_ack = newcomer.previous_ack;
        let Some(first) = newcomer.first else { return };
        let shape = context.shapes.get(first.shape);
        let Some(share) = shape.and_then(|shape| shape.shares.get(context.key)) else { return };
        match newcomer.recalled() {
            Some(kept) => self.take_back(share, &kept, kept.last, context),
            // A rule that one packet fires does not let its source be a newcomer.
            None => self.begin(share, first, context),
        }
    }

    /// Counts a packet that came when nothing else was known of the source, and makes no rule fire.
    fn begin(&mut self, share: &Share, first: Cold, context: Context<'_>) {
        let now = nanoseconds(first.first);
        for &index in &share.rates {
            if let Some(rule) = context.rules.rules.get(index) {
                self.rates.add(number(index), first.length, now, rule.window);
            }
        }
        self.add(context.key_of(share, first.shape, first.ends()), first, now);
    }

    /// Adds a sighting that is not known yet.
    fn add(&mut self, key: u64, cold: Cold, now: i64) {
        let bytes = u64::from(cold.length);
        self.hot.push(Hot {
            key,
            last: now,
            bytes,
            packets: 1,
            told: seconds(now),
            raw: cold.raw,
            closed: false,
        });
        self.cold.push(cold);
    }

    /// How many times over a rule's threshold is asked: once for each value among what counts, this packet included.
    fn values(&self, index: usize, rule: &Compiled, newest: &Cold, now: i64, context: Context<'_>) -> u64 {
        let Some(fields) = rule.for_each else { return 1 };
        let alive = self.alive(index, rule.window, now, context.shapes);
        let mut values: SmallVec<[u64; 32]> = alive.map(|(_, cold)| context.value_of(fields, cold)).collect();
        values.push(context.value_of(fields, newest));
        values.sort_unstable();
        values.dedup();
        u64::try_from(values.len()).unwrap_or(u64::MAX)
    }

    /// Whether a rule of `shape` could fire, with one sighting more than when it was last asked.
    fn is_ripe(&mut self, shape: ShapeId, news: News) -> bool {
        let step = u32::from(news == News::Value);
        self.unripe.iter_mut().for_each(|(_, more)| *more = more.saturating_sub(step));
        self.unripe.iter().all(|(of, more)| *of != shape || *more == 0)
    }

    /// Notes that no rule of `shape` can fire before so many sightings more.
    fn ripen(&mut self, shape: ShapeId, more: u64) {
        let place = self.unripe.iter_mut().min_by_key(|(of, more)| (*of != shape, *more));
        if let Some(place) = place {
            *place = (shape, u32::try_from(more).unwrap_or(u32::MAX));
        }
    }

    /// The first of some rules to fire. Where none does, it is noted how many sightings it takes at least until one can.
    fn first_to_fire(
        &mut self,
        indices: impl Iterator<Item = usize>,
        shape: ShapeId,
        now: i64,
        context: Context<'_>,
    ) -> Option<usize> {
        let mut least = u64::from(u32::MAX);
        for index in indices {
            let Some(rule) = context.rules.rules.get(index) else { continue };
            let (weight, at_most) = self.distinct(index, rule, now, context);
            let enough = || self.members(index, rule, now, context.shapes).len() >= rule.from_at_least;
            if weight >= rule.threshold && (rule.from_at_least <= 1 || enough()) {
                self.ripen(shape, 0);
                return Some(index);
            }
            least = least.min(rule.threshold.saturating_sub(at_most).div_ceil(rule.most_weight()));
        }
        self.ripen(shape, least);
        None
    }

    /// Notes a packet. Tells whether the wider keys are to be told, and what it adds to what counts.
    fn sight(
        &mut self,
        key: u64,
        share: &Share,
        shape: ShapeId,
        arrival: &Arrival<'_>,
        hold: u16,
        context: Context<'_>,
    ) -> (bool, News) {
        let now = arrival.now;
        let Some(at) = self.hot.iter().position(|hot| hot.key == key) else {
            let like_the_latest = self.is_like_the_latest(share, shape, arrival);
            if self.hot.len() >= PURGE_AT.max(self.purge_at as usize) {
                self.purge(now, context);
            }
            self.add(key, Cold::new(&arrival.probe(context.interfaces), shape), now);
            return (true, if like_the_latest { News::Sighting } else { News::Value });
        };
        let Some(hot) = self.hot.get_mut(at) else { return (true, News::Value) };
        let repeats = now - hot.last < share.shortest;
        if !repeats {
            (hot.packets, hot.bytes) = (0, 0);
            if let Some(cold) = self.cold.get_mut(at) {
                *cold = Cold::new(&arrival.probe(context.interfaces), shape);
            }
        }
        let fresh = !repeats || seconds(now).wrapping_sub(hot.told) >= hold;
        if fresh {
            hot.told = seconds(now);
        }
        hot.last = now;
        hot.packets = hot.packets.saturating_add(1);
        hot.bytes = hot.bytes.saturating_add(u64::from(arrival.length()));
        hot.raw = arrival.is_raw();
        (fresh, if repeats { News::None } else { News::Value })
    }

    /// Takes over the sightings of a member that count here.
    pub(super) fn take_over(&mut self, member: &Self, context: Context<'_>) {
        self.unripe = Default::default();
        for (hot, cold) in member.hot.iter().zip(&member.cold) {
            let shape = context.shapes.get(cold.shape);
            let Some(share) = shape.and_then(|shape| shape.shares.get(context.key)) else { continue };
            if share.is_empty() {
                continue;
            }
            let key = context.key_of(share, cold.shape, cold.ends());
            match self.hot.iter_mut().find(|hot| hot.key == key) {
                Some(own) => own.last = own.last.max(hot.last),
                None => {
                    self.hot.push(Hot { key, ..*hot });
                    self.cold.push(*cold);
                }
            }
        }
    }

    /// All that is kept of it.
    pub(super) fn kept(&self) -> impl Iterator<Item = Remembered> {
        self.hot.iter().zip(&self.cold).map(|(hot, cold)| Remembered {
            sighting: Sighting {
                first: cold.first,
                probe: cold.probe(hot.raw),
                packets: u64::from(hot.packets),
                bytes: hot.bytes,
            },
            last: hot.last,
            shape: cold.shape,
        })
    }

    /// Takes back what was kept of it before; time may have gone on by then.
    pub(super) fn take_back(&mut self, share: &Share, kept: &Remembered, now: i64, context: Context<'_>) {
        let Remembered { sighting: Sighting { first, probe, packets, bytes }, last, shape } = *kept;
        self.unripe = Default::default();
        let key = context.key_of(share, shape, probe.ends());
        let packets = u32::try_from(packets).unwrap_or(u32::MAX);
        if let Some(at) = self.hot.iter().position(|hot| hot.key == key) {
            let (Some(hot), Some(cold)) = (self.hot.get_mut(at), self.cold.get_mut(at)) else { return };
            hot.last = hot.last.max(last);
            hot.packets = hot.packets.saturating_add(packets);
            hot.bytes = hot.bytes.saturating_add(bytes);
            cold.first = earlier(cold.first, first);
            return;
        }
        if self.hot.len() >= PURGE_AT.max(self.purge_at as usize) {
            self.purge(now, context);
        }
        self.hot.push(Hot { key, last, bytes, packets, told: seconds(last), raw: probe.raw, closed: false });
        self.cold.push(Cold::new(&probe, shape));
    }

    fn totals(&self, index: usize, rule: &Compiled, now: i64) -> Totals {
        self.rates.totals(number(index), now, rule.window)
    }

    /// The sightings that count for a rule now.
    fn alive<'a>(
        &'a self,
        index: usize,
        window: i64,
        now: i64,
        shapes: &'a Shapes,
    ) -> impl Iterator<Item = (&'a Hot, &'a Cold)> {
        self.hot.iter().zip(&self.cold).filter(move |(hot, cold)| {
            now - hot.last < window && shapes.get(cold.shape).is_some_and(|shape| shape.mask.contains(index))
        })
    }

    /// What a rule that counts distinct values comes to now, and what it would if accepted packets counted without
    /// conditions.
    fn distinct(&self, index: usize, rule: &Compiled, now: i64, context: Context<'_>) -> (u64, u64) {
        let Counting::Distinct { fields, rest, .. } = rule.counting else { return (0, 0) };
        let mut values = SmallVec::<[Value; 32]>::new();
        for (_, cold) in self.alive(index, rule.window, now, context.shapes) {
            let value = context.value_of(fields, cold);
            let accepted = context.shapes.get(cold.shape).is_some_and(|shape| shape.accepted);
            let weight = if has_ports(cold.protocol) { rule.weight(cold.dport) } else { rest };
            values.push(Value { value, accepted, weight });
        }
        // Of equal values the one that was not accepted comes first and stays.
        values.sort_unstable_by_key(|value| (value.value, value.accepted));
        values.dedup_by_key(|value| value.value);
        let closed = values.iter().filter(|value| !value.accepted).count();
        let sum = |counts: &dyn Fn(&Value) -> bool| {
            values.iter().filter(|value| counts(value)).map(|value| u64::from(value.weight)).sum()
        };
        let all = sum(&|_| true);
        let counted = if closed >= rule.closed_at_least { all } else { sum(&|value| !value.accepted) };
        (counted, all)
    }

    /// The incident that a rule's count amounts to, and the addresses that contributed.
    pub(super) fn incident(
        &self,
        index: usize,
        rule: &Compiled,
        key: SourceKey,
        at: Stamp,
        context: Context<'_>,
    ) -> Open {
        let now = nanoseconds(at);
        let alive = || self.alive(index, rule.window, now, context.shapes);
        let name = rule.raw_id.as_ref().filter(|_| self.mostly_raw(index, rule, now, context));
        let name = name.unwrap_or(&rule.name);
        let mut open = Open::new(index, Rc::clone(name), key, at);
        for (hot, cold) in alive() {
            open.take_sighting(&Sighting {
                first: cold.first,
                probe: cold.probe(hot.raw),
                packets: u64::from(hot.packets),
                bytes: hot.bytes,
            });
        }
        if !matches!(rule.counting, Counting::Distinct { .. }) {
            open.take_totals(self.totals(index, rule, now));
        }
        open.identify();
        open
    }

    /// Whether at least half of the values that count, each by its latest packet, look made by hand.
    fn mostly_raw(&self, index: usize, rule: &Compiled, now: i64, context: Context<'_>) -> bool {
        let Counting::Distinct { fields, .. } = rule.counting else { return false };
        let mut values: Vec<_> = self
            .alive(index, rule.window, now, context.shapes)
            .map(|(hot, cold)| (context.value_of(fields, cold), hot.last, hot.raw))
            .collect();
        values.sort_unstable();
        let latest = || values.chunk_by(|a, b| a.0 == b.0).filter_map(|of_one| of_one.last());
        latest().filter(|(.., raw)| *raw).count() * 2 >= latest().count()
    }

    /// The addresses whose packets count for a rule now.
    pub(super) fn members(&self, index: usize, rule: &Compiled, now: i64, shapes: &Shapes) -> Vec<IpAddr> {
        let mut members: Vec<_> =
            self.alive(index, rule.window, now, shapes).map(|(_, cold)| cold.saddr).collect();
        members.sort_unstable();
        members.dedup();
        members
    }

    /// Empties the counter of a rule that fired, and those of every other rule that shares a class with it, unless it
    /// only logs.
    pub(super) fn forget(
        &mut self,
        index: usize,
        rules: &Ruleset,
        shapes: &mut Shapes,
        hasher: &SeedableRandomState,
    ) {
        let Some(rule) = rules.rules.get(index) else { return };
        let emptied: Mask = if rule.owns() {
            let shares = |(at, other): &(usize, &Compiled)| *at == index || other.classes.meets(rule.classes);
            rules.rules.iter().enumerate().filter(shares).map(|(at, _)| at).collect()
        } else {
            Mask::of(index)
        };
        self.unripe = Default::default();
        self.rates.forget(|rule| emptied.contains(usize::from(rule)));
        let mut at = 0;
        while let Some(cold) = self.cold.get_mut(at) {
            let left = shapes
                .get(cold.shape)
                .map(|shape| (shape.mask.without(&emptied), shape.class, shape.accepted));
            let shape = left
                .filter(|(mask, ..)| !mask.is_empty())
                .and_then(|(mask, class, accepted)| shapes.of(mask, class, accepted, rules));
            // What is alike counts for rules that this one must not count for again: it begins a sighting of its own.
            match shape {
                Some(shape) => {
                    if let Some(hot) = self.hot.get_mut(at).filter(|_| shape != cold.shape) {
                        hot.close(hasher);
                    }
                    cold.shape = shape;
                    at += 1;
                }
                None => {
                    self.cold.swap_remove(at);
                    self.hot.swap_remove(at);
                }
            }
        }
    }

    /// What counts now.
    pub(super) fn seen(&self, now: Stamp, context: Context<'_>) -> Seen {
        let stamp = |last: i64| evidence::stamp(last, now);
        let (now, mut seen) = (nanoseconds(now), Seen::default());
        let mut rules = Mask::default();
        for (hot, cold) in self.hot.iter().zip(&self.cold) {
            let Some(shape) = context.shapes.get(cold.shape) else { continue };
            let Some(share) = shape.shares.get(context.key) else { continue };
            for index in share.mask.iter() {
                if context.rules.rules.get(index).is_some_and(|rule| now - hot.last < rule.window) {
                    rules.insert(index);
                    seen.note(cold.first, stamp(hot.last));
                }
            }
        }
        for index in rules.iter() {
            let Some(rule) = context.rules.rules.get(index) else { continue };
            let count = self.come_to(index, rule, now, context);
            if count > 0 {
                let window = Duration::from_nanos(rule.window.unsigned_abs());
                let threshold = rule.threshold.saturating_mul(self.times(index, rule, now, context));
                let rule = rule.id.to_string();
                seen.counts.push(SeenCount { rule, count, threshold, window });
            }
        }
        seen
    }

    /// Forgets all counts.
    pub(super) fn clear(&mut self) {
        let incidents = self.incidents.take();
        *self = Self { incidents, ..Self::default() };
    }
}

impl Hot {
    /// Has it take no more packets: from now on it has a key that no packet has.
    fn close(&mut self, hasher: &SeedableRandomState) {
        self.key = hasher.hash_one(self.key);
        self.closed = true;
    }
}

impl Cold {
    pub(super) const fn new(probe: &Probe, shape: ShapeId) -> Self {
        Self {
            first: probe.at,
            saddr: probe.saddr,
            daddr: probe.daddr,
            sport: probe.sport,
            dport: probe.dport,
            shape,
            flags: probe.flags,
            length: probe.length,
            protocol: probe.protocol,
            ttl: probe.ttl,
            marks: probe.marks,
            message: probe.message,
            interface: probe.interface,
            verdict: probe.verdict,
            raw: probe.raw,
        }
    }

    const fn ends(&self) -> Ends<'_> {
        Ends { protocol: self.protocol, dport: self.dport, saddr: &self.saddr, daddr: &self.daddr }
    }

    /// The packet, or one like it that looked made by hand or not.
    const fn probe(&self, raw: bool) -> Probe {
        Probe {
            at: self.first,
            saddr: self.saddr,
            daddr: self.daddr,
            sport: self.sport,
            dport: self.dport,
            protocol: self.protocol,
            ttl: self.ttl,
            flags: self.flags,
            length: self.length,
            raw,
            marks: self.marks,
            message: self.message,
            interface: self.interface,
            verdict: self.verdict,
        }
    }
}
