//! Names on request: a name server that lies, one that is silent, and a MaxMind database, each in a namespace.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test states its expectations by panicking"
)]

mod support;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use support::daemon::{Daemon, NFBAN};
use support::terminal::Terminal;
use support::{Namespace, Pair};

/// Has the address that it says, says somebody else's name, sends what a terminal obeys, and never answers.
const SERVER: &str = r#"
import socket, struct, sys
def name(text):
    return b"".join(bytes([len(part)]) + part for part in text.split(b".")) + b"\0"
ptr = {
    b"7.113.0.203.in-addr.arpa": name(b"scanner.example.org"),
    b"8.113.0.203.in-addr.arpa": name(b"www.example.com"),
    b"9.113.0.203.in-addr.arpa": name(b"\x1b]0;owned\x07\xe2\x80\xae.example.org"),
    b"11.113.0.203.in-addr.arpa": name(b"3405803787"),
}
a = {b"scanner.example.org": "203.0.113.7", b"www.example.com": "192.0.2.99"}
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
print("ready", flush=True)
while True:
    query, client = server.recvfrom(512)
    at, parts = 12, []
    while query[at]:
        parts.append(query[at + 1 : at + 1 + query[at]])
        at += 1 + query[at]
    question = query[12 : at + 5]
    (kind,) = struct.unpack("!H", query[at + 1 : at + 3])
    asked = b".".join(parts).lower()
    if asked.startswith(b"10."):
        continue
    answer = {12: ptr.get(asked), 1: a.get(asked) and socket.inet_aton(a[asked])}.get(kind)
    known = asked in ptr or asked in a
    head = query[:2] + struct.pack("!HHHHH", 0x8180 if known else 0x8183, 1, 1 if answer else 0, 0, 0)
    record = answer and b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 60, len(answer)) + answer
    server.sendto(head + question + (record or b""), client)
"#;

/// The name server, which ends with the test.
struct NameServer(Child);

impl NameServer {
    fn start(home: &Namespace) -> Self {
        let mut python = Command::new("python3");
        python.args(["-c", SERVER]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = home.enter(|| python.spawn().unwrap());
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self(child)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A command line that runs the program where that server is the machine's.
fn line(daemon: &Daemon, arguments: &str) -> String {
    let folder = daemon.setup().folder().display();
    let socket = daemon.setup().socket();
    format!(
        "mount --bind {folder}/resolv.conf /etc/resolv.conf && mount --bind {folder}/nsswitch.conf /etc/nsswitch.conf && \
         exec {NFBAN} --socket {} {arguments}",
        socket.display()
    )
}

/// Runs the program where that server is the machine's: standard output and standard error of a success.
fn ask(home: &Namespace, daemon: &Daemon, arguments: &str) -> (String, String) {
    let script = line(daemon, arguments);
    let output = home.enter(|| {
        Command::new("unshare").args(["--mount", "sh", "-c", &script]).env("LC_ALL", "C").output().unwrap()
    });
    let text = |octets: Vec<u8>| String::from_utf8(octets).unwrap();
    assert!(output.status.success(), "{arguments}: {}", text(output.stderr));
    (text(output.stdout), text(output.stderr))
}

/// A value of the MaxMind DB format: its type and length, then the octets.
fn value(kind: u8, octets: &[u8], size: usize) -> Vec<u8> {
    // From 29 on, what is more stands in an octet of its own.
    let (inline, more) = (size.min(29), size.checked_sub(29));
    let inline = u8::try_from(inline).unwrap();
    let mut head = if kind > 7 { vec![inline, kind - 7] } else { vec![kind << 5 | inline] };
    head.extend(more.map(|more| u8::try_from(more).unwrap()));
    [head, octets.to_vec()].concat()
}

fn text(text: &str) -> Vec<u8> {
    value(2, text.as_bytes(), text.len())
}

fn number(kind: u8, number: u32) -> Vec<u8> {
    value(kind, &number.to_be_bytes(), 4)
}

fn short(number: u16) -> Vec<u8> {
    value(5, &number.to_be_bytes(), 2)
}

fn map(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let octets: Vec<u8> =
        entries.iter().flat_map(|(key, value)| [text(key), value.clone()].concat()).collect();
    value(7, &octets, entries.len())
}

/// A database that knows 203.0.113.0/24 alone.
fn database(kind: &str, about: &[u8]) -> Vec<u8> {
    let (network, length) = (u32::from_be_bytes([203, 0, 113, 0]), 24_u32);
    let record = |number: u32| number.to_be_bytes().into_iter().skip(1);
    let tree = (0..length).flat_map(|depth| {
        // The last record leads to the first octet of the data, which lies behind a separator of 16.
        let next = if depth + 1 == length { length + 16 } else { depth + 1 };
        let bit = network >> (31 - depth) & 1;
        let [zero, one] = if bit == 0 { [next, length] } else { [length, next] };
        record(zero).chain(record(one)).collect::<Vec<u8>>()
    });
    let metadata = map(&[
        ("binary_format_major_version", short(2)),
        ("binary_format_minor_version", short(0)),
        ("build_epoch", number(9, 1_767_323_045)),
        ("database_type", text(kind)),
        ("description", map(&[])),
        ("ip_version", short(4)),
        ("languages", value(11, &[], 0)),
        ("node_count", number(6, length)),
        ("record_size", short(24)),
    ]);
    let tree: Vec<u8> = tree.collect();
    [&tree[..], &[0; 16], about, b"\xab\xcd\xefMaxMind.com", &metadata].concat()
}

fn databases(folder: &Path) {
    let country = map(&[("country", map(&[("iso_code", text("DE"))]))]);
    std::fs::write(folder.join("GeoLite2-Country.mmdb"), database("GeoLite2-Country", &country)).unwrap();
    let network = map(&[
        ("autonomous_system_number", number(6, 64_500)),
        ("autonomous_system_organization", text("Example\u{1b}[2J Ltd")),
    ]);
    std::fs::write(folder.join("GeoLite2-ASN.mmdb"), database("GeoLite2-ASN", &network)).unwrap();
}

fn running() -> (Pair, Daemon, NameServer) {
    let pair = Pair::new();
    let daemon = Daemon::start(&pair.home, "");
    let folder = daemon.setup().folder();
    std::fs::write(folder.join("resolv.conf"), "nameserver 127.0.0.1\n").unwrap();
    std::fs::write(folder.join("nsswitch.conf"), "hosts: files dns\n").unwrap();
    let server = NameServer::start(&pair.home);
    (pair, daemon, server)
}

#[test]
fn a_name_counts_when_it_leads_back_and_none_acts_on_the_terminal() {
    let (pair, daemon, _server) = running();
    for number in [7, 8, 9, 11] {
        assert_eq!(daemon.ask(&format!("ban 203.0.113.{number} --for 1h")).exit, Some(0));
    }
    assert_eq!(daemon.ask("ban 203.0.113.128/25 --for 1h").exit, Some(0));
    let folder = daemon.setup().folder().to_owned();
    databases(&folder);

    let (shown, notes) = ask(&pair.home, &daemon, &format!("bans -n --geoip {}", folder.display()));
    assert_eq!(notes, "");
    let line = |address: &str| {
        let of = |line: &&str| line.split_whitespace().next() == Some(address);
        shown.lines().find(of).expect(address).split_whitespace().skip(5).collect::<Vec<_>>().join(" ")
    };
    let origin = r"DE, AS64500 Example\u{1b}[2J Ltd";
    assert_eq!(line("203.0.113.7"), format!("scanner.example.org, {origin}"));
    assert_eq!(line("203.0.113.8"), format!("www.example.com (unconfirmed), {origin}"));
    assert_eq!(line("203.0.113.9"), origin, "no name can be made of that\n{shown}");
    assert_eq!(line("203.0.113.11"), origin, "a number is no name\n{shown}");
    assert_eq!(line("203.0.113.128/25"), origin);
    assert!(!shown.contains(['\u{1b}', '\u{202e}', '\u{7}']), "{shown:?}");

    let (shown, _) = ask(&pair.home, &daemon, "status --names");
    assert!(shown.contains("scanner.example.org\n") && !shown.contains("DE, "), "{shown}");
    let (shown, _) = ask(&pair.home, &daemon, "status 203.0.113.8 --names");
    assert!(shown.starts_with("203.0.113.8 is www.example.com (unconfirmed)\n"), "{shown}");
    let (shown, notes) =
        ask(&pair.home, &daemon, &format!("why 203.0.113.7 -n --geoip {}", folder.display()));
    assert_eq!(notes, "");
    assert!(shown.starts_with(&format!("203.0.113.7 is scanner.example.org, {origin}\n")), "{shown}");
    assert!(shown.contains("203.0.113.7 is banned"), "{shown}");
    // Unasked for, nobody is asked.
    assert!(!ask(&pair.home, &daemon, "bans").0.contains("example"));
}

#[test]
fn a_silent_name_server_takes_three_seconds_and_no_more() {
    let (pair, daemon, _server) = running();
    for address in ["203.0.113.7", "203.0.113.10"] {
        assert_eq!(daemon.ask(&format!("ban {address} --for 1h")).exit, Some(0));
    }
    let (shown, notes) = ask(&pair.home, &daemon, "bans --names");
    assert!(shown.contains("scanner.example.org"), "{shown}");
    assert_eq!(notes, "nfban: names of 1 addresses are missing: they took too long\n");
}

#[test]
fn a_database_that_is_none_is_told_and_left_away() {
    let (pair, daemon, _server) = running();
    let folder = daemon.setup().folder().to_owned();
    assert_eq!(daemon.ask("ban 203.0.113.7 --for 1h").exit, Some(0));
    let asked = format!("bans --names --geoip {}", folder.display());
    let (shown, notes) = ask(&pair.home, &daemon, &asked);
    assert!(shown.contains("scanner.example.org\n"), "{shown}");
    assert!(notes.contains("has no database that can be read: GeoLite2-Country.mmdb"), "{notes}");

    databases(&folder);
    let whole = std::fs::read(folder.join("GeoLite2-Country.mmdb")).unwrap();
    std::fs::write(folder.join("GeoLite2-Country.mmdb"), whole.split_at(whole.len() / 2).0).unwrap();
    let (shown, notes) = ask(&pair.home, &daemon, &asked);
    assert!(shown.contains("scanner.example.org, AS64500"), "{shown}");
    assert!(notes.contains("GeoLite2-Country.mmdb: ") && notes.contains("; left away"), "{notes}");
}

#[test]
fn the_live_view_shows_names_when_a_key_asks_for_them() {
    let (pair, daemon, _server) = running();
    for number in [7, 8, 10] {
        assert_eq!(daemon.ask(&format!("ban 203.0.113.{number} --for 1h")).exit, Some(0));
    }
    let folder = daemon.setup().folder();
    databases(folder);
    let script = folder.join("top.sh");
    std::fs::write(&script, line(&daemon, &format!("top --geoip {}", folder.display()))).unwrap();
    let terminal = pair.home.enter(|| Terminal::new(80, 24));
    terminal.types(&format!("unshare --mount sh {}", script.display()));
    terminal.sees("203.0.113.10");
    assert!(!terminal.shown().contains("example"), "{}", terminal.shown());
    terminal.presses("n");
    // The third one's server never answers; that keeps neither the others nor the keys.
    terminal.sees("DE AS64500 scanner.example.org");
    terminal.sees("DE AS64500 www.example.com (unconfirmed)");
    terminal.presses("h");
    terminal.sees("any key closes");
    terminal.presses("h");
    terminal.resizes(200, 50);
    terminal.sees(r"DE, AS64500 Example\u{1b}");
    terminal.presses("e");
    terminal.sees("203.0.113.7 is scanner.example.org, DE, AS64500");
    terminal.presses("x");
    terminal.waits("it is closed", |shown| !shown.contains("any other key closes"));
    terminal.presses("n");
    terminal.waits("the names are gone", |shown| !shown.contains("example"));
    terminal.presses("q");
    terminal.is_the_shells();
}

#[test]
fn names_are_for_people_and_not_for_programs() {
    let (_pair, daemon, _server) = running();
    for command in ["bans", "status", "incidents", "why 203.0.113.7"] {
        let answer = daemon.ask(&format!("{command} --names --json"));
        assert_eq!(answer.exit, Some(2), "{command}: {answer:?}");
    }
}
