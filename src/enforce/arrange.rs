//! Prefixes on their way into interval sets, when they meet others there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::expression::Counts;
use super::kernel::Kernel;
use super::layout::Place;
use super::message::{self, Element, Key};
use super::sets::Sets;
use super::stretches::{self, Entry, Stretch};
use super::transaction::Transaction;
use super::uapi::*;
use super::{Change, Outcome};

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
        let own = self.stretches(&set).map_err(errno)?;
        let rate_set = self.sets.rate_set(place);
        let beside = match rate_set {
            Some(rate) => self.stretches(rate).map_err(errno)?,
            None => Vec::new(),
        };
        let plan = Plan::new(&own, changes);
        let most = own.len() + beside.len() + 2 * plan.shares.len();
        let mut transaction =
            Transaction::begin(&mut self.connection, u32::try_from(most).unwrap_or(u32::MAX));
        let table = self.settings.table.as_str();
        let mut carried = BTreeMap::new();
        if let Some(rate) = rate_set {
            plan.write(&mut transaction, (table, rate), &beside, &mut carried, (&self.sets, false));
        }
        let carries = self.sets.counts(place);
        plan.write(&mut transaction, (table, &set), &own, &mut carried, (&self.sets, carries));
        transaction.commit(&mut self.connection).map_err(|refusal| refusal.errno())
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
    fn new(own: &[Stretch], changes: &[&Change]) -> Self {
        let mut entries = stretches::entries(own);
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
        found: &[Stretch],
        carried: &mut BTreeMap<IpNet, Counts>,
        (sets, carries): (&Sets, bool),
    ) {
        let (kept, deleted): (Vec<_>, Vec<_>) = found.iter().partition(|stretch| self.keeps(stretch));
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
                comment: &sets.comment(&entry.comment),
                target_length: Some(entry.target.prefix_len()),
                // All of a target's counts go to its first new stretch.
                counts: if carries { carried.remove(&entry.target) } else { None },
            };
            transaction.push((), NFT_MSG_NEWSETELEM, NLM_F_CREATE | NLM_F_EXCL, |m| {
                message::elements(m, table, set, |list| element.write(list));
            });
        }
    }

    /// Whether a stretch stays as it is.
    fn keeps(&self, stretch: &Stretch) -> bool {
        let share = self.shares.get(&(stretch.first, stretch.last));
        let owner = share.and_then(|index| self.entries.get(*index)).map(|entry| entry.target);
        owner.is_some_and(|owner| stretch.targets == [owner] && !self.put.contains(&owner))
    }
}
