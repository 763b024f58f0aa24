//! The configuration that is being made, and its text.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::time::Duration;

use ipnet::IpNet;

use super::{Converted, Form, Input, Place};
use crate::config::Service;
use crate::config::names::protocol_name;
use crate::decide::Mode;
use crate::packet::protocol;
use crate::report::escape::escape;
use crate::report::target::Target;
use crate::time::format_duration;

/// So many comments are written; the others are counted. The result must stay small enough to be loaded.
const MOST_COMMENTS: usize = 1000;
/// Characters of a setting that a comment shows.
const LONGEST_QUOTE: usize = 120;
/// Lists are broken before this column.
const WIDTH: usize = 100;

/// A part of a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part<T> {
    pub negated: bool,
    pub values: Vec<T>,
}

/// What iplog and PortSentry can ask of a packet besides its protocol. No part: every packet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Parts {
    pub saddr: Option<Part<IpNet>>,
    pub daddr: Option<Part<IpNet>>,
    pub sport: Option<Part<RangeInclusive<u16>>>,
    pub dport: Option<Part<RangeInclusive<u16>>>,
    /// Of ICMP for IPv4.
    pub icmp_type: Option<Part<u8>>,
}

/// An item of `ignore`.
#[derive(Debug, Clone)]
pub(super) struct Ignored {
    /// Where it comes from.
    pub comment: String,
    /// IP protocol number.
    pub protocol: u8,
    pub parts: Parts,
    /// Of the same protocol: these stay evidence.
    pub except: Vec<Parts>,
}

#[derive(Debug)]
pub(super) struct Draft {
    origin: String,
    form: Form,
    pub mode: Option<(Mode, &'static str)>,
    pub home: Vec<IpNet>,
    pub traps: Vec<Service>,
    /// What the listener behind the traps says.
    pub banner: Option<String>,
    pub allow: Vec<IpNet>,
    pub ignore: Vec<Ignored>,
    /// More items of `ignore`: where each comes from, and the filter as YAML.
    pub filters: Vec<(String, String)>,
    /// `ban.times`, ascending.
    pub times: Vec<Duration>,
    /// `ban.forget`.
    pub forget: Option<Duration>,
    /// Who was banned there, for how long yet (none is for ever), and why.
    pub bans: BTreeMap<IpNet, (Option<Duration>, String)>,
    /// Ids of rules that are to be switched off.
    pub off: BTreeSet<&'static str>,
    /// What is left, by the order of the lines.
    comments: Vec<(usize, String)>,
    carried: usize,
    left: usize,
}

impl Draft {
    pub(super) fn new(form: Form, inputs: &[Input]) -> Self {
        let names: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
        Self {
            origin: quoted(&names.join(", ")),
            form,
            mode: None,
            home: Vec::new(),
            traps: Vec::new(),
            banner: None,
            allow: Vec::new(),
            ignore: Vec::new(),
            filters: Vec::new(),
            times: Vec::new(),
            forget: None,
            bans: BTreeMap::new(),
            off: BTreeSet::new(),
            comments: Vec::new(),
            carried: 0,
            left: 0,
        }
    }

    /// A setting is in the configuration, or holds in nfban anyway.
    pub(super) fn carry(&mut self) {
        self.carried += 1;
    }

    /// A setting is not carried over, or not as a whole.
    pub(super) fn leave(&mut self, place: Place<'_>, text: &str, why: &str) {
        self.left += 1;
        if self.comments.len() < MOST_COMMENTS {
            self.comments.push((place.order, format!("{}: {}", origin(place, text), escape(why))));
        }
    }

    pub(super) fn finish(mut self) -> Converted {
        let mut yaml = format!(
            "# Made by `nfban import {}` from {}.\n# Read it, then try it: nfban check -c FILE\n",
            self.form.as_str(),
            self.origin
        );
        self.comments.sort_by_key(|(order, _)| *order);
        self.write_comments(&mut yaml);
        self.write_rules(&mut yaml);
        self.write_bans(&mut yaml);
        self.write_settings(&mut yaml);
        Converted { yaml, carried: self.carried, left: self.left }
    }

    fn write_comments(&self, yaml: &mut String) {
        if !self.comments.is_empty() {
            *yaml += "#\n# Not carried over:\n";
        }
        for (_, comment) in &self.comments {
            // Writing to a String does not fail.
            let _ = writeln!(yaml, "#   {comment}");
        }
        if self.left > self.comments.len() {
            let _ = writeln!(yaml, "#   and {} more", self.left - self.comments.len());
        }
    }

    fn write_rules(&self, yaml: &mut String) {
        if !self.off.is_empty() {
            let file = self.form.as_str();
            let _ = write!(yaml, "#\n# Switched off there; put this into /etc/nfban/rules.d/{file}.yaml:\n");
        }
        for id in &self.off {
            let _ = writeln!(yaml, "#   - {{id: {id}, enabled: false}}");
        }
    }

    /// Bans are no configuration: whoever imports takes them over with commands.
    fn write_bans(&self, yaml: &mut String) {
        if self.bans.is_empty() {
            return;
        }
        *yaml += "#\n# Banned there; once nfban runs, these commands take it over:\n";
        for (target, (left, why)) in self.bans.iter().take(MOST_COMMENTS) {
            let time = left.map(|left| format!(" --for {}", format_duration(left).replace(' ', "")));
            let _ = writeln!(
                yaml,
                "#   nfban ban {}{} --reason '{why}'",
                Target(*target),
                time.unwrap_or_default()
            );
        }
        if let Some(more @ 1..) = self.bans.len().checked_sub(MOST_COMMENTS) {
            let _ = writeln!(yaml, "#   and {more} more");
        }
    }

    fn write_times(&self, yaml: &mut String) {
        if self.times.is_empty() {
            return;
        }
        let shown = |time: &Duration| format_duration(*time).replace(' ', "");
        let times: Vec<String> = self.times.iter().map(shown).collect();
        let forget = self.forget.map(|forget| format!(", forget: {}", shown(&forget)));
        *yaml += "\n# What can be forged is never answered for longer than an hour.\n";
        let _ = writeln!(yaml, "ban: {{times: [{}]{}}}", times.join(", "), forget.unwrap_or_default());
    }

    fn write_settings(&self, yaml: &mut String) {
        if let Some((mode, why)) = self.mode {
            let word = match mode {
                Mode::Enforce => "enforce",
                Mode::Watch => "watch",
            };
            let _ = write!(yaml, "\n# {why}\nmode: {word}\n");
        }
        let networks = |networks: &[IpNet]| networks.iter().map(shown_network).collect::<Vec<_>>();
        write_list(yaml, "home", &networks(&self.home));
        write_list(yaml, "traps", &self.traps.iter().map(shown_service).collect::<Vec<_>>());
        if let Some(banner) = &self.banner {
            // JSON's quoting is YAML's.
            let _ = writeln!(yaml, "\ntrap: {{banner: {}}}", serde_json::Value::from(banner.as_str()));
        }
        write_list(yaml, "allow", &networks(&self.allow));
        self.write_times(yaml);
        if !(self.ignore.is_empty() && self.filters.is_empty()) {
            *yaml += "\nignore:\n";
        }
        for (comment, filter) in &self.filters {
            let _ = writeln!(yaml, "  # {comment}\n  - {filter}");
        }
        for ignored in &self.ignore {
            let _ = writeln!(yaml, "  # {}\n  - {}", ignored.comment, ignored.shown());
        }
    }
}

impl Ignored {
    fn shown(&self) -> String {
        let mut shown = vec![format!("protocol: {}", protocol_name(self.protocol))];
        shown.extend(self.parts.shown());
        if !self.except.is_empty() {
            let except: Vec<String> =
                self.except.iter().map(|parts| format!("{{{}}}", parts.shown().join(", "))).collect();
            shown.push(format!("not: [{}]", except.join(", ")));
        }
        format!("{{{}}}", shown.join(", "))
    }
}

impl Parts {
    /// Whether it asks for nothing.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it is plain to see that no packet is of both.
    pub(super) fn excludes(&self, other: &Self) -> bool {
        fn apart<T>(one: &Option<Part<T>>, other: &Option<Part<T>>, meet: impl Fn(&T, &T) -> bool) -> bool {
            match (one, other) {
                (Some(one), Some(other)) if !one.negated && !other.negated => {
                    !one.values.iter().any(|one| other.values.iter().any(|other| meet(one, other)))
                }
                _ => false,
            }
        }
        let nets = |one: &IpNet, other: &IpNet| one.contains(other) || other.contains(one);
        let ports = |one: &RangeInclusive<u16>, other: &RangeInclusive<u16>| {
            one.start() <= other.end() && other.start() <= one.end()
        };
        apart(&self.saddr, &other.saddr, nets)
            || apart(&self.daddr, &other.daddr, nets)
            || apart(&self.sport, &other.sport, ports)
            || apart(&self.dport, &other.dport, ports)
            || apart(&self.icmp_type, &other.icmp_type, |one, other| one == other)
    }

    /// `KEY: VALUE` of each part. A type of ICMP is a number, as a name means nothing without the protocol, which the
    /// exceptions of a filter do not repeat.
    fn shown(&self) -> Vec<String> {
        fn part<T>(key: &str, part: &Option<Part<T>>, shown: impl Fn(&T) -> String) -> Option<String> {
            let Part { negated, values } = part.as_ref()?;
            let values: Vec<String> = values.iter().map(shown).collect();
            let list =
                if let [one] = values.as_slice() { one.clone() } else { format!("[{}]", values.join(", ")) };
            Some(if *negated { format!("{key}: {{not: {list}}}") } else { format!("{key}: {list}") })
        }
        [
            part("saddr", &self.saddr, shown_network),
            part("sport", &self.sport, shown_ports),
            part("daddr", &self.daddr, shown_network),
            part("dport", &self.dport, shown_ports),
            part("icmp-type", &self.icmp_type, u8::to_string),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// `FILE:LINE: SETTING`, fit for a comment.
pub(super) fn origin(place: Place<'_>, text: &str) -> String {
    format!("{}:{}: {}", quoted(place.file), place.line, quoted(text))
}

/// Text from outside on one line, without what acts instead of showing, and not for ever. YAML takes no character
/// outside its printable set (YAML 1.2.2 section 5.1), not even in a comment.
fn quoted(text: &str) -> String {
    let printable = |c: char| !matches!(c, '\u{fffe}' | '\u{ffff}');
    let shown: String =
        escape(text).chars().map(|c| if printable(c) { c } else { char::REPLACEMENT_CHARACTER }).collect();
    match shown.char_indices().nth(LONGEST_QUOTE) {
        Some((cut, _)) => format!("{}…", shown.split_at(cut).0),
        None => shown,
    }
}

/// An address alone is shown without its length; what holds a colon must be quoted within brackets.
fn shown_network(network: &IpNet) -> String {
    let text = if network.prefix_len() == network.max_prefix_len() {
        network.addr().to_string()
    } else {
        network.to_string()
    };
    if text.contains(':') { format!("\"{text}\"") } else { text }
}

fn shown_ports(ports: &RangeInclusive<u16>) -> String {
    match (*ports.start(), *ports.end()) {
        (first, last) if first == last => first.to_string(),
        (first, u16::MAX) => format!("{first}-"),
        (first, last) => format!("{first}-{last}"),
    }
}

fn shown_service(service: &Service) -> String {
    let ports = shown_ports(&service.ports);
    if service.protocol == protocol::TCP {
        ports
    } else {
        format!("{}/{ports}", protocol_name(service.protocol))
    }
}

/// `KEY: [VALUES]`, broken into lines where it is long; nothing where there are none.
fn write_list(yaml: &mut String, key: &str, values: &[String]) {
    if values.is_empty() {
        return;
    }
    let _ = write!(yaml, "\n{key}: [");
    let mut column = key.len() + 3;
    for (number, value) in values.iter().enumerate() {
        if number > 0 && column + value.len() + 3 > WIDTH {
            *yaml += ",\n  ";
            column = 2;
        } else if number > 0 {
            *yaml += ", ";
            column += 2;
        }
        *yaml += value;
        column += value.len();
    }
    *yaml += "]\n";
}
