//! Packets that were no evidence, by their senders, for whoever asks why nobody was banned.
//!
//! Nothing is decided on it. So it is as cheap as can be: each source has one place, found by a hash, and takes it from
//! whoever had it before.

use std::hash::BuildHasher as _;
use std::net::IpAddr;

use foldhash::fast::SeedableRandomState;
use ipnet::IpNet;

use crate::detect::Seed;
use crate::detect::class::Exemption;
use crate::packet::Packet;
use crate::time::Stamp;

/// How many places there are; a power of two.
const PLACES: usize = 4096;

/// What of one source was no evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exempted {
    /// Who sent it.
    pub source: IpAddr,
    /// How many packets, by [`Exemption`].
    pub counts: [u32; Exemption::ALL.len()],
    /// When the latest came.
    pub last: Stamp,
    /// Why that was no evidence.
    pub why: Exemption,
    /// Its protocol and destination port; port 0 where it has none.
    pub to: (u8, u16),
}

/// The sources of such packets that came lately.
#[derive(Debug)]
pub(super) struct Exemptions {
    places: Vec<Option<Exempted>>,
    hasher: SeedableRandomState,
}

impl Exemptions {
    pub(super) fn new(seed: Seed) -> Self {
        let hasher = match seed {
            Seed::Random => SeedableRandomState::random(),
            Seed::Fixed => SeedableRandomState::fixed(),
        };
        Self { places: vec![None; PLACES], hasher }
    }

    /// Notes a packet.
    pub(super) fn note(&mut self, packet: &Packet, why: Exemption, at: Stamp) {
        let number = self.hasher.hash_one(packet.saddr);
        let place = usize::try_from(number >> (u64::BITS - PLACES.ilog2())).unwrap_or_default();
        let Some(place) = self.places.get_mut(place) else { return };
        let to = (packet.protocol, packet.ports().map_or(0, |(_, dport)| dport));
        let counts = match place {
            Some(known) if known.source == packet.saddr => known.counts,
            _ => [0; Exemption::ALL.len()],
        };
        let noted = place.insert(Exempted { source: packet.saddr, counts, last: at, why, to });
        if let Some(count) = noted.counts.get_mut(why as usize) {
            *count = count.saturating_add(1);
        }
    }

    /// Forgets those within `net`.
    pub(super) fn forget(&mut self, net: IpNet) {
        for place in &mut self.places {
            place.take_if(|noted| net.contains(&noted.source));
        }
    }

    /// Those within `net`.
    pub(super) fn of(&self, net: IpNet) -> impl Iterator<Item = &Exempted> {
        self.places.iter().flatten().filter(move |noted| net.contains(&noted.source))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::packet::{Transport, Udp, protocol};

    fn packet(last: u8, dport: u16) -> Packet {
        Packet {
            saddr: [192, 0, 2, last].into(),
            daddr: [203, 0, 113, 5].into(),
            length: 28,
            header_length: 20,
            ttl: 57,
            dont_fragment: true,
            identification: None,
            fragment: None,
            protocol: protocol::UDP,
            transport: Transport::Udp(Udp { sport: 53, dport, length: 8 }),
        }
    }

    #[test]
    fn each_source_has_its_own_counts_and_the_latest_packet() {
        let mut noted = Exemptions::new(Seed::Fixed);
        let at = |s: u64| Stamp { boot: Duration::from_secs(s), wall_us: 0 };
        noted.note(&packet(7, 443), Exemption::Published, at(1));
        noted.note(&packet(7, 443), Exemption::Published, at(2));
        noted.note(&packet(8, 40_000), Exemption::Late, at(3));
        noted.note(&packet(7, 5353), Exemption::Late, at(4));
        let of: Vec<_> = noted.of("192.0.2.7/32".parse().unwrap()).collect();
        let [seven] = of[..] else { panic!("{of:?}") };
        assert_eq!((seven.why, seven.to, seven.last), (Exemption::Late, (protocol::UDP, 5353), at(4)));
        let count = |why: Exemption| seven.counts[why as usize];
        assert_eq!((count(Exemption::Published), count(Exemption::Late)), (2, 1));
        assert_eq!(seven.counts.iter().sum::<u32>(), 3);
        assert_eq!(noted.of("192.0.2.0/24".parse().unwrap()).count(), 2);
    }

    #[test]
    fn a_flood_of_sources_takes_no_more_room() {
        let mut noted = Exemptions::new(Seed::Fixed);
        for n in 0..=u16::MAX {
            let saddr = [10, 0, n.to_be_bytes()[0], n.to_be_bytes()[1]].into();
            let at = Stamp { boot: Duration::ZERO, wall_us: 0 };
            noted.note(&Packet { saddr, ..packet(1, 1) }, Exemption::Group, at);
        }
        assert!(noted.of("0.0.0.0/0".parse().unwrap()).count() <= PLACES);
    }
}
