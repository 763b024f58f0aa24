//! The two ends of a packet.

use super::Undecoded;

/// An IP packet's captured octets and the length it claims.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent<'a> {
    /// From the IP header on; never more than `claimed`.
    captured: &'a [u8],
    /// Length of the whole packet by its own header.
    claimed: usize,
}

/// Which end a header reached beyond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beyond {
    /// The capture's: the octets may have been there.
    Captured,
    /// The packet's: they cannot have been there.
    Claimed,
}

impl Beyond {
    /// The reason to count.
    pub(super) const fn reason(self, captured: Undecoded, claimed: Undecoded) -> Undecoded {
        match self {
            Self::Captured => captured,
            Self::Claimed => claimed,
        }
    }
}

impl<'a> Extent<'a> {
    /// Octets beyond the claimed length are link-layer padding, and cut off here.
    pub(super) fn new(octets: &'a [u8], claimed: usize) -> Self {
        Self { captured: octets.get(..claimed).unwrap_or(octets), claimed }
    }

    /// Octets the packet claims to have from `at` on.
    pub(super) const fn claimed_from(&self, at: usize) -> usize {
        self.claimed.saturating_sub(at)
    }

    /// `N` octets from `at` on.
    pub(super) fn array<const N: usize>(&self, at: usize) -> Result<[u8; N], Beyond> {
        if self.claimed_from(at) < N {
            return Err(Beyond::Claimed);
        }
        self.captured.get(at..).and_then(<[u8]>::first_chunk).copied().ok_or(Beyond::Captured)
    }

    /// `length` octets from `at` on.
    pub(super) fn slice(&self, at: usize, length: usize) -> Result<&'a [u8], Beyond> {
        if self.claimed_from(at) < length {
            return Err(Beyond::Claimed);
        }
        self.captured.get(at..).and_then(|rest| rest.get(..length)).ok_or(Beyond::Captured)
    }
}
