use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::decode;
use crate::packet::Transport;

const T0: Duration = Duration::from_secs(1000);

/// A fragment of an IPv4 packet; `field` is flags and offset as in the header.
fn v4(identification: u16, field: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
    let [i0, i1] = identification.to_be_bytes();
    let [f0, f1] = field.to_be_bytes();
    let mut packet = vec![0x45, 0, length[0], length[1], i0, i1, f0, f1, 64, 17, 0, 0];
    packet.extend(Ipv4Addr::new(192, 0, 2, 7).octets());
    packet.extend(Ipv4Addr::new(203, 0, 113, 5).octets());
    packet.extend(payload);
    packet
}

/// The same of IPv6, behind a destination options header; `field` is offset and the M flag.
fn v6(identification: u32, field: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(16 + payload.len()).unwrap().to_be_bytes();
    let mut packet = vec![0x60, 0, 0, 0, length[0], length[1], 60, 64];
    packet.extend("2001:db8::7".parse::<Ipv6Addr>().unwrap().octets());
    packet.extend("2001:db8::5".parse::<Ipv6Addr>().unwrap().octets());
    packet.extend([44, 0, 1, 4, 0, 0, 0, 0, 17, 0]);
    packet.extend(field.to_be_bytes());
    packet.extend(identification.to_be_bytes());
    packet.extend(payload);
    packet
}

fn datagram(length: u16) -> Vec<u8> {
    let mut octets = vec![0, 53, 0x9c, 0x40];
    octets.extend(length.to_be_bytes());
    octets.extend([0, 0]);
    octets.extend((8..length).map(|at| at.to_le_bytes()[0]));
    octets
}

fn insert(reassembly: &mut Reassembly, octets: &[u8], now: Duration) -> Outcome {
    let packet = decode::ip(octets, None).unwrap();
    reassembly.insert(octets, &packet, now)
}

/// Fragments of `payload` from `cuts`, which are in units of 8 octets.
fn fragments(ipv6: bool, payload: &[u8], cuts: &[usize]) -> Vec<Vec<u8>> {
    let mut bounds: Vec<_> = cuts.iter().map(|cut| cut * 8).filter(|&cut| cut < payload.len()).collect();
    bounds.extend([0, payload.len()]);
    bounds.sort_unstable();
    bounds.dedup();
    let pieces = bounds.windows(2).map(|range| {
        let [start, end] = [range[0], range[1]];
        let more = end < payload.len();
        let octets = &payload[start..end];
        if ipv6 {
            v6(7, u16::try_from(start).unwrap() | u16::from(more), octets)
        } else {
            v4(7, u16::try_from(start / 8).unwrap() | u16::from(more) << 13, octets)
        }
    });
    pieces.collect()
}

#[test]
fn a_packet_that_is_no_fragment_is_whole_as_it_is() {
    let octets = v4(7, 0, &datagram(8));
    let whole = Whole { octets: octets.clone(), wire_length: 28 };
    assert_eq!(insert(&mut Reassembly::new(), &octets, T0), Outcome::Whole(whole));
}

#[test]
fn an_overlap_discards_the_datagram_and_what_is_still_to_come() {
    for ipv6 in [false, true] {
        let mut reassembly = Reassembly::new();
        let [first, second] = fragments(ipv6, &datagram(40), &[2]).try_into().unwrap();
        let [_, overlapping, _] = fragments(ipv6, &datagram(40), &[1, 3]).try_into().unwrap();
        assert_eq!(insert(&mut reassembly, &first, T0), Outcome::Waiting);
        assert_eq!(insert(&mut reassembly, &overlapping, T0), Outcome::Discarded(Discarded::Overlap));
        assert_eq!(insert(&mut reassembly, &second, T0), Outcome::Discarded(Discarded::Overlap));
        assert_eq!(insert(&mut reassembly, &first, T0), Outcome::Discarded(Discarded::Overlap));
        // After the timeout the identification may be used again.
        assert_eq!(insert(&mut reassembly, &first, T0 + timeout(ipv6)), Outcome::Waiting);
        assert_eq!(reassembly.timed_out(), 0);
        assert!(matches!(insert(&mut reassembly, &second, T0 + timeout(ipv6)), Outcome::Whole(_)));
    }
}

#[test]
fn an_exact_duplicate_is_no_overlap_and_one_with_other_octets_is() {
    let mut reassembly = Reassembly::new();
    let [first, second] = fragments(false, &datagram(40), &[2]).try_into().unwrap();
    assert_eq!(insert(&mut reassembly, &first, T0), Outcome::Waiting);
    assert_eq!(insert(&mut reassembly, &first, T0), Outcome::Waiting);
    assert!(matches!(insert(&mut reassembly, &second, T0), Outcome::Whole(_)));
    assert_eq!(insert(&mut reassembly, &first, T0), Outcome::Waiting);
    let mut other = first;
    *other.last_mut().unwrap() ^= 1;
    assert_eq!(insert(&mut reassembly, &other, T0), Outcome::Discarded(Discarded::Overlap));
}

#[test]
fn fragments_that_do_not_come_in_time_are_given_up() {
    for (ipv6, seconds) in [(false, 30), (true, 60)] {
        let mut reassembly = Reassembly::new();
        let [first, second] = fragments(ipv6, &datagram(40), &[2]).try_into().unwrap();
        assert_eq!(insert(&mut reassembly, &first, T0), Outcome::Waiting);
        let late = T0 + Duration::from_secs(seconds);
        assert_eq!(insert(&mut reassembly, &second, late), Outcome::Waiting);
        assert_eq!(reassembly.timed_out(), 1);
        let in_time = late + Duration::from_secs(seconds) - Duration::from_nanos(1);
        assert!(matches!(insert(&mut reassembly, &first, in_time), Outcome::Whole(_)));
        assert_eq!((reassembly.datagrams.len(), reassembly.octets), (0, 0));
    }
}

#[test]
fn each_family_waits_for_its_own_time() {
    let mut reassembly = Reassembly::new();
    let [six, _] = fragments(true, &datagram(40), &[2]).try_into().unwrap();
    let [four, _] = fragments(false, &datagram(40), &[2]).try_into().unwrap();
    assert_eq!(insert(&mut reassembly, &six, T0), Outcome::Waiting);
    assert_eq!(insert(&mut reassembly, &four, T0), Outcome::Waiting);
    reassembly.time_out(T0 + timeout(false));
    assert_eq!(reassembly.timed_out(), 1);
    reassembly.time_out(T0 + timeout(true));
    assert_eq!(reassembly.timed_out(), 2);
}

#[test]
fn a_datagram_longer_than_ip_allows_is_discarded() {
    let mut reassembly = Reassembly::new();
    let ping_of_death = v4(7, 0x1fff, &[0; 8]);
    assert_eq!(insert(&mut reassembly, &ping_of_death, T0), Outcome::Discarded(Discarded::Oversized));
    let longest = v4(8, 0x2000 | 0x1ffc, &[0; 8]);
    assert_eq!(insert(&mut reassembly, &longest, T0), Outcome::Waiting);
    let v6_longest = v6(8, 0xfff0, &[0; 7]);
    assert_eq!(insert(&mut reassembly, &v6_longest, T0), Outcome::Waiting);
    assert_eq!(
        insert(&mut reassembly, &v6(9, 0xfff0, &[0; 8]), T0),
        Outcome::Discarded(Discarded::Oversized)
    );
}

#[test]
fn lengths_that_cannot_be_discard_the_datagram() {
    let mut reassembly = Reassembly::new();
    let mut refused = |octets: &[u8]| {
        assert_eq!(insert(&mut reassembly, octets, T0), Outcome::Discarded(Discarded::Length));
        reassembly.clear();
    };
    refused(&v4(7, 2, &[]));
    refused(&v4(7, 0x2000 | 2, &[0; 7]));
    refused(&v6(7, 17, &[0; 12]));
    // In IPv4 the kernel cuts what is beyond a multiple of 8.
    assert_eq!(insert(&mut reassembly, &v4(7, 0x2000, &datagram(12)), T0), Outcome::Waiting);
    assert!(matches!(insert(&mut reassembly, &v4(7, 1, &[0; 4]), T0), Outcome::Whole(_)));
    // Two different ends, and a fragment beyond the end.
    for (second, third) in
        [(v4(7, 4, &[0; 8]), v4(7, 6, &[0; 8])), (v4(7, 0x2000 | 8, &[0; 8]), v4(7, 4, &[0; 8]))]
    {
        assert_eq!(insert(&mut reassembly, &second, T0), Outcome::Waiting);
        assert_eq!(insert(&mut reassembly, &third, T0), Outcome::Discarded(Discarded::Length));
        reassembly.clear();
    }
}

#[test]
fn a_snap_length_leaves_a_packet_that_ends_where_the_octets_do() {
    let payload = datagram(64);
    let cut: Vec<_> =
        fragments(false, &payload, &[4]).into_iter().map(|octets| octets[..36].to_vec()).collect();
    let mut reassembly = Reassembly::new();
    assert_eq!(insert(&mut reassembly, &cut[1], T0), Outcome::Waiting);
    let Outcome::Whole(whole) = insert(&mut reassembly, &cut[0], T0) else { panic!() };
    assert_eq!((whole.octets.len(), whole.wire_length), (36, 84));
    let packet = decode::ip(&whole.octets, Some(whole.wire_length)).unwrap();
    assert!(matches!(packet.transport, Transport::Udp(udp) if udp.length == 64));
}

#[test]
fn what_is_unfinished_is_bounded_and_the_oldest_gives_way() {
    let mut reassembly = Reassembly::new();
    for identification in 0..3000_u16 {
        let now = T0 + Duration::from_millis(identification.into());
        assert_eq!(
            insert(&mut reassembly, &v4(identification, 0x2000, &datagram(16)), now),
            Outcome::Waiting
        );
        assert!(reassembly.datagrams.len() <= DATAGRAMS_MAX);
    }
    assert_eq!(reassembly.evicted(), 3000 - DATAGRAMS_MAX as u64);
    let newest = v4(2999, 2, &[0; 8]);
    assert!(matches!(insert(&mut reassembly, &newest, T0), Outcome::Whole(_)));
    let oldest = v4(0, 2, &[0; 8]);
    assert_eq!(insert(&mut reassembly, &oldest, T0), Outcome::Waiting);
    // Few large ones, too.
    reassembly.clear();
    for identification in 0..400 {
        let large = v4(identification, 0x2000 | 1, &vec![0; 60_000]);
        assert_eq!(insert(&mut reassembly, &large, T0), Outcome::Waiting);
        let held: usize = reassembly.datagrams.values().map(|datagram| datagram.cost).sum();
        assert_eq!(reassembly.octets, held);
        assert!(held <= OCTETS_MAX);
    }
    assert!(reassembly.datagrams.len() <= OCTETS_MAX / 60_000);
}

proptest! {
    #[test]
    fn fragments_in_any_order_give_the_packet_they_were_cut_from(
        ipv6 in any::<bool>(),
        length in 9..2000_u16,
        cuts in vec(1..250_usize, 1..12),
        seed in any::<u64>(),
    ) {
        let payload = datagram(length);
        let mut pieces = fragments(ipv6, &payload, &cuts);
        prop_assume!(pieces.len() > 1);
        pieces.sort_by_key(|piece| {
            piece.iter().fold(seed, |hash, octet| (hash ^ u64::from(*octet)).wrapping_mul(0x100_0000_01b3))
        });
        let mut reassembly = Reassembly::new();
        let last = pieces.pop().unwrap();
        for piece in pieces {
            prop_assert_eq!(insert(&mut reassembly, &piece, T0), Outcome::Waiting);
        }
        let Outcome::Whole(whole) = insert(&mut reassembly, &last, T0) else { panic!("still waiting") };
        let packet = decode::ip(&whole.octets, Some(whole.wire_length)).unwrap();
        prop_assert_eq!(packet.fragment, None);
        prop_assert_eq!(packet.length as usize, whole.octets.len());
        prop_assert_eq!(&whole.octets[usize::from(packet.header_length)..], &payload[..]);
        prop_assert!(matches!(packet.transport, Transport::Udp(udp) if udp.length == length));
        prop_assert_eq!((reassembly.datagrams.len(), reassembly.octets), (0, 0));
    }

    #[test]
    fn a_datagram_is_whole_exactly_when_a_naive_oracle_says_so(
        pieces in vec((0..6_usize, 1..4_usize, any::<bool>()), 1..10),
    ) {
        let mut reassembly = Reassembly::new();
        let mut oracle = Oracle::default();
        for (start, units, last) in pieces {
            let field = u16::try_from(start).unwrap() | u16::from(!last) << 13;
            let packet = decode::ip(&v4(7, field, &vec![0x11; units * 8]), None);
            // Without a length that fits UDP the first fragment is still one; a whole packet is not.
            prop_assume!(packet.is_ok_and(|packet| packet.fragment.is_some()));
            let outcome = insert(&mut reassembly, &v4(7, field, &vec![0x11; units * 8]), T0);
            let said = oracle.insert(start, start + units, last);
            prop_assert_eq!(matches!(outcome, Outcome::Whole(_)), said == Said::Whole);
            prop_assert_eq!(matches!(outcome, Outcome::Discarded(_)), said == Said::Discarded);
        }
    }

    #[test]
    fn nothing_that_decodes_makes_it_panic(
        packets in vec((any::<bool>(), any::<u16>(), vec(any::<u8>(), 0..64), 0..64_usize), 0..20),
    ) {
        let mut reassembly = Reassembly::new();
        for (ipv6, field, payload, cut) in packets {
            let octets = if ipv6 { v6(7, field, &payload) } else { v4(7, field, &payload) };
            let octets = &octets[..octets.len() - cut.min(octets.len())];
            if let Ok(packet) = decode::ip(octets, None) {
                let _ = reassembly.insert(octets, &packet, T0);
            }
        }
    }
}

#[derive(Debug, PartialEq)]
enum Said {
    Waiting,
    Whole,
    Discarded,
}

/// Remembers everything and looks at all of it each time.
#[derive(Default)]
struct Oracle {
    seen: Vec<(usize, usize, bool)>,
    discarded: bool,
}

impl Oracle {
    fn insert(&mut self, start: usize, end: usize, last: bool) -> Said {
        let piece = (start, end, last);
        let known_end = self.seen.iter().find(|seen| seen.2).map(|seen| seen.1);
        let furthest = self.seen.iter().map(|seen| seen.1).max().unwrap_or(0);
        let beyond = known_end.is_some_and(|known| end > known || (last && end != known));
        let short = last && furthest > end;
        let duplicate = self.seen.iter().any(|seen| (seen.0, seen.1) == (start, end));
        let overlap = self.seen.iter().any(|seen| seen.0 < end && start < seen.1);
        self.discarded |= beyond || short || (overlap && !duplicate);
        if self.discarded {
            return Said::Discarded;
        }
        if duplicate {
            // The same octets that now say they were the last: the end is known.
            self.seen
                .iter_mut()
                .filter(|seen| (seen.0, seen.1) == (start, end))
                .for_each(|seen| seen.2 |= last);
        } else {
            self.seen.push(piece);
        }
        let total = self.seen.iter().find(|seen| seen.2).map(|seen| seen.1);
        let covered: usize = self.seen.iter().map(|seen| seen.1 - seen.0).sum();
        if total == Some(covered) {
            *self = Self::default();
            return Said::Whole;
        }
        Said::Waiting
    }
}
