//! What is known of one source (or prefix).

use std::hash::BuildHasher;
use std::rc::Rc;
use std::time::Duration;

use foldhash::fast::SeedableRandomState;
use smallvec::SmallVec;

use super::incident::Open;
use super::key::{SourceKey, as_number};
use super::rule::Fields;
use super::ruleset::{Compiled, Counting, Mask, Ruleset};
use super::table::Pinned;
use super::window::{Bounds, Distinct, Probe, Rate};
use super::{Seen, SeenCount};
use crate::packet::protocol::{TCP, UDP, UDPLITE};
use crate::time::Stamp;

/// One source: its first packet alone, or counters and incidents.
#[derive(Debug, Default)]
pub(super) struct Source {
    /// Sequence number and destination port of its latest segment whose lateness was in question.
    pub(super) previous_ack: Option<(u32, u16)>,
    body: Body,
}

#[derive(Debug, Default)]
enum Body {
    /// Nothing has counted yet.
    #[default]
    Empty,
    /// One packet, and the rules it is to count for once there is a second.
    First(Probe, Mask),
    /// More. Not boxed: it is no larger than a first packet, and every packet would follow the pointer.
    Tracked(Tracked),
}

#[derive(Debug, Default)]
struct Tracked {
    /// By index of the rule, in no order; a source seldom has more than a handful, and mostly one: that one is here and
    /// not elsewhere in memory, which costs more than all there is to compute.
    counters: SmallVec<[(usize, Counter); 1]>,
    /// Indices of its open incidents.
    incidents: Vec<usize>,
}

#[derive(Debug)]
enum Counter {
    Distinct(Distinct),
    Rate(Box<Rate>),
}

impl Pinned for Source {
    fn is_pinned(&self) -> bool {
        !self.incidents().is_empty()
    }
}

/// Whether the protocol of a probe has ports.
pub(super) const fn has_ports(probe: &Probe) -> bool {
    matches!(probe.protocol, TCP | UDP | UDPLITE)
}

/// The number that stands for the distinct value of a packet. Ports and protocols are themselves; whatever needs an
/// address is a keyed 64-bit hash, which nobody outside can make collide.
pub(super) fn value_of(
    rule: &Compiled,
    probe: &Probe,
    dport: Option<u16>,
    hasher: &SeedableRandomState,
) -> u64 {
    let Counting::Distinct { fields, .. } = &rule.counting else { return 0 };
    let port = u64::from(probe.protocol) << 16 | u64::from(dport.unwrap_or_default());
    match *fields {
        Fields { dport: true, daddr: false, saddr: false, .. } => port,
        Fields { dport: false, daddr: false, saddr: false, .. } => u64::from(probe.protocol),
        Fields { dport, daddr, saddr, protocol } => hasher.hash_one((
            if dport { port } else { 0 },
            if protocol { probe.protocol } else { 0 },
            if daddr { as_number(probe.daddr) } else { 0 },
            if saddr { as_number(probe.saddr) } else { 0 },
        )),
    }
}

impl Source {
    /// Whether none of its packets has been counted yet but for at most a first one.
    pub(super) fn is_new(&self) -> bool {
        matches!(self.body, Body::Empty)
    }

    /// Keeps the first packet until there is a second.
    pub(super) fn keep_first(&mut self, probe: Probe, rules: Mask) {
        self.body = Body::First(probe, rules);
    }

    /// Makes it a tracked source; gives back the first packet where that has not been counted yet.
    pub(super) fn take_first(&mut self) -> Option<(Probe, Mask)> {
        match std::mem::take(&mut self.body) {
            Body::First(probe, rules) => {
                self.body = Body::Tracked(Tracked::default());
                Some((probe, rules))
            }
            Body::Empty => {
                self.body = Body::Tracked(Tracked::default());
                None
            }
            tracked @ Body::Tracked(_) => {
                self.body = tracked;
                None
            }
        }
    }

    /// Indices of its open incidents.
    pub(super) fn incidents(&self) -> &[usize] {
        match &self.body {
            Body::Tracked(tracked) => &tracked.incidents,
            Body::Empty | Body::First(..) => &[],
        }
    }

    pub(super) fn attach(&mut self, incident: usize) {
        if let Body::Tracked(tracked) = &mut self.body {
            tracked.incidents.push(incident);
        }
    }

    pub(super) fn detach(&mut self, incident: usize) {
        if let Body::Tracked(tracked) = &mut self.body {
            tracked.incidents.retain(|&other| other != incident);
        }
    }

    /// Counts a packet for a rule, and tells what the count is now.
    pub(super) fn add(
        &mut self,
        index: usize,
        rule: &Compiled,
        value: u64,
        probe: &Probe,
        dport: Option<u16>,
    ) -> u64 {
        let Body::Tracked(tracked) = &mut self.body else { return 0 };
        let at = tracked.counters.iter().position(|(of, _)| *of == index).unwrap_or_else(|| {
            let counter = match rule.counting {
                Counting::Distinct { .. } => Counter::Distinct(Distinct::default()),
                Counting::Packets | Counting::Bytes => Counter::Rate(Box::default()),
            };
            tracked.counters.push((index, counter));
            tracked.counters.len() - 1
        });
        let Some((_, counter)) = tracked.counters.get_mut(at) else { return 0 };
        match (counter, &rule.counting) {
            (Counter::Distinct(distinct), Counting::Distinct { limit, .. }) => {
                let bounds = Bounds { window: rule.window, limit: *limit, sources: rule.from_at_least };
                distinct.add(value, rule.weight(dport), *probe, bounds)
            }
            (Counter::Rate(rate), Counting::Bytes) => rate.add(u64::from(probe.length), *probe, rule.window),
            (Counter::Rate(rate), _) => rate.add(1, *probe, rule.window),
            (Counter::Distinct(_), _) => 0,
        }
    }

    /// Counts a packet for a rule, and tells whether that makes it fire.
    pub(super) fn fires(
        &mut self,
        index: usize,
        rule: &Compiled,
        value: u64,
        probe: &Probe,
        dport: Option<u16>,
    ) -> bool {
        self.add(index, rule, value, probe, dport) >= rule.threshold
            && self.distinct_sources(index, rule, probe.at) >= rule.from_at_least
    }

    fn counter(&self, index: usize) -> Option<&Counter> {
        match &self.body {
            Body::Tracked(tracked) => {
                tracked.counters.iter().find(|(of, _)| *of == index).map(|(_, counter)| counter)
            }
            Body::Empty | Body::First(..) => None,
        }
    }

    /// From how many source addresses the values that count now came.
    fn distinct_sources(&self, index: usize, rule: &Compiled, now: Stamp) -> usize {
        if rule.from_at_least <= 1 {
            return 1;
        }
        let mut sources: Vec<_> = match self.counter(index) {
            Some(Counter::Distinct(distinct)) => {
                distinct.alive(now, rule.window).map(|sighting| sighting.latest.saddr).collect()
            }
            Some(Counter::Rate(rate)) => rate.latest().iter().map(|probe| probe.saddr).collect(),
            None => Vec::new(),
        };
        sources.sort_unstable();
        sources.dedup();
        sources.len()
    }

    /// The incident that this rule's count amounts to.
    pub(super) fn incident(&self, index: usize, rule: &Compiled, key: SourceKey, probe: &Probe) -> Open {
        let mut open;
        match self.counter(index) {
            Some(Counter::Distinct(distinct)) => {
                let (mut raw, mut all) = (0_usize, 0_usize);
                for sighting in distinct.alive(probe.at, rule.window) {
                    all += 1;
                    raw += usize::from(sighting.latest.raw);
                }
                let name = rule.raw_id.as_ref().filter(|_| raw * 2 >= all).unwrap_or(&rule.id);
                open = Open::new(index, Rc::clone(name), key, probe.at);
                distinct.alive(probe.at, rule.window).for_each(|sighting| open.take_sighting(sighting));
            }
            Some(Counter::Rate(rate)) => {
                open = Open::new(index, Rc::clone(&rule.id), key, probe.at);
                open.take_rate(rate.first(), rate.latest(), rate.totals());
            }
            None => open = Open::new(index, Rc::clone(&rule.id), key, probe.at),
        }
        open.identify();
        open
    }

    /// Empties the counter of a rule that fired, and those of every other rule that shares a class with it, unless it
    /// only logs.
    pub(super) fn forget(&mut self, rules: &Ruleset, index: usize, rule: &Compiled) {
        if let Body::Tracked(tracked) = &mut self.body {
            tracked.counters.retain(|(of, _)| {
                let shares = rules.rules.get(*of).is_some_and(|other| other.classes.meets(rule.classes));
                *of != index && !(rule.owns() && shares)
            });
        }
    }

    /// What counts now.
    pub(super) fn seen(&self, rules: &Ruleset, now: Stamp) -> Seen {
        let mut seen = Seen::default();
        let mut note = |first: Stamp, last: Stamp| {
            seen.first = Some(seen.first.filter(|known| known.boot <= first.boot).unwrap_or(first));
            seen.last = Some(seen.last.filter(|known| known.boot >= last.boot).unwrap_or(last));
        };
        let mut counts = Vec::new();
        match &self.body {
            Body::Empty => {}
            Body::First(probe, _) => note(probe.at, probe.at),
            Body::Tracked(tracked) => {
                for (index, counter) in &tracked.counters {
                    let Some(rule) = rules.rules.get(*index) else { continue };
                    let count = match counter {
                        Counter::Distinct(distinct) => {
                            distinct
                                .alive(now, rule.window)
                                .for_each(|seen| note(seen.first, seen.latest.at));
                            distinct.weight(now, rule.window)
                        }
                        Counter::Rate(rate) => rate.sum(now, rule.window),
                    };
                    counts.push(SeenCount {
                        rule: rule.id.to_string(),
                        count,
                        threshold: rule.threshold,
                        window: Duration::from_nanos(rule.window),
                    });
                }
            }
        }
        counts.retain(|count| count.count > 0);
        Seen { counts, ..seen }
    }

    /// Forgets all counts.
    pub(super) fn clear(&mut self) {
        self.previous_ack = None;
        match &mut self.body {
            Body::Tracked(tracked) => tracked.counters.clear(),
            body => *body = Body::Empty,
        }
    }
}
