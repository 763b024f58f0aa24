//! Sets of addresses that are asked for every packet, and set up seldom.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Prefixes as sorted, disjoint ranges: a look-up is one binary search.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressSet {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

fn merged<T: Ord + Copy>(mut ranges: Vec<(T, T)>) -> Vec<(T, T)> {
    ranges.sort_unstable();
    ranges.dedup_by(|next, kept| {
        let overlap = next.0 <= kept.1;
        if overlap {
            kept.1 = kept.1.max(next.1);
        }
        overlap
    });
    ranges
}

fn overlaps<T: Ord + Copy>(ranges: &[(T, T)], first: T, last: T) -> bool {
    let after = ranges.partition_point(|range| range.1 < first);
    ranges.get(after).is_some_and(|range| range.0 <= last)
}

impl AddressSet {
    /// Whether `address` is in the set.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => overlaps(&self.v4, u32::from(address), u32::from(address)),
            IpAddr::V6(address) => overlaps(&self.v6, u128::from(address), u128::from(address)),
        }
    }

    /// Whether any address of `net` is in the set.
    #[must_use]
    pub fn intersects(&self, net: IpNet) -> bool {
        match net {
            _ if self.is_empty() => false,
            IpNet::V4(net) => overlaps(&self.v4, u32::from(net.network()), u32::from(net.broadcast())),
            IpNet::V6(net) => overlaps(&self.v6, u128::from(net.network()), u128::from(net.broadcast())),
        }
    }

    /// Whether nothing is in the set.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }
}

impl FromIterator<IpNet> for AddressSet {
    fn from_iter<T: IntoIterator<Item = IpNet>>(nets: T) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for net in nets {
            match net {
                IpNet::V4(net) => v4.push((u32::from(net.network()), u32::from(net.broadcast()))),
                IpNet::V6(net) => v6.push((u128::from(net.network()), u128::from(net.broadcast()))),
            }
        }
        Self { v4: merged(v4), v6: merged(v6) }
    }
}

/// Addresses that are nobody's: loopback, unspecified, multicast and limited broadcast (RFC 6890, RFC 4291).
/// They are never a source of evidence and never banned.
#[must_use]
pub fn never_a_host() -> [IpNet; 7] {
    const fn v4(address: Ipv4Addr, length: u8) -> IpNet {
        IpNet::V4(Ipv4Net::new_assert(address, length))
    }
    const fn v6(address: Ipv6Addr, length: u8) -> IpNet {
        IpNet::V6(Ipv6Net::new_assert(address, length))
    }
    [
        v4(Ipv4Addr::UNSPECIFIED, 8),
        v4(Ipv4Addr::LOCALHOST, 8),
        v4(Ipv4Addr::new(224, 0, 0, 0), 4),
        v4(Ipv4Addr::BROADCAST, 32),
        v6(Ipv6Addr::UNSPECIFIED, 128),
        v6(Ipv6Addr::LOCALHOST, 128),
        v6(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8),
    ]
}

/// Whether an address is one of [`never_a_host`]: as quick as can be, since it is asked of every packet.
#[must_use]
pub const fn is_never_a_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [first, ..] = address.octets();
            matches!(first, 0 | 127 | 224..=239) || address.is_broadcast()
        }
        IpAddr::V6(address) => address.is_multicast() || address.is_unspecified() || address.is_loopback(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn a_prefix_that_holds_one_member_intersects() {
        let set: AddressSet = [net("2001:db8::5/128"), net("192.0.2.0/25")].into_iter().collect();
        assert!(set.intersects(net("2001:db8::/64")));
        assert!(!set.intersects(net("2001:db8:0:1::/64")));
        assert!(set.contains("192.0.2.127".parse().unwrap()));
        assert!(!set.contains("192.0.2.128".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn nobodys_addresses_are_known_without_a_search(
            v4 in any::<u32>(), v6 in any::<u128>(), near in prop::sample::select(never_a_host().to_vec()), step in 0u8..3,
        ) {
            let set: AddressSet = never_a_host().into_iter().collect();
            let edge = |up: bool| match near {
                IpNet::V4(net) => {
                    let from = u32::from(if up { net.broadcast() } else { net.network() });
                    IpAddr::V4(Ipv4Addr::from(from.wrapping_add(u32::from(step)).wrapping_sub(1)))
                }
                IpNet::V6(net) => {
                    let from = u128::from(if up { net.broadcast() } else { net.network() });
                    IpAddr::V6(Ipv6Addr::from(from.wrapping_add(u128::from(step)).wrapping_sub(1)))
                }
            };
            for address in [Ipv4Addr::from(v4).into(), Ipv6Addr::from(v6).into(), edge(true), edge(false)] {
                prop_assert_eq!(is_never_a_host(address), set.contains(address), "{}", address);
            }
        }

        #[test]
        fn ranges_agree_with_a_walk_over_all_prefixes(
            nets in proptest::collection::vec((any::<u32>(), 8u8..=32), 0..20),
            asked in (any::<u32>(), 0u8..=32),
            near in any::<prop::sample::Index>(),
        ) {
            let nets: Vec<_> = nets.iter().map(|&(a, l)| IpNet::new(Ipv4Addr::from(a).into(), l).unwrap().trunc()).collect();
            let set: AddressSet = nets.iter().copied().collect();
            let mut questions = vec![IpNet::new(Ipv4Addr::from(asked.0).into(), asked.1).unwrap()];
            if !nets.is_empty() {
                questions.push(IpNet::from(near.get(&nets).addr()));
            }
            for question in questions {
                let naive = nets.iter().any(|n| n.contains(&question) || question.contains(n));
                prop_assert_eq!(set.intersects(question), naive);
            }
        }
    }
}
