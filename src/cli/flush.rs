//! `nfban flush`: what a daemon that has ended left in the kernel.

use std::path::PathBuf;

use super::Session;
use super::exit::{Exit, Failure};
use super::run::failure;
use crate::daemon::{self, Options};

/// Take everything of nfban's out of the kernel, bans and all, while the daemon does not run
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The configuration, which says what table or sets are meant [default: /etc/nfban/nfban.yaml, or NAME.yaml there of the instance]
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments, session: &mut Session) -> Result<Exit, Failure> {
    let options = Options {
        config: session.config(arguments.config.as_deref()),
        dry_run: false,
        flush: true,
        instance: session.global.instance.clone(),
        log_format: None,
    };
    daemon::flush(&options).map_err(|error| failure(&error, session))?;
    session.show(|out, _| writeln!(out, "nothing of nfban's is left in the kernel"))
}
