//! What follows from an incident: who may be acted against, how, and for how long.

mod caps;
mod lacking;
mod ledger;
mod owed;
mod place;

use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::address::AddressSet;

pub use self::caps::{Cap, Caps, Tally, spoofable_share};
pub use self::lacking::{Kind, Lacking};
pub use self::ledger::{Deed, Ledger, Scope, Standing, State, WIDENED};
pub use self::place::{MAX_PREFIXES, Place};

/// How well an incident's source address is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Evidence {
    /// The address may be forged: a lone SYN, a datagram, an ICMP message.
    Spoofable,
    /// The address is proven: a completed handshake with a socket of ours, or a trusted log.
    Validated,
}

/// Whether the kernel is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// It is.
    #[default]
    Enforce,
    /// Everything else is done.
    Watch,
}

/// What is done about an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Response {
    /// Drop every packet of the source.
    Ban,
    /// Drop all of the source but ongoing conversations and published services.
    Restrict,
    /// Tell, and do nothing.
    Log,
}

/// The two responses that stand in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Measure {
    /// See [`Response::Restrict`].
    Restrict,
    /// See [`Response::Ban`].
    Ban,
}

impl Measure {
    /// The word used in listings and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Restrict => "restrict",
            Self::Ban => "ban",
        }
    }
}

/// How decisions are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The response to spoofable evidence, where the rule has none of its own.
    pub spoofable: Response,
    /// The response to validated evidence.
    pub validated: Response,
    /// The timeout of a first ban, of a second, …; the last one serves all later ones. Never empty.
    pub times: Vec<Duration>,
    /// After this long without a ban a source is a first offender again.
    pub forget: Duration,
    /// How many bans there may be at once; of spoofable evidence [`spoofable_share`].
    pub max: usize,
    /// How many bans of validated evidence there may be within a minute, and apart from them [`spoofable_share`] of
    /// spoofable evidence.
    pub per_minute: usize,
    /// The prefix length that is banned for an IPv6 source. Shorter than 64 for validated evidence alone.
    pub ipv6_prefix: u8,
    /// Whether a prefix whose members scan together is answered as a whole, and not those members.
    pub whole_prefix: bool,
    /// Whether the kernel side of [`Response::Restrict`] exists (it needs conntrack).
    pub restrict_available: bool,
    /// Which targets the kernel has no set for.
    pub lacking: Lacking,
}

/// The rule of a ban that a person made.
pub const MANUAL: &str = "manual";

/// The longest timeout that spoofable evidence leads to.
pub const SPOOFABLE_LIMIT: Duration = Duration::from_secs(3600);

impl Default for Policy {
    fn default() -> Self {
        const HOUR: u64 = 3600;
        Self {
            spoofable: Response::Restrict,
            validated: Response::Ban,
            times: [600, HOUR, 24 * HOUR, 7 * 24 * HOUR].map(Duration::from_secs).to_vec(),
            forget: Duration::from_secs(30 * 24 * HOUR),
            max: 100_000,
            per_minute: 10_000,
            ipv6_prefix: 64,
            whole_prefix: false,
            restrict_available: true,
            lacking: Lacking::default(),
        }
    }
}

impl Policy {
    /// What is asked for on `evidence`, where `rule` is the rule's own response.
    #[must_use]
    pub fn response(&self, evidence: Evidence, rule: Option<Response>) -> Response {
        rule.unwrap_or(match evidence {
            Evidence::Spoofable => self.spoofable,
            Evidence::Validated => self.validated,
        })
    }

    /// What is to be done on `evidence`, where `rule` is the rule's own response.
    #[must_use]
    pub fn measure(&self, evidence: Evidence, rule: Option<Response>) -> Option<Measure> {
        match self.response(evidence, rule) {
            Response::Ban => Some(Measure::Ban),
            Response::Restrict => self.restrict_available.then_some(Measure::Restrict),
            Response::Log => None,
        }
    }

    /// How long, for somebody who has been banned `before` times within [`Self::forget`].
    #[must_use]
    pub fn timeout(&self, evidence: Evidence, before: u32) -> Duration {
        let step = usize::try_from(before).unwrap_or(usize::MAX).min(self.times.len().saturating_sub(1));
        let time = self.times.get(step).copied().unwrap_or(Duration::from_secs(600));
        match evidence {
            Evidence::Spoofable => time.min(SPOOFABLE_LIMIT),
            Evidence::Validated => time,
        }
    }
}

/// Who is never acted against, whatever the evidence.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shield {
    /// Nobody's addresses.
    pub nobody: AddressSet,
    /// Our own addresses, gateways, resolvers, broadcast addresses.
    pub protected: AddressSet,
    /// The administrator's allowlist.
    pub allow: AddressSet,
    /// Prefixes of several owners: our links, NAT64. What lies in them is acted against, and no wider prefix.
    pub shared: AddressSet,
}

/// Why a target may not be acted against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shielded {
    /// It is, or holds, a loopback, multicast, broadcast or unspecified address.
    Nobody,
    /// It is, or holds, one of our own addresses, a gateway or a resolver.
    Protected,
    /// It is, or holds, an address on the allowlist.
    Allowed,
}

impl Shielded {
    /// Why, as the rest of a sentence that names the target: one address is what a prefix may hold.
    #[must_use]
    pub fn reason(self, target: IpNet) -> &'static str {
        let is_one = target.prefix_len() == target.max_prefix_len();
        match (self, is_one) {
            (Self::Nobody, true) => "is a loopback, multicast, broadcast or unspecified address",
            (Self::Nobody, false) => "holds a loopback, multicast, broadcast or unspecified address",
            (Self::Protected, true) => "is an address of this host, a gateway or a resolver",
            (Self::Protected, false) => "holds an address of this host, a gateway or a resolver",
            (Self::Allowed, true) => "is on the allowlist",
            (Self::Allowed, false) => "holds an address on the allowlist",
        }
    }
}

impl Shield {
    /// Whether anything of `target` is shielded, and by what.
    #[must_use]
    pub fn covers(&self, target: IpNet) -> Option<Shielded> {
        if self.nobody.intersects(target) {
            Some(Shielded::Nobody)
        } else if self.protected.intersects(target) {
            Some(Shielded::Protected)
        } else {
            self.allow.intersects(target).then_some(Shielded::Allowed)
        }
    }

    /// Whether all of `prefix` may be acted against for what one source in it did.
    #[must_use]
    pub fn leaves(&self, prefix: IpNet) -> bool {
        self.covers(prefix).is_none() && !self.shared.intersects(prefix)
    }
}
