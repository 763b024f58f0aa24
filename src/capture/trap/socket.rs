//! The listening sockets.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::sockopt::{
    ip_original_dst, ipv6_original_dst, set_ipv6_v6only, set_socket_recv_buffer_size, set_socket_reuseaddr,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, acceptfrom_with, bind, listen, socket_with};

use super::arrival::{self, Arrival};

/// Connections that may wait to be accepted; the kernel cuts it to net.core.somaxconn.
const BACKLOG: i32 = 4096;
/// Octets that a client may send before the kernel holds it up; nothing of it is ever read.
const RECEIVE_BUFFER: usize = 2048;

/// A listening socket of one family.
#[derive(Debug)]
pub(super) struct Listener(OwnedFd);

/// A connection whose handshake is complete.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) socket: OwnedFd,
    pub(super) source: SocketAddr,
    /// Where it was sent to before any translation; none where conntrack does not know it.
    pub(super) original: Option<SocketAddr>,
    /// What the kernel knows of the segment that completed the handshake.
    pub(super) arrival: Arrival,
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Listens on `port` at all addresses. Of either family by itself, as the original destination of an IPv4 connection
/// cannot be asked of an IPv6 socket.
pub(super) fn listeners(port: u16) -> io::Result<Vec<Listener>> {
    let mut listeners = vec![Listener::open(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).into())?];
    match Listener::open(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0).into()) {
        Ok(listener) => listeners.push(listener),
        // ipv6.disable=1, and ipv6.disable_ipv6=1.
        Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(listeners)
}

impl Listener {
    fn open(address: SocketAddr) -> Result<Self, Errno> {
        let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(family, SocketType::STREAM, flags, None)?;
        if address.is_ipv6() {
            set_ipv6_v6only(&socket, true)?;
        }
        // Connections of an earlier run may still be closing.
        set_socket_reuseaddr(&socket, true)?;
        set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER)?;
        bind(&socket, &address)?;
        listen(&socket, BACKLOG)?;
        let listener = Self(socket);
        listener.switch_off_fast_open()?;
        // What came in between may have come by it.
        while !matches!(listener.accept(), Ok(None)) {}
        Ok(listener)
    }

    /// The next connection. `None` while there is none.
    pub(super) fn accept(&self) -> Result<Option<Connection>, Errno> {
        // Not getpeername(2), which knows nothing of a connection that has been reset since (connect scans do that).
        let (socket, source) = match acceptfrom_with(&self.0, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok((socket, Some(source))) => (socket, SocketAddr::try_from(source)?),
            Ok((_, None)) => return Err(Errno::NOTCONN),
            Err(Errno::AGAIN) => return Ok(None),
            Err(error) => return Err(error),
        };
        let original = match source {
            SocketAddr::V4(_) => ip_original_dst(&socket).ok().map(SocketAddr::from),
            SocketAddr::V6(_) => ipv6_original_dst(&socket).ok().map(SocketAddr::from),
        };
        let arrival = arrival::of(&socket, source.is_ipv6());
        Ok(Some(Connection { socket, source, original, arrival }))
    }

    /// net.ipv4.tcp_fastopen may have it on for every socket that does not say otherwise (bit 0x400). That is decided in
    /// listen(2), so the option must come after it (`__inet_listen_sk` in net/ipv4/af_inet.c).
    fn switch_off_fast_open(&self) -> Result<(), Errno> {
        let off: libc::c_int = 0;
        let length = libc::socklen_t::try_from(size_of_val(&off)).unwrap_or_default();
        // SAFETY: the option's value is a C int, `off` is one and lives through the call, and `length` is its size.
        #[expect(unsafe_code, reason = "rustix has no TCP_FASTOPEN")]
        let result = unsafe {
            libc::setsockopt(
                self.0.as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_FASTOPEN,
                std::ptr::from_ref(&off).cast(),
                length,
            )
        };
        if result == 0 {
            Ok(())
        } else {
            Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO))
        }
    }
}
