//! `nfban why`: the packets behind a decision.

mod view;

use serde::Serialize;

use super::Session;
use super::exit::{Exit, Failure};
use crate::control::client::ask;
use crate::control::protocol::{Refusal, Reply, Request, Why};
use crate::report::firing::Firing;
use crate::report::json;
use crate::report::target::Target;
use crate::store::reader::Record;

pub(super) use self::view::in_short;

/// Tell why somebody is banned, or is not: rule, threshold, packets, what was done, how to lift it
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// An address, or a prefix as it is banned
    #[arg(value_name = "ADDR")]
    pub address: Target,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

pub(super) fn run(arguments: &Arguments, session: &mut Session) -> Result<Exit, Failure> {
    let address = arguments.address;
    let Reply::Why(why) = session.ask(&Request::Why { address })? else { return Err(Failure::off_topic()) };
    let (record, trouble) = match ask(&session.socket(), &Request::Record { address })? {
        Reply::Record(record) => (Some(*record), None),
        // Where nothing is kept, what is in memory must do.
        Reply::Refused { refusal: Refusal::No, .. } => (None, None),
        Reply::Refused { message, .. } => (None, Some(message)),
        _ => return Err(Failure::off_topic()),
    };
    let case = Case::new(*why, record);
    session.show(|mut out, screen| {
        if arguments.json {
            return json::write_line(&mut out, &Line::Why(&case));
        }
        view::whole(out, &case, screen)?;
        match trouble {
            Some(trouble) => writeln!(out, "\nOf the past nothing is told: {}", super::escape(&trouble)),
            None => Ok(()),
        }
    })
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
        Self { why, record }
    }
}
