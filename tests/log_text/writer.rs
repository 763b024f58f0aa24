//! Writes a packet as net/netfilter/nf_log_syslog.c does, from the packet alone: the other half of the round trip.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv6Addr};

use nfban::packet::{Fragment, Icmp, Packet, Tcp, TcpFlags, Transport, Udp, protocol};
use proptest::prelude::*;

/// How the rule was written, and what the packet holds besides.
#[derive(Debug, Clone)]
pub(crate) struct Style {
    pub(crate) prefix: &'static str,
    /// `--log-ip-options`, `--log-tcp-options`, `--log-tcp-sequence`, `--log-macdecode`.
    pub(crate) ip_options: bool,
    pub(crate) tcp_options: bool,
    pub(crate) tcp_sequence: bool,
    pub(crate) mac_decode: bool,
    /// Linux 6.15 and later.
    pub(crate) has_ae_word: bool,
    pub(crate) mark: bool,
    pub(crate) trailing_blank: bool,
}

pub(crate) fn style() -> impl Strategy<Value = Style> {
    let prefix = prop::sample::select(vec!["", "DROP", "[UFW BLOCK] ", "nfban:accepted ", "mac = [x] IN= "]);
    (prefix, any::<[bool; 7]>()).prop_map(|(prefix, on)| Style {
        prefix,
        ip_options: on[0],
        tcp_options: on[1],
        tcp_sequence: on[2],
        mac_decode: on[3],
        has_ae_word: on[4],
        mark: on[5],
        trailing_blank: on[6],
    })
}

pub(crate) fn packet() -> impl Strategy<Value = Packet> {
    let addresses = prop_oneof![
        any::<([u8; 4], [u8; 4])>().prop_map(|(s, d)| (IpAddr::from(s), IpAddr::from(d))),
        any::<([u8; 16], [u8; 16])>().prop_map(|(s, d)| (IpAddr::from(s), IpAddr::from(d))),
    ];
    let fragment = prop_oneof![
        4 => Just(None),
        1 => (0..=8191_u16, any::<bool>(), any::<u32>()).prop_map(|(units, more, identification)| {
            let offset = units * 8;
            Some(Fragment { offset, more: more || offset == 0, identification, length: 0 })
        }),
    ];
    let numbers = (0..=10_u16, 0..=1400_u32, any::<u8>(), any::<u16>());
    (addresses, fragment, transport(), numbers, any::<bool>()).prop_map(
        |((saddr, daddr), fragment, (protocol, transport), (options, data, ttl, id), dont_fragment)| {
            let v6 = saddr.is_ipv6();
            let fragment = fragment.map(|fragment| match v6 {
                true => Fragment { length: 60 + data, ..fragment },
                false => Fragment { identification: id.into(), length: 60 + data, ..fragment },
            });
            let header_length = match (v6, fragment) {
                (true, Some(_)) => 48,
                (true, None) => 40,
                (false, _) => 20 + 4 * options,
            };
            let (protocol, transport) = of_family(protocol, transport, v6);
            let is_later = fragment.is_some_and(|fragment| fragment.offset > 0);
            Packet {
                saddr,
                daddr,
                length: u32::from(header_length) + 60 + data,
                header_length,
                ttl,
                dont_fragment: dont_fragment && !v6,
                identification: (!v6).then_some(id),
                fragment,
                protocol,
                transport: if is_later { Transport::Opaque } else { transport },
            }
        },
    )
}

fn transport() -> impl Strategy<Value = (u8, Transport)> {
    prop_oneof![
        4 => (any::<(u16, u16, u32, u16)>(), 0..=0xfff_u16).prop_map(|((sport, dport, sequence, window), flags)| {
            let (sequence, flags) = (Some(sequence), TcpFlags(flags));
            (protocol::TCP, Transport::Tcp(Tcp { sport, dport, sequence, header_length: None, flags, window }))
        }),
        2 => (any::<(u16, u16)>(), 8..=60_u16, any::<bool>()).prop_map(|((sport, dport), length, lite)| {
            let protocol = if lite { protocol::UDPLITE } else { protocol::UDP };
            (protocol, Transport::Udp(Udp { sport, dport, length }))
        }),
        2 => any::<(u8, u8)>().prop_map(|(kind, code)| {
            (protocol::ICMP, Transport::Icmp(Icmp { kind, code }))
        }),
        1 => any::<u8>().prop_map(|number| (number, Transport::Opaque)),
    ]
}

/// Protocols that have words of their own elsewhere, or that IPv6 takes for extension headers, become GRE.
fn of_family(number: u8, transport: Transport, v6: bool) -> (u8, Transport) {
    match (number, transport) {
        (_, Transport::Icmp(_)) if v6 => (protocol::ICMPV6, transport),
        (1 | 6 | 17 | 51 | 58 | 136, Transport::Opaque) => (47, transport),
        (0 | 43 | 44 | 50 | 60, Transport::Opaque) if v6 => (47, transport),
        _ => (number, transport),
    }
}

/// The packet less what the line does not tell.
pub(crate) fn as_told(packet: &Packet, style: &Style) -> Packet {
    let mut told = *packet;
    if let Transport::Tcp(tcp) = &mut told.transport
        && !style.tcp_sequence
    {
        tcp.sequence = None;
    }
    if packet.saddr.is_ipv4() && !style.ip_options {
        told.header_length = 20;
        let length = told.length - 20;
        told.fragment = told.fragment.map(|fragment| Fragment { length, ..fragment });
    }
    told
}

pub(crate) fn line(packet: &Packet, style: &Style) -> String {
    let mut text = format!("{}IN=eth0 OUT= ", style.prefix);
    let ether_type = if packet.saddr.is_ipv6() { ("86:dd", "86dd") } else { ("08:00", "0800") };
    if style.mac_decode {
        write!(text, "MACSRC=00:1b:ed:b0:c1:00 MACDST=52:54:0d:00:23:10 MACPROTO={} ", ether_type.1).unwrap();
    } else {
        write!(text, "MAC=52:54:0d:00:23:10:00:1b:ed:b0:c1:00:{} ", ether_type.0).unwrap();
    }
    match (packet.saddr, packet.daddr) {
        (IpAddr::V6(saddr), IpAddr::V6(daddr)) => ipv6(&mut text, packet, style, saddr, daddr),
        _ => ipv4(&mut text, packet, style),
    }
    transport_words(&mut text, packet, style);
    if style.mark {
        text.push_str("UID=1000 GID=1000 MARK=0x1f ");
    }
    if style.trailing_blank { text } else { text.trim_end().to_owned() }
}

fn ipv4(text: &mut String, packet: &Packet, style: &Style) {
    let Packet { saddr, daddr, length, ttl, .. } = packet;
    let id = packet.identification.unwrap_or_default();
    write!(text, "SRC={saddr} DST={daddr} LEN={length} TOS=0x18 PREC=0xA0 TTL={ttl} ID={id} ").unwrap();
    text.push_str(if packet.dont_fragment { "DF " } else { "" });
    if let Some(Fragment { offset, more, .. }) = packet.fragment {
        text.push_str(if more { "MF " } else { "" });
        if offset > 0 {
            write!(text, "FRAG:{} ", offset / 8).unwrap();
        }
    }
    if style.ip_options && packet.header_length > 20 {
        write!(text, "OPT ({}) ", "9A".repeat(usize::from(packet.header_length - 20))).unwrap();
    }
}

fn ipv6(text: &mut String, packet: &Packet, style: &Style, saddr: Ipv6Addr, daddr: Ipv6Addr) {
    let full = |address: Ipv6Addr| address.segments().map(|segment| format!("{segment:04x}")).join(":");
    write!(text, "SRC={} DST={} ", full(saddr), full(daddr)).unwrap();
    write!(text, "LEN={} TC=3 HOPLIMIT={} FLOWLBL=1048575 ", packet.length, packet.ttl).unwrap();
    if let Some(Fragment { offset, more, identification, .. }) = packet.fragment {
        text.push_str(if style.ip_options { "OPT ( " } else { "" });
        let more = if more { "INCOMPLETE " } else { "" };
        write!(text, "FRAG:{offset} {more}ID:{identification:08x} ").unwrap();
        text.push_str(if style.ip_options { ") " } else { "" });
    }
}

fn transport_words(text: &mut String, packet: &Packet, style: &Style) {
    match packet.protocol {
        protocol::TCP => text.push_str("PROTO=TCP "),
        protocol::UDP => text.push_str("PROTO=UDP "),
        protocol::UDPLITE => text.push_str("PROTO=UDPLITE "),
        protocol::ICMP => text.push_str("PROTO=ICMP "),
        protocol::ICMPV6 => text.push_str("PROTO=ICMPv6 "),
        50 => text.push_str("PROTO=ESP SPI=0x1234 "),
        number => write!(text, "PROTO={number} ").unwrap(),
    }
    match packet.transport {
        Transport::Tcp(tcp) => tcp_words(text, tcp, style),
        Transport::Udp(udp) => {
            write!(text, "SPT={} DPT={} LEN={} ", udp.sport, udp.dport, udp.length).unwrap();
        }
        Transport::Icmp(icmp) => icmp_words(text, icmp, packet),
        Transport::Opaque => {}
    }
}

fn tcp_words(text: &mut String, tcp: Tcp, style: &Style) {
    write!(text, "SPT={} DPT={} ", tcp.sport, tcp.dport).unwrap();
    if style.tcp_sequence {
        write!(text, "SEQ={} ACK=7 ", tcp.sequence.unwrap()).unwrap();
    }
    let flags = tcp.flags.0;
    let reserved = if style.has_ae_word { flags & 0xe00 } else { flags & 0xf00 };
    write!(text, "WINDOW={} RES=0x{:02x} ", tcp.window, reserved >> 6).unwrap();
    let names = ["AE", "CWR", "ECE", "URG", "ACK", "PSH", "RST", "SYN", "FIN"];
    for (bit, name) in (0..9).rev().zip(names) {
        if flags >> bit & 1 == 1 && (name != "AE" || style.has_ae_word) {
            write!(text, "{name} ").unwrap();
        }
    }
    text.push_str("URGP=0 ");
    if style.tcp_options {
        text.push_str("OPT (020405B40402080A33374541000000000103030A) ");
    }
}

fn icmp_words(text: &mut String, icmp: Icmp, packet: &Packet) {
    write!(text, "TYPE={} CODE={} ", icmp.kind, icmp.code).unwrap();
    match (packet.protocol, icmp.kind) {
        (protocol::ICMP, 0 | 8) | (protocol::ICMPV6, 128 | 129) => text.push_str("ID=7 SEQ=9 "),
        (protocol::ICMP, 3 | 4 | 5 | 11) => text.push_str(
            "[SRC=10.0.0.1 DST=10.0.0.2 LEN=28 TOS=0x00 PREC=0x00 TTL=9 ID=77 PROTO=TCP INCOMPLETE [8 bytes] ] ",
        ),
        (protocol::ICMPV6, 1..=4) => text.push_str("[TRUNCATED] MTU=1280 "),
        _ => {}
    }
}
