//! Writing messages and attributes.

/// The start of a message: `struct nlmsghdr` without its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// `nlmsg_type`.
    pub kind: u16,
    /// `nlmsg_flags`.
    pub flags: u16,
    /// `nlmsg_seq`.
    pub sequence: u32,
}

/// Messages written one after another into one buffer, for one `sendmsg`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    octets: Vec<u8>,
    /// Where the last message starts.
    last: usize,
}

impl Batch {
    /// The octets written so far.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.octets
    }

    /// Whether nothing has been written.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.octets.is_empty()
    }

    /// Adds a message: `header`, the octets of the family's own fixed header, and what `body` writes.
    pub fn message(&mut self, header: Header, fixed: &[u8], body: impl FnOnce(&mut Self)) {
        let start = self.octets.len();
        self.last = start;
        self.octets.extend_from_slice(&[0; 4]);
        self.octets.extend_from_slice(&header.kind.to_ne_bytes());
        self.octets.extend_from_slice(&header.flags.to_ne_bytes());
        self.octets.extend_from_slice(&header.sequence.to_ne_bytes());
        self.octets.extend_from_slice(&[0; 4]); // nlmsg_pid: the kernel fills in the socket's own
        self.octets.extend_from_slice(fixed);
        self.pad();
        body(self);
        let length = u32::try_from(self.octets.len() - start).unwrap_or(u32::MAX);
        self.patch(start, &length.to_ne_bytes());
        self.pad();
    }

    /// Asks for an acknowledgement of the last message (`NLM_F_ACK`).
    pub fn acknowledge(&mut self) {
        const NLM_F_ACK: u16 = 0x4;
        const FLAGS: usize = 6; // of struct nlmsghdr
        let place = self.octets.get_mut(self.last + FLAGS..).and_then(<[u8]>::first_chunk_mut);
        if let Some(flags) = place {
            *flags = (u16::from_ne_bytes(*flags) | NLM_F_ACK).to_ne_bytes();
        }
    }

    /// Adds an attribute with the octets `value`.
    pub fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.nest_as(kind, |batch| batch.octets.extend_from_slice(value));
    }

    /// Adds a 32-bit number in network byte order.
    pub fn be32(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_be_bytes());
    }

    /// Adds a 64-bit number in network byte order.
    pub fn be64(&mut self, kind: u16, value: u64) {
        self.attribute(kind, &value.to_be_bytes());
    }

    /// Adds a string with its terminating NUL.
    pub fn text(&mut self, kind: u16, value: &str) {
        self.nest_as(kind, |batch| {
            batch.octets.extend_from_slice(value.as_bytes());
            batch.octets.push(0);
        });
    }

    /// Adds an attribute that holds the attributes `body` writes (`NLA_F_NESTED`).
    pub fn nest(&mut self, kind: u16, body: impl FnOnce(&mut Self)) {
        const NLA_F_NESTED: u16 = 0x8000;
        self.nest_as(kind | NLA_F_NESTED, body);
    }

    fn nest_as(&mut self, kind: u16, body: impl FnOnce(&mut Self)) {
        let start = self.octets.len();
        self.octets.extend_from_slice(&[0; 2]);
        self.octets.extend_from_slice(&kind.to_ne_bytes());
        body(self);
        // No attribute of ours comes near 64 KiB; one that did would be refused by the kernel (EINVAL), not misread.
        let length = u16::try_from(self.octets.len() - start).unwrap_or(u16::MAX);
        self.patch(start, &length.to_ne_bytes());
        self.pad();
    }

    fn patch(&mut self, at: usize, value: &[u8]) {
        if let Some(place) = self.octets.get_mut(at..at + value.len()) {
            place.copy_from_slice(value);
        }
    }

    fn pad(&mut self) {
        self.octets.resize(self.octets.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Attributes, Messages};
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let mut batch = Batch::default();
        for sequence in 1..=2 {
            batch.message(Header { kind: 7, flags: 5, sequence }, &[2, 0, 0, 9], |m| {
                m.text(1, "nfban");
                m.nest(2, |inner| inner.be32(3, 600));
            });
        }
        let messages: Vec<_> = Messages::new(batch.as_bytes()).collect();
        assert_eq!(messages.iter().map(|m| m.sequence).collect::<Vec<_>>(), [1, 2]);
        let attributes: Vec<_> = messages[1].attributes(4).collect();
        assert_eq!((attributes[0].kind, attributes[0].text()), (1, &b"nfban"[..]));
        assert_eq!(Attributes::new(attributes[1].value).next().unwrap().be32(), Some(600));
        assert_eq!(batch.as_bytes().len() % 4, 0);
        batch.acknowledge();
        let flags: Vec<_> = Messages::new(batch.as_bytes()).map(|message| message.flags).collect();
        assert_eq!(flags, [5, 5 | 4], "only the last");
    }
}
