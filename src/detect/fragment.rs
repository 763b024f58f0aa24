//! What is wrong with a fragment, told from the fragments of the same datagram that came before it.
//!
//! An honest sender cuts a datagram into ranges that meet and never overlap, cuts no transport header apart, and stays
//! within 65535 octets; an honest router cuts again, within these bounds. Whoever does otherwise means to be seen as
//! one thing by a filter and as another by the host behind it (RFC 1858, RFC 3128, RFC 5722), or to break the one that
//! reassembles. Nothing is reassembled here: only the ranges of each datagram are kept, in a table of fixed size.
//!
//! This wants to see fragments as they came: before defragmentation, each of them.

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::time::Duration;

use foldhash::fast::SeedableRandomState;
use hashbrown::HashTable;
use smallvec::SmallVec;

use crate::packet::{Fault, Fragment, Packet, Tcp, Transport, protocol};
use crate::time::Stamp;

/// How many datagrams under way are kept unless said: with the most ranges that each can have, below 1 MiB.
pub const DATAGRAMS: u32 = 2048;

/// How long the other fragments of a datagram are waited for after the first that came. As Linux does: `ipfrag_time` for
/// IPv4 (RFC 791 began with 15 s and let it grow), RFC 8200 section 4.5 for IPv6.
const TIMEOUT: [Duration; FAMILIES] = [Duration::from_secs(30), Duration::from_secs(60)];
const FAMILIES: usize = 2;

/// How many ranges are kept of a datagram. The longest one takes 45 fragments over Ethernet, 53 over the least link of
/// IPv6; one range more than this is held for a moment, and the memory of a [`SmallVec`] doubles at 64.
const PIECES: usize = 63;

/// Octets of the fixed IPv6 header and of a fragment header: they do not count for the length of an IPv6 payload.
const V6_HEADERS: u32 = 48;
/// Octets of a TCP header up to and including the control bits (RFC 9293 section 3.1).
const TCP_CONTROL_BITS_END: u32 = 14;
/// Octets of a TCP header without options.
const TCP_HEADER: u32 = 20;
/// Octets of the SCTP common header (RFC 9260 section 3.1).
const SCTP_HEADER: u32 = 12;
/// "No next header" (RFC 8200 section 4.7).
const NO_NEXT_HEADER: u8 = 59;
/// "IPv6 Extension Header Types" of the IANA registry, but ESP: what is behind that cannot be read.
const EXTENSION_HEADERS: [u8; 8] = [0, 43, 44, 51, 60, 135, 139, 140];

const NONE: u32 = u32::MAX;

/// What the fragments of one datagram have in common: RFC 791 section 3.2, RFC 8200 section 4.5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    saddr: IpAddr,
    daddr: IpAddr,
    identification: u32,
    /// IPv4 only: the fragments of an IPv6 packet may name different next headers.
    protocol: Option<u8>,
}

/// A range of the original payload, in octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    /// A multiple of 8.
    start: u16,
    /// Behind its last octet.
    end: u16,
}

/// The ranges of one datagram that have been claimed.
#[derive(Debug, Default)]
struct Claims {
    /// Ascending, apart from each other.
    pieces: SmallVec<[Piece; 4]>,
    /// Octets in all of them.
    covered: u32,
    /// Whether the last fragment is among them: it is the last piece, and claims all that is behind it as well.
    ended: bool,
    /// Whether ranges that met were joined, so that they can no longer be told from each other.
    joined: bool,
}

#[derive(Debug)]
struct Datagram {
    key: Key,
    first_seen: Duration,
    claims: Claims,
    /// Its neighbours in the order of arrival.
    newer: u32,
    older: u32,
}

/// The datagrams of one family in the order of arrival, which is that of their timeouts.
#[derive(Debug, Clone, Copy)]
struct Queue {
    newest: u32,
    oldest: u32,
}

/// Datagrams whose fragments have not all come.
#[derive(Debug)]
pub struct Fragments {
    index: HashTable<u32>,
    datagrams: Vec<Datagram>,
    free: Vec<u32>,
    queues: [Queue; FAMILIES],
    capacity: u32,
    evicted: u64,
    hasher: SeedableRandomState,
}

impl Fragments {
    /// With room for `capacity` datagrams (at least one), some 400 octets each at most.
    #[must_use]
    pub fn new(capacity: u32, hasher: SeedableRandomState) -> Self {
        Self {
            index: HashTable::new(),
            datagrams: Vec::new(),
            free: Vec::new(),
            queues: [Queue { newest: NONE, oldest: NONE }; FAMILIES],
            capacity: capacity.max(1),
            evicted: 0,
            hasher,
        }
    }

    /// Takes in a fragment, and tells what is wrong with it: the gravest, where it is more than one thing. Time must not
    /// go back. A packet that is no fragment is never wrong, and neither is an atomic one (RFC 6946).
    ///
    /// - [`Fault::Oversized`]: it ends past 65535 octets, the headers that count for a packet's length included
    ///   (RFC 791 section 3.1, RFC 8200 section 4.5).
    /// - [`Fault::Overlap`]: it claims octets that are claimed already, and not exactly the same ones (RFC 5722). The
    ///   last fragment claims all that is behind it, so whatever disagrees with it about the end overlaps. A fragment
    ///   with more to follow and a length that is no multiple of 8 overlaps the next one, which can begin nowhere else.
    /// - [`Fault::Tiny`]: it carries no octet; or it cuts the control bits of TCP off the ports (RFC 1858 section 3), as
    ///   the first fragment or as the second one that shows there was such a first (RFC 3128); or it is the first
    ///   of an IPv6 packet and lacks a part of the header chain (RFC 7112).
    /// - [`Fault::Duplicate`]: it claims exactly what another one did. A network may repeat a packet by itself (RFC 8200
    ///   section 4.5), so a single one proves nothing.
    ///
    /// What a faulty fragment claims is not taken up, but for that of a tiny one.
    pub fn observe(&mut self, packet: &Packet, at: Stamp) -> Option<Fault> {
        let fragment = packet.fragment?;
        let piece = match Piece::of(packet, fragment) {
            Ok(piece) => piece,
            Err(fault) => return Some(fault),
        };
        self.expire(at.boot);
        let place = self.place(Key::of(packet, fragment), at.boot);
        let claims = &mut self.datagrams.get_mut(place as usize)?.claims;
        let disputed = claims.claim(piece, !fragment.more);
        if claims.are_whole() {
            self.remove(place);
        }
        match disputed {
            Some(Fault::Overlap) => disputed,
            _ if cuts_headers(packet, fragment) => Some(Fault::Tiny),
            _ => disputed,
        }
    }

    /// Forgets all of them, as when time starts anew.
    pub fn clear(&mut self) {
        *self = Self { evicted: self.evicted, ..Self::new(self.capacity, self.hasher.clone()) };
    }

    /// How many datagrams are under way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.index.len()
    }

    /// How many datagrams there is room for.
    #[must_use]
    pub const fn capacity(&self) -> u32 {
        self.capacity
    }

    /// How many datagrams gave way to others while fragments of them could still come.
    #[must_use]
    pub const fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Where the datagram is, if need be as a new one.
    fn place(&mut self, key: Key, now: Duration) -> u32 {
        let hash = self.hasher.hash_one(key);
        let is_it = |&at: &u32| self.datagrams.get(at as usize).is_some_and(|datagram| datagram.key == key);
        if let Some(&place) = self.index.find(hash, is_it) {
            return place;
        }
        if self.under_way() >= self.capacity as usize {
            self.evict();
        }
        let datagram = Datagram { key, first_seen: now, claims: Claims::default(), newer: NONE, older: NONE };
        let place = if let Some(place) = self.free.pop() {
            if let Some(vacant) = self.datagrams.get_mut(place as usize) {
                *vacant = datagram;
            }
            place
        } else {
            self.datagrams.push(datagram);
            u32::try_from(self.datagrams.len() - 1).unwrap_or(NONE)
        };
        let Self { index, datagrams, hasher, .. } = self;
        index.insert_unique(hash, place, |&other| {
            datagrams.get(other as usize).map_or(0, |datagram| hasher.hash_one(datagram.key))
        });
        self.link(place, key.family());
        place
    }

    /// Removes what no fragment can complete any more.
    fn expire(&mut self, now: Duration) {
        for (family, timeout) in TIMEOUT.into_iter().enumerate() {
            while let Some((oldest, first_seen)) = self.oldest(family)
                && now.saturating_sub(first_seen) >= timeout
            {
                self.remove(oldest);
            }
        }
    }

    /// Makes room by removing the oldest.
    fn evict(&mut self) {
        let oldest = (0..FAMILIES).filter_map(|family| self.oldest(family));
        if let Some((place, _)) = oldest.min_by_key(|&(_, first_seen)| first_seen) {
            self.remove(place);
            self.evicted += 1;
        }
    }

    fn oldest(&self, family: usize) -> Option<(u32, Duration)> {
        let place = self.queues.get(family)?.oldest;
        Some((place, self.datagrams.get(place as usize)?.first_seen))
    }

    fn remove(&mut self, place: u32) {
        let Some(datagram) = self.datagrams.get_mut(place as usize) else { return };
        // With its memory, if it has any of its own.
        datagram.claims = Claims::default();
        let (hash, family) = (self.hasher.hash_one(datagram.key), datagram.key.family());
        if let Ok(found) = self.index.find_entry(hash, |&at| at == place) {
            found.remove();
        }
        self.unlink(place, family);
        self.free.push(place);
    }

    fn link(&mut self, place: u32, family: usize) {
        let Some(queue) = self.queues.get_mut(family) else { return };
        let newest = std::mem::replace(&mut queue.newest, place);
        if queue.oldest == NONE {
            queue.oldest = place;
        }
        if let Some(other) = self.datagrams.get_mut(newest as usize) {
            other.newer = place;
        }
        if let Some(datagram) = self.datagrams.get_mut(place as usize) {
            datagram.older = newest;
        }
    }

    fn unlink(&mut self, place: u32, family: usize) {
        let Some(&Datagram { newer, older, .. }) = self.datagrams.get(place as usize) else { return };
        if let Some(other) = self.datagrams.get_mut(newer as usize) {
            other.older = older;
        }
        if let Some(other) = self.datagrams.get_mut(older as usize) {
            other.newer = newer;
        }
        let Some(queue) = self.queues.get_mut(family) else { return };
        if queue.newest == place {
            queue.newest = older;
        }
        if queue.oldest == place {
            queue.oldest = newer;
        }
    }
}

impl Key {
    fn of(packet: &Packet, fragment: Fragment) -> Self {
        Self {
            saddr: packet.saddr,
            daddr: packet.daddr,
            identification: fragment.identification,
            protocol: packet.saddr.is_ipv4().then_some(packet.protocol),
        }
    }

    fn family(&self) -> usize {
        usize::from(self.saddr.is_ipv6())
    }
}

impl Piece {
    /// The range of a fragment, unless it cannot be one.
    fn of(packet: &Packet, fragment: Fragment) -> Result<Self, Fault> {
        let beside_payload = if packet.saddr.is_ipv4() { 0 } else { V6_HEADERS };
        let reassembled = u32::from(fragment.offset) + packet.length.saturating_sub(beside_payload);
        if reassembled > u32::from(u16::MAX) {
            return Err(Fault::Oversized);
        }
        let length = fragment.length;
        if length == 0 {
            return Err(Fault::Tiny);
        }
        // Linux cuts it to a multiple of 8 in IPv4 (net/ipv4/ip_fragment.c) and discards it in IPv6.
        if fragment.more && !length.is_multiple_of(8) {
            return Err(Fault::Overlap);
        }
        let end = u16::try_from(u32::from(fragment.offset) + length).map_err(|_| Fault::Oversized)?;
        Ok(Self { start: fragment.offset, end })
    }

    const fn contains(self, other: Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }
}

impl Claims {
    /// Claims a range, or tells what is wrong with the claim.
    fn claim(&mut self, piece: Piece, last: bool) -> Option<Fault> {
        let at = self.pieces.partition_point(|earlier| earlier.end <= piece.start);
        match self.pieces.get(at) {
            Some(next) if next.start < piece.end => {
                let ends = self.ended && at + 1 == self.pieces.len() && piece.end == next.end;
                // Within joined ranges any is taken for a repeat, as Linux does (net/ipv4/inet_fragment.c).
                let repeats = *next == piece || (self.joined && next.contains(piece));
                return Some(if repeats && last == ends { Fault::Duplicate } else { Fault::Overlap });
            }
            // Behind the end, or an end before what is there.
            None if self.ended => return Some(Fault::Overlap),
            Some(_) if last => return Some(Fault::Overlap),
            _ => {}
        }
        self.pieces.insert(at, piece);
        if self.pieces.len() > PIECES && !self.join() {
            // A datagram in so many parts apart from each other is not judged further than by those. It is no fault to
            // be cut small and to arrive in disorder.
            self.pieces.remove(at);
            return None;
        }
        self.ended |= last;
        self.covered += u32::from(piece.end - piece.start);
        None
    }

    /// Joins the ranges that meet, and tells whether there were any.
    fn join(&mut self) -> bool {
        let apart = self.pieces.len();
        self.pieces.dedup_by(|later, earlier| {
            let meet = earlier.end == later.start;
            if meet {
                earlier.end = later.end;
            }
            meet
        });
        let joined = self.pieces.len() < apart;
        self.joined |= joined;
        joined
    }

    /// Whether every octet up to the end is claimed.
    fn are_whole(&self) -> bool {
        self.ended && self.pieces.last().is_some_and(|last| u32::from(last.end) == self.covered)
    }
}

/// Whether a fragment parts a transport header such that a filter which looks at fragments one by one is blind.
fn cuts_headers(packet: &Packet, fragment: Fragment) -> bool {
    let behind_headers = packet.length.saturating_sub(u32::from(packet.header_length));
    match fragment.offset {
        8 => packet.protocol == protocol::TCP,
        0 if packet.saddr.is_ipv4() => {
            packet.protocol == protocol::TCP && behind_headers < TCP_CONTROL_BITS_END
        }
        // Here the whole of it must be there.
        0 => match packet.protocol {
            protocol::TCP => behind_headers < tcp_header(packet),
            protocol::SCTP => behind_headers < SCTP_HEADER,
            NO_NEXT_HEADER => false,
            other => behind_headers == 0 || EXTENSION_HEADERS.contains(&other),
        },
        _ => false,
    }
}

fn tcp_header(packet: &Packet) -> u32 {
    match packet.transport {
        Transport::Tcp(Tcp { header_length: Some(length), .. }) => u32::from(length).max(TCP_HEADER),
        _ => TCP_HEADER,
    }
}

#[cfg(test)]
#[path = "fragment_tests.rs"]
mod tests;
