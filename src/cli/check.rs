//! `nfban check`: is the configuration good?

use std::path::{Path, PathBuf};

use super::exit::{Exit, Failure};
use super::{CONFIG, Session};
use crate::config::{Config, Problems, Severity, Trust, rules};
use crate::control::client::ask;
use crate::control::protocol::{Reply, Request};
use crate::detect::rule::Rule;
use crate::report::escape::escape;
use crate::report::text::count;
use crate::setup;

/// Check the configuration and the rules, showing all errors at once
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The configuration
    #[arg(short, long, value_name = "FILE", default_value = CONFIG)]
    pub config: PathBuf,
}

pub(super) fn run(arguments: &Arguments, session: &mut Session) -> Result<Exit, Failure> {
    let (config, rules, problems) = read(&arguments.config);
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error).count();
    let warnings = problems.len() - errors;
    session.show_problems(&problems);
    let (Some(config), Some(rules), 0) = (config, rules, errors) else {
        let what = count(u64::try_from(errors).unwrap_or(u64::MAX), "error", "errors");
        return Err(Failure::new(
            Exit::BadConfiguration,
            format!("{what}; nothing of this configuration would be used"),
        ));
    };
    setup::ruleset(&config, &rules)
        .map_err(|error| Failure::new(Exit::BadConfiguration, error.to_string()))?;
    let traps = trouble_with_traps(&config, session);
    session.show(|out, _| {
        let enabled = rules.iter().filter(|rule| rule.enabled).count();
        writeln!(out, "{}: good, {enabled} rules, {warnings} warnings", arguments.config.display())?;
        traps.iter().try_for_each(|line| writeln!(out, "{}", escape(line)))
    })
}

/// What only this host can tell of the configured traps: at which something listens now, and, if the daemon runs, that
/// the firewall lets none be reached.
fn trouble_with_traps(config: &Config, session: &Session) -> Vec<String> {
    if setup::trap(config).is_none() {
        return Vec::new();
    }
    let mut trouble = match crate::host::tcp_listeners() {
        Ok(listening) => {
            let taken = setup::taken_traps(config, &listening);
            taken
                .iter()
                .map(|trap| format!("{trap} is no trap: it is published, or something listens there"))
                .collect()
        }
        Err(error) => vec![format!("at which traps something listens cannot be seen: {error}")],
    };
    let socket = session.global.socket.as_deref().unwrap_or(&config.control.socket);
    if let Ok(Reply::Status(status)) = ask(socket, &Request::Status { address: None }) {
        trouble.extend(status.traps.and_then(|traps| traps.trouble));
    }
    trouble
}

/// Configuration and rules as far as they can be read, with all that is wrong with either.
fn read(path: &Path) -> (Option<Config>, Option<Vec<Rule>>, Problems) {
    let trust = Trust::OwnOrRoots;
    let mut problems = Problems::default();
    let config = match Config::load_from(path, trust) {
        Ok((config, warnings)) => {
            warnings.into_iter().for_each(|warning| problems.push(warning));
            Some(config)
        }
        Err(found) => {
            problems.append(found);
            None
        }
    };
    // Where the configuration cannot say, the rules are looked for where they usually are.
    let directory = config.clone().unwrap_or_default().rules.directory;
    let rules = match rules::load_from(rules::SHIPPED, &directory, trust) {
        Ok(rules) => Some(rules),
        Err(found) => {
            problems.append(found);
            None
        }
    };
    (config, rules, problems)
}
