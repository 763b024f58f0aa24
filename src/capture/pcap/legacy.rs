//! The pcap format: one header, then records of one link type.

use std::io::Read;

use crate::decode::LinkType;

use super::source::{Order, Source, index};
use super::{Cause, Found};

/// Microseconds.
const MICRO: u32 = 0xa1b2_c3d4;
/// Nanoseconds.
const NANO: u32 = 0xa1b2_3c4d;
/// Kuznetzov's "modified" format: microseconds, and 8 more octets in each record header.
const MODIFIED: u32 = 0xa1b2_cd34;

/// What the magic number tells.
fn recognise(magic: [u8; 4]) -> Option<(Order, u32)> {
    [Order::Little, Order::Big].into_iter().find_map(|order| {
        let magic = order.u32(magic);
        [MICRO, NANO, MODIFIED].contains(&magic).then_some((order, magic))
    })
}

/// Whether a file that begins so is of this format.
pub(super) fn is_magic(magic: [u8; 4]) -> bool {
    recognise(magic).is_some()
}

/// What the file header says of all records.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    order: Order,
    /// Nanoseconds in a unit of the fraction.
    fraction_ns: i64,
    modified: bool,
    link_type: LinkType,
}

impl Header {
    pub(super) fn read<R: Read>(magic: [u8; 4], source: &mut Source<R>) -> Result<Self, Cause> {
        let (order, magic) = recognise(magic).ok_or(Cause::Format("this is no capture file"))?;
        // Version, time zone and accuracy (which nobody sets) and the snap length.
        let _: [u8; 16] = source.array()?.ok_or(Cause::Truncated)?;
        let network = order.u32(source.array()?.ok_or(Cause::Truncated)?);
        Ok(Self {
            order,
            fraction_ns: if magic == NANO { 1 } else { 1000 },
            modified: magic == MODIFIED,
            // The upper 6 bits tell of a frame check sequence, which is behind the packet and never read.
            link_type: LinkType(network & 0x03ff_ffff),
        })
    }

    pub(super) fn next<R: Read>(&self, source: &mut Source<R>) -> Result<Option<Found>, Cause> {
        source.start_record();
        let Some(seconds) = source.array()? else { return Ok(None) };
        let fraction = source.array()?.ok_or(Cause::Truncated)?;
        let captured = source.array()?.ok_or(Cause::Truncated)?;
        let wire = source.array()?.ok_or(Cause::Truncated)?;
        if self.modified {
            let _: [u8; 8] = source.array()?.ok_or(Cause::Truncated)?;
        }
        let length = index(self.order.u32(captured));
        source.fill(length)?;
        let seconds = i64::from(self.order.u32(seconds));
        let fraction = i64::from(self.order.u32(fraction));
        Ok(Some(Found {
            wall_ns: seconds * 1_000_000_000 + fraction * self.fraction_ns,
            link_type: self.link_type,
            wire_length: self.order.u32(wire),
            start: 0,
            length,
        }))
    }
}
