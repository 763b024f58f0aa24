//! `nfban top` in a terminal, with keys that somebody presses: tmux plays the terminal, the kernel and a scan the rest.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test states its expectations by panicking"
)]

mod support;

use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use support::daemon::{Daemon, NFBAN};
use support::{HOME4, LIMIT, Pair, wait_until};
use tempfile::TempDir;

const STRANGER: &str = "203.0.113.7";

/// A terminal of its own, which ends with the test.
struct Terminal {
    folder: TempDir,
}

impl Terminal {
    /// One of so many columns and lines that runs a shell.
    fn new(columns: u16, lines: u16) -> Self {
        let terminal = Self { folder: TempDir::new().unwrap() };
        let (columns, lines) = (columns.to_string(), lines.to_string());
        let size = ["-x", &columns, "-y", &lines];
        terminal.tmux(
            &[&["-f", "/dev/null", "new-session", "-d"], &size[..], &["env", "PS1=ready$ ", "sh"]].concat(),
        );
        terminal.sees("ready$");
        terminal
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("tmux")
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let mut tmux = Command::new("tmux");
        tmux.arg("-S").arg(self.socket()).args(arguments);
        // Whoever runs the test in tmux, over SSH or without colours must not change it.
        for name in ["TMUX", "SSH_CONNECTION", "SSH_CLIENT", "NO_COLOR"] {
            tmux.env_remove(name);
        }
        let output = tmux.env("LC_ALL", "C.UTF-8").env("TERM", "xterm-256color").output().expect("tmux runs");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Types a line.
    fn types(&self, line: &str) {
        self.tmux(&["send-keys", "-l", line]);
        self.tmux(&["send-keys", "Enter"]);
    }

    fn presses(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }

    fn shown(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// The same with the terminal's sequences.
    fn painted(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-e"])
    }

    fn sees(&self, what: &str) {
        self.waits(what, |shown| shown.contains(what));
    }

    fn waits(&self, what: &str, condition: impl Fn(&str) -> bool) {
        let begin = std::time::Instant::now();
        while !condition(&self.shown()) {
            assert!(begin.elapsed() < LIMIT, "waited in vain for {what}; there is:\n{}", self.shown());
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// Whether the alternate screen is on, which a view takes and must give back.
    fn is_taken(&self) -> bool {
        self.tmux(&["display-message", "-p", "#{alternate_on}"]).trim() == "1"
    }

    /// The view has ended, and the terminal obeys the shell again.
    fn is_the_shells(&self) {
        wait_until("the screen is given back", || !self.is_taken());
        self.types("stty -a | grep -o ' icanon'; echo again");
        self.waits("the shell's own settings", |shown| {
            shown.lines().any(|line| line == " icanon") && shown.lines().any(|line| line == "again")
        });
        self.types("clear");
        self.waits("a cleared screen", |shown| !shown.contains("again"));
    }

    fn top(&self, socket: &Path) {
        self.types(&format!("{NFBAN} --socket {} top", socket.display()));
        self.sees("q quit");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = Command::new("tmux").arg("-S").arg(self.socket()).arg("kill-server").output();
    }
}

fn refusing() -> Pair {
    let pair = Pair::refusing();
    pair.peer_has(STRANGER);
    pair
}

fn scan(pair: &Pair) {
    pair.peer.enter(|| {
        let socket = UdpSocket::bind(SocketAddr::new(STRANGER.parse().unwrap(), 0)).unwrap();
        for port in 1..=40 {
            socket.send_to(b"", (HOME4, port)).unwrap();
        }
    });
}

#[test]
fn a_scan_shows_up_and_keys_explain_lift_and_ban() {
    let pair = refusing();
    let daemon = Daemon::start(&pair.home, "");
    let terminal = Terminal::new(80, 24);
    terminal.top(&daemon.setup().socket());
    terminal.sees("nobody has done anything yet");
    scan(&pair);
    terminal.sees(STRANGER);
    terminal.sees("udp-scan");
    let shown = terminal.shown();
    assert!(shown.contains("9m") || shown.contains("10m"), "{shown}");
    assert!(shown.contains("nflog:100") && shown.contains("udp/1 1"), "{shown}");

    terminal.presses("e");
    terminal.sees("203.0.113.7 is restricted to what is published");
    terminal.presses("Escape");
    terminal.waits("the text is closed", |shown| !shown.contains("is restricted to"));

    terminal.presses("u");
    terminal.sees("Lift the ban of 203.0.113.7 (udp-scan)?");
    assert_eq!(daemon.targets(), [STRANGER], "nothing is done before a yes");
    terminal.presses("n");
    terminal.sees("nothing was done");
    assert_eq!(daemon.targets(), [STRANGER]);
    terminal.presses("u");
    terminal.sees("Lift the ban of");
    terminal.presses("y");
    terminal.sees("203.0.113.7 is let in again");
    assert!(daemon.targets().is_empty());

    terminal.presses("b");
    terminal.sees("Ban 203.0.113.7 for 1h");
    terminal.presses("y");
    terminal.sees("203.0.113.7 is banned for 1h");
    assert_eq!(daemon.bans()[0]["action"], "ban");

    terminal.presses("s");
    terminal.sees("DROPPED▼");
    terminal.presses("h");
    terminal.sees("any key closes");
    terminal.presses("q");
    terminal.waits("help is closed", |shown| !shown.contains("any key closes"));
    terminal.presses("q");
    terminal.is_the_shells();
    daemon.stop(Signal::TERM);
}

#[test]
fn it_outlives_the_daemon_and_finds_the_next_one() {
    let pair = refusing();
    let daemon = Daemon::start(&pair.home, "");
    let terminal = Terminal::new(200, 50);
    terminal.top(&daemon.setup().socket());
    let setup = daemon.stop(Signal::TERM);
    terminal.sees("NO ANSWER: the daemon is not running");
    let _daemon = Daemon::start_with(&pair.home, setup, &[]);
    terminal.sees("the daemon answers again");
    terminal.waits("the trouble is gone", |shown| !shown.contains("NO ANSWER"));
    scan(&pair);
    terminal.sees("udp-scan");
    terminal.presses("C-c");
    terminal.is_the_shells();
}

#[test]
fn a_signal_ends_it_and_the_terminal_is_put_back() {
    let pair = refusing();
    let daemon = Daemon::start(&pair.home, "");
    let terminal = Terminal::new(80, 24);
    for signal in ["TERM", "INT", "HUP"] {
        terminal.top(&daemon.setup().socket());
        assert!(terminal.is_taken());
        // tmux knows the shell; the view is its child.
        let shell = terminal.tmux(&["display-message", "-p", "#{pane_pid}"]);
        pair.home.sh(&format!("pkill -{signal} -P {}", shell.trim()));
        terminal.is_the_shells();
    }
}

#[test]
fn when_its_terminal_goes_it_ends() {
    let pair = refusing();
    let daemon = Daemon::start(&pair.home, "");
    let terminal = Terminal::new(80, 24);
    terminal.top(&daemon.setup().socket());
    let shell = terminal.tmux(&["display-message", "-p", "#{pane_pid}"]);
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", shell.trim())).unwrap();
    let top = PathBuf::from(format!("/proc/{}", children.trim()));
    assert!(top.exists());
    drop(terminal);
    wait_until("it has ended", || !top.exists());
    daemon.stop(Signal::TERM);
}

#[test]
fn no_colour_is_no_colour_and_a_selection_is_seen_all_the_same() {
    let pair = refusing();
    let daemon = Daemon::start(&pair.home, "");
    scan(&pair);
    wait_until("the scanner is banned", || daemon.targets() == [STRANGER]);
    let terminal = Terminal::new(80, 24);
    let is_coloured = |painted: &str| {
        (30..=37).any(|color| painted.contains(&format!("[{color}m")))
            || painted.contains("[38;5")
            || painted.contains(";3")
    };
    terminal.top(&daemon.setup().socket());
    terminal.sees(STRANGER);
    assert!(is_coloured(&terminal.painted()), "{}", terminal.painted());
    terminal.presses("q");
    terminal.is_the_shells();
    terminal.types("export NO_COLOR=1");
    terminal.top(&daemon.setup().socket());
    terminal.sees(STRANGER);
    let painted = terminal.painted();
    assert!(!is_coloured(&painted), "{painted:?}");
    assert!(painted.contains("\u{1b}[7m") || painted.contains(";7m"), "reversed\n{painted:?}");
}

#[test]
fn where_there_is_no_terminal_it_says_so() {
    let pair = refusing();
    let daemon = Daemon::start(&pair.home, "");
    let answer = daemon.ask("top");
    assert_eq!((answer.exit, answer.out.as_str()), (Some(2), ""), "{answer:?}");
    assert!(answer.err.contains("needs a terminal"), "{answer:?}");
}
