//! Verdicts on their way to the kernel.

use crate::netlink::Batch;

use super::message;

/// What is to become of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ruling {
    /// It goes on to the next chain.
    Accept,
    /// It is gone.
    Drop,
}

/// Accepted packets in a row that wait for each other. A verdict of its own costs a packet a system call; waiting costs
/// it the time that those behind it take to be judged.
const RUN: u32 = 16;

/// Verdicts that were not sent yet. Packets accepted one after another are accepted together.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    batch: Batch,
    run: Option<Run>,
}

/// Packets of one queue that are accepted, up to this one. Every earlier packet has its verdict, so a verdict on all up
/// to this one says nothing about another.
#[derive(Debug, Clone, Copy)]
struct Run {
    queue: u16,
    last: u32,
    length: u32,
}

impl Verdicts {
    /// Takes in the verdict on the latest packet of a queue. Tells whether it is time to send.
    #[must_use]
    pub(super) fn push(&mut self, queue: u16, id: u32, ruling: Ruling) -> bool {
        match (ruling, &mut self.run) {
            (Ruling::Accept, Some(run)) if run.queue == queue => {
                (run.last, run.length) = (id, run.length + 1);
                run.length >= RUN
            }
            (Ruling::Accept, _) => {
                self.end_run();
                self.run = Some(Run { queue, last: id, length: 1 });
                false
            }
            (Ruling::Drop, _) => {
                self.end_run();
                message::verdict(&mut self.batch, queue, id, ruling);
                true
            }
        }
    }

    fn end_run(&mut self) {
        match self.run.take() {
            Some(Run { queue, last, length: 1 }) => {
                message::verdict(&mut self.batch, queue, last, Ruling::Accept);
            }
            Some(Run { queue, last, .. }) => message::accept_until(&mut self.batch, queue, last),
            None => {}
        }
    }

    /// What is to be sent, none if there is nothing.
    #[must_use]
    pub(super) fn take(&mut self) -> Option<Batch> {
        self.end_run();
        Some(std::mem::take(&mut self.batch)).filter(|batch| !batch.is_empty())
    }
}
