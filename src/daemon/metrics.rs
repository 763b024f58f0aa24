//! The picture of the counts that Prometheus is shown: made between two rounds of packets, at most once a second.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Daemon, StartError};
use crate::config::Config;
use crate::control::protocol::BanCounts;
use crate::decide::{Measure, Place, Scope};
use crate::event::{BanEndReason, Event};
use crate::metrics::{Board, Listen, Picture, Server, StartError as ServerError};
use crate::time::Stamp;

/// From one picture to the next.
const EVERY: Duration = Duration::from_secs(1);

/// Where the picture hangs, and when there is to be a newer one.
pub(super) struct Metrics {
    board: Board,
    listen: Option<Listen>,
    /// None where nobody may ask.
    server: Option<Server>,
    /// Boot time of the latest picture.
    latest: Duration,
    /// Whether the loop has gone round since.
    stale: bool,
}

impl Metrics {
    pub(super) fn open(config: &Config) -> Result<Self, StartError> {
        let board = Board::default();
        let server = serve(config, &board)?;
        let listen = config.metrics.listen.clone();
        Ok(Self { board, listen, server, latest: Duration::ZERO, stale: false })
    }

    /// What answers where another configuration says; none where it says the same.
    pub(super) fn replacement(&self, config: &Config) -> Result<Option<Self>, StartError> {
        if self.listen == config.metrics.listen {
            return Ok(None);
        }
        let (board, listen) = (self.board.clone(), config.metrics.listen.clone());
        let server = serve(config, &board)?;
        Ok(Some(Self { board, listen, server, ..*self }))
    }

    /// Boot time at which a newer picture is to be made.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        (self.stale && self.server.is_some()).then_some(self.latest + EVERY)
    }
}

fn serve(config: &Config, board: &Board) -> Result<Option<Server>, StartError> {
    let group = crate::host::group_id(&config.control.group);
    let start = |listen: &Listen| Server::start(listen, group, board.clone());
    let server = config.metrics.listen.as_ref().map(start).transpose();
    server.map_err(|error| match &error {
        ServerError::Tcp { error: cause, .. } if StartError::is_sandbox(cause) => {
            StartError::no_internet_sockets("answer metrics", error)
        }
        _ => StartError::needs("answer metrics", error),
    })
}

/// What was told so far, by what it was about.
#[derive(Debug, Default)]
pub(super) struct Tallies {
    incidents: BTreeMap<String, u64>,
    bans_begun: BTreeMap<(&'static str, String), u64>,
    bans_ended: BTreeMap<&'static str, u64>,
    alarms: u64,
}

impl Tallies {
    pub(super) fn count(&mut self, event: &Event) {
        match event {
            Event::Incident(incident) => *self.incidents.entry(incident.rule.clone()).or_default() += 1,
            Event::Ban(ban) => {
                *self.bans_begun.entry((ban.action.as_str(), ban.rule.clone())).or_default() += 1;
            }
            Event::BanEnd(end) => {
                let reason = match end.reason {
                    BanEndReason::Expired => "expired",
                    BanEndReason::Unban => "unban",
                    BanEndReason::Evicted => "evicted",
                };
                *self.bans_ended.entry(reason).or_default() += 1;
            }
            Event::Alarm(_) => self.alarms += 1,
            Event::IncidentUpdate(_) | Event::IncidentEnd(_) | Event::Summary(_) => {}
        }
    }
}

impl Daemon {
    /// Hangs up a newer picture, if it is time to.
    pub(super) fn publish(&mut self, now: Stamp) {
        if self.metrics.server.is_none() {
            return;
        }
        self.metrics.stale = now.boot < self.metrics.latest + EVERY;
        if !self.metrics.stale {
            self.metrics.latest = now.boot;
            let picture = self.picture();
            self.metrics.board.hang(picture);
        }
    }

    fn picture(&mut self) -> Picture {
        self.drops.read(&mut self.backend);
        let Tallies { incidents, bans_begun, bans_ended, alarms } = self.latest.tallies();
        let counts = self.engine.counts();
        let bans = |measure| {
            let sets = Place::all().filter(|place| place.measure == measure);
            sets.map(|place| self.engine.ledger().count(Scope::Set(place), false) as u64).sum()
        };
        Picture {
            mode: self.loaded.config.mode,
            started: u64::try_from(self.started.wall_us / 1_000_000).unwrap_or(0),
            captures: self.captures.all(),
            undecoded: self.undecoded(),
            evidence: counts.evidence,
            incidents: incidents.clone(),
            open_incidents: self.engine.open_incidents() as u64,
            bans_begun: bans_begun.clone(),
            bans_ended: bans_ended.clone(),
            bans: BanCounts { ban: bans(Measure::Ban), restrict: bans(Measure::Restrict) },
            tables: self.tables(),
            limits: self.limits(),
            alarms: *alarms,
            refused: counts.refused,
            reinstalled: self.reinstalled,
            connections_ended: self.backend.disconnected(),
            dropped: self.drops.by_set().collect(),
            log: self.latest.log().fares(),
            hooks: self.latest.hooks(),
        }
    }
}
