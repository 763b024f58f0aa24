//! `nfban completions`: what a shell completes. The package's build asks for it; people have no need to.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::Session;
use super::exit::{Exit, Failure};

/// Print the completions of a shell
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// For which shell
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

pub(super) fn run(arguments: &Arguments, session: &mut Session) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut super::Arguments::command(), "nfban", &mut script);
    session.show(|out, _| out.write_all(&script))
}
