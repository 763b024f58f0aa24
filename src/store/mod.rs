//! The state database: what outlives the daemon. `docs/decisions/` says why it is SQLite, and why bundled.
//!
//! One connection, owned by one thread ([`keeper`]): a packet never waits for a disk. Everything in here is worth less than a
//! running daemon. So a file that cannot be read is set aside and a fresh one begun, one that is newer than this program is
//! read and left alone, and what cannot be written is told and tried again.

#![forbid(unsafe_code)]

pub mod bans;
pub mod forget;
pub mod history;
pub mod keeper;
pub mod reader;
mod sightings;
#[cfg(test)]
mod tests;
pub mod touches;

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use self::sightings::Written;
use crate::time::Wall;

/// The file, in the state directory.
pub const FILE: &str = "state.db";

/// What leads from each version of the schema (`user_version`) to the next, from an empty file on. Never change one that
/// was released: add another.
const UPGRADES: &[&str] = &[sightings::TABLE, bans::TABLES, history::TABLES, touches::TABLE];

/// Another program may look into the file (`sqlite3`); a write waits so long for it.
const BUSY: Duration = Duration::from_secs(2);

/// After a large transaction the write-ahead log is cut back to this, in octets.
const LOG_LIMIT: i64 = 4 << 20;

/// Why there is no database to work with.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite says why.
    #[error(transparent)]
    Database(#[from] rusqlite::Error),
    /// The system does not let us.
    #[error(transparent)]
    System(#[from] io::Error),
    /// Each of two would take the other's rows for its own old ones.
    #[error("another nfban has it; give this one a state directory of its own, as `--instance NAME` does")]
    Taken,
    /// What is to be changed is not ours.
    #[error("it is of a newer nfban, and not written")]
    Newer,
    /// What was deleted cannot be cut off the log.
    #[error("another program reads it; ask again when that has ended")]
    Read,
}

impl StoreError {
    /// Whether the file is not, or no longer, a database: it is of no use, and the next one may be.
    fn is_damage(&self) -> bool {
        let Self::Database(error) = self else { return false };
        matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
    }
}

/// An open state database.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    connection: Connection,
    /// Whether a newer version wrote it, so that this one must not.
    foreign: bool,
    written: Written,
    /// Held while the database is: a lock on its directory. SQLite's own are held for as long as a transaction, so that
    /// others can read.
    _lock: File,
}

/// A database, and what people must hear of how it was opened.
#[derive(Debug)]
pub struct Opened {
    /// The database.
    pub store: Store,
    /// Alarms.
    pub alarms: Vec<String>,
}

impl Store {
    /// Opens the database at `path`, or begins one. An older schema is upgraded once a copy of the file is made beside it
    /// (`state.db.schema-N`); a newer one is read and never written; a damaged file is renamed (`state.db.broken-TIME`, the
    /// time being `now`) and a fresh one begun.
    ///
    /// # Errors
    /// When there is no such directory, no permission, or no space, or another process has it open.
    pub fn open(path: &Path, now: Wall) -> Result<Opened, StoreError> {
        Self::open_with(path, now, UPGRADES)
    }

    fn open_with(path: &Path, now: Wall, upgrades: &[&str]) -> Result<Opened, StoreError> {
        let lock = lock(path)?;
        let mut alarms = Vec::new();
        let (connection, foreign) = match try_open(path, upgrades, &mut alarms) {
            Err(error) if error.is_damage() => {
                alarms.push(set_aside(path, now, &error)?);
                try_open(path, upgrades, &mut alarms)?
            }
            opened => opened?,
        };
        let written = Written::default();
        let store = Self { path: path.to_owned(), connection, foreign, written, _lock: lock };
        Ok(Opened { store, alarms })
    }

    /// Closes a damaged file, puts it aside and begins a fresh one. Tells what to alarm people with.
    fn renew(&mut self, now: Wall, cause: &StoreError) -> Result<Vec<String>, StoreError> {
        // Closed first: what that may still write belongs to the damaged file.
        drop(std::mem::replace(&mut self.connection, Connection::open_in_memory()?));
        let mut alarms = vec![set_aside(&self.path, now, cause)?];
        (self.connection, self.foreign) = try_open(&self.path, UPGRADES, &mut alarms)?;
        self.written = Written::default();
        Ok(alarms)
    }
}

/// Keeps others away from the directory of `path` until it is dropped.
fn lock(path: &Path) -> Result<File, StoreError> {
    let directory = File::open(path.parent().unwrap_or(path))?;
    match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(directory),
        Err(Errno::WOULDBLOCK) => Err(StoreError::Taken),
        Err(error) => Err(io::Error::from(error).into()),
    }
}

/// The connection, and whether the file is a newer version's.
fn try_open(
    path: &Path,
    upgrades: &[&str],
    alarms: &mut Vec<String>,
) -> Result<(Connection, bool), StoreError> {
    // SQLite gives its other files the mode of this one.
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    let known = upgrades.len();
    // Whether it is newer is asked without the right to write: even to open it for writing may change it.
    let reader = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let version = version(&reader)?;
    if version > known {
        alarms.push(format!(
            "{} is of a newer nfban (schema {version}; this one knows {known}): it is read and not written, so what is \
             counted and decided now is forgotten at the next stop; install the newer nfban, or move the file away",
            path.display()
        ));
        return Ok((reader, true));
    }
    drop(reader);
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // With a log that is written ahead a commit is one append, readers do not wait, and a process that is killed loses
    // nothing. NORMAL leaves it to the kernel when the log reaches the disk: a power loss takes the last seconds (of what is
    // counted; bans are waited for, in `bans.rs`), and leaves a sound file (https://www.sqlite.org/wal.html, "Performance Considerations").
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "journal_size_limit", LOG_LIMIT)?;
    if version < known {
        upgrade(&mut connection, path, version, upgrades)?;
    }
    history::close_interrupted(&connection)?;
    Ok((connection, false))
}

fn connect(path: &Path, access: OpenFlags) -> Result<Connection, StoreError> {
    // Each connection has one owner: SQLite needs no locks of its own.
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY)?;
    Ok(connection)
}

fn version(connection: &Connection) -> Result<usize, StoreError> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    // Below 0 is nothing we ever wrote.
    Ok(usize::try_from(version).unwrap_or(usize::MAX))
}

fn upgrade(
    connection: &mut Connection,
    path: &Path,
    from: usize,
    upgrades: &[&str],
) -> Result<(), StoreError> {
    if from > 0 {
        back_up(connection, &beside(path, &format!("schema-{from}")))?;
    }
    let transaction = connection.transaction()?;
    for step in upgrades.iter().skip(from) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", i64::try_from(upgrades.len()).unwrap_or(i64::MAX))?;
    transaction.commit()?;
    Ok(())
}

/// Writes a whole copy of the database to `copy`, in place of an earlier one.
fn back_up(connection: &Connection, copy: &Path) -> Result<(), StoreError> {
    // A reader of the copy never sees half of it, and no copy is lost to a disk that is full.
    let unfinished = beside(copy, "new");
    let file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&unfinished)?;
    connection.execute("VACUUM INTO ?1", [unfinished.to_string_lossy()])?;
    file.sync_all()?;
    fs::rename(&unfinished, copy)?;
    Ok(())
}

/// Renames a damaged file with all that belongs to it, and says so.
fn set_aside(path: &Path, now: Wall, cause: &StoreError) -> Result<String, StoreError> {
    let time = now.timestamp().strftime("%Y%m%dT%H%M%SZ").to_string();
    let aside = beside(path, &format!("broken-{time}"));
    for suffix in ["", "-wal", "-shm"] {
        let with = |path: &Path| {
            let mut name = OsString::from(path);
            name.push(suffix);
            PathBuf::from(name)
        };
        match fs::rename(with(path), with(&aside)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(format!(
        "the state database {} is damaged ({cause}): it is kept as {}, and a fresh one is begun. Bans that the kernel \
         holds go on; repetitions, and what was counted of slow scans in earlier runs, are forgotten",
        path.display(),
        aside.display()
    ))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}
