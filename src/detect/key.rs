//! What packets are counted per.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use foldhash::fast::FixedState;
use ipnet::{IpNet, Ipv6Net};

use super::rule::Key;
use crate::address::AddressSet;
use crate::packet::{Observation, Packet, Verdict, as_number};

/// A source, or a prefix of sources, as three numbers: cheap to make, to hash and to compare.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SourceKey {
    /// As [`as_number`] has it, in halves.
    address: [u64; 2],
    /// The zone, and in the lowest 8 bits the prefix length.
    rest: u64,
}

/// How IPv6 sources are told apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Widths {
    /// Prefixes of our links: a source in them is a neighbour, and counts by itself.
    pub on_link: AddressSet,
    /// A source whose /64 holds one of these counts by itself, so that no ban of it can reach them.
    pub protected: AddressSet,
}

/// The first 96 bits of NAT64's prefix 64:ff9b::/96 (RFC 6052): the /64 is the whole IPv4 internet.
const NAT64: u128 = 0x0064_ff9b << 64;

impl Widths {
    /// The key of a source: an IPv4 address, an IPv6 /64; an IPv6 address where the /64 would hold others than its owner.
    #[must_use]
    pub fn source(&self, address: IpAddr, interface: &str) -> SourceKey {
        match address {
            IpAddr::V4(_) => SourceKey::of(address, 32, 0),
            IpAddr::V6(bare) if bare.is_unicast_link_local() => {
                SourceKey::of(address, 128, name_of(&interface))
            }
            IpAddr::V6(bare) if self.is_alone(bare) => SourceKey::of(address, 128, 0),
            IpAddr::V6(_) => SourceKey::of(truncated(address, 64), 64, 0),
        }
    }

    /// Whether the prefixes around an address hold others than its owner.
    fn is_alone(&self, address: Ipv6Addr) -> bool {
        address.is_unicast_link_local()
            || address.to_bits() >> 32 == NAT64
            || self.on_link.contains(address.into())
            || self.protected.intersects(prefix_of(address))
    }

    /// The key that `key` asks for; none where it does not apply: to the address family, or to a source that counts by
    /// itself.
    pub(super) fn of(&self, key: Key, observation: &Observation<'_>) -> Option<SourceKey> {
        let Packet { saddr, daddr, .. } = observation.packet;
        let ours = observation.verdict == Verdict::Outbound;
        match key {
            Key::Source if ours => Some(SourceKey::of_ours(saddr)),
            Key::Source => Some(self.source(saddr, observation.iif)),
            Key::Pair if ours => Some(SourceKey::of(saddr, whole(saddr), name_of(&(OURS, daddr)))),
            Key::Pair => {
                let source = self.source(saddr, observation.iif);
                Some(SourceKey::new(source.net(), name_of(&daddr)))
            }
            Key::Prefix { .. } => self.prefix(key, saddr),
        }
    }

    /// The prefix of an address that `key` asks for, if it asks for one.
    pub(super) fn prefix(&self, key: Key, address: IpAddr) -> Option<SourceKey> {
        let Key::Prefix { ipv4, ipv6 } = key else { return None };
        let length = match address {
            IpAddr::V4(_) => ipv4?,
            IpAddr::V6(address) if self.is_alone(address) => return None,
            IpAddr::V6(_) => ipv6?,
        };
        Some(SourceKey::of(truncated(address, length), length, 0))
    }
}

/// Sets our own hosts, as those that send, apart from the same addresses as those that packets come from.
const OURS: &str = "outbound";

impl SourceKey {
    /// Of an address or prefix, and of what sets it apart from the same one elsewhere, as a hash of 56 bits: the interface
    /// of a link-local address, the destination where packets are counted per source and destination. Else 0.
    #[must_use]
    pub fn new(net: IpNet, zone: u64) -> Self {
        Self::of(net.addr(), net.prefix_len(), zone)
    }

    /// One of our own hosts, which sends to others.
    pub(super) fn of_ours(address: IpAddr) -> Self {
        Self::of(address, whole(address), name_of(&OURS))
    }

    /// Of an address without host bits.
    #[inline]
    fn of(address: IpAddr, length: u8, zone: u64) -> Self {
        let number = as_number(address);
        let half = |number: u128| u64::try_from(number & u128::from(u64::MAX)).unwrap_or_default();
        Self { address: [half(number >> 64), half(number)], rest: zone << 8 | u64::from(length) }
    }

    /// The address or prefix.
    #[must_use]
    pub fn net(&self) -> IpNet {
        let [high, low] = self.address;
        let address = Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low));
        let [.., length] = self.rest.to_be_bytes();
        // An IPv6 prefix as short as that has no such address: its host bits would be set.
        let v4 = address.to_ipv4_mapped().filter(|_| length <= 32);
        let address = v4.map_or(IpAddr::V6(address), IpAddr::V4);
        IpNet::new(address, length).unwrap_or_else(|_| address.into())
    }

    /// See [`Self::new`].
    #[must_use]
    pub const fn zone(&self) -> u64 {
        self.rest >> 8
    }

    /// A number of so many bits, at most 64. It needs to be quick and no more: who makes two keys share one gains nothing.
    pub(super) fn fold(&self, bits: u32) -> usize {
        let [high, low] = self.address;
        let mixed = (high ^ low ^ self.rest).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        usize::try_from(mixed >> (u64::BITS - bits)).unwrap_or_default()
    }
}

impl fmt::Debug for SourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} zone {:x}", self.net(), self.zone())
    }
}

const fn whole(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The /64 around an address.
fn prefix_of(address: Ipv6Addr) -> IpNet {
    Ipv6Net::new(address, 64).map_or_else(|_| IpAddr::V6(address).into(), |net| net.trunc().into())
}

/// An address without the bits behind a prefix length.
fn truncated(address: IpAddr, length: u8) -> IpAddr {
    let length = u32::from(length);
    match address {
        IpAddr::V4(address) => {
            let host = u32::MAX.checked_shr(length).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & !host).into()
        }
        IpAddr::V6(address) => {
            let host = u128::MAX.checked_shr(length).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & !host).into()
        }
    }
}

/// A number of 56 bits other than 0 for an interface or an address. The seed is fixed: incidents are named after it.
fn name_of(what: &impl std::hash::Hash) -> u64 {
    use std::hash::BuildHasher;
    FixedState::with_seed(0).hash_one(what) >> 8 | 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_key_tells_what_it_was_made_of(v4 in any::<u32>(), v6 in any::<u128>(), length in 0u8..=128, zone in 0u64..1 << 56) {
            let short = length.min(32);
            let of = |address, length| IpNet::new(truncated(address, length), length).unwrap();
            for net in [of(IpAddr::from(v4.to_be_bytes()), short), of(Ipv6Addr::from_bits(v6).into(), length)] {
                prop_assert_eq!(net, net.trunc());
                let key = SourceKey::new(net, zone);
                prop_assert_eq!((key.net(), key.zone()), (net, zone));
            }
        }
    }

    #[test]
    fn no_prefix_joins_sources_that_count_by_themselves() {
        let widths = Widths {
            on_link: ["2001:db8:a::/64".parse().unwrap()].into_iter().collect(),
            protected: ["2001:db8:b::1/128".parse().unwrap()].into_iter().collect(),
        };
        let key = |address: &str| {
            let saddr: IpAddr = address.parse().unwrap();
            let packet = Packet { saddr, ..crate::detect::tests::tcp(40000, 22, 2) };
            let observation = crate::detect::tests::observed(packet);
            let key = widths.of(Key::Prefix { ipv4: Some(24), ipv6: Some(64) }, &observation);
            key.map(|key| key.net().to_string())
        };
        assert_eq!(key("2001:db8::7").as_deref(), Some("2001:db8::/64"));
        assert_eq!(key("192.0.2.7").as_deref(), Some("192.0.2.0/24"));
        // The whole IPv4 internet behind NAT64, whatever has the same link, the neighbours, those beside a gateway.
        for alone in ["64:ff9b::c000:207", "fe80::7", "2001:db8:a::7", "2001:db8:b::7"] {
            assert_eq!(key(alone), None, "{alone}");
        }
    }
}
