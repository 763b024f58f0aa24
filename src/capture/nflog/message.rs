//! Numbers of linux/netfilter/nfnetlink_log.h, and the requests of ours.

use crate::netlink::{Batch, Header, NLM_F_ACK, NLM_F_REQUEST};

use super::Settings;

/// Octets of `struct nfgenmsg`.
pub(super) const NFGENMSG: usize = 4;

/// `NFNL_SUBSYS_ULOG` in the upper octet of a message type.
const SUBSYSTEM: u16 = 4 << 8;
pub(super) const NFULNL_MSG_PACKET: u16 = SUBSYSTEM;
const NFULNL_MSG_CONFIG: u16 = SUBSYSTEM | 1;

pub(super) const NFULA_PACKET_HDR: u16 = 1;
pub(super) const NFULA_MARK: u16 = 2;
pub(super) const NFULA_TIMESTAMP: u16 = 3;
pub(super) const NFULA_IFINDEX_INDEV: u16 = 4;
pub(super) const NFULA_IFINDEX_OUTDEV: u16 = 5;
pub(super) const NFULA_PAYLOAD: u16 = 9;
pub(super) const NFULA_PREFIX: u16 = 10;
pub(super) const NFULA_SEQ: u16 = 12;
pub(super) const NFULA_HWTYPE: u16 = 15;
pub(super) const NFULA_HWHEADER: u16 = 16;

const NFULA_CFG_CMD: u16 = 1;
const NFULA_CFG_MODE: u16 = 2;
const NFULA_CFG_NLBUFSIZ: u16 = 3;
const NFULA_CFG_TIMEOUT: u16 = 4;
const NFULA_CFG_QTHRESH: u16 = 5;
const NFULA_CFG_FLAGS: u16 = 6;

const NFULNL_CFG_CMD_BIND: u8 = 1;
const NFULNL_COPY_PACKET: u8 = 2;
const NFULNL_CFG_F_SEQ: u16 = 1;

/// The request that binds a group and sets everything about it. One message, so that no packet is logged under the
/// kernel's own defaults.
pub(super) fn bind(settings: &Settings, sequence: u32) -> Batch {
    request(NFULNL_MSG_CONFIG, settings.group, sequence, |message| {
        message.attribute(NFULA_CFG_CMD, &[NFULNL_CFG_CMD_BIND]);
        let [a, b, c, d] = u32::from(settings.snaplen).to_be_bytes();
        message.attribute(NFULA_CFG_MODE, &[a, b, c, d, NFULNL_COPY_PACKET, 0]);
        message.be32(NFULA_CFG_TIMEOUT, settings.flush_timeout_cs);
        message.be32(NFULA_CFG_NLBUFSIZ, settings.datagram_size());
        message.be32(NFULA_CFG_QTHRESH, settings.queue_threshold);
        message.attribute(NFULA_CFG_FLAGS, &NFULNL_CFG_F_SEQ.to_be_bytes());
    })
}

/// A request that changes nothing: the subsystem has no such message (`EINVAL`), but looks at the sender's rights
/// first (`EPERM`; nfnetlink_rcv in net/netfilter/nfnetlink.c).
pub(super) fn probe_rights(sequence: u32) -> Batch {
    request(SUBSYSTEM | 0xff, 0, sequence, |_| {})
}

fn request(kind: u16, group: u16, sequence: u32, body: impl FnOnce(&mut Batch)) -> Batch {
    let [high, low] = group.to_be_bytes();
    let mut batch = Batch::default();
    batch.message(
        Header { kind, flags: NLM_F_REQUEST | NLM_F_ACK, sequence },
        // AF_UNSPEC, NFNETLINK_V0, res_id
        &[0, 0, high, low],
        body,
    );
    batch
}
