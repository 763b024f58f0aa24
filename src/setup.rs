//! From configuration and host to what the engine works with: the same for the daemon and for `replay`.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::address::never_a_host;
use crate::config::{Config, Conntrack, Service, Sets};
use crate::decide::{Policy, Shield};
use crate::detect::class::{Ports, Surroundings};
use crate::detect::key::Widths;
use crate::detect::rule::Rule;
use crate::detect::{Ruleset, TooMany};
use crate::engine::Settings;
use crate::host::HostFacts;

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

/// All addresses that must never be dropped: for the kernel's sets.
#[must_use]
pub fn protected(config: &Config, host: &HostFacts) -> Vec<IpNet> {
    never_a_host().into_iter().chain(ours(config, host)).chain(config.allow.iter().copied()).collect()
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
            // A chain of the administrator's decides itself what it does with restricted sources.
            restrict_available: config.nftables.conntrack != Conntrack::Never
                || config.nftables.sets.is_some(),
            lacking: config.nftables.sets.as_ref().map(Sets::lacking).unwrap_or_default(),
        },
        shield: Shield {
            nobody: nobody(),
            protected: protected.into_iter().collect(),
            allow: allow.into_iter().collect(),
        },
    }
}
