//! `nfban incidents`: the history.

mod when;

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use self::when::When;
use super::Session;
use super::exit::{Exit, Failure};
use super::names::{Choice, Names};
use crate::config::values::{self, Wrong};
use crate::control::protocol::{Reply, Request};
use crate::report::escape::escape;
use crate::report::json;
use crate::report::moment::moment;
use crate::report::picture;
use crate::report::screen::Screen;
use crate::report::table::{Align, Table};
use crate::report::target::Target;
use crate::report::text::{self, count};
use crate::store::reader::{Past, PastBan, Sought};
use crate::time::{Wall, format_duration};

/// Incidents in a table for people, unless said otherwise.
const SHOWN: u32 = 50;

/// How many ranges of ports a row shows before it says `…`.
const PORTS: usize = 6;

/// Show what happened: incidents, from the latest back, with what was done about them
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Since then: how long ago (90s, 12h, 7d), or a time in UTC (yesterday, 22:00, 2026-01-02, 2026-01-02T03:04)
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub since: Option<When>,
    /// Until then, likewise
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub until: Option<When>,
    /// Of this rule, such as tcp-syn-scan
    #[arg(long, value_name = "RULE")]
    pub rule: Option<String>,
    /// From this source, or one within the prefix
    #[arg(long, value_name = "ADDR|PREFIX")]
    pub source: Option<Target>,
    /// That probed this port: its number, or a name such as ssh
    #[arg(long, value_name = "PORT", value_parser = port)]
    pub port: Option<u16>,
    /// At most so many [default: 50 in the table, 5000 in a picture, all in JSON]
    #[arg(long, value_name = "NUMBER", value_parser = number, allow_negative_numbers = true)]
    pub limit: Option<u32>,
    /// One JSON object a line
    #[arg(long, conflicts_with = "names")]
    pub json: bool,
    /// Draw them into this file, or with - to standard output: time against port, a colour a source
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    pub svg: Option<PathBuf>,
    /// Whether to show names.
    #[command(flatten)]
    pub names: Choice,
}

/// One port, as a configuration has it.
fn port(text: &str) -> Result<u16, String> {
    match values::ports(text) {
        Ok(ports) if ports.start() == ports.end() => Ok(*ports.start()),
        Ok(_) => Err("one port is expected, not a range".to_owned()),
        Err(Wrong { message, hint: Some(hint) }) => Err(format!("{message}: {hint}")),
        Err(Wrong { message, hint: None }) => Err(message),
    }
}

/// How many.
fn number(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("a number from 0 to {} is expected, such as 50", u32::MAX))
}

pub(super) fn run(arguments: &Arguments, session: &mut Session) -> Result<Exit, Failure> {
    let now = now();
    in_order(arguments, now)?;
    if arguments.json {
        let most = arguments.limit.unwrap_or(u32::MAX);
        // A page at a time: there may be 100,000.
        let mut pages = Pages::new(arguments, most, now);
        let mut has_none = true;
        while let Some(page) = pages.next(session)? {
            has_none = has_none && page.is_empty();
            session.show(|mut out, _| {
                page.iter().try_for_each(|past| json::write_line(&mut out, &Line::Incident(past)))
            })?;
        }
        if has_none && most > 0 {
            session.note(other_names(arguments, session)?.as_slice());
        }
        return Ok(Exit::Done);
    }
    let most = match &arguments.svg {
        Some(_) => arguments.limit.unwrap_or(picture::MOST).min(picture::MOST),
        None => arguments.limit.unwrap_or(SHOWN),
    };
    let mut pages = Pages::new(arguments, most, now);
    let mut incidents = Vec::new();
    while let Some(page) = pages.next(session)? {
        incidents.extend(page);
    }
    let more = pages.has_more;
    let others = if incidents.is_empty() && most > 0 { other_names(arguments, session)? } else { None };
    if let Some(file) = &arguments.svg {
        session.note(others.as_slice());
        let Sought { since, until, .. } = pages.sought;
        return save(file, &picture::draw(&incidents, since, until, more), session);
    }
    let names = arguments.names.look_up(incidents.iter().map(|past| past.incident.source.0));
    session.note(&names.notes);
    session.show(|out, screen| {
        if incidents.is_empty() {
            return writeln!(out, "{}", others.as_deref().unwrap_or("no incidents"));
        }
        table(&incidents, &names, screen, out)?;
        if more {
            let shown = count(u64::from(most), "incident", "incidents");
            writeln!(out, "the latest {shown}; more with --limit, --since, --until")?;
        }
        Ok(())
    })
}

/// Whether anything can lie between the two ends of time that were asked for.
///
/// # Errors
/// When the end comes before the beginning.
fn in_order(arguments: &Arguments, now: Wall) -> Result<(), Failure> {
    let [since, until] = [arguments.since, arguments.until].map(|when| when.map(|when| when.at(now)));
    let (Some(since), Some(until)) = (since, until) else { return Ok(()) };
    if since <= until {
        return Ok(());
    }
    let [since, until] = [since, until].map(moment);
    let message =
        format!("--since, {since}, is later than --until, {until}: give the earlier time to --since");
    Err(Failure::new(Exit::Usage, message))
}

/// Where nothing was found: that nothing at all is told under the name that was asked for, and which names there are. A rule
/// may report under another name than its own, and the daemon may have other rules than those we know.
fn other_names(arguments: &Arguments, session: &Session) -> Result<Option<String>, Failure> {
    let Some(rule) = &arguments.rule else { return Ok(None) };
    let Reply::Incidents { incidents, .. } = session.ask(&Request::Incidents(Sought::default()))? else {
        return Err(Failure::off_topic());
    };
    let names: BTreeSet<String> = incidents.into_iter().map(|past| past.incident.rule).collect();
    if names.is_empty() || names.contains(rule) {
        return Ok(None);
    }
    let names = text::names(&names.into_iter().collect::<Vec<_>>());
    Ok(Some(format!("no incidents that are told as {}; the latest are told as {names}", escape(rule))))
}

fn save(file: &Path, svg: &str, session: &mut Session) -> Result<Exit, Failure> {
    if file == Path::new("-") {
        return session.show(|out, _| out.write_all(svg.as_bytes()));
    }
    fs::write(file, svg).map_err(|error| {
        let file = file.display();
        Failure::new(
            Exit::No,
            format!("cannot write the picture {file}: {error}; name another file with --svg"),
        )
    })?;
    Ok(Exit::Done)
}

fn now() -> Wall {
    // A clock before 1970 is no reason to fail.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Wall(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// The incidents of a question, as the daemon gives them out.
struct Pages {
    sought: Sought,
    left: u32,
    is_over: bool,
    /// Whether there was more than was wanted.
    has_more: bool,
}

impl Pages {
    fn new(arguments: &Arguments, most: u32, now: Wall) -> Self {
        let sought = Sought {
            since: arguments.since.map(|when| when.at(now)),
            until: arguments.until.map(|when| when.at(now)),
            rule: arguments.rule.clone(),
            source: arguments.source,
            port: arguments.port,
            before: None,
            most: None,
        };
        Self { sought, left: most, is_over: most == 0, has_more: false }
    }

    fn next(&mut self, session: &Session) -> Result<Option<Vec<Past>>, Failure> {
        if self.is_over {
            return Ok(None);
        }
        self.sought.most = Some(self.left);
        let reply = session.ask(&Request::Incidents(self.sought.clone()))?;
        let Reply::Incidents { mut incidents, next } = reply else { return Err(Failure::off_topic()) };
        bring_up_to_date(&mut incidents, session)?;
        incidents.retain(|past| past.ended.is_some() || is_sought(&past.incident, &self.sought));
        self.left = self.left.saturating_sub(u32::try_from(incidents.len()).unwrap_or(u32::MAX));
        // A daemon that gives the same page again and again must not keep us for ever.
        let goes_on = next.filter(|next| self.sought.before.is_none_or(|before| *next < before));
        self.sought.before = goes_on;
        self.has_more = self.left == 0 && goes_on.is_some();
        self.is_over = self.left == 0 || goes_on.is_none();
        Ok(Some(incidents))
    }
}

/// Whether an open incident, as it is now, is what was asked for.
fn is_sought(incident: &json::Incident, sought: &Sought) -> bool {
    let has_port = |port: u16| incident.port_ranges.0.iter().any(|run| run.contains(&port));
    sought.since.is_none_or(|since| incident.last_seen >= since) && sought.port.is_none_or(has_port)
}

/// Those that are open go on while the history is written: the daemon has them as they are.
fn bring_up_to_date(incidents: &mut [Past], session: &Session) -> Result<(), Failure> {
    let mut open: Vec<&mut Past> = incidents.iter_mut().filter(|past| past.ended.is_none()).collect();
    for some in open.chunks_mut(Request::OPEN) {
        let ids = some.iter().map(|past| past.incident.id).collect();
        let Reply::Open { incidents } = session.ask(&Request::Open { ids })? else {
            return Err(Failure::off_topic());
        };
        for now in incidents {
            if let Some(past) = some.iter_mut().find(|past| past.incident.id == now.id) {
                past.incident = now;
            }
        }
    }
    Ok(())
}

/// The objects of `incidents --json`: those of the `incident` event with its end and what was done.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum Line<'a> {
    Incident(&'a Past),
}

fn table(incidents: &[Past], names: &Names, screen: Screen, out: &mut dyn Write) -> io::Result<()> {
    use Align::{Left, Right};
    let columns = [
        ("SINCE (UTC)", Left),
        ("LASTED", Right),
        ("RULE", Left),
        ("SOURCE", Left),
        ("PACKETS", Right),
        ("PORTS", Left),
        ("DONE", Left),
        ("NAME", Left),
    ];
    let columns = columns.get(..columns.len() - usize::from(!names.are_wanted())).unwrap_or(&columns);
    let mut table = Table::new(columns, screen);
    for past in incidents {
        let incident = &past.incident;
        let mut cells = vec![
            incident.first_seen.timestamp().strftime("%Y-%m-%d %H:%M").to_string(),
            lasted(past),
            escape(&incident.rule).into_owned(),
            incident.source.to_string(),
            incident.packets.to_string(),
            match incident.probes.as_slice() {
                [] => names.ports(&incident.port_ranges, &incident.protocols, incident.distinct_ports, PORTS),
                probes => text::names(probes),
            },
            done(&past.bans),
        ];
        if names.are_wanted() {
            cells.push(names.of(incident.source.0).unwrap_or_default());
        }
        table.row(cells);
    }
    table.lines().iter().try_for_each(|line| writeln!(out, "{line}"))
}

fn lasted(past: &Past) -> String {
    let lasted = format_duration(past.incident.duration_s.0);
    match (past.ended, past.interrupted) {
        (None, _) => "open".to_owned(),
        (Some(_), false) => lasted,
        // Nobody watched its end.
        (Some(_), true) => format!("{lasted}+"),
    }
}

/// `restrict 10m`: what was done first, and how many more there were.
fn done(bans: &[PastBan]) -> String {
    let Some(first) = bans.first() else { return String::new() };
    let would = if first.enforced { "" } else { "would " };
    let timeout =
        first.timeout_s.map(|seconds| format!(" {}", format_duration(Duration::from_secs(seconds))));
    let more = match bans.len() {
        1 => String::new(),
        many => format!(", {} more", many - 1),
    };
    format!("{would}{}{}{more}", escape(&first.action), timeout.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;
    use crate::report::text::tests::{examples, stamp};

    fn past(rule: &str, ended: bool, interrupted: bool) -> Past {
        let Some(Event::Incident(incident)) = examples().into_iter().next() else { unreachable!() };
        let incident = json::Incident { rule: rule.to_owned(), ..json::Incident::from(&*incident) };
        let ban = PastBan {
            time: stamp(0).into(),
            target: incident.source,
            action: "restrict".to_owned(),
            timeout_s: Some(600),
            ended: None,
            reason: None,
            enforced: true,
        };
        Past {
            incident,
            ended: ended.then(|| stamp(9_000_000).into()),
            interrupted,
            origin: "local".to_owned(),
            bans: if ended { vec![ban; 2] } else { Vec::new() },
        }
    }

    fn shown(incidents: &[Past], width: Option<u16>) -> String {
        let mut out = Vec::new();
        table(incidents, &Names::default(), Screen { width, ..Screen::default() }, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_table_tells_when_how_long_what_who_and_what_was_done() {
        let incidents = [
            past("tcp-syn-scan", false, false),
            past("tcp-syn-scan", true, false),
            past("my\x1b[2Jrule", true, true),
        ];
        assert_eq!(
            shown(&incidents, None),
            "\
SINCE (UTC)       LASTED  RULE             SOURCE     PACKETS  PORTS            DONE
2026-01-02 03:04    open  tcp-syn-scan     192.0.2.7       12  22, 23, 80-82 …
2026-01-02 03:04      3s  tcp-syn-scan     192.0.2.7       12  22, 23, 80-82 …  restrict 10m, 1 more
2026-01-02 03:04     3s+  my\\u{1b}[2Jrule  192.0.2.7       12  22, 23, 80-82 …  restrict 10m, 1 more
"
        );
        for line in shown(&incidents, Some(80)).lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }

    #[test]
    fn a_json_line_is_an_incident_with_its_end_and_what_was_done() {
        let mut out = Vec::new();
        json::write_line(&mut out, &Line::Incident(&past("udp-scan", true, true))).unwrap();
        let line = String::from_utf8(out).unwrap();
        assert!(
            line.starts_with(r#"{"type":"incident","id":"00c0ffee00000001","rule":"udp-scan""#),
            "{line}"
        );
        assert!(
            line.contains(r#""tool":null,"ended":"2026-01-02T03:04:14.000006Z","interrupted":true,"origin":"local","bans":[{"time":"#),
            "{line}"
        );
        let read: Past = serde_json::from_str(&line).unwrap();
        assert_eq!(read, past("udp-scan", true, true));
    }
}
