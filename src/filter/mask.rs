//! Sets of filters.

use std::collections::HashMap;

const WORDS: usize = 4;

/// A set of filters, by their places: 256 at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Mask([u64; WORDS]);

impl Mask {
    /// How many filters there may be.
    pub(crate) const CAPACITY: usize = WORDS * 64;

    pub(crate) const EMPTY: Self = Self([0; WORDS]);

    pub(crate) fn of(place: usize) -> Self {
        let mut mask = Self::default();
        mask.insert(place);
        mask
    }

    pub(crate) fn insert(&mut self, place: usize) {
        if let Some(word) = self.0.get_mut(place / 64) {
            *word |= 1 << (place % 64);
        }
    }

    pub(crate) fn remove(&mut self, place: usize) {
        if let Some(word) = self.0.get_mut(place / 64) {
            *word &= !(1 << (place % 64));
        }
    }

    pub(crate) fn and(&self, other: &Self) -> Self {
        let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
        Self([a & e, b & f, c & g, d & h])
    }

    /// Those that are not in `other`.
    pub(crate) fn without(&self, other: &Self) -> Self {
        let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
        Self([a & !e, b & !f, c & !g, d & !h])
    }

    pub(crate) fn meets(&self, other: &Self) -> bool {
        !self.and(other).is_empty()
    }

    pub(crate) fn contains(&self, place: usize) -> bool {
        self.0.get(place / 64).is_some_and(|word| word >> (place % 64) & 1 == 1)
    }

    pub(crate) fn is_empty(&self) -> bool {
        let [a, b, c, d] = self.0;
        a | b | c | d == 0
    }

    /// The places in the set, in their order.
    pub(crate) fn iter(self) -> impl Iterator<Item = usize> {
        self.0.into_iter().enumerate().flat_map(|(word, mut bits)| {
            std::iter::from_fn(move || {
                let bit = usize::try_from(bits.trailing_zeros()).ok()?;
                bits = (bits != 0).then(|| bits & (bits - 1))?;
                Some(word * 64 + bit)
            })
        })
    }
}

impl FromIterator<usize> for Mask {
    fn from_iter<T: IntoIterator<Item = usize>>(places: T) -> Self {
        let mut mask = Self::default();
        places.into_iter().for_each(|place| mask.insert(place));
        mask
    }
}

/// Sets of filters, each once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Masks {
    sets: Vec<Mask>,
    numbers: HashMap<Mask, u32>,
}

impl Masks {
    pub(crate) fn number(&mut self, mask: Mask) -> u32 {
        *self.numbers.entry(mask).or_insert_with(|| {
            self.sets.push(mask);
            u32::try_from(self.sets.len() - 1).unwrap_or(u32::MAX)
        })
    }

    pub(crate) fn set(&self, number: u32) -> &Mask {
        self.sets.get(number as usize).unwrap_or(&Mask::EMPTY)
    }
}
