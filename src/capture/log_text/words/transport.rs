//! What follows `PROTO=`.

use crate::packet::{Icmp, Tcp, TcpFlags, Transport, Udp, protocol};

use super::ip::Header;
use super::{Reason, Words, decimal, hexadecimal, key_value, once};

const TCP_HEADER: u32 = 20;
const UDP_HEADER: u32 = 8;
/// Type, code and checksum (RFC 792, RFC 4443).
const ICMP_HEADER: u32 = 4;

/// `RES=` is `(word 3 of the TCP header & mask) >> 22`: the bits of the 12-bit field that lie above CWR, moved by six.
/// The mask is 0x0f000000, and 0x0e000000 since AE has a word of its own (Linux 6.15).
const RES_SHIFT: u32 = 6;
const RES_BITS: u32 = 0x3c;

const FLAG_WORDS: [(&[u8], u16); 9] = [
    (b"SYN", TcpFlags::SYN),
    (b"ACK", TcpFlags::ACK),
    (b"RST", TcpFlags::RST),
    (b"FIN", TcpFlags::FIN),
    (b"PSH", TcpFlags::PSH),
    (b"URG", TcpFlags::URG),
    (b"ECE", TcpFlags::ECE),
    (b"CWR", TcpFlags::CWR),
    (b"AE", TcpFlags::AE),
];

/// The words as they stood there.
#[derive(Default)]
struct Collected {
    sport: Option<u16>,
    dport: Option<u16>,
    length: Option<u16>,
    sequence: Option<u32>,
    window: Option<u16>,
    reserved: Option<u16>,
    flags: u16,
    urgent_pointer: Option<u16>,
    kind: Option<u8>,
    code: Option<u8>,
    incomplete: bool,
}

/// Reads to the end of the line.
pub(super) fn read(words: &mut Words<'_>, header: &Header, protocol: u8) -> Result<Transport, Reason> {
    let told = Collected::read(words)?;
    if !header.has_payload_start() {
        return Ok(Transport::Opaque);
    }
    let v6 = header.daddr.is_ipv6();
    match protocol {
        protocol::TCP => told.tcp(header),
        protocol::UDP | protocol::UDPLITE => told.udp(header, protocol),
        protocol::ICMP if !v6 => told.icmp(header),
        protocol::ICMPV6 if v6 => told.icmp(header),
        _ => Ok(Transport::Opaque),
    }
}

impl Collected {
    fn read(words: &mut Words<'_>) -> Result<Self, Reason> {
        let mut told = Self::default();
        while let Some(word) = words.next() {
            match key_value(word) {
                // The packet an ICMP error quotes, or "[n bytes]" after INCOMPLETE.
                _ if word.starts_with(b"[") => skip_brackets(word, words)?,
                (key, Some(value)) => told.value(key, value)?,
                (word, None) => told.word(word, words)?,
            }
        }
        Ok(told)
    }

    fn value(&mut self, key: &[u8], value: &[u8]) -> Result<(), Reason> {
        match key {
            b"SPT" => once(&mut self.sport, decimal(value, "SPT=")?, "SPT="),
            b"DPT" => once(&mut self.dport, decimal(value, "DPT=")?, "DPT="),
            b"LEN" => once(&mut self.length, decimal(value, "LEN=")?, "LEN="),
            b"SEQ" => once(&mut self.sequence, decimal(value, "SEQ=")?, "SEQ="),
            b"WINDOW" => once(&mut self.window, decimal(value, "WINDOW=")?, "WINDOW="),
            b"RES" => once(&mut self.reserved, reserved_bits(value)?, "RES="),
            b"URGP" => once(&mut self.urgent_pointer, decimal(value, "URGP=")?, "URGP="),
            b"TYPE" => once(&mut self.kind, decimal(value, "TYPE=")?, "TYPE="),
            b"CODE" => once(&mut self.code, decimal(value, "CODE=")?, "CODE="),
            b"IN" | b"SRC" | b"DST" => Err(Reason::TwoPackets),
            _ => Ok(()),
        }
    }

    fn word(&mut self, word: &[u8], words: &mut Words<'_>) -> Result<(), Reason> {
        match word {
            b"INCOMPLETE" => self.incomplete = true,
            b"OPT" => options(words)?,
            // URGP= ends them: what stands after it is no flag.
            flag if self.window.is_some() && self.urgent_pointer.is_none() => {
                let bit = FLAG_WORDS.iter().find(|(name, _)| *name == flag).map_or(0, |(_, bit)| *bit);
                self.flags |= bit;
            }
            _ => {}
        }
        Ok(())
    }

    /// `Missing`, unless the kernel said why it is.
    const fn missing(&self, word: &'static str) -> Reason {
        if self.incomplete { Reason::PacketTruncated } else { Reason::Missing(word) }
    }

    fn tcp(&self, header: &Header) -> Result<Transport, Reason> {
        let sport = self.sport.ok_or(self.missing("SPT="))?;
        let dport = self.dport.ok_or(self.missing("DPT="))?;
        let window = self.window.ok_or(self.missing("WINDOW="))?;
        // Without the word after the flags nobody knows whether they are all there.
        self.urgent_pointer.ok_or(Reason::LineTruncated)?;
        // ulogd writes the kernel's format without RES=.
        let flags = TcpFlags(self.flags | self.reserved.unwrap_or(0));
        (header.payload() >= TCP_HEADER).then_some(()).ok_or(Reason::Length)?;
        Ok(Transport::Tcp(Tcp { sport, dport, sequence: self.sequence, header_length: None, flags, window }))
    }

    fn udp(&self, header: &Header, protocol: u8) -> Result<Transport, Reason> {
        let sport = self.sport.ok_or(self.missing("SPT="))?;
        let dport = self.dport.ok_or(self.missing("DPT="))?;
        let length = self.length.ok_or(self.missing("LEN="))?;
        let claims = u32::from(length);
        // UDP-Lite has its checksum coverage there, where 0 means all (RFC 3828); a first fragment holds a part.
        let is_possible = match protocol {
            protocol::UDPLITE => length == 0 || claims >= UDP_HEADER,
            _ => claims >= UDP_HEADER && (header.fragment.is_some() || claims <= header.payload()),
        };
        (is_possible && header.payload() >= UDP_HEADER).then_some(()).ok_or(Reason::Length)?;
        Ok(Transport::Udp(Udp { sport, dport, length }))
    }

    fn icmp(&self, header: &Header) -> Result<Transport, Reason> {
        let kind = self.kind.ok_or(self.missing("TYPE="))?;
        let code = self.code.ok_or(self.missing("CODE="))?;
        (header.payload() >= ICMP_HEADER).then_some(()).ok_or(Reason::Length)?;
        Ok(Transport::Icmp(Icmp { kind, code }))
    }
}

fn reserved_bits(value: &[u8]) -> Result<u16, Reason> {
    let bits = value.strip_prefix(b"0x").and_then(hexadecimal).filter(|bits| bits & !RES_BITS == 0);
    bits.and_then(|bits| u16::try_from(bits << RES_SHIFT).ok()).ok_or(Reason::Value("RES="))
}

/// TCP options are not looked at; but a bracket that does not close shows that the line was cut, and `(TRUNCATED)` that
/// the data offset points beyond the packet.
fn options(words: &mut Words<'_>) -> Result<(), Reason> {
    match words.next() {
        Some(b"(TRUNCATED)") => Err(Reason::PacketTruncated),
        Some(word) if word.ends_with(b")") => Ok(()),
        _ => Err(Reason::LineTruncated),
    }
}

/// Skips to the bracket that closes what `first` opens. Brackets nest: the quoted packet may be INCOMPLETE.
fn skip_brackets(first: &[u8], words: &mut Words<'_>) -> Result<(), Reason> {
    let mut depth = 0_u32;
    let mut word = first;
    loop {
        for octet in word {
            match octet {
                b'[' => depth = depth.saturating_add(1),
                b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        if depth == 0 {
            return Ok(());
        }
        word = words.next().ok_or(Reason::LineTruncated)?;
    }
}
