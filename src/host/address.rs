//! Addresses (`RTM_GETADDR`; linux/if_addr.h).

use std::io;
use std::net::IpAddr;

use crate::netlink::{Message, Socket};

use super::{Address, Gathered, dump, ip, prefix};

const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
/// Octets of `struct ifaddrmsg`: family, prefix length, flags, scope, interface index.
const IFADDRMSG: usize = 8;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;

pub(super) fn read(socket: &Socket, facts: &mut Gathered) -> io::Result<()> {
    dump(socket, RTM_GETADDR, &[0; IFADDRMSG], |message| {
        if message.kind == RTM_NEWADDR {
            let _malformed = address(message, facts);
        }
    })
}

/// Takes one address in; `None` when the message is not one.
fn address(message: Message<'_>, facts: &mut Gathered) -> Option<()> {
    let prefix_length = *message.payload.get(1)?;
    let ifindex = message.payload.get(4..)?.first_chunk().copied().map(u32::from_ne_bytes)?;
    let (mut local, mut address) = (None, None);
    for attribute in message.attributes(IFADDRMSG) {
        match attribute.kind {
            IFA_LOCAL => local = ip(attribute.value),
            IFA_ADDRESS => address = ip(attribute.value),
            IFA_BROADCAST => {
                if let Some(IpAddr::V4(broadcast)) = ip(attribute.value) {
                    facts.broadcasts.insert(broadcast);
                }
            }
            _ => {}
        }
    }
    // With a peer, IFA_LOCAL is ours and IFA_ADDRESS and the prefix are the peer's; without one IPv6 has no IFA_LOCAL.
    let own = local.or(address)?;
    let subnet = prefix(address.or(local)?, prefix_length)?;
    let has_peer = local.is_some() && address.is_some() && local != address;
    let host = subnet.max_prefix_len();
    facts.addresses.insert(Address {
        address: own,
        prefix_length: if has_peer { host } else { prefix_length },
        ifindex,
    });
    if has_peer || prefix_length < host {
        facts.on_link.insert((subnet, ifindex));
    }
    Some(())
}
