//! An open incident: what has been seen of one scan or flood so far.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use foldhash::HashSet;
use foldhash::HashSetExt;
use ipnet::IpNet;

use super::Grounds;
use super::key::SourceKey;
use super::probe::{Probe, Sighting, nanoseconds};
use super::tool::Signature;
use crate::decide::{Evidence, Response};
use crate::event::firing::Firing;
use crate::event::{self, IncidentId};
use crate::packet::protocol::{self, has_ports};
use crate::time::Stamp;

/// How many ports, runs of ports, source ports and destinations an incident lists.
const LISTED: usize = 64;
/// How many distinct addresses an incident counts exactly; more are told as this many.
const COUNTED: usize = 65_536;
/// The least time between two updates of an incident: a flood doubles several times in its first second.
const UPDATE_EVERY: Duration = Duration::from_secs(10);

/// What is known of an incident while it is open.
#[derive(Debug, Clone)]
pub(super) struct Open {
    pub(super) id: IncidentId,
    pub(super) rule: usize,
    pub(super) key: SourceKey,
    name: Rc<str>,
    opened: Stamp,
    first_seen: Stamp,
    last_seen: Stamp,
    ports: HashSet<(u8, u16)>,
    source_ports: HashSet<u16>,
    destinations: HashSet<IpAddr>,
    sources: HashSet<IpAddr>,
    protocols: BTreeSet<u8>,
    packets: u64,
    bytes: u64,
    signature: Signature,
    told: Told,
    /// How much of the room that all open incidents share it has taken.
    taken: usize,
}

/// What was known when an incident was last told.
#[derive(Debug, Clone, Copy, Default)]
struct Told {
    /// Since boot.
    at: Duration,
    packets: u64,
    ports: u64,
    destinations: u64,
}

impl Open {
    /// Opens an incident at the packet that made `name` fire.
    pub(super) fn new(rule: usize, name: Rc<str>, key: SourceKey, opened: Stamp) -> Self {
        Self {
            id: IncidentId(0),
            rule,
            key,
            name,
            opened,
            first_seen: opened,
            last_seen: opened,
            ports: HashSet::new(),
            source_ports: HashSet::new(),
            destinations: HashSet::new(),
            sources: HashSet::new(),
            protocols: BTreeSet::new(),
            packets: 0,
            bytes: 0,
            signature: Signature::new(),
            told: Told::default(),
            taken: 0,
        }
    }

    /// Takes over what has counted so far.
    pub(super) fn take_sighting(&mut self, sighting: &Sighting) {
        self.note(&sighting.probe, true);
        self.first_seen = earlier(self.first_seen, sighting.first);
        self.packets = self.packets.saturating_add(sighting.packets);
        self.bytes = self.bytes.saturating_add(sighting.bytes);
    }

    /// Takes over what a counter of packets or octets knows: more than the sightings, of which not all are kept.
    pub(super) fn take_totals(&mut self, (packets, bytes): (u64, u64)) {
        (self.packets, self.bytes) = (packets, bytes);
    }

    /// Counts one more packet of it. `room` is how many values more all open incidents together may keep.
    pub(super) fn update(&mut self, probe: &Probe, room: &mut usize) {
        let kept = self.note(probe, *room > 0);
        self.taken += kept;
        *room = room.saturating_sub(kept);
        self.last_seen = probe.at;
        self.packets = self.packets.saturating_add(1);
        self.bytes = self.bytes.saturating_add(u64::from(probe.length));
    }

    /// Whether another one is about the same source and has the same name, of another rule maybe.
    pub(super) fn is_the_same(&self, other: &Self) -> bool {
        self.name == other.name && self.key.net() == other.key.net()
    }

    /// Takes in what another one has seen.
    pub(super) fn join(&mut self, other: &Self) {
        self.first_seen = earlier(self.first_seen, other.first_seen);
        self.last_seen =
            if other.last_seen.boot > self.last_seen.boot { other.last_seen } else { self.last_seen };
        self.ports.extend(&other.ports);
        self.source_ports.extend(&other.source_ports);
        self.destinations.extend(&other.destinations);
        self.sources.extend(&other.sources);
        self.protocols.extend(&other.protocols);
        self.packets = self.packets.saturating_add(other.packets);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    /// Keeps it open for what belongs to it and is counted elsewhere: fragments, whose packet comes when it is whole.
    pub(super) fn touch(&mut self, at: Stamp) {
        self.last_seen = at;
    }

    /// Forgets the senders within `net`, as far as they are known by name.
    pub(super) fn forget_senders(&mut self, net: IpNet) {
        self.sources.retain(|source| !net.contains(source));
    }

    /// Names it, once its first packet is known. What is known then is what its opening tells.
    pub(super) fn identify(&mut self) {
        self.id = IncidentId::of(&self.name, self.key.net(), self.key.zone(), self.first_seen);
        self.tell();
    }

    /// Whether it is to be told again: it has twice the packets, ports or destinations of the last time, which is 10 s
    /// ago or more. So what a log gets of an incident is bounded, whatever its rate: a line for each doubling.
    #[must_use]
    pub(super) fn grown(&mut self) -> bool {
        let (told, now) = (self.told, self.now());
        let doubled = |before: u64, now: u64| now >= before.max(1).saturating_mul(2);
        let grown = now.at.saturating_sub(told.at) >= UPDATE_EVERY
            && (doubled(told.packets, now.packets)
                || doubled(told.ports, now.ports)
                || doubled(told.destinations, now.destinations));
        if grown {
            self.tell();
        }
        grown
    }

    fn tell(&mut self) {
        self.told = self.now();
        let (targets, sources) = self.targets_and_sources();
        self.signature.settle(targets, sources);
    }

    fn now(&self) -> Told {
        Told {
            at: self.last_seen.boot,
            packets: self.packets,
            ports: count(self.ports.len()),
            destinations: count(self.destinations.len()),
        }
    }

    /// Nanoseconds since boot of its latest packet.
    pub(super) fn last_seen(&self) -> i64 {
        nanoseconds(self.last_seen)
    }

    /// Its latest packet.
    pub(super) const fn last_stamp(&self) -> Stamp {
        self.last_seen
    }

    /// How much of the shared room is free again when it ends.
    pub(super) const fn taken(&self) -> usize {
        self.taken
    }

    /// Notes where a packet came from and went to, and tells how many values were new. Without room only as many are
    /// kept as are listed.
    fn note(&mut self, probe: &Probe, room: bool) -> usize {
        let most = if room { COUNTED } else { LISTED };
        self.protocols.insert(probe.protocol);
        let mut kept = 0;
        if has_ports(probe.protocol) {
            if room || self.ports.len() < LISTED {
                kept += usize::from(self.ports.insert((probe.protocol, probe.dport)));
            }
            if room || self.source_ports.len() < LISTED {
                kept += usize::from(self.source_ports.insert(probe.sport));
            }
        }
        for (set, address) in [(&mut self.destinations, probe.daddr), (&mut self.sources, probe.saddr)] {
            if set.len() < most {
                kept += usize::from(set.insert(address));
            }
        }
        let (targets, sources) = self.targets_and_sources();
        self.signature.add(probe.marks, probe.ttl, targets, sources);
        kept
    }

    /// How many ports, hosts or protocols, whichever is most, and how many addresses they were probed from.
    fn targets_and_sources(&self) -> (u64, u64) {
        let targets = self.ports.len().max(self.destinations.len()).max(self.protocols.len());
        (count(targets), count(self.sources.len()))
    }

    /// What it is answered on, against `targets`; cheap, unlike [`Self::record`].
    pub(super) fn grounds(
        &self,
        respond: Option<Response>,
        targets: Vec<IpNet>,
        mut firing: Option<Box<Firing>>,
    ) -> Grounds {
        firing.iter_mut().for_each(|firing| firing.told_as = self.name.to_string());
        let (rule, evidence) = (self.name.to_string(), Evidence::Spoofable);
        Grounds { incident: self.id, rule, targets, evidence, respond, firing }
    }

    /// The incident as it is told.
    pub(super) fn record(&self) -> event::Incident {
        let ports = ascending(self.ports.iter().map(|&(_, port)| port));
        let (targets, sources) = self.targets_and_sources();
        event::Incident {
            id: self.id,
            rule: self.name.to_string(),
            source: self.key.net(),
            evidence: Evidence::Spoofable,
            first_seen: self.first_seen,
            last_seen: self.last_seen,
            time: self.opened,
            destinations: listed(ascending(self.destinations.iter().copied())),
            distinct_destinations: count(self.destinations.len()),
            port_ranges: event::runs(&ports).take(LISTED).collect(),
            ports: listed(ports),
            distinct_ports: count(self.ports.len()),
            source_ports: listed(ascending(self.source_ports.iter().copied())),
            distinct_source_ports: count(self.source_ports.len()),
            protocols: self.protocols.iter().map(|&number| protocol::name(number)).collect(),
            addresses: sources,
            packets: self.packets,
            bytes: self.bytes,
            tool: self.signature.tool(targets, sources),
            probes: Vec::new(),
        }
    }
}

fn ascending<T: Ord>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable();
    values.dedup();
    values
}

fn listed<T>(mut values: Vec<T>) -> Vec<T> {
    values.truncate(LISTED);
    values
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

pub(super) fn earlier(a: Stamp, b: Stamp) -> Stamp {
    // What was seen before the boot has no boot time.
    if (b.boot, b.wall_us) < (a.boot, a.wall_us) { b } else { a }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Observation, Packet, Pkttype, Tcp, TcpFlags, Transport, Verdict};

    /// A SYN `at_ms` milliseconds after boot.
    fn probe(at_ms: u64, sport: u16, dport: u16, host: u8) -> Probe {
        let tcp = Tcp {
            sport,
            dport,
            sequence: Some(1),
            header_length: Some(20),
            flags: TcpFlags(TcpFlags::SYN),
            window: 64240,
        };
        let packet = Packet {
            saddr: [192, 0, 2, 7].into(),
            daddr: [203, 0, 113, host].into(),
            length: 40,
            header_length: 20,
            ttl: 57,
            dont_fragment: true,
            identification: Some(0),
            fragment: None,
            protocol: protocol::TCP,
            transport: Transport::Tcp(tcp),
        };
        let (verdict, pkttype) = (Verdict::Refused, Pkttype::Unicast);
        let observation =
            Observation { packet, verdict, pkttype, iif: "", oif: "", prefix: b"", fault: None };
        let boot = Duration::from_millis(at_ms);
        let interfaces = super::super::probe::Interfaces::default();
        Probe::new(&observation, Stamp { boot, wall_us: i64::try_from(at_ms).unwrap() * 1000 }, &interfaces)
    }

    fn open(first: &Probe) -> Open {
        let key = SourceKey::new(IpAddr::from([192, 0, 2, 7]).into(), 0);
        let mut open = Open::new(0, "tcp-port-scan".into(), key, first.at);
        open.update(first, &mut 1_000_000);
        open.identify();
        open
    }

    #[test]
    fn an_incident_tells_its_totals_its_runs_of_ports_and_its_source_ports() {
        let mut open = open(&probe(0, 40_000, 1, 1));
        let mut room = 1_000_000;
        for dport in (2..=1000).chain([3306]) {
            let host = if dport > 990 { 9 } else { 1 };
            open.update(&probe(u64::from(dport), 40_000 + dport % 100, dport, host), &mut room);
        }
        let told = open.record();
        assert_eq!(told.port_ranges, [1..=1000, 3306..=3306]);
        assert_eq!((told.ports.len(), told.ports.last()), (64, Some(&64)));
        assert_eq!((told.source_ports.len(), told.source_ports.first()), (64, Some(&40_000)));
        assert_eq!(
            (told.distinct_ports, told.distinct_source_ports, told.distinct_destinations),
            (1001, 100, 2)
        );
        assert_eq!((told.packets, told.bytes, told.duration()), (1001, 40_040, Duration::from_millis(3306)));
        assert_eq!(told.tool, None);
    }

    #[test]
    fn totals_outgrow_32_bits() {
        let mut open = open(&probe(0, 1, 1, 1));
        (open.packets, open.bytes) = (u64::from(u32::MAX), u64::from(u32::MAX) * 1500);
        open.update(&probe(1, 1, 1, 1), &mut 0);
        let told = open.record();
        assert_eq!((told.packets, told.bytes), (1 << 32, 0xffff_ffff * 1500 + 40));
        (open.packets, open.bytes) = (u64::MAX, u64::MAX);
        open.update(&probe(2, 1, 1, 1), &mut 0);
        assert_eq!((open.record().packets, open.record().bytes), (u64::MAX, u64::MAX));
    }

    #[test]
    fn lists_are_bounded_with_and_without_room() {
        let mut first = open(&probe(0, 0, 0, 1));
        let mut room = 100;
        for port in 0..=u16::MAX {
            first.update(&probe(1, port, port, 1), &mut room);
        }
        assert_eq!((room, first.taken() >= 100), (0, true));
        let told = first.record();
        // What was counted while there was room, and no more.
        assert!(told.distinct_ports <= 64 + 100 && told.distinct_source_ports <= 64 + 100, "{told:?}");
        assert_eq!(
            (told.ports.len(), told.source_ports.len()),
            (told.ports.len().min(64), 64.min(told.source_ports.len()))
        );
        let mut scattered = open(&probe(0, 1, 1, 1));
        for port in (1..2000).step_by(2) {
            scattered.update(&probe(1, 1, port, 1), &mut 1_000_000);
        }
        assert_eq!(scattered.record().port_ranges.len(), 64);
    }

    #[test]
    fn an_incident_is_told_again_when_it_has_doubled_and_ten_seconds_have_passed() {
        let mut open = open(&probe(0, 1, 1, 1));
        for at in 1..10_000 {
            open.update(&probe(at, 1, 1, 1), &mut 0);
            assert!(!open.grown(), "{at}");
        }
        open.update(&probe(10_000, 1, 1, 1), &mut 0);
        assert!(open.grown());
        assert!(!open.grown());
        // It has 10 001 packets now.
        for at in 10_001..20_001 {
            open.update(&probe(at, 1, 1, 1), &mut 0);
            assert!(!open.grown(), "{at}");
        }
        open.update(&probe(20_001, 1, 1, 1), &mut 0);
        assert!(open.grown());
        // Hosts and ports count like packets, of which there are many more.
        open.update(&probe(40_000, 1, 1, 2), &mut 100);
        assert!(open.grown());
        open.update(&probe(60_000, 1, 2, 2), &mut 100);
        assert!(open.grown());
        open.update(&probe(80_000, 1, 3, 3), &mut 100);
        assert!(!open.grown());
    }

    #[test]
    fn a_flood_of_an_hour_is_told_again_a_handful_of_times() {
        let mut open = open(&probe(0, 1, 1, 1));
        let mut room = 1_000_000;
        let told = (0..3_600_000_u64)
            .step_by(100)
            .filter(|&at| {
                let number = u16::try_from(at / 100 % 65_536).unwrap();
                open.update(&probe(at, number, number, 1), &mut room);
                open.grown()
            })
            .count();
        assert!((7..=12).contains(&told), "{told}");
    }
}
