//! Whether a rule can fire at all: one that cannot would be silent for ever.

use super::LARGEST_DISTINCT;
use crate::config::problem::Place;
use crate::config::read::Report;
use crate::detect::rule::{Count, Fields, Key, Rule, Weights};
use crate::filter::{Class, Filter};
use crate::packet::{Verdict, protocol};

/// Where the parts of a rule stand that can make it unreachable.
pub(super) struct Places {
    pub(super) filter: Place,
    pub(super) threshold: Place,
    pub(super) closed_at_least: Place,
    pub(super) for_each: Place,
}

/// Reports what no traffic can satisfy, and a threshold that would take too much memory.
pub(super) fn check(rule: &Rule, places: &Places, report: &mut Report<'_>) {
    check_fragments(&rule.filter, places.filter, report);
    check_parts(&rule.filter, places.filter, report);
    check_closed(rule, places.closed_at_least, report);
    if rule.for_each != Fields::default() && matches!(rule.count, Count::Distinct { .. }) {
        let message = "`for-each` goes with packets or bytes: a distinct value counts once";
        report.error(places.for_each, message, "write `count: packets`, or leave `for-each` out");
    }
    let addresses = addresses(rule);
    if addresses == 0 {
        report.error(
            places.filter,
            "this never matches: `per` names no prefix length for the family of `saddr`",
            "add one, for instance `per: {ipv4: 24, ipv6: 48}`",
        );
    } else if u128::from(rule.from_at_least) > addresses {
        report.error(
            places.threshold,
            &format!("`from-at-least` {} is never reached: `per` holds fewer addresses", rule.from_at_least),
            "lower it, or count per a shorter prefix",
        );
    }
    let Count::Distinct { fields, weights } = &rule.count else { return };
    let most = most(*fields, weights, rule, addresses.max(1));
    if u128::from(rule.threshold) > most {
        report.error(
            places.threshold,
            &format!("the threshold {} is never reached: the most is {most}", rule.threshold),
            "lower it, count more fields, or match more packets",
        );
    } else if rule.threshold > LARGEST_DISTINCT {
        report.error(
            places.threshold,
            &format!("the threshold {} would take too much memory for each source", rule.threshold),
            &format!("{LARGEST_DISTINCT} is the most; `count: packets` takes any number"),
        );
    }
}

/// Fragments that were captured before they were put together are of one class, and no other packets are.
fn check_fragments(filter: &Filter, place: Place, report: &mut Report<'_>) {
    let among = filter.verdict.contains(&Verdict::Fragment);
    let only = filter.verdict.iter().all(|verdict| *verdict == Verdict::Fragment);
    let of_class = !filter.fault.is_empty()
        || !filter.class.is_empty() && filter.class.iter().all(|class| *class == Class::Fragment);
    if of_class && !among {
        report.error(
            place,
            "this never matches: faulty fragments have the verdict `fragment`",
            "add `verdict: fragment`",
        );
    } else if only && !filter.class.is_empty() && !filter.class.contains(&Class::Fragment) {
        report.error(
            place,
            "this never matches: packets with the verdict `fragment` are of the class `fragment`",
            "write `class: fragment`, or leave the verdict out",
        );
    }
}

/// Protocols, classes and addresses that no packet has together.
fn check_parts(filter: &Filter, place: Place, report: &mut Report<'_>) {
    let of = |nets: &[ipnet::IpNet], v4| nets.is_empty() || nets.iter().any(|net| net.addr().is_ipv4() == v4);
    if protocols(filter) == 0 {
        report.error(
            place,
            "this never matches: packets of that protocol are of another class",
            "leave one of the two out",
        );
    } else if ![true, false].into_iter().any(|v4| of(&filter.saddr, v4) && of(&filter.daddr, v4)) {
        report.error(
            place,
            "this never matches: `saddr` and `daddr` are of different families",
            "write two rules, or list addresses of both families",
        );
    }
}

/// `closed-at-least` is about accepted packets beside others among the counted values.
fn check_closed(rule: &Rule, place: Place, report: &mut Report<'_>) {
    if rule.closed_at_least == 0 {
        return;
    }
    let mut wrong = |message: &str, hint: &str| report.error(place, message, hint);
    if !rule.filter.verdict.contains(&Verdict::Accepted) {
        wrong(
            "`closed-at-least` is about accepted packets, and this rule matches none",
            "add `accepted` to `verdict`, or leave `closed-at-least` out",
        );
    } else if rule.filter.verdict.iter().all(|verdict| *verdict == Verdict::Accepted) {
        wrong(
            "`closed-at-least` is never reached: this rule matches accepted packets alone",
            "add `refused`, `invalid` and `undecided` to `verdict`",
        );
    } else if let Count::Distinct { weights, .. } = &rule.count {
        let least = weights.ports.iter().map(|of| of.weight).chain([weights.rest]).min().unwrap_or(1);
        if u64::from(rule.closed_at_least) * u64::from(least) >= rule.threshold {
            wrong(
                "with so many closed ones the threshold is reached, and accepted packets never count",
                "lower it, or leave `accepted` out of `verdict`",
            );
        }
    } else {
        wrong("`closed-at-least` is about distinct values", "write `count: {distinct: dport}`");
    }
}

/// How many addresses can be one source at most.
fn addresses(rule: &Rule) -> u128 {
    let of_family = |v4: bool| {
        rule.filter.saddr.is_empty() || rule.filter.saddr.iter().any(|net| net.addr().is_ipv4() == v4)
    };
    let hosts = |bits: u32, length: Option<u8>| {
        length
            .filter(|_| of_family(bits == 32))
            .map_or(0, |length| 1u128.checked_shl(bits - u32::from(length).min(bits)).unwrap_or(u128::MAX))
    };
    match rule.per {
        // An IPv6 source is a /64.
        Key::Source | Key::Pair => hosts(32, Some(32)).max(hosts(128, Some(64))),
        Key::Prefix { ipv4, ipv6 } => hosts(32, ipv4).max(hosts(128, ipv6)),
    }
}

/// The greatest sum of weights that the distinct values of matching packets can have; an upper bound. Where it is
/// enough for the threshold, no less than that is returned.
fn most(fields: Fields, weights: &Weights, rule: &Rule, addresses: u128) -> u128 {
    let hosts = |networks: &[ipnet::IpNet]| {
        if networks.is_empty() {
            return u128::MAX;
        }
        networks.iter().fold(0, |sum: u128, network| {
            let bits = u32::from(network.max_prefix_len() - network.prefix_len());
            sum.saturating_add(1u128.checked_shl(bits).unwrap_or(u128::MAX))
        })
    };
    let filter = &rule.filter;
    let mut most = if fields.dport {
        ports(weights, filter, rule.threshold.into())
    } else if fields.protocol {
        u128::from(weights.rest).saturating_mul(protocols(filter))
    } else {
        u128::from(weights.rest)
    };
    if fields.daddr && rule.per != Key::Pair {
        most = most.saturating_mul(hosts(&filter.daddr));
    }
    if fields.saddr {
        most = most.saturating_mul(hosts(&filter.saddr).min(addresses));
    }
    most
}

/// How many protocols can match.
fn protocols(filter: &Filter) -> u128 {
    (0..=u8::MAX).filter(|number| allows(filter, *number)).count() as u128
}

/// The weights of all ports that can match, for each protocol that has ports; packets without ports are one value a
/// protocol.
fn ports(weights: &Weights, filter: &Filter, enough: u128) -> u128 {
    let with = protocol::PORTED.iter().filter(|number| allows(filter, **number)).count() as u128;
    // Which ports are traps is not known here: any may be one.
    let any = filter.dport.is_empty() || filter.dport_traps;
    let without = if filter.dport.is_empty() && !filter.dport_traps { protocols(filter) - with } else { 0 };
    let mut sum = without * u128::from(weights.rest);
    for port in 0..=u16::MAX {
        if sum >= enough {
            break;
        }
        if any || filter.dport.iter().any(|range| range.contains(&port)) {
            sum += with * u128::from(weight(weights, port));
        }
    }
    sum
}

/// The most that a port can weigh: which ports are traps is not known here.
fn weight(weights: &Weights, port: u16) -> u8 {
    let listed = weights.ports.iter().find(|of| of.ports.iter().any(|range| range.contains(&port)));
    let plain = listed.map_or(weights.rest, |of| of.weight);
    weights.ports.iter().filter(|of| of.traps).map(|of| of.weight).fold(plain, u8::max)
}

/// Whether a packet of a protocol can match, as far as the protocol and the classes say.
fn allows(filter: &Filter, number: u8) -> bool {
    (filter.protocol.is_empty() || filter.protocol.contains(&number))
        && (filter.class.is_empty() || filter.class.iter().any(|class| class.may_be(number)))
}
