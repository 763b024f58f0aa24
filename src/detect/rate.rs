//! Packets or octets within a window, in sixteenths of it.

use smallvec::SmallVec;

/// How many parts a window has.
const PARTS: i64 = 16;

/// One part of the window in which something came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    number: i64,
    packets: u64,
    bytes: u64,
}

/// Packets and octets of one source for one rule, in sixteen parts a window: a sum is never more than the true one of the
/// window, and at least that of its latest fifteen sixteenths. Only parts in which something came are kept; a source that
/// comes now and then has one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rate(SmallVec<[Part; 1]>);

/// Packets and octets.
pub(super) type Totals = (u64, u64);

fn part_of(now: i64, window: i64) -> i64 {
    now.div_euclid((window / PARTS).max(1))
}

impl Rate {
    /// Counts a packet, and tells the sums within the window, both in nanoseconds.
    pub(super) fn add(&mut self, length: u32, now: i64, window: i64) -> Totals {
        let number = part_of(now, window);
        if let [part] = self.0.as_mut_slice()
            && part.number == number
        {
            part.packets = part.packets.saturating_add(1);
            part.bytes = part.bytes.saturating_add(u64::from(length));
            return (part.packets, part.bytes);
        }
        self.0.retain(|part| number - part.number < PARTS);
        match self.0.last_mut().filter(|part| part.number >= number) {
            Some(part) => {
                part.packets = part.packets.saturating_add(1);
                part.bytes = part.bytes.saturating_add(u64::from(length));
            }
            None => self.0.push(Part { number, packets: 1, bytes: u64::from(length) }),
        }
        self.totals(now, window)
    }

    /// The sums within the window.
    pub(super) fn totals(&self, now: i64, window: i64) -> Totals {
        let number = part_of(now, window);
        let within = self.0.iter().filter(|part| number - part.number < PARTS);
        within.fold((0, 0), |(packets, bytes): Totals, part| {
            (packets.saturating_add(part.packets), bytes.saturating_add(part.bytes))
        })
    }
}
