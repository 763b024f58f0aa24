//! What was told lately: to the log as it comes, and kept for `status`.

use std::collections::VecDeque;

use tracing::{info, warn};

use super::clock;
use crate::config::Mode;
use crate::event::{self, Event};
use crate::report::text;

/// How many of the latest incidents and alarms a status shows.
const LATEST: usize = crate::control::protocol::Status::LATEST;

/// The latest of what was told.
#[derive(Default)]
pub(super) struct Latest {
    pub(super) incidents: VecDeque<event::Incident>,
    pub(super) alarms: VecDeque<event::Alarm>,
}

impl Latest {
    pub(super) fn alarm(&mut self, what: String, mode: Mode) {
        self.tell(Event::Alarm(event::Alarm { time: clock::now(), what }), mode);
    }

    pub(super) fn tell(&mut self, event: Event, mode: Mode) {
        let words = text::describe(&event);
        match event {
            Event::Ban(_) | Event::BanEnd(_) if mode == Mode::Watch => info!("watching only: {words}"),
            Event::Alarm(alarm) => {
                warn!("{words}");
                remember(&mut self.alarms, alarm);
            }
            Event::Incident(incident) => {
                info!("{words}");
                remember(&mut self.incidents, *incident);
            }
            Event::IncidentUpdate(incident) => {
                info!("{words}");
                self.renew(*incident);
            }
            Event::IncidentEnd(end) => {
                info!("{words}");
                self.renew(end.incident);
            }
            _ => info!("{words}"),
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
