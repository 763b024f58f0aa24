//! From the packet that crosses the threshold to the ban in the kernel, with the real daemon in a namespace of its own.
//!
//! One thread stands at both ends: it sends the packet and then polls a socket that hears of every change of a set. So
//! a figure spans sendto(2), the cable, the ruleset, NFLOG, the daemon, the commit of its transaction and the kernel's
//! notice of it; the element is in force before that notice is sent.
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

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bed::{Daemon, Sender, syn};
use measure::{machine, ms, quantile};
use nfban::netlink::{Messages, Socket};
use support::Pair;

/// Bans of each address family, idle and under load.
const BANS: u32 = 200;
/// Privileged ports weigh 3 and `tcp-port-scan` fires at 24: so many packets, of which the last one counts.
const PORTS: u16 = 8;
/// Refused packets a second under load, none of them from a source that is banned.
const FLOOD: u32 = 50_000;
/// From so many sources, each at one port.
const FLOODERS: u32 = 20_000;
/// What is not there by then is reported as missing.
const LIMIT: Duration = Duration::from_secs(2);

/// `NFNLGRP_NFTABLES` is group 7.
const NFTABLES_GROUP: u32 = 1 << 6;
/// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWSETELEM`.
const NEWSETELEM: u16 = 10 << 8 | 12;

/// A firewall that refuses and logs everything. Without a rate limit on the logging, as the load is what is asked about.
const RULESET: &str = "
table inet filter {
    chain input {
        type filter hook input priority filter; policy accept;
        iif lo accept
        meta l4proto icmpv6 accept
        log prefix \"nfban:refused \" group 100 drop
    }
}";

/// Hears of elements that come into sets.
struct Monitor {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Monitor {
    fn open() -> Self {
        let socket = Socket::open(mnl::Bus::Netfilter, NFTABLES_GROUP).expect("a netlink socket");
        Self { socket, buffer: vec![0; 64 * 1024] }
    }

    /// Polls until a set has an element for `source`: when that was heard, or nothing after [`LIMIT`].
    fn hears_of(&mut self, source: IpAddr) -> Option<Instant> {
        let start = Instant::now();
        loop {
            let heard = self.socket.receive(&mut self.buffer);
            let now = Instant::now();
            match heard {
                Ok(datagram) if Messages::new(datagram).any(|message| adds(&message, source)) => {
                    return Some(now);
                }
                Err(_) if now - start > LIMIT => return None,
                Ok(_) => {}
                // Polling, but not in the way of whoever shares this processor.
                Err(_) => thread::yield_now(),
            }
        }
    }
}

/// Whether `message` tells of an element with the key of `source` in one of the daemon's sets.
fn adds(message: &nfban::netlink::Message<'_>, source: IpAddr) -> bool {
    let key = match source {
        IpAddr::V4(address) => address.octets().to_vec(),
        // The set holds the /64.
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) >> 64 << 64).octets().to_vec(),
    };
    // NFTA_SET_ELEM_LIST_SET is 2, NFTA_SET_ELEM_LIST_ELEMENTS 3; an element's key 1, the key's value 1.
    let attribute = |kind| message.attributes(4).find(|attribute| attribute.kind == kind);
    let ours = || attribute(2).is_some_and(|set| set.text().starts_with(b"restrict"));
    let is_key = |element: nfban::netlink::Attribute<'_>| {
        let value = element.nested().find(|part| part.kind == 1)?.nested().find(|part| part.kind == 1)?;
        Some(value.value == key)
    };
    message.kind == NEWSETELEM
        && ours()
        && attribute(3).is_some_and(|elements| elements.nested().any(|element| is_key(element) == Some(true)))
}

/// A source nobody has sent from yet.
fn fresh(number: u32, v6: bool) -> IpAddr {
    if v6 {
        Ipv6Addr::from(0x2001_0db8_a000_0000_0000_0000_0000_0001 + (u128::from(number) << 64)).into()
    } else {
        Ipv4Addr::from(0xc612_0001 + number).into() // 198.18.0.0/15, RFC 2544
    }
}

/// One ban: how long it took, or nothing if it did not come.
fn ban(sender: &Sender, monitor: &mut Monitor, source: IpAddr) -> Option<Duration> {
    let packets: Vec<_> = (1..=PORTS).map(|port| syn(source, port)).collect();
    let (last, before) = packets.split_last()?;
    before.iter().for_each(|packet| sender.send(packet));
    // The daemon has dealt with these and sleeps again: the last one meets it as the next scanner would.
    thread::sleep(Duration::from_millis(3));
    let sent = Instant::now();
    sender.send(last);
    monitor.hears_of(source).map(|heard| heard - sent)
}

fn measure_bans(what: &str, first: u32, sender: &Sender, monitor: &mut Monitor) {
    for (v6, family) in [(false, "IPv4"), (true, "IPv6")] {
        let taken: Vec<_> = (first..first + BANS).map(|n| ban(sender, monitor, fresh(n, v6))).collect();
        let mut sorted: Vec<Duration> = taken.iter().flatten().copied().collect();
        sorted.sort_unstable();
        if sorted.is_empty() {
            println!("  {what:<6} {family}  no ban came within {LIMIT:?}");
            continue;
        }
        let [p50, p90, p99, max] = [0.5, 0.9, 0.99, 1.0].map(|q| ms(quantile(&sorted, q)));
        let (came, missing) = (sorted.len(), taken.len() - sorted.len());
        println!("  {what:<6} {family} {came:>6} {missing:>8} {p50:>8} {p90:>8} {p99:>8} {max:>8}");
    }
}

/// Sends [`FLOOD`] packets a second while `work` is done; gives how many a second it really were.
fn under_flood(sender: &Sender, work: impl FnOnce()) -> f64 {
    let (over, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let packets: Vec<_> = (0..FLOODERS).map(|n| syn(Ipv4Addr::from(0x0a00_0000 + n).into(), 23)).collect();
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            for (number, packet) in packets.iter().cycle().enumerate() {
                let due = Duration::from_secs(1) * number as u32 / FLOOD;
                // Gathered to a millisecond: a processor that only waits is one less for the daemon.
                if due > start.elapsed() {
                    thread::sleep(Duration::from_millis(1));
                }
                sender.send(packet);
                sent.store(number as u64, Ordering::Relaxed);
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

fn main() {
    println!("\nFrom the packet that crosses the threshold to the ban in the kernel: {}", machine());
    println!(
        "(sendto, veth, ruleset, NFLOG, daemon, commit, notification; goal: p99 1 ms idle; milliseconds)"
    );
    let pair = Pair::new();
    pair.home.sh(&format!("nft -f - <<'END'\n{RULESET}\nEND"));
    let _daemon = Daemon::start(&pair, "services: []\n");
    let sender = Sender::new(&pair);
    pair.home.enter(|| {
        let mut monitor = Monitor::open();
        // The first packets find the neighbour and warm every cache on the way.
        for n in 0..20 {
            let _ = ban(&sender, &mut monitor, fresh(n, n % 2 == 1));
        }
        println!(
            "  {:<6} {:<4} {:>6} {:>8} {:>8} {:>8} {:>8} {:>8}",
            "", "", "bans", "missing", "p50", "p90", "p99", "max"
        );
        measure_bans("idle", 100, &sender, &mut monitor);
        let rate = under_flood(&sender, || measure_bans("loaded", 10_000, &sender, &mut monitor));
        println!("  (loaded: {rate:.0} refused packets a second from {FLOODERS} other sources)");
    });
}
