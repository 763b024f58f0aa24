//! Touched traps: the evidence whose source address is proven.
//!
//! It does not come as packets, and so not through the detector. What the rule `trap-port` says of threshold, window and
//! response holds for it all the same. Below the threshold the answer is milder: a web page can make its visitor's
//! browser touch one trap.

mod kept;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

use self::kept::Keeping;
pub use self::kept::KeptTouches;
use super::{Action, Engine, Settings};
use crate::decide::{Evidence, Measure, Response};
use crate::detect::class::Exemption;
use crate::detect::key::Widths;
use crate::detect::rule::Rule;
use crate::detect::{Grounds, Seen, SeenCount};
use crate::event::firing::{Answer, Counted, Firing, What};
use crate::event::{self, Event, Incident, IncidentEnd, IncidentId};
use crate::filter::{Class, Filters};
use crate::packet::{Observation, Packet, Pkttype, Tcp, TcpFlags, Transport, Verdict, protocol};
use crate::time::Stamp;

/// The rule that speaks of traps.
pub(super) const RULE: &str = "trap-port";

/// Sources whose touches are remembered; the one that has been quiet for longest gives way.
pub(super) const MOST: usize = 4096;
/// Trap ports kept of one source; of more, its incident knows no more. Only who is not banned gets that far.
const PORTS: usize = 1024;
/// How many ports an incident lists. Of addresses and source ports no more are kept.
const LISTED: usize = 64;
/// Tells the incidents of touches apart from those of packets to traps.
const BESIDE_PACKETS: u64 = u64::from_be_bytes(*b"touched\0");
/// The least time between two updates of an incident that has only grown.
const UPDATE_EVERY: Duration = Duration::from_secs(10);

/// Completed handshakes of one source with one trap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Touch<'a> {
    /// Whose address is proven.
    pub source: IpAddr,
    /// The port of the latest one.
    pub source_port: u16,
    /// The address and port that it was sent to.
    pub trap: SocketAddr,
    /// How many; at least 1.
    pub connections: u64,
    /// The interface that the latest one came in by; empty where the kernel did not tell it.
    pub interface: &'a str,
    /// Its TTL or hop limit, likewise.
    pub ttl: Option<u8>,
}

/// What the rule says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Terms {
    threshold: u64,
    window: Duration,
    quiet: Duration,
    respond: Option<Response>,
}

/// Who has touched what.
#[derive(Debug, Default)]
pub(super) struct Traps {
    /// `None` where the rule is switched off.
    terms: Option<Terms>,
    widths: Widths,
    ignore: Filters,
    touched: HashMap<IpNet, Touched>,
    /// By the boot time of the latest touch.
    by_age: BTreeSet<(Duration, IpNet)>,
    evicted: u64,
    keeping: Keeping,
}

/// One source's touches: an incident from the first on.
#[derive(Debug)]
struct Touched {
    id: IncidentId,
    first: Stamp,
    last: Stamp,
    /// Trap ports, with the boot time of the latest touch.
    ports: BTreeMap<u16, Duration>,
    destinations: BTreeSet<IpAddr>,
    source_ports: BTreeSet<u16>,
    sources: BTreeSet<IpAddr>,
    /// The latest touch of each trap, the latest last; of [`LISTED`] traps.
    latest: Vec<Counted>,
    connections: u64,
    bytes: u64,
    told_at: Duration,
    told_connections: u64,
    told_ports: usize,
}

impl Traps {
    pub(super) fn reconfigure(&mut self, settings: &Settings) {
        self.widths = settings.widths.clone();
        self.ignore = settings.surroundings.ignore.clone();
    }

    /// Boot time at which the next incident ends.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        let (last, _) = self.by_age.first()?;
        Some(last.saturating_add(self.terms.map_or(Duration::ZERO, |terms| terms.quiet)))
    }

    /// Ends the next incident that is over by `now`.
    pub(super) fn end_next(&mut self, now: Stamp) -> Option<IncidentEnd> {
        self.next_deadline().filter(|due| *due <= now.boot).and_then(|_| self.end_any(now))
    }

    /// Ends the incident that has been quiet for longest.
    pub(super) fn end_any(&mut self, now: Stamp) -> Option<IncidentEnd> {
        let (_, net) = self.by_age.pop_first()?;
        let touched = self.touched.remove(&net)?;
        self.keeping.mark(net);
        Some(IncidentEnd { time: now, incident: touched.record(net) })
    }

    /// Forgets the sources within `net`.
    pub(super) fn forget(&mut self, net: IpNet) {
        self.touched.retain(|source, _| !net.contains(source));
        self.by_age.retain(|(_, source)| !net.contains(source));
        self.keeping.forget(net);
    }

    pub(super) fn open(&self) -> usize {
        self.touched.len()
    }

    pub(super) const fn evicted(&self) -> u64 {
        self.evicted
    }

    pub(super) fn incidents_of(&self, net: IpNet) -> impl Iterator<Item = Incident> {
        self.of(net).map(|(source, touched)| touched.record(source))
    }

    /// Those that have gone on since `since` (boot time).
    pub(super) fn incidents_since(&self, since: Duration) -> impl Iterator<Item = Incident> {
        let lately = self.touched.iter().filter(move |(_, touched)| touched.last.boot >= since);
        lately.map(|(source, touched)| touched.record(*source))
    }

    pub(super) fn incidents_among(&self, sources: &HashSet<IpNet>) -> impl Iterator<Item = Incident> {
        let wanted = self.touched.iter().filter(|(source, _)| sources.contains(source));
        wanted.map(|(source, touched)| touched.record(*source))
    }

    /// Adds what counts of `net`.
    pub(super) fn see(&self, net: IpNet, now: Stamp, seen: &mut Seen) {
        let Some(terms) = self.terms else { return };
        for (_, touched) in self.of(net) {
            let time = |stamp: &Stamp| (stamp.boot, stamp.wall_us);
            seen.first =
                Some(seen.first.filter(|first| time(first) <= time(&touched.first)).unwrap_or(touched.first));
            seen.last =
                Some(seen.last.filter(|last| time(last) >= time(&touched.last)).unwrap_or(touched.last));
            let (count, threshold) = (touched.within(terms.window, now), terms.threshold);
            seen.counts.push(SeenCount { rule: RULE.to_owned(), count, threshold, window: terms.window });
        }
    }

    /// The touches of `net` that count now.
    pub(super) fn counting(&self, net: IpNet, now: Stamp) -> impl Iterator<Item = Firing> {
        let touched = self.terms.into_iter().flat_map(move |terms| {
            self.of(net).map(move |(source, touched)| touched.firing(source, &terms, now, false))
        });
        touched.filter(|firing| firing.count > 0)
    }

    fn of(&self, net: IpNet) -> impl Iterator<Item = (IpNet, &Touched)> {
        let related = move |source: IpNet| source.contains(&net) || net.contains(&source);
        self.touched
            .iter()
            .map(|(source, touched)| (*source, touched))
            .filter(move |(source, _)| related(*source))
    }

    /// Notes a touch. Gives the source and whether the touch opened its incident; makes room first.
    fn note(&mut self, touch: &Touch<'_>, at: Stamp) -> (IpNet, bool, Option<IncidentEnd>) {
        let net = self.widths.source(touch.source, "").net();
        let known = self.touched.contains_key(&net);
        let displaced = if known || self.touched.len() < MOST { None } else { self.end_any(at) };
        self.evicted += u64::from(displaced.is_some());
        self.keeping.mark(net);
        let touched = self.touched.entry(net).or_insert_with(|| match self.keeping.resume(net) {
            Some((id, ports)) => Touched { id, ports, ..Touched::new(net, at) },
            None => Touched::new(net, at),
        });
        self.by_age.remove(&(touched.last.boot, net));
        self.by_age.insert((at.boot, net));
        touched.update(touch, at);
        (net, !known, displaced)
    }
}

impl Touched {
    fn new(net: IpNet, at: Stamp) -> Self {
        let id = IncidentId::of(RULE, net, BESIDE_PACKETS, at);
        Self {
            id,
            first: at,
            last: at,
            ports: BTreeMap::new(),
            destinations: BTreeSet::new(),
            source_ports: BTreeSet::new(),
            sources: BTreeSet::new(),
            latest: Vec::new(),
            connections: 0,
            bytes: 0,
            told_at: at.boot,
            told_connections: 0,
            told_ports: 0,
        }
    }

    fn update(&mut self, touch: &Touch<'_>, at: Stamp) {
        /// The least that a SYN has of IP: the headers alone.
        const SYN4: u64 = 40;
        const SYN6: u64 = 60;
        self.last = at;
        if self.ports.len() < PORTS || self.ports.contains_key(&touch.trap.port()) {
            self.ports.insert(touch.trap.port(), at.boot);
        }
        keep(&mut self.destinations, touch.trap.ip());
        keep(&mut self.source_ports, touch.source_port);
        keep(&mut self.sources, touch.source);
        self.note(touch, at);
        self.connections = self.connections.saturating_add(touch.connections);
        let each = if touch.source.is_ipv4() { SYN4 } else { SYN6 };
        self.bytes = self.bytes.saturating_add(each.saturating_mul(touch.connections));
    }

    fn note(&mut self, touch: &Touch<'_>, at: Stamp) {
        let What::Touch { dport, .. } = what(touch) else { return };
        let is_same =
            |known: &Counted| matches!(known.what, What::Touch { dport: other, .. } if other == dport);
        let earlier = self.latest.iter().position(is_same).map(|known| self.latest.remove(known));
        if self.latest.len() >= LISTED {
            self.latest.remove(0);
        }
        self.latest.push(Counted {
            first: earlier.as_ref().map_or(at, |earlier| earlier.first),
            last: at,
            packets: earlier.map_or(0, |earlier| earlier.packets).saturating_add(touch.connections),
            interface: touch.interface.into(),
            saddr: touch.source,
            daddr: Some(touch.trap.ip()),
            protocol: protocol::TCP,
            what: what(touch),
            ttl: touch.ttl,
            length: None,
            verdict: None,
        });
    }

    /// The touches that count now.
    fn firing(&self, net: IpNet, terms: &Terms, now: Stamp, opened: bool) -> Firing {
        let counts = |one: &&Counted| now.boot.saturating_sub(one.last.boot) < terms.window;
        let packets: Vec<Counted> = self.latest.iter().filter(counts).cloned().collect();
        let count = self.within(terms.window, now);
        Firing {
            incident: self.id,
            rule: RULE.to_owned(),
            told_as: RULE.to_owned(),
            source: net,
            evidence: Evidence::Validated,
            time: now,
            counts: "distinct traps touched".to_owned(),
            count,
            threshold: terms.threshold,
            window: terms.window,
            left_out: count.saturating_sub(u64::try_from(packets.len()).unwrap_or(u64::MAX)),
            packets,
            opened,
            number: 0,
            answer: Answer::Stands,
        }
    }

    /// How many different traps were touched within the window `(now − window, now]`.
    fn within(&self, window: Duration, now: Stamp) -> u64 {
        let recent = self.ports.values().filter(|last| now.boot.saturating_sub(**last) < window).count();
        u64::try_from(recent).unwrap_or(u64::MAX)
    }

    /// Whether it is to be told again: a trap more, or twice as much of the rest, 10 s after the last time. The second
    /// trap is told at once, as it may change the answer.
    fn grown(&self, now: Stamp) -> bool {
        let waited = now.boot.saturating_sub(self.told_at) >= UPDATE_EVERY;
        let more = self.ports.len() >= self.told_ports.saturating_mul(2);
        (self.told_ports == 1 && more)
            || (waited && (more || self.connections >= self.told_connections.saturating_mul(2)))
    }

    fn told(&mut self, now: Stamp) {
        (self.told_at, self.told_connections, self.told_ports) =
            (now.boot, self.connections, self.ports.len());
    }

    fn record(&self, net: IpNet) -> Incident {
        let count = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
        let ports: Vec<u16> = self.ports.keys().copied().collect();
        Incident {
            id: self.id,
            rule: RULE.to_owned(),
            source: net,
            evidence: Evidence::Validated,
            first_seen: self.first,
            last_seen: self.last,
            time: self.first,
            destinations: self.destinations.iter().copied().collect(),
            distinct_destinations: count(self.destinations.len()),
            port_ranges: event::runs(&ports).take(LISTED).collect(),
            distinct_ports: count(ports.len()),
            ports: ports.into_iter().take(LISTED).collect(),
            source_ports: self.source_ports.iter().copied().collect(),
            distinct_source_ports: count(self.source_ports.len()),
            protocols: vec!["tcp".to_owned()],
            addresses: count(self.sources.len()),
            packets: self.connections,
            bytes: self.bytes,
            tool: None,
            probes: Vec::new(),
        }
    }
}

fn what(touch: &Touch<'_>) -> What {
    What::Touch { sport: touch.source_port, dport: touch.trap.port() }
}

fn keep<T: Ord>(set: &mut BTreeSet<T>, value: T) {
    if set.len() < LISTED {
        set.insert(value);
    }
}

impl Engine {
    /// Has `rules` say what a touched trap means: the one that is called [`RULE`]. Without it touches mean nothing.
    pub fn set_trap_rule(&mut self, rules: &[Rule]) {
        let rule = rules.iter().find(|rule| rule.id == RULE && rule.enabled);
        self.traps.terms = rule.map(|rule| Terms {
            threshold: rule.threshold,
            window: rule.window,
            quiet: rule.quiet.unwrap_or(rule.window.max(Duration::from_secs(60))),
            respond: rule.respond,
        });
    }

    /// Takes in a touch of a trap: a handshake that was completed. Time must not go back.
    pub fn touched(&mut self, touch: &Touch<'_>, at: Stamp, actions: &mut Vec<Action>) {
        self.advance(at, actions);
        let Some(terms) = self.traps.terms else { return };
        if let Some(why) = self.no_evidence(touch) {
            return self.exempt(why);
        }
        let (net, opened, displaced) = self.traps.note(touch, at);
        actions.extend(displaced.map(|end| Action::Tell(Event::IncidentEnd(Box::new(end)))));
        let Some(touched) = self.traps.touched.get_mut(&net) else { return };
        if opened || touched.grown(at) {
            touched.told(at);
            let incident = Box::new(touched.record(net));
            let event = if opened { Event::Incident(incident) } else { Event::IncidentUpdate(incident) };
            actions.push(Action::Tell(event));
        }
        self.counts.incidents += u64::from(opened);
        let firing = Some(Box::new(touched.firing(net, &terms, at, opened)));
        let (incident, enough) = (touched.id, touched.within(terms.window, at) >= terms.threshold);
        // Below the threshold it is proven whose address it is, and not that he meant it: he is answered as mildly as on spoofable
        // evidence, so that no page makes its readers repeated offenders, or their neighbours.
        let (evidence, respond) = match self.policy.response(Evidence::Validated, terms.respond) {
            _ if enough => (Evidence::Validated, terms.respond),
            Response::Log => (Evidence::Spoofable, Some(Response::Log)),
            Response::Ban | Response::Restrict => (Evidence::Spoofable, Some(Response::Restrict)),
        };
        // A restricted source still reaches the traps, or it could not be seen to touch another: nothing is amiss.
        let restricts = self.policy.measure(evidence, respond) == Some(Measure::Restrict);
        if restricts && self.ledger.covering(net).is_some_and(|ban| ban.validated || !enough) {
            return self.firings.keep(firing, Answer::Stands);
        }
        let grounds =
            Grounds { incident, rule: RULE.to_owned(), targets: vec![net], evidence, respond, firing };
        self.answer(grounds, touch.source, at, actions);
    }

    /// Why a touch counts for nothing: the same reasons as for a packet.
    fn no_evidence(&self, touch: &Touch<'_>) -> Option<Exemption> {
        let net = IpNet::from(touch.source);
        if self.shield.nobody.intersects(net) {
            return Some(Exemption::NobodysAddress);
        }
        if self.shield.protected.intersects(net) {
            return Some(Exemption::Protected);
        }
        let tcp = Tcp {
            sport: touch.source_port,
            dport: touch.trap.port(),
            sequence: None,
            header_length: None,
            flags: TcpFlags(TcpFlags::SYN),
            window: 0,
        };
        let header_length = if touch.source.is_ipv4() { 20 } else { 40 };
        let packet = Packet {
            saddr: touch.source,
            daddr: touch.trap.ip(),
            length: u32::from(header_length) + 20,
            header_length,
            ttl: 64,
            dont_fragment: true,
            identification: None,
            fragment: None,
            protocol: protocol::TCP,
            transport: Transport::Tcp(tcp),
        };
        let (verdict, pkttype) = (Verdict::Accepted, Pkttype::Unicast);
        let observation =
            Observation { packet, verdict, pkttype, iif: "", oif: "", prefix: b"", fault: None };
        self.traps.ignore.matches(&observation, Some(Class::Syn)).then_some(Exemption::Ignored)
    }

    /// How full the table of those who touched traps is: entries, room, and how many gave way.
    #[must_use]
    pub fn trap_occupancy(&self) -> (usize, usize, u64) {
        (self.traps.open(), MOST, self.traps.evicted())
    }
}
