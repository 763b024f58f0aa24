//! `nfban check`: is the configuration good?

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::exit::{Exit, Failure};
use super::{Global, Session, unfed};
use crate::capture::kmsg::DEVICE;
use crate::config::rules::{self, Rules};
use crate::config::{Capture, Config, LogText, Problem, Problems, Severity, Trust, odd_rules};
use crate::control::client::ask;
use crate::control::protocol::{Reply, Request};
use crate::hooks::{Hook, Way};
use crate::host::reader::Reader;
use crate::instance::Instance;
use crate::metrics::Listen;
use crate::report::escape::escape;
use crate::report::text::count;
use crate::setup;

/// Check the configuration and the rules, showing all errors at once
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The configuration [default: /etc/nfban/nfban.yaml, or NAME.yaml there of the instance]
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// End with status 1 where there is a warning
    #[arg(long)]
    pub strict: bool,
}

pub(super) fn run(arguments: &Arguments, session: &mut Session) -> Result<Exit, Failure> {
    let file = session.config(arguments.config.as_deref());
    let (config, rules, mut problems) = read(&file);
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error).count();
    if let (Some(config), Some(rules)) = (&config, &rules) {
        odd_rules(config, rules).into_iter().for_each(|warning| problems.push(warning));
    }
    if let Some(config) = &config {
        let reader = Reader::of_service(Path::new("/"), USER);
        unreadable(config, &file, reader.as_ref()).into_iter().for_each(|warning| problems.push(warning));
        cut_off(config, &file, reader.as_ref()).into_iter().for_each(|warning| problems.push(warning));
    }
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
    let mut trouble = trouble_with_traps(&config, session);
    trouble.extend(unfed::of_configuration(&config));
    session.show(|out, _| {
        let enabled = rules.packets.iter().filter(|rule| rule.enabled).count()
            + rules.web.rule.iter().filter(|rule| rule.enabled).count();
        let warnings = count(u64::try_from(warnings).unwrap_or(u64::MAX), "warning", "warnings");
        writeln!(out, "{}: good, {enabled} rules, {warnings}", file.display())?;
        trouble.iter().try_for_each(|line| writeln!(out, "{}", escape(line)))
    })?;
    match warnings {
        1.. if arguments.strict => {
            let what = count(u64::try_from(warnings).unwrap_or(u64::MAX), "warning", "warnings");
            Err(Failure::new(Exit::No, format!("{what}; without --strict it would be used")))
        }
        _ => Ok(Exit::Done),
    }
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
    let Global { socket, instance, .. } = &session.global;
    let configured = || instance.as_ref().map_or_else(|| config.control.socket.clone(), Instance::socket);
    let socket = socket.clone().unwrap_or_else(configured);
    if let Ok(Reply::Status(status)) = ask(&socket, &Request::Status { address: None }) {
        trouble.extend(status.traps.and_then(|traps| traps.trouble));
    }
    trouble
}

/// The user that the package makes for the service.
const USER: &str = "nfban";

/// Warns of logs that the service may not read. Where there is no such user, nfban runs as whoever asks.
fn unreadable(config: &Config, file: &Path, reader: Option<&Reader>) -> Vec<Problem> {
    let denied = |path: &Path| match reader {
        Some(reader) => reader.may_read(path).is_ok_and(|may| !may),
        None => File::open(path).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied),
    };
    let who =
        reader.map_or_else(|| "you".to_owned(), |reader| format!("the service's user, {}", reader.name));
    let warning = |what: String, example: &str| Problem {
        severity: Severity::Warning,
        ..Problem::of_file(
            file.display().to_string(),
            format!("{what} cannot be read by {who}: `nfban run` will not start"),
            format!("see /usr/share/doc/nfban/examples/systemd/{example}"),
        )
    };
    let of = |capture: &Capture| match capture {
        Capture::Log(LogText::File(path)) | Capture::AccessLog(path) => {
            denied(path).then(|| warning(path.display().to_string(), "log-files.conf"))
        }
        Capture::Log(LogText::Journal) => {
            let denied = reader.map_or_else(|| denied(Path::new(DEVICE)), |reader| !reader.reads_kernel_log);
            denied.then(|| warning(format!("`log: journal` ({DEVICE})"), "kernel-log.conf"))
        }
        Capture::Nflog(_) | Capture::Nfqueue { .. } => None,
    };
    config.capture.iter().filter_map(of).collect()
}

/// Warns of what takes internet sockets, where the service may open none.
fn cut_off(config: &Config, file: &Path, reader: Option<&Reader>) -> Vec<Problem> {
    if reader.is_none_or(|reader| reader.opens_internet_sockets) {
        return Vec::new();
    }
    let stops = "`nfban run` will not start";
    let traps = setup::trap(config).map(|_| ("traps of tcp", stops));
    let metrics =
        matches!(config.metrics.listen, Some(Listen::Tcp(_))).then_some(("metrics at a port", stops));
    let is_webhook = |hook: &Hook| matches!(hook.way, Way::Webhook(_));
    let webhooks = config.hooks.iter().any(is_webhook).then_some(("webhooks", "they will all fail"));
    let warning = |(what, so): (&str, &str)| Problem {
        severity: Severity::Warning,
        ..Problem::of_file(
            file.display().to_string(),
            format!("{what} take internet sockets, which the service may not open: {so}"),
            "see /usr/share/doc/nfban/examples/systemd/network.conf".to_owned(),
        )
    };
    [traps, metrics, webhooks].into_iter().flatten().map(warning).collect()
}

/// Configuration and rules as far as they can be read, with all that is wrong with either.
fn read(path: &Path) -> (Option<Config>, Option<Rules>, Problems) {
    let trust = Trust::OwnOrRoots;
    let (config, mut problems) = Config::load_what_can_be_read(path, trust);
    // Those that can be named are looked at, whatever else is wrong.
    let directory = config.rules.directory.clone();
    let config = (!problems.any_error()).then_some(config);
    let rules = match rules::load_from(rules::SHIPPED, &directory, trust) {
        Ok(rules) => Some(rules),
        Err(found) => {
            problems.append(found);
            None
        }
    };
    (config, rules, problems)
}
