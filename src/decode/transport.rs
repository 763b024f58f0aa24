//! TCP (RFC 9293), UDP (RFC 768), UDP-Lite (RFC 3828), ICMP (RFC 792) and ICMPv6 (RFC 4443).

use crate::packet::{Fragment, Icmp, Tcp, TcpFlags, Transport, Udp, protocol};

use super::Undecoded;
use super::extent::{Beyond, Extent};
use super::ip::Version;

/// Octets of a TCP header without options.
const TCP_HEADER: usize = 20;
/// Octets of a TCP header up to and including the window: what is read here.
const TCP_READ: usize = 16;
/// Octets of a UDP header.
const UDP_HEADER: usize = 8;
/// The shortest ICMP or ICMPv6 message the kernel takes (`sizeof(struct icmphdr)`, `sizeof(struct icmp6hdr)`).
const ICMP_HEADER: usize = 8;

/// Decodes the header of `protocol` that starts at `at`.
pub(super) fn decode(
    version: Version,
    protocol: u8,
    packet: Extent<'_>,
    at: usize,
    fragment: Option<Fragment>,
) -> Result<Transport, Undecoded> {
    if fragment.is_some_and(|fragment| fragment.offset > 0) {
        return Ok(Transport::Opaque);
    }
    // A first fragment's lengths speak of octets that come in later ones.
    let whole = fragment.is_none();
    let decoded = match (version, protocol) {
        (_, protocol::TCP) => tcp(packet, at, whole),
        (_, protocol::UDP) => udp(version, packet, at, whole),
        (_, protocol::UDPLITE) => udplite(packet, at, whole),
        (Version::V4, protocol::ICMP) | (Version::V6, protocol::ICMPV6) => icmp(packet, at, whole),
        _ => Ok(Transport::Opaque),
    };
    match decoded {
        Err(Undecoded::TransportBeyondPacket) if !whole => Ok(Transport::Opaque),
        decoded => decoded,
    }
}

fn tcp(packet: Extent<'_>, at: usize, whole: bool) -> Result<Transport, Undecoded> {
    let segment = packet.claimed_from(at);
    if whole && segment < TCP_HEADER {
        return Err(Undecoded::TransportBeyondPacket);
    }
    let header = packet.array::<TCP_READ>(at).map_err(reason)?;
    let [s0, s1, d0, d1, q0, q1, q2, q3, _, _, _, _, f0, f1, w0, w1] = header;
    let offset_flags = u16::from_be_bytes([f0, f1]);
    let header_length = usize::from(offset_flags >> 12) * 4;
    if header_length < TCP_HEADER {
        return Err(Undecoded::TcpOffsetBelowHeader);
    }
    if whole && header_length > segment {
        return Err(Undecoded::TcpOffsetBeyondPacket);
    }
    Ok(Transport::Tcp(Tcp {
        sport: u16::from_be_bytes([s0, s1]),
        dport: u16::from_be_bytes([d0, d1]),
        sequence: Some(u32::from_be_bytes([q0, q1, q2, q3])),
        header_length: u8::try_from(header_length).ok(),
        flags: TcpFlags(offset_flags & 0xfff),
        window: u16::from_be_bytes([w0, w1]),
    }))
}

fn udp(version: Version, packet: Extent<'_>, at: usize, whole: bool) -> Result<Transport, Undecoded> {
    let [s0, s1, d0, d1, l0, l1, _, _] = packet.array::<UDP_HEADER>(at).map_err(reason)?;
    let datagram = packet.claimed_from(at);
    let length = match u16::from_be_bytes([l0, l1]) {
        // RFC 2675 section 4: the datagram of a jumbogram; the kernel takes 0 in every IPv6 packet.
        0 if version == Version::V6 && whole => u16::try_from(datagram).unwrap_or(u16::MAX),
        length => length,
    };
    if usize::from(length) < UDP_HEADER {
        return Err(Undecoded::UdpLengthBelowHeader);
    }
    if whole && usize::from(length) > datagram {
        return Err(Undecoded::UdpLengthBeyondPacket);
    }
    Ok(Transport::Udp(Udp {
        sport: u16::from_be_bytes([s0, s1]),
        dport: u16::from_be_bytes([d0, d1]),
        length,
    }))
}

/// Where UDP has a length, UDP-Lite has how much its checksum covers; its length is the IP packet's affair.
fn udplite(packet: Extent<'_>, at: usize, whole: bool) -> Result<Transport, Undecoded> {
    let [s0, s1, d0, d1, c0, c1, _, _] = packet.array::<UDP_HEADER>(at).map_err(reason)?;
    let datagram = packet.claimed_from(at);
    // RFC 3828 section 3.1: 0 covers all; 1 to 7 and more than there is are to be discarded.
    let coverage = usize::from(u16::from_be_bytes([c0, c1]));
    if (1..UDP_HEADER).contains(&coverage) {
        return Err(Undecoded::UdpLengthBelowHeader);
    }
    if whole && coverage > datagram {
        return Err(Undecoded::UdpLengthBeyondPacket);
    }
    Ok(Transport::Udp(Udp {
        sport: u16::from_be_bytes([s0, s1]),
        dport: u16::from_be_bytes([d0, d1]),
        length: u16::try_from(datagram).unwrap_or(u16::MAX),
    }))
}

fn icmp(packet: Extent<'_>, at: usize, whole: bool) -> Result<Transport, Undecoded> {
    if whole && packet.claimed_from(at) < ICMP_HEADER {
        return Err(Undecoded::TransportBeyondPacket);
    }
    let [kind, code] = packet.array(at).map_err(reason)?;
    Ok(Transport::Icmp(Icmp { kind, code }))
}

fn reason(beyond: Beyond) -> Undecoded {
    beyond.reason(Undecoded::TransportTruncated, Undecoded::TransportBeyondPacket)
}
