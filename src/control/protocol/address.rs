//! What `nfban status ADDR` and `nfban why ADDR` tell of a source.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{BanRow, Mode};
use crate::report::firing::Firing;
use crate::report::json::Incident;
use crate::report::target::Target;
use crate::time::Wall;

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
