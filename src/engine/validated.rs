//! Sources with a proven address, and the distinct things that each has touched within a window: kinds of probe that
//! it asked a web server for.
//!
//! Nobody can be made to appear here by a forged packet, so a table of moderate size does, and its cost a touch is
//! logarithmic and not constant: requests cost a server a thousand times that. It tells the same incidents as the detector: one
//! from the first touch that counts until the source has been quiet for long enough.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::decide::{Evidence, Response};
use crate::detect::key::SourceKey;
use crate::detect::{Grounds, SeenCount};
use crate::event::firing::{Answer, Counted, Firing, What};
use crate::event::{Event, Incident, IncidentEnd, IncidentId};
use crate::packet::protocol;
use crate::time::Stamp;

/// How many sources are remembered; the least recently seen gives way, and its incident ends.
pub(super) const CAPACITY: usize = 16_384;

/// How many addresses of a prefix an incident counts; more are told as this many.
const ADDRESSES: usize = 64;

/// How many kinds of probe an incident lists.
const PROBES: usize = 64;

/// The least time between two updates of an incident.
const UPDATE_EVERY: Duration = Duration::from_secs(10);

/// When distinct things are enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Threshold {
    /// The rule's id.
    pub(super) id: String,
    /// Fires at so many; at least 1. As many are remembered of a source.
    pub(super) things: usize,
    /// A thing counts while its latest touch is younger than this.
    pub(super) window: Duration,
    /// How long an incident stays open without a touch.
    pub(super) quiet: Duration,
    /// Overrides the configured response.
    pub(super) respond: Option<Response>,
    /// What the incident names as its protocol.
    pub(super) protocol: &'static str,
}

/// What follows from a touch.
#[derive(Debug, Default)]
pub(super) struct Touched {
    /// The incident that ended early because its source gave way.
    pub(super) displaced: Option<IncidentEnd>,
    /// An incident that opened or has grown.
    pub(super) told: Option<Event>,
    /// What to answer: the rule fires, or fires once more.
    pub(super) grounds: Option<Grounds>,
}

/// The sources, and what of `T` they have touched.
#[derive(Debug)]
pub(super) struct Sources<T> {
    threshold: Threshold,
    capacity: usize,
    /// Keyed at random; nothing depends on its order.
    known: HashMap<SourceKey, Source<T>>,
    /// By [`Source::touch`], the least recently seen first.
    ages: BTreeMap<u64, SourceKey>,
    touches: u64,
    /// By when they end (since boot) and [`Source::touch`].
    ends: BTreeSet<(Duration, u64)>,
    /// How many sources there have been.
    counted: u64,
    evicted: u64,
}

#[derive(Debug)]
struct Source<T> {
    /// The number of its latest touch.
    touch: u64,
    seen: Vec<Seen<T>>,
    open: Option<Open>,
}

#[derive(Debug)]
struct Seen<T> {
    thing: T,
    first: Stamp,
    last: Stamp,
    touches: u64,
    /// Who touched it last, and how.
    address: IpAddr,
    what: What,
}

#[derive(Debug)]
struct Open {
    id: IncidentId,
    opened: Stamp,
    first: Stamp,
    last: Stamp,
    touches: u64,
    addresses: BTreeSet<IpAddr>,
    /// The kinds of probe.
    probes: BTreeSet<String>,
    /// When (since boot) and at how many touches it was last told.
    told: (Duration, u64),
}

impl<T: Copy + Eq> Sources<T> {
    pub(super) fn new(threshold: Threshold, capacity: usize) -> Self {
        Self {
            threshold,
            capacity,
            known: HashMap::new(),
            ages: BTreeMap::new(),
            touches: 0,
            ends: BTreeSet::new(),
            counted: 0,
            evicted: 0,
        }
    }

    /// Goes on with another threshold and other things; `thing` tells which of now is one of before.
    pub(super) fn carry_over(&mut self, threshold: Threshold, thing: impl Fn(T) -> Option<T>) {
        self.threshold = threshold;
        self.ends.clear();
        for source in self.known.values_mut() {
            let kept = |seen: Seen<T>| Some(Seen { thing: thing(seen.thing)?, ..seen });
            source.seen = std::mem::take(&mut source.seen).into_iter().filter_map(kept).collect();
            if let Some(open) = &source.open {
                self.ends.insert((open.end(&self.threshold), source.touch));
            }
        }
    }

    /// Notes that `address`, which counts as `key`, has touched `thing`, in the way that `what` tells. Time must not go back.
    pub(super) fn touch(
        &mut self,
        key: SourceKey,
        address: IpAddr,
        thing: T,
        at: Stamp,
        what: impl FnOnce() -> What,
    ) -> Touched {
        let displaced = self.make_room(&key, at);
        self.touches += 1;
        let Self { threshold, known, ages, touches, ends, counted, .. } = self;
        let source = known.entry(key).or_insert_with(|| {
            *counted += 1;
            Source { touch: *touches, seen: Vec::new(), open: None }
        });
        ages.remove(&source.touch);
        if let Some(open) = &source.open {
            ends.remove(&(open.end(threshold), source.touch));
        }
        source.touch = *touches;
        ages.insert(source.touch, key);
        let what = what();
        let probe = kind(&what).map(str::to_owned);
        let is_enough = source.note(thing, (address, what), at, threshold);
        let told = match &mut source.open {
            Some(open) => {
                open.touch(address, probe, at);
                open.grown().then(|| Event::IncidentUpdate(Box::new(open.record(key.net(), threshold))))
            }
            None if is_enough => {
                let open = source.opened(&key, address, at, threshold);
                Some(Event::Incident(Box::new(open.record(key.net(), threshold))))
            }
            None => None,
        };
        let opened = matches!(told, Some(Event::Incident(_)));
        if let Some(open) = &source.open {
            ends.insert((open.end(threshold), source.touch));
        }
        let grounds = source.open.as_ref().filter(|_| is_enough).map(|open| Grounds {
            incident: open.id,
            rule: threshold.id.clone(),
            targets: vec![key.net()],
            evidence: Evidence::Validated,
            respond: threshold.respond,
            firing: Some(Box::new(source.firing(open.id, &key, at, threshold, opened))),
        });
        Touched { displaced, told, grounds }
    }

    /// Where `key` is new and the table is full, the least recently seen gives way.
    fn make_room(&mut self, key: &SourceKey, at: Stamp) -> Option<IncidentEnd> {
        if self.known.len() < self.capacity || self.known.contains_key(key) {
            return None;
        }
        let (_, oldest) = self.ages.pop_first()?;
        let source = self.known.remove(&oldest)?;
        self.evicted += 1;
        let open = source.open?;
        self.ends.remove(&(open.end(&self.threshold), source.touch));
        Some(IncidentEnd { time: at, incident: open.record(oldest.net(), &self.threshold) })
    }

    /// Boot time at which the next incident ends.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.ends.first().map(|(end, _)| *end)
    }

    /// Ends an incident that is due by `now`.
    pub(super) fn end_next(&mut self, now: Stamp) -> Option<IncidentEnd> {
        let due = self.next_deadline().is_some_and(|end| end <= now.boot);
        due.then(|| self.end_first(now)).flatten()
    }

    /// Ends the incident that would end first, whenever that is.
    pub(super) fn end_first(&mut self, now: Stamp) -> Option<IncidentEnd> {
        let (_, touch) = self.ends.pop_first()?;
        let key = self.ages.get(&touch)?;
        let source = self.known.get_mut(key)?;
        let open = source.open.take()?;
        // What it has done is told; a new incident needs new evidence.
        source.seen.clear();
        Some(IncidentEnd { time: now, incident: open.record(key.net(), &self.threshold) })
    }

    /// Forgets the sources within `net`.
    pub(super) fn forget(&mut self, net: IpNet) {
        let Self { threshold, known, ages, ends, .. } = self;
        known.retain(|key, source| {
            let stays = !net.contains(&key.net());
            if !stays {
                ages.remove(&source.touch);
                if let Some(open) = &source.open {
                    ends.remove(&(open.end(threshold), source.touch));
                }
            }
            stays
        });
    }

    /// Forgets what counts, because the input's clock stepped back. Incidents stay.
    pub(super) fn restart_windows(&mut self) {
        self.known.values_mut().for_each(|source| source.seen.clear());
    }

    /// The open incidents of those within `net`, and of those that hold it.
    pub(super) fn incidents_of(&self, net: IpNet) -> impl Iterator<Item = Incident> {
        self.known
            .iter()
            .filter(move |(key, _)| net.contains(&key.net()) || key.net().contains(&net))
            .filter_map(|(key, source)| Some(source.open.as_ref()?.record(key.net(), &self.threshold)))
    }

    /// The open incidents that have gone on since `since` (boot time).
    pub(super) fn incidents_since(&self, since: Duration) -> impl Iterator<Item = Incident> {
        let open = self.known.iter().filter_map(|(key, source)| Some((key.net(), source.open.as_ref()?)));
        open.filter(move |(_, open)| open.last.boot >= since)
            .map(|(net, open)| open.record(net, &self.threshold))
    }

    /// The open incidents of exactly these sources.
    pub(super) fn incidents_among(&self, sources: &HashSet<IpNet>) -> impl Iterator<Item = Incident> {
        let open = self.known.iter().filter_map(|(key, source)| Some((key.net(), source.open.as_ref()?)));
        open.filter(|(net, _)| sources.contains(net)).map(|(net, open)| open.record(net, &self.threshold))
    }

    /// What counts now of the source within `net` that is nearest to the threshold, with its first and latest touch.
    pub(super) fn seen(&self, net: IpNet, now: Stamp) -> Option<(Stamp, Stamp, SeenCount)> {
        let Threshold { id, things, window, .. } = &self.threshold;
        let of = |source: &Source<T>| {
            let counting = || source.seen.iter().filter(|seen| seen.counts(now, *window));
            let first = counting().map(|seen| seen.first).min_by_key(|first| first.boot)?;
            let last = counting().map(|seen| seen.last).max_by_key(|last| last.boot)?;
            Some((first, last, u64::try_from(counting().count()).unwrap_or(u64::MAX)))
        };
        let within =
            self.known.iter().filter(|(key, _)| net.contains(&key.net()) || key.net().contains(&net));
        let (first, last, count) = within.filter_map(|(_, source)| of(source)).max_by_key(|found| found.2)?;
        let threshold = u64::try_from(*things).unwrap_or(u64::MAX);
        Some((first, last, SeenCount { rule: id.clone(), count, threshold, window: *window }))
    }

    /// What counts now of those within `net`, with the latest touches.
    pub(super) fn counting(&self, net: IpNet, now: Stamp) -> impl Iterator<Item = Firing> {
        let within =
            self.known.iter().filter(move |(key, _)| net.contains(&key.net()) || key.net().contains(&net));
        within
            .map(move |(key, source)| source.firing(IncidentId(0), key, now, &self.threshold, false))
            .filter(|firing| firing.count > 0)
    }

    /// How many incidents are open.
    pub(super) fn open_incidents(&self) -> usize {
        self.ends.len()
    }

    /// How many sources there have been.
    pub(super) const fn counted(&self) -> u64 {
        self.counted
    }

    /// How many sources are remembered, at most, and have given way.
    pub(super) fn occupancy(&self) -> (usize, usize, u64) {
        (self.known.len(), self.capacity, self.evicted)
    }
}

impl<T: Copy + Eq> Source<T> {
    /// Notes a touch, and tells whether enough things count. As many as the threshold are kept, the most recent ones: a
    /// distinct count needs no more to be exact.
    fn note(&mut self, thing: T, (address, what): (IpAddr, What), at: Stamp, threshold: &Threshold) -> bool {
        self.seen.retain(|seen| seen.counts(at, threshold.window));
        match self.seen.iter_mut().find(|seen| seen.thing == thing) {
            Some(seen) => {
                seen.last = at;
                seen.touches += 1;
                (seen.address, seen.what) = (address, what);
            }
            None => {
                if self.seen.len() >= threshold.things
                    && let Some(oldest) =
                        (0..self.seen.len()).min_by_key(|&at| self.seen.get(at).map(|seen| seen.last.boot))
                {
                    self.seen.swap_remove(oldest);
                }
                self.seen.push(Seen { thing, first: at, last: at, touches: 1, address, what });
            }
        }
        self.seen.len() >= threshold.things
    }

    /// What counts now.
    fn firing(
        &self,
        incident: IncidentId,
        key: &SourceKey,
        now: Stamp,
        threshold: &Threshold,
        opened: bool,
    ) -> Firing {
        let counting = self.seen.iter().filter(|seen| seen.counts(now, threshold.window));
        let mut packets: Vec<Counted> = counting.map(Seen::counted).collect();
        packets.sort_by_key(|counted| counted.last.boot);
        Firing {
            incident,
            rule: threshold.id.clone(),
            told_as: threshold.id.clone(),
            source: key.net(),
            evidence: Evidence::Validated,
            time: now,
            counts: "distinct kinds of probe".to_owned(),
            count: u64::try_from(packets.len()).unwrap_or(u64::MAX),
            threshold: u64::try_from(threshold.things).unwrap_or(u64::MAX),
            window: threshold.window,
            packets,
            left_out: 0,
            opened,
            number: 0,
            answer: Answer::Logs,
        }
    }

    fn opened(&mut self, key: &SourceKey, address: IpAddr, at: Stamp, threshold: &Threshold) -> &Open {
        let first = self.seen.iter().map(|seen| seen.first).min_by_key(|first| first.boot).unwrap_or(at);
        let touches = self.seen.iter().map(|seen| seen.touches).sum();
        self.open.insert(Open {
            id: IncidentId::of(&threshold.id, key.net(), key.zone(), first),
            opened: at,
            first,
            last: at,
            touches,
            addresses: BTreeSet::from([address]),
            probes: self.seen.iter().filter_map(|seen| kind(&seen.what)).map(str::to_owned).collect(),
            told: (at.boot, touches),
        })
    }
}

/// The kind of probe that a touch was, if it was one.
fn kind(what: &What) -> Option<&str> {
    match what {
        What::Request { probe, .. } => Some(probe),
        _ => None,
    }
}

impl<T> Seen<T> {
    /// The latest touch, as it is shown.
    fn counted(&self) -> Counted {
        Counted {
            first: self.first,
            last: self.last,
            packets: self.touches,
            interface: "".into(),
            saddr: self.address,
            daddr: None,
            protocol: protocol::TCP,
            what: self.what.clone(),
            ttl: None,
            length: None,
            verdict: None,
        }
    }

    /// The window is `(now − W, now]`.
    fn counts(&self, now: Stamp, window: Duration) -> bool {
        now.boot.saturating_sub(self.last.boot) < window
    }
}

impl Open {
    fn touch(&mut self, address: IpAddr, probe: Option<String>, at: Stamp) {
        self.last = at;
        self.touches = self.touches.saturating_add(1);
        if self.addresses.len() < ADDRESSES {
            self.addresses.insert(address);
        }
        if self.probes.len() < PROBES {
            self.probes.extend(probe);
        }
    }

    fn end(&self, threshold: &Threshold) -> Duration {
        self.last.boot.saturating_add(threshold.quiet)
    }

    /// Whether it is to be told again: a line for each doubling, as of every incident.
    fn grown(&mut self) -> bool {
        let (at, touches) = self.told;
        let grown =
            self.last.boot.saturating_sub(at) >= UPDATE_EVERY && self.touches >= touches.saturating_mul(2);
        if grown {
            self.told = (self.last.boot, self.touches);
        }
        grown
    }

    /// The incident as it is told. A log tells of no packets: what counts are touches, and they have no length.
    fn record(&self, source: IpNet, threshold: &Threshold) -> Incident {
        Incident {
            id: self.id,
            rule: threshold.id.clone(),
            source,
            evidence: Evidence::Validated,
            first_seen: self.first,
            last_seen: self.last,
            time: self.opened,
            destinations: Vec::new(),
            distinct_destinations: 0,
            ports: Vec::new(),
            distinct_ports: 0,
            port_ranges: Vec::new(),
            source_ports: Vec::new(),
            distinct_source_ports: 0,
            protocols: vec![threshold.protocol.to_owned()],
            addresses: u64::try_from(self.addresses.len()).unwrap_or(u64::MAX),
            packets: self.touches,
            bytes: 0,
            tool: None,
            probes: self.probes.iter().cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn threshold() -> Threshold {
        Threshold {
            id: "web-probe".to_owned(),
            things: 3,
            window: Duration::from_secs(600),
            quiet: Duration::from_secs(600),
            respond: None,
            protocol: "http",
        }
    }

    fn at(seconds: u64) -> Stamp {
        let wall_us = i64::try_from(seconds).unwrap() * 1_000_000;
        Stamp { boot: Duration::from_secs(seconds), wall_us }
    }

    fn key(host: u32) -> (SourceKey, IpAddr) {
        let address = IpAddr::V4(host.into());
        (SourceKey::new(address.into(), 0), address)
    }

    fn touch(sources: &mut Sources<u16>, host: u32, thing: u16, seconds: u64) -> Touched {
        let (key, address) = key(host);
        sources.touch(key, address, thing, at(seconds), || What::Other)
    }

    #[test]
    fn the_threshold_is_of_distinct_things_within_the_window() {
        let mut sources = Sources::new(threshold(), 16);
        for second in 0..10 {
            assert!(touch(&mut sources, 1, (second % 2) as u16, second).told.is_none());
        }
        // The first two are 600 s old when the third comes: they no longer count.
        assert!(touch(&mut sources, 1, 7, 609).told.is_none());
        assert!(touch(&mut sources, 1, 8, 610).told.is_none());
        let Touched { told: Some(Event::Incident(incident)), grounds: Some(grounds), .. } =
            touch(&mut sources, 1, 9, 1208)
        else {
            panic!("the third within the window opens an incident")
        };
        assert_eq!((incident.packets, incident.first_seen, incident.last_seen), (3, at(609), at(1208)));
        assert_eq!((grounds.evidence, grounds.targets), (Evidence::Validated, vec![key(1).0.net()]));
        assert_eq!(incident.evidence, Evidence::Validated);
    }

    #[test]
    fn an_incident_is_updated_at_doublings_and_ends_with_its_totals_when_it_is_quiet() {
        let mut sources = Sources::new(threshold(), 16);
        (0..3).for_each(|thing| drop(touch(&mut sources, 1, thing, 0)));
        let told = |touched: Touched| match touched.told {
            Some(Event::IncidentUpdate(incident)) => Some(incident.packets),
            None => None,
            other => panic!("{other:?}"),
        };
        let updates: Vec<_> = (1..100).filter_map(|second| told(touch(&mut sources, 1, 0, second))).collect();
        assert_eq!(updates, [13, 26, 52]);
        assert_eq!(sources.next_deadline(), Some(Duration::from_secs(699)));
        assert!(sources.end_next(at(698)).is_none());
        let end = sources.end_next(at(699)).unwrap();
        assert_eq!((end.time, end.incident.packets, end.incident.last_seen), (at(699), 102, at(99)));
        assert_eq!((sources.open_incidents(), sources.next_deadline()), (0, None));
        // What it did counts no more.
        assert!((0..2).all(|thing| touch(&mut sources, 1, thing, 699).told.is_none()));
    }

    #[test]
    fn the_same_source_is_answered_again_while_it_goes_on() {
        let mut sources = Sources::new(threshold(), 16);
        let grounds = |thing, second, sources: &mut _| touch(sources, 1, thing, second).grounds.is_some();
        assert_eq!([0, 1, 2].map(|thing| grounds(thing, 0, &mut sources)), [false, false, true]);
        assert!(grounds(0, 599, &mut sources));
        // Of the others one is too old.
        assert!(!grounds(0, 1000, &mut sources));
    }

    #[test]
    fn the_table_is_bounded_and_the_least_recently_seen_gives_way() {
        let mut sources = Sources::new(threshold(), 4);
        (0..3).for_each(|thing| drop(touch(&mut sources, 1, thing, 0)));
        for host in 2..=4 {
            assert!(touch(&mut sources, host, 0, 1).displaced.is_none());
        }
        let displaced = touch(&mut sources, 5, 0, 2).displaced.unwrap();
        assert_eq!((displaced.incident.source, displaced.time), (key(1).0.net(), at(2)));
        assert_eq!((sources.open_incidents(), sources.next_deadline()), (0, None));
        (6..1000).for_each(|host| drop(touch(&mut sources, host, 0, 3)));
        assert_eq!(sources.occupancy(), (4, 4, 995));
        assert_eq!((sources.ages.len(), sources.counted()), (4, 999));
    }

    proptest! {
        /// Against all that was ever touched.
        #[test]
        fn it_fires_exactly_when_enough_things_are_in_the_window(
            touches in proptest::collection::vec((0..3_u32, 0..6_u16, 0..200_u64), 1..200)
        ) {
            let mut sources = Sources::new(threshold(), 16);
            let (mut now, mut all) = (0, Vec::<(u32, u16, u64)>::new());
            for (host, thing, step) in touches {
                now += step;
                while let Some(end) = sources.end_next(at(now)) {
                    let IpAddr::V4(ended) = end.incident.source.addr() else { unreachable!() };
                    all.retain(|(host, ..)| *host != u32::from(ended));
                }
                all.push((host, thing, now));
                let distinct: BTreeSet<u16> = all
                    .iter()
                    .filter(|(of, _, when)| *of == host && now - when < 600)
                    .map(|(_, thing, _)| *thing)
                    .collect();
                let touched = touch(&mut sources, host, thing, now);
                prop_assert_eq!(touched.grounds.is_some(), distinct.len() >= 3);
            }
        }
    }
}
