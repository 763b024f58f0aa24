//! A table of sources: bounded, keyed with a hash nobody can aim at, and cheap to keep in order.
//!
//! What gives way in a full table is chosen as the clock algorithm does (Corbató 1968): a hand goes round the entries; one
//! that was used since the hand's last visit is passed over once. That is nearly "least recently used", and a packet of a
//! known source writes one flag where it reads anyway, instead of moving its entry in a list.

use std::cmp::Reverse;
use std::hash::BuildHasher;
use std::ops::Range;

use foldhash::fast::SeedableRandomState;
use smallvec::SmallVec;

use super::index::Index;
use super::key::SourceKey;

/// How many entries the hand looks at for one place. More would be a pause that a flood could cause at will.
const LOOKED_AT: usize = 64;

/// A key to be looked for: its hash, and its place among [`EXPECTED`] ones.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prepared {
    hash: u64,
    fold: usize,
}

/// A place in the table; valid until another entry is put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(u32);

/// In this order, and on its own lines of the cache: the first one has all that most packets need.
#[derive(Debug)]
#[repr(C, align(64))]
struct Entry<V> {
    key: SourceKey,
    used: bool,
    value: V,
}

/// How many places are remembered between [`Table::expect`] and [`Table::find`]: more than a netlink message has packets.
const EXPECTED: usize = 256;

/// Entries of `V` by [`SourceKey`].
#[derive(Debug)]
pub(super) struct Table<V> {
    index: Index,
    /// Where keys that were expected lately are, each at the place that [`SourceKey::fold`] gives; checked before use.
    expected: Box<[u32; EXPECTED]>,
    entries: Vec<Option<Entry<V>>>,
    free: Vec<u32>,
    hand: usize,
    capacity: usize,
    evicted: u64,
    hasher: SeedableRandomState,
}

/// A value that may ask not to be pushed out.
pub(super) trait Pinned {
    fn is_pinned(&self) -> bool;
}

fn hash(hasher: &SeedableRandomState, key: &SourceKey) -> u64 {
    hasher.hash_one(key)
}

impl<V: Pinned> Table<V> {
    pub(super) fn new(capacity: u32, hasher: SeedableRandomState) -> Self {
        Self {
            index: Index::new(),
            expected: Box::new([0; EXPECTED]),
            entries: Vec::new(),
            free: Vec::new(),
            hand: 0,
            capacity: usize::try_from(capacity).unwrap_or(usize::MAX).max(1),
            evicted: 0,
            hasher,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// How many entries have been pushed out.
    pub(super) const fn evicted(&self) -> u64 {
        self.evicted
    }

    pub(super) fn find(&self, key: &SourceKey) -> Option<Place> {
        if let Some(&at) = self.expected.get(key.fold(EXPECTED.ilog2()))
            && self.entry(at).is_some_and(|entry| entry.key == *key)
        {
            return Some(Place(at));
        }
        let is = |at| self.entry(at).is_some_and(|entry| entry.key == *key);
        self.index.find(hash(&self.hasher, key), is).map(Place)
    }

    fn entry(&self, at: u32) -> Option<&Entry<V>> {
        self.entries.get(at as usize)?.as_ref()
    }

    /// A key made ready to be looked for here, or in a table with the same hasher.
    pub(super) fn prepare(&self, key: &SourceKey) -> Prepared {
        Prepared { hash: hash(&self.hasher, key), fold: key.fold(EXPECTED.ilog2()) }
    }

    /// Finds out where some keys, which will be looked for soon, probably are, and tells which of them, by their numbers,
    /// are nowhere. Such loops do one thing for all keys, so that the processor waits for many places of the memory at once
    /// and not for one after another.
    pub(super) fn expect(&mut self, keys: &[Prepared]) -> (SmallVec<[Place; 64]>, SmallVec<[usize; 64]>) {
        let (mut places, mut missing) = (SmallVec::new(), SmallVec::new());
        for (number, &Prepared { hash, fold }) in keys.iter().enumerate() {
            if let Some(at) = self.index.find(hash, |_| true)
                && let Some(expected) = self.expected.get_mut(fold)
            {
                *expected = at;
                places.push(Place(at));
            } else {
                missing.push(number);
            }
        }
        (places, missing)
    }

    /// Reads what it takes to put in so many new entries, so that it is near then, and returns something made of it.
    pub(super) fn touch(&self, keys: &[Prepared], new: usize) -> u64 {
        let homes = keys.iter().fold(0, |sum, key| sum ^ self.index.touch(key.hash));
        if self.len() + new < self.capacity {
            return homes;
        }
        // Others will give way: probably those that the hand comes to next.
        let next = self.entries.iter().cycle().skip(self.hand).take(new.min(self.entries.len()));
        next.flatten().fold(homes, |sum, entry| sum ^ self.index.touch(hash(&self.hasher, &entry.key)))
    }

    pub(super) fn at(&self, place: Place) -> Option<&V> {
        self.entries.get(place.0 as usize)?.as_ref().map(|entry| &entry.value)
    }

    /// The value of an entry, which counts as used from now on.
    pub(super) fn at_mut(&mut self, place: Place) -> Option<&mut V> {
        let entry = self.entries.get_mut(place.0 as usize)?.as_mut()?;
        entry.used = true;
        Some(&mut entry.value)
    }

    pub(super) fn find_mut(&mut self, key: &SourceKey) -> Option<&mut V> {
        let place = self.find(key)?;
        self.at_mut(place)
    }

    /// The entries at `places`, whether there are so many or not.
    pub(super) fn within(&self, places: Range<usize>) -> impl Iterator<Item = (SourceKey, &V)> {
        let entries = self.entries.iter().take(places.end).skip(places.start);
        entries.flatten().map(|entry| (entry.key, &entry.value))
    }

    /// How many places there are.
    pub(super) fn places(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.entries.iter_mut().flatten().map(|entry| &mut entry.value)
    }

    /// Puts a new entry in; the value that had to give way for it comes back. The key must not be in the table.
    pub(super) fn insert(&mut self, key: SourceKey, value: V) -> (Place, Option<V>) {
        let gone = if self.len() >= self.capacity { self.evict() } else { None };
        let entry = Some(Entry { key, used: false, value });
        let at = if let Some(at) = self.free.pop() {
            if let Some(place) = self.entries.get_mut(at as usize) {
                *place = entry;
            }
            at
        } else {
            self.entries.push(entry);
            u32::try_from(self.entries.len() - 1).unwrap_or(u32::MAX)
        };
        self.index.insert(hash(&self.hasher, &key), at);
        (Place(at), gone)
    }

    /// Takes an entry out.
    pub(super) fn remove(&mut self, place: Place) -> Option<V> {
        let entry = self.entries.get_mut(place.0 as usize)?.take()?;
        self.index.remove(hash(&self.hasher, &entry.key), place.0);
        self.free.push(place.0);
        Some(entry.value)
    }

    /// Takes out all entries but those that are to be kept.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&SourceKey, &mut V) -> bool) {
        for at in 0..u32::try_from(self.entries.len()).unwrap_or(u32::MAX) {
            let entry = self.entries.get_mut(at as usize).and_then(Option::as_mut);
            if entry.is_some_and(|entry| !keep(&entry.key, &mut entry.value)) {
                self.remove(Place(at));
            }
        }
    }

    /// Goes on with room for so many. What is over gives way: what is not pinned, and was not used lately, first.
    pub(super) fn resize(&mut self, capacity: u32) -> Vec<V> {
        self.capacity = usize::try_from(capacity).unwrap_or(usize::MAX).max(1);
        if self.entries.len() <= self.capacity {
            return Vec::new();
        }
        let mut entries: Vec<Entry<V>> = std::mem::take(&mut self.entries).into_iter().flatten().collect();
        entries.sort_by_key(|entry| Reverse((entry.value.is_pinned(), entry.used)));
        let pinned = entries.partition_point(|entry| entry.value.is_pinned());
        let kept = self.capacity.max(pinned).min(entries.len());
        let gone: Vec<V> = entries.drain(kept..).map(|entry| entry.value).collect();
        self.evicted += u64::try_from(gone.len()).unwrap_or(u64::MAX);
        (self.index, self.free, self.hand) = (Index::new(), Vec::new(), 0);
        for (at, entry) in (0..).zip(&entries) {
            self.index.insert(hash(&self.hasher, &entry.key), at);
        }
        self.entries = entries.into_iter().map(Some).collect();
        gone
    }

    /// Pushes out an entry that has not been used for long and is not pinned; nothing where all that it looks at are.
    pub(super) fn evict(&mut self) -> Option<V> {
        let mut second_best = None;
        for _ in 0..LOOKED_AT.max(1) {
            let at = self.hand;
            self.hand = if at + 1 < self.entries.len() { at + 1 } else { 0 };
            let Some(Some(entry)) = self.entries.get_mut(at) else { continue };
            if entry.value.is_pinned() {
                continue;
            }
            if !std::mem::take(&mut entry.used) {
                second_best = Some(at);
                break;
            }
            second_best = second_best.or(Some(at));
        }
        let place = Place(u32::try_from(second_best?).ok()?);
        self.evicted += 1;
        self.remove(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Value(u32, bool);

    impl Pinned for Value {
        fn is_pinned(&self) -> bool {
            self.1
        }
    }

    fn key(number: u32) -> SourceKey {
        SourceKey::new(std::net::IpAddr::from(number.to_be_bytes()).into(), 0)
    }

    fn table(capacity: u32) -> Table<Value> {
        Table::new(capacity, SeedableRandomState::fixed())
    }

    #[test]
    fn what_was_used_lately_or_is_pinned_stays_while_others_give_way() {
        let mut table = table(16);
        for number in 0..16 {
            table.insert(key(number), Value(number, number == 3));
        }
        for round in 0..1000 {
            table.find_mut(&key(7)).unwrap();
            let (_, gone) = table.insert(key(100 + round), Value(100 + round, false));
            assert!(gone.is_some());
            assert_eq!(table.len(), 16);
        }
        assert!(table.find(&key(7)).is_some(), "used between all that came");
        assert!(table.find(&key(3)).is_some(), "pinned");
        assert_eq!(table.evicted(), 1000);
    }

    #[test]
    fn an_entry_taken_out_makes_room() {
        let mut table = table(2);
        let (place, _) = table.insert(key(1), Value(1, false));
        table.insert(key(2), Value(2, false));
        assert_eq!(table.remove(place), Some(Value(1, false)));
        assert_eq!(table.find(&key(1)), None);
        let (_, gone) = table.insert(key(3), Value(3, false));
        assert_eq!((gone, table.len(), table.evicted()), (None, 2, 0));
    }

    #[test]
    fn a_table_full_of_pinned_entries_grows_by_no_more_than_there_are() {
        let mut table = table(4);
        for number in 0..8 {
            table.insert(key(number), Value(number, true));
        }
        assert_eq!((table.len(), table.evicted()), (8, 0));
    }
}
