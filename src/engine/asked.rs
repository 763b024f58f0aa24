//! What the engine is asked: of counts, bans and incidents, by `status`, `why` and others. Nothing here changes it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::{Counts, Engine, Exempted, PortCount};
use crate::decide::{Ledger, Policy, Shielded};
use crate::detect::{Occupancy, Seen};
use crate::event::firing::Firing;
use crate::event::{Incident, IncidentId};
use crate::time::Stamp;

impl Engine {
    /// The bans.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What has been counted.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// How many sources have been counted.
    #[must_use]
    pub fn sources(&self) -> u64 {
        self.detector.sources() + self.web.as_ref().map_or(0, |web| web.sources.counted())
    }

    /// How full the tables of sources and of prefixes are.
    #[must_use]
    pub fn occupancy(&self) -> [Occupancy; 2] {
        self.detector.occupancy()
    }

    /// How many sources of web probes are remembered, how many there can be, and how many have given way; none where no
    /// rule asks for them.
    #[must_use]
    pub fn web_occupancy(&self) -> Option<(usize, usize, u64)> {
        self.web.as_ref().map(|web| web.sources.occupancy())
    }

    /// The ports that others probed most within the last hour, those with most packets first.
    #[must_use]
    pub fn top_ports(&self, most: usize, now: Stamp) -> Vec<PortCount> {
        self.ports.top(most, now)
    }

    /// How many incidents are open.
    #[must_use]
    pub fn open_incidents(&self) -> usize {
        let of_requests = self.web.as_ref().map_or(0, |web| web.sources.open_incidents());
        self.detector.open_incidents() + self.traps.open() + of_requests
    }

    /// Why `net` is never acted against, if it is not.
    #[must_use]
    pub fn shielded(&self, net: IpNet) -> Option<Shielded> {
        self.shield.covers(net)
    }

    /// How often `net` was banned within the time that is remembered.
    #[must_use]
    pub fn repetitions(&self, net: IpNet, now: Stamp) -> u32 {
        self.before(net, false, now)
    }

    /// What counts of `net` now, incidents apart.
    #[must_use]
    pub fn seen(&self, net: IpNet, now: Stamp) -> Seen {
        let mut seen = self.detector.seen(net, now);
        self.traps.see(net, now, &mut seen);
        if let Some((first, last, count)) = self.web.as_ref().and_then(|web| web.sources.seen(net, now)) {
            let of = |stamp: &Stamp| (stamp.boot, stamp.wall_us);
            seen.first = seen.first.into_iter().chain([first]).min_by_key(of);
            seen.last = seen.last.into_iter().chain([last]).max_by_key(of);
            seen.counts.push(count);
        }
        seen
    }

    /// What each rule counts of `net` now, with the packets: see [`crate::detect::Detector::counting`].
    #[must_use]
    pub fn counting(&self, net: IpNet, now: Stamp) -> Vec<Firing> {
        let web = self.web.iter().flat_map(|web| web.sources.counting(net, now));
        self.detector.counting(net, now).into_iter().chain(self.traps.counting(net, now)).chain(web).collect()
    }

    /// The packets of sources within `net` that were no evidence, as far as that is remembered.
    pub fn exempted(&self, net: IpNet) -> impl Iterator<Item = &Exempted> {
        self.exempted.of(net)
    }

    /// The packets behind what was decided lately about `net`, the latest first.
    pub fn firings_of(&self, net: IpNet) -> impl Iterator<Item = &Arc<Firing>> {
        self.firings.of(net)
    }

    /// The policy.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The open incidents of `net`.
    pub fn incidents_of(&self, net: IpNet) -> impl Iterator<Item = Incident> {
        let web = self.web.iter().flat_map(move |web| web.sources.incidents_of(net));
        self.detector.incidents_of(net).chain(self.traps.incidents_of(net)).chain(web)
    }

    /// All open incidents.
    pub fn all_open_incidents(&self) -> impl Iterator<Item = Incident> {
        let all = [IpNet::V4(ipnet::Ipv4Net::default()), IpNet::V6(ipnet::Ipv6Net::default())];
        all.into_iter().flat_map(|net| self.incidents_of(net))
    }

    /// The open incidents with these ids: one pass, however many they are.
    pub fn incidents_with(&self, ids: &[IncidentId]) -> impl Iterator<Item = Incident> {
        let touched = self.traps.incidents_since(Duration::ZERO);
        let asked = self.web.iter().flat_map(|web| web.sources.incidents_since(Duration::ZERO));
        let others = touched.chain(asked).filter(|incident| ids.contains(&incident.id));
        self.detector.incidents_with(ids).chain(others)
    }

    /// Those of a part of the open incidents that have gone on since `since` (boot time), from place `from` on. Tells where the
    /// next part begins.
    pub fn incidents_part(
        &self,
        from: usize,
        since: Duration,
        incidents: &mut Vec<Incident>,
    ) -> Option<usize> {
        /// A record of an incident with many ports takes up to a millisecond.
        const PART: usize = 64;
        let (part, is_last) = self.detector.incidents_within(from..from + PART, since);
        incidents.extend(part);
        if !is_last {
            return Some(from + PART);
        }
        // Records of these are short.
        incidents.extend(self.traps.incidents_since(since));
        incidents.extend(self.web.iter().flat_map(|web| web.sources.incidents_since(since)));
        None
    }

    /// The open incidents of exactly these sources: one pass, however many they are.
    pub fn incidents_among(&self, sources: &HashSet<IpNet>) -> impl Iterator<Item = Incident> {
        let web = self.web.iter().flat_map(move |web| web.sources.incidents_among(sources));
        self.detector.incidents_among(sources).chain(self.traps.incidents_among(sources)).chain(web)
    }
}
