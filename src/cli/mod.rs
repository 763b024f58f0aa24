//! The command line: a file for each subcommand, and what they share.
//!
//! A subcommand is a struct of arguments and a function `run` from those and the [`Session`] to an [`Exit`] or a
//! [`Failure`], which is shown as one line on standard error.

#![forbid(unsafe_code)]

mod ban;
mod bans;
mod check;
mod completions;
pub mod demo;
pub mod exit;
mod flush;
mod forget;
mod import;
mod incidents;
mod names;
mod off;
mod on;
mod reload;
pub mod replay;
mod ruleset;
pub mod run;
mod ssh;
mod status;
mod top;
mod unban;
mod unfed;
mod usage;
mod why;

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};

use self::exit::{Exit, Failure};
use crate::config::Problems;
use crate::control::client::ask;
use crate::control::protocol::{Reply, Request};
use crate::instance::Instance;
use crate::report::escape::escape;
use crate::report::screen::{self, Color, Screen, in_ascii};

/// Where the configuration is unless said otherwise.
pub const CONFIG: &str = "/etc/nfban/nfban.yaml";

/// Where the daemon's socket is unless said otherwise.
pub const SOCKET: &str = "/run/nfban/control.sock";

/// Bans port scanners and floods: reads the packets your firewall refuses, drops their sources for a timed duration.
#[derive(Debug, Parser)]
#[command(name = "nfban", version, arg_required_else_help = true, after_help = exit::HELP)]
pub struct Arguments {
    /// What every subcommand takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every subcommand.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// The daemon's control socket [default: /run/nfban/control.sock, or that of the instance]
    #[arg(long, global = true, value_name = "PATH", env = "NFBAN_SOCKET", hide_env_values = true)]
    pub socket: Option<PathBuf>,
    /// The daemon of this name, which has a configuration, a table, a socket and a state of its own
    #[arg(long, global = true, value_name = "NAME")]
    pub instance: Option<Instance>,
    /// When to use colour; auto is on a terminal, unless NO_COLOR is set
    #[arg(long, global = true, value_name = "WHEN", default_value_t, value_parser = color())]
    pub color: Color,
}

/// The words are told by clap, in the help and where another one is given.
fn color() -> impl TypedValueParser<Value = Color> {
    PossibleValuesParser::new(Color::NAMES).try_map(|name| name.parse::<Color>())
}

/// The subcommands.
#[derive(Debug, Subcommand)]
#[expect(missing_docs, reason = "each is documented at its arguments, where clap takes its help from")]
pub enum Command {
    Run(run::Arguments),
    Check(check::Arguments),
    Replay(replay::Arguments),
    Demo(demo::Arguments),
    Status(status::Arguments),
    Why(why::Arguments),
    Top(top::Arguments),
    Bans(bans::Arguments),
    Incidents(incidents::Arguments),
    Ban(ban::Arguments),
    Unban(unban::Arguments),
    Forget(forget::Arguments),
    Flush(flush::Arguments),
    Off(off::Arguments),
    On(on::Arguments),
    Ruleset(ruleset::Arguments),
    Import(import::Arguments),
    Reload(reload::Arguments),
    #[command(hide = true)]
    Completions(completions::Arguments),
}

/// What a subcommand works with besides its own arguments.
#[derive(Debug)]
pub struct Session {
    /// Options of every subcommand.
    pub global: Global,
    /// What standard output is.
    pub screen: Screen,
    /// Whether standard output is a terminal that may know ASCII alone.
    pub is_plain: bool,
    out: BufWriter<io::Stdout>,
}

impl Session {
    fn new(global: Global) -> Self {
        let screen = Screen::of(&io::stdout(), global.color);
        let is_plain = screen::is_plain(&io::stdout());
        Self { global, screen, is_plain, out: BufWriter::new(io::stdout()) }
    }

    /// The daemon's socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        let Global { socket, instance, .. } = &self.global;
        let usual = || instance.as_ref().map_or_else(|| PathBuf::from(SOCKET), Instance::socket);
        socket.clone().unwrap_or_else(usual)
    }

    /// The configuration: the one that was named, or the usual one of the instance.
    #[must_use]
    pub fn config(&self, named: Option<&Path>) -> PathBuf {
        let usual = || self.global.instance.as_ref().map_or_else(|| PathBuf::from(CONFIG), Instance::config);
        named.map_or_else(usual, Path::to_path_buf)
    }

    /// Asks the daemon; a refusal is a failure.
    ///
    /// # Errors
    /// No daemon, no permission, or its no.
    pub fn ask(&self, request: &Request) -> Result<Reply, Failure> {
        answer(&self.socket(), request)
    }

    /// Shows what is wrong with a configuration on standard error.
    pub fn show_problems(&self, problems: &Problems) {
        let colour = Screen::of(&io::stderr(), self.global.color).color;
        // Where standard error is closed, the exit status must do.
        let _ = io::stderr().write_all(problems.render(colour).as_bytes());
    }

    /// Says on standard error what an answer lacks.
    pub fn note(&self, notes: &[String]) {
        for line in notes {
            // Where standard error is closed, the answer must do.
            let _ = writeln!(io::stderr(), "nfban: {}", escape(line));
        }
    }

    /// Writes to standard output, all at once.
    ///
    /// # Errors
    /// Standard output's. That nobody reads it any more (`| head`) is a quiet end.
    pub fn show(
        &mut self,
        write: impl FnOnce(&mut dyn Write, Screen) -> io::Result<()>,
    ) -> Result<Exit, Failure> {
        let shown = if self.is_plain {
            let mut page = Vec::new();
            write(&mut page, self.screen)
                .and_then(|()| self.out.write_all(in_ascii(&String::from_utf8_lossy(&page)).as_bytes()))
        } else {
            write(&mut self.out, self.screen)
        };
        shown.and_then(|()| self.out.flush()).map_err(Failure::output)?;
        Ok(Exit::Done)
    }
}

/// Asks the daemon at `socket`; a refusal is a failure.
fn answer(socket: &Path, request: &Request) -> Result<Reply, Failure> {
    match ask(socket, request)? {
        Reply::Refused { refusal, message } => Err(Failure::new(refusal.into(), message)),
        reply => Ok(reply),
    }
}

/// Runs the command that the process was started as.
#[must_use]
pub fn main() -> ExitCode {
    let result = match Arguments::try_parse() {
        Ok(Arguments { global, command }) => command.run(&mut Session::new(global)),
        Err(error) => usage::explain(&error),
    };
    result.unwrap_or_else(|failure| report(&failure)).into()
}

impl Command {
    fn run(&self, session: &mut Session) -> Result<Exit, Failure> {
        match self {
            Self::Run(arguments) => run::run(arguments, session),
            Self::Check(arguments) => check::run(arguments, session),
            Self::Replay(arguments) => replay::run(arguments, session),
            Self::Demo(arguments) => demo::run(arguments, session),
            Self::Status(arguments) => status::run(arguments, session),
            Self::Why(arguments) => why::run(arguments, session),
            Self::Top(arguments) => top::run(arguments, session),
            Self::Bans(arguments) => bans::run(arguments, session),
            Self::Incidents(arguments) => incidents::run(arguments, session),
            Self::Ban(arguments) => ban::run(arguments, session),
            Self::Unban(arguments) => unban::run(arguments, session),
            Self::Forget(arguments) => forget::run(arguments, session),
            Self::Flush(arguments) => flush::run(arguments, session),
            Self::Off(arguments) => off::run(arguments, session),
            Self::On(arguments) => on::run(arguments, session),
            Self::Ruleset(arguments) => ruleset::run(arguments, session),
            Self::Import(arguments) => import::run(arguments, session),
            Self::Reload(arguments) => reload::run(arguments, session),
            Self::Completions(arguments) => completions::run(arguments, session),
        }
    }
}

/// One line on standard error, whatever the message quotes.
fn report(failure: &Failure) -> Exit {
    if let Some(message) = &failure.message {
        // Where standard error is closed, the exit status must do.
        let _ = writeln!(io::stderr(), "nfban: {}", escape(message));
    }
    failure.exit
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_argument_of_every_subcommand_has_a_help_text() {
        for subcommand in Arguments::command().get_subcommands() {
            assert!(subcommand.get_about().is_some(), "{}", subcommand.get_name());
            for argument in subcommand.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {}", subcommand.get_name(), argument.get_id());
            }
        }
    }
}
