//! `nfban flush`: what a daemon that has ended left in the kernel.

use std::path::PathBuf;

use super::exit::{Exit, Failure};
use super::run::{failure, instance};
use super::{CONFIG, Session};
use crate::daemon::{self, Options};

/// Take everything of nfban's out of the kernel, bans and all, while the daemon does not run
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The configuration, which says what table or sets are meant
    #[arg(short, long, value_name = "FILE", default_value = CONFIG)]
    pub config: PathBuf,
    /// What this instance has left
    #[arg(long, value_name = "NAME", value_parser = instance)]
    pub instance: Option<String>,
}

pub(super) fn run(arguments: &Arguments, session: &mut Session) -> Result<Exit, Failure> {
    let options = Options {
        config: arguments.config.clone(),
        dry_run: false,
        flush: true,
        instance: arguments.instance.clone(),
        log_format: None,
    };
    daemon::flush(&options).map_err(|error| failure(&error, session))?;
    session.show(|out, _| writeln!(out, "nothing of nfban's is left in the kernel"))
}
