//! What was told lately: to the log as it comes, and kept for `status`.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use ipnet::IpNet;

use super::clock;
use super::metrics::Tallies;
use crate::decide::Mode;
use crate::event::{self, Event};
use crate::hooks::Hook;
use crate::hooks::{Fares, Hooks};
use crate::log::Log;

/// How many of the latest incidents and alarms a status shows.
const LATEST: usize = crate::control::protocol::Status::LATEST;

/// The latest of what was told.
pub(super) struct Latest {
    log: Log,
    tallies: Tallies,
    /// None where nobody is to be told.
    hooks: Option<Hooks>,
    /// What earlier ones did.
    told: Fares,
    pub(super) incidents: VecDeque<event::Incident>,
    pub(super) alarms: VecDeque<event::Alarm>,
}

impl Latest {
    pub(super) fn new(log: Log) -> Self {
        Self {
            log,
            tallies: Tallies::default(),
            hooks: None,
            told: Fares { hooks: 0, told: 0, failed: 0, lost: 0 },
            incidents: VecDeque::new(),
            alarms: VecDeque::new(),
        }
    }

    pub(super) fn alarm(&mut self, what: String, mode: Mode) {
        self.tell(Event::Alarm(event::Alarm { time: clock::now(), what }), mode);
    }

    pub(super) fn tell(&mut self, event: Event, mode: Mode) {
        self.log.tell(&event, mode);
        self.tallies.count(&event);
        if let Some(hooks) = &mut self.hooks {
            hooks.tell(&event, mode);
        }
        match event {
            Event::Alarm(alarm) => remember(&mut self.alarms, alarm),
            Event::Incident(incident) => remember(&mut self.incidents, *incident),
            Event::IncidentUpdate(incident) => self.renew(*incident),
            Event::IncidentEnd(end) => self.renew(end.incident),
            Event::Ban(_) | Event::BanEnd(_) | Event::Summary(_) => {}
        }
    }

    /// How much was told.
    pub(super) const fn tallies(&self) -> &Tallies {
        &self.tallies
    }

    /// The log that it is told to.
    pub(super) const fn log(&self) -> &Log {
        &self.log
    }

    /// Forgets the incidents of sources within `net`.
    pub(super) fn forget(&mut self, net: IpNet) {
        self.incidents.retain(|incident| !net.contains(&incident.source));
    }

    /// From now on these are told of events. Those before are still told of what they were to be told of.
    pub(super) fn set_hooks(&mut self, hooks: &[Hook]) -> io::Result<()> {
        let new = if hooks.is_empty() { None } else { Some(Hooks::start(hooks.to_vec())?) };
        self.told = Fares { hooks: 0, ..self.hooks() };
        if let Some(old) = std::mem::replace(&mut self.hooks, new) {
            old.retire();
        }
        Ok(())
    }

    /// How the hooks fare.
    pub(super) fn hooks(&self) -> Fares {
        self.hooks.as_ref().map_or(self.told, |hooks| hooks.fares(self.told))
    }

    /// Tells of hooks that fail.
    pub(super) fn mind_hooks(&mut self, mode: Mode) {
        let alarms = self.hooks.as_ref().map(Hooks::alarms).unwrap_or_default();
        alarms.into_iter().for_each(|what| self.alarm(what, mode));
    }

    /// Lets the hooks finish, within 2 s.
    pub(super) fn finish(&mut self) {
        if let Some(hooks) = self.hooks.take() {
            hooks.finish(Duration::from_secs(2));
        }
    }

    /// Shows what the incident has come to, while it is among the latest.
    fn renew(&mut self, incident: event::Incident) {
        if let Some(known) = self.incidents.iter_mut().find(|known| known.id == incident.id) {
            *known = incident;
        }
    }
}

fn remember<T>(latest: &mut VecDeque<T>, item: T) {
    latest.truncate(LATEST - 1);
    latest.push_front(item);
}
