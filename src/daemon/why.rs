//! Why somebody is kept out, or is not.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use ipnet::IpNet;

use super::answer::InKernel;
use super::{Daemon, clock};
use crate::control::protocol::{Decided, Exempt, Reply, Why};
use crate::decide::{SPOOFABLE_LIMIT, Standing};
use crate::detect::class::Exemption;
use crate::engine::Exempted;
use crate::event::firing;
use crate::packet::protocol;
use crate::report::firing::Firing;
use crate::report::json;
use crate::report::target::Target;
use crate::time::{Wall, seconds_rounded_up};

impl Daemon {
    pub(super) fn why(&self, net: IpNet, held: &InKernel) -> Reply {
        let now = clock::now();
        let decided = self.bans_to_explain(net).filter_map(|standing| {
            let ban = self.row(standing, held)?;
            Some(Decided { ban, validated: standing.validated, before: standing.before })
        });
        let mut incidents: Vec<_> = self.engine.incidents_of(net).collect();
        incidents.sort_unstable_by_key(|incident| Reverse(incident.time.boot));
        let mut counting = self.engine.counting(net, now);
        counting.sort_by_key(|one| Reverse(one.count.saturating_mul(1000) / one.threshold.max(1)));
        let policy = self.engine.policy();
        Reply::Why(Box::new(Why {
            address: Target(net),
            mode: self.loaded.config.mode,
            protected: self.engine.shielded(net).map(|why| why.reason(net).to_owned()),
            bans: decided.collect(),
            open_incidents: incidents.iter().map(json::Incident::from).collect(),
            firings: self.firings(net),
            counting: counting.into_iter().map(|one| Firing::from(&shortened(one))).collect(),
            exempt: self.engine.exempted(net).take(Why::EXEMPT).map(exempt).collect(),
            repetitions: self.engine.repetitions(net, now),
            forget_s: seconds_rounded_up(policy.forget),
            times_s: policy.times.iter().copied().map(seconds_rounded_up).collect(),
            spoofable_limit_s: seconds_rounded_up(SPOOFABLE_LIMIT),
        }))
    }

    /// The narrowest bans that cover `net` or that it covers.
    pub(super) fn bans_to_explain(&self, net: IpNet) -> impl Iterator<Item = &Standing> {
        let mut bans = self.bans_about(net);
        bans.sort_unstable_by_key(|standing| (Reverse(standing.target.prefix_len()), standing.target));
        bans.into_iter().take(Why::BANS)
    }

    /// The packets behind what was decided lately about `net`, the latest first.
    pub(super) fn firings(&self, net: IpNet) -> Vec<Firing> {
        self.engine.firings_of(net).take(Why::FIRINGS).map(|firing| Firing::from(&**firing)).collect()
    }
}

/// Of what has not made a rule fire, the latest packets do.
fn shortened(mut firing: firing::Firing) -> firing::Firing {
    let more = firing.packets.len().saturating_sub(Why::COUNTING);
    firing.packets.drain(..more);
    firing.left_out = firing.left_out.saturating_add(u64::try_from(more).unwrap_or(u64::MAX));
    firing
}

fn exempt(noted: &Exempted) -> Exempt {
    let counts = Exemption::ALL.iter().zip(noted.counts).filter(|(_, count)| *count > 0);
    let packets: BTreeMap<_, _> =
        counts.map(|(why, count)| (why.as_str().to_owned(), u64::from(count))).collect();
    let (number, port) = noted.to;
    Exempt {
        source: Target(noted.source.into()),
        packets,
        last_seen: Wall::from(noted.last),
        reason: noted.why.as_str().to_owned(),
        protocol: protocol::name(number),
        port: protocol::has_ports(number).then_some(port),
    }
}
