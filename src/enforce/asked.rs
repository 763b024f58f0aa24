//! What is held of some targets alone, each asked for by itself: of 100,000 a listing takes the kernel more than a second.

use std::collections::BTreeSet;
use std::io;

use ipnet::IpNet;

use super::expression::Counts;
use super::kernel::Kernel;
use super::message::{self, Read};
use super::sets::Sets;
use super::socket::{nfgenmsg, nft};
use super::uapi::*;
use super::{Change, Held};
use crate::decide::{Measure, Place};
use crate::netlink::{Batch, Header, Message, NLM_F_REQUEST, NLMSG_ERROR};

/// Elements asked for at once: the kernel accounts a page or two for each answer.
const QUESTIONS: usize = 16;

/// What the kernel said when it was asked for an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Found(Counts),
    /// An element that somebody else has put into the administrator's set.
    Foreign,
    Missing,
    /// No answer came, or one that is neither.
    Unknown,
}

/// What a question for one element found.
#[derive(Debug, Clone)]
pub(super) enum LookedUp {
    Found(Read),
    /// There is none, or it is somebody else's.
    Missing,
}

impl Answer {
    pub(super) const fn counts(self) -> Option<Counts> {
        if let Self::Found(counts) = self { Some(counts) } else { None }
    }

    fn read(message: &Message<'_>, sets: &Sets) -> Self {
        if message.kind == NLMSG_ERROR {
            let missing = message.errno() == Some(libc::ENOENT);
            return if missing { Self::Missing } else { Self::Unknown };
        }
        let Some(read) = message::read_elements(message).next() else { return Self::Unknown };
        sets.ours(read).map_or(Self::Foreign, |read| Self::Found(read.counts))
    }
}

impl Kernel {
    /// What is held now of these bans. Those that are not held are left out.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn held_of(&mut self, bans: &[(Measure, IpNet)]) -> io::Result<Vec<Held>> {
        let is_prefix = |ban: &(Measure, IpNet)| Place::of(ban.0, ban.1).prefix;
        let (prefixes, single): (Vec<_>, Vec<_>) = bans.iter().copied().partition(is_prefix);
        let mut held = self.held_single(&single)?;
        // Whose a stretch of an interval set is shows only among all of them, and there are few.
        let places: BTreeSet<Place> =
            prefixes.iter().map(|(measure, target)| Place::of(*measure, *target)).collect();
        if !places.is_empty() {
            let all = self.held_in(|place| places.contains(&place))?;
            held.extend(all.into_iter().filter(|held| prefixes.contains(&(held.measure, held.target))));
        }
        Ok(held)
    }

    /// The same of bans in hash sets, each of which is asked for by itself.
    pub(super) fn held_single(&mut self, bans: &[(Measure, IpNet)]) -> io::Result<Vec<Held>> {
        let questions: Vec<Change> =
            bans.iter().map(|&(measure, target)| Change::Lift { measure, target }).collect();
        let mut held = Vec::new();
        for (question, [own, beside]) in questions.iter().zip(self.look_up(&questions)) {
            let read = match own.ok_or(io::ErrorKind::Interrupted)? {
                LookedUp::Found(read) => read,
                LookedUp::Missing => continue,
            };
            let mut counts = read.counts;
            if let Some(LookedUp::Found(beside)) = beside {
                counts += beside.counts;
            }
            held.push(Held {
                measure: question.place().measure,
                target: question.target(),
                expires: read.expires,
                packets: counts.packets,
                bytes: counts.bytes,
                comment: read.comment,
            });
        }
        Ok(held)
    }

    /// Asks for the elements that some changes are about, by their indices: in the target's own set, and in the one beside it.
    pub(super) fn ask(&mut self, changes: &[Change], some: &[usize]) -> Vec<[Answer; 2]> {
        let mut answers = vec![[Answer::Unknown; 2]; changes.len()];
        for some in some.chunks(QUESTIONS) {
            self.ask_some(changes, some, Answer::read, &mut answers);
        }
        answers
    }

    /// The elements that changes are about, each in the target's own set and in the one beside it; `None` where no
    /// answer came.
    pub(super) fn look_up(&mut self, changes: &[Change]) -> Vec<[Option<LookedUp>; 2]> {
        let mut found = vec![[None, None]; changes.len()];
        let read = |message: &Message<'_>, sets: &Sets| match message.kind {
            NLMSG_ERROR => (message.errno() == Some(libc::ENOENT)).then_some(LookedUp::Missing),
            _ => message::read_elements(message)
                .next()
                .map(|read| sets.ours(read).map_or(LookedUp::Missing, LookedUp::Found)),
        };
        let all: Vec<usize> = (0..changes.len()).collect();
        for some in all.chunks(QUESTIONS) {
            self.ask_some(changes, some, read, &mut found);
        }
        found
    }

    /// Asks about the changes of these indices, and has `read` make something of each answer.
    fn ask_some<T>(
        &mut self,
        changes: &[Change],
        some: &[usize],
        read: impl Fn(&Message<'_>, &Sets) -> T,
        answers: &mut [[T; 2]],
    ) {
        let mut questions = Batch::default();
        let mut asked = Vec::with_capacity(2 * some.len());
        let first = self.connection.sequences(2 * u32::try_from(QUESTIONS).unwrap_or_default());
        for (index, change) in some.iter().filter_map(|&index| Some((index, changes.get(index)?))) {
            let place = change.place();
            let sets = [self.sets.set(place), self.sets.rate_set(place)];
            for (which, set) in sets.into_iter().enumerate().filter_map(|(which, set)| Some((which, set?))) {
                let sequence = first.wrapping_add(u32::try_from(asked.len()).unwrap_or_default());
                let header = Header { kind: nft(NFT_MSG_GETSETELEM), flags: NLM_F_REQUEST, sequence };
                questions.message(header, &nfgenmsg(self.sets.family(), 0), |m| {
                    message::elements(m, &self.settings.table, set, |list| change.key().write_start(list));
                });
                asked.push((index, which));
            }
        }
        if self.connection.send(&questions).is_err() {
            return;
        }
        let mut missing = asked.len();
        while missing > 0 {
            let Ok(Some(messages)) = self.connection.receive() else { return };
            for message in messages {
                let question = usize::try_from(message.sequence.wrapping_sub(first)).ok();
                let Some(&(index, which)) = question.and_then(|question| asked.get(question)) else {
                    continue;
                };
                missing = missing.saturating_sub(1);
                if let Some(answer) = answers.get_mut(index).and_then(|answers| answers.get_mut(which)) {
                    *answer = read(&message, &self.sets);
                }
            }
        }
    }
}
