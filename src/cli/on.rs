//! `nfban on`: the end of `nfban off`.

use std::path::PathBuf;

use super::Session;
use super::exit::{Exit, Failure};
use super::off::{ask_if_running, switch_options};
use super::run::failure;
use crate::control::protocol::{Reply, Request};
use crate::daemon;
use crate::decide::Mode;
use crate::report::text::count;

/// Enforce again after `nfban off`; bans by hand stand again, all others are over
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The configuration, which says where the daemon answers [default: /etc/nfban/nfban.yaml, or NAME.yaml there of the instance]
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments, session: &mut Session) -> Result<Exit, Failure> {
    let options = switch_options(arguments.config.as_deref(), session);
    let line = match ask_if_running(&Request::On, &options, session)? {
        Some(Reply::On { was_off: false, .. }) => "nfban was not off".to_owned(),
        Some(Reply::On { mode: Mode::Watch, .. }) => {
            "nfban is on; the configuration says `mode: watch`, so it bans nobody".to_owned()
        }
        Some(Reply::On { bans: 0, .. }) => "nfban enforces again".to_owned(),
        Some(Reply::On { bans, .. }) => {
            format!("nfban enforces again, with {} by hand", count(bans, "ban", "bans"))
        }
        Some(_) => return Err(Failure::off_topic()),
        None => match daemon::switch::on(&options).map_err(|error| failure(&error, session))? {
            true => "nfban is on: the next start enforces again what the configuration says".to_owned(),
            false => "nfban was not off, and does not run".to_owned(),
        },
    };
    session.show(|out, _| writeln!(out, "{line}"))
}
