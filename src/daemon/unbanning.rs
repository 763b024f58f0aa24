//! `nfban unban --all`: in parts, as packets come in between.

use std::collections::VecDeque;
use std::time::Duration;

use ipnet::IpNet;

use super::{Daemon, clock};
use crate::control::inbox::Responder;
use crate::control::protocol::{Refusal, Reply};
use crate::report::target::Target;

/// Bans lifted between two rounds of packets: some milliseconds' worth.
const PART: usize = 250;

/// After so long somebody is told how far it is: the control socket waits no longer than 5 s for an answer.
const PATIENCE: Duration = Duration::from_secs(4);

/// Who has asked for all bans to be lifted, in order.
#[derive(Debug, Default)]
pub(super) struct Unbannings(VecDeque<Unbanning>);

#[derive(Debug)]
struct Unbanning {
    /// Boot time. What is decided from then on stands.
    asked: Duration,
    left: Vec<IpNet>,
    lifted: Vec<IpNet>,
    /// None once it was told how far it was.
    responder: Option<Responder>,
}

impl Unbannings {
    /// Boot time at which [`Daemon::unban_on`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.0.front().map(|_| Duration::ZERO)
    }
}

impl Daemon {
    /// Lifts all bans that stand now, and answers when that is done: at once, if they are few.
    pub(super) fn unban_all(&mut self, responder: Responder) {
        let asked = clock::now().boot;
        let left = self.engine.ledger().iter().map(|ban| ban.target).collect();
        self.unbannings.0.push_back(Unbanning {
            asked,
            left,
            lifted: Vec::new(),
            responder: Some(responder),
        });
        self.unban_on();
    }

    /// Lifts the next part.
    pub(super) fn unban_on(&mut self) {
        let Some(mut unbanning) = self.unbannings.0.pop_front() else { return };
        let left = &mut unbanning.left;
        let mut part = left.split_off(left.len().saturating_sub(PART));
        // What has ended by itself meanwhile was not lifted.
        part.retain(|target| self.engine.ledger().find(*target).is_some());
        self.engine.unban_older(&part, unbanning.asked, &mut self.actions);
        self.carry_out();
        // What the kernel has refused to lift stands, as does what was decided later.
        part.retain(|target| self.engine.ledger().find(*target).is_none());
        unbanning.lifted.extend(part);
        if !unbanning.left.is_empty() {
            let late = clock::now().boot.saturating_sub(unbanning.asked) >= PATIENCE;
            if let Some(responder) = unbanning.responder.take_if(|_| late) {
                let (lifted, left) = (unbanning.lifted.len(), unbanning.left.len());
                let why =
                    format!("{lifted} bans are lifted, and {left} more are being lifted: see `nfban status`");
                responder.send(Reply::refused(Refusal::Busy, why));
            }
            return self.unbannings.0.push_front(unbanning);
        }
        let Unbanning { mut lifted, responder, .. } = unbanning;
        lifted.sort_unstable();
        if let Some(responder) = responder {
            responder.send(Reply::Unbanned { targets: lifted.into_iter().map(Target).collect() });
        }
    }
}
