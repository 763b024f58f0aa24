//! Keeping the bans in the kernel, whatever other programs do to the table.
//!
//! A watch tells what others did, transaction by transaction. What they removed whole is put back, the newest bans first
//! and a part between two rounds of packets; what they deleted one by one is lifted. `docs/decisions/` says how the two
//! are told apart.

pub(super) mod known;
mod patience;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use ipnet::IpNet;
use tracing::{info, warn};

use self::patience::Patience;
use super::backend::Backend;
use super::{Daemon, clock};
use crate::decide::{Measure, Place};
use crate::enforce::{Change, Half, Held, Interference, Noticed, Watch};
use crate::report::text::count;

/// Bans put back between two rounds of packets: some 5 ms' worth, as long as packets may wait.
const PART: usize = 1000;

/// Bans of others taken in between two rounds of packets: the kernel is asked for each.
const ADDED: usize = 250;

/// Sets that somebody fills or takes prefixes from are read this much later: he may go on.
const LOOK: Duration = Duration::from_millis(200);

/// After the kernel refused to set the table up, it is asked again this much later.
const REFUSED: Duration = Duration::from_secs(1);

/// How often what was removed meanwhile is put back before an answer tells what is there.
const ATTEMPTS: usize = 3;

/// What is known to be missing in the kernel.
#[derive(Debug)]
pub(super) struct Keeping {
    /// None while watching only, and where the kernel does not let us hear.
    watch: Option<Watch>,
    patience: Patience,
    /// Boot time from which it is put back; none while nothing is missing.
    repair_at: Option<Duration>,
    /// Whether somebody is known to have removed something: patience is asked once for all that follows from it.
    removed: bool,
    /// Whether chains, rules or sets may be.
    frame: bool,
    /// Whether rules, protected addresses or services are not what they should be.
    altered: bool,
    /// The bans that are, the next to be put back last.
    lost: Vec<IpNet>,
    /// Those of them that are dropped again and whose rate limits are still missing.
    unlimited: Vec<IpNet>,
    /// Whether some of them may stand there nevertheless.
    ask: bool,
    /// Elements of hash sets that others have added, to be taken in.
    added: Vec<(Measure, IpNet)>,
    /// Sets of which nothing is known but that they changed.
    unknown: BTreeSet<Place>,
    /// How many bans of others were taken in since it began.
    taken_in: usize,
    /// How many bans were put back since it began.
    put_back: usize,
    /// Boot time at which the watch last had nothing more to tell.
    quiet: Duration,
    /// Boot time at which bans were last put back.
    restored: Duration,
    /// Whether it was told that the table cannot be set up.
    refused: bool,
    /// Whether others went on changing nf_tables while all that was missing was put back: they are listened to.
    disturbed: bool,
}

impl Keeping {
    /// Watches what `backend` fills.
    pub(super) fn new(backend: &Backend) -> Self {
        let now = clock::now().boot;
        Self {
            watch: watch(backend),
            patience: Patience::default(),
            repair_at: None,
            removed: false,
            frame: false,
            altered: false,
            lost: Vec::new(),
            unlimited: Vec::new(),
            ask: false,
            added: Vec::new(),
            unknown: BTreeSet::new(),
            taken_in: 0,
            put_back: 0,
            quiet: now,
            restored: Duration::ZERO,
            refused: false,
            disturbed: false,
        }
    }

    /// Watches another one, which is filled anew.
    pub(super) fn follow(&mut self, backend: &Backend) {
        *self = Self { patience: std::mem::take(&mut self.patience), ..Self::new(backend) };
    }

    /// Readable while others have changed something in nf_tables.
    pub(super) fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().map(Watch::as_fd)
    }

    /// Boot time at which [`Daemon::repair`] has something to do.
    pub(super) const fn next_deadline(&self) -> Option<Duration> {
        self.repair_at
    }

    /// Whether something is missing, which is put back at once then.
    pub(super) const fn hurry(&mut self, now: Duration) -> bool {
        if self.repair_at.is_some() {
            self.repair_at = Some(now);
        }
        self.repair_at.is_some()
    }

    /// Whether nothing is known to be missing.
    pub(super) const fn is_quiet(&self) -> bool {
        self.repair_at.is_none()
    }

    /// Whether bans were put back since that boot time.
    pub(super) fn restored_since(&self, since: Duration) -> bool {
        self.restored >= since
    }

    /// The bans that are known to be missing.
    pub(super) fn lost(&self) -> &[IpNet] {
        &self.lost
    }

    fn is_whole(&self) -> bool {
        !self.frame
            && !self.altered
            && self.lost.is_empty()
            && self.unlimited.is_empty()
            && self.added.is_empty()
            && self.unknown.is_empty()
    }
}

fn watch(backend: &Backend) -> Option<Watch> {
    backend.watch().unwrap_or_else(|error| {
        warn!("cannot hear what other programs do to the table, so it shows with the next ban or question: {error}");
        None
    })
}

impl Daemon {
    /// Takes in what others did to the table, all that is known by now.
    pub(super) fn notice(&mut self) {
        self.notice_part(true);
    }

    /// Takes in a part of what others did, if it is much and not `all` is needed now.
    pub(super) fn notice_part(&mut self, all: bool) {
        let Some(watch) = &mut self.keeping.watch else { return };
        let Noticed { interferences, overrun, all } = self.backend.notice(watch, all);
        for interference in interferences {
            self.take_in(interference);
        }
        if overrun {
            warn!("more changes of nf_tables at once than there is memory for: looking at the whole table");
            self.keeping.frame = true;
            self.keeping.unknown = Place::all().collect();
            self.begin_repair("another program");
        }
        if all {
            self.keeping.quiet = clock::now().boot;
        }
        self.carry_out();
    }

    fn take_in(&mut self, interference: Interference) {
        let Interference { by, table, frame, altered, sets, deleted, unlimited, added, changed } =
            interference;
        self.keeping.frame |= frame;
        self.keeping.altered |= altered;
        if table {
            self.keeping.lost = self.engine.standing_in(|_| true);
            self.keeping.unlimited.clear();
        } else if !sets.is_empty() {
            self.keeping.lost.extend(self.engine.standing_in(|place| sets.contains(&place)));
        }
        let mut places: BTreeMap<Place, HashSet<IpNet>> = BTreeMap::new();
        for &(place, target) in &deleted {
            places.entry(place).or_default().insert(target);
        }
        for (place, targets) in places {
            if self.is_flush(place, &targets) {
                self.keeping.lost.extend(
                    self.engine.standing_in(|of| of == place).into_iter().filter(|ban| targets.contains(ban)),
                );
            } else {
                info!(
                    "{by} has deleted {} from the table: lifted",
                    count(targets.len() as u64, "ban", "bans")
                );
                let bans = targets.into_iter().map(|target| (place.measure, target));
                self.engine.unbanned_in_kernel(bans, clock::now(), &mut self.actions);
            }
        }
        let mut halves = unlimited.difference(&deleted).map(|(_, target)| *target).peekable();
        self.keeping.ask |= halves.peek().is_some();
        self.keeping.lost.extend(halves);
        self.keeping.added.extend(added.into_iter().map(|(place, target)| (place.measure, target)));
        self.keeping.unknown.extend(changed);
        if !self.keeping.is_whole() {
            self.begin_repair(&by);
        }
    }

    /// Whether one transaction that deleted these elements of a set was a flush: of several bans none is left that stood
    /// there before.
    fn is_flush(&self, place: Place, targets: &HashSet<IpNet>) -> bool {
        let known = targets.iter().filter(|target| self.engine.ledger().find(**target).is_some());
        let keeping = &self.keeping;
        // While bans are being put back, those that come after the flush look as if they had been there before.
        let restoring = !keeping.lost.is_empty() || keeping.restored >= keeping.quiet;
        known.take(2).count() > 1
            && (restoring || !self.engine.is_held_besides(place, targets, keeping.quiet))
    }

    /// These, the newest last, are to be put into the kernel: an earlier run had them there.
    pub(super) fn put_back_lost(&mut self, lost: Vec<IpNet>) {
        if !lost.is_empty() {
            self.keeping.lost = lost;
            self.keeping.repair_at = Some(clock::now().boot);
        }
    }

    /// Everything is missing but the table, which was found gone by a change and is set up again.
    pub(super) fn table_was_gone(&mut self) {
        self.keeping.lost = self.engine.standing_in(|_| true);
        self.keeping.ask = true;
        self.begin_repair("another program");
    }

    /// Something is wrong with these sets, and nobody was heard to have done it.
    pub(super) fn look_again(&mut self, places: BTreeSet<Place>) {
        if !places.is_empty() {
            self.keeping.unknown.extend(places);
            self.begin_repair("another program");
        }
    }

    fn begin_repair(&mut self, by: &str) {
        let now = clock::now().boot;
        let keeping = &mut self.keeping;
        if keeping.removed {
            return;
        }
        if !keeping.frame && !keeping.altered && keeping.lost.is_empty() {
            keeping.repair_at.get_or_insert(now + LOOK);
            return;
        }
        keeping.removed = true;
        let (at, alarm) = keeping.patience.next(now);
        keeping.repair_at = Some(at);
        warn!("{by} has removed what is ours of table {}; it is put back", self.loaded.config.nftables.table);
        if alarm {
            let what = format!(
                "{by} removes bans from the kernel again and again: they are put back later and later; let it leave table {} \
                 alone",
                self.loaded.config.nftables.table
            );
            self.latest.alarm(what, self.loaded.config.mode);
        }
    }

    /// Puts back a part of what is missing, if it is time to.
    pub(super) fn repair(&mut self) {
        let now = clock::now();
        if self.keeping.repair_at.is_some_and(|at| at <= now.boot) {
            self.repair_now();
        }
    }

    /// Puts back all that is missing, however long that takes: an answer is to tell what stands.
    fn repair_all(&mut self) {
        self.notice();
        while self.keeping.repair_at.is_some() && self.repair_now() {}
    }

    /// What the kernel holds, once all is put back that others have removed. The ledger agrees with it then, unless
    /// somebody removes it faster than it is put back.
    pub(super) fn held(&mut self) -> io::Result<Vec<Held>> {
        for _ in 0..ATTEMPTS {
            self.repair_all();
            let known = self.engine.held_bans(|_| true);
            let held = self.backend.held().and_then(|mut held| {
                self.backend.complete(&mut held, &known)?;
                Ok(held)
            });
            let lost = match held {
                // Gone since: nobody has lifted what it held.
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                    self.keeping.frame = true;
                    self.engine.standing_in(|_| true)
                }
                Err(error) => return Err(error),
                Ok(held) => {
                    let now = clock::now();
                    let lost = self.engine.lost(&held, |_| true, now);
                    if lost.is_empty() {
                        self.engine.reconcile(&held, now, &mut self.actions);
                        self.carry_out();
                        return Ok(held);
                    }
                    lost
                }
            };
            self.keeping.lost = lost;
            self.begin_repair("another program");
        }
        self.repair_all();
        self.backend.held()
    }

    /// False when the kernel refuses.
    fn repair_now(&mut self) -> bool {
        let now = clock::now();
        if self.keeping.frame || self.keeping.altered {
            match self.backend.mend(self.keeping.altered) {
                Ok(set_up) => {
                    self.reinstalled = self.backend.reinstalled();
                    // Whoever found the table gone before us has put in it what he was about to.
                    self.keeping.ask |= !set_up;
                    (self.keeping.frame, self.keeping.altered, self.keeping.refused) = (false, false, false);
                }
                Err(error) => {
                    self.keeping.repair_at = Some(now.boot + REFUSED);
                    if !std::mem::replace(&mut self.keeping.refused, true) {
                        let what = format!("the table cannot be set up again, trying on: {error}");
                        self.latest.alarm(what, self.loaded.config.mode);
                    }
                    return false;
                }
            }
        }
        if !self.look() {
            self.keeping.repair_at = Some(now.boot + REFUSED);
            return false;
        }
        let Keeping { lost, unlimited, added, .. } = &self.keeping;
        if lost.is_empty() && unlimited.is_empty() && !added.is_empty() {
            if !self.take_in_part() {
                self.keeping.repair_at = Some(now.boot + REFUSED);
                return false;
            }
            if self.keeping.is_whole() {
                self.repaired();
            }
            return true;
        }
        self.close_ears();
        let half = if self.keeping.lost.is_empty() { Half::Limits } else { Half::Drops };
        let Keeping { lost, unlimited, .. } = &mut self.keeping;
        let missing = if half == Half::Drops { lost } else { unlimited };
        let mut part = missing.split_off(missing.len().saturating_sub(PART));
        part.reverse();
        self.put_back(&part, half);
        self.open_ears();
        if self.keeping.is_whole() {
            self.repaired();
        }
        true
    }

    /// Before more than a part is put back: nothing of that is to be told to us.
    fn close_ears(&mut self) {
        let Keeping { watch, lost, unlimited, disturbed, .. } = &mut self.keeping;
        if let Some(watch) = watch
            && !*disturbed
            && lost.len() + unlimited.len() > PART
        {
            self.backend.ignore(watch);
        }
    }

    /// Once all is put back, or others did something meanwhile: what that was is not known, so all is looked at.
    fn open_ears(&mut self) {
        let whole = self.keeping.is_whole();
        let Some(watch) = &mut self.keeping.watch else { return };
        if self.backend.heed(watch, whole) {
            self.keeping.disturbed = true;
            self.keeping.frame = true;
            self.keeping.unknown = Place::all().collect();
        }
    }

    fn put_back(&mut self, part: &[IpNet], half: Half) {
        let mut changes = self.engine.put_again(part, clock::now());
        if half == Half::Limits {
            changes.retain(Change::is_restriction);
        }
        if changes.is_empty() {
            return;
        }
        let outcomes = if self.keeping.ask {
            self.backend.apply(&changes)
        } else {
            self.backend.restore(&changes, half)
        };
        let now = clock::now();
        for (change, outcome) in changes.iter().zip(outcomes) {
            self.engine.enforced(change, outcome, now, &mut self.actions);
        }
        self.keeping.restored = now.boot;
        if half == Half::Drops {
            self.keeping.put_back += changes.len();
            if !self.keeping.ask {
                self.keeping.unlimited.extend_from_slice(part);
            }
        }
        self.carry_out();
    }

    /// Takes in some of the bans that others have added, as far as the kernel still holds them. False when it does not tell.
    fn take_in_part(&mut self) -> bool {
        let added = &mut self.keeping.added;
        let mut part = added.split_off(added.len().saturating_sub(ADDED));
        part.retain(|(_, target)| self.engine.ledger().find(*target).is_none());
        let held = match self.backend.held_of(&part) {
            Ok(held) => held,
            Err(error) => {
                warn!("cannot read what was added to the table, trying again: {error}");
                self.keeping.added.extend(part);
                return false;
            }
        };
        let known = self.engine.ledger().len();
        self.engine.adopt(&held, clock::now(), &mut self.actions);
        self.keeping.taken_in += self.engine.ledger().len().saturating_sub(known);
        self.carry_out();
        true
    }

    /// Reads the sets of which nothing is known. False when the kernel does not tell.
    fn look(&mut self) -> bool {
        let unknown = std::mem::take(&mut self.keeping.unknown);
        if unknown.is_empty() {
            return true;
        }
        let known = self.engine.held_bans(|place| unknown.contains(&place));
        let held = self.backend.held_in(|place| unknown.contains(&place)).and_then(|mut held| {
            self.backend.complete(&mut held, &known)?;
            Ok(held)
        });
        let held = match held {
            Ok(held) => held,
            Err(error) => {
                warn!("cannot read the table, trying again: {error}");
                self.keeping.unknown = unknown;
                self.keeping.frame = true;
                return false;
            }
        };
        let seen = |place: Place| unknown.contains(&place);
        let now = clock::now();
        let waiting: HashSet<IpNet> = self.keeping.lost.iter().copied().collect();
        let lost = self.engine.lost(&held, seen, now);
        let missing = |ban: &IpNet| !waiting.contains(ban);
        let new: Vec<IpNet> = lost.into_iter().filter(missing).collect();
        self.keeping.lost.extend(new);
        let spared: HashSet<IpNet> = self.keeping.lost.iter().copied().collect();
        let known = self.engine.ledger().len();
        self.engine.reconcile_in(&held, seen, &spared, now, &mut self.actions);
        self.keeping.taken_in += self.engine.ledger().len().saturating_sub(known);
        self.carry_out();
        true
    }

    fn repaired(&mut self) {
        let keeping = &mut self.keeping;
        let now = clock::now().boot;
        if keeping.put_back > 0 {
            info!("{} back in the kernel", count(keeping.put_back as u64, "ban is", "bans are"));
        }
        let new = std::mem::take(&mut keeping.taken_in);
        if new > 0 {
            info!("{} by another program found in the table and taken in", count(new as u64, "ban", "bans"));
        }
        if std::mem::take(&mut keeping.removed) {
            keeping.patience.done(now);
        }
        (keeping.repair_at, keeping.ask, keeping.put_back, keeping.disturbed) = (None, false, 0, false);
    }
}
