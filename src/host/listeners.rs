//! Ports that something listens on (`SOCK_DIAG_BY_FAMILY` of man 7 sock_diag; linux/inet_diag.h).

use std::collections::BTreeSet;
use std::io;

use super::dump;
use crate::netlink::Socket;
use crate::packet::protocol::{TCP, UDP};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// `1 << TCP_LISTEN` of net/tcp_states.h.
const LISTENING: u32 = 1 << 10;
/// Whatever state a UDP socket is in.
const ANY: u32 = u32::MAX;
/// Octets of `struct inet_diag_sockid`, all zero: any socket.
const SOCKID: usize = 48;

/// TCP ports that are listened on and UDP ports that take datagrams of anybody, with their protocol numbers, ascending.
/// On whichever address: who knows a port to be open learns nothing from probing another address of the host.
///
/// # Errors
/// When the kernel does not answer (`ENOENT` where it has no inet_diag).
pub fn listeners() -> io::Result<Vec<(u8, u16)>> {
    let socket = Socket::open(mnl::Bus::SockDiag, 0)?;
    let mut ports = BTreeSet::new();
    for (protocol, states) in [(TCP, LISTENING), (UDP, ANY)] {
        for family in [AF_INET, AF_INET6] {
            let mut request = vec![family, protocol, 0, 0];
            request.extend_from_slice(&states.to_ne_bytes());
            request.resize(request.len() + SOCKID, 0);
            dump(&socket, SOCK_DIAG_BY_FAMILY, &request, |message| {
                // struct inet_diag_msg: family, state, timer, retrans, then the ports in network byte order.
                let port =
                    |at: usize| message.payload.get(at..)?.first_chunk().copied().map(u16::from_be_bytes);
                // A UDP socket with a peer takes datagrams of that peer alone.
                if let (Some(local @ 1..), Some(0)) = (port(4), port(6)) {
                    ports.insert((protocol, local));
                }
            })?;
        }
    }
    Ok(ports.into_iter().collect())
}
