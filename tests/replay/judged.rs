//! What a person says of each capture of `tests/data/captures` (`expected.txt` there), and that a replay says it too.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::bed::{Told, data, run};

/// A capture and what is to be told of it.
pub struct Case {
    pub name: String,
    pub path: PathBuf,
    /// As written.
    pub judgement: String,
    incidents: Vec<Incident>,
    /// Of `nfban replay`, besides the capture.
    arguments: Vec<String>,
}

#[derive(Clone)]
struct Incident {
    /// Either is right.
    rules: Vec<String>,
    /// A known false alarm: better if it is not told.
    known_false: bool,
}

impl Case {
    pub fn replay(&self) -> Told {
        let mut arguments = vec!["--json", self.path.to_str().unwrap()];
        arguments.extend(self.arguments.iter().map(String::as_str));
        run(&arguments).done()
    }

    /// Whether each expected incident can be given one of these, and none is left over.
    pub fn agrees(&self, told: &[String]) -> bool {
        let mut left = told.to_vec();
        // Where several names are right, those are asked last.
        let mut expected: Vec<&Incident> = self.incidents.iter().collect();
        expected.sort_by_key(|incident| incident.rules.len());
        expected.iter().all(|incident| {
            let found = left.iter().position(|rule| incident.rules.contains(rule));
            found.map(|place| left.remove(place)).is_some() || incident.known_false
        }) && left.is_empty()
    }
}

/// The captures that `expected.txt` names, in the order of their names.
pub fn cases() -> Vec<Case> {
    let text = std::fs::read_to_string(data("captures/expected.txt")).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let mut cases: Vec<Case> = lines.map(case).collect();
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases
}

fn case(line: &str) -> Case {
    let mut words = line.split_whitespace();
    let (Some(name), Some(incidents)) = (words.next(), words.next()) else {
        panic!("no capture and what is expected of it: {line}");
    };
    let file = |name: &str| Some(data("captures").join(name)).filter(|path| path.is_file());
    Case {
        name: name.to_owned(),
        path: [".pcap", ".pcap.xz"]
            .into_iter()
            .find_map(|ending| file(&format!("{name}{ending}")))
            .unwrap_or_else(|| panic!("{name} was not captured")),
        judgement: incidents.to_owned(),
        incidents: incidents.split(',').filter(|&incident| incident != "none").flat_map(incident).collect(),
        arguments: words
            .map(|word| file(word).map_or_else(|| word.to_owned(), |path| path.to_str().unwrap().to_owned()))
            .collect(),
    }
}

/// `tcp-fin-scan`, `4*tcp-syn-scan`, `host-sweep|tcp-port-scan`, `udp-scan?`.
fn incident(text: &str) -> Vec<Incident> {
    let (times, names) = text.split_once('*').unwrap_or(("1", text));
    let (names, known_false) = names.strip_suffix('?').map_or((names, false), |names| (names, true));
    let rules = names.split('|').map(str::to_owned).collect();
    vec![Incident { rules, known_false }; times.parse().unwrap()]
}

#[test]
fn every_capture_is_judged_once() {
    let judged: Vec<String> = cases().into_iter().map(|case| case.name).collect();
    let distinct: BTreeSet<String> = judged.iter().cloned().collect();
    assert_eq!(judged.len(), distinct.len(), "a capture is judged twice");
    let captured: BTreeSet<String> = std::fs::read_dir(data("captures"))
        .unwrap()
        .filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let name = name.strip_suffix(".xz").unwrap_or(&name);
            name.strip_suffix(".pcap").map(str::to_owned)
        })
        .collect();
    assert_eq!(captured, distinct);
}

#[test]
fn golden_every_scan_is_one_incident_of_its_rule_and_honest_traffic_none() {
    let mut wrong = String::new();
    for case in cases() {
        let told = case.replay().rules();
        if !case.agrees(&told) {
            wrong += &format!("{}: {told:?} and not {}\n", case.name, case.judgement);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
