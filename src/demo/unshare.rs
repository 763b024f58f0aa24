//! Leaving the machine's namespaces: the only unsafe call of the demonstration.

use rustix::io;
use rustix::thread::UnshareFlags;

/// What a process may leave here. None of these touches memory or the table of file descriptors.
#[derive(Debug, Clone, Copy)]
pub(super) enum Leave {
    /// The network, and for children the process ids.
    NetworkAndProcesses,
    /// The user ids as well, which is what lets an ordinary user leave the other two. The process has one thread.
    UsersNetworkAndProcesses,
    /// The network, for the calling thread alone.
    Network,
}

/// Gives the calling thread new namespaces in place of those it leaves.
pub(super) fn unshare(leave: Leave) -> io::Result<()> {
    let flags = match leave {
        Leave::Network => UnshareFlags::NEWNET,
        Leave::NetworkAndProcesses => UnshareFlags::NEWNET | UnshareFlags::NEWPID,
        Leave::UsersNetworkAndProcesses => {
            UnshareFlags::NEWUSER | UnshareFlags::NEWNET | UnshareFlags::NEWPID
        }
    };
    // SAFETY: rustix marks the call unsafe for `UnshareFlags::FILES`, which none of these holds.
    #[expect(unsafe_code, reason = "rustix has no safe form of it")]
    unsafe {
        rustix::thread::unshare_unsafe(flags)
    }
}
