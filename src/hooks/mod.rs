//! Programs and web addresses that are told of events, without a packet ever waiting for them.
//!
//! A thread of their own takes events from a bounded queue, runs what is to be told of each with the event as JSON on
//! its standard input, and sees to the time limits ([`runner`]). It gives up its capabilities before it starts anything:
//! what it runs inherits none.

#![forbid(unsafe_code)]

mod child;
mod runner;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::OwnedFd;
use serde::{Deserialize, Serialize};

use self::runner::Runner;
use crate::config::Place;
use crate::decide::Mode;
use crate::event::Event;

/// How many events wait at most.
const WAITING: usize = 1024;

/// How many programs run at once.
const AT_ONCE: usize = 4;

/// What sends to web addresses: TLS and the answers of strangers are kept out of a process that may change the firewall.
pub(crate) const CURL: &str = "/usr/bin/curl";

/// Somebody to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// Of what.
    pub on: Vec<Occasion>,
    /// How.
    pub way: Way,
    /// How long it may take, 1 s to 10 min; then it is killed.
    pub timeout: Duration,
    /// Where it stands.
    pub place: Place,
}

/// How somebody is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// A program with its arguments, which reads the event from its standard input.
    Command(PathBuf, Vec<String>),
    /// A web address that the event is posted to.
    Webhook(String),
}

impl Way {
    /// The program that is run.
    #[must_use]
    pub fn program(&self) -> &Path {
        match self {
            Self::Command(program, _) => program,
            Self::Webhook(_) => Path::new(CURL),
        }
    }
}

/// Events that somebody can be told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are the variants of `Event`")]
pub enum Occasion {
    Incident,
    IncidentEnd,
    Ban,
    BanEnd,
    Alarm,
}

impl Occasion {
    /// The words for them.
    pub const NAMES: [(&str, Self); 5] = [
        ("incident", Self::Incident),
        ("incident-end", Self::IncidentEnd),
        ("ban", Self::Ban),
        ("ban-end", Self::BanEnd),
        ("alarm", Self::Alarm),
    ];
}

/// How the hooks fare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Fares {
    /// How many are configured.
    pub hooks: u64,
    /// How often one was told of an event, since the start.
    pub told: u64,
    /// How often that failed: it could not be run, said so, or took too long.
    pub failed: u64,
    /// Events that nobody was told of, because too many waited.
    pub lost: u64,
}

#[derive(Debug, Default)]
struct Counts {
    told: AtomicU64,
    failed: AtomicU64,
    lost: AtomicU64,
}

/// Everybody who is told.
#[derive(Debug)]
pub struct Hooks {
    hooks: Vec<Hook>,
    events: SyncSender<(Event, Mode)>,
    bell: Arc<OwnedFd>,
    counts: Arc<Counts>,
    /// Whether the runner is to end at once.
    hurry: Arc<AtomicBool>,
    alarms: Mutex<Receiver<String>>,
    thread: JoinHandle<()>,
    /// Whether it was said that too many wait.
    crowded: bool,
}

impl Hooks {
    /// Begins with a thread for `hooks`.
    ///
    /// # Errors
    /// When there can be no more threads or descriptors.
    pub fn start(hooks: Vec<Hook>) -> io::Result<Self> {
        let (events, incoming) = sync_channel(WAITING);
        let (outgoing, alarms) = channel();
        let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (counts, hurry) = (Arc::<Counts>::default(), Arc::<AtomicBool>::default());
        let mut runner =
            Runner::new(hooks.clone(), incoming, bell.clone(), counts.clone(), hurry.clone(), outgoing);
        let thread = std::thread::Builder::new().name("hooks".to_owned()).spawn(move || runner.run())?;
        Ok(Self { hooks, events, bell, counts, hurry, alarms: Mutex::new(alarms), thread, crowded: false })
    }

    /// Hands an event over, if anybody is to be told of it. While watching nobody is banned, so there is nothing to tell of
    /// bans.
    pub fn tell(&mut self, event: &Event, mode: Mode) {
        let Some(occasion) = occasion(event, mode) else { return };
        if !self.hooks.iter().any(|hook| hook.on.contains(&occasion)) {
            return;
        }
        if self.events.try_send((event.clone(), mode)).is_err() {
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
            if !std::mem::replace(&mut self.crowded, true) {
                tracing::warn!("{WAITING} events wait for hooks: later ones are lost until there is room");
            }
            return;
        }
        self.crowded = false;
        ring(&self.bell);
    }

    /// What people must hear since the last time: each hook that fails, once until it does not.
    pub fn alarms(&self) -> Vec<String> {
        self.alarms.lock().unwrap_or_else(PoisonError::into_inner).try_iter().collect()
    }

    /// How they fare, beside what `earlier` ones did.
    #[must_use]
    pub fn fares(&self, earlier: Fares) -> Fares {
        let now = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Fares {
            hooks: self.hooks.len() as u64,
            told: earlier.told + now(&self.counts.told),
            failed: earlier.failed + now(&self.counts.failed),
            lost: earlier.lost + now(&self.counts.lost),
        }
    }

    /// Takes in nothing more. What waits is still told.
    pub fn retire(self) {
        self.close();
    }

    fn close(self) -> (Arc<OwnedFd>, Arc<AtomicBool>, JoinHandle<()>) {
        let Self { events, bell, hurry, thread, .. } = self;
        // The runner sees that the queue is closed when it is woken.
        drop(events);
        ring(&bell);
        (bell, hurry, thread)
    }

    /// Tells what still waits, for `at_most` so long; then whatever runs is killed.
    pub fn finish(self, at_most: Duration) {
        let (bell, hurry, thread) = self.close();
        let ends = Instant::now() + at_most;
        while !thread.is_finished() && Instant::now() < ends {
            std::thread::sleep(Duration::from_millis(5));
        }
        hurry.store(true, Ordering::Release);
        ring(&bell);
        let ends = ends + Duration::from_millis(500);
        while !thread.is_finished() && Instant::now() < ends {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// What an event is, for hooks.
const fn occasion(event: &Event, mode: Mode) -> Option<Occasion> {
    match (event, mode) {
        (Event::Incident(_), _) => Some(Occasion::Incident),
        (Event::IncidentEnd(_), _) => Some(Occasion::IncidentEnd),
        (Event::Ban(_), Mode::Enforce) => Some(Occasion::Ban),
        (Event::BanEnd(_), Mode::Enforce) => Some(Occasion::BanEnd),
        (Event::Alarm(_), _) => Some(Occasion::Alarm),
        (Event::Ban(_) | Event::BanEnd(_), Mode::Watch)
        | (Event::IncidentUpdate(_) | Event::Summary(_), _) => None,
    }
}

fn ring(bell: &OwnedFd) {
    // Fails only where the counter is at its end, and then the descriptor is readable already.
    let _ = rustix::io::write(bell, &1u64.to_ne_bytes());
}
