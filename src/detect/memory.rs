//! What is remembered of counting while no process runs.
//!
//! A rule with a window of days would never fire on a host that is restarted every night. So the sightings that still count
//! for rules with long windows are handed out ([`Detector::remember`]) and taken back by the next process
//! ([`Detector::recall`]). In between lies any time, another boot, and perhaps another version with other rules: a rule is
//! called by its id, a time by the wall clock. A sighting counts on for a rule that has kept its id, whatever else the rule
//! asks now; that is over when its window is.
//!
//! Only values are remembered (`count: distinct`), not sums of packets or octets.

use std::sync::Arc;
use std::time::Duration;

use foldhash::{HashMap, HashMapExt as _};

use super::Detector;
use super::key::SourceKey;
use super::probe::{Probe, Sighting, nanoseconds};
use super::rule::Key;
use super::ruleset::{Compiled, Counting, Ruleset, SOURCE_KEY};
use super::shape::{Shape, ShapeId};
use super::source::Context;
use super::tool::Marks;
use crate::filter::Class;
use crate::filter::mask::Mask;
use crate::packet::Verdict;
use crate::time::Stamp;

/// Rules whose windows are shorter than this begin anew with the process: what they count is soon there again.
pub const LONG_WINDOW: Duration = Duration::from_secs(3_600);

/// Whose sighting it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Holder {
    /// A source with this packet alone.
    Newcomer,
    /// A source that came back.
    Source,
    /// A prefix, or a pair of source and destination, with this packet alone.
    LoneGroup,
    /// One of these that came back.
    Group,
}

impl Holder {
    /// All of them. Who comes back while they are gone through, in this order, is met twice rather than never.
    pub const ALL: [Self; 4] = [Self::Newcomer, Self::Source, Self::LoneGroup, Self::Group];

    const fn is_group(self) -> bool {
        matches!(self, Self::Group | Self::LoneGroup)
    }

    const fn is_alone(self) -> bool {
        matches!(self, Self::Newcomer | Self::LoneGroup)
    }
}

/// Packets alike of one source, and the rules they count for. Wall times are microseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Memory {
    /// Whose they are.
    pub holder: Holder,
    /// The key of whose they are.
    pub key: SourceKey,
    /// The ids of the rules.
    pub rules: Arc<[Arc<str>]>,
    /// What they are evidence of.
    pub class: Class,
    /// Whether the firewall accepted them.
    pub accepted: bool,
    /// Source address of the first of them; it and all that follows are the headers' own.
    pub saddr: std::net::IpAddr,
    /// Destination address.
    pub daddr: std::net::IpAddr,
    /// Source port, 0 where there is none.
    pub sport: u16,
    /// Destination port, 0 where there is none.
    pub dport: u16,
    /// IP protocol.
    pub protocol: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// TCP control bits.
    pub flags: u16,
    /// IP length in octets.
    pub length: u32,
    /// Whether the latest looks made by hand.
    pub raw: bool,
    /// Whose fingerprints the first bears, as bits.
    pub marks: u8,
    /// When the first of them came.
    pub first_us: i64,
    /// When the latest came.
    pub last_us: i64,
    /// How many.
    pub packets: u32,
    /// Their IP lengths in sum.
    pub bytes: u64,
}

/// A sighting apart from its source.
#[derive(Debug, Clone, Copy)]
pub(super) struct Remembered {
    pub(super) sighting: Sighting,
    /// Boot time of the latest packet, in nanoseconds: less than 0 before the boot.
    pub(super) last: i64,
    pub(super) shape: ShapeId,
}

/// How far a detector has been gone through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// The place in [`Holder::ALL`], each of which has a table of its own.
    table: usize,
    place: usize,
}

/// How many places of a table are gone through at a time: a millisecond or two where each has twenty sightings.
const PART: usize = 256;

impl Detector {
    /// What counts `now` for rules whose windows are `at_least` so long.
    #[must_use]
    pub fn remember(&self, now: Stamp, at_least: Duration) -> Vec<Memory> {
        let (mut memories, mut from) = (Vec::new(), Some(Progress::default()));
        while let Some(progress) = from {
            from = self.remember_part(progress, now, at_least, &mut memories);
        }
        memories
    }

    /// As [`Self::remember`], a part of it from `from` on, so that packets need not wait for the whole. Tells where the next
    /// part begins. A packet may be in two parts when its source is seen again in between; its value counts once.
    pub fn remember_part(
        &self,
        from: Progress,
        now: Stamp,
        at_least: Duration,
        memories: &mut Vec<Memory>,
    ) -> Option<Progress> {
        let Progress { table, place } = from;
        let holder = *Holder::ALL.get(table)?;
        let long = self.rules.long(at_least);
        if long.is_empty() {
            return None;
        }
        let population = if holder.is_group() { &self.groups } else { &self.sources };
        let places = place..place + PART;
        let mut names = HashMap::new();
        let note = |(key, kept)| memories.extend(self.memory(holder, key, &kept, &long, now, &mut names));
        if holder.is_alone() {
            population.newcomers_within(places.clone()).for_each(note);
        } else {
            population.tracked_within(places.clone()).for_each(note);
        }
        if places.end < population.places(holder.is_alone()) {
            return Some(Progress { table, place: places.end });
        }
        (table + 1 < Holder::ALL.len()).then_some(Progress { table: table + 1, place: 0 })
    }

    /// A sighting as far as it counts now for the rules of `long`.
    fn memory(
        &self,
        holder: Holder,
        key: SourceKey,
        kept: &Remembered,
        long: &Mask,
        now: Stamp,
        names: &mut HashMap<Mask, Arc<[Arc<str>]>>,
    ) -> Option<Memory> {
        let shape = self.shapes.get(kept.shape)?;
        let age = nanoseconds(now).saturating_sub(kept.last);
        let counts = |index: &usize| {
            self.rules
                .rules
                .get(*index)
                .is_some_and(|rule| age < rule.window && (rule.key != SOURCE_KEY || !holder.is_group()))
        };
        let mask: Mask = shape.mask.and(long).iter().filter(counts).collect();
        if mask.is_empty() {
            return None;
        }
        let rules = Arc::clone(names.entry(mask).or_insert_with(|| self.rules.ids(mask)));
        let last_us = now.wall_us.saturating_sub(age / 1_000);
        Some(memory(holder, key, rules, (shape.class, shape.accepted), kept, last_us))
    }

    /// Takes back what an earlier process remembered, as far as it counts for rules of today. Nothing fires: a rule fires on
    /// a packet. Where there is not room for all, the latest stay.
    pub fn recall(&mut self, mut memories: Vec<Memory>, now: Stamp) {
        memories.sort_by_key(|memory| memory.last_us);
        let rules = std::rc::Rc::clone(&self.rules);
        let index_of: HashMap<&str, usize> =
            rules.rules.iter().enumerate().map(|(index, rule)| (&*rule.id, index)).collect();
        for memory in &memories {
            // A clock that was set back makes no packet of the future.
            let age = now.wall_us.saturating_sub(memory.last_us).max(0).saturating_mul(1_000);
            let named = memory.rules.iter().filter_map(|id| index_of.get(&**id).copied());
            let mask: Mask = named.filter(|&index| rules.counts_on(index, memory, age)).collect();
            if mask.is_empty() {
                continue;
            }
            let Some(shape) = self.shapes.of(mask, memory.class, memory.accepted, &rules) else { continue };
            let kept = kept(memory, shape, age, now);
            let at = self.shapes.get(shape).and_then(|shape| rules.place_of(memory, shape));
            let Some(at) = at else { continue };
            let population = if memory.holder.is_group() { &mut self.groups } else { &mut self.sources };
            let context = Context {
                rules: &rules,
                shapes: &self.shapes,
                key: at,
                hasher: &self.values,
                interfaces: &self.interfaces,
            };
            population.take_back(&memory.key, kept, memory.holder.is_alone(), nanoseconds(now), context);
        }
    }
}

fn memory(
    holder: Holder,
    key: SourceKey,
    rules: Arc<[Arc<str>]>,
    (class, accepted): (Class, bool),
    kept: &Remembered,
    last_us: i64,
) -> Memory {
    let Sighting { first, probe, packets, bytes } = kept.sighting;
    Memory {
        holder,
        key,
        rules,
        class,
        accepted,
        saddr: probe.saddr,
        daddr: probe.daddr,
        sport: probe.sport,
        dport: probe.dport,
        protocol: probe.protocol,
        ttl: probe.ttl,
        flags: probe.flags,
        length: probe.length,
        raw: probe.raw,
        marks: probe.marks.bits(),
        first_us: first.wall_us.min(last_us),
        last_us,
        packets: u32::try_from(packets).unwrap_or(u32::MAX),
        bytes,
    }
}

fn kept(memory: &Memory, shape: ShapeId, age: i64, now: Stamp) -> Remembered {
    let last = nanoseconds(now).saturating_sub(age);
    let earlier = memory.last_us.saturating_sub(memory.first_us).max(0);
    let first_boot = last.saturating_sub(earlier.saturating_mul(1_000));
    let first = Stamp {
        // A stamp has no boot time before the boot; whoever compares two of these looks at their wall times.
        boot: Duration::from_nanos(u64::try_from(first_boot).unwrap_or_default()),
        wall_us: memory.first_us.min(now.wall_us),
    };
    let probe = Probe {
        at: first,
        saddr: memory.saddr,
        daddr: memory.daddr,
        sport: memory.sport,
        dport: memory.dport,
        protocol: memory.protocol,
        ttl: memory.ttl,
        flags: memory.flags,
        length: memory.length,
        raw: memory.raw,
        marks: Marks::from_bits(memory.marks),
        // Not remembered, nor is the interface: they decide nothing.
        message: 0,
        interface: 0,
        verdict: if memory.accepted { Verdict::Accepted } else { Verdict::Refused },
    };
    let sighting = Sighting { first, probe, packets: u64::from(memory.packets), bytes: memory.bytes };
    Remembered { sighting, last, shape }
}

impl Key {
    /// Whether `key`, of a prefix or a pair, is what is counted per.
    pub(super) fn is_of(&self, key: &SourceKey) -> bool {
        let (net, zone) = (key.net(), key.zone());
        match self {
            Self::Source => false,
            Self::Pair => zone != 0,
            Self::Prefix { ipv4, ipv6 } => {
                let length = if net.addr().is_ipv4() { ipv4 } else { ipv6 };
                zone == 0 && *length == Some(net.prefix_len())
            }
        }
    }
}

impl Ruleset {
    /// The rules that count values within windows of `at_least` so long.
    fn long(&self, at_least: Duration) -> Mask {
        let at_least = i64::try_from(at_least.as_nanos()).unwrap_or(i64::MAX);
        let long =
            |rule: &Compiled| rule.window >= at_least && matches!(rule.counting, Counting::Distinct { .. });
        self.rules.iter().enumerate().filter(|(_, rule)| long(rule)).map(|(index, _)| index).collect()
    }

    fn ids(&self, mask: Mask) -> Arc<[Arc<str>]> {
        mask.iter().filter_map(|index| self.rules.get(index)).map(|rule| Arc::from(&*rule.id)).collect()
    }

    /// The place of the key that something remembered is counted per.
    fn place_of(&self, memory: &Memory, shape: &Shape) -> Option<usize> {
        if !memory.holder.is_group() {
            return Some(SOURCE_KEY);
        }
        shape.others.iter().copied().find(|&at| self.keys.get(at).is_some_and(|key| key.is_of(&memory.key)))
    }

    /// Whether what is remembered, so many nanoseconds old, still counts for a rule.
    fn counts_on(&self, index: usize, memory: &Memory, age: i64) -> bool {
        self.rules.get(index).is_some_and(|rule| {
            age < rule.window
                && matches!(rule.counting, Counting::Distinct { .. })
                && rule.classes.contains(memory.class)
                && (rule.key != SOURCE_KEY || !memory.holder.is_group())
        })
    }
}
