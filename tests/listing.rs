//! Many bans at once: listed, taken in and lifted, exactly whatever happens meanwhile, and nothing waits for it.

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
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
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
    begun(daemon, &["bans", "--json"])
}

/// Asks, and does not wait for the answer.
fn begun(daemon: &Daemon, arguments: &[&str]) -> Child {
    let mut command = Command::new(NFBAN);
    command.arg("--socket").arg(daemon.setup().socket()).args(arguments);
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

#[test]
fn those_who_ask_and_hang_up_hold_nobody_up() {
    let home = Namespace::new();
    let daemon = Daemon::start(&home, "");
    fill(&home, &daemon);
    for _ in 0..2_000 {
        // Where the queue of connections is full, some wait.
        let mut stream = UnixStream::connect(daemon.setup().socket()).unwrap();
        let _ = stream.write_all(b"{\"request\":\"bans\"}\n");
    }
    // On a busy machine the answer may take longer than a client waits: it is told to try again.
    let mut listed = 0;
    wait_until("somebody is answered", || {
        let answer = daemon.ask("bans --json");
        listed = answer.out.lines().count();
        answer.exit == Some(0)
    });
    assert_eq!(listed, usize::try_from(MANY).unwrap());
    let pid = daemon.status()["pid"].as_u64().unwrap();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let most =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")).unwrap();
    assert!(most.parse::<u32>().unwrap() < 400_000, "{most} KiB for 2,000 answers that nobody wants");
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

/// What nft lists of a set of addresses.
fn in_kernel(home: &Namespace, set: &str) -> BTreeSet<String> {
    let text = home.sh(&format!("nft list set inet nfban {set}"));
    let words = text.split(|c: char| c.is_whitespace() || ",{}".contains(c));
    words.filter(|word| word.parse::<Ipv4Addr>().is_ok()).map(str::to_owned).collect()
}

#[test]
fn what_is_taken_in_is_what_still_stands_when_its_turn_comes() {
    let home = Namespace::new();
    let daemon = Daemon::start(&home, "allow: [12.0.0.7]\n");
    // In one commit after the other, so that the daemon has begun when the first of them go again.
    let mut lines = String::new();
    for number in 0..MANY {
        let address = Ipv4Addr::from_bits(0x0c00_0000 + number);
        let comma = if number % 50 == 49 { "}\n" } else { "," };
        let begin = if number % 50 == 0 { "add element inet nfban restrict4 {" } else { "" };
        write!(lines, "{begin}{address} timeout 1h{comma}").unwrap();
    }
    let file = daemon.setup().folder().join("many.nft");
    fs::write(&file, lines).unwrap();
    home.sh(&format!("nft -f {}", file.display()));
    for number in (0..250).step_by(50) {
        home.sh(&format!("nft delete element inet nfban restrict4 '{{ 12.0.1.{number} }}'"));
        daemon.ask(&format!("unban 12.0.2.{number}"));
        assert_eq!(daemon.ask(&format!("ban 192.0.2.{number} --for 1h")).exit, Some(0));
    }
    let mine = 5;
    wait_until("the rest is taken in", || daemon.log().contains("by another program found in the table"));
    let targets: BTreeSet<String> = daemon.targets().into_iter().collect();
    let kernel: BTreeSet<String> =
        ["ban4", "restrict4"].iter().flat_map(|set| in_kernel(&home, set)).collect();
    assert_eq!(targets, kernel);
    // Of those that were lifted by command some were not taken in yet then: they stand.
    let fewest = usize::try_from(MANY).unwrap() - 1 - 5 - 5 + mine;
    assert!((fewest..=fewest + 5).contains(&targets.len()), "{}", targets.len());
    assert!(!targets.contains("12.0.0.7"), "on the allowlist");
    assert!((0..250).step_by(50).all(|number| !targets.contains(&format!("12.0.1.{number}"))));
    assert!((0..250).step_by(50).all(|number| targets.contains(&format!("192.0.2.{number}"))));
    daemon.stop(Signal::TERM);
}

#[test]
fn all_bans_are_lifted_in_parts_and_those_made_meanwhile_hold() {
    let home = Namespace::new();
    let daemon = Daemon::start(&home, "");
    let standing = || {
        let bans = &daemon.status()["bans"];
        bans["ban"].as_u64().unwrap() + bans["restrict"].as_u64().unwrap()
    };
    let mut round = 0;
    wait_until("a ban was made between the first and the last that was lifted", || {
        round += 1;
        fs::write(daemon.setup().folder().join("log"), "").unwrap();
        fill(&home, &daemon);
        let mut unban = begun(&daemon, &["unban", "--all"]);
        wait_until("it has begun", || standing() < u64::from(MANY));
        // One that was never banned, and one whose ban may still wait to be lifted.
        let new = format!("192.0.2.{round}");
        let again = "12.0.0.1".to_owned();
        for ban in [&new, &again] {
            assert_eq!(daemon.ask(&format!("ban {ban} --for 1h")).exit, Some(0));
        }
        let goes_on = unban.try_wait().unwrap().is_none();
        assert!(unban.wait().unwrap().success());
        let left: BTreeSet<String> = daemon.targets().into_iter().collect();
        assert!(left.is_superset(&BTreeSet::from([new.clone(), again.clone()])), "{left:?}");
        assert_eq!(left, in_kernel(&home, "ban4"));
        assert_eq!(in_kernel(&home, "restrict4"), BTreeSet::new());
        if goes_on {
            assert_eq!(left, BTreeSet::from([new, again]), "and nothing else");
        }
        assert_eq!(daemon.ask("unban --all").exit, Some(0));
        assert_eq!(daemon.targets(), Vec::<String>::new());
        goes_on
    });
    daemon.stop(Signal::TERM);
}
