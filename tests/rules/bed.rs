//! An engine with the shipped rules, and packets of every class.

use std::net::IpAddr;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use nfban::config::Config;
use nfban::config::rules::{SHIPPED, load};
use nfban::config::yaml::Source;
use nfban::detect::rule::Rule;
use nfban::detect::{Capacity, Seed};
use nfban::engine::{Action, Engine};
use nfban::event::Event;
use nfban::filter::Class;
use nfban::host::HostFacts;
use nfban::packet::{
    Fault, Fragment, Icmp, Observation, Packet, Pkttype, Tcp, TcpFlags, Transport, Udp, Verdict,
};
use nfban::setup;
use nfban::time::Stamp;

use TcpFlags as F;

pub const SCANNER: [u8; 4] = [192, 0, 2, 7];
/// One of ours.
pub const HOST: [u8; 4] = [203, 0, 113, 5];
/// Ours are `home`; the traps are no ports that other tests use.
pub const CONFIG: &str = "{home: [203.0.113.0/24], traps: [4444, 5555]}";

pub const MILLISECOND: u64 = 1_000_000;
pub const SECOND: u64 = 1_000 * MILLISECOND;

pub fn shipped() -> Vec<Rule> {
    static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| load(SHIPPED, Path::new("/nonexistent")).unwrap());
    RULES.clone()
}

/// What was seen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seen {
    pub packet: Packet,
    /// What the packet must be judged to be.
    pub class: Class,
    pub verdict: Verdict,
    pub fault: Option<Fault>,
    pub pkttype: Pkttype,
}

impl Seen {
    pub fn observation(&self) -> Observation<'static> {
        Observation {
            packet: self.packet,
            verdict: self.verdict,
            pkttype: self.pkttype,
            iif: "eth0",
            oif: "",
            prefix: b"",
            fault: self.fault,
        }
    }

    pub fn from(mut self, saddr: impl Into<IpAddr>) -> Self {
        self.packet.saddr = saddr.into();
        if self.packet.saddr.is_ipv6() {
            self.packet.daddr = "2001:db8:ffff::5".parse().unwrap();
            self.packet.dont_fragment = false;
        }
        self
    }

    pub fn to(mut self, daddr: impl Into<IpAddr>) -> Self {
        self.packet.daddr = daddr.into();
        self
    }

    pub fn at_ttl(mut self, ttl: u8) -> Self {
        self.packet.ttl = ttl;
        self
    }

    pub fn with(self, verdict: Verdict) -> Self {
        Self { verdict, ..self }
    }

    /// As one of our hosts sends it to the scanner.
    pub fn outbound(self) -> Self {
        self.from(HOST).to(SCANNER).with(Verdict::Outbound)
    }
}

fn seen(class: Class, protocol: u8, length: u32, transport: Transport) -> Seen {
    let packet = Packet {
        saddr: SCANNER.into(),
        daddr: HOST.into(),
        length,
        header_length: 20,
        ttl: 57,
        dont_fragment: true,
        identification: None,
        fragment: None,
        protocol,
        transport,
    };
    Seen { packet, class, verdict: Verdict::Refused, fault: None, pkttype: Pkttype::Unicast }
}

fn segment(class: Class, dport: u16, flags: u16, header_length: u8) -> Seen {
    let (sport, sequence) = (40_000, None);
    let tcp = Tcp {
        sport,
        dport,
        sequence,
        header_length: Some(header_length),
        flags: TcpFlags(flags),
        window: 1024,
    };
    seen(class, 6, 20 + u32::from(header_length), Transport::Tcp(tcp))
}

/// A SYN of `connect()`.
pub fn syn(dport: u16) -> Seen {
    segment(Class::Syn, dport, F::SYN, 40)
}

/// A SYN made by hand.
pub fn raw_syn(dport: u16) -> Seen {
    let mut seen = segment(Class::Syn, dport, F::SYN, 24);
    seen.packet.dont_fragment = false;
    seen
}

pub fn bogus(dport: u16) -> Seen {
    segment(Class::Bogus, dport, F::SYN | F::FIN, 20)
}

pub fn null(dport: u16) -> Seen {
    segment(Class::Null, dport, 0, 20)
}

pub fn fin(dport: u16) -> Seen {
    segment(Class::Fin, dport, F::FIN, 20)
}

pub fn xmas(dport: u16) -> Seen {
    segment(Class::Xmas, dport, F::FIN | F::PSH | F::URG, 20)
}

pub fn finack(dport: u16) -> Seen {
    segment(Class::Finack, dport, F::FIN | F::ACK, 20)
}

pub fn ack(dport: u16) -> Seen {
    segment(Class::Ack, dport, F::ACK, 20)
}

pub fn datagram(dport: u16) -> Seen {
    seen(Class::Udp, 17, 28, Transport::Udp(Udp { sport: 50_000, dport, length: 8 }))
}

/// A datagram with 60 octets of data.
pub fn with_data(dport: u16) -> Seen {
    seen(Class::Udp, 17, 88, Transport::Udp(Udp { sport: 50_000, dport, length: 68 }))
}

pub fn traced(dport: u16) -> Seen {
    Seen { class: Class::Trace, ..datagram(dport) }.at_ttl(1)
}

pub fn of_protocol(number: u8) -> Seen {
    seen(Class::Proto, number, 20, Transport::Opaque)
}

fn icmp(class: Class, kind: u8) -> Seen {
    seen(class, 1, 84, Transport::Icmp(Icmp { kind, code: 0 }))
}

pub fn echo() -> Seen {
    icmp(Class::Echo, 8)
}

pub fn timestamp_query() -> Seen {
    icmp(Class::Probe, 13)
}

pub fn broadcast_echo() -> Seen {
    Seen { pkttype: Pkttype::Broadcast, ..icmp(Class::Smurf, 8).to([203, 0, 113, 255]) }
}

pub fn faulty(fault: Fault) -> Seen {
    let mut seen = seen(Class::Fragment, 17, 28, Transport::Opaque).with(Verdict::Fragment);
    seen.packet.fragment = Some(Fragment { offset: 8, more: true, identification: 7, length: 8 });
    Seen { fault: Some(fault), ..seen }
}

/// An incident that opened: its name, and whose it is.
pub type Told = (String, String);

pub struct World {
    engine: Engine,
}

impl World {
    /// With the shipped rules but for `without`.
    pub fn new(without: Option<&str>) -> Self {
        let mut rules = shipped();
        for rule in &mut rules {
            rule.enabled = Some(rule.id.as_str()) != without;
        }
        let (config, _) =
            Config::read(&Source::new("test", CONFIG)).unwrap_or_else(|problems| panic!("{problems}"));
        let ruleset = setup::ruleset(&config, &rules).unwrap();
        let settings = setup::engine(&config, &HostFacts::default());
        Self { engine: Engine::new(ruleset, settings, Capacity::default(), Seed::Fixed) }
    }

    /// Takes in a packet at a time in nanoseconds; gives the incidents that open.
    pub fn see(&mut self, seen: &Seen, at: u64) -> Vec<Told> {
        let boot = Duration::from_secs(1_000_000) + Duration::from_nanos(at);
        let stamp = Stamp { boot, wall_us: (at / 1000).cast_signed() };
        let mut actions = Vec::new();
        self.engine.observe(&seen.observation(), stamp, &mut actions);
        actions
            .into_iter()
            .filter_map(|action| match action {
                Action::Tell(Event::Incident(incident)) => Some((incident.rule, incident.source.to_string())),
                _ => None,
            })
            .collect()
    }
}
