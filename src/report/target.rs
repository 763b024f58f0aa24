//! An address or a prefix as users and other programs write it: bare at full length, else with its length.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An address or a prefix. Shown as `192.0.2.7`, `2001:db8::1`, `192.0.2.0/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target(pub IpNet);

/// What is wrong with a target somebody wrote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseTargetError {
    /// Neither an address nor a prefix.
    #[error("an address or a prefix is expected, for example 192.0.2.7 or 2001:db8::/64")]
    Neither,
    /// Which of the two is meant decides whom it hits, so it is asked and not guessed.
    #[error("the address has bits beyond the prefix length; did you mean {0} or {1}?")]
    HostBits(IpAddr, IpNet),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() {
            self.0.addr().fmt(f)
        } else {
            self.0.trunc().fmt(f)
        }
    }
}

impl FromStr for Target {
    type Err = ParseTargetError;

    /// An IPv4 address mapped into IPv6 (`::ffff:192.0.2.7`) is the IPv4 address: that is how its packets travel.
    fn from_str(text: &str) -> Result<Self, ParseTargetError> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(IpNet::from(address.to_canonical())));
        }
        let net: IpNet = text.parse().map_err(|_| ParseTargetError::Neither)?;
        if net != net.trunc() {
            return Err(ParseTargetError::HostBits(net.addr(), net.trunc()));
        }
        Ok(Self(net))
    }
}

impl Serialize for Target {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_shown_bare_at_full_length_and_as_a_prefix_else() {
        for text in ["192.0.2.7", "192.0.2.0/24", "2001:db8::1", "2001:db8::/64", "0.0.0.0/0"] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
        assert_eq!("192.0.2.7/32".parse::<Target>().unwrap().to_string(), "192.0.2.7");
        assert_eq!("::ffff:192.0.2.7".parse::<Target>().unwrap().to_string(), "192.0.2.7");
    }

    #[test]
    fn a_prefix_with_host_bits_is_asked_about() {
        let error = "192.0.2.7/24".parse::<Target>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "the address has bits beyond the prefix length; did you mean 192.0.2.7 or 192.0.2.0/24?"
        );
    }

    #[test]
    fn anything_else_is_no_target() {
        for text in ["", "example.org", "192.0.2.7/33", "192.0.2", "fe80::1%eth0", "2001:db8::/64 "] {
            assert_eq!(text.parse::<Target>(), Err(ParseTargetError::Neither), "{text:?}");
        }
    }
}
