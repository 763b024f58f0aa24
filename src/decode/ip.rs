//! The IPv4 header (RFC 791) and the fixed IPv6 header (RFC 8200).

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::packet::{Fragment, Packet, Transport};

use super::Undecoded;
use super::extension::{self, Chain};
use super::extent::Extent;
use super::transport;

/// What a link layer announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V4,
    V6,
}

/// Octets of an IPv4 header without options.
const V4_HEADER: usize = 20;
/// Octets of the fixed IPv6 header.
pub(super) const V6_HEADER: usize = 40;

/// Decodes a packet, holding it to the version that was announced, if any.
pub(super) fn decode(
    octets: &[u8],
    wire_length: Option<u32>,
    announced: Option<Version>,
) -> Result<Packet, Undecoded> {
    let first = octets.first().ok_or(Undecoded::IpTruncated)?;
    let version = match first >> 4 {
        4 => Version::V4,
        6 => Version::V6,
        _ => return Err(Undecoded::IpVersion),
    };
    if announced.is_some_and(|announced| announced != version) {
        return Err(Undecoded::IpVersion);
    }
    // A capture that says it cut a packet to more than its length contradicts itself: the octets are the proof.
    let wire = wire_length.map(|length| (length as usize).max(octets.len()));
    match version {
        Version::V4 => ipv4(octets, wire),
        Version::V6 => ipv6(octets, wire),
    }
}

fn ipv4(octets: &[u8], wire: Option<usize>) -> Result<Packet, Undecoded> {
    let header: [u8; V4_HEADER] = *octets.first_chunk().ok_or(Undecoded::IpTruncated)?;
    let [version_ihl, _, l0, l1, i0, i1, f0, f1, ttl, protocol, _, _, s0, s1, s2, s3, d0, d1, d2, d3] =
        header;
    let header_length = u16::from(version_ihl & 0xf) * 4;
    let total_length = u16::from_be_bytes([l0, l1]);
    let start = usize::from(header_length);
    if start < V4_HEADER {
        return Err(Undecoded::IpHeaderLength);
    }
    if total_length < header_length {
        return Err(Undecoded::TotalLengthBelowHeader);
    }
    if wire.is_some_and(|wire| usize::from(total_length) > wire) {
        return Err(Undecoded::LengthBeyondWire);
    }
    if octets.len() < start {
        return Err(Undecoded::OptionsTruncated);
    }
    let field = u16::from_be_bytes([f0, f1]);
    let fragment = Fragment {
        offset: (field & 0x1fff) << 3,
        more: field & 0x2000 != 0,
        identification: u32::from(u16::from_be_bytes([i0, i1])),
        length: u32::from(total_length - header_length),
    };
    let fragment = (fragment.more || fragment.offset > 0).then_some(fragment);
    let extent = Extent::new(octets, usize::from(total_length));
    // AH (51) stays the protocol: nft's `meta l4proto` walks through it in IPv6 only.
    let transport = of_fragment(transport::decode(Version::V4, protocol, extent, start, fragment), fragment)?;
    Ok(Packet {
        saddr: Ipv4Addr::new(s0, s1, s2, s3).into(),
        daddr: Ipv4Addr::new(d0, d1, d2, d3).into(),
        length: u32::from(total_length),
        header_length,
        ttl,
        dont_fragment: field & 0x4000 != 0,
        identification: Some(u16::from_be_bytes([i0, i1])),
        fragment,
        protocol,
        transport,
    })
}

/// A fragment is one whatever its transport header says: that of the whole packet is judged when it is put together.
fn of_fragment(
    transport: Result<Transport, Undecoded>,
    fragment: Option<Fragment>,
) -> Result<Transport, Undecoded> {
    match transport {
        Err(why) if fragment.is_some() && !why.is_truncation() => Ok(Transport::Opaque),
        transport => transport,
    }
}

fn ipv6(octets: &[u8], wire: Option<usize>) -> Result<Packet, Undecoded> {
    let (fixed, rest) = octets.split_first_chunk::<8>().ok_or(Undecoded::IpTruncated)?;
    let (saddr, rest) = rest.split_first_chunk::<16>().ok_or(Undecoded::IpTruncated)?;
    let daddr = rest.first_chunk::<16>().ok_or(Undecoded::IpTruncated)?;
    let [_, _, _, _, l0, l1, next_header, ttl] = *fixed;
    let payload_length = u16::from_be_bytes([l0, l1]);
    let told = extension::packet_length(octets, next_header, payload_length)?;
    let length = told.unwrap_or_else(|| u32::try_from(wire.unwrap_or(octets.len())).unwrap_or(u32::MAX));
    // Saturating where a machine word is narrower than the length field, and where nobody tells any length.
    let claimed = match told {
        Some(length) => usize::try_from(length).unwrap_or(usize::MAX),
        None => wire.unwrap_or(usize::MAX),
    };
    if wire.is_some_and(|wire| claimed > wire) {
        return Err(Undecoded::LengthBeyondWire);
    }
    let extent = Extent::new(octets, claimed);
    let Chain { protocol, end, fragment, complete, .. } = extension::walk(extent, next_header)?;
    // RFC 2675 section 3; Linux refuses it with or without the option (net/ipv6/reassembly.c).
    if fragment.is_some() && payload_length == 0 {
        return Err(Undecoded::JumboLength);
    }
    let transport = if complete {
        of_fragment(transport::decode(Version::V6, protocol, extent, end, fragment), fragment)?
    } else {
        Transport::Opaque
    };
    Ok(Packet {
        saddr: Ipv6Addr::from(*saddr).into(),
        daddr: Ipv6Addr::from(*daddr).into(),
        length,
        header_length: u16::try_from(end).map_err(|_| Undecoded::ExtensionChain)?,
        ttl,
        dont_fragment: false,
        identification: None,
        fragment,
        protocol,
        transport,
    })
}
