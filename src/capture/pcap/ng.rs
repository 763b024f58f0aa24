//! The pcapng format: sections of blocks, each section with its own byte order and interfaces.

use std::io::Read;

use crate::decode::LinkType;

use super::source::{Order, Source, index};
use super::{Cause, Found};

/// The type of a section header block, the same in both byte orders.
const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
/// Obsolete, but written by captures that are still around.
const PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

/// Octets of a block's type and both its lengths.
const BLOCK_OVERHEAD: u32 = 12;
/// A file that describes more interfaces is made to fill memory.
const INTERFACES_MAX: usize = 65_536;

/// Whether a file that begins so is of this format.
pub(super) fn is_magic(magic: [u8; 4]) -> bool {
    magic == SECTION_HEADER.to_be_bytes()
}

/// What the blocks so far say of those to come.
#[derive(Debug)]
pub(super) struct Section {
    order: Order,
    interfaces: Vec<Interface>,
    /// Of the latest packet, for those that have no time.
    wall_ns: i64,
}

#[derive(Debug, Clone, Copy)]
struct Interface {
    link_type: LinkType,
    /// 0: no limit.
    snap_length: u32,
    /// Units of a time stamp in a second.
    units: u128,
    /// Added to every time stamp.
    offset_s: i64,
}

impl Section {
    /// Reads the first section header, whose type has been read.
    pub(super) fn first<R: Read>(source: &mut Source<R>) -> Result<Self, Cause> {
        let mut section = Self { order: Order::Little, interfaces: Vec::new(), wall_ns: 0 };
        let length = source.array()?.ok_or(Cause::Truncated)?;
        section.begin(length, source)?;
        Ok(section)
    }

    /// Reads a section header from behind its length, which only what follows makes readable.
    fn begin<R: Read>(&mut self, length: [u8; 4], source: &mut Source<R>) -> Result<(), Cause> {
        const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
        let magic = source.array()?.ok_or(Cause::Truncated)?;
        self.order = [Order::Little, Order::Big]
            .into_iter()
            .find(|order| order.u32(magic) == BYTE_ORDER_MAGIC)
            .ok_or(Cause::Format("a section header without byte order"))?;
        let length = self.block_length(length)?;
        let rest = length.checked_sub(28).ok_or(Cause::Format("a section header that is too short"))?;
        let major = self.order.u16(source.array()?.ok_or(Cause::Truncated)?);
        if major != 1 {
            return Err(Cause::Format("a pcapng version this program does not know"));
        }
        // Minor version, section length, options.
        source.skip(2 + 8 + u64::from(rest))?;
        self.interfaces.clear();
        self.trailer(length, source)
    }

    /// The next packet.
    pub(super) fn next<R: Read>(&mut self, source: &mut Source<R>) -> Result<Option<Found>, Cause> {
        loop {
            source.start_record();
            let Some(kind) = source.array()? else { return Ok(None) };
            let raw_length = source.array()?.ok_or(Cause::Truncated)?;
            let kind = self.order.u32(kind);
            if kind == SECTION_HEADER {
                self.begin(raw_length, source)?;
                continue;
            }
            let length = self.block_length(raw_length)?;
            match kind {
                INTERFACE | PACKET | SIMPLE_PACKET | ENHANCED_PACKET => {
                    if let Some(found) = self.block(kind, length, source)? {
                        self.wall_ns = found.wall_ns;
                        return Ok(Some(found));
                    }
                }
                _ => {
                    source.skip(u64::from(length.saturating_sub(BLOCK_OVERHEAD)))?;
                    self.trailer(length, source)?;
                }
            }
        }
    }

    fn block_length(&self, length: [u8; 4]) -> Result<u32, Cause> {
        let length = self.order.u32(length);
        if length < BLOCK_OVERHEAD || !length.is_multiple_of(4) {
            return Err(Cause::Format("a block length that cannot be"));
        }
        Ok(length)
    }

    /// Every block ends with its length once more.
    fn trailer<R: Read>(&self, length: u32, source: &mut Source<R>) -> Result<(), Cause> {
        if self.order.u32(source.array()?.ok_or(Cause::Truncated)?) == length {
            Ok(())
        } else {
            Err(Cause::Format("a block whose two lengths differ"))
        }
    }

    /// Reads a whole block from behind its length, and gives the packet in it.
    fn block<R: Read>(
        &mut self,
        kind: u32,
        length: u32,
        source: &mut Source<R>,
    ) -> Result<Option<Found>, Cause> {
        let block = source.fill(index(length.saturating_sub(8)))?;
        let (body, trailer) = block.split_last_chunk::<4>().ok_or(TOO_SHORT)?;
        if self.order.u32(*trailer) != length {
            return Err(Cause::Format("a block whose two lengths differ"));
        }
        let fields = Fields { order: self.order, rest: body };
        match kind {
            INTERFACE => self.interface(fields).map(|()| None),
            PACKET => self.packet(fields).map(Some),
            SIMPLE_PACKET => self.simple_packet(fields).map(Some),
            _ => self.enhanced_packet(fields).map(Some),
        }
    }

    fn interface(&mut self, mut fields: Fields<'_>) -> Result<(), Cause> {
        const TIME_RESOLUTION: u16 = 9;
        const TIME_OFFSET: u16 = 14;
        let link_type = LinkType(u32::from(fields.u16()?));
        let _reserved = fields.u16()?;
        let snap_length = fields.u32()?;
        let mut interface = Interface { link_type, snap_length, units: 1_000_000, offset_s: 0 };
        while let Some((code, value)) = fields.option()? {
            match (code, value) {
                (TIME_RESOLUTION, [resolution]) => interface.units = units(*resolution)?,
                (TIME_OFFSET, value) => {
                    let octets = value.try_into().map_err(|_| Cause::Format("a time offset that is none"))?;
                    interface.offset_s = self.order.i64(octets);
                }
                _ => {}
            }
        }
        if self.interfaces.len() >= INTERFACES_MAX {
            return Err(Cause::Format("more interfaces than any host has"));
        }
        self.interfaces.push(interface);
        Ok(())
    }

    fn enhanced_packet(&self, mut fields: Fields<'_>) -> Result<Found, Cause> {
        let interface = self.described(fields.u32()?)?;
        self.stamped_packet(interface, fields, 20)
    }

    fn packet(&self, mut fields: Fields<'_>) -> Result<Found, Cause> {
        let interface = self.described(u32::from(fields.u16()?))?;
        let _drops = fields.u16()?;
        self.stamped_packet(interface, fields, 20)
    }

    /// What both kinds have from the time stamp on; the octets are at `start` of the body.
    fn stamped_packet(
        &self,
        interface: &Interface,
        mut fields: Fields<'_>,
        start: usize,
    ) -> Result<Found, Cause> {
        let time = u64::from(fields.u32()?) << 32 | u64::from(fields.u32()?);
        let length = index(fields.u32()?);
        let wire_length = fields.u32()?;
        if length > fields.rest.len() {
            return Err(Cause::Format("a captured length beyond its block"));
        }
        let wall_ns = interface.wall_ns(time);
        Ok(Found { wall_ns, link_type: interface.link_type, wire_length, start, length })
    }

    /// A packet of the first interface, without a time, and with nothing that tells padding from a captured octet
    /// but the lengths of wire and snap.
    fn simple_packet(&self, mut fields: Fields<'_>) -> Result<Found, Cause> {
        let interface = self.described(0)?;
        let wire_length = fields.u32()?;
        let snap_length = if interface.snap_length == 0 { u32::MAX } else { interface.snap_length };
        let length = fields.rest.len().min(index(wire_length)).min(index(snap_length));
        let (wall_ns, link_type) = (self.wall_ns, interface.link_type);
        Ok(Found { wall_ns, link_type, wire_length, start: 4, length })
    }

    fn described(&self, interface: u32) -> Result<&Interface, Cause> {
        self.interfaces
            .get(index(interface))
            .ok_or(Cause::Format("a packet of an interface that was not described"))
    }
}

const TOO_SHORT: Cause = Cause::Format("a block that is too short");

/// The fields of a block's body, in the section's byte order.
struct Fields<'a> {
    order: Order,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Cause> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(TOO_SHORT)?;
        self.rest = rest;
        Ok(*array)
    }

    fn u16(&mut self) -> Result<u16, Cause> {
        self.array().map(|octets| self.order.u16(octets))
    }

    fn u32(&mut self) -> Result<u32, Cause> {
        self.array().map(|octets| self.order.u32(octets))
    }

    /// The next option's code and value; `None` at their end.
    fn option(&mut self) -> Result<Option<(u16, &'a [u8])>, Cause> {
        const END: u16 = 0;
        if self.rest.is_empty() {
            return Ok(None);
        }
        let code = self.u16()?;
        let length = usize::from(self.u16()?);
        let value = self.rest.get(..length).ok_or(Cause::Format("an option beyond its block"))?;
        self.rest = self.rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Ok((code != END).then_some((code, value)))
    }
}

/// `if_tsresol`: the exponent of 10, or with its high bit set of 2, of the units in a second.
fn units(resolution: u8) -> Result<u128, Cause> {
    let base = if resolution & 0x80 == 0 { 10_u128 } else { 2 };
    base.checked_pow(u32::from(resolution & 0x7f)).ok_or(Cause::Format("a time resolution that cannot be"))
}

impl Interface {
    /// Saturating: a time stamp beyond the year 2262 is a lie, but no reason to stop.
    fn wall_ns(&self, time: u64) -> i64 {
        const SECOND: i128 = 1_000_000_000;
        // A 64-bit time times 10^9 takes 94 bits.
        let ns = u128::from(time) * SECOND.unsigned_abs() / self.units;
        let ns = i128::try_from(ns).unwrap_or(i128::MAX).saturating_add(i128::from(self.offset_s) * SECOND);
        i64::try_from(ns).unwrap_or(if ns < 0 { i64::MIN } else { i64::MAX })
    }
}
