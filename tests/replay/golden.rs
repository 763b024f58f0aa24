//! Captures of real tools (`tests/data/captures`, made by `make` there), each with what a replay must tell beside it.
//!
//! `UPDATE_GOLDEN=1 cargo test --test replay golden` writes that anew; read the difference before committing it. What
//! must be right whatever the files say is stated in `expected.txt` (see `judged`) and here.

use super::bed::data;
use super::judged::cases;

/// The scans of one address of ours from one on its link, 40 ports each.
const OF_FORTY_PORTS: [&str; 12] = [
    "nmap-sS",
    "nmap-sS-fragments",
    "nmap-sS-source-port-53",
    "nmap-sT",
    "nmap-sF",
    "nmap-sN",
    "nmap-sX",
    "nmap-sM",
    "nmap-sA",
    "nmap-sW",
    "nmap-sU",
    "nmap-synfin",
];

#[test]
fn golden_captures_are_told_byte_for_byte() {
    let mut wrong = Vec::new();
    for case in cases() {
        let told = case.replay().stdout;
        let expected = data("captures").join(&case.name).with_added_extension("expected");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&expected, &told).unwrap();
        } else if std::fs::read_to_string(&expected).unwrap_or_default() != told {
            wrong.push(format!("{} differs; now it is\n{told}", expected.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.concat());
}

#[test]
fn golden_a_scan_is_told_and_acted_on_as_a_whole() {
    let mut scans = 0;
    for case in cases() {
        let name = &case.name;
        let (tool, _) = name.split_once('.').unwrap();
        if !OF_FORTY_PORTS.contains(&tool.strip_suffix("-ipv6").unwrap_or(tool)) {
            continue;
        }
        scans += 1;
        let told = case.replay();
        assert!(case.agrees(&told.rules()), "{name}: {:?} and not {}", told.rules(), case.judgement);
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
    assert_eq!(scans, 30);
}

#[test]
fn golden_captures_are_small() {
    let octets: u64 = cases().iter().map(|case| case.path.metadata().unwrap().len()).sum();
    assert!(octets < 1_500_000, "{octets}");
}
