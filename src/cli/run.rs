//! `nfban run`: the daemon.

use std::io;
use std::path::PathBuf;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::exit::{Exit, Failure};
use super::{CONFIG, Session};
use crate::daemon::{self, Options, StartError};
use crate::report::screen::{Color, Screen};

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
}

pub(super) fn run(arguments: &Arguments, session: &mut Session) -> Result<Exit, Failure> {
    log_to_standard_error(session.global.color);
    let options = Options {
        config: arguments.config.clone(),
        dry_run: arguments.dry_run,
        flush: arguments.flush,
        instance: arguments.instance.clone(),
    };
    daemon::run(options).map_err(|error| failure(&error, session))?;
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

/// The journal stamps every line itself; anybody else gets the time with it. `NFBAN_LOG` sets the level.
fn log_to_standard_error(color: Color) {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .with_env_var("NFBAN_LOG")
        .from_env_lossy();
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_target(false)
        .with_ansi(Screen::of(&io::stderr(), color).color);
    // A second subscriber cannot be set; whoever did so first (a test) keeps the log.
    let _ = if std::env::var_os("JOURNAL_STREAM").is_some() {
        lines.without_time().try_init()
    } else {
        lines.try_init()
    };
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
