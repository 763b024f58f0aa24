//! `capture`: where packets come from.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::problem::Place;
use super::read::Report;
use super::values::{self, Wrong};
use super::yaml::Node;
use crate::packet::Verdict;

/// Queues of one capture: more than processors are of no use to anybody.
const MAX_QUEUES: u16 = 256;

/// One source of packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Capture {
    /// The kernel's NFLOG groups.
    Nflog(Nflog),
    /// NFQUEUE queues, whose packets wait for a verdict.
    Nfqueue {
        /// Their numbers.
        queues: RangeInclusive<u16>,
    },
    /// The kernel's LOG text.
    Log(LogText),
    /// The access log of a web server, followed across rotation.
    AccessLog(PathBuf),
}

/// NFLOG groups that are read alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nflog {
    /// The groups, 1–65535; at least one.
    pub groups: Vec<u16>,
    /// What their packets mean, where no log prefix says otherwise.
    pub verdict: Verdict,
    /// Octets of every packet that the kernel copies, 64–65531: an attribute's length has 16 bits and counts its own header.
    pub snaplen: u32,
    /// Packets that the kernel gathers before it hands them over, 1–1024.
    pub queue_threshold: u32,
    /// How long it gathers them at most, in steps of 10 ms up to 10 s; zero hands over at the next timer tick.
    pub flush_timeout: Duration,
    /// Octets of the socket's receive buffer.
    pub buffer: u32,
}

impl Default for Nflog {
    /// Group 100; a packet is handed over at once, as a ban should follow its packet.
    fn default() -> Self {
        Self {
            groups: vec![100],
            verdict: Verdict::Refused,
            // Holds IPv6 with extension headers and TCP; whole packets cost 0.75 µs more each.
            snaplen: 128,
            // 0.1 ms from packet to delivery; the kernel's own default of 100 takes up to a second.
            queue_threshold: 1,
            flush_timeout: Duration::ZERO,
            // Some 80,000 packets one by one; the kernel's default of 212 KiB holds 256.
            buffer: 32 << 20,
        }
    }
}

/// Where LOG text is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogText {
    /// The journal's kernel transport.
    Journal,
    /// A file, followed across rotation.
    File(PathBuf),
}

/// Reads the list. What is used twice is reported, as the second reader of a group or queue gets EPERM from the kernel.
pub(super) fn read(node: &Node, report: &mut Report<'_>) -> Vec<Capture> {
    let mut taken = Vec::new();
    let captures = report.list(node, |item, report| entry(item, &mut taken, report));
    if report.items(node).is_empty() {
        report.warn(
            node.place,
            "nothing is captured: no packet will ever be seen",
            "leave `capture` out for NFLOG group 100",
        );
    }
    captures
}

/// What one capture source has to itself.
#[derive(PartialEq, Eq)]
enum Claim {
    Group(u16),
    Queue(u16),
    Text(LogText),
    AccessLog(PathBuf),
}

fn entry(node: &Node, taken: &mut Vec<Claim>, report: &mut Report<'_>) -> Option<Capture> {
    let mut keys = report.keys(node, "a capture source")?;
    let kinds = [keys.take("nflog"), keys.take("nfqueue"), keys.take("log"), keys.take("access-log")];
    let place = keys.place();
    let unknown = !keys.is_empty();
    keys.finish(report);
    let mut claim = |claim: Claim, name: &str, place: Place, report: &mut Report<'_>| {
        if taken.contains(&claim) {
            report.error(place, &format!("{name} is captured twice"), "keep one of them");
        } else {
            taken.push(claim);
        }
    };
    match kinds {
        [Some(node), None, None, None] => {
            let (nflog, place) = nflog(node, report)?;
            for &group in &nflog.groups {
                claim(Claim::Group(group), &format!("NFLOG group {group}"), place, report);
            }
            Some(Capture::Nflog(nflog))
        }
        [None, Some(node), None, None] => {
            let (queues, place) = nfqueue(node, report)?;
            for queue in queues.clone() {
                claim(Claim::Queue(queue), &format!("NFQUEUE queue {queue}"), place, report);
            }
            Some(Capture::Nfqueue { queues })
        }
        [None, None, Some(node), None] => {
            let text = report.parse(node, "`journal` or the path of a file", |text| match text {
                "journal" => Ok(LogText::Journal),
                path => absolute(path).map(LogText::File),
            })?;
            claim(Claim::Text(text.clone()), "this log", node.place, report);
            Some(Capture::Log(text))
        }
        [None, None, None, Some(node)] => {
            let path = report.parse(node, "the path of an access log", absolute)?;
            claim(Claim::AccessLog(path.clone()), "this access log", node.place, report);
            Some(Capture::AccessLog(path))
        }
        [None, None, None, None] if unknown => None,
        _ => {
            report.error(
                place,
                "a capture source is exactly one of nflog, nfqueue, log and access-log",
                "write `- nflog: {group: 100}`, each source behind a `- ` of its own",
            );
            None
        }
    }
}

/// The groups with their settings, and where the groups are named.
fn nflog(node: &Node, report: &mut Report<'_>) -> Option<(Nflog, Place)> {
    let mut keys = report.keys(node, "nflog")?;
    let mut nflog = Nflog::default();
    let mut place = keys.place();
    match (keys.entry("group"), keys.entry("groups")) {
        (Some(group), None) => {
            place = group.node.place;
            nflog.groups = number(&group.node, 1, report).into_iter().collect();
        }
        (None, Some(groups)) => {
            place = groups.node.place;
            nflog.groups = report.list(&groups.node, |node, report| number(node, 1, report));
            if report.items(&groups.node).is_empty() {
                report.error(place, "no group is named", "write `groups: [100, 101]`");
            }
        }
        (Some(_), Some(groups)) => {
            report.error(
                groups.place,
                "both `group` and `groups`",
                "keep `groups` and list all of them there",
            );
        }
        (None, None) => {}
    }
    let verdicts = Verdict::ALL.map(|verdict| (verdict.as_str(), verdict));
    if let Some(node) = keys.take("verdict") {
        nflog.verdict = report.word(node, &verdicts).unwrap_or_default();
    }
    let mut setting = |key, range| keys.take(key).and_then(|node| report.integer(node, range));
    // Less would cut the TCP header off behind that of IPv6; a netlink attribute's length has 16 bits.
    let snaplen = setting("snaplen", 64..=0xffff - 4).and_then(|octets| u32::try_from(octets).ok());
    nflog.snaplen = snaplen.unwrap_or(nflog.snaplen);
    let threshold = setting("queue-threshold", 1..=1024).and_then(|packets| u32::try_from(packets).ok());
    nflog.queue_threshold = threshold.unwrap_or(nflog.queue_threshold);
    if let Some(node) = keys.take("buffer") {
        let buffer = report.parse(node, "a size such as 32M", |text| values::size(text, 64 << 10..=1 << 30));
        nflog.buffer = buffer.unwrap_or(nflog.buffer);
    }
    if let Some(node) = keys.take("flush-timeout")
        && let Some(timeout) = report.parse(node, "a duration such as 10ms", flush_timeout)
    {
        nflog.flush_timeout = timeout;
    }
    keys.finish(report);
    Some((nflog, place))
}

/// The queues, and where they are named.
fn nfqueue(node: &Node, report: &mut Report<'_>) -> Option<(RangeInclusive<u16>, Place)> {
    let mut keys = report.keys(node, "nfqueue")?;
    let queues = match (keys.entry("queue"), keys.entry("queues")) {
        (Some(queue), Some(queues)) => {
            report.error(queues.node.place, "both `queue` and `queues`", "keep one of them");
            let _ = number(&queue.node, 0, report);
            None
        }
        (None, Some(queues)) => {
            let range = report.parse(&queues.node, "queues such as 100-103", queue_range);
            range.map(|range| (range, queues.node.place))
        }
        (Some(queue), None) => {
            number(&queue.node, 0, report).map(|number| (number..=number, queue.node.place))
        }
        (None, None) => {
            report.error(node.place, "nfqueue has no `queue`", "add `queue: 100`, or `queues: 100-103`");
            None
        }
    };
    keys.finish(report);
    queues
}

/// `100-103`, as nft's `queue num` and the `--queue-balance` of iptables have it (with a colon).
fn queue_range(text: &str) -> Result<RangeInclusive<u16>, Wrong> {
    let parsed = text.split_once('-').and_then(|(first, last)| {
        let range = first.trim().parse().ok()?..=last.trim().parse().ok()?;
        (!range.is_empty() && range.end() - range.start() < MAX_QUEUES).then_some(range)
    });
    parsed.ok_or_else(|| {
        Wrong::new(
            format!("`{text}` is no range of queues"),
            format!("write the lowest and the highest number, 0 to 65535, such as 100-103; at most {MAX_QUEUES} queues"),
        )
    })
}

/// NFULA_CFG_TIMEOUT counts hundredths of a second.
fn flush_timeout(text: &str) -> Result<Duration, Wrong> {
    let timeout = values::duration(text)?;
    if timeout > Duration::from_secs(10) || timeout.subsec_millis() % 10 != 0 {
        return Err(Wrong::new(
            format!("`{text}` is no flush timeout"),
            "write a multiple of 10ms, at most 10s; `0s` for the next timer tick",
        ));
    }
    Ok(timeout)
}

/// The number of a group or queue.
fn number(node: &Node, least: u16, report: &mut Report<'_>) -> Option<u16> {
    let number = report.integer(node, 0..=0xffff)?;
    if number < u64::from(least) {
        report.error(
            node.place,
            "group 0 is where the kernel itself logs invalid conntrack packets",
            "take another group, for instance 100, here and in the ruleset (`log group 100`)",
        );
        return None;
    }
    u16::try_from(number).ok()
}

/// A path from the root: the daemon's working directory is nobody's business.
pub(super) fn absolute(text: &str) -> Result<PathBuf, Wrong> {
    let path = PathBuf::from(text);
    if path.is_absolute() && !text.contains('\0') {
        return Ok(path);
    }
    Err(Wrong::new(format!("`{text}` is no absolute path"), "write the path from `/` on"))
}
