//! Any octets as a capture file, its packets decoded and its fragments reassembled.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use nfban::capture::pcap::Records;
use nfban::capture::pcap::reassembly::{Outcome, Reassembly};
use nfban::decode;

fuzz_target!(|file: &[u8]| {
    let Ok(mut records) = Records::new(file) else { return };
    let mut reassembly = Reassembly::new();
    while let Ok(Some(record)) = records.read() {
        assert!(record.octets.len() <= file.len());
        let wire_length = Some(record.wire_length);
        let Ok(frame) = decode::frame(record.link_type, record.octets, wire_length) else { continue };
        let now = Duration::from_nanos(record.wall_ns.unsigned_abs());
        if let Outcome::Whole(whole) = reassembly.insert(frame.octets, &frame.packet, now) {
            assert!(whole.octets.len() <= whole.wire_length as usize || frame.packet.fragment.is_none());
            let _ = decode::ip(&whole.octets, Some(whole.wire_length));
        }
    }
});
