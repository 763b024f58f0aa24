//! What is said over the control socket. A reply is shown by `--json` as it came, so these names are public.

#![forbid(unsafe_code)]

mod address;
mod status;

use serde::{Deserialize, Serialize};

pub use self::address::{Address, Count, Decided, Exempt, Why};
pub use self::status::{
    BanCounts, Capture, DroppedCounts, Kernel, Limit, Occupancy, Off, Offender, Status, TopPort, Traps,
    Verdicts,
};
use crate::decide::Measure;
pub use crate::decide::Mode;
use crate::event::IncidentId;
use crate::report::json;
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
    /// What open incidents have come to: answered by [`Reply::Open`].
    Open {
        /// Their ids, of which [`Request::OPEN`] are looked for.
        ids: Vec<IncidentId>,
    },
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
        /// Whether copies of the database, which earlier upgrades or damages left, are removed.
        #[serde(default)]
        copies: bool,
    },
    /// Read the configuration again: answered by [`Reply::Reloaded`], or refused while the old one goes on.
    Reload,
    /// Enforce nothing until [`Request::On`], over restarts too: answered by [`Reply::Off`].
    Off,
    /// Enforce again what the configuration asks for: answered by [`Reply::On`].
    On,
}

impl Request {
    /// How many open incidents are told of at once.
    pub const OPEN: usize = 64;

    /// The longest reason, in octets.
    pub const REASON: usize = 256;

    /// Whether it changes anything: only root may, and the daemon's own user may reload.
    #[must_use]
    pub const fn changes(&self) -> bool {
        match self {
            Self::Status { .. }
            | Self::Bans
            | Self::Incidents(_)
            | Self::Open { .. }
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
    /// Open incidents as they are now; those that are over are not among them.
    Open {
        /// Incidents.
        incidents: Vec<json::Incident>,
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
        /// Such copies that were removed.
        #[serde(default)]
        removed: Vec<String>,
    },
    /// The new configuration is in use.
    Reloaded {
        /// What is in force.
        mode: Mode,
        /// Whether that is so because nfban is switched off.
        off: bool,
    },
    /// Nothing is enforced.
    Off {
        /// Since when.
        off: Off,
        /// How many bans were lifted.
        lifted: u64,
        /// How many by hand are out of the kernel, and stand again when it is on.
        waiting: u64,
        /// Whether it was off already.
        was_off: bool,
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
        assert!(Request::Forget { target, copies: false }.changes());
        assert!(Request::Reload.changes());
        assert!(Request::Off.changes() && Request::On.changes());
    }
}
