//! What the kernel's NFQUEUE datagrams say (linux/netfilter/nfnetlink_queue.h, net/netfilter/nfnetlink_queue.c).
//!
//! Nothing here allocates or copies but for a few numbers; a lie in a length ends what it is in.

use crate::netlink::{Message, Messages, NLMSG_DONE, NLMSG_ERROR, NLMSG_OVERRUN};

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

/// What a message of the datagram is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// A packet.
    Packet(Queued<'a>),
    /// The kernel's answer to the request of this sequence number: an errno, 0 for done.
    Answer {
        /// `nlmsg_seq` of the request, 0 for verdicts.
        request: u32,
        /// The errno, positive.
        errno: i32,
    },
    /// The kernel says that messages were lost.
    Overrun,
    /// The message, or the rest of the datagram, is not what the kernel sends.
    Malformed,
}

/// The events of one received datagram. The kernel puts one packet into each.
#[must_use]
pub const fn parse(datagram: &[u8]) -> Events<'_> {
    Events { messages: Messages::new(datagram) }
}

/// Iterator of [`parse`].
#[derive(Debug, Clone)]
pub struct Events<'a> {
    messages: Messages<'a>,
}

impl<'a> Iterator for Events<'a> {
    type Item = Event<'a>;

    fn next(&mut self) -> Option<Event<'a>> {
        if let Some(event) = self.messages.by_ref().find_map(event) {
            return Some(event);
        }
        let unread = !self.messages.rest().is_empty();
        self.messages = Messages::new(&[]);
        unread.then_some(Event::Malformed)
    }
}

/// What `message` says, `None` for those that say nothing.
fn event(message: Message<'_>) -> Option<Event<'_>> {
    const NLMSG_NOOP: u16 = 1;
    Some(match message.kind {
        NFQNL_MSG_PACKET => packet(message).map_or(Event::Malformed, Event::Packet),
        NLMSG_ERROR => match message.errno() {
            Some(errno) => Event::Answer { request: message.sequence, errno },
            None => Event::Malformed,
        },
        NLMSG_OVERRUN => Event::Overrun,
        NLMSG_DONE | NLMSG_NOOP => return None,
        _ => Event::Malformed,
    })
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
