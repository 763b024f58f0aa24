//! The thread that runs what is told of events.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::{CapabilitySet, CapabilitySets};
use serde::Serialize;
use tracing::info;

use super::child::Telling;
use super::{AT_ONCE, Counts, Hook, Occasion, Way, occasion};
use crate::decide::Mode;
use crate::event::Event;
use crate::report::json::{Record, write_line};

/// The event as the hook gets it.
#[derive(Serialize)]
struct Told {
    #[serde(flatten)]
    record: Record,
    mode: Mode,
}

/// A hook that is to be told.
struct Job {
    hook: usize,
    name: &'static str,
    event: Arc<Vec<u8>>,
}

pub(super) struct Runner {
    hooks: Vec<Hook>,
    /// Of each hook, whether it failed the last time.
    failing: Vec<bool>,
    events: Receiver<(Event, Mode)>,
    /// Whether no more events will come.
    closed: bool,
    jobs: VecDeque<Job>,
    running: Vec<Telling>,
    bell: Arc<OwnedFd>,
    counts: Arc<Counts>,
    hurry: Arc<AtomicBool>,
    alarms: Sender<String>,
}

impl Runner {
    pub(super) fn new(
        hooks: Vec<Hook>,
        events: Receiver<(Event, Mode)>,
        bell: Arc<OwnedFd>,
        counts: Arc<Counts>,
        hurry: Arc<AtomicBool>,
        alarms: Sender<String>,
    ) -> Self {
        let failing = vec![false; hooks.len()];
        let (jobs, running) = (VecDeque::new(), Vec::new());
        Self { hooks, failing, events, closed: false, jobs, running, bell, counts, hurry, alarms }
    }

    /// Runs until no more events come and all are told.
    pub(super) fn run(&mut self) {
        give_up_privileges();
        loop {
            if self.hurry.load(Ordering::Acquire) {
                self.running.iter().for_each(Telling::kill);
                return;
            }
            self.begin();
            if self.closed && self.running.is_empty() && self.jobs.is_empty() {
                return;
            }
            self.wait();
            self.end();
        }
    }

    /// Starts as many as may run at once.
    fn begin(&mut self) {
        while self.running.len() < AT_ONCE {
            let Some(job) = self.next() else { return };
            let Some(hook) = self.hooks.get(job.hook) else { continue };
            self.counts.told.fetch_add(1, Ordering::Relaxed);
            match Telling::start(hook, job.hook, job.name, &job.event) {
                Ok(telling) => self.running.push(telling),
                Err(error) => self.ended(job.hook, Err(format!("cannot be run: {error}"))),
            }
        }
    }

    fn next(&mut self) -> Option<Job> {
        while self.jobs.is_empty() {
            match self.events.try_recv() {
                Ok((event, mode)) => self.expand(&event, mode),
                Err(TryRecvError::Empty) => return None,
                Err(TryRecvError::Disconnected) => {
                    self.closed = true;
                    return None;
                }
            }
        }
        self.jobs.pop_front()
    }

    /// One job for each hook that is to be told.
    fn expand(&mut self, event: &Event, mode: Mode) {
        let Some(occasion) = occasion(event, mode) else { return };
        let names = Occasion::NAMES;
        let name = names.iter().find(|(_, of)| *of == occasion).map_or("", |(name, _)| *name);
        let mut line = Vec::new();
        // Writing to memory does not fail.
        let _ = write_line(&mut line, &Told { record: Record::from(event), mode });
        let event = Arc::new(line);
        let told = self.hooks.iter().enumerate().filter(|(_, hook)| hook.on.contains(&occasion));
        self.jobs.extend(told.map(|(hook, _)| Job { hook, name, event: event.clone() }));
    }

    /// Waits for a ring, an end, a complaint or a deadline.
    fn wait(&self) {
        let now = Instant::now();
        let due = self.running.iter().filter_map(Telling::deadline).min();
        let wait = due.map(|due| due.saturating_duration_since(now) + Duration::from_millis(1));
        let wait = wait.and_then(|wait| Timespec::try_from(wait).ok());
        let descriptors = self.running.iter().flat_map(|one| [Some(one.ended()), one.complaints()]);
        let descriptors: Vec<BorrowedFd<'_>> = descriptors.flatten().chain([self.bell.as_fd()]).collect();
        let mut fds: Vec<_> = descriptors.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        if poll(&mut fds, wait.as_ref()).is_err() {
            std::thread::sleep(Duration::from_millis(10));
        }
        // Nothing to read is as good.
        let _ = rustix::io::read(&*self.bell, &mut [0; 8]);
    }

    /// Sees to those that have ended, or should have.
    fn end(&mut self) {
        let now = Instant::now();
        let mut going_on = Vec::new();
        for mut telling in std::mem::take(&mut self.running) {
            telling.remind(now);
            telling.listen();
            match telling.outcome() {
                Some(outcome) => self.ended(telling.hook, outcome),
                None => going_on.push(telling),
            }
        }
        self.running = going_on;
    }

    /// Counts how it went, and tells of the first of several failures.
    fn ended(&mut self, hook: usize, outcome: Result<(), String>) {
        let (Some(failing), Some(hook)) = (self.failing.get_mut(hook), self.hooks.get(hook)) else { return };
        let failed_before = std::mem::replace(failing, outcome.is_err());
        match outcome {
            Ok(()) if failed_before => info!("the hook {} works again", shown(hook)),
            Ok(()) => {}
            Err(why) => {
                self.counts.failed.fetch_add(1, Ordering::Relaxed);
                if !failed_before {
                    // Nobody to tell it to is no reason to stop.
                    let _ = self.alarms.send(format!("the hook {} failed: {why}", shown(hook)));
                }
            }
        }
    }
}

/// A hook as messages name it: never a web address whole, which may hold a secret.
fn shown(hook: &Hook) -> String {
    match &hook.way {
        Way::Command(program, _) => program.display().to_string(),
        Way::Webhook(url) => {
            let mut parts = url.split('/');
            let (scheme, host) = (parts.next().unwrap_or_default(), parts.nth(1).unwrap_or_default());
            let host = host.rsplit('@').next().unwrap_or_default();
            format!("{scheme}//{host}/…")
        }
    }
}

/// Makes sure that what this thread runs may not change the firewall: capabilities belong to a thread, and are inherited
/// from the one that runs a program (capabilities(7)).
fn give_up_privileges() {
    // Without CAP_SETPCAP, as the service runs, the bounding set stays; then nothing adds to the permitted set either.
    for capability in CapabilitySet::all().iter() {
        let _ = rustix::thread::remove_capability_from_bounding_set(capability);
    }
    let _ = rustix::thread::clear_ambient_capability_set();
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    // The service's system call filter refuses this, and an empty ambient set is enough there.
    let _ = rustix::thread::set_capabilities(None, none);
    let _ = rustix::thread::set_no_new_privs(true);
}
