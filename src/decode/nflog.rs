//! The NFLOG link type: a header and the attributes of `NFULNL_MSG_PACKET` (linux/netfilter/nfnetlink_log.h).

use crate::packet::Pkttype;

use super::Undecoded;
use super::ip::Version;
use super::link::{self, Link};

const PACKET_HDR: u16 = 1;
const IFINDEX_INDEV: u16 = 4;
const IFINDEX_OUTDEV: u16 = 5;
const PAYLOAD: u16 = 9;
const PREFIX: u16 = 10;
const HWTYPE: u16 = 15;
const HWHEADER: u16 = 16;

/// `NFPROTO_IPV4` and `NFPROTO_IPV6`; `NFPROTO_INET`, whose hooks are the same.
const IPV4: u8 = 2;
const IPV6: u8 = 10;
const INET: u8 = 1;
/// `NF_INET_LOCAL_OUT`.
const LOCAL_OUT: u8 = 3;
/// `ARPHRD_ETHER`.
const ETHERNET: u16 = 1;

/// The attributes of one record, as far as they mean something here.
#[derive(Default)]
struct Record<'a> {
    /// `hw_protocol` (an EtherType) and `hook` of the packet header.
    header: Option<(u16, u8)>,
    payload: Option<&'a [u8]>,
    prefix: Option<&'a [u8]>,
    iif: Option<u32>,
    oif: Option<u32>,
    hardware_type: Option<u16>,
    hardware_header: Option<&'a [u8]>,
}

pub(super) fn decode(octets: &[u8], wire_length: Option<u32>) -> Result<Link<'_>, Undecoded> {
    let (&[family, _version, _, _], attributes) =
        octets.split_first_chunk::<4>().ok_or(Undecoded::LinkTruncated)?;
    let cut = wire_length.is_none_or(|length| octets.len() < length as usize);
    let record = Record::read(attributes, cut)?;
    let payload = record.payload.ok_or(if cut && record.header.is_none() {
        Undecoded::LinkTruncated
    } else {
        Undecoded::NflogEmpty
    })?;
    let (version, octets) = match (family, record.header) {
        (IPV4, _) => (Version::V4, payload),
        (IPV6, _) => (Version::V6, payload),
        // A netdev or bridge chain: only the packet header tells.
        (_, Some((protocol, _))) => link::ethertype(protocol, payload)?,
        (_, None) => return Err(Undecoded::NotIp),
    };
    Ok(Link {
        octets,
        wire_length: None,
        version: Some(version),
        pkttype: record.pkttype(),
        outgoing: matches!(family, INET | IPV4 | IPV6)
            && record.header.is_some_and(|(_, hook)| hook == LOCAL_OUT),
        prefix: record.prefix,
        iif: record.iif,
        oif: record.oif,
    })
}

impl<'a> Record<'a> {
    fn read(mut attributes: &'a [u8], cut: bool) -> Result<Self, Undecoded> {
        let mut record = Self::default();
        while let Some((header, rest)) = attributes.split_first_chunk::<4>() {
            let (length, kind) = length_and_kind(*header);
            let length = usize::from(length).checked_sub(4).ok_or(Undecoded::NflogAttribute)?;
            let value = match rest.get(..length) {
                Some(value) => value,
                // A snap length below the record's cuts the payload, which the kernel puts last.
                None if cut && kind == PAYLOAD => rest,
                None if cut => return Err(Undecoded::LinkTruncated),
                None => return Err(Undecoded::NflogAttribute),
            };
            record.take(kind, value);
            attributes = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(record)
    }

    fn take(&mut self, kind: u16, value: &'a [u8]) {
        match kind {
            PACKET_HDR => {
                self.header = value.first_chunk().map(|&[p0, p1, hook]| (u16::from_be_bytes([p0, p1]), hook));
            }
            IFINDEX_INDEV => self.iif = value.first_chunk().copied().map(u32::from_be_bytes),
            IFINDEX_OUTDEV => self.oif = value.first_chunk().copied().map(u32::from_be_bytes),
            PAYLOAD => self.payload = Some(value),
            PREFIX => self.prefix = value.split(|&octet| octet == 0).next(),
            HWTYPE => self.hardware_type = value.first_chunk().copied().map(u16::from_be_bytes),
            HWHEADER => self.hardware_header = Some(value),
            _ => {}
        }
    }

    /// `NFULA_HWADDR` is the sender's address; whom it addressed stands in the whole header only.
    fn pkttype(&self) -> Pkttype {
        match (self.hardware_type, self.hardware_header) {
            (Some(ETHERNET), Some(header)) => Pkttype::of_hardware_address(header),
            _ => Pkttype::Unicast,
        }
    }
}

/// Both are in the byte order of the host that captured, which nothing tells. But no attribute type is zero or above
/// 255, so that the order is in the type's zero octet.
const fn length_and_kind([l0, l1, k0, k1]: [u8; 4]) -> (u16, u16) {
    if k0 == 0 && k1 != 0 {
        (u16::from_be_bytes([l0, l1]), u16::from_be_bytes([k0, k1]))
    } else {
        (u16::from_le_bytes([l0, l1]), u16::from_le_bytes([k0, k1]))
    }
}
