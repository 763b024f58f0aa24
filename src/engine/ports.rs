//! Which ports are probed most: evidence of the last hour, by destination port.
//!
//! A counter for every port of TCP and UDP, and as many again for every ten minutes: 3 MiB once all of them are probed.
//! A sketch (Space-Saving) would take less and cost a scan of all ports more, where each packet displaces a counter;
//! this is exact, and one addition a packet.

use std::collections::VecDeque;
use std::time::Duration;

use crate::packet::{Packet, Transport, protocol};
use crate::time::Stamp;

/// What one bucket spans.
const SPAN: Duration = Duration::from_secs(600);

/// How many buckets there are, the one being filled among them: what is counted lies 50 to 60 minutes back at most.
const BUCKETS: usize = 6;

/// Ports of one protocol.
const PORTS: usize = 1 << 16;

/// Those that are counted, in the order of their counters.
const PROTOCOLS: [u8; 2] = [protocol::TCP, protocol::UDP];

/// A port, and how many packets of evidence went there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortCount {
    /// Its protocol's number.
    pub protocol: u8,
    /// The destination port.
    pub port: u16,
    /// Packets within the last hour.
    pub packets: u64,
}

/// The counters.
#[derive(Debug, Default)]
pub(super) struct Ports {
    /// The oldest first.
    buckets: VecDeque<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    /// Boot time at which it is full.
    until: Duration,
    packets: Vec<u32>,
}

impl Ports {
    /// Counts a packet that is evidence. Time does not go back.
    pub(super) fn note(&mut self, packet: &Packet, at: Stamp) {
        let (first, port) = match packet.transport {
            Transport::Tcp(tcp) => (0, tcp.dport),
            Transport::Udp(udp) if packet.protocol == protocol::UDP => (PORTS, udp.dport),
            _ => return,
        };
        if self.buckets.back().is_none_or(|bucket| bucket.until <= at.boot) {
            self.begin(at.boot);
        }
        let bucket = self.buckets.back_mut();
        if let Some(count) = bucket.and_then(|bucket| bucket.packets.get_mut(first + usize::from(port))) {
            *count = count.saturating_add(1);
        }
    }

    fn begin(&mut self, now: Duration) {
        while self.buckets.front().is_some_and(|oldest| is_past(oldest, now)) || self.buckets.len() >= BUCKETS
        {
            self.buckets.pop_front();
        }
        // Zeroed by the system: memory is used only for ports that somebody asks for.
        let packets = vec![0; PROTOCOLS.len() * PORTS];
        self.buckets.push_back(Bucket { until: now + SPAN, packets });
    }

    /// The ports with the most packets, those first.
    pub(super) fn top(&self, most: usize, now: Stamp) -> Vec<PortCount> {
        let mut buckets = self.buckets.iter().filter(|bucket| !is_past(bucket, now.boot));
        let Some(first) = buckets.next() else { return Vec::new() };
        let mut sums: Vec<u64> = first.packets.iter().map(|&packets| packets.into()).collect();
        for bucket in buckets {
            for (sum, &packets) in sums.iter_mut().zip(&bucket.packets) {
                *sum += u64::from(packets);
            }
        }
        let counts = PROTOCOLS.into_iter().zip(sums.chunks_exact(PORTS)).flat_map(|(protocol, sums)| {
            let ports = (0..=u16::MAX).zip(sums).filter(|(_, packets)| **packets > 0);
            ports.map(move |(port, &packets)| PortCount { protocol, port, packets })
        });
        let mut counts: Vec<PortCount> = counts.collect();
        let most_first = |count: &PortCount| (u64::MAX - count.packets, count.protocol, count.port);
        if counts.len() > most {
            counts.select_nth_unstable_by_key(most, most_first);
            counts.truncate(most);
        }
        counts.sort_unstable_by_key(most_first);
        counts
    }
}

fn is_past(bucket: &Bucket, now: Duration) -> bool {
    let span = SPAN.saturating_mul(u32::try_from(BUCKETS - 1).unwrap_or(u32::MAX));
    bucket.until.saturating_add(span) <= now
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Tcp, TcpFlags, Udp};

    fn packet(protocol: u8, transport: Transport) -> Packet {
        Packet {
            saddr: [192, 0, 2, 7].into(),
            daddr: [203, 0, 113, 5].into(),
            length: 40,
            header_length: 20,
            ttl: 57,
            dont_fragment: true,
            identification: Some(0),
            fragment: None,
            protocol,
            transport,
        }
    }

    fn tcp(dport: u16) -> Packet {
        let flags = TcpFlags(TcpFlags::SYN);
        let tcp = Tcp { sport: 4, dport, sequence: None, header_length: None, flags, window: 0 };
        packet(protocol::TCP, Transport::Tcp(tcp))
    }

    fn udp(protocol: u8, dport: u16) -> Packet {
        packet(protocol, Transport::Udp(Udp { sport: 4, dport, length: 20 }))
    }

    fn at(seconds: u64) -> Stamp {
        Stamp { boot: Duration::from_secs(seconds), wall_us: 0 }
    }

    fn shown(ports: &Ports, most: usize, now: u64) -> Vec<(u8, u16, u64)> {
        ports.top(most, at(now)).iter().map(|count| (count.protocol, count.port, count.packets)).collect()
    }

    #[test]
    fn the_ports_with_most_packets_come_first_and_tcp_is_not_udp() {
        let mut ports = Ports::default();
        for (packet, times) in [(tcp(23), 5), (udp(protocol::UDP, 23), 2), (tcp(0), 1), (tcp(65_535), 9)] {
            (0..times).for_each(|_| ports.note(&packet, at(1000)));
        }
        ports.note(&udp(protocol::UDPLITE, 7), at(1000));
        ports.note(&packet(protocol::TCP, Transport::Opaque), at(1000));
        assert_eq!(shown(&ports, 3, 1000), [(6, 65_535, 9), (6, 23, 5), (17, 23, 2)]);
        assert_eq!(shown(&ports, 9, 1000).len(), 4);
        assert_eq!(shown(&ports, 0, 1000), []);
    }

    #[test]
    fn what_is_older_than_an_hour_no_longer_counts() {
        let mut ports = Ports::default();
        ports.note(&tcp(22), at(1000));
        assert_eq!(shown(&ports, 5, 1000 + 3599), [(6, 22, 1)]);
        assert_eq!(shown(&ports, 5, 1000 + 3600), []);
        ports.note(&tcp(80), at(1000 + 3600));
        assert_eq!(shown(&ports, 5, 1000 + 3600), [(6, 80, 1)]);
    }

    #[test]
    fn a_day_of_packets_is_six_buckets() {
        let mut ports = Ports::default();
        for second in 0..86_400 {
            ports.note(&tcp(22), at(second));
            assert!(ports.buckets.len() <= BUCKETS);
        }
        let [(6, 22, counted)] = shown(&ports, 5, 86_399)[..] else { panic!() };
        assert!((3000..=3600).contains(&counted), "{counted}");
    }

    #[test]
    fn counts_are_those_of_a_naive_count() {
        let (mut ports, mut naive) = (Ports::default(), std::collections::BTreeMap::new());
        let mut number = 1_u32;
        for _ in 0..20_000 {
            number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // A few ports often and many of them seldom.
            let port = u16::try_from((number >> 16) % if number & 0x100 == 0 { 7 } else { 3000 }).unwrap();
            ports.note(&tcp(port), at(u64::from(number >> 24) / 90));
            *naive.entry(port).or_insert(0) += 1;
        }
        let mut naive: Vec<(u8, u16, u64)> = naive.into_iter().map(|(port, n)| (6, port, n)).collect();
        naive.sort_by_key(|&(_, port, packets)| (u64::MAX - packets, port));
        naive.truncate(50);
        assert_eq!(shown(&ports, 50, 10), naive);
    }
}
