//! The IPv6 extension headers (RFC 8200 section 4) and the jumbo payload option (RFC 2675).

use crate::packet::Fragment;

use super::Undecoded;
use super::extent::{Beyond, Extent};
use super::ip::V6_HEADER;

// "IPv6 Extension Header Types" of the IANA registry. ESP (50) is one by name, but nothing behind it can be read.
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;
const MOBILITY: u8 = 135;
const HOST_IDENTITY: u8 = 139;
const SHIM6: u8 = 140;

/// RFC 8200 section 4.1 recommends at most 7 in one packet; RFC 9098 tells what longer chains are good for.
const CHAIN_MAX: usize = 10;

/// Where the fixed header names the first header after it.
const NEXT_HEADER: usize = 6;
/// [`V6_HEADER`] as lengths on the wire have it.
const FIXED_HEADER: u32 = 40;

/// Where the extension headers lead.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chain {
    /// The first next-header value that is no extension header.
    pub(super) protocol: u8,
    /// Where the header of `protocol` starts, from the start of the IP header.
    pub(super) end: usize,
    /// From a fragment header, unless the fragment is atomic.
    pub(super) fragment: Option<Fragment>,
    /// Where that fragment header is.
    pub(super) header: Option<FragmentHeader>,
    /// The octet that says `protocol`.
    named_at: usize,
    /// Whether `protocol` starts in this packet: not in a later fragment, nor where a first fragment ended too soon.
    pub(super) complete: bool,
}

/// Where an IPv6 packet was cut in fragments; offsets are from the start of the IP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FragmentHeader {
    /// The fragment header.
    pub(crate) at: usize,
    /// The next-header octet that names it.
    pub(crate) named_at: usize,
    /// What it names next.
    pub(crate) next_header: u8,
}

impl FragmentHeader {
    /// Octets of a fragment header.
    pub(crate) const LENGTH: usize = 8;

    /// Finds it in the octets of an IPv6 packet; an atomic fragment's does not count.
    pub(crate) fn find(octets: &[u8]) -> Option<Self> {
        let [_, _, _, _, l0, l1, next_header, _] = *octets.first_chunk()?;
        let payload_length = u16::from_be_bytes([l0, l1]);
        let length = packet_length(octets, next_header, payload_length).ok()??;
        walk(Extent::new(octets, usize::try_from(length).ok()?), next_header).ok()?.header
    }
}

/// Length of the whole packet. A payload length of zero with hop-by-hop options stands for a jumbogram's, which is in
/// those options; without it there (`None`) all that came over the wire is the packet: Linux (net/ipv6/ip6_input.c)
/// takes it so, and a probe that its target answers must not be invisible here.
pub(super) fn packet_length(
    octets: &[u8],
    next_header: u8,
    payload_length: u16,
) -> Result<Option<u32>, Undecoded> {
    let length = u32::from(payload_length) + FIXED_HEADER;
    if next_header != HOP_BY_HOP {
        return Ok(Some(length));
    }
    let claimed = usize::try_from(length).unwrap_or(usize::MAX);
    let whole = Extent::new(octets, if payload_length == 0 { usize::MAX } else { claimed });
    let [_, units] = whole.array(V6_HEADER).map_err(reason)?;
    let options = whole.slice(V6_HEADER + 2, units_to_octets(units) - 2).map_err(reason)?;
    match (payload_length, jumbo_payload(options)?) {
        (0, Some(jumbo)) if jumbo > u32::from(u16::MAX) => {
            jumbo.checked_add(FIXED_HEADER).map(Some).ok_or(Undecoded::JumboLength)
        }
        (_, Some(_)) => Err(Undecoded::JumboLength),
        (0, None) => Ok(None),
        (_, None) => Ok(Some(length)),
    }
}

/// The jumbo payload option's value among hop-by-hop options.
fn jumbo_payload(mut options: &[u8]) -> Result<Option<u32>, Undecoded> {
    const PAD1: u8 = 0;
    const JUMBO: u8 = 0xc2;
    while let Some((&kind, rest)) = options.split_first() {
        if kind == PAD1 {
            options = rest;
            continue;
        }
        let Some((&length, rest)) = rest.split_first() else { break };
        let Some((value, rest)) = rest.split_at_checked(usize::from(length)) else { break };
        if kind == JUMBO {
            let value = value.try_into().map_err(|_| Undecoded::JumboLength)?;
            return Ok(Some(u32::from_be_bytes(value)));
        }
        options = rest;
    }
    Ok(None)
}

/// Follows the chain from the fixed header's next header.
pub(super) fn walk(packet: Extent<'_>, next_header: u8) -> Result<Chain, Undecoded> {
    let mut chain = Chain {
        protocol: next_header,
        end: V6_HEADER,
        fragment: None,
        header: None,
        named_at: NEXT_HEADER,
        complete: true,
    };
    for _ in 0..=CHAIN_MAX {
        match step(packet, &mut chain) {
            Ok(Step::Further) => {}
            Ok(Step::Arrived) => return Ok(chain),
            // RFC 7112 forbids a first fragment to end inside the chain; that it does is for a rule to judge.
            Err(Stray::Beyond(Beyond::Claimed)) if chain.fragment.is_some() => {
                chain.complete = false;
                return Ok(chain);
            }
            Err(Stray::Beyond(beyond)) => return Err(reason(beyond)),
            Err(Stray::HopByHop) => return Err(Undecoded::HopByHopNotFirst),
        }
    }
    Err(Undecoded::ExtensionChain)
}

enum Step {
    Further,
    Arrived,
}

enum Stray {
    Beyond(Beyond),
    HopByHop,
}

impl From<Beyond> for Stray {
    fn from(beyond: Beyond) -> Self {
        Self::Beyond(beyond)
    }
}

/// Steps over one extension header.
fn step(packet: Extent<'_>, chain: &mut Chain) -> Result<Step, Stray> {
    let octets_of: fn(u8) -> usize = match chain.protocol {
        HOP_BY_HOP if chain.end != V6_HEADER => return Err(Stray::HopByHop),
        HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS | MOBILITY | HOST_IDENTITY | SHIM6 => units_to_octets,
        // RFC 4302 section 2.2: in 4-octet units, minus 2.
        AUTHENTICATION => |units| (usize::from(units) + 2) * 4,
        FRAGMENT => return fragment(packet, chain),
        _ => return Ok(Step::Arrived),
    };
    let [next_header, units] = packet.array(chain.end)?;
    let length = octets_of(units);
    if packet.claimed_from(chain.end) < length {
        return Err(Beyond::Claimed.into());
    }
    chain.protocol = next_header;
    chain.named_at = chain.end;
    chain.end += length;
    Ok(Step::Further)
}

fn fragment(packet: Extent<'_>, chain: &mut Chain) -> Result<Step, Stray> {
    let [next_header, _, o0, o1, i0, i1, i2, i3] = packet.array::<{ FragmentHeader::LENGTH }>(chain.end)?;
    let field = u16::from_be_bytes([o0, o1]);
    let found = Fragment {
        offset: field & 0xfff8,
        more: field & 1 != 0,
        identification: u32::from_be_bytes([i0, i1, i2, i3]),
        length: u32::try_from(packet.claimed_from(chain.end + FragmentHeader::LENGTH)).unwrap_or(u32::MAX),
    };
    let header = FragmentHeader { at: chain.end, named_at: chain.named_at, next_header };
    chain.protocol = next_header;
    chain.named_at = chain.end;
    chain.end += FragmentHeader::LENGTH;
    if !found.more && found.offset == 0 {
        return Ok(Step::Further);
    }
    // Of nested fragments the outer one is what the next hop sees.
    chain.fragment.get_or_insert(found);
    chain.header.get_or_insert(header);
    if found.offset > 0 {
        chain.complete = false;
        return Ok(Step::Arrived);
    }
    Ok(Step::Further)
}

/// "Hdr Ext Len": in 8-octet units, not including the first 8 octets.
const fn units_to_octets(units: u8) -> usize {
    (units as usize + 1) * 8
}

fn reason(beyond: Beyond) -> Undecoded {
    beyond.reason(Undecoded::ExtensionTruncated, Undecoded::ExtensionBeyondPacket)
}
