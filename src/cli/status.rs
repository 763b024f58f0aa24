//! `nfban status`: what runs, what it saw, whom it keeps out.

mod address;
mod counts;
mod lists;
mod overview;

pub(super) use self::counts::short;
#[cfg(test)]
pub(super) use self::overview::tests;
pub(super) use self::overview::{headline, now};

use ipnet::IpNet;

use super::exit::{Exit, Failure};
use super::names::Choice;
use super::{Session, unfed};
use crate::control::protocol::{Reply, Request};
use crate::report::json;
use crate::report::page::Page;
use crate::report::screen;
use crate::report::target::Target;
use crate::store::reader::Record;

/// Show what runs, what it saw, who is banned; with an address, all about it
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Only this one, and all about it
    #[arg(value_name = "ADDR")]
    pub address: Option<Target>,
    /// One JSON object
    #[arg(long, conflicts_with = "names")]
    pub json: bool,
    /// Whether to show names.
    #[command(flatten)]
    pub names: Choice,
}

pub(super) fn run(arguments: &Arguments, session: &mut Session) -> Result<Exit, Failure> {
    let mut reply = session.ask(&Request::Status { address: arguments.address })?;
    if !matches!(reply, Reply::Status(_) | Reply::Address(_)) {
        return Err(Failure::off_topic());
    }
    let record = match &mut reply {
        Reply::Address(known) => {
            let record = kept(known.address, session)?;
            // The daemon itself remembers what is open.
            known.incidents_total = known.incidents_total.max(record.incidents_total);
            record
        }
        _ => Record::default(),
    };
    let height = (!arguments.json).then(|| screen::height(&std::io::stdout())).flatten();
    let names = arguments.names.look_up(sources(&reply));
    session.note(&names.notes);
    if let (Reply::Status(status), false) = (&reply, arguments.json) {
        session.note(unfed::of_status(status).as_slice());
    }
    session.show(|mut out, screen| match &reply {
        // The reply is the object that --json promises.
        reply if arguments.json => json::write_line(&mut out, reply),
        Reply::Status(status) => overview::whole(out, status, &names, screen, height),
        Reply::Address(known) => {
            if let Some(name) = names.of(known.address.0) {
                writeln!(out, "{} is {name}", known.address)?;
            }
            address::address(&mut Page::new(out, screen), known, &record)
        }
        _ => Ok(()),
    })
}

/// What is kept of the past of an address; nothing where nothing is kept.
fn kept(address: Target, session: &Session) -> Result<Record, Failure> {
    match session.ask(&Request::Record { address }) {
        Ok(Reply::Record(record)) => Ok(*record),
        Ok(_) => Err(Failure::off_topic()),
        // What is in memory must do.
        Err(_) => Ok(Record::default()),
    }
}

/// Whose names are to be shown.
fn sources(reply: &Reply) -> Vec<IpNet> {
    match reply {
        Reply::Status(status) => {
            let incidents = status.recent_incidents.iter().map(|incident| incident.source.0);
            status.offenders.iter().map(|offender| offender.source.0).chain(incidents).collect()
        }
        Reply::Address(known) => vec![known.address.0],
        _ => Vec::new(),
    }
}
