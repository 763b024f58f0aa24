//! What counts and is not enough, and what counts for nothing.

use std::borrow::Cow;
use std::io;
use std::time::Duration;

use super::super::super::names::Names;
use super::packets::packets;
use crate::control::protocol::{Exempt, Why};
use crate::report::escape::escape;
use crate::report::moment::moment;
use crate::report::page::Page;
use crate::report::table::Align::{Left, Right};
use crate::report::table::Table;
use crate::report::text::count;
use crate::time::format_duration;

/// What counts and is not enough.
pub(super) fn counting(page: &mut Page<'_>, why: &Why, names: &Names) -> io::Result<()> {
    let Some(nearest) = why.counting.first() else { return Ok(()) };
    page.section("What counts now, and is not enough")?;
    let columns = [("RULE", Left), ("OF", Left), ("COUNT", Right), ("THRESHOLD", Right), ("WITHIN", Right)];
    let mut table = Table::new(&columns, page.screen());
    for one in &why.counting {
        table.row([
            escape(&one.rule).into_owned(),
            one.source.to_string(),
            one.count.to_string(),
            one.threshold.to_string(),
            format_duration(Duration::from_secs(one.window_s)),
        ]);
    }
    page.table(table)?;
    page.blank()?;
    page.line(&format!("The packets that {} counts:", escape(&nearest.rule)))?;
    packets(page, nearest, names)
}

/// What counted for nothing.
pub(super) fn exempted(one: &Exempt) -> String {
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
