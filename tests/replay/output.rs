//! The form and the order of what a replay tells.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::bed::{Bed, run, run_piped};
use super::wire::{HOME, Link, PORTS, SCANNER, SECOND, START, SYN, Timed, ipv4, pcap, scan, tcp, timed};

/// The names of an object's fields, in the order they stand there.
struct Fields(Vec<String>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Fields;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut names = Vec::new();
                while let Some((name, IgnoredAny)) = map.next_entry()? {
                    names.push(name);
                }
                Ok(Fields(names))
            }
        }
        deserializer.deserialize_map(Names)
    }
}

/// Scans of two sources, so far apart that the first one's incident and ban end before the second begins.
fn two_scans() -> Vec<u8> {
    let mut packets = timed(scan());
    let other = std::net::Ipv4Addr::new(198, 51, 100, 9);
    let probes = PORTS.iter().map(|&port| ipv4(other, HOME, 6, 0, &tcp(40000, port, SYN, &[])));
    packets.extend((START + 1000 * SECOND..).step_by(100_000).zip(probes));
    pcap(Link::Raw, &packets)
}

#[test]
fn json_has_the_promised_fields_in_their_order_and_the_summary_last() {
    let told = Bed::new().replay(two_scans(), &[]).done();
    let mut kinds = Vec::new();
    for line in told.stdout.lines() {
        let Fields(names) = serde_json::from_str(line).unwrap();
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        let kind = event["type"].as_str().unwrap();
        let promised = match kind {
            "incident" => {
                "type id rule source evidence first_seen last_seen time destinations ports distinct_ports \
                 protocols addresses packets bytes distinct_destinations port_ranges source_ports \
                 distinct_source_ports duration_s tool"
            }
            "ban" => "type time target action rule incident timeout_s",
            "incident-end" | "incident-update" => {
                "type incident time rule source packets bytes distinct_ports evidence first_seen last_seen \
                 duration_s destinations distinct_destinations ports port_ranges source_ports \
                 distinct_source_ports protocols addresses tool"
            }
            "ban-end" => "type time target reason",
            "summary" => "type packets undecoded sources incidents bans time_jumps",
            other => panic!("{other}"),
        };
        let promised: Vec<_> = promised.split_whitespace().collect();
        // New ones come at the end.
        assert!(names.starts_with(&promised.iter().map(ToString::to_string).collect::<Vec<_>>()), "{line}");
        kinds.push(kind.to_owned());
    }
    let all = ["incident", "ban", "incident-end", "ban-end", "incident", "ban", "incident-end", "summary"];
    assert_eq!(kinds, all);
}

#[test]
fn an_incident_and_its_ban_tell_what_happened() {
    let told = Bed::new().replay(pcap(Link::Raw, &timed(scan())), &[]).done();
    let expected = [
        serde_json::json!({
            "type": "incident", "rule": "tcp-syn-scan", "source": "192.0.2.7", "evidence": "spoofable",
            "first_seen": "2024-05-07T18:00:00.000000Z", "last_seen": "2024-05-07T18:00:00.700000Z",
            "time": "2024-05-07T18:00:00.700000Z", "destinations": ["203.0.113.5"],
            "ports": [1, 3, 7, 9, 13, 17, 19, 21], "distinct_ports": 8, "protocols": ["tcp"], "addresses": 1,
            "packets": 8, "bytes": 320,
        }),
        serde_json::json!({
            "type": "ban", "time": "2024-05-07T18:00:00.700000Z", "target": "192.0.2.7", "action": "restrict",
            "rule": "tcp-syn-scan", "timeout_s": 600,
        }),
        // The end of the input closes it, at the last packet's time.
        serde_json::json!({
            "type": "incident-end", "time": "2024-05-07T18:00:00.900000Z", "rule": "tcp-syn-scan",
            "source": "192.0.2.7", "packets": 10, "bytes": 400, "distinct_ports": 10,
            "first_seen": "2024-05-07T18:00:00.000000Z", "last_seen": "2024-05-07T18:00:00.900000Z",
            "duration_s": 0.9, "destinations": ["203.0.113.5"], "distinct_destinations": 1, "addresses": 1,
            "ports": [1, 3, 7, 9, 13, 17, 19, 21, 23, 25], "port_ranges": "1,3,7,9,13,17,19,21,23,25",
            "source_ports": [40000], "distinct_source_ports": 1, "tool": null,
        }),
        serde_json::json!({
            "type": "summary", "packets": 10, "undecoded": 0, "sources": 1, "incidents": 1, "bans": 1,
            "time_jumps": 0,
        }),
    ];
    let events = told.events();
    assert_eq!(events.len(), expected.len());
    for (event, expected) in events.iter().zip(&expected) {
        for (field, value) in expected.as_object().unwrap() {
            assert_eq!(&event[field], value, "{field} of {event}");
        }
    }
    assert!(events[0]["id"].is_string() && events[0]["id"] == events[1]["incident"]);
    assert_eq!(events[0]["id"], events[2]["incident"]);
}

#[test]
fn events_come_in_the_order_of_their_times() {
    let told = Bed::new().replay(two_scans(), &[]).done();
    let events = told.events();
    let times: Vec<_> = events.iter().filter_map(|event| event["time"].as_str()).collect();
    assert_eq!(times.len(), events.len() - 1);
    assert!(times.is_sorted(), "{times:?}");
    // Five minutes after the last probe; ten minutes after the ban.
    assert_eq!(told.all("incident-end")[0]["time"], "2024-05-07T18:05:00.900000Z");
    assert_eq!(told.all("ban-end")[0]["time"], "2024-05-07T18:10:00.700000Z");
    assert_eq!(told.all("ban-end")[0]["reason"], "expired");
}

#[test]
fn two_runs_and_every_way_in_give_the_same_octets() {
    // Many sources, for the order of hash tables; some of their incidents and bans end at one moment.
    let mut packets: Timed = Vec::new();
    for number in 0..200 {
        let saddr = std::net::Ipv4Addr::new(198, 18, 0, number);
        let probes = PORTS.iter().map(|&port| ipv4(saddr, HOME, 6, 0, &tcp(40000, port, SYN, &[])));
        let start = START + i64::from(number / 4) * 30 * SECOND;
        packets.extend((start..).step_by(100_000).zip(probes));
    }
    packets.sort_by_key(|(time, _)| *time);
    let capture = pcap(Link::Ethernet, &packets);
    let first = Bed::new().replay(&capture, &[]).done();
    assert_eq!(first.summary("incidents"), 200);
    assert!(first.all("ban-end").len() > 100);
    let events = first.events();
    let times: Vec<_> = events.iter().filter_map(|event| event["time"].as_str()).collect();
    assert!(times.is_sorted(), "{times:?}");
    assert_eq!(Bed::new().replay(&capture, &[]).done().stdout, first.stdout);
    assert_eq!(run_piped(&["--json"], &capture).done().stdout, first.stdout);
    assert_eq!(run_piped(&["--json", "-"], &capture).done().stdout, first.stdout);
    for (name, compressed) in compressions(&capture) {
        assert_eq!(Bed::new().replay(&compressed, &[]).done().stdout, first.stdout, "{name}");
        assert_eq!(run_piped(&["--json"], &compressed).done().stdout, first.stdout, "{name}");
    }
}

fn compressions(octets: &[u8]) -> [(&'static str, Vec<u8>); 3] {
    use std::io::Write as _;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(octets).unwrap();
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 6);
    xz.write_all(octets).unwrap();
    [
        ("gzip", gzip.finish().unwrap()),
        ("xz", xz.finish().unwrap()),
        ("zstd", zstd::stream::encode_all(octets, 3).unwrap()),
    ]
}

#[test]
fn compressed_text_is_text() {
    let log = std::fs::read(super::bed::data("log/classic-syslog.log")).unwrap();
    for (name, compressed) in compressions(&log) {
        assert_eq!(Bed::new().replay(&compressed, &[]).done().summary("packets"), 5, "{name}");
        assert_eq!(run_piped(&["--json"], &compressed).done().summary("packets"), 5, "{name}");
    }
}

#[test]
fn captures_and_logs_in_one_go_share_one_engine_and_one_summary() {
    let bed = Bed::new();
    let capture = bed.file("capture", pcap(Link::Raw, &timed(scan())));
    let log = super::bed::data("log/classic-syslog.log");
    let log = log.to_str().unwrap();
    let told = run(&["--json", "--year", "2024", &capture, log]).done();
    assert_eq!((told.summary("packets"), told.all("summary").len()), (15, 1));
    // March comes after May.
    assert!(told.summary("time_jumps") > 0);
    let piped = std::fs::read(log).unwrap();
    let told = run_piped(&["--json", "--year", "2024", &capture, "-"], &piped).done();
    assert_eq!(told.summary("packets"), 15);
}

#[test]
fn people_get_sentences() {
    let bed = Bed::new();
    let file = bed.file("capture", pcap(Link::Raw, &timed(scan())));
    let told = run(&[&file]).done();
    let lines: Vec<_> = told.stdout.lines().collect();
    assert_eq!(lines.len(), 4, "{}", told.stdout);
    let saddr = SCANNER.to_string();
    assert!(lines[0].starts_with("2024-05-07 18:00:00Z tcp-syn-scan from ") && lines[0].contains(&saddr));
    assert!(lines[1].contains("restricted 192.0.2.7") && lines[1].contains("10m"));
    assert!(lines[2].contains("is over"));
    assert_eq!(lines[3], "10 packets from 1 source: 1 incident, 1 ban");
}

#[test]
fn an_empty_input_is_an_empty_log() {
    for input in ["", "\n\n"] {
        let told = run_piped(&["--json"], input.as_bytes()).done();
        assert_eq!((told.events().len(), told.summary("packets")), (1, 0));
    }
}

#[test]
fn why_shows_the_packets_behind_each_decision_and_changes_nothing_else() {
    let input = two_scans();
    let plain = run_piped(&["--json"], &input).stdout;
    let told = run_piped(&["--json", "--why"], &input).stdout;
    let is_firing = |line: &&str| line.starts_with(r#"{"type":"firing","incident":"#);
    let others: Vec<&str> = told.lines().filter(|line| !is_firing(line)).collect();
    assert_eq!(others, plain.lines().collect::<Vec<_>>());
    let firings: Vec<serde_json::Value> =
        told.lines().filter(is_firing).map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(firings.len(), 2, "{told}");
    let incidents: Vec<serde_json::Value> = plain
        .lines()
        .filter(|line| line.starts_with(r#"{"type":"incident","#))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for (firing, incident) in firings.iter().zip(&incidents) {
        assert_eq!((&firing["incident"], &firing["source"]), (&incident["id"], &incident["source"]));
        assert_eq!(firing["answer"]["did"], "acted");
        let ports: Vec<_> = firing["packets"].as_array().unwrap().iter().map(|one| &one["port"]).collect();
        assert_eq!(ports.len() as u64, incident["packets"].as_u64().unwrap(), "{firing}");
    }
    let text = run_piped(&["--why"], &input).stdout;
    assert_eq!(text.matches(" fired on ").count(), 2, "{text}");
    assert!(text.contains("  TIME ") && text.contains(" tcp SYN "), "{text}");
    assert!(!run_piped(&[], &input).stdout.contains(" fired on "));
}
