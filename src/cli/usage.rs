//! A wrong command line, explained in one line; and `--help`, `--version`.

use std::io::{self, Write as _};

use clap::CommandFactory as _;
use clap::error::ErrorKind;

use super::exit::{Exit, Failure};

pub(super) fn explain(error: &clap::Error) -> Result<Exit, Failure> {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            error.print().and_then(|()| io::stdout().flush()).map_err(Failure::output)?;
            Ok(Exit::Done)
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            // The whole help says better than a line what could have been meant.
            let _ = error.print();
            Ok(Exit::Usage)
        }
        _ => Err(Failure::new(Exit::Usage, one_line(&error.render().to_string(), subcommand()))),
    }
}

/// clap writes a paragraph for what is wrong, one for each tip, one for the usage and one for where to find more.
fn one_line(text: &str, subcommand: Option<String>) -> String {
    let what: Vec<&str> = text
        .split("\n\n")
        .take_while(|paragraph| {
            !paragraph.starts_with("Usage:") && !paragraph.starts_with("For more information")
        })
        .collect();
    let words: Vec<&str> = what.iter().flat_map(|paragraph| paragraph.split_whitespace()).collect();
    let line = words.join(" ");
    let line = line.strip_prefix("error: ").unwrap_or(&line).replace(" tip: ", "; ");
    let of = subcommand.map(|name| format!("{name} ")).unwrap_or_default();
    format!("{line}; see nfban {of}--help")
}

/// The subcommand the user is in, as far as it can be told from a line that is wrong.
fn subcommand() -> Option<String> {
    let command = super::Arguments::command();
    std::env::args_os()
        .skip(1)
        .filter_map(|argument| argument.into_string().ok())
        .find(|argument| command.find_subcommand(argument).is_some())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn explained(line: &str) -> String {
        let error = super::super::Arguments::try_parse_from(line.split(' ')).unwrap_err();
        one_line(&error.render().to_string(), None)
    }

    #[test]
    fn a_wrong_command_line_is_explained_in_one_line() {
        assert_eq!(
            explained("nfban bans --jsn"),
            "unexpected argument '--jsn' found; a similar argument exists: '--json'; see nfban --help"
        );
        assert_eq!(
            explained("nfban ban"),
            "the following required arguments were not provided: <ADDR|PREFIX>; see nfban --help"
        );
        assert_eq!(
            explained("nfban ban 192.0.2.7 --for 10"),
            "invalid value '10' for '--for <DURATION>': 10 needs a unit: s, m, h, d or w; see nfban --help"
        );
    }
}
