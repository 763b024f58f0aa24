//! Numbers in no order, the same on every machine: integers alone, as logarithms differ between libraries.

use std::ops::RangeInclusive;

/// A sequence of numbers (SplitMix64: Steele, Lea and Flood, 2014).
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Below `limit`, which is not 0.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u64
    }

    pub(crate) fn between(&mut self, range: RangeInclusive<u64>) -> u64 {
        range.start() + self.below(range.end() - range.start() + 1)
    }

    /// True once in so many times.
    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    /// A rank below 2^`bits.end()`: the groups [2^k, 2^(k+1)) are equally likely, and so are the ranks of a group. From
    /// its begin on that is Zipf's law with exponent 1; the ranks of the first group have to share its part.
    pub(crate) fn rank(&mut self, bits: RangeInclusive<u32>) -> u64 {
        let (first, last) = bits.into_inner();
        let k = self.between(u64::from(first)..=u64::from(last - 1)) as u32;
        let from = if k == first { 0 } else { 1 << k };
        self.between(from..=(1 << (k + 1)) - 1)
    }

    pub(crate) fn port(&mut self, range: RangeInclusive<u16>) -> u16 {
        self.between(u64::from(*range.start())..=u64::from(*range.end())) as u16
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

/// A number that looks like no other's: for what stays the same of a source, a packet or a day.
pub(crate) const fn mix(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}
