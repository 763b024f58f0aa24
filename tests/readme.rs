//! What README.md shows is a real session: its commands are run against a daemon on the running kernel, and they print what
//! is written there, but for numbers and times. `UPDATE_GOLDEN=1` writes what they print.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test states its expectations by panicking"
)]

mod support;

use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use ipnet::IpNet;
use rustix::process::{Pid, Signal, kill_process};
use support::daemon::{Daemon, NFBAN};
use support::{Namespace, Pair, wait_until};

const SCANNER4: &str = "198.51.100.7";
const SCANNER6: &str = "2001:db8:bad::7";
const GATEWAY: &str = "192.0.2.254";
const CONFIG: &str = "
capture:
  - nflog: {group: 100}
  - nflog: {group: 101, verdict: accepted}
  - nflog: {group: 102, verdict: fragment}
  - nflog: {group: 103, verdict: outbound}
services: [22, 80, 443]
";

fn readme() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")
}

/// The parts of a text by its fences: between, inside, between, … Those inside begin with what stands behind the fence.
fn parts(text: &str) -> Vec<&str> {
    text.split("```").collect()
}

/// Runs a line of shell as a reader would, in `folder`: what it printed on both streams.
fn run(home: &Namespace, daemon: &Daemon, line: &str) -> String {
    let programs = Path::new(NFBAN).parent().unwrap().display();
    let (folder, socket) = (daemon.setup().folder().display(), daemon.setup().socket());
    let socket = socket.display();
    let set = format!("cd {folder}; export PATH=\"{folder}/bin:{programs}:$PATH\" NFBAN_SOCKET={socket}");
    home.try_sh(&format!("{set}; {line}")).1
}

/// A `console` block anew: each command that it has, and what that prints now.
fn again(block: &str, run: impl Fn(&str) -> String) -> String {
    let mut anew = String::from("console\n");
    for line in block.lines() {
        if let Some(typed) = line.strip_prefix("# ").or_else(|| line.strip_prefix("$ ")) {
            anew += &format!("{line}\n{}", run(typed));
        }
    }
    anew
}

/// A line without what differs from run to run: numbers, times, how much of a list fits.
fn shape(line: &str) -> String {
    let mut shape: Vec<&str> = Vec::new();
    for word in line.split_whitespace() {
        let bare = word.trim_matches(|c| "(),:;.".contains(c));
        let is_address = bare.parse::<IpAddr>().is_ok() || bare.parse::<IpNet>().is_ok();
        let bare = bare.trim_start_matches("tcp/");
        let is_number = bare.starts_with(|c: char| c.is_ascii_digit()) || bare == "…" || bare.is_empty();
        match (is_address, is_number) {
            (true, _) => shape.push(bare),
            (false, true) if shape.last() == Some(&"N") => {}
            (false, true) => shape.push("N"),
            (false, false) => shape.push(word),
        }
    }
    shape.join(" ")
}

/// The lines of a text. Left out is what an address counts for besides: whether it does depends on how many of its packets came
/// before the ban.
fn shapes(text: &str) -> Vec<String> {
    let counted =
        ["Counted", "What counts now", "RULE COUNT", "RULE OF COUNT", "tcp-port-scan ", "distributed-"];
    let is_counted = |line: &String| line.is_empty() || counted.iter().any(|begins| line.starts_with(begins));
    text.lines().map(shape).filter(|line| !is_counted(line)).collect()
}

/// tcpdump at the interface of `home`, once it listens.
fn capture(home: &Namespace, folder: &Path) -> Child {
    let said = folder.join("tcpdump.log");
    let log = fs::File::create(&said).unwrap();
    let tcpdump = home.enter(|| {
        let mut command = Command::new("tcpdump");
        command.args(["-i", "up0", "-U", "-Z", "root", "-w"]).arg(folder.join("eth0.pcap"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap()
    });
    wait_until("tcpdump listens", || fs::read_to_string(&said).unwrap().contains("listening on"));
    tcpdump
}

/// What the lines of `sh` blocks read besides.
fn prepare(folder: &Path) {
    let packet = "nfban:refused IN=eth0 OUT= MAC= SRC=203.0.113.9 DST=192.0.2.1 LEN=44 TOS=0x00 PREC=0x00 TTL=50 \
                  ID=1 PROTO=TCP SPT=40000 DPT=23 WINDOW=1024 RES=0x00 SYN URGP=0";
    let log = fs::File::create(folder.join("kern.log.1.gz")).unwrap();
    let mut log = flate2::write::GzEncoder::new(log, flate2::Compression::fast());
    writeln!(log, "Nov 21 23:00:00 host kernel: [ 7.000000] {packet}").unwrap();
    log.finish().unwrap();
    // Stands for the machine's own journal, which has no such lines.
    let journal = folder.join("bin/journalctl");
    fs::create_dir(folder.join("bin")).unwrap();
    let entry = serde_json::json!({
        "_TRANSPORT": "kernel", "__REALTIME_TIMESTAMP": "1763805600000000", "SYSLOG_IDENTIFIER": "kernel", "MESSAGE": packet,
    });
    fs::write(&journal, format!("#!/bin/sh\ncat <<'END'\n{entry}\nEND\n")).unwrap();
    fs::set_permissions(&journal, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn the_commands_of_the_readme_do_what_it_shows() {
    let pair = Pair::new();
    [SCANNER4, SCANNER6].iter().for_each(|address| pair.peer_has(address));
    pair.peer.sh(&format!(
        "ip route change 192.0.2.0/24 dev peer0 src {SCANNER4} && \
         ip -6 route replace 2001:db8:1::/64 dev peer0 metric 1 src {SCANNER6}"
    ));
    pair.peer.sh(&format!("ip addr add {GATEWAY}/24 dev peer0"));
    pair.home.sh(&format!("ip route change default via {GATEWAY}"));
    pair.home.sh(concat!("nft -f ", env!("CARGO_MANIFEST_DIR"), "/examples/nftables/server.nft"));
    let _published = pair.home.enter(|| [22, 80].map(|port| TcpListener::bind(("::", port)).unwrap()));
    let daemon = Daemon::start(&pair.home, CONFIG);
    let folder = daemon.setup().folder();
    prepare(folder);
    let mut tcpdump = capture(&pair.home, folder);
    pair.peer.sh("nmap -n -Pn -r -sS -T4 --host-timeout 12 192.0.2.1");
    wait_until("the scan is restricted", || daemon.bans().len() == 1);
    pair.peer.sh("nmap -n -Pn -r -6 -sN -T4 -p 21-25,53,80,110,143,445 --host-timeout 12 2001:db8:1::1");
    wait_until("and the other one", || daemon.bans().len() == 2);
    kill_process(Pid::from_child(&tcpdump), Signal::INT).unwrap();
    assert!(tcpdump.wait().unwrap().success());
    fs::copy(folder.join("eth0.pcap"), folder.join("wan.pcapng")).unwrap();

    let text = fs::read_to_string(readme()).unwrap();
    let mut anew: Vec<String> = Vec::new();
    let mut shown = 0;
    for part in parts(&text) {
        let is_console = part.starts_with("console\n");
        anew.push(if is_console {
            again(part, |line| run(&pair.home, &daemon, line))
        } else {
            part.to_owned()
        });
        shown += usize::from(is_console);
        if part.starts_with("sh\n") {
            // What sets a server up would do so to this machine: tests/package/documents runs it in one of its own.
            for line in part.lines().filter(|line| line.contains("nfban replay")) {
                let config = daemon.setup().config();
                let line = line.replace("/etc/nfban/nfban.yaml", &config.display().to_string());
                let (done, said) =
                    (run(&pair.home, &daemon, &format!("{line}\n[ $? = 0 ] && echo DONE")), line);
                assert!(done.contains("DONE"), "{said}:\n{done}");
            }
        }
    }
    assert_eq!(shown, 2, "the session and the replay of it");
    let anew = anew.join("```");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(readme(), anew).unwrap();
        return;
    }
    for (shown, printed) in shapes(&text).into_iter().zip(shapes(&anew).into_iter().chain([String::new()])) {
        assert_eq!(shown, printed, "UPDATE_GOLDEN=1 writes README.md anew");
    }
}
