//! The daemon's life, on the running kernel: signals, reloads, rights, bans by hand, and what others do to its table.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test states its expectations by panicking"
)]

mod support;

use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt, chown};
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;
use support::daemon::{Daemon, NFBAN, Setup, text};
use support::{HOME4, HOME6, Namespace, PEER4, PEER6, Pair, wait_until};

/// Somebody behind the gateway.
const STRANGER: &str = "203.0.113.7";
const STRANGER6: &str = "2001:db8:9::7";
const STRANGER6_NET: &str = "2001:db8:9::/64";

/// Refuses and logs every UDP datagram to a port below 30000: the least that a scan takes.
const FIREWALL: &str = "nft -f - <<'RULES'
table inet firewall {
    chain input {
        type filter hook input priority 0;
        udp dport < 30000 counter log prefix \"nfban:refused\" group 100 drop
    }
}
RULES";

/// A pair whose home refuses and logs, and two strangers at the peer's end.
fn refusing() -> Pair {
    let pair = Pair::new();
    pair.peer_has(STRANGER);
    pair.peer_has(STRANGER6);
    pair.home.sh(FIREWALL);
    pair
}

/// Sends datagrams from one of the peer's addresses to twenty ports of home: one incident, and where nothing protects
/// the sender, one ban.
fn scan(pair: &Pair, from: &str) {
    let to = if from.contains(':') { HOME6 } else { HOME4 };
    pair.peer.enter(|| {
        let socket = UdpSocket::bind(SocketAddr::new(from.parse().unwrap(), 0)).unwrap();
        for port in 1..=20 {
            socket.send_to(b"", (to, port)).unwrap();
        }
    });
}

/// Scans, and waits until the daemon has banned for it.
fn scan_and_be_banned(pair: &Pair, daemon: &Daemon, from: &str, target: &str) {
    scan(pair, from);
    wait_until(&format!("{target} is banned"), || daemon.targets().contains(&target.to_owned()));
}

fn incidents(daemon: &Daemon) -> u64 {
    daemon.status()["incidents_total"].as_u64().unwrap()
}

/// The elements of one of the daemon's sets, as nft prints them.
fn set(home: &Namespace, name: &str) -> String {
    let listed = home.sh(&format!("nft list set inet nfban {name}"));
    listed.split_once("elements = {").map_or("", |(_, elements)| elements).to_owned()
}

#[test]
fn sigterm_and_sigint_stop_it_cleanly_and_bans_stay() {
    let pair = refusing();
    let mut setup = Setup::new("");
    for (signal, stranger) in [(Signal::TERM, "203.0.113.11"), (Signal::INT, "203.0.113.12")] {
        let daemon = Daemon::start_with(&pair.home, setup, &[]);
        pair.peer_has(stranger);
        scan_and_be_banned(&pair, &daemon, stranger, stranger);
        setup = daemon.stop(signal);
        assert!(!setup.socket().exists());
        assert!(set(&pair.home, "restrict4").contains(stranger));
        assert!(!pair.answers(stranger, HOME4, 40_000, 2), "the kernel goes on dropping");
    }
    let answer = setup.ask("status");
    assert_eq!(answer.exit, Some(69), "{answer:?}");
    assert_eq!(answer.err.lines().count(), 1, "{answer:?}");
}

#[test]
fn a_good_configuration_is_taken_while_it_runs() {
    let pair = refusing();
    let daemon = Daemon::start(&pair.home, "services: [22]\n");
    scan_and_be_banned(&pair, &daemon, STRANGER, STRANGER);
    assert!(!pair.answers(STRANGER, HOME4, 40_000, 2));

    daemon.setup().configure("services: [22, udp/40000]\n");
    daemon.signal(Signal::HUP);
    wait_until("the new service is in the kernel", || set(&pair.home, "services").contains("40000"));
    assert_eq!(daemon.targets(), [STRANGER], "a reload lifts no ban");
    assert!(pair.answers(STRANGER, HOME4, 40_000, 5), "restricted, but this is published now");
    assert!(!pair.answers(STRANGER, HOME4, 40_001, 2));

    daemon.setup().configure(&format!("services: [22]\nallow: [{STRANGER}]\n"));
    let answer = daemon.ask("reload");
    assert_eq!(answer.exit, Some(0), "{answer:?}");
    assert!(daemon.bans().is_empty(), "who is allowed now is free at once");
    daemon.says(&format!("ban of {STRANGER} ended: it now is on the allowlist"));
    let why = daemon.ask(&format!("why {STRANGER}")).out;
    assert!(why.starts_with(&format!("{STRANGER} is never banned: it is on the allowlist.\n")), "{why}");
    assert!(!why.contains("allow: ["), "it is allowed already: {why}");
    assert!(set(&pair.home, "restrict4").is_empty());
    assert!(set(&pair.home, "protect4").contains(STRANGER));
    assert!(!set(&pair.home, "services").contains("40000"));
    assert!(pair.answers(STRANGER, HOME4, 40_001, 5));

    // Allowed is not ignored: there is an incident, and no ban.
    scan_and_be_banned(&pair, &daemon, STRANGER6, STRANGER6_NET);
    daemon.setup().configure("capture: [nflog: {groups: [100, 7]}]\n");
    assert_eq!(daemon.ask("reload").exit, Some(0));
    let captures = daemon.status()["captures"].as_array().unwrap().len();
    assert_eq!(captures, 2);
    assert_eq!(daemon.targets(), [STRANGER6_NET]);
    daemon.stop(Signal::TERM);
}

#[test]
fn a_broken_configuration_is_refused_while_the_old_one_goes_on() {
    let pair = refusing();
    let daemon = Daemon::start(&pair.home, "");
    for broken in
        ["services: [22, http://]\n", "capture: [nflog: {group: 0}]\n", "rules: [\n", "ban: {max: 0}\n"]
    {
        daemon.setup().configure(broken);
        let answer = daemon.ask("reload");
        assert_eq!(answer.exit, Some(78), "{broken}: {answer:?}");
        assert_eq!(answer.err.lines().count(), 1, "{broken}: {answer:?}");
    }
    daemon.signal(Signal::HUP);
    wait_until("the log says so", || {
        daemon.log().contains("configuration not reloaded, the old one goes on")
    });
    // Writable by others: somebody else's word.
    daemon.setup().configure("");
    std::fs::set_permissions(daemon.setup().config(), PermissionsExt::from_mode(0o666)).unwrap();
    assert_eq!(daemon.ask("reload").exit, Some(78));

    scan_and_be_banned(&pair, &daemon, STRANGER, STRANGER);
    assert_eq!(incidents(&daemon), 1);
    daemon.stop(Signal::TERM);
}

#[test]
fn a_daemon_does_not_start_with_a_broken_configuration() {
    let home = Namespace::new();
    let setup = Setup::new("services: [22, nonsense]\nmode: maybe\n");
    let answer = Daemon::refuses_to_start(&home, &setup, Command::new(NFBAN));
    assert_eq!(answer.exit, Some(78), "{answer:?}");
    let file = setup.config().display().to_string();
    for place in ["2:16", "3:7"] {
        assert!(answer.err.contains(&format!("{file}:{place}")), "{place}\n{}", answer.err);
    }
    assert!(!setup.socket().exists());
    assert_eq!(home.sh("nft list tables"), "", "nothing was done in the kernel");
}

#[test]
fn a_second_daemon_is_refused_and_harms_nothing() {
    let pair = refusing();
    let daemon = Daemon::start(&pair.home, "");
    scan_and_be_banned(&pair, &daemon, STRANGER, STRANGER);

    let answer = Daemon::refuses_to_start(&pair.home, daemon.setup(), Command::new(NFBAN));
    assert_eq!(answer.exit, Some(1), "{answer:?}");
    assert!(answer.err.contains("another nfban is already running"), "{answer:?}");

    // With a socket of its own it would share the NFLOG group: the kernel has it once.
    let other = Setup::new("nftables: {table: inet other}\n");
    let answer = Daemon::refuses_to_start(&pair.home, &other, Command::new(NFBAN));
    assert_eq!(answer.exit, Some(1), "{answer:?}");
    assert!(answer.err.contains("NFLOG group 100 is received by another program"), "{answer:?}");
    assert!(!other.socket().exists());
    assert!(!pair.home.sh("nft list tables").contains("other"), "it has left nothing behind");

    assert_eq!(daemon.targets(), [STRANGER]);
    scan_and_be_banned(&pair, &daemon, STRANGER6, STRANGER6_NET);
    daemon.stop(Signal::TERM);
}

/// The number of nobody, where the test's user namespace has it: that of an ordinary user has no number but root's.
fn nobody() -> Option<u32> {
    const NOBODY: u32 = 65534;
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap();
    let mut ranges = map.lines().map(|line| {
        let mut numbers = line.split_whitespace().map(|number| number.parse::<u32>().unwrap());
        (numbers.next().unwrap(), numbers.nth(1).unwrap())
    });
    ranges.any(|(first, count)| (first..first.saturating_add(count)).contains(&NOBODY)).then_some(NOBODY)
}

/// Becomes somebody whom `capabilities` are all there ever is: nobody, or else a root whose number means nothing.
fn as_nobody(capabilities: &str) -> Command {
    let mut command = Command::new("setpriv");
    match nobody() {
        Some(_) => command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]),
        None => command.args(["--securebits", "+noroot,+noroot_locked"]),
    };
    command.args(["--no-new-privs", &format!("--inh-caps=-all{capabilities}")]);
    command
        .arg(format!("--ambient-caps=-all{capabilities}"))
        .arg(format!("--bounding-set=-all{capabilities}"));
    command.arg(NFBAN);
    command
}

/// A configuration whose folder the daemon's own user can write.
fn of_nobody(text: &str) -> Setup {
    let setup = Setup::new(text);
    if nobody().is_some() {
        chown(setup.folder(), nobody(), nobody()).unwrap();
    }
    setup
}

#[test]
fn without_root_cap_net_admin_is_enough() {
    let pair = refusing();
    let setup = of_nobody("");
    let mut command = as_nobody(",+net_admin");
    command.args(["run", "-c"]).arg(setup.config());
    let daemon = Daemon::spawn(&pair.home, setup, command);
    assert_eq!(std::fs::metadata(daemon.setup().socket()).unwrap().uid(), nobody().unwrap_or(0));
    scan_and_be_banned(&pair, &daemon, STRANGER, STRANGER);
    scan_and_be_banned(&pair, &daemon, STRANGER6, STRANGER6_NET);
    assert!(!pair.answers(STRANGER, HOME4, 40_000, 2));
    assert_eq!(daemon.ask("unban --all").exit, Some(0));
    assert!(pair.answers(STRANGER, HOME4, 40_000, 5));
    daemon.setup().configure("services: [25]\n");
    assert_eq!(daemon.ask("reload").exit, Some(0));
    assert!(set(&pair.home, "services").contains("25"));
    daemon.stop(Signal::TERM);
}

#[test]
fn without_the_capability_it_says_what_it_takes() {
    let home = Namespace::new();
    for config in ["", "mode: watch\n"] {
        let setup = of_nobody(config);
        let answer = Daemon::refuses_to_start(&home, &setup, as_nobody(""));
        assert_eq!(answer.exit, Some(77), "{config}: {answer:?}");
        let last = answer.err.lines().last().unwrap();
        assert!(last.starts_with("nfban: ") && last.contains("CAP_NET_ADMIN"), "{config}: {answer:?}");
        assert!(!setup.socket().exists());
    }
}

#[test]
fn bans_expire_in_the_kernel_by_themselves() {
    let pair = refusing();
    let daemon = Daemon::start(&pair.home, "ban: {times: [2s]}\n");
    scan_and_be_banned(&pair, &daemon, STRANGER, STRANGER);
    let ban = &daemon.bans()[0];
    assert_eq!((&ban["timeout_s"], text(&ban["rule"])), (&Value::from(2), "udp-scan".to_owned()));
    assert!(ban["expires_s"].as_u64().unwrap() <= 2);
    assert!(!pair.answers(STRANGER, HOME4, 40_000, 1));
    // A stopped process can neither lift it nor count its time.
    daemon.signal(Signal::STOP);
    wait_until("the kernel lets the stranger in", || pair.answers(STRANGER, HOME4, 40_000, 1));
    assert!(set(&pair.home, "restrict4").is_empty());
    daemon.signal(Signal::CONT);
    assert!(daemon.bans().is_empty(), "{:?}", daemon.bans());
    assert_eq!(daemon.status()["bans"]["restrict"], 0);
    let ended = daemon.log().matches("its time is over").count();
    assert_eq!(ended, 1, "nobody has lifted it\n{}", daemon.log());
    daemon.stop(Signal::TERM);
}

#[test]
fn a_scanner_that_goes_on_after_its_ban_is_banned_again_for_longer() {
    let pair = refusing();
    let daemon = Daemon::start(&pair.home, "ban: {times: [1s, 1h]}\n");
    scan_and_be_banned(&pair, &daemon, STRANGER, STRANGER);
    wait_until("the first ban is over", || daemon.bans().is_empty());
    scan_and_be_banned(&pair, &daemon, STRANGER, STRANGER);
    assert_eq!(daemon.bans()[0]["timeout_s"], 3600);
    assert_eq!(incidents(&daemon), 1, "it is the same scan");
    daemon.stop(Signal::TERM);
}

#[test]
fn bans_by_hand_are_set_and_lifted() {
    let pair = refusing();
    let daemon = Daemon::start(&pair.home, "");
    let cases = [
        ("198.51.100.7", "198.51.100.7", "198.51.100.7"),
        ("198.51.100.0/25", "198.51.100.0/25", "198.51.100.99"),
        ("2001:db8:7::/64", "2001:db8:7::/64", "2001:db8:7::99"),
        ("2001:db8:8::8", "2001:db8:8::8", "2001:db8:8::8"),
        ("2001:db8:a000::/36", "2001:db8:a000::/36", "2001:db8:afff::1"),
    ];
    for (asked, target, member) in cases {
        pair.peer_has(member);
        let home = if member.contains(':') { HOME6 } else { HOME4 };
        for (how_long, timeout) in [("", Value::Null), (" --for 1h", Value::from(3600))] {
            let answer = daemon.ask(&format!("ban {asked}{how_long} --reason rude"));
            assert_eq!(answer.exit, Some(0), "{answer:?}");
            let bans = daemon.bans();
            assert_eq!(bans.len(), 1, "{bans:?}");
            assert_eq!(text(&bans[0]["target"]), target);
            assert_eq!((&bans[0]["timeout_s"], text(&bans[0]["action"])), (&timeout, "ban".to_owned()));
            assert_eq!((text(&bans[0]["rule"]), text(&bans[0]["reason"])), ("manual".into(), "rude".into()));
            assert_eq!(bans[0]["expires_s"].is_null(), timeout.is_null());
            assert!(!pair.answers(member, home, 40_000, 2), "{target} is dropped");
            assert!(daemon.bans()[0]["packets"].as_u64().unwrap() >= 2, "and counted");
        }
        let answer = daemon.ask(&format!("unban {target}"));
        assert_eq!(answer.exit, Some(0), "{answer:?}");
        assert!(daemon.bans().is_empty());
        assert!(pair.answers(member, home, 40_000, 5), "{target} is let in again");
        assert_eq!(daemon.ask(&format!("unban {target}")).exit, Some(1), "the answer is no");
    }
    for (asked, ..) in cases {
        assert_eq!(daemon.ask(&format!("ban {asked}")).exit, Some(0), "{asked}");
    }
    assert_eq!(daemon.bans().len(), cases.len());
    assert_eq!(daemon.ask("unban --all").exit, Some(0));
    assert!(daemon.bans().is_empty());
    daemon.stop(Signal::TERM);
}

#[test]
fn whoever_is_protected_is_not_banned_by_hand_either() {
    let pair = refusing();
    let daemon = Daemon::start(&pair.home, "allow: [198.51.100.0/24]\nhome: [\"2001:db8:40::/48\"]\n");
    for target in [
        HOME4,
        HOME6,
        PEER4,
        PEER6,
        "192.0.2.255",
        "127.0.0.1",
        "::1",
        "224.0.0.1",
        "198.51.100.7",
        "198.51.0.0/16",
        "192.0.2.0/24",
        "2001:db8:1::/64",
        "2001:db8:40:1::/64",
        "0.0.0.0/0",
        "::/0",
    ] {
        let answer = daemon.ask(&format!("ban {target}"));
        assert_eq!(answer.exit, Some(1), "{target}: {answer:?}");
        let is = if target.contains('/') { "holds" } else { "is" };
        assert!(answer.err.starts_with(&format!("nfban: {target} {is} ")), "{target}: {answer:?}");
    }
    assert!(daemon.bans().is_empty());
    // A scan of theirs is told, if they are only allowed, and never acted upon.
    for (who, incident) in [("198.51.100.7", 1), ("2001:db8:40:1::7", 1)] {
        pair.peer_has(who);
        let before = daemon.packets();
        scan(&pair, who);
        wait_until("the scan has come", || daemon.packets() >= before + 20);
        assert_eq!(incidents(&daemon), incident, "{who}");
        assert!(daemon.bans().is_empty(), "{who}");
    }
    daemon.stop(Signal::TERM);
}

#[test]
fn an_element_that_somebody_deletes_is_a_lifted_ban() {
    let pair = refusing();
    let daemon = Daemon::start(&pair.home, "");
    scan_and_be_banned(&pair, &daemon, STRANGER, STRANGER);
    scan_and_be_banned(&pair, &daemon, STRANGER6, STRANGER6_NET);
    pair.home.sh(&format!("nft delete element inet nfban restrict4 '{{ {STRANGER} }}'"));
    assert_eq!(daemon.targets(), [STRANGER6_NET]);
    wait_until("the log tells", || daemon.log().contains(&format!("{STRANGER} ")));
    assert!(pair.answers(STRANGER, HOME4, 40_000, 5));
    daemon.stop(Signal::TERM);
}

#[test]
fn a_table_that_somebody_deletes_comes_back_with_its_bans() {
    let pair = refusing();
    let daemon = Daemon::start(&pair.home, "services: [22]\n");
    let reinstalled = || daemon.status()["kernel"]["reinstalled"].as_u64().unwrap();
    // While nobody is banned too.
    pair.home.sh("nft delete table inet nfban");
    assert!(daemon.bans().is_empty());
    assert!(set(&pair.home, "services").contains("22"));
    assert_eq!(reinstalled(), 1);

    scan_and_be_banned(&pair, &daemon, STRANGER, STRANGER);
    assert_eq!(daemon.ask("ban 198.51.100.0/25 --for 1h").exit, Some(0));
    pair.home.sh("nft delete table inet nfban");
    assert_eq!(daemon.targets(), ["198.51.100.0/25", STRANGER], "{}", daemon.log());
    assert_eq!(reinstalled(), 2);
    assert!(!pair.answers(STRANGER, HOME4, 40_000, 2));

    pair.home.sh("nft flush ruleset");
    pair.home.sh(FIREWALL);
    scan_and_be_banned(&pair, &daemon, STRANGER6, STRANGER6_NET);
    assert_eq!(daemon.targets(), ["198.51.100.0/25", STRANGER6_NET, STRANGER], "{}", daemon.log());
    assert_eq!(reinstalled(), 3);

    pair.home.sh("nft delete table inet nfban");
    assert_eq!(daemon.ask("unban 198.51.100.0/25").exit, Some(0));
    assert_eq!(daemon.targets(), [STRANGER6_NET, STRANGER], "{}", daemon.log());
    assert!(set(&pair.home, "protect4").contains(HOME4));
    daemon.stop(Signal::TERM);
}

#[test]
fn bans_outlive_the_daemon_and_are_taken_over_by_the_next() {
    let pair = refusing();
    let daemon = Daemon::start(&pair.home, "");
    scan_and_be_banned(&pair, &daemon, STRANGER, STRANGER);
    scan_and_be_banned(&pair, &daemon, STRANGER6, STRANGER6_NET);
    for target in ["198.51.100.7 --for 1h", "198.51.100.128/25", "2001:db8:7::7 --for 90s"] {
        assert_eq!(daemon.ask(&format!("ban {target}")).exit, Some(0));
    }
    let facts = |daemon: &Daemon| {
        let mut facts: Vec<_> = daemon
            .bans()
            .iter()
            .map(|ban| (text(&ban["target"]), text(&ban["action"]), text(&ban["rule"])))
            .collect();
        facts.sort_unstable();
        facts
    };
    let left = |daemon: &Daemon, target: &str| {
        daemon.bans().iter().find(|ban| ban["target"] == target).unwrap()["expires_s"].as_u64()
    };
    let before = facts(&daemon);
    assert_eq!(before.len(), 5);
    let (hour, scanner) = (left(&daemon, "198.51.100.7"), left(&daemon, STRANGER));

    // Not even a moment to say goodbye.
    let setup = daemon.kill();
    assert!(!pair.answers(STRANGER, HOME4, 40_000, 2));
    let daemon = Daemon::start_with(&pair.home, setup, &[]);
    assert_eq!(facts(&daemon), before);
    assert!(left(&daemon, "198.51.100.7") <= hour && left(&daemon, STRANGER) <= scanner);
    assert!(left(&daemon, "198.51.100.7") > Some(3500) && left(&daemon, STRANGER) > Some(500));
    assert_eq!(left(&daemon, "198.51.100.128/25"), None);
    assert_eq!(daemon.ask(&format!("unban {STRANGER}")).exit, Some(0));
    assert!(pair.answers(STRANGER, HOME4, 40_000, 5));

    // Somebody the new configuration allows is not taken over.
    let setup = daemon.stop(Signal::TERM);
    setup.configure("allow: [198.51.100.7]\n");
    let daemon = Daemon::start_with(&pair.home, setup, &[]);
    assert_eq!(daemon.targets(), ["198.51.100.128/25", "2001:db8:7::7", STRANGER6_NET]);
    daemon.stop(Signal::TERM);
}

#[test]
fn a_new_address_of_ours_is_protected_while_it_runs() {
    let pair = refusing();
    let daemon = Daemon::start(&pair.home, "");
    assert_eq!(daemon.ask("ban 198.51.100.77").exit, Some(0));
    assert!(!set(&pair.home, "protect4").contains("198.51.100.77"));
    pair.home.sh("ip addr add 198.51.100.77/32 dev up0 && ip addr add 2001:db8:77::1/64 dev up0 nodad");
    wait_until("both are protected", || {
        set(&pair.home, "protect4").contains("198.51.100.77")
            && set(&pair.home, "protect6").contains("2001:db8:77::1")
    });
    wait_until("the ban is lifted", || daemon.bans().is_empty());
    assert_eq!(daemon.ask("ban 2001:db8:77::/64").exit, Some(1));

    pair.home.sh("ip addr del 198.51.100.77/32 dev up0 && ip route add 192.0.3.0/24 via 192.0.2.9");
    wait_until("the new gateway is protected instead", || {
        let protected = set(&pair.home, "protect4");
        protected.contains("192.0.2.9") && !protected.contains("198.51.100.77")
    });
    assert_eq!(daemon.ask("ban 198.51.100.77").exit, Some(0));
    daemon.stop(Signal::TERM);
}

#[test]
fn packets_lost_in_a_flood_are_counted_and_the_daemon_lives() {
    let pair = refusing();
    let daemon = Daemon::start(&pair.home, "capture: [nflog: {group: 100, buffer: 64K}]\n");
    // Held still, it cannot keep up with anybody.
    daemon.signal(Signal::STOP);
    pair.peer.enter(|| {
        let socket = UdpSocket::bind(SocketAddr::new(STRANGER.parse().unwrap(), 0)).unwrap();
        for _ in 0..2000 {
            socket.send_to(b"", (HOME4, 3128)).unwrap();
        }
    });
    daemon.signal(Signal::CONT);
    // The gap shows with the first packet after it. That one may be lost too, while the daemon has not caught up.
    wait_until("somebody is banned again", || {
        scan(&pair, STRANGER6);
        daemon.targets().contains(&STRANGER6_NET.to_owned())
    });
    let lost = || daemon.status()["captures"][0]["lost"].as_u64().unwrap();
    assert!(lost() > 0 && daemon.status()["captures"][0]["overruns"].as_u64().unwrap() > 0);
    let logged = pair.home.sh("nft list chain inet firewall input");
    let logged: u64 = logged.split_once("packets ").unwrap().1.split(' ').next().unwrap().parse().unwrap();
    wait_until("every packet is received or counted as lost", || daemon.packets() + lost() == logged);
    let people = daemon.ask("status");
    assert!(people.out.contains(&format!(" {} ", lost())), "{}", people.out);
    daemon.stop(Signal::TERM);
}

#[test]
fn a_small_table_of_sources_pushes_out_and_says_so_and_grows_with_a_reload() {
    let pair = refusing();
    let daemon = Daemon::start(&pair.home, "sources: 1024\n");
    // All of this network is the peer's own: a socket binds to any address of it.
    pair.peer.sh("ip route add local 198.18.0.0/16 dev lo");
    let from_each = |sources: std::ops::Range<u16>, datagrams: usize| {
        let mut counted = daemon.packets();
        // A few at a time: an ordinary user's receive buffer is small.
        for some in sources.collect::<Vec<_>>().chunks(100) {
            pair.peer.enter(|| {
                for [high, low] in some.iter().map(|source| source.to_be_bytes()) {
                    let socket = UdpSocket::bind(SocketAddr::from(([198, 18, high, low], 0))).unwrap();
                    (0..datagrams).for_each(|_| assert_eq!(socket.send_to(b"", (HOME4, 9)).unwrap(), 0));
                }
            });
            counted += (some.len() * datagrams) as u64;
            wait_until("every packet is counted", || daemon.packets() == counted);
        }
    };
    let table = |name: &str| {
        let table = daemon.status()["tables"][name].clone();
        ["used", "capacity", "evicted"].map(|what| table[what].as_u64().unwrap())
    };

    from_each(0..2000, 1);
    assert_eq!(table("sources-seen-once"), [1536, 1536, 464]);
    assert_eq!(table("sources"), [0, 1024, 0]);
    from_each(0..1500, 2);
    assert_eq!(table("sources"), [1024, 1024, 476]);
    let shown = daemon.ask("status").out;
    assert!(shown.contains("tables     sources 100 % (476 pushed out), seen once "), "{shown}");

    daemon.setup().configure("sources: 4096\n");
    assert_eq!(daemon.ask("reload").exit, Some(0));
    assert_eq!(table("sources"), [1024, 4096, 476], "all that counts is kept");
    from_each(0..1500, 2);
    assert_eq!(table("sources"), [1500, 4096, 476]);
}

#[test]
fn watching_and_a_dry_run_change_nothing_in_the_kernel() {
    let pair = refusing();
    let tables = pair.home.sh("nft list ruleset | grep -v packets");
    for (config, arguments) in [("mode: watch\n", [].as_slice()), ("mode: enforce\n", &["--dry-run"])] {
        let daemon = Daemon::start_with(&pair.home, Setup::new(config), arguments);
        assert_eq!(daemon.status()["mode"], "watch");
        scan_and_be_banned(&pair, &daemon, STRANGER, STRANGER);
        let ban = &daemon.bans()[0];
        assert_eq!((text(&ban["action"]), text(&ban["rule"])), ("restrict".into(), "udp-scan".into()));
        assert_eq!(daemon.ask("ban 198.51.100.7").exit, Some(0));
        assert_eq!(daemon.targets(), ["198.51.100.7", STRANGER]);
        assert_eq!(pair.home.sh("nft list ruleset | grep -v packets"), tables);
        assert!(pair.answers(STRANGER, HOME4, 40_000, 5));
        assert_eq!(daemon.bans()[0]["enforced"], false);
        // What it would have told the kernel, as nft would take it.
        for words in [
            "add element inet nfban ban4 { 198.51.100.7 comment \"manual\" }".to_owned(),
            format!("add element inet nfban restrict4 {{ {STRANGER} timeout 600s comment \"udp-scan\" }}"),
        ] {
            daemon.says(&format!("watching only; not done: {words}"));
        }
        daemon.stop(Signal::TERM);
        assert_eq!(pair.home.sh("nft list ruleset | grep -v packets"), tables);
    }
}

#[test]
fn a_dry_run_refuses_what_enforcing_would() {
    let home = Namespace::new();
    let sets = "nftables: {table: inet firewall, sets: {ban4: bad4}}\n";
    home.sh("nft add table inet firewall");
    let daemon = Daemon::start_with(&home, Setup::new(sets), &["--dry-run"]);
    daemon.says("set bad4 does not exist");
    daemon.stop(Signal::TERM);
    home.sh(
        "nft add set inet firewall bad4 '{ type ipv4_addr; flags timeout; elements = { 198.51.100.1 } }'",
    );
    let before = home.sh("nft list ruleset");
    let daemon = Daemon::start_with(&home, Setup::new(sets), &["--dry-run"]);
    assert_eq!(daemon.ask("ban 198.51.100.7 --for 1h").exit, Some(0));
    assert_eq!(daemon.ask("ban 198.51.100.0/24 --for 1h").exit, Some(1), "there is no set for it");
    assert_eq!(daemon.ask("ban 198.51.100.1 --for 1h").exit, Some(69), "somebody else's element");
    assert_eq!(daemon.targets(), ["198.51.100.7"]);
    assert_eq!(home.sh("nft list ruleset"), before);
    daemon.stop(Signal::TERM);
}

/// Runs `nfban flush` in a namespace.
fn flush(home: &Namespace, setup: &Setup) -> (bool, String) {
    home.try_sh(&format!("{NFBAN} flush -c {}", setup.config().display()))
}

#[test]
fn stopping_with_flush_leaves_no_trace_in_the_kernel() {
    let home = Namespace::new();
    home.sh(FIREWALL);
    home.sh(
        "nft add set inet firewall bad4 '{ type ipv4_addr; flags timeout; elements = { 198.51.100.1 } }'",
    );
    home.sh("nft add set inet firewall nets4 '{ type ipv4_addr; flags interval,timeout; elements = { 10.0.0.0/8 } }'");
    let before = home.sh("nft -s list ruleset");
    let sets = "nftables: {table: inet firewall, sets: {ban4: bad4, ban4_prefix: nets4}}\n";
    for config in ["mode: enforce\n", sets] {
        let fill = |daemon: &Daemon| {
            assert_eq!(daemon.ask("ban 198.51.100.7 --for 1h").exit, Some(0));
            assert_eq!(daemon.ask("ban 203.0.113.0/24 --for 1h").exit, Some(0));
            assert_ne!(home.sh("nft -s list ruleset"), before);
        };
        let daemon = Daemon::start_with(&home, Setup::new(config), &["--flush"]);
        fill(&daemon);
        let setup = daemon.stop(Signal::TERM);
        assert_eq!(home.sh("nft -s list ruleset"), before, "{config}");

        // Without the daemon: what a killed one has left.
        let daemon = Daemon::start_with(&home, setup, &[]);
        assert_eq!(daemon.targets(), ["198.51.100.7", "203.0.113.0/24"], "the state database remembers them");
        fill(&daemon);
        let (done, told) = flush(&home, daemon.setup());
        assert!(!done && told.contains("stop it first"), "{told}");
        let setup = daemon.kill();
        assert_ne!(home.sh("nft -s list ruleset"), before);
        for _ in 0..2 {
            let (done, told) = flush(&home, &setup);
            assert!(done, "{told}");
            assert_eq!(home.sh("nft -s list ruleset"), before, "{config}");
        }
    }
}

#[test]
fn turning_to_watching_takes_the_table_away_and_turning_back_fills_it() {
    let pair = refusing();
    let daemon = Daemon::start(&pair.home, "mode: enforce\n");
    scan_and_be_banned(&pair, &daemon, STRANGER, STRANGER);
    daemon.setup().configure("mode: watch\n");
    assert_eq!(daemon.ask("reload").exit, Some(0));
    assert_eq!(pair.home.sh("nft list tables"), "table inet firewall\n");
    assert_eq!(daemon.targets(), [STRANGER], "what would stand");
    daemon.setup().configure("mode: enforce\n");
    assert_eq!(daemon.ask("reload").exit, Some(0));
    assert!(set(&pair.home, "restrict4").contains(STRANGER));
    assert_eq!(daemon.targets(), [STRANGER]);
    daemon.stop(Signal::TERM);
}

#[test]
fn ports_that_listen_are_no_evidence_where_the_firewall_has_not_judged() {
    let pair = refusing();
    // Services that the configuration does not know, on ports that weigh most: UDP, as `scan` sends it.
    let listeners: Vec<_> = pair.home.enter(|| {
        (1..=20).map(|port| UdpSocket::bind(SocketAddr::new(HOME4.parse().unwrap(), port)).unwrap()).collect()
    });
    let daemon = Daemon::start(&pair.home, "capture: [nflog: {group: 100, verdict: undecided}]\n");
    // The prefix of the firewall's rule would say that it has judged.
    pair.home.sh("nft flush chain inet firewall input");
    pair.home.sh("nft add rule inet firewall input udp dport '<' 30000 log group 100 accept");
    scan(&pair, STRANGER);
    wait_until("all have been seen", || daemon.packets() >= 20);
    assert_eq!(incidents(&daemon), 0, "{}", daemon.log());

    drop(listeners);
    wait_until("the same ports count once nobody listens there", || {
        scan(&pair, STRANGER);
        incidents(&daemon) == 1
    });
    daemon.stop(Signal::TERM);
}

#[test]
fn a_scan_that_goes_on_after_the_table_was_deleted_brings_it_back() {
    let pair = refusing();
    let daemon = Daemon::start(&pair.home, "");
    scan_and_be_banned(&pair, &daemon, STRANGER, STRANGER);
    pair.home.sh("nft delete table inet nfban");
    // No question is asked meanwhile: asking would bring it back as well.
    wait_until("the scanner is held again", || {
        scan(&pair, STRANGER);
        let (there, set) = pair.home.try_sh("nft list set inet nfban restrict4");
        there && set.contains(STRANGER)
    });
    assert_eq!((daemon.targets(), incidents(&daemon)), (vec![STRANGER.to_owned()], 1));
    daemon.stop(Signal::TERM);
}
