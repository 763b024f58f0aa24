//! Any fragments in any order: a fault or none, never a panic, and never more datagrams than there is room for.
#![no_main]

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use foldhash::fast::SeedableRandomState;
use libfuzzer_sys::fuzz_target;
use nfban::detect::fragment::Fragments;
use nfban::packet::{Fragment, Packet, Transport};
use nfban::time::Stamp;

const CAPACITY: u32 = 3;

// Eight octets a fragment: flags with identification, protocol, seconds since the one before, header, offset, length.
fuzz_target!(|input: &[u8]| {
    let mut table = Fragments::new(CAPACITY, SeedableRandomState::fixed());
    let mut boot = Duration::ZERO;
    let (fragments, _) = input.as_chunks::<8>();
    for &[flags, protocol, seconds, header, o0, o1, l0, l1] in fragments {
        boot += Duration::from_secs(u64::from(seconds));
        let ipv6 = flags & 1 != 0;
        let packet = Packet {
            saddr: if ipv6 { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() },
            daddr: if ipv6 { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() },
            length: u32::from(u16::from_be_bytes([l0, l1])) + if ipv6 { 40 } else { 0 },
            header_length: u16::from(header),
            ttl: 64,
            dont_fragment: false,
            identification: None,
            fragment: Some(Fragment {
                offset: u16::from_be_bytes([o0, o1]) & 0xfff8,
                more: flags & 2 != 0,
                identification: u32::from(flags >> 4),
                length: u32::from(u16::from_be_bytes([l0, l1])).saturating_sub(u32::from(header)),
            }),
            protocol,
            transport: Transport::Opaque,
        };
        let _ = table.observe(&packet, Stamp { boot, wall_us: 0 });
        assert!(table.under_way() <= CAPACITY as usize);
    }
});
