//! An open incident: what has been seen of one scan or flood so far.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::rc::Rc;

use foldhash::HashSet;
use foldhash::HashSetExt;

use ipnet::IpNet;

use super::Grounds;
use super::key::SourceKey;
use super::probe::{Probe, Sighting, nanoseconds};
use crate::decide::{Evidence, Response};
use crate::event::{self, IncidentId};
use crate::time::Stamp;

/// How many ports and destinations an incident lists.
const LISTED: usize = 64;
/// How many distinct addresses an incident counts exactly; more are told as this many.
const COUNTED: usize = 65_536;

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
    destinations: HashSet<IpAddr>,
    sources: HashSet<IpAddr>,
    protocols: BTreeSet<u8>,
    packets: u64,
    bytes: u64,
    /// How much of the room that all open incidents share it has taken.
    taken: usize,
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
            destinations: HashSet::new(),
            sources: HashSet::new(),
            protocols: BTreeSet::new(),
            packets: 0,
            bytes: 0,
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

    /// Names it, once its first packet is known.
    pub(super) fn identify(&mut self) {
        self.id = identity(&self.name, &self.key, self.first_seen);
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
        if has_ports(probe.protocol) && (room || self.ports.len() < LISTED) {
            kept += usize::from(self.ports.insert((probe.protocol, probe.dport)));
        }
        for (set, address) in [(&mut self.destinations, probe.daddr), (&mut self.sources, probe.saddr)] {
            if set.len() < most {
                kept += usize::from(set.insert(address));
            }
        }
        kept
    }

    /// What it is answered on, against `targets`.
    pub(super) fn grounds(&self, respond: Option<Response>, targets: Vec<IpNet>) -> Grounds {
        let (rule, evidence) = (self.name.to_string(), Evidence::Spoofable);
        Grounds { incident: self.id, rule, targets, evidence, respond }
    }

    /// The incident as it is told.
    pub(super) fn record(&self) -> event::Incident {
        let mut destinations: Vec<_> = self.destinations.iter().copied().collect();
        destinations.sort_unstable();
        destinations.truncate(LISTED);
        let mut ports: Vec<_> = self.ports.iter().map(|&(_, port)| port).collect();
        ports.sort_unstable();
        ports.dedup();
        ports.truncate(LISTED);
        event::Incident {
            id: self.id,
            rule: self.name.to_string(),
            source: self.key.net,
            evidence: Evidence::Spoofable,
            first_seen: self.first_seen,
            last_seen: self.last_seen,
            time: self.opened,
            destinations,
            distinct_destinations: count(self.destinations.len()),
            ports,
            distinct_ports: count(self.ports.len()),
            protocols: self.protocols.iter().map(|&number| protocol_name(number)).collect(),
            addresses: count(self.sources.len()),
            packets: self.packets,
            bytes: self.bytes,
        }
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

fn earlier(a: Stamp, b: Stamp) -> Stamp {
    if b.boot < a.boot { b } else { a }
}

const fn has_ports(protocol: u8) -> bool {
    use crate::packet::protocol::{TCP, UDP, UDPLITE};
    matches!(protocol, TCP | UDP | UDPLITE)
}

/// The name `/etc/protocols` has for it, or the number.
fn protocol_name(number: u8) -> String {
    use crate::packet::protocol as p;
    match number {
        p::ICMP => "icmp",
        p::IGMP => "igmp",
        p::TCP => "tcp",
        p::UDP => "udp",
        p::ICMPV6 => "icmpv6",
        p::SCTP => "sctp",
        p::UDPLITE => "udplite",
        other => return other.to_string(),
    }
    .to_owned()
}

/// FNV-1a over what makes the incident the one it is: the same capture gives the same id on any machine and version.
fn identity(rule: &str, key: &SourceKey, first_seen: Stamp) -> IncidentId {
    let parts = [
        rule.as_bytes().to_vec(),
        key.net.to_string().into_bytes(),
        key.zone.to_be_bytes().to_vec(),
        first_seen.wall_us.to_be_bytes().to_vec(),
    ];
    let octets = parts.iter().flat_map(|part| part.iter().copied().chain([0]));
    IncidentId(octets.fold(0xcbf2_9ce4_8422_2325, |hash: u64, octet| {
        (hash ^ u64::from(octet)).wrapping_mul(0x0000_0100_0000_01b3)
    }))
}
