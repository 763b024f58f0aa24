//! The listener behind the traps: what the configuration makes of it, and what comes of those who touch them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::net::netdevice::InlinedName;
use tracing::warn;

use super::{StartError, clock};
use crate::capture::trap::{Settings, Trap};
use crate::config::Config;
use crate::control::protocol;
use crate::enforce::Redirected;
use crate::engine::{Action, Engine, Touch};
use crate::setup;

/// The listener, where anything is redirected to it.
pub(super) struct Traps {
    listener: Option<Trap>,
    /// Whether it has been told that nothing arrives.
    told: bool,
}

/// SYNs that were redirected before it is worth an alarm that none arrived.
const NONE_ARRIVED: u64 = 1;

impl Traps {
    /// Listens, if `config` has anything redirected.
    pub(super) fn open(config: &Config) -> Result<Self, StartError> {
        let listener = match setup::trap(config) {
            Some(trap) => Some(listen(trap.listen, config)?),
            None => None,
        };
        Ok(Self { listener, told: false })
    }

    /// What takes the place of this with a new configuration: of a listener on another port, or none. `None` if the
    /// listener there is can stay.
    pub(super) fn replacement(&self, config: &Config) -> Result<Option<Self>, StartError> {
        let wanted = setup::trap(config).map(|trap| trap.listen);
        if wanted == self.listener.as_ref().map(Trap::port) {
            return Ok(None);
        }
        Self::open(config).map(Some)
    }

    /// Has the listener that is there treat others as `config` says.
    pub(super) fn reconfigure(&self, config: &Config) {
        if let Some(listener) = &self.listener {
            listener.set(settings(config));
        }
    }

    /// The descriptor that is readable when somebody has come.
    pub(super) fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.listener.as_ref().map(AsFd::as_fd)
    }

    /// Tells the engine who has come.
    pub(super) fn take(&self, config: &Config, engine: &mut Engine, actions: &mut Vec<Action>) {
        let Some(listener) = &self.listener else { return };
        for touch in listener.touches() {
            // Somebody else's translation may lead here, too.
            if setup::is_trap(config, touch.trap.port()) {
                let touch = Touch {
                    source: touch.source.to_canonical(),
                    source_port: touch.source_port,
                    trap: touch.trap,
                    connections: touch.connections,
                    interface: touch.arrival.interface.as_ref().map_or("", InlinedName::as_str),
                    ttl: touch.arrival.ttl,
                };
                engine.touched(&touch, clock::now(), actions);
            }
        }
    }

    /// An alarm, once, when what is redirected never arrives.
    pub(super) fn alarm(&mut self, redirected: Option<Redirected>) -> Option<String> {
        let lost = redirected.filter(|counts| counts.redirected >= NONE_ARRIVED && counts.arrived == 0);
        let news = lost.is_some() && !self.told;
        self.told = lost.is_some();
        let port = self.listener.as_ref()?.port();
        lost.filter(|_| news).map(|counts| unreachable(counts, port))
    }

    /// What a status tells; nothing where the configuration has no traps of tcp.
    pub(super) fn status(&self, config: &Config, redirected: Option<Redirected>) -> Option<protocol::Traps> {
        let ports = setup::trap_ports(config).map(|ports| ports.len() as u64).sum();
        if ports == 0 {
            return None;
        }
        let counted = self.listener.as_ref().map(Trap::counts).unwrap_or_default();
        let kernel = redirected.unwrap_or_default();
        let listen = self.listener.as_ref().map(Trap::port);
        let none_arrives = redirected.filter(|counts| counts.redirected > 0 && counts.arrived == 0);
        Some(protocol::Traps {
            listen,
            ports,
            redirected: kernel.redirected,
            arrived: kernel.arrived,
            accepted: counted.accepted,
            held: counted.held,
            taken: listen.map_or_else(Vec::new, |_| taken(config)),
            trouble: none_arrives.zip(listen).map(|(counts, port)| unreachable(counts, port)),
        })
    }
}

fn listen(port: u16, config: &Config) -> Result<Trap, StartError> {
    Trap::open(port, settings(config)).map_err(|error| {
        if StartError::is_sandbox(&error) {
            return StartError::no_internet_sockets("listen for connections to traps", error);
        }
        let what = format!(
            "listen on tcp/{port} for connections to traps (`trap: {{listen: PORT}}` names another port, and \
             another instance needs one of its own)"
        );
        if error.kind() == io::ErrorKind::PermissionDenied {
            return StartError::NoPermission { what, source: error.into() };
        }
        StartError::needs(what, error)
    })
}

fn settings(config: &Config) -> Settings {
    let crate::config::Trap { banner, hold, connections, .. } = &config.trap;
    Settings { banner: banner.clone(), hold: *hold, connections: *connections }
}

fn unreachable(counts: Redirected, port: u16) -> String {
    let Redirected { redirected, .. } = counts;
    format!(
        "{redirected} SYNs to traps were redirected to tcp/{port} and none arrived: the firewall lacks the rule that \
         accepts them (`nfban ruleset` has it)"
    )
}

/// As `setup::taken_traps`, of what listens now.
fn taken(config: &Config) -> Vec<String> {
    let listening = crate::host::tcp_listeners().unwrap_or_else(|error| {
        warn!("cannot see which traps something listens at: {error}");
        Vec::new()
    });
    setup::taken_traps(config, &listening)
}
