//! `nfban check`: is the configuration good?

use std::path::PathBuf;

use super::exit::{Exit, Failure};
use super::{CONFIG, Session};

/// Check the configuration and the rules, showing all errors at once
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The configuration
    #[arg(short, long, value_name = "FILE", default_value = CONFIG)]
    pub config: PathBuf,
}

pub(super) fn run(_arguments: &Arguments, _session: &mut Session) -> Result<Exit, Failure> {
    Err(Failure::not_yet("check"))
}
