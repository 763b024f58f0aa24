//! What the rest of the program knows of a packet: the decoded headers, and how it came to us.
//!
//! A [`Packet`] depends on the octets alone (or on a kernel LOG line, which is those octets told in words); an
//! [`Observation`] adds what only the capture knows: the verdict of the firewall, the interfaces, the prefix.
//! Both are plain values without heap memory, so that a packet costs no allocation.

use std::net::IpAddr;

/// IP protocol numbers this program gives a meaning to (IANA "Assigned Internet Protocol Numbers").
pub mod protocol {
    /// Internet Control Message Protocol, RFC 792.
    pub const ICMP: u8 = 1;
    /// Internet Group Management Protocol, RFC 9776.
    pub const IGMP: u8 = 2;
    /// Transmission Control Protocol, RFC 9293.
    pub const TCP: u8 = 6;
    /// User Datagram Protocol, RFC 768.
    pub const UDP: u8 = 17;
    /// ICMP for IPv6, RFC 4443.
    pub const ICMPV6: u8 = 58;
    /// Stream Control Transmission Protocol, RFC 9260.
    pub const SCTP: u8 = 132;
    /// UDP-Lite, RFC 3828.
    pub const UDPLITE: u8 = 136;

    /// Those that have ports this program reads.
    pub const PORTED: [u8; 3] = [TCP, UDP, UDPLITE];

    /// Whether packets of a protocol have ports.
    #[must_use]
    pub const fn has_ports(protocol: u8) -> bool {
        matches!(protocol, TCP | UDP | UDPLITE)
    }

    /// The name `/etc/protocols` has for a protocol, or its number.
    #[must_use]
    pub fn name(protocol: u8) -> String {
        match protocol {
            ICMP => "icmp",
            IGMP => "igmp",
            TCP => "tcp",
            UDP => "udp",
            ICMPV6 => "icmpv6",
            SCTP => "sctp",
            UDPLITE => "udplite",
            other => return other.to_string(),
        }
        .to_owned()
    }
}

/// The decoded headers of one IPv4 or IPv6 packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Source address.
    pub saddr: IpAddr,
    /// Destination address.
    pub daddr: IpAddr,
    /// Length of the whole IP packet in octets, as its header claims: IPv4 total length; IPv6 payload length + 40.
    pub length: u32,
    /// Octets of the IP header with its options, or of the IPv6 header with all extension headers.
    pub header_length: u16,
    /// IPv4 time to live, IPv6 hop limit.
    pub ttl: u8,
    /// IPv4 "don't fragment"; false for IPv6, which has no such bit.
    pub dont_fragment: bool,
    /// IPv4 identification; `None` for IPv6, whose fragments alone have one, and where the source does not tell it.
    pub identification: Option<u16>,
    /// Present in every fragment (also the first) of a fragmented packet, absent otherwise.
    pub fragment: Option<Fragment>,
    /// The protocol that follows the IP header and, for IPv6, its extension headers.
    pub protocol: u8,
    /// The transport header, where this packet carries one that is decoded.
    pub transport: Transport,
}

/// Where a fragment belongs (RFC 791 section 3.2, RFC 8200 section 4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment {
    /// Offset of this fragment's data in the original payload, in octets (0–65528).
    pub offset: u16,
    /// Whether more fragments follow.
    pub more: bool,
    /// Identification shared by the fragments of one packet; 16 bits in IPv4, 32 in IPv6.
    pub identification: u32,
    /// Octets of this fragment's part of the original payload: with the extension headers behind an IPv6 fragment header,
    /// which [`Packet::header_length`] counts as well.
    pub length: u32,
}

/// The header after IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// A TCP segment.
    Tcp(Tcp),
    /// A UDP or UDP-Lite datagram.
    Udp(Udp),
    /// An ICMP (IPv4) or ICMPv6 message; [`Packet::protocol`] tells which.
    Icmp(Icmp),
    /// A protocol this program reads no further, or a fragment other than the first.
    Opaque,
}

/// The parts of a TCP header that detection looks at (RFC 9293 section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tcp {
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Sequence number; `None` where the source does not tell it (kernel LOG text without `--log-tcp-sequence`).
    pub sequence: Option<u32>,
    /// Octets of the header with its options (20–60); `None` where the source does not tell it (kernel LOG text).
    pub header_length: Option<u8>,
    /// The control bits.
    pub flags: TcpFlags,
    /// Window as in the header, unscaled.
    pub window: u16,
}

/// The 12 bits between data offset and window: 3 reserved, AE, CWR, ECE, URG, ACK, PSH, RST, SYN, FIN
/// (RFC 9293 section 3.1; AE from RFC 9768).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TcpFlags(pub u16);

impl TcpFlags {
    /// No more data from sender.
    pub const FIN: u16 = 0x001;
    /// Synchronize sequence numbers.
    pub const SYN: u16 = 0x002;
    /// Reset the connection.
    pub const RST: u16 = 0x004;
    /// Push function.
    pub const PSH: u16 = 0x008;
    /// Acknowledgment field is significant.
    pub const ACK: u16 = 0x010;
    /// Urgent pointer field is significant.
    pub const URG: u16 = 0x020;
    /// ECN-Echo (RFC 3168).
    pub const ECE: u16 = 0x040;
    /// Congestion Window Reduced (RFC 3168).
    pub const CWR: u16 = 0x080;
    /// Accurate ECN (RFC 9768).
    pub const AE: u16 = 0x100;
    /// The three bits that are still reserved and must be zero.
    pub const RESERVED: u16 = 0xe00;

    /// Whether every bit of `mask` is set.
    #[must_use]
    pub const fn all(self, mask: u16) -> bool {
        self.0 & mask == mask
    }

    /// Whether any bit of `mask` is set.
    #[must_use]
    pub const fn any(self, mask: u16) -> bool {
        self.0 & mask != 0
    }
}

/// The parts of a UDP header that detection looks at (RFC 768).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Udp {
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Length of header and data in octets, as the header claims.
    pub length: u16,
}

/// Type and code of an ICMP or ICMPv6 message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Icmp {
    /// Message type.
    pub kind: u8,
    /// Message code.
    pub code: u8,
}

impl Packet {
    /// Whether a SYN carries fewer options than any common stack's connect(), or an IPv4 one lacks DF: the style of
    /// programs that make their own packets. A label, never guilt.
    #[must_use]
    pub fn is_raw(&self) -> bool {
        let tcp_header = match self.transport {
            Transport::Tcp(Tcp { header_length: Some(length), .. }) => u32::from(length),
            // LOG text does not tell it; an honest SYN carries no data.
            _ => self.length.saturating_sub(u32::from(self.header_length)),
        };
        let options = tcp_header.saturating_sub(20);
        (self.saddr.is_ipv4() && !self.dont_fragment) || options < 8
    }

    /// Source and destination port of a TCP or UDP packet.
    #[must_use]
    pub const fn ports(&self) -> Option<(u16, u16)> {
        match self.transport {
            Transport::Tcp(Tcp { sport, dport, .. }) | Transport::Udp(Udp { sport, dport, .. }) => {
                Some((sport, dport))
            }
            Transport::Icmp(_) | Transport::Opaque => None,
        }
    }
}

/// What the firewall did with a captured packet, or what the packet is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The firewall refused it: the default of a capture source.
    #[default]
    Refused,
    /// The first packet of a new connection that the firewall accepted.
    Accepted,
    /// conntrack called it invalid.
    Invalid,
    /// Taken before defragmentation, for the fragment rules alone.
    Fragment,
    /// Sent by one of our own hosts.
    Outbound,
    /// Nobody has judged it yet (NFQUEUE, a capture on an interface).
    Undecided,
}

impl Verdict {
    /// All verdicts, in the order of their discriminants.
    pub const ALL: [Self; 6] =
        [Self::Refused, Self::Accepted, Self::Invalid, Self::Fragment, Self::Outbound, Self::Undecided];

    /// The word used in configuration, rules and log prefixes (`nfban:VERDICT`).
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Accepted => "accepted",
            Self::Invalid => "invalid",
            Self::Fragment => "fragment",
            Self::Outbound => "outbound",
            Self::Undecided => "undecided",
        }
    }

    /// The verdict that an NFLOG or LOG prefix states: `nfban:VERDICT`, followed by nothing, a space or a colon.
    #[must_use]
    pub fn from_prefix(prefix: &[u8]) -> Option<Self> {
        let rest = prefix.trim_ascii_start().strip_prefix(b"nfban:")?;
        Self::ALL.into_iter().find(|verdict| {
            rest.strip_prefix(verdict.as_str().as_bytes())
                .is_some_and(|after| !after.first().is_some_and(u8::is_ascii_alphanumeric))
        })
    }
}

/// Whom the link layer addressed a packet to, where the capture tells (`PACKET_*` of linux/if_packet.h; nft `meta pkttype`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pkttype {
    /// To one host, or not told.
    #[default]
    Unicast,
    /// To a link-layer group.
    Multicast,
    /// To every host of the link.
    Broadcast,
}

impl Pkttype {
    /// From a link-layer destination address: the group bit is the lowest of the first octet (IEEE 802).
    #[must_use]
    pub fn of_hardware_address(address: &[u8]) -> Self {
        match address.first() {
            Some(_) if address.len() >= 6 && address.iter().take(6).all(|&octet| octet == 0xff) => {
                Self::Broadcast
            }
            Some(first) if first & 1 == 1 => Self::Multicast,
            _ => Self::Unicast,
        }
    }
}

/// What is wrong with a fragment, seen beside the other fragments of its packet before they are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fault {
    /// It covers octets that another fragment has given already, without being its repeat (RFC 5722, RFC 3128).
    Overlap,
    /// It ends past the 65535 octets that a packet can have.
    Oversized,
    /// It covers exactly the octets of another fragment.
    Duplicate,
    /// So short that the transport header is cut apart (RFC 1858 section 3).
    Tiny,
}

impl Fault {
    /// All faults, in the order of their discriminants.
    pub const ALL: [Self; 4] = [Self::Overlap, Self::Oversized, Self::Duplicate, Self::Tiny];

    /// The word used in rules.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Overlap => "overlap",
            Self::Oversized => "oversized",
            Self::Duplicate => "duplicate",
            Self::Tiny => "tiny",
        }
    }
}

/// A decoded packet with what its capture adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observation<'a> {
    /// The packet.
    pub packet: Packet,
    /// What the firewall did with it.
    pub verdict: Verdict,
    /// Whom the link layer addressed.
    pub pkttype: Pkttype,
    /// Input interface; empty where there is none or it is not known.
    pub iif: &'a str,
    /// Output interface; empty where there is none or it is not known.
    pub oif: &'a str,
    /// The log prefix, octets from outside: escape before showing.
    pub prefix: &'a [u8],
    /// What is wrong with it as a fragment; `None` unless the verdict is [`Verdict::Fragment`].
    pub fault: Option<Fault>,
}

/// Addresses as one number, IPv4 ones mapped (RFC 4291 section 2.5.5.2): cheap to hash and to compare.
pub(crate) fn as_number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => 0xffff_0000_0000 | u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}
