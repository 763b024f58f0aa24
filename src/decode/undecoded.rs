//! Why octets are no packet to us.

/// Declares [`Undecoded`] with its words in one place, so that `ALL`, `as_str` and the index cannot disagree.
macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)+) => {
        /// Why octets could not be decoded. Counted, shown in `status`, never an error of the program.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Undecoded { $($(#[$doc])* $name,)+ }

        impl Undecoded {
            /// Every reason, in the order of [`Undecoded::index`].
            pub const ALL: [Self; [$($word),+].len()] = [$(Self::$name),+];

            /// The word for JSON and listings.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)+ }
            }
        }
    };
}

reasons! {
    /// The capture has a link type this program cannot read.
    LinkType = "unknown-link-type",
    /// The octets end inside the link-layer header or its VLAN tags.
    LinkTruncated = "truncated-link-header",
    /// An NFLOG attribute says it is shorter than its own header, or reaches beyond the record.
    NflogAttribute = "bad-nflog-attribute",
    /// An NFLOG record without a packet in it.
    NflogEmpty = "nflog-without-packet",
    /// The frame carries something other than IP: ARP, LLDP, a bridge's spanning tree.
    NotIp = "not-ip",
    /// The octets end inside the fixed IP header.
    IpTruncated = "truncated-ip-header",
    /// Neither version 4 nor 6, or not the version the link layer announced.
    IpVersion = "bad-ip-version",
    /// An IPv4 header length below 20 octets.
    IpHeaderLength = "ip-header-length-below-minimum",
    /// An IPv4 total length below the header length.
    TotalLengthBelowHeader = "ip-length-below-header",
    /// The IP length says more octets than came over the wire.
    LengthBeyondWire = "ip-length-beyond-wire",
    /// The capture ends inside the IPv4 options.
    OptionsTruncated = "truncated-ip-options",
    /// The capture ends inside the IPv6 extension headers.
    ExtensionTruncated = "truncated-extension-header",
    /// The packet ends inside its IPv6 extension headers.
    ExtensionBeyondPacket = "extension-header-beyond-packet",
    /// More IPv6 extension headers than any honest packet has.
    ExtensionChain = "extension-chain-too-long",
    /// A hop-by-hop options header elsewhere than first (RFC 8200 section 4.1).
    HopByHopNotFirst = "hop-by-hop-not-first",
    /// A jumbo payload option that RFC 2675 section 3 forbids, or a fragment with a payload length of zero.
    JumboLength = "bad-jumbo-length",
    /// The capture ends inside the transport header.
    TransportTruncated = "truncated-transport-header",
    /// The packet ends inside its transport header.
    TransportBeyondPacket = "transport-header-beyond-packet",
    /// A TCP data offset below 5.
    TcpOffsetBelowHeader = "tcp-offset-below-header",
    /// A TCP data offset beyond the packet.
    TcpOffsetBeyondPacket = "tcp-offset-beyond-packet",
    /// A UDP length, or UDP-Lite checksum coverage, below 8.
    UdpLengthBelowHeader = "udp-length-below-header",
    /// A UDP length, or UDP-Lite checksum coverage, beyond the packet.
    UdpLengthBeyondPacket = "udp-length-beyond-packet",
}

impl Undecoded {
    /// Position in [`Undecoded::ALL`], for arrays of counters.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Whether more captured octets could have decoded it: the snap length's doing, not the packet's.
    #[must_use]
    pub const fn is_truncation(self) -> bool {
        matches!(
            self,
            Self::LinkTruncated
                | Self::IpTruncated
                | Self::OptionsTruncated
                | Self::ExtensionTruncated
                | Self::TransportTruncated
        )
    }
}

impl std::fmt::Display for Undecoded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
