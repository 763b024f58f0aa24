//! Where a ban stands: each kind of target has a set of its own in the kernel, with its own bounds.

use ipnet::IpNet;

use super::Measure;

/// How many targets each of the interval sets is for: see `enforce::layout`.
pub const MAX_PREFIXES: u32 = 4096;

/// The set that a target's element goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// In which way it is held.
    pub measure: Measure,
    /// The family: IPv6, or else IPv4.
    pub ipv6: bool,
    /// Whether it is the interval set, for all but the usual length (IPv4 /32, IPv6 /64).
    pub prefix: bool,
}

impl Place {
    /// The place of a target.
    #[must_use]
    pub fn of(measure: Measure, target: IpNet) -> Self {
        let (ipv6, usual) = match target {
            IpNet::V4(_) => (false, 32),
            IpNet::V6(_) => (true, 64),
        };
        Self { measure, ipv6, prefix: target.prefix_len() != usual }
    }
}
