//! Kernel LOG text: every dialect behind every carrier, and what the lines mean.

use super::bed::{Bed, Told, data, run};
use super::wire::PORTS;

/// A carrier: what stands around the kernel's message number `n`, and the time its first line tells.
type Carrier = (&'static str, fn(usize, &str) -> String, &'static str);

const CARRIERS: [Carrier; 14] = [
    ("syslog", |n, m| format!("May  7 18:00:{n:02} gate kernel: {m}"), "2024-05-07T18:00:00.000000Z"),
    (
        "syslog with the time since boot",
        |n, m| format!("May  7 18:00:{n:02} gate kernel: [ 1259.{n:06}] {m}"),
        "2024-05-07T18:00:00.000000Z",
    ),
    (
        "rsyslog",
        |n, m| format!("2024-05-07T18:00:{n:02}.000000+00:00 gate kernel: [ 1259.{n:06}] {m}"),
        "2024-05-07T18:00:00.000000Z",
    ),
    (
        "RFC 5424",
        |n, m| format!("<4>1 2024-05-07T18:00:{n:02}.25Z gate kernel - - - {m}"),
        "2024-05-07T18:00:00.250000Z",
    ),
    (
        "journal, short-precise",
        |n, m| format!("May 07 18:00:{n:02}.250000 gate kernel: {m}"),
        "2024-05-07T18:00:00.250000Z",
    ),
    (
        "journal, short-iso",
        |n, m| format!("2024-05-07T20:00:{n:02}+0200 gate kernel: {m}"),
        "2024-05-07T18:00:00.000000Z",
    ),
    (
        "journal, short-iso-precise",
        |n, m| format!("2024-05-07T20:00:{n:02}.250000+02:00 gate kernel: {m}"),
        "2024-05-07T18:00:00.250000Z",
    ),
    (
        "journal, short-full",
        |n, m| format!("Tue 2024-05-07 18:00:{n:02} UTC gate kernel: {m}"),
        "2024-05-07T18:00:00.000000Z",
    ),
    (
        "journal, short-unix",
        |n, m| format!("17151048{n:02}.250000 gate kernel: {m}"),
        "2024-05-07T18:00:00.250000Z",
    ),
    (
        "journal, without the host",
        |n, m| format!("May 07 18:00:{n:02} kernel: {m}"),
        "2024-05-07T18:00:00.000000Z",
    ),
    (
        "journal, JSON",
        |n, m| {
            let message = serde_json::to_string(m).unwrap();
            format!(
                r#"{{"_TRANSPORT":"kernel","SYSLOG_IDENTIFIER":"kernel","__REALTIME_TIMESTAMP":"17151048{n:02}000000","MESSAGE":{message}}}"#
            )
        },
        "2024-05-07T18:00:00.000000Z",
    ),
    ("dmesg", |n, m| format!("[ 1259.{n:06}] {m}"), "1970-01-01T00:20:59.000000Z"),
    ("dmesg -T", |n, m| format!("[Tue May  7 18:00:{n:02} 2024] {m}"), "2024-05-07T18:00:00.000000Z"),
    ("nothing", |_, m| m.to_owned(), "1970-01-01T00:00:00.000000Z"),
];

const PREFIXES: [&str; 7] = [
    "[IPTABLES REJECT]: ",
    "FINAL_REJECT: ",
    "filter_IN_public_REJECT: ",
    "[UFW BLOCK] ",
    "nfban:refused ",
    "nft refused: ",
    "",
];

/// The words of a SYN as a scanner makes it.
fn words(v6: bool, port: u16) -> String {
    const LINK: &str = "IN=eth0 OUT= MAC=52:54:0d:00:23:10:00:1b:ed:b0:c1:00:";
    let tcp = format!("PROTO=TCP SPT=40000 DPT={port} WINDOW=1024 RES=0x00 SYN URGP=0 ");
    if v6 {
        let (saddr, daddr) =
            ("2001:0db8:0007:0000:0000:0000:0000:0007", "2001:0db8:0005:0000:0000:0000:0000:0005");
        format!("{LINK}86:dd SRC={saddr} DST={daddr} LEN=64 TC=0 HOPLIMIT=50 FLOWLBL=0 {tcp}")
    } else {
        format!("{LINK}08:00 SRC=192.0.2.7 DST=203.0.113.5 LEN=44 TOS=0x00 PREC=0x00 TTL=50 ID=4242 {tcp}")
    }
}

fn lines<'a>(carrier: fn(usize, &str) -> String, messages: impl IntoIterator<Item = &'a String>) -> String {
    messages.into_iter().enumerate().map(|(number, message)| carrier(number, message) + "\n").collect()
}

fn scan(prefix: &str, v6: bool) -> Vec<String> {
    PORTS.iter().map(|&port| format!("{prefix}{}", words(v6, port))).collect()
}

fn replay(text: &str, options: &[&str]) -> Told {
    Bed::new().replay(text, options)
}

#[test]
fn a_scan_in_every_dialect_behind_every_carrier_is_one_incident() {
    for prefix in PREFIXES {
        for v6 in [false, true] {
            for (name, carrier, time) in CARRIERS {
                let text = lines(carrier, &scan(prefix, v6));
                let told = replay(&text, &["--year", "2024"]).done();
                assert_eq!(told.rules(), ["tcp-syn-scan"], "{name}: {text}");
                let incident = &told.all("incident")[0];
                assert_eq!(incident["source"], if v6 { "2001:db8:7::/64" } else { "192.0.2.7" }, "{name}");
                assert_eq!(incident["first_seen"], time, "{name}: {text}");
                assert_eq!((told.summary("packets"), told.summary("undecoded")), (10, 0), "{name}");
            }
        }
    }
}

#[test]
fn a_prefix_that_tells_another_verdict_is_obeyed() {
    for prefix in ["nfban:accepted ", "[UFW ALLOW] ", "[UFW AUDIT] ", "TRACE: raw:PREROUTING:policy:2 "] {
        let told = replay(&lines(CARRIERS[0].1, &scan(prefix, false)), &[]).done();
        assert_eq!((told.rules(), told.summary("packets")), (vec![], 10), "{prefix}");
    }
}

#[test]
fn the_lines_that_an_administrator_showed_give_no_incident_and_are_all_decoded() {
    let file = data("log/classic-syslog.log");
    let told = run(&["--json", "--year", "2016", file.to_str().unwrap()]).done();
    assert_eq!((told.summary("packets"), told.summary("undecoded")), (5, 0));
    assert_eq!(told.rules(), [""; 0]);
}

/// A NetBIOS broadcast, an IGMP query and single probes, again and again, as in those lines.
fn background() -> Vec<String> {
    let lines = std::fs::read_to_string(data("log/classic-syslog.log")).unwrap();
    let messages = lines.lines().map(|line| line.split_once(" kernel: ").unwrap().1.to_owned());
    let messages: Vec<_> = messages.collect();
    (0..10).flat_map(|_| messages.clone()).collect()
}

#[test]
fn broadcasts_igmp_and_single_probes_are_no_scan_but_the_same_source_over_many_ports_is() {
    let mut messages = background();
    assert_eq!(replay(&lines(CARRIERS[0].1, &messages), &[]).done().rules(), [""; 0]);
    // The source of a single probe goes on to other ports.
    let probe = messages.iter().find(|message| message.contains("SPT=3389 DPT=3389")).unwrap().clone();
    for port in PORTS {
        messages.push(probe.replace("DPT=3389", &format!("DPT={port}")));
    }
    let told = replay(&lines(CARRIERS[0].1, &messages), &["--year", "2024"]).done();
    assert_eq!(told.rules(), ["tcp-syn-scan"]);
    assert_eq!(told.all("incident")[0]["source"], "89.248.166.153");
    assert_eq!(told.summary("undecoded"), 0);
}

#[test]
fn a_client_that_opens_one_port_again_and_again_is_no_scan() {
    let knock = |port: u16, sport: u16| {
        words(false, port)
            .replace("LEN=44", "LEN=60")
            .replace("ID=4242", "ID=4242 DF")
            .replace("SPT=40000", &format!("SPT={sport}"))
    };
    let mut messages: Vec<_> = (1228..1328).map(|sport| knock(3128, sport)).collect();
    assert_eq!(replay(&lines(CARRIERS[11].1, &messages), &[]).done().rules(), [""; 0]);
    messages.insert(0, knock(110, 1227));
    let told = replay(&lines(CARRIERS[11].1, &messages), &[]).done();
    assert_eq!((told.rules(), told.summary("packets")), (vec![], 101));
}

#[test]
fn a_half_open_scan_of_the_ports_in_an_old_detectors_log_is_one_incident() {
    let ports = [967, 32771, 77, 1396, 900, 1377, 5, 212, 1458, 206];
    let messages: Vec<_> = ports.iter().map(|&port| words(false, port)).collect();
    let told = replay(&lines(CARRIERS[0].1, &messages), &[]).done();
    assert_eq!(told.rules(), ["tcp-syn-scan"]);
    let more: Vec<_> = ports.into_iter().chain(1500..1540).map(|port| words(false, port)).collect();
    let told = replay(&lines(CARRIERS[0].1, &more), &[]).done();
    assert_eq!(told.rules(), ["tcp-syn-scan"]);
    assert_eq!(told.all("incident-end")[0]["distinct_ports"], 50);
}

#[test]
fn a_year_and_a_time_zone_are_given_to_times_without() {
    let text = lines(CARRIERS[0].1, &scan("", false));
    for (options, expected) in [
        (&[][..], "1972-05-07T18:00:00.000000Z"),
        (&["--year", "2020"], "2020-05-07T18:00:00.000000Z"),
        (&["--year", "2020", "--timezone", "+09:00"], "2020-05-07T09:00:00.000000Z"),
        (&["--year", "2020", "--timezone", "Asia/Tokyo"], "2020-05-07T09:00:00.000000Z"),
    ] {
        assert_eq!(replay(&text, options).done().all("incident")[0]["first_seen"], expected, "{options:?}");
    }
    // The zone of this machine says nothing about the one that wrote the log.
    let bed = Bed::new();
    let file = bed.file("log", &text);
    let output = super::bed::command(&["--json", &file]).env("TZ", "Asia/Tokyo").output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains("1972-05-07T18:00:00.000000Z"));
}

#[test]
fn lines_of_others_are_passed_over_and_broken_ones_counted() {
    let mut text = lines(CARRIERS[0].1, &scan("", false));
    text.push_str("May  7 18:00:30 gate sshd[1]: Failed password for root from 192.0.2.7 port 4 ssh2\n");
    text.push_str("May  7 18:00:31 gate kernel: eth0: link up\n\n");
    text.push_str("May  7 18:00:32 gate kernel: IN=eth0 OUT= SRC=192.0.2.7 DST=203.0.113.5 LEN=4");
    let told = replay(&text, &[]).done();
    assert_eq!((told.rules(), told.summary("packets")), (vec!["tcp-syn-scan".to_owned()], 10));
    assert_eq!(told.summary("undecoded"), 1);
    // Nor can a user of this machine write a packet into the log.
    let forged: String = PORTS
        .iter()
        .map(|&port| format!("May  7 18:00:00 gate sshd[1]: invalid user {}\n", words(false, port)))
        .collect();
    let told = replay(&forged, &[]).done();
    assert_eq!((told.rules(), told.summary("packets")), (vec![], 0));
}

#[test]
fn every_line_of_a_real_kernel_decodes_or_is_counted() {
    let file = data("log/kernel-6.18.log");
    let told = run(&["--json", file.to_str().unwrap()]).done();
    let expected = std::fs::read_to_string(data("log/kernel-6.18.expected")).unwrap();
    // A line's number, and then the time of its packet or what else it is.
    let count = |what: &str| {
        expected.lines().filter(|line| line.split_once(' ').unwrap().1.starts_with(what)).count()
    };
    let (malformed, packets) = (count("malformed: "), count("1970-"));
    assert_eq!(usize::try_from(told.summary("undecoded")).unwrap(), malformed);
    assert_eq!(usize::try_from(told.summary("packets")).unwrap(), packets);
}
