//! A cursor over octets, for forms with a fixed order. Every step gives `None` where the text is of another form.

use std::ops::RangeInclusive;

/// The text not yet read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scan<'a> {
    pub(super) rest: &'a [u8],
}

impl<'a> Scan<'a> {
    pub(super) const fn new(text: &'a [u8]) -> Self {
        Self { rest: text }
    }

    /// Exactly this text.
    pub(super) fn literal(&mut self, text: &[u8]) -> Option<()> {
        self.rest = self.rest.strip_prefix(text)?;
        Some(())
    }

    /// One octet out of `set`.
    pub(super) fn one_of(&mut self, set: &[u8]) -> Option<u8> {
        let (&first, rest) = self.rest.split_first()?;
        set.contains(&first).then(|| self.rest = rest)?;
        Some(first)
    }

    /// At least one blank.
    pub(super) fn blanks(&mut self) -> Option<()> {
        let rest = self.rest.trim_ascii_start();
        (rest.len() < self.rest.len()).then(|| self.rest = rest)
    }

    /// The octets up to `end`, which is skipped.
    pub(super) fn until(&mut self, end: u8) -> Option<&'a [u8]> {
        let at = self.rest.iter().position(|&octet| octet == end)?;
        let (before, rest) = self.rest.split_at_checked(at)?;
        self.rest = rest.get(1..)?;
        Some(before)
    }

    /// A run of octets without a blank, and the blanks after it.
    pub(super) fn word(&mut self) -> Option<&'a [u8]> {
        let end = self.rest.iter().position(|&octet| octet == b' ').unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at_checked(end)?;
        (!word.is_empty()).then(|| self.rest = rest.trim_ascii_start())?;
        Some(word)
    }

    /// A decimal number of so many digits; no digit may follow. At most 18 digits, so that it fits.
    pub(super) fn number(&mut self, digits: RangeInclusive<usize>) -> Option<i64> {
        let count = self.rest.iter().take_while(|octet| octet.is_ascii_digit()).count();
        (digits.contains(&count) && count <= 18).then_some(())?;
        let (number, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(number.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')))
    }

    /// A number that fits `i8`: month, day, hour, minute, second.
    pub(super) fn small(&mut self, digits: RangeInclusive<usize>) -> Option<i8> {
        i8::try_from(self.number(digits)?).ok()
    }

    /// The digits after a decimal point, as microseconds; further digits are dropped.
    pub(super) fn microseconds(&mut self) -> Option<i64> {
        let count = self.rest.iter().take_while(|octet| octet.is_ascii_digit()).count();
        let (digits, rest) = self.rest.split_at_checked(count)?;
        (!digits.is_empty()).then(|| self.rest = rest)?;
        let padded = digits.iter().copied().chain(std::iter::repeat(b'0')).take(6);
        Some(padded.fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')))
    }
}
