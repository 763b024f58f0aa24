//! What a packet costs in the core: decode, judge, count.
//!
//! `cargo bench --bench core` prints nanoseconds, and instructions where valgrind is there: these do not depend on what
//! else the machine does. `core count WORKLOAD PACKETS` is that fixed piece of work alone, for a profiler; it runs itself
//! so, and as `core memory WORKLOAD`.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a bench stops where its premises fail, and its numbers are small"
)]

mod measure;

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use measure::{machine, median, resident_kib};
use nfban::config::Config;
use nfban::config::rules::{SHIPPED, load};
use nfban::decode;
use nfban::detect::rule::Rule;
use nfban::detect::{Capacity, Detector, Seed};
use nfban::filter::{Class, Filter};
use nfban::host::HostFacts;
use nfban::packet::{Observation, Pkttype, Verdict};
use nfban::setup;
use nfban::time::Stamp;

/// Packets are made outside of the measured time, this many at once: few enough to stay in the cache, as the packet
/// that has just been received is.
const BATCH: usize = 1024;
/// The kernel puts about so many small packets into one netlink message while they come fast.
const MESSAGE: usize = 64;
/// A source knocks at so many ports, again and again: always counted, never an incident.
const PORTS: u32 = 3;

/// A decoded packet of at most 60 octets.
type Octets = ([u8; 60], usize);

/// Of ten sources seven send SYNs, two UDP datagrams, and one sends its SYNs over IPv6.
fn packet(source: u32, visit: u32) -> Octets {
    let dport = [23, 8080, 50_000][(visit % PORTS) as usize];
    let (udp, v6) = (source % 10 >= 7 && source % 10 < 9, source % 10 == 9);
    let (protocol, transport) = if udp { (17, 8_usize) } else { (6, 20) };
    let at = if v6 { 40 } else { 20 };
    let total = (at + transport) as u16;
    let mut octets = [0; 60];
    if v6 {
        octets[0] = 0x60;
        octets[4..6].copy_from_slice(&(transport as u16).to_be_bytes());
        (octets[6], octets[7]) = (protocol, 60);
        let net = 0x2001_0db8_0000_0000_u64 | u64::from(source);
        octets[8..24].copy_from_slice(&(u128::from(net) << 64 | 1).to_be_bytes());
        octets[24..40].copy_from_slice(&Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1).octets());
    } else {
        octets[0] = 0x45;
        octets[2..4].copy_from_slice(&total.to_be_bytes());
        (octets[8], octets[9]) = (60, protocol);
        octets[12..16].copy_from_slice(&(0x0a00_0000 ^ source).to_be_bytes());
        octets[16..20].copy_from_slice(&Ipv4Addr::new(203, 0, 113, 5).octets());
    }
    octets[at..at + 2].copy_from_slice(&40_000_u16.to_be_bytes());
    octets[at + 2..at + 4].copy_from_slice(&(dport as u16).to_be_bytes());
    if udp {
        octets[at + 4..at + 6].copy_from_slice(&8_u16.to_be_bytes());
    } else {
        (octets[at + 12], octets[at + 13]) = (5 << 4, 2);
    }
    (octets, usize::from(total))
}

/// Numbers in no order, the same on every run (xorshift, Marsaglia 2003).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (((self.0 >> 32) * u64::from(limit)) >> 32) as u32
    }
}

/// The engine's detector with a clock of its own: a microsecond a packet.
struct Core {
    detector: Detector,
    clock_us: u64,
}

impl Core {
    fn new(rules: &[Rule], capacity: Capacity) -> Self {
        let config = Config::default();
        let settings = setup::engine(&config, &HostFacts::default());
        let ruleset = setup::ruleset(&config, rules).unwrap();
        let detector = Detector::new(ruleset, settings.surroundings, settings.widths, capacity, Seed::Fixed);
        Self { detector, clock_us: 1_000_000_000 }
    }

    /// One with `sources` tracked sources, each at its full number of ports.
    fn knowing(sources: u32, rules: &[Rule], capacity: Capacity) -> Self {
        let mut core = Self::new(rules, capacity);
        for source in 0..sources {
            (0..PORTS).for_each(|visit| core.take(&packet(source, visit)));
        }
        assert_eq!(core.detector.occupancy()[0].tracked, sources, "every source is tracked");
        core
    }

    fn take(&mut self, (octets, length): &Octets) {
        let packet = decode::ip(&octets[..*length], None).unwrap();
        self.clock_us += 1;
        let at = Stamp { boot: Duration::from_micros(self.clock_us), wall_us: self.clock_us as i64 };
        let observation = Observation {
            packet,
            verdict: Verdict::Refused,
            pkttype: Pkttype::Unicast,
            iif: "eth0",
            oif: "",
            prefix: b"nfban:refused",
            fault: None,
        };
        let _ = black_box(self.detector.observe(&observation, at));
    }

    /// The packets of one netlink message, as the daemon takes them.
    fn take_message(&mut self, packets: &[Octets]) {
        let sources = packets.iter().filter_map(|(octets, length)| decode::source(&octets[..*length]));
        self.detector.anticipate(sources);
        packets.iter().for_each(|packet| self.take(packet));
    }

    /// Median nanoseconds a packet over `batches` batches of what `next` makes.
    fn ns(&mut self, batches: usize, mut next: impl FnMut() -> Octets) -> f64 {
        let samples = (0..batches).map(|_| {
            let packets: Vec<Octets> = (0..BATCH).map(|_| next()).collect();
            let start = Instant::now();
            packets.chunks(MESSAGE).for_each(|message| self.take_message(message));
            start.elapsed().as_nanos() as f64 / BATCH as f64
        });
        let samples = median(samples.collect());
        assert_eq!(self.detector.open_incidents(), 0, "nothing of this is an incident");
        samples
    }
}

fn decode_ns(batches: usize) -> f64 {
    let mut random = Random(1);
    let samples = (0..batches).map(|_| {
        let packets: Vec<Octets> = (0..BATCH).map(|_| packet(random.below(100_000), 0)).collect();
        let start = Instant::now();
        for (octets, length) in &packets {
            let _ = black_box(decode::ip(black_box(&octets[..*length]), None));
        }
        start.elapsed().as_nanos() as f64 / BATCH as f64
    });
    median(samples.collect())
}

/// A packet of a random one of `sources`.
fn known(sources: u32) -> impl FnMut() -> Octets {
    let mut random = Random(2);
    move || packet(random.below(sources), random.below(PORTS))
}

/// A packet of a source never seen before: the next address each time.
fn forged() -> impl FnMut() -> Octets {
    let mut source = 0x0010_0000;
    move || {
        source += 1;
        packet(source, 0)
    }
}

/// The same with sources of any network.
fn scattered() -> impl FnMut() -> Octets {
    let mut number = 0_u32;
    move || {
        number += 1;
        // No two numbers give the same product: the factor is odd (Fibonacci hashing, Knuth 6.4).
        packet(number.wrapping_mul(0x9e37_79b1) & 0x7fff_ffff, 0)
    }
}

fn shipped() -> Vec<Rule> {
    load(SHIPPED, Path::new("/nonexistent")).unwrap()
}

/// The shipped rules after 200 that look at the same classes and match no packet of these workloads.
fn with_200(filter: impl Fn(u16) -> Filter) -> Vec<Rule> {
    let shipped = shipped();
    let scan = shipped.iter().find(|rule| rule.id == "tcp-port-scan").unwrap();
    let extra =
        (0..200).map(|n| Rule { id: format!("extra-{n}"), raw_id: None, filter: filter(n), ..scan.clone() });
    extra.chain(shipped.clone()).collect()
}

fn other_ports(n: u16) -> Filter {
    Filter { class: vec![Class::Syn, Class::Udp], dport: vec![10_000 + n..=10_000 + n], ..Filter::default() }
}

fn other_networks(n: u16) -> Filter {
    let [high, low] = n.to_be_bytes();
    let net = IpAddr::from([198, 18 + high, low, 0]);
    Filter {
        class: vec![Class::Syn, Class::Udp],
        saddr: vec![ipnet::IpNet::new(net, 24).unwrap()],
        ..Filter::default()
    }
}

/// Room for 100,000 tracked sources; the default has room for fewer.
const ROOM: Capacity = Capacity { probation: 98_304, tracked: 131_072, sightings: 2_000_000 };

/// What `count` runs: enough tracked sources that the table works as a full one, few enough for an emulator.
fn count(workload: &str, packets: usize) {
    const SOURCES: u32 = 2_000;
    let run = |rules: &[Rule], next: &mut dyn FnMut() -> Octets| {
        let mut core =
            Core::knowing(SOURCES, rules, Capacity { probation: 4_096, tracked: 4_096, sightings: 65_536 });
        for _ in 0..packets.div_ceil(MESSAGE) {
            let message: Vec<Octets> = (0..MESSAGE).map(|_| next()).collect();
            core.take_message(&message);
        }
    };
    match workload {
        "make" => {
            let mut next = known(SOURCES);
            for _ in 0..packets.div_ceil(MESSAGE) {
                black_box((0..MESSAGE).map(|_| next()).collect::<Vec<Octets>>());
            }
        }
        "decode" => {
            let mut next = known(SOURCES);
            for _ in 0..packets {
                let (octets, length) = next();
                let _ = black_box(decode::ip(black_box(&octets[..length]), None));
            }
        }
        "known" => run(&shipped(), &mut known(SOURCES)),
        "ports" => run(&with_200(other_ports), &mut known(SOURCES)),
        "networks" => run(&with_200(other_networks), &mut known(SOURCES)),
        "forged" => run(&shipped(), &mut forged()),
        "scattered" => run(&shipped(), &mut scattered()),
        other => panic!("no workload {other}"),
    }
}

/// Instructions of this program doing `count`, as callgrind sums them up.
fn instructions_of(workload: &str, packets: u32) -> f64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().unwrap())
        .args(["count", workload, &packets.to_string()])
        .output()
        .expect("valgrind runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let collected = text.lines().find_map(|line| line.split_once("Collected : ")).expect("callgrind's sum");
    collected.1.trim().parse().expect("a number of instructions")
}

/// Instructions a packet: two runs of different length, so that what both do once cancels out.
fn instructions(workload: &str) -> f64 {
    const PACKETS: u32 = 20_000;
    let each = |workload| {
        (instructions_of(workload, 2 * PACKETS) - instructions_of(workload, PACKETS)) / f64::from(PACKETS)
    };
    each(workload) - each("make")
}

fn row(what: &str, figure: &str, goal: &str) {
    println!("  {what:<58} {figure:>12}   {goal}");
}

fn print_instructions() {
    println!("instructions a packet (callgrind, 2,000 tracked sources)");
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("  valgrind is not installed: apt-get install valgrind, or scripts/setup bench");
        return;
    }
    let known = instructions("known");
    row("decode", &format!("{:.0}", instructions("decode")), "");
    row("decode and detect, known sources", &format!("{known:.0}"), "");
    for (workload, what) in [
        ("ports", "the same with 200 rules for other ports"),
        ("networks", "the same with 200 rules for other source networks"),
        ("forged", "decode and detect, a new source each packet"),
        ("scattered", "the same, sources of any network"),
    ] {
        let more = instructions(workload);
        row(what, &format!("{more:.0}"), &format!("{:.2} x", more / known));
    }
}

fn print_times() {
    const BATCHES: usize = 1000;
    const SOURCES: u32 = 100_000;
    println!("nanoseconds a packet (median of {BATCHES} batches of {BATCH}), {SOURCES} tracked sources");
    row("decode", &format!("{:.1}", decode_ns(BATCHES)), "");
    let known_ns = {
        let mut core = Core::knowing(SOURCES, &shipped(), ROOM);
        core.ns(BATCHES, known(SOURCES))
    };
    row("decode and detect", &format!("{known_ns:.1}"), "goal: at most 150");
    for (what, filter) in [
        ("the same with 200 rules for other ports", other_ports as fn(u16) -> Filter),
        ("the same with 200 rules for other source networks", other_networks),
    ] {
        let ns = Core::knowing(SOURCES, &with_200(filter), ROOM).ns(BATCHES, known(SOURCES));
        let more = format!("{:+.0} %; goal: less than +20 %", (ns / known_ns - 1.0) * 100.0);
        row(what, &format!("{ns:.1}"), &more);
    }
}

/// Sources that are tracked while forged ones come.
const TRACKED: u32 = 30_000;
const FORGED: usize = 1_000_000 / BATCH;

/// Resident MiB of tracked sources in the default table, and what a million forged ones add to it.
fn memory(next: impl FnMut() -> Octets) -> (f64, f64) {
    let mib = |kib: u64| kib as f64 / 1024.0;
    let before = resident_kib();
    let mut core = Core::knowing(TRACKED, &shipped(), Capacity::default());
    let filled = resident_kib();
    core.ns(FORGED, next);
    (mib(filled.saturating_sub(before)), mib(resident_kib().saturating_sub(filled)))
}

/// The same in a process of its own: memory that was freed is still resident.
fn memory_of(workload: &str) -> (f64, f64) {
    let output =
        Command::new(std::env::current_exe().unwrap()).args(["memory", workload]).output().expect("runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let mut numbers = text.split_whitespace().map(|word| word.parse().expect("a number"));
    (numbers.next().unwrap(), numbers.next().unwrap())
}

fn print_forged() {
    println!("a million packets against the default table, {TRACKED} of whose sources are tracked");
    let mut core = Core::knowing(TRACKED, &shipped(), Capacity::default());
    let known_ns = core.ns(FORGED, known(TRACKED));
    row("from known sources, ns a packet", &format!("{known_ns:.1}"), "");
    let ratio = |ns: f64| format!("{:.2} x; goal: at most 3 x", ns / known_ns);
    let forged_ns = core.ns(FORGED, forged());
    row("each from a source never seen before, ns a packet", &format!("{forged_ns:.1}"), &ratio(forged_ns));
    let scattered_ns = core.ns(FORGED, scattered());
    row("the same, sources of any network", &format!("{scattered_ns:.1}"), &ratio(scattered_ns));
    // Of the scattered addresses a few have come twice by chance.
    assert!(core.detector.occupancy()[0].tracked >= TRACKED, "no known source was pushed out");
    let (known, raised) = memory_of("forged");
    row("resident memory of the known sources, MiB", &format!("{known:.1}"), "");
    row("raised by the forged ones, MiB", &format!("{raised:.1}"), "goal: at most 64");
    row(
        "raised by those of any network, MiB",
        &format!("{:.1}", memory_of("scattered").1),
        "goal: at most 64",
    );
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, mode, workload, packets] = arguments.as_slice()
        && mode == "count"
    {
        return count(workload, packets.parse().expect("a number of packets"));
    }
    if let [_, mode, workload] = arguments.as_slice()
        && mode == "memory"
    {
        let (known, raised) = if workload == "forged" { memory(forged()) } else { memory(scattered()) };
        println!("{known} {raised}");
        return;
    }
    println!("\nThe core: {}", machine());
    print_forged();
    print_times();
    print_instructions();
}
