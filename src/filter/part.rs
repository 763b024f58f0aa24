//! The parts of a packet that filters ask for as numbers, and which filters each value satisfies.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;

use super::Filter;
use super::mask::{Mask, Masks};
use crate::packet::{Observation, Packet, Tcp, Transport, as_number};

/// What a filter allows of one number: nothing said is everything.
pub(crate) type Allowed = Vec<RangeInclusive<u128>>;

/// One number of a packet, and the filters that each of its values satisfies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// The filters that ask for it.
    pub(crate) restricted: Mask,
    /// The filters that a packet without it satisfies.
    unasked: Mask,
    /// Where the ranges begin, ascending; the filters of each are at the same place in `of`.
    starts: Vec<u128>,
    of: Vec<u32>,
    /// The same for each value up to the beginning of the last range; empty where these are too many.
    direct: Vec<u32>,
    masks: Masks,
}

/// So many values are looked up directly: all of a port, a length, a TTL.
const DIRECT: u128 = 1 << 16;

impl Part {
    /// Of what each filter allows; none where no filter asks.
    pub(crate) fn new(filters: &[Allowed]) -> Option<Self> {
        let restricted: Mask =
            filters.iter().enumerate().filter(|(_, allowed)| !allowed.is_empty()).map(|(at, _)| at).collect();
        if restricted.is_empty() {
            return None;
        }
        let every: Mask = (0..filters.len()).collect();
        let unasked = every.without(&restricted);
        // At each start and after each end, one filter more or less holds: how often, as ranges may overlap.
        let mut turns: Vec<(u128, usize, i32)> = vec![(0, 0, 0)];
        for (place, allowed) in filters.iter().enumerate() {
            for range in allowed {
                turns.push((*range.start(), place, 1));
                if let Some(after) = range.end().checked_add(1) {
                    turns.push((after, place, -1));
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
        let mut holding = vec![0_i32; filters.len()];
        let mut now = unasked;
        for turns in turns.chunk_by(|a, b| a.0 == b.0) {
            for &(_, place, step) in turns {
                if let Some(count) = holding.get_mut(place).filter(|_| step != 0) {
                    *count += step;
                    if *count > 0 { now.insert(place) } else { now.remove(place) }
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

    /// The number of the set of filters that a value satisfies; none where the packet has no such value.
    #[inline]
    pub(crate) fn number(&self, value: Value) -> Option<u32> {
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

    pub(crate) fn of(&self, value: Value) -> &Mask {
        self.number(value).map_or(&self.unasked, |number| self.masks.set(number))
    }
}

/// One number of a packet.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value {
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
pub(crate) struct Reading {
    pub(crate) value: fn(&Observation<'_>) -> Value,
    pub(crate) allowed: fn(&Filter) -> Allowed,
}

pub(crate) fn ranges<T: Copy + Into<u128>>(ranges: &[RangeInclusive<T>]) -> Allowed {
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
fn tcp<T: Into<u32>>(packet: &Packet, of: impl Fn(&Tcp) -> Option<T>) -> Value {
    match &packet.transport {
        Transport::Tcp(tcp) => of(tcp).into(),
        _ => Value::None,
    }
}

/// The destination port.
pub(crate) static DPORT: Reading =
    Reading { value: |o| o.packet.ports().map(|ports| ports.1).into(), allowed: |f| ranges(&f.dport) };

/// All other numbers that filters ask for.
pub(crate) static READINGS: [Reading; 14] = [
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
    Reading { value: |o| Value::Small(o.packet.is_raw().into()), allowed: |f| numbers(f.raw.map(u8::from)) },
    Reading {
        value: |o| Value::Small(o.pkttype as u32),
        allowed: |f| numbers(f.pkttype.iter().map(|pkttype| *pkttype as u8)),
    },
    Reading {
        value: |o| o.fault.map(|fault| fault as u32).into(),
        allowed: |f| numbers(f.fault.iter().map(|fault| *fault as u8)),
    },
];
