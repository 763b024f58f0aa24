//! The part of the table that leads connections to traps to the daemon's listener.
//!
//! Two chains, which stand there only while there are traps. `trap` translates the port and leaves the address: nft's
//! `redirect` would translate to the first address of the interface that the packet came in by, and drops the packet
//! where that has none (nf_nat_redirect.c). `arrived` drops nothing. It counts what has passed all other chains of the
//! input hook, so that a firewall that refuses the listener's port is found out.

use std::io;
use std::ops::RangeInclusive;

use super::expression::{Counts, Expression};
use super::kernel::Kernel;
use super::layout::{Chain, TRAPS, transport};
use super::uapi::*;
use crate::packet::protocol::TCP;

/// The traps, and where they lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trap {
    /// TCP ports that are traps. Published ones among them are left out.
    pub ports: Vec<RangeInclusive<u16>>,
    /// The port of the listener.
    pub listen: u16,
    /// The NFLOG group and snaplen to hand redirected SYNs to, as refused packets: nothing runs where they go to, and one
    /// that is never followed by a handshake would be no evidence at all.
    pub log: Option<(u16, u32)>,
}

/// What the chains have counted since they were set up last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Redirected {
    /// SYNs to traps: more than connections, as the kernel sees those again that were refused later on.
    pub redirected: u64,
    /// Those of them that no chain of the input hook has refused.
    pub arrived: u64,
}

/// The chain that redirects.
pub(super) const TRAP: &str = "trap";
/// The chain that counts what is let in.
pub(super) const ARRIVED: &str = "arrived";

/// As examples/nftables have it for refused packets: what logging costs is bounded, and a flood hides no scan.
const LOG_RATE: u64 = 10_000;

/// Whether a packet is for a trap at an address of this host. Hosts behind a router have services of their own.
pub(super) fn to_trap() -> [Expression; 5] {
    /// linux/rtnetlink.h: `RTN_LOCAL`.
    const LOCAL: [u8; 4] = 2u32.to_ne_bytes();
    [
        Expression::Meta(NFT_META_L4PROTO),
        transport(2, 2, NFT_REG32_01),
        Expression::Lookup(TRAPS),
        Expression::DestinationType,
        Expression::Compare(NFT_CMP_EQ, &LOCAL),
    ]
}

/// Whether something listens at this address and port: the kernel looks at that moment, so no service is ever hidden. Bound
/// to any address or not, both are a socket.
pub(super) const TAKEN: [Expression; 2] =
    [Expression::SocketWildcard, Expression::Compare(NFT_CMP_LTE, &[1])];

/// The chains.
pub(super) fn chains(trap: &Trap) -> [Chain; 2] {
    // After NF_IP_PRI_NAT_DST (-100): a translation that the administrator or a container engine has made stays.
    let redirect = Chain {
        name: TRAP,
        kind: "nat",
        hook: NF_INET_PRE_ROUTING,
        priority: -90,
        rules: redirect_rules(trap),
    };
    // After all of the administrator's, and before conntrack confirms the connection (INT_MAX).
    let arrived = Chain {
        name: ARRIVED,
        kind: "filter",
        hook: NF_INET_LOCAL_IN,
        priority: 10_000,
        rules: vec![arrived_rule(trap.listen)],
    };
    [redirect, arrived]
}

fn redirect_rules(trap: &Trap) -> Vec<Vec<Expression>> {
    const LOOPBACK: [u8; 4] = 1u32.to_ne_bytes();
    let from_loopback = vec![
        Expression::Meta(NFT_META_IIF),
        Expression::Compare(NFT_CMP_EQ, &LOOPBACK),
        Expression::Verdict(NFT_RETURN),
    ];
    let taken = TAKEN.into_iter().chain([Expression::Verdict(NFT_RETURN)]).collect();
    let log = trap.log.map(|(group, snaplen)| {
        let limit = Expression::Limit { rate: LOG_RATE, burst: 10_000 };
        let log = Expression::Log { group, prefix: "nfban:refused", snaplen };
        is_syn().into_iter().chain(to_trap()).chain([limit, log]).collect()
    });
    let lead =
        [Expression::Counter(Counts::default()), Expression::Port(trap.listen), Expression::DnatToPort];
    let redirect = is_syn().into_iter().chain(to_trap()).chain(lead).collect();
    [from_loopback, taken].into_iter().chain(log).chain([redirect]).collect()
}

/// Counts SYNs that were led to the listener.
fn arrived_rule(listen: u16) -> Vec<Expression> {
    /// linux/netfilter/nf_conntrack_common.h: `IPS_DST_NAT`.
    const TRANSLATED: [u8; 4] = (1u32 << 5).to_ne_bytes();
    let translated =
        [Expression::CtStatus, Expression::Mask(&TRANSLATED), Expression::Compare(NFT_CMP_NEQ, &[0; 4])];
    let to_listener =
        [transport(2, 2, NFT_REG_1), Expression::ComparePort(listen), Expression::Counter(Counts::default())];
    translated.into_iter().chain(is_syn()).chain(to_listener).collect()
}

/// A SYN without ACK, RST and FIN. For conntrack any other segment may begin a connection, too
/// (net.netfilter.nf_conntrack_tcp_loose); such a probe stays what it is, to be refused by the firewall. And nft takes a
/// translation of ports only behind a match of the protocol.
const fn is_syn() -> [Expression; 5] {
    [
        Expression::Meta(NFT_META_L4PROTO),
        Expression::Compare(NFT_CMP_EQ, &[TCP]),
        // The control bits, without PSH and URG.
        transport(13, 1, NFT_REG_1),
        Expression::Mask(&[0x17]),
        Expression::Compare(NFT_CMP_EQ, &[0x02]),
    ]
}

impl Kernel {
    /// What was led to the listener and what arrived there; nothing where there are no traps.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn redirected(&mut self) -> io::Result<Redirected> {
        let mut counts = Redirected::default();
        for rule in self.counted_rules()? {
            match rule.chain.as_slice() {
                chain if chain == TRAP.as_bytes() => counts.redirected += rule.counts.packets,
                chain if chain == ARRIVED.as_bytes() => counts.arrived += rule.counts.packets,
                _ => {}
            }
        }
        Ok(counts)
    }

    /// The traps.
    #[must_use]
    pub const fn trap(&self) -> Option<&Trap> {
        self.settings.trap.as_ref()
    }

    /// Has other traps from now on, or none.
    ///
    /// # Errors
    /// See [`Kernel::set_up`].
    pub fn set_trap(&mut self, trap: Option<Trap>) -> Result<(), super::InstallError> {
        self.settings.trap = trap;
        self.set_up()
    }
}
