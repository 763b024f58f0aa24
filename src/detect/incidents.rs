//! The open incidents: which packets they own, how they begin and how they end.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use ipnet::IpNet;
use smallvec::SmallVec;

use super::incident::Open;
use super::key::SourceKey;
use super::probe::{Arrival, nanoseconds};
use super::ruleset::{Compiled, Ruleset, SOURCE_KEY};
use super::source::Context;
use super::table::Place;
use super::{Detector, Effect, Finding, MAX_OPEN};
use crate::event::{Incident, IncidentEnd, IncidentId};
use crate::filter::Class;
use crate::filter::mask::Mask;
use crate::packet::Verdict;
use crate::time::Stamp;

impl Detector {
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

    /// Takes the incidents that have grown much since they were last told.
    pub fn take_grown(&mut self) -> std::vec::Drain<'_, Incident> {
        self.grown.drain(..)
    }

    /// Gives the packet to the incident that owns its class, if there is one; the source is asked before its prefixes.
    /// Incidents of rules that only log own nothing, but count their packets themselves: their rules leave `mask`.
    pub(super) fn continue_incident(
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
    pub(super) fn persist(
        &mut self,
        rules: &Ruleset,
        owner: u32,
        mask: &Mask,
        arrival: &Arrival<'_>,
    ) -> Effect {
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

    /// Where the same thing is open already, found by another rule.
    fn known(&self, rule: &Compiled, open: &Open) -> Option<usize> {
        let is = |known: &Option<Open>| known.as_ref().is_some_and(|known| known.is_the_same(open));
        if rule.shares_name {
            return self.open.iter().position(is);
        }
        let slots = self.population(rule).find(&open.key)?.incidents().iter().map(|&slot| slot as usize);
        slots.into_iter().find(|&slot| self.open.get(slot).is_some_and(is))
    }

    pub(super) fn open(&mut self, rules: &Ruleset, index: usize, key: &SourceKey, at: Stamp) -> Effect {
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

    pub(super) fn close(&mut self, slot: u32, time: Stamp) -> Option<IncidentEnd> {
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
}
