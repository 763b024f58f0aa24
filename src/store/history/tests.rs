//! The history on a real disk: what is added, what gives way, and what a crash leaves.

use std::time::Duration;

use super::*;
use crate::decide::Evidence;
use crate::decide::Measure;
use crate::event::firing::{Answer, Counted, What};
use crate::event::{Event, Incident, IncidentId};
use crate::report::text::tests::{examples, stamp};
use crate::store::reader::{Reader, Sought};
use crate::store::tests::Folder;

/// The example incident as the numbered one of its source.
fn incident(number: u64) -> Incident {
    let Some(Event::Incident(incident)) = examples().into_iter().next() else { unreachable!() };
    Incident { id: IncidentId(u64::MAX - number), ..*incident }
}

fn open(number: u64) -> Told {
    Told { incident: incident(number), ended: None }
}

/// What made a rule fire, with text from outside.
fn fired(number: u64, n: u32) -> Arc<Firing> {
    let at = stamp(u64::from(n));
    let line = "GET /\u{1b}[2J\"'; DROP TABLE packet".to_owned();
    Arc::new(Firing {
        incident: incident(number).id,
        rule: "web-probe".to_owned(),
        told_as: "web-probe".to_owned(),
        source: incident(number).source,
        evidence: Evidence::Validated,
        time: at,
        counts: "distinct kinds of probe".to_owned(),
        count: 3,
        threshold: 3,
        window: Duration::from_secs(60),
        packets: vec![Counted {
            first: at,
            last: at,
            packets: 1,
            interface: "eth0".into(),
            saddr: incident(number).source.addr(),
            daddr: None,
            protocol: 6,
            what: What::Request { probe: "dotenv".to_owned(), line, status: 404 },
            ttl: None,
            length: None,
            verdict: None,
        }],
        left_out: 0,
        opened: n == 0,
        number: n,
        answer: Answer::Stands,
    })
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
    for part in 0..4 {
        let numbers = part * 300..(part + 1) * 300;
        store
            .add(&Happened {
                incidents: numbers.clone().map(open).collect(),
                firings: numbers.map(|number| fired(number, 0)).collect(),
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
    let firings = vec![fired(1, 0), fired(3, 0)];
    let young = Incident { last_seen: stamp(60_000_000), ..incident(3) };
    let young = Told { incident: young, ended: Some(stamp(61_000_000).into()) };
    let tidy = |packets| {
        let before = Wall::from(stamp(Duration::from_secs(30).as_micros().try_into().unwrap()));
        Happened { tidy: Some(Tidy { before, packets }), ..Happened::default() }
    };
    store
        .add(&Happened {
            incidents: vec![over(1, 9_000_000), open(2), young],
            firings,
            ..Happened::default()
        })
        .unwrap();
    store.add(&tidy(true)).unwrap();
    assert_eq!(rows(&store, "SELECT id FROM incident ORDER BY number"), "-3\n-4");
    assert_eq!(rows(&store, "SELECT incident FROM packet"), "-4");
    store.add(&tidy(false)).unwrap();
    assert_eq!(rows(&store, "SELECT count(*) FROM packet"), "0");
}

/// What is found of 1,200 incidents with different sources, rules and ports.
fn found(store: &Store, sought: &Sought) -> Vec<u64> {
    let reader = Reader::open(&store.path).unwrap();
    let (mut found, mut sought) = (Vec::new(), sought.clone());
    loop {
        let page = reader.incidents(&sought).unwrap();
        assert!(page.incidents.len() <= 500);
        found.extend(page.incidents.iter().map(|past| u64::MAX - past.incident.id.0));
        sought.before = page.next;
        if page.next.is_none() {
            return found;
        }
    }
}

fn varied() -> (Folder, Store) {
    let folder = Folder::new();
    let mut store = folder.open();
    let told = |number: u64| {
        let at = |seconds: u64| stamp(seconds * 1_000_000);
        let incident = Incident {
            rule: if number.is_multiple_of(3) { "udp-scan" } else { "tcp-syn-scan" }.to_owned(),
            source: match number % 4 {
                0 => format!("2001:db8:{number:x}::/64"),
                1 => "10.0.0.0/24".to_owned(),
                _ => format!("10.0.{}.{}/32", number / 256, number % 256),
            }
            .parse()
            .unwrap(),
            first_seen: at(number),
            last_seen: at(number + 10),
            port_ranges: vec![22..=22, u16::try_from(number).unwrap() + 1000..=2000],
            ..incident(number)
        };
        Told { incident, ended: Some(at(number + 10).into()) }
    };
    store.add(&incidents((0..900).map(told).collect())).unwrap();
    (folder, store)
}

#[test]
fn incidents_are_found_by_time_rule_source_and_port_the_newest_first_and_page_by_page() {
    let (_folder, store) = varied();
    let any = Sought::default();
    assert_eq!(found(&store, &any), (0..900).rev().collect::<Vec<_>>());
    let since = Some(stamp(100_000_000).into());
    let until = Some(stamp(200_000_000).into());
    // Whatever went on at any time between.
    assert_eq!(found(&store, &Sought { since, until, ..any.clone() }), (90..=200).rev().collect::<Vec<_>>());
    let rule = Some("udp-scan".to_owned());
    assert_eq!(found(&store, &Sought { rule, ..any.clone() }).len(), 300);
    let of = |source: &str| {
        let sought = Sought { source: Some(source.parse().unwrap()), ..Sought::default() };
        let mut found = found(&store, &sought);
        found.retain(|number| number % 4 != 1);
        found
    };
    assert_eq!(of("10.0.1.2"), [258]);
    assert_eq!(of("2001:db8:8::1"), [8]);
    assert_eq!(of("10.0.0.0/29"), [7, 6, 3, 2]);
    assert_eq!(of("192.0.2.7"), [0_u64; 0]);
    // A prefix that holds the address is its own incident too.
    let sought = Sought { source: Some("10.0.0.2".parse().unwrap()), ..any.clone() };
    assert_eq!(found(&store, &sought).len(), 1 + 225);
    assert_eq!(found(&store, &Sought { port: Some(22), ..any.clone() }).len(), 900);
    assert_eq!(found(&store, &Sought { port: Some(1004), ..any.clone() }), [4, 3, 2, 1, 0]);
    let page = Reader::open(&store.path).unwrap().incidents(&Sought { most: Some(3), ..any }).unwrap();
    assert_eq!((page.incidents.len(), page.next), (3, Some(898)));
}

#[test]
fn what_is_open_is_given_whatever_it_had_come_to_when_it_was_written() {
    let (_folder, mut store) = varied();
    store.add(&incidents(vec![open(900)])).unwrap();
    let any = Sought::default();
    let late = Some(stamp(905_000_000).into());
    let since = Sought { since: late, ..any.clone() };
    assert_eq!(
        found(&store, &since),
        [900, 899, 898, 897, 896, 895],
        "its latest packet was of the fourth second"
    );
    let port = Sought { port: Some(1004), ..any.clone() };
    assert_eq!(found(&store, &port), [900, 4, 3, 2, 1, 0]);
    // What it is and when it began does not change.
    for wrong in [
        Sought { until: Some(Wall(0)), ..any.clone() },
        Sought { rule: Some("web-probe".into()), ..any.clone() },
        Sought { source: Some("198.51.100.9".parse().unwrap()), ..any },
    ] {
        assert_eq!(found(&store, &wrong), [0_u64; 0]);
    }
}

#[test]
fn a_page_is_bounded_in_octets_and_what_makes_no_sense_is_left_out() {
    let folder = Folder::new();
    let mut store = folder.open();
    let long = |number| {
        let rule = "r".repeat(10_000);
        Told { incident: Incident { rule, ..incident(number) }, ended: None }
    };
    store.add(&incidents((0..100).map(long).collect())).unwrap();
    let page = Reader::open(&store.path).unwrap().incidents(&Sought::default()).unwrap();
    assert!(page.incidents.len() < 30 && page.next.is_some(), "{}", page.incidents.len());
    assert_eq!(found(&store, &Sought::default()).len(), 100);
    store.connection.execute("UPDATE incident SET record = 'x' WHERE number = 100", []).unwrap();
    assert_eq!(found(&store, &Sought::default()).len(), 99);
}

#[test]
fn an_incident_is_read_with_what_was_done_and_its_packets() {
    let folder = Folder::new();
    let mut store = folder.open();
    let Some(Event::Ban(ban)) = examples().into_iter().nth(1) else { unreachable!() };
    let ban = event::Ban { incident: Some(incident(1).id), ..ban };
    store
        .add(&Happened {
            incidents: vec![open(1)],
            firings: vec![fired(1, 1), fired(1, 0)],
            deeds: vec![Deed::Began { ban, enforced: true }],
            tidy: None,
        })
        .unwrap();
    let reader = Reader::open(&store.path).unwrap();
    let page = reader.incidents(&Sought::default()).unwrap();
    let [past] = &page.incidents[..] else { panic!("{page:?}") };
    assert_eq!((past.ended, past.interrupted, &*past.origin), (None, false, "local"));
    let [done] = &past.bans[..] else { panic!("{past:?}") };
    assert_eq!((done.timeout_s, done.action.as_str(), done.enforced), (Some(600), "restrict", true));
    let kept: Vec<_> = [1, 0].map(|n| report::firing::Firing::from(&*fired(1, n))).into_iter().collect();
    assert_eq!(reader.firings(incident(1).id).unwrap(), kept, "the latest first");
    assert_eq!(kept[0].packets[0].request.as_deref(), Some("GET /\u{1b}[2J\"'; DROP TABLE packet"));
    let target = Target(incident(1).source);
    let record = reader.of(target).unwrap();
    assert_eq!((record.incidents.len(), &record.firings), (1, &kept));
    let [former] = &record.bans[..] else { panic!("{record:?}") };
    assert_eq!((former.incident, former.rule.as_str()), (Some(incident(1).id), "tcp-syn-scan"));
    let other = reader.of("203.0.113.77".parse().unwrap()).unwrap();
    assert_eq!(other, crate::store::reader::Record::default(), "of somebody else there is nothing");
    store.connection.execute("UPDATE packet SET record = 'x' WHERE n = 1", []).unwrap();
    assert_eq!(Reader::open(&store.path).unwrap().firings(incident(1).id).unwrap(), kept[1..]);
}

/// Whether the octets stand in the database or in what is written ahead of it.
fn is_in_files(folder: &Folder, octets: &[u8]) -> bool {
    let directory = folder.file().parent().unwrap().to_owned();
    std::fs::read_dir(directory).unwrap().any(|entry| {
        let content = std::fs::read(entry.unwrap().path()).unwrap();
        content.windows(octets.len()).any(|window| window == octets)
    })
}

#[test]
fn who_is_forgotten_is_in_no_octet_of_the_file_and_others_stay() {
    let folder = Folder::new();
    let mut store = folder.open();
    let told = |number: u64, source: &str| {
        let source = source.parse().unwrap();
        Told { incident: Incident { source, ..incident(number) }, ended: None }
    };
    let fired = |number, n, source: &str, senders: &[&str]| {
        let mut firing = (*fired(number, n)).clone();
        firing.source = source.parse().unwrap();
        let packet = firing.packets[0].clone();
        let from = |sender: &&str| Counted { saddr: sender.parse().unwrap(), ..packet.clone() };
        firing.packets = senders.iter().map(from).collect();
        Arc::new(firing)
    };
    let ban = |source: &str| event::Ban {
        time: stamp(0),
        target: source.parse().unwrap(),
        action: Measure::Ban,
        rule: "udp-scan".to_owned(),
        incident: Some(incident(1).id),
        timeout: None,
    };
    let began = |source| Deed::Began { ban: ban(source), enforced: true };
    store
        .add(&Happened {
            // One of the forgotten's, one of another, and one of the prefix around.
            incidents: vec![
                told(1, "198.51.100.77/32"),
                told(2, "203.0.113.9/32"),
                told(3, "198.51.100.0/24"),
            ],
            firings: vec![
                fired(1, 0, "198.51.100.77/32", &["198.51.100.77"]),
                fired(2, 0, "203.0.113.9/32", &["203.0.113.9"]),
                fired(3, 0, "198.51.100.77/32", &["198.51.100.77"]),
                fired(3, 1, "198.51.100.8/32", &["198.51.100.8"]),
                fired(3, 2, "198.51.100.0/24", &["198.51.100.77", "198.51.100.8"]),
            ],
            deeds: vec![began("198.51.100.77/32"), began("203.0.113.9/32")],
            tidy: None,
        })
        .unwrap();
    // Rows that come and go leave their octets behind.
    for number in 100..400 {
        store.add(&incidents(vec![told(number, "198.51.100.77/32")])).unwrap();
    }
    store.connection.execute("DELETE FROM incident WHERE number > 100", []).unwrap();
    let repetition = |target: &str| crate::store::bans::Repetition {
        target: target.parse().unwrap(),
        validated: false,
        times: 1,
        last: Wall(0),
    };
    let changes = crate::store::bans::Changes {
        repetitions: vec![repetition("198.51.100.77/32"), repetition("203.0.113.9/32")],
        ..Default::default()
    };
    store.keep(&changes).unwrap();
    let address = [198, 51, 100, 77];
    assert!(is_in_files(&folder, b"198.51.100.77") && is_in_files(&folder, &address));

    let forgotten = store.forget("198.51.100.77/32".parse().unwrap(), false).unwrap();
    assert_eq!((forgotten.incidents, forgotten.bans, forgotten.copies.len()), (98, 1, 0));
    assert!(!is_in_files(&folder, b"198.51.100.77") && !is_in_files(&folder, &address));
    assert!(is_in_files(&folder, b"203.0.113.9") && is_in_files(&folder, b"198.51.100.8"));
    assert_eq!(rows(&store, "SELECT id FROM incident ORDER BY number"), "-3\n-4");
    assert_eq!(rows(&store, "SELECT incident, n FROM packet ORDER BY incident DESC, n"), "-3 0\n-4 1\n-4 2");
    let kept = Reader::open(&store.path).unwrap().firings(incident(3).id).unwrap();
    let senders: Vec<String> = kept[0].packets.iter().map(|packet| packet.source.to_string()).collect();
    assert_eq!(
        (kept[0].source.to_string(), senders),
        ("198.51.100.0/24".into(), vec!["198.51.100.8".into()])
    );
    assert_eq!(rows(&store, "SELECT target FROM deed"), "203.0.113.9");
    assert_eq!(rows(&store, "SELECT target FROM repetition"), "203.0.113.9/32");
}

#[test]
fn forgetting_names_the_copies_removes_them_where_asked_to_and_waits_for_no_reader() {
    let folder = Folder::new();
    let mut store = folder.open();
    store.add(&incidents(vec![open(1)])).unwrap();
    for name in ["state.db.schema-2", "state.db.broken-20260102T030405Z", "state.db.mine"] {
        std::fs::write(folder.file().with_file_name(name), "").unwrap();
    }
    let net = incident(1).source;
    let copies = store.forget(net, false).unwrap().copies;
    let names: Vec<_> = copies.iter().map(|copy| copy.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["state.db.broken-20260102T030405Z", "state.db.schema-2"]);
    // Only where that is asked for, and no other file.
    let forgotten = store.forget(net, true).unwrap();
    assert_eq!((forgotten.copies, forgotten.removed), (Vec::new(), copies));
    let left = |name: &str| folder.file().with_file_name(name).exists();
    assert_eq!(["state.db.schema-2", "state.db.mine", "state.db"].map(left), [false, true, true]);

    store.add(&incidents(vec![open(1)])).unwrap();
    let reader = Reader::open(&store.path).unwrap();
    assert_eq!(reader.incidents(&Sought::default()).unwrap().incidents.len(), 1);
    // A reader of the old state holds on to the log.
    let error = store.forget(net, false).unwrap_err();
    assert!(error.to_string().contains("another program reads it"), "{error}");
    drop(reader);
    store.forget(net, false).unwrap();
    assert!(!is_in_files(&folder, b"192.0.2.7"));
}
