//! What becomes of settings, one by one. The command and whole files are in `tests/import.rs`.

use super::*;

fn converted(form: Form, text: &str) -> Converted {
    convert(form, &[Input { name: "f".into(), text: text.into() }])
}

/// The lines that are no comment and not empty.
fn settings(form: Form, text: &str) -> Vec<String> {
    let yaml = converted(form, text).yaml;
    let plain = yaml.lines().filter(|line| !line.trim_start().starts_with('#') && !line.is_empty());
    plain.map(|line| line.trim_start().to_owned()).collect()
}

/// The items of `ignore`.
fn ignored(text: &str) -> Vec<String> {
    settings(Form::Iplog, text)
        .into_iter()
        .filter_map(|line| Some(line.strip_prefix("- ")?.to_owned()))
        .collect()
}

/// Why the only setting is left.
fn left(form: Form, text: &str) -> String {
    let Converted { yaml, carried, left } = converted(form, text);
    assert_eq!((carried, left), (0, 1), "{yaml}");
    let comment = yaml.lines().find_map(|line| line.strip_prefix("#   f:1: ")).unwrap();
    comment.split_once(": ").unwrap().1.to_owned()
}

#[test]
fn an_ignore_line_becomes_a_filter() {
    for (line, filter) in [
        ("ignore udp dport domain", "{protocol: udp, dport: 53}"),
        ("IGNORE UDP DPORT 53", "{protocol: udp, dport: 53}"),
        (
            "ignore tcp from 10/8 sport 1024: to 192.0.2.7 dport !22",
            "{protocol: tcp, saddr: 10.0.0.0/8, sport: 1024-, daddr: 192.0.2.7, dport: {not: 22}}",
        ),
        (
            "ignore tcp from 10.1.2.3/255.255 dport :1023",
            "{protocol: tcp, saddr: 10.1.0.0/16, dport: 0-1023}",
        ),
        ("ignore tcp from !192.168.1.77/24", "{protocol: tcp, saddr: {not: 192.168.1.0/24}}"),
        ("ignore tcp from * dport 80:http-alt", "{protocol: tcp, dport: 80-8080}"),
        ("ignore icmp type ICMP_MASKREQ", "{protocol: icmp, icmp-type: 17}"),
        ("ignore icmp type !echo to 10.0.0.1", "{protocol: icmp, daddr: 10.0.0.1, icmp-type: {not: 8}}"),
        ("ignore udp", "{protocol: udp}"),
        ("set udp false", "{protocol: udp}"),
        ("ignore udp to 0.0.0.0/0.0.0.0", "{protocol: udp}"),
    ] {
        assert_eq!(ignored(line), [filter], "{line}");
    }
}

#[test]
fn every_log_line_that_may_meet_an_ignore_line_is_an_exception_to_it_wherever_it_stands() {
    assert_eq!(
        ignored(
            "ignore udp dport 53\nlog udp from 10.0.0.0/8\nlog udp dport 54\nlog tcp dport 53\nlog udp sport !53"
        ),
        ["{protocol: udp, dport: 53, not: [{saddr: 10.0.0.0/8}, {sport: {not: 53}}]}"]
    );
    assert_eq!(ignored("ignore udp dport 53\nlog udp from *"), [""; 0]);
}

#[test]
fn a_protocol_alone_is_a_switch_and_the_last_one_counts() {
    assert_eq!(ignored("ignore udp\nlog udp"), [""; 0]);
    assert_eq!(ignored("set udp false\nset udp"), [""; 0]);
    assert_eq!(ignored("log udp\nignore udp dport 53"), ["{protocol: udp, dport: 53}"]);
    assert_eq!(ignored("log udp dport 53\nignore udp"), ["{protocol: udp, not: [{dport: 53}]}"]);
}

#[test]
fn a_filter_that_cannot_be_carried_over_says_why() {
    for (line, why) in [
        ("ignore", "it names no protocol"),
        ("ignore gre", "iplog filters tcp, udp and icmp alone"),
        ("ignore udp from", "nothing stands behind `from`"),
        ("ignore udp from a.example", "names of hosts are not looked up, write its address"),
        ("ignore udp from 2001:db8::1", "iplog has no IPv6"),
        ("ignore udp from 10.0.0.0/255.0.255.0", "its mask is no prefix length and no netmask, write `/24`"),
        ("ignore udp from 10.0.0.0/0", "iplog takes prefix lengths from 1 to 32"),
        ("ignore udp from !*", "it matches no packet"),
        (
            "ignore udp dport frobnicate",
            "nfban does not know the service frobnicate: write the number of its port",
        ),
        ("ignore udp dport 0", "port 0 is every port to iplog and none to nfban"),
        ("ignore udp dport 9:8", "its ports end before they begin"),
        ("ignore udp dport 65536", "the largest port is 65535"),
        ("ignore udp type echo", "iplog knows no `type` in a filter for udp"),
        ("ignore icmp dport 1", "iplog knows no `dport` in a filter for icmp"),
        ("ignore icmp type 19", "iplog knows the types 0 to 18"),
        ("ignore icmp type pong", "iplog knows no type pong of ICMP"),
        ("ignore udp dport 1 dport 2", "`dport` stands there twice"),
        ("frobnicate", "iplog knows no such setting"),
        ("set", "iplog knows no such option"),
        ("set verbose maybe", "it is neither true nor false"),
        ("promisc example.org", "names of hosts are not looked up, write its address"),
        ("user", "nothing stands behind it"),
    ] {
        assert_eq!(left(Form::Iplog, line), why, "{line}");
    }
}

#[test]
fn comments_are_no_settings() {
    let text = "/* ignore udp\n ignore tcp */ ignore icmp # ignore udp\n#ignore udp\nignore udp /* dport 1 */ dport 2";
    assert_eq!(ignored(text), ["{protocol: icmp}", "{protocol: udp, dport: 2}"]);
}

#[test]
fn a_rule_is_switched_off_where_it_can_be() {
    let rules = |text| {
        let yaml = converted(Form::Iplog, text).yaml;
        let ids = yaml
            .lines()
            .filter_map(|line| line.strip_prefix("#   - {id: ")?.strip_suffix(", enabled: false}"));
        ids.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(rules("set null_scan false set xmas_scan true"), ["tcp-null-scan"]);
    // The two are one rule with two ids.
    assert_eq!(rules("set portscan false"), [""; 0]);
    assert_eq!(rules("set syn_scan false\nset portscan false"), ["tcp-port-scan"]);
}

#[test]
fn ports_of_portsentry_are_merged_and_an_excluded_one_is_no_trap() {
    let text = "TCP_PORTS=\"9, 7-8,22,1-3,22\"\nADVANCED_EXCLUDE_UDP=\"3,1\"\nUDP_PORTS=\"1-4,7\"\n";
    assert_eq!(
        settings(Form::Portsentry, text),
        [
            "mode: watch",
            "traps: [1-3, 7-9, 22, udp/2, udp/4, udp/7]",
            "ignore:",
            "- {protocol: udp, dport: [1, 3]}"
        ]
    );
}

#[test]
fn the_mode_follows_from_what_portsentry_blocked() {
    let mode = |text| settings(Form::Portsentry, text).remove(0);
    assert_eq!(mode("BLOCK_TCP=\"1\"\nBLOCK_UDP = \"1\""), "mode: enforce");
    assert_eq!(mode("BLOCK_TCP=\"1\"\nBLOCK_UDP=\"0\""), "mode: enforce");
    assert_eq!(mode("BLOCK_TCP=\"2\"\nBLOCK_UDP=\"2\""), "mode: watch");
    assert_eq!(mode("TCP_PORTS=\"1\""), "mode: watch");
    assert_eq!(settings(Form::Portsentry, "192.0.2.1"), ["allow: [192.0.2.1]"]);
}

#[test]
fn text_of_the_input_stays_within_its_comment() {
    for text in [
        "frob\u{85}mode: enforce",
        "frob\rmode: enforce",
        "frob\u{2028}mode: enforce",
        "user a\u{1b}[2J",
        "ignore udp from \u{202e}x",
        "user \u{ffff}\u{fffe}",
    ] {
        for form in [Form::Iplog, Form::Portsentry] {
            let yaml = converted(form, text).yaml;
            let harmless = |c: char| c == '\n' || !crate::report::escape::acts(c);
            assert!(yaml.chars().all(harmless), "{yaml:?}");
            assert!(!yaml.lines().any(|line| line.starts_with("mode: enforce")), "{yaml}");
        }
    }
}

#[test]
fn a_file_of_garbage_makes_a_bounded_number_of_comments() {
    let Converted { yaml, left, .. } = converted(Form::Iplog, &"\u{1b}frob\n".repeat(5000));
    assert_eq!(left, 5000);
    assert!(yaml.lines().count() < 1010 && yaml.contains("#   and 4000 more\n"), "{yaml}");
}
