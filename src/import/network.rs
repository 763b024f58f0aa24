//! Networks as other programs write them: host bits set, dotted masks, addresses cut short.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

/// `192.0.2.7`, `192.0.2.0/24`, `192.0.2.0/255.255.255.0`, `2001:db8::/48`; bits behind the prefix are dropped.
///
/// # Errors
/// Why it is no network.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let (address, mask) = match text.split_once('/') {
        None => (text, None),
        Some((address, mask)) => (address, Some(mask)),
    };
    let address: IpAddr =
        address.parse().map_err(|_| "names of hosts are not looked up, write its address".to_owned())?;
    let Some(mask) = mask else { return Ok(address.into()) };
    prefix(address, mask).map(|network| network.trunc())
}

/// An address with a prefix length or a dotted mask.
fn prefix(address: IpAddr, mask: &str) -> Result<IpNet, String> {
    if let Ok(length) = mask.parse::<u8>() {
        return IpNet::new(address, length).map_err(|_| "the prefix length is too large".to_owned());
    }
    let bad = || "its mask is no prefix length and no netmask, write `/24`".to_owned();
    match (address, mask.parse::<Ipv4Addr>()) {
        (IpAddr::V4(address), Ok(mask)) => {
            Ipv4Net::with_netmask(address, mask).map(IpNet::V4).map_err(|_| bad())
        }
        _ => Err(bad()),
    }
}

/// `10.1` as iplog reads it: the octets that are not there are zero.
pub(super) fn lengthened(text: &str) -> String {
    let numeric = !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit() || octet == b'.');
    let missing = 3_usize.saturating_sub(text.bytes().filter(|&octet| octet == b'.').count());
    if numeric { format!("{text}{}", ".0".repeat(missing)) } else { text.to_owned() }
}
