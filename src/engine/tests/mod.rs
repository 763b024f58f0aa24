//! The core with the shipped rules and an enforcer that does, or refuses, what it is told.

mod custom_rules;
mod evidence;
mod forget;
mod limits;
mod reload;
mod restore;
mod touches;

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use ipnet::IpNet;

use super::*;
use crate::address::never_a_host;
use crate::config::rules::{SHIPPED, load};
use crate::decide::{Evidence, Measure, Response, State};
use crate::detect::class::Ports;
use crate::enforce::Held;
use crate::event::{Ban, Incident};
use crate::packet::{Packet, Pkttype, Tcp, TcpFlags, Transport, Udp, Verdict, protocol};

const SCANNER: &str = "192.0.2.7";
const RAW: u16 = 44;
const CONNECT: u16 = 60;

/// An engine, a clock, and what was told.
struct World {
    engine: Engine,
    now: Stamp,
    told: Vec<Event>,
    /// What the kernel answers.
    refuse: Option<i32>,
    changes: Vec<Change>,
}

fn settings() -> Settings {
    let gateway: IpNet = "192.0.2.1/32".parse().unwrap();
    Settings {
        surroundings: Surroundings {
            protected: [gateway].into_iter().collect(),
            services: Ports::new(&[(protocol::TCP, 443..=443)]),
            ..Surroundings::default()
        },
        widths: Widths {
            on_link: ["2001:db8:aaaa::/64".parse().unwrap()].into_iter().collect(),
            protected: ["2001:db8:bbbb::1/128".parse().unwrap()].into_iter().collect(),
        },
        policy: Policy::default(),
        shield: Shield {
            nobody: never_a_host().into_iter().collect(),
            protected: [gateway].into_iter().collect(),
            allow: ["198.51.100.0/24".parse().unwrap()].into_iter().collect(),
            shared: ["2001:db8:aaaa::/64", "64:ff9b::/96"]
                .map(|net| net.parse().unwrap())
                .into_iter()
                .collect(),
        },
    }
}

impl World {
    fn new() -> Self {
        Self::with(settings())
    }

    fn with(settings: Settings) -> Self {
        Self::with_rules(SHIPPED, settings)
    }

    /// With these rules and no others.
    fn of_rules(yaml: &str) -> Self {
        Self::with_rules(&[("test.yaml", yaml)], settings())
    }

    fn with_rules(rules: &[(&str, &str)], settings: Settings) -> Self {
        let rules = load(rules, Path::new("/nonexistent")).expect("the rules are good");
        let rules = Ruleset::compile(&rules, &[(protocol::TCP, 23)]).unwrap();
        Self {
            engine: Engine::new(rules, settings, Capacity::default(), Seed::Fixed),
            now: Stamp { boot: Duration::from_secs(1000), wall_us: 1_700_000_000_000_000 },
            told: Vec::new(),
            refuse: None,
            changes: Vec::new(),
        }
    }

    fn wait(&mut self, duration: Duration) {
        self.now = self.now.plus(duration);
        let mut actions = Vec::new();
        self.engine.advance(self.now, &mut actions);
        self.carry_out(actions);
    }

    fn carry_out(&mut self, mut actions: Vec<Action>) {
        while let Some(action) = (!actions.is_empty()).then(|| actions.remove(0)) {
            match action {
                Action::Tell(event) => self.told.push(event),
                Action::Enforce(change) => {
                    let outcome = self.refuse.map_or(Outcome::Done, Outcome::Refused);
                    self.engine.enforced(&change, outcome, self.now, &mut actions);
                    self.changes.push(change);
                }
            }
        }
    }

    fn see(&mut self, packet: Packet) {
        self.see_as(Verdict::Refused, packet);
    }

    fn see_as(&mut self, verdict: Verdict, packet: Packet) {
        let observation = Observation {
            packet,
            verdict,
            pkttype: Pkttype::Unicast,
            iif: "eth0",
            oif: "",
            prefix: b"",
            fault: None,
        };
        let mut actions = Vec::new();
        self.engine.observe(&observation, self.now, &mut actions);
        self.carry_out(actions);
        self.now = self.now.plus(Duration::from_millis(10));
    }

    fn incidents(&self) -> Vec<&Incident> {
        self.told
            .iter()
            .filter_map(|event| if let Event::Incident(incident) = event { Some(&**incident) } else { None })
            .collect()
    }

    fn bans(&self) -> Vec<&Ban> {
        self.told
            .iter()
            .filter_map(|event| if let Event::Ban(ban) = event { Some(ban) } else { None })
            .collect()
    }

    fn rules_of_incidents(&self) -> Vec<&str> {
        self.incidents().iter().map(|incident| incident.rule.as_str()).collect()
    }
}

fn segment(saddr: &str, sport: u16, dport: u16, flags: u16, length: u16) -> Packet {
    let saddr: IpAddr = saddr.parse().unwrap();
    let daddr: IpAddr =
        if saddr.is_ipv4() { [203, 0, 113, 5].into() } else { "2001:db8:ffff::5".parse().unwrap() };
    let header_length = if saddr.is_ipv4() { 20 } else { 40 };
    let tcp = Tcp { sport, dport, sequence: None, header_length: None, flags: TcpFlags(flags), window: 1024 };
    Packet {
        saddr,
        daddr,
        length: u32::from(length) + u32::from(header_length) - 20,
        header_length,
        ttl: 57,
        dont_fragment: saddr.is_ipv4() && length == CONNECT,
        identification: None,
        fragment: None,
        protocol: protocol::TCP,
        transport: Transport::Tcp(tcp),
    }
}

fn syn(saddr: &str, dport: u16, length: u16) -> Packet {
    segment(saddr, 40000, dport, TcpFlags::SYN, length)
}

fn datagram(saddr: &str, dport: u16) -> Packet {
    let udp = Udp { sport: 50000, dport, length: 8 };
    Packet {
        length: 28,
        protocol: protocol::UDP,
        transport: Transport::Udp(udp),
        ..segment(saddr, 0, 0, 0, RAW)
    }
}

#[test]
fn a_scan_is_one_incident_and_one_ban_however_long_it_lasts() {
    let mut world = World::new();
    for dport in 1..=1000 {
        world.see(syn(SCANNER, dport, RAW));
    }
    assert_eq!(world.rules_of_incidents(), ["tcp-syn-scan"]);
    let opened = world.incidents()[0].clone();
    assert_eq!((opened.distinct_ports, opened.packets), (8, 8), "eight privileged ports of weight 3 are 24");
    assert_eq!(opened.ports, [1, 2, 3, 4, 5, 6, 7, 8]);
    let bans = world.bans();
    assert_eq!(bans.len(), 1);
    assert_eq!((bans[0].action, bans[0].timeout), (Measure::Restrict, Some(Duration::from_secs(600))));
    assert_eq!(bans[0].incident, Some(opened.id));

    world.wait(Duration::from_secs(3600));
    let ends: Vec<_> = world
        .told
        .iter()
        .filter_map(|event| match event {
            Event::IncidentEnd(end) => Some(("incident", end.time, end.incident.packets)),
            Event::BanEnd(end) => Some(("ban", end.time, 0)),
            _ => None,
        })
        .collect();
    // All packets: a SYN made by hand to the published port counts as an accepted one. The last one came at 9.99 s, then 300 s of quiet; the ban 600 s after the eighth packet.
    let start = 1_700_000_000_000_000;
    let at = |ms: i64| start + ms * 1000;
    assert_eq!(
        ends.iter().map(|(what, time, packets)| (*what, time.wall_us, *packets)).collect::<Vec<_>>(),
        [("incident", at(9_990 + 300_000), 1000), ("ban", at(70 + 600_000), 0)]
    );
}

#[test]
fn a_scan_by_connect_is_named_a_port_scan() {
    let mut world = World::new();
    (1..=8).for_each(|dport| world.see(syn(SCANNER, dport, CONNECT)));
    assert_eq!(world.rules_of_incidents(), ["tcp-port-scan"]);
}

#[test]
fn every_kind_of_segment_scan_has_its_name() {
    use TcpFlags as F;
    for (flags, rule, ports) in [
        (0, "tcp-null-scan", 3),
        (F::FIN, "tcp-fin-scan", 3),
        (F::FIN | F::PSH | F::URG, "tcp-xmas-scan", 3),
        (F::FIN | F::ACK, "tcp-maimon-scan", 8),
        (F::ACK, "tcp-ack-scan", 8),
        (F::SYN | F::FIN, "tcp-bogus-flags", 3),
        (F::SYN | F::RST, "tcp-bogus-flags", 3),
        (0xff, "tcp-bogus-flags", 3),
    ] {
        let mut world = World::new();
        for dport in 1..ports {
            world.see(segment(SCANNER, 40000, dport, flags, 40));
        }
        assert_eq!(world.rules_of_incidents(), [""; 0], "{rule} below its threshold");
        world.see(segment(SCANNER, 40000, ports, flags, 40));
        (100..200).for_each(|dport| world.see(segment(SCANNER, 40000, dport, flags, 40)));
        assert_eq!(world.rules_of_incidents(), [rule]);
        assert_eq!(world.bans().len(), 1);
    }
}

#[test]
fn a_udp_scan_is_found_by_distinct_ports() {
    let mut world = World::new();
    (1..=8).for_each(|dport| world.see(datagram(SCANNER, dport)));
    assert_eq!(world.rules_of_incidents(), ["udp-scan"]);
}

#[test]
fn a_client_that_hammers_one_port_beside_another_is_no_scanner() {
    let mut world = World::new();
    let mut hammer = |dport| {
        world.see(syn(SCANNER, dport, CONNECT));
        world.wait(Duration::from_millis(5));
    };
    (0..5000).for_each(|_| hammer(3128));
    hammer(110);
    (0..5000).for_each(|_| hammer(3128));
    assert_eq!(world.incidents().len(), 0);
}

#[test]
fn seven_privileged_ports_of_a_mail_program_are_not_yet_a_scan() {
    let mut world = World::new();
    for dport in [143, 993, 110, 995, 587, 465, 25, 143, 993] {
        world.see(syn(SCANNER, dport, CONNECT));
    }
    assert_eq!(world.incidents().len(), 0);
}

#[test]
fn ports_outside_the_window_do_not_add_up() {
    let mut world = World::new();
    for dport in 1..=19 {
        world.see(syn(SCANNER, dport, RAW));
        world.wait(Duration::from_secs(45));
    }
    assert_eq!(world.incidents().len(), 0, "seven ports in 300 s are below the threshold");
    world.see(syn(SCANNER, 20, RAW));
    assert_eq!(world.rules_of_incidents(), ["slow-scan"]);
}

#[test]
fn an_ipv6_source_is_its_64_unless_others_live_in_it() {
    let mut world = World::new();
    for dport in 1..=8 {
        world.see(syn(&format!("2001:db8:1:2::{dport:x}"), dport, RAW));
    }
    assert_eq!(world.bans()[0].target, "2001:db8:1:2::/64".parse().unwrap());
    for (source, why) in [
        ("2001:db8:aaaa::9", "on our link"),
        ("2001:db8:bbbb::9", "beside a protected address"),
        ("fe80::9", "link-local"),
        ("64:ff9b::c000:207", "behind NAT64"),
    ] {
        let mut world = World::new();
        (1..=8).for_each(|dport| world.see(syn(source, dport, RAW)));
        assert_eq!(world.bans()[0].target, IpNet::from(source.parse::<IpAddr>().unwrap()), "{why}");
    }
}

#[test]
fn the_gateway_is_no_source_and_the_allowlist_is_never_banned() {
    let mut world = World::new();
    (1..=100).for_each(|dport| world.see(syn("192.0.2.1", dport, RAW)));
    assert_eq!(world.incidents().len(), 0);
    (1..=100).for_each(|dport| world.see(syn("198.51.100.9", dport, RAW)));
    assert_eq!((world.incidents().len(), world.bans().len()), (1, 0));
    assert!(world.changes.is_empty());
}

#[test]
fn nothing_is_called_a_ban_before_the_kernel_holds_it() {
    let mut world = World::new();
    world.refuse = Some(libc::ENFILE);
    (1..=20).for_each(|dport| world.see(syn(SCANNER, dport, RAW)));
    assert_eq!((world.incidents().len(), world.bans().len()), (1, 0));
    let alarms = |world: &World| world.told.iter().filter(|event| matches!(event, Event::Alarm(_))).count();
    assert_eq!(alarms(&world), 1);
    let asked = world.changes.len();
    (0..10).for_each(|_| world.wait(Duration::from_secs(1)));
    assert!(world.changes.len() >= asked + 3, "it is tried again, with growing pauses");
    assert_eq!(alarms(&world), 1, "one alarm for one kind of refusal");

    world.refuse = None;
    world.wait(Duration::from_secs(60));
    assert_eq!(world.bans().len(), 1);
    let Some(Change::Put { timeout: Some(left), .. }) = world.changes.last() else { panic!("a Put") };
    assert!(*left < Duration::from_secs(600 - 60), "the time of the ban runs from the decision: {left:?}");
}

#[test]
fn a_ban_that_was_refused_to_its_end_never_was() {
    let mut world = World::new();
    world.refuse = Some(libc::EPERM);
    (1..=8).for_each(|dport| world.see(syn(SCANNER, dport, RAW)));
    world.wait(Duration::from_secs(700));
    assert!(world.engine.ledger().is_empty());
    assert!(!world.told.iter().any(|event| matches!(event, Event::BanEnd(_))));
}

#[test]
fn ban_times_climb_on_repetition_and_spoofable_evidence_stops_at_an_hour() {
    let mut world = World::new();
    let mut times = Vec::new();
    for _ in 0..4 {
        (1..=8).for_each(|dport| world.see(syn(SCANNER, dport, RAW)));
        times.push(world.bans().last().unwrap().timeout.unwrap().as_secs());
        world.wait(Duration::from_secs(4000));
    }
    assert_eq!(times, [600, 3600, 3600, 3600]);
    world.wait(Duration::from_secs(31 * 86400));
    (1..=8).for_each(|dport| world.see(syn(SCANNER, dport, RAW)));
    assert_eq!(
        world.bans().last().unwrap().timeout,
        Some(Duration::from_secs(600)),
        "forgotten after 30 days"
    );
    let policy = Policy::default();
    let validated: Vec<_> =
        (0..5).map(|before| policy.timeout(Evidence::Validated, before).as_secs()).collect();
    assert_eq!(validated, [600, 3600, 86400, 604_800, 604_800]);
}

#[test]
fn without_conntrack_a_restriction_becomes_a_log_entry() {
    let mut policy = Policy { restrict_available: false, ..Policy::default() };
    assert_eq!(policy.measure(Evidence::Spoofable, None), None);
    assert_eq!(policy.measure(Evidence::Validated, None), Some(Measure::Ban));
    assert_eq!(policy.measure(Evidence::Validated, Some(Response::Log)), None);
    policy.restrict_available = true;
    assert_eq!(policy.measure(Evidence::Spoofable, None), Some(Measure::Restrict));
}

#[test]
fn at_the_limit_the_least_gives_way_and_it_is_told_once() {
    let mut limited = settings();
    limited.policy.max = 3;
    let mut world = World::with(limited);
    let target = |n: u8| IpNet::from(IpAddr::from([192, 0, 2, n]));
    let mut actions = Vec::new();
    world.engine.ban(target(50), None, None, world.now, &mut actions).unwrap();
    world.carry_out(actions);
    for host in 60..66 {
        (1..=8).for_each(|dport| world.see(syn(&format!("192.0.2.{host}"), dport, RAW)));
    }
    assert_eq!(world.engine.ledger().len(), 3);
    assert!(
        world.engine.ledger().find(target(50)).is_some(),
        "a person's ban does not give way to forged sources"
    );
    assert!(world.engine.ledger().find(target(65)).is_some());
    let ends = |reason| {
        world.told.iter().filter(|event| matches!(event, Event::BanEnd(end) if end.reason == reason)).count()
    };
    assert_eq!(ends(BanEndReason::Evicted), 4);
    assert_eq!(world.told.iter().filter(|event| matches!(event, Event::Alarm(_))).count(), 1);
}

#[test]
fn a_manual_ban_takes_the_place_of_a_restriction_and_unban_lifts_it() {
    let mut world = World::new();
    (1..=8).for_each(|dport| world.see(syn(SCANNER, dport, RAW)));
    let target: IpNet = "192.0.2.7/32".parse().unwrap();
    let mut actions = Vec::new();
    world
        .engine
        .ban(target, Some(Duration::from_secs(60)), Some("noisy".to_owned()), world.now, &mut actions)
        .unwrap();
    world.carry_out(actions);
    let ban = world.engine.ledger().find(target).unwrap();
    assert_eq!((ban.measure, ban.state, ban.rule.as_str()), (Measure::Ban, State::Held, MANUAL));
    assert_eq!(world.changes.last(), Some(&Change::Lift { measure: Measure::Restrict, target }));

    let mut actions = Vec::new();
    world.engine.unban(target, &mut actions).unwrap();
    world.carry_out(actions);
    assert!(world.engine.ledger().is_empty());
    assert_eq!(world.engine.unban(target, &mut Vec::new()), Err(Refusal::NotBanned(target)));
    let gateway = "192.0.2.0/24".parse().unwrap();
    assert_eq!(
        world.engine.ban(gateway, None, None, world.now, &mut Vec::new()).unwrap_err().to_string(),
        "192.0.2.0/24 holds an address of this host, a gateway or a resolver"
    );
}

#[test]
fn what_the_kernel_holds_is_adopted_and_what_it_lost_is_over() {
    let mut world = World::new();
    let held = |target: &str| Held {
        measure: Measure::Restrict,
        target: target.parse().unwrap(),
        expires: Some(Duration::from_secs(100)),
        packets: 5,
        bytes: 300,
        comment: "tcp-syn-scan".to_owned(),
    };
    let mut actions = Vec::new();
    world.engine.reconcile(&[held("192.0.2.7/32"), held("192.0.2.8/32")], world.now, &mut actions);
    assert_eq!(world.engine.ledger().len(), 2);
    assert!(actions.is_empty(), "an adopted ban was told by the run that made it");
    world.engine.reconcile(&[held("192.0.2.8/32")], world.now, &mut actions);
    world.carry_out(actions);
    assert_eq!(world.engine.ledger().len(), 1);
    assert!(matches!(&world.told[..], [Event::BanEnd(end)] if end.reason == BanEndReason::Unban));
    world.wait(Duration::from_secs(100));
    assert!(world.engine.ledger().is_empty());
}

#[test]
fn three_hundred_thousand_forged_sources_do_not_hide_a_scanner_who_was_nearly_caught() {
    let mut world = World::new();
    (1..=6).for_each(|dport| world.see(syn(SCANNER, dport, RAW)));
    for number in 0..300_000_u32 {
        let [_, b, c, d] = number.to_be_bytes();
        let forged = Packet { saddr: IpAddr::from([100 + b, c, d, 9]), ..syn(SCANNER, 80, RAW) };
        let mut actions = Vec::new();
        let observation = Observation {
            packet: forged,
            verdict: Verdict::Refused,
            pkttype: Pkttype::Unicast,
            iif: "eth0",
            oif: "",
            prefix: b"",
            fault: None,
        };
        world.engine.observe(&observation, world.now, &mut actions);
        assert!(actions.is_empty());
    }
    let [sources, _] = world.engine.occupancy();
    assert_eq!(sources.probation, Capacity::default().probation);
    assert!(sources.evicted_once > 200_000);
    (7..=8).for_each(|dport| world.see(syn(SCANNER, dport, RAW)));
    assert_eq!(world.rules_of_incidents(), ["tcp-syn-scan"]);
}

#[test]
fn an_incident_of_another_kind_is_told_while_the_first_is_open_and_adds_no_second_ban() {
    let mut world = World::new();
    (1..=8).for_each(|dport| world.see(syn(SCANNER, dport, RAW)));
    (1..=8).for_each(|dport| world.see(datagram(SCANNER, dport)));
    assert_eq!(world.rules_of_incidents(), ["tcp-syn-scan", "udp-scan"]);
    assert_eq!(world.bans().len(), 1);
}

#[test]
fn alternating_styles_and_families_of_probes_do_not_double_the_allowance() {
    let mut world = World::new();
    for dport in 1..=8 {
        world.see(syn(SCANNER, dport, if dport % 2 == 0 { RAW } else { CONNECT }));
    }
    assert_eq!(world.rules_of_incidents(), ["tcp-syn-scan"], "at least half are raw");
}

#[test]
fn an_accepted_syn_is_no_closed_port() {
    let mut world = World::new();
    (1..=100).for_each(|dport| world.see_as(Verdict::Accepted, syn(SCANNER, dport, CONNECT)));
    assert_eq!(world.incidents().len(), 0);
}

#[test]
fn a_scan_that_outlives_its_ban_is_banned_again() {
    let mut world = World::new();
    (1..=8).for_each(|dport| world.see(syn(SCANNER, dport, RAW)));
    let opened = world.incidents()[0].id;
    // Restricted, it uses a published service; the firewall tells of each new connection.
    for _ in 0..4 {
        world.see_as(Verdict::Accepted, syn(SCANNER, 443, CONNECT));
        world.wait(Duration::from_secs(200));
    }
    assert!(world.engine.ledger().is_empty(), "the ban is over");
    world.see(syn(SCANNER, 9, RAW));
    assert_eq!(world.bans().len(), 1, "one probe is not enough");
    (10..=17).for_each(|dport| world.see(syn(SCANNER, dport, RAW)));
    assert_eq!(world.bans().len(), 2);
    assert_eq!(world.incidents().len(), 1, "it is the same scan");
    assert_eq!(world.bans()[1].incident, Some(opened));
    assert_eq!(world.bans()[1].timeout, Some(Duration::from_secs(3600)));
}

#[test]
fn a_flood_of_forged_scans_hides_no_other() {
    let mut unhurried = settings();
    unhurried.policy.per_minute = 100_000;
    let mut world = World::with(unhurried);
    for number in 0..8_200_u32 {
        let [_, _, c, d] = number.to_be_bytes();
        (1..=8).for_each(|dport| world.see(syn(&format!("100.64.{c}.{d}"), dport, RAW)));
        // As fast as it can be: the eight packets of each within a millisecond.
        world.now = Stamp { boot: Duration::from_millis(1_000_000 + u64::from(number)), ..world.now };
    }
    (1..=8).for_each(|dport| world.see(syn(SCANNER, dport, RAW)));
    assert!(world.engine.ledger().find("192.0.2.7/32".parse().unwrap()).is_some());
    assert_eq!(world.engine.open_incidents(), MAX_OPEN);
    assert_eq!(world.engine.counts().incidents_displaced, 9);
    let told = |kind: fn(&Event) -> bool| world.told.iter().filter(|event| kind(event)).count();
    assert_eq!(told(|event| matches!(event, Event::Alarm(_))), 1);
    assert_eq!(told(|event| matches!(event, Event::IncidentEnd(_))), 9);
}

#[test]
fn a_ban_whose_element_outlives_it_by_a_moment_is_over_once() {
    let mut world = World::new();
    for _ in 0..2 {
        (1..=8).for_each(|dport| world.see(syn(SCANNER, dport, RAW)));
        world.wait(Duration::from_secs(4000));
    }
    let target: IpNet = "192.0.2.7/32".parse().unwrap();
    let held = Held {
        measure: Measure::Restrict,
        target,
        expires: Some(Duration::from_millis(4)),
        packets: 0,
        bytes: 0,
        comment: "tcp-syn-scan".to_owned(),
    };
    let mut actions = Vec::new();
    world.engine.reconcile(&[held], world.now, &mut actions);
    world.carry_out(actions);
    world.wait(Duration::from_secs(1));
    let ends = world.told.iter().filter(|event| matches!(event, Event::BanEnd(_))).count();
    assert_eq!(ends, 2, "the kernel's clock and ours differ by a tick");
    assert_eq!(world.engine.repetitions(target, world.now), 2, "adopting is no repetition, and forgets none");
}

#[test]
fn an_element_that_expires_a_tick_before_its_ban_has_expired() {
    let mut world = World::new();
    (1..=8).for_each(|dport| world.see(syn(SCANNER, dport, RAW)));
    world.now = world.now.plus(Duration::from_millis(599_985));
    let mut actions = Vec::new();
    world.engine.reconcile(&[], world.now, &mut actions);
    world.carry_out(actions);
    let ends: Vec<_> = world
        .told
        .iter()
        .filter_map(|event| if let Event::BanEnd(end) = event { Some(end.reason) } else { None })
        .collect();
    assert_eq!(ends, [BanEndReason::Expired]);
}

#[test]
fn what_an_earlier_run_left_of_somebody_protected_is_lifted() {
    let mut world = World::new();
    let target: IpNet = "192.0.2.1/32".parse().unwrap();
    let held = Held {
        measure: Measure::Ban,
        target,
        expires: None,
        packets: 0,
        bytes: 0,
        comment: MANUAL.to_owned(),
    };
    let mut actions = Vec::new();
    world.engine.reconcile(&[held], world.now, &mut actions);
    world.carry_out(actions);
    assert_eq!(world.changes, [Change::Lift { measure: Measure::Ban, target }]);
    assert!(world.engine.ledger().is_empty());
}

#[test]
fn open_incidents_share_a_bounded_memory_for_what_they_saw() {
    let mut world = World::new();
    let scanners: Vec<String> = (1..=40).map(|host| format!("192.0.2.{}", host + 100)).collect();
    for scanner in &scanners {
        (1..=8).for_each(|dport| world.see(syn(scanner, dport, RAW)));
    }
    let mut actions = Vec::new();
    for scanner in &scanners {
        let saddr: IpAddr = scanner.parse().unwrap();
        for number in 0..40_000_u32 {
            let [_, b, c, d] = number.to_be_bytes();
            let packet = Packet { saddr, daddr: IpAddr::from([10, b, c, d]), ..syn(SCANNER, 9, RAW) };
            let observation = Observation {
                packet,
                verdict: Verdict::Refused,
                pkttype: Pkttype::Unicast,
                iif: "eth0",
                oif: "",
                prefix: b"",
                fault: None,
            };
            world.engine.observe(&observation, world.now, &mut actions);
        }
    }
    let seen = |scanner: &str| {
        let net = IpNet::from(scanner.parse::<IpAddr>().unwrap());
        world.engine.incidents_of(net).next().unwrap().distinct_destinations
    };
    assert_eq!(seen(&scanners[0]), 40_001);
    assert_eq!(seen(&scanners[39]), 64, "what is listed is always there");
    let all: u64 = scanners.iter().map(|scanner| seen(scanner)).sum();
    assert!(all <= (1 << 20) + 40 * 65, "{all}");
}
