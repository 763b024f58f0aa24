//! Whom exactly to act against: narrower, wider, or a whole prefix, as the evidence and the administrator have it.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Engine;
use crate::decide::{Evidence, Measure, WIDENED};
use crate::detect::Grounds;
use crate::time::Stamp;

/// What detection counts an IPv6 source as, where nobody else shares it.
const COUNTED: u8 = 64;

impl Engine {
    /// The targets of an incident: its source, the members of a prefix that contributed, or the whole prefix where the
    /// administrator chose that and nobody else would be hit; each with how often it was banned before. `sender` is
    /// whose packet made the rule fire. None is widened to what there is no set for, to hold it by `measure`.
    pub(super) fn targets(
        &self,
        grounds: &Grounds,
        sender: IpAddr,
        measure: Measure,
        now: Stamp,
    ) -> Vec<(IpNet, u32)> {
        let validated = grounds.evidence == Evidence::Validated;
        let has_set = |target: &IpNet| !self.policy.lacking.lacks(measure, *target);
        if let Some(prefix) = self.whole_prefix(grounds).filter(has_set) {
            return vec![(prefix, self.before(prefix, validated, now))];
        }
        let owners = grounds.targets.iter().filter(|target| is_one_owner(**target));
        let based = owners.filter_map(|target| {
            let based = self.based(*target, grounds.evidence, sender)?;
            // Narrower than there is a set for is left to be refused: the rest of the /64 has done nothing.
            Some(if based.contains(target) && !has_set(&based) { *target } else { based })
        });
        let mut targets: Vec<_> = based
            .map(|target| {
                let before = self.earlier(target, grounds, now);
                (if validated { self.widened(target, before, has_set) } else { target }, before)
            })
            .collect();
        targets.dedup_by_key(|(target, _)| *target);
        targets
    }

    fn whole_prefix(&self, grounds: &Grounds) -> Option<IpNet> {
        if !self.policy.whole_prefix {
            return None;
        }
        let member = *grounds.targets.first()?;
        let incident = self.detector.incidents_of(member).find(|incident| incident.id == grounds.incident)?;
        (!is_one_owner(incident.source) && self.shield.leaves(incident.source)).then_some(incident.source)
    }

    /// A source at the configured prefix length.
    fn based(&self, target: IpNet, evidence: Evidence, sender: IpAddr) -> Option<IpNet> {
        let length = self.policy.ipv6_prefix;
        // An address that counts by itself is what others share a /64 with.
        if !matches!(target, IpNet::V6(_)) || target.prefix_len() != COUNTED || length == COUNTED {
            return Some(target);
        }
        if length > COUNTED {
            // Of a /64 it is known who sent the latest packet. Others follow with packets of their own.
            return target
                .contains(&sender)
                .then(|| IpNet::new(sender, length).ok())
                .flatten()
                .map(|net| net.trunc());
        }
        let wider = IpNet::new(target.addr(), length).ok()?.trunc();
        // A forged source must not shut out the neighbours of the one that it names.
        let may_widen = evidence == Evidence::Validated && self.shield.leaves(wider);
        Some(if may_widen { wider } else { target })
    }

    /// What a proven IPv6 source that was banned before is banned as: the next wider prefix for each time, as far as
    /// nobody else would be hit.
    fn widened(&self, target: IpNet, before: u32, has_set: impl Fn(&IpNet) -> bool) -> IpNet {
        let alone = target.prefix_len() == target.max_prefix_len() && !self.shield.leaves(target);
        if !matches!(target, IpNet::V6(_)) || alone {
            return target;
        }
        let before = usize::try_from(before).unwrap_or(usize::MAX);
        let wider = WIDENED.into_iter().filter(|length| *length < target.prefix_len()).take(before);
        let wider = wider.filter_map(|length| Some(IpNet::new(target.addr(), length).ok()?.trunc()));
        let wider = wider.take_while(|wider| self.shield.leaves(*wider)).filter(has_set);
        wider.last().unwrap_or(target)
    }

    /// How often `target` was banned before this incident: one whose answer becomes harder is one offence.
    fn earlier(&self, target: IpNet, grounds: &Grounds, now: Stamp) -> u32 {
        let validated = grounds.evidence == Evidence::Validated;
        // What was not proven then is counted apart, and is no offence of that kind yet.
        let milder = self.ledger.covering(target);
        let milder =
            milder.filter(|ban| ban.incident == Some(grounds.incident) && ban.validated == validated);
        milder.map_or_else(|| self.before(target, validated, now), |milder| milder.before)
    }

    /// How often `target` was banned before: see [`crate::decide::Ledger::before`].
    pub(super) fn before(&self, target: IpNet, validated: bool, now: Stamp) -> u32 {
        self.ledger.before(target, validated, now, self.policy.forget)
    }
}

/// Whether a ban of `net` hits one subscriber: wider prefixes hold many, and forged sources must not ban them.
fn is_one_owner(net: IpNet) -> bool {
    match net {
        IpNet::V4(net) => net.prefix_len() == 32,
        IpNet::V6(net) => net.prefix_len() >= COUNTED,
    }
}
