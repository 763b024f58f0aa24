//! What a packet would be evidence of, judged from the packet alone.
//!
//! The table is `docs/detection.md`; the order of the tests below is its order, the first match decides.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use crate::address::{AddressSet, is_never_a_host};
use crate::filter::{Class, Filters};
use crate::packet::{
    Fragment, Icmp, Observation, Packet, Pkttype, Tcp, TcpFlags, Transport, Udp, Verdict, protocol,
};

/// What one packet says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// It counts as a packet of this class.
    Evidence(Class),
    /// It counts as nothing, and why.
    Exempt(Exemption),
}

macro_rules! exemptions {
    ($($(#[doc = $doc:literal])+ $name:ident = $word:literal,)+) => {
        /// Why a packet is no evidence.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Exemption { $($(#[doc = $doc])+ $name,)+ }

        impl Exemption {
            /// Every reason, in the order of their discriminants.
            pub const ALL: [Self; [$($word),+].len()] = [$(Self::$name),+];

            /// The word that stands for it in listings.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)+ }
            }
        }
    };
}

exemptions! {
    /// The source is an unspecified, loopback or multicast address.
    NobodysAddress = "nobodys-address",
    /// The source is one of our own addresses, a gateway or a resolver.
    Protected = "protected",
    /// The configuration says to ignore such packets.
    Ignored = "ignored",
    /// The port is published (`services`).
    Published = "published",
    /// Something listens there, or was seen to answer.
    Listening = "listening",
    /// The packet went to a multicast or broadcast address.
    Group = "group",
    /// A fragment without a transport header.
    Fragment = "fragment",
    /// RST, SYN+ACK, ICMP errors and the like: answers to what we sent, or to what others sent in our name.
    Answer = "answer",
    /// A segment or datagram that looks like the rest of an ended conversation.
    Late = "late",
    /// An accepted packet of a kind no rule counts.
    Accepted = "accepted",
    /// The record tells of a packet and not what the firewall did with it.
    Unjudged = "unjudged",
    /// A protocol or message that ordinary hosts send.
    Ordinary = "ordinary",
}

/// Ports by transport protocol; ranges are merged into one bit a port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ports {
    tables: Vec<(u8, Box<[u64]>)>,
}

impl Ports {
    /// Of pairs of an IP protocol and ports.
    #[must_use]
    pub fn new<'a>(ports: impl IntoIterator<Item = &'a (u8, RangeInclusive<u16>)>) -> Self {
        let mut this = Self::default();
        for (protocol, range) in ports {
            range.clone().for_each(|port| this.insert(*protocol, port));
        }
        this
    }

    /// Adds one port.
    pub fn insert(&mut self, protocol: u8, port: u16) {
        let at = self.tables.iter().position(|table| table.0 == protocol).unwrap_or_else(|| {
            self.tables.push((protocol, vec![0; 1024].into_boxed_slice()));
            self.tables.len() - 1
        });
        if let Some(word) = self.tables.get_mut(at).and_then(|table| table.1.get_mut(usize::from(port >> 6)))
        {
            *word |= 1 << (port & 63);
        }
    }

    /// Whether the port is one of them.
    #[must_use]
    pub fn contains(&self, protocol: u8, port: u16) -> bool {
        self.tables
            .iter()
            .find(|table| table.0 == protocol)
            .and_then(|table| table.1.get(usize::from(port >> 6)))
            .is_some_and(|word| word >> (port & 63) & 1 == 1)
    }
}

/// What of ourselves decides whether a packet is evidence.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Our own addresses, gateways, resolvers.
    pub protected: AddressSet,
    /// Directed broadcast addresses of our links.
    pub broadcasts: AddressSet,
    /// Published ports.
    pub services: Ports,
    /// Ports that something listens on here: no evidence where the firewall has not judged the packet.
    pub listening: Ports,
    /// The administrator's `ignore` filters.
    pub ignore: Filters,
}

/// Source ports from which the answers of well-known services come; below 1024 all of them.
const SERVICE: [u16; 30] = [
    1194, 1433, 1521, 1900, 1935, 2049, 3128, 3306, 3389, 3478, 3702, 4500, 5060, 5222, 5223, 5228, 5353,
    5355, 5432, 5683, 6379, 6443, 8080, 8443, 8883, 9092, 9200, 11211, 27017, 51820,
];

/// Protocols that ordinary hosts and routers send: ICMP, IGMP, IP in IP, TCP, UDP, IPv6, GRE, ESP, AH, ICMPv6,
/// EIGRP, OSPF, PIM, VRRP, SCTP, UDP-Lite.
const ORDINARY: [u8; 16] = [1, 2, 4, 6, 17, 41, 47, 50, 51, 58, 88, 89, 103, 112, 132, 136];

fn from_service_port(sport: u16) -> bool {
    sport < 1024 || SERVICE.binary_search(&sport).is_ok()
}

/// Whether it is a SYN, and [raw](Packet::is_raw).
pub(super) fn is_raw_syn(packet: &Packet) -> bool {
    use TcpFlags as F;
    let bits = F::FIN | F::SYN | F::RST | F::ACK | F::URG;
    matches!(packet.transport, Transport::Tcp(tcp) if tcp.flags.0 & bits == F::SYN) && packet.is_raw()
}

/// Judges one packet. `twin` tells whether a segment repeats the sequence number of the source's previous one to
/// another port; it is asked only where the answer matters.
#[must_use]
pub fn judge(
    observation: &Observation<'_>,
    ours: &Surroundings,
    twin: impl FnOnce(&Tcp) -> bool,
) -> Judgement {
    use Judgement::{Evidence, Exempt};

    let packet = &observation.packet;
    if is_never_a_host(packet.saddr) {
        return Exempt(Exemption::NobodysAddress);
    }
    if observation.verdict != Verdict::Outbound && ours.protected.contains(packet.saddr) {
        return Exempt(Exemption::Protected);
    }
    let accepted = observation.verdict == Verdict::Accepted;
    // Services are ours: what was let in to them is counted as such, and what our hosts send goes to those of others.
    let to_services =
        !matches!(observation.verdict, Verdict::Accepted | Verdict::Outbound | Verdict::Fragment);
    if let Some((_, dport)) = packet.ports()
        && to_services
        && ours.services.contains(packet.protocol, dport)
    {
        return Exempt(Exemption::Published);
    }
    if let (Verdict::Undecided, Some((_, dport))) = (observation.verdict, packet.ports())
        && ours.listening.contains(packet.protocol, dport)
    {
        return Exempt(Exemption::Listening);
    }
    let judgement = by_headers(observation, ours, twin);
    match judgement {
        Evidence(class) if accepted && class != Class::Syn => Exempt(Exemption::Accepted),
        // A packet that is no evidence anyway is not worth the walk over the filters.
        Evidence(class) if !ours.ignore.is_empty() && ours.ignore.matches(observation, Some(class)) => {
            Exempt(Exemption::Ignored)
        }
        other => other,
    }
}

fn by_headers(
    observation: &Observation<'_>,
    ours: &Surroundings,
    twin: impl FnOnce(&Tcp) -> bool,
) -> Judgement {
    use Judgement::{Evidence, Exempt};

    let packet = &observation.packet;
    if is_for_many(observation, ours) {
        let echo =
            matches!(packet.transport, Transport::Icmp(icmp) if is_echo_request(packet.protocol, icmp));
        return if echo { Evidence(Class::Smurf) } else { Exempt(Exemption::Group) };
    }
    if observation.verdict == Verdict::Fragment {
        return observation.fault.map_or(Exempt(Exemption::Fragment), |_| Evidence(Class::Fragment));
    }
    if matches!(packet.fragment, Some(Fragment { offset: 1.., .. })) {
        return Exempt(Exemption::Fragment);
    }
    match packet.transport {
        Transport::Icmp(icmp) if is_echo_request(packet.protocol, icmp) => Evidence(Class::Echo),
        Transport::Icmp(icmp) => match (packet.protocol, icmp.kind) {
            // Router solicitation, timestamp, information, address mask (RFC 792, 950, 1256); node information (RFC 4620).
            (protocol::ICMP, 10 | 13 | 15 | 17) | (protocol::ICMPV6, 139) => Evidence(Class::Probe),
            _ => Exempt(Exemption::Answer),
        },
        Transport::Tcp(tcp) => judge_tcp(&tcp, twin),
        Transport::Udp(udp) if packet.protocol == protocol::UDP => judge_udp(&udp, packet.ttl),
        _ if ORDINARY.binary_search(&packet.protocol).is_ok() => Exempt(Exemption::Ordinary),
        _ => Evidence(Class::Proto),
    }
}

/// Whether a packet went to more hosts than one.
fn is_for_many(observation: &Observation<'_>, ours: &Surroundings) -> bool {
    observation.pkttype != Pkttype::Unicast
        || is_group_address(observation.packet.daddr)
        || ours.broadcasts.contains(observation.packet.daddr)
}

/// Echo requests of ICMP (RFC 792) and ICMPv6 (RFC 4443).
const fn is_echo_request(protocol: u8, icmp: Icmp) -> bool {
    matches!((protocol, icmp.kind), (protocol::ICMP, 8) | (protocol::ICMPV6, 128))
}

fn is_group_address(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_multicast() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_multicast(),
    }
}

fn judge_tcp(tcp: &Tcp, twin: impl FnOnce(&Tcp) -> bool) -> Judgement {
    use Judgement::{Evidence, Exempt};
    use TcpFlags as F;

    let flags = tcp.flags;
    let impossible = flags.any(F::RESERVED)
        || flags.all(F::SYN | F::FIN)
        || flags.all(F::SYN | F::RST)
        || flags.all(F::FIN | F::RST)
        || (flags.all(F::SYN | F::URG) && !flags.any(F::ACK));
    if impossible {
        return Evidence(Class::Bogus);
    }
    if flags.any(F::RST) || flags.all(F::SYN | F::ACK) {
        return Exempt(Exemption::Answer);
    }
    if flags.any(F::SYN) {
        return Evidence(Class::Syn);
    }
    if !flags.any(F::ACK) {
        return Evidence(match flags.0 & (F::FIN | F::PSH | F::URG) {
            0 => Class::Null,
            F::FIN => Class::Fin,
            _ => Class::Xmas,
        });
    }
    // No client is given a port below 1024, so nothing late goes there. Above, it is the end of a conversation unless
    // two such segments share a sequence number, as those of nmap do. Where that is not told (LOG text), what comes from
    // a service's port or goes to the upper ephemeral range is.
    let may_be_late = tcp.dport >= 1024;
    let looks_late = tcp.sequence.is_some() || tcp.dport >= 32768 || from_service_port(tcp.sport);
    if may_be_late && looks_late && !twin(tcp) {
        return Exempt(Exemption::Late);
    }
    Evidence(if flags.any(F::FIN) { Class::Finack } else { Class::Ack })
}

fn judge_udp(udp: &Udp, ttl: u8) -> Judgement {
    use Judgement::{Evidence, Exempt};

    if udp.dport < 1024 {
        return Evidence(Class::Udp);
    }
    // 12 octets are a DNS header, the least an answer of a service carries; scanners send less.
    if from_service_port(udp.sport) && udp.length.saturating_sub(8) >= 12 {
        return Exempt(Exemption::Late);
    }
    // traceroute counts up from 33434, ten a hop for thirty hops at most; mtr from 33000, tracepath from 44444.
    let of_tracers = (33000..=33733).contains(&udp.dport) || (44444..=44700).contains(&udp.dport);
    let traced = (of_tracers && ttl <= 30) || (udp.dport >= 33000 && ttl <= 5);
    Evidence(if traced { Class::Trace } else { Class::Udp })
}
