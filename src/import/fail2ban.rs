//! fail2ban's jails: what its recidive jail and jails about port scans say, and the bans of its database.
//!
//! The files are Python's ini form: sections, `key = value`, lines that begin with a blank go on with the value above,
//! `%(name)s` stands for another key of the section or of `[DEFAULT]`. A later file replaces keys of an earlier one.

use std::collections::BTreeMap;
use std::time::Duration;

use super::draft::Draft;
use super::network::network;
use super::{Input, Place, lines};
use crate::address::never_a_host;
use crate::decide::Mode;

/// Where a value was said last, and what.
#[derive(Debug, Clone)]
struct Setting<'a> {
    place: Place<'a>,
    text: String,
    value: String,
}

type Section<'a> = BTreeMap<String, Setting<'a>>;

/// The jail that bans whoever was banned again and again.
const RECIDIVE: &str = "recidive";

/// So many steps a list of times has; the last one counts on.
const MOST_STEPS: usize = 10;

/// No ban of nfban's is longer.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);

pub(super) fn convert(inputs: &[Input], draft: &mut Draft) {
    let (bans, files): (Vec<_>, Vec<_>) =
        inputs.iter().partition(|input| input.text.starts_with(super::LEFT_BANS));
    let files: Vec<Input> = files.into_iter().cloned().collect();
    let sections = sections(&files, draft);
    let empty = Section::new();
    let default = sections.get("DEFAULT").unwrap_or(&empty);
    let ours: Vec<&str> =
        sections.keys().map(String::as_str).filter(|name| is_ours(name, &sections)).collect();
    for name in ["DEFAULT"].iter().chain(&ours) {
        if let Some(section) = sections.get(*name) {
            allow(section, default, draft);
        }
    }
    times(&sections, &ours, default, draft);
    for (name, section) in &sections {
        let kind = if name == "DEFAULT" {
            Kind::Default
        } else if ours.contains(&&**name) {
            Kind::Ours
        } else {
            Kind::Other
        };
        rest(name, section, kind, default, draft);
    }
    if ours.iter().any(|name| is_enabled(name, &sections)) {
        draft.mode = Some((
            Mode::Enforce,
            "a jail for scanners or for repeated offenders was on. To only tell: watch",
        ));
    }
    for input in bans {
        take_over(input, &ours, draft);
    }
}

/// The sections with their keys, `[INCLUDES]` told and left out.
fn sections<'a>(files: &'a [Input], draft: &mut Draft) -> BTreeMap<String, Section<'a>> {
    let mut sections: BTreeMap<String, Section<'a>> = BTreeMap::new();
    let mut name = String::new();
    let mut latest: Option<String> = None;
    let mut file = "";
    for (place, line) in lines(files) {
        if place.file != file {
            (name, latest, file) = (String::new(), None, place.file);
        }
        let text = line.trim();
        if text.is_empty() || text.starts_with(['#', ';']) {
            continue;
        }
        if let Some(section) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
            (name, latest) = (section.to_owned(), None);
            sections.entry(name.clone()).or_default();
        } else if line.starts_with(char::is_whitespace)
            && let Some(key) = &latest
        {
            if let Some(setting) = sections.get_mut(&name).and_then(|section| section.get_mut(key)) {
                setting.value = format!("{} {text}", setting.value);
            }
        } else if let Some((key, value)) = text.split_once(['=', ':']).filter(|_| !name.is_empty()) {
            let (key, value) = (key.trim().to_lowercase(), value.trim());
            // What follows ` ;` or ` #` is a comment.
            let value = value.split_once(" #").map_or(value, |(value, _)| value.trim_end());
            let setting = Setting { place, text: text.to_owned(), value: value.to_owned() };
            sections.entry(name.clone()).or_default().insert(key.clone(), setting);
            latest = Some(key);
        } else {
            draft.leave(place, text, "this is no section and no `key = value` in one");
        }
    }
    if let Some(includes) = sections.remove("INCLUDES") {
        for setting in includes.into_values() {
            draft.leave(
                setting.place,
                &setting.text,
                "name that file in front of this one if it says any of this",
            );
        }
    }
    sections
}

/// Whether a jail is about what nfban is about: repeated offenders, or packets that a firewall has logged.
fn is_ours(name: &str, sections: &BTreeMap<String, Section<'_>>) -> bool {
    let filter = sections.get(name).and_then(|section| section.get("filter"));
    let words = [name, filter.map_or("", |setting| setting.value.as_str())].join(" ").to_lowercase();
    name == RECIDIVE
        || ["scan", "psad", "iptables", "nftables", "ufw", "firewall"].iter().any(|word| words.contains(word))
}

fn is_true(value: &str) -> bool {
    matches!(value.to_lowercase().as_str(), "true" | "yes" | "on" | "1")
}

fn is_enabled(name: &str, sections: &BTreeMap<String, Section<'_>>) -> bool {
    let of = |section: &str| sections.get(section).and_then(|section| section.get("enabled"));
    of(name).or_else(|| of("DEFAULT")).is_some_and(|setting| is_true(&setting.value))
}

/// The value of a key in a section, else in `[DEFAULT]`, with what `%(name)s` stands for.
fn value(key: &str, section: &Section<'_>, default: &Section<'_>) -> Option<String> {
    let found = section.get(key).or_else(|| default.get(key))?;
    Some(interpolated(&found.value, section, default, 0))
}

/// No names within names within names for ever.
const DEEPEST: usize = 8;

fn interpolated(value: &str, section: &Section<'_>, default: &Section<'_>, depth: usize) -> String {
    let Some((before, (name, after))) =
        value.split_once("%(").and_then(|(before, rest)| Some((before, rest.split_once(")s")?)))
    else {
        return value.to_owned();
    };
    let name = name.to_lowercase();
    let meant = section.get(&name).or_else(|| default.get(&name)).filter(|_| depth < DEEPEST);
    let meant =
        meant.map(|setting| interpolated(&setting.value, section, default, depth + 1)).unwrap_or_default();
    format!("{before}{meant}{}", interpolated(after, section, default, depth + 1))
}

/// `ignoreip`: addresses and networks, with blanks or commas between.
fn allow(section: &Section<'_>, default: &Section<'_>, draft: &mut Draft) {
    let Some(setting) = section.get("ignoreip") else { return };
    let value = interpolated(&setting.value, section, default, 0);
    for item in value.split([' ', ',', '\t']).filter(|item| !item.is_empty()) {
        match network(item) {
            Ok(network) if never_a_host().iter().any(|never| never.contains(&network)) => draft.carry(),
            Ok(network) if draft.allow.contains(&network) => {}
            Ok(network) => {
                draft.allow.push(network);
                draft.carry();
            }
            Err(why) => draft.leave(setting.place, item, &why),
        }
    }
}

/// `600`, `10m`, `1h 30m`, `1w`, `-1` for ever.
fn time(text: &str) -> Option<Duration> {
    let mut seconds = 0_u64;
    let mut number = String::new();
    let mut units = text.chars().filter(|c| !c.is_whitespace()).peekable();
    while let Some(c) = units.next() {
        number.push(c);
        if units.peek().is_some_and(char::is_ascii_digit) && c.is_ascii_digit() {
            continue;
        }
        if !c.is_ascii_digit() {
            return None;
        }
        let mut unit = String::new();
        while let Some(c) = units.next_if(|c| c.is_ascii_alphabetic()) {
            unit.push(c);
        }
        let length: u64 = match unit.as_str() {
            "" | "s" | "sec" | "second" | "seconds" => 1,
            "m" | "mi" | "min" | "minute" | "minutes" => 60,
            "h" | "hour" | "hours" => 3600,
            "d" | "da" | "day" | "days" => 86_400,
            "w" | "we" | "week" | "weeks" => 7 * 86_400,
            "mo" | "mon" | "month" | "months" => 30 * 86_400 + 37_800,
            "y" | "ye" | "year" | "years" => 365 * 86_400 + 21_600,
            _ => return None,
        };
        seconds = seconds.checked_add(number.parse::<u64>().ok()?.checked_mul(length)?)?;
        number.clear();
    }
    let time = Duration::from_secs(seconds);
    (!time.is_zero() && time <= LONGEST).then_some(time)
}

/// `ban.times` and `ban.forget`: the jail's own time, grown as `bantime.increment` says, and at last the recidive jail's.
fn times(sections: &BTreeMap<String, Section<'_>>, ours: &[&str], default: &Section<'_>, draft: &mut Draft) {
    let enabled = |name: &&&str| is_enabled(name, sections);
    let scans =
        ours.iter().filter(|name| **name != RECIDIVE).find(enabled).and_then(|name| sections.get(*name));
    let recidive = sections.get(RECIDIVE).filter(|_| is_enabled(RECIDIVE, sections));
    if scans.is_none() && recidive.is_none() {
        return;
    }
    let section = scans.unwrap_or(default);
    let Some(first) = value("bantime", section, default) else { return };
    let Some(first) = time(&first) else {
        if let Some(setting) = section.get("bantime").or_else(|| default.get("bantime")) {
            draft.leave(setting.place, &setting.text, FOR_EVER);
        }
        return;
    };
    let grows = value("bantime.increment", section, default).is_some_and(|value| is_true(&value));
    let mut times = if grows { grown(first, section, default) } else { vec![first] };
    let of_recidive = |key| recidive.and_then(|recidive| value(key, recidive, default));
    if let Some(setting) = recidive.and_then(|recidive| recidive.get("bantime"))
        && of_recidive("bantime").as_deref().and_then(time).is_none()
    {
        draft.leave(setting.place, &setting.text, FOR_EVER);
    }
    if let Some(last) = of_recidive("bantime").as_deref().and_then(time) {
        let bans = of_recidive("maxretry").and_then(|value| value.parse::<usize>().ok()).unwrap_or(5);
        // The ban that is one too many is the recidive jail's.
        if !grows {
            times.resize(bans.saturating_sub(1).clamp(1, MOST_STEPS), first);
        }
        times.push(last);
        let within = of_recidive("findtime").as_deref().and_then(time);
        draft.forget = within.filter(|within| times.iter().all(|time| time <= within));
    }
    times.sort_unstable();
    draft.times = times;
}

const FOR_EVER: &str =
    "nfban bans for a time, up to ten years; what `nfban ban` bans by hand stays until it is lifted";

/// How often a ban time doubles in fail2ban at most.
const DOUBLINGS: u32 = 20;

/// The times that `bantime.increment` makes, up to `bantime.maxtime`.
fn grown(first: Duration, section: &Section<'_>, default: &Section<'_>) -> Vec<Duration> {
    let most = value("bantime.maxtime", section, default).as_deref().and_then(time).unwrap_or(LONGEST);
    let factor =
        value("bantime.factor", section, default).and_then(|value| value.parse::<u32>().ok()).unwrap_or(1);
    let multipliers: Vec<u32> = value("bantime.multipliers", section, default)
        .map(|value| value.split_whitespace().filter_map(|word| word.parse().ok()).collect())
        .unwrap_or_default();
    let step = |number: usize| -> Option<Duration> {
        let by = match multipliers.get(number) {
            Some(by) => *by,
            None if multipliers.is_empty() => 1_u32 << u32::try_from(number).ok()?.min(DOUBLINGS),
            None => return None,
        };
        first.checked_mul(by)?.checked_mul(factor.max(1))
    };
    let mut times = vec![first];
    for time in (1..MOST_STEPS).map_while(step) {
        times.push(time.min(most));
        if time >= most {
            break;
        }
    }
    times
}

/// What a section is to us.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Default,
    Ours,
    Other,
}

/// Tells what becomes of the keys of a section.
fn rest(name: &str, section: &Section<'_>, kind: Kind, default: &Section<'_>, draft: &mut Draft) {
    if kind == Kind::Other {
        let enabled = section.get("enabled").or_else(|| default.get("enabled"));
        if let Some(setting) = enabled.filter(|setting| is_true(&setting.value)) {
            let why = format!(
                "the jail `{}` reads what a service logs: keep it in fail2ban",
                name.escape_default()
            );
            draft.leave(setting.place, &setting.text, &why);
        }
        return;
    }
    for (key, setting) in section {
        match reason(key, &setting.value, name) {
            Some(why) => draft.leave(setting.place, &setting.text, why),
            None if key != "ignoreip" => draft.carry(),
            None => {}
        }
    }
}

/// Why nothing stands for a key; none where something does, or where nfban is like that.
fn reason(key: &str, value: &str, jail: &str) -> Option<&'static str> {
    const COUNTS: &str =
        "each rule of nfban's has its threshold and window: docs/detection.md, docs/rules.md";
    Some(match key {
        "ignoreip"
        | "enabled"
        | "bantime"
        | "bantime.increment"
        | "bantime.maxtime"
        | "bantime.multipliers" => {
            return None;
        }
        "bantime.factor" if value.parse::<u32>().is_ok() => return None,
        "findtime" | "maxretry" if jail == RECIDIVE => return None,
        "findtime" | "maxretry" | "maxmatches" => COUNTS,
        "bantime.formula" | "bantime.factor" => "nfban has a list of times, `ban.times`: write them there",
        "bantime.rndtime" => "nfban's times are what they say",
        "bantime.overalljails" if is_true(value) => return None,
        "bantime.overalljails" => "nfban counts the bans of a source by all rules together",
        "ignoreself" if is_true(value) => return None,
        "ignoreself" => "the addresses of this host are never banned",
        "ignorecommand" | "ignorecache" if value.is_empty() => return None,
        "ignorecommand" | "ignorecache" => "no command says whom to ignore; list the addresses in `allow`",
        "usedns" => "no name of a host is looked up",
        "destemail" | "sender" | "mta" => "nfban sends no mail; the journal has every incident and ban",
        key if key.starts_with("action") || key.starts_with("banaction") => {
            "nfban drops the source's packets itself, in sets of nftables"
        }
        "logpath" | "filter" | "backend" | "journalmatch" | "logencoding" | "mode" | "datepattern"
        | "logtimezone" | "failregex" | "ignoreregex" => {
            "nfban counts packets: NFLOG groups, or LOG text with `capture`"
        }
        "port" | "protocol" | "chain" | "blocktype" => {
            "a source is restricted or banned as a whole; see `services`"
        }
        "fail2ban_agent" => return None,
        _ => "nothing stands for it in nfban",
    })
}

/// The bans that a database holds now, of the jails that are ours.
fn take_over(input: &Input, ours: &[&str], draft: &mut Draft) {
    let mut others = 0_usize;
    for (line, number) in input.text.lines().skip(1).zip(2..) {
        let place = Place { file: &input.name, line: number, order: usize::MAX };
        let mut words = line.split('\t');
        let (Some(jail), Some(address), Some(left)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        if jail != RECIDIVE && !ours.contains(&jail) {
            others += 1;
            continue;
        }
        match network(address) {
            Ok(network) => {
                draft.carry();
                let left = left.parse().ok().map(Duration::from_secs);
                draft.bans.insert(network, (left, "fail2ban had banned it".to_owned()));
            }
            Err(why) => draft.leave(place, address, &why),
        }
    }
    if others > 0 {
        let place = Place { file: &input.name, line: 1, order: usize::MAX };
        let why = format!("{others} bans of jails that stay with fail2ban");
        draft.leave(place, "bips", &why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_fail2ban_reads_them() {
        for (text, seconds) in [
            ("600", 600),
            ("10m", 600),
            ("1h 30m", 5400),
            ("1w", 604_800),
            ("1d12h", 129_600),
            ("2 days", 172_800),
        ] {
            assert_eq!(time(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["-1", "", "0", "m", "1x", "99999999999999999999", "20y"] {
            assert_eq!(time(text), None, "{text}");
        }
    }

    #[test]
    fn names_stand_for_other_keys_and_never_for_themselves_for_ever() {
        let place = Place { file: "f", line: 1, order: 0 };
        let of = |pairs: &[(&str, &str)]| -> Section<'static> {
            let setting = |value: &str| Setting { place, text: String::new(), value: value.to_owned() };
            pairs.iter().map(|(key, value)| ((*key).to_owned(), setting(value))).collect()
        };
        let default = of(&[("a", "1"), ("loop", "%(loop)s")]);
        let section = of(&[("b", "%(a)s 2 %(a)s"), ("c", "%(b)s 3 %(none)s"), ("d", "%(loop)s")]);
        assert_eq!(value("c", &section, &default).unwrap(), "1 2 1 3 ");
        assert!(value("d", &section, &default).is_some());
    }
}
