//! The small grammars of configuration and rules: durations, sizes, ports, services, networks, control bits.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;

use super::names::{self, PORT_PROTOCOLS, PROTOCOLS, SERVICES};
use crate::packet::{TcpFlags, protocol};
use crate::time::{ParseDurationError, parse_duration};

/// Why a value does not read as it should, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// What is wrong.
    pub message: String,
    /// The remedy.
    pub hint: Option<String>,
}

impl Wrong {
    /// With a remedy.
    #[must_use]
    pub fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: Some(hint.into()) }
    }
}

/// Ports of one transport protocol, as `services` and `traps` list them: `22`, `tcp/443`, `udp/40000-50000`, `ssh`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Service {
    /// IP protocol number; tcp unless said.
    pub protocol: u8,
    /// These ports.
    pub ports: RangeInclusive<u16>,
}

impl Service {
    /// Whether a port belongs to it.
    #[must_use]
    pub fn contains(&self, protocol: u8, port: u16) -> bool {
        self.protocol == protocol && self.ports.contains(&port)
    }

    /// Whether any port belongs to both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.protocol == other.protocol
            && self.ports.start() <= other.ports.end()
            && other.ports.start() <= self.ports.end()
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", names::protocol_name(self.protocol), self.ports.start())?;
        if self.ports.start() != self.ports.end() {
            write!(f, "-{}", self.ports.end())?;
        }
        Ok(())
    }
}

/// `PORTS` (of tcp) or `PROTOCOL/PORTS`.
///
/// # Errors
/// No protocol that has ports, or no ports.
pub fn service(text: &str) -> Result<Service, Wrong> {
    let Some((name, range)) = text.split_once('/') else {
        return Ok(Service { protocol: protocol::TCP, ports: ports(text)? });
    };
    if !PORT_PROTOCOLS.contains(&name) {
        // `443/tcp` is how /etc/services has it.
        if PORT_PROTOCOLS.contains(&range) {
            return Err(Wrong::new(
                format!("`{text}` is the wrong way round"),
                format!("write `{range}/{name}`"),
            ));
        }
        return Err(Wrong::unknown("protocol", name, PORT_PROTOCOLS));
    }
    let protocol = names::number(PROTOCOLS, name).unwrap_or(protocol::TCP);
    Ok(Service { protocol, ports: ports(range)? })
}

/// A port, a range (`80-90`, `1024-`) or a service's name.
///
/// # Errors
/// It is none of them.
pub fn ports(text: &str) -> Result<RangeInclusive<u16>, Wrong> {
    if let Some(port) = names::number(SERVICES, text) {
        return Ok(port..=port);
    }
    if text.starts_with(|c: char| c.is_ascii_alphabetic()) {
        let mut wrong = Wrong::unknown("service name", text, &names::names(SERVICES));
        if !wrong.hint.as_ref().is_some_and(|hint| hint.starts_with("did you mean")) {
            wrong.hint = Some("write the port's number".to_owned());
        }
        return Err(wrong);
    }
    range(text, "port")
}

/// A number or a range of numbers: `5`, `5-9`, `5-` (to the largest there is).
///
/// # Errors
/// No number, too large a number, or the larger one first.
pub fn range<T: FromStr + Copy + PartialOrd + fmt::Display + Bounded>(
    text: &str,
    what: &str,
) -> Result<RangeInclusive<T>, Wrong> {
    let number = |digits: &str| {
        if digits.is_empty() || !digits.bytes().all(|octet| octet.is_ascii_digit()) {
            return Err(Wrong::new(
                format!("`{text}` is no {what} and no range of them"),
                "write `5`, `5-9` or `5-`",
            ));
        }
        digits.parse::<T>().map_err(|_| {
            Wrong::new(format!("{what} {digits} is too large"), format!("the largest is {}", T::MAX))
        })
    };
    let (first, last) = match text.split_once('-') {
        None => (number(text)?, number(text)?),
        Some((first, "")) => (number(first)?, T::MAX),
        Some((first, last)) => (number(first)?, number(last)?),
    };
    if first > last {
        return Err(Wrong::new(
            format!("the range {text} ends before it begins"),
            format!("write `{last}-{first}`"),
        ));
    }
    Ok(first..=last)
}

/// Integers with a largest value.
pub trait Bounded {
    /// The largest.
    const MAX: Self;
}

impl Bounded for u8 {
    const MAX: Self = Self::MAX;
}

impl Bounded for u16 {
    const MAX: Self = Self::MAX;
}

impl Bounded for u32 {
    const MAX: Self = Self::MAX;
}

/// An IP protocol by name or number.
///
/// # Errors
/// It is neither.
pub fn protocol(text: &str) -> Result<u8, Wrong> {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return text
            .parse()
            .map_err(|_| Wrong::new(format!("`{text}` is no IP protocol"), "the numbers are 0 to 255"));
    }
    names::number(PROTOCOLS, text).ok_or_else(|| Wrong::unknown("protocol", text, &names::names(PROTOCOLS)))
}

/// An address, or a prefix without host bits.
///
/// # Errors
/// It is neither.
pub fn network(text: &str) -> Result<IpNet, Wrong> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    let network: IpNet = text.parse().map_err(|_| {
        let is_name = text.contains(|c: char| c.is_ascii_alphabetic())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'));
        let hint = match is_name {
            true => "no names are looked up here: write the address that it has",
            false => "write `192.0.2.7`, `192.0.2.0/24` or `\"2001:db8::/48\"`",
        };
        Wrong::new(format!("`{text}` is no address and no prefix"), hint)
    })?;
    if network.trunc() != network {
        return Err(Wrong::new(
            format!("{text} has bits set behind its prefix length"),
            format!("the network is {}, the address alone {}", network.trunc(), network.addr()),
        ));
    }
    Ok(network)
}

/// No duration is longer: ten years.
const LONGEST: Duration = Duration::from_secs(3650 * 86400);

/// As [`parse_duration`] reads it (`90s`, `10m`, `1h30m`, `7d`), or in milliseconds (`250ms`). At most ten years.
///
/// # Errors
/// No number, no unit, or too long.
pub fn duration(text: &str) -> Result<Duration, Wrong> {
    if !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit()) {
        return Err(Wrong::new(
            format!("the duration `{text}` has no unit"),
            format!("write `{text}s` for seconds; units are ms, s, m, h, d, w"),
        ));
    }
    let milliseconds =
        text.strip_suffix("ms").and_then(|digits| digits.parse().ok()).map(Duration::from_millis);
    let duration = match milliseconds.map_or_else(|| parse_duration(text), Ok) {
        Ok(duration) if duration <= LONGEST => duration,
        Ok(_) | Err(ParseDurationError::TooLong) => {
            return Err(Wrong::new(format!("`{text}` is too long"), "ten years are the most"));
        }
        Err(_) => {
            let hint = "write `90s`, `10m`, `1h`, `1h30m`, `7d` or `2w`";
            return Err(Wrong::new(format!("`{text}` is no duration"), hint));
        }
    };
    Ok(duration)
}

/// As [`duration`], more than zero.
///
/// # Errors
/// As [`duration`], and zero.
pub fn positive_duration(text: &str) -> Result<Duration, Wrong> {
    let duration = duration(text)?;
    if duration.is_zero() {
        return Err(Wrong::new("the duration is zero", "write a duration of more than nothing: `60s`"));
    }
    Ok(duration)
}

/// A whole number within a range.
///
/// # Errors
/// It is none, or is out of range.
pub fn integer(text: &str, range: RangeInclusive<u64>) -> Result<u64, Wrong> {
    // `+5` is no number to YAML's core schema, nor to us.
    if text.is_empty() || !text.bytes().all(|octet| octet.is_ascii_digit()) {
        return Err(Wrong::new(format!("`{text}` is no whole number"), "write digits alone: `100`"));
    }
    text.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| {
        let hint = match *range.end() {
            u64::MAX => format!("the least is {}", range.start()),
            most => format!("write a number from {} to {most}", range.start()),
        };
        Wrong::new(format!("{text} is out of range"), hint)
    })
}

/// Octets: `65536`, `64K`, `32M`; K and M are powers of 1024.
///
/// # Errors
/// It is no size, or is out of range.
pub fn size(text: &str, range: RangeInclusive<u32>) -> Result<u32, Wrong> {
    let (digits, factor) = match text.strip_suffix('K') {
        Some(digits) => (digits, 1 << 10),
        None => text.strip_suffix('M').map_or((text, 1), |digits| (digits, 1 << 20)),
    };
    if digits.is_empty() || !digits.bytes().all(|octet| octet.is_ascii_digit()) {
        return Err(Wrong::new(format!("`{text}` is no size"), "write octets, `K` or `M`: `32M`"));
    }
    let octets = digits.parse::<u32>().ok().and_then(|number| number.checked_mul(factor));
    octets.filter(|octets| range.contains(octets)).ok_or_else(|| {
        Wrong::new(
            format!("the size {text} is out of range"),
            format!("write octets, `K` or `M`: {} to {}", range.start(), range.end()),
        )
    })
}

/// nft(8)'s names of the control bits, ours for those it has no name for.
const FLAGS: &[(&str, u16)] = &[
    ("fin", TcpFlags::FIN),
    ("syn", TcpFlags::SYN),
    ("rst", TcpFlags::RST),
    ("psh", TcpFlags::PSH),
    ("ack", TcpFlags::ACK),
    ("urg", TcpFlags::URG),
    ("ecn", TcpFlags::ECE),
    ("ece", TcpFlags::ECE),
    ("cwr", TcpFlags::CWR),
    ("ae", TcpFlags::AE),
    ("reserved", TcpFlags::RESERVED),
    ("none", 0),
];

/// `syn` or `syn,ack`: these are set, whatever the others; `syn/syn,ack`: of those behind the slash exactly these.
///
/// # Errors
/// No such control bit, or one before the slash that is not behind it.
pub fn tcp_flags(text: &str) -> Result<(u16, u16), Wrong> {
    let bits = |list: &str| {
        list.split([',', '|']).map(str::trim).try_fold(0, |sum, name| {
            names::number(FLAGS, name)
                .map(|bit| sum | bit)
                .ok_or_else(|| Wrong::unknown("control bit", name, &names::names(FLAGS)))
        })
    };
    let (value, mask) = match text.split_once('/') {
        None => (bits(text)?, bits(text)?),
        Some((value, mask)) => (bits(value)?, bits(mask)?),
    };
    if mask == 0 {
        return Err(Wrong::new(
            format!("`{text}` looks at no control bit"),
            "to ask for none of them: `none/fin,syn,rst,psh,ack,urg`",
        ));
    }
    if value & !mask != 0 {
        return Err(Wrong::new(
            format!("`{text}` can never match: a bit is asked for that is not looked at"),
            "list behind the slash every bit that is looked at: `syn/syn,ack`",
        ));
    }
    Ok((value, mask))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_duration_is_numbers_with_units() {
        for (text, seconds) in
            [("90s", 90), ("10m", 600), ("1h30m", 5400), ("7d", 604_800), ("2w", 1_209_600)]
        {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(duration("10ms"), Ok(Duration::from_millis(10)));
        for text in
            ["", "10", "s", "10x", "1h30", "-1s", "1.5h", "10 m", "99999999999999999999s", "11000d", "1é"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
        assert!(positive_duration("0s").is_err());
    }

    #[test]
    fn a_bare_port_is_tcp() {
        assert_eq!(service("22"), Ok(Service { protocol: 6, ports: 22..=22 }));
        assert_eq!(service("ssh"), service("22"));
        assert_eq!(service("udp/40000-50000"), Ok(Service { protocol: 17, ports: 40000..=50000 }));
        assert_eq!(service("1024-"), Ok(Service { protocol: 6, ports: 1024..=65535 }));
    }

    #[test]
    fn what_is_no_port_is_told_with_its_remedy() {
        let hint = |text: &str| service(text).unwrap_err().hint.unwrap();
        assert_eq!(hint("443/tcp"), "write `tcp/443`");
        assert_eq!(hint("htps"), "did you mean `https`?");
        assert_eq!(hint("frobnicate"), "write the port's number");
        assert_eq!(hint("65536"), "the largest is 65535");
        assert_eq!(hint("90-80"), "write `80-90`");
        assert_eq!(hint("icmp/8"), "it is one of tcp, udp, sctp, udplite or dccp");
        for text in ["", "-", "-80", "+80", "80-90-100", "tcp/", "/80", "tcp/udp", "0x50"] {
            assert!(service(text).is_err(), "{text}");
        }
    }

    #[test]
    fn host_bits_are_refused_and_the_network_is_shown() {
        assert_eq!(network("192.0.2.7"), Ok("192.0.2.7/32".parse().unwrap()));
        assert_eq!(
            network("192.0.2.7/24").unwrap_err().hint.unwrap(),
            "the network is 192.0.2.0/24, the address alone 192.0.2.7"
        );
    }

    #[test]
    fn control_bits_are_a_value_and_a_mask() {
        assert_eq!(tcp_flags("syn"), Ok((0x02, 0x02)));
        assert_eq!(tcp_flags("syn,fin/syn,fin"), Ok((0x03, 0x03)));
        assert_eq!(tcp_flags("syn / fin, syn, rst, ack"), Ok((0x02, 0x17)));
        assert_eq!(tcp_flags("none/syn,ack"), Ok((0, 0x12)));
        assert!(tcp_flags("none").is_err() && tcp_flags("ack/syn").is_err() && tcp_flags("sin").is_err());
    }

    #[test]
    fn a_size_has_a_unit_of_1024() {
        assert_eq!(size("32M", 1..=u32::MAX), Ok(32 << 20));
        assert_eq!(size("4K", 1..=u32::MAX), Ok(4096));
        assert!(
            size("5000M", 1..=u32::MAX).is_err() && size("0", 1..=9).is_err() && size("1G", 1..=9).is_err()
        );
    }

    proptest! {
        #[test]
        fn no_text_panics_a_grammar(text in ".{0,24}", near in "[0-9a-z/,.: -]{0,16}") {
            for text in [&text, &near] {
                let _ = (service(text), network(text), duration(text), tcp_flags(text), protocol(text));
                let _ = (size(text, 0..=u32::MAX), range::<u8>(text, "ttl"));
            }
        }

        #[test]
        fn a_service_reads_back_as_it_is_shown(protocol in prop::sample::select(vec![6u8, 17, 132]), a: u16, b: u16) {
            let shown = Service { protocol, ports: a.min(b)..=a.max(b) };
            prop_assert_eq!(service(&shown.to_string()), Ok(shown));
        }
    }
}
