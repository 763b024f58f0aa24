//! What packets are counted per.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use foldhash::fast::FixedState;
use ipnet::{IpNet, Ipv6Net};

use super::rule::Key;
use crate::address::AddressSet;

/// A source, or a prefix of sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SourceKey {
    /// The address or prefix.
    pub net: IpNet,
    /// The interface of a link-local address, as a hash of its name: the same address is another host elsewhere. Else 0.
    pub zone: u32,
}

/// How IPv6 sources are told apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Widths {
    /// Prefixes of our links: a source in them is a neighbour, and counts by itself.
    pub on_link: AddressSet,
    /// A source whose /64 holds one of these counts by itself, so that no ban of it can reach them.
    pub protected: AddressSet,
}

/// NAT64 (RFC 6052): the /64 is the whole IPv4 internet.
const NAT64: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

impl Widths {
    /// The key of a source: an IPv4 address, an IPv6 /64; an IPv6 address where the /64 would hold others than its owner.
    #[must_use]
    pub fn source(&self, address: IpAddr, interface: &str) -> SourceKey {
        match address {
            IpAddr::V4(address) => SourceKey { net: host(address.into()), zone: 0 },
            IpAddr::V6(address) if address.is_unicast_link_local() => {
                SourceKey { net: host(address.into()), zone: zone(interface) }
            }
            IpAddr::V6(address) => {
                let wide = truncated(address.into(), 64);
                let alone = NAT64.contains(&address)
                    || self.on_link.contains(address.into())
                    || self.protected.intersects(wide);
                SourceKey { net: if alone { host(address.into()) } else { wide }, zone: 0 }
            }
        }
    }

    /// The key that `key` asks for; none where it does not apply to the address family.
    pub(super) fn of(&self, key: Key, address: IpAddr, interface: &str) -> Option<SourceKey> {
        match key {
            Key::Source => Some(self.source(address, interface)),
            Key::Prefix { ipv4, ipv6 } => {
                let length = if address.is_ipv4() { ipv4 } else { ipv6 }?;
                Some(SourceKey { net: truncated(address, length), zone: 0 })
            }
        }
    }
}

fn host(address: IpAddr) -> IpNet {
    IpNet::from(address)
}

fn truncated(address: IpAddr, length: u8) -> IpNet {
    IpNet::new(address, length).map_or_else(|_| host(address), |net| net.trunc())
}

fn zone(interface: &str) -> u32 {
    use std::hash::BuildHasher;
    let hash = FixedState::with_seed(0).hash_one(interface);
    u32::try_from(hash >> 32).unwrap_or_default() | 1
}

/// Addresses as one number, IPv4 ones mapped (RFC 4291 section 2.5.5.2): cheap to hash.
pub(super) fn as_number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(mapped(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

fn mapped(address: Ipv4Addr) -> Ipv6Addr {
    address.to_ipv6_mapped()
}
