//! What follows from an incident.

use serde::{Deserialize, Serialize};

/// How well an incident's source address is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Evidence {
    /// The address may be forged: a lone SYN, a datagram, an ICMP message.
    Spoofable,
    /// The address is proven: a completed handshake with a socket of ours, or a trusted log.
    Validated,
}

/// What is done about an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Response {
    /// Drop every packet of the source.
    Ban,
    /// Drop all of the source but ongoing conversations and published services.
    Restrict,
    /// Tell, and do nothing.
    Log,
}

/// The two responses that stand in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Measure {
    /// See [`Response::Ban`].
    Ban,
    /// See [`Response::Restrict`].
    Restrict,
}
