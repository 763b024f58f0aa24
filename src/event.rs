//! What happened, as told to people and programs: the records behind every log line and JSON object.

pub mod firing;

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use ipnet::IpNet;

use crate::decide::{Evidence, Measure, Shielded};
use crate::time::Stamp;

/// A stable identity: the same capture gives the same ids (shown as 16 hexadecimal digits).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IncidentId(pub u64);

impl IncidentId {
    /// FNV-1a over what makes the incident the one it is: the same input gives the same id on any machine and version.
    /// `zone` tells apart sources with one address, see [`crate::detect::key::SourceKey`].
    #[must_use]
    pub fn of(rule: &str, source: IpNet, zone: u64, first_seen: Stamp) -> Self {
        let parts = [
            rule.as_bytes().to_vec(),
            source.to_string().into_bytes(),
            zone.to_be_bytes().to_vec(),
            first_seen.wall_us.to_be_bytes().to_vec(),
        ];
        let octets = parts.iter().flat_map(|part| part.iter().copied().chain([0]));
        Self(octets.fold(0xcbf2_9ce4_8422_2325, |hash: u64, octet| {
            (hash ^ u64::from(octet)).wrapping_mul(0x0000_0100_0000_01b3)
        }))
    }
}

impl fmt::Display for IncidentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A scanner that its packets' headers give away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tool {
    /// The Mirai botnet and what was made of its source.
    Mirai,
    /// masscan.
    Masscan,
    /// ZMap before version 4.
    Zmap,
    /// nmap with packets of its own making, over IPv4.
    Nmap,
}

impl Tool {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 4] = [Self::Mirai, Self::Masscan, Self::Zmap, Self::Nmap];

    /// Its name as its makers write it; JSON has it in lower case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mirai => "Mirai",
            Self::Masscan => "masscan",
            Self::Zmap => "ZMap",
            Self::Nmap => "nmap",
        }
    }
}

/// A scan or flood: told when it opens, while it grows, and with its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incident {
    /// Its identity.
    pub id: IncidentId,
    /// The id of the rule that fired.
    pub rule: String,
    /// Who: an address or a prefix.
    pub source: IpNet,
    /// How well that address is proven.
    pub evidence: Evidence,
    /// The first packet that counted.
    pub first_seen: Stamp,
    /// The latest packet.
    pub last_seen: Stamp,
    /// When the rule fired.
    pub time: Stamp,
    /// Destination addresses, ascending, at most 64.
    pub destinations: Vec<IpAddr>,
    /// How many distinct destination addresses in all.
    pub distinct_destinations: u64,
    /// Destination ports, ascending, at most 64.
    pub ports: Vec<u16>,
    /// How many distinct (protocol, port) in all.
    pub distinct_ports: u64,
    /// Destination ports as runs of consecutive ones, ascending, at most 64 runs: mostly all of them, where `ports` is
    /// only the lowest.
    pub port_ranges: Vec<RangeInclusive<u16>>,
    /// Source ports, ascending, at most 64.
    pub source_ports: Vec<u16>,
    /// How many distinct source ports in all.
    pub distinct_source_ports: u64,
    /// Names of the protocols, ascending.
    pub protocols: Vec<String>,
    /// How many source addresses.
    pub addresses: u64,
    /// Packets counted.
    pub packets: u64,
    /// Their IP lengths in sum.
    pub bytes: u64,
    /// What the packets were made with, where that is certain.
    pub tool: Option<Tool>,
    /// Kinds of web probe that were asked for, ascending, at most 64; none of packets.
    pub probes: Vec<String>,
}

impl Incident {
    /// From the first packet to the latest.
    #[must_use]
    pub const fn duration(&self) -> Duration {
        self.last_seen.boot.saturating_sub(self.first_seen.boot)
    }
}

/// Ascending ports as runs of consecutive ones.
pub fn runs(ascending: &[u16]) -> impl Iterator<Item = RangeInclusive<u16>> {
    let follows = |before: &u16, after: &u16| before.checked_add(1) == Some(*after);
    ascending.chunk_by(follows).filter_map(|run| Some(*run.first()?..=*run.last()?))
}

/// The end of an incident, with totals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncidentEnd {
    /// When it was over.
    pub time: Stamp,
    /// The incident with its totals; `time` inside is still when the rule fired.
    pub incident: Incident,
}

/// A decision in effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ban {
    /// Since when.
    pub time: Stamp,
    /// Whom.
    pub target: IpNet,
    /// What is dropped.
    pub action: Measure,
    /// The rule's id, or `manual`.
    pub rule: String,
    /// What led to it; none for a manual ban.
    pub incident: Option<IncidentId>,
    /// How long; `None` is until it is lifted.
    pub timeout: Option<Duration>,
}

/// Why a ban ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BanEndReason {
    /// Its time was over.
    Expired,
    /// Somebody lifted it.
    Unban,
    /// It gave way to others at a cap.
    Evicted,
}

/// A ban that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BanEnd {
    /// When.
    pub time: Stamp,
    /// Whom.
    pub target: IpNet,
    /// Why.
    pub reason: BanEndReason,
    /// Why it may not be acted against any more, where that is what lifted it. For people: programs are told `unban`.
    pub shielded: Option<Shielded>,
    /// What was dropped.
    pub action: Measure,
    /// The rule's id, or `manual`.
    pub rule: String,
}

/// Something the administrator must know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// When.
    pub time: Stamp,
    /// What, in one sentence.
    pub what: String,
}

/// The last record of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Packets read.
    pub packets: u64,
    /// Records that were not understood.
    pub undecoded: u64,
    /// Sources that were counted.
    pub sources: u64,
    /// Incidents opened.
    pub incidents: u64,
    /// Bans decided.
    pub bans: u64,
    /// Times the input's clock stepped back too far.
    pub time_jumps: u64,
}

/// Any of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// An incident opened. Boxed, as it is many times the size of the others.
    Incident(Box<Incident>),
    /// An incident has grown to twice what was last told, as of its latest packet.
    IncidentUpdate(Box<Incident>),
    /// A ban took effect.
    Ban(Ban),
    /// An incident is over.
    IncidentEnd(Box<IncidentEnd>),
    /// A ban is over.
    BanEnd(BanEnd),
    /// Something the administrator must know.
    Alarm(Alarm),
    /// The end of a replay.
    Summary(Summary),
}
