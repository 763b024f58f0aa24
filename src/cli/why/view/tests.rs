use super::fired::answered;
use super::*;
use crate::cli::bans::tests::row;
use crate::cli::names::tests::named;
use crate::control::protocol::{Exempt, Mode};
use crate::decide::Evidence;
use crate::event::IncidentId;
use crate::packet::Verdict;
use crate::report::firing::{Answer, Packet};
use crate::report::screen::Screen;
use crate::time::Wall;

fn at(ms: i64) -> Wall {
    Wall(1_767_323_045_000_006 + ms * 1000)
}

fn packet(ms: i64, port: u16) -> Packet {
    Packet {
        time: at(ms),
        last_seen: at(ms),
        packets: 1,
        interface: Some("eth0".into()),
        protocol: "tcp".into(),
        source: [192, 0, 2, 7].into(),
        source_port: Some(40_000),
        destination: Some([203, 0, 113, 5].into()),
        port: Some(port),
        flags: Some("SYN".into()),
        icmp: None,
        ttl: Some(57),
        length: Some(44),
        verdict: Some(Verdict::Refused),
        handshake: false,
        probe: None,
        request: None,
        status: None,
    }
}

fn fired() -> Firing {
    Firing {
        incident: Some(IncidentId(0x00c0_ffee)),
        time: at(20),
        rule: "tcp-port-scan".into(),
        told_as: "tcp-syn-scan".into(),
        source: "192.0.2.7".parse().unwrap(),
        evidence: Evidence::Spoofable,
        counts: "distinct ports, some of more weight".into(),
        count: 9,
        threshold: 9,
        window_s: 300,
        opened: true,
        answer: Some(Answer::Acted { action: Measure::Restrict, timeout_s: 600, before: 0, targets: 1 }),
        packets: vec![packet(0, 22), packet(10, 80), Packet { packets: 3, ..packet(20, 8080) }],
        left_out: 2,
    }
}

pub(in crate::cli::why) fn why() -> Why {
    Why {
        address: "192.0.2.7".parse().unwrap(),
        mode: Mode::Enforce,
        protected: None,
        bans: vec![Decided {
            ban: row("192.0.2.7", "tcp-syn-scan", Some(581), None),
            validated: false,
            before: 0,
        }],
        open_incidents: vec![],
        firings: vec![fired()],
        counting: vec![],
        exempt: vec![],
        repetitions: 1,
        forget_s: 30 * 86_400,
        times_s: vec![600, 3600, 86_400, 604_800],
        spoofable_limit_s: 3600,
    }
}

fn case(why: Why) -> Case {
    Case { why, record: None, trouble: None }
}

fn shown(why: Why, screen: Screen) -> String {
    let mut out = Vec::new();
    whole(&mut Page::new(&mut out, screen), &case(why), &Names::default()).unwrap();
    String::from_utf8(out).unwrap()
}

const WIDE: Screen = Screen { width: None, color: false };
const NARROW: Screen = Screen { width: Some(80), color: false };

#[test]
fn a_ban_is_told_with_its_rule_its_packets_its_length_and_the_way_out() {
    assert_eq!(
        shown(why(), NARROW),
        "\
192.0.2.7 is restricted: it reaches what is published, the rest is dropped.
  Since 2026-01-02 03:04:05Z; it ends in 9m 41s; 120 packets dropped so far.
  Rule: tcp-syn-scan.

tcp-port-scan (told as tcp-syn-scan) fired on 192.0.2.7 at 2026-01-02 03:04:05Z
  It asks for 9 within 5m (distinct ports, some of more weight), and counted 9
  in packets that were refused:
  TIME          IN      FROM  TO                WHAT     TTL  LEN  TIMES
  03:04:05.000  eth0  :40000  203.0.113.5:22    tcp SYN   57   44      1
  03:04:05.010  eth0  :40000  203.0.113.5:80    tcp SYN   57   44      1
  03:04:05.020  eth0  :40000  203.0.113.5:8080  tcp SYN   57   44      3
  2 earlier entries are left out.
  It was restricted to what is published for 10m: such packets can carry a
  forged source, so the evidence is `spoofable`. This is its ban number 1 within
  30d; they last 10m, then 1h, then 1d, then 7d, and never more than 1h on such
  evidence.

If this is wrong
  nfban unban 192.0.2.7
  allow: [\"192.0.2.7\"]  in nfban.yaml, then `nfban reload`: never acted against
"
    );
}

#[test]
fn names_stand_at_the_top_beside_ports_and_below_the_packets_of_a_prefix() {
    let names = named(&[("192.0.2.7", "scanner.example.org")]);
    let told = |why: Why| {
        let mut out = Vec::new();
        let case = Case { why, record: None, trouble: None };
        whole(&mut Page::new(&mut out, NARROW), &case, &names).unwrap();
        String::from_utf8(out).unwrap()
    };
    let one = told(why());
    assert!(one.starts_with("192.0.2.7 is scanner.example.org\n192.0.2.7 is restricted"), "{one}");
    assert!(one.contains("203.0.113.5:22 (ssh) ") && one.contains("203.0.113.5:80 (http) "), "{one}");
    assert!(one.contains("203.0.113.5:8080  "), "{one}");
    assert_eq!(one.matches("scanner.example.org").count(), 1, "{one}");
    let prefix = "192.0.2.0/24".parse().unwrap();
    let many = told(Why { address: prefix, firings: vec![Firing { source: prefix, ..fired() }], ..why() });
    assert!(many.starts_with("192.0.2.7 is restricted"), "a prefix has no name\n{many}");
    assert_eq!(many.matches("  192.0.2.7 is scanner.example.org\n").count(), 1, "{many}");
}

#[test]
fn of_somebody_unknown_there_is_one_line() {
    let nobody = Why { bans: vec![], firings: vec![], repetitions: 0, ..why() };
    let line = "nothing is known of 192.0.2.7: it is not banned, and no packet of it has counted\n";
    assert_eq!(shown(nobody, WIDE), line);
}

#[test]
fn what_was_not_enough_and_what_counted_for_nothing_is_told_of_those_who_are_not_banned() {
    let near = Firing { incident: None, answer: None, count: 6, opened: false, left_out: 0, ..fired() };
    let exempt = Exempt {
        source: "192.0.2.7".parse().unwrap(),
        packets: [("published".to_owned(), 12), ("late".to_owned(), 1)].into(),
        last_seen: at(0),
        reason: "published".into(),
        protocol: "tcp".into(),
        port: Some(443),
    };
    let near = Why { bans: vec![], firings: vec![], counting: vec![near], exempt: vec![exempt], ..why() };
    assert_eq!(
        shown(near, WIDE),
        "\
192.0.2.7 is not banned.

What counts now, and is not enough
RULE           OF         COUNT  THRESHOLD  WITHIN
tcp-port-scan  192.0.2.7      6          9      5m

The packets that tcp-port-scan counts:
  TIME          IN      FROM  TO                WHAT     TTL  LEN  TIMES
  03:04:05.000  eth0  :40000  203.0.113.5:22    tcp SYN   57   44      1
  03:04:05.010  eth0  :40000  203.0.113.5:80    tcp SYN   57   44      1
  03:04:05.020  eth0  :40000  203.0.113.5:8080  tcp SYN   57   44      3

  13 packets of 192.0.2.7 counted for nothing: 1 like the rest of an ended conversation; 12 to published ports (`services`). The latest came at 2026-01-02 03:04:05Z (tcp/443).
"
    );
}

#[test]
fn text_from_outside_cannot_act_on_the_terminal() {
    let hostile = "\u{1b}[2J\u{202e}\n\u{7}";
    let request = Packet {
        protocol: "http".into(),
        interface: None,
        request: Some(format!("GET /{hostile}")),
        probe: Some(hostile.into()),
        status: Some(404),
        ..packet(0, 80)
    };
    let segment = Packet {
        interface: Some(hostile.into()),
        flags: Some(hostile.into()),
        protocol: hostile.into(),
        ..packet(0, 80)
    };
    for packet in [request, segment] {
        let firing =
            Firing { rule: hostile.into(), counts: hostile.into(), packets: vec![packet], ..fired() };
        let ban = row("192.0.2.7", hostile, None, Some(hostile));
        let bans = vec![Decided { ban, validated: true, before: 3 }];
        let told = shown(
            Why {
                protected: Some(hostile.into()),
                bans,
                firings: vec![firing.clone()],
                counting: vec![firing],
                ..why()
            },
            WIDE,
        );
        assert!(!told.contains(['\u{1b}', '\u{202e}', '\u{7}']), "{told:?}");
        assert!(told.contains(r"\u{1b}[2J\u{202e}\n\u{7}"), "{told}");
    }
}

#[test]
fn every_answer_is_a_sentence() {
    for answer in [
        Answer::Stands,
        Answer::Logs,
        Answer::Unavailable,
        Answer::Nobody,
        Answer::Protected,
        Answer::Allowed,
        Answer::NoRoom,
        Answer::Acted { action: Measure::Ban, timeout_s: 60, before: 2, targets: 3 },
    ] {
        let one = Firing { evidence: Evidence::Validated, ..fired() };
        let told = answered(&answer, &one, &case(why()));
        assert!(told.ends_with('.') && told.chars().next().is_some_and(char::is_alphanumeric), "{told}");
        assert!(!told.contains("  "), "{told}");
    }
    let watching = Why { mode: Mode::Watch, bans: vec![], ..why() };
    let acted = Answer::Acted { action: Measure::Ban, timeout_s: 60, before: 0, targets: 1 };
    let told = answered(&acted, &fired(), &case(watching.clone()));
    assert!(
        told.starts_with("It would have been banned for 1m (`mode: watch`: the kernel was not told): "),
        "{told}"
    );
    // What a ban says of itself holds, whatever the mode has become.
    let mut held = row("192.0.2.7", "tcp-syn-scan", Some(581), None);
    held.incident = fired().incident;
    let bans = vec![Decided { ban: held, validated: false, before: 0 }];
    let told = answered(&acted, &fired(), &case(Why { bans, ..watching }));
    assert!(told.starts_with("It was banned for 1m: "), "{told}");
}

#[test]
fn whoever_is_on_the_allowlist_is_not_told_how_to_get_there() {
    let allowed = Some("is on the allowlist".to_owned());
    let told = shown(Why { protected: allowed.clone(), bans: vec![], ..why() }, NARROW);
    assert!(told.starts_with("192.0.2.7 is never banned: it is on the allowlist.\n"), "{told}");
    assert!(!told.contains("allow: [") && !told.contains("If this is wrong"), "{told}");
    let one_port = Firing { packets: vec![packet(0, 22)], ..fired() };
    let told = shown(Why { protected: allowed, bans: vec![], firings: vec![one_port], ..why() }, NARROW);
    assert!(told.contains("If this is wrong\n  ignore: [{protocol: tcp, dport: 22}]"), "{told}");
}

#[test]
fn no_line_is_longer_than_the_terminal_and_none_is_broken_within_a_word() {
    let prefix = "2001:db8:1234:5678::/64".parse().unwrap();
    let told = shown(
        Why { address: prefix, firings: vec![Firing { source: prefix, ..fired() }], ..why() },
        Screen { width: Some(60), color: false },
    );
    for line in told.lines() {
        assert!(line.len() <= 60, "{line}");
    }
    assert!(
        told.contains(
            "\n  allow: [\"2001:db8:1234:5678::/64\"]  in nfban.yaml, then\n  `nfban reload`: never"
        ),
        "{told}"
    );
}

#[test]
fn where_the_interface_is_not_known_that_is_said() {
    let touch = Packet { interface: None, handshake: true, flags: None, ..packet(0, 23) };
    let told = |packets| shown(Why { firings: vec![Firing { packets, ..fired() }], ..why() }, NARROW);
    let one = told(vec![packet(0, 22), touch]);
    assert!(one.contains("  The kernel does not tell the interface where IN is `-`.\n"), "{one}");
    assert!(!told(vec![packet(0, 22)]).contains("does not tell"));
    let logged = told(vec![Packet { interface: None, ..packet(0, 22) }]);
    assert!(logged.contains("What was captured does not tell the interface"), "{logged}");
}

#[test]
fn requests_of_several_addresses_say_whose_each_is() {
    let request = |last: u8| Packet {
        source: [192, 0, 2, last].into(),
        protocol: "http".into(),
        interface: None,
        request: Some("GET /.env".into()),
        probe: Some("dotfile".into()),
        status: Some(404),
        ..packet(0, 80)
    };
    let told = |source: &str, packets| {
        let firing = Firing { source: source.parse().unwrap(), packets, ..fired() };
        shown(Why { firings: vec![firing], ..why() }, NARROW)
    };
    let one = told("192.0.2.7", vec![request(7)]);
    assert!(one.contains("  03:04:05.000  dotfile     404  GET /.env      1\n"), "{one}");
    let several = told("192.0.2.0/24", vec![request(7), request(8)]);
    assert!(several.contains("  03:04:05.000  192.0.2.8  dotfile     404  GET /.env      1\n"), "{several}");
}
