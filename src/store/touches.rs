//! Touches of traps that may still count when the daemon is started anew.

use ipnet::IpNet;
use rusqlite::{Transaction, params};

use super::{Store, StoreError};
use crate::event::IncidentId;
use crate::time::Wall;

/// The table: the incident of a source, as 64 bits with a sign, and when each of a source's traps was last touched, in microseconds by the wall clock since 1970.
pub(super) const TABLE: &str = "
    CREATE TABLE touch (
        source TEXT NOT NULL,
        incident INTEGER NOT NULL,
        port INTEGER NOT NULL,
        last_us INTEGER NOT NULL,
        PRIMARY KEY (source, port)
    ) STRICT, WITHOUT ROWID;
";

/// The traps that a source has touched, as far as they are of use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touches {
    /// Who.
    pub source: IpNet,
    /// Its incident.
    pub incident: IncidentId,
    /// The ports of traps, and when each was last touched.
    pub ports: Vec<(u16, Wall)>,
}

/// Writes these in place of earlier ones of the same sources.
pub(super) fn write(transaction: &Transaction<'_>, touches: &[Touches]) -> Result<(), StoreError> {
    let mut delete = transaction.prepare("DELETE FROM touch WHERE source = ?1")?;
    let mut insert = transaction.prepare("INSERT OR REPLACE INTO touch VALUES (?1, ?2, ?3, ?4)")?;
    for Touches { source, incident, ports } in touches {
        let source = source.to_string();
        delete.execute([&source])?;
        for (port, last) in ports {
            insert.execute(params![source, incident.0.cast_signed(), port, last.0])?;
        }
    }
    Ok(())
}

impl Store {
    /// The touches that were saved, each by itself, and how many rows made no sense.
    ///
    /// # Errors
    /// When the file is damaged, or the disk. Of a newer version's file, when that keeps them otherwise.
    pub fn touches(&self) -> Result<(Vec<Touches>, usize), StoreError> {
        let (mut touches, mut unreadable) = (Vec::new(), 0);
        let mut select = self.connection.prepare("SELECT source, port, last_us, incident FROM touch")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let source = row.get_ref(0)?.as_str().ok().and_then(|text| text.parse().ok());
            match (source, u16::try_from(row.get::<_, i64>(1)?)) {
                (Some(source), Ok(port)) => {
                    let incident = IncidentId(row.get::<_, i64>(3)?.cast_unsigned());
                    touches.push(Touches { source, incident, ports: vec![(port, Wall(row.get(2)?))] });
                }
                _ => unreadable += 1,
            }
        }
        Ok((touches, unreadable))
    }
}
