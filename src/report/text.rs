//! Events for people, one sentence a line.

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::time::Duration;

use super::escape::escape;
use super::ports::PortRanges;
use super::target::Target;
use crate::decide::Measure;
use crate::event::{Ban, BanEnd, BanEndReason, Event, Incident, IncidentEnd, Summary};
use crate::time::{Stamp, Wall, format_duration};

/// How many ranges of ports, or names, a line shows before it says `…`.
const SHOWN: usize = 12;

/// Writes one event as a line that begins with its time in UTC (a summary has none).
///
/// # Errors
/// Those of `out`.
pub fn write(out: &mut impl Write, event: &Event) -> io::Result<()> {
    match time(event) {
        Some(stamp) => writeln!(out, "{} {}", seconds(stamp), describe(event)),
        None => writeln!(out, "{}", describe(event)),
    }
}

/// The sentence alone, for a journal that has its own time.
#[must_use]
pub fn describe(event: &Event) -> String {
    match event {
        Event::Incident(incident) => describe_incident(incident, ""),
        Event::IncidentUpdate(incident) => describe_incident(incident, " goes on"),
        Event::Ban(ban) => describe_ban(ban),
        Event::IncidentEnd(end) => describe_incident_end(end),
        Event::BanEnd(end) => describe_ban_end(end),
        Event::Alarm(alarm) => format!("alarm: {}", escape(&alarm.what)),
        Event::Summary(summary) => describe_summary(summary),
    }
}

const fn time(event: &Event) -> Option<Stamp> {
    match event {
        Event::Incident(incident) => Some(incident.time),
        Event::IncidentUpdate(incident) => Some(incident.last_seen),
        Event::Ban(ban) => Some(ban.time),
        Event::IncidentEnd(end) => Some(end.time),
        Event::BanEnd(end) => Some(end.time),
        Event::Alarm(alarm) => Some(alarm.time),
        Event::Summary(_) => None,
    }
}

fn seconds(stamp: Stamp) -> impl fmt::Display {
    Wall::from(stamp).timestamp().strftime("%Y-%m-%d %H:%M:%SZ")
}

fn describe_incident(incident: &Incident, goes_on: &str) -> String {
    let mut line = format!("{} from {}", escape(&incident.rule), Target(incident.source));
    if incident.addresses > 1 {
        let _ = write!(line, " ({})", count(incident.addresses, "address", "addresses"));
    }
    if let Some(requests) = describe_requests(incident) {
        let _ = write!(line, "{goes_on}: {requests}");
        return line;
    }
    let what =
        describe_ports(incident).unwrap_or_else(|| escape(&incident.protocols.join(", ")).into_owned());
    let hosts = count(incident.distinct_destinations, "host", "hosts");
    let (span, packets) = (span(incident.duration()), count(incident.packets, "packet", "packets"));
    let _ = write!(line, "{goes_on}: {what} of {hosts} in {span}, {packets}{}", made_with(incident));
    line
}

/// `3 requests in 1.0 s`, where a log tells of an incident and no packet does.
fn describe_requests(incident: &Incident) -> Option<String> {
    let requests = count(incident.packets, "request", "requests");
    let probes = match incident.probes.as_slice() {
        [] => String::new(),
        probes => format!(" ({})", names(probes)),
    };
    (incident.distinct_destinations == 0)
        .then(|| format!("{requests}{probes} in {}", span(incident.duration())))
}

/// Names as a list of bounded length.
pub fn names(names: &[String]) -> String {
    let shown = names.iter().take(SHOWN).map(|name| escape(name).into_owned()).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN { format!("{shown} …") } else { shown }
}

/// `12 ports (22, 23, 80-82 …)`, where its packets have ports.
fn describe_ports(incident: &Incident) -> Option<String> {
    let distinct = incident.distinct_ports;
    let shown = PortRanges(incident.port_ranges.clone()).describe(distinct, SHOWN);
    (distinct > 0).then(|| format!("{} ({shown})", count(distinct, "port", "ports")))
}

fn made_with(incident: &Incident) -> String {
    incident.tool.map_or_else(String::new, |tool| format!(", made with {}", tool.as_str()))
}

fn describe_ban(ban: &Ban) -> String {
    let target = Target(ban.target);
    let rule = escape(&ban.rule);
    let how_long = match ban.timeout {
        Some(timeout) => format!("for {}", format_duration(timeout)),
        None => "until it is lifted".to_owned(),
    };
    match ban.action {
        Measure::Ban => format!("banned {target} {how_long} ({rule})"),
        Measure::Restrict => format!("restricted {target} to what is published {how_long} ({rule})"),
    }
}

fn describe_incident_end(end: &IncidentEnd) -> String {
    let IncidentEnd { incident, .. } = end;
    if let Some(requests) = describe_requests(incident) {
        let (rule, source) = (escape(&incident.rule), Target(incident.source));
        return format!("{rule} from {source} is over: {requests}");
    }
    let packets = count(incident.packets, "packet", "packets");
    let hosts = count(incident.distinct_destinations, "host", "hosts");
    let whereto = match describe_ports(incident) {
        Some(ports) => format!("{ports} of {hosts}"),
        None => hosts,
    };
    format!(
        "{} from {} is over: {packets}, {} bytes to {whereto} in {}{}",
        escape(&incident.rule),
        Target(incident.source),
        incident.bytes,
        span(incident.duration()),
        made_with(incident)
    )
}

fn describe_ban_end(end: &BanEnd) -> String {
    let target = Target(end.target);
    let why = match (end.reason, end.shielded) {
        (BanEndReason::Unban, Some(why)) => {
            return format!("ban of {target} ended: it now {}", why.reason(end.target));
        }
        (BanEndReason::Expired, _) => "its time is over",
        (BanEndReason::Unban, None) => "it was lifted",
        (BanEndReason::Evicted, _) => "it gave way to others, because there are too many",
    };
    format!("ban of {target} ended: {why}")
}

fn describe_summary(summary: &Summary) -> String {
    let mut line = format!(
        "{} from {}: {}, {}",
        count(summary.packets, "packet", "packets"),
        count(summary.sources, "source", "sources"),
        count(summary.incidents, "incident", "incidents"),
        count(summary.bans, "ban", "bans"),
    );
    if summary.undecoded > 0 {
        let _ = write!(line, "; {} not understood", count(summary.undecoded, "record", "records"));
    }
    if summary.time_jumps > 0 {
        let _ = write!(line, "; the clock stepped back {}", count(summary.time_jumps, "time", "times"));
    }
    line
}

/// `1 port`, `2 ports`.
#[must_use]
pub fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// How long something took: `3.2 s` below a minute, then as [`format_duration`].
#[must_use]
pub fn span(duration: Duration) -> String {
    if duration < Duration::from_secs(60) {
        // Cut off, like all durations here: 59.97 s must not become "60.0 s".
        format!("{}.{} s", duration.as_secs(), duration.subsec_millis() / 100)
    } else {
        format_duration(duration)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::decide::Evidence;
    use crate::event::{Alarm, IncidentId, Tool};

    /// So many microseconds after 2026-01-02T03:04:05.000006Z.
    pub(crate) fn stamp(after_us: u64) -> Stamp {
        let wall_us = 1_767_323_045_000_006 + i64::try_from(after_us).unwrap();
        Stamp { boot: Duration::from_secs(1000) + Duration::from_micros(after_us), wall_us }
    }

    fn incident() -> Incident {
        Incident {
            id: IncidentId(0x00c0_ffee_0000_0001),
            rule: "tcp-syn-scan".into(),
            source: "192.0.2.7/32".parse().unwrap(),
            evidence: Evidence::Spoofable,
            first_seen: stamp(0),
            last_seen: stamp(3_200_000),
            time: stamp(3_200_000),
            destinations: vec!["203.0.113.5".parse().unwrap()],
            distinct_destinations: 1,
            ports: vec![22, 23, 80, 81, 82],
            distinct_ports: 12,
            port_ranges: vec![22..=23, 80..=82],
            source_ports: vec![40_000],
            distinct_source_ports: 1,
            protocols: vec!["tcp".into()],
            addresses: 1,
            packets: 12,
            bytes: 720,
            tool: None,
            probes: Vec::new(),
        }
    }

    /// The same one later.
    fn grown() -> Incident {
        Incident {
            last_seen: stamp(20_000_000),
            packets: 24,
            bytes: 1440,
            tool: Some(Tool::Nmap),
            ..incident()
        }
    }

    /// One of each, and a manual ban for good.
    pub(crate) fn examples() -> Vec<Event> {
        let ban = Ban {
            time: stamp(3_200_000),
            target: "192.0.2.7/32".parse().unwrap(),
            action: Measure::Restrict,
            rule: "tcp-syn-scan".into(),
            incident: Some(IncidentId(0x00c0_ffee_0000_0001)),
            timeout: Some(Duration::from_secs(600)),
        };
        let later = stamp(3_354_999_994);
        vec![
            Event::Incident(Box::new(incident())),
            Event::Ban(ban.clone()),
            Event::IncidentUpdate(Box::new(grown())),
            Event::IncidentEnd(Box::new(IncidentEnd { time: stamp(354_999_994), incident: grown() })),
            Event::BanEnd(BanEnd {
                time: stamp(603_200_000),
                target: ban.target,
                reason: BanEndReason::Expired,
                shielded: None,
                action: ban.action,
                rule: ban.rule,
            }),
            Event::Ban(Ban {
                time: later,
                target: "2001:db8:1:2::/64".parse().unwrap(),
                action: Measure::Ban,
                rule: "manual".into(),
                incident: None,
                timeout: None,
            }),
            Event::Alarm(Alarm { time: later, what: "the cap of 100000 bans is reached".into() }),
            Event::Summary(Summary {
                packets: 14,
                undecoded: 1,
                sources: 3,
                incidents: 1,
                bans: 2,
                time_jumps: 0,
            }),
        ]
    }

    #[test]
    fn every_event_is_one_clear_sentence() {
        let mut out = Vec::new();
        for event in examples() {
            write(&mut out, &event).unwrap();
        }
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "\
2026-01-02 03:04:08Z tcp-syn-scan from 192.0.2.7: 12 ports (22, 23, 80-82 …) of 1 host in 3.2 s, 12 packets
2026-01-02 03:04:08Z restricted 192.0.2.7 to what is published for 10m (tcp-syn-scan)
2026-01-02 03:04:25Z tcp-syn-scan from 192.0.2.7 goes on: 12 ports (22, 23, 80-82 …) of 1 host in 20.0 s, 24 packets, made with nmap
2026-01-02 03:10:00Z tcp-syn-scan from 192.0.2.7 is over: 24 packets, 1440 bytes to 12 ports (22, 23, 80-82 …) of 1 host in 20.0 s, made with nmap
2026-01-02 03:14:08Z ban of 192.0.2.7 ended: its time is over
2026-01-02 04:00:00Z banned 2001:db8:1:2::/64 until it is lifted (manual)
2026-01-02 04:00:00Z alarm: the cap of 100000 bans is reached
14 packets from 3 sources: 1 incident, 2 bans; 1 record not understood
"
        );
    }

    #[test]
    fn an_incident_without_ports_names_its_protocols() {
        let scan = Incident {
            rule: "ip-protocol-scan".into(),
            ports: vec![],
            port_ranges: vec![],
            distinct_ports: 0,
            protocols: vec!["3".into(), "5".into(), "egp".into(), "igp".into()],
            addresses: 2,
            packets: 4,
            ..incident()
        };
        assert_eq!(
            describe(&Event::Incident(Box::new(scan))),
            "ip-protocol-scan from 192.0.2.7 (2 addresses): 3, 5, egp, igp of 1 host in 3.2 s, 4 packets"
        );
    }

    #[test]
    fn spans_are_cut_off_and_never_rounded_up_to_a_minute() {
        assert_eq!(span(Duration::from_millis(59_999)), "59.9 s");
        assert_eq!(span(Duration::from_millis(60_000)), "1m");
        assert_eq!(span(Duration::from_micros(10)), "0.0 s");
    }

    #[test]
    fn an_alarm_that_quotes_the_outside_stays_one_harmless_line() {
        let alarm = Alarm { time: stamp(0), what: "prefix \u{1b}[2J\nnew line".into() };
        assert_eq!(describe(&Event::Alarm(alarm)), r"alarm: prefix \u{1b}[2J\nnew line");
    }
}
