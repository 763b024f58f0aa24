//! What was told of the week, held against what was hidden in it.

use std::collections::BTreeMap;

use ipnet::IpNet;
use nfban::report::json;

use crate::generator::capture::BEGIN_S;
use crate::generator::clients::{tracer, tracer6};
use crate::generator::scans::Scan;
use crate::generator::stage::{MINUTE, SECOND};
use crate::generator::{HONEST, Week};

/// An incident that was told.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) rule: String,
    pub(crate) source: IpNet,
    /// When its first packet came and when the rule fired, in microseconds of the week.
    pub(crate) span: (u64, u64),
    pub(crate) ports: Vec<u16>,
}

impl Told {
    pub(crate) fn new(incident: &json::Incident) -> Self {
        let since = |at: nfban::time::Wall| at.0.saturating_sub((BEGIN_S * SECOND) as i64) as u64;
        let span = (since(incident.first_seen), since(incident.time));
        let ports = incident.ports.iter().copied().take(20).collect();
        Self { rule: incident.rule.clone(), source: incident.source.0, span, ports }
    }

    /// Whether it tells of what this scan did, under whatever name.
    fn is_of(&self, scan: &Scan) -> bool {
        let same = scan.source.contains(&self.source) || self.source.contains(&scan.source);
        same && self.span.1 >= scan.span.0 && self.span.1 <= scan.span.1 + MINUTE
    }

    fn names(&self, scan: &Scan) -> bool {
        self.is_of(scan) && scan.source.contains(&self.source) && scan.right.contains(&self.rule.as_str())
    }

    /// A traced route that is told as one: it is neither a scan nor false.
    fn is_traced_route(&self) -> bool {
        let from = |address| self.source.contains(&IpNet::from(address));
        self.rule == "traceroute" && (from(tracer()) || from(tracer6()))
    }
}

/// The figures.
pub(crate) struct Score<'a> {
    scans: &'a [Scan],
    told: &'a [Told],
    pub(crate) false_ones: Vec<&'a Told>,
    traced: usize,
}

impl<'a> Score<'a> {
    pub(crate) fn new(scans: &'a [Scan], told: &'a [Told]) -> Self {
        let of_none = |incident: &&Told| !scans.iter().any(|scan| incident.is_of(scan));
        let (traced, false_ones): (Vec<_>, Vec<_>) =
            told.iter().filter(of_none).partition(|incident| incident.is_traced_route());
        Self { scans, told, false_ones, traced: traced.len() }
    }

    pub(crate) fn print(&self) {
        let found = |scan: &&Scan| self.told.iter().any(|incident| incident.names(scan));
        let found = self.scans.iter().filter(found).count();
        let once = |scan: &&Scan| self.told.iter().filter(|incident| incident.is_of(scan)).count() == 1;
        let once = self.scans.iter().filter(once).count();
        let judged = self.told.len() - self.traced;
        let right = judged - self.false_ones.len();
        let part = |n: usize, of: usize| 100.0 * n as f64 / of.max(1) as f64;
        println!(
            "  recall      {found} of {} scans, {:.1} %",
            self.scans.len(),
            part(found, self.scans.len())
        );
        println!("  precision   {right} of {judged} incidents, {:.1} %", part(right, judged));
        println!("  one incident for {once} of the scans; {} traced routes told besides", self.traced);
        for scan in self.scans {
            let of_it: Vec<_> = self.told.iter().filter(|incident| incident.is_of(scan)).collect();
            let named = of_it.iter().any(|incident| incident.names(scan));
            if !named || of_it.len() != 1 {
                let rules = of_it.iter().map(|told| told.rule.as_str()).fold(BTreeMap::new(), tally);
                let what = if named { "more than one" } else { "not found" };
                println!(
                    "  {what}: {} ({} packets of {}), told {rules:?}",
                    scan.name, scan.packets, scan.source
                );
            }
        }
    }

    /// Each false incident, with the kinds of traffic that its source sent until the rule fired.
    pub(crate) fn print_false(&self, seed: u64) {
        if self.false_ones.is_empty() {
            return println!("  no false incident");
        }
        let rules = self.false_ones.iter().map(|told| told.rule.as_str()).fold(BTreeMap::new(), tally);
        println!("  false incidents: {rules:?}");
        let mut kinds = vec![BTreeMap::new(); self.false_ones.len()];
        let mut week = Week::new(seed);
        for parcels in week.by_ref() {
            let Some((first, last)) = parcels.first().zip(parcels.last()) else { continue };
            for (kinds, told) in kinds.iter_mut().zip(&self.false_ones) {
                if told.span.1 < first.at || told.span.0 > last.at {
                    continue;
                }
                for parcel in &parcels {
                    if (told.span.0..=told.span.1).contains(&parcel.at)
                        && let Ok(packet) = nfban::decode::ip(parcel.octets.as_slice(), None)
                        && told.source.contains(&packet.saddr)
                    {
                        *kinds.entry(parcel.kind).or_insert(0_u64) += 1;
                    }
                }
            }
        }
        for (kinds, told) in kinds.iter().zip(&self.false_ones).take(SHOWN) {
            let of: Vec<_> =
                kinds.iter().map(|(kind, packets)| format!("{packets} of {}", week.name_of(*kind))).collect();
            let at = told.span.1 / SECOND;
            let after = (told.span.1 - told.span.0) / SECOND;
            println!(
                "  {} of {} at {at} s, after {after} s, ports {:?}: {}",
                told.rule,
                told.source,
                told.ports,
                of.join(", ")
            );
        }
        if let Some(more) = self.false_ones.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            println!("  and {more} more");
        }
    }
}

/// So many false incidents are shown one by one.
const SHOWN: usize = 40;

fn tally<'a>(mut sums: BTreeMap<&'a str, u64>, what: &'a str) -> BTreeMap<&'a str, u64> {
    *sums.entry(what).or_insert(0) += 1;
    sums
}

/// What the week was made of.
pub(crate) fn print_kinds(week: &Week) {
    for (kind, sent) in HONEST.iter().zip(&week.sent) {
        println!("  {sent:>9}  {} ({} times)", kind.name, kind.episodes);
    }
    let hidden: u64 = week.scans.iter().map(|scan| scan.packets).sum();
    println!("  {hidden:>9}  {} scans", week.scans.len());
}
