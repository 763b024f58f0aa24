//! Bans and repetitions as rows.
//!
//! A ban ends at a time by the clock that nobody can set, which begins anew with each boot, and by the wall clock, which goes on
//! while the machine is off. Within one boot the first one counts, so what is left is right whatever the wall clock does; after
//! a reboot the other.

use std::time::Duration;

use ipnet::IpNet;
use rusqlite::{Row, Transaction, params};

use super::touches::{self, Touches};
use super::{Store, StoreError};
use crate::decide::{MANUAL, Measure, Standing, State};
use crate::event::IncidentId;
use crate::time::{Stamp, Wall};

/// The tables. Times are microseconds: wall times since 1970, boot times since the boot that `boot` names.
pub(super) const TABLES: &str = "
    CREATE TABLE ban (
        target TEXT PRIMARY KEY,
        measure TEXT NOT NULL,
        rule TEXT NOT NULL,
        reason TEXT,
        incident INTEGER,
        validated INTEGER NOT NULL,
        repetitions INTEGER NOT NULL,
        since_us INTEGER NOT NULL,
        timeout_us INTEGER,
        until_us INTEGER,
        boot TEXT NOT NULL,
        until_boot_us INTEGER
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE repetition (
        target TEXT NOT NULL,
        validated INTEGER NOT NULL,
        times INTEGER NOT NULL,
        last_us INTEGER NOT NULL,
        PRIMARY KEY (target, validated)
    ) STRICT, WITHOUT ROWID;
";

/// Rows of repetitions: as many as are remembered in memory.
const REPETITIONS: i64 = 200_000;

/// A ban that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ban {
    /// Whom.
    pub target: IpNet,
    /// What is dropped.
    pub measure: Measure,
    /// The rule's id, or `manual`.
    pub rule: String,
    /// The administrator's words.
    pub reason: Option<String>,
    /// What led to it.
    pub incident: Option<IncidentId>,
    /// Whether the evidence was validated.
    pub validated: bool,
    /// How many bans the target had before.
    pub repetitions: u32,
    /// When it was decided, by the wall clock.
    pub since: Wall,
    /// How long in all, and when it ends; none is until it is lifted.
    pub end: Option<End>,
}

impl Ban {
    /// Whether a person decided.
    #[must_use]
    pub fn is_manual(&self) -> bool {
        self.rule == MANUAL && self.incident.is_none()
    }
}

/// When a ban ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// How long it is in all.
    pub timeout: Duration,
    /// The end by the wall clock.
    pub wall: Wall,
    /// The end by the time since boot.
    pub boot: Duration,
}

/// How often a target has been banned on one kind of evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repetition {
    /// Whom.
    pub target: IpNet,
    /// Whether on validated evidence.
    pub validated: bool,
    /// How often.
    pub times: u32,
    /// When last, by the wall clock.
    pub last: Wall,
}

/// What has changed since the last time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// Which boot it is.
    pub boot: String,
    /// Whether all bans that are saved are void.
    pub anew: bool,
    /// Bans that stand, in place of earlier ones of the same targets.
    pub bans: Vec<Ban>,
    /// Targets whose bans are over.
    pub over: Vec<IpNet>,
    /// Repetitions, in place of earlier ones of the same targets.
    pub repetitions: Vec<Repetition>,
    /// Repetitions older than this are forgotten.
    pub forgotten: Option<Wall>,
    /// Touches of traps, in place of earlier ones of the same sources.
    pub touches: Vec<Touches>,
    /// Touches older than this are forgotten.
    pub untouched: Option<Wall>,
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Kept {
    /// The bans, each with whether it was saved in this boot.
    pub bans: Vec<(Ban, bool)>,
    /// Repetitions.
    pub repetitions: Vec<Repetition>,
    /// Touches of traps.
    pub touches: Vec<Touches>,
    /// How many rows made no sense.
    pub unreadable: usize,
}

impl Ban {
    /// What there is to save of a ban `now`.
    #[must_use]
    pub fn of(standing: &Standing, now: Stamp) -> Self {
        let end = standing.timeout.zip(standing.until()).map(|(timeout, boot)| {
            let left = microseconds(boot.saturating_sub(now.boot));
            End { timeout, wall: Wall(now.wall_us.saturating_add(left)), boot }
        });
        Self {
            target: standing.target,
            measure: standing.measure,
            rule: standing.rule.clone(),
            reason: standing.reason.clone(),
            incident: standing.incident,
            validated: standing.validated,
            repetitions: standing.before,
            since: Wall::from(standing.since),
            end,
        }
    }

    /// The ban as it stands `now`, in the boot it was saved in or in a later one; none when its time is over.
    #[must_use]
    pub fn standing(self, now: Stamp, same_boot: bool) -> Option<Standing> {
        let (since, timeout) = match self.end {
            None => {
                let age = now.wall_us.saturating_sub(self.since.0);
                (now.boot.saturating_sub(Duration::from_micros(age.try_into().unwrap_or_default())), None)
            }
            Some(End { timeout, wall, boot }) => {
                let left = if same_boot {
                    boot.saturating_sub(now.boot)
                } else {
                    let left = wall.0.saturating_sub(now.wall_us);
                    Duration::from_micros(left.try_into().unwrap_or_default())
                };
                // A clock that is behind must not make it last longer than it was decided to.
                let left = left.min(timeout);
                if left.is_zero() {
                    return None;
                }
                let until = now.boot.saturating_add(left);
                // What began before this boot is taken to have begun with it: its end is what counts.
                let since = until.saturating_sub(timeout);
                (since, Some(until.saturating_sub(since)))
            }
        };
        Some(Standing {
            target: self.target,
            measure: self.measure,
            rule: self.rule,
            reason: self.reason,
            incident: self.incident,
            validated: self.validated,
            before: self.repetitions,
            since: Stamp { boot: since, wall_us: self.since.0 },
            timeout,
            state: State::Held,
        })
    }
}

impl Store {
    /// Reads the bans and repetitions that were saved last; `boot` names the present boot.
    ///
    /// # Errors
    /// When the file is damaged, or the disk. Of a newer version's file, when that keeps bans otherwise.
    pub fn kept(&self, boot: &str) -> Result<Kept, StoreError> {
        let mut kept = Kept::default();
        let mut bans = self.connection.prepare(
            "SELECT target, measure, rule, reason, incident, validated, repetitions, since_us, timeout_us, until_us, \
             until_boot_us, boot FROM ban",
        )?;
        let mut rows = bans.query([])?;
        while let Some(row) = rows.next()? {
            match ban(row)? {
                Some(ban) => {
                    kept.bans.push((ban, row.get_ref(11)?.as_str().is_ok_and(|saved| saved == boot)))
                }
                None => kept.unreadable += 1,
            }
        }
        let mut repetitions =
            self.connection.prepare("SELECT target, times, last_us, validated FROM repetition")?;
        let mut rows = repetitions.query([])?;
        while let Some(row) = rows.next()? {
            let (target, times) = (target(row, 0)?, u32::try_from(row.get::<_, i64>(1)?).ok());
            match target.zip(times) {
                Some((target, times)) => {
                    let (last, validated) = (Wall(row.get(2)?), row.get::<_, i64>(3)? == 1);
                    kept.repetitions.push(Repetition { target, validated, times, last });
                }
                None => kept.unreadable += 1,
            }
        }
        let (touches, unreadable) = match self.touches() {
            // Bans are what a newer version's file is read for.
            Err(_) if self.foreign => Default::default(),
            touches => touches?,
        };
        kept.touches = touches;
        kept.unreadable += unreadable;
        Ok(kept)
    }

    /// Saves what has changed: all of it, or on an error nothing. A newer version's file stays as it is.
    ///
    /// # Errors
    /// When the disk is full or fails, or the file is damaged.
    pub fn keep(&mut self, changes: &Changes) -> Result<(), StoreError> {
        if self.foreign {
            return Ok(());
        }
        // Unlike what is counted, a ban must survive a power loss right after.
        self.connection.pragma_update(None, "synchronous", "FULL")?;
        let transaction = self.connection.transaction()?;
        write(&transaction, changes)?;
        transaction.commit()?;
        self.connection.pragma_update(None, "synchronous", "NORMAL")?;
        Ok(())
    }
}

fn write(transaction: &Transaction<'_>, changes: &Changes) -> Result<(), StoreError> {
    if changes.anew {
        transaction.execute("DELETE FROM ban", [])?;
        transaction.execute("DELETE FROM touch", [])?;
    }
    let mut delete = transaction.prepare("DELETE FROM ban WHERE target = ?1")?;
    for target in &changes.over {
        delete.execute([target.to_string()])?;
    }
    let mut insert = transaction
        .prepare("INSERT OR REPLACE INTO ban VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)")?;
    for ban in &changes.bans {
        insert.execute(params![
            ban.target.to_string(),
            ban.measure.as_str(),
            ban.rule,
            ban.reason,
            ban.incident.map(|incident| incident.0.cast_signed()),
            ban.validated,
            ban.repetitions,
            ban.since.0,
            ban.end.map(|end| microseconds(end.timeout)),
            ban.end.map(|end| end.wall.0),
            changes.boot,
            ban.end.map(|end| microseconds(end.boot)),
        ])?;
    }
    let mut insert = transaction.prepare("INSERT OR REPLACE INTO repetition VALUES (?1, ?2, ?3, ?4)")?;
    for repetition in &changes.repetitions {
        let Repetition { target, validated, times, last } = repetition;
        insert.execute(params![target.to_string(), validated, times, last.0])?;
    }
    touches::write(transaction, &changes.touches)?;
    if let Some(untouched) = changes.untouched {
        transaction.execute("DELETE FROM touch WHERE last_us < ?1", [untouched.0])?;
    }
    if let Some(forgotten) = changes.forgotten {
        transaction.execute("DELETE FROM repetition WHERE last_us < ?1", [forgotten.0])?;
        // Those with the fewest give way, the oldest first, as in memory.
        transaction.execute(
            "DELETE FROM repetition WHERE (target, validated) IN (SELECT target, validated FROM repetition ORDER BY validated, times, last_us \
             LIMIT max(0, (SELECT count(*) FROM repetition) - ?1))",
            [REPETITIONS],
        )?;
    }
    Ok(())
}

pub(super) fn microseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn target(row: &Row<'_>, at: usize) -> Result<Option<IpNet>, StoreError> {
    Ok(row.get_ref(at)?.as_str().ok().and_then(|text| text.parse().ok()))
}

/// One ban; none where it is nothing that this version writes.
fn ban(row: &Row<'_>) -> Result<Option<Ban>, StoreError> {
    let text = |at: usize| row.get::<_, Option<String>>(at);
    let number = |at: usize| row.get::<_, Option<i64>>(at);
    let duration = |at: usize| {
        let us = number(at)?.and_then(|us| u64::try_from(us).ok());
        Ok::<_, rusqlite::Error>(us.map(Duration::from_micros))
    };
    let measure = match text(1)?.as_deref() {
        Some("ban") => Measure::Ban,
        Some("restrict") => Measure::Restrict,
        _ => return Ok(None),
    };
    let (Some(target), Some(rule)) = (target(row, 0)?, text(2)?) else { return Ok(None) };
    let end = match (duration(8)?, number(9)?, duration(10)?) {
        (None, None, None) => None,
        (Some(timeout), Some(wall), Some(boot)) => Some(End { timeout, wall: Wall(wall), boot }),
        _ => return Ok(None),
    };
    Ok(Some(Ban {
        target,
        measure,
        rule,
        reason: text(3)?,
        incident: number(4)?.map(|id| IncidentId(id.cast_unsigned())),
        validated: number(5)? == Some(1),
        repetitions: number(6)?.and_then(|times| times.try_into().ok()).unwrap_or_default(),
        since: Wall(number(7)?.unwrap_or_default()),
        end,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn at(boot_s: u64, wall_s: i64) -> Stamp {
        Stamp { boot: Duration::from_secs(boot_s), wall_us: wall_s * 1_000_000 }
    }

    fn standing(since: Stamp, timeout: Option<Duration>) -> Standing {
        Standing {
            target: "192.0.2.7/32".parse().unwrap(),
            measure: Measure::Restrict,
            rule: "tcp-syn-scan".to_owned(),
            reason: Some("because".to_owned()),
            incident: Some(IncidentId(u64::MAX)),
            validated: false,
            before: 3,
            since,
            timeout,
            state: State::Held,
        }
    }

    /// What is left at `later` of an hour's ban that was decided 100 s after boot and saved 10 s later.
    fn left(later: Stamp, same_boot: bool) -> Option<u64> {
        let hour = standing(at(100, 1_000_000), Some(Duration::from_secs(3600)));
        let again = Ban::of(&hour, at(110, 1_000_010)).standing(later, same_boot)?;
        Some((again.until().unwrap() - later.boot).as_secs())
    }

    #[test]
    fn within_one_boot_what_is_left_is_right_whatever_the_wall_clock_does() {
        let day = DAY.as_secs().cast_signed();
        for set in [0, day, -day] {
            assert_eq!(left(at(700, 1_000_600 + set), true), Some(3000), "{set}");
            assert_eq!(left(at(3_700, 1_000_600 + set), true), None, "{set}");
        }
    }

    #[test]
    fn after_a_reboot_the_wall_clock_counts_and_one_that_is_behind_makes_no_ban_longer() {
        assert_eq!(left(at(20, 1_000_600), false), Some(3000));
        assert_eq!(left(at(20, 1_003_600), false), None);
        assert_eq!(left(at(20, 0), false), Some(3600));
    }

    #[test]
    fn a_wall_clock_that_was_set_while_running_is_made_good_when_all_is_saved_again() {
        let hour = standing(at(100, 1_000_000), Some(Duration::from_secs(3600)));
        let saved = Ban::of(&hour, at(110, 1_000_010 + DAY.as_secs().cast_signed()));
        let rebooted = at(30, 1_000_610 + DAY.as_secs().cast_signed());
        let again = saved.standing(rebooted, false).unwrap();
        assert_eq!((again.until().unwrap() - rebooted.boot).as_secs(), 2990);
        assert_eq!(again.since.wall_us, 1_000_000_000_000, "when it was decided is history");
    }

    #[test]
    fn a_ban_without_an_end_stands_over_reboots_with_all_that_is_known_of_it() {
        let forever = standing(at(100, 1_000_000), None);
        let saved = Ban::of(&forever, at(110, 1_000_010));
        assert_eq!(saved.clone().standing(at(200, 1_000_100), true), Some(forever.clone()));
        let rebooted = saved.standing(at(5, 2_000_000), false).unwrap();
        assert_eq!(rebooted, Standing { since: at(0, 1_000_000), ..forever });
    }
}
