//! What the rules of the table have counted: packets dropped, and connections led to traps.
//!
//! An element's counter goes with the element. The rule that looks its set up has one as well, which stays, and is taken along
//! whenever the rules are written again.

use std::io;

use super::expression::{Counts, Expression};
use super::kernel::Kernel;
use super::layout::{Chain, places};
use super::message;
use super::uapi::*;
use crate::decide::Place;
use crate::netlink::{Attribute, Message};

/// What was dropped because its source stood in a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dropped {
    /// The set.
    pub set: &'static str,
    /// What stands in it.
    pub place: Place,
    /// What was dropped.
    pub counts: Counts,
}

/// A rule that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) chain: Vec<u8>,
    /// The set that it looks up last.
    set: Option<Vec<u8>>,
    pub(super) counts: Counts,
}

impl Counted {
    fn read(message: &Message<'_>, table: &str) -> Option<Self> {
        let text = |kind| message.attributes(4).find(|a| a.kind == kind).map(|a| a.text().to_vec());
        if text(NFTA_RULE_TABLE)? != table.as_bytes() {
            return None;
        }
        let mut counted = Self { chain: text(NFTA_RULE_CHAIN)?, set: None, counts: Counts::default() };
        let expressions = message.attributes(4).filter(|a| a.kind == NFTA_RULE_EXPRESSIONS);
        for expression in expressions.flat_map(|list| list.nested()) {
            message::read_counter(expression, &mut counted.counts);
            counted.set = looked_up(expression).or(counted.set);
        }
        Some(counted)
    }

    fn is_of(&self, set: &str) -> bool {
        self.set.as_deref() == Some(set.as_bytes())
    }
}

/// The set that a lookup expression names.
fn looked_up(expression: Attribute<'_>) -> Option<Vec<u8>> {
    let part = |kind| expression.nested().find(|attribute| attribute.kind == kind);
    part(NFTA_EXPR_NAME).filter(|name| name.text() == b"lookup")?;
    let set = part(NFTA_EXPR_DATA)?.nested().find(|attribute| attribute.kind == NFTA_LOOKUP_SET)?;
    Some(set.text().to_vec())
}

/// The sets whose members are dropped, of our own table.
fn dropping(conntrack: bool) -> impl Iterator<Item = (Place, &'static str)> {
    places(conntrack)
        .flat_map(|place| [Some(place.set()), place.rate_set()].map(|set| Some((place, set?))))
        .flatten()
}

/// What rules have counted that drop the members of `set`.
fn sum(counted: &[Counted], set: &str) -> Counts {
    let mut sum = Counts::default();
    counted.iter().filter(|rule| rule.is_of(set)).for_each(|rule| sum += rule.counts);
    sum
}

/// Has the rules that drop begin with what those before them have `counted`, each set's in the first rule that looks it up.
pub(super) fn carry_on(chains: &mut [Chain], counted: &[Counted]) {
    for (_, set) in dropping(true) {
        let mut rules = chains.iter_mut().flat_map(|chain| &mut chain.rules);
        let counter = rules.find_map(|rule| match rule.as_mut_slice() {
            [.., Expression::Lookup(of), Expression::Counter(counts), Expression::Verdict(_)]
                if *of == set =>
            {
                Some(counts)
            }
            _ => None,
        });
        if let Some(counts) = counter {
            *counts = sum(counted, set);
        }
    }
}

impl Kernel {
    /// What was dropped, by set, since this has first set the table up, or since somebody removed it. Nothing of sets of the
    /// administrator's: what happens to their members is said by rules of his.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn dropped(&mut self) -> io::Result<Vec<Dropped>> {
        if !self.sets.are_own() {
            return Ok(Vec::new());
        }
        let counted = self.counted_rules()?;
        let sets = dropping(self.settings.conntrack);
        Ok(sets.map(|(place, set)| Dropped { set, place, counts: sum(&counted, set) }).collect())
    }

    /// All rules of the table, in no order, with what they have counted.
    pub(super) fn counted_rules(&mut self) -> io::Result<Vec<Counted>> {
        let table = &self.settings.table;
        self.connection.dump(
            NFT_MSG_GETRULE,
            |m| m.text(NFTA_RULE_TABLE, table),
            |m, list| list.extend(Counted::read(m, table)),
        )
    }
}
