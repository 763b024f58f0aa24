//! What of a table is there: its sets, and whether rules are missing.

use std::collections::BTreeMap;
use std::io;

use super::kernel::Kernel;
use super::layout::{self, Set};
use super::message;
use super::uapi::*;
use crate::netlink::{Attribute, Message};

/// A set that the table has.
pub(super) struct Found {
    pub(super) key: Option<u32>,
    pub(super) length: Option<u32>,
    pub(super) flags: u32,
    /// Whether nft joins adjacent elements of it.
    pub(super) merges: bool,
    /// Its number within the table.
    pub(super) handle: u64,
    /// What each of its elements carries: the expressions' names.
    expressions: Vec<Vec<u8>>,
}

impl Found {
    /// A set of `table`, from an `NFT_MSG_NEWSET`.
    fn read(message: &Message<'_>, table: &str) -> Option<(String, Self)> {
        let mut name = None;
        let mut ours = false;
        let mut found =
            Self { key: None, length: None, flags: 0, merges: false, handle: 0, expressions: Vec::new() };
        for attribute in message.attributes(4) {
            match attribute.kind {
                NFTA_SET_TABLE => ours = attribute.text() == table.as_bytes(),
                NFTA_SET_NAME => name = Some(String::from_utf8_lossy(attribute.text()).into_owned()),
                NFTA_SET_FLAGS => found.flags = attribute.be32().unwrap_or_default(),
                NFTA_SET_KEY_TYPE => found.key = attribute.be32(),
                NFTA_SET_HANDLE => found.handle = attribute.be64().unwrap_or_default(),
                NFTA_SET_USERDATA => found.merges = message::merges(attribute.value),
                NFTA_SET_KEY_LEN => found.length = attribute.be32(),
                NFTA_SET_EXPR => found.expressions.extend(expression_name(attribute)),
                NFTA_SET_EXPRESSIONS => {
                    found.expressions.extend(attribute.nested().filter_map(expression_name))
                }
                _ => {}
            }
        }
        name.filter(|_| ours).map(|name| (name, found))
    }

    /// Whether its elements count what they match, and do nothing else.
    pub(super) fn counts_alone(&self) -> bool {
        self.expressions == [b"counter"]
    }

    /// Whether it is the set we would make.
    pub(super) fn is(&self, set: &Set) -> bool {
        self.key == Some(set.key.number())
            && self.length == Some(set.key.length())
            && self.flags == set.flags
            && self
                .expressions
                .iter()
                .map(Vec::as_slice)
                .eq(set.expressions.iter().map(|e| e.name().as_bytes()))
    }
}

fn expression_name(expression: Attribute<'_>) -> Option<Vec<u8>> {
    let name = expression.nested().find(|attribute| attribute.kind == NFTA_EXPR_NAME);
    name.map(|name| name.text().to_vec())
}

/// The kernel's ENOENT for a list of what does not exist is an empty list.
pub(super) fn none_if_missing<T>(list: io::Result<Vec<T>>) -> io::Result<Vec<T>> {
    match list {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(Vec::new()),
        list => list,
    }
}

impl Kernel {
    pub(super) fn is_whole(&mut self) -> io::Result<bool> {
        if !self.sets.are_own() {
            return self.are_the_same();
        }
        let found = self.found_sets()?;
        let sets = layout::sets(self.settings.size, self.settings.conntrack);
        Ok(sets.iter().all(|set| found.contains_key(set.name)) && self.has_its_rules()?)
    }

    /// The sets that the table has.
    pub(super) fn found_sets(&mut self) -> io::Result<BTreeMap<String, Found>> {
        let table = &self.settings.table;
        let found = self.connection.dump(
            NFT_MSG_GETSET,
            |m| m.text(NFTA_SET_TABLE, table),
            |m, list| list.extend(Found::read(m, table)),
        );
        Ok(none_if_missing(found)?.into_iter().collect())
    }

    /// Whether no rule of the chains is missing: `nft flush table` takes them all and leaves the sets, whose elements
    /// then drop nothing.
    pub(super) fn has_its_rules(&mut self) -> io::Result<bool> {
        let found = self.counted_rules()?;
        Ok(self.chains().iter().all(|chain| {
            chain.rules.len() <= found.iter().filter(|rule| rule.chain == chain.name.as_bytes()).count()
        }))
    }
}
