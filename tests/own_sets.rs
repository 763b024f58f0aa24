//! Sets of the administrator's, filled by the daemon on the running kernel.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test states its expectations by panicking"
)]

mod support;

use std::process::Command;

use rustix::process::Signal;
use support::daemon::{Daemon, NFBAN, Setup, text};
use support::{HOME4, HOME6, Namespace, Pair, wait_until};

/// Somebody behind the gateway.
const BAD: &str = "203.0.113.7";
const BAD6: &str = "2001:db8:bad::7";

/// A firewall with all sets there can be and an element of its own in two of them.
const FIREWALL: &str = r#"
table inet edge
delete table inet edge
table inet edge {
    set bad4 { type ipv4_addr; flags timeout; counter; elements = { 198.51.100.1, 198.51.100.2 timeout 1h comment "mine" } }
    set bad6 { type ipv6_addr; flags timeout; }
    set bad4_nets { typeof ip saddr; flags interval, timeout; counter; elements = { 198.51.100.128/25 } }
    set bad6_nets { type ipv6_addr; flags interval, timeout; counter; }
    set slow4 { type ipv4_addr; flags timeout, dynamic; size 1000; }
    chain early {
        type filter hook prerouting priority -450;
        ip saddr @bad4 drop
        ip saddr @bad4_nets drop
        ip6 saddr & ffff:ffff:ffff:ffff:: @bad6 drop
        ip6 saddr @bad6_nets drop
    }
}
"#;

const SETS: &str = "nftables: {table: inet edge, sets: {ban4: bad4, ban6: bad6, ban4_prefix: bad4_nets, \
                    ban6_prefix: bad6_nets, restrict4: slow4}}";

fn load(home: &Namespace, ruleset: &str) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), ruleset).unwrap();
    home.sh(&format!("nft -f {}", file.path().display()));
}

/// Everything but elements of nfban's, and their counts and times.
fn skeleton(home: &Namespace) -> String {
    home.sh("nft -s list ruleset | sed -E 's/, +$//' | grep -v nfban:")
}

fn set(home: &Namespace, name: &str) -> String {
    home.sh(&format!("nft list set inet edge {name}"))
}

fn ask(daemon: &Daemon, request: &str) {
    let answer = daemon.ask(request);
    assert_eq!(answer.exit, Some(0), "{request}: {answer:?}");
}

#[test]
fn sets_of_the_administrator_are_filled_and_nothing_else_of_his_changes() {
    let pair = Pair::new();
    let home = &pair.home;
    [BAD, "203.0.114.9", BAD6, "2001:db8:bad:77::7", "2001:db8:f::7"].iter().for_each(|a| pair.peer_has(a));
    load(home, FIREWALL);
    let before = home.sh("nft -s list ruleset");
    let daemon = Daemon::start(home, SETS);
    assert_eq!(home.sh("nft -s list ruleset"), before);
    assert_eq!(daemon.targets(), [""; 0], "what others have put there is no ban of ours");
    let bans = [
        (BAD.to_owned(), BAD, HOME4),
        ("203.0.114.0/24".to_owned(), "203.0.114.9", HOME4),
        ("2001:db8:bad::/64".to_owned(), BAD6, HOME6),
        ("2001:db8:bad:76::/63".to_owned(), "2001:db8:bad:77::7", HOME6),
        ("2001:db8:f::7".to_owned(), "2001:db8:f::7", HOME6),
    ];
    for (target, from, to) in &bans {
        assert!(pair.answers(from, to, 7000, 3), "{target}");
        ask(&daemon, &format!("ban {target} --for 1h"));
        assert!(!pair.answers(from, to, 7000, 1), "{target}");
    }
    assert!(set(home, "bad4").contains(&format!("{BAD} counter packets 1 bytes 42 timeout 1h")));
    assert!(set(home, "bad4").contains("comment \"nfban: manual\""), "{}", set(home, "bad4"));
    // Without a counter in the set's definition nothing is counted.
    let packets: Vec<_> =
        daemon.bans().iter().map(|ban| (text(&ban["target"]), ban["packets"].as_u64())).collect();
    for (target, _, _) in &bans {
        let expected = if target == "2001:db8:bad::/64" { 0 } else { 1 };
        assert!(packets.contains(&(target.clone(), Some(expected))), "{packets:?}");
    }
    // Renewed, and its counts with it.
    ask(&daemon, &format!("ban {BAD} --for 2h"));
    ask(&daemon, "ban 203.0.114.0/24 --for 2h");
    ask(&daemon, "ban 2001:db8:bad::/64 --for 2h");
    assert!(set(home, "bad4").contains(&format!("{BAD} counter packets 1 bytes 42 timeout 2h")));
    assert!(set(home, "bad4_nets").contains("203.0.114.0/24 counter packets 1 bytes 42 timeout 2h"));

    // A restart takes back what is ours, and nothing else.
    let setup = daemon.stop(Signal::TERM);
    let daemon = Daemon::start_with(home, setup, &[]);
    assert_eq!(daemon.targets().len(), bans.len());
    for (target, from, to) in &bans {
        ask(&daemon, &format!("unban {target}"));
        assert!(pair.answers(from, to, 7000, 3), "{target}");
    }
    assert_eq!(home.sh("nft -s list ruleset"), before);
}

#[test]
fn sets_that_do_not_fit_are_all_named_with_the_definitions_that_do() {
    let home = Namespace::new();
    load(
        &home,
        "table inet edge {
            set bad4 { type ipv4_addr; }
            set bad6 { type ipv4_addr; flags timeout; }
            set bad4_nets { type ipv4_addr; flags timeout; }
            set bad6_nets { type ipv6_addr; flags interval, timeout; auto-merge; }
        }",
    );
    let setup = Setup::new(SETS);
    let answer = Daemon::refuses_to_start(&home, &setup, Command::new(NFBAN));
    assert_eq!(answer.exit, Some(1), "{answer:?}");
    for (set, fault) in [
        ("bad4", "takes no timeouts"),
        ("bad6", "is of another type"),
        ("bad4_nets", "takes no prefixes"),
        ("bad6_nets", "has auto-merge"),
        ("slow4", "does not exist"),
    ] {
        assert!(answer.err.contains(&format!("set {set} {fault}")), "{answer:?}");
    }
    // What it says is what it takes.
    let definitions = answer.err.split("it must be: ").skip(1);
    let definitions: String =
        definitions.map(|text| format!("{}}}\n", text.split('}').next().unwrap())).collect();
    assert_eq!(definitions.lines().count(), 5, "{definitions}");
    load(&home, &format!("delete table inet edge\ntable inet edge {{\n{definitions}}}\n"));
    let daemon = Daemon::start_with(&home, setup, &[]);
    ask(&daemon, "ban 203.0.113.7");
    ask(&daemon, "ban 2001:db8:bad::/48");
    assert_eq!(daemon.targets(), ["2001:db8:bad::/48", "203.0.113.7"]);
}

#[test]
fn elements_of_others_stay_and_ours_come_when_they_go() {
    let home = Namespace::new();
    load(&home, FIREWALL);
    let daemon = Daemon::start(&home, SETS);
    let stateless = |name: &str| home.sh(&format!("nft -s list set inet edge {name}"));
    for (target, theirs) in
        [("198.51.100.1", "bad4"), ("198.51.100.128/25", "bad4_nets"), ("198.51.100.0/24", "bad4_nets")]
    {
        let before = stateless(theirs);
        assert_eq!(daemon.ask(&format!("ban {target} --for 1h")).exit, Some(69), "{target}");
        assert_eq!(stateless(theirs), before);
        assert_eq!(daemon.targets(), [""; 0]);
        assert_eq!(daemon.ask("unban --all").exit, Some(0));
        assert_eq!(stateless(theirs), before, "not ours to lift");
    }
    assert_eq!(daemon.ask("ban 198.51.100.1 --for 1h").exit, Some(69));
    home.sh("nft delete element inet edge bad4 '{ 198.51.100.1 }'");
    wait_until("the ban is tried again", || daemon.targets() == ["198.51.100.1"]);
    assert!(set(&home, "bad4").contains("comment \"mine\""));
}

#[test]
fn a_reload_of_the_administrators_ruleset_loses_no_ban() {
    let home = Namespace::new();
    load(&home, FIREWALL);
    let daemon = Daemon::start(&home, SETS);
    for target in ["203.0.113.7", "203.0.114.0/24", "2001:db8:bad::/64"] {
        ask(&daemon, &format!("ban {target} --for 1h"));
    }
    load(&home, FIREWALL);
    // Nobody asks.
    wait_until("they are back", || home.sh("nft list ruleset").matches("nfban: manual").count() == 3);
    load(&home, FIREWALL);
    // The next ban finds the sets made anew, or filled again already.
    ask(&daemon, "ban 203.0.113.9 --for 1h");
    assert_eq!(daemon.targets(), ["2001:db8:bad::/64", "203.0.113.7", "203.0.113.9", "203.0.114.0/24"]);
    assert_eq!(home.sh("nft list ruleset").matches("nfban: manual").count(), 4);

    // Gone for a while: nothing is claimed, nothing is forgotten.
    home.sh("nft delete table inet edge");
    assert_eq!(daemon.ask("bans").exit, Some(69));
    assert_eq!(daemon.ask("ban 203.0.113.10 --for 1h").exit, Some(69));
    load(&home, FIREWALL);
    wait_until("all are back", || home.sh("nft list ruleset").matches("nfban: manual").count() == 5);
    assert_eq!(daemon.targets().len(), 5);
    assert!(!daemon.log().contains("ended"), "{}", daemon.log());

    // And while nothing runs, though a lone element could as well have been deleted.
    let setup = daemon.stop(Signal::TERM);
    load(&home, FIREWALL);
    let daemon = Daemon::start_with(&home, setup, &[]);
    wait_until("all are back", || home.sh("nft list ruleset").matches("nfban: manual").count() == 5);
    assert_eq!(daemon.targets().len(), 5);
}

#[test]
fn what_others_do_to_the_sets_is_heard_and_what_they_do_to_their_own_elements_is_their_business() {
    let home = Namespace::new();
    load(&home, FIREWALL);
    let daemon = Daemon::start(&home, SETS);
    for target in ["203.0.113.7", "203.0.113.8", "203.0.113.9", "203.0.114.0/25", "203.0.114.0/24"] {
        ask(&daemon, &format!("ban {target} --for 1h"));
    }
    // Theirs, in one transaction with ours and without.
    home.sh("nft delete element inet edge bad4 '{ 198.51.100.1 }'");
    home.sh("nft 'add element inet edge bad4 { 198.51.100.3 timeout 1h }; flush chain inet edge early'");
    home.sh("nft delete element inet edge bad4_nets '{ 198.51.100.128/25 }'");
    home.sh("nft delete element inet edge bad4 '{ 203.0.113.7, 198.51.100.3 }'");
    wait_until("the end is told", || {
        daemon.log().contains("ban of 203.0.113.7 ended: it was lifted")
            && daemon.log().contains("has deleted 1 ban from the table")
    });
    home.sh("nft flush set inet edge bad4");
    wait_until("they are back", || set(&home, "bad4").matches("nfban: manual").count() == 2);
    home.sh("nft flush set inet edge bad4_nets");
    let prefixes = || set(&home, "bad4_nets");
    wait_until("they are back", || prefixes().matches("nfban: manual").count() > 0);
    assert_eq!(daemon.targets(), ["203.0.113.8", "203.0.113.9", "203.0.114.0/24", "203.0.114.0/25"]);
    assert_eq!(daemon.log().matches("ended").count(), 1, "{}", daemon.log());
    assert!(!home.sh("nft list ruleset").contains("198.51.100.1"), "what is theirs does not come back");
    assert!(!home.sh("nft list ruleset").contains("saddr @"), "nor do their rules");
}

#[test]
fn every_family_that_sees_addresses_can_have_the_sets() {
    for (family, sets, bans) in [
        ("ip", "ban4: b4, ban4_prefix: p4", vec!["203.0.113.7", "203.0.114.0/24"]),
        ("ip6", "ban6: b6, ban6_prefix: p6", vec!["2001:db8:bad::/64", "2001:db8:bae::/48"]),
        (
            "netdev",
            "ban4: b4, ban6: b6, ban4_prefix: p4",
            vec!["203.0.113.7", "203.0.114.0/24", "2001:db8:bad::/64"],
        ),
    ] {
        let home = Namespace::new();
        let definition = |word: &str| {
            let name = word.split_whitespace().nth(1).unwrap();
            let key = if name.ends_with('4') { "ipv4_addr" } else { "ipv6_addr" };
            let flags = if name.starts_with('p') { "interval, timeout" } else { "timeout" };
            format!("set {name} {{ type {key}; flags {flags}; counter; }}\n")
        };
        let definitions: String = sets.split(", ").map(definition).collect();
        load(&home, &format!("table {family} edge {{\n{definitions}}}"));
        let before = skeleton(&home);
        let daemon = Daemon::start(&home, &format!("nftables: {{table: {family} edge, sets: {{{sets}}}}}"));
        for ban in &bans {
            ask(&daemon, &format!("ban {ban} --for 1h"));
        }
        assert_eq!(daemon.targets().len(), bans.len(), "{family}");
        assert_eq!(home.sh("nft list ruleset").matches("nfban: manual").count(), bans.len(), "{family}");
        // No set for what another family has, or for prefixes.
        let lacking = if family == "ip" { "2001:db8:bad::/64" } else { "203.0.113.0/25" };
        let answer = daemon.ask(&format!("ban {lacking}"));
        if family == "netdev" {
            assert_eq!(daemon.ask("ban 2001:db8:bae::/48").exit, Some(1));
        } else {
            assert_eq!(answer.exit, Some(1), "{answer:?}");
            assert!(answer.err.contains("names no set for such targets"), "{answer:?}");
        }
        ask(&daemon, "unban --all");
        assert_eq!(skeleton(&home), before, "{family}");
        assert!(!home.sh("nft list ruleset").contains("nfban"), "{family}");
    }
}

#[test]
fn a_ban_without_a_set_becomes_a_restriction() {
    let home = Namespace::new();
    load(&home, FIREWALL);
    let daemon = Daemon::start(&home, "nftables: {table: inet edge, sets: {restrict4: slow4}}");
    ask(&daemon, "ban 203.0.113.7 --for 1h");
    assert_eq!(text(&daemon.bans()[0]["action"]), "restrict");
    assert!(set(&home, "slow4").contains("203.0.113.7"));
}
