//! Packets alike, as one: a sighting, in two halves, as every packet searches the keys of all and needs the rest of few.

use std::hash::BuildHasher as _;
use std::net::IpAddr;

use foldhash::fast::SeedableRandomState;

use super::Newcomer;
use crate::detect::probe::{Ends, Probe};
use crate::detect::shape::ShapeId;
use crate::detect::tool::Marks;
use crate::packet::Verdict;
use crate::time::Stamp;

/// The part of a sighting that changes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hot {
    /// A keyed hash of all that makes the sighting what it is.
    pub(super) key: u64,
    /// Boot time in nanoseconds.
    pub(super) last: i64,
    pub(super) bytes: u64,
    /// Four thousand million packets alike, without an incident, is nothing that happens.
    pub(super) packets: u32,
    /// When the wider keys were told of it, in seconds since boot, its lowest 16 bits.
    pub(super) told: u16,
    /// Whether the latest packet looks made by hand.
    pub(super) raw: bool,
    /// Whether rules that fired have forgotten it since: it counts for the others, and takes no more packets.
    pub(super) closed: bool,
}

/// The part of a sighting that stays; of a newcomer it is all.
#[derive(Debug, Clone, Copy)]
pub(in crate::detect) struct Cold {
    pub(in crate::detect) first: Stamp,
    pub(in crate::detect) saddr: IpAddr,
    pub(super) daddr: IpAddr,
    pub(super) sport: u16,
    pub(super) dport: u16,
    pub(in crate::detect) shape: ShapeId,
    pub(super) flags: u16,
    pub(super) length: u32,
    pub(super) protocol: u8,
    pub(super) ttl: u8,
    pub(super) marks: Marks,
    pub(super) message: u16,
    pub(super) interface: u8,
    pub(super) verdict: Verdict,
    /// Whether the first packet looks made by hand.
    pub(super) raw: bool,
}

/// What more is known of a packet must not cost memory: it fits into what the alignment leaves over.
const _: () = assert!(size_of::<Hot>() == 32 && size_of::<Cold>() == 80 && size_of::<Newcomer>() == 96);

/// The seconds of a boot time, their lowest 16 bits.
pub(super) fn seconds(now: i64) -> u16 {
    u16::try_from(now.div_euclid(1_000_000_000) & 0xffff).unwrap_or_default()
}

impl Hot {
    /// Has it take no more packets: from now on it has a key that no packet has.
    pub(super) fn close(&mut self, hasher: &SeedableRandomState) {
        self.key = hasher.hash_one(self.key);
        self.closed = true;
    }
}

impl Cold {
    pub(in crate::detect) const fn new(probe: &Probe, shape: ShapeId) -> Self {
        Self {
            first: probe.at,
            saddr: probe.saddr,
            daddr: probe.daddr,
            sport: probe.sport,
            dport: probe.dport,
            shape,
            flags: probe.flags,
            length: probe.length,
            protocol: probe.protocol,
            ttl: probe.ttl,
            marks: probe.marks,
            message: probe.message,
            interface: probe.interface,
            verdict: probe.verdict,
            raw: probe.raw,
        }
    }

    pub(super) const fn ends(&self) -> Ends<'_> {
        Ends { protocol: self.protocol, dport: self.dport, saddr: &self.saddr, daddr: &self.daddr }
    }

    /// The packet, or one like it that looked made by hand or not.
    pub(super) const fn probe(&self, raw: bool) -> Probe {
        Probe {
            at: self.first,
            saddr: self.saddr,
            daddr: self.daddr,
            sport: self.sport,
            dport: self.dport,
            protocol: self.protocol,
            ttl: self.ttl,
            flags: self.flags,
            length: self.length,
            raw,
            marks: self.marks,
            message: self.message,
            interface: self.interface,
            verdict: self.verdict,
        }
    }
}
