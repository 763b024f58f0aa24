//! What is legal and probably not meant: warnings, each of which somebody who knows nfban would give.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::problem::{Problem, Severity};
use super::read::Report;
use super::rules::Rules;
use super::yaml::{Node, Value};
use super::{Capture, Config, LogText, Mode, Place, Service, network, service};
use crate::decide::Response;
use crate::detect::rule::Rule;
use crate::filter::{self, Class, Filter};
use crate::packet::{Verdict, protocol};

/// An entry of `allow`.
pub(super) fn allowed(node: &Node, report: &mut Report<'_>) -> Option<IpNet> {
    let allowed = network(node, report)?;
    if allowed.prefix_len() == 0 {
        report.warn(
            node.place,
            &format!("{allowed} is everybody: nobody of that family will ever be banned"),
            "to decide everything and change nothing, say `mode: watch`",
        );
    } else if is_wide(allowed) {
        report.warn(
            node.place,
            &format!("nobody of {allowed}, a large part of the internet, will ever be banned"),
            "allow the networks of people you know",
        );
    }
    Some(allowed)
}

/// An entry of `home`.
pub(super) fn home(node: &Node, report: &mut Report<'_>) -> Option<IpNet> {
    let home = network(node, report)?;
    if home.prefix_len() == 0 {
        report.warn(
            node.place,
            &format!(
                "{home} is everybody: every source of that family is taken for ours, and none is ever banned"
            ),
            "list the prefixes behind this host; its own addresses are known",
        );
    } else if is_wide(home) {
        report.warn(
            node.place,
            &format!("all of {home} is taken for ours, and none of it is ever banned"),
            "list the prefixes behind this host; its own addresses are known",
        );
    }
    Some(home)
}

/// Whether a prefix holds more of the internet than one owner has. The private prefixes have a length of 7 (RFC 4193) and
/// 8 (RFC 1918) and are ordinary.
fn is_wide(net: IpNet) -> bool {
    match net {
        IpNet::V4(net) => net.prefix_len() < 8,
        IpNet::V6(net) => {
            let global = Ipv6Net::new_assert(std::net::Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
            net.prefix_len() < 16 && (global.contains(&net) || net.contains(&global))
        }
    }
}

/// An entry of `services`.
pub(super) fn published(node: &Node, report: &mut Report<'_>) -> Option<Service> {
    let published = service(node, report)?;
    let ports = usize::from(*published.ports.end()) + 1 - usize::from(*published.ports.start());
    if ports > usize::from(u16::MAX) / 2 {
        report.warn(
            node.place,
            &format!(
                "{published} publishes {ports} ports: probes of them are no evidence, and nobody loses them"
            ),
            "list the ports where something is offered to everybody",
        );
    }
    Some(published)
}

/// An entry of `ignore`.
pub(super) fn ignored(node: &Node, report: &mut Report<'_>) -> Option<Filter> {
    let filter = filter::read(node, "a filter", report)?;
    let all = |ipv6| takes_all(&filter, ipv6);
    let what = match (all(false), all(true)) {
        (true, true) => "every SYN",
        (true, false) => "every SYN over IPv4",
        (false, true) => "every SYN over IPv6",
        (false, false) => return Some(filter),
    };
    report.warn(
        node.place,
        &format!("this ignores {what}: no scan in it will ever be found"),
        "name what is to be ignored more closely, for instance with `saddr` or `dport`",
    );
    Some(filter)
}

/// Whether a filter matches every SYN of a family, whatever else.
fn takes_all(filter: &Filter, ipv6: bool) -> bool {
    let family = if ipv6 { IpNet::V6(Ipv6Net::default()) } else { IpNet::V4(Ipv4Net::default()) };
    let addresses = |nets: &Vec<IpNet>| nets.is_empty() || IpNet::aggregate(nets).contains(&family);
    let ports = |ranges: &Vec<std::ops::RangeInclusive<u16>>| {
        ranges.is_empty() || (1..=u16::MAX).all(|port| ranges.iter().any(|range| range.contains(&port)))
    };
    let rest = Filter {
        class: Vec::new(),
        protocol: Vec::new(),
        saddr: Vec::new(),
        daddr: Vec::new(),
        sport: Vec::new(),
        dport: Vec::new(),
        verdict: Vec::new(),
        ..filter.clone()
    };
    !filter.is_empty()
        && rest.is_empty()
        && (filter.class.is_empty() || filter.class.contains(&Class::Syn))
        && (filter.protocol.is_empty() || filter.protocol.contains(&protocol::TCP))
        && (filter.verdict.is_empty() || filter.verdict.contains(&Verdict::Refused))
        && addresses(&filter.saddr)
        && addresses(&filter.daddr)
        && ports(&filter.sport)
        && ports(&filter.dport)
}

/// What is odd about several keys together.
pub(super) fn together(config: &Config, node: &Node, report: &mut Report<'_>) {
    let Value::Map(entries) = &node.value else { return };
    // What could not be read is not what is meant.
    if report.any_error() {
        return;
    }
    let place = |key: &str| entries.iter().find(|entry| entry.key == key).map(|entry| entry.place);
    if let Some(place) = place("respond") {
        responses(config, place, report);
    }
    if let Some(place) = place("capture") {
        twice(config, place, report);
    }
    let of_tcp = config.traps.iter().any(|trap| trap.protocol == protocol::TCP);
    if let Some(place) = place("trap").filter(|_| !of_tcp) {
        report.warn(
            place,
            "there are no traps of tcp: nothing is led to this listener",
            "list the ports in `traps`, or leave `trap` out",
        );
    }
}

fn responses(config: &Config, place: Place, report: &mut Report<'_>) {
    use Response::{Ban, Log, Restrict};
    let respond = config.respond;
    match (respond.spoofable, respond.validated) {
        (Log, Log) if config.mode == Mode::Enforce => report.warn(
            place,
            "`mode: enforce` enforces nothing: what is found is only logged, and people alone ban",
            "say `mode: watch`, or answer with `restrict` and `ban`",
        ),
        (Ban | Restrict, Log) => report.warn(
            place,
            "evidence that anybody can forge is answered harder than what is proven",
            "write `respond: {spoofable: restrict, validated: ban}`",
        ),
        _ => {}
    }
}

/// Packets that come in by two captures.
fn twice(config: &Config, place: Place, report: &mut Report<'_>) {
    let any = |is: fn(&Capture) -> bool| config.capture.iter().any(is);
    let queued = any(|capture| matches!(capture, Capture::Nfqueue { .. }));
    let refused =
        any(|capture| matches!(capture, Capture::Nflog(nflog) if nflog.verdict == Verdict::Refused));
    let journal = any(|capture| matches!(capture, Capture::Log(LogText::Journal)));
    let file = any(|capture| matches!(capture, Capture::Log(LogText::File(_))));
    if queued && refused {
        report.warn(
            place,
            "a packet that waits in a queue and is logged as refused afterwards counts twice",
            "log nothing that was queued, and capture here what was not: `verdict: invalid`, `accepted`, …",
        );
    }
    if journal && file {
        report.warn(
            place,
            "what the kernel logs counts twice where syslog writes it to the file as well",
            "keep `log: journal`, or the file",
        );
    }
}

/// What is odd about the administrator's rules beside a configuration: rules that no packet can reach.
#[must_use]
pub fn of_rules(config: &Config, rules: &Rules) -> Vec<Problem> {
    let odd = |rule: &Rule| {
        let origin = rules.origins.get(&rule.id).filter(|_| rule.enabled)?;
        let (message, hint) = unreachable(config, rule)?;
        Some(Problem { severity: Severity::Warning, message, hint: Some(hint), ..origin.clone() })
    };
    rules.packets.iter().filter_map(odd).collect()
}

/// Why a rule that could fire does not with this configuration, and the remedy.
fn unreachable(config: &Config, rule: &Rule) -> Option<(String, String)> {
    let filter = &rule.filter;
    if filter.dport_traps && filter.dport.is_empty() && config.traps.is_empty() {
        return Some((
            "this rule never fires: there are no `traps`".into(),
            "list them in nfban.yaml".into(),
        ));
    }
    let spared =
        |verdict: &Verdict| !matches!(verdict, Verdict::Accepted | Verdict::Outbound | Verdict::Fragment);
    let is_published = |port: u16| {
        let of = |number: &u8| config.services.iter().any(|service| service.contains(*number, port));
        let numbers: Vec<u8> = protocol::PORTED
            .into_iter()
            .filter(|number| filter.protocol.is_empty() || filter.protocol.contains(number))
            .filter(|number| {
                filter.class.is_empty() || filter.class.iter().any(|class| class.may_be(*number))
            })
            .collect();
        !numbers.is_empty() && numbers.iter().all(of)
    };
    let spares_services = filter.verdict.iter().all(spared);
    let ports = || filter.dport.iter().cloned().flatten();
    if spares_services && !filter.dport_traps && !filter.dport.is_empty() && ports().all(is_published) {
        let message =
            "this rule never fires: its ports are `services`, and refused packets to those are no evidence";
        return Some((message.into(), "take them out of `services`, or match `verdict: accepted`".into()));
    }
    captured(config, filter)
}

/// Whether any capture gives packets of a verdict that a filter asks for.
fn captured(config: &Config, filter: &Filter) -> Option<(String, String)> {
    let gives = |capture: &Capture, wanted: Verdict| match capture {
        Capture::Nflog(nflog) => nflog.verdict == wanted,
        Capture::Nfqueue { .. } => wanted == Verdict::Undecided,
        // Prefixes of LOG rules say what they mean.
        Capture::Log(_) => true,
        Capture::AccessLog(_) => false,
    };
    let one = filter.verdict.iter().find(|_| {
        !filter.verdict.iter().any(|wanted| config.capture.iter().any(|capture| gives(capture, *wanted)))
    })?;
    let word = one.as_str();
    Some((
        format!(
            "this rule fires only on packets with the log prefix `nfban:{word}`: no capture is of that verdict"
        ),
        format!("capture a group with `verdict: {word}`"),
    ))
}
