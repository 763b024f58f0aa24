//! The real daemon in a namespace, and packets from any address there is.
#![allow(dead_code, reason = "every bench takes the part it needs")]

use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::process::{Child, Command};

use rustix::net::{AddressFamily, SendFlags, SocketType};

use crate::support::{HOME4, HOME6, Pair, wait_until};

/// The daemon, in home's namespace.
pub(crate) struct Daemon {
    child: Child,
    folder: tempfile::TempDir,
}

impl Daemon {
    /// With `more` in its configuration, enforcing.
    pub(crate) fn start(pair: &Pair, more: &str) -> Self {
        let program = env!("CARGO_BIN_EXE_nfban");
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let socket = at("control.sock");
        let config = at("nfban.yaml");
        let text = format!("mode: enforce\ncontrol: {{socket: {}}}\n{more}", socket.display());
        std::fs::write(&config, text).unwrap();
        let log = File::create(at("log")).unwrap();
        let child = pair.home.enter(|| {
            Command::new(program)
                .arg("run")
                .arg("-c")
                .arg(&config)
                .env("STATE_DIRECTORY", folder.path())
                .stderr(log)
                .spawn()
                .expect("the daemon starts")
        });
        let daemon = Self { child, folder };
        let asked = || Command::new(program).arg("--socket").arg(&socket).arg("status").output();
        wait_until("the daemon answers", || asked().is_ok_and(|output| output.status.success()));
        daemon
    }

    /// Asks it with the command line, and gives how many lines that printed; nothing where it was too busy.
    pub(crate) fn ask(&self, arguments: &[&str]) -> Option<usize> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nfban"));
        command.arg("--socket").arg(self.folder.path().join("control.sock")).args(arguments);
        let output = command.output().unwrap();
        let lines = output.stdout.iter().filter(|octet| **octet == b'\n').count();
        output.status.success().then_some(lines)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Nothing is left of it but the namespace it ran in, which goes too.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends TCP SYNs from any address there is.
pub(crate) struct Sender {
    v4: OwnedFd,
    v6: OwnedFd,
}

impl Sender {
    pub(crate) fn new(pair: &Pair) -> Self {
        // IPPROTO_RAW: the IP header is ours to write, so the source may be anybody (man 7 raw).
        let open = |family| {
            rustix::net::socket(family, SocketType::RAW, Some(rustix::net::ipproto::RAW))
                .expect("a raw socket takes CAP_NET_RAW")
        };
        pair.peer.enter(|| Self { v4: open(AddressFamily::INET), v6: open(AddressFamily::INET6) })
    }

    pub(crate) fn send(&self, packet: &[u8]) {
        let (socket, home) = if packet[0] >> 4 == 4 { (&self.v4, HOME4) } else { (&self.v6, HOME6) };
        let to = SocketAddr::new(home.parse().unwrap(), 0);
        // A full queue under flood is no failure: what was not sent is not counted as load either.
        let _ = rustix::net::sendto(socket, packet, SendFlags::empty(), &to);
    }
}

/// A SYN from `source` to home's `port`.
pub(crate) fn syn(source: IpAddr, port: u16) -> Vec<u8> {
    let mut tcp = [0; 20];
    tcp[..2].copy_from_slice(&40_000_u16.to_be_bytes());
    tcp[2..4].copy_from_slice(&port.to_be_bytes());
    (tcp[12], tcp[13], tcp[14]) = (5 << 4, 2, 4);
    let mut packet = match source {
        IpAddr::V4(_) => vec![0x45, 0, 0, 40, 0, 0, 0x40, 0, 60, 6, 0, 0],
        IpAddr::V6(_) => vec![0x60, 0, 0, 0, 0, 20, 6, 60],
    };
    let home: IpAddr = if source.is_ipv4() { HOME4 } else { HOME6 }.parse().unwrap();
    let mut pseudo_header = vec![0, 6, 0, 20];
    for address in [source, home] {
        let octets = match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        packet.extend(&octets);
        pseudo_header.extend(&octets);
    }
    // conntrack would call a segment with a wrong sum invalid. (IPv4's own header sum is written by the kernel.)
    let sum = checksum(&[&pseudo_header, &tcp[..]].concat());
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    packet.extend(tcp);
    packet
}

/// RFC 1071.
fn checksum(octets: &[u8]) -> u16 {
    let sum: u32 = octets.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    !((sum & 0xffff) + (sum >> 16)) as u16
}
