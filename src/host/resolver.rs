//! The name servers in use (man 5 resolv.conf).

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::Path;

const RESOLV_CONF: &str = "etc/resolv.conf";
/// Where the local stubs write whom they ask: systemd-resolved (127.0.0.53, man 8 systemd-resolved.service), and
/// NetworkManager for the stub it starts (dnsmasq or systemd-resolved).
const BEHIND_A_STUB: [&str; 2] =
    ["run/systemd/resolve/resolv.conf", "run/NetworkManager/no-stub-resolv.conf"];
/// A resolv.conf larger than this is none.
const SIZE_MAX: u64 = 64 * 1024;

/// The name servers that the host with the file system `root` asks, without loopback ones: behind a stub, those the
/// stub asks. A file that does not exist names none.
///
/// # Errors
/// As open(2) and read(2) of a file that does exist.
pub fn resolvers(root: &Path) -> io::Result<Vec<IpAddr>> {
    let mut all = name_servers(&root.join(RESOLV_CONF))?;
    if all.iter().any(IpAddr::is_loopback) {
        for path in BEHIND_A_STUB {
            all.append(&mut name_servers(&root.join(path))?);
        }
    }
    Ok(all.into_iter().filter(|address| !address.is_loopback()).collect())
}

fn name_servers(path: &Path) -> io::Result<BTreeSet<IpAddr>> {
    let mut text = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(SIZE_MAX).read_to_end(&mut text)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    Ok(String::from_utf8_lossy(&text).lines().filter_map(name_server).collect())
}

/// The address of a `nameserver` line, without the scope a link-local one has (`fe80::1%eth0`).
fn name_server(line: &str) -> Option<IpAddr> {
    let mut words = line.split_ascii_whitespace();
    if words.next()? != "nameserver" {
        return None;
    }
    let address = words.next()?;
    address.split_once('%').map_or(address, |(address, _scope)| address).parse().ok()
}
