//! Keeping up with the host: what listens here, addresses, routes, resolvers, and what follows from them.

use std::path::Path;

use tracing::warn;

use super::{Daemon, RESOLVERS_EVERY, clock};
use crate::host::HostFacts;
use crate::setup;

/// Reading addresses and routes may take this part of the time at most: a router with a full table takes a second.
const REFRESH_SHARE: u32 = 10;

impl Daemon {
    pub(super) fn refresh_listeners(&mut self) {
        match crate::host::listeners() {
            Ok(listening) if listening != self.host.listening => {
                self.host.listening = listening;
                self.apply_settings();
            }
            Ok(_) => {}
            Err(error) => {
                // Once a while is often enough for what will not change.
                self.listeners_at += RESOLVERS_EVERY;
                warn!("cannot see what listens here, so undecided packets to open ports count: {error}");
            }
        }
    }

    /// Tries once more what failed before.
    pub(super) fn try_again(&mut self) {
        if self.unprotected {
            self.refresh_host();
        }
        if self.captures.is_closed() {
            self.captures.reopen(&self.loaded.config.capture);
        }
        if self.captures.queues().is_closed() {
            self.captures.queues().reopen();
        }
    }

    pub(super) fn refresh_resolvers(&mut self) {
        match crate::host::resolvers(Path::new("/")) {
            Ok(resolvers) if resolvers != self.host.resolvers => {
                self.host.resolvers = resolvers;
                self.apply_settings();
            }
            Ok(_) => {}
            Err(error) => warn!("cannot read the resolvers: {error}"),
        }
    }

    /// Reads addresses, routes and resolvers again, and protects what is new before anything else.
    pub(super) fn refresh_host(&mut self) {
        let began = clock::now().boot;
        let read = HostFacts::read();
        let ended = clock::now().boot;
        self.refresh_from = ended + (ended - began) * REFRESH_SHARE;
        match read {
            Ok(mut host) => {
                host.listening.clone_from(&self.host.listening);
                self.captures.forget_interfaces();
                if host != self.host || self.unprotected {
                    self.host = host;
                    self.apply_settings();
                }
            }
            Err(error) => {
                self.unprotected = true;
                warn!("cannot read addresses and routes, trying again: {error}");
            }
        }
    }

    pub(super) fn apply_settings(&mut self) {
        let config = &self.loaded.config;
        self.captures.reconfigure(config);
        let done = self.backend.reconfigure(config, &self.host);
        self.unprotected = done.is_err();
        if let Err(error) = done {
            warn!("cannot change the protected addresses in the kernel, trying again: {error}");
        }
        self.engine.reconfigure(setup::engine(config, &self.host), &mut self.actions);
        self.carry_out();
    }
}
