//! What the detector needs to know of packets that match the same rules, worked out once for all of them.
//!
//! Packets of one class and verdict nearly always match the same few rules. Such a set of rules is a *shape*; a packet
//! that counts carries the number of its shape, and everything that follows from the set is looked up under it.

use foldhash::HashMap;

use super::rule::{Fields, Key};
use super::ruleset::{Counting, MAX_KEYS, Ruleset};
use super::select::Signature;
use crate::filter::Class;
use crate::filter::mask::Mask;

/// The number of a shape.
pub(super) type ShapeId = u16;

/// How many shapes of several rules there may be. Only overlapping rules of an administrator make more than a few
/// hundred; those of one rule each fit above.
const MOST: usize = 50_000;

/// A set of rules that packets of one kind match.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub(super) mask: Mask,
    pub(super) class: Class,
    /// Whether the firewall accepted the packets.
    pub(super) accepted: bool,
    /// What is counted per each of [`Ruleset::keys`].
    pub(super) shares: [Share; MAX_KEYS],
    /// The keys besides the source, by their places.
    pub(super) others: Vec<usize>,
    /// Whether any of these is a pair of source and destination, which is told of every packet.
    pub(super) pairs: bool,
    /// How long a prefix need not be told of a repeated packet, in seconds: a sixteenth of the shortest window that
    /// counts per prefix. A value is held for as much shorter there at most.
    pub(super) hold: u16,
}

/// The rules of a shape that count per one key.
#[derive(Debug, Clone, Default)]
pub(super) struct Share {
    /// All of them.
    pub(super) mask: Mask,
    /// Rules that count distinct values, in their order.
    pub(super) distinct: Vec<usize>,
    /// Rules that count packets or octets, in their order.
    pub(super) rates: Vec<usize>,
    /// Whether packets to different destinations are told apart.
    pub(super) by_daddr: bool,
    /// Whether packets from different addresses of the source are told apart.
    pub(super) by_saddr: bool,
    /// Whether these addresses are what a rule counts.
    pub(super) counts_saddr: bool,
    /// No rule fires before so many sightings are kept.
    pub(super) least: usize,
    /// The shortest and the longest window of the rules, in nanoseconds.
    pub(super) shortest: i64,
    /// See [`Self::shortest`].
    pub(super) longest: i64,
    /// Whether one packet may be enough.
    pub(super) at_once: bool,
    /// Whether every rule asks for several source addresses.
    pub(super) several: bool,
}

impl Share {
    pub(super) const fn is_empty(&self) -> bool {
        self.distinct.is_empty() && self.rates.is_empty()
    }

    /// The first rule of the share, by its place.
    pub(super) fn first(&self) -> Option<usize> {
        self.distinct.iter().chain(&self.rates).copied().min()
    }

    fn new(mask: Mask, rules: &Ruleset, is_source: bool) -> Self {
        let mut this = Self {
            mask,
            least: usize::MAX,
            shortest: i64::MAX,
            several: true,
            by_daddr: is_source,
            ..Self::default()
        };
        for index in mask.iter() {
            let Some(rule) = rules.rules.get(index) else { continue };
            if let Counting::Distinct { fields: Fields { daddr, saddr, .. }, most, .. } = rule.counting {
                this.distinct.push(index);
                this.by_daddr |= daddr;
                this.by_saddr |= saddr || rule.from_at_least > 1;
                this.counts_saddr |= saddr;
                let least = rule.threshold.div_ceil(u64::from(most.max(1)));
                this.least = this.least.min(usize::try_from(least).unwrap_or(usize::MAX));
            } else {
                this.rates.push(index);
                this.by_daddr = true;
                this.by_saddr |= rule.from_at_least > 1;
            }
            this.shortest = this.shortest.min(rule.window);
            this.longest = this.longest.max(rule.window);
            this.at_once |= rule.fires_at_once;
            this.several &= rule.from_at_least > 1;
        }
        this
    }
}

/// How many signatures are remembered with their shapes.
const REMEMBERED: usize = 1 << 9;

/// The place of a signature among those met lately (Fibonacci hashing, Knuth 6.4).
fn slot(signature: Signature) -> usize {
    let [a, b, c, d, e, f, g, h] = signature.map(u64::from);
    let folded = (a | b << 16 | c << 32 | d << 48) ^ (e | f << 16 | g << 32 | h << 48).rotate_left(21);
    let mixed = folded.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    usize::try_from(mixed >> (u64::BITS - REMEMBERED.ilog2())).unwrap_or_default()
}

/// All shapes met so far.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    /// Signatures met lately, each at the place that its number gives, and the shapes of such packets.
    lately: Vec<Option<(Signature, ShapeId)>>,
    shapes: Vec<Shape>,
    numbers: HashMap<(Mask, Class, bool), ShapeId>,
    /// The latest one of each class, and verdict accepted or not: mostly the next one too.
    recent: [[ShapeId; 2]; Class::ALL.len()],
}

impl Shapes {
    pub(super) fn new() -> Self {
        Self { lately: vec![None; REMEMBERED], ..Self::default() }
    }

    /// The shape of packets with a signature, if one was met lately.
    pub(super) fn lately(&self, signature: Signature) -> Option<(ShapeId, &Shape)> {
        let (known, id) = self.lately.get(slot(signature))?.as_ref()?;
        (*known == signature).then(|| self.get(*id).map(|shape| (*id, shape)))?
    }

    /// Remembers the shape of packets with a signature.
    pub(super) fn remember(&mut self, signature: Signature, id: ShapeId) {
        if let Some(place) = self.lately.get_mut(slot(signature)) {
            *place = Some((signature, id));
        }
    }

    /// All of them, in the order of their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Shape> {
        self.shapes.iter()
    }

    pub(super) fn get(&self, id: ShapeId) -> Option<&Shape> {
        self.shapes.get(usize::from(id))
    }

    /// The shape of packets that match the rules of `mask`; none where too many sets of several rules have been met.
    pub(super) fn of(
        &mut self,
        mask: Mask,
        class: Class,
        accepted: bool,
        rules: &Ruleset,
    ) -> Option<ShapeId> {
        let recent = self.recent.get_mut(class as usize).and_then(|of| of.get_mut(usize::from(accepted)))?;
        let is = |shape: &Shape| shape.mask == mask && shape.class == class && shape.accepted == accepted;
        if self.shapes.get(usize::from(*recent)).is_some_and(is) {
            return Some(*recent);
        }
        let id = if let Some(&id) = self.numbers.get(&(mask, class, accepted)) {
            id
        } else {
            if self.shapes.len() >= MOST && mask.iter().nth(1).is_some() {
                return None;
            }
            let id = ShapeId::try_from(self.shapes.len()).ok()?;
            let mut shares: [Share; MAX_KEYS] = Default::default();
            for (at, (share, (key, per_key))) in
                shares.iter_mut().zip(rules.keys.iter().zip(&rules.by_key)).enumerate()
            {
                debug_assert!(at > 0 || *key == Key::Source, "the source comes first");
                *share = Share::new(mask.and(per_key), rules, !matches!(key, Key::Prefix { .. }));
            }
            let others = (1..MAX_KEYS).filter(|&at| shares.get(at).is_some_and(|share| !share.is_empty()));
            let others: Vec<usize> = others.collect();
            let windows = others.iter().filter_map(|&at| shares.get(at).map(|share| share.shortest));
            let hold = windows.min().unwrap_or_default() / (16 * 1_000_000_000);
            let hold = u16::try_from(hold).unwrap_or(u16::MAX / 2);
            let pairs = others.iter().any(|&at| rules.keys.get(at) == Some(&Key::Pair));
            self.shapes.push(Shape { mask, class, accepted, shares, others, pairs, hold });
            self.numbers.insert((mask, class, accepted), id);
            id
        };
        *recent = id;
        Some(id)
    }
}
