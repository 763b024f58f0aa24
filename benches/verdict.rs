//! What waiting for a verdict costs a new connection: connect(2) to an open port of a namespace next door, without the
//! queue and with it, alone and while others scan, with the real daemon.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a bench stops where its premises fail, and its numbers are small"
)]

#[path = "measure/bed.rs"]
mod bed;
mod measure;
#[path = "../tests/support/mod.rs"]
mod support;

use std::fmt::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bed::{Daemon, Sender, syn};
use measure::{machine, ms, quantile};
use rustix::net::{AddressFamily, SocketAddrV4, SocketFlags, SocketType, connect, socket_with, sockopt};
use support::{HOME4, Pair};

/// Connections of each row.
const CONNECTIONS: usize = 5_000;
const PORT: u16 = 80;
/// New connections a second of others, each from another address to a closed port.
const FLOOD: u32 = 10_000;
/// Scanners a second, each of which is restricted: a transaction each, and lines of log.
const SCANNERS: u32 = 100;
/// Privileged ports weigh 3 and `tcp-port-scan` fires at 24.
const PORTS: u16 = 8;

/// Bans that stand while they are listed.
const BANS: u32 = 100_000;

/// For this kernel's iptables: nftables' own `queue` statement is not everywhere.
const RULE: &str = "PREROUTING -i up0 -m conntrack --ctstate NEW -j NFQUEUE --queue-num 100 --queue-bypass";

/// How long [`CONNECTIONS`] connections took to be there, sorted. In the peer's namespace.
fn connections() -> Vec<Duration> {
    let home = SocketAddrV4::new(HOME4.parse().unwrap(), PORT);
    let one = || {
        let socket =
            socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        // Reset and not closed: no port stays taken.
        sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).unwrap();
        let start = Instant::now();
        connect(&socket, &home).expect("the port is open");
        start.elapsed()
    };
    (0..100).for_each(|_| {
        one();
    });
    let mut taken: Vec<_> = (0..CONNECTIONS).map(|_| one()).collect();
    taken.sort_unstable();
    taken
}

fn row(what: &str, pair: &Pair) {
    let taken = pair.peer.enter(connections);
    let [p50, p90, p99, max] = [0.5, 0.9, 0.99, 1.0].map(|q| ms(quantile(&taken, q)));
    println!("  {what:<34} {p50:>8} {p90:>8} {p99:>8} {max:>8}");
}

/// Sends packets at `rate` a second, the one of each number as `packet` makes it, while `work` is done; gives the rate
/// that it came to.
fn beside(sender: &Sender, rate: u32, packet: impl Fn(u32) -> Vec<u8> + Sync, work: impl FnOnce()) -> f64 {
    let (over, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0.. {
                let due = Duration::from_secs(1) * number / rate;
                if due > start.elapsed() {
                    thread::sleep(Duration::from_millis(1));
                }
                sender.send(&packet(number));
                sent.store(number.into(), Ordering::Relaxed);
                if over.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        work();
        over.store(true, Ordering::Relaxed);
    });
    sent.into_inner() as f64 / start.elapsed().as_secs_f64()
}

/// Has the daemon take in [`BANS`] bans of somebody else's.
fn fill(pair: &Pair, daemon: &Daemon) {
    let mut elements = String::from("add element inet nfban ban4 {");
    for number in 0..BANS {
        write!(elements, "{} timeout 1h,", Ipv4Addr::from(0x0c00_0000 + number)).unwrap();
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), elements + "}\n").unwrap();
    pair.home.sh(&format!("nft -f {}", file.path().display()));
    let all = usize::try_from(BANS).unwrap();
    support::wait_until("the bans are known", || {
        daemon.ask(&["bans", "--json"]).is_some_and(|lines| lines >= all)
    });
}

/// Lists all bans again and again while `work` is done; gives how often, and how long one took.
fn listing(daemon: &Daemon, work: impl FnOnce()) -> (u32, Duration) {
    let (over, start) = (AtomicBool::new(false), Instant::now());
    let times = thread::scope(|scope| {
        let lists = scope.spawn(|| {
            let mut times = 0;
            while times == 0 || !over.load(Ordering::Relaxed) {
                times += u32::from(daemon.ask(&["bans", "--json"]).is_some());
            }
            times
        });
        work();
        over.store(true, Ordering::Relaxed);
        lists.join().unwrap()
    });
    (times, start.elapsed() / times)
}

fn main() {
    println!("\nFrom connect(2) to the connection, through a cable between two namespaces: {}", machine());
    println!("(milliseconds; what the queue costs is the difference from the first row)");
    let pair = Pair::new();
    let listener = pair.home.enter(|| TcpListener::bind((HOME4, PORT)).unwrap());
    thread::spawn(move || listener.incoming().for_each(drop));
    println!("  {:<34} {:>8} {:>8} {:>8} {:>8}", "", "p50", "p90", "p99", "max");
    pair.home.sh("iptables -t mangle -A PREROUTING -i up0 -m conntrack --ctstate NEW");
    row("conntrack, no queue", &pair);
    pair.home.sh(&format!("iptables -t mangle -A {RULE}"));
    row("the rule, and nobody listens", &pair);
    let daemon = Daemon::start(&pair, "capture: [{nfqueue: {queue: 100}}]\nservices: [80]\n");
    row("the queue", &pair);
    let sender = Sender::new(&pair);
    let stranger = |number: u32| syn(Ipv4Addr::from(0x0a00_0000 + number).into(), 23);
    let rate = beside(&sender, FLOOD, stranger, || row("the queue, others knock", &pair));
    let scan = |number: u32| {
        let (scanner, port) = (number / u32::from(PORTS), number % u32::from(PORTS));
        syn(Ipv4Addr::from(0x0b00_0000 + scanner).into(), 1 + port as u16)
    };
    let scans =
        beside(&sender, SCANNERS * u32::from(PORTS), scan, || row("the queue, others are restricted", &pair));
    fill(&pair, &daemon);
    row("the queue, 100,000 bans stand", &pair);
    let (times, each) = listing(&daemon, || row("the queue, and they are listed", &pair));
    println!("  (all bans listed {times} times, {} ms each)", ms(each));
    println!(
        "  (others: {rate:.0} new connections a second; {:.0} scanners a second)",
        scans / f64::from(PORTS)
    );
}
