//! `nfban status`: what runs, what it saw, whom it keeps out.

mod overview;
mod view;

use super::Session;
use super::exit::{Exit, Failure};
use crate::control::protocol::{Reply, Request};
use crate::report::json;
use crate::report::screen;
use crate::report::target::Target;

/// Show what runs, what it saw, who is banned; with an address, all about it
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Only this one, and all about it
    #[arg(value_name = "ADDR")]
    pub address: Option<Target>,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

pub(super) fn run(arguments: &Arguments, session: &mut Session) -> Result<Exit, Failure> {
    let reply = session.ask(&Request::Status { address: arguments.address })?;
    if !matches!(reply, Reply::Status(_) | Reply::Address(_)) {
        return Err(Failure::off_topic());
    }
    let height = (!arguments.json).then(|| screen::height(&std::io::stdout())).flatten();
    session.show(|mut out, screen| match &reply {
        // The reply is the object that --json promises.
        reply if arguments.json => json::write_line(&mut out, reply),
        Reply::Status(status) => overview::whole(out, status, screen, height),
        Reply::Address(address) => view::address(out, address, screen),
        _ => Ok(()),
    })
}
