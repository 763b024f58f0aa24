//! The daemon's log: to the journal with fields, else as text or JSON on standard error.
//!
//! Whoever has something to tell leaves it in a bounded queue ([`queue`]); a thread writes it. So a reader that has
//! stalled, be it a full pipe or a stopped journald, costs lines, which are counted and told of, and no packet waits.
//! How much is told of the same thing is bounded as well ([`throttle`]).

#![forbid(unsafe_code)]

mod journal;
mod layer;
mod queue;
mod render;
mod throttle;
mod writer;

use std::sync::Arc;
use std::time::Duration;
use std::{io, thread};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

pub use self::journal::SOCKET as JOURNAL;
use self::queue::{Next, Queue};
use self::throttle::{Key, Kind, Withheld};
use self::writer::Writer;
use crate::decide::Mode;
use crate::event::{BanEnd, Event};
use crate::report::screen::Screen;

/// In what form lines are written, and where to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// To the journal where standard error leads there, else as text.
    #[default]
    Auto,
    /// To the journal, with fields.
    Journal,
    /// A sentence a line, on standard error.
    Text,
    /// An object a line, on standard error.
    Json,
}

impl Format {
    /// The words for it.
    pub const NAMES: [(&str, Self); 4] =
        [("auto", Self::Auto), ("journal", Self::Journal), ("text", Self::Text), ("json", Self::Json)];
}

/// What is to be written.
#[derive(Debug)]
enum Line {
    /// Something happened.
    Event { event: Event, mode: Mode },
    /// The daemon says something of itself.
    Words { level: Level, words: String },
    /// Lines that were not told one by one.
    Withheld { rule: Option<String>, withheld: Withheld },
    /// Lines for which there was no room.
    Lost { lines: u64 },
}

/// How the log fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Fares {
    /// Lines that wait to be written.
    pub waiting: u64,
    /// Lines lost since the start: the reader had stalled and there was no room, or they could not be written.
    pub lost: u64,
}

/// Where to leave lines. Never waits for who reads them.
#[derive(Debug, Clone)]
pub struct Log {
    queue: Arc<Queue>,
    most: LevelFilter,
}

impl Log {
    /// A log of this process, which what it traces goes to as well. Lines wait until [`Log::begin`].
    ///
    /// The variable `NFBAN_LOG` sets the level, `info` where it is missing.
    #[must_use]
    pub fn new() -> Self {
        let filter = EnvFilter::builder()
            .with_default_directive(LevelFilter::INFO.into())
            .with_env_var("NFBAN_LOG")
            .from_env_lossy();
        let most = filter.max_level_hint().unwrap_or(LevelFilter::TRACE);
        let log = Self { queue: Arc::new(Queue::new()), most };
        // A second subscriber cannot be set; whoever did so first (a test) keeps what is traced.
        let _ = tracing_subscriber::registry().with(layer::ToLog(log.clone()).with_filter(filter)).try_init();
        log
    }

    /// Starts writing, in colour where `screen` has it.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub fn begin(&self, format: Format, screen: Screen) -> io::Result<Writing> {
        let queue = Arc::clone(&self.queue);
        let mut writer = Writer::new(format, screen);
        let write = move || {
            loop {
                match queue.next() {
                    Next::Write(entry) => {
                        if writer.write(&entry).is_err() {
                            queue.lose();
                        }
                    }
                    Next::Become(format) => writer = Writer::new(format, screen),
                    Next::End => return,
                }
            }
        };
        thread::Builder::new().name("log".to_owned()).spawn(write)?;
        Ok(Writing(Arc::clone(&self.queue)))
    }

    /// Writes in another format from now on.
    pub fn switch(&self, format: Format) {
        self.queue.switch(format);
    }

    /// Tells of an event. Of what a rule leads to, no more than a line a second in the long run.
    pub fn tell(&self, event: &Event, mode: Mode) {
        if level(event) > self.most {
            return;
        }
        let (key, kind, about) = sort(event);
        self.queue.offer(key, kind, about, || Line::Event { event: event.clone(), mode });
    }

    /// What the daemon says of itself; `place` is where in the code.
    fn say(&self, place: usize, level: Level, words: String) {
        self.queue.offer(Key::Place(place), Kind::Other, None, || Line::Words { level, words });
    }

    /// How it fares.
    #[must_use]
    pub fn fares(&self) -> Fares {
        Fares { waiting: self.queue.waiting() as u64, lost: self.queue.lost() }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self::new()
    }
}

/// How long the end of the process waits for a log that stalls.
const PATIENCE: Duration = Duration::from_secs(2);

/// Lines are being written while this is held; then the last of them, within 2 s.
#[derive(Debug)]
#[must_use = "lines are written while it is held"]
pub struct Writing(Arc<Queue>);

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.close(PATIENCE);
    }
}

/// How much an event matters.
const fn level(event: &Event) -> Level {
    match event {
        Event::Alarm(_) => Level::WARN,
        _ => Level::INFO,
    }
}

/// What an event is counted with, what it tells of, and about whom.
fn sort(event: &Event) -> (Key, Kind, Option<IpNet>) {
    match event {
        Event::Incident(incident) => (rule(&incident.rule), Kind::Incident, Some(incident.source)),
        Event::IncidentUpdate(incident) => (rule(&incident.rule), Kind::Update, Some(incident.source)),
        Event::IncidentEnd(end) => (rule(&end.incident.rule), Kind::End, Some(end.incident.source)),
        Event::Ban(ban) => (rule(&ban.rule), Kind::Ban, Some(ban.target)),
        Event::BanEnd(BanEnd { rule: by, target, .. }) => (rule(by), Kind::BanEnd, Some(*target)),
        Event::Alarm(_) | Event::Summary(_) => (Key::Alarms, Kind::Other, None),
    }
}

fn rule(id: &str) -> Key {
    Key::Rule(id.to_owned())
}
