//! Which sets elements go to: those of nfban's own table, or sets of the administrator's.
//!
//! Of the administrator's sets nothing is made, changed or deleted but elements, and of elements only those whose
//! comment says that they are nfban's.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::found::Found;
use super::layout::{self, KeyType};
use super::message::Read;
use super::uapi::*;
use crate::config::{self, Family};
use crate::decide::{Measure, Place};

/// What the comment of an element in the administrator's sets begins with.
const MARK: &str = "nfban: ";

/// Sets of the administrator's, of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The table that has them.
    pub table: config::Table,
    /// Their names.
    pub names: config::Sets,
}

/// The sets in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sets {
    /// nfban's own.
    Own {
        /// Whether those of restricted sources exist.
        conntrack: bool,
    },
    /// The administrator's, those that were named.
    Given(Family, BTreeMap<Place, Named>),
}

/// A set of the administrator's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    name: String,
    /// Whether its elements count what they match, and nothing else.
    counts: bool,
}

impl Sets {
    pub(super) fn given(given: &Given) -> Self {
        let named = given.names.kinds().into_iter().filter_map(|((measure, ipv6, prefix), name)| {
            let named = Named { name: name?.to_owned(), counts: false };
            Some((Place { measure, ipv6, prefix }, named))
        });
        Self::Given(given.table.family, named.collect())
    }

    pub(super) const fn family(&self) -> u8 {
        match self {
            Self::Own { .. } | Self::Given(Family::Inet, _) => NFPROTO_INET,
            Self::Given(Family::Ip, _) => NFPROTO_IPV4,
            Self::Given(Family::Ip6, _) => NFPROTO_IPV6,
            Self::Given(Family::Netdev, _) => NFPROTO_NETDEV,
        }
    }

    /// The table with its family, as nft names it.
    pub(super) fn describe(&self, table: &str) -> String {
        let family = if let Self::Given(family, _) = self { *family } else { Family::Inet };
        config::Table { family, name: table.to_owned() }.to_string()
    }

    /// The places that there are sets for.
    pub(super) fn places(&self) -> Vec<Place> {
        match self {
            Self::Own { conntrack } => layout::places(*conntrack).collect(),
            Self::Given(_, named) => named.keys().copied().collect(),
        }
    }

    /// The set of a place, if there is one.
    pub(super) fn set(&self, place: Place) -> Option<&str> {
        match self {
            Self::Own { conntrack } => (*conntrack || place.measure == Measure::Ban).then_some(place.set()),
            Self::Given(_, named) => named.get(&place).map(|named| named.name.as_str()),
        }
    }

    /// The set of rate limits beside it. An administrator's chain has its own idea of what a restricted source may do.
    pub(super) fn rate_set(&self, place: Place) -> Option<&'static str> {
        match self {
            Self::Own { .. } => place.rate_set(),
            Self::Given(..) => None,
        }
    }

    /// Whether an element that is written anew can take over what an earlier one had counted.
    pub(super) fn counts(&self, place: Place) -> bool {
        match self {
            Self::Own { .. } => true,
            Self::Given(_, named) => named.get(&place).is_some_and(|named| named.counts),
        }
    }

    /// The comment that an element carries.
    pub(super) fn comment<'a>(&self, comment: &'a str) -> Cow<'a, str> {
        match self {
            Self::Own { .. } => Cow::Borrowed(comment),
            Self::Given(..) => Cow::Owned(format!("{MARK}{comment}")),
        }
    }

    /// Whether the sets hold nobody's elements but ours.
    pub(super) const fn are_own(&self) -> bool {
        matches!(self, Self::Own { .. })
    }

    /// An element as it was meant; none if it is somebody else's. The ends of intervals have no comment and stay.
    pub(super) fn ours(&self, read: Read) -> Option<Read> {
        if self.are_own() || read.is_end {
            return Some(read);
        }
        let comment = read.comment.strip_prefix(MARK)?.to_owned();
        Some(Read { comment, ..read })
    }

    /// Compares the administrator's sets with what the table has, and notes which of them count.
    ///
    /// # Errors
    /// Everything that is wrong with them, with the definitions that are right.
    pub(super) fn compare(&mut self, found: &BTreeMap<String, Found>) -> Result<(), String> {
        let Self::Given(_, named) = self else { return Ok(()) };
        let mut wrong = String::new();
        for (place, named) in named {
            let fault = match found.get(&named.name) {
                None => Some("does not exist"),
                Some(found) => {
                    named.counts = found.counts_alone();
                    fault(*place, found)
                }
            };
            if let Some(fault) = fault {
                let definition = definition(*place, &named.name);
                // Writing to a String does not fail.
                let _ = write!(wrong, "; set {} {fault}, it must be: {definition}", named.name);
            }
        }
        match wrong.strip_prefix("; ") {
            None => Ok(()),
            Some(wrong) => Err(wrong.to_owned()),
        }
    }
}

/// What keeps a set from being filled.
fn fault(place: Place, found: &Found) -> Option<&'static str> {
    let key = key(place);
    // Of constant sets, maps and concatenations none can be filled with addresses that expire.
    const NEVER: u32 = NFT_SET_CONSTANT | NFT_SET_MAP | NFT_SET_OBJECT | NFT_SET_CONCAT;
    if found.key != Some(key.number()) || found.length != Some(key.length()) {
        Some("is of another type")
    } else if found.flags & NFT_SET_TIMEOUT == 0 {
        Some("takes no timeouts")
    } else if found.flags & NEVER != 0 {
        Some("is no plain set")
    } else if place.prefix && found.flags & NFT_SET_INTERVAL == 0 {
        Some("takes no prefixes")
    } else if !place.prefix && found.flags & NFT_SET_INTERVAL != 0 {
        Some("is one of intervals")
    } else if found.merges {
        Some("has auto-merge, which joins elements of different timeouts")
    } else {
        None
    }
}

/// The set as nft takes it, for the administrator to paste.
fn definition(place: Place, name: &str) -> String {
    let key = if place.ipv6 { "ipv6_addr" } else { "ipv4_addr" };
    let flags = if place.prefix { "interval, timeout" } else { "timeout" };
    format!("set {name} {{ type {key}; flags {flags}; counter; }}")
}

const fn key(place: Place) -> KeyType {
    if place.ipv6 { KeyType::Ipv6Addr } else { KeyType::Ipv4Addr }
}
