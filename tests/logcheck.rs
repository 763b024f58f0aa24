//! logcheck's mails: nothing of an ordinary day, and everything that somebody must look at.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test states its expectations by panicking"
)]

mod support;

use std::io::Write as _;
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use support::daemon::{Daemon, Setup};
use support::{HOME4, Pair, wait_until};

/// The lines that logcheck would mail, of the log `text`, as syslog writes it.
fn mailed(text: &str) -> Vec<String> {
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("debian/nfban.logcheck.ignore.server");
    let mut syslog = String::new();
    for (number, line) in text.lines().enumerate() {
        // TIME LEVEL MESSAGE
        let message = line.split_whitespace().skip(2).collect::<Vec<_>>().join(" ");
        let stamp = if number % 2 == 0 { "Nov  2 03:04:05" } else { "2026-11-02T03:04:05.123456+00:00" };
        syslog += &format!("{stamp} gate.example nfban[{}]: {message}\n", 100 + number);
    }
    // As logcheck does: what no rule matches.
    let mut grep = Command::new("grep");
    grep.args(["--text", "--invert-match", "--extended-regexp", "--file"]).arg(rules);
    let mut grep = grep.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    grep.stdin.take().unwrap().write_all(syslog.as_bytes()).unwrap();
    let output = grep.wait_with_output().unwrap();
    assert!(output.status.code().is_some_and(|code| code < 2), "the rules are no regular expressions");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_day_of_scans_bans_and_a_reload_gives_no_mail() {
    let pair = Pair::new();
    pair.peer_has("203.0.113.7");
    pair.home.sh("nft add table inet f; nft add chain inet f i '{ type filter hook input priority 0; }'");
    pair.home.sh("nft add rule inet f i udp dport 1-60000 log group 100 drop");
    let setup = Setup::new("log: {format: text}\n");
    let daemon = Daemon::start_with(&pair.home, setup, &[]);
    pair.peer.enter(|| {
        let socket = UdpSocket::bind(("203.0.113.7", 0)).unwrap();
        for port in 9000..9064_u16 {
            socket.send_to(b"", (HOME4, port)).expect("the cable is plugged in");
        }
    });
    wait_until("the scan is answered", || daemon.log().contains("restricted 203.0.113.7"));
    for command in ["ban 198.51.100.7 --for 1h", "ban 2001:db8:9::/64", "unban 198.51.100.7"] {
        assert_eq!(daemon.ask(command).exit, Some(0), "{command}");
    }
    daemon.setup().configure("mode: watch\nlog: {format: text}\n");
    daemon.signal(Signal::HUP);
    wait_until("the configuration is read", || daemon.log().contains("configuration reloaded"));
    assert_eq!(daemon.ask("ban 198.51.100.8 --for 1h").exit, Some(0));
    wait_until("it is told", || daemon.log().contains("watching only: banned 198.51.100.8"));
    let setup = daemon.stop(Signal::TERM);
    let whole = std::fs::read_to_string(setup.folder().join("log")).unwrap();
    assert!(whole.lines().count() > 8, "{whole}");
    assert_eq!(mailed(&whole), Vec::<String>::new(), "{whole}");
}

#[test]
fn what_somebody_must_look_at_is_mailed() {
    let lines = [
        "T WARN alarm: 100 bans gave way to others",
        "T WARN configuration not reloaded, the old one goes on: /etc/nfban/nfban.yaml has errors",
        "T WARN cannot read the resolvers: No such file or directory",
        "T ERROR stopped, and cannot empty the kernel: no permission; try `nfban flush`",
        // Text from outside that pretends to be ours: it is in the middle of a line, and the line is another's.
        "T WARN alarm: log prefix says banned 192.0.2.1 for 10m (udp-scan)",
    ];
    assert_eq!(mailed(&lines.join("\n")).len(), lines.len());
}
