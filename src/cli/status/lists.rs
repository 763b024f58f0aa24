//! The lists of the status: captures, offenders, the latest incidents and bans, alarms.

use std::cmp::Reverse;

use unicode_width::UnicodeWidthStr as _;

use super::super::bans::{action, left};
use super::super::names::Names;
use crate::control::protocol::{BanRow, Capture, Offender};
use crate::report::escape::escape;
use crate::report::json::{Alarm, Incident};
use crate::report::listing::one_line_each;
use crate::report::moment::ago;
use crate::report::ports::PortRanges;
use crate::report::screen::{Screen, Tone, cut};
use crate::report::table::Align::{Left, Right};
use crate::time::Wall;

/// How many ranges of ports stand in a line where nobody's terminal sets a limit.
const PORTS: usize = 8;

/// The same beside a name.
const FEW: usize = 4;

/// Beside a longer prefix of IPv6 there is no room for everything in a narrow terminal.
const LONG: usize = 24;

/// Below this many columns there is no room for names and ports.
const NARROW: u16 = 120;

/// Where packets come from. Of more than `most`, those that lose packets and those with most of them are shown, and the
/// others come to one line.
pub(super) fn captures(captures: &[Capture], screen: Screen, most: Option<usize>) -> Vec<String> {
    let columns = [
        ("CAPTURE", Left),
        ("VERDICT", Left),
        ("PACKETS", Right),
        ("PER S", Right),
        ("LOST", Right),
        ("OVERRUNS", Right),
        ("UNDECODED", Right),
        ("", Left),
    ];
    let (shown, others) = worst(captures, most);
    let cells = |capture: &&Capture| {
        vec![
            escape(&capture.source).into_owned(),
            capture.verdict.as_str().to_owned(),
            capture.packets.to_string(),
            capture.packets_per_s.map_or_else(|| "?".to_owned(), |rate| rate.to_string()),
            capture.lost.to_string(),
            capture.overruns.to_string(),
            capture.undecoded.to_string(),
        ]
    };
    let mut lines = one_line_each(&columns, shown.iter().map(cells).collect(), screen, |_, _| String::new());
    if !others.is_empty() {
        let sum =
            |count: fn(&Capture) -> u64| others.iter().map(|one| count(one)).fold(0, u64::saturating_add);
        let (packets, lost) = (sum(|one| one.packets), sum(|one| one.lost));
        let undecoded = sum(|one| one.undecoded);
        let line =
            format!("and {} more: {packets} packets, {lost} lost, {undecoded} undecoded", others.len());
        lines.push(cut(&line, screen.width.map_or(usize::MAX, usize::from)));
    }
    lines
}

/// At most so many captures in their order, and the others.
fn worst(captures: &[Capture], most: Option<usize>) -> (Vec<&Capture>, Vec<&Capture>) {
    let mut order: Vec<usize> = (0..captures.len()).collect();
    order.sort_by_key(|at| captures.get(*at).map(|one| Reverse((one.lost, one.packets))));
    // A line that stands for one capture would be no shorter than the capture.
    let most = most.filter(|most| captures.len() > most.saturating_add(1)).unwrap_or(usize::MAX);
    let shown: Vec<usize> = order.into_iter().take(most).collect();
    let (shown, others): (Vec<_>, Vec<_>) =
        captures.iter().enumerate().partition(|(at, _)| shown.contains(at));
    let bare = |of: Vec<(usize, _)>| of.into_iter().map(|(_, one)| one).collect();
    (bare(shown), bare(others))
}

pub(super) fn offenders(offenders: &[Offender], names: &Names, screen: Screen) -> Vec<String> {
    // Names are what was asked for: where there is no room for them and ports, ports give way.
    let (named, narrow) = (names.are_wanted(), screen.width.is_some_and(|width| width < NARROW));
    // How long somebody is kept out yet says more than how much of him was dropped.
    let is_long = |one: &Offender| one.source.to_string().len() > LONG;
    let dropped = !narrow || !offenders.iter().any(is_long);
    let mut columns = vec![("TOP OFFENDERS", Left), ("RULE", Left), ("PACKETS", Right)];
    columns.extend(dropped.then_some(("DROPPED", Right)));
    columns.push(("RESPONSE", Left));
    columns.extend((!named || !narrow).then_some(("PORTS", Left)));
    columns.extend(named.then_some(("NAME", Left)));
    let cells = |one: &Offender| {
        let mut cells = vec![one.source.to_string(), escape(&one.rule).into_owned(), one.packets.to_string()];
        cells.extend(dropped.then(|| one.dropped.to_string()));
        cells.push(one.ban.as_ref().map_or_else(|| "-".to_owned(), response));
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

pub(super) fn incidents(incidents: &[Incident], now: Wall, names: &Names, screen: Screen) -> Vec<String> {
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

pub(super) fn bans(bans: &[BanRow], screen: Screen) -> Vec<String> {
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

pub(super) fn alarms(alarms: &[Alarm], now: Wall, screen: Screen, most: Option<usize>) -> Vec<String> {
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
        let line = format!("ALARM {} ago: {}", ago(alarm.time, now), escape(&alarm.what));
        let width = screen.width.filter(|_| most.is_some()).map_or(usize::MAX, usize::from);
        let line = format!("{}{more}", cut(&line, width.saturating_sub(more.len())));
        lines.push(screen.paint(Tone::Bad, &line).into_owned());
    }
    lines
}

/// As many ranges of ports as there is room for.
fn ports(ranges: &PortRanges, protocols: &[String], distinct: u64, names: &Names, room: usize) -> String {
    let most = if room == usize::MAX { PORTS } else { ranges.0.len().saturating_mul(2) };
    let fitting = (1..=most).rev().map(|most| names.ports(ranges, protocols, distinct, most));
    fitting.into_iter().find(|list| list.width() <= room).unwrap_or_default()
}
