//! What the configuration block of the manual says, and that no text breaks the reader.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::packet::Verdict;

fn read(text: &str) -> Result<(Config, Vec<Problem>), Problems> {
    Config::read(&Source::new("nfban.yaml", text))
}

fn good(text: &str) -> Config {
    match read(text) {
        Ok((config, warnings)) if warnings.is_empty() => config,
        Ok((_, warnings)) => panic!("{text}\n{warnings:?}"),
        Err(problems) => panic!("{text}\n{problems}"),
    }
}

/// The configuration block of the design.
const EXAMPLE: &str = r#"
mode: enforce                    # or watch: everything but the kernel is done. The shipped file says watch.
capture:
  - nflog: {group: 100}          # snaplen, queue-threshold and buffer have measured defaults
  - nflog: {group: 101, verdict: accepted}
  - nfqueue: {queue: 100}        # optional: verdicts inline, before the administrator's filter chain, fail-open
  - log: journal                 # optional: kernel LOG text; the journal's kernel transport only, or a file followed across rotation
  - access-log: /var/log/nginx/access.log
home: []                         # prefixes that are ours besides the addresses of this host (routers)
services: [22, tcp/443, udp/443, udp/51820]   # published; a bare number is tcp
traps: [23, 3389, 5900]          # nothing runs here
allow: [192.0.2.0/24, "2001:db8::/48"]
ignore: [{protocol: udp, dport: 138}]
respond: {spoofable: restrict, validated: ban}
ban: {times: [10m, 1h, 1d, 7d], forget: 30d, ipv6-prefix: 64, max: 100000}
keep: {incidents: 90d, packets: headers}
log: {format: json}
nftables: {table: inet nfban, conntrack: auto}
sources: 65536
"#;

fn of(protocol: u8, port: u16) -> Service {
    Service { protocol, ports: port..=port }
}

#[test]
fn the_example_of_the_manual_reads_as_it_is_meant() {
    let expected = Config {
        mode: Mode::Enforce,
        capture: vec![
            Capture::Nflog(Nflog::default()),
            Capture::Nflog(Nflog { groups: vec![101], verdict: Verdict::Accepted, ..Nflog::default() }),
            Capture::Nfqueue { queues: 100..=100 },
            Capture::Log(LogText::Journal),
            Capture::AccessLog("/var/log/nginx/access.log".into()),
        ],
        home: vec![],
        services: vec![of(6, 22), of(6, 443), of(17, 443), of(17, 51820)],
        traps: vec![of(6, 23), of(6, 3389), of(6, 5900)],
        trap: Trap::default(),
        allow: vec!["192.0.2.0/24".parse().unwrap(), "2001:db8::/48".parse().unwrap()],
        ignore: vec![Filter { protocol: vec![17], dport: vec![138..=138], ..Filter::default() }],
        respond: Respond { spoofable: Response::Restrict, validated: Response::Ban },
        ban: Ban {
            times: [600, 3600, 86400, 604_800].map(Duration::from_secs).to_vec(),
            forget: Duration::from_secs(30 * 86400),
            ipv6_prefix: 64,
            max: 100_000,
            per_minute: 10_000,
            whole_prefix: false,
        },
        keep: Keep { incidents: Duration::from_secs(90 * 86400), packets: KeepPackets::Headers },
        nftables: Nftables {
            table: Table { family: Family::Inet, name: "nfban".into() },
            sets: None,
            conntrack: Conntrack::Auto,
            owner: false,
        },
        sources: 65_536,
        control: Control { socket: "/run/nfban/control.sock".into(), group: "nfban".into() },
        rules: Rules { directory: "/etc/nfban/rules.d".into() },
        log: Log { format: crate::log::Format::Json },
        hooks: vec![],
        metrics: Metrics::default(),
    };
    let (config, warnings) = read(EXAMPLE).unwrap();
    assert_eq!(config, expected);
    // It shows everything there is; nobody has all of it.
    let warned: Vec<_> = warnings.iter().map(|warning| warning.message.as_str()).collect();
    assert_eq!(warned, ["a packet that waits in a queue and is logged as refused afterwards counts twice"]);
}

#[test]
fn an_empty_file_is_nflog_group_100_enforcing() {
    for text in ["", "\n", "# nothing\n", "---\n", "{}", "services:\ntraps:\nban:\n", "\u{feff}mode: enforce"]
    {
        assert_eq!(good(text), Config::default(), "{text:?}");
    }
    let Config { mode, capture, .. } = Config::default();
    assert_eq!(mode, Mode::Enforce);
    assert!(matches!(&capture[..], [Capture::Nflog(Nflog { groups, .. })] if groups == &[100]));
}

#[test]
fn settings_of_a_group_are_read() {
    let text = "capture: [{nflog: {groups: [100, 5], snaplen: 256, queue-threshold: 64, flush-timeout: 10ms, buffer: 4M}}]";
    let expected = Nflog {
        groups: vec![100, 5],
        verdict: Verdict::Refused,
        snaplen: 256,
        queue_threshold: 64,
        flush_timeout: Duration::from_millis(10),
        buffer: 4 << 20,
    };
    assert_eq!(good(text).capture, [Capture::Nflog(expected)]);
}

#[test]
fn a_form_of_the_log_that_nobody_knows_is_an_error_that_names_the_nearest() {
    let problems = read("log: {format: jsno}\n").unwrap_err().to_string();
    assert!(problems.contains("json"), "{problems}");
    assert!(read("log: {path: /var/log/nfban}\n").is_err());
}

#[test]
fn sets_of_the_administrator_are_named() {
    let (config, warnings) =
        read("nftables: {table: ip filter, sets: {ban4: scanners, ban4_prefix: nets}}").unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].message.contains("sources of IPv4 are not restricted"), "{warnings:?}");
    assert_eq!(config.nftables.table.to_string(), "ip filter");
    let sets = config.nftables.sets.unwrap();
    assert_eq!(
        (sets.ban4.as_deref(), sets.ban4_prefix.as_deref(), sets.ban6),
        (Some("scanners"), Some("nets"), None)
    );
}

#[test]
fn without_conntrack_a_restriction_is_warned_of() {
    let (_, warnings) = read("nftables: {conntrack: never}").unwrap();
    assert_eq!(warnings.len(), 1);
}

#[test]
fn what_no_set_of_the_administrator_is_for_is_warned_of() {
    let warned = |text: &str| {
        let (_, warnings) = read(&format!("nftables: {text}")).unwrap();
        warnings.into_iter().map(|warning| warning.message).collect::<Vec<_>>()
    };
    let all = "sets: {ban4: a, ban6: b, restrict4: c, restrict6: d}";
    assert_eq!(warned(&format!("{{table: inet filter, {all}}}")), [""; 0]);
    assert_eq!(warned(&format!("{{table: inet filter, conntrack: never, {all}}}")), [""; 0]);
    assert_eq!(
        warned("{table: netdev edge, sets: {ban4: a, restrict6: d}}"),
        [
            "sources of IPv4 are not restricted: what asks for it only logs",
            "sources of IPv6 are restricted where they are to be banned",
        ]
    );
    assert_eq!(
        warned("{table: inet filter, sets: {ban4: a, restrict4: c}}"),
        ["sources of IPv6 are neither banned nor restricted: incidents are only told"]
    );
    assert_eq!(warned("{table: ip6 filter, sets: {ban6: a, restrict6: c}}"), [""; 0]);
}

#[test]
fn a_set_cannot_be_named_twice_nor_in_a_table_that_has_no_use_for_it() {
    for (text, wrong) in [
        ("{table: inet filter, sets: {ban4: a, restrict4: a}}", "the set `a` is named twice"),
        ("{table: ip filter, sets: {ban4: a, ban6: b}}", "no packet of IPv6 comes to the table `ip filter`"),
        ("{table: ip6 filter, sets: {ban4: a}}", "no packet of IPv4 comes to the table `ip6 filter`"),
    ] {
        let problems = read(&format!("nftables: {text}")).unwrap_err();
        assert!(problems.iter().any(|problem| problem.message == wrong), "{text}: {problems:?}");
    }
}

#[test]
fn only_a_table_of_its_own_can_be_owned() {
    assert!(good("nftables: {owner: true}").nftables.owner);
    let problems = read("nftables: {owner: true, table: inet filter, sets: {ban4: a}}").unwrap_err();
    assert!(problems.iter().any(|problem| problem.message.starts_with("with `sets` the table is yours")));
    assert!(read("nftables: {owner: yes}").is_err());
}

#[test]
fn aliases_repeat_values() {
    let config =
        good("services: &published [22, 443]\nhome: []\nignore: [{dport: *published, saddr: 192.0.2.1}]");
    assert_eq!(config.ignore[0].dport, [22..=22, 443..=443]);
}

#[test]
fn aliases_cannot_be_made_a_bomb() {
    let wide = format!(
        "a: &a [{}]\n{}",
        "x, ".repeat(1000),
        (0..6)
            .map(|n| format!(
                "{0}: &{0} [{1}]\n",
                char::from(b'b' + n),
                format!("*{}, ", char::from(b'a' + n)).repeat(10)
            ))
            .collect::<String>()
    );
    let deep = format!(
        "k0: &k0 [x]\n{}",
        (1..5000).map(|n| format!("k{n}: &k{n} [*k{}]\n", n - 1)).collect::<String>()
    );
    for (text, message) in
        [(wide, "copy more than"), (deep, "nest too deeply"), ("a: &a [*a]".into(), "inside the value")]
    {
        let problems = read(&text).unwrap_err();
        assert!(problems.iter().any(|problem| problem.message.contains(message)), "{problems}");
    }
}

#[test]
fn a_file_full_of_mistakes_is_read_to_its_end() {
    let problems = read(&format!("services:\n{}", "- x\n".repeat(20_000))).unwrap_err();
    assert_eq!((problems.len(), problems.iter().count()), (20_000, 100));
    assert!(problems.to_string().ends_with("... and 19900 more\n"));
}

#[test]
fn deep_nesting_is_refused() {
    for text in ["[".repeat(100_000), "- ".repeat(100_000), "{a: ".repeat(50_000), "? ".repeat(50_000)] {
        assert!(read(&text).is_err());
    }
}

#[test]
fn a_file_that_cannot_be_used_is_told_with_its_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nfban.yaml");
    let problem = |octets: &[u8]| {
        std::fs::write(&path, octets).unwrap();
        Config::load(&path).unwrap_err().to_string()
    };
    assert!(
        problem(b"mode: watch\n# caf\xe9\n")
            .contains("nfban.yaml:2:6: error: not UTF-8\n  2 | # caf\u{fffd}\n")
    );
    assert!(problem(&vec![b' '; (1 << 20) + 1]).contains("larger than 1 MiB"));
    assert!(Config::load(folder.path()).unwrap_err().to_string().contains("is a directory"));
    let missing = Config::load(&folder.path().join("absent")).unwrap_err().to_string();
    assert!(missing.contains("No such file") && missing.contains("an empty file is a good configuration"));
}

#[test]
fn a_file_that_others_may_write_is_not_trusted() {
    use std::os::unix::fs::PermissionsExt as _;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o666)).unwrap();
    assert!(Config::load(file.path()).is_ok());
    assert!(Config::load_from(file.path(), Trust::OwnOrRoots).unwrap_err().any_error());
}

fn together(texts: &[&str]) -> Result<(Config, Vec<Problem>), Problems> {
    let sources: Vec<_> =
        texts.iter().enumerate().map(|(number, text)| Source::new(format!("{number}.yaml"), *text)).collect();
    Config::read_all(&sources)
}

#[test]
fn of_several_files_lists_of_the_top_level_are_joined_and_of_all_else_the_later_one_counts() {
    let (config, warnings) = together(&[
        "mode: watch\nservices: [22]\nallow:\nban: {times: [1h, 2h], max: 5}\nrespond: {spoofable: log}",
        "services: 443\nallow: [192.0.2.0/24]\nban: {times: [10m]}\ntraps: [23]",
        "# nothing",
        "mode: enforce\nservices: [udp/53, 22]\nrespond:\ncapture: [{nflog: {group: 5}}]",
        "capture: [{nflog: {group: 6}}]",
    ])
    .unwrap();
    assert_eq!(warnings, []);
    assert_eq!(config.mode, Mode::Enforce);
    assert_eq!(config.services, [of(6, 22), of(6, 443), of(17, 53), of(6, 22)]);
    assert_eq!((config.allow.len(), &config.traps[..]), (1, &[of(6, 23)][..]));
    assert_eq!((config.ban.times, config.ban.max), (vec![Duration::from_secs(600)], 5));
    assert_eq!((config.respond.spoofable, config.respond.validated), (Response::Log, Response::Ban));
    let groups = config.capture.iter().map(|capture| match capture {
        Capture::Nflog(nflog) => nflog.groups.clone(),
        other => panic!("{other:?}"),
    });
    assert_eq!(groups.collect::<Vec<_>>(), [[5], [6]], "the group that is captured by default is not");
}

#[test]
fn what_is_wrong_names_the_file_that_it_stands_in() {
    let problems = together(&[
        "modd: watch\ncapture: [{nflog: {group: 100}}]",
        "ban: {max: 0}\nservices: [22, 80-]",
        "- a list",
        "key: [",
        "capture: [{nflog: {group: 100}}]\ntraps: [22]",
    ])
    .unwrap_err();
    let told: Vec<_> = problems
        .iter()
        .map(|problem| {
            let place = problem.place.unwrap();
            (problem.file.as_str(), place.line, place.column, problem.snippet.as_deref().unwrap_or_default())
        })
        .collect();
    assert_eq!(
        told,
        [
            ("0.yaml", 1, 1, "modd: watch"),
            ("1.yaml", 1, 12, "ban: {max: 0}"),
            ("1.yaml", 2, 16, "services: [22, 80-]"),
            ("2.yaml", 1, 1, "- a list"),
            ("3.yaml", 1, 6, "key: ["),
            ("4.yaml", 1, 27, "capture: [{nflog: {group: 100}}]"),
            ("4.yaml", 2, 9, "traps: [22]"),
        ],
        "{problems}"
    );
}

#[test]
fn files_of_the_directory_are_read_in_the_order_of_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("nfban.yaml", "sources: 1024");
    std::fs::create_dir(folder.path().join("conf.d")).unwrap();
    for (name, text) in [
        ("conf.d/20-b.yaml", "sources: 4096"),
        ("conf.d/10-a.yaml", "sources: 2048\nservices: [22]"),
        ("conf.d/30-c.yaml~", "nonsense"),
        ("conf.d/.#20-b.yaml", "nonsense"),
        ("conf.d/40.yaml.dpkg-old", "nonsense"),
    ] {
        write(name, text);
    }
    let load = || Config::load(&folder.path().join("nfban.yaml"));
    let (config, _) = load().unwrap();
    assert_eq!((config.sources, config.services), (4096, vec![of(6, 22)]));
    write("conf.d/99.yaml", "sources: many");
    let said = load().unwrap_err().to_string();
    assert!(said.contains("conf.d/99.yaml:1:10: error"), "{said}");
    std::fs::remove_file(folder.path().join("nfban.yaml")).unwrap();
    let said = load().unwrap_err().to_string();
    assert!(said.contains("nfban.yaml: error: cannot be read") && said.contains("99.yaml:1:10"), "{said}");
}

#[test]
fn rules_that_no_packet_can_reach_are_warned_of() {
    let warned = |config: &str, rule: &str| {
        let (config, _) = read(config).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("own.yaml"), rule).unwrap();
        let loaded = rules::load_from(rules::SHIPPED, folder.path(), Trust::Anybody).unwrap();
        let odd = odd_rules(&config, &loaded);
        odd.into_iter().map(|problem| (problem.place.unwrap().line, problem.message)).collect::<Vec<_>>()
    };
    let rule = |filter: &str| {
        format!("# mine\n- {{id: mine, match: {{{filter}}}, count: packets, threshold: 3, window: 60s}}")
    };
    for (config, filter, what) in [
        ("", "class: syn", None),
        ("services: [22]", "class: syn, dport: [22, 23]", None),
        ("services: [20-30]", "class: syn, dport: [22, 25-30]", Some("its ports are `services`")),
        ("services: [20-30]", "dport: 22", None),
        ("services: [20-30]", "protocol: tcp, dport: 22", Some("its ports are `services`")),
        ("services: [20-30]", "protocol: tcp, dport: 22, verdict: accepted", Some("`nfban:accepted`")),
        ("capture: [{log: journal}]", "protocol: tcp, verdict: accepted", None),
        ("capture: [{nfqueue: {queue: 1}}]", "class: syn", None),
        ("", "protocol: tcp, dport: traps", Some("there are no `traps`")),
        ("traps: [23]", "protocol: tcp, dport: traps", None),
    ] {
        let told = warned(config, &rule(filter));
        match what {
            None => assert_eq!(told, [], "{config} {filter}"),
            Some(what) => assert!(told.len() == 1 && told[0].0 == 2 && told[0].1.contains(what), "{told:?}"),
        }
    }
    assert_eq!(
        warned("", "- {id: trap-port, enabled: true}"),
        [],
        "what is shipped is for every configuration"
    );
}

/// Text that is nearly a configuration: its own words in any order.
fn nearly() -> impl Strategy<Value = String> {
    let words = prop::sample::select(
        "mode capture nflog group groups verdict accepted 100 0 services 22 tcp/443 80- ban times 10m forget ignore not \
         protocol udp dport class null ~ : - , [ ] { } & * a \" ' # | > ! ? % @ --- ... \t \r \n"
            .split(' ')
            .chain(["\n", "\n  ", ": ", " ", "- ", "\u{feff}", "日本", "\0", "\u{85}"])
            .collect::<Vec<_>>(),
    );
    prop::collection::vec(words, 0..60).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn no_text_panics_the_reader_and_every_problem_has_a_place(any in "(?s).{0,200}", near in nearly()) {
        for text in [any, near] {
            let problems = match read(&text) {
                Ok((_, warnings)) => warnings,
                Err(problems) => {
                    prop_assert!(problems.any_error());
                    problems.into_iter().collect()
                }
            };
            for problem in problems {
                prop_assert!(problem.place.is_some_and(|place| place.line >= 1 && place.column >= 1));
                let shown = problem.render(false);
                prop_assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
            }
            let _ = rules::load(&[("any", &text)], Path::new("/nonexistent"));
        }
    }
}
