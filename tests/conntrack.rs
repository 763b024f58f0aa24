//! What a ban does to connections, and what it leaves alone: the daemon on the running kernel, with TCP.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test states its expectations by panicking"
)]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};

use rustix::net::{AddressFamily, SocketType};
use rustix::process::Signal;
use support::daemon::Daemon;
use support::{HOME4, HOME6, Namespace, Pair, wait_until};

/// Somebody behind the gateway, and his neighbour.
const BAD: &str = "203.0.113.7";
const GOOD: &str = "203.0.113.8";
const BAD6: &str = "2001:db8:bad::7";
const BAD6_TOO: &str = "2001:db8:bad::ffff:0:8";
const GOOD6: &str = "2001:db8:bad:1::7";

/// What switches connection tracking on where nfban does not.
const TRACKING: &str = "nft -f - <<'RULES'
table inet firewall {
    chain input {
        type filter hook input priority 0;
        ct state established,related accept
    }
}
RULES";

fn pair() -> Pair {
    let pair = Pair::new();
    [BAD, GOOD, BAD6, BAD6_TOO, GOOD6].iter().for_each(|address| pair.peer_has(address));
    pair
}

/// Both ends of an open TCP connection.
struct Connection {
    client: TcpStream,
    server: TcpStream,
}

impl Connection {
    /// From an address of one namespace to one of another.
    fn open(client: &Namespace, from: &str, server: &Namespace, to: &str) -> Self {
        let listener = server.enter(|| TcpListener::bind((to, 0)).unwrap());
        let to = listener.local_addr().unwrap();
        let client = client.enter(|| connect(from, to));
        Self { client, server: listener.accept().unwrap().0 }
    }

    /// Octets get through in both directions.
    fn goes_on(&mut self) {
        let mut octet = [0];
        self.client.write_all(b"?").unwrap();
        self.server.read_exact(&mut octet).unwrap();
        self.server.write_all(b"!").unwrap();
        self.client.read_exact(&mut octet).unwrap();
    }
}

/// `TcpStream::connect` from an address of one's choice.
fn connect(from: &str, to: SocketAddr) -> TcpStream {
    let family = if to.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = rustix::net::socket(family, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &SocketAddr::new(from.parse().unwrap(), 0)).unwrap();
    rustix::net::connect(&socket, &to).unwrap();
    TcpStream::from(socket)
}

/// The conntrack entries of a namespace, one a line.
fn entries(home: &Namespace) -> String {
    ["ipv4", "ipv6"].map(|family| home.sh(&format!("conntrack -L -f {family} 2>/dev/null"))).concat()
}

/// How many entries have an address anywhere in them.
fn entries_with(home: &Namespace, address: &str) -> usize {
    let ends = ["src", "dst"].map(|end| format!("{end}={address} "));
    entries(home).lines().filter(|line| ends.iter().any(|end| line.contains(end))).count()
}

#[test]
fn a_banned_source_loses_its_connections_in_both_directions_and_nobody_else_does() {
    let pair = pair();
    let (home, peer) = (&pair.home, &pair.peer);
    let daemon = Daemon::start(home, "mode: enforce");
    let mut to_us: Vec<_> = [BAD, GOOD, BAD6, BAD6_TOO, GOOD6]
        .map(|from| {
            let to = if from.contains(':') { HOME6 } else { HOME4 };
            (from, Connection::open(peer, from, home, to))
        })
        .into();
    let mut to_them = [
        (BAD, Connection::open(home, HOME4, peer, BAD)),
        (GOOD, Connection::open(home, HOME4, peer, GOOD)),
        (BAD6, Connection::open(home, HOME6, peer, BAD6)),
    ];
    to_us.iter_mut().chain(&mut to_them).for_each(|(_, connection)| connection.goes_on());
    assert_eq!(entries_with(home, BAD), 2, "{}", entries(home));

    assert_eq!(daemon.ask(&format!("ban {BAD} --for 1h")).exit, Some(0));
    wait_until("the address has no entry any more", || entries_with(home, BAD) == 0);
    assert_eq!((entries_with(home, BAD6), entries_with(home, GOOD)), (2, 2), "{}", entries(home));

    assert_eq!(daemon.ask("ban 2001:db8:bad::/64 --for 1h").exit, Some(0));
    wait_until("the /64 has no entry any more", || {
        entries_with(home, BAD6) + entries_with(home, BAD6_TOO) == 0
    });
    assert_eq!(entries_with(home, GOOD6), 1, "{}", entries(home));
    let innocent =
        to_us.iter_mut().chain(&mut to_them).filter(|(address, _)| [GOOD, GOOD6].contains(address));
    assert_eq!(innocent.map(|(_, connection)| connection.goes_on()).count(), 3);

    // A prefix of which one address talks with us.
    assert_eq!(daemon.ask("ban 203.0.113.8/30 --for 1h").exit, Some(0));
    wait_until("the prefix has no entry any more", || entries_with(home, GOOD) == 0);
    wait_until("it is counted", || daemon.status()["kernel"]["connections_ended"] == 7);
}

#[test]
fn a_daemon_killed_between_the_ban_and_the_deletion_deletes_at_its_next_start() {
    let pair = pair();
    let daemon = Daemon::start(&pair.home, "mode: enforce");
    let mut connection = Connection::open(&pair.peer, BAD, &pair.home, HOME4);
    connection.goes_on();
    let setup = daemon.kill();
    pair.home.sh(&format!("nft add element inet nfban ban4 '{{ {BAD} timeout 1h comment \"manual\" }}'"));
    assert_eq!(entries_with(&pair.home, BAD), 1);
    let _daemon = Daemon::start_with(&pair.home, setup, &[]);
    wait_until("the entry has gone", || entries_with(&pair.home, BAD) == 0);
}

#[test]
fn what_was_opened_while_the_kernel_had_lost_a_ban_ends_when_the_ban_is_back() {
    let pair = pair();
    let (home, peer) = (&pair.home, &pair.peer);
    let daemon = Daemon::start(home, "mode: enforce");
    home.sh(TRACKING);
    assert_eq!(daemon.ask(&format!("ban {BAD} --for 1h")).exit, Some(0));
    let setup = daemon.stop(Signal::TERM);
    home.sh("nft delete table inet nfban");
    let mut connections = [BAD, GOOD].map(|from| Connection::open(peer, from, home, HOME4));
    connections.iter_mut().for_each(Connection::goes_on);
    assert_eq!(entries_with(home, BAD), 1, "{}", entries(home));
    let daemon = Daemon::start_with(home, setup, &[]);
    wait_until("it has ended", || entries_with(home, BAD) == 0);
    assert_eq!(entries_with(home, GOOD), 1, "{}", entries(home));
    assert_eq!(daemon.targets(), [BAD]);
}

#[test]
fn what_a_banned_source_sends_makes_no_conntrack_entry() {
    let pair = pair();
    let daemon = Daemon::start(&pair.home, "mode: enforce");
    let send = |from: &str, to: &str| {
        pair.peer.enter(|| UdpSocket::bind((from, 0)).unwrap().send_to(b"knock", (to, 7000)).unwrap())
    };
    for (bad, good, to) in [(BAD, GOOD, HOME4), (BAD6, GOOD6, HOME6)] {
        send(bad, to);
        wait_until("connection tracking sees the source", || entries_with(&pair.home, bad) == 1);
        assert_eq!(daemon.ask(&format!("ban {bad} --for 1h")).exit, Some(0));
        wait_until("its entry has gone", || entries_with(&pair.home, bad) == 0);
        send(bad, to);
        send(good, to);
        wait_until("connection tracking sees the neighbour", || entries_with(&pair.home, good) == 1);
        assert_eq!(entries_with(&pair.home, bad), 0, "{}", entries(&pair.home));
    }
    let dropped: Vec<_> = daemon.bans().iter().map(|ban| ban["packets"].clone()).collect();
    assert_eq!(dropped, [1, 1]);
}

#[test]
fn conntrack_never_switches_nothing_on_and_deletes_nothing() {
    let pair = pair();
    let config = "nftables: {conntrack: never}";
    let daemon = Daemon::start(&pair.home, config);
    let mut before = Connection::open(&pair.peer, BAD, &pair.home, HOME4);
    before.goes_on();
    assert_eq!(daemon.ask(&format!("ban {BAD} --for 1h")).exit, Some(0));
    assert_eq!(entries(&pair.home), "", "nobody has asked for connection tracking");
    assert!(!pair.home.sh("nft list table inet nfban").contains("ct state"));
    // The ban needs none of it.
    assert!(!pair.answers(BAD, HOME4, 7000, 2));

    // Where the administrator's own rules track, that stays his.
    pair.home.sh(TRACKING);
    let mut good = Connection::open(&pair.peer, GOOD, &pair.home, HOME4);
    good.goes_on();
    assert_eq!(daemon.ask(&format!("ban {GOOD} --for 1h")).exit, Some(0));
    assert_eq!(daemon.ask("bans").exit, Some(0));
    assert_eq!(entries_with(&pair.home, GOOD), 1, "{}", entries(&pair.home));
    assert_eq!(daemon.status()["kernel"]["connections_ended"], 0);
}
