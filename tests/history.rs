//! The history of incidents over the daemon's own end, on the running kernel.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test states its expectations by panicking"
)]

mod support;

use std::fs;
use std::net::UdpSocket;
use std::path::PathBuf;

use rusqlite::{Connection, OpenFlags};
use rustix::process::Signal;
use support::daemon::{Daemon, Setup};
use support::{HOME4, Pair, wait_until};

/// Somebody behind the gateway, which itself is protected.
const STRANGER: &str = "203.0.113.7";

/// Refuses and logs every UDP datagram to a port below 30000.
const FIREWALL: &str = "nft -f - <<'RULES'
table inet firewall {
    chain input {
        type filter hook input priority 0;
        udp dport < 30000 counter log prefix \"nfban:refused\" group 100 drop
    }
}
RULES";

fn refusing() -> Pair {
    let pair = Pair::new();
    pair.peer_has(STRANGER);
    pair.home.sh(FIREWALL);
    pair
}

/// Probes some ports of home, and waits until the daemon has seen the first dozen: what comes after it is dropped.
fn probe(pair: &Pair, daemon: &Daemon, ports: std::ops::Range<u16>) {
    let seen = daemon.packets() + 12;
    pair.peer.enter(|| {
        let socket = UdpSocket::bind((STRANGER, 0)).unwrap();
        for port in ports {
            socket.send_to(b"", (HOME4, port)).unwrap();
        }
    });
    wait_until("the probes are seen", || daemon.packets() >= seen);
}

fn database(setup: &Setup) -> PathBuf {
    setup.folder().join("state.db")
}

/// The one number that `query` gives.
fn number(setup: &Setup, query: &str) -> i64 {
    let connection = Connection::open_with_flags(database(setup), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    connection.query_row(query, [], |row| row.get(0)).unwrap()
}

#[test]
fn an_incident_outlives_a_kill_and_is_closed_with_its_last_known_totals() {
    let pair = refusing();
    let daemon = Daemon::start(&pair.home, "");
    probe(&pair, &daemon, 20_000..20_012);
    let open = "SELECT count(*) FROM incident WHERE rule = 'udp-scan' AND ended_us IS NULL";
    wait_until("the incident is in the database", || number(daemon.setup(), open) == 1);
    wait_until("so is the ban", || {
        number(daemon.setup(), "SELECT count(*) FROM deed JOIN incident ON deed.incident = incident.id") == 1
    });
    let setup = daemon.kill();
    assert_eq!(number(&setup, open), 1, "nobody has closed it");

    let daemon = Daemon::start_with(&pair.home, setup, &[]);
    let closed = "SELECT count(*) FROM incident WHERE ended_us = last_us AND interrupted = 1 \
                  AND record ->> 'packets' = 12 AND record ->> 'distinct_ports' = 12";
    assert_eq!(number(daemon.setup(), closed), 1);
    let incidents = daemon.ask("incidents --json --since 1h").lines();
    assert_eq!(incidents.len(), 1, "{incidents:?}");
    let incident = &incidents[0];
    assert_eq!(incident["type"], "incident");
    assert_eq!(incident["source"], STRANGER);
    assert_eq!((&incident["packets"], &incident["port_ranges"]), (&12.into(), &"20000-20011".into()));
    assert_eq!(incident["ended"], incident["last_seen"]);
    assert_eq!((&incident["interrupted"], &incident["origin"]), (&true.into(), &"local".into()));
    assert_eq!(incident["bans"][0]["action"], "restrict");
    assert_eq!(incident["bans"][0]["target"], STRANGER);
    for (filters, found) in [
        ("--rule udp-scan --source 203.0.113.0/24 --port 20003", true),
        ("--rule tcp-syn-scan", false),
        ("--source 203.0.113.8", false),
        ("--port 20012", false),
        ("--until 1h", false),
        ("--limit 0", false),
    ] {
        let answer = daemon.ask(&format!("incidents --json {filters}"));
        assert_eq!(answer.lines().len(), usize::from(found), "{filters}");
    }
    let known = daemon.ask(&format!("status {STRANGER}"));
    assert!(known.out.contains("\n1 incident and 1 ban remembered\n"), "{known:?}");
    let known = daemon.ask(&format!("status {STRANGER} --json")).lines().remove(0);
    assert_eq!((&known["incidents_total"], &known["open_incidents"]), (&1.into(), &serde_json::json!([])));
    let table = daemon.ask("incidents");
    assert!(table.out.contains("udp-scan  203.0.113.7       12  20000-20011  restrict 10m"), "{table:?}");
    let svg = daemon.ask("incidents --svg -").out;
    for text in
        ["nfban: 1 incident from 1 source", ">203.0.113.7<", "udp-scan: 1 incident, 12 ports, 12 packets"]
    {
        assert!(svg.contains(text), "{text}: {svg}");
    }
    let file = daemon.setup().folder().join("incidents.svg");
    assert_eq!(daemon.ask(&format!("incidents --svg {}", file.display())).exit, Some(0));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), svg);
    let nothing = daemon.ask("incidents --port 1");
    assert_eq!((nothing.exit, nothing.out.as_str()), (Some(0), "no incidents\n"));
    daemon.stop(Signal::TERM);
}

#[test]
fn a_stop_keeps_what_open_incidents_have_come_to() {
    let pair = refusing();
    // Nothing is dropped, so that all packets are counted.
    let daemon = Daemon::start(&pair.home, "mode: watch\n");
    probe(&pair, &daemon, 20_000..20_012);
    let seen = daemon.packets() + 3;
    pair.peer.enter(|| {
        let socket = UdpSocket::bind((STRANGER, 0)).unwrap();
        for port in 20_100..20_103 {
            socket.send_to(b"", (HOME4, port)).unwrap();
        }
    });
    wait_until("three more are seen", || daemon.packets() >= seen);
    let setup = daemon.stop(Signal::TERM);
    assert_eq!(number(&setup, "SELECT record ->> 'packets' FROM incident"), 15);
    assert_eq!(number(&setup, "SELECT count(*) FROM deed WHERE enforced = 0"), 1);
}

/// Whether a file of the state database has the octets.
fn is_in_database(setup: &Setup, octets: &[u8]) -> bool {
    std::fs::read_dir(setup.folder()).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        let is_of_it = path.file_name().unwrap().to_str().unwrap().starts_with("state.db");
        is_of_it && std::fs::read(&path).unwrap().windows(octets.len()).any(|window| window == octets)
    })
}

#[test]
fn who_is_forgotten_is_gone_from_memory_and_from_the_file() {
    let pair = refusing();
    let daemon = Daemon::start(&pair.home, "");
    probe(&pair, &daemon, 20_000..20_012);
    wait_until("the incident is in the database", || !daemon.ask("incidents --json").out.is_empty());
    let refused = daemon.ask("forget 203.0.113.7");
    assert_eq!(refused.exit, Some(1));
    assert!(refused.err.contains("nfban unban 203.0.113.7"), "{refused:?}");
    assert_eq!(daemon.ask("unban 203.0.113.7").exit, Some(0));
    wait_until("the ban's end is in the database", || {
        daemon.ask("incidents --json").out.contains("\"unban\"")
    });
    assert!(is_in_database(daemon.setup(), STRANGER.as_bytes()));

    let forgotten = daemon.ask("forget 203.0.113.7");
    assert_eq!(
        forgotten.out, "203.0.113.7 is forgotten: 1 incident, 1 past ban; what the log says of it stays\n",
        "{forgotten:?}"
    );
    for octets in [STRANGER.as_bytes(), &[203, 0, 113, 7]] {
        assert!(!is_in_database(daemon.setup(), octets));
    }
    assert_eq!(daemon.ask("incidents").out, "no incidents\n");
    let known = daemon.ask("status 203.0.113.7 --json").lines().remove(0);
    assert_eq!((&known["incidents_total"], &known["repetitions"]), (&0.into(), &0.into()));
    assert!(known["first_seen"].is_null(), "{known}");
    let status = daemon.status();
    assert_eq!(status["recent_incidents"].as_array().unwrap().len(), 0);
    assert!(!status.to_string().contains(STRANGER), "{status}");

    // What an upgrade left is removed where that is asked for.
    let copy = daemon.setup().folder().join("state.db.schema-1");
    fs::write(&copy, STRANGER).unwrap();
    let named = daemon.ask("forget 203.0.113.7").out;
    assert!(
        named.contains("it may be left in this copy") && named.contains("203.0.113.7 --copies"),
        "{named}"
    );
    let removed = daemon.ask("forget 203.0.113.7 --copies");
    assert_eq!((removed.exit, removed.out.contains("removed: "), copy.exists()), (Some(0), true, false));
    let setup = daemon.stop(Signal::TERM);
    assert!(!is_in_database(&setup, STRANGER.as_bytes()), "nothing of it was waiting");
}
