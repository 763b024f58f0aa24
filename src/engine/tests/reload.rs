//! Other rules while the engine runs.

use std::net::SocketAddr;

use super::*;
use crate::config::Trust;
use crate::config::rules::{Rules, load_from};
use crate::decide::Standing;
use crate::web::{Request, RequestLine};

const VISITOR: &str = "192.0.2.8";
const CLIENT: &str = "192.0.2.9";

/// What an administrator may add: another rule, another window of the one for traps, and another threshold and one more kind
/// of probe for requests.
const ADDED: &str = "
- {id: more, title: t, match: {class: udp}, count: packets, threshold: 9, window: 1m}
- {id: trap-port, title: t, match: {class: syn, dport: traps, verdict: accepted}, count: {distinct: dport}, threshold: 2, window: 3h}
- {id: web-probe, title: t, count: {distinct: probe}, threshold: 4, window: 1h}
- {probe: our-old-shop, path: /intern/*}
";

/// Of five kinds.
const PROBES: [&str; 5] = ["/.env", "/.git/config", "/.ssh/id_rsa", "/web.config", "/backup.zip"];

fn reload(world: &mut World, files: &[(&str, &str)]) {
    let Rules { packets, web, .. } = load_from(files, Path::new("/nonexistent"), Trust::Anybody).unwrap();
    let rules = Ruleset::compile(&packets, &[(protocol::TCP, 23)]).unwrap();
    let mut actions = Vec::new();
    world.engine.set_trap_rule(&packets);
    world.engine.judge_requests(&web, world.now, &mut actions);
    world.engine.replace_rules(rules, settings(), Capacity::default(), world.now, &mut actions);
    world.carry_out(actions);
}

fn touch(world: &mut World, port: u16) {
    let trap = SocketAddr::new([203, 0, 113, 5].into(), port);
    let touch = Touch {
        source: VISITOR.parse().unwrap(),
        source_port: 40_000,
        trap,
        connections: 1,
        interface: "",
        ttl: None,
    };
    let mut actions = Vec::new();
    world.engine.touched(&touch, world.now, &mut actions);
    world.carry_out(actions);
}

fn ask(world: &mut World, target: &str) {
    let request = Request {
        source: CLIENT.parse().unwrap(),
        wall_us: world.now.wall_us,
        line: RequestLine::Http { method: b"GET", target: target.as_bytes() },
        status: 404,
        referer: None,
    };
    let mut actions = Vec::new();
    world.engine.request(&request, world.now, &mut actions);
    world.carry_out(actions);
}

fn standing(world: &World) -> Vec<Standing> {
    let mut bans: Vec<_> = world.engine.ledger().iter().cloned().collect();
    bans.sort_by_key(|ban| ban.target);
    bans
}

fn open(world: &World) -> Vec<Incident> {
    let mut open: Vec<_> = world.engine.all_open_incidents().collect();
    open.sort_by(|one, other| one.rule.cmp(&other.rule));
    open
}

#[test]
fn open_incidents_of_scans_traps_and_requests_go_on_over_a_reload_and_so_do_bans_and_totals() {
    let mut world = World::new();
    reload(&mut world, SHIPPED);
    (1..=20).for_each(|dport| world.see(syn(SCANNER, dport, RAW)));
    touch(&mut world, 23);
    PROBES.iter().for_each(|target| ask(&mut world, target));
    let ids = |world: &World| -> Vec<_> { world.incidents().iter().map(|incident| incident.id).collect() };
    let opened = ids(&world);
    assert_eq!(world.rules_of_incidents(), ["tcp-syn-scan", "trap-port", "web-probe"]);
    let bans = standing(&world);
    assert_eq!(bans.len(), 3);
    let (told, counts) = (world.told.len(), *world.engine.counts());
    let incidents = open(&world);

    let mut files = SHIPPED.to_vec();
    files.push(("added.yaml", ADDED));
    for files in [&files[..], SHIPPED, &files[..]] {
        reload(&mut world, files);
        assert_eq!(world.told.len(), told, "{:#?}", &world.told[told..]);
        assert_eq!((*world.engine.counts(), world.engine.sources()), (counts, 2));
        assert_eq!(open(&world), incidents);
        assert_eq!(standing(&world), bans);
    }

    (21..=30).for_each(|dport| world.see(syn(SCANNER, dport, RAW)));
    touch(&mut world, 3389);
    ask(&mut world, "/intern/x");
    assert_eq!(ids(&world), opened, "nothing is told anew");
    let hardened = world.bans().last().unwrap().target;
    assert_eq!(
        hardened,
        format!("{VISITOR}/32").parse::<IpNet>().unwrap(),
        "the second trap, after the reload"
    );
    world.wait(Duration::from_secs(86_400));
    let mut ended: Vec<_> = world
        .told
        .iter()
        .filter_map(|event| match event {
            Event::IncidentEnd(end) => {
                Some((end.incident.rule.as_str(), end.incident.id, end.incident.packets))
            }
            _ => None,
        })
        .collect();
    ended.sort_unstable_by_key(|(rule, ..)| *rule);
    let [scan, trap, web] = opened[..] else { panic!("{opened:?}") };
    assert_eq!(ended, [("tcp-syn-scan", scan, 30), ("trap-port", trap, 2), ("web-probe", web, 6)]);
}

#[test]
fn incidents_end_with_the_rules_that_are_switched_off() {
    let mut world = World::new();
    reload(&mut world, SHIPPED);
    (1..=20).for_each(|dport| world.see(syn(SCANNER, dport, RAW)));
    touch(&mut world, 23);
    PROBES.iter().for_each(|target| ask(&mut world, target));
    let mut files = SHIPPED.to_vec();
    files.push((
        "off.yaml",
        "- {id: tcp-port-scan, enabled: false}\n- {id: trap-port, enabled: false}\n- {id: web-probe, enabled: false}\n",
    ));
    reload(&mut world, &files);
    world.wait(Duration::ZERO);
    assert_eq!(world.engine.open_incidents(), 0);
    let ended = world.told.iter().filter(|event| matches!(event, Event::IncidentEnd(_))).count();
    assert_eq!((ended, world.engine.ledger().len()), (3, 3), "bans stay");
}
