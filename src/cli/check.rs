//! `nfban check`: is the configuration good?

use std::path::{Path, PathBuf};

use super::exit::{Exit, Failure};
use super::{CONFIG, Session};
use crate::config::rules::{self, Rules};
use crate::config::{Config, Problems, Severity, Trust};
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
    setup::ruleset(&config, &rules.packets)
        .map_err(|error| Failure::new(Exit::BadConfiguration, error.to_string()))?;
    session.show(|out, _| {
        let enabled = rules.packets.iter().filter(|rule| rule.enabled).count()
            + rules.web.rule.iter().filter(|rule| rule.enabled).count();
        writeln!(out, "{}: good, {enabled} rules, {warnings} warnings", arguments.config.display())
    })
}

/// Configuration and rules as far as they can be read, with all that is wrong with either.
fn read(path: &Path) -> (Option<Config>, Option<Rules>, Problems) {
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
