//! Counting: which packet is evidence of what, and when it is enough.
//!
//! A packet is judged ([`class`]), looked up in the table of sources ([`table`]), counted for each rule that matches it
//! ([`ruleset`]), and opens or continues an incident ([`incident`]). Nothing here reads a clock, does I/O or
//! grows without bound.

pub mod class;
mod forget;
pub mod fragment;
mod incident;
mod index;
pub mod key;
pub mod memory;
mod population;
mod probe;
mod rate;
mod reload;
pub mod rule;
mod ruleset;
mod select;
mod shape;
mod source;
mod table;
mod tool;

#[cfg(test)]
mod memory_tests;
#[cfg(test)]
mod reload_tests;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::net::IpAddr;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use foldhash::fast::SeedableRandomState;
use ipnet::IpNet;

use smallvec::SmallVec;

use self::class::{Exemption, Judgement, Surroundings, is_raw_syn, judge};
use self::fragment::Fragments;
use self::incident::Open;
use self::key::{SourceKey, Widths};
use self::population::Population;
use self::probe::{Arrival, Interfaces, nanoseconds};
use self::rule::Key;
use self::ruleset::{Compiled, MAX_KEYS, SOURCE_KEY};
use self::select::Names;
use self::shape::{ShapeId, Shapes};
use self::source::{Context, Counted, Tally};
use self::table::Place;
use crate::decide::{Evidence, Response};
use crate::event::firing::{Answer, Firing};
use crate::event::{Incident, IncidentEnd, IncidentId};
use crate::filter::Class;
use crate::filter::mask::Mask;
use crate::packet::{Observation, Tcp, TcpFlags, Transport, Verdict};
use crate::time::Stamp;

pub use self::population::{Capacity, Occupancy};
pub use self::ruleset::{MAX_RULES, Ruleset, TooMany};

/// How many incidents may be open at once; far below [`Capacity::tracked`], so that open ones are never pushed out.
pub const MAX_OPEN: usize = 8_192;

/// How many ports and addresses all open incidents together keep beyond the first few of each: 64 MiB at most. What is
/// more goes uncounted, and an incident's numbers of distinct values are those that were kept.
const MAX_KEPT: usize = 1 << 20;

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

impl Seen {
    fn note(&mut self, first: Stamp, last: Stamp) {
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

/// What an incident is answered on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grounds {
    /// The incident.
    pub incident: IncidentId,
    /// Its name: the id of the rule that fired.
    pub rule: String,
    /// Whom to act against: the source, or the members of a prefix that contributed.
    pub targets: Vec<IpNet>,
    /// How well that address is proven.
    pub evidence: Evidence,
    /// The rule's own response, where it has one.
    pub respond: Option<Response>,
    /// The packets that it rests on.
    pub firing: Option<Box<Firing>>,
}

/// An incident that has just opened.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// The incident.
    pub incident: Incident,
    /// What it is answered on.
    pub grounds: Grounds,
    /// The incident that ended early because no more could be open.
    pub displaced: Option<IncidentEnd>,
}

/// The sources, their counts, and the open incidents.
#[derive(Debug)]
pub struct Detector {
    rules: Rc<Ruleset>,
    shapes: Shapes,
    names: Names,
    surroundings: Surroundings,
    widths: Widths,
    /// Those that packets come from.
    sources: Population,
    /// Prefixes of them, and pairs of source and destination.
    groups: Population,
    open: Vec<Option<Open>>,
    vacant: Vec<u32>,
    /// How many of the open incidents are of rules that count per each key.
    open_per_key: [usize; MAX_KEYS],
    /// When each open incident is to be looked at again: (boot time in nanoseconds, index in `open`).
    deadlines: BinaryHeap<Reverse<(i64, u32)>>,
    /// What is left of [`MAX_KEPT`].
    room: usize,
    values: SeedableRandomState,
    interfaces: Interfaces,
    counted: u64,
    fragments: Fragments,
    /// Incidents that have grown since they were last told.
    grown: Vec<Incident>,
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
            shapes: Shapes::new(),
            names: Names::default(),
            surroundings,
            widths,
            sources: Population::new(capacity, &state),
            groups: Population::new(capacity, &state),
            open: Vec::new(),
            vacant: Vec::new(),
            open_per_key: [0; MAX_KEYS],
            deadlines: BinaryHeap::new(),
            room: MAX_KEPT,
            values: state(),
            interfaces: Interfaces::default(),
            counted: 0,
            fragments: Fragments::new(fragment::DATAGRAMS, state()),
            grown: Vec::new(),
        }
    }

    /// Replaces what is known of ourselves; all counts stay.
    pub fn set_surroundings(&mut self, surroundings: Surroundings, widths: Widths) {
        self.surroundings = surroundings;
        self.widths = widths;
    }

    /// How full the tables of sources and of prefixes are.
    #[must_use]
    pub fn occupancy(&self) -> [Occupancy; 2] {
        [self.sources.occupancy(), self.groups.occupancy()]
    }

    /// How many sources have been counted so far.
    #[must_use]
    pub const fn sources(&self) -> u64 {
        self.counted
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
            .filter(move |open| open.key.net().contains(&net) || net.contains(&open.key.net()))
            .map(Open::record)
    }

    /// The open incidents of exactly these sources.
    pub fn incidents_among(&self, sources: &HashSet<IpNet>) -> impl Iterator<Item = Incident> {
        self.open.iter().flatten().filter(|open| sources.contains(&open.key.net())).map(Open::record)
    }

    /// The open incidents with these ids.
    pub fn incidents_with(&self, ids: &[IncidentId]) -> impl Iterator<Item = Incident> {
        self.open.iter().flatten().filter(|open| ids.contains(&open.id)).map(Open::record)
    }

    /// Those of the open incidents in `places` that have had a packet since `since` (boot time), and whether these were the
    /// last places.
    pub fn incidents_within(
        &self,
        places: Range<usize>,
        since: Duration,
    ) -> (impl Iterator<Item = Incident>, bool) {
        let is_last = places.end >= self.open.len();
        let open = self.open.iter().take(places.end).skip(places.start).flatten();
        (open.filter(move |open| open.last_stamp().boot >= since).map(Open::record), is_last)
    }

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

    /// Takes the incidents that have grown much since they were last told.
    pub fn take_grown(&mut self) -> std::vec::Drain<'_, Incident> {
        self.grown.drain(..)
    }

    /// Prepares for packets of these sources, which are about to be taken in. It changes nothing, and makes what follows
    /// faster where many sources are known.
    pub fn anticipate(&mut self, sources: impl Iterator<Item = IpAddr>) {
        let Self { sources: known, groups, widths, rules, .. } = self;
        let addresses: SmallVec<[IpAddr; 64]> = sources.collect();
        let new = known.anticipate(addresses.iter().map(|&saddr| widths.source(saddr, "")));
        if new.is_empty() {
            return;
        }
        // Prefixes are told of every packet of a new source.
        for key in &rules.keys {
            let addresses = new.iter().filter_map(|&number| addresses.get(number));
            let _: SmallVec<_> = groups.anticipate(addresses.filter_map(|&saddr| widths.prefix(*key, saddr)));
        }
    }

    /// Takes in one packet. Time must not go back.
    pub fn observe(&mut self, observation: &Observation<'_>, at: Stamp) -> Effect {
        if observation.verdict == Verdict::Fragment && observation.fault.is_none() {
            let fault = self.fragments.observe(&observation.packet, at);
            return self.examine(&Observation { fault, ..*observation }, at);
        }
        self.examine(observation, at)
    }

    fn examine(&mut self, observation: &Observation<'_>, at: Stamp) -> Effect {
        let key = self.source_key(observation);
        let class = match self.judge(observation, &key) {
            Judgement::Evidence(class) => class,
            // A host that does not publish the port refuses what another lets in, and whoever seeks that port asks both.
            // Made by hand only: an honest client that is refused (by a rate limit, a full table) tries again and again.
            Judgement::Exempt(Exemption::Published) if is_raw_syn(&observation.packet) => {
                return self.examine(&Observation { verdict: Verdict::Accepted, ..*observation }, at);
            }
            Judgement::Exempt(why) => return Effect::Exempt(why),
        };
        let rules = Rc::clone(&self.rules);
        let (selected, shape) = self.select(&rules, observation, class);
        let mut mask = selected;
        let arrival = Arrival { observation, class, key, at, now: nanoseconds(at) };
        let place = self.sources.tracked.find(&key);
        if let Some(owner) = self.continue_incident(&rules, &arrival, place, &mut mask) {
            return self.persist(&rules, owner, &mask, &arrival);
        }
        if mask.is_empty() {
            return Effect::Unclaimed;
        }
        let accepted = observation.verdict == Verdict::Accepted;
        let shape =
            shape.filter(|_| mask == selected).or_else(|| self.shapes.of(mask, class, accepted, &rules));
        if let Some(shape) = shape {
            return self.count(&rules, &arrival, place, shape);
        }
        // More different sets of rules than are remembered: one rule at a time is the same, and dearer.
        for index in mask.iter() {
            if let Some(shape) = self.shapes.of(Mask::of(index), class, accepted, &rules) {
                let place = self.sources.tracked.find(&key);
                let effect = self.count(&rules, &arrival, place, shape);
                if effect != Effect::Counted {
                    return effect;
                }
            }
        }
        Effect::Counted
    }

    /// The rules that a packet matches, and the shape of such packets where it is at hand.
    fn select(
        &mut self,
        rules: &Ruleset,
        observation: &Observation<'_>,
        class: Class,
    ) -> (Mask, Option<ShapeId>) {
        let signature = rules.selector.signature(observation, class);
        if let Some((id, shape)) = signature.and_then(|signature| self.shapes.lately(signature)) {
            return (shape.mask, Some(id));
        }
        let mut mask = rules.selector.select(observation, class, &mut self.names);
        let excepts = rules.selector.excepts(&mask, observation, class);
        if excepts {
            rules.selector.except(&mut mask, observation, class);
        }
        let shape = self.shapes.of(mask, class, observation.verdict == Verdict::Accepted, rules);
        if let (Some(signature), Some(shape), false) = (signature, shape, excepts) {
            self.shapes.remember(signature, shape);
        }
        (mask, shape)
    }

    /// Whom a packet is counted for.
    fn source_key(&self, observation: &Observation<'_>) -> SourceKey {
        let packet = &observation.packet;
        match observation.verdict {
            Verdict::Outbound => SourceKey::of_ours(packet.saddr),
            _ => self.widths.source(packet.saddr, observation.iif),
        }
    }

    fn judge(&mut self, observation: &Observation<'_>, key: &SourceKey) -> Judgement {
        let acknowledging = match observation.packet.transport {
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
        let Some(acknowledging) = acknowledging else {
            return judge(observation, &self.surroundings, |_| false);
        };
        let previous = self.sources.previous_ack(key);
        let twin = |tcp: &Tcp| previous.is_some_and(|(s, p)| Some(s) == tcp.sequence && p != tcp.dport);
        let judgement = judge(observation, &self.surroundings, twin);
        if matches!(judgement, Judgement::Evidence(_) | Judgement::Exempt(Exemption::Late)) {
            self.sources.note_ack(key, acknowledging);
        }
        judgement
    }

    /// Gives the packet to the incident that owns its class, if there is one; the source is asked before its prefixes.
    /// Incidents of rules that only log own nothing, but count their packets themselves: their rules leave `mask`.
    fn continue_incident(
        &mut self,
        rules: &Ruleset,
        arrival: &Arrival<'_>,
        place: Option<Place>,
        mask: &mut Mask,
    ) -> Option<u32> {
        if self.open_incidents() == 0 {
            return None;
        }
        let of_source = place.and_then(|place| self.sources.tracked.at(place));
        let of_groups = (SOURCE_KEY + 1..rules.keys.len()).filter_map(|at| {
            let open = self.open_per_key.get(at).is_some_and(|open| *open > 0);
            let key = rules.keys.get(at).filter(|_| open)?;
            let key = self.widths.of(*key, arrival.observation)?;
            self.groups.tracked.find(&key).and_then(|place| self.groups.tracked.at(place))
        });
        let mut asked = SmallVec::<[u32; 8]>::new();
        of_source.into_iter().chain(of_groups).for_each(|source| asked.extend_from_slice(source.incidents()));
        if asked.is_empty() {
            return None;
        }
        let probe = arrival.probe(&self.interfaces);
        for number in asked {
            let Some(open) = self.open.get_mut(number as usize).and_then(Option::as_mut) else { continue };
            let Some(rule) = rules.rules.get(open.rule) else { continue };
            let of_class = rule.classes.contains(arrival.class) && !rule.is_narrow();
            let matches = mask.contains(open.rule);
            if rule.owns() && matches!(arrival.class, Class::Fragment | Class::Probe) && !matches {
                // A scan that comes in fragments, or asks for names and times as well, is still the scan it is.
                open.touch(arrival.at);
                return Some(number);
            }
            let owns = rule.owns() && (matches || of_class);
            if !owns && !matches {
                continue;
            }
            open.update(&probe, &mut self.room);
            if open.grown() {
                self.grown.push(open.record());
            }
            if owns {
                return Some(number);
            }
            mask.remove(open.rule);
        }
        None
    }

    /// Counts a packet that an incident owns for that incident's own rule, so that a scan is told from its stragglers
    /// when it outlives its ban. What the rule does not match (an accepted packet) continues the incident, no more.
    fn persist(&mut self, rules: &Ruleset, owner: u32, mask: &Mask, arrival: &Arrival<'_>) -> Effect {
        let Some(open) = self.open.get(owner as usize).and_then(Option::as_ref) else {
            return Effect::Counted;
        };
        let (id, index, key) = (open.id, open.rule, open.key);
        let accepted = arrival.observation.verdict == Verdict::Accepted;
        let again = rules.rules.get(index).filter(|_| mask.contains(index)).and_then(|rule| {
            let shape = self.shapes.of(Mask::of(index), arrival.class, accepted, rules)?;
            let share = self.shapes.get(shape)?.shares.get(rule.key)?;
            let population = if rule.key == SOURCE_KEY { &mut self.sources } else { &mut self.groups };
            let place = population.tracked.find(&key)?;
            let context = Context {
                rules,
                shapes: &self.shapes,
                key: rule.key,
                hasher: &self.values,
                interfaces: &self.interfaces,
            };
            population.count(place, share, shape, arrival, 0, context).fired?;
            let targets = self.targets(rule, index, &key, arrival.now);
            let firing = self.firing(rules, index, &key, id, arrival.at);
            self.forget(rules, index, &key);
            let open = self.open.get(owner as usize).and_then(Option::as_ref)?;
            Some(open.grounds(rule.respond, targets, firing))
        });
        again.map_or(Effect::Continued(id), Effect::Persisted)
    }

    fn count(
        &mut self,
        rules: &Ruleset,
        arrival: &Arrival<'_>,
        mut place: Option<Place>,
        shape_id: ShapeId,
    ) -> Effect {
        let key = &arrival.key;
        let Some(shape) = self.shapes.get(shape_id) else { return Effect::Counted };
        let context = Context {
            rules,
            shapes: &self.shapes,
            key: SOURCE_KEY,
            hasher: &self.values,
            interfaces: &self.interfaces,
        };
        let mut counted = Counted { fired: None, fresh: true };
        if let Some(share) = shape.shares.get(SOURCE_KEY).filter(|share| !share.is_empty()) {
            if place.is_none() {
                let (admitted, new) = self.sources.admit(key, shape_id, arrival, context);
                self.counted += u64::from(new);
                place = admitted;
            }
            if let Some(place) = place {
                counted = self.sources.count(place, share, shape_id, arrival, shape.hold, context);
            }
        }
        if !counted.fresh && !shape.pairs {
            return counted.fired.map_or(Effect::Counted, |index| self.open(rules, index, key, arrival.at));
        }
        // What a lone member of a prefix does is known of the member itself, if that is counted at all.
        let remembered = shape.shares.get(SOURCE_KEY).is_some_and(|share| !share.is_empty());
        let mut found = counted.fired.map(|index| (index, *key));
        for &at in &shape.others {
            let context = Context { key: at, ..context };
            let (Some(share), Some(per)) = (shape.shares.get(at), rules.keys.get(at)) else { continue };
            let too_late = found.is_some_and(|(fired, _)| share.first().is_none_or(|first| first > fired));
            if too_late || !(counted.fresh || *per == Key::Pair) {
                continue;
            }
            let Some(group) = self.widths.of(*per, arrival.observation) else { continue };
            let member = |address: IpAddr| self.widths.source(address, "");
            let members = (share.several && remembered)
                .then_some((&self.sources, &member as &dyn Fn(IpAddr) -> SourceKey));
            let place = match self.groups.tracked.find(&group) {
                Some(place) => Some(place),
                None => self.groups.admit_group(&group, shape_id, arrival, members, context),
            };
            let fired =
                place.and_then(|place| self.groups.count(place, share, shape_id, arrival, 0, context).fired);
            if let Some(index) = fired
                && found.is_none_or(|(earlier, _)| index < earlier)
            {
                found = Some((index, group));
            }
        }
        match found {
            Some((index, key)) => self.open(rules, index, &key, arrival.at),
            None => Effect::Counted,
        }
    }

    /// Whom to act against for a rule that fired: the source, or the members of a prefix whose packets counted.
    fn targets(&self, rule: &Compiled, index: usize, key: &SourceKey, now: i64) -> Vec<IpNet> {
        let Some(Key::Prefix { .. }) = self.rules.keys.get(rule.key) else { return vec![key.net()] };
        let Some(source) = self.groups.find(key) else { return Vec::new() };
        let members = source.members(index, rule, now, &self.shapes);
        let mut targets: Vec<_> =
            members.into_iter().map(|member| self.widths.source(member, "").net()).collect();
        targets.dedup();
        targets
    }

    fn context<'a>(&'a self, rules: &'a Ruleset, key: usize) -> Context<'a> {
        Context { rules, shapes: &self.shapes, key, hasher: &self.values, interfaces: &self.interfaces }
    }

    /// The packets that a rule counts now, which made it fire.
    fn firing(
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

    /// Where what a rule counts is kept.
    fn population(&self, rule: &Compiled) -> &Population {
        if rule.key == SOURCE_KEY { &self.sources } else { &self.groups }
    }

    fn population_of(&mut self, rule: &Compiled) -> &mut Population {
        if rule.key == SOURCE_KEY { &mut self.sources } else { &mut self.groups }
    }

    /// Empties the counters that a rule that fired takes with it.
    fn forget(&mut self, rules: &Ruleset, index: usize, key: &SourceKey) {
        let Some(rule) = rules.rules.get(index) else { return };
        let population = if rule.key == SOURCE_KEY { &mut self.sources } else { &mut self.groups };
        population.forget(key, index, rules, &mut self.shapes, &self.values);
    }

    /// Where the same thing is open already, found by another rule.
    fn known(&self, rule: &Compiled, open: &Open) -> Option<usize> {
        let is = |known: &Option<Open>| known.as_ref().is_some_and(|known| known.is_the_same(open));
        if rule.shares_name {
            return self.open.iter().position(is);
        }
        let slots = self.population(rule).find(&open.key)?.incidents().iter().map(|&slot| slot as usize);
        slots.into_iter().find(|&slot| self.open.get(slot).is_some_and(is))
    }

    fn open(&mut self, rules: &Ruleset, index: usize, key: &SourceKey, at: Stamp) -> Effect {
        let Some(rule) = rules.rules.get(index) else { return Effect::Counted };
        let context = self.context(rules, rule.key);
        let Some(source) = self.population(rule).find(key) else { return Effect::Counted };
        let open = source.incident(index, rule, *key, at, context);
        let targets = self.targets(rule, index, key, nanoseconds(at));
        let mut firing = self.firing(rules, index, key, open.id, at);
        self.forget(rules, index, key);
        if let Some(known) = self.known(rule, &open).and_then(|slot| self.open.get_mut(slot)?.as_mut()) {
            firing.iter_mut().for_each(|firing| firing.incident = known.id);
            let grounds = known.grounds(rule.respond, targets, firing);
            known.join(&open);
            return Effect::Persisted(grounds);
        }
        // The one that would end first gives way: were it the newcomer, a flood of forged sources would hide all others.
        let full = self.open_incidents() >= MAX_OPEN;
        let displaced = if full { self.end_first(i64::MAX, Some(at)) } else { None };
        firing.iter_mut().for_each(|firing| firing.opened = true);
        let grounds = open.grounds(rule.respond, targets, firing);
        let finding = Finding { incident: open.record(), grounds, displaced };
        let deadline = open.last_seen().saturating_add(rule.quiet);
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.open.push(None);
            u32::try_from(self.open.len() - 1).unwrap_or(u32::MAX)
        });
        if let Some(place) = self.open.get_mut(slot as usize) {
            *place = Some(open);
        }
        if let Some(open) = self.open_per_key.get_mut(rule.key) {
            *open += 1;
        }
        if let Some(source) = self.population_of(rule).tracked.find_mut(key) {
            source.attach(slot);
        }
        self.deadlines.push(Reverse((deadline, slot)));
        Effect::Opened(Box::new(finding))
    }

    /// Boot time at which an open incident may be over.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.peek().map(|Reverse((at, _))| Duration::from_nanos(at.unsigned_abs()))
    }

    /// Ends the next incident whose quiet time has passed by `now`, as of the moment it passed.
    pub fn end_next(&mut self, now: Stamp) -> Option<IncidentEnd> {
        self.end_first(nanoseconds(now), None)
    }

    /// Ends the incident whose quiet time passes first, if that is by `until` (boot time in nanoseconds): as of `time`,
    /// or of the moment it passes.
    fn end_first(&mut self, until: i64, time: Option<Stamp>) -> Option<IncidentEnd> {
        let rules = Rc::clone(&self.rules);
        while let Some(&Reverse((deadline, slot))) = self.deadlines.peek()
            && deadline <= until
        {
            self.deadlines.pop();
            let Some(Some(open)) = self.open.get(slot as usize) else { continue };
            let quiet = rules.rules.get(open.rule).map_or(0, |rule| rule.quiet);
            let due = open.last_seen().saturating_add(quiet);
            if due > deadline {
                self.deadlines.push(Reverse((due, slot)));
                continue;
            }
            let time =
                time.unwrap_or_else(|| open.last_stamp().plus(Duration::from_nanos(quiet.unsigned_abs())));
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

    fn close(&mut self, slot: u32, time: Stamp) -> Option<IncidentEnd> {
        let open = self.open.get_mut(slot as usize)?.take()?;
        self.vacant.push(slot);
        self.room = self.room.saturating_add(open.taken());
        let rules = Rc::clone(&self.rules);
        if let Some(rule) = rules.rules.get(open.rule) {
            if let Some(open) = self.open_per_key.get_mut(rule.key) {
                *open = open.saturating_sub(1);
            }
            if let Some(source) = self.population_of(rule).tracked.find_mut(&open.key) {
                source.detach(slot);
            }
        }
        Some(IncidentEnd { time, incident: open.record() })
    }

    /// Forgets all counts, and keeps the open incidents: for a clock that was set back.
    pub fn restart_windows(&mut self) {
        self.sources.clear();
        self.groups.clear();
        self.fragments.clear();
    }
}
