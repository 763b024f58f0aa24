//! Why somebody is kept out, in sentences: what stands now, the packets behind it, the past, and what to do about it.

mod counting;
mod fired;
mod packets;
mod past;

use std::io;

use super::super::bans::left;
use super::super::names::Names;
use super::Case;
use crate::control::protocol::{Decided, Why};
use crate::decide::Measure;
use crate::report::escape::escape;
use crate::report::firing::Firing;
use crate::report::moment::moment;
use crate::report::page::Page;
use crate::report::screen::Tone;
use crate::report::text::count;

pub(in crate::cli) use self::fired::{firing, in_short};

/// How many firings are told with their packets; the rest is in `--json`.
const TOLD: usize = 3;

/// Writes all that is known of the case.
pub(super) fn whole(page: &mut Page<'_>, case: &Case, names: &Names) -> io::Result<()> {
    let why = &case.why;
    if let Some(name) = names.of(why.address.0) {
        page.line(&format!("{} is {name}", why.address))?;
    }
    if is_unknown(case) {
        let address = why.address;
        return page.line(&format!(
            "nothing is known of {address}: it is not banned, and no packet of it has counted"
        ));
    }
    headline(page, why)?;
    for one in why.firings.iter().take(TOLD) {
        page.blank()?;
        firing(page, one, names)?;
        if let Some(answer) = &one.answer {
            page.paragraph(&fired::answered(answer, one, case))?;
        }
    }
    let more = why.firings.len().saturating_sub(TOLD);
    if more > 0 {
        let times = count(more.try_into().unwrap_or(u64::MAX), "time", "times");
        page.blank()?;
        page.line(&format!("Its packets made a rule fire {times} more: --json has those packets too."))?;
    }
    past::without_packets(page, case)?;
    if let Some(record) = &case.record {
        past::past(page, record)?;
    }
    counting::counting(page, why, names)?;
    for one in &why.exempt {
        page.blank()?;
        page.paragraph(&counting::exempted(one))?;
    }
    remedies(page, why)?;
    match &case.trouble {
        Some(trouble) => {
            page.blank()?;
            page.line(&format!("Of the past nothing is told: {}", escape(trouble)))
        }
        None => Ok(()),
    }
}

fn is_unknown(case: &Case) -> bool {
    let Why { protected, bans, open_incidents, firings, counting, exempt, .. } = &case.why;
    let past =
        case.record.as_ref().is_none_or(|record| record.incidents.is_empty() && record.bans.is_empty());
    let present = bans.is_empty() && open_incidents.is_empty() && firings.is_empty() && counting.is_empty();
    protected.is_none() && present && exempt.is_empty() && past
}

fn headline(page: &mut Page<'_>, why: &Why) -> io::Result<()> {
    if let Some(reason) = &why.protected {
        page.toned(Tone::Good, &format!("{} is never banned: it {}.", why.address, escape(reason)))?;
    }
    for one in &why.bans {
        let is = if one.ban.enforced { "is" } else { "would be" };
        let done = match one.ban.action {
            Measure::Ban => "banned: all its packets are dropped",
            Measure::Restrict => "restricted: it reaches what is published, the rest is dropped",
        };
        page.toned(Tone::Bad, &format!("{} {is} {done}.", one.ban.target))?;
        page.paragraph(&stands(one, why))?;
    }
    if why.bans.is_empty() && why.protected.is_none() {
        page.toned(Tone::Strong, &format!("{} is not banned.", why.address))?;
    }
    Ok(())
}

fn stands(one: &Decided, why: &Why) -> String {
    let Decided { ban, validated, before } = one;
    let end = match ban.expires_s {
        Some(_) => format!("it ends in {}", left(ban.expires_s)),
        None => "it lasts until it is lifted".to_owned(),
    };
    let is_told = |firing: &Firing| firing.incident.is_some() && firing.incident == ban.incident;
    let because = if ban.incident.is_none() {
        let reason = ban.reason.as_deref().map(|reason| format!(", who said: {}", escape(reason)));
        format!("A person decided that{}.", reason.unwrap_or_default())
    } else if why.firings.iter().any(is_told) {
        format!("Rule: {}.", escape(&ban.rule))
    } else {
        format!("Rule: {}. {}", escape(&ban.rule), fired::how_long(*validated, *before, why))
    };
    let dropped = count(ban.packets, "packet", "packets");
    format!("Since {}; {end}; {dropped} dropped so far. {because}", moment(ban.time))
}

/// What to do if it is wrong.
fn remedies(page: &mut Page<'_>, why: &Why) -> io::Result<()> {
    let unban = |one: &Decided| format!("  nfban unban {}", one.ban.target);
    let mut ways: Vec<String> = why.bans.iter().map(unban).collect();
    // Nothing is to be allowed that is never acted against as it is.
    if why.protected.is_none() && (!why.bans.is_empty() || !why.firings.is_empty()) {
        let allow = format!("allow: [\"{}\"]", why.address);
        ways.push(format!("  {allow}  in nfban.yaml, then `nfban reload`: never acted against"));
    }
    let mut ports: Vec<_> = why
        .firings
        .iter()
        .flat_map(|firing| &firing.packets)
        .filter_map(|packet| Some((packet.protocol.as_str(), packet.port?)))
        .collect();
    ports.sort_unstable();
    ports.dedup();
    // Of a scan no one port is to blame.
    if let [(protocol @ ("tcp" | "udp"), port)] = ports[..] {
        let ignore = format!("ignore: [{{protocol: {protocol}, dport: {port}}}]");
        ways.push(format!("  {ignore}  in nfban.yaml, likewise: such packets count for nobody"));
    }
    if ways.is_empty() {
        return Ok(());
    }
    page.section("If this is wrong")?;
    ways.iter().try_for_each(|way| page.line(way))
}

#[cfg(test)]
pub(super) mod tests;
