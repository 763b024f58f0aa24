//! `nfban forget`: what is known of somebody.

use super::Session;
use super::exit::{Exit, Failure};
use crate::control::protocol::{Reply, Request};
use crate::report::escape::escape;
use crate::report::target::Target;
use crate::report::text::count;

/// Forget what is known of a source: counts, incidents, packets, repetitions and past bans, also in the database's file
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Whom; an IPv6 address stands for its /64, as in all that is counted
    #[arg(value_name = "ADDR|PREFIX")]
    pub target: Target,

    /// Remove the older copies of the database too, with all that is in them: those that an upgrade made, and damaged ones
    #[arg(long)]
    pub copies: bool,
}

pub(super) fn run(arguments: &Arguments, session: &mut Session) -> Result<Exit, Failure> {
    let reply = session.ask(&Request::Forget { target: arguments.target, copies: arguments.copies })?;
    let Reply::Forgotten { target, incidents, bans, copies, removed } = reply else {
        return Err(Failure::off_topic());
    };
    session.show(|out, _| {
        let (incidents, bans) =
            (count(incidents, "incident", "incidents"), count(bans, "past ban", "past bans"));
        writeln!(out, "{target} is forgotten: {incidents}, {bans}; what the log says of it stays")?;
        for copy in removed {
            writeln!(out, "removed: {}", escape(&copy))?;
        }
        for copy in &copies {
            writeln!(out, "it may be left in this copy of the database: {}", escape(copy))?;
        }
        match (copies.is_empty(), arguments.copies) {
            (true, _) => Ok(()),
            (_, false) => writeln!(out, "to remove such copies whole: nfban forget {target} --copies"),
            (_, true) => writeln!(out, "nfban may not remove that; remove it by hand"),
        }
    })
}
