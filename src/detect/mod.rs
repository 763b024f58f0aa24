//! Counting: which packet is evidence of what, and when it is enough.
//!
//! A packet is judged ([`class`]), looked up in the table of sources ([`table`]), counted for each rule that matches it
//! ([`ruleset`]), and opens or continues an incident ([`incident`]). Nothing here reads a clock, does I/O or
//! grows without bound.

pub mod class;
mod forget;
pub mod fragment;
mod incident;
mod incidents;
mod index;
pub mod key;
pub mod memory;
mod population;
mod probe;
mod rate;
mod reload;
pub mod rule;
mod ruleset;
mod seen;
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
use std::collections::BinaryHeap;
use std::net::IpAddr;
use std::rc::Rc;

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
use self::source::{Context, Counted};
use self::table::Place;
use crate::decide::{Evidence, Response};
use crate::event::firing::Firing;
use crate::event::{Incident, IncidentEnd, IncidentId};
use crate::filter::Class;
use crate::filter::mask::Mask;
use crate::packet::{Observation, Tcp, TcpFlags, Transport, Verdict};
use crate::time::Stamp;

pub use self::population::{Capacity, Occupancy};
pub use self::ruleset::{MAX_RULES, Ruleset, TooMany};
pub use self::seen::{Seen, SeenCount};

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

    /// Forgets all counts, and keeps the open incidents: for a clock that was set back.
    pub fn restart_windows(&mut self) {
        self.sources.clear();
        self.groups.clear();
        self.fragments.clear();
    }
}
