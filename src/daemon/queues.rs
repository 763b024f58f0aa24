//! The NFQUEUE captures: packets that wait until the engine has seen them.
//!
//! The verdict comes first and what follows from a packet after it: an element in a set, a line in the log and a row in
//! the database all take longer than a packet should wait. What the kernel does not hold yet is dropped here.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use tracing::error;

use super::{StartError, clock};
use crate::capture::nflog::Interfaces;
use crate::capture::nfqueue::{self, Capture, OpenError, QueueStatistics, Queued, Ruling};
use crate::config::{self, Config};
use crate::control::protocol;
use crate::decide::Mode;
use crate::decode::{self, Undecoded};
use crate::detect::class::Ports;
use crate::engine::{Action, Engine};
use crate::packet::{Observation, Pkttype, Verdict};
use crate::setup;

/// How long a queue that another process holds is asked for again: a child between fork and exec holds ours for a moment.
const PATIENCE: Duration = Duration::from_millis(500);

const WHAT: &str = "open the NFQUEUE queues";

/// All queues.
#[derive(Default)]
pub(super) struct Queues {
    capture: Option<Capture>,
    numbers: Vec<u16>,
    /// What whoever is restricted may still reach.
    open: Ports,
    /// Whether anything is dropped at all.
    enforces: bool,
    /// Packets that could not be decoded, by queue.
    undecoded: Vec<(u16, u64)>,
    /// What earlier sockets of this run had counted.
    before: nfqueue::Statistics,
}

impl Queues {
    /// Binds the configured queues. Packets pass by them until [`Queues::begin`].
    pub(super) fn open(captures: &[config::Capture]) -> Result<Self, StartError> {
        let numbers = numbers(captures);
        let capture = bind(&numbers)?;
        let undecoded = numbers.iter().map(|&number| (number, 0)).collect();
        Ok(Self { capture, numbers, undecoded, ..Self::default() })
    }

    /// Binds those of `captures`. Where they are the same, the sockets stay; else packets pass for a moment.
    pub(super) fn replace(&mut self, captures: &[config::Capture]) -> Result<(), StartError> {
        let new = numbers(captures);
        if new == self.numbers && !self.is_closed() {
            return Ok(());
        }
        let old = std::mem::replace(&mut self.numbers, new);
        // Those that are in both could not be bound twice.
        self.close();
        let bound = self.bind_again();
        if bound.is_err() {
            self.numbers = old;
            self.reopen();
        }
        bound
    }

    /// Binds the same queues anew.
    pub(super) fn reopen(&mut self) {
        self.close();
        if let Err(error) = self.bind_again() {
            error!("cannot {WHAT}: {error}; new connections pass unseen until that succeeds; trying again");
        }
    }

    fn bind_again(&mut self) -> Result<(), StartError> {
        self.capture = bind(&self.numbers)?;
        let known = |number| self.undecoded.iter().find(|known| known.0 == number).map_or(0, |known| known.1);
        self.undecoded = self.numbers.iter().map(|&number| (number, known(number))).collect();
        self.begin().inspect_err(|_| self.capture = None)
    }

    /// Lets packets wait for their verdict from now on.
    pub(super) fn begin(&mut self) -> Result<(), StartError> {
        match &mut self.capture {
            Some(capture) => capture.begin().map_err(|error| StartError::needs(WHAT, error)),
            None => Ok(()),
        }
    }

    /// Whether queues are configured and none is bound.
    pub(super) const fn is_closed(&self) -> bool {
        self.capture.is_none() && !self.numbers.is_empty()
    }

    /// Lets every packet go that waits, and all that come from now on.
    pub(super) fn close(&mut self) {
        let Some(capture) = self.capture.take() else { return };
        let last = capture.statistics();
        self.before.overruns += last.overruns;
        for queue in last.queues {
            match self.before.queues.iter_mut().find(|known| known.queue == queue.queue) {
                Some(known) => *known = sum(*known, queue),
                None => self.before.queues.push(queue),
            }
        }
    }

    /// What the configuration says of verdicts.
    pub(super) fn reconfigure(&mut self, config: &Config) {
        self.open = setup::open_to_restricted(config);
        self.enforces = config.mode == Mode::Enforce;
    }

    pub(super) fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.capture.as_ref().map(AsFd::as_fd)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// Gives what waits its verdict, at most a bounded number of packets, and tells how many.
    pub(super) fn receive(
        &mut self,
        interfaces: &mut Interfaces,
        undecoded: &mut [u64],
        engine: &mut Engine,
        actions: &mut Vec<Action>,
    ) -> io::Result<usize> {
        let mut packets = 0;
        let Self { capture: Some(capture), open, enforces, undecoded: by_queue, .. } = self else {
            return Ok(0);
        };
        let received = capture.receive(|queued: Queued<'_>| {
            packets += 1;
            let packet = match decode::ip(queued.payload, None) {
                Ok(packet) => packet,
                Err(why) => {
                    count(undecoded, by_queue, queued.queue, why);
                    return Ruling::Accept;
                }
            };
            let (iif, oif) = interfaces.names(queued.iif, queued.oif);
            let observation = Observation {
                packet,
                verdict: Verdict::Undecided,
                // NFQUEUE does not tell; a group or broadcast address is known by itself.
                pkttype: Pkttype::Unicast,
                iif,
                oif,
                prefix: &[],
                fault: None,
            };
            engine.observe(&observation, clock::now(), actions);
            if !*enforces || engine.passes(&packet, open) { Ruling::Accept } else { Ruling::Drop }
        });
        received.map(|_| packets)
    }

    /// What came so far, by queue.
    pub(super) fn received(&self) -> impl Iterator<Item = protocol::Capture> {
        let now = self.capture.as_ref().map(Capture::statistics).unwrap_or_default();
        let overruns = now.overruns + self.before.overruns;
        self.undecoded.iter().map(move |&(queue, undecoded)| {
            let parts = now.queues.iter().chain(&self.before.queues).filter(|part| part.queue == queue);
            let QueueStatistics { accepted, dropped, lost, .. } =
                parts.fold(QueueStatistics::default(), |total, part| sum(total, *part));
            protocol::Capture {
                source: format!("nfqueue:{queue}"),
                verdict: Verdict::Undecided,
                packets: accepted + dropped,
                lost,
                overruns,
                undecoded,
                verdicts: Some(protocol::Verdicts {
                    accepted,
                    dropped,
                    dropped_by_kernel: nfqueue::dropped(queue).ok().flatten(),
                }),
                packets_per_s: None,
            }
        })
    }

    /// A line a queue for the log.
    pub(super) fn describe(&self) -> impl Iterator<Item = String> {
        self.numbers.iter().map(|number| format!("NFQUEUE queue {number}: packets wait for a verdict"))
    }
}

fn sum(one: QueueStatistics, other: QueueStatistics) -> QueueStatistics {
    QueueStatistics {
        queue: one.queue,
        accepted: one.accepted + other.accepted,
        dropped: one.dropped + other.dropped,
        lost: one.lost + other.lost,
    }
}

fn count(undecoded: &mut [u64], by_queue: &mut [(u16, u64)], queue: u16, why: Undecoded) {
    if let Some(count) = undecoded.get_mut(why.index()) {
        *count += 1;
    }
    if let Some((_, count)) = by_queue.iter_mut().find(|known| known.0 == queue) {
        *count += 1;
    }
}

fn numbers(captures: &[config::Capture]) -> Vec<u16> {
    let queues = captures.iter().filter_map(|capture| match capture {
        config::Capture::Nfqueue { queues } => Some(queues.clone()),
        _ => None,
    });
    queues.flatten().collect()
}

fn bind(numbers: &[u16]) -> Result<Option<Capture>, StartError> {
    if numbers.is_empty() {
        return Ok(None);
    }
    let deadline = clock::now().boot + PATIENCE;
    let bound = loop {
        match Capture::open(numbers) {
            Err(OpenError::Taken { .. }) if clock::now().boot < deadline => {
                std::thread::sleep(Duration::from_millis(20));
            }
            bound => break bound,
        }
    };
    bound.map(Some).map_err(|error| {
        if error.is_permission() {
            return StartError::NoPermission { what: WHAT.to_owned(), source: error.to_string().into() };
        }
        StartError::needs(WHAT, error)
    })
}
