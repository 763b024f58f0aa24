//! One line of kernel LOG text (iptables LOG, nft `log`, UFW, firewalld) becomes an [`Observation`].
//!
//! A line is an onion. Outside, the carrier: syslog, the journal in any of its output forms, dmesg, or nothing
//! (`carrier`, `journal`). Then the prefix the administrator gave the rule (`prefix`). Inside, the words that
//! net/netfilter/nf_log_syslog.c wrote (`words`). [`Lines`] cuts input into lines, [`Decoder`] reads a line,
//! [`LineClock`] makes an instant of the time that was written on it.
//!
//! Whoever can write into a log can write such a line: only what the carrier says came from the kernel counts, so
//! that a user name or an URL quoted by another program is never taken for a packet.

#![forbid(unsafe_code)]

mod carrier;
mod journal;
mod lines;
mod prefix;
mod quote;
mod scan;
mod time;
mod words;

pub use lines::{Line, Lines, MAX_LINE};
pub use time::{DEFAULT_YEAR, LineClock, LineTime};

use crate::packet::{Observation, Verdict};

use carrier::Carried;
use prefix::Meaning;

/// A packet that a LOG line told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Logged<'a> {
    /// The packet, its verdict taken from the prefix.
    pub observation: Observation<'a>,
    /// The time on the line, for [`LineClock::wall_us`].
    pub time: Option<LineTime>,
}

/// What became of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// A packet and what the firewall did with it.
    Decoded(Logged<'a>),
    /// A packet whose line says nothing of what the firewall did (`[UFW AUDIT]`, `TRACE:`): counted, never evidence.
    /// The verdict inside has no meaning.
    NoEvidence(Logged<'a>),
    /// No IP packet in it: another program's line, another kernel message, ARP, a blank line.
    NotOurs,
    /// It tells of a packet and cannot be understood; nothing of it is used.
    Malformed(Reason),
}

/// Why a line with a packet in it is not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
pub enum Reason {
    /// Longer than [`MAX_LINE`].
    #[error("the line is longer than 64 KiB")]
    TooLong,
    /// It begins like a journal entry and is no JSON object.
    #[error("a journal entry that is not valid JSON")]
    Json,
    /// Nothing of a log in it: no time, no program, no packet.
    #[error("not a line of a log")]
    NotALog,
    /// SRC= and DST=, but not the IN= and OUT= the kernel begins with.
    #[error("SRC= and DST= without IN= and OUT= before them")]
    NoInterfaces,
    /// A second packet in the same line.
    #[error("two packets in one line")]
    TwoPackets,
    /// A word that must be there is not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A word that the kernel writes once stands there twice.
    #[error("{0} stands there twice")]
    Repeated(&'static str),
    /// A value that is no number, or out of its field's range.
    #[error("the value of {0} cannot be")]
    Value(&'static str),
    /// Source and destination of different families, or a protocol of the other family.
    #[error("IPv4 and IPv6 in one packet")]
    MixedFamilies,
    /// The packet ended before its headers did, and the kernel says so (TRUNCATED, INCOMPLETE).
    #[error("the packet was cut off inside its headers")]
    PacketTruncated,
    /// The line ended before the packet's words did.
    #[error("the line was cut off")]
    LineTruncated,
    /// The kernel quotes in a message of its own what somebody told it.
    #[error("quoted by another message of the kernel")]
    Quoted,
    /// A length that contradicts another one.
    #[error("the lengths contradict each other")]
    Length,
}

/// Reads lines. Holds only a buffer for journal entries whose message has escapes in it.
#[derive(Debug, Default)]
pub struct Decoder {
    message: Vec<u8>,
}

impl Decoder {
    /// A decoder; one serves any number of lines in any mixture of carriers.
    #[must_use]
    pub const fn new() -> Self {
        Self { message: Vec::new() }
    }

    /// Reads a line of [`Lines`].
    pub fn decode_line<'a>(&'a mut self, line: Line<'a>) -> Outcome<'a> {
        line.text.map_or(Outcome::Malformed(Reason::TooLong), |text| self.decode(text))
    }

    /// Reads one line, with or without its line end. Takes any octets.
    pub fn decode<'a>(&'a mut self, line: &'a [u8]) -> Outcome<'a> {
        let line = lines::trim(line);
        // journalctl -o json-seq begins each entry with the record separator (RFC 7464).
        let line = line.strip_prefix(b"\x1e").unwrap_or(line);
        let carried = if line.first() == Some(&b'{') {
            match journal::split(line, &mut self.message) {
                Ok(carried) => carried,
                Err(reason) if tells_of_a_packet(line) => return Outcome::Malformed(reason),
                Err(_) => return Outcome::Malformed(Reason::NotALog),
            }
        } else {
            carrier::split(line)
        };
        match carried {
            Carried::Kernel { time, message } => kernel_message(time, message),
            Carried::OtherProgram => Outcome::NotOurs,
        }
    }
}

/// Reads what the kernel itself printed: prefix and packet.
fn kernel_message(time: Option<LineTime>, message: &[u8]) -> Outcome<'_> {
    let Some((prefix, words)) = words::split(message) else {
        return match tells_of_a_packet(message) {
            true => Outcome::Malformed(Reason::NoInterfaces),
            false if time.is_none() && !is_between_entries(message) => Outcome::Malformed(Reason::NotALog),
            false => Outcome::NotOurs,
        };
    };
    if names_a_process(prefix) {
        return Outcome::NotOurs;
    }
    if quote::is_quoted(prefix, words) {
        return Outcome::Malformed(Reason::Quoted);
    }
    let told = match words::read(words) {
        Ok(Some(told)) => told,
        Ok(None) => return Outcome::NotOurs,
        Err(reason) => return Outcome::Malformed(reason),
    };
    let (verdict, is_evidence) = match prefix::meaning(prefix, &told) {
        Meaning::Verdict(verdict) => (verdict, true),
        Meaning::NoEvidence => (Verdict::Undecided, false),
    };
    let words::Told { packet, pkttype, iif, oif } = told;
    let logged =
        Logged { observation: Observation { packet, verdict, pkttype, iif, oif, prefix, fault: None }, time };
    if is_evidence { Outcome::Decoded(logged) } else { Outcome::NoEvidence(logged) }
}

/// A blank line, or one of journalctl's own such as `-- Boot 1f2e… --`.
fn is_between_entries(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    line.is_empty() || (line.starts_with(b"-- ") && line.ends_with(b" --"))
}

/// Whether a program with its process id stands there, as in `sshd[123]: `: another program's line in a carrier that is
/// not known. The kernel has no process id, and a LOG prefix no reason to look like that.
fn names_a_process(prefix: &[u8]) -> bool {
    prefix.windows(2).enumerate().filter(|(_, window)| *window == b"]:").any(|(end, _)| {
        let before = prefix.get(..end).unwrap_or_default();
        let digits = before.iter().rev().take_while(|octet| octet.is_ascii_digit()).count();
        digits > 0 && before.iter().rev().nth(digits) == Some(&b'[') && before.len() > digits + 1
    })
}

/// Whether both addresses are named as the kernel names them, each at the beginning of a word.
fn tells_of_a_packet(text: &[u8]) -> bool {
    let names = |word: &[u8]| text.windows(word.len()).any(|window| window == word);
    names(b" SRC=") && names(b" DST=")
}
