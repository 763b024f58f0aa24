//! The capture: pcap of the NFLOG link type, as `tcpdump -i nflog:100` writes it on a little-endian host.

use std::io::{self, Write};

use nfban::packet::Pkttype;

use super::packet::Parcel;

/// Monday, 2026-03-02T00:00:00Z.
pub(crate) const BEGIN_S: u64 = 1_772_409_600;

const LINKTYPE_NFLOG: u32 = 239;

/// The file header.
pub(crate) fn begin(out: &mut impl Write) -> io::Result<()> {
    out.write_all(&0xa1b2_c3d4_u32.to_le_bytes())?; // microseconds
    out.write_all(&[2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0])?; // version 2.4
    out.write_all(&65535_u32.to_le_bytes())?;
    out.write_all(&LINKTYPE_NFLOG.to_le_bytes())
}

/// One record; `record` is where it is put together.
pub(crate) fn write(out: &mut impl Write, parcel: &Parcel, record: &mut Vec<u8>) -> io::Result<()> {
    let octets = parcel.octets.as_slice();
    let v4 = octets[0] >> 4 == 4;
    record.clear();
    record.extend([if v4 { 2 } else { 10 }, 0, 0, 0]);
    let [p0, p1] = if v4 { [0x08, 0x00] } else { [0x86, 0xdd] };
    attribute(record, 1, &[p0, p1, 2, 0]); // EtherType; NF_INET_FORWARD
    // The sender's address says nothing; the destination's group bit does.
    let group = match parcel.pkttype {
        Pkttype::Unicast => None,
        Pkttype::Broadcast => Some([0xff; 6]),
        Pkttype::Multicast => Some([1, 0, 0x5e, 0, 0, 0xfb]),
    };
    if let Some(group) = group {
        attribute(record, 15, &[0, 1]); // ARPHRD_ETHER
        attribute(record, 16, &[&group[..], &[2, 0, 0, 0, 0, 1, p0, p1]].concat());
    }
    let verdict = parcel.verdict.as_str().as_bytes();
    attribute(record, 10, &[b"nfban:", verdict, b"\0"].concat());
    attribute(record, 9, octets);
    let length = record.len() as u32;
    out.write_all(&((BEGIN_S + parcel.at / 1_000_000) as u32).to_le_bytes())?;
    out.write_all(&((parcel.at % 1_000_000) as u32).to_le_bytes())?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(record)
}

fn attribute(record: &mut Vec<u8>, kind: u16, value: &[u8]) {
    record.extend((value.len() as u16 + 4).to_le_bytes());
    record.extend(kind.to_le_bytes());
    record.extend(value);
    record.resize(record.len().next_multiple_of(4), 0);
}
