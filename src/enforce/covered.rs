//! Prefixes without an element: others hold every address of theirs at least as long.
//!
//! An interval set has no room for them (see [`super::stretches`]), and they must not be forgotten: when the ban around
//! one is lifted, it stands again. It never has to come back by itself, because what covers it does not expire before it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::expression::Counts;
use super::stretches::{self, Entry, Stretch};
use crate::decide::Place;

/// The covered targets of all interval sets. The kernel knows nothing of them, so this is their only memory until
/// whoever keeps a ledger puts them again.
#[derive(Debug, Clone, Default)]
pub(super) struct Covered {
    targets: BTreeMap<(Place, IpNet), Hidden>,
}

#[derive(Debug, Clone)]
struct Hidden {
    /// `None` is until it is lifted. The clock stands still in suspension, as that of the kernel's elements does.
    until: Option<Instant>,
    counts: Counts,
    comment: String,
}

impl Covered {
    /// Those of a set that holds `stretches`. What is over is left out, and what is not covered any more: an element
    /// that was deleted by hand took it along.
    pub(super) fn entries(&self, place: Place, stretches: &[Stretch], now: Instant) -> Vec<Entry> {
        let of_place = self.targets.iter().filter(|((of, _), _)| *of == place);
        of_place
            .filter(|((_, target), _)| stretches::cover(stretches, *target))
            .filter_map(|((_, target), hidden)| {
                let expires = match hidden.until {
                    Some(until) => Some(until.checked_duration_since(now).filter(|left| !left.is_zero())?),
                    None => None,
                };
                let Hidden { counts, comment, .. } = hidden;
                Some(Entry { target: *target, expires, counts: *counts, comment: comment.clone() })
            })
            .collect()
    }

    /// Makes `entries` all there are of a set.
    pub(super) fn replace(&mut self, place: Place, entries: impl Iterator<Item = Entry>, now: Instant) {
        self.targets.retain(|(of, _), _| *of != place);
        self.targets.extend(entries.map(|Entry { target, expires, counts, comment }| {
            // An end beyond the clock's reach is none.
            let until = expires.and_then(|left: Duration| now.checked_add(left));
            ((place, target), Hidden { until, counts, comment })
        }));
    }

    /// The target has an element of its own, or is lifted.
    pub(super) fn forget(&mut self, place: Place, target: IpNet) {
        self.targets.remove(&(place, target));
    }
}
