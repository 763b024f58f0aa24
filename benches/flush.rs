//! From the flush of the ruleset until all bans are back, and from the start of the daemon until those of before are.
//!
//! Another program's `nft flush ruleset` is stood for by one transaction over a netlink socket, so that a figure begins with
//! its commit and not with the start of a process. Single elements are asked for until they are back.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a bench stops where its premises fail, and its numbers are small"
)]

mod measure;
#[path = "../tests/support/mod.rs"]
mod support;

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use measure::{machine, ms, quantile};
use nfban::netlink::{Batch, Header, Message, Messages, NLMSG_ERROR, Socket};
use rustix::process::Signal;
use support::daemon::Daemon;
use support::{Namespace, wait_until};

/// Flushes of 1,000 and of 10,000 bans.
const FLUSHES: usize = 100;
/// Those of 100,000, which take longer.
const LARGE_FLUSHES: usize = 5;
/// So many of 100,000 are to be back first.
const FIRST: usize = 4000;
/// What is not there by then is missing.
const LIMIT: Duration = Duration::from_secs(20);
/// Between two flushes, and six times as long as it took to put all back: the daemon takes what follows faster for a
/// loop, and waits.
const PAUSE: Duration = Duration::from_millis(800);

/// `NFNL_SUBSYS_NFTABLES << 8`, `NFT_MSG_DELTABLE`, `NFT_MSG_GETCHAIN`, `NFT_MSG_GETSETELEM`; `NFNL_MSG_BATCH_BEGIN` and `_END`.
const NFTABLES: u16 = 10 << 8;
const DELTABLE: u16 = NFTABLES | 2;
const GETCHAIN: u16 = NFTABLES | 4;
const GETSETELEM: u16 = NFTABLES | 13;
/// `struct nfgenmsg` with `NFPROTO_INET`.
const INET: [u8; 4] = [1, 0, 0, 0];
const BATCH: [u16; 2] = [0x10, 0x11];

/// Deletes all tables there are, as `nft flush ruleset` does.
fn flush(socket: &Socket) {
    let mut batch = Batch::default();
    let header = |kind, sequence| Header { kind, flags: 1, sequence };
    batch.message(header(BATCH[0], 1), &[0, 0, 0, 10], |_| ());
    batch.message(header(DELTABLE, 2), &[0; 4], |_| ());
    batch.message(header(BATCH[1], 3), &[0, 0, 0, 10], |_| ());
    socket.send(&batch).unwrap();
}

/// Asks again and again what is back: when the first chain was there, the first [`FIRST`] elements and all of them. Single
/// questions wait for no transaction and none waits for them, where a listener would have the kernel tell every element
/// once more.
struct Probe {
    socket: Socket,
    buffer: Vec<u8>,
}

struct Back {
    rules: Duration,
    first: Duration,
    all: Duration,
}

impl Probe {
    fn open() -> Self {
        let socket = Socket::open(mnl::Bus::Netfilter, 0).expect("a netlink socket");
        Self { socket, buffer: vec![0; 64 * 1024] }
    }

    /// Whether the kernel answers with what was asked for, and not with an error.
    fn is_there(&mut self, kind: u16, body: impl FnOnce(&mut Batch)) -> bool {
        let mut question = Batch::default();
        question.message(Header { kind, flags: 1, sequence: 1 }, &INET, body);
        self.socket.send(&question).unwrap();
        let answer = self.socket.receive(&mut self.buffer).unwrap();
        Messages::new(answer).all(|message| message.kind != NLMSG_ERROR)
    }

    fn has_chain(&mut self) -> bool {
        self.is_there(GETCHAIN, |m| {
            m.text(1, "nfban");
            m.text(3, "restrict");
        })
    }

    /// Whether the restriction number so much is in its set.
    fn has(&mut self, number: usize) -> bool {
        self.is_there(GETSETELEM, |m| {
            of_set(m);
            m.nest(3, |list| {
                list.nest(1, |element| element.nest(1, |key| key.attribute(1, &address(number).octets())));
            });
        })
    }

    /// How many elements the set has.
    fn count(&self) -> usize {
        let mut question = Batch::default();
        question.message(Header { kind: GETSETELEM, flags: 0x301, sequence: 1 }, &INET, of_set);
        let mut count = 0;
        let lists = |message: Message<'_>| {
            let lists = message.attributes(4).filter(|attribute| attribute.kind == 3);
            count += lists.map(|list| list.nested().count()).sum::<usize>();
        };
        self.socket.dump(&question, lists).unwrap();
        count
    }

    /// The newest come first, which are those of the highest numbers.
    fn back(&mut self, bans: usize, since: Instant) -> Option<Back> {
        let rules = wait_for(since, || self.has_chain())?;
        let first = wait_for(since, || self.has(bans.saturating_sub(FIRST)))?;
        let all = wait_for(since, || self.has(0))?;
        assert_eq!(self.count(), bans);
        Some(Back { rules, first, all })
    }
}

/// How long since `since` it took until `is_so`.
fn wait_for(since: Instant, mut is_so: impl FnMut() -> bool) -> Option<Duration> {
    while since.elapsed() < LIMIT {
        if is_so() {
            return Some(since.elapsed());
        }
        thread::sleep(Duration::from_micros(200));
    }
    None
}

/// Names the set of restricted IPv4 sources.
fn of_set(message: &mut Batch) {
    message.text(1, "nfban");
    message.text(2, "restrict4");
}

fn address(number: usize) -> Ipv4Addr {
    Ipv4Addr::from(0x0a00_0000 + number as u32)
}

/// Puts so many restrictions into the kernel, which the daemon takes in as what an earlier run or another program left.
fn fill(home: &Namespace, daemon: &Daemon, bans: usize) {
    let mut file = String::from("add element inet nfban restrict4 {");
    for number in 0..bans {
        write!(file, "{} timeout 7d comment \"tcp-syn-scan\",", address(number)).unwrap();
    }
    file.push_str("}\n");
    let path = daemon.setup().folder().join("fill.nft");
    std::fs::write(&path, file).unwrap();
    home.sh(&format!("nft -f {}", path.display()));
    wait_until("the daemon has taken them in", || daemon.log().contains("taken in"));
    assert_eq!(daemon.bans().len(), bans);
}

fn measure_flushes(bans: usize, flushes: usize) {
    let home = Namespace::new();
    let daemon = Daemon::start(&home, "ban: {max: 200000}\n");
    fill(&home, &daemon, bans);
    let cpu = daemon.cpu_time();
    let mut backs = home.enter(|| {
        let other = Socket::open(mnl::Bus::Netfilter, 0).unwrap();
        let mut probe = Probe::open();
        let mut pause = PAUSE;
        (0..flushes)
            .filter_map(|_| {
                thread::sleep(pause);
                let since = Instant::now();
                flush(&other);
                let back = probe.back(bans, since);
                pause = PAUSE.max(since.elapsed() * 6);
                back
            })
            .collect::<Vec<_>>()
    });
    let cpu = (daemon.cpu_time() - cpu) / flushes as u32;
    let missing = flushes - backs.len();
    let mut column = |what: &str, of: fn(&Back) -> Duration| {
        backs.sort_unstable_by_key(of);
        let sorted: Vec<_> = backs.iter().map(of).collect();
        if sorted.is_empty() {
            return;
        }
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|q| ms(quantile(&sorted, q)));
        println!("  {bans:>7} {what:<12} {flushes:>7} {missing:>7} {p50:>9} {p99:>9} {max:>9}");
    };
    column("chains", |back| back.rules);
    if bans > FIRST {
        column("newest 4000", |back| back.first);
    }
    column("all", |back| back.all);
    println!("  {bans:>7} CPU time of the daemon's thread a flush: {} ms", ms(cpu));
}

/// From the start of the daemon until so many bans of an earlier run are back in a kernel that has lost them.
fn measure_start(bans: usize) {
    let home = Namespace::new();
    let daemon = Daemon::start(&home, "ban: {max: 200000}\n");
    fill(&home, &daemon, bans);
    let setup = daemon.stop(Signal::TERM);
    home.sh("nft flush ruleset");
    let started = home.enter(|| {
        let mut probe = Probe::open();
        let since = Instant::now();
        thread::scope(|scope| {
            // Killed when dropped, which is when all is back.
            let daemon = scope.spawn(|| Daemon::start_with(&home, setup, &[]));
            let back = probe.back(bans, since);
            drop(daemon.join());
            back
        })
    });
    match started {
        Some(back) => println!(
            "  {bans} stored bans after a reboot: the newest {FIRST} in the kernel {} ms after the start, all {} ms (goal: 2 s)",
            ms(back.first),
            ms(back.all)
        ),
        None => println!("  {bans} stored bans after a reboot: not all in the kernel after {LIMIT:?}"),
    }
}

fn main() {
    println!("\nFrom a flush of the ruleset to restricted sources being restricted again: {}", machine());
    println!(
        "(goals: all of 10,000 at p99 100 ms; of 100,000 chains and the newest 4,000 in 100 ms, all in 1 s; milliseconds)"
    );
    println!(
        "  {:>7} {:<12} {:>7} {:>7} {:>9} {:>9} {:>9}",
        "bans", "", "flushes", "missing", "p50", "p99", "max"
    );
    for (bans, flushes) in [(1_000, FLUSHES), (10_000, FLUSHES), (100_000, LARGE_FLUSHES)] {
        measure_flushes(bans, flushes);
    }
    measure_start(100_000);
}
