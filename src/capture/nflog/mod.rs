//! NFLOG: the packets a `log group N` rule hands to user space, over one netlink socket for any number of groups.
//!
//! `parse` reads datagrams and knows no socket; [`Capture`] owns the socket and counts; [`Settings`] says how a group
//! is delivered and why. Neither decodes the packets. Losing packets is no error here but a number: under a flood the
//! kernel drops what does not fit the receive buffer, and the capture goes on.

#![forbid(unsafe_code)]

mod error;
mod interfaces;
mod message;
mod parse;
mod settings;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use rustix::net::sockopt;

use crate::netlink::Socket;

use super::datagram::Trouble;
pub use super::datagram::{Event, Events};
pub use error::OpenError;
pub use interfaces::Interfaces;
pub use parse::{Delivery, parse};
pub use settings::Settings;

/// Octets of receive buffer to ask for: holds 81,000 packets that come one a datagram, 258,000 that come 64 a
/// datagram, where the usual 212 KiB hold 256. That is a quarter of a second of all the kernel can log on a CPU.
pub const RECEIVE_BUFFER: usize = 32 * 1024 * 1024;

/// Octets for one datagram. The kernel fills what it allocated, and it allocates the power of two above nlbufsiz
/// (at most 128 KiB) and `struct skb_shared_info`.
const DATAGRAM: usize = 256 * 1024;

/// Datagrams read before [`Capture::receive`] returns, so that a flood does not keep its caller from all else.
const BUDGET: usize = 64;

/// How often a binding is asked for whose answer was lost among the packets of the groups bound before it.
const BIND_ATTEMPTS: u32 = 4;

/// Why [`Capture::receive`] returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Progress {
    /// Nothing is left: poll.
    Drained,
    /// The budget is used up and more may wait: call again soon.
    More,
}

/// The receive buffer asked for and granted, in octets as setsockopt counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiveBuffer {
    /// What was asked for.
    pub asked: usize,
    /// What the kernel granted. Less than asked where `SO_RCVBUFFORCE` is not allowed (it takes CAP_NET_ADMIN in the
    /// first user namespace) and sysctl net.core.rmem_max is lower.
    pub granted: usize,
}

/// What was received on one group since it was bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GroupStatistics {
    /// The group.
    pub group: u16,
    /// Packets delivered.
    pub packets: u64,
    /// Packets the kernel logged and could not deliver: the gaps of the sequence numbers, which the next packet of
    /// the group shows.
    pub lost: u64,
}

/// What was received since the capture was opened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Each group, in the order they were bound.
    pub groups: Vec<GroupStatistics>,
    /// Times the receive buffer overflowed (`ENOBUFS`). Once an overrun, whatever was lost in it.
    pub overruns: u64,
    /// Messages that were not understood, or that nobody asked for.
    pub malformed: u64,
}

/// An open capture. Dropping it unbinds its groups.
///
/// Not `Send`: open it in the thread that receives.
#[derive(Debug)]
pub struct Capture {
    socket: Socket,
    receive_buffer: ReceiveBuffer,
    buffer: Box<[u8]>,
    /// Datagrams that came while a further group was being bound.
    early: Vec<Vec<u8>>,
    counts: Counts,
    /// Sequence number of the latest request.
    request: u32,
}

impl AsFd for Capture {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Capture {
    /// Binds `groups`, all to one socket with a receive buffer of `receive_buffer` octets ([`RECEIVE_BUFFER`]).
    ///
    /// # Errors
    /// See [`OpenError`]. Either all groups are bound or none.
    pub fn open(groups: &[Settings], receive_buffer: usize) -> Result<Self, OpenError> {
        for (index, settings) in groups.iter().enumerate() {
            settings.check()?;
            if groups.iter().take(index).any(|other| other.group == settings.group) {
                return Err(OpenError::Repeated { group: settings.group });
            }
        }
        let socket = Socket::open(mnl::Bus::Netfilter, 0).map_err(no_socket)?;
        let receive_buffer = enlarge(&socket, receive_buffer)
            .map_err(|source| OpenError::Io { what: "set the receive buffer of the NFLOG socket", source })?;
        let mut capture = Self {
            socket,
            receive_buffer,
            buffer: vec![0; DATAGRAM].into_boxed_slice(),
            early: Vec::new(),
            counts: Counts::default(),
            request: 0,
        };
        for settings in groups {
            capture.bind(settings)?;
        }
        Ok(capture)
    }

    /// Reads what waits and hands each packet to `receiver`; returns when nothing is left or after a bounded number of
    /// datagrams. Never blocks. Call it until [`Progress::Drained`] before the first poll too: packets may have come
    /// while groups were still being bound.
    ///
    /// # Errors
    /// Only what makes the socket unusable; losses and malformed messages are counted.
    pub fn receive(&mut self, receiver: &mut impl Receiver) -> io::Result<Progress> {
        for datagram in self.early.drain(..) {
            self.counts.datagram(&datagram, receiver);
        }
        for _ in 0..BUDGET {
            match self.counts.trouble.receive(&self.socket, &mut self.buffer)? {
                Some(datagram) => self.counts.datagram(datagram, receiver),
                None => return Ok(Progress::Drained),
            }
        }
        Ok(Progress::More)
    }

    /// What was received and lost so far.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        Statistics {
            groups: self.counts.groups.iter().map(|group| group.statistics).collect(),
            overruns: self.counts.trouble.overruns,
            malformed: self.counts.trouble.malformed,
        }
    }

    /// The receive buffer that was granted.
    #[must_use]
    pub const fn receive_buffer(&self) -> ReceiveBuffer {
        self.receive_buffer
    }

    fn bind(&mut self, settings: &Settings) -> Result<(), OpenError> {
        let group = settings.group;
        let failed = |source| OpenError::Io { what: "bind an NFLOG group", source };
        // Known before it is bound, as its packets may come before the answer.
        self.counts.groups.push(Group::new(group));
        for attempt in 0..BIND_ATTEMPTS {
            let answer = self.ask(|request| message::bind(settings, request)).map_err(failed)?;
            return match answer {
                None => continue,
                Some(0) => Ok(()),
                // The attempt whose answer was lost has bound it.
                Some(libc::EBUSY) if attempt > 0 => Ok(()),
                Some(libc::EPERM) => match self.ask(message::probe_rights).map_err(failed)? {
                    Some(libc::EPERM) => Err(OpenError::NotPermitted),
                    _ => Err(OpenError::Taken { group }),
                },
                // No such subsystem, and its module could not be loaded (nfnetlink_rcv_msg).
                Some(errno @ (libc::EINVAL | libc::EOPNOTSUPP)) => {
                    Err(OpenError::Unsupported(io::Error::from_raw_os_error(errno)))
                }
                Some(errno) => Err(failed(io::Error::from_raw_os_error(errno))),
            };
        }
        Err(failed(Errno::NOBUFS.into()))
    }

    /// Sends a request and reads the kernel's answer, which waits when the request is sent; `None` when it was lost
    /// because packets had filled the receive buffer.
    fn ask(&mut self, request: impl Fn(u32) -> crate::netlink::Batch) -> io::Result<Option<i32>> {
        self.request = self.request.wrapping_add(1);
        self.socket.send(&request(self.request))?;
        while let Some(datagram) = self.counts.trouble.receive(&self.socket, &mut self.buffer)? {
            let answer = parse(datagram).find_map(|event| match event {
                Event::Answer { request, errno } if request == self.request => Some(errno),
                _ => None,
            });
            match answer {
                Some(errno) => return Ok(Some(errno)),
                None => self.early.push(datagram.to_vec()),
            }
        }
        Ok(None)
    }
}

/// Takes packets as they come.
pub trait Receiver {
    /// These are about to come, together: the kernel has put several into one datagram. Whom that does not help need do
    /// nothing.
    fn announce(&mut self, packets: &mut dyn Iterator<Item = Delivery<'_>>) {
        let _ = packets;
    }

    /// One has come.
    fn packet(&mut self, delivery: Delivery<'_>);
}

impl<F: FnMut(Delivery<'_>)> Receiver for F {
    fn packet(&mut self, delivery: Delivery<'_>) {
        self(delivery);
    }
}

/// What receiving counts.
#[derive(Debug, Default)]
struct Counts {
    groups: Vec<Group>,
    trouble: Trouble,
}

impl Counts {
    fn datagram(&mut self, datagram: &[u8], receiver: &mut impl Receiver) {
        let mut packets = parse(datagram).filter_map(|event| match event {
            Event::Packet(delivery) => Some(delivery),
            _ => None,
        });
        if packets.clone().nth(1).is_some() {
            receiver.announce(&mut packets);
        }
        for event in parse(datagram) {
            match event {
                Event::Packet(delivery) => {
                    // A handful at most: a walk is quicker than a hash.
                    match self.groups.iter_mut().find(|group| group.statistics.group == delivery.group) {
                        Some(group) => group.count(delivery.sequence),
                        None => {
                            self.trouble.malformed += 1;
                            continue;
                        }
                    }
                    receiver.packet(delivery);
                }
                Event::Overrun => self.trouble.overruns += 1,
                Event::Answer { errno: 0, .. } => {}
                Event::Answer { .. } | Event::Malformed => self.trouble.malformed += 1,
            }
        }
    }
}

#[derive(Debug)]
struct Group {
    statistics: GroupStatistics,
    /// The sequence number the next packet has if none is lost. The kernel counts from 0 when a group is bound.
    next: u32,
}

impl Group {
    fn new(group: u16) -> Self {
        Self { statistics: GroupStatistics { group, ..GroupStatistics::default() }, next: 0 }
    }

    fn count(&mut self, sequence: Option<u32>) {
        self.statistics.packets += 1;
        let Some(sequence) = sequence else { return };
        let gap = sequence.wrapping_sub(self.next);
        // Numbers only grow; one that seems to lie behind is not a loss of four thousand million.
        if gap <= u32::MAX / 2 {
            self.statistics.lost += u64::from(gap);
        }
        self.next = sequence.wrapping_add(1);
    }
}

fn no_socket(source: io::Error) -> OpenError {
    match Errno::from_io_error(&source) {
        Some(Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT) => OpenError::Unsupported(source),
        _ => OpenError::Io { what: "open a netlink socket", source },
    }
}

/// Enlarges the receive buffer, beyond net.core.rmem_max where that is allowed.
pub(super) fn enlarge(socket: &Socket, asked: usize) -> io::Result<ReceiveBuffer> {
    if sockopt::set_socket_recv_buffer_size_force(socket, asked).is_err() {
        sockopt::set_socket_recv_buffer_size(socket, asked)?;
    }
    // The kernel doubles what it is asked for, to cover its own bookkeeping (man 7 socket).
    let granted = sockopt::socket_recv_buffer_size(socket)? / 2;
    Ok(ReceiveBuffer { asked, granted })
}
