//! `nfban reload`.

use super::Session;
use super::exit::{Exit, Failure};
use crate::control::protocol::{Reply, Request};
use crate::decide::Mode;

/// Have the daemon read its configuration again
#[derive(Debug, clap::Args)]
pub struct Arguments {}

pub(super) fn run(_: &Arguments, session: &mut Session) -> Result<Exit, Failure> {
    match session.ask(&Request::Reload)? {
        Reply::Reloaded { mode, off } => {
            let does = match (off, mode) {
                (true, _) => "is off until `nfban on`",
                (false, Mode::Enforce) => "enforces",
                (false, Mode::Watch) => "watches and bans nobody",
            };
            session.show(|out, _| writeln!(out, "the configuration was read again: nfban {does}"))
        }
        _ => Err(Failure::off_topic()),
    }
}
