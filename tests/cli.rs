//! The built command: exit statuses and both streams.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test states its expectations by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use nfban::control::archive::Archive;
use nfban::control::listener::Listener;
use nfban::control::protocol::{Address, BanRow, Mode, Refusal, Reply, Request};
use nfban::control::server::{Limits, Server};
use nfban::decide::Measure;
use nfban::report::target::Target;
use nfban::time::Wall;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

const NFBAN: &str = env!("CARGO_BIN_EXE_nfban");

/// The command with nothing of this test's environment that changes what it shows.
fn nfban(arguments: &[&str]) -> Command {
    let mut command = Command::new(NFBAN);
    command.args(arguments).stdin(Stdio::null());
    for name in ["NFBAN_SOCKET", "NO_COLOR", "COLUMNS", "CLICOLOR_FORCE"] {
        command.env_remove(name);
    }
    command
}

fn run(arguments: &[&str]) -> Output {
    nfban(arguments).output().unwrap()
}

fn status(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("killed: {output:?}"))
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// That a command failed as it should: this status, nothing on standard output, one line on standard error.
fn assert_fails(output: &Output, with: i32, saying: &str) {
    assert_eq!(status(output), with, "{output:?}");
    assert_eq!(stdout(output), "");
    let said = stderr(output);
    assert!(said.starts_with("nfban: ") && said.ends_with('\n') && said.lines().count() == 1, "{said:?}");
    assert!(said.contains(saying), "{said:?}");
}

/// A daemon that answers every request in the way given.
struct Daemon {
    _server: Server,
    socket: PathBuf,
    _folder: tempfile::TempDir,
}

impl Daemon {
    fn answering(answer: impl Fn(Request) -> Reply + Send + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("control.sock");
        let limits = Limits { patience: Duration::from_secs(60), ..Limits::default() };
        let (server, inbox) =
            Server::start(Listener::bind(&socket, None).unwrap(), limits, Archive::default()).unwrap();
        std::thread::spawn(move || {
            let limit = Timespec { tv_sec: 60, tv_nsec: 0 };
            while poll(&mut [PollFd::new(&inbox, PollFlags::IN)], Some(&limit)) == Ok(1) {
                while let Some((request, responder)) = inbox.try_next() {
                    responder.send(answer(request));
                }
            }
        });
        Self { _server: server, socket, _folder: folder }
    }

    fn nfban(&self, arguments: &[&str]) -> Command {
        let mut command = nfban(arguments);
        command.env("NFBAN_SOCKET", &self.socket);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.nfban(arguments).output().unwrap()
    }

    /// On a terminal of so many columns.
    fn on_a_terminal(&self, columns: u16, variables: &str, arguments: &str) -> String {
        let command = format!("stty cols {columns}; env {variables} {NFBAN} {arguments}");
        let output = Command::new("script")
            .args(["-qec", &command, "/dev/null"])
            .env("NFBAN_SOCKET", &self.socket)
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .env_remove("COLUMNS")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(status(&output), 0, "{output:?}");
        stdout(&output).replace('\r', "")
    }
}

fn row(number: u32) -> BanRow {
    BanRow {
        time: Wall(1_767_323_045_000_006),
        target: Target(std::net::IpAddr::from(std::net::Ipv4Addr::from(0xc000_0200 + number)).into()),
        action: Measure::Restrict,
        rule: "tcp-syn-scan".into(),
        incident: None,
        timeout_s: Some(600),
        expires_s: Some(581),
        packets: 3,
        bytes: 180,
        reason: None,
        enforced: true,
    }
}

fn with_bans(number: u32) -> Daemon {
    Daemon::answering(move |_| Reply::Bans { bans: (0..number).map(row).collect() })
}

#[test]
fn a_wrong_command_line_is_2_and_says_where_to_look() {
    for (arguments, saying) in [
        (&["frobnicate"][..], "unrecognized subcommand 'frobnicate'"),
        (&["bans", "--jsn"], "see nfban bans --help"),
        (&["--socket"], "'--socket <PATH>'"),
        (&["bans", "--color", "sometimes"], "auto, always, never"),
        (&["ban"], "<ADDR|PREFIX>"),
        (&["ban", "example.org"], "an address or a prefix is expected"),
        (&["ban", "192.0.2.7/24"], "did you mean 192.0.2.7 or 192.0.2.0/24?"),
        (&["ban", "192.0.2.7", "--for", "10"], "10 needs a unit: s, m, h, d or w"),
        (&["ban", "192.0.2.7", "--for", "0s"], "nfban unban"),
        (&["ban", "192.0.2.7", "--reason", &"x".repeat(257)], "at most 256 octets"),
        (&["unban"], "<ADDR|PREFIX|--all>"),
        (&["unban", "--all", "192.0.2.7"], "cannot be used with"),
        (&["status", "\u{202e}x"], r"'\u{202e}x'"),
        (&["run", "--instance", "../x"], "letters, digits"),
        (&["--instance", "nfban", "check"], "take another name"),
        (&["replay", "--year", "1969"], "1970"),
        (&["replay", "--timezone", "Mars/Olympus"], "such as UTC"),
        (&["replay", "--home", "here"], "an address or a prefix is expected"),
        (&["demo", "--ruleset", "pf"], "nft, iptables"),
        (&["reload", "now"], "unexpected argument 'now'"),
    ] {
        assert_fails(&run(arguments), 2, saying);
    }
}

#[test]
fn without_a_subcommand_the_help_is_shown_and_nothing_is_done() {
    let output = run(&[]);
    assert_eq!(status(&output), 2);
    assert_eq!(stdout(&output), "");
    assert!(stderr(&output).contains("Usage: nfban"), "{output:?}");
}

/// The command line that DESIGN promises: a flag that is dropped or renamed fails here.
#[test]
fn the_help_of_every_subcommand_mentions_each_flag() {
    for (subcommand, flags) in [
        ("run", &["-c", "--config <FILE>", "/etc/nfban/nfban.yaml", "--dry-run", "--flush"][..]),
        ("check", &["-c", "--config <FILE>", "/etc/nfban/nfban.yaml", "--strict"]),
        (
            "replay",
            &[
                "[FILE]...",
                "-c",
                "--config <FILE>",
                "--home <PREFIX>",
                "--json",
                "-v",
                "--verbose",
                "--year <YEAR>",
                "--timezone <ZONE>",
                "[default: UTC]",
                "--rules <DIR>",
            ],
        ),
        ("demo", &["--ruleset <KIND>", "nft", "iptables"]),
        ("status", &["[ADDR]", "--json"]),
        ("bans", &["--json"]),
        ("ban", &["<ADDR|PREFIX>", "--for <DURATION>", "--reason <TEXT>"]),
        ("unban", &["<ADDR|PREFIX|--all>", "--all"]),
        ("ruleset", &["-c", "--config <FILE>"]),
        ("reload", &[]),
    ] {
        let output = run(&[subcommand, "--help"]);
        assert_eq!(status(&output), 0, "{subcommand}");
        assert_eq!(stderr(&output), "");
        let help = stdout(&output);
        for flag in flags.iter().chain(&[
            "--socket <PATH>",
            "NFBAN_SOCKET",
            "--instance <NAME>",
            "--color <WHEN>",
            "--help",
        ]) {
            assert!(help.contains(flag), "{subcommand} --help does not mention {flag}:\n{help}");
        }
        let whole = run(&["--help"]);
        assert!(
            stdout(&whole).contains(&format!("\n  {subcommand} ")),
            "{subcommand} is not in nfban --help"
        );
    }
}

#[test]
fn the_version_is_a_name_and_a_number() {
    let output = run(&["--version"]);
    assert_eq!((status(&output), stdout(&output)), (0, concat!("nfban ", env!("CARGO_PKG_VERSION"), "\n")));
}

#[test]
fn without_a_daemon_it_is_69_and_says_how_to_start_it() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("control.sock");
    for arguments in [
        &["status"][..],
        &["status", "192.0.2.7"],
        &["bans", "--json"],
        &["ban", "192.0.2.7"],
        &["unban", "--all"],
        &["reload"],
    ] {
        let output = nfban(arguments).arg("--socket").arg(&socket).output().unwrap();
        assert_fails(&output, 69, "systemctl start nfban");
        assert!(stderr(&output).contains(socket.to_str().unwrap()), "{output:?}");
    }
}

#[test]
fn an_instance_has_a_socket_and_a_configuration_of_its_own() {
    for command in ["status", "bans", "reload"] {
        assert_fails(&run(&["--instance", "no-such", command]), 69, "/run/nfban-no-such/control.sock");
    }
    for command in ["run", "check", "ruleset", "flush"] {
        let output = run(&[command, "--instance", "no-such"]);
        assert_eq!(status(&output), 78, "{output:?}");
        assert!(stderr(&output).starts_with("/etc/nfban/no-such.yaml: error: "), "{output:?}");
    }
    // What is named wins.
    assert_fails(&run(&["status", "--instance", "no-such", "--socket", "/nonexistent"]), 69, "/nonexistent");
    let output = run(&["check", "--instance", "no-such", "-c", "/nonexistent"]);
    assert!(stderr(&output).starts_with("/nonexistent: error: "), "{output:?}");
}

#[test]
fn each_kind_of_no_has_its_status_and_the_daemons_own_words() {
    for (refusal, with) in [
        (Refusal::No, 1),
        (Refusal::BadRequest, 1),
        (Refusal::Busy, 69),
        (Refusal::NoPermission, 77),
        (Refusal::BadConfiguration, 78),
    ] {
        let daemon = Daemon::answering(move |_| Reply::refused(refusal, "192.0.2.1 is a gateway\nof ours"));
        assert_fails(&daemon.run(&["ban", "192.0.2.1"]), with, r"192.0.2.1 is a gateway\nof ours");
    }
}

/// Whether there are other users for us: not so for an ordinary user, nor for the only user of a namespace.
fn others_exist() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap();
    let all = map.split_whitespace().nth(2).is_some_and(|count| count.parse::<u32>().unwrap() > 65_534);
    all && rustix::process::geteuid().is_root()
}

#[test]
fn a_user_who_may_not_open_the_socket_gets_77() {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::process::CommandExt as _;
    if !others_exist() {
        return;
    }
    let daemon = with_bans(0);
    let folder = daemon.socket.parent().unwrap();
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    // The build folder may be closed to other users.
    let copy = folder.join("nfban");
    std::fs::copy(NFBAN, &copy).unwrap();
    let mut command = Command::new(copy);
    command.args(["bans", "--socket"]).arg(&daemon.socket).uid(65_534).gid(65_534).current_dir("/");
    assert_fails(&command.output().unwrap(), 77, "sudo");
}

#[test]
fn an_answer_that_does_not_fit_the_question_is_no_answer() {
    let daemon = Daemon::answering(|_| Reply::Reloaded { mode: Mode::Enforce, off: false });
    for arguments in [&["status"][..], &["bans"], &["ban", "192.0.2.7"], &["unban", "192.0.2.7"]] {
        assert_fails(&daemon.run(arguments), 69, "another version");
    }
}

#[test]
fn ban_sends_whom_how_long_and_why() {
    let daemon = Daemon::answering(|request| {
        let Request::Ban { target, timeout_s, reason } = request else { panic!("{request:?}") };
        Reply::Banned { ban: BanRow { target, timeout_s, reason, ..row(0) } }
    });
    for (arguments, said) in [
        (&["ban", "192.0.2.7"][..], "192.0.2.7 is banned until it is lifted\n"),
        (
            &["ban", "2001:db8::/64", "--for", "1h30m", "--reason", "rude"],
            "2001:db8::/64 is banned for 1h 30m\n",
        ),
    ] {
        let output = daemon.run(arguments);
        assert_eq!((status(&output), stdout(&output), stderr(&output)), (0, said, ""));
    }
}

#[test]
fn unban_says_who_is_let_in_again() {
    let daemon = Daemon::answering(|request| match request {
        Request::Unban { target } => Reply::Unbanned { targets: vec![target] },
        _ => Reply::Unbanned { targets: vec![row(0).target, row(1).target] },
    });
    assert_eq!(stdout(&daemon.run(&["unban", "192.0.2.7"])), "192.0.2.7 is let in again\n");
    assert_eq!(stdout(&daemon.run(&["unban", "--all"])), "2 bans lifted\n");
    let nobody = Daemon::answering(|_| Reply::Unbanned { targets: vec![] });
    let output = nobody.run(&["unban", "--all"]);
    assert_eq!((status(&output), stdout(&output)), (0, "nobody was banned\n"));
}

#[test]
fn an_empty_listing_is_done_and_as_json_has_no_lines() {
    let daemon = with_bans(0);
    let output = daemon.run(&["bans"]);
    assert_eq!((status(&output), stdout(&output), stderr(&output)), (0, "nobody is banned\n", ""));
    let output = daemon.run(&["bans", "--json"]);
    assert_eq!((status(&output), stdout(&output), stderr(&output)), (0, "", ""));
}

#[test]
fn json_listings_are_one_object_a_line_with_a_type() {
    let output = with_bans(3).run(&["bans", "--json", "--color", "always"]);
    let lines: Vec<serde_json::Value> =
        stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    for line in lines {
        assert_eq!(line.get("type").unwrap(), "ban");
        assert_eq!(line.get("expires_s").unwrap(), 581);
    }

    let daemon = Daemon::answering(|request| {
        let Request::Status { address: Some(address) } = request else { panic!("{request:?}") };
        Reply::Address(Box::new(Address {
            address,
            protected: None,
            bans: vec![],
            open_incidents: vec![],
            incidents_total: 0,
            repetitions: 0,
            first_seen: None,
            last_seen: None,
            firings: vec![],
            counts: vec![],
        }))
    });
    let output = daemon.run(&["status", "192.0.2.7", "--json"]);
    assert!(stdout(&output).starts_with(r#"{"type":"address","address":"192.0.2.7","#), "{output:?}");
    assert_eq!(stdout(&daemon.run(&["status", "192.0.2.7"])).lines().next(), Some("192.0.2.7 is not banned"));
}

#[test]
fn colour_is_for_terminals_and_no_color_is_obeyed() {
    let daemon = with_bans(1);
    let colored = |text: &str| text.contains("\x1b[1m");
    assert!(!colored(stdout(&daemon.run(&["bans"]))), "a pipe");
    assert!(colored(stdout(&daemon.run(&["bans", "--color", "always"]))), "a pipe, but asked for");
    for (variables, arguments, expected) in [
        ("", "bans", true),
        ("NO_COLOR=1", "bans", false),
        ("NO_COLOR=", "bans", true),
        ("TERM=dumb", "bans", false),
        ("", "bans --color never", false),
        ("NO_COLOR=1", "bans --color always", true),
        ("", "bans --json", false),
    ] {
        let shown = daemon.on_a_terminal(80, variables, arguments);
        assert_eq!(colored(&shown), expected, "{variables} {arguments}: {shown:?}");
    }
}

#[test]
fn a_table_fits_the_terminal() {
    let daemon = with_bans(3);
    for columns in [40, 60, 100] {
        let shown = daemon.on_a_terminal(columns, "", "bans --color never");
        assert!(shown.lines().count() > 3, "{shown}");
        for line in shown.lines() {
            assert!(line.chars().count() <= columns.into(), "{columns}: {line:?}");
        }
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let daemon = with_bans(50_000);
    for arguments in [&["bans"][..], &["bans", "--json"]] {
        let mut child =
            daemon.nfban(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((status(&output), stderr(&output)), (0, ""), "{arguments:?}");
    }
    let mut help = nfban(&["--help"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(help.stdout.take());
    assert_eq!(stderr(&help.wait_with_output().unwrap()), "");
}

#[test]
fn an_output_that_takes_no_more_is_a_failure() {
    let full = std::fs::OpenOptions::new().write(true).open(Path::new("/dev/full")).unwrap();
    let output = with_bans(1).nfban(&["bans"]).stdout(full).output().unwrap();
    assert_fails(&output, 1, "cannot write to standard output");
}
