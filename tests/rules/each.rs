//! One rule at a time: one value too few, enough, and the same with the first value just outside and just inside of
//! the window.

use std::collections::BTreeSet;

use nfban::detect::rule::{Count, Rule};
use nfban::packet::{Fault, Verdict};

use super::bed::*;

/// What makes a rule fire, and nothing else.
struct Case {
    /// The rule.
    rule: &'static str,
    /// What its incident must be called.
    told: &'static str,
    /// So many packets are enough, and one less is not.
    enough: usize,
    /// They are these.
    packet: fn(usize) -> Seen,
}

const fn case(rule: &'static str, told: &'static str, enough: usize, packet: fn(usize) -> Seen) -> Case {
    Case { rule, told, enough, packet }
}

/// A port of weight 3.
fn low(n: usize) -> u16 {
    100 + n as u16
}

/// A port of weight 2, where ports weigh.
fn high(n: usize) -> u16 {
    20_000 + n as u16
}

fn host(n: usize) -> [u8; 4] {
    [203, 0, 113, n as u8]
}

fn host_of_others(n: usize) -> [u8; 4] {
    [198, 51, 100, n as u8]
}

/// The `n`th address of an IPv6 network, and of several networks of a /48.
fn of_64(n: usize) -> std::net::Ipv6Addr {
    std::net::Ipv6Addr::new(0x2001, 0xdb8, 1, 1, 0, 0, 1, n as u16)
}

fn of_48(n: usize) -> std::net::Ipv6Addr {
    std::net::Ipv6Addr::new(0x2001, 0xdb8, 1, n as u16, 0, 0, 0, 1)
}

/// Several for a rule where it counts unlike things.
const CASES: &[Case] =
    &[
        case("trap-port", "trap-port", 2, |n| syn([4444, 5555][n]).with(Verdict::Accepted)),
        case("tcp-bogus-flags", "tcp-bogus-flags", 3, |n| bogus(high(n))),
        case("tcp-null-scan", "tcp-null-scan", 3, |n| null(high(n))),
        case("tcp-fin-scan", "tcp-fin-scan", 3, |n| fin(high(n))),
        case("tcp-xmas-scan", "tcp-xmas-scan", 3, |n| xmas(high(n))),
        case("tcp-flag-mix", "tcp-port-scan", 4, |n| [bogus, null, fin, xmas][n](high(n))),
        case("tcp-maimon-scan", "tcp-maimon-scan", 8, |n| finack(low(n))),
        case("tcp-maimon-scan", "tcp-maimon-scan", 12, |n| finack(high(n))),
        case("tcp-ack-scan", "tcp-ack-scan", 8, |n| ack(low(n))),
        case("tcp-ack-scan", "tcp-ack-scan", 12, |n| ack(high(n))),
        case("distributed-scan", "distributed-scan", 8, |n| raw_syn(low(n)).from(of_64(n % 4))),
        case("tcp-port-scan", "tcp-port-scan", 8, |n| syn(low(n))),
        case("tcp-port-scan", "tcp-port-scan", 12, |n| syn(high(n))),
        case("tcp-port-scan", "tcp-syn-scan", 8, |n| if n % 2 == 0 { raw_syn(low(n)) } else { syn(low(n)) }),
        // Three closed ports, then published ones with SYNs made by hand.
        case("tcp-port-scan", "tcp-syn-scan", 8, |n| {
            raw_syn(low(n)).with(if n < 3 { Verdict::Refused } else { Verdict::Accepted })
        }),
        // The same, the closed ones last.
        case("tcp-port-scan", "tcp-syn-scan", 8, |n| {
            raw_syn(low(n)).with(if n < 5 { Verdict::Accepted } else { Verdict::Refused })
        }),
        case("tcp-probe-mix", "tcp-port-scan", 12, |n| {
            if n % 2 == 0 || n == 11 { syn(low(n)) } else { finack(low(n)) }
        }),
        case("tcp-grid-scan", "tcp-port-scan", 30, |n| syn(low(n / 6)).to(host(n % 6))),
        case("tcp-grid-scan", "tcp-syn-scan", 30, |n| raw_syn(high(n % 10)).to(host(n / 10))),
        case("udp-scan", "udp-scan", 8, |n| datagram(low(n))),
        case("udp-scan", "udp-scan", 12, |n| datagram(high(n))),
        case("udp-data-scan", "udp-scan", 48, |n| with_data(high(n))),
        case("udp-grid-scan", "udp-scan", 30, |n| datagram(low(n / 6)).to(host(n % 6))),
        case("ip-protocol-scan", "ip-protocol-scan", 4, |n| of_protocol([3, 5, 7, 255][n])),
        case("host-sweep", "host-sweep", 10, |n| syn(22).to(host(n))),
        case("host-sweep", "host-sweep", 10, |n| [syn(22), datagram(161), echo()][n % 3].to(host(n))),
        case("open-port-sweep", "host-sweep", 32, |n| syn(22).to(host(n)).with(Verdict::Accepted)),
        case("open-web-sweep", "host-sweep", 128, |n| syn(443).to(host(n)).with(Verdict::Accepted)),
        case("distributed-port-scan", "distributed-scan", 16, |n| {
            syn(low(n)).from([192, 0, 2, 10 + (n % 8) as u8])
        }),
        case("distributed-port-scan", "distributed-scan", 24, |n| {
            syn(high(n)).from([192, 0, 2, 10 + (n % 8) as u8])
        }),
        case("distributed-port-scan", "distributed-scan", 16, |n| syn(low(n)).from(of_48(n % 4))),
        case("distributed-sweep", "distributed-scan", 32, |n| {
            raw_syn(22).from([192, 0, 2, n as u8 % 8]).to(host(n))
        }),
        case("distributed-address-scan", "distributed-scan", 256, |n| raw_syn(22).from(of_64(n))),
        case("distributed-address-scan", "distributed-scan", 256, |n| {
            syn(443).from(of_64(n)).with(Verdict::Accepted)
        }),
        case("query-sweep", "host-sweep", 3, |n| timestamp_query().to(host(n))),
        case("host-sweep", "host-sweep", 10, |n| [fin, null, xmas, bogus][n / 3](22).to(host(n))),
        case("icmp-probe", "icmp-probe", 3, |_| timestamp_query()),
        case("icmp-smurf", "icmp-smurf", 10, |_| broadcast_echo()),
        case("icmp-ping-flood", "icmp-ping-flood", 300, |_| echo()),
        case("udp-flood", "udp-flood", 1000, |n| {
            if n % 2 == 0 { datagram(9000) } else { traced(33_434).at_ttl(20) }
        }),
        case("syn-flood", "syn-flood", 1000, |_| raw_syn(22)),
        case("syn-flood", "syn-flood", 1000, |_| raw_syn(443).with(Verdict::Accepted)),
        case("knock-flood", "syn-flood", 10_000, |_| syn(3128)),
        case("connection-flood", "syn-flood", 5000, |_| syn(443).with(Verdict::Accepted)),
        case("fragment-attack", "fragment-attack", 3, |n| faulty([Fault::Overlap, Fault::Oversized][n % 2])),
        case("tiny-fragments", "fragment-attack", 64, |_| faulty(Fault::Tiny)),
        case("duplicate-fragments", "fragment-attack", 100, |_| faulty(Fault::Duplicate)),
        case("slow-scan", "slow-scan", 20, |n| if n % 2 == 0 { syn(low(n)) } else { datagram(high(n)) }),
        case("traceroute", "traceroute", 3, |n| traced(33_434 + n as u16)),
        case("traceroute", "traceroute", 3, |_| echo().at_ttl(5)),
        case("traceroute-port", "traceroute", 3, |_| datagram(53).at_ttl(2)),
        case("traceroute-port", "traceroute", 3, |n| syn(80).at_ttl(1 + n as u8).with(Verdict::Accepted)),
        case("outbound-flag-scan", "outbound-scan", 3, |n| [bogus, null, xmas][n](high(n)).outbound()),
        case("outbound-scan", "outbound-scan", 20, |n| syn(low(n)).outbound()),
        case("outbound-scan", "outbound-scan", 300, |n| datagram(high(n)).outbound()),
        case("outbound-host-sweep", "outbound-scan", 60, |n| syn(22).outbound().to(host_of_others(n))),
    ];

/// The incidents of so many packets, the last `span` nanoseconds after the first and the others evenly between.
fn run(case: &Case, packets: usize, span: u64, without: Option<&str>) -> Vec<String> {
    let mut world = World::new(without);
    let steps = packets.max(2) as u64 - 1;
    let at = |n: usize| span / steps * n as u64 + if n as u64 == steps { span % steps } else { 0 };
    (0..packets).flat_map(|n| world.see(&(case.packet)(n), at(n))).map(|(name, _)| name).collect()
}

fn rule_of<'r>(rules: &'r [Rule], case: &Case) -> &'r Rule {
    rules.iter().find(|rule| rule.id == case.rule).unwrap()
}

/// Goes over all cases, and fails with all that is wrong.
fn for_each(judge: impl Fn(&Case, &Rule) -> Vec<(Vec<String>, bool)>) {
    let rules = shipped();
    let mut wrong = String::new();
    for case in CASES {
        for (told, fires) in judge(case, rule_of(&rules, case)) {
            let expected: Vec<&str> = if fires { vec![case.told] } else { Vec::new() };
            if told != expected {
                wrong += &format!("{}, {} packets: {told:?}, not {expected:?}\n", case.rule, case.enough);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn every_shipped_rule_has_a_case() {
    let covered: BTreeSet<&str> = CASES.iter().map(|case| case.rule).collect();
    let rules = shipped();
    let shipped: BTreeSet<&str> = rules.iter().map(|rule| rule.id.as_str()).collect();
    assert_eq!(covered, shipped);
    let named: BTreeSet<&str> = CASES.iter().map(|case| case.told).collect();
    for rule in &rules {
        let told = rule.report_as.as_deref().unwrap_or(&rule.id);
        assert!(
            named.contains(told) && rule.raw_id.as_deref().is_none_or(|raw| named.contains(raw)),
            "{told}"
        );
    }
}

#[test]
fn a_rule_fires_at_its_threshold_and_not_one_value_earlier() {
    for_each(|case, rule| {
        let span = rule.window.as_nanos() as u64 / 2;
        vec![(run(case, case.enough - 1, span, None), false), (run(case, case.enough, span, None), true)]
    });
}

#[test]
fn the_threshold_is_reached_by_the_rule_under_test_alone() {
    for_each(|case, rule| {
        let mut told = run(case, case.enough, rule.window.as_nanos() as u64 / 2, Some(case.rule));
        // One network is a source of its own as well.
        told.retain(|name| (case.rule, name.as_str()) != ("distributed-scan", "tcp-syn-scan"));
        vec![(told, false)]
    });
}

#[test]
fn what_is_as_old_as_the_window_counts_no_more_and_what_is_younger_does() {
    for_each(|case, rule| {
        let window = rule.window.as_nanos() as u64;
        // Packets are counted in sixteenths of the window, so the oldest sixteenth may be left out.
        let within = if matches!(rule.count, Count::Distinct { .. }) { window } else { window / 16 * 15 };
        vec![(run(case, case.enough, window, None), false), (run(case, case.enough, within - 1, None), true)]
    });
}

#[test]
fn more_of_the_same_is_the_same_incident() {
    for_each(|case, rule| {
        let mut world = World::new(None);
        // A second round of it, both within the window.
        let pace = rule.window.as_nanos() as u64 / (2 * case.enough as u64);
        let told = |n: usize| world.see(&(case.packet)(n % case.enough), n as u64 * pace);
        let told: Vec<String> = (0..2 * case.enough).flat_map(told).map(|(name, _)| name).collect();
        vec![(told, true)]
    });
}

#[test]
fn accepted_packets_are_no_closed_ports() {
    let accepted = |dport: u16, seen: fn(u16) -> Seen| seen(dport).with(Verdict::Accepted);
    // Made by hand, but only two ports were closed; and connect() after a closed one.
    let few: Vec<Seen> =
        (0..2).map(|n| raw_syn(low(n))).chain((2..200).map(|n| accepted(low(n), raw_syn))).collect();
    let client: Vec<Seen> =
        (0..7).map(|n| syn(low(n))).chain((7..200).map(|n| accepted(low(n), syn))).collect();
    for packets in [few, client] {
        let mut world = World::new(None);
        let told = |(n, packet): (usize, &Seen)| world.see(packet, n as u64 * 100 * MILLISECOND);
        assert_eq!(packets.iter().enumerate().flat_map(told).count(), 0);
    }
}

#[test]
fn a_port_that_was_probed_in_two_styles_is_named_by_its_latest_packet() {
    let mut world = World::new(None);
    let again = (0..5).map(|n| raw_syn(low(n)).with(Verdict::Accepted));
    let packets = (0..5).map(|n| syn(low(n))).chain(again).chain((5..8).map(|n| syn(low(n))));
    let told: Vec<String> = (0..)
        .zip(packets)
        .flat_map(|(n, packet)| world.see(&packet, n * SECOND))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(told, ["tcp-syn-scan"], "of eight ports the latest packets of five are raw");
}

#[test]
fn what_our_hosts_send_is_counted_by_the_outbound_rules_alone() {
    let mut world = World::new(None);
    for n in 0..9 {
        for packet in [syn(low(n)), datagram(low(n)), finack(low(n)), echo(), of_protocol(200 + n as u8)] {
            assert_eq!(world.see(&packet.outbound(), n as u64 * MILLISECOND), []);
        }
    }
}

#[test]
fn honest_hosts_of_ours_open_many_connections() {
    let mut world = World::new(None);
    let mut at = 0;
    let mut sees = |packet: Seen| {
        at += 10 * MILLISECOND;
        world.see(&packet, at)
    };
    for n in 0..250 {
        let to = host_of_others(n);
        // A browser, a mail server, a resolver, a peer of BitTorrent, and files from one FTP server.
        let honest = [syn(443).outbound().to(to), syn(25).outbound().to(to), datagram(53).outbound().to(to)];
        let peer = syn(high(n)).outbound().to(to);
        let passive = syn(30_000 + n as u16).outbound();
        for packet in honest.into_iter().chain([peer, passive]) {
            assert_eq!(sees(packet), [], "{n}");
        }
    }
    // A member of a Windows domain and its controller; a mail program's set-up.
    for port in [53, 88, 123, 135, 137, 138, 139, 389, 445, 464, 636, 3268, 3269, 5985, 9389, 49_152] {
        assert_eq!(sees(syn(port).outbound().to(host_of_others(251))), []);
    }
    for port in [143, 993, 110, 995, 587, 465, 25] {
        assert_eq!(sees(syn(port).outbound().to(host_of_others(252))), []);
    }
}
