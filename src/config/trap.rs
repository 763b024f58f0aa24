//! `trap`: the listener that connections to traps are redirected to.

use std::time::Duration;

use super::Service;
use super::read::Report;
use super::values::{self, Wrong};
use super::yaml::Node;
use crate::packet::protocol::TCP;

/// The most octets of a banner: more than one segment would wait for the client's acknowledgement.
pub(crate) const LONGEST_BANNER: usize = 512;

/// How the listener behind the traps does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trap {
    /// The TCP port it listens on, at every address.
    pub listen: u16,
    /// What it says to whoever connects; mostly nothing.
    pub banner: Vec<u8>,
    /// How long a connection is held before it is closed; zero closes it at once.
    pub hold: Duration,
    /// How many connections are held at once, 1–4,096: beyond that the oldest is closed.
    pub connections: usize,
}

impl Default for Trap {
    fn default() -> Self {
        Self {
            // Below the ports that the kernel gives to outgoing connections (net.ipv4.ip_local_port_range), above those
            // that take a privilege, and nobody's at IANA.
            listen: 28023,
            banner: Vec::new(),
            // As long as a scanner waits for a banner, so that it is not told from a slow service at once.
            hold: Duration::from_secs(5),
            // A quarter of the descriptors that a process has unless more are asked for.
            connections: 256,
        }
    }
}

pub(super) fn read(node: &Node, services: &[Service], report: &mut Report<'_>) -> Trap {
    let mut trap = Trap::default();
    let Some(mut keys) = report.keys(node, "`trap`") else { return trap };
    if let Some(node) = keys.take("listen") {
        let listen = report.integer(node, 1..=65535).and_then(|port| u16::try_from(port).ok());
        trap.listen = listen.unwrap_or(trap.listen);
        if let Some(taken) = services.iter().find(|service| service.contains(TCP, trap.listen)) {
            report.error(
                node.place,
                &format!("the listener's port {} is published ({taken} of `services`)", trap.listen),
                "choose a port for `listen` that nothing else is meant by",
            );
        }
    }
    if let Some(node) = keys.take("banner") {
        trap.banner = report.parse(node, "a text", banner).unwrap_or_default();
    }
    if let Some(node) = keys.take("hold") {
        trap.hold = report.parse(node, "a duration such as 5s", hold).unwrap_or(trap.hold);
    }
    let connections = keys.take("connections").and_then(|node| report.integer(node, 1..=4096));
    trap.connections = connections.and_then(|most| usize::try_from(most).ok()).unwrap_or(trap.connections);
    keys.finish(report);
    trap
}

fn banner(text: &str) -> Result<Vec<u8>, Wrong> {
    if text.len() > LONGEST_BANNER {
        return Err(Wrong::new("the banner is too long", format!("{LONGEST_BANNER} octets are the most")));
    }
    Ok(text.as_bytes().to_vec())
}

fn hold(text: &str) -> Result<Duration, Wrong> {
    let hold = values::duration(text)?;
    if hold > Duration::from_secs(600) {
        return Err(Wrong::new("connections would be held for too long", "10m is the longest"));
    }
    Ok(hold)
}
