//! What `nfban status` tells of a scan, on the running kernel.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test states its expectations by panicking"
)]

mod support;

use std::net::{SocketAddr, UdpSocket};

use rustix::process::Signal;
use serde_json::Value;
use support::daemon::Daemon;
use support::{HOME4, Pair, wait_until};

const STRANGER: &str = "203.0.113.7";

/// A pair whose home refuses and logs datagrams, and a stranger at the peer's end.
fn refusing() -> Pair {
    let pair = Pair::refusing();
    pair.peer_has(STRANGER);
    pair
}

/// One datagram to each port, in this order.
fn send(pair: &Pair, ports: impl IntoIterator<Item = u16> + Send) {
    pair.peer.enter(|| {
        let socket = UdpSocket::bind(SocketAddr::new(STRANGER.parse().unwrap(), 0)).unwrap();
        for port in ports {
            socket.send_to(b"", (HOME4, port)).unwrap();
        }
    });
}

#[test]
fn a_scan_shows_up_as_offender_with_its_ports_and_in_the_rates() {
    let pair = refusing();
    let daemon = Daemon::start(&pair.home, "");
    let nothing = daemon.status();
    assert_eq!(
        (&nothing["offenders"], &nothing["top_ports"]),
        (&Value::from([(); 0]), &Value::from([(); 0]))
    );
    assert_eq!(nothing["packets_per_s"], 0.0);

    // One port three times, then one each: the ban comes before the last of them.
    send(&pair, [7, 7, 7].into_iter().chain(8..=40));
    wait_until("the scanner is banned", || daemon.targets() == [STRANGER]);
    send(&pair, [9; 5]);
    let offender = || daemon.status()["offenders"][0].clone();
    wait_until("what it sends is dropped and told", || offender()["dropped"].as_u64() >= Some(5));

    let offender = offender();
    assert_eq!((&offender["source"], &offender["rule"]), (&STRANGER.into(), &"udp-scan".into()));
    assert_eq!((&offender["incidents"], &offender["open_incidents"]), (&1.into(), &1.into()));
    assert_eq!(offender["ban"]["action"], "restrict");
    assert!(offender["ban"]["expires_s"].as_u64() > Some(500), "{offender}");
    let ports = offender["port_ranges"].as_str().unwrap();
    assert!(ports.starts_with("7-"), "{ports}");

    let status = daemon.status();
    let first = &status["top_ports"][0];
    assert_eq!(
        (&first["protocol"], &first["port"], &first["packets"]),
        (&"udp".into(), &7.into(), &3.into())
    );
    // As many as the rule needs, and what came before the ban of those after.
    assert!((8..=10).contains(&status["top_ports"].as_array().unwrap().len()), "{status}");
    let capture = &status["captures"][0];
    let (rate, packets) = (capture["packets_per_s"].as_f64().unwrap(), capture["packets"].as_f64().unwrap());
    let uptime = status["uptime_s"].as_f64().unwrap();
    // The uptime is in whole seconds, rounded down.
    assert!(
        rate <= packets / uptime.max(0.01) && rate >= (packets / (uptime + 1.0) * 1000.0).floor() / 1000.0
    );
    assert!(status["evidence_per_s"].as_f64().unwrap() > 0.0);

    let shown = daemon.ask("status").out;
    for part in ["TOP OFFENDERS", "udp/7 3", "  restrict ", "LATEST INCIDENTS"] {
        assert!(shown.contains(part), "{part}\n{shown}");
    }
    daemon.stop(Signal::TERM);
}

#[test]
fn who_is_only_watched_is_an_offender_too() {
    let pair = refusing();
    let daemon = Daemon::start(&pair.home, "mode: watch\n");
    send(&pair, 1..=40);
    wait_until("it would be banned", || daemon.targets() == [STRANGER]);
    let status = daemon.status();
    assert_eq!(status["offenders"][0]["ban"]["enforced"], false);
    assert_eq!(status["offenders"][0]["dropped"], 0);
    let told = daemon.ask("status").out;
    assert!(told.contains("would restrict"), "{told}");
    assert!(told.contains("0 would be banned, 1 would be restricted"), "{told}");
    let told = daemon.ask(&format!("status {STRANGER}")).out;
    assert!(told.contains(": would restrict for 10m\n"), "{told}");
    let told = daemon.ask(&format!("why {STRANGER}")).out;
    assert!(told.contains("It would have been restricted to what is published for 10m"), "{told}");
    daemon.stop(Signal::TERM);
}
