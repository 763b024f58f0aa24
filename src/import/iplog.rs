//! `iplog.conf`, as iplog 2.2 reads it: words between blanks, in upper or lower case; `#` at the beginning of a word,
//! and `/* */`.

mod filter;

use std::collections::BTreeMap;
use std::path::Path;

use self::filter::{Filter, Protocol, Scope};
use super::draft::{Draft, Ignored, Parts, origin};
use super::network::{lengthened, network};
use super::{Input, Place, lines};
use crate::config::rules;
use crate::decide::Mode;
use crate::detect::rule::Rule;

/// What `set NAME true|false` means for us.
#[derive(Debug, Clone, Copy)]
enum Meaning {
    /// Whether packets of this protocol are looked at.
    Look(Protocol),
    /// Whether the rule is on.
    Rule(&'static str),
    /// What there is to say when it is set, and when it is not; nothing where that is how nfban is.
    Tell { set: Option<&'static str>, unset: Option<&'static str> },
}

const NO_NAMES: Meaning = Meaning::Tell { set: Some("names of hosts are not looked up"), unset: None };
const ALWAYS: Meaning = Meaning::Tell { set: None, unset: Some("incidents always tell it") };

const OPTIONS: &[(&str, Meaning)] = &[
    ("tcp", Meaning::Look(Protocol::Tcp)),
    ("udp", Meaning::Look(Protocol::Udp)),
    ("icmp", Meaning::Look(Protocol::Icmp)),
    ("portscan", Meaning::Rule("tcp-port-scan")),
    ("syn_scan", Meaning::Rule("tcp-syn-scan")),
    ("fin_scan", Meaning::Rule("tcp-fin-scan")),
    ("null_scan", Meaning::Rule("tcp-null-scan")),
    ("xmas_scan", Meaning::Rule("tcp-xmas-scan")),
    ("udp_scan", Meaning::Rule("udp-scan")),
    ("bogus", Meaning::Rule("tcp-bogus-flags")),
    ("smurf", Meaning::Rule("icmp-smurf")),
    ("ping_flood", Meaning::Rule("icmp-ping-flood")),
    ("traceroute", Meaning::Rule("traceroute")),
    ("frag", Meaning::Rule("fragment-attack")),
    ("log_ip", ALWAYS),
    ("log_dest", ALWAYS),
    ("tcp_resolve", NO_NAMES),
    ("udp_resolve", NO_NAMES),
    ("icmp_resolve", NO_NAMES),
    ("disable_resolver", Meaning::Tell { set: None, unset: Some("names of hosts are not looked up") }),
    ("dns_cache", Meaning::Tell { set: None, unset: None }),
    (
        "syn_flood",
        Meaning::Tell {
            set: Some("it only stopped the look-up of names, of which nfban does none"),
            unset: Some("it only let the look-up of names go on, of which nfban does none"),
        },
    ),
    (
        "ignore_dns",
        Meaning::Tell {
            set: Some(
                "the resolvers in use are never acted against; for others add \
                 `ignore: [{protocol: udp, sport: 53, saddr: ADDRESS}]`",
            ),
            unset: Some("the resolvers in use are never acted against"),
        },
    ),
    ("get_ident", Meaning::Tell { set: Some("nfban asks nobody for a name of its user"), unset: None }),
    ("fool_nmap", Meaning::Tell { set: Some("nfban answers no probe"), unset: None }),
    ("scans_only", Meaning::Tell { set: None, unset: Some("nfban tells incidents, not packets") }),
    ("verbose", Meaning::Tell { set: Some("nfban tells incidents, not packets"), unset: None }),
    ("stdout", Meaning::Tell { set: Some("`nfban run` writes to standard error by itself"), unset: None }),
    (
        "no_fork",
        Meaning::Tell { set: None, unset: Some("`nfban run` stays in the foreground, its unit starts it") },
    ),
];

/// Settings with one value that nothing in nfban's configuration stands for.
const ELSEWHERE: &[(&str, &str)] = &[
    ("user", "its unit says as whom nfban runs"),
    ("group", "its unit says as whom nfban runs"),
    ("pid-file", "systemd knows the process"),
    ("logfile", "the journal has it: journalctl -u nfban"),
    ("facility", "the journal has it: journalctl -u nfban"),
    ("priority", "the journal has it: journalctl -u nfban"),
];

/// What the files say, until all of it is known: later lines win over earlier ones, and `log` over `ignore`.
#[derive(Debug, Default)]
struct Settings<'a> {
    switches: BTreeMap<&'static str, Switch<'a>>,
    log: Vec<Filter<'a>>,
    ignore: Vec<Filter<'a>>,
}

/// The last `set NAME …`.
#[derive(Debug)]
struct Switch<'a> {
    place: Place<'a>,
    text: String,
    meaning: Meaning,
    on: bool,
}

impl Switch<'_> {
    /// The rule that it switches off.
    fn rule_off(&self) -> Option<&'static str> {
        match self.meaning {
            Meaning::Rule(id) if !self.on => Some(id),
            _ => None,
        }
    }
}

pub(super) fn convert(inputs: &[Input], draft: &mut Draft) {
    draft.mode = Some((Mode::Watch, "iplog only told what it saw. To act against scanners: enforce"));
    let mut settings = Settings::default();
    let mut comment = false;
    for (place, line) in lines(inputs) {
        settings.line(place, &words(line, &mut comment), draft);
    }
    settings.switch(draft);
    settings.filter(draft);
}

/// The words of a line that are no comment.
fn words<'a>(line: &'a str, comment: &mut bool) -> Vec<&'a str> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        if *comment {
            match rest.split_once("*/") {
                Some((_, after)) => rest = after,
                None => return words,
            }
            *comment = false;
        }
        rest = rest.trim_ascii_start();
        if let Some(after) = rest.strip_prefix("/*") {
            *comment = true;
            rest = after;
        } else if rest.is_empty() || rest.starts_with('#') {
            return words;
        } else {
            let end = rest.find(|c: char| c.is_ascii_whitespace()).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            words.push(word);
            rest = after;
        }
    }
}

impl<'a> Settings<'a> {
    /// A line may hold several settings; a filter goes to its end.
    fn line(&mut self, place: Place<'a>, words: &[&str], draft: &mut Draft) {
        let mut rest = words;
        while let [first, after @ ..] = rest {
            let keyword = first.to_ascii_lowercase();
            rest = match keyword.as_str() {
                "log" | "ignore" => {
                    self.filter_line(place, keyword == "log", rest, draft);
                    &[]
                }
                "set" => {
                    let (setting, after) = rest.split_at(rest.len().min(3));
                    self.set(place, setting, draft);
                    after
                }
                _ => {
                    let known = one_value(&keyword, place, after.first().copied(), draft);
                    if !known {
                        draft.leave(place, &rest.join(" "), "iplog knows no such setting");
                    }
                    if known { after.get(1..).unwrap_or_default() } else { &[] }
                }
            };
        }
    }

    fn set(&mut self, place: Place<'a>, setting: &[&str], draft: &mut Draft) {
        let text = setting.join(" ");
        let name = setting.get(1).copied().unwrap_or_default().to_ascii_lowercase();
        let value = setting.get(2).copied().unwrap_or("true").to_ascii_lowercase();
        let Some(&(name, meaning)) = OPTIONS.iter().find(|(known, _)| *known == name) else {
            return draft.leave(place, &text, "iplog knows no such option");
        };
        let on = match value.as_str() {
            "true" => true,
            "false" => false,
            _ => return draft.leave(place, &text, "it is neither true nor false"),
        };
        self.turn(name, Switch { place, text, meaning, on }, draft);
    }

    fn turn(&mut self, name: &'static str, switch: Switch<'a>, draft: &mut Draft) {
        if let Some(earlier) = self.switches.insert(name, switch) {
            draft.leave(earlier.place, &earlier.text, "a later line says it anew");
        }
    }

    /// `log|ignore PROTOCOL` alone is the same switch as `set PROTOCOL`.
    fn filter_line(&mut self, place: Place<'a>, log: bool, words: &[&str], draft: &mut Draft) {
        let text = words.join(" ");
        match filter::parse(words.get(1..).unwrap_or_default()) {
            Err(why) => draft.leave(place, &text, &why),
            Ok((protocol, Scope::All)) => {
                let switch = Switch { place, text, meaning: Meaning::Look(protocol), on: log };
                self.turn(protocol.as_str(), switch, draft);
            }
            Ok((protocol, Scope::Some(parts))) => {
                let filter = Filter { place, text, protocol, parts };
                if log { self.log.push(filter) } else { self.ignore.push(filter) }
            }
        }
    }

    /// Turns the switches into items of `ignore`, rules to switch off, and comments.
    fn switch(&self, draft: &mut Draft) {
        let off: Vec<&str> = self.switches.values().filter_map(Switch::rule_off).collect();
        let shipped = rules::load(rules::SHIPPED, Path::new("/nonexistent")).unwrap_or_default();
        for switch in self.switches.values() {
            let why = match (switch.meaning, switch.on) {
                (Meaning::Look(_), true) => None,
                (Meaning::Look(protocol), false) => {
                    let comment = origin(switch.place, &switch.text);
                    self.ignore(protocol, &Parts::default(), comment, draft).err()
                }
                (Meaning::Rule(id), on) => rule(id, on, &shipped, &off, draft),
                (Meaning::Tell { set, .. }, true) => set.map(str::to_owned),
                (Meaning::Tell { unset, .. }, false) => unset.map(str::to_owned),
            };
            match why {
                None => draft.carry(),
                Some(why) => draft.leave(switch.place, &switch.text, &why),
            }
        }
    }

    fn filter(&self, draft: &mut Draft) {
        for filter in &self.ignore {
            let comment = origin(filter.place, &filter.text);
            match self.ignore(filter.protocol, &filter.parts, comment, draft) {
                Ok(()) => draft.carry(),
                Err(why) => draft.leave(filter.place, &filter.text, &why),
            }
        }
        // All that nobody ignores is looked at.
        self.log.iter().for_each(|_| draft.carry());
    }

    /// iplog looks at all `log` lines before any `ignore` line: each is an exception to all of these.
    fn ignore(
        &self,
        protocol: Protocol,
        parts: &Parts,
        comment: String,
        draft: &mut Draft,
    ) -> Result<(), String> {
        let logged = self.log.iter().filter(|log| log.protocol == protocol && !log.parts.excludes(parts));
        let except: Vec<Parts> = logged.map(|log| log.parts.clone()).collect();
        if except.iter().any(Parts::is_empty) {
            return Err(format!("a `log` line keeps every packet of {}", protocol.as_str()));
        }
        let protocol = protocol.number();
        draft.ignore.push(Ignored { comment, protocol, parts: parts.clone(), except });
        Ok(())
    }
}

/// Switches a rule off; otherwise says why that cannot be, or that it is not on.
fn rule(id: &'static str, on: bool, shipped: &[Rule], off: &[&str], draft: &mut Draft) -> Option<String> {
    let under = |rule: &&Rule| rule.raw_id.as_deref() == Some(id);
    let Some(rule) = shipped.iter().find(|rule| rule.id == id).or_else(|| shipped.iter().find(under)) else {
        return Some(format!("this version has no rule {id}"));
    };
    if on {
        return None;
    }
    // One rule may tell incidents under two ids.
    let ids = [Some(rule.id.as_str()), rule.raw_id.as_deref()];
    if let Some(other) = ids.into_iter().flatten().find(|other| !off.contains(other)) {
        return Some(format!("one rule tells {other} and {id}: {} stays on", rule.id));
    }
    if rule.id == id {
        draft.off.insert(id);
    }
    None
}

/// A setting that is a word and its value. Whether there is such a one.
fn one_value(keyword: &str, place: Place<'_>, value: Option<&str>, draft: &mut Draft) -> bool {
    let known = keyword.starts_with("interface") || keyword == "promisc";
    let elsewhere = ELSEWHERE.iter().find(|(known, _)| *known == keyword);
    if !known && elsewhere.is_none() {
        return false;
    }
    let Some(value) = value else {
        draft.leave(place, keyword, "nothing stands behind it");
        return true;
    };
    let text = format!("{keyword} {value}");
    if let Some((_, why)) = elsewhere {
        draft.leave(place, &text, why);
    } else if keyword.starts_with("interface") {
        let why = format!(
            "the ruleset decides what nfban sees. To pass over all other interfaces: `ignore: [{{iif: {{not: [{}]}}}}]`",
            value.replace(',', ", ")
        );
        draft.leave(place, &text, &why);
    } else {
        let networks = value.split(',').map(|part| {
            let (address, mask) = part.split_once('/').unwrap_or((part, "32"));
            network(&format!("{}/{mask}", lengthened(address)))
        });
        match networks.collect::<Result<Vec<_>, _>>() {
            Ok(networks) => {
                draft.home.extend(networks);
                draft.carry();
            }
            Err(why) => draft.leave(place, &text, &why),
        }
    }
    true
}
