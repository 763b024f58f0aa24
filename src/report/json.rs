//! Events as JSON, one object a line: a public interface, the same bytes for the same event.
//!
//! The records mirror [`crate::event`] so that the core need not know its outer form, and are read back by the client
//! of the control socket. The order of their fields is the order in the output; new fields go at the end.

use std::io::{self, Write};
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::escape;
use super::ports::PortRanges;
use super::target::Target;
use crate::decide::{Evidence, Measure};
use crate::event::{self, BanEndReason, Event, IncidentId, Tool};
use crate::time::{Wall, seconds_rounded_up};

/// Writes one event as a line.
///
/// # Errors
/// Those of `out`.
pub fn write(out: &mut impl Write, event: &Event) -> io::Result<()> {
    write_line(out, &Record::from(event))
}

/// Writes any record as one line of JSON that is safe to show on a terminal.
///
/// # Errors
/// Those of `out`.
pub fn write_line(out: &mut impl Write, record: &impl Serialize) -> io::Result<()> {
    let mut serializer = serde_json::Serializer::with_formatter(&mut *out, Harmless);
    record.serialize(&mut serializer)?;
    out.write_all(b"\n")
}

/// Compact JSON that escapes as `\uXXXX` whatever a terminal would obey: JSON itself asks that of ASCII controls only.
struct Harmless;

impl serde_json::ser::Formatter for Harmless {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        let mut plain = 0;
        for (at, c) in fragment.char_indices().filter(|&(_, c)| escape::acts(c)) {
            out.write_all(fragment.get(plain..at).unwrap_or_default().as_bytes())?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}")?;
            }
            plain = at + c.len_utf8();
        }
        out.write_all(fragment.get(plain..).unwrap_or_default().as_bytes())
    }
}

/// Any event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
#[expect(missing_docs, reason = "each is documented at its record")]
pub enum Record {
    Incident(Incident),
    IncidentUpdate(IncidentTotals),
    Ban(Ban),
    IncidentEnd(IncidentTotals),
    BanEnd(BanEnd),
    Alarm(Alarm),
    Summary(Summary),
}

/// See [`event::Incident`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the event")]
pub struct Incident {
    pub id: IncidentId,
    pub rule: String,
    pub source: Target,
    pub evidence: Evidence,
    pub first_seen: Wall,
    pub last_seen: Wall,
    pub time: Wall,
    pub destinations: Vec<IpAddr>,
    pub ports: Vec<u16>,
    pub distinct_ports: u64,
    pub protocols: Vec<String>,
    pub addresses: u64,
    pub packets: u64,
    pub bytes: u64,
    pub distinct_destinations: u64,
    pub port_ranges: PortRanges,
    pub source_ports: Vec<u16>,
    pub distinct_source_ports: u64,
    pub duration_s: Seconds,
    pub tool: Option<Tool>,
    /// Only of web probes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<String>,
}

/// See [`event::Ban`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the event")]
pub struct Ban {
    pub time: Wall,
    pub target: Target,
    pub action: Measure,
    pub rule: String,
    pub incident: Option<IncidentId>,
    /// Seconds, rounded up; none is until it is lifted.
    pub timeout_s: Option<u64>,
}

/// What an incident has come to, so far or in all. See [`event::Incident`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the event")]
pub struct IncidentTotals {
    pub incident: IncidentId,
    /// When this was told: of an end, when it was over; of an update, its latest packet.
    pub time: Wall,
    pub rule: String,
    pub source: Target,
    pub packets: u64,
    pub bytes: u64,
    pub distinct_ports: u64,
    pub evidence: Evidence,
    pub first_seen: Wall,
    pub last_seen: Wall,
    pub duration_s: Seconds,
    pub destinations: Vec<IpAddr>,
    pub distinct_destinations: u64,
    pub ports: Vec<u16>,
    pub port_ranges: PortRanges,
    pub source_ports: Vec<u16>,
    pub distinct_source_ports: u64,
    pub protocols: Vec<String>,
    pub addresses: u64,
    pub tool: Option<Tool>,
    /// Only of web probes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<String>,
}

/// A duration as a number of seconds, with microseconds behind the point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seconds(pub Duration);

/// See [`event::BanEnd`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the event")]
pub struct BanEnd {
    pub time: Wall,
    pub target: Target,
    pub reason: BanEndReason,
    pub action: Measure,
    pub rule: String,
}

/// See [`event::Alarm`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the event")]
pub struct Alarm {
    pub time: Wall,
    pub what: String,
}

/// See [`event::Summary`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the event")]
pub struct Summary {
    pub packets: u64,
    pub undecoded: u64,
    pub sources: u64,
    pub incidents: u64,
    pub bans: u64,
    pub time_jumps: u64,
}

impl From<&Event> for Record {
    fn from(event: &Event) -> Self {
        match event {
            Event::Incident(incident) => Self::Incident((&**incident).into()),
            Event::IncidentUpdate(incident) => {
                Self::IncidentUpdate(IncidentTotals::new(incident, incident.last_seen.into()))
            }
            Event::Ban(ban) => Self::Ban(ban.into()),
            Event::IncidentEnd(end) => Self::IncidentEnd(IncidentTotals::new(&end.incident, end.time.into())),
            Event::BanEnd(end) => {
                let event::BanEnd { time, target, reason, shielded: _, action, ref rule } = *end;
                let rule = rule.clone();
                Self::BanEnd(BanEnd { time: time.into(), target: Target(target), reason, action, rule })
            }
            Event::Alarm(alarm) => Self::Alarm(alarm.into()),
            Event::Summary(summary) => Self::Summary((*summary).into()),
        }
    }
}

impl From<&event::Incident> for Incident {
    fn from(incident: &event::Incident) -> Self {
        Self {
            id: incident.id,
            rule: incident.rule.clone(),
            source: Target(incident.source),
            evidence: incident.evidence,
            first_seen: incident.first_seen.into(),
            last_seen: incident.last_seen.into(),
            time: incident.time.into(),
            destinations: incident.destinations.clone(),
            ports: incident.ports.clone(),
            distinct_ports: incident.distinct_ports,
            protocols: incident.protocols.clone(),
            addresses: incident.addresses,
            packets: incident.packets,
            bytes: incident.bytes,
            distinct_destinations: incident.distinct_destinations,
            port_ranges: PortRanges(incident.port_ranges.clone()),
            source_ports: incident.source_ports.clone(),
            distinct_source_ports: incident.distinct_source_ports,
            duration_s: Seconds(incident.duration()),
            tool: incident.tool,
            probes: incident.probes.clone(),
        }
    }
}

impl From<&event::Ban> for Ban {
    fn from(ban: &event::Ban) -> Self {
        Self {
            time: ban.time.into(),
            target: Target(ban.target),
            action: ban.action,
            rule: ban.rule.clone(),
            incident: ban.incident,
            timeout_s: ban.timeout.map(seconds_rounded_up),
        }
    }
}

impl IncidentTotals {
    fn new(incident: &event::Incident, time: Wall) -> Self {
        Self {
            incident: incident.id,
            time,
            rule: incident.rule.clone(),
            source: Target(incident.source),
            packets: incident.packets,
            bytes: incident.bytes,
            distinct_ports: incident.distinct_ports,
            evidence: incident.evidence,
            first_seen: incident.first_seen.into(),
            last_seen: incident.last_seen.into(),
            duration_s: Seconds(incident.duration()),
            destinations: incident.destinations.clone(),
            distinct_destinations: incident.distinct_destinations,
            ports: incident.ports.clone(),
            port_ranges: PortRanges(incident.port_ranges.clone()),
            source_ports: incident.source_ports.clone(),
            distinct_source_ports: incident.distinct_source_ports,
            protocols: incident.protocols.clone(),
            addresses: incident.addresses,
            tool: incident.tool,
            probes: incident.probes.clone(),
        }
    }
}

impl From<&event::Alarm> for Alarm {
    fn from(alarm: &event::Alarm) -> Self {
        Self { time: alarm.time.into(), what: alarm.what.clone() }
    }
}

impl From<event::Summary> for Summary {
    fn from(summary: event::Summary) -> Self {
        let event::Summary { packets, undecoded, sources, incidents, bans, time_jumps } = summary;
        Self { packets, undecoded, sources, incidents, bans, time_jumps }
    }
}

impl Serialize for IncidentId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for IncidentId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let digits = String::deserialize(deserializer)?;
        u64::from_str_radix(&digits, 16).map(Self).map_err(de::Error::custom)
    }
}

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // The number nearest to the six decimals, which a division would miss at times.
        let decimals = format!("{}.{:06}", self.0.as_secs(), self.0.subsec_micros());
        serializer.serialize_f64(decimals.parse().map_err(serde::ser::Error::custom)?)
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds =
            Duration::try_from_secs_f64(f64::deserialize(deserializer)?).map_err(de::Error::custom)?;
        let micros = (seconds.subsec_nanos() + 500) / 1000;
        Ok(Self(Duration::from_secs(seconds.as_secs()) + Duration::from_micros(micros.into())))
    }
}

#[cfg(test)]
mod tests {
    use super::super::text::tests::{examples, stamp};
    use super::*;

    fn line(event: &Event) -> String {
        let mut out = Vec::new();
        write(&mut out, event).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_event_is_the_object_the_design_promises() {
        let lines: String = examples().iter().map(line).collect();
        assert_eq!(
            lines,
            r#"{"type":"incident","id":"00c0ffee00000001","rule":"tcp-syn-scan","source":"192.0.2.7","evidence":"spoofable","first_seen":"2026-01-02T03:04:05.000006Z","last_seen":"2026-01-02T03:04:08.200006Z","time":"2026-01-02T03:04:08.200006Z","destinations":["203.0.113.5"],"ports":[22,23,80,81,82],"distinct_ports":12,"protocols":["tcp"],"addresses":1,"packets":12,"bytes":720,"distinct_destinations":1,"port_ranges":"22-23,80-82","source_ports":[40000],"distinct_source_ports":1,"duration_s":3.2,"tool":null}
{"type":"ban","time":"2026-01-02T03:04:08.200006Z","target":"192.0.2.7","action":"restrict","rule":"tcp-syn-scan","incident":"00c0ffee00000001","timeout_s":600}
{"type":"incident-update","incident":"00c0ffee00000001","time":"2026-01-02T03:04:25.000006Z","rule":"tcp-syn-scan","source":"192.0.2.7","packets":24,"bytes":1440,"distinct_ports":12,"evidence":"spoofable","first_seen":"2026-01-02T03:04:05.000006Z","last_seen":"2026-01-02T03:04:25.000006Z","duration_s":20.0,"destinations":["203.0.113.5"],"distinct_destinations":1,"ports":[22,23,80,81,82],"port_ranges":"22-23,80-82","source_ports":[40000],"distinct_source_ports":1,"protocols":["tcp"],"addresses":1,"tool":"nmap"}
{"type":"incident-end","incident":"00c0ffee00000001","time":"2026-01-02T03:10:00.000000Z","rule":"tcp-syn-scan","source":"192.0.2.7","packets":24,"bytes":1440,"distinct_ports":12,"evidence":"spoofable","first_seen":"2026-01-02T03:04:05.000006Z","last_seen":"2026-01-02T03:04:25.000006Z","duration_s":20.0,"destinations":["203.0.113.5"],"distinct_destinations":1,"ports":[22,23,80,81,82],"port_ranges":"22-23,80-82","source_ports":[40000],"distinct_source_ports":1,"protocols":["tcp"],"addresses":1,"tool":"nmap"}
{"type":"ban-end","time":"2026-01-02T03:14:08.200006Z","target":"192.0.2.7","reason":"expired","action":"restrict","rule":"tcp-syn-scan"}
{"type":"ban","time":"2026-01-02T04:00:00.000000Z","target":"2001:db8:1:2::/64","action":"ban","rule":"manual","incident":null,"timeout_s":null}
{"type":"alarm","time":"2026-01-02T04:00:00.000000Z","what":"the cap of 100000 bans is reached"}
{"type":"summary","packets":14,"undecoded":1,"sources":3,"incidents":1,"bans":2,"time_jumps":0}
"#
        );
    }

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        for event in examples() {
            assert_eq!(serde_json::from_str::<Record>(&line(&event)).unwrap(), Record::from(&event));
        }
    }

    #[test]
    fn durations_have_their_six_decimals_and_no_more() {
        for (micros, text) in
            [(0, "0.0"), (1, "1e-6"), (428_000, "0.428"), (604_800_345_678, "604800.345678")]
        {
            let seconds = Seconds(Duration::from_micros(micros));
            assert_eq!(serde_json::to_string(&seconds).unwrap(), text);
            assert_eq!(serde_json::from_str::<Seconds>(text).unwrap(), seconds);
        }
    }

    #[test]
    fn text_from_outside_cannot_act_on_a_terminal() {
        let what = "\u{1b}[2J \u{9b}31m \u{202e}\u{e0041} \"quoted\" 遮断".to_owned();
        let alarm = Event::Alarm(event::Alarm { time: stamp(0), what: what.clone() });
        let line = line(&alarm);
        assert!(line.contains(r#""\u001b[2J \u009b31m \u202e\udb40\udc41 \"quoted\" 遮断""#), "{line}");
        let Record::Alarm(read) = serde_json::from_str(&line).unwrap() else { panic!("{line}") };
        assert_eq!(read.what, what);
    }
}
