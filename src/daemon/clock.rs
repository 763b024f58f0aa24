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

/// Which boot this is: what the boot clock counts from.
pub(super) fn boot_id() -> String {
    // Where it cannot be read every start is taken for a reboot, and the wall clock counts.
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

fn microseconds(time: Timespec) -> i64 {
    time.tv_sec.saturating_mul(1_000_000).saturating_add(time.tv_nsec / 1_000)
}
