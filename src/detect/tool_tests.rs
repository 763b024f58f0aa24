//! Fingerprints, against the headers of real packets and of others that come near.

use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use super::*;
use crate::packet::{Icmp, Udp, protocol};

const HOST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 5);

fn packet(ttl: u8, identification: u16, length: u32, transport: Transport) -> Packet {
    Packet {
        saddr: IpAddr::from([192, 0, 2, 7]),
        daddr: HOST.into(),
        length,
        header_length: 20,
        ttl,
        dont_fragment: false,
        identification: Some(identification),
        fragment: None,
        protocol: protocol::TCP,
        transport,
    }
}

fn syn(dport: u16, sequence: u32, header: u8, window: u16) -> Tcp {
    Tcp {
        sport: 40_000,
        dport,
        sequence: Some(sequence),
        header_length: Some(header),
        flags: TcpFlags(TcpFlags::SYN),
        window,
    }
}

/// What an incident of these packets, each to a port of its own, is made with.
fn named(packets: impl IntoIterator<Item = Packet>) -> Option<Tool> {
    let (mut signature, mut targets) = (Signature::new(), 0);
    for packet in packets {
        targets += 1;
        signature.add(Marks::of(&packet), packet.ttl, targets, 1);
    }
    signature.tool(targets, 1)
}

fn nmap_syn(port: u8) -> Packet {
    let ttl = 37 + port % 23 * 11 % 23;
    packet(
        ttl,
        u16::from(port).wrapping_mul(7919),
        44,
        Transport::Tcp(syn(port.into(), 0xae3c_735b, 24, 1024)),
    )
}

fn masscan_syn(port: u16) -> Packet {
    let sequence = 0x9e37_79b9_u32.wrapping_mul(port.into());
    let [_, _, high, low] = (HOST.to_bits() ^ u32::from(port) ^ sequence).to_be_bytes();
    let identification = u16::from_be_bytes([high, low]);
    packet(242, identification, 40, Transport::Tcp(syn(port, sequence, 20, 1024)))
}

fn zmap_syn(port: u16) -> Packet {
    packet(242, 54321, 40, Transport::Tcp(syn(port, 0x1234_5678 ^ u32::from(port) << 9, 20, 65535)))
}

fn mirai_syn(port: u16) -> Packet {
    packet(48, port, 40, Transport::Tcp(syn(port, HOST.to_bits(), 20, 14600)))
}

#[test]
fn each_tool_is_named_by_its_own_fingerprint() {
    assert_eq!(named((1..9).map(nmap_syn)), Some(Tool::Nmap));
    assert_eq!(named((1..4).map(masscan_syn)), Some(Tool::Masscan));
    assert_eq!(named((1..4).map(zmap_syn)), Some(Tool::Zmap));
    assert_eq!(named([mirai_syn(23)]), Some(Tool::Mirai));
}

#[test]
fn packets_as_the_tools_were_seen_to_send_them_bear_their_marks() {
    // From captures of masscan 1.3.2 towards 203.0.113.5, and of ZMap 2.1.1.
    let to = |packet: Packet| Marks::of(&Packet { daddr: IpAddr::from([203, 0, 113, 5]), ..packet });
    for (identification, dport, sequence) in
        [(0x4efd, 11, 0x5140_3ff3), (0x8862, 1, 0x8600_f966), (0x4937, 16, 0xa400_3822)]
    {
        let packet = packet(255, identification, 40, Transport::Tcp(syn(dport, sequence, 20, 1024)));
        assert!(to(packet).bears(Tool::Masscan));
        assert!(!to(Packet { identification: Some(identification ^ 1), ..packet }).bears(Tool::Masscan));
    }
    let icmp = packet(255, 0xd431, 40, Transport::Icmp(Icmp { kind: 8, code: 0 }));
    let udp = packet(255, 0xd431, 29, Transport::Udp(Udp { sport: 36310, dport: 53, length: 9 }));
    assert!(to(icmp).bears(Tool::Zmap) && to(udp).bears(Tool::Zmap));
}

#[test]
fn two_packets_or_one_port_of_one_host_name_neither_masscan_nor_zmap() {
    for packets in [[1, 2].map(masscan_syn), [1, 2].map(zmap_syn)] {
        assert_eq!(named(packets), None);
        let mut signature = Signature::new();
        (0..100).for_each(|_| signature.add(Marks::of(&packets[0]), packets[0].ttl, 1, 1));
        assert_eq!(signature.tool(1, 1), None);
    }
}

#[test]
fn a_name_needs_most_of_the_packets_and_stays_once_it_is_certain() {
    let other = packet(57, 1, 60, Transport::Tcp(syn(80, 7, 40, 64240)));
    let beside = |others| std::iter::repeat_n(other, others);
    for (others, named_still) in [(7, true), (8, false)] {
        let name = |tool| named_still.then_some(tool);
        assert_eq!(named(beside(others).chain((1..9).map(nmap_syn))), name(Tool::Nmap));
        assert_eq!(named(beside(others).chain((1..9).map(masscan_syn))), name(Tool::Masscan));
        assert_eq!(named(beside(others).chain((1..9).map(zmap_syn))), name(Tool::Zmap));
        assert_eq!(named(beside(others).chain((1..9).map(mirai_syn))), name(Tool::Mirai));
    }
    assert_eq!(named((1..9).map(nmap_syn).chain(beside(1000))), Some(Tool::Nmap));
    assert_eq!(named([]), None);
}

#[test]
fn nmap_is_not_named_where_the_ttl_is_not_drawn_or_the_senders_are_many() {
    let fixed = |ttl| (1..99).map(move |port| Packet { ttl, ..nmap_syn(port) });
    assert_eq!(named(fixed(47)), None);
    // Routes of different lengths.
    assert_eq!(named(fixed(47).chain(fixed(50))), None);
    // Two hosts behind one address, of systems that begin with 64 and 128.
    assert_eq!(named(fixed(54).chain(fixed(118))), None);
    // One whose route is too long to tell it from a traceroute.
    assert_eq!(named((1..99).map(nmap_syn).map(|packet| Packet { ttl: packet.ttl - 30, ..packet })), None);
    for (sources, name) in [(1, Some(Tool::Nmap)), (2, None)] {
        let mut signature = Signature::new();
        (1..99).map(nmap_syn).for_each(|packet| signature.add(Marks::of(&packet), packet.ttl, 98, sources));
        assert_eq!(signature.tool(98, sources), name);
    }
}

#[test]
fn nmap_is_named_whatever_it_scans_with() {
    let flags = [TcpFlags::FIN, 0, TcpFlags::FIN | TcpFlags::PSH | TcpFlags::URG, TcpFlags::ACK];
    for flags in flags {
        let scan = (1..40).map(|port| {
            let tcp = Tcp { flags: TcpFlags(flags), ..syn(port.into(), 0, 20, 1024) };
            Packet { length: 40, transport: Transport::Tcp(tcp), ..nmap_syn(port) }
        });
        assert_eq!(named(scan), Some(Tool::Nmap), "{flags:#x}");
    }
    let datagram = |port: u8| {
        let udp = Udp { sport: 34509, dport: port.into(), length: 8 };
        Packet { length: 28, transport: Transport::Udp(udp), ..nmap_syn(port) }
    };
    let protocol = |port| Packet { length: 20, transport: Transport::Opaque, ..nmap_syn(port) };
    assert_eq!(named((1..40).map(datagram)), Some(Tool::Nmap));
    assert_eq!(named((1..40).map(protocol)), Some(Tool::Nmap));
    // With OS detection.
    let probe = |ttl, window| packet(ttl, 5, 60, Transport::Tcp(syn(1, 5, 40, window)));
    let probes = [probe(40, 31337), probe(51, 128), probe(44, 1)];
    assert_eq!(named((1..40).map(nmap_syn).chain(probes)), Some(Tool::Nmap));
}

#[test]
fn log_text_tells_enough_for_nmap_and_with_sequence_numbers_for_all() {
    let without = |packet: Packet| match packet.transport {
        Transport::Tcp(tcp) => {
            let transport = Transport::Tcp(Tcp { sequence: None, header_length: None, ..tcp });
            Packet { transport, ..packet }
        }
        _ => packet,
    };
    assert_eq!(named((1..9).map(nmap_syn).map(without)), Some(Tool::Nmap));
    assert_eq!(named((1..9).map(zmap_syn).map(without)), Some(Tool::Zmap));
    assert_eq!(named((1..9).map(masscan_syn).map(without)), None);
    assert_eq!(named((1..9).map(mirai_syn).map(without)), None);
}

#[test]
fn a_traceroute_and_an_imitation_of_zmap_are_nothing() {
    // A whole one, and the end of one whose beginning is told elsewhere.
    for first in [1, 6, 12] {
        let hops = (first..=30).map(|ttl| {
            let udp = Udp { sport: 40_000, dport: 33433 + u16::from(ttl), length: 40 };
            packet(ttl, 5, 60, Transport::Udp(udp))
        });
        assert_eq!(named(hops), None);
    }
    // What a widespread lesson on raw sockets sends.
    let lesson = |port| packet(60, 54321, 40, Transport::Tcp(syn(port, 0, 20, 5840)));
    assert_eq!(named((1..40).map(lesson)), None);
}

#[test]
fn nothing_over_ipv6_bears_a_mark() {
    let packet = Packet { daddr: "2001:db8::5".parse().unwrap(), identification: None, ..mirai_syn(23) };
    assert_eq!(Marks::of(&packet), Marks(0));
}

proptest! {
    /// Numbers drawn by an honest stack: no name, whatever the window and the options are.
    #[test]
    fn random_numbers_are_never_named(
        draws in prop::collection::vec(any::<(u16, u32, u16, u16)>(), 3..40),
        header in (5_u8..=15).prop_map(|words| words * 4), window: u16, ttl: u8, dont_fragment: bool,
    ) {
        let packets = draws.into_iter().map(|(identification, sequence, sport, dport)| {
            let tcp = Tcp { sport, ..syn(dport, sequence, header, window) };
            let packet = packet(ttl, identification, 20 + u32::from(header), Transport::Tcp(tcp));
            Packet { dont_fragment, ..packet }
        });
        prop_assert_eq!(named(packets), None);
    }
}
