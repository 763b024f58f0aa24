//! Reading the history beside the thread that writes it.
//!
//! A connection for each question, without the right to write: it waits for no write, and none waits for it
//! (<https://www.sqlite.org/wal.html>, "Concurrency"). How much one question takes is bounded, whatever is asked for.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, Row, named_params, params};
use serde::{Deserialize, Serialize};

use super::history::ends;
use super::{StoreError, connect};
use crate::event::IncidentId;
use crate::report::firing::Firing;
use crate::report::json;
use crate::report::target::Target;
use crate::time::Wall;

/// Incidents that one question looks at, and the octets of those it gives: a reply of a moment. Who wants more asks again.
const LOOKED_AT: usize = 500;
const OCTETS: usize = 256 * 1024;

/// Bans that are told of one incident; one that answers a whole prefix has more.
const BANS: usize = 16;

/// Which incidents are wanted; what is not said does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sought {
    /// Their latest packet came then or later. What an open incident has come to lately is not written yet, so those are
    /// given in any case, and whoever asks looks at what they are now; likewise with `port`.
    pub since: Option<Wall>,
    /// Their first packet came then or earlier.
    pub until: Option<Wall>,
    /// The id of their rule.
    pub rule: Option<String>,
    /// Their source lies in it, or it lies in their source.
    pub source: Option<Target>,
    /// A destination port among those that are listed of them.
    pub port: Option<u16>,
    /// Those before this one: [`Page::next`] of the page before.
    pub before: Option<i64>,
    /// At most so many; a page may have fewer for other reasons.
    pub most: Option<u32>,
}

/// An incident that is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// The incident as it was told last.
    #[serde(flatten)]
    pub incident: json::Incident,
    /// When it was over; none while it is open.
    pub ended: Option<Wall>,
    /// Whether the daemon ended before it, so that it may have gone on.
    pub interrupted: bool,
    /// The sensor it comes from: `local` for this host.
    pub origin: String,
    /// What was done about it, at most 16 bans, the first one first.
    pub bans: Vec<PastBan>,
}

/// A ban that began, whether or not it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastBan {
    /// When.
    pub time: Wall,
    /// Whom: an address or a prefix.
    pub target: Target,
    /// `ban` or `restrict`.
    pub action: String,
    /// Seconds it was to last, rounded up; none is until it is lifted.
    pub timeout_s: Option<u64>,
    /// When it ended; none while it stands.
    pub ended: Option<Wall>,
    /// Why it ended: `expired`, `unban`, `evicted` or `replaced`.
    pub reason: Option<String>,
    /// Whether the kernel held it; not in watch mode.
    pub enforced: bool,
}

/// A ban of a source, whatever led to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Former {
    /// The ban.
    #[serde(flatten)]
    pub ban: PastBan,
    /// The rule's id, or `manual`.
    pub rule: String,
    /// What led to it; none for a manual ban.
    pub incident: Option<IncidentId>,
}

/// What is kept about a source, each list with the newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Incidents, at most 32.
    pub incidents: Vec<Past>,
    /// How many incidents there are in all; 0 from a daemon that is older.
    #[serde(default)]
    pub incidents_total: u64,
    /// Bans that began, whether or not they stand, at most 32.
    pub bans: Vec<Former>,
    /// The packets behind those incidents and bans: of the latest 16 times that a rule fired.
    pub firings: Vec<Firing>,
}

/// Incidents, and bans, that a record has of one source.
const RECORDED: u32 = 32;

/// How often a rule fired, in a record.
const FIRINGS: usize = 16;

/// A part of what was asked for, the newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Incidents.
    pub incidents: Vec<Past>,
    /// Where the next page begins ([`Sought::before`]); none where there is no more.
    pub next: Option<i64>,
}

/// An open history.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
}

impl Reader {
    /// Opens the state database at `path` for reading. A transaction is begun, so that all answers are of one moment.
    ///
    /// # Errors
    /// Where there is none, or it cannot be read.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.execute_batch("BEGIN")?;
        Ok(Self { connection })
    }

    /// Incidents, the newest first. At most 500 are looked at, and 256 KiB given: a page may be empty and yet not the last.
    ///
    /// # Errors
    /// When the file is damaged, or the disk; of a newer version's file, when that keeps incidents otherwise.
    pub fn incidents(&self, sought: &Sought) -> Result<Page, StoreError> {
        let mut numbers = self.numbers(sought)?;
        let is_last = numbers.len() < LOOKED_AT;
        let mut page = Page::default();
        let mut octets = 0;
        let most = sought.most.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
        let mut rows = self
            .connection
            .prepare("SELECT record, ended_us, interrupted, origin, id FROM incident WHERE number = ?1")?;
        for number in numbers.drain(..) {
            let Some((past, length)) = rows.query_row([number], |row| self.past(row))? else { continue };
            let has_port = |port: u16| past.incident.port_ranges.0.iter().any(|run| run.contains(&port));
            if past.ended.is_none() || sought.port.is_none_or(has_port) {
                octets += length;
                page.incidents.push(past);
            }
            page.next = Some(number);
            if page.incidents.len() >= most || octets >= OCTETS {
                return Ok(page);
            }
        }
        page.next = page.next.filter(|_| !is_last);
        Ok(page)
    }

    /// The numbers of the next incidents to look at. An index holds all that is asked for, so none of the others is read.
    fn numbers(&self, sought: &Sought) -> Result<Vec<i64>, StoreError> {
        let [low, high] = sought.source.map(|Target(net)| ends(net)).map_or([None; 2], |both| both.map(Some));
        let mut statement = self.connection.prepare(
            "SELECT number FROM incident INDEXED BY incident_found WHERE number < :before \
             AND (last_us >= :since OR number IN (SELECT number FROM incident WHERE ended_us IS NULL)) \
             AND first_us <= :until AND (:rule IS NULL OR rule = :rule) \
             AND (:low IS NULL OR (low <= :high AND high >= :low)) ORDER BY number DESC LIMIT :most",
        )?;
        let numbers = statement.query_map(
            named_params! {
                ":before": sought.before.unwrap_or(i64::MAX),
                ":since": sought.since.map_or(i64::MIN, |since| since.0),
                ":until": sought.until.map_or(i64::MAX, |until| until.0),
                ":rule": sought.rule,
                ":low": low,
                ":high": high,
                ":most": i64::try_from(LOOKED_AT).unwrap_or(i64::MAX),
            },
            |row| row.get(0),
        )?;
        Ok(numbers.collect::<Result<_, _>>()?)
    }

    /// One incident and the length of its record; none where it is nothing that this version writes.
    fn past(&self, row: &Row<'_>) -> rusqlite::Result<Option<(Past, usize)>> {
        let record = row.get_ref(0)?.as_str()?;
        let Ok(incident) = serde_json::from_str(record) else { return Ok(None) };
        let past = Past {
            incident,
            ended: row.get::<_, Option<i64>>(1)?.map(Wall),
            interrupted: row.get(2)?,
            origin: row.get(3)?,
            bans: self.bans(row.get(4)?)?,
        };
        Ok(Some((past, record.len())))
    }

    /// The bans that answered an incident.
    fn bans(&self, incident: i64) -> rusqlite::Result<Vec<PastBan>> {
        let mut statement = self.connection.prepare(
            "SELECT since_us, target, measure, timeout_us, ended_us, reason, enforced FROM deed WHERE incident = ?1 \
             ORDER BY number LIMIT ?2",
        )?;
        let most = i64::try_from(BANS).unwrap_or(i64::MAX);
        let bans = statement.query_map(params![incident, most], ban)?;
        bans.filter_map(Result::transpose).collect()
    }

    /// How often the rule of an incident fired, with the packets, the latest first.
    ///
    /// # Errors
    /// When the file is damaged, or the disk.
    pub fn firings(&self, incident: IncidentId) -> Result<Vec<Firing>, StoreError> {
        let mut statement =
            self.connection.prepare("SELECT record FROM packet WHERE incident = ?1 ORDER BY n DESC")?;
        let mut rows = statement.query([incident.0.cast_signed()])?;
        let mut firings = Vec::new();
        while let Some(row) = rows.next()? {
            // What this version does not write, it does not show.
            firings.extend(serde_json::from_str(row.get_ref(0)?.as_str().unwrap_or_default()).ok());
        }
        Ok(firings)
    }

    /// All that is kept about a source: its latest incidents and bans, and the packets behind them.
    ///
    /// # Errors
    /// When the file is damaged, or the disk.
    pub fn of(&self, target: Target) -> Result<Record, StoreError> {
        let sought = Sought { source: Some(target), most: Some(RECORDED), ..Sought::default() };
        let incidents = self.incidents(&sought)?.incidents;
        let mut firings = Vec::new();
        for past in &incidents {
            firings.extend(self.firings(past.incident.id)?);
            firings.truncate(FIRINGS);
        }
        let incidents_total = self.incidents_of(target)?;
        Ok(Record { bans: self.bans_of(target)?, incidents, incidents_total, firings })
    }

    /// How many incidents there are of whatever lies in `target` or holds it.
    fn incidents_of(&self, target: Target) -> Result<u64, StoreError> {
        let counted =
            "SELECT count(*) FROM incident INDEXED BY incident_found WHERE low <= ?2 AND high >= ?1";
        let [low, high] = ends(target.0);
        let number: i64 = self.connection.query_row(counted, params![low, high], |row| row.get(0))?;
        Ok(number.unsigned_abs())
    }

    /// The latest bans of whatever lies in `target` or holds it, the newest first.
    fn bans_of(&self, target: Target) -> Result<Vec<Former>, StoreError> {
        let [low, high] = ends(target.0);
        let mut statement = self.connection.prepare(
            "SELECT since_us, target, measure, timeout_us, ended_us, reason, enforced, rule, incident FROM deed \
             WHERE low <= ?2 AND high >= ?1 ORDER BY number DESC LIMIT ?3",
        )?;
        let bans = statement.query_map(params![low, high, RECORDED], |row| {
            let incident = row.get::<_, Option<i64>>(8)?.map(|id| IncidentId(id.cast_unsigned()));
            Ok(ban(row)?.map(|ban| (ban, row.get(7), incident)))
        })?;
        let bans = bans.filter_map(Result::transpose).map(|former| {
            let (ban, rule, incident) = former?;
            Ok(Former { ban, rule: rule?, incident })
        });
        Ok(bans.collect::<Result<_, rusqlite::Error>>()?)
    }
}

/// A ban; none where it is of nobody.
fn ban(row: &Row<'_>) -> rusqlite::Result<Option<PastBan>> {
    let Ok(target) = row.get_ref(1)?.as_str()?.parse::<Target>() else { return Ok(None) };
    let timeout = row.get::<_, Option<i64>>(3)?.and_then(|us| u64::try_from(us).ok());
    Ok(Some(PastBan {
        time: Wall(row.get(0)?),
        target,
        action: row.get(2)?,
        timeout_s: timeout.map(|us| us.div_ceil(1_000_000)),
        ended: row.get::<_, Option<i64>>(4)?.map(Wall),
        reason: row.get(5)?,
        enforced: row.get(6)?,
    }))
}
