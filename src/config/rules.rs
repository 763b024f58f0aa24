//! Detection rules: those shipped with the program, then the administrator's, which replace them by `id`.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use self::reach::Places;
use super::directory;
use super::problem::{Place, Problem, Problems, Severity};
use super::read::{Keys, Report};
use super::settings::RESPONSES;
use super::trust::Trust;
use super::values::{self, Wrong};
use super::yaml::{self, Node, Source, Value};
use crate::detect::rule::{Count, Fields, Key, PortWeight, Rule, Weights};
use crate::filter::{self, Class, Filter};
use crate::packet::Verdict;

mod reach;
#[cfg(test)]
mod tests;
mod web;

/// The rules that come with the program: file name and text, in the order in which they are tried.
pub const SHIPPED: &[(&str, &str)] = &[
    ("rules/trap.yaml", include_str!("../../rules/trap.yaml")),
    ("rules/tcp.yaml", include_str!("../../rules/tcp.yaml")),
    ("rules/udp.yaml", include_str!("../../rules/udp.yaml")),
    ("rules/ip.yaml", include_str!("../../rules/ip.yaml")),
    ("rules/sweep.yaml", include_str!("../../rules/sweep.yaml")),
    ("rules/distributed.yaml", include_str!("../../rules/distributed.yaml")),
    ("rules/icmp.yaml", include_str!("../../rules/icmp.yaml")),
    ("rules/flood.yaml", include_str!("../../rules/flood.yaml")),
    ("rules/fragment.yaml", include_str!("../../rules/fragment.yaml")),
    ("rules/slow.yaml", include_str!("../../rules/slow.yaml")),
    ("rules/traceroute.yaml", include_str!("../../rules/traceroute.yaml")),
    ("rules/outbound.yaml", include_str!("../../rules/outbound.yaml")),
    ("rules/web-probe.yaml", include_str!("../../rules/web-probe.yaml")),
];

/// No window is longer: counts are kept for as long.
const LONGEST_WINDOW: Duration = Duration::from_secs(30 * 86400);
/// A distinct count remembers as many values for each source.
const LARGEST_DISTINCT: u64 = 65_536;

/// All rules.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rules {
    /// Those about packets.
    pub packets: Vec<Rule>,
    /// Those about web requests.
    pub web: crate::web::probe::Rules,
    /// Where those that are not shipped stand, by id, as problems that do not say yet what is wrong.
    pub(super) origins: HashMap<String, Problem>,
}

/// The rules about packets: as [`load_from`], whoever wrote them.
///
/// # Errors
/// Everything that is wrong with all of the files.
pub fn load(shipped: &[(&str, &str)], directory: &Path) -> Result<Vec<Rule>, Problems> {
    load_from(shipped, directory, Trust::Anybody).map(|rules| rules.packets)
}

/// The rules of `shipped`, then of the `*.yaml` in `directory` in the order of their names; there need be no such
/// directory. A rule takes the place of an earlier one with its `id`; one switched off stays in the list. With
/// [`Trust::OwnOrRoots`] the files must be root's or our own, and nobody else's to write.
///
/// # Errors
/// Everything that is wrong with all of the files, and files that are not to be trusted.
pub fn load_from(shipped: &[(&str, &str)], directory: &Path, trust: Trust) -> Result<Rules, Problems> {
    let mut problems = Problems::default();
    let mut rules = Rules::default();
    for (name, text) in shipped {
        problems.append(add(&Source::new(*name, *text), &mut rules));
    }
    rules.origins.clear();
    for path in directory::yaml_files(directory, trust).unwrap_or_else(|unreadable| {
        problems.append(unreadable);
        Vec::new()
    }) {
        problems.append(match Source::open(&path, trust) {
            Ok(source) => add(&source, &mut rules),
            Err(unreadable) => unreadable,
        });
    }
    if problems.any_error() { Err(problems) } else { Ok(rules) }
}

/// Adds the rules of one file.
fn add(source: &Source, rules: &mut Rules) -> Problems {
    let mut report = Report::new(source);
    if let Some(node) = yaml::parse(&mut report) {
        match &node.value {
            Value::List(_) | Value::Null => {
                let mut seen = HashMap::new();
                for node in report.items(&node) {
                    if has_key(node, "probe") {
                        web::probe(node, &mut rules.web, &mut seen, &mut report);
                    } else {
                        entry(node, rules, &mut seen, &mut report);
                    }
                }
            }
            Value::Scalar { .. } | Value::Map(_) => {
                report.error(node.place, "a rules file is a list", "begin each rule with `- id: NAME`");
            }
        }
    }
    report.finish()
}

fn has_key(node: &Node, key: &str) -> bool {
    matches!(&node.value, Value::Map(entries) if entries.iter().any(|entry| entry.key == key))
}

/// Reads one rule, or the switch of one, and puts it where it belongs.
fn entry(node: &Node, all: &mut Rules, seen: &mut HashMap<String, usize>, report: &mut Report<'_>) {
    let Rules { packets: rules, web, origins } = all;
    let Some(mut keys) = report.keys(node, "a rule") else { return };
    let id_node = keys.require("id", report);
    let id = id_node.and_then(|node| report.parse(node, "the id of a rule", id));
    if let (Some(id_node), Some(id)) = (id_node, &id) {
        refuse_twins(id, id_node.place, rules, seen, report);
    }
    let enabled = keys.take("enabled").map(|node| report.boolean(node).unwrap_or(true));
    let rule = match enabled {
        Some(enabled) if keys.is_empty() => {
            if let (Some(id_node), Some(id)) = (id_node, &id) {
                switch(id, enabled, id_node.place, rules, web, report);
            }
            return;
        }
        _ if id.as_deref().is_some_and(web::is_the_rule) => {
            return web::rule(keys, enabled.unwrap_or(true), web, report);
        }
        _ => rule(keys, enabled.unwrap_or(true), report),
    };
    if let (Some(rule), Some(id)) = (rule, id) {
        let title = if rule.title.is_empty() { id.clone() } else { rule.title };
        let place = id_node.map_or(node.place, |node| node.place);
        origins.insert(id.clone(), report.at(Severity::Warning, place));
        put(Rule { id, title, ..rule }, node.place, rules, report);
    }
}

/// Puts a rule behind the others, or in the place of the one with its id.
fn put(rule: Rule, place: Place, rules: &mut Vec<Rule>, report: &mut Report<'_>) {
    if rule.raw_id.as_deref().is_some_and(|raw_id| is_taken(raw_id, &rule, rules)) {
        report.error(place, "`raw-id` is the name of a rule already", "take another, or leave it out");
    }
    if rule.report_as.as_deref() == Some(&rule.id) {
        report.error(place, "`report-as` is the id of the rule itself", "leave it out");
    }
    match rules.iter_mut().find(|known| known.id == rule.id) {
        Some(known) => *known = rule,
        None => rules.push(rule),
    }
}

/// Whether the second name of a rule is its own first one, or a name of another rule. Rules that report as one may
/// share both.
fn is_taken(raw_id: &str, rule: &Rule, rules: &[Rule]) -> bool {
    let reported = |rule: &Rule| rule.report_as.clone().unwrap_or_else(|| rule.id.clone());
    let named = |other: &Rule| {
        other.id == raw_id || other.raw_id.as_deref() == Some(raw_id) && reported(other) != reported(rule)
    };
    reported(rule) == raw_id || rules.iter().any(|other| other.id != rule.id && named(other))
}

/// An id stands for one rule: within a file, and against the second names of other rules.
fn refuse_twins(
    id: &str,
    place: Place,
    rules: &[Rule],
    seen: &mut HashMap<String, usize>,
    report: &mut Report<'_>,
) {
    if let Some(line) = seen.get(id) {
        let hint = format!("the first is in line {line}: rename or remove one of them");
        report.error(place, &format!("two rules with the id `{id}`"), &hint);
    }
    seen.entry(id.to_owned()).or_insert(place.line);
    if let Some(rule) = rules.iter().find(|rule| rule.raw_id.as_deref() == Some(id)) {
        report.error(
            place,
            &format!("`{id}` is what `{}` calls its incidents of raw probes (`raw-id`)", rule.id),
            &format!("write `id: {}`, or take another name", rule.id),
        );
    }
}

/// `- {id: NAME, enabled: false}` leaves everything else of a rule as it is.
fn switch(
    id: &str,
    enabled: bool,
    place: Place,
    rules: &mut [Rule],
    web: &mut crate::web::probe::Rules,
    report: &mut Report<'_>,
) {
    if web::is_the_rule(id) && web::switch(enabled, web) {
        return;
    }
    if let Some(rule) = rules.iter_mut().find(|rule| rule.id == id) {
        rule.enabled = enabled;
        return;
    }
    let web_rule = web.rule.iter().map(|_| crate::engine::WEB_PROBE);
    let known: Vec<&str> = rules.iter().map(|rule| rule.id.as_str()).chain(web_rule).collect();
    report.wrong(place, Wrong::unknown("rule", id, &known));
}

/// A rule without its id. `None` if a part that it needs is missing or wrong.
fn rule(mut keys: Keys<'_>, enabled: bool, report: &mut Report<'_>) -> Option<Rule> {
    let mut text = |key, report: &mut Report<'_>| {
        keys.take(key).and_then(|node| report.text(node, "a text").map(str::to_owned))
    };
    let title = text("title", report).unwrap_or_default();
    // For the reader of the file: why this threshold and window, and where the names come from.
    let _ = (text("reason", report), text("reference", report));
    let raw_id = keys.take("raw-id").and_then(|node| report.parse(node, "the id of a rule", id));
    let match_node = keys.require("match", report);
    let filter = match_node.and_then(|node| filter::read_match(node, report));
    let count = keys.require("count", report).and_then(|node| count(node, report));
    let per = keys.take("per").map_or(Some(Key::Source), |node| per(node, report));
    let window = keys.require("window", report);
    let window = window.and_then(|node| report.parse(node, "a duration such as 60s", self::window));
    let respond = keys.take("respond").and_then(|node| report.word(node, RESPONSES));
    let from = keys.take("from-at-least").and_then(|node| report.integer(node, 1..=u64::from(u32::MAX)));
    let closed_node = keys.take("closed-at-least");
    let closed = closed_node.and_then(|node| report.integer(node, 1..=u64::from(u32::MAX)));
    let each_node = keys.take("for-each");
    let for_each = each_node.map(|node| fields(node, "for-each", report)).unwrap_or_default();
    let classes = Class::ALL.map(|class| (class.as_str(), class));
    let owns = keys.take("owns");
    let owns = owns.map(|node| report.list(node, |node, report| report.word(node, &classes)));
    let report_as = keys.take("report-as").and_then(|node| report.parse(node, "the id of a rule", id));
    let quiet = keys.take("quiet");
    let quiet = quiet.and_then(|node| report.parse(node, "a duration such as 10m", self::window));
    let threshold_node = keys.require("threshold", report);
    let threshold = threshold_node.and_then(|node| report.integer(node, 1..=u64::MAX));
    let place_of = |node: Option<&Node>| node.map_or(keys.place(), |node| node.place);
    let places = Places {
        filter: place_of(match_node),
        threshold: place_of(threshold_node),
        closed_at_least: place_of(closed_node),
        for_each: place_of(each_node),
    };
    keys.finish(report);
    let rule = Rule {
        id: String::new(),
        raw_id,
        title,
        enabled,
        filter: with_verdict(filter?),
        count: count?,
        per: per?,
        threshold: threshold?,
        window: window?,
        respond,
        report_as,
        owns: owns.unwrap_or_default(),
        quiet,
        for_each,
        closed_at_least: closed.and_then(|closed| u32::try_from(closed).ok()).unwrap_or(0),
        from_at_least: from.and_then(|from| u32::try_from(from).ok()).unwrap_or(1),
    };
    reach::check(&rule, &places, report);
    Some(rule)
}

/// A rule that names no verdict takes the packets that count as refused: an accepted packet is no closed port.
fn with_verdict(mut filter: Filter) -> Filter {
    if filter.verdict.is_empty() {
        filter.verdict = vec![Verdict::Refused, Verdict::Invalid, Verdict::Undecided];
    }
    filter
}

/// Lower-case words joined by hyphens. It becomes the comment of a set element, which takes 128 octets.
fn id(text: &str) -> Result<String, Wrong> {
    let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.is_empty() || text.len() > 64 || !text.chars().all(letter) || text.starts_with('-') {
        return Err(Wrong::new(
            format!("`{text}` is no id of a rule"),
            "write lower-case words joined by hyphens, at most 64 letters: `tcp-port-scan`",
        ));
    }
    if text == "manual" {
        return Err(Wrong::new("`manual` stands for bans of the administrator", "take another name"));
    }
    Ok(text.to_owned())
}

fn window(text: &str) -> Result<Duration, Wrong> {
    let window = values::positive_duration(text)?;
    if window > LONGEST_WINDOW {
        return Err(Wrong::new(format!("the duration {text} is too long"), "30 days are the most"));
    }
    Ok(window)
}

fn per(node: &Node, report: &mut Report<'_>) -> Option<Key> {
    if !matches!(node.value, Value::Map(_)) {
        return report.word(node, &[("source", Key::Source), ("source-and-destination", Key::Pair)]);
    }
    let mut keys = report.keys(node, "`per`")?;
    // A shorter prefix would make half the Internet one source.
    let mut length = |key, range| {
        let number = keys.take(key).and_then(|node| report.integer(node, range));
        number.and_then(|number| u8::try_from(number).ok())
    };
    let (ipv4, ipv6) = (length("ipv4", 8..=32), length("ipv6", 16..=128));
    let place = keys.place();
    let nothing = keys.is_empty() && matches!(&node.value, Value::Map(entries) if entries.is_empty());
    keys.finish(report);
    if nothing {
        report.error(place, "`per` names no prefix length", "write `per: {ipv4: 24, ipv6: 48}`");
    }
    Some(Key::Prefix { ipv4, ipv6 })
}

fn count(node: &Node, report: &mut Report<'_>) -> Option<Count> {
    if !matches!(node.value, Value::Map(_)) {
        return report.word(node, &[("packets", CountOf::Packets), ("bytes", CountOf::Bytes)]).map(|of| {
            match of {
                CountOf::Packets => Count::Packets,
                CountOf::Bytes => Count::Bytes,
            }
        });
    }
    let mut keys = report.keys(node, "`count`")?;
    let fields = keys.require("distinct", report).map(|node| fields(node, "distinct", report));
    let weights_node = keys.take("weights");
    let weights = weights_node.and_then(|node| weights(node, report));
    keys.finish(report);
    let fields = fields?;
    if let Some(node) = weights_node.filter(|_| !fields.dport) {
        report.error(
            node.place,
            "weights go by destination port, which is not counted",
            "add dport to `distinct`, or leave `weights` out",
        );
    }
    Some(Count::Distinct { fields, weights: weights.unwrap_or(Weights { ports: Vec::new(), rest: 1 }) })
}

#[derive(Clone, Copy)]
enum CountOf {
    Packets,
    Bytes,
}

fn fields(node: &Node, key: &str, report: &mut Report<'_>) -> Fields {
    type Set = fn(&mut Fields);
    let words: [(&str, Set); 4] = [
        ("dport", |fields| fields.dport = true),
        ("daddr", |fields| fields.daddr = true),
        ("saddr", |fields| fields.saddr = true),
        ("protocol", |fields| fields.protocol = true),
    ];
    let mut fields = Fields::default();
    for set in report.list(node, |node, report| report.word(node, &words)) {
        set(&mut fields);
    }
    if report.items(node).is_empty() {
        let message = format!("`{key}` names nothing");
        report.error(node.place, &message, &format!("write `{key}: dport`"));
    }
    fields
}

/// `{3: [0-1023, traps], 2: rest}`: the first weight that lists a port is the port's.
fn weights(node: &Node, report: &mut Report<'_>) -> Option<Weights> {
    let Value::Map(entries) = &node.value else {
        report.error(node.place, "`weights` is a mapping", "write `weights: {3: [0-1023], 2: rest}`");
        return None;
    };
    let mut weights = Weights { ports: Vec::new(), rest: 0 };
    for entry in entries {
        let Some(weight) = entry.key.parse().ok().filter(|weight| *weight > 0) else {
            let message = format!("`{}` is no weight", entry.key);
            report.error(entry.place, &message, "the numbers are 1 to 255");
            continue;
        };
        if matches!(&entry.node.value, Value::Scalar { text, .. } if text == "rest") {
            if weights.rest > 0 {
                report.error(entry.node.place, "`rest` has a weight already", "keep one of them");
            }
            weights.rest = weight;
            continue;
        }
        let mut ports = PortWeight { weight, ports: Vec::new(), traps: false };
        port_list(&entry.node, &mut ports, report);
        weights.ports.push(ports);
    }
    // Every other port weighs 1 where the rest is not named.
    weights.rest = weights.rest.max(1);
    Some(weights)
}

/// Ports, ranges, names and `traps`; a list within the list comes from an alias and adds its ports.
fn port_list(node: &Node, to: &mut PortWeight, report: &mut Report<'_>) {
    for node in report.items(node) {
        match &node.value {
            Value::List(_) => port_list(node, to, report),
            Value::Scalar { text, .. } if text == "traps" => to.traps = true,
            Value::Scalar { text, .. } if text == "rest" => {
                report.error(node.place, "`rest` stands alone", "write `2: rest`, without brackets");
            }
            _ => to.ports.extend(report.parse(node, "a port or a range", values::ports)),
        }
    }
}
