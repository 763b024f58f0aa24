//! Ends the connections of banned sources: their conntrack entries are deleted through ctnetlink.
//!
//! The ban itself already drops whatever the source sends. What this adds: our own half of such a connection finds no
//! entry any more (no NAT, no `ct state established accept` that would let it out), and an entry in a flowtable, whose
//! packets pass by all hooks, ends with its connection (`nf_flow_offload_gc_step` of net/netfilter/nf_flow_table_core.c
//! looks for dying ones once a second).
//!
//! The kernel deletes by an exact tuple, or all entries that a filter leaves (`ctnetlink_flush_conntrack`: by address
//! in Linux 6.12 and not in 6.1, by prefix in none). So the table is read and what is meant is deleted by tuple and id, which
//! cannot hit a newer connection with the same tuple. Reading 262,144 entries can take seconds: a thread of
//! its own does it, for all bans that came meanwhile together, and rests ten times as long as it worked.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use ipnet::IpNet;
use mnl::Bus;
use tracing::{debug, warn};

use crate::address::AddressSet;
use crate::netlink::{
    Attribute, Attributes, Batch, Header, Message, Messages, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_ERROR, Socket,
};

/// Banned sources that may wait: above the most bans there can be. More are passed over, and their entries end of
/// themselves, as nothing of the source comes in any more.
const QUEUE: usize = 1 << 20;
/// After reading the table, so many times as long is rested: a tenth of a CPU at most.
const REST: u32 = 10;
/// Entries deleted after one reading; more need another one.
const DOOMED: usize = 1 << 14;
/// Deletions in one datagram. The kernel answers for each that failed, and all answers must fit the socket.
const DELETIONS: usize = 64;
/// The longest answer: an errno with the request it is about.
const ANSWERS: usize = 64 * 1024;

// linux/netfilter/nfnetlink.h and nfnetlink_conntrack.h
const NFNL_SUBSYS_CTNETLINK: u16 = 1;
const IPCTNL_MSG_CT_NEW: u16 = 0;
const IPCTNL_MSG_CT_GET: u16 = 1;
const IPCTNL_MSG_CT_DELETE: u16 = 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;
const CTA_TUPLE_IP: u16 = 1;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_IP_V6_DST: u16 = 4;

/// The thread that ends connections. When this is dropped it ends after the reading it is at, and nobody waits for it.
#[derive(Debug)]
pub struct Disconnector(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<IpNet>,
    /// Entries deleted.
    done: u64,
    stop: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disconnector {
    /// Begins with a thread in the calling thread's network namespace. It asks for nothing until somebody is banned.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub fn start() -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let its = Arc::clone(&shared);
        thread::Builder::new().name("conntrack".to_owned()).spawn(move || work(&its))?;
        Ok(Self(shared))
    }

    /// Has the connections of all `sources` ended, and does not wait for it.
    pub fn disconnect(&self, sources: impl IntoIterator<Item = IpNet>) {
        let mut state = self.0.lock();
        let before = state.waiting.len();
        state.waiting.extend(sources.into_iter().take(QUEUE.saturating_sub(before)));
        let more = state.waiting.len() > before;
        drop(state);
        if more {
            self.0.changed.notify_one();
        }
    }

    /// How many entries have been deleted so far.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.0.lock().done
    }
}

impl Drop for Disconnector {
    fn drop(&mut self) {
        self.0.lock().stop = true;
        self.0.changed.notify_one();
    }
}

/// What the thread does until it is to stop.
fn work(shared: &Shared) {
    let mut failing = false;
    loop {
        let state = shared.lock();
        let waits = |state: &mut State| state.waiting.is_empty() && !state.stop;
        let mut state = shared.changed.wait_while(state, waits).unwrap_or_else(PoisonError::into_inner);
        if state.stop {
            return;
        }
        let sources: AddressSet = std::mem::take(&mut state.waiting).into_iter().collect();
        drop(state);
        let began = Instant::now();
        let deleted = delete_entries_of(&sources);
        let took = began.elapsed();
        let mut state = shared.lock();
        match deleted {
            Ok(entries) => {
                state.done = state.done.saturating_add(entries);
                debug!(entries, ?took, "conntrack entries of banned sources deleted");
                failing = false;
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    warn!("cannot delete the conntrack entries of banned sources: {error}");
                }
            }
        }
        let rests = |state: &mut State| !state.stop;
        drop(shared.changed.wait_timeout_while(state, took * REST, rests));
    }
}

/// Deletes the conntrack entries of this network namespace that are of `sources`, and tells how many: those that they
/// began, and those that were begun to them, by this host or by one behind it. Takes as long as reading the table.
///
/// # Errors
/// When the kernel cannot be asked: EPERM without CAP_NET_ADMIN, EOPNOTSUPP or EINVAL without ctnetlink.
pub fn delete_entries_of(sources: &AddressSet) -> io::Result<u64> {
    let mut deleted = 0;
    loop {
        // Not kept: a socket that was left in the midst of an answer is of no more use, and this one is seldom needed.
        let socket = Socket::open(Bus::Netfilter, 0)?;
        let doomed = find(&socket, sources)?;
        let now = delete(&socket, &doomed)?;
        deleted += now;
        if doomed.len() < DOOMED || now == 0 {
            return Ok(deleted);
        }
    }
}

/// What names one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    family: u8,
    /// The octets of `CTA_TUPLE_ORIG`, as the kernel told them.
    tuple: Vec<u8>,
    zone: Option<Vec<u8>>,
    id: Vec<u8>,
}

/// The entries of `sources`, at most [`DOOMED`].
fn find(socket: &Socket, sources: &AddressSet) -> io::Result<Vec<Entry>> {
    const AF_UNSPEC: u8 = 0;
    let mut request = Batch::default();
    let header = Header { kind: ct(IPCTNL_MSG_CT_GET), flags: NLM_F_REQUEST | NLM_F_DUMP, sequence: 1 };
    request.message(header, &[AF_UNSPEC, 0, 0, 0], |_| ());
    let mut found = Vec::new();
    socket.dump(&request, |message| {
        if found.len() < DOOMED {
            found.extend(read(&message, sources));
        }
    })?;
    Ok(found)
}

/// An entry of a dump, if it is of `sources`.
fn read(message: &Message<'_>, sources: &AddressSet) -> Option<Entry> {
    if message.kind != ct(IPCTNL_MSG_CT_NEW) {
        return None;
    }
    let (mut original, mut reply, mut zone, mut id) = (None, None, None, None);
    for attribute in message.attributes(4) {
        match attribute.kind {
            CTA_TUPLE_ORIG => original = Some(attribute),
            CTA_TUPLE_REPLY => reply = Some(attribute),
            CTA_ZONE => zone = Some(attribute.value),
            CTA_ID => id = Some(attribute.value),
            _ => {}
        }
    }
    let (original, reply, id) = (original?, reply?, id?);
    // Whom the original source talks to is the original destination, and after DNAT the reply's source.
    let ends = [addresses(original)?, addresses(reply)?];
    let [[from, to], [answers, _]] = ends;
    [from, to, answers].into_iter().any(|address| sources.contains(address)).then(|| Entry {
        family: message.payload.first().copied().unwrap_or_default(),
        tuple: original.value.to_vec(),
        zone: zone.map(<[u8]>::to_vec),
        id: id.to_vec(),
    })
}

/// Source and destination of a tuple.
fn addresses(tuple: Attribute<'_>) -> Option<[IpAddr; 2]> {
    let find = |list: Attributes<'_>, kinds: [u16; 2]| {
        let mut list = list;
        list.find(|attribute| kinds.contains(&attribute.kind)).and_then(|attribute| address(attribute.value))
    };
    let ip = tuple.nested().find(|attribute| attribute.kind == CTA_TUPLE_IP)?;
    let source = find(ip.nested(), [CTA_IP_V4_SRC, CTA_IP_V6_SRC])?;
    let destination = find(ip.nested(), [CTA_IP_V4_DST, CTA_IP_V6_DST])?;
    Some([source, destination])
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    match octets.len() {
        4 => octets.first_chunk::<4>().map(|octets| IpAddr::from(*octets)),
        16 => octets.first_chunk::<16>().map(|octets| IpAddr::from(*octets)),
        _ => None,
    }
}

/// Deletes entries and tells how many were still there.
fn delete(socket: &Socket, entries: &[Entry]) -> io::Result<u64> {
    let mut deleted = 0;
    let mut buffer = vec![0; ANSWERS];
    for some in entries.chunks(DELETIONS) {
        let mut batch = Batch::default();
        for (sequence, entry) in (1..).zip(some) {
            let header = Header { kind: ct(IPCTNL_MSG_CT_DELETE), flags: NLM_F_REQUEST, sequence };
            batch.message(header, &[entry.family, 0, 0, 0], |message| write(message, entry));
        }
        socket.send(&batch)?;
        deleted += some.len() as u64;
        // The kernel has dealt with all when `sendmsg` returns, and answers only for those it could not delete.
        deleted = deleted.saturating_sub(refusals(socket, &mut buffer)?);
    }
    Ok(deleted)
}

fn write(message: &mut Batch, entry: &Entry) {
    const NLA_F_NESTED: u16 = 0x8000;
    message.attribute(CTA_TUPLE_ORIG | NLA_F_NESTED, &entry.tuple);
    if let Some(zone) = &entry.zone {
        message.attribute(CTA_ZONE, zone);
    }
    message.attribute(CTA_ID, &entry.id);
}

/// How many deletions met nothing: the entry has gone, or another one has taken its tuple.
fn refusals(socket: &Socket, buffer: &mut [u8]) -> io::Result<u64> {
    let mut refused = 0;
    loop {
        let datagram = match socket.receive(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(refused),
            received => received?,
        };
        for message in Messages::new(datagram).filter(|message| message.kind == NLMSG_ERROR) {
            match message.errno() {
                None | Some(0) => {}
                // EBUSY: what a flowtable has taken over, in kernels older than 6.1.
                Some(libc::ENOENT | libc::EBUSY) => refused += 1,
                Some(errno) => return Err(io::Error::from_raw_os_error(errno)),
            }
        }
    }
}

/// The type of a ctnetlink message.
const fn ct(message: u16) -> u16 {
    NFNL_SUBSYS_CTNETLINK << 8 | message
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel tells of an entry: original source and destination, the reply's source.
    fn told(original: [&str; 2], answers: &str) -> Batch {
        let tuple = |batch: &mut Batch, kind, [from, to]: [&str; 2]| {
            batch.nest(kind, |tuple| {
                tuple.nest(CTA_TUPLE_IP, |ip| {
                    for (address, four, six) in
                        [(from, CTA_IP_V4_SRC, CTA_IP_V6_SRC), (to, CTA_IP_V4_DST, CTA_IP_V6_DST)]
                    {
                        match address.parse().unwrap() {
                            IpAddr::V4(address) => ip.attribute(four, &address.octets()),
                            IpAddr::V6(address) => ip.attribute(six, &address.octets()),
                        }
                    }
                });
            });
        };
        let mut batch = Batch::default();
        let header = Header { kind: ct(IPCTNL_MSG_CT_NEW), flags: 0, sequence: 1 };
        batch.message(header, &[2, 0, 0, 0], |message| {
            tuple(message, CTA_TUPLE_ORIG, original);
            tuple(message, CTA_TUPLE_REPLY, [answers, original[0]]);
            message.be32(CTA_ID, 7);
        });
        batch
    }

    fn meant(original: [&str; 2], answers: &str, source: &str) -> bool {
        let sources: AddressSet = [source.parse::<IpNet>().unwrap()].into_iter().collect();
        let batch = told(original, answers);
        Messages::new(batch.as_bytes()).any(|message| read(&message, &sources).is_some())
    }

    #[test]
    fn an_entry_is_of_a_source_that_began_it_or_that_it_was_begun_to() {
        let ours = "198.51.100.1";
        let bad = "203.0.113.7";
        assert!(meant([bad, ours], ours, "203.0.113.7/32"), "it came to us");
        assert!(meant([ours, bad], bad, "203.0.113.7/32"), "we went to it");
        assert!(meant([ours, "192.0.2.9"], bad, "203.0.113.7/32"), "we went to it by way of DNAT");
        assert!(meant([bad, ours], "10.0.0.5", "203.0.113.0/24"), "a prefix, to a port that is forwarded");
        assert!(!meant(["203.0.113.8", ours], ours, "203.0.113.7/32"), "a neighbour");
        assert!(meant(["2001:db8:bad::9", "2001:db8::1"], "2001:db8::1", "2001:db8:bad::/64"));
        assert!(!meant(["2001:db8:bad:1::9", "2001:db8::1"], "2001:db8::1", "2001:db8:bad::/64"));
    }

    #[test]
    fn an_entry_that_is_cut_short_is_nobodys() {
        let batch = told(["203.0.113.7", "198.51.100.1"], "198.51.100.1");
        let sources: AddressSet = ["0.0.0.0/0".parse::<IpNet>().unwrap()].into_iter().collect();
        let message = Messages::new(batch.as_bytes()).next().unwrap();
        for length in 0..message.payload.len() {
            let payload = message.payload.get(..length).unwrap();
            assert_eq!(read(&Message { payload, ..message }, &sources), None, "{length}");
        }
        assert!(read(&message, &sources).is_some());
    }
}
