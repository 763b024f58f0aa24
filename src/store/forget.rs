//! Forgetting somebody for good: rows, what is left of them in the file, and where else they may still be named.

use std::fs;
use std::path::PathBuf;

use ipnet::IpNet;
use rusqlite::{Transaction, params};
use serde_json::Value;

use super::history::ends;
use super::{FILE, Store, StoreError};
use crate::report::target::Target;

/// What was forgotten.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Incidents whose rows are gone.
    pub incidents: u64,
    /// Bans that had ended, whose rows are gone.
    pub bans: u64,
    /// Copies of the database that earlier upgrades or damages left: they are not changed, and may name anybody.
    pub copies: Vec<PathBuf>,
    /// Such copies that were removed.
    pub removed: Vec<PathBuf>,
}

impl Store {
    /// Forgets what is known of sources within `net`, and makes sure that no octet of the file tells of them: it is written
    /// anew, and what was written ahead is cut off. Copies of it are removed where `copies` says so: an old schema cannot be
    /// rewritten by rules of today, nor a damaged file by any.
    ///
    /// # Errors
    /// Where the file is a newer version's; when the disk has no room for a second copy, another program reads the file for
    /// long, or it is damaged. Asking again is safe.
    pub fn forget(&mut self, net: IpNet, copies: bool) -> Result<Forgotten, StoreError> {
        if self.foreign {
            return Err(StoreError::Newer);
        }
        let transaction = self.connection.transaction()?;
        let forgotten = delete(&transaction, net)?;
        transaction.commit()?;
        // Rows of sightings have gone that the next snapshot would take for written.
        self.written = Default::default();
        // A deleted row leaves its octets in free pages and in gaps between rows.
        self.connection.execute_batch("VACUUM")?;
        // And each page it was ever on may be in the log.
        let is_busy: bool =
            self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        if is_busy {
            return Err(StoreError::Read);
        }
        // Only now: until here the file could turn out to be the damaged one.
        let is_removed = |copy: &PathBuf| copies && fs::remove_file(copy).is_ok();
        let (removed, copies) = self.copies().into_iter().partition(is_removed);
        Ok(Forgotten { copies, removed, ..forgotten })
    }

    /// Files beside the database that were copied or renamed from it.
    fn copies(&self) -> Vec<PathBuf> {
        let Some(entries) = self.path.parent().and_then(|directory| fs::read_dir(directory).ok()) else {
            return Vec::new();
        };
        let is_copy = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.strip_prefix(FILE)
                .is_some_and(|rest| rest.starts_with(".schema-") || rest.starts_with(".broken-"))
        };
        let mut copies: Vec<_> = entries.flatten().map(|entry| entry.path()).filter(is_copy).collect();
        copies.sort_unstable();
        copies
    }
}

fn delete(transaction: &Transaction<'_>, net: IpNet) -> Result<Forgotten, StoreError> {
    let [low, high] = ends(net);
    let counted = |changed: usize| u64::try_from(changed).unwrap_or(u64::MAX);
    let within = |table| format!("DELETE FROM {table} WHERE low >= ?1 AND high <= ?2");
    // Their packets go with them.
    let incidents = counted(transaction.execute(&within("incident"), params![low, high])?);
    let bans = counted(transaction.execute(&within("deed"), params![low, high])?);
    delete_packets(transaction, net)?;
    for (table, column) in [
        ("sighting", "saddr"),
        ("sighting", "key"),
        ("ban", "target"),
        ("repetition", "target"),
        ("touch", "source"),
    ] {
        let named: Vec<String> = transaction
            .prepare(&format!("SELECT DISTINCT {column} FROM {table}"))?
            .query_map([], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let mut delete = transaction.prepare(&format!("DELETE FROM {table} WHERE {column} = ?1"))?;
        for name in named.iter().filter(|name| is_within(name, net)) {
            delete.execute([name])?;
        }
    }
    Ok(Forgotten { incidents, bans, ..Forgotten::default() })
}

/// Deletes the packets that sources within `net` sent as part of what a wider prefix did.
fn delete_packets(transaction: &Transaction<'_>, net: IpNet) -> Result<(), StoreError> {
    let [low, high] = ends(net);
    let mut find = transaction.prepare(
        "SELECT incident, n, packet.record FROM packet JOIN incident ON incident.id = packet.incident \
         WHERE low <= ?1 AND high >= ?2",
    )?;
    let mut rows = find.query(params![low, high])?;
    let mut delete = transaction.prepare("DELETE FROM packet WHERE incident = ?1 AND n = ?2")?;
    let mut replace = transaction.prepare("UPDATE packet SET record = ?3 WHERE incident = ?1 AND n = ?2")?;
    let mut changes = Vec::new();
    while let Some(row) = rows.next()? {
        let (incident, n): (i64, i64) = (row.get(0)?, row.get(1)?);
        // What cannot be read might name anybody.
        let mut record = serde_json::from_str(&row.get::<_, String>(2)?).unwrap_or(Value::Null);
        let left = record.is_object() && !names(&record, net);
        let changed = left && strip(&mut record, net);
        if !left || changed {
            changes.push((incident, n, left.then(|| record.to_string())));
        }
    }
    for (incident, n, record) in changes {
        match record {
            Some(record) => replace.execute(params![incident, n, record])?,
            None => delete.execute([incident, n])?,
        };
    }
    Ok(())
}

/// Whether an object is about a source within `net`.
fn names(record: &Value, net: IpNet) -> bool {
    record.get("source").and_then(Value::as_str).is_some_and(|source| is_within(source, net))
}

/// Takes the objects about sources within `net` out of all lists; tells whether there were any.
fn strip(value: &mut Value, net: IpNet) -> bool {
    match value {
        Value::Array(items) => {
            let before = items.len();
            items.retain(|item| !names(item, net));
            let mut changed = items.len() < before;
            items.iter_mut().for_each(|item| changed |= strip(item, net));
            changed
        }
        Value::Object(fields) => {
            let mut changed = false;
            fields.values_mut().for_each(|field| changed |= strip(field, net));
            changed
        }
        _ => false,
    }
}

fn is_within(name: &str, net: IpNet) -> bool {
    name.parse::<Target>().is_ok_and(|Target(known)| net.contains(&known))
}
