//! One packet as far as it is counted, and what is kept of those that were.

use std::net::IpAddr;

use super::tool::Marks;
use crate::packet::{Observation, Tcp, Transport};
use crate::time::Stamp;

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
    /// Whether it looks made by hand ([`super::class::is_raw`]).
    pub(super) raw: bool,
    /// Whose fingerprints it bears.
    pub(super) marks: Marks,
}

impl Probe {
    /// Of an observed packet.
    #[must_use]
    pub(super) fn new(observation: &Observation<'_>, at: Stamp) -> Self {
        let packet = &observation.packet;
        let (sport, dport) = packet.ports().unwrap_or_default();
        let flags = match packet.transport {
            Transport::Tcp(Tcp { flags, .. }) => flags.0,
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
            raw: super::class::is_raw(packet),
            marks: Marks::of(packet),
        }
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
