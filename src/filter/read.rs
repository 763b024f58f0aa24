//! Filters as configuration and rules write them.

use std::ops::RangeInclusive;

use super::{Class, Filter};
use crate::config::names::{self, ICMP_TYPES, ICMPV6_TYPES};
use crate::config::read::{Keys, Report};
use crate::config::values::{self, Wrong};
use crate::config::yaml::{Entry, Node, Value};
use crate::packet::{Fault, Pkttype, Verdict, protocol};

/// Reads a filter; `what` names it in messages. A filter that matches everything, or nothing, is an error.
pub fn read(node: &Node, what: &'static str, report: &mut Report<'_>) -> Option<Filter> {
    filter(node, what, Traps::Refused, report)
}

/// Reads the filter of a rule, whose `dport` may list `traps`.
pub fn read_match(node: &Node, report: &mut Report<'_>) -> Option<Filter> {
    filter(node, "`match`", Traps::Known, report)
}

/// Whether the compiler of rules will put the configured traps in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Traps {
    Known,
    Refused,
}

fn filter(node: &Node, what: &'static str, traps: Traps, report: &mut Report<'_>) -> Option<Filter> {
    let mut keys = report.keys(node, what)?;
    let before = keys.is_empty();
    let mut filter = parts(&mut keys, traps, report);
    if let Some(node) = keys.take("not") {
        filter.not = report.list(node, |node, report| {
            let mut keys = report.keys(node, "`not`")?;
            let empty = keys.is_empty();
            let filter = parts(&mut keys, Traps::Refused, report);
            keys.finish(report);
            refuse_empty(empty, node, "`not`", report);
            Some(filter)
        });
    }
    keys.finish(report);
    refuse_empty(before, node, what, report);
    Some(filter)
}

/// Everything but `not`, which does not nest.
fn parts(keys: &mut Keys<'_>, traps: Traps, report: &mut Report<'_>) -> Filter {
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
fn icmp_type(protocols: &[u8]) -> impl Fn(&str) -> Result<u8, Wrong> + use<> {
    let table = match protocols {
        [protocol::ICMP] => Some(ICMP_TYPES),
        [protocol::ICMPV6] => Some(ICMPV6_TYPES),
        _ => None,
    };
    move |text| {
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            let wrong = || Wrong::new(format!("`{text}` is no ICMP type"), "the numbers are 0 to 255");
            return text.parse().map_err(|_| wrong());
        }
        let table = table.ok_or_else(|| {
            Wrong::new(
                format!("`{text}` is one number in ICMP and another in ICMPv6"),
                "add `protocol: icmp` or `protocol: icmpv6`, or write the number",
            )
        })?;
        names::number(table, text).ok_or_else(|| Wrong::unknown("ICMP type", text, &names::names(table)))
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
    let ported = [protocol::TCP, protocol::UDP, protocol::UDPLITE];
    let asks_ports = !filter.sport.is_empty() || !filter.dport.is_empty() || filter.dport_traps;
    ask(asks_ports, "ports", &ported);
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
