//! What rules files say of web requests: kinds of probe (`- probe: NAME`), and the rule `web-probe` that counts them.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::{RESPONSES, id, window};
use crate::config::problem::Place;
use crate::config::read::{Keys, Report};
use crate::config::values::Wrong;
use crate::config::yaml::Node;
use crate::engine::WEB_PROBE;
use crate::web::probe::{Form, MAX_PROBES, MAX_THRESHOLD, Pattern, Probe, Rule, Rules};

/// An incident stays open this long at least.
const LEAST_QUIET: Duration = Duration::from_secs(60);

/// Reads one kind of probe, or the switch of one, and puts it behind the others or in the place of its namesake.
pub(super) fn probe(
    node: &Node,
    web: &mut Rules,
    seen: &mut HashMap<String, usize>,
    report: &mut Report<'_>,
) {
    let Some(mut keys) = report.keys(node, "a probe") else { return };
    let Some(name_node) = keys.take("probe") else { return };
    let Some(name) = report.parse(name_node, "the name of a probe", id) else { return };
    if let Some(line) = seen.get(&format!("probe {name}")) {
        let hint = format!("the first is in line {line}: put their patterns together, or rename one of them");
        report.error(name_node.place, &format!("two probes with the name `{name}`"), &hint);
    }
    seen.entry(format!("probe {name}")).or_insert(name_node.place.line);
    let known = web.probes.iter().position(|probe| probe.name == name);
    let room = web.probes.len() < MAX_PROBES;
    let enabled = keys.take("enabled").map(|node| report.boolean(node).unwrap_or(true));
    if let Some(enabled) = enabled
        && keys.is_empty()
    {
        match known.and_then(|at| web.probes.get_mut(at)) {
            Some(probe) => probe.enabled = enabled,
            None => {
                let names: Vec<&str> = web.probes.iter().map(|probe| probe.name.as_str()).collect();
                report.wrong(name_node.place, Wrong::unknown("probe", &name, &names));
            }
        }
        return;
    }
    let probe = parts(keys, Probe { name, enabled: enabled.unwrap_or(true), ..Probe::default() }, report);
    match known.and_then(|at| web.probes.get_mut(at)) {
        Some(known) => *known = probe,
        None if room => web.probes.push(probe),
        None => {
            let message = format!("there are {MAX_PROBES} probes already");
            report.error(node.place, &message, "put patterns of one kind into one probe");
        }
    }
}

/// The parts of a probe besides its name.
fn parts(mut keys: Keys<'_>, mut probe: Probe, report: &mut Report<'_>) -> Probe {
    // For the reader of the file.
    let _ = keys.take("reason").and_then(|node| report.text(node, "a text"));
    let form = keys.take("form");
    let parts = [form, keys.take("method"), keys.take("path"), keys.take("query")];
    let says_something = parts.iter().any(Option::is_some);
    let [_, method_node, path, query] = parts;
    if let Some(node) = form {
        probe.form = report.word(node, &[("proxy", Form::Proxy), ("not-http", Form::NotHttp)]);
    }
    if let Some(node) = method_node {
        probe.method =
            report.list(node, |node, report| report.parse(node, "a method such as PROPFIND", method));
    }
    let patterns = |key, node: Option<&Node>, report: &mut Report<'_>| {
        let read = |node: &Node, report: &mut Report<'_>| {
            report.parse(node, "a pattern such as /.env*", |text| pattern(key, text))
        };
        node.map_or_else(Vec::new, |node| report.list(node, read))
    };
    probe.path = patterns("path", path, report);
    probe.query = patterns("query", query, report);
    if let Some(node) = keys.take("status") {
        probe.status =
            report.list(node, |node, report| report.parse(node, "a status such as 404 or 400-499", status));
    }
    let place = keys.place();
    keys.finish(report);
    check(&probe, says_something, place, report);
    probe
}

/// Reports what would take every visitor for a scanner, or nobody.
fn check(probe: &Probe, says_something: bool, place: Place, report: &mut Report<'_>) {
    let Probe { form, method, path, query, .. } = probe;
    if !says_something {
        report.error(
            place,
            "a probe without `path`, `query`, `method` or `form` is every request",
            "say what only scanners ask for: `path: /.env*`",
        );
    }
    if *form == Some(Form::NotHttp) && !(method.is_empty() && path.is_empty() && query.is_empty()) {
        report.error(
            place,
            "this never matches: what is no HTTP has no method, path or query",
            "leave them out, or leave `form` out",
        );
    }
}

fn method(text: &str) -> Result<String, Wrong> {
    let letter = |c: char| c.is_ascii_uppercase() || matches!(c, '-' | '_');
    if text.is_empty() || text.len() > 32 || !text.chars().all(letter) {
        let hint = "methods are written in capitals: `PROPFIND`";
        return Err(Wrong::new(format!("`{text}` is no method"), hint));
    }
    Ok(text.to_owned())
}

fn pattern(key: &str, text: &str) -> Result<Pattern, Wrong> {
    if key == "path" && !text.starts_with(['/', '*']) {
        return Err(Wrong::new(
            format!("`{text}` is no path"),
            "begin it with `/`, or with `*` for any folder",
        ));
    }
    let escaped = text.split('%').skip(1).any(|behind| crate::web::hexadecimal(behind.as_bytes()).is_some());
    if escaped || key == "path" && text.contains('?') {
        return Err(Wrong::new(
            format!(
                "`{text}` never matches: escapes are undone before, and a path ends at the question mark"
            ),
            "write the character itself, and what is behind the question mark into `query`",
        ));
    }
    let everything = || Wrong::new(format!("`{text}` is every request"), "say more than `/` and `*`");
    if text.chars().all(|c| matches!(c, '/' | '*')) {
        return Err(everything());
    }
    Pattern::new(text).ok_or_else(everything)
}

fn status(text: &str) -> Result<RangeInclusive<u16>, Wrong> {
    let wrong = || Wrong::new(format!("`{text}` is no status"), "write `404`, or a range `400-499`");
    let number = |text: &str| match text.len() {
        3 => text.parse::<u16>().map_err(|_| wrong()),
        _ => Err(wrong()),
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(text)?, number(text)?),
    };
    if first > last { Err(wrong()) } else { Ok(first..=last) }
}

/// Whether `id` is that of the rule that counts probes.
pub(super) fn is_the_rule(id: &str) -> bool {
    id == WEB_PROBE
}

/// Switches the rule; tells whether there is one.
pub(super) fn switch(enabled: bool, web: &mut Rules) -> bool {
    web.rule.as_mut().map(|rule| rule.enabled = enabled).is_some()
}

/// Reads the rule without its id, and puts it in the place of the one there was.
pub(super) fn rule(mut keys: Keys<'_>, enabled: bool, web: &mut Rules, report: &mut Report<'_>) {
    let mut text = |key, report: &mut Report<'_>| {
        keys.take(key).and_then(|node| report.text(node, "a text").map(str::to_owned))
    };
    let title = text("title", report).unwrap_or_else(|| WEB_PROBE.to_owned());
    let _ = (text("reason", report), text("reference", report));
    if let Some(node) = keys.require("count", report)
        && let Some(mut of) = report.keys(node, "`count`")
    {
        let distinct = of.require("distinct", report);
        distinct.and_then(|node| report.word(node, &[("probe", ())]));
        of.finish(report);
    }
    let threshold = keys.require("threshold", report);
    let threshold = threshold.and_then(|node| report.integer(node, 1..=MAX_THRESHOLD));
    let window_node = keys.require("window", report);
    let mut duration =
        |node: Option<&Node>| node.and_then(|node| report.parse(node, "a duration such as 10m", window));
    let window = duration(window_node);
    let quiet = duration(keys.take("quiet"));
    let respond = keys.take("respond").and_then(|node| report.word(node, RESPONSES));
    keys.finish(report);
    let Some((threshold, window)) =
        threshold.and_then(|threshold| usize::try_from(threshold).ok()).zip(window)
    else {
        return;
    };
    let quiet = quiet.unwrap_or(window.max(LEAST_QUIET));
    web.rule = Some(Rule { title, enabled, threshold, window, quiet, respond });
}
