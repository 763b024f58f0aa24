//! Moments as people read them, in UTC.

use std::time::Duration;

use crate::time::{Wall, format_duration};

/// Date and time to the second.
#[must_use]
pub fn moment(time: Wall) -> String {
    time.timestamp().strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// The time of day to the millisecond, beside a heading that has the day; with the date where it is another day's.
#[must_use]
pub fn time_beside(time: Wall, heading: Wall) -> String {
    let day = |time: Wall| time.timestamp().strftime("%Y-%m-%d").to_string();
    let format = if day(time) == day(heading) { "%H:%M:%S%.3f" } else { "%m-%d %H:%M:%S%.3f" };
    time.timestamp().strftime(format).to_string()
}

/// How long before `now` that was.
#[must_use]
pub fn ago(time: Wall, now: Wall) -> String {
    let microseconds = u64::try_from(now.0.saturating_sub(time.0)).unwrap_or(0);
    format_duration(Duration::from_micros(microseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_of_another_day_than_its_heading_has_its_date() {
        let midnight = Wall(1_767_312_000_000_000);
        assert_eq!(moment(midnight), "2026-01-02 00:00:00Z");
        assert_eq!(time_beside(Wall(midnight.0 + 1_500), midnight), "00:00:00.001");
        assert_eq!(time_beside(Wall(midnight.0 - 1_000), midnight), "01-01 23:59:59.999");
    }

    #[test]
    fn what_a_stepped_clock_puts_into_the_future_is_now() {
        assert_eq!(ago(Wall(0), Wall(90_000_000)), "1m 30s");
        assert_eq!(ago(Wall(90_000_000), Wall(0)), "0s");
    }
}
