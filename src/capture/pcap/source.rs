//! A stream read record by record, into one buffer that is used again for each.

use std::io::{self, Read};

use super::{Cause, RECORD_MAX};

/// The stream, and where in it we are.
#[derive(Debug)]
pub(super) struct Source<R> {
    reader: R,
    buffer: Vec<u8>,
    offset: u64,
    record_offset: u64,
}

impl<R: Read> Source<R> {
    pub(super) const fn new(reader: R) -> Self {
        Self { reader, buffer: Vec::new(), offset: 0, record_offset: 0 }
    }

    /// Marks that a record starts here.
    pub(super) const fn start_record(&mut self) {
        self.record_offset = self.offset;
    }

    /// Where the record being read starts.
    pub(super) const fn record_offset(&self) -> u64 {
        self.record_offset
    }

    /// The next `N` octets, or `None` if the stream ends before the first of them.
    pub(super) fn array<const N: usize>(&mut self) -> Result<Option<[u8; N]>, Cause> {
        let mut octets = [0; N];
        match read_full(&mut self.reader, &mut octets, &mut self.offset)? {
            0 if N > 0 => Ok(None),
            length if length < N => Err(Cause::Truncated),
            _ => Ok(Some(octets)),
        }
    }

    /// Reads `length` octets to the front of the buffer.
    pub(super) fn fill(&mut self, length: usize) -> Result<&[u8], Cause> {
        if length > RECORD_MAX {
            return Err(Cause::Format("a record longer than 1 MiB"));
        }
        if self.buffer.len() < length {
            self.buffer.resize(length, 0);
        }
        let octets = self.buffer.get_mut(..length).unwrap_or_default();
        if read_full(&mut self.reader, octets, &mut self.offset)? < length {
            return Err(Cause::Truncated);
        }
        Ok(octets)
    }

    /// Passes over `length` octets.
    pub(super) fn skip(&mut self, length: u64) -> Result<(), Cause> {
        let skipped = io::copy(&mut self.reader.by_ref().take(length), &mut io::sink())?;
        self.offset = self.offset.saturating_add(skipped);
        if skipped < length { Err(Cause::Truncated) } else { Ok(()) }
    }

    /// What [`Source::fill`] read last.
    pub(super) fn slice(&self, start: usize, length: usize) -> &[u8] {
        self.buffer.get(start..).and_then(|rest| rest.get(..length)).unwrap_or_default()
    }
}

/// Reads until `octets` are full or the stream ends, and tells how many there were.
fn read_full(reader: &mut impl Read, octets: &mut [u8], offset: &mut u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(space) = octets.get_mut(filled..)
        && !space.is_empty()
    {
        match reader.read(space) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    *offset = offset.saturating_add(filled as u64);
    Ok(filled)
}

/// The byte order of the host that wrote a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Little,
    Big,
}

impl Order {
    pub(super) const fn u16(self, octets: [u8; 2]) -> u16 {
        match self {
            Self::Little => u16::from_le_bytes(octets),
            Self::Big => u16::from_be_bytes(octets),
        }
    }

    pub(super) const fn u32(self, octets: [u8; 4]) -> u32 {
        match self {
            Self::Little => u32::from_le_bytes(octets),
            Self::Big => u32::from_be_bytes(octets),
        }
    }

    pub(super) const fn i64(self, octets: [u8; 8]) -> i64 {
        match self {
            Self::Little => i64::from_le_bytes(octets),
            Self::Big => i64::from_be_bytes(octets),
        }
    }
}

/// A captured length as an index.
pub(super) fn index(length: u32) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}
