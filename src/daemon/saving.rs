//! Bans in the state database: read at the start, and every change written within a second.

use std::collections::HashSet;
use std::time::Duration;

use ipnet::IpNet;
use tracing::{info, warn};

use super::{Daemon, clock};
use crate::decide::Mode;
use crate::decide::Standing;
use crate::engine::{Engine, KeptTouches};
use crate::report::text::count;
use crate::store::bans::{Ban, Changes, Kept, Repetition};
use crate::store::touches::Touches;
use crate::time::{Stamp, Wall};

/// From one handing over to the next: a lone ban is saved at once, a flood of them is two transactions a second.
const GATHER: Duration = Duration::from_millis(500);

/// Changed targets handed over at a time: some milliseconds' worth.
const PART: usize = 4_000;

/// After a failure all bans are handed over anew this much later; a full disk is not mended within a second.
const ANEW: Duration = Duration::from_secs(10);

/// How often repetitions that are too old are forgotten on the disk.
const TIDY: Duration = Duration::from_secs(3600);

/// The two clocks may come apart by this much before the ends by the wall clock are written again.
const APART_US: i64 = 1_000_000;

/// What is to be written, and when.
#[derive(Debug)]
pub(super) struct Saving {
    boot: String,
    /// Boot time at which the next changes are handed over; none while there are none.
    next: Option<Duration>,
    /// Boot time at which changes were last handed over.
    latest: Duration,
    /// What the store's thread had no room for.
    waiting: Option<Changes>,
    /// Boot time at which all is handed over anew.
    anew_at: Option<Duration>,
    /// Whether the next changes replace all that is saved.
    anew: bool,
    tidy_at: Duration,
    /// Wall clock minus boot clock, in microseconds, when the rows were written.
    offset: i64,
    /// Whether only bans by hand are saved: while nfban is switched off, as no others outlive that.
    by_hand: bool,
}

fn offset(now: Stamp) -> i64 {
    now.wall_us.saturating_sub(i64::try_from(now.boot.as_micros()).unwrap_or(i64::MAX))
}

/// How long ago that was by the wall clock, as a boot time. Before this boot it is its beginning.
fn boot_time(of: Wall, now: Stamp) -> Duration {
    let age = u64::try_from(now.wall_us.saturating_sub(of.0)).unwrap_or_default();
    now.boot.saturating_sub(Duration::from_micros(age))
}

impl Saving {
    pub(super) fn new(now: Stamp) -> Self {
        let boot = clock::boot_id();
        Self {
            boot,
            next: None,
            latest: Duration::ZERO,
            waiting: None,
            anew_at: None,
            anew: false,
            tidy_at: now.boot,
            offset: offset(now),
            by_hand: false,
        }
    }

    pub(super) fn boot(&self) -> &str {
        &self.boot
    }

    /// Boot time at which [`Daemon::save_bans`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        [self.next, self.anew_at].into_iter().flatten().min()
    }

    /// What has changed of these targets.
    fn changes(&self, engine: &mut Engine, targets: Vec<IpNet>, now: Stamp) -> Changes {
        let mut changes = Changes { boot: self.boot.clone(), ..Changes::default() };
        for target in targets {
            match engine.ledger().find(target) {
                Some(standing) if !self.by_hand || standing.is_manual() => {
                    changes.bans.push(Ban::of(standing, now))
                }
                _ => changes.over.push(target),
            }
            // What was before this boot is known to the second on the disk alone.
            for validated in [false, true] {
                let repetition = engine.ledger().repetition(target, validated);
                changes.repetitions.extend(repetition.filter(|(_, last)| !last.is_zero()).map(
                    |(times, last)| {
                        let last = Wall(before(now, now.boot.saturating_sub(last)));
                        Repetition { target, validated, times, last }
                    },
                ));
            }
        }
        let wall = |last| Wall(before(now, now.boot.saturating_sub(last)));
        for KeptTouches { source, incident, ports } in engine.take_changed_touches() {
            let ports = ports.into_iter().map(|(port, last)| (port, wall(last))).collect();
            changes.touches.push(Touches { source, incident, ports });
        }
        changes
    }

    /// Forgets what is waiting of targets within `net`, which are not banned.
    pub(super) fn forget(&mut self, net: IpNet) {
        if let Some(waiting) = &mut self.waiting {
            waiting.bans.retain(|ban| !net.contains(&ban.target));
            waiting.repetitions.retain(|repetition| !net.contains(&repetition.target));
            waiting.touches.retain(|touches| !net.contains(&touches.source));
        }
    }

    /// All that has not been handed over.
    pub(super) fn rest(&mut self, engine: &mut Engine, now: Stamp) -> Vec<Changes> {
        let targets = engine.take_changed_bans(usize::MAX);
        self.waiting.take().into_iter().chain([self.changes(engine, targets, now)]).collect()
    }
}

impl Daemon {
    /// Takes back the bans that an earlier process saved, and has those put into the kernel that it has lost.
    pub(super) fn recall_bans(&mut self, kept: Kept) {
        let now = self.started;
        let Kept { bans, repetitions, touches, unreadable } = kept;
        if unreadable > 0 {
            warn!(
                "{unreadable} rows of bans and touched traps in the state database make no sense and are left out"
            );
        }
        let forget = self.loaded.config.ban.forget;
        let fresh = |repetition: &Repetition| {
            let age = u64::try_from(now.wall_us.saturating_sub(repetition.last.0)).unwrap_or_default();
            Duration::from_micros(age) < forget
        };
        let known = repetitions.into_iter().filter(fresh);
        self.engine
            .recall_repetitions(known.map(|it| (it.target, it.validated, it.times, boot_time(it.last, now))));
        let age = |last: Wall| {
            Duration::from_micros(u64::try_from(now.wall_us.saturating_sub(last.0)).unwrap_or_default())
        };
        let window = self.engine.trap_window();
        self.engine.recall_touches(touches.into_iter().map(|Touches { source, incident, ports }| {
            let counting = ports.into_iter().filter(|(_, last)| age(*last) < window);
            let ports = counting.map(|(port, last)| (port, boot_time(last, now))).collect();
            KeptTouches { source, incident, ports }
        }));
        let rebooted = bans.iter().any(|(_, same_boot)| !same_boot);
        let saved: HashSet<IpNet> = bans.iter().map(|(ban, _)| ban.target).collect();
        let standing: Vec<Standing> =
            bans.into_iter().filter_map(|(ban, same_boot)| ban.standing(now, same_boot)).collect();
        let known: Vec<_> = standing.iter().map(|ban| (ban.measure, ban.target)).collect();
        let held = self.backend.held().and_then(|mut held| {
            self.backend.complete(&mut held, &known)?;
            Ok(held)
        });
        let held = match held {
            Ok(held) => held,
            Err(error) => {
                warn!("cannot read the bans that an earlier run left: {error}");
                Vec::new()
            }
        };
        self.backend.disconnect_held(&held);
        let made: HashSet<_> = self.backend.made().iter().copied().collect();
        // What only remembers begins with nothing.
        let off = self.off.is_some();
        let lost = self.engine.recall_bans(
            standing,
            &held,
            |place| off || made.contains(&place),
            now,
            &mut self.actions,
        );
        if !lost.is_empty() {
            info!(
                "{} of earlier runs that the kernel has lost: put back",
                count(lost.len() as u64, "ban", "bans")
            );
        }
        self.put_back_lost(lost);
        if let Some(saving) = &mut self.saving {
            saving.by_hand = off;
            self.engine.track_bans(&saved);
            self.engine.track_touches(true);
            if rebooted {
                self.engine.mark_bans();
            }
        }
    }

    /// Hands over what has changed, if it is time to.
    pub(super) fn save_bans(&mut self, now: Stamp) {
        let (Some(saving), Some(memory)) = (&mut self.saving, &self.memory) else { return };
        if memory.is_incomplete() {
            saving.anew_at.get_or_insert(now.boot + ANEW);
        }
        let failed = saving.anew_at.take_if(|at| *at <= now.boot).is_some();
        saving.anew |= failed;
        let was_set = (offset(now) - saving.offset).abs() > APART_US;
        if was_set {
            saving.offset = offset(now);
            info!("the wall clock was set: the ends of all bans are saved again");
        }
        if failed || was_set {
            self.engine.mark_bans();
            self.engine.track_touches(true);
            saving.next = Some(now.boot);
        }
        if saving.next.is_none() && (has_changed(&self.engine) || saving.waiting.is_some()) {
            saving.next = Some(now.boot.max(saving.latest + GATHER));
        }
        if saving.next.is_none_or(|at| at > now.boot) {
            return;
        }
        let changes = match saving.waiting.take() {
            Some(waiting) => waiting,
            None => {
                let targets = self.engine.take_changed_bans(PART);
                let mut changes = saving.changes(&mut self.engine, targets, now);
                changes.anew = std::mem::take(&mut saving.anew);
                if saving.tidy_at <= now.boot {
                    saving.tidy_at = now.boot + TIDY;
                    changes.forgotten = Some(Wall(before(now, self.loaded.config.ban.forget)));
                    changes.untouched = Some(Wall(before(now, self.engine.trap_window())));
                }
                changes
            }
        };
        saving.waiting = memory.keep(changes, now).err().map(|changes| *changes);
        saving.latest = now.boot;
        saving.next = match saving.waiting {
            Some(_) => Some(now.boot + GATHER),
            None => has_changed(&self.engine).then_some(now.boot),
        };
    }

    /// After a reload: watching saves nothing.
    pub(super) fn save_as_configured(&mut self) {
        let saves = self.loaded.asked == Mode::Enforce && self.memory.is_some();
        if let Some(saving) = &mut self.saving {
            saving.by_hand = self.off.is_some();
        }
        if saves == self.saving.is_some() {
            return;
        }
        self.saving = saves.then(|| Saving::new(clock::now()));
        if saves {
            self.engine.track_bans(&HashSet::new());
            self.engine.mark_bans();
            self.engine.track_touches(true);
            if let Some(saving) = &mut self.saving {
                // What was saved before the time of watching is void.
                saving.anew_at = Some(Duration::ZERO);
            }
        } else {
            self.engine.untrack_bans();
            self.engine.track_touches(false);
        }
    }
}

/// Whether there is something to be saved.
fn has_changed(engine: &Engine) -> bool {
    engine.ledger().has_changed() || engine.has_changed_touches()
}

/// The wall time that long before now.
pub(super) fn before(now: Stamp, ago: Duration) -> i64 {
    now.wall_us.saturating_sub(i64::try_from(ago.as_micros()).unwrap_or(i64::MAX))
}
