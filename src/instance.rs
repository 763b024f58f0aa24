//! Names that a daemon has for itself when it runs beside another: `nfban --instance NAME`.

#![forbid(unsafe_code)]

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The name of an instance: at most 32 ASCII letters, digits, `-` and `_`, beginning with a letter or digit. It becomes
/// part of a table's name, of paths and of a unit's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance(String);

/// What a name is refused with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// It could leave its folder, or be no table's name.
    #[error("a name has at most 32 letters, digits, - and _, and begins with a letter or digit")]
    Letters,
    /// Its configuration would be the one that is used without an instance.
    #[error("/etc/nfban/nfban.yaml is the configuration without --instance: take another name")]
    Usual,
}

impl Instance {
    /// Its configuration, unless another is named.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        PathBuf::from(format!("/etc/nfban/{self}.yaml"))
    }

    /// The name of its nftables table in the family inet.
    #[must_use]
    pub fn table(&self) -> String {
        format!("nfban_{self}")
    }

    /// Its control socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        PathBuf::from(format!("/run/nfban-{self}/control.sock"))
    }

    /// Its state, where no service manager names another directory.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        PathBuf::from(format!("/var/lib/nfban-{self}"))
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Instance {
    type Err = BadName;

    fn from_str(name: &str) -> Result<Self, BadName> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.len() > 32
            || !name.chars().all(plain)
            || !name.starts_with(|c: char| c.is_ascii_alphanumeric())
        {
            return Err(BadName::Letters);
        }
        if name == "nfban" {
            return Err(BadName::Usual);
        }
        Ok(Self(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_name_cannot_leave_its_folder() {
        for name in ["dmz", "wan-2", "0", "A_b"] {
            assert_eq!(name.parse::<Instance>().unwrap().to_string(), name);
        }
        for name in ["", "..", "a/b", "-x", "_x", "a b", "ä", &"x".repeat(33)] {
            assert_eq!(name.parse::<Instance>(), Err(BadName::Letters), "{name:?}");
        }
    }

    #[test]
    fn no_instance_shares_a_name_with_the_usual_daemon() {
        assert_eq!("nfban".parse::<Instance>(), Err(BadName::Usual));
        let dmz: Instance = "dmz".parse().unwrap();
        assert_eq!(dmz.config(), PathBuf::from("/etc/nfban/dmz.yaml"));
        assert_eq!(dmz.table(), "nfban_dmz");
        assert_eq!(dmz.socket(), PathBuf::from("/run/nfban-dmz/control.sock"));
        assert_eq!(dmz.state(), PathBuf::from("/var/lib/nfban-dmz"));
    }
}
