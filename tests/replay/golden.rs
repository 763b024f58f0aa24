//! Captures of real tools (`tests/data/captures`, made by `make` there), each with what a replay must tell beside it.
//!
//! `UPDATE_GOLDEN=1 cargo test --test replay golden` writes that anew; read the difference before committing it. What
//! must be right whatever the files say is stated here, by the captures' names.

use std::path::PathBuf;

use super::bed::{Told, data, run};

fn captures() -> Vec<(String, PathBuf)> {
    let mut captures: Vec<(String, PathBuf)> = std::fs::read_dir(data("captures"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter_map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            // These are judged in fragments.rs.
            if name.starts_with("fragments-") {
                return None;
            }
            let name = name.strip_suffix(".xz").unwrap_or(name).strip_suffix(".pcap")?.to_owned();
            Some((name, path))
        })
        .collect();
    captures.sort();
    captures
}

/// The rule that a tool's capture must meet; none for honest traffic.
fn rule(name: &str) -> Option<&'static str> {
    let (tool, _) = name.split_once('.').unwrap();
    Some(match tool.strip_suffix("-ipv6").unwrap_or(tool) {
        "nmap-sS" | "nmap-sS-fragments" | "nmap-sS-source-port-53" => "tcp-syn-scan",
        "nmap-sT" => "tcp-port-scan",
        "nmap-sF" => "tcp-fin-scan",
        "nmap-sN" => "tcp-null-scan",
        "nmap-sX" => "tcp-xmas-scan",
        "nmap-sM" => "tcp-maimon-scan",
        "nmap-sA" | "nmap-sW" => "tcp-ack-scan",
        "nmap-sU" => "udp-scan",
        "nmap-synfin" => "tcp-bogus-flags",
        "browser" | "proxy" | "ping" | "dns-open" | "dns-closed" | "late-fins" => return None,
        unknown => panic!("nobody has said what {unknown} is"),
    })
}

fn replay(path: &std::path::Path) -> Told {
    run(&["--json", path.to_str().unwrap()]).done()
}

#[test]
fn golden_captures_are_told_byte_for_byte() {
    let mut wrong = Vec::new();
    for (name, path) in captures() {
        let told = replay(&path).stdout;
        let expected = data("captures").join(&name).with_added_extension("expected");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&expected, &told).unwrap();
        } else if std::fs::read_to_string(&expected).unwrap_or_default() != told {
            wrong.push(format!("{} differs; now it is\n{told}", expected.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.concat());
}

#[test]
fn golden_every_scan_is_one_incident_of_its_rule_and_honest_traffic_none() {
    let captures = captures();
    assert!(captures.len() > 40, "{captures:?}");
    for (name, path) in captures {
        let told = replay(&path);
        let Some(rule) = rule(&name) else {
            assert_eq!(told.rules(), [""; 0], "{name}");
            continue;
        };
        assert_eq!(told.rules(), [rule], "{name}");
        let v6 = name.contains("ipv6");
        let (source, destination) =
            if v6 { ("2001:db8:1::/64", "2001:db8:1::5") } else { ("198.51.100.7", "198.51.100.5") };
        let incident = &told.all("incident")[0];
        assert_eq!(incident["source"], source, "{name}");
        assert_eq!(incident["destinations"], serde_json::json!([destination]), "{name}");
        assert_eq!(told.all("ban").len(), 1, "{name}");
        assert_eq!(told.all("ban")[0]["target"], source, "{name}");
        // Every probe of the scan belongs to it. Of 40 ports nmap's own choice of packets for some may be others'.
        let end = &told.all("incident-end")[0];
        assert!(end["distinct_ports"].as_u64().unwrap() >= 37, "{name}: {end}");
        assert!(end["distinct_ports"].as_u64().unwrap() <= 40, "{name}: {end}");
    }
}

#[test]
fn golden_captures_are_small() {
    let octets: u64 = captures().iter().map(|(_, path)| path.metadata().unwrap().len()).sum();
    assert!(octets < 400_000, "{octets}");
}
