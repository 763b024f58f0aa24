//! `nfban reload`.

use super::Session;
use super::exit::{Exit, Failure};
use crate::control::protocol::{Reply, Request};

/// Have the daemon read its configuration again
#[derive(Debug, clap::Args)]
pub struct Arguments {}

pub(super) fn run(_: &Arguments, session: &mut Session) -> Result<Exit, Failure> {
    match session.ask(&Request::Reload)? {
        Reply::Reloaded => session.show(|out, _| writeln!(out, "the configuration was read again")),
        _ => Err(Failure::off_topic()),
    }
}
