use pcap_parser::traits::PcapNGPacketBlock;
use pcap_parser::{Block, PcapBlockOwned, PcapError};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// What a test expects of a record, owned.
type Told = (i64, u32, u32, Vec<u8>);

/// Every record of `octets`, and the error that ended them.
fn read_all(octets: &[u8]) -> (Vec<Told>, Option<Broken>) {
    let mut told = Vec::new();
    let mut records = match Records::new(octets) {
        Ok(records) => records,
        Err(broken) => return (told, Some(broken)),
    };
    loop {
        match records.read() {
            Ok(Some(record)) => {
                assert_eq!(record.number, told.len() as u64 + 1);
                told.push((record.wall_ns, record.link_type.0, record.wire_length, record.octets.to_vec()));
            }
            Ok(None) => return (told, None),
            Err(broken) => {
                assert!(matches!(records.read(), Ok(None)), "an error is told once");
                return (told, Some(broken));
            }
        }
    }
}

/// Writes numbers in one byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn u16(self, value: u16) -> [u8; 2] {
        if self == Self::Little { value.to_le_bytes() } else { value.to_be_bytes() }
    }

    fn u32(self, value: u32) -> [u8; 4] {
        if self == Self::Little { value.to_le_bytes() } else { value.to_be_bytes() }
    }

    fn u64(self, value: u64) -> [u8; 8] {
        if self == Self::Little { value.to_le_bytes() } else { value.to_be_bytes() }
    }

    fn legacy(self, magic: u32, network: u32) -> Vec<u8> {
        let mut file = self.u32(magic).to_vec();
        file.extend([self.u16(2), self.u16(4)].concat());
        file.extend([self.u32(0), self.u32(0), self.u32(65535), self.u32(network)].concat());
        file
    }

    fn record(self, seconds: u32, fraction: u32, wire: u32, octets: &[u8]) -> Vec<u8> {
        let captured = u32::try_from(octets.len()).unwrap();
        let mut record = [self.u32(seconds), self.u32(fraction), self.u32(captured), self.u32(wire)].concat();
        record.extend(octets);
        record
    }

    fn block(self, kind: u32, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len().next_multiple_of(4) + 12).unwrap();
        let mut block = [self.u32(kind), self.u32(length)].concat();
        block.extend(body);
        block.resize(block.len().next_multiple_of(4), 0);
        block.extend(self.u32(length));
        block
    }

    fn section(self) -> Vec<u8> {
        let mut body = [self.u32(0x1a2b_3c4d).as_slice(), &self.u16(1), &self.u16(0)].concat();
        body.extend(self.u64(u64::MAX));
        body.extend(self.option(4, b"nfban"));
        self.block(0x0a0d_0d0a, &body)
    }

    fn option(self, code: u16, value: &[u8]) -> Vec<u8> {
        let mut option = [self.u16(code), self.u16(u16::try_from(value.len()).unwrap())].concat();
        option.extend(value);
        option.resize(option.len().next_multiple_of(4), 0);
        option
    }

    fn interface(self, link_type: u16, snap_length: u32, options: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = [self.u16(link_type).as_slice(), &self.u16(0), &self.u32(snap_length)].concat();
        for (code, value) in options {
            body.extend(self.option(*code, value));
        }
        self.block(1, &body)
    }

    fn enhanced(self, interface: u32, time: u64, wire: u32, octets: &[u8]) -> Vec<u8> {
        let captured = u32::try_from(octets.len()).unwrap();
        let high = u32::try_from(time >> 32).unwrap();
        let low = u32::try_from(time & 0xffff_ffff).unwrap();
        let mut body = [interface, high, low, captured, wire].map(|field| self.u32(field)).concat();
        body.extend(octets);
        self.block(6, &body)
    }
}

const BOTH: [Order; 2] = [Order::Little, Order::Big];

#[test]
fn every_magic_number_of_pcap_is_read() {
    for order in BOTH {
        for (magic, fraction_ns) in [(0xa1b2_c3d4, 1000), (0xa1b2_3c4d, 1)] {
            let file = [order.legacy(magic, 113), order.record(1_700_000_000, 5, 1500, b"abc")].concat();
            let (told, broken) = read_all(&file);
            let wall_ns = 1_700_000_000_000_000_000 + 5 * fraction_ns;
            assert_eq!(told, [(wall_ns, 113, 1500, b"abc".to_vec())]);
            assert!(broken.is_none());
        }
        // The modified format has eight octets more before the packet.
        let mut record = order.record(7, 9, 3, b"");
        record[8..12].copy_from_slice(&order.u32(3));
        let file = [order.legacy(0xa1b2_cd34, 1), record, vec![9; 8], b"abc".to_vec()].concat();
        assert_eq!(read_all(&file).0, [(7_000_009_000, 1, 3, b"abc".to_vec())]);
    }
}

#[test]
fn the_bits_above_the_link_type_are_not_part_of_it() {
    let file = [Order::Little.legacy(0xa1b2_c3d4, 0x5400_0001), Order::Little.record(0, 0, 1, b"a")];
    assert_eq!(read_all(&file.concat()).0, [(0, 1, 1, b"a".to_vec())]);
}

#[test]
fn a_pcapng_file_may_have_several_sections_and_interfaces() {
    let mut file = Vec::new();
    for order in BOTH {
        file.extend(order.section());
        file.extend(order.interface(1, 65535, &[(2, b"eth0")]));
        file.extend(order.interface(101, 0, &[(9, &[9])]));
        // Name resolution, statistics, a custom block and one that nobody knows.
        for kind in [4, 5, 0x0bad, 0x4242_4242] {
            file.extend(order.block(kind, b"something to pass over"));
        }
        file.extend(order.enhanced(0, 5_000_001, 60, b"abcde"));
        file.extend(order.enhanced(1, 5_000_000_002, 3, b"xyz"));
    }
    let (told, broken) = read_all(&file);
    assert!(broken.is_none(), "{broken:?}");
    let one = [(5_000_001_000, 1, 60, b"abcde".to_vec()), (5_000_000_002, 101, 3, b"xyz".to_vec())];
    assert_eq!(told, [one.clone(), one].concat());
}

#[test]
fn a_new_section_forgets_the_interfaces_of_the_old() {
    let order = Order::Little;
    let file = [
        order.section(),
        order.interface(1, 0, &[]),
        order.enhanced(0, 1, 1, b"a"),
        order.section(),
        order.enhanced(0, 1, 1, b"a"),
    ]
    .concat();
    let (told, broken) = read_all(&file);
    assert_eq!(told.len(), 1);
    let broken = broken.unwrap();
    assert_eq!(
        (broken.number, broken.offset),
        (2, (file.len() - order.enhanced(0, 1, 1, b"a").len()) as u64)
    );
    assert_eq!(
        broken.to_string(),
        format!("record 2 at octet {}: a packet of an interface that was not described", broken.offset)
    );
}

#[test]
fn every_time_resolution_is_understood() {
    for order in BOTH {
        for (resolution, time, wall_ns) in [
            (0, 7, 7_000_000_000),
            (3, 7_001, 7_001_000_000),
            (6, 7_000_001, 7_000_001_000),
            (9, 7_000_000_001, 7_000_000_001),
            (12, 7_000_000_001_999, 7_000_000_001),
            (0x80 | 10, 7 * 1024 + 512, 7_500_000_000),
            (0x80 | 64, 1 << 63, 500_000_000),
            (0, u64::MAX, i64::MAX),
        ] {
            let file = [
                order.section(),
                order.interface(1, 0, &[(9, &[resolution])]),
                order.enhanced(0, time, 1, b"a"),
            ]
            .concat();
            assert_eq!(read_all(&file).0, [(wall_ns, 1, 1, b"a".to_vec())], "{resolution:#x}");
        }
        let file = [order.section(), order.interface(1, 0, &[(9, &[39])])].concat();
        assert!(matches!(read_all(&file).1.unwrap().cause, Cause::Format(_)));
    }
}

#[test]
fn a_time_offset_is_added() {
    for order in BOTH {
        for (offset_s, wall_ns) in [(1_700_000_000_i64, 1_700_000_001_000_000_000), (-2, -1_000_000_000)] {
            let offset = order.u64(offset_s.cast_unsigned());
            let file = [
                order.section(),
                order.interface(1, 0, &[(14, &offset), (0, &[]), (14, b"behind the end")]),
                order.enhanced(0, 1_000_000, 1, b"a"),
            ]
            .concat();
            assert_eq!(read_all(&file).0[0].0, wall_ns);
        }
    }
}

#[test]
fn a_simple_packet_ends_at_the_shortest_of_its_lengths() {
    let order = Order::Big;
    let simple = |wire: u32, octets: &[u8]| order.block(3, &[&order.u32(wire), octets].concat());
    let file = [
        order.section(),
        order.interface(101, 6, &[]),
        order.enhanced(0, 5, 1, b"a"),
        simple(5, b"abcde"),
        simple(9, b"abcdefgh"),
    ]
    .concat();
    let (told, broken) = read_all(&file);
    assert!(broken.is_none());
    assert_eq!(told[1], (5_000, 101, 5, b"abcde".to_vec()), "with the time of the packet before it");
    assert_eq!(told[2], (5_000, 101, 9, b"abcdef".to_vec()));
}

#[test]
fn an_obsolete_packet_block_is_read() {
    for order in BOTH {
        let mut body = [order.u16(0), order.u16(3)].concat();
        body.extend([0, 5, 3, 60].map(|field| order.u32(field)).concat());
        body.extend(b"abc");
        let file = [order.section(), order.interface(1, 0, &[]), order.block(2, &body)].concat();
        assert_eq!(read_all(&file).0, [(5_000, 1, 60, b"abc".to_vec())]);
    }
}

#[test]
fn a_file_that_breaks_delivers_what_came_before_and_tells_where() {
    let order = Order::Little;
    let header = order.legacy(0xa1b2_c3d4, 1);
    let record = order.record(1, 0, 4, b"abcd");
    let file = [header.clone(), record.clone(), record.clone()].concat();
    for end in 0..file.len() {
        let (told, broken) = read_all(&file[..end]);
        let whole = end.saturating_sub(header.len()) / record.len();
        assert_eq!(told.len(), whole);
        let at_boundary = end >= header.len() && (end - header.len()).is_multiple_of(record.len());
        assert_eq!(broken.is_none(), at_boundary, "{end}");
        if let Some(Broken { number, offset, cause }) = broken {
            assert!(matches!(cause, Cause::Truncated));
            assert_eq!(number, whole as u64 + 1);
            if end >= header.len() {
                assert_eq!(offset, (header.len() + whole * record.len()) as u64);
            }
        }
    }
}

#[test]
fn a_pcapng_file_cut_anywhere_delivers_what_came_before() {
    let order = Order::Big;
    let packet = order.enhanced(0, 1, 4, b"abcd");
    let start = [order.section(), order.interface(1, 0, &[])].concat();
    let file = [start.clone(), packet.clone(), order.block(0x99, &[0; 9]), packet.clone()].concat();
    for end in 0..file.len() {
        let (told, broken) = read_all(&file[..end]);
        let whole = usize::from(end >= start.len() + packet.len());
        assert_eq!(told.len(), whole);
        assert!(broken.is_none_or(|broken| matches!(broken.cause, Cause::Truncated)));
    }
}

#[test]
fn lengths_that_lie_end_a_file_and_fill_no_memory() {
    let order = Order::Little;
    let long = [order.legacy(0xa1b2_c3d4, 1), [0, 0, u32::MAX, 4].map(|field| order.u32(field)).concat()];
    assert!(matches!(read_all(&long.concat()).1.unwrap().cause, Cause::Format(_)));
    let start = [order.section(), order.interface(1, 0, &[])].concat();
    let mut beyond = order.enhanced(0, 1, 4, b"abcd");
    beyond[20] = 5;
    let mut unequal = order.enhanced(0, 1, 4, b"abcd");
    *unequal.last_mut().unwrap() = 1;
    let mut odd = order.block(0x99, b"");
    odd[4] = 13;
    let long = [order.u32(6), order.u32(0x7fff_fff0)].concat();
    let tiny = order.block(6, b"abcd");
    let lying_option = order.block(1, &[1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 0]);
    for block in [beyond, unequal, odd, long, tiny, lying_option] {
        let (told, broken) = read_all(&[start.clone(), block].concat());
        let broken = broken.unwrap();
        assert!(told.is_empty());
        assert!(matches!(broken.cause, Cause::Format(_)), "{broken}");
        assert_eq!((broken.number, broken.offset), (1, start.len() as u64));
    }
    // Blocks that are passed over may say any length; only their octets would be read.
    let passed = [order.u32(0x99), order.u32(0xffff_fff0)].concat();
    let broken = read_all(&[start, passed].concat()).1.unwrap();
    assert!(matches!(broken.cause, Cause::Truncated));
}

#[test]
fn what_is_no_capture_is_told() {
    for octets in [b"".as_slice(), b"abc", b"not a capture at all, but text"] {
        assert_eq!(Records::new(octets).unwrap_err().offset, 0);
    }
    let no_order = Order::Little.block(0x0a0d_0d0a, &[0; 16]);
    assert!(matches!(Records::new(&no_order[..]).unwrap_err().cause, Cause::Format(_)));
}

/// The same through pcap-parser, without times (their arithmetic is its caller's).
fn oracle(octets: &[u8]) -> Vec<(u32, Vec<u8>)> {
    let mut reader = pcap_parser::create_reader(1 << 20, std::io::Cursor::new(octets.to_vec())).unwrap();
    let mut told = Vec::new();
    loop {
        match reader.next() {
            Ok((offset, block)) => {
                match block {
                    PcapBlockOwned::Legacy(block) => told.push((block.origlen, block.data.to_vec())),
                    PcapBlockOwned::NG(Block::EnhancedPacket(block)) => {
                        told.push((block.origlen, block.packet_data().to_vec()));
                    }
                    PcapBlockOwned::NG(Block::SimplePacket(block)) => {
                        told.push((block.origlen, block.packet_data().to_vec()));
                    }
                    _ => {}
                }
                reader.consume(offset);
            }
            Err(PcapError::Incomplete(_)) => reader.refill().unwrap(),
            Err(PcapError::Eof) => return told,
            Err(error) => panic!("{error}"),
        }
    }
}

fn file() -> impl Strategy<Value = Vec<u8>> {
    let order = prop::sample::select(BOTH.to_vec());
    let packets = vec((any::<u32>(), vec(any::<u8>(), 0..80), 0..4u8), 0..8);
    (order, any::<bool>(), packets).prop_map(|(order, ng, packets)| {
        let mut file = if ng {
            [order.section(), order.interface(1, 0, &[])].concat()
        } else {
            order.legacy(0xa1b2_c3d4, 1)
        };
        for (wire, octets, kind) in packets {
            file.extend(match (ng, kind) {
                (false, _) => order.record(wire, 5, wire, &octets),
                (true, 0) => order.block(3, &[order.u32(wire).as_slice(), &octets].concat()),
                (true, 1) => order.block(0x99, &octets),
                (true, _) => order.enhanced(0, u64::from(wire), wire, &octets),
            });
        }
        file
    })
}

proptest! {
    #[test]
    fn every_packet_is_what_pcap_parser_reads(file in file()) {
        let (told, broken) = read_all(&file);
        prop_assert!(broken.is_none());
        let told: Vec<_> = told.into_iter().map(|(_, _, wire, octets)| (wire, octets)).collect();
        prop_assert_eq!(told, oracle(&file));
    }

    #[test]
    fn no_file_makes_it_panic(mut file in file(), changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6)) {
        for (at, value) in changes {
            let at = at.index(file.len());
            file[at] = value;
        }
        let _ = read_all(&file);
    }
}
