//! What each rule makes of the sightings of a source: its count, and the incident that this amounts to.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use smallvec::SmallVec;

use super::sighting::{Cold, Hot};
use super::{Context, Source, evidence, number};
use crate::detect::incident::Open;
use crate::detect::key::SourceKey;
use crate::detect::probe::{Sighting, nanoseconds};
use crate::detect::rate::Totals;
use crate::detect::ruleset::{Compiled, Counting};
use crate::detect::shape::Shapes;
use crate::detect::{Seen, SeenCount};
use crate::filter::mask::Mask;
use crate::packet::protocol::has_ports;
use crate::time::Stamp;

/// One distinct value of a rule: what it weighs, and whether only accepted packets had it.
struct Value {
    value: u64,
    accepted: bool,
    weight: u8,
}

impl Source {
    /// How many times over a rule's threshold is asked: once for each value among what counts, this packet included.
    pub(super) fn values(
        &self,
        index: usize,
        rule: &Compiled,
        newest: &Cold,
        now: i64,
        context: Context<'_>,
    ) -> u64 {
        let Some(fields) = rule.for_each else { return 1 };
        let alive = self.alive(index, rule.window, now, context.shapes);
        let mut values: SmallVec<[u64; 32]> = alive.map(|(_, cold)| context.value_of(fields, cold)).collect();
        values.push(context.value_of(fields, newest));
        values.sort_unstable();
        values.dedup();
        u64::try_from(values.len()).unwrap_or(u64::MAX)
    }

    pub(super) fn totals(&self, index: usize, rule: &Compiled, now: i64) -> Totals {
        self.rates.totals(number(index), now, rule.window)
    }

    /// The sightings that count for a rule now.
    pub(super) fn alive<'a>(
        &'a self,
        index: usize,
        window: i64,
        now: i64,
        shapes: &'a Shapes,
    ) -> impl Iterator<Item = (&'a Hot, &'a Cold)> {
        self.hot.iter().zip(&self.cold).filter(move |(hot, cold)| {
            now - hot.last < window && shapes.get(cold.shape).is_some_and(|shape| shape.mask.contains(index))
        })
    }

    /// What a rule that counts distinct values comes to now, and what it would if accepted packets counted without
    /// conditions.
    pub(super) fn distinct(
        &self,
        index: usize,
        rule: &Compiled,
        now: i64,
        context: Context<'_>,
    ) -> (u64, u64) {
        let Counting::Distinct { fields, rest, .. } = rule.counting else { return (0, 0) };
        let mut values = SmallVec::<[Value; 32]>::new();
        for (_, cold) in self.alive(index, rule.window, now, context.shapes) {
            let value = context.value_of(fields, cold);
            let accepted = context.shapes.get(cold.shape).is_some_and(|shape| shape.accepted);
            let weight = if has_ports(cold.protocol) { rule.weight(cold.dport) } else { rest };
            values.push(Value { value, accepted, weight });
        }
        // Of equal values the one that was not accepted comes first and stays.
        values.sort_unstable_by_key(|value| (value.value, value.accepted));
        values.dedup_by_key(|value| value.value);
        let closed = values.iter().filter(|value| !value.accepted).count();
        let sum = |counts: &dyn Fn(&Value) -> bool| {
            values.iter().filter(|value| counts(value)).map(|value| u64::from(value.weight)).sum()
        };
        let all = sum(&|_| true);
        let counted = if closed >= rule.closed_at_least { all } else { sum(&|value| !value.accepted) };
        (counted, all)
    }

    /// The incident that a rule's count amounts to, and the addresses that contributed.
    pub(in crate::detect) fn incident(
        &self,
        index: usize,
        rule: &Compiled,
        key: SourceKey,
        at: Stamp,
        context: Context<'_>,
    ) -> Open {
        let now = nanoseconds(at);
        let alive = || self.alive(index, rule.window, now, context.shapes);
        let name = rule.raw_id.as_ref().filter(|_| self.mostly_raw(index, rule, now, context));
        let name = name.unwrap_or(&rule.name);
        let mut open = Open::new(index, Rc::clone(name), key, at);
        for (hot, cold) in alive() {
            open.take_sighting(&Sighting {
                first: cold.first,
                probe: cold.probe(hot.raw),
                packets: u64::from(hot.packets),
                bytes: hot.bytes,
            });
        }
        if !matches!(rule.counting, Counting::Distinct { .. }) {
            open.take_totals(self.totals(index, rule, now));
        }
        open.identify();
        open
    }

    /// Whether at least half of the values that count, each by its latest packet, look made by hand.
    fn mostly_raw(&self, index: usize, rule: &Compiled, now: i64, context: Context<'_>) -> bool {
        let Counting::Distinct { fields, .. } = rule.counting else { return false };
        let mut values: Vec<_> = self
            .alive(index, rule.window, now, context.shapes)
            .map(|(hot, cold)| (context.value_of(fields, cold), hot.last, hot.raw))
            .collect();
        values.sort_unstable();
        let latest = || values.chunk_by(|a, b| a.0 == b.0).filter_map(|of_one| of_one.last());
        latest().filter(|(.., raw)| *raw).count() * 2 >= latest().count()
    }

    /// The addresses whose packets count for a rule now.
    pub(in crate::detect) fn members(
        &self,
        index: usize,
        rule: &Compiled,
        now: i64,
        shapes: &Shapes,
    ) -> Vec<IpAddr> {
        let mut members: Vec<_> =
            self.alive(index, rule.window, now, shapes).map(|(_, cold)| cold.saddr).collect();
        members.sort_unstable();
        members.dedup();
        members
    }

    /// What counts now.
    pub(in crate::detect) fn seen(&self, now: Stamp, context: Context<'_>) -> Seen {
        let stamp = |last: i64| evidence::stamp(last, now);
        let (now, mut seen) = (nanoseconds(now), Seen::default());
        let mut rules = Mask::default();
        for (hot, cold) in self.hot.iter().zip(&self.cold) {
            let Some(shape) = context.shapes.get(cold.shape) else { continue };
            let Some(share) = shape.shares.get(context.key) else { continue };
            for index in share.mask.iter() {
                if context.rules.rules.get(index).is_some_and(|rule| now - hot.last < rule.window) {
                    rules.insert(index);
                    seen.note(cold.first, stamp(hot.last));
                }
            }
        }
        for index in rules.iter() {
            let Some(rule) = context.rules.rules.get(index) else { continue };
            let count = self.come_to(index, rule, now, context);
            if count > 0 {
                let window = Duration::from_nanos(rule.window.unsigned_abs());
                let threshold = rule.threshold.saturating_mul(self.times(index, rule, now, context));
                let rule = rule.id.to_string();
                seen.counts.push(SeenCount { rule, count, threshold, window });
            }
        }
        seen
    }
}
