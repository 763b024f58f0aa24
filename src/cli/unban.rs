//! `nfban unban`: before its time.

use super::Session;
use super::exit::{Exit, Failure};
use crate::control::protocol::{Reply, Request};
use crate::report::target::Target;
use crate::report::text::count;

/// Lift a ban before its time, or all of them
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct Arguments {
    /// Whom to let in again, as it is banned
    #[arg(value_name = "ADDR|PREFIX")]
    pub target: Option<Target>,
    /// Everybody
    #[arg(long)]
    pub all: bool,
}

pub(super) fn run(arguments: &Arguments, session: &mut Session) -> Result<Exit, Failure> {
    let request = arguments.target.map_or(Request::UnbanAll, |target| Request::Unban { target });
    let Reply::Unbanned { targets } = session.ask(&request)? else { return Err(Failure::off_topic()) };
    session.show(|out, _| match targets.as_slice() {
        [] => writeln!(out, "nobody was banned"),
        [target] => writeln!(out, "{target} is let in again"),
        many => {
            writeln!(out, "{} lifted", count(u64::try_from(many.len()).unwrap_or(u64::MAX), "ban", "bans"))
        }
    })
}
