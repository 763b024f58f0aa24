use std::collections::BTreeMap;

use unicode_width::UnicodeWidthStr as _;

use super::super::super::bans::tests::row;
use super::super::address::tests::incident;
use super::*;
use crate::control::protocol::{
    BanCounts, Capture, DroppedCounts, Kernel, Limit, Occupancy, Offender, TopPort, Traps, Verdicts,
};
use crate::packet::Verdict;
use crate::report::golden::golden;
use crate::report::json::Alarm;
use crate::report::rate::PerSecond;

/// Number 1 has done most, and each its own.
fn offender(number: u16) -> Offender {
    let source = match number % 3 {
        0 => format!("2001:db8:{number:x}:beef::/64"),
        1 => format!("192.0.2.{number}"),
        _ => format!("198.51.100.{number}"),
    };
    let ban = (!number.is_multiple_of(4))
        .then(|| row(&source, "tcp-syn-scan", Some(600 - u64::from(number)), None));
    Offender {
        source: source.parse().unwrap(),
        rule: if number.is_multiple_of(5) { "distributed-scan" } else { "tcp-syn-scan" }.into(),
        incidents: number.into(),
        open_incidents: 1,
        packets: 120_000 / u64::from(number),
        dropped: ban.as_ref().map_or(0, |ban| ban.packets),
        port_ranges: "21-23,25,53,80-83,110,143,443,993,1025,3306,5432,8080-8090".parse().unwrap(),
        distinct_ports: 26,
        protocols: vec!["tcp".into()],
        last_seen: Some(Wall(1_767_323_045_000_006)),
        ban,
    }
}

pub(in crate::cli) fn status() -> Status {
    Status {
        version: "0.1.0".into(),
        pid: 4711,
        instance: None,
        mode: Mode::Enforce,
        off: None,
        since: Wall(1_767_323_045_000_006),
        uptime_s: 187_200,
        captures: vec![
            Capture {
                source: "nflog:100".into(),
                verdict: Verdict::Refused,
                packets: 12_345,
                lost: 82_068,
                overruns: 207,
                undecoded: 2,
                verdicts: None,
                packets_per_s: Some(PerSecond(3_200)),
            },
            Capture {
                source: "nflog:101".into(),
                verdict: Verdict::Accepted,
                packets: 9,
                lost: 0,
                overruns: 0,
                undecoded: 0,
                verdicts: None,
                packets_per_s: Some(PerSecond(0)),
            },
        ],
        packets: 12_354,
        evidence: 812,
        undecoded: BTreeMap::from([("tcp header cut off".into(), 2)]),
        tables: [
            ("sources", Occupancy { used: 655, capacity: 65_536, evicted: 0 }),
            ("sources-seen-once", Occupancy { used: 98_304, capacity: 98_304, evicted: 901_696 }),
        ]
        .map(|(name, of)| (name.to_owned(), of))
        .into(),
        open_incidents: 2,
        incidents_total: 41,
        bans: BanCounts { ban: 3, restrict: 38 },
        limits: [
            ("bans", Limit { used: 41, capacity: 100, refused: 0, evicted: 0, reached: false }),
            ("spoofable-bans", Limit { used: 75, capacity: 75, refused: 4, evicted: 1200, reached: true }),
            (
                "spoofable-per-minute",
                Limit { used: 1, capacity: 7500, refused: 0, evicted: 0, reached: false },
            ),
        ]
        .map(|(name, limit)| (name.to_owned(), limit))
        .into(),
        traps: Some(Traps {
            listen: Some(28023),
            ports: 3,
            redirected: 12,
            arrived: 10,
            accepted: 7,
            held: 2,
            taken: vec!["tcp/3389".into()],
            trouble: None,
        }),
        log: crate::log::Fares::default(),
        hooks: crate::hooks::Fares::default(),
        kernel: Kernel {
            table: Some("inet nfban".into()),
            owned: false,
            refused: 1,
            last_error: Some("No space left on device".into()),
            reinstalled: 2,
            connections_ended: 5,
            dropped: Some(DroppedCounts { packets: 48_211, bytes: 2_892_660 }),
        },
        alarms: vec![Alarm {
            time: Wall(1_767_323_045_000_006 + 187_000_000_000),
            what: "the cap of 100000 bans is reached".into(),
        }],
        recent_incidents: vec![incident()],
        recent_bans: vec![row("192.0.2.7", "tcp-syn-scan", Some(581), None)],
        packets_per_s: Some(PerSecond(3_200)),
        evidence_per_s: Some(PerSecond(17)),
        offenders: (1..=30).map(offender).collect(),
        top_ports: [("tcp", 23, 812), ("tcp", 445, 97), ("udp", 53, 12)]
            .map(|(protocol, port, packets)| TopPort { protocol: protocol.into(), port, packets })
            .into(),
    }
}

/// What a terminal of so many columns and lines gets.
fn on(width: u16, height: u16) -> String {
    shown(&status(), Screen { width: Some(width), color: false }, Some(height))
}

fn shown(status: &Status, screen: Screen, height: Option<u16>) -> String {
    let mut out = Vec::new();
    whole(&mut out, status, &Names::default(), screen, height).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn everything_at_once_fits_eighty_columns_and_twenty_four_lines() {
    let shown = on(80, 24);
    golden("status-80x24.txt", &shown);
    // The last line is the prompt's.
    assert!(shown.lines().count() <= 23);
    assert!(shown.lines().all(|line| line.width() <= 80));
}

#[test]
fn a_large_terminal_shows_more() {
    let shown = on(200, 50);
    golden("status-200x50.txt", &shown);
    assert!((45..50).contains(&shown.lines().count()));
    assert!(shown.lines().all(|line| line.width() <= 200));
}

/// A busy gateway: everything that can take a line takes one, and more.
fn crowded() -> Status {
    let mut status = status();
    let capture = status.captures[1].clone();
    status.captures = (0..20)
        .map(|number| Capture {
            source: format!("{}:{}", if number % 4 == 0 { "nfqueue" } else { "nflog" }, 100 + number),
            packets: 1000 + number,
            lost: u64::from(number == 17) * 5,
            verdicts: (number % 4 == 0).then_some(Verdicts {
                accepted: 9,
                dropped: 8,
                dropped_by_kernel: Some(7),
            }),
            ..capture.clone()
        })
        .collect();
    status.undecoded =
        ["tcp header cut off", "udp length", "no network layer", "ip version", "ip header cut off"]
            .map(|reason| (reason.to_owned(), 1_234_567))
            .into();
    let limit = Limit { used: 4096, capacity: 4096, refused: 12, evicted: 100_000, reached: true };
    status.limits = ["bans", "spoofable-bans", "spoofable-per-minute", "ban6_prefix", "restrict6_prefix"]
        .map(|name| (name.to_owned(), limit))
        .into();
    for (at, one) in status.offenders.iter_mut().enumerate() {
        one.source = format!("2001:db8:cafe:{at:x}:1234:5678:9abc:d000/116").parse().unwrap();
    }
    status.log.lost = 12;
    (status.hooks.hooks, status.hooks.told, status.hooks.lost) = (3, 41, 2);
    status.alarms =
        vec![Alarm { what: "the cap of 100000 bans is reached ".repeat(5), ..status.alarms[0].clone() }; 10];
    status.recent_incidents = vec![incident(); 10];
    status.recent_bans = vec![row("2001:db8:cafe::/48", "distributed-scan", Some(581), Some("noisy")); 10];
    status.kernel.last_error = Some("No space left on device ".repeat(9));
    status
}

#[test]
fn a_busy_gateway_fits_as_well_and_what_is_left_out_is_counted() {
    for (width, height) in [(80, 24), (200, 50)] {
        let screen = Screen { width: Some(width), color: false };
        let shown = shown(&crowded(), screen, Some(height));
        golden(&format!("status-crowded-{width}x{height}.txt"), &shown);
        assert!(shown.lines().count() < usize::from(height), "{shown}");
        assert!(shown.lines().all(|line| line.width() <= usize::from(width)), "{shown}");
        assert!(shown.contains("nflog:117") && shown.contains("TOP OFFENDERS"), "{shown}");
        assert!(shown.contains("more: ") && shown.contains("restrict 9m 59s"), "{shown}");
        assert!(shown.contains(if height == 24 { " (and 8 more)" } else { " (and 5 more)" }), "{shown}");
    }
    // Where nobody's terminal sets a limit, nothing is left out.
    let whole = shown(&crowded(), Screen::default(), None);
    assert!(whole.contains("nflog:101") && !whole.contains(" more: "), "{whole}");
    assert_eq!(whole.matches("ALARM").count(), 10);
}

#[test]
fn what_is_no_terminal_gets_everything() {
    let shown = shown(&status(), Screen::default(), None);
    assert_eq!(shown.matches("2001:db8:").count(), 10, "a third of thirty offenders\n{shown}");
    assert!(shown.contains("LATEST BANS"), "{shown}");
    assert!(shown.contains("443, 993 …"), "a bounded part of the ports\n{shown}");
}

#[test]
fn a_daemon_that_is_older_tells_no_rates_and_no_offenders() {
    let mut object = serde_json::to_value(status()).unwrap();
    for new in ["packets_per_s", "evidence_per_s", "offenders", "top_ports"] {
        object.as_object_mut().unwrap().remove(new).unwrap();
    }
    for capture in object["captures"].as_array_mut().unwrap() {
        capture.as_object_mut().unwrap().remove("packets_per_s").unwrap();
    }
    let older: Status = serde_json::from_value(object).unwrap();
    let shown = shown(&older, Screen { width: Some(80), color: false }, Some(24));
    assert!(shown.contains("12345      ?"), "{shown}");
    assert!(!shown.contains("TOP OFFENDERS") && !shown.contains("lately 3"), "{shown}");
}

#[test]
fn hostile_text_in_any_field_stays_text() {
    let mut hostile = status();
    let evil = "\u{1b}[2J\u{202e}\r\n";
    hostile.version = evil.into();
    hostile.offenders[0].rule = evil.into();
    hostile.top_ports[0].protocol = evil.into();
    hostile.alarms[0].what = evil.into();
    hostile.captures[0].source = evil.into();
    hostile.recent_bans[0].reason = Some(evil.into());
    for screen in [Screen::default(), Screen { width: Some(200), color: false }] {
        let shown = shown(&hostile, screen, screen.width);
        assert!(!shown.contains(['\u{1b}', '\u{202e}', '\r']), "{shown:?}");
    }
}

#[test]
fn lists_share_what_room_there_is() {
    for (wanted, free, shares_of) in [
        ([40, 10, 10], None, [40, 10, 10]),
        ([40, 10, 10], Some(11), [5, 2, 0]),
        ([40, 0, 10], Some(11), [9, 0, 0]),
        ([3, 10, 10], Some(40), [3, 10, 10]),
        ([0, 0, 10], Some(9), [0, 0, 7]),
        ([9, 9, 9], Some(6), [1, 1, 0]),
        ([9, 9, 9], Some(5), [3, 0, 0]),
        ([0, 9, 9], Some(4), [0, 2, 0]),
        ([9, 9, 9], Some(1), [0, 0, 0]),
    ] {
        assert_eq!(shares(wanted, free), shares_of, "{wanted:?} {free:?}");
    }
}
