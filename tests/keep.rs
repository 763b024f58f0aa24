//! Nothing is lost: what other programs do to the table while the daemon runs, and what its end does to the bans.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test states its expectations by panicking"
)]

mod support;

use std::fmt::Write as _;
use std::fs;

use rustix::process::Signal;
use support::daemon::Daemon;
use support::{Namespace, wait_until};

/// What an administrator has besides: it must survive everything.
const OTHERS: &str = "table inet filter {
    set friends {
        type ipv4_addr
        elements = { 198.51.100.1 }
    }
    chain input {
        type filter hook input priority 0; policy accept;
        ip saddr @friends accept
    }
}
";

/// Bans of every kind: of addresses, of networks and of prefixes of other lengths.
const BANS: [&str; 6] = [
    "203.0.113.1 --for 1h",
    "203.0.113.2 --for 2h",
    "203.0.113.3",
    "2001:db8:9:1::/64 --for 1h",
    "2001:db8:9:2::/64 --for 1h",
    "192.0.2.0/25 --for 1h",
];

fn ban(daemon: &Daemon, what: &str) {
    let answer = daemon.ask(&format!("ban {what}"));
    assert_eq!(answer.exit, Some(0), "{answer:?}");
}

/// A daemon with [`BANS`], beside [`OTHERS`].
fn banning(home: &Namespace) -> Daemon {
    let daemon = Daemon::start(home, "services: [22]\n");
    fs::write(daemon.setup().folder().join("nftables.conf"), format!("flush ruleset\n{OTHERS}")).unwrap();
    home.sh(&format!("nft -f {}/nftables.conf", daemon.setup().folder().display()));
    wait_until("the table is back", || home.try_sh("nft list table inet nfban").0);
    BANS.iter().for_each(|what| ban(&daemon, what));
    daemon
}

/// What the kernel holds in a set, as nft prints it, without what changes by itself. The daemon is not asked.
fn set(home: &Namespace, name: &str) -> Vec<String> {
    let (done, listed) = home.try_sh(&format!("nft -j list set inet nfban {name}"));
    if !done {
        return Vec::new();
    }
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let elements = listed["nftables"][1]["set"]["elem"].as_array().cloned().unwrap_or_default();
    let mut elements: Vec<_> = elements
        .iter()
        .map(|element| match &element["elem"]["val"] {
            serde_json::Value::Null => element.to_string(),
            value => format!("{value} {}", element["elem"]["comment"]),
        })
        .collect();
    elements.sort_unstable();
    elements
}

/// The chains with their rules, and what stands in all sets but those of rate limits.
fn table(home: &Namespace) -> Vec<Vec<String>> {
    let chain = |name: &str| {
        let (done, listed) = home.try_sh(&format!("nft -s list chain inet nfban {name}"));
        if done { listed.lines().map(str::to_owned).collect() } else { Vec::new() }
    };
    let sets = ["ban4", "ban6", "ban4_prefix", "restrict4", "services", "protect4"];
    sets.iter().map(|name| set(home, name)).chain(["ban", "restrict"].map(chain)).collect()
}

/// Seconds left of a ban in set ban4, as nft tells.
fn left(home: &Namespace, address: &str) -> u64 {
    let listed = home.sh("nft -j list set inet nfban ban4");
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let elements = listed["nftables"][1]["set"]["elem"].as_array().unwrap().clone();
    elements.iter().find(|element| element["elem"]["val"] == address).unwrap()["elem"]["expires"]
        .as_u64()
        .unwrap()
}

#[test]
fn whatever_another_program_removes_is_put_back_and_nothing_else_is_touched() {
    let home = Namespace::new();
    let daemon = banning(&home);
    let folder = daemon.setup().folder().display().to_string();
    let before = table(&home);
    let ours = fs::File::create(format!("{folder}/ours.nft")).map(drop);
    ours.unwrap();
    home.sh(&format!("nft list ruleset > {folder}/ours.nft"));
    for removal in [
        "nft flush ruleset".to_owned(),
        // What `systemctl restart nftables` does.
        format!("nft -f {folder}/nftables.conf"),
        "nft delete table inet nfban".to_owned(),
        "nft flush table inet nfban".to_owned(),
        "nft flush chain inet nfban ban".to_owned(),
        "nft flush chain inet nfban restrict && nft delete chain inet nfban restrict".to_owned(),
        "nft flush set inet nfban ban4".to_owned(),
        "nft 'flush set inet nfban ban6; flush set inet nfban ban4; flush set inet nfban services'"
            .to_owned(),
        "nft flush set inet nfban protect4".to_owned(),
        "nft insert rule inet nfban ban accept".to_owned(),
        // A ruleset that was saved with our table in it.
        format!("nft 'flush ruleset' && nft -f {folder}/ours.nft"),
        format!("(echo flush ruleset; cat {folder}/ours.nft) > {folder}/both && nft -f {folder}/both"),
    ] {
        let others = home.sh("nft list table inet filter 2>/dev/null || true");
        home.sh(&removal);
        wait_until(&format!("all is back after `{removal}`"), || table(&home) == before);
        if !removal.contains("flush ruleset") && !removal.contains("nftables.conf") {
            assert_eq!(home.sh("nft list table inet filter"), others, "{removal}");
        }
        if removal.ends_with("flush ruleset") {
            assert_eq!(home.sh("nft list tables"), "table inet nfban\n", "only what is ours");
            home.sh(&format!("nft -f - <<'END'\n{OTHERS}\nEND"));
        }
    }
    let (one, two) = (left(&home, "203.0.113.1"), left(&home, "203.0.113.2"));
    assert!((3_500..=3_600).contains(&one) && (7_100..=7_200).contains(&two), "{one} {two}");
    assert_eq!(daemon.bans().len(), BANS.len());
    assert!(!daemon.log().contains("it was lifted"), "{}", daemon.log());
    daemon.stop(Signal::TERM);
}

#[test]
fn an_element_deleted_by_hand_is_an_unban_that_the_daemon_hears_of_by_itself() {
    let home = Namespace::new();
    let daemon = banning(&home);
    let is_told = |target: &str| {
        wait_until(&format!("the end of {target} is told"), || {
            daemon.log().contains(&format!("ban of {target} ended: it was lifted"))
        });
    };
    home.sh("nft delete element inet nfban ban4 '{ 203.0.113.1 }'");
    is_told("203.0.113.1");
    home.sh("nft delete element inet nfban ban4_prefix '{ 192.0.2.0/25 }'");
    is_told("192.0.2.0/25");
    // Two at once, and one stays.
    ban(&daemon, "203.0.113.4");
    home.sh("nft delete element inet nfban ban4 '{ 203.0.113.2, 203.0.113.3 }'");
    is_told("203.0.113.2");
    is_told("203.0.113.3");
    // And the last one of all.
    home.sh("nft delete element inet nfban ban4 '{ 203.0.113.4 }'");
    is_told("203.0.113.4");
    // A flush brings back what stands, and only that.
    home.sh("nft flush ruleset");
    wait_until("the others are back", || set(&home, "ban6").len() == 2);
    assert_eq!(daemon.targets(), ["2001:db8:9:1::/64", "2001:db8:9:2::/64"]);
    daemon.stop(Signal::TERM);
}

#[test]
fn an_element_added_by_hand_is_a_ban_like_any_other() {
    let home = Namespace::new();
    let daemon = Daemon::start(&home, "");
    home.sh("nft 'add element inet nfban ban4 { 203.0.113.1 timeout 1h comment \"by hand\" }; \
              add element inet nfban ban4_prefix { 198.51.100.0/24 timeout 1h }'");
    // Without a question, or they would not come back.
    wait_until("they are known", || daemon.log().contains("2 bans by another program"));
    home.sh("nft flush ruleset");
    wait_until("they are back", || set(&home, "ban4") == ["\"203.0.113.1\" \"by hand\""]);
    wait_until("they are back", || set(&home, "ban4_prefix").len() == 1);
    daemon.stop(Signal::TERM);
}

#[test]
fn a_storm_of_flushes_meets_patience_and_one_alarm_and_loses_nothing() {
    let home = Namespace::new();
    let daemon = banning(&home);
    let before = table(&home);
    home.sh("for i in $(seq 60); do nft flush ruleset; nft 'add table inet nfban; flush set inet nfban ban4' 2>/dev/null; done; true");
    wait_until("all is back", || table(&home) == before);
    let status = daemon.status();
    let alarms: Vec<_> =
        status["alarms"].as_array().unwrap().iter().map(|alarm| alarm["what"].as_str().unwrap()).collect();
    assert_eq!(alarms.iter().filter(|what| what.contains("again and again")).count(), 1, "{alarms:?}");
    assert_eq!(daemon.bans().len(), BANS.len());
    assert!(!daemon.log().contains("it was lifted"), "{}", daemon.log());
    daemon.stop(Signal::TERM);
}

#[test]
fn more_changes_than_the_socket_holds_are_an_overrun_after_which_everything_is_looked_at() {
    let home = Namespace::new();
    let daemon = banning(&home);
    let before = table(&home);
    let mut elements =
        String::from("table inet crowd { set s { type ipv4_addr; }; }\nadd element inet crowd s {");
    for number in 0..150_000u32 {
        write!(elements, "{},", std::net::Ipv4Addr::from_bits(0x0a00_0000 + number)).unwrap();
    }
    elements.push_str("}\n");
    let file = daemon.setup().folder().join("crowd.nft");
    fs::write(&file, elements).unwrap();

    daemon.signal(Signal::STOP);
    for _ in 0..4 {
        home.sh(&format!("nft -f {} && nft flush set inet crowd s", file.display()));
    }
    home.sh("nft delete element inet nfban ban6 '{ 2001:db8:9:1:: }'");
    home.sh("nft 'flush set inet nfban ban4; flush chain inet nfban ban'");
    daemon.signal(Signal::CONT);
    let mut after = before.clone();
    after[1].remove(0);
    wait_until("all is back but the one that was lifted", || table(&home) == after);
    assert!(daemon.log().contains("looking at the whole table"), "{}", daemon.log());
    assert_eq!(daemon.bans().len(), BANS.len() - 1);
    daemon.stop(Signal::TERM);
}
