//! Other rules while packets are being counted.
//!
//! A rule is the same one by its id. What it has counted goes on counting while it counts the same of the same packets per
//! the same: another threshold, window, weight or answer is asked of what is known already. With another `match`, `count` or
//! `per` it begins anew: nobody is acted against for packets that the rule does not ask for any more. An open incident goes
//! on while its rule is there and counts per the same; else it ends, as nothing could continue it.
//!
//! All tables stay where they are. A sighting changes the number of its shape, which says the rules that it counts for, and
//! so its key.

use std::cmp::Reverse;
use std::rc::Rc;

use smallvec::SmallVec;

use super::key::SourceKey;
use super::population::Capacity;
use super::probe::nanoseconds;
use super::rule::Key;
use super::ruleset::{Compiled, Counting, MAX_KEYS, Ruleset, SOURCE_KEY};
use super::select::Names;
use super::shape::{ShapeId, Shapes};
use super::source::Context;
use super::{Detector, probe};
use crate::event::IncidentEnd;
use crate::filter::mask::Mask;
use crate::time::Stamp;

/// The rule of now that counts on for one of before, and the windows of both in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Heir {
    pub(super) rule: usize,
    pub(super) window_before: i64,
    pub(super) window: i64,
}

/// From the rules of before to those of now.
#[derive(Debug)]
pub(super) struct Passage<'a> {
    rules: &'a Ruleset,
    shapes: &'a Shapes,
    hasher: &'a foldhash::fast::SeedableRandomState,
    interfaces: &'a probe::Interfaces,
    /// By the rules of before.
    heirs: Vec<Option<Heir>>,
    /// By the shapes of before.
    shape_of: Vec<Option<ShapeId>>,
}

impl Passage<'_> {
    /// Who counts on for a rule of before.
    pub(super) fn heir(&self, rule: u16) -> Option<Heir> {
        self.heirs.get(usize::from(rule)).copied().flatten()
    }

    /// The shape of now in place of one of before, where something counts on for one of these keys, with what it is
    /// counted with.
    pub(super) fn shape(&self, before: ShapeId, keys: &Keys) -> Option<(ShapeId, Context<'_>)> {
        let id = self.shape_of.get(usize::from(before)).copied().flatten()?;
        let shape = self.shapes.get(id)?;
        let counts = |at: &usize| shape.shares.get(*at).is_some_and(|share| !share.is_empty());
        let key = keys.iter().copied().find(counts)?;
        let Self { rules, shapes, hasher, interfaces, .. } = *self;
        Some((id, Context { rules, shapes, key, hasher, interfaces }))
    }

    /// The keys of now that whoever is told apart by `key` among prefixes and pairs is counted per.
    pub(super) fn keys_of(&self, key: &SourceKey) -> Keys {
        let is_of = |per: &Key| per.is_of(key);
        (SOURCE_KEY + 1..self.rules.keys.len())
            .filter(|&at| self.rules.keys.get(at).is_some_and(is_of))
            .collect()
    }
}

/// Places in [`Ruleset::keys`].
pub(super) type Keys = SmallVec<[usize; MAX_KEYS]>;

impl Compiled {
    fn counts_the_same(&self, other: &Self) -> bool {
        match (&self.counting, &other.counting) {
            (Counting::Packets, Counting::Packets) | (Counting::Bytes, Counting::Bytes) => true,
            (Counting::Distinct { fields, .. }, Counting::Distinct { fields: others, .. }) => {
                fields == others
            }
            _ => false,
        }
    }
}

impl Ruleset {
    fn per(&self, index: usize) -> Option<&Key> {
        self.keys.get(self.rules.get(index)?.key)
    }

    /// For each of these rules the one of `now` with the same id that counts per the same.
    fn successors(&self, now: &Self) -> Vec<Option<usize>> {
        let successor = |(index, rule): (usize, &Compiled)| {
            let same = now.rules.iter().position(|other| other.id == rule.id)?;
            (self.per(index) == now.per(same)).then_some(same)
        };
        self.rules.iter().enumerate().map(successor).collect()
    }

    /// Those of the successors that count on.
    fn heirs(&self, now: &Self, successors: &[Option<usize>]) -> Vec<Option<Heir>> {
        let heir = |(index, successor): (usize, &Option<usize>)| {
            let successor = (*successor)?;
            let (before, after) = (self.rules.get(index)?, now.rules.get(successor)?);
            let is_same =
                self.filters.get(index) == now.filters.get(successor) && before.counts_the_same(after);
            is_same.then_some(Heir { rule: successor, window_before: before.window, window: after.window })
        };
        successors.iter().enumerate().map(heir).collect()
    }
}

impl Detector {
    /// Goes on with other rules and tables of another size: see the module. Gives the incidents that have ended with their
    /// rules.
    pub fn replace_rules(&mut self, rules: Ruleset, capacity: Capacity, now: Stamp) -> Vec<IncidentEnd> {
        let before = Rc::clone(&self.rules);
        let successors = before.successors(&rules);
        let ended = self.end_without_rule(&successors, now);
        let heirs = before.heirs(&rules, &successors);
        let mut shapes = Shapes::new();
        let shape_of = self
            .shapes
            .iter()
            .map(|shape| {
                let heir = |index| heirs.get(index).copied().flatten().map(|heir: Heir| heir.rule);
                let mask: Mask = shape.mask.iter().filter_map(heir).collect();
                if mask.is_empty() { None } else { shapes.of(mask, shape.class, shape.accepted, &rules) }
            })
            .collect();
        let (hasher, interfaces) = (&self.values, &self.interfaces);
        let passage = Passage { rules: &rules, shapes: &shapes, hasher, interfaces, heirs, shape_of };
        self.sources.carry_over(&passage, false);
        self.groups.carry_over(&passage, true);
        (self.rules, self.shapes, self.names) = (Rc::new(rules), shapes, Names::default());
        self.sources.resize(capacity);
        self.groups.resize(capacity);
        self.continue_with(&successors);
        ended
    }

    /// Ends the incidents whose rules have no successor.
    fn end_without_rule(&mut self, successors: &[Option<usize>], now: Stamp) -> Vec<IncidentEnd> {
        let has_none = |slot: &u32| {
            let open = self.open.get(*slot as usize).and_then(Option::as_ref);
            open.is_some_and(|open| successors.get(open.rule).copied().flatten().is_none())
        };
        let slots: Vec<u32> =
            (0..u32::try_from(self.open.len()).unwrap_or(u32::MAX)).filter(has_none).collect();
        slots.into_iter().filter_map(|slot| self.close(slot, now)).collect()
    }

    /// Gives the open incidents to the successors of their rules.
    fn continue_with(&mut self, successors: &[Option<usize>]) {
        self.open_per_key = [0; MAX_KEYS];
        self.deadlines.clear();
        for (slot, open) in (0..).zip(&mut self.open) {
            let Some(open) = open else { continue };
            let Some(successor) = successors.get(open.rule).copied().flatten() else { continue };
            open.rule = successor;
            let Some(rule) = self.rules.rules.get(successor) else { continue };
            if let Some(many) = self.open_per_key.get_mut(rule.key) {
                *many += 1;
            }
            let deadline = nanoseconds(open.last_stamp()).saturating_add(rule.quiet);
            self.deadlines.push(Reverse((deadline, slot)));
        }
    }
}
