//! Our own side: what our hosts open to the outside, and what the neighbours on the outer link say to everybody.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nfban::packet::{Pkttype, Verdict};

use super::packet::{Ip, Style};
use super::random::{Random, mix};
use super::stage::{MS, SECOND, Stage, ours, ours_like, public, public6};

const SITES: u64 = 20 << 40;
const NAMES: u64 = 21 << 40;
const PEERS: u64 = 22 << 40;
const MAIL: u64 = 23 << 40;

/// The first packet of a connection that one of our hosts opens.
fn open(stage: &mut Stage<'_>, at: u64, from: IpAddr, to: (IpAddr, u16)) {
    let sport = stage.random.port(32768..=60999);
    let octets = Style::Linux.syn((from, sport), to, stage.random.next());
    stage.send(at, Verdict::Outbound, octets);
}

fn ask(stage: &mut Stage<'_>, at: u64, from: (IpAddr, u16), to: (IpAddr, u16), data: u16) {
    let octets = stage.ip(from.0, to.0).udp(from.1, to.1, data);
    stage.send(at, Verdict::Outbound, octets);
}

fn site(random: &mut Random) -> IpAddr {
    match random.below(3) {
        0 => public6(SITES | random.rank(4..=12), 1, 1),
        _ => public(SITES | random.rank(6..=16)).into(),
    }
}

/// A page: its server, those of its pictures and its advertisements, by TCP and by QUIC.
pub(crate) fn pages(stage: &mut Stage<'_>, at: u64) {
    let host = 64 + stage.random.next() % 100;
    for _ in 0..stage.within(4..=18) {
        let to = site(&mut stage.random);
        let from = ours_like(to, host);
        for _ in 0..stage.within(1..=3) {
            let then = at + stage.within(0..=8 * SECOND);
            if stage.random.one_in(3) {
                ask(stage, then, (from, 40_000 + host as u16), (to, 443), 1232);
            } else {
                open(stage, then, from, (to, 443));
            }
        }
    }
}

/// Our resolver asks the name servers of the world.
pub(crate) fn resolution(stage: &mut Stage<'_>, at: u64) {
    let to = if stage.random.one_in(4) {
        public6(NAMES | stage.random.rank(4..=10), 1, 53)
    } else {
        public(NAMES | stage.random.rank(6..=16)).into()
    };
    let sport = stage.random.port(1024..=65535);
    ask(stage, at, (ours_like(to, 53), sport), (to, 53), 40);
}

/// BitTorrent on one of our hosts: hundreds of peers within minutes, each on a port of its own.
pub(crate) fn peers(stage: &mut Stage<'_>, at: u64) {
    let host = 120 + stage.random.next() % 3;
    for _ in 0..stage.within(200..=800) {
        let then = at + stage.within(0..=300 * SECOND);
        let number = stage.random.rank(10..=20);
        let to = public(PEERS | number).into();
        // Some listen at 80, 443 or 22, so as to pass a firewall.
        let port = match mix(number) % 60 {
            0 => [80, 443, 22][(number % 3) as usize],
            _ => (mix(number ^ 1) % 64_000 + 1024) as u16,
        };
        if stage.random.one_in(3) {
            open(stage, then, ours(host), (to, port));
        } else {
            ask(stage, then, (ours(host), 51413), (to, port), 104);
        }
    }
}

/// A newsletter goes out.
pub(crate) fn mail(stage: &mut Stage<'_>, at: u64) {
    for _ in 0..stage.within(20..=120) {
        let then = at + stage.within(0..=60 * SECOND);
        let to = public(MAIL | stage.random.rank(5..=14)).into();
        open(stage, then, ours(25), (to, 25));
    }
}

/// Administration of hosts elsewhere, a large transfer by FTP, a program that joins a domain.
pub(crate) fn chores(stage: &mut Stage<'_>, at: u64) {
    match stage.within(0..=2) {
        0 => {
            for host in 0..40 {
                open(stage, at + host * 400 * MS, ours(30), (public(SITES | 1 << 30 | host).into(), 22));
            }
        }
        1 => {
            let to = site(&mut stage.random);
            for n in 0..stage.within(30..=150) {
                let port = stage.random.port(49152..=65535);
                open(stage, at + n * 500 * MS, ours_like(to, 31), (to, port));
            }
        }
        _ => {
            let to = public(SITES | 1 << 31).into();
            for (n, port) in [53, 88, 135, 139, 389, 445, 464, 636, 3268, 3269, 9389].into_iter().enumerate()
            {
                open(stage, at + n as u64 * 50 * MS, ours(90), (to, port));
            }
        }
    }
}

/// What the neighbours on the outer link send to all: DHCP, mDNS, SSDP, NetBIOS, IGMP; of IPv6 router advertisements,
/// MLD, and neighbour discovery to all and to one.
pub(crate) fn neighbours(stage: &mut Stage<'_>, at: u64) {
    let neighbour = stage.within(1..=20) as u8;
    let v4 = |host| IpAddr::from([203, 0, 113, host]);
    let v6 = |last: u16| IpAddr::from(Ipv6Addr::new(0xfe80, 0, 0, 0, 0x200, 0, 0, last));
    let group6 = |high: u16, last: u16| IpAddr::from(Ipv6Addr::new(high, 0, 0, 0, 0, 0, 0, last));
    let (from, from6) = (v4(neighbour), v6(u16::from(neighbour)));
    let ip = |src, dst, ttl| Ip { src, dst, ttl, id: 0, df: false };
    let to4 = |dst: [u8; 4]| IpAddr::from(dst);
    let everybody = to4([255; 4]);
    let unspecified = IpAddr::from(Ipv4Addr::UNSPECIFIED);
    let (broadcast, multicast) = (Pkttype::Broadcast, Pkttype::Multicast);
    let (pkttype, octets) = match stage.within(0..=11) {
        0 => (broadcast, ip(unspecified, everybody, 64).udp(68, 67, 300)),
        1 | 2 => (multicast, ip(from, to4([224, 0, 0, 251]), 255).udp(5353, 5353, 90)),
        3 | 4 => {
            let sport = stage.random.port(49152..=65535);
            (multicast, ip(from, to4([239, 255, 255, 250]), 4).udp(sport, 1900, 130))
        }
        5 => (broadcast, ip(from, v4(255), 128).udp(138, 138, 201)),
        6 => (broadcast, ip(from, v4(255), 128).udp(137, 137, 50)),
        7 => (multicast, ip(unspecified, to4([224, 0, 0, 1]), 1).protocol(2, 8)),
        8 => (multicast, ip(v6(1), group6(0xff02, 1), 255).icmp(134, 0, 24)),
        9 => (multicast, ip(from6, group6(0xff02, 0x16), 1).icmp(143, 0, 20)),
        10 => (multicast, ip(from6, group6(0xff02, 0xfb), 255).udp(5353, 5353, 90)),
        _ => (Pkttype::Unicast, ip(from6, v6(0xff), 255).icmp(stage.random.pick(&[135, 136]), 0, 24)),
    };
    stage.cast(at, Verdict::Refused, pkttype, octets);
}
