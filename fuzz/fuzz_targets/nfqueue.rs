//! Datagrams of the NFQUEUE socket: no octets may make the parser panic or go on for ever.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nfban::capture::nfqueue::{Event, parse};

fuzz_target!(|datagram: &[u8]| {
    let mut events = 0;
    for event in parse(datagram) {
        if let Event::Packet(queued) = event {
            assert!(lies_within(queued.payload, datagram));
        }
        events += 1;
    }
    // A message has a header of 16 octets; what is no message is told once.
    assert!(events <= datagram.len() / 16 + 1);
});

fn lies_within(part: &[u8], whole: &[u8]) -> bool {
    let (part, whole) = (part.as_ptr_range(), whole.as_ptr_range());
    part.is_empty() || (whole.start <= part.start && part.end <= whole.end)
}
