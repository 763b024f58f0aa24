//! The packets behind a decision: exactly those that counted.

use std::sync::Arc;

use super::*;
use crate::decide::Shielded;
use crate::event::firing::{Answer, Firing, What};
use crate::packet::Icmp;

impl World {
    fn firings(&self, net: &str) -> Vec<&Firing> {
        self.engine.firings_of(net.parse().unwrap()).map(Arc::as_ref).collect()
    }

    fn only_firing(&self, net: &str) -> &Firing {
        let firings = self.firings(net);
        let [firing] = firings[..] else { panic!("{firings:#?}") };
        firing
    }
}

/// Milliseconds since the beginning, and the ports of what was counted.
fn listed(firing: &Firing) -> Vec<(i64, u16, u16)> {
    let ports = |what: &What| match *what {
        What::Tcp { sport, dport, .. } | What::Udp { sport, dport } | What::Touch { sport, dport } => {
            (sport, dport)
        }
        _ => (0, 0),
    };
    let of = |one: &crate::event::firing::Counted| {
        let (sport, dport) = ports(&one.what);
        ((one.first.wall_us - 1_700_000_000_000_000) / 1000, sport, dport)
    };
    firing.packets.iter().map(of).collect()
}

#[test]
fn the_packets_of_a_scan_are_those_that_counted_with_all_that_was_seen_of_them() {
    let mut world = World::new();
    // None of these is evidence: published, allowed to answer, another host's.
    world.see(syn("192.0.2.8", 22, RAW));
    world.see(segment(SCANNER, 443, 50_000, TcpFlags::SYN | TcpFlags::ACK, CONNECT));
    for dport in [22, 23, 80, 81, 82, 111, 112] {
        world.see(syn(SCANNER, dport, RAW));
    }
    world.see(syn(SCANNER, 22, RAW));
    assert!(world.firings(SCANNER_NET).is_empty());
    world.see(syn(SCANNER, 990, RAW));
    let firing = world.only_firing(SCANNER_NET);
    let incident = world.incidents()[0];
    assert_eq!((firing.incident, firing.opened, firing.time), (incident.id, true, incident.time));
    assert_eq!(
        listed(firing),
        [
            (20, 40_000, 22),
            (30, 40_000, 23),
            (40, 40_000, 80),
            (50, 40_000, 81),
            (60, 40_000, 82),
            (70, 40_000, 111),
            (80, 40_000, 112),
            (100, 40_000, 990)
        ]
    );
    let [first, .., last] = &firing.packets[..] else { panic!("{firing:#?}") };
    assert_eq!((first.packets, last.packets), (2, 1), "one of them came twice");
    assert_eq!((first.last.wall_us - first.first.wall_us, last.last), (70_000, last.first));
    assert_eq!(&*first.interface, "eth0");
    assert_eq!((first.ttl, first.length, first.verdict), (Some(57), Some(44), Some(Verdict::Refused)));
    assert_eq!(first.what, What::Tcp { sport: 40_000, dport: 22, flags: TcpFlags(TcpFlags::SYN) });
    assert_eq!(incident.packets, firing.packets.iter().map(|one| one.packets).sum::<u64>());
    assert_eq!((firing.count, firing.threshold, firing.left_out), (24, 24, 0));
    assert_eq!(firing.counts, "distinct ports, some of more weight");
    let ten_minutes = Duration::from_secs(600);
    let restricted =
        Answer::Acted { measure: Measure::Restrict, timeout: ten_minutes, before: 0, targets: 1 };
    assert_eq!(firing.answer, restricted);
}

const SCANNER_NET: &str = "192.0.2.7/32";

#[test]
fn what_left_the_window_is_not_among_the_packets() {
    let mut world = World::new();
    world.see(segment(SCANNER, 40_000, 1, 0, RAW));
    world.see(segment(SCANNER, 40_000, 2, 0, RAW));
    world.wait(Duration::from_secs(61));
    for dport in [3, 4, 5] {
        world.see(segment(SCANNER, 40_000, dport, 0, RAW));
    }
    let firing = world.only_firing(SCANNER_NET);
    assert_eq!((firing.rule.as_str(), firing.count, firing.threshold), ("tcp-null-scan", 3, 3));
    assert_eq!(listed(firing).iter().map(|one| one.2).collect::<Vec<_>>(), [3, 4, 5]);
    let What::Tcp { flags, .. } = firing.packets[0].what else { panic!("{firing:#?}") };
    assert_eq!(flags, TcpFlags(0));
}

#[test]
fn of_many_packets_the_latest_are_listed_and_the_rest_are_counted() {
    let mut world = World::of_rules(
        "- {id: many, title: t, match: {class: syn}, count: {distinct: dport}, threshold: 100, window: 60s, reason: r}",
    );
    (1..=100).for_each(|dport| world.see(syn(SCANNER, dport, RAW)));
    let firing = world.only_firing(SCANNER_NET);
    assert_eq!((firing.packets.len(), firing.left_out, firing.count), (64, 36, 100));
    assert_eq!(listed(firing).first().map(|one| one.2), Some(37));
    assert_eq!(listed(firing).last().map(|one| one.2), Some(100));
}

#[test]
fn a_flood_lists_packets_alike_once_and_says_how_many() {
    let mut world = World::of_rules(
        "- {id: pings, title: t, match: {class: echo}, count: packets, threshold: 50, window: 60s, reason: r}",
    );
    let echo = Packet {
        protocol: protocol::ICMP,
        transport: Transport::Icmp(Icmp { kind: 8, code: 0 }),
        ..datagram(SCANNER, 0)
    };
    (0..50).for_each(|_| world.see(echo));
    let firing = world.only_firing(SCANNER_NET);
    let [one] = &firing.packets[..] else { panic!("{firing:#?}") };
    assert_eq!((one.packets, &one.what), (50, &What::Icmp { kind: 8, code: 0 }));
    assert_eq!((firing.counts.as_str(), firing.count), ("packets", 50));
}

#[test]
fn the_packets_of_a_prefix_are_those_of_its_members() {
    let mut world = World::of_rules(
        "- {id: many, title: t, match: {class: syn}, count: {distinct: dport}, per: {ipv4: 24, ipv6: 64}, \
         from-at-least: 3, threshold: 6, window: 60s, reason: r}",
    );
    world.see(syn("198.18.0.9", 1, RAW));
    for (member, dport) in [(7, 1), (8, 2), (9, 3), (7, 4), (8, 5), (9, 6)] {
        world.see(syn(&format!("192.0.2.{member}"), dport, RAW));
    }
    let firing = world.only_firing("192.0.2.0/24");
    let from: Vec<String> = firing.packets.iter().map(|one| one.saddr.to_string()).collect();
    let of = |last: u8| format!("192.0.2.{last}");
    assert_eq!(from, [of(7), of(8), of(9), of(7), of(8), of(9)]);
    assert!(matches!(firing.answer, Answer::Acted { targets: 3, .. }), "{firing:?}");
    assert_eq!(world.firings("192.0.2.9/32").len(), 1, "a member finds it too");
}

#[test]
fn a_ban_in_an_incident_that_goes_on_has_packets_of_its_own() {
    let mut world = World::new();
    (1..=8).for_each(|dport| world.see(syn(SCANNER, dport, RAW)));
    // The restriction ends, the scan does not: one packet a minute keeps the incident open.
    for _ in 0..11 {
        world.wait(Duration::from_secs(60));
        world.see(syn(SCANNER, 9, RAW));
    }
    (101..=108).for_each(|dport| world.see(syn(SCANNER, dport, RAW)));
    let firings = world.firings(SCANNER_NET);
    let [second, first] = firings[..] else { panic!("{firings:#?}") };
    assert_eq!((first.opened, second.opened, first.incident == second.incident), (true, false, true));
    assert!(matches!(second.answer, Answer::Acted { before: 1, .. }), "{second:?}");
    assert!(listed(second).iter().all(|one| one.2 == 9 || one.2 > 100), "{:?}", listed(second));
    assert_eq!(world.bans().len(), 2);
}

#[test]
fn why_nothing_was_done_is_told_with_the_packets() {
    let mut world = World::new();
    (1..=8).for_each(|dport| world.see(syn("198.51.100.7", dport, RAW)));
    let allowed = world.only_firing("198.51.100.7/32");
    assert_eq!((allowed.answer, allowed.packets.len()), (Answer::Shielded(Shielded::Allowed), 8));

    let mut log = settings();
    log.policy.spoofable = Response::Log;
    let mut world = World::with(log);
    (1..=8).for_each(|dport| world.see(syn(SCANNER, dport, RAW)));
    assert_eq!(world.only_firing(SCANNER_NET).answer, Answer::Logs);
}

#[test]
fn what_counts_of_somebody_who_has_not_been_banned_is_told_from_the_first_packet_on() {
    let mut world = World::new();
    world.see(syn(SCANNER, 22, RAW));
    for expected in [1_u16, 2, 3] {
        let counting = world.engine.counting(SCANNER_NET.parse().unwrap(), world.now);
        let scan = counting.iter().find(|one| one.rule == "tcp-port-scan").expect("it counts");
        assert_eq!(
            (scan.packets.len(), scan.count, scan.threshold),
            (expected.into(), 3 * u64::from(expected), 24)
        );
        let seen = world.engine.seen(SCANNER_NET.parse().unwrap(), world.now);
        assert!(seen.counts.iter().any(|one| one.rule == "tcp-port-scan" && one.count == scan.count));
        world.see(syn(SCANNER, 100 + expected, RAW));
    }
    world.see(syn(SCANNER, 443, CONNECT));
    let exempted: Vec<_> = world.engine.exempted(SCANNER_NET.parse().unwrap()).collect();
    assert_eq!(exempted.len(), 1);
    assert_eq!((exempted[0].why, exempted[0].to), (Exemption::Published, (protocol::TCP, 443)));
}

#[test]
fn each_firing_is_taken_once_and_a_flood_of_them_is_bounded() {
    let mut world = World::new();
    for host in 0..40_u8 {
        (1..=8).for_each(|dport| world.see(syn(&format!("203.0.113.{host}"), dport, RAW)));
    }
    assert_eq!(world.engine.take_firings(30).len(), 30);
    assert_eq!(world.engine.take_firings(30).len(), 10);
    assert!(world.engine.take_firings(30).is_empty());
    assert_eq!(world.engine.take_missed_firings(), 0);
    for host in 0..10_000_u16 {
        let [high, low] = host.to_be_bytes();
        (1..=3).for_each(|dport| {
            world.see(segment(&format!("10.1.{high}.{low}"), 40_000, dport, 0, RAW));
        });
    }
    let kept = world.firings("0.0.0.0/0").iter().map(|firing| firing.packets.len()).sum::<usize>();
    assert!(kept <= 16_384, "{kept}");
    let missed = world.engine.take_missed_firings();
    assert_eq!(world.engine.take_firings(usize::MAX).len() as u64 + missed, 10_000);
}
