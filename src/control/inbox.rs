//! Where requests wait for the engine: a queue with a file descriptor to poll.

#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::sync::{Arc, Weak};

use rustix::event::{EventfdFlags, eventfd};

use super::peer::Peer;
use super::protocol::{Refusal, Reply, Request};

/// An eventfd: readable from the first ring until it is cleared.
#[derive(Debug, Clone)]
pub(super) struct Wake(Arc<OwnedFd>);

impl Wake {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)))
    }

    pub(super) fn ring(&self) {
        // Fails only where the counter is at its end, and then the descriptor is readable already.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    pub(super) fn clear(&self) {
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A request on its way to the engine.
pub(super) type Pending = (Request, Responder);

/// A reply on its way back: which client, and what.
pub(super) type Answer = (u64, Reply);

/// The engine's end. Readable (as a file descriptor) while requests may be waiting.
#[derive(Debug)]
pub struct Inbox {
    pub(super) requests: Receiver<Pending>,
    pub(super) wake: Wake,
}

impl Inbox {
    /// The next request, if one waits. Call it until it says `None` whenever the descriptor is readable. Questions of
    /// clients that have gone meanwhile are passed over: else who asks and hangs up could make the engine work without end.
    #[must_use]
    pub fn try_next(&self) -> Option<(Request, Responder)> {
        loop {
            let (request, responder) = self.try_any()?;
            if request.changes() || responder.is_awaited() {
                return Some((request, responder));
            }
        }
    }

    fn try_any(&self) -> Option<Pending> {
        match self.requests.try_recv() {
            Ok(pending) => Some(pending),
            Err(TryRecvError::Disconnected) => {
                self.wake.clear();
                None
            }
            Err(TryRecvError::Empty) => {
                // Clear first and look again: a request put in between rings anew and is not slept over.
                self.wake.clear();
                self.requests.try_recv().ok()
            }
        }
    }
}

impl AsFd for Inbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

/// The way back to the client that asked. Dropped without an answer, it says so to the client.
#[derive(Debug)]
#[must_use = "the client waits for a reply"]
pub struct Responder {
    pub(super) client: u64,
    pub(super) peer: Peer,
    pub(super) waiting: Weak<()>,
    pub(super) answers: Option<Sender<Answer>>,
    pub(super) wake: Wake,
}

impl Responder {
    /// Who asks; what they may do was checked.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Whether the client still waits for the answer.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        self.waiting.strong_count() > 0
    }

    /// Answers. Never blocks, and a client that is gone is no error.
    pub fn send(mut self, reply: Reply) {
        self.answer(reply);
    }

    fn answer(&mut self, reply: Reply) {
        if let Some(answers) = self.answers.take() {
            let _ = answers.send((self.client, reply));
            self.wake.ring();
        }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.answer(Reply::refused(Refusal::Busy, "the daemon gave no answer; try again"));
    }
}
