//! `nfban bans`: who is kept out, and for how long.

use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;

use super::Session;
use super::exit::{Exit, Failure};
use super::names::{Choice, Names};
use crate::control::protocol::{BanRow, Reply, Request};
use crate::decide::Measure;
use crate::report::escape::escape;
use crate::report::json;
use crate::report::screen::Screen;
use crate::report::table::{Align, Table};
use crate::time::format_duration;

/// List the bans: whom, what is dropped, why, for how long yet
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// One JSON object a line
    #[arg(long, conflicts_with = "names")]
    pub json: bool,
    /// Whether to show names.
    #[command(flatten)]
    pub names: Choice,
}

pub(super) fn run(arguments: &Arguments, session: &mut Session) -> Result<Exit, Failure> {
    let Reply::Bans { bans } = session.ask(&Request::Bans)? else { return Err(Failure::off_topic()) };
    let names = arguments.names.look_up(bans.iter().map(|ban| ban.target.0));
    session.note(&names.notes);
    session.show(|mut out, screen| match (arguments.json, bans.as_slice()) {
        (true, bans) => bans.iter().try_for_each(|ban| json::write_line(&mut out, &Line::Ban(ban))),
        (false, []) => writeln!(out, "nobody is banned"),
        (false, bans) => table(bans, &names, screen, out),
    })
}

/// The objects of `bans --json`: those of the `ban` event with what is left and what was dropped.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum Line<'a> {
    Ban(&'a BanRow),
}

/// Writes bans as a table.
fn table(bans: &[BanRow], names: &Names, screen: Screen, out: &mut dyn Write) -> io::Result<()> {
    use Align::{Left, Right};
    let mut columns =
        vec![("TARGET", Left), ("ACTION", Left), ("RULE", Left), ("LEFT", Right), ("DROPPED", Right)];
    let reasons = bans.iter().any(|ban| ban.reason.is_some());
    columns.extend(reasons.then_some(("REASON", Left)));
    columns.extend(names.are_wanted().then_some(("NAME", Left)));
    let mut table = Table::new(&columns, screen);
    for ban in bans {
        let mut cells = vec![
            ban.target.to_string(),
            action(ban).to_owned(),
            escape(&ban.rule).into_owned(),
            left(ban.expires_s),
            ban.packets.to_string(),
        ];
        if reasons {
            cells.push(escape(ban.reason.as_deref().unwrap_or_default()).into_owned());
        }
        if names.are_wanted() {
            cells.push(names.of(ban.target.0).unwrap_or_default());
        }
        table.row(cells);
    }
    table.lines().iter().try_for_each(|line| writeln!(out, "{line}"))
}

pub(super) const fn action(ban: &BanRow) -> &'static str {
    match (ban.action, ban.enforced) {
        (measure, true) => measure.as_str(),
        (Measure::Ban, false) => "would ban",
        (Measure::Restrict, false) => "would restrict",
    }
}

pub(super) fn left(expires_s: Option<u64>) -> String {
    expires_s.map_or_else(|| "until lifted".to_owned(), |left| format_duration(Duration::from_secs(left)))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::time::Wall;

    pub(crate) fn row(target: &str, rule: &str, expires_s: Option<u64>, reason: Option<&str>) -> BanRow {
        BanRow {
            time: Wall(1_767_323_045_000_006),
            target: target.parse().unwrap(),
            action: if rule == "manual" { Measure::Ban } else { Measure::Restrict },
            rule: rule.into(),
            incident: (rule != "manual").then_some(crate::event::IncidentId(0xc0ffee)),
            timeout_s: expires_s.map(|_| 600),
            expires_s,
            packets: 120,
            bytes: 7200,
            reason: reason.map(str::to_owned),
            enforced: true,
        }
    }

    fn shown(bans: &[BanRow]) -> String {
        let mut out = Vec::new();
        table(bans, &Names::default(), Screen::default(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_table_tells_whom_what_why_how_long_and_how_much() {
        let bans = [
            row("192.0.2.7", "tcp-syn-scan", Some(581), None),
            row("2001:db8:1:2::/64", "udp-scan", Some(11_100), None),
        ];
        assert_eq!(
            shown(&bans),
            "\
TARGET             ACTION    RULE            LEFT  DROPPED
192.0.2.7          restrict  tcp-syn-scan  9m 41s      120
2001:db8:1:2::/64  restrict  udp-scan       3h 5m      120
"
        );
    }

    #[test]
    fn what_is_only_watched_is_not_called_a_ban() {
        let watched = BanRow { enforced: false, ..row("192.0.2.7", "tcp-syn-scan", Some(9), None) };
        assert!(shown(&[watched]).contains("would restrict"));
    }

    #[test]
    fn reasons_have_a_column_where_there_are_any_and_cannot_act_on_the_terminal() {
        let bans = [
            row("192.0.2.7", "tcp-syn-scan", Some(9), None),
            row("198.51.100.0/24", "manual", None, Some("\x1b[2Jrude")),
        ];
        assert_eq!(
            shown(&bans),
            "\
TARGET           ACTION    RULE                  LEFT  DROPPED  REASON
192.0.2.7        restrict  tcp-syn-scan            9s      120
198.51.100.0/24  ban       manual        until lifted      120  \\u{1b}[2Jrude
"
        );
    }

    #[test]
    fn a_json_line_is_a_ban_with_what_is_left_and_what_was_dropped() {
        let mut out = Vec::new();
        json::write_line(&mut out, &Line::Ban(&row("192.0.2.7", "tcp-syn-scan", Some(581), None))).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"type":"ban","time":"2026-01-02T03:04:05.000006Z","target":"192.0.2.7","action":"restrict","rule":"tcp-syn-scan","incident":"0000000000c0ffee","timeout_s":600,"expires_s":581,"packets":120,"bytes":7200,"reason":null,"enforced":true}
"#
        );
    }
}
