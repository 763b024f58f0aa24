//! What the daemon tells the service manager that started it, as sd_notify(3) has it.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test states its expectations by panicking"
)]

mod support;

use std::cell::RefCell;
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use rustix::process::Signal;
use support::daemon::{Daemon, NFBAN, Setup};
use support::{HOME4, Pair, wait_until};

/// The service manager's end of `NOTIFY_SOCKET`, and what has arrived there.
struct Manager {
    socket: UnixDatagram,
    heard: RefCell<Vec<String>>,
}

impl Manager {
    /// Starts a daemon that watches, with a watchdog of `limit` microseconds.
    fn of(pair: &Pair, limit: u64) -> (Self, Daemon) {
        let setup = Setup::new("mode: watch\n");
        let address = setup.folder().join("notify");
        let socket = UnixDatagram::bind(&address).unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut command = Command::new(NFBAN);
        command.args(["run", "-c"]).arg(setup.config());
        command.env("NOTIFY_SOCKET", address).env("WATCHDOG_USEC", limit.to_string());
        command.env_remove("WATCHDOG_PID");
        (Self { socket, heard: RefCell::default() }, Daemon::spawn(&pair.home, setup, command))
    }

    /// All that was told so far, a line each.
    fn heard(&self) -> Vec<String> {
        let mut message = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut message) {
            let text = String::from_utf8_lossy(message.get(..length).unwrap()).into_owned();
            self.heard.borrow_mut().extend(text.lines().map(str::to_owned));
        }
        self.heard.borrow().clone()
    }

    /// What was told, without the watchdog's and the time that stands beside a reload.
    fn states(&self) -> Vec<String> {
        let told = self.heard().into_iter();
        told.filter(|line| line != "WATCHDOG=1" && !line.starts_with("MONOTONIC_USEC=")).collect()
    }

    fn watchdogs(&self) -> usize {
        self.heard().iter().filter(|line| *line == "WATCHDOG=1").count()
    }
}

#[test]
fn the_service_manager_hears_of_the_start_of_reloads_and_of_the_end() {
    let pair = Pair::new();
    let (manager, daemon) = Manager::of(&pair, 60_000_000);
    assert_eq!(manager.states(), ["READY=1"]);

    daemon.signal(Signal::HUP);
    wait_until("the reload has ended", || manager.states().len() >= 3);
    assert_eq!(manager.states(), ["READY=1", "RELOADING=1", "READY=1"]);
    assert_eq!(manager.heard().iter().filter(|line| line.starts_with("MONOTONIC_USEC=")).count(), 1);

    // A bad configuration is refused, and the reload has ended all the same.
    daemon.setup().configure("mode: wach\n");
    assert_eq!(daemon.ask("reload").exit, Some(78));
    assert_eq!(manager.states(), ["READY=1", "RELOADING=1", "READY=1", "RELOADING=1", "READY=1"]);

    let setup = daemon.stop(Signal::TERM);
    assert_eq!(manager.states().last().map(String::as_str), Some("STOPPING=1"));
    drop(setup);
}

#[test]
fn the_watchdog_hears_of_a_daemon_that_has_nothing_to_do() {
    let pair = Pair::new();
    let (manager, _daemon) = Manager::of(&pair, 200_000);
    wait_until("the watchdog has heard five times", || manager.watchdogs() >= 5);
}

#[test]
fn packets_do_not_make_the_watchdog_hear_more_often() {
    let pair = Pair::new();
    pair.home.sh("nft add table inet f; nft add chain inet f i '{ type filter hook input priority 0; }'");
    pair.home.sh("nft add rule inet f i udp dport 1-60000 log group 100 drop");
    let (manager, daemon) = Manager::of(&pair, 240_000_000);
    pair.peer.enter(|| {
        let socket = std::net::UdpSocket::bind(("0.0.0.0", 0)).unwrap();
        for port in 1..=500_u16 {
            socket.send_to(b"x", (HOME4, port)).expect("the cable is plugged in");
        }
    });
    wait_until("all were seen", || daemon.packets() >= 500);
    assert_eq!(manager.watchdogs(), 1);
}
