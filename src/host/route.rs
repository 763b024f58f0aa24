//! Routes of all tables (`RTM_GETROUTE`; linux/rtnetlink.h).

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::netlink::{Attributes, Message, Socket};

use super::nexthop::{Hop, Nexthops};
use super::{Gathered, dump, ip, prefix};

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
/// Octets of `struct rtmsg`: family, destination and source prefix lengths, TOS, table, protocol, scope, type, flags.
const RTMSG: usize = 12;
/// Octets of `struct rtnexthop`: length, flags, weight, interface index.
const RTNEXTHOP: usize = 8;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_MULTIPATH: u16 = 9;
const RTA_VIA: u16 = 18;
const RTA_NH_ID: u16 = 30;
const RTN_UNICAST: u8 = 1;
const RTN_LOCAL: u8 = 2;
const RTN_BROADCAST: u8 = 3;
const RTN_ANYCAST: u8 = 4;

/// Takes the routes of all tables in; `neighbourly` are the interfaces that have neighbours.
pub(super) fn read(
    socket: &Socket,
    neighbourly: &HashSet<u32>,
    nexthops: &Nexthops,
    facts: &mut Gathered,
) -> io::Result<()> {
    // Not AF_UNSPEC, which adds MPLS and multicast routes. Where the kernel has no IPv6 it dumps IPv4 twice.
    for family in [AF_INET, AF_INET6] {
        let mut request = [0; RTMSG];
        request[0] = family;
        dump(socket, RTM_GETROUTE, &request, |message| {
            if message.kind == RTM_NEWROUTE
                && let Some(route) = Route::parse(message, nexthops)
            {
                route.tell(neighbourly, facts);
            }
        })?;
    }
    Ok(())
}

struct Route {
    destination: IpNet,
    kind: u8,
    hops: Vec<Hop>,
}

impl Route {
    fn parse(message: Message<'_>, nexthops: &Nexthops) -> Option<Self> {
        let fixed: &[u8; RTMSG] = message.payload.first_chunk()?;
        let [family, destination_length, _, _, _, _, _, kind, ..] = *fixed;
        // A default route has no RTA_DST.
        let mut destination: IpAddr = match family {
            AF_INET => Ipv4Addr::UNSPECIFIED.into(),
            AF_INET6 => Ipv6Addr::UNSPECIFIED.into(),
            _ => return None,
        };
        let mut hop = Hop::default();
        let mut hops = Vec::new();
        for attribute in message.attributes(RTMSG) {
            match attribute.kind {
                RTA_DST => destination = ip(attribute.value)?,
                RTA_OIF => hop.oif = attribute.ne32().unwrap_or(0),
                RTA_GATEWAY => hop.gateway = ip(attribute.value),
                RTA_VIA => hop.gateway = via(attribute.value),
                RTA_MULTIPATH => multipath(attribute.value, &mut hops),
                RTA_NH_ID => hops.extend(attribute.ne32().into_iter().flat_map(|id| nexthops.hops(id))),
                _ => {}
            }
        }
        // Next to RTA_NH_ID the kernel repeats the hop unless sysctl net.ipv4.nexthop_compat_mode is off.
        if hops.is_empty() {
            hops.push(hop);
        }
        Some(Self { destination: prefix(destination, destination_length)?, kind, hops })
    }

    fn tell(&self, neighbourly: &HashSet<u32>, facts: &mut Gathered) {
        match (self.kind, self.destination) {
            (RTN_LOCAL | RTN_ANYCAST, destination) => {
                facts.local.insert(destination);
            }
            (RTN_BROADCAST, IpNet::V4(destination)) => {
                facts.broadcasts.insert(destination.addr());
            }
            (RTN_UNICAST, destination) => {
                for hop in &self.hops {
                    match hop.gateway {
                        Some(gateway) => {
                            facts.gateways.insert(gateway);
                        }
                        None if destination.prefix_len() > 0 && neighbourly.contains(&hop.oif) => {
                            facts.on_link.insert((destination, hop.oif));
                        }
                        None => {}
                    }
                }
            }
            _ => {}
        }
    }
}

/// `struct rtvia`: the address family and an address, of another family than the route.
fn via(value: &[u8]) -> Option<IpAddr> {
    ip(value.get(2..)?)
}

/// An array of `struct rtnexthop`, each followed by its attributes.
fn multipath(mut value: &[u8], hops: &mut Vec<Hop>) {
    while let Some(&[length_0, length_1, _, _, oif @ ..]) = value.first_chunk::<RTNEXTHOP>() {
        let length = usize::from(u16::from_ne_bytes([length_0, length_1]));
        let Some(attributes) = value.get(RTNEXTHOP..length) else { return };
        let mut hop = Hop { gateway: None, oif: u32::from_ne_bytes(oif) };
        for attribute in Attributes::new(attributes) {
            match attribute.kind {
                RTA_GATEWAY => hop.gateway = ip(attribute.value),
                RTA_VIA => hop.gateway = via(attribute.value),
                _ => {}
            }
        }
        hops.push(hop);
        value = value.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
}
