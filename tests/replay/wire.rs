//! Packets, frames and capture files, octet by octet, from their specifications and not from the program under test.

use std::net::{Ipv4Addr, Ipv6Addr};

pub const SCANNER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
pub const HOME: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 5);
pub const SCANNER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, 7);
pub const HOME6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 5, 0, 0, 0, 0, 5);

pub const SYN: u8 = 2;
pub const RST_ACK: u8 = 0x14;
pub const SYN_ACK: u8 = 0x12;

/// Ten privileged ports: any scan of them weighs 30, above every threshold.
pub const PORTS: [u16; 10] = [1, 3, 7, 9, 13, 17, 19, 21, 23, 25];

/// A segment; `options` is a multiple of four octets.
pub fn tcp(sport: u16, dport: u16, flags: u8, options: &[u8]) -> Vec<u8> {
    let mut segment = [sport.to_be_bytes(), dport.to_be_bytes()].concat();
    segment.extend([1, 2, 3, 4, 0, 0, 0, 0]);
    segment.extend([u8::try_from((20 + options.len()) / 4).unwrap() << 4, flags, 4, 0, 0, 0, 0, 0]);
    segment.extend(options);
    segment
}

pub fn udp(sport: u16, dport: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + data.len()).unwrap();
    let mut datagram = [sport.to_be_bytes(), dport.to_be_bytes(), length.to_be_bytes(), [0, 0]].concat();
    datagram.extend(data);
    datagram
}

/// An IPv4 packet; `fragment` is the field with the flags and the offset.
pub fn ipv4(saddr: Ipv4Addr, daddr: Ipv4Addr, protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len()).unwrap();
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([0xab, 0xcd]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, protocol, 0, 0]);
    packet.extend(saddr.octets());
    packet.extend(daddr.octets());
    packet.extend(payload);
    packet
}

pub fn ipv6(saddr: Ipv6Addr, daddr: Ipv6Addr, next_header: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
    packet.extend([next_header, 64]);
    packet.extend(saddr.octets());
    packet.extend(daddr.octets());
    packet.extend(payload);
    packet
}

const DONT_FRAGMENT: u16 = 0x4000;

/// A SYN as scanners make it: no options, "don't fragment" clear.
pub fn syn(dport: u16) -> Vec<u8> {
    ipv4(SCANNER, HOME, 6, 0, &tcp(40000, dport, SYN, &[]))
}

/// A SYN of connect(): maximum segment size, SACK, time stamps, window scale; and "don't fragment".
pub fn connect(sport: u16, dport: u16) -> Vec<u8> {
    let options = [2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];
    ipv4(SCANNER, HOME, 6, DONT_FRAGMENT, &tcp(sport, dport, SYN, &options))
}

/// What home answers to the scanner.
pub fn answer(sport: u16, dport: u16, flags: u8) -> Vec<u8> {
    ipv4(HOME, SCANNER, 6, DONT_FRAGMENT, &tcp(sport, dport, flags, &[]))
}

pub fn scan() -> Vec<Vec<u8>> {
    PORTS.into_iter().map(syn).collect()
}

/// How a packet stands in a capture.
#[derive(Debug, Clone, Copy)]
pub enum Link {
    Ethernet,
    Vlan,
    Raw,
    Cooked,
    Cooked2,
    /// With this prefix.
    Nflog(&'static str),
}

impl Link {
    pub const ALL: [Self; 6] =
        [Self::Ethernet, Self::Vlan, Self::Raw, Self::Cooked, Self::Cooked2, Self::Nflog("nfban:refused")];

    /// `LINKTYPE_*`.
    pub const fn number(self) -> u16 {
        match self {
            Self::Ethernet | Self::Vlan => 1,
            Self::Raw => 101,
            Self::Cooked => 113,
            Self::Cooked2 => 276,
            Self::Nflog(_) => 239,
        }
    }

    pub fn frame(self, packet: &[u8]) -> Vec<u8> {
        const ADDRESSES: [u8; 12] = [0x52, 0x54, 0, 0, 0, 5, 0x52, 0x54, 0, 0, 0, 7];
        let v4 = packet[0] >> 4 == 4;
        let ethertype: &[u8] = if v4 { &[8, 0] } else { &[0x86, 0xdd] };
        let cooked = [0, 1, 0, 6, 0x52, 0x54, 0, 0, 0, 7, 0, 0];
        match self {
            Self::Ethernet => [&ADDRESSES, ethertype, packet].concat(),
            Self::Vlan => [&ADDRESSES, [0x81, 0, 0, 42].as_slice(), ethertype, packet].concat(),
            Self::Raw => packet.to_vec(),
            Self::Cooked => [&[0, 0], cooked.as_slice(), ethertype, packet].concat(),
            Self::Cooked2 => [ethertype, &[0, 0, 0, 0, 0, 2, 0, 1, 0, 6], &cooked[4..], packet].concat(),
            Self::Nflog(prefix) => {
                // Family, version, group; then the attributes PREFIX (10) and PAYLOAD (9) in host byte order.
                let mut record = vec![if v4 { 2 } else { 10 }, 0, 0, 100];
                for (kind, value) in [(10_u16, [prefix.as_bytes(), b"\0"].concat()), (9, packet.to_vec())] {
                    record.extend(u16::try_from(value.len() + 4).unwrap().to_le_bytes());
                    record.extend(kind.to_le_bytes());
                    record.extend(&value);
                    record.resize(record.len().next_multiple_of(4), 0);
                }
                record
            }
        }
    }
}

/// Packets with their times in microseconds since 1970.
pub type Timed = Vec<(i64, Vec<u8>)>;

/// 2024-05-07T18:00:00Z.
pub const START: i64 = 1_715_104_800_000_000;
pub const SECOND: i64 = 1_000_000;

/// One packet each tenth of a second from [`START`] on.
pub fn timed(packets: impl IntoIterator<Item = Vec<u8>>) -> Timed {
    (START..).step_by(100_000).zip(packets).collect()
}

pub fn pcap(link: Link, packets: &Timed) -> Vec<u8> {
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let mut file = words(&[0xa1b2_c3d4, 0x0004_0002, 0, 0, 65535, link.number().into()]);
    for (time, packet) in packets {
        let frame = link.frame(packet);
        let length = u32::try_from(frame.len()).unwrap();
        let part = |value: i64| u32::try_from(value).unwrap();
        file.extend(words(&[part(time / SECOND), part(time % SECOND), length, length]));
        file.extend(frame);
    }
    file
}

pub fn pcapng(link: Link, packets: &Timed) -> Vec<u8> {
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
    // A section header and an interface, big-endian, microseconds.
    let mut file = words(&[0x0a0d_0d0a, 28, 0x1a2b_3c4d, 0x0001_0000, u32::MAX, u32::MAX, 28]);
    file.extend(words(&[1, 20, u32::from(link.number()) << 16, 0, 20]));
    for (time, packet) in packets {
        let mut frame = link.frame(packet);
        let length = u32::try_from(frame.len()).unwrap();
        frame.resize(frame.len().next_multiple_of(4), 0);
        let block = u32::try_from(frame.len() + 32).unwrap();
        let time = u64::try_from(*time).unwrap();
        let (high, low) = (u32::try_from(time >> 32).unwrap(), u32::try_from(time & 0xffff_ffff).unwrap());
        file.extend(words(&[6, block, 0, high, low, length, length]));
        file.extend(frame);
        file.extend(words(&[block]));
    }
    file
}
