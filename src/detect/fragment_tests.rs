use std::collections::HashSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::decode;
use crate::packet::TcpFlags;

const T0: Duration = Duration::from_secs(1000);
/// Octets after which no fragment of an IPv4 packet without options can begin.
const LONGEST: u32 = 65515;

/// A fragment as a test thinks of it.
#[derive(Debug, Clone, Copy)]
struct Cut {
    start: u16,
    length: u16,
    more: bool,
}

const fn cut(start: u16, length: u16, more: bool) -> Cut {
    Cut { start, length, more }
}

/// Whose datagram a fragment is of.
#[derive(Debug, Clone, Copy)]
struct Of {
    ipv6: bool,
    protocol: u8,
    identification: u16,
}

const UDP4: Of = Of { ipv6: false, protocol: protocol::UDP, identification: 7 };
const UDP6: Of = Of { ipv6: true, ..UDP4 };
const TCP4: Of = Of { protocol: protocol::TCP, ..UDP4 };
const TCP6: Of = Of { ipv6: true, ..TCP4 };

impl Of {
    fn packet(self, cut: Cut) -> Packet {
        let (saddr, daddr): (IpAddr, IpAddr) = if self.ipv6 {
            ("2001:db8::7".parse::<Ipv6Addr>().unwrap().into(), Ipv6Addr::LOCALHOST.into())
        } else {
            (Ipv4Addr::new(192, 0, 2, 7).into(), Ipv4Addr::LOCALHOST.into())
        };
        let header_length = if self.ipv6 { 48 } else { 20 };
        Packet {
            saddr,
            daddr,
            length: u32::from(header_length) + u32::from(cut.length),
            header_length,
            ttl: 64,
            dont_fragment: false,
            identification: (!self.ipv6).then_some(self.identification),
            fragment: Some(Fragment {
                offset: cut.start,
                more: cut.more,
                identification: self.identification.into(),
                length: cut.length.into(),
            }),
            protocol: self.protocol,
            transport: Transport::Opaque,
        }
    }
}

fn table(capacity: u32) -> Fragments {
    Fragments::new(capacity, SeedableRandomState::fixed())
}

fn stamp(boot: Duration) -> Stamp {
    Stamp { boot, wall_us: 0 }
}

impl Fragments {
    fn takes(&mut self, of: Of, cut: Cut) -> Option<Fault> {
        self.observe(&of.packet(cut), stamp(T0))
    }
}

fn faults(of: Of, cuts: &[Cut]) -> Vec<Option<Fault>> {
    let mut table = table(DATAGRAMS);
    cuts.iter().map(|&cut| table.takes(of, cut)).collect()
}

#[test]
fn an_overlap_is_seen_whatever_comes_first() {
    for of in [UDP4, UDP6] {
        // Teardrop: the second ends inside the first.
        let teardrop = [cut(0, 32, true), cut(24, 4, false)];
        let around = [cut(16, 8, true), cut(8, 24, true)];
        let same_start = [cut(0, 16, true), cut(0, 24, true)];
        for [one, other] in [teardrop, around, same_start] {
            assert_eq!(faults(of, &[one, other]), [None, Some(Fault::Overlap)], "{one:?}");
            assert_eq!(faults(of, &[other, one]), [None, Some(Fault::Overlap)], "{one:?}");
        }
        // What it claimed is not taken up, so the rest is judged without it.
        let cuts = [cut(0, 16, true), cut(8, 16, true), cut(16, 8, true), cut(24, 8, false)];
        assert_eq!(faults(of, &cuts), [None, Some(Fault::Overlap), None, None]);
    }
}

#[test]
fn extension_headers_behind_the_fragment_header_are_claimed_as_well() {
    // Destination options of 8 octets before 16 of UDP: 0 to 24 of the original payload.
    let mut first = UDP6.packet(cut(0, 24, true));
    first.header_length += 8;
    let mut table = table(DATAGRAMS);
    assert_eq!(table.observe(&first, stamp(T0)), None);
    assert_eq!(table.takes(UDP6, cut(16, 8, false)), Some(Fault::Overlap));
    assert_eq!(table.takes(UDP6, cut(24, 8, false)), None);
    assert_eq!(table.under_way(), 0);
}

#[test]
fn the_last_fragment_claims_all_that_is_behind_it() {
    for of in [UDP4, UDP6] {
        let contradictions = [
            [cut(16, 8, false), cut(24, 8, true)],
            [cut(16, 8, false), cut(24, 8, false)],
            [cut(16, 8, false), cut(16, 8, true)],
            [cut(16, 8, false), cut(16, 9, false)],
        ];
        for [one, other] in contradictions {
            assert_eq!(faults(of, &[one, other]), [None, Some(Fault::Overlap)], "{other:?}");
            assert_eq!(faults(of, &[other, one]), [None, Some(Fault::Overlap)], "{other:?}");
        }
    }
}

#[test]
fn the_very_same_range_again_is_a_duplicate() {
    for of in [UDP4, UDP6] {
        let cuts = [cut(16, 16, true), cut(16, 16, true), cut(32, 5, false), cut(32, 5, false)];
        let duplicate = Some(Fault::Duplicate);
        assert_eq!(faults(of, &cuts), [None, duplicate, None, duplicate]);
    }
}

#[test]
fn a_fragment_that_ends_past_65535_octets_is_oversized() {
    // The ping of death: 8 octets where the last 7 would be too many.
    assert_eq!(faults(UDP4, &[cut(65528, 8, false)]), [Some(Fault::Oversized)]);
    // The headers count in IPv4, those before the fragment header in IPv6.
    assert_eq!(faults(UDP4, &[cut(65512, 3, false)]), [None]);
    assert_eq!(faults(UDP4, &[cut(65512, 4, false)]), [Some(Fault::Oversized)]);
    assert_eq!(faults(UDP6, &[cut(65528, 7, false)]), [None]);
    assert_eq!(faults(UDP6, &[cut(65528, 8, false)]), [Some(Fault::Oversized)]);
    let mut with_options = UDP4.packet(cut(65488, 8, false));
    (with_options.header_length, with_options.length) = (40, 48);
    assert_eq!(table(1).observe(&with_options, stamp(T0)), Some(Fault::Oversized));
}

#[test]
fn a_length_that_is_no_multiple_of_8_before_the_end_overlaps_what_must_follow() {
    for of in [UDP4, UDP6] {
        assert_eq!(faults(of, &[cut(0, 12, true)]), [Some(Fault::Overlap)]);
        assert_eq!(faults(of, &[cut(8, 12, false)]), [None]);
    }
}

#[test]
fn a_fragment_without_data_is_tiny() {
    for of in [UDP4, UDP6] {
        assert_eq!(faults(of, &[cut(0, 0, true), cut(16, 0, false)]), [Some(Fault::Tiny); 2]);
    }
}

#[test]
fn a_first_fragment_that_hides_the_control_bits_of_tcp_is_tiny() {
    let tiny = Some(Fault::Tiny);
    // `nmap -f`: 24 octets of TCP in three parts; the second proves what the first was.
    let nmap = [cut(0, 8, true), cut(8, 8, true), cut(16, 8, false)];
    assert_eq!(faults(TCP4, &nmap), [tiny, tiny, None]);
    // `nmap -ff`: the control bits are in the first one.
    assert_eq!(faults(TCP4, &[cut(0, 16, true), cut(16, 8, false)]), [None, None]);
    // UDP has its ports in 8 octets.
    assert_eq!(faults(UDP4, &[cut(0, 8, true), cut(8, 8, false)]), [None, None]);
}

#[test]
fn a_tiny_fragment_that_overlaps_is_an_overlap_and_a_repeated_one_is_tiny() {
    let (tiny, overlap) = (Some(Fault::Tiny), Some(Fault::Overlap));
    // RFC 3128: the second one rewrites the control bits.
    assert_eq!(faults(TCP4, &[cut(0, 16, true), cut(8, 16, true)]), [None, overlap]);
    assert_eq!(faults(TCP4, &[cut(0, 8, true), cut(0, 8, true)]), [tiny, tiny]);
}

#[test]
fn the_first_fragment_of_an_ipv6_packet_has_the_whole_header_chain() {
    let tiny = Some(Fault::Tiny);
    assert_eq!(faults(TCP6, &[cut(0, 16, true), cut(16, 8, false)]), [tiny, None]);
    let mut with_options = TCP6.packet(cut(0, 32, true));
    let tcp = |header_length| {
        Transport::Tcp(Tcp {
            sport: 1,
            dport: 2,
            sequence: None,
            header_length: Some(header_length),
            flags: TcpFlags(TcpFlags::SYN),
            window: 0,
        })
    };
    for (header_length, expected) in [(32, None), (36, tiny)] {
        with_options.transport = tcp(header_length);
        assert_eq!(table(1).observe(&with_options, stamp(T0)), expected);
    }
    let of = |protocol| Of { protocol, ..UDP6 };
    assert_eq!(faults(of(protocol::SCTP), &[cut(0, 8, true)]), [tiny]);
    // The chain goes on in the next fragment: destination options.
    assert_eq!(faults(of(60), &[cut(0, 8, true), cut(8, 8, false)]), [tiny, None]);
}

/// Octets of an IPv6 fragment whose data begins with 8 octets of destination options and `payload`.
fn v6_octets(payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(16 + payload.len()).unwrap().to_be_bytes();
    let mut octets = vec![0x60, 0, 0, 0, length[0], length[1], 44, 64];
    octets.extend("2001:db8::7".parse::<Ipv6Addr>().unwrap().octets());
    octets.extend("2001:db8::5".parse::<Ipv6Addr>().unwrap().octets());
    octets.extend([60, 0, 0, 1, 0, 0, 0, 9]);
    octets.extend([17, 0, 1, 4, 0, 0, 0, 0]);
    octets.extend(payload);
    octets
}

#[test]
fn headers_without_anything_behind_them_are_tiny_from_the_wire_to_here() {
    let observe = |octets: &[u8]| {
        let packet = decode::ip(octets, None).unwrap();
        table(1).observe(&packet, stamp(T0))
    };
    assert_eq!(observe(&v6_octets(&[])), Some(Fault::Tiny));
    assert_eq!(observe(&v6_octets(&[0, 53, 0, 53, 0, 99, 0, 0])), None);
}

#[test]
fn what_is_no_fragment_is_never_wrong() {
    let mut packet = TCP4.packet(cut(0, 8, false));
    packet.fragment = None;
    let mut table = table(1);
    assert_eq!(table.observe(&packet, stamp(T0)), None);
    assert_eq!(table.under_way(), 0);
}

#[test]
fn datagrams_are_told_apart_by_all_that_identifies_them() {
    let mut table = table(DATAGRAMS);
    let first = cut(0, 16, true);
    let other_identification = Of { identification: 8, ..UDP4 };
    let other_protocol = Of { protocol: protocol::ICMP, ..UDP4 };
    for of in [UDP4, UDP6, other_identification, other_protocol] {
        assert_eq!(table.takes(of, first), None, "{of:?}");
    }
    let mut other_source = UDP4.packet(first);
    other_source.saddr = Ipv4Addr::new(192, 0, 2, 8).into();
    let mut other_destination = UDP4.packet(first);
    other_destination.daddr = Ipv4Addr::new(192, 0, 2, 8).into();
    for packet in [other_source, other_destination] {
        assert_eq!(table.observe(&packet, stamp(T0)), None);
    }
    // Fragments of one IPv6 packet may differ in what they name next.
    assert_eq!(table.takes(Of { protocol: 60, ..UDP6 }, cut(8, 16, true)), Some(Fault::Overlap));
}

#[test]
fn an_identification_may_be_used_again_once_the_datagram_is_whole_or_its_time_is_over() {
    for (of, timeout) in [(UDP4, 30), (UDP6, 60)] {
        let mut table = table(DATAGRAMS);
        for _ in 0..3 {
            assert_eq!(table.takes(of, cut(16, 4, false)), None);
            assert_eq!(table.takes(of, cut(0, 16, true)), None);
            assert_eq!(table.under_way(), 0);
        }
        let over = T0 + Duration::from_secs(timeout);
        let packet = of.packet(cut(0, 16, true));
        assert_eq!(table.observe(&packet, stamp(T0)), None);
        let just_before = over.checked_sub(Duration::from_nanos(1)).unwrap();
        assert_eq!(table.observe(&packet, stamp(just_before)), Some(Fault::Duplicate));
        assert_eq!(table.observe(&packet, stamp(over)), None);
    }
}

#[test]
fn the_time_of_a_datagram_is_its_own_familys() {
    let mut table = table(DATAGRAMS);
    let at = |seconds| stamp(T0 + Duration::from_secs(seconds));
    table.observe(&UDP6.packet(cut(0, 16, true)), at(0));
    table.observe(&UDP4.packet(cut(0, 16, true)), at(1));
    let other = Of { identification: 8, ..UDP4 };
    table.observe(&other.packet(cut(0, 16, true)), at(31));
    // The older one is alive, the newer one is gone.
    assert_eq!(table.under_way(), 2);
    assert_eq!(table.observe(&UDP6.packet(cut(0, 24, true)), at(59)), Some(Fault::Overlap));
}

#[test]
fn a_full_table_gives_up_the_oldest_and_says_so() {
    let mut table = table(2);
    let of = |identification| Of { identification, ..UDP4 };
    for identification in 0..3 {
        assert_eq!(table.takes(of(identification), cut(0, 16, true)), None);
    }
    assert_eq!((table.under_way(), table.evicted()), (2, 1));
    assert_eq!(table.takes(of(1), cut(0, 16, true)), Some(Fault::Duplicate));
    assert_eq!(table.takes(of(0), cut(0, 16, true)), None);
    assert_eq!((table.under_way(), table.evicted()), (2, 2));
    assert!(table.datagrams.len() <= 2);
    table.clear();
    assert_eq!((table.under_way(), table.evicted()), (0, 2));
}

#[test]
fn a_table_full_of_the_worst_stays_below_1_mib() {
    let mut table = table(DATAGRAMS);
    for identification in 0..u16::try_from(DATAGRAMS).unwrap() + 100 {
        let of = Of { identification, ..UDP4 };
        for at in 0..100 {
            assert_eq!(table.takes(of, cut(at * 16, 8, true)), None);
        }
    }
    let pieces = |datagram: &Datagram| match datagram.claims.pieces.spilled() {
        true => datagram.claims.pieces.capacity() * size_of::<Piece>(),
        false => 0,
    };
    let octets = table.datagrams.capacity() * size_of::<Datagram>()
        + table.datagrams.iter().map(pieces).sum::<usize>()
        + table.free.capacity() * size_of::<u32>()
        + table.index.allocation_size();
    assert_eq!(table.under_way(), usize::try_from(DATAGRAMS).unwrap());
    assert!(octets <= 1 << 20, "{octets} octets");
}

#[test]
fn ranges_that_were_joined_for_room_take_what_is_within_them_for_a_repeat() {
    let mut table = table(1);
    for at in 0..200 {
        assert_eq!(table.takes(UDP4, cut(at * 8, 8, true)), None);
    }
    assert_eq!(table.takes(UDP4, cut(80, 16, true)), Some(Fault::Duplicate));
    assert_eq!(table.takes(UDP4, cut(1592, 16, true)), Some(Fault::Overlap));
    assert_eq!(table.takes(UDP4, cut(1600, 3, false)), None);
    assert_eq!(table.under_way(), 0);
}

/// The same, said in a naive way: who has claimed each 8 octets of a datagram that never ends.
struct Oracle {
    units: Vec<bool>,
    claims: HashSet<(u16, u16, bool)>,
}

impl Oracle {
    fn new() -> Self {
        Self { units: vec![false; 8192], claims: HashSet::new() }
    }

    fn takes(&mut self, cut: Cut) -> Option<Fault> {
        let (start, end) = (usize::from(cut.start) / 8, u32::from(cut.start) + u32::from(cut.length));
        if end > LONGEST {
            return Some(Fault::Oversized);
        }
        let claim = (cut.start, cut.length, cut.more);
        let end = if cut.more { usize::try_from(end.div_ceil(8)).unwrap() } else { self.units.len() };
        let units = self.units.get_mut(start..end).unwrap();
        if units.contains(&true) {
            return Some(if self.claims.contains(&claim) { Fault::Duplicate } else { Fault::Overlap });
        }
        units.fill(true);
        self.claims.insert(claim);
        if !self.units.contains(&false) {
            *self = Self::new();
        }
        None
    }
}

/// Any fragment whose length is possible, near the start or anywhere.
fn any_cut(units: u16) -> impl Strategy<Value = Cut> {
    (0..units, 1..8u16, 1..60u16, any::<bool>())
        .prop_map(|(start, units, odd, more)| cut(start * 8, if more { units * 8 } else { odd }, more))
}

/// A datagram cut at random places, at least 16 octets apart where `first` is the least first one, in random order.
fn honest(first: u16) -> impl Strategy<Value = Vec<Cut>> {
    (vec(first..8190, 1..400), 1..8u16).prop_flat_map(move |(mut ends, odd)| {
        ends.sort_unstable();
        ends.dedup();
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let lasting = ends.iter().map(|end| Some(*end)).chain([None]);
        let cuts: Vec<Cut> = starts
            .zip(lasting)
            .map(|(start, end)| match end {
                Some(end) => cut(start * 8, (end - start) * 8, true),
                None => cut(start * 8, if start < 8189 { odd } else { odd.min(3) }, false),
            })
            .collect();
        Just(cuts).prop_shuffle()
    })
}

proptest! {
    #[test]
    fn faults_are_those_of_a_naive_oracle(
        cuts in prop_oneof![vec(any_cut(16), 1..60), vec(any_cut(8192), 1..60)],
    ) {
        let (mut table, mut oracle) = (table(1), Oracle::new());
        for cut in cuts {
            prop_assert_eq!(table.takes(UDP4, cut), oracle.takes(cut), "{:?}", cut);
        }
    }

    #[test]
    fn the_fragments_of_an_honest_datagram_are_never_faulty(cuts in honest(1), again in honest(1)) {
        for of in [UDP4, UDP6] {
            let mut table = table(4);
            let repeated = Of { identification: 8, ..of };
            let mut others = again.iter();
            for &cut in &cuts {
                prop_assert_eq!(table.takes(of, cut), None);
                // The same again under a new identification, and another one in between.
                prop_assert_eq!(table.takes(repeated, cut), None);
                if let Some(&other) = others.next() {
                    prop_assert_eq!(table.takes(Of { identification: 9, ..of }, other), None);
                }
            }
            if cuts.len() <= PIECES {
                prop_assert!(table.under_way() <= 1);
            }
        }
    }

    #[test]
    fn tcp_is_never_faulty_with_its_control_bits_in_the_first_fragment(cuts in honest(3)) {
        for of in [TCP4, TCP6] {
            let mut table = table(1);
            for &cut in &cuts {
                prop_assert_eq!(table.takes(of, cut), None);
            }
        }
    }

    #[test]
    fn neither_time_nor_a_crowd_makes_the_table_lose_count(packets in vec((any_cut(40), 0..6u16, 0..40u64, any::<bool>()), 1..300)) {
        let mut table = table(4);
        let mut now = T0;
        for (cut, identification, seconds, ipv6) in packets {
            now += Duration::from_secs(seconds / 8);
            let of = Of { ipv6, identification, ..UDP4 };
            table.observe(&of.packet(cut), stamp(now));
            prop_assert!(table.under_way() <= 4);
            prop_assert_eq!(table.datagrams.len(), table.under_way() + table.free.len());
            let queued = (0..FAMILIES).map(|family| {
                let mut at = table.queues[family].oldest;
                std::iter::from_fn(|| {
                    let datagram = table.datagrams.get(at as usize)?;
                    at = datagram.newer;
                    Some(datagram.first_seen)
                })
                .inspect(|first_seen| assert!(now - *first_seen < TIMEOUT[family]))
                .count()
            });
            prop_assert_eq!(queued.sum::<usize>(), table.under_way());
        }
    }
}
