//! Rules, compiled so that a packet meets only those that can match it.
//!
//! Every dimension (class and verdict, destination port) maps its value to a set of rules as a bit mask; the candidates
//! of a packet are the intersection. What a mask cannot say is asked of the rule's filter afterwards.

use std::rc::Rc;
use std::time::Duration;

use super::rule::{Count, Fields, Key, Rule, Weights};
use crate::decide::Response;
use crate::filter::{Class, Filter};
use crate::packet::{Observation, Verdict};

/// How many rules there may be.
pub const MAX_RULES: usize = 256;
/// How many different ways to key (`per`) they may use together.
pub(super) const MAX_KEYS: usize = 8;
const WORDS: usize = MAX_RULES / 64;

/// A set of rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Mask([u64; WORDS]);

impl Mask {
    fn insert(&mut self, rule: usize) {
        if let Some(word) = self.0.get_mut(rule / 64) {
            *word |= 1 << (rule % 64);
        }
    }

    pub(super) fn and(mut self, other: &Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(word, other)| *word &= other);
        self
    }

    pub(super) fn remove(&mut self, rule: usize) {
        if let Some(word) = self.0.get_mut(rule / 64) {
            *word &= !(1 << (rule % 64));
        }
    }

    pub(super) fn contains(&self, rule: usize) -> bool {
        self.0.get(rule / 64).is_some_and(|word| word >> (rule % 64) & 1 == 1)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|&word| word == 0)
    }

    /// The rules of the set, in their order.
    pub(super) fn iter(self) -> impl Iterator<Item = usize> {
        self.0.into_iter().enumerate().flat_map(|(word, mut bits)| {
            std::iter::from_fn(move || {
                let bit = usize::try_from(bits.trailing_zeros()).ok()?;
                bits = (bits != 0).then(|| bits & (bits - 1))?;
                Some(word * 64 + bit)
            })
        })
    }
}

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
    Distinct { fields: Fields, weights: Option<Rc<[u8]>>, rest: u8, limit: usize },
}

/// One rule, ready to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Compiled {
    pub(super) id: Rc<str>,
    pub(super) raw_id: Option<Rc<str>>,
    pub(super) counting: Counting,
    pub(super) threshold: u64,
    /// Nanoseconds.
    pub(super) window: u64,
    /// How long an incident stays open without a packet, in nanoseconds.
    pub(super) quiet: u64,
    pub(super) respond: Option<Response>,
    pub(super) from_at_least: usize,
    pub(super) classes: Classes,
    /// Which entry of [`Ruleset::keys`] it counts per.
    pub(super) key: usize,
    /// What is left to ask after the masks; none for most rules.
    filter: Option<Filter>,
    narrow: bool,
    /// Whether fewer packets than two can reach the threshold.
    pub(super) fires_at_once: bool,
}

impl Compiled {
    /// Whether an incident of this rule owns the packets of its classes.
    pub(super) fn owns(&self) -> bool {
        self.respond != Some(Response::Log)
    }

    /// Whether it asks more than class and verdict: then its incidents own only what it matches.
    pub(super) fn is_narrow(&self) -> bool {
        self.narrow
    }

    pub(super) fn matches(&self, observation: &Observation<'_>, class: Class) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.matches(observation, Some(class)))
    }

    /// What `port` weighs.
    pub(super) fn weight(&self, port: Option<u16>) -> u8 {
        match &self.counting {
            Counting::Distinct { weights: Some(table), rest, .. } => {
                port.and_then(|port| table.get(usize::from(port)).copied()).unwrap_or(*rest)
            }
            Counting::Distinct { rest, .. } => *rest,
            Counting::Packets | Counting::Bytes => 1,
        }
    }
}

/// All enabled rules, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruleset {
    pub(super) rules: Vec<Compiled>,
    /// The distinct ways to key, the source always first.
    pub(super) keys: Vec<Key>,
    /// For each key, the rules that count per it.
    pub(super) by_key: Vec<Mask>,
    by_class: Vec<[Mask; Verdict::ALL.len()]>,
    /// For rules that name destination ports: port → index into `port_masks`; empty where no rule does.
    by_dport: Vec<u16>,
    port_masks: Vec<Mask>,
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

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Ruleset {
    /// Compiles the enabled ones of `rules`. `traps` are the ports that weigh as such.
    ///
    /// # Errors
    /// When they are too many, see [`TooMany`].
    pub fn compile(rules: &[Rule], traps: &[u16]) -> Result<Self, TooMany> {
        let enabled: Vec<&Rule> = rules.iter().filter(|rule| rule.enabled).collect();
        if enabled.len() > MAX_RULES {
            return Err(TooMany::Rules(enabled.len()));
        }
        let mut this = Self {
            rules: Vec::with_capacity(enabled.len()),
            keys: vec![Key::Source],
            by_key: vec![Mask::default()],
            by_class: vec![[Mask::default(); Verdict::ALL.len()]; Class::ALL.len()],
            by_dport: Vec::new(),
            port_masks: Vec::new(),
        };
        for (index, rule) in enabled.iter().enumerate() {
            this.add(index, rule, traps);
        }
        if this.keys.len() > MAX_KEYS {
            return Err(TooMany::Keys(this.keys.len()));
        }
        this.index_ports(&enabled);
        Ok(this)
    }

    fn add(&mut self, index: usize, rule: &Rule, traps: &[u16]) {
        let key = self.keys.iter().position(|key| *key == rule.per).unwrap_or_else(|| {
            self.keys.push(rule.per);
            self.by_key.push(Mask::default());
            self.keys.len() - 1
        });
        if let Some(mask) = self.by_key.get_mut(key) {
            mask.insert(index);
        }
        let classes = Classes::of(&rule.filter.class);
        for (&class, verdicts) in Class::ALL.iter().zip(&mut self.by_class) {
            for (verdict, mask) in Verdict::ALL.iter().zip(verdicts) {
                if classes.contains(class)
                    && (rule.filter.verdict.is_empty() || rule.filter.verdict.contains(verdict))
                {
                    mask.insert(index);
                }
            }
        }
        let filter =
            Filter { class: Vec::new(), verdict: Vec::new(), dport: Vec::new(), ..rule.filter.clone() };
        let counting = match &rule.count {
            Count::Packets => Counting::Packets,
            Count::Bytes => Counting::Bytes,
            Count::Distinct { fields, weights } => {
                let least =
                    weights.ports.iter().map(|entry| entry.weight).chain([weights.rest]).min().unwrap_or(1);
                let spread = if rule.from_at_least > 1 { u64::from(rule.from_at_least) } else { 0 };
                let limit = rule.threshold.div_ceil(u64::from(least.max(1))).saturating_add(spread);
                Counting::Distinct {
                    fields: *fields,
                    weights: self.shared_weights(weights, traps),
                    rest: weights.rest,
                    limit: usize::try_from(limit).unwrap_or(usize::MAX),
                }
            }
        };
        let window = nanoseconds(rule.window);
        let mut compiled = Compiled {
            id: Rc::from(rule.id.as_str()),
            raw_id: rule.raw_id.as_deref().map(Rc::from),
            counting,
            threshold: rule.threshold,
            window,
            quiet: window.max(nanoseconds(Duration::from_secs(60))),
            respond: rule.respond,
            from_at_least: usize::try_from(rule.from_at_least).unwrap_or(usize::MAX),
            classes,
            key,
            narrow: filter != Filter::default()
                || !rule.filter.dport.is_empty()
                || rule.filter.class.is_empty(),
            filter: (filter != Filter::default()).then_some(filter),
            fires_at_once: false,
        };
        let most = match &rule.count {
            Count::Packets => 1,
            Count::Bytes => u64::MAX,
            Count::Distinct { weights, .. } => weights
                .ports
                .iter()
                .map(|entry| entry.weight)
                .chain([weights.rest])
                .max()
                .map_or(1, u64::from),
        };
        compiled.fires_at_once = most >= rule.threshold;
        self.rules.push(compiled);
    }

    /// The table of `weights`, the same one for every rule that weighs alike: it is 64 KiB, and the cache is small.
    fn shared_weights(&self, weights: &Weights, traps: &[u16]) -> Option<Rc<[u8]>> {
        let table = weight_table(weights, traps)?;
        let known = self.rules.iter().find_map(|rule| match &rule.counting {
            Counting::Distinct { weights: Some(known), .. } if *known == table => Some(Rc::clone(known)),
            _ => None,
        });
        Some(known.unwrap_or(table))
    }

    /// Gives every set of rules that some port is named by a number, and every port its number.
    fn index_ports(&mut self, rules: &[&Rule]) {
        if rules.iter().all(|rule| rule.filter.dport.is_empty()) {
            return;
        }
        self.by_dport = (0..=u16::MAX)
            .map(|port| {
                let mut mask = Mask::default();
                for (index, rule) in rules.iter().enumerate() {
                    let named = rule.filter.dport.iter().any(|range| range.contains(&port));
                    if named || rule.filter.dport.is_empty() {
                        mask.insert(index);
                    }
                }
                let number = self.port_masks.iter().position(|known| *known == mask).unwrap_or_else(|| {
                    self.port_masks.push(mask);
                    self.port_masks.len() - 1
                });
                u16::try_from(number).unwrap_or(u16::MAX)
            })
            .collect();
        // The last number stands for packets without a port: only rules that name none.
        let mut portless = Mask::default();
        for (index, _) in rules.iter().enumerate().filter(|(_, rule)| rule.filter.dport.is_empty()) {
            portless.insert(index);
        }
        self.port_masks.push(portless);
    }

    /// The rules that a packet may match, but for what [`Compiled::matches`] asks.
    pub(super) fn candidates(&self, class: Class, verdict: Verdict, dport: Option<u16>) -> Mask {
        let by_class = self
            .by_class
            .get(class as usize)
            .and_then(|verdicts| verdicts.get(verdict as usize))
            .copied()
            .unwrap_or_default();
        if self.by_dport.is_empty() || by_class.is_empty() {
            return by_class;
        }
        let by_port = match dport {
            Some(port) => self
                .by_dport
                .get(usize::from(port))
                .and_then(|&number| self.port_masks.get(usize::from(number))),
            None => self.port_masks.last(),
        };
        by_port.map_or(by_class, |mask| by_class.and(mask))
    }
}

/// One octet a port, where ports weigh differently.
fn weight_table(weights: &Weights, traps: &[u16]) -> Option<Rc<[u8]>> {
    if weights.ports.is_empty() {
        return None;
    }
    let mut table = vec![weights.rest; 1 << 16];
    for entry in weights.ports.iter().rev() {
        let ports =
            entry.ports.iter().cloned().flatten().chain(traps.iter().copied().filter(|_| entry.traps));
        for port in ports {
            if let Some(weight) = table.get_mut(usize::from(port)) {
                *weight = entry.weight;
            }
        }
    }
    Some(table.into())
}
