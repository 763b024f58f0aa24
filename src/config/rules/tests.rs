//! The shipped rules are those of the manual, and files replace and switch them as it says.

use super::*;
use crate::filter::Class;

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

#[test]
fn the_shipped_rules_are_the_table_of_the_manual_in_its_order() {
    let weighted = |id: &str| matches!(id, "tcp-maimon-scan" | "tcp-ack-scan" | "tcp-port-scan" | "udp-scan");
    let table: Vec<_> = with_files(&[])
        .unwrap()
        .into_iter()
        .map(|rule| {
            assert_eq!(rule.filter.verdict, [Verdict::Refused, Verdict::Invalid, Verdict::Undecided]);
            let Count::Distinct { fields, weights } = rule.count else { panic!("{} counts values", rule.id) };
            assert_eq!(fields, Fields { dport: true, ..Fields::default() });
            assert_eq!(
                (weights.ports.is_empty(), weights.rest == 1),
                (!weighted(&rule.id), !weighted(&rule.id))
            );
            assert_eq!(
                (rule.enabled, rule.per, rule.respond, rule.from_at_least),
                (true, Key::Source, None, 1)
            );
            (rule.id, rule.filter.class, rule.threshold, rule.window.as_secs(), rule.raw_id)
        })
        .collect();
    let row = |id: &str, class, threshold, window| (id.to_owned(), vec![class], threshold, window, None);
    let mut expected = vec![
        row("tcp-bogus-flags", Class::Bogus, 3, 60),
        row("tcp-null-scan", Class::Null, 3, 60),
        row("tcp-fin-scan", Class::Fin, 3, 60),
        row("tcp-xmas-scan", Class::Xmas, 3, 60),
        row("tcp-maimon-scan", Class::Finack, 24, 60),
        row("tcp-ack-scan", Class::Ack, 24, 60),
        row("tcp-port-scan", Class::Syn, 24, 300),
        row("udp-scan", Class::Udp, 24, 60),
    ];
    expected[6].4 = Some("tcp-syn-scan".to_owned());
    assert_eq!(table, expected);
}

#[test]
fn all_weighted_rules_weigh_ports_alike() {
    let rules = with_files(&[]).unwrap();
    let weights = |id| match &rule(&rules, id).count {
        Count::Distinct { weights, .. } => weights.clone(),
        _ => panic!("{id} counts values"),
    };
    let probed = weights("tcp-port-scan");
    assert_eq!(probed.rest, 2);
    let [attacked] = &probed.ports[..] else { panic!("one weight besides the rest") };
    assert!(attacked.weight == 3 && attacked.traps);
    let weighs_3 = |port: u16| attacked.ports.iter().any(|range| range.contains(&port));
    assert!([0, 22, 1023, 3389, 5984, 5986, 8080, 27017].into_iter().all(weighs_3));
    assert!(![1024, 5983, 5987, 65535].into_iter().any(weighs_3));
    // The 1,024 privileged ports, and the list of the manual with its one range of three.
    assert_eq!((0..=u16::MAX).filter(|port| weighs_3(*port)).count(), 1024 + 40);
    for id in ["tcp-maimon-scan", "tcp-ack-scan", "udp-scan"] {
        assert_eq!(weights(id), probed, "{id}");
    }
}

#[test]
fn every_shipped_rule_says_why() {
    for (name, text) in SHIPPED {
        let rules = text.matches("\n- id: ").count();
        for key in ["\n  reason: ", "\n  reference: ", "\n  title: "] {
            assert_eq!(text.matches(key).count(), rules, "{name} {key}");
        }
    }
}

const OWN: &str = "{id: tcp-fin-scan, match: {class: fin}, count: packets, threshold: 9, window: 1h}";

#[test]
fn a_rule_takes_the_place_of_one_with_its_id() {
    let rules = with(&format!("- {OWN}")).unwrap();
    assert_eq!(rules.len(), with_files(&[]).unwrap().len());
    assert_eq!(
        (rules[2].id.as_str(), rules[2].threshold, &rules[2].count),
        ("tcp-fin-scan", 9, &Count::Packets)
    );
    assert_eq!(rules[2].title, "tcp-fin-scan");
}

#[test]
fn a_rule_without_a_verdict_takes_no_accepted_packets() {
    let rules = with(&format!("- {OWN}")).unwrap();
    assert_eq!(rules[2].filter.verdict, [Verdict::Refused, Verdict::Invalid, Verdict::Undecided]);
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
