//! The captures that are text: the kernel's LOG lines, as the kernel keeps them or out of a file, and access logs.
//!
//! A line has the time at which it is read: the daemon's windows run on one clock, and what is written is read at once.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::{info, warn};

use super::{StartError, clock};
use crate::capture::access_log;
use crate::capture::follow::bell::{Bell, LOOK_EVERY};
use crate::capture::follow::{FollowError, Follower, Line, Notice};
use crate::capture::kmsg::{self, Kmsg};
use crate::capture::log_text::{Decoder, Outcome};
use crate::config::{self, LogText};
use crate::control::protocol;
use crate::detect::class::Exemption;
use crate::engine::{Action, Engine};
use crate::packet::Verdict;

/// All text that is captured.
pub(super) struct Texts {
    sources: Vec<Source>,
    /// None where no file is followed.
    bell: Option<Bell>,
    /// Boot time of the next look at the files.
    look_at: Duration,
}

/// One log.
struct Source {
    /// Its name in `status`.
    name: String,
    input: Input,
    reader: Reader,
    /// Packets or requests that were understood.
    understood: u64,
    undecoded: u64,
    /// Whether the latest reading failed: one warning for each kind of trouble.
    failing: bool,
}

enum Input {
    Kernel(Kmsg),
    File(Follower),
    /// The same source of the captures that this one is to replace has it.
    Elsewhere,
}

enum Reader {
    Packets(Decoder),
    Requests(access_log::Decoder),
}

/// What a line led to.
enum Read {
    Understood,
    NotUnderstood,
    /// Another program's, or blank.
    NotOurs,
}

impl Reader {
    fn read(&mut self, line: &[u8], cut: bool, engine: &mut Engine, actions: &mut Vec<Action>) -> Read {
        if line.iter().all(|octet| octet.is_ascii_whitespace() || *octet == 0) {
            return Read::NotOurs;
        }
        match self {
            // What a cut line of the kernel's says is not sure to be the kernel's.
            Self::Packets(_) if cut => Read::NotUnderstood,
            Self::Packets(decoder) => match decoder.decode(line) {
                Outcome::Decoded(logged) => {
                    engine.observe(&logged.observation, clock::now(), actions);
                    Read::Understood
                }
                Outcome::NoEvidence(_) => {
                    engine.pass_over(Exemption::Unjudged, clock::now(), actions);
                    Read::Understood
                }
                Outcome::NotOurs => Read::NotOurs,
                Outcome::Malformed(_) => Read::NotUnderstood,
            },
            Self::Requests(decoder) => match decoder.decode(line) {
                Ok(request) => {
                    engine.request(&request, clock::now(), actions);
                    Read::Understood
                }
                Err(_) => Read::NotUnderstood,
            },
        }
    }
}

impl Texts {
    /// Opens what is configured, but for what `known` reads already: see [`Self::become_those`].
    pub(super) fn open(captures: &[config::Capture], known: Option<&Self>) -> Result<Self, StartError> {
        let open = |capture: &config::Capture| {
            let name = name(capture)?;
            let is_known = known.is_some_and(|known| known.sources.iter().any(|source| source.name == name));
            Some(if is_known { Ok(Source::known(name, capture)) } else { Source::open(name, capture) })
        };
        let sources = captures.iter().filter_map(open).collect::<Result<Vec<_>, _>>()?;
        let paths: Vec<PathBuf> = captures.iter().filter_map(path).map(Path::to_owned).collect();
        let bell = (!paths.is_empty()).then(|| Bell::new(paths.iter().map(PathBuf::as_path)));
        let bell =
            bell.transpose().map_err(|error| StartError::needs("be told of changes of files", error))?;
        Ok(Self { sources, bell, look_at: clock::now().boot })
    }

    /// Takes the place of `self`; what both read goes on where it is.
    pub(super) fn become_those(&mut self, mut new: Self) {
        for source in &mut new.sources {
            if let Some(known) = self.sources.iter_mut().find(|known| known.name == source.name) {
                std::mem::swap(source, known);
            }
        }
        *self = new;
    }

    /// The descriptors to wait for.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let kernel = self.sources.iter().filter_map(|source| match &source.input {
            Input::Kernel(kmsg) => Some(kmsg.as_fd()),
            Input::File(_) | Input::Elsewhere => None,
        });
        self.bell.iter().map(AsFd::as_fd).chain(kernel)
    }

    /// Boot time at which [`Self::receive`] has something to do, whatever the descriptors say.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.bell.as_ref().map(|_| self.look_at)
    }

    /// Takes in what is new, a bounded part of each.
    pub(super) fn receive(&mut self, engine: &mut Engine, actions: &mut Vec<Action>) {
        let now = clock::now().boot;
        let is_due = self.look_at <= now;
        let rung = self.bell.as_ref().is_some_and(Bell::has_rung);
        if let Some(bell) = self.bell.as_ref().filter(|_| is_due) {
            bell.hang();
        }
        let mut more = false;
        for source in &mut self.sources {
            if matches!(source.input, Input::Kernel(_)) || is_due || rung {
                more |= source.receive(now, engine, actions);
            }
        }
        if is_due || rung {
            self.look_at = if more { now } else { now + LOOK_EVERY };
        }
    }

    /// What was received so far.
    pub(super) fn received(&self) -> impl Iterator<Item = protocol::Capture> {
        self.sources.iter().map(|source| protocol::Capture {
            source: source.name.clone(),
            verdict: match source.reader {
                Reader::Packets(_) => Verdict::Refused,
                // Whoever sends a request has been let in.
                Reader::Requests(_) => Verdict::Accepted,
            },
            packets: source.understood,
            lost: match &source.input {
                Input::Kernel(kmsg) => kmsg.lost(),
                Input::File(_) | Input::Elsewhere => 0,
            },
            overruns: 0,
            undecoded: source.undecoded,
            verdicts: None,
            packets_per_s: None,
        })
    }

    /// How many lines were not understood.
    pub(super) fn undecoded(&self) -> u64 {
        self.sources.iter().map(|source| source.undecoded).sum()
    }

    /// A line about each.
    pub(super) fn describe(&self) -> impl Iterator<Item = String> {
        self.sources.iter().map(|source| match &source.input {
            Input::File(follower) if !follower.is_there() => {
                format!("waiting for {}: there is no such file yet", source.name)
            }
            _ => format!("reading {}", source.name),
        })
    }
}

impl Source {
    fn open(name: String, capture: &config::Capture) -> Result<Self, StartError> {
        let input = match path(capture) {
            None => Input::Kernel(Kmsg::open().map_err(|error| no_kernel_log(&error))?),
            Some(path) => Input::File(Follower::open(path).map_err(|error| no_file(&error))?),
        };
        Ok(Self { input, ..Self::known(name, capture) })
    }

    /// One that is open elsewhere.
    fn known(name: String, capture: &config::Capture) -> Self {
        let reader = match capture {
            config::Capture::AccessLog(_) => Reader::Requests(access_log::Decoder::new()),
            _ => Reader::Packets(Decoder::new()),
        };
        Self { name, input: Input::Elsewhere, reader, understood: 0, undecoded: 0, failing: false }
    }

    /// Reads once, and tells whether more of a file waits.
    fn receive(&mut self, now: Duration, engine: &mut Engine, actions: &mut Vec<Action>) -> bool {
        let Self { name, input, reader, understood, undecoded, failing } = self;
        let mut each = |line: &[u8], cut: bool| match reader.read(line, cut, engine, actions) {
            Read::Understood => *understood += 1,
            Read::NotUnderstood => *undecoded += 1,
            Read::NotOurs => {}
        };
        let done = match input {
            Input::Kernel(kmsg) => kmsg.read(&mut |record| each(record, false)).map(|()| false),
            Input::Elsewhere => Ok(false),
            Input::File(follower) => {
                let more = follower.read(now, &mut |Line { text, cut }| each(text, cut));
                follower.take_notices().iter().for_each(|notice| tell(name, notice));
                more
            }
        };
        match done {
            Ok(more) => {
                *failing = false;
                more
            }
            Err(error) => {
                if !std::mem::replace(failing, true) {
                    warn!("cannot read {name}: {error}; trying again");
                }
                false
            }
        }
    }
}

/// The name of a capture that is text.
fn name(capture: &config::Capture) -> Option<String> {
    match capture {
        config::Capture::Log(LogText::Journal) => Some("log:journal".to_owned()),
        config::Capture::Log(LogText::File(path)) => Some(format!("log:{}", path.display())),
        config::Capture::AccessLog(path) => Some(format!("access-log:{}", path.display())),
        config::Capture::Nflog(_) | config::Capture::Nfqueue { .. } => None,
    }
}

/// The file that a capture follows.
fn path(capture: &config::Capture) -> Option<&Path> {
    match capture {
        config::Capture::Log(LogText::File(path)) | config::Capture::AccessLog(path) => Some(path),
        _ => None,
    }
}

fn tell(name: &str, notice: &Notice) {
    match notice {
        Notice::Vanished => warn!("{name}: the file is gone; waiting for it"),
        Notice::Appeared => info!("{name}: the file is there"),
        Notice::Unreadable(error) => warn!("{name}: {error}; trying again"),
    }
}

fn no_kernel_log(error: &kmsg::OpenError) -> StartError {
    let (what, source) = ("capture `log: journal`".to_owned(), error.to_string().into());
    match error {
        kmsg::OpenError::NotPermitted | kmsg::OpenError::Absent => StartError::NoPermission { what, source },
        kmsg::OpenError::System(_) => StartError::Needs { what, source },
    }
}

fn no_file(error: &FollowError) -> StartError {
    let (what, source) = ("capture a log".to_owned(), error.to_string().into());
    match error {
        FollowError::NotPermitted(_) => StartError::NoPermission { what, source },
        FollowError::NotAFile(_) | FollowError::System(..) => StartError::Needs { what, source },
    }
}
