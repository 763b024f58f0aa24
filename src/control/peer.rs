//! Who is on the other end of the socket, and what that entitles them to.

use std::io;
use std::os::fd::AsFd;

/// The credentials a peer had when it connected, as the kernel recorded them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Process id; 0 where it lives in a PID namespace we cannot see.
    pub pid: i32,
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// What a peer may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rights {
    /// Nothing.
    Nothing,
    /// What changes nothing.
    Read,
    /// That, and to have the configuration read again.
    Reload,
    /// Everything.
    Change,
}

impl Peer {
    /// Asks the kernel about a connected stream socket (man 7 unix: SO_PEERCRED; SO_PEERGROUPS since Linux 4.13).
    ///
    /// # Errors
    /// Those of getsockopt.
    pub fn of(socket: &impl AsFd) -> io::Result<Self> {
        let credentials = getsockopt::peercred(socket.as_fd())?;
        let groups = getsockopt::peergroups(socket.as_fd())?;
        Ok(Self { pid: credentials.pid, uid: credentials.uid, gid: credentials.gid, groups })
    }

    /// Root may change, members of the socket's group may read. The service manager reloads as the daemon's own user; so do
    /// hooks run, which have no more say over the firewall by asking than by their lack of capabilities.
    #[must_use]
    pub fn rights(&self, own_uid: u32, group: u32) -> Rights {
        if self.uid == 0 {
            Rights::Change
        } else if self.uid == own_uid {
            Rights::Reload
        } else if self.gid == group || self.groups.contains(&group) {
            Rights::Read
        } else {
            Rights::Nothing
        }
    }
}

/// rustix has no SO_PEERGROUPS, and its SO_PEERCRED takes a pid for non-zero, which the kernel does not promise.
#[expect(unsafe_code, reason = "getsockopt writes through a pointer")]
mod getsockopt {
    use std::io;
    use std::os::fd::{AsRawFd as _, BorrowedFd};

    pub(super) fn peercred(socket: BorrowedFd<'_>) -> io::Result<libc::ucred> {
        let mut credentials = [libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX }];
        read(socket, libc::SO_PEERCRED, &mut credentials).map_err(|(error, _)| error)?;
        let [credentials] = credentials;
        Ok(credentials)
    }

    pub(super) fn peergroups(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
        // Most people are in few groups. Where there are more (at most NGROUPS_MAX, 65,536) the kernel answers ERANGE
        // and how many there are (sk_getsockopt in net/core/sock.c).
        let mut groups = vec![0; 64];
        let length = read(socket, libc::SO_PEERGROUPS, &mut groups).or_else(|(error, needed)| {
            if error.raw_os_error() != Some(libc::ERANGE) {
                return Err(error);
            }
            groups.resize(needed, 0);
            read(socket, libc::SO_PEERGROUPS, &mut groups).map_err(|(error, _)| error)
        })?;
        groups.truncate(length);
        Ok(groups)
    }

    /// What the kernel may write any octets into, and how many values the kernel wrote; with an error, how many it
    /// would have written.
    trait Plain: Copy {}
    impl Plain for u32 {}
    impl Plain for libc::ucred {}

    fn read<T: Plain>(
        socket: BorrowedFd<'_>,
        option: libc::c_int,
        values: &mut [T],
    ) -> Result<usize, (io::Error, usize)> {
        let mut length = libc::socklen_t::try_from(size_of_val(values)).unwrap_or(libc::socklen_t::MAX);
        // SAFETY: `values` is writable for `length` octets, the kernel writes no more than that, and every octet
        // pattern is a valid `T`; `length` outlives the call.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                values.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        let error = io::Error::last_os_error();
        let count = usize::try_from(length).unwrap_or(0) / size_of::<T>();
        if result == 0 { Ok(count) } else { Err((error, count)) }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn peer(uid: u32, gid: u32, groups: &[u32]) -> Peer {
        Peer { pid: 1, uid, gid, groups: groups.to_vec() }
    }

    #[test]
    fn root_changes_and_the_daemons_user_reloads_and_the_group_reads_and_nobody_else_does_anything() {
        const OWN: u32 = 990;
        const GROUP: u32 = 991;
        for (peer, rights) in [
            (peer(0, 0, &[]), Rights::Change),
            (peer(OWN, GROUP, &[]), Rights::Reload),
            (peer(1000, GROUP, &[]), Rights::Read),
            (peer(1000, 1000, &[4, 27, GROUP]), Rights::Read),
            (peer(1000, 1000, &[4, 27]), Rights::Nothing),
            (peer(1000, 0, &[0]), Rights::Nothing),
            (peer(65534, 65534, &[]), Rights::Nothing),
        ] {
            assert_eq!(peer.rights(OWN, GROUP), rights, "{peer:?}");
        }
    }

    #[test]
    fn the_kernel_tells_who_connected() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let peer = Peer::of(&ours).unwrap();
        assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
        assert_eq!(peer.gid, rustix::process::getegid().as_raw());
        assert_eq!(u32::try_from(peer.pid), Ok(std::process::id()));
        let groups = rustix::process::getgroups().unwrap();
        assert_eq!(peer.groups, groups.iter().map(|group| group.as_raw()).collect::<Vec<_>>());
    }

    #[test]
    fn a_member_of_more_groups_than_expected_is_known_by_all_of_them() {
        // Credentials are a thread's own in the kernel, so a thread can take groups without the rest of the process.
        let groups: Vec<_> = (5000..5200).map(rustix::process::Gid::from_raw).collect();
        let told = std::thread::spawn(move || {
            rustix::thread::set_thread_groups(&groups).ok()?;
            let (ours, _theirs) = UnixStream::pair().unwrap();
            Some(Peer::of(&ours).unwrap().groups)
        });
        match told.join().unwrap() {
            Some(told) => assert_eq!(told, (5000..5200).collect::<Vec<u32>>()),
            None => {
                // The only user of a namespace is root by name alone.
                let map = std::fs::read_to_string("/proc/self/gid_map").unwrap();
                let alone = map.split_whitespace().nth(2) == Some("1");
                assert!(alone || !rustix::process::geteuid().is_root(), "root must be able to set groups");
            }
        }
    }
}
