//! The generated week that `make bench` measures detection with: the same on every run, and what it says it is.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::panic,
    reason = "a test states its expectations by panicking"
)]

#[path = "../benches/week/generator/mod.rs"]
mod generator;

use std::path::Path;

use generator::packet::Parcel;
use generator::scans::Scan;
use generator::stage::{SLOT, WEEK, ours, ours6};
use generator::{HONEST, Week, capture};
use ipnet::IpNet;
use nfban::config::rules::{self, SHIPPED};
use nfban::decode::{self, LinkType};
use nfban::detect::rule::Rule;
use nfban::packet::Verdict;

/// The seed of the figures that are published.
const SEED: u64 = 1;
/// So many slots of ten minutes are looked at: packets of every kind that comes often are in them.
const SOME: usize = 6;

fn beginning() -> Vec<Vec<Parcel>> {
    Week::new(SEED).take(SOME).collect()
}

fn octets_of(slots: &[Vec<Parcel>]) -> Vec<u8> {
    let (mut out, mut record) = (Vec::new(), Vec::new());
    capture::begin(&mut out).unwrap();
    for parcel in slots.iter().flatten() {
        capture::write(&mut out, parcel, &mut record).unwrap();
    }
    out
}

/// FNV-1a.
fn digest(octets: &[u8]) -> u64 {
    octets.iter().fold(0xcbf2_9ce4_8422_2325, |hash, octet| {
        (hash ^ u64::from(*octet)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[test]
fn the_week_is_the_same_octet_for_octet_wherever_it_is_made() {
    // Another digest is another week: the figures in docs/benchmarks.md have to be taken anew.
    assert_eq!(format!("{:016x}", digest(&octets_of(&beginning()))), "0c3f6a74339dca66");
}

#[test]
fn packets_come_in_the_order_of_their_times_and_within_their_slots() {
    for (slot, parcels) in beginning().iter().enumerate() {
        assert!(parcels.is_sorted_by_key(|parcel| parcel.at));
        assert!(parcels.iter().all(|parcel| (parcel.at / SLOT) as usize == slot));
    }
}

#[test]
fn every_record_is_a_packet_to_the_decoder_with_the_verdict_it_was_given() {
    let mut record = Vec::new();
    let mut seen = [false; Verdict::ALL.len()];
    for parcel in beginning().iter().flatten() {
        let mut out = Vec::new();
        capture::write(&mut out, parcel, &mut record).unwrap();
        let length = record.len() as u32;
        let frame = decode::frame(LinkType::NFLOG, &record, Some(length)).unwrap();
        assert_eq!(Verdict::from_prefix(frame.prefix.unwrap()), Some(parcel.verdict));
        assert_eq!(frame.pkttype, parcel.pkttype);
        seen[parcel.verdict as usize] = true;
    }
    let missing: Vec<_> = Verdict::ALL.iter().filter(|verdict| !seen[**verdict as usize]).collect();
    assert_eq!(missing, [&Verdict::Undecided], "a capture of NFLOG has no packet that nobody judged");
}

#[test]
fn what_happens_often_is_in_every_hour_and_as_often_as_it_says() {
    let mut week = Week::new(SEED);
    week.by_ref().take(SOME).for_each(drop);
    for (kind, sent) in HONEST.iter().zip(&week.sent) {
        // Two hours after midnight people send a seventh of what they send on the average.
        assert!(*sent > 0 || kind.episodes < 3_000, "{}", kind.name);
    }
}

#[test]
fn fifty_scans_are_hidden_that_do_not_share_a_source_unless_it_is_a_prefix() {
    let scans = Week::new(SEED).scans;
    assert_eq!(scans.len(), 50);
    let ours = |net: &IpNet| net.contains(&ours(0)) || net.contains(&ours6(0));
    for (n, scan) in scans.iter().enumerate() {
        assert!(scan.packets > 1 && scan.span.0 < scan.span.1 && scan.span.1 < WEEK, "{scan:?}");
        assert!(!ours(&scan.source), "{scan:?}");
        let same = |other: &&Scan| other.source.contains(&scan.source);
        assert_eq!(scans.iter().filter(same).count(), 1, "{scan:?}");
        assert!(scans[..n].iter().all(|other| other.name != scan.name), "{}", scan.name);
    }
}

#[test]
fn what_is_right_to_say_of_a_scan_is_what_a_shipped_rule_says() {
    let rules = rules::load(SHIPPED, Path::new("/nonexistent")).unwrap();
    for scan in Week::new(SEED).scans {
        for id in scan.right {
            let reports = |rule: &Rule| {
                let names = [Some(&rule.id), rule.raw_id.as_ref(), rule.report_as.as_ref()];
                names.into_iter().flatten().any(|name| name == id)
            };
            assert!(rules.iter().any(reports), "{}: no rule reports {id}", scan.name);
        }
    }
}
