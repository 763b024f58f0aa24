//! Which packets are meant, in the words of nftables: shared by rules (`match`) and configuration (`ignore`).

mod filters;
pub(crate) mod mask;
pub(crate) mod part;
mod read;
#[cfg(test)]
pub(crate) mod tests;

use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use self::filters::Filters;
pub use self::read::{read, read_match};
use crate::packet::{Fault, Observation, Packet, Pkttype, Tcp, TcpFlags, Transport, Verdict};

/// The class of a packet: what it would be evidence of, judged from the packet alone. See `docs/detection.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are the documentation's own")]
pub enum Class {
    Bogus,
    Null,
    Fin,
    Xmas,
    Finack,
    Ack,
    Syn,
    Udp,
    Trace,
    Proto,
    Echo,
    Probe,
    Smurf,
    Fragment,
}

impl Class {
    /// All classes, in the order of their discriminants.
    pub const ALL: [Self; 14] = [
        Self::Bogus,
        Self::Null,
        Self::Fin,
        Self::Xmas,
        Self::Finack,
        Self::Ack,
        Self::Syn,
        Self::Udp,
        Self::Trace,
        Self::Proto,
        Self::Echo,
        Self::Probe,
        Self::Smurf,
        Self::Fragment,
    ];

    /// The word used in rules.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bogus => "bogus",
            Self::Null => "null",
            Self::Fin => "fin",
            Self::Xmas => "xmas",
            Self::Finack => "finack",
            Self::Ack => "ack",
            Self::Syn => "syn",
            Self::Udp => "udp",
            Self::Trace => "trace",
            Self::Proto => "proto",
            Self::Echo => "echo",
            Self::Probe => "probe",
            Self::Smurf => "smurf",
            Self::Fragment => "fragment",
        }
    }
}

impl Class {
    /// Whether packets of an IP protocol can be of this class.
    #[must_use]
    pub fn may_be(self, protocol: u8) -> bool {
        use crate::packet::protocol as p;
        match self {
            Self::Bogus | Self::Null | Self::Fin | Self::Xmas | Self::Finack | Self::Ack | Self::Syn => {
                protocol == p::TCP
            }
            Self::Udp | Self::Trace => matches!(protocol, p::UDP | p::UDPLITE),
            Self::Echo | Self::Probe | Self::Smurf => matches!(protocol, p::ICMP | p::ICMPV6),
            Self::Proto | Self::Fragment => true,
        }
    }
}

/// A conjunction: every part that is present must hold. An empty list is a part that is absent, the values of a
/// list are alternatives. A part that asks for what a packet does not have (the port of an ICMP message, the DF bit of
/// IPv6) does not match it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the fields are named as in nft(8)")]
pub struct Filter {
    pub class: Vec<Class>,
    pub verdict: Vec<Verdict>,
    /// IP protocol numbers.
    pub protocol: Vec<u8>,
    pub saddr: Vec<IpNet>,
    pub daddr: Vec<IpNet>,
    pub sport: Vec<RangeInclusive<u16>>,
    pub dport: Vec<RangeInclusive<u16>>,
    /// The configured traps besides [`Self::dport`]: of rules alone, whose compiler puts them in.
    pub dport_traps: bool,
    /// (value, mask) over the 12 bits of [`crate::packet::TcpFlags`]; any of them.
    pub tcp_flags: Vec<(u16, u16)>,
    pub tcp_sequence: Vec<u32>,
    /// TTL or hop limit.
    pub ttl: Vec<RangeInclusive<u8>>,
    /// IP length in octets.
    pub length: Vec<RangeInclusive<u32>>,
    pub dont_fragment: Option<bool>,
    /// Types of ICMP or ICMPv6.
    pub icmp_type: Vec<RangeInclusive<u8>>,
    pub fragment: Option<bool>,
    /// What is wrong with a fragment.
    pub fault: Vec<Fault>,
    /// Whether a SYN looks made by hand ([`Packet::is_raw`]).
    pub raw: Option<bool>,
    pub pkttype: Vec<Pkttype>,
    /// The log prefix starts with one of these.
    pub log_prefix: Vec<String>,
    /// Interface names; a final `*` stands for any ending.
    pub iif: Vec<String>,
    pub oif: Vec<String>,
    /// None of these filters may match.
    pub not: Vec<Filter>,
}

impl Filter {
    /// Whether no part is present: it matches every packet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it matches a packet, given the class that the packet has been found to be of.
    #[must_use]
    pub fn matches(&self, observation: &Observation<'_>, class: Option<Class>) -> bool {
        one_holds(&self.verdict, |verdict| *verdict == observation.verdict)
            && one_holds(&self.class, |wanted| class == Some(*wanted))
            && self.matches_packet(&observation.packet)
            && one_holds(&self.fault, |fault| observation.fault == Some(*fault))
            && one_holds(&self.pkttype, |pkttype| *pkttype == observation.pkttype)
            && one_holds(&self.log_prefix, |start| observation.prefix.starts_with(start.as_bytes()))
            && one_holds(&self.iif, |name| is_named(observation.iif, name))
            && one_holds(&self.oif, |name| is_named(observation.oif, name))
            && !self.not.iter().any(|filter| filter.matches(observation, class))
    }

    /// Whether any packet of a class and verdict could match, as far as those say.
    #[must_use]
    pub fn may_match(&self, class: Class, verdict: Verdict) -> bool {
        one_holds(&self.class, |wanted| *wanted == class)
            && one_holds(&self.verdict, |wanted| *wanted == verdict)
            && one_holds(&self.protocol, |protocol| class.may_be(*protocol))
    }

    /// The parts that the packet alone decides.
    fn matches_packet(&self, packet: &Packet) -> bool {
        one_holds(&self.protocol, |protocol| *protocol == packet.protocol)
            && one_holds(&self.dport, |range| packet.ports().is_some_and(|(_, dport)| range.contains(&dport)))
            && one_holds(&self.sport, |range| packet.ports().is_some_and(|(sport, _)| range.contains(&sport)))
            && one_holds(&self.saddr, |network| network.contains(&packet.saddr))
            && one_holds(&self.daddr, |network| network.contains(&packet.daddr))
            && self.matches_transport(&packet.transport)
            && one_holds(&self.ttl, |range| range.contains(&packet.ttl))
            && one_holds(&self.length, |range| range.contains(&packet.length))
            && self
                .dont_fragment
                .is_none_or(|set| matches!(packet.saddr, IpAddr::V4(_)) && packet.dont_fragment == set)
            && self.fragment.is_none_or(|is| packet.fragment.is_some() == is)
            && self.raw.is_none_or(|raw| packet.is_raw() == raw)
    }

    fn matches_transport(&self, transport: &Transport) -> bool {
        let (flags, sequence, icmp) = match transport {
            Transport::Tcp(Tcp { flags, sequence, .. }) => (Some(*flags), *sequence, None),
            Transport::Icmp(icmp) => (None, None, Some(icmp.kind)),
            Transport::Udp(_) | Transport::Opaque => (None, None, None),
        };
        let flagged = |&(value, mask): &(u16, u16)| flags.is_some_and(|TcpFlags(bits)| bits & mask == value);
        one_holds(&self.tcp_flags, flagged)
            && one_holds(&self.tcp_sequence, |wanted| sequence == Some(*wanted))
            && one_holds(&self.icmp_type, |range| icmp.is_some_and(|kind| range.contains(&kind)))
    }
}

/// Whether one of the alternatives holds, or none is named.
fn one_holds<T>(alternatives: &[T], holds: impl Fn(&T) -> bool) -> bool {
    alternatives.is_empty() || alternatives.iter().any(holds)
}

/// As nft's `iifname`: `eth*` is every interface whose name begins with `eth`. No name is no interface.
pub(crate) fn is_named(interface: &str, name: &str) -> bool {
    match name.strip_suffix('*') {
        Some(start) => !interface.is_empty() && interface.starts_with(start),
        None => interface == name,
    }
}
