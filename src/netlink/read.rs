//! Reading messages and attributes out of a received datagram.

/// Octets of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Octets of `struct nlattr`.
const ATTRIBUTE: usize = 4;
/// Bits of an attribute type that carry flags (`NLA_F_NESTED`, `NLA_F_NET_BYTEORDER`).
const TYPE_FLAGS: u16 = 0xc000;

/// Messages and attributes start on 4-octet boundaries (`NLMSG_ALIGN`, `NLA_ALIGN`).
const fn aligned(length: usize) -> usize {
    length.saturating_add(3) & !3
}

fn u16_at(octets: &[u8], at: usize) -> Option<u16> {
    octets.get(at..)?.first_chunk().copied().map(u16::from_ne_bytes)
}

fn u32_at(octets: &[u8], at: usize) -> Option<u32> {
    octets.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

/// One netlink message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// `nlmsg_type`.
    pub kind: u16,
    /// `nlmsg_flags`.
    pub flags: u16,
    /// `nlmsg_seq`: the request this answers.
    pub sequence: u32,
    /// `nlmsg_pid`: the port that asked for or caused it.
    pub port: u32,
    /// What follows the header.
    pub payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// The attributes after a fixed header of `skip` octets (4 for nfnetlink's `struct nfgenmsg`).
    #[must_use]
    pub fn attributes(&self, skip: usize) -> Attributes<'a> {
        Attributes::new(self.payload.get(aligned(skip)..).unwrap_or_default())
    }

    /// For `NLMSG_ERROR` and `NLMSG_DONE`: the errno it reports, 0 for an acknowledgement.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        self.payload.first_chunk().map(|code| i32::from_ne_bytes(*code).saturating_neg())
    }
}

/// The messages of one datagram. Ends at the first header whose length is a lie.
#[derive(Debug, Clone)]
pub struct Messages<'a>(&'a [u8]);

impl<'a> Messages<'a> {
    /// Over a received datagram.
    #[must_use]
    pub const fn new(datagram: &'a [u8]) -> Self {
        Self(datagram)
    }

    /// The octets not walked yet: after the end of the walk, those that are no message.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.0
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let length = usize::try_from(u32_at(self.0, 0)?).ok()?;
        let message = Message {
            kind: u16_at(self.0, 4)?,
            flags: u16_at(self.0, 6)?,
            sequence: u32_at(self.0, 8)?,
            port: u32_at(self.0, 12)?,
            payload: self.0.get(HEADER..length)?,
        };
        self.0 = self.0.get(aligned(length)..).unwrap_or_default();
        Some(message)
    }
}

/// One attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// `nla_type` without its flag bits.
    pub kind: u16,
    /// The value.
    pub value: &'a [u8],
}

impl<'a> Attribute<'a> {
    /// A 32-bit number in network byte order, as nfnetlink has them.
    #[must_use]
    pub fn be32(&self) -> Option<u32> {
        self.value.first_chunk().copied().map(u32::from_be_bytes)
    }

    /// A 64-bit number in network byte order.
    #[must_use]
    pub fn be64(&self) -> Option<u64> {
        self.value.first_chunk().copied().map(u64::from_be_bytes)
    }

    /// A 32-bit number in host byte order, as rtnetlink has them.
    #[must_use]
    pub fn ne32(&self) -> Option<u32> {
        self.value.first_chunk().copied().map(u32::from_ne_bytes)
    }

    /// A NUL-terminated string without its terminator.
    #[must_use]
    pub fn text(&self) -> &'a [u8] {
        self.value.split(|&octet| octet == 0).next().unwrap_or_default()
    }

    /// The attributes nested in this one.
    #[must_use]
    pub const fn nested(&self) -> Attributes<'a> {
        Attributes::new(self.value)
    }
}

/// A sequence of attributes. Ends at the first one whose length is a lie.
#[derive(Debug, Clone)]
pub struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// Over the octets that hold the attributes.
    #[must_use]
    pub const fn new(octets: &'a [u8]) -> Self {
        Self(octets)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        let length = usize::from(u16_at(self.0, 0)?);
        let attribute =
            Attribute { kind: u16_at(self.0, 2)? & !TYPE_FLAGS, value: self.0.get(ATTRIBUTE..length)? };
        self.0 = self.0.get(aligned(length)..).unwrap_or_default();
        Some(attribute)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_longer_than_the_datagram_ends_the_walk() {
        let mut datagram = vec![20, 0, 0, 0, 1, 0, 2, 0, 3, 0, 0, 0, 4, 0, 0, 0, 9, 9, 9, 9];
        let message = Messages::new(&datagram).next().unwrap();
        assert_eq!((message.kind, message.flags, message.sequence, message.port), (1, 2, 3, 4));
        assert_eq!(message.payload, [9; 4]);
        datagram[0] = 21;
        assert_eq!(Messages::new(&datagram).count(), 0);
        datagram[0] = 3;
        assert_eq!(Messages::new(&datagram).count(), 0, "a length below the header's own");
    }

    #[test]
    fn an_attribute_of_no_length_ends_the_walk() {
        assert_eq!(Attributes::new(&[0, 0, 1, 0, 5, 0, 1, 0, 7]).count(), 0);
        let attributes: Vec<_> = Attributes::new(&[5, 0, 1, 0x80, 7, 0, 0, 0, 4, 0, 2, 0]).collect();
        assert_eq!(attributes, [Attribute { kind: 1, value: &[7] }, Attribute { kind: 2, value: &[] }]);
    }
}
