//! Making the table, or making of an earlier one what the settings say: one transaction.

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use super::counted;
use super::found::Found;
use super::kernel::{InstallError, Kernel};
use super::layout::{self, Chain, RESTRICT, TRAPS};
use super::message;
use super::transaction::{Refusal, Transaction};
use super::trap::{self, ARRIVED, TRAP};
use super::uapi::*;
use crate::decide::{Measure, Place};

/// Parts of the table, for errors.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part {
    Table,
    Set(&'static str),
    Chain(&'static str),
    Rule(&'static str, usize),
    Elements(&'static str),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table => write!(f, "the making"),
            Self::Set(name) => write!(f, "set {name}"),
            Self::Chain(name) => write!(f, "chain {name}"),
            Self::Rule(chain, number) => write!(f, "rule {} of chain {chain}", number + 1),
            Self::Elements(set) => write!(f, "the elements of set {set}"),
        }
    }
}

impl Kernel {
    pub(super) fn make(&mut self) -> Result<(), InstallError> {
        let sets = layout::sets(self.settings.size, self.settings.conntrack);
        let mut chains = self.chains();
        let flags = self.table_flags();
        let replaced = self.table_to_change()?.filter(|table| table.differs(flags));
        let mut found = self.found_sets()?;
        let incompatible = sets.iter().find(|set| found.get(set.name).is_some_and(|found| !found.is(set)));
        if let Some(set) = incompatible {
            return Err(InstallError::Incompatible { table: self.settings.table.clone(), set: set.name });
        }
        let is_new = |place: &Place| !found.contains_key(place.set());
        self.made = layout::places(self.settings.conntrack).filter(is_new).collect();
        let carried = match replaced {
            Some(_) => self.held_in(|place| found.contains_key(place.set()))?,
            None => Vec::new(),
        };
        if replaced.is_some() {
            found.clear();
        }
        let counted = self.counted_rules()?;
        let had_traps = replaced.is_none() && counted.iter().any(|rule| rule.chain == TRAP.as_bytes());
        if self.counting {
            counted::carry_on(&mut chains, &counted);
        }
        let mut transaction = Transaction::begin(&mut self.connection, 1 << 16);
        let table = &self.settings.table;
        if replaced.is_some() {
            transaction.push(Part::Table, NFT_MSG_DELTABLE, 0, |m| message::table(m, table));
        }
        transaction
            .push(Part::Table, NFT_MSG_NEWTABLE, NLM_F_CREATE, |m| message::new_table(m, table, flags));
        for (id, set) in (1..).zip(&sets) {
            transaction.push(Part::Set(set.name), NFT_MSG_NEWSET, NLM_F_CREATE, |m| {
                message::new_set(m, table, set, id)
            });
        }
        self.write_chains(&mut transaction, &chains);
        if had_traps && !chains.iter().any(|chain| chain.name == TRAP) {
            self.write_without_traps(&mut transaction);
        }
        if !self.settings.conntrack {
            self.write_without_restrict(&mut transaction, &found);
        }
        self.write_protected(&mut transaction);
        self.write_services(&mut transaction);
        if self.settings.conntrack {
            self.write_traps(&mut transaction);
        }
        transaction.commit(&mut self.connection).map_err(|refusal| {
            let what = match &refusal {
                Refusal::Parts(parts) => parts.first().map_or(Part::Table, |(part, _)| *part),
                Refusal::Whole(_) => Part::Table,
            };
            InstallError::Refused {
                table: self.settings.table.clone(),
                what: what.to_string(),
                error: io::Error::from_raw_os_error(refusal.errno()),
            }
        })?;
        self.counting = true;
        self.carry_over(carried);
        Ok(())
    }

    /// The chains of the table.
    pub(super) fn chains(&self) -> Vec<Chain> {
        let mut chains = layout::chains(self.settings.conntrack, self.settings.trap.is_some());
        if let Some(trap) = self.settings.trap.as_ref().filter(|_| self.settings.conntrack) {
            chains.extend(trap::chains(trap));
        }
        chains
    }

    fn write_chains(&self, transaction: &mut Transaction<Part>, chains: &[Chain]) {
        let table = &self.settings.table;
        for chain in chains {
            let part = Part::Chain(chain.name);
            transaction.push(part, NFT_MSG_NEWCHAIN, NLM_F_CREATE, |m| message::new_chain(m, table, chain));
            transaction.push(part, NFT_MSG_DELRULE, 0, |m| message::all_rules(m, table, chain.name));
            for (number, rule) in chain.rules.iter().enumerate() {
                let part = Part::Rule(chain.name, number);
                transaction.push(part, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, |m| {
                    message::new_rule(m, table, chain.name, rule);
                });
            }
        }
    }

    /// Takes away the chains of traps, which the table has.
    fn write_without_traps(&self, transaction: &mut Transaction<Part>) {
        let table = &self.settings.table;
        for chain in [TRAP, ARRIVED] {
            let part = Part::Chain(chain);
            transaction.push(part, NFT_MSG_DELRULE, 0, |m| message::all_rules(m, table, chain));
            transaction.push(part, NFT_MSG_DELCHAIN, 0, |m| message::named_chain(m, table, chain));
        }
    }

    /// Takes away what an earlier table with conntrack had more.
    fn write_without_restrict(&self, transaction: &mut Transaction<Part>, found: &BTreeMap<String, Found>) {
        let table = &self.settings.table;
        let restricted = Place::ALL.into_iter().filter(|place| place.measure == Measure::Restrict);
        let sets = restricted.flat_map(|place| [Some(place.set()), place.rate_set()]).flatten();
        let sets = sets.chain([TRAPS]);
        let mut sets = sets.filter(|set| found.contains_key(*set)).peekable();
        // The chain is there exactly when its sets are; made anew first, so that deleting it cannot fail.
        if sets.peek().is_some() {
            let part = Part::Chain(RESTRICT);
            let chains = layout::chains(true, false);
            for chain in chains.iter().filter(|chain| chain.name == RESTRICT) {
                transaction
                    .push(part, NFT_MSG_NEWCHAIN, NLM_F_CREATE, |m| message::new_chain(m, table, chain));
            }
            transaction.push(part, NFT_MSG_DELRULE, 0, |m| message::all_rules(m, table, RESTRICT));
            transaction.push(part, NFT_MSG_DELCHAIN, 0, |m| message::named_chain(m, table, RESTRICT));
        }
        for set in sets {
            transaction.push(Part::Set(set), NFT_MSG_DELSET, 0, |m| message::named_set(m, table, set));
        }
    }
}
