//! The database on a real disk: what comes back, and what happens to a file that is damaged, newer, or too large.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use tempfile::TempDir;

use super::bans::{Ban, Changes, End, Repetition};
use super::keeper::Keeper;
use super::sightings::Recalled;
use super::{FILE, Opened, Store, StoreError, UPGRADES};
use crate::decide::Measure;
use crate::detect::key::SourceKey;
use crate::detect::memory::{Holder, Memory};
use crate::event::IncidentId;
use crate::filter::Class;
use crate::time::{Stamp, Wall};

/// 2026-01-02T03:04:05Z.
pub(super) const NOW: i64 = 1_767_323_045_000_000;

fn now() -> Stamp {
    Stamp { boot: Duration::from_secs(1_000), wall_us: NOW }
}

pub(super) struct Folder(TempDir);

impl Folder {
    pub(super) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    pub(super) fn file(&self) -> PathBuf {
        self.0.path().join(FILE)
    }

    pub(super) fn open(&self) -> Store {
        let Opened { store, alarms } = Store::open(&self.file(), Wall(NOW)).unwrap();
        assert_eq!(alarms, Vec::<String>::new());
        store
    }

    /// The files in it but for the database's own, sorted.
    fn others(&self) -> Vec<String> {
        let names = fs::read_dir(self.0.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.retain(|name| ![FILE, "state.db-wal", "state.db-shm"].contains(&name.as_str()));
        names.sort_unstable();
        names
    }
}

fn memory(number: u32) -> Memory {
    let saddr = if number.is_multiple_of(2) {
        IpAddr::from((0xc000_0200 + number).to_be_bytes())
    } else {
        IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::try_from(number % 65_536).unwrap()])
    };
    Memory {
        holder: Holder::ALL[number as usize % 4],
        key: SourceKey::new(saddr.into(), if number.is_multiple_of(3) { 0 } else { u64::MAX }),
        rules: ["slow-scan", "other"].into_iter().take(1 + number as usize % 2).map(Arc::from).collect(),
        class: Class::ALL[number as usize % Class::ALL.len()],
        accepted: number.is_multiple_of(5),
        saddr,
        daddr: IpAddr::from([203, 0, 113, 5]),
        sport: 40_000,
        dport: u16::try_from(number % 65_536).unwrap(),
        protocol: 6,
        ttl: 57,
        flags: 0x0fff,
        length: u32::MAX,
        raw: number.is_multiple_of(7),
        marks: 3,
        first_us: NOW - 3_600_000_000,
        last_us: NOW - i64::from(number) * 1_000_000,
        packets: u32::MAX,
        bytes: 1 << 40,
    }
}

fn memories(many: u32) -> Vec<Memory> {
    (0..many).map(memory).collect()
}

/// What is saved, in the order of the latest first.
fn saved(store: &Store) -> Vec<Memory> {
    let Recalled { mut memories, unreadable } = store.load().unwrap();
    assert_eq!(unreadable, 0);
    memories.sort_by_key(|memory| -memory.last_us);
    memories
}

#[test]
fn what_was_saved_is_there_for_the_next_process_and_nobody_else_may_read_it() {
    let folder = Folder::new();
    folder.open().save(&memories(100)).unwrap();
    assert_eq!(saved(&folder.open()), memories(100));
    let mode = fs::metadata(folder.file()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let log: i64 = Connection::open(folder.file())
        .unwrap()
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap();
    assert_eq!(log, UPGRADES.len() as i64);
}

#[test]
fn a_snapshot_replaces_the_one_before_and_rewrites_only_what_has_changed() {
    let folder = Folder::new();
    let mut store = folder.open();
    store.save(&memories(100)).unwrap();
    let changes = |store: &Store| store.connection.total_changes();
    let before = changes(&store);
    // The clocks jitter by less than a second.
    let mut next: Vec<_> =
        memories(100).into_iter().map(|memory| Memory { last_us: memory.last_us + 3, ..memory }).collect();
    next.swap(1, 2);
    store.save(&next).unwrap();
    assert_eq!(changes(&store) - before, 0);
    next.remove(0);
    next[0].packets = 7;
    next.push(memory(200));
    store.save(&next).unwrap();
    assert_eq!(changes(&store) - before, 4, "two rows out and two in");
    assert_eq!(saved(&store).len(), 100);
    // What a process finds is no part of what it saves.
    drop(store);
    let mut store = folder.open();
    store.save(&memories(3)).unwrap();
    drop(store);
    assert_eq!(saved(&folder.open()), memories(3));
}

#[test]
fn two_daemons_cannot_have_one_state_directory() {
    let folder = Folder::new();
    let store = folder.open();
    let error = Store::open(&folder.file(), Wall(NOW)).unwrap_err();
    assert!(matches!(error, StoreError::Taken), "{error}");
    drop(store);
    folder.open();
}

#[test]
fn a_killed_process_leaves_its_last_snapshot() {
    let folder = Folder::new();
    let mut store = folder.open();
    store.save(&memories(10)).unwrap();
    // What a killed process leaves: nothing is closed, the log is not written back.
    let copy = Folder::new();
    for name in [FILE, "state.db-wal"] {
        fs::copy(folder.0.path().join(name), copy.0.path().join(name)).unwrap();
    }
    assert_eq!(saved(&copy.open()), memories(10));
}

#[test]
fn a_damaged_file_is_kept_aside_and_a_fresh_one_begun() {
    let folder = Folder::new();
    fs::write(folder.file(), "no database at all, but long enough to be taken for one ".repeat(40)).unwrap();
    let Opened { mut store, alarms } = Store::open(&folder.file(), Wall(NOW)).unwrap();
    assert_eq!(alarms.len(), 1);
    assert!(alarms[0].contains("state.db.broken-20260102T030405Z"), "{alarms:?}");
    assert_eq!(folder.others(), ["state.db.broken-20260102T030405Z"]);
    store.save(&memories(3)).unwrap();
    assert_eq!(saved(&store), memories(3));
}

#[test]
fn a_file_damaged_under_the_daemon_is_replaced_with_all_that_it_knows() {
    let folder = Folder::new();
    let mut store = folder.open();
    store.save(&memories(1_000)).unwrap();
    drop(store);
    let octets = fs::metadata(folder.file()).unwrap().len();
    let store = folder.open();
    let keeper = Keeper::start(store).unwrap();
    // Everything behind the first page, which holds the schema.
    let mut file = fs::read(folder.file()).unwrap();
    assert_eq!(file.len() as u64, octets);
    file[4096..].fill(0xff);
    fs::write(folder.file(), file).unwrap();
    let alarms = keeper.finish(Vec::new(), Vec::new(), memories(1_000), now(), Duration::from_secs(60));
    assert_eq!(alarms.len(), 1, "{alarms:?}");
    assert!(alarms[0].contains("is damaged"), "{alarms:?}");
    assert_eq!(saved(&folder.open()), memories(1_000));
}

#[test]
fn a_newer_file_is_read_and_never_written() {
    let folder = Folder::new();
    folder.open().save(&memories(3)).unwrap();
    let newer = Connection::open(folder.file()).unwrap();
    newer.execute_batch("ALTER TABLE sighting ADD COLUMN colour TEXT; PRAGMA user_version = 70").unwrap();
    drop(newer);
    let before = fs::read(folder.file()).unwrap();
    let Opened { mut store, alarms } = Store::open(&folder.file(), Wall(NOW)).unwrap();
    assert!(alarms[0].contains("schema 70"), "{alarms:?}");
    assert_eq!(saved(&store), memories(3));
    store.save(&memories(9)).unwrap();
    assert_eq!(saved(&store), memories(3));
    drop(store);
    assert_eq!(fs::read(folder.file()).unwrap(), before);
    assert_eq!(folder.others(), Vec::<String>::new());
}

#[test]
fn an_older_file_is_copied_before_it_is_upgraded() {
    let folder = Folder::new();
    folder.open().save(&memories(3)).unwrap();
    let upgrades = [UPGRADES, &["ALTER TABLE sighting ADD COLUMN colour TEXT"]].concat();
    let Opened { store, alarms } = Store::open_with(&folder.file(), Wall(NOW), &upgrades).unwrap();
    assert_eq!(alarms, Vec::<String>::new());
    assert_eq!(saved(&store), memories(3));
    let copy = format!("state.db.schema-{}", UPGRADES.len());
    assert_eq!(folder.others(), [copy.as_str()]);
    let copy = folder.0.path().join(copy);
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    drop(store);
    // The copy is what the older version works with.
    let old = Store::open(&copy, Wall(NOW)).unwrap();
    assert_eq!((saved(&old.store), old.alarms), (memories(3), Vec::new()));
}

#[test]
fn what_an_earlier_version_saved_is_upgraded_with_all_that_is_in_it() {
    // Written by nfban 0.1.0 before it kept incidents: a ban by hand with an end and one without, one for a scan, and five
    // datagrams that count for slow scans.
    let earlier = include_bytes!("../../tests/data/store/schema-2.db");
    let folder = Folder::new();
    fs::write(folder.file(), earlier).unwrap();
    let store = folder.open();
    let kept = store.kept("").unwrap();
    let mut bans: Vec<_> = kept.bans.iter().map(|(ban, _)| (ban.target.to_string(), &*ban.rule)).collect();
    bans.sort_unstable();
    let expected =
        [("192.0.2.9/32", "manual"), ("2001:db8:1:2::/64", "manual"), ("203.0.113.7/32", "udp-scan")];
    assert_eq!(bans, expected.map(|(target, rule)| (target.to_owned(), rule)));
    assert_eq!((kept.repetitions.len(), kept.unreadable, saved(&store).len()), (3, 0, 5));
    let incidents: i64 =
        store.connection.query_row("SELECT count(*) FROM incident", [], |row| row.get(0)).unwrap();
    assert_eq!(incidents, 0);
    assert_eq!(folder.others(), ["state.db.schema-2"]);
    let copy = Connection::open(folder.0.path().join("state.db.schema-2")).unwrap();
    let version: i64 = copy.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, 2);
}

#[test]
fn an_upgrade_that_fails_leaves_the_file_as_it_was() {
    let folder = Folder::new();
    folder.open().save(&memories(3)).unwrap();
    let upgrades = [UPGRADES, &["ALTER TABLE sighting ADD COLUMN colour TEXT; nonsense"]].concat();
    let failed = Store::open_with(&folder.file(), Wall(NOW), &upgrades);
    assert!(matches!(failed, Err(StoreError::Database(_))), "{failed:?}");
    assert_eq!(saved(&folder.open()), memories(3));
}

#[test]
fn a_full_disk_is_one_alarm_and_the_earlier_snapshot_stays() {
    let folder = Folder::new();
    let mut store = folder.open();
    store.save(&memories(3)).unwrap();
    let pages: i64 = store.connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    store.connection.pragma_update(None, "max_page_count", pages).unwrap();
    let keeper = Keeper::start(store).unwrap();
    while !keeper.save(memories(1_000), now()) {}
    let alarms = keeper.finish(Vec::new(), Vec::new(), memories(1_000), now(), Duration::from_secs(60));
    assert_eq!(alarms.len(), 1, "{alarms:?}");
    assert!(alarms[0].contains("full"), "{alarms:?}");
    assert_eq!(saved(&folder.open()), memories(3));
}

#[test]
fn a_row_that_makes_no_sense_is_left_out_and_counted() {
    let folder = Folder::new();
    folder.open().save(&memories(5)).unwrap();
    let other = Connection::open(folder.file()).unwrap();
    for (number, change) in
        ["dport = 70000", "saddr = 'x'", "class = 'x'", "ttl = -1"].into_iter().enumerate()
    {
        other.execute(&format!("UPDATE sighting SET {change} WHERE id = {}", number + 1), []).unwrap();
    }
    let Recalled { memories, unreadable } = folder.open().load().unwrap();
    assert_eq!((memories, unreadable), (vec![memory(4)], 4));
}

#[test]
fn without_a_directory_there_is_no_database() {
    let error = Store::open(&PathBuf::from("/nonexistent/state.db"), Wall(NOW)).unwrap_err();
    assert!(
        matches!(&error, StoreError::System(error) if error.kind() == std::io::ErrorKind::NotFound),
        "{error}"
    );
}

fn ban(number: u32) -> Ban {
    let timeout = Duration::from_secs(3600);
    let end = End { timeout, wall: Wall(NOW + 3_600_000_000), boot: Duration::from_secs(4_600) };
    Ban {
        target: IpAddr::from((0xc000_0200 + number).to_be_bytes()).into(),
        measure: if number.is_multiple_of(2) { Measure::Ban } else { Measure::Restrict },
        rule: "tcp-syn-scan".to_owned(),
        reason: number.is_multiple_of(3).then(|| "it's \"me\"".to_owned()),
        incident: number.is_multiple_of(5).then_some(IncidentId(u64::MAX - u64::from(number))),
        validated: number.is_multiple_of(7),
        repetitions: number,
        since: Wall(NOW),
        end: (!number.is_multiple_of(11)).then_some(end),
    }
}

fn bans(many: u32) -> Changes {
    let repetition = |number| Repetition {
        target: ban(number).target,
        validated: number.is_multiple_of(2),
        times: number,
        last: Wall(NOW),
    };
    Changes {
        boot: "boot".to_owned(),
        bans: (0..many).map(ban).collect(),
        repetitions: (0..many).map(repetition).collect(),
        ..Changes::default()
    }
}

#[test]
fn bans_and_repetitions_are_kept_row_by_row_and_say_in_which_boot() {
    let folder = Folder::new();
    let mut store = folder.open();
    store.keep(&bans(100)).unwrap();
    let over = vec![ban(7).target];
    let again = Ban { repetitions: 9, ..ban(8) };
    let changes = Changes { boot: "later".to_owned(), over, bans: vec![again.clone()], ..Changes::default() };
    store.keep(&changes).unwrap();
    drop(store);
    let mut kept = folder.open().kept("boot").unwrap();
    assert_eq!((kept.bans.len(), kept.repetitions.len(), kept.unreadable), (99, 100, 0));
    kept.bans.sort_by_key(|(ban, _)| ban.target);
    assert_eq!(kept.bans[7], (again, false));
    assert_eq!(kept.bans[8], (ban(9), true));
    // All at once in place of all, and repetitions that are too old go.
    let forgotten = Some(Wall(NOW + 1));
    folder.open().keep(&Changes { anew: true, forgotten, ..bans(3) }).unwrap();
    let kept = folder.open().kept("boot").unwrap();
    assert_eq!((kept.bans.len(), kept.repetitions.len()), (3, 0));
}

#[test]
fn bans_that_make_no_sense_are_left_out_and_counted() {
    let folder = Folder::new();
    folder.open().keep(&bans(5)).unwrap();
    let other = Connection::open(folder.file()).unwrap();
    for (number, change) in
        ["measure = 'x'", "target = 'x'", "until_us = NULL", "timeout_us = -1"].into_iter().enumerate()
    {
        let target = ban(u32::try_from(number).unwrap() + 1).target;
        other.execute(&format!("UPDATE ban SET {change} WHERE target = '{target}'"), []).unwrap();
    }
    let kept = folder.open().kept("boot").unwrap();
    assert_eq!((kept.bans, kept.unreadable), (vec![(ban(0), true)], 4));
}

#[test]
fn whoever_hands_bans_over_hears_that_a_damaged_file_or_a_full_disk_has_lost_some() {
    let folder = Folder::new();
    let mut store = folder.open();
    store.keep(&bans(1)).unwrap();
    let pages: i64 = store.connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    store.connection.pragma_update(None, "max_page_count", pages).unwrap();
    let keeper = Keeper::start(store).unwrap();
    assert!(!keeper.is_incomplete());
    keeper.keep(bans(5_000), now()).unwrap();
    let mut alarms = Vec::new();
    while alarms.is_empty() {
        alarms.extend(keeper.alarms());
    }
    assert!(alarms[0].contains("full") && keeper.is_incomplete(), "{alarms:?}");
    assert!(!keeper.is_incomplete(), "told once");
    keeper.finish(Vec::new(), Vec::new(), Vec::new(), now(), Duration::from_secs(60));

    let store = folder.open();
    let keeper = Keeper::start(store).unwrap();
    let mut file = fs::read(folder.file()).unwrap();
    file[4096..].fill(0xff);
    fs::write(folder.file(), file).unwrap();
    keeper.keep(bans(5_000), now()).unwrap();
    let mut alarms = Vec::new();
    while alarms.is_empty() {
        alarms.extend(keeper.alarms());
    }
    assert!(alarms[0].contains("is damaged"), "{alarms:?}");
    assert!(keeper.finish(Vec::new(), Vec::new(), Vec::new(), now(), Duration::from_secs(60)).is_empty());
    assert_eq!(folder.open().kept("boot").unwrap().bans.len(), 5_000);
}
