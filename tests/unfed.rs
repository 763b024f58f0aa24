//! A firewall that logs to no group of nfban's: `nfban check` and `nfban status` say so.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test states its expectations by panicking"
)]

mod support;

use support::daemon::Daemon;
use support::{Namespace, Pair};

const TOLD: &str = "no rule of the firewall logs to NFLOG group";

/// What the two say where the daemon runs.
fn said(home: &Namespace, daemon: &Daemon) -> [String; 2] {
    let (setup, nfban) = (daemon.setup(), support::daemon::NFBAN);
    let check = home.sh(&format!("{nfban} check -c {}", setup.config().display()));
    let status = format!("{nfban} status --socket {}", setup.socket().display());
    assert!(!home.sh(&format!("{status} --json")).contains(TOLD));
    assert!(!daemon.ask("status").err.contains(TOLD), "the firewall of another namespace");
    [check, home.sh(&status)]
}

#[test]
fn a_group_that_no_rule_logs_to_is_named_until_one_does() {
    let pair = Pair::new();
    let daemon = Daemon::start(
        &pair.home,
        "capture:\n  - nflog: {groups: [100, 101]}\n  - nflog: {group: 103, verdict: outbound}\n",
    );
    for text in said(&pair.home, &daemon) {
        assert!(text.contains(&format!("{TOLD} 100, 101, so nothing comes")), "{text}");
    }
    pair.home.sh("nft 'add table inet own; add chain inet own a; add rule inet own a log prefix \"x\" group 100 snaplen 64'");
    for text in said(&pair.home, &daemon) {
        assert!(text.contains(&format!("{TOLD} 101, so")), "{text}");
    }
    pair.home.sh("ip6tables-nft -A FORWARD -j NFLOG --nflog-group 101 --nflog-size 128");
    for text in said(&pair.home, &daemon) {
        assert!(!text.contains(TOLD), "{text}");
    }
    pair.home.sh("ip6tables-nft -F; nft delete table inet own");
    for text in said(&pair.home, &daemon) {
        assert!(text.contains(&format!("{TOLD} 100, 101, so")), "{text}");
    }
}

#[test]
fn rules_of_iptables_legacy_cannot_be_seen_so_nothing_is_said() {
    let pair = Pair::new();
    let daemon = Daemon::start(&pair.home, "");
    pair.home.sh("iptables-legacy -A INPUT -j NFLOG --nflog-group 100");
    for text in said(&pair.home, &daemon) {
        assert!(!text.contains(TOLD), "{text}");
    }
}
