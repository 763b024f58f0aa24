//! The datagrams of nfnetlink_log and nfnetlink_queue: how they are received, and what each holds: packets, answers, and
//! word of losses.

use std::io;

use rustix::io::Errno;

use crate::netlink::{Message, Messages, NLMSG_DONE, NLMSG_ERROR, NLMSG_OVERRUN, Socket};

/// What went wrong while receiving.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Trouble {
    /// Times the receive buffer overflowed.
    pub(super) overruns: u64,
    /// Datagrams too long for the buffer, and messages that were not understood or that nobody asked for.
    pub(super) malformed: u64,
}

impl Trouble {
    /// The next datagram, `None` when none waits.
    pub(super) fn receive<'a>(
        &mut self,
        socket: &Socket,
        buffer: &'a mut [u8],
    ) -> io::Result<Option<&'a [u8]>> {
        let length = loop {
            match socket.receive(buffer) {
                Ok(datagram) => break datagram.len(),
                Err(error) => match Errno::from_io_error(&error) {
                    Some(Errno::AGAIN) => return Ok(None),
                    Some(Errno::INTR) => {}
                    Some(Errno::NOBUFS) => self.overruns += 1,
                    Some(Errno::MSGSIZE) => self.malformed += 1,
                    _ => return Err(error),
                },
            }
        };
        Ok(buffer.get(..length))
    }
}

/// What a message of the datagram is; `P` is a packet as the subsystem hands it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<P> {
    /// A packet.
    Packet(P),
    /// The kernel's answer to the request of this sequence number: an errno, 0 for done.
    Answer {
        /// `nlmsg_seq` of the request; 0 for what was sent without one, such as a verdict.
        request: u32,
        /// The errno, positive.
        errno: i32,
    },
    /// The kernel says that messages were lost.
    Overrun,
    /// The message, or the rest of the datagram, is not what the kernel sends.
    Malformed,
}

/// The events of one received datagram.
#[derive(Debug, Clone)]
pub struct Events<'a, P> {
    messages: Messages<'a>,
    /// The type of a message that holds a packet, and what reads it.
    kind: u16,
    packet: fn(Message<'a>) -> Option<P>,
}

impl<'a, P> Events<'a, P> {
    /// Where messages of type `kind` are packets, which `packet` reads; it gives none where one is malformed.
    pub(super) const fn new(datagram: &'a [u8], kind: u16, packet: fn(Message<'a>) -> Option<P>) -> Self {
        Self { messages: Messages::new(datagram), kind, packet }
    }

    /// What `message` says, `None` for those that say nothing (`NLMSG_DONE` closes a batch, `NLMSG_NOOP`).
    fn event(&self, message: Message<'a>) -> Option<Event<P>> {
        const NLMSG_NOOP: u16 = 1;
        Some(match message.kind {
            kind if kind == self.kind => (self.packet)(message).map_or(Event::Malformed, Event::Packet),
            NLMSG_ERROR => match message.errno() {
                Some(errno) => Event::Answer { request: message.sequence, errno },
                None => Event::Malformed,
            },
            NLMSG_OVERRUN => Event::Overrun,
            NLMSG_DONE | NLMSG_NOOP => return None,
            _ => Event::Malformed,
        })
    }
}

impl<P> Iterator for Events<'_, P> {
    type Item = Event<P>;

    fn next(&mut self) -> Option<Event<P>> {
        while let Some(message) = self.messages.next() {
            if let Some(event) = self.event(message) {
                return Some(event);
            }
        }
        let unread = !self.messages.rest().is_empty();
        self.messages = Messages::new(&[]);
        unread.then_some(Event::Malformed)
    }
}
