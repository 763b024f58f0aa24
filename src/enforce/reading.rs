//! What the sets hold, read whole.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::IpAddr;
use std::time::Instant;

use super::Held;
use super::covered::Covered;
use super::expression::Counts;
use super::found::none_if_missing;
use super::kernel::Kernel;
use super::message::{self, Read};
use super::sets::Sets;
use super::socket::Lists;
use super::stretches;
use super::uapi::*;
use crate::decide::Place;

/// What it takes to read the sets.
struct Reading<'a> {
    lists: &'a mut Lists,
    table: &'a str,
    sets: &'a Sets,
    covered: &'a Covered,
    /// Whether an element is left out whose other half was not told: it may have been passed over.
    in_doubt: bool,
}

impl Reading<'_> {
    /// Our elements of a set; ENOENT when there is no such set.
    fn elements(&mut self, set: &str) -> io::Result<Vec<Read>> {
        let elements = self.all_elements(set)?;
        Ok(elements.into_iter().filter_map(|read| self.sets.ours(read)).collect())
    }

    /// The elements of a set, whosever they are.
    fn all_elements(&mut self, set: &str) -> io::Result<Vec<Read>> {
        self.lists.dump(
            NFT_MSG_GETSETELEM,
            |m| message::all_elements(m, self.table, set),
            |m, list| list.extend(message::read_elements(m)),
        )
    }

    /// Our elements at a place that has a set.
    fn elements_at(&mut self, place: Place) -> io::Result<Vec<Read>> {
        self.sets.set(place).map_or_else(|| Ok(Vec::new()), |set| self.elements(set))
    }

    fn held_at(&mut self, place: Place, held: &mut Vec<Held>) -> io::Result<()> {
        if place.prefix {
            return self.held_prefixes(place, held);
        }
        let rates = self.sets.rate_set(place);
        let beside: HashMap<IpAddr, Counts> = match rates {
            Some(rate) => self.elements(rate)?.into_iter().map(|read| (read.address, read.counts)).collect(),
            None => HashMap::new(),
        };
        let in_doubt = self.in_doubt && rates.is_some();
        held.extend(self.elements_at(place)?.into_iter().filter_map(|read| {
            let mut counts = read.counts;
            match beside.get(&read.address) {
                Some(beside) => counts += *beside,
                None if in_doubt => return None,
                None => {}
            }
            Some(Held {
                measure: place.measure,
                target: place.single(read.address)?,
                expires: read.expires,
                packets: counts.packets,
                bytes: counts.bytes,
                comment: read.comment,
            })
        }));
        Ok(())
    }

    fn held_prefixes(&mut self, place: Place, held: &mut Vec<Held>) -> io::Result<()> {
        let beside = match self.sets.rate_set(place) {
            Some(rate) => stretches::entries(&stretches::pair(self.elements(rate)?)),
            None => BTreeMap::new(),
        };
        let own = stretches::pair(self.elements_at(place)?);
        let mut entries = stretches::entries(&own);
        for covered in self.covered.entries(place, &own, Instant::now()) {
            entries.entry(covered.target).or_insert(covered);
        }
        held.extend(entries.into_values().map(|entry| {
            let mut counts = entry.counts;
            counts += beside.get(&entry.target).map_or_else(Counts::default, |beside| beside.counts);
            Held {
                measure: place.measure,
                target: entry.target,
                expires: entry.expires,
                packets: counts.packets,
                bytes: counts.bytes,
                comment: entry.comment,
            }
        }));
        Ok(())
    }
}

impl Kernel {
    const fn reading(&mut self) -> Reading<'_> {
        Reading {
            lists: self.connection.lists(),
            table: self.settings.table.as_str(),
            sets: &self.sets,
            covered: &self.covered,
            in_doubt: false,
        }
    }

    /// Our elements at a place that has a set.
    pub(super) fn elements_at(&mut self, place: Place) -> io::Result<Vec<Read>> {
        self.reading().elements_at(place)
    }

    /// The elements of an interval set, whosever they are; none when there is no such set.
    pub(super) fn interval_elements(&mut self, set: &str) -> io::Result<Vec<Read>> {
        none_if_missing(self.reading().all_elements(set))
    }

    pub(super) fn held_at(&mut self, place: Place, held: &mut Vec<Held>) -> io::Result<()> {
        self.reading().held_at(place, held)
    }

    /// Somebody who can list what is held on another thread, as things are now.
    #[must_use]
    pub fn lister(&self) -> Lister {
        Lister { table: self.settings.table.clone(), sets: self.sets.clone(), covered: self.covered.clone() }
    }
}

/// Lists what is held without the socket that changes are made over.
#[derive(Debug)]
pub struct Lister {
    table: String,
    sets: Sets,
    covered: Covered,
}

impl Lister {
    /// What is held in hash sets and in interval sets. Of 100,000 elements that takes the kernel more than a second, as it
    /// begins anew with every 32 KiB and counts its way (`nft_rhash_walk`). While they change, some that were there all the
    /// time can be missing from hash sets, and those are to be asked for by themselves.
    ///
    /// # Errors
    /// When the kernel cannot be asked, or the interval sets never keep still; ENOENT when a set is gone.
    pub fn held(&self) -> io::Result<Vec<Held>> {
        let mut lists = Lists::open(self.sets.family())?;
        let mut held = Vec::new();
        for place in self.sets.places() {
            // An interval with one end is none.
            lists.accept_torn(!place.prefix);
            let Self { table, sets, covered } = self;
            let mut reading = Reading { lists: &mut lists, table, sets, covered, in_doubt: !place.prefix };
            reading.held_at(place, &mut held)?;
        }
        Ok(held)
    }
}
