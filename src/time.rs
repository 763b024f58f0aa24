//! The two times an event carries.

use std::time::Duration;

/// When an event happened, as the capture shell stamped it. The core reads no clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Time since boot, suspended time included (`CLOCK_BOOTTIME`): all windows and timeouts run on it.
    pub boot: Duration,
    /// Wall-clock time in microseconds since 1970-01-01T00:00:00Z: only ever shown.
    pub wall_us: i64,
}

impl Stamp {
    /// The moment `duration` later.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let us = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self { boot: self.boot.saturating_add(duration), wall_us: self.wall_us.saturating_add(us) }
    }
}
