//! The status on one screen: as much of each list as there is room for.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Duration;

use unicode_width::UnicodeWidthStr as _;

use super::super::bans::{action, left};
use super::super::names::Names;
use super::view::{ago, moment};
use crate::control::protocol::{
    BanRow, Capture, Limit, Mode, Occupancy, Offender, Status, TopPort, Traps, Verdicts,
};
use crate::report::escape::escape;
use crate::report::json::{Alarm, Incident};
use crate::report::ports::PortRanges;
use crate::report::screen::{Screen, Tone, cut};
use crate::report::table::Align::{Left, Right};
use crate::report::table::{Align, Table};
use crate::report::text::count;
use crate::time::{Wall, format_duration};

/// How many ranges of ports stand in a line where nobody's terminal sets a limit.
const PORTS: usize = 8;

/// The same beside a name.
const FEW: usize = 4;

/// Below this many columns there is no room for names and ports.
const NARROW: u16 = 120;

/// A list shows at least so many rows, however small the terminal.
const LEAST: usize = 1;

/// Below this many lines the parts of the head stand close together.
const ROOMY: usize = 30;

/// Writes everything: what runs, captures, counts, offenders, latest incidents and bans, alarms. `height` is how many
/// lines of a terminal there are; without it, all is shown.
pub(super) fn whole(
    out: &mut dyn Write,
    status: &Status,
    names: &Names,
    screen: Screen,
    height: Option<u16>,
) -> io::Result<()> {
    // The prompt takes the last one.
    let height = height.map(|lines| usize::from(lines).saturating_sub(1));
    let now = Wall(status.since.0.saturating_add_unsigned(status.uptime_s.saturating_mul(1_000_000)));
    let mut lines = head(status, names, screen, height.is_none_or(|lines| lines >= ROOMY));
    let alarms = alarms(&status.alarms, now, screen, height.map(|lines| if lines < ROOMY { 2 } else { 5 }));
    let free = height.map(|height| height.saturating_sub(lines.len() + alarms.len()));
    let wanted = [status.offenders.len(), status.recent_incidents.len(), status.recent_bans.len()];
    let [of_offenders, of_incidents, of_bans] = shares(wanted, free);
    let lists = [
        offenders(status.offenders.get(..of_offenders).unwrap_or_default(), names, screen),
        incidents(status.recent_incidents.get(..of_incidents).unwrap_or_default(), now, names, screen),
        bans(status.recent_bans.get(..of_bans).unwrap_or_default(), screen),
    ];
    for list in lists.into_iter().filter(|list| !list.is_empty()) {
        lines.push(String::new());
        lines.extend(list);
    }
    lines.extend(alarms);
    lines.iter().try_for_each(|line| writeln!(out, "{line}"))
}

/// What runs, its captures, and its counts.
fn head(status: &Status, names: &Names, screen: Screen, roomy: bool) -> Vec<String> {
    let mut lines = vec![headline(status, screen)];
    let parts = [captures(&status.captures, screen), counts(status, names, screen).lines()];
    for part in parts.into_iter().filter(|part| !part.is_empty()) {
        if roomy {
            lines.push(String::new());
        }
        lines.extend(part);
    }
    lines
}

/// How many rows each list gets of `free` lines. The bans say least that the offenders do not say, so they come last.
fn shares(wanted: [usize; 3], free: Option<usize>) -> [usize; 3] {
    /// Its heading, and the blank line before it.
    const FRAME: usize = 2;
    let Some(free) = free else { return wanted };
    let [offenders, incidents, bans] = wanted;
    let frame = |rows: usize| if rows > 0 { FRAME } else { 0 };
    let room = free.saturating_sub(frame(offenders) + frame(incidents));
    // Three of five, unless the other list needs less than its part.
    let for_incidents = incidents.min(LEAST.max(room * 2 / 5));
    let for_offenders = offenders.min(LEAST.max(room.saturating_sub(for_incidents)));
    let for_incidents = incidents.min(LEAST.max(room.saturating_sub(for_offenders)));
    let rest = room.saturating_sub(for_offenders + for_incidents + FRAME);
    [for_offenders, for_incidents, bans.min(rest)]
}

pub(in crate::cli) fn headline(status: &Status, screen: Screen) -> String {
    let name = match &status.instance {
        Some(instance) => format!("nfban {} ({})", escape(&status.version), escape(instance)),
        None => format!("nfban {}", escape(&status.version)),
    };
    let does = match (status.off, status.mode) {
        (Some(off), _) => {
            let since = moment(off.since);
            let who = if off.by == 0 { "root".to_owned() } else { format!("user {}", off.by) };
            screen.paint(Tone::Bad, &format!("is OFF since {since} by {who}, until `nfban on`")).into_owned()
        }
        (None, Mode::Enforce) => screen.paint(Tone::Good, "enforces").into_owned(),
        (None, Mode::Watch) => screen.paint(Tone::Warn, "watches and bans nobody").into_owned(),
    };
    let up = format_duration(Duration::from_secs(status.uptime_s));
    let name = screen.paint(Tone::Strong, &name);
    let runs = if status.off.is_some() { "; it has run for" } else { ", for" };
    format!("{name} {does}{runs} {up} (since {}), process {}", moment(status.since), status.pid)
}

fn captures(captures: &[Capture], screen: Screen) -> Vec<String> {
    if captures.is_empty() {
        return Vec::new();
    }
    let columns = [
        ("CAPTURE", Left),
        ("VERDICT", Left),
        ("PACKETS", Right),
        ("PER S", Right),
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
            capture.packets_per_s.map_or_else(|| "?".to_owned(), |rate| rate.to_string()),
            capture.lost.to_string(),
            capture.overruns.to_string(),
            capture.undecoded.to_string(),
        ]);
    }
    table.lines()
}

fn counts(status: &Status, names: &Names, screen: Screen) -> Table {
    let mut table = Table::without_heading(&[Left, Left], screen);
    let mut row = |name: &str, what: String| table.row([name.to_owned(), what]);
    row("packets", packets(status));
    let undecoded: Vec<String> =
        status.undecoded.iter().map(|(reason, packets)| format!("{} {packets}", escape(reason))).collect();
    if !undecoded.is_empty() {
        row("undecoded", undecoded.join(", "));
    }
    for (capture, verdicts) in status.captures.iter().filter_map(|one| Some((one, one.verdicts?))) {
        row(&escape(&capture.source), ruled(verdicts));
    }
    row("tables", tables(status));
    row("incidents", format!("{} open, {} since the start", status.open_incidents, status.incidents_total));
    for (at, line) in bans_and_limits(status).into_iter().enumerate() {
        row(if at == 0 { "bans" } else { "" }, line);
    }
    if !status.top_ports.is_empty() {
        row("top ports", top_ports(&status.top_ports, names, screen));
    }
    if let Some(traps) = &status.traps {
        row("traps", trapped(traps));
    }
    if status.log.lost > 0 {
        let lost = count(status.log.lost, "line", "lines");
        row("log", format!("{lost} lost, {} waiting: who reads it has stalled", status.log.waiting));
    }
    let hooks = &status.hooks;
    if hooks.hooks > 0 {
        let lost = if hooks.lost > 0 { format!(", {} events lost", hooks.lost) } else { String::new() };
        let told = count(hooks.told, "time", "times");
        row("hooks", format!("{}, told {told}, {} failed{lost}", hooks.hooks, hooks.failed));
    }
    row("kernel", kernel(status));
    table
}

/// The lines that change most, for a view that has no room for all: their names and what they say.
pub(in crate::cli) fn short(status: &Status) -> Vec<(&'static str, String)> {
    let incidents = format!("{} open, {} since the start", status.open_incidents, status.incidents_total);
    let bans = bans_and_limits(status).into_iter().next().unwrap_or_default();
    let ports = top_ports(&status.top_ports, &Names::default(), Screen::default());
    let mut lines = vec![("tables", tables(status)), ("incidents", incidents), ("bans", bans)];
    lines.extend((!ports.is_empty()).then_some(("top ports", ports)));
    lines
}

fn packets(status: &Status) -> String {
    let mut line = format!("{}, {} of them evidence", status.packets, status.evidence);
    if let (Some(all), Some(evidence)) = (status.packets_per_s, status.evidence_per_s) {
        let _ = write!(line, "; lately {all} and {evidence} a second");
    }
    line
}

/// What became of packets that waited for a verdict.
fn ruled(Verdicts { accepted, dropped, dropped_by_kernel }: Verdicts) -> String {
    let kernel = match dropped_by_kernel {
        Some(packets @ 1..) => format!(", {packets} dropped by the kernel for want of room"),
        _ => String::new(),
    };
    format!("{accepted} accepted, {dropped} dropped{kernel}")
}

/// How full the tables are. Those of web probes and traps are told once they hold something.
fn tables(status: &Status) -> String {
    let share = |(key, name): (&str, &str)| {
        let table = status.tables.get(key)?;
        let seldom = matches!(key, "web-sources" | "trap-sources");
        (!seldom || table.used > 0).then(|| format!("{name} {}", occupancy(table)))
    };
    let named = [
        ("sources", "sources"),
        ("sources-seen-once", "seen once"),
        ("prefixes", "prefixes"),
        ("prefixes-seen-once", "seen once"),
        ("incidents", "incidents"),
        ("web-sources", "web probes"),
        ("trap-sources", "traps"),
    ];
    named.into_iter().filter_map(share).collect::<Vec<_>>().join(", ")
}

fn occupancy(table: &Occupancy) -> String {
    let mut line = match table.used.saturating_mul(100).checked_div(table.capacity).unwrap_or(0) {
        0 if table.used > 0 => "<1 %".to_owned(),
        percent => format!("{percent} %"),
    };
    if table.evicted > 0 {
        let _ = write!(line, " ({} pushed out)", table.evicted);
    }
    line
}

/// How many bans there are, and the caps on them that are near or reached.
fn bans_and_limits(status: &Status) -> Vec<String> {
    let worth_a_line =
        |limit: &Limit| limit.reached || limit.used > limit.capacity / 2 || limit.refused + limit.evicted > 0;
    let mut first = format!("{} banned, {} restricted", status.bans.ban, status.bans.restrict);
    if let Some(limit) = status.limits.get("bans") {
        let _ = write!(first, "; {}", use_of("", limit).trim_start());
    }
    if let Some(dropped) = status.kernel.dropped.filter(|dropped| dropped.packets > 0) {
        let _ = write!(first, "; {} dropped", count(dropped.packets, "packet", "packets"));
    }
    let others = status.limits.iter().filter(|(name, limit)| *name != "bans" && worth_a_line(limit));
    std::iter::once(first).chain(others.map(|(name, limit)| use_of(name, limit))).collect()
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

/// Those that fit into a line.
fn top_ports(ports: &[TopPort], names: &Names, screen: Screen) -> String {
    /// The name of the row before it, the gap, and the gap behind.
    const MARGIN: usize = 13;
    let room = screen.width.map_or(usize::MAX, |width| usize::from(width).saturating_sub(MARGIN));
    let mut line = String::new();
    for port in ports {
        let comma = if line.is_empty() { "" } else { ", " };
        let name = names.service(&port.protocol, port.port).map(|name| format!(" ({name})"));
        let (protocol, name) = (escape(&port.protocol), name.unwrap_or_default());
        let next = format!("{comma}{protocol}/{}{name} {}", port.port, port.packets);
        if line.width() + next.width() > room {
            break;
        }
        line.push_str(&next);
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

fn kernel(status: &Status) -> String {
    let kernel = &status.kernel;
    let mut parts = vec![kernel.table.as_deref().map_or("no table".into(), escape).into_owned()];
    if kernel.owned {
        parts.push("nobody else can change it".to_owned());
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
}

fn offenders(offenders: &[Offender], names: &Names, screen: Screen) -> Vec<String> {
    // Names are what was asked for: where there is no room for them and ports, ports give way.
    let (named, narrow) = (names.are_wanted(), screen.width.is_some_and(|width| width < NARROW));
    let mut columns = vec![
        ("TOP OFFENDERS", Left),
        ("RULE", Left),
        ("PACKETS", Right),
        ("DROPPED", Right),
        ("RESPONSE", Left),
    ];
    columns.extend((!named || !narrow).then_some(("PORTS", Left)));
    columns.extend(named.then_some(("NAME", Left)));
    let cells = |one: &Offender| {
        let mut cells = vec![
            one.source.to_string(),
            escape(&one.rule).into_owned(),
            one.packets.to_string(),
            one.dropped.to_string(),
            one.ban.as_ref().map_or_else(|| "-".to_owned(), response),
        ];
        if named && !narrow {
            cells.push(names.ports(&one.port_ranges, &one.protocols, one.distinct_ports, FEW));
        }
        cells
    };
    let rows = offenders.iter().map(cells).collect();
    one_line_each(&columns, rows, screen, |at, room| match offenders.get(at) {
        Some(one) if named => cut(&names.of(one.source.0).unwrap_or_default(), room),
        Some(one) => ports(&one.port_ranges, &one.protocols, one.distinct_ports, names, room),
        None => String::new(),
    })
}

/// What is done about a source, and for how long yet.
fn response(ban: &BanRow) -> String {
    if ban.enforced { format!("{} {}", action(ban), left(ban.expires_s)) } else { action(ban).to_owned() }
}

fn incidents(incidents: &[Incident], now: Wall, names: &Names, screen: Screen) -> Vec<String> {
    let columns = [
        ("LATEST INCIDENTS", Left),
        ("RULE", Left),
        ("PACKETS", Right),
        ("HOSTS", Right),
        ("AGO", Right),
        ("PORTS", Left),
    ];
    let cells = |incident: &Incident| {
        vec![
            incident.source.to_string(),
            escape(&incident.rule).into_owned(),
            incident.packets.to_string(),
            incident.distinct_destinations.to_string(),
            ago(incident.time, now),
        ]
    };
    let rows = incidents.iter().map(cells).collect();
    one_line_each(&columns, rows, screen, |at, room| {
        incidents.get(at).map_or_else(String::new, |one| {
            ports(&one.port_ranges, &one.protocols, one.distinct_ports, names, room)
        })
    })
}

fn bans(bans: &[BanRow], screen: Screen) -> Vec<String> {
    let columns = [
        ("LATEST BANS", Left),
        ("ACTION", Left),
        ("RULE", Left),
        ("LEFT", Right),
        ("DROPPED", Right),
        ("REASON", Left),
    ];
    let cells = |ban: &BanRow| {
        vec![
            ban.target.to_string(),
            action(ban).to_owned(),
            escape(&ban.rule).into_owned(),
            left(ban.expires_s),
            ban.packets.to_string(),
        ]
    };
    let rows = bans.iter().map(cells).collect();
    one_line_each(&columns, rows, screen, |at, room| {
        let reason = bans.get(at).and_then(|ban| ban.reason.as_deref());
        cut(&escape(reason.unwrap_or_default()), room)
    })
}

fn alarms(alarms: &[Alarm], now: Wall, screen: Screen, most: Option<usize>) -> Vec<String> {
    if alarms.is_empty() {
        return Vec::new();
    }
    let shown = alarms.len().min(most.unwrap_or(usize::MAX));
    let more = alarms.len() - shown;
    let mut lines = Vec::new();
    if most.is_none_or(|most| most > 2) {
        lines.push(String::new());
    }
    for (at, alarm) in alarms.iter().take(shown).enumerate() {
        let more = if at + 1 == shown && more > 0 { format!(" (and {more} more)") } else { String::new() };
        let line = format!("ALARM {} ago: {}{more}", ago(alarm.time, now), escape(&alarm.what));
        let width = screen.width.filter(|_| most.is_some()).map_or(usize::MAX, usize::from);
        lines.push(screen.paint(Tone::Bad, &cut(&line, width)).into_owned());
    }
    lines
}

/// As many ranges of ports as there is room for.
fn ports(ranges: &PortRanges, protocols: &[String], distinct: u64, names: &Names, room: usize) -> String {
    let most = if room == usize::MAX { PORTS } else { ranges.0.len().saturating_mul(2) };
    let fitting = (1..=most).rev().map(|most| names.ports(ranges, protocols, distinct, most));
    fitting.into_iter().find(|list| list.width() <= room).unwrap_or_default()
}

/// A table whose rows are a line each. The last column has what the others leave of the terminal's width: `last` is
/// asked for a row's cell, no wider than it is told.
fn one_line_each(
    columns: &[(&str, Align)],
    rows: Vec<Vec<String>>,
    screen: Screen,
    last: impl Fn(usize, usize) -> String,
) -> Vec<String> {
    const GAP: usize = 2;
    if rows.is_empty() {
        return Vec::new();
    }
    let others = columns.iter().take(columns.len().saturating_sub(1));
    let taken: usize = others
        .enumerate()
        .map(|(at, (name, _))| {
            let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.width());
            cells.chain([name.width()]).max().unwrap_or(0) + GAP
        })
        .sum();
    let width = screen.width.map_or(usize::MAX, usize::from);
    let room = screen.width.map_or(usize::MAX, |_| width.saturating_sub(taken));
    let cells: Vec<String> = (0..rows.len()).map(|at| last(at, room)).collect();
    let empty = cells.iter().all(String::is_empty);
    let columns = columns.get(..columns.len() - usize::from(empty)).unwrap_or(columns);
    let mut table = Table::new(columns, Screen { width: None, color: false });
    for (mut row, cell) in rows.into_iter().zip(cells) {
        row.extend((!empty).then_some(cell));
        table.row(row);
    }
    let mut lines: Vec<String> = table.lines().iter().map(|line| cut(line, width)).collect();
    if let Some(heading) = lines.first_mut() {
        *heading = screen.paint(Tone::Strong, heading).into_owned();
    }
    lines
}

#[cfg(test)]
pub(in crate::cli) mod tests {
    use std::collections::BTreeMap;

    use super::super::super::bans::tests::row;
    use super::super::view::tests::incident;
    use super::*;
    use crate::control::protocol::{BanCounts, DroppedCounts, Kernel};
    use crate::packet::Verdict;
    use crate::report::golden::golden;
    use crate::report::rate::PerSecond;

    /// Number 1 has done most, and each its own.
    fn offender(number: u16) -> Offender {
        let source = match number % 3 {
            0 => format!("2001:db8:{number:x}:beef::/64"),
            1 => format!("192.0.2.{number}"),
            _ => format!("198.51.100.{number}"),
        };
        let ban = (!number.is_multiple_of(4))
            .then(|| row(&source, "tcp-syn-scan", Some(600 - u64::from(number)), None));
        Offender {
            source: source.parse().unwrap(),
            rule: if number.is_multiple_of(5) { "distributed-scan" } else { "tcp-syn-scan" }.into(),
            incidents: number.into(),
            open_incidents: 1,
            packets: 120_000 / u64::from(number),
            dropped: ban.as_ref().map_or(0, |ban| ban.packets),
            port_ranges: "21-23,25,53,80-83,110,143,443,993,1025,3306,5432,8080-8090".parse().unwrap(),
            distinct_ports: 26,
            protocols: vec!["tcp".into()],
            last_seen: Some(Wall(1_767_323_045_000_006)),
            ban,
        }
    }

    pub(in crate::cli) fn status() -> Status {
        Status {
            version: "0.1.0".into(),
            pid: 4711,
            instance: None,
            mode: Mode::Enforce,
            off: None,
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
                    packets_per_s: Some(PerSecond(3_200)),
                },
                Capture {
                    source: "nflog:101".into(),
                    verdict: Verdict::Accepted,
                    packets: 9,
                    lost: 0,
                    overruns: 0,
                    undecoded: 0,
                    verdicts: None,
                    packets_per_s: Some(PerSecond(0)),
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
            log: crate::log::Fares::default(),
            hooks: crate::hooks::Fares::default(),
            kernel: Kernel {
                table: Some("inet nfban".into()),
                owned: false,
                refused: 1,
                last_error: Some("No space left on device".into()),
                reinstalled: 2,
                connections_ended: 5,
                dropped: Some(DroppedCounts { packets: 48_211, bytes: 2_892_660 }),
            },
            alarms: vec![Alarm {
                time: Wall(1_767_323_045_000_006 + 187_000_000_000),
                what: "the cap of 100000 bans is reached".into(),
            }],
            recent_incidents: vec![incident()],
            recent_bans: vec![row("192.0.2.7", "tcp-syn-scan", Some(581), None)],
            packets_per_s: Some(PerSecond(3_200)),
            evidence_per_s: Some(PerSecond(17)),
            offenders: (1..=30).map(offender).collect(),
            top_ports: [("tcp", 23, 812), ("tcp", 445, 97), ("udp", 53, 12)]
                .map(|(protocol, port, packets)| TopPort { protocol: protocol.into(), port, packets })
                .into(),
        }
    }

    /// What a terminal of so many columns and lines gets.
    fn on(width: u16, height: u16) -> String {
        shown(&status(), Screen { width: Some(width), color: false }, Some(height))
    }

    fn shown(status: &Status, screen: Screen, height: Option<u16>) -> String {
        let mut out = Vec::new();
        whole(&mut out, status, &Names::default(), screen, height).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn everything_at_once_fits_eighty_columns_and_twenty_four_lines() {
        let shown = on(80, 24);
        golden("status-80x24.txt", &shown);
        // The last line is the prompt's.
        assert!(shown.lines().count() <= 23);
        assert!(shown.lines().all(|line| line.width() <= 80));
    }

    #[test]
    fn a_large_terminal_shows_more() {
        let shown = on(200, 50);
        golden("status-200x50.txt", &shown);
        assert!((45..50).contains(&shown.lines().count()));
        assert!(shown.lines().all(|line| line.width() <= 200));
    }

    #[test]
    fn what_is_no_terminal_gets_everything() {
        let shown = shown(&status(), Screen::default(), None);
        assert_eq!(shown.matches("2001:db8:").count(), 10, "a third of thirty offenders\n{shown}");
        assert!(shown.contains("LATEST BANS"), "{shown}");
        assert!(shown.contains("443, 993 …"), "a bounded part of the ports\n{shown}");
    }

    #[test]
    fn a_daemon_that_is_older_tells_no_rates_and_no_offenders() {
        let mut object = serde_json::to_value(status()).unwrap();
        for new in ["packets_per_s", "evidence_per_s", "offenders", "top_ports"] {
            object.as_object_mut().unwrap().remove(new).unwrap();
        }
        for capture in object["captures"].as_array_mut().unwrap() {
            capture.as_object_mut().unwrap().remove("packets_per_s").unwrap();
        }
        let older: Status = serde_json::from_value(object).unwrap();
        let shown = shown(&older, Screen { width: Some(80), color: false }, Some(24));
        assert!(shown.contains("12345      ?"), "{shown}");
        assert!(!shown.contains("TOP OFFENDERS") && !shown.contains("lately 3"), "{shown}");
    }

    #[test]
    fn hostile_text_in_any_field_stays_text() {
        let mut hostile = status();
        let evil = "\u{1b}[2J\u{202e}\r\n";
        hostile.version = evil.into();
        hostile.offenders[0].rule = evil.into();
        hostile.top_ports[0].protocol = evil.into();
        hostile.alarms[0].what = evil.into();
        hostile.captures[0].source = evil.into();
        hostile.recent_bans[0].reason = Some(evil.into());
        for screen in [Screen::default(), Screen { width: Some(200), color: false }] {
            let shown = shown(&hostile, screen, screen.width);
            assert!(!shown.contains(['\u{1b}', '\u{202e}', '\r']), "{shown:?}");
        }
    }

    #[test]
    fn lists_share_what_room_there_is() {
        for (wanted, free, shares_of) in [
            ([40, 10, 10], None, [40, 10, 10]),
            ([40, 10, 10], Some(11), [5, 2, 0]),
            ([40, 0, 10], Some(11), [9, 0, 0]),
            ([3, 10, 10], Some(40), [3, 10, 10]),
            ([0, 0, 10], Some(9), [0, 0, 7]),
            ([9, 9, 9], Some(0), [1, 1, 0]),
        ] {
            assert_eq!(shares(wanted, free), shares_of, "{wanted:?} {free:?}");
        }
    }
}
