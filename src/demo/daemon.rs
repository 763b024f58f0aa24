//! The daemon, started as anybody would, in the victim's network.

#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::sandbox::THIS_PROGRAM;
use super::{DemoError, program};
use crate::control::client::ask;
use crate::control::protocol::{Address, BanRow, Reply, Request, Status};
use crate::report::target::Target;

/// How long it may take until it answers: many times what a slow machine needs.
const LIMIT: Duration = Duration::from_secs(10);

/// The running daemon. It ends with the process id namespace, if not before.
#[derive(Debug)]
pub(super) struct Daemon {
    child: Child,
    socket: PathBuf,
    log: PathBuf,
}

impl Daemon {
    /// Starts the daemon with its files in `folder` and ban times of `time`, and waits until it answers.
    pub(super) fn start(folder: &Path, time: Duration) -> Result<Self, DemoError> {
        let [config, socket, log] = ["nfban.yaml", "control.sock", "nfban.log"].map(|name| folder.join(name));
        fs::write(&config, configuration(&socket, time))
            .map_err(|error| DemoError::step(format!("write {}", config.display()), error))?;
        let starting = |error| DemoError::step("start the daemon", error);
        let written = File::create(&log).map_err(starting)?;
        let child = Command::new(THIS_PROGRAM)
            .args(["run", "--config"])
            .arg(&config)
            // Neither the user's settings nor those of a service the user is in are meant for it.
            .env_clear()
            .env("PATH", program::path())
            .env("NO_COLOR", "1")
            .env("STATE_DIRECTORY", folder)
            .stdin(Stdio::null())
            .stdout(written.try_clone().map_err(starting)?)
            .stderr(written)
            .spawn()
            .map_err(starting)?;
        let mut daemon = Self { child, socket, log };
        daemon.wait_until_it_answers()?;
        Ok(daemon)
    }

    fn wait_until_it_answers(&mut self) -> Result<(), DemoError> {
        let start = Instant::now();
        while let Err(error) = self.status() {
            if let Ok(Some(status)) = self.child.try_wait() {
                let ended = format!("it ended at once ({status}): {}", self.last_words());
                return Err(DemoError::step("start the daemon", ended));
            }
            if start.elapsed() > LIMIT {
                return Err(DemoError::step("reach the daemon", format!("{error}: {}", self.last_words())));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// What it says of itself.
    pub(super) fn status(&self) -> Result<Status, DemoError> {
        match self.ask(&Request::Status { address: None })? {
            Reply::Status(status) => Ok(*status),
            other => Err(off_topic(&other)),
        }
    }

    /// What it knows of one source.
    pub(super) fn known_of(&self, source: Target) -> Result<Address, DemoError> {
        match self.ask(&Request::Status { address: Some(source) })? {
            Reply::Address(known) => Ok(*known),
            other => Err(off_topic(&other)),
        }
    }

    /// Whom it keeps out.
    pub(super) fn bans(&self) -> Result<Vec<BanRow>, DemoError> {
        match self.ask(&Request::Bans)? {
            Reply::Bans { bans } => Ok(bans),
            other => Err(off_topic(&other)),
        }
    }

    fn ask(&self, request: &Request) -> Result<Reply, DemoError> {
        ask(&self.socket, request).map_err(|error| DemoError::step("ask the daemon", error))
    }

    /// The last line of its log.
    fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        log.lines().last().unwrap_or("it said nothing").to_owned()
    }
}

fn off_topic(reply: &Reply) -> DemoError {
    DemoError::step("ask the daemon", format!("it answers {reply:?}"))
}

/// What the two rulesets ask for in their headers, short ban times, and a socket that nobody else finds.
fn configuration(socket: &Path, time: Duration) -> String {
    let socket = serde_json::Value::from(socket.to_string_lossy());
    let seconds = time.as_secs();
    format!(
        "capture:\n\
         \x20 - nflog: {{group: 100}}\n\
         \x20 - nflog: {{group: 101, verdict: accepted}}\n\
         services: [22, 80, 443]\n\
         ban: {{times: [{seconds}s]}}\n\
         control: {{socket: {socket}, group: root}}\n"
    )
}
