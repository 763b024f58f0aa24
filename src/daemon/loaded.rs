//! The configuration and the rules that a daemon runs with.

use tracing::warn;

use super::Options;
use crate::config::rules::{self, Rules};
use crate::config::{Config, Problem, Problems, Trust};
use crate::decide::Mode;
use crate::detect::rule::Rule;
use crate::web;

/// A configuration with its rules, as it was read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Loaded {
    pub(super) config: Config,
    /// The mode that was asked for; `config.mode` is the one in force, and another while nfban is switched off.
    pub(super) asked: Mode,
    pub(super) rules: Vec<Rule>,
    /// Those about web requests.
    pub(super) web: web::probe::Rules,
}

impl Loaded {
    /// Reads the configuration and the rules; what is legal but odd goes to the log.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub(super) fn read(options: &Options) -> Result<Self, Problems> {
        let trust = Trust::OwnOrRoots;
        let (mut config, warnings) = Config::load_from(&options.config, trust)?;
        let read = rules::load_from(rules::SHIPPED, &config.rules.directory, trust)?;
        let odd = crate::config::odd_rules(&config, &read);
        let Rules { packets: rules, web, .. } = read;
        for warning in warnings.into_iter().chain(odd) {
            warn!("{}", in_a_line(&warning));
        }
        if options.dry_run {
            config.mode = Mode::Watch;
        }
        config.log.format = options.log_format.unwrap_or(config.log.format);
        if options.dry_run && !config.hooks.is_empty() {
            // What they do is not ours to rehearse.
            warn!("a dry run tells no hooks");
            config.hooks.clear();
        }
        as_instance(&mut config, options);
        Ok(Self { asked: config.mode, config, rules, web })
    }

    /// How many rules there are.
    pub(super) fn count(&self) -> usize {
        self.rules.len() + self.web.rule.iter().count()
    }
}

/// An instance has a table and a socket of its own, whatever the configuration says.
pub(super) fn as_instance(config: &mut Config, options: &Options) {
    if let Some(instance) = &options.instance {
        if config.nftables.sets.is_none() {
            config.nftables.table.name = instance.table();
        }
        config.control.socket = instance.socket();
    }
}

/// A problem as a line of the log: where, what, and what to do. The file's own line is for people who look at it.
pub(super) fn in_a_line(problem: &Problem) -> String {
    let place = problem.place.map_or_else(String::new, |place| format!(":{}:{}", place.line, place.column));
    let hint = problem.hint.as_ref().map_or_else(String::new, |hint| format!(" ({hint})"));
    format!("{}{place}: {}{hint}", problem.file, problem.message)
}
