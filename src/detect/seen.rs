//! What counts of somebody now, for whoever asks: numbers, and the packets behind them.

use std::time::Duration;

use ipnet::IpNet;

use super::Detector;
use super::key::SourceKey;
use super::rule::Key;
use super::ruleset::{Compiled, Ruleset, SOURCE_KEY};
use super::source::Tally;
use crate::decide::Evidence;
use crate::event::IncidentId;
use crate::event::firing::{Answer, Firing};
use crate::time::Stamp;

/// What counts of one source.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// The first packet that counts.
    pub first: Option<Stamp>,
    /// The latest one.
    pub last: Option<Stamp>,
    /// How near it is to each rule it counts for.
    pub counts: Vec<SeenCount>,
}

impl Seen {
    pub(super) fn note(&mut self, first: Stamp, last: Stamp) {
        // What was seen before the boot has no boot time.
        let time = |stamp: &Stamp| (stamp.boot, stamp.wall_us);
        self.first = Some(self.first.filter(|known| time(known) <= time(&first)).unwrap_or(first));
        self.last = Some(self.last.filter(|known| time(known) >= time(&last)).unwrap_or(last));
    }
}

/// How near a source is to a rule's threshold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenCount {
    /// The rule's id.
    pub rule: String,
    /// What counts in the window.
    pub count: u64,
    /// Where the rule fires.
    pub threshold: u64,
    /// The window.
    pub window: Duration,
}

impl Detector {
    /// What counts of a source now.
    #[must_use]
    pub fn seen(&self, net: IpNet, now: Stamp) -> Seen {
        let is_address = net.prefix_len() == net.max_prefix_len();
        let key = if is_address { self.widths.source(net.addr(), "") } else { SourceKey::new(net, 0) };
        let context = |key| self.context(&self.rules, key);
        let of_source = self.sources.seen(&key, now, context(SOURCE_KEY));
        let of_groups =
            (SOURCE_KEY + 1..self.rules.keys.len()).map(|at| self.groups.seen(&key, now, context(at)));
        [of_source].into_iter().chain(of_groups).find(|seen| *seen != Seen::default()).unwrap_or_default()
    }

    /// The packets that a rule counts now, which made it fire.
    pub(super) fn firing(
        &self,
        rules: &Ruleset,
        index: usize,
        key: &SourceKey,
        incident: IncidentId,
        at: Stamp,
    ) -> Option<Box<Firing>> {
        let rule = rules.rules.get(index)?;
        let context = self.context(rules, rule.key);
        let tally = self.population(rule).tally(key, index, rule, at, context)?;
        Some(Box::new(firing(rule, key, incident, at, tally)))
    }

    /// What each rule counts of a source now, whether it has fired or not, with the packets.
    #[must_use]
    pub fn counting(&self, net: IpNet, now: Stamp) -> Vec<Firing> {
        let is_address = net.prefix_len() == net.max_prefix_len();
        let source = if is_address { self.widths.source(net.addr(), "") } else { SourceKey::new(net, 0) };
        let tallies = self.rules.rules.iter().enumerate().filter_map(|(index, rule)| {
            let context = self.context(&self.rules, rule.key);
            let key = match self.rules.keys.get(rule.key)? {
                per @ Key::Prefix { .. } if is_address => self.widths.prefix(*per, net.addr())?,
                _ => source,
            };
            let tally = self.population(rule).tally(&key, index, rule, now, context)?;
            (tally.count > 0).then(|| firing(rule, &key, IncidentId(0), now, tally))
        });
        tallies.collect()
    }
}

fn firing(rule: &Compiled, key: &SourceKey, incident: IncidentId, time: Stamp, tally: Tally) -> Firing {
    let Tally { count, threshold, packets, left_out } = tally;
    Firing {
        incident,
        rule: rule.id.to_string(),
        told_as: rule.name.to_string(),
        source: key.net(),
        evidence: Evidence::Spoofable,
        time,
        counts: rule.counts(),
        count,
        threshold,
        window: Duration::from_nanos(rule.window.unsigned_abs()),
        packets,
        left_out,
        opened: false,
        number: 0,
        answer: Answer::Logs,
    }
}
