//! The packets behind a decision as JSON: a public interface, and what the state database keeps of them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::target::Target;
use crate::decide::{Evidence, Measure, Shielded};
use crate::event::IncidentId;
use crate::event::firing::{self, What};
use crate::packet::{TcpFlags, Verdict, protocol};
use crate::time::{Wall, seconds_rounded_up};

/// See [`firing::Firing`]. What counts and has not made the rule fire is one without an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the event")]
pub struct Firing {
    pub incident: Option<IncidentId>,
    pub time: Wall,
    pub rule: String,
    pub told_as: String,
    pub source: Target,
    pub evidence: Evidence,
    pub counts: String,
    pub count: u64,
    pub threshold: u64,
    pub window_s: u64,
    pub opened: bool,
    pub answer: Option<Answer>,
    pub packets: Vec<Packet>,
    pub left_out: u64,
}

/// See [`firing::Answer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "did", rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names are those of the event")]
pub enum Answer {
    Acted { action: Measure, timeout_s: u64, before: u32, targets: u64 },
    Stands,
    Logs,
    Unavailable,
    Nobody,
    Protected,
    Allowed,
    NoRoom,
}

/// See [`firing::Counted`]. What is not known is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packet {
    /// When the first one came.
    pub time: Wall,
    /// When the latest one came.
    pub last_seen: Wall,
    /// How many alike.
    pub packets: u64,
    /// The interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Name of the protocol, or its number.
    pub protocol: String,
    /// Source address.
    pub source: IpAddr,
    /// Source port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_port: Option<u16>,
    /// Destination address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<IpAddr>,
    /// Destination port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// TCP control bits, as in `SYN,ACK`; `none` where none is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flags: Option<String>,
    /// Type and code of ICMP, as in `8/0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp: Option<String>,
    /// TTL or hop limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u8>,
    /// IP length in octets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u32>,
    /// What the firewall did with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// Whether it was a completed handshake with a trap.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub handshake: bool,
    /// The kind of probe of a web server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<String>,
    /// What was asked of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// What it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

impl From<&firing::Firing> for Firing {
    fn from(firing: &firing::Firing) -> Self {
        Self {
            incident: Some(firing.incident).filter(|id| id.0 != 0),
            time: firing.time.into(),
            rule: firing.rule.clone(),
            told_as: firing.told_as.clone(),
            source: Target(firing.source),
            evidence: firing.evidence,
            counts: firing.counts.clone(),
            count: firing.count,
            threshold: firing.threshold,
            window_s: seconds_rounded_up(firing.window),
            opened: firing.opened,
            answer: (firing.incident.0 != 0).then(|| firing.answer.into()),
            packets: firing.packets.iter().map(Packet::from).collect(),
            left_out: firing.left_out,
        }
    }
}

impl From<firing::Answer> for Answer {
    fn from(answer: firing::Answer) -> Self {
        match answer {
            firing::Answer::Acted { measure, timeout, before, targets } => {
                Self::Acted { action: measure, timeout_s: seconds_rounded_up(timeout), before, targets }
            }
            firing::Answer::Stands => Self::Stands,
            firing::Answer::Logs => Self::Logs,
            firing::Answer::Unavailable => Self::Unavailable,
            firing::Answer::Shielded(Shielded::Nobody) => Self::Nobody,
            firing::Answer::Shielded(Shielded::Protected) => Self::Protected,
            firing::Answer::Shielded(Shielded::Allowed) => Self::Allowed,
            firing::Answer::NoRoom => Self::NoRoom,
        }
    }
}

impl From<&firing::Counted> for Packet {
    fn from(counted: &firing::Counted) -> Self {
        let mut this = Self {
            time: counted.first.into(),
            last_seen: counted.last.into(),
            packets: counted.packets,
            interface: Some(counted.interface.to_string()).filter(|name| !name.is_empty()),
            protocol: protocol::name(counted.protocol),
            source: counted.saddr,
            source_port: None,
            destination: counted.daddr,
            port: None,
            flags: None,
            icmp: None,
            ttl: counted.ttl,
            length: counted.length,
            verdict: counted.verdict,
            handshake: false,
            probe: None,
            request: None,
            status: None,
        };
        match &counted.what {
            What::Tcp { sport, dport, flags } => {
                (this.source_port, this.port) = (Some(*sport), Some(*dport));
                this.flags = Some(flag_names(*flags));
            }
            What::Udp { sport, dport } => (this.source_port, this.port) = (Some(*sport), Some(*dport)),
            What::Icmp { kind, code } => this.icmp = Some(format!("{kind}/{code}")),
            What::Other => {}
            What::Touch { sport, dport } => {
                (this.source_port, this.port) = (Some(*sport), Some(*dport));
                this.handshake = true;
            }
            What::Request { probe, line, status } => {
                this.protocol = "http".to_owned();
                (this.probe, this.request) = (Some(probe.clone()), Some(line.clone()));
                this.status = Some(*status);
            }
        }
        this
    }
}

/// The control bits by name, from the one that is sent first.
#[must_use]
pub fn flag_names(flags: TcpFlags) -> String {
    use TcpFlags as F;
    const NAMES: [(u16, &str); 9] = [
        (F::SYN, "SYN"),
        (F::FIN, "FIN"),
        (F::RST, "RST"),
        (F::PSH, "PSH"),
        (F::ACK, "ACK"),
        (F::URG, "URG"),
        (F::ECE, "ECE"),
        (F::CWR, "CWR"),
        (F::AE, "AE"),
    ];
    let mut names: Vec<&str> =
        NAMES.into_iter().filter_map(|(bit, name)| flags.any(bit).then_some(name)).collect();
    if flags.any(F::RESERVED) {
        names.push("reserved");
    }
    if names.is_empty() { "none".to_owned() } else { names.join(",") }
}
