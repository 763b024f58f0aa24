//! `log`: in what form the daemon's log is written, and where to.

use super::read::Report;
use super::yaml::Node;
use crate::log::Format;

/// How the daemon's log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Log {
    /// Form and place.
    pub format: Format,
}

pub(super) fn read(node: &Node, report: &mut Report<'_>) -> Log {
    let mut log = Log::default();
    let Some(mut keys) = report.keys(node, "`log`") else { return log };
    if let Some(node) = keys.take("format") {
        log.format = report.word(node, &Format::NAMES).unwrap_or(log.format);
    }
    keys.finish(report);
    log
}
