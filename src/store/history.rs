//! The history: incidents and bans as rows, for as long as `keep` says.
//!
//! Nothing here is needed to detect or to ban, so it may lag behind and it may be lost; it must not hold up anything. It is
//! written in batches, bounded in rows whatever comes, and read over connections of others' own ([`super::reader`]).

#[cfg(test)]
mod tests;

use std::sync::Arc;

use ipnet::IpNet;
use rusqlite::{Connection, Transaction, params};

use super::{Store, StoreError};
use crate::event::firing::Firing;
use crate::event::{self, BanEndReason};
use crate::report::target::Target;
use crate::report::{self, json};
use crate::time::Wall;

/// The tables. Times are microseconds by the wall clock since 1970, ids are as 64 bits with a sign.
///
/// - `incident`: one row each. `number` counts them as they opened. `record` is the object that is published, with all that
///   is known (`docs/events.md`); the columns are what is looked for. `low` and `high` are the first and last address of the
///   source as 16 octets. `ended_us` is null while it is open, and `interrupted` says that the daemon ended before it.
/// - `packet`: the packets that led to an incident and to the bans in it; `n` counts from 0 how often its rule fired, and
///   `record` is one firing with its packets as a JSON object. They go with their incident, and all of them where
///   `keep: {packets: none}` says so.
/// - `deed`: bans that began, whether or not they stand; `ended_us` is null while they do.
///
/// `origin` names the sensor whose incident or ban it is: [`ORIGIN`] for our own.
pub(super) const TABLES: &str = "
    CREATE TABLE incident (
        number INTEGER PRIMARY KEY,
        id INTEGER NOT NULL UNIQUE,
        rule TEXT NOT NULL,
        low BLOB NOT NULL,
        high BLOB NOT NULL,
        first_us INTEGER NOT NULL,
        last_us INTEGER NOT NULL,
        ended_us INTEGER,
        interrupted INTEGER NOT NULL,
        origin TEXT NOT NULL,
        record TEXT NOT NULL
    ) STRICT;
    -- All that is looked for, so that a search reads none of the records it does not want.
    CREATE INDEX incident_found ON incident (number, rule, low, high, first_us, last_us);
    CREATE INDEX incident_open ON incident (number) WHERE ended_us IS NULL;
    CREATE TABLE packet (
        incident INTEGER NOT NULL,
        n INTEGER NOT NULL,
        time_us INTEGER NOT NULL,
        record TEXT NOT NULL,
        PRIMARY KEY (incident, n)
    ) STRICT, WITHOUT ROWID;
    CREATE TRIGGER incident_gone AFTER DELETE ON incident BEGIN
        DELETE FROM packet WHERE incident = old.id;
    END;
    CREATE TABLE deed (
        number INTEGER PRIMARY KEY,
        target TEXT NOT NULL,
        low BLOB NOT NULL,
        high BLOB NOT NULL,
        measure TEXT NOT NULL,
        enforced INTEGER NOT NULL,
        rule TEXT NOT NULL,
        incident INTEGER,
        origin TEXT NOT NULL,
        since_us INTEGER NOT NULL,
        timeout_us INTEGER,
        ended_us INTEGER,
        reason TEXT
    ) STRICT;
    CREATE INDEX deed_open ON deed (target) WHERE ended_us IS NULL;
    CREATE INDEX deed_incident ON deed (incident);
";

/// Rows of incidents, and of bans. A hundred bytes to some thousand each: 100 MB at the usual size.
const ROWS: i64 = if cfg!(test) { 1_000 } else { 100_000 };

/// The sensor that everything here comes from.
pub const ORIGIN: &str = "local";

/// What happened since the last time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Happened {
    /// Incidents as they were told last, in place of what was told of the same ones before.
    pub incidents: Vec<Told>,
    /// The packets that led to incidents and bans: of `incidents`, or of ones that were handed over before.
    pub firings: Vec<Arc<Firing>>,
    /// Bans that began or ended, in their order.
    pub deeds: Vec<Deed>,
    /// What is to be dropped for its age, from time to time.
    pub tidy: Option<Tidy>,
}

/// An incident so far, or in all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The incident.
    pub incident: event::Incident,
    /// When it was over.
    pub ended: Option<Wall>,
}

/// The beginning or the end of a ban.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// It began. `enforced` is whether the kernel holds it, and not only would.
    Began {
        /// The ban.
        ban: event::Ban,
        /// Not so in watch mode.
        enforced: bool,
    },
    /// It ended.
    Ended(event::BanEnd),
}

/// What is no longer to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tidy {
    /// What was over before this is dropped.
    pub before: Wall,
    /// Whether packets are kept at all.
    pub packets: bool,
}

impl Store {
    /// Adds what happened: all of it, or on an error nothing. A newer version's file stays as it is. The oldest incidents and
    /// bans give way where there are more than 100,000 of either.
    ///
    /// # Errors
    /// When the disk is full or fails, or the file is damaged.
    pub fn add(&mut self, happened: &Happened) -> Result<(), StoreError> {
        if self.foreign {
            return Ok(());
        }
        let transaction = self.connection.transaction()?;
        write_incidents(&transaction, &happened.incidents)?;
        write_packets(&transaction, &happened.firings)?;
        write_deeds(&transaction, &happened.deeds)?;
        for table in ["incident", "deed"] {
            // Numbers have few gaps, so this is as good as counting and asks for no scan.
            transaction.execute(
                &format!("DELETE FROM {table} WHERE number <= (SELECT max(number) FROM {table}) - ?1"),
                [ROWS],
            )?;
        }
        if let Some(Tidy { before, packets }) = happened.tidy {
            transaction
                .execute("DELETE FROM incident WHERE last_us < ?1 AND ended_us IS NOT NULL", [before.0])?;
            transaction.execute("DELETE FROM deed WHERE ended_us < ?1", [before.0])?;
            if !packets {
                transaction.execute("DELETE FROM packet", [])?;
            }
        }
        transaction.commit()?;
        Ok(())
    }
}

/// Ends the incidents that were open when the last process ended, with what was last known of them.
pub(super) fn close_interrupted(connection: &Connection) -> Result<(), StoreError> {
    connection
        .execute("UPDATE incident SET ended_us = last_us, interrupted = 1 WHERE ended_us IS NULL", [])?;
    Ok(())
}

fn write_incidents(transaction: &Transaction<'_>, incidents: &[Told]) -> Result<(), StoreError> {
    let mut insert = transaction.prepare(
        "INSERT INTO incident (id, rule, low, high, first_us, last_us, ended_us, interrupted, origin, record) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, ?8, ?9) ON CONFLICT (id) DO UPDATE SET first_us = excluded.first_us, \
         last_us = excluded.last_us, ended_us = excluded.ended_us, interrupted = 0, record = excluded.record",
    )?;
    for Told { incident, ended } in incidents {
        let [low, high] = ends(incident.source);
        let Ok(record) = serde_json::to_string(&json::Incident::from(incident)) else { continue };
        insert.execute(params![
            incident.id.0.cast_signed(),
            incident.rule,
            low,
            high,
            incident.first_seen.wall_us,
            incident.last_seen.wall_us,
            ended.map(|ended| ended.0),
            ORIGIN,
            record,
        ])?;
    }
    Ok(())
}

fn write_packets(transaction: &Transaction<'_>, firings: &[Arc<Firing>]) -> Result<(), StoreError> {
    let mut insert = transaction.prepare("INSERT OR REPLACE INTO packet VALUES (?1, ?2, ?3, ?4)")?;
    for firing in firings {
        let Ok(record) = serde_json::to_string(&report::firing::Firing::from(&**firing)) else { continue };
        insert.execute(params![
            firing.incident.0.cast_signed(),
            firing.number,
            firing.time.wall_us,
            record
        ])?;
    }
    Ok(())
}

fn write_deeds(transaction: &Transaction<'_>, deeds: &[Deed]) -> Result<(), StoreError> {
    let mut end = transaction
        .prepare("UPDATE deed SET ended_us = ?2, reason = ?3 WHERE target = ?1 AND ended_us IS NULL")?;
    let mut insert = transaction.prepare(
        "INSERT INTO deed (target, low, high, measure, enforced, rule, incident, origin, since_us, timeout_us) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    for deed in deeds {
        match deed {
            Deed::Began { ban, enforced } => {
                let (target, time) = (Target(ban.target).to_string(), ban.time.wall_us);
                // One that is put in place of another ends it without a word.
                end.execute(params![target, time, "replaced"])?;
                let [low, high] = ends(ban.target);
                insert.execute(params![
                    target,
                    low,
                    high,
                    ban.action.as_str(),
                    enforced,
                    ban.rule,
                    ban.incident.map(|id| id.0.cast_signed()),
                    ORIGIN,
                    time,
                    ban.timeout.map(super::bans::microseconds),
                ])?;
            }
            Deed::Ended(over) => {
                let reason = match over.reason {
                    BanEndReason::Expired => "expired",
                    BanEndReason::Unban => "unban",
                    BanEndReason::Evicted => "evicted",
                };
                end.execute(params![Target(over.target).to_string(), over.time.wall_us, reason])?;
            }
        }
    }
    Ok(())
}

/// The first and the last address of a prefix, IPv4 as the mapped addresses of RFC 4291, section 2.5.5.2: so that SQLite
/// compares them as they are ordered.
pub(super) fn ends(net: IpNet) -> [[u8; 16]; 2] {
    let octets = |address| match address {
        std::net::IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        std::net::IpAddr::V6(v6) => v6.octets(),
    };
    [octets(net.network()), octets(net.broadcast())]
}
