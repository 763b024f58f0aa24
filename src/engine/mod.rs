//! The core: packets and time in, actions out.
//!
//! Pure: no clock, no I/O. The daemon and `replay` are two shells around the same engine, which differ in where packets
//! come from and who carries out the [`Action`]s. What the enforcer makes of a change comes back through
//! [`Engine::enforced`], so that nothing is called a ban before the kernel holds it.

mod asked;
mod bans;
mod evidence;
mod exempted;
mod forget;
mod inline;
mod ports;
mod restore;
mod room;
mod validated;
mod web;

#[cfg(test)]
mod tests;
mod traps;
mod widen;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

pub use self::bans::{Refusal, TICK};
use self::bans::{end_of, lift, put};
use self::evidence::Firings;
pub use self::exempted::Exempted;
use self::exempted::Exemptions;
pub use self::ports::PortCount;
use self::ports::Ports;
pub use self::room::CapUse;
use self::traps::Traps;
pub use self::traps::{KeptTouches, Touch};
pub use crate::decide::MANUAL;
use crate::decide::{Caps, Deed, Ledger, Policy, Shield};
use crate::detect::class::{Exemption, Surroundings};
use crate::detect::key::Widths;
use crate::detect::memory::{LONG_WINDOW, Memory, Progress};
use crate::detect::{Capacity, Detector, Effect, Finding, MAX_OPEN, Ruleset, Seed};
use crate::enforce::{Change, Outcome};
use crate::event::firing::Firing;
use crate::event::{Alarm, BanEndReason, Event};
use crate::packet::{Observation, Verdict};
use crate::time::Stamp;

pub use self::web::WEB_PROBE;
use self::web::Web;

/// What the shell is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Tell people and programs.
    Tell(Event),
    /// Ask the kernel, and report to [`Engine::enforced`].
    Enforce(Change),
}

/// What the engine works with, besides its rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// What of ourselves decides whether a packet is evidence.
    pub surroundings: Surroundings,
    /// How IPv6 sources are told apart.
    pub widths: Widths,
    /// How decisions are made.
    pub policy: Policy,
    /// Who is never acted against.
    pub shield: Shield,
}

/// What has been counted since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Packets and web requests taken in.
    pub packets: u64,
    /// Those that counted for some rule, or continued an incident.
    pub evidence: u64,
    /// Those that were not, by [`Exemption`].
    pub exempt: [u64; Exemption::ALL.len()],
    /// Incidents opened.
    pub incidents: u64,
    /// Incidents that ended early because no more could be open.
    pub incidents_displaced: u64,
    /// Bans that took effect.
    pub bans: u64,
    /// Refusals by the kernel.
    pub refused: u64,
    /// The errno of the latest one.
    pub last_refusal: Option<i32>,
}

/// The state of detection and decision.
#[derive(Debug)]
pub struct Engine {
    detector: Detector,
    /// None where the rules have nothing about requests.
    web: Option<Web>,
    widths: Widths,
    policy: Policy,
    shield: Shield,
    ledger: Ledger,
    traps: Traps,
    counts: Counts,
    ports: Ports,
    /// The errno of the kernel's latest refusal, until it accepts a change again: one alarm for each kind.
    refusing: Option<i32>,
    caps: Caps,
    firings: Firings,
    exempted: Exemptions,
    /// Whether it was told that the most incidents there can be are open.
    crowded: bool,
}

impl Engine {
    /// An engine that has seen nothing.
    #[must_use]
    pub fn new(rules: Ruleset, settings: Settings, capacity: Capacity, seed: Seed) -> Self {
        let mut traps = Traps::default();
        traps.reconfigure(&settings);
        let Settings { surroundings, widths, policy, shield } = settings;
        Self {
            detector: Detector::new(rules, surroundings, widths.clone(), capacity, seed),
            web: None,
            widths,
            policy,
            shield,
            ledger: Ledger::default(),
            traps,
            counts: Counts::default(),
            ports: Ports::default(),
            refusing: None,
            caps: Caps::default(),
            firings: Firings::default(),
            exempted: Exemptions::new(seed),
            crowded: false,
        }
    }

    /// Prepares for packets of these sources, which are about to be taken in: see [`Detector::anticipate`].
    pub fn anticipate(&mut self, sources: impl Iterator<Item = IpAddr>) {
        self.detector.anticipate(sources);
    }

    /// Takes in one packet. Time must not go back.
    pub fn observe(&mut self, observation: &Observation<'_>, at: Stamp, actions: &mut Vec<Action>) {
        self.advance(at, actions);
        self.counts.packets += 1;
        let effect = self.detector.observe(observation, at);
        let told = |incident| Action::Tell(Event::IncidentUpdate(Box::new(incident)));
        actions.extend(self.detector.take_grown().map(told));
        match effect {
            Effect::Exempt(why) => {
                self.exempted.note(&observation.packet, why, at);
                return self.exempt(why);
            }
            Effect::Unclaimed => return,
            Effect::Counted | Effect::Continued(_) => {}
            Effect::Opened(finding) => self.opened(*finding, observation.packet.saddr, at, actions),
            Effect::Persisted(grounds) => self.answer(grounds, observation.packet.saddr, at, actions),
        }
        self.counts.evidence += 1;
        if observation.verdict != Verdict::Outbound {
            self.ports.note(&observation.packet, at);
        }
    }

    /// Counts a packet that is no evidence for a reason outside the packet.
    pub fn pass_over(&mut self, why: Exemption, at: Stamp, actions: &mut Vec<Action>) {
        self.advance(at, actions);
        self.counts.packets += 1;
        self.exempt(why);
    }

    fn exempt(&mut self, why: Exemption) {
        if let Some(count) = self.counts.exempt.get_mut(why as usize) {
            *count += 1;
        }
    }

    /// Has `actions` carried out until nothing more follows from them: changes by `enforce`, the rest by `tell`. Changes
    /// that came together are made together.
    pub fn settle(
        &mut self,
        actions: &mut Vec<Action>,
        mut enforce: impl FnMut(&[Change]) -> Vec<Outcome>,
        mut now: impl FnMut() -> Stamp,
        mut tell: impl FnMut(Event),
    ) {
        while !actions.is_empty() {
            let (mut events, mut changes) = (Vec::new(), Vec::new());
            for action in actions.drain(..) {
                match action {
                    Action::Tell(event) => events.push(event),
                    Action::Enforce(change) => changes.push(change),
                }
            }
            if !changes.is_empty() {
                let outcomes = enforce(&changes);
                let now = now();
                for (change, outcome) in changes.iter().zip(outcomes) {
                    self.enforced(change, outcome, now, actions);
                }
            }
            // After the kernel: no ban waits until a journal has taken the line about its incident.
            events.into_iter().for_each(&mut tell);
        }
    }

    /// Does what is due by `now`: ends of incidents and bans, retries.
    pub fn advance(&mut self, now: Stamp, actions: &mut Vec<Action>) {
        while let Some(due) = self.next_deadline().filter(|due| *due <= now.boot) {
            // One moment at a time, so that what is told comes in the order of its times.
            let moment = Stamp { boot: due, ..now };
            while let Some(end) = self.detector.end_next(moment).or_else(|| self.traps.end_next(moment)) {
                actions.push(Action::Tell(Event::IncidentEnd(Box::new(end))));
            }
            while let Some(end) = self.web.as_mut().and_then(|web| web.sources.end_next(moment)) {
                actions.push(Action::Tell(Event::IncidentEnd(Box::new(end))));
            }
            while let Some(deed) = self.ledger.next_deed(moment) {
                match deed {
                    Deed::Expired(standing) => {
                        let time = standing.since.plus(standing.timeout.unwrap_or_default());
                        end_of(&standing, BanEndReason::Expired, time, actions);
                    }
                    Deed::Lift(target, measure) => {
                        actions.push(Action::Enforce(Change::Lift { measure, target }));
                    }
                    Deed::Retry(standing) => actions.push(Action::Enforce(put(&standing, now))),
                }
            }
        }
    }

    /// Boot time at which [`Self::advance`] has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        let web = self.web.as_ref().and_then(|web| web.sources.next_deadline());
        let incidents = [self.detector.next_deadline(), self.traps.next_deadline(), web];
        incidents.into_iter().chain([self.ledger.next_deadline()]).flatten().min()
    }

    /// Ends all incidents: the input is over.
    pub fn finish(&mut self, now: Stamp, actions: &mut Vec<Action>) {
        self.advance(now, actions);
        while let Some(end) = self.detector.end_any(now).or_else(|| self.traps.end_any(now)) {
            actions.push(Action::Tell(Event::IncidentEnd(Box::new(end))));
        }
        self.finish_requests(now, actions);
    }

    /// Forgets all counts, because the input's clock stepped back.
    pub fn restart_windows(&mut self) {
        self.detector.restart_windows();
        if let Some(web) = &mut self.web {
            web.sources.restart_windows();
        }
    }

    /// What counts `now` for rules with long windows, to outlive this process: see [`Detector::remember`].
    #[must_use]
    pub fn remember(&self, now: Stamp) -> Vec<Memory> {
        self.detector.remember(now, LONG_WINDOW)
    }

    /// A part of it: see [`Detector::remember_part`].
    pub fn remember_part(&self, from: Progress, now: Stamp, memories: &mut Vec<Memory>) -> Option<Progress> {
        self.detector.remember_part(from, now, LONG_WINDOW, memories)
    }

    /// Takes back what [`Self::remember`] gave an earlier process.
    pub fn recall(&mut self, memories: Vec<Memory>, now: Stamp) {
        self.detector.recall(memories, now);
    }

    /// Replaces settings; counts, incidents and bans stay, but for bans of those who are now shielded.
    pub fn reconfigure(&mut self, settings: Settings, actions: &mut Vec<Action>) {
        self.traps.reconfigure(&settings);
        let Settings { surroundings, widths, policy, shield } = settings;
        self.detector.set_surroundings(surroundings, widths.clone());
        self.widths = widths;
        (self.policy, self.shield) = (policy, shield);
        let freed: Vec<_> =
            self.ledger.iter().filter(|ban| self.shield.covers(ban.target).is_some()).map(lift).collect();
        actions.extend(freed.into_iter().map(Action::Enforce));
    }

    /// Goes on with other rules and with tables of another size: see [`Detector::replace_rules`]. Bans stay.
    pub fn replace_rules(
        &mut self,
        rules: Ruleset,
        settings: Settings,
        capacity: Capacity,
        now: Stamp,
        actions: &mut Vec<Action>,
    ) {
        self.advance(now, actions);
        let ended = self.detector.replace_rules(rules, capacity, now);
        actions.extend(ended.into_iter().map(|end| Action::Tell(Event::IncidentEnd(Box::new(end)))));
        self.reconfigure(settings, actions);
    }

    fn opened(&mut self, finding: Finding, sender: IpAddr, now: Stamp, actions: &mut Vec<Action>) {
        self.counts.incidents += 1;
        let Finding { incident, grounds, displaced } = finding;
        if let Some(displaced) = displaced {
            self.counts.incidents_displaced += 1;
            if !std::mem::replace(&mut self.crowded, true) {
                let what =
                    format!("the limit of {MAX_OPEN} open incidents is reached: the quietest end early");
                actions.push(Action::Tell(Event::Alarm(Alarm { time: now, what })));
            }
            actions.push(Action::Tell(Event::IncidentEnd(Box::new(displaced))));
        } else if self.detector.open_incidents() < MAX_OPEN / 10 * 9 {
            self.crowded = false;
        }
        actions.push(Action::Tell(Event::Incident(Box::new(incident))));
        self.answer(grounds, sender, now, actions);
    }

    /// Takes the oldest firings that have not been taken yet, at most so many.
    pub fn take_firings(&mut self, at_most: usize) -> Vec<Arc<Firing>> {
        self.firings.take(at_most)
    }

    /// How many firings have given way before they were taken, since this was last asked.
    pub fn take_missed_firings(&mut self) -> u64 {
        std::mem::take(&mut self.firings.missed)
    }
}
