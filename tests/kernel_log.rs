//! The kernel's LOG text as a capture: out of /dev/kmsg, where it is the kernel's, and out of files.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test states its expectations by panicking"
)]

mod support;

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use support::daemon::{Daemon, NFBAN, Setup};
use support::{HOME4, Namespace, Pair, wait_until};

/// What the kernel writes of a SYN.
fn packet(prefix: &str, source: &str, port: u16) -> String {
    format!(
        "{prefix}IN=eth0 OUT= MAC=02:00:00:00:00:01:02:00:00:00:00:02:08:00 SRC={source} DST=192.0.2.1 LEN=40 TOS=0x00 PREC=0x00 \
         TTL=50 ID={port} PROTO=TCP SPT=40000 DPT={port} WINDOW=1024 RES=0x00 SYN URGP=0 "
    )
}

/// Twelve ports, as lines that a program wrote.
fn scan(program: &str, prefix: &str, source: &str) -> String {
    let line =
        |port| format!("2026-11-22T07:00:00.000000+00:00 host {program}: {}\n", packet(prefix, source, port));
    (1..=12).map(line).collect()
}

fn append(path: &Path, text: &str) {
    let mut file = File::options().create(true).append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

#[test]
fn a_scan_in_a_followed_file_is_restricted_and_what_other_programs_write_there_is_not_read() {
    let home = Namespace::new();
    let folder = TempDir::new().unwrap();
    let log: PathBuf = folder.path().join("kern.log");
    append(&log, &scan("kernel", "", "198.51.100.1"));
    let daemon = Daemon::start(&home, &format!("capture: [{{log: {}}}]", log.display()));
    append(&log, &scan("sshd[123]", "Invalid user ", "198.51.100.2"));
    append(&log, &scan("kernel", "nfban:accepted ", "198.51.100.3"));
    append(&log, &scan("kernel", "[   12.345678] ", "198.51.100.4"));
    append(
        &log,
        "2026-11-22T07:00:00+00:00 host kernel: IN=eth0 OUT= SRC=198.51.100.5 DST=192.0.2.1 LEN=x\n",
    );
    wait_until("the scan is found", || daemon.targets() == ["198.51.100.4"]);
    fs::rename(&log, folder.path().join("kern.log.1")).unwrap();
    append(&log, &scan("kernel", "nfban:refused ", "198.51.100.6"));
    wait_until("the one in the new file is found", || daemon.targets() == ["198.51.100.4", "198.51.100.6"]);
    let status = daemon.status();
    let capture = &status["captures"][0];
    assert_eq!(capture["source"], format!("log:{}", log.display()));
    // Old lines and those of other programs are not counted.
    assert_eq!((&capture["packets"], &capture["undecoded"]), (&36.into(), &1.into()));
    assert_eq!(status["recent_bans"][0]["action"], "restrict");
    assert_eq!(status["recent_incidents"][0]["evidence"], "spoofable");
}

/// LOG rules of network namespaces other than the first one say nothing unless a sysctl says otherwise, which stands in
/// the first one alone: that of cargo, which started this. Set back when dropped.
struct NamespacesLog {
    before: String,
}

impl NamespacesLog {
    fn new() -> Self {
        Self { before: Self::sysctl("cat").trim().to_owned() }.set("1")
    }

    fn set(self, value: &str) -> Self {
        Self::sysctl(&format!("echo {value} >"));
        self
    }

    fn sysctl(command: &str) -> String {
        let namespace = format!("--net=/proc/{}/ns/net", std::os::unix::process::parent_id());
        let line = format!("{command} /proc/sys/net/netfilter/nf_log_all_netns");
        let output = Command::new("nsenter").args([&namespace, "sh", "-c", &line]).output().unwrap();
        assert!(output.status.success(), "sysctl net.netfilter.nf_log_all_netns=1 is needed: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for NamespacesLog {
    fn drop(&mut self) {
        Self::sysctl(&format!("echo {} >", self.before));
    }
}

#[test]
fn a_scan_that_the_kernel_logs_is_restricted_and_a_forged_one_is_not() {
    let pair = Pair::new();
    let setup = Setup::new("capture: [{log: journal}]");
    if File::open("/dev/kmsg").is_err() {
        // An ordinary user's namespace: then the start must say what is missing.
        let answer = Daemon::refuses_to_start(&pair.home, &setup, Command::new(NFBAN));
        assert_eq!(answer.exit, Some(77), "{answer:?}");
        assert!(answer.err.contains("CAP_SYSLOG"), "{answer:?}");
        return;
    }
    let _sysctl = NamespacesLog::new();
    pair.peer_has("198.51.100.7");
    let daemon = Daemon::start_with(&pair.home, setup, &[]);
    let rules = "add table inet filter; add chain inet filter input { type filter hook input priority 0; }
        add rule inet filter input ip saddr 198.51.100.7 tcp dport 1-1000 log prefix \"nfban:refused \" drop";
    pair.home.sh(&format!("echo '{rules}' | nft -f -"));
    // Root may write to the device, and cannot make it the kernel's.
    let mut device = File::options().write(true).open("/dev/kmsg").unwrap();
    for port in 1..=12 {
        device
            .write_all(format!("<4>{}", packet("nfban:refused ", "198.51.100.9", port)).as_bytes())
            .unwrap();
    }
    // Nor can anybody who has the kernel quote him: a mount in a user namespace of one's own takes no rights.
    let quote = packet("", "198.51.100.10", 22).trim_end().to_owned();
    let mount =
        format!("mount -t overlay overlay -o 'lowerdir=/nonexist/{quote} ,upperdir=/x,workdir=/y' /mnt");
    let mount = Command::new("unshare").args(["-m", "sh", "-c", &mount]).output().unwrap();
    assert!(!mount.status.success(), "{mount:?}");
    pair.peer.sh(&format!(
        "nmap -n -Pn -sS -S 198.51.100.7 -e peer0 -p 1-40 --max-retries 0 --host-timeout 10s {HOME4}"
    ));
    wait_until("the scan is found", || daemon.targets() == ["198.51.100.7"]);
    let status = daemon.status();
    let capture = &status["captures"][0];
    assert_eq!(capture["source"], "log:journal");
    assert!(capture["packets"].as_u64().unwrap() >= 8, "{status}");
    assert_eq!((&capture["lost"], &capture["undecoded"]), (&0.into(), &1.into()));
    assert_eq!(status["recent_bans"][0]["action"], "restrict");
}
