//! Listings of all bans. The kernel takes more than a second to tell what it holds of 100,000, so that is read on a thread of
//! its own, one listing at a time, and what was read is made an answer of in parts between two rounds of packets.
//!
//! What is read is as old as it took to read. So an answer is made of what stands in the ledger when all is read, which
//! knows by then what others have done meanwhile; of what is not among what was read the kernel is asked for once more by itself.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashSet};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use ipnet::IpNet;

use super::answer::{InKernel, Named, is_about, kernel_is_silent};
use super::keeping::known::FEW;
use super::{Daemon, clock};
use crate::control::inbox::Responder;
use crate::control::protocol::{BanRow, Reply};
use crate::decide::{Place, Standing};
use crate::enforce::Lister;
use crate::engine::TICK;

/// Rows made between two rounds of packets: some milliseconds' worth.
const PART: usize = 2_000;

/// How often it is read before an answer is given with what there is.
const ATTEMPTS: usize = 3;

/// What others have removed is put back for so long before it is read.
const WAIT: Duration = Duration::from_millis(500);

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub(super) enum Question {
    /// All bans.
    Bans,
    /// All that is known of an address or prefix which has many.
    About(IpNet),
}

/// What was read, for an answer.
struct Listed {
    /// The bans that stood when it began, newest first.
    order: Vec<Named>,
    /// What the kernel told of them, and of others.
    held: InKernel,
    /// The bans of which it told nothing.
    missing: Vec<Named>,
}

/// How far a listing has come.
enum Stage {
    /// Nobody asks.
    Idle,
    /// Somebody does. It begins at this boot time, or when nothing has to be put back.
    Wanted(Duration),
    /// It is being read since this boot time.
    Reading(Duration),
    /// The answer is being made.
    Answering(Answer),
}

/// An answer that is being made.
struct Answer {
    /// Whose rows are still to be made, the next one last.
    left: Vec<Named>,
    held: InKernel,
    rows: Vec<BanRow>,
}

/// Who waits for a listing, and how far it is. Readable when something was read.
pub(super) struct Listings {
    wake: UnixStream,
    ring: UnixStream,
    listed: Receiver<io::Result<Listed>>,
    tell: Sender<io::Result<Listed>>,
    stage: Stage,
    /// Who gets the one that has begun.
    asked: Vec<(Question, Responder)>,
    /// Who gets the next one: what was read before they asked may be too old for them.
    later: Vec<(Question, Responder)>,
    attempts: usize,
}

impl AsFd for Listings {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

impl Listings {
    pub(super) fn new() -> io::Result<Self> {
        let (wake, ring) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        ring.set_nonblocking(true)?;
        let (tell, listed) = channel();
        let (asked, later) = (Vec::new(), Vec::new());
        Ok(Self { wake, ring, listed, tell, stage: Stage::Idle, asked, later, attempts: 0 })
    }

    /// Boot time at which [`Daemon::list_on`] has something to do, besides when something was read.
    pub(super) const fn next_deadline(&self) -> Option<Duration> {
        match &self.stage {
            Stage::Wanted(at) => Some(*at),
            Stage::Answering(_) => Some(Duration::ZERO),
            Stage::Idle | Stage::Reading(_) => None,
        }
    }

    /// Has somebody get the next listing.
    fn ask(&mut self, question: Question, responder: Responder, now: Duration) {
        // So there are never more than there are clients.
        self.later.retain(is_awaited);
        self.later.push((question, responder));
        if matches!(self.stage, Stage::Idle) {
            self.next(now);
        }
    }

    /// Goes on to those who have asked meanwhile.
    fn next(&mut self, now: Duration) {
        self.asked = std::mem::take(&mut self.later);
        self.attempts = 0;
        self.stage = if self.asked.is_empty() { Stage::Idle } else { Stage::Wanted(now + WAIT) };
    }

    /// Begins anew, unless that was tried often enough.
    fn again(&mut self, now: Duration) -> bool {
        self.attempts += 1;
        let again = self.attempts < ATTEMPTS;
        if again {
            self.stage = Stage::Wanted(now.saturating_add(WAIT));
        }
        again
    }

    fn refuse(&mut self, error: &io::Error, now: Duration) {
        for (_, responder) in self.asked.drain(..) {
            responder.send(kernel_is_silent(error));
        }
        self.next(now);
    }

    fn read(&self, lister: Lister, bans: Vec<(Duration, Named)>) -> io::Result<()> {
        let (tell, mut ring) = (self.tell.clone(), self.ring.try_clone()?);
        let read = move || {
            // The daemon has ended where nobody takes it.
            let _ = tell.send(Listed::of(&lister, bans));
            let _ = ring.write(&[0]);
        };
        thread::Builder::new().name("listing".to_owned()).spawn(read).map(drop)
    }

    /// What was read, if it was.
    fn take(&mut self) -> Option<io::Result<Listed>> {
        let mut drain = [0; 8];
        while matches!(self.wake.read(&mut drain), Ok(1..)) {}
        self.listed.try_recv().ok()
    }
}

fn is_awaited((_, responder): &(Question, Responder)) -> bool {
    responder.is_awaited()
}

impl Listed {
    fn of(lister: &Lister, mut bans: Vec<(Duration, Named)>) -> io::Result<Self> {
        let held = lister.held()?.into_iter().map(|held| ((held.target, held.measure), held));
        let held: InKernel = held.collect();
        bans.sort_unstable_by_key(|(since, (_, target))| (Reverse(*since), *target));
        let order: Vec<Named> = bans.into_iter().map(|(_, named)| named).collect();
        let is_missing = |(measure, target): &&Named| !held.contains_key(&(*target, *measure));
        let missing = order.iter().filter(is_missing).copied().collect();
        Ok(Self { order, held, missing })
    }
}

impl Daemon {
    /// Whether listings can wait. Who does not hear what others do has to compare everything with what is held.
    pub(super) fn can_list_later(&self) -> bool {
        self.keeping.as_fd().is_some() && self.backend.lister().is_some()
    }

    /// Has `responder` get its answer in a while.
    pub(super) fn list_later(&mut self, question: Question, responder: Responder) {
        self.listings.ask(question, responder, clock::now().boot);
    }

    /// Takes the listing that was asked for a step further.
    pub(super) fn list_on(&mut self) {
        match std::mem::replace(&mut self.listings.stage, Stage::Idle) {
            Stage::Idle => {}
            Stage::Wanted(at) => self.begin_listing(at),
            Stage::Reading(since) => match self.listings.take() {
                None => self.listings.stage = Stage::Reading(since),
                Some(Ok(listed)) => self.compare(listed, since),
                Some(Err(error)) => self.cannot_list(&error),
            },
            Stage::Answering(answer) => self.go_on(answer),
        }
    }

    fn begin_listing(&mut self, at: Duration) {
        let now = clock::now().boot;
        self.listings.asked.retain(is_awaited);
        if self.listings.asked.is_empty() {
            return self.listings.next(now);
        }
        self.notice();
        if self.keeping.hurry(now) && now < at {
            self.listings.stage = Stage::Wanted(at);
            return;
        }
        self.engine.advance(clock::now(), &mut self.actions);
        self.carry_out();
        let bans = self.standing().map(|ban| (ban.since.boot, Self::name(ban))).collect();
        let begun = match self.backend.lister() {
            Some(lister) => self.listings.read(lister, bans),
            // By a reload nothing is enforced any more.
            None => {
                for (question, responder) in std::mem::take(&mut self.listings.asked) {
                    responder.send(self.list_now(question));
                }
                return self.listings.next(now);
            }
        };
        match begun {
            Ok(()) => self.listings.stage = Stage::Reading(now),
            Err(error) => self.listings.refuse(&error, now),
        }
    }

    fn cannot_list(&mut self, error: &io::Error) {
        let now = clock::now().boot;
        if !self.listings.again(now) {
            self.listings.refuse(error, now);
        }
    }

    /// Brings what was read since then up to date.
    fn compare(&mut self, listed: Listed, since: Duration) {
        self.notice();
        let now = clock::now().boot;
        let Listed { order, mut held, mut missing } = listed;
        let is_new = |ban: &&Standing| ban.since.boot >= since;
        let mut newer: Vec<_> =
            self.standing().filter(is_new).map(|ban| (ban.since.boot, Self::name(ban))).collect();
        newer.sort_unstable_by_key(|(since, (_, target))| (Reverse(*since), *target));
        let newer: Vec<Named> = newer.into_iter().map(|(_, named)| named).collect();
        // What was put back meanwhile was read before it was, or after.
        let doubtful = !self.keeping.is_quiet() || self.keeping.restored_since(since);
        if (doubtful || missing.len() + newer.len() > FEW) && self.listings.again(now) {
            return;
        }
        let lost: HashSet<IpNet> = self.keeping.lost().iter().copied().collect();
        let stands = |&(measure, target): &Named| {
            !lost.contains(&target)
                && self.engine.ledger().find(target).is_some_and(|ban| ban.measure == measure)
        };
        missing.retain(stands);
        missing.extend(&newer);
        match self.backend.held_of(&missing) {
            Ok(found) => held.extend(found.into_iter().map(|held| ((held.target, held.measure), held))),
            Err(error) => return self.cannot_list(&error),
        }
        self.look_for(missing.iter().filter(|(measure, target)| !held.contains_key(&(*target, *measure))));
        let renewed: HashSet<Named> = newer.iter().copied().collect();
        let older = order.into_iter().filter(|named| !renewed.contains(named) && !lost.contains(&named.1));
        let mut left: Vec<Named> = newer.iter().copied().chain(older).collect();
        left.reverse();
        let rows = Vec::with_capacity(left.len());
        self.listings.stage = Stage::Answering(Answer { left, held, rows });
    }

    /// The kernel does not hold these bans, and nobody was heard to have lifted them: their sets are looked at.
    fn look_for<'a>(&mut self, missing: impl Iterator<Item = &'a Named>) {
        let soon = clock::now().boot.saturating_add(TICK);
        let is_over = |ban: &Standing| ban.until().is_some_and(|until| until <= soon);
        let is_wrong = |target| self.engine.ledger().find(target).is_some_and(|ban| !is_over(ban));
        let wrong = missing.filter(|(_, target)| is_wrong(*target));
        let places: BTreeSet<Place> = wrong.map(|&(measure, target)| Place::of(measure, target)).collect();
        self.look_again(places);
    }

    fn go_on(&mut self, mut answer: Answer) {
        for (measure, target) in answer.left.drain(answer.left.len().saturating_sub(PART)..).rev() {
            let Some(held) = answer.held.remove(&(target, measure)) else { continue };
            let standing = self.engine.ledger().find(target).filter(|ban| ban.measure == measure);
            answer.rows.extend(standing.map(|standing| self.row_of(standing, &held)));
        }
        if !answer.left.is_empty() {
            self.listings.stage = Stage::Answering(answer);
            return;
        }
        self.listings.asked.retain(is_awaited);
        match self.listings.asked.pop() {
            // A copy takes as long as a part does.
            Some((question, responder)) if !self.listings.asked.is_empty() => {
                responder.send(self.reply(question, answer.rows.clone()));
                self.listings.stage = Stage::Answering(answer);
            }
            Some((question, responder)) => {
                responder.send(self.reply(question, answer.rows));
                self.listings.next(clock::now().boot);
            }
            None => self.listings.next(clock::now().boot),
        }
    }

    fn reply(&self, question: Question, mut rows: Vec<BanRow>) -> Reply {
        match question {
            Question::Bans => Reply::Bans { bans: rows },
            Question::About(net) => {
                rows.retain(|row| is_about(net, row.target.0));
                self.address(net, rows)
            }
        }
    }
}
