//! Listings of many bans: exact whatever happens meanwhile, and nothing waits for them.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test states its expectations by panicking"
)]

mod support;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::process::Signal;
use support::daemon::{Daemon, NFBAN, text};
use support::{Namespace, wait_until};

/// So many take the kernel a while.
const MANY: u32 = 5_000;

/// Has the daemon take in [`MANY`] bans that somebody else has made.
fn fill(home: &Namespace, daemon: &Daemon) {
    let mut elements = String::from("add element inet nfban restrict4 {");
    for number in 0..MANY {
        write!(elements, "{} timeout 1h comment \"many\",", Ipv4Addr::from_bits(0x0c00_0000 + number))
            .unwrap();
    }
    let file = daemon.setup().folder().join("many.nft");
    fs::write(&file, elements + "}\n").unwrap();
    home.sh(&format!("nft -f {}", file.display()));
    wait_until("the bans are known", || daemon.log().contains(&format!("{MANY} bans by another program")));
}

fn listing(daemon: &Daemon) -> Child {
    let mut command = Command::new(NFBAN);
    command.arg("--socket").arg(daemon.setup().socket()).args(["bans", "--json"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn others_are_answered_while_many_bans_are_listed() {
    let home = Namespace::new();
    let daemon = Daemon::start(&home, "");
    fill(&home, &daemon);
    let all = usize::try_from(MANY).unwrap();
    assert_eq!(daemon.bans().len(), all);
    let mut number = 0;
    wait_until("bans were made and lifted between the beginning and the end of one listing", || {
        let mut listing = listing(&daemon);
        let begun = listing_begun(&daemon);
        number += 1;
        let ban = format!("192.0.2.{}", number % 250);
        let answers = [format!("ban {ban}"), format!("unban {ban}"), "status --json".to_owned()]
            .map(|request| daemon.ask(&request).exit);
        let goes_on = listing.try_wait().unwrap().is_none();
        let ended = listing.wait().unwrap();
        assert!(ended.success(), "{ended}");
        assert_eq!(answers, [Some(0); 3]);
        begun && goes_on
    });
    daemon.stop(Signal::TERM);
}

/// Whether the daemon has a thread that lists.
fn listing_begun(daemon: &Daemon) -> bool {
    let pid = daemon.status()["pid"].as_u64().unwrap();
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    threads.flatten().any(|thread| {
        fs::read_to_string(thread.path().join("comm")).is_ok_and(|name| name.trim() == "listing")
    })
}

/// Says that it is over when dropped, by a test that fails, too.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_listing_has_what_stood_all_the_time_and_nothing_that_was_lifted_before() {
    let home = Namespace::new();
    let daemon = Daemon::start(&home, "");
    fill(&home, &daemon);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _end = Over(&over);
        // Comings and goings in the same set, of nfban's doing and of others': no list of it is whole.
        scope.spawn(|| {
            for number in (0..250).cycle() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                daemon.ask(&format!("ban 192.0.2.{number} --for 1m"));
                home.try_sh(&format!("nft delete element inet nfban ban4 '{{ 192.0.2.{number} }}'"));
            }
        });
        for round in 0..8 {
            let mine = format!("198.51.100.{round}");
            let lifted = format!("203.0.113.{round}");
            for request in [format!("ban {lifted}"), format!("unban {lifted}"), format!("ban {mine}")] {
                assert_eq!(daemon.ask(&request).exit, Some(0), "{request}");
            }
            let bans = daemon.bans();
            let targets: BTreeSet<String> = bans.iter().map(|ban| text(&ban["target"])).collect();
            assert_eq!(targets.len(), bans.len(), "nothing twice");
            let many = targets.iter().filter(|target| target.starts_with("12.")).count();
            assert_eq!(many, usize::try_from(MANY).unwrap());
            assert!(targets.contains(&mine) && !targets.contains(&lifted));
        }
    });
    // All that is known of a network with many is one, too.
    let about = daemon.ask("status --json 12.0.0.0/8").lines().remove(0);
    assert_eq!(about["bans"].as_array().unwrap().len(), usize::try_from(MANY).unwrap());
    // A flush while it is read: what comes back is told, however far that is.
    let mut listing = listing(&daemon);
    home.sh("nft flush ruleset");
    assert!(listing.wait().unwrap().success());
    wait_until("all are back", || daemon.bans().len() >= usize::try_from(MANY).unwrap());
    assert!(!daemon.log().contains("of 12."), "nobody has lifted any of them");
    daemon.stop(Signal::TERM);
}
