//! `nfban ruleset`: what the firewall needs to hand us its packets.

use std::path::PathBuf;

use super::exit::{Exit, Failure};
use super::{CONFIG, Session};

/// Print the nftables text that pairs with the configuration
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The configuration
    #[arg(short, long, value_name = "FILE", default_value = CONFIG)]
    pub config: PathBuf,
}

pub(super) fn run(_arguments: &Arguments, _session: &mut Session) -> Result<Exit, Failure> {
    Err(Failure::not_yet("ruleset"))
}
