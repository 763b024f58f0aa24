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
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use rustix::process::Signal;
use support::daemon::{Daemon, NFBAN, Setup, text};
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
fn a_flush_while_many_bans_are_being_put_back_is_undone_as_well() {
    const MANY: u32 = 8_000;
    let home = Namespace::new();
    let daemon = Daemon::start(&home, "");
    let mut elements = String::from("add element inet nfban restrict4 {");
    for number in 0..MANY {
        let address = std::net::Ipv4Addr::from_bits(0x0a00_0000 + number);
        write!(elements, "{address} timeout 1h comment \"tcp-syn-scan\",").unwrap();
    }
    elements.push_str("}\n");
    let file = daemon.setup().folder().join("many.nft");
    fs::write(&file, elements).unwrap();
    home.sh(&format!("nft -f {}", file.display()));
    wait_until("they are taken in", || daemon.log().contains("taken in"));

    // Later and later in what follows the first flush, and with changes elsewhere in between.
    for pause in 0..6 {
        let wait = "nft list tables; nft add table inet elsewhere;".repeat(pause);
        home.sh(&format!("nft flush ruleset; {wait} nft flush ruleset"));
        wait_until("all are back", || set(&home, "restrict4").len() == MANY as usize);
        wait_until("and their rates", || set(&home, "restrict4_rate").len() == MANY as usize);
    }
    assert!(!daemon.log().contains("lifted"), "{}", daemon.log());
    assert_eq!(daemon.status()["bans"]["restrict"], MANY);
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
    daemon.says("looking at the whole table");
    assert_eq!(daemon.bans().len(), BANS.len() - 1);
    daemon.stop(Signal::TERM);
}

/// The state database, read as anybody may.
fn database(setup: &Setup) -> Connection {
    Connection::open_with_flags(setup.folder().join("state.db"), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()
}

/// The targets of the bans that are saved, as a listing shows them, sorted.
fn saved(setup: &Setup) -> Vec<String> {
    let database = database(setup);
    let mut select = database.prepare("SELECT target FROM ban").unwrap();
    let rows = select.query_map([], |row| row.get::<_, String>(0)).unwrap();
    let mut targets: Vec<_> = rows
        .map(|target| target.unwrap().trim_end_matches("/32").trim_end_matches("/128").to_owned())
        .collect();
    targets.sort_unstable();
    targets
}

/// Changes the state database of a daemon that has stopped.
fn edit(setup: &Setup, sql: &str) {
    Connection::open(setup.folder().join("state.db")).unwrap().execute_batch(sql).unwrap();
}

/// What a listing tells of each ban but for what changes by itself, and the seconds left.
fn facts(daemon: &Daemon) -> (Vec<String>, Vec<u64>) {
    let mut bans = daemon.bans();
    bans.sort_by_key(|ban| text(&ban["target"]));
    let words = |ban: &serde_json::Value| {
        ["target", "action", "rule", "reason", "time", "timeout_s"].map(|key| ban[key].to_string()).join(" ")
    };
    let left = bans.iter().map(|ban| ban["expires_s"].as_u64().unwrap_or(u64::MAX)).collect();
    (bans.iter().map(words).collect(), left)
}

#[test]
fn what_the_kernel_has_lost_while_nothing_ran_comes_back_with_all_that_was_known() {
    let home = Namespace::new();
    let daemon = banning(&home);
    ban(&daemon, "203.0.113.9 --for 2h --reason why");
    let (before, left_before) = facts(&daemon);
    let setup = daemon.stop(Signal::TERM);
    home.sh("nft flush ruleset");

    // The wall clock has gone back by a day meanwhile, or forward: within one boot that is the same as moved rows.
    const DAY_US: i64 = 86_400_000_000;
    edit(&setup, &format!("UPDATE ban SET until_us = until_us + {DAY_US} WHERE target LIKE '203.%'"));
    edit(&setup, &format!("UPDATE ban SET until_us = until_us - {DAY_US} WHERE target LIKE '2001:%'"));
    let daemon = Daemon::start_with(&home, setup, &[]);
    let (after, left_after) = facts(&daemon);
    assert_eq!(after, before);
    for (after, before) in left_after.iter().zip(&left_before) {
        assert!(after <= before && before - after < 20, "{left_before:?} {left_after:?}");
    }
    assert!(!daemon.log().contains("ended"), "{}", daemon.log());

    // A reboot: another boot clock, and only the wall clock to go by.
    let setup = daemon.kill();
    home.sh("nft flush ruleset");
    edit(&setup, "UPDATE ban SET until_us = since_us + timeout_us");
    edit(&setup, "UPDATE ban SET boot = 'another', until_boot_us = until_boot_us + 3600000000");
    edit(&setup, "UPDATE ban SET until_us = until_us - 1800000000 WHERE target = '203.0.113.9/32'");
    edit(&setup, "UPDATE ban SET until_us = 1 WHERE target = '203.0.113.1/32'");
    let daemon = Daemon::start_with(&home, setup, &[]);
    assert_eq!(daemon.bans().len(), before.len() - 1, "one whose time was over while the machine was off");
    let left = left(&home, "203.0.113.9");
    assert!((5_300..=5_400).contains(&left), "{left}");
    daemon.stop(Signal::TERM);
}

#[test]
fn what_was_lifted_while_nothing_ran_stays_lifted_and_what_was_flushed_comes_back() {
    let home = Namespace::new();
    let daemon = banning(&home);
    let setup = daemon.stop(Signal::TERM);
    home.sh("nft delete element inet nfban ban4 '{ 203.0.113.2 }'");
    home.sh("nft flush set inet nfban ban6");
    let daemon = Daemon::start_with(&home, setup, &[]);
    wait_until("the flushed ones are back", || set(&home, "ban6").len() == 2);
    assert_eq!(
        daemon.targets(),
        ["192.0.2.0/25", "2001:db8:9:1::/64", "2001:db8:9:2::/64", "203.0.113.1", "203.0.113.3"]
    );
    daemon.says("ban of 203.0.113.2 ended: it was lifted");
    wait_until("it is saved", || saved(daemon.setup()) == daemon.targets());
    daemon.stop(Signal::TERM);
}

#[test]
fn repetitions_outlive_the_daemon_with_and_without_a_ban() {
    let home = Namespace::new();
    let daemon = Daemon::start(&home, "");
    for _ in 0..3 {
        ban(&daemon, "203.0.113.1 --for 1h");
        assert_eq!(daemon.ask("unban 203.0.113.1").exit, Some(0));
    }
    ban(&daemon, "203.0.113.2 --for 1h");
    ban(&daemon, "203.0.113.2 --for 2h");
    let repetitions = |daemon: &Daemon, address: &str| {
        daemon.ask(&format!("status --json {address}")).lines()[0]["repetitions"].as_u64()
    };
    let before = ["203.0.113.1", "203.0.113.2"].map(|address| repetitions(&daemon, address));
    assert_eq!(before, [Some(3), Some(2)]);
    let setup = daemon.stop(Signal::TERM);
    let daemon = Daemon::start_with(&home, setup, &[]);
    assert_eq!(["203.0.113.1", "203.0.113.2"].map(|address| repetitions(&daemon, address)), before);
    // What is forgotten by now is not remembered.
    let setup = daemon.stop(Signal::TERM);
    edit(
        &setup,
        "UPDATE repetition SET last_us = last_us - 31 * 86400000000 WHERE target = '203.0.113.1/32'",
    );
    let daemon = Daemon::start_with(&home, setup, &[]);
    assert_eq!(
        ["203.0.113.1", "203.0.113.2"].map(|address| repetitions(&daemon, address)),
        [Some(0), Some(2)]
    );
    daemon.stop(Signal::TERM);
}

/// Kills the daemon at random while bans are added, and compares what is left of it each time.
#[test]
fn a_hundred_kills_lose_no_ban_and_neither_kernel_nor_database_claims_another() {
    const KILLS: u32 = 100;
    let home = Namespace::new();
    let mut setup = Setup::new("");
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut added: Vec<String> = Vec::new();
    for kill in 0..KILLS {
        let daemon = Daemon::start_with(&home, setup, &[]);
        let kernel = daemon.targets();
        assert_eq!(kernel, added, "after {kill} kills:\n{}", daemon.log());
        wait_until("the database agrees", || saved(daemon.setup()) == kernel);
        // xorshift64: the same moments on every run, as far as the machine lets us.
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let life = Duration::from_micros(seed % 60_000);
        let over = AtomicBool::new(false);
        let (done, doubtful) = std::thread::scope(|scope| {
            let adding = scope.spawn(|| {
                let (mut done, mut doubtful) = (Vec::new(), Vec::new());
                for number in 0..u32::MAX {
                    let target =
                        std::net::Ipv4Addr::from_bits(0x0a00_0000 + (kill << 8) + number).to_string();
                    let answer = daemon.ask(&format!("ban {target} --for 1h"));
                    let list = if answer.exit == Some(0) { &mut done } else { &mut doubtful };
                    list.push(target);
                    if over.load(Ordering::Acquire) || answer.exit != Some(0) {
                        break;
                    }
                }
                (done, doubtful)
            });
            let start = Instant::now();
            while start.elapsed() < life {
                std::thread::yield_now();
            }
            daemon.signal(Signal::KILL);
            over.store(true, Ordering::Release);
            adding.join().unwrap()
        });
        setup = daemon.kill();
        added.extend(done);
        // The kernel may have taken what nobody was told any more.
        let held = set(&home, "ban4");
        added.extend(
            doubtful.into_iter().filter(|target| held.iter().any(|it| it.contains(&format!("\"{target}\"")))),
        );
        added.sort_unstable();
        assert_eq!(held.len(), added.len(), "the kernel holds what was promised, and no more");
        // Every tenth time the kernel forgets as well. What was saved less than a second ago is in neither then.
        if kill % 10 == 9 {
            home.sh("nft delete table inet nfban");
            let saved = saved(&setup);
            assert!(saved.iter().all(|target| added.contains(target)), "{saved:?}");
            added = saved;
        }
    }
}

#[test]
fn a_damaged_database_is_set_aside_and_every_ban_goes_into_the_fresh_one() {
    let home = Namespace::new();
    let daemon = banning(&home);
    let setup = daemon.stop(Signal::TERM);
    fs::write(setup.folder().join("state.db"), "no database ".repeat(1_000)).unwrap();
    let daemon = Daemon::start_with(&home, setup, &[]);
    assert_eq!(daemon.bans().len(), BANS.len(), "the kernel remembers");
    let alarm = text(&daemon.status()["alarms"][0]["what"]);
    assert!(alarm.contains("is damaged") && alarm.contains("state.db.broken-"), "{alarm}");
    wait_until("all are saved", || saved(daemon.setup()) == daemon.targets());
    daemon.stop(Signal::TERM);
}

#[test]
fn on_a_full_disk_bans_go_on_and_are_saved_once_there_is_room() {
    let home = Namespace::new();
    let setup = Setup::new("");
    // A limit on the size of files is what a full disk is to one program.
    let mut command = Command::new("sh");
    command
        .args(["-c", "trap '' XFSZ; ulimit -S -f 200; exec \"$0\" run -c \"$1\"", NFBAN])
        .arg(setup.config());
    let daemon = Daemon::spawn(&home, setup, command);
    let reason = "x".repeat(120);
    let alarms = |daemon: &Daemon| daemon.status()["alarms"].as_array().unwrap().len();
    let mut number = 0;
    wait_until("the disk is full", || {
        number += 1;
        ban(&daemon, &format!("10.0.{}.{} --for 1h --reason {reason}", number / 200, number % 200));
        alarms(&daemon) > 0
    });
    let alarm = text(&daemon.status()["alarms"][0]["what"]);
    assert!(alarm.contains("cannot write the state database"), "{alarm}");
    ban(&daemon, "203.0.113.1 --for 1h");
    assert_eq!(set(&home, "ban4").len(), number + 1);
    home.sh(&format!("prlimit --pid {} --fsize=unlimited", daemon.status()["pid"]));
    wait_until("all are saved", || saved(daemon.setup()) == daemon.targets());
    assert_eq!(alarms(&daemon), 1);
    daemon.stop(Signal::TERM);
}

#[test]
fn a_newer_database_gives_its_bans_and_is_not_written() {
    let home = Namespace::new();
    let daemon = banning(&home);
    let targets = daemon.targets();
    let setup = daemon.stop(Signal::TERM);
    home.sh("nft flush ruleset");
    edit(&setup, "ALTER TABLE ban ADD COLUMN colour TEXT; PRAGMA user_version = 99");
    let before = fs::read(setup.folder().join("state.db")).unwrap();
    let daemon = Daemon::start_with(&home, setup, &[]);
    assert_eq!(daemon.targets(), targets);
    ban(&daemon, "203.0.113.9 --for 1h");
    let setup = daemon.stop(Signal::TERM);
    assert_eq!(fs::read(setup.folder().join("state.db")).unwrap(), before);
}
