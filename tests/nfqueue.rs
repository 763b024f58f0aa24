//! NFQUEUE against the running kernel: new connections wait for the daemon's verdict, behind the examples.
//!
//! The example is that for nftables where this kernel has its `queue` statement, else that for iptables; `NFBAN_INLINE` says
//! which one it must be. `tests/inline/run` has the one for nftables tried by a stock kernel of Debian's.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test states its expectations by panicking"
)]

mod support;

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nfban::capture::nfqueue::{Capture, Queued, Ruling, dropped as dropped_by_kernel};
use rustix::io::Errno;
use rustix::process::Signal;
use serde_json::Value;
use support::daemon::{Daemon, NFBAN, Setup, text};
use support::{HOME4, HOME6, Namespace, PEER4, Pair, wait_until};

/// Addresses of the peer's that nothing protects, unlike its own: it is the gateway.
const SCANNER4: &str = "198.51.100.9";
const SCANNER6: &str = "2001:db8:9::9";
const CLIENT4: &str = "198.51.100.7";
const CLIENT6: &str = "2001:db8:7::7";
/// How long a connection that nobody answers is waited for: less than until a SYN is sent again.
const MOMENT: Duration = Duration::from_millis(700);

const CONFIG: &str = "
capture:
  - nfqueue: {queue: 100}
  - nflog: {group: 100, verdict: invalid}
services: [22, 80, 443, udp/9999]
";

/// A home whose port 80 is open and which queues what is new.
struct World {
    pair: Pair,
}

impl World {
    fn new() -> Self {
        let pair = Pair::new();
        [SCANNER4, SCANNER6, CLIENT4, CLIENT6].iter().for_each(|address| pair.peer_has(address));
        load(&pair.home);
        let listen = |address| pair.home.enter(|| TcpListener::bind((address, 80)).unwrap());
        // Taken at once, as a full backlog would drop SYNs as well.
        for listener in [listen("0.0.0.0"), listen(HOME6)] {
            thread::spawn(move || listener.incoming().for_each(drop));
        }
        Self { pair }
    }

    fn daemon(&self) -> Daemon {
        Daemon::start(&self.pair.home, CONFIG)
    }

    fn connect(&self, from: &str, to: &str, port: u16) -> Answer {
        connect(&self.pair.peer, from, to, port)
    }

    /// Connects to closed ports one after another until one does not answer; tells how many did.
    fn scan_until_silence(&self, from: &str, to: &str) -> u64 {
        for (answered, port) in (0..).zip(1000..1100) {
            match self.connect(from, to, port) {
                Answer::Refused => {}
                Answer::Silence => return answered,
                Answer::Taken => panic!("port {port} of {to} is open"),
            }
        }
        panic!("{from} has scanned 100 ports of {to}");
    }

    /// The kernel's line about queue 100: its owner's port, and how many packets wait.
    fn queue(&self) -> Option<(u32, u64)> {
        let text = self.pair.home.sh("cat /proc/thread-self/net/netfilter/nfnetlink_queue");
        let columns: Vec<&str> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .find(|line: &Vec<_>| line[0] == "100")?;
        Some((columns[1].parse().unwrap(), columns[2].parse().unwrap()))
    }
}

/// The packets of the one rule with a counter in table `inet t`.
fn counted(place: &Namespace) -> u64 {
    let text = place.sh("nft list table inet t");
    let number = text.split_once("packets ").and_then(|(_, rest)| rest.split(' ').next());
    number.and_then(|number| number.parse().ok()).expect("a counter")
}

/// Loads an example.
fn load(home: &Namespace) {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/nftables");
    let (nft, iptables) = ("nft -f inline.nft", "sh inline-iptables.sh load");
    let (done, said) = match std::env::var("NFBAN_INLINE").as_deref() {
        Ok("nft") => home.try_sh(&format!("cd {folder} && {nft}")),
        Ok("iptables") => home.try_sh(&format!("cd {folder} && {iptables}")),
        _ => home.try_sh(&format!("cd {folder} && {nft} || {iptables}")),
    };
    assert!(done, "{said}");
}

/// What became of a connection.
#[derive(Debug)]
enum Answer {
    Taken,
    Refused,
    Silence,
}

fn connect(peer: &Namespace, from: &str, to: &str, port: u16) -> Answer {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with, sockopt};
    let (from, to): (IpAddr, IpAddr) = (from.parse().unwrap(), to.parse().unwrap());
    let connected = peer.enter(|| {
        let family = if to.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
        let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        bind(&socket, &SocketAddr::new(from, 0)).unwrap();
        // It limits connect(2), too (socket(7)).
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(MOMENT)).unwrap();
        connect(&socket, &SocketAddr::new(to, port))
    });
    match connected {
        Ok(()) => Answer::Taken,
        Err(Errno::CONNREFUSED) => Answer::Refused,
        // The time is over (socket(7)).
        Err(Errno::INPROGRESS) => Answer::Silence,
        Err(error) => panic!("connect: {error}"),
    }
}

fn capture(daemon: &Daemon) -> Value {
    let status = daemon.status();
    let captures = status["captures"].as_array().unwrap().iter();
    captures.into_iter().find(|one| text(&one["source"]) == "nfqueue:100").unwrap().clone()
}

fn dropped(daemon: &Daemon) -> u64 {
    capture(daemon)["verdicts"]["dropped"].as_u64().unwrap()
}

#[test]
fn the_very_packet_that_gives_a_scan_away_is_dropped_and_so_is_all_that_follows() {
    let world = World::new();
    let daemon = world.daemon();
    for (number, (from, to, honest)) in (1..).zip([(SCANNER4, HOME4, CLIENT4), (SCANNER6, HOME6, CLIENT6)]) {
        let before = dropped(&daemon);
        let answered = world.scan_until_silence(from, to);
        let incident = &daemon.status()["recent_incidents"][0];
        assert_eq!(incident["packets"], answered + 1, "one packet had no answer, the last: {incident}");
        assert_eq!(dropped(&daemon), before + 1, "it was the queue that dropped it, and not yet the set");

        wait_until("the kernel holds the ban", || daemon.targets().len() == number);
        assert!(matches!(world.connect(from, to, 2000), Answer::Silence));
        assert_eq!(dropped(&daemon), before + 1, "what the set drops is not queued any more");

        assert!(
            matches!(world.connect(from, to, 80), Answer::Taken),
            "restricted, it reaches what is published"
        );
        assert!(matches!(world.connect(honest, to, 80), Answer::Taken));
        assert!(matches!(world.connect(honest, to, 2000), Answer::Refused), "a closed port is one");
    }
    assert_eq!(capture(&daemon)["lost"], 0);
}

#[test]
fn no_packet_of_a_burst_gets_through_between_the_packet_and_the_set() {
    let world = World::new();
    // Every answer to a probe, where the scanner is.
    world.pair.peer.sh("nft -f - <<'RULES'
table inet t {
    chain c {
        type filter hook prerouting priority 0;
        ip daddr 198.51.100.9 tcp flags & rst == rst counter
    }
}
RULES");
    let daemon = world.daemon();
    let expected = world.scan_until_silence(CLIENT4, HOME4);
    // As fast as one processor sends: hundreds are queued before the first transaction is done.
    world
        .pair
        .peer
        .sh(&format!("hping3 -q -S -p ++1000 -i u1 -c 2000 -a {SCANNER4} {HOME4} 2>/dev/null || true"));
    wait_until("both are banned", || daemon.targets().len() == 2);
    assert_eq!(counted(&world.pair.peer), expected, "as many answers as one by one");
    assert!(dropped(&daemon) > 2, "the set was not there yet");
    assert_eq!(capture(&daemon)["lost"], 0);
}

#[test]
fn whoever_is_protected_and_everybody_while_watching_is_let_through() {
    let world = World::new();
    let scan = |from: &str| {
        for port in 1000..1060 {
            assert!(matches!(world.connect(from, HOME4, port), Answer::Refused), "port {port} from {from}");
        }
    };
    let daemon = world.daemon();
    scan(PEER4);
    assert_eq!(dropped(&daemon), 0, "the gateway");
    daemon.stop(Signal::TERM);

    let allowed = Daemon::start(&world.pair.home, &format!("{CONFIG}allow: [{SCANNER4}]\n"));
    scan(SCANNER4);
    assert_eq!(dropped(&allowed), 0);
    assert_eq!(allowed.rules(), ["tcp-port-scan"], "and told nevertheless");
    allowed.stop(Signal::TERM);

    let dry = Daemon::start_with(&world.pair.home, Setup::new(CONFIG), &["--dry-run"]);
    scan(SCANNER4);
    assert_eq!((dry.targets(), dropped(&dry)), (vec![SCANNER4.to_owned()], 0), "it would have been banned");
    dry.stop(Signal::TERM);

    let watching = Daemon::start(&world.pair.home, &format!("{CONFIG}mode: watch\n"));
    scan(CLIENT4);
    assert_eq!((watching.targets(), dropped(&watching)), (vec![CLIENT4.to_owned()], 0));
}

#[test]
fn without_the_daemon_an_open_port_is_open_and_a_closed_one_closed() {
    let world = World::new();
    world.pair.home.sh("nft -f - <<'RULES'
table inet firewall {
    chain input {
        type filter hook input priority filter; policy drop;
        ct state established,related accept
        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
        tcp dport { 80, 81 } accept
    }
}
RULES");
    let behind = world.pair.home.enter(|| TcpListener::bind(("0.0.0.0", 8080)).unwrap());
    let as_the_firewall_says = |when: &str| {
        for (from, to) in [(CLIENT4, HOME4), (CLIENT6, HOME6)] {
            assert!(matches!(world.connect(from, to, 80), Answer::Taken), "open, {when}");
            assert!(
                matches!(world.connect(from, to, 81), Answer::Refused),
                "let in, and nobody there, {when}"
            );
        }
        assert!(matches!(world.connect(CLIENT4, HOME4, 8080), Answer::Silence), "refused, {when}");
    };
    as_the_firewall_says("before it runs");
    let daemon = world.daemon();
    as_the_firewall_says("while it runs");
    assert!(capture(&daemon)["packets"].as_u64().unwrap() >= 5);
    let setup = daemon.stop(Signal::TERM);
    assert_eq!(world.queue(), None);
    as_the_firewall_says("after it has stopped");
    Daemon::start_with(&world.pair.home, setup, &[]).kill();
    wait_until("the kernel has closed the queue", || world.queue().is_none());
    as_the_firewall_says("after it was killed");
    drop(behind);
}

#[test]
fn killed_it_loses_what_was_queued_and_nothing_else_and_stopped_nothing_at_all() {
    /// Connections that begin while nobody gives verdicts.
    const WAITING: u64 = 5;
    let world = World::new();
    // SYNs that the peer has sent, and those that have got past the queue.
    let count = |place: &Namespace, hook: &str| {
        place.sh(&format!(
            "nft 'add table inet t; add chain inet t c {{ type filter hook {hook} priority 10; }}; \
             add rule inet t c tcp dport 80 tcp flags & (syn | ack) == syn counter'"
        ));
    };
    count(&world.pair.peer, "output");
    count(&world.pair.home, "input");
    for signal in [Signal::TERM, Signal::KILL] {
        let lost_before = counted(&world.pair.peer) - counted(&world.pair.home);
        let daemon = world.daemon();
        let over = &AtomicBool::new(false);
        thread::scope(|scope| {
            let open = || world.connect(CLIENT4, HOME4, 80);
            daemon.signal(Signal::STOP);
            (0..WAITING).for_each(|_| drop(scope.spawn(open)));
            wait_until("they wait for their verdict", || world.queue().is_some_and(|(_, n)| n >= WAITING));
            daemon.signal(signal);
            if signal == Signal::TERM {
                // A flow of new connections, while it stops.
                scope.spawn(move || {
                    (0..2000).take_while(|_| !over.load(Ordering::Relaxed)).for_each(|_| {
                        open();
                    });
                });
                daemon.signal(Signal::CONT);
            }
            wait_until("the queue is closed", || world.queue().is_none());
            (0..20).for_each(|_| assert!(matches!(open(), Answer::Taken), "others pass"));
            over.store(true, Ordering::Relaxed);
        });
        let lost = counted(&world.pair.peer) - counted(&world.pair.home) - lost_before;
        match signal {
            Signal::TERM => assert_eq!(lost, 0, "a stop loses nothing"),
            // Who waits longer than a second sends its SYN again, and that waits, too.
            _ => assert!((WAITING..=2 * WAITING).contains(&lost), "{lost} are lost"),
        }
    }
}

#[test]
fn a_reload_keeps_the_queue_or_goes_to_another_one() {
    let world = World::new();
    let daemon = world.daemon();
    let owner = world.queue().unwrap().0;
    world.scan_until_silence(SCANNER4, HOME4);
    wait_until("it is restricted", || daemon.targets() == [SCANNER4]);

    daemon.setup().configure(&CONFIG.replace("443,", "443, 2000,"));
    assert_eq!(daemon.ask("reload").exit, Some(0));
    assert_eq!(world.queue().unwrap().0, owner, "the same socket");
    assert!(matches!(world.connect(SCANNER4, HOME4, 2000), Answer::Refused), "published now");

    daemon.setup().configure(&CONFIG.replace("queue: 100", "queues: 100-101"));
    assert_eq!(daemon.ask("reload").exit, Some(0));
    assert!(matches!(world.connect(CLIENT4, HOME4, 80), Answer::Taken));
    let sources: Vec<_> =
        daemon.status()["captures"].as_array().unwrap().iter().map(|one| text(&one["source"])).collect();
    assert_eq!(sources, ["nflog:100", "nfqueue:100", "nfqueue:101"]);

    daemon.setup().configure("capture: [{nflog: {group: 100}}]\n");
    assert_eq!(daemon.ask("reload").exit, Some(0));
    assert_eq!(world.queue(), None);
    assert!(matches!(world.connect(CLIENT4, HOME4, 80), Answer::Taken));
}

#[test]
fn a_queue_that_another_program_holds_is_an_error_with_its_remedy() {
    let world = World::new();
    world.pair.home.enter(|| {
        let _held = Capture::open(&[100]).unwrap();
        let setup = Setup::new(CONFIG);
        let answer = Daemon::refuses_to_start(&world.pair.home, &setup, Command::new(NFBAN));
        assert_eq!(answer.exit, Some(1), "{answer:?}");
        for word in
            ["NFQUEUE queue 100", "another program", "/proc/net/netfilter/nfnetlink_queue", "queue num 100"]
        {
            assert!(answer.err.contains(word), "{word}: {}", answer.err);
        }
        assert!(!world.pair.home.sh("nft list tables").contains("nfban"), "and nothing was changed");

        let daemon = Daemon::start(&world.pair.home, "capture: [{nflog: {group: 100}}]\n");
        daemon.setup().configure(CONFIG);
        let refused = daemon.ask("reload");
        assert_eq!(refused.exit, Some(78), "{refused:?}");
        assert!(refused.err.contains("another program"), "{}", refused.err);
        assert_eq!(daemon.status()["captures"].as_array().unwrap().len(), 1, "the old configuration goes on");
    });
}

#[test]
fn what_there_is_no_room_for_passes_and_is_counted() {
    const SENT: u64 = 30_000;
    let world = World::new();
    // What gets to the firewall, with or without a verdict.
    world.pair.home.sh("nft -f - <<'RULES'
table inet t {
    chain c {
        type filter hook input priority 10;
        udp dport 9999 counter drop
    }
}
RULES");
    let arrived = || counted(&world.pair.home);
    let daemon = world.daemon();
    daemon.signal(Signal::STOP);
    world
        .pair
        .peer
        .sh(&format!("hping3 -q --udp -p 9999 -i u1 -c {SENT} -a {SCANNER4} {HOME4} 2>/dev/null || true"));
    let mut waiting = 0;
    wait_until("all have arrived, or wait", || {
        waiting = world.queue().unwrap().1;
        arrived() + waiting >= SENT
    });
    let passed = arrived();
    assert!(passed > 0 && waiting > 1000, "{passed} have passed, {waiting} wait");
    daemon.signal(Signal::CONT);
    wait_until("those that waited have passed", || arrived() == SENT);
    // A gap shows with the next packet.
    assert!(matches!(world.connect(CLIENT4, HOME4, 80), Answer::Taken));
    let capture = capture(&daemon);
    assert_eq!(capture["packets"], waiting + 1, "{capture}");
    assert_eq!(capture["lost"], passed, "{capture}");
    assert!(capture["overruns"].as_u64().unwrap() >= 1, "{capture}");
    assert_eq!(capture["verdicts"]["dropped_by_kernel"], 0, "{capture}");
}

#[test]
fn both_families_and_several_queues_come_over_one_socket() {
    let home = Namespace::new();
    home.sh("iptables -t mangle -A PREROUTING -p udp --dport 9 -j NFQUEUE --queue-num 7 --queue-bypass && \
             ip6tables -t mangle -A PREROUTING -p udp --dport 9 -j NFQUEUE --queue-num 8 --queue-bypass");
    home.enter(|| {
        let mut capture = Capture::open(&[7, 8]).unwrap();
        let send = |to: &str| {
            let any: IpAddr = if to.contains(':') { [0; 16].into() } else { [0; 4].into() };
            std::net::UdpSocket::bind((any, 0)).unwrap().send_to(b"probe", (to, 9)).unwrap();
        };
        let mut seen = Vec::new();
        let mut receive = |capture: &mut Capture| {
            let each = |queued: Queued<'_>| {
                seen.push((queued.queue, queued.id, queued.payload.len(), queued.iif));
                Ruling::Accept
            };
            assert!(!capture.receive(each).unwrap(), "all is read");
        };
        send("127.0.0.1");
        receive(&mut capture);
        capture.begin().unwrap();
        ["127.0.0.1", "::1", "127.0.0.1"].into_iter().for_each(send);
        receive(&mut capture);
        assert_eq!(seen, [(7, 1, 33, 1), (8, 1, 53, 1), (7, 2, 33, 1)], "and none from before it began");
        assert_eq!(dropped_by_kernel(7).unwrap(), Some(0));
    });
}
