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
use support::{HOME4, HOME6, Pair, wait_until};

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
    // The ban may come in the midst of the scan: then the rest is dropped before it is logged.
    wait_until("the ban shows", || page().contains("nfban_bans{action=\"restrict\"} 1\n"));
    let packets = || value(&page(), "nfban_packets_total{capture=\"nflog:100\"}").unwrap();
    wait_until("all that was logged shows", || packets() == daemon.packets());
    assert!((8..=20).contains(&packets()), "{}", packets());
    let body = page();
    for sample in [
        "nfban_incidents_total{rule=\"udp-scan\"} 1\n",
        "nfban_bans_begun_total{action=\"restrict\",rule=\"udp-scan\"} 1\n",
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

/// The value of a sample; none where there is no such sample.
fn value(page: &str, sample: &str) -> Option<u64> {
    let of = |line: &str| line.strip_prefix(sample)?.strip_prefix(' ')?.parse().ok();
    page.lines().find_map(of)
}

/// Sends `packets` datagrams of so many octets of payload, each after the other has left.
fn send(pair: &Pair, from: &str, to: (&str, u16), packets: usize, payload: usize) {
    pair.peer.enter(|| {
        let socket = UdpSocket::bind((from, 0)).unwrap();
        (0..packets).for_each(|_| assert_eq!(socket.send_to(&vec![0; payload], to).unwrap(), payload));
    });
}

#[test]
fn what_bans_and_restrictions_drop_is_counted_for_good_whatever_becomes_of_elements_rules_and_table() {
    let pair = Pair::refusing();
    let setup = Setup::new("");
    let listen = format!("metrics: {{listen: {}}}\n", setup.folder().join("metrics.sock").display());
    let socket = setup.folder().join("metrics.sock");
    setup.configure(&listen);
    let daemon = Daemon::start_with(&pair.home, setup, &[]);
    let page = || ask(UnixStream::connect(&socket).unwrap(), GET).1;
    let dropped = |what: &str, action: &str, family: &str, set: &str| {
        let labels = format!("{{action=\"{action}\",family=\"{family}\",set=\"{set}\"}}");
        value(&page(), &format!("nfban_dropped_{what}_total{labels}"))
    };
    let ban4 = || (dropped("packets", "ban", "ipv4", "ban4"), dropped("bytes", "ban", "ipv4", "ban4"));
    wait_until("the sets are there before anything is dropped", || ban4() == (Some(0), Some(0)));
    pair.peer_has("203.0.113.7");
    pair.peer_has("2001:db8:7::7");
    for ban in ["203.0.113.7", "2001:db8:7::/64", "203.0.114.0/24"] {
        assert_eq!(daemon.ask(&format!("ban {ban} --for 1h")).exit, Some(0));
    }
    // IPv4 and UDP headers are 28 octets, IPv6 and UDP 48.
    send(&pair, "203.0.113.7", (HOME4, 9), 5, 72);
    send(&pair, "2001:db8:7::7", (HOME6, 9), 3, 52);
    wait_until("what is dropped shows", || ban4() == (Some(5), Some(500)));
    let ban6 = || (dropped("packets", "ban", "ipv6", "ban6"), dropped("bytes", "ban", "ipv6", "ban6"));
    wait_until("each set by itself", || ban6() == (Some(3), Some(300)));
    assert_eq!(dropped("packets", "ban", "ipv4", "ban4_prefix"), Some(0));
    scan(&pair, "203.0.113.8");
    wait_until("it is restricted", || daemon.targets().contains(&"203.0.113.8".to_owned()));
    let restrict4 = || dropped("packets", "restrict", "ipv4", "restrict4");
    let before = restrict4().unwrap();
    send(&pair, "203.0.113.8", (HOME4, 9), 2, 72);
    wait_until("what is restricted shows", || restrict4() == Some(before + 2));

    // An element takes its own counts with it.
    assert_eq!(daemon.ask("unban 203.0.113.7").exit, Some(0));
    assert_eq!(daemon.ask("ban 203.0.113.7 --for 1h").exit, Some(0));
    send(&pair, "203.0.113.7", (HOME4, 9), 1, 72);
    wait_until("it goes on from there", || ban4() == (Some(6), Some(600)));
    // All rules are written again, with others for traps, and then as they were.
    for traps in ["traps: [23]\n", ""] {
        daemon.setup().configure(&format!("{listen}{traps}"));
        assert_eq!(daemon.ask("reload").exit, Some(0));
        assert_eq!(ban4(), (Some(6), Some(600)));
    }
    // The table is gone and made anew; switched off and on it is, too.
    pair.home.sh("nft flush ruleset");
    wait_until("the bans are back", || daemon.targets().contains(&"203.0.113.7".to_owned()));
    send(&pair, "203.0.113.7", (HOME4, 9), 2, 72);
    wait_until("what is dropped since is added", || ban4() == (Some(8), Some(800)));
    send(&pair, "203.0.113.7", (HOME4, 9), 1, 72);
    for switch in ["off", "on"] {
        assert_eq!(daemon.ask(switch).exit, Some(0), "{}", daemon.log());
    }
    wait_until("the ban by hand is back", || daemon.targets().contains(&"203.0.113.7".to_owned()));
    wait_until("nothing was lost", || ban4() == (Some(9), Some(900)));
    assert!(parse(&page()) >= 20, "{}", page());
    let of_status = daemon.status()["kernel"]["dropped"].clone();
    let sum = 9 + 3 + before + 2;
    assert_eq!(of_status["packets"].as_u64(), Some(sum), "{of_status}");
    assert!(
        daemon.ask("status").out.contains(&format!("; {sum} packets dropped")),
        "{}",
        daemon.ask("status").out
    );

    // A counter may begin anew with a daemon: what an earlier one dropped is not told as this one's.
    let setup = daemon.stop(Signal::TERM);
    let daemon = Daemon::start_with(&pair.home, setup, &[]);
    wait_until("it begins anew", || ban4() == (Some(0), Some(0)));
    send(&pair, "203.0.113.7", (HOME4, 9), 1, 72);
    wait_until("and goes on", || ban4() == (Some(1), Some(100)));
    daemon.stop(Signal::TERM);
}

#[test]
fn of_sets_of_the_administrators_nothing_dropped_is_told_as_his_rules_say_what_is() {
    let pair = Pair::new();
    pair.home.sh(
        "nft add table inet mine && nft 'add set inet mine bad { type ipv4_addr; flags timeout; counter; }'",
    );
    let setup = Setup::new("");
    let socket = setup.folder().join("metrics.sock");
    let sets = "nftables: {table: inet mine, sets: {ban4: bad}}\n";
    setup.configure(&format!("metrics: {{listen: {}}}\n{sets}", socket.display()));
    let daemon = Daemon::start_with(&pair.home, setup, &[]);
    let page = || ask(UnixStream::connect(&socket).unwrap(), GET).1;
    assert_eq!(daemon.ask("ban 203.0.113.7 --for 1h").exit, Some(0));
    wait_until("the ban shows", || page().contains("nfban_bans{action=\"ban\"} 1\n"));
    assert!(!page().contains("nfban_dropped"), "{}", page());
    assert!(daemon.status()["kernel"]["dropped"].is_null());
    daemon.stop(Signal::TERM);
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
    wait_until("packets are counted meanwhile", || daemon.packets() >= 8);
    assert!(ask(connect(), GET).0.contains("200 OK"));

    // It moves with a reload, and where it cannot, all stays as it was.
    daemon.setup().configure("metrics: {listen: '[::1]:9876'}\n");
    assert_eq!(daemon.ask("reload").exit, Some(0));
    pair.home.enter(|| TcpStream::connect("127.0.0.1:9876").unwrap_err());
    let _taken = pair.home.enter(|| std::net::TcpListener::bind("127.0.0.1:9877").unwrap());
    daemon.setup().configure("metrics: {listen: '127.0.0.1:9877'}\n");
    let answer = daemon.ask("reload");
    assert!(answer.exit != Some(0) && answer.err.contains("127.0.0.1:9877"), "{answer:?}");
    let stays = || {
        let again = pair.home.enter(|| TcpStream::connect("[::1]:9876").unwrap());
        assert!(ask(again, GET).0.contains("200 OK"));
    };
    stays();
    // So it does where something else cannot be had.
    let other = Daemon::start(&pair.home, "mode: watch\ncapture: [{nflog: {group: 105}}]\n");
    daemon.setup().configure("metrics: {listen: '127.0.0.1:9878'}\ncapture: [{nflog: {group: 105}}]\n");
    let answer = daemon.ask("reload");
    assert!(answer.exit != Some(0) && answer.err.contains("105"), "{answer:?}");
    stays();
    pair.home.enter(|| TcpStream::connect("127.0.0.1:9878").unwrap_err());
    other.stop(Signal::TERM);
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
