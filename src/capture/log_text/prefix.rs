//! What a LOG prefix says of the verdict.
//!
//! | prefix begins with | meaning | why |
//! |---|---|---|
//! | `nfban:VERDICT` | that verdict | the administrator says so |
//! | `[UFW AUDIT` | no evidence | UFW logs it before it decides, whatever it decides (also `[UFW AUDIT INVALID]`) |
//! | `TRACE: ` | no evidence | the same packet once per rule it passed |
//! | `[UFW ALLOW` | accepted | UFW logs it in the rule that accepts |
//! | `[UFW …INVALID` | invalid | conntrack's state, dropped as such |
//! | `STATE_INVALID_DROP` | invalid | firewalld's rule for conntrack's state |
//! | `nf_ct_proto_` | invalid | conntrack's own, with sysctl `nf_conntrack_log_invalid` |
//! | anything else, also nothing | outbound if the packet has no input interface, else refused | a packet without one was made on this host; and administrators log what they refuse: `[UFW BLOCK]`, `[UFW LIMIT BLOCK]`, `FINAL_REJECT:`, `[IPTABLES REJECT]:` |

use crate::packet::Verdict;

use super::words::Told;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    Verdict(Verdict),
    NoEvidence,
}

/// The known beginnings, in the order of the table above; the first that fits decides.
const KNOWN: [(&[u8], Meaning); 5] = [
    (b"[UFW AUDIT", Meaning::NoEvidence),
    (b"TRACE: ", Meaning::NoEvidence),
    (b"[UFW ALLOW", Meaning::Verdict(Verdict::Accepted)),
    (b"STATE_INVALID_DROP", Meaning::Verdict(Verdict::Invalid)),
    (b"nf_ct_proto_", Meaning::Verdict(Verdict::Invalid)),
];

/// Whether a prefix says what it is, so that nothing else can have been printed before it.
pub(super) fn is_known(prefix: &[u8]) -> bool {
    Verdict::from_prefix(prefix).is_some()
        || prefix.starts_with(b"[UFW ")
        || KNOWN.iter().any(|(beginning, _)| prefix.starts_with(beginning))
}

pub(super) fn meaning(prefix: &[u8], told: &Told<'_>) -> Meaning {
    let prefix = prefix.trim_ascii_start();
    if let Some(verdict) = Verdict::from_prefix(prefix) {
        return Meaning::Verdict(verdict);
    }
    if let Some((_, meaning)) = KNOWN.iter().find(|(beginning, _)| prefix.starts_with(beginning)) {
        return *meaning;
    }
    if prefix.starts_with(b"[UFW ") && prefix.trim_ascii_end().ends_with(b" INVALID]") {
        return Meaning::Verdict(Verdict::Invalid);
    }
    let made_here = told.iif.is_empty() && !told.oif.is_empty();
    Meaning::Verdict(if made_here { Verdict::Outbound } else { Verdict::Refused })
}
