//! Why a queue cannot be bound, in words that say what to do.

use std::io;

/// Why NFQUEUE queues cannot be bound. None of these is worth retrying without a change from outside, but for
/// [`OpenError::Taken`], which ends when the other program does.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The process may not.
    #[error(
        "no permission to give verdicts: run as root or with CAP_NET_ADMIN in the network namespace's own user namespace (systemd: AmbientCapabilities=CAP_NET_ADMIN, PrivateUsers=no)"
    )]
    NotPermitted,
    /// Another program holds the queue. The kernel says EPERM, as for a lack of rights; this one was told apart.
    #[error(
        "NFQUEUE queue {queue} is held by another program (column 2 of /proc/net/netfilter/nfnetlink_queue is its netlink port, mostly its process id): stop it, or choose another number here and in the rule (`queue num {queue}`)"
    )]
    Taken {
        /// The queue.
        queue: u16,
    },
    /// The kernel has no NFQUEUE.
    #[error(
        "the kernel has no NFQUEUE ({0}): load the module nfnetlink_queue, or build it (CONFIG_NETFILTER_NETLINK_QUEUE)"
    )]
    Unsupported(#[source] io::Error),
    /// Anything else.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// The errno.
        source: io::Error,
    },
}

impl OpenError {
    /// Whether privileges are what is missing (exit status 77).
    #[must_use]
    pub const fn is_permission(&self) -> bool {
        matches!(self, Self::NotPermitted)
    }
}
