//! psad's configuration (`KEY value;`), its `auto_dl`, its signatures, and the list of those it has blocked.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use ipnet::IpNet;

use super::draft::{Draft, Ignored, Part, Parts, origin};
use super::network::network;
use super::{Input, Place, lines};
use crate::address::never_a_host;
use crate::config::names::{PROTOCOLS, number};
use crate::config::values;
use crate::decide::Mode;
use crate::packet::protocol;

/// A key with its value.
#[derive(Debug)]
struct Setting<'a> {
    place: Place<'a>,
    text: &'a str,
    value: &'a str,
}

type Settings<'a> = BTreeMap<&'a str, Setting<'a>>;

pub(super) fn convert(inputs: &[Input], draft: &mut Draft) {
    let mut settings = Settings::new();
    let (mut levels, mut blocked, mut signatures) = (Vec::new(), Vec::new(), BTreeMap::new());
    for (place, text) in lines(inputs) {
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let (first, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        if first == "alert" || first.bytes().all(|octet| octet.is_ascii_digit()) {
            signatures.entry(place.file).or_insert((place, text, 0_usize)).2 += 1;
        } else if first.starts_with(|c: char| c.is_ascii_digit()) || first.contains(':') {
            match rest.split_once(';') {
                Some((level, _)) => levels.push((place, text, first, level.trim())),
                None => blocked.push((place, text, first)),
            }
        } else if let Some((value, _)) = rest.split_once(';') {
            let setting = Setting { place, text, value: value.trim() };
            // psad takes the first one.
            if settings.contains_key(first) {
                draft.leave(place, text, "an earlier line says it");
            } else {
                settings.insert(first, setting);
            }
        } else {
            draft.leave(place, text, "psad reads no line without `;`");
        }
    }
    for (place, text, lines) in signatures.into_values() {
        let why = format!(
            "{lines} lines of this file: nfban has rules of its own, by what is probed and not by single packets; see \
             docs/rules.md for how to write one"
        );
        draft.leave(place, text, &why);
    }
    let times = times(&settings, draft);
    for (place, text, source, level) in levels {
        danger_level(place, text, (source, level), &settings, draft);
    }
    for (place, text, source) in blocked {
        match network(source) {
            Ok(network) => {
                draft.carry();
                draft.bans.insert(network, (times.first().copied(), "psad had blocked it".to_owned()));
            }
            Err(why) => draft.leave(place, text, &why),
        }
    }
    for (key, setting) in &settings {
        one(key, setting, draft);
    }
}

fn number_of(settings: &Settings<'_>, key: &str) -> Option<u64> {
    settings.get(key)?.value.parse().ok()
}

fn is_on(settings: &Settings<'_>, key: &str) -> bool {
    settings.get(key).is_some_and(|setting| setting.value == "Y")
}

/// The danger level from which psad blocks; none where it does not.
fn blocks_from(settings: &Settings<'_>) -> Option<u64> {
    is_on(settings, "ENABLE_AUTO_IDS")
        .then(|| number_of(settings, "AUTO_IDS_DANGER_LEVEL").unwrap_or(5).clamp(1, 5))
}

/// `AUTO_BLOCK_TIMEOUT` and those of the levels that block, the shortest first: psad blocks for longer who did more,
/// nfban who does it again.
fn times(settings: &Settings<'_>, draft: &mut Draft) -> Vec<Duration> {
    let Some(first) = blocks_from(settings) else { return Vec::new() };
    let usual = number_of(settings, "AUTO_BLOCK_TIMEOUT").unwrap_or(3600);
    let mut times = Vec::new();
    for level in first..=5 {
        let key = format!("AUTO_BLOCK_DL{level}_TIMEOUT");
        let setting = settings.get(key.as_str());
        let seconds = match setting.map(|setting| setting.value) {
            None | Some("$AUTO_BLOCK_TIMEOUT") => Some(usual),
            Some(value) => value.parse().ok(),
        };
        match (seconds, setting) {
            (Some(seconds @ 1..=315_360_000), _) => times.push(Duration::from_secs(seconds)),
            (_, Some(setting)) => draft.leave(
                setting.place,
                setting.text,
                "nfban bans for a time, up to ten years; what `nfban ban` bans by hand stays until it is lifted",
            ),
            (_, None) => {}
        }
    }
    if times.is_empty() {
        times.extend(Some(usual).filter(|usual| *usual > 0).map(Duration::from_secs));
    }
    times.sort_unstable();
    times.dedup();
    draft.times.clone_from(&times);
    times
}

/// A line of `auto_dl`: an address, its danger level, and what of it.
fn danger_level(
    place: Place<'_>,
    text: &str,
    (source, level): (&str, &str),
    settings: &Settings<'_>,
    draft: &mut Draft,
) {
    let network = match network(source) {
        Ok(network) => network,
        Err(why) => return draft.leave(place, text, &why),
    };
    let mut words = level.split_whitespace();
    let level: Option<u64> = words.next().and_then(|word| word.parse().ok());
    let (of, beyond) = (words.next(), words.next());
    let (Some(level @ 0..=5), None) = (level, beyond) else {
        return draft.leave(
            place,
            text,
            "psad knows danger levels from 0 to 5, and one protocol behind them",
        );
    };
    match (level, of) {
        (0, None) if never_a_host().iter().any(|never| never.contains(&network)) => draft.carry(),
        (0, None) => {
            draft.allow.push(network);
            draft.carry();
        }
        (0, Some(of)) => match protocol_and_ports(of) {
            Some((protocol, dport)) => {
                let saddr = Some(Part { negated: false, values: vec![network] });
                ignore(place, text, protocol, Parts { saddr, dport, ..Parts::default() }, draft);
            }
            None => draft.leave(place, text, "this is no protocol with ports"),
        },
        (level, None) if blocks_from(settings).is_some_and(|from| level >= from) => {
            draft.carry();
            draft.bans.insert(network, (None, format!("danger level {level} in auto_dl")));
        }
        _ => {
            draft.leave(place, text, "nobody begins with a danger level; ban whom you know with `nfban ban`")
        }
    }
}

/// `tcp`, `tcp/1-1024`.
fn protocol_and_ports(text: &str) -> Option<(u8, Option<Part<RangeInclusive<u16>>>)> {
    let (name, ports) = text.split_once('/').map_or((text, None), |(name, ports)| (name, Some(ports)));
    let protocol = number(PROTOCOLS, name).or_else(|| name.parse().ok())?;
    let Some(ports) = ports else { return Some((protocol, None)) };
    let range = values::range::<u16>(ports, "port").ok().filter(|_| protocol::PORTED.contains(&protocol))?;
    Some((protocol, Some(Part { negated: false, values: vec![range] })))
}

fn ignore(place: Place<'_>, text: &str, protocol: u8, parts: Parts, draft: &mut Draft) {
    draft.carry();
    let comment = origin(place, text);
    draft.ignore.push(Ignored { comment, protocol, parts, except: Vec::new() });
}

/// What becomes of one key.
fn one(key: &str, setting: &Setting<'_>, draft: &mut Draft) {
    let Setting { place, text, value } = *setting;
    let items = || value.trim_matches(['[', ']']).split(',').map(str::trim).filter(|item| !item.is_empty());
    match key {
        "HOME_NET" => home(setting, draft),
        "ENABLE_AUTO_IDS" => {
            draft.carry();
            draft.mode = Some(match value {
                "Y" => (Mode::Enforce, "psad blocked (ENABLE_AUTO_IDS). To only tell: watch"),
                _ => (Mode::Watch, "psad blocked nobody (ENABLE_AUTO_IDS). To act against scanners: enforce"),
            });
        }
        "AUTO_BLOCK_TIMEOUT" => draft.carry(),
        "IGNORE_PORTS" | "IGNORE_PROTOCOLS" if value != "NONE" => {
            for item in items() {
                match protocol_and_ports(item) {
                    Some((protocol, dport)) => {
                        ignore(place, item, protocol, Parts { dport, ..Parts::default() }, draft);
                    }
                    None => draft.leave(place, item, "this is no protocol, and no port behind one"),
                }
            }
        }
        "IGNORE_INTERFACES" | "IGNORE_LOG_PREFIXES" if value != "NONE" => {
            for item in items().map(|item| item.trim_matches('"')).filter(|item| !item.is_empty()) {
                match filter_on(key, item) {
                    Some(filter) => {
                        draft.carry();
                        draft.filters.push((origin(place, item), filter));
                    }
                    None => draft.leave(place, item, "this is no name of an interface, and no log prefix"),
                }
            }
        }
        _ => match rest(key, value) {
            None => draft.carry(),
            Some(why) => draft.leave(place, text, why),
        },
    }
}

/// A filter for what `IGNORE_INTERFACES` or `IGNORE_LOG_PREFIXES` lists.
fn filter_on(key: &str, item: &str) -> Option<String> {
    let graphic = item.chars().all(|c| c.is_ascii_graphic() || c == ' ');
    // IFNAMSIZ of linux/if.h is 16 with the final zero.
    let names = item.len() < 16 && !item.contains(['/', ' ', '*']);
    let part = if key == "IGNORE_INTERFACES" { "iif" } else { "log-prefix" };
    // JSON's quoting is YAML's.
    (graphic && (names || part != "iif")).then(|| format!("{{{part}: {}}}", serde_json::Value::from(item)))
}

fn home(setting: &Setting<'_>, draft: &mut Draft) {
    let Setting { place, text, value } = *setting;
    if matches!(value, "any" | "NOT_USED") {
        return draft.carry();
    }
    for item in value.trim_matches(['[', ']']).split(',').map(str::trim).filter(|item| !item.is_empty()) {
        match network(item) {
            Ok(network) if network.prefix_len() == 0 => {
                draft.leave(place, text, "this is everybody, whose probes nfban would pass over");
            }
            Ok(network) => {
                draft.carry();
                draft.home.push(IpNet::trunc(&network));
            }
            Err(why) => draft.leave(place, item, &why),
        }
    }
}

/// Why nothing stands for a key; none where nfban needs no word for it, or psad's own workings are meant.
fn rest(key: &str, value: &str) -> Option<&'static str> {
    const THRESHOLDS: &str = "each rule has its threshold and window: docs/detection.md, docs/rules.md";
    const MAIL: &str = "nfban sends no mail; the journal has every incident and ban";
    let off = matches!(value, "N" | "NONE" | "0");
    Some(match key {
        "DANGER_LEVEL1"
        | "DANGER_LEVEL2"
        | "DANGER_LEVEL3"
        | "DANGER_LEVEL4"
        | "DANGER_LEVEL5"
        | "DL1_UNIQUE_HOSTS"
        | "DL2_UNIQUE_HOSTS"
        | "DL3_UNIQUE_HOSTS"
        | "DL4_UNIQUE_HOSTS"
        | "DL5_UNIQUE_HOSTS"
        | "PORT_RANGE_SCAN_THRESHOLD"
        | "PORT_RANGE_SWEEP_THRESHOLD"
        | "PROTOCOL_SCAN_THRESHOLD"
        | "SCAN_TIMEOUT"
        | "PERSISTENCE_CTR_THRESHOLD"
        | "MIN_DANGER_LEVEL"
        | "MAX_SCAN_IP_PAIRS" => THRESHOLDS,
        "ENABLE_PERSISTENCE" => "nfban has rules with long windows besides (slow-scan): docs/detection.md",
        "AUTO_IDS_DANGER_LEVEL" => {
            "nfban has no danger levels: a rule that fires is answered as `respond` says"
        }
        "ENABLE_AUTO_IDS_REGEX" | "AUTO_BLOCK_REGEX" if !off && value != "ESTAB" => {
            "write a rule with `log-prefix` and a `respond` of its own: docs/rules.md"
        }
        "EXTERNAL_NET" if value != "any" => "every source that is not ours is looked at; see `ignore`",
        "FW_SEARCH_ALL" | "FW_MSG_SEARCH" if value != "Y" && value != "DROP" => {
            "nfban takes LOG text whatever its prefix; `nfban:refused` and the like say what it means"
        }
        "FW_SEARCH_ALL" | "FW_MSG_SEARCH" | "AUTO_DETECT_JOURNALCTL" | "ENABLE_SYSLOG_FILE" => return None,
        "IPT_SYSLOG_FILE" | "FW_MSG_READ_CMD" => {
            "NFLOG groups tell more and cost less (`nfban ruleset`); `capture: [{log: journal}]` reads LOG rules as psad did"
        }
        "ENABLE_IPV6_DETECTION" if off => "nfban looks at IPv6 as well; `ignore` can pass over it",
        "ENABLE_INTF_LOCAL_NETS" if !off => {
            "the addresses of this host are ours by themselves; prefixes behind it belong in `home`"
        }
        "TCPWRAPPERS_BLOCK_METHOD" if !off => {
            "nfban drops all packets of a banned source; no service is told"
        }
        "IPTABLES_BLOCK_METHOD" if off => "nfban blocks in nftables alone",
        "ENABLE_EXT_SCRIPT_EXEC" | "ENABLE_EXT_BLOCK_SCRIPT_EXEC" if !off => {
            "see docs/configuration.md for what nfban can run or call on an event"
        }
        "ENABLE_DSHIELD_ALERTS" if !off => "nfban reports to nobody by itself",
        "EMAIL_ADDRESSES" | "EMAIL_ALERT_DANGER_LEVEL" | "EMAIL_LIMIT" | "ALERTING_METHODS" => MAIL,
        "ENABLE_DNS_LOOKUPS" | "ENABLE_WHOIS_LOOKUPS" if !off => {
            "no name is looked up while packets are counted"
        }
        "MAX_HOPS" => "nfban counts traceroutes by the rule `traceroute`",
        "IGNORE_CONNTRACK_BUG_PKTS" if off => "late segments of ended conversations are no evidence",
        "HTTP_SERVERS" | "SMTP_SERVERS" | "DNS_SERVERS" | "SQL_SERVERS" | "TELNET_SERVERS"
            if value != "$HOME_NET" =>
        {
            "nfban has no Snort signatures; what you publish belongs in `services`"
        }
        key if is_housekeeping(key) => return None,
        _ => "psad knows no such setting",
    })
}

/// Names of keys that are about psad's own workings: its files, programs, reports and caches.
fn is_housekeeping(key: &str) -> bool {
    const ENDS: [&str; 9] =
        ["Cmd", "_FILE", "_DIR", "_PATTERN", "_PREFIX", "_THRESHOLD", "_INTERVAL", "_ROOT", "_LOG"];
    const BEGINS: [&str; 14] = [
        "AUTO_BLOCK_",
        "AUTO_IPT_",
        "DISK_",
        "DSHIELD_",
        "EMAIL_",
        "ENABLE_",
        "EXTERNAL_",
        "FW_",
        "IGNORE_",
        "IPT_",
        "PSAD",
        "SIG_",
        "SYSLOG_",
        "WHOIS_",
    ];
    const OTHERS: [&str; 28] = [
        "AIM_SERVERS",
        "ALERT_ALL",
        "AUTO_BLOCK_REGEX",
        "CUSTOM_SYSLOG_TS_RE",
        "DNS_SERVERS",
        "EXEC_EXT_SCRIPT_PER_ALERT",
        "EXPECT_TCP_OPTIONS",
        "EXTERNAL_NET",
        "FLUSH_IPT_AT_INIT",
        "HOSTNAME",
        "HTTP_PORTS",
        "HTTP_SERVERS",
        "IFCFGTYPE",
        "IMPORT_OLD_SCANS",
        "INSTALL_ROOT",
        "IPTABLES_BLOCK_METHOD",
        "IPTABLES_PREREQ_CHECK",
        "ORACLE_PORTS",
        "PRINT_SCAN_HASH",
        "SHELLCODE_PORTS",
        "SHOW_ALL_SIGNATURES",
        "SIG_UPDATE_URL",
        "SMTP_SERVERS",
        "SNORT_SID_STR",
        "SQL_SERVERS",
        "TCPWRAPPERS_BLOCK_METHOD",
        "TELNET_SERVERS",
        "USE_FW_MSG_READ_CMD_ARGS",
    ];
    const MORE: [&str; 4] =
        ["MIN_ARCHIVE_DANGER_LEVEL", "TRUNCATE_FWDATA", "ETC_SYSLOG_CONF", "ETC_RSYSLOG_CONF"];
    const LAST: [&str; 3] = ["ETC_SYSLOGNG_CONF", "ETC_METALOG_CONF", "CHECK_INTERVAL"];
    ENDS.iter().any(|end| key.ends_with(end))
        || BEGINS.iter().any(|begin| key.starts_with(begin))
        || OTHERS.contains(&key)
        || MORE.contains(&key)
        || LAST.contains(&key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protocol_may_have_ports_where_it_has_any() {
        assert_eq!(protocol_and_ports("icmp"), Some((1, None)));
        assert_eq!(protocol_and_ports("50"), Some((50, None)));
        let (protocol, ports) = protocol_and_ports("tcp/1-1024").unwrap();
        assert_eq!((protocol, ports.unwrap().values), (6, vec![1..=1024]));
        for other in ["tcp/x", "icmp/8", "ftp", ""] {
            assert!(protocol_and_ports(other).is_none(), "{other}");
        }
    }
}
