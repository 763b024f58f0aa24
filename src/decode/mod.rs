//! Octets to [`Packet`]: the headers detection looks at, from captures that may end anywhere.
//!
//! Two ends bound every read. The *captured* end is where a snap length cut the octets; what is missing behind it is
//! no fault of the packet, and an error only where a header needed here is missing. The *claimed* end is where the
//! packet's own length fields say it ends; a header that would reach beyond it is a lie of the packet. Neither
//! panics, neither allocates: each is a counted [`Undecoded`].
//!
//! [`ip()`] takes a packet from its IP header on, [`frame`] takes what a capture file holds for a link type.

#![forbid(unsafe_code)]

mod extension;
mod extent;
mod ip;
mod link;
mod nflog;
mod transport;
mod undecoded;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use crate::packet::{Packet, Pkttype};

pub(crate) use self::extension::FragmentHeader;
pub use self::link::LinkType;
pub use self::undecoded::Undecoded;

/// A decoded frame: the packet, and what the link layer's header adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The packet.
    pub packet: Packet,
    /// The captured octets from the IP header on; they may be fewer or (link-layer padding) more than
    /// [`Packet::length`]. Reassembly takes these.
    pub octets: &'a [u8],
    /// Whom the link layer addressed; unicast where it does not tell.
    pub pkttype: Pkttype,
    /// Whether this host sent it, where the link type tells (Linux cooked, NFLOG from the output hook).
    pub outgoing: bool,
    /// The prefix of the rule that logged it (NFLOG): octets from outside.
    pub prefix: Option<&'a [u8]>,
    /// Index of the input interface on the host that captured.
    pub iif: Option<u32>,
    /// Index of the output interface on the host that captured.
    pub oif: Option<u32>,
}

/// Decodes a packet from its IP header on.
///
/// `octets` may be cut by a snap length, or run on into link-layer padding. `wire_length` is how many octets the
/// packet had before the cut, where the capture tells; without it an IP length beyond `octets` is taken for a cut.
///
/// A first fragment that ends before its transport header does (RFC 7112, RFC 1858) is [`Transport::Opaque`] with
/// [`Packet::fragment`] set, and so is one whose IPv6 header chain goes on in the next fragment: whether tiny
/// fragments are an attack is a rule's business. An atomic IPv6 fragment (RFC 6946) is a whole packet and has no
/// [`Packet::fragment`].
///
/// # Errors
/// The reason why no packet can be told from the octets.
///
/// [`Transport::Opaque`]: crate::packet::Transport::Opaque
pub fn ip(octets: &[u8], wire_length: Option<u32>) -> Result<Packet, Undecoded> {
    ip::decode(octets, wire_length, None)
}

/// Decodes a frame of a capture. `wire_length` is the frame's length before a snap length cut it.
///
/// # Errors
/// The reason why no packet can be told from the octets: [`ip()`]'s, a link header's, or that it carries no IP.
pub fn frame(link_type: LinkType, octets: &[u8], wire_length: Option<u32>) -> Result<Frame<'_>, Undecoded> {
    let link = link::decode(link_type, octets, wire_length)?;
    let packet = ip::decode(link.octets, link.wire_length, link.version)?;
    Ok(Frame {
        packet,
        octets: link.octets,
        pkttype: link.pkttype,
        outgoing: link.outgoing,
        prefix: link.prefix,
        iif: link.iif,
        oif: link.oif,
    })
}

/// The source address of a packet, from its IP header on, without a look at the rest.
#[must_use]
pub fn source(octets: &[u8]) -> Option<std::net::IpAddr> {
    match octets.first()? >> 4 {
        4 => octets.get(12..)?.first_chunk::<4>().map(|address| (*address).into()),
        6 => octets.get(8..)?.first_chunk::<16>().map(|address| (*address).into()),
        _ => None,
    }
}
