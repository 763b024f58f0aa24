//! Counting within a window: exactly for distinct values, in sixteenths for packets and octets.

use std::net::IpAddr;

use super::tool::Marks;
use crate::packet::{Observation, Tcp, Transport};
use crate::time::Stamp;

/// What is kept of a packet that counted: enough to tell later why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Probe {
    /// When it came.
    pub(super) at: Stamp,
    /// Source and destination address.
    pub(super) saddr: IpAddr,
    /// Destination address.
    pub(super) daddr: IpAddr,
    /// Source port, 0 where there is none.
    pub(super) sport: u16,
    /// Destination port, 0 where there is none.
    pub(super) dport: u16,
    /// IP protocol.
    pub(super) protocol: u8,
    /// TTL or hop limit.
    pub(super) ttl: u8,
    /// TCP control bits.
    pub(super) flags: u16,
    /// IP length in octets.
    pub(super) length: u32,
    /// Whether it looks made by hand ([`super::class::is_raw`]).
    pub(super) raw: bool,
    /// Whose fingerprints it bears.
    pub(super) marks: Marks,
}

impl Probe {
    /// Of an observed packet.
    #[must_use]
    pub(super) fn new(observation: &Observation<'_>, at: Stamp) -> Self {
        let packet = &observation.packet;
        let (sport, dport) = packet.ports().unwrap_or_default();
        let flags = match packet.transport {
            Transport::Tcp(Tcp { flags, .. }) => flags.0,
            _ => 0,
        };
        Self {
            at,
            saddr: packet.saddr,
            daddr: packet.daddr,
            sport,
            dport,
            protocol: packet.protocol,
            ttl: packet.ttl,
            flags,
            length: packet.length,
            raw: super::class::is_raw(packet),
            marks: Marks::of(packet),
        }
    }
}

/// One distinct value that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    value: u64,
    /// Boot time in nanoseconds.
    last: u64,
    weight: u8,
}

/// What is kept beside a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sighting {
    /// The first packet with this value, while it has been counting without a pause.
    pub(super) first: Stamp,
    /// The latest one.
    pub(super) latest: Probe,
    /// How many.
    pub(super) packets: u64,
    /// Their IP lengths in sum.
    pub(super) bytes: u64,
}

/// What a counter of distinct values is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Nanoseconds.
    pub(super) window: u64,
    /// How many values are kept.
    pub(super) limit: usize,
    /// From how many sources they must come; 1 where it does not matter.
    pub(super) sources: usize,
}

/// The distinct values of one source for one rule: the newest [`Bounds::limit`] ones.
///
/// With `limit = ceil(threshold / least weight)` this is exact: were more values in the window, the newest `limit` of
/// them would already reach the threshold. Where values must come from at least k sources, `limit` is k more, for the
/// newest value of each of the k latest sources; only a value that has since come from another source can cost one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Distinct {
    seen: Vec<Seen>,
    sightings: Vec<Sighting>,
}

/// Boot time in nanoseconds; 584 years fit.
pub(super) fn nanoseconds(at: Stamp) -> u64 {
    u64::try_from(at.boot.as_nanos()).unwrap_or(u64::MAX)
}

impl Distinct {
    /// Counts `value`, and tells the weight of all values in the window `(now − window, now]`.
    pub(super) fn add(&mut self, value: u64, weight: u8, probe: Probe, bounds: Bounds) -> u64 {
        let Bounds { window, limit, sources } = bounds;
        let now = nanoseconds(probe.at);
        let alive = |seen: &Seen| now.saturating_sub(seen.last) < window;
        let fresh =
            || Sighting { first: probe.at, latest: probe, packets: 1, bytes: u64::from(probe.length) };

        if let Some(at) = self.seen.iter().position(|seen| seen.value == value) {
            if let (Some(seen), Some(sighting)) = (self.seen.get_mut(at), self.sightings.get_mut(at)) {
                if alive(seen) {
                    sighting.latest = probe;
                    sighting.packets = sighting.packets.saturating_add(1);
                    sighting.bytes = sighting.bytes.saturating_add(u64::from(probe.length));
                } else {
                    *sighting = fresh();
                }
                *seen = Seen { value, last: now, weight };
            }
        } else if self.seen.len() < limit {
            self.seen.push(Seen { value, last: now, weight });
            self.sightings.push(fresh());
        } else if let Some(at) = self.least(sources)
            && let (Some(seen), Some(sighting)) = (self.seen.get_mut(at), self.sightings.get_mut(at))
        {
            *seen = Seen { value, last: now, weight };
            *sighting = fresh();
        }
        self.weight(probe.at, window)
    }

    /// The value that gives way: the oldest one, but for the newest values of the `sources` latest sources.
    fn least(&self, sources: usize) -> Option<usize> {
        let mut spared: Vec<(IpAddr, usize)> = Vec::new();
        if sources > 1 {
            let mut newest_first: Vec<usize> = (0..self.seen.len()).collect();
            newest_first.sort_by_key(|&at| std::cmp::Reverse(self.seen.get(at).map(|seen| seen.last)));
            for at in newest_first {
                let Some(source) = self.sightings.get(at).map(|sighting| sighting.latest.saddr) else {
                    continue;
                };
                if spared.len() < sources && spared.iter().all(|(other, _)| *other != source) {
                    spared.push((source, at));
                }
            }
        }
        let spares = |at: usize| spared.iter().any(|(_, other)| *other == at);
        let may_go = self.seen.iter().enumerate().filter(|(at, _)| !spares(*at));
        may_go.min_by_key(|(_, seen)| seen.last).map(|(at, _)| at)
    }

    /// The weight of all values in the window.
    pub(super) fn weight(&self, now: Stamp, window: u64) -> u64 {
        let now = nanoseconds(now);
        let alive = self.seen.iter().filter(|seen| now.saturating_sub(seen.last) < window);
        alive.map(|seen| u64::from(seen.weight)).sum()
    }

    /// The values that still count at `now`.
    pub(super) fn alive(&self, now: Stamp, window: u64) -> impl Iterator<Item = &Sighting> {
        let now = nanoseconds(now);
        self.seen
            .iter()
            .zip(&self.sightings)
            .filter(move |(seen, _)| now.saturating_sub(seen.last) < window)
            .map(|(_, sighting)| sighting)
    }
}

/// How many parts a window has where packets or octets are counted.
const BUCKETS: usize = 16;
/// How many packets are kept to show beside a count of packets or octets.
const KEPT: usize = 16;

/// Packets or octets of one source for one rule, in sixteen buckets a window: the count is never more than the true one
/// of the window, and at least that of its latest fifteen sixteenths.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rate {
    /// The index of the newest bucket, in bucket widths since boot.
    newest: u64,
    buckets: [u64; BUCKETS],
    packets: [u64; BUCKETS],
    bytes: [u64; BUCKETS],
    /// The first packet of the present run.
    first: Option<Stamp>,
    latest: Vec<Probe>,
    /// Where in `latest` the next one goes.
    oldest: usize,
}

impl Rate {
    /// Counts `amount`, and tells the sum within the window.
    pub(super) fn add(&mut self, amount: u64, probe: Probe, window: u64) -> u64 {
        let width = (window / BUCKETS as u64).max(1);
        let now = nanoseconds(probe.at) / width;
        let passed = now.saturating_sub(self.newest);
        for step in 1..=passed.min(BUCKETS as u64) {
            self.clear_bucket(self.newest.wrapping_add(step));
        }
        if passed >= BUCKETS as u64 {
            self.first = None;
            self.latest.clear();
            self.oldest = 0;
        }
        self.newest = self.newest.max(now);
        self.first.get_or_insert(probe.at);
        match self.latest.get_mut(self.oldest) {
            Some(oldest) => *oldest = probe,
            None => self.latest.push(probe),
        }
        self.oldest = (self.oldest + 1) % KEPT;
        let at = Self::bucket(self.newest);
        for (counts, more) in
            [(&mut self.buckets, amount), (&mut self.packets, 1), (&mut self.bytes, u64::from(probe.length))]
        {
            if let Some(count) = counts.get_mut(at) {
                *count = count.saturating_add(more);
            }
        }
        self.buckets.iter().sum()
    }

    /// What counts in the window, without a further packet.
    pub(super) fn sum(&self, now: Stamp, window: u64) -> u64 {
        let width = (window / BUCKETS as u64).max(1);
        let gone = (nanoseconds(now) / width).saturating_sub(self.newest);
        let kept = (BUCKETS as u64).saturating_sub(gone);
        (0..kept).filter_map(|back| self.buckets.get(Self::bucket(self.newest.wrapping_sub(back)))).sum()
    }

    /// Packets and octets within the window.
    #[must_use]
    pub(super) fn totals(&self) -> (u64, u64) {
        (self.packets.iter().sum(), self.bytes.iter().sum())
    }

    /// The first packet of the present run.
    #[must_use]
    pub(super) const fn first(&self) -> Option<Stamp> {
        self.first
    }

    /// The latest packets, in no order.
    #[must_use]
    pub(super) fn latest(&self) -> &[Probe] {
        &self.latest
    }

    fn bucket(index: u64) -> usize {
        usize::try_from(index % BUCKETS as u64).unwrap_or_default()
    }

    fn clear_bucket(&mut self, index: u64) {
        let at = Self::bucket(index);
        for counts in [&mut self.buckets, &mut self.packets, &mut self.bytes] {
            if let Some(count) = counts.get_mut(at) {
                *count = 0;
            }
        }
    }
}
