//! Caps, budgets and who gives way; repetition, widening and whole prefixes.

use super::*;
use crate::decide::{Cap, MAX_PREFIXES, Place, Standing};
use crate::detect::Grounds;
use crate::event::IncidentId;
use crate::report::target::Target;

/// Settings with other caps.
fn capped(max: usize, per_minute: usize) -> Settings {
    let mut settings = settings();
    (settings.policy.max, settings.policy.per_minute) = (max, per_minute);
    settings
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn host(number: u32) -> IpNet {
    IpNet::from(IpAddr::from(std::net::Ipv4Addr::from_bits(0x0a00_0000 + number)))
}

impl World {
    /// An incident of `target` is answered.
    fn offend(&mut self, target: IpNet, evidence: Evidence) {
        let grounds = Grounds {
            incident: IncidentId(1),
            rule: "test".to_owned(),
            targets: vec![target],
            evidence,
            respond: None,
            firing: None,
        };
        let mut actions = Vec::new();
        self.engine.answer(grounds, target.addr(), self.now, &mut actions);
        self.carry_out(actions);
    }

    fn ban_by_hand(&mut self, target: IpNet) -> Result<(), Refusal> {
        let mut actions = Vec::new();
        let done = self.engine.ban(target, None, None, self.now, &mut actions);
        self.carry_out(actions);
        done
    }

    fn stands(&self, target: IpNet) -> Option<&Standing> {
        self.engine.ledger().find(target)
    }

    fn alarms(&self) -> Vec<&str> {
        let alarm =
            |event| if let &Event::Alarm(Alarm { ref what, .. }) = event { Some(&**what) } else { None };
        self.told.iter().filter_map(alarm).collect()
    }

    /// Used, limit, refused and evicted.
    fn cap(&self, cap: Cap) -> (usize, usize, u64, u64) {
        let one = self.engine.caps(self.now).find(|one| one.cap == cap).unwrap();
        (one.used, one.limit, one.tally.refused, one.tally.evicted)
    }
}

#[test]
fn forged_scans_spend_three_quarters_and_every_validated_offender_finds_room() {
    let mut world = World::with(capped(100, 10_000));
    for number in 0..200 {
        world.offend(host(number), Evidence::Spoofable);
    }
    assert_eq!(world.cap(Cap::Bans { spoofable: true }), (75, 75, 0, 125));
    assert_eq!(world.cap(Cap::Bans { spoofable: false }), (75, 100, 0, 0));
    for number in 1000..1100 {
        world.offend(host(number), Evidence::Validated);
        assert!(world.stands(host(number)).is_some());
    }
    assert_eq!(world.cap(Cap::Bans { spoofable: true }).0, 0, "all of them gave way");
    assert_eq!(world.cap(Cap::Bans { spoofable: false }), (100, 100, 0, 75));
    // Now there is nothing that a forged scan could push out.
    world.offend(host(300), Evidence::Spoofable);
    assert_eq!(world.stands(host(300)), None);
    assert_eq!(world.cap(Cap::Bans { spoofable: false }), (100, 100, 1, 75));
    assert_eq!(
        world.alarms(),
        [
            "the limit of 75 bans on spoofable evidence is reached: the least give way to newer ones",
            "the limit of 100 bans is reached: the least give way to newer ones",
        ]
    );
}

#[test]
fn fewest_repetitions_give_way_first_and_of_those_the_shortest_remaining() {
    let mut world = World::with(capped(4, 10_000));
    for _ in 0..2 {
        world.offend(host(1), Evidence::Validated);
        world.wait(Duration::from_secs(601));
    }
    assert!(world.stands(host(1)).is_some(), "the second time is an hour");
    for number in 2..5 {
        world.offend(host(number), Evidence::Validated);
        world.wait(Duration::from_secs(1));
    }
    world.offend(host(5), Evidence::Validated);
    assert_eq!(world.stands(host(2)), None, "of three the one that ends first");
    world.offend(host(6), Evidence::Validated);
    assert_eq!(world.stands(host(3)), None);
    assert!([1, 4, 5, 6].iter().all(|number| world.stands(host(*number)).is_some()));
}

#[test]
fn a_persons_ban_gives_way_to_nothing_and_pushes_out_anything_else() {
    let mut world = World::with(capped(3, 10_000));
    (1..=3).for_each(|number| world.offend(host(number), Evidence::Validated));
    for number in 11..=13 {
        world.ban_by_hand(host(number)).unwrap();
    }
    let refused = world.ban_by_hand(host(14)).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the limit of 3 bans is reached, all made by hand: lift some, or raise `ban.max`"
    );
    world.offend(host(4), Evidence::Validated);
    assert!((11..=13).all(|number| world.stands(host(number)).is_some()));
    // Renewing one takes no room.
    world.ban_by_hand(host(12)).unwrap();
    assert_eq!(world.engine.ledger().len(), 3);
}

#[test]
fn each_kind_of_evidence_has_its_own_bans_a_minute() {
    let mut world = World::with(capped(1000, 8));
    (0..20).for_each(|number| world.offend(host(number), Evidence::Spoofable));
    assert_eq!(world.cap(Cap::PerMinute { spoofable: true }), (6, 6, 14, 0));
    (100..109).for_each(|number| world.offend(host(number), Evidence::Validated));
    assert_eq!(world.cap(Cap::PerMinute { spoofable: false }), (8, 8, 1, 0));
    (200..220).for_each(|number| world.ban_by_hand(host(number)).unwrap());
    assert_eq!(world.engine.ledger().len(), 6 + 8 + 20, "a person waits for nobody");
    assert_eq!(
        world.alarms(),
        [
            "the limit of 6 bans a minute on spoofable evidence is reached: more have to wait",
            "the limit of 8 bans a minute on validated evidence is reached: more have to wait",
        ]
    );
    world.wait(Duration::from_secs(61));
    world.offend(host(19), Evidence::Spoofable);
    world.offend(host(108), Evidence::Validated);
    assert!(world.stands(host(19)).is_some() && world.stands(host(108)).is_some());
}

#[test]
fn a_cap_is_told_again_once_it_was_left() {
    let mut world = World::with(capped(10, 10_000));
    for round in 1..=3 {
        (0..30).for_each(|number| world.offend(host(number), Evidence::Spoofable));
        assert_eq!(world.alarms().len(), round);
        world.wait(Duration::from_secs(7200));
    }
}

#[test]
fn neighbours_that_fill_an_interval_set_leave_room_for_a_prefix_banned_by_hand() {
    let mut crowded = capped(100_000, 1_000_000);
    crowded.policy.spoofable = Response::Ban;
    let mut world = World::with(crowded);
    let neighbour = |number: u32| net(&format!("2001:db8:aaaa::{number:x}/128"));
    for number in 1..=5000 {
        world.offend(neighbour(number), Evidence::Spoofable);
    }
    let place = Place::of(Measure::Ban, neighbour(1));
    let most = usize::try_from(MAX_PREFIXES).unwrap();
    let cap = |spoofable| Cap::Set { place, spoofable };
    assert_eq!(world.cap(cap(true)), (most / 4 * 3, most / 4 * 3, 0, 5000 - 3072));
    world.ban_by_hand(net("2001:db8:f000::/36")).unwrap();
    (10_001..=15_000).for_each(|number| world.offend(neighbour(number), Evidence::Validated));
    assert_eq!(world.cap(cap(false)).0, most);
    world.ban_by_hand(net("2001:db8:e000::/36")).unwrap();
    assert!(world.stands(net("2001:db8:f000::/36")).is_some());
    assert_eq!(world.cap(cap(false)).0, most);
    let by_hand = (0..most - 2)
        .try_for_each(|number| world.ban_by_hand(net(&format!("2001:db8:a000:{number:x}::/72"))));
    assert_eq!(by_hand, Ok(()));
    assert_eq!(
        world.ban_by_hand(net("2001:db8:d000::/36")).unwrap_err().to_string(),
        "set ban6_prefix has its 4096 prefixes, all banned by hand: lift some"
    );
}

#[test]
fn a_lower_limit_takes_effect_with_the_next_ban() {
    let mut world = World::with(capped(50, 10_000));
    (0..20).for_each(|number| world.offend(host(number), Evidence::Validated));
    let mut actions = Vec::new();
    world.engine.reconfigure(capped(5, 10_000), &mut actions);
    world.carry_out(actions);
    world.offend(host(30), Evidence::Validated);
    assert_eq!(world.engine.ledger().len(), 5);
    assert!(world.stands(host(30)).is_some());
}

#[test]
fn a_lifting_that_the_kernel_refuses_is_asked_for_until_it_is_done() {
    let mut world = World::with(capped(4, 10_000));
    (0..3).for_each(|number| world.offend(host(number), Evidence::Spoofable));
    world.refuse = Some(libc::EBUSY);
    world.offend(host(3), Evidence::Validated);
    world.offend(host(4), Evidence::Validated);
    let evicted = Change::Lift { measure: Measure::Restrict, target: host(0) };
    let asked = |world: &World| world.changes.iter().filter(|change| **change == evicted).count();
    assert_eq!((asked(&world), world.stands(host(0))), (1, None));
    // What the kernel still holds is not taken for a ban of an earlier run.
    let held = Held {
        measure: Measure::Restrict,
        target: host(0),
        expires: Some(Duration::from_secs(300)),
        packets: 0,
        bytes: 0,
        comment: "test".to_owned(),
    };
    let mut actions = Vec::new();
    let others: Vec<Held> = (1..3).map(|number| Held { target: host(number), ..held.clone() }).collect();
    world.engine.reconcile(&[vec![held], others].concat(), world.now, &mut actions);
    assert_eq!(world.stands(host(0)), None);
    world.wait(Duration::from_secs(1));
    assert_eq!(asked(&world), 2);
    world.refuse = None;
    world.wait(Duration::from_secs(2));
    assert_eq!(asked(&world), 3);
    world.wait(Duration::from_secs(100));
    assert_eq!(asked(&world), 3, "it is done");
}

#[test]
fn a_full_set_in_the_kernel_makes_room_once_for_each_ban_and_then_waits() {
    let mut world = World::with(capped(100, 10_000));
    (0..5).for_each(|number| world.offend(host(number), Evidence::Validated));
    world.refuse = Some(libc::ENFILE);
    world.offend(host(9), Evidence::Validated);
    assert_eq!(world.stands(host(0)), None, "the least gave way");
    assert_eq!(world.engine.ledger().len(), 5, "and only one, although it was refused again");
    world.refuse = None;
    world.wait(Duration::from_secs(2));
    assert_eq!(world.stands(host(9)).unwrap().state, State::Held);
    assert_eq!(world.alarms()[0], "the kernel's set ban4 is full: the least give way");
}

#[test]
fn a_validated_ipv6_source_widens_with_each_repetition_as_far_as_it_is_its_own() {
    let banned = |world: &mut World, target: &str| {
        world.offend(net(target), Evidence::Validated);
        let ban = world.bans().last().map(|ban| (ban.target.to_string(), ban.timeout.unwrap().as_secs()));
        world.wait(Duration::from_secs(8 * 86_400));
        ban.unwrap()
    };
    let mut world = World::new();
    let owner = |text: &str, seconds| (text.to_owned(), seconds);
    assert_eq!(banned(&mut world, "2001:db8:1:2::/64"), owner("2001:db8:1:2::/64", 600));
    assert_eq!(banned(&mut world, "2001:db8:1:2::/64"), owner("2001:db8:1::/56", 3600));
    // Another network of the same owner.
    assert_eq!(banned(&mut world, "2001:db8:1:3::/64"), owner("2001:db8:1::/48", 86_400));
    assert_eq!(banned(&mut world, "2001:db8:1:ff00::/64"), owner("2001:db8:1::/48", 604_800));
    world.wait(Duration::from_secs(31 * 86_400));
    assert_eq!(banned(&mut world, "2001:db8:1:2::/64"), owner("2001:db8:1:2::/64", 600), "forgotten");

    // The /48 of the first holds a protected address, the /56 of the second our link.
    let mut world = World::new();
    let mut near = settings();
    near.shield.protected = [net("2001:db8:5:ff00::1/128")].into_iter().collect();
    let mut actions = Vec::new();
    world.engine.reconfigure(near, &mut actions);
    let widest = |world: &mut World, target: &str| {
        let targets: Vec<_> = (0..4).map(|_| banned(world, target).0).collect();
        targets.last().unwrap().clone()
    };
    assert_eq!(widest(&mut world, "2001:db8:5:2::/64"), "2001:db8:5::/56");
    assert_eq!(widest(&mut world, "2001:db8:aaaa:7::/64"), "2001:db8:aaaa:7::/64");
    for alone in ["2001:db8:aaaa::9/128", "64:ff9b::c000:207/128"] {
        assert_eq!(widest(&mut world, alone), alone);
    }
    assert_eq!(widest(&mut world, "192.0.2.9/32"), "192.0.2.9/32");

    // Where the administrator's sets take no prefixes, none is widened to.
    let mut world = World::new();
    let mut without = settings();
    without.policy.lacking = [(Measure::Ban, true, true)].into_iter().collect();
    world.engine.reconfigure(without, &mut actions);
    assert_eq!(widest(&mut world, "2001:db8:5:2::/64"), "2001:db8:5:2::/64");
    assert!(world.bans().iter().all(|ban| ban.action == Measure::Ban));
}

#[test]
fn forged_scans_neither_widen_nor_make_a_proven_offence_a_repeated_one() {
    let mut world = World::new();
    for _ in 0..5 {
        world.offend(net("2001:db8:1:2::/64"), Evidence::Spoofable);
        world.wait(Duration::from_secs(4000));
    }
    assert!(world.bans().iter().all(|ban| ban.target == net("2001:db8:1:2::/64")));
    assert_eq!(world.bans().last().unwrap().timeout, Some(Duration::from_secs(3600)));
    world.offend(net("2001:db8:1:2::/64"), Evidence::Validated);
    let ban = world.bans().last().copied().unwrap();
    assert_eq!((ban.target, ban.timeout), (net("2001:db8:1:2::/64"), Some(Duration::from_secs(600))));
}

#[test]
fn the_prefix_length_for_ipv6_is_the_administrators() {
    let banned = |length: u8, evidence: Evidence| {
        let mut other = settings();
        other.policy.ipv6_prefix = length;
        let mut world = World::with(other);
        let grounds = Grounds {
            incident: IncidentId(1),
            rule: "test".to_owned(),
            targets: vec![net("2001:db8:1:2::/64")],
            evidence,
            respond: None,
            firing: None,
        };
        let mut actions = Vec::new();
        let sender = "2001:db8:1:2:3:4:5:6".parse().unwrap();
        world.engine.answer(grounds, sender, world.now, &mut actions);
        world.carry_out(actions);
        world.bans().iter().map(|ban| ban.target.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(banned(48, Evidence::Validated), ["2001:db8:1::/48"]);
    assert_eq!(banned(60, Evidence::Validated), ["2001:db8:1::/60"]);
    assert_eq!(banned(48, Evidence::Spoofable), ["2001:db8:1:2::/64"], "a forged source hits itself alone");
    assert_eq!(banned(96, Evidence::Spoofable), ["2001:db8:1:2:3:4::/96"]);
    assert_eq!(banned(128, Evidence::Validated), ["2001:db8:1:2:3:4:5:6/128"]);
}

/// A scan of 40 ports by eight hosts of a prefix, none of which is a scanner by itself; who is restricted.
fn scanned_together(settings: Settings, prefix: &str) -> Vec<String> {
    let mut world = World::with(settings);
    for dport in 1..=40_u16 {
        let host = 20 + dport % 8;
        let from =
            if prefix.contains(':') { format!("{prefix}{host:x}::1") } else { format!("{prefix}{host}") };
        world.see(syn(&from, dport, RAW));
    }
    assert_eq!(world.rules_of_incidents()[0], "distributed-scan");
    world.bans().iter().map(|ban| Target(ban.target).to_string()).collect()
}

#[test]
fn members_of_a_prefix_are_answered_and_the_whole_prefix_only_by_choice() {
    let members = scanned_together(settings(), "203.0.113.");
    assert!(members.len() >= 8 && members.iter().all(|member| !member.contains('/')), "{members:?}");
    let members6 = scanned_together(settings(), "2001:db8:7:");
    assert!(members6.len() >= 8 && members6.iter().all(|member| member.ends_with("/64")), "{members6:?}");

    let mut whole = settings();
    whole.policy.whole_prefix = true;
    assert_eq!(scanned_together(whole.clone(), "203.0.113.")[0], "203.0.113.0/24");
    assert_eq!(scanned_together(whole.clone(), "2001:db8:7:")[0], "2001:db8:7::/48");
    // With a gateway in it, its members again.
    whole.shield.protected = [net("203.0.113.1/32")].into_iter().collect();
    assert_eq!(scanned_together(whole, "203.0.113."), members);
}
