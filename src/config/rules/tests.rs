//! The shipped rules are those of the manual, and files replace and switch them as it says.

use super::*;
use crate::packet::Fault;

/// Loads the shipped rules and these files behind them.
fn with_files(files: &[(&str, &str)]) -> Result<Vec<Rule>, Problems> {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    load(SHIPPED, directory.path())
}

fn with(text: &str) -> Result<Vec<Rule>, Problems> {
    with_files(&[("50-own.yaml", text)])
}

fn rule<'r>(rules: &'r [Rule], id: &str) -> &'r Rule {
    rules.iter().find(|rule| rule.id == id).unwrap()
}

/// A rule in one line: what it matches, counts, and when it fires.
fn line(rule: &Rule) -> String {
    let words = |words: Vec<&str>| words.join(" ");
    let classes = words(rule.filter.class.iter().map(|class| class.as_str()).collect());
    let verdicts = match rule.filter.verdict.as_slice() {
        [Verdict::Refused, Verdict::Invalid, Verdict::Undecided] => String::new(),
        [Verdict::Refused, Verdict::Invalid, Verdict::Undecided, Verdict::Accepted] => {
            " +accepted".to_owned()
        }
        [only] => format!(" {}", only.as_str()),
        _ => " ?".to_owned(),
    };
    let counts = match &rule.count {
        Count::Packets => "packets".to_owned(),
        Count::Bytes => "bytes".to_owned(),
        Count::Distinct { fields, weights } => {
            let Fields { dport, daddr, saddr, protocol } = *fields;
            let named = [(dport, "dport"), (daddr, "daddr"), (saddr, "saddr"), (protocol, "protocol")];
            let mut counts = words(named.iter().filter(|(is, _)| *is).map(|(_, name)| *name).collect());
            if !weights.ports.is_empty() {
                counts += " W";
            }
            counts
        }
    };
    let per = match rule.per {
        Key::Source => String::new(),
        Key::Pair => " per pair".to_owned(),
        Key::Prefix { ipv4, ipv6 } => format!(" per /{} /{}", ipv4.unwrap(), ipv6.unwrap()),
    };
    let mut line = format!(
        "{}: {classes}{verdicts}, {counts}{per} {} in {}",
        rule.id,
        rule.threshold,
        rule.window.as_secs()
    );
    let mut more = |present: bool, text: String| line += if present { text.as_str() } else { "" };
    more(rule.from_at_least > 1, format!(", from {}", rule.from_at_least));
    more(rule.closed_at_least > 0, format!(", closed {}", rule.closed_at_least));
    let Fields { dport, daddr, .. } = rule.for_each;
    more(dport, ", each port".to_owned());
    more(daddr, ", each host".to_owned());
    more(rule.quiet.is_some(), format!(", quiet {}", rule.quiet.unwrap_or_default().as_secs()));
    more(rule.respond.is_some(), format!(", {:?}", rule.respond).replace("Some", ""));
    for name in [&rule.report_as, &rule.raw_id] {
        more(name.is_some(), format!(", {}", name.as_deref().unwrap_or_default()));
    }
    line
}

/// `docs/detection.md` has these lines as a table.
const TABLE: &str = "\
trap-port: syn accepted, dport 2 in 3600
tcp-bogus-flags: bogus, dport 3 in 60
tcp-null-scan: null, dport 3 in 60
tcp-fin-scan: fin, dport 3 in 60
tcp-xmas-scan: xmas, dport 3 in 60
tcp-flag-mix: bogus null fin xmas, dport 4 in 60, tcp-port-scan
tcp-maimon-scan: finack, dport W 24 in 60
tcp-ack-scan: ack, dport W 24 in 60
distributed-scan: syn, dport W 24 in 300, from 4
tcp-port-scan: syn +accepted, dport W 24 in 300, closed 3, tcp-syn-scan
tcp-probe-mix: bogus null fin xmas finack ack syn, dport W 36 in 60, tcp-port-scan
tcp-grid-scan: syn, dport daddr 30 in 60, tcp-port-scan, tcp-syn-scan
udp-scan: udp, dport W 24 in 60
udp-grid-scan: udp, dport daddr 30 in 60, udp-scan
udp-data-scan: udp, dport 48 in 60, udp-scan
ip-protocol-scan: proto, protocol 4 in 60
host-sweep: syn udp echo ack probe bogus null fin xmas +accepted, daddr 10 in 60, closed 1
open-port-sweep: syn accepted, daddr 32 in 60, host-sweep
open-web-sweep: syn accepted, daddr 128 in 60, host-sweep
query-sweep: probe, daddr 3 in 60, (Log), host-sweep
distributed-port-scan: syn udp bogus null fin xmas, dport W per /24 /48 48 in 300, from 4, distributed-scan
distributed-sweep: syn udp echo bogus null fin xmas, daddr per /24 /48 32 in 60, from 4, distributed-scan
distributed-address-scan: syn +accepted, saddr 256 in 60, distributed-scan
icmp-probe: probe, packets 3 in 60, each host, (Log)
icmp-smurf: smurf, packets 10 in 10, (Log)
icmp-ping-flood: echo, packets 300 in 10
udp-flood: udp trace, packets 1000 in 10
syn-flood: syn +accepted, packets 1000 in 10
knock-flood: syn, packets 10000 in 10, syn-flood
connection-flood: syn accepted, packets 5000 in 10, syn-flood
fragment-attack: fragment fragment, packets 3 in 60
tiny-fragments: fragment fragment, packets 64 in 60, fragment-attack
duplicate-fragments: fragment fragment, packets 100 in 60, fragment-attack
slow-scan: syn udp bogus null fin xmas, dport 20 in 604800
traceroute: trace echo, packets 3 in 30, each host, quiet 600, (Log)
traceroute-port: syn udp ack fin +accepted, packets 3 in 30, each port, each host, quiet 600, (Log), traceroute
outbound-flag-scan: bogus null fin xmas outbound, dport 3 in 60, (Log), outbound-scan
outbound-scan: syn udp outbound, dport W per pair 300 in 60, (Log)
outbound-host-sweep: syn udp outbound, daddr 60 in 60, (Log), outbound-scan
";

#[test]
fn the_shipped_rules_are_the_table_of_the_manual_in_its_order() {
    let rules = with_files(&[]).unwrap();
    assert!(rules.iter().all(|rule| rule.enabled));
    assert_eq!(rules.iter().map(|rule| line(rule) + "\n").collect::<String>(), TABLE);
}

#[test]
fn the_parts_that_narrow_a_shipped_rule_are_those_of_the_manual() {
    let narrowed: Vec<(String, Filter)> = with_files(&[])
        .unwrap()
        .into_iter()
        .map(|rule| (rule.id, Filter { class: Vec::new(), verdict: Vec::new(), ..rule.filter }))
        .filter(|(_, filter)| !filter.is_empty())
        .collect();
    let named: Vec<&str> = narrowed.iter().map(|(id, _)| id.as_str()).collect();
    let expected = "trap-port distributed-scan tcp-port-scan udp-scan udp-grid-scan host-sweep open-port-sweep open-web-sweep distributed-port-scan distributed-sweep distributed-address-scan syn-flood \
                    knock-flood connection-flood fragment-attack tiny-fragments duplicate-fragments slow-scan traceroute traceroute-port outbound-host-sweep";
    assert_eq!(named.join(" "), expected);
    let of = |id: &str| narrowed.iter().find(|(of, _)| of == id).map(|(_, filter)| filter.clone()).unwrap();
    assert_eq!(of("trap-port"), Filter { dport_traps: true, ..Filter::default() });
    let all6 = Filter { saddr: vec!["::/0".parse().unwrap()], ..Filter::default() };
    assert_eq!((of("distributed-scan"), of("distributed-address-scan")), (all6.clone(), all6));
    let connected = Filter { verdict: vec![Verdict::Accepted], raw: Some(false), ..Filter::default() };
    assert_eq!(of("tcp-port-scan"), Filter { not: vec![connected], ..Filter::default() });
    let raw = ["syn-flood", "knock-flood", "connection-flood"].map(|id| of(id).raw);
    assert_eq!(raw, [Some(true), Some(false), Some(false)]);
    let web = of("open-web-sweep");
    assert!(!web.dport.is_empty());
    assert_eq!(
        of("open-port-sweep"),
        Filter { not: vec![web], ..Filter::default() },
        "one begins where the other ends"
    );
    let faults = |id: &str| of(id).fault;
    assert_eq!(
        [faults("fragment-attack"), faults("tiny-fragments"), faults("duplicate-fragments")].concat(),
        [Fault::Overlap, Fault::Oversized, Fault::Tiny, Fault::Duplicate]
    );
}

#[test]
fn every_incident_is_told_under_a_name_of_the_catalogue() {
    const CATALOGUE: [&str; 22] = [
        "tcp-port-scan",
        "tcp-syn-scan",
        "tcp-fin-scan",
        "tcp-null-scan",
        "tcp-xmas-scan",
        "tcp-maimon-scan",
        "tcp-ack-scan",
        "tcp-bogus-flags",
        "syn-flood",
        "udp-scan",
        "udp-flood",
        "ip-protocol-scan",
        "icmp-ping-flood",
        "icmp-smurf",
        "icmp-probe",
        "traceroute",
        "fragment-attack",
        "host-sweep",
        "slow-scan",
        "distributed-scan",
        "trap-port",
        "outbound-scan",
    ];
    let rules = with_files(&[]).unwrap();
    let told: std::collections::BTreeSet<&str> = rules
        .iter()
        .flat_map(|rule| [Some(rule.report_as.as_deref().unwrap_or(&rule.id)), rule.raw_id.as_deref()])
        .flatten()
        .collect();
    assert_eq!(told, CATALOGUE.into_iter().collect());
}

#[test]
fn all_weighted_rules_weigh_ports_alike() {
    let rules = with_files(&[]).unwrap();
    let weights = |id| match &rule(&rules, id).count {
        Count::Distinct { weights, .. } => weights.clone(),
        _ => panic!("{id} counts values"),
    };
    let probed = weights("tcp-ack-scan");
    assert_eq!(probed.rest, 2);
    let [attacked] = &probed.ports[..] else { panic!("one weight besides the rest") };
    assert!(attacked.weight == 3 && attacked.traps);
    let weighs_3 = |port: u16| attacked.ports.iter().any(|range| range.contains(&port));
    assert!([0, 22, 1023, 3389, 5984, 5986, 8080, 27017].into_iter().all(weighs_3));
    assert!(![1024, 5983, 5987, 65535].into_iter().any(weighs_3));
    // The 1,024 privileged ports, and the list of the manual with its one range of three.
    assert_eq!((0..=u16::MAX).filter(|port| weighs_3(*port)).count(), 1024 + 40);
    let ids = ["tcp-maimon-scan", "udp-scan", "distributed-scan", "tcp-probe-mix", "distributed-port-scan"];
    for id in ids {
        assert_eq!(weights(id), probed, "{id}");
    }
    let of_syns = weights("tcp-port-scan");
    let heavy = |port: u16| of_syns.ports[0].ports.iter().any(|range| range.contains(&port));
    let lighter: Vec<u16> = (0..=u16::MAX).filter(|port| weighs_3(*port) != heavy(*port)).collect();
    assert_eq!(lighter, [25, 110, 143, 465, 587, 993, 995], "the ports of mail alone weigh less");
    assert_eq!((of_syns.ports[0].weight, of_syns.ports[0].traps, of_syns.rest), (3, true, 2));
    let outbound = weights("outbound-scan");
    assert_eq!(outbound.ports, [PortWeight { weight: 15, ports: attacked.ports.clone(), traps: false }]);
}

#[test]
fn every_shipped_rule_says_why() {
    for (name, text) in SHIPPED {
        // Probes of the web are told by their names and patterns.
        for rule in text.split("\n- ").skip(1).filter(|entry| entry.starts_with("id: ")) {
            for key in ["\n  reason: ", "\n  reference: ", "\n  title: "] {
                assert_eq!(rule.matches(key).count(), 1, "{name} {key}");
            }
        }
    }
}

#[test]
fn the_shipped_web_rule_is_the_one_of_the_manual_and_each_probe_says_what_it_is_by_its_name() {
    let web = load_from(SHIPPED, Path::new("/nonexistent"), Trust::Anybody).unwrap().web;
    let rule = web.rule.unwrap();
    assert_eq!(
        (rule.threshold, rule.window, rule.quiet),
        (3, Duration::from_secs(600), Duration::from_secs(600))
    );
    assert_eq!((rule.enabled, rule.respond), (true, None));
    let document = include_str!("../../../docs/detection.md");
    for probe in &web.probes {
        assert!(document.contains(&format!("`{}`", probe.name)), "docs/detection.md lists no {}", probe.name);
        assert!(probe.enabled);
    }
}

const OWN: &str = "{id: tcp-fin-scan, match: {class: fin}, count: packets, threshold: 9, window: 1h}";

#[test]
fn a_rule_takes_the_place_of_one_with_its_id() {
    let rules = with(&format!("- {OWN}")).unwrap();
    assert_eq!(rules.len(), with_files(&[]).unwrap().len());
    assert_eq!(
        (rules[3].id.as_str(), rules[3].threshold, &rules[3].count),
        ("tcp-fin-scan", 9, &Count::Packets)
    );
    assert_eq!(rules[3].title, "tcp-fin-scan");
}

#[test]
fn a_rule_without_a_verdict_takes_no_accepted_packets() {
    let rules = with(&format!("- {OWN}")).unwrap();
    assert_eq!(rules[3].filter.verdict, [Verdict::Refused, Verdict::Invalid, Verdict::Undecided]);
}

#[test]
fn a_rule_is_switched_off_without_being_repeated() {
    let shipped = with_files(&[]).unwrap();
    let rules = with("- {id: udp-scan, enabled: false}").unwrap();
    assert!(!rule(&rules, "udp-scan").enabled);
    assert_eq!(*rule(&rules, "udp-scan"), Rule { enabled: false, ..rule(&shipped, "udp-scan").clone() });
    let on = with_files(&[
        ("1.yaml", "- {id: udp-scan, enabled: false}"),
        ("2.yaml", "- {id: udp-scan, enabled: true}"),
    ]);
    assert_eq!(on, Ok(shipped));
}

#[test]
fn files_are_read_in_the_order_of_their_names_and_others_are_left_alone() {
    let file = |threshold: u32| {
        format!("- {{id: own, match: {{class: syn}}, count: packets, threshold: {threshold}, window: 1s}}")
    };
    let (first, second) = (file(1), file(2));
    let files =
        [("20-b.yaml", second.as_str()), ("10-a.yaml", &first), ("30.yaml.dpkg-old", "{"), ("README", "{")];
    assert_eq!(rule(&with_files(&files).unwrap(), "own").threshold, 2);
    assert_eq!(load(SHIPPED, Path::new("/nonexistent")), with_files(&[]));
}

#[test]
fn the_errors_of_all_files_are_told_at_once() {
    let problems = with_files(&[("a.yaml", "- {id: X}\n- {id: y}"), ("b.yaml", "a: b")]).unwrap_err();
    let shown = problems.to_string();
    for part in
        ["a.yaml:1:8", "a.yaml:2:", "b.yaml:1:1", "`X` is no id", "a rule has no `match`", "is a list"]
    {
        assert!(shown.contains(part), "{part}\n{shown}");
    }
}

#[test]
fn keys_weights_and_fields_are_read() {
    let rules = with(
        "- id: wide\n  match: {class: [syn, udp], not: {dport: 53}}\n  per: {ipv4: 24, ipv6: 48}\n  threshold: 10\n  \
         window: 2h\n  respond: log\n  from-at-least: 4\n  count: {distinct: [dport, daddr], weights: {5: [ssh, [80-90]], 2: traps}}",
    )
    .unwrap();
    let rule = rule(&rules, "wide");
    let port = |weight, ports: &[std::ops::RangeInclusive<u16>], traps| PortWeight {
        weight,
        ports: ports.to_vec(),
        traps,
    };
    let weights = Weights { ports: vec![port(5, &[22..=22, 80..=90], false), port(2, &[], true)], rest: 1 };
    let fields = Fields { dport: true, daddr: true, ..Fields::default() };
    assert_eq!(rule.count, Count::Distinct { fields, weights });
    assert_eq!(rule.per, Key::Prefix { ipv4: Some(24), ipv6: Some(48) });
    assert_eq!((rule.from_at_least, rule.respond), (4, Some(crate::decide::Response::Log)));
    assert_eq!(rule.filter.not.len(), 1);
}

#[test]
fn a_threshold_that_is_never_reached_is_refused() {
    let count = |filter: &str, count: &str, threshold: u64| {
        with(&format!("- {{id: own, match: {filter}, count: {count}, threshold: {threshold}, window: 1s}}"))
            .is_ok()
    };
    let two = "{class: syn, dport: [23, 2323]}";
    assert!(count(two, "{distinct: dport}", 2) && !count(two, "{distinct: dport}", 3));
    let weighted = "{distinct: dport, weights: {3: [23], 2: rest}}";
    assert!(count(two, weighted, 5) && !count(two, weighted, 6));
    // Any port may be a trap.
    let traps = "{distinct: dport, weights: {3: traps, 2: rest}}";
    assert!(count(two, traps, 6) && !count(two, traps, 7));
    assert!(count("{dport: 23}", "{distinct: dport}", 3) && !count("{dport: 23}", "{distinct: dport}", 4));
    let hosts = "{class: syn, daddr: 192.0.2.0/30}";
    assert!(count(hosts, "{distinct: daddr}", 4) && !count(hosts, "{distinct: daddr}", 5));
    assert!(count(hosts, "{distinct: [daddr, dport]}", 60_000) && count(hosts, "packets", u64::MAX));
    assert!(
        count("{class: proto}", "{distinct: protocol}", 256)
            && !count("{class: proto}", "{distinct: protocol}", 257)
    );
    assert!(!count("{class: syn}", "{distinct: [daddr, dport]}", 65_537));
    // Which ports are traps stands elsewhere: there may be many.
    assert!(count("{class: syn, dport: traps}", "{distinct: dport}", 60_000));
    // One IPv4 source is one address, an IPv6 one is many.
    assert!(!count("{class: syn, saddr: 192.0.2.0/24}", "{distinct: saddr}", 2));
    assert!(count("{class: syn, saddr: '2001:db8::/32'}", "{distinct: saddr}", 256));
}

#[test]
fn more_addresses_than_a_key_holds_are_refused() {
    let from = |per: &str, from: u32| {
        with(&format!(
            "- {{id: own, match: {{class: syn}}, count: packets, threshold: 1, window: 1s, per: {per}, from-at-least: {from}}}"
        ))
        .is_ok()
    };
    assert!(from("source", 4) && from("{ipv4: 24}", 256) && !from("{ipv4: 24}", 257));
    assert!(from("{ipv4: 32, ipv6: 64}", 4) && !from("{ipv4: 32, ipv6: 128}", 2));
    assert!(from("source-and-destination", 4));
}

/// What is said about a rule with these parts instead of a common one's.
fn said(parts: &str) -> String {
    with(&format!("- {{id: own, window: 1s, threshold: 24, {parts}}}"))
        .err()
        .map_or_else(String::new, |problems| problems.to_string())
}

#[test]
fn closed_ones_are_asked_for_only_where_accepted_ones_count() {
    let ports = "count: {distinct: dport, weights: {3: [0-1023], 2: rest}}";
    let of = |verdict: &str, closed: u32, count: &str| {
        said(&format!("match: {{class: syn, verdict: {verdict}}}, closed-at-least: {closed}, {count}"))
    };
    assert_eq!(of("[refused, accepted]", 11, ports), "");
    assert!(of("refused", 3, ports).contains("this rule matches none"));
    assert!(of("accepted", 3, ports).contains("matches accepted packets alone"));
    assert!(of("[refused, accepted]", 12, ports).contains("accepted packets never count"));
    assert!(of("[refused, accepted]", 3, "count: packets").contains("is about distinct values"));
}

#[test]
fn a_rule_that_can_never_match_is_refused() {
    let of = |filter: &str| said(&format!("match: {filter}, count: packets"));
    assert_eq!(of("{class: fragment, verdict: fragment, fault: [tiny, overlap]}"), "");
    assert_eq!(of("{verdict: fragment}"), "");
    for filter in ["{class: fragment}", "{fault: tiny}", "{fault: overlap, verdict: refused}"] {
        assert!(of(filter).contains("faulty fragments have the verdict `fragment`"), "{filter}");
    }
    assert!(of("{class: syn, verdict: fragment}").contains("are of the class `fragment`"));
    assert!(
        said("match: {class: syn, saddr: '::/0'}, count: packets, per: {ipv4: 24}")
            .contains("the family of `saddr`")
    );
}

#[test]
fn traps_stand_for_ports_in_the_match_of_a_rule_alone() {
    let rules = with(
        "- {id: own, match: {class: syn, dport: [2222, traps]}, count: packets, threshold: 1, window: 1s}",
    );
    let filter = rule(&rules.unwrap(), "own").filter.clone();
    assert_eq!((filter.dport, filter.dport_traps), (vec![2222..=2222], true));
    let not = "match: {class: syn, not: [{dport: traps}]}, count: packets";
    assert!(said(not).contains("only in the `dport` of a rule's `match`"));
    assert!(said("match: {class: syn, sport: traps}, count: packets").contains("error"));
    assert!(said("match: {protocol: icmp, dport: traps}, count: packets").contains("has no ports"));
}

#[test]
fn several_rules_may_report_as_one() {
    let as_scan = "- {id: own, report-as: tcp-port-scan, raw-id: tcp-syn-scan, match: {class: syn}, count: packets, \
                   threshold: 1, window: 1s, quiet: 1s}";
    let rules = with(as_scan).unwrap();
    let own = rule(&rules, "own");
    assert_eq!((own.report_as.as_deref(), own.quiet), (Some("tcp-port-scan"), Some(Duration::from_secs(1))));
    assert!(with(&as_scan.replace("report-as: tcp-port-scan, ", "")).is_err(), "another rule's second name");
    assert!(
        said("report-as: own, match: {class: syn}, count: packets").contains("the id of the rule itself")
    );
}

#[test]
fn a_threshold_may_be_asked_for_each_value_of_packets_and_of_nothing_else() {
    let rules = with(
        "- {id: own, match: {class: syn}, window: 1s, threshold: 3, count: packets, for-each: [dport, daddr]}",
    );
    let fields = Fields { dport: true, daddr: true, ..Fields::default() };
    assert_eq!(rule(&rules.unwrap(), "own").for_each, fields);
    let of =
        |each: &str, count: &str| said(&format!("match: {{class: syn}}, for-each: {each}, count: {count}"));
    assert_eq!(of("daddr", "bytes"), "");
    assert!(of("daddr", "{distinct: dport}").contains("`for-each` goes with packets or bytes"));
    assert!(of("[]", "packets").contains("`for-each` names nothing"));
}
