//! What is kept of the past, and what is not.

use std::io;

use super::super::Case;
use crate::control::protocol::Why;
use crate::report::escape::escape;
use crate::report::moment::moment;
use crate::report::page::Page;
use crate::report::table::Align::{Left, Right};
use crate::report::table::Table;
use crate::store::reader::{Former, Record};

/// How many earlier bans, and incidents, are listed.
const LISTED: usize = 10;

/// Bans and incidents whose packets are not kept.
pub(super) fn without_packets(page: &mut Page<'_>, case: &Case) -> io::Result<()> {
    let Why { bans, open_incidents, firings, .. } = &case.why;
    let has = |id| firings.iter().any(|firing| firing.incident == Some(id));
    let ids = bans.iter().filter_map(|one| Some((one.ban.incident?, &one.ban.rule)));
    let ids = ids.chain(open_incidents.iter().map(|incident| (incident.id, &incident.rule)));
    let mut missing: Vec<_> = ids.filter(|(id, _)| !has(*id)).collect();
    missing.sort_unstable();
    missing.dedup();
    for (id, rule) in missing {
        let line = format!(
            "The packets behind incident {id} ({}) are no longer known: `keep` says what is kept, and for how long.",
            escape(rule)
        );
        page.blank()?;
        page.paragraph(&line)?;
    }
    Ok(())
}

/// Earlier bans, and incidents.
pub(super) fn past(page: &mut Page<'_>, record: &Record) -> io::Result<()> {
    let over: Vec<&Former> = record.bans.iter().filter(|one| one.ban.ended.is_some()).take(LISTED).collect();
    if !over.is_empty() {
        page.section("Earlier bans")?;
        let columns = [
            ("SINCE", Left),
            ("UNTIL", Left),
            ("TARGET", Left),
            ("ACTION", Left),
            ("RULE", Left),
            ("ENDED", Left),
        ];
        let mut table = Table::new(&columns, page.screen());
        for Former { ban, rule, .. } in over {
            let action = escape(&ban.action);
            table.row([
                moment(ban.time),
                ban.ended.map_or_else(|| "-".to_owned(), moment),
                ban.target.to_string(),
                if ban.enforced { action.into_owned() } else { format!("would {action}") },
                escape(rule).into_owned(),
                escape(ban.reason.as_deref().unwrap_or("-")).into_owned(),
            ]);
        }
        page.table(table)?;
    }
    if record.incidents.is_empty() {
        return Ok(());
    }
    page.section("Incidents")?;
    let columns = [
        ("SINCE", Left),
        ("RULE", Left),
        ("PACKETS", Right),
        ("PORTS", Right),
        ("HOSTS", Right),
        ("STATE", Left),
    ];
    let mut table = Table::new(&columns, page.screen());
    for past in record.incidents.iter().take(LISTED) {
        let incident = &past.incident;
        table.row([
            moment(incident.first_seen),
            escape(&incident.rule).into_owned(),
            incident.packets.to_string(),
            incident.distinct_ports.to_string(),
            incident.distinct_destinations.to_string(),
            if past.ended.is_some() { "over".to_owned() } else { "open".to_owned() },
        ]);
    }
    page.table(table)
}
