//! Where a connection came in: the kernel notes interface and TTL of the segment that completed the handshake
//! (`mc_index` and `mc_ttl` in `tcp_v4_syn_recv_sock` of net/ipv4/tcp_ipv4.c, `mcast_oif` and `mcast_hops` in
//! `tcp_v6_syn_recv_sock` of net/ipv6/tcp_ipv6.c), and tells them as control messages in the value of `IP_PKTOPTIONS` (ip(7)
//! does not have it) and `IPV6_2292PKTOPTIONS` (RFC 2292).
//!
//! Both are asked of the accepted socket. Set on the listener they would have the kernel keep the SYN of every half-open
//! connection of IPv6 (`tcp_v6_init_req`), which is what a flood is made of.

#![expect(unsafe_code, reason = "rustix has none of these socket options")]

use std::os::fd::{AsRawFd as _, OwnedFd};

use rustix::net::netdevice::{self, InlinedName};

/// What is known of it: as much as the kernel told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Arrival {
    /// The interface it came in by.
    pub interface: Option<InlinedName>,
    /// The TTL or hop limit that was left.
    pub ttl: Option<u8>,
}

/// Asks the kernel about an accepted connection. What it does not tell is none.
pub(super) fn of(socket: &OwnedFd, v6: bool) -> Arrival {
    let (level, interface, ttl, all) = if v6 {
        (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, libc::IPV6_RECVHOPLIMIT, libc::IPV6_2292PKTOPTIONS)
    } else {
        (libc::IPPROTO_IP, libc::IP_PKTINFO, libc::IP_RECVTTL, libc::IP_PKTOPTIONS)
    };
    switch_on(socket, level, interface);
    switch_on(socket, level, ttl);
    let mut octets = [0; 256];
    let told = ask(socket, level, all, &mut octets);
    let mut arrival = Arrival::default();
    for (kind, data) in Messages(told) {
        match (v6, kind) {
            (false, libc::IP_PKTINFO) => arrival.interface = number(data, 0).and_then(|at| name(socket, at)),
            // struct in6_pktinfo: the address, then the index.
            (true, libc::IPV6_PKTINFO) => {
                arrival.interface = number(data, 16).and_then(|at| name(socket, at))
            }
            (false, libc::IP_TTL) | (true, libc::IPV6_HOPLIMIT) => {
                arrival.ttl = number(data, 0).and_then(|ttl| u8::try_from(ttl).ok());
            }
            _ => {}
        }
    }
    arrival
}

fn name(socket: &OwnedFd, index: u32) -> Option<InlinedName> {
    netdevice::index_to_name_inlined(socket, index).ok()
}

/// The C int at an offset.
fn number(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(data.get(at..)?.first_chunk().copied()?))
}

/// Control messages of any level: their types and data (`struct cmsghdr`, aligned as cmsg(3) says).
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = (libc::c_int, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        const LENGTH: usize = size_of::<usize>();
        const HEAD: usize = LENGTH + 2 * size_of::<libc::c_int>();
        let length = usize::from_ne_bytes(self.0.first_chunk().copied()?);
        let kind = libc::c_int::from_ne_bytes(self.0.get(HEAD - 4..)?.first_chunk().copied()?);
        let data = self.0.get(HEAD..length)?;
        self.0 = self.0.get(length.next_multiple_of(LENGTH)..).unwrap_or_default();
        Some((kind, data))
    }
}

/// Has the kernel tell something. Where it cannot, it is not told.
fn switch_on(socket: &OwnedFd, level: libc::c_int, option: libc::c_int) {
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of_val(&on)).unwrap_or_default();
    // SAFETY: the option's value is a C int, `on` is one and lives through the call, and `length` is its size.
    let _ = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const on).cast(), length) };
}

/// The control messages of a connection; none where the kernel has none.
fn ask<'a>(socket: &OwnedFd, level: libc::c_int, option: libc::c_int, octets: &'a mut [u8; 256]) -> &'a [u8] {
    let mut length = libc::socklen_t::try_from(octets.len()).unwrap_or_default();
    // SAFETY: `octets` is writable for `length` octets and both live through the call; the kernel writes no more than that
    // and puts into `length` how much it was.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, option, octets.as_mut_ptr().cast(), &raw mut length)
    };
    let told = usize::try_from(length).ok().filter(|_| result == 0).unwrap_or(0);
    octets.get(..told).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_control_message_is_passed_over() {
        for octets in [&[][..], &[1], &[0; 16], &[0xff; 32], &[16, 0, 0, 0, 0, 0, 0, 0]] {
            assert!(Messages(octets).take(3).count() <= 1, "{octets:?}");
        }
    }
}
