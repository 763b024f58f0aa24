//! fail2ban's database: who is banned now.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OpenFlags};

use crate::cli::exit::{Exit, Failure};
use crate::import::{Input, LEFT_BANS};

/// How every SQLite database begins (<https://www.sqlite.org/fileformat.html>, section 1.3).
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// More are not taken over by hand.
const MOST: i64 = 10_000;

/// What stands now; a negative time is for ever.
const QUERY: &str =
    "SELECT jail, ip, CASE WHEN bantime < 0 THEN NULL ELSE timeofban + bantime - ?1 END FROM bips
    WHERE bantime < 0 OR timeofban + bantime > ?1 ORDER BY ip, jail LIMIT ?2";

pub(super) fn is_one(path: &Path) -> bool {
    let mut octets = [0; 16];
    File::open(path).and_then(|mut file| file.read_exact(&mut octets)).is_ok_and(|()| octets == *MAGIC)
}

/// Reads it without a chance to change it, whether or not fail2ban runs.
pub(super) fn read(path: &Path) -> Result<Input, Failure> {
    let name = path.display().to_string();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let text = bans(path, i64::try_from(now).unwrap_or(i64::MAX)).map_err(|error| {
        let why = format!("{name}: cannot be read as a database of fail2ban 0.11 or newer: {error}");
        Failure::new(Exit::Unreadable, why)
    })?;
    Ok(Input { name, text })
}

fn bans(path: &Path, now: i64) -> rusqlite::Result<String> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    // Nothing that stands in its schema is run.
    connection.pragma_update(None, "trusted_schema", false)?;
    let mut statement = connection.prepare(QUERY)?;
    let rows = statement.query_map([now, MOST], |row| {
        let left: Option<i64> = row.get(2)?;
        let left = left.map_or("for ever".to_owned(), |left| left.to_string());
        Ok(format!("{}\t{}\t{left}", row.get::<_, String>(0)?, row.get::<_, String>(1)?))
    })?;
    let mut text = format!("{LEFT_BANS}\n");
    for row in rows {
        text += &row?.replace('\n', " ");
        text += "\n";
    }
    Ok(text)
}
