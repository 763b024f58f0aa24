//! What is known of one source (or prefix).
//!
//! All rules share one list of *sightings*: packets that are alike in everything any rule counts (their shape, protocol,
//! destination port, addresses) are one sighting, with the time of the latest. A rule's count is a question to that list.
//! So a packet that repeats an earlier one, as most do, costs one look and one time stamp, however many rules count it,
//! and a source takes memory for what it did and not for what it might be suspected of.

mod counts;
mod evidence;
mod kept;
mod newcomer;
mod purge;
mod reload;
mod sighting;

use std::hash::BuildHasher as _;

use foldhash::fast::SeedableRandomState;
use smallvec::SmallVec;

pub(super) use self::evidence::Tally;
pub(super) use self::newcomer::Newcomer;
pub(super) use self::sighting::Cold;
use self::sighting::{Hot, seconds};
use super::probe::{Arrival, Ends, Interfaces};
use super::rate::Rates;
use super::rule::Fields;
use super::ruleset::{Compiled, Counting, Ruleset};
use super::shape::{ShapeId, Shapes, Share};
use super::table::Pinned;
use crate::filter::mask::Mask;
use crate::packet::as_number;

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

impl Pinned for Source {
    fn is_pinned(&self) -> bool {
        self.incidents.is_some()
    }
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

    /// Forgets all counts.
    pub(super) fn clear(&mut self) {
        let incidents = self.incidents.take();
        *self = Self { incidents, ..Self::default() };
    }
}
