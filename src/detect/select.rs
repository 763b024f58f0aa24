//! Which rules a packet matches, at a price that does not grow with the number of rules that do not match it.
//!
//! Every part of a packet that some rule asks for (its class and verdict, its ports, its addresses …) maps to the set of
//! rules that its value satisfies, as a bit mask; the rules of a packet are the intersection. Numbers are looked up in
//! sorted ranges, names are remembered; an exception (`not`) counts as a rule that takes another one out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;

use super::class::is_raw;
use super::key::as_number;
use super::ruleset::MAX_RULES;
use crate::filter::{Class, Filter, is_named};
use crate::packet::{Observation, Packet, Transport, Verdict, protocol};

const WORDS: usize = MAX_RULES / 64;
const NO_RULE: Mask = Mask([0; WORDS]);

/// A set of rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Mask([u64; WORDS]);

impl Mask {
    pub(super) fn of(rule: usize) -> Self {
        let mut mask = Self::default();
        mask.insert(rule);
        mask
    }

    pub(super) fn insert(&mut self, rule: usize) {
        if let Some(word) = self.0.get_mut(rule / 64) {
            *word |= 1 << (rule % 64);
        }
    }

    pub(super) fn remove(&mut self, rule: usize) {
        if let Some(word) = self.0.get_mut(rule / 64) {
            *word &= !(1 << (rule % 64));
        }
    }

    pub(super) fn and(&self, other: &Self) -> Self {
        let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
        Self([a & e, b & f, c & g, d & h])
    }

    /// Those that are not in `other`.
    pub(super) fn without(&self, other: &Self) -> Self {
        let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
        Self([a & !e, b & !f, c & !g, d & !h])
    }

    pub(super) fn meets(&self, other: &Self) -> bool {
        !self.and(other).is_empty()
    }

    pub(super) fn contains(&self, rule: usize) -> bool {
        self.0.get(rule / 64).is_some_and(|word| word >> (rule % 64) & 1 == 1)
    }

    pub(super) fn is_empty(&self) -> bool {
        let [a, b, c, d] = self.0;
        a | b | c | d == 0
    }

    /// The rules of the set, in their order.
    pub(super) fn iter(self) -> impl Iterator<Item = usize> {
        self.0.into_iter().enumerate().flat_map(|(word, mut bits)| {
            std::iter::from_fn(move || {
                let bit = usize::try_from(bits.trailing_zeros()).ok()?;
                bits = (bits != 0).then(|| bits & (bits - 1))?;
                Some(word * 64 + bit)
            })
        })
    }
}

impl FromIterator<usize> for Mask {
    fn from_iter<T: IntoIterator<Item = usize>>(rules: T) -> Self {
        let mut mask = Self::default();
        rules.into_iter().for_each(|rule| mask.insert(rule));
        mask
    }
}

/// Sets of rules, each once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Masks {
    sets: Vec<Mask>,
    numbers: HashMap<Mask, u32>,
}

impl Masks {
    fn number(&mut self, mask: Mask) -> u32 {
        *self.numbers.entry(mask).or_insert_with(|| {
            self.sets.push(mask);
            u32::try_from(self.sets.len() - 1).unwrap_or(u32::MAX)
        })
    }

    fn set(&self, number: u32) -> &Mask {
        self.sets.get(number as usize).unwrap_or(&NO_RULE)
    }
}

/// What a rule allows of one number: nothing said is everything.
type Allowed = Vec<RangeInclusive<u128>>;

/// One number of a packet, and the rules that each of its values satisfies.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    /// The rules that ask for it.
    restricted: Mask,
    /// The rules that a packet without it satisfies.
    unasked: Mask,
    /// Where the ranges begin, ascending; the rules of each are at the same place in `of`.
    starts: Vec<u128>,
    of: Vec<u32>,
    /// The same for each value up to the beginning of the last range; empty where these are too many.
    direct: Vec<u32>,
    masks: Masks,
}

/// So many values are looked up directly: all of a port, a length, a TTL.
const DIRECT: u128 = 1 << 16;

impl Part {
    /// Of what each rule allows; none where no rule asks.
    fn new(rules: &[Allowed]) -> Option<Self> {
        let restricted: Mask =
            rules.iter().enumerate().filter(|(_, allowed)| !allowed.is_empty()).map(|(at, _)| at).collect();
        if restricted.is_empty() {
            return None;
        }
        let every: Mask = (0..rules.len()).collect();
        let unasked = every.without(&restricted);
        // At each start and after each end, one rule more or less holds: how often, as ranges may overlap.
        let mut turns: Vec<(u128, usize, i32)> = vec![(0, 0, 0)];
        for (rule, allowed) in rules.iter().enumerate() {
            for range in allowed {
                turns.push((*range.start(), rule, 1));
                if let Some(after) = range.end().checked_add(1) {
                    turns.push((after, rule, -1));
                }
            }
        }
        turns.sort_unstable();
        let mut this = Self {
            restricted,
            unasked,
            starts: Vec::new(),
            of: Vec::new(),
            direct: Vec::new(),
            masks: Masks::default(),
        };
        let mut holding = vec![0_i32; rules.len()];
        let mut now = unasked;
        for turns in turns.chunk_by(|a, b| a.0 == b.0) {
            for &(_, rule, step) in turns {
                if let Some(count) = holding.get_mut(rule).filter(|_| step != 0) {
                    *count += step;
                    if *count > 0 { now.insert(rule) } else { now.remove(rule) }
                }
            }
            let number = this.masks.number(now);
            if let (Some((start, ..)), true) = (turns.first(), this.of.last() != Some(&number)) {
                this.starts.push(*start);
                this.of.push(number);
            }
        }
        if let Some(last) = this.starts.last().copied().filter(|last| *last < DIRECT) {
            this.direct = (0..=last).filter_map(|value| this.range(value)).collect();
        }
        Some(this)
    }

    /// The number of the set of rules that a value satisfies; none where the packet has no such value.
    fn number(&self, value: Value) -> Option<u32> {
        match value {
            Value::None => None,
            Value::Small(value) => match self.direct.last() {
                Some(last) => Some(*self.direct.get(value as usize).unwrap_or(last)),
                None => self.range(value.into()),
            },
            Value::Address(value) => self.range(value),
        }
    }

    /// The same, searched for.
    fn range(&self, value: u128) -> Option<u32> {
        let after = self.starts.partition_point(|start| *start <= value);
        self.of.get(after.saturating_sub(1)).copied()
    }

    fn of(&self, value: Value) -> &Mask {
        self.number(value).map_or(&self.unasked, |number| self.masks.set(number))
    }
}

/// One number of a packet.
#[derive(Debug, Clone, Copy)]
enum Value {
    /// It has none.
    None,
    Small(u32),
    Address(u128),
}

impl<T: Into<u32>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::None, |value| Self::Small(value.into()))
    }
}

/// How a number is read from a packet, and what a filter says about it.
struct Reading {
    value: fn(&Observation<'_>) -> Value,
    allowed: fn(&Filter) -> Allowed,
}

fn ranges<T: Copy + Into<u128>>(ranges: &[RangeInclusive<T>]) -> Allowed {
    ranges.iter().map(|range| (*range.start()).into()..=(*range.end()).into()).collect()
}

fn numbers<T: Copy + Into<u128>>(numbers: impl IntoIterator<Item = T>) -> Allowed {
    numbers.into_iter().map(|number| number.into()..=number.into()).collect()
}

/// The first and the last of the addresses that stand for IPv4 ones (RFC 4291 section 2.5.5.2).
const MAPPED: (u128, u128) = (0xffff_0000_0000, 0xffff_ffff_ffff);

/// IPv4 networks lie where the mapped addresses are, and those of IPv6 around them.
fn networks(networks: &[IpNet]) -> Allowed {
    let mut allowed = Allowed::new();
    for net in networks {
        let (first, last) = (as_number(net.network()), as_number(net.broadcast()));
        if net.addr().is_ipv4() {
            allowed.push(first..=last);
        } else {
            // Where nothing is left, it is still asked for: a range that no packet is in.
            let before = first..=last.min(MAPPED.0 - 1);
            let after = first.max(MAPPED.1 + 1)..=last;
            let none = if before.is_empty() && after.is_empty() { Some(u128::MAX..=u128::MAX) } else { None };
            allowed.extend([before, after].into_iter().filter(|range| !range.is_empty()).chain(none));
        }
    }
    allowed
}

/// An address as [`networks`] has it. No IPv6 packet has a mapped one (RFC 4291): it is in no network.
fn address(address: IpAddr) -> Value {
    let number = as_number(address);
    let is_one = address.is_ipv4() || !(MAPPED.0..=MAPPED.1).contains(&number);
    if is_one { Value::Address(number) } else { Value::None }
}

/// A part of the TCP header.
fn tcp<T: Into<u32>>(packet: &Packet, of: impl Fn(&crate::packet::Tcp) -> Option<T>) -> Value {
    match &packet.transport {
        Transport::Tcp(tcp) => of(tcp).into(),
        _ => Value::None,
    }
}

/// All numbers that filters ask for, but class, verdict and destination port.
const READINGS: [Reading; 14] = [
    Reading { value: |o| address(o.packet.saddr), allowed: |f| networks(&f.saddr) },
    Reading { value: |o| address(o.packet.daddr), allowed: |f| networks(&f.daddr) },
    Reading { value: |o| o.packet.ports().map(|ports| ports.0).into(), allowed: |f| ranges(&f.sport) },
    Reading {
        value: |o| Value::Small(o.packet.protocol.into()),
        allowed: |f| numbers(f.protocol.iter().copied()),
    },
    Reading { value: |o| Value::Small(o.packet.ttl.into()), allowed: |f| ranges(&f.ttl) },
    Reading { value: |o| Value::Small(o.packet.length), allowed: |f| ranges(&f.length) },
    Reading {
        value: |o| tcp(&o.packet, |tcp| Some(tcp.flags.0)),
        allowed: |f| {
            let flagged = |bits: &u16| f.tcp_flags.iter().any(|(value, mask)| bits & mask == *value);
            // A set of bits that nothing satisfies is still asked for.
            let none = (!f.tcp_flags.is_empty()).then_some(u128::MAX..=u128::MAX);
            numbers((0..1 << 12).filter(flagged)).into_iter().chain(none).collect()
        },
    },
    Reading {
        value: |o| tcp(&o.packet, |tcp| tcp.sequence),
        allowed: |f| numbers(f.tcp_sequence.iter().copied()),
    },
    Reading {
        value: |o| match o.packet.transport {
            Transport::Icmp(icmp) => Value::Small(icmp.kind.into()),
            _ => Value::None,
        },
        allowed: |f| ranges(&f.icmp_type),
    },
    Reading {
        value: |o| o.packet.saddr.is_ipv4().then_some(o.packet.dont_fragment).into(),
        allowed: |f| numbers(f.dont_fragment.map(u8::from)),
    },
    Reading {
        value: |o| Value::Small(o.packet.fragment.is_some().into()),
        allowed: |f| numbers(f.fragment.map(u8::from)),
    },
    Reading { value: |o| Value::Small(is_raw(&o.packet).into()), allowed: |f| numbers(f.raw.map(u8::from)) },
    Reading {
        value: |o| Value::Small(o.pkttype as u32),
        allowed: |f| numbers(f.pkttype.iter().map(|pkttype| *pkttype as u8)),
    },
    Reading {
        value: |o| o.fault.map(|fault| fault as u32).into(),
        allowed: |f| numbers(f.fault.iter().map(|fault| *fault as u8)),
    },
];

/// A name that filters ask for.
struct Naming {
    value: for<'a> fn(&Observation<'a>) -> &'a [u8],
    asked: fn(&Filter) -> &[String],
    is: fn(&[u8], &str) -> bool,
}

fn is_interface(name: &[u8], wanted: &str) -> bool {
    std::str::from_utf8(name).is_ok_and(|name| is_named(name, wanted))
}

const NAMINGS: [Naming; 3] = [
    Naming { value: |o| o.iif.as_bytes(), asked: |f| &f.iif, is: is_interface },
    Naming { value: |o| o.oif.as_bytes(), asked: |f| &f.oif, is: is_interface },
    Naming {
        value: |o| o.prefix,
        asked: |f| &f.log_prefix,
        is: |prefix, wanted| prefix.starts_with(wanted.as_bytes()),
    },
];

/// The rules that the names seen lately satisfy. There are few interfaces and few log prefixes, but a prefix comes from
/// outside: so a handful for each, the oldest forgotten first.
#[derive(Debug, Default)]
pub(super) struct Names([Vec<(Box<[u8]>, Mask)>; NAMINGS.len()]);

const REMEMBERED_NAMES: usize = 8;

/// All that decides which rules a packet matches, in numbers: packets with the same ones match the same rules.
pub(super) type Signature = [u16; 8];

/// In a signature: the packet has no such value.
const ABSENT: u16 = u16::MAX;

/// Of the rules for one class and verdict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Kind {
    mask: Mask,
    /// The numbers that any of them asks for, as places in [`Selector::parts`].
    parts: Vec<usize>,
    /// Whether any of them asks for a destination port, or for a name.
    ported: bool,
    named: bool,
    /// Those with exceptions that such a packet may be.
    excepting: Mask,
}

/// The filters of all rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Selector {
    /// By class and verdict.
    kinds: Vec<[Kind; Verdict::ALL.len()]>,
    /// Destination port of TCP, then of the other protocols that have ports → number of a set; empty where no rule asks.
    by_dport: Vec<u32>,
    port_masks: Masks,
    /// The rules that ask for a destination port.
    ported: Mask,
    parts: Vec<(usize, Part)>,
    /// Exceptions stand behind the rules as filters of their own: which one takes which rule out.
    exceptions: Vec<(usize, usize)>,
    /// The rules, without those.
    rules: Mask,
    /// The rules that ask for each of the names.
    named: [Mask; NAMINGS.len()],
    filters: Vec<Filter>,
}

impl Selector {
    /// Of the filters of all rules; `traps` are pairs of protocol and port.
    pub(super) fn new(mut filters: Vec<Filter>, traps: &[(u8, u16)]) -> Self {
        let rules: Mask = (0..filters.len()).collect();
        let exceptions = set_apart(&mut filters);
        let ported = places(&filters, |filter| !filter.dport.is_empty() || filter.dport_traps);
        let (mut by_dport, mut port_masks) = (Vec::new(), Masks::default());
        if !ported.is_empty() {
            for tcp in [true, false] {
                let traps: Vec<_> =
                    traps.iter().filter(|trap| (trap.0 == protocol::TCP) == tcp).map(|trap| trap.1).collect();
                by_dport.extend(by_port(&filters, &traps, &mut port_masks));
            }
        }
        let parts = READINGS.iter().enumerate().filter_map(|(number, reading)| {
            let allowed: Vec<_> = filters.iter().map(reading.allowed).collect();
            Part::new(&allowed).map(|part| (number, part))
        });
        let parts: Vec<(usize, Part)> = parts.collect();
        let named = NAMINGS.map(|naming| places(&filters, |filter| !(naming.asked)(filter).is_empty()));
        let kinds = Class::ALL.map(|class| {
            Verdict::ALL.map(|verdict| {
                let mask = places(&filters, |filter| filter.may_match(class, verdict));
                let asking = |(_, (_, part)): &(usize, &(usize, Part))| mask.meets(&part.restricted);
                Kind {
                    parts: parts.iter().enumerate().filter(asking).map(|(at, _)| at).collect(),
                    ported: mask.meets(&ported),
                    named: named.iter().any(|asking| mask.meets(asking)),
                    excepting: mask.and(&places(&filters, |filter| {
                        filter.not.iter().any(|not| not.may_match(class, verdict))
                    })),
                    mask,
                }
            })
        });
        // What the sets say already need not be asked again.
        for filter in &mut filters {
            *filter = Filter {
                not: std::mem::take(&mut filter.not),
                iif: std::mem::take(&mut filter.iif),
                oif: std::mem::take(&mut filter.oif),
                log_prefix: std::mem::take(&mut filter.log_prefix),
                ..Filter::default()
            };
        }
        Self { kinds: kinds.to_vec(), exceptions, rules, by_dport, port_masks, ported, parts, named, filters }
    }

    fn kind(&self, class: Class, verdict: Verdict) -> Option<&Kind> {
        self.kinds.get(class as usize)?.get(verdict as usize)
    }

    /// The number of the set of rules that a destination port satisfies.
    fn by_port(&self, packet: &Packet) -> Option<u32> {
        let (_, dport) = packet.ports()?;
        let table = usize::from(packet.protocol != protocol::TCP) << 16;
        self.by_dport.get(table | usize::from(dport)).copied()
    }

    /// What decides which rules a packet matches; none where that cannot be told in a few numbers: rules that ask for
    /// names, or for very many things.
    pub(super) fn signature(&self, observation: &Observation<'_>, class: Class) -> Option<Signature> {
        let kind = self.kind(class, observation.verdict)?;
        if kind.named {
            return None;
        }
        let mut signature = [ABSENT; 8];
        let [kinds, dport, parts @ ..] = &mut signature;
        *kinds = (class as u16) << 8 | observation.verdict as u16;
        let known = |number: u32| u16::try_from(number).ok().filter(|number| *number != ABSENT);
        if kind.ported
            && let Some(number) = self.by_port(&observation.packet)
        {
            *dport = known(number)?;
        }
        if kind.parts.len() > parts.len() {
            return None;
        }
        for (place, &at) in parts.iter_mut().zip(&kind.parts) {
            let (reading, part) = self.parts.get(at)?;
            if let Some(number) = part.number((READINGS.get(*reading)?.value)(observation)) {
                *place = known(number)?;
            }
        }
        Some(signature)
    }

    /// Whether some of the rules have exceptions that such a packet may be: then its signature does not decide.
    pub(super) fn excepts(&self, mask: &Mask, observation: &Observation<'_>, class: Class) -> bool {
        self.kind(class, observation.verdict).is_some_and(|kind| mask.meets(&kind.excepting))
    }

    /// The rules that a packet of `class` matches, exceptions apart.
    pub(super) fn select(&self, observation: &Observation<'_>, class: Class, names: &mut Names) -> Mask {
        let Some(kind) = self.kind(class, observation.verdict) else { return NO_RULE };
        let mut mask = kind.mask;
        if kind.ported {
            mask = match self.by_port(&observation.packet) {
                Some(number) => mask.and(self.port_masks.set(number)),
                None => mask.without(&self.ported),
            };
        }
        for &at in &kind.parts {
            if let Some((reading, part)) = self.parts.get(at)
                && mask.meets(&part.restricted)
                && let Some(reading) = READINGS.get(*reading)
            {
                mask = mask.and(part.of((reading.value)(observation)));
            }
        }
        for (at, asking) in self.named.iter().enumerate() {
            if mask.meets(asking) {
                mask = mask.and(&self.by_name(at, observation, names));
            }
        }
        for &(rule, exception) in &self.exceptions {
            if mask.contains(exception) {
                mask.remove(rule);
            }
        }
        mask.and(&self.rules)
    }

    /// Takes those rules out of `mask` that except the packet.
    pub(super) fn except(&self, mask: &mut Mask, observation: &Observation<'_>, class: Class) {
        let Some(kind) = self.kind(class, observation.verdict) else { return };
        for rule in mask.and(&kind.excepting).iter() {
            let excepts =
                |filter: &Filter| filter.not.iter().any(|not| not.matches(observation, Some(class)));
            if self.filters.get(rule).is_some_and(excepts) {
                mask.remove(rule);
            }
        }
    }

    fn by_name(&self, at: usize, observation: &Observation<'_>, names: &mut Names) -> Mask {
        let (Some(naming), Some(known)) = (NAMINGS.get(at), names.0.get_mut(at)) else {
            return Mask::default();
        };
        let name = (naming.value)(observation);
        if let Some((_, mask)) = known.iter().find(|(known, _)| **known == *name) {
            return *mask;
        }
        let mask = places(&self.filters, |filter| {
            let asked = (naming.asked)(filter);
            asked.is_empty() || asked.iter().any(|wanted| (naming.is)(name, wanted))
        });
        if known.len() >= REMEMBERED_NAMES {
            known.remove(0);
        }
        known.push((name.into(), mask));
        mask
    }
}

/// Puts the exceptions of filters behind them, as far as there is room for more; where there is none, or an exception has
/// exceptions, they stay where they are.
fn set_apart(filters: &mut Vec<Filter>) -> Vec<(usize, usize)> {
    let mut apart = Vec::new();
    for rule in 0..filters.len() {
        let Some(filter) = filters.get_mut(rule) else { continue };
        let nots = std::mem::take(&mut filter.not);
        if filters.len() + nots.len() > MAX_RULES || nots.iter().any(|not| !not.not.is_empty()) {
            if let Some(filter) = filters.get_mut(rule) {
                filter.not = nots;
            }
            continue;
        }
        for not in nots {
            apart.push((rule, filters.len()));
            filters.push(not);
        }
    }
    apart
}

fn places(filters: &[Filter], holds: impl Fn(&Filter) -> bool) -> Mask {
    filters.iter().enumerate().filter(|(_, filter)| holds(filter)).map(|(at, _)| at).collect()
}

/// For each port the number of the set of rules that it satisfies.
fn by_port(filters: &[Filter], traps: &[u16], masks: &mut Masks) -> Vec<u32> {
    let allowed: Vec<Allowed> = filters
        .iter()
        .map(|filter| {
            let traps = traps.iter().filter(|_| filter.dport_traps).map(|&port| port.into()..=port.into());
            // Traps where there are none: no port at all.
            let none = filter.dport_traps.then_some(u128::MAX..=u128::MAX);
            ranges(&filter.dport).into_iter().chain(traps).chain(none).collect()
        })
        .collect();
    let part = Part::new(&allowed);
    let of = |port: u16| part.as_ref().map(|part| *part.of(Value::Small(port.into()))).unwrap_or_default();
    (0..=u16::MAX).map(|port| masks.number(of(port))).collect()
}
