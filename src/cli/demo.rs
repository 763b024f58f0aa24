//! `nfban demo`: the main job, shown in a private network namespace.

use super::Session;
use super::exit::{Exit, Failure};

/// Show a scan, its detection, the ban and its expiry in a private network
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Which firewall the victim has
    #[arg(long, value_name = "KIND", value_enum, default_value_t = Ruleset::Nft)]
    pub ruleset: Ruleset,
}

/// The two firewalls there are examples for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Ruleset {
    /// An nft ruleset.
    Nft,
    /// An iptables ruleset (`-j NFLOG`).
    Iptables,
}

pub(super) fn run(_arguments: &Arguments, _session: &mut Session) -> Result<Exit, Failure> {
    Err(Failure::not_yet("the demonstration"))
}
