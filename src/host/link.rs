//! Interfaces (`RTM_GETLINK`).

use std::collections::HashSet;
use std::io;

use crate::netlink::Socket;

use super::dump;

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
/// Octets of `struct ifinfomsg`: family, pad, type, index, flags, change.
const IFINFOMSG: usize = 16;
/// `IFF_NOARP` of linux/if.h: no neighbours are looked for (tunnels, PPP, WireGuard).
const IFF_NOARP: u32 = 0x80;

/// Indices of the interfaces that have neighbours.
pub(super) fn read(socket: &Socket) -> io::Result<HashSet<u32>> {
    let mut links = HashSet::new();
    dump(socket, RTM_GETLINK, &[0; IFINFOMSG], |message| {
        let word = |at: usize| message.payload.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes);
        if let (RTM_NEWLINK, Some(index), Some(flags)) = (message.kind, word(4), word(8))
            && flags & IFF_NOARP == 0
        {
            links.insert(index);
        }
    })?;
    Ok(links)
}
