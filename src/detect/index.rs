//! Hash → place, in one line of the cache for nearly every look-up.
//!
//! Open addressing with linear probing and deletion by shifting back (Knuth 6.4, algorithms L and R), never more than half
//! full. A slot holds 32 bits of the hash and the place. The slot where a search begins is the uppermost of these bits, so
//! growing needs neither keys nor hashes; whether a place has the key that is looked for, its user knows.

/// Slots of the smallest index, as a power of two.
const SMALLEST: u32 = 6;

/// The upper 32 bits of a hash over a place plus one; 0 is an empty slot.
type Slot = u64;

/// Places by their keys' hashes. There may be at most 2^32 − 1.
#[derive(Debug)]
pub(super) struct Index {
    slots: Vec<Slot>,
    /// How many slots there are, as a power of two.
    bits: u32,
    len: usize,
}

/// The bits of a hash that a slot keeps.
const fn kept(hash: u64) -> u64 {
    hash >> 32
}

fn slot(hash: u64, place: u32) -> Slot {
    kept(hash) << 32 | (u64::from(place) + 1)
}

fn place_of(slot: Slot) -> Option<u32> {
    u32::try_from((slot & u64::from(u32::MAX)).checked_sub(1)?).ok()
}

impl Index {
    pub(super) fn new() -> Self {
        Self { slots: vec![0; 1 << SMALLEST], bits: SMALLEST, len: 0 }
    }

    fn mask(&self) -> usize {
        self.slots.len() - 1
    }

    /// Where a search begins, by the kept bits of a hash.
    fn home(&self, kept: u64) -> usize {
        usize::try_from(kept >> (32 - self.bits)).unwrap_or_default()
    }

    fn at(&self, at: usize) -> Slot {
        self.slots.get(at).copied().unwrap_or_default()
    }

    /// The place with this hash that `is` the one looked for.
    #[inline]
    pub(super) fn find(&self, hash: u64, mut is: impl FnMut(u32) -> bool) -> Option<u32> {
        let mut at = self.home(kept(hash));
        loop {
            let slot = self.at(at);
            let place = place_of(slot)?;
            if kept(slot) == kept(hash) && is(place) {
                return Some(place);
            }
            at = (at + 1) & self.mask();
        }
    }

    /// Reads the slot where a search begins.
    pub(super) fn touch(&self, hash: u64) -> u64 {
        self.at(self.home(kept(hash)))
    }

    /// Enters a place, which must not be in the index.
    pub(super) fn insert(&mut self, hash: u64, place: u32) {
        if (self.len + 1) * 2 > self.slots.len() {
            self.grow();
        }
        self.enter(slot(hash, place));
        self.len += 1;
    }

    fn enter(&mut self, slot: Slot) {
        let mut at = self.home(kept(slot));
        while self.at(at) != 0 {
            at = (at + 1) & self.mask();
        }
        if let Some(free) = self.slots.get_mut(at) {
            *free = slot;
        }
    }

    fn grow(&mut self) {
        self.bits += 1;
        let old = std::mem::replace(&mut self.slots, vec![0; 1 << self.bits]);
        old.into_iter().filter(|slot| *slot != 0).for_each(|slot| self.enter(slot));
    }

    /// Takes a place out.
    pub(super) fn remove(&mut self, hash: u64, place: u32) {
        let wanted = slot(hash, place);
        let mut hole = self.home(kept(hash));
        while self.at(hole) != wanted {
            if self.at(hole) == 0 {
                return;
            }
            hole = (hole + 1) & self.mask();
        }
        self.len -= 1;
        // What follows without a gap moves up where it would be found no more: where the hole is between its home and it.
        let mut at = hole;
        loop {
            at = (at + 1) & self.mask();
            let slot = self.at(at);
            let from_home = at.wrapping_sub(self.home(kept(slot))) & self.mask();
            let from_hole = at.wrapping_sub(hole) & self.mask();
            if slot == 0 || from_home >= from_hole {
                if let Some(place) = self.slots.get_mut(hole) {
                    *place = slot;
                }
                if slot == 0 {
                    return;
                }
                hole = at;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Hashes with few different upper bits make long runs, also over the end of the slots.
        #[test]
        fn it_agrees_with_a_map_whatever_is_entered_and_taken_out(
            steps in prop::collection::vec((any::<bool>(), 0_u32..200), 0..600), spread in 0_u64..4,
        ) {
            let hash = |place: u32| (u64::from(place) << 5 | 0xffff_ff00).wrapping_mul(spread * 0x0100_0001 + 1) << 32;
            let (mut index, mut model) = (Index::new(), HashMap::new());
            for (enter, place) in steps {
                if enter && model.insert(place, hash(place)).is_none() {
                    index.insert(hash(place), place);
                } else if !enter && model.remove(&place).is_some() {
                    index.remove(hash(place), place);
                }
            }
            for place in 0..200 {
                let found = index.find(hash(place), |found| found == place);
                prop_assert_eq!(found, model.contains_key(&place).then_some(place));
            }
            prop_assert_eq!(index.len, model.len());
        }
    }
}
