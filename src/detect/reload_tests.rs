//! A detector whose rules are replaced now and then is held against one whose rules stay.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::class::Surroundings;
use super::key::Widths;
use super::tests::{observed, tcp, udp};
use super::{Capacity, Detector, Effect, Grounds, Ruleset, Seed};
use crate::config::rules::load;
use crate::event::{Incident, IncidentEnd};
use crate::packet::{Observation, Packet, TcpFlags, Verdict};
use crate::time::Stamp;

fn ruleset(yaml: &str) -> Ruleset {
    let rules = load(&[("test.yaml", yaml)], Path::new("/nonexistent")).expect("the rules are good");
    Ruleset::compile(&rules, &[]).unwrap()
}

fn detector(rules: Ruleset) -> Detector {
    Detector::new(rules, Surroundings::default(), Widths::default(), Capacity::default(), Seed::Fixed)
}

fn at(ms: u64) -> Stamp {
    Stamp { boot: Duration::from_millis(ms), wall_us: i64::try_from(ms * 1_000).unwrap() }
}

/// Every way to count, and to count per.
const KEPT: &str = "
- {id: ports, title: t, match: {class: syn}, count: {distinct: dport}, threshold: 5, window: 2m}
- {id: pair, title: t, match: {class: syn}, per: source-and-destination, count: {distinct: dport}, threshold: 4, window: 1m}
- {id: weighed, title: t, match: {class: fin}, count: {distinct: dport, weights: {2: [3], 1: rest}}, threshold: 6, window: 5m}
- {id: prefix, title: t, match: {class: fin}, per: {ipv4: 24, ipv6: 48}, count: {distinct: [saddr, dport]}, threshold: 9,
   from-at-least: 3, window: 10m}
- {id: mixed, title: t, match: {class: syn, verdict: [refused, accepted]}, count: {distinct: [daddr, dport]}, threshold: 12,
   closed-at-least: 3, window: 20m}
- {id: slow, title: t, match: {class: [syn, udp]}, count: {distinct: dport}, threshold: 9, window: 3d}
- {id: packets, title: t, match: {class: udp}, count: packets, threshold: 8, window: 30s}
- {id: bytes, title: t, match: {class: udp}, count: bytes, threshold: 900, window: 8m, respond: log}
- {id: prefix-packets, title: t, match: {class: udp}, per: {ipv4: 24}, count: packets, threshold: 20, window: 10m}
- {id: outbound, title: t, match: {class: syn, verdict: outbound}, count: {distinct: daddr}, threshold: 3, window: 5m}
";

/// Rules before and behind those, of classes that they do not count: first none.
const APART: [(&str, &str); 4] = [
    ("", ""),
    (
        "- {id: first, title: t, match: {class: 'null'}, count: {distinct: dport}, threshold: 2, window: 9m}\n",
        "- {id: last, title: t, match: {class: ack}, count: packets, threshold: 9, window: 1d}\n",
    ),
    (
        "- {id: first, title: t, match: {class: 'null'}, per: {ipv4: 24, ipv6: 48}, count: packets, threshold: 3, window: 9m}\n",
        "",
    ),
    (
        "- {id: last, title: t, match: {class: 'null'}, per: {ipv4: 16, ipv6: 32}, count: {distinct: saddr}, threshold: 2,\n\
         window: 1m, respond: log}\n",
        "- {id: first, title: t, match: {class: 'null'}, count: {distinct: dport}, threshold: 4, window: 1s}\n",
    ),
];

/// Rules that count the same packets as those. They only log and never fire, and no window of theirs is shorter, as they
/// would be a part of what happens otherwise.
const AMONG: [(&str, &str); 4] = [
    ("", ""),
    (
        "",
        "- {id: last, title: t, match: {class: syn}, count: {distinct: dport}, threshold: 999, window: 30d, respond: log}\n",
    ),
    (
        "- {id: first, title: t, match: {class: [syn, fin, udp], dport: [1-4]}, count: {distinct: [saddr, dport]}, threshold: 999,\n\
         window: 30d, respond: log}\n",
        "- {id: last, title: t, match: {class: udp}, per: {ipv4: 16, ipv6: 32}, count: {distinct: saddr}, threshold: 999,\n\
         window: 30d, respond: log}\n",
    ),
    (
        "- {id: another, title: t, match: {class: [syn, fin, 'null', udp], daddr: 203.0.113.1}, per: source-and-destination,\n\
         count: packets, threshold: 99999, window: 30d, respond: log}\n",
        "",
    ),
];

thread_local! {
    /// The rules that stay with each of the others, compiled once.
    static WITH_THOSE_APART: [Ruleset; 4] = APART.map(with);
    static WITH_THOSE_AMONG: [Ruleset; 4] = AMONG.map(with);
}

fn with((before, behind): (&str, &str)) -> Ruleset {
    ruleset(&format!("{before}{KEPT}{behind}"))
}

type Others = std::thread::LocalKey<[Ruleset; 4]>;

#[derive(Debug, Clone, Copy)]
enum Kind {
    Syn,
    Accepted,
    Outbound,
    Fin,
    Udp,
    Null,
}

#[derive(Clone, Copy)]
struct Step {
    wait_ms: u64,
    ipv6: bool,
    kind: Kind,
    host: u8,
    daddr: u8,
    dport: u16,
    /// Whether a reload comes before it, and with which others and room.
    reload: Option<(usize, bool)>,
}

impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { wait_ms, ipv6, kind, host, daddr, dport, reload } = self;
        let family = if *ipv6 { 6 } else { 4 };
        write!(
            f,
            "+{wait_ms} ms {kind:?} over IPv{family} from {host} to {daddr} port {dport}, reload: {reload:?}"
        )
    }
}

impl Step {
    fn observation(self) -> Observation<'static> {
        let (saddr, daddr): (IpAddr, IpAddr) = if self.ipv6 {
            let net = |net: u16, host: u8| IpAddr::from([0x2001, 0xdb8, 1, net, 0, 0, 0, u16::from(host)]);
            (net(u16::from(self.host % 2), self.host), net(99, self.daddr))
        } else {
            ([192, 0, 2, self.host].into(), [203, 0, 113, self.daddr].into())
        };
        let flags = match self.kind {
            Kind::Syn | Kind::Accepted | Kind::Outbound => TcpFlags::SYN,
            Kind::Fin => TcpFlags::FIN,
            Kind::Udp | Kind::Null => 0,
        };
        let packet = match self.kind {
            Kind::Udp => udp(40000, self.dport, 8 + u16::from(self.daddr) * 100, 60),
            _ => tcp(40000, self.dport, flags),
        };
        let verdict = match self.kind {
            Kind::Accepted => Verdict::Accepted,
            Kind::Outbound => Verdict::Outbound,
            _ => Verdict::Refused,
        };
        Observation { verdict, ..observed(Packet { saddr, daddr, ..packet }) }
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let reload = prop_oneof![4 => Just(None), 1 => (0..APART.len(), any::<bool>()).prop_map(Some)];
    let wait = prop_oneof![3 => 0u64..3_000, 2 => 0u64..60_000, 1 => 0u64..7_200_000];
    let kind = prop_oneof![
        4 => Just(Kind::Syn),
        1 => Just(Kind::Accepted),
        1 => Just(Kind::Outbound),
        3 => Just(Kind::Fin),
        4 => Just(Kind::Udp),
        1 => Just(Kind::Null),
    ];
    let step = (wait, any::<bool>(), kind, 1u8..6, 1u8..5, 1u16..10, reload);
    let step = step.prop_map(|(wait_ms, ipv6, kind, host, daddr, dport, reload)| Step {
        wait_ms,
        ipv6,
        kind,
        host,
        daddr,
        dport,
        reload,
    });
    proptest::collection::vec(step, 1..160)
}

/// All that came of the packets, with the moment: what each did, what had ended before, and what counted then.
#[derive(Debug, PartialEq)]
struct Came {
    number: usize,
    effect: Effect,
    ended: Vec<IncidentEnd>,
    grown: Vec<Incident>,
    counts: Vec<(String, u64)>,
}

fn run(steps: &[Step], others: Option<&'static Others>) -> Vec<Came> {
    let rules = |number: usize| WITH_THOSE_APART.with(|all| all[number].clone());
    let mut detector = detector(rules(0));
    let mut ms = 1_000_000;
    let came = steps.iter().enumerate().map(|(number, step)| {
        ms += step.wait_ms;
        let now = at(ms);
        let mut ended: Vec<_> = std::iter::from_fn(|| detector.end_next(now)).collect();
        ended.sort_by_key(|end| (end.time.boot, end.incident.rule.clone(), end.incident.source));
        if let (Some((number, more)), Some(others)) = (step.reload, others) {
            let capacity = if more { Capacity::of(100_000) } else { Capacity::of(1024) };
            ended.extend(detector.replace_rules(others.with(|all| all[number].clone()), capacity, now));
        }
        let observation = step.observation();
        let effect = detector.observe(&observation, now);
        let grown = detector.take_grown().collect();
        let seen = detector.seen(observation.packet.saddr.into(), now);
        let counts = seen.counts.into_iter().map(|seen| (seen.rule, seen.count)).collect();
        Came { number, effect, ended, grown, counts }
    });
    came.collect()
}

fn is_kept(rule: &str) -> bool {
    !["first", "last", "another"].contains(&rule)
}

/// What has to do with the rules that stay.
fn of_kept(steps: &[Step], mut came: Vec<Came>) -> Vec<Came> {
    came.retain_mut(|came| {
        came.ended.retain(|end| is_kept(&end.incident.rule));
        came.grown.retain(|incident| is_kept(&incident.rule));
        came.counts.retain(|(rule, _)| is_kept(rule));
        !matches!(steps[came.number].kind, Kind::Null)
    });
    came
}

/// What an incident is, but for its first packets and how many were alike: rules that tell more packets apart know more of
/// these, and its id is made of them.
fn gist(incident: &Incident) -> impl PartialEq + std::fmt::Debug + use<> {
    let Incident { rule, source, last_seen, time, destinations, ports, distinct_ports, protocols, .. } =
        incident.clone();
    (rule, source, last_seen, time, destinations, ports, distinct_ports, protocols)
}

fn grounds_gist(grounds: &Grounds) -> impl PartialEq + std::fmt::Debug + use<> {
    let firing = grounds.firing.as_ref().unwrap();
    (grounds.rule.clone(), grounds.targets.clone(), grounds.respond, firing.count, firing.threshold)
}

/// The gist of what came of a packet.
fn gists(came: &Came) -> impl PartialEq + std::fmt::Debug + use<> {
    let opened = match &came.effect {
        Effect::Opened(finding) => Some((gist(&finding.incident), grounds_gist(&finding.grounds))),
        _ => None,
    };
    let persisted = match &came.effect {
        Effect::Persisted(grounds) => Some(grounds_gist(grounds)),
        _ => None,
    };
    let counted = matches!(came.effect, Effect::Counted);
    let ended: Vec<_> = came.ended.iter().map(|end| (end.time, gist(&end.incident))).collect();
    (came.number, opened, persisted, counted, ended, came.counts.clone())
}

fn same<T: PartialEq + std::fmt::Debug>(stayed: &[T], reloaded: &[T]) -> Result<(), TestCaseError> {
    prop_assert_eq!(stayed.len(), reloaded.len());
    stayed.iter().zip(reloaded).try_for_each(|(stayed, reloaded)| {
        prop_assert_eq!(stayed, reloaded);
        Ok(())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Effects with their ids, totals and packets, updates, ends, and counts.
    #[test]
    fn a_reload_of_the_same_rules_changes_nothing_at_all(mut steps in steps()) {
        steps.iter_mut().filter_map(|step| step.reload.as_mut()).for_each(|(others, _)| *others = 0);
        same(&run(&steps, None), &run(&steps, Some(&WITH_THOSE_APART)))?;
    }

    #[test]
    fn rules_of_other_classes_that_come_go_and_change_leave_those_that_stay_as_they_are(steps in steps()) {
        let (stayed, reloaded) = (run(&steps, None), run(&steps, Some(&WITH_THOSE_APART)));
        same(&of_kept(&steps, stayed), &of_kept(&steps, reloaded))?;
    }

    #[test]
    fn rules_for_the_same_packets_that_come_go_and_change_leave_those_that_stay_as_they_are(steps in steps()) {
        let (stayed, reloaded) = (run(&steps, None), run(&steps, Some(&WITH_THOSE_AMONG)));
        let of = |came: Vec<Came>| of_kept(&steps, came).iter().map(gists).collect::<Vec<_>>();
        same(&of(stayed), &of(reloaded))?;
    }
}

/// A detector with one rule, and what it makes of a SYN each second to these ports.
struct Bench {
    detector: Detector,
    ms: u64,
}

const ADDRESS: [u8; 4] = [192, 0, 2, 7];

impl Bench {
    fn new(rule: &str) -> Self {
        Self { detector: detector(ruleset(&format!("- {{id: r, title: t, {rule}}}"))), ms: 1_000_000 }
    }

    fn reload(&mut self, rule: &str) -> Vec<IncidentEnd> {
        let rules = ruleset(&format!("- {{id: r, title: t, {rule}}}"));
        self.detector.replace_rules(rules, Capacity::default(), at(self.ms))
    }

    /// The ports at which it fired for the first time, or once more.
    fn knock(&mut self, ports: impl IntoIterator<Item = u16>) -> Vec<u16> {
        let fires = |dport: &u16| {
            self.ms += 1_000;
            let packet = Packet { saddr: ADDRESS.into(), ..tcp(40_000, *dport, TcpFlags::SYN) };
            let effect = self.detector.observe(&observed(packet), at(self.ms));
            matches!(effect, Effect::Opened(_) | Effect::Persisted(_))
        };
        ports.into_iter().filter(fires).collect()
    }

    fn counted(&self) -> u64 {
        let address = IpAddr::from(ADDRESS).into();
        self.detector.seen(address, at(self.ms)).counts.first().map_or(0, |seen| seen.count)
    }

    fn open(&self) -> Option<Incident> {
        self.detector.incidents_of(IpAddr::from(ADDRESS).into()).next()
    }
}

#[test]
fn another_threshold_is_asked_of_what_is_counted_already() {
    for (threshold, fires) in [(5, 5), (4, 5), (7, 7)] {
        let rule = "match: {class: syn}, count: {distinct: dport}, window: 1h, threshold:";
        let mut bench = Bench::new(&format!("{rule} 6"));
        assert_eq!(bench.knock(1..5), [0; 0]);
        bench.reload(&format!("{rule} {threshold}"));
        assert_eq!(bench.counted(), 4);
        assert_eq!(bench.knock([1, 2, 3, 4, 5, 6, 7]), [fires]);
        assert_eq!(bench.open().unwrap().distinct_ports, 7, "with the first four");
    }
}

#[test]
fn another_window_is_asked_of_what_is_known_of_the_time_before() {
    for count in ["{distinct: dport}", "packets", "bytes"] {
        let rule =
            |window| format!("match: {{class: syn}}, count: {count}, window: {window}, threshold: 60000");
        let each = if count == "bytes" { 60 } else { 1 };
        let mut bench = Bench::new(&rule("64s"));
        bench.knock(1..21);
        assert_eq!(bench.counted(), 20 * each);
        bench.reload(&rule("1h"));
        assert_eq!(bench.counted(), 20 * each);
        bench.ms += 600_000;
        assert_eq!(bench.counted(), 20 * each, "{count}: for longer now");
        bench.knock(21..31);
        assert_eq!(bench.counted(), 30 * each);
        bench.reload(&rule("16s"));
        // Of sums at most what lies within the window, which here is all of the latest ten seconds; what was counted in parts
        // of four minutes is as old as such a part may be.
        let counted = bench.counted();
        assert!(counted == 10 * each || (count != "{distinct: dport}" && counted == 0), "{count}: {counted}");
    }
}

#[test]
fn a_rule_that_asks_for_other_packets_or_counts_another_thing_begins_anew_and_its_open_incident_goes_on() {
    let rule = "match: {class: syn}, count: {distinct: dport}, window: 1h, threshold: 5";
    let others = [
        "match: {class: syn, dport: {not: 3}}, count: {distinct: dport}, window: 1h, threshold: 5",
        "match: {class: syn}, count: {distinct: [dport, daddr]}, window: 1h, threshold: 5",
        "match: {class: syn}, count: packets, window: 1h, threshold: 5",
    ];
    for other in others {
        let mut bench = Bench::new(rule);
        bench.knock(1..5);
        assert_eq!(bench.reload(other), []);
        assert_eq!(bench.counted(), 0, "{other}");
        assert_eq!(bench.knock([11, 12, 13, 14, 15, 16]), [15], "{other}");

        let mut bench = Bench::new(rule);
        assert_eq!(bench.knock(1..9), [5]);
        let before = bench.open().unwrap();
        assert_eq!((bench.reload(other), bench.open()), (Vec::new(), Some(before.clone())), "{other}");
        bench.knock([9]);
        let after = bench.open().unwrap();
        assert_eq!((after.id, after.packets), (before.id, before.packets + 1), "{other}");
    }
}

#[test]
fn an_incident_ends_with_its_rule_and_where_its_rule_counts_per_something_else() {
    let rule = "match: {class: syn}, count: {distinct: dport}, window: 1h, threshold: 5";
    let per = "match: {class: syn}, per: source-and-destination, count: {distinct: dport}, window: 1h, threshold: 5";
    let off = format!("enabled: false, {rule}");
    for other in [per, &off] {
        let mut bench = Bench::new(rule);
        bench.knock(1..9);
        let open = bench.open().unwrap();
        let ended = bench.reload(other);
        assert_eq!(ended, [IncidentEnd { time: at(bench.ms), incident: open }], "{other}");
        assert_eq!((bench.open(), bench.counted(), bench.detector.next_deadline()), (None, 0, None));
        bench.reload(rule);
        assert_eq!(bench.knock(1..6), [5], "{other}: it begins anew");
    }
}

#[test]
fn an_open_incident_ends_when_its_rule_of_now_says_so() {
    let rule = |quiet| {
        format!("match: {{class: syn}}, count: {{distinct: dport}}, window: 1m, threshold: 3, quiet: {quiet}")
    };
    let mut bench = Bench::new(&rule("10m"));
    bench.knock(1..4);
    for (quiet, seconds) in [("1h", 3600), ("2m", 120)] {
        bench.reload(&rule(quiet));
        let due = Duration::from_millis(bench.ms) + Duration::from_secs(seconds);
        assert_eq!(bench.detector.next_deadline(), Some(due));
    }
}

#[test]
fn smaller_tables_keep_those_with_open_incidents_and_those_seen_last() {
    let rule = "match: {class: syn}, count: {distinct: dport}, window: 1h, threshold: 3";
    let mut bench = Bench::new(rule);
    assert_eq!(bench.knock(1..4), [3]);
    let visit = |bench: &mut Bench, host: u16| {
        let [high, low] = host.to_be_bytes();
        for dport in [1, 2] {
            bench.ms += 1;
            let packet = Packet { saddr: [198, 18, high, low].into(), ..tcp(40_000, dport, TcpFlags::SYN) };
            let _ = bench.detector.observe(&observed(packet), at(bench.ms));
        }
    };
    (0..5_000).for_each(|host| visit(&mut bench, host));
    let rules = ruleset(&format!("- {{id: r, title: t, {rule}}}"));
    bench.detector.replace_rules(rules, Capacity::of(1_024), at(bench.ms));
    let [sources, _] = bench.detector.occupancy();
    assert_eq!((sources.tracked, sources.evicted), (1_024, 5_001 - 1_024));
    assert_eq!((bench.open().unwrap().packets, sources.sightings <= 4_096), (3, true));
    (5_000..9_000).for_each(|host| visit(&mut bench, host));
    let [sources, _] = bench.detector.occupancy();
    assert_eq!((sources.tracked, bench.open().is_some()), (1_024, true));
    let latest = IpAddr::from([198, 18, 35, 39]).into();
    assert_eq!(bench.detector.seen(latest, at(bench.ms)).counts[0].count, 2);
}
