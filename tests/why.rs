//! `nfban why`: the packets behind a decision are those that were sent, on the running kernel.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test states its expectations by panicking"
)]

mod support;

use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::daemon::{Daemon, Setup, text};
use support::{HOME4, Namespace, PEER4, Pair, wait_until};

/// Somebody behind the gateway, which itself is protected.
const STRANGER: &str = "203.0.113.7";

const FIREWALL: &str = "nft -f - <<'RULES'
table inet firewall {
    chain input {
        type filter hook input priority 0;
        ct state established,related accept
        ip saddr 203.0.113.0/24 log prefix \"nfban:refused\" group 100 drop
    }
}
RULES";

fn refusing() -> Pair {
    let pair = Pair::new();
    pair.peer_has(STRANGER);
    pair.home.sh(FIREWALL);
    pair
}

/// tcpdump on home's interface: a witness that is not ours.
struct Witness {
    child: Child,
    file: tempfile::NamedTempFile,
}

impl Witness {
    fn begin(home: &Namespace) -> Self {
        let (file, said) = (tempfile::NamedTempFile::new().unwrap(), tempfile::NamedTempFile::new().unwrap());
        let mut command = Command::new("tcpdump");
        command.args(["-i", "up0", "--immediate-mode", "-U", "-Z", "root", "-w"]).arg(file.path());
        command
            .arg(format!("tcp and src host {STRANGER}"))
            .stdout(Stdio::null())
            .stderr(said.reopen().unwrap());
        let child = home.enter(|| command.spawn().unwrap());
        let has_begun = || std::fs::read_to_string(said.path()).unwrap().contains("listening on");
        wait_until("tcpdump listens", has_begun);
        Self { child, file }
    }

    /// Source port, destination port, TTL and length of each packet in turn.
    fn end(mut self) -> Vec<[u64; 4]> {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
        self.child.wait().unwrap();
        read(self.file.path())
    }
}

fn read(capture: &Path) -> Vec<[u64; 4]> {
    let output = Command::new("tcpdump").args(["-n", "-v", "-r"]).arg(capture).output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    // Two lines a packet: `… (tos 0x0, ttl 59, …, length 44)` and `203.0.113.7.40000 > 192.0.2.1.22: Flags [S], …`.
    let lines: Vec<&str> = told.lines().collect();
    let number = |text: &str| -> u64 {
        text.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
    };
    let after = |line: &str, what: &str| number(line.rsplit_once(what).unwrap().1);
    lines
        .chunks(2)
        .map(|packet| {
            let (ip, tcp) = (packet[0], packet[1].trim());
            let [from, _, to, ..] = tcp.split(' ').collect::<Vec<_>>()[..] else { panic!("{tcp}") };
            let port = |end: &str| number(end.rsplit_once('.').unwrap().1);
            [port(from), port(to), after(ip, "ttl "), after(ip, "length ")]
        })
        .collect()
}

fn why(daemon: &Daemon, address: &str) -> Value {
    let mut lines = daemon.ask(&format!("why {address} --json")).lines();
    assert_eq!(lines.len(), 1);
    lines.remove(0)
}

/// The same of each packet that a firing lists.
fn listed(firing: &Value) -> Vec<[u64; 4]> {
    let of = |packet: &Value| {
        assert_eq!((&packet["interface"], &packet["flags"]), (&"up0".into(), &"SYN".into()), "{packet}");
        assert_eq!((&packet["destination"], &packet["verdict"]), (&HOME4.into(), &"refused".into()));
        assert_eq!(packet["packets"], 1, "each port was tried once");
        ["source_port", "port", "ttl", "length"].map(|name| packet[name].as_u64().unwrap())
    };
    firing["packets"].as_array().unwrap().iter().map(of).collect()
}

#[test]
fn why_lists_the_packets_that_nmap_sent_also_after_a_kill() {
    let pair = refusing();
    let daemon = Daemon::start(&pair.home, "");
    let witness = Witness::begin(&pair.home);
    let ports = "21,22,23,53,80,111,135,139,445,3306,3389,5900,8080,8443";
    pair.peer.sh(&format!(
        "nmap -n -Pn -sS -p {ports} --max-retries 0 --host-timeout 10 -S {STRANGER} -e peer0 {HOME4} >/dev/null"
    ));
    wait_until("the scanner is restricted", || daemon.targets() == [STRANGER]);
    let sent = witness.end();
    assert!(sent.len() >= 8, "{sent:?}");

    let known = why(&daemon, STRANGER);
    let firing = &known["firings"][0];
    assert_eq!((&firing["rule"], &firing["opened"]), (&"tcp-port-scan".into(), &true.into()));
    assert_eq!((&firing["count"], &firing["threshold"]), (&24.into(), &24.into()));
    let counted = listed(firing);
    assert_eq!(counted.len(), 8, "eight ports of weight 3");
    assert_eq!(counted, sent[..8], "the packets that crossed the threshold, in the order they were sent");
    assert_eq!(
        (&firing["answer"]["did"], &firing["answer"]["action"]),
        (&"acted".into(), &"restrict".into())
    );
    assert_eq!(
        (&known["bans"][0]["incident"], &known["bans"][0]["before"]),
        (&firing["incident"], &0.into())
    );

    let told = daemon.ask(&format!("why {STRANGER}"));
    assert_eq!(told.exit, Some(0));
    for [sport, dport, ..] in &counted {
        let line = told.out.lines().find(|line| line.contains(&format!("{HOME4}:{dport} ")));
        assert!(line.is_some_and(|line| line.contains(&format!(":{sport} "))), "{dport}: {}", told.out);
    }
    assert!(told.out.contains(&format!("nfban unban {STRANGER}\n")), "{}", told.out);
    let status = daemon.ask(&format!("status {STRANGER}"));
    assert!(status.out.contains("tcp-port-scan counted 24 of 24 within 5m"), "{}", status.out);

    wait_until("the packets are in the database", || {
        why(&daemon, STRANGER)["record"]["incidents"].as_array().is_some_and(|of| !of.is_empty())
    });
    let daemon = Daemon::start_with(&pair.home, daemon.kill(), &[]);
    let again = why(&daemon, STRANGER);
    assert_eq!(again["firings"], known["firings"], "a killed daemon's successor knows them all");
    assert_eq!(again["bans"][0]["incident"], firing["incident"]);

    assert_eq!(daemon.ask(&format!("unban {STRANGER}")).exit, Some(0));
    wait_until("the end of the ban is in the database", || {
        why(&daemon, STRANGER)["record"]["bans"][0]["reason"] == "unban"
    });
    let over = daemon.ask(&format!("why {STRANGER}"));
    assert!(over.out.starts_with("203.0.113.7 is not banned.\n"), "{}", over.out);
    assert!(over.out.contains("Earlier bans") && over.out.contains("unban"), "{}", over.out);
    assert!(over.out.contains("tcp-port-scan (told as tcp-syn-scan) fired on 203.0.113.7"), "{}", over.out);
    daemon.stop(Signal::TERM);
}

#[test]
fn why_tells_what_was_not_enough_and_what_counted_for_nothing() {
    let pair = refusing();
    let daemon = Daemon::start(&pair.home, "services: [udp/53]\nallow: [203.0.113.200]\n");
    pair.peer.enter(|| {
        let socket = UdpSocket::bind((STRANGER, 40_000)).unwrap();
        for port in [19, 53, 161, 53] {
            socket.send_to(b"x", (HOME4, port)).unwrap();
        }
    });
    wait_until("all are seen", || daemon.packets() >= 4);
    let known = why(&daemon, STRANGER);
    assert_eq!((&known["bans"], &known["firings"]), (&Value::Array(vec![]), &Value::Array(vec![])));
    let near = &known["counting"][0];
    let ports: Vec<u64> =
        near["packets"].as_array().unwrap().iter().map(|one| one["port"].as_u64().unwrap()).collect();
    assert_eq!((text(&near["rule"]), ports), ("udp-scan".to_owned(), vec![19, 161]));
    assert_eq!(known["exempt"][0]["packets"], serde_json::json!({"published": 2}));
    let told = daemon.ask(&format!("why {STRANGER}")).out;
    assert!(told.starts_with("203.0.113.7 is not banned.\n"), "{told}");
    assert!(told.contains("2 packets of 203.0.113.7 counted for nothing: 2 to published ports"), "{told}");

    let gateway = daemon.ask(&format!("why {PEER4}"));
    assert!(gateway.out.contains("is never banned"), "{gateway:?}");
    let allowed = daemon.ask("why 203.0.113.200");
    assert!(allowed.out.contains("on the allowlist"), "{allowed:?}");
    let nobody = daemon.ask("why 198.51.100.77");
    assert_eq!(nobody.exit, Some(0), "{nobody:?}");
    assert!(nobody.out.starts_with("nothing is known of 198.51.100.77"), "{nobody:?}");
    daemon.stop(Signal::TERM);
}

#[test]
fn what_a_person_said_is_told_and_cannot_act_on_the_terminal() {
    let pair = refusing();
    let daemon = Daemon::start(&pair.home, "");
    let reason = "\u{1b}[2J\u{1b}]0;owned\u{7}";
    let ban = daemon.ask(&format!("ban 198.51.100.9 --for 1h --reason {reason}"));
    assert_eq!(ban.exit, Some(0), "{ban:?}");
    let told = daemon.ask("why 198.51.100.9");
    assert!(told.out.contains(r"who said: \u{1b}[2J\u{1b}]0;owned\u{7}"), "{told:?}");
    for answer in [told, daemon.ask("why 198.51.100.9 --json")] {
        assert!(!answer.out.contains(['\u{1b}', '\u{7}']), "{answer:?}");
    }
    daemon.stop(Signal::TERM);
}

#[test]
fn where_no_packets_are_to_be_kept_none_are_written() {
    let pair = refusing();
    let daemon = Daemon::start_with(&pair.home, Setup::new("keep: {packets: none}\n"), &[]);
    pair.peer.enter(|| {
        let socket = UdpSocket::bind((STRANGER, 40_000)).unwrap();
        for port in 1..=12 {
            socket.send_to(b"x", (HOME4, port)).unwrap();
        }
    });
    wait_until("the scanner is restricted", || daemon.targets() == [STRANGER]);
    assert_eq!(why(&daemon, STRANGER)["firings"].as_array().unwrap().len(), 1, "in memory they are");
    wait_until("the incident is in the database", || {
        why(&daemon, STRANGER)["record"]["incidents"].as_array().is_some_and(|of| !of.is_empty())
    });
    let daemon = Daemon::start_with(&pair.home, daemon.stop(Signal::TERM), &[]);
    let known = why(&daemon, STRANGER);
    assert_eq!((&known["firings"], known["bans"].as_array().unwrap().len()), (&Value::Array(vec![]), 1));
    let told = daemon.ask(&format!("why {STRANGER}")).out;
    assert!(told.contains("are no longer known"), "{told}");
    daemon.stop(Signal::TERM);
}
