//! All about one address.

use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use super::super::bans::left;
use super::super::why;
use crate::control::protocol::{Address, BanRow};
use crate::decide::Measure;
use crate::report::escape::escape;
use crate::report::firing::Firing;
use crate::report::json::Incident;
use crate::report::moment::moment;
use crate::report::page::Page;
use crate::report::screen::Tone;
use crate::report::table::Align::{Left, Right};
use crate::report::table::Table;
use crate::report::text::{count, names};
use crate::store::reader::Record;
use crate::time::format_duration;

/// How many ranges of ports fit beside the other columns.
const PORTS: usize = 4;

/// Writes all about one address.
pub(super) fn address(page: &mut Page<'_>, known: &Address, record: &Record) -> io::Result<()> {
    let Address { address, .. } = known;
    if let Some(why) = &known.protected {
        let line = format!("{address} is never banned: it {}", escape(why));
        page.toned(Tone::Good, &line)?;
    }
    for ban in &known.bans {
        page.toned(Tone::Bad, &sentence(ban))?;
    }
    if known.bans.is_empty() && known.protected.is_none() {
        page.line(&format!("{address} is not banned"))?;
    }
    let seen = [("first counted", known.first_seen), ("last counted", known.last_seen)];
    for (what, time) in seen.into_iter().filter_map(|(what, time)| Some((what, time?))) {
        page.line(&format!("{what} {}", moment(time)))?;
    }
    let incidents = count(known.incidents_total, "incident", "incidents");
    let repetitions = count(known.repetitions.into(), "ban", "bans");
    page.line(&format!("{incidents} and {repetitions} remembered"))?;
    for incident in &known.open_incidents {
        page.line(&format!("open: {}", so_far(incident)))?;
    }
    for firing in &known.firings {
        page.line(&why::in_short(firing, was_enforced(firing, known, record)))?;
    }
    if !known.firings.is_empty() {
        page.line(&format!("`nfban why {address}` shows the packets"))?;
    }
    if !known.counts.is_empty() {
        page.section("Counted")?;
        let columns = [("RULE", Left), ("COUNT", Right), ("THRESHOLD", Right), ("WITHIN", Right)];
        let mut table = Table::new(&columns, page.screen());
        for one in &known.counts {
            let window = format_duration(Duration::from_secs(one.window_s));
            table.row([
                escape(&one.rule).into_owned(),
                one.count.to_string(),
                one.threshold.to_string(),
                window,
            ]);
        }
        page.table(table)?;
    }
    Ok(())
}

/// Whether the kernel was told what a firing led to: the ban tells, as far as it is known.
fn was_enforced(firing: &Firing, known: &Address, record: &Record) -> bool {
    let stand = known.bans.iter().map(|ban| (ban.incident, ban.enforced));
    let past = record.bans.iter().map(|former| (former.incident, former.ban.enforced));
    stand
        .chain(past)
        .find(|(incident, _)| incident.is_some() && *incident == firing.incident)
        .is_none_or(|(_, enforced)| enforced)
}

/// What an open incident has come to.
fn so_far(incident: &Incident) -> String {
    let mut line = format!("{} since {}", escape(&incident.rule), moment(incident.first_seen));
    if !incident.probes.is_empty() {
        let requests = count(incident.packets, "request", "requests");
        let _ = write!(line, ", {requests} ({})", names(&incident.probes));
        return line;
    }
    if incident.distinct_ports > 0 {
        let shown = incident.port_ranges.describe(incident.distinct_ports, PORTS);
        let _ = write!(line, ", {} ({shown})", count(incident.distinct_ports, "port", "ports"));
    }
    let hosts = count(incident.distinct_destinations, "host", "hosts");
    let packets = count(incident.packets, "packet", "packets");
    let _ = write!(line, " of {hosts}, {packets}, {} bytes", incident.bytes);
    if let Some(tool) = incident.tool {
        let _ = write!(line, ", made with {}", tool.as_str());
    }
    line
}

fn sentence(ban: &BanRow) -> String {
    let done = match ban.action {
        Measure::Ban => "banned",
        Measure::Restrict => "restricted to what is published",
    };
    let left = match ban.expires_s {
        Some(_) => format!("{} left", left(ban.expires_s)),
        None => "until it is lifted".to_owned(),
    };
    let mut line = format!(
        "{} {} {done} since {} ({}), {left}, {} dropped",
        ban.target,
        if ban.enforced { "is" } else { "would be" },
        moment(ban.time),
        escape(&ban.rule),
        count(ban.packets, "packet", "packets"),
    );
    if let Some(reason) = &ban.reason {
        line.push_str(": ");
        line.push_str(&escape(reason));
    }
    line
}

#[cfg(test)]
pub(in crate::cli) mod tests {
    use super::super::super::bans::tests::row;
    use super::*;
    use crate::control::protocol::Count;
    use crate::event::Event;
    use crate::report::json;
    use crate::report::screen::Screen;
    use crate::report::text::tests::examples;
    use crate::time::Wall;

    pub(in crate::cli) fn incident() -> Incident {
        let Some(Event::Incident(incident)) = examples().into_iter().next() else { panic!() };
        let json::Record::Incident(incident) = json::Record::from(&Event::Incident(incident)) else {
            panic!()
        };
        incident
    }

    #[test]
    fn all_about_an_address_says_how_near_it_is_to_each_threshold() {
        let known = Address {
            address: "192.0.2.7".parse().unwrap(),
            protected: None,
            bans: vec![row("192.0.2.7", "tcp-syn-scan", Some(581), None)],
            open_incidents: vec![incident()],
            incidents_total: 3,
            repetitions: 1,
            first_seen: Some(Wall(1_767_323_045_000_006)),
            last_seen: None,
            firings: vec![],
            counts: vec![Count { rule: "udp-scan".into(), count: 18, threshold: 24, window_s: 60 }],
        };
        let mut out = Vec::new();
        address(&mut Page::new(&mut out, Screen::default()), &known, &Record::default()).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "\
192.0.2.7 is restricted to what is published since 2026-01-02 03:04:05Z (tcp-syn-scan), 9m 41s left, 120 packets dropped
first counted 2026-01-02 03:04:05Z
3 incidents and 1 ban remembered
open: tcp-syn-scan since 2026-01-02 03:04:05Z, 12 ports (22, 23, 80-82 …) of 1 host, 12 packets, 720 bytes

Counted
RULE      COUNT  THRESHOLD  WITHIN
udp-scan     18         24      1m
"
        );
    }

    #[test]
    fn an_address_nothing_is_known_of_is_not_banned() {
        let mut known = Address {
            address: "2001:db8::1".parse().unwrap(),
            protected: None,
            bans: vec![],
            open_incidents: vec![],
            incidents_total: 0,
            repetitions: 0,
            first_seen: None,
            last_seen: None,
            firings: vec![],
            counts: vec![],
        };
        let mut out = Vec::new();
        address(&mut Page::new(&mut out, Screen::default()), &known, &Record::default()).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "2001:db8::1 is not banned\n0 incidents and 0 bans remembered\n"
        );
        known.protected = Some("is on the allowlist".into());
        let mut out = Vec::new();
        address(&mut Page::new(&mut out, Screen::default()), &known, &Record::default()).unwrap();
        assert!(out.starts_with(b"2001:db8::1 is never banned: it is on the allowlist\n"));
    }
}
