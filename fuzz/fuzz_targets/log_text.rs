//! Any octets through the line reader and the LOG decoder: no panic, and nothing half-read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nfban::capture::log_text::{Decoder, LineClock, Lines, Outcome};
use nfban::packet::Transport;

fuzz_target!(|input: &[u8]| {
    let mut lines = Lines::new(input);
    let mut decoder = Decoder::new();
    let mut clock = LineClock::new(jiff::tz::TimeZone::UTC, Some(2024));
    while let Ok(Some(line)) = lines.next_line() {
        let (Outcome::Decoded(logged) | Outcome::NoEvidence(logged)) = decoder.decode_line(line) else {
            continue;
        };
        clock.wall_us(logged.time);
        let packet = logged.observation.packet;
        assert_eq!(packet.saddr.is_ipv4(), packet.daddr.is_ipv4(), "one packet has one family");
        assert!(packet.length >= u32::from(packet.header_length), "a packet holds its header");
        if let Some(fragment) = packet.fragment {
            assert!(fragment.offset > 0 || fragment.more, "a fragment is a part");
            assert!(fragment.offset == 0 || packet.transport == Transport::Opaque, "only the first has ports");
        }
    }
});
