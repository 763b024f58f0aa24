//! Next hop objects (`RTM_GETNEXTHOP`, Linux 5.3; linux/nexthop.h), which routes refer to by number.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;

use crate::netlink::{Message, Socket};

use super::{dump, ip};

const RTM_NEWNEXTHOP: u16 = 104;
const RTM_GETNEXTHOP: u16 = 106;
/// Octets of `struct nhmsg`.
const NHMSG: usize = 8;
/// Octets of `struct nexthop_grp`: id, weight, reserved.
const NEXTHOP_GRP: usize = 8;
const NHA_ID: u16 = 1;
const NHA_GROUP: u16 = 2;
const NHA_OIF: u16 = 5;
const NHA_GATEWAY: u16 = 6;

/// Where a route may lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Hop {
    /// The gateway; `None` when the destination is a neighbour.
    pub(super) gateway: Option<IpAddr>,
    /// Index of the interface, 0 where there is none.
    pub(super) oif: u32,
}

/// All next hop objects.
#[derive(Debug, Default)]
pub(super) struct Nexthops {
    hops: HashMap<u32, Hop>,
    groups: HashMap<u32, Vec<u32>>,
}

impl Nexthops {
    /// The hops of the object `id`, which may be a group. Groups hold no groups (`nh_check_attr_group`).
    pub(super) fn hops(&self, id: u32) -> impl Iterator<Item = Hop> {
        let members = self.groups.get(&id).map_or(&[][..], Vec::as_slice);
        self.hops
            .get(&id)
            .into_iter()
            .chain(members.iter().filter_map(|member| self.hops.get(member)))
            .copied()
    }
}

pub(super) fn read(socket: &Socket) -> io::Result<Nexthops> {
    let mut nexthops = Nexthops::default();
    let dumped = dump(socket, RTM_GETNEXTHOP, &[0; NHMSG], |message| {
        if message.kind == RTM_NEWNEXTHOP {
            nexthop(message, &mut nexthops);
        }
    });
    match dumped {
        // A kernel without next hop objects has no route that refers to one.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(nexthops),
        dumped => dumped.map(|()| nexthops),
    }
}

fn nexthop(message: Message<'_>, nexthops: &mut Nexthops) {
    let mut id = None;
    let mut hop = Hop::default();
    let mut group = None;
    for attribute in message.attributes(NHMSG) {
        match attribute.kind {
            NHA_ID => id = attribute.ne32(),
            NHA_OIF => hop.oif = attribute.ne32().unwrap_or(0),
            NHA_GATEWAY => hop.gateway = ip(attribute.value),
            NHA_GROUP => group = Some(attribute.value),
            _ => {}
        }
    }
    match (id, group) {
        (Some(id), Some(members)) => {
            let members =
                members.chunks_exact(NEXTHOP_GRP).filter_map(|member| member.first_chunk().copied());
            nexthops.groups.insert(id, members.map(u32::from_ne_bytes).collect());
        }
        (Some(id), None) => {
            nexthops.hops.insert(id, hop);
        }
        (None, _) => {}
    }
}
