//! A transaction: a batch of messages that the kernel commits whole or not at all (`nfnetlink_rcv_batch`).
//!
//! The kernel reads a batch to its end even when a message fails, and answers for each failure, so one refused attempt
//! names all culprits. An acknowledgement is asked for the last message only: seen without any error, it says that
//! the commit is done.

use std::io;

use super::socket::{Connection, nfgenmsg, nft};
use super::uapi::*;
use crate::netlink::{Batch, Header, NLM_F_REQUEST, NLMSG_ERROR};

/// How often a transaction is sent when the kernel asks to try again.
const TRIES: usize = 8;

/// Why nothing of a transaction was committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal<T> {
    /// The transaction as such, with the errno.
    Whole(i32),
    /// These parts of it, each with its errno; at least one.
    Parts(Vec<(T, i32)>),
}

impl<T> Refusal<T> {
    /// The first errno.
    pub(super) fn errno(&self) -> i32 {
        match self {
            Self::Whole(errno) => *errno,
            Self::Parts(parts) => parts.first().map_or(libc::EIO, |(_, errno)| *errno),
        }
    }
}

/// A transaction being written. Every message has an origin, `T`, that a refusal names.
pub(super) struct Transaction<T> {
    batch: Batch,
    first: u32,
    origins: Vec<T>,
    family: u8,
}

impl<T: Copy> Transaction<T> {
    /// Begins a transaction of at most `most` messages.
    pub(super) fn begin(connection: &mut Connection, most: u32) -> Self {
        // Two more: the messages that begin and end the batch.
        let first = connection.sequences(most.saturating_add(2));
        let family = connection.family();
        let mut transaction = Self { batch: Batch::default(), first, origins: Vec::new(), family };
        transaction.frame(NFNL_MSG_BATCH_BEGIN, first);
        transaction
    }

    /// Whether nothing has been asked for.
    pub(super) const fn is_empty(&self) -> bool {
        self.origins.is_empty()
    }

    /// Adds the message `kind` (`NFT_MSG_…`).
    pub(super) fn push(&mut self, origin: T, kind: u16, flags: u16, body: impl FnOnce(&mut Batch)) {
        self.origins.push(origin);
        let header = Header { kind: nft(kind), flags: NLM_F_REQUEST | flags, sequence: self.next() };
        self.batch.message(header, &nfgenmsg(self.family, 0), body);
    }

    /// The sequence number of the message just noted in `origins`.
    fn next(&self) -> u32 {
        self.first.wrapping_add(u32::try_from(self.origins.len()).unwrap_or(u32::MAX))
    }

    fn frame(&mut self, kind: u16, sequence: u32) {
        let header = Header { kind, flags: NLM_F_REQUEST, sequence };
        self.batch.message(header, &nfgenmsg(0, NFNL_SUBSYS_NFTABLES), |_| ());
    }

    /// Has the kernel commit it. An empty transaction is committed without asking.
    pub(super) fn commit(mut self, connection: &mut Connection) -> Result<(), Refusal<T>> {
        if self.is_empty() {
            return Ok(());
        }
        self.batch.acknowledge();
        self.frame(NFNL_MSG_BATCH_END, self.next().wrapping_add(1));
        if connection.is_rehearsing() {
            return Ok(());
        }
        let mut errno = libc::EAGAIN;
        for _ in 0..TRIES {
            match self.attempt(connection) {
                Err(Refusal::Whole(again)) if is_transient(again) => errno = again,
                Ok(()) => {
                    connection.committed();
                    return Ok(());
                }
                refused => return refused,
            }
        }
        Err(Refusal::Whole(errno))
    }

    fn attempt(&self, connection: &mut Connection) -> Result<(), Refusal<T>> {
        connection.send(&self.batch).map_err(whole)?;
        let last = self.origins.len();
        let mut culprits = Vec::new();
        loop {
            let messages = match connection.receive() {
                Ok(Some(messages)) => messages,
                Ok(None) => break,
                // More refusals than the buffer holds: those read name culprits enough to go on with.
                Err(error) if culprits.is_empty() => return Err(whole(error)),
                Err(_) => break,
            };
            for message in messages.filter(|message| message.kind == NLMSG_ERROR) {
                let place = message.sequence.wrapping_sub(self.first);
                let place = usize::try_from(place).unwrap_or(usize::MAX);
                match (place, message.errno()) {
                    (_, None) => {}
                    (0, Some(errno)) if errno != 0 => return Err(Refusal::Whole(errno)),
                    (_, Some(0)) if place == last && culprits.is_empty() => return Ok(()),
                    (_, Some(0)) => {}
                    (_, Some(errno)) => {
                        let origin = place.checked_sub(1).and_then(|index| self.origins.get(index));
                        culprits.extend(origin.map(|origin| (*origin, errno)));
                    }
                }
            }
        }
        // Neither an error nor the acknowledgement: the kernel took the batch for malformed.
        if culprits.is_empty() { Err(Refusal::Whole(libc::EIO)) } else { Err(Refusal::Parts(culprits)) }
    }
}

/// Worth sending the same transaction again: interrupted, overtaken by another one, or its answers did not fit.
const fn is_transient(errno: i32) -> bool {
    // 85 is ERESTART, which the kernel uses for a changed generation and which has no place in libc's Rust.
    matches!(errno, libc::EAGAIN | libc::EINTR | libc::ENOBUFS | 85)
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn whole<T>(error: io::Error) -> Refusal<T> {
    Refusal::Whole(error.raw_os_error().unwrap_or(libc::EIO))
}
