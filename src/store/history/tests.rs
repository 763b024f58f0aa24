//! The history on a real disk: what is added, what gives way, and what a crash leaves.

use std::time::Duration;

use super::*;
use crate::decide::Measure;
use crate::event::{Event, Incident};
use crate::report::text::tests::{examples, stamp};
use crate::store::tests::Folder;

/// The example incident as the numbered one of its source.
fn incident(number: u64) -> Incident {
    let Some(Event::Incident(incident)) = examples().into_iter().next() else { unreachable!() };
    Incident { id: IncidentId(u64::MAX - number), ..*incident }
}

fn open(number: u64) -> Told {
    Told { incident: incident(number), ended: None }
}

fn incidents(incidents: Vec<Told>) -> Happened {
    Happened { incidents, ..Happened::default() }
}

/// What the query gives, as text with spaces between columns and one line a row.
fn rows(store: &Store, query: &str) -> String {
    let mut statement = store.connection.prepare(query).unwrap();
    let columns = statement.column_count();
    let mut rows = statement.query([]).unwrap();
    let mut lines = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        let cell = |at| match row.get::<_, rusqlite::types::Value>(at).unwrap() {
            rusqlite::types::Value::Null => "-".to_owned(),
            rusqlite::types::Value::Integer(number) => number.to_string(),
            rusqlite::types::Value::Text(text) => text,
            other => format!("{other:?}"),
        };
        lines.push((0..columns).map(cell).collect::<Vec<_>>().join(" "));
    }
    lines.join("\n")
}

#[test]
fn an_incident_is_one_row_with_all_that_was_told_of_it_last() {
    let folder = Folder::new();
    let mut store = folder.open();
    store.add(&incidents(vec![open(1), open(2)])).unwrap();
    let grown = Incident { packets: 99, last_seen: stamp(9_000_000), ..incident(1) };
    let ended = Some(Wall::from(stamp(10_000_000)));
    store.add(&incidents(vec![Told { incident: grown.clone(), ended }])).unwrap();
    let record: String = store
        .connection
        .query_row("SELECT record FROM incident WHERE number = 1", [], |row| row.get(0))
        .unwrap();
    assert_eq!(serde_json::from_str::<json::Incident>(&record).unwrap(), json::Incident::from(&grown));
    assert_eq!(
        rows(
            &store,
            "SELECT id, rule, last_us - first_us, ended_us IS NULL, interrupted, origin FROM incident"
        ),
        "-2 tcp-syn-scan 9000000 0 0 local\n-3 tcp-syn-scan 3200000 1 0 local"
    );
}

#[test]
fn an_incident_that_a_crash_left_open_is_closed_with_its_last_known_totals() {
    let folder = Folder::new();
    folder.open().add(&incidents(vec![open(1)])).unwrap();
    let mut store = folder.open();
    let row = "SELECT ended_us = last_us, interrupted FROM incident";
    assert_eq!(rows(&store, row), "1 1");
    // The same one found again, as rules with long windows do.
    store.add(&incidents(vec![open(1)])).unwrap();
    assert_eq!(rows(&store, row), "- 0");
}

#[test]
fn a_ban_is_a_row_with_its_end_and_one_that_replaces_another_ends_it() {
    let folder = Folder::new();
    let mut store = folder.open();
    let deeds = |examples: Vec<Event>| {
        let deed = |event| match event {
            Event::Ban(ban) => Some(Deed::Began { ban, enforced: true }),
            Event::BanEnd(end) => Some(Deed::Ended(end)),
            _ => None,
        };
        Happened { deeds: examples.into_iter().filter_map(deed).collect(), ..Happened::default() }
    };
    store.add(&deeds(examples())).unwrap();
    let row = "SELECT target, measure, rule, timeout_us / 1000000, ended_us > since_us, reason FROM deed";
    assert_eq!(
        rows(&store, row),
        "192.0.2.7 restrict tcp-syn-scan 600 1 expired\n2001:db8:1:2::/64 ban manual - - -"
    );
    let first = examples().into_iter().find_map(|event| match event {
        Event::Ban(ban) => Some(Deed::Began { ban, enforced: true }),
        _ => None,
    });
    let Some(Deed::Began { ban, .. }) = &first else { unreachable!() };
    let harder = Deed::Began { ban: event::Ban { action: Measure::Ban, ..ban.clone() }, enforced: true };
    store.add(&Happened { deeds: vec![first.unwrap(), harder], ..Happened::default() }).unwrap();
    let row = "SELECT measure, reason FROM deed WHERE target = '192.0.2.7'";
    assert_eq!(rows(&store, row), "restrict expired\nrestrict replaced\nban -");
}

#[test]
fn the_oldest_give_way_with_their_packets() {
    let folder = Folder::new();
    let mut store = folder.open();
    let packet = |number| Packet {
        incident: incident(number).id,
        n: 0,
        time: stamp(0).into(),
        record: "{}".to_owned(),
    };
    for part in 0..4 {
        let numbers = part * 300..(part + 1) * 300;
        store
            .add(&Happened {
                incidents: numbers.clone().map(open).collect(),
                packets: numbers.map(packet).collect(),
                ..Happened::default()
            })
            .unwrap();
    }
    let counted = "SELECT count(*), min(number), (SELECT count(*) FROM packet) FROM incident";
    assert_eq!(rows(&store, counted), "1000 201 1000");
}

#[test]
fn what_is_too_old_goes_and_what_is_open_stays() {
    let folder = Folder::new();
    let mut store = folder.open();
    let over = |number, after_us| Told { ended: Some(stamp(after_us).into()), ..open(number) };
    let packets = vec![
        Packet { incident: incident(1).id, n: 0, time: stamp(0).into(), record: "{}".to_owned() },
        Packet { incident: incident(3).id, n: 0, time: stamp(0).into(), record: "{}".to_owned() },
    ];
    let young = Incident { last_seen: stamp(60_000_000), ..incident(3) };
    let young = Told { incident: young, ended: Some(stamp(61_000_000).into()) };
    let tidy = |packets| {
        let before = Wall::from(stamp(Duration::from_secs(30).as_micros().try_into().unwrap()));
        Happened { tidy: Some(Tidy { before, packets }), ..Happened::default() }
    };
    store
        .add(&Happened {
            incidents: vec![over(1, 9_000_000), open(2), young],
            packets,
            ..Happened::default()
        })
        .unwrap();
    store.add(&tidy(true)).unwrap();
    assert_eq!(rows(&store, "SELECT id FROM incident ORDER BY number"), "-3\n-4");
    assert_eq!(rows(&store, "SELECT incident FROM packet"), "-4");
    store.add(&tidy(false)).unwrap();
    assert_eq!(rows(&store, "SELECT count(*) FROM packet"), "0");
}
