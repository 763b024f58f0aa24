//! A new configuration while running: what was counted goes on.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test states its expectations by panicking"
)]

mod support;

use std::fs;
use std::net::UdpSocket;
use std::ops::Range;

use rustix::process::Signal;
use support::daemon::{Daemon, Setup};
use support::{HOME4, Pair, wait_until};

/// Somebody behind the gateway, which itself is protected.
const STRANGER: &str = "203.0.113.7";

const FIREWALL: &str = "nft -f - <<'RULES'
table inet firewall {
    chain input {
        type filter hook input priority 0;
        udp dport < 30000 counter log prefix \"nfban:refused\" group 100 drop
    }
}
RULES";

/// Twelve ports within ten minutes, which no restart remembers.
const DOORS: &str = "- {id: doors, match: {class: udp}, count: {distinct: dport}, threshold: 12, window: 10m}
- {id: udp-scan, enabled: false}
- {id: slow-scan, enabled: false}
";

fn bed() -> (Pair, Setup) {
    let pair = Pair::new();
    pair.peer_has(STRANGER);
    pair.home.sh(FIREWALL);
    let setup = Setup::new("");
    for folder in ["rules.d", "conf.d"] {
        fs::create_dir(setup.folder().join(folder)).unwrap();
    }
    fs::write(setup.folder().join("rules.d/doors.yaml"), DOORS).unwrap();
    setup.configure(&format!("rules: {{directory: {}/rules.d}}\n", setup.folder().display()));
    (pair, setup)
}

/// Probes some ports of home, and waits until the daemon has seen them.
fn probe(pair: &Pair, daemon: &Daemon, ports: Range<u16>) {
    let seen = daemon.packets() + u64::from(ports.end - ports.start);
    pair.peer.enter(|| {
        let socket = UdpSocket::bind((STRANGER, 0)).unwrap();
        for port in ports {
            socket.send_to(b"", (HOME4, port)).unwrap();
        }
    });
    wait_until("the probes are seen", || daemon.packets() >= seen);
}

/// What counts of the stranger for the rule.
fn counted(daemon: &Daemon) -> u64 {
    let known = daemon.ask(&format!("status {STRANGER} --json")).lines().remove(0);
    let counts = known["counts"].as_array().unwrap().clone();
    counts.iter().find(|count| count["rule"] == "doors").map_or(0, |count| count["count"].as_u64().unwrap())
}

#[test]
fn a_half_done_scan_counts_on_over_reloads_of_drop_ins_and_of_other_rules() {
    let (pair, setup) = bed();
    let daemon = Daemon::start_with(&pair.home, setup, &[]);
    let write = |name: &str, text: &str| fs::write(daemon.setup().folder().join(name), text).unwrap();
    assert_eq!(daemon.ask("ban 198.51.100.9 --for 1h").exit, Some(0));
    probe(&pair, &daemon, 1..5);
    assert_eq!(counted(&daemon), 4);

    write("conf.d/services.yaml", "services: [udp/28000]\nban: {max: 50}\n");
    daemon.signal(Signal::HUP);
    wait_until("it is read again", || daemon.log().contains("configuration reloaded"));
    assert_eq!(daemon.status()["limits"]["bans"]["capacity"], 50);
    assert_eq!(counted(&daemon), 4);
    probe(&pair, &daemon, 5..8);

    write(
        "rules.d/more.yaml",
        "- {id: more, match: {class: udp}, count: packets, threshold: 999, window: 10s}\n",
    );
    write("conf.d/traps.yaml", "traps: [28001]\nsources: 8192\n");
    assert_eq!(daemon.ask("reload").exit, Some(0), "{}", daemon.log());
    assert_eq!(counted(&daemon), 7, "with another rule beside, another trap and other tables");
    assert_eq!(daemon.targets(), ["198.51.100.9"]);

    write("conf.d/traps.yaml", "trap: [28001]\n");
    let refused = daemon.ask("reload");
    assert_eq!(refused.exit, Some(78), "{refused:?}");
    daemon.says("conf.d/traps.yaml:1:7: `trap` is a mapping");
    assert_eq!(counted(&daemon), 7);

    probe(&pair, &daemon, 8..12);
    assert_eq!(daemon.targets(), ["198.51.100.9"], "eleven ports");
    probe(&pair, &daemon, 12..13);
    wait_until("the twelfth port gives the scan away", || daemon.targets() == ["198.51.100.9", STRANGER]);
    assert_eq!(daemon.rules(), ["doors"]);
    // The first packets are in the incident, not only in the count.
    assert_eq!(daemon.status()["recent_incidents"][0]["packets"], 12);
}

/// Ten packets within ten minutes.
const SUM: &str = "- {id: sum, match: {class: udp}, count: packets, threshold: 10, window: 10m}
- {id: udp-scan, enabled: false}
- {id: udp-data-scan, enabled: false}
- {id: slow-scan, enabled: false}
";

#[test]
fn sums_and_open_incidents_go_on_over_reloads_of_changed_rules_and_are_not_told_anew() {
    let (pair, setup) = bed();
    fs::write(setup.folder().join("rules.d/doors.yaml"), SUM).unwrap();
    setup.configure(&format!("mode: watch\nrules: {{directory: {}/rules.d}}\n", setup.folder().display()));
    let daemon = Daemon::start_with(&pair.home, setup, &[]);
    let reload = |name: &str, text: &str| {
        fs::write(daemon.setup().folder().join(name), text).unwrap();
        assert_eq!(daemon.ask("reload").exit, Some(0), "{}", daemon.log());
    };
    let incidents = || daemon.ask("incidents --json").lines();

    probe(&pair, &daemon, 1..7);
    reload(
        "rules.d/more.yaml",
        "- {id: more, match: {class: syn}, count: packets, threshold: 9, window: 10s}\n",
    );
    reload("rules.d/doors.yaml", &SUM.replace("window: 10m", "window: 20m"));
    probe(&pair, &daemon, 7..10);
    assert_eq!(daemon.rules(), [""; 0], "nine packets");
    probe(&pair, &daemon, 10..11);
    wait_until("the tenth opens the incident", || daemon.rules() == ["sum"]);
    wait_until("it is in the history", || incidents().len() == 1);
    let opened = incidents().remove(0);
    assert_eq!(opened["packets"], 10);
    let bans = daemon.bans();

    reload("rules.d/doors.yaml", &SUM.replace("threshold: 10", "threshold: 500"));
    reload("conf.d/more.yaml", "services: [udp/28000]\nban: {times: [2m]}\nsources: 2048\n");
    fs::remove_file(daemon.setup().folder().join("rules.d/more.yaml")).unwrap();
    daemon.signal(Signal::HUP);
    probe(&pair, &daemon, 11..14);
    assert_eq!(daemon.ask("reload").exit, Some(0));
    let after = incidents().remove(0);
    assert_eq!((&after["id"], &after["first_seen"]), (&opened["id"], &opened["first_seen"]));
    assert_eq!((&after["packets"], &after["ended"]), (&13.into(), &serde_json::Value::Null), "as it is now");
    assert_eq!((incidents().len(), daemon.packets()), (1, 13));
    for key in ["time", "timeout_s", "incident"] {
        assert_eq!(daemon.bans()[0][key], bans[0][key], "a ban that stands stays as it is");
    }

    // Where the rule goes, so does its incident.
    reload("rules.d/doors.yaml", "- {id: udp-scan, enabled: false}\n- {id: slow-scan, enabled: false}\n");
    wait_until("it has ended", || !incidents()[0]["ended"].is_null());
    assert_eq!((&incidents()[0]["id"], &incidents()[0]["packets"]), (&opened["id"], &13.into()));
    let told = daemon.log();
    assert_eq!(told.matches("disk is slow").count(), 0, "{told}");
}
