//! The table as data: which sets, chains and rules there are, and where a target's element goes.
//!
//! Two chains hook into prerouting. `ban` stands before defragmentation and conntrack, `restrict` after both. What a
//! restricted source sends to a published service is looked up in a set beside its own, `…_rate`, whose elements are
//! rate limits; all else is looked up in its own set. A lookup runs the found element's expressions, so in this order
//! each element's counter counts dropped packets and nothing else. The rule counts them as well: elements come and go.

use std::net::IpAddr;

use ipnet::IpNet;

use super::expression::{Counts, Expression};
use super::uapi::*;
use crate::decide::{MAX_PREFIXES, Measure, Place};

/// New conversations with published services that a restricted source may begin, a second.
pub(super) const NEW_RATE: u64 = 20;
/// And how many at once: a browser opens about six connections per host name, a page has several of them.
pub(super) const NEW_BURST: u32 = 40;
/// At most so many elements in each of the interval sets: their cost per commit grows with their length. A stretch is
/// two elements, its start and its end, and overlapping prefixes are at most two stretches each less one.
const INTERVALS: u32 = 4 * MAX_PREFIXES;

/// What a set is keyed by: the type's number in nft's own table of types, and its octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyType {
    Ipv4Addr,
    Ipv6Addr,
    /// `inet_proto . inet_service`, each padded to 4 octets.
    ProtoService,
}

impl KeyType {
    /// nft's number of the type (its `enum datatypes`); a concatenation shifts 6 bits for each field.
    pub(super) const fn number(self) -> u32 {
        const INET_PROTO: u32 = 12;
        const INET_SERVICE: u32 = 13;
        match self {
            Self::Ipv4Addr => 7,
            Self::Ipv6Addr => 8,
            Self::ProtoService => INET_PROTO << 6 | INET_SERVICE,
        }
    }

    pub(super) const fn length(self) -> u32 {
        match self {
            Self::Ipv4Addr => 4,
            Self::Ipv6Addr => 16,
            Self::ProtoService => 8,
        }
    }

    /// The lengths of a concatenation's fields.
    pub(super) const fn fields(self) -> &'static [u32] {
        match self {
            Self::Ipv4Addr | Self::Ipv6Addr => &[],
            Self::ProtoService => &[1, 2],
        }
    }
}

/// A set of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Set {
    pub(super) name: &'static str,
    pub(super) key: KeyType,
    pub(super) flags: u32,
    /// The most elements; 0 is no limit.
    pub(super) size: u32,
    /// What each element of the set carries.
    pub(super) expressions: Vec<Expression>,
}

impl Place {
    pub(super) const ALL: [Self; 8] = {
        const fn place(measure: Measure, ipv6: bool, prefix: bool) -> Place {
            Place { measure, ipv6, prefix }
        }
        [
            place(Measure::Ban, false, false),
            place(Measure::Ban, false, true),
            place(Measure::Ban, true, false),
            place(Measure::Ban, true, true),
            place(Measure::Restrict, false, false),
            place(Measure::Restrict, false, true),
            place(Measure::Restrict, true, false),
            place(Measure::Restrict, true, true),
        ]
    };

    /// All there can be.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter()
    }

    /// The target of a hash set's element.
    pub(super) fn single(self, address: IpAddr) -> Option<IpNet> {
        IpNet::new(address, if self.ipv6 { 64 } else { 32 }).ok()
    }

    /// The set's name.
    pub(crate) const fn set(self) -> &'static str {
        match (self.measure, self.ipv6, self.prefix) {
            (Measure::Ban, false, false) => "ban4",
            (Measure::Ban, false, true) => "ban4_prefix",
            (Measure::Ban, true, false) => "ban6",
            (Measure::Ban, true, true) => "ban6_prefix",
            (Measure::Restrict, false, false) => "restrict4",
            (Measure::Restrict, false, true) => "restrict4_prefix",
            (Measure::Restrict, true, false) => "restrict6",
            (Measure::Restrict, true, true) => "restrict6_prefix",
        }
    }

    /// The set of rate limits beside a set of restricted sources.
    pub(super) const fn rate_set(self) -> Option<&'static str> {
        match (self.measure, self.ipv6, self.prefix) {
            (Measure::Ban, ..) => None,
            (Measure::Restrict, false, false) => Some("restrict4_rate"),
            (Measure::Restrict, false, true) => Some("restrict4_prefix_rate"),
            (Measure::Restrict, true, false) => Some("restrict6_rate"),
            (Measure::Restrict, true, true) => Some("restrict6_prefix_rate"),
        }
    }

    fn sets(self, size: u32) -> impl Iterator<Item = Set> {
        let counter = Expression::Counter(Counts::default());
        let limit = Expression::LimitOver { rate: NEW_RATE, burst: NEW_BURST };
        let key = if self.ipv6 { KeyType::Ipv6Addr } else { KeyType::Ipv4Addr };
        let (size, flags) = if self.prefix {
            (size.saturating_mul(4).min(INTERVALS), NFT_SET_TIMEOUT | NFT_SET_INTERVAL)
        } else {
            (size, NFT_SET_TIMEOUT)
        };
        let own = Set { name: self.set(), key, flags, size, expressions: vec![counter.clone()] };
        let rate = self.rate_set().map(|name| Set {
            name,
            key,
            flags: flags | NFT_SET_EXPR,
            size,
            expressions: vec![limit, counter],
        });
        [Some(own), rate].into_iter().flatten()
    }

    /// Makes sure of the packet's family.
    const fn family(self) -> [Expression; 2] {
        if self.ipv6 { IPV6 } else { IPV4 }
    }

    /// Drops what has its source in `set`, which is keyed as this place is.
    fn drop_sources_of(self, set: &'static str) -> impl Iterator<Item = Expression> {
        let mask = (self.ipv6 && !self.prefix).then_some(Expression::Mask(&SLASH_64));
        let load = if self.ipv6 { IPV6_SOURCE } else { IPV4_SOURCE };
        let counter = Expression::Counter(Counts::default());
        let verdict = [Expression::Lookup(set), counter, Expression::Verdict(NF_DROP)];
        [load].into_iter().chain(mask).chain(verdict)
    }

    /// Drops the sources of this place.
    fn drop_rule(self) -> Vec<Expression> {
        self.family().into_iter().chain(self.drop_sources_of(self.set())).collect()
    }
}

const SLASH_64: [u8; 16] = [255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0];
const IPV4: [Expression; 2] =
    [Expression::Meta(NFT_META_NFPROTO), Expression::Compare(NFT_CMP_EQ, &[NFPROTO_IPV4])];
const IPV6: [Expression; 2] =
    [Expression::Meta(NFT_META_NFPROTO), Expression::Compare(NFT_CMP_EQ, &[NFPROTO_IPV6])];
const IPV4_SOURCE: Expression =
    Expression::Payload { base: NFT_PAYLOAD_NETWORK_HEADER, offset: 12, length: 4, register: NFT_REG_1 };
const IPV6_SOURCE: Expression =
    Expression::Payload { base: NFT_PAYLOAD_NETWORK_HEADER, offset: 8, length: 16, register: NFT_REG_1 };

/// The places whose chain exists.
pub(super) fn places(conntrack: bool) -> impl Iterator<Item = Place> {
    Place::ALL.into_iter().filter(move |place| conntrack || place.measure == Measure::Ban)
}

/// The published services.
pub(super) const SERVICES: &str = "services";
/// The ports whose connections are redirected to the listener.
pub(super) const TRAPS: &str = "traps";
/// The IPv4 addresses that are never dropped.
pub(super) const PROTECT4: &str = "protect4";
/// The IPv6 addresses that are never dropped.
pub(super) const PROTECT6: &str = "protect6";

/// The lists of ours: what stands in them is replaced whenever the table is set up.
pub(super) const LISTS: [&str; 3] = [SERVICES, PROTECT4, PROTECT6];

/// All sets of the table; `size` limits those of single sources.
pub(super) fn sets(size: u32, conntrack: bool) -> Vec<Set> {
    let list = |name, key, flags| Set { name, key, flags, size: 0, expressions: Vec::new() };
    let mut sets = vec![
        list(PROTECT4, KeyType::Ipv4Addr, NFT_SET_INTERVAL),
        list(PROTECT6, KeyType::Ipv6Addr, NFT_SET_INTERVAL),
        list(SERVICES, KeyType::ProtoService, NFT_SET_INTERVAL | NFT_SET_CONCAT),
    ];
    if conntrack {
        sets.push(list(TRAPS, KeyType::ProtoService, NFT_SET_INTERVAL | NFT_SET_CONCAT));
    }
    sets.extend(places(conntrack).flat_map(|place| place.sets(size)));
    sets
}

/// A base chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) name: &'static str,
    /// `filter` or `nat`.
    pub(super) kind: &'static str,
    /// `NF_INET_PRE_ROUTING` and so on.
    pub(super) hook: u32,
    pub(super) priority: i32,
    pub(super) rules: Vec<Vec<Expression>>,
}

/// The chain of banned sources.
pub(super) const BAN: &str = "ban";
/// The chain of restricted sources: the one that needs conntrack.
pub(super) const RESTRICT: &str = "restrict";

/// The chains of the table, but for those of traps. `traps` says whether there are any.
pub(super) fn chains(conntrack: bool, traps: bool) -> Vec<Chain> {
    // Before NF_IP_PRI_CONNTRACK_DEFRAG (-400): a banned source's fragments take no memory.
    let prerouting =
        |name, priority, rules| Chain { name, kind: "filter", hook: NF_INET_PRE_ROUTING, priority, rules };
    let ban = prerouting(BAN, -450, ban_rules());
    // After NF_IP_PRI_CONNTRACK (-200), before NF_IP_PRI_NAT_DST (-100): ports are as the client sees them.
    let restrict = prerouting(RESTRICT, -150, restrict_rules(traps));
    if conntrack { vec![ban, restrict] } else { vec![ban] }
}

fn ban_rules() -> Vec<Vec<Expression>> {
    never_dropped().into_iter().chain(places(false).map(Place::drop_rule)).collect()
}

fn restrict_rules(traps: bool) -> Vec<Vec<Expression>> {
    /// `NF_CT_STATE_BIT` of established and related, and `NF_CT_STATE_UNTRACKED_BIT` (nf_conntrack_common.h).
    const GOING_ON: [u8; 4] = (1u32 << 1 | 1 << 2 | 1 << 6).to_ne_bytes();
    let mut rules = never_dropped();
    rules.push(vec![
        Expression::CtState,
        Expression::Mask(&GOING_ON),
        Expression::Compare(NFT_CMP_NEQ, &[0; 4]),
        Expression::Verdict(NFT_RETURN),
    ]);
    let to_service =
        [Expression::Meta(NFT_META_L4PROTO), transport(2, 2, NFT_REG32_01), Expression::Lookup(SERVICES)];
    let restricted = || places(true).filter(|place| place.measure == Measure::Restrict);
    for (place, set) in restricted().filter_map(|place| Some((place, place.rate_set()?))) {
        let conditions = place.family().into_iter().chain(to_service.clone());
        rules.push(conditions.chain(place.drop_sources_of(set)).collect());
    }
    rules.push(to_service.into_iter().chain([Expression::Verdict(NFT_RETURN)]).collect());
    if traps {
        // What listens at a trap is no trap.
        for place in restricted() {
            let conditions =
                super::trap::to_trap().into_iter().chain(super::trap::TAKEN).chain(place.family());
            rules.push(conditions.chain(place.drop_sources_of(place.set())).collect());
        }
        // Or who has touched one trap could never be seen to touch a second.
        rules.push(super::trap::to_trap().into_iter().chain([Expression::Verdict(NFT_RETURN)]).collect());
    }
    rules.extend(restricted().map(Place::drop_rule));
    rules
}

/// What both chains begin with: protected addresses, neighbour discovery and DHCP return.
fn never_dropped() -> Vec<Vec<Expression>> {
    let protect = |family: [Expression; 2], source, set| {
        let verdict = [source, Expression::Lookup(set), Expression::Verdict(NFT_RETURN)];
        family.into_iter().chain(verdict).collect()
    };
    let protect4 = protect(IPV4, IPV4_SOURCE, PROTECT4);
    let protect6 = protect(IPV6, IPV6_SOURCE, PROTECT6);
    // Neighbour discovery crosses no router (RFC 4861, hop limit 255), so this lets nothing in from afar.
    let [load_family, is_ipv6] = IPV6;
    let neighbour_discovery = vec![
        load_family,
        is_ipv6,
        Expression::Payload { base: NFT_PAYLOAD_NETWORK_HEADER, offset: 7, length: 1, register: NFT_REG_1 },
        Expression::Compare(NFT_CMP_EQ, &[255]),
        Expression::Meta(NFT_META_L4PROTO),
        Expression::Compare(NFT_CMP_EQ, &[58]),
        transport(0, 1, NFT_REG_1),
        Expression::Compare(NFT_CMP_GTE, &[133]),
        Expression::Compare(NFT_CMP_LTE, &[137]),
        Expression::Verdict(NFT_RETURN),
    ];
    // BOOTP's ports 67 and 68 (RFC 2131), DHCPv6's 547 and 546 (RFC 8415): to us, and to a server of ours.
    let dhcp = [
        dhcp(IPV4, &[0, 67, 0, 68]),
        dhcp(IPV4, &[0, 68, 0, 67]),
        dhcp(IPV6, &[2, 35, 2, 34]),
        dhcp(IPV6, &[2, 34, 2, 35]),
    ];
    [protect4, protect6, neighbour_discovery].into_iter().chain(dhcp).collect()
}

/// Returns UDP of a family with these source and destination ports, compared as the 4 octets they are on the wire.
fn dhcp([load_family, is_family]: [Expression; 2], ports: &'static [u8; 4]) -> Vec<Expression> {
    vec![
        load_family,
        is_family,
        Expression::Meta(NFT_META_L4PROTO),
        Expression::Compare(NFT_CMP_EQ, &[17]),
        transport(0, 4, NFT_REG_1),
        Expression::Compare(NFT_CMP_EQ, ports),
        Expression::Verdict(NFT_RETURN),
    ]
}

pub(super) const fn transport(offset: u32, length: u32, register: u32) -> Expression {
    Expression::Payload { base: NFT_PAYLOAD_TRANSPORT_HEADER, offset, length, register }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_conntrack_no_rule_names_it() {
        let chains = chains(false, true);
        assert_eq!(chains.iter().map(|chain| chain.name).collect::<Vec<_>>(), ["ban"]);
        assert!(!chains.iter().flat_map(|chain| &chain.rules).flatten().any(|e| *e == Expression::CtState));
    }

    #[test]
    fn every_set_that_a_rule_looks_up_is_made() {
        for conntrack in [false, true] {
            let made: Vec<_> = sets(1, conntrack).iter().map(|set| set.name).collect();
            for expression in chains(conntrack, true).iter().flat_map(|chain| &chain.rules).flatten() {
                if let Expression::Lookup(set) = expression {
                    assert!(made.contains(set), "{set}");
                }
            }
        }
    }

    #[test]
    fn only_the_usual_lengths_go_to_the_hash_sets() {
        let set = |target: &str| Place::of(Measure::Ban, target.parse().unwrap()).set();
        let targets = ["192.0.2.7/32", "192.0.2.0/24", "2001:db8::/64", "2001:db8::/56", "fe80::1/128"];
        assert_eq!(targets.map(set), ["ban4", "ban4_prefix", "ban6", "ban6_prefix", "ban6_prefix"]);
    }
}
