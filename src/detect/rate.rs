//! Packets and octets within a window, in sixteenths of it.

use smallvec::SmallVec;

/// How many parts a window has.
const PARTS: i64 = 16;

/// One part of a rule's window in which something came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    number: i64,
    bytes: u64,
    /// No interface delivers four thousand million packets within a sixteenth of a window, 45 h at most.
    packets: u32,
    rule: u16,
}

/// Packets and octets of one source for each rule that counts them, in sixteen parts a window: a sum is never more than the
/// true one of the window, and at least that of its latest fifteen sixteenths. Only parts in which something came are
/// kept, those of all rules together: a source that comes now and then has one or two, and no memory of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rates(SmallVec<[Part; 2]>);

/// Packets and octets.
pub(super) type Totals = (u64, u64);

fn part_of(now: i64, window: i64) -> i64 {
    now.div_euclid((window / PARTS).max(1))
}

impl Rates {
    /// Counts a packet for a rule, and tells the rule's sums within its window, both in nanoseconds.
    pub(super) fn add(&mut self, rule: u16, length: u32, now: i64, window: i64) -> Totals {
        let number = part_of(now, window);
        let (mut packets, mut bytes) = (1, u64::from(length));
        let (mut at, mut current) = (0, None);
        while let Some(part) = self.0.get(at) {
            if part.rule == rule {
                if number - part.number >= PARTS {
                    self.0.swap_remove(at);
                    continue;
                }
                packets += u64::from(part.packets);
                bytes = bytes.saturating_add(part.bytes);
                if part.number >= number {
                    current = Some(at);
                }
            }
            at += 1;
        }
        match current.and_then(|at| self.0.get_mut(at)) {
            Some(part) => {
                part.packets = part.packets.saturating_add(1);
                part.bytes = part.bytes.saturating_add(u64::from(length));
            }
            None => self.0.push(Part { number, bytes: u64::from(length), packets: 1, rule }),
        }
        (packets, bytes)
    }

    /// A rule's sums within its window.
    pub(super) fn totals(&self, rule: u16, now: i64, window: i64) -> Totals {
        let number = part_of(now, window);
        let within = self.0.iter().filter(|part| part.rule == rule && number - part.number < PARTS);
        within.fold((0, 0), |(packets, bytes): Totals, part| {
            (packets + u64::from(part.packets), bytes.saturating_add(part.bytes))
        })
    }

    /// Goes on with other rules and windows. `heir` has the rule that counts on for one of before, and the windows of both. What
    /// was counted is as old as the part it was in: so a sum is still never more than the true one.
    pub(super) fn carry_over(&mut self, heir: impl Fn(u16) -> Option<(u16, i64, i64)>) {
        for Part { number, bytes, packets, rule } in std::mem::take(&mut self.0) {
            let Some((rule, window_before, window)) = heir(rule) else { continue };
            let number = if window_before == window {
                number
            } else {
                part_of(number.saturating_mul((window_before / PARTS).max(1)), window)
            };
            match self.0.iter_mut().find(|part| (part.rule, part.number) == (rule, number)) {
                Some(part) => {
                    part.packets = part.packets.saturating_add(packets);
                    part.bytes = part.bytes.saturating_add(bytes);
                }
                None => self.0.push(Part { number, bytes, packets, rule }),
            }
        }
    }

    /// Forgets what was counted for some rules.
    pub(super) fn forget(&mut self, mut is_one: impl FnMut(u16) -> bool) {
        self.0.retain(|part| !is_one(part.rule));
    }

    /// Reads the first of what the next packet will add to, so that it is near then.
    pub(super) fn touch(&self) -> u64 {
        self.0.first().map_or(0, |part| part.bytes)
    }
}
