//! How soon what others removed is put back: at once, and later and later against whoever goes on removing it.

use std::collections::VecDeque;
use std::time::Duration;

/// So often in a row at once: a reload of several services flushes a few times.
const AT_ONCE: u32 = 16;
/// The first wait after that; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// Bans are out of force for this long at most.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// In a row is what follows within this time, or within [`SHARE`] times what putting back took.
const IN_A_ROW: Duration = Duration::from_millis(500);
/// So putting back takes a third of the time at most before it begins to wait.
const SHARE: u32 = 2;
/// So often within [`ALARM_WITHIN`] is an alarm; the next one comes when there was none in that time.
const ALARM_AFTER: usize = 10;
const ALARM_WITHIN: Duration = Duration::from_secs(60);

/// Pure: times are boot times.
#[derive(Debug, Default)]
pub(super) struct Patience {
    in_a_row: u32,
    began: Duration,
    /// When the latest one was done; none before the first.
    done: Option<Duration>,
    /// When the latest ones were asked for.
    latest: VecDeque<Duration>,
    alarmed: bool,
}

impl Patience {
    /// Something was removed `now`: when to begin to put it back, and whether people must hear of it.
    pub(super) fn next(&mut self, now: Duration) -> (Duration, bool) {
        let took = self.done.unwrap_or_default().saturating_sub(self.began);
        let soon = IN_A_ROW.max(took.saturating_mul(SHARE));
        let follows = self.done.is_some_and(|done| now.saturating_sub(done) < soon);
        self.in_a_row = if follows { self.in_a_row.saturating_add(1) } else { 1 };
        let wait = match self.in_a_row.saturating_sub(AT_ONCE) {
            0 => Duration::ZERO,
            more => FIRST_WAIT.saturating_mul(1 << (more - 1).min(16)).min(LONGEST_WAIT),
        };
        while self.latest.pop_front_if(|at| now.saturating_sub(*at) > ALARM_WITHIN).is_some() {}
        if self.latest.is_empty() {
            self.alarmed = false;
        }
        if self.latest.len() >= ALARM_AFTER {
            self.latest.pop_front();
        }
        self.latest.push_back(now);
        let often = !wait.is_zero() || self.latest.len() >= ALARM_AFTER;
        let alarm = often && !self.alarmed;
        self.alarmed |= often;
        self.began = now.saturating_add(wait);
        (self.began, alarm)
    }

    /// It is put back.
    pub(super) fn done(&mut self, now: Duration) {
        self.done = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Removes again `pause` after it was put back, which takes `takes`: the waits, and when there was an alarm.
    fn removals(count: usize, pause: Duration, takes: Duration) -> (Vec<Duration>, Vec<usize>) {
        let mut patience = Patience::default();
        let mut now = Duration::from_secs(1000);
        let (mut waits, mut alarms) = (Vec::new(), Vec::new());
        for number in 1..=count {
            let (at, alarm) = patience.next(now);
            waits.push(at - now);
            alarms.extend(alarm.then_some(number));
            now = at + takes;
            patience.done(now);
            now += pause;
        }
        (waits, alarms)
    }

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_loop_meets_longer_and_longer_waits_and_one_alarm() {
        let (waits, alarms) = removals(40, MS, 15 * MS);
        assert_eq!(waits[..16], [Duration::ZERO; 16]);
        assert_eq!(waits[16..19], [100 * MS, 200 * MS, 400 * MS]);
        assert_eq!(waits[39], LONGEST_WAIT);
        assert_eq!(alarms, [10]);
    }

    #[test]
    fn what_is_removed_now_and_then_is_put_back_at_once() {
        let (waits, alarms) = removals(100, Duration::from_secs(10), 50 * MS);
        assert!(waits.iter().all(Duration::is_zero));
        assert_eq!(alarms, Vec::<usize>::new());
        let (waits, alarms) = removals(100, Duration::from_secs(2), 50 * MS);
        assert!(waits.iter().all(Duration::is_zero));
        assert_eq!(alarms, [10], "once, as it does not stop");
    }

    #[test]
    fn where_putting_back_takes_long_a_slower_loop_waits_too() {
        let (waits, _) = removals(20, Duration::from_secs(1), Duration::from_millis(700));
        assert!(!waits[19].is_zero());
    }
}
