//! From configuration and host to what the engine works with: the same for the daemon and for `replay`.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;

use ipnet::{IpNet, Ipv6Net};

use crate::address::{AddressSet, never_a_host};
use crate::config::{Capture, Config, Conntrack, Nftables, Service, Sets};
use crate::decide::Mode;
use crate::decide::{Policy, Shield};
use crate::detect::class::{Ports, Surroundings};
use crate::detect::key::Widths;
use crate::detect::rule::Rule;
use crate::detect::{Ruleset, TooMany};
use crate::enforce::Trap;
use crate::engine::Settings;
use crate::host::HostFacts;
use crate::packet::Verdict;
use crate::packet::protocol::TCP;

/// The rules, compiled with the configured traps.
///
/// # Errors
/// When they are too many.
pub fn ruleset(config: &Config, rules: &[Rule]) -> Result<Ruleset, TooMany> {
    let traps: Vec<(u8, u16)> =
        config.traps.iter().flat_map(|trap| trap.ports.clone().map(|port| (trap.protocol, port))).collect();
    Ruleset::compile(rules, &traps)
}

/// The published ports, as protocols and ranges.
#[must_use]
pub fn services(config: &Config) -> Vec<(u8, std::ops::RangeInclusive<u16>)> {
    config.services.iter().map(|Service { protocol, ports }| (*protocol, ports.clone())).collect()
}

/// What the kernel is to redirect to the listener of traps; none without traps of tcp, where nothing may be redirected, and
/// where nothing of the kernel may be changed.
#[must_use]
pub fn trap(config: &Config) -> Option<Trap> {
    let Nftables { sets, conntrack, .. } = &config.nftables;
    if config.mode == Mode::Watch || sets.is_some() || *conntrack == Conntrack::Never {
        return None;
    }
    let log = config.capture.iter().find_map(|capture| match capture {
        Capture::Nflog(nflog) if nflog.verdict == Verdict::Refused => {
            Some((*nflog.groups.first()?, nflog.snaplen))
        }
        _ => None,
    });
    let ports: Vec<_> = trap_ports(config).cloned().collect();
    (!ports.is_empty()).then_some(Trap { ports, listen: config.trap.listen, log })
}

/// The traps of tcp. Those of udp are never redirected: a datagram proves nothing, whoever takes it.
pub fn trap_ports(config: &Config) -> impl Iterator<Item = &RangeInclusive<u16>> {
    config.traps.iter().filter(|trap| trap.protocol == TCP).map(|trap| &trap.ports)
}

/// Whether connections to a port are evidence: a trap that is not published.
#[must_use]
pub fn is_trap(config: &Config, port: u16) -> bool {
    trap_ports(config).any(|ports| ports.contains(&port))
        && !config.services.iter().any(|service| service.contains(TCP, port))
}

/// The traps that are none, such as `tcp/8080`: what is published is never redirected, nor is what one of the
/// `listening` sockets takes. One that only this host itself can reach is not in the way.
#[must_use]
pub fn taken_traps(config: &Config, listening: &[SocketAddr]) -> Vec<String> {
    let reachable = listening.iter().filter(|socket| !socket.ip().is_loopback());
    let ports = reachable.map(SocketAddr::port).filter(|&port| port != config.trap.listen);
    let listened: BTreeSet<u16> = ports.filter(|&port| is_trap(config, port)).collect();
    let published = config
        .traps
        .iter()
        .filter(|trap| trap.protocol == TCP && config.services.iter().any(|service| service.overlaps(trap)));
    published.map(ToString::to_string).chain(listened.iter().map(|port| format!("tcp/{port}"))).collect()
}

/// What whoever is restricted may still reach: published services, and the traps with the listener they are led to, as a
/// second touch could not be seen else.
#[must_use]
pub fn open_to_restricted(config: &Config) -> Ports {
    let mut open = Ports::new(&services(config));
    if let Some(trap) = trap(config) {
        trap.ports.iter().cloned().flatten().chain([trap.listen]).for_each(|port| open.insert(TCP, port));
    }
    open
}

/// All addresses that must never be dropped: for the kernel's sets.
#[must_use]
pub fn protected(config: &Config, host: &HostFacts) -> Vec<IpNet> {
    never_a_host().into_iter().chain(ours(config, host)).chain(config.allow.iter().copied()).collect()
}

/// Prefixes of several owners: those of our links, every link's own (RFC 4291 section 2.5.6), and NAT64 (RFC 6052), whose
/// hosts are the IPv4 internet.
fn shared(host: &HostFacts) -> AddressSet {
    let link_local = Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10);
    let nat64 = Ipv6Net::new_assert(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);
    let everywhere = [link_local, nat64].map(IpNet::V6);
    host.on_link.iter().map(|(net, _)| *net).chain(everywhere).collect()
}

/// Our own addresses, gateways, resolvers and broadcast addresses.
fn ours(config: &Config, host: &HostFacts) -> impl Iterator<Item = IpNet> {
    let broadcasts = host.broadcasts.iter().map(|&address| IpAddr::V4(address));
    let addresses = host.addresses.iter().map(|own| own.address);
    let others = host.gateways.iter().chain(&host.resolvers).copied();
    addresses
        .chain(others)
        .chain(broadcasts)
        .map(IpNet::from)
        .chain(host.local.iter().copied())
        .chain(config.home.iter().copied())
}

/// What the engine works with. `replay` gives empty host facts: it reads no machine state.
#[must_use]
pub fn engine(config: &Config, host: &HostFacts) -> Settings {
    let nobody = || never_a_host().into_iter().collect();
    let protected: Vec<IpNet> = ours(config, host).collect();
    let allow: Vec<IpNet> = config.allow.clone();
    Settings {
        surroundings: Surroundings {
            protected: protected.iter().copied().collect(),
            broadcasts: host.broadcasts.iter().map(|&address| IpNet::from(IpAddr::V4(address))).collect(),
            services: Ports::new(&services(config)),
            listening: host.listening.iter().fold(Ports::default(), |mut ports, &(protocol, port)| {
                ports.insert(protocol, port);
                ports
            }),
            ignore: config.ignore.iter().cloned().collect(),
        },
        widths: Widths {
            on_link: host.on_link.iter().map(|(net, _)| *net).collect(),
            protected: protected.iter().chain(&allow).copied().collect(),
        },
        policy: Policy {
            spoofable: config.respond.spoofable,
            validated: config.respond.validated,
            times: config.ban.times.clone(),
            forget: config.ban.forget,
            max: usize::try_from(config.ban.max).unwrap_or(usize::MAX),
            per_minute: usize::try_from(config.ban.per_minute).unwrap_or(usize::MAX),
            ipv6_prefix: config.ban.ipv6_prefix,
            whole_prefix: config.ban.whole_prefix,
            // A chain of the administrator's decides itself what it does with restricted sources.
            restrict_available: config.nftables.conntrack != Conntrack::Never
                || config.nftables.sets.is_some(),
            lacking: config.nftables.sets.as_ref().map(Sets::lacking).unwrap_or_default(),
        },
        shield: Shield {
            nobody: nobody(),
            protected: protected.into_iter().collect(),
            allow: allow.into_iter().collect(),
            shared: shared(host),
        },
    }
}
