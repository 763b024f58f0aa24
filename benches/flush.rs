//! From the flush of the ruleset until all bans are back, and from the start of the daemon until those of before are.
//!
//! Another program's `nft flush ruleset` is stood for by one transaction over a netlink socket, so that a figure begins with
//! its commit and not with the start of a process. What comes back is counted as the kernel tells it.
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
use nfban::netlink::{Batch, Header, Message, Messages, Socket};
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
const PAUSE: Duration = Duration::from_millis(600);

/// `NFNLGRP_NFTABLES` is group 7.
const NFTABLES_GROUP: u32 = 1 << 6;
/// `NFNL_SUBSYS_NFTABLES << 8`, `NFT_MSG_DELTABLE`, `NFT_MSG_NEWRULE`, `NFT_MSG_NEWSETELEM`; `NFNL_MSG_BATCH_BEGIN` and `_END`.
const NFTABLES: u16 = 10 << 8;
const DELTABLE: u16 = NFTABLES | 2;
const NEWRULE: u16 = NFTABLES | 6;
const NEWSETELEM: u16 = NFTABLES | 12;
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

/// Hears what comes back: when the first rule was there, and when the first [`FIRST`] elements and all of them were.
struct Monitor {
    socket: Socket,
    buffer: Vec<u8>,
}

struct Back {
    rules: Duration,
    first: Duration,
    all: Duration,
}

impl Monitor {
    fn open() -> Self {
        let socket = Socket::open(mnl::Bus::Netfilter, NFTABLES_GROUP).expect("a netlink socket");
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, 256 << 20)
            .expect("a large receive buffer");
        Self { socket, buffer: vec![0; 64 * 1024] }
    }

    fn drain(&mut self) {
        while self.socket.receive(&mut self.buffer).is_ok() {}
    }

    fn back(&mut self, bans: usize, since: Instant) -> Option<Back> {
        let (mut rules, mut first, mut elements) = (None, None, 0);
        while since.elapsed() < LIMIT {
            let Ok(datagram) = self.socket.receive(&mut self.buffer) else {
                thread::yield_now();
                continue;
            };
            for message in Messages::new(datagram) {
                if message.kind == NEWRULE {
                    rules.get_or_insert_with(|| since.elapsed());
                }
                elements += usize::from(is_ban(&message));
            }
            if elements >= FIRST.min(bans) {
                first.get_or_insert_with(|| since.elapsed());
            }
            if elements >= bans {
                return Some(Back { rules: rules?, first: first?, all: since.elapsed() });
            }
        }
        None
    }
}

/// Whether a message tells of an element of set restrict4.
fn is_ban(message: &Message<'_>) -> bool {
    message.kind == NEWSETELEM
        && message.attributes(4).any(|attribute| attribute.kind == 2 && attribute.text() == b"restrict4")
}

/// Puts so many restrictions into the kernel, which the daemon takes in as what an earlier run or another program left.
fn fill(home: &Namespace, daemon: &Daemon, bans: usize) {
    let mut file = String::from("add element inet nfban restrict4 {");
    for number in 0..bans as u32 {
        write!(file, "{} timeout 7d comment \"tcp-syn-scan\",", Ipv4Addr::from(0x0a00_0000 + number))
            .unwrap();
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
    let mut backs = home.enter(|| {
        let other = Socket::open(mnl::Bus::Netfilter, 0).unwrap();
        let mut monitor = Monitor::open();
        let mut pause = PAUSE;
        (0..flushes)
            .filter_map(|_| {
                thread::sleep(pause);
                monitor.drain();
                let since = Instant::now();
                flush(&other);
                let back = monitor.back(bans, since);
                pause = PAUSE.max(since.elapsed() * 6);
                back
            })
            .collect::<Vec<_>>()
    });
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
}

/// From the start of the daemon until so many bans of an earlier run are back in a kernel that has lost them.
fn measure_start(bans: usize) {
    let home = Namespace::new();
    let daemon = Daemon::start(&home, "ban: {max: 200000}\n");
    fill(&home, &daemon, bans);
    let setup = daemon.stop(Signal::TERM);
    home.sh("nft flush ruleset");
    let started = home.enter(|| {
        let mut monitor = Monitor::open();
        let since = Instant::now();
        thread::scope(|scope| {
            // Dropped, and so killed, once it answers: by then all is back.
            scope.spawn(|| Daemon::start_with(&home, setup, &[]));
            monitor.back(bans, since)
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
