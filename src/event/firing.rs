//! Why a rule fired: what it asks for, and the very packets that it counted.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::IncidentId;
use crate::decide::{Evidence, Measure, Shielded};
use crate::packet::{TcpFlags, Verdict};
use crate::time::Stamp;

/// How many packets a firing lists; of more, the latest.
pub const LISTED: usize = 64;

/// So many firings of one incident are kept.
pub const FIRINGS: u32 = 16;

/// A rule that fired, and so opened an incident or led to a ban in one that was open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firing {
    /// The incident.
    pub incident: IncidentId,
    /// The id of the rule as the rule files have it; its incidents may have another name (`report-as`, `raw-id`).
    pub rule: String,
    /// The name that its incident has.
    pub told_as: String,
    /// Whose packets: an address or a prefix.
    pub source: IpNet,
    /// How well that address is proven.
    pub evidence: Evidence,
    /// When it fired.
    pub time: Stamp,
    /// What the rule counts, in words: `distinct ports`.
    pub counts: String,
    /// What it came to.
    pub count: u64,
    /// Where it fires.
    pub threshold: u64,
    /// What is counted for how long.
    pub window: Duration,
    /// What was counted, the earliest first; at most [`LISTED`].
    pub packets: Vec<Counted>,
    /// How many earlier entries of that list are left out.
    pub left_out: u64,
    /// Whether it opened the incident.
    pub opened: bool,
    /// Which one of the incident it is, from 0 on; at most [`FIRINGS`] are kept of one, and the latest has the last number.
    pub number: u32,
    /// What was done about it.
    pub answer: Answer,
}

impl Firing {
    /// What of it is not about sources within `net`; none where all of it is.
    #[must_use]
    pub fn without(mut self: Arc<Self>, net: IpNet) -> Option<Arc<Self>> {
        let is_named = |packet: &Counted| net.contains(&packet.saddr);
        if net.contains(&self.source) {
            return None;
        }
        if self.packets.iter().any(is_named) {
            Arc::make_mut(&mut self).packets.retain(|packet| !is_named(packet));
        }
        Some(self)
    }
}

/// Packets alike that were counted: the first of them, and how many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// When the first one came.
    pub first: Stamp,
    /// When the latest one came.
    pub last: Stamp,
    /// How many, at least 1.
    pub packets: u64,
    /// The interface it came in by, or left by where the source is ours; empty where that is not known.
    pub interface: Arc<str>,
    /// Source address.
    pub saddr: IpAddr,
    /// Destination address; a log of requests does not tell it.
    pub daddr: Option<IpAddr>,
    /// IP protocol.
    pub protocol: u8,
    /// What is behind the addresses.
    pub what: What,
    /// TTL or hop limit, where it was seen.
    pub ttl: Option<u8>,
    /// IP length in octets, where it was seen.
    pub length: Option<u32>,
    /// What the firewall did with it, where it was a packet.
    pub verdict: Option<Verdict>,
}

/// What a packet was, or what else was counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A TCP segment.
    Tcp {
        /// Source port.
        sport: u16,
        /// Destination port.
        dport: u16,
        /// Control bits.
        flags: TcpFlags,
    },
    /// A datagram of UDP or UDP-Lite.
    Udp {
        /// Source port.
        sport: u16,
        /// Destination port.
        dport: u16,
    },
    /// A message of ICMP or ICMPv6.
    Icmp {
        /// Message type.
        kind: u8,
        /// Message code.
        code: u8,
    },
    /// Anything else, and fragments without a transport header.
    Other,
    /// A handshake that was completed with a trap.
    Touch {
        /// Source port.
        sport: u16,
        /// The trap.
        dport: u16,
    },
    /// A request to a web server.
    Request {
        /// Which kind of probe it is.
        probe: String,
        /// What was asked, as it was sent: text from outside, at most [`LINE`] octets of it and `…` where there was more.
        line: String,
        /// The status that was answered.
        status: u16,
    },
}

/// So much of a request is kept.
pub const LINE: usize = 200;

/// What was done when a rule fired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// These were to be kept out.
    Acted {
        /// How.
        measure: Measure,
        /// For how long.
        timeout: Duration,
        /// How often the first of them had been banned before.
        before: u32,
        /// How many of the source: more than one where it is a prefix.
        targets: u64,
    },
    /// It was kept out already.
    Stands,
    /// The rule or the configuration only tells of such.
    Logs,
    /// There is no set for such a target, or no conntrack, which a restriction needs.
    Unavailable,
    /// It is never acted against.
    Shielded(Shielded),
    /// There was no room for a ban more.
    NoRoom,
}
