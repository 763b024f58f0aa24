//! The status on one screen: as much of each list as there is room for.

use std::io::{self, Write};
use std::time::Duration;

use super::super::names::Names;
use super::counts::{Room, counts};
use super::lists::{alarms, bans, captures, incidents, offenders};
use crate::control::protocol::{Mode, Status};
use crate::report::escape::escape;
use crate::report::moment::moment;
use crate::report::screen::{Screen, Tone};
use crate::time::{Wall, format_duration};

/// A list shows at least so many rows, however small the terminal.
const LEAST: usize = 1;

/// Of captures so many are shown at least.
const FEWEST: usize = 3;

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
    let now = now(status);
    let mut lines = head(status, names, screen, height);
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

/// When the daemon told this, by its clock.
pub(in crate::cli) const fn now(status: &Status) -> Wall {
    Wall(status.since.0.saturating_add_unsigned(status.uptime_s.saturating_mul(1_000_000)))
}

/// What runs, its captures, and its counts.
fn head(status: &Status, names: &Names, screen: Screen, height: Option<usize>) -> Vec<String> {
    let room = match height {
        None => Room::Endless,
        Some(height) if height < ROOMY => Room::Tight,
        Some(_) => Room::Screen,
    };
    let most = height.map(|height| FEWEST.max(height / 6));
    let mut lines = vec![headline(status, screen)];
    let parts = [captures(&status.captures, screen, most), counts(status, names, screen, room)];
    for part in parts.into_iter().filter(|part| !part.is_empty()) {
        if room != Room::Tight {
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
    if free < 2 * (FRAME + LEAST) {
        // Where not a row of each fits, the first has what there is.
        let first = wanted.iter().position(|rows| *rows > 0);
        let mut alone = 0..;
        return wanted
            .map(|rows| if alone.next() == first { rows.min(free.saturating_sub(FRAME)) } else { 0 });
    }
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

#[cfg(test)]
pub(in crate::cli) mod tests;
