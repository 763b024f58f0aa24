//! What packets are counted per.

use std::net::{IpAddr, Ipv6Addr};

use foldhash::fast::FixedState;
use ipnet::IpNet;

use super::rule::Key;
use crate::address::AddressSet;
use crate::packet::{Observation, Packet, Verdict};

/// A source, or a prefix of sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SourceKey {
    /// The address or prefix.
    pub net: IpNet,
    /// What sets it apart from the same address elsewhere, as a hash: the interface of a link-local address, the
    /// destination where packets are counted per source and destination. Else 0.
    pub zone: u64,
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
            IpAddr::V4(address) => SourceKey { net: host(address.into()), zone: 0 },
            IpAddr::V6(address) if address.is_unicast_link_local() => {
                SourceKey { net: host(address.into()), zone: name_of(&interface) }
            }
            IpAddr::V6(address) => {
                let net =
                    if self.is_alone(address) { host(address.into()) } else { truncated(address.into(), 64) };
                SourceKey { net, zone: 0 }
            }
        }
    }

    /// Whether the prefixes around an address hold others than its owner.
    fn is_alone(&self, address: Ipv6Addr) -> bool {
        address.is_unicast_link_local()
            || address.to_bits() >> 32 == NAT64
            || self.on_link.contains(address.into())
            || self.protected.intersects(truncated(address.into(), 64))
    }

    /// The key that `key` asks for; none where it does not apply: to the address family, or to a source that counts by
    /// itself.
    pub(super) fn of(&self, key: Key, observation: &Observation<'_>) -> Option<SourceKey> {
        let Packet { saddr, daddr, .. } = observation.packet;
        let ours = observation.verdict == Verdict::Outbound;
        match key {
            Key::Source if ours => Some(SourceKey::of_ours(saddr)),
            Key::Source => Some(self.source(saddr, observation.iif)),
            Key::Pair if ours => Some(SourceKey { net: host(saddr), zone: name_of(&(OURS, daddr)) }),
            Key::Pair => Some(SourceKey { zone: name_of(&daddr), ..self.source(saddr, observation.iif) }),
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
        Some(SourceKey { net: truncated(address, length), zone: 0 })
    }
}

/// Sets our own hosts, as those that send, apart from the same addresses as those that packets come from.
const OURS: &str = "outbound";

impl SourceKey {
    /// One of our own hosts, which sends to others.
    pub(super) fn of_ours(address: IpAddr) -> Self {
        Self { net: host(address), zone: name_of(&OURS) }
    }
}

fn host(address: IpAddr) -> IpNet {
    IpNet::from(address)
}

fn truncated(address: IpAddr, length: u8) -> IpNet {
    IpNet::new(address, length).map_or_else(|_| host(address), |net| net.trunc())
}

/// A number other than 0 for an interface or an address. The seed is fixed: incidents are named after it.
fn name_of(what: &impl std::hash::Hash) -> u64 {
    use std::hash::BuildHasher;
    FixedState::with_seed(0).hash_one(what) | 1
}

/// Addresses as one number, IPv4 ones mapped (RFC 4291 section 2.5.5.2): cheap to hash.
pub(super) fn as_number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => 0xffff_0000_0000 | u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            key.map(|key| key.net.to_string())
        };
        assert_eq!(key("2001:db8::7").as_deref(), Some("2001:db8::/64"));
        assert_eq!(key("192.0.2.7").as_deref(), Some("192.0.2.0/24"));
        // The whole IPv4 internet behind NAT64, whatever has the same link, the neighbours, those beside a gateway.
        for alone in ["64:ff9b::c000:207", "fe80::7", "2001:db8:a::7", "2001:db8:b::7"] {
            assert_eq!(key(alone), None, "{alone}");
        }
    }
}
