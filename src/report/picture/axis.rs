//! Where a time and a port stand in the picture, and which of them are named at its sides.

use std::time::Duration;

use crate::config::names::SERVICES;
use crate::report::json::Incident;
use crate::time::Wall;

/// Time from left to right.
pub(super) struct Across {
    /// The left end.
    pub(super) first: Wall,
    /// The right end.
    pub(super) last: Wall,
    /// Named moments: where they are, and their names.
    pub(super) ticks: Vec<(f64, String)>,
    left: f64,
    right: f64,
}

/// Ports from top, the highest, to bottom: logarithmic.
pub(super) struct Down {
    /// Named ports: where they are, and their names.
    pub(super) ticks: Vec<(f64, String)>,
    top: f64,
    bottom: f64,
}

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Steps between named moments in seconds, of which the smallest that needs no more than [`TICKS`] is taken.
const STEPS: [i64; 18] = [
    1,
    2,
    5,
    10,
    30,
    MINUTE,
    2 * MINUTE,
    5 * MINUTE,
    10 * MINUTE,
    30 * MINUTE,
    HOUR,
    3 * HOUR,
    6 * HOUR,
    12 * HOUR,
    DAY,
    2 * DAY,
    7 * DAY,
    30 * DAY,
];
const TICKS: i64 = 9;

/// The least time a picture spans.
const LEAST: i64 = 10_000_000;

impl Across {
    pub(super) fn new(first: Option<Wall>, last: Option<Wall>, left: f64, right: f64) -> Self {
        let (first, last) = (first.or(last).unwrap_or(Wall(0)).0, last.or(first).unwrap_or(Wall(0)).0);
        let last = last.max(first);
        // Room at both sides, so that no mark lies on the frame.
        let margin = ((last - first) / 50).max((LEAST - (last - first)) / 2).max(0);
        let (first, last) = (Wall(first.saturating_sub(margin)), Wall(last.saturating_add(margin)));
        let mut across = Self { first, last, ticks: Vec::new(), left, right };
        across.ticks = across.moments();
        across
    }

    /// Where a time is; what lies outside is at the end.
    pub(super) fn x(&self, time: Wall) -> f64 {
        let since = |time: Wall| {
            let us = time.0.saturating_sub(self.first.0);
            Duration::from_micros(u64::try_from(us).unwrap_or_default()).as_secs_f64()
        };
        let whole = since(self.last).max(1e-6);
        self.left + (self.right - self.left) * (since(time) / whole).min(1.0)
    }

    fn moments(&self) -> Vec<(f64, String)> {
        let (first, last) = (self.first.0.div_euclid(1_000_000), self.last.0.div_euclid(1_000_000));
        let longest = (last - first) / 3 + 1;
        let step = STEPS.into_iter().find(|step| (last - first) / step < TICKS).unwrap_or(longest);
        let mut moments = Vec::new();
        let mut at = first.div_euclid(step).saturating_add(1).saturating_mul(step);
        let mut day = None;
        while at <= last {
            let wall = Wall(at.saturating_mul(1_000_000));
            let (date, time) = (at.div_euclid(DAY), wall.timestamp());
            // The date stands where it changes.
            let form = match (step, day == Some(date)) {
                (DAY.., _) => "%Y-%m-%d",
                (MINUTE.., false) => "%m-%d %H:%M",
                (MINUTE.., true) => "%H:%M",
                _ => "%H:%M:%S",
            };
            day = Some(date);
            moments.push((self.x(wall), time.strftime(form).to_string()));
            at = at.saturating_add(step);
        }
        moments
    }
}

/// Ports that are named where there is room, those first that say most.
const NAMED: [u16; 26] = [
    22, 80, 443, 1, 65535, 10, 100, 1000, 10000, 3389, 445, 23, 53, 25, 8080, 3306, 5432, 6379, 5900, 1433,
    123, 161, 110, 143, 21, 27017,
];

/// The least distance between two names.
const APART: f64 = 14.0;

impl Down {
    pub(super) fn new<'a>(incidents: impl Iterator<Item = &'a Incident>, top: f64, bottom: f64) -> Self {
        let mut down = Self { ticks: Vec::new(), top, bottom };
        // Ports that were probed alone are worth a name more than those that somebody swept over.
        let mut alone: Vec<u16> = incidents
            .flat_map(|incident| &incident.port_ranges.0)
            .filter(|run| run.start() == run.end())
            .map(|run| *run.start())
            .collect();
        alone.sort_unstable();
        let mut often: Vec<(usize, u16)> =
            alone.chunk_by(|a, b| a == b).filter_map(|same| Some((same.len(), *same.first()?))).collect();
        often.sort_unstable_by_key(|&(times, port)| (std::cmp::Reverse(times), name(port).is_none(), port));
        let wanted = NAMED.into_iter().take(3).chain(often.into_iter().take(40).map(|(_, port)| port));
        for port in wanted.chain(NAMED) {
            let y = down.y(port);
            if down.ticks.iter().all(|(other, _)| (other - y).abs() >= APART) {
                let label = match name(port) {
                    Some(name) => format!("{port} {name}"),
                    None => port.to_string(),
                };
                down.ticks.push((y, label));
            }
        }
        down
    }

    /// Where a port is. Port 0 is with port 1: a logarithm has no place for it.
    pub(super) fn y(&self, port: u16) -> f64 {
        let part = f64::from(port.max(1)).log10() / f64::from(u16::MAX).log10();
        self.bottom - (self.bottom - self.top) * part
    }
}

fn name(port: u16) -> Option<&'static str> {
    SERVICES.iter().find(|(_, number)| *number == port).map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_round_and_few_over_any_time() {
        for seconds in [0, 1, 30, 600, 7_200, 86_400, 7 * 86_400, 90 * 86_400, 4_000 * 86_400] {
            let first = Wall(1_767_323_045_000_006);
            let last = Wall(first.0 + seconds * 1_000_000);
            let across = Across::new(Some(first), Some(last), 0.0, 800.0);
            assert!((1..=10).contains(&across.ticks.len()), "{seconds}: {:?}", across.ticks);
            assert!(across.ticks.iter().all(|(x, _)| (0.0..=800.0).contains(x)), "{:?}", across.ticks);
        }
        let day = Across::new(Some(Wall(0)), Some(Wall(86_400_000_000)), 0.0, 800.0);
        let labels: Vec<_> = day.ticks.iter().map(|(_, label)| &**label).collect();
        assert_eq!(labels[..3], ["01-01 00:00", "03:00", "06:00"]);
    }

    #[test]
    fn low_and_high_ports_are_told_apart_and_names_do_not_overlap() {
        let down = Down::new(std::iter::empty(), 0.0, 420.0);
        assert!(down.y(22) - down.y(25) > 4.0 && down.y(22) - down.y(50_000) > 250.0);
        assert!((down.y(65_535).abs() < 1e-9) && ((down.y(0) - 420.0).abs() < 1e-9));
        let mut places: Vec<f64> = down.ticks.iter().map(|(y, _)| *y).collect();
        places.sort_by(f64::total_cmp);
        assert!(places.windows(2).all(|pair| pair[1] - pair[0] >= APART), "{places:?}");
    }
}
