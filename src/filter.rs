//! Which packets are meant, in the words of nftables: shared by rules (`match`) and configuration (`ignore`).

use std::ops::RangeInclusive;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::packet::{Pkttype, Verdict};

/// The class of a packet: what it would be evidence of, judged from the packet alone. See `docs/detection.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are the documentation's own")]
pub enum Class {
    Bogus,
    Null,
    Fin,
    Xmas,
    Finack,
    Ack,
    Syn,
    Udp,
    Trace,
    Proto,
    Echo,
    Probe,
    Smurf,
}

/// A conjunction: every part that is present must hold. An empty list is a part that is absent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the fields are named as in nft(8)")]
pub struct Filter {
    pub class: Vec<Class>,
    pub verdict: Vec<Verdict>,
    /// IP protocol numbers.
    pub protocol: Vec<u8>,
    pub saddr: Vec<IpNet>,
    pub daddr: Vec<IpNet>,
    pub sport: Vec<RangeInclusive<u16>>,
    pub dport: Vec<RangeInclusive<u16>>,
    /// (value, mask) over the 12 bits of [`crate::packet::TcpFlags`]; any of them.
    pub tcp_flags: Vec<(u16, u16)>,
    pub tcp_sequence: Vec<u32>,
    /// TTL or hop limit.
    pub ttl: Vec<RangeInclusive<u8>>,
    /// IP length in octets.
    pub length: Vec<RangeInclusive<u32>>,
    pub dont_fragment: Option<bool>,
    /// Types of ICMP or ICMPv6.
    pub icmp_type: Vec<u8>,
    pub fragment: Option<bool>,
    pub pkttype: Vec<Pkttype>,
    /// The log prefix starts with one of these.
    pub log_prefix: Vec<String>,
    pub iif: Vec<String>,
    pub oif: Vec<String>,
}
