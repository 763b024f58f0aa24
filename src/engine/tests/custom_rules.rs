//! Rules of every shape that the format allows, besides those that are shipped.

use super::*;

#[test]
fn a_rule_may_count_per_prefix_and_ask_for_several_sources() {
    let rule = "- {id: many, title: t, match: {class: syn}, count: {distinct: dport}, per: {ipv4: 24}, threshold: 6, \
                window: 60s, from-at-least: 3}";
    let mut world = World::of_rules(rule);
    (1..=20).for_each(|dport| world.see(syn("192.0.2.7", dport, RAW)));
    (21..=40).for_each(|dport| world.see(syn("192.0.2.8", dport, RAW)));
    assert_eq!(world.incidents().len(), 0, "two sources are not three");
    (1..=8).for_each(|dport| world.see(syn("2001:db8::1", dport, RAW)));
    world.see(syn("192.0.2.9", 41, RAW));
    assert_eq!(world.incidents().len(), 1);
    let incident = world.incidents()[0];
    assert_eq!((incident.source, incident.addresses), ("192.0.2.0/24".parse().unwrap(), 3));
    let targets: Vec<_> = world.bans().iter().map(|ban| ban.target.to_string()).collect();
    let members = ["192.0.2.7/32", "192.0.2.8/32", "192.0.2.9/32"];
    assert_eq!(targets, members, "its members that contributed are acted against, not the prefix");
    // Packets of its members belong to the incident now.
    (50..=90).for_each(|dport| world.see(syn("192.0.2.99", dport, RAW)));
    assert_eq!(world.incidents().len(), 1);
}

#[test]
fn a_rule_may_count_packets_octets_or_several_fields_together() {
    let mut packets = World::of_rules(
        "- {id: flood, title: t, match: {class: udp}, count: packets, per: source, threshold: 100, window: 10s}",
    );
    (0..99).for_each(|_| packets.see(datagram(SCANNER, 9)));
    assert_eq!(packets.incidents().len(), 0);
    packets.see(datagram(SCANNER, 9));
    assert_eq!((packets.incidents()[0].packets, packets.incidents()[0].bytes), (100, 2800));

    let mut octets = World::of_rules(
        "- {id: flood, title: t, match: {class: udp}, count: bytes, per: source, threshold: 2800, window: 10s}",
    );
    (0..99).for_each(|_| octets.see(datagram(SCANNER, 9)));
    assert_eq!(octets.incidents().len(), 0);
    octets.see(datagram(SCANNER, 9));
    assert_eq!(octets.rules_of_incidents(), ["flood"]);

    let mut pairs = World::of_rules(
        "- {id: grid, title: t, match: {class: syn}, count: {distinct: [dport, daddr]}, per: source, threshold: 9, window: 60s}",
    );
    let mut grid = (1..=3_u8).flat_map(|host| (1..=3_u16).map(move |dport| (host, dport)));
    for (host, dport) in grid.by_ref().take(8) {
        pairs.see(Packet { daddr: [203, 0, 113, host].into(), ..syn(SCANNER, dport, RAW) });
        pairs.see(Packet { daddr: [203, 0, 113, host].into(), ..syn(SCANNER, dport, RAW) });
    }
    assert_eq!(pairs.incidents().len(), 0);
    let (host, dport) = grid.next().unwrap();
    pairs.see(Packet { daddr: [203, 0, 113, host].into(), ..syn(SCANNER, dport, RAW) });
    let incident = pairs.incidents()[0];
    assert_eq!((incident.distinct_ports, incident.distinct_destinations, incident.packets), (3, 3, 17));
}

#[test]
fn a_threshold_of_one_fires_at_the_first_packet_and_ports_narrow_a_rule() {
    let rules = "\
- {id: trap-port, title: t, match: {class: syn, dport: 23}, count: packets, per: source, threshold: 1, window: 60s, respond: ban}
- {id: ports, title: t, match: {class: syn}, count: {distinct: dport}, per: source, threshold: 3, window: 60s}";
    let mut world = World::of_rules(rules);
    world.see(syn(SCANNER, 22, RAW));
    assert_eq!(world.incidents().len(), 0);
    world.see(syn(SCANNER, 23, RAW));
    assert_eq!(world.rules_of_incidents(), ["trap-port"]);
    assert_eq!(world.bans()[0].action, Measure::Ban, "the rule's own response");
    // It owns what it matches and no more: other ports still count, from nothing.
    [23, 23, 1, 2].into_iter().for_each(|dport| world.see(syn(SCANNER, dport, RAW)));
    assert_eq!(world.incidents().len(), 1);
    world.see(syn(SCANNER, 3, RAW));
    assert_eq!(world.rules_of_incidents(), ["trap-port", "ports"]);
}

#[test]
fn a_rule_that_logs_owns_nothing_and_is_told_once() {
    let rules = "\
- {id: seen, title: t, match: {class: syn}, count: packets, per: source, threshold: 2, window: 60s, respond: log}
- {id: ports, title: t, match: {class: syn}, count: {distinct: dport}, per: source, threshold: 6, window: 60s}";
    let mut world = World::of_rules(rules);
    (1..=5).for_each(|dport| world.see(syn(SCANNER, dport, RAW)));
    assert_eq!(world.rules_of_incidents(), ["seen"]);
    assert!(world.bans().is_empty());
    // The packet at which the first rule fired counts for the second as well.
    world.see(syn(SCANNER, 6, RAW));
    assert_eq!(world.rules_of_incidents(), ["seen", "ports"]);
    assert_eq!(world.bans().len(), 1);
}

#[test]
fn weights_count_privileged_ports_and_traps_for_more() {
    let rule = "- {id: w, title: t, match: {class: syn}, count: {distinct: dport, weights: {5: [traps], 3: [0-1023], 2: rest}}, \
                per: source, threshold: 10, window: 60s}";
    let fires_at = |ports: &[u16]| {
        let mut world = World::of_rules(rule);
        ports.iter().position(|&dport| {
            world.see(syn(SCANNER, dport, RAW));
            !world.incidents().is_empty()
        })
    };
    assert_eq!(fires_at(&[23, 22, 4000]), Some(2), "5 + 3 + 2");
    assert_eq!(fires_at(&[4000, 4001, 4002, 4003]), None);
    assert_eq!(fires_at(&[4000, 4001, 4002, 4003, 4004]), Some(4));
    assert_eq!(fires_at(&[1, 2, 3]), None);
    assert_eq!(fires_at(&[1, 2, 3, 4]), Some(3));
}
