//! TCP and UDP sockets of this network namespace (`SOCK_DIAG_BY_FAMILY` of man 7 sock_diag; linux/inet_diag.h).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::dump;
use crate::netlink::{Message, Socket};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// Octets of `struct inet_diag_sockid`, all zero: any socket.
const SOCKID: usize = 48;

/// The states of net/tcp_states.h, as the bits that a request has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct States(u32);

impl States {
    /// `1 << TCP_SYN_SENT`: connecting, and nothing has answered.
    pub(super) const CONNECTING: Self = Self(1 << 2);
    /// `1 << TCP_LISTEN`.
    pub(super) const LISTENING: Self = Self(1 << 10);
    /// Whatever state a UDP socket is in.
    pub(super) const ANY: Self = Self(u32::MAX);
}

/// One socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InetSocket {
    /// Our end. An IPv4 address that an IPv6 socket has is told as IPv4.
    pub(super) local: SocketAddr,
    /// The other end; port 0 where the socket has no peer.
    pub(super) remote: SocketAddr,
    /// The user who made it.
    pub(super) uid: u32,
    /// Its number in the file system of sockets; 0 once no process has it any more.
    pub(super) inode: u64,
}

/// Asks for the sockets of both families.
///
/// # Errors
/// When the kernel does not answer (`ENOENT` where it has no inet_diag).
pub(super) fn each_socket(
    netlink: &Socket,
    protocol: u8,
    states: States,
    mut each: impl FnMut(InetSocket),
) -> io::Result<()> {
    for family in [AF_INET, AF_INET6] {
        let mut request = vec![family, protocol, 0, 0];
        request.extend_from_slice(&states.0.to_ne_bytes());
        request.resize(request.len() + SOCKID, 0);
        dump(netlink, SOCK_DIAG_BY_FAMILY, &request, |message| {
            if let Some(socket) = inet_socket(message) {
                each(socket);
            }
        })?;
    }
    Ok(())
}

/// `struct inet_diag_msg`: family, state, timer, retrans, then from octet 4 the ports and addresses in network byte order;
/// user and inode at the end.
fn inet_socket(message: Message<'_>) -> Option<InetSocket> {
    let octets = message.payload;
    let port = |at: usize| octets.get(at..)?.first_chunk().copied().map(u16::from_be_bytes);
    let word = |at: usize| octets.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes);
    let address = |at: usize| match octets.first() {
        Some(&AF_INET) => octets.get(at..)?.first_chunk::<4>().map(|&four| Ipv4Addr::from(four).into()),
        _ => {
            let six = octets.get(at..)?.first_chunk::<16>().map(|&six| IpAddr::from(Ipv6Addr::from(six)));
            six.map(|address| address.to_canonical())
        }
    };
    Some(InetSocket {
        local: SocketAddr::new(address(8)?, port(4)?),
        remote: SocketAddr::new(address(24)?, port(6)?),
        uid: word(64)?,
        inode: word(68)?.into(),
    })
}
