//! `nfban off` and `nfban on`, on the running kernel.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test states its expectations by panicking"
)]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use support::daemon::{Daemon, NFBAN, Setup};
use support::{HOME4, Pair, wait_until};

/// Somebody behind the gateway, which itself is protected.
const SCANNER: &str = "198.51.100.7";

/// Whoever is banned by hand.
const ENEMY: &str = "198.51.100.66";

const FIREWALL: &str = "nft -f - <<'RULES'
table inet firewall {
    chain input {
        type filter hook input priority 0;
        tcp flags syn / syn,ack tcp dport < 1000 log prefix \"nfban:refused\" group 100 drop
    }
}
RULES";

fn bed() -> Pair {
    let pair = Pair::new();
    pair.peer_has(SCANNER);
    pair.peer_has(ENEMY);
    pair.home.sh(FIREWALL);
    pair
}

fn scan(pair: &Pair) {
    pair.peer.sh(&format!(
        "nmap -n -Pn -sS -S {SCANNER} -e peer0 -p 1-40 --max-retries 0 --host-timeout 10s {HOME4}"
    ));
}

/// Whether a port that nobody knows is reached.
fn reaches(pair: &Pair, from: &str) -> bool {
    pair.answers(from, HOME4, 40_000, 3)
}

/// Whether anything of nfban's is in the kernel.
fn has_table(pair: &Pair) -> bool {
    pair.home.sh("nft list tables").contains("nfban")
}

/// Runs the program where no daemon runs.
fn alone(pair: &Pair, setup: &Setup, state: &Path, arguments: &str) -> (Option<i32>, String) {
    let mut command = Command::new(NFBAN);
    command.args(arguments.split_whitespace()).arg("-c").arg(setup.config());
    let output = pair.home.enter(|| command.env("STATE_DIRECTORY", state).output().unwrap());
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn off_lets_everybody_in_at_once_and_stays_over_a_restart_until_on() {
    let pair = bed();
    let daemon = Daemon::start(&pair.home, "ban: {times: [1h]}\n");
    assert_eq!(daemon.ask(&format!("ban {ENEMY} --reason spam")).exit, Some(0));
    scan(&pair);
    wait_until("the scanner is restricted", || daemon.targets() == [ENEMY, SCANNER]);
    assert!(!reaches(&pair, SCANNER) && !reaches(&pair, ENEMY));

    let answer = daemon.ask("off");
    assert_eq!(
        answer.out, "nfban is off: 1 ban lifted, 1 by hand waits, and nobody is banned until `nfban on`\n",
        "{answer:?}"
    );
    assert_eq!(daemon.ask("off").out, "nfban was off already: nobody is banned until `nfban on`\n");
    assert!(!has_table(&pair));
    assert!(reaches(&pair, SCANNER) && reaches(&pair, ENEMY));
    let first = |daemon: &Daemon| daemon.ask("status").out.lines().next().unwrap().to_owned();
    assert!(first(&daemon).contains(" is OFF since 20"), "{}", first(&daemon));
    assert_eq!(daemon.status()["off"]["by"], 0);
    // What was banned by hand waits; what is found meanwhile is only told.
    scan(&pair);
    wait_until("the scan is found", || daemon.targets() == [ENEMY, SCANNER]);
    assert!(daemon.bans().iter().all(|ban| ban["enforced"] == false));
    let answer = daemon.ask("reload");
    assert_eq!(answer.out, "the configuration was read again: nfban is off until `nfban on`\n", "{answer:?}");
    daemon.says("configuration reloaded: switched off");
    assert!(!has_table(&pair), "a reload does not switch it on");
    assert!(reaches(&pair, SCANNER));

    let daemon = Daemon::start_with(&pair.home, daemon.stop(Signal::TERM), &[]);
    assert!(first(&daemon).contains(" is OFF since 20"), "{}", first(&daemon));
    assert_eq!(daemon.targets(), [ENEMY]);
    assert!(!has_table(&pair) && reaches(&pair, SCANNER) && reaches(&pair, ENEMY));
    // A process that is killed remembers it just as well.
    let daemon = Daemon::start_with(&pair.home, daemon.kill(), &[]);
    assert!(!has_table(&pair) && reaches(&pair, ENEMY));

    let answer = daemon.ask("on");
    assert_eq!(answer.out, "nfban enforces again, with 1 ban by hand\n", "{answer:?}");
    assert!(first(&daemon).contains(" enforces, "), "{}", first(&daemon));
    assert!(!reaches(&pair, ENEMY) && reaches(&pair, SCANNER));
    assert_eq!(daemon.bans()[0]["reason"], "spam");
    scan(&pair);
    wait_until("the scanner is restricted again", || daemon.targets() == [ENEMY, SCANNER]);
    assert!(!reaches(&pair, SCANNER));
    let daemon = Daemon::start_with(&pair.home, daemon.stop(Signal::TERM), &[]);
    assert_eq!(daemon.targets(), [ENEMY, SCANNER], "on holds over a restart as well");
    assert_eq!(daemon.ask("on").out, "nfban was not off\n");
}

#[test]
fn off_and_on_work_while_no_daemon_runs_even_with_a_broken_configuration() {
    let pair = bed();
    let daemon = Daemon::start(&pair.home, "ban: {times: [1h]}\n");
    assert_eq!(daemon.ask(&format!("ban {ENEMY}")).exit, Some(0));
    scan(&pair);
    wait_until("the scanner is restricted", || daemon.targets() == [ENEMY, SCANNER]);
    let setup = daemon.stop(Signal::TERM);
    let state = setup.folder().to_owned();
    assert!(!reaches(&pair, SCANNER), "a stop keeps the bans");

    let socket = format!("--socket {} ", setup.socket().display());
    setup.configure("modd: watch\n");
    let (exit, text) = alone(&pair, &setup, &state, &format!("{socket}off"));
    assert_eq!(exit, Some(78), "{text}");
    assert!(text.contains("did you mean `mode`?") && text.contains("nfban is off, but"), "{text}");
    assert!(!has_table(&pair) && reaches(&pair, SCANNER) && reaches(&pair, ENEMY));
    setup.configure("ban: {times: [1h]}\n");
    let (exit, text) = alone(&pair, &setup, &state, "off");
    assert_eq!(exit, Some(0), "{text}");

    // Whatever is put there behind its back is gone with the start.
    pair.home.sh("nft add table inet nfban");
    let daemon = Daemon::start_with(&pair.home, setup, &[]);
    assert!(!has_table(&pair) && daemon.targets() == [ENEMY]);
    let setup = daemon.stop(Signal::TERM);
    let (exit, text) = alone(&pair, &setup, &state, "on");
    assert_eq!(
        (exit, text.as_str()),
        (Some(0), "nfban is on: the next start enforces again what the configuration says\n")
    );
    let (_, text) = alone(&pair, &setup, &state, "on");
    assert_eq!(text, "nfban was not off, and does not run\n");
    let daemon = Daemon::start_with(&pair.home, setup, &[]);
    assert_eq!(daemon.targets(), [ENEMY], "those that were lifted stay lifted");
    assert!(!reaches(&pair, ENEMY) && reaches(&pair, SCANNER));
}

#[test]
fn off_and_on_while_no_daemon_runs_lift_all_but_bans_by_hand() {
    let pair = bed();
    let daemon = Daemon::start(&pair.home, "ban: {times: [1h]}\n");
    assert_eq!(daemon.ask(&format!("ban {ENEMY}")).exit, Some(0));
    scan(&pair);
    wait_until("the scanner is restricted", || daemon.targets() == [ENEMY, SCANNER]);
    let setup = daemon.stop(Signal::TERM);
    let state = setup.folder().to_owned();
    assert_eq!(alone(&pair, &setup, &state, "off").0, Some(0));
    assert_eq!(alone(&pair, &setup, &state, "on").0, Some(0));
    let daemon = Daemon::start_with(&pair.home, setup, &[]);
    assert_eq!(daemon.targets(), [ENEMY]);
    let daemon = Daemon::start_with(&pair.home, daemon.stop(Signal::TERM), &[]);
    scan(&pair);
    wait_until("the scanner is restricted", || daemon.targets() == [ENEMY, SCANNER]);
    let daemon = Daemon::start_with(&pair.home, daemon.stop(Signal::TERM), &[]);
    assert_eq!(daemon.targets(), [ENEMY, SCANNER], "that was once");
}

#[test]
fn off_needs_a_right_and_a_link_in_the_state_directory_leads_nobody_away() {
    let pair = bed();
    let setup = Setup::new("");
    let state = setup.folder().join("state");
    fs::create_dir(&state).unwrap();
    let victim = setup.folder().join("victim");
    fs::write(&victim, "precious").unwrap();
    std::os::unix::fs::symlink(&victim, state.join("off.new")).unwrap();
    let (exit, text) = alone(&pair, &setup, &state, "off");
    assert_eq!(exit, Some(0), "{text}");
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    assert!(fs::read_to_string(state.join("off")).unwrap().contains("since"));
    // Nor can the daemon's user hold root up, with what never ends or never begins.
    let off = state.join("off");
    for trap in ["mkfifo", "ln -s /dev/zero", "truncate -s 1T"] {
        fs::remove_file(&off).unwrap();
        pair.home.sh(&format!("{trap} {}", off.display()));
        let (exit, text) = alone(&pair, &setup, &state, "on");
        assert_eq!(exit, Some(0), "{trap}: {text}");
        fs::rename(state.join("on"), &off).unwrap();
    }

    let daemon = Daemon::start_with(&pair.home, setup, &[]);
    assert_eq!(daemon.ask("on").out, "nfban was not off\n", "another state directory, another switch");
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", NFBAN]);
    command.arg("--socket").arg(daemon.setup().socket()).arg("off");
    let output = pair.home.enter(|| command.output().unwrap());
    assert_eq!(output.status.code(), Some(77), "{output:?}");
    assert!(has_table(&pair));
}
