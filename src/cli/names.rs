//! Names beside numbers, on request: of hosts, of services, and of countries and networks.
//!
//! The process of the command line looks them up, never the daemon: a name server is slow, and whoever scans us may be
//! the one who runs it. What he says is his word alone, so a host's name counts only when it leads back to the address
//! (forward-confirmed reverse DNS, RFC 8499 section 8 has the reverse half), and any text is escaped and cut.

mod origin;
mod resolver;
mod services;

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use self::origin::{Origin, Origins};
use self::resolver::Host;
use self::services::Services;
use crate::report::escape::escape;
use crate::report::ports::PortRanges;
use crate::report::screen::cut;

/// How long an answer waits for name servers.
const LIMIT: Duration = Duration::from_secs(3);

/// How many addresses are asked about; more rows than that are read by programs, or from the top.
const MOST: usize = 256;

/// How many columns a name gets at most.
const WIDTH: usize = 64;

/// Whether names are wanted.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Choice {
    /// Show names too: of hosts, of services, and of countries and networks where a MaxMind database is installed
    #[arg(long, short = 'n')]
    pub names: bool,
    /// Where MaxMind databases are [default: /var/lib/GeoIP, then /usr/share/GeoIP]
    #[arg(long, value_name = "DIRECTORY", env = "NFBAN_GEOIP", hide_env_values = true)]
    pub geoip: Option<PathBuf>,
}

impl Choice {
    /// Looks up what can be shown of these sources, if names are wanted: within three seconds.
    #[must_use]
    pub fn look_up(&self, sources: impl IntoIterator<Item = IpNet>) -> Names {
        if !self.names {
            return Names::default();
        }
        let mut names = Names::open(self);
        names.add(sources);
        names
    }
}

/// The names that were found.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// None where no names are wanted.
    found: Option<Found>,
    /// What could not be looked up and why, a line each.
    pub notes: Vec<String>,
}

#[derive(Debug, Clone)]
struct Found {
    hosts: HashMap<IpAddr, Option<Host>>,
    databases: Arc<Databases>,
}

/// What is read once.
#[derive(Debug)]
struct Databases {
    origins: Origins,
    services: Services,
}

impl Names {
    /// Opens the databases; asks nobody yet.
    #[must_use]
    pub fn open(choice: &Choice) -> Self {
        let mut notes = Vec::new();
        let origins = Origins::open(choice.geoip.as_deref(), &mut notes);
        let services = Services::read(&mut notes);
        let databases = Arc::new(Databases { origins, services });
        Self { found: Some(Found { hosts: HashMap::new(), databases }), notes }
    }

    /// Asks name servers about those of these sources that are one address each and not known yet.
    pub fn add(&mut self, sources: impl IntoIterator<Item = IpNet>) {
        let Some(found) = &mut self.found else { return };
        let addresses = sources.into_iter().filter(|net| net.prefix_len() == net.max_prefix_len());
        let mut unknown: Vec<IpAddr> =
            addresses.map(|net| net.addr()).filter(|address| !found.hosts.contains_key(address)).collect();
        unknown.sort_unstable();
        unknown.dedup();
        let left_out = unknown.len().saturating_sub(MOST);
        unknown.truncate(MOST);
        let unanswered = resolver::resolve(unknown, LIMIT, &mut found.hosts) + left_out;
        if unanswered > 0 {
            self.notes.push(format!("names of {unanswered} addresses are missing: they took too long"));
        }
    }

    /// Forgets the hosts that are none of these.
    pub fn keep(&mut self, sources: &[IpNet]) {
        let Some(found) = &mut self.found else { return };
        found.hosts.retain(|host, _| sources.iter().any(|source| source.addr() == *host));
    }

    /// Whether names are wanted.
    #[must_use]
    pub const fn are_wanted(&self) -> bool {
        self.found.is_some()
    }

    /// What is known of a source: its name, country and network, ready to be shown.
    #[must_use]
    pub fn of(&self, source: IpNet) -> Option<String> {
        let origin = self.origin(source).map(|origin| origin.to_string());
        let known: Vec<String> = self.host(source).into_iter().chain(origin).collect();
        (!known.is_empty()).then(|| known.join(", "))
    }

    /// The name of a host.
    #[must_use]
    pub fn host(&self, source: IpNet) -> Option<String> {
        let host = self.found.as_ref()?.hosts.get(&source.addr())?.as_ref()?;
        (source.prefix_len() == source.max_prefix_len()).then(|| host.to_string())
    }

    /// The country and network of a source.
    #[must_use]
    pub fn origin(&self, source: IpNet) -> Option<Origin> {
        self.found.as_ref()?.databases.origins.of(source.addr())
    }

    /// Whether there is a database that origins are known from.
    #[must_use]
    pub fn have_origins(&self) -> bool {
        self.found.as_ref().is_some_and(|found| !found.databases.origins.are_unknown())
    }

    /// The service that a port is registered for.
    #[must_use]
    pub fn service(&self, protocol: &str, port: u16) -> Option<&str> {
        self.found.as_ref()?.databases.services.name(protocol, port)
    }

    /// Ports for people, with the names of single ones: see [`PortRanges::describe`].
    #[must_use]
    pub fn ports(&self, ranges: &PortRanges, protocols: &[String], distinct: u64, most: usize) -> String {
        let protocols: Vec<&str> = match protocols {
            [] => vec!["tcp", "udp"],
            some => some.iter().map(String::as_str).collect(),
        };
        ranges.describe_with(distinct, most, |port| {
            protocols.iter().find_map(|protocol| self.service(protocol, port))
        })
    }
}

/// Text of others as it is shown: harmless, and no longer than it may be.
fn tame(text: &str) -> String {
    cut(&escape(text), WIDTH)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// As if a name server had said that.
    pub(in crate::cli) fn named(hosts: &[(&str, &str)]) -> Names {
        let mut names = Names::open(&Choice { names: true, geoip: Some("/nonexistent".into()) });
        let found = names.found.as_mut().unwrap();
        found.hosts = hosts
            .iter()
            .map(|(at, name)| (at.parse().unwrap(), Some(Host::Confirmed((*name).into()))))
            .collect();
        let services = Services::parse("ssh 22/tcp\nhttp 80/tcp\n");
        found.databases = Arc::new(Databases { origins: Origins::default(), services });
        names.notes.clear();
        names
    }

    #[test]
    fn where_no_names_are_wanted_nothing_is_looked_up_or_shown() {
        let names = Choice::default().look_up(["192.0.2.7/32".parse().unwrap()]);
        assert!(!names.are_wanted());
        assert_eq!(names.of("192.0.2.7/32".parse().unwrap()), None);
        let ranges: PortRanges = "22,80-82".parse().unwrap();
        assert_eq!(names.ports(&ranges, &[], 4, 9), "22, 80-82");
    }

    #[test]
    fn a_prefix_has_no_name_of_a_host() {
        let mut names = Names::open(&Choice { names: true, geoip: Some("/nonexistent".into()) });
        let hosts = &mut names.found.as_mut().unwrap().hosts;
        hosts.insert([192, 0, 2, 0].into(), Some(Host::Confirmed("net.example.org".into())));
        assert_eq!(names.of("192.0.2.0/24".parse().unwrap()), None);
        assert_eq!(names.of("192.0.2.0/32".parse().unwrap()).as_deref(), Some("net.example.org"));
    }

    #[test]
    fn what_others_wrote_is_escaped_and_cut() {
        assert_eq!(tame("a\u{1b}[31mb\u{202e}"), r"a\u{1b}[31mb\u{202e}");
        assert_eq!(tame(&"x".repeat(300)).chars().count(), WIDTH);
    }
}
