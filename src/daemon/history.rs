//! What happened, gathered for the state database: incidents as they were last told, and bans that began and ended.

mod lap;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use ipnet::IpNet;

use self::lap::Lap;
use super::{Daemon, clock};
use crate::config::settings::{Keep, KeepPackets};
use crate::engine::Engine;
use crate::event::{self, Event, Incident, IncidentId};
use crate::store::history::{Deed, Happened, Tidy, Told};
use crate::time::{Stamp, Wall};

/// From one handing over to the next. What is told of one incident meanwhile is one row.
const GATHER: Duration = Duration::from_millis(500);

/// Incidents and deeds that wait, of each; beyond, they are counted and not kept. A disk takes as many in a second.
const ROOM: usize = 20_000;

/// Firings that wait, with their packets; more wait in the engine, where the oldest give way.
const FIRINGS: usize = 1_000;

/// How often what is too old is dropped.
const TIDY: Duration = Duration::from_secs(3600);

/// What is to be added to the history, and when.
#[derive(Debug)]
pub(super) struct History {
    happened: Happened,
    /// Where each incident stands in `happened`.
    places: HashMap<IncidentId, usize>,
    /// What the store's thread had no room for.
    waiting: Option<Happened>,
    /// Boot time at which it is handed over next; none while nothing has happened.
    next: Option<Duration>,
    /// Boot time at which it was handed over last.
    latest: Duration,
    tidy_at: Duration,
    /// How far the open incidents are gone through.
    lap: Lap,
    /// How many there was no room for, until it is told.
    lost: u64,
}

impl History {
    pub(super) fn new(now: Stamp) -> Self {
        Self {
            happened: Happened::default(),
            places: HashMap::new(),
            waiting: None,
            next: None,
            latest: Duration::ZERO,
            tidy_at: now.boot,
            lap: Lap::new(now),
            lost: 0,
        }
    }

    /// Notes what is told. `enforced` is whether bans reach the kernel.
    pub(super) fn note(&mut self, event: &Event, enforced: bool) {
        match event {
            Event::Incident(incident) | Event::IncidentUpdate(incident) => self.incident(incident, None),
            Event::IncidentEnd(end) => self.incident(&end.incident, Some(end.time.into())),
            Event::Ban(ban) => self.deed(Deed::Began { ban: ban.clone(), enforced }),
            Event::BanEnd(end) => self.deed(Deed::Ended(end.clone())),
            Event::Alarm(_) | Event::Summary(_) => {}
        }
    }

    fn incident(&mut self, incident: &Incident, ended: Option<Wall>) {
        let told = Told { incident: incident.clone(), ended };
        let incidents = &mut self.happened.incidents;
        if let Some(known) = self.places.get(&incident.id).and_then(|at| incidents.get_mut(*at)) {
            *known = told;
        } else if incidents.len() < ROOM {
            self.places.insert(incident.id, incidents.len());
            incidents.push(told);
        } else {
            self.lost += 1;
        }
    }

    fn deed(&mut self, deed: Deed) {
        if self.happened.deeds.len() < ROOM {
            self.happened.deeds.push(deed);
        } else {
            self.lost += 1;
        }
    }

    /// Forgets what is waiting of sources within `net`.
    pub(super) fn forget(&mut self, net: IpNet) {
        for happened in self.waiting.iter_mut().chain([&mut self.happened]) {
            let mut gone = HashSet::new();
            happened.incidents.retain(|Told { incident, .. }| {
                let stays = !net.contains(&incident.source);
                if !stays {
                    gone.insert(incident.id);
                }
                stays
            });
            let firings = std::mem::take(&mut happened.firings);
            let others = firings.into_iter().filter(|firing| !gone.contains(&firing.incident));
            happened.firings = others.filter_map(|firing| firing.without(net)).collect();
            happened.deeds.retain(|deed| {
                let (Deed::Began { ban: event::Ban { target, .. }, .. }
                | Deed::Ended(event::BanEnd { target, .. })) = deed;
                !net.contains(target)
            });
        }
        let places = self.happened.incidents.iter().enumerate().map(|(at, told)| (told.incident.id, at));
        self.places = places.collect();
    }

    /// Boot time at which [`Daemon::add_history`] has something to do.
    pub(super) fn next_deadline(&self) -> Duration {
        self.next.unwrap_or(self.tidy_at).min(self.lap.next_deadline())
    }

    fn has_happened(&self) -> bool {
        let Happened { incidents, firings, deeds, tidy: _ } = &self.happened;
        self.waiting.is_some() || !(incidents.is_empty() && firings.is_empty() && deeds.is_empty())
    }

    /// What is to be handed over now.
    fn take(&mut self, keep: Keep, now: Stamp) -> Happened {
        if let Some(waiting) = self.waiting.take() {
            return waiting;
        }
        self.places.clear();
        let mut happened = std::mem::take(&mut self.happened);
        if self.tidy_at <= now.boot {
            self.tidy_at = now.boot + TIDY;
            let before = Wall(super::saving::before(now, keep.incidents));
            happened.tidy = Some(Tidy { before, packets: keep.packets == KeepPackets::Headers });
        }
        happened
    }

    /// All that has not been handed over, with what open incidents have come to.
    pub(super) fn rest(mut self, engine: &Engine) -> Vec<Happened> {
        for incident in engine.all_open_incidents() {
            self.incident(&incident, None);
        }
        self.waiting.into_iter().chain([self.happened]).collect()
    }
}

impl Daemon {
    /// Takes the packets behind what was decided since the last time, where they are to be kept.
    pub(super) fn gather_packets(&mut self) {
        let Some(history) = &mut self.history else { return };
        let room = FIRINGS.saturating_sub(history.happened.firings.len());
        let firings = self.engine.take_firings(room);
        if self.loaded.config.keep.packets == KeepPackets::Headers {
            history.happened.firings.extend(firings);
            history.lost += self.engine.take_missed_firings();
        }
    }

    /// Hands over what happened, if it is time to.
    pub(super) fn add_history(&mut self, now: Stamp) {
        self.gather_packets();
        if let Some(history) = &mut self.history {
            // While the disk takes nothing, there is no use in more.
            if history.waiting.is_some() {
                history.lap.put_off(now);
            }
            let went_on = history.lap.part(&self.engine, now);
            went_on.iter().for_each(|incident| history.incident(incident, None));
        }
        let (Some(history), Some(memory)) = (&mut self.history, &self.memory) else { return };
        if history.next.is_none() && (history.has_happened() || history.tidy_at <= now.boot) {
            history.next = Some(now.boot.max(history.latest + GATHER));
        }
        if history.next.is_none_or(|at| at > now.boot) {
            return;
        }
        let happened = history.take(self.loaded.config.keep, now);
        history.waiting = memory.add(happened, now).err();
        history.latest = now.boot;
        history.next = history.has_happened().then_some(now.boot + GATHER);
        if history.waiting.is_none() && history.lost > 0 {
            let lost = std::mem::take(&mut history.lost);
            let what = format!(
                "more happened than the disk takes: {lost} entries of the history (`nfban incidents`) are not kept; bans are"
            );
            self.latest.alarm(what, self.loaded.config.mode);
        }
    }

    /// After a reload: what is no longer to be kept goes soon.
    pub(super) fn tidy_history(&mut self) {
        if let Some(history) = &mut self.history {
            history.tidy_at = clock::now().boot;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::text::tests::{examples, stamp};

    #[test]
    fn what_is_told_of_one_incident_between_two_writes_is_one_row_as_it_was_told_last() {
        let mut history = History::new(stamp(0));
        examples().iter().for_each(|event| history.note(event, true));
        let happened = history.take(Keep::default(), stamp(0));
        let [Told { incident, ended: Some(_) }] = &happened.incidents[..] else { panic!("{happened:?}") };
        assert_eq!(incident.packets, 24);
        let deeds = happened.deeds.iter().map(|deed| matches!(deed, Deed::Began { .. }));
        assert_eq!(deeds.collect::<Vec<_>>(), [true, false, true]);
        assert!(happened.tidy.is_some());
        assert!(history.take(Keep::default(), stamp(1)).tidy.is_none(), "once an hour");
    }

    #[test]
    fn what_waits_is_bounded_and_what_had_no_room_is_counted() {
        let mut history = History::new(stamp(0));
        let Some(Event::Incident(first)) = examples().into_iter().next() else { unreachable!() };
        for number in 0..ROOM as u64 + 7 {
            let id = IncidentId(number);
            history.note(&Event::Incident(Box::new(Incident { id, ..*first.clone() })), true);
        }
        assert_eq!((history.happened.incidents.len(), history.lost), (ROOM, 7));
        // What is known already is renewed all the same.
        let id = IncidentId(3);
        history.note(&Event::IncidentUpdate(Box::new(Incident { id, packets: 99, ..*first })), true);
        assert_eq!((history.happened.incidents[3].incident.packets, history.lost), (99, 7));
    }
}
