//! A firewall that hands nothing over: no rule logs to the groups that nfban reads.

use crate::config::{Capture, Config};
use crate::control::protocol::Status;
use crate::host;
use crate::packet::Verdict;

/// What to say of the groups for refused packets of a configuration.
pub(super) fn of_configuration(config: &Config) -> Option<String> {
    let groups = config.capture.iter().filter_map(|capture| match capture {
        Capture::Nflog(nflog) if nflog.verdict == Verdict::Refused => Some(&nflog.groups),
        _ => None,
    });
    let groups: Vec<u16> = groups.flatten().copied().collect();
    note(&groups)
}

/// What to say of the groups for refused packets that a daemon reads, where nothing has come to one. Nothing of a daemon
/// in another network namespace: what is seen from here is another firewall.
pub(super) fn of_status(status: &Status) -> Option<String> {
    let namespace = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net")).ok();
    if namespace("self")? != namespace(&status.pid.to_string())? {
        return None;
    }
    let silent = status.captures.iter().filter(|of| of.packets == 0 && of.verdict == Verdict::Refused);
    let groups: Vec<u16> = silent.filter_map(|of| of.source.strip_prefix("nflog:")?.parse().ok()).collect();
    note(&groups)
}

/// Nothing where a rule logs to all of them, and where that cannot be seen: without privileges, or in iptables-legacy.
fn note(groups: &[u16]) -> Option<String> {
    if groups.is_empty() {
        return None;
    }
    let logged = host::logged_groups().ok()??;
    let missing: Vec<String> =
        groups.iter().filter(|group| !logged.contains(group)).map(u16::to_string).collect();
    (!missing.is_empty()).then(|| {
        let missing = missing.join(", ");
        format!(
            "no rule of the firewall logs to NFLOG group {missing}, so nothing comes: see `nfban ruleset`, and SETTING \
             UP in nfban(8)"
        )
    })
}
