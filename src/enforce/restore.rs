//! Putting back what the kernel has lost: fewer messages than for what may be there.

use std::collections::BTreeMap;

use super::apply::{CHANGE_OCTETS, element};
use super::kernel::Kernel;
use super::lists::ELEMENTS;
use super::message::{self, Element};
use super::transaction::{Refusal, Transaction};
use super::uapi::*;
use super::{Change, Outcome};

/// A restricted source is an element in each of two sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// What has it dropped. Prefixes are whole with this.
    Drops,
    /// What limits its new conversations with published services.
    Limits,
}

impl Kernel {
    /// Puts back what the kernel has lost, without asking first what it holds of it. In hash sets only a half of it, so
    /// that sources are dropped again in half the time: see [`Half`].
    pub fn restore(&mut self, changes: &[Change], half: Half) -> Vec<Outcome> {
        let has_halves = self.sets.are_own();
        if !has_halves && half == Half::Limits || self.restore_at_once(changes, half).is_ok() {
            return vec![Outcome::Done; changes.len()];
        }
        // What stands in an administrator's set may be his.
        let unasked = has_halves.then_some(half);
        self.apply_in_parts(changes, unasked)
    }

    /// The same in one transaction with many elements in a message, which nothing must stand in the way of: a refusal of
    /// one of them would name them all.
    fn restore_at_once(&mut self, changes: &[Change], half: Half) -> Result<(), Refusal<()>> {
        let mut sets: BTreeMap<&str, Vec<Element<'_>>> = BTreeMap::new();
        for change in changes {
            let place = change.place();
            let half_of = |set| if half == Half::Drops { Some(set) } else { self.sets.rate_set(place) };
            let element = element(change, &self.sets, None).filter(|_| !place.prefix);
            let set = self.sets.set(place).and_then(half_of);
            let Some((set, element)) = set.zip(element) else { return Err(Refusal::Whole(libc::EINVAL)) };
            sets.entry(set).or_default().push(element);
        }
        if changes.len() > self.connection.room() / CHANGE_OCTETS {
            return Err(Refusal::Whole(libc::EMSGSIZE));
        }
        let most = u32::try_from(changes.len()).unwrap_or(u32::MAX);
        let mut transaction = Transaction::begin(&mut self.connection, most);
        for (set, elements) in &sets {
            for some in elements.chunks(ELEMENTS) {
                transaction.push((), NFT_MSG_NEWSETELEM, NLM_F_CREATE | NLM_F_EXCL, |m| {
                    message::elements(m, &self.settings.table, set, |list| {
                        some.iter().for_each(|element| element.write(list));
                    });
                });
            }
        }
        transaction.commit(&mut self.connection)
    }
}
