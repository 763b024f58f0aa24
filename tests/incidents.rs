//! `nfban incidents` over several incidents on the running kernel: what each filter finds, what a wrong one is told, and the
//! picture. `UPDATE_GOLDEN=1` takes more time over the same scans and writes docs/incidents.svg, which README.md shows.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test states its expectations by panicking"
)]

mod support;

use std::fs;
use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;
use support::daemon::{Daemon, text};
use support::{HOME4, HOME6, Pair, wait_until};

/// What happens, two at a time: from where, what is done, and under which name it is told. `FAST` and `SLOW` are packets a second.
const DEEDS: [(&str, &str, &str); 6] = [
    (
        "198.51.100.23",
        "-sS -p 23,81,2323,5555,7547,8080,8443,37215,52869,60001 --max-rate SLOW",
        "tcp-syn-scan",
    ),
    ("203.0.113.7", "-sX -p 111,139,445,1433,3306,5432,6379 --max-rate SLOW", "tcp-xmas-scan"),
    ("198.51.100.99", "-sS -p 1-1000 --min-rate FAST --max-rate FAST", "tcp-syn-scan"),
    (
        "203.0.113.40",
        "-sU -p 19,53,69,111,123,137,161,389,500,1434,1900,5060,5353,11211 --max-rate SLOW",
        "udp-scan",
    ),
    ("2001:db8:bad::7", "-6 -sF -p 21-25,110,143,993,3306,3389 --max-rate SLOW", "tcp-fin-scan"),
    ("198.18.7.5", "-sO -p 2-5,8,9,46,88,89,103,112,132 --max-rate SLOW", "ip-protocol-scan"),
];

fn is_drawn() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some()
}

/// A daemon that watches and has seen all of it.
fn seen(pair: &Pair) -> Daemon {
    pair.home.sh(concat!("nft -f ", env!("CARGO_MANIFEST_DIR"), "/examples/nftables/server.nft"));
    let daemon = Daemon::start(&pair.home, "mode: watch\nservices: [22, 80, 443]\n");
    // A picture shows more of scans that take a while.
    let (fast, slow) = if is_drawn() { ("100", "1.5") } else { ("1000", "100") };
    for both in DEEDS.chunks(2) {
        let scan = |(source, how, _): &(&str, &str, &str)| {
            pair.peer_has(source);
            let to = if source.contains(':') { HOME6 } else { HOME4 };
            let how = how.replace("FAST", fast).replace("SLOW", slow);
            format!("nmap -n -Pn --max-retries 0 {how} -S {source} -e peer0 {to} >/dev/null & ")
        };
        let scans: String = both.iter().map(scan).collect();
        pair.peer.sh(&format!("{scans} wait"));
    }
    wait_until("all of it is remembered", || found(&daemon, "").len() == DEEDS.len());
    daemon
}

/// The sources of what a question finds, in order.
fn found(daemon: &Daemon, filters: &str) -> Vec<String> {
    let answer = daemon.ask(&format!("incidents --json {filters}"));
    let mut sources: Vec<_> = answer.lines().iter().map(|one| text(&one["source"])).collect();
    sources.sort_unstable();
    sources
}

/// The sources of those of `all` that `holds` of, in order.
fn those(all: &[Value], holds: impl Fn(&Value) -> bool) -> Vec<String> {
    let mut sources: Vec<_> = all.iter().filter(|one| holds(one)).map(|one| text(&one["source"])).collect();
    sources.sort_unstable();
    sources
}

fn has_port(one: &Value, port: u16) -> bool {
    text(&one["port_ranges"]).split(',').filter(|run| !run.is_empty()).any(|run| {
        let (first, last) = run.split_once('-').unwrap_or((run, run));
        (first.parse::<u16>().unwrap()..=last.parse().unwrap()).contains(&port)
    })
}

/// Each filter alone and some together, beside what a look through all of them finds.
fn every_filter_finds_what_it_says(daemon: &Daemon, all: &[Value]) {
    for one in all {
        let (first, last) = (text(&one["first_seen"]), text(&one["last_seen"]));
        // Times of one form and zone are ordered as texts are.
        let since = |other: &Value| text(&other["last_seen"]) >= last;
        let until = |other: &Value| text(&other["first_seen"]) <= first;
        assert_eq!(found(daemon, &format!("--since {last}")), those(all, since), "since {last}");
        assert_eq!(found(daemon, &format!("--until {first}")), those(all, until), "until {first}");
        let source = text(&one["source"]);
        assert_eq!(found(daemon, &format!("--source {source}")), [&*source]);
        let rule = text(&one["rule"]);
        let both = format!("--rule {rule} --until {first} --since 1h");
        assert_eq!(
            found(daemon, &both),
            those(all, |other| until(other) && other["rule"] == *rule),
            "{both}"
        );
    }
    for port in [1, 22, 23, 139, 389, 999, 3306, 60_001] {
        let with = |one: &Value| has_port(one, port);
        assert_eq!(found(daemon, &format!("--port {port}")), those(all, with), "port {port}");
        let both = format!("--port {port} --source 198.51.100.0/24");
        let within = |one: &Value| with(one) && text(&one["source"]).starts_with("198.51.100.");
        assert_eq!(found(daemon, &both), those(all, within), "{both}");
    }
    assert_eq!(found(daemon, "--port mysql"), found(daemon, "--port 3306"));
    for (filters, sources) in [
        ("--since 7d", those(all, |_| true)),
        ("--since today --until 1h", vec![]),
        ("--until yesterday", vec![]),
        ("--source 0.0.0.0/0", those(all, |one| !text(&one["source"]).contains(':'))),
        ("--source 2001:db8:bad::7", vec!["2001:db8:bad::/64".to_owned()]),
        ("--source 2001:db8::/32", vec!["2001:db8:bad::/64".to_owned()]),
        ("--source 2001:db8:bad:1::/64", vec![]),
        ("--rule udp-scan --source 198.51.100.0/24", vec![]),
    ] {
        assert_eq!(found(daemon, filters), sources, "{filters}");
    }
    assert_eq!(found(daemon, "--port 139 --limit 1").len(), 1, "others that are open take no room");
}

#[test]
fn each_filter_finds_what_it_says_while_incidents_are_open_and_when_they_are_over() {
    let pair = Pair::new();
    let daemon = seen(&pair);
    let all: Vec<Value> = daemon.ask("incidents --json").lines();
    for (source, _, rule) in DEEDS {
        let of = |one: &&Value| text(&one["source"]).starts_with(source.trim_end_matches("::7"));
        assert_eq!(all.iter().find(of).unwrap()["rule"], rule, "{source}");
    }
    every_filter_finds_what_it_says(&daemon, &all);

    let unknown = "no incidents that are told as tcp-syn-scam; the latest are told as ip-protocol-scan, tcp-fin-scan, tcp-syn-scan, tcp-xmas-scan, udp-scan\n";
    let answer = daemon.ask("incidents --rule tcp-syn-scam");
    assert_eq!((answer.exit, &*answer.out, &*answer.err), (Some(0), unknown, ""));
    let answer = daemon.ask("incidents --rule tcp-syn-scam --json");
    assert_eq!((answer.exit, &*answer.out), (Some(0), ""));
    assert!(answer.err.contains(unknown.trim_end()), "{answer:?}");
    assert_eq!(
        daemon.ask("incidents --rule udp-scan --port 1").out,
        "no incidents\n",
        "a rule that is known"
    );

    let svg = daemon.ask("incidents --svg -").out;
    assert!(svg.contains("nfban: 6 incidents from 6 sources"), "{svg}");
    if is_drawn() {
        fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/incidents.svg"), svg).unwrap();
    }

    let daemon = Daemon::start_with(&pair.home, daemon.stop(Signal::TERM), &[]);
    let all: Vec<Value> = daemon.ask("incidents --json").lines();
    assert!(all.iter().all(|one| !one["ended"].is_null()), "{all:?}");
    every_filter_finds_what_it_says(&daemon, &all);
    daemon.stop(Signal::TERM);
}

#[test]
fn a_filter_that_cannot_be_meant_is_told_what_can() {
    let pair = Pair::new();
    let daemon = Daemon::start(&pair.home, "");
    for (filters, remedy) in [
        ("--since 7", "how long ago (90s, 12h, 7d) or a time in UTC"),
        ("--since -7d", "how long ago (90s, 12h, 7d) or a time in UTC"),
        ("--since tomorrow", "how long ago (90s, 12h, 7d) or a time in UTC"),
        ("--until 2026-13-01", "how long ago (90s, 12h, 7d) or a time in UTC"),
        ("--since 1h --until 2h", "give the earlier time to --since"),
        ("--since 2026-01-02 --until 2026-01-01", "give the earlier time to --since"),
        ("--source 192.0.2.7/24", "did you mean 192.0.2.7 or 192.0.2.0/24?"),
        ("--source example.org", "an address or a prefix is expected, for example 192.0.2.7"),
        ("--port 70000", "the largest is 65535"),
        ("--port 22-25", "one port is expected, not a range"),
        ("--port sssh", "did you mean `ssh`?"),
        ("--port tcp/22", "write the port's number"),
        ("--limit many", "a number from 0 to 4294967295 is expected, such as 50"),
        ("--limit -1", "a number from 0 to 4294967295 is expected, such as 50"),
    ] {
        let answer = daemon.ask(&format!("incidents {filters}"));
        assert_eq!((answer.exit, &*answer.out), (Some(2), ""), "{filters}: {answer:?}");
        assert!(answer.err.contains(remedy) && answer.err.lines().count() == 1, "{filters}: {answer:?}");
    }
    assert_eq!(daemon.ask("incidents --rule tcp-syn-scam").out, "no incidents\n", "there are none at all");
    daemon.stop(Signal::TERM);
}
