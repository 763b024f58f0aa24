//! The fifty scans, and what is right to say of each.

use std::net::IpAddr;

use ipnet::IpNet;
use nfban::packet::{Pkttype, TcpFlags as F, Verdict};

use super::HONEST;
use super::clients;
use super::packet::{Cut, OPTIONS_MSS, Style, Tcp};
use super::random::{Random, mix};
use super::stage::{
    DAY, HOUR, MINUTE, MS, SECOND, Slots, Stage, TRAP_HOST, TRAPS, WEEK, member, ours, ours_like, ours6,
    public, public6, published,
};

/// A scan that was hidden.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) name: &'static str,
    /// Rule ids of which one must be reported.
    pub(crate) right: &'static [&'static str],
    /// Who: an address, the /64 of an IPv6 one, or a prefix where many share in it.
    pub(crate) source: IpNet,
    /// When its first and last packet come, in microseconds of the week.
    pub(crate) span: (u64, u64),
    pub(crate) packets: u64,
}

/// A scan to be hidden: it plays from a time on and tells its source.
struct Plan {
    name: &'static str,
    right: &'static [&'static str],
    /// It begins so long before the end of the week, or longer.
    lasts: u64,
    play: fn(&mut Stage<'_>, u64) -> IpNet,
}

const fn plan(
    name: &'static str,
    right: &'static [&'static str],
    lasts: u64,
    play: fn(&mut Stage<'_>, u64) -> IpNet,
) -> Plan {
    Plan { name, right, lasts, play }
}

const SYN: &[&str] = &["tcp-syn-scan"];
const CONNECT: &[&str] = &["tcp-port-scan"];
const EITHER: &[&str] = &["tcp-port-scan", "tcp-syn-scan"];
const SWEEP: &[&str] = &["host-sweep"];
const SLOW: &[&str] = &["slow-scan"];
const MANY: &[&str] = &["distributed-scan"];
const FRAGMENTS: &[&str] = &["fragment-attack"];
const OUT: &[&str] = &["outbound-scan"];

/// All of them. A scan's number here is a part of its seed.
const PLANS: [Plan; 50] = [
    plan("SYN scan of 1000 ports, 300/s", SYN, HOUR, |s, at| syn_scan(s, at, Style::Nmap, 1000, 3300)),
    plan("masscan of 6000 ports, 1000/s", SYN, HOUR, |s, at| syn_scan(s, at, Style::Masscan, 6000, 1000)),
    plan("SYN scan of 60 ports, 1/s", SYN, HOUR, |s, at| syn_scan(s, at, Style::Zmap, 60, 1_000_000)),
    plan("connect scan of 200 ports, 20/s", CONNECT, HOUR, |s, at| {
        syn_scan(s, at, Style::Linux, 200, 50_000)
    }),
    plan("connect scan of 40 ports, one every 10 s", CONNECT, HOUR, |s, at| {
        syn_scan(s, at, Style::Windows, 40, 10_000_000)
    }),
    plan("SYN scan by a subscriber behind a translator", SYN, HOUR, translated),
    plan("SYN scan of published ports first", SYN, HOUR, famous_first),
    plan("UDP scan over IPv6", &["udp-scan"], HOUR, |s, at| udp_scan(s, at, true, 40_113, 0, 200 * MS)),
    plan("FIN scan", &["tcp-fin-scan"], HOUR, |s, at| flag_scan(s, at, F::FIN, 40_113, 5 * MS)),
    plan("NULL scan", &["tcp-null-scan"], HOUR, |s, at| flag_scan(s, at, 0, 40_113, 5 * MS)),
    plan("Xmas scan, one port every 15 s", &["tcp-xmas-scan"], HOUR, |s, at| {
        flag_scan(s, at, F::FIN | F::PSH | F::URG, 51_002, 15 * SECOND)
    }),
    plan("Maimon scan", &["tcp-maimon-scan"], HOUR, |s, at| {
        flag_scan(s, at, F::FIN | F::ACK, 40_113, 20 * MS)
    }),
    plan("ACK scan", &["tcp-ack-scan"], HOUR, |s, at| flag_scan(s, at, F::ACK, 40_113, 20 * MS)),
    plan("window scan with -g 443, 1/s", &["tcp-ack-scan"], HOUR, |s, at| {
        flag_scan(s, at, F::ACK, 443, SECOND)
    }),
    plan("SYN+FIN scan", &["tcp-bogus-flags"], HOUR, |s, at| {
        flag_scan(s, at, F::SYN | F::FIN, 40_113, 50 * MS)
    }),
    plan("first fragments too small for TCP", FRAGMENTS, HOUR, |s, at| fragments(s, at, Shape::Tiny)),
    plan("two probes of each impossible kind", &["tcp-bogus-flags", "tcp-port-scan"], HOUR, impossible_mix),
    plan("SYN, ACK and Maimon probes, each kind below its threshold", EITHER, HOUR, possible_mix),
    plan("UDP scan with empty datagrams, 1/s", &["udp-scan"], HOUR, |s, at| {
        udp_scan(s, at, false, 40_113, 0, SECOND)
    }),
    plan("UDP scan of low ports with -g 53 and data", &["udp-scan"], HOUR, |s, at| {
        udp_scan(s, at, false, 53, 24, 400 * MS)
    }),
    plan("IP protocol scan", &["ip-protocol-scan"], HOUR, protocol_scan),
    plan("ping sweep of the /24", SWEEP, HOUR, ping_sweep),
    plan("sweep of a closed port, 445", SWEEP, HOUR, |s, at| sweep(s, at, Style::Masscan, 445, 40 * MS, 254)),
    plan("sweep of a closed port, one host every 4 s", SWEEP, HOUR, |s, at| {
        sweep(s, at, Style::Linux, 5985, 4 * SECOND, 60)
    }),
    plan("sweep of an open port, 22", SWEEP, HOUR, |s, at| sweep(s, at, Style::Zmap, 22, 50 * MS, 254)),
    plan("sweep of the open web, 443", SWEEP, HOUR, |s, at| sweep(s, at, Style::Zmap, 443, 50 * MS, 254)),
    plan("UDP sweep of 161", SWEEP, HOUR, udp_sweep),
    plan("nine hosts by nine ports", EITHER, HOUR, |s, at| grid(s, at, 9, 9)),
    plan("eight hosts by five ports", EITHER, HOUR, |s, at| grid(s, at, 8, 5)),
    plan("one port a minute", SLOW, 2 * HOUR, |s, at| slow(s, at, 60, MINUTE, false)),
    plan("one port an hour", SLOW, 3 * DAY, |s, at| slow(s, at, 60, HOUR, false)),
    plan("one port in three hours, by turns UDP", SLOW, 6 * DAY, |s, at| slow(s, at, 46, 3 * HOUR, true)),
    plan("120 ports from 60 addresses of a /24", MANY, HOUR, distributed4),
    plan("one port an address, from a /64", MANY, HOUR, |s, at| distributed6(s, at, 64)),
    plan("one port a /64, from a /48", MANY, HOUR, |s, at| distributed6(s, at, 48)),
    plan("open port from 500 addresses of a /64", MANY, HOUR, many_addresses),
    plan("SYN flood of an open port", &["syn-flood"], HOUR, |s, at| syn_flood(s, at, 443)),
    plan("SYN flood of a closed port", &["syn-flood"], HOUR, |s, at| syn_flood(s, at, 9999)),
    plan("ping flood", &["icmp-ping-flood"], HOUR, ping_flood),
    plan("UDP flood of one port", &["udp-flood"], HOUR, udp_flood),
    plan("smurf", &["icmp-smurf"], HOUR, smurf),
    // Of eight hosts, one after the other: both names are right.
    plan("ICMP timestamp and address mask queries", &["icmp-probe", "host-sweep"], HOUR, icmp_queries),
    plan("overlapping fragments", FRAGMENTS, HOUR, |s, at| fragments(s, at, Shape::Overlapping)),
    plan("fragments past 65535", FRAGMENTS, HOUR, |s, at| fragments(s, at, Shape::Oversized)),
    plan("SYN scan in fragments, nmap -f", SYN, HOUR, fragmented_scan),
    plan("two traps within an hour", &["trap-port"], 2 * HOUR, traps),
    plan("connect scan over IPv6", CONNECT, HOUR, |s, at| scan6(s, at, Style::Linux)),
    plan("SYN scan over IPv6", SYN, HOUR, |s, at| scan6(s, at, Style::Nmap)),
    plan("our host scans another's ports", OUT, HOUR, outbound_scan),
    plan("our host searches for Telnet", OUT, HOUR, outbound_sweep),
];

/// These begin together, as by chance they do.
const AT_ONCE: [usize; 4] = [8, 9, 12, 22];

/// Puts all scans into their slots, at times and from places that the seed decides.
pub(crate) fn hide(seed: u64, slots: &mut Slots) -> Vec<Scan> {
    let together = Random::new(seed ^ mix(0xa7_0c)).between(DAY..=5 * DAY);
    let hidden = PLANS.iter().enumerate().map(|(number, plan)| {
        let random = Random::new(seed ^ mix(1 << 60 | number as u64));
        let mut stage = Stage::new(random, (HONEST.len() + number) as u16, slots);
        let mut at = stage.random.between(HOUR..=WEEK - plan.lasts);
        if AT_ONCE.contains(&number) {
            at = together + number as u64 * 700 * MS;
        }
        let source = (plan.play)(&mut stage, at);
        let (span, packets) = (stage.span.expect("a scan has packets"), stage.sent);
        Scan { name: plan.name, right: plan.right, source, span, packets }
    });
    hidden.collect()
}

const SCANNERS: u64 = 30 << 40;
/// As in `noise`: a scanner in the middle of the peers of a /24.
const SWARM: u64 = 3 << 40;

/// Somebody with an IPv4 address; one in three is the neighbour of honest peers.
fn scanner(stage: &mut Stage<'_>) -> IpAddr {
    let number = stage.random.next() >> 32;
    if stage.random.one_in(3) {
        member(SWARM | (number % 64), number)
    } else {
        public(SCANNERS | number).into()
    }
}

fn scanner6(stage: &mut Stage<'_>) -> IpAddr {
    let number = stage.random.next() >> 32;
    public6(SCANNERS | number, number, number)
}

/// How the incident names the source.
fn host(address: IpAddr) -> IpNet {
    within(address, if address.is_ipv4() { 32 } else { 64 })
}

fn within(address: IpAddr, length: u8) -> IpNet {
    IpNet::new(address, length).expect("a length of its family").trunc()
}

/// The ports that every scanner tries first.
const FAMOUS: [u16; 40] = [
    80, 23, 443, 21, 22, 25, 3389, 110, 445, 139, 143, 53, 135, 3306, 8080, 1723, 111, 995, 993, 5900, 1025,
    587, 8888, 199, 1720, 465, 548, 113, 81, 6001, 10000, 514, 5060, 179, 1026, 2000, 8443, 8000, 32768, 554,
];

/// So many ports: the famous ones first, in an order that was drawn, then any.
fn ports(random: &mut Random, count: usize) -> Vec<u16> {
    let mut famous = FAMOUS.to_vec();
    random.shuffle(&mut famous);
    let mut others: Vec<u16> = (1..=65535).filter(|port| !FAMOUS.contains(port)).collect();
    random.shuffle(&mut others);
    famous.into_iter().chain(others).take(count).collect()
}

/// The same without those that are published, of which nothing is refused.
fn closed(random: &mut Random, count: usize) -> Vec<u16> {
    let mut ports = ports(random, count + 200);
    ports.retain(|port| !published(*port) && !TRAPS.contains(port));
    ports.truncate(count);
    ports
}

fn syn_scan(stage: &mut Stage<'_>, at: u64, style: Style, count: usize, every_us: u64) -> IpNet {
    let (from, to) = (scanner(stage), ours(stage.random.next()));
    for (n, port) in closed(&mut stage.random, count).into_iter().enumerate() {
        stage.connect(at + n as u64 * every_us, style, from, (to, port), 0);
    }
    host(from)
}

fn translated(stage: &mut Stage<'_>, at: u64) -> IpNet {
    let from = clients::translator(19);
    let to = ours(stage.random.next());
    for (n, port) in closed(&mut stage.random, 100).into_iter().enumerate() {
        stage.connect(at + n as u64 * 30 * MS, Style::Nmap, from, (to, port), 0);
    }
    host(from)
}

fn famous_first(stage: &mut Stage<'_>, at: u64) -> IpNet {
    let (from, to) = (scanner(stage), ours(stage.random.next()));
    let open = [80, 443, 21, 22, 53, 40000, 40001];
    let rest = closed(&mut stage.random, 12);
    for (n, port) in open.into_iter().chain(rest).enumerate() {
        stage.connect(at + n as u64 * 100 * MS, Style::Nmap, from, (to, port), 0);
    }
    host(from)
}

/// One segment as scanners make it: with the same sequence number throughout.
fn probe(stage: &mut Stage<'_>, at: u64, from: (IpAddr, u16), to: (IpAddr, u16), flags: u16) {
    let mut ip = stage.ip(from.0, to.0);
    ip.df = false;
    let options = if flags == F::SYN { OPTIONS_MSS } else { &[] };
    let ack = if flags & F::ACK == 0 { 0 } else { 0x1234_5678 };
    let tcp = Tcp { sport: from.1, dport: to.1, seq: 0x0bad_cafe, ack, flags, window: 1024, options };
    // conntrack begins a connection with a SYN or, loosely, with an ACK. All else is invalid to it.
    let impossible = flags & (F::SYN | F::ACK) == 0 || flags & (F::FIN | F::RST) != 0;
    let verdict = if impossible { Verdict::Invalid } else { Verdict::Refused };
    stage.send(at, verdict, ip.tcp(tcp));
}

fn flag_scan(stage: &mut Stage<'_>, at: u64, flags: u16, sport: u16, every: u64) -> IpNet {
    let (from, to) = (scanner(stage), ours(stage.random.next()));
    for (n, port) in closed(&mut stage.random, 100).into_iter().enumerate() {
        probe(stage, at + n as u64 * every, (from, sport), (to, port), flags);
    }
    host(from)
}

fn impossible_mix(stage: &mut Stage<'_>, at: u64) -> IpNet {
    let (from, to) = (scanner(stage), ours(stage.random.next()));
    let kinds = [0, F::FIN, F::FIN | F::URG, F::SYN | F::FIN];
    for (n, port) in closed(&mut stage.random, 8).into_iter().enumerate() {
        probe(stage, at + n as u64 * 3 * SECOND, (from, 40_000), (to, port), kinds[n % 4]);
    }
    host(from)
}

fn possible_mix(stage: &mut Stage<'_>, at: u64) -> IpNet {
    let (from, to) = (scanner(stage), ours(stage.random.next()));
    let kinds = [F::SYN, F::ACK, F::FIN | F::ACK];
    for (n, port) in closed(&mut stage.random, 21).into_iter().enumerate() {
        probe(stage, at + n as u64 * SECOND, (from, 40_000), (to, port), kinds[n % 3]);
    }
    host(from)
}

fn udp_scan(stage: &mut Stage<'_>, at: u64, v6: bool, sport: u16, data: u16, every: u64) -> IpNet {
    let from = if v6 { scanner6(stage) } else { scanner(stage) };
    let to = ours_like(from, stage.random.next());
    let mut ports: Vec<u16> = if sport == 53 {
        (1..1024).filter(|port| !matches!(port, 53 | 443)).collect()
    } else {
        [
            7, 9, 17, 19, 49, 67, 68, 69, 80, 88, 111, 120, 123, 135, 136, 137, 138, 139, 158, 161, 162, 177,
            427, 445,
        ]
        .into_iter()
        .chain([
            497, 500, 514, 515, 518, 520, 593, 623, 626, 631, 996, 997, 998, 999, 1433, 1434, 1900, 49152,
        ])
        .collect()
    };
    stage.random.shuffle(&mut ports);
    for (n, port) in ports.into_iter().take(100).enumerate() {
        stage.udp(at + n as u64 * every, (from, sport), (to, port), data);
    }
    host(from)
}

fn protocol_scan(stage: &mut Stage<'_>, at: u64) -> IpNet {
    let (from, to) = (scanner(stage), ours(stage.random.next()));
    let mut numbers: Vec<u8> = (0..=255).filter(|number| ![1, 6, 17].contains(number)).collect();
    stage.random.shuffle(&mut numbers);
    for (n, number) in numbers.into_iter().enumerate() {
        let octets = stage.ip(from, to).protocol(number, 0);
        stage.send(at + n as u64 * 100 * MS, Verdict::Refused, octets);
    }
    host(from)
}

/// All our hosts in an order that was drawn.
fn hosts(random: &mut Random) -> Vec<IpAddr> {
    let mut hosts: Vec<IpAddr> = (0..254).map(ours).collect();
    random.shuffle(&mut hosts);
    hosts
}

fn ping_sweep(stage: &mut Stage<'_>, at: u64) -> IpNet {
    let from = scanner(stage);
    for (n, to) in hosts(&mut stage.random).into_iter().enumerate() {
        let octets = stage.ip(from, to).icmp(8, 0, 0);
        stage.send(at + n as u64 * 100 * MS, Verdict::Refused, octets);
    }
    host(from)
}

fn sweep(stage: &mut Stage<'_>, at: u64, style: Style, port: u16, every: u64, count: usize) -> IpNet {
    let from = scanner(stage);
    for (n, to) in hosts(&mut stage.random).into_iter().take(count).enumerate() {
        stage.connect(at + n as u64 * every, style, from, (to, port), 0);
    }
    host(from)
}

fn udp_sweep(stage: &mut Stage<'_>, at: u64) -> IpNet {
    let from = scanner(stage);
    for (n, to) in hosts(&mut stage.random).into_iter().enumerate() {
        stage.udp(at + n as u64 * 80 * MS, (from, 40_000), (to, 161), 43);
    }
    host(from)
}

/// Every port of every host, the hosts' turns one after another.
fn grid(stage: &mut Stage<'_>, at: u64, across: u64, count: usize) -> IpNet {
    let from = scanner(stage);
    let ports = closed(&mut stage.random, count);
    for n in 0..across * count as u64 {
        let (to, port) = (ours(40 + n / count as u64 * 3), ports[(n % count as u64) as usize]);
        stage.connect(at + n * 400 * MS, Style::Nmap, from, (to, port), 0);
    }
    host(from)
}

fn slow(stage: &mut Stage<'_>, at: u64, count: usize, every: u64, udp: bool) -> IpNet {
    let (from, to) = (scanner(stage), ours(stage.random.next()));
    for (n, port) in closed(&mut stage.random, count).into_iter().enumerate() {
        let then = at + n as u64 * every + stage.within(0..=every / 20);
        if udp && n % 2 == 1 {
            stage.udp(then, (from, 50_000), (to, port), 0);
        } else {
            stage.connect(then, Style::Nmap, from, (to, port), 0);
        }
    }
    host(from)
}

fn distributed4(stage: &mut Stage<'_>, at: u64) -> IpNet {
    let (network, to) = (SCANNERS | stage.random.next() >> 32, ours(stage.random.next()));
    for (n, port) in closed(&mut stage.random, 120).into_iter().enumerate() {
        let from = member(network, n as u64 % 60 * 3);
        stage.connect(at + n as u64 * 700 * MS, Style::Linux, from, (to, port), 0);
    }
    within(member(network, 0), 24)
}

fn distributed6(stage: &mut Stage<'_>, at: u64, length: u8) -> IpNet {
    let (network, to) = (stage.random.next() >> 32, ours6(stage.random.next()));
    let from = |n: u64| {
        let subscriber = if length == 64 { network } else { network & !0xffff | mix(n) & 0xffff };
        public6(SCANNERS | network, subscriber, n + 1)
    };
    for (n, port) in closed(&mut stage.random, 100).into_iter().enumerate() {
        stage.connect(at + n as u64 * 500 * MS, Style::Nmap, from(n as u64), (to, port), 0);
    }
    within(from(0), length)
}

fn many_addresses(stage: &mut Stage<'_>, at: u64) -> IpNet {
    let (network, to) = (stage.random.next() >> 32, ours6(4));
    for n in 0..500 {
        let from = public6(SCANNERS | network, network, n);
        stage.connect(at + n * 60 * MS, Style::Linux, from, (to, 443), 0);
    }
    within(public6(SCANNERS | network, network, 0), 64)
}

fn syn_flood(stage: &mut Stage<'_>, at: u64, port: u16) -> IpNet {
    let (from, to) = (scanner(stage), ours(stage.random.next()));
    for n in 0..6_000 {
        stage.connect(at + n * 2 * MS, Style::Embedded, from, (to, port), 0);
    }
    host(from)
}

fn ping_flood(stage: &mut Stage<'_>, at: u64) -> IpNet {
    let (from, to) = (scanner(stage), ours(stage.random.next()));
    for n in 0..5_000 {
        let octets = stage.ip(from, to).icmp(8, 0, 1400);
        stage.send(at + n * 2 * MS, Verdict::Refused, octets);
    }
    host(from)
}

fn udp_flood(stage: &mut Stage<'_>, at: u64) -> IpNet {
    let (from, to) = (scanner(stage), ours(stage.random.next()));
    for n in 0..10_000 {
        stage.udp(at + n * MS, (from, 40_000), (to, 7777), 512);
    }
    host(from)
}

/// The source is the victim, and each packet goes to all hosts of the link.
fn smurf(stage: &mut Stage<'_>, at: u64) -> IpNet {
    let from = scanner(stage);
    for n in 0..200 {
        let octets = stage.ip(from, IpAddr::from([198, 51, 100, 255])).icmp(8, 0, 56);
        stage.cast(at + n * 50 * MS, Verdict::Refused, Pkttype::Broadcast, octets);
    }
    host(from)
}

fn icmp_queries(stage: &mut Stage<'_>, at: u64) -> IpNet {
    let from = scanner(stage);
    for n in 0..16 {
        let (kind, data) = if n % 2 == 0 { (13, 12) } else { (17, 4) };
        let octets = stage.ip(from, ours(n / 2)).icmp(kind, 0, data);
        stage.send(at + n * 500 * MS, Verdict::Refused, octets);
    }
    host(from)
}

enum Shape {
    Overlapping,
    Oversized,
    Tiny,
}

fn fragments(stage: &mut Stage<'_>, at: u64, shape: Shape) -> IpNet {
    let (from, to) = (scanner(stage), ours(stage.random.next()));
    let mut ip = stage.ip(from, to);
    ip.df = false;
    let tcp = Tcp { sport: 40_000, dport: 80, seq: 1, ack: 0, flags: F::SYN, window: 1024, options: &[] };
    for n in 0..100 {
        let (id, then) = (n as u32 + 1, at + n * 300 * MS);
        let cut = |offset, length, more| Cut { id, offset, length, more };
        let pieces = match shape {
            // Teardrop: the second fragment lies within the first.
            Shape::Overlapping => [
                ip.udp_fragment((40_000, 139), 36, cut(0, 32, true)),
                ip.udp_fragment((40_000, 139), 36, cut(16, 8, false)),
            ],
            Shape::Oversized => {
                [ip.echo_fragment(cut(64_120, 1400, true)), ip.echo_fragment(cut(65_120, 1400, false))]
            }
            Shape::Tiny => [ip.tcp_fragment(tcp, cut(0, 8, true)), ip.tcp_fragment(tcp, cut(8, 8, true))],
        };
        for (n, octets) in pieces.into_iter().enumerate() {
            stage.send(then + n as u64 * MS, Verdict::Fragment, octets);
        }
    }
    host(from)
}

/// Each SYN in pieces of eight octets, and then whole as the firewall sees it.
fn fragmented_scan(stage: &mut Stage<'_>, at: u64) -> IpNet {
    let (from, to) = (scanner(stage), ours(stage.random.next()));
    for (n, dport) in closed(&mut stage.random, 100).into_iter().enumerate() {
        let then = at + n as u64 * 100 * MS;
        let mut ip = stage.ip(from, to);
        ip.df = false;
        let (sport, seq) = (40_113, 0x0bad_cafe);
        let tcp = Tcp { sport, dport, seq, ack: 0, flags: F::SYN, window: 1024, options: OPTIONS_MSS };
        for offset in [0, 8, 16] {
            let cut = Cut { id: n as u32 + 9, offset, length: 8, more: offset < 16 };
            stage.send(then + u64::from(offset) * 10, Verdict::Fragment, ip.tcp_fragment(tcp, cut));
        }
        stage.send(then + MS, Verdict::Refused, ip.tcp(tcp));
    }
    host(from)
}

fn traps(stage: &mut Stage<'_>, at: u64) -> IpNet {
    let (from, to) = (scanner(stage), ours(TRAP_HOST));
    stage.connect(at, Style::Linux, from, (to, 3389), 0);
    stage.connect(at + 41 * MINUTE, Style::Linux, from, (to, 5900), 0);
    host(from)
}

fn scan6(stage: &mut Stage<'_>, at: u64, style: Style) -> IpNet {
    let (from, to) = (scanner6(stage), ours6(stage.random.next()));
    for (n, port) in closed(&mut stage.random, 100).into_iter().enumerate() {
        stage.connect(at + n as u64 * 50 * MS, style, from, (to, port), 0);
    }
    host(from)
}

fn outbound(stage: &mut Stage<'_>, at: u64, from: IpAddr, to: (IpAddr, u16), style: Style) {
    let sport = stage.random.port(32768..=60999);
    let octets = style.syn((from, sport), to, stage.random.next());
    stage.send(at, Verdict::Outbound, octets);
}

fn outbound_scan(stage: &mut Stage<'_>, at: u64) -> IpNet {
    let (from, to) = (ours(70), scanner(stage));
    for (n, port) in ports(&mut stage.random, 300).into_iter().enumerate() {
        outbound(stage, at + n as u64 * 20 * MS, from, (to, port), Style::Linux);
    }
    host(from)
}

fn outbound_sweep(stage: &mut Stage<'_>, at: u64) -> IpNet {
    let from = ours(71);
    for n in 0..3_000 {
        let to = scanner(stage);
        outbound(stage, at + n * 50 * MS, from, (to, 23), Style::Mirai);
    }
    host(from)
}
