//! What is wrong with the fragments of captures of real tools, told without any rule.

use std::collections::BTreeMap;

use foldhash::fast::SeedableRandomState;
use nfban::capture::input::Input;
use nfban::capture::pcap::Records;
use nfban::decode::{self, LinkType};
use nfban::detect::fragment::{DATAGRAMS, Fragments};
use nfban::packet::{Fault, Verdict};
use nfban::time::Stamp;

use super::bed::data;

/// How many fragments a capture has, and how many of them have which fault.
fn judged(name: &str) -> (u64, BTreeMap<&'static str, u64>) {
    let path = data("captures").join(name);
    let path = [path.with_added_extension("pcap"), path.with_added_extension("pcap.xz")]
        .into_iter()
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("{name} is missing"));
    let mut records = Records::new(Input::open(&path).unwrap()).unwrap();
    let mut table = Fragments::new(DATAGRAMS, SeedableRandomState::fixed());
    let (mut fragments, mut faults) = (0, BTreeMap::new());
    while let Some(record) = records.read().unwrap() {
        let Ok(frame) = decode::frame(record.link_type, record.octets, Some(record.wire_length)) else {
            continue;
        };
        let verdict = Verdict::from_prefix(frame.prefix.unwrap_or_default());
        if record.link_type == LinkType::NFLOG && verdict != Some(Verdict::Fragment) {
            continue;
        }
        let boot = std::time::Duration::from_nanos(u64::try_from(record.wall_ns).unwrap());
        let at = Stamp { boot, wall_us: record.wall_ns / 1000 };
        fragments += u64::from(frame.packet.fragment.is_some());
        if let Some(fault) = table.observe(&frame.packet, at) {
            *faults.entry(fault.as_str()).or_default() += 1;
        }
    }
    (fragments, faults)
}

#[test]
fn forged_fragments_have_the_fault_they_were_made_with_on_the_wire_and_in_the_log_alike() {
    let (overlap, oversized) = (Fault::Overlap, Fault::Oversized);
    let (duplicate, tiny) = (Fault::Duplicate, Fault::Tiny);
    for (name, expected) in [
        ("fragments-teardrop", &[(overlap, 20)][..]),
        ("fragments-teardrop-ipv6", &[(overlap, 20)]),
        ("fragments-overlap", &[(overlap, 20)]),
        ("fragments-overlap-ipv6", &[(overlap, 20)]),
        ("fragments-options-ipv6", &[(overlap, 20)]),
        ("fragments-ping-of-death", &[(oversized, 20)]),
        ("fragments-ping-of-death-ipv6", &[(oversized, 20)]),
        ("fragments-jolt2", &[(oversized, 20)]),
        // The repeat of the last part comes when the datagram is whole, and begins another one.
        ("fragments-duplicate", &[(duplicate, 20)]),
        ("fragments-duplicate-ipv6", &[(duplicate, 20)]),
        ("fragments-tiny", &[(tiny, 40)]),
        ("fragments-tiny-ipv6", &[(tiny, 40)]),
    ] {
        for place in ["ether", "nflog"] {
            let (_, faults) = judged(&format!("{name}.{place}"));
            let expected = expected.iter().map(|&(fault, count)| (fault.as_str(), count)).collect();
            assert_eq!(faults, expected, "{name}.{place}");
        }
    }
    // nmap cuts each of its probes in parts of 8 octets: the first hides the control bits, the second tells that it did.
    let (fragments, faults) = judged("nmap-sS-fragments.ether");
    assert_eq!(faults, BTreeMap::from([("tiny", fragments / 3 * 2)]));
}

#[test]
fn honest_fragments_have_no_fault() {
    for (name, least) in [
        ("fragments-ping.ether", 150),
        ("fragments-ping.nflog", 100),
        ("fragments-cut-again.ether", 30),
        ("fragments-cut-again.nflog", 30),
        ("fragments-disorder.ether", 200),
        ("fragments-disorder.nflog", 200),
        ("fragments-disorder-ipv6.ether", 200),
        ("fragments-disorder-ipv6.nflog", 200),
        ("fragments-hping3.ether", 20),
    ] {
        let (fragments, faults) = judged(name);
        assert_eq!(faults, BTreeMap::new(), "{name}");
        assert!(fragments >= least, "{name}: {fragments}");
    }
}
