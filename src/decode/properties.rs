//! The decoder against an independent one, and against octets from nowhere.

use std::net::IpAddr;

use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};
use proptest::collection::vec;
use proptest::prelude::*;

use super::tests::{chain, ipv4, ipv6, nflog, tcp, udp};
use super::*;
use crate::packet::{Transport, protocol};

/// Packets that are almost right: a valid one with up to three octets changed, and an end anywhere.
fn almost_valid() -> impl Strategy<Value = Vec<u8>> {
    (
        valid(),
        vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        any::<prop::sample::Index>(),
        any::<bool>(),
    )
        .prop_map(|(mut packet, changes, end, cut)| {
            for (at, value) in changes {
                let at = at.index(packet.len());
                packet[at] = value;
            }
            if cut {
                packet.truncate(end.index(packet.len() + 1));
            }
            packet
        })
}

fn transport() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let icmp = [8, 0, 0, 0, 0, 1, 0, 1];
    prop_oneof![
        (0..0x1000u16).prop_map(|flags| (6, tcp(flags))),
        (8..=12u16).prop_map(|length| (17, udp(length))),
        Just((1, icmp.to_vec())),
        Just((58, icmp.to_vec())),
        (any::<u8>(), vec(any::<u8>(), 0..40)),
    ]
}

fn valid() -> impl Strategy<Value = Vec<u8>> {
    let headers = vec(prop::sample::select(vec![43u8, 44, 51, 60, 135, 139, 140]), 1..4);
    prop_oneof![
        (transport(), vec(any::<u8>(), 0..100))
            .prop_map(|((protocol, header), data)| ipv4(protocol, &[header, data].concat())),
        transport().prop_map(|(protocol, payload)| ipv6(protocol, &payload)),
        (any::<bool>(), headers, transport()).prop_map(|(hop_by_hop, headers, (protocol, payload))| {
            let headers = if hop_by_hop { [vec![0], headers].concat() } else { headers };
            chain(&headers, protocol, &payload)
        }),
    ]
}

fn is_the_packets_fault(reason: Undecoded) -> bool {
    !reason.is_truncation() && reason != Undecoded::NflogEmpty
}

fn agrees(packet: &Packet, sliced: &LaxSlicedPacket<'_>) {
    match sliced.net.as_ref().unwrap() {
        LaxNetSlice::Ipv4(slice) => {
            let header = slice.header();
            assert_eq!(packet.saddr, IpAddr::V4(header.source_addr()));
            assert_eq!(packet.daddr, IpAddr::V4(header.destination_addr()));
            assert_eq!(packet.length, u32::from(header.total_len()));
            assert_eq!(usize::from(packet.header_length), header.slice().len());
            assert_eq!((packet.ttl, packet.dont_fragment), (header.ttl(), header.dont_fragment()));
            assert_eq!(packet.protocol, header.protocol().0);
            assert_eq!(packet.fragment.is_some(), header.is_fragmenting_payload());
            if let Some(fragment) = packet.fragment {
                assert_eq!(fragment.offset, header.fragments_offset().value() * 8);
                assert_eq!(fragment.more, header.more_fragments());
                assert_eq!(fragment.identification, u32::from(header.identification()));
            }
        }
        LaxNetSlice::Ipv6(slice) => {
            let header = slice.header();
            assert_eq!(packet.saddr, IpAddr::V6(header.source_addr()));
            assert_eq!(packet.daddr, IpAddr::V6(header.destination_addr()));
            assert_eq!(packet.ttl, header.hop_limit());
            if header.payload_length() > 0 {
                assert_eq!(packet.length, u32::from(header.payload_length()) + 40);
            }
            // The oracle knows fewer extension headers, and reads on in fragments where the data of others starts.
            let comparable =
                packet.fragment.is_none() && !slice.payload().ip_number.is_ipv6_ext_header_value();
            if sliced.stop_err.is_none() && comparable {
                assert_eq!(packet.protocol, slice.payload().ip_number.0);
                assert_eq!(usize::from(packet.header_length), 40 + slice.extensions().slice().len());
                assert_eq!(packet.fragment.is_some(), slice.is_payload_fragmented());
            }
        }
        LaxNetSlice::Arp(_) => panic!("ARP out of an IP packet"),
    }
    match (packet.transport, sliced.transport.as_ref()) {
        (Transport::Tcp(ours), Some(TransportSlice::Tcp(theirs))) => {
            assert_eq!((ours.sport, ours.dport), (theirs.source_port(), theirs.destination_port()));
            assert_eq!(ours.sequence, Some(theirs.sequence_number()));
            assert_eq!(ours.window, theirs.window_size());
            let octets = theirs.slice();
            assert_eq!(ours.flags.0, u16::from_be_bytes([octets[12], octets[13]]) & 0xfff);
        }
        (Transport::Udp(ours), Some(TransportSlice::Udp(theirs))) => {
            assert_eq!((ours.sport, ours.dport), (theirs.source_port(), theirs.destination_port()));
            assert!(ours.length == theirs.length() || theirs.length() == 0);
        }
        (Transport::Icmp(ours), Some(TransportSlice::Icmpv4(theirs))) => {
            assert_eq!((ours.kind, ours.code), (theirs.type_u8(), theirs.code_u8()));
        }
        (Transport::Icmp(ours), Some(TransportSlice::Icmpv6(theirs))) => {
            assert_eq!((ours.kind, ours.code), (theirs.type_u8(), theirs.code_u8()));
        }
        // The oracle wants whole headers, decodes IGMP and ICMP of the wrong IP version, and steps over AH in IPv4.
        (_, None) => {}
        (Transport::Opaque, Some(_)) => {
            let other_version = match packet.saddr {
                IpAddr::V4(_) => protocol::ICMPV6,
                IpAddr::V6(_) => protocol::ICMP,
            };
            assert!(
                packet.fragment.is_some() || [protocol::IGMP, other_version, 51].contains(&packet.protocol),
                "{packet:?} against {sliced:?}"
            );
        }
        (ours, theirs) => panic!("{ours:?} against {theirs:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn every_field_is_what_etherparse_reads(octets in almost_valid()) {
        if let (Ok(packet), Ok(sliced)) = (ip(&octets, None), LaxSlicedPacket::from_ip(&octets)) {
            agrees(&packet, &sliced);
        }
    }

    #[test]
    fn what_etherparse_decodes_without_complaint_we_decode(octets in valid()) {
        if let Ok(sliced) = etherparse::SlicedPacket::from_ip(&octets)
            && sliced.transport.is_some()
        {
            prop_assert!(ip(&octets, None).is_ok(), "{:?}", ip(&octets, None));
        }
    }

    #[test]
    fn no_octets_make_it_panic(
        link_type in prop::sample::select(LinkType::ALL.to_vec()),
        octets in vec(any::<u8>(), 0..200),
        wire_length in any::<Option<u32>>(),
    ) {
        let _ = ip(&octets, wire_length);
        let _ = frame(link_type, &octets, wire_length);
    }

    #[test]
    fn a_packet_cut_anywhere_decodes_or_says_truncated(octets in valid(), logged in any::<bool>()) {
        let wire_length = u32::try_from(octets.len()).unwrap();
        if ip(&octets, Some(wire_length)).is_ok() {
            for end in 0..octets.len() {
                let cut = ip(&octets[..end], Some(wire_length));
                prop_assert!(!cut.is_err_and(is_the_packets_fault), "{end}: {cut:?}");
            }
            let (link_type, framed) = if logged {
                (LinkType::NFLOG, nflog(7, false, &[(1, &ethertype_of(&octets)), (10, b"x\0"), (9, &octets)]))
            } else {
                (LinkType::ETHERNET, [[0; 12].as_slice(), &[0x81, 0, 0, 1], &ethertype_of(&octets)[..2], &octets].concat())
            };
            let wire_length = u32::try_from(framed.len()).unwrap();
            prop_assert!(frame(link_type, &framed, Some(wire_length)).is_ok());
            for end in 0..framed.len() {
                let cut = frame(link_type, &framed[..end], Some(wire_length));
                prop_assert!(!cut.is_err_and(is_the_packets_fault), "{end}: {cut:?}");
            }
        }
    }
}

fn ethertype_of(packet: &[u8]) -> [u8; 4] {
    if packet[0] >> 4 == 4 { [8, 0, 0, 0] } else { [0x86, 0xdd, 0, 0] }
}
