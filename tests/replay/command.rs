//! Options, failures and their exit statuses, terminals and pipes.

use std::io::{Read as _, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::bed::{Bed, NFBAN, Told, command, data, run, run_piped};
use super::wire::{Link, SECOND, START, pcap, pcapng, scan, timed};

fn capture() -> Vec<u8> {
    pcap(Link::Raw, &timed(scan()))
}

#[test]
fn the_configuration_says_what_is_evidence_and_what_follows() {
    for (configuration, incidents, measure, timeout) in [
        ("", 1, Some("restrict"), 600),
        ("services: [1-30]", 0, None, 0),
        ("services: [udp/1-30]", 1, Some("restrict"), 600),
        ("home: [192.0.2.0/24]", 0, None, 0),
        ("ignore: [{protocol: tcp, dport: 1-30}]", 0, None, 0),
        ("ignore: [{saddr: 192.0.2.7}]", 0, None, 0),
        ("allow: [192.0.2.0/24]", 1, None, 0),
        ("respond: {spoofable: log}", 1, None, 0),
        ("respond: {spoofable: ban}", 1, Some("ban"), 600),
        ("ban: {times: [7m]}", 1, Some("restrict"), 420),
        ("nftables: {conntrack: never}", 1, None, 0),
        // A replay changes nothing anyhow.
        ("mode: watch", 1, Some("restrict"), 600),
    ] {
        let bed = Bed::new();
        let file = bed.file("nfban.yaml", configuration);
        let told = bed.replay(capture(), &["-c", &file]).done();
        assert_eq!(told.rules().len(), incidents, "{configuration}");
        let bans = told.all("ban");
        assert_eq!(bans.first().and_then(|ban| ban["action"].as_str()), measure, "{configuration}");
        if let Some(ban) = bans.first() {
            assert_eq!(ban["timeout_s"], timeout, "{configuration}");
        }
    }
}

#[test]
fn ban_times_escalate_as_configured() {
    let bed = Bed::new();
    let file = bed.file("nfban.yaml", "ban: {times: [1m, 5m]}");
    let packets = (0..3).flat_map(|round| (START + round * 1000 * SECOND..).zip(scan())).collect();
    let told = bed.replay(pcap(Link::Raw, &packets), &["--config", &file]).done();
    let times: Vec<_> = told.all("ban").iter().map(|ban| ban["timeout_s"].as_u64().unwrap()).collect();
    assert_eq!(times, [60, 300, 300]);
}

#[test]
fn home_tells_who_we_are() {
    for (options, incidents) in [
        (&["--home", "192.0.2.0/24"][..], 0),
        (&["--home", "192.0.2.7"], 0),
        (&["--home", "2001:db8::/32", "--home", "192.0.2.7"], 0),
        (&["--home", "203.0.113.5"], 1),
    ] {
        let told = Bed::new().replay(capture(), options).done();
        assert_eq!(told.rules().len(), incidents, "{options:?}");
    }
}

#[test]
fn rules_of_a_folder_replace_and_add_to_the_shipped_ones() {
    let bed = Bed::new();
    let folder = bed.path("rules.d");
    let folder = folder.to_str().unwrap();
    bed.file("rules.d/off.yaml", "- {id: tcp-port-scan, enabled: false}\n");
    let told = bed.replay(capture(), &["--rules", folder]).done();
    assert_eq!((told.rules(), told.summary("packets")), (vec![], 10));
    bed.file(
        "rules.d/own.yaml",
        "- {id: own, title: Own, match: {class: syn}, count: {distinct: dport}, per: source, threshold: 2, \
         window: 10s, respond: log, reason: test}\n",
    );
    let told = bed.replay(capture(), &["--rules", folder]).done();
    assert_eq!((told.rules(), told.all("ban").len()), (vec!["own".to_owned()], 0));
    bed.file("rules.d/off.yaml", "- {id: nonsense}\n");
    let told = bed.replay(capture(), &["--rules", folder]).failed(78, "nothing was replayed");
    assert!(told.stdout.is_empty() && told.stderr.contains("off.yaml:1:"), "{}", told.stderr);
}

#[test]
fn a_bad_configuration_is_78_and_replays_nothing() {
    let bed = Bed::new();
    let file = bed.file("nfban.yaml", "services: [22]\nserivces: [23]\nmode: never\n");
    let told = bed.replay(capture(), &["-c", &file]).failed(78, "nothing was replayed");
    assert!(told.stdout.is_empty());
    assert!(
        told.stderr.contains("nfban.yaml:2:1") && told.stderr.contains("nfban.yaml:3:"),
        "{}",
        told.stderr
    );
    bed.replay(capture(), &["-c", "/nonexistent/nfban.yaml"]).failed(78, "nothing was replayed");
}

#[test]
fn what_cannot_be_read_is_66_and_is_named() {
    let bed = Bed::new();
    let missing = bed.path("missing");
    let folder = bed.path("");
    let binary = bed.file("binary", [7, 0, 1, 2, 3, 0xff, 0, 9].repeat(100));
    let prose = bed.file("prose", "Dear reader,\nthis is no log.\nYours\n".repeat(50));
    let broken = bed.file("broken.gz", [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xff, 0xff, 0xff]);
    for (path, saying) in [
        (missing.to_str().unwrap(), "cannot open "),
        (folder.to_str().unwrap(), "cannot read "),
        (&binary, "neither a capture (pcap, pcapng) nor text"),
        (&prose, "neither a capture (pcap, pcapng), nor kernel LOG text, nor an access log"),
        (&broken, "cannot read "),
    ] {
        for json in [true, false] {
            let arguments = if json { vec!["--json", path] } else { vec![path] };
            let told = run(&arguments).failed(66, saying);
            assert!(told.stderr.contains(path), "{}", told.stderr);
            assert_eq!((told.stdout.as_str(), told.stderr.lines().count()), ("", 1), "{saying}");
        }
    }
    let told =
        run_piped(&["--json"], b"Dear reader,\nthis is no log.\n").failed(66, "standard input is neither");
    assert_eq!(told.stdout, "");
}

#[test]
fn an_ordinary_user_may_replay_and_what_is_closed_to_him_is_66() {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::process::CommandExt as _;
    let bed = Bed::new();
    let open = bed.file("open", capture());
    let closed = bed.file("closed", capture());
    // The build folder may be closed to other users.
    let copy = bed.path("nfban");
    std::fs::copy(NFBAN, &copy).unwrap();
    for (path, mode) in [(bed.path(""), 0o755), (open.clone().into(), 0o644), (closed.clone().into(), 0)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let replay = |file: &str| {
        let mut command = Command::new(&copy);
        command.args(["replay", "--json", file]).current_dir("/").stdin(Stdio::null());
        // In a user namespace of one user there is no other to become.
        let map = std::fs::read_to_string("/proc/self/uid_map").unwrap();
        let users: u32 = map.split_whitespace().nth(2).unwrap().parse().unwrap();
        if rustix::process::geteuid().is_root() && users > 65_534 {
            command.uid(65_534).gid(65_534);
        }
        (users, Told::of(&command.output().unwrap()))
    };
    assert_eq!(replay(&open).1.done().rules(), ["tcp-syn-scan"]);
    let (users, told) = replay(&closed);
    // Root of a user namespace opens its user's files whatever their mode.
    if users > 65_534 {
        assert_eq!(told.failed(66, "cannot open ").stdout, "");
    }
}

#[test]
fn a_capture_that_breaks_off_is_told_up_to_there() {
    use flate2::Compression;
    use flate2::write::GzEncoder;
    // Long enough that the end of it is not in the first buffer, and hard enough to compress that the cut is near the end.
    let packets = timed(scan().into_iter().chain((0..3000).map(|port| {
        let mut packet = super::wire::syn(port);
        packet[24..28].copy_from_slice(&u32::from(port).wrapping_mul(0x9e37_79b1).to_be_bytes());
        packet
    })));
    for write in [pcap, pcapng] {
        let whole = write(Link::Ethernet, &packets);
        let cut = &whole[..whole.len() - 7];
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&whole).unwrap();
        let gzip = gzip.finish().unwrap();
        let gzip = &gzip[..gzip.len() - 20];
        for (octets, saying) in [(cut, "record 3010 at octet"), (gzip, "record ")] {
            let told = Bed::new().replay(octets, &[]).failed(66, saying);
            let piped = run_piped(&["--json"], octets).failed(66, saying);
            for told in [&told, &piped] {
                assert_eq!(told.rules(), ["tcp-syn-scan"]);
                assert!(told.summary("packets") > 2500, "{}", told.stdout);
                assert_eq!((told.all("incident-end").len(), told.stderr.lines().count()), (1, 1));
            }
        }
    }
    // A file header alone, cut.
    let told = Bed::new().replay(&capture()[..10], &[]).failed(66, "record 1 at octet 0");
    assert_eq!(told.summary("packets"), 0);
}

#[test]
fn what_came_before_an_input_that_cannot_be_read_is_told() {
    let bed = Bed::new();
    let good = bed.file("good", capture());
    let missing = bed.path("missing");
    let told = run(&["--json", &good, missing.to_str().unwrap()]).failed(66, "cannot open ");
    assert_eq!((told.rules(), told.summary("packets")), (vec!["tcp-syn-scan".to_owned()], 10));
}

#[test]
fn verbose_shows_the_place_of_what_is_not_understood() {
    let mut packets = timed(scan());
    packets[4].1[0] = 0x41;
    let bed = Bed::new();
    let quiet = bed.replay(pcap(Link::Raw, &packets), &[]).done();
    let told = bed.replay(pcap(Link::Raw, &packets), &["-v"]);
    assert_eq!((told.status, &told.stdout), (0, &quiet.stdout));
    let expected =
        format!("nfban: {}: record 5: ip-header-length-below-minimum\n", bed.path("input").display());
    assert_eq!(told.stderr, expected);

    let log = "May  7 18:00:00 gate kernel: eth0: link up\nMay  7 18:00:01 gate kernel: IN=eth0 OUT= SRC=192.0.2.7 \
               DST=203.0.113.5 LEN=40 TTL=9 PROTO=TCP SPT=1 DPT=2\n";
    let told = run_piped(&["--json", "--verbose"], log.as_bytes());
    assert_eq!((told.status, told.summary("undecoded")), (0, 1));
    assert!(told.stderr.starts_with("nfban: standard input: line 2: "), "{}", told.stderr);
    assert_eq!(told.stderr.lines().count(), 1);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let bed = Bed::new();
    let file = bed.file("capture", capture());
    for arguments in [&["--json", file.as_str()][..], &[&file]] {
        let mut child = command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), b"".as_slice()));
    }
}

#[test]
fn an_output_that_takes_no_more_is_a_failure() {
    let bed = Bed::new();
    let file = bed.file("capture", capture());
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = command(&["--json", &file]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("cannot write to standard output"));
}

/// How long what is awaited may take.
const LIMIT: Duration = Duration::from_secs(30);
/// For how long it is looked that something does not come: longer than the moment for which no bar is shown.
const WHILE: Duration = Duration::from_millis(600);

/// Takes in what a child prints, as it comes.
struct Printed {
    text: String,
    more: mpsc::Receiver<String>,
}

impl Printed {
    fn by(child: &mut Child) -> Self {
        let mut stdout = child.stdout.take().unwrap();
        let (sender, more) = mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = stdout.read(&mut buffer) {
                let _ = sender.send(String::from_utf8_lossy(&buffer[..length]).into_owned());
            }
        });
        Self { text: String::new(), more }
    }

    /// Feeds a log into `pipe` until `wanted` was printed, or for a while if nothing is; then the rest of what is printed.
    fn while_feeding(mut self, mut pipe: impl Write, wanted: Option<&str>) -> String {
        let log = std::fs::read(data("log/classic-syslog.log")).unwrap().repeat(100);
        let start = Instant::now();
        while wanted.map_or(start.elapsed() < WHILE, |wanted| !self.text.contains(wanted)) {
            assert!(start.elapsed() < LIMIT, "{wanted:?} never came: {:?}", self.text);
            pipe.write_all(&log).unwrap();
            self.text.extend(self.more.try_iter());
        }
        drop(pipe);
        self.text.extend(self.more.iter());
        self.text
    }
}

#[test]
fn what_comes_through_a_pipe_is_told_as_it_comes() {
    // The clock of this log steps back each time it begins again; what counts is that incidents are told before its end.
    let bed = Bed::new();
    bed.file(
        "rules.d/one.yaml",
        "- {id: one, title: One, match: {class: syn}, count: packets, per: source, threshold: 1, window: 1s, \
         respond: log, reason: test}\n",
    );
    let rules = bed.path("rules.d");
    let mut child = command(&["--json", "--rules", rules.to_str().unwrap()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdin = child.stdin.take().unwrap();
    let told = Printed::by(&mut child).while_feeding(stdin, Some(r#""rule":"one""#));
    assert!(child.wait().unwrap().success());
    assert!(told.lines().last().unwrap().contains("summary"), "{told}");
}

#[test]
fn a_long_input_has_a_progress_bar_on_a_terminal_and_nowhere_else() {
    /// How much was read is shown in KiB, MiB and so on.
    const BAR: &str = "iB";
    let bed = Bed::new();
    let on_terminal = |name: &str, redirection: &str, wanted: Option<&str>| {
        let pipe = bed.path(name);
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        // The terminal that `script` makes is standard input, output and error; the log comes through a pipe with a name.
        let line = format!("{NFBAN} replay {} {redirection}", pipe.display());
        let mut child = Command::new("script")
            .args(["-qec", &line, "/dev/null"])
            .env("TERM", "xterm")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let feed = std::fs::OpenOptions::new().write(true).open(&pipe).unwrap();
        let shown = Printed::by(&mut child).while_feeding(feed, wanted);
        assert!(child.wait().unwrap().success());
        shown
    };
    let shown = on_terminal("both", "", Some(BAR));
    assert!(shown.contains("incidents"), "{shown:?}");
    // Standard error is still a terminal.
    on_terminal("stdout", "> /dev/null", Some(BAR));
    for (name, redirection) in [
        ("stderr", "2> /dev/null"),
        ("json-stderr", "--json 2> /dev/null"),
        // It would be written into what is copied.
        ("json", "--json"),
    ] {
        let shown = on_terminal(name, redirection, None);
        assert!(!shown.contains(BAR), "{redirection}: {shown:?}");
    }
}

#[test]
fn a_short_input_has_no_progress_bar_on_a_terminal_either() {
    let bed = Bed::new();
    let file = bed.file("capture", capture());
    let output = Command::new("script")
        .args(["-qec", &format!("{NFBAN} replay {file}"), "/dev/null"])
        .env("TERM", "xterm")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains("1 incident") && !shown.contains('\x1b'), "{shown:?}");
}
