//! Fragments of a capture made into packets again (RFC 791 section 3.2, RFC 8200 section 4.5), as the kernel's
//! defragmentation does before any rule on TCP sees a packet.
//!
//! Overlap discards the whole datagram (RFC 5722, and Linux for IPv4 as well), with what is still to come of it; an
//! exact duplicate is no overlap (RFC 8200). Memory and number of unfinished datagrams are bounded, the oldest giving
//! way.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::decode::FragmentHeader;
use crate::packet::{Fragment, Packet};

/// How long the other fragments are waited for after the first that came: `net.ipv4.ipfrag_time`, and RFC 8200 section 4.5
/// for IPv6.
const fn timeout(ipv6: bool) -> Duration {
    Duration::from_secs(if ipv6 { 60 } else { 30 })
}
/// Unfinished datagrams at once.
const DATAGRAMS_MAX: usize = 1024;
/// Octets held for them (`net.ipv4.ipfrag_high_thresh`).
const OCTETS_MAX: usize = 4 << 20;
/// What a fragment costs besides its octets, so that many tiny ones count for what they take.
const PIECE_COST: usize = 128;
/// Octets of the fixed IPv6 header, which its payload length leaves out.
const V6_HEADER: usize = 40;

/// What became of a fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// Others are missing.
    Waiting,
    /// It was the last one missing.
    Whole(Whole),
    /// Its datagram is discarded, and so are the fragments of it still to come.
    Discarded(Discarded),
}

/// A packet put together, for [`crate::decode::ip`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whole {
    /// From the IP header on, up to the first octet that a snap length cut off. The IPv4 checksum is left as it was.
    pub octets: Vec<u8>,
    /// Length of the whole packet.
    pub wire_length: u32,
}

/// Why a datagram was discarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Discarded {
    /// Two fragments overlap.
    Overlap,
    /// It would be longer than an IP packet can be.
    Oversized,
    /// A length that cannot be: empty, no multiple of 8 before the end, or beyond the end.
    Length,
}

/// What the fragments of one packet have in common. IPv6 has no protocol in it (RFC 8200 section 4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    saddr: IpAddr,
    daddr: IpAddr,
    identification: u32,
    protocol: Option<u8>,
}

/// A fragment's part of the payload.
struct Piece<'a> {
    start: usize,
    /// As its header claims; `captured` may be shorter.
    length: usize,
    captured: &'a [u8],
    last: bool,
    /// Octets that go before the payload in the whole packet.
    head: Vec<u8>,
}

#[derive(Debug)]
struct Stored {
    length: usize,
    captured: Box<[u8]>,
}

#[derive(Debug)]
struct Datagram {
    first_seen: Duration,
    ipv6: bool,
    /// Tells which of two that came at the same time was first.
    serial: u64,
    discarded: Option<Discarded>,
    /// By their start; they never overlap.
    pieces: BTreeMap<usize, Stored>,
    /// Of the first fragment.
    head: Option<Vec<u8>>,
    /// Known once the last fragment came.
    total: Option<usize>,
    covered: usize,
    /// Octets this counts for.
    cost: usize,
}

/// Unfinished datagrams.
#[derive(Debug, Default)]
pub struct Reassembly {
    datagrams: BTreeMap<Key, Datagram>,
    serial: u64,
    octets: usize,
    /// Nothing times out before.
    next_timeout: Option<Duration>,
    timed_out: u64,
    evicted: u64,
}

impl Reassembly {
    /// With nothing in it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a fragment, and gives the whole packet if it completes one. A packet that is no fragment is whole as it is.
    ///
    /// `octets` are those `packet` was decoded from, from the IP header on; `now` is packet time and should not go back.
    /// The result may itself hold a fragment of a packet that was fragmented twice.
    pub fn insert(&mut self, octets: &[u8], packet: &Packet, now: Duration) -> Outcome {
        let Some(fragment) = packet.fragment else {
            return Outcome::Whole(Whole { octets: octets.to_vec(), wire_length: packet.length });
        };
        self.time_out(now);
        let key = Key {
            saddr: packet.saddr,
            daddr: packet.daddr,
            identification: fragment.identification,
            protocol: packet.saddr.is_ipv4().then_some(packet.protocol),
        };
        let piece = Piece::of(octets, packet, fragment);
        // At most: its datagram may be there already.
        let cost = piece.as_ref().map_or(0, |piece| piece.captured.len() + piece.head.len());
        self.make_room(&key, cost + 2 * PIECE_COST);
        let serial = self.serial;
        self.serial += 1;
        let before = self.datagrams.get(&key).map_or(0, |datagram| datagram.cost);
        let datagram =
            self.datagrams.entry(key).or_insert_with(|| Datagram::new(now, key.saddr.is_ipv6(), serial));
        let due = datagram.timeout();
        self.next_timeout = Some(self.next_timeout.map_or(due, |next| next.min(due)));
        let inserted = piece.and_then(|piece| datagram.insert(piece));
        if let Err(reason) = inserted {
            datagram.discard(reason);
        }
        self.octets = self.octets.saturating_sub(before).saturating_add(datagram.cost);
        match inserted {
            Err(reason) => Outcome::Discarded(reason),
            Ok(()) if datagram.total == Some(datagram.covered) => {
                let whole = datagram.assemble(packet.saddr.is_ipv4());
                self.remove(&key);
                whole.map_or(Outcome::Discarded(Discarded::Length), Outcome::Whole)
            }
            Ok(()) => Outcome::Waiting,
        }
    }

    /// Forgets everything unfinished, as when packet time starts anew.
    pub fn clear(&mut self) {
        self.datagrams.clear();
        self.octets = 0;
        self.next_timeout = None;
    }

    /// Datagrams whose fragments did not all come in time.
    #[must_use]
    pub const fn timed_out(&self) -> u64 {
        self.timed_out
    }

    /// Datagrams that gave way to others while unfinished.
    #[must_use]
    pub const fn evicted(&self) -> u64 {
        self.evicted
    }

    fn time_out(&mut self, now: Duration) {
        if self.next_timeout.is_none_or(|at| now < at) {
            return;
        }
        let late: Vec<Key> = self
            .datagrams
            .iter()
            .filter(|(_, datagram)| datagram.timeout() <= now)
            .map(|(key, _)| *key)
            .collect();
        for key in late {
            self.timed_out +=
                u64::from(self.remove(&key).is_some_and(|datagram| datagram.discarded.is_none()));
        }
        self.next_timeout = self.datagrams.values().map(Datagram::timeout).min();
    }

    /// Makes room for a fragment of `key`.
    fn make_room(&mut self, key: &Key, cost: usize) {
        while self.octets + cost > OCTETS_MAX
            || (self.datagrams.len() >= DATAGRAMS_MAX && !self.datagrams.contains_key(key))
        {
            let oldest = self.datagrams.iter().min_by_key(|(_, datagram)| datagram.serial);
            let Some((&oldest, _)) = oldest else { return };
            self.evicted +=
                u64::from(self.remove(&oldest).is_some_and(|datagram| datagram.discarded.is_none()));
        }
    }

    fn remove(&mut self, key: &Key) -> Option<Datagram> {
        let datagram = self.datagrams.remove(key)?;
        self.octets = self.octets.saturating_sub(datagram.cost);
        Some(datagram)
    }
}

impl<'a> Piece<'a> {
    fn of(octets: &'a [u8], packet: &Packet, fragment: Fragment) -> Result<Self, Discarded> {
        let (head, payload) = if packet.saddr.is_ipv4() {
            let header = usize::from(packet.header_length);
            (octets.get(..header).ok_or(Discarded::Length)?.to_vec(), header)
        } else {
            let header = FragmentHeader::find(octets).ok_or(Discarded::Length)?;
            let mut head = octets.get(..header.at).ok_or(Discarded::Length)?.to_vec();
            *head.get_mut(header.named_at).ok_or(Discarded::Length)? = header.next_header;
            (head, header.at + FragmentHeader::LENGTH)
        };
        let claimed = usize::try_from(packet.length).unwrap_or(usize::MAX).saturating_sub(payload);
        let length = match (fragment.more, packet.saddr.is_ipv4()) {
            // The kernel cuts it to a multiple of 8 in IPv4 (net/ipv4/ip_fragment.c) and discards it in IPv6.
            (true, true) => claimed & !7,
            (true, false) if !claimed.is_multiple_of(8) => return Err(Discarded::Length),
            _ => claimed,
        };
        if length == 0 {
            return Err(Discarded::Length);
        }
        let start = usize::from(fragment.offset);
        let counted = if packet.saddr.is_ipv4() { head.len() } else { head.len().saturating_sub(V6_HEADER) };
        if counted + start + length > usize::from(u16::MAX) {
            return Err(Discarded::Oversized);
        }
        let captured = octets.get(payload..).unwrap_or_default();
        let captured = captured.get(..length).unwrap_or(captured);
        Ok(Self { start, length, captured, last: !fragment.more, head })
    }
}

impl Datagram {
    const fn new(first_seen: Duration, ipv6: bool, serial: u64) -> Self {
        Self {
            first_seen,
            ipv6,
            serial,
            discarded: None,
            pieces: BTreeMap::new(),
            head: None,
            total: None,
            covered: 0,
            cost: PIECE_COST,
        }
    }

    const fn timeout(&self) -> Duration {
        self.first_seen.saturating_add(timeout(self.ipv6))
    }

    fn insert(&mut self, piece: Piece<'_>) -> Result<(), Discarded> {
        if let Some(reason) = self.discarded {
            return Err(reason);
        }
        let end = piece.start + piece.length;
        self.bound(end, piece.last)?;
        if let Some((&start, before)) = self.pieces.range(..end).next_back()
            && start + before.length > piece.start
        {
            return if start == piece.start && before.is_duplicate(&piece) {
                Ok(())
            } else {
                Err(Discarded::Overlap)
            };
        }
        self.covered += piece.length;
        self.cost += PIECE_COST + piece.captured.len();
        let stored = Stored { length: piece.length, captured: piece.captured.into() };
        self.pieces.insert(piece.start, stored);
        if piece.start == 0 {
            self.cost += piece.head.len();
            self.head = Some(piece.head);
        }
        Ok(())
    }

    /// Holds a fragment to the end that the last one told, and the other way round.
    fn bound(&mut self, end: usize, last: bool) -> Result<(), Discarded> {
        let reached = self.pieces.last_key_value().map_or(0, |(start, stored)| start + stored.length);
        match self.total {
            Some(total) if end > total || (last && end != total) => Err(Discarded::Length),
            None if last && reached > end => Err(Discarded::Length),
            None if last => {
                self.total = Some(end);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Keeps nothing but the reason, for the fragments still to come.
    fn discard(&mut self, reason: Discarded) {
        let (first_seen, ipv6, serial) = (self.first_seen, self.ipv6, self.serial);
        *self = Self { discarded: Some(reason), ..Self::new(first_seen, ipv6, serial) };
    }

    /// The whole packet, with a header that is no fragment's.
    fn assemble(&self, ipv4: bool) -> Option<Whole> {
        let mut octets = self.head.clone()?;
        let length = octets.len() + self.total?;
        if ipv4 {
            octets.get_mut(2..4)?.copy_from_slice(&u16::try_from(length).ok()?.to_be_bytes());
            // Of the fragment's flags and offset only "don't fragment" stays.
            octets.get_mut(6..8)?.iter_mut().zip([0x40, 0]).for_each(|(octet, mask)| *octet &= mask);
        } else {
            let payload = u16::try_from(length.checked_sub(V6_HEADER)?).ok()?;
            octets.get_mut(4..6)?.copy_from_slice(&payload.to_be_bytes());
        }
        for stored in self.pieces.values() {
            octets.extend_from_slice(&stored.captured);
            if stored.captured.len() < stored.length {
                break;
            }
        }
        Some(Whole { octets, wire_length: u32::try_from(length).ok()? })
    }
}

impl Stored {
    fn is_duplicate(&self, piece: &Piece<'_>) -> bool {
        self.length == piece.length && self.captured.iter().zip(piece.captured).all(|(old, new)| old == new)
    }
}

#[cfg(test)]
#[path = "reassembly_tests.rs"]
mod tests;
