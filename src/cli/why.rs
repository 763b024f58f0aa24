//! `nfban why`: the packets behind a decision.

mod view;

use std::path::Path;

use ipnet::IpNet;
use serde::Serialize;

use super::exit::{Exit, Failure};
use super::names::{Choice, Names};
use super::{Session, answer};
use crate::control::client::ask;
use crate::control::protocol::{Refusal, Reply, Request, Why};
use crate::report::firing::Firing;
use crate::report::json;
use crate::report::page::Page;
use crate::report::screen::{self, Screen};
use crate::report::target::Target;
use crate::store::reader::Record;

pub(super) use self::view::{firing, in_short};

/// Tell why somebody is banned, or is not: rule, threshold, packets, what was done, how to lift it
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// An address, or a prefix as it is banned
    #[arg(value_name = "ADDR")]
    pub address: Target,
    /// One JSON object
    #[arg(long, conflicts_with = "names")]
    pub json: bool,
    /// Whether to show names.
    #[command(flatten)]
    pub names: Choice,
}

pub(super) fn run(arguments: &Arguments, session: &mut Session) -> Result<Exit, Failure> {
    let case = inquire(&session.socket(), arguments.address)?;
    let names = arguments.names.look_up(case.sources());
    session.note(&names.notes);
    session.show(|mut out, screen| {
        if arguments.json {
            return json::write_line(&mut out, &Line::Why(&case));
        }
        view::whole(&mut Page::new(out, screen), &case, &names)
    })
}

/// What the daemon at `socket` knows of an address or a prefix.
///
/// # Errors
/// No daemon, no permission, or its no.
pub(super) fn inquire(socket: &Path, address: Target) -> Result<Case, Failure> {
    let Reply::Why(why) = answer(socket, &Request::Why { address })? else {
        return Err(Failure::off_topic());
    };
    let (record, trouble) = match ask(socket, &Request::Record { address })? {
        Reply::Record(record) => (Some(*record), None),
        // Where nothing is kept, what is in memory must do.
        Reply::Refused { refusal: Refusal::No, .. } => (None, None),
        Reply::Refused { message, .. } => (None, Some(message)),
        _ => return Err(Failure::off_topic()),
    };
    Ok(Case { trouble, ..Case::new(*why, record) })
}

/// The object of `why --json`.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum Line<'a> {
    Why(&'a Case),
}

/// What is known: now, and of the past.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Case {
    #[serde(flatten)]
    why: Why,
    /// None where nothing is kept.
    record: Option<Record>,
    /// Why nothing is told of the past, where there should be something.
    #[serde(skip)]
    trouble: Option<String>,
}

impl Case {
    /// Puts together what is in memory and what is kept: what happened lately is in both, and told once.
    fn new(mut why: Why, record: Option<Record>) -> Self {
        let mut record = record;
        if let Some(record) = &mut record {
            let known = |one: &Firing, of: &[Firing]| {
                of.iter().any(|other| (one.incident, one.time) == (other.incident, other.time))
            };
            let kept = std::mem::take(&mut record.firings);
            for firing in kept {
                if !known(&firing, &why.firings) {
                    why.firings.push(firing);
                }
            }
            why.firings.sort_by_key(|firing| std::cmp::Reverse(firing.time));
        }
        Self { why, record, trouble: None }
    }

    /// Whom it is about.
    pub(super) const fn address(&self) -> Target {
        self.why.address
    }

    /// Whose names are to be shown.
    pub(super) fn sources(&self) -> impl Iterator<Item = IpNet> {
        let firings = self.why.firings.iter().chain(&self.why.counting);
        let packets = firings.flat_map(|firing| &firing.packets).map(|packet| packet.source.into());
        std::iter::once(self.why.address.0).chain(packets)
    }

    /// All of it, in lines of so many columns.
    pub(super) fn lines(&self, names: &Names, width: u16) -> Vec<String> {
        let mut out = Vec::new();
        // Writing to a Vec cannot fail.
        let _ =
            view::whole(&mut Page::new(&mut out, Screen { width: Some(width), color: false }), self, names);
        let page = String::from_utf8_lossy(&out);
        page.lines().flat_map(|line| screen::broken(line, width.into())).collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// One with three packets, of 192.0.2.7.
    pub(in crate::cli) fn case() -> Case {
        Case::new(view::tests::why(), None)
    }
}
