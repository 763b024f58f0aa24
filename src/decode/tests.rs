//! Every branch of the decoder once.

use std::net::IpAddr;

use super::*;
use crate::packet::{Fragment, Icmp, Tcp, TcpFlags, Transport, Udp};

const V4: [IpAddr; 2] =
    [IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7)), IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 5))];

pub(super) fn tcp(flags: u16) -> Vec<u8> {
    let mut segment = vec![0x9c, 0x40, 0, 22, 0xde, 0xad, 0xbe, 0xef, 0, 0, 0, 9, 0, 0, 0x20, 0, 0, 0, 0, 0];
    segment[12..14].copy_from_slice(&(0x5000 | flags).to_be_bytes());
    segment
}

pub(super) fn udp(length: u16) -> Vec<u8> {
    let mut datagram = vec![0, 53, 0x9c, 0x40, 0, 0, 0, 0, 1, 2, 3, 4];
    datagram[4..6].copy_from_slice(&length.to_be_bytes());
    datagram
}

pub(super) fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
    let mut packet = vec![0x45, 0, length[0], length[1], 0x12, 0x34, 0x40, 0, 57, protocol, 0, 0];
    packet.extend([192, 0, 2, 7, 203, 0, 113, 5]);
    packet.extend(payload);
    packet
}

pub(super) fn ipv6(next_header: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    let mut packet = vec![0x60, 0, 0, 0, length[0], length[1], next_header, 57];
    packet.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
    packet.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5]);
    packet.extend(payload);
    packet
}

/// Extension headers of 8 octets each, each given by its own number, leading to `protocol`.
pub(super) fn chain(headers: &[u8], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut octets = Vec::new();
    for next in headers.iter().skip(1).chain([&protocol]) {
        octets.extend([*next, 0, 1, 4, 0, 0, 0, 0]);
    }
    octets.extend(payload);
    ipv6(*headers.first().unwrap(), &octets)
}

fn v6_fragment(offset_and_more: u16, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut octets = vec![protocol, 0];
    octets.extend(offset_and_more.to_be_bytes());
    octets.extend([0xca, 0xfe, 0xba, 0xbe]);
    octets.extend(payload);
    ipv6(44, &octets)
}

fn with(mut octets: Vec<u8>, at: usize, value: &[u8]) -> Vec<u8> {
    octets[at..at + value.len()].copy_from_slice(value);
    octets
}

fn syn() -> Transport {
    Transport::Tcp(Tcp {
        sport: 40000,
        dport: 22,
        sequence: Some(0xdead_beef),
        header_length: Some(20),
        flags: TcpFlags(TcpFlags::SYN),
        window: 0x2000,
    })
}

#[track_caller]
fn refuses(octets: &[u8], reason: Undecoded) {
    assert_eq!(ip(octets, None), Err(reason));
}

#[test]
fn every_reason_has_its_own_word_and_index() {
    let mut words: Vec<_> = Undecoded::ALL.iter().map(|reason| reason.as_str()).collect();
    for (index, reason) in Undecoded::ALL.into_iter().enumerate() {
        assert_eq!(reason.index(), index);
        let word = reason.as_str();
        assert!(
            word.bytes().all(|octet| octet.is_ascii_lowercase() || octet == b'-' || octet.is_ascii_digit())
        );
    }
    words.sort_unstable();
    words.dedup();
    assert_eq!(words.len(), Undecoded::ALL.len());
}

#[test]
fn an_ipv4_tcp_segment_gives_every_field() {
    let packet = ip(&ipv4(6, &tcp(TcpFlags::SYN)), None).unwrap();
    assert_eq!([packet.saddr, packet.daddr], V4);
    assert_eq!((packet.length, packet.header_length, packet.ttl), (40, 20, 57));
    assert!(packet.dont_fragment);
    assert_eq!((packet.fragment, packet.protocol, packet.transport), (None, 6, syn()));
}

#[test]
fn all_twelve_control_bits_are_told() {
    for flags in 0..=0xfff {
        let Transport::Tcp(tcp) = ip(&ipv4(6, &tcp(flags)), None).unwrap().transport else { panic!() };
        assert_eq!(tcp.flags, TcpFlags(flags));
    }
}

#[test]
fn ipv4_options_are_stepped_over() {
    let mut octets = with(ipv4(6, &[[1; 40].as_slice(), &tcp(TcpFlags::SYN)].concat()), 0, &[0x4f]);
    let packet = ip(&octets, None).unwrap();
    assert_eq!((packet.header_length, packet.transport), (60, syn()));
    octets.truncate(59);
    refuses(&octets, Undecoded::OptionsTruncated);
}

#[test]
fn octets_behind_the_packet_are_padding() {
    let octets = [ipv4(17, &udp(12)), vec![0xee; 18]].concat();
    let packet = ip(&octets, Some(50)).unwrap();
    assert_eq!(packet.length, 32);
    // Padding is no place for a header to be in.
    refuses(&[ipv4(17, &[0; 7]), vec![0xee; 18]].concat(), Undecoded::TransportBeyondPacket);
}

#[test]
fn what_only_the_snap_length_cut_is_no_error() {
    let mut octets = ipv4(6, &[tcp(TcpFlags::SYN), vec![0; 1400]].concat());
    octets.truncate(36);
    let packet = ip(&octets, Some(1440)).unwrap();
    assert_eq!((packet.length, packet.transport), (1440, syn()));
    octets.truncate(35);
    assert_eq!(ip(&octets, Some(1440)), Err(Undecoded::TransportTruncated));
}

#[test]
fn lies_of_the_ipv4_header_are_told_apart() {
    let honest = ipv4(6, &tcp(TcpFlags::SYN));
    refuses(&[], Undecoded::IpTruncated);
    refuses(&honest[..19], Undecoded::IpTruncated);
    refuses(&with(honest.clone(), 0, &[0x55]), Undecoded::IpVersion);
    refuses(&with(honest.clone(), 0, &[0x44]), Undecoded::IpHeaderLength);
    refuses(&with(honest.clone(), 2, &[0, 19]), Undecoded::TotalLengthBelowHeader);
    refuses(&with(honest.clone(), 2, &[0, 39]), Undecoded::TransportBeyondPacket);
    let longer = with(honest, 2, &[0, 41]);
    assert_eq!(ip(&longer, Some(40)), Err(Undecoded::LengthBeyondWire));
    assert_eq!(
        ip(&longer, None).unwrap().length,
        41,
        "without a wire length this may be a snap length's cut"
    );
    assert_eq!(ip(&longer, Some(3)), Err(Undecoded::LengthBeyondWire), "the wire carried what was captured");
}

#[test]
fn ipv4_fragments_tell_where_they_belong() {
    let later = ip(&with(ipv4(6, &[0; 8]), 6, &[0x3f, 0xff]), None).unwrap();
    let fragment = Fragment { offset: 65528, more: true, identification: 0x1234, length: 8 };
    assert_eq!((later.fragment, later.transport), (Some(fragment), Transport::Opaque));
    let last = ip(&with(ipv4(6, &tcp(2)), 6, &[0, 1]), None).unwrap();
    assert_eq!(last.fragment, Some(Fragment { offset: 8, more: false, identification: 0x1234, length: 20 }));
    assert_eq!(last.transport, Transport::Opaque);
    let first = ip(&with(ipv4(6, &tcp(TcpFlags::SYN)), 6, &[0x20, 0]), None).unwrap();
    assert_eq!(first.fragment, Some(Fragment { offset: 0, more: true, identification: 0x1234, length: 20 }));
    assert_eq!(first.transport, syn());
}

#[test]
fn a_first_fragment_too_short_for_its_transport_header_is_opaque() {
    let tiny = with(ipv4(6, &tcp(TcpFlags::SYN)[..8]), 6, &[0x20, 0]);
    let packet = ip(&tiny, None).unwrap();
    assert_eq!((packet.transport, packet.fragment.unwrap().offset), (Transport::Opaque, 0));
    // Cut by the capture it is another matter: the header was there.
    let cut = with(ipv4(6, &tcp(TcpFlags::SYN)), 6, &[0x20, 0]);
    refuses(&cut[..28], Undecoded::TransportTruncated);
}

#[test]
fn lengths_of_a_first_fragment_speak_of_the_whole_datagram() {
    let packet = ip(&with(ipv4(17, &udp(4000)), 6, &[0x20, 0]), None).unwrap();
    assert_eq!(packet.transport, Transport::Udp(Udp { sport: 53, dport: 40000, length: 4000 }));
    let offset_15 = with(tcp(TcpFlags::SYN), 12, &[0xf0, 2]);
    let Transport::Tcp(syn) = syn() else { panic!("a segment") };
    let expected = Transport::Tcp(Tcp { header_length: Some(60), ..syn });
    assert_eq!(ip(&with(ipv4(6, &offset_15), 6, &[0x20, 0]), None).unwrap().transport, expected);
}

#[test]
fn an_ipv6_packet_gives_every_field() {
    let packet = ip(&ipv6(6, &tcp(TcpFlags::SYN)), None).unwrap();
    assert_eq!(packet.saddr, "2001:db8::7".parse::<IpAddr>().unwrap());
    assert_eq!(packet.daddr, "2001:db8::5".parse::<IpAddr>().unwrap());
    assert_eq!((packet.length, packet.header_length, packet.ttl), (60, 40, 57));
    assert_eq!((packet.dont_fragment, packet.fragment), (false, None));
    assert_eq!((packet.protocol, packet.transport), (6, syn()));
    refuses(&ipv6(6, &tcp(2))[..39], Undecoded::IpTruncated);
    assert_eq!(ip(&ipv6(6, &tcp(2)), Some(59)).unwrap().length, 60);
    assert_eq!(ip(&with(ipv6(6, &tcp(2)), 5, &[21]), Some(60)), Err(Undecoded::LengthBeyondWire));
}

#[test]
fn every_extension_header_is_stepped_over() {
    for header in [0, 43, 60, 135, 139, 140] {
        let packet = ip(&chain(&[header], 6, &tcp(TcpFlags::SYN)), None).unwrap();
        assert_eq!((packet.protocol, packet.header_length, packet.transport), (6, 48, syn()), "{header}");
    }
    // AH counts its length in units of 4 octets, less 2.
    let authenticated = [[6, 4].as_slice(), &[0; 22], &tcp(TcpFlags::SYN)].concat();
    let packet = ip(&ipv6(51, &authenticated), None).unwrap();
    assert_eq!((packet.protocol, packet.header_length, packet.transport), (6, 64, syn()));
    let recommended = chain(&[0, 60, 43, 60], 6, &tcp(TcpFlags::SYN));
    assert_eq!(ip(&recommended, None).unwrap().header_length, 72);
}

#[test]
fn what_ends_the_chain_is_opaque() {
    for protocol in [50, 59, 132, 253] {
        let packet = ip(&chain(&[0, 60], protocol, &[]), None).unwrap();
        assert_eq!((packet.protocol, packet.transport), (protocol, Transport::Opaque));
    }
    // In IPv4 AH is where nft's l4proto stops, too.
    let packet = ip(&ipv4(51, &[6, 4, 0, 0]), None).unwrap();
    assert_eq!((packet.protocol, packet.transport), (51, Transport::Opaque));
}

#[test]
fn a_chain_has_a_longest_length() {
    assert_eq!(ip(&chain(&[60; 10], 6, &tcp(2)), None).unwrap().header_length, 120);
    refuses(&chain(&[60; 11], 6, &tcp(2)), Undecoded::ExtensionChain);
}

#[test]
fn an_extension_header_that_lies_or_is_cut_is_told_apart() {
    let long = with(chain(&[60], 6, &tcp(2)), 41, &[9]);
    refuses(&long, Undecoded::ExtensionBeyondPacket);
    refuses(&ipv6(60, &[6]), Undecoded::ExtensionBeyondPacket);
    refuses(&ipv6(60, &[]), Undecoded::ExtensionBeyondPacket);
    refuses(&chain(&[60, 60], 6, &tcp(2))[..49], Undecoded::ExtensionTruncated);
    refuses(&chain(&[0], 6, &tcp(2))[..47], Undecoded::ExtensionTruncated);
    refuses(&chain(&[60, 0], 6, &tcp(2)), Undecoded::HopByHopNotFirst);
}

#[test]
fn ipv6_fragments_tell_where_they_belong() {
    let first = ip(&v6_fragment(1, 6, &tcp(TcpFlags::SYN)), None).unwrap();
    assert_eq!(
        first.fragment,
        Some(Fragment { offset: 0, more: true, identification: 0xcafe_babe, length: 20 })
    );
    assert_eq!((first.header_length, first.transport), (48, syn()));
    let later = ip(&v6_fragment(1448, 6, &tcp(2)), None).unwrap();
    let fragment = Fragment { offset: 1448, more: false, identification: 0xcafe_babe, length: 20 };
    assert_eq!(later.fragment, Some(fragment));
    // Destination options behind the fragment header are a part of what was cut.
    let options = [&[6, 0, 1, 4, 0, 0, 0, 0], tcp(TcpFlags::SYN).as_slice()].concat();
    let first = ip(&v6_fragment(1, 60, &options), None).unwrap();
    assert_eq!((first.header_length, first.fragment.unwrap().length, first.transport), (56, 28, syn()));
    assert_eq!((later.protocol, later.transport), (6, Transport::Opaque));
    let atomic = ip(&v6_fragment(0, 6, &tcp(TcpFlags::SYN)), None).unwrap();
    assert_eq!((atomic.fragment, atomic.transport), (None, syn()));
    refuses(&ipv6(44, &[6, 0, 0, 1]), Undecoded::ExtensionBeyondPacket);
}

#[test]
fn a_first_fragment_whose_chain_goes_on_elsewhere_is_opaque() {
    let packet = ip(&v6_fragment(1, 60, &[6]), None).unwrap();
    assert_eq!((packet.protocol, packet.transport), (60, Transport::Opaque));
    assert!(packet.fragment.is_some());
    // Nested: the inner header says "later", the outer one "first".
    let nested = v6_fragment(1, 44, &[6, 0, 0x05, 0xa8, 0, 0, 0, 1]);
    let packet = ip(&nested, None).unwrap();
    assert_eq!((packet.fragment.unwrap().offset, packet.transport), (0, Transport::Opaque));
    refuses(&v6_fragment(1, 60, &[6; 40])[..49], Undecoded::ExtensionTruncated);
}

fn jumbogram(payload_length: u16, jumbo: u32, next: u8, payload: &[u8]) -> Vec<u8> {
    let mut options = vec![next, 0, 0xc2, 4];
    options.extend(jumbo.to_be_bytes());
    options.extend(payload);
    with(ipv6(0, &options), 4, &payload_length.to_be_bytes())
}

#[test]
fn a_jumbogram_tells_its_length_in_an_option() {
    let octets = jumbogram(0, 70_000, 6, &tcp(TcpFlags::SYN));
    let packet = ip(&octets, Some(70_040)).unwrap();
    assert_eq!((packet.length, packet.header_length, packet.transport), (70_040, 48, syn()));
    assert_eq!(ip(&octets, Some(70_039)), Err(Undecoded::LengthBeyondWire));
    let packet = ip(&jumbogram(0, 70_000, 17, &udp(0)), None).unwrap();
    assert_eq!(packet.transport, Transport::Udp(Udp { sport: 53, dport: 40000, length: u16::MAX }));
}

#[test]
fn a_jumbo_option_that_lies_is_refused() {
    refuses(&jumbogram(0, 65_535, 6, &tcp(2)), Undecoded::JumboLength);
    refuses(&jumbogram(0, u32::MAX, 6, &tcp(2)), Undecoded::JumboLength);
    refuses(&jumbogram(28, 70_000, 6, &tcp(2)), Undecoded::JumboLength);
    refuses(&with(jumbogram(0, 70_000, 6, &tcp(2)), 43, &[3]), Undecoded::JumboLength);
    refuses(&jumbogram(0, 70_000, 44, &[6, 0, 0, 1, 0, 0, 0, 1]), Undecoded::JumboLength);
    let padded = [6, 1, 0, 1, 2, 0, 0, 0xc2, 4, 0, 1, 0, 0, 0, 0, 0];
    let octets = with(ipv6(0, &[padded.as_slice(), &tcp(2)].concat()), 4, &[0, 0]);
    assert_eq!(ip(&octets, None).unwrap().length, 65_576);
    // No payload at all, and no hop-by-hop header to excuse it.
    refuses(&with(ipv6(6, &tcp(2)), 4, &[0, 0]), Undecoded::TransportBeyondPacket);
}

#[test]
fn without_payload_length_and_jumbo_option_a_packet_is_all_that_came() {
    let probe = with(chain(&[0, 60], 6, &tcp(TcpFlags::SYN)), 4, &[0, 0]);
    for (captured, wire, length) in [
        (probe.as_slice(), None, probe.len()),
        (&probe, Some(1280), 1280),
        (&probe[..76], Some(1280), 1280),
        // Padding of the link counts: nothing tells it from the packet.
        (&[probe.as_slice(), &[0; 4]].concat(), None, probe.len() + 4),
    ] {
        let packet = ip(captured, wire).unwrap();
        let length = u32::try_from(length).unwrap();
        assert_eq!((packet.length, packet.header_length, packet.transport), (length, 56, syn()));
    }
    // A snap length that hides how long the packet was hides no more than that.
    let datagram = with(chain(&[0], 17, &udp(1200)), 4, &[0, 0]);
    let packet = ip(&datagram, None).unwrap();
    assert_eq!(packet.transport, Transport::Udp(Udp { sport: 53, dport: 40000, length: 1200 }));
    assert_eq!(ip(&datagram, Some(100)), Err(Undecoded::UdpLengthBeyondPacket));
    let cut = with(chain(&[0], 6, &tcp(2)[..10]), 4, &[0, 0]);
    refuses(&cut, Undecoded::TransportTruncated);
    assert_eq!(ip(&cut, Some(58)), Err(Undecoded::TransportBeyondPacket));
    refuses(&with(chain(&[0, 44], 6, &tcp(2)), 4, &[0, 0]), Undecoded::JumboLength);
}

#[test]
fn a_tcp_data_offset_is_held_to_its_bounds() {
    refuses(&ipv4(6, &with(tcp(2), 12, &[0x40])), Undecoded::TcpOffsetBelowHeader);
    refuses(&ipv4(6, &with(tcp(2), 12, &[0x60])), Undecoded::TcpOffsetBeyondPacket);
    refuses(&ipv4(6, &tcp(2)[..19]), Undecoded::TransportBeyondPacket);
}

#[test]
fn a_udp_length_is_held_to_its_bounds() {
    let packet = ip(&ipv4(17, &udp(8)), None).unwrap();
    assert_eq!(packet.transport, Transport::Udp(Udp { sport: 53, dport: 40000, length: 8 }));
    refuses(&ipv4(17, &udp(7)), Undecoded::UdpLengthBelowHeader);
    refuses(&ipv4(17, &udp(0)), Undecoded::UdpLengthBelowHeader);
    refuses(&ipv4(17, &udp(13)), Undecoded::UdpLengthBeyondPacket);
    let whole = Transport::Udp(Udp { sport: 53, dport: 40000, length: 12 });
    assert_eq!(ip(&ipv6(17, &udp(0)), None).unwrap().transport, whole);
}

#[test]
fn udp_lite_has_a_coverage_and_the_length_of_its_packet() {
    let whole = Transport::Udp(Udp { sport: 53, dport: 40000, length: 12 });
    for coverage in [0, 8, 12] {
        assert_eq!(ip(&ipv4(136, &udp(coverage)), None).unwrap().transport, whole);
    }
    refuses(&ipv4(136, &udp(7)), Undecoded::UdpLengthBelowHeader);
    refuses(&ipv4(136, &udp(13)), Undecoded::UdpLengthBeyondPacket);
}

#[test]
fn icmp_belongs_to_its_own_ip_version() {
    let echo = [8, 0, 0, 0, 0, 1, 0, 1];
    assert_eq!(ip(&ipv4(1, &echo), None).unwrap().transport, Transport::Icmp(Icmp { kind: 8, code: 0 }));
    assert_eq!(ip(&ipv4(58, &echo), None).unwrap().transport, Transport::Opaque);
    let neighbour = [&[135, 0, 0, 0, 0, 0, 0, 0], [0; 16].as_slice()].concat();
    assert_eq!(
        ip(&ipv6(58, &neighbour), None).unwrap().transport,
        Transport::Icmp(Icmp { kind: 135, code: 0 })
    );
    assert_eq!(ip(&ipv6(1, &echo), None).unwrap().transport, Transport::Opaque);
    refuses(&ipv4(1, &echo[..7]), Undecoded::TransportBeyondPacket);
}

const TO_US: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];

fn packet4() -> Vec<u8> {
    ipv4(6, &tcp(TcpFlags::SYN))
}

fn packet6() -> Vec<u8> {
    ipv6(6, &tcp(TcpFlags::SYN))
}

#[test]
fn an_ethernet_frame_is_decoded_through_its_vlan_tags() {
    let cases: [&[u8]; 4] = [
        &[8, 0],
        &[0x81, 0, 0, 5, 8, 0],
        &[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6, 8, 0],
        &[0x91, 0, 0, 5, 0x91, 0, 0, 5, 0x81, 0, 0, 6, 8, 0],
    ];
    for tags in cases {
        let octets = [TO_US.as_slice(), tags, &packet4()].concat();
        let length = u32::try_from(octets.len()).unwrap();
        let frame = frame(LinkType::ETHERNET, &octets, Some(length)).unwrap();
        assert_eq!((frame.packet.transport, frame.pkttype), (syn(), Pkttype::Unicast));
        assert_eq!(frame.octets, packet4());
    }
    let session = [TO_US.as_slice(), &[0x88, 0x64, 0x11, 0, 0, 1, 0, 62, 0, 0x57], &packet6()].concat();
    assert_eq!(frame(LinkType::ETHERNET, &session, None).unwrap().packet.transport, syn());
}

#[test]
fn the_wire_length_is_counted_from_the_ip_header() {
    let octets = [TO_US.as_slice(), &[8, 0], &with(packet4(), 2, &[0, 41])].concat();
    assert_eq!(frame(LinkType::ETHERNET, &octets, Some(54)), Err(Undecoded::LengthBeyondWire));
    assert!(frame(LinkType::ETHERNET, &octets, Some(55)).is_ok());
}

#[test]
fn an_ethernet_frame_tells_whom_it_addressed() {
    for (destination, pkttype) in [
        ([0xff; 6], Pkttype::Broadcast),
        ([1, 0, 0x5e, 0, 0, 1], Pkttype::Multicast),
        ([2, 0, 0, 0, 0, 1], Pkttype::Unicast),
    ] {
        let octets = [destination.as_slice(), &[0; 6], &[8, 0], &packet4()].concat();
        assert_eq!(frame(LinkType::ETHERNET, &octets, None).unwrap().pkttype, pkttype);
    }
}

#[test]
fn frames_without_ip_and_frames_cut_short_are_told_apart() {
    let arp = [TO_US.as_slice(), &[8, 6], &[0; 28]].concat();
    let spanning_tree = [TO_US.as_slice(), &[0, 38], &[0x42, 0x42, 3], &[0; 43]].concat();
    let snap = [TO_US.as_slice(), &[0, 48], &[0xaa, 0xaa, 3, 0, 0, 0, 8, 0], &packet4()].concat();
    for octets in [arp, spanning_tree, snap] {
        assert_eq!(frame(LinkType::ETHERNET, &octets, None), Err(Undecoded::NotIp));
    }
    let tagged = [TO_US.as_slice(), &[0x81, 0, 0, 5, 8, 0], &packet4()].concat();
    for length in 0..18 {
        assert_eq!(frame(LinkType::ETHERNET, &tagged[..length], None), Err(Undecoded::LinkTruncated));
    }
    let lying = [TO_US.as_slice(), &[0x86, 0xdd], &packet4()].concat();
    assert_eq!(frame(LinkType::ETHERNET, &lying, None), Err(Undecoded::IpVersion));
    assert_eq!(frame(LinkType(147), &lying, None), Err(Undecoded::LinkType));
}

#[test]
fn raw_ip_comes_under_five_numbers() {
    for link_type in [LinkType::RAW, LinkType::DLT_RAW, LinkType::DLT_RAW_OPENBSD] {
        assert_eq!(frame(link_type, &packet4(), None).unwrap().packet.transport, syn());
        assert_eq!(frame(link_type, &packet6(), None).unwrap().packet.transport, syn());
    }
    assert!(frame(LinkType::IPV4, &packet4(), None).is_ok());
    assert!(frame(LinkType::IPV6, &packet6(), None).is_ok());
    assert_eq!(frame(LinkType::IPV4, &packet6(), None), Err(Undecoded::IpVersion));
    assert_eq!(frame(LinkType::IPV6, &packet4(), None), Err(Undecoded::IpVersion));
}

#[test]
fn loopback_families_are_read_in_either_byte_order() {
    for (family, packet) in
        [(2, packet4()), (10, packet6()), (24, packet6()), (28, packet6()), (30, packet6())]
    {
        for link_type in [LinkType::NULL, LinkType::LOOP] {
            for header in [u32::to_be_bytes(family), u32::to_le_bytes(family)] {
                let octets = [header.as_slice(), &packet].concat();
                assert_eq!(frame(link_type, &octets, None).unwrap().packet.transport, syn(), "{family}");
            }
        }
    }
    assert_eq!(frame(LinkType::NULL, &[7, 0, 0, 0, 1], None), Err(Undecoded::NotIp));
    assert_eq!(frame(LinkType::NULL, &[2, 0, 0], None), Err(Undecoded::LinkTruncated));
}

#[test]
fn ppp_is_read_framed_unframed_and_compressed() {
    for header in [&[0xff, 3, 0, 0x21][..], &[0, 0x21], &[0x21], &[0xff, 3, 0x21]] {
        let octets = [header, &packet4()].concat();
        assert_eq!(frame(LinkType::PPP, &octets, None).unwrap().packet.transport, syn());
    }
    assert!(frame(LinkType::PPP_HDLC, &[&[0xff, 3, 0, 0x57], &packet6()[..]].concat(), None).is_ok());
    assert_eq!(frame(LinkType::PPP, &[0xff, 3, 0xc0, 0x21, 1], None), Err(Undecoded::NotIp));
    assert_eq!(frame(LinkType::PPP, &[0xff, 3, 0], None), Err(Undecoded::LinkTruncated));
}

#[test]
fn a_cooked_capture_tells_direction_and_group() {
    for (kind, pkttype, outgoing) in [
        (0, Pkttype::Unicast, false),
        (1, Pkttype::Broadcast, false),
        (2, Pkttype::Multicast, false),
        (3, Pkttype::Unicast, false),
        (4, Pkttype::Unicast, true),
    ] {
        let v1 = [&[0, kind, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0, 8, 0], &packet4()[..]].concat();
        let seen = frame(LinkType::LINUX_SLL, &v1, None).unwrap();
        assert_eq!((seen.pkttype, seen.outgoing, seen.iif, seen.oif), (pkttype, outgoing, None, None));
        let v2 =
            [&[0x86, 0xdd, 0, 0, 0, 0, 0, 3, 0, 1, kind, 6, 1, 2, 3, 4, 5, 6, 0, 0], &packet6()[..]].concat();
        let seen = frame(LinkType::LINUX_SLL2, &v2, None).unwrap();
        assert_eq!((seen.pkttype, seen.outgoing), (pkttype, outgoing));
        assert_eq!((seen.iif, seen.oif), if outgoing { (None, Some(3)) } else { (Some(3), None) });
    }
    let tagged = [&[0, 0, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0, 0x81, 0, 0, 5, 8, 0], &packet4()[..]].concat();
    assert_eq!(frame(LinkType::LINUX_SLL, &tagged, Some(60)).unwrap().packet.transport, syn());
    assert_eq!(frame(LinkType::LINUX_SLL, &tagged[..15], None), Err(Undecoded::LinkTruncated));
    assert_eq!(frame(LinkType::LINUX_SLL2, &tagged[..19], None), Err(Undecoded::LinkTruncated));
}

/// An NFLOG record with the attributes given, in the byte order asked for.
pub(super) fn nflog(family: u8, big_endian: bool, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut octets = vec![family, 0, 0, 100];
    for (kind, value) in attributes {
        let length = u16::try_from(value.len() + 4).unwrap();
        for field in [length, *kind] {
            octets.extend(if big_endian { field.to_be_bytes() } else { field.to_le_bytes() });
        }
        octets.extend(*value);
        octets.resize(octets.len().next_multiple_of(4), 0);
    }
    octets
}

#[test]
fn an_nflog_record_tells_prefix_interfaces_and_group() {
    let ethernet = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 2, 8, 0];
    for big_endian in [false, true] {
        let octets = nflog(
            2,
            big_endian,
            &[
                (1, &[8, 0, 1, 0]),
                (10, b"nfban:refused\0"),
                (4, &[0, 0, 0, 2]),
                (5, &[0, 0, 0, 3]),
                (15, &[0, 1]),
                (16, &ethernet),
                (9, &packet4()),
            ],
        );
        let seen = frame(LinkType::NFLOG, &octets, Some(u32::try_from(octets.len()).unwrap())).unwrap();
        assert_eq!(seen.packet.transport, syn());
        assert_eq!(seen.prefix, Some(&b"nfban:refused"[..]));
        assert_eq!((seen.iif, seen.oif, seen.pkttype), (Some(2), Some(3), Pkttype::Broadcast));
        assert!(!seen.outgoing);
    }
}

#[test]
fn an_nflog_record_of_a_netdev_chain_tells_its_protocol_in_the_header() {
    let octets = nflog(5, false, &[(1, &[0x86, 0xdd, 0, 0]), (9, &packet6())]);
    assert_eq!(frame(LinkType::NFLOG, &octets, None).unwrap().packet.transport, syn());
    let arp = nflog(7, false, &[(1, &[8, 6, 0, 0]), (9, &[0; 28])]);
    assert_eq!(frame(LinkType::NFLOG, &arp, None), Err(Undecoded::NotIp));
    assert_eq!(frame(LinkType::NFLOG, &nflog(5, false, &[(9, &packet6())]), None), Err(Undecoded::NotIp));
    let outgoing = nflog(10, false, &[(1, &[0x86, 0xdd, 3, 0]), (9, &packet6())]);
    assert!(frame(LinkType::NFLOG, &outgoing, None).unwrap().outgoing);
}

#[test]
fn an_nflog_attribute_that_lies_is_refused_and_one_cut_short_is_not() {
    let octets = nflog(2, false, &[(1, &[8, 0, 1, 0]), (9, &packet4())]);
    let length = u32::try_from(octets.len()).unwrap();
    let cut = &octets[..octets.len() - 4];
    assert_eq!(frame(LinkType::NFLOG, cut, Some(length)).unwrap().packet.transport, syn());
    assert_eq!(frame(LinkType::NFLOG, cut, Some(length - 4)), Err(Undecoded::NflogAttribute));
    assert_eq!(frame(LinkType::NFLOG, &octets[..9], Some(length)), Err(Undecoded::LinkTruncated));
    let short = with(octets.clone(), 4, &[3, 0]);
    assert_eq!(frame(LinkType::NFLOG, &short, Some(length)), Err(Undecoded::NflogAttribute));
    assert_eq!(frame(LinkType::NFLOG, &octets[..12], Some(12)), Err(Undecoded::NflogEmpty));
    assert_eq!(frame(LinkType::NFLOG, &octets[..3], None), Err(Undecoded::LinkTruncated));
}
