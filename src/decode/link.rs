//! Link-layer headers, as capture files carry them (the "Link-layer header types" of tcpdump.org, IETF
//! draft-ietf-opsawg-pcaplinktype).

use crate::packet::Pkttype;

use super::Undecoded;
use super::ip::Version;
use super::nflog;

/// A link-layer header type (`LINKTYPE_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LinkType(pub u32);

impl LinkType {
    /// BSD loopback: address family in the byte order of the capturing host.
    pub const NULL: Self = Self(0);
    /// Ethernet.
    pub const ETHERNET: Self = Self(1);
    /// PPP, with or without HDLC-like framing (RFC 1662).
    pub const PPP: Self = Self(9);
    /// Raw IP; `DLT_RAW` of most systems, which some programs write into files.
    pub const DLT_RAW: Self = Self(12);
    /// Raw IP; `DLT_RAW` of OpenBSD.
    pub const DLT_RAW_OPENBSD: Self = Self(14);
    /// PPP with HDLC-like framing.
    pub const PPP_HDLC: Self = Self(50);
    /// Raw IP, version told by the header.
    pub const RAW: Self = Self(101);
    /// OpenBSD loopback: address family in network byte order.
    pub const LOOP: Self = Self(108);
    /// Linux "cooked" capture.
    pub const LINUX_SLL: Self = Self(113);
    /// Raw IPv4.
    pub const IPV4: Self = Self(228);
    /// Raw IPv6.
    pub const IPV6: Self = Self(229);
    /// What a Linux NFLOG target logs.
    pub const NFLOG: Self = Self(239);
    /// Linux "cooked" capture, version 2.
    pub const LINUX_SLL2: Self = Self(276);

    /// Every link type that [`super::frame`] reads.
    pub const ALL: [Self; 13] = [
        Self::NULL,
        Self::ETHERNET,
        Self::PPP,
        Self::DLT_RAW,
        Self::DLT_RAW_OPENBSD,
        Self::PPP_HDLC,
        Self::RAW,
        Self::LOOP,
        Self::LINUX_SLL,
        Self::IPV4,
        Self::IPV6,
        Self::NFLOG,
        Self::LINUX_SLL2,
    ];
}

/// What a link-layer header tells.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Link<'a> {
    /// From the IP header on.
    pub(super) octets: &'a [u8],
    /// Length of the same before a snap length cut it.
    pub(super) wire_length: Option<u32>,
    /// The IP version it announced.
    pub(super) version: Option<Version>,
    pub(super) pkttype: Pkttype,
    pub(super) outgoing: bool,
    pub(super) prefix: Option<&'a [u8]>,
    pub(super) iif: Option<u32>,
    pub(super) oif: Option<u32>,
}

pub(super) fn decode(
    link_type: LinkType,
    octets: &[u8],
    wire_length: Option<u32>,
) -> Result<Link<'_>, Undecoded> {
    let link = match link_type {
        LinkType::NULL | LinkType::LOOP => loopback(octets),
        LinkType::ETHERNET => ethernet(octets),
        LinkType::PPP | LinkType::PPP_HDLC => ppp(octets),
        LinkType::RAW | LinkType::DLT_RAW | LinkType::DLT_RAW_OPENBSD => raw(octets, None),
        LinkType::IPV4 => raw(octets, Some(Version::V4)),
        LinkType::IPV6 => raw(octets, Some(Version::V6)),
        LinkType::LINUX_SLL => cooked(octets),
        LinkType::LINUX_SLL2 => cooked2(octets),
        // Its attributes tell what was copied, not how long the packet was.
        LinkType::NFLOG => return nflog::decode(octets, wire_length),
        _ => Err(Undecoded::LinkType),
    }?;
    let header = u32::try_from(octets.len().saturating_sub(link.octets.len())).unwrap_or(u32::MAX);
    Ok(Link { wire_length: wire_length.map(|length| length.saturating_sub(header)), ..link })
}

// The result lets all link types read alike.
#[expect(clippy::unnecessary_wraps, reason = "one signature for all link types")]
fn raw(octets: &[u8], version: Option<Version>) -> Result<Link<'_>, Undecoded> {
    Ok(Link { octets, version, ..Link::default() })
}

/// Splits `N` octets off the front.
fn split<const N: usize>(octets: &[u8]) -> Result<([u8; N], &[u8]), Undecoded> {
    octets.split_first_chunk().map(|(front, rest)| (*front, rest)).ok_or(Undecoded::LinkTruncated)
}

fn ethernet(frame: &[u8]) -> Result<Link<'_>, Undecoded> {
    let (destination, rest) = split::<6>(frame)?;
    let (_source, rest) = split::<6>(rest)?;
    let (kind, rest) = split::<2>(rest)?;
    let (version, octets) = ethertype(u16::from_be_bytes(kind), rest)?;
    let pkttype = Pkttype::of_hardware_address(&destination);
    Ok(Link { octets, version: Some(version), pkttype, ..Link::default() })
}

/// The IP version and octets behind an EtherType, through VLAN tags and a PPPoE session. Values below 0x600 are
/// IEEE 802.3 lengths, and what follows them is LLC: the kernel takes no IP from there, and so do we.
pub(super) fn ethertype(kind: u16, octets: &[u8]) -> Result<(Version, &[u8]), Undecoded> {
    const IPV4: u16 = 0x0800;
    const IPV6: u16 = 0x86dd;
    const PPPOE_SESSION: u16 = 0x8864;
    // IEEE 802.1Q, IEEE 802.1ad, and what stacked tags had before 802.1ad.
    const VLAN: [u16; 3] = [0x8100, 0x88a8, 0x9100];

    let (mut kind, mut octets) = (kind, octets);
    while VLAN.contains(&kind) {
        let ([_, _, k0, k1], rest) = split::<4>(octets)?;
        (kind, octets) = (u16::from_be_bytes([k0, k1]), rest);
    }
    match kind {
        IPV4 => Ok((Version::V4, octets)),
        IPV6 => Ok((Version::V6, octets)),
        // RFC 2516 section 4: version and type, code, session, length; then PPP without framing.
        PPPOE_SESSION => ppp_protocol(split::<6>(octets)?.1),
        _ => Err(Undecoded::NotIp),
    }
}

fn ppp(frame: &[u8]) -> Result<Link<'_>, Undecoded> {
    // RFC 1662 section 3.1: "all stations" and "unnumbered information", which may be compressed away.
    let unframed = frame.strip_prefix(&[0xff, 0x03]).unwrap_or(frame);
    let (version, octets) = ppp_protocol(unframed)?;
    Ok(Link { octets, version: Some(version), ..Link::default() })
}

fn ppp_protocol(octets: &[u8]) -> Result<(Version, &[u8]), Undecoded> {
    let ([first], rest) = split::<1>(octets)?;
    // RFC 1661 section 6.5: an odd first octet is a protocol field compressed to one octet.
    let (protocol, rest) = if first & 1 == 1 {
        (u16::from(first), rest)
    } else {
        let ([second], rest) = split::<1>(rest)?;
        (u16::from_be_bytes([first, second]), rest)
    };
    match protocol {
        0x0021 => Ok((Version::V4, rest)),
        0x0057 => Ok((Version::V6, rest)),
        _ => Err(Undecoded::NotIp),
    }
}

fn loopback(frame: &[u8]) -> Result<Link<'_>, Undecoded> {
    let (family, octets) = split::<4>(frame)?;
    // A file does not tell the capturing host's byte order, but no address family needs more than 16 bits.
    let family = match u32::from_be_bytes(family) {
        family if family > 0xffff => family.swap_bytes(),
        family => family,
    };
    let version = match family {
        2 => Version::V4,
        // AF_INET6 of Linux, of NetBSD and OpenBSD, of FreeBSD, of Darwin.
        10 | 24 | 28 | 30 => Version::V6,
        _ => return Err(Undecoded::NotIp),
    };
    Ok(Link { octets, version: Some(version), ..Link::default() })
}

fn cooked(frame: &[u8]) -> Result<Link<'_>, Undecoded> {
    let (packet_type, rest) = split::<2>(frame)?;
    let (_hardware_and_address, rest) = split::<12>(rest)?;
    let (protocol, rest) = split::<2>(rest)?;
    let (version, octets) = ethertype(u16::from_be_bytes(protocol), rest)?;
    let (pkttype, outgoing) = packet_type_of(u16::from_be_bytes(packet_type));
    Ok(Link { octets, version: Some(version), pkttype, outgoing, ..Link::default() })
}

fn cooked2(frame: &[u8]) -> Result<Link<'_>, Undecoded> {
    let (protocol, rest) = split::<2>(frame)?;
    let (_reserved, rest) = split::<2>(rest)?;
    let (index, rest) = split::<4>(rest)?;
    let ([_, _, packet_type, _], rest) = split::<4>(rest)?;
    let (_address, rest) = split::<8>(rest)?;
    let (version, octets) = ethertype(u16::from_be_bytes(protocol), rest)?;
    let (pkttype, outgoing) = packet_type_of(u16::from(packet_type));
    let index = Some(u32::from_be_bytes(index)).filter(|&index| index != 0);
    let (iif, oif) = if outgoing { (None, index) } else { (index, None) };
    Ok(Link { octets, version: Some(version), pkttype, outgoing, iif, oif, ..Link::default() })
}

/// `sll_pkttype` of linux/if_packet.h: to us, broadcast, multicast, to another host, outgoing.
const fn packet_type_of(value: u16) -> (Pkttype, bool) {
    match value {
        1 => (Pkttype::Broadcast, false),
        2 => (Pkttype::Multicast, false),
        4 => (Pkttype::Unicast, true),
        _ => (Pkttype::Unicast, false),
    }
}
