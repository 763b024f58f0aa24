//! `nfban demo`: the main job, shown in a private network namespace.

use super::Session;
use super::exit::{Exit, Failure};
use crate::demo::{self, DemoError, Firewall, Options};

/// Show the main job in a private network namespace: a scan, its detection, the ban, its expiry
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

pub(super) fn run(arguments: &Arguments, session: &mut Session) -> Result<Exit, Failure> {
    let firewall = match arguments.ruleset {
        Ruleset::Nft => Firewall::Nft,
        Ruleset::Iptables => Firewall::Iptables,
    };
    let mut result = Ok(());
    session.show(|out, screen| {
        result = demo::run(&Options { firewall, screen }, out);
        Ok(())
    })?;
    result.map(|()| Exit::Done).map_err(explain)
}

fn explain(error: DemoError) -> Failure {
    match error {
        DemoError::Output(error) => Failure::output(error),
        // Standard error has its line already.
        DemoError::Told => Failure { exit: Exit::No, message: None },
        DemoError::Forbidden { .. } => Failure::new(Exit::NoPermission, error.to_string()),
        other => Failure::new(Exit::No, other.to_string()),
    }
}
