//! What the attacker can do: probe, connect, ping, all from addresses of its own network.

#![forbid(unsafe_code)]

use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::net::{bind, ipproto, recvfrom, sendto, socket_with};

use super::DemoError;
use super::lab::{GREETING, Network};
use super::wire::{self, Flags};

/// Where all probes come from: not a port that servers answer from.
const SOURCE_PORT: u16 = 40_000;
/// How long to listen where silence is expected. Between two namespaces of one machine an answer is there when the call
/// that sent the question returns; this is for a machine that is busy.
pub(super) const MOMENT: Duration = Duration::from_millis(30);
/// How long an answer may take that is expected to come.
pub(super) const LIMIT: Duration = Duration::from_secs(2);

/// What came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reply {
    /// SYN+ACK: somebody listens.
    Open,
    /// RST: nobody does, and nothing hides it.
    Closed,
    /// Nothing.
    Silence,
}

/// An attacker at one address against the victim at another of the same family.
#[derive(Debug)]
pub(super) struct Attacker<'a> {
    network: &'a Network,
    pub(super) address: IpAddr,
    pub(super) victim: IpAddr,
    tcp: OwnedFd,
    icmp: OwnedFd,
    /// Of the next echo request: connection tracking takes a known one for part of a conversation.
    identifier: u16,
}

impl<'a> Attacker<'a> {
    pub(super) fn new(network: &'a Network, address: IpAddr, victim: IpAddr) -> Result<Self, DemoError> {
        let icmp = if address.is_ipv6() { ipproto::ICMPV6 } else { ipproto::ICMP };
        let sockets =
            network.enter(|| Ok((raw_socket(address, ipproto::TCP)?, raw_socket(address, icmp)?)))?;
        let (tcp, icmp) = sockets.map_err(|error: io::Error| DemoError::step("open raw sockets", error))?;
        // Attackers at several addresses of one network must not take each other's replies for theirs.
        let identifier = match address {
            IpAddr::V4(four) => u16::from(four.octets()[3]),
            IpAddr::V6(six) => six.segments()[7],
        } << 8;
        Ok(Self { network, address, victim, tcp, icmp, identifier })
    }

    /// Sends one segment and does not wait for anything. Gives the moment just before.
    pub(super) fn send(&self, port: u16, flags: Flags) -> Result<Instant, DemoError> {
        const SEQUENCE: u32 = 0x5eed_0001;
        let (from, to) = (SocketAddr::new(self.address, SOURCE_PORT), SocketAddr::new(self.victim, port));
        let segment = wire::segment(from, to, SEQUENCE, flags);
        let before = Instant::now();
        send(&self.tcp, &segment, self.victim)?;
        Ok(before)
    }

    /// Sends one segment and listens so long for what comes back.
    pub(super) fn probe(&self, port: u16, flags: Flags, patience: Duration) -> Result<Reply, DemoError> {
        self.send(port, flags)?;
        let reply = await_packet(&self.tcp, patience, |packet| {
            let answer = wire::answer(packet, self.victim.is_ipv6())?;
            let ours = answer.from_port == port && answer.to_port == SOURCE_PORT;
            let reply = if answer.flags.has(Flags::SYN_ACK) { Reply::Open } else { Reply::Closed };
            (ours && (reply == Reply::Open || answer.flags.has(Flags::RST))).then_some(reply)
        })?;
        Ok(reply.unwrap_or(Reply::Silence))
    }

    /// Sends an echo request, listens so long, and tells whether it is answered.
    pub(super) fn ping(&mut self, patience: Duration) -> Result<bool, DemoError> {
        self.identifier = self.identifier.wrapping_add(1);
        let (ipv6, identifier) = (self.victim.is_ipv6(), self.identifier);
        send(&self.icmp, &wire::echo_request(ipv6, identifier), self.victim)?;
        let reply = await_packet(&self.icmp, patience, |packet| {
            wire::is_echo_reply(packet, ipv6, identifier).then_some(())
        })?;
        Ok(reply.is_some())
    }

    /// Whether a connection from this address to the victim's port stands and whoever listens there greets.
    pub(super) fn connects(&self, port: u16) -> Result<bool, DemoError> {
        let (to, from) = (SocketAddr::new(self.victim, port), self.address);
        self.network.enter(move || {
            let greeted = || -> io::Result<bool> {
                let mut stream = TcpStream::connect_timeout(&to, LIMIT)?;
                stream.set_read_timeout(Some(LIMIT))?;
                let mut words = String::new();
                stream.read_to_string(&mut words)?;
                Ok(words == GREETING && stream.local_addr()?.ip() == from)
            };
            greeted().unwrap_or(false)
        })
    }
}

fn raw_socket(address: IpAddr, protocol: Protocol) -> io::Result<OwnedFd> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::RAW, flags, Some(protocol))?;
    bind(&socket, &SocketAddr::new(address, 0))?;
    Ok(socket)
}

fn send(socket: &OwnedFd, packet: &[u8], to: IpAddr) -> Result<(), DemoError> {
    // A raw socket has no ports; IPv6 insists on that (ipv6(7)).
    sendto(socket, packet, SendFlags::empty(), &SocketAddr::new(to, 0))
        .map(drop)
        .map_err(|error| DemoError::step(format!("send a packet to {to}"), error))
}

/// Waits for a packet of which `read` makes something, and leaves no older one waiting.
fn await_packet<T>(
    socket: &OwnedFd,
    limit: Duration,
    mut read: impl FnMut(&[u8]) -> Option<T>,
) -> Result<Option<T>, DemoError> {
    let start = Instant::now();
    let mut octets = [0; 256];
    loop {
        match recvfrom(socket, &mut octets, RecvFlags::empty()) {
            Ok((length, ..)) => {
                if let Some(found) = octets.get(..length).and_then(&mut read) {
                    return Ok(Some(found));
                }
            }
            Err(rustix::io::Errno::AGAIN) => {
                let left = limit.saturating_sub(start.elapsed());
                if left.is_zero() {
                    return Ok(None);
                }
                let seconds = i64::try_from(left.as_secs()).unwrap_or(1);
                let timeout = Timespec { tv_sec: seconds, tv_nsec: left.subsec_nanos().into() };
                // Whether a packet came or not is seen above.
                let _ = poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&timeout));
            }
            Err(error) => return Err(DemoError::step("receive a packet", error)),
        }
    }
}
