//! The daemon's log, on the running kernel: the journal's fields, the other forms, floods, and a reader that has stalled.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test states its expectations by panicking"
)]

mod support;

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};

use rustix::process::{Pid, Signal};
use serde_json::Value;
use support::daemon::{Daemon, NFBAN, Setup};
use support::{HOME4, LIMIT, Pair, wait_until};

const STRANGER: &str = "203.0.113.7";

/// A pair whose home refuses and logs, and a stranger at the peer's end.
fn refusing() -> Pair {
    let pair = Pair::refusing();
    pair.peer_has(STRANGER);
    pair
}

/// Twenty ports of home, from the stranger.
fn scan(pair: &Pair) {
    pair.peer.enter(|| {
        let socket = UdpSocket::bind((STRANGER, 0)).unwrap();
        for port in 1..=20 {
            socket.send_to(b"", (HOME4, port)).unwrap();
        }
    });
}

/// As [`scan`], from 254 strangers at a time, until `enough`.
fn flood(pair: &Pair, mut enough: impl FnMut() -> bool) {
    pair.peer.sh("ip route add local 198.18.0.0/15 dev lo");
    let mut round = 0;
    wait_until("the flood was enough", || {
        round += 1;
        pair.peer.enter(|| {
            for host in 1..=254 {
                let socket = UdpSocket::bind((format!("198.18.{}.{host}", round % 256), 0)).unwrap();
                for port in 1..=20 {
                    socket.send_to(b"", (HOME4, port)).unwrap();
                }
            }
        });
        enough()
    });
}

/// `nfban run` with more arguments, the journal's socket being that of `folder`.
fn with_journal(setup: &Setup, folder: &Path, arguments: &str) -> Command {
    let mut command = Command::new("unshare");
    // In a mount namespace of its own: the path is the one that systemd has.
    let line = "mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal && \
                mount --bind \"$1\" /run/systemd/journal && shift && exec \"$@\"";
    command.args(["--mount", "sh", "-c", line, "sh"]).arg(folder);
    command.args([NFBAN, "run", "-c"]).arg(setup.config()).args(arguments.split_whitespace());
    command
}

/// The fields of a datagram in the journal's native protocol.
fn fields(datagram: &[u8]) -> HashMap<String, String> {
    let text = std::str::from_utf8(datagram).unwrap();
    text.lines().map(|line| line.split_once('=').unwrap()).map(|(k, v)| (k.into(), v.into())).collect()
}

#[test]
fn the_journal_gets_an_incident_and_its_ban_with_fields() {
    let pair = refusing();
    let journal = tempfile::tempdir().unwrap();
    let socket = UnixDatagram::bind(journal.path().join("socket")).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    let setup = Setup::new("log: {format: journal}\n");
    let command = with_journal(&setup, journal.path(), "");
    let daemon = Daemon::spawn(&pair.home, setup, command);
    scan(&pair);
    let mut octets = [0; 65536];
    let mut next = |event: &str| loop {
        let length = socket.recv(&mut octets).expect("the journal is told");
        let fields = fields(&octets[..length]);
        assert_eq!(fields["SYSLOG_IDENTIFIER"], "nfban");
        assert!(fields.contains_key("PRIORITY") && fields.contains_key("MESSAGE"), "{fields:?}");
        if fields.get("NFBAN_EVENT").is_some_and(|of| of == event) {
            return fields;
        }
    };
    let incident = next("incident");
    assert_eq!(incident["NFBAN_RULE"], "udp-scan");
    assert_eq!(incident["NFBAN_SOURCE"], STRANGER);
    assert!(incident["NFBAN_PORTS"].starts_with("1-"), "{incident:?}");
    assert!(incident["MESSAGE"].starts_with("udp-scan from 203.0.113.7: "), "{incident:?}");
    assert_eq!(incident["MESSAGE_ID"].len(), 32);
    let ban = next("ban");
    assert_eq!(
        (&*ban["NFBAN_TARGET"], &*ban["NFBAN_ACTION"], &*ban["NFBAN_TIMEOUT"]),
        (STRANGER, "restrict", "600")
    );
    assert_eq!(ban["NFBAN_INCIDENT"], incident["NFBAN_INCIDENT"]);
    daemon.ask("unban 203.0.113.7");
    let end = next("ban-end");
    assert_eq!((&*end["NFBAN_REASON"], &*end["NFBAN_RULE"]), ("unban", "udp-scan"));
    assert_eq!(daemon.log(), "", "nothing is told twice");
    daemon.stop(Signal::TERM);
}

#[test]
fn where_there_is_no_journal_standard_error_gets_the_lines() {
    let pair = refusing();
    let nobody = tempfile::tempdir().unwrap();
    let setup = Setup::new("");
    let command = with_journal(&setup, nobody.path(), "--log-format journal");
    let daemon = Daemon::spawn(&pair.home, setup, command);
    wait_until("it says so", || daemon.log().contains("no journal at /run/systemd/journal/socket"));
    scan(&pair);
    wait_until("the incident is told", || daemon.log().contains("udp-scan from 203.0.113.7: "));
    daemon.stop(Signal::TERM);
}

#[test]
fn json_is_an_object_a_line_and_a_reload_changes_the_form_in_order() {
    let pair = refusing();
    let daemon = Daemon::start(&pair.home, "log: {format: json}\n");
    scan(&pair);
    wait_until("the ban is told", || daemon.log().contains(r#"{"type":"ban","#));
    for line in daemon.log().lines() {
        let object: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(object["message"].is_string() && object["level"].is_string(), "{line}");
    }
    daemon.setup().configure("log: {format: text}\n");
    assert_eq!(daemon.ask("reload").exit, Some(0));
    assert_eq!(daemon.ask("unban 203.0.113.7").exit, Some(0));
    wait_until("the end is told", || {
        daemon.log().lines().any(|line| line.ends_with("INFO ban of 203.0.113.7 ended: it was lifted"))
    });
    daemon.stop(Signal::TERM);
}

#[test]
fn a_flood_is_a_line_a_second_for_each_rule_and_the_numbers_are_whole() {
    let pair = refusing();
    let daemon = Daemon::start(&pair.home, "log: {format: json}\n");
    let began = std::time::Instant::now();
    flood(&pair, || daemon.log().matches(r#""type":"withheld""#).count() >= 3);
    let setup = daemon.stop(Signal::TERM);
    let seconds = began.elapsed().as_secs() + 1;
    let log = std::fs::read_to_string(setup.folder().join("log")).unwrap();
    let objects: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut lines: HashMap<&str, u64> = HashMap::new();
    for object in objects.iter().filter(|object| object["rule"].is_string()) {
        *lines.entry(object["rule"].as_str().unwrap()).or_default() += 1;
    }
    // The burst of four is paid for by the seconds after it; the last is what the end of the daemon tells.
    assert!(lines.values().all(|told| *told <= seconds.max(4) + 1), "{lines:?} in {seconds} s");
    let last =
        objects.iter().find_map(|object| object["message"].as_str()?.strip_prefix("stopped; ")).unwrap();
    let bans: u64 = last.split(' ').next().unwrap().parse().unwrap();
    let told = objects.iter().filter(|object| object["type"] == "ban").count() as u64;
    let more: u64 = objects
        .iter()
        .filter_map(|object| object["message"].as_str().filter(|_| object["type"] == "withheld"))
        .filter_map(|message| {
            message.split([',', ':', ';']).find_map(|part| {
                let (number, what) = part.trim().split_once(' ')?;
                ["ban", "bans"].contains(&what).then(|| number.parse::<u64>().unwrap())
            })
        })
        .sum();
    assert_eq!(told + more, bans, "{log}");
}

/// A daemon whose standard error is a pipe that was full before it said a word.
struct Stalled {
    setup: Setup,
    child: Child,
    reader: Option<ChildStderr>,
}

impl Stalled {
    fn start(pair: &Pair) -> Self {
        let setup = Setup::new("");
        // Held back until the pipe is full.
        let mut command = Command::new("sh");
        command.args(["-c", "read go && exec \"$@\"", "sh", NFBAN, "run", "--log-format", "text", "-c"]);
        command.arg(setup.config()).env("STATE_DIRECTORY", setup.folder());
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = pair.home.enter(|| command.spawn().unwrap());
        let reader = child.stderr.take().unwrap();
        // Opened anew, so that it is not the daemon's own description that does not block.
        let path = format!("/proc/self/fd/{}", reader.as_raw_fd());
        let mut fill = File::options().write(true).custom_flags(libc::O_NONBLOCK).open(path).unwrap();
        while fill.write(&[b'.'; 4096]).is_ok() {}
        while fill.write(b".").is_ok() {}
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
        let stalled = Self { setup, child, reader: Some(reader) };
        wait_until("it answers", || stalled.setup.ask("status").exit == Some(0));
        stalled
    }

    fn number(&self, pointer: &str) -> u64 {
        let answer = self.setup.ask("status --json");
        let status: Value = serde_json::from_str(&answer.out).unwrap();
        status.pointer(pointer).and_then(Value::as_u64).unwrap()
    }

    fn stop(&self) {
        rustix::process::kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
    }
}

impl Drop for Stalled {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn with_a_reader_that_has_stalled_packets_go_on_being_counted_and_lines_keep_their_order() {
    let pair = refusing();
    let mut daemon = Stalled::start(&pair);
    flood(&pair, || daemon.number("/packets") > 5000);
    let waiting = daemon.number("/log/waiting");
    assert!(waiting > 3, "{waiting}");
    let before = daemon.number("/packets");
    scan(&pair);
    wait_until("packets are counted while nobody reads", || daemon.number("/packets") > before);
    wait_until("sources are banned", || daemon.setup.ask("bans --json").out.contains(STRANGER));
    daemon.stop();
    let mut text = String::new();
    daemon.reader.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(daemon.child.wait().unwrap().success());
    let text = text.trim_start_matches('.');
    let times: Vec<_> = text.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
    assert!(times.len() > 3 && times.is_sorted(), "{text}");
    let last = text.lines().last().unwrap();
    assert!(last.contains("stopped; ") || last.contains("more: "), "to the last line: {text}");
}

#[test]
fn the_end_does_not_wait_for_a_reader_that_never_reads() {
    let pair = refusing();
    let mut daemon = Stalled::start(&pair);
    scan(&pair);
    wait_until("it bans", || daemon.setup.ask("bans --json").out.contains(STRANGER));
    daemon.stop();
    wait_until("it ends", || daemon.child.try_wait().unwrap().is_some_and(|ended| ended.success()));
    assert!(daemon.reader.is_some());
}
