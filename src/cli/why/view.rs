//! Why somebody is kept out, in sentences.

use std::borrow::Cow;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::super::bans::left;
use super::Case;
use crate::control::protocol::{Decided, Exempt, Mode, Why};
use crate::decide::{Evidence, Measure, Shielded};
use crate::packet::Verdict;
use crate::report::escape::escape;
use crate::report::firing::{Answer, Firing, Packet};
use crate::report::screen::{Screen, Tone};
use crate::report::table::Align::{Left, Right};
use crate::report::table::Table;
use crate::report::target::Target;
use crate::report::text::count;
use crate::store::reader::{Former, Record};
use crate::time::{Wall, format_duration};

/// How many firings are told with their packets; the rest is in `--json`.
const TOLD: usize = 3;
/// How many earlier bans, and incidents, are listed.
const LISTED: usize = 10;

/// Writes all that is known of the case.
pub(super) fn whole(out: &mut dyn Write, case: &Case, screen: Screen) -> io::Result<()> {
    let why = &case.why;
    if is_unknown(case) {
        return writeln!(
            out,
            "nothing is known of {}: it is not banned, and no packet of it has counted",
            why.address
        );
    }
    headline(out, why, screen)?;
    for one in why.firings.iter().take(TOLD) {
        writeln!(out)?;
        firing(out, one, screen)?;
        if let Some(answer) = &one.answer {
            paragraph(out, &answered(answer, one, why), screen)?;
        }
    }
    let more = why.firings.len().saturating_sub(TOLD);
    if more > 0 {
        let times = count(more.try_into().unwrap_or(u64::MAX), "time", "times");
        writeln!(out, "\nIts packets made a rule fire {times} more: --json has those packets too.")?;
    }
    without_packets(out, case, screen)?;
    if let Some(record) = &case.record {
        past(out, record, screen)?;
    }
    counting(out, why, screen)?;
    for one in &why.exempt {
        writeln!(out)?;
        paragraph(out, &exempted(one), screen)?;
    }
    remedies(out, why, screen)
}

fn is_unknown(case: &Case) -> bool {
    let Why { protected, bans, open_incidents, firings, counting, exempt, .. } = &case.why;
    let past =
        case.record.as_ref().is_none_or(|record| record.incidents.is_empty() && record.bans.is_empty());
    let present = bans.is_empty() && open_incidents.is_empty() && firings.is_empty() && counting.is_empty();
    protected.is_none() && present && exempt.is_empty() && past
}

fn headline(out: &mut dyn Write, why: &Why, screen: Screen) -> io::Result<()> {
    if let Some(reason) = &why.protected {
        let line = format!("{} is never banned: it {}.", why.address, escape(reason));
        writeln!(out, "{}", screen.paint(Tone::Good, &line))?;
    }
    for one in &why.bans {
        let is = if one.ban.enforced { "is" } else { "would be" };
        let done = match one.ban.action {
            Measure::Ban => "banned: all its packets are dropped",
            Measure::Restrict => "restricted: it reaches what is published, the rest is dropped",
        };
        let line = format!("{} {is} {done}.", one.ban.target);
        writeln!(out, "{}", screen.paint(Tone::Bad, &line))?;
        paragraph(out, &stands(one, why), screen)?;
    }
    if why.bans.is_empty() && why.protected.is_none() {
        writeln!(out, "{}", screen.paint(Tone::Strong, &format!("{} is not banned.", why.address)))?;
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
        format!("Rule: {}. {}", escape(&ban.rule), how_long(*validated, *before, why))
    };
    let dropped = count(ban.packets, "packet", "packets");
    format!("Since {}; {end}; {dropped} dropped so far. {because}", moment(ban.time))
}

/// Why a ban lasts as long as it does.
fn how_long(validated: bool, before: u32, why: &Why) -> String {
    let forget = format_duration(Duration::from_secs(why.forget_s));
    let times: Vec<String> =
        why.times_s.iter().map(|seconds| format_duration(Duration::from_secs(*seconds))).collect();
    let limit = format_duration(Duration::from_secs(why.spoofable_limit_s));
    let limit =
        if validated { String::new() } else { format!(", and never more than {limit} on such evidence") };
    let nth = before.saturating_add(1);
    format!("This is its ban number {nth} within {forget}; they last {}{limit}.", times.join(", then "))
}

/// That a rule fired, in a line.
pub(in crate::cli) fn in_short(one: &Firing) -> String {
    let Firing { count: come_to, threshold, .. } = one;
    let window = format_duration(Duration::from_secs(one.window_s));
    let entries = u64::try_from(one.packets.len()).unwrap_or(u64::MAX).saturating_add(one.left_out);
    let answer = match &one.answer {
        Some(Answer::Acted { action, timeout_s, .. }) => {
            format!("{} for {}", action.as_str(), format_duration(Duration::from_secs(*timeout_s)))
        }
        Some(Answer::Stands) => "kept out already".to_owned(),
        Some(Answer::Logs) | None => "only told".to_owned(),
        Some(Answer::Unavailable) => "no set for it".to_owned(),
        Some(Answer::Nobody | Answer::Protected | Answer::Allowed) => "never banned".to_owned(),
        Some(Answer::NoRoom) => "no room for a ban".to_owned(),
    };
    format!(
        "why: at {} {} counted {come_to} of {threshold} within {window} from {}: {answer}",
        moment(one.time),
        escape(&one.rule),
        count(entries, "packet", "different packets"),
    )
}

/// Writes that a rule fired, and the packets.
fn firing(out: &mut dyn Write, one: &Firing, screen: Screen) -> io::Result<()> {
    let window = format_duration(Duration::from_secs(one.window_s));
    let rule = escape(&one.rule);
    let told_as =
        if one.told_as == one.rule { String::new() } else { format!(" (told as {})", escape(&one.told_as)) };
    let heading = format!("{rule}{told_as} fired on {} at {}", one.source, moment(one.time));
    writeln!(out, "{}", screen.paint(Tone::Strong, &heading))?;
    let Firing { count: come_to, threshold, .. } = one;
    let verdict = only_verdict(one).map(|verdict| format!(" in packets that were {}", verdict.as_str()));
    let (counts, verdict) = (escape(&one.counts), verdict.unwrap_or_default());
    let asks = format!("It asks for {threshold} within {window} ({counts}), and counted {come_to}{verdict}:");
    paragraph(out, &asks, screen)?;
    packets(out, one, screen)
}

fn packets(out: &mut dyn Write, one: &Firing, screen: Screen) -> io::Result<()> {
    let requests = one.packets.iter().any(|packet| packet.request.is_some());
    let table = if requests { of_requests(one, screen) } else { of_packets(one, screen) };
    table.lines().iter().try_for_each(|line| writeln!(out, "  {line}"))?;
    if one.left_out > 0 {
        let entries = count(one.left_out, "earlier entry is", "earlier entries are");
        writeln!(out, "  {entries} left out.")?;
    }
    Ok(())
}

/// The table is indented by two.
fn narrower(screen: Screen) -> Screen {
    Screen { width: screen.width.map(|width| width.saturating_sub(2)), ..screen }
}

fn of_packets(one: &Firing, screen: Screen) -> Table {
    let several = one.packets.iter().any(|packet| Target(packet.source.into()) != one.source);
    let times = one.packets.iter().any(|packet| packet.packets > 1);
    let verdicts = only_verdict(one).is_none() && one.packets.iter().any(|packet| packet.verdict.is_some());
    let mut columns = vec![
        ("TIME", Left),
        ("IN", Left),
        ("FROM", Right),
        ("TO", Left),
        ("WHAT", Left),
        ("TTL", Right),
        ("LEN", Right),
    ];
    columns.extend(verdicts.then_some(("VERDICT", Left)));
    columns.extend(times.then_some(("TIMES", Right)));
    let mut table = Table::new(&columns, narrower(screen));
    let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    for packet in &one.packets {
        let from = match (several, packet.source_port) {
            (true, Some(port)) => SocketAddr::new(packet.source, port).to_string(),
            (true, None) => packet.source.to_string(),
            (false, Some(port)) => format!(":{port}"),
            (false, None) => "-".to_owned(),
        };
        let mut cells = vec![
            time_of(packet.time, one.time),
            packet.interface.as_deref().map_or(Cow::Borrowed("-"), escape).into_owned(),
            from,
            destination(packet.destination, packet.port),
            what(packet),
            number(packet.ttl.map(u64::from)),
            number(packet.length.map(u64::from)),
        ];
        cells.extend(verdicts.then(|| packet.verdict.map_or("-", |verdict| verdict.as_str()).to_owned()));
        cells.extend(times.then(|| packet.packets.to_string()));
        table.row(cells);
    }
    table
}

/// The verdict of all the packets, where it is one.
fn only_verdict(one: &Firing) -> Option<Verdict> {
    let first = one.packets.first()?.verdict?;
    one.packets.iter().all(|packet| packet.verdict == Some(first)).then_some(first)
}

fn of_requests(one: &Firing, screen: Screen) -> Table {
    let columns = [("TIME", Left), ("PROBE", Left), ("STATUS", Right), ("REQUEST", Left), ("TIMES", Right)];
    let mut table = Table::new(&columns, narrower(screen));
    for packet in &one.packets {
        let text = |text: &Option<String>| escape(text.as_deref().unwrap_or("-")).into_owned();
        table.row([
            time_of(packet.last_seen, one.time),
            text(&packet.probe),
            packet.status.map_or_else(|| "-".to_owned(), |status| status.to_string()),
            text(&packet.request),
            packet.packets.to_string(),
        ]);
    }
    table
}

fn destination(address: Option<IpAddr>, port: Option<u16>) -> String {
    match (address, port) {
        (Some(address), Some(port)) => SocketAddr::new(address, port).to_string(),
        (Some(address), None) => address.to_string(),
        (None, Some(port)) => format!(":{port}"),
        (None, None) => "-".to_owned(),
    }
}

fn what(packet: &Packet) -> String {
    let protocol = escape(&packet.protocol);
    let detail = if packet.handshake { Some("handshake") } else { packet.flags.as_deref() };
    match detail.or(packet.icmp.as_deref()) {
        Some(detail) => format!("{protocol} {}", escape(detail)),
        None => protocol.into_owned(),
    }
}

fn answered(answer: &Answer, one: &Firing, why: &Why) -> String {
    let watching = if why.mode == Mode::Watch { " (`mode: watch`: the kernel was not told)" } else { "" };
    match *answer {
        Answer::Acted { action, timeout_s, before, targets } => {
            let proof = match one.evidence {
                Evidence::Spoofable => "such packets can carry a forged source, so the evidence is `spoofable`",
                Evidence::Validated => "the address is proven, so the evidence is `validated`",
            };
            let done = match action {
                Measure::Ban => "banned",
                Measure::Restrict => "restricted to what is published",
            };
            let whom = if targets > 1 { format!("{targets} of its addresses were") } else { "It was".to_owned() };
            let early = one.evidence == Evidence::Validated && one.count < one.threshold;
            let early = if early { " Below the threshold the answer is the milder one." } else { "" };
            let timeout = format_duration(Duration::from_secs(timeout_s));
            let validated = one.evidence == Evidence::Validated;
            format!(
                "{whom} {done} for {timeout}{watching}: {proof}.{early} {}",
                how_long(validated, before, why)
            )
        }
        Answer::Stands => "It was kept out already.".to_owned(),
        Answer::Logs => "Nothing was done: the rule, or `respond` in the configuration, only tells of such (`log`).".to_owned(),
        Answer::Unavailable => "Nothing was done: `nftables.sets` names no set for it, or a restriction needs conntrack, which is not to be used.".to_owned(),
        Answer::Nobody => never(Shielded::Nobody),
        Answer::Protected => never(Shielded::Protected),
        Answer::Allowed => never(Shielded::Allowed),
        Answer::NoRoom => "Nothing was done: a limit on bans was reached (`nfban status` shows which).".to_owned(),
    }
}

fn never(why: Shielded) -> String {
    format!("Nothing was done: it {}.", why.reason())
}

/// Bans and incidents whose packets are not kept.
fn without_packets(out: &mut dyn Write, case: &Case, screen: Screen) -> io::Result<()> {
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
        writeln!(out)?;
        paragraph(out, &line, screen)?;
    }
    Ok(())
}

fn past(out: &mut dyn Write, record: &Record, screen: Screen) -> io::Result<()> {
    let over: Vec<&Former> = record.bans.iter().filter(|one| one.ban.ended.is_some()).take(LISTED).collect();
    if !over.is_empty() {
        section(out, "Earlier bans", screen)?;
        let columns = [
            ("SINCE", Left),
            ("UNTIL", Left),
            ("TARGET", Left),
            ("ACTION", Left),
            ("RULE", Left),
            ("ENDED", Left),
        ];
        let mut table = Table::new(&columns, screen);
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
        lines(out, table)?;
    }
    if record.incidents.is_empty() {
        return Ok(());
    }
    section(out, "Incidents", screen)?;
    let columns = [
        ("SINCE", Left),
        ("RULE", Left),
        ("PACKETS", Right),
        ("PORTS", Right),
        ("HOSTS", Right),
        ("STATE", Left),
    ];
    let mut table = Table::new(&columns, screen);
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
    lines(out, table)
}

/// What counts and is not enough.
fn counting(out: &mut dyn Write, why: &Why, screen: Screen) -> io::Result<()> {
    let Some(nearest) = why.counting.first() else { return Ok(()) };
    section(out, "What counts now, and is not enough", screen)?;
    let columns = [("RULE", Left), ("OF", Left), ("COUNT", Right), ("THRESHOLD", Right), ("WITHIN", Right)];
    let mut table = Table::new(&columns, screen);
    for one in &why.counting {
        table.row([
            escape(&one.rule).into_owned(),
            one.source.to_string(),
            one.count.to_string(),
            one.threshold.to_string(),
            format_duration(Duration::from_secs(one.window_s)),
        ]);
    }
    lines(out, table)?;
    writeln!(out, "\nThe packets that {} counts:", escape(&nearest.rule))?;
    packets(out, nearest, screen)
}

fn exempted(one: &Exempt) -> String {
    let reasons: Vec<String> =
        one.packets.iter().map(|(why, packets)| format!("{packets} {}", in_words(why))).collect();
    let latest = match one.port {
        Some(port) => format!("{}/{port}", escape(&one.protocol)),
        None => escape(&one.protocol).into_owned(),
    };
    let packets = count(one.packets.values().sum(), "packet", "packets");
    format!(
        "{packets} of {} counted for nothing: {}. The latest came at {} ({latest}).",
        one.source,
        reasons.join("; "),
        moment(one.last_seen)
    )
}

/// Why packets were no evidence: the words of [`crate::detect::class::Exemption`] in longer ones.
fn in_words(why: &str) -> Cow<'_, str> {
    Cow::Borrowed(match why {
        "nobodys-address" => "from an address that is nobody's",
        "protected" => "from an address of this host, a gateway or a resolver",
        "ignored" => "named by `ignore`",
        "published" => "to published ports (`services`)",
        "listening" => "to ports that something listens on",
        "group" => "to a multicast or broadcast address",
        "fragment" => "in fragments without a transport header",
        "answer" => "in answer to what was sent from here, or in our name",
        "late" => "like the rest of an ended conversation",
        "accepted" => "let in, of a kind that no rule counts",
        "unjudged" => "with no word of what the firewall did",
        "ordinary" => "as ordinary hosts send them",
        other => return escape(other),
    })
}

/// What to do if it is wrong.
fn remedies(out: &mut dyn Write, why: &Why, screen: Screen) -> io::Result<()> {
    if why.bans.is_empty() && why.firings.is_empty() {
        return Ok(());
    }
    section(out, "If this is wrong", screen)?;
    for one in &why.bans {
        writeln!(out, "  nfban unban {}", one.ban.target)?;
    }
    let allow = format!("allow: [\"{}\"]", why.address);
    writeln!(out, "  {allow}  in nfban.yaml, then `nfban reload`: never acted against")?;
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
        writeln!(
            out,
            "  ignore: [{{protocol: {protocol}, dport: {port}}}]  likewise: such packets count for nobody"
        )?;
    }
    Ok(())
}

fn section(out: &mut dyn Write, name: &str, screen: Screen) -> io::Result<()> {
    writeln!(out, "\n{}", screen.paint(Tone::Strong, name))
}

fn lines(out: &mut dyn Write, table: Table) -> io::Result<()> {
    table.lines().iter().try_for_each(|line| writeln!(out, "{line}"))
}

/// Words, broken where the terminal ends.
fn paragraph(out: &mut dyn Write, text: &str, screen: Screen) -> io::Result<()> {
    let width = usize::from(screen.width.unwrap_or(u16::MAX));
    let mut line = String::from(" ");
    for word in text.split(' ') {
        if line.chars().count() + 1 + word.chars().count() > width && line.len() > 1 {
            writeln!(out, "{line}")?;
            line = String::from(" ");
        }
        line.push(' ');
        line.push_str(word);
    }
    writeln!(out, "{line}")
}

fn moment(time: Wall) -> String {
    time.timestamp().strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// The time of a packet, beside a heading that has the day.
fn time_of(time: Wall, heading: Wall) -> String {
    let day = |time: Wall| time.timestamp().strftime("%Y-%m-%d").to_string();
    let format = if day(time) == day(heading) { "%H:%M:%S%.3f" } else { "%m-%d %H:%M:%S%.3f" };
    time.timestamp().strftime(format).to_string()
}

#[cfg(test)]
mod tests;
