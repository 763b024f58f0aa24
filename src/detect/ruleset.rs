//! Rules, compiled.

use std::rc::Rc;
use std::time::Duration;

use super::rule::{Count, Fields, Key, Rule, Weights};
use super::select::Selector;
use crate::decide::Response;
use crate::filter::mask::Mask;
use crate::filter::{Class, Filter};
use crate::packet::Verdict;

/// How many rules there may be.
pub const MAX_RULES: usize = Mask::CAPACITY;
/// How many different ways to key (`per`) they may use together.
pub(super) const MAX_KEYS: usize = 8;
/// The place of [`Key::Source`] in [`Ruleset::keys`].
pub(super) const SOURCE_KEY: usize = 0;

/// A set of classes, as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Classes(u16);

impl Classes {
    const ALL: Self = Self(u16::MAX);

    fn of(classes: &[Class]) -> Self {
        if classes.is_empty() {
            Self::ALL
        } else {
            Self(classes.iter().fold(0, |bits, &class| bits | 1 << class as u16))
        }
    }

    /// These and some more.
    fn and_of(self, classes: &[Class]) -> Self {
        if classes.is_empty() { self } else { Self(self.0 | Self::of(classes).0) }
    }

    pub(super) const fn contains(self, class: Class) -> bool {
        self.0 >> class as u16 & 1 == 1
    }

    pub(super) const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// What a compiled rule counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Counting {
    Packets,
    Bytes,
    Distinct { fields: Fields, weights: Option<Rc<[u8]>>, rest: u8, most: u8, limit: usize },
}

/// One rule, ready to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Compiled {
    pub(super) id: Rc<str>,
    /// The id of its incidents.
    pub(super) name: Rc<str>,
    pub(super) raw_id: Option<Rc<str>>,
    pub(super) counting: Counting,
    pub(super) threshold: u64,
    /// Nanoseconds.
    pub(super) window: i64,
    /// How long an incident stays open without a packet, in nanoseconds.
    pub(super) quiet: i64,
    pub(super) respond: Option<Response>,
    pub(super) from_at_least: usize,
    pub(super) closed_at_least: usize,
    /// See [`Rule::for_each`].
    pub(super) for_each: Option<Fields>,
    pub(super) classes: Classes,
    /// Which entry of [`Ruleset::keys`] it counts per.
    pub(super) key: usize,
    narrow: bool,
    /// Whether fewer packets than two can reach the threshold.
    pub(super) fires_at_once: bool,
    /// Whether rules that count per other keys report the same.
    pub(super) shares_name: bool,
}

impl Compiled {
    fn new(rule: &Rule, key: usize, weights: Option<Rc<[u8]>>) -> Self {
        let filter = &rule.filter;
        let counting = match &rule.count {
            Count::Packets => Counting::Packets,
            Count::Bytes => Counting::Bytes,
            Count::Distinct { fields, weights: Weights { ports, rest } } => {
                let all = || ports.iter().map(|entry| entry.weight).chain([*rest]);
                let (least, most) = (all().min().unwrap_or(1).max(1), all().max().unwrap_or(1));
                let limit = usize::try_from(rule.threshold.div_ceil(u64::from(least))).unwrap_or(usize::MAX);
                Counting::Distinct { fields: *fields, weights, rest: *rest, most, limit }
            }
        };
        let window = nanoseconds(rule.window);
        let most = match &counting {
            Counting::Packets => 1,
            Counting::Bytes => u64::MAX,
            Counting::Distinct { most, .. } => u64::from(*most),
        };
        let fires_at_once = most >= rule.threshold && rule.from_at_least <= 1;
        let outbound = filter.verdict.contains(&Verdict::Outbound);
        Self {
            id: Rc::from(rule.id.as_str()),
            name: Rc::from(rule.report_as.as_deref().unwrap_or(&rule.id)),
            raw_id: rule.raw_id.as_deref().map(Rc::from),
            counting,
            threshold: rule.threshold,
            window,
            quiet: rule.quiet.map_or(window.max(nanoseconds(Duration::from_secs(60))), nanoseconds),
            // Our own hosts are told of and never acted against.
            respond: if outbound { Some(Response::Log) } else { rule.respond },
            from_at_least: usize::try_from(rule.from_at_least).unwrap_or(usize::MAX),
            for_each: (rule.for_each != Fields::default()).then_some(rule.for_each),
            closed_at_least: usize::try_from(rule.closed_at_least).unwrap_or(usize::MAX),
            classes: Classes::of(&filter.class).and_of(&rule.owns),
            key,
            narrow: {
                let class_and_verdict = Filter {
                    class: filter.class.clone(),
                    verdict: filter.verdict.clone(),
                    not: filter.not.clone(),
                    ..Default::default()
                };
                *filter != class_and_verdict || filter.class.is_empty()
            },
            fires_at_once,
            shares_name: false,
        }
    }

    /// What it counts, in words.
    pub(super) fn counts(&self) -> String {
        let (mut words, weighs) = match &self.counting {
            Counting::Packets => ("packets".to_owned(), false),
            Counting::Bytes => ("bytes".to_owned(), false),
            Counting::Distinct { fields, weights, .. } => (words(*fields), weights.is_some()),
        };
        if weighs {
            words.push_str(", some of more weight");
        }
        if let Some(fields) = self.for_each {
            words.push_str(" for each of the ");
            words.push_str(&words_of(fields));
        }
        if self.from_at_least > 1 {
            words.push_str(&format!(", from at least {} addresses", self.from_at_least));
        }
        words
    }

    /// Whether an incident of this rule owns the packets of its classes.
    pub(super) fn owns(&self) -> bool {
        self.respond != Some(Response::Log)
    }

    /// Whether it asks more than class and verdict, exceptions apart: then its incidents own only what it matches.
    pub(super) fn is_narrow(&self) -> bool {
        self.narrow
    }

    /// The most that one value weighs.
    pub(super) fn most_weight(&self) -> u64 {
        match self.counting {
            Counting::Distinct { most, .. } => u64::from(most.max(1)),
            Counting::Packets | Counting::Bytes => 1,
        }
    }

    /// What `port` weighs.
    pub(super) fn weight(&self, port: u16) -> u8 {
        match &self.counting {
            Counting::Distinct { weights: Some(table), rest, .. } => {
                table.get(usize::from(port)).copied().unwrap_or(*rest)
            }
            Counting::Distinct { rest, .. } => *rest,
            Counting::Packets | Counting::Bytes => 1,
        }
    }
}

/// What makes a distinct value, in words.
fn words(fields: Fields) -> String {
    let several =
        [fields.dport, fields.daddr, fields.saddr, fields.protocol].iter().filter(|on| **on).count();
    let of = if several > 1 { "distinct combinations of " } else { "distinct " };
    format!("{of}{}", words_of(fields))
}

fn words_of(fields: Fields) -> String {
    let Fields { dport, daddr, saddr, protocol } = fields;
    let names = [(dport, "ports"), (daddr, "hosts"), (saddr, "source addresses"), (protocol, "protocols")];
    let named: Vec<&str> = names.into_iter().filter_map(|(on, name)| on.then_some(name)).collect();
    named.join(" and ")
}

/// All enabled rules, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruleset {
    pub(super) rules: Vec<Compiled>,
    pub(super) selector: Selector,
    /// What each of them matches, as it was written.
    pub(super) filters: Vec<Filter>,
    /// The distinct ways to key, the source always first.
    pub(super) keys: Vec<Key>,
    /// For each key, the rules that count per it.
    pub(super) by_key: Vec<Mask>,
}

/// More than the compiled form holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooMany {
    /// More enabled rules than [`MAX_RULES`].
    #[error("{0} rules are enabled, and at most {MAX_RULES} can be: disable or merge some")]
    Rules(usize),
    /// More different `per` than [`MAX_KEYS`].
    #[error("the rules count per {0} different prefixes, and at most {MAX_KEYS} can be used together")]
    Keys(usize),
}

fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

impl Ruleset {
    /// Compiles the enabled ones of `rules`. `traps` are the ports that are such, with their protocols.
    ///
    /// # Errors
    /// When they are too many, see [`TooMany`].
    pub fn compile(rules: &[Rule], traps: &[(u8, u16)]) -> Result<Self, TooMany> {
        let enabled: Vec<&Rule> = rules.iter().filter(|rule| rule.enabled).collect();
        if enabled.len() > MAX_RULES {
            return Err(TooMany::Rules(enabled.len()));
        }
        let filters: Vec<Filter> = enabled.iter().map(|rule| rule.filter.clone()).collect();
        let mut this = Self {
            rules: Vec::with_capacity(enabled.len()),
            selector: Selector::new(filters.clone(), traps),
            filters,
            keys: vec![Key::Source],
            by_key: vec![Mask::default()],
        };
        for (index, rule) in enabled.iter().enumerate() {
            let key = this.keys.iter().position(|key| *key == rule.per).unwrap_or_else(|| {
                this.keys.push(rule.per);
                this.by_key.push(Mask::default());
                this.keys.len() - 1
            });
            if let Some(mask) = this.by_key.get_mut(key) {
                mask.insert(index);
            }
            let weights = this.weights(rule, traps);
            this.rules.push(Compiled::new(rule, key, weights));
        }
        if this.keys.len() > MAX_KEYS {
            return Err(TooMany::Keys(this.keys.len()));
        }
        let names: Vec<_> = this.rules.iter().map(|rule| (Rc::clone(&rule.name), rule.key)).collect();
        for rule in &mut this.rules {
            rule.shares_name = names.iter().any(|(name, key)| *name == rule.name && *key != rule.key);
        }
        Ok(this)
    }

    /// The table of a rule's weights, the same one for every rule that weighs alike: it is 64 KiB, and the cache is small.
    fn weights(&self, rule: &Rule, traps: &[(u8, u16)]) -> Option<Rc<[u8]>> {
        let Count::Distinct { weights, .. } = &rule.count else { return None };
        let table = weight_table(weights, traps)?;
        let known = self.rules.iter().find_map(|rule| match &rule.counting {
            Counting::Distinct { weights: Some(known), .. } if *known == table => Some(Rc::clone(known)),
            _ => None,
        });
        Some(known.unwrap_or(table))
    }
}

/// One octet a port, where ports weigh differently.
fn weight_table(weights: &Weights, traps: &[(u8, u16)]) -> Option<Rc<[u8]>> {
    if weights.ports.is_empty() {
        return None;
    }
    let mut table = vec![weights.rest; 1 << 16];
    for entry in weights.ports.iter().rev() {
        let traps = traps.iter().map(|trap| trap.1).filter(|_| entry.traps);
        for port in entry.ports.iter().cloned().flatten().chain(traps) {
            if let Some(weight) = table.get_mut(usize::from(port)) {
                *weight = entry.weight;
            }
        }
    }
    Some(table.into())
}
