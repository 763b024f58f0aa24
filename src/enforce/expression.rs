//! The expressions rules and elements are made of, as the kernel's netlink spells them.

use super::uapi::*;
use crate::netlink::Batch;

/// What was counted of dropped packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Packets.
    pub packets: u64,
    /// In octets of the network layer.
    pub bytes: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, more: Self) {
        self.packets = self.packets.saturating_add(more.packets);
        self.bytes = self.bytes.saturating_add(more.bytes);
    }
}

/// One expression. Values are loaded into register 1 and compared or looked up there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expression {
    /// Loads a property of the packet.
    Meta(u32),
    /// Loads `length` octets at `offset` of a header; ends the rule when the packet has no such octets.
    Payload { base: u32, offset: u32, length: u32, register: u32 },
    /// Loads the connection's state. Its mere presence in a rule switches conntrack on for the whole namespace.
    CtState,
    /// Loads the connection's status (`enum ip_conntrack_status`). As [`Self::CtState`], it switches conntrack on.
    CtStatus,
    /// Loads whether the socket of this host that would take the packet is bound to any address, as one octet; ends the
    /// rule when there is no such socket.
    SocketWildcard,
    /// Loads what kind of address the destination is (`RTN_*` of linux/rtnetlink.h).
    DestinationType,
    /// Loads a port, as it is on the wire.
    Port(u16),
    /// Sends the connection to the port loaded last; the address stays.
    DnatToPort,
    /// Keeps the bits of the mask.
    Mask(&'static [u8]),
    /// Goes on if the comparison holds.
    Compare(u32, &'static [u8]),
    /// Goes on if the port loaded is this one.
    ComparePort(u16),
    /// Goes on if the set has the value, after running the found element's own expressions.
    Lookup(&'static str),
    /// Ends the rule with a verdict.
    Verdict(i32),
    /// Counts what reaches it.
    Counter(Counts),
    /// Goes on only above `rate` packets a second.
    LimitOver { rate: u64, burst: u32 },
    /// Goes on only up to `rate` packets a second.
    Limit { rate: u64, burst: u32 },
    /// Hands the first octets of the packet to an NFLOG group.
    Log { group: u16, prefix: &'static str, snaplen: u32 },
}

impl Expression {
    /// Writes it as an attribute of `kind` (`NFTA_LIST_ELEM` in a list, or a place that holds a single one).
    pub(super) fn write(&self, batch: &mut Batch, kind: u16) {
        batch.nest(kind, |batch| {
            batch.text(NFTA_EXPR_NAME, self.name());
            batch.nest(NFTA_EXPR_DATA, |batch| self.write_data(batch));
        });
    }

    /// The name that the kernel knows the expression by.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Meta(_) => "meta",
            Self::Payload { .. } => "payload",
            Self::CtState | Self::CtStatus => "ct",
            Self::SocketWildcard => "socket",
            Self::DestinationType => "fib",
            Self::Port(_) => "immediate",
            Self::DnatToPort => "nat",
            Self::Mask(_) => "bitwise",
            Self::Compare(..) | Self::ComparePort(_) => "cmp",
            Self::Lookup(_) => "lookup",
            Self::Verdict(_) => "immediate",
            Self::Counter(_) => "counter",
            Self::LimitOver { .. } | Self::Limit { .. } => "limit",
            Self::Log { .. } => "log",
        }
    }

    fn write_data(&self, batch: &mut Batch) {
        match self {
            Self::Meta(key) => {
                batch.be32(NFTA_META_DREG, NFT_REG_1);
                batch.be32(NFTA_META_KEY, *key);
            }
            Self::Payload { base, offset, length, register } => {
                batch.be32(NFTA_PAYLOAD_DREG, *register);
                batch.be32(NFTA_PAYLOAD_BASE, *base);
                batch.be32(NFTA_PAYLOAD_OFFSET, *offset);
                batch.be32(NFTA_PAYLOAD_LEN, *length);
            }
            Self::CtState | Self::CtStatus => {
                let key = if *self == Self::CtState { NFT_CT_STATE } else { NFT_CT_STATUS };
                batch.be32(NFTA_CT_DREG, NFT_REG_1);
                batch.be32(NFTA_CT_KEY, key);
            }
            Self::SocketWildcard => {
                batch.be32(NFTA_SOCKET_KEY, NFT_SOCKET_WILDCARD);
                batch.be32(NFTA_SOCKET_DREG, NFT_REG_1);
            }
            Self::DestinationType => {
                batch.be32(NFTA_FIB_DREG, NFT_REG_1);
                batch.be32(NFTA_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE);
                batch.be32(NFTA_FIB_FLAGS, NFTA_FIB_F_DADDR);
            }
            Self::Port(port) => {
                batch.be32(NFTA_IMMEDIATE_DREG, NFT_REG_1);
                write_value(batch, NFTA_IMMEDIATE_DATA, &port.to_be_bytes());
            }
            Self::DnatToPort => {
                batch.be32(NFTA_NAT_TYPE, NFT_NAT_DNAT);
                batch.be32(NFTA_NAT_FAMILY, u32::from(NFPROTO_INET));
                batch.be32(NFTA_NAT_REG_PROTO_MIN, NFT_REG_1);
                batch.be32(NFTA_NAT_FLAGS, NF_NAT_RANGE_PROTO_SPECIFIED);
            }
            Self::Mask(mask) => {
                batch.be32(NFTA_BITWISE_SREG, NFT_REG_1);
                batch.be32(NFTA_BITWISE_DREG, NFT_REG_1);
                batch.be32(NFTA_BITWISE_LEN, u32::try_from(mask.len()).unwrap_or(u32::MAX));
                write_value(batch, NFTA_BITWISE_MASK, mask);
                write_value(batch, NFTA_BITWISE_XOR, &vec![0; mask.len()]);
            }
            Self::Compare(operation, value) => {
                batch.be32(NFTA_CMP_SREG, NFT_REG_1);
                batch.be32(NFTA_CMP_OP, *operation);
                write_value(batch, NFTA_CMP_DATA, value);
            }
            Self::ComparePort(port) => {
                batch.be32(NFTA_CMP_SREG, NFT_REG_1);
                batch.be32(NFTA_CMP_OP, NFT_CMP_EQ);
                write_value(batch, NFTA_CMP_DATA, &port.to_be_bytes());
            }
            Self::Lookup(set) => {
                batch.text(NFTA_LOOKUP_SET, set);
                batch.be32(NFTA_LOOKUP_SREG, NFT_REG_1);
            }
            Self::Verdict(code) => {
                batch.be32(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
                batch.nest(NFTA_IMMEDIATE_DATA, |batch| {
                    batch.nest(NFTA_DATA_VERDICT, |batch| {
                        batch.be32(NFTA_VERDICT_CODE, code.cast_unsigned());
                    });
                });
            }
            Self::Counter(counts) => {
                batch.be64(NFTA_COUNTER_BYTES, counts.bytes);
                batch.be64(NFTA_COUNTER_PACKETS, counts.packets);
            }
            Self::LimitOver { rate, burst } | Self::Limit { rate, burst } => {
                let over = matches!(self, Self::LimitOver { .. });
                batch.be64(NFTA_LIMIT_RATE, *rate);
                batch.be64(NFTA_LIMIT_UNIT, 1); // a second
                batch.be32(NFTA_LIMIT_BURST, *burst);
                batch.be32(NFTA_LIMIT_TYPE, NFT_LIMIT_PKTS);
                batch.be32(NFTA_LIMIT_FLAGS, if over { NFT_LIMIT_F_INV } else { 0 });
            }
            Self::Log { group, prefix, snaplen } => {
                batch.attribute(NFTA_LOG_GROUP, &group.to_be_bytes());
                batch.text(NFTA_LOG_PREFIX, prefix);
                batch.be32(NFTA_LOG_SNAPLEN, *snaplen);
            }
        }
    }
}

/// Writes octets as the kernel takes keys, masks and operands: nested in `NFTA_DATA_VALUE`.
pub(super) fn write_value(batch: &mut Batch, kind: u16, octets: &[u8]) {
    batch.nest(kind, |batch| batch.attribute(NFTA_DATA_VALUE, octets));
}
