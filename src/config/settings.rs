//! The settings that are mappings of their own: `respond`, `ban`, `keep`, `nftables`, `control`, `rules`.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::capture::absolute;
use super::read::Report;
use super::values::{self, Wrong};
use super::yaml::Node;
use crate::decide::{Kind, Lacking, Measure, Response};
use crate::detect::Capacity;

/// What is done about an incident, by how well its source address is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Respond {
    /// Where the address may be forged.
    pub spoofable: Response,
    /// Where it is proven.
    pub validated: Response,
}

impl Default for Respond {
    fn default() -> Self {
        Self { spoofable: Response::Restrict, validated: Response::Ban }
    }
}

/// For how long, and how many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ban {
    /// The first time, the second, …; the last stands for all later ones. At least one, each more than zero.
    pub times: Vec<Duration>,
    /// How long after its last ban a source starts over.
    pub forget: Duration,
    /// The prefix length that is banned for an IPv6 source, 48–128.
    pub ipv6_prefix: u8,
    /// Bans in all, 1–1,000,000.
    pub max: u32,
    /// Bans within a minute, of each kind of evidence, 1–1,000,000.
    pub per_minute: u32,
    /// Whether a prefix whose members scan together is answered as a whole.
    pub whole_prefix: bool,
}

impl Default for Ban {
    fn default() -> Self {
        const HOUR: u64 = 3600;
        const DAY: u64 = 24 * HOUR;
        Self {
            times: [600, HOUR, DAY, 7 * DAY].map(Duration::from_secs).to_vec(),
            forget: Duration::from_secs(30 * DAY),
            ipv6_prefix: 64,
            max: 100_000,
            per_minute: 10_000,
            whole_prefix: false,
        }
    }
}

/// What is kept of incidents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// For how long.
    pub incidents: Duration,
    /// Their packets.
    pub packets: KeepPackets,
}

impl Default for Keep {
    fn default() -> Self {
        Self { incidents: Duration::from_secs(90 * 86400), packets: KeepPackets::Headers }
    }
}

/// What is kept of the packets that led to a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepPackets {
    /// Their headers.
    Headers,
    /// Nothing.
    None,
}

/// Where the kernel is told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Nftables {
    /// nfban's own table, or with `sets` the administrator's.
    pub table: Table,
    /// The administrator's sets to fill; none where nfban owns its table.
    pub sets: Option<Sets>,
    /// Whether chains may use conntrack.
    pub conntrack: Conntrack,
    /// Whether nobody else may change nfban's own table, where the kernel can do that.
    pub owner: bool,
}

/// A table: its family and name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Family.
    pub family: Family,
    /// Name.
    pub name: String,
}

impl Default for Table {
    fn default() -> Self {
        Self { family: Family::Inet, name: "nfban".to_owned() }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = FAMILIES.iter().find(|(_, family)| *family == self.family).map_or("", |(word, _)| *word);
        write!(f, "{family} {}", self.name)
    }
}

/// Families of nftables that see IP packets with their sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4 and IPv6.
    Inet,
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
    /// A device's ingress.
    Netdev,
}

const FAMILIES: &[(&str, Family)] =
    &[("inet", Family::Inet), ("ip", Family::Ip), ("ip6", Family::Ip6), ("netdev", Family::Netdev)];

/// Names of sets that belong to the administrator; what is not named is not filled.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the sets of nfban's own table that they stand for")]
pub struct Sets {
    pub ban4: Option<String>,
    pub ban6: Option<String>,
    pub ban4_prefix: Option<String>,
    pub ban6_prefix: Option<String>,
    pub restrict4: Option<String>,
    pub restrict6: Option<String>,
    pub restrict4_prefix: Option<String>,
    pub restrict6_prefix: Option<String>,
}

impl Sets {
    /// What each set is for, and its name.
    pub fn kinds(&self) -> [(Kind, Option<&str>); 8] {
        use Measure::{Ban, Restrict};
        [
            ((Ban, false, false), &self.ban4),
            ((Ban, false, true), &self.ban4_prefix),
            ((Ban, true, false), &self.ban6),
            ((Ban, true, true), &self.ban6_prefix),
            ((Restrict, false, false), &self.restrict4),
            ((Restrict, false, true), &self.restrict4_prefix),
            ((Restrict, true, false), &self.restrict6),
            ((Restrict, true, true), &self.restrict6_prefix),
        ]
        .map(|(kind, name)| (kind, name.as_deref()))
    }

    /// The targets that no set is named for.
    #[must_use]
    pub fn lacking(&self) -> Lacking {
        self.kinds().into_iter().filter(|(_, name)| name.is_none()).map(|(kind, _)| kind).collect()
    }

    /// Tells of names that stand twice, and of sets that the table can have no use for.
    fn check(&self, table: &Table, node: &Node, report: &mut Report<'_>) {
        let mut named: Vec<&str> = self.kinds().into_iter().filter_map(|(_, name)| name).collect();
        named.sort_unstable();
        if let Some([name, _]) = named.array_windows().find(|[one, next]| one == next) {
            let message = format!("the set `{name}` is named twice");
            report.error(node.place, &message, "each kind of source needs a set of its own");
        }
        let other = match table.family {
            Family::Ip => Some((true, "IPv6")),
            Family::Ip6 => Some((false, "IPv4")),
            Family::Inet | Family::Netdev => None,
        };
        if let Some((ipv6, word)) = other
            && self.kinds().into_iter().any(|((_, of, _), name)| of == ipv6 && name.is_some())
        {
            let message = format!("no packet of {word} comes to the table `{table}`");
            report.error(node.place, &message, "name sets of a table of the family inet");
        }
    }
}

/// Whether chains may use conntrack; one `ct` expression switches it on for the whole network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Conntrack {
    /// As needed.
    #[default]
    Auto,
    /// It must stay off; `restrict` is not available.
    Never,
}

/// The socket that the command line talks to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// Path, at most 107 octets.
    pub socket: PathBuf,
    /// Members of this group may read.
    pub group: String,
}

impl Default for Control {
    fn default() -> Self {
        Self { socket: PathBuf::from("/run/nfban/control.sock"), group: "nfban".to_owned() }
    }
}

/// Where the administrator's rules are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Its `*.yaml` are read in the order of their names.
    pub directory: PathBuf,
}

impl Default for Rules {
    fn default() -> Self {
        Self { directory: PathBuf::from("/etc/nfban/rules.d") }
    }
}

/// The words for [`Response`].
pub(super) const RESPONSES: &[(&str, Response)] =
    &[("ban", Response::Ban), ("restrict", Response::Restrict), ("log", Response::Log)];

pub(super) fn respond(node: &Node, report: &mut Report<'_>) -> Respond {
    let mut respond = Respond::default();
    let Some(mut keys) = report.keys(node, "`respond`") else { return respond };
    if let Some(node) = keys.take("spoofable") {
        respond.spoofable = report.word(node, RESPONSES).unwrap_or(respond.spoofable);
        if respond.spoofable == Response::Ban {
            report.warn(
                node.place,
                "anybody can forge a source address and have it banned: a customer's, a resolver's, a mirror's",
                "`restrict` takes every port from a scanner but leaves published services to the forged address",
            );
        }
    }
    if let Some(node) = keys.take("validated") {
        respond.validated = report.word(node, RESPONSES).unwrap_or(respond.validated);
    }
    keys.finish(report);
    respond
}

pub(super) fn ban(node: &Node, report: &mut Report<'_>) -> Ban {
    let mut ban = Ban::default();
    let Some(mut keys) = report.keys(node, "`ban`") else { return ban };
    if let Some(node) = keys.take("times") {
        ban.times = times(node, report);
    }
    if let Some(node) = keys.take("forget") {
        ban.forget =
            report.parse(node, "a duration such as 30d", values::positive_duration).unwrap_or(ban.forget);
        if ban.times.iter().any(|time| *time > ban.forget) {
            report.warn(
                node.place,
                "repetition is forgotten before the longest ban is over: bans will hardly escalate",
                "forget later than the last of `times`",
            );
        }
    }
    let number = |node: Option<&Node>, range, report: &mut Report<'_>| {
        node.and_then(|node| report.integer(node, range)).and_then(|number| u32::try_from(number).ok())
    };
    let prefix = number(keys.take("ipv6-prefix"), 48..=128, report);
    ban.ipv6_prefix = prefix.and_then(|length| u8::try_from(length).ok()).unwrap_or(ban.ipv6_prefix);
    ban.max = number(keys.take("max"), 1..=1_000_000, report).unwrap_or(ban.max);
    ban.per_minute = number(keys.take("per-minute"), 1..=1_000_000, report).unwrap_or(ban.per_minute);
    let whole = keys.take("whole-prefix").and_then(|node| report.boolean(node));
    ban.whole_prefix = whole.unwrap_or(ban.whole_prefix);
    keys.finish(report);
    ban
}

fn times(node: &Node, report: &mut Report<'_>) -> Vec<Duration> {
    if report.items(node).is_empty() {
        report.error(node.place, "no ban time", "write `times: [10m, 1h, 1d, 7d]`");
    }
    let mut longest = Duration::ZERO;
    report.list(node, |node, report| {
        let time = report.parse(node, "a duration such as 10m", values::positive_duration)?;
        if time < longest {
            report.warn(
                node.place,
                "a repeated offender is banned for less than before",
                "list the times in ascending order",
            );
        }
        longest = longest.max(time);
        Some(time)
    })
}

pub(super) fn keep(node: &Node, report: &mut Report<'_>) -> Keep {
    let mut keep = Keep::default();
    let Some(mut keys) = report.keys(node, "`keep`") else { return keep };
    if let Some(node) = keys.take("incidents") {
        let read = report.parse(node, "a duration such as 90d", values::positive_duration);
        keep.incidents = read.unwrap_or(keep.incidents);
    }
    if let Some(node) = keys.take("packets") {
        let words = [("headers", KeepPackets::Headers), ("none", KeepPackets::None)];
        keep.packets = report.word(node, &words).unwrap_or(keep.packets);
    }
    keys.finish(report);
    keep
}

pub(super) fn nftables(node: &Node, report: &mut Report<'_>) -> Nftables {
    let mut nftables = Nftables::default();
    let Some(mut keys) = report.keys(node, "`nftables`") else { return nftables };
    let given = keys.take("sets").map(|node| (node, sets(node, report)));
    nftables.sets = given.as_ref().map(|(_, sets)| sets.clone());
    if let Some(node) = keys.take("table") {
        nftables.table = report.parse(node, "a table such as `inet nfban`", table).unwrap_or_default();
        if nftables.sets.is_none() && nftables.table.family != Family::Inet {
            report.error(
                node.place,
                "nfban's own table is of the family inet",
                "write `table: inet nfban`, or name your own sets with `sets`",
            );
        } else if nftables.sets.is_none() && !nftables.table.name.starts_with("nfban") {
            report.warn(
                node.place,
                &format!("the whole table `{}` will be nfban's, to replace and to remove", nftables.table),
                "name a table that nothing else uses, or name your own sets with `sets`",
            );
        }
    }
    if let Some((node, sets)) = given {
        sets.check(&nftables.table, node, report);
    }
    if let Some(node) = keys.take("conntrack") {
        let words = [("auto", Conntrack::Auto), ("never", Conntrack::Never)];
        nftables.conntrack = report.word(node, &words).unwrap_or_default();
    }
    if let Some(node) = keys.take("owner") {
        nftables.owner = report.boolean(node).unwrap_or_default();
        if nftables.owner && nftables.sets.is_some() {
            report.error(
                node.place,
                "with `sets` the table is yours: nfban cannot own it",
                "leave out `owner`, or leave out `sets` for a table of nfban's own",
            );
        }
    }
    keys.finish(report);
    nftables
}

fn sets(node: &Node, report: &mut Report<'_>) -> Sets {
    let Some(mut keys) = report.keys(node, "`sets`") else { return Sets::default() };
    let mut name = |key| keys.take(key).and_then(|node| report.parse(node, "the name of a set", identifier));
    let sets = Sets {
        ban4: name("ban4"),
        ban6: name("ban6"),
        ban4_prefix: name("ban4_prefix"),
        ban6_prefix: name("ban6_prefix"),
        restrict4: name("restrict4"),
        restrict6: name("restrict6"),
        restrict4_prefix: name("restrict4_prefix"),
        restrict6_prefix: name("restrict6_prefix"),
    };
    keys.finish(report);
    if sets == Sets::default() {
        report.error(node.place, "no set is named", "write `sets: {ban4: NAME, ban6: NAME}`");
    }
    sets
}

fn table(text: &str) -> Result<Table, Wrong> {
    let mut words = text.split_whitespace();
    let (Some(family), Some(name), None) = (words.next(), words.next(), words.next()) else {
        return Err(Wrong::new(format!("`{text}` is no table"), "write family and name: `inet nfban`"));
    };
    let known = super::names::names(FAMILIES);
    let family =
        super::names::number(FAMILIES, family).ok_or_else(|| Wrong::unknown("family", family, &known))?;
    Ok(Table { family, name: identifier(name)? })
}

/// A name as nft's scanner takes it, within the kernel's NFT_NAME_MAXLEN.
fn identifier(text: &str) -> Result<String, Wrong> {
    let good = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c))
        && text.len() < 256;
    if good {
        return Ok(text.to_owned());
    }
    Err(Wrong::new(
        format!("`{text}` is no name for nftables"),
        "begin with a letter; letters, digits, `_`, `-`, `.` and `/` may follow",
    ))
}

pub(super) fn control(node: &Node, report: &mut Report<'_>) -> Control {
    let mut control = Control::default();
    let Some(mut keys) = report.keys(node, "`control`") else { return control };
    if let Some(node) = keys.take("socket") {
        control.socket = report.parse(node, "the path of a socket", socket).unwrap_or(control.socket);
    }
    if let Some(node) = keys.take("group") {
        let group = report.parse(node, "the name of a group", |text| match text {
            "" => Err(Wrong::new("the name of the group is empty", "write `group: nfban`")),
            name => Ok(name.to_owned()),
        });
        control.group = group.unwrap_or(control.group);
    }
    keys.finish(report);
    control
}

/// How many sources to track. Fewer than the least remember nothing under a flood, more than the most take over 8 GiB.
pub(super) fn sources(node: &Node, report: &mut Report<'_>) -> u32 {
    let read = report.integer(node, 1_024..=4_194_304);
    read.and_then(|number| u32::try_from(number).ok()).unwrap_or(Capacity::default().tracked)
}

/// sun_path of unix(7) is 108 octets with the final zero.
fn socket(text: &str) -> Result<PathBuf, Wrong> {
    if text.len() > 107 {
        return Err(Wrong::new("the path is too long for a socket", "107 octets are the most (unix(7))"));
    }
    absolute(text)
}

pub(super) fn rules(node: &Node, report: &mut Report<'_>) -> Rules {
    let mut rules = Rules::default();
    let Some(mut keys) = report.keys(node, "`rules`") else { return rules };
    if let Some(node) = keys.take("directory") {
        rules.directory = report.parse(node, "the path of a directory", absolute).unwrap_or(rules.directory);
    }
    keys.finish(report);
    rules
}
