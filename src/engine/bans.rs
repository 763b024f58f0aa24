//! The engine's other half: from grounds to bans, and from what the kernel made of them to what is told.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::{Action, Engine, evidence};
use crate::decide::{Cap, Evidence, MANUAL, Measure, Place, Response, Shielded, Standing, State};
use crate::detect::Grounds;
use crate::enforce::{Change, Held, Outcome};
use crate::event::firing::Answer;
use crate::event::{Alarm, Ban, BanEnd, BanEndReason, Event};
use crate::report::target::Target;
use crate::time::Stamp;

/// Why a manual ban or unban was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The target must never be banned.
    #[error("{target} {reason}", target = Target(*.0), reason = .1.reason(*.0))]
    Shielded(IpNet, Shielded),
    /// A wider ban holds it.
    #[error("{target} is banned with all of {wider}: lift that", target = Target(*.0), wider = Target(*.1))]
    BannedWith(IpNet, IpNet),
    /// There are as many as there may be, all made by hand.
    #[error("{}", full(.0, *.1))]
    Full(Cap, usize),
    /// There is no such ban.
    #[error("{target} is not banned", target = Target(*.0))]
    NotBanned(IpNet),
    /// It is banned, or something in it or around it is.
    #[error("{}", banned(*.0, *.1))]
    Banned(IpNet, IpNet),
    /// The administrator's sets have no place for it.
    #[error("{target} cannot be banned: `nftables.sets` names no set for such targets", target = Target(*.0))]
    NoSet(IpNet),
}

/// How far the end of an element in the kernel and that of its ban here may be apart: the kernel counts in jiffies from
/// when it commits, and we from the decision. What is left of an element by then is not worth taking in.
pub const TICK: Duration = Duration::from_millis(100);

/// Packets that were queued before a ban are read within this time.
const ON_THEIR_WAY: Duration = Duration::from_secs(1);

impl Engine {
    /// Acts on an incident, as the packet of `sender` gives reason to, and keeps what it rests on.
    pub(super) fn answer(
        &mut self,
        mut grounds: Grounds,
        sender: IpAddr,
        now: Stamp,
        actions: &mut Vec<Action>,
    ) {
        let firing = grounds.firing.take();
        let answer = self.respond(&grounds, sender, now, actions);
        self.firings.keep(firing, answer);
    }

    /// Acts on an incident. Tells what was done.
    pub(super) fn respond(
        &mut self,
        grounds: &Grounds,
        sender: IpAddr,
        now: Stamp,
        actions: &mut Vec<Action>,
    ) -> Answer {
        let Some(measure) = self.policy.measure(grounds.evidence, grounds.respond) else {
            let logs = self.policy.response(grounds.evidence, grounds.respond) == Response::Log;
            return if logs { Answer::Logs } else { Answer::Unavailable };
        };
        let mut answer = None;
        for (target, before) in self.targets(grounds, sender, measure, now) {
            let one = match (self.shield.covers(target), self.policy.lacking.instead(measure, target)) {
                (Some(why), _) => Answer::Shielded(why),
                (None, None) => Answer::Unavailable,
                (None, Some(measure)) => self.act(grounds, (target, before), measure, now, actions),
            };
            answer = Some(evidence::sum(answer, one));
        }
        answer.unwrap_or(Answer::Unavailable)
    }

    fn act(
        &mut self,
        grounds: &Grounds,
        (target, before): (IpNet, u32),
        measure: Measure,
        now: Stamp,
        actions: &mut Vec<Action>,
    ) -> Answer {
        let validated = grounds.evidence == Evidence::Validated;
        // What is proven now was not before: it counts as that, and lasts as long.
        let is_enough = |ban: &&Standing| {
            ban.measure > measure || (ban.measure == measure && (ban.validated || !validated))
        };
        if let Some(standing) = self.ledger.covering(target).filter(is_enough) {
            // Whoever is held is not seen any more, but for packets that were on their way. So much evidence later on says
            // that the kernel has lost the ban: asked for again, it is there, or shows that the table is gone.
            if standing.state == State::Held && now.boot.saturating_sub(standing.since.boot) > ON_THEIR_WAY {
                actions.push(Action::Enforce(put(standing, now)));
            }
            return Answer::Stands;
        }
        let timeout = self.policy.timeout(grounds.evidence, before);
        let standing = Standing {
            target,
            measure,
            rule: grounds.rule.clone(),
            reason: None,
            incident: Some(grounds.incident),
            validated,
            before,
            since: now,
            timeout: Some(timeout),
            state: State::Asked,
        };
        // Where there is no room it is told, and the source's next offence is the next try.
        match self.enter(standing, now, actions) {
            Ok(()) => {
                self.absorb(grounds, target, actions);
                Answer::Acted { measure, timeout, before, targets: 1 }
            }
            Err(_) => Answer::NoRoom,
        }
    }

    /// A wider ban takes the place of the narrower one that was the milder answer to the same offence.
    fn absorb(&mut self, grounds: &Grounds, wider: IpNet, actions: &mut Vec<Action>) {
        for narrow in grounds.targets.iter().filter(|narrow| **narrow != wider && wider.contains(*narrow)) {
            let milder = self.ledger.find(*narrow).filter(|ban| ban.incident == Some(grounds.incident));
            if let Some(milder) = milder.map(|ban| ban.target).and_then(|target| self.ledger.remove(target)) {
                actions.push(Action::Enforce(lift(&milder)));
            }
        }
    }

    /// Enters a ban and asks for it.
    fn enter(&mut self, standing: Standing, now: Stamp, actions: &mut Vec<Action>) -> Result<(), Cap> {
        let earlier = self.ledger.remove(standing.target);
        if let Err(cap) = self.make_room(&standing, now, actions) {
            earlier.into_iter().for_each(|earlier| self.ledger.put_back(earlier));
            return Err(cap);
        }
        actions.push(Action::Enforce(put(&standing, now)));
        if let Some(earlier) = earlier.filter(|earlier| earlier.measure != standing.measure) {
            actions.push(Action::Enforce(lift(&earlier)));
        }
        self.ledger.enter(standing);
        Ok(())
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
                self.ledger.lifted(*target, *measure);
                // A change of measure lifts the old one; only the measure that stands in the ledger ends with its lifting.
                if self.ledger.find(*target).is_some_and(|standing| standing.measure == *measure)
                    && let Some(standing) = self.ledger.remove(*target)
                {
                    let shielded = self.shield.covers(*target);
                    tell_end(&standing, BanEndReason::Unban, shielded, now, actions);
                }
            }
            (change, Outcome::Refused(errno)) => {
                self.counts.refused += 1;
                self.counts.last_refusal = Some(errno);
                if self.retry(change, errno, now, actions) {
                    return;
                }
                if self.refusing.replace(errno) != Some(errno) {
                    let error = std::io::Error::from_raw_os_error(errno);
                    let what = format!("the kernel refuses to change a set: {error}; trying again");
                    actions.push(Action::Tell(Event::Alarm(Alarm { time: now, what })));
                }
            }
        }
    }

    /// Sees to it that a change that the kernel refused is asked for again. Tells whether that is now, with room made.
    fn retry(&mut self, change: &Change, errno: i32, now: Stamp, actions: &mut Vec<Action>) -> bool {
        match change {
            Change::Put { measure, target, .. } => {
                let first = self.ledger.refuse(*target, *measure, errno, now).cloned();
                let Some(first) = first.filter(|_| matches!(errno, libc::ENFILE | libc::ENOSPC)) else {
                    return false;
                };
                let made = self.make_room_in_kernel(&first, now, actions);
                actions.extend(made.then(|| Action::Enforce(put(&first, now))));
                made
            }
            Change::Lift { measure, target } => {
                self.ledger.owe(*target, *measure, now);
                false
            }
        }
    }

    /// Bans `target` because a person said so. Ends an earlier ban of the same target.
    ///
    /// # Errors
    /// When the target is shielded, there is no set for it, or bans by hand leave no room for one more.
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
            before: self.before(target, true, now),
            since: now,
            timeout,
            state: State::Asked,
        };
        self.enter(standing, now, actions).map_err(|cap| Refusal::Full(cap, self.limit(cap)))
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

    /// Lifts those of these bans that stand since `asked` (boot time) or longer: what was decided later stands.
    pub fn unban_older(&self, targets: &[IpNet], asked: Duration, actions: &mut Vec<Action>) {
        let standing = targets.iter().filter_map(|target| self.ledger.find(*target));
        let older = standing.filter(|ban| ban.since.boot <= asked);
        actions.extend(older.map(lift).map(Action::Enforce));
    }

    /// Ends all bans but those by hand. The kernel holds none of them any more.
    pub fn end_decided(&mut self, now: Stamp, actions: &mut Vec<Action>) {
        let decided = self.ledger.iter().filter(|ban| !ban.is_manual()).map(|ban| ban.target);
        for target in decided.collect::<Vec<_>>() {
            if let Some(standing) = self.ledger.remove(target) {
                end_of(&standing, BanEndReason::Unban, now, actions);
            }
        }
    }

    /// Makes the ledger agree with what the kernel holds: takes in what it did not know (left by an earlier run), and
    /// ends what somebody else has removed. What it did not know and is shielded is lifted.
    pub fn reconcile(&mut self, held: &[Held], now: Stamp, actions: &mut Vec<Action>) {
        self.reconcile_in(held, |_| true, &HashSet::new(), now, actions);
    }

    /// The same where only the sets that `seen` says were read. Those `spared` do not end: they are being put back.
    pub fn reconcile_in(
        &mut self,
        held: &[Held],
        seen: impl Fn(Place) -> bool,
        spared: &HashSet<IpNet>,
        now: Stamp,
        actions: &mut Vec<Action>,
    ) {
        let in_kernel: HashMap<_, _> = held.iter().map(|held| ((held.target, held.measure), held)).collect();
        let gone: Vec<_> = self
            .ledger
            .iter()
            .filter(|ban| ban.state == State::Held && !in_kernel.contains_key(&(ban.target, ban.measure)))
            .filter(|ban| seen(Place::of(ban.measure, ban.target)) && !spared.contains(&ban.target))
            .map(|ban| ban.target)
            .collect();
        for standing in gone.into_iter().filter_map(|target| self.ledger.remove(target)) {
            let was_due = standing.until().is_some_and(|until| until <= now.boot.saturating_add(TICK));
            let reason = if was_due { BanEndReason::Expired } else { BanEndReason::Unban };
            end_of(&standing, reason, now, actions);
        }
        self.adopt(held, now, actions);
    }

    /// Takes in what is `held` and was not known: an earlier run left it there, or somebody else put it there. What is shielded
    /// is lifted.
    pub fn adopt(&mut self, held: &[Held], now: Stamp, actions: &mut Vec<Action>) {
        for held in held.iter().filter(|held| held.expires.is_none_or(|left| left > TICK)) {
            let known = self.ledger.find(held.target).is_some();
            if known || self.ledger.is_owed(held.target, held.measure) {
                continue;
            }
            if self.shield.covers(held.target).is_some() {
                let (measure, target) = (held.measure, held.target);
                actions.push(Action::Enforce(Change::Lift { measure, target }));
            } else {
                // Entering it counts as a ban once more; it is the latest one of those that are known.
                let validated = held.measure == Measure::Ban;
                let before = self.before(held.target, validated, now).saturating_sub(1);
                self.ledger.enter(Standing {
                    target: held.target,
                    measure: held.measure,
                    rule: held.comment.clone(),
                    reason: None,
                    incident: None,
                    validated,
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

fn banned(net: IpNet, target: IpNet) -> String {
    let (net, target) = (Target(net), Target(target));
    let which = if net == target {
        "is banned".to_owned()
    } else {
        format!("is not forgotten while {target} is banned")
    };
    format!("{net} {which}: lift that first, with `nfban unban {target}`")
}

fn full(cap: &Cap, limit: usize) -> String {
    match cap {
        Cap::Set { place, .. } => {
            format!("set {} has its {limit} prefixes, all banned by hand: lift some", place.set())
        }
        Cap::Bans { .. } | Cap::PerMinute { .. } => {
            format!("the limit of {limit} {cap} is reached, all made by hand: lift some, or raise `ban.max`")
        }
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
    tell_end(standing, reason, None, now, actions);
}

fn tell_end(
    standing: &Standing,
    reason: BanEndReason,
    shielded: Option<Shielded>,
    now: Stamp,
    actions: &mut Vec<Action>,
) {
    // What the kernel never held has never begun.
    if standing.state == State::Held {
        let Standing { target, measure: action, .. } = *standing;
        let rule = standing.rule.clone();
        let end = BanEnd { time: now, target, reason, shielded, action, rule };
        actions.push(Action::Tell(Event::BanEnd(end)));
    }
}
