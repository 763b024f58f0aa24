//! The packets that were counted, the handshakes with traps, and the requests to web servers.

use std::borrow::Cow;
use std::io;
use std::net::SocketAddr;

use super::super::super::names::Names;
use crate::packet::Verdict;
use crate::report::escape::escape;
use crate::report::firing::{Firing, Packet};
use crate::report::moment::time_beside;
use crate::report::page::Page;
use crate::report::screen::Screen;
use crate::report::table::Align::{Left, Right};
use crate::report::table::Table;
use crate::report::target::Target;
use crate::report::text::count;

/// How many senders are named below the packets of a prefix.
const NAMED: usize = 16;

/// Writes what was counted.
pub(super) fn packets(page: &mut Page<'_>, one: &Firing, names: &Names) -> io::Result<()> {
    let requests = one.packets.iter().any(|packet| packet.request.is_some());
    let screen = page.narrower();
    page.indented(if requests { of_requests(one, screen) } else { of_packets(one, names, screen) })?;
    if one.left_out > 0 {
        let entries = count(one.left_out, "earlier entry is", "earlier entries are");
        page.paragraph(&format!("{entries} left out."))?;
    }
    if !requests && one.packets.iter().any(|packet| packet.interface.is_none()) {
        let unknown = if one.packets.iter().any(|packet| packet.handshake) {
            "The kernel"
        } else {
            "What was captured"
        };
        page.paragraph(&format!("{unknown} does not tell the interface where IN is `-`."))?;
    }
    senders(page, one, names)
}

/// Who is who in packets of several addresses, where names are wanted.
fn senders(page: &mut Page<'_>, one: &Firing, names: &Names) -> io::Result<()> {
    let mut senders: Vec<Target> = one.packets.iter().map(|packet| Target(packet.source.into())).collect();
    senders.sort_unstable_by_key(|sender| sender.0);
    senders.dedup();
    // The one that the page is about has its name at the top.
    let others = senders.into_iter().filter(|sender| *sender != one.source);
    let named = others.filter_map(|sender| Some((sender, names.of(sender.0)?)));
    for (sender, name) in named.take(NAMED) {
        page.paragraph(&format!("{sender} is {name}"))?;
    }
    Ok(())
}

fn of_packets(one: &Firing, names: &Names, screen: Screen) -> Table {
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
    let mut table = Table::new(&columns, screen);
    let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    for packet in &one.packets {
        let from = match (several, packet.source_port) {
            (true, Some(port)) => SocketAddr::new(packet.source, port).to_string(),
            (true, None) => packet.source.to_string(),
            (false, Some(port)) => format!(":{port}"),
            (false, None) => "-".to_owned(),
        };
        let mut cells = vec![
            time_beside(packet.time, one.time),
            packet.interface.as_deref().map_or(Cow::Borrowed("-"), escape).into_owned(),
            from,
            destination(packet, names),
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
pub(super) fn only_verdict(one: &Firing) -> Option<Verdict> {
    let first = one.packets.first()?.verdict?;
    one.packets.iter().all(|packet| packet.verdict == Some(first)).then_some(first)
}

fn of_requests(one: &Firing, screen: Screen) -> Table {
    let several = one.packets.iter().any(|packet| Target(packet.source.into()) != one.source);
    let mut columns = vec![("TIME", Left)];
    columns.extend(several.then_some(("FROM", Left)));
    columns.extend([("PROBE", Left), ("STATUS", Right), ("REQUEST", Left), ("TIMES", Right)]);
    let mut table = Table::new(&columns, screen);
    for packet in &one.packets {
        let text = |text: &Option<String>| escape(text.as_deref().unwrap_or("-")).into_owned();
        let mut cells = vec![time_beside(packet.last_seen, one.time)];
        cells.extend(several.then(|| packet.source.to_string()));
        cells.extend([
            text(&packet.probe),
            packet.status.map_or_else(|| "-".to_owned(), |status| status.to_string()),
            text(&packet.request),
            packet.packets.to_string(),
        ]);
        table.row(cells);
    }
    table
}

/// Where it went to, with the name of the service where names are wanted.
fn destination(packet: &Packet, names: &Names) -> String {
    let service = packet.port.and_then(|port| names.service(&packet.protocol, port));
    let service = service.map(|name| format!(" ({name})")).unwrap_or_default();
    match (packet.destination, packet.port) {
        (Some(address), Some(port)) => format!("{}{service}", SocketAddr::new(address, port)),
        (Some(address), None) => address.to_string(),
        (None, Some(port)) => format!(":{port}{service}"),
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
