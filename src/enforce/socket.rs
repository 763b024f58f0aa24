//! The conversation with nf_tables over netlink.

use std::io;

use mnl::Bus;
use rustix::net::sockopt;

use super::uapi::*;
use crate::netlink::{
    Batch, Header, Message, Messages, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR,
    Socket,
};

/// What is asked of the kernel for one transaction in, and for its answers out. A transaction of 1,000 renewals of
/// restricted sources is about 1 MiB; each refusal that comes back takes about 1 KiB of the kernel's accounting.
const BUFFER: usize = 4 << 20;
/// The largest datagram the kernel sends: it builds dumps in pieces of at most 32 KiB (`netlink_dump`).
const DATAGRAM: usize = 64 << 10;
/// How often a dump is begun anew when the tables change under it.
const DUMPS: usize = 16;

/// A socket to nf_tables of the network namespace it was opened in, and one for lists.
pub(super) struct Connection {
    /// All changes are made over this one, for as long as this is: a table may belong to it.
    socket: Socket,
    buffer: Vec<u8>,
    sequence: u32,
    room: usize,
    family: u8,
    rehearsing: bool,
    lists: Lists,
    /// How many transactions the kernel has committed over this connection, modulo 2³².
    commits: u32,
}

impl Connection {
    /// Opens a socket in the calling thread's network namespace, for tables of `family` (`NFPROTO_…`).
    pub(super) fn open(family: u8) -> io::Result<Self> {
        // It never blocks: every answer is there when `sendmsg` returns, and one that got lost would be waited for for ever.
        let socket = Socket::open(Bus::Netfilter, 0)?;
        socket.leave_out_requests()?;
        // The FORCE options need CAP_NET_ADMIN in the first user namespace. Smaller buffers mean smaller transactions.
        sockopt::set_socket_send_buffer_size_force(&socket, BUFFER)
            .or_else(|_| sockopt::set_socket_send_buffer_size(&socket, BUFFER))?;
        sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER)
            .or_else(|_| sockopt::set_socket_recv_buffer_size(&socket, BUFFER))?;
        let room = sockopt::socket_send_buffer_size(&socket)?.min(BUFFER);
        let lists = Lists::open(family)?;
        let buffer = vec![0; DATAGRAM];
        Ok(Self { socket, buffer, sequence: 0, room, family, rehearsing: false, lists, commits: 0 })
    }

    /// From now on every transaction is made and none is sent: the kernel is asked, and never changed.
    pub(super) const fn rehearse(&mut self) {
        self.rehearsing = true;
    }

    /// Whether nothing is sent.
    pub(super) const fn is_rehearsing(&self) -> bool {
        self.rehearsing
    }

    /// The family of the tables that are meant.
    pub(super) const fn family(&self) -> u8 {
        self.family
    }

    /// What tells the changes made over this socket from those of others.
    pub(super) fn port(&self) -> u32 {
        self.socket.port()
    }

    /// How many octets one transaction may have.
    pub(super) const fn room(&self) -> usize {
        self.room
    }

    /// Notes that the kernel has committed a transaction.
    pub(super) const fn committed(&mut self) {
        self.commits = self.commits.wrapping_add(1);
    }

    /// How many commits there were in nf_tables without those of this connection, modulo 2³²: unchanged as long as nobody
    /// else changes anything, but for one commit in 2³² (the kernel's counter skips zero).
    pub(super) fn foreign_commits(&mut self) -> io::Result<u32> {
        let sequence = self.sequences(1);
        let mut question = Batch::default();
        let header = Header { kind: nft(NFT_MSG_GETGEN), flags: NLM_F_REQUEST, sequence };
        question.message(header, &nfgenmsg(0, 0), |_| ());
        self.send(&question)?;
        while let Some(messages) = self.receive()? {
            for message in messages.filter(|message| message.sequence == sequence) {
                let id = message.attributes(4).find(|attribute| attribute.kind == NFTA_GEN_ID);
                if let Some(all) = id.and_then(|id| id.be32()) {
                    return Ok(all.wrapping_sub(self.commits));
                }
            }
        }
        Err(io::ErrorKind::UnexpectedEof.into())
    }

    /// Takes `count` sequence numbers and gives the first.
    pub(super) fn sequences(&mut self, count: u32) -> u32 {
        let first = self.sequence.wrapping_add(1);
        self.sequence = self.sequence.wrapping_add(count);
        first
    }

    /// Sends what `batch` holds in one `sendmsg`; the kernel has dealt with it when this returns.
    pub(super) fn send(&self, batch: &Batch) -> io::Result<()> {
        self.socket.send(batch)
    }

    /// The next datagram that is waiting; `None` when there is none.
    pub(super) fn receive(&mut self) -> io::Result<Option<Messages<'_>>> {
        receive(&self.socket, &mut self.buffer)
    }

    /// The socket for lists.
    pub(super) const fn lists(&mut self) -> &mut Lists {
        &mut self.lists
    }

    /// See [`Lists::dump`].
    pub(super) fn dump<T>(
        &mut self,
        kind: u16,
        body: impl Fn(&mut Batch),
        read: impl FnMut(&Message<'_>, &mut Vec<T>),
    ) -> io::Result<Vec<T>> {
        self.lists.dump(kind, body, read)
    }
}

fn receive<'a>(socket: &Socket, buffer: &'a mut [u8]) -> io::Result<Option<Messages<'a>>> {
    loop {
        match socket.receive(buffer).map(<[u8]>::len) {
            Ok(length) => return Ok(buffer.get(..length).map(Messages::new)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A socket to nf_tables that asks for lists and changes nothing. One with a list half read is opened anew, which the
/// socket of a table's owner could not be: the table would be without an owner for a moment.
pub(super) struct Lists {
    socket: Socket,
    buffer: Vec<u8>,
    sequence: u32,
    family: u8,
    torn: bool,
}

impl Lists {
    /// Opens a socket in the calling thread's network namespace, for tables of `family` (`NFPROTO_…`).
    pub(super) fn open(family: u8) -> io::Result<Self> {
        let socket = Socket::open(Bus::Netfilter, 0)?;
        socket.leave_out_requests()?;
        Ok(Self { socket, buffer: vec![0; DATAGRAM], sequence: 0, family, torn: false })
    }

    /// Whether a list that changed while it was told is taken as it is from now on: members that were there all the time may
    /// be missing, and some may be there twice.
    pub(super) const fn accept_torn(&mut self, torn: bool) {
        self.torn = torn;
    }

    /// Asks for a list and gathers what `read` makes of each of its messages. Asks anew when the kernel says that the
    /// list changed in between.
    pub(super) fn dump<T>(
        &mut self,
        kind: u16,
        body: impl Fn(&mut Batch),
        mut read: impl FnMut(&Message<'_>, &mut Vec<T>),
    ) -> io::Result<Vec<T>> {
        for _ in 0..DUMPS {
            let mut list = Vec::new();
            match self.dump_once(kind, &body, |message| read(message, &mut list)) {
                Ok(Dumped::Whole) => return Ok(list),
                Ok(Dumped::Changing) if self.torn => return Ok(list),
                Ok(Dumped::Changing) => {}
                Ok(Dumped::Refused(errno)) => return Err(io::Error::from_raw_os_error(errno)),
                Err(error) => {
                    // A dump left half read would make the next one EBUSY.
                    *self = Self { torn: self.torn, ..Self::open(self.family)? };
                    return Err(error);
                }
            }
        }
        Err(io::Error::from(io::ErrorKind::Interrupted))
    }

    fn dump_once(
        &mut self,
        kind: u16,
        body: impl Fn(&mut Batch),
        mut read: impl FnMut(&Message<'_>),
    ) -> io::Result<Dumped> {
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = self.sequence;
        let mut request = Batch::default();
        let header = Header { kind: nft(kind), flags: NLM_F_REQUEST | NLM_F_DUMP, sequence };
        request.message(header, &nfgenmsg(self.family, 0), body);
        self.socket.send(&request)?;
        let mut whole = true;
        loop {
            let messages = receive(&self.socket, &mut self.buffer)?;
            let Some(messages) = messages else { return Err(io::ErrorKind::UnexpectedEof.into()) };
            for message in messages.filter(|message| message.sequence == sequence) {
                whole &= message.flags & NLM_F_DUMP_INTR == 0;
                if matches!(message.kind, NLMSG_DONE | NLMSG_ERROR) {
                    return match message.errno() {
                        Some(errno) if errno > 0 => Ok(Dumped::Refused(errno)),
                        _ if whole => Ok(Dumped::Whole),
                        _ => Ok(Dumped::Changing),
                    };
                }
                read(&message);
            }
        }
    }
}

/// How a dump ended.
enum Dumped {
    Whole,
    /// The list changed while it was told.
    Changing,
    /// The kernel says why it does not tell. It has nothing more to tell then, so the socket is as good as new.
    Refused(i32),
}

/// The type of an nf_tables message.
pub(super) const fn nft(message: u16) -> u16 {
    NFNL_SUBSYS_NFTABLES << 8 | message
}

/// `struct nfgenmsg`: family, version 0, resource.
pub(super) const fn nfgenmsg(family: u8, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}
