//! The table of sources: bounded, keyed with a hash nobody can aim at, and hard to flush.
//!
//! A source enters with its first packet *on probation*: one fixed-size entry, no heap. Its second packet makes it
//! *tracked*, with counters. Each of the two is a list in order of last use with a capacity of its own, and a newcomer
//! pushes out the oldest of its own list only: a million forged sources with one packet each never reach those
//! that have come back.

use std::hash::BuildHasher;

use foldhash::fast::SeedableRandomState;
use hashbrown::HashTable;

use super::key::{SourceKey, as_number};

/// How many entries each list holds at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Sources seen once.
    pub probation: u32,
    /// Sources seen again, or with an open incident.
    pub tracked: u32,
}

impl Default for Capacity {
    /// About 20 MiB when the first is full of sources seen once.
    fn default() -> Self {
        Self { probation: 98_304, tracked: 32_768 }
    }
}

/// How full the table is, and what it lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Occupancy {
    /// Entries in use, on probation and tracked.
    pub probation: u32,
    /// See [`Capacity::tracked`].
    pub tracked: u32,
    /// Entries pushed out while they may still have counted.
    pub evicted: u64,
}

const NONE: u32 = u32::MAX;

/// A place in the table; valid until an entry is pushed out ([`Table::evicted`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(u32);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ListOf {
    Probation = 0,
    Tracked = 1,
}

#[derive(Debug)]
struct Entry<V> {
    key: SourceKey,
    value: V,
}

/// An entry's neighbours in its list. Apart from the entries: every packet moves its source to the front, and so writes
/// to two neighbours, which are anybody. Here five of them share a cache line, and all of them fit the second-level cache.
#[derive(Debug, Clone, Copy)]
struct Link {
    list: ListOf,
    newer: u32,
    older: u32,
}

#[derive(Debug, Clone, Copy)]
struct List {
    newest: u32,
    oldest: u32,
    used: u32,
    capacity: u32,
}

/// Entries of `V` by [`SourceKey`].
#[derive(Debug)]
pub(super) struct Table<V> {
    index: HashTable<u32>,
    entries: Vec<Entry<V>>,
    /// As many as entries.
    links: Vec<Link>,
    free: Vec<u32>,
    lists: [List; 2],
    evicted: u64,
    hasher: SeedableRandomState,
}

/// A value that may ask not to be pushed out.
pub(super) trait Pinned {
    fn is_pinned(&self) -> bool;
}

fn hash(hasher: &SeedableRandomState, key: &SourceKey) -> u64 {
    hasher.hash_one((as_number(key.net.network()), key.net.prefix_len(), key.zone))
}

impl<V: Pinned> Table<V> {
    pub(super) fn new(capacity: Capacity, hasher: SeedableRandomState) -> Self {
        let list = |capacity: u32| List { newest: NONE, oldest: NONE, used: 0, capacity: capacity.max(1) };
        Self {
            index: HashTable::new(),
            entries: Vec::new(),
            links: Vec::new(),
            free: Vec::new(),
            lists: [list(capacity.probation), list(capacity.tracked)],
            evicted: 0,
            hasher,
        }
    }

    pub(super) fn occupancy(&self) -> Occupancy {
        let [probation, tracked] = self.lists;
        Occupancy { probation: probation.used, tracked: tracked.used, evicted: self.evicted }
    }

    /// How many entries have been pushed out. While this number stands, every [`Place`] does.
    pub(super) const fn evicted(&self) -> u64 {
        self.evicted
    }

    pub(super) fn find(&self, key: &SourceKey) -> Option<Place> {
        let hash = hash(&self.hasher, key);
        let same = |&at: &u32| self.entries.get(at as usize).is_some_and(|entry| entry.key == *key);
        self.index.find(hash, same).map(|&at| Place(at))
    }

    pub(super) fn at(&self, place: Place) -> Option<&V> {
        self.entries.get(place.0 as usize).map(|entry| &entry.value)
    }

    pub(super) fn at_mut(&mut self, place: Place) -> Option<&mut V> {
        self.entries.get_mut(place.0 as usize).map(|entry| &mut entry.value)
    }

    pub(super) fn find_mut(&mut self, key: &SourceKey) -> Option<&mut V> {
        let place = self.find(key)?;
        self.at_mut(place)
    }

    pub(super) fn for_each_mut(&mut self, change: impl FnMut(&mut V)) {
        self.entries.iter_mut().map(|entry| &mut entry.value).for_each(change);
    }

    /// Puts a new entry on probation. The key must not be in the table.
    pub(super) fn insert(&mut self, key: SourceKey, value: V) -> Place {
        self.make_room(ListOf::Probation);
        let entry = Entry { key, value };
        let at = if let Some(at) = self.free.pop() {
            if let Some(place) = self.entries.get_mut(at as usize) {
                *place = entry;
            }
            at
        } else {
            self.entries.push(entry);
            self.links.push(Link { list: ListOf::Probation, newer: NONE, older: NONE });
            u32::try_from(self.entries.len() - 1).unwrap_or(NONE)
        };
        let Self { index, entries, hasher, .. } = self;
        index.insert_unique(hash(hasher, &key), at, |&other| {
            entries.get(other as usize).map_or(0, |entry| hash(hasher, &entry.key))
        });
        self.link(at, ListOf::Probation);
        Place(at)
    }

    /// Makes the entry the newest of its list; `tracked` moves it to that list for good.
    pub(super) fn touch(&mut self, place: Place, tracked: bool) {
        let Some(list) = self.links.get(place.0 as usize).map(|link| link.list) else { return };
        let to = if tracked { ListOf::Tracked } else { list };
        self.unlink(place.0);
        if to != list {
            self.make_room(to);
        }
        self.link(place.0, to);
    }

    fn make_room(&mut self, list: ListOf) {
        // An entry with an open incident is passed over. There are far fewer incidents than places, so this ends soon.
        for _ in 0..64 {
            let Some(&List { oldest, used, capacity, .. }) = self.lists.get(list as usize) else { return };
            if used < capacity {
                return;
            }
            let Some(entry) = self.entries.get(oldest as usize) else { return };
            if entry.value.is_pinned() {
                self.unlink(oldest);
                self.link(oldest, list);
                continue;
            }
            let (hash, key) = (hash(&self.hasher, &entry.key), entry.key);
            self.unlink(oldest);
            let entries = &self.entries;
            let same = |&at: &u32| entries.get(at as usize).is_some_and(|entry| entry.key == key);
            if let Ok(found) = self.index.find_entry(hash, same) {
                found.remove();
            }
            self.free.push(oldest);
            self.evicted += 1;
        }
    }

    fn link(&mut self, at: u32, list: ListOf) {
        let Some(ends) = self.lists.get_mut(list as usize) else { return };
        let newest = std::mem::replace(&mut ends.newest, at);
        if ends.oldest == NONE {
            ends.oldest = at;
        }
        ends.used += 1;
        if let Some(other) = self.links.get_mut(newest as usize) {
            other.newer = at;
        }
        if let Some(link) = self.links.get_mut(at as usize) {
            *link = Link { list, newer: NONE, older: newest };
        }
    }

    fn unlink(&mut self, at: u32) {
        let Some(&Link { list, newer, older }) = self.links.get(at as usize) else { return };
        if let Some(other) = self.links.get_mut(newer as usize) {
            other.older = older;
        }
        if let Some(other) = self.links.get_mut(older as usize) {
            other.newer = newer;
        }
        if let Some(ends) = self.lists.get_mut(list as usize) {
            if ends.newest == at {
                ends.newest = older;
            }
            if ends.oldest == at {
                ends.oldest = newer;
            }
            ends.used -= 1;
        }
    }
}
