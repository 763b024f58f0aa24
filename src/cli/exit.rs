//! How a command ends: the exit status, and the line that explains it.

use std::fmt;
use std::io;
use std::process::ExitCode;

use crate::control::client::AskError;
use crate::control::protocol::Refusal;

/// The end of `nfban --help`.
pub(super) const HELP: &str = "\
How to begin: SETTING UP in nfban(8).

Exit status:
   0  done (an empty listing too)
   1  the answer is no, or it failed
   2  wrong usage
  66  the input cannot be read
  69  the daemon is not running, or does not answer
  77  no permission
  78  the configuration has errors";

/// Exit statuses: a public interface. From 66 on they are those of sysexits.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done; an empty listing too.
    Done = 0,
    /// The answer is no (`unban` of what is not banned), or it failed in a way that has no status of its own.
    No = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The input cannot be read, or is of no known format (EX_NOINPUT).
    Unreadable = 66,
    /// The daemon is not running, or does not answer (EX_UNAVAILABLE).
    NotRunning = 69,
    /// This user may not do that (EX_NOPERM).
    NoPermission = 77,
    /// The configuration or a rule file has errors, or is not to be trusted: not root's, or writable by others
    /// (EX_CONFIG).
    BadConfiguration = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl From<Refusal> for Exit {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::No | Refusal::BadRequest => Self::No,
            Refusal::NoPermission => Self::NoPermission,
            Refusal::Busy => Self::NotRunning,
            Refusal::BadConfiguration => Self::BadConfiguration,
        }
    }
}

/// A command that did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The exit status.
    pub exit: Exit,
    /// One line that says what to do; none where nobody is left to read it.
    pub message: Option<String>,
}

impl Failure {
    /// A failure with its line, without the `nfban: ` in front.
    #[must_use]
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: Some(message.into()) }
    }

    /// Standard output took no more. A reader that has seen enough (`| head`) is no failure.
    #[must_use]
    pub fn output(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self { exit: Exit::Done, message: None },
            _ => Self::new(Exit::No, format!("cannot write to standard output: {error}")),
        }
    }

    /// The daemon answered, but not what was asked.
    pub(super) fn off_topic() -> Self {
        Self::new(
            Exit::NotRunning,
            "the daemon answered something else; it is of another version, restart it",
        )
    }
}

impl From<AskError> for Failure {
    fn from(error: AskError) -> Self {
        let exit = match error {
            AskError::NoPermission(_) => Exit::NoPermission,
            AskError::NotRunning(_) | AskError::Silent { .. } | AskError::Garbled { .. } => Exit::NotRunning,
        };
        Self::new(exit, error.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message.as_deref().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_names_every_exit_status() {
        for exit in [
            Exit::Done,
            Exit::No,
            Exit::Usage,
            Exit::Unreadable,
            Exit::NotRunning,
            Exit::NoPermission,
            Exit::BadConfiguration,
        ] {
            assert!(HELP.contains(&format!("\n  {:>2}  ", exit as u8)), "{exit:?}");
        }
    }
}
