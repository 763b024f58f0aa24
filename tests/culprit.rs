//! Which process of this host scans others, found while real scanners run in a network namespace.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test states its expectations by panicking"
)]

mod support;

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nfban::decide::Evidence;
use nfban::event::{Incident, IncidentId};
use nfban::host::Culprit;
use nfban::time::Stamp;
use rustix::thread::{CapabilitySet, CapabilitySets};
use support::daemon::{Daemon, text};
use support::{HOME4, HOME6, LIMIT, PEER4, PEER6, Pair, wait_until};

/// An incident as it is when it opens: the first ports of a scan that goes on.
fn incident(source: &str, destination: &str, ports: &[u16]) -> Incident {
    let now = Stamp { boot: Duration::ZERO, wall_us: 0 };
    Incident {
        id: IncidentId(1),
        rule: "outbound-scan".to_owned(),
        source: source.parse::<std::net::IpAddr>().unwrap().into(),
        evidence: Evidence::Spoofable,
        first_seen: now,
        last_seen: now,
        time: now,
        destinations: vec![destination.parse().unwrap()],
        distinct_destinations: 1,
        ports: ports.to_vec(),
        distinct_ports: 1,
        protocols: vec!["tcp".to_owned()],
        addresses: 1,
        packets: 1,
        bytes: 60,
        port_ranges: Vec::new(),
        source_ports: Vec::new(),
        distinct_source_ports: 0,
        tool: None,
        probes: Vec::new(),
    }
}

/// A program that runs in `home` until the test is over.
struct Running(Child);

impl Running {
    fn start(pair: &Pair, line: &str) -> Self {
        // `exec`: the process is the scanner itself and not a shell around it. The system's own programs: an ordinary user may have no way to those of root.
        let line = format!("exec env PATH=/usr/sbin:/usr/bin:/sbin:/bin {line}");
        let mut command = Command::new("sh");
        command.args(["-c", &line]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(pair.home.enter(|| command.spawn().unwrap()))
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Looks until something is found: the scanner may only be starting.
fn find(pair: &Pair, incident: &Incident) -> Culprit {
    let start = std::time::Instant::now();
    loop {
        if let Some(culprit) = pair.home.enter(|| Culprit::find(incident)) {
            return culprit;
        }
        assert!(start.elapsed() < LIMIT, "nobody was found for {incident:?}");
    }
}

/// Two machines of which the peer answers nothing: probes stay half-open.
fn silent_peer() -> Pair {
    let pair = Pair::new();
    pair.peer.sh("nft -f - <<'RULES'
table inet silence {
    chain input {
        type filter hook input priority 0;
        meta l4proto { tcp, udp } drop
    }
}
RULES");
    pair
}

/// Connects to one port after the other in Python, as `connect()` of any program does. Opens as many as 40 at a time.
fn connecting(to: &str, first: u16) -> String {
    format!(
        "python3 -c '
import socket, time
held = []
for port in range({first}, 60000):
    one = socket.socket(socket.AF_INET6 if \":\" in \"{to}\" else socket.AF_INET)
    one.setblocking(False)
    one.connect_ex((\"{to}\", port))
    held = (held + [one])[-40:]
    time.sleep(0.01)
'"
    )
}

#[test]
fn a_connect_scan_names_its_process_and_its_user() {
    let pair = silent_peer();
    for (source, to, option) in [(HOME4, PEER4, ""), (HOME6, PEER6, "-6")] {
        let scan = Running::start(&pair, &format!("nmap -n -Pn -sT --max-rate 100 -p 1-5000 {option} {to}"));
        let culprit = find(&pair, &incident(source, to, &[22, 80]));
        assert_eq!(culprit.to_string(), format!("process nmap (pid {}, user root)", scan.pid()));
    }
    let nobody = "setpriv --reuid=nobody --clear-groups --inh-caps=-all";
    let scan = Running::start(&pair, &format!("{nobody} {}", connecting(PEER4, 1000)));
    let culprit = find(&pair, &incident(HOME4, PEER4, &[1001, 1002]));
    assert_eq!(culprit.to_string(), format!("process python3 (pid {}, user nobody)", scan.pid()));

    // As the daemon runs: no right to look into other users' processes.
    let culprit = pair.home.enter(|| {
        let none = CapabilitySet::empty();
        rustix::thread::set_capabilities(
            None,
            CapabilitySets { effective: none, permitted: none, inheritable: none },
        )
        .unwrap();
        Culprit::find(&incident(HOME4, PEER4, &[1001, 1002]))
    });
    assert_eq!(culprit.expect("its sockets can be seen").to_string(), "a process of user nobody");
}

#[test]
fn who_writes_packets_by_hand_is_a_guess_and_told_as_one() {
    let pair = silent_peer();
    let scan = Running::start(&pair, &format!("nmap -n -Pn -sS --send-ip --max-rate 100 -p 1-5000 {PEER4}"));
    let culprit = find(&pair, &incident(HOME4, PEER4, &[22, 80]));
    assert_eq!(culprit.to_string(), format!("perhaps process nmap (pid {}, user root)", scan.pid()));
}

#[test]
fn connections_to_elsewhere_accuse_nobody() {
    let pair = silent_peer();
    let _honest = Running::start(&pair, &connecting("192.0.2.3", 1000));
    let scan = Running::start(&pair, &connecting(PEER4, 1000));
    let other_host_and_port = incident(HOME4, "192.0.2.77", &[22]);
    assert_eq!(pair.home.enter(|| Culprit::find(&other_host_and_port)), None);
    // Both are connecting to ports the scan has been at; only one connects to its host.
    let ports = incident(HOME4, PEER4, &[]);
    assert_eq!(find(&pair, &ports).to_string(), format!("process python3 (pid {}, user root)", scan.pid()));
}

#[test]
fn the_daemon_raises_an_alarm_that_names_host_and_process_and_bans_nobody() {
    let pair = silent_peer();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/nftables");
    pair.home.sh(&format!("nft -f {folder}/server.nft"));
    let daemon =
        Daemon::start(&pair.home, "capture: [nflog: {group: 100}, nflog: {group: 103, verdict: outbound}]\n");
    let alarms = || {
        let status = daemon.status();
        status["alarms"].as_array().unwrap().iter().map(|alarm| text(&alarm["what"])).collect::<Vec<_>>()
    };

    let scan = Running::start(&pair, &connecting(PEER4, 1000));
    wait_until("the process is named", || !alarms().is_empty());
    let named =
        format!("outbound-scan from {HOME4}, this host: process python3 (pid {}, user root)", scan.pid());
    assert_eq!(alarms(), [named.as_str()]);
    daemon.says(&named);

    assert_eq!(daemon.rules(), ["outbound-scan"]);
    assert_eq!(daemon.bans(), Vec::<serde_json::Value>::new());
    daemon.stop(rustix::process::Signal::TERM);
}
