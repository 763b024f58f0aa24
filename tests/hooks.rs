//! Hooks of the daemon: what they are told, what they inherit, and what becomes of those that hang, fail or fork.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test states its expectations by panicking"
)]

mod support;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;
use support::daemon::{Daemon, NFBAN, Setup};
use support::{HOME4, Pair, wait_until};

const STRANGER: &str = "203.0.113.7";

/// Twenty ports of home, from one of the peer's addresses.
fn scan(pair: &Pair, from: &str) {
    pair.peer_has(from);
    pair.peer.enter(|| {
        let socket = UdpSocket::bind((from, 0)).unwrap();
        for port in 1..=20 {
            socket.send_to(b"", (HOME4, port)).unwrap();
        }
    });
}

/// A program in `folder` that runs these lines of shell.
fn program(folder: &Path, name: &str, lines: &str) -> PathBuf {
    let path = folder.join(name);
    // Renamed into place: a file that is open for writing cannot be run.
    fs::write(path.with_extension("new"), format!("#!/bin/sh\n{lines}\n")).unwrap();
    fs::set_permissions(path.with_extension("new"), PermissionsExt::from_mode(0o755)).unwrap();
    fs::rename(path.with_extension("new"), &path).unwrap();
    path
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The events that a hook has written down, one a line.
fn events(path: &Path) -> Vec<Value> {
    read(path).lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn number(daemon: &Daemon, pointer: &str) -> u64 {
    daemon.status().pointer(pointer).and_then(Value::as_u64).unwrap()
}

/// Whether a process runs; one that was killed and that nobody waits for does not.
fn runs(pid: &str) -> bool {
    let status = read(&Path::new("/proc").join(pid.trim()).join("status"));
    !status.is_empty() && !status.contains("State:\tZ")
}

/// What it is told is written last, so that all else is there by then.
const NOTE: &str = "env > \"$1.env\"; grep Cap /proc/self/status > \"$1.caps\"; ls -l /proc/self/fd > \"$1.fds\"; \
                    cat >> \"$1\"";

#[test]
fn a_hook_is_told_on_its_standard_input_and_inherits_next_to_nothing() {
    let pair = Pair::refusing();
    let setup = Setup::new("");
    let (note, noted) = (program(setup.folder(), "note", NOTE), setup.folder().join("noted"));
    setup.configure(&format!(
        "hooks: [{{on: [incident, ban, ban-end], command: [{}, {}]}}]\n",
        note.display(),
        noted.display()
    ));
    let daemon = Daemon::start_with(&pair.home, setup, &[]);
    scan(&pair, STRANGER);
    wait_until("incident and ban are told", || events(&noted).len() == 2);
    assert_eq!(daemon.ask("unban 203.0.113.7").exit, Some(0));
    wait_until("the end is told", || events(&noted).len() == 3);
    let mut told = events(&noted);
    told.sort_by_key(|event| event["type"].as_str().unwrap().to_owned());
    assert_eq!(told[0]["type"], "ban");
    assert_eq!((&told[0]["target"], &told[0]["mode"]), (&STRANGER.into(), &"enforce".into()));
    assert_eq!((&told[1]["type"], &told[1]["reason"]), (&"ban-end".into(), &"unban".into()));
    assert_eq!((&told[2]["type"], &told[2]["source"]), (&"incident".into(), &STRANGER.into()));

    let beside = |name: &str| read(&noted.with_added_extension(name));
    let mut environment: Vec<_> = beside("env").lines().map(str::to_owned).collect();
    // What sh itself adds.
    environment.retain(|line| !["PWD=/", "_=/usr/bin/env", "SHLVL=0"].contains(&line.as_str()));
    environment.sort();
    assert!(
        environment[0] == "LANG=C.UTF-8" && environment[1].starts_with("NFBAN_EVENT="),
        "{environment:?}"
    );
    assert_eq!(environment[2..], ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]);
    let caps = beside("caps");
    assert_eq!(
        caps.matches("0000000000000000").count(),
        5,
        "this test runs as root, and nothing is left:\n{caps}"
    );
    // None of the daemon's sockets, databases and the like.
    let descriptors = beside("fds");
    assert!(descriptors.contains("0 -> pipe:"), "{descriptors}");
    assert!(!descriptors.contains("socket:") && !descriptors.contains("anon_inode:"), "{descriptors}");
    assert!(!descriptors.contains("state.db"), "{descriptors}");
    assert_eq!(number(&daemon, "/hooks/told"), 3);
    assert_eq!(number(&daemon, "/hooks/failed"), 0);
    daemon.stop(Signal::TERM);
}

#[test]
fn as_the_service_runs_a_hook_cannot_change_the_firewall() {
    let pair = Pair::refusing();
    let setup = Setup::new("");
    const NOBODY: u32 = 65534;
    chown(setup.folder(), Some(NOBODY), Some(NOBODY)).unwrap();
    fs::set_permissions(setup.folder(), PermissionsExt::from_mode(0o755)).unwrap();
    // Neither by itself nor by having the daemon do it: the socket lets this user in, to reload.
    let ask = format!("{NFBAN} --socket {}", setup.socket().display());
    let lines = format!(
        "{NOTE}; nft flush ruleset 2> \"$1.nft\"; {ask} unban --all > \"$1.ask\" 2>&1; {ask} off >> \"$1.ask\" 2>&1; \
         {ask} status > \"$1.status\"; id -u > \"$1.id\"; exit 0"
    );
    let (note, noted) = (program(setup.folder(), "note", &lines), setup.folder().join("noted"));
    let hooks = format!("hooks: [{{on: ban, command: [{}, {}]}}]\n", note.display(), noted.display());
    setup.configure(&hooks);
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=+net_admin"]);
    command.args(["--ambient-caps=+net_admin", NFBAN, "run", "-c"]).arg(setup.config());
    let daemon = Daemon::spawn(&pair.home, setup, command);
    scan(&pair, STRANGER);
    wait_until("the hook has ended", || !read(&noted.with_added_extension("id")).is_empty());
    assert_eq!(read(&noted.with_added_extension("id")), "65534\n");
    let caps = read(&noted.with_added_extension("caps"));
    for of in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert!(caps.contains(&format!("{of}:\t0000000000000000")), "{caps}");
    }
    let refused = read(&noted.with_added_extension("nft"));
    assert!(refused.contains("Operation not permitted"), "{refused}");
    let refused = read(&noted.with_added_extension("ask"));
    assert_eq!(refused.matches("only root may change anything").count(), 2, "{refused}");
    assert!(read(&noted.with_added_extension("status")).contains("enforce"));
    assert_eq!(daemon.targets(), [STRANGER]);
    daemon.stop(Signal::TERM);
}

#[test]
fn one_that_hangs_is_killed_with_all_it_started_and_nobody_waits_for_it() {
    let pair = Pair::refusing();
    let setup = Setup::new("");
    let folder = setup.folder().to_owned();
    let hang = program(&folder, "hang", "sleep 1000 & echo $! > \"$1\"; trap '' TERM; sleep 1000");
    let (note, noted, pid) =
        (program(&folder, "note", "cat >> \"$1\""), folder.join("noted"), folder.join("pid"));
    let hooks = format!(
        "hooks:\n  - {{on: incident, command: [{}, {}], timeout: 1s}}\n  - {{on: [ban, alarm], command: [{}, {}]}}\n",
        hang.display(),
        pid.display(),
        note.display(),
        noted.display()
    );
    setup.configure(&hooks);
    let daemon = Daemon::start_with(&pair.home, setup, &[]);
    scan(&pair, STRANGER);
    wait_until("the other hook is told meanwhile", || {
        events(&noted).iter().any(|event| event["type"] == "ban")
    });
    wait_until("it is counted as failed", || number(&daemon, "/hooks/failed") == 1);
    wait_until("what it started is gone", || !runs(&read(&pid)));
    // Told once, in the log and to whoever wants to hear of alarms, although it goes on failing.
    scan(&pair, "203.0.113.8");
    wait_until("it fails again", || number(&daemon, "/hooks/failed") == 2);
    assert_eq!(daemon.ask("reload").exit, Some(0), "the loop turns");
    let told = |path: &Path| events(path).iter().filter(|event| event["type"] == "alarm").count();
    wait_until("the alarm is told", || told(&noted) == 1);
    assert_eq!(daemon.log().matches("killed after its time limit of 1 s").count(), 1, "{}", daemon.log());
    daemon.stop(Signal::TERM);
}

#[test]
fn what_a_failing_one_says_is_told_harmlessly_and_what_a_forking_one_leaves_is_killed() {
    let pair = Pair::refusing();
    let setup = Setup::new("");
    let folder = setup.folder().to_owned();
    let lines = "sleep 1000 & echo $! > \"$1\"; printf 'no \\033[2J way\\nsecond line' >&2; yes | head -c 1000000 >&2; exit 3";
    let (fail, pid) = (program(&folder, "fail", lines), folder.join("pid"));
    setup.configure(&format!("hooks: [{{on: ban, command: [{}, {}]}}]\n", fail.display(), pid.display()));
    let daemon = Daemon::start_with(&pair.home, setup, &[]);
    scan(&pair, STRANGER);
    wait_until("it has failed", || number(&daemon, "/hooks/failed") == 1);
    assert!(!runs(&read(&pid)), "what it left behind is gone");
    wait_until("it is told", || {
        daemon.ask("reload");
        daemon.log().contains(r"failed: exit status 3: no \u{1b}[2J way")
    });
    // Mended, it is told of, and a missing one does no harm.
    program(&folder, "fail", "exit 0");
    scan(&pair, "203.0.113.8");
    wait_until("it works again", || daemon.log().contains("works again"));
    fs::remove_file(&fail).unwrap();
    scan(&pair, "203.0.113.9");
    wait_until("it is missed", || number(&daemon, "/hooks/failed") == 2);
    daemon.stop(Signal::TERM);
}

#[test]
fn a_webhook_gets_the_event_by_post_and_its_refusal_is_a_failure() {
    let pair = Pair::refusing();
    let server = pair.home.enter(|| TcpListener::bind("127.0.0.1:0").unwrap());
    let url = format!("http://user:secret@{}/hook?token=x", server.local_addr().unwrap());
    let config = format!("hooks: [{{on: ban, webhook: \"{url}\"}}]\n");
    let daemon = Daemon::start(&pair.home, &config);
    for (from, answer) in [(STRANGER, "204 No Content"), ("203.0.113.8", "500 Internal Server Error")] {
        scan(&pair, from);
        let (stream, _) = server.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if line.trim().is_empty() {
                break;
            }
            head.push(line.trim().to_lowercase());
        }
        assert_eq!(head[0], "post /hook?token=x http/1.1");
        assert!(head.contains(&"content-type: application/json".to_owned()), "{head:?}");
        let length = head.iter().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        reader.read_exact(&mut body).unwrap();
        let event: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((&event["type"], &event["target"]), (&"ban".into(), &from.into()));
        write!(&stream, "HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
    }
    wait_until("the refusal is counted", || number(&daemon, "/hooks/failed") == 1);
    wait_until("and told", || {
        daemon.ask("reload");
        daemon.log().contains("the hook http://127.0.0.1")
    });
    assert!(!daemon.log().contains("secret") && !daemon.log().contains("token"), "{}", daemon.log());
    daemon.stop(Signal::TERM);
}

#[test]
fn while_watching_hooks_are_told_of_incidents_and_not_of_bans_and_a_dry_run_tells_none() {
    let pair = Pair::refusing();
    let setup = Setup::new("");
    let (note, noted) = (program(setup.folder(), "note", "cat >> \"$1\""), setup.folder().join("noted"));
    let hooks =
        format!("hooks: [{{on: [incident, ban], command: [{}, {}]}}]\n", note.display(), noted.display());
    setup.configure(&format!("mode: watch\n{hooks}"));
    let daemon = Daemon::start_with(&pair.home, setup, &[]);
    scan(&pair, STRANGER);
    wait_until("the incident is told", || events(&noted).len() == 1);
    assert_eq!(daemon.targets(), [STRANGER], "who would be banned");
    let setup = daemon.stop(Signal::TERM);
    assert_eq!(events(&noted).len(), 1);
    assert_eq!(
        (&events(&noted)[0]["type"], &events(&noted)[0]["mode"]),
        (&"incident".into(), &"watch".into())
    );

    setup.configure(&hooks);
    let daemon = Daemon::start_with(&pair.home, setup, &["--dry-run"]);
    scan(&pair, "203.0.113.8");
    wait_until("it would be banned", || daemon.targets().contains(&"203.0.113.8".to_owned()));
    assert_eq!(number(&daemon, "/hooks/hooks"), 0);
    let _setup = daemon.stop(Signal::TERM);
    assert_eq!(events(&noted).len(), 1);
}
