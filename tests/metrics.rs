//! Metrics as Prometheus asks for them, of a daemon on the running kernel; and what the dashboard asks of them.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test states its expectations by panicking"
)]

mod support;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use nfban::metrics::NAMES;
use rustix::process::Signal;
use serde_json::Value;
use support::daemon::{Daemon, NFBAN, Setup};
use support::{HOME4, Pair, wait_until};

fn scan(pair: &Pair, from: &str) {
    pair.peer_has(from);
    pair.peer.enter(|| {
        let socket = UdpSocket::bind((from, 0)).unwrap();
        for port in 1..=20 {
            socket.send_to(b"", (HOME4, port)).unwrap();
        }
    });
}

/// Asks as HTTP does; the head and the body of the answer.
fn ask(mut stream: impl Read + Write, request: &str) -> (String, String) {
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

const GET: &str = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Reads a page with Prometheus' own parser, and holds each metric to what `promtool check metrics` asks for.
const PARSER: &str = "
import sys
from prometheus_client.parser import text_string_to_metric_families
families = list(text_string_to_metric_families(sys.stdin.read()))
for family in families:
    assert family.type in ('counter', 'gauge'), family
    assert family.documentation, family
    assert family.samples, family
    for sample in family.samples:
        assert sample.name.endswith('_total') == (family.type == 'counter'), sample
names = [family.name for family in families]
assert len(names) == len(set(names)), names
print(len(names))
";

fn parse(page: &str) -> usize {
    let mut parser = Command::new("/usr/bin/python3");
    parser.args(["-c", PARSER]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = parser.spawn().unwrap();
    child.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "scripts/setup installs python3-prometheus-client: {said}");
    String::from_utf8_lossy(&output.stdout).trim().parse().unwrap()
}

#[test]
fn a_scan_shows_in_the_metrics_within_moments_and_prometheus_own_parser_reads_them() {
    let pair = Pair::refusing();
    let setup = Setup::new("");
    let socket = setup.folder().join("metrics.sock");
    setup.configure(&format!("metrics: {{listen: {}}}\n", socket.display()));
    let daemon = Daemon::start_with(&pair.home, setup, &[]);
    assert_eq!(socket.metadata().unwrap().permissions().mode() & 0o777, 0o660, "as the control socket");
    let page = || {
        let (head, body) = ask(UnixStream::connect(&socket).unwrap(), GET);
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains("Content-Type: text/plain; version=0.0.4"), "{head}");
        body
    };
    scan(&pair, "203.0.113.7");
    wait_until("the ban shows", || page().contains("nfban_bans{action=\"restrict\"} 1\n"));
    let body = page();
    for sample in [
        "nfban_incidents_total{rule=\"udp-scan\"} 1\n",
        "nfban_bans_begun_total{action=\"restrict\",rule=\"udp-scan\"} 1\n",
        "nfban_packets_total{capture=\"nflog:100\"} 20\n",
        "nfban_open_incidents 1\n",
        "nfban_table_used{table=\"sources\"} 1\n",
    ] {
        assert!(body.contains(sample), "{sample}{body}");
    }
    assert!(parse(&body) >= 20, "{body}");
    assert_eq!(daemon.ask("unban 203.0.113.7").exit, Some(0));
    wait_until("its end shows", || page().contains("nfban_bans_ended_total{reason=\"unban\"} 1\n"));
    daemon.stop(Signal::TERM);
    assert!(!socket.exists());
}

#[test]
fn on_loopback_one_page_is_there_and_slow_or_strange_clients_do_no_harm() {
    let pair = Pair::refusing();
    let daemon = Daemon::start(&pair.home, "metrics: {listen: '127.0.0.1:9876'}\n");
    let connect = || pair.home.enter(|| TcpStream::connect("127.0.0.1:9876").unwrap());
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", "404 Not Found"),
        ("POST /metrics HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
        ("GET /metrics?x=y HTTP/1.0\r\n\r\n", "200 OK"),
        ("\u{7f}\r\n\r\n", "405 Method Not Allowed"),
    ] {
        assert!(ask(connect(), request).0.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{request:?}");
    }
    // One that never asks, and one that never stops.
    let _silent = connect();
    let mut endless = connect();
    while endless.write_all(&[b'x'; 1024]).is_ok() {}
    scan(&pair, "203.0.113.7");
    wait_until("packets are counted meanwhile", || daemon.packets() == 20);
    assert!(ask(connect(), GET).0.contains("200 OK"));

    // It moves with a reload, and where it cannot, all stays as it was.
    daemon.setup().configure("metrics: {listen: '[::1]:9876'}\n");
    assert_eq!(daemon.ask("reload").exit, Some(0));
    pair.home.enter(|| TcpStream::connect("127.0.0.1:9876").unwrap_err());
    let _taken = pair.home.enter(|| std::net::TcpListener::bind("127.0.0.1:9877").unwrap());
    daemon.setup().configure("metrics: {listen: '127.0.0.1:9877'}\n");
    let answer = daemon.ask("reload");
    assert!(answer.exit != Some(0) && answer.err.contains("127.0.0.1:9877"), "{answer:?}");
    let again = pair.home.enter(|| TcpStream::connect("[::1]:9876").unwrap());
    assert!(ask(again, GET).0.contains("200 OK"));
    daemon.stop(Signal::TERM);

    let setup = Setup::new("metrics: {listen: '127.0.0.1:9877'}\n");
    let answer = Daemon::refuses_to_start(&pair.home, &setup, Command::new(NFBAN));
    assert!(answer.err.contains("cannot listen at 127.0.0.1:9877"), "{answer:?}");
}

/// The words of a query that could be metrics.
fn metrics_in(query: &str) -> impl Iterator<Item = &str> {
    query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).filter(|word| word.starts_with("nfban_"))
}

#[test]
fn the_dashboard_asks_for_metrics_that_there_are() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/grafana/nfban.json");
    let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(dashboard["schemaVersion"].as_u64() >= Some(36) && dashboard["uid"].is_string());
    let known: BTreeSet<&str> = NAMES.iter().map(|(name, ..)| *name).collect();
    let mut asked = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        assert!(panel["title"].is_string() && panel["gridPos"]["w"].as_u64() <= Some(24), "{panel}");
        for target in panel["targets"].as_array().unwrap() {
            asked.extend(metrics_in(target["expr"].as_str().unwrap()));
        }
    }
    assert!(asked.len() >= 10, "{asked:?}");
    assert!(asked.is_subset(&known), "{:?}", asked.difference(&known));
}

#[test]
fn signals_of_log_rotation_end_nothing_and_lose_nothing() {
    let pair = Pair::refusing();
    let daemon = Daemon::start(&pair.home, "");
    scan(&pair, "203.0.113.7");
    wait_until("it is banned", || daemon.targets() == ["203.0.113.7"]);
    for signal in [Signal::USR1, Signal::USR2, Signal::HUP, Signal::USR1] {
        daemon.signal(signal);
    }
    wait_until("it has read its configuration again", || daemon.log().contains("configuration reloaded"));
    scan(&pair, "203.0.113.8");
    wait_until("it goes on", || daemon.targets() == ["203.0.113.7", "203.0.113.8"]);
    assert_eq!((daemon.packets(), daemon.status()["incidents_total"].as_u64()), (40, Some(2)));
    daemon.stop(Signal::TERM);
}
