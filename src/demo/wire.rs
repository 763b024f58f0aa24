//! The packets the attacker makes by hand: a TCP segment without options, and an echo request.

#![forbid(unsafe_code)]

use std::net::{IpAddr, SocketAddr};

/// FIN, SYN and so on, as octet 13 of the TCP header holds them (RFC 9293 section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flags(pub(super) u8);

impl Flags {
    pub(super) const NULL: Self = Self(0);
    pub(super) const SYN: Self = Self(0x02);
    pub(super) const SYN_ACK: Self = Self(0x12);
    pub(super) const RST: Self = Self(0x04);

    pub(super) const fn has(self, all: Self) -> bool {
        self.0 & all.0 == all.0
    }
}

const TCP: u8 = 6;
const TCP_HEADER: usize = 20;

/// A segment of nothing but its header, checksum included.
pub(super) fn segment(from: SocketAddr, to: SocketAddr, sequence: u32, flags: Flags) -> [u8; TCP_HEADER] {
    const WINDOW: u16 = 1024;
    let with = |checksum: u16| {
        let [s0, s1] = from.port().to_be_bytes();
        let [d0, d1] = to.port().to_be_bytes();
        let [q0, q1, q2, q3] = sequence.to_be_bytes();
        let [w0, w1] = WINDOW.to_be_bytes();
        let [c0, c1] = checksum.to_be_bytes();
        // The data offset counts words of 32 bits.
        let offset = 5 << 4;
        [s0, s1, d0, d1, q0, q1, q2, q3, 0, 0, 0, 0, offset, flags.0, w0, w1, c0, c1, 0, 0]
    };
    let mut sum = Sum::default();
    sum.address(from.ip());
    sum.address(to.ip());
    // The end of the pseudo header is the same for both families: length and protocol (RFC 9293 section 3.1, RFC 8200
    // section 8.1).
    sum.octets(&[0, TCP, 0, 20]);
    sum.octets(&with(0));
    with(sum.checksum())
}

/// What a segment says that has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) from_port: u16,
    pub(super) to_port: u16,
    pub(super) flags: Flags,
}

/// Reads what a raw TCP socket delivers: with the IPv4 header in front, without an IPv6 one (raw(7), ipv6(7)).
pub(super) fn answer(packet: &[u8], ipv6: bool) -> Option<Answer> {
    match payload(packet, ipv6)? {
        &[s0, s1, d0, d1, _, _, _, _, _, _, _, _, _, flags, ..] => Some(Answer {
            from_port: u16::from_be_bytes([s0, s1]),
            to_port: u16::from_be_bytes([d0, d1]),
            flags: Flags(flags),
        }),
        _ => None,
    }
}

/// An echo request; over IPv6 the kernel fills in the checksum (RFC 3542 section 3.1).
pub(super) fn echo_request(ipv6: bool, identifier: u16) -> [u8; 8] {
    let kind = if ipv6 { 128 } else { 8 };
    let [i0, i1] = identifier.to_be_bytes();
    let with = |[c0, c1]: [u8; 2]| [kind, 0, c0, c1, i0, i1, 0, 1];
    if ipv6 {
        return with([0, 0]);
    }
    let mut sum = Sum::default();
    sum.octets(&with([0, 0]));
    with(sum.checksum().to_be_bytes())
}

/// Whether a raw ICMP socket delivers the reply to the echo request with `identifier`.
pub(super) fn is_echo_reply(packet: &[u8], ipv6: bool, identifier: u16) -> bool {
    let reply = if ipv6 { 129 } else { 0 };
    let [i0, i1] = identifier.to_be_bytes();
    matches!(payload(packet, ipv6), Some(&[kind, 0, _, _, a, b, ..]) if (kind, a, b) == (reply, i0, i1))
}

fn payload(packet: &[u8], ipv6: bool) -> Option<&[u8]> {
    if ipv6 {
        return Some(packet);
    }
    let header = usize::from(packet.first()? & 0x0f) * 4;
    packet.get(header..)
}

/// The Internet checksum (RFC 1071).
#[derive(Default)]
struct Sum(u32);

impl Sum {
    /// Adds an even number of octets.
    fn octets(&mut self, octets: &[u8]) {
        for pair in octets.chunks_exact(2) {
            if let &[high, low] = pair {
                self.0 += u32::from(u16::from_be_bytes([high, low]));
            }
        }
    }

    fn address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(four) => self.octets(&four.octets()),
            IpAddr::V6(six) => self.octets(&six.octets()),
        }
    }

    fn checksum(&self) -> u16 {
        let folded = (self.0 & 0xffff) + (self.0 >> 16);
        let [_, _, high, low] = (folded + (folded >> 16)).to_be_bytes();
        !u16::from_be_bytes([high, low])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Summing a right packet with its checksum gives all ones, which is what a receiver looks at.
    fn verifies(sum: &Sum) -> bool {
        sum.checksum() == 0
    }

    #[test]
    fn a_segment_carries_its_ports_and_flags_and_a_checksum_that_verifies() {
        for (from, to) in
            [("198.51.100.7:40000", "192.0.2.1:22"), ("[2001:db8:bad::7]:65535", "[2001:db8:1::1]:65535")]
        {
            let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
            let octets = segment(from, to, 0xffff_ffff, Flags::SYN);
            let mut sum = Sum::default();
            sum.address(from.ip());
            sum.address(to.ip());
            sum.octets(&[0, TCP, 0, 20]);
            sum.octets(&octets);
            assert!(verifies(&sum), "{from} {to}");
            assert_eq!(
                answer(&octets, true),
                Some(Answer { from_port: from.port(), to_port: to.port(), flags: Flags::SYN })
            );
        }
    }

    #[test]
    fn an_ipv4_packet_is_read_behind_its_header_and_options() {
        let mut packet = vec![0; 24];
        packet[0] = 0x46;
        packet.extend(segment(
            "192.0.2.1:22".parse().unwrap(),
            "198.51.100.7:40000".parse().unwrap(),
            1,
            Flags::SYN_ACK,
        ));
        let answer = answer(&packet, false).unwrap();
        assert_eq!((answer.from_port, answer.to_port), (22, 40000));
        assert!(answer.flags.has(Flags::SYN_ACK) && !answer.flags.has(Flags::RST));
    }

    #[test]
    fn an_echo_request_is_no_reply_and_only_its_own_reply_is() {
        let request = echo_request(false, 0x1234);
        let mut sum = Sum::default();
        sum.octets(&request);
        assert!(verifies(&sum));
        let mut packet = vec![0; 20];
        packet[0] = 0x45;
        packet.extend(request);
        assert!(!is_echo_reply(&packet, false, 0x1234));
        packet[20] = 0;
        assert!(is_echo_reply(&packet, false, 0x1234));
        assert!(!is_echo_reply(&packet, false, 0x1235));
        assert!(is_echo_reply(&[129, 0, 0, 0, 0x12, 0x34], true, 0x1234));
    }

    #[test]
    fn what_is_too_short_is_no_answer() {
        for length in 0..20 {
            assert_eq!(answer(&vec![0x45; length], false), None);
            assert!(!is_echo_reply(&vec![0x45; length], false, 0x4545));
        }
    }
}
