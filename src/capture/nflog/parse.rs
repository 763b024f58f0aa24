//! What the kernel's NFLOG datagrams say (linux/netfilter/nfnetlink_log.h, net/netfilter/nfnetlink_log.c).
//!
//! Nothing here allocates or copies but for a few numbers; a lie in a length ends what it is in.

use crate::capture::datagram::Events;
use crate::netlink::Message;
use crate::packet::Pkttype;

use super::message::{
    NFGENMSG, NFULA_HWHEADER, NFULA_HWTYPE, NFULA_IFINDEX_INDEV, NFULA_IFINDEX_OUTDEV, NFULA_MARK,
    NFULA_PACKET_HDR, NFULA_PAYLOAD, NFULA_PREFIX, NFULA_SEQ, NFULA_TIMESTAMP, NFULNL_MSG_PACKET,
};

/// `ARPHRD_ETHER` of linux/if_arp.h; VLAN and bridge interfaces, veth and Wi-Fi have it too.
const ARPHRD_ETHER: u16 = 1;
/// `ARPHRD_LOOPBACK`: its header is an Ethernet header with addresses of zero.
const ARPHRD_LOOPBACK: u16 = 772;
/// Octets of an Ethernet header.
const ETHERNET_HEADER: usize = 14;

/// One packet, as the kernel logged it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery<'a> {
    /// The NFLOG group it was logged to.
    pub group: u16,
    /// EtherType of the payload in host byte order: 0x0800 for IPv4, 0x86dd for IPv6. The message's own family tells
    /// less, being that of the chain (netdev for the ingress hook).
    pub hw_protocol: u16,
    /// The packet from its IP header on, at most as many octets as the group copies.
    pub payload: &'a [u8],
    /// The rule's log prefix without its terminator; empty where it has none.
    pub prefix: &'a [u8],
    /// Index of the input interface, 0 where there is none.
    pub iif: u32,
    /// Index of the output interface, 0 where there is none.
    pub oif: u32,
    /// The destination in the link-layer header. Known for packets that came in over Ethernet or its likes.
    pub link_destination: Option<[u8; 6]>,
    /// When the packet came in, in microseconds since 1970-01-01T00:00:00Z; not told for packets sent by this host.
    pub received_us: Option<i64>,
    /// The packet's mark, 0 where it has none.
    pub mark: u32,
    /// The packet's number in its group, counted from 0 and wrapping: a gap is what was lost.
    pub sequence: Option<u32>,
}

impl Delivery<'_> {
    /// Whom the link layer addressed; unicast where that is not known.
    #[must_use]
    pub fn pkttype(&self) -> Pkttype {
        self.link_destination.map_or(Pkttype::Unicast, |address| Pkttype::of_hardware_address(&address))
    }
}

/// The events of one received datagram, which holds one message, or several when the kernel batches.
#[must_use]
pub const fn parse(datagram: &[u8]) -> Events<'_, Delivery<'_>> {
    Events::new(datagram, NFULNL_MSG_PACKET, packet)
}

/// The packet of a `NFULNL_MSG_PACKET`. Without packet header or payload there is none.
fn packet(message: Message<'_>) -> Option<Delivery<'_>> {
    // struct nfgenmsg: family, version, and the group as res_id in network byte order.
    let group = be16(message.payload.get(2..)?)?;
    let mut hw_protocol = None;
    let mut payload = None;
    let mut delivery = Delivery {
        group,
        hw_protocol: 0,
        payload: &[],
        prefix: &[],
        iif: 0,
        oif: 0,
        link_destination: None,
        received_us: None,
        mark: 0,
        sequence: None,
    };
    let mut link = Link::default();
    for attribute in message.attributes(NFGENMSG) {
        match attribute.kind {
            NFULA_PACKET_HDR => hw_protocol = be16(attribute.value),
            NFULA_PAYLOAD => payload = Some(attribute.value),
            NFULA_PREFIX => delivery.prefix = attribute.text(),
            NFULA_IFINDEX_INDEV => delivery.iif = attribute.be32().unwrap_or(0),
            NFULA_IFINDEX_OUTDEV => delivery.oif = attribute.be32().unwrap_or(0),
            NFULA_MARK => delivery.mark = attribute.be32().unwrap_or(0),
            NFULA_SEQ => delivery.sequence = attribute.be32(),
            NFULA_TIMESTAMP => delivery.received_us = microseconds(attribute.value),
            NFULA_HWTYPE => link.kind = be16(attribute.value),
            NFULA_HWHEADER => link.header = attribute.value,
            _ => {}
        }
    }
    delivery.hw_protocol = hw_protocol?;
    delivery.payload = payload?;
    delivery.link_destination = link.destination();
    Some(delivery)
}

/// The link-layer header of a packet that came in. `NFULA_HWADDR`, the other attribute with an address, has the
/// source.
#[derive(Default)]
struct Link<'a> {
    kind: Option<u16>,
    header: &'a [u8],
}

impl Link<'_> {
    fn destination(&self) -> Option<[u8; 6]> {
        let ethernet = matches!(self.kind, Some(ARPHRD_ETHER | ARPHRD_LOOPBACK));
        if !ethernet || self.header.len() < ETHERNET_HEADER {
            return None;
        }
        self.header.first_chunk().copied()
    }
}

fn be16(octets: &[u8]) -> Option<u16> {
    octets.first_chunk().copied().map(u16::from_be_bytes)
}

/// `struct nfulnl_msg_packet_timestamp`: seconds and microseconds, 64 bits each.
fn microseconds(value: &[u8]) -> Option<i64> {
    let part = |at: usize| value.get(at..)?.first_chunk().copied().map(u64::from_be_bytes);
    let seconds = i64::try_from(part(0)?).ok()?;
    seconds.checked_mul(1_000_000)?.checked_add(i64::try_from(part(8)?).ok()?)
}
