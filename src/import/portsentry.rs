//! PortSentry's configuration (`KEY="VALUE"`) and its ignore file (an address or a network a line).

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::draft::{Draft, Ignored, Part, Parts, origin};
use super::network::network;
use super::{Input, Place, lines};
use crate::address::never_a_host;
use crate::config::names::protocol_name;
use crate::config::{LONGEST_BANNER, Service, values};
use crate::decide::Mode;
use crate::packet::protocol;

/// A key with its last value.
#[derive(Debug)]
struct Setting<'a> {
    place: Place<'a>,
    text: &'a str,
    value: String,
}

pub(super) fn convert(inputs: &[Input], draft: &mut Draft) {
    let mut settings: BTreeMap<&str, Setting<'_>> = BTreeMap::new();
    let mut addresses = 0_usize;
    for (place, text) in lines(inputs) {
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        if let Some(blocked) = blocked(text) {
            match network(blocked) {
                Ok(network) => {
                    draft.carry();
                    draft.bans.insert(network, (Some(WEEK), "PortSentry had blocked it".to_owned()));
                }
                Err(why) => draft.leave(place, text, &why),
            }
            continue;
        }
        let Some((key, value)) = text.split_once('=') else {
            addresses += 1;
            ignored_host(place, text, draft);
            continue;
        };
        let Some(value) = within_quotes(value) else {
            draft.leave(place, text, "PortSentry reads no value without quotes");
            continue;
        };
        let earlier = settings.insert(key.trim_end(), Setting { place, text, value: value.to_owned() });
        if let Some(earlier) = earlier {
            draft.leave(earlier.place, earlier.text, "a later line says it anew");
        }
    }
    let excluded = exclude(&settings, draft);
    trap(&settings, &excluded, draft);
    banner(&settings, draft);
    block(&settings, draft);
    for (key, setting) in &settings {
        match rest(key, &setting.value, addresses > 0) {
            Rest::Done => (),
            Rest::Same => draft.carry(),
            Rest::Left(why) => draft.leave(setting.place, setting.text, why),
        }
    }
}

/// As long as nfban's longest ban: PortSentry knew no end, and blocked on one packet that anybody could have forged.
const WEEK: Duration = Duration::from_secs(7 * 86_400);

/// The address in a line of `portsentry.blocked.*` or `portsentry.history`:
/// `1118876543 - 06/15/2005 22:42:23 Host: NAME/ADDRESS Port: 111 TCP Blocked`.
fn blocked(text: &str) -> Option<&str> {
    let (_, host) = text.split_once(" Host: ")?;
    let (host, _) = host.split_once(" Port: ").filter(|_| text.ends_with(" Blocked"))?;
    host.rsplit('/').next()
}

fn within_quotes(value: &str) -> Option<&str> {
    Some(value.trim_start().strip_prefix('"')?.split_once('"')?.0)
}

/// A line of the ignore file.
fn ignored_host(place: Place<'_>, text: &str, draft: &mut Draft) {
    // What follows the address is no part of it to PortSentry either.
    match network(text.split_ascii_whitespace().next().unwrap_or_default()) {
        Ok(network) if never_a_host().iter().any(|never| never.contains(&network)) => draft.carry(),
        Ok(network) => {
            draft.allow.push(network);
            draft.carry();
        }
        Err(why) => draft.leave(place, text, &why),
    }
}

/// Ports of one protocol.
type Ports = (u8, Vec<RangeInclusive<u16>>);

const EXCLUDES: [(&str, u8); 2] =
    [("ADVANCED_EXCLUDE_TCP", protocol::TCP), ("ADVANCED_EXCLUDE_UDP", protocol::UDP)];

const TRAPS: [(&str, u8); 2] = [("TCP_PORTS", protocol::TCP), ("UDP_PORTS", protocol::UDP)];

/// The ports that the advanced mode passes over.
fn exclude(settings: &BTreeMap<&str, Setting<'_>>, draft: &mut Draft) -> Vec<Ports> {
    let mut excluded = Vec::new();
    for (key, protocol) in EXCLUDES {
        let Some(setting) = settings.get(key) else { continue };
        let ports = ports(setting, draft);
        if ports.is_empty() {
            continue;
        }
        draft.carry();
        let comment = origin(setting.place, setting.text);
        let dport = Some(Part { negated: false, values: ports.clone() });
        let parts = Parts { dport, ..Parts::default() };
        draft.ignore.push(Ignored { comment, protocol, parts, except: Vec::new() });
        excluded.push((protocol, ports));
    }
    excluded
}

/// The ports that a probe must not touch. An ignored one would be no trap.
fn trap(settings: &BTreeMap<&str, Setting<'_>>, excluded: &[Ports], draft: &mut Draft) {
    for (key, protocol) in TRAPS {
        let Some(setting) = settings.get(key) else { continue };
        let ports = ports(setting, draft);
        let excluded = excluded.iter().find(|(of, _)| *of == protocol).map_or(&[][..], |(_, ports)| ports);
        let live: Vec<_> = ports.iter().flat_map(|range| without(range, excluded)).collect();
        if live != ports {
            let name = protocol_name(protocol).to_uppercase();
            let why = format!("those that stand in ADVANCED_EXCLUDE_{name} too are ignored, and no traps");
            draft.leave(setting.place, setting.text, &why);
        } else if !live.is_empty() {
            draft.carry();
        }
        draft.traps.extend(live.into_iter().map(|ports| Service { protocol, ports }));
    }
}

/// What is left of a range; the excluded ones stand in their order.
fn without(range: &RangeInclusive<u16>, excluded: &[RangeInclusive<u16>]) -> Vec<RangeInclusive<u16>> {
    let (mut first, last) = (*range.start(), *range.end());
    let mut left = Vec::new();
    for cut in excluded.iter().filter(|cut| *cut.start() <= last) {
        if *cut.end() < first {
            continue;
        }
        if first < *cut.start() {
            left.push(first..=*cut.start() - 1);
        }
        match cut.end().checked_add(1) {
            Some(next) if next <= last => first = next,
            _ => return left,
        }
    }
    left.push(first..=last);
    left
}

/// The ports of a list, in their order, neighbours as one range; what is no port is left.
fn ports(setting: &Setting<'_>, draft: &mut Draft) -> Vec<RangeInclusive<u16>> {
    let mut ports = Vec::new();
    for item in setting.value.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        match values::range::<u16>(item, "port") {
            Ok(range) if *range.start() > 0 => ports.push(range),
            _ => draft.leave(setting.place, item, "this is no port"),
        }
    }
    merged(ports)
}

fn merged(mut ports: Vec<RangeInclusive<u16>>) -> Vec<RangeInclusive<u16>> {
    ports.sort_unstable_by_key(|range| (*range.start(), *range.end()));
    let mut merged: Vec<RangeInclusive<u16>> = Vec::new();
    for range in ports {
        match merged.last_mut() {
            Some(last) if *range.start() <= last.end().saturating_add(1) => {
                *last = *last.start()..=*last.end().max(range.end());
            }
            _ => merged.push(range),
        }
    }
    merged
}

/// `PORT_BANNER`: what whoever connects to a trap is told.
fn banner(settings: &BTreeMap<&str, Setting<'_>>, draft: &mut Draft) {
    let Some(setting) = settings.get("PORT_BANNER") else { return };
    if setting.value.len() > LONGEST_BANNER {
        return draft.leave(setting.place, setting.text, "the banner is too long for `trap: {banner: …}`");
    }
    draft.carry();
    draft.banner = Some(setting.value.clone()).filter(|banner| !banner.is_empty());
}

/// `BLOCK_TCP` and `BLOCK_UDP`: 0 tells, 1 blocks, 2 only runs a command.
fn block(settings: &BTreeMap<&str, Setting<'_>>, draft: &mut Draft) {
    if settings.is_empty() {
        return;
    }
    let both = ["BLOCK_TCP", "BLOCK_UDP"].map(|key| settings.get(key));
    let blocks = both.map(|setting| setting.is_some_and(|setting| setting.value == "1"));
    draft.mode = Some(match blocks {
        [false, false] => (Mode::Watch, "PortSentry blocked nobody. To act against scanners: enforce"),
        [true, true] => (Mode::Enforce, "PortSentry blocked for ever; nfban restricts or bans for a while"),
        _ => (Mode::Enforce, "PortSentry blocked for one protocol; nfban acts for all. To only tell: watch"),
    });
    for setting in both.into_iter().flatten() {
        match setting.value.as_str() {
            "1" => draft.carry(),
            "0" if blocks == [false, false] => draft.carry(),
            "0" => draft.leave(
                setting.place,
                setting.text,
                "nfban's mode is one for all protocols; `respond: log` in a rule of your own makes it only tell",
            ),
            "2" => draft.leave(setting.place, setting.text, "a command alone: `hooks` run programs on incidents (docs/configuration.md)"),
            _ => draft.leave(setting.place, setting.text, "PortSentry knows 0, 1 and 2"),
        }
    }
}

/// What becomes of a key.
enum Rest {
    /// It has been seen to.
    Done,
    /// nfban is like that.
    Same,
    /// Nothing stands for it, and why.
    Left(&'static str),
}

fn rest(key: &str, value: &str, with_addresses: bool) -> Rest {
    Rest::Left(match key {
        "TCP_PORTS"
        | "UDP_PORTS"
        | "ADVANCED_EXCLUDE_TCP"
        | "ADVANCED_EXCLUDE_UDP"
        | "BLOCK_TCP"
        | "BLOCK_UDP"
        | "PORT_BANNER" => return Rest::Done,
        "RESOLVE_HOST" if value != "1" => return Rest::Same,
        "IGNORE_FILE" if with_addresses => return Rest::Same,
        "RESOLVE_HOST" => "names of hosts are not looked up",
        "IGNORE_FILE" => "name that file behind this one, and its addresses become `allow`",
        "ADVANCED_PORTS_TCP" | "ADVANCED_PORTS_UDP" => {
            "nfban counts every refused port that is not in `services`"
        }
        "SCAN_TRIGGER" => {
            "every rule has a threshold of its own, and no single packet bans; see docs/rules.md"
        }
        "KILL_ROUTE" => "nfban drops packets itself, in sets of nftables, and lifts every ban in time",
        "KILL_HOSTS_DENY" => "nfban drops all packets of a banned source; no service needs to be told",
        "KILL_RUN_CMD" | "KILL_RUN_CMD_FIRST" => {
            "`hooks` run a program on a ban, with JSON on its standard input and no shell (docs/configuration.md)"
        }
        "HISTORY_FILE" => "the journal has every incident and ban: journalctl -u nfban",
        "BLOCKED_FILE" => {
            "name its files (portsentry.blocked.*) behind this one, and whom they have can be banned; nfban bans has its own"
        }
        _ => "PortSentry knows no such setting",
    })
}
