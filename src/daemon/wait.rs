//! Waiting for whatever comes next.

use std::ops::Range;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tracing::error;

use super::history::History;
use super::memory::Memory;
use super::saving::Saving;
use super::signals::Signals;
use super::{Daemon, clock};

/// What poll found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Woken {
    pub(super) host: bool,
    pub(super) text: bool,
    pub(super) packets: bool,
    pub(super) traps: bool,
    pub(super) table: bool,
    pub(super) queued: bool,
}

impl Daemon {
    /// Waits for packets, signals, requests or the next deadline.
    pub(super) fn wait(&mut self, signals: &Signals, until: Option<Duration>) -> Woken {
        let now = clock::now().boot;
        let save_at = self.memory.as_ref().map(Memory::next_deadline);
        let look_at = self.captures.texts().next_deadline();
        let bans_at = self.saving.as_ref().and_then(Saving::next_deadline);
        let add_at = self.history.as_ref().map(History::next_deadline);
        let own = [
            self.keeping.next_deadline(),
            bans_at,
            add_at,
            save_at,
            look_at,
            self.engine.next_deadline(),
            self.listings.next_deadline(),
            self.unbannings.next_deadline(),
            self.metrics.next_deadline(),
        ];
        let due = own.into_iter().chain([self.refresh_at, Some(self.resolvers_at), until]).flatten().min();
        let timeout = due.map(|at| at.saturating_sub(now));
        let timeout = timeout.and_then(|wait| Timespec::try_from(wait).ok());
        let (capture, table) = (self.captures.as_fd(), self.keeping.as_fd());
        let mut fds = vec![
            PollFd::new(signals, PollFlags::IN),
            PollFd::new(&self.inbox, PollFlags::IN),
            PollFd::new(&self.watch, PollFlags::IN),
            PollFd::new(&self.searches, PollFlags::IN),
            PollFd::new(&self.listings, PollFlags::IN),
        ];
        let texts: Vec<_> = self.captures.texts().descriptors().collect();
        let texts_at = fds.len();
        fds.extend(texts.iter().map(|fd| PollFd::new(fd, PollFlags::IN)));
        let traps = self.traps.as_fd();
        let captured_at = fds.len();
        fds.extend(capture.iter().map(|fd| PollFd::new(fd, PollFlags::IN)));
        let trapped_at = fds.len();
        fds.extend(traps.iter().map(|fd| PollFd::new(fd, PollFlags::IN)));
        let table_at = fds.len();
        fds.extend(table.iter().map(|fd| PollFd::new(fd, PollFlags::IN)));
        let (queues, queues_at) = (self.captures.queues_fd(), fds.len());
        fds.extend(queues.iter().map(|fd| PollFd::new(fd, PollFlags::IN)));
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => error!("poll: {error}"),
        }
        let ready = |at: usize| fds.get(at).is_some_and(|fd| !fd.revents().is_empty());
        let is_due = look_at.is_some_and(|at| at <= clock::now().boot);
        let any = |places: Range<usize>| places.into_iter().any(ready);
        Woken {
            host: ready(2),
            text: is_due || any(texts_at..captured_at),
            packets: any(captured_at..trapped_at),
            traps: any(trapped_at..table_at),
            table: any(table_at..queues_at),
            queued: ready(queues_at),
        }
    }
}
