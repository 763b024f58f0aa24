//! What the kernel has lost, told from what somebody lifted.

use super::*;
use crate::decide::{Place, Standing, State};
use crate::enforce::Held;
use crate::event::IncidentId;

fn ban(world: &mut World, targets: &[&str]) {
    for target in targets {
        let mut actions = Vec::new();
        let hour = Some(Duration::from_secs(3600));
        world.engine.ban(target.parse().unwrap(), hour, None, world.now, &mut actions).unwrap();
        world.carry_out(actions);
        world.now = world.now.plus(Duration::from_millis(10));
    }
}

fn held(target: &str, left: u64) -> Held {
    Held {
        measure: Measure::Ban,
        target: target.parse().unwrap(),
        expires: Some(Duration::from_secs(left)),
        packets: 0,
        bytes: 0,
        comment: "manual".to_owned(),
    }
}

fn texts(targets: &[IpNet]) -> Vec<String> {
    targets.iter().map(ToString::to_string).collect()
}

fn ends(world: &World) -> Vec<(String, BanEndReason)> {
    let end = |event: &Event| match event {
        Event::BanEnd(end) => Some((end.target.to_string(), end.reason)),
        _ => None,
    };
    world.told.iter().filter_map(end).collect()
}

#[test]
fn a_set_that_had_several_bans_and_has_none_was_flushed_and_any_other_ban_was_lifted() {
    let mut world = World::new();
    ban(&mut world, &["192.0.2.7/32", "192.0.2.8/32", "2001:db8:1::/64", "192.0.2.128/25", "192.0.3.0/25"]);
    let lost = |world: &World, held: &[Held]| texts(&world.engine.lost(held, |_| true, world.now));
    let prefixes = [held("192.0.2.128/25", 3600), held("192.0.3.0/25", 3600)];
    assert_eq!(lost(&world, &prefixes), ["192.0.2.7/32", "192.0.2.8/32"], "the newest last");
    assert_eq!(lost(&world, &[held("192.0.2.8/32", 3600)]), ["192.0.2.128/25", "192.0.3.0/25"]);
    assert_eq!(
        texts(&world.engine.lost(
            &[],
            |place| place == Place::of(Measure::Ban, "::/64".parse().unwrap()),
            world.now
        )),
        [""; 0]
    );
    // Nothing is lost whose time is over.
    world.now = world.now.plus(Duration::from_secs(3600));
    assert_eq!(lost(&world, &[]), [""; 0]);
}

#[test]
fn a_lower_limit_holds_for_what_an_earlier_process_left_and_its_share_for_spoofable_evidence_too() {
    let policy = Policy { max: 8, ..settings().policy };
    let mut world = World::with(Settings { policy, ..settings() });
    let now = world.now;
    let saved = |number: u8, validated, before, manual| Standing {
        target: IpNet::from(std::net::IpAddr::from([203, 0, 114, number])),
        measure: Measure::Ban,
        rule: if manual { "manual" } else { "tcp-syn-scan" }.to_owned(),
        reason: None,
        incident: (!manual).then(|| IncidentId::of("x", "192.0.2.7/32".parse().unwrap(), 0, now)),
        validated,
        before,
        since: now,
        timeout: Some(Duration::from_secs(600)),
        state: State::Held,
    };
    let left = |bans: Vec<Standing>| {
        let mut world =
            World::with(Settings { policy: Policy { max: 8, ..settings().policy }, ..settings() });
        let in_kernel: Vec<_> = bans.iter().map(|ban| held(&ban.target.to_string(), 600)).collect();
        let mut actions = Vec::new();
        world.engine.recall_bans(bans, &in_kernel, |_| false, now, &mut actions);
        world.carry_out(actions);
        let of = |kind: fn(&&Standing) -> bool| world.engine.ledger().iter().filter(kind).count();
        let counts = [
            of(|ban| ban.is_manual()),
            of(|ban| !ban.is_manual() && ban.validated),
            of(|ban| !ban.validated),
        ];
        assert!(ends(&world).iter().all(|(_, reason)| *reason == BanEndReason::Evicted));
        assert_eq!(world.changes.len(), ends(&world).len(), "each is lifted, and nothing else changed");
        (counts, ends(&world).len())
    };
    let spoofable: Vec<_> = (0..10).map(|number| saved(number, false, 0, false)).collect();
    assert_eq!(left(spoofable.clone()), ([0, 0, 6], 4), "three quarters");
    let validated = (20..24).map(|number| saved(number, true, 0, false));
    assert_eq!(left(spoofable.iter().cloned().chain(validated).collect()), ([0, 4, 4], 6));
    let by_hand: Vec<_> = (40..50).map(|number| saved(number, true, 0, true)).collect();
    assert_eq!(
        left(spoofable.into_iter().chain(by_hand).collect()),
        ([10, 0, 0], 10),
        "gives way to nothing"
    );
    // What had been worst stays.
    let mut actions = Vec::new();
    let bans = (0..10).map(|number| saved(number, false, u32::from(number), false)).collect();
    world.engine.recall_bans(bans, &[], |_| true, now, &mut actions);
    let mut repeated: Vec<u32> = world.engine.ledger().iter().map(|ban| ban.before).collect();
    repeated.sort_unstable();
    assert_eq!(repeated, [4, 5, 6, 7, 8, 9]);
}

#[test]
fn a_ban_that_somebody_deleted_in_the_kernel_ends_once_and_its_rest_is_lifted() {
    let mut world = World::new();
    ban(&mut world, &["192.0.2.7/32"]);
    world.changes.clear();
    for _ in 0..2 {
        let mut actions = Vec::new();
        let target = "192.0.2.7/32".parse().unwrap();
        // Of the other measure there is none.
        let bans = [(Measure::Restrict, target), (Measure::Ban, target)];
        world.engine.unbanned_in_kernel(bans.into_iter(), world.now, &mut actions);
        world.carry_out(actions);
    }
    assert_eq!(ends(&world), [("192.0.2.7/32".to_owned(), BanEndReason::Unban)]);
    assert_eq!(world.changes.len(), 1);
    assert!(world.engine.ledger().is_empty());
}

#[test]
fn at_the_start_the_kernel_says_what_stands_and_the_database_why() {
    let mut world = World::new();
    let now = world.now;
    let saved = |target: &str, validated| Standing {
        target: target.parse().unwrap(),
        measure: Measure::Ban,
        rule: "tcp-syn-scan".to_owned(),
        reason: Some("why".to_owned()),
        incident: None,
        validated,
        before: 2,
        since: Stamp { boot: now.boot - Duration::from_secs(100), ..now },
        timeout: Some(Duration::from_secs(600)),
        state: State::Held,
    };
    let bans = vec![
        saved("192.0.2.7/32", true),
        saved("192.0.2.8/32", true),
        saved("2001:db8:1::/64", true),
        // Allowed since.
        saved("198.51.100.7/32", true),
    ];
    let held = [held("192.0.2.7/32", 300), held("192.0.2.9/32", 60)];
    let made = |place| place == Place::of(Measure::Ban, "2001:db8:1::/64".parse().unwrap());
    let mut actions = Vec::new();
    let lost = world.engine.recall_bans(bans, &held, made, now, &mut actions);
    world.carry_out(actions);
    assert_eq!(texts(&lost), ["2001:db8:1::/64"], "its set was gone, so nobody lifted it");
    assert_eq!(ends(&world), [("192.0.2.8/32".to_owned(), BanEndReason::Unban)]);
    let known = world.engine.ledger().find("192.0.2.7/32".parse().unwrap()).unwrap();
    assert_eq!(known.until(), Some(now.boot + Duration::from_secs(300)));
    assert_eq!((known.reason.as_deref(), known.before), (Some("why"), 2));
    assert_eq!(world.engine.repetitions(known.target, now), 3);
    assert_eq!(world.engine.ledger().len(), 3);
    // What is saved is what differs from what was.
    world.engine.track_bans(
        &["192.0.2.7/32", "192.0.2.8/32", "2001:db8:1::/64"].map(|it| it.parse().unwrap()).into(),
    );
    assert_eq!(texts(&world.engine.take_changed_bans(1)), ["192.0.2.8/32"]);
    assert_eq!(texts(&world.engine.take_changed_bans(9)), ["192.0.2.9/32"]);
    assert_eq!(world.engine.put_again(&lost, now).len(), 1);
}
