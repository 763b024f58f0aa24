//! `nfban run`: the daemon.

use std::path::PathBuf;

use super::exit::{Exit, Failure};
use super::{CONFIG, Session};

/// Run the daemon: capture, detect, ban
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The configuration
    #[arg(short, long, value_name = "FILE", default_value = CONFIG)]
    pub config: PathBuf,
    /// Decide everything and change nothing, whatever the configuration says
    #[arg(long)]
    pub dry_run: bool,
    /// Run beside other instances, with a table, a socket and a state of its own
    #[arg(long, value_name = "NAME", value_parser = instance)]
    pub instance: Option<String>,
}

pub(super) fn run(_arguments: &Arguments, _session: &mut Session) -> Result<Exit, Failure> {
    Err(Failure::not_yet("the daemon"))
}

/// The name becomes part of a table's name, of paths and of a unit's name.
fn instance(name: &str) -> Result<String, &'static str> {
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
