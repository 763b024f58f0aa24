//! The engine's time, out of the input's.

use std::time::Duration;

use crate::time::Stamp;

/// A step back of at most this much is packets out of order; more is another recording, or a clock that was set.
const DISORDER_NS: i64 = 2_000_000_000;

/// The same for access logs: Apache writes a line when a request ends, with the time at which it began.
const REQUEST_NS: i64 = 3_600_000_000_000;

/// Follows the input's time; the boot time it makes never goes back.
#[derive(Debug, Default)]
pub(super) struct Clock {
    boot: Duration,
    /// The latest time of the input, in nanoseconds since 1970.
    last: Option<i64>,
    jumps: u64,
}

impl Clock {
    /// The stamp of a packet, and whether time jumped back before it.
    pub(super) fn stamp(&mut self, wall_ns: i64) -> (Stamp, bool) {
        self.stamp_within(wall_ns, DISORDER_NS)
    }

    /// The same of a request.
    pub(super) fn stamp_of_request(&mut self, wall_ns: i64) -> (Stamp, bool) {
        self.stamp_within(wall_ns, REQUEST_NS)
    }

    fn stamp_within(&mut self, wall_ns: i64, disorder: i64) -> (Stamp, bool) {
        let last = self.last.unwrap_or(wall_ns);
        let step = wall_ns.saturating_sub(last);
        let jumped = step < -disorder;
        if let Ok(forward) = u64::try_from(step) {
            self.boot = self.boot.saturating_add(Duration::from_nanos(forward));
        }
        self.last = Some(if jumped { wall_ns } else { last.max(wall_ns) });
        self.jumps += u64::from(jumped);
        (self.now(), jumped)
    }

    /// The time of the latest packet.
    pub(super) fn now(&self) -> Stamp {
        Stamp { boot: self.boot, wall_us: self.last.unwrap_or_default().div_euclid(1000) }
    }

    /// How often time jumped back.
    pub(super) const fn jumps(&self) -> u64 {
        self.jumps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn packets_out_of_order_are_raised_to_the_latest_time() {
        let mut clock = Clock::default();
        clock.stamp(100 * SECOND);
        let (stamp, jumped) = clock.stamp(98 * SECOND);
        assert_eq!((stamp.boot, stamp.wall_us, jumped), (Duration::ZERO, 100_000_000, false));
        let (stamp, _) = clock.stamp(101 * SECOND);
        assert_eq!((stamp.boot, stamp.wall_us), (Duration::from_secs(1), 101_000_000));
    }

    #[test]
    fn a_request_may_have_begun_an_hour_ago() {
        let mut clock = Clock::default();
        clock.stamp_of_request(4000 * SECOND);
        let (stamp, jumped) = clock.stamp_of_request(400 * SECOND);
        assert_eq!((stamp.wall_us, jumped), (4_000_000_000, false));
        assert!(clock.stamp_of_request(399 * SECOND).1);
    }

    #[test]
    fn a_longer_step_back_is_a_jump_and_boot_time_goes_on() {
        let mut clock = Clock::default();
        clock.stamp(100 * SECOND);
        clock.stamp(110 * SECOND);
        let (stamp, jumped) = clock.stamp(108 * SECOND - 1);
        assert_eq!((stamp.boot, jumped), (Duration::from_secs(10), true));
        assert_eq!(stamp.wall_us, 107_999_999);
        let (stamp, jumped) = clock.stamp(109 * SECOND - 1);
        assert_eq!((stamp.boot, jumped), (Duration::from_secs(11), false));
        assert_eq!(clock.jumps(), 1);
    }
}
