//! Caps as users meet them: the daemon, its status, and a set of the kernel that is full.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use ipnet::IpNet;
use nfban::config::rules::{SHIPPED, load};
use nfban::decide::{Policy, Response};
use nfban::detect::key::Widths;
use nfban::detect::{Capacity, Ruleset, Seed};
use nfban::enforce::{Enforcer, Kernel, Settings};
use nfban::engine::{Action, Engine, Settings as EngineSettings};
use nfban::packet::{Observation, Packet, Pkttype, Transport, Udp, Verdict, protocol};
use nfban::time::Stamp;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::daemon::{Daemon, text};
use crate::support::{HOME4, Namespace, Pair, wait_until};

/// Refuses and logs what comes to the ports that are scanned.
const FIREWALL: &str = "nft -f - <<'RULES'
table inet firewall {
    chain input {
        type filter hook input priority 0;
        udp dport < 30000 counter log prefix \"nfban:refused\" group 100 drop
    }
}
RULES";

fn refusing() -> Pair {
    let pair = Pair::new();
    pair.home.sh(FIREWALL);
    pair
}

/// A stranger that the peer speaks for probes twenty ports.
fn scan(pair: &Pair, from: &str) {
    pair.peer_has(from);
    pair.peer.enter(|| {
        let socket = UdpSocket::bind(SocketAddr::new(from.parse().unwrap(), 0)).unwrap();
        for port in 1..=20 {
            socket.send_to(b"", (HOME4, port)).unwrap();
        }
    });
}

fn limit(daemon: &Daemon, name: &str) -> Value {
    daemon.status()["limits"][name].clone()
}

fn alarms(daemon: &Daemon) -> Vec<String> {
    let status = daemon.status();
    status["alarms"].as_array().unwrap().iter().map(|alarm| text(&alarm["what"])).collect()
}

#[test]
fn forged_scans_fill_their_share_and_a_person_always_finds_room() {
    let pair = refusing();
    let daemon = Daemon::start(&pair.home, "ban: {max: 8}\n");
    let strangers: Vec<String> = (11..=18).map(|host| format!("203.0.113.{host}")).collect();
    for (number, stranger) in strangers.iter().enumerate() {
        scan(&pair, stranger);
        wait_until("the scan is known", || daemon.status()["incidents_total"] == number + 1);
    }
    assert_eq!(daemon.targets(), strangers[2..], "the first two gave way");
    let share = limit(&daemon, "spoofable-bans");
    assert_eq!((&share["used"], &share["capacity"]), (&Value::from(6), &Value::from(6)));
    assert_eq!((&share["evicted"], &share["reached"]), (&Value::from(2), &Value::from(true)));
    let told = "the limit of 6 bans on spoofable evidence is reached: the least give way to newer ones";
    assert_eq!(alarms(&daemon), [told], "once");
    let status = daemon.ask("status");
    assert!(status.out.contains("spoofable-bans 6 of 6 (100 %), reached, 2 evicted"), "{status:?}");

    for host in 1..=8 {
        assert_eq!(daemon.ask(&format!("ban 198.51.100.{host}")).exit, Some(0));
    }
    assert_eq!(limit(&daemon, "bans")["used"], 8);
    let answer = daemon.ask("ban 198.51.100.9");
    assert_eq!(answer.exit, Some(1), "{answer:?}");
    assert_eq!(
        answer.err,
        "nfban: the limit of 8 bans is reached, all made by hand: lift some, or raise `ban.max`\n"
    );
    assert_eq!(pair.home.sh("nft list set inet nfban restrict4 | grep -c comment || true").trim(), "0");

    // A higher limit is taken over by a reload, and so is the size of the sets.
    daemon.setup().configure("ban: {max: 5000}\n");
    assert_eq!(daemon.ask("reload").exit, Some(0));
    assert_eq!(daemon.ask("ban 198.51.100.9").exit, Some(0));
    assert_eq!(daemon.bans().len(), 9);
    assert_eq!(daemon.ask("unban --all").exit, Some(0));
    assert!(daemon.bans().is_empty());
    daemon.stop(Signal::TERM);
}

#[test]
fn more_bans_a_minute_than_allowed_have_to_wait() {
    let pair = refusing();
    let daemon = Daemon::start(&pair.home, "ban: {per-minute: 4}\n");
    for number in 1..=5 {
        scan(&pair, &format!("203.0.113.{number}"));
        wait_until("the scan is known", || daemon.status()["incidents_total"] == number);
    }
    assert_eq!(daemon.bans().len(), 3, "of spoofable evidence three quarters");
    let minute = limit(&daemon, "spoofable-per-minute");
    assert_eq!((&minute["used"], &minute["capacity"]), (&Value::from(3), &Value::from(3)));
    assert!(minute["refused"].as_u64().unwrap() >= 2, "{minute}");
    assert_eq!(limit(&daemon, "validated-per-minute")["used"], 0);
    assert_eq!(alarms(&daemon).len(), 1);
    (1..=6).for_each(|host| assert_eq!(daemon.ask(&format!("ban 198.51.100.{host}")).exit, Some(0)));
    daemon.stop(Signal::TERM);
}

#[test]
fn bans_of_nested_prefixes_stand_and_fall_each_by_itself() {
    let pair = refusing();
    let daemon = Daemon::start(&pair.home, "");
    for stranger in ["198.51.100.7", "198.51.100.200"] {
        pair.peer_has(stranger);
    }
    let passes = |stranger: &str| pair.answers(stranger, HOME4, 40_000, 3);
    for ban in ["198.51.100.0/24 --for 1h", "198.51.100.0/28 --for 10m", "198.51.100.0/30 --for 1m"] {
        let answer = daemon.ask(&format!("ban {ban}"));
        assert_eq!(answer.exit, Some(0), "{answer:?}");
    }
    assert_eq!(daemon.targets(), ["198.51.100.0/24", "198.51.100.0/28", "198.51.100.0/30"]);
    assert!(!passes("198.51.100.7") && !passes("198.51.100.200"));
    let answer = daemon.ask("unban 198.51.100.7");
    assert_eq!(
        (answer.exit, answer.err.as_str()),
        (Some(1), "nfban: 198.51.100.7 is banned with all of 198.51.100.0/28: lift that\n")
    );
    assert_eq!(daemon.ask("unban 198.51.100.0/24").exit, Some(0));
    assert!(!passes("198.51.100.7") && passes("198.51.100.200"));
    assert_eq!(daemon.targets(), ["198.51.100.0/28", "198.51.100.0/30"]);
    assert_eq!(daemon.ask("unban 198.51.100.0/28").exit, Some(0));
    assert!(passes("198.51.100.7"));
    assert_eq!(daemon.targets(), ["198.51.100.0/30"]);
    assert_eq!(daemon.ask("unban --all").exit, Some(0));
    assert!(daemon.bans().is_empty());
    daemon.stop(Signal::TERM);
}

fn kernel(size: u32) -> Kernel {
    let (services, protected) = (Vec::new(), Vec::new());
    Kernel::install(&Settings {
        owner: false,
        table: "nfban".to_owned(),
        services,
        protected,
        conntrack: true,
        size,
        trap: None,
    })
    .unwrap()
}

/// An engine that bans even whom it cannot be sure of, as many as may be.
fn engine(widths: Widths) -> Engine {
    let rules = load(SHIPPED, Path::new("/nonexistent")).unwrap();
    let rules = Ruleset::compile(&rules, &[]).unwrap();
    let policy = Policy { spoofable: Response::Ban, per_minute: 100_000, ..Policy::default() };
    let settings = EngineSettings { policy, widths, ..EngineSettings::default() };
    Engine::new(rules, settings, Capacity::default(), Seed::Fixed)
}

/// Twelve datagrams to as many ports: a UDP scan.
fn scanned_by(from: IpAddr, engine: &mut Engine, now: Stamp, actions: &mut Vec<Action>) {
    for dport in 1..=12 {
        let packet = Packet {
            saddr: from,
            daddr: [203, 0, 113, 5].into(),
            length: 28,
            header_length: 20,
            ttl: 57,
            dont_fragment: false,
            identification: None,
            fragment: None,
            protocol: protocol::UDP,
            transport: Transport::Udp(Udp { sport: 50_000, dport, length: 8 }),
        };
        let observation = Observation {
            packet,
            verdict: Verdict::Refused,
            pkttype: Pkttype::Unicast,
            iif: "eth0",
            oif: "",
            prefix: b"",
            fault: None,
        };
        engine.observe(&observation, now, actions);
    }
}

#[test]
fn in_a_full_set_of_the_kernel_the_least_gives_way_to_a_worse_offender() {
    Namespace::new().enter(|| {
        // An administrator's table may have smaller sets than the limit in the configuration.
        let mut kernel = kernel(4);
        let mut engine = engine(Widths::default());
        let now = Stamp { boot: Duration::from_secs(1000), wall_us: 0 };
        let mut told = Vec::new();
        let mut settle = |engine: &mut Engine, kernel: &mut Kernel, mut actions: Vec<Action>| {
            engine.settle(&mut actions, |changes| kernel.apply(changes), || now, |event| told.push(event));
        };
        for host in 1..=5 {
            let mut actions = Vec::new();
            scanned_by([192, 0, 2, host].into(), &mut engine, now, &mut actions);
            settle(&mut engine, &mut kernel, actions);
        }
        let target = |host: u8| IpNet::from(IpAddr::from([198, 51, 100, host]));
        for host in 1..=4 {
            let mut actions = Vec::new();
            engine.ban(target(host), None, None, now, &mut actions).unwrap();
            settle(&mut engine, &mut kernel, actions);
            let held: Vec<IpNet> = kernel.held().unwrap().into_iter().map(|held| held.target).collect();
            assert_eq!(held.len(), 4);
            assert!(held.contains(&target(host)), "{held:?}");
        }
        let held: Vec<IpNet> = kernel.held().unwrap().into_iter().map(|held| held.target).collect();
        assert!((1..=4).all(|host| held.contains(&target(host))), "no forged scan is left: {held:?}");
        let alarms = told.iter().filter(|event| matches!(event, nfban::event::Event::Alarm(_))).count();
        assert_eq!(alarms, 1, "{told:?}");
    });
}

#[test]
fn neighbours_that_nobody_can_count_leave_room_in_the_kernel_for_a_prefix_banned_by_hand() {
    Namespace::new().enter(|| {
        let mut kernel = kernel(100_000);
        let on_link = "2001:db8:aaaa::/64".parse::<IpNet>().unwrap();
        let widths = Widths { on_link: [on_link].into_iter().collect(), ..Widths::default() };
        let mut engine = engine(widths);
        let now = Stamp { boot: Duration::from_secs(1000), wall_us: 0 };
        let mut actions = Vec::new();
        for neighbour in 1..=3500u128 {
            let IpAddr::V6(first) = on_link.addr() else { unreachable!() };
            scanned_by(IpAddr::V6((first.to_bits() + neighbour).into()), &mut engine, now, &mut actions);
        }
        // Nested, so that each takes more than one element.
        for length in 32..64 {
            let prefix = IpNet::new("2001:db8:bbbb:1::".parse().unwrap(), length).unwrap().trunc();
            let hours = Duration::from_secs(3600 * u64::from(length));
            engine.ban(prefix, Some(hours), None, now, &mut actions).unwrap();
        }
        let mut told = Vec::new();
        engine.settle(&mut actions, |changes| kernel.apply(changes), || now, |event| told.push(event));
        assert_eq!(engine.counts().refused, 0);
        let held = kernel.held().unwrap();
        assert_eq!(held.len(), 3072 + 32, "three quarters of 4096, and all that a person banned");
        assert!(held.iter().all(|held| held.comment != "manual" || held.target.prefix_len() < 64));
    });
}
