//! That a rule fired: what it asks for, what it counted, and what was done.

use std::io;
use std::time::Duration;

use super::super::super::names::Names;
use super::super::Case;
use super::packets::{only_verdict, packets};
use crate::control::protocol::{Mode, Why};
use crate::decide::{Evidence, Measure, Shielded};
use crate::report::escape::escape;
use crate::report::firing::{Answer, Firing};
use crate::report::moment::moment;
use crate::report::page::Page;
use crate::report::screen::Tone;
use crate::report::text::count;
use crate::time::format_duration;

/// That a rule fired, in a line.
pub(in crate::cli) fn in_short(one: &Firing, was_enforced: bool) -> String {
    let Firing { count: come_to, threshold, .. } = one;
    let window = format_duration(Duration::from_secs(one.window_s));
    let entries = u64::try_from(one.packets.len()).unwrap_or(u64::MAX).saturating_add(one.left_out);
    let answer = match &one.answer {
        Some(Answer::Acted { action, timeout_s, .. }) => {
            let would = if was_enforced { "" } else { "would " };
            format!("{would}{} for {}", action.as_str(), format_duration(Duration::from_secs(*timeout_s)))
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
pub(in crate::cli) fn firing(page: &mut Page<'_>, one: &Firing, names: &Names) -> io::Result<()> {
    let window = format_duration(Duration::from_secs(one.window_s));
    let rule = escape(&one.rule);
    let told_as =
        if one.told_as == one.rule { String::new() } else { format!(" (told as {})", escape(&one.told_as)) };
    page.toned(Tone::Strong, &format!("{rule}{told_as} fired on {} at {}", one.source, moment(one.time)))?;
    let Firing { count: come_to, threshold, .. } = one;
    let verdict = only_verdict(one).map(|verdict| format!(" in packets that were {}", verdict.as_str()));
    let (counts, verdict) = (escape(&one.counts), verdict.unwrap_or_default());
    let asks = format!("It asks for {threshold} within {window} ({counts}), and counted {come_to}{verdict}:");
    page.paragraph(&asks)?;
    packets(page, one, names)
}

/// What was done about it.
pub(super) fn answered(answer: &Answer, one: &Firing, case: &Case) -> String {
    let why = &case.why;
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
            let (was, watching) = match (was_enforced(one, case), targets) {
                (true, ..=1) => ("was", ""),
                (true, _) => ("were", ""),
                (false, _) => ("would have been", " (`mode: watch`: the kernel was not told)"),
            };
            let whom = if targets > 1 { format!("{targets} of its addresses {was}") } else { format!("It {was}") };
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
        Answer::Nobody => never(Shielded::Nobody, one),
        Answer::Protected => never(Shielded::Protected, one),
        Answer::Allowed => never(Shielded::Allowed, one),
        Answer::NoRoom => "Nothing was done: a limit on bans was reached (`nfban status` shows which).".to_owned(),
    }
}

/// Whether the kernel was told what a firing led to: the ban tells, if it is known; the mode may have changed since.
fn was_enforced(one: &Firing, case: &Case) -> bool {
    let (why, led) = (&case.why, |incident| one.incident.is_some() && incident == one.incident);
    let stands =
        why.bans.iter().find(|decided| led(decided.ban.incident)).map(|decided| decided.ban.enforced);
    let kept = || case.record.iter().flat_map(|record| &record.bans).find(|former| led(former.incident));
    stands.or_else(|| kept().map(|former| former.ban.enforced)).unwrap_or(why.mode == Mode::Enforce)
}

fn never(why: Shielded, one: &Firing) -> String {
    format!("Nothing was done: it {}.", why.reason(one.source.0))
}

/// Why a ban lasts as long as it does.
pub(super) fn how_long(validated: bool, before: u32, why: &Why) -> String {
    let forget = format_duration(Duration::from_secs(why.forget_s));
    let times: Vec<String> =
        why.times_s.iter().map(|seconds| format_duration(Duration::from_secs(*seconds))).collect();
    let limit = format_duration(Duration::from_secs(why.spoofable_limit_s));
    let limit =
        if validated { String::new() } else { format!(", and never more than {limit} on such evidence") };
    let nth = before.saturating_add(1);
    format!("This is its ban number {nth} within {forget}; they last {}{limit}.", times.join(", then "))
}
