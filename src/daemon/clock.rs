//! The clocks, read here and nowhere else.

use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::time::Stamp;

/// Now, by both clocks.
pub(super) fn now() -> Stamp {
    let boot = clock_gettime(ClockId::Boottime);
    let wall = clock_gettime(ClockId::Realtime);
    Stamp { boot: Duration::try_from(boot).unwrap_or_default(), wall_us: microseconds(wall) }
}

fn microseconds(time: Timespec) -> i64 {
    time.tv_sec.saturating_mul(1_000_000).saturating_add(time.tv_nsec / 1_000)
}
