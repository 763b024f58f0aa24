//! Where traffic is put: slots of ten minutes, and what every kind of traffic does there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use nfban::packet::{Pkttype, TcpFlags, Verdict};

use super::packet::{Ip, OPTIONS_LATE, Octets, Parcel, Style, Tcp};
use super::random::{Random, mix};

pub(crate) const MS: u64 = 1_000;
pub(crate) const SECOND: u64 = 1_000_000;
pub(crate) const MINUTE: u64 = 60 * SECOND;
pub(crate) const HOUR: u64 = 60 * MINUTE;
pub(crate) const DAY: u64 = 24 * HOUR;
pub(crate) const WEEK: u64 = 7 * DAY;
pub(crate) const SLOT: u64 = 10 * MINUTE;
pub(crate) const SLOTS: usize = (WEEK / SLOT) as usize;

/// Packets by when they come.
#[derive(Debug)]
pub(crate) struct Slots(Vec<Vec<Parcel>>);

impl Slots {
    pub(crate) fn new() -> Self {
        Self(vec![Vec::new(); SLOTS])
    }

    /// What has come together for a slot, in the order of time.
    pub(crate) fn take(&mut self, slot: usize) -> Vec<Parcel> {
        let mut parcels = std::mem::take(&mut self.0[slot]);
        parcels.sort_by_key(|parcel| parcel.at); // stable: what comes at once keeps its order
        parcels
    }
}

/// One kind of traffic at work.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    pub(crate) random: Random,
    pub(crate) kind: u16,
    pub(crate) slots: &'a mut Slots,
    /// How many packets it has sent so far, and when the first and the last of them.
    pub(crate) sent: u64,
    pub(crate) span: Option<(u64, u64)>,
}

impl<'a> Stage<'a> {
    pub(crate) const fn new(random: Random, kind: u16, slots: &'a mut Slots) -> Self {
        Self { random, kind, slots, sent: 0, span: None }
    }

    pub(crate) fn send(&mut self, at: u64, verdict: Verdict, octets: Octets) {
        self.cast(at, verdict, Pkttype::Unicast, octets);
    }

    /// Sends to whom the link layer addressed. What comes after the week is not seen.
    pub(crate) fn cast(&mut self, at: u64, verdict: Verdict, pkttype: Pkttype, octets: Octets) {
        if let Some(slot) = self.slots.0.get_mut((at / SLOT) as usize) {
            slot.push(Parcel { at, verdict, pkttype, kind: self.kind, octets });
            self.sent += 1;
            let (first, last) = self.span.unwrap_or((at, at));
            self.span = Some((first.min(at), last.max(at)));
        }
    }

    /// A SYN to a port of ours. Where it is published or a trap the firewall lets it pass and says so; else it refuses it, and a
    /// program that uses connect() sends it again after 1, 3 and 7 seconds, `again` times at most.
    pub(crate) fn connect(&mut self, at: u64, style: Style, from: IpAddr, to: (IpAddr, u16), again: usize) {
        let sport = self.random.port(32768..=60999);
        let octets = style.syn((from, sport), to, self.random.next());
        if published(to.1) || is_trap(to) {
            return self.send(at, Verdict::Accepted, octets);
        }
        for wait in [0, 1, 3, 7].iter().take(again + 1) {
            self.send(at + wait * SECOND, Verdict::Refused, octets);
        }
    }

    pub(crate) fn ip(&mut self, src: IpAddr, dst: IpAddr) -> Ip {
        let number = self.random.next();
        Ip { src, dst, ttl: 44 + (number % 12) as u8, id: (number >> 16) as u16, df: true }
    }

    /// A datagram that the firewall refuses.
    pub(crate) fn udp(&mut self, at: u64, from: (IpAddr, u16), to: (IpAddr, u16), data: u16) {
        let octets = self.ip(from.0, to.0).udp(from.1, to.1, data);
        self.send(at, Verdict::Refused, octets);
    }

    /// A segment of a connection that conntrack has forgotten; a new one each time.
    pub(crate) fn late(&mut self, at: u64, from: (IpAddr, u16), to: (IpAddr, u16), flags: u16) {
        let octets = self.segment(from, to, flags);
        self.send(at, Verdict::Invalid, octets);
        if flags & TcpFlags::FIN != 0 && self.random.one_in(2) {
            self.send(at + 400 * MS, Verdict::Invalid, octets); // nobody acknowledged it
        }
    }

    /// A segment from the middle of a connection.
    pub(crate) fn segment(&mut self, from: (IpAddr, u16), to: (IpAddr, u16), flags: u16) -> Octets {
        let (seq, ack) = (self.random.next() as u32, self.random.next() as u32);
        let options = if flags & TcpFlags::RST == 0 { OPTIONS_LATE } else { &[] };
        self.ip(from.0, to.0).tcp(Tcp { sport: from.1, dport: to.1, seq, ack, flags, window: 501, options })
    }

    pub(crate) fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
        self.random.between(range)
    }
}

/// What nfban.yaml lists as services: the ports that are open to everybody.
pub(crate) fn published(port: u16) -> bool {
    matches!(port, 21 | 22 | 53 | 80 | 443 | 40000..=40100)
}

/// What nfban.yaml lists as traps.
pub(crate) const TRAPS: [u16; 3] = [23, 3389, 5900];
/// The host on which something listens at the traps, so that the firewall lets in what knocks there; the others refuse it.
pub(crate) const TRAP_HOST: u64 = 6;

fn is_trap((to, port): (IpAddr, u16)) -> bool {
    to == ours(TRAP_HOST) && TRAPS.contains(&port)
}

/// One of our 254 IPv4 addresses, counted round.
pub(crate) const fn ours(host: u64) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(198, 51, 100, (host % 254 + 1) as u8))
}

/// One of our IPv6 addresses: sixteen hosts in each of sixteen networks.
pub(crate) const fn ours6(host: u64) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x51, (host / 16 % 16) as u16, 0, 0, 0, (host % 16 + 1) as u16))
}

/// Ours, of the family of `like`.
pub(crate) const fn ours_like(like: IpAddr, host: u64) -> IpAddr {
    if like.is_ipv4() { ours(host) } else { ours6(host) }
}

/// A public IPv4 address: always the same for a number, and mostly another for another.
pub(crate) fn public(number: u64) -> Ipv4Addr {
    let mut number = mix(number);
    loop {
        let address = Ipv4Addr::from(number as u32);
        let [a, b, ..] = address.octets();
        let reserved = a == 0
            || a >= 224
            || address.is_private()
            || address.is_loopback()
            || address.is_link_local()
            || address.is_documentation()
            || (a == 100 && (64..128).contains(&b))
            || (a == 198 && (18..20).contains(&b))
            || (a == 192 && b == 0);
        if !reserved && !matches!(address.octets()[3], 0 | 255) {
            return address;
        }
        number = mix(number.wrapping_add(1));
    }
}

/// The host of a /24 that `number` stands for.
pub(crate) fn member(network: u64, host: u64) -> IpAddr {
    let [a, b, c, _] = public(network).octets();
    Ipv4Addr::new(a, b, c, (host % 254 + 1) as u8).into()
}

/// An address in the IPv6 network of a subscriber: `carrier` gives its /40, `subscriber` its /64.
pub(crate) fn public6(carrier: u64, subscriber: u64, host: u64) -> IpAddr {
    let top = 0x2a00_0000_0000_0000 | (mix(carrier) >> 8 & 0x00ff_ffff_ff00_0000);
    let network = top | subscriber & 0x00ff_ffff;
    Ipv6Addr::from(u128::from(network) << 64 | u128::from(mix(host))).into()
}
