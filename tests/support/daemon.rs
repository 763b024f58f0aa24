//! The program itself, run as its users run it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::{Namespace, wait_until};

/// The program under test.
pub const NFBAN: &str = env!("CARGO_BIN_EXE_nfban");

/// A configuration with a folder of its own, and where the daemon that runs with it has its socket.
#[derive(Debug)]
pub struct Setup {
    folder: TempDir,
    /// What stands before every configuration: where the socket is.
    control: String,
}

impl Setup {
    /// A folder with `text` as configuration in it.
    pub fn new(text: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let control = format!("control: {{socket: {}}}\n", folder.path().join("control.sock").display());
        let setup = Self { folder, control };
        setup.configure(text);
        setup
    }

    /// Replaces the configuration; `control` is added to it, as its first line.
    pub fn configure(&self, text: &str) {
        std::fs::write(self.config(), format!("{}{text}", self.control)).unwrap();
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("nfban.yaml")
    }

    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("control.sock")
    }

    /// The folder that holds both.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs the program with `arguments` and this daemon's socket.
    pub fn ask(&self, arguments: &str) -> Answer {
        let mut command = Command::new(NFBAN);
        command.arg("--socket").arg(self.socket()).args(arguments.split_whitespace());
        Answer::of(&command.output().unwrap())
    }
}

/// How the program ended, and what it said.
#[derive(Debug)]
pub struct Answer {
    /// The exit status; none if a signal ended it.
    pub exit: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Answer {
    fn of(output: &Output) -> Self {
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        Self { exit: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// What it printed, one JSON object a line.
    pub fn lines(&self) -> Vec<Value> {
        assert_eq!(self.exit, Some(0), "{self:?}");
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// `nfban run` in a namespace. Killed when dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    setup: Setup,
}

impl Daemon {
    /// Starts it with `config` in `home`, and waits until it answers.
    pub fn start(home: &Namespace, config: &str) -> Self {
        Self::start_with(home, Setup::new(config), &[])
    }

    /// Starts it with an existing configuration and more arguments.
    pub fn start_with(home: &Namespace, setup: Setup, arguments: &[&str]) -> Self {
        let mut command = Command::new(NFBAN);
        command.args(["run", "-c"]).arg(setup.config()).args(arguments);
        Self::spawn(home, setup, command)
    }

    /// Starts it with an existing configuration and `state` as its state directory.
    pub fn start_in(home: &Namespace, setup: Setup, state: &Path) -> Self {
        let mut command = Command::new(NFBAN);
        command.args(["run", "-c"]).arg(setup.config()).env("STATE_DIRECTORY", state);
        Self::spawn(home, setup, command)
    }

    /// Starts a command that becomes the daemon.
    pub fn spawn(home: &Namespace, setup: Setup, mut command: Command) -> Self {
        let log =
            std::fs::File::options().create(true).append(true).open(setup.folder().join("log")).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        // Never this machine's own state.
        if !command.get_envs().any(|(name, _)| name == "STATE_DIRECTORY") {
            command.env("STATE_DIRECTORY", setup.folder());
        }
        let child = home.enter(|| command.spawn().unwrap());
        let mut daemon = Self { child, setup };
        wait_until("the daemon answers", || {
            let ended = daemon.child.try_wait().unwrap();
            assert!(ended.is_none(), "the daemon ended with {ended:?}:\n{}", daemon.log());
            daemon.setup.ask("status --json").exit == Some(0)
        });
        daemon
    }

    /// Runs it where it must not start, and says how it ended.
    pub fn refuses_to_start(home: &Namespace, setup: &Setup, mut command: Command) -> Answer {
        command.args(["run", "-c"]).arg(setup.config()).stdin(Stdio::null());
        command.env("STATE_DIRECTORY", setup.folder());
        Answer::of(&home.enter(|| command.output().unwrap()))
    }

    /// Its configuration.
    pub const fn setup(&self) -> &Setup {
        &self.setup
    }

    /// What it wrote to standard error so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.setup.folder().join("log")).unwrap()
    }

    /// Runs the program with `arguments` against this daemon.
    pub fn ask(&self, arguments: &str) -> Answer {
        self.setup.ask(arguments)
    }

    /// `nfban status --json`.
    pub fn status(&self) -> Value {
        self.ask("status --json").lines().remove(0)
    }

    /// `nfban bans --json`.
    pub fn bans(&self) -> Vec<Value> {
        self.ask("bans --json").lines()
    }

    /// The targets of all bans, sorted.
    pub fn targets(&self) -> Vec<String> {
        let mut targets: Vec<_> = self.bans().iter().map(|ban| text(&ban["target"])).collect();
        targets.sort_unstable();
        targets
    }

    /// The rules of the latest incidents, sorted.
    pub fn rules(&self) -> Vec<String> {
        let status = self.status();
        let incidents = status["recent_incidents"].as_array().unwrap();
        let mut rules: Vec<_> = incidents.iter().map(|incident| text(&incident["rule"])).collect();
        rules.sort_unstable();
        rules
    }

    /// How many packets it has received.
    pub fn packets(&self) -> u64 {
        self.status()["packets"].as_u64().unwrap()
    }

    /// Waits until it has said `words` in its log, which a thread of its own writes.
    pub fn says(&self, words: &str) {
        wait_until(&format!("the log says `{words}`"), || self.log().contains(words));
    }

    /// The CPU time that its loop, which is its first thread, has taken.
    pub fn cpu_time(&self) -> Duration {
        let path = format!("/proc/{}/schedstat", self.child.id());
        let schedstat = std::fs::read_to_string(path).unwrap();
        Duration::from_nanos(schedstat.split(' ').next().unwrap().parse().unwrap())
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Stops it, and sees it end well. Its configuration can be started again.
    pub fn stop(mut self, signal: Signal) -> Setup {
        self.signal(signal);
        self.wait();
        let ended = self.child.try_wait().unwrap().unwrap();
        assert_eq!(ended.code(), Some(0), "the daemon ended with {ended}:\n{}", self.log());
        self.into_setup()
    }

    /// Kills it, so that it can do nothing more.
    pub fn kill(mut self) -> Setup {
        self.signal(Signal::KILL);
        self.wait();
        self.into_setup()
    }

    fn wait(&mut self) {
        wait_until("the daemon has ended", || self.child.try_wait().unwrap().is_some());
    }

    fn into_setup(mut self) -> Setup {
        let folder = TempDir::new().unwrap();
        std::mem::replace(&mut self.setup, Setup { folder, control: String::new() })
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // A child that has been waited for has no process id that could be somebody else's by now: kill() knows.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A JSON string.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
