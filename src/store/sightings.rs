//! What is remembered of counting ([`Memory`]), as rows.
//!
//! From one snapshot to the next most rows stay as they are, and a small machine's flash wears out with each page that is
//! written. So only what has changed is: a row is known by a fingerprint of all that it holds.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::quality::RandomState;
use foldhash::{HashMap, HashMapExt as _};
use ipnet::IpNet;
use rusqlite::{Row, Transaction, params};

use super::{Store, StoreError};
use crate::detect::key::SourceKey;
use crate::detect::memory::{Holder, Memory};
use crate::filter::Class;

/// The table, one row for each [`Memory`]. Times are microseconds since 1970; rules are ids with spaces between.
pub(super) const TABLE: &str = "
    CREATE TABLE sighting (
        id INTEGER PRIMARY KEY,
        holder TEXT NOT NULL,
        key TEXT NOT NULL,
        zone INTEGER NOT NULL,
        rules TEXT NOT NULL,
        class TEXT NOT NULL,
        accepted INTEGER NOT NULL,
        saddr TEXT NOT NULL,
        daddr TEXT NOT NULL,
        sport INTEGER NOT NULL,
        dport INTEGER NOT NULL,
        protocol INTEGER NOT NULL,
        ttl INTEGER NOT NULL,
        flags INTEGER NOT NULL,
        length INTEGER NOT NULL,
        raw INTEGER NOT NULL,
        marks INTEGER NOT NULL,
        first_us INTEGER NOT NULL,
        last_us INTEGER NOT NULL,
        packets INTEGER NOT NULL,
        bytes INTEGER NOT NULL
    ) STRICT;
";

const SELECT: &str = "SELECT holder, key, zone, rules, class, accepted, saddr, daddr, sport, dport, protocol, ttl, flags, \
     length, raw, marks, first_us, last_us, packets, bytes FROM sighting";

const INSERT: &str = "INSERT INTO sighting (holder, key, zone, rules, class, accepted, saddr, daddr, sport, dport, protocol, \
     ttl, flags, length, raw, marks, first_us, last_us, packets, bytes) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)";

/// The rows that this process wrote: their ids by their fingerprints. None before the first time.
#[derive(Debug, Default)]
pub(super) struct Written {
    rows: Option<HashMap<u64, i64>>,
    hasher: RandomState,
}

impl Written {
    /// 64 bits, keyed: that two rows have the same is nothing that happens, and nobody outside can bring it about.
    fn fingerprint(&self, memory: &Memory) -> u64 {
        use std::hash::BuildHasher;
        // The two clocks are read one after the other, so a time varies by microseconds from one snapshot to the next.
        let stable = Memory { last_us: memory.last_us.div_euclid(1_000_000), ..memory.clone() };
        self.hasher.hash_one(&stable)
    }
}

/// What was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Recalled {
    /// What is remembered.
    pub memories: Vec<Memory>,
    /// How many rows made no sense.
    pub unreadable: usize,
}

impl Store {
    /// Reads what was saved last.
    ///
    /// # Errors
    /// When the file is damaged, or the disk. Of a newer version's file, when that keeps sightings otherwise.
    pub fn load(&self) -> Result<Recalled, StoreError> {
        let mut statement = self.connection.prepare(SELECT)?;
        let mut rows = statement.query([])?;
        let mut recalled = Recalled::default();
        let mut names = HashMap::new();
        while let Some(row) = rows.next()? {
            match memory(row, &mut names)? {
                Some(memory) => recalled.memories.push(memory),
                None => recalled.unreadable += 1,
            }
        }
        Ok(recalled)
    }

    /// Makes `memories` what is saved: all of it, or on an error nothing. A newer version's file stays as it is.
    ///
    /// # Errors
    /// When the disk is full or fails, or the file is damaged.
    pub fn save(&mut self, memories: &[Memory]) -> Result<(), StoreError> {
        if self.foreign {
            return Ok(());
        }
        let transaction = self.connection.transaction()?;
        let rows = replace(&transaction, memories, &self.written)?;
        transaction.commit()?;
        self.written.rows = Some(rows);
        Ok(())
    }
}

fn replace(
    transaction: &Transaction<'_>,
    memories: &[Memory],
    written: &Written,
) -> Result<HashMap<u64, i64>, StoreError> {
    let mut rows = HashMap::with_capacity(memories.len());
    let mut changed = Vec::new();
    for memory in memories {
        let fingerprint = written.fingerprint(memory);
        match written.rows.as_ref().and_then(|rows| rows.get(&fingerprint)) {
            Some(&id) => {
                rows.insert(fingerprint, id);
            }
            None => changed.push((fingerprint, memory)),
        }
    }
    match &written.rows {
        // What an earlier process left.
        None => {
            transaction.execute("DELETE FROM sighting", [])?;
        }
        Some(before) => {
            let mut delete = transaction.prepare("DELETE FROM sighting WHERE id = ?1")?;
            for (_, id) in before.iter().filter(|(fingerprint, _)| !rows.contains_key(fingerprint)) {
                delete.execute([id])?;
            }
        }
    }
    let mut insert = transaction.prepare(INSERT)?;
    let mut names: HashMap<Arc<[Arc<str>]>, String> = HashMap::new();
    for (fingerprint, memory) in changed {
        if rows.contains_key(&fingerprint) {
            continue;
        }
        let rules = names.entry(Arc::clone(&memory.rules)).or_insert_with(|| memory.rules.join(" "));
        insert.execute(params![
            word(memory.holder),
            memory.key.net().to_string(),
            memory.key.zone().cast_signed(),
            rules.as_str(),
            memory.class.as_str(),
            memory.accepted,
            memory.saddr.to_string(),
            memory.daddr.to_string(),
            memory.sport,
            memory.dport,
            memory.protocol,
            memory.ttl,
            memory.flags,
            memory.length,
            memory.raw,
            memory.marks,
            memory.first_us,
            memory.last_us,
            memory.packets,
            i64::try_from(memory.bytes).unwrap_or(i64::MAX),
        ])?;
        rows.insert(fingerprint, transaction.last_insert_rowid());
    }
    Ok(rows)
}

const fn word(holder: Holder) -> &'static str {
    match holder {
        Holder::Source => "source",
        Holder::Newcomer => "newcomer",
        Holder::Group => "group",
        Holder::LoneGroup => "lone group",
    }
}

/// Sets of rules that were read before, by their text.
type Names = HashMap<String, Arc<[Arc<str>]>>;

/// One row; none where it is nothing that this version writes.
fn memory(row: &Row<'_>, names: &mut Names) -> Result<Option<Memory>, StoreError> {
    let text = |at: usize| {
        Ok::<_, rusqlite::Error>(row.get_ref(at)?.as_str().map_or(Cow::Borrowed(""), Cow::Borrowed))
    };
    let number = |at: usize| row.get::<_, i64>(at);
    let bit = |at: usize| Ok::<_, rusqlite::Error>(number(at)? != 0);
    let (holder, class, rules) = (text(0)?, text(4)?, text(3)?);
    let holder = Holder::ALL.into_iter().find(|&known| word(known) == holder);
    let class = Class::ALL.into_iter().find(|known| known.as_str() == class);
    let net: Option<IpNet> = text(1)?.parse().ok();
    let addresses: [Option<IpAddr>; 2] = [text(6)?.parse().ok(), text(7)?.parse().ok()];
    let ports: [Option<u16>; 3] = [8, 9, 12].map(|at| number(at).ok().and_then(|it| it.try_into().ok()));
    let octets: [Option<u8>; 3] = [10, 11, 15].map(|at| number(at).ok().and_then(|it| it.try_into().ok()));
    let sizes: [Option<u32>; 2] = [13, 18].map(|at| number(at).ok().and_then(|it| it.try_into().ok()));
    let (Some(holder), Some(class), Some(net)) = (holder, class, net) else { return Ok(None) };
    let ([Some(saddr), Some(daddr)], [Some(sport), Some(dport), Some(flags)]) = (addresses, ports) else {
        return Ok(None);
    };
    let ([Some(protocol), Some(ttl), Some(marks)], [Some(length), Some(packets)]) = (octets, sizes) else {
        return Ok(None);
    };
    let rules = match names.get(&*rules) {
        Some(known) => Arc::clone(known),
        None => {
            let ids: Arc<[Arc<str>]> = rules.split(' ').map(Arc::from).collect();
            names.insert(rules.into_owned(), Arc::clone(&ids));
            ids
        }
    };
    Ok(Some(Memory {
        holder,
        key: SourceKey::new(net, number(2)?.cast_unsigned()),
        rules,
        class,
        accepted: bit(5)?,
        saddr,
        daddr,
        sport,
        dport,
        protocol,
        ttl,
        flags,
        length,
        raw: bit(14)?,
        marks,
        first_us: number(16)?,
        last_us: number(17)?,
        packets,
        bytes: u64::try_from(number(19)?).unwrap_or_default(),
    }))
}
