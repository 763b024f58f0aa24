//! The words of a packet, as net/netfilter/nf_log_syslog.c writes them: link layer, then IP up to `PROTO=`, then
//! what the protocol adds. `LEN=`, `ID=` and `SEQ=` occur in several of these parts, so each part is read by itself.
//!
//! Words that are not known are skipped (a newer kernel may write more); a word that is known and ill-formed, missing
//! or repeated makes the whole line malformed.

mod ip;
mod transport;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::packet::{Packet, Pkttype};

use super::Reason;

/// Linux' IFNAMSIZ without the terminating NUL.
const MAX_INTERFACE_NAME: usize = 15;

/// Everything a LOG line tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told<'a> {
    pub(super) packet: Packet,
    pub(super) pkttype: Pkttype,
    pub(super) iif: &'a str,
    pub(super) oif: &'a str,
}

/// Parts a kernel message into prefix and words. The prefix is any text, also one with `IN=` in it, and need not end
/// with a blank: the words begin where an interface name and ` OUT=` follow.
pub(super) fn split(message: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut from = 0;
    loop {
        let at = from + message.get(from..)?.windows(3).position(|window| window == b"IN=")?;
        from = at + 3;
        let after = message.get(from..)?;
        let name = after.iter().take(MAX_INTERFACE_NAME + 1).take_while(|&&octet| octet != b' ').count();
        if after.get(name..)?.starts_with(b" OUT=") {
            return message.split_at_checked(at);
        }
    }
}

/// Reads the words; `None` where they tell of no IP packet (ARP, LLDP and whatever else a bridge carries).
pub(super) fn read(words: &[u8]) -> Result<Option<Told<'_>>, Reason> {
    let mut words = Words(words);
    let Some(link) = link(&mut words)? else { return Ok(None) };
    let (header, protocol) = ip::read(&mut words, link.saddr)?;
    let transport = transport::read(&mut words, &header, protocol)?;
    let packet = Packet {
        saddr: link.saddr,
        daddr: header.daddr,
        length: header.length,
        header_length: header.header_length,
        ttl: header.ttl,
        dont_fragment: header.dont_fragment,
        identification: header.identification,
        fragment: header.fragment,
        protocol,
        transport,
    };
    Ok(Some(Told { packet, pkttype: link.pkttype, iif: link.iif, oif: link.oif }))
}

/// What stands before the IP header, and the word that begins it.
struct Link<'a> {
    iif: &'a str,
    oif: &'a str,
    pkttype: Pkttype,
    saddr: IpAddr,
}

fn link<'a>(words: &mut Words<'a>) -> Result<Option<Link<'a>>, Reason> {
    let mut link = Link { iif: "", oif: "", pkttype: Pkttype::Unicast, saddr: Ipv4Addr::UNSPECIFIED.into() };
    for word in words.by_ref() {
        match key_value(word) {
            (b"IN", Some(name)) => link.iif = interface(name),
            (b"OUT", Some(name)) => link.oif = interface(name),
            (b"MAC", Some(octets)) => link.pkttype = of_link_header(octets)?,
            // With "macdecode"; an ARP message has the same word for what it carries, and no SRC= after it.
            (b"MACDST", Some(octets)) => {
                link.pkttype = Pkttype::of_hardware_address(&Octets::read(octets, "MACDST=")?.octets);
            }
            (b"SRC", Some(source)) => {
                link.saddr = address(source, "SRC=")?;
                return Ok(Some(link));
            }
            (b"TRUNCATED", None) => return Err(Reason::PacketTruncated),
            _ => {}
        }
    }
    Ok(None)
}

/// A name that is not UTF-8 (the kernel allows any octets but `/`, `:` and blanks) counts as not known.
fn interface(name: &[u8]) -> &str {
    std::str::from_utf8(name).unwrap_or_default()
}

/// `MAC=` holds as many octets as the device says its header has. It is Ethernet, destination first, if octets 12 and
/// 13 are an EtherType that IP comes with: IPv4, IPv6, 802.1Q, 802.1ad. Of others nothing is known.
fn of_link_header(text: &[u8]) -> Result<Pkttype, Reason> {
    if text.is_empty() {
        return Ok(Pkttype::Unicast);
    }
    let header = Octets::read(text, "MAC=")?;
    let is_ethernet =
        matches!(header.octets.get(12..14), Some([0x08, 0x00] | [0x86, 0xdd] | [0x81, 0x00] | [0x88, 0xa8]));
    Ok(if is_ethernet { Pkttype::of_hardware_address(&header.octets) } else { Pkttype::Unicast })
}

/// The first octets of `aa:bb:cc…`.
struct Octets {
    octets: [u8; 14],
}

impl Octets {
    fn read(text: &[u8], word: &'static str) -> Result<Self, Reason> {
        let mut octets = [0; 14];
        let mut places = octets.iter_mut();
        for octet in text.split(|&octet| octet == b':') {
            let (2, Some(octet)) = (octet.len(), hexadecimal(octet)) else { return Err(Reason::Value(word)) };
            let octet = u8::try_from(octet).map_err(|_| Reason::Value(word))?;
            if let Some(place) = places.next() {
                *place = octet;
            }
        }
        Ok(Self { octets })
    }
}

/// The words of a line, parted by blanks.
struct Words<'a>(&'a [u8]);

impl<'a> Words<'a> {
    /// The next word if it is one that `wanted` accepts; else it stays.
    fn next_if(&mut self, wanted: impl FnOnce(&[u8]) -> bool) -> Option<&'a [u8]> {
        let mut ahead = Words(self.0);
        let word = ahead.next().filter(|word| wanted(word))?;
        *self = ahead;
        Some(word)
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let text = self.0.trim_ascii_start();
        let end = text.iter().position(|&octet| octet == b' ').unwrap_or(text.len());
        let (word, rest) = text.split_at_checked(end)?;
        self.0 = rest;
        (!word.is_empty()).then_some(word)
    }
}

/// `KEY=value`, or a word without value.
fn key_value(word: &[u8]) -> (&[u8], Option<&[u8]>) {
    let Some(at) = word.iter().position(|&octet| octet == b'=') else { return (word, None) };
    match word.split_at_checked(at) {
        Some((key, value)) => (key, value.get(1..)),
        None => (word, None),
    }
}

fn address(text: &[u8], word: &'static str) -> Result<IpAddr, Reason> {
    let text = std::str::from_utf8(text).map_err(|_| Reason::Value(word))?;
    let address = if text.contains(':') {
        text.parse::<Ipv6Addr>().map(IpAddr::V6)
    } else {
        text.parse::<Ipv4Addr>().map(IpAddr::V4)
    };
    address.map_err(|_| Reason::Value(word))
}

/// Decimal digits and nothing else, within `T`.
fn decimal<T: TryFrom<u32>>(text: &[u8], word: &'static str) -> Result<T, Reason> {
    let digits = || {
        text.iter().try_fold(0_u32, |sum, octet| {
            let digit = octet.is_ascii_digit().then(|| u32::from(octet - b'0'))?;
            sum.checked_mul(10)?.checked_add(digit)
        })
    };
    (!text.is_empty())
        .then(digits)
        .flatten()
        .and_then(|number| T::try_from(number).ok())
        .ok_or(Reason::Value(word))
}

/// One to eight hexadecimal digits and nothing else.
fn hexadecimal(text: &[u8]) -> Option<u32> {
    (1..=8).contains(&text.len()).then_some(())?;
    text.iter().try_fold(0, |sum, &octet| Some(sum << 4 | char::from(octet).to_digit(16)?))
}

/// Fills a place that must still be empty.
fn once<T>(place: &mut Option<T>, value: T, word: &'static str) -> Result<(), Reason> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Reason::Repeated(word)),
    }
}
