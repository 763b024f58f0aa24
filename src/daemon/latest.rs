//! What was told lately: to the log as it comes, and kept for `status`.

use std::collections::VecDeque;

use ipnet::IpNet;

use super::clock;
use crate::config::Mode;
use crate::event::{self, Event};
use crate::log::Log;

/// How many of the latest incidents and alarms a status shows.
const LATEST: usize = crate::control::protocol::Status::LATEST;

/// The latest of what was told.
pub(super) struct Latest {
    log: Log,
    pub(super) incidents: VecDeque<event::Incident>,
    pub(super) alarms: VecDeque<event::Alarm>,
}

impl Latest {
    pub(super) const fn new(log: Log) -> Self {
        Self { log, incidents: VecDeque::new(), alarms: VecDeque::new() }
    }

    pub(super) fn alarm(&mut self, what: String, mode: Mode) {
        self.tell(Event::Alarm(event::Alarm { time: clock::now(), what }), mode);
    }

    pub(super) fn tell(&mut self, event: Event, mode: Mode) {
        self.log.tell(&event, mode);
        match event {
            Event::Alarm(alarm) => remember(&mut self.alarms, alarm),
            Event::Incident(incident) => remember(&mut self.incidents, *incident),
            Event::IncidentUpdate(incident) => self.renew(*incident),
            Event::IncidentEnd(end) => self.renew(end.incident),
            Event::Ban(_) | Event::BanEnd(_) | Event::Summary(_) => {}
        }
    }

    /// The log that it is told to.
    pub(super) const fn log(&self) -> &Log {
        &self.log
    }

    /// Forgets the incidents of sources within `net`.
    pub(super) fn forget(&mut self, net: IpNet) {
        self.incidents.retain(|incident| !net.contains(&incident.source));
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
