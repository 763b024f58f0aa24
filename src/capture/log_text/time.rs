//! The time written on a line, and the instant it means.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;

/// The year of lines without one, where nothing tells another: the first leap year of the epoch, so that 29 February
/// exists.
pub const DEFAULT_YEAR: i16 = 1972;

/// Longer than logs are ever out of order, shorter than a year: tells a new year from an old line.
const ROLL_OVER_US: i64 = 182 * DAY_US;
const OLD_YEARS_LINE_US: i64 = 330 * DAY_US;
const DAY_US: i64 = 24 * 60 * 60 * 1_000_000;

/// A time as it stands on a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineTime {
    /// Microseconds since 1970-01-01T00:00:00Z.
    Instant(i64),
    /// By the clock on the wall, in the logging host's time zone.
    Civil(DateTime),
    /// Classic syslog: by the clock on the wall, without a year.
    Yearless {
        /// 1–12.
        month: i8,
        /// 1–31; 29 February may be a date.
        day: i8,
        /// Time of day.
        time: Time,
    },
    /// Microseconds since boot.
    Boot(i64),
}

/// Makes instants of the times of one input, in the order of its lines. Deterministic: it reads no clock.
///
/// - An instant stands for itself; a civil time is read in the time zone (in a gap or fold of it: RFC 5545's choice).
/// - A time since boot counts from 1970-01-01.
/// - A time without year takes the latest year that a line told, else the year given, else [`DEFAULT_YEAR`]; and the
///   next one if that would lie more than half a year before the line before it (December, then January). A December
///   line that comes late, after January has begun, stays in the old year.
/// - A line without time, or with a date its year does not have, has the time of the line before it, the first 1970-01-01.
#[derive(Debug, Clone)]
pub struct LineClock {
    timezone: TimeZone,
    year: Option<i16>,
    /// An instant that tells a newer year than `year`; looked at when it is needed.
    year_of: Option<i64>,
    /// The latest line with a date.
    dated: Option<i64>,
    last: i64,
}

impl LineClock {
    /// `timezone` is the logging host's; `year` that of the first line that tells none.
    #[must_use]
    pub const fn new(timezone: TimeZone, year: Option<i16>) -> Self {
        Self { timezone, year, year_of: None, dated: None, last: 0 }
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    pub fn wall_us(&mut self, time: Option<LineTime>) -> i64 {
        let wall_us = match time {
            None => None,
            Some(LineTime::Boot(since)) => Some(since),
            Some(LineTime::Instant(instant)) => {
                self.year_of = Some(instant);
                self.dated = Some(instant);
                Some(instant)
            }
            Some(LineTime::Civil(civil)) => self.instant(civil).inspect(|&instant| {
                (self.year, self.year_of) = (Some(civil.year()), None);
                self.dated = Some(instant);
            }),
            Some(LineTime::Yearless { month, day, time }) => {
                self.yearless(month, day, time).inspect(|&instant| self.dated = Some(instant))
            }
        };
        self.last = wall_us.unwrap_or(self.last);
        self.last
    }

    fn yearless(&mut self, month: i8, day: i8, time: Time) -> Option<i64> {
        let year = self.year();
        let in_year = |clock: &Self, year| clock.instant(Date::new(year, month, day).ok()?.to_datetime(time));
        let this_year = in_year(self, year);
        let Some(dated) = self.dated else {
            self.year = Some(year);
            return this_year;
        };
        match this_year {
            Some(instant) if instant > dated.saturating_add(OLD_YEARS_LINE_US) => {
                in_year(self, year.saturating_sub(1)).or(this_year)
            }
            Some(instant) if instant >= dated.saturating_sub(ROLL_OVER_US) => {
                self.year = Some(year);
                this_year
            }
            // This year's date is long past, or this year has no such date.
            _ => {
                let next = in_year(self, year.saturating_add(1))?;
                self.year = Some(year.saturating_add(1));
                Some(next)
            }
        }
    }

    fn year(&mut self) -> i16 {
        if let Some(instant) = self.year_of.take()
            && let Ok(instant) = Timestamp::from_microsecond(instant)
        {
            self.year = Some(self.timezone.to_datetime(instant).year());
        }
        self.year.unwrap_or(DEFAULT_YEAR)
    }

    fn instant(&self, civil: DateTime) -> Option<i64> {
        Some(self.timezone.to_ambiguous_timestamp(civil).compatible().ok()?.as_microsecond())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::{date, time};

    fn clock(year: Option<i16>) -> LineClock {
        LineClock::new(TimeZone::UTC, year)
    }

    fn yearless(month: i8, day: i8) -> Option<LineTime> {
        Some(LineTime::Yearless { month, day, time: time(12, 0, 0, 0) })
    }

    fn shown(clock: &mut LineClock, time: Option<LineTime>) -> String {
        Timestamp::from_microsecond(clock.wall_us(time)).unwrap().to_string()
    }

    #[test]
    fn the_given_year_holds_from_the_first_line_and_january_after_december_begins_the_next() {
        let mut clock = clock(Some(2023));
        let dates = [(12, 31), (1, 1), (12, 31), (1, 2), (7, 1), (12, 31), (1, 1), (2, 29)];
        let shown: Vec<String> =
            dates.iter().map(|&(month, day)| shown(&mut clock, yearless(month, day))).collect();
        let expected = [
            "2023-12-31T12:00:00Z",
            "2024-01-01T12:00:00Z",
            "2023-12-31T12:00:00Z",
            "2024-01-02T12:00:00Z",
            "2024-07-01T12:00:00Z",
            "2024-12-31T12:00:00Z",
            "2025-01-01T12:00:00Z",
            "2025-01-01T12:00:00Z",
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn without_a_year_the_first_leap_year_of_the_epoch_is_taken() {
        assert_eq!(shown(&mut clock(None), yearless(2, 29)), "1972-02-29T12:00:00Z");
    }

    #[test]
    fn a_line_that_tells_a_year_sets_it_for_those_that_do_not() {
        let mut clock = clock(Some(2020));
        let civil = LineTime::Civil(date(2024, 5, 7).at(18, 0, 0, 0));
        assert_eq!(shown(&mut clock, Some(civil)), "2024-05-07T18:00:00Z");
        assert_eq!(shown(&mut clock, yearless(5, 8)), "2024-05-08T12:00:00Z");
        assert_eq!(shown(&mut clock, Some(LineTime::Instant(1_700_000_000_000_000))), "2023-11-14T22:13:20Z");
        assert_eq!(shown(&mut clock, yearless(11, 15)), "2023-11-15T12:00:00Z");
    }

    #[test]
    fn a_line_without_time_has_that_of_the_line_before_it() {
        let mut clock = clock(None);
        assert_eq!(clock.wall_us(None), 0);
        assert_eq!(clock.wall_us(Some(LineTime::Boot(12_345_678))), 12_345_678);
        assert_eq!(clock.wall_us(None), 12_345_678);
    }

    #[test]
    fn civil_times_are_read_in_the_time_zone() {
        let mut clock = LineClock::new(TimeZone::fixed(jiff::tz::offset(9)), Some(2024));
        assert_eq!(shown(&mut clock, yearless(5, 7)), "2024-05-07T03:00:00Z");
    }

    #[test]
    fn no_time_makes_the_clock_fail() {
        let mut clock = clock(Some(9999));
        for year in [-9999, 1, 9999] {
            clock.wall_us(Some(LineTime::Civil(date(year, 12, 31).at(23, 59, 59, 0))));
            clock.wall_us(yearless(1, 1));
            clock.wall_us(yearless(12, 31));
        }
        for extreme in [i64::MIN, i64::MAX] {
            clock.wall_us(Some(LineTime::Instant(extreme)));
            clock.wall_us(yearless(2, 30));
            clock.wall_us(Some(LineTime::Boot(extreme)));
        }
    }
}
