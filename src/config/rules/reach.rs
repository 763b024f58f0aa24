//! Whether a rule's threshold can be reached at all: one that cannot is a rule that silently never fires.

use super::LARGEST_DISTINCT;
use crate::config::problem::Place;
use crate::config::read::Report;
use crate::detect::rule::{Count, Fields, Key, Rule, Weights};
use crate::filter::{Class, Filter};
use crate::packet::protocol;

/// Reports a threshold or a number of addresses that no traffic reaches, and one that would take too much memory.
pub(super) fn check(rule: &Rule, threshold: Place, report: &mut Report<'_>) {
    if let Count::Distinct { fields, weights } = &rule.count {
        let most = most(*fields, weights, &rule.filter, rule.threshold.into());
        if u128::from(rule.threshold) > most {
            report.error(
                threshold,
                &format!("the threshold {} is never reached: the most is {most}", rule.threshold),
                "lower it, count more fields, or match more packets",
            );
        } else if rule.threshold > LARGEST_DISTINCT {
            report.error(
                threshold,
                &format!("the threshold {} would take too much memory for each source", rule.threshold),
                &format!("{LARGEST_DISTINCT} is the most; `count: packets` takes any number"),
            );
        }
    }
    if u128::from(rule.from_at_least) > addresses(rule.per) {
        report.error(
            threshold,
            &format!("`from-at-least` {} is never reached: `per` holds fewer addresses", rule.from_at_least),
            "lower it, or count per a shorter prefix",
        );
    }
}

/// How many addresses are one source at most.
fn addresses(per: Key) -> u128 {
    match per {
        // An IPv6 source is a /64.
        Key::Source | Key::Pair => 1 << 64,
        Key::Prefix { ipv4, ipv6 } => {
            let hosts = |bits: u32, length: Option<u8>| {
                length.map_or(0, |length| {
                    1u128.checked_shl(bits - u32::from(length).min(bits)).unwrap_or(u128::MAX)
                })
            };
            hosts(32, ipv4).max(hosts(128, ipv6))
        }
    }
}

/// The greatest sum of weights that the distinct values of matching packets can have; an upper bound. Where it is
/// `enough`, no less than that is returned.
fn most(fields: Fields, weights: &Weights, filter: &Filter, enough: u128) -> u128 {
    let hosts = |networks: &[ipnet::IpNet]| {
        if networks.is_empty() {
            return u128::MAX;
        }
        networks.iter().fold(0, |sum: u128, network| {
            let bits = u32::from(network.max_prefix_len() - network.prefix_len());
            sum.saturating_add(1u128.checked_shl(bits).unwrap_or(u128::MAX))
        })
    };
    let mut most = if fields.dport {
        ports(weights, filter, enough)
    } else if fields.protocol {
        u128::from(weights.rest).saturating_mul(protocols(filter))
    } else {
        u128::from(weights.rest)
    };
    if fields.daddr {
        most = most.saturating_mul(hosts(&filter.daddr));
    }
    if fields.saddr {
        most = most.saturating_mul(hosts(&filter.saddr));
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
    let ported = [protocol::TCP, protocol::UDP, protocol::UDPLITE];
    let with = ported.iter().filter(|number| allows(filter, **number)).count() as u128;
    let without = if filter.dport.is_empty() { protocols(filter) - with } else { 0 };
    let mut sum = without * u128::from(weights.rest);
    for port in 0..=u16::MAX {
        if sum >= enough {
            break;
        }
        if filter.dport.is_empty() || filter.dport.iter().any(|range| range.contains(&port)) {
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
    let of_class = |class: &Class| match class {
        Class::Bogus | Class::Null | Class::Fin | Class::Xmas | Class::Finack | Class::Ack | Class::Syn => {
            number == protocol::TCP
        }
        Class::Udp | Class::Trace => matches!(number, protocol::UDP | protocol::UDPLITE),
        Class::Echo | Class::Probe | Class::Smurf => matches!(number, protocol::ICMP | protocol::ICMPV6),
        Class::Proto | Class::Fragment => true,
    };
    (filter.protocol.is_empty() || filter.protocol.contains(&number))
        && (filter.class.is_empty() || filter.class.iter().any(of_class))
}
