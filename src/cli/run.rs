//! `nfban run`: the daemon.

use std::io;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::Session;
use super::exit::{Exit, Failure};
use crate::daemon::{self, Options, StartError};
use crate::log::Format;
use crate::report::screen::Screen;

/// Run the daemon: capture, detect, ban
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The configuration [default: /etc/nfban/nfban.yaml, or NAME.yaml there of the instance]
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Decide everything and change nothing, whatever the configuration says
    #[arg(long)]
    pub dry_run: bool,
    /// When stopped, lift all bans and leave nothing in the kernel
    #[arg(long)]
    pub flush: bool,
    /// Log in this form, whatever the configuration says; auto is the journal where there is one, else text
    #[arg(long, value_name = "FORMAT", value_parser = log_format())]
    pub log_format: Option<Format>,
}

/// The words are told by clap, in the help and where another one is given.
fn log_format() -> impl TypedValueParser<Value = Format> {
    let names = Format::NAMES.map(|(name, _)| name);
    PossibleValuesParser::new(names).map(|name| {
        let known = Format::NAMES.into_iter().find(|(known, _)| *known == name);
        known.map_or(Format::Auto, |(_, format)| format)
    })
}

pub(super) fn run(arguments: &Arguments, session: &mut Session) -> Result<Exit, Failure> {
    let options = Options {
        config: session.config(arguments.config.as_deref()),
        dry_run: arguments.dry_run,
        flush: arguments.flush,
        instance: session.global.instance.clone(),
        log_format: arguments.log_format,
    };
    daemon::run(options, Screen::of(&io::stderr(), session.global.color))
        .map_err(|error| failure(&error, session))?;
    Ok(Exit::Done)
}

/// Why the daemon did not do what it was started for.
pub(super) fn failure(error: &StartError, session: &Session) -> Failure {
    let exit = match error {
        StartError::Configuration(_, problems) => {
            session.show_problems(problems);
            Exit::BadConfiguration
        }
        StartError::NoPermission { .. } => Exit::NoPermission,
        StartError::Needs { .. } => Exit::No,
    };
    Failure::new(exit, error.to_string())
}
