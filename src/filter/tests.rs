//! What a filter matches, against an oracle that looks at one field at a time.

use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::config::problem::Problems;
use crate::config::read::Report;
use crate::config::yaml::{self, Source};
use crate::packet::{Fragment, Icmp, Udp};

fn read_text(text: &str) -> Result<Filter, Problems> {
    let source = Source::new("filter", text);
    let mut report = Report::new(&source);
    let filter = yaml::parse(&mut report).and_then(|node| super::read(&node, "`match`", &mut report));
    let problems = report.finish();
    match filter {
        Some(filter) if problems.is_empty() => Ok(filter),
        _ => Err(problems),
    }
}

fn syn(saddr: &str, dport: u16) -> Observation<'static> {
    let saddr: IpAddr = saddr.parse().unwrap();
    let daddr: IpAddr =
        if saddr.is_ipv4() { "203.0.113.5".parse().unwrap() } else { "2001:db8::5".parse().unwrap() };
    Observation {
        packet: Packet {
            saddr,
            daddr,
            length: 44,
            header_length: 20,
            ttl: 50,
            dont_fragment: false,
            identification: None,
            fragment: None,
            protocol: 6,
            transport: Transport::Tcp(Tcp {
                sport: 40000,
                dport,
                sequence: Some(7),
                header_length: None,
                flags: TcpFlags(TcpFlags::SYN),
                window: 1024,
            }),
        },
        verdict: Verdict::Refused,
        pkttype: Pkttype::Unicast,
        iif: "eth0",
        oif: "",
        prefix: b"nfban:refused ",
        fault: None,
    }
}

#[test]
fn every_part_reads_in_the_words_of_nft() {
    let filter = read_text(
        "{class: [syn, null], verdict: refused, protocol: [tcp, 1], saddr: 192.0.2.0/24, daddr: [203.0.113.5],
          sport: 1024-, dport: [ssh, 80-90], tcp-flags: [syn, 'ack/syn,ack'], tcp-sequence: [0, 4294967295],
          ttl: 60-64, hoplimit: 255, length: [40, 60-], dont-fragment: true, icmp-type: 8, fragment: false, fault: [overlap, tiny], raw: true,
          pkttype: [broadcast], log-prefix: 'nfban:', iif: eth*, oif: [lo], not: {saddr: 192.0.2.7}}",
    );
    let expected = Filter {
        class: vec![Class::Syn, Class::Null],
        verdict: vec![Verdict::Refused],
        protocol: vec![6, 1],
        saddr: vec!["192.0.2.0/24".parse().unwrap()],
        daddr: vec!["203.0.113.5/32".parse().unwrap()],
        sport: vec![1024..=65535],
        dport: vec![22..=22, 80..=90],
        dport_traps: false,
        tcp_flags: vec![(2, 2), (0x10, 0x12)],
        tcp_sequence: vec![0, u32::MAX],
        ttl: vec![60..=64, 255..=255],
        length: vec![40..=40, 60..=u32::MAX],
        dont_fragment: Some(true),
        icmp_type: vec![8..=8],
        fragment: Some(false),
        fault: vec![Fault::Overlap, Fault::Tiny],
        raw: Some(true),
        pkttype: vec![Pkttype::Broadcast],
        log_prefix: vec!["nfban:".into()],
        iif: vec!["eth*".into()],
        oif: vec!["lo".into()],
        not: vec![Filter { saddr: vec!["192.0.2.7/32".parse().unwrap()], ..Filter::default() }],
    };
    assert_eq!(filter, Ok(expected));
}

#[test]
fn the_name_of_an_icmp_type_depends_on_the_protocol() {
    let types = |text| read_text(text).map(|filter| filter.icmp_type);
    assert_eq!(types("{protocol: icmp, icmp-type: [echo-request, 13]}"), Ok(vec![8..=8, 13..=13]));
    assert_eq!(types("{protocol: icmpv6, icmp-type: echo-request}"), Ok(vec![128..=128]));
    assert_eq!(types("{icmp-type: [8, 130-132, 200-]}"), Ok(vec![8..=8, 130..=132, 200..=255]));
    assert!(types("{icmp-type: echo-request}").is_err());
    assert!(types("{protocol: [icmp, icmpv6], icmp-type: echo-request}").is_err());
    assert!(types("{protocol: icmpv6, icmp-type: timestamp-request}").is_err());
}

#[test]
fn a_filter_that_matches_everything_or_nothing_is_refused() {
    for text in [
        "{}",
        "{saddr: }",
        "{saddr: []}",
        "{dport: 80, not: {}}",
        "{dport: 80, not: {not: {dport: 81}}}",
        "{protocol: icmp, dport: 80}",
        "{protocol: udp, tcp-flags: syn}",
        "{tcp-flags: ack/syn}",
        "{fragment: }",
        "[tcp]",
        "tcp",
        "{dport: {not: }}",
        "{dport: {not: []}}",
        "{dport: {not: 22, 23: }}",
        "{dport: {not: {not: 22}}}",
        "{protocol: tcp, icmp-type: {not: 8}}",
        "{fragment: {not: {fragment: true}}}",
        "{icmp-type: {not: echo-request}}",
    ] {
        assert!(read_text(text).is_err(), "{text}");
    }
}

#[test]
fn a_part_that_a_packet_does_not_have_does_not_match_it() {
    let matches = |text: &str, of: &Observation<'_>| read_text(text).unwrap().matches(of, None);
    let mut ping = syn("192.0.2.7", 0);
    ping.packet.protocol = 1;
    ping.packet.transport = Transport::Icmp(Icmp { kind: 8, code: 0 });
    assert!(
        !matches("dport: 0-", &ping)
            && !matches("sport: 0-", &ping)
            && !matches("tcp-flags: none/syn", &ping)
    );
    assert!(matches("icmp-type: 8", &ping) && !matches("icmp-type: 2", &syn("192.0.2.7", 22)));
    // IPv6 has no DF bit: that it is not set says nothing.
    assert!(matches("dont-fragment: false", &syn("192.0.2.7", 22)));
    assert!(!matches("dont-fragment: false", &syn("2001:db8::7", 22)));
}

#[test]
fn bare_flags_leave_the_other_bits_open_and_a_mask_closes_them() {
    let with = |bits| {
        let mut of = syn("192.0.2.7", 22);
        if let Transport::Tcp(tcp) = &mut of.packet.transport {
            tcp.flags = TcpFlags(bits);
        }
        of
    };
    let matches = |text: &str, bits| read_text(text).unwrap().matches(&with(bits), None);
    assert!(matches("tcp-flags: syn", 0x02) && matches("tcp-flags: syn", 0x12));
    assert!(matches("tcp-flags: 'syn/syn,ack'", 0x42) && !matches("tcp-flags: 'syn/syn,ack'", 0x12));
    assert!(matches("tcp-flags: none/fin,syn,rst,psh,ack,urg", 0xc0));
}

#[test]
fn not_excludes_what_any_of_its_filters_matches() {
    let filter = read_text("{dport: 1-1000, not: [{saddr: 192.0.2.0/24, dport: 22}, {iif: lo}]}").unwrap();
    assert!(!filter.matches(&syn("192.0.2.7", 22), None));
    assert!(filter.matches(&syn("192.0.2.7", 23), None));
    assert!(filter.matches(&syn("198.51.100.7", 22), None));
    assert!(!filter.matches(&Observation { iif: "lo", ..syn("192.0.2.7", 23) }, None));
}

#[test]
fn a_negated_part_asks_for_a_packet_that_has_something_else_there() {
    let matches = |text: &str, of: &Observation<'_>| read_text(text).unwrap().matches(of, Some(Class::Syn));
    let mut ping = syn("192.0.2.7", 0);
    ping.packet.protocol = 1;
    ping.packet.transport = Transport::Icmp(Icmp { kind: 8, code: 0 });
    let (four, six) = (syn("192.0.2.7", 22), syn("2001:db8::7", 22));

    assert!(matches("dport: {not: [23, 80-]}", &four) && !matches("dport: {not: [ssh, 80-]}", &four));
    assert!(!matches("dport: {not: 22}", &ping));
    assert!(matches("icmp-type: {not: [0, 9-255]}", &ping) && !matches("icmp-type: {not: 0-8}", &ping));
    assert!(!matches("icmp-type: {not: 0}", &four));
    assert!(!matches("{protocol: icmp, icmp-type: {not: echo-request}}", &ping));
    assert!(
        matches("tcp-flags: {not: [fin, rst]}", &four) && !matches("tcp-flags: {not: [fin, rst]}", &ping)
    );
    // IPv6 has no IPv4 source to be another.
    assert!(
        matches("saddr: {not: 198.51.100.0/24}", &four) && !matches("saddr: {not: 198.51.100.0/24}", &six)
    );
    assert!(!matches("saddr: {not: [192.0.2.0/24, '2001:db8:1::/48']}", &four));
    assert!(matches("saddr: {not: [192.0.2.0/24, '2001:db8:1::/48']}", &six));
    let torn = Observation { fault: Some(Fault::Tiny), ..four };
    assert!(matches("fault: {not: overlap}", &torn) && !matches("fault: {not: overlap}", &four));
    assert!(matches("{protocol: {not: udp}, iif: {not: lo}, class: {not: [udp, echo]}}", &six));
    assert!(!matches("{protocol: {not: udp}, iif: {not: eth*}}", &six));
}

#[test]
fn negated_parts_hold_all_at_once_and_stand_beside_others_and_within_not() {
    let matches = |text: &str, port| read_text(text).unwrap().matches(&syn("192.0.2.7", port), None);
    let both = "{dport: {not: 22}, saddr: {not: 198.51.100.0/24}}";
    assert!(matches(both, 23) && !matches(both, 22));
    let excepted = "{protocol: tcp, not: [{saddr: {not: 198.51.100.0/24}, dport: {not: 22}}]}";
    assert!(matches(excepted, 22) && !matches(excepted, 23));
}

#[test]
fn an_interface_name_may_end_in_a_star() {
    let matches = |name: &str, iif| {
        let filter = Filter { iif: vec![name.into()], ..Filter::default() };
        filter.matches(&Observation { iif, ..syn("192.0.2.7", 22) }, None)
    };
    assert!(matches("eth0", "eth0") && matches("eth*", "eth0") && matches("*", "lo"));
    assert!(!matches("eth0", "eth01") && !matches("eth*", "ens3") && !matches("*", ""));
}

// The oracle: every field by itself, spelt out without the helpers of the code it checks.

/// One part of the conjunction holds, or is absent.
fn parts_hold(filter: &Filter, of: &Observation<'_>, class: Option<Class>) -> Vec<bool> {
    let p = &of.packet;
    let (tcp, udp, icmp) = match p.transport {
        Transport::Tcp(tcp) => (Some(tcp), None, None),
        Transport::Udp(udp) => (None, Some(udp), None),
        Transport::Icmp(icmp) => (None, None, Some(icmp)),
        Transport::Opaque => (None, None, None),
    };
    let sport = tcp.map(|tcp| tcp.sport).or(udp.map(|udp| udp.sport));
    let dport = tcp.map(|tcp| tcp.dport).or(udp.map(|udp| udp.dport));
    let in_any = |ranges: &[RangeInclusive<u16>], port: Option<u16>| {
        ranges.is_empty()
            || port
                .is_some_and(|port| ranges.iter().any(|range| *range.start() <= port && port <= *range.end()))
    };
    let among = |networks: &[IpNet], address: IpAddr| {
        networks.is_empty()
            || networks
                .iter()
                .any(|net| IpNet::new(address, net.prefix_len()).is_ok_and(|of| of.trunc() == *net))
    };
    vec![
        filter.class.is_empty() || class.is_some_and(|class| filter.class.contains(&class)),
        filter.verdict.is_empty() || filter.verdict.contains(&of.verdict),
        filter.protocol.is_empty() || filter.protocol.contains(&p.protocol),
        among(&filter.saddr, p.saddr),
        among(&filter.daddr, p.daddr),
        in_any(&filter.sport, sport),
        in_any(&filter.dport, dport),
        filter.tcp_flags.is_empty()
            || tcp.is_some_and(|tcp| {
                filter.tcp_flags.iter().any(|(value, mask)| {
                    (0..16).all(|bit| mask >> bit & 1 == 0 || tcp.flags.0 >> bit & 1 == value >> bit & 1)
                })
            }),
        filter.tcp_sequence.is_empty()
            || tcp.and_then(|tcp| tcp.sequence).is_some_and(|seq| filter.tcp_sequence.contains(&seq)),
        filter.ttl.is_empty()
            || filter.ttl.iter().any(|range| (*range.start()..=*range.end()).any(|n| n == p.ttl)),
        filter.length.is_empty()
            || filter.length.iter().any(|r| *r.start() <= p.length && p.length <= *r.end()),
        filter.dont_fragment.is_none() || p.saddr.is_ipv4() && filter.dont_fragment == Some(p.dont_fragment),
        filter.icmp_type.is_empty()
            || icmp.is_some_and(|icmp| {
                filter.icmp_type.iter().any(|range| *range.start() <= icmp.kind && icmp.kind <= *range.end())
            }),
        filter.fragment.is_none() || filter.fragment == Some(p.fragment.is_some()),
        filter.fault.is_empty() || of.fault.is_some_and(|fault| filter.fault.contains(&fault)),
        filter.pkttype.is_empty() || filter.pkttype.contains(&of.pkttype),
        filter.log_prefix.is_empty()
            || filter.log_prefix.iter().any(|start| of.prefix.get(..start.len()) == Some(start.as_bytes())),
        filter.iif.is_empty() || filter.iif.iter().any(|name| name == of.iif),
        filter.oif.is_empty() || filter.oif.iter().any(|name| name == of.oif),
    ]
}

fn oracle(filter: &Filter, of: &Observation<'_>, class: Option<Class>) -> bool {
    parts_hold(filter, of, class).into_iter().all(|holds| holds)
        && filter.not.iter().all(|not| parts_hold(not, of, class).into_iter().any(|holds| !holds))
}

// Small value spaces, so that filters and packets meet often.

fn address() -> impl Strategy<Value = IpAddr> {
    prop::sample::select(
        ["192.0.2.1", "192.0.2.130", "198.51.100.1", "2001:db8::1", "2001:db8:0:1::1"]
            .map(|text| text.parse().unwrap())
            .to_vec(),
    )
}

fn port() -> impl Strategy<Value = u16> {
    prop::sample::select(vec![0u16, 22, 80, 443, 1024, 65535])
}

pub(crate) fn class() -> impl Strategy<Value = Class> {
    prop::sample::select(vec![Class::Syn, Class::Udp, Class::Echo])
}

fn fault() -> impl Strategy<Value = Fault> {
    prop::sample::select(vec![Fault::Overlap, Fault::Tiny])
}

fn transport() -> impl Strategy<Value = Transport> {
    let sequence = prop::option::of(0u32..3);
    prop_oneof![
        (port(), port(), sequence, 0u16..0x1000).prop_map(|(sport, dport, sequence, flags)| {
            Transport::Tcp(Tcp {
                sport,
                dport,
                sequence,
                header_length: None,
                flags: TcpFlags(flags),
                window: 0,
            })
        }),
        (port(), port()).prop_map(|(sport, dport)| Transport::Udp(Udp { sport, dport, length: 8 })),
        (0u8..3).prop_map(|kind| Transport::Icmp(Icmp { kind, code: 0 })),
        Just(Transport::Opaque),
    ]
}

pub(crate) fn observation() -> impl Strategy<Value = Observation<'static>> {
    let fragment = prop::option::of(Just(Fragment { offset: 8, more: true, identification: 1, length: 8 }));
    let packet = (address(), address(), 20u32..24, 0u8..4, any::<bool>(), fragment, transport()).prop_map(
        |(saddr, daddr, length, ttl, dont_fragment, fragment, transport)| Packet {
            saddr,
            daddr,
            length,
            header_length: 20,
            ttl,
            dont_fragment,
            identification: None,
            fragment,
            protocol: match transport {
                Transport::Tcp(_) => 6,
                Transport::Udp(_) => 17,
                Transport::Icmp(_) => 1,
                Transport::Opaque => 47,
            },
            transport,
        },
    );
    let pkttype = prop::sample::select(vec![Pkttype::Unicast, Pkttype::Multicast, Pkttype::Broadcast]);
    let name = prop::sample::select(vec!["", "eth0", "lo"]);
    let prefix = prop::sample::select(vec![&b""[..], b"nfban:refused", b"\xff"]);
    let fault = prop::option::of(fault());
    (packet, prop::sample::select(Verdict::ALL.to_vec()), pkttype, name.clone(), name, prefix, fault)
        .prop_map(|(packet, verdict, pkttype, iif, oif, prefix, fault)| Observation {
            packet,
            verdict,
            pkttype,
            iif,
            oif,
            prefix,
            fault,
        })
}

/// A filter of few parts, as a full one hardly matches anything.
pub(crate) fn filter() -> impl Strategy<Value = Filter> {
    fn few<S: Strategy>(of: S) -> impl Strategy<Value = Vec<S::Value>> {
        prop_oneof![3 => Just(0usize), 1 => 1usize..3].prop_flat_map({
            let of = std::sync::Arc::new(of);
            move |count| prop::collection::vec(of.clone(), count)
        })
    }
    let ports = || few((port(), port()).prop_map(|(a, b)| a.min(b)..=a.max(b)));
    let nets =
        || few((address(), 0u8..=32).prop_map(|(net, length)| IpNet::new(net, length).unwrap().trunc()));
    let flags = few((0u16..0x1000, 0u16..0x1000).prop_map(|(value, mask)| (value & mask, mask)));
    let names = || few(prop::sample::select(vec!["eth0".to_owned(), "lo".to_owned()]));
    let first = (
        few(class()),
        few(prop::sample::select(Verdict::ALL.to_vec())),
        few(prop::sample::select(vec![1u8, 6, 17])),
        nets(),
        nets(),
        ports(),
        ports(),
        flags,
        few(0u32..3),
    );
    let second = (
        few((0u8..4, 0u8..4).prop_map(|(a, b)| a.min(b)..=a.max(b))),
        few((20u32..24).prop_map(|length| length..=length + 1)),
        prop_oneof![2 => Just(None), 1 => any::<bool>().prop_map(Some)],
        few((0u8..3, 0u8..3).prop_map(|(a, b)| a.min(b)..=a.max(b))),
        prop_oneof![2 => Just(None), 1 => any::<bool>().prop_map(Some)],
        few(prop::sample::select(vec![Pkttype::Unicast, Pkttype::Broadcast])),
        few(prop::sample::select(vec!["nfban:".to_owned(), "x".to_owned()])),
        names(),
        (names(), few(fault())),
    );
    (first, second).prop_map(|(a, b)| Filter {
        class: a.0,
        verdict: a.1,
        protocol: a.2,
        saddr: a.3,
        daddr: a.4,
        sport: a.5,
        dport: a.6,
        dport_traps: false,
        tcp_flags: a.7,
        tcp_sequence: a.8,
        ttl: b.0,
        length: b.1,
        dont_fragment: b.2,
        icmp_type: b.3,
        fragment: b.4,
        fault: b.8.1,
        raw: None,
        pkttype: b.5,
        log_prefix: b.6,
        iif: b.7,
        oif: b.8.0,
        not: vec![],
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn matches_agrees_with_the_oracle(
        filter in filter(),
        not in prop::collection::vec(filter(), 0..2),
        of in observation(),
        class in prop::option::of(class()),
    ) {
        let filter = Filter { not, ..filter };
        prop_assert_eq!(filter.matches(&of, class), oracle(&filter, &of, class));
        prop_assert_eq!(filter.is_empty(), filter == Filter::default());
        prop_assert!(Filter::default().matches(&of, class));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn many_filters_match_what_one_of_them_matches(
        filters in prop_oneof![prop::collection::vec(filter(), 0..5), prop::collection::vec(filter(), 240..280)],
        of in observation(),
        class in prop::option::of(class()),
    ) {
        let one = filters.iter().any(|filter| filter.matches(&of, class));
        prop_assert_eq!(filters.into_iter().collect::<Filters>().matches(&of, class), one);
    }
}
