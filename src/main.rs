//! The `nfban` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    nfban::cli::main()
}
