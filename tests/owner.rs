//! A table that nobody but nfban can change: `nftables.owner`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test states its expectations by panicking"
)]

mod support;

use std::fs;
use std::process::Command;

use rustix::process::Signal;
use support::daemon::{Daemon, NFBAN, Setup};
use support::{HOME4, Namespace, Pair, wait_until};

const OWNED: &str = "nftables: {owner: true}\n";

/// Somebody behind the gateway.
const BAD: &str = "203.0.113.7";

fn ask(daemon: &Daemon, request: &str) {
    let answer = daemon.ask(request);
    assert_eq!(answer.exit, Some(0), "{request}: {answer:?}");
}

/// Whether the kernel's set has an element, as nft tells. The daemon is not asked.
fn has(home: &Namespace, set: &str, element: &str) -> bool {
    let (done, listed) = home.try_sh(&format!("nft list set inet nfban {set}"));
    done && listed.contains(element)
}

/// Fails as changes of somebody else's table do.
fn is_denied(home: &Namespace, line: &str) {
    let (done, said) = home.try_sh(line);
    assert!(!done && said.contains("Operation not permitted"), "{line}: {said}");
}

/// The number that the kernel gave the table: another one if it was made anew.
fn handle(home: &Namespace) -> String {
    let listed = home.sh("nft -a list tables");
    listed.lines().find(|line| line.contains("inet nfban")).unwrap_or_default().to_owned()
}

#[test]
fn what_others_do_to_the_ruleset_leaves_an_owned_table_and_its_bans_alone() {
    let pair = Pair::new();
    let home = &pair.home;
    pair.peer_has(BAD);
    let daemon = Daemon::start(home, OWNED);
    assert_eq!(daemon.status()["kernel"]["owned"], true);
    ask(&daemon, "ban 203.0.113.7 --for 1h");
    ask(&daemon, "ban 198.51.100.0/25 --for 1h");
    let before = handle(home);
    home.sh("nft 'table inet other { set s { type ipv4_addr; }; }'");
    home.sh("nft flush ruleset");
    assert_eq!(home.sh("nft list tables"), "table inet nfban\n");
    assert_eq!(handle(home), before);
    assert!(!pair.answers(BAD, HOME4, 4711, 3), "it was dropped all the time");
    for line in [
        "nft delete element inet nfban ban4 '{ 203.0.113.7 }'",
        "nft add element inet nfban ban4 '{ 203.0.113.8 }'",
        "nft flush set inet nfban ban4",
        "nft flush chain inet nfban ban",
        "nft insert rule inet nfban ban accept",
        "nft delete table inet nfban",
    ] {
        is_denied(home, line);
    }
    // What the manual warns of: a ruleset that was saved whole has the table in it.
    let saved = daemon.setup().folder().join("saved.nft").display().to_string();
    home.sh(&format!("nft list ruleset > {saved}"));
    assert!(!home.try_sh(&format!("nft -f {saved}")).0);
    // nfban itself goes on with it.
    ask(&daemon, "unban 203.0.113.7");
    assert!(pair.answers(BAD, HOME4, 4711, 20));
    ask(&daemon, "ban 2001:db8:9::/64");
    assert_eq!(daemon.targets(), ["198.51.100.0/25", "2001:db8:9::/64"]);
    assert_eq!(daemon.status()["kernel"]["reinstalled"], 0);
    daemon.stop(Signal::TERM);
}

#[test]
fn an_owned_table_outlives_a_kill_and_the_next_daemon_claims_it() {
    let home = Namespace::new();
    let mut daemon = Daemon::start(&home, OWNED);
    for round in 0..5 {
        ask(&daemon, &format!("ban 203.0.113.{round} --for 1h"));
        let before = handle(&home);
        let setup = daemon.kill();
        assert!(has(&home, "ban4", &format!("203.0.113.{round} ")), "nobody runs, and it stands");
        assert_eq!(handle(&home), before);
        daemon = Daemon::start_with(&home, setup, &[]);
        assert_eq!(handle(&home), before, "claimed, and not made anew");
        assert_eq!(daemon.bans().len(), round + 1);
        is_denied(&home, "nft flush table inet nfban");
    }
    // What nobody owns anybody may flush; the next daemon makes the table anew and its own again.
    let setup = daemon.stop(Signal::TERM);
    home.sh("nft flush ruleset");
    assert_eq!(home.sh("nft list tables"), "");
    let daemon = Daemon::start_with(&home, setup, &[]);
    wait_until("all are back", || daemon.bans().len() == 5);
    is_denied(&home, "nft delete table inet nfban");
    daemon.stop(Signal::TERM);
}

#[test]
fn the_owner_comes_and_goes_with_the_configuration_and_the_bans_stay() {
    let home = Namespace::new();
    let daemon = Daemon::start(&home, "");
    let bans =
        ["ban 203.0.113.1 --for 1h", "ban 203.0.113.2", "ban 192.0.2.0/25 --for 1h", "ban 2001:db8::/64"];
    bans.iter().for_each(|ban| ask(&daemon, ban));
    let targets = daemon.targets();
    let is_owned = |daemon: &Daemon, owned: bool| {
        assert_eq!(daemon.status()["kernel"]["owned"], owned);
        assert_eq!(daemon.targets(), targets);
        assert_eq!(home.try_sh("nft add chain inet nfban somebodys").0, !owned);
        assert!(!daemon.log().contains("ended"), "{}", daemon.log());
    };
    is_owned(&daemon, false);
    daemon.setup().configure(OWNED);
    ask(&daemon, "reload");
    is_owned(&daemon, true);
    daemon.setup().configure("nftables: {owner: true, conntrack: never}\n");
    ask(&daemon, "reload");
    is_owned(&daemon, true);
    daemon.setup().configure("");
    ask(&daemon, "reload");
    is_owned(&daemon, false);
    // And at a start, by the kernel alone: without the state database.
    let mut setup = daemon.stop(Signal::TERM);
    for (config, owned) in [(OWNED, true), ("", false)] {
        fs::remove_file(setup.folder().join("state.db")).unwrap();
        setup.configure(config);
        let daemon = Daemon::start_with(&home, setup, &[]);
        is_owned(&daemon, owned);
        setup = daemon.stop(Signal::TERM);
    }
}

#[test]
fn what_a_stopped_daemon_owned_can_be_removed_and_what_a_running_one_owns_cannot() {
    let home = Namespace::new();
    let daemon = Daemon::start(&home, OWNED);
    ask(&daemon, "ban 203.0.113.1");
    // Another daemon on the same table, with a socket of its own.
    for config in [OWNED, ""] {
        let other = Setup::new(&format!("capture: [{{nflog: {{group: 7}}}}]\n{config}"));
        let refused = Daemon::refuses_to_start(&home, &other, Command::new(NFBAN));
        assert_eq!(refused.exit, Some(1), "{refused:?}");
        assert!(refused.err.contains("belongs to a socket of another process"), "{refused:?}");
        let flush = flush(&home, &other);
        assert!(!flush.0 && flush.1.contains("belongs to a socket of another process"), "{flush:?}");
    }
    assert!(has(&home, "ban4", "203.0.113.1 "));
    let setup = daemon.stop(Signal::TERM);
    assert!(has(&home, "ban4", "203.0.113.1 "));
    let flushed = flush(&home, &setup);
    assert!(flushed.0, "{flushed:?}");
    assert_eq!(home.sh("nft list ruleset"), "");
    // What the package's removal does where the configuration cannot be read.
    let setup = Daemon::start_with(&home, setup, &[]).kill();
    home.sh("nft delete table inet nfban");
    // And the end with --flush, and with another mode.
    let setup = Daemon::start_with(&home, setup, &["--flush"]).stop(Signal::TERM);
    assert_eq!(home.sh("nft list ruleset"), "");
    let daemon = Daemon::start_with(&home, setup, &[]);
    daemon.setup().configure("mode: watch\nnftables: {owner: true}\n");
    ask(&daemon, "reload");
    assert_eq!(home.sh("nft list ruleset"), "");
    daemon.stop(Signal::TERM);
}

fn flush(home: &Namespace, setup: &Setup) -> (bool, String) {
    home.try_sh(&format!("{NFBAN} flush -c {}", setup.config().display()))
}
