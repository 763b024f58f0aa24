//! Whose scan it is, when one of our own hosts scans others: the process, where a socket of it can still be found.
//!
//! A socket leads to a process in two steps. The kernel tells its user and its inode: of TCP and UDP sockets over
//! sock_diag, of raw and packet sockets in /proc/net. Then the descriptors in /proc/PID/fd tell who holds that inode.
//! The second step takes the rights to trace the process (`PTRACE_MODE_READ_FSCREDS` of man 2 ptrace: CAP_SYS_PTRACE
//! and CAP_DAC_READ_SEARCH for those of others, and a /proc that shows them); without, the user is all that can be told.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io;
use std::thread;
use std::time::Duration;

use super::diag::{InetSocket, States, each_socket};
use crate::event::Incident;
use crate::netlink::Socket;
use crate::packet::protocol::{ICMP, ICMPV6, TCP, UDP};

/// How often the sockets are looked at, and the pause between: a scanner has each for milliseconds only, but new ones all
/// the while.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(50);

/// Descriptors looked at in /proc, in all attempts together: about a second of work.
const DESCRIPTORS: usize = 500_000;

/// As many connections that nothing answers, all to where the scan goes, are no coincidence.
const HALF_OPEN: usize = 3;

/// How many are named where it may be any of them.
const NAMED: usize = 4;

/// `IPPROTO_RAW`: its owner writes whole packets. Scanners do, hardly anything else does.
const WRITES_PACKETS: u8 = 255;

/// Who opened the connections of an incident.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Culprit {
    /// One, or as many as it may be; at least one, at most four.
    pub owners: Vec<Owner>,
    /// Whether sockets of the scan itself were found, and all with this one owner. Else it is somebody who could have
    /// sent such packets.
    pub certain: bool,
}

/// Who has a socket.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// The process, where it can be seen.
    pub process: Option<Process>,
    /// The user who made the socket.
    pub uid: u32,
    /// The user's name in /etc/passwd; other name services are not asked, the answer may take long.
    pub user: Option<String>,
}

/// A process.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its name, at most 15 octets of the process's own choice: escape before showing.
    pub command: String,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = match &self.user {
            Some(name) => format!("user {name}"),
            None => format!("user {}", self.uid),
        };
        match &self.process {
            Some(Process { pid, command }) => write!(f, "process {command} (pid {pid}, {user})"),
            None => write!(f, "a process of {user}"),
        }
    }
}

impl fmt::Display for Culprit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.certain, self.owners.len()) {
            (true, _) => {}
            (false, 1) => f.write_str("perhaps ")?,
            (false, _) => f.write_str("perhaps one of: ")?,
        }
        for (at, owner) in self.owners.iter().enumerate() {
            write!(f, "{}{owner}", if at == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl Culprit {
    /// Looks for the sockets of a scan that this host has just begun. Takes up to a second and more, so not on the thread
    /// of the packets. Sees the network namespace of the calling thread, and so no containers with one of their own.
    ///
    /// `None` where nothing is found: the scanner has ended, or its sockets came and went too fast.
    #[must_use]
    pub fn find(incident: &Incident) -> Option<Self> {
        let netlink = Socket::open(mnl::Bus::SockDiag, 0).ok()?;
        let mut best = None;
        let mut left = DESCRIPTORS;
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                thread::sleep(PAUSE);
            }
            let found =
                by_connections(&netlink, incident, &mut left).or_else(|| by_raw_sockets(incident, &mut left));
            if found.as_ref().map(Self::worth) > best.as_ref().map(Self::worth) {
                best = found;
            }
            if best.as_ref().is_some_and(|best| best.worth() == (true, true)) {
                break;
            }
        }
        best
    }

    /// What is worth more to know compares greater.
    fn worth(&self) -> (bool, bool) {
        (self.certain, self.owners.iter().all(|owner| owner.process.is_some()))
    }
}

/// The owner of connections to where the scan goes.
fn by_connections(netlink: &Socket, incident: &Incident, left: &mut usize) -> Option<Culprit> {
    let mut sockets = Vec::new();
    for (name, protocol, states) in [("tcp", TCP, States::CONNECTING), ("udp", UDP, States::ANY)] {
        if incident.protocols.iter().any(|told| told == name) {
            // What cannot be seen is not found.
            let _ = each_socket(netlink, protocol, states, |socket| {
                sockets.extend(Aim::of(&socket, incident).map(|aim| (socket.inode, socket.uid, aim)));
            });
        }
    }
    let mut owners: BTreeMap<Owner, (bool, usize)> = BTreeMap::new();
    let holders = holders(sockets.iter().map(|(inode, ..)| *inode).collect(), left);
    for (inode, uid, aim) in sockets {
        let (exact, count) = owners.entry(owner(uid, holders.get(&inode))).or_default();
        *exact |= aim == Aim::Exact;
        *count += 1;
    }
    // A socket that was closed before its process was found: the user has another one whose process was.
    let named: BTreeSet<u32> =
        owners.keys().filter(|owner| owner.process.is_some()).map(|owner| owner.uid).collect();
    owners.retain(|owner, _| owner.process.is_some() || !named.contains(&owner.uid));

    let alone = owners.len() == 1;
    let (owner, (exact, count)) = owners.into_iter().max_by_key(|(_, count)| *count)?;
    Some(Culprit { owners: vec![owner], certain: alone && (exact || count >= HALF_OPEN) })
}

/// How well a socket fits a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aim {
    /// To a port and a host that the incident lists.
    Exact,
    /// To one of both: the scan has gone on since.
    Near,
}

impl Aim {
    fn of(socket: &InetSocket, incident: &Incident) -> Option<Self> {
        let remote = socket.remote;
        if remote.port() == 0 || !incident.source.contains(&socket.local.ip()) {
            return None;
        }
        let to_host = incident.destinations.contains(&remote.ip());
        let to_port = incident.ports.contains(&remote.port());
        match (to_host, to_port) {
            (true, true) => Some(Self::Exact),
            (true, false) | (false, true) => Some(Self::Near),
            (false, false) => None,
        }
    }
}

/// Who could have written the packets himself: has a raw socket for them, or else a packet socket. Daemons for routing and
/// DHCP have such sockets as well, so this is never certain.
fn by_raw_sockets(incident: &Incident, left: &mut usize) -> Option<Culprit> {
    let writes = |protocol: u8| {
        let name = match protocol {
            WRITES_PACKETS => return true,
            TCP => "tcp",
            UDP => "udp",
            ICMP => "icmp",
            ICMPV6 => "icmpv6",
            _ => return false,
        };
        incident.protocols.iter().any(|told| told == name)
    };
    let mut sockets: Vec<(u64, u32)> = ["raw", "raw6"]
        .into_iter()
        .flat_map(|table| rows(table, raw_socket))
        .filter_map(|(protocol, socket)| writes(protocol).then_some(socket))
        .collect();
    if sockets.is_empty() {
        sockets = rows("packet", packet_socket);
    }
    let holders = holders(sockets.iter().map(|(inode, _)| *inode).collect(), left);
    let owners: BTreeSet<Owner> =
        sockets.into_iter().map(|(inode, uid)| owner(uid, holders.get(&inode))).collect();
    (!owners.is_empty()).then(|| Culprit { owners: owners.into_iter().take(NAMED).collect(), certain: false })
}

/// The rows of a table in /proc/net, of the network namespace this thread is in. What cannot be read has none.
fn rows<T>(table: &str, row: impl Fn(&[&str]) -> Option<T>) -> Vec<T> {
    let text = fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap_or_default();
    let columns = |line: &str| row(&line.split_ascii_whitespace().collect::<Vec<_>>());
    text.lines().skip(1).filter_map(columns).collect()
}

/// Protocol, inode and user in a row of /proc/net/raw (`raw_sock_seq_show` of net/ipv4/raw.c). The protocol stands where
/// other sockets have their port.
fn raw_socket(columns: &[&str]) -> Option<(u8, (u64, u32))> {
    let (_, protocol) = columns.get(1)?.rsplit_once(':')?;
    let protocol = u8::from_str_radix(protocol.trim_start_matches('0'), 16).ok()?;
    Some((protocol, (columns.get(9)?.parse().ok()?, columns.get(7)?.parse().ok()?)))
}

/// Inode and user in a row of /proc/net/packet (`packet_seq_show` of net/packet/af_packet.c).
fn packet_socket(columns: &[&str]) -> Option<(u64, u32)> {
    Some((columns.get(8)?.parse().ok()?, columns.get(7)?.parse().ok()?))
}

fn owner(uid: u32, process: Option<&Process>) -> Owner {
    Owner { process: process.cloned(), uid, user: user_name(uid) }
}

/// The processes that have these sockets, as far as they can be seen and at most `left` descriptors are looked at.
fn holders(mut wanted: BTreeSet<u64>, left: &mut usize) -> BTreeMap<u64, Process> {
    let mut holders = BTreeMap::new();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        if wanted.is_empty() || *left == 0 {
            break;
        }
        // It has ended, or it is none of ours to see.
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        for descriptor in descriptors.flatten().take(*left) {
            *left -= 1;
            if let Some(inode) = socket_inode(fs::read_link(descriptor.path()))
                && wanted.remove(&inode)
            {
                // Of octets that are no UTF-8 too: a name that cannot be read would hide the process.
                let command = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
                let command = String::from_utf8_lossy(&command).trim_end().to_owned();
                holders.insert(inode, Process { pid, command });
            }
        }
    }
    holders
}

/// Of `socket:[123]`.
fn socket_inode(link: io::Result<std::path::PathBuf>) -> Option<u64> {
    link.ok()?.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

fn user_name(uid: u32) -> Option<String> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_that_write_packets_are_read_from_the_kernels_tables() {
        let raw =
            "255: 00000000:00FF 00000000:0000 07 00000000:00000000 00:00000000 00000000 1000 0 4711 2 0 0";
        let raw: Vec<_> = raw.split(' ').collect();
        assert_eq!(raw_socket(&raw), Some((255, (4711, 1000))));
        assert_eq!(packet_socket(&["0", "3", "3", "0003", "2", "1", "0", "33", "815"]), Some((815, 33)));
        assert_eq!(raw_socket(&raw[..9]), None);
        assert_eq!(packet_socket(&[]), None);
    }

    #[test]
    fn a_guess_is_told_as_one() {
        let process = Some(Process { pid: 123, command: "nmap".to_owned() });
        let alice = Owner { process, uid: 1000, user: Some("alice".to_owned()) };
        let hidden = Owner { process: None, uid: 33, user: None };
        let told = |owners: &[&Owner], certain| {
            Culprit { owners: owners.iter().map(|&owner| owner.clone()).collect(), certain }.to_string()
        };
        assert_eq!(told(&[&alice], true), "process nmap (pid 123, user alice)");
        assert_eq!(told(&[&hidden], true), "a process of user 33");
        assert_eq!(told(&[&hidden], false), "perhaps a process of user 33");
        assert_eq!(
            told(&[&alice, &hidden], false),
            "perhaps one of: process nmap (pid 123, user alice), a process of user 33"
        );
    }
}
