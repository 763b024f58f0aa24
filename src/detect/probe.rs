//! One packet as far as it is counted, and what is kept of those that were.

use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::Arc;

use super::key::SourceKey;
use super::tool::Marks;
use crate::filter::Class;
use crate::packet::{Observation, Packet, Tcp, Transport, Verdict};
use crate::time::Stamp;

/// A packet that is evidence, as it came. What is kept of it is worked out where it is kept: most packets only repeat
/// earlier ones.
pub(super) struct Arrival<'a> {
    pub(super) observation: &'a Observation<'a>,
    pub(super) class: Class,
    /// Whom it is counted for.
    pub(super) key: SourceKey,
    pub(super) at: Stamp,
    /// The same in nanoseconds since boot.
    pub(super) now: i64,
}

impl Arrival<'_> {
    const fn packet(&self) -> &Packet {
        &self.observation.packet
    }

    /// IP length in octets.
    pub(super) const fn length(&self) -> u32 {
        self.packet().length
    }

    /// Whether it looks made by hand.
    pub(super) fn is_raw(&self) -> bool {
        self.packet().is_raw()
    }

    pub(super) fn ends(&self) -> Ends<'_> {
        let Packet { protocol, saddr, daddr, .. } = self.packet();
        let dport = self.packet().ports().map_or(0, |(_, dport)| dport);
        Ends { protocol: *protocol, dport, saddr, daddr }
    }

    pub(super) fn probe(&self, interfaces: &Interfaces) -> Probe {
        Probe::new(self.observation, self.at, interfaces)
    }
}

/// The names of interfaces as small numbers, so that a sighting takes no more memory for knowing its own. Behind a shared
/// reference, as most packets only repeat a sighting and need none.
#[derive(Debug, Default)]
pub(super) struct Interfaces(RefCell<Vec<Arc<str>>>);

/// The number of an interface that is not known.
const UNKNOWN: u8 = 0;

impl Interfaces {
    /// The number of the interface of a packet. Beyond 255 names, which are the administrator's, it is as none.
    fn number(&self, observation: &Observation<'_>) -> u8 {
        let name = if observation.iif.is_empty() { observation.oif } else { observation.iif };
        if name.is_empty() {
            return UNKNOWN;
        }
        let mut names = self.0.borrow_mut();
        let at = names.iter().position(|known| **known == *name).unwrap_or_else(|| {
            if names.len() < usize::from(u8::MAX) {
                names.push(Arc::from(name));
            }
            names.len() - 1
        });
        let is_it = names.get(at).is_some_and(|known| **known == *name);
        u8::try_from(at + 1).ok().filter(|_| is_it).unwrap_or(UNKNOWN)
    }

    /// The name, empty where it is not known.
    pub(super) fn name(&self, number: u8) -> Arc<str> {
        let names = self.0.borrow();
        let at = usize::from(number).checked_sub(1);
        at.and_then(|at| names.get(at)).cloned().unwrap_or_else(|| Arc::from(""))
    }
}

/// By what packets of one source are told apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends<'a> {
    pub(super) protocol: u8,
    pub(super) dport: u16,
    pub(super) saddr: &'a IpAddr,
    pub(super) daddr: &'a IpAddr,
}

/// What is kept of a packet that counts: enough to tell later why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Probe {
    /// When it came.
    pub(super) at: Stamp,
    /// Source address.
    pub(super) saddr: IpAddr,
    /// Destination address.
    pub(super) daddr: IpAddr,
    /// Source port, 0 where there is none.
    pub(super) sport: u16,
    /// Destination port; 0 where there is none.
    pub(super) dport: u16,
    /// IP protocol.
    pub(super) protocol: u8,
    /// TTL or hop limit.
    pub(super) ttl: u8,
    /// TCP control bits.
    pub(super) flags: u16,
    /// IP length in octets.
    pub(super) length: u32,
    /// Whether it looks made by hand ([`Packet::is_raw`]).
    pub(super) raw: bool,
    /// Whose fingerprints it bears.
    pub(super) marks: Marks,
    /// Type and code of ICMP; else 0.
    pub(super) message: u16,
    /// The interface, as [`Interfaces`] numbers them.
    pub(super) interface: u8,
    /// What the firewall did with it.
    pub(super) verdict: Verdict,
}

impl Probe {
    pub(super) fn new(observation: &Observation<'_>, at: Stamp, interfaces: &Interfaces) -> Self {
        let packet = &observation.packet;
        let (sport, dport) = packet.ports().unwrap_or_default();
        let flags = match packet.transport {
            Transport::Tcp(Tcp { flags, .. }) => flags.0,
            _ => 0,
        };
        let message = match packet.transport {
            Transport::Icmp(icmp) => u16::from_be_bytes([icmp.kind, icmp.code]),
            _ => 0,
        };
        Self {
            at,
            saddr: packet.saddr,
            daddr: packet.daddr,
            sport,
            dport,
            protocol: packet.protocol,
            ttl: packet.ttl,
            flags,
            length: packet.length,
            raw: packet.is_raw(),
            marks: Marks::of(packet),
            message,
            interface: interfaces.number(observation),
            verdict: observation.verdict,
        }
    }

    pub(super) const fn ends(&self) -> Ends<'_> {
        Ends { protocol: self.protocol, dport: self.dport, saddr: &self.saddr, daddr: &self.daddr }
    }
}

/// Packets that are alike in all that any rule counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sighting {
    /// When the first of them came, while they have been coming without a pause.
    pub(super) first: Stamp,
    /// The first of them; `raw` tells of the latest.
    pub(super) probe: Probe,
    /// How many.
    pub(super) packets: u64,
    /// Their IP lengths in sum.
    pub(super) bytes: u64,
}

/// Nanoseconds since boot; 292 years fit. Signed, as what was seen before a restart may lie before the boot.
pub(super) fn nanoseconds(at: Stamp) -> i64 {
    let seconds = i64::try_from(at.boot.as_secs()).unwrap_or(i64::MAX);
    seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(at.boot.subsec_nanos()))
}
