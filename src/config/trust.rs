//! Whose word a file is: what commands the firewall must be nobody's to write but root's and the daemon's own.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

use super::problem::{Problem, Problems};

/// Whose files are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// Anybody's: `check` and `replay` of an ordinary user.
    Anybody,
    /// Files of root, or of the process's own user, that nobody else can write: a daemon that changes the firewall.
    /// For a daemon that runs as root that is root alone.
    OwnOrRoots,
}

/// Judges an open file by its owner and mode.
///
/// # Errors
/// Somebody other than root could have written it.
pub(super) fn check(file: &str, metadata: &Metadata, trust: Trust) -> Result<(), Problems> {
    match trust {
        Trust::Anybody => Ok(()),
        Trust::OwnOrRoots => {
            let own = rustix::process::geteuid().as_raw();
            distrust(file, metadata.uid(), metadata.mode(), own).map_or(Ok(()), |problem| Err(problem.into()))
        }
    }
}

/// The write permission of group and others (inode(7)).
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Why a file of this owner and mode is not to be trusted.
fn distrust(file: &str, owner: u32, mode: u32, own: u32) -> Option<Problem> {
    if owner != 0 && owner != own {
        let message =
            format!("owned by user {owner}, not by root: whoever may write it commands the firewall");
        return Some(Problem::of_file(file, message, format!("run `chown root:root {file}`")));
    }
    if mode & WRITABLE_BY_OTHERS != 0 {
        let message = format!(
            "writable by users other than root (mode {:04o}): whoever may write it commands the firewall",
            mode & 0o7777
        );
        return Some(Problem::of_file(file, message, format!("run `chmod go-w {file}`")));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_root_that_only_root_writes_is_trusted() {
        assert_eq!(distrust("f", 0, 0o100_644, 0), None);
        assert_eq!(distrust("f", 0, 0o100_600, 0), None);
        assert_eq!(distrust("f", 0, 0o100_644, 998), None);
        assert_eq!(distrust("f", 998, 0o100_644, 998), None, "a daemon's own user");
    }

    #[test]
    fn a_file_that_somebody_else_could_have_written_is_not() {
        assert!(distrust("f", 1000, 0o100_600, 0).unwrap().message.starts_with("owned by user 1000"));
        assert!(distrust("f", 0, 0o100_664, 0).unwrap().message.contains("mode 0664"));
        assert!(distrust("f", 0, 0o100_646, 0).unwrap().hint.unwrap().contains("chmod go-w f"));
    }
}
