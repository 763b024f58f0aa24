//! Ports that something listens on.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;

use super::diag::{States, each_socket};
use crate::netlink::Socket;
use crate::packet::protocol::{TCP, UDP};

/// TCP ports that are listened on and UDP ports that take datagrams of anybody, with their protocol numbers, ascending.
/// On whichever address: who knows a port to be open learns nothing from probing another address of the host.
///
/// # Errors
/// When the kernel does not answer (`ENOENT` where it has no inet_diag).
pub fn listeners() -> io::Result<Vec<(u8, u16)>> {
    let netlink = Socket::open(mnl::Bus::SockDiag, 0)?;
    let mut ports = BTreeSet::new();
    for (protocol, states) in [(TCP, States::LISTENING), (UDP, States::ANY)] {
        each_socket(&netlink, protocol, states, |socket| {
            // A UDP socket with a peer takes datagrams of that peer alone.
            if socket.local.port() != 0 && socket.remote.port() == 0 {
                ports.insert((protocol, socket.local.port()));
            }
        })?;
    }
    Ok(ports.into_iter().collect())
}

/// The sockets that TCP is listened on with, as address and port, in no order.
///
/// # Errors
/// As [`listeners`].
pub fn tcp_listeners() -> io::Result<Vec<SocketAddr>> {
    let netlink = Socket::open(mnl::Bus::SockDiag, 0)?;
    let mut sockets = Vec::new();
    each_socket(&netlink, TCP, States::LISTENING, |socket| sockets.push(socket.local))?;
    Ok(sockets)
}
