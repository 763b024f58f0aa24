//! Numbers of linux/netfilter/nfnetlink_queue.h, and the requests of ours.

use crate::netlink::{Batch, Header, NLM_F_ACK, NLM_F_REQUEST};

use super::Ruling;

/// Octets of `struct nfgenmsg`.
pub(super) const NFGENMSG: usize = 4;

/// `NFNL_SUBSYS_QUEUE` in the upper octet of a message type.
const SUBSYSTEM: u16 = 3 << 8;
pub(super) const NFQNL_MSG_PACKET: u16 = SUBSYSTEM;
pub(super) const NFQNL_MSG_VERDICT: u16 = SUBSYSTEM | 1;
pub(super) const NFQNL_MSG_CONFIG: u16 = SUBSYSTEM | 2;
pub(super) const NFQNL_MSG_VERDICT_BATCH: u16 = SUBSYSTEM | 3;

pub(super) const NFQA_PACKET_HDR: u16 = 1;
pub(super) const NFQA_VERDICT_HDR: u16 = 2;
pub(super) const NFQA_IFINDEX_INDEV: u16 = 5;
pub(super) const NFQA_IFINDEX_OUTDEV: u16 = 6;
pub(super) const NFQA_PAYLOAD: u16 = 10;

const NFQA_CFG_CMD: u16 = 1;
const NFQA_CFG_PARAMS: u16 = 2;
const NFQA_CFG_QUEUE_MAXLEN: u16 = 3;
const NFQA_CFG_MASK: u16 = 4;
const NFQA_CFG_FLAGS: u16 = 5;

const NFQNL_CFG_CMD_BIND: u8 = 1;
const NFQNL_CFG_CMD_UNBIND: u8 = 2;
const NFQNL_COPY_PACKET: u8 = 2;
/// What there is no room for passes and is not dropped.
const NFQA_CFG_F_FAIL_OPEN: u32 = 1;
/// A large packet that hardware would cut into segments is one packet here, and is not cut for us.
const NFQA_CFG_F_GSO: u32 = 4;

const NF_DROP: u32 = 0;
const NF_ACCEPT: u32 = 1;

/// Binds a queue and sets everything about it in one message, so that no packet is queued under the kernel's defaults.
/// Until [`open`] is sent every packet passes: a queue of length 0 is always full.
pub(super) fn bind(queue: u16, snaplen: u32, sequence: u32) -> Batch {
    asked(queue, sequence, |message| {
        message.attribute(NFQA_CFG_CMD, &[NFQNL_CFG_CMD_BIND, 0, 0, 0]);
        let [a, b, c, d] = snaplen.to_be_bytes();
        message.attribute(NFQA_CFG_PARAMS, &[a, b, c, d, NFQNL_COPY_PACKET]);
        message.be32(NFQA_CFG_QUEUE_MAXLEN, 0);
        let flags = NFQA_CFG_F_FAIL_OPEN | NFQA_CFG_F_GSO;
        message.be32(NFQA_CFG_FLAGS, flags);
        message.be32(NFQA_CFG_MASK, flags);
    })
}

/// Lets at most `length` packets wait for their verdict.
pub(super) fn open(queue: u16, length: u32, sequence: u32) -> Batch {
    asked(queue, sequence, |message| message.be32(NFQA_CFG_QUEUE_MAXLEN, length))
}

/// Ends a queue so that none of its packets is lost, though unbinding drops what waits (`nfqnl_flush`): what comes now
/// passes by a queue of length 0, then all that wait are let go, `last` being the latest number that was seen.
pub(super) fn close(batch: &mut Batch, queue: u16, last: u32) {
    let header = Header { kind: NFQNL_MSG_CONFIG, flags: NLM_F_REQUEST, sequence: 0 };
    batch.message(header, &to(queue), |message| message.be32(NFQA_CFG_QUEUE_MAXLEN, 0));
    // Of two numbers the kernel takes that for the later one that is at most 2³¹ − 1 ahead (`nfq_id_after`).
    accept_until(batch, queue, last.wrapping_add(u32::MAX / 2));
    batch.message(header, &to(queue), |message| {
        message.attribute(NFQA_CFG_CMD, &[NFQNL_CFG_CMD_UNBIND, 0, 0, 0]);
    });
}

/// The verdict on one packet.
pub(super) fn verdict(batch: &mut Batch, queue: u16, id: u32, ruling: Ruling) {
    let verdict = match ruling {
        Ruling::Accept => NF_ACCEPT,
        Ruling::Drop => NF_DROP,
    };
    give(batch, NFQNL_MSG_VERDICT, queue, verdict, id);
}

/// Accepts every packet that waits, up to number `id`.
pub(super) fn accept_until(batch: &mut Batch, queue: u16, id: u32) {
    give(batch, NFQNL_MSG_VERDICT_BATCH, queue, NF_ACCEPT, id);
}

/// `struct nfqnl_msg_verdict_hdr` under `kind`. No answer is asked for: the kernel answers only what fails.
fn give(batch: &mut Batch, kind: u16, queue: u16, verdict: u32, id: u32) {
    let header = Header { kind, flags: NLM_F_REQUEST, sequence: 0 };
    batch.message(header, &to(queue), |message| {
        let ([a, b, c, d], [e, f, g, h]) = (verdict.to_be_bytes(), id.to_be_bytes());
        message.attribute(NFQA_VERDICT_HDR, &[a, b, c, d, e, f, g, h]);
    });
}

/// A request that changes nothing: the subsystem has no such message (`EINVAL`), but looks at the sender's rights
/// first (`EPERM`; nfnetlink_rcv in net/netfilter/nfnetlink.c).
pub(super) fn probe_rights(sequence: u32) -> Batch {
    let mut batch = Batch::default();
    let header = Header { kind: SUBSYSTEM | 0xff, flags: NLM_F_REQUEST | NLM_F_ACK, sequence };
    batch.message(header, &to(0), |_| {});
    batch
}

fn asked(queue: u16, sequence: u32, body: impl FnOnce(&mut Batch)) -> Batch {
    let mut batch = Batch::default();
    let header = Header { kind: NFQNL_MSG_CONFIG, flags: NLM_F_REQUEST | NLM_F_ACK, sequence };
    batch.message(header, &to(queue), body);
    batch
}

/// `struct nfgenmsg`: AF_UNSPEC, NFNETLINK_V0, and the queue as res_id.
const fn to(queue: u16) -> [u8; NFGENMSG] {
    let [high, low] = queue.to_be_bytes();
    [0, 0, high, low]
}
