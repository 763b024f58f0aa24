//! Configuration and rules: from YAML text to checked types, all errors at once.
//!
//! A file becomes a tree of located values ([`yaml`]); readers take the tree for what it is meant to be and report
//! what is wrong ([`read`]); [`Config`] and [`rules::load`] are the checked results. Nothing here looks at the
//! machine but the files it is told to read: a configuration means the same everywhere.

pub mod capture;
mod directory;
pub mod hook;
pub mod log;
mod merge;
pub mod metrics;
pub mod names;
mod odd;
pub mod problem;
pub mod read;
pub mod rules;
pub mod settings;
pub mod trap;
pub mod trust;
pub mod values;
pub mod yaml;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use ipnet::IpNet;

pub use self::capture::{Capture, LogText, Nflog};
pub use self::directory::drop_ins;
pub use self::log::Log;
pub use self::metrics::Metrics;
pub use self::problem::{Place, Problem, Problems, Severity};
pub use self::settings::{
    Ban, Conntrack, Control, Family, Keep, KeepPackets, Nftables, Respond, Rules, Sets, Table,
};
pub(crate) use self::trap::LONGEST_BANNER;
pub use self::trap::Trap;
pub use self::trust::Trust;
pub use self::values::Service;

pub use self::odd::of_rules as odd_rules;
use self::read::Report;
use self::yaml::{Node, Source, Value};
use crate::decide::{Measure, Mode, Response};
use crate::detect::Capacity;
use crate::filter::Filter;
use crate::hooks::Hook;

/// What `/etc/nfban/nfban.yaml` says, checked. The default is what an empty file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Whether the kernel is told.
    pub mode: Mode,
    /// Where packets come from. What this version cannot capture is for the daemon to refuse.
    pub capture: Vec<Capture>,
    /// Prefixes that are ours besides the addresses of this host.
    pub home: Vec<IpNet>,
    /// Ports that are published.
    pub services: Vec<Service>,
    /// Ports where nothing runs.
    pub traps: Vec<Service>,
    /// The listener that connections to them are redirected to.
    pub trap: Trap,
    /// Never acted against.
    pub allow: Vec<IpNet>,
    /// Packets that are no evidence.
    pub ignore: Vec<Filter>,
    /// What is done about an incident whose rule does not say.
    pub respond: Respond,
    /// For how long, and how many.
    pub ban: Ban,
    /// What is kept of incidents.
    pub keep: Keep,
    /// Where the kernel is told.
    pub nftables: Nftables,
    /// How many sources are tracked at most, 1,024–4,194,304: [`Capacity::of`].
    pub sources: u32,
    /// The socket that the command line talks to.
    pub control: Control,
    /// Where the administrator's rules are.
    pub rules: Rules,
    /// How the daemon's log is written.
    pub log: Log,
    /// Who is told of events.
    pub hooks: Vec<Hook>,
    /// Where Prometheus may ask.
    pub metrics: Metrics,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            capture: vec![Capture::Nflog(Nflog::default())],
            home: Vec::new(),
            services: Vec::new(),
            traps: Vec::new(),
            trap: Trap::default(),
            allow: Vec::new(),
            ignore: Vec::new(),
            respond: Respond::default(),
            ban: Ban::default(),
            keep: Keep::default(),
            nftables: Nftables::default(),
            sources: Capacity::default().tracked,
            control: Control::default(),
            rules: Rules::default(),
            log: Log::default(),
            hooks: Vec::new(),
            metrics: Metrics::default(),
        }
    }
}

impl Config {
    /// Reads a file and those of its [`drop_ins`], whoever wrote them, and returns the warnings with it.
    ///
    /// # Errors
    /// Everything that is wrong with the files, warnings included.
    pub fn load(path: &Path) -> Result<(Self, Vec<Problem>), Problems> {
        Self::load_from(path, Trust::Anybody)
    }

    /// As [`Config::load`]; with [`Trust::OwnOrRoots`] the files and the directories that lead to them must be root's or
    /// our own, and nobody else's to write.
    ///
    /// # Errors
    /// As [`Config::load`], and files that are not to be trusted.
    pub fn load_from(path: &Path, trust: Trust) -> Result<(Self, Vec<Problem>), Problems> {
        used(Self::load_what_can_be_read(path, trust))
    }

    /// As [`Config::load_from`], with what could be made sense of although there are errors.
    #[must_use]
    pub fn load_what_can_be_read(path: &Path, trust: Trust) -> (Self, Problems) {
        let mut unread = Problems::default();
        let added = directory::yaml_files(&drop_ins(path), trust).unwrap_or_else(|problems| {
            unread.append(problems);
            Vec::new()
        });
        let mut sources = Vec::new();
        for path in std::iter::once(path).chain(added.iter().map(PathBuf::as_path)) {
            match Source::open(path, trust) {
                Ok(source) => sources.push(source),
                Err(problems) => unread.append(problems),
            }
        }
        let (config, problems) = Self::read_what_can_be_read(&sources);
        unread.append(problems);
        unread.append(hook::check(&config.hooks, &sources, trust));
        (config, unread)
    }

    /// Reads text that goes by the name of `source` in problems.
    ///
    /// # Errors
    /// Everything that is wrong with it, warnings included.
    pub fn read(source: &Source) -> Result<(Self, Vec<Problem>), Problems> {
        Self::read_all(std::slice::from_ref(source))
    }

    /// Reads several texts as one configuration, the later on top of the earlier.
    ///
    /// # Errors
    /// Everything that is wrong with them, warnings included.
    pub fn read_all(sources: &[Source]) -> Result<(Self, Vec<Problem>), Problems> {
        used(Self::read_what_can_be_read(sources))
    }

    fn read_what_can_be_read(sources: &[Source]) -> (Self, Problems) {
        let mut report = Report::of_all(sources);
        let mut whole: Option<Node> = None;
        while report.source().is_some() {
            if let Some(node) = yaml::parse(&mut report).filter(|node| report.keys(node, WHAT).is_some()) {
                match &mut whole {
                    Some(whole) => merge::merge(whole, node),
                    None => whole = Some(node),
                }
            }
            report.next_source();
        }
        let config = whole.map_or_else(Self::default, |node| config(&node, &mut report));
        (config, report.finish())
    }
}

/// A configuration with errors is not used.
fn used((config, problems): (Config, Problems)) -> Result<(Config, Vec<Problem>), Problems> {
    if problems.any_error() { Err(problems) } else { Ok((config, problems.into_iter().collect())) }
}

/// What a file as a whole is.
const WHAT: &str = "the configuration";

fn config(node: &Node, report: &mut Report<'_>) -> Config {
    let mut config = Config::default();
    let Some(mut keys) = report.keys(node, WHAT) else { return config };
    if let Some(node) = keys.take("mode") {
        let words = [("enforce", Mode::Enforce), ("watch", Mode::Watch)];
        config.mode = report.word(node, &words).unwrap_or_default();
    }
    if let Some(node) = keys.take("capture") {
        config.capture = capture::read(node, report);
    }
    if let Some(node) = keys.take("home") {
        config.home = report.list(node, odd::home);
    }
    if let Some(node) = keys.take("services") {
        config.services = report.list(node, odd::published);
    }
    let traps_node = keys.take("traps");
    if let Some(node) = traps_node {
        config.traps = traps(node, &config.services, report);
    }
    if let Some(node) = keys.take("trap") {
        config.trap = trap::read(node, &config.services, report);
    }
    if let Some(node) = keys.take("allow") {
        config.allow = report.list(node, odd::allowed);
    }
    if let Some(node) = keys.take("ignore") {
        config.ignore = report.list(node, odd::ignored);
    }
    if let Some(node) = keys.take("respond") {
        config.respond = settings::respond(node, report);
    }
    if let Some(node) = keys.take("ban") {
        config.ban = settings::ban(node, report);
    }
    if let Some(node) = keys.take("keep") {
        config.keep = settings::keep(node, report);
    }
    if let Some(node) = keys.take("nftables") {
        config.nftables = settings::nftables(node, report);
        without_restrict(&config, node, report);
    }
    if let Some(node) = traps_node {
        without_redirect(&config, node, report);
    }
    if let Some(node) = keys.take("sources") {
        config.sources = settings::sources(node, report);
    }
    if let Some(node) = keys.take("control") {
        config.control = settings::control(node, report);
    }
    if let Some(node) = keys.take("rules") {
        config.rules = settings::rules(node, report);
    }
    if let Some(node) = keys.take("log") {
        config.log = log::read(node, report);
    }
    if let Some(node) = keys.take("hooks") {
        config.hooks = hook::read(node, report);
    }
    if let Some(node) = keys.take("metrics") {
        config.metrics = metrics::read(node, report);
    }
    keys.finish(report);
    odd::together(&config, node, report);
    config
}

fn network(node: &Node, report: &mut Report<'_>) -> Option<IpNet> {
    report.parse(node, "an address or a prefix", values::network)
}

fn service(node: &Node, report: &mut Report<'_>) -> Option<Service> {
    report.parse(node, "a port such as 22, tcp/443 or udp/51820", values::service)
}

fn traps(node: &Node, services: &[Service], report: &mut Report<'_>) -> Vec<Service> {
    report.list(node, |node, report| {
        let trap = service(node, report)?;
        if let Some(published) = services.iter().find(|service| service.overlaps(&trap)) {
            report.warn(
                node.place,
                &format!(
                    "the trap {trap} is published ({published} of `services`): whoever touches it goes free"
                ),
                "take it out of one of the two",
            );
        }
        Some(trap)
    })
}

/// Tells that a response which is asked for is not to be had.
fn without_restrict(config: &Config, node: &Node, report: &mut Report<'_>) {
    let asked = [config.respond.spoofable, config.respond.validated].contains(&Response::Restrict);
    if let Some(sets) = &config.nftables.sets {
        without_sets(&config.nftables.table, sets, asked, node, report);
    } else if config.nftables.conntrack == Conntrack::Never && asked {
        let place = match &node.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key == "conntrack"),
            _ => None,
        };
        report.warn(
            place.map_or(node.place, |entry| entry.place),
            "without conntrack `restrict` is not available: what asks for it only logs",
            "allow conntrack, or set `respond` to `log` or `ban`",
        );
    }
}

/// Tells that no connection to a trap is taken, where there are traps of tcp.
fn without_redirect(config: &Config, node: &Node, report: &mut Report<'_>) {
    let of_tcp = config.traps.iter().any(|trap| trap.protocol == crate::packet::protocol::TCP);
    let why = match &config.nftables {
        nftables if nftables.conntrack == Conntrack::Never => "`conntrack: never`",
        nftables if nftables.sets.is_some() => "sets of your own",
        _ => return,
    };
    if of_tcp {
        report.warn(
            node.place,
            &format!(
                "with {why} nothing is redirected: a trap takes no connection, and no touch is ever validated"
            ),
            "what is refused there still counts, like any probe",
        );
    }
}

/// Tells which sources no set of the administrator's is for, and what becomes of them.
fn without_sets(table: &Table, sets: &Sets, restricts: bool, node: &Node, report: &mut Report<'_>) {
    let lacking = sets.lacking();
    let families = [("IPv4", "4", "0.0.0.0/32", Family::Ip6), ("IPv6", "6", "::/64", Family::Ip)];
    for (word, digit, usual, not_of) in families {
        let Some(usual) = usual.parse::<IpNet>().ok().filter(|_| table.family != not_of) else { continue };
        let can = |measure| !lacking.lacks(measure, usual);
        let (fate, name) = match (can(Measure::Ban), can(Measure::Restrict)) {
            (false, false) => ("neither banned nor restricted: incidents are only told", "ban"),
            (false, true) => ("restricted where they are to be banned", "ban"),
            (true, false) if restricts => ("not restricted: what asks for it only logs", "restrict"),
            (true, _) => continue,
        };
        report.warn(
            node.place,
            &format!("sources of {word} are {fate}"),
            &format!("name a set as `{name}{digit}` in `sets`"),
        );
    }
}
