//! Names of interfaces by their index.

use std::io;
use std::os::fd::OwnedFd;

use hashbrown::HashMap;
use rustix::net::netdevice::{self, InlinedName};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

/// Names kept. A host that has had more interfaces than this since the last [`Interfaces::forget`] begins anew.
const CAPACITY: usize = 1024;

/// Remembers the names of the interfaces packets came over, so that a packet costs no system call.
///
/// A renamed interface keeps its index: call [`Interfaces::forget`] when links change.
#[derive(Debug)]
pub struct Interfaces {
    /// Any socket does for `SIOCGIFNAME`; this family needs no network.
    socket: OwnedFd,
    names: HashMap<u32, Option<InlinedName>, foldhash::fast::RandomState>,
}

impl Interfaces {
    /// For the network namespace of the calling thread.
    ///
    /// # Errors
    /// As socket(2).
    pub fn open() -> io::Result<Self> {
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
        Ok(Self { socket, names: HashMap::default() })
    }

    /// The name of the interface with this index; empty for index 0 and where there is none (any more).
    pub fn name(&mut self, ifindex: u32) -> &str {
        if ifindex == 0 {
            return "";
        }
        if self.names.len() >= CAPACITY && !self.names.contains_key(&ifindex) {
            self.forget();
        }
        let socket = &self.socket;
        self.names
            .entry(ifindex)
            .or_insert_with(|| netdevice::index_to_name_inlined(socket, ifindex).ok())
            .as_ref()
            .map_or("", InlinedName::as_str)
    }

    /// The names of two interfaces at once, as [`Interfaces::name`] gives them.
    pub fn names(&mut self, input: u32, output: u32) -> (&str, &str) {
        for ifindex in [input, output] {
            self.name(ifindex);
        }
        let known =
            |ifindex| self.names.get(&ifindex).and_then(Option::as_ref).map_or("", InlinedName::as_str);
        (known(input), known(output))
    }

    /// Forgets all names.
    pub fn forget(&mut self) {
        self.names.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_its_name_and_an_unknown_index_none() {
        let mut interfaces = Interfaces::open().unwrap();
        assert_eq!(interfaces.name(1), "lo");
        assert_eq!(interfaces.name(0), "");
        assert_eq!(interfaces.name(0x7fff_ffff), "");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut interfaces = Interfaces::open().unwrap();
        for index in 1..5_000 {
            let _name = interfaces.name(index);
            assert!(interfaces.names.len() <= CAPACITY);
        }
    }
}
