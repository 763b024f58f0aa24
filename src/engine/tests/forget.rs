//! Who is forgotten has done nothing.

use super::*;

const SCANNER_NET: &str = "192.0.2.7/32";

#[test]
fn who_is_forgotten_has_done_nothing_and_others_have_done_what_they_did() {
    let mut world = World::new();
    let (seven, eight) = (SCANNER_NET.parse().unwrap(), "192.0.2.8/32".parse().unwrap());
    for dport in [22, 23, 25] {
        world.see(syn(SCANNER, dport, RAW));
        world.see(syn("192.0.2.8", dport, RAW));
    }
    // Once is not counted, and known all the same.
    world.see(syn("192.0.2.9", 22, RAW));
    let counts = |world: &World, net: IpNet| world.engine.seen(net, world.now).counts;
    let of_eight = counts(&world, eight);
    assert!(!counts(&world, seven).is_empty() && !of_eight.is_empty());
    for net in [seven, "192.0.2.9/32".parse().unwrap()] {
        world.engine.forget(net).unwrap();
        assert_eq!(counts(&world, net), []);
    }
    assert_eq!(counts(&world, eight), of_eight);
    let remembered = world.engine.remember(world.now);
    assert!(remembered.iter().all(|memory| memory.saddr == eight.addr()), "{remembered:?}");
    assert!(!remembered.is_empty());
    // Counting begins anew, and ends where it always did.
    for dport in [80, 81, 82, 111, 112, 113, 114] {
        world.see(syn(SCANNER, dport, RAW));
    }
    assert!(world.incidents().is_empty());
    world.see(syn(SCANNER, 990, RAW));
    assert_eq!(world.incidents().len(), 1);
}

#[test]
fn who_is_banned_is_not_forgotten_until_the_ban_is_lifted() {
    let mut world = World::new();
    for dport in [22, 23, 80, 81, 82, 111, 112, 990] {
        world.see(syn(SCANNER, dport, RAW));
    }
    let seven = SCANNER_NET.parse().unwrap();
    let error = world.engine.forget(seven).unwrap_err();
    assert_eq!(error.to_string(), "192.0.2.7 is banned: lift that first, with `nfban unban 192.0.2.7`");
    let error = world.engine.forget("192.0.2.0/24".parse().unwrap()).unwrap_err();
    assert!(error.to_string().contains("while 192.0.2.7 is banned"), "{error}");
    let mut actions = Vec::new();
    world.engine.unban(seven, &mut actions).unwrap();
    world.carry_out(actions);
    assert_eq!(
        (world.engine.incidents_of(seven).count(), world.engine.repetitions(seven, world.now)),
        (1, 1)
    );
    assert_eq!(world.engine.firings_of(seven).count(), 1);
    world.engine.forget(seven).unwrap();
    assert_eq!(
        (world.engine.incidents_of(seven).count(), world.engine.repetitions(seven, world.now)),
        (0, 0)
    );
    assert_eq!(world.engine.firings_of(seven).count(), 0);
    // Its end is not told either.
    world.told.clear();
    world.wait(Duration::from_secs(86_400));
    assert_eq!(world.told, []);
    assert_eq!(world.engine.open_incidents(), 0);
}

#[test]
fn a_forgotten_member_of_a_prefix_no_longer_counts_for_it() {
    let mut world = World::new();
    for last in 4..=7 {
        let member = format!("198.18.5.{last}");
        world.see(syn(&member, 1000 + last, RAW));
        world.see(syn(&member, 2000 + last, RAW));
    }
    let of_members = |world: &World| {
        let memories = world.engine.remember(world.now);
        memories.iter().filter(|memory| memory.saddr.to_string() == "198.18.5.7").count()
    };
    assert!(of_members(&world) > 0);
    world.engine.forget("198.18.5.7/32".parse().unwrap()).unwrap();
    assert_eq!(of_members(&world), 0);
}

#[test]
fn an_ipv6_address_is_known_by_its_prefix() {
    let world = World::new();
    let known_as = |net: &str| world.engine.known_as(net.parse().unwrap()).to_string();
    assert_eq!(known_as("2001:db8:1:2::7/128"), "2001:db8:1:2::/64");
    assert_eq!(known_as("2001:db8:aaaa::7/128"), "2001:db8:aaaa::7/128", "a neighbour");
    assert_eq!(known_as("192.0.2.7/32"), "192.0.2.7/32");
    assert_eq!(known_as("192.0.2.0/24"), "192.0.2.0/24");
}
