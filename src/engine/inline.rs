//! Verdicts on packets that wait for one: what the chains in the kernel do, or will do as soon as they hold the ban.

use ipnet::IpNet;

use super::Engine;
use crate::decide::Measure;
use crate::detect::class::Ports;
use crate::packet::protocol::{ICMPV6, UDP};
use crate::packet::{Icmp, Packet, Transport};

impl Engine {
    /// Whether a packet that begins a connection may pass, as bans stand after it was observed. `open` are the ports that
    /// whoever is restricted may still reach: published services, and traps, which wait for a second touch.
    ///
    /// The kernel's own limit on new connections to services (`restrict4_rate`) comes before and is not repeated here.
    #[must_use]
    pub fn passes(&self, packet: &Packet, open: &Ports) -> bool {
        if self.ledger.is_empty() {
            return true;
        }
        let source = IpNet::from(packet.saddr);
        let Some(standing) = self.ledger.covering(source) else { return true };
        let reaches = || packet.ports().is_some_and(|(_, dport)| open.contains(packet.protocol, dport));
        self.shield.covers(source).is_some()
            || is_never_dropped(packet)
            || (standing.measure == Measure::Restrict && reaches())
    }
}

/// Neighbour discovery (a hop limit of 255 proves that it was not forwarded: RFC 4861 section 6.1) and DHCP: without them
/// a host is off the net.
fn is_never_dropped(packet: &Packet) -> bool {
    match packet.transport {
        Transport::Icmp(Icmp { kind: 133..=137, .. }) => packet.protocol == ICMPV6 && packet.ttl == 255,
        _ if packet.protocol == UDP => match (packet.saddr.is_ipv4(), packet.ports()) {
            (true, Some(ports)) => matches!(ports, (67, 68) | (68, 67)),
            (false, Some(ports)) => matches!(ports, (547, 546) | (546, 547)),
            (_, None) => false,
        },
        _ => false,
    }
}
