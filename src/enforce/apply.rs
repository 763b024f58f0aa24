//! Changes on their way into the kernel.
//!
//! The kernel is asked first what it holds of the targets, and then changed in one transaction. What changes between
//! the two, and what cannot be known by asking, shows as a refusal: it names the changes that were to blame and
//! nothing is committed. Each of those takes its next step (what exists is replaced, what is gone needs no deletion,
//! what cannot be is refused), and the rest goes again. Every round takes at least one change a step further and no
//! change has more than three, so the rounds end. Asking costs some microseconds, a refused transaction 10 to 20
//! milliseconds: before the kernel takes changes back it waits for all its readers (`synchronize_rcu` in
//! `__nf_tables_abort`).

use std::collections::{BTreeMap, HashSet};

use ipnet::IpNet;

use super::asked::Answer;
use super::expression::Counts;
use super::kernel::Kernel;
use super::message::{self, Element, Key};
use super::restore::Half;
use super::sets::Sets;
use super::transaction::{Refusal, Transaction};
use super::uapi::*;
use super::{Change, Outcome};
use crate::decide::{Measure, Place};

/// The most changes in a transaction: others wait for it, and the kernel's answers must fit the socket.
const CHANGES: usize = 1000;
/// The most octets of one change: six messages with table name, set name and comment.
pub(super) const CHANGE_OCTETS: usize = 4096;
/// The most messages of one change.
const MESSAGES: usize = 6;

/// How far a change has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// To be added, if it is not there.
    Add,
    /// To be replaced, with what was counted so far.
    Renew(Counts),
    /// To be deleted from its set and from the one beside it.
    Lift { own: bool, beside: bool },
    /// To be fitted in between the stretches of an interval set.
    Arrange,
    /// Decided.
    Settled(Outcome),
}

/// Which message of a change was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Origin {
    change: usize,
    /// Of the set of rate limits beside the target's own.
    beside: bool,
}

impl Stage {
    /// The stage from which to begin, as the kernel holds an element for it in its own set and in the one beside it.
    fn knowing(self, place: Place, answers: [Answer; 2]) -> Self {
        let [own, beside] = answers;
        let found = own.counts().or(beside.counts()).is_some();
        match self {
            // It stays as it is, and ours comes when it has gone.
            Self::Add if own == Answer::Foreign && !place.prefix => {
                Self::Settled(Outcome::Refused(libc::EEXIST))
            }
            Self::Lift { .. } if own == Answer::Foreign => Self::Settled(Outcome::Done),
            // Of an interval set the answer is the stretch that holds the first address, whosever it is.
            Self::Add if place.prefix && (found || own == Answer::Foreign) => Self::Arrange,
            // What is dropped between the answer and the transaction is not counted: some microseconds' packets.
            Self::Add if found => {
                let mut counts = own.counts().unwrap_or_default();
                counts += beside.counts().unwrap_or_default();
                Self::Renew(counts)
            }
            Self::Lift { beside: has_beside, .. } => {
                let own = own != Answer::Missing;
                let beside = has_beside && beside != Answer::Missing;
                if own || beside { Self::Lift { own, beside } } else { Self::Settled(Outcome::Done) }
            }
            stage => stage,
        }
    }
}

impl Change {
    /// How the target's element is found.
    pub(super) fn key(&self) -> Key {
        let target = self.target();
        if self.place().prefix {
            Key::Stretch(target.network(), target.broadcast())
        } else {
            Key::One(target.network())
        }
    }

    /// Whether it restricts a source, and does not ban it.
    #[must_use]
    pub const fn is_restriction(&self) -> bool {
        matches!(self, Self::Put { measure: Measure::Restrict, .. })
    }

    pub(super) fn place(&self) -> Place {
        let (Self::Put { measure, target, .. } | Self::Lift { measure, target }) = self;
        Place::of(*measure, *target)
    }

    /// The target without the bits beyond its prefix length.
    pub(super) fn target(&self) -> IpNet {
        let (Self::Put { target, .. } | Self::Lift { target, .. }) = self;
        target.trunc()
    }

    fn first_stage(&self, sets: &Sets) -> Stage {
        let place = self.place();
        let has_set = sets.set(place).is_some();
        match self {
            Self::Put { .. } if !has_set => Stage::Settled(Outcome::Refused(libc::EOPNOTSUPP)),
            Self::Lift { .. } if !has_set => Stage::Settled(Outcome::Done),
            Self::Put { .. } => Stage::Add,
            Self::Lift { .. } if place.prefix => Stage::Arrange,
            Self::Lift { .. } => Stage::Lift { own: true, beside: sets.rate_set(place).is_some() },
        }
    }
}

impl Kernel {
    /// See [`super::Enforcer::apply`].
    pub(super) fn apply_all(&mut self, changes: &[Change]) -> Vec<Outcome> {
        self.look_again();
        self.apply_in_parts(changes, None)
    }

    pub(super) fn apply_in_parts(&mut self, changes: &[Change], lost: Option<Half>) -> Vec<Outcome> {
        let at_once = CHANGES.min(self.connection.room() / CHANGE_OCTETS).max(1);
        let mut outcomes = Vec::with_capacity(changes.len());
        let mut rest = changes;
        while !rest.is_empty() {
            let (some, later) = rest.split_at(different(rest, at_once));
            outcomes.extend(self.apply_some(some, lost));
            rest = later;
        }
        outcomes
    }

    /// Applies changes of different targets.
    fn apply_some(&mut self, changes: &[Change], lost: Option<Half>) -> Vec<Outcome> {
        let mut stages: Vec<Stage> = changes.iter().map(|change| change.first_stage(&self.sets)).collect();
        let open = |(index, stage): (usize, &Stage)| {
            matches!(stage, Stage::Add | Stage::Lift { .. }).then_some(index)
        };
        let open: Vec<usize> = stages.iter().enumerate().filter_map(open).collect();
        let answers = if lost.is_none() { self.ask(changes, &open) } else { Vec::new() };
        for (change, (stage, answers)) in changes.iter().zip(stages.iter_mut().zip(answers)) {
            let place = change.place();
            *stage = match (*stage, answers) {
                // Whose it is must be known before anything is deleted from the administrator's set.
                (Stage::Lift { .. }, [Answer::Unknown, _]) if !self.sets.are_own() => {
                    Stage::Settled(Outcome::Refused(libc::EAGAIN))
                }
                (stage, answers) => stage.knowing(place, answers),
            };
            if *stage == Stage::Add && place.prefix {
                self.covered.forget(place, change.target());
            }
        }
        let mut reinstalled = false;
        loop {
            keep_order(changes, &mut stages);
            match self.attempt(changes, &stages, lost) {
                Ok(()) => {
                    settle_rest(&mut stages, Outcome::Done);
                    break;
                }
                Err(Refusal::Whole(errno)) => {
                    settle_rest(&mut stages, Outcome::Refused(errno));
                    break;
                }
                Err(Refusal::Parts(parts)) => self.step(changes, &mut stages, parts, &mut reinstalled),
            }
        }
        self.arrange_all(changes, &mut stages);
        // Everything is settled by now. What were not must not be claimed to be in the kernel.
        let outcome =
            |stage| if let Stage::Settled(outcome) = stage { outcome } else { Outcome::Refused(libc::EIO) };
        stages.into_iter().map(outcome).collect()
    }

    /// Sends what is open as one transaction.
    fn attempt(
        &mut self,
        changes: &[Change],
        stages: &[Stage],
        half: Option<Half>,
    ) -> Result<(), Refusal<Origin>> {
        let most = u32::try_from(changes.len() * MESSAGES).unwrap_or(u32::MAX);
        let mut transaction = Transaction::begin(&mut self.connection, most);
        let table = &self.settings.table;
        for (index, (change, stage)) in changes.iter().zip(stages).enumerate() {
            write_change(&mut transaction, (table, &self.sets), (index, change), *stage, half);
        }
        transaction.commit(&mut self.connection)
    }

    /// Takes the changes that were refused a step further.
    fn step(
        &mut self,
        changes: &[Change],
        stages: &mut [Stage],
        mut parts: Vec<(Origin, i32)>,
        reinstalled: &mut bool,
    ) {
        // Only a change's first refusal: what it says may make the others void.
        parts.dedup_by_key(|(origin, _)| origin.change);
        let gone = parts.iter().any(|(origin, errno)| {
            let stage = stages.get(origin.change);
            *errno == libc::ENOENT && matches!(stage, Some(Stage::Add | Stage::Renew(_)))
        });
        // An addition knows ENOENT for one reason only: its set does not exist.
        let retry = gone && !*reinstalled && self.reinstall().is_ok();
        *reinstalled |= gone;
        for (origin, errno) in parts {
            let (Some(change), Some(stage)) = (changes.get(origin.change), stages.get_mut(origin.change))
            else {
                continue;
            };
            *stage = match (*stage, errno) {
                (Stage::Add, libc::EEXIST) if change.place().prefix => Stage::Arrange,
                (Stage::Add, libc::EEXIST) if !self.sets.are_own() => {
                    Stage::Settled(Outcome::Refused(libc::EEXIST))
                }
                // Somebody was faster: its counts are not worth asking again.
                (Stage::Add, libc::EEXIST) => Stage::Renew(Counts::default()),
                (stage @ (Stage::Add | Stage::Renew(_)), libc::ENOENT) if retry => stage,
                (Stage::Lift { own, beside }, libc::ENOENT) => {
                    let own = own && origin.beside;
                    let beside = beside && !origin.beside;
                    if own || beside { Stage::Lift { own, beside } } else { Stage::Settled(Outcome::Done) }
                }
                _ => Stage::Settled(Outcome::Refused(errno)),
            };
        }
    }

    /// Fits changes into interval sets, set by set.
    fn arrange_all(&mut self, changes: &[Change], stages: &mut [Stage]) {
        let mut places: BTreeMap<Place, (Vec<usize>, Vec<&Change>)> = BTreeMap::new();
        for (index, (change, stage)) in changes.iter().zip(&*stages).enumerate() {
            if *stage == Stage::Arrange {
                let (indices, changes) = places.entry(change.place()).or_default();
                indices.push(index);
                changes.push(change);
            }
        }
        for (place, (indices, changes)) in places {
            for (index, outcome) in indices.into_iter().zip(self.arrange(place, &changes)) {
                if let Some(stage) = stages.get_mut(index) {
                    *stage = Stage::Settled(outcome);
                }
            }
        }
    }
}

/// How many of the first changes are of different targets, at most `most`: a transaction of theirs can be retried in
/// part without getting the order wrong.
fn different(changes: &[Change], most: usize) -> usize {
    let mut seen = HashSet::new();
    changes.iter().take(most).take_while(|change| seen.insert((change.place(), change.target()))).count()
}

/// Once a prefix has to be fitted in, later changes of its set wait for that: changes take effect in order.
fn keep_order(changes: &[Change], stages: &mut [Stage]) {
    let mut waits: Vec<Place> = Vec::new();
    for (change, stage) in changes.iter().zip(stages) {
        let place = change.place();
        if *stage == Stage::Arrange {
            waits.push(place);
        } else if *stage == Stage::Add && waits.contains(&place) {
            *stage = Stage::Arrange;
        }
    }
}

fn settle_rest(stages: &mut [Stage], outcome: Outcome) {
    for stage in stages.iter_mut().filter(|stage| !matches!(stage, Stage::Settled(_) | Stage::Arrange)) {
        *stage = Stage::Settled(outcome);
    }
}

fn write_change(
    transaction: &mut Transaction<Origin>,
    (table, sets): (&str, &Sets),
    (index, change): (usize, &Change),
    stage: Stage,
    half: Option<Half>,
) {
    let place = change.place();
    let own = sets.set(place).map(|set| (set, false));
    let beside = sets.rate_set(place).map(|set| (set, true));
    let wanted = |&(_, beside): &(&str, bool)| match half {
        Some(Half::Drops) if !place.prefix => !beside,
        Some(Half::Limits) => beside && !place.prefix,
        _ => true,
    };
    for (set, beside) in [own, beside].into_iter().flatten().filter(wanted) {
        let origin = Origin { change: index, beside };
        let destination = (table, set, sets);
        match stage {
            Stage::Add => add(transaction, origin, destination, change, NLM_F_EXCL, None),
            Stage::Renew(counts) => {
                // Before Linux 6.12 adding what exists succeeds and leaves its timeout as it was. So it is deleted, and
                // added first in case it has just expired: deleting what is not there would refuse the transaction.
                add(transaction, origin, destination, change, 0, None);
                delete(transaction, origin, (table, set), change);
                // The counts of both sets go to the target's own.
                let counts = (!beside && sets.counts(place)).then_some(counts);
                add(transaction, origin, destination, change, NLM_F_EXCL, counts);
            }
            Stage::Lift { own, beside: rate } if (if beside { rate } else { own }) => {
                delete(transaction, origin, (table, set), change);
            }
            Stage::Lift { .. } | Stage::Arrange | Stage::Settled(_) => {}
        }
    }
}

fn add(
    transaction: &mut Transaction<Origin>,
    origin: Origin,
    (table, set, sets): (&str, &str, &Sets),
    change: &Change,
    flags: u16,
    counts: Option<Counts>,
) {
    let Some(element) = element(change, sets, counts) else { return };
    transaction.push(origin, NFT_MSG_NEWSETELEM, NLM_F_CREATE | flags, |m| {
        message::elements(m, table, set, |list| element.write(list));
    });
}

/// The element that a change puts.
pub(super) fn element<'a>(change: &'a Change, sets: &Sets, counts: Option<Counts>) -> Option<Element<'a>> {
    let Change::Put { target, timeout, comment, .. } = change else { return None };
    let key = change.key();
    let target_length = matches!(key, Key::Stretch(..)).then_some(target.prefix_len());
    let comment = sets.comment(comment);
    Some(Element { key, timeout: *timeout, comment, target_length, counts })
}

fn delete(
    transaction: &mut Transaction<Origin>,
    origin: Origin,
    (table, set): (&str, &str),
    change: &Change,
) {
    transaction.push(origin, NFT_MSG_DELSETELEM, 0, |m| {
        message::elements(m, table, set, |list| change.key().write(list));
    });
}
