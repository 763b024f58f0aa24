//! A detector that is stopped and restored is held against one that runs through.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::class::Surroundings;
use super::key::Widths;
use super::memory::{Holder, LONG_WINDOW, Memory, Progress};
use super::tests::{observed, tcp};
use super::{Capacity, Detector, Effect, Ruleset, Seed};
use crate::config::rules::load;
use crate::packet::{Observation, Packet, TcpFlags, Verdict};
use crate::time::Stamp;

fn ruleset(yaml: &str) -> Ruleset {
    let rules = load(&[("test.yaml", yaml)], Path::new("/nonexistent")).expect("the rules are good");
    Ruleset::compile(&rules, &[]).unwrap()
}

fn detector_with(rules: Ruleset, capacity: Capacity) -> Detector {
    Detector::new(rules, Surroundings::default(), Widths::default(), capacity, Seed::Random)
}

fn detector(yaml: &str) -> Detector {
    detector_with(ruleset(yaml), Capacity::default())
}

/// A moment by both clocks: so many milliseconds after a boot at this wall time.
fn at(boot_ms: u64, booted_ms: u64) -> Stamp {
    let wall_us = i64::try_from((boot_ms + booted_ms) * 1_000).unwrap();
    Stamp { boot: Duration::from_millis(boot_ms), wall_us }
}

const PORTS: &str =
    "- {id: ports, title: t, match: {class: syn}, count: {distinct: dport}, threshold: 4, window: 2h}\n";
const RULES: [&str; 5] = [
    // The rule with the short window makes what comes after a restart another set of rules than what came before.
    "- {id: ports, title: t, match: {class: syn}, count: {distinct: dport}, threshold: 4, window: 2h}\n\
     - {id: quick, title: t, match: {class: syn, dport: [1-9]}, count: {distinct: dport}, threshold: 3, window: 1s, respond: log}",
    "- {id: hosts, title: t, match: {class: syn}, count: {distinct: [daddr, dport]}, threshold: 6, window: 2h}\n\
     - {id: other, title: t, match: {class: syn, dport: [1-9]}, count: {distinct: dport}, threshold: 9, window: 3h, respond: log}",
    "- {id: several, title: t, match: {class: syn}, per: {ipv4: 24, ipv6: 48}, count: {distinct: [saddr, dport]}, threshold: 7, \
     from-at-least: 3, window: 2h}",
    "- {id: pair, title: t, match: {class: syn}, per: source-and-destination, count: {distinct: dport}, threshold: 4, window: 2h}",
    "- {id: mixed, title: t, match: {class: syn, verdict: [refused, accepted]}, count: {distinct: [daddr, dport]}, threshold: 5, \
     closed-at-least: 2, window: 2h}",
];

#[derive(Debug, Clone, Copy)]
struct Step {
    wait_ms: u64,
    ipv6: bool,
    host: u8,
    daddr: u8,
    dport: u16,
    accepted: bool,
    /// Whether the process is another one by this packet, and after a boot of the machine.
    restart: Option<bool>,
}

impl Step {
    fn observation(self) -> Observation<'static> {
        let (saddr, daddr): (IpAddr, IpAddr) = if self.ipv6 {
            let net = |net: u16, host: u8| IpAddr::from([0x2001, 0xdb8, net, 0, 0, 0, 0, u16::from(host)]);
            (net(u16::from(self.host), 1), net(99, self.daddr))
        } else {
            ([192, 0, 2, self.host].into(), [203, 0, 113, self.daddr].into())
        };
        let packet = Packet { saddr, daddr, ..tcp(40000, self.dport, TcpFlags::SYN) };
        let verdict = if self.accepted { Verdict::Accepted } else { Verdict::Refused };
        Observation { verdict, ..observed(packet) }
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let restart = prop_oneof![4 => Just(None), 1 => any::<bool>().prop_map(Some)];
    let wait = prop_oneof![0u64..3_000, 0u64..1_800_000];
    let step = (wait, any::<bool>(), 1u8..5, 1u8..4, 1u16..14, any::<bool>(), restart);
    let step = step.prop_map(|(wait_ms, ipv6, host, daddr, dport, accepted, restart)| Step {
        wait_ms,
        ipv6,
        host,
        daddr,
        dport,
        accepted,
        restart,
    });
    proptest::collection::vec(step, 1..80)
}

/// At which packet which rule with a long window fires first.
fn first(rules: &Ruleset, steps: &[Step], restarts: bool) -> Option<(usize, String)> {
    let mut detector = detector_with(rules.clone(), Capacity::default());
    let (mut boot, mut booted) = (1_000_000_000, 1_000_000_000_000);
    for (number, step) in steps.iter().enumerate() {
        boot += step.wait_ms;
        if let Some(rebooted) = step.restart.filter(|_| restarts) {
            // The daemon saw its last packet a while before this one.
            let stopped = boot - step.wait_ms / 2;
            let memories = detector.remember(at(stopped, booted), LONG_WINDOW);
            if rebooted {
                booted += stopped;
                boot -= stopped;
            }
            detector = detector_with(rules.clone(), Capacity::default());
            detector.recall(memories, at(boot, booted));
        }
        if let Effect::Opened(finding) = detector.observe(&step.observation(), at(boot, booted))
            && finding.incident.rule != "quick"
        {
            return Some((number, finding.incident.rule));
        }
    }
    None
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_restart_or_a_boot_changes_nothing_for_rules_with_long_windows(steps in steps(), rules in 0..RULES.len()) {
        let rules = ruleset(RULES[rules]);
        prop_assert_eq!(first(&rules, &steps, true), first(&rules, &steps, false));
    }
}

const BOOTED: u64 = 1_000_000_000_000;

fn probe(detector: &mut Detector, host: u8, dport: u16, boot_ms: u64) -> Option<Box<super::Finding>> {
    let step = Step { wait_ms: 0, ipv6: false, host, daddr: 1, dport, accepted: false, restart: None };
    match detector.observe(&step.observation(), at(boot_ms, BOOTED)) {
        Effect::Opened(finding) => Some(finding),
        _ => None,
    }
}

/// What is remembered of three ports probed, one of them twice, by one host, and of one by another.
fn memories() -> (Vec<Memory>, Stamp) {
    let mut detector = detector(PORTS);
    for (second, port) in [22, 23, 80, 22].into_iter().enumerate() {
        assert!(probe(&mut detector, 7, port, 5_000_000 + second as u64 * 1_000).is_none());
    }
    probe(&mut detector, 8, 22, 5_001_000);
    let now = at(5_060_000, BOOTED);
    (detector.remember(now, LONG_WINDOW), now)
}

#[test]
fn an_incident_after_a_restart_tells_what_was_seen_before_it() {
    let (memories, now) = memories();
    assert_eq!(memories.len(), 4);
    let mut detector = detector(PORTS);
    detector.recall(memories, now);
    let finding = probe(&mut detector, 7, 443, 5_070_000).unwrap();
    let incident = finding.incident;
    assert_eq!((incident.packets, incident.distinct_ports), (5, 4));
    assert_eq!(incident.first_seen.wall_us, at(5_000_000, BOOTED).wall_us);
}

#[test]
fn what_was_seen_before_the_boot_is_told_with_its_time() {
    let (memories, _) = memories();
    let mut detector = detector(PORTS);
    // Two minutes after the last packet the machine has been up for a minute.
    let now = Stamp { boot: Duration::from_secs(60), wall_us: at(5_123_000, BOOTED).wall_us };
    detector.recall(memories, now);
    let seen = detector.seen("192.0.2.7/32".parse().unwrap(), now);
    assert_eq!(seen.first.unwrap().wall_us, at(5_000_000, BOOTED).wall_us);
    assert_eq!(seen.last.unwrap().wall_us, at(5_003_000, BOOTED).wall_us);
    assert_eq!(seen.counts[0].count, 3);
}

#[test]
fn a_port_probed_before_and_after_a_restart_counts_once() {
    let (memories, now) = memories();
    let mut detector = detector(PORTS);
    detector.recall(memories, now);
    for port in [22, 23, 80] {
        assert!(probe(&mut detector, 7, port, 5_070_000).is_none());
    }
    assert!(probe(&mut detector, 7, 81, 5_070_000).is_some());
}

#[test]
fn a_clock_set_back_makes_no_packet_of_the_future_and_one_set_forward_none_of_today() {
    let (memories, now) = memories();
    let mut back = detector(PORTS);
    back.recall(memories.clone(), Stamp { wall_us: now.wall_us - 86_400_000_000, ..now });
    // Two hours later nothing counts any more, as if it had come just now.
    let later = Stamp { boot: now.boot + Duration::from_secs(7_200), ..now };
    assert!(back.remember(later, LONG_WINDOW).is_empty());
    assert_eq!(back.remember(now, LONG_WINDOW).len(), memories.len());
    let mut forward = detector(PORTS);
    forward.recall(memories, Stamp { wall_us: now.wall_us + 7_200_000_000, ..now });
    assert!(forward.remember(now, LONG_WINDOW).is_empty());
}

#[test]
fn a_rule_that_is_gone_or_has_another_window_is_not_what_it_was() {
    let (memories, now) = memories();
    let mut gone = detector(&PORTS.replace("id: ports", "id: doors"));
    gone.recall(memories.clone(), now);
    assert_eq!(gone.occupancy()[0].tracked, 0);
    let mut short = detector(&PORTS.replace("2h", "30s"));
    short.recall(memories.clone(), now);
    assert_eq!(short.occupancy()[0].tracked, 0);
    let mut class = detector(&PORTS.replace("class: syn", "class: fin"));
    class.recall(memories, now);
    assert_eq!(class.occupancy()[0].tracked, 0);
}

#[test]
fn a_source_seen_once_is_one_seen_once_after_a_restart() {
    let (memories, now) = memories();
    let alone: Vec<_> = memories.iter().filter(|memory| memory.holder == Holder::Newcomer).collect();
    assert_eq!(alone.len(), 1);
    let mut detector = detector(PORTS);
    detector.recall(memories, now);
    let occupancy = detector.occupancy()[0];
    assert_eq!((occupancy.probation, occupancy.tracked, occupancy.sightings), (1, 1, 3));
    assert_eq!(detector.sources(), 0, "nobody has been seen by this process");
}

#[test]
fn where_not_all_find_room_the_latest_stay() {
    let mut before = detector(PORTS);
    for host in 0..200 {
        let ms = 5_000_000 + u64::from(host) * 1_000;
        probe(&mut before, host, 22, ms);
        probe(&mut before, host, 23, ms);
    }
    let now = at(5_300_000, BOOTED);
    let mut memories = before.remember(now, LONG_WINDOW);
    memories.reverse();
    let small = Capacity { probation: 8, tracked: 16, sightings: 1_000 };
    let mut after = detector_with(ruleset(PORTS), small);
    after.recall(memories, now);
    assert_eq!(after.occupancy()[0].tracked, 16);
    assert!(after.seen("192.0.2.199/32".parse().unwrap(), now).last.is_some());
    assert!(after.seen("192.0.2.1/32".parse().unwrap(), now).last.is_none());
}

#[test]
fn nothing_fires_on_a_memory_however_much_it_is() {
    let (mut memories, now) = memories();
    let one = memories.iter().find(|memory| memory.holder == Holder::Source).unwrap().clone();
    for dport in 1_000..2_000 {
        memories.push(Memory { dport, ..one.clone() });
    }
    let mut detector = detector(PORTS);
    detector.recall(memories, now);
    assert_eq!(detector.open_incidents(), 0);
    assert!(detector.occupancy()[0].sightings < 100, "what no rule needs is not kept");
    assert!(probe(&mut detector, 7, 443, 5_070_000).is_some());
}

#[test]
fn rules_with_short_windows_and_sums_are_not_remembered() {
    let yaml = "- {id: short, title: t, match: {class: syn}, count: {distinct: dport}, threshold: 9, window: 10m}\n\
                - {id: sum, title: t, match: {class: syn}, count: packets, threshold: 9, window: 1d}";
    let mut detector = detector(yaml);
    probe(&mut detector, 7, 22, 5_000_000);
    probe(&mut detector, 7, 23, 5_000_000);
    assert_eq!(detector.remember(at(5_001_000, BOOTED), LONG_WINDOW), []);
    let ids = |memory: &Memory| memory.rules.iter().map(Arc::clone).collect::<Vec<_>>();
    let all = detector.remember(at(5_001_000, BOOTED), Duration::ZERO);
    assert!(all.iter().all(|memory| ids(memory) == [Arc::from("short")]));
}

#[test]
fn what_is_remembered_in_parts_is_the_same_whole_whoever_comes_in_between() {
    let mut detector = detector(PORTS);
    for host in 0..=255 {
        probe(&mut detector, host, 22, 5_000_000);
        probe(&mut detector, host, 23 + u16::from(host % 2), 5_000_000);
    }
    for net in 0..20_000_u16 {
        let [high, low] = net.to_be_bytes();
        let saddr = IpAddr::from([198, 18, high, low]);
        let _ = detector
            .observe(&observed(Packet { saddr, ..tcp(40000, 22, TcpFlags::SYN) }), at(5_000_001, BOOTED));
    }
    let now = at(5_000_002, BOOTED);
    let whole = detector.remember(now, LONG_WINDOW);
    assert_eq!(whole.len(), 512 + 20_000);
    let (mut parts, mut memories, mut from) = (0, Vec::new(), Some(Progress::default()));
    while let Some(progress) = from {
        from = detector.remember_part(progress, now, LONG_WINDOW, &mut memories);
        // The second packet of one of the many.
        let saddr = IpAddr::from([198, 18, 0, parts]);
        let _ = detector.observe(&observed(Packet { saddr, ..tcp(40000, 25, TcpFlags::SYN) }), now);
        parts += 1;
    }
    assert!(parts > 5, "in more than one go");
    let first_packets = memories.iter().filter(|memory| memory.dport == 22).map(|memory| memory.saddr);
    assert_eq!(first_packets.collect::<std::collections::BTreeSet<_>>().len(), 256 + 20_000);
}
