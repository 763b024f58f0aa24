//! `nfban import`: whole files word for word, and that the filters made of iplog's decide as iplog did.
//!
//! `UPDATE_GOLDEN=1 cargo test --test import` writes `tests/data/import/*.yaml` anew; read the difference before
//! committing it.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test states its expectations by panicking")]

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use nfban::config::rules::{self, SHIPPED};
use nfban::config::yaml::Source;
use nfban::config::{Ban, Config, Severity};
use nfban::filter::Filters;
use nfban::import::{Form, Input, convert};
use nfban::packet::{Icmp, Observation, Packet, Pkttype, Tcp, TcpFlags, Transport, Udp, Verdict};
use proptest::prelude::*;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/import")
}

/// The command where the samples are, so that their names in comments are short.
fn nfban(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nfban"));
    command.args(arguments).current_dir(folder()).stdin(Stdio::null()).output().unwrap()
}

fn text(octets: &[u8]) -> &str {
    std::str::from_utf8(octets).unwrap()
}

/// The rules file that a comment shows.
fn rules_shown(yaml: &str) -> String {
    yaml.lines().filter_map(|line| line.strip_prefix("#   ")).filter(|line| line.starts_with("- {id")).fold(
        String::new(),
        |mut rules, line| {
            rules += line;
            rules += "\n";
            rules
        },
    )
}

#[test]
fn what_is_printed_is_word_for_word_the_expected_and_passes_check() {
    for (golden, arguments) in [
        ("iplog.yaml", &["iplog", "iplog.conf"][..]),
        ("portsentry-1.yaml", &["portsentry", "portsentry-1.conf", "portsentry.ignore"]),
        ("portsentry-2.yaml", &["portsentry", "portsentry-2.conf"]),
        ("portsentry-blocked.yaml", &["portsentry", "portsentry-1.conf", "portsentry.blocked.tcp"]),
        ("psad/shipped.yaml", &["psad", "psad/psad.conf", "psad/auto_dl"]),
        (
            "psad/changed.yaml",
            &[
                "psad",
                "psad/local.conf",
                "psad/psad.conf",
                "psad/auto_dl.local",
                "psad/signatures",
                "psad/auto_blocked_iptables",
            ],
        ),
        ("fail2ban/shipped.yaml", &["fail2ban", "fail2ban/jail.conf", "fail2ban/defaults-debian.conf"]),
        ("fail2ban/local.yaml", &["fail2ban", "fail2ban/jail.conf", "fail2ban/jail.local"]),
        ("fail2ban/increment.yaml", &["fail2ban", "fail2ban/increment.local"]),
    ] {
        let output = nfban(&[&["import"], arguments].concat());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let said = text(&output.stderr);
        assert!(said.contains(" carried over, ") && said.lines().count() == 1, "{said}");
        let (path, yaml) = (folder().join(golden), text(&output.stdout));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, yaml).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), yaml, "{golden}");

        let temporary = tempfile::tempdir().unwrap();
        let written = temporary.path().join("nfban.yaml");
        std::fs::write(&written, yaml).unwrap();
        let check = nfban(&["check", "-c", written.to_str().unwrap()]);
        assert_eq!((check.status.code(), text(&check.stderr)), (Some(0), ""), "{golden}");
        let rules_file = rules_shown(yaml);
        let files: Vec<_> = SHIPPED.iter().copied().chain([("shown", rules_file.as_str())]).collect();
        rules::load(&files, Path::new("/nonexistent")).unwrap_or_else(|problems| panic!("{problems}"));
    }
}

#[test]
fn what_cannot_be_read_or_is_no_text_ends_with_66_and_a_wrong_line_with_2() {
    for (arguments, status, saying) in [
        (&["iplog", "nothing-there"][..], 66, "nothing-there: cannot be read"),
        (&["iplog", "."], 66, ".: cannot be read"),
        (&["portsentry", "../captures/nmap-sS.nflog.pcap"], 66, "this is no text"),
        (&["snort", "iplog.conf"], 2, "possible values: iplog, portsentry, psad, fail2ban"),
        (&["iplog"], 2, "<FILE>..."),
        (&[], 2, "<PROGRAM>"),
    ] {
        let output = nfban(&[&["import"], arguments].concat());
        assert_eq!(output.status.code(), Some(status), "{arguments:?}");
        assert_eq!(text(&output.stdout), "");
        let said = text(&output.stderr);
        assert!(said.contains(saying) && said.lines().count() == 1, "{said}");
    }
}

#[test]
fn the_bans_of_a_database_become_commands_and_the_file_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fail2ban.sqlite3");
    let connection = rusqlite::Connection::open(&path).unwrap();
    // The table as fail2ban makes it.
    connection
        .execute_batch(
            "CREATE TABLE bips(ip TEXT NOT NULL, jail TEXT NOT NULL, timeofban INTEGER NOT NULL, bantime INTEGER NOT NULL,
                bancount INTEGER NOT NULL default 1, data JSON, PRIMARY KEY(ip, jail));
             INSERT INTO bips VALUES
                ('198.51.100.7', 'recidive', unixepoch(), 604800, 3, '{}'),
                ('2001:db8::7', 'recidive', 1, -1, 3, '{}'),
                ('198.51.100.8', 'recidive', 1000, 600, 3, '{}'),
                ('198.51.100.9', 'sshd', unixepoch(), 604800, 3, '{}'),
                ('x\n# 198.51.100.10', 'recidive', unixepoch(), 604800, 3, '{}');",
        )
        .unwrap();
    drop(connection);
    let before = std::fs::read(&path).unwrap();
    let output = nfban(&["import", "fail2ban", "fail2ban/jail.local", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let yaml = text(&output.stdout);
    let commands: Vec<_> = yaml.lines().filter_map(|line| line.strip_prefix("#   nfban ban ")).collect();
    assert_eq!(commands.len(), 2, "{yaml}");
    assert!(
        commands[0].starts_with("198.51.100.7 --for 6d23h")
            || commands[0].starts_with("198.51.100.7 --for 7d")
    );
    assert_eq!(commands[1], "2001:db8::7 --reason 'fail2ban had banned it'");
    assert!(yaml.contains("1 bans of jails that stay with fail2ban"), "{yaml}");
    assert!(yaml.contains("names of hosts are not looked up"), "{yaml}");
    assert_eq!(std::fs::read(&path).unwrap(), before);

    std::fs::write(&path, [&before[..100], b"garbage"].concat()).unwrap();
    let output = nfban(&["import", "fail2ban", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(66), "{output:?}");
}

#[test]
fn standard_input_is_a_file_too() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nfban"));
    let input = std::fs::File::open(folder().join("portsentry.ignore")).unwrap();
    let output = command.args(["import", "portsentry", "-"]).stdin(input).output().unwrap();
    assert!(text(&output.stdout).contains("\nallow: [192.0.2.0/24, 198.51.100.9, "), "{output:?}");
}

// iplog's filters by themselves: a small language, and what it means.

/// `[!]` and one of the words below, each with what it stands for.
type Choice<T> = (bool, &'static str, T);

/// An inclusive range of addresses, ports or types; none is every value.
type Range = Option<(u32, u32)>;

#[derive(Debug, Clone)]
struct Line {
    log: bool,
    protocol: &'static str,
    from: Option<Choice<Range>>,
    to: Option<Choice<Range>>,
    /// Of ICMP the type stands in the second.
    sport: Option<Choice<Range>>,
    dport: Option<Choice<Range>>,
}

impl Line {
    fn parts(&self) -> [(&'static str, &Option<Choice<Range>>); 4] {
        let dport = if self.protocol == "icmp" { "type" } else { "dport" };
        [("from", &self.from), ("sport", &self.sport), ("to", &self.to), (dport, &self.dport)]
    }

    fn text(&self) -> String {
        let mut line = format!("{} {}", if self.log { "log" } else { "ignore" }, self.protocol);
        for (key, part) in self.parts() {
            if let Some((negated, word, _)) = part {
                line += &format!(" {key} {}{word}", if *negated { "!" } else { "" });
            }
        }
        line
    }

    /// A line without parts is a switch.
    fn is_switch(&self) -> bool {
        self.parts().iter().all(|(_, part)| part.is_none())
    }

    fn matches(&self, of: &Flow) -> bool {
        let holds = |part: &Option<Choice<Range>>, value: u32| {
            part.is_none_or(|(negated, _, range)| {
                range.is_none_or(|(first, last)| first <= value && value <= last) != negated
            })
        };
        self.protocol == of.protocol
            && holds(&self.from, of.saddr)
            && holds(&self.to, of.daddr)
            && holds(&self.sport, of.sport)
            && holds(&self.dport, of.dport)
    }
}

/// A packet as iplog sees it.
#[derive(Debug, Clone)]
struct Flow {
    protocol: &'static str,
    saddr: u32,
    daddr: u32,
    sport: u32,
    /// Or the type of an ICMP message.
    dport: u32,
}

impl Flow {
    fn observation(&self) -> Observation<'static> {
        let (sport, dport) = (u16::try_from(self.sport).unwrap(), u16::try_from(self.dport).unwrap());
        let (protocol, transport) = match self.protocol {
            "tcp" => {
                let flags = TcpFlags(TcpFlags::SYN);
                (
                    6,
                    Transport::Tcp(Tcp {
                        sport,
                        dport,
                        sequence: None,
                        header_length: None,
                        flags,
                        window: 0,
                    }),
                )
            }
            "udp" => (17, Transport::Udp(Udp { sport, dport, length: 8 })),
            _ => (1, Transport::Icmp(Icmp { kind: u8::try_from(dport).unwrap(), code: 0 })),
        };
        let packet = Packet {
            saddr: IpAddr::V4(Ipv4Addr::from(self.saddr)),
            daddr: IpAddr::V4(Ipv4Addr::from(self.daddr)),
            length: 40,
            header_length: 20,
            ttl: 60,
            dont_fragment: false,
            identification: None,
            fragment: None,
            protocol,
            transport,
        };
        Observation {
            packet,
            verdict: Verdict::Refused,
            pkttype: Pkttype::Unicast,
            iif: "eth0",
            oif: "",
            prefix: b"",
            fault: None,
        }
    }
}

/// What iplog passes over: what no `log` line asks for, if an `ignore` line does or the protocol is switched off.
fn passed_over(lines: &[Line], of: &Flow) -> bool {
    let filters = |log: bool| lines.iter().filter(move |line| line.log == log && !line.is_switch());
    let switch = lines.iter().rfind(|line| line.is_switch() && line.protocol == of.protocol);
    !filters(true).any(|line| line.matches(of))
        && (switch.is_some_and(|line| !line.log) || filters(false).any(|line| line.matches(of)))
}

const fn address(a: u8, b: u8, c: u8, d: u8) -> u32 {
    u32::from_be_bytes([a, b, c, d])
}

fn choice(words: Vec<(&'static str, Range)>) -> impl Strategy<Value = Option<Choice<Range>>> {
    let word = prop::sample::select(words);
    let choice =
        (prop::bool::weighted(0.3), word).prop_map(|(negated, (word, range))| (negated, word, range));
    prop::option::weighted(0.4, choice)
}

fn network() -> impl Strategy<Value = Option<Choice<Range>>> {
    let net = |first: u32, bits: u32| Some((first, first | ((1 << bits) - 1)));
    choice(vec![
        ("*", None),
        ("0.0.0.0", None),
        ("10.1.2.3", net(address(10, 1, 2, 3), 0)),
        ("10", net(address(10, 0, 0, 0), 0)),
        ("10/8", net(address(10, 0, 0, 0), 24)),
        ("10.1.2.3/16", net(address(10, 1, 0, 0), 16)),
        ("10.1.2.0/255.255.255.128", net(address(10, 1, 2, 0), 7)),
        ("192.0.2.0/255.255.255.0", net(address(192, 0, 2, 0), 8)),
    ])
}

fn ports() -> impl Strategy<Value = Option<Choice<Range>>> {
    choice(vec![
        ("*", None),
        ("22", Some((22, 22))),
        ("ssh", Some((22, 22))),
        ("domain:http", Some((53, 80))),
        ("1024:", Some((1024, 65535))),
        (":1023", Some((0, 1023))),
        ("1024:*", Some((1024, 65535))),
        ("1:65535", Some((1, 65535))),
    ])
}

fn types() -> impl Strategy<Value = Option<Choice<Range>>> {
    choice(vec![
        ("8", Some((8, 8))),
        ("ECHO", Some((8, 8))),
        ("icmp_echoreply", Some((0, 0))),
        ("unreach", Some((3, 3))),
        ("tstampreply", Some((14, 14))),
    ])
}

fn line() -> impl Strategy<Value = Line> {
    let ported = (prop::sample::select(vec!["tcp", "udp"]), ports(), ports());
    let icmp = (Just("icmp"), Just(None), types());
    let transport = prop_oneof![3 => ported.boxed(), 1 => icmp.boxed()];
    (prop::bool::weighted(0.3), network(), network(), transport)
        .prop_map(|(log, from, to, (protocol, sport, dport))| Line { log, protocol, from, to, sport, dport })
}

fn flow() -> impl Strategy<Value = Flow> {
    let host = || {
        prop::sample::select(vec![
            address(10, 0, 0, 0),
            address(10, 1, 2, 3),
            address(10, 1, 2, 200),
            address(10, 9, 9, 9),
            address(192, 0, 2, 7),
            address(203, 0, 113, 5),
        ])
    };
    let port = || prop::sample::select(vec![0_u32, 1, 22, 53, 80, 81, 1023, 1024, 65535]);
    let ported = (prop::sample::select(vec!["tcp", "udp"]), port(), port());
    let icmp = (Just("icmp"), Just(0), prop::sample::select(vec![0_u32, 3, 8, 13, 14]));
    (host(), host(), prop_oneof![3 => ported.boxed(), 1 => icmp.boxed()])
        .prop_map(|(saddr, daddr, (protocol, sport, dport))| Flow { protocol, saddr, daddr, sport, dport })
}

/// What a configuration made of this text ignores.
fn imported(form: Form, text: String) -> Config {
    let yaml = convert(form, &[Input { name: "f".into(), text }]).yaml;
    let read = Config::read(&Source::new("made", yaml.as_str()));
    let (config, warnings) = read.unwrap_or_else(|problems| panic!("{yaml}\n{problems}"));
    assert!(warnings.iter().all(|problem| problem.severity == Severity::Warning));
    config
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_filters_made_of_iplogs_decide_as_iplog_did(
        lines in prop::collection::vec(line(), 1..8),
        flows in prop::collection::vec(flow(), 40),
    ) {
        let text: String = lines.iter().map(|line| line.text() + "\n").collect();
        let filters: Filters = imported(Form::Iplog, text.clone()).ignore.into_iter().collect();
        for flow in flows {
            let ours = filters.matches(&flow.observation(), None);
            prop_assert_eq!(ours, passed_over(&lines, &flow), "{}\n{:?}", text, flow);
        }
    }

    #[test]
    fn whatever_is_read_what_is_printed_loads_and_says_nothing_of_its_own(
        words in prop::collection::vec(
            prop_oneof![
                "\\PC{0,12}",
                any::<String>(),
                prop::sample::select(vec![
                    "\n", "\r", "ignore", "log", "tcp", "udp", "icmp", "from", "to", "sport", "dport", "type", "set",
                    "false", "promisc", "user", "!", "*", "10/8", "22", "1024:", "/*", "*/", "#", "TCP_PORTS=\"",
                    "UDP_PORTS=\"1-9,", "\"", ",", "BLOCK_TCP=\"1\"", "192.0.2.1/24", "2001:db8::/32", "- {", "}", ": ",
                    "HOME_NET ", "ENABLE_AUTO_IDS Y;", "IGNORE_PORTS tcp/", "IGNORE_INTERFACES ", ";", " 0 ", " 5;",
                    "AUTO_BLOCK_TIMEOUT ", "[DEFAULT]\n", "[recidive]\nenabled=1\n", "bantime = ", "ignoreip = ", "1w", "%(a)s",
                    "a = ", "# bans of fail2ban that stand\n", "recidive\t",
                ]).prop_map(str::to_owned),
            ],
            0..24,
        ),
        joint in prop::sample::select(vec!["", " ", "\n"]),
    ) {
        for form in [Form::Iplog, Form::Portsentry, Form::Psad, Form::Fail2ban] {
            let config = imported(form, words.join(joint));
            // Nothing but these is ever set.
            let same = Config {
                mode: config.mode,
                home: config.home.clone(),
                traps: config.traps.clone(),
                allow: config.allow.clone(),
                ignore: config.ignore.clone(),
                ban: Ban {
                    times: config.ban.times.clone(),
                    forget: config.ban.forget,
                    ..Ban::default()
                },
                ..Config::default()
            };
            prop_assert_eq!(config, same);
        }
    }
}
