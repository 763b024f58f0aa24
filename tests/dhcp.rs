//! DHCP goes on between this host and a neighbour that is banned and restricted, whichever of the two is the server: with
//! dnsmasq and udhcpc.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test states its expectations by panicking"
)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use support::daemon::Daemon;
use support::{Conversation, HOME4, Namespace, PEER4, Pair, wait_until};
use tempfile::TempDir;

/// The only address there is to lease.
const LEASED: &str = "192.0.2.100";

/// Both at once: whatever returns early must do so in both chains.
fn shut_out(daemon: &Daemon, home: &Namespace, address: &str) {
    let answer = daemon.ask(&format!("ban {address} --for 1h"));
    assert_eq!(answer.exit, Some(0), "{answer:?}");
    home.sh(&format!("nft add element inet nfban restrict4 '{{ {address} timeout 1h }}'"));
}

/// What drops a neighbour now, and nothing but it.
fn by_one_chain(home: &Namespace, address: &str, measure: &str) {
    let lifted = if measure == "ban" { "restrict4" } else { "ban4" };
    home.sh(&format!("nft delete element inet nfban {lifted} '{{ {address} }}'"));
    assert!(home.sh(&format!("nft list set inet nfban {measure}4")).contains(address));
}

/// A home whose peer is a neighbour like any other, and no gateway.
fn neighbours() -> Pair {
    let pair = Pair::new();
    pair.home.sh("ip route del default && ip -6 route del default");
    pair
}

/// A program of a test's, ended with it.
struct Running(Child);

impl Running {
    fn start(side: &Namespace, command: &mut Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(side.enter(|| command.spawn().expect("dnsmasq-base and udhcpc are installed")))
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// dnsmasq as a DHCP server at a link.
fn server(side: &Namespace, link: &str, folder: &Path) -> Running {
    let mut command = Command::new("dnsmasq");
    command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root"]);
    command.args(["--dhcp-authoritative", "--no-ping", "--pid-file=", &format!("--interface={link}")]);
    command.arg(format!("--dhcp-range={LEASED},{LEASED},255.255.255.0,1h"));
    command.arg(format!("--dhcp-leasefile={}", folder.join("leases").display()));
    let running = Running::start(side, &mut command);
    wait_until("the server listens", || side.sh("ss -Hlun sport = :67").contains(":67"));
    running
}

/// udhcpc at a link, and the file where it writes what becomes of its lease.
fn client(side: &Namespace, link: &str, folder: &Path) -> (Running, PathBuf) {
    let (script, told) = (folder.join("script"), folder.join("told"));
    let lines = format!(
        "#!/bin/sh\ncase $1 in bound | renew) ip addr replace $ip/24 dev $interface;; esac\necho $1 $ip >>{}\n",
        told.display()
    );
    fs::write(&script, lines).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new("udhcpc");
    command.args(["-f", "-i", link, "-t", "20", "-T", "1", "-s"]).arg(script);
    (Running::start(side, &mut command), told)
}

fn count(told: &Path, what: &str) -> usize {
    let told = fs::read_to_string(told).unwrap_or_default();
    told.lines().filter(|line| *line == format!("{what} {LEASED}")).count()
}

/// Whether other datagrams pass.
fn passes(pair: &Pair, from: &str) -> bool {
    Conversation::new(pair, from, HOME4, 4711).goes_on()
}

#[test]
fn a_lease_from_a_neighbour_that_is_shut_out_is_got_and_renewed() {
    for measure in ["ban", "restrict"] {
        let (pair, folder) = (neighbours(), TempDir::new().unwrap());
        let daemon = Daemon::start(&pair.home, "");
        shut_out(&daemon, &pair.home, PEER4);
        by_one_chain(&pair.home, PEER4, measure);
        let _server = server(&pair.peer, "peer0", folder.path());
        let (client, told) = client(&pair.home, "up0", folder.path());
        wait_until("there is a lease", || count(&told, "bound") == 1);
        for renewals in 1..=2 {
            // By unicast, through a socket of UDP: the answer comes through our chains.
            client.signal(Signal::USR1);
            wait_until("the lease is renewed", || count(&told, "renew") == renewals);
        }
        assert!(!passes(&pair, PEER4), "all else of the neighbour is dropped: {measure}");
        daemon.stop(Signal::TERM);
    }
}

#[test]
fn a_neighbour_that_is_shut_out_gets_and_renews_its_lease_from_us() {
    for measure in ["ban", "restrict"] {
        let (pair, folder) = (neighbours(), TempDir::new().unwrap());
        let daemon = Daemon::start(&pair.home, "");
        for address in [PEER4, LEASED] {
            shut_out(&daemon, &pair.home, address);
            by_one_chain(&pair.home, address, measure);
        }
        let _server = server(&pair.home, "up0", folder.path());
        // The first question is a broadcast from no address.
        let (client, told) = client(&pair.peer, "peer0", folder.path());
        wait_until("there is a lease", || count(&told, "bound") == 1);
        // The next ones come from the address itself.
        client.signal(Signal::USR1);
        wait_until("the lease is renewed", || count(&told, "renew") == 1);
        assert!(!passes(&pair, LEASED), "all else of the neighbour is dropped: {measure}");
        // Given back, and asked for anew.
        client.signal(Signal::USR2);
        let given_back =
            || fs::read_to_string(&told).unwrap().lines().filter(|line| *line == "deconfig").count();
        wait_until("the lease is given back", || given_back() == 2);
        client.signal(Signal::USR1);
        wait_until("there is another", || count(&told, "bound") == 2);
        daemon.stop(Signal::TERM);
    }
}
