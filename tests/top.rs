//! `nfban top` in a terminal, with keys that somebody presses: tmux plays the terminal, the kernel and a scan the rest.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test states its expectations by panicking"
)]

mod support;

use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use rustix::process::Signal;
use support::daemon::{Daemon, NFBAN, Setup};
use support::terminal::Terminal;
use support::{HOME4, Pair, wait_until};

const STRANGER: &str = "203.0.113.7";

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
    terminal.sees("203.0.113.7 is restricted: it reaches what is published");
    terminal.sees("udp-scan fired on 203.0.113.7");
    assert!(!terminal.shown().contains("If this is wrong"), "it is longer than the screen");
    terminal.presses("End");
    terminal.sees("If this is wrong");
    terminal.sees("nfban unban 203.0.113.7");
    terminal.presses("Home");
    terminal.sees(&format!("{HOME4}:1 "));
    for (columns, lines) in [(100, 30), (80, 24)] {
        terminal.resizes(columns, lines);
        terminal.waits("the frame is as wide as the terminal", |shown| {
            shown.lines().any(|line| line.starts_with('┌') && line.chars().count() == usize::from(columns))
        });
    }
    // Not Escape: with the next key it would be Alt and that key.
    terminal.presses("x");
    terminal.waits("the text is closed", |shown| !shown.contains("any other key closes"));

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

#[test]
fn old_terminals_and_locales_get_what_they_can_show() {
    let pair = refusing();
    let daemon = Daemon::start(&pair.home, "");
    scan(&pair);
    wait_until("the scanner is banned", || daemon.targets() == [STRANGER]);
    let socket = daemon.setup().socket();
    let terminal = Terminal::new(80, 24);
    terminal.types("export TERM=vt100 LC_ALL=C");
    terminal.top(&socket);
    terminal.sees(STRANGER);
    let painted = terminal.painted();
    assert!(painted.is_ascii(), "{painted}");
    assert!(painted.contains("^v select") && painted.contains("PACKETSv"), "{painted}");
    assert!(!painted.contains("[31m") && !painted.contains(";31m"), "a VT100 has no colours\n{painted:?}");
    terminal.presses("e");
    terminal.sees("udp-scan fired on");
    assert!(terminal.shown().is_ascii(), "{}", terminal.shown());
    terminal.presses("x");
    terminal.presses("q");
    terminal.is_the_shells();
    for term in ["dumb", "''"] {
        terminal.types(&format!("TERM={term} {NFBAN} --socket {} top; echo exit $?", socket.display()));
        terminal.sees("exit 2");
        assert!(terminal.shown().contains("top needs a terminal whose cursor moves"), "{}", terminal.shown());
        assert!(!terminal.is_taken());
        terminal.types("clear");
        terminal.waits("a cleared screen", |shown| !shown.contains("exit"));
    }
    // A listing that is cut at the terminal's end.
    terminal.types(&format!("{NFBAN} --socket {} status", socket.display()));
    terminal.sees("TOP OFFENDERS");
    assert!(terminal.shown().is_ascii(), "{}", terminal.shown());
    daemon.stop(Signal::TERM);
}

#[test]
fn whoever_may_only_look_sees_everything_and_changes_nothing() {
    let pair = refusing();
    let setup = Setup::new("");
    let control = format!("control: {{socket: {}, group: nogroup}}\n", setup.socket().display());
    std::fs::write(setup.config(), control).unwrap();
    std::fs::set_permissions(setup.folder(), std::fs::Permissions::from_mode(0o711)).unwrap();
    let daemon = Daemon::start_with(&pair.home, setup, &[]);
    scan(&pair);
    wait_until("the scanner is banned", || daemon.targets() == [STRANGER]);
    let socket = daemon.setup().socket();
    let terminal = Terminal::new(80, 24);
    let reader = "setpriv --reuid 65533 --regid 65534 --clear-groups";
    terminal.types(&format!("{reader} {NFBAN} --socket {} top", socket.display()));
    terminal.sees(STRANGER);
    terminal.presses("e");
    terminal.sees("udp-scan fired on");
    terminal.presses("x");
    terminal.waits("the text is closed", |shown| !shown.contains("any other key closes"));
    for (key, question) in [("b", "Ban 203.0.113.7 for 1h"), ("u", "Lift the ban of 203.0.113.7")] {
        terminal.presses(key);
        terminal.sees(question);
        terminal.presses("y");
        terminal.sees("only root may change anything; try sudo");
        terminal.waits("the question is gone", |shown| !shown.contains(question));
    }
    assert_eq!(daemon.bans()[0]["action"], "restrict", "as it was");
    terminal.presses("q");
    terminal.is_the_shells();
    daemon.stop(Signal::TERM);
}
