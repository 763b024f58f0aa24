//! What the daemon remembers of slow scans over its own end, on the running kernel.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test states its expectations by panicking"
)]

mod support;

use std::fs;
use std::net::UdpSocket;
use std::path::Path;

use rusqlite::Connection;
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

/// Twelve ports in two hours. None of the shipped rules fires on so few.
const SLOW: &str = "- {id: slow-doors, title: t, match: {class: udp}, count: {distinct: dport}, threshold: 12, window: 2h}\n\
                    - {id: slow-scan, enabled: false}\n";

fn refusing() -> Pair {
    let pair = Pair::new();
    pair.peer_has(STRANGER);
    pair.home.sh(FIREWALL);
    pair
}

/// A configuration with the slow rule.
fn setup() -> Setup {
    let setup = Setup::new("");
    let rules = setup.folder().join("rules.d");
    fs::create_dir(&rules).unwrap();
    fs::write(rules.join("slow.yaml"), SLOW).unwrap();
    setup.configure(&format!("rules: {{directory: {}}}\n", rules.display()));
    setup
}

/// Probes some ports of home, and waits until the daemon has seen them.
fn probe(pair: &Pair, daemon: &Daemon, ports: std::ops::Range<u16>) {
    let seen = daemon.packets() + u64::from(ports.end - ports.start);
    pair.peer.enter(|| {
        let socket = UdpSocket::bind((STRANGER, 0)).unwrap();
        for port in ports {
            socket.send_to(b"", (HOME4, port)).unwrap();
        }
    });
    wait_until("the probes are seen", || daemon.packets() >= seen);
}

fn database(setup: &Setup) -> std::path::PathBuf {
    setup.folder().join("state.db")
}

/// How many rows a running daemon has saved.
fn rows(path: &Path) -> i64 {
    let connection = Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    connection
        .query_row("SELECT count(*) FROM sighting WHERE rules LIKE '%slow-doors%'", [], |row| row.get(0))
        .unwrap()
}

#[test]
fn a_slow_scan_is_found_across_a_stop_and_a_kill() {
    let pair = refusing();
    let daemon = Daemon::start_with(&pair.home, setup(), &[]);
    probe(&pair, &daemon, 20_000..20_005);
    let setup = daemon.stop(Signal::TERM);
    assert!(!setup.folder().join("state.db-wal").exists(), "the database is closed well");

    let daemon = Daemon::start_with(&pair.home, setup, &[]);
    // A port of before counts once; a reload keeps counts and saves them.
    probe(&pair, &daemon, 20_004..20_009);
    assert_eq!(daemon.ask("reload").exit, Some(0));
    wait_until("all nine ports are saved", || rows(&database(daemon.setup())) >= 9);
    let setup = daemon.kill();

    let daemon = Daemon::start_with(&pair.home, setup, &[]);
    probe(&pair, &daemon, 20_009..20_011);
    assert_eq!(daemon.rules(), Vec::<String>::new(), "eleven are not enough");
    probe(&pair, &daemon, 20_011..20_012);
    assert_eq!(daemon.rules(), ["slow-doors"]);
    let status = daemon.status();
    assert_eq!(status["recent_incidents"][0]["distinct_ports"], 12, "{status}");
    assert_eq!(status["recent_incidents"][0]["packets"], 13, "{status}");
    daemon.stop(Signal::TERM);
}

#[test]
fn a_dry_run_neither_reads_nor_writes_what_is_remembered() {
    let pair = refusing();
    let daemon = Daemon::start_with(&pair.home, setup(), &["--dry-run"]);
    probe(&pair, &daemon, 20_000..20_011);
    let setup = daemon.stop(Signal::TERM);
    assert!(!database(&setup).exists());

    let daemon = Daemon::start_with(&pair.home, setup, &[]);
    probe(&pair, &daemon, 20_000..20_011);
    let setup = daemon.stop(Signal::TERM);
    let before = fs::read(database(&setup)).unwrap();

    let daemon = Daemon::start_with(&pair.home, setup, &["--dry-run"]);
    probe(&pair, &daemon, 20_011..20_012);
    assert_eq!(daemon.rules(), Vec::<String>::new());
    let setup = daemon.stop(Signal::TERM);
    assert_eq!(fs::read(database(&setup)).unwrap(), before);
}

#[test]
fn a_damaged_database_is_an_alarm_and_the_daemon_runs() {
    let pair = refusing();
    let setup = setup();
    fs::write(database(&setup), "no database ".repeat(1_000)).unwrap();
    let daemon = Daemon::start_with(&pair.home, setup, &[]);
    let status = daemon.status();
    let alarm = status["alarms"][0]["what"].as_str().unwrap();
    assert!(alarm.contains("is damaged") && alarm.contains("state.db.broken-"), "{status}");
    probe(&pair, &daemon, 20_000..20_012);
    assert_eq!(daemon.rules(), ["udp-scan"]);
    daemon.stop(Signal::TERM);
}

#[test]
fn without_a_state_directory_it_says_what_to_do_and_runs() {
    let pair = refusing();
    let setup = setup();
    // A file where the directory should be: root, too, can make nothing in it.
    let elsewhere = setup.folder().join("file");
    fs::write(&elsewhere, "").unwrap();
    let daemon = Daemon::start_in(&pair.home, setup, &elsewhere);
    daemon.says("StateDirectory=nfban");
    probe(&pair, &daemon, 20_000..20_012);
    assert_eq!(daemon.rules(), ["udp-scan"]);
    daemon.stop(Signal::TERM);
}
