//! Kernel LOG text: every carrier, dialect and family; captured lines; what must be refused.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test states its expectations by panicking")]

#[path = "log_text/writer.rs"]
mod writer;

use std::fmt::Write as _;
use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use nfban::capture::log_text::{Decoder, LineClock, Lines, Logged, Outcome, Reason};
use nfban::packet::{Packet, Transport, Verdict};
use proptest::prelude::*;

/// Everything a line told, in one line: what the golden files hold.
fn shown(outcome: Outcome<'_>, clock: &mut LineClock) -> String {
    match outcome {
        Outcome::Decoded(logged) => format!("{} {}", time(&logged, clock), observation(&logged)),
        Outcome::NoEvidence(logged) => {
            format!("{} no-evidence {}", time(&logged, clock), observation(&logged))
        }
        Outcome::NotOurs => "not-ours".to_owned(),
        Outcome::Malformed(reason) => format!("malformed: {reason}"),
    }
}

fn time(logged: &Logged<'_>, clock: &mut LineClock) -> Timestamp {
    Timestamp::from_microsecond(clock.wall_us(logged.time)).unwrap()
}

fn observation(logged: &Logged<'_>) -> String {
    let seen = &logged.observation;
    let packet = &seen.packet;
    let mut text = format!(
        "{} {:?} {:?}>{:?} {}>{} length {}/{} ttl {}{}",
        seen.verdict.as_str(),
        seen.pkttype,
        seen.iif,
        seen.oif,
        packet.saddr,
        packet.daddr,
        packet.length,
        packet.header_length,
        packet.ttl,
        if packet.dont_fragment { " DF" } else { "" },
    );
    if let Some(fragment) = packet.fragment {
        let more = if fragment.more { "+" } else { "" };
        write!(text, " fragment {}{more} of {:#x}", fragment.offset, fragment.identification).unwrap();
    }
    write!(text, " protocol {} ", packet.protocol).unwrap();
    match packet.transport {
        Transport::Tcp(tcp) => {
            write!(text, "tcp {}>{} flags {:#05x} window {}", tcp.sport, tcp.dport, tcp.flags.0, tcp.window)
                .unwrap();
            if let Some(sequence) = tcp.sequence {
                write!(text, " sequence {sequence}").unwrap();
            }
        }
        Transport::Udp(udp) => write!(text, "udp {}>{} length {}", udp.sport, udp.dport, udp.length).unwrap(),
        Transport::Icmp(icmp) => write!(text, "icmp {}/{}", icmp.kind, icmp.code).unwrap(),
        Transport::Opaque => text.push_str("opaque"),
    }
    write!(text, " prefix {:?}", String::from_utf8_lossy(seen.prefix)).unwrap();
    text
}

fn decoded(line: &[u8]) -> (Packet, Verdict, Option<String>) {
    let mut decoder = Decoder::new();
    let mut clock = LineClock::new(TimeZone::UTC, Some(2024));
    match decoder.decode(line) {
        Outcome::Decoded(logged) => {
            let stamp = logged.time.is_some().then(|| time(&logged, &mut clock).to_string());
            (logged.observation.packet, logged.observation.verdict, stamp)
        }
        other => panic!("{other:?} for {}", String::from_utf8_lossy(line)),
    }
}

fn outcome(line: &str) -> String {
    shown(Decoder::new().decode(line.as_bytes()), &mut LineClock::new(TimeZone::UTC, Some(2024)))
}

/// `NFBAN_UPDATE=1 cargo test --test log_text` writes the expectations anew.
#[test]
fn captured_lines_decode_as_the_expectations_beside_them_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/log");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    assert!(files.len() >= 2, "the captured lines are there");
    for path in files {
        let mut lines = Lines::new(std::io::BufReader::new(std::fs::File::open(&path).unwrap()));
        let mut decoder = Decoder::new();
        let mut clock = LineClock::new(TimeZone::UTC, Some(2024));
        let mut found = String::new();
        while let Some(line) = lines.next_line().unwrap() {
            writeln!(found, "{} {}", line.number, shown(decoder.decode_line(line), &mut clock)).unwrap();
        }
        let expectations = path.with_extension("expected");
        if std::env::var_os("NFBAN_UPDATE").is_some() {
            std::fs::write(&expectations, &found).unwrap();
        }
        let expected = std::fs::read_to_string(&expectations).unwrap();
        for (found, expected) in found.lines().zip(expected.lines()) {
            assert_eq!(found, expected, "{}", path.display());
        }
        assert_eq!(found.lines().count(), expected.lines().count());
    }
}

const WORDS4: &str = "IN=eth0 OUT= MAC=52:54:00:12:34:56:00:1b:ed:b0:c1:00:08:00 SRC=192.0.2.7 DST=203.0.113.5 \
                      LEN=40 TOS=0x00 PREC=0x00 TTL=50 ID=60580 DF PROTO=TCP SPT=21667 DPT=2222 WINDOW=39862 \
                      RES=0x00 SYN URGP=0 ";
const WORDS6: &str = "IN=eth0 OUT= MAC=33:33:00:00:00:01:00:1b:ed:b0:c1:00:86:dd \
                      SRC=2001:0db8:0000:0000:0000:0000:0000:0007 DST=ff02:0000:0000:0000:0000:0000:0000:0001 \
                      LEN=60 TC=0 HOPLIMIT=50 FLOWLBL=0 PROTO=UDP SPT=546 DPT=547 LEN=20 ";

/// Carrier with `{}` for the kernel's message, and the time it tells (in UTC, the year being 2024).
const CARRIERS: [(&str, Option<&str>); 41] = [
    ("{}", None),
    ("kernel: {}", None),
    ("<4>{}", None),
    ("<4>kernel: {}", None),
    // Classic syslog (RFC 3164), journalctl -o short.
    ("Mar 21 16:02:05 refirio kernel: {}", Some("2024-03-21T16:02:05Z")),
    ("May 7 18:21:49 refirio kernel: {}", Some("2024-05-07T18:21:49Z")),
    ("May  7 18:21:49 refirio kernel: {}", Some("2024-05-07T18:21:49Z")),
    ("Feb 29 00:00:00 host kernel: [ 1234.567890] {}", Some("2024-02-29T00:00:00Z")),
    ("<4>May  7 18:21:49 host kernel: [12345.678] {}", Some("2024-05-07T18:21:49Z")),
    ("<12>May  7 18:21:49 host kernel[0]: {}", Some("2024-05-07T18:21:49Z")),
    ("May  7 18:21:49 kernel: {}", Some("2024-05-07T18:21:49Z")),
    ("May  7 2023 18:21:49 host kernel: {}", Some("2023-05-07T18:21:49Z")),
    // journalctl -o short-precise.
    ("May 07 18:21:49.123456 host kernel: {}", Some("2024-05-07T18:21:49.123456Z")),
    // ulogd: its file output, its syslog output.
    ("May  7 18:21:49 host {}", Some("2024-05-07T18:21:49Z")),
    ("May  7 18:21:49 host ulogd[423]: {}", Some("2024-05-07T18:21:49Z")),
    // rsyslog's RFC 3339 format; journalctl -o short-iso, short-iso-precise (with and without the colon in the offset).
    ("2024-05-07T18:21:49.123456+09:00 host kernel: {}", Some("2024-05-07T09:21:49.123456Z")),
    (
        "<4>2024-05-07T18:21:49.123456+09:00 host kernel: [   12.345678] {}",
        Some("2024-05-07T09:21:49.123456Z"),
    ),
    ("2024-05-07T18:21:49+0900 host kernel: {}", Some("2024-05-07T09:21:49Z")),
    ("2024-05-07T18:21:49-03:30 host kernel: {}", Some("2024-05-07T21:51:49Z")),
    ("2024-05-07T18:21:49Z host kernel: {}", Some("2024-05-07T18:21:49Z")),
    ("2024-05-07T18:21:60.5Z host kernel: {}", Some("2024-05-07T18:21:59.5Z")),
    ("2024-05-07 18:21:49 host kernel: {}", Some("2024-05-07T18:21:49Z")),
    // RFC 5424.
    ("<4>1 2024-05-07T18:21:49.123456+09:00 host kernel - - - {}", Some("2024-05-07T09:21:49.123456Z")),
    ("<4>1 2024-05-07T18:21:49Z host kernel - - [a@1 b=\"x \\\"]\"][c@1] {}", Some("2024-05-07T18:21:49Z")),
    ("<4>1 - host kernel - - - {}", None),
    // journalctl -o short-full and with-unit.
    ("Sun 2024-05-05 12:00:00 JST host kernel: {}", Some("2024-05-05T12:00:00Z")),
    ("Sun 2024-05-05 12:00:00 UTC host kernel: {}", Some("2024-05-05T12:00:00Z")),
    ("Sun 2024-05-05 12:00:00 +09 host kernel: {}", Some("2024-05-05T03:00:00Z")),
    // journalctl -o short-unix, short-monotonic, short-delta.
    ("1714878000.123456 host kernel: {}", Some("2024-05-05T03:00:00.123456Z")),
    ("[   12.345678] host kernel: {}", Some("1970-01-01T00:00:12.345678Z")),
    ("[   12.345678 <    0.000012 >] host kernel: {}", Some("1970-01-01T00:00:12.345678Z")),
    // dmesg, with -T, -x, -d, --time-format=iso; CONFIG_PRINTK_CALLER; --raw.
    ("[   12.345678] {}", Some("1970-01-01T00:00:12.345678Z")),
    ("[1234567.345678] {}", Some("1970-01-15T06:56:07.345678Z")),
    ("[   12.345678][  T123] {}", Some("1970-01-01T00:00:12.345678Z")),
    ("[   12.345678 <    0.000123>] {}", Some("1970-01-01T00:00:12.345678Z")),
    ("kern  :warn  : [   12.345678] {}", Some("1970-01-01T00:00:12.345678Z")),
    ("<4>[   12.345678] {}", Some("1970-01-01T00:00:12.345678Z")),
    ("[Sun May  5 12:00:00 2024] {}", Some("2024-05-05T12:00:00Z")),
    ("2024-05-05T12:00:00,538489+09:00 {}", Some("2024-05-05T03:00:00.538489Z")),
    // /dev/kmsg, OpenWrt's logread.
    ("4,1234,12345678,-;{}", Some("1970-01-01T00:00:12.345678Z")),
    ("Sun May  5 12:00:00 2024 kern.warn kernel: [   12.345678] {}", Some("2024-05-05T12:00:00Z")),
];

/// journalctl -o json; `{}` is the message as a JSON value.
const JOURNAL: [&str; 6] = [
    "\x1e{\"MESSAGE\":{},\"__REALTIME_TIMESTAMP\":\"1714878000123456\"}",
    r#"{"__CURSOR":"s=1","__REALTIME_TIMESTAMP":"1714878000123456","_TRANSPORT":"kernel","SYSLOG_IDENTIFIER":"kernel","MESSAGE":{},"PRIORITY":"4"}"#,
    r#"{"MESSAGE":{},"__REALTIME_TIMESTAMP":"1714878000123456"}"#,
    r#"{"SYSLOG_IDENTIFIER":"kernel","MESSAGE":{},"__REALTIME_TIMESTAMP":"1714878000123456","X":[1,[2],{"y":null}]}"#,
    r#" { "MESSAGE" : {} , "__REALTIME_TIMESTAMP" : 1714878000123456 } "#,
    r#"{"SYSLOG_IDENTIFIER":null,"_TRANSPORT":"kernel","MESSAGE":{},"__REALTIME_TIMESTAMP":"1714878000123456"}"#,
];

/// Prefix and verdict; `None` is no evidence.
const DIALECTS: [(&str, Option<Verdict>); 21] = [
    ("", Some(Verdict::Refused)),
    ("DROP", Some(Verdict::Refused)),
    ("[UFW BLOCK] ", Some(Verdict::Refused)),
    ("[UFW LIMIT BLOCK] ", Some(Verdict::Refused)),
    ("[UFW ALLOW] ", Some(Verdict::Accepted)),
    ("[UFW AUDIT] ", None),
    ("[UFW AUDIT INVALID] ", None),
    ("[UFW INVALID] ", Some(Verdict::Invalid)),
    ("[UFW BLOCK INVALID] ", Some(Verdict::Invalid)),
    ("FINAL_REJECT: ", Some(Verdict::Refused)),
    ("filter_IN_public_REJECT: ", Some(Verdict::Refused)),
    ("STATE_INVALID_DROP: ", Some(Verdict::Invalid)),
    ("nf_ct_proto_6: invalid rst ", Some(Verdict::Invalid)),
    ("TRACE: filter:INPUT:policy:1 ", None),
    ("[IPTABLES REJECT]: ", Some(Verdict::Refused)),
    ("kernel: IN= or = [x] IN=y ", Some(Verdict::Refused)),
    ("nfban:refused ", Some(Verdict::Refused)),
    ("nfban:accepted ", Some(Verdict::Accepted)),
    ("nfban:fragment:", Some(Verdict::Fragment)),
    ("nfban:undecided", Some(Verdict::Undecided)),
    ("nfban:outbound: ", Some(Verdict::Outbound)),
];

#[test]
fn every_carrier_tells_its_time_and_leaves_the_message_whole() {
    let bare4 = decoded(WORDS4.as_bytes()).0;
    let bare6 = decoded(WORDS6.as_bytes()).0;
    for (carrier, expected) in CARRIERS {
        for (words, bare) in [(WORDS4, bare4), (WORDS6, bare6)] {
            for prefix in ["", "[UFW BLOCK] ", "nfban:accepted "] {
                let line = carrier.replace("{}", &format!("{prefix}{words}"));
                let (packet, verdict, stamp) = decoded(line.as_bytes());
                assert_eq!(packet, bare, "{line}");
                assert_eq!(stamp.as_deref(), expected, "{line}");
                let expected = if prefix.starts_with("nfban") { Verdict::Accepted } else { Verdict::Refused };
                assert_eq!(verdict, expected, "{line}");
            }
        }
    }
}

#[test]
fn journal_entries_are_read_as_string_with_escapes_and_as_octets() {
    let message = format!("[UFW BLOCK] {WORDS4}");
    let octets: Vec<String> = message.bytes().chain([0xff]).map(|octet| octet.to_string()).collect();
    let forms = [
        format!("\"{message}\""),
        format!("\"{}\"", message.replace("eth0", "eth\\u0030")),
        format!("[{}]", octets.join(",")),
    ];
    for entry in JOURNAL {
        for form in &forms {
            let line = entry.replacen("{}", form, 1);
            let (packet, verdict, stamp) = decoded(line.as_bytes());
            assert_eq!((packet, verdict), (decoded(WORDS4.as_bytes()).0, Verdict::Refused), "{line}");
            assert_eq!(stamp.as_deref(), Some("2024-05-05T03:00:00.123456Z"), "{line}");
        }
    }
}

#[test]
fn the_prefix_gives_the_verdict() {
    for (prefix, expected) in DIALECTS {
        for words in [WORDS4, WORDS6] {
            let line = format!("May  7 18:21:49 host kernel: [  123.456789] {prefix}{words}");
            let mut decoder = Decoder::new();
            let (logged, verdict) = match decoder.decode(line.as_bytes()) {
                Outcome::Decoded(logged) => (logged, Some(logged.observation.verdict)),
                Outcome::NoEvidence(logged) => (logged, None),
                other => panic!("{other:?} for {line}"),
            };
            assert_eq!(verdict, expected, "{line}");
            assert_eq!(logged.observation.prefix, prefix.as_bytes());
            assert_eq!(logged.observation.iif, "eth0");
        }
    }
}

#[test]
fn a_repeated_message_of_rsyslog_is_read_through() {
    for end in ["]", " ]"] {
        let words = WORDS4.trim_end();
        let line = format!("May  7 18:21:49 h kernel: message repeated 2 times: [ [UFW ALLOW] {words}{end}");
        let (packet, verdict, _) = decoded(line.as_bytes());
        assert_eq!((packet, verdict), (decoded(WORDS4.as_bytes()).0, Verdict::Accepted), "{line}");
    }
}

#[test]
fn a_packet_without_input_interface_was_sent_by_this_host() {
    let line = "[UFW BLOCK] IN= OUT=eth0 SRC=192.0.2.1 DST=192.0.2.7 LEN=60 TOS=0x00 PREC=0x00 TTL=64 ID=1 \
                PROTO=UDP SPT=1 DPT=2 LEN=40 UID=0 GID=0 MARK=0x7";
    assert_eq!(decoded(line.as_bytes()).1, Verdict::Outbound);
}

#[test]
fn the_packet_quoted_in_an_icmp_error_is_not_taken_for_the_packet() {
    let quoted = "[SRC=203.0.113.5 DST=192.0.2.7 LEN=28 TOS=0x00 PREC=0x00 TTL=9 ID=77 PROTO=UDP INCOMPLETE [4 bytes] ] ";
    let line = format!(
        "IN=eth0 OUT= MAC= SRC=192.0.2.7 DST=203.0.113.5 LEN=56 TOS=0x00 PREC=0x00 TTL=64 ID=1 PROTO=ICMP TYPE=3 \
         CODE=4 {quoted}MTU=1400 "
    );
    assert_eq!(
        outcome(&line),
        "1970-01-01T00:00:00Z refused Unicast \"eth0\">\"\" 192.0.2.7>203.0.113.5 length 56/20 ttl 64 protocol 1 icmp 3/4 prefix \"\""
    );
    let cut = line.replace("bytes] ] MTU=1400 ", "bytes] ");
    assert_eq!(outcome(&cut), "malformed: the line was cut off");
}

#[test]
fn lines_of_other_programs_are_not_ours_whatever_they_quote() {
    let quote = format!("[UFW BLOCK] {WORDS4}");
    let lines = [
        "".to_owned(),
        "-- Journal begins at Sun 2024-05-05 12:00:00 JST. --".to_owned(),
        "May  7 18:21:49 host kernel: usb 1-1: new device".to_owned(),
        "May  7 18:21:49 host sshd[123]: Invalid user root from 192.0.2.7".to_owned(),
        format!("May  7 18:21:49 host sshd[123]: Invalid user {quote}"),
        format!("May  7 18:21:49 host sshd: Invalid user {quote}"),
        format!("May  7 18:21:49 sshd[123]: Invalid user {quote}"),
        format!("May  7 18:21:49 host Some Server[123]: {quote}"),
        format!("May  7 18:21:49 host kernelized[1]: {quote}"),
        format!("<4>1 2024-05-07T18:21:49Z host sshd 123 - - {quote}"),
        format!("<4>1 - host sshd 123 - - {quote}"),
        format!("2024-05-07T18:21:49+09:00 host sshd[123]: {quote}"),
        format!("Sun 2024-05-05 12:00:00 JST host sshd[123]: {quote}"),
        format!("1714878000.123456 host sshd[123]: {quote}"),
        format!("[   12.345678] host sshd[123]: {quote}"),
        format!("7/5/24 host sshd[123]: {quote}"),
        format!(r#"{{"_TRANSPORT":"stdout","SYSLOG_IDENTIFIER":"kernel","MESSAGE":"{quote}"}}"#),
        format!(r#"{{"SYSLOG_IDENTIFIER":"sshd","MESSAGE":"{quote}"}}"#),
        r#"{"_TRANSPORT":"kernel","MESSAGE":null}"#.to_owned(),
        r#"{"log":"x"}"#.to_owned(),
    ];
    for line in lines {
        assert_eq!(outcome(&line), "not-ours", "{line}");
    }
    for line in ["{ not json", "services: [22]", "a sentence of a letter"] {
        assert_eq!(outcome(line), "malformed: not a line of a log", "{line}");
    }
}

/// As Linux 6.18 printed what a user without any rights had given to mount(2).
#[test]
fn a_packet_that_a_message_of_the_kernel_quotes_is_none() {
    let quotes = [
        format!("overlayfs: failed to resolve '/nonexist/{WORDS4} ': -2"),
        format!("overlayfs: failed to resolve '/nonexist/nfban:refused {WORDS4}': -2"),
        // In a record of /dev/kmsg a line break is spelled out.
        format!("3,6847,44459319544,-;overlayfs: failed to resolve '/x/\\x0a{WORDS6} ': -2"),
        // Cut off behind 1,024 octets.
        format!("overlayfs: failed to resolve '/nonexist/{WORDS4} AAAA AAAA AA"),
        format!("overlayfs: failed to resolve '/nonexist/{} {WORDS4}", "A".repeat(700)),
        format!("a message: /{} {WORDS4}", "A".repeat(700)),
        format!("squashfs: Unknown parameter \"{WORDS4}"),
        format!("cgroup: fork rejected by pids controller in /user.slice/{WORDS4}"),
        format!("usb 1-1: Product: {WORDS4}"),
        format!("nfban:refused {WORDS4} MARK=0x1 ': -2"),
    ];
    for quote in quotes {
        for carrier in ["", "[   12.345678] ", "May  7 18:21:49 host kernel: "] {
            let line = format!("{carrier}{quote}");
            assert_eq!(Decoder::new().decode(line.as_bytes()), Outcome::Malformed(Reason::Quoted), "{line}");
        }
    }
}

#[test]
fn a_prefix_or_an_interface_with_a_quotation_mark_is_one() {
    for prefix in ["'guests' ", "nfban:refused don't ", "[UFW BLOCK] "] {
        let words = WORDS4.replace("IN=eth0", "IN=e'th0");
        let (_, verdict, _) = decoded(format!("{prefix}{words}").as_bytes());
        assert_eq!(verdict, Verdict::Refused, "{prefix}");
    }
}

#[test]
fn an_ipv6_payload_length_of_zero_hides_no_port() {
    let (packet, ..) = decoded(WORDS6.replace("LEN=60", "LEN=40").as_bytes());
    assert_eq!(packet.length, 40);
    assert!(packet.ports().is_some(), "{packet:?}");
}

#[test]
fn an_ill_formed_line_is_refused_whole() {
    let v4 = |from: &str, to: &str| {
        assert!(WORDS4.contains(from));
        WORDS4.replace(from, to)
    };
    let v6 = |from: &str, to: &str| WORDS6.replace(from, to);
    let cases = [
        (v4("DST=203.0.113.5", "DST=2001:db8::1"), Reason::MixedFamilies),
        (v6("PROTO=UDP", "PROTO=ICMP"), Reason::MixedFamilies),
        (v4("PROTO=TCP", "PROTO=ICMPv6"), Reason::MixedFamilies),
        (v4("SPT=21667", "SPT=65536"), Reason::Value("SPT=")),
        (v4("DPT=2222", "DPT=-1"), Reason::Value("DPT=")),
        (v4("DPT=2222", "DPT="), Reason::Value("DPT=")),
        (v4("DPT=2222", "DPT=99999999999"), Reason::Value("DPT=")),
        (v4("DPT=2222 ", ""), Reason::Missing("DPT=")),
        (v4("DPT=2222", "DPT=2222 DPT=22"), Reason::Repeated("DPT=")),
        (v4("LEN=40 ", ""), Reason::Missing("LEN=")),
        (v4("LEN=40", "LEN=39"), Reason::Length),
        (v4("LEN=40", "LEN=19"), Reason::Length),
        (v4("LEN=40", "LEN=40 LEN=60"), Reason::Repeated("LEN=")),
        (v6("LEN=60", "LEN=47"), Reason::Length),
        (v6("LEN=20 ", ""), Reason::Missing("LEN=")),
        (v6("LEN=20 ", "LEN=21"), Reason::Length),
        (v6("LEN=20 ", "LEN=7"), Reason::Length),
        (v6("HOPLIMIT", "TTL"), Reason::Missing("HOPLIMIT=")),
        (v4("TTL=50", "TTL=256"), Reason::Value("TTL=")),
        (v4("TTL=50 ", ""), Reason::Missing("TTL=")),
        (v4("DST=203.0.113.5 ", ""), Reason::Missing("DST=")),
        (v4("SRC=192.0.2.7", "SRC=192.0.2.256"), Reason::Value("SRC=")),
        (v4("SRC=192.0.2.7", "SRC="), Reason::Value("SRC=")),
        (v4("PROTO=TCP", "PROTO=256"), Reason::Value("PROTO=")),
        (v4("PROTO=TCP", "PROTO="), Reason::Value("PROTO=")),
        (v4("PROTO=TCP", "PROTO=SCTP"), Reason::Value("PROTO=")),
        (v4("PROTO=TCP ", ""), Reason::Missing("PROTO=")),
        (v4("RES=0x00", "RES=0x40"), Reason::Value("RES=")),
        (v4("RES=0x00", "RES=00"), Reason::Value("RES=")),
        (v4("WINDOW=39862", "WINDOW=65536"), Reason::Value("WINDOW=")),
        (v4(" SYN URGP=0", " SY"), Reason::LineTruncated),
        (v4("MAC=52", "MAC=5g"), Reason::Value("MAC=")),
        (v4("MAC=52", "MAC=152"), Reason::Value("MAC=")),
        (v4("IN=eth0", "in=eth0"), Reason::NoInterfaces),
        (v4("ID=60580 DF", "ID=60580 FRAG:8192"), Reason::Value("FRAG:")),
        (v4("ID=60580 DF", "MF"), Reason::Missing("ID")),
        (v4("DF ", "OPT (9404000"), Reason::LineTruncated),
        (v4("DF ", "OPT (94040000000000) "), Reason::Value("OPT")),
        (v4("DF ", "TRUNCATED "), Reason::PacketTruncated),
        (v4("SPT=21667", "INCOMPLETE [10 bytes]"), Reason::PacketTruncated),
        (v6("FLOWLBL=0 ", "FLOWLBL=0 FRAG:12 ID:00000001 "), Reason::Value("FRAG:")),
        (v6("FLOWLBL=0 PROTO=UDP SPT=546 DPT=547 LEN=20 ", "FLOWLBL=0 PRO"), Reason::Missing("PROTO=")),
        (format!("{WORDS4}Mar 21 16:03:03 host kernel: {WORDS4}"), Reason::TwoPackets),
        (format!("{WORDS6}DROP{WORDS4}"), Reason::TwoPackets),
        (format!("{{\"MESSAGE\":\"{WORDS4}"), Reason::Json),
    ];
    for (line, reason) in cases {
        assert_eq!(Decoder::new().decode(line.as_bytes()), Outcome::Malformed(reason), "{line}");
    }
}

#[test]
fn a_line_above_the_limit_is_malformed() {
    let long = [b"x".repeat(70_000), WORDS4.as_bytes().to_vec()].concat();
    let mut lines = Lines::new(&long[..]);
    let line = lines.next_line().unwrap().unwrap();
    assert_eq!(Decoder::new().decode_line(line), Outcome::Malformed(Reason::TooLong));
}

#[test]
fn res_of_older_kernels_holds_ae_and_newer_ones_write_a_word() {
    let flags = |res: &str| {
        let line = WORDS4.replace("RES=0x00 SYN", res);
        match decoded(line.as_bytes()).0.transport {
            Transport::Tcp(tcp) => tcp.flags.0,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(flags("RES=0x00 SYN"), 0x002);
    assert_eq!(flags("RES=0x04 CWR ECE SYN"), 0x1c2);
    assert_eq!(flags("RES=0x00 AE CWR ECE SYN"), 0x1c2);
    assert_eq!(flags("RES=0x3c SYN"), 0xf02);
    assert_eq!(flags("RES=0x38 AE CWR ECE URG ACK PSH RST SYN FIN"), 0xfff);
    assert_eq!(flags("RES=0x00 NEW SYN"), 0x002, "a flag that is not known yet is skipped");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_packet_written_as_the_kernel_writes_it_is_read_back_equal(
        packet in writer::packet(),
        style in writer::style(),
        carrier in 0..CARRIERS.len(),
    ) {
        let line = CARRIERS[carrier].0.replace("{}", &writer::line(&packet, &style));
        let mut decoder = Decoder::new();
        let Outcome::Decoded(logged) = decoder.decode(line.as_bytes()) else {
            return Err(TestCaseError::fail(format!("{:?}: {line}", Decoder::new().decode(line.as_bytes()))));
        };
        prop_assert_eq!(logged.observation.packet, writer::as_told(&packet, &style), "{}", line);
        prop_assert_eq!(logged.observation.prefix, style.prefix.as_bytes(), "{}", line);
    }

    #[test]
    fn a_line_cut_anywhere_is_refused_or_tells_the_same_packet(
        packet in writer::packet(),
        style in writer::style(),
        keep in any::<prop::sample::Index>(),
    ) {
        let line = writer::line(&packet, &style);
        let cut = &line.as_bytes()[..keep.index(line.len())];
        if let Outcome::Decoded(logged) = Decoder::new().decode(cut) {
            let told = writer::as_told(&packet, &style);
            let found = logged.observation.packet;
            // Digits at the very end may be lost, and with them only these: everything that stands before is whole.
            prop_assert_eq!((found.saddr, found.daddr, found.ports()), (told.saddr, told.daddr, told.ports()));
            prop_assert_eq!((found.length, found.ttl, found.fragment), (told.length, told.ttl, told.fragment));
            if let (Transport::Tcp(found), Transport::Tcp(told)) = (found.transport, told.transport) {
                prop_assert_eq!(found, told);
            }
        }
    }

    #[test]
    fn no_octets_make_it_panic(octets in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Decoder::new().decode(&octets);
    }

    #[test]
    fn no_damage_to_a_line_makes_it_panic(
        packet in writer::packet(),
        style in writer::style(),
        carrier in 0..CARRIERS.len(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let line = CARRIERS[carrier].0.replace("{}", &writer::line(&packet, &style));
        let mut octets = line.into_bytes();
        for (at, octet) in damage {
            let at = at.index(octets.len());
            octets[at] = octet;
        }
        let _ = Decoder::new().decode(&octets);
    }
}
