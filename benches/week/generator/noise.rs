//! What reaches every address of the internet: single probes of very many sources, echoes of floods elsewhere, and
//! peers of whoever had the address before.

use std::net::IpAddr;

use nfban::packet::{TcpFlags, Verdict};

use super::packet::{OPTIONS_MSS, Style, Tcp};
use super::random::mix;
use super::stage::{
    DAY, MINUTE, MS, SECOND, Stage, member, ours, ours_like, ours6, public, public6, published,
};

/// What keeps the sources of one kind apart from those of another.
const BOTS: u64 = 1 << 40;
const AMPLIFIERS: u64 = 2 << 40;
const SWARM: u64 = 3 << 40;
const CLOCKS: u64 = 4 << 40;
const VICTIMS: u64 = 5 << 40;

/// What a family of bots looks for, how its SYNs look, and how often it repeats one.
const FAMILIES: [(u64, &[u16], Style, usize); 14] = [
    (26, &[23, 23, 23, 2323], Style::Mirai, 0),
    (16, &[445], Style::Windows, 2),
    (12, &[22, 22, 2222], Style::Linux, 2),
    (8, &[3389], Style::Zmap, 0),
    (7, &[80, 8080, 8081, 443], Style::Mirai, 0),
    (6, &[8443, 8888, 8000], Style::Masscan, 0),
    (5, &[5555], Style::Mirai, 0),
    (4, &[1433], Style::Windows, 1),
    (4, &[6379, 27017], Style::Masscan, 0),
    (4, &[37215, 52869, 60001], Style::Mirai, 0),
    (3, &[5900], Style::Zmap, 0),
    (2, &[2375, 2376], Style::Masscan, 0),
    (2, &[3306, 5432], Style::Linux, 1),
    (1, &[21, 8291, 8728], Style::Embedded, 1),
];

/// A bot or a slow search of the whole internet comes by: one of 260,000 sources, the first 512 of which as busy as
/// the last 131,072 together. Each looks for the few ports of its family, at an address of ours that it drew.
pub(crate) fn bots(stage: &mut Stage<'_>, at: u64) {
    let source = stage.random.rank(9..=18);
    let mut share = mix(source ^ BOTS) % 100;
    let mut family = FAMILIES[0];
    for candidate in FAMILIES {
        family = candidate;
        if share < candidate.0 {
            break;
        }
        share -= candidate.0;
    }
    let (_, ports, style, again) = family;
    let port = stage.random.pick(ports);
    let host = stage.within(0..=253);
    stage.connect(at, style, public(BOTS | source).into(), (ours(host), port), again);
}

/// Octets of data in a question to each service that amplifies.
const AMPLIFIED: [(u16, u16); 14] = [
    (123, 8),
    (1900, 94),
    (5060, 410),
    (161, 43),
    (389, 39),
    (11211, 15),
    (137, 50),
    (19, 1),
    (69, 12),
    (5683, 21),
    (3702, 3),
    (500, 192),
    (1434, 1),
    (27015, 25),
];

/// Somebody looks for UDP services that answer with more than they were asked: each source for one of them.
pub(crate) fn amplifiers(stage: &mut Stage<'_>, at: u64) {
    let source = stage.random.rank(8..=15);
    let (port, data) = AMPLIFIED[(mix(source ^ AMPLIFIERS) % AMPLIFIED.len() as u64) as usize];
    let sport = if port == 5060 { 5060 } else { stage.random.port(1024..=65535) };
    let host = stage.within(0..=253);
    stage.udp(at, (public(AMPLIFIERS | source).into(), sport), (ours(host), port), data);
}

/// The port that the last tenant of one of our addresses told to a tracker, and those of two others.
const TOLD: [(u64, u16); 3] = [(201, 51413), (88, 6881), (140, 27960)];
/// A host of ours whose BitTorrent draws another port each day, while its peers remember those of the days before.
const MOVING: u64 = 121;

/// A tracker tells peers of an address that is now ours: dozens within seconds, many of them of one provider's /24.
pub(crate) fn swarm(stage: &mut Stage<'_>, at: u64) {
    let (host, port) = if stage.random.one_in(5) {
        (MOVING, (mix(stage.within(0..=at / DAY)) % 40_000 + 20_000) as u16)
    } else {
        stage.random.pick(&TOLD)
    };
    let network = stage.random.rank(5..=12) | SWARM;
    for _ in 0..stage.within(30..=170) {
        let from = if stage.random.one_in(3) {
            let stranger = stage.random.rank(12..=17);
            public(SWARM | 1 << 30 | stranger).into()
        } else {
            member(network, stage.random.next())
        };
        let then = at + stage.within(0..=40 * SECOND);
        if stage.random.one_in(3) {
            stage.connect(then, Style::Windows, from, (ours(host), port), 2);
        } else {
            // Micro transport protocol, or a question to the distributed hash table (BEP 29, BEP 5).
            let (sport, data) = (stage.random.port(6881..=65535), stage.random.pick(&[20, 30, 97, 104]));
            stage.udp(then, (from, sport), (ours(host), port), data);
        }
    }
}

/// Clients ask a time server that left the pool years ago.
pub(crate) fn clocks(stage: &mut Stage<'_>, at: u64) {
    let client = public(CLOCKS | stage.random.rank(10..=17)).into();
    let sport = if stage.random.one_in(3) { 123 } else { stage.random.port(1024..=65535) };
    stage.udp(at, (client, sport), (ours(36), 123), 48);
}

/// A flood somewhere else forges our addresses among all others, and its victim answers us.
pub(crate) fn backscatter(stage: &mut Stage<'_>, at: u64) {
    let number = stage.random.next() >> 32;
    let v6 = stage.random.one_in(10);
    let victim: IpAddr =
        if v6 { public6(VICTIMS | number, number, 1) } else { public(VICTIMS | number).into() };
    let sport = stage.random.pick(&[80, 443, 443, 53, 22, 25565, 30120, 8080, 6667]);
    let answer = stage.within(0..=9);
    let length = stage.within(2..=50) * MINUTE;
    for _ in 0..stage.within(200..=2600) {
        let then = at + stage.within(0..=length);
        let host = stage.within(0..=253);
        let (us, dport) = (if v6 { ours6(host) } else { ours(host) }, stage.random.port(1024..=65535));
        let ip = stage.ip(victim, us);
        let tcp = |flags, options| Tcp {
            sport,
            dport,
            seq: mix(then) as u32,
            ack: mix(host) as u32,
            flags,
            window: 29200,
            options,
        };
        let octets = match (answer, v6) {
            (0..=4, _) => ip.tcp(tcp(TcpFlags::SYN | TcpFlags::ACK, OPTIONS_MSS)),
            (5..=6, _) => ip.tcp(tcp(TcpFlags::RST | TcpFlags::ACK, &[])),
            (7, _) => ip.tcp(tcp(TcpFlags::RST, &[])),
            (8, false) => ip.icmp(3, 3, 28),
            (8, true) => ip.icmp(1, 4, 48),
            (_, false) => ip.icmp(11, 0, 28),
            (_, true) => ip.icmp(3, 0, 48),
        };
        stage.send(then, Verdict::Invalid, octets);
    }
}

/// Search of IPv6 addresses that names tell of: few sources, one port each, the addresses of our hosts.
pub(crate) fn bots6(stage: &mut Stage<'_>, at: u64) {
    let source = stage.random.rank(5..=11);
    let port = [80, 443, 22, 23, 8080, 445][(mix(source) % 6) as usize];
    let host = stage.within(0..=255);
    let style = if source.is_multiple_of(2) { Style::Zmap } else { Style::Linux };
    let from = public6(BOTS | source, source, 1);
    let repeats = if style == Style::Zmap || published(port) { 0 } else { 1 };
    stage.connect(at, style, from, (ours_like(from, host), port), repeats);
}

/// Tunnels whose other end was ours once: GRE, ESP and IPv6 in IPv4 for ever, and one of Ethernet in IP.
pub(crate) fn tunnels(stage: &mut Stage<'_>, at: u64) {
    for (partner, protocol) in [(1, 47), (2, 50), (3, 41), (4, 97), (5, 4)] {
        let then = at + stage.within(0..=900) * MS;
        let octets = stage.ip(public(VICTIMS | partner).into(), ours(77)).protocol(protocol, 96);
        stage.send(then, Verdict::Refused, octets);
    }
}
