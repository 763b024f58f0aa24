//! Who this host is: what must be protected from our own bans, whatever the evidence.
//!
//! Read from the kernel's routing tables over rtnetlink (man 7 rtnetlink) and from resolv.conf. [`Watch`] says when to
//! read again.

#![forbid(unsafe_code)]

mod address;
mod diag;
mod firewall;
mod link;
mod listeners;
mod nexthop;
mod process;
pub mod reader;
mod resolver;
mod route;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use ipnet::IpNet;

use crate::netlink::{Batch, Header, Message, NLM_F_DUMP, NLM_F_REQUEST, Socket};

pub use firewall::logged_groups;
pub use listeners::{listeners, tcp_listeners};
pub use process::{Culprit, Owner, Process};
pub use resolver::resolvers;
pub use watch::Watch;

/// One of our own addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// The address.
    pub address: IpAddr,
    /// Length of the prefix it was given with; 32 or 128 on a point-to-point link.
    pub prefix_length: u8,
    /// Index of the interface that has it.
    pub ifindex: u32,
}

/// What the kernel and resolv.conf say of this host. All lists are sorted and without duplicates.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostFacts {
    /// Our own addresses, loopback's too.
    pub addresses: Vec<Address>,
    /// All the kernel delivers locally (routes of type local and anycast): the addresses once more, and prefixes
    /// somebody routed to this host (`ip route add local 192.0.2.0/24 dev lo`).
    pub local: Vec<IpNet>,
    /// Prefixes whose hosts are neighbours, with the interface they are on: of our addresses, and of routes without a
    /// gateway over interfaces that have neighbours (not over tunnels). Never a default route.
    pub on_link: Vec<(IpNet, u32)>,
    /// Gateways of the routes of all tables.
    pub gateways: Vec<IpAddr>,
    /// Name servers in use; behind a local stub, those it asks.
    pub resolvers: Vec<IpAddr>,
    /// IPv4 broadcast addresses.
    pub broadcasts: Vec<Ipv4Addr>,
    /// Ports that something listens on, with their protocols: what [`listeners()`] said last. Not read by
    /// [`HostFacts::read`], as only undecided packets need it and it changes by the second.
    pub listening: Vec<(u8, u16)>,
}

impl HostFacts {
    /// Reads them for the network namespace of the calling thread. Needs no privileges.
    ///
    /// The routing tables are read whole: with a million routes this takes the kernel about a second, so gather
    /// changes before reading again.
    ///
    /// # Errors
    /// When the kernel does not answer. A missing resolv.conf is no error.
    pub fn read() -> io::Result<Self> {
        let socket = Socket::open(mnl::Bus::Route, 0)?;
        let mut facts = Gathered::default();
        let links = link::read(&socket)?;
        address::read(&socket, &mut facts)?;
        let nexthops = nexthop::read(&socket)?;
        route::read(&socket, &links, &nexthops, &mut facts)?;
        Ok(Self {
            addresses: facts.addresses.into_iter().collect(),
            local: facts.local.into_iter().collect(),
            on_link: facts.on_link.into_iter().collect(),
            gateways: facts.gateways.into_iter().collect(),
            resolvers: resolvers(Path::new("/"))?,
            broadcasts: facts.broadcasts.into_iter().collect(),
            listening: Vec::new(),
        })
    }
}

/// The number of a group, from `/etc/group`. Groups of other name services are not looked up: the answer may take long.
#[must_use]
pub fn group_id(name: &str) -> Option<u32> {
    let groups = std::fs::read_to_string("/etc/group").ok()?;
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    })
}

/// [`HostFacts`] while they are read: a dump that is begun anew tells things twice.
#[derive(Debug, Default)]
struct Gathered {
    addresses: BTreeSet<Address>,
    local: BTreeSet<IpNet>,
    on_link: BTreeSet<(IpNet, u32)>,
    gateways: BTreeSet<IpAddr>,
    broadcasts: BTreeSet<Ipv4Addr>,
}

/// Asks for all objects of the message type `kind`; `fixed` is the header of its family.
fn dump(socket: &Socket, kind: u16, fixed: &[u8], each: impl FnMut(Message<'_>)) -> io::Result<()> {
    let mut request = Batch::default();
    request.message(Header { kind, flags: NLM_F_REQUEST | NLM_F_DUMP, sequence: 0 }, fixed, |_| {});
    socket.dump(&request, each)
}

/// The address in an attribute or header, by its length.
fn ip(octets: &[u8]) -> Option<IpAddr> {
    match octets.len() {
        4 => octets.first_chunk::<4>().map(|address| Ipv4Addr::from(*address).into()),
        16 => octets.first_chunk::<16>().map(|address| Ipv6Addr::from(*address).into()),
        _ => None,
    }
}

/// The prefix of `length` bits that `address` is in.
fn prefix(address: IpAddr, length: u8) -> Option<IpNet> {
    IpNet::new(address, length).ok().map(|net| net.trunc())
}
