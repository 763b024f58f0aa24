//! Capture files: pcap (draft-ietf-opsawg-pcap) and pcapng (draft-ietf-opsawg-pcapng), read as a stream.
//!
//! Written for streams that may break anywhere: it says at which record and octet they do, holds one record at a time,
//! and is not kept reading by a length that lies. The pcap-parser crate, its oracle in tests, tells no places, takes a
//! captured length beyond its block for an unfinished read, reads `if_tsoffset` as little-endian always, and refuses
//! time resolutions that are powers of two.

#![forbid(unsafe_code)]

mod legacy;
mod ng;
pub mod reassembly;
mod source;

#[cfg(test)]
mod tests;

use std::io::{self, Read};

use crate::decode::LinkType;

use self::source::Source;

/// The longest record taken: four times what libpcap captures at most (`MAXIMUM_SNAPLEN`). A longer one is a lie.
const RECORD_MAX: usize = 1 << 20;

/// One captured packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Which packet of the file, from 1 on.
    pub number: u64,
    /// Octets of the (uncompressed) file before it.
    pub offset: u64,
    /// When, in nanoseconds since 1970-01-01T00:00:00Z. A pcapng simple packet block tells no time and has that of
    /// the packet before it (0 where there is none).
    pub wall_ns: i64,
    /// What [`Record::octets`] begin with.
    pub link_type: LinkType,
    /// Length of the frame before a snap length cut it.
    pub wire_length: u32,
    /// The captured octets.
    pub octets: &'a [u8],
}

/// A file that cannot be read further. Every record before the place has been delivered.
#[derive(Debug, thiserror::Error)]
#[error("record {number} at octet {offset}: {cause}")]
pub struct Broken {
    /// The packet that could not be read, from 1 on.
    pub number: u64,
    /// Where in the (uncompressed) file its record, or a block before it, starts.
    pub offset: u64,
    /// Why.
    #[source]
    pub cause: Cause,
}

/// Why a file cannot be read further.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// It could not be read or decompressed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It ends inside a record, as when a capture was interrupted.
    #[error("the file ends inside it")]
    Truncated,
    /// It contradicts its format.
    #[error("{0}")]
    Format(&'static str),
}

/// The formats, told by the first four octets of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// pcap in any of its variants.
    Pcap,
    /// pcapng.
    PcapNg,
}

impl Format {
    /// The format of a file that begins so.
    #[must_use]
    pub fn of_magic(magic: [u8; 4]) -> Option<Self> {
        if ng::is_magic(magic) { Some(Self::PcapNg) } else { legacy::is_magic(magic).then_some(Self::Pcap) }
    }
}

/// What a record is, its octets apart.
#[derive(Debug, Clone, Copy)]
struct Found {
    wall_ns: i64,
    link_type: LinkType,
    wire_length: u32,
    /// Where the octets are in the source's buffer.
    start: usize,
    length: usize,
}

/// What the blocks read so far say of the next.
#[derive(Debug)]
enum Context {
    Legacy(legacy::Header),
    Ng(ng::Section),
}

/// The records of a capture file, one at a time.
#[derive(Debug)]
pub struct Records<R> {
    source: Source<R>,
    context: Context,
    number: u64,
    ended: bool,
}

impl<R: Read> Records<R> {
    /// Reads the file header. The reader should be buffered: records are read in small pieces.
    ///
    /// # Errors
    /// If the input does not begin as a capture file does, or cannot be read.
    pub fn new(reader: R) -> Result<Self, Broken> {
        let mut source = Source::new(reader);
        let context = Self::header(&mut source).map_err(|cause| Broken { number: 1, offset: 0, cause })?;
        Ok(Self { source, context, number: 0, ended: false })
    }

    fn header(source: &mut Source<R>) -> Result<Context, Cause> {
        let magic = source.array::<4>()?.ok_or(Cause::Truncated)?;
        if ng::is_magic(magic) {
            return ng::Section::first(source).map(Context::Ng);
        }
        legacy::Header::read(magic, source).map(Context::Legacy)
    }

    /// The next record, or `None` at the end and after an error.
    ///
    /// # Errors
    /// [`Broken`], once, where the file cannot be read further.
    pub fn read(&mut self) -> Result<Option<Record<'_>>, Broken> {
        if self.ended {
            return Ok(None);
        }
        let found = match &mut self.context {
            Context::Legacy(header) => header.next(&mut self.source),
            Context::Ng(section) => section.next(&mut self.source),
        };
        match found {
            Ok(Some(Found { wall_ns, link_type, wire_length, start, length })) => {
                self.number += 1;
                Ok(Some(Record {
                    number: self.number,
                    offset: self.source.record_offset(),
                    wall_ns,
                    link_type,
                    wire_length,
                    octets: self.source.slice(start, length),
                }))
            }
            Ok(None) => {
                self.ended = true;
                Ok(None)
            }
            Err(cause) => {
                self.ended = true;
                Err(Broken { number: self.number + 1, offset: self.source.record_offset(), cause })
            }
        }
    }
}
