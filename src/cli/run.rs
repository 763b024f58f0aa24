//! `nfban run`: the daemon.

use std::io;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::exit::{Exit, Failure};
use super::{CONFIG, Session};
use crate::daemon::{self, Options, StartError};
use crate::log::Format;
use crate::report::screen::Screen;

/// Run the daemon: capture, detect, ban
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The configuration
    #[arg(short, long, value_name = "FILE", default_value = CONFIG)]
    pub config: PathBuf,
    /// Decide everything and change nothing, whatever the configuration says
    #[arg(long)]
    pub dry_run: bool,
    /// When stopped, lift all bans and leave nothing in the kernel
    #[arg(long)]
    pub flush: bool,
    /// Run beside other instances, with a table, a socket and a state of its own
    #[arg(long, value_name = "NAME", value_parser = instance)]
    pub instance: Option<String>,
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
        config: arguments.config.clone(),
        dry_run: arguments.dry_run,
        flush: arguments.flush,
        instance: arguments.instance.clone(),
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

/// The name becomes part of a table's name, of paths and of a unit's name.
pub(super) fn instance(name: &str) -> Result<String, &'static str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.len() > 32 || !name.chars().all(plain) || !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err("a name has at most 32 letters, digits, - and _, and begins with a letter or digit");
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_name_cannot_leave_its_folder() {
        for name in ["dmz", "wan-2", "0", "A_b"] {
            assert_eq!(instance(name).as_deref(), Ok(name));
        }
        for name in ["", "..", "a/b", "-x", "_x", "a b", "ä", &"x".repeat(33)] {
            assert!(instance(name).is_err(), "{name:?}");
        }
    }
}
