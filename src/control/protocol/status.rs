//! What `nfban status` tells of the daemon.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{BanRow, Mode};
use crate::packet::Verdict;
use crate::report::json::{Alarm, Incident};
use crate::report::ports::PortRanges;
use crate::report::rate::PerSecond;
use crate::report::target::Target;
use crate::time::Wall;

/// What runs, what it saw, whom it keeps out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Of the daemon, which can be older than the client's.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Its instance name; none for the usual one.
    pub instance: Option<String>,
    /// Whether it enforces: while it is off it watches.
    pub mode: Mode,
    /// Since when `nfban off` holds, if it does.
    #[serde(default)]
    pub off: Option<Off>,
    /// When it started.
    pub since: Wall,
    /// How long ago that was, whatever the wall clock did since.
    pub uptime_s: u64,
    /// Where packets come from.
    pub captures: Vec<Capture>,
    /// Packets seen, over all captures.
    pub packets: u64,
    /// Packets that counted for some rule.
    pub evidence: u64,
    /// Packets that could not be decoded, by reason.
    pub undecoded: BTreeMap<String, u64>,
    /// How full each bounded table is, by name.
    pub tables: BTreeMap<String, Occupancy>,
    /// Incidents that are open now.
    pub open_incidents: u64,
    /// Incidents opened since the start.
    pub incidents_total: u64,
    /// Bans that the kernel holds, by action.
    pub bans: BanCounts,
    /// The caps on bans by name, such as `bans`, `spoofable-bans` or `ban6_prefix`; none from a daemon that is older.
    #[serde(default)]
    pub limits: BTreeMap<String, Limit>,
    /// How the traps do; none where there are none of tcp.
    pub traps: Option<Traps>,
    /// How the kernel's side does.
    pub kernel: Kernel,
    /// How the daemon's log fares; nothing lost from a daemon that is older.
    #[serde(default)]
    pub log: crate::log::Fares,
    /// How the hooks fare.
    #[serde(default)]
    pub hooks: crate::hooks::Fares,
    /// The latest alarms, newest first, at most [`Status::LATEST`].
    pub alarms: Vec<Alarm>,
    /// The latest incidents, newest first, at most [`Status::LATEST`].
    pub recent_incidents: Vec<Incident>,
    /// The latest bans, newest first, at most [`Status::LATEST`].
    pub recent_bans: Vec<BanRow>,
    /// Packets a second, over the last minute or so; none from a daemon that is older.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packets_per_s: Option<PerSecond>,
    /// Packets that counted for some rule, a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence_per_s: Option<PerSecond>,
    /// Who sent most: those with most packets, refused and dropped, first, at most [`Status::OFFENDERS`].
    #[serde(default)]
    pub offenders: Vec<Offender>,
    /// The ports probed most within the last hour, those with most packets first, at most [`Status::LATEST`].
    #[serde(default)]
    pub top_ports: Vec<TopPort>,
}

impl Status {
    /// How many of the latest alarms, incidents and bans, and of the top ports, a status holds: one screen of them.
    pub const LATEST: usize = 10;

    /// How many offenders a status holds: as many as a tall terminal shows.
    pub const OFFENDERS: usize = 40;
}

/// A source, and all it did within a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offender {
    /// An address or prefix.
    pub source: Target,
    /// The rule of its latest incident, or of its ban where none is remembered.
    pub rule: String,
    /// Its incidents, open ones among them.
    pub incidents: u64,
    /// Those that are open.
    pub open_incidents: u64,
    /// Packets of its incidents.
    pub packets: u64,
    /// Packets dropped by the ban that stands.
    pub dropped: u64,
    /// Ports of its latest incident.
    pub port_ranges: PortRanges,
    /// How many distinct (protocol, port) that incident has in all.
    pub distinct_ports: u64,
    /// Protocols of that incident, by name.
    pub protocols: Vec<String>,
    /// Its latest packet that counted; none where only its ban is known.
    pub last_seen: Option<Wall>,
    /// The ban that covers it.
    pub ban: Option<BanRow>,
}

/// A port, and how often it was probed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopPort {
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The destination port.
    pub port: u16,
    /// Packets of evidence within the last hour.
    pub packets: u64,
}

/// Who switched enforcement off, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Off {
    /// When.
    pub since: Wall,
    /// The user's id.
    pub by: u32,
}

/// One source of packets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capture {
    /// Its name, such as `nflog:100`.
    pub source: String,
    /// What its packets are unless their prefix says otherwise.
    pub verdict: Verdict,
    /// Packets received.
    pub packets: u64,
    /// Packets the kernel had no room for, from gaps in its sequence numbers.
    pub lost: u64,
    /// How often the socket's buffer was full (ENOBUFS): events, not packets.
    pub overruns: u64,
    /// Packets that could not be decoded.
    pub undecoded: u64,
    /// What became of packets that waited for a verdict; none for captures where none do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdicts: Option<Verdicts>,
    /// Packets a second, over the last minute or so; none from a daemon that is older.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packets_per_s: Option<PerSecond>,
}

/// Verdicts that were given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdicts {
    /// Packets that went on to the next chain.
    pub accepted: u64,
    /// Packets that were dropped.
    pub dropped: u64,
    /// Packets that the kernel dropped for want of room; none where it does not tell a daemon that is not root.
    pub dropped_by_kernel: Option<u64>,
}

/// How full a bounded table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Occupancy {
    pub used: u64,
    pub capacity: u64,
    /// How many entries have given way to others since the start.
    pub evicted: u64,
}

/// A cap on bans, and how it has fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Limit {
    pub used: u64,
    pub capacity: u64,
    /// Bans that were not made for want of room, since the start.
    pub refused: u64,
    /// Bans that ended early to make room, since the start.
    pub evicted: u64,
    /// Whether it is reached, which was told by an alarm, and not left since.
    pub reached: bool,
}

/// How many bans there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are those of the actions")]
pub struct BanCounts {
    pub ban: u64,
    pub restrict: u64,
}

/// The traps of tcp, and the listener behind them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traps {
    /// The listener's port; none where nothing is redirected (watch mode, no conntrack, sets of the administrator's).
    pub listen: Option<u16>,
    /// How many ports are traps.
    pub ports: u64,
    /// SYNs that were redirected, since the table was set up last.
    pub redirected: u64,
    /// Those of them that the firewall let in.
    pub arrived: u64,
    /// Handshakes completed since the listener was opened.
    pub accepted: u64,
    /// Connections held now.
    pub held: u64,
    /// Traps that are none because they are published or something listens there, such as `tcp/8080`.
    pub taken: Vec<String>,
    /// Why no trap can be reached, if none can.
    pub trouble: Option<String>,
}

/// What nfban has in the kernel, and how that goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// The table, such as `inet nfban`; none where nothing is enforced.
    pub table: Option<String>,
    /// Whether nobody else can change it (`nftables.owner`).
    pub owned: bool,
    /// Operations the kernel refused since the start.
    pub refused: u64,
    /// Why it refused the latest of them.
    pub last_error: Option<String>,
    /// How often the table was put back after another program had removed it.
    pub reinstalled: u64,
    /// Conntrack entries of banned sources that were deleted since the start.
    pub connections_ended: u64,
    /// What bans and restrictions have dropped since the start; none with sets of the administrator's, and where nothing was
    /// ever enforced.
    #[serde(default)]
    pub dropped: Option<DroppedCounts>,
}

/// How much was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DroppedCounts {
    /// Packets.
    pub packets: u64,
    /// Octets, as IP counts them.
    pub bytes: u64,
}
