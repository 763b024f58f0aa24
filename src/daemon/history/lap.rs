//! Going through the open incidents now and then, so that the history has what they came to between two tellings.
//!
//! A line of the log for each doubling is enough for people, but a process that is killed would leave an incident of a day
//! with half of its packets. So each minute those that went on are written, a few at a time between two rounds of packets.

use std::time::Duration;

use crate::engine::Engine;
use crate::event::Incident;
use crate::time::Stamp;

/// From one lap to the next.
const EVERY: Duration = Duration::from_secs(60);

/// After a lap that wrote many the next one waits longer: so many rows a second, in the long run, are little for any disk.
const ROWS_A_SECOND: u32 = 16;

/// Where it is.
#[derive(Debug)]
pub(super) struct Lap {
    /// The place where the next part begins; none between two laps.
    from: Option<usize>,
    /// Boot time at which this lap began, and the one before.
    began: Duration,
    before: Duration,
    /// What this lap has given so far.
    rows: u32,
    /// Boot time at which the next lap begins.
    next: Duration,
}

impl Lap {
    pub(super) fn new(now: Stamp) -> Self {
        Self { from: None, began: now.boot, before: now.boot, rows: 0, next: now.boot + EVERY }
    }

    /// Boot time at which [`Self::part`] has something to do.
    pub(super) fn next_deadline(&self) -> Duration {
        if self.from.is_some() { Duration::ZERO } else { self.next }
    }

    /// The incidents of the next part that have gone on since the last lap, if one is due or begun.
    pub(super) fn part(&mut self, engine: &Engine, now: Stamp) -> Vec<Incident> {
        if self.from.is_none() && self.next <= now.boot {
            (self.from, self.rows) = (Some(0), 0);
            self.before = std::mem::replace(&mut self.began, now.boot);
        }
        let mut incidents = Vec::new();
        let Some(from) = self.from else { return incidents };
        self.from = engine.incidents_part(from, self.before, &mut incidents);
        self.rows = self.rows.saturating_add(u32::try_from(incidents.len()).unwrap_or(u32::MAX));
        if self.from.is_none() {
            self.next = now.boot + EVERY.max(Duration::from_secs(u64::from(self.rows / ROWS_A_SECOND)));
        }
        incidents
    }

    /// Puts off what is due: the next lap gives what this one has not.
    pub(super) fn put_off(&mut self, now: Stamp) {
        if self.next_deadline() > now.boot {
            return;
        }
        if self.from.take().is_some() {
            self.began = self.before;
        }
        self.next = now.boot + EVERY;
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::path::Path;

    use super::*;
    use crate::config::rules::{SHIPPED, load};
    use crate::detect::{Capacity, Ruleset, Seed};
    use crate::engine::{Settings, Touch};

    fn at(seconds: u64) -> Stamp {
        let boot = Duration::from_secs(1_000 + seconds);
        Stamp { boot, wall_us: i64::try_from(seconds).unwrap() * 1_000_000 }
    }

    /// Somebody touches a trap, which is an incident until it is quiet for an hour.
    fn touch(engine: &mut Engine, host: u8, seconds: u64) {
        let trap = SocketAddr::from(([203, 0, 113, 5], 23));
        let touch = Touch {
            source: [192, 0, 2, host].into(),
            source_port: 40_000,
            trap,
            connections: 1,
            interface: "",
            ttl: None,
        };
        engine.touched(&touch, at(seconds), &mut Vec::new());
    }

    #[test]
    fn each_minute_those_that_went_on_are_given_once_with_what_they_have_come_to() {
        let rules = load(SHIPPED, Path::new("/nonexistent")).unwrap();
        let compiled = Ruleset::compile(&rules, &[]).unwrap();
        let mut engine = Engine::new(compiled, Settings::default(), Capacity::default(), Seed::Fixed);
        engine.set_trap_rule(&rules);
        let mut lap = Lap::new(at(0));
        let given = |lap: &mut Lap, engine: &Engine, seconds| -> Vec<(String, u64)> {
            let incidents = lap.part(engine, at(seconds));
            let mut given: Vec<_> =
                incidents.iter().map(|incident| (incident.source.to_string(), incident.packets)).collect();
            given.sort_unstable();
            given
        };
        let of = |host: u8, packets| (format!("192.0.2.{host}/32"), packets);
        touch(&mut engine, 7, 1);
        touch(&mut engine, 8, 2);
        (3..40).for_each(|second| touch(&mut engine, 7, second));
        assert_eq!(given(&mut lap, &engine, 59), []);
        assert_eq!(given(&mut lap, &engine, 60), [of(7, 38), of(8, 1)]);
        assert_eq!(lap.next_deadline(), at(120).boot);
        touch(&mut engine, 8, 70);
        assert_eq!(given(&mut lap, &engine, 119), []);
        assert_eq!(given(&mut lap, &engine, 120), [of(8, 2)]);
        // A disk that takes nothing now gets it later.
        touch(&mut engine, 7, 130);
        lap.put_off(at(180));
        assert_eq!(given(&mut lap, &engine, 180), []);
        assert_eq!(given(&mut lap, &engine, 240), [of(7, 39)]);
        assert_eq!(given(&mut lap, &engine, 300), []);
        // After many comes a longer rest.
        for [high, low] in (1_000..2_000_u16).map(u16::to_be_bytes) {
            let trap = SocketAddr::from(([203, 0, 113, 5], 23));
            let touch = Touch {
                source: [198, 18, high, low].into(),
                source_port: 40_000,
                trap,
                connections: 1,
                interface: "",
                ttl: None,
            };
            engine.touched(&touch, at(310), &mut Vec::new());
        }
        assert_eq!(given(&mut lap, &engine, 360).len(), 1_000);
        assert_eq!(lap.next_deadline(), at(422).boot);
    }
}
