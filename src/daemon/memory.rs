//! What outlives this process: opened at the start, handed to the store's thread every few minutes and at the end.
//!
//! The daemon runs without, too: whatever goes wrong here is told with its remedy, and packets are taken in.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use tracing::{info, warn};

use super::Options;
use crate::detect::memory::{self, Progress};
use crate::engine::Engine;
use crate::store::bans::{Changes, Kept};
use crate::store::history::Happened;
use crate::store::keeper::{self, Keeper};
use crate::store::{self, Opened, Store, StoreError};
use crate::time::Stamp;

/// A process that is killed forgets at most this much of what it saw. A slow scan sends a handful of packets in that time.
const EVERY: Duration = Duration::from_secs(300);

/// How soon a snapshot is tried again that found two others waiting: bans and incidents are often written in that moment.
const AGAIN: Duration = Duration::from_secs(5);

/// How long the end waits for the disk; the service manager waits for 90 s.
const AT_MOST: Duration = Duration::from_secs(20);

/// The store's thread, and when it is to be given the next snapshot.
#[derive(Debug)]
pub(super) struct Memory {
    keeper: Keeper,
    save_at: Duration,
    /// Whether there was no room for the latest snapshot.
    refused: bool,
    /// How far the next snapshot is, and what is in it so far.
    snapshot: Option<(Progress, Vec<memory::Memory>)>,
}

/// Where the state is kept: the service manager's state directory, or one of this instance.
pub(super) fn directory(options: &Options, of_service: Option<std::ffi::OsString>) -> PathBuf {
    // The manager may name several, with colons between (systemd.exec(5)).
    let first = of_service.and_then(|all| all.to_str()?.split(':').next().map(PathBuf::from));
    let instance = options.instance.as_ref();
    first.filter(|path| path.is_absolute()).unwrap_or_else(|| match instance {
        Some(instance) => instance.state(),
        None => PathBuf::from("/var/lib/nfban"),
    })
}

/// The state database.
pub(super) fn file(options: &Options) -> PathBuf {
    directory(options, std::env::var_os("STATE_DIRECTORY")).join(store::FILE)
}

impl Memory {
    /// Opens the state database and gives `engine` back what an earlier process counted; none where that cannot be, and
    /// none in a dry run, which neither reads nor writes it: another daemon may run beside it, and it is that one's.
    /// Tells what people must hear.
    /// The bans are those of the boot `boot`, and of earlier ones.
    pub(super) fn open(
        options: &Options,
        engine: &mut Engine,
        boot: &str,
        now: Stamp,
    ) -> (Option<Self>, Kept, Vec<String>) {
        if options.dry_run {
            return (None, Kept::default(), Vec::new());
        }
        let directory = directory(options, std::env::var_os("STATE_DIRECTORY"));
        let Opened { store, mut alarms } = match Store::open(&directory.join(store::FILE), now.into()) {
            Ok(opened) => opened,
            Err(error) => {
                let directory = directory.display();
                let remedy = match &error {
                    StoreError::Taken => String::new(),
                    _ => format!(
                        "; for it to be kept, make {directory} a directory of the user that nfban runs as \
                         (StateDirectory=nfban in the unit) and restart nfban"
                    ),
                };
                warn!(
                    "cannot open the state database in {directory}: {error}. A restart will forget what is counted of \
                     slow scans and repetitions, and a reboot the bans{remedy}"
                );
                return (None, Kept::default(), Vec::new());
            }
        };
        let kept = store.kept(boot).unwrap_or_else(|error| {
            alarms.push(format!(
                "cannot read the bans of earlier runs from {}: {error}; those that the kernel holds go on",
                directory.join(store::FILE).display()
            ));
            Kept::default()
        });
        recall(&store, &directory, engine, now, &mut alarms);
        match Keeper::start(store) {
            Ok(keeper) => (
                Some(Self { keeper, save_at: now.boot + EVERY, refused: false, snapshot: None }),
                kept,
                alarms,
            ),
            Err(error) => {
                warn!("cannot start the thread of the state database, so it stays as it is: {error}");
                (None, kept, alarms)
            }
        }
    }

    /// Boot time at which [`Self::go_on`] has something to do.
    pub(super) const fn next_deadline(&self) -> Duration {
        if self.snapshot.is_some() { Duration::ZERO } else { self.save_at }
    }

    /// What people must hear since the last time.
    pub(super) fn alarms(&self) -> impl Iterator<Item = String> {
        self.keeper.alarms()
    }

    /// Has what counts from now on written soon: a snapshot that was begun is begun anew.
    pub(super) fn save(&mut self) {
        self.snapshot = Some(Default::default());
    }

    /// Takes the next part of a snapshot, if one is due or begun, and has it written when it is whole: packets that came
    /// meanwhile are read between two parts.
    pub(super) fn go_on(&mut self, engine: &Engine, now: Stamp) {
        if self.save_at <= now.boot {
            self.snapshot.get_or_insert_default();
        }
        let Some((progress, memories)) = &mut self.snapshot else { return };
        if let Some(next) = engine.remember_part(*progress, now, memories) {
            *progress = next;
            return;
        }
        let (_, memories) = self.snapshot.take().unwrap_or_default();
        let refused = !self.keeper.save(memories, now);
        let twice = refused && self.refused;
        if twice {
            warn!("the disk is slow: the state database is still being written");
        }
        self.save_at = now.boot + if refused && !twice { AGAIN } else { EVERY };
        self.refused = refused;
    }

    /// Hands over what has changed of the bans; gives it back where there is no room.
    pub(super) fn keep(&self, changes: Changes, now: Stamp) -> Result<(), Box<Changes>> {
        self.keeper.keep(changes, now)
    }

    /// Hands over what happened; gives it back where there is no room.
    pub(super) fn add(&self, happened: Happened, now: Stamp) -> Result<(), Happened> {
        self.keeper.add(happened, now)
    }

    /// Has what is known of sources within `net` forgotten, with `copies` of the database too, and has it `told`; gives that
    /// back where there is no room.
    pub(super) fn forget(
        &mut self,
        net: IpNet,
        copies: bool,
        told: keeper::Told,
    ) -> Result<(), keeper::Told> {
        // A snapshot that was begun may hold what is forgotten.
        if self.snapshot.is_some() {
            self.save();
        }
        self.keeper.forget(net, copies, told)
    }

    /// Whether bans that were handed over are not saved.
    pub(super) fn is_incomplete(&self) -> bool {
        self.keeper.is_incomplete()
    }

    /// Writes what counts at the end, the last changes of bans and what happened last.
    pub(super) fn finish(self, engine: &Engine, bans: Vec<Changes>, happened: Vec<Happened>, now: Stamp) {
        for alarm in self.keeper.finish(bans, happened, engine.remember(now), now, AT_MOST) {
            warn!("{alarm}");
        }
    }
}

fn recall(store: &Store, directory: &Path, engine: &mut Engine, now: Stamp, alarms: &mut Vec<String>) {
    let recalled = match store.load() {
        Ok(recalled) => recalled,
        Err(error) => {
            alarms.push(format!(
                "cannot read what earlier runs counted of slow scans from {}: {error}",
                directory.join(store::FILE).display()
            ));
            return;
        }
    };
    if recalled.unreadable > 0 {
        warn!("{} rows of the state database make no sense and are left out", recalled.unreadable);
    }
    if !recalled.memories.is_empty() {
        info!("recalled {} packets that count for rules with long windows", recalled.memories.len());
    }
    engine.recall(recalled.memories, now);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_lies_where_the_service_manager_says_or_in_a_place_of_the_instance() {
        let options = |instance: Option<&str>| Options {
            config: PathBuf::new(),
            dry_run: false,
            flush: false,
            instance: instance.map(|name| name.parse().unwrap()),
            log_format: None,
        };
        let of =
            |instance, of_service: Option<&str>| directory(&options(instance), of_service.map(Into::into));
        assert_eq!(of(None, None), Path::new("/var/lib/nfban"));
        assert_eq!(of(Some("dmz"), None), Path::new("/var/lib/nfban-dmz"));
        assert_eq!(of(Some("dmz"), Some("/var/lib/x:/var/lib/y")), Path::new("/var/lib/x"));
        for nothing in ["", "here"] {
            assert_eq!(of(None, Some(nothing)), Path::new("/var/lib/nfban"));
        }
    }
}
