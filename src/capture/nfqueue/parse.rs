//! What the kernel's NFQUEUE datagrams say (linux/netfilter/nfnetlink_queue.h, net/netfilter/nfnetlink_queue.c).
//!
//! Nothing here allocates or copies but for a few numbers; a lie in a length ends what it is in.

use crate::capture::datagram::Events;
use crate::netlink::Message;

use super::message::{
    NFGENMSG, NFQA_IFINDEX_INDEV, NFQA_IFINDEX_OUTDEV, NFQA_PACKET_HDR, NFQA_PAYLOAD, NFQNL_MSG_PACKET,
};

/// One packet that waits for its verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queued<'a> {
    /// The queue it waits in.
    pub queue: u16,
    /// Its number in the queue, counted from 1 and wrapping. A gap is packets that passed because the socket had no room.
    pub id: u32,
    /// The packet from its IP header on, at most as many octets as are copied; empty where the kernel copied none.
    pub payload: &'a [u8],
    /// Index of the input interface, 0 where there is none.
    pub iif: u32,
    /// Index of the output interface, 0 where there is none.
    pub oif: u32,
}

/// The events of one received datagram. The kernel puts one packet into each.
#[must_use]
pub const fn parse(datagram: &[u8]) -> Events<'_, Queued<'_>> {
    Events::new(datagram, NFQNL_MSG_PACKET, packet)
}

/// The packet of a `NFQNL_MSG_PACKET`. Without its number nothing can be said of it to the kernel; without a payload it
/// still waits for its verdict.
fn packet(message: Message<'_>) -> Option<Queued<'_>> {
    // struct nfgenmsg: family, version, and the queue as res_id in network byte order.
    let queue = message.payload.get(2..)?.first_chunk().copied().map(u16::from_be_bytes)?;
    let mut id = None;
    let mut queued = Queued { queue, id: 0, payload: &[], iif: 0, oif: 0 };
    for attribute in message.attributes(NFGENMSG) {
        match attribute.kind {
            // struct nfqnl_msg_packet_hdr: the number, the EtherType, the hook.
            NFQA_PACKET_HDR => id = attribute.be32(),
            NFQA_PAYLOAD => queued.payload = attribute.value,
            NFQA_IFINDEX_INDEV => queued.iif = attribute.be32().unwrap_or(0),
            NFQA_IFINDEX_OUTDEV => queued.oif = attribute.be32().unwrap_or(0),
            _ => {}
        }
    }
    queued.id = id?;
    Some(queued)
}
