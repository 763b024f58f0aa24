//! Packets as octets: IP headers with what follows, as far as a firewall's log shows of them (`snaplen 128`).
//!
//! Checksums are zero: nothing that reads a capture of NFLOG asks for them.

use std::net::IpAddr;

use nfban::packet::{Pkttype, TcpFlags, Verdict};

/// The first octets of a packet: at most IPv6 (40), a fragment header (8) and TCP with all its options (40).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Octets {
    length: u8,
    octets: [u8; 88],
}

impl Octets {
    const fn new() -> Self {
        Self { length: 0, octets: [0; 88] }
    }

    fn push(&mut self, more: &[u8]) {
        let from = usize::from(self.length);
        self.octets[from..from + more.len()].copy_from_slice(more);
        self.length += more.len() as u8;
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.octets[..usize::from(self.length)]
    }
}

/// What every packet has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ip {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) ttl: u8,
    pub(crate) id: u16,
    pub(crate) df: bool,
}

/// The place of a fragment: offset and length in octets of the payload.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    pub(crate) id: u32,
    pub(crate) offset: u16,
    pub(crate) length: u16,
    pub(crate) more: bool,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Tcp {
    pub(crate) sport: u16,
    pub(crate) dport: u16,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u16,
    pub(crate) window: u16,
    pub(crate) options: &'static [u8],
}

/// MSS, SACK, timestamps, window scale: connect() of Linux and of most others.
pub(crate) const OPTIONS_UNIX: &[u8] =
    &[2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0x12, 0x34, 0x56, 0, 0, 0, 0, 1, 3, 3, 7];
/// MSS, window scale, SACK: connect() of Windows.
pub(crate) const OPTIONS_WINDOWS: &[u8] = &[2, 4, 5, 0xb4, 1, 3, 3, 8, 1, 1, 4, 2];
/// MSS alone: small embedded stacks, and nmap's own SYNs.
pub(crate) const OPTIONS_MSS: &[u8] = &[2, 4, 5, 0xb4];
/// Timestamps of an established connection.
pub(crate) const OPTIONS_LATE: &[u8] = &[1, 1, 8, 10, 0, 0x12, 0x34, 0x56, 0, 0x65, 0x43, 0x21];

impl Ip {
    /// The IP header, before a payload of `length` octets.
    fn header(&self, protocol: u8, length: u16, cut: Option<Cut>) -> Octets {
        let mut octets = Octets::new();
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let id = cut.map_or(self.id, |cut| cut.id as u16);
                let mut fragment = if self.df { 0x4000 } else { 0 };
                if let Some(cut) = cut {
                    fragment = (cut.offset / 8) | if cut.more { 0x2000 } else { 0 };
                }
                octets.push(&[0x45, 0]);
                octets.push(&length.saturating_add(20).to_be_bytes());
                octets.push(&id.to_be_bytes());
                octets.push(&fragment.to_be_bytes());
                octets.push(&[self.ttl, protocol, 0, 0]);
                octets.push(&src.octets());
                octets.push(&dst.octets());
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let extra = if cut.is_some() { 8 } else { 0 };
                octets.push(&[0x60, 0, 0, 0]);
                octets.push(&(length + extra).to_be_bytes());
                octets.push(&[if cut.is_some() { 44 } else { protocol }, self.ttl]);
                octets.push(&src.octets());
                octets.push(&dst.octets());
                if let Some(cut) = cut {
                    octets.push(&[protocol, 0]);
                    octets.push(&(cut.offset & !7 | u16::from(cut.more)).to_be_bytes());
                    octets.push(&cut.id.to_be_bytes());
                }
            }
            families => panic!("{families:?} are of two families"),
        }
        octets
    }

    pub(crate) fn tcp(&self, tcp: Tcp) -> Octets {
        let header = 20 + tcp.options.len() as u16;
        let mut octets = self.header(6, header, None);
        tcp.write(&mut octets);
        octets
    }

    /// A datagram with `data` octets, which are left out.
    pub(crate) fn udp(&self, sport: u16, dport: u16, data: u16) -> Octets {
        let mut octets = self.header(17, data + 8, None);
        for field in [sport, dport, data + 8, 0] {
            octets.push(&field.to_be_bytes());
        }
        octets
    }

    /// ICMP or, between IPv6 addresses, ICMPv6, with `data` octets behind the first eight.
    pub(crate) fn icmp(&self, kind: u8, code: u8, data: u16) -> Octets {
        let protocol = if self.src.is_ipv4() { 1 } else { 58 };
        let mut octets = self.header(protocol, data + 8, None);
        octets.push(&[kind, code, 0, 0, 0, 0, 0, 1]);
        octets
    }

    /// Any other protocol, with `data` octets.
    pub(crate) fn protocol(&self, number: u8, data: u16) -> Octets {
        let mut octets = self.header(number, data, None);
        octets.push(&[0; 16][..usize::from(data).min(16)]);
        octets
    }

    /// A fragment of a datagram of `whole` octets; the first one begins with the UDP header.
    pub(crate) fn udp_fragment(&self, (sport, dport): (u16, u16), whole: u16, cut: Cut) -> Octets {
        let mut octets = self.header(17, cut.length, Some(cut));
        if cut.offset == 0 {
            for field in [sport, dport, whole, 0] {
                octets.push(&field.to_be_bytes());
            }
        } else {
            octets.push(&[0; 8]);
        }
        octets
    }

    /// A fragment of an echo request, not the first.
    pub(crate) fn echo_fragment(&self, cut: Cut) -> Octets {
        let mut octets = self.header(1, cut.length, Some(cut));
        octets.push(&[8, 0, 0, 0, 0, 1, 0, 1]);
        octets
    }

    /// A fragment of a TCP segment that has no data: so many octets of its header as the cut is long.
    pub(crate) fn tcp_fragment(&self, tcp: Tcp, cut: Cut) -> Octets {
        let mut whole = Octets::new();
        tcp.write(&mut whole);
        let from = usize::from(cut.offset);
        let mut octets = self.header(6, cut.length, Some(cut));
        octets.push(&whole.as_slice()[from..from + usize::from(cut.length)]);
        octets
    }
}

impl Tcp {
    fn write(&self, octets: &mut Octets) {
        octets.push(&self.sport.to_be_bytes());
        octets.push(&self.dport.to_be_bytes());
        octets.push(&self.seq.to_be_bytes());
        octets.push(&self.ack.to_be_bytes());
        let offset = (20 + self.options.len() as u16) / 4;
        octets.push(&(offset << 12 | self.flags).to_be_bytes());
        octets.push(&self.window.to_be_bytes());
        octets.push(&[0; 4]);
        octets.push(self.options);
    }
}

/// Who makes a SYN, as far as its headers tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Linux,
    Windows,
    /// MSS only, and no DF.
    Embedded,
    Nmap,
    Masscan,
    Zmap,
    Mirai,
}

impl Style {
    /// A SYN from `src` to `dst`; `number` decides what differs from packet to packet.
    pub(crate) fn syn(self, (src, sport): (IpAddr, u16), (dst, dport): (IpAddr, u16), number: u64) -> Octets {
        let [n0, n1, n2, n3, n4, n5, ..] = number.to_be_bytes();
        let (seq, mut id) = (u32::from_be_bytes([n0, n1, n2, n3]), u16::from_be_bytes([n4, n5]));
        let mut seq = seq;
        // As many hops as the source is away, always.
        let hops = match src {
            IpAddr::V4(src) => src.octets()[1] % 14 + 6,
            IpAddr::V6(src) => src.octets()[5] % 14 + 6,
        };
        let to = match dst {
            IpAddr::V4(dst) => u32::from(dst),
            IpAddr::V6(dst) => u128::from(dst) as u32,
        };
        let (begun, df, window, options) = match self {
            Self::Linux => (64, true, 64240, OPTIONS_UNIX),
            Self::Windows => (128, true, 64240, OPTIONS_WINDOWS),
            Self::Embedded => (64, false, 5840, OPTIONS_MSS),
            Self::Nmap => (37 + n0 % 23 + hops, false, 1024, OPTIONS_MSS),
            Self::Masscan => (255, false, 1024, &[][..]),
            Self::Zmap => (255, false, 65535, &[][..]),
            Self::Mirai => (64, false, u16::from_be_bytes([n2, n3]), &[][..]),
        };
        match self {
            Self::Masscan => id = (to ^ u32::from(dport) ^ seq) as u16,
            Self::Zmap => id = 54321,
            Self::Mirai => seq = to,
            _ => {}
        }
        let ip = Ip { src, dst, ttl: begun - hops, id, df };
        ip.tcp(Tcp { sport, dport, seq, ack: 0, flags: TcpFlags::SYN, window, options })
    }
}

/// A packet on its way into the capture.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parcel {
    /// Microseconds since the week began.
    pub(crate) at: u64,
    pub(crate) verdict: Verdict,
    pub(crate) pkttype: Pkttype,
    /// Which kind of traffic it belongs to.
    pub(crate) kind: u16,
    pub(crate) octets: Octets,
}
