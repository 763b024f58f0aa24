//! Filters as configuration and rules write them.

use std::ops::RangeInclusive;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{Class, Filter};
use crate::config::names::{self, ICMP_TYPES, ICMPV6_TYPES};
use crate::config::read::{Keys, Report};
use crate::config::values::{self, Wrong};
use crate::config::yaml::{Entry, Node, Value};
use crate::packet::{Fault, Pkttype, Verdict, protocol};

/// Reads a filter; `what` names it in messages. A filter that matches everything, or nothing, is an error.
pub fn read(node: &Node, what: &'static str, report: &mut Report<'_>) -> Option<Filter> {
    with_exceptions(node, what, Traps::Refused, report)
}

/// Reads the filter of a rule, whose `dport` may list `traps`.
pub fn read_match(node: &Node, report: &mut Report<'_>) -> Option<Filter> {
    with_exceptions(node, "`match`", Traps::Known, report)
}

/// Whether the compiler of rules will put the configured traps in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Traps {
    Known,
    Refused,
}

fn with_exceptions(node: &Node, what: &'static str, traps: Traps, report: &mut Report<'_>) -> Option<Filter> {
    filter(node, what, traps, report, |keys, filter, report| {
        if let Some(node) = keys.take("not") {
            // `not` does not stand within `not`: negated parts say the same, and can be read.
            let nots = report
                .list(node, |node, report| self::filter(node, "`not`", Traps::Refused, report, |_, _, _| ()));
            filter.not.extend(nots);
        }
    })
}

fn filter(
    node: &Node,
    what: &'static str,
    traps: Traps,
    report: &mut Report<'_>,
    rest: impl FnOnce(&mut Keys<'_>, &mut Filter, &mut Report<'_>),
) -> Option<Filter> {
    report.keys(node, what)?;
    let (node, negated) = apart(node);
    let mut keys = report.keys(&node, what)?;
    let empty = keys.is_empty() && negated.is_empty();
    let mut filter = plain(&mut keys, traps, report);
    for node in &negated {
        if let Some(mut keys) = report.keys(node, what) {
            let not = plain(&mut keys, Traps::Refused, report);
            keys.finish(report);
            filter.exclude(not);
        }
    }
    rest(&mut keys, &mut filter, report);
    keys.finish(report);
    refuse_empty(empty, &node, what, report);
    Some(filter)
}

/// The filter without its negated parts (`dport: {not: 22}`), and for each of them the filter that it negates. That
/// one keeps the protocol, which tells what the name of an ICMP type means.
fn apart(node: &Node) -> (Node, Vec<Node>) {
    let Value::Map(entries) = &node.value else { return (node.clone(), Vec::new()) };
    let of = |entries| Node { value: Value::Map(entries), ..node.clone() };
    let (mut plain, mut negated) = (Vec::new(), Vec::new());
    for entry in entries {
        match negation(entry) {
            Some(part) => negated.push(part),
            None => plain.push(entry.clone()),
        }
    }
    let protocol = plain.iter().find(|entry| entry.key == "protocol");
    let negated = negated.into_iter().map(|part| match protocol {
        Some(protocol) if part.key == "icmp-type" => of(vec![protocol.clone(), part]),
        _ => of(vec![part]),
    });
    let negated = negated.collect();
    (of(plain), negated)
}

/// `KEY: {not: VALUE}` as `KEY: VALUE`.
fn negation(entry: &Entry) -> Option<Entry> {
    let Value::Map(inner) = &entry.node.value else { return None };
    match inner.as_slice() {
        [not] if not.key == "not" && entry.key != "not" => {
            Some(Entry { node: not.node.clone(), ..entry.clone() })
        }
        _ => None,
    }
}

impl Filter {
    /// Takes away what `not` matches. As in nft, where `tcp dport != 22` asks for a TCP packet and `ip saddr != …` for
    /// IPv4, what is left has what was asked for.
    fn exclude(&mut self, not: Self) {
        let ports = |negated: &[RangeInclusive<u16>], here: &mut Vec<RangeInclusive<u16>>| {
            if !negated.is_empty() && here.is_empty() {
                here.push(0..=u16::MAX);
            }
        };
        ports(&not.sport, &mut self.sport);
        ports(&not.dport, &mut self.dport);
        families(&not.saddr, &mut self.saddr);
        families(&not.daddr, &mut self.daddr);
        if !not.icmp_type.is_empty() && self.icmp_type.is_empty() {
            self.icmp_type.push(0..=u8::MAX);
        }
        if !(not.tcp_flags.is_empty() && not.tcp_sequence.is_empty()) && self.tcp_flags.is_empty() {
            self.tcp_flags.push((0, 0));
        }
        if !not.fault.is_empty() && self.fault.is_empty() {
            self.fault.extend(Fault::ALL);
        }
        self.not.push(not);
    }
}

/// All addresses of the families that are named.
fn families(negated: &[IpNet], here: &mut Vec<IpNet>) {
    let all = [IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())];
    for family in all {
        if negated.iter().any(|network| family.contains(network)) && !here.contains(&family) {
            here.push(family);
        }
    }
}

/// Every part that is not negated.
fn plain(keys: &mut Keys<'_>, traps: Traps, report: &mut Report<'_>) -> Filter {
    let classes = Class::ALL.map(|class| (class.as_str(), class));
    let verdicts = Verdict::ALL.map(|verdict| (verdict.as_str(), verdict));
    let pkttypes =
        [("unicast", Pkttype::Unicast), ("multicast", Pkttype::Multicast), ("broadcast", Pkttype::Broadcast)];
    let (dport, dport_traps) = dports(keys, traps, report);
    let faults = Fault::ALL.map(|fault| (fault.as_str(), fault));
    let mut filter = Filter {
        class: list(keys, "class", report, |node, report| report.word(node, &classes)),
        verdict: list(keys, "verdict", report, |node, report| report.word(node, &verdicts)),
        protocol: parsed(keys, "protocol", "a protocol", report, values::protocol),
        saddr: parsed(keys, "saddr", "an address or a prefix", report, values::network),
        daddr: parsed(keys, "daddr", "an address or a prefix", report, values::network),
        sport: parsed(keys, "sport", "a port or a range", report, values::ports),
        dport,
        dport_traps,
        tcp_flags: parsed(keys, "tcp-flags", "control bits such as syn", report, values::tcp_flags),
        tcp_sequence: parsed(keys, "tcp-sequence", "a sequence number", report, sequence),
        ttl: ttl(keys, report),
        length: parsed(keys, "length", "a length or a range", report, |text| values::range(text, "length")),
        dont_fragment: boolean(keys, "dont-fragment", report),
        icmp_type: Vec::new(),
        fragment: boolean(keys, "fragment", report),
        fault: list(keys, "fault", report, |node, report| report.word(node, &faults)),
        raw: boolean(keys, "raw", report),
        pkttype: list(keys, "pkttype", report, |node, report| report.word(node, &pkttypes)),
        log_prefix: parsed(keys, "log-prefix", "the beginning of a log prefix", report, nonempty),
        iif: parsed(keys, "iif", "the name of an interface", report, interface),
        oif: parsed(keys, "oif", "the name of an interface", report, interface),
        not: Vec::new(),
    };
    let icmp_type = icmp_type(&filter.protocol);
    filter.icmp_type = parsed(keys, "icmp-type", "an ICMP type", report, icmp_type);
    refuse_contradictions(&filter, keys, report);
    filter
}

/// Destination ports, and whether the configured traps are among them.
fn dports(keys: &mut Keys<'_>, traps: Traps, report: &mut Report<'_>) -> (Vec<RangeInclusive<u16>>, bool) {
    let mut listed = false;
    let ports = list(keys, "dport", report, |node, report| {
        if !matches!(&node.value, Value::Scalar { text, .. } if text == "traps") {
            return report.parse(node, "a port or a range", values::ports);
        }
        listed = true;
        if traps == Traps::Refused {
            report.error(
                node.place,
                "`traps` stands for the configured traps only in the `dport` of a rule's `match`",
                "list the ports themselves",
            );
        }
        None
    });
    (ports, listed)
}

fn list<T>(
    keys: &mut Keys<'_>,
    key: &'static str,
    report: &mut Report<'_>,
    item: impl FnMut(&Node, &mut Report<'_>) -> Option<T>,
) -> Vec<T> {
    // A part with nothing behind it would match everything, which is not what stands there.
    let Some(Entry { place, node, .. }) = keys.present(key) else { return Vec::new() };
    if report.items(node).is_empty() {
        report.error(*place, &format!("`{key}` lists nothing"), "list a value, or leave the key out");
    }
    report.list(node, item)
}

fn parsed<T>(
    keys: &mut Keys<'_>,
    key: &'static str,
    expected: &str,
    report: &mut Report<'_>,
    grammar: impl Fn(&str) -> Result<T, Wrong>,
) -> Vec<T> {
    list(keys, key, report, |node, report| report.parse(node, expected, &grammar))
}

fn boolean(keys: &mut Keys<'_>, key: &'static str, report: &mut Report<'_>) -> Option<bool> {
    keys.present(key).and_then(|entry| report.boolean(&entry.node))
}

/// IPv4 calls it TTL, IPv6 hop limit; nft has both words, we one field.
fn ttl(keys: &mut Keys<'_>, report: &mut Report<'_>) -> Vec<RangeInclusive<u8>> {
    let mut of = |key| parsed(keys, key, "a number or a range", report, |text| values::range(text, "ttl"));
    let mut ttl = of("ttl");
    ttl.extend(of("hoplimit"));
    ttl
}

fn sequence(text: &str) -> Result<u32, Wrong> {
    text.parse()
        .map_err(|_| Wrong::new(format!("`{text}` is no sequence number"), "write a number of 32 bits"))
}

fn nonempty(text: &str) -> Result<String, Wrong> {
    match text {
        "" => Err(Wrong::new("the text is empty", "write what the log prefix begins with")),
        text => Ok(text.to_owned()),
    }
}

/// IFNAMSIZ of linux/if.h is 16 with the final zero.
fn interface(text: &str) -> Result<String, Wrong> {
    let bad = text.is_empty() || text.len() > 15 || text.contains(['/', ' ', '\0']);
    let star = text.find('*').is_some_and(|index| index + 1 != text.len());
    if bad || star {
        return Err(Wrong::new(
            format!("`{text}` is no name of an interface"),
            "write up to 15 letters; a `*` at the end stands for any ending",
        ));
    }
    Ok(text.to_owned())
}

/// Names mean different numbers in ICMP and ICMPv6: `protocol` says which is meant.
fn icmp_type(protocols: &[u8]) -> impl Fn(&str) -> Result<RangeInclusive<u8>, Wrong> + use<> {
    let table = match protocols {
        [protocol::ICMP] => Some(ICMP_TYPES),
        [protocol::ICMPV6] => Some(ICMPV6_TYPES),
        _ => None,
    };
    move |text| {
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            return values::range(text, "ICMP type");
        }
        let table = table.ok_or_else(|| {
            Wrong::new(
                format!("`{text}` is one number in ICMP and another in ICMPv6"),
                "add `protocol: icmp` or `protocol: icmpv6`, or write the number",
            )
        })?;
        let number = names::number(table, text)
            .ok_or_else(|| Wrong::unknown("ICMP type", text, &names::names(table)))?;
        Ok(number..=number)
    }
}

/// A filter that asks one protocol for what only another has never matches; whoever wrote it meant something else.
fn refuse_contradictions(filter: &Filter, keys: &Keys<'_>, report: &mut Report<'_>) {
    let mut ask = |present: bool, what: &str, having: &[u8]| {
        if present && !filter.protocol.is_empty() && !filter.protocol.iter().any(|of| having.contains(of)) {
            let owners: Vec<String> = having.iter().map(|of| names::protocol_name(*of)).collect();
            report.error(
                keys.place(),
                &format!("this never matches: a packet of that protocol has no {what}"),
                &format!("say `protocol: {}`, or leave it out", owners.join("` or `protocol: ")),
            );
        }
    };
    let asks_ports = !filter.sport.is_empty() || !filter.dport.is_empty() || filter.dport_traps;
    ask(asks_ports, "ports", &protocol::PORTED);
    ask(!filter.tcp_flags.is_empty() || !filter.tcp_sequence.is_empty(), "TCP header", &[protocol::TCP]);
    ask(!filter.icmp_type.is_empty(), "ICMP type", &[protocol::ICMP, protocol::ICMPV6]);
}

/// `{}` would match every packet; that is more often a slip than a wish.
fn refuse_empty(empty: bool, node: &Node, what: &str, report: &mut Report<'_>) {
    if empty {
        report.error(
            node.place,
            &format!("{what} says nothing, so it matches every packet"),
            "name a part, for instance `protocol: tcp`",
        );
    }
}
