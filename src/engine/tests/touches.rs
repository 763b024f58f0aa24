//! Touched traps: evidence whose source is proven.

use std::net::SocketAddr;

use super::*;
use crate::decide::Measure::{Ban, Restrict};

const VISITOR: &str = "192.0.2.7";
const HOUR: Duration = Duration::from_secs(3600);

/// With the shipped rule, or this one instead.
fn world(settings: Settings, rule: Option<&str>) -> World {
    let mut world = World::with(settings);
    let files = rule.map_or_else(|| SHIPPED.to_vec(), |rule| vec![("own.yaml", rule)]);
    world.engine.set_trap_rule(&load(&files, Path::new("/nonexistent")).unwrap());
    world
}

fn touch(world: &mut World, source: &str, port: u16) {
    let trap = SocketAddr::new([203, 0, 113, 5].into(), port);
    let source = source.parse().unwrap();
    let touch = Touch { source, source_port: 40_000, trap, connections: 1, interface: "eth0", ttl: Some(57) };
    let mut actions = Vec::new();
    world.engine.touched(&touch, world.now, &mut actions);
    world.carry_out(actions);
}

/// All bans so far: whom, how, and for how many seconds.
fn decided(world: &World) -> Vec<(String, Measure, u64)> {
    let decided =
        |ban: &&crate::event::Ban| (ban.target.to_string(), ban.action, ban.timeout.unwrap().as_secs());
    world.bans().iter().map(decided).collect()
}

#[test]
fn one_trap_restricts_and_a_second_one_within_an_hour_bans() {
    let mut world = world(settings(), None);
    touch(&mut world, VISITOR, 23);
    assert_eq!(decided(&world), [("192.0.2.7/32".to_owned(), Restrict, 600)]);
    let opened = world.incidents()[0].clone();
    assert_eq!(
        (opened.rule.as_str(), opened.evidence, opened.packets),
        ("trap-port", Evidence::Validated, 1)
    );
    world.wait(Duration::from_secs(1));
    touch(&mut world, VISITOR, 23);
    assert_eq!(decided(&world).len(), 1, "the same trap again proves nothing new");

    touch(&mut world, VISITOR, 3389);
    assert_eq!(
        decided(&world)[1],
        ("192.0.2.7/32".to_owned(), Ban, 600),
        "the same offence, answered harder"
    );
    assert_eq!(world.incidents().len(), 1, "and one incident");
    let update = world.told.iter().find_map(|event| match event {
        Event::IncidentUpdate(incident) => Some((incident.id, incident.ports.clone(), incident.packets)),
        _ => None,
    });
    assert_eq!(update, Some((opened.id, vec![23, 3389], 3)));
    assert_eq!(world.engine.ledger().len(), 1);

    world.wait(2 * HOUR);
    let end = world.told.iter().find_map(|event| match event {
        Event::IncidentEnd(end) => Some((end.incident.id, end.incident.packets, end.incident.bytes)),
        _ => None,
    });
    assert_eq!(end, Some((opened.id, 3, 120)));
    touch(&mut world, VISITOR, 23);
    touch(&mut world, VISITOR, 3389);
    assert_eq!(decided(&world)[3], ("192.0.2.7/32".to_owned(), Ban, 3600), "a second offence");
}

/// Bans somebody for two traps, and lets him in again.
fn offend(world: &mut World, source: &str) -> (String, Measure, u64) {
    touch(world, source, 23);
    touch(world, source, 3389);
    let banned = decided(world).pop().unwrap();
    let mut actions = Vec::new();
    world.engine.unban_older(&[banned.0.parse().unwrap()], world.now.boot, &mut actions);
    world.carry_out(actions);
    assert!(world.engine.ledger().is_empty(), "{:?}", decided(world));
    world.wait(2 * HOUR);
    banned
}

#[test]
fn one_trap_beside_repeated_offenders_restricts_who_touched_it_and_none_of_his_neighbours() {
    let mut world = world(settings(), None);
    let ban = |target: &str, seconds| (target.to_owned(), Ban, seconds);
    assert_eq!(offend(&mut world, "2001:db8:1:101::7"), ban("2001:db8:1:101::/64", 600));
    assert_eq!(offend(&mut world, "2001:db8:1:102::7"), ban("2001:db8:1:102::/64", 600));
    assert_eq!(offend(&mut world, "2001:db8:1:101::7"), ban("2001:db8:1:100::/56", 3600));
    assert_eq!(offend(&mut world, "2001:db8:1:102::7"), ban("2001:db8:1::/48", 86_400));
    touch(&mut world, "2001:db8:1:1ff::7", 23);
    let restricted = decided(&world).pop().unwrap();
    assert_eq!(restricted, ("2001:db8:1:1ff::/64".to_owned(), Restrict, 3600), "an hour at most");
    // A second trap is an offence like the others, and takes the place of that.
    touch(&mut world, "2001:db8:1:1ff::7", 3389);
    assert_eq!(decided(&world).pop().unwrap(), ban("2001:db8:1::/48", 604_800));
    assert_eq!(world.engine.ledger().len(), 1);
}

#[test]
fn who_touches_one_trap_now_and_then_is_never_kept_out_for_longer_than_an_hour_nor_made_an_offender() {
    let mut world = world(settings(), None);
    for seconds in [600, 3600, 3600, 3600, 3600] {
        touch(&mut world, "2001:db8:1:1::7", 23);
        let restricted = ("2001:db8:1:1::/64".to_owned(), Restrict, seconds);
        assert_eq!(decided(&world).pop().unwrap(), restricted);
        world.wait(2 * HOUR);
    }
    let banned = offend(&mut world, "2001:db8:1:1::7");
    assert_eq!(banned, ("2001:db8:1:1::/64".to_owned(), Ban, 600), "his first offence");
}

#[test]
fn where_two_traps_restrict_as_well_the_second_one_makes_it_a_proven_offence() {
    let policy = Policy { validated: Response::Restrict, ..settings().policy };
    let mut world = world(Settings { policy, ..settings() }, None);
    for (source, target, seconds) in
        [("2001:db8:1:1::7", "2001:db8:1:1::/64", 600), ("2001:db8:1:1::8", "2001:db8:1::/56", 3600)]
    {
        touch(&mut world, source, 23);
        assert!(!world.engine.ledger().iter().next().unwrap().validated);
        touch(&mut world, source, 3389);
        assert_eq!(decided(&world).pop().unwrap(), (target.to_owned(), Restrict, seconds));
        let standing: Vec<_> =
            world.engine.ledger().iter().map(|ban| (ban.target.to_string(), ban.validated)).collect();
        assert_eq!(standing, [(target.to_owned(), true)]);
        world.wait(2 * HOUR);
    }
}

#[test]
fn two_traps_more_than_an_hour_apart_only_restrict() {
    let mut world = world(settings(), None);
    touch(&mut world, VISITOR, 23);
    world.wait(HOUR);
    touch(&mut world, VISITOR, 3389);
    assert!(decided(&world).iter().all(|(_, measure, _)| *measure == Restrict), "{:?}", decided(&world));
    world.wait(HOUR - Duration::from_secs(1));
    touch(&mut world, VISITOR, 23);
    assert_eq!(decided(&world).last().unwrap().1, Ban);
}

#[test]
fn who_is_protected_counts_for_nothing_and_who_is_allowed_is_told_and_never_acted_against() {
    let mut settings = settings();
    let ignored = crate::config::yaml::Source::new("nfban.yaml", "ignore: [{protocol: tcp, dport: 5900}]");
    settings.surroundings.ignore =
        crate::config::Config::read(&ignored).unwrap().0.ignore.into_iter().collect();
    let mut world = world(settings, None);
    for port in [23, 3389] {
        touch(&mut world, "192.0.2.1", port);
        touch(&mut world, "127.0.0.1", port);
    }
    touch(&mut world, VISITOR, 5900);
    assert_eq!(world.told, []);
    let exempt = |why: Exemption| world.engine.counts().exempt[why as usize];
    assert_eq!([Exemption::Protected, Exemption::NobodysAddress, Exemption::Ignored].map(exempt), [2, 2, 1]);
    for port in [23, 3389] {
        touch(&mut world, "198.51.100.9", port);
    }
    assert_eq!((world.rules_of_incidents(), world.bans().len()), (vec!["trap-port"], 0));
}

#[test]
fn the_addresses_of_one_slash_64_are_one_source() {
    let mut world = world(settings(), None);
    touch(&mut world, "2001:db8:1::7", 23);
    touch(&mut world, "2001:db8:1::8", 3389);
    assert_eq!(decided(&world).last().unwrap(), &("2001:db8:1::/64".to_owned(), Ban, 600));
    // A neighbour shares its /64 with us.
    touch(&mut world, "2001:db8:aaaa::7", 23);
    assert_eq!(decided(&world).last().unwrap().0, "2001:db8:aaaa::7/128");
}

#[test]
fn the_rule_says_how_many_within_what_time_and_what_follows() {
    let of = |keys: &str| {
        let rule = format!(
            "- {{id: trap-port, title: t, match: {{class: syn, dport: traps}}, count: {{distinct: dport}}, {keys}}}"
        );
        let mut world = world(settings(), Some(&rule));
        (23..26).for_each(|port| touch(&mut world, VISITOR, port));
        (world.incidents().len(), decided(&world).iter().map(|(_, measure, _)| *measure).collect::<Vec<_>>())
    };
    assert_eq!(of("threshold: 1, window: 1h"), (1, vec![Ban]));
    assert_eq!(of("threshold: 4, window: 1h"), (1, vec![Restrict]));
    // The second time for good: it is proven then.
    assert_eq!(of("threshold: 2, window: 1h, respond: restrict"), (1, vec![Restrict, Restrict]));
    assert_eq!(of("threshold: 2, window: 1h, respond: log"), (1, vec![]));
    assert_eq!(of("threshold: 2, window: 1h, enabled: false"), (0, vec![]));
}

#[test]
fn all_about_an_address_tells_what_it_touched() {
    let mut world = world(settings(), None);
    touch(&mut world, VISITOR, 23);
    let net = "192.0.2.7/32".parse().unwrap();
    let seen = world.engine.seen(net, world.now);
    assert_eq!((seen.first, seen.last), (Some(world.now), Some(world.now)));
    let count = seen.counts.iter().find(|count| count.rule == "trap-port").unwrap();
    assert_eq!((count.count, count.threshold, count.window), (1, 2, HOUR));
    assert_eq!(world.engine.incidents_of(net).count(), 1);
    assert_eq!(world.engine.open_incidents(), 1);
}

#[test]
fn the_sources_remembered_are_bounded_and_the_quietest_gives_way() {
    let mut world = world(settings(), None);
    for number in 0..5000u32 {
        touch(&mut world, &std::net::Ipv4Addr::from_bits(0x0a00_0000 | number).to_string(), 23);
        world.now = world.now.plus(Duration::from_millis(1));
    }
    assert_eq!(world.engine.trap_occupancy(), (4096, 4096, 904));
    let ended = world.told.iter().filter(|event| matches!(event, Event::IncidentEnd(_))).count();
    assert_eq!((world.engine.open_incidents(), ended), (4096, 904));
}

#[test]
fn the_touches_behind_a_ban_are_told_with_the_traps() {
    use crate::event::firing::{Answer, What};

    let mut world = world(settings(), None);
    touch(&mut world, VISITOR, 23);
    world.wait(Duration::from_secs(1));
    touch(&mut world, VISITOR, 23);
    touch(&mut world, VISITOR, 3389);
    let firings: Vec<_> = world.engine.firings_of("192.0.2.7/32".parse().unwrap()).collect();
    let [second, first] = &firings[..] else { panic!("{firings:#?}") };
    let traps = |firing: &crate::event::firing::Firing| -> Vec<(u16, u64)> {
        let trap = |what: &What| if let What::Touch { dport, .. } = *what { dport } else { 0 };
        firing.packets.iter().map(|one| (trap(&one.what), one.packets)).collect()
    };
    assert_eq!((traps(first), first.count, first.threshold), (vec![(23, 1)], 1, 2));
    assert_eq!((traps(second), second.count, second.opened), (vec![(23, 2), (3389, 1)], 2, false));
    assert!(matches!(first.answer, Answer::Acted { measure: Restrict, .. }));
    assert!(matches!(second.answer, Answer::Acted { measure: Ban, .. }));
    assert_eq!(second.evidence, Evidence::Validated);
}
