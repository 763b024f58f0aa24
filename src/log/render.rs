//! Lines in words, as JSON and as the journal's fields. What stands here is a public interface: `docs/events.md`.

use std::fmt::Display;
use std::io::{self, Write};

use serde::Serialize;
use tracing::Level;

use super::journal::Fields;
use super::queue::Entry;
use super::throttle::{Kind, Withheld};
use super::{Line, level};
use crate::decide::Evidence;
use crate::decide::Mode;
use crate::event::{Ban, BanEnd, BanEndReason, Event, Incident};
use crate::report::escape::escape;
use crate::report::json::{Record, write_line};
use crate::report::ports::PortRanges;
use crate::report::screen::{Screen, Tone};
use crate::report::target::Target;
use crate::report::text::{count, describe};
use crate::time::{Wall, seconds_rounded_up};

/// The severities of syslog(3) in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Priority {
    Error = 3,
    Warning = 4,
    Notice = 5,
    Info = 6,
    Debug = 7,
}

impl Priority {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Notice => "notice",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }

    const fn of(level: Level) -> Self {
        match level {
            Level::ERROR => Self::Error,
            Level::WARN => Self::Warning,
            Level::INFO => Self::Info,
            Level::DEBUG | Level::TRACE => Self::Debug,
        }
    }
}

/// What a line is, in one word and as a MESSAGE_ID; neither for what the daemon says of itself.
const fn name(line: &Line) -> Option<(&'static str, &'static str)> {
    Some(match line {
        Line::Event { event, .. } => match event {
            Event::Incident(_) => ("incident", "3fba00737ded49bcb9b3b7720b83b48e"),
            Event::IncidentUpdate(_) => ("incident-update", "509e8b34081d4ed09cd112c5eb2871ba"),
            Event::IncidentEnd(_) => ("incident-end", "3f93d5d039554d4798f28b7d06cbfbe9"),
            Event::Ban(_) => ("ban", "d5b528ec4ecc482bab62cd2b57021491"),
            Event::BanEnd(_) => ("ban-end", "97e17f26028143df928e7780f8eb3e59"),
            Event::Alarm(_) => ("alarm", "cf4653075a93436890871f6fc783267f"),
            Event::Summary(_) => return None,
        },
        Line::Withheld { .. } => ("withheld", "647611e7e0c44847afaf403852992664"),
        Line::Lost { .. } => ("lost", "7badfb0da8bc41d5b19f3e660d7106fd"),
        Line::Words { .. } => return None,
    })
}

fn priority(line: &Line) -> Priority {
    match line {
        Line::Event { event: Event::Incident(_) | Event::Ban(_), .. } => Priority::Notice,
        Line::Event { event, .. } => Priority::of(level(event)),
        Line::Words { level, .. }
        | Line::Withheld { withheld: Withheld { words: Some((level, _)), .. }, .. } => Priority::of(*level),
        Line::Withheld { .. } => Priority::Notice,
        Line::Lost { .. } => Priority::Warning,
    }
}

/// The sentence.
fn sentence(line: &Line) -> String {
    match line {
        Line::Event { event: event @ (Event::Ban(_) | Event::BanEnd(_)), mode: Mode::Watch } => {
            format!("watching only: {}", describe(event))
        }
        Line::Event { event, .. } => describe(event),
        Line::Words { words, .. } => words.clone(),
        Line::Withheld { rule, withheld } => withheld_sentence(rule.as_deref(), withheld),
        Line::Lost { lines } => {
            let lines = count(*lines, "line", "lines");
            format!("{lines} of the log were lost: nobody read it in time")
        }
    }
}

fn withheld_sentence(rule: Option<&str>, withheld: &Withheld) -> String {
    let total = withheld.total();
    if let Some((_, words)) = &withheld.words {
        return match total {
            0 | 1 => words.clone(),
            more => format!("{words} (and {} more like it)", more - 1),
        };
    }
    let Some(rule) = rule else { return format!("and {}", count(total, "more alarm", "more alarms")) };
    let named = Kind::ALL.into_iter().zip(withheld.counts).filter(|(_, number)| *number > 0);
    let parts: Vec<String> = named.map(|(kind, number)| of_kind(kind, number)).collect();
    let latest = withheld.latest.map(|source| format!("; the latest of {}", Target(source)));
    format!("{}: and {total} more: {}{}", escape(rule), parts.join(", "), latest.unwrap_or_default())
}

fn of_kind(kind: Kind, number: u64) -> String {
    match kind {
        Kind::Incident => count(number, "incident", "incidents"),
        Kind::Update => format!("{} going on", count(number, "incident", "incidents")),
        Kind::End => format!("{} over", count(number, "incident", "incidents")),
        Kind::Ban => count(number, "ban", "bans"),
        Kind::BanEnd => format!("{} ended", count(number, "ban", "bans")),
        Kind::Other => count(number, "alarm", "alarms"),
    }
}

/// A line for people: time, severity, sentence. Where the journal reads standard error, which stamps each line itself, the
/// severity is what sd-daemon(3) has for it.
pub(super) fn text(entry: &Entry, screen: Screen, to_journal: bool) -> String {
    let (priority, sentence) = (priority(&entry.line), sentence(&entry.line));
    if to_journal {
        return format!("<{}>{sentence}\n", priority as u8);
    }
    let tone = match priority {
        Priority::Error => Tone::Bad,
        Priority::Warning => Tone::Warn,
        Priority::Notice | Priority::Info => Tone::Good,
        Priority::Debug => Tone::Faint,
    };
    let time = Wall(entry.wall_us).to_string();
    let name = format!("{:>7}", priority.as_str().to_uppercase());
    format!("{} {} {sentence}\n", screen.paint(Tone::Faint, &time), screen.paint(tone, &name))
}

/// A line of JSON: an event is the object that it is everywhere, with three fields more.
#[derive(Serialize)]
struct Object<'a, T: Serialize> {
    #[serde(flatten)]
    what: T,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<Mode>,
    level: &'static str,
    message: &'a str,
}

/// What is no event.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum Other<'a> {
    Log { time: Wall },
    Withheld { time: Wall, rule: Option<&'a str>, count: u64 },
    Lost { time: Wall, count: u64 },
}

pub(super) fn json(entry: &Entry, out: &mut impl Write) -> io::Result<()> {
    let (level, message) = (priority(&entry.line).as_str(), &*sentence(&entry.line));
    let time = Wall(entry.wall_us);
    let other = match &entry.line {
        Line::Event { event, mode } => {
            let what = Record::from(event);
            return write_line(out, &Object { what, mode: Some(*mode), level, message });
        }
        Line::Words { .. } => Other::Log { time },
        Line::Withheld { rule, withheld } => {
            Other::Withheld { time, rule: rule.as_deref(), count: withheld.total() }
        }
        Line::Lost { lines } => Other::Lost { time, count: *lines },
    };
    write_line(out, &Object { what: other, mode: None, level, message })
}

/// The journal's fields.
pub(super) fn fields(entry: &Entry) -> Fields {
    let line = &entry.line;
    let mut fields = Fields::default();
    fields.add("MESSAGE", &sentence(line));
    fields.add("PRIORITY", &(priority(line) as u8).to_string());
    fields.add("SYSLOG_IDENTIFIER", "nfban");
    if let Some((name, id)) = name(line) {
        fields.add("MESSAGE_ID", id);
        fields.add("NFBAN_EVENT", name);
    }
    match line {
        Line::Event { event, mode } => {
            let mode = if *mode == Mode::Watch { "watch" } else { "enforce" };
            fields.add("NFBAN_MODE", mode);
            event_fields(event, &mut fields);
        }
        Line::Withheld { rule, withheld } => {
            fields.add_some("NFBAN_RULE", rule.as_deref());
            fields.add("NFBAN_COUNT", &withheld.total().to_string());
        }
        Line::Lost { lines } => fields.add("NFBAN_COUNT", &lines.to_string()),
        Line::Words { .. } => {}
    }
    fields
}

fn event_fields(event: &Event, fields: &mut Fields) {
    match event {
        Event::Incident(incident) | Event::IncidentUpdate(incident) => incident_fields(incident, fields),
        Event::IncidentEnd(end) => incident_fields(&end.incident, fields),
        Event::Ban(Ban { time: _, target, action, rule, incident, timeout }) => {
            fields.add("NFBAN_RULE", rule);
            fields.add("NFBAN_TARGET", &Target(*target).to_string());
            fields.add("NFBAN_ACTION", action.as_str());
            fields.add_some("NFBAN_TIMEOUT", timeout.map(seconds_rounded_up));
            fields.add_some("NFBAN_INCIDENT", *incident);
        }
        Event::BanEnd(BanEnd { time: _, target, reason, shielded: _, action, rule }) => {
            fields.add("NFBAN_RULE", rule);
            fields.add("NFBAN_TARGET", &Target(*target).to_string());
            fields.add("NFBAN_ACTION", action.as_str());
            fields.add("NFBAN_REASON", why(*reason));
        }
        Event::Alarm(_) | Event::Summary(_) => {}
    }
}

fn incident_fields(incident: &Incident, fields: &mut Fields) {
    let ports = PortRanges(incident.port_ranges.clone()).to_string();
    fields.add("NFBAN_RULE", &incident.rule);
    fields.add("NFBAN_SOURCE", &Target(incident.source).to_string());
    fields.add("NFBAN_INCIDENT", &incident.id.to_string());
    fields.add("NFBAN_EVIDENCE", evidence(incident.evidence));
    fields.add_some("NFBAN_PORTS", Some(ports).filter(|ports| !ports.is_empty()));
    fields.add("NFBAN_PROTOCOLS", &incident.protocols.join(","));
    fields.add_some("NFBAN_DESTINATIONS", list(&incident.destinations));
    fields.add("NFBAN_PACKETS", &incident.packets.to_string());
    fields.add("NFBAN_BYTES", &incident.bytes.to_string());
    fields.add_some("NFBAN_TOOL", incident.tool.map(|tool| tool.as_str().to_lowercase()));
}

const fn evidence(evidence: Evidence) -> &'static str {
    match evidence {
        Evidence::Spoofable => "spoofable",
        Evidence::Validated => "validated",
    }
}

const fn why(reason: BanEndReason) -> &'static str {
    match reason {
        BanEndReason::Expired => "expired",
        BanEndReason::Unban => "unban",
        BanEndReason::Evicted => "evicted",
    }
}

fn list(items: &[impl Display]) -> Option<String> {
    (!items.is_empty()).then(|| items.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::text::tests::examples;

    fn told(event: Event, mode: Mode) -> Entry {
        Entry { wall_us: 1_767_323_045_000_006, line: Line::Event { event, mode } }
    }

    fn other(line: Line) -> Entry {
        Entry { wall_us: 1_767_323_045_000_006, line }
    }

    fn as_json(entry: &Entry) -> serde_json::Value {
        let mut out = Vec::new();
        json(entry, &mut out).unwrap();
        assert_eq!(out.iter().filter(|octet| **octet == b'\n').count(), 1);
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn the_journal_gets_an_incident_with_its_fields() {
        let mut expected = Fields::default();
        for (name, value) in [
            (
                "MESSAGE",
                "tcp-syn-scan from 192.0.2.7: 12 ports (22, 23, 80-82 …) of 1 host in 3.2 s, 12 packets",
            ),
            ("PRIORITY", "5"),
            ("SYSLOG_IDENTIFIER", "nfban"),
            ("MESSAGE_ID", "3fba00737ded49bcb9b3b7720b83b48e"),
            ("NFBAN_EVENT", "incident"),
            ("NFBAN_MODE", "enforce"),
            ("NFBAN_RULE", "tcp-syn-scan"),
            ("NFBAN_SOURCE", "192.0.2.7"),
            ("NFBAN_INCIDENT", "00c0ffee00000001"),
            ("NFBAN_EVIDENCE", "spoofable"),
            ("NFBAN_PORTS", "22-23,80-82"),
            ("NFBAN_PROTOCOLS", "tcp"),
            ("NFBAN_DESTINATIONS", "203.0.113.5"),
            ("NFBAN_PACKETS", "12"),
            ("NFBAN_BYTES", "720"),
        ] {
            expected.add(name, value);
        }
        assert_eq!(fields(&told(examples().remove(0), Mode::Enforce)), expected);
    }

    #[test]
    fn the_journal_gets_a_ban_and_its_end_with_their_fields() {
        let told = |at: usize| format!("{:?}", fields(&told(examples().remove(at), Mode::Watch)).lines());
        assert_eq!(
            told(1),
            r#"["MESSAGE=watching only: restricted 192.0.2.7 to what is published for 10m (tcp-syn-scan)", "PRIORITY=5", "SYSLOG_IDENTIFIER=nfban", "MESSAGE_ID=d5b528ec4ecc482bab62cd2b57021491", "NFBAN_EVENT=ban", "NFBAN_MODE=watch", "NFBAN_RULE=tcp-syn-scan", "NFBAN_TARGET=192.0.2.7", "NFBAN_ACTION=restrict", "NFBAN_TIMEOUT=600", "NFBAN_INCIDENT=00c0ffee00000001"]"#
        );
        assert_eq!(
            told(4),
            r#"["MESSAGE=watching only: ban of 192.0.2.7 ended: its time is over", "PRIORITY=6", "SYSLOG_IDENTIFIER=nfban", "MESSAGE_ID=97e17f26028143df928e7780f8eb3e59", "NFBAN_EVENT=ban-end", "NFBAN_MODE=watch", "NFBAN_RULE=tcp-syn-scan", "NFBAN_TARGET=192.0.2.7", "NFBAN_ACTION=restrict", "NFBAN_REASON=expired"]"#
        );
    }

    #[test]
    fn in_json_an_event_is_the_object_that_it_is_everywhere_and_a_little_more() {
        for event in examples() {
            let mut object = as_json(&told(event.clone(), Mode::Watch));
            let read: Record = serde_json::from_value(object.clone()).unwrap();
            assert_eq!(read, Record::from(&event));
            let object = object.as_object_mut().unwrap();
            assert_eq!(object["mode"], "watch");
            assert!(object["message"].as_str().unwrap().contains(&describe(&event)));
        }
        let words = other(Line::Words { level: Level::WARN, words: "hello".into() });
        assert_eq!(
            as_json(&words),
            serde_json::json!({"type": "log", "time": "2026-01-02T03:04:05.000006Z", "level": "warning", "message": "hello"})
        );
    }

    #[test]
    fn what_was_withheld_is_told_with_its_numbers() {
        let mut withheld = Withheld::default();
        for _ in 0..256 {
            withheld.count(Kind::Incident, Some("203.0.113.9/32".parse().unwrap()));
            withheld.count(Kind::Ban, Some("192.0.2.7/32".parse().unwrap()));
        }
        let entry = other(Line::Withheld { rule: Some("tcp-syn-scan".into()), withheld });
        let words = "tcp-syn-scan: and 512 more: 256 incidents, 256 bans; the latest of 192.0.2.7";
        let screen = Screen::default();
        assert_eq!(text(&entry, screen, false), format!("2026-01-02T03:04:05.000006Z  NOTICE {words}\n"));
        assert_eq!(text(&entry, screen, true), format!("<5>{words}\n"));
        assert_eq!(as_json(&entry)["count"], 512);
        assert_eq!(as_json(&entry)["rule"], "tcp-syn-scan");

        let mut withheld = Withheld { words: Some((Level::WARN, "cannot".into())), ..Withheld::default() };
        withheld.count(Kind::Other, None);
        withheld.count(Kind::Other, None);
        assert_eq!(withheld_sentence(None, &withheld), "cannot (and 1 more like it)");
    }
}
