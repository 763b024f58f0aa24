//! What Prometheus may know: a picture of the counts, and a small server that shows the latest one.
//!
//! The daemon's loop hangs up a new picture at most once a second; whoever asks is answered from it, by a thread of its
//! own. So no packet waits for who asks, however often that is.

#![forbid(unsafe_code)]

mod render;
mod server;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

pub use self::render::{NAMES, render};
pub use self::server::{Server, StartError};
use crate::control::protocol::{BanCounts, Capture, Limit, Mode, Occupancy};
use crate::enforce::Dropped;
use crate::{hooks, log};

/// Where metrics are asked for. Never an address that others can reach: they tell whom this host has trouble with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// A port of the loopback interface.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// The counts of a moment. Those that only grow are since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is explained where it is rendered, as Prometheus shows it")]
pub struct Picture {
    pub mode: Mode,
    /// Seconds since 1970.
    pub started: u64,
    pub captures: Vec<Capture>,
    pub undecoded: BTreeMap<String, u64>,
    pub evidence: u64,
    pub incidents: BTreeMap<String, u64>,
    pub open_incidents: u64,
    /// By action and rule.
    pub bans_begun: BTreeMap<(&'static str, String), u64>,
    /// By reason.
    pub bans_ended: BTreeMap<&'static str, u64>,
    pub bans: BanCounts,
    pub tables: BTreeMap<String, Occupancy>,
    pub limits: BTreeMap<String, Limit>,
    pub alarms: u64,
    pub refused: u64,
    pub reinstalled: u64,
    pub connections_ended: u64,
    /// Nothing where no table is ours.
    pub dropped: Vec<Dropped>,
    pub log: log::Fares,
    pub hooks: hooks::Fares,
}

/// Where the latest picture hangs.
#[derive(Debug, Clone, Default)]
pub struct Board(Arc<Mutex<Arc<Picture>>>);

impl Board {
    /// Hangs up a newer picture.
    pub fn hang(&self, picture: Picture) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(picture);
    }

    fn latest(&self) -> Arc<Picture> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
