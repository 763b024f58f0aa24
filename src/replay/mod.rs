//! `nfban replay`: recorded packets through the daemon's own engine.
//!
//! Reads no machine state and no clock: time is what the input says, hash tables are keyed with the same numbers each
//! time, so that the same input gives the same output, octet for octet.

mod clock;
mod conversations;
mod frames;
mod lines;
mod spool;

use std::io;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use jiff::tz::TimeZone;

use self::clock::Clock;
use self::frames::Interface;
use self::spool::Capture;
use crate::capture::input::{Format, Input, InputError, Progress};
use crate::capture::log_text::LineClock;
use crate::config::Config;
use crate::detect::class::Exemption;
use crate::detect::{Capacity, Ruleset, Seed};
use crate::enforce::{DryRun, Enforcer as _};
use crate::engine::{Action, Engine};
use crate::event::firing::Firing;
use crate::event::{Event, Summary};
use crate::host::HostFacts;
use crate::packet::Observation;
use crate::setup;
use crate::time::Stamp;
use crate::web;

/// How a replay is to go.
#[derive(Debug, Clone)]
pub struct Options {
    /// Who we are, what is published, how to respond.
    pub config: Config,
    /// The rules, compiled.
    pub rules: Ruleset,
    /// Those about web requests.
    pub web: web::probe::Rules,
    /// Prefixes that are ours, besides those of the configuration.
    pub home: Vec<IpNet>,
    /// The year of the first line of LOG text, where its times have none.
    pub year: Option<i16>,
    /// The time zone of LOG text whose times have none.
    pub timezone: TimeZone,
}

/// What a replay tells while it goes.
pub trait Audience {
    /// Something happened.
    ///
    /// # Errors
    /// When it cannot be told any more: the replay ends.
    fn event(&mut self, event: &Event) -> io::Result<()>;

    /// A rule fired, on these packets: after the events that came of it.
    ///
    /// # Errors
    /// When it cannot be told any more: the replay ends.
    fn fired(&mut self, firing: &Firing) -> io::Result<()> {
        let _ = firing;
        Ok(())
    }

    /// A record or line was not understood.
    ///
    /// # Errors
    /// When it cannot be told any more: the replay ends.
    fn not_understood(&mut self, place: &Place<'_>, why: &dyn std::fmt::Display) -> io::Result<()>;

    /// An input was opened.
    fn opened(&mut self, name: &str, progress: Progress);

    /// Some more of it has been read.
    fn tick(&mut self);
}

/// Where a record or line is.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The input's name.
    pub input: &'a str,
    /// `record` or `line`.
    pub unit: &'static str,
    /// Which one, from 1 on.
    pub number: u64,
}

/// Why a replay ended early.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// An input cannot be opened, or is of no known format.
    #[error("{0}")]
    Input(#[from] InputError),
    /// An input broke off. What came before has been told.
    #[error("{input}: {cause}")]
    Broken {
        /// The input.
        input: String,
        /// What is wrong with it, and where.
        cause: String,
    },
    /// Text without anything in it that looks like a log.
    #[error(
        "{input} is neither a capture (pcap, pcapng), nor kernel LOG text, nor an access log in the common or combined format: none of its {lines} lines looks like that"
    )]
    NotALog {
        /// The input.
        input: String,
        /// How many lines it has, blank ones not counted.
        lines: u64,
    },
    /// The audience has left.
    #[error("{0}")]
    Output(#[from] io::Error),
}

/// A replay under way.
pub struct Replay<'a> {
    engine: Engine,
    enforcer: DryRun,
    clock: Clock,
    line_clock: LineClock,
    audience: &'a mut dyn Audience,
    interface: Interface,
    actions: Vec<Action>,
    /// Records and lines.
    read: u64,
    /// Those of them that hold a packet: each fragment is one, and what is put together of them is none.
    packets: u64,
    undecoded: u64,
    /// Whether any input was a capture or a log.
    begun: bool,
}

/// Replays `inputs` one after another (`-` is standard input), and tells a summary at the end.
///
/// # Errors
/// See [`ReplayError`]. What was read before has been told, with its summary.
pub fn run(
    options: Options,
    inputs: &[PathBuf],
    audience: &mut dyn Audience,
) -> Result<Summary, ReplayError> {
    let Options { mut config, rules, web, home, year, timezone } = options;
    config.home.extend(home);
    let settings = setup::engine(&config, &HostFacts::default());
    let capacity = Capacity::of(config.sources);
    let mut replay = Replay {
        engine: Engine::new(rules, settings, capacity, Seed::Fixed),
        enforcer: DryRun::default(),
        clock: Clock::default(),
        line_clock: LineClock::new(timezone, year),
        audience,
        interface: Interface::new(&config.home),
        actions: Vec::new(),
        read: 0,
        packets: 0,
        undecoded: 0,
        begun: false,
    };
    replay.engine.judge_requests(&web, replay.clock.now(), &mut replay.actions);
    let result = inputs.iter().try_for_each(|path| replay.input(path));
    // What broke off has been seen up to there; an audience that has left is told nothing more.
    let summary = match &result {
        Err(ReplayError::Output(_)) => Summary::default(),
        Err(_) if !replay.begun => Summary::default(),
        _ => replay.finish()?,
    };
    result.map(|()| summary)
}

impl Replay<'_> {
    fn input(&mut self, path: &Path) -> Result<(), ReplayError> {
        let input = Input::open(path)?;
        self.audience.opened(input.name(), input.progress());
        match input.format() {
            Format::Text => self.lines(input),
            Format::Pcap | Format::PcapNg => {
                self.begun = true;
                let capture = Capture::new(path, input, || self.audience.tick())?;
                self.frames(&capture)
            }
        }
    }

    /// Counts a record or line as read, whatever is in it.
    fn tick(&mut self) {
        self.read = self.read.wrapping_add(1);
        if self.read.is_multiple_of(1024) {
            self.audience.tick();
        }
    }

    /// Takes in one packet, be it a record's own or one put together from several.
    fn observe(&mut self, observation: &Observation<'_>, at: Stamp) -> Result<(), ReplayError> {
        self.engine.observe(observation, at, &mut self.actions);
        self.settle(at)
    }

    /// Counts a packet that is no evidence for a reason the engine cannot know.
    fn pass_over(&mut self, why: Exemption, at: Stamp) -> Result<(), ReplayError> {
        self.engine.pass_over(why, at, &mut self.actions);
        self.settle(at)
    }

    fn undecoded(&mut self, place: &Place<'_>, why: &dyn std::fmt::Display) -> Result<(), ReplayError> {
        self.undecoded += 1;
        Ok(self.audience.not_understood(place, why)?)
    }

    /// What the engine's time is at `wall_ns` nanoseconds of the input's.
    fn stamp(&mut self, wall_ns: i64) -> Stamp {
        let stamped = self.clock.stamp(wall_ns);
        self.after_jump(stamped)
    }

    /// The same of a request, which may have begun before those that were logged already.
    fn request_stamp(&mut self, wall_ns: i64) -> Stamp {
        let stamped = self.clock.stamp_of_request(wall_ns);
        self.after_jump(stamped)
    }

    fn after_jump(&mut self, (stamp, jumped): (Stamp, bool)) -> Stamp {
        if jumped {
            self.engine.restart_windows();
        }
        stamp
    }

    fn settle(&mut self, now: Stamp) -> Result<(), ReplayError> {
        if self.actions.is_empty() {
            return Ok(());
        }
        self.enforcer.advance(now.boot);
        let mut told = Vec::new();
        self.engine.settle(
            &mut self.actions,
            |changes| self.enforcer.apply(changes),
            || now,
            |event| told.push(event),
        );
        told.iter().try_for_each(|event| self.audience.event(event))?;
        self.fired()
    }

    fn fired(&mut self) -> Result<(), ReplayError> {
        let fired = self.engine.take_firings(usize::MAX);
        Ok(fired.iter().try_for_each(|firing| self.audience.fired(firing))?)
    }

    fn finish(&mut self) -> Result<Summary, ReplayError> {
        let now = self.clock.now();
        self.engine.finish(now, &mut self.actions);
        self.settle(now)?;
        self.fired()?;
        let counts = self.engine.counts();
        let summary = Summary {
            packets: self.packets,
            undecoded: self.undecoded,
            sources: self.engine.sources(),
            incidents: counts.incidents,
            bans: counts.bans,
            time_jumps: self.clock.jumps(),
        };
        self.audience.event(&Event::Summary(summary))?;
        Ok(summary)
    }
}

fn broken(input: &str, cause: &dyn std::fmt::Display) -> ReplayError {
    ReplayError::Broken { input: input.to_owned(), cause: cause.to_string() }
}
