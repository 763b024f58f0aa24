//! Hearing of what others do to the table.
//!
//! The kernel tells a commit's changes, in order and with the port of who made them, and ends them with a NEWGEN that
//! names the process (`nf_tables_commit`). Elements that expire are not told. Our own changes are left out in the kernel,
//! so they cost no wake-up.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use ipnet::IpNet;
use mnl::Bus;
use rustix::net::sockopt;

use super::kernel::Kernel;
use super::layout::{self, RESTRICT};
use super::message::{self, Read};
use super::sets::Sets;
use super::socket::nft;
use super::uapi::*;
use crate::decide::Place;
use crate::netlink::{Attribute, Message, Messages, Socket};

/// A flush of 100,000 elements is told in 30 MiB, as the kernel accounts it.
const BUFFER: usize = 32 << 20;
/// The kernel gathers what it tells in datagrams of a page (`nft_commit_notify`).
const DATAGRAM: usize = 64 << 10;
/// Datagrams read between two rounds of packets, some milliseconds' worth: each tells of up to 20 elements. What is left makes
/// the descriptor readable again.
const SOME: usize = 256;
/// And where an answer needs to know all: no more than the buffer holds.
const ALL: usize = 8192;

/// What others did to the table in one transaction.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Interference {
    /// The process, as far as the kernel names it: `nft (process 4711)`.
    pub by: String,
    /// The table was deleted, and all sets with it.
    pub table: bool,
    /// A chain, a rule or a set was: the table is to be set up again.
    pub frame: bool,
    /// The lists of protected addresses and published services, or the rules, were altered: all are to be written again.
    pub altered: bool,
    /// Sets that were deleted.
    pub sets: BTreeSet<Place>,
    /// Bans whose elements were deleted.
    pub deleted: BTreeSet<(Place, IpNet)>,
    /// Restricted sources whose rate limits were.
    pub unlimited: BTreeSet<(Place, IpNet)>,
    /// Sources whose elements were added to hash sets.
    pub added: Vec<(Place, IpNet)>,
    /// Interval sets, which must be read to know what became of them: stretches were added or deleted.
    pub changed: BTreeSet<Place>,
}

/// What a look at the watch gave.
#[derive(Debug, Default)]
pub struct Noticed {
    /// What others did, oldest first. Nothing of what they did elsewhere.
    pub interferences: Vec<Interference>,
    /// More was told than the socket could take: anything may have happened.
    pub overrun: bool,
    /// Whether nothing more waits.
    pub all: bool,
}

/// A socket that becomes readable when another one changes nf_tables. Not `Send`.
pub struct Watch {
    socket: Socket,
    buffer: Vec<u8>,
    table: String,
    sets: Sets,
    own_port: u32,
    /// What was told of a transaction whose end was not.
    begun: Interference,
    /// While nothing is heard: the commits of others before that.
    deaf_since: Option<u32>,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("table", &self.table).finish_non_exhaustive()
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Watch {
    /// Hears of what others than `own_port` do to `sets` of a table, and to the rest of it if it is our own.
    pub(super) fn open(table: &str, sets: &Sets, own_port: u32) -> io::Result<Self> {
        let socket = Socket::open(Bus::Netfilter, NFTABLES_GROUP)?;
        // With less there are more overruns: everything is looked at then.
        sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER)
            .or_else(|_| sockopt::set_socket_recv_buffer_size(&socket, BUFFER))?;
        socket.leave_out_port(own_port)?;
        Ok(Self {
            socket,
            buffer: vec![0; DATAGRAM],
            table: table.to_owned(),
            sets: sets.clone(),
            own_port,
            begun: Interference::default(),
            deaf_since: None,
        })
    }

    /// Hears nothing from now on, when others had made `commits`.
    pub(super) fn close_ears(&mut self, commits: u32) -> io::Result<()> {
        self.socket.hear(0)?;
        self.deaf_since.get_or_insert(commits);
        Ok(())
    }

    /// Hears again. What was missed shows in how many commits others have made from then on.
    pub(super) fn open_ears(&mut self) -> io::Result<Option<u32>> {
        if self.deaf_since.is_some() {
            self.socket.hear(NFTABLES_GROUP)?;
        }
        Ok(self.deaf_since.take())
    }

    /// The commits of others before nothing was heard any more; none while something is.
    pub(super) const fn deaf_since(&self) -> Option<u32> {
        self.deaf_since
    }

    /// Reads what waits, without blocking, but for what `own_port` did; a part of it if there is much and not `all` is needed.
    pub(super) fn notice(&mut self, own_port: u32, all: bool) -> Noticed {
        if self.own_port != own_port {
            self.own_port = own_port;
            // Where it fails, what is ours is left out below.
            let _ = self.socket.leave_out_port(own_port);
        }
        let mut noticed = Noticed::default();
        for _ in 0..if all { ALL } else { SOME } {
            match self.socket.receive(&mut self.buffer) {
                Ok(datagram) => {
                    for message in Messages::new(datagram).filter(|message| message.port != own_port) {
                        if message.kind == nft(NFT_MSG_NEWGEN) {
                            let done = std::mem::take(&mut self.begun);
                            if done != Interference::default() {
                                noticed.interferences.push(Interference { by: process(&message), ..done });
                            }
                        } else {
                            self.begun.take_in(&message, &self.table, &self.sets);
                        }
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    noticed.all = true;
                    break;
                }
                // ENOBUFS, and EMSGSIZE if the kernel should ever tell more at once: something was not heard.
                Err(_) => noticed.overrun = true,
            }
        }
        if noticed.overrun {
            // The end of a transaction may be what was lost: its beginning must not join the next one's.
            self.begun = Interference::default();
        }
        noticed
    }
}

/// Which process a NEWGEN names. Its name is its own choice.
fn process(message: &Message<'_>) -> String {
    let attribute = |kind| message.attributes(4).find(|attribute| attribute.kind == kind);
    let name = attribute(NFTA_GEN_PROC_NAME).map(|name| String::from_utf8_lossy(name.text()).into_owned());
    match (name, attribute(NFTA_GEN_PROC_PID).and_then(|id| id.be32())) {
        (Some(name), Some(id)) => format!("{} (process {id})", name.escape_debug()),
        _ => "a process".to_owned(),
    }
}

/// What a set of the table is for.
enum Use {
    Held(Place),
    Rates(Place),
    /// Protected addresses, published services.
    List,
}

impl Use {
    fn of(set: &[u8], sets: &Sets) -> Option<Self> {
        let is = |name: &str| name.as_bytes() == set;
        let place = |place: Place| match (sets.set(place), sets.rate_set(place)) {
            (Some(set), _) if is(set) => Some(Self::Held(place)),
            (_, Some(rate)) if is(rate) => Some(Self::Rates(place)),
            _ => None,
        };
        let list = || (sets.are_own() && layout::LISTS.iter().any(|list| is(list))).then_some(Self::List);
        sets.places().into_iter().find_map(place).or_else(list)
    }
}

impl Interference {
    fn take_in(&mut self, message: &Message<'_>, table: &str, sets: &Sets) {
        let Some(kind) = message.kind.checked_sub(nft(0)) else { return };
        if message.payload.first() != Some(&sets.family()) {
            return;
        }
        // The first attributes of all these messages name the table and, but for the table itself, what of it.
        let name = |number| {
            message
                .attributes(4)
                .find(|attribute| attribute.kind == number)
                .map(|name: Attribute<'_>| name.text())
        };
        if name(NFTA_TABLE_NAME) != Some(table.as_bytes()) {
            return;
        }
        // Of the administrator's table nothing but the sets is our business.
        let is_chain = |name: &[u8]| sets.are_own() && is_chain(name);
        match kind {
            NFT_MSG_DELTABLE | NFT_MSG_DESTROYTABLE => (self.table, self.frame) = (true, true),
            NFT_MSG_DELCHAIN | NFT_MSG_DESTROYCHAIN => {
                self.frame |= name(NFTA_CHAIN_NAME).is_some_and(is_chain)
            }
            NFT_MSG_DELRULE | NFT_MSG_DESTROYRULE => {
                self.frame |= name(NFTA_RULE_CHAIN).is_some_and(is_chain)
            }
            NFT_MSG_NEWRULE => self.altered |= name(NFTA_RULE_CHAIN).is_some_and(is_chain),
            NFT_MSG_DELSET | NFT_MSG_DESTROYSET => {
                match name(NFTA_SET_NAME).and_then(|set| Use::of(set, sets)) {
                    Some(Use::Held(place) | Use::Rates(place)) => {
                        self.frame = true;
                        self.sets.insert(place);
                    }
                    Some(Use::List) => (self.frame, self.altered) = (true, true),
                    None => {}
                }
            }
            NFT_MSG_DELSETELEM | NFT_MSG_DESTROYSETELEM | NFT_MSG_NEWSETELEM => {
                let deleted = kind != NFT_MSG_NEWSETELEM;
                match name(NFTA_SET_ELEM_LIST_SET).and_then(|set| Use::of(set, sets)) {
                    Some(Use::Held(place) | Use::Rates(place)) if place.prefix => {
                        let start = ours(message, sets).find(|read| !read.is_end);
                        self.changed.extend(start.map(|_| place));
                    }
                    Some(Use::Held(place)) if deleted => self.deleted.extend(keys(message, sets, place)),
                    Some(Use::Held(place)) => self.added.extend(keys(message, sets, place)),
                    Some(Use::Rates(place)) if deleted => self.unlimited.extend(keys(message, sets, place)),
                    // A limit alone drops nothing but what is above it.
                    Some(Use::Rates(_)) => {}
                    Some(Use::List) => self.altered = true,
                    None => {}
                }
            }
            _ => {}
        }
    }
}

fn is_chain(name: &[u8]) -> bool {
    [layout::BAN, RESTRICT].iter().any(|chain| chain.as_bytes() == name)
}

/// The elements that are told of and not somebody else's.
fn ours<'a>(message: &Message<'a>, sets: &'a Sets) -> impl Iterator<Item = Read> + 'a {
    message::read_elements(message).filter_map(|read| sets.ours(read))
}

/// The targets of elements of a hash set.
fn keys<'a>(
    message: &Message<'a>,
    sets: &'a Sets,
    place: Place,
) -> impl Iterator<Item = (Place, IpNet)> + 'a {
    ours(message, sets).filter_map(move |Read { address, .. }| Some((place, place.single(address)?)))
}

impl Kernel {
    /// Hears, from now on, of what others do to the table.
    ///
    /// # Errors
    /// As socket(2) and setsockopt(2).
    pub fn watch(&self) -> io::Result<Watch> {
        Watch::open(&self.settings.table, &self.sets, self.connection.port())
    }

    /// What others have done to the table since the last time, as far as `watch` has heard of it: `all` of that, or a part that
    /// takes some milliseconds to read.
    pub fn notice(&self, watch: &mut Watch, all: bool) -> Noticed {
        watch.notice(self.connection.port(), all)
    }

    /// Has `watch` hear nothing until [`Self::heed`]: the kernel tells every element that is added to whoever listens, and that
    /// is a quarter of the work of adding many. What others do meanwhile still shows, if not what it was.
    ///
    /// # Errors
    /// Where the kernel does not say how many commits there were. All is heard then.
    pub fn ignore(&mut self, watch: &mut Watch) -> io::Result<()> {
        // Asked first: a commit between the two is both heard and counted.
        let commits = self.connection.foreign_commits()?;
        watch.close_ears(commits)
    }

    /// Whether `watch` hears nothing and others did something since.
    pub fn is_disturbed(&mut self, watch: &Watch) -> bool {
        let disturbed = |commits| self.connection.foreign_commits().ok() != Some(commits);
        watch.deaf_since().is_some_and(disturbed)
    }

    /// Has `watch` hear again. Tells whether it missed nothing.
    pub fn heed(&mut self, watch: &mut Watch) -> bool {
        match watch.open_ears() {
            Ok(None) => true,
            Ok(commits) => self.connection.foreign_commits().ok() == commits,
            Err(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::Measure;
    use crate::netlink::{Batch, Header};

    fn told(kind: u16, body: impl Fn(&mut Batch)) -> Interference {
        let mut batch = Batch::default();
        batch.message(Header { kind: nft(kind), flags: 0, sequence: 1 }, &[NFPROTO_INET, 0, 0, 0], body);
        let mut interference = Interference::default();
        let sets = Sets::Own { conntrack: true };
        Messages::new(batch.as_bytes()).for_each(|message| interference.take_in(&message, "nfban", &sets));
        interference
    }

    #[test]
    fn nothing_but_what_belongs_to_the_table_is_taken_in() {
        let nothing = Interference::default();
        for table in ["filter", "nfban_dmz", "nfba"] {
            assert_eq!(told(NFT_MSG_DELTABLE, |m| message::table(m, table)), nothing);
            assert_eq!(told(NFT_MSG_DELSET, |m| message::named_set(m, table, "ban4")), nothing);
        }
        assert_eq!(told(NFT_MSG_DELSET, |m| message::named_set(m, "nfban", "mine")), nothing);
        assert_eq!(told(NFT_MSG_DELCHAIN, |m| message::named_chain(m, "nfban", "mine")), nothing);
        assert_eq!(told(NFT_MSG_NEWRULE, |m| message::all_rules(m, "nfban", "mine")), nothing);
        assert!(told(NFT_MSG_NEWRULE, |m| message::all_rules(m, "nfban", "ban")).altered);
        assert!(told(NFT_MSG_DESTROYTABLE, |m| message::table(m, "nfban")).table);
        assert!(told(NFT_MSG_DELRULE, |m| message::all_rules(m, "nfban", "restrict")).frame);
    }

    #[test]
    fn whose_element_was_deleted_is_known_in_the_hash_sets() {
        let deleted = |set: &str, address: &str| {
            told(NFT_MSG_DELSETELEM, |m| {
                message::elements(m, "nfban", set, |list| {
                    message::Key::One(address.parse().unwrap()).write(list)
                });
            })
        };
        let targets = |deleted: &BTreeSet<(Place, IpNet)>| {
            deleted.iter().map(|(_, target)| target.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(targets(&deleted("ban4", "192.0.2.7").deleted), ["192.0.2.7/32"]);
        assert_eq!(targets(&deleted("restrict6", "2001:db8::").deleted), ["2001:db8::/64"]);
        assert_eq!(targets(&deleted("restrict4_rate", "192.0.2.7").unlimited), ["192.0.2.7/32"]);
        assert!(deleted("services", "192.0.2.7").altered);
        let added = told(NFT_MSG_NEWSETELEM, |m| {
            message::elements(m, "nfban", "ban4", |list| {
                message::Key::One("192.0.2.7".parse().unwrap()).write(list)
            });
        });
        assert_eq!(
            added.added,
            [(Place::of(Measure::Ban, "192.0.2.7/32".parse().unwrap()), "192.0.2.7/32".parse().unwrap())]
        );
        assert!(added.changed.is_empty() && added.deleted.is_empty());
        let prefixes = deleted("ban4_prefix", "192.0.2.0");
        assert!(prefixes.deleted.is_empty() && prefixes.changed.len() == 1);
    }
}
