//! `nfban demo` as root and as an ordinary user: it comes to its end, and nothing of it is left however it ends.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test states its expectations by panicking")]

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;

/// How long a condition may take before the test fails.
const LIMIT: Duration = Duration::from_secs(20);

/// The demonstration, started by somebody in a process group of its own, with a folder for temporary files of its own.
struct Demo {
    child: Child,
    group: Pid,
    folder: TempDir,
    links: String,
}

impl Demo {
    /// Starts `nfban demo` with `arguments` through the program and arguments `by`.
    fn start(by: &[&str], arguments: &[&str]) -> Self {
        let folder = tempfile::Builder::new().permissions(Permissions::from_mode(0o1777)).tempdir().unwrap();
        // Where the sources are need not be a place that an ordinary user may look at.
        let program = folder.path().join("nfban");
        // A copy made by this process could still be open for writing in a child that another test has just forked.
        let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_nfban")).arg(&program).status().unwrap();
        assert!(copied.success());
        let temporary = folder.path().join("tmp");
        fs::create_dir(&temporary).unwrap();
        fs::set_permissions(&temporary, Permissions::from_mode(0o1777)).unwrap();
        let mut line: Vec<_> = by.iter().map(PathBuf::from).collect();
        line.extend([program, "demo".into()]);
        line.extend(arguments.iter().map(PathBuf::from));
        let (first, rest) = line.split_first().unwrap();
        let links = links();
        let child = Command::new(first)
            .args(rest)
            .env("TMPDIR", &temporary)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let group = Pid::from_child(&child);
        Self { child, group, folder, links }
    }

    /// Waits for its end; gives its status and both outputs.
    fn end(mut self) -> (ExitStatus, String, String) {
        let (mut told, mut errors) = (String::new(), String::new());
        if let Some(mut stdout) = self.child.stdout.take() {
            stdout.read_to_string(&mut told).unwrap();
        }
        self.child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        let status = self.child.wait().unwrap();
        self.assert_nothing_is_left();
        (status, told, errors)
    }

    /// Reads on until a line with `words` was told.
    fn read_until(&mut self, words: &str) {
        let mut lines = BufReader::new(self.child.stdout.as_mut().unwrap()).lines();
        if !lines.any(|line| line.unwrap().contains(words)) {
            let mut errors = String::new();
            self.child.stderr.as_mut().unwrap().read_to_string(&mut errors).unwrap();
            panic!("it never says {words}: {errors}");
        }
    }

    fn temporary_files(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(self.folder.path().join("tmp")).unwrap();
        files.map(|entry| entry.unwrap().path()).collect()
    }

    /// Without a process there is no namespace: nothing else holds one of its.
    fn assert_nothing_is_left(&self) {
        wait_until("its processes are gone", || members(self.group).is_empty());
        wait_until("its files are gone", || self.temporary_files().is_empty());
        assert_eq!(links(), self.links, "the network it was started in is as before");
    }
}

/// The processes of a group that are not merely waiting to be buried.
fn members(group: Pid) -> Vec<String> {
    let processes = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("stat")).ok());
    processes
        .filter(|stat| {
            // The name is in parentheses and can hold anything; behind it are state, parent and group (proc(5)).
            let mut fields = stat.rsplit_once(") ").unwrap().1.split(' ');
            let (state, of) = (fields.next().unwrap(), fields.nth(1).unwrap());
            state != "Z" && of == group.to_string()
        })
        .collect()
}

/// Names of the network interfaces here.
fn links() -> String {
    let devices = fs::read_to_string("/proc/net/dev").unwrap();
    devices.lines().skip(2).map(|line| line.split(':').next().unwrap().trim()).collect::<Vec<_>>().join(" ")
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LIMIT, "waited {LIMIT:?} in vain until {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// How to start a program as an ordinary user: root becomes nobody, and who is root of a user namespace only (the tests
/// run so for ordinary users) becomes an ordinary user of another.
fn as_an_ordinary_user() -> &'static [&'static str] {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap();
    let everybody = map.split_whitespace().eq(["0", "0", "4294967295"]);
    if rustix::process::geteuid().is_root() && everybody {
        &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "env", "HOME=/nonexistent"]
    } else {
        &["unshare", "--user", "--map-user=1000", "--map-group=1000"]
    }
}

/// What must be told, in this order.
const TOLD: [&str; 18] = [
    "connects to its ports 22 and 80",
    "2 open ports and 5 closed ones: 21 of 24, no scan yet",
    "incident tcp-syn-scan from 198.51.100.7: 8 packets, ports 21-23, 53, 80, 111, 135, 445",
    "holds in set restrict4, within ",
    "198.51.100.7 ",
    "comment \"tcp-syn-scan\"",
    "has dropped those 13 packets",
    "still serves 22 and 80",
    "IPv6",
    "incident tcp-null-scan from 2001:db8:bad::/64",
    "holds in set restrict6, within ",
    "comment \"tcp-null-scan\"",
    "has dropped those 7 packets",
    "no longer holds 198.51.100.7",
    "answered again",
    "no longer holds 2001:db8:bad::/64",
    "answered again",
    "Shown in",
];

fn assert_told_whole(by: &[&str], arguments: &[&str]) {
    let start = Instant::now();
    let (status, told, errors) = Demo::start(by, arguments).end();
    assert!(status.success(), "{status}\n{told}\n{errors}");
    assert_eq!(errors, "");
    let words = told.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut rest = words.as_str();
    for phrase in TOLD {
        rest = rest.split_once(phrase).unwrap_or_else(|| panic!("{phrase:?} is not in its place:\n{told}")).1;
    }
    assert!(told.lines().all(|line| line.chars().count() <= 80), "a line is too long:\n{told}");
    assert!(!told.contains('\x1b'), "colour without a terminal:\n{told}");
    // Four seconds of it are the wait for the end of the bans; the rest is for a machine that is busy with other tests.
    assert!(start.elapsed() < Duration::from_secs(15), "it takes {:?}", start.elapsed());
}

#[test]
fn root_sees_it_whole_and_nothing_is_left() {
    assert_told_whole(&["env"], &[]);
}

#[test]
fn an_ordinary_user_sees_it_whole_and_nothing_is_left() {
    assert_told_whole(as_an_ordinary_user(), &[]);
}

#[test]
fn it_is_the_same_behind_iptables() {
    assert_told_whole(&["env"], &["--ruleset", "iptables"]);
}

#[test]
fn interrupted_at_the_terminal_it_leaves_nothing() {
    let mut demo = Demo::start(&["env"], &[]);
    demo.read_until("incident tcp-syn-scan");
    kill_process_group(demo.group, Signal::INT).unwrap();
    let (status, _, errors) = demo.end();
    assert_eq!(status.signal(), Some(Signal::INT.as_raw()), "{status}\n{errors}");
    assert!(errors.contains("nothing of the demonstration is left"), "{errors}");
}

#[test]
fn terminated_by_somebody_else_it_leaves_nothing() {
    let mut demo = Demo::start(as_an_ordinary_user(), &[]);
    demo.read_until("starts nfban run");
    kill_process(demo.group, Signal::TERM).unwrap();
    let (status, ..) = demo.end();
    assert_eq!(status.signal(), Some(Signal::TERM.as_raw()), "{status}");
}

#[test]
fn killed_in_the_middle_it_leaves_nothing() {
    let mut demo = Demo::start(&["env"], &[]);
    demo.read_until("incident tcp-syn-scan");
    kill_process(demo.group, Signal::KILL).unwrap();
    let (status, ..) = demo.end();
    assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "{status}");
}

#[test]
fn what_does_not_hold_is_an_error_and_never_told() {
    let mut demo = Demo::start(&["env"], &[]);
    demo.read_until("The end of it");
    let pid = demo.group.to_string();
    let lift = ["-t", &pid, "-n", "nft", "flush", "set", "inet", "nfban", "restrict4"];
    assert!(Command::new("nsenter").args(lift).status().unwrap().success());
    let (status, told, errors) = demo.end();
    assert_eq!(status.code(), Some(1), "{told}\n{errors}");
    assert!(errors.contains("this did not hold: the element of 198.51.100.7 stays 4s"), "{errors}");
    assert!(!told.contains("no longer holds"), "{told}");
}

#[test]
fn where_no_folder_can_be_made_it_says_what_to_set() {
    let (status, told, errors) = Demo::start(&["env", "TMPDIR=/nonexistent"], &[]).end();
    assert_eq!((status.code(), told.as_str()), (Some(1), ""), "{errors}");
    assert!(errors.contains("set TMPDIR"), "{errors}");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let mut demo = Demo::start(&["env"], &[]);
    demo.read_until("nfban demo");
    drop(demo.child.stdout.take());
    let (status, _, errors) = demo.end();
    assert!(status.success(), "{status}\n{errors}");
    assert_eq!(errors, "");
}

#[test]
fn where_user_namespaces_are_forbidden_it_says_by_which_setting() {
    let forbid = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$@\"";
    let by = ["unshare", "--user", "--map-user=1000", "--keep-caps", "sh", "-c", forbid, "sh"];
    let (status, told, errors) = Demo::start(&by, &[]).end();
    assert_eq!((status.code(), told.as_str()), (Some(77), ""), "{errors}");
    assert!(errors.contains("user.max_user_namespaces is 0; run it as root"), "{errors}");
}

#[test]
fn outside_of_private_namespaces_the_second_process_does_nothing() {
    let (status, told, errors) = Demo::start(&["env", "NFBAN_DEMO_FOLDER=/nonexistent"], &[]).end();
    assert_eq!((status.code(), told.as_str()), (Some(1), ""), "{errors}");
    assert!(errors.contains("unset NFBAN_DEMO_FOLDER"), "{errors}");
}
