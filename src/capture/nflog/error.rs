//! Why a capture cannot begin, in words that say what to do.

use std::io;

/// Why NFLOG groups cannot be bound. None of these is worth retrying without a change from outside, but for
/// [`OpenError::Taken`], which ends when the other program does.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Group 0 was asked for.
    #[error(
        "NFLOG group 0 is where the kernel itself logs invalid conntrack packets: log to another group (nft `log group 100`)"
    )]
    ReservedGroup,
    /// A value the kernel would not honour.
    #[error("NFLOG group {group}: {what}")]
    Settings {
        /// The group it was given for.
        group: u16,
        /// What is wrong.
        what: &'static str,
    },
    /// One group was asked for twice.
    #[error("NFLOG group {group} is listed twice: name it once")]
    Repeated {
        /// The group.
        group: u16,
    },
    /// The process may not.
    #[error(
        "no permission to receive NFLOG: run as root or with CAP_NET_ADMIN in the network namespace's own user namespace (systemd: AmbientCapabilities=CAP_NET_ADMIN, PrivateUsers=no)"
    )]
    NotPermitted,
    /// Another program receives the group. The kernel says EPERM, as for a lack of rights; this one was told apart.
    #[error(
        "NFLOG group {group} is received by another program (column 2 of /proc/net/netfilter/nfnetlink_log is its netlink port, mostly its process id): stop it, or log to another group"
    )]
    Taken {
        /// The group.
        group: u16,
    },
    /// The kernel has no NFLOG.
    #[error(
        "the kernel has no NFLOG ({0}): load the module nfnetlink_log, or build it (CONFIG_NETFILTER_NETLINK_LOG)"
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
