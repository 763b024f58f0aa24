//! The status on one screen.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Duration;

use super::super::bans::{self, left};
use crate::control::protocol::{Address, BanRow, Capture, Limit, Mode, Status, Traps, Verdicts};
use crate::decide::Measure;
use crate::report::escape::escape;
use crate::report::json::Incident;
use crate::report::screen::{Screen, Tone};
use crate::report::table::Align::{Left, Right};
use crate::report::table::Table;
use crate::report::text::count;
use crate::time::{Wall, format_duration};

/// How many ranges of ports fit beside the other columns.
const PORTS: usize = 4;

/// Writes everything: what runs, captures, counts, latest incidents and bans, alarms.
pub(super) fn whole(out: &mut dyn Write, status: &Status, screen: Screen) -> io::Result<()> {
    headline(out, status, screen)?;
    if !status.captures.is_empty() {
        writeln!(out)?;
        lines(out, captures(&status.captures, screen))?;
    }
    writeln!(out)?;
    lines(out, counts(status, screen))?;
    let now = Wall(status.since.0.saturating_add_unsigned(status.uptime_s.saturating_mul(1_000_000)));
    if !status.recent_incidents.is_empty() {
        section(out, "Latest incidents", screen)?;
        lines(out, incidents(&status.recent_incidents, now, screen))?;
    }
    if !status.recent_bans.is_empty() {
        section(out, "Latest bans", screen)?;
        bans::table(&status.recent_bans, screen, out)?;
    }
    if !status.alarms.is_empty() {
        section(out, "Alarms", screen)?;
        for alarm in &status.alarms {
            let line = format!("{} ago: {}", ago(alarm.time, now), escape(&alarm.what));
            writeln!(out, "{}", screen.paint(Tone::Bad, &line))?;
        }
    }
    Ok(())
}

/// Writes all about one address.
pub(super) fn address(out: &mut dyn Write, known: &Address, screen: Screen) -> io::Result<()> {
    let Address { address, .. } = known;
    if let Some(why) = &known.protected {
        let line = format!("{address} is protected and never banned: {}", escape(why));
        writeln!(out, "{}", screen.paint(Tone::Good, &line))?;
    }
    for ban in &known.bans {
        writeln!(out, "{}", screen.paint(Tone::Bad, &sentence(ban)))?;
    }
    if known.bans.is_empty() && known.protected.is_none() {
        writeln!(out, "{address} is not banned")?;
    }
    let seen = [("first counted", known.first_seen), ("last counted", known.last_seen)];
    for (what, time) in seen.into_iter().filter_map(|(what, time)| Some((what, time?))) {
        writeln!(out, "{what} {}", moment(time))?;
    }
    let incidents = count(known.incidents_total, "incident", "incidents");
    let repetitions = count(known.repetitions.into(), "ban", "bans");
    writeln!(out, "{incidents} and {repetitions} remembered")?;
    for incident in &known.open_incidents {
        writeln!(out, "open: {}", so_far(incident))?;
    }
    if !known.counts.is_empty() {
        section(out, "Counted", screen)?;
        let mut table =
            Table::new(&[("RULE", Left), ("COUNT", Right), ("THRESHOLD", Right), ("WITHIN", Right)], screen);
        for one in &known.counts {
            let window = format_duration(Duration::from_secs(one.window_s));
            table.row([
                escape(&one.rule).into_owned(),
                one.count.to_string(),
                one.threshold.to_string(),
                window,
            ]);
        }
        lines(out, table)?;
    }
    Ok(())
}

fn headline(out: &mut dyn Write, status: &Status, screen: Screen) -> io::Result<()> {
    let name = match &status.instance {
        Some(instance) => format!("nfban {} ({})", escape(&status.version), escape(instance)),
        None => format!("nfban {}", escape(&status.version)),
    };
    let does = match status.mode {
        Mode::Enforce => screen.paint(Tone::Good, "enforces"),
        Mode::Watch => screen.paint(Tone::Warn, "watches and bans nobody"),
    };
    let up = format_duration(Duration::from_secs(status.uptime_s));
    let name = screen.paint(Tone::Strong, &name);
    writeln!(out, "{name} {does}, for {up} (since {}), process {}", moment(status.since), status.pid)
}

fn captures(captures: &[Capture], screen: Screen) -> Table {
    let columns = [
        ("CAPTURE", Left),
        ("VERDICT", Left),
        ("PACKETS", Right),
        ("LOST", Right),
        ("OVERRUNS", Right),
        ("UNDECODED", Right),
    ];
    let mut table = Table::new(&columns, screen);
    for capture in captures {
        table.row([
            escape(&capture.source).into_owned(),
            capture.verdict.as_str().to_owned(),
            capture.packets.to_string(),
            capture.lost.to_string(),
            capture.overruns.to_string(),
            capture.undecoded.to_string(),
        ]);
    }
    table
}

fn counts(status: &Status, screen: Screen) -> Table {
    let mut table = Table::without_heading(&[Left, Left], screen);
    let mut row = |name: &str, what: String| table.row([name.to_owned(), what]);
    row("packets", format!("{}, {} of them evidence", status.packets, status.evidence));
    let undecoded: Vec<String> =
        status.undecoded.iter().map(|(reason, packets)| format!("{} {packets}", escape(reason))).collect();
    if !undecoded.is_empty() {
        row("undecoded", undecoded.join(", "));
    }
    for (capture, verdicts) in status.captures.iter().filter_map(|one| Some((one, one.verdicts?))) {
        let kernel = match verdicts.dropped_by_kernel {
            Some(packets @ 1..) => format!(", {packets} dropped by the kernel for want of room"),
            _ => String::new(),
        };
        let Verdicts { accepted, dropped, .. } = verdicts;
        row(&escape(&capture.source), format!("{accepted} accepted, {dropped} dropped{kernel}"));
    }
    let share = |name: &str| {
        let table = status.tables.get(name)?;
        let percent = table.used.saturating_mul(100).checked_div(table.capacity).unwrap_or(0);
        let evicted =
            if table.evicted > 0 { format!(", {} pushed out", table.evicted) } else { String::new() };
        Some(format!("{} of {} ({percent} %{evicted})", table.used, table.capacity))
    };
    for (name, once) in [("sources", "sources-seen-once"), ("prefixes", "prefixes-seen-once")] {
        if let (Some(tracked), Some(once)) = (share(name), share(once)) {
            row(name, format!("{tracked}; seen once {once}"));
        }
    }
    let probing = status.tables.get("web-sources").is_some_and(|table| table.used > 0);
    if let Some(share) = share("web-sources").filter(|_| probing) {
        row("web probes", format!("from {share} sources"));
    }
    row("incidents", format!("{} open, {} since the start", status.open_incidents, status.incidents_total));
    row("bans", format!("{} banned, {} restricted", status.bans.ban, status.bans.restrict));
    let worth_a_line = |name: &str, limit: &Limit| {
        let busy = limit.used > limit.capacity / 2 || limit.refused + limit.evicted > 0;
        name == "bans" || limit.reached || busy
    };
    let limits = status.limits.iter().filter(|(name, limit)| worth_a_line(name, limit));
    for (at, (name, limit)) in limits.enumerate() {
        row(if at == 0 { "limits" } else { "" }, use_of(name, limit));
    }
    if let Some(traps) = &status.traps {
        row("traps", trapped(traps));
    }
    let kernel = &status.kernel;
    row("kernel", {
        let mut parts = vec![kernel.table.as_deref().map_or("no table".into(), escape).into_owned()];
        if kernel.owned {
            parts.push("nobody else can change it".into());
        }
        if kernel.reinstalled > 0 {
            parts.push(format!("put back {}", count(kernel.reinstalled, "time", "times")));
        }
        if kernel.connections_ended > 0 {
            parts.push(count(kernel.connections_ended, "connection ended", "connections ended"));
        }
        if kernel.refused > 0 {
            let last = kernel.last_error.as_deref().map(|error| format!(", lately: {}", escape(error)));
            let refused = count(kernel.refused, "operation", "operations");
            parts.push(format!("{refused} refused{}", last.unwrap_or_default()));
        }
        parts.join(", ")
    });
    table
}

/// How much of a cap on bans is used.
fn use_of(name: &str, limit: &Limit) -> String {
    let Limit { used, capacity, refused, evicted, reached } = *limit;
    let percent = used.saturating_mul(100).checked_div(capacity).unwrap_or(0);
    let mut line = format!("{} {used} of {capacity} ({percent} %)", escape(name));
    if reached {
        line.push_str(", reached");
    }
    for (number, what) in [(refused, "refused"), (evicted, "evicted")].into_iter().filter(|(n, _)| *n > 0) {
        let _ = write!(line, ", {number} {what}");
    }
    line
}

/// How the traps do: how many there are, and how far those who came to them got.
fn trapped(traps: &Traps) -> String {
    let ports = count(traps.ports, "port", "ports");
    let Some(listen) = traps.listen else { return format!("{ports}, not redirected") };
    let mut line = format!(
        "{ports}: {} redirected to tcp/{listen}, {} arrived, {} accepted, {} held",
        traps.redirected, traps.arrived, traps.accepted, traps.held
    );
    if !traps.taken.is_empty() {
        let _ = write!(line, "; no traps, as they serve: {}", escape(&traps.taken.join(", ")));
    }
    if let Some(trouble) = &traps.trouble {
        let _ = write!(line, "; {}", escape(trouble));
    }
    line
}

fn incidents(incidents: &[Incident], now: Wall, screen: Screen) -> Table {
    let columns = [
        ("AGO", Right),
        ("RULE", Left),
        ("SOURCE", Left),
        ("PACKETS", Right),
        ("HOSTS", Right),
        ("PORTS", Left),
    ];
    let mut table = Table::new(&columns, screen);
    for incident in incidents {
        table.row([
            ago(incident.time, now),
            escape(&incident.rule).into_owned(),
            incident.source.to_string(),
            incident.packets.to_string(),
            incident.distinct_destinations.to_string(),
            incident.port_ranges.describe(incident.distinct_ports, PORTS),
        ]);
    }
    table
}

/// What an open incident has come to.
fn so_far(incident: &Incident) -> String {
    let mut line = format!("{} since {}", escape(&incident.rule), moment(incident.first_seen));
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

fn section(out: &mut dyn Write, name: &str, screen: Screen) -> io::Result<()> {
    writeln!(out, "\n{}", screen.paint(Tone::Strong, name))
}

fn lines(out: &mut dyn Write, table: Table) -> io::Result<()> {
    table.lines().iter().try_for_each(|line| writeln!(out, "{line}"))
}

fn moment(time: Wall) -> impl std::fmt::Display {
    time.timestamp().strftime("%Y-%m-%d %H:%M:%SZ")
}

fn ago(time: Wall, now: Wall) -> String {
    let microseconds = u64::try_from(now.0.saturating_sub(time.0)).unwrap_or(0);
    format_duration(Duration::from_micros(microseconds))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::super::bans::tests::row;
    use super::*;
    use crate::control::protocol::{BanCounts, Count, Kernel, Occupancy};
    use crate::event::Event;
    use crate::packet::Verdict;
    use crate::report::json::{Alarm, Record};
    use crate::report::text::tests::examples;

    fn incident() -> Incident {
        let Some(Event::Incident(incident)) = examples().into_iter().next() else { panic!() };
        let Record::Incident(incident) = Record::from(&Event::Incident(incident)) else { panic!() };
        incident
    }

    fn status() -> Status {
        Status {
            version: "0.1.0".into(),
            pid: 4711,
            instance: None,
            mode: Mode::Enforce,
            since: Wall(1_767_323_045_000_006),
            uptime_s: 187_200,
            captures: vec![
                Capture {
                    source: "nflog:100".into(),
                    verdict: Verdict::Refused,
                    packets: 12_345,
                    lost: 82_068,
                    overruns: 207,
                    undecoded: 2,
                    verdicts: None,
                },
                Capture {
                    source: "nflog:101".into(),
                    verdict: Verdict::Accepted,
                    packets: 9,
                    lost: 0,
                    overruns: 0,
                    undecoded: 0,
                    verdicts: None,
                },
            ],
            packets: 12_354,
            evidence: 812,
            undecoded: BTreeMap::from([("tcp header cut off".into(), 2)]),
            tables: [
                ("sources", Occupancy { used: 655, capacity: 65_536, evicted: 0 }),
                ("sources-seen-once", Occupancy { used: 98_304, capacity: 98_304, evicted: 901_696 }),
            ]
            .map(|(name, of)| (name.to_owned(), of))
            .into(),
            open_incidents: 2,
            incidents_total: 41,
            bans: BanCounts { ban: 3, restrict: 38 },
            limits: [
                ("bans", Limit { used: 41, capacity: 100, refused: 0, evicted: 0, reached: false }),
                (
                    "spoofable-bans",
                    Limit { used: 75, capacity: 75, refused: 4, evicted: 1200, reached: true },
                ),
                (
                    "spoofable-per-minute",
                    Limit { used: 1, capacity: 7500, refused: 0, evicted: 0, reached: false },
                ),
            ]
            .map(|(name, limit)| (name.to_owned(), limit))
            .into(),
            traps: Some(Traps {
                listen: Some(28023),
                ports: 3,
                redirected: 12,
                arrived: 10,
                accepted: 7,
                held: 2,
                taken: vec!["tcp/3389".into()],
                trouble: None,
            }),
            kernel: Kernel {
                table: Some("inet nfban".into()),
                owned: false,
                refused: 1,
                last_error: Some("No space left on device".into()),
                reinstalled: 2,
                connections_ended: 5,
            },
            alarms: vec![Alarm {
                time: Wall(1_767_323_045_000_006 + 187_000_000_000),
                what: "the cap of 100000 bans is reached".into(),
            }],
            recent_incidents: vec![incident()],
            recent_bans: vec![row("192.0.2.7", "tcp-syn-scan", Some(581), None)],
        }
    }

    fn shown(screen: Screen) -> String {
        let mut out = Vec::new();
        whole(&mut out, &status(), screen).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_whole_status_is_one_screen() {
        assert_eq!(
            shown(Screen::default()),
            "\
nfban 0.1.0 enforces, for 2d 4h (since 2026-01-02 03:04:05Z), process 4711

CAPTURE    VERDICT   PACKETS   LOST  OVERRUNS  UNDECODED
nflog:100  refused     12345  82068       207          2
nflog:101  accepted        9      0         0          0

packets    12354, 812 of them evidence
undecoded  tcp header cut off 2
sources    655 of 65536 (0 %); seen once 98304 of 98304 (100 %, 901696 pushed out)
incidents  2 open, 41 since the start
bans       3 banned, 38 restricted
limits     bans 41 of 100 (41 %)
           spoofable-bans 75 of 75 (100 %), reached, 4 refused, 1200 evicted
traps      3 ports: 12 redirected to tcp/28023, 10 arrived, 7 accepted, 2 held; no traps, as they serve: tcp/3389
kernel     inet nfban, put back 2 times, 5 connections ended, 1 operation refused, lately: No space left on device

Latest incidents
  AGO  RULE          SOURCE     PACKETS  HOSTS  PORTS
2d 3h  tcp-syn-scan  192.0.2.7       12      1  22, 23, 80-82 …

Latest bans
TARGET     ACTION    RULE            LEFT  DROPPED
192.0.2.7  restrict  tcp-syn-scan  9m 41s      120

Alarms
3m 20s ago: the cap of 100000 bans is reached
"
        );
    }

    #[test]
    fn its_tables_fit_a_narrow_terminal() {
        let narrow = shown(Screen { width: Some(60), color: false });
        let tables = narrow.lines().skip(1).filter(|line| !line.contains(" ago: "));
        for line in tables {
            assert!(line.chars().count() <= 60, "{line:?}");
        }
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
            counts: vec![Count { rule: "udp-scan".into(), count: 18, threshold: 24, window_s: 60 }],
        };
        let mut out = Vec::new();
        address(&mut out, &known, Screen::default()).unwrap();
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
            counts: vec![],
        };
        let mut out = Vec::new();
        address(&mut out, &known, Screen::default()).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "2001:db8::1 is not banned\n0 incidents and 0 bans remembered\n"
        );
        known.protected = Some("a resolver in use".into());
        let mut out = Vec::new();
        address(&mut out, &known, Screen::default()).unwrap();
        assert!(out.starts_with(b"2001:db8::1 is protected and never banned: a resolver in use\n"));
    }
}
