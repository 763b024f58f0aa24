//! `log|ignore tcp|udp [from [!]NETWORK] [sport [!]PORTS] [to …] [dport …]`, `log|ignore icmp [from …] [to …] [type [!]TYPE]`.

use std::ops::RangeInclusive;

use ipnet::IpNet;

use super::super::Place;
use super::super::draft::{Part, Parts};
use super::super::network::{lengthened, network};
use crate::config::names::{self, SERVICES};
use crate::packet::protocol;

/// What iplog looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Tcp,
    Udp,
    Icmp,
}

impl Protocol {
    const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Icmp];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
        }
    }

    pub(super) const fn number(self) -> u8 {
        match self {
            Self::Tcp => protocol::TCP,
            Self::Udp => protocol::UDP,
            Self::Icmp => protocol::ICMP,
        }
    }
}

/// A line with parts.
#[derive(Debug)]
pub(super) struct Filter<'a> {
    pub place: Place<'a>,
    pub text: String,
    pub protocol: Protocol,
    pub parts: Parts,
}

/// Which packets of its protocol a line is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// It has no part.
    All,
    /// These; all of them where each of its parts is a `*`.
    Some(Parts),
}

/// Reads what follows `log` or `ignore`.
///
/// # Errors
/// Why it is no filter, or none that we can say.
pub(super) fn parse(words: &[&str]) -> Result<(Protocol, Scope), String> {
    let Some((name, mut rest)) = words.split_first() else { return Err("it names no protocol".to_owned()) };
    let protocol = Protocol::ALL
        .into_iter()
        .find(|protocol| name.eq_ignore_ascii_case(protocol.as_str()))
        .ok_or("iplog filters tcp, udp and icmp alone")?;
    if rest.is_empty() {
        return Ok((protocol, Scope::All));
    }
    let ported = protocol != Protocol::Icmp;
    let mut parts = Parts::default();
    let mut seen = Vec::new();
    while let [key, value @ ..] = rest {
        let key = key.to_ascii_lowercase();
        let (Some(value), after) = (value.first(), value.get(1..).unwrap_or_default()) else {
            return Err(format!("nothing stands behind `{key}`"));
        };
        match key.as_str() {
            "from" => parts.saddr = part(value, address)?,
            "to" => parts.daddr = part(value, address)?,
            "sport" if ported => parts.sport = part(value, ports)?,
            "dport" if ported => parts.dport = part(value, ports)?,
            "type" if !ported => parts.icmp_type = part(value, icmp_type)?,
            _ => return Err(format!("iplog knows no `{key}` in a filter for {}", protocol.as_str())),
        }
        if seen.contains(&key) {
            return Err(format!("`{key}` stands there twice"));
        }
        seen.push(key);
        rest = after;
    }
    Ok((protocol, Scope::Some(parts)))
}

/// `[!]VALUE`; none where every value will do.
fn part<T>(
    word: &str,
    value: impl FnOnce(&str) -> Result<Option<T>, String>,
) -> Result<Option<Part<T>>, String> {
    let (negated, word) = word.strip_prefix('!').map_or((false, word), |word| (true, word));
    match value(word)? {
        None if negated => Err("it matches no packet".to_owned()),
        value => Ok(value.map(|value| Part { negated, values: vec![value] })),
    }
}

/// A network of IPv4, which is all that iplog knew. `*` and the address 0.0.0.0 are every one of them.
fn address(word: &str) -> Result<Option<IpNet>, String> {
    let (address, mask) = word.split_once('/').map_or((word, None), |(address, mask)| (address, Some(mask)));
    let address = lengthened(address);
    match mask {
        _ if address == "*" || address == "0.0.0.0" => return Ok(None),
        Some("*") => return Ok(None),
        Some("0") => return Err("iplog takes prefix lengths from 1 to 32".to_owned()),
        _ => (),
    }
    let mask = mask.map(|mask| if mask.contains('.') { lengthened(mask) } else { mask.to_owned() });
    match network(&mask.map_or_else(|| address.clone(), |mask| format!("{address}/{mask}")))? {
        IpNet::V6(_) => Err("iplog has no IPv6".to_owned()),
        network if network.prefix_len() == 0 => Ok(None),
        network => Ok(Some(network)),
    }
}

/// `22`, `ssh`, `1024:2000`, `1024:`, `:1023`, `*`.
fn ports(word: &str) -> Result<Option<RangeInclusive<u16>>, String> {
    let port = |word: &str, open: u16| match word {
        "" | "*" => Ok(open),
        _ => names::number(SERVICES, &word.to_ascii_lowercase()).map_or_else(|| number(word), Ok),
    };
    let range = match word.split_once(':') {
        Some((first, last)) => port(first, 0)?..=port(last, u16::MAX)?,
        None if word == "*" => 0..=u16::MAX,
        None if word.is_empty() => return Err("no port stands there".to_owned()),
        None => port(word, 0).map(|port| port..=port)?,
    };
    if range == (0..=0) {
        return Err("port 0 is every port to iplog and none to nfban".to_owned());
    }
    if range.is_empty() {
        return Err("its ports end before they begin".to_owned());
    }
    Ok((range != (0..=u16::MAX)).then_some(range))
}

fn number(word: &str) -> Result<u16, String> {
    if word.bytes().all(|octet| octet.is_ascii_digit()) {
        word.parse().map_err(|_| "the largest port is 65535".to_owned())
    } else {
        Err(format!("nfban does not know the service {word}: write the number of its port"))
    }
}

/// The names of `netinet/ip_icmp.h`, with the shortest form that iplog takes.
const ICMP: &[(&str, usize, u8)] = &[
    ("echoreply", 5, 0),
    ("echo", 2, 8),
    ("unreachable", 4, 3),
    ("sourcequench", 3, 4),
    ("redirect", 3, 5),
    ("routeradvertisement", 9, 9),
    ("routersolicitation", 9, 10),
    ("timxceed", 5, 11),
    ("paramproblem", 4, 12),
    ("tstampreply", 7, 14),
    ("tstamp", 6, 13),
    ("timestamp_reply", 10, 14),
    ("ireqreply", 5, 16),
    ("ireq", 2, 15),
    ("maskreply", 6, 18),
    ("maskreq", 2, 17),
];

fn icmp_type(word: &str) -> Result<Option<u8>, String> {
    if !word.is_empty() && word.bytes().all(|octet| octet.is_ascii_digit()) {
        return match word.parse() {
            Ok(number) if number <= 18 => Ok(Some(number)),
            _ => Err("iplog knows the types 0 to 18".to_owned()),
        };
    }
    let word = word.to_ascii_lowercase();
    let name = word.strip_prefix("icmp_").unwrap_or(&word);
    ICMP.iter()
        .find(|(known, shortest, _)| known.starts_with(name) && name.len() >= *shortest)
        .map(|(.., number)| Some(*number))
        .ok_or_else(|| format!("iplog knows no type {name} of ICMP"))
}
