//! Throw-away network namespaces for tests against the real kernel.
//!
//! A namespace lives as long as its [`Namespace`]. Nothing outside of it changes and nothing is left behind, so tests
//! run side by side. They need CAP_SYS_ADMIN over the test's user namespace: root, or
//! `CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="unshare -Urn" cargo test`. Without it they fail and say so; they are
//! never skipped.
#![allow(dead_code, unreachable_pub, reason = "every test takes the part it needs")]

pub mod daemon;
pub mod terminal;

use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

/// How long a command or a condition may take before the test fails.
pub const LIMIT: Duration = Duration::from_secs(20);

/// A network namespace of its own, its loopback interface up.
#[derive(Debug)]
pub struct Namespace(OwnedFd);

impl Namespace {
    /// Makes a namespace.
    pub fn new() -> Self {
        // A thread of its own, because unsharing is for good: the calling thread stays where it is.
        let made = thread::spawn(|| {
            // SAFETY: a new network namespace changes nothing that Rust's safety rests on (no file table, no memory).
            #[expect(unsafe_code, reason = "the only call that makes a network namespace")]
            unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.expect(
                "this test needs a network namespace of its own: run it as root or under `unshare -Urn`",
            );
            rustix::fs::open("/proc/thread-self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .unwrap()
        });
        let namespace = Self(made.join().unwrap());
        namespace.sh("ip link set lo up");
        namespace
    }

    /// Does `work` in this namespace, on a thread of its own: sockets it opens and commands it starts belong here.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                rustix::thread::move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("entering the test's network namespace");
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs a line of shell here, within [`LIMIT`], and gives what it printed. The test fails if the command does.
    pub fn sh(&self, line: &str) -> String {
        let (done, output) = self.try_sh(line);
        assert!(done, "`{line}` failed:\n{output}");
        output
    }

    /// Runs a line of shell here, within [`LIMIT`]: whether it succeeded, and what it printed on both streams.
    pub fn try_sh(&self, line: &str) -> (bool, String) {
        let output = self.enter(|| {
            Command::new("timeout")
                .args(["-k", "1", &LIMIT.as_secs().to_string(), "sh", "-c", line])
                .output()
                .expect("coreutils' timeout runs")
        });
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    }

    /// The path under which `ip link set … netns PATH` finds this namespace while the test runs.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }
}

/// Two namespaces joined by a cable: `home` is the machine that is protected, `peer` stands for everybody else.
///
/// Addresses are there at once (no duplicate address detection). The peer is home's default gateway, so that it can
/// send from any address it is given with [`Pair::peer_has`].
#[derive(Debug)]
pub struct Pair {
    /// The protected machine: interface `up0`, [`HOME4`], [`HOME6`], fe80::1.
    pub home: Namespace,
    /// The world: interface `peer0`, [`PEER4`], [`PEER6`], fe80::2.
    pub peer: Namespace,
}

/// Home's IPv4 address.
pub const HOME4: &str = "192.0.2.1";
/// The peer's IPv4 address, on the same link.
pub const PEER4: &str = "192.0.2.2";
/// Home's IPv6 address.
pub const HOME6: &str = "2001:db8:1::1";
/// The peer's IPv6 address, on the same link.
pub const PEER6: &str = "2001:db8:1::2";

impl Pair {
    /// Makes and joins both.
    pub fn new() -> Self {
        let pair = Self { home: Namespace::new(), peer: Namespace::new() };
        pair.home.sh(&format!("ip link add up0 type veth peer name peer0 netns {}", pair.peer.path()));
        for (side, link, four, six, local) in
            [(&pair.home, "up0", HOME4, HOME6, "fe80::1"), (&pair.peer, "peer0", PEER4, PEER6, "fe80::2")]
        {
            side.sh(&format!(
                "ip link set {link} addrgenmode none && ip addr add {four}/24 dev {link} && \
                 ip addr add {six}/64 dev {link} nodad && ip addr add {local}/64 dev {link} nodad && \
                 ip link set {link} up"
            ));
        }
        let both_up = || {
            [(&pair.home, "up0"), (&pair.peer, "peer0")]
                .iter()
                .all(|(side, link)| side.sh(&format!("ip -o link show {link}")).contains("state UP"))
        };
        wait_until("the cable carries", both_up);
        pair.home.sh(&format!("ip route add default via {PEER4} && ip -6 route add default via {PEER6}"));
        pair
    }

    /// The same with a firewall at home that refuses UDP ports below 30000, and logs to group 100 what it refuses.
    pub fn refusing() -> Self {
        let pair = Self::new();
        pair.home.sh("nft -f - <<'RULES'
table inet firewall {
    chain input {
        type filter hook input priority 0;
        udp dport < 30000 log prefix \"nfban:refused\" group 100 drop
    }
}
RULES");
        pair
    }

    /// Gives the peer one more address to send from, on its loopback interface.
    pub fn peer_has(&self, address: &str) {
        let nodad = if address.contains(':') { "nodad" } else { "" };
        self.peer.sh(&format!("ip addr add {address} dev lo {nodad}"));
    }

    /// Whether a datagram gets from the peer's address `from` to a socket at home's address `to` and the answer back.
    ///
    /// Sends up to `tries` datagrams until one is answered. Where the answer must be no, all of them are sent.
    pub fn answers(&self, from: &str, to: &str, port: u16, tries: usize) -> bool {
        let talk = Conversation::new(self, from, to, port);
        (0..tries).any(|_| talk.goes_on())
    }
}

/// A UDP conversation between the peer and home.
#[derive(Debug)]
pub struct Conversation {
    client: UdpSocket,
    server: UdpSocket,
}

impl Conversation {
    /// Opens a socket at both ends: the peer's address `from`, and home's `to` with `port`. Sends nothing yet.
    pub fn new(pair: &Pair, from: &str, to: &str, port: u16) -> Self {
        Self::between(pair, (from, 0), (to, port))
    }

    /// The same with the peer's port, too.
    pub fn between(pair: &Pair, from: (&str, u16), to: (&str, u16)) -> Self {
        let server = pair.home.enter(|| bind(to));
        let client = pair.peer.enter(|| bind(from));
        client.connect(to).unwrap();
        Self { client, server }
    }

    /// Whether a datagram of the peer reaches home and is answered.
    pub fn goes_on(&self) -> bool {
        // Between two namespaces of one machine a datagram arrives within microseconds; this is for a busy machine.
        const MOMENT: Duration = Duration::from_millis(200);
        self.server.set_read_timeout(Some(MOMENT)).unwrap();
        self.client.set_read_timeout(Some(MOMENT)).unwrap();
        let mut octets = [0; 64];
        self.client.send(b"anybody there?").unwrap();
        self.server.recv_from(&mut octets).is_ok_and(|(length, from)| {
            self.server.send_to(&octets[..length], from).unwrap();
            self.client.recv(&mut octets).is_ok()
        })
    }
}

/// Opens a socket for datagrams. One that was closed a moment ago may still be held by a child of another test's thread that has
/// not yet become its program.
fn bind(address: (&str, u16)) -> UdpSocket {
    let mut socket = None;
    wait_until(&format!("{address:?} can be bound"), || {
        socket = UdpSocket::bind(address).ok();
        socket.is_some()
    });
    socket.unwrap()
}

/// Waits until `condition` holds; the test fails after [`LIMIT`].
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LIMIT, "waited {LIMIT:?} in vain until {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
