//! Which scanner sent the packets, where it gives itself away.
//!
//! [`Marks`] says of one packet whose fingerprint its headers bear; [`Signature`] counts the packets of an incident that
//! do, and names a tool where it is most of them and chance and other programs are out of the question. Once named it
//! stays: `nmap -A` goes on with many connections of the kernel's, and several can share an address. A name is a label
//! for people: nothing is decided on it, since any sender can wear or avoid a fingerprint.
//!
//! | tool | what its packets have | seen in |
//! |---|---|---|
//! | Mirai | TCP sequence number = destination address | its published source |
//! | masscan | identification = destination address xor port xor sequence number, lower 16 bits | 1.3.2 |
//! | ZMap | identification 54321, no DF, TTL begun at 255, source port ≥ 32768; window 65535 | 2.1.1 |
//! | nmap | window and options of its own, TTL drawn anew from 37–59 for each packet | 7.93 |
//!
//! Not named, because nothing in the headers is certain: ZMap from 4 on (draws its identification), hping3 (window 512
//! and no options, as in many a program of ten lines), nmap's connect scan (the kernel's own SYNs), anything over IPv6.

use std::net::IpAddr;

use crate::event::Tool;
use crate::packet::{Packet, Tcp, TcpFlags, Transport};

/// The identification of every packet of ZMap before version 4 (`make_ip_header` in src/probe_modules/packet.c).
const ZMAP_IDENTIFICATION: u16 = 54321;
/// Where the source ports of ZMap, and those a Linux kernel gives, begin.
const EPHEMERAL: u16 = 32768;
/// A packet that still has more hops than this left began with 255: other senders begin with 64 or 128.
const BEGUN_AT_128: u8 = 128;

/// The windows of nmap's port scans: 1024 since version 5, before that one of these.
const NMAP_WINDOWS: [u16; 4] = [1024, 2048, 3072, 4096];
/// The TTL of nmap's packets is drawn from 37–59, so those that arrive differ by at most this.
const NMAP_TTL_SPREAD: u32 = 59 - 37;
/// The highest of them.
const NMAP_TTL_MOST: u32 = 59;
/// So many different TTLs are no matter of routes or of several hosts behind one address, which make two or three.
const DRAWN_TTLS: u32 = 5;
/// The most hops a traceroute asks for unless told otherwise: mtr's datagrams are like nmap's in all but this.
const TRACEROUTE_TTL: u32 = 30;

/// How many packets, and how many ports or hosts, it takes to name masscan or ZMap. A random identification is the one
/// of masscan's formula once in 2^16; three times, for three ports or hosts, once in 2^48. That ZMap's stays the same
/// shows from the second packet on.
const LEAST: u64 = 3;
/// How many packets it takes to name nmap: eight TTLs drawn from 23 are fewer than [`DRAWN_TTLS`] different ones in less
/// than 1 case of 100. For TCP nmap's headers are needed besides.
const LEAST_NMAP: u64 = 8;

/// The tools whose fingerprint a packet bears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Marks(u8);

impl Marks {
    /// Of one packet, from its headers alone.
    #[must_use]
    pub(super) fn of(packet: &Packet) -> Self {
        let IpAddr::V4(daddr) = packet.daddr else { return Self(0) };
        let mark = |tool, bears| if bears { bit(tool) } else { 0 };
        let mut marks = mark(Tool::Zmap, zmap(packet)) | mark(Tool::Nmap, nmap(packet));
        // LOG text has sequence numbers with `--log-tcp-sequence` alone.
        if let Some(syn) = lone_syn(packet)
            && let Some(sequence) = syn.sequence
        {
            let daddr = daddr.to_bits();
            let masscan =
                |id| (daddr ^ u32::from(syn.dport) ^ sequence ^ u32::from(id)).trailing_zeros() >= 16;
            marks |= mark(Tool::Mirai, sequence == daddr)
                | mark(Tool::Masscan, packet.identification.is_some_and(masscan));
        }
        Self(marks)
    }

    /// As a number, to be kept.
    pub(super) const fn bits(self) -> u8 {
        self.0
    }

    pub(super) const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    const fn bears(self, tool: Tool) -> bool {
        self.0 & bit(tool) != 0
    }
}

const fn bit(tool: Tool) -> u8 {
    1 << tool as u8
}

/// The TCP header of a SYN that sets no other bit.
fn lone_syn(packet: &Packet) -> Option<&Tcp> {
    match &packet.transport {
        Transport::Tcp(tcp) if tcp.flags == TcpFlags(TcpFlags::SYN) => Some(tcp),
        _ => None,
    }
}

fn zmap(packet: &Packet) -> bool {
    let of_transport = || match packet.transport {
        Transport::Tcp(tcp) => {
            tcp.flags == TcpFlags(TcpFlags::SYN) && tcp.window == u16::MAX && tcp.sport >= EPHEMERAL
        }
        Transport::Udp(udp) => udp.sport >= EPHEMERAL,
        Transport::Icmp(_) => true,
        Transport::Opaque => false,
    };
    // Programs made after a widespread lesson on raw sockets have this identification too, and another TTL or window.
    packet.identification == Some(ZMAP_IDENTIFICATION)
        && of_transport()
        && !packet.dont_fragment
        && packet.ttl > BEGUN_AT_128
}

/// Whether a probe of nmap's OS detection has this header length and window ("TCP/IP Fingerprinting Methods Supported by
/// Nmap").
const fn is_nmap_os_probe(header: u32, window: u16) -> bool {
    match header {
        40 => matches!(window, 1 | 4 | 16 | 63 | 128 | 256 | 1024 | 31337 | 32768 | u16::MAX),
        36 => matches!(window, 4 | 512),
        32 => window == 3,
        _ => false,
    }
}

/// These headers others can have too; the TTLs decide ([`Signature::drawn_ttls`]).
fn nmap(packet: &Packet) -> bool {
    let payload = packet.length.saturating_sub(u32::from(packet.header_length));
    match packet.transport {
        Transport::Tcp(tcp) => {
            // LOG text does not tell it; then there must be no data.
            let header = tcp.header_length.map_or(payload, u32::from);
            let options = if tcp.flags.any(TcpFlags::SYN) { 4 } else { 0 };
            (NMAP_WINDOWS.contains(&tcp.window) && header == 20 + options && !packet.dont_fragment)
                || is_nmap_os_probe(header, tcp.window)
        }
        Transport::Udp(_) => !packet.dont_fragment,
        // Nothing but what the type of message has to have, 20 octets in a timestamp request.
        Transport::Icmp(_) => !packet.dont_fragment && payload <= 20,
        Transport::Opaque => !packet.dont_fragment && payload == 0,
    }
}

/// How many packets of an incident bear which marks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signature {
    packets: u64,
    /// In the order of [`Tool::ALL`].
    bearing: [u64; Tool::ALL.len()],
    /// The TTLs of those that bear nmap's, a bit for each; from 63 on all are one.
    ttls: u64,
    /// What has been certain once.
    named: Option<Tool>,
}

impl Signature {
    /// Of no packet yet.
    pub(super) const fn new() -> Self {
        Self { packets: 0, bearing: [0; Tool::ALL.len()], ttls: 0, named: None }
    }

    /// Adds a packet. `targets` is how many ports or hosts there are with it, whichever is more, `sources` how many
    /// addresses.
    pub(super) fn add(&mut self, marks: Marks, ttl: u8, targets: u64, sources: u64) {
        self.packets = self.packets.saturating_add(1);
        for (bearing, tool) in self.bearing.iter_mut().zip(Tool::ALL) {
            *bearing = bearing.saturating_add(u64::from(marks.bears(tool)));
        }
        if marks.bears(Tool::Nmap) {
            self.ttls |= 1 << ttl.min(63);
        }
        // Now and then is often enough.
        if self.packets.is_power_of_two() {
            self.settle(targets, sources);
        }
    }

    /// The tool, where it is certain.
    pub(super) fn tool(&self, targets: u64, sources: u64) -> Option<Tool> {
        let bearing = |tool: Tool| self.bearing.get(tool as usize).copied().unwrap_or(0);
        let certain = |tool: &Tool| self.is_certain(*tool, bearing(*tool), targets, sources);
        self.named.or_else(|| Tool::ALL.into_iter().find(certain))
    }

    fn is_certain(&self, tool: Tool, bearing: u64, targets: u64, sources: u64) -> bool {
        let enough = match tool {
            // One sequence number in 2^32 is the address by chance.
            Tool::Mirai => true,
            Tool::Masscan | Tool::Zmap => bearing.min(targets) >= LEAST,
            Tool::Nmap => bearing >= LEAST_NMAP && targets >= LEAST && sources == 1 && self.drawn_ttls(),
        };
        enough && bearing > self.packets / 2
    }

    /// Keeps the name, where there is one: what was told stays.
    pub(super) fn settle(&mut self, targets: u64, sources: u64) {
        self.named = self.tool(targets, sources);
    }

    /// Whether each packet's TTL was drawn as nmap does.
    fn drawn_ttls(&self) -> bool {
        let (least, most) = (self.ttls.trailing_zeros(), self.ttls.checked_ilog2().unwrap_or(0));
        self.ttls.count_ones() >= DRAWN_TTLS
            && most.saturating_sub(least) <= NMAP_TTL_SPREAD
            && (TRACEROUTE_TTL + 1..=NMAP_TTL_MOST).contains(&most)
    }
}

#[cfg(test)]
#[path = "tool_tests.rs"]
mod tests;
