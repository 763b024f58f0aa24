//! Many filters asked at once.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;

use super::{Class, Filter};
use crate::packet::{Observation, Packet};

/// Filters of which one must match. What a packet costs hardly grows with those that ask for another protocol, port
/// or network: they are put aside 64 at a time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filters {
    bundles: Vec<Bundle>,
}

impl FromIterator<Filter> for Filters {
    fn from_iter<I: IntoIterator<Item = Filter>>(filters: I) -> Self {
        let mut filters = filters.into_iter().peekable();
        let mut bundles = Vec::new();
        while filters.peek().is_some() {
            bundles.push(Bundle::new(filters.by_ref().take(64).collect()));
        }
        Self { bundles }
    }
}

impl Filters {
    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bundles.is_empty()
    }

    /// Whether one of them matches a packet, given the class that the packet has been found to be of.
    #[must_use]
    pub fn matches(&self, observation: &Observation<'_>, class: Option<Class>) -> bool {
        self.bundles.iter().any(|bundle| {
            let candidates = bundle.candidates(&observation.packet);
            let matches = |filter: &Filter| filter.matches(observation, class);
            bits(candidates).any(|index| bundle.filters.get(index).is_some_and(matches))
        })
    }
}

/// Up to 64 filters, a bit for each. What the bits say is never too little, and may be too much: the filters are asked.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Bundle {
    filters: Vec<Filter>,
    protocol: Vec<u64>,
    /// Those that name no destination port: a packet without ports has them alone.
    portless: u64,
    dport: Stretches<u16>,
    saddr: Stretches<u128>,
    daddr: Stretches<u128>,
}

impl Bundle {
    fn new(filters: Vec<Filter>) -> Self {
        let of = |holds: &dyn Fn(&Filter) -> bool| {
            let bits = filters.iter().enumerate().filter(|(_, filter)| holds(filter));
            bits.fold(0_u64, |sum, (index, _)| sum | 1 << index)
        };
        let named =
            |protocol| of(&|filter| filter.protocol.is_empty() || filter.protocol.contains(&protocol));
        Self {
            protocol: (0..=u8::MAX).map(named).collect(),
            portless: of(&|filter| filter.dport.is_empty()),
            dport: Stretches::new(&filters, |filter| filter.dport.clone()),
            saddr: Stretches::new(&filters, |filter| filter.saddr.iter().map(numbers).collect()),
            daddr: Stretches::new(&filters, |filter| filter.daddr.iter().map(numbers).collect()),
            filters,
        }
    }

    fn candidates(&self, packet: &Packet) -> u64 {
        let protocol = self.protocol.get(usize::from(packet.protocol)).copied().unwrap_or_default();
        let ported = packet.ports().map_or(self.portless, |(_, dport)| self.dport.of(dport));
        match protocol & ported {
            0 => 0,
            left => match left & self.saddr.of(number(packet.saddr)) {
                0 => 0,
                left => left & self.daddr.of(number(packet.daddr)),
            },
        }
    }
}

/// Which filters ask for a value: the same ones from one start to the next. The first start is the least value.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stretches<T> {
    starts: Vec<T>,
    filters: Vec<u64>,
}

impl<T: Ord + Copy + Default + Next> Stretches<T> {
    /// A filter without ranges asks for every value.
    fn new(filters: &[Filter], ranges: impl Fn(&Filter) -> Vec<RangeInclusive<T>>) -> Self {
        let mut edges: Vec<(T, usize, bool)> = Vec::new();
        let (mut every, mut open) = (0_u64, [0_usize; 64]);
        for (index, filter) in filters.iter().enumerate() {
            let ranges = ranges(filter);
            if ranges.is_empty() {
                every |= 1 << index;
            }
            for range in ranges {
                edges.push((*range.start(), index, true));
                edges.extend(range.end().next().map(|after| (after, index, false)));
            }
        }
        // Where one range ends and another begins, the beginning comes first: a count never falls below zero.
        edges.sort_unstable_by_key(|(value, _, opens)| (*value, !*opens));
        let mut stretches = Self { starts: vec![T::default()], filters: vec![every] };
        let mut asking = every;
        for (value, index, opens) in edges {
            // Ranges of one filter may overlap.
            if let Some(open) = open.get_mut(index) {
                *open = if opens { *open + 1 } else { *open - 1 };
                asking = if *open == 0 { asking & !(1 << index) } else { asking | 1 << index };
            }
            stretches.begin(value, asking);
        }
        stretches
    }

    fn begin(&mut self, value: T, asking: u64) {
        if self.starts.last() != Some(&value) {
            self.starts.push(value);
            self.filters.push(asking);
        } else if let Some(last) = self.filters.last_mut() {
            *last = asking;
        }
    }

    fn of(&self, value: T) -> u64 {
        let after = self.starts.partition_point(|start| *start <= value);
        self.filters.get(after.wrapping_sub(1)).copied().unwrap_or_default()
    }
}

/// Values with a next one.
trait Next: Sized {
    /// The next value; none behind the largest.
    fn next(self) -> Option<Self>;
}

impl Next for u16 {
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl Next for u128 {
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

/// An IPv4 address stands where it is mapped into IPv6 (RFC 4291 section 2.5.5.2).
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn numbers(network: &IpNet) -> RangeInclusive<u128> {
    number(network.network())..=number(network.broadcast())
}

/// The numbers of the bits that are set.
fn bits(mut set: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lowest = (set != 0).then_some(set.trailing_zeros() as usize)?;
        set &= set - 1;
        Some(lowest)
    })
}
