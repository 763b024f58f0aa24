//! What is known of a source after its first packet.

use std::time::Duration;

use super::Cold;
use crate::detect::memory::Remembered;
use crate::detect::probe::{Probe, Sighting, nanoseconds};
use crate::detect::table::Pinned;
use crate::time::Stamp;

/// A source that has been seen once.
#[derive(Debug, Default)]
pub(in crate::detect) struct Newcomer {
    /// Its packet, and which rules that is to count for once there is a second.
    pub(in crate::detect) first: Option<Cold>,
    pub(in crate::detect) previous_ack: Option<(u32, u16)>,
    /// How long before the boot the packet came, in milliseconds: 49 days fit, and no window is longer than 30.
    pub(in crate::detect) before_boot: u32,
}

impl Newcomer {
    /// Of the one sighting that is remembered of it.
    pub(in crate::detect) fn of(kept: Remembered) -> Self {
        let before_boot = u32::try_from(kept.last.min(0).unsigned_abs() / 1_000_000).unwrap_or(u32::MAX);
        let boot = Duration::from_nanos(u64::try_from(kept.last).unwrap_or_default());
        let Sighting { first, probe, .. } = kept.sighting;
        let probe = Probe { at: Stamp { boot, ..first }, ..probe };
        Self { first: Some(Cold::new(&probe, kept.shape)), previous_ack: None, before_boot }
    }

    pub(in crate::detect) fn kept(&self) -> Option<Remembered> {
        let cold = self.first?;
        let (probe, shape) = (cold.probe(cold.raw), cold.shape);
        let last = nanoseconds(probe.at) - i64::from(self.before_boot) * 1_000_000;
        let sighting = Sighting { first: probe.at, probe, packets: 1, bytes: u64::from(probe.length) };
        Some(Remembered { sighting, last, shape })
    }

    /// Its packet, when it came before the boot.
    pub(in crate::detect) fn recalled(&self) -> Option<Remembered> {
        self.kept().filter(|_| self.before_boot > 0)
    }
}

impl Pinned for Newcomer {
    fn is_pinned(&self) -> bool {
        false
    }
}
