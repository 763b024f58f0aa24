//! Noticing that [`super::HostFacts`] have changed.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use crate::netlink::Socket;

/// `RTMGRP_*` of linux/rtnetlink.h, and `RTNLGRP_NEXTHOP`, which has the last bit there is.
const GROUPS: u32 = RTMGRP_LINK
    | RTMGRP_IPV4_IFADDR
    | RTMGRP_IPV4_ROUTE
    | RTMGRP_IPV6_IFADDR
    | RTMGRP_IPV6_ROUTE
    | RTMGRP_NEXTHOP;
const RTMGRP_LINK: u32 = 0x1;
const RTMGRP_IPV4_IFADDR: u32 = 0x10;
const RTMGRP_IPV4_ROUTE: u32 = 0x40;
const RTMGRP_IPV6_IFADDR: u32 = 0x100;
const RTMGRP_IPV6_ROUTE: u32 = 0x400;
const RTMGRP_NEXTHOP: u32 = 1 << 31;

/// Octets for one notification; what is longer is cut, as nobody reads it.
const NOTIFICATION: usize = 4096;
/// Notifications drained at a time. What is left makes the descriptor readable again.
const BUDGET: usize = 4096;

/// A socket that becomes readable when links, addresses, routes or next hops change.
///
/// Open it before reading the facts, or a change between the two goes unnoticed. Changes of resolv.conf do not show
/// here. Not `Send`.
#[derive(Debug)]
pub struct Watch {
    socket: Socket,
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Watch {
    /// For the network namespace of the calling thread. Needs no privileges.
    ///
    /// # Errors
    /// As socket(2) and bind(2).
    pub fn open() -> io::Result<Self> {
        Ok(Self { socket: Socket::open(mnl::Bus::Route, GROUPS)? })
    }

    /// Takes all notifications that wait and says whether there were any. Never blocks. Notifications lost to an
    /// overrun are a change as well, and so is a socket that fails: reading too often does no harm.
    pub fn changed(&mut self) -> bool {
        let mut buffer = [0; NOTIFICATION];
        for taken in 0..BUDGET {
            match self.socket.receive(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return taken > 0,
                _ => {}
            }
        }
        true
    }
}
