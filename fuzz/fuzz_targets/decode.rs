//! Any octets under any link type: a packet or a counted reason, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nfban::decode::{self, LinkType};

// The first two octets choose the wire length: none, or as many octets more than were captured.
fuzz_target!(|input: &[u8]| {
    let Some((&[more, flags], octets)) = input.split_first_chunk::<2>() else { return };
    let captured = u32::try_from(octets.len()).unwrap_or(u32::MAX);
    let wire_length = (flags & 1 == 0).then(|| captured.saturating_add(u32::from(more)));
    if let Ok(packet) = decode::ip(octets, wire_length) {
        assert!(packet.header_length >= 20);
        assert!(u32::from(packet.header_length) <= packet.length);
        assert!(wire_length.is_none_or(|wire| packet.length <= wire));
    }
    for link_type in LinkType::ALL {
        if let Ok(frame) = decode::frame(link_type, octets, wire_length) {
            assert!(frame.octets.len() <= octets.len());
        }
    }
});
