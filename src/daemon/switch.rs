//! `nfban off` and `nfban on`: enforcement at once stopped, and begun again.
//!
//! Off is a file in the state directory, not a setting: it holds over restarts and reboots whatever the configuration
//! says, and can be made while the daemon does not run. Everything else goes on, as with `mode: watch`. Only bans by hand
//! outlive it: a person made them and no one took them back. All others are over, as what they rest on may be why nfban
//! was switched off; whoever goes on is banned at his next offence, for as long as his repetition calls for.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use tracing::{info, warn};

use super::loaded::{Loaded, as_instance};
use super::{Daemon, Options, StartError, backend, clock, memory};
use crate::config::{Config, Problems};
use crate::control::protocol::{Off, Refusal, Reply};
use crate::decide::Mode;
use crate::report::text::count;
use crate::store::bans::Kept;
use crate::time::Wall;

/// While it is there, nothing is enforced.
const OFF: &str = "off";

/// Off became on while no daemon ran: the next one lets go of what was banned before.
const ON: &str = "on";

/// Where the two files are.
#[derive(Debug)]
pub(super) struct Switch {
    directory: PathBuf,
}

impl Switch {
    pub(super) fn of(options: &Options) -> Self {
        Self { directory: memory::directory(options, std::env::var_os("STATE_DIRECTORY")) }
    }

    /// Who switched off, and when; none where it is on. What cannot be read is taken for off: somebody made the file.
    fn off(&self) -> io::Result<Option<Off>> {
        let path = self.directory.join(OFF);
        match read(&path) {
            Ok(octets) => {
                let now = Wall::from(clock::now());
                Ok(Some(serde_json::from_slice(&octets).unwrap_or(Off { since: now, by: 0 })))
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Remembers that it is off. The file is synced later, by [`sync`]: a disk must not delay what follows.
    fn set(&self, off: &Off) -> io::Result<File> {
        match fs::DirBuilder::new().mode(0o750).create(&self.directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let unready = self.directory.join("off.new");
        remove(&unready)?;
        // Root writes here while the directory is the daemon's: never through a link that somebody left.
        let mut file = File::options().write(true).create_new(true).mode(0o644).open(&unready)?;
        file.write_all(&serde_json::to_vec(off)?)?;
        fs::rename(&unready, self.directory.join(OFF))?;
        remove(&self.directory.join(ON))?;
        Ok(file)
    }

    /// Forgets that it was off. Where no daemon has seen to the bans yet, the next one is to.
    fn clear(&self, settled: bool) -> io::Result<()> {
        if settled {
            remove(&self.directory.join(OFF))?;
        } else {
            fs::rename(self.directory.join(OFF), self.directory.join(ON))?;
        }
        File::open(&self.directory)?.sync_all()
    }
}

/// The beginning of a file, which is all of one that we made. Root reads this while the directory is the daemon's: a link, a
/// pipe or a file without end that somebody left there must not hold him up.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    let found = fs::symlink_metadata(path)?;
    if found.is_file() {
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = File::options().read(true).custom_flags(flags).open(path)?;
        file.take(4096).read_to_end(&mut octets)?;
    }
    Ok(octets)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A power loss does not switch it on again.
fn sync(file: &File, directory: &Path) -> io::Result<()> {
    file.sync_all()?;
    File::open(directory)?.sync_all()
}

impl Loaded {
    /// The same, switched off or on.
    pub(super) fn switched(mut self, off: bool) -> Self {
        self.config.mode = if off { Mode::Watch } else { self.asked };
        self
    }
}

/// What the start makes of the switch: the configuration as it is in force, and who switched off. Empties the kernel of
/// what was left there meanwhile, and tells what people must hear.
pub(super) fn begin(options: &Options, loaded: Loaded) -> (Loaded, Option<Off>, Vec<String>) {
    if options.dry_run {
        return (loaded, None, Vec::new());
    }
    let switch = Switch::of(options);
    let off = switch.off().unwrap_or_else(|error| {
        warn!(
            "cannot see whether nfban is switched off, so it is not: {}: {error}",
            switch.directory.display()
        );
        None
    });
    let mut alarms = Vec::new();
    if off.is_some()
        && loaded.asked == Mode::Enforce
        && let Err(error) = backend::flush(&loaded.config)
    {
        alarms.push(format!("nfban is off, and what an earlier run left in the kernel stays there: {error}"));
    }
    let loaded = loaded.switched(off.is_some());
    (loaded, off, alarms)
}

/// What is left of the bans of earlier runs: after an off those by hand, until they were let go.
pub(super) fn spare(options: &Options, off: bool, mut kept: Kept) -> Kept {
    let on = Switch::of(options).directory.join(ON);
    if off || (!options.dry_run && on.exists()) {
        kept.bans.retain(|(ban, _)| ban.is_manual());
    }
    if !off
        && !options.dry_run
        && let Err(error) = remove(&on)
    {
        warn!("the next start lifts all bans but those by hand: {}: {error}", on.display());
    }
    kept
}

impl Daemon {
    /// Switches enforcement off, for the user `by`.
    pub(super) fn switch_off(&mut self, by: u32) -> Reply {
        if self.options.dry_run {
            return Reply::refused(
                Refusal::No,
                "this daemon runs with --dry-run: it enforces nothing anyway",
            );
        }
        if let Some(off) = self.off {
            let waiting = self.engine.ledger().len() as u64;
            return Reply::Off { off, lifted: 0, waiting, was_off: true, forgotten: None };
        }
        let off = Off { since: Wall::from(clock::now()), by };
        let switch = Switch::of(&self.options);
        // Before the kernel: a crash in between leaves the next start to empty it.
        let written = switch.set(&off);
        self.drops.read(&mut self.backend);
        if let Err(error) = self.backend.flush() {
            let _ = switch.clear(true);
            let why = format!("the kernel does not let go of the table: {error}; try `nft delete table`");
            return Reply::refused(Refusal::Busy, why);
        }
        let before = self.engine.ledger().len();
        self.engine.end_decided(clock::now(), &mut self.actions);
        // While it still enforces: whoever is told of bans is told of their ends.
        self.carry_out();
        let waiting = self.engine.ledger().len();
        let (lifted, waiting) = ((before - waiting) as u64, waiting as u64);
        self.off = Some(off);
        let taken = self.take(self.loaded.clone().switched(true));
        let forgotten = written.and_then(|file| sync(&file, &switch.directory)).err();
        let forgotten = forgotten.map(|error| format!("{}: {error}", switch.directory.display()));
        warn!(
            "switched off by user {by}: nothing is enforced until `nfban on`; {} lifted, {waiting} by hand kept for then",
            count(lifted, "ban", "bans")
        );
        match taken {
            Ok(()) => Reply::Off { off, lifted, waiting, was_off: false, forgotten },
            Err(why) => Reply::refused(Refusal::Busy, format!("nothing is dropped any more, but: {why}")),
        }
    }

    /// Enforces again what the configuration asks for.
    pub(super) fn switch_on(&mut self, by: u32) -> Reply {
        let mode = self.loaded.asked;
        let Some(off) = self.off else { return Reply::On { mode, bans: 0, was_off: false } };
        if let Err(error) = Switch::of(&self.options).clear(true) {
            return Reply::refused(Refusal::No, format!("the switch cannot be set: {error}"));
        }
        // What was decided meanwhile was never enforced.
        self.engine.end_decided(clock::now(), &mut self.actions);
        self.off = None;
        if let Err(why) = self.take(self.loaded.clone().switched(false)) {
            self.off = Some(off);
            let again = Switch::of(&self.options).set(&off);
            let again = again.err().map(|error| format!(", and a restart tries again: {error}"));
            return Reply::refused(
                Refusal::Busy,
                format!("{why}; it stays off{}", again.unwrap_or_default()),
            );
        }
        let bans = self.engine.ledger().len() as u64;
        info!("switched on by user {by}: {} by hand stand again", count(bans, "ban", "bans"));
        Reply::On { mode, bans, was_off: true }
    }
}

/// Where the daemon of these options answers. A configuration that cannot be read does not say: then where it usually does.
#[must_use]
pub fn socket(options: &Options) -> PathBuf {
    Loaded::read(options).map_or_else(|_| usual(options), |loaded| loaded.config).control.socket
}

/// What is in force where the configuration cannot be read.
fn usual(options: &Options) -> Config {
    let mut config = Config::default();
    as_instance(&mut config, options);
    config
}

/// Switches off while no daemon runs: the next one will enforce nothing.
///
/// # Errors
/// No permission to write the state, mostly.
pub fn off(options: &Options, by: u32) -> Result<(), StartError> {
    let switch = Switch::of(options);
    let off = Off { since: Wall::from(clock::now()), by };
    let written = switch.set(&off).and_then(|file| sync(&file, &switch.directory));
    written.map_err(|error| failed(&switch.directory, error))
}

/// Takes out of the kernel what a daemon has left there. A configuration that cannot be read does not say where: then
/// it is the usual table of this instance.
///
/// # Errors
/// The kernel's.
pub fn empty(options: &Options) -> Result<Option<Problems>, StartError> {
    let (config, problems) = match Loaded::read(options) {
        Ok(loaded) => (loaded.config, None),
        Err(problems) => (usual(options), Some(problems)),
    };
    backend::flush(&config).map(|()| problems)
}

/// Switches on while no daemon runs: the next one enforces. Tells whether it was off.
///
/// # Errors
/// No permission to write the state, mostly.
pub fn on(options: &Options) -> Result<bool, StartError> {
    let switch = Switch::of(options);
    let failed = |error| failed(&switch.directory, error);
    if switch.off().map_err(failed)?.is_none() {
        return Ok(false);
    }
    switch.clear(false).map_err(failed)?;
    Ok(true)
}

fn failed(directory: &Path, error: io::Error) -> StartError {
    let what = format!("set the switch in {}", directory.display());
    match error.kind() {
        io::ErrorKind::PermissionDenied => StartError::NoPermission { what, source: error.into() },
        _ => StartError::needs(what, error),
    }
}
