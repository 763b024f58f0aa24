//! What the kernel has dropped of banned and restricted sources, in sums that only grow.

use std::collections::BTreeMap;

use super::backend::Backend;
use crate::control::protocol::DroppedCounts;
use crate::enforce::{Counts, Dropped};

/// The sums since the start, by set. Elements take their counts with them when they end, and a table that others remove, or
/// that is not there for a while, takes those of its rules: what was read of them before stays counted.
#[derive(Debug, Default)]
pub(super) struct Drops(BTreeMap<&'static str, Sum>);

#[derive(Debug)]
struct Sum {
    sum: Dropped,
    /// As the kernel told it last.
    read: Counts,
}

impl Drops {
    /// Brings the sums up to date.
    pub(super) fn read(&mut self, backend: &mut Backend) {
        self.add(backend.dropped());
    }

    fn add(&mut self, dropped: impl IntoIterator<Item = Dropped>) {
        for now in dropped {
            let new = || Sum { sum: Dropped { counts: Counts::default(), ..now }, read: Counts::default() };
            let Sum { sum, read } = self.0.entry(now.set).or_insert_with(new);
            // Fewer than before: the rule has begun anew.
            let began_anew = now.counts.packets < read.packets || now.counts.bytes < read.bytes;
            let before = if began_anew { Counts::default() } else { *read };
            sum.counts += Counts {
                packets: now.counts.packets.saturating_sub(before.packets),
                bytes: now.counts.bytes.saturating_sub(before.bytes),
            };
            *read = now.counts;
        }
    }

    /// The sums, by set; nothing where nothing was ever read.
    pub(super) fn by_set(&self) -> impl Iterator<Item = Dropped> {
        self.0.values().map(|sum| sum.sum)
    }

    /// All of them in one.
    pub(super) fn total(&self) -> Option<DroppedCounts> {
        let mut total = Counts::default();
        self.by_set().for_each(|dropped| total += dropped.counts);
        let Counts { packets, bytes } = total;
        (!self.0.is_empty()).then_some(DroppedCounts { packets, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::{Measure, Place};

    #[test]
    fn what_was_dropped_stays_counted_when_the_kernels_counters_begin_anew() {
        let mut drops = Drops::default();
        assert_eq!(drops.total(), None);
        let place = Place { measure: Measure::Ban, ipv6: false, prefix: false };
        let mut totals = Vec::new();
        for packets in [0, 5, 5, 9, 2, 3, 3, 0, 1] {
            let counts = Counts { packets, bytes: 60 * packets };
            drops.add([Dropped { set: "ban4", place, counts }]);
            totals.extend(drops.total().map(|total| (total.packets, total.bytes / 60)));
        }
        assert_eq!(totals, [0, 5, 5, 9, 11, 12, 12, 12, 13].map(|all| (all, all)));
        drops.add([]);
        assert_eq!(drops.by_set().map(|dropped| dropped.counts.packets).collect::<Vec<_>>(), [13]);
    }
}
