//! A detection rule as it stands in `rules/*.yaml`: checked, not yet compiled.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::decide::Response;
use crate::filter::{Class, Filter};

/// One rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Public name; two enabled rules never share one.
    pub id: String,
    /// The id its incidents carry where at least half of the counted values are raw probes (`raw-id`).
    pub raw_id: Option<String>,
    /// The id its incidents carry instead of its own (`report-as`): several rules may find the same thing.
    pub report_as: Option<String>,
    /// A few words for people.
    pub title: String,
    /// Whether it is used.
    pub enabled: bool,
    /// Which packets.
    pub filter: Filter,
    /// The classes that its incidents own besides those it matches (`owns`).
    pub owns: Vec<Class>,
    /// What of them is counted.
    pub count: Count,
    /// Per what.
    pub per: Key,
    /// Fires when the count reaches this; at least 1.
    pub threshold: u64,
    /// A value counts while it is younger than this; more than zero, at most 30 days.
    pub window: Duration,
    /// Overrides the configured response.
    pub respond: Option<Response>,
    /// How long an incident stays open without a packet; the longer of the window and a minute unless said (`quiet`).
    pub quiet: Option<Duration>,
    /// Accepted packets count only once as many counted values come from packets that were not accepted
    /// (`closed-at-least`); 0 unless said.
    pub closed_at_least: u32,
    /// Fires only if the counted values came from at least this many source addresses (`from-at-least`); 1 unless said.
    pub from_at_least: u32,
    /// Of packets and octets: the threshold is asked for each distinct value of these among the counted packets
    /// (`for-each`); nothing unless said, that is once.
    pub for_each: Fields,
}

/// What a rule counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Count {
    /// Packets.
    Packets,
    /// Octets of IP.
    Bytes,
    /// Distinct values.
    Distinct {
        /// What makes a value.
        fields: Fields,
        /// How much a value weighs.
        weights: Weights,
    },
}

/// The parts of a packet that together make a distinct value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fields {
    /// Transport protocol and destination port.
    pub dport: bool,
    /// Destination address.
    pub daddr: bool,
    /// Source address.
    pub saddr: bool,
    /// IP protocol.
    pub protocol: bool,
}

/// How much a distinct value weighs, by its destination port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weights {
    /// First match wins; 1–255.
    pub ports: Vec<PortWeight>,
    /// The weight of any other port, and of packets without one; 1–255.
    pub rest: u8,
}

/// The weight of some ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortWeight {
    /// The weight.
    pub weight: u8,
    /// These ports.
    pub ports: Vec<RangeInclusive<u16>>,
    /// And the configured traps.
    pub traps: bool,
}

/// Per what a rule counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// The source: an IPv4 address, an IPv6 /64 (an address where it is on-link).
    Source,
    /// The source and the destination address together (`source-and-destination`).
    Pair,
    /// A prefix of the source; where a family has no length the rule does not apply to it.
    Prefix {
        /// IPv4 prefix length.
        ipv4: Option<u8>,
        /// IPv6 prefix length.
        ipv6: Option<u8>,
    },
}
