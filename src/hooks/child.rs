//! One program that is being told of one event.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, waitid,
};

use super::{CURL, Hook, Way};

/// How much of what a program says on standard error is kept for the line that tells of its failure.
const SAID: usize = 200;

/// A running program, the leader of a process group of its own.
#[derive(Debug)]
pub(super) struct Telling {
    /// Which of the hooks.
    pub(super) hook: usize,
    child: Child,
    /// Readable when it has ended.
    ended: OwnedFd,
    complaints: Option<ChildStderr>,
    said: Vec<u8>,
    deadline: Instant,
    limit: Duration,
    late: bool,
}

impl Telling {
    /// Runs the hook's program and gives it `event`, a line of JSON.
    pub(super) fn start(hook: &Hook, number: usize, name: &str, event: &[u8]) -> io::Result<Self> {
        let (mut command, input) = command(hook, event);
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LANG", "C.UTF-8")
            .env("NFBAN_EVENT", name)
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let ended = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).map_err(io::Error::from);
        let ended = ended.inspect_err(|_| drop(child.kill().and_then(|()| child.wait())))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A fresh pipe holds 64 KiB, more than any event, so this does not wait; who does not want to read it need not.
            let _ = rustix::io::ioctl_fionbio(&stdin, true).map(|()| stdin.write(&input));
        }
        let complaints = child.stderr.take();
        if let Some(complaints) = &complaints {
            rustix::io::ioctl_fionbio(complaints, true)?;
        }
        let deadline = Instant::now() + hook.timeout;
        let (limit, said) = (hook.timeout, Vec::new());
        Ok(Self { hook: number, child, ended, complaints, said, deadline, limit, late: false })
    }

    /// Readable when the program has ended.
    pub(super) fn ended(&self) -> BorrowedFd<'_> {
        self.ended.as_fd()
    }

    /// Readable when the program complains.
    pub(super) fn complaints(&self) -> Option<BorrowedFd<'_>> {
        self.complaints.as_ref().map(AsFd::as_fd)
    }

    /// When it is to be killed; none where it was.
    pub(super) fn deadline(&self) -> Option<Instant> {
        (!self.late).then_some(self.deadline)
    }

    /// Kills it, with all of its process group, when its time is over.
    pub(super) fn remind(&mut self, now: Instant) {
        if !self.late && self.deadline <= now {
            self.late = true;
            self.kill();
        }
    }

    /// Kills the process group. Its number is nobody else's: the leader is waited for later.
    pub(super) fn kill(&self) {
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
    }

    /// Takes in what it says, so that it does not wait for a reader, and keeps the beginning.
    pub(super) fn listen(&mut self) {
        let Some(complaints) = &mut self.complaints else { return };
        let mut octets = [0; 4096];
        loop {
            match complaints.read(&mut octets) {
                Ok(0) => break self.complaints = None,
                Ok(read) => {
                    let room = SAID.saturating_sub(self.said.len());
                    self.said.extend(octets.iter().take(read.min(room)));
                    // One that never stops talking gets no more attention than others.
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => break self.complaints = None,
            }
        }
    }

    /// If it has ended: how. What it has left running in its process group is killed.
    pub(super) fn outcome(&mut self) -> Option<Result<(), String>> {
        let status = waitid(
            WaitId::PidFd(self.ended.as_fd()),
            WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT,
        );
        if matches!(status, Ok(None)) {
            return None;
        }
        // Before it is waited for: until then its number is that of its process group.
        self.kill();
        self.listen();
        Some(match self.child.wait() {
            _ if self.late => {
                Err(format!("killed after its time limit of {} s{}", self.limit.as_secs(), self.words()))
            }
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("{}{}", how(status), self.words())),
            Err(error) => Err(error.to_string()),
        })
    }

    fn words(&self) -> String {
        let first = self.said.split(|octet| *octet == b'\n').next().unwrap_or_default();
        if first.is_empty() { String::new() } else { format!(": {}", String::from_utf8_lossy(first)) }
    }
}

fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// The command, and what it reads.
fn command(hook: &Hook, event: &[u8]) -> (Command, Vec<u8>) {
    match &hook.way {
        Way::Command(program, arguments) => {
            let mut command = Command::new(program);
            command.args(arguments);
            (command, event.to_vec())
        }
        Way::Webhook(url) => {
            let mut command = Command::new(CURL);
            // -q comes first: nobody's ~/.curlrc. All else on standard input: arguments can be read by every user.
            command.args(["-q", "--config", "-"]);
            (command, curl(url, event, hook.timeout))
        }
    }
}

/// A configuration of curl(1) that posts the event.
fn curl(url: &str, event: &[u8], timeout: Duration) -> Vec<u8> {
    let event = String::from_utf8_lossy(event);
    let event = event.trim_end().replace('\\', "\\\\").replace('"', "\\\"");
    format!(
        "url = \"{url}\"\ndata-binary = \"{event}\"\nheader = \"Content-Type: application/json\"\n\
         user-agent = \"nfban/{}\"\nsilent\nshow-error\nfail\nproto = \"=https,http\"\noutput = \"/dev/null\"\n\
         max-filesize = 1048576\nmax-time = {}\n",
        env!("CARGO_PKG_VERSION"),
        timeout.as_secs()
    )
    .into_bytes()
}
