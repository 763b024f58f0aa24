//! Counting: which packet is evidence of what, and when it is enough.
//!
//! A packet is judged ([`class`]), looked up in the table of sources ([`table`]), counted for each rule that matches it
//! ([`ruleset`], [`window`]), and opens or continues an incident ([`incident`]). Nothing here reads a clock, does I/O or
//! grows without bound.

pub mod class;
mod incident;
pub mod key;
pub mod rule;
mod ruleset;
mod source;
mod table;
mod tool;
mod window;

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::time::Duration;

use foldhash::fast::SeedableRandomState;
use ipnet::IpNet;

use self::class::{Exemption, Judgement, Surroundings, judge};
use self::incident::Open;
use self::key::{SourceKey, Widths};
use self::ruleset::{MAX_KEYS, Mask};
use self::source::{Source, value_of};
use self::table::{Place, Table};
use self::window::Probe;
use crate::decide::{Evidence, Response};
use crate::event::{Incident, IncidentEnd, IncidentId};
use crate::filter::Class;
use crate::packet::{Observation, Tcp, TcpFlags, Transport};
use crate::time::Stamp;

pub use self::ruleset::{MAX_RULES, Ruleset, TooMany};
pub use self::table::{Capacity, Occupancy};

/// How many incidents may be open at once; far below [`Capacity::tracked`], so that open ones are never pushed out.
pub const MAX_OPEN: usize = 8_192;

/// How many ports and addresses all open incidents together keep beyond the first few of each: 64 MiB at most. What is
/// more goes uncounted, and an incident's numbers of distinct values are those that were kept.
const MAX_KEPT: usize = 1 << 20;

/// The place of [`rule::Key::Source`] in [`Ruleset::keys`].
const SOURCE_KEY: usize = 0;

/// How hash tables are keyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seed {
    /// With a number nobody outside knows: for the daemon.
    Random,
    /// With the same one each time: for replay, whose output must not vary.
    Fixed,
}

/// What one packet did.
#[must_use]
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Nothing, and why.
    Exempt(Exemption),
    /// It was counted.
    Counted,
    /// It would be evidence, and no rule counts it.
    Unclaimed,
    /// It belongs to an open incident.
    Continued(IncidentId),
    /// It belongs to an open incident, and with it the incident's rule has fired once more: it goes on, whatever was
    /// done about it.
    Persisted(Grounds),
    /// It made a rule fire.
    Opened(Box<Finding>),
}

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

/// What an incident is answered on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grounds {
    /// The incident.
    pub incident: IncidentId,
    /// Its name: the id of the rule that fired.
    pub rule: String,
    /// Who.
    pub source: IpNet,
    /// How well that address is proven.
    pub evidence: Evidence,
    /// The rule's own response, where it has one.
    pub respond: Option<Response>,
}

impl Finding {
    /// What it is answered on.
    #[must_use]
    pub fn grounds(&self) -> Grounds {
        Grounds {
            incident: self.incident.id,
            rule: self.incident.rule.clone(),
            source: self.incident.source,
            evidence: self.incident.evidence,
            respond: self.respond,
        }
    }
}

/// An incident that has just opened.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// The incident.
    pub incident: Incident,
    /// The rule's own response, where it has one.
    pub respond: Option<Response>,
    /// The incident that ended early because no more could be open.
    pub displaced: Option<IncidentEnd>,
}

/// The sources, their counts, and the open incidents.
#[derive(Debug)]
pub struct Detector {
    rules: Rc<Ruleset>,
    surroundings: Surroundings,
    widths: Widths,
    table: Table<Source>,
    open: Vec<Option<Open>>,
    vacant: Vec<usize>,
    /// When each open incident is to be looked at again: (boot time in nanoseconds, index in `open`).
    deadlines: BinaryHeap<Reverse<(u64, usize)>>,
    /// What is left of [`MAX_KEPT`].
    room: usize,
    values: SeedableRandomState,
    sources: u64,
}

impl Detector {
    /// An empty one.
    #[must_use]
    pub fn new(
        rules: Ruleset,
        surroundings: Surroundings,
        widths: Widths,
        capacity: Capacity,
        seed: Seed,
    ) -> Self {
        let state = || match seed {
            Seed::Random => SeedableRandomState::random(),
            Seed::Fixed => SeedableRandomState::fixed(),
        };
        Self {
            rules: Rc::new(rules),
            surroundings,
            widths,
            table: Table::new(capacity, state()),
            open: Vec::new(),
            vacant: Vec::new(),
            deadlines: BinaryHeap::new(),
            room: MAX_KEPT,
            values: state(),
            sources: 0,
        }
    }

    /// Replaces what is known of ourselves; all counts stay.
    pub fn set_surroundings(&mut self, surroundings: Surroundings, widths: Widths) {
        self.surroundings = surroundings;
        self.widths = widths;
    }

    /// How full the table of sources is.
    #[must_use]
    pub fn occupancy(&self) -> Occupancy {
        self.table.occupancy()
    }

    /// How many sources have been counted so far.
    #[must_use]
    pub const fn sources(&self) -> u64 {
        self.sources
    }

    /// How many incidents are open.
    #[must_use]
    pub fn open_incidents(&self) -> usize {
        self.open.len() - self.vacant.len()
    }

    /// The open incidents of whoever holds `address`.
    pub fn incidents_of(&self, net: IpNet) -> impl Iterator<Item = Incident> {
        self.open
            .iter()
            .flatten()
            .filter(move |open| open.key.net.contains(&net) || net.contains(&open.key.net))
            .map(Open::record)
    }

    /// What counts of a source now.
    #[must_use]
    pub fn seen(&self, net: IpNet, now: Stamp) -> Seen {
        let key = if net.prefix_len() == net.max_prefix_len() {
            self.widths.source(net.addr(), "")
        } else {
            SourceKey { net, zone: 0 }
        };
        let source = self.table.find(&key).and_then(|place| self.table.at(place));
        source.map_or_else(Seen::default, |source| source.seen(&self.rules, now))
    }

    /// Takes in one packet. Time must not go back.
    pub fn observe(&mut self, observation: &Observation<'_>, at: Stamp) -> Effect {
        let judgement = self.judge(observation);
        let class = match judgement {
            Judgement::Evidence(class) => class,
            Judgement::Exempt(why) => return Effect::Exempt(why),
        };
        let probe = Probe::new(observation, at);
        let dport = observation.packet.ports().map(|(_, dport)| dport);
        let rules = Rc::clone(&self.rules);
        let mut mask = rules.candidates(class, observation.verdict, dport);
        for index in mask.iter() {
            if rules.rules.get(index).is_some_and(|rule| !rule.matches(observation, class)) {
                mask.remove(index);
            }
        }
        let keys = self.keys(&rules, observation);
        let places = keys.map(|key| key.and_then(|key| self.table.find(&key)));
        if let Some(owner) = self.continue_incident(&rules, &places, class, &mut mask, &probe) {
            return self.persist(&rules, owner, &mask, &probe, dport);
        }
        if mask.is_empty() {
            return Effect::Unclaimed;
        }
        self.count(&rules, &keys, places, mask, &probe, dport)
    }

    fn judge(&mut self, observation: &Observation<'_>) -> Judgement {
        let packet = &observation.packet;
        let acknowledging = match packet.transport {
            // The segments whose lateness is in question; what they say is kept for the next one of the source.
            Transport::Tcp(tcp)
                if tcp.dport >= 1024
                    && tcp.flags.any(TcpFlags::ACK)
                    && !tcp.flags.any(TcpFlags::RST | TcpFlags::SYN) =>
            {
                tcp.sequence.map(|sequence| (sequence, tcp.dport))
            }
            _ => None,
        };
        let Some((sequence, dport)) = acknowledging else {
            return judge(observation, &self.surroundings, |_| false);
        };
        let key = self.widths.source(packet.saddr, observation.iif);
        let place = self.table.find(&key);
        let previous = place.and_then(|place| self.table.at(place)).and_then(|source| source.previous_ack);
        let twin = |tcp: &Tcp| previous.is_some_and(|(s, p)| Some(s) == tcp.sequence && p != tcp.dport);
        let judgement = judge(observation, &self.surroundings, twin);
        let remembers = matches!(judgement, Judgement::Evidence(_) | Judgement::Exempt(Exemption::Late));
        if remembers {
            let place = place.unwrap_or_else(|| self.table.insert(key, Source::default()));
            if let Some(source) = self.table.at_mut(place) {
                source.previous_ack = Some((sequence, dport));
            }
        }
        judgement
    }

    fn keys(&self, rules: &Ruleset, observation: &Observation<'_>) -> [Option<SourceKey>; MAX_KEYS] {
        let mut keys = [None; MAX_KEYS];
        for (key, per) in keys.iter_mut().zip(&rules.keys) {
            *key = self.widths.of(*per, observation.packet.saddr, observation.packet.daddr, observation.iif);
        }
        keys
    }

    /// Gives the packet to the incident that owns its class, if there is one; the source is asked before its prefixes.
    /// Incidents of rules that only log own nothing, but count their packets themselves: their rules leave `mask`.
    fn continue_incident(
        &mut self,
        rules: &Ruleset,
        places: &[Option<Place>; MAX_KEYS],
        class: Class,
        mask: &mut Mask,
        probe: &Probe,
    ) -> Option<usize> {
        for &place in places.iter().flatten() {
            let Some(source) = self.table.at(place) else { continue };
            for &index in source.incidents() {
                let Some(open) = self.open.get_mut(index).and_then(Option::as_mut) else { continue };
                let Some(rule) = rules.rules.get(open.rule) else { continue };
                if rule.owns()
                    && (mask.contains(open.rule) || (rule.classes.contains(class) && !rule.is_narrow()))
                {
                    open.update(probe, &mut self.room);
                    return Some(index);
                }
                if !rule.owns() && mask.contains(open.rule) {
                    open.update(probe, &mut self.room);
                    mask.remove(open.rule);
                }
            }
        }
        None
    }

    /// Counts a packet that an incident owns for that incident's own rule, so that a scan is told from its stragglers
    /// when it outlives its ban. What the rule does not match (an accepted packet) continues the incident, no more.
    fn persist(
        &mut self,
        rules: &Ruleset,
        owner: usize,
        mask: &Mask,
        probe: &Probe,
        dport: Option<u16>,
    ) -> Effect {
        let Some(open) = self.open.get(owner).and_then(Option::as_ref) else { return Effect::Counted };
        let again = rules.rules.get(open.rule).filter(|_| mask.contains(open.rule)).and_then(|rule| {
            let source = self.table.find_mut(&open.key)?;
            let value = value_of(rule, probe, dport, &self.values);
            source
                .fires(open.rule, rule, value, probe, dport)
                .then(|| source.forget(rules, open.rule, rule))?;
            Some(open.grounds(rule.respond))
        });
        again.map_or(Effect::Continued(open.id), Effect::Persisted)
    }

    fn count(
        &mut self,
        rules: &Ruleset,
        keys: &[Option<SourceKey>; MAX_KEYS],
        mut places: [Option<Place>; MAX_KEYS],
        mask: Mask,
        probe: &Probe,
        dport: Option<u16>,
    ) -> Effect {
        let evicted = self.table.evicted();
        // Where each key's counters are; a newcomer's packet is only kept until a second one comes.
        for (number, (place, (key, per_key))) in
            places.iter_mut().zip(keys.iter().zip(&rules.by_key)).enumerate()
        {
            let share = mask.and(per_key);
            *place = match key {
                Some(key) if !share.is_empty() => {
                    let place = self.where_is(key, *place, evicted);
                    self.prepare(rules, key, place, share, probe, number == SOURCE_KEY)
                }
                _ => None,
            };
        }
        for index in mask.iter() {
            let Some(rule) = rules.rules.get(index) else { continue };
            let (Some(&Some(place)), Some(Some(key))) = (places.get(rule.key), keys.get(rule.key)) else {
                continue;
            };
            let Some(place) = self.where_is(key, Some(place), evicted) else { continue };
            let Some(source) = self.table.at_mut(place) else { continue };
            let value = value_of(rule, probe, dport, &self.values);
            if source.fires(index, rule, value, probe, dport) {
                return self.open(rules, index, key, probe);
            }
        }
        Effect::Counted
    }

    /// The place of `key`: the one it was found at, unless an entry has been pushed out since. One that was not found
    /// is looked for again, as two keys of a packet may be the same.
    fn where_is(&self, key: &SourceKey, found: Option<Place>, evicted: u64) -> Option<Place> {
        found.filter(|_| self.table.evicted() == evicted).or_else(|| self.table.find(key))
    }

    /// Makes sure that the counters of `key` exist where this packet must be counted now, and says where: nowhere if
    /// it is only kept. `place` is where the key is, if it is in the table.
    fn prepare(
        &mut self,
        rules: &Ruleset,
        key: &SourceKey,
        place: Option<Place>,
        share: Mask,
        probe: &Probe,
        is_source: bool,
    ) -> Option<Place> {
        let at_once = share.iter().any(|index| rules.rules.get(index).is_some_and(|rule| rule.fires_at_once));
        let place = place.unwrap_or_else(|| self.table.insert(*key, Source::default()));
        let known = self.table.at(place).is_some_and(|source| !source.is_new());
        self.sources += u64::from(is_source && !known);
        if known || at_once {
            self.table.touch(place, true);
            self.track(rules, place);
            return Some(place);
        }
        if let Some(source) = self.table.at_mut(place) {
            source.keep_first(*probe, share);
        }
        None
    }

    /// Turns a source on probation into a tracked one: its first packet is counted now.
    fn track(&mut self, rules: &Ruleset, place: Place) {
        let Some(source) = self.table.at_mut(place) else { return };
        let Some((probe, share)) = source.take_first() else { return };
        let dport = source::has_ports(&probe).then_some(probe.dport);
        for index in share.iter() {
            if let Some(rule) = rules.rules.get(index) {
                let value = value_of(rule, &probe, dport, &self.values);
                // No rule that one packet can fire lets its source be on probation.
                let _ = source.add(index, rule, value, &probe, dport);
            }
        }
    }

    fn open(&mut self, rules: &Ruleset, index: usize, key: &SourceKey, probe: &Probe) -> Effect {
        let Some(rule) = rules.rules.get(index) else { return Effect::Counted };
        let Some(source) = self.table.find_mut(key) else { return Effect::Counted };
        let open = source.incident(index, rule, *key, probe);
        source.forget(rules, index, rule);
        // The one that would end first gives way: were it the newcomer, a flood of forged sources would hide all others.
        let full = self.open_incidents() >= MAX_OPEN;
        let displaced = if full { self.end_first(u64::MAX, Some(probe.at)) } else { None };
        let finding = Finding { incident: open.record(), respond: rule.respond, displaced };
        let deadline = open.last_seen().saturating_add(rule.quiet);
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.open.push(None);
            self.open.len() - 1
        });
        if let Some(place) = self.open.get_mut(slot) {
            *place = Some(open);
        }
        if let Some(source) = self.table.find_mut(key) {
            source.attach(slot);
        }
        self.deadlines.push(Reverse((deadline, slot)));
        Effect::Opened(Box::new(finding))
    }

    /// Boot time at which an open incident may be over.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.peek().map(|Reverse((at, _))| Duration::from_nanos(*at))
    }

    /// Ends the next incident whose quiet time has passed by `now`, as of the moment it passed.
    pub fn end_next(&mut self, now: Stamp) -> Option<IncidentEnd> {
        self.end_first(window::nanoseconds(now), None)
    }

    /// Ends the incident whose quiet time passes first, if that is by `until` (boot time in nanoseconds): as of `time`,
    /// or of the moment it passes.
    fn end_first(&mut self, until: u64, time: Option<Stamp>) -> Option<IncidentEnd> {
        let rules = Rc::clone(&self.rules);
        while let Some(&Reverse((deadline, slot))) = self.deadlines.peek()
            && deadline <= until
        {
            self.deadlines.pop();
            let Some(Some(open)) = self.open.get(slot) else { continue };
            let quiet = rules.rules.get(open.rule).map_or(0, |rule| rule.quiet);
            let due = open.last_seen().saturating_add(quiet);
            if due > deadline {
                self.deadlines.push(Reverse((due, slot)));
                continue;
            }
            let time = time.unwrap_or_else(|| open.last_stamp().plus(Duration::from_nanos(quiet)));
            return self.close(slot, time);
        }
        None
    }

    /// Ends any open incident as of `now`, the oldest deadline first: for the end of a replay.
    pub fn end_any(&mut self, now: Stamp) -> Option<IncidentEnd> {
        while let Some(Reverse((_, slot))) = self.deadlines.pop() {
            if let Some(end) = self.close(slot, now) {
                return Some(end);
            }
        }
        None
    }

    fn close(&mut self, slot: usize, time: Stamp) -> Option<IncidentEnd> {
        let open = self.open.get_mut(slot)?.take()?;
        self.vacant.push(slot);
        self.room = self.room.saturating_add(open.taken());
        if let Some(source) = self.table.find_mut(&open.key) {
            source.detach(slot);
        }
        Some(IncidentEnd { time, incident: open.record() })
    }

    /// Forgets all counts, and keeps the open incidents: for a clock that was set back.
    pub fn restart_windows(&mut self) {
        self.table.for_each_mut(Source::clear);
    }
}
