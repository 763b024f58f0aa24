//! The socket messages travel over.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::{Errno, FdFlags};
use rustix::net::RecvFlags;

use super::{Batch, Message, Messages};

/// `NLMSG_ERROR`: an errno, 0 for an acknowledgement.
pub const NLMSG_ERROR: u16 = 2;
/// `NLMSG_DONE`: the end of a dump, or of a datagram of several messages.
pub const NLMSG_DONE: u16 = 3;
/// `NLMSG_OVERRUN`: data was lost.
pub const NLMSG_OVERRUN: u16 = 4;
/// `NLM_F_REQUEST`.
pub const NLM_F_REQUEST: u16 = 0x01;
/// `NLM_F_ACK`: answer with an errno even when all is well.
pub const NLM_F_ACK: u16 = 0x04;
/// `NLM_F_DUMP_INTR`: the table changed while it was being dumped.
pub const NLM_F_DUMP_INTR: u16 = 0x10;
/// `NLM_F_ROOT | NLM_F_MATCH`.
pub const NLM_F_DUMP: u16 = 0x300;

/// Octets for one datagram of a dump. The kernel fills at most 32 KiB at a time (`netlink_dump` in
/// net/netlink/af_netlink.c).
const DUMP_BUFFER: usize = 64 * 1024;
/// How often a dump is begun anew when the table changes under it. One more change later is told by whoever watches.
const DUMP_ATTEMPTS: usize = 4;
/// The kernel answers a request while it is being sent, so this limit is for a kernel that is stuck.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// A netlink socket that never blocks and is closed on exec.
///
/// Not `Send`, as `mnl::Socket` is not: open it in the thread that uses it.
///
/// Messages come from the kernel alone: sending to another program's port takes `CAP_NET_ADMIN` in the namespace
/// (`netlink_sendmsg`), and who has that can change the firewall itself.
pub struct Socket(mnl::Socket);

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Socket").field(&self.0.as_raw_fd()).finish()
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: mnl keeps the descriptor open until `self.0` is dropped, and the borrow ends before `self` does.
        #[expect(unsafe_code, reason = "mnl::Socket has no AsFd")]
        let fd = unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) };
        fd
    }
}

impl Socket {
    /// Opens a socket of `bus` and joins the multicast groups whose bits are set in `groups` (group 1 is bit 0).
    ///
    /// # Errors
    /// As socket(2) and bind(2) of man 7 netlink: `EPROTONOSUPPORT` where the kernel lacks the bus.
    pub fn open(bus: mnl::Bus, groups: u32) -> io::Result<Self> {
        let socket = Self(mnl::Socket::open(bus)?);
        rustix::io::fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
        socket.0.bind(groups, 0)?;
        Ok(socket)
    }

    /// Hears of the groups whose bits are set in `groups`, and of no others any more.
    ///
    /// # Errors
    /// As bind(2) of man 7 netlink.
    pub fn hear(&self, groups: u32) -> io::Result<()> {
        // A socket that is bound keeps its port (`netlink_bind`).
        self.0.bind(groups, self.port().cast_signed())
    }

    /// Asks for error messages without the request they answer, which can be as large as a transaction.
    ///
    /// # Errors
    /// As setsockopt(2).
    pub fn leave_out_requests(&self) -> io::Result<()> {
        let on: libc::c_int = 1;
        let length = libc::socklen_t::try_from(size_of_val(&on)).unwrap_or_default();
        // SAFETY: the option's value is a C int, `on` is one and lives through the call, and `length` is its size.
        #[expect(unsafe_code, reason = "rustix has no NETLINK_CAP_ACK")]
        let result = unsafe {
            libc::setsockopt(
                self.0.as_raw_fd(),
                libc::SOL_NETLINK,
                libc::NETLINK_CAP_ACK,
                std::ptr::from_ref(&on).cast(),
                length,
            )
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// The port that the kernel gave this socket: `nlmsg_pid` of what it causes.
    #[must_use]
    pub fn port(&self) -> u32 {
        self.0.portid()
    }

    /// Leaves out, from now on, datagrams whose first message `port` has caused: they take no room and wake nobody.
    /// Replaces an earlier port.
    ///
    /// # Errors
    /// As setsockopt(2).
    pub fn leave_out_port(&self, port: u32) -> io::Result<()> {
        const NLMSG_PID: u32 = 12; // of struct nlmsghdr
        let code = |of: u32| u16::try_from(of).unwrap_or_default();
        let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
        // BPF loads words in network byte order, and netlink is in the host's.
        let port = u32::from_be_bytes(port.to_ne_bytes());
        let mut steps = [
            step(code(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS), 0, 0, NLMSG_PID),
            step(code(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K), 0, 1, port),
            step(code(libc::BPF_RET | libc::BPF_K), 0, 0, 0),
            step(code(libc::BPF_RET | libc::BPF_K), 0, 0, u32::MAX),
        ];
        let program = libc::sock_fprog {
            len: u16::try_from(steps.len()).unwrap_or_default(),
            filter: steps.as_mut_ptr(),
        };
        let length = libc::socklen_t::try_from(size_of_val(&program)).unwrap_or_default();
        // SAFETY: the option's value is a sock_fprog, whose `filter` points to `len` steps that live through the call: the
        // kernel copies them. `length` is the value's size.
        #[expect(unsafe_code, reason = "rustix has no SO_ATTACH_FILTER")]
        let result = unsafe {
            libc::setsockopt(
                self.0.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_ATTACH_FILTER,
                std::ptr::from_ref(&program).cast(),
                length,
            )
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Sends all messages of `batch` as one datagram.
    ///
    /// # Errors
    /// As sendmsg(2); what the kernel thinks of the messages comes back as messages.
    pub fn send(&self, batch: &Batch) -> io::Result<()> {
        self.0.send(batch.as_bytes()).map(drop)
    }

    /// Receives one datagram, if there is one.
    ///
    /// # Errors
    /// `WouldBlock` when nothing waits; `ENOBUFS` once after an overrun; `EMSGSIZE` when the datagram was longer
    /// than `buffer`, its rest being lost.
    pub fn receive<'a>(&self, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
        let (_, length) = rustix::net::recv(self, &mut *buffer, RecvFlags::DONTWAIT | RecvFlags::TRUNC)?;
        buffer.get(..length).ok_or_else(|| Errno::MSGSIZE.into())
    }

    /// Waits until a datagram can be received; `TimedOut` after `limit`.
    fn wait(&self, limit: Duration) -> io::Result<()> {
        let limit = Timespec::try_from(limit).map_err(|_| Errno::INVAL)?;
        let mut fds = [PollFd::new(self, PollFlags::IN)];
        match rustix::event::poll(&mut fds, Some(&limit)) {
            Ok(0) => Err(io::ErrorKind::TimedOut.into()),
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Sends the dump request `request` (with its family's fixed header in it) and calls `each` for every message of
    /// the answer. When the table changed meanwhile, `each` sees it again from the start: it must not mind.
    ///
    /// # Errors
    /// What the kernel refuses the request with, or as [`Socket::receive`].
    pub fn dump(&self, request: &Batch, mut each: impl FnMut(Message<'_>)) -> io::Result<()> {
        let mut buffer = vec![0; DUMP_BUFFER];
        for _ in 0..DUMP_ATTEMPTS {
            self.send(request)?;
            if self.dump_once(&mut buffer, &mut each)? == Dumped::Whole {
                break;
            }
        }
        Ok(())
    }

    fn dump_once(&self, buffer: &mut [u8], each: &mut impl FnMut(Message<'_>)) -> io::Result<Dumped> {
        let mut dumped = Dumped::Whole;
        loop {
            let datagram = match self.receive(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait(ANSWER_WITHIN)?;
                    continue;
                }
                received => received?,
            };
            for message in Messages::new(datagram) {
                if message.flags & NLM_F_DUMP_INTR != 0 {
                    dumped = Dumped::Changing;
                }
                match message.kind {
                    NLMSG_DONE | NLMSG_ERROR => {
                        return match message.errno() {
                            None | Some(0) => Ok(dumped),
                            Some(errno) => Err(io::Error::from_raw_os_error(errno)),
                        };
                    }
                    _ => each(message),
                }
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Dumped {
    Whole,
    Changing,
}
