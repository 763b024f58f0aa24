//! NFQUEUE: packets that wait in the kernel until a verdict lets them go on or drops them.
//!
//! `parse` reads datagrams and knows no socket; `verdicts` gathers what is said of packets; [`Capture`] owns the socket
//! and counts. Neither decodes the packets. Every packet that comes gets a verdict, and wherever there is doubt or no
//! room a packet passes: a queue must never be what takes a host off the net.

#![forbid(unsafe_code)]

mod error;
mod kernel;
mod message;
mod parse;
#[cfg(test)]
mod tests;
mod verdicts;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;

use super::nflog::{ReceiveBuffer, enlarge};
use crate::netlink::{Batch, Socket};

use self::verdicts::Verdicts;
use super::datagram::Trouble;
pub use super::datagram::{Event, Events};
pub use error::OpenError;
pub use kernel::dropped;
pub use parse::{Queued, parse};
pub use verdicts::Ruling;

/// Octets copied of a packet: holds IPv6 with extension headers and TCP with options.
const SNAPLEN: u32 = 128;

/// Octets of receive buffer to ask for. It bounds how many packets wait: some 8,000, which take 40 ms to be judged.
const RECEIVE_BUFFER: usize = 4 * 1024 * 1024;

/// The least that a packet's datagram takes of the receive buffer (`skb->truesize`: `struct sk_buff` and the message).
const DATAGRAM_COST: usize = 512;

/// Octets for one datagram: one packet and its attributes.
const DATAGRAM: usize = 8 * 1024;

/// Packets judged before [`Capture::receive`] returns, so that what follows from them is done.
const BUDGET: usize = 64;

/// How often a binding is asked for whose answer was lost among the packets of the queues bound before it.
const BIND_ATTEMPTS: u32 = 4;

/// What came by one queue since it was bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueStatistics {
    /// The queue.
    pub queue: u16,
    /// Packets accepted.
    pub accepted: u64,
    /// Packets dropped.
    pub dropped: u64,
    /// Packets that passed unseen, because there was no room for them in the receive buffer: the gaps of the numbers,
    /// which the next packet of the queue shows.
    pub lost: u64,
}

/// What was received since the capture was opened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Each queue.
    pub queues: Vec<QueueStatistics>,
    /// Times the receive buffer overflowed (`ENOBUFS`). Once an overrun, however many passed unseen in it.
    pub overruns: u64,
    /// Messages that were not understood, or that nobody asked for.
    pub malformed: u64,
}

/// Bound queues. Dropping it lets every packet go that waits, and unbinds: none is lost.
///
/// Not `Send`: open it in the thread that gives the verdicts.
#[derive(Debug)]
pub struct Capture {
    socket: Socket,
    receive_buffer: ReceiveBuffer,
    buffer: Box<[u8]>,
    /// Datagrams that came while a further queue was being bound.
    early: Vec<Vec<u8>>,
    verdicts: Verdicts,
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
    /// Binds `queues`, all to one socket. Packets pass by them until [`Capture::begin`].
    ///
    /// # Errors
    /// See [`OpenError`]. Either all queues are bound or none.
    pub fn open(queues: &[u16]) -> Result<Self, OpenError> {
        let socket = Socket::open(mnl::Bus::Netfilter, 0).map_err(no_socket)?;
        let receive_buffer = enlarge(&socket, RECEIVE_BUFFER).map_err(|source| OpenError::Io {
            what: "set the receive buffer of the NFQUEUE socket",
            source,
        })?;
        let mut capture = Self {
            socket,
            receive_buffer,
            buffer: vec![0; DATAGRAM].into_boxed_slice(),
            early: Vec::new(),
            verdicts: Verdicts::default(),
            counts: Counts::default(),
            request: 0,
        };
        queues.iter().try_for_each(|&queue| capture.bind(queue))?;
        Ok(capture)
    }

    /// Lets packets wait for their verdict from now on.
    ///
    /// # Errors
    /// As [`Capture::open`].
    pub fn begin(&mut self) -> Result<(), OpenError> {
        // More than the receive buffer has room for: at a full queue with fail-open the kernel lets packets pass and
        // counts nothing, while those that the buffer has no room for leave a gap in the numbers.
        let length = self.receive_buffer.granted.saturating_mul(2) / DATAGRAM_COST + BUDGET;
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        let failed = |source| OpenError::Io { what: "open an NFQUEUE queue", source };
        let queues: Vec<u16> = self.counts.queues.iter().map(|queue| queue.statistics.queue).collect();
        for queue in queues {
            match self.ask(|request| message::open(queue, length, request)).map_err(failed)? {
                // Where the answer was lost among packets, it was done: packets come from an open queue alone.
                None | Some(0) => {}
                Some(errno) => return Err(failed(io::Error::from_raw_os_error(errno))),
            }
        }
        Ok(())
    }

    /// Reads what waits, asks `judge` about each packet and tells the kernel; returns when nothing is left or after a
    /// bounded number of packets, with every verdict given. Never blocks. Tells whether more may wait.
    ///
    /// # Errors
    /// Only what makes the socket unusable; losses and malformed messages are counted.
    pub fn receive(&mut self, mut judge: impl FnMut(Queued<'_>) -> Ruling) -> io::Result<bool> {
        let Self { socket, buffer, early, verdicts, counts, .. } = self;
        let send = |verdicts: &mut Verdicts| verdicts.take().map_or(Ok(()), |batch| socket.send(&batch));
        let mut take = |datagram: &[u8], counts: &mut Counts| {
            parse(datagram).try_for_each(|event| {
                let Some(queued) = counts.event(event) else { return Ok(()) };
                let ruling = judge(queued);
                counts.ruled(queued.queue, ruling);
                if verdicts.push(queued.queue, queued.id, ruling) { send(verdicts) } else { Ok(()) }
            })
        };
        early.drain(..).try_for_each(|datagram| take(&datagram, counts))?;
        let mut more = true;
        for _ in 0..BUDGET {
            let Some(datagram) = counts.trouble.receive(socket, buffer)? else {
                more = false;
                break;
            };
            take(datagram, counts)?;
        }
        send(verdicts)?;
        Ok(more)
    }

    /// What came so far.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        Statistics {
            queues: self.counts.queues.iter().map(|queue| queue.statistics).collect(),
            overruns: self.counts.trouble.overruns,
            malformed: self.counts.trouble.malformed,
        }
    }

    /// The receive buffer that was granted.
    #[must_use]
    pub const fn receive_buffer(&self) -> ReceiveBuffer {
        self.receive_buffer
    }

    fn bind(&mut self, queue: u16) -> Result<(), OpenError> {
        let failed = |source| OpenError::Io { what: "bind an NFQUEUE queue", source };
        // Known before it is bound: it is closed again whatever becomes of the answer.
        self.counts.queues.push(Queue::new(queue));
        for attempt in 0..BIND_ATTEMPTS {
            let answer = self.ask(|request| message::bind(queue, SNAPLEN, request)).map_err(failed)?;
            return match answer {
                None => continue,
                Some(0) => Ok(()),
                // The attempt whose answer was lost has bound it.
                Some(libc::EBUSY) if attempt > 0 => Ok(()),
                Some(libc::EPERM) => match self.ask(message::probe_rights).map_err(failed)? {
                    Some(libc::EPERM) => Err(OpenError::NotPermitted),
                    _ => Err(OpenError::Taken { queue }),
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
    fn ask(&mut self, request: impl Fn(u32) -> Batch) -> io::Result<Option<i32>> {
        // Verdicts have number 0.
        self.request = self.request.wrapping_add(1).max(1);
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

impl Drop for Capture {
    fn drop(&mut self) {
        let mut batch = Batch::default();
        for queue in &self.counts.queues {
            message::close(&mut batch, queue.statistics.queue, queue.next.wrapping_sub(1));
        }
        // What fails here fails open: the socket is closed next, and the rule's `bypass` lets packets pass.
        let _ = self.socket.send(&batch);
    }
}

fn no_socket(source: io::Error) -> OpenError {
    match Errno::from_io_error(&source) {
        Some(Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT) => OpenError::Unsupported(source),
        _ => OpenError::Io { what: "open a netlink socket", source },
    }
}

/// What receiving counts.
#[derive(Debug, Default)]
struct Counts {
    queues: Vec<Queue>,
    trouble: Trouble,
}

impl Counts {
    /// Counts an event; gives the packet that it is.
    fn event<'a>(&mut self, event: Event<Queued<'a>>) -> Option<Queued<'a>> {
        match event {
            Event::Packet(queued) => match self.queue(queued.queue) {
                Some(queue) => {
                    queue.number(queued.id);
                    return Some(queued);
                }
                None => self.trouble.malformed += 1,
            },
            Event::Overrun => self.trouble.overruns += 1,
            // ENOENT: the packet is gone with its interface (`nfqnl_dev_drop`).
            Event::Answer { errno: 0 | libc::ENOENT, .. } => {}
            Event::Answer { .. } | Event::Malformed => self.trouble.malformed += 1,
        }
        None
    }

    fn ruled(&mut self, queue: u16, ruling: Ruling) {
        let Some(Queue { statistics, .. }) = self.queue(queue) else { return };
        match ruling {
            Ruling::Accept => statistics.accepted += 1,
            Ruling::Drop => statistics.dropped += 1,
        }
    }

    fn queue(&mut self, number: u16) -> Option<&mut Queue> {
        self.queues.iter_mut().find(|queue| queue.statistics.queue == number)
    }
}

#[derive(Debug)]
struct Queue {
    statistics: QueueStatistics,
    /// The number the next packet has if none is lost. The kernel counts from 1 when a queue is bound.
    next: u32,
}

impl Queue {
    fn new(queue: u16) -> Self {
        Self { statistics: QueueStatistics { queue, ..QueueStatistics::default() }, next: 1 }
    }

    fn number(&mut self, id: u32) {
        let gap = id.wrapping_sub(self.next);
        // Numbers only grow; one that seems to lie behind is not a loss of four thousand million.
        if gap <= u32::MAX / 2 {
            self.statistics.lost += u64::from(gap);
        }
        self.next = id.wrapping_add(1);
    }
}
