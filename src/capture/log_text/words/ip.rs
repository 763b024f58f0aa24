//! From `DST=` to `PROTO=`.

use std::net::IpAddr;

use crate::packet::{Fragment, protocol};

use super::{Reason, Words, address, decimal, hexadecimal, key_value, once};

const IPV4_HEADER: u16 = 20;
const IPV6_HEADER: u16 = 40;
const IPV6_FRAGMENT_HEADER: u16 = 8;
/// RFC 791: a header of 15 words, 5 of them fixed.
const IPV4_MAX_OPTIONS: u16 = 40;

const ESP: u8 = 50;
const AH: u8 = 51;

/// What an IP header tells besides its source.
pub(super) struct Header {
    pub(super) daddr: IpAddr,
    pub(super) length: u32,
    pub(super) header_length: u16,
    pub(super) ttl: u8,
    pub(super) dont_fragment: bool,
    /// Of IPv4; the kernel writes it for every packet.
    pub(super) identification: Option<u16>,
    pub(super) fragment: Option<Fragment>,
}

impl Header {
    /// Whether the next header is in this packet, and not in the first fragment.
    pub(super) fn has_payload_start(&self) -> bool {
        self.fragment.is_none_or(|fragment| fragment.offset == 0)
    }

    /// The most octets there can be after the headers, by the length field. An IPv6 payload length of zero tells none:
    /// a jumbogram's is elsewhere, and Linux also takes a packet without any (net/ipv6/ip6_input.c).
    pub(super) fn payload(&self) -> u32 {
        match self.length.saturating_sub(u32::from(self.header_length)) {
            0 if self.daddr.is_ipv6() && self.fragment.is_none() => u32::MAX,
            payload => payload,
        }
    }
}

/// The words as they stood there.
#[derive(Default)]
struct Collected {
    daddr: Option<IpAddr>,
    length: Option<u32>,
    ttl: Option<u8>,
    identification: Option<u32>,
    dont_fragment: bool,
    more_fragments: bool,
    /// In octets.
    offset: Option<u16>,
    options: u16,
    /// AH or ESP, where the extension headers are told (`--log-ip-options`).
    security_header: Option<u8>,
}

/// Reads the header and the protocol.
pub(super) fn read(words: &mut Words<'_>, saddr: IpAddr) -> Result<(Header, u8), Reason> {
    let v6 = saddr.is_ipv6();
    let mut told = Collected::default();
    while let Some(word) = words.next() {
        match key_value(word) {
            (b"PROTO", Some(name)) => {
                let protocol = named_protocol(name, v6)?;
                return Ok((told.header(v6)?, protocol));
            }
            (key, Some(value)) => told.value(key, value, v6)?,
            (word, None) => told.word(word, words, v6)?,
        }
    }
    let protocol = told.unnamed_protocol(v6)?;
    Ok((told.header(v6)?, protocol))
}

fn named_protocol(name: &[u8], v6: bool) -> Result<u8, Reason> {
    match name {
        b"TCP" => Ok(protocol::TCP),
        b"UDP" => Ok(protocol::UDP),
        b"UDPLITE" => Ok(protocol::UDPLITE),
        b"ICMP" if !v6 => Ok(protocol::ICMP),
        b"ICMPv6" if v6 => Ok(protocol::ICMPV6),
        b"ICMP" | b"ICMPv6" => Err(Reason::MixedFamilies),
        b"AH" => Ok(AH),
        b"ESP" => Ok(ESP),
        number => decimal(number, "PROTO="),
    }
}

impl Collected {
    fn value(&mut self, key: &[u8], value: &[u8], v6: bool) -> Result<(), Reason> {
        match key {
            b"DST" => once(&mut self.daddr, address(value, "DST=")?, "DST="),
            b"LEN" => once(&mut self.length, decimal(value, "LEN=")?, "LEN="),
            b"TTL" if !v6 => once(&mut self.ttl, decimal(value, "TTL=")?, "TTL="),
            b"HOPLIMIT" if v6 => once(&mut self.ttl, decimal(value, "HOPLIMIT=")?, "HOPLIMIT="),
            b"ID" if !v6 => {
                let identification: u16 = decimal(value, "ID=")?;
                once(&mut self.identification, identification.into(), "ID=")
            }
            b"IN" | b"SRC" => Err(Reason::TwoPackets),
            _ => Ok(()),
        }
    }

    fn word(&mut self, word: &[u8], words: &mut Words<'_>, v6: bool) -> Result<(), Reason> {
        match word {
            b"DF" => self.dont_fragment = !v6,
            b"MF" => self.more_fragments = true,
            b"OPT" if !v6 => self.options = options(words)?,
            b"AH" => self.security_header = Some(AH),
            b"ESP" => self.security_header = Some(ESP),
            b"TRUNCATED" | b"FRAG:TRUNCATED" | b"INCOMPLETE" => return Err(Reason::PacketTruncated),
            word => {
                if let Some(offset) = word.strip_prefix(b"FRAG:") {
                    self.fragment_offset(offset, words, v6)?;
                } else if let (true, Some(id)) = (v6, word.strip_prefix(b"ID:")) {
                    let id = hexadecimal(id).ok_or(Reason::Value("ID:"))?;
                    once(&mut self.identification, id, "ID:")?;
                }
            }
        }
        Ok(())
    }

    /// IPv4 writes units of 8 octets, IPv6 octets and then `INCOMPLETE` for "more fragments".
    fn fragment_offset(&mut self, value: &[u8], words: &mut Words<'_>, v6: bool) -> Result<(), Reason> {
        let offset: u16 = decimal(value, "FRAG:")?;
        let offset = match v6 {
            true => Some(offset).filter(|offset| offset % 8 == 0),
            false => offset.checked_mul(8),
        };
        once(&mut self.offset, offset.ok_or(Reason::Value("FRAG:"))?, "FRAG:")?;
        if v6 {
            self.more_fragments = words.next_if(|word| word == b"INCOMPLETE").is_some();
        }
        Ok(())
    }

    /// The kernel names no protocol for IPv6 ESP, which it takes for an extension header, nor for later fragments that
    /// begin with AH or an extension header. With `--log-ip-options` it says which; without, such a line looks like one
    /// that was cut, and is refused like it: neither is evidence of anything.
    fn unnamed_protocol(&self, v6: bool) -> Result<u8, Reason> {
        let is_later_fragment = self.offset.is_some_and(|offset| offset > 0);
        match self.security_header {
            Some(header) if v6 && (header == ESP || is_later_fragment) => Ok(header),
            _ => Err(Reason::Missing("PROTO=")),
        }
    }

    fn header(&self, v6: bool) -> Result<Header, Reason> {
        let daddr = self.daddr.ok_or(Reason::Missing("DST="))?;
        if daddr.is_ipv6() != v6 {
            return Err(Reason::MixedFamilies);
        }
        let length = self.length.ok_or(Reason::Missing("LEN="))?;
        let ttl = self.ttl.ok_or(Reason::Missing(if v6 { "HOPLIMIT=" } else { "TTL=" }))?;
        // Other extension headers may be there; the line does not tell their length.
        let header_length = match (v6, self.offset) {
            (true, Some(_)) => IPV6_HEADER + IPV6_FRAGMENT_HEADER,
            (true, None) => IPV6_HEADER,
            (false, _) => IPV4_HEADER + self.options,
        };
        if length < u32::from(header_length) {
            return Err(Reason::Length);
        }
        let dont_fragment = self.dont_fragment;
        let identification = self.identification.filter(|_| !v6).and_then(|id| u16::try_from(id).ok());
        let fragment = self.fragment(length - u32::from(header_length))?;
        Ok(Header { daddr, length, header_length, ttl, dont_fragment, identification, fragment })
    }

    /// An IPv6 fragment header with offset 0 and nothing to follow makes no fragment (RFC 6946).
    fn fragment(&self, length: u32) -> Result<Option<Fragment>, Reason> {
        let (offset, more) = (self.offset.unwrap_or(0), self.more_fragments);
        if offset == 0 && !more {
            return Ok(None);
        }
        let identification = self.identification.ok_or(Reason::Missing("ID"))?;
        Ok(Some(Fragment { offset, more, identification, length }))
    }
}

/// How many octets stand in the `(hexadecimal)` after `OPT`.
fn options(words: &mut Words<'_>) -> Result<u16, Reason> {
    let word = words.next().ok_or(Reason::LineTruncated)?;
    let digits =
        word.strip_prefix(b"(").and_then(|word| word.strip_suffix(b")")).ok_or(Reason::LineTruncated)?;
    let octets = u16::try_from(digits.len() / 2).map_err(|_| Reason::Value("OPT"))?;
    let is_whole = digits.iter().all(u8::is_ascii_hexdigit) && digits.len() % 8 == 0;
    (is_whole && (1..=IPV4_MAX_OPTIONS).contains(&octets)).then_some(octets).ok_or(Reason::Value("OPT"))
}
