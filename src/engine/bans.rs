//! The engine's other half: from grounds to bans, and from what the kernel made of them to what is told.

use std::collections::HashMap;
use std::time::Duration;

use ipnet::IpNet;

use super::{Action, Engine};
use crate::decide::{Evidence, Measure, Shielded, Standing, State};
use crate::detect::Grounds;
use crate::enforce::{Change, Held, Outcome};
use crate::event::{Alarm, Ban, BanEnd, BanEndReason, Event};
use crate::report::target::Target;
use crate::time::Stamp;

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
}

/// How far the end of an element in the kernel and that of its ban here may be apart: the kernel counts in jiffies from
/// when it commits, and we from the decision. What is left of an element by then is not worth taking in.
const TICK: Duration = Duration::from_millis(100);

/// Packets that were queued before a ban are read within this time.
const ON_THEIR_WAY: Duration = Duration::from_secs(1);

/// The rule of a ban that a person made.
pub const MANUAL: &str = "manual";

impl Engine {
    pub(super) fn respond(&mut self, grounds: &Grounds, now: Stamp, actions: &mut Vec<Action>) {
        let Some(measure) = self.policy.measure(grounds.evidence, grounds.respond) else { return };
        for &target in &grounds.targets {
            if is_one_owner(target) && self.shield.covers(target).is_none() {
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
    /// When the target is shielded.
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
        let standing = Standing {
            target,
            measure: Measure::Ban,
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
}

/// Whether a ban of `net` hits one subscriber: wider prefixes hold many, and forged sources must not ban them.
fn is_one_owner(net: IpNet) -> bool {
    match net {
        IpNet::V4(net) => net.prefix_len() == 32,
        IpNet::V6(net) => net.prefix_len() >= 64,
    }
}

pub(super) fn put(standing: &Standing, now: Stamp) -> Change {
    Change::Put {
        measure: standing.measure,
        target: standing.target,
        timeout: standing.until().map(|until| until.saturating_sub(now.boot)),
        comment: standing.rule.clone(),
    }
}

pub(super) fn lift(standing: &Standing) -> Change {
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

pub(super) fn end_of(standing: &Standing, reason: BanEndReason, now: Stamp, actions: &mut Vec<Action>) {
    // What the kernel never held has never begun.
    if standing.state == State::Held {
        actions.push(Action::Tell(Event::BanEnd(BanEnd { time: now, target: standing.target, reason })));
    }
}
