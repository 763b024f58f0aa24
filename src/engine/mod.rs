//! The core: packets and time in, actions out.
//!
//! Pure: no clock, no I/O. The daemon and `replay` are two shells around the same engine, which differ in where packets
//! come from and who carries out the [`Action`]s. What the enforcer makes of a change comes back through
//! [`Engine::enforced`], so that nothing is called a ban before the kernel holds it.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::decide::{Deed, Evidence, Ledger, Measure, Policy, Shield, Shielded, Standing, State};
use crate::detect::class::{Exemption, Surroundings};
use crate::detect::key::Widths;
use crate::detect::memory::{LONG_WINDOW, Memory, Progress};
use crate::detect::{Capacity, Detector, Effect, Finding, Grounds, MAX_OPEN, Occupancy, Ruleset, Seed, Seen};
use crate::enforce::{Change, Held, Outcome};
use crate::event::{Alarm, Ban, BanEnd, BanEndReason, Event, Incident};
use crate::packet::Observation;
use crate::report::target::Target;
use crate::time::Stamp;

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
    /// Packets taken in.
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
    policy: Policy,
    shield: Shield,
    ledger: Ledger,
    counts: Counts,
    /// The errno of the kernel's latest refusal, until it accepts a change again: one alarm for each kind.
    refusing: Option<i32>,
    full: bool,
    /// Whether it was told that the most incidents there can be are open.
    crowded: bool,
}

/// Why a manual ban or unban was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The target must never be banned.
    #[error("{target} {reason}", target = Target(*.0), reason = .1.reason())]
    Shielded(IpNet, Shielded),
    /// A wider ban holds it.
    #[error("{target} is banned with all of {wider}: lift that", target = Target(*.0), wider = Target(*.1))]
    BannedWith(IpNet, IpNet),
    /// There is no such ban.
    #[error("{target} is not banned", target = Target(*.0))]
    NotBanned(IpNet),
    /// The administrator's sets have no place for it.
    #[error("{target} cannot be banned: `nftables.sets` names no set for such targets", target = Target(*.0))]
    NoSet(IpNet),
}

/// How far the end of an element in the kernel and that of its ban here may be apart: the kernel counts in jiffies from
/// when it commits, and we from the decision. What is left of an element by then is not worth taking in.
const TICK: Duration = Duration::from_millis(100);

/// Packets that were queued before a ban are read within this time.
const ON_THEIR_WAY: Duration = Duration::from_secs(1);

/// The rule of a ban that a person made.
pub const MANUAL: &str = "manual";

impl Engine {
    /// An engine that has seen nothing.
    #[must_use]
    pub fn new(rules: Ruleset, settings: Settings, capacity: Capacity, seed: Seed) -> Self {
        let Settings { surroundings, widths, policy, shield } = settings;
        Self {
            detector: Detector::new(rules, surroundings, widths, capacity, seed),
            policy,
            shield,
            ledger: Ledger::default(),
            counts: Counts::default(),
            refusing: None,
            full: false,
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
            Effect::Exempt(why) => return self.exempt(why),
            Effect::Unclaimed => return,
            Effect::Counted | Effect::Continued(_) => {}
            Effect::Opened(finding) => self.opened(&finding, at, actions),
            Effect::Persisted(grounds) => self.respond(&grounds, at, actions),
        }
        self.counts.evidence += 1;
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
            while let Some(end) = self.detector.end_next(moment) {
                actions.push(Action::Tell(Event::IncidentEnd(Box::new(end))));
            }
            while let Some(deed) = self.ledger.next_deed(moment) {
                match deed {
                    Deed::Expired(standing) => {
                        let time = standing.since.plus(standing.timeout.unwrap_or_default());
                        end_of(&standing, BanEndReason::Expired, time, actions);
                    }
                    Deed::Retry(standing) => actions.push(Action::Enforce(put(&standing, now))),
                }
            }
        }
    }

    /// Boot time at which [`Self::advance`] has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        [self.detector.next_deadline(), self.ledger.next_deadline()].into_iter().flatten().min()
    }

    /// Ends all incidents: the input is over.
    pub fn finish(&mut self, now: Stamp, actions: &mut Vec<Action>) {
        self.advance(now, actions);
        while let Some(end) = self.detector.end_any(now) {
            actions.push(Action::Tell(Event::IncidentEnd(Box::new(end))));
        }
    }

    /// Forgets all counts, because the input's clock stepped back.
    pub fn restart_windows(&mut self) {
        self.detector.restart_windows();
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
        let Settings { surroundings, widths, policy, shield } = settings;
        self.detector.set_surroundings(surroundings, widths);
        (self.policy, self.shield) = (policy, shield);
        let freed: Vec<_> =
            self.ledger.iter().filter(|ban| self.shield.covers(ban.target).is_some()).map(lift).collect();
        actions.extend(freed.into_iter().map(Action::Enforce));
    }

    /// Starts counting anew with other rules, but for long windows of rules that are still there; bans stay, open
    /// incidents end.
    pub fn replace_rules(
        &mut self,
        rules: Ruleset,
        settings: Settings,
        capacity: Capacity,
        now: Stamp,
        actions: &mut Vec<Action>,
    ) {
        self.finish(now, actions);
        let memories = self.remember(now);
        self.detector = Detector::new(
            rules,
            settings.surroundings.clone(),
            settings.widths.clone(),
            capacity,
            Seed::Random,
        );
        self.recall(memories, now);
        self.reconfigure(settings, actions);
    }

    fn opened(&mut self, finding: &Finding, now: Stamp, actions: &mut Vec<Action>) {
        self.counts.incidents += 1;
        if let Some(displaced) = &finding.displaced {
            self.counts.incidents_displaced += 1;
            if !std::mem::replace(&mut self.crowded, true) {
                let what =
                    format!("the limit of {MAX_OPEN} open incidents is reached: the quietest end early");
                actions.push(Action::Tell(Event::Alarm(Alarm { time: now, what })));
            }
            actions.push(Action::Tell(Event::IncidentEnd(Box::new(displaced.clone()))));
        } else if self.detector.open_incidents() < MAX_OPEN / 10 * 9 {
            self.crowded = false;
        }
        actions.push(Action::Tell(Event::Incident(Box::new(finding.incident.clone()))));
        self.respond(&finding.grounds, now, actions);
    }

    fn respond(&mut self, grounds: &Grounds, now: Stamp, actions: &mut Vec<Action>) {
        let Some(measure) = self.policy.measure(grounds.evidence, grounds.respond) else { return };
        for &target in &grounds.targets {
            if is_one_owner(target)
                && self.shield.covers(target).is_none()
                && let Some(measure) = self.policy.lacking.instead(measure, target)
            {
                self.act(grounds, target, measure, now, actions);
            }
        }
    }

    fn act(
        &mut self,
        grounds: &Grounds,
        target: IpNet,
        measure: Measure,
        now: Stamp,
        actions: &mut Vec<Action>,
    ) {
        if let Some(standing) = self.ledger.covering(target).filter(|standing| standing.measure >= measure) {
            // Whoever is held is not seen any more, but for packets that were on their way. So much evidence later on says
            // that the kernel has lost the ban: asked for again, it is there, or shows that the table is gone.
            if standing.state == State::Held && now.boot.saturating_sub(standing.since.boot) > ON_THEIR_WAY {
                actions.push(Action::Enforce(put(standing, now)));
            }
            return;
        }
        let validated = grounds.evidence == Evidence::Validated;
        let before = self.ledger.before(target, now, self.policy.forget);
        let standing = Standing {
            target,
            measure,
            rule: grounds.rule.clone(),
            reason: None,
            incident: Some(grounds.incident),
            validated,
            before,
            since: now,
            timeout: Some(self.policy.timeout(grounds.evidence, before)),
            state: State::Asked,
        };
        self.enter(standing, now, actions);
    }

    /// Enters a ban and asks for it; at the cap the least of all gives way.
    fn enter(&mut self, standing: Standing, now: Stamp, actions: &mut Vec<Action>) {
        let earlier = self.ledger.remove(standing.target);
        if self.ledger.len() >= self.policy.max {
            let evicted = self.ledger.give_way(&standing);
            if !std::mem::replace(&mut self.full, true) {
                let what = format!(
                    "the limit of {} bans is reached: the least give way to newer ones",
                    self.policy.max
                );
                actions.push(Action::Tell(Event::Alarm(Alarm { time: now, what })));
            }
            let Some(evicted) = evicted else { return };
            actions.push(Action::Enforce(lift(&evicted)));
            end_of(&evicted, BanEndReason::Evicted, now, actions);
        } else if self.ledger.len() + self.policy.max.div_ceil(10) < self.policy.max {
            self.full = false;
        }
        actions.push(Action::Enforce(put(&standing, now)));
        if let Some(earlier) = earlier.filter(|earlier| earlier.measure != standing.measure) {
            actions.push(Action::Enforce(lift(&earlier)));
        }
        self.ledger.enter(standing);
    }

    /// Takes in what became of a change that was asked for.
    pub fn enforced(&mut self, change: &Change, outcome: Outcome, now: Stamp, actions: &mut Vec<Action>) {
        match (change, outcome) {
            (Change::Put { measure, target, .. }, Outcome::Done) => {
                self.refusing = None;
                if let Some(standing) = self.ledger.confirm(*target, *measure) {
                    self.counts.bans += 1;
                    actions.push(Action::Tell(Event::Ban(told(standing, now))));
                }
            }
            (Change::Lift { measure, target }, Outcome::Done) => {
                // A change of measure lifts the old one; only the measure that stands in the ledger ends with its lifting.
                if self.ledger.find(*target).is_some_and(|standing| standing.measure == *measure)
                    && let Some(standing) = self.ledger.remove(*target)
                {
                    end_of(&standing, BanEndReason::Unban, now, actions);
                }
            }
            (change, Outcome::Refused(errno)) => {
                self.counts.refused += 1;
                self.counts.last_refusal = Some(errno);
                if let Change::Put { measure, target, .. } = change {
                    self.ledger.refuse(*target, *measure, errno, now);
                }
                if self.refusing.replace(errno) != Some(errno) {
                    let error = std::io::Error::from_raw_os_error(errno);
                    let what = format!("the kernel refuses to change a set: {error}; trying again");
                    actions.push(Action::Tell(Event::Alarm(Alarm { time: now, what })));
                }
            }
        }
    }

    /// Bans `target` because a person said so. Ends an earlier ban of the same target.
    ///
    /// # Errors
    /// When the target is shielded, or there is no set for it.
    pub fn ban(
        &mut self,
        target: IpNet,
        timeout: Option<Duration>,
        reason: Option<String>,
        now: Stamp,
        actions: &mut Vec<Action>,
    ) -> Result<(), Refusal> {
        if let Some(why) = self.shield.covers(target) {
            return Err(Refusal::Shielded(target, why));
        }
        let measure = self.policy.lacking.instead(Measure::Ban, target).ok_or(Refusal::NoSet(target))?;
        let standing = Standing {
            target,
            measure,
            rule: MANUAL.to_owned(),
            reason,
            incident: None,
            validated: true,
            before: self.ledger.before(target, now, self.policy.forget),
            since: now,
            timeout,
            state: State::Asked,
        };
        self.enter(standing, now, actions);
        Ok(())
    }

    /// Lifts the ban of exactly `target`.
    ///
    /// # Errors
    /// When there is none.
    pub fn unban(&mut self, target: IpNet, actions: &mut Vec<Action>) -> Result<(), Refusal> {
        let standing = self.ledger.find(target).ok_or_else(|| match self.ledger.covering(target) {
            Some(wider) => Refusal::BannedWith(target, wider.target),
            None => Refusal::NotBanned(target),
        })?;
        actions.push(Action::Enforce(lift(standing)));
        Ok(())
    }

    /// Lifts all bans; tells how many.
    pub fn unban_all(&mut self, actions: &mut Vec<Action>) -> usize {
        actions.extend(self.ledger.iter().map(lift).map(Action::Enforce));
        self.ledger.len()
    }

    /// Makes the ledger agree with what the kernel holds: takes in what it did not know (left by an earlier run), and
    /// ends what somebody else has removed. What it did not know and is shielded is lifted.
    pub fn reconcile(&mut self, held: &[Held], now: Stamp, actions: &mut Vec<Action>) {
        let in_kernel: HashMap<_, _> = held.iter().map(|held| ((held.target, held.measure), held)).collect();
        let gone: Vec<_> = self
            .ledger
            .iter()
            .filter(|ban| ban.state == State::Held && !in_kernel.contains_key(&(ban.target, ban.measure)))
            .map(|ban| ban.target)
            .collect();
        for standing in gone.into_iter().filter_map(|target| self.ledger.remove(target)) {
            let was_due = standing.until().is_some_and(|until| until <= now.boot.saturating_add(TICK));
            let reason = if was_due { BanEndReason::Expired } else { BanEndReason::Unban };
            end_of(&standing, reason, now, actions);
        }
        for held in held.iter().filter(|held| held.expires.is_none_or(|left| left > TICK)) {
            if self.ledger.find(held.target).is_some() {
                continue;
            }
            if self.shield.covers(held.target).is_some() {
                let (measure, target) = (held.measure, held.target);
                actions.push(Action::Enforce(Change::Lift { measure, target }));
            } else {
                // Entering it counts as a ban once more; it is the latest one of those that are known.
                let before = self.ledger.before(held.target, now, self.policy.forget).saturating_sub(1);
                self.ledger.enter(Standing {
                    target: held.target,
                    measure: held.measure,
                    rule: held.comment.clone(),
                    reason: None,
                    incident: None,
                    validated: held.measure == Measure::Ban,
                    before,
                    since: now,
                    timeout: held.expires,
                    state: State::Held,
                });
            }
        }
    }

    /// Asks again for everything that stands: the kernel has lost it.
    pub fn reassert(&self, now: Stamp, actions: &mut Vec<Action>) {
        actions.extend(self.ledger.iter().map(|standing| Action::Enforce(put(standing, now))));
    }

    /// The bans.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What has been counted.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// How many sources have been counted.
    #[must_use]
    pub const fn sources(&self) -> u64 {
        self.detector.sources()
    }

    /// How full the tables of sources and of prefixes are.
    #[must_use]
    pub fn occupancy(&self) -> [Occupancy; 2] {
        self.detector.occupancy()
    }

    /// How many incidents are open.
    #[must_use]
    pub fn open_incidents(&self) -> usize {
        self.detector.open_incidents()
    }

    /// Why `net` is never acted against, if it is not.
    #[must_use]
    pub fn shielded(&self, net: IpNet) -> Option<Shielded> {
        self.shield.covers(net)
    }

    /// How often `net` was banned within the time that is remembered.
    #[must_use]
    pub fn repetitions(&self, net: IpNet, now: Stamp) -> u32 {
        self.ledger.before(net, now, self.policy.forget)
    }

    /// What counts of `net` now, incidents apart.
    #[must_use]
    pub fn seen(&self, net: IpNet, now: Stamp) -> Seen {
        self.detector.seen(net, now)
    }

    /// The open incidents of `net`.
    pub fn incidents_of(&self, net: IpNet) -> impl Iterator<Item = Incident> {
        self.detector.incidents_of(net)
    }
}

/// Whether a ban of `net` hits one subscriber: wider prefixes hold many, and forged sources must not ban them.
fn is_one_owner(net: IpNet) -> bool {
    match net {
        IpNet::V4(net) => net.prefix_len() == 32,
        IpNet::V6(net) => net.prefix_len() >= 64,
    }
}

fn put(standing: &Standing, now: Stamp) -> Change {
    Change::Put {
        measure: standing.measure,
        target: standing.target,
        timeout: standing.until().map(|until| until.saturating_sub(now.boot)),
        comment: standing.rule.clone(),
    }
}

fn lift(standing: &Standing) -> Change {
    Change::Lift { measure: standing.measure, target: standing.target }
}

fn told(standing: &Standing, now: Stamp) -> Ban {
    Ban {
        time: now,
        target: standing.target,
        action: standing.measure,
        rule: standing.rule.clone(),
        incident: standing.incident,
        timeout: standing.timeout,
    }
}

fn end_of(standing: &Standing, reason: BanEndReason, now: Stamp, actions: &mut Vec<Action>) {
    // What the kernel never held has never begun.
    if standing.state == State::Held {
        actions.push(Action::Tell(Event::BanEnd(BanEnd { time: now, target: standing.target, reason })));
    }
}
