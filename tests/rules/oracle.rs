//! All shipped rules together on random packets, against a detector that keeps every packet and counts anew each time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use nfban::detect::rule::{Count, Fields, Key, Rule, Weights};
use nfban::packet::{Fault, Verdict};
use proptest::prelude::*;

use super::bed::*;

/// A packet that was counted.
#[derive(Debug, Clone)]
struct Past {
    at: u64,
    seen: Seen,
    /// The rules that it counts for.
    rules: BTreeSet<usize>,
}

/// The whole of what a detector needs, without any thought of cost.
struct Oracle {
    rules: Vec<Rule>,
    past: Vec<Past>,
}

type Value = (Option<(u8, Option<u16>)>, Option<IpAddr>, Option<IpAddr>, Option<u8>);

fn dport(seen: &Seen) -> Option<u16> {
    seen.packet.ports().map(|(_, dport)| dport)
}

/// Who is counted: none where the rule does not apply to the family.
fn key(per: Key, seen: &Seen) -> Option<(IpNet, Option<IpAddr>)> {
    let source = seen.packet.saddr;
    let (v4, v6, other) = match per {
        // Our own hosts are never one with their neighbours.
        Key::Source | Key::Pair if seen.verdict == Verdict::Outbound => (Some(32), Some(128), None),
        Key::Source | Key::Pair => (Some(32), Some(64), None),
        Key::Prefix { ipv4, ipv6 } => (ipv4, ipv6, None::<IpAddr>),
    };
    let length = if source.is_ipv4() { v4 } else { v6 };
    let other = if per == Key::Pair { Some(seen.packet.daddr) } else { other };
    Some((IpNet::new(source, length?).unwrap().trunc(), other))
}

fn matches(rule: &Rule, seen: &Seen) -> bool {
    let mut filter = rule.filter.clone();
    if filter.dport_traps {
        filter.dport_traps = false;
        filter.protocol = vec![6];
        filter.dport.extend([4444..=4444, 5555..=5555]);
    }
    filter.matches(&seen.observation(), Some(seen.class))
}

fn value(fields: Fields, seen: &Seen) -> Value {
    let packet = &seen.packet;
    (
        fields.dport.then_some((packet.protocol, dport(seen))),
        fields.daddr.then_some(packet.daddr),
        fields.saddr.then_some(packet.saddr),
        fields.protocol.then_some(packet.protocol),
    )
}

fn weight(weights: &Weights, seen: &Seen) -> u64 {
    let Some(port) = dport(seen) else { return weights.rest.into() };
    let is = |of: &nfban::detect::rule::PortWeight| {
        of.ports.iter().any(|range| range.contains(&port)) || of.traps && [4444, 5555].contains(&port)
    };
    weights.ports.iter().find(|of| is(of)).map_or(weights.rest, |of| of.weight).into()
}

impl Oracle {
    /// The name of the incident, if the newest packet makes a rule fire, and whose it is.
    fn see(&mut self, at: u64, seen: &Seen) -> Option<Told> {
        let rules = (0..self.rules.len()).filter(|index| matches(&self.rules[*index], seen)).collect();
        self.past.push(Past { at, seen: *seen, rules });
        let (index, name) =
            (0..self.rules.len()).find_map(|index| Some((index, self.fires(index, at, seen)?)))?;
        // A packet that makes a rule fire goes no further.
        self.past.last_mut().unwrap().rules.retain(|rule| *rule <= index);
        Some((name, key(self.rules[index].per, seen)?.0.to_string()))
    }

    fn fires(&self, index: usize, now: u64, newest: &Seen) -> Option<String> {
        let rule = &self.rules[index];
        let key_of_newest = key(rule.per, newest)?;
        self.past.last().filter(|past| past.rules.contains(&index))?;
        let window = rule.window.as_nanos() as u64;
        let counted: Vec<&Past> = self
            .past
            .iter()
            .filter(|past| past.rules.contains(&index))
            .filter(|past| key(rule.per, &past.seen) == Some(key_of_newest))
            .collect();
        let name = rule.report_as.as_ref().unwrap_or(&rule.id).clone();
        let Count::Distinct { fields, weights } = &rule.count else {
            // In sixteenths of the window, which begin where the clock says.
            let part = |at: u64| (at + 1_000_000 * SECOND) / (window / 16);
            let sum = counted.iter().filter(|past| part(now) - part(past.at) < 16).count() as u64;
            let alive = counted.iter().filter(|past| now - past.at < window);
            let each: BTreeSet<Value> = alive.map(|past| value(rule.for_each, &past.seen)).collect();
            return (sum >= rule.threshold * each.len() as u64).then_some(name);
        };
        let alive = || counted.iter().filter(|past| now - past.at < window).map(|past| &past.seen);
        let accepted = |seen: &&Seen| seen.verdict == Verdict::Accepted;
        let closed: BTreeSet<Value> =
            alive().filter(|seen| !accepted(seen)).map(|seen| value(*fields, seen)).collect();
        let all = closed.len() >= rule.closed_at_least as usize;
        let counts = |seen: &&Seen| all || closed.contains(&value(*fields, seen));
        // Each value by its latest packet.
        let values: BTreeMap<Value, &Seen> =
            alive().filter(counts).map(|seen| (value(*fields, seen), seen)).collect();
        let from: BTreeSet<IpAddr> = alive().filter(counts).map(|seen| seen.packet.saddr).collect();
        let sum: u64 = values.values().map(|seen| weight(weights, seen)).sum();
        if sum < rule.threshold || from.len() < rule.from_at_least as usize {
            return None;
        }
        let raw = values.values().filter(|seen| seen.packet.is_raw()).count();
        Some(rule.raw_id.clone().filter(|_| raw * 2 >= values.len()).unwrap_or(name))
    }
}

/// What packets are made of, by number.
const KINDS: usize = 22;

fn packet(kind: usize, port: u16, host: u8) -> Seen {
    let accepted = |seen: Seen| seen.with(Verdict::Accepted);
    let seen = match kind {
        0 => syn(port),
        1 => raw_syn(port),
        2 => accepted(syn(port)),
        3 => accepted(raw_syn(port)),
        4 => bogus(port),
        5 => null(port),
        6 => fin(port),
        7 => xmas(port),
        8 => finack(port),
        9 => ack(port),
        10 => datagram(port),
        11 => traced(33_434 + port % 10),
        12 => of_protocol(200 + (port % 7) as u8),
        13 => echo(),
        14 => timestamp_query(),
        15 => return broadcast_echo(),
        16 => faulty(Fault::ALL[usize::from(port % 4)]),
        17 => syn(port).at_ttl(3),
        18 => syn(port).with(Verdict::Invalid),
        19 => raw_syn(port).with(Verdict::Undecided),
        20 => return syn(port).outbound().to([198, 51, 100, host]),
        _ => return null(port).outbound().to([198, 51, 100, host]),
    };
    seen.to([203, 0, 113, host])
}

/// A source by number: a lone one, five of one /24, five addresses of one /64, and three networks of its /48.
fn source(number: usize) -> IpAddr {
    match number {
        0 => [198, 18, 0, 1].into(),
        1..=5 => [192, 0, 2, number as u8].into(),
        6..=10 => [0x2001, 0xdb8, 1, 1, 0, 0, 0, number as u16].into(),
        _ => [0x2001, 0xdb8, 1, number as u16, 0, 0, 0, 1].into(),
    }
}

#[derive(Clone)]
struct Script(Vec<(u64, Seen)>);

/// A line a packet: a failing script is read by people.
impl std::fmt::Debug for Script {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, Seen { packet, class, verdict, fault, .. }) in &self.0 {
            let raw = packet.is_raw();
            let (from, to, port) = (packet.saddr, packet.daddr, packet.ports().map(|ports| ports.1));
            writeln!(f, "{at:>12} {class:?} {verdict:?} {from} > {to} {port:?} raw {raw} {fault:?}")?;
        }
        Ok(())
    }
}

/// Few kinds, few sources, few ports and hosts, and one pace, so that packets often meet near a threshold; and pauses as
/// long as the windows, a nanosecond more, a nanosecond less.
fn script() -> impl Strategy<Value = Script> {
    let window = prop::sample::select(vec![10, 60, 300, 3600, 7 * 86_400]);
    let pause = (window, prop::sample::select(vec![-1_i64, 0, 1]))
        .prop_map(|(window, off)| (window * SECOND).saturating_add_signed(off));
    let pace = prop::sample::select(vec![MILLISECOND, SECOND, 20 * SECOND, 300 * SECOND, 7200 * SECOND]);
    // SYNs and datagrams are what most rules count.
    let kinds = prop::collection::vec(prop_oneof![0..4_usize, Just(10), 0..KINDS], 1..4);
    let sources = prop::collection::vec(0_usize..14, 1..9);
    let ports = prop::sample::select(vec![1_u16, 2, 9, 14, 30]);
    let hosts = prop::sample::select(vec![1_u8, 3, 9, 12, 70]);
    (kinds, sources, ports, hosts, pace)
        .prop_flat_map(move |(kinds, sources, ports, hosts, pace)| {
            let port = (0..ports, prop::sample::select(vec![100_u16, 100, 100, 20_000, 4440, 5550]))
                .prop_map(|(n, base)| base + n);
            let gap = prop_oneof![12 => 0..pace * 2, 1 => pause.clone()];
            let one = (gap, prop::sample::select(kinds), prop::sample::select(sources), port, 0..hosts);
            prop::collection::vec(one, 1..160)
        })
        .prop_map(|steps| {
            let mut at = 0;
            Script(
                steps
                    .into_iter()
                    .map(|(gap, kind, from, port, host)| {
                        // Never two at once: which of them is the latest would be anybody's guess.
                        at += gap.max(1);
                        let seen = packet(kind, port, host + 1);
                        let daddr = seen.packet.daddr;
                        let mut seen = if kind >= 20 || kind == 15 { seen } else { seen.from(source(from)) };
                        if seen.packet.saddr.is_ipv6() {
                            // As many hosts as in IPv4.
                            let IpAddr::V4(daddr) = daddr else { unreachable!() };
                            seen.packet.daddr = daddr.to_ipv6_compatible().into();
                        }
                        (at, seen)
                    })
                    .collect(),
            )
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whoever has an incident is heard no more: what follows is the incident's, which other tests are about.
    #[test]
    fn the_first_incident_of_every_source_is_the_oracles(script in script()) {
        let mut world = World::new(None);
        let mut oracle = Oracle { rules: shipped(), past: Vec::new() };
        let mut silenced: Vec<IpNet> = Vec::new();
        for (number, (at, seen)) in script.0.iter().enumerate() {
            if silenced.iter().any(|net| net.contains(&seen.packet.saddr)) {
                continue;
            }
            let told = world.see(seen, *at);
            let expected: Vec<Told> = oracle.see(*at, seen).into_iter().collect();
            prop_assert_eq!(&told, &expected, "packet {} at {}", number, at);
            silenced.extend(told.iter().map(|(_, net)| net.parse::<IpNet>().unwrap()));
        }
    }
}
