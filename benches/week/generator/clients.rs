//! People and programs that use what our hosts offer, or offered once, and the ends of conversations with them.

use std::net::IpAddr;

use nfban::packet::{TcpFlags, Verdict};

use super::packet::{Cut, Style};
use super::random::mix;
use super::stage::{HOUR, MINUTE, MS, SECOND, Stage, member, ours, ours_like, ours6, public, public6};

const PEOPLE: u64 = 10 << 40;
const TRANSLATORS: u64 = 11 << 40;
const CARRIERS: u64 = 12 << 40;
const SERVERS: u64 = 13 << 40;
const CRAWLERS: u64 = 14 << 40;
const MONITORS: u64 = 15 << 40;
const TELEPHONY: u64 = 16 << 40;
const OFFICES: u64 = 17 << 40;
const RESOLVERS: u64 = 18 << 40;

/// How many addresses of carriers have thousands of subscribers behind them.
const TRANSLATED: u64 = 48;

/// An address that many share (RFC 6598).
pub(crate) fn translator(number: u64) -> IpAddr {
    // Eight beside each other, as a carrier has them.
    member(TRANSLATORS | (number % TRANSLATED / 8), 16 + number % 8)
}

/// Somebody: at home, behind a carrier's translator, or with an IPv6 network of his own.
fn somebody(stage: &mut Stage<'_>) -> IpAddr {
    match stage.within(0..=19) {
        0..=11 => public(PEOPLE | stage.random.rank(12..=18)).into(),
        12..=14 => translator(stage.random.next()),
        _ => {
            let (carrier, host) = (stage.random.rank(3..=8), stage.within(0..=3));
            let subscriber = stage.random.rank(10..=18);
            public6(CARRIERS | carrier, subscriber, subscriber << 8 | host)
        }
    }
}

fn style(of: IpAddr) -> Style {
    let number = match of {
        IpAddr::V4(address) => u64::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address) as u64,
    };
    if mix(number).is_multiple_of(3) { Style::Windows } else { Style::Linux }
}

/// A visit to a web site: six connections at once, two hundred for a page of many pictures. The last segments of some
/// come when the firewall has forgotten the connection.
pub(crate) fn visits(stage: &mut Stage<'_>, at: u64) {
    let from = somebody(stage);
    let site = stage.within(0..=15);
    let to = ours_like(from, site);
    let connections = if stage.random.one_in(60) { 200 } else { stage.within(1..=6) };
    for _ in 0..connections {
        let then = at + stage.within(0..=5 * SECOND);
        let port = if stage.random.one_in(8) { 80 } else { 443 };
        stage.connect(then, style(from), from, (to, port), 0);
        if stage.random.one_in(6) {
            let sport = stage.random.port(1024..=65535);
            let end = then + stage.within(60..=900) * SECOND;
            let flags = stage.random.pick(&[
                TcpFlags::FIN | TcpFlags::ACK,
                TcpFlags::ACK,
                TcpFlags::RST,
                TcpFlags::RST | TcpFlags::ACK,
            ]);
            stage.late(end, (from, sport), (to, port), flags);
        }
    }
}

/// A search engine or an archive reads the sites of our network, a new host each second or two.
pub(crate) fn crawlers(stage: &mut Stage<'_>, at: u64) {
    let number = stage.within(0..=23);
    let from = member(CRAWLERS | (number / 4), number % 4 * 9);
    let hosts = stage.within(20..=100);
    let (first, length) = (stage.within(0..=253), hosts * stage.within(1000..=2000) * MS);
    for host in 0..hosts {
        let then = at + stage.within(0..=length);
        let port = if stage.random.one_in(4) { 80 } else { 443 };
        stage.connect(then, Style::Linux, from, (ours(first + host), port), 0);
    }
}

/// Servers that our people used say the last word when the firewall does not listen any more.
pub(crate) fn last_words(stage: &mut Stage<'_>, at: u64) {
    let server: IpAddr = match stage.within(0..=3) {
        0 => public6(SERVERS | stage.random.rank(4..=10), 1, 443),
        _ => public(SERVERS | stage.random.rank(6..=14)).into(),
    };
    let sport = stage.random.pick(&[443, 443, 443, 443, 443, 443, 80, 993, 5222, 8443, 8444, 25565, 7777]);
    let host = stage.within(0..=253);
    let us = ours_like(server, host);
    // Linux, Windows, and a translator of ours that uses all ports.
    let ephemeral = match host % 8 {
        0..=3 => 32768..=60999,
        4..=6 => 49152..=65535,
        _ => 1024..=65535,
    };
    // A browser closes what it has: six connections to a host, and more if it was left open for long.
    let connections = if stage.random.one_in(150) { 120 } else { stage.within(1..=6) };
    for _ in 0..connections {
        let (then, dport) = (at + stage.within(0..=20 * SECOND), stage.random.port(ephemeral.clone()));
        let flags = stage.random.pick(&[
            TcpFlags::FIN | TcpFlags::ACK,
            TcpFlags::FIN | TcpFlags::ACK,
            TcpFlags::FIN | TcpFlags::PSH | TcpFlags::ACK,
            TcpFlags::ACK,
            TcpFlags::RST,
        ]);
        stage.late(then, (server, sport), (us, dport), flags);
    }
}

/// An answer of a name server comes when nobody waits for it any more.
pub(crate) fn late_names(stage: &mut Stage<'_>, at: u64) {
    let server = if stage.random.one_in(5) {
        public6(RESOLVERS | stage.random.rank(3..=8), 1, 53)
    } else {
        public(RESOLVERS | stage.random.rank(4..=12)).into()
    };
    let (dport, data) = (stage.random.port(1024..=65535), stage.random.between(44..=480) as u16);
    stage.udp(at, (server, 53), (ours_like(server, 53), dport), data);
}

/// A web server still sends with QUIC, when the browser is gone.
pub(crate) fn late_quic(stage: &mut Stage<'_>, at: u64) {
    let server = public(SERVERS | stage.random.rank(6..=14)).into();
    let (host, dport) = (stage.within(0..=253), stage.random.port(32768..=60999));
    for _ in 0..stage.within(1..=5) {
        let then = at + stage.within(0..=3 * SECOND);
        let data = stage.random.pick(&[24, 29, 31, 43, 1200, 1252]);
        stage.udp(then, (server, 443), (ours(host), dport), data);
    }
}

/// What our hosts offered once, and some still ask for.
const STALE: [u16; 9] = [8883, 8080, 8443, 1194, 5222, 8006, 10443, 32400, 25565];

/// A program asks for one port again and again.
pub(crate) fn hammering(stage: &mut Stage<'_>, at: u64) {
    let from = somebody(stage);
    let (to, port) = (ours_like(from, stage.random.next() % 20), stage.random.pick(&STALE));
    let every = stage.within(3..=30) * SECOND;
    for n in 0..stage.within(20..=500) {
        let sport = stage.random.port(32768..=60999);
        let octets = style(from).syn((from, sport), (to, port), stage.random.next());
        stage.send(at + n * every, Verdict::Refused, octets);
    }
}

/// The ports of IMAP, POP3 and submission, plain and with TLS, and of SMTP.
const MAIL: [u16; 7] = [143, 993, 110, 995, 587, 465, 25];

/// A mail program tries what a provider of mail could offer.
pub(crate) fn mail_setup(stage: &mut Stage<'_>, at: u64) {
    let from = somebody(stage);
    let to = ours_like(from, stage.random.next() % 16);
    for (n, port) in MAIL.into_iter().enumerate() {
        let then = at + n as u64 * 900 * MS + stage.within(0..=300 * MS);
        stage.connect(then, style(from), from, (to, port), 2);
    }
}

/// An office changes its provider of mail: several hosts of its IPv6 network set themselves up anew.
pub(crate) fn moves(stage: &mut Stage<'_>, at: u64) {
    let office = stage.random.rank(2..=8);
    let to = ours6(stage.random.next() % 16);
    for _ in 0..stage.within(2..=12) {
        let from = public6(OFFICES | office, office, stage.random.next() % 64);
        let then = at + stage.within(0..=10 * MINUTE);
        for (n, port) in MAIL.into_iter().enumerate() {
            stage.connect(then + n as u64 * 700 * MS, style(from), from, (to, port), 2);
        }
    }
}

/// Somebody of thousands behind one address has a bookmark of a service that is gone.
pub(crate) fn strays(stage: &mut Stage<'_>, at: u64) {
    let from = translator(stage.random.next());
    let (host, port) = (stage.random.next() % 40, stage.random.pick(&STALE));
    stage.connect(at, style(from), from, (ours(host), port), 3);
}

/// The hosts of an office, in one IPv6 network with several addresses each, miss a service.
pub(crate) fn offices(stage: &mut Stage<'_>, at: u64) {
    let office = stage.random.rank(2..=8);
    let port = STALE[(office % 5) as usize];
    let to = ours6(stage.random.next() % 8);
    for _ in 0..stage.within(3..=12) {
        let from = public6(OFFICES | office, office, stage.random.next() % 64);
        let then = at + stage.within(0..=MINUTE);
        stage.connect(then, style(from), from, (to, port), 2);
    }
}

/// A lecture hall follows a link: a hundred hosts of one IPv6 network within a minute.
pub(crate) fn lecture(stage: &mut Stage<'_>, at: u64) {
    let to = ours6(stage.random.next() % 8);
    for host in 0..stage.within(60..=140) {
        let from = public6(OFFICES, 7, host);
        let then = at + stage.within(0..=50 * SECOND);
        stage.connect(then, style(from), from, (to, 443), 0);
    }
}

fn ping(stage: &mut Stage<'_>, at: u64, from: IpAddr, to: IpAddr) {
    let kind = if from.is_ipv4() { 8 } else { 128 };
    let octets = stage.ip(from, to).icmp(kind, 0, 56);
    stage.send(at, Verdict::Refused, octets);
}

/// Five monitors ping six hosts a minute.
pub(crate) fn monitors(stage: &mut Stage<'_>, at: u64) {
    for monitor in 0..5 {
        let from = match monitor {
            4 => public6(MONITORS, 1, 9),
            _ => public(MONITORS | monitor).into(),
        };
        for host in 0..6 {
            let then = at + stage.within(0..=SECOND);
            ping(stage, then, from, ours_like(from, host * 7));
        }
    }
}

/// Somebody watches a host closely: five pings a second for an hour or two.
pub(crate) fn close_watch(stage: &mut Stage<'_>, at: u64) {
    let from = public(MONITORS | 16 | (stage.random.next() % 4)).into();
    let (to, length) = (ours(stage.random.next() % 30), stage.within(1..=2) * HOUR);
    for n in 0..length / (200 * MS) {
        ping(stage, at + n * 200 * MS, from, to);
    }
}

/// A load balancer asks whether six backends live, and three that were taken away.
pub(crate) fn health_checks(stage: &mut Stage<'_>, at: u64) {
    let from = public(MONITORS | 64).into();
    for backend in 0..9 {
        let port = if backend < 6 { 443 } else { 8081 };
        stage.connect(at + backend * 20 * MS, Style::Linux, from, (ours(100 + backend), port), 0);
    }
}

/// A service that watches routes traces them to one host of ours, by UDP, by ICMP or by TCP.
pub(crate) fn traced_routes(stage: &mut Stage<'_>, at: u64) {
    let probe = stage.within(0..=5);
    let from = if probe == 5 { public6(MONITORS, 2, 1) } else { tracer() };
    let to = ours_like(from, 4);
    for n in 0..9 {
        let then = at + n * 120 * MS;
        let mut ip = stage.ip(from, to);
        (ip.ttl, ip.df) = (1 + (n / 3) as u8, false);
        let octets = match probe {
            0..=2 => ip.udp(40_000 + n as u16, 33434 + 30 + n as u16, 32),
            3 => ip.icmp(8, 0, 32),
            5 => ip.icmp(128, 0, 32),
            _ => ip.udp(50_000, 33434 + 36 + n as u16, 32),
        };
        stage.send(then, Verdict::Refused, octets);
    }
}

/// Who traces routes; the IPv6 one is `public6(MONITORS, 2, _)`.
pub(crate) fn tracer() -> IpAddr {
    public(MONITORS | 80).into()
}

/// The IPv6 address it traces from.
pub(crate) fn tracer6() -> IpAddr {
    public6(MONITORS, 2, 1)
}

/// An administrator knocks before he logs in.
pub(crate) fn knocks(stage: &mut Stage<'_>, at: u64) {
    let admin = stage.within(0..=9);
    let from = public(PEOPLE | 1 << 39 | admin).into();
    let to = ours(60 + admin % 3);
    for (n, port) in [7000, 8000, 9000, 7001].into_iter().enumerate() {
        stage.connect(at + n as u64 * SECOND, Style::Linux, from, (to, port), 0);
    }
    stage.connect(at + 5 * SECOND, Style::Linux, from, (to, 22), 0);
}

/// A provider of telephony asks for a telephone that is gone, or for its first partner after a call.
pub(crate) fn telephony(stage: &mut Stage<'_>, at: u64) {
    let from = public(TELEPHONY | (stage.random.next() % 6)).into();
    let to = ours(stage.random.next() % 12);
    if stage.random.one_in(2) {
        for n in 0..stage.within(4..=10) {
            stage.udp(at + n * 2 * SECOND, (from, 5060), (to, 5060), 420);
        }
        return;
    }
    // Two streams of voice with their control, until the other side has noticed.
    let (sport, dport) = (stage.random.port(10000..=20000) & !1, stage.random.port(16384..=32766) & !1);
    for n in 0..stage.within(10..=200) {
        stage.udp(at + n * 20 * MS, (from, sport), (to, dport), 172);
    }
    stage.udp(at + 900 * MS, (from, sport + 1), (to, dport + 1), 56);
}

/// A program that sets up servers logs in to twenty-five of them.
pub(crate) fn administration(stage: &mut Stage<'_>, at: u64) {
    let from = public(PEOPLE | 1 << 39 | 64).into();
    for host in 0..25 {
        let then = at + stage.within(0..=20 * SECOND);
        stage.connect(then, Style::Linux, from, (ours(host * 3), 22), 0);
    }
}

/// An FTP client fetches a folder: a data connection for each file.
pub(crate) fn transfers(stage: &mut Stage<'_>, at: u64) {
    let from = somebody(stage);
    let to = ours_like(from, 11);
    stage.connect(at, style(from), from, (to, 21), 0);
    for n in 0..stage.within(5..=60) {
        let port = stage.random.port(40000..=40100);
        stage.connect(at + SECOND + n * 300 * MS, style(from), from, (to, port), 0);
    }
}

/// Datagrams larger than the path: signed answers of name servers, and key exchange with certificates. Seen before
/// they are put together; one in a thousand pieces comes twice.
pub(crate) fn large_answers(stage: &mut Stage<'_>, at: u64) {
    let v6 = stage.random.one_in(4);
    let server = if v6 {
        public6(RESOLVERS | stage.random.rank(3..=8), 1, 53)
    } else {
        public(RESOLVERS | stage.random.rank(4..=12)).into()
    };
    let mut ip = stage.ip(server, ours_like(server, 53));
    ip.df = false;
    let (id, first, rest) =
        (stage.random.next() as u32, if v6 { 1232 } else { 1480 }, stage.within(40..=900));
    let rest = rest as u16;
    let ports = stage.random.pick(&[(53, 41_000), (53, 52_311), (500, 500)]);
    let pieces = [
        Cut { id, offset: 0, length: first, more: true },
        Cut { id, offset: first, length: rest, more: false },
    ];
    for (n, cut) in pieces.into_iter().enumerate() {
        let octets = ip.udp_fragment(ports, first + rest, cut);
        stage.send(at + n as u64 * 30, Verdict::Fragment, octets);
        if stage.random.one_in(1000) {
            stage.send(at + MS, Verdict::Fragment, octets);
        }
    }
}

/// Two browsers look for a way to each other (ICE, RFC 8445): each tries the other's candidates, before ours has sent.
pub(crate) fn calls(stage: &mut Stage<'_>, at: u64) {
    let from = somebody(stage);
    let us = ours_like(from, 64 + stage.random.next() % 100);
    let sport = stage.random.port(32768..=65535);
    for _ in 0..stage.within(1..=4) {
        let dport = stage.random.port(32768..=65535);
        for n in 0..stage.within(2..=7) {
            stage.udp(at + n * 500 * MS, (from, sport), (us, dport), 92);
        }
    }
}

/// A server of FTP opens data connections to a client of ours that did not ask for passive ones.
pub(crate) fn active_transfers(stage: &mut Stage<'_>, at: u64) {
    let server: IpAddr = public(SERVERS | 1 << 38 | stage.random.rank(3..=7)).into();
    let us = ours(64 + stage.random.next() % 100);
    for n in 0..stage.within(1..=4) {
        let dport = stage.random.port(49152..=65535);
        for wait in [0, 1, 3, 7] {
            let octets = Style::Linux.syn((server, 20), (us, dport), mix(at + n));
            stage.send(at + n * 20 * SECOND + wait * SECOND, Verdict::Refused, octets);
        }
    }
}

/// Our router starts anew and knows no connection: until our hosts have sent something, whatever they talk with is
/// refused. Segments of TCP are new to conntrack, not invalid (`nf_conntrack_tcp_loose`).
pub(crate) fn restarts(stage: &mut Stage<'_>, at: u64) {
    for _ in 0..200 {
        let server = public(SERVERS | stage.random.rank(6..=14)).into();
        let sport = stage.random.pick(&[443, 443, 443, 443, 5228, 993, 22, 8444, 7777]);
        for _ in 0..stage.within(1..=40) {
            let (host, dport) = (stage.within(0..=253), stage.random.port(32768..=60999));
            let then = at + stage.within(0..=30 * SECOND);
            let octets = stage.segment((server, sport), (ours(host), dport), TcpFlags::ACK | TcpFlags::PSH);
            stage.send(then, Verdict::Refused, octets);
        }
    }
    // A meeting of a firm, in two rooms: voice and pictures from one server to all who take part.
    for (room, sport) in [(1, 8801), (2, 3480)] {
        let server = public(TELEPHONY | 1 << 38 | room).into();
        for guest in 0..stage.within(12..=30) {
            let dport = stage.random.port(49152..=65535);
            for n in 0..stage.within(1..=4) {
                stage.udp(at + n * 20 * MS, (server, sport), (ours(64 + guest * 3), dport), 1012);
            }
        }
    }
}
