//! What an interface capture shows of who answers: open ports, and packets that are replies.

use std::net::IpAddr;

use foldhash::{HashSet, HashSetExt as _};

use crate::packet::{Packet, TcpFlags, Transport, protocol};

/// How many of each are remembered at least, twice as many at most.
const REMEMBERED: usize = 500_000;

/// A set that forgets its oldest half when it is full.
#[derive(Debug)]
struct Recent<T> {
    new: HashSet<T>,
    old: HashSet<T>,
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self { new: HashSet::new(), old: HashSet::new() }
    }
}

impl<T: Eq + std::hash::Hash> Recent<T> {
    fn insert(&mut self, item: T) {
        if self.new.len() >= REMEMBERED {
            self.old = std::mem::take(&mut self.new);
        }
        self.new.insert(item);
    }

    fn contains(&self, item: &T) -> bool {
        self.new.contains(item) || self.old.contains(item)
    }
}

/// Protocol, address and port of one end.
type End = (u8, IpAddr, u16);

/// Who spoke first to whom.
#[derive(Debug, Default)]
pub(super) struct Conversations {
    opened: Recent<(End, End)>,
}

/// Ports that were seen to answer.
#[derive(Debug, Default)]
pub(super) struct OpenPorts(HashSet<End>);

fn ends(packet: &Packet) -> Option<(End, End)> {
    let (sport, dport) = packet.ports()?;
    Some(((packet.protocol, packet.saddr, sport), (packet.protocol, packet.daddr, dport)))
}

impl Conversations {
    /// Notes a packet, and tells whether it goes back to the end that spoke first. A reply makes no reply of what
    /// follows it: else the RST of a closed port would excuse the next probe of it.
    pub(super) fn is_reply(&mut self, packet: &Packet) -> bool {
        let Some((from, to)) = ends(packet) else { return false };
        let reply = self.opened.contains(&(to, from));
        if !reply {
            self.opened.insert((from, to));
        }
        reply
    }
}

impl OpenPorts {
    /// Learns from one packet; `reply` is what [`Conversations::is_reply`] said of it.
    pub(super) fn learn(&mut self, packet: &Packet, reply: bool) {
        let answers = match packet.transport {
            Transport::Tcp(tcp) => {
                tcp.flags.all(TcpFlags::SYN | TcpFlags::ACK) && !tcp.flags.any(TcpFlags::RST | TcpFlags::FIN)
            }
            Transport::Udp(_) => reply,
            Transport::Icmp(_) | Transport::Opaque => false,
        };
        if let (true, Some((from, _))) = (answers, ends(packet))
            && self.0.len() < 2 * REMEMBERED
        {
            self.0.insert(from);
        }
    }

    /// Whether the port that `packet` goes to answers.
    pub(super) fn contains(&self, packet: &Packet) -> bool {
        matches!(packet.protocol, protocol::TCP | protocol::UDP)
            && ends(packet).is_some_and(|(_, to)| self.0.contains(&to))
    }
}
