//! The programs that every administrator has: `ip`, `nft` and, for that firewall, `iptables`.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::{DemoError, Firewall};

/// A program, and the Debian package it is in.
const PROGRAMS: [(&str, &str); 2] = [("ip", "iproute2"), ("nft", "nftables")];
const IPTABLES: [(&str, &str); 4] = [
    ("iptables", "iptables"),
    ("iptables-restore", "iptables"),
    ("ip6tables", "iptables"),
    ("ip6tables-restore", "iptables"),
];

/// What a program reads.
pub(super) enum Input<'a> {
    Nothing,
    Text(&'a str),
    /// A descriptor, which the program finds at `/proc/self/fd/0`.
    Descriptor(OwnedFd),
}

/// Complains about the first program that is not installed.
pub(super) fn all_installed(firewall: Firewall) -> Result<(), DemoError> {
    let more: &[_] = match firewall {
        Firewall::Nft => &[],
        Firewall::Iptables => &IPTABLES,
    };
    let installed = |name| std::env::split_paths(&path()).any(|folder| folder.join(name).is_file());
    match PROGRAMS.iter().chain(more).find(|(name, _)| !installed(name)) {
        None => Ok(()),
        Some((name, package)) => Err(DemoError::Lacking {
            what: format!("the program `{name}` is not installed"),
            remedy: format!("install it, on Debian with: apt install {package}"),
        }),
    }
}

/// Where programs are looked for: ordinary users of Debian have no `sbin` in theirs, but that is where `nft` is.
pub(super) fn path() -> OsString {
    let own = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    let folders: Vec<_> =
        std::env::split_paths(&own).filter(|folder| folder.is_absolute()).chain(system).collect();
    std::env::join_paths(folders).unwrap_or(own)
}

/// Runs a program in the calling thread's network namespace and gives what it printed.
///
/// # Errors
/// With what the program wrote to standard error.
pub(super) fn run(name: &str, arguments: &[&str], input: Input<'_>) -> Result<String, String> {
    let mut command = Command::new(name);
    // Errors are read by people and by `lab`, so they are in one language.
    command.args(arguments).env_clear().env("PATH", path()).env("LC_ALL", "C");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let text = match input {
        Input::Nothing => {
            command.stdin(Stdio::null());
            ""
        }
        Input::Text(text) => {
            command.stdin(Stdio::piped());
            text
        }
        Input::Descriptor(descriptor) => {
            command.stdin(File::from(descriptor));
            ""
        }
    };
    let mut child = command.spawn().map_err(|error| format!("`{name}` does not start: {error}"))?;
    // Rulesets are smaller than a pipe holds. A program that reads none of it says why itself.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(text.as_bytes()));
    let output = child.wait_with_output().map_err(|error| format!("`{name}`: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words = String::from_utf8_lossy(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
    Err(format!("`{name}` says: {words} ({})", output.status))
}

/// The words of `line` as the arguments of [`run`].
pub(super) fn run_line(line: &str) -> Result<String, String> {
    let mut words = line.split_whitespace();
    let name = words.next().unwrap_or_default();
    run(name, &words.collect::<Vec<_>>(), Input::Nothing)
}
