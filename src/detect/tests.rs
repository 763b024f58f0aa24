//! Judgement and counting, against tables and a naive oracle.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::class::{Exemption, Judgement, Surroundings, judge};
use super::key::Widths;
use super::rate::Rates;
use super::rule::Rule;
use super::select::{Names, Selector};
use super::{Capacity, Detector, Ruleset, Seed};
use crate::config::rules::load;
use crate::filter::tests::{class, filter, observation};
use crate::filter::{Class, Filter};
use crate::packet::{Icmp, Observation, Packet, Pkttype, Tcp, TcpFlags, Transport, Udp, Verdict, protocol};
use crate::time::Stamp;

fn surroundings() -> Surroundings {
    Surroundings {
        protected: ["203.0.113.5/32".parse().unwrap()].into_iter().collect(),
        broadcasts: ["203.0.113.255/32".parse().unwrap()].into_iter().collect(),
        services: super::class::Ports::new(&[(protocol::TCP, 443..=443), (protocol::UDP, 51820..=51820)]),
        listening: super::class::Ports::new(&[(protocol::TCP, 8080..=8080)]),
        ignore: crate::filter::Filters::default(),
    }
}

fn packet(transport: Transport) -> Packet {
    let (protocol, length) = match transport {
        Transport::Tcp(_) => (protocol::TCP, 60),
        Transport::Udp(udp) => (protocol::UDP, 20 + u32::from(udp.length)),
        Transport::Icmp(_) => (protocol::ICMP, 84),
        Transport::Opaque => (200, 40),
    };
    Packet {
        saddr: IpAddr::from([192, 0, 2, 7]),
        daddr: IpAddr::from([203, 0, 113, 5]),
        length,
        header_length: 20,
        ttl: 57,
        dont_fragment: true,
        identification: None,
        fragment: None,
        protocol,
        transport,
    }
}

pub(super) fn observed(packet: Packet) -> Observation<'static> {
    let (verdict, pkttype) = (Verdict::Refused, Pkttype::Unicast);
    Observation { packet, verdict, pkttype, iif: "eth0", oif: "", prefix: b"", fault: None }
}

pub(super) fn tcp(sport: u16, dport: u16, flags: u16) -> Packet {
    packet(Transport::Tcp(Tcp {
        sport,
        dport,
        sequence: Some(1),
        header_length: None,
        flags: TcpFlags(flags),
        window: 1024,
    }))
}

pub(super) fn udp(sport: u16, dport: u16, length: u16, ttl: u8) -> Packet {
    Packet { ttl, ..packet(Transport::Udp(Udp { sport, dport, length })) }
}

fn judged(packet: Packet) -> Judgement {
    judge(&observed(packet), &surroundings(), |_| false)
}

/// The table of TCP flags once more, written as a person reads it: the six classic bits in words.
fn class_of_flags(words: &str) -> Option<Class> {
    let has = |word: &str| words.split(' ').any(|other| other == word);
    let (fin, syn, rst, psh, ack, urg) =
        (has("fin"), has("syn"), has("rst"), has("psh"), has("ack"), has("urg"));
    if (syn && (fin || rst || (urg && !ack))) || (fin && rst) {
        return Some(Class::Bogus);
    }
    match (syn, rst, ack) {
        (_, true, _) | (true, _, true) => None,
        (true, false, false) => Some(Class::Syn),
        (false, false, true) => Some(if fin { Class::Finack } else { Class::Ack }),
        (false, false, false) => Some(match (fin, psh, urg) {
            (false, false, false) => Class::Null,
            (true, false, false) => Class::Fin,
            _ => Class::Xmas,
        }),
    }
}

#[test]
fn all_64_flag_combinations_are_classed_and_congestion_bits_change_none() {
    let names = ["fin", "syn", "rst", "psh", "ack", "urg"];
    for bits in 0..64_u16 {
        let words: Vec<_> =
            names.iter().enumerate().filter(|(at, _)| bits >> at & 1 == 1).map(|(_, name)| *name).collect();
        let expected = class_of_flags(&words.join(" "))
            .map_or(Judgement::Exempt(Exemption::Answer), Judgement::Evidence);
        for congestion in 0..8_u16 {
            assert_eq!(
                judged(tcp(40000, 22, bits | congestion << 6)),
                expected,
                "{words:?} with ECN bits {congestion:03b}"
            );
        }
        for reserved in 1..8_u16 {
            let flags = bits | reserved << 9;
            assert_eq!(judged(tcp(40000, 22, flags)), Judgement::Evidence(Class::Bogus), "{flags:#05x}");
        }
    }
}

#[test]
fn a_modern_syn_with_accurate_ecn_is_a_plain_syn() {
    let accecn = TcpFlags::SYN | TcpFlags::AE | TcpFlags::CWR | TcpFlags::ECE;
    assert_eq!(judged(tcp(40000, 22, accecn)), Judgement::Evidence(Class::Syn));
}

#[test]
fn a_segment_from_a_service_or_to_an_ephemeral_port_is_late_unless_it_is_a_twin() {
    let late = Judgement::Exempt(Exemption::Late);
    let finack = TcpFlags::FIN | TcpFlags::ACK;
    assert_eq!(judged(tcp(443, 4000, TcpFlags::ACK)), late);
    assert_eq!(judged(tcp(8443, 4000, finack)), late);
    assert_eq!(judged(tcp(50000, 33000, finack)), late);
    assert_eq!(
        judged(tcp(50000, 4000, finack)),
        late,
        "of an unlisted service, as only its numbers would tell"
    );
    let without_numbers = |sport, dport| {
        let packet = tcp(sport, dport, finack);
        let Transport::Tcp(tcp) = packet.transport else { unreachable!() };
        Packet { transport: Transport::Tcp(Tcp { sequence: None, ..tcp }), ..packet }
    };
    assert_eq!(judged(without_numbers(50000, 4000)), Judgement::Evidence(Class::Finack));
    assert_eq!(judged(without_numbers(8443, 4000)), late);
    // No client is given a port below 1024: -g 443 buys nothing there.
    assert_eq!(judged(tcp(443, 22, TcpFlags::ACK)), Judgement::Evidence(Class::Ack));
    let twin = judge(&observed(tcp(443, 4000, TcpFlags::ACK)), &surroundings(), |_| true);
    assert_eq!(twin, Judgement::Evidence(Class::Ack));
}

#[test]
fn an_answer_of_a_service_is_late_and_a_short_datagram_is_a_probe() {
    assert_eq!(judged(udp(53, 40000, 8 + 12, 57)), Judgement::Exempt(Exemption::Late));
    assert_eq!(judged(udp(53, 40000, 8 + 11, 57)), Judgement::Evidence(Class::Udp));
    assert_eq!(judged(udp(53, 161, 100, 57)), Judgement::Evidence(Class::Udp));
    assert_eq!(judged(udp(40000, 33434, 40, 30)), Judgement::Evidence(Class::Trace));
    assert_eq!(judged(udp(40000, 33434, 40, 31)), Judgement::Evidence(Class::Udp));
    assert_eq!(judged(udp(40000, 60000, 40, 5)), Judgement::Evidence(Class::Trace));
}

#[test]
fn what_is_published_protected_or_for_a_group_is_no_evidence() {
    let syn = tcp(40000, 22, TcpFlags::SYN);
    for (changed, why) in [
        (tcp(40000, 443, TcpFlags::SYN), Exemption::Published),
        (tcp(40000, 443, TcpFlags::SYN | TcpFlags::FIN), Exemption::Published),
        (Packet { saddr: IpAddr::from([203, 0, 113, 5]), ..syn }, Exemption::Protected),
        (Packet { saddr: IpAddr::from(Ipv4Addr::UNSPECIFIED), ..syn }, Exemption::NobodysAddress),
        (Packet { saddr: IpAddr::from([127, 0, 0, 1]), ..syn }, Exemption::NobodysAddress),
        (Packet { saddr: "ff02::1".parse().unwrap(), ..syn }, Exemption::NobodysAddress),
        (Packet { daddr: IpAddr::from([224, 0, 0, 251]), ..syn }, Exemption::Group),
        (Packet { daddr: IpAddr::from([203, 0, 113, 255]), ..syn }, Exemption::Group),
        (Packet { daddr: IpAddr::from([255, 255, 255, 255]), ..udp(68, 67, 300, 64) }, Exemption::Group),
    ] {
        assert_eq!(judged(changed), Judgement::Exempt(why), "{changed:?}");
    }
    let broadcast = Observation { pkttype: Pkttype::Broadcast, ..observed(syn) };
    assert_eq!(judge(&broadcast, &surroundings(), |_| false), Judgement::Exempt(Exemption::Group));
    // An accepted SYN to a published port is what some rules count; nothing else that was accepted is.
    let accepted = |packet| Observation { verdict: Verdict::Accepted, ..observed(packet) };
    let to_service = accepted(tcp(40000, 443, TcpFlags::SYN));
    assert_eq!(judge(&to_service, &surroundings(), |_| false), Judgement::Evidence(Class::Syn));
    let datagram = accepted(udp(40000, 51820, 100, 64));
    assert_eq!(judge(&datagram, &surroundings(), |_| false), Judgement::Exempt(Exemption::Accepted));
}

#[test]
fn a_port_that_listens_is_no_evidence_only_while_nobody_has_judged_the_packet() {
    let with = |verdict| Observation { verdict, ..observed(tcp(40000, 8080, TcpFlags::SYN)) };
    let judged = |verdict| judge(&with(verdict), &surroundings(), |_| false);
    assert_eq!(judged(Verdict::Undecided), Judgement::Exempt(Exemption::Listening));
    assert_eq!(judged(Verdict::Refused), Judgement::Evidence(Class::Syn), "what scanners look for");
}

#[test]
fn icmp_requests_are_classed_and_errors_are_answers() {
    let icmp = |kind, code| packet(Transport::Icmp(Icmp { kind, code }));
    assert_eq!(judged(icmp(8, 0)), Judgement::Evidence(Class::Echo));
    for kind in [10, 13, 15, 17] {
        assert_eq!(judged(icmp(kind, 0)), Judgement::Evidence(Class::Probe));
    }
    for kind in [0, 3, 5, 9, 11, 12, 14] {
        assert_eq!(judged(icmp(kind, 0)), Judgement::Exempt(Exemption::Answer));
    }
    let v6 = |kind| Packet { protocol: protocol::ICMPV6, ..icmp(kind, 0) };
    assert_eq!(judged(v6(128)), Judgement::Evidence(Class::Echo));
    assert_eq!(judged(v6(139)), Judgement::Evidence(Class::Probe));
    for kind in [1, 2, 3, 129, 130, 133, 134, 135, 136, 143] {
        assert_eq!(judged(v6(kind)), Judgement::Exempt(Exemption::Answer), "{kind}");
    }
    let smurf = Packet { daddr: IpAddr::from([203, 0, 113, 255]), ..icmp(8, 0) };
    assert_eq!(judged(smurf), Judgement::Evidence(Class::Smurf));
}

#[test]
fn protocols_that_no_ordinary_host_sends_are_probes() {
    for number in 0..=255_u8 {
        let opaque = Packet { protocol: number, ..packet(Transport::Opaque) };
        let ordinary = [1, 2, 4, 6, 17, 41, 47, 50, 51, 58, 88, 89, 103, 112, 132, 136].contains(&number);
        let expected =
            if ordinary { Judgement::Exempt(Exemption::Ordinary) } else { Judgement::Evidence(Class::Proto) };
        assert_eq!(judged(opaque), expected, "{number}");
    }
}

fn as_tcp(packet: &Packet) -> Tcp {
    let Transport::Tcp(tcp) = packet.transport else { panic!("a segment") };
    tcp
}

#[test]
fn the_style_of_a_syn_tells_raw_probes_from_connect() {
    let is_raw = Packet::is_raw;
    let syn = tcp(40000, 22, TcpFlags::SYN);
    assert!(!is_raw(&Packet { length: 60, ..syn }), "connect(): 20 octets of options and DF");
    assert!(
        is_raw(&Packet { length: 44, dont_fragment: false, ..syn }),
        "nmap -sS: 4 octets of options, no DF"
    );
    assert!(is_raw(&Packet { length: 52, dont_fragment: false, ..syn }), "ZMap: 12 octets of options, no DF");
    let v6 = |length| Packet {
        saddr: "2001:db8::7".parse().unwrap(),
        length,
        header_length: 40,
        dont_fragment: false,
        ..syn
    };
    assert!(!is_raw(&v6(80)));
    assert!(is_raw(&v6(64)), "nmap -6 -sS: 4 octets of options");
    let with_data = Transport::Tcp(Tcp { header_length: Some(24), ..as_tcp(&syn) });
    assert!(is_raw(&Packet { transport: with_data, ..v6(64 + 25) }), "nmap -6 -sS --data-length 25");
}

fn at(nanoseconds: u64) -> Stamp {
    Stamp { boot: Duration::from_nanos(nanoseconds), wall_us: 0 }
}

fn rules(yaml: &str) -> Vec<Rule> {
    load(&[("test.yaml", yaml)], Path::new("/nonexistent")).expect("the rules are good")
}

fn detector(rules: &[Rule]) -> Detector {
    let rules = Ruleset::compile(rules, &[(protocol::TCP, 23)]).unwrap();
    let (surroundings, widths) = (Surroundings::default(), Widths::default());
    Detector::new(rules, surroundings, widths, Capacity::default(), Seed::Fixed)
}

/// One packet of a made-up history.
#[derive(Debug, Clone, Copy)]
struct Step {
    wait: u64,
    host: u8,
    daddr: u8,
    dport: u16,
    udp: bool,
    accepted: bool,
}

impl Step {
    fn packet(self) -> Packet {
        let packet =
            if self.udp { udp(40000, self.dport, 9, 57) } else { tcp(40000, self.dport, TcpFlags::SYN) };
        Packet { saddr: [192, 0, 2, self.host].into(), daddr: [203, 0, 113, self.daddr].into(), ..packet }
    }
}

fn steps(hosts: u8, longest_wait: u64) -> impl Strategy<Value = Vec<Step>> {
    let step = (0..longest_wait, 0..hosts, 0u8..4, 1u16..20, any::<bool>(), any::<bool>());
    let step = step.prop_map(|(wait, host, daddr, dport, udp, accepted)| Step {
        wait,
        host,
        daddr,
        dport,
        udp,
        accepted: accepted && !udp,
    });
    proptest::collection::vec(step, 1..150)
}

/// When a rule fires first, by a full history that is looked at anew for each packet.
fn first_by_history(
    steps: &[Step],
    counts: impl Fn(Step) -> bool,
    key: impl Fn(Step) -> u8,
    fires: impl Fn(&[Step]) -> bool,
    window: u64,
) -> Option<usize> {
    let mut now = 0;
    let mut history: Vec<(u64, Step)> = Vec::new();
    for (number, &step) in steps.iter().enumerate() {
        now += step.wait;
        if !counts(step) {
            continue;
        }
        history.push((now, step));
        let alive: Vec<Step> = history
            .iter()
            .filter(|(seen, other)| now - seen < window && key(*other) == key(step))
            .map(|(_, step)| *step)
            .collect();
        if fires(&alive) {
            return Some(number);
        }
    }
    None
}

/// When the detector opens its first incident.
fn first_of_detector(yaml: &str, steps: &[Step]) -> Option<usize> {
    let mut detector = detector(&rules(yaml));
    let mut now = 0;
    steps.iter().position(|step| {
        now += step.wait;
        let verdict = if step.accepted { Verdict::Accepted } else { Verdict::Refused };
        let observation = Observation { verdict, ..observed(step.packet()) };
        matches!(detector.observe(&observation, at(now * 1_000_000_000)), super::Effect::Opened(_))
    })
}

fn distinct<T: Ord>(values: impl Iterator<Item = T>) -> usize {
    values.collect::<std::collections::BTreeSet<T>>().len()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn the_rules_of_a_packet_are_those_whose_filters_match_it(
        plain in proptest::collection::vec(filter(), 1..8),
        nots in proptest::collection::vec(proptest::option::of(filter()), 8),
        packets in proptest::collection::vec((observation(), class()), 1..20),
    ) {
        let filters: Vec<Filter> =
            plain.into_iter().zip(nots).map(|(plain, not)| Filter { not: not.into_iter().collect(), ..plain }).collect();
        let selector = Selector::new(filters.clone(), &[]);
        let mut names = Names::default();
        let mut by_signature = std::collections::HashMap::new();
        for (packet, class) in packets {
            // A class says which protocols a packet can be of; made-up ones need not keep to that.
            if !class.may_be(packet.packet.protocol) {
                continue;
            }
            let mut mask = selector.select(&packet, class, &mut names);
            let excepts = selector.excepts(&mask, &packet, class);
            selector.except(&mut mask, &packet, class);
            let naive = filters.iter().enumerate().filter(|(_, filter)| filter.matches(&packet, Some(class)));
            prop_assert_eq!(mask, naive.map(|(at, _)| at).collect());
            if let (Some(signature), false) = (selector.signature(&packet, class), excepts) {
                prop_assert_eq!(*by_signature.entry(signature).or_insert(mask), mask);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn weighted_ports_in_a_sliding_window_fire_exactly_when_a_full_history_says_so(
        steps in steps(3, 40),
        window in 1u64..200,
        threshold in 2u64..30,
    ) {
        // The second rule asks for other windows and values of the same packets.
        let yaml = format!(
            "- {{id: ports, title: t, match: {{class: [syn, udp]}}, count: {{distinct: dport, weights: {{3: [1-7], 2: rest}}}}, \
             threshold: {threshold}, window: {window}s}}\n\
             - {{id: hosts, title: t, match: {{class: [syn, udp]}}, count: {{distinct: [daddr, dport]}}, threshold: 60, window: 1h}}"
        );
        let weight = |alive: &[Step]| -> u64 {
            let ports: std::collections::BTreeSet<_> = alive.iter().map(|step| (step.udp, step.dport)).collect();
            ports.iter().map(|(_, dport)| if *dport <= 7 { 3 } else { 2 }).sum()
        };
        let counts = |step: Step| !step.accepted;
        let oracle = first_by_history(&steps, counts, |step| step.host, |alive| weight(alive) >= threshold, window);
        let other = first_by_history(&steps, counts, |step| step.host,
            |alive| distinct(alive.iter().map(|step| (step.udp, step.dport, step.daddr))) >= 60, 3600);
        let oracle = [oracle, other].into_iter().flatten().min();
        prop_assert_eq!(first_of_detector(&yaml, &steps), oracle);
    }

    #[test]
    fn a_prefix_fires_exactly_when_values_and_members_suffice(
        steps in steps(6, 4),
        window in 1u64..15,
        threshold in 2usize..15,
        members in 2usize..5,
    ) {
        let yaml = format!(
            "- {{id: prefix, title: t, match: {{class: syn}}, count: {{distinct: dport}}, per: {{ipv4: 24}}, \
             threshold: {threshold}, window: {window}s, from-at-least: {members}}}"
        );
        let fires = |alive: &[Step]| {
            distinct(alive.iter().map(|step| step.dport)) >= threshold && distinct(alive.iter().map(|step| step.host)) >= members
        };
        let oracle = first_by_history(&steps, |step| !step.accepted && !step.udp, |_| 0, fires, window);
        prop_assert_eq!(first_of_detector(&yaml, &steps), oracle);
    }

    #[test]
    fn accepted_packets_count_once_enough_closed_ports_do(
        steps in steps(2, 20),
        window in 1u64..100,
        threshold in 5usize..15,
        closed in 1usize..5,
    ) {
        let yaml = format!(
            "- {{id: scan, title: t, match: {{class: syn, verdict: [refused, accepted]}}, count: {{distinct: dport}}, \
             threshold: {threshold}, window: {window}s, closed-at-least: {closed}}}"
        );
        let fires = |alive: &[Step]| {
            let of_closed = distinct(alive.iter().filter(|step| !step.accepted).map(|step| step.dport));
            let all = distinct(alive.iter().map(|step| step.dport));
            (if of_closed >= closed { all } else { of_closed }) >= threshold
        };
        let oracle = first_by_history(&steps, |step| !step.udp, |step| step.host, fires, window);
        prop_assert_eq!(first_of_detector(&yaml, &steps), oracle);
    }

    #[test]
    fn a_rate_is_never_more_than_the_window_holds_and_never_less_than_its_latest_fifteen_sixteenths(
        waits in proptest::collection::vec(0i64..400, 1..300),
        window in 160i64..4000,
    ) {
        let window = window / 16 * 16;
        let mut rates = Rates::default();
        let mut history: Vec<i64> = Vec::new();
        let mut now = 0;
        for wait in waits {
            now += wait;
            history.push(now);
            let (counted, bytes) = rates.add(7, 40, now, window);
            // Another rule, of the same packets and another window.
            rates.add(3, 40, now, window * 2);
            let within = |span: i64| u64::try_from(history.iter().filter(|seen| now - **seen < span).count()).unwrap();
            prop_assert!(counted <= within(window));
            prop_assert!(counted >= within(window / 16 * 15));
            prop_assert_eq!(bytes, counted * 40);
        }
    }
}

/// What a purge of a busy source drops must change no answer: many hosts and few ports, all in the window.
#[test]
fn a_source_that_does_many_things_below_every_threshold_is_still_counted_right() {
    let yaml = "- {id: ports, title: t, match: {class: syn}, count: {distinct: dport}, threshold: 8, window: 1h}\n\
                - {id: pairs, title: t, match: {class: syn}, count: {distinct: [dport, daddr]}, threshold: 2000, window: 1h}";
    let mut detector = detector(&rules(yaml));
    let mut see = |seconds: u64, daddr: u8, dport: u16| {
        let packet = Packet { daddr: [203, 0, 113, daddr].into(), ..tcp(40000, dport, TcpFlags::SYN) };
        matches!(detector.observe(&observed(packet), at(seconds * 1_000_000_000)), super::Effect::Opened(_))
    };
    for round in 0..7_u64 {
        for host in 0..=255 {
            assert!(!see(round * 300 + u64::from(host), host, 1000 + u16::try_from(round).unwrap()));
        }
    }
    assert!(see(2400, 1, 2000), "the eighth port");
}
