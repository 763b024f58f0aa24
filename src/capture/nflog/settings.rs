//! How a group is received.
//!
//! The figures are of one machine with 2 cores and Linux 6.18, SYNs of 60 octets.

use super::OpenError;

/// Above this the kernel says yes and keeps what it had (`nfulnl_set_nlbufsiz` in net/netfilter/nfnetlink_log.c).
const NLBUFSIZ_MAX: u32 = 131_072;
/// The largest copy range the kernel honours: an attribute's length has 16 bits and counts its own header.
const SNAPLEN_MAX: u16 = 0xffff - 4;
/// Octets of a packet's message besides payload: headers, prefix (up to 128) and the other attributes.
const MESSAGE_OVERHEAD: u32 = 384;

/// One NFLOG group and how the kernel shall deliver its packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The group a `log group N` rule names. Group 0 is refused unless [`Settings::allow_group_0`] is set.
    pub group: u16,
    /// Takes group 0 nevertheless. The kernel logs packets there on its own account, those conntrack calls invalid
    /// (sysctl net.netfilter.nf_conntrack_log_invalid): they would count as refused by the firewall.
    pub allow_group_0: bool,
    /// Octets copied of a packet, 1–65531. 128 holds IPv6 with extension headers and TCP with options; whole packets
    /// of 1400 octets cost 0.75 µs each on top.
    pub snaplen: u16,
    /// Packets the kernel gathers into one datagram. With 1 a packet is here after 0.1 ms; with 64 it is 3.7 ms at a
    /// low rate, with the kernel's own default of 100 and 1 s it is 516 ms. In return one packet a datagram costs the
    /// receiver 2–2.9 µs, 64 cost 0.3–0.5 µs each: raise it where floods are to be followed packet by packet.
    pub queue_threshold: u32,
    /// When a gathered datagram that is not full is delivered, in 1/100 s. 0 means at the next timer tick, 3.7 ms on
    /// average, and still gathers under a flood; 1 already means 11.5 ms. Without effect when
    /// [`Settings::queue_threshold`] is 1.
    pub flush_timeout_cs: u32,
    /// Octets of a datagram, at most 131072: the kernel says yes to more and ignores it. `None` makes room for
    /// [`Settings::queue_threshold`] packets: with less the threshold is never reached, and room that stays empty is
    /// allocated all the same (at threshold 1, 16 KiB cost the kernel 0.5 µs a packet and 128 KiB 1.5 µs).
    pub nlbufsiz: Option<u32>,
}

impl Settings {
    /// `group` with the defaults, which favour a ban that follows its packet at once.
    #[must_use]
    pub const fn new(group: u16) -> Self {
        Self {
            group,
            allow_group_0: false,
            snaplen: 128,
            queue_threshold: 1,
            flush_timeout_cs: 0,
            nlbufsiz: None,
        }
    }

    /// `NFULA_CFG_NLBUFSIZ`.
    pub(super) fn datagram_size(&self) -> u32 {
        self.nlbufsiz.unwrap_or_else(|| {
            let message = u32::from(self.snaplen) + MESSAGE_OVERHEAD;
            self.queue_threshold.saturating_mul(message).min(NLBUFSIZ_MAX)
        })
    }

    /// What the kernel would take and not do.
    pub(super) fn check(&self) -> Result<(), OpenError> {
        let refuse = |what| Err(OpenError::Settings { group: self.group, what });
        if self.group == 0 && !self.allow_group_0 {
            return Err(OpenError::ReservedGroup);
        }
        if self.snaplen == 0 || self.snaplen > SNAPLEN_MAX {
            return refuse("snaplen must be 1 to 65531 octets");
        }
        if self.queue_threshold == 0 {
            return refuse("queue-threshold must be at least 1");
        }
        if self.nlbufsiz.is_some_and(|octets| octets == 0 || octets > NLBUFSIZ_MAX) {
            return refuse("nlbufsiz must be 1 to 131072 octets, the kernel ignores more");
        }
        Ok(())
    }
}
