//! The counts of the status: what was seen, how full things are, how the kernel, the log and the hooks do.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr as _;

use super::super::names::Names;
use crate::control::protocol::{Limit, Mode, Occupancy, Status, TopPort, Traps, Verdicts};
use crate::report::escape::escape;
use crate::report::screen::{Screen, cut};
use crate::report::table::Align::Left;
use crate::report::table::Table;
use crate::report::text::count;

/// How much room there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// No terminal: everything is told, however long.
    Endless,
    /// A terminal: a row is a line, and cut at its end.
    Screen,
    /// A small one: what can have many rows has one.
    Tight,
}

/// The counts, a row each.
pub(super) fn counts(status: &Status, names: &Names, screen: Screen, room: Room) -> Vec<String> {
    let rows = rows(status, names, screen, room);
    if room == Room::Endless {
        let mut table = Table::without_heading(&[Left, Left], screen);
        rows.into_iter().for_each(|(name, what)| table.row([name, what]));
        return table.lines();
    }
    let widest = rows.iter().map(|(name, _)| name.width()).max().unwrap_or(0);
    let line = |(name, what): (String, String)| {
        let gap = " ".repeat(widest + 2 - name.width());
        cut(&format!("{name}{gap}{what}"), screen.width.map_or(usize::MAX, usize::from))
    };
    rows.into_iter().map(line).collect()
}

/// Their names and what they say.
fn rows(status: &Status, names: &Names, screen: Screen, room: Room) -> Vec<(String, String)> {
    let mut rows: Vec<(String, String)> = Vec::new();
    let mut row = |name: &str, what: String| rows.push((name.to_owned(), what));
    row("packets", packets(status));
    let undecoded: Vec<String> =
        status.undecoded.iter().map(|(reason, packets)| format!("{} {packets}", escape(reason))).collect();
    if !undecoded.is_empty() {
        row("undecoded", undecoded.join(", "));
    }
    let queues = status.captures.iter().filter_map(|one| Some((escape(&one.source), ruled(one.verdicts?))));
    let queues: Vec<_> = queues.collect();
    if room == Room::Tight && queues.len() > 1 {
        let all: Vec<String> = queues.iter().map(|(name, ruled)| format!("{name} {ruled}")).collect();
        row("verdicts", all.join("; "));
    } else {
        queues.into_iter().for_each(|(name, ruled)| row(&name, ruled));
    }
    row("tables", tables(status));
    row("incidents", format!("{} open, {} since the start", status.open_incidents, status.incidents_total));
    let (bans, limits) = bans_and_limits(status);
    row("bans", bans);
    if room == Room::Tight && !limits.is_empty() {
        row("", limits.join("; "));
    } else {
        limits.into_iter().for_each(|limit| row("", limit));
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
    rows
}

/// The lines that change most, for a view that has no room for all: their names and what they say.
pub(in crate::cli) fn short(status: &Status) -> Vec<(&'static str, String)> {
    let incidents = format!("{} open, {} since the start", status.open_incidents, status.incidents_total);
    let (bans, _) = bans_and_limits(status);
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
fn bans_and_limits(status: &Status) -> (String, Vec<String>) {
    let worth_a_line =
        |limit: &Limit| limit.reached || limit.used > limit.capacity / 2 || limit.refused + limit.evicted > 0;
    let would = if status.mode == Mode::Watch { "would be " } else { "" };
    let mut first = format!("{} {would}banned, {} {would}restricted", status.bans.ban, status.bans.restrict);
    if let Some(limit) = status.limits.get("bans") {
        let _ = write!(first, "; {}", use_of("", limit).trim_start());
    }
    if let Some(dropped) = status.kernel.dropped.filter(|dropped| dropped.packets > 0) {
        let _ = write!(first, "; {} dropped", count(dropped.packets, "packet", "packets"));
    }
    let others = status.limits.iter().filter(|(name, limit)| *name != "bans" && worth_a_line(limit));
    (first, others.map(|(name, limit)| use_of(name, limit)).collect())
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
    // What is wrong comes first: a small terminal cuts the rest.
    if kernel.refused > 0 {
        let last = kernel.last_error.as_deref().map(|error| format!(", lately: {}", escape(error)));
        let refused = count(kernel.refused, "operation", "operations");
        parts.push(format!("{refused} refused{}", last.unwrap_or_default()));
    }
    if kernel.owned {
        parts.push("nobody else can change it".to_owned());
    }
    if kernel.reinstalled > 0 {
        parts.push(format!("put back {}", count(kernel.reinstalled, "time", "times")));
    }
    if kernel.connections_ended > 0 {
        parts.push(count(kernel.connections_ended, "connection ended", "connections ended"));
    }
    parts.join(", ")
}
