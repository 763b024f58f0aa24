//! Prefixes on their way into interval sets, when they meet others there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Instant;

use ipnet::IpNet;

use super::expression::Counts;
use super::kernel::Kernel;
use super::message::{self, Element, Key, Read};
use super::sets::Sets;
use super::stretches::{self, Entry, Stretch};
use super::transaction::Transaction;
use super::uapi::*;
use super::{Change, Outcome};
use crate::decide::Place;

/// How often what the kernel holds is read and rearranged: elements that expire just then overtake one after another.
const ATTEMPTS: usize = 5;

impl Kernel {
    /// Fits changes of one interval set in: reads what it holds and makes of it what it is to hold. All at once; when
    /// the kernel refuses, one half after the other, so that a refusal meets only its cause.
    pub(super) fn arrange(&mut self, place: Place, changes: &[&Change]) -> Vec<Outcome> {
        match self.rearrange(place, changes) {
            Err(_) if changes.len() > 1 => {
                let (first, second) = changes.split_at(changes.len() / 2);
                let first = self.arrange(place, first);
                [first, self.arrange(place, second)].concat()
            }
            Err(errno) => vec![Outcome::Refused(errno); changes.len()],
            Ok(()) => vec![Outcome::Done; changes.len()],
        }
    }

    fn rearrange(&mut self, place: Place, changes: &[&Change]) -> Result<(), i32> {
        // EEXIST, ENOENT: what was read has changed since, by expiring or by others. Or else the table is gone.
        let overtaken = |result: &Result<(), i32>| matches!(result, Err(libc::EEXIST | libc::ENOENT));
        let mut result = self.rearrange_once(place, changes);
        for _ in 1..ATTEMPTS {
            if overtaken(&result) {
                result = self.rearrange_once(place, changes);
            }
        }
        if result == Err(libc::ENOENT) && self.reinstall().is_ok() {
            result = self.rearrange_once(place, changes);
        }
        result
    }

    fn rearrange_once(&mut self, place: Place, changes: &[&Change]) -> Result<(), i32> {
        let errno = |error: std::io::Error| error.raw_os_error().unwrap_or(libc::EIO);
        let set = self.sets.set(place).ok_or(libc::EOPNOTSUPP)?.to_owned();
        let own = Found::of(self.interval_elements(&set).map_err(errno)?, &self.sets);
        let rate_set = self.sets.rate_set(place);
        let beside = match rate_set {
            Some(rate) => Found::of(self.interval_elements(rate).map_err(errno)?, &self.sets),
            None => Found::default(),
        };
        let now = Instant::now();
        let covered = self.covered.entries(place, &own.stretches, now);
        // What they had counted is theirs again when they come back.
        let mut carried = covered.iter().map(|entry| (entry.target, entry.counts)).collect();
        let plan = Plan::new(&own.stretches, covered, changes);
        let most = own.messages() + beside.messages() + 2 * plan.shares.len();
        let mut transaction =
            Transaction::begin(&mut self.connection, u32::try_from(most).unwrap_or(u32::MAX));
        let table = self.settings.table.as_str();
        if let Some(rate) = rate_set {
            plan.write(&mut transaction, (table, rate), &beside, &mut carried, (&self.sets, false));
        }
        let carries = self.sets.counts(place);
        plan.write(&mut transaction, (table, &set), &own, &mut carried, (&self.sets, carries));
        transaction.commit(&mut self.connection).map_err(|refusal| refusal.errno())?;
        self.covered.replace(place, plan.covered(&carried), now);
        Ok(())
    }
}

/// What an interval set holds.
#[derive(Default)]
struct Found {
    stretches: Vec<Stretch>,
    stale_ends: Vec<IpAddr>,
}

impl Found {
    fn of(elements: Vec<Read>, sets: &Sets) -> Self {
        // Without the starts that are the administrator's, their ends would look stale.
        let stale_ends = stretches::stale_ends(&elements);
        let ours = elements.into_iter().filter_map(|read| sets.ours(read)).collect();
        Self { stale_ends, stretches: stretches::pair(ours) }
    }

    /// The most messages it takes to make room.
    const fn messages(&self) -> usize {
        self.stretches.len() + 2 * self.stale_ends.len()
    }

    /// Has the kernel collect what has expired. A stale end beneath a new one is an overlap to the kernel (EEXIST), and
    /// while it refuses it does not collect. Only adding a start within an expired interval collects that interval
    /// (`__nft_rbtree_insert` in net/netfilter/nft_set_rbtree.c), so its last address is added and deleted.
    fn collect(&self, transaction: &mut Transaction<()>, table: &str, set: &str) {
        for end in &self.stale_ends {
            let Some(last) = stretches::before(*end) else { continue };
            let key = Key::Stretch(last, last);
            let element =
                Element { key, timeout: None, comment: "".into(), target_length: None, counts: None };
            transaction.push((), NFT_MSG_NEWSETELEM, NLM_F_CREATE | NLM_F_EXCL, |m| {
                message::elements(m, table, set, |list| element.write(list));
            });
            transaction.push((), NFT_MSG_DELSETELEM, 0, |m| {
                message::elements(m, table, set, |list| key.write(list));
            });
        }
    }
}

/// What an interval set is to hold.
struct Plan {
    entries: Vec<Entry>,
    /// First and last address, and the index of the entry they belong to.
    shares: BTreeMap<(IpAddr, IpAddr), usize>,
    /// The targets that were put now: their elements are written again whether or not their stretches change.
    put: BTreeSet<IpNet>,
}

impl Plan {
    /// From what a set holds, the targets that are covered there, and what is to change.
    fn new(own: &[Stretch], covered: Vec<Entry>, changes: &[&Change]) -> Self {
        let mut entries = stretches::entries(own);
        for entry in covered {
            entries.entry(entry.target).or_insert(entry);
        }
        let mut put = BTreeSet::new();
        for change in changes {
            let target = change.target();
            match change {
                Change::Put { timeout, comment, .. } => {
                    let counts = Counts::default();
                    entries.insert(
                        target,
                        Entry { target, expires: *timeout, counts, comment: comment.clone() },
                    );
                    put.insert(target);
                }
                Change::Lift { .. } => drop(entries.remove(&target)),
            }
        }
        let entries: Vec<Entry> = entries.into_values().collect();
        let targets: Vec<_> = entries.iter().map(|entry| (entry.target, entry.expires)).collect();
        let shares = stretches::share_out(&targets);
        Self {
            shares: shares.into_iter().map(|(first, last, of)| ((first, last), of)).collect(),
            entries,
            put,
        }
    }

    /// Makes of the stretches `found` in a set those of the plan. New stretches begin with the counts of their target
    /// in `carried`; what deleted ones had counted is added to it first.
    fn write(
        &self,
        transaction: &mut Transaction<()>,
        (table, set): (&str, &str),
        found: &Found,
        carried: &mut BTreeMap<IpNet, Counts>,
        (sets, carries): (&Sets, bool),
    ) {
        found.collect(transaction, table, set);
        let (kept, deleted): (Vec<_>, Vec<_>) =
            found.stretches.iter().partition(|stretch| self.keeps(stretch));
        let kept: BTreeSet<IpAddr> = kept.into_iter().map(|stretch| stretch.first).collect();
        for stretch in deleted {
            transaction.push((), NFT_MSG_DELSETELEM, 0, |m| {
                message::elements(m, table, set, |list| {
                    Key::Stretch(stretch.first, stretch.last).write(list)
                });
            });
            if let Some(target) = stretch.targets.first() {
                *carried.entry(*target).or_default() += stretch.counts;
            }
        }
        for ((first, last), index) in &self.shares {
            let Some(entry) = self.entries.get(*index).filter(|_| !kept.contains(first)) else { continue };
            let element = Element {
                key: Key::Stretch(*first, *last),
                timeout: entry.expires,
                comment: sets.comment(&entry.comment),
                target_length: Some(entry.target.prefix_len()),
                // All of a target's counts go to its first new stretch.
                counts: if carries { carried.remove(&entry.target) } else { None },
            };
            transaction.push((), NFT_MSG_NEWSETELEM, NLM_F_CREATE | NLM_F_EXCL, |m| {
                message::elements(m, table, set, |list| element.write(list));
            });
        }
    }

    /// The targets that own no stretch, each with its counts in `carried`.
    fn covered(&self, carried: &BTreeMap<IpNet, Counts>) -> impl Iterator<Item = Entry> {
        let owners: BTreeSet<usize> = self.shares.values().copied().collect();
        let entries = self.entries.iter().enumerate();
        entries.filter(move |(index, _)| !owners.contains(index)).map(|(_, entry)| Entry {
            counts: carried.get(&entry.target).copied().unwrap_or_default(),
            ..entry.clone()
        })
    }

    /// Whether a stretch stays as it is.
    fn keeps(&self, stretch: &Stretch) -> bool {
        let share = self.shares.get(&(stretch.first, stretch.last));
        let owner = share.and_then(|index| self.entries.get(*index)).map(|entry| entry.target);
        owner.is_some_and(|owner| stretch.targets == [owner] && !self.put.contains(&owner))
    }
}
