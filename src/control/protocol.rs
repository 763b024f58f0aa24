//! What is said over the control socket. A reply is shown by `--json` as it came, so these names are public.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use crate::config::Mode;
use crate::decide::Measure;
use crate::event::IncidentId;
use crate::packet::Verdict;
use crate::report::firing::Firing;
use crate::report::json::{Alarm, Incident};
use crate::report::ports::PortRanges;
use crate::report::rate::PerSecond;
use crate::report::target::Target;
use crate::store::reader::{Past, Record, Sought};
use crate::time::Wall;

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// What runs and what it saw: answered by [`Reply::Status`]. With an address, everything known about it:
    /// answered by [`Reply::Address`].
    Status {
        /// An address, or a prefix as it is banned.
        address: Option<Target>,
    },
    /// All bans: answered by [`Reply::Bans`].
    Bans,
    /// Incidents that are remembered: answered by [`Reply::Incidents`].
    Incidents(Sought),
    /// Why somebody is kept out, or is not: answered by [`Reply::Why`].
    Why {
        /// An address, or a prefix as it is banned.
        address: Target,
    },
    /// What is kept of somebody's past: answered by [`Reply::Record`].
    Record {
        /// An address or a prefix.
        address: Target,
    },
    /// Ban by hand: answered by [`Reply::Banned`], or refused for what is protected.
    Ban {
        /// Whom.
        target: Target,
        /// Seconds, more than zero; none is until it is lifted.
        timeout_s: Option<u64>,
        /// Words of the person who asks; at most [`Request::REASON`] octets.
        reason: Option<String>,
    },
    /// Lift one ban: answered by [`Reply::Unbanned`], or refused for what is not banned.
    Unban {
        /// As it was banned.
        target: Target,
    },
    /// Lift every ban: answered by [`Reply::Unbanned`], with no targets where nobody was banned.
    UnbanAll,
    /// Forget what is known of a source: answered by [`Reply::Forgotten`], or refused while it is banned.
    Forget {
        /// An address, or all within a prefix.
        target: Target,
    },
    /// Read the configuration again: answered by [`Reply::Reloaded`], or refused while the old one goes on.
    Reload,
    /// Enforce nothing until [`Request::On`], over restarts too: answered by [`Reply::Off`].
    Off,
    /// Enforce again what the configuration asks for: answered by [`Reply::On`].
    On,
}

impl Request {
    /// The longest reason, in octets.
    pub const REASON: usize = 256;

    /// Whether it changes anything: only root and the daemon's own user may.
    #[must_use]
    pub const fn changes(&self) -> bool {
        match self {
            Self::Status { .. }
            | Self::Bans
            | Self::Incidents(_)
            | Self::Why { .. }
            | Self::Record { .. } => false,
            Self::Ban { .. }
            | Self::Unban { .. }
            | Self::UnbanAll
            | Self::Forget { .. }
            | Self::Reload
            | Self::Off
            | Self::On => true,
        }
    }
}

/// What the daemon answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Reply {
    /// What runs and what it saw.
    Status(Box<Status>),
    /// What is known about one address.
    Address(Box<Address>),
    /// All bans, in the order they are to be shown.
    Bans {
        /// The bans.
        bans: Vec<BanRow>,
    },
    /// A part of the incidents that were asked for, the newest first. It may be empty and yet not the last.
    Incidents {
        /// Incidents.
        incidents: Vec<Past>,
        /// What to ask with as [`Sought::before`] for the next part; none where this is the last.
        next: Option<i64>,
    },
    /// Why somebody is kept out, or is not.
    Why(Box<Why>),
    /// What is kept of somebody's past.
    Record(Box<Record>),
    /// The ban as it stands in the kernel now.
    Banned {
        /// The ban.
        ban: BanRow,
    },
    /// What was banned and is no longer.
    Unbanned {
        /// The targets.
        targets: Vec<Target>,
    },
    /// Nothing is known any more of it.
    Forgotten {
        /// What was forgotten: of an IPv6 address the prefix that it is counted by.
        target: Target,
        /// Incidents that were remembered.
        incidents: u64,
        /// Bans that had ended and were remembered.
        bans: u64,
        /// Older copies of the state database, which are as they were and may name anybody.
        copies: Vec<String>,
    },
    /// The new configuration is in use.
    Reloaded,
    /// Nothing is enforced.
    Off {
        /// Since when.
        off: Off,
        /// How many bans were lifted.
        lifted: u64,
        /// Why a restart will enforce again, if it will.
        forgotten: Option<String>,
    },
    /// What the configuration asks for is in force.
    On {
        /// What it asks for.
        mode: Mode,
        /// How many bans by hand stand.
        bans: u64,
        /// Whether it was off.
        was_off: bool,
    },
    /// The answer is no.
    Refused {
        /// Which kind of no.
        refusal: Refusal,
        /// One line that says why and what to do.
        message: String,
    },
}

impl Reply {
    /// A refusal with its one line.
    #[must_use]
    pub fn refused(refusal: Refusal, message: impl Into<String>) -> Self {
        Self::Refused { refusal, message: message.into() }
    }
}

/// Kinds of no; each is an exit status of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// The request is well-formed, and the answer is no.
    No,
    /// The request is not understood, or too long.
    BadRequest,
    /// The peer may not ask this.
    NoPermission,
    /// There is no answer now; asking again may help.
    Busy,
    /// The configuration has errors.
    BadConfiguration,
}

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
}

/// A ban as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BanRow {
    /// Since when.
    pub time: Wall,
    /// Whom.
    pub target: Target,
    /// What is dropped.
    pub action: Measure,
    /// The rule's id, or `manual`.
    pub rule: String,
    /// What led to it; none for a manual ban.
    pub incident: Option<IncidentId>,
    /// Seconds it was set to last, rounded up; none is until it is lifted.
    pub timeout_s: Option<u64>,
    /// Seconds left, rounded up; none is until it is lifted.
    pub expires_s: Option<u64>,
    /// Packets dropped so far.
    pub packets: u64,
    /// Octets dropped so far.
    pub bytes: u64,
    /// What the person said who banned by hand.
    pub reason: Option<String>,
    /// Whether the kernel holds it; not in watch mode, where it only would.
    pub enforced: bool,
}

/// Everything known about one address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// What was asked about.
    pub address: Target,
    /// Why it is never banned, if it is protected.
    pub protected: Option<String>,
    /// Bans that cover it, narrowest first.
    pub bans: Vec<BanRow>,
    /// Its open incidents, newest first.
    pub open_incidents: Vec<Incident>,
    /// All its incidents that are remembered.
    pub incidents_total: u64,
    /// How often it was banned within the forgetting time.
    pub repetitions: u32,
    /// When its first packet counted, as far as it is remembered.
    pub first_seen: Option<Wall>,
    /// When its latest packet counted.
    pub last_seen: Option<Wall>,
    /// What it has been counted for and has not (yet) crossed.
    pub counts: Vec<Count>,
    /// The packets behind what was decided lately, newest first; at most [`Why::FIRINGS`]. None from a daemon that is older.
    #[serde(default)]
    pub firings: Vec<Firing>,
}

/// Why an address is kept out, or is not: what stands, and what it rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// What was asked about.
    pub address: Target,
    /// Whether bans reach the kernel.
    pub mode: Mode,
    /// Why it is never banned, if it is protected.
    pub protected: Option<String>,
    /// Bans that cover it or that it covers, narrowest first; at most [`Why::BANS`].
    pub bans: Vec<Decided>,
    /// Its open incidents, newest first.
    pub open_incidents: Vec<Incident>,
    /// The packets behind what was decided lately, newest first; at most [`Why::FIRINGS`].
    pub firings: Vec<Firing>,
    /// What counts now and has not made its rule fire, the nearest to its threshold first.
    pub counting: Vec<Firing>,
    /// Packets of it that were no evidence, as far as that is remembered; at most [`Why::EXEMPT`] sources.
    pub exempt: Vec<Exempt>,
    /// How often it was banned within the time that is remembered.
    pub repetitions: u32,
    /// How long that is remembered, in seconds.
    pub forget_s: u64,
    /// How long a first ban lasts, a second, and so on, in seconds.
    pub times_s: Vec<u64>,
    /// The most that evidence which may be forged leads to, in seconds.
    pub spoofable_limit_s: u64,
}

impl Why {
    /// How many bans are told.
    pub const BANS: usize = 16;
    /// How many firings are told.
    pub const FIRINGS: usize = 16;
    /// How many packets of what has not made a rule fire.
    pub const COUNTING: usize = 16;
    /// How many sources of packets that were no evidence.
    pub const EXEMPT: usize = 16;
}

/// A ban, and what decided how long it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// The ban.
    #[serde(flatten)]
    pub ban: BanRow,
    /// Whether its address is proven, or a person decided.
    pub validated: bool,
    /// How often it had been banned before.
    pub before: u32,
}

/// Packets of one source that were no evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exempt {
    /// Who sent them.
    pub source: Target,
    /// How many, by reason.
    pub packets: BTreeMap<String, u64>,
    /// When the latest came.
    pub last_seen: Wall,
    /// Why that was none.
    pub reason: String,
    /// Its protocol.
    pub protocol: String,
    /// Its destination port, if it had one.
    pub port: Option<u16>,
}

/// How near an address is to a rule's threshold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// The rule's id.
    pub rule: String,
    /// What counts within the window now.
    pub count: u64,
    /// Where the rule fires.
    pub threshold: u64,
    /// The rule's window in seconds, rounded up.
    pub window_s: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_short_objects_that_read_back() {
        let target: Target = "192.0.2.0/24".parse().unwrap();
        for (request, text) in [
            (Request::Status { address: None }, r#"{"request":"status","address":null}"#),
            (Request::Bans, r#"{"request":"bans"}"#),
            (
                Request::Ban { target, timeout_s: Some(3600), reason: Some("noisy".into()) },
                r#"{"request":"ban","target":"192.0.2.0/24","timeout_s":3600,"reason":"noisy"}"#,
            ),
            (Request::Unban { target }, r#"{"request":"unban","target":"192.0.2.0/24"}"#),
            (
                Request::Incidents(Sought { port: Some(22), ..Sought::default() }),
                r#"{"request":"incidents","since":null,"until":null,"rule":null,"source":null,"port":22,"before":null,"most":null}"#,
            ),
            (Request::UnbanAll, r#"{"request":"unban-all"}"#),
            (Request::Reload, r#"{"request":"reload"}"#),
            (Request::Off, r#"{"request":"off"}"#),
            (Request::On, r#"{"request":"on"}"#),
        ] {
            assert_eq!(serde_json::to_string(&request).unwrap(), text);
            assert_eq!(serde_json::from_str::<Request>(text).unwrap(), request);
        }
    }

    #[test]
    fn a_request_with_a_key_nobody_knows_is_an_error() {
        for text in [
            r#"{"request":"unban","target":"192.0.2.7","for":"1h"}"#,
            r#"{"request":"unban","target":"192.0.2.7/24"}"#,
            r#"{"request":"flush"}"#,
            "[]",
        ] {
            assert!(serde_json::from_str::<Request>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_reading_changes_nothing() {
        let target: Target = "192.0.2.7".parse().unwrap();
        assert!(!Request::Status { address: Some(target) }.changes());
        assert!(!Request::Bans.changes());
        assert!(Request::Ban { target, timeout_s: None, reason: None }.changes());
        assert!(Request::Unban { target }.changes());
        assert!(Request::UnbanAll.changes());
        assert!(Request::Forget { target }.changes());
        assert!(Request::Reload.changes());
        assert!(Request::Off.changes() && Request::On.changes());
    }
}
