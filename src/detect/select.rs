//! Which rules a packet matches, at a price that does not grow with the number of rules that do not match it.
//!
//! Every part of a packet that some rule asks for (its class and verdict, its ports, its addresses …) maps to the set of
//! rules that its value satisfies, as a bit mask; the rules of a packet are the intersection. Numbers are looked up in
//! sorted ranges, names are remembered. Only exceptions (`not`) are asked one by one, and only of rules that match so far.

use std::collections::HashMap;
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
    masks: Masks,
}

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
        let mut this =
            Self { restricted, unasked, starts: Vec::new(), of: Vec::new(), masks: Masks::default() };
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
        Some(this)
    }

    fn of(&self, value: Option<u128>) -> &Mask {
        let Some(value) = value else { return &self.unasked };
        let after = self.starts.partition_point(|start| *start <= value);
        self.of.get(after.saturating_sub(1)).map_or(&self.unasked, |&number| self.masks.set(number))
    }
}

/// How a number is read from a packet, and what a filter says about it.
struct Reading {
    value: fn(&Observation<'_>) -> Option<u128>,
    allowed: fn(&Filter) -> Allowed,
}

fn ranges<T: Copy + Into<u128>>(ranges: &[RangeInclusive<T>]) -> Allowed {
    ranges.iter().map(|range| (*range.start()).into()..=(*range.end()).into()).collect()
}

fn numbers<T: Copy + Into<u128>>(numbers: impl IntoIterator<Item = T>) -> Allowed {
    numbers.into_iter().map(|number| number.into()..=number.into()).collect()
}

/// IPv4 networks lie where the mapped addresses are.
fn networks(networks: &[IpNet]) -> Allowed {
    let last = |net: &IpNet| match net {
        IpNet::V4(net) => as_number(net.broadcast().into()),
        IpNet::V6(net) => as_number(net.broadcast().into()),
    };
    networks.iter().map(|net| as_number(net.network())..=last(net)).collect()
}

/// An IPv4 address as [`networks`] has it; an IPv6 one, mapped ones apart: on the wire those are nobody's.
fn tcp<T>(packet: &Packet, of: impl Fn(&crate::packet::Tcp) -> Option<T>) -> Option<u128>
where
    T: Into<u128>,
{
    match &packet.transport {
        Transport::Tcp(tcp) => of(tcp).map(Into::into),
        _ => None,
    }
}

/// All numbers that filters ask for, but class, verdict and destination port.
const READINGS: [Reading; 14] = [
    Reading { value: |o| Some(as_number(o.packet.saddr)), allowed: |f| networks(&f.saddr) },
    Reading { value: |o| Some(as_number(o.packet.daddr)), allowed: |f| networks(&f.daddr) },
    Reading { value: |o| o.packet.ports().map(|ports| ports.0.into()), allowed: |f| ranges(&f.sport) },
    Reading { value: |o| Some(o.packet.protocol.into()), allowed: |f| numbers(f.protocol.iter().copied()) },
    Reading { value: |o| Some(o.packet.ttl.into()), allowed: |f| ranges(&f.ttl) },
    Reading { value: |o| Some(o.packet.length.into()), allowed: |f| ranges(&f.length) },
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
            Transport::Icmp(icmp) => Some(icmp.kind.into()),
            _ => None,
        },
        allowed: |f| ranges(&f.icmp_type),
    },
    Reading {
        value: |o| o.packet.saddr.is_ipv4().then(|| u128::from(o.packet.dont_fragment)),
        allowed: |f| numbers(f.dont_fragment.map(u8::from)),
    },
    Reading {
        value: |o| Some(o.packet.fragment.is_some().into()),
        allowed: |f| numbers(f.fragment.map(u8::from)),
    },
    Reading { value: |o| Some(is_raw(&o.packet).into()), allowed: |f| numbers(f.raw.map(u8::from)) },
    Reading {
        value: |o| Some(o.pkttype as u128),
        allowed: |f| numbers(f.pkttype.iter().map(|pkttype| *pkttype as u8)),
    },
    Reading {
        value: |o| o.fault.map(|fault| fault as u128),
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

/// The filters of all rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Selector {
    by_class: Vec<[Mask; Verdict::ALL.len()]>,
    /// Destination port of TCP, then of the other protocols that have ports → number of a set; empty where no rule asks.
    by_dport: Vec<u32>,
    port_masks: Masks,
    /// The rules that ask for a destination port.
    ported: Mask,
    parts: Vec<(usize, Part)>,
    /// The rules that ask for each of the names.
    named: [Mask; NAMINGS.len()],
    /// The rules with exceptions that a packet of a class and verdict may be.
    excepting: Vec<[Mask; Verdict::ALL.len()]>,
    filters: Vec<Filter>,
}

impl Selector {
    /// Of the filters of all rules; `traps` are pairs of protocol and port.
    pub(super) fn new(mut filters: Vec<Filter>, traps: &[(u8, u16)]) -> Self {
        let by_class = Class::ALL.map(|class| {
            Verdict::ALL.map(|verdict| {
                let meant = |filter: &Filter| {
                    (filter.class.is_empty() || filter.class.contains(&class))
                        && (filter.verdict.is_empty() || filter.verdict.contains(&verdict))
                };
                places(&filters, meant)
            })
        });
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
        let parts = parts.collect();
        let named = NAMINGS.map(|naming| places(&filters, |filter| !(naming.asked)(filter).is_empty()));
        let excepting = Class::ALL.map(|class| {
            Verdict::ALL.map(|verdict| {
                places(&filters, |filter| filter.not.iter().any(|not| not.may_match(class, verdict)))
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
        Self {
            by_class: by_class.to_vec(),
            by_dport,
            port_masks,
            ported,
            parts,
            named,
            excepting: excepting.to_vec(),
            filters,
        }
    }

    /// The rules that a packet of `class` matches.
    pub(super) fn select(&self, observation: &Observation<'_>, class: Class, names: &mut Names) -> Mask {
        let by_verdict = self.by_class.get(class as usize);
        let mut mask =
            by_verdict.and_then(|set| set.get(observation.verdict as usize)).copied().unwrap_or_default();
        if mask.meets(&self.ported) {
            mask = match observation.packet.ports() {
                Some((_, dport)) => {
                    let table = usize::from(observation.packet.protocol != protocol::TCP) << 16;
                    let number = self.by_dport.get(table | usize::from(dport));
                    mask.and(number.map_or(&NO_RULE, |number| self.port_masks.set(*number)))
                }
                None => mask.without(&self.ported),
            };
        }
        for (number, part) in &self.parts {
            if mask.meets(&part.restricted)
                && let Some(reading) = READINGS.get(*number)
            {
                mask = mask.and(part.of((reading.value)(observation)));
            }
        }
        for (at, asking) in self.named.iter().enumerate() {
            if mask.meets(asking) {
                mask = mask.and(&self.by_name(at, observation, names));
            }
        }
        let by_verdict = self.excepting.get(class as usize);
        let excepting = by_verdict.and_then(|set| set.get(observation.verdict as usize)).unwrap_or(&NO_RULE);
        if mask.meets(excepting) {
            for rule in mask.and(excepting).iter() {
                let excepts =
                    |filter: &Filter| filter.not.iter().any(|not| not.matches(observation, Some(class)));
                if self.filters.get(rule).is_some_and(excepts) {
                    mask.remove(rule);
                }
            }
        }
        mask
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
    let of = |port: u16| part.as_ref().map(|part| *part.of(Some(port.into()))).unwrap_or_default();
    (0..=u16::MAX).map(|port| masks.number(of(port))).collect()
}
