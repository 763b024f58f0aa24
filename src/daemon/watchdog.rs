//! The service manager's watchdog (`WatchdogSec=` of the unit): hears from the loop while the loop goes round.

use std::time::Duration;

use super::notify;

/// How many times within its limit the watchdog is told: a round may take three quarters of the limit, and one that packets
/// begin every few microseconds costs no system call more.
const TIMES: u32 = 4;

/// When the watchdog is next told; never, where the service manager has none for this process.
#[derive(Debug)]
pub(super) struct Watchdog {
    every: Option<Duration>,
    /// Boot time of the next telling.
    due: Duration,
}

impl Watchdog {
    /// As the service manager asks (`WATCHDOG_USEC`), told from the boot time `now` on.
    pub(super) fn of_service(now: Duration) -> Self {
        Self { every: sd_notify::watchdog_enabled().map(|limit| limit / TIMES), due: now }
    }

    /// Boot time at which the loop must have gone round.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.every.map(|_| self.due)
    }

    /// The loop has come round at the boot time `now`.
    pub(super) fn went_round(&mut self, now: Duration) {
        if let Some(every) = self.every.filter(|_| self.due <= now) {
            notify(&[sd_notify::NotifyState::Watchdog]);
            self.due = now + every;
        }
    }
}
