//! Where decisions go: into the kernel, or nowhere.

use std::io;
use std::ops::RangeInclusive;

use ipnet::IpNet;
use tracing::{info, warn};

use super::StartError;
use crate::config::{Config, Conntrack};
use crate::decide::Mode;
use crate::decide::{Measure, Place};
use crate::enforce::conntrack::Disconnector;
use crate::enforce::{
    Change, Dropped, DryRun, Enforcer, Given, Half, Held, InstallError, Kernel, Lister, Noticed, Outcome,
    Redirected, Settings, Watch,
};
use crate::host::HostFacts;
use crate::setup;

/// The enforcer in use.
pub(super) enum Backend {
    /// The table in the kernel.
    Kernel(Box<InKernel>),
    /// Watching: what would be done is made up to its transaction and remembered, and nothing is done. Without the kernel's
    /// side where that cannot be asked, or would refuse.
    DryRun(Box<DryRun>, Option<Box<Kernel>>),
}

/// What is done in the kernel.
pub(super) struct InKernel {
    kernel: Kernel,
    /// As the kernel has them.
    published: Vec<(u8, RangeInclusive<u16>)>,
    protected: Vec<IpNet>,
    /// None where conntrack must stay off.
    disconnector: Option<Disconnector>,
}

impl Backend {
    /// Sets up what the configuration asks for.
    pub(super) fn open(config: &Config, host: &HostFacts) -> Result<Self, StartError> {
        let table = &config.nftables.table;
        let settings = settings(config, host);
        let given = given(config);
        if config.mode == Mode::Watch {
            let kernel = match &given {
                Some(given) => Kernel::rehearse_given(given),
                None => Kernel::rehearse(&settings),
            };
            let kernel =
                kernel.inspect_err(|error| warn!("watching only; it could not be enforced: {error}"));
            return Ok(Self::DryRun(Box::default(), kernel.ok().map(Box::new)));
        }
        let kernel = match given {
            Some(given) => Kernel::fill(&given),
            None => Kernel::install(&settings),
        };
        let kernel = kernel.map_err(|error| refused("set up", &table.to_string(), error))?;
        let disconnector = settings.conntrack.then(disconnector).transpose()?;
        let Settings { services: published, protected, .. } = settings;
        Ok(Self::Kernel(Box::new(InKernel { kernel, published, protected, disconnector })))
    }

    /// Does what another configuration of the same table asks for. When this fails, all is as it was.
    pub(super) fn replace(&mut self, config: &Config, host: &HostFacts) -> Result<(), StartError> {
        match self {
            // Over the same socket, as nobody else may change a table that has an owner.
            Self::Kernel(this) if config.mode == Mode::Enforce && given(config).is_none() => {
                let settings = settings(config, host);
                let started = match &this.disconnector {
                    None if settings.conntrack => Some(disconnector()?),
                    _ => None,
                };
                let table = config.nftables.table.to_string();
                this.kernel.set_up_as(settings.clone()).map_err(|error| refused("set up", &table, error))?;
                let kept = this.disconnector.take().filter(|_| settings.conntrack);
                this.disconnector = started.or(kept);
                (this.published, this.protected) = (settings.services, settings.protected);
            }
            _ => {
                let new = Self::open(config, host)?;
                std::mem::replace(self, new).retire(config.mode);
            }
        }
        Ok(())
    }

    /// Whether nobody else can change the table.
    pub(super) fn is_owner(&self) -> bool {
        matches!(self, Self::Kernel(this) if this.kernel.is_owner())
    }

    /// Brings published services and protected addresses in the kernel up to date.
    pub(super) fn reconfigure(&mut self, config: &Config, host: &HostFacts) -> io::Result<()> {
        let (services, protected) = (setup::services(config), setup::protected(config, host));
        match self {
            Self::Kernel(this) => {
                if this.protected != protected {
                    this.kernel.protect(&protected)?;
                    this.protected = protected;
                }
                if this.published != services {
                    this.kernel.publish(&services)?;
                    this.published = services;
                }
                let trap = setup::trap(config);
                if this.kernel.trap() != trap.as_ref() {
                    this.kernel.set_trap(trap).map_err(io::Error::other)?;
                }
                Ok(())
            }
            Self::DryRun(dry_run, _) => dry_run.protect(&protected),
        }
    }

    /// Makes the changes, and has the connections of those that are banned now ended.
    pub(super) fn apply(&mut self, changes: &[Change]) -> Vec<Outcome> {
        if let Self::DryRun(_, Some(kernel)) = self {
            let outcomes = kernel.apply(changes);
            let possible = changes.iter().zip(&outcomes).filter(|(_, outcome)| **outcome == Outcome::Done);
            let possible: Vec<Change> = possible.map(|(change, _)| change.clone()).collect();
            for change in &possible {
                info!("watching only; not done: {}", kernel.in_words(change));
            }
            // What is only remembered is never refused.
            let _ = self.enforcer().apply(&possible);
            return outcomes;
        }
        let outcomes = self.enforcer().apply(changes);
        self.disconnect_done(changes, &outcomes);
        outcomes
    }

    /// Has the connections of those ended that are banned now, or again: while a ban was missing they could open some.
    fn disconnect_done(&self, changes: &[Change], outcomes: &[Outcome]) {
        self.disconnect(changes.iter().zip(outcomes).filter_map(|(change, outcome)| {
            match (change, outcome) {
                (Change::Put { measure: Measure::Ban, target, .. }, Outcome::Done) => Some(*target),
                _ => None,
            }
        }));
    }

    /// Has the connections of bans that an earlier run left ended: it may have had no time for that.
    pub(super) fn disconnect_held(&self, held: &[Held]) {
        self.disconnect(held.iter().filter(|held| held.measure == Measure::Ban).map(|held| held.target));
    }

    fn disconnect(&self, banned: impl Iterator<Item = IpNet>) {
        if let Self::Kernel(this) = self
            && let Some(disconnector) = &this.disconnector
        {
            disconnector.disconnect(banned);
        }
    }

    /// How many connections of banned sources were ended.
    pub(super) fn disconnected(&self) -> u64 {
        match self {
            Self::Kernel(this) => this.disconnector.as_ref().map(Disconnector::done).unwrap_or_default(),
            Self::DryRun(..) => 0,
        }
    }

    /// What is held now.
    pub(super) fn held(&mut self) -> io::Result<Vec<Held>> {
        self.enforcer().held()
    }

    /// What is held now of these bans, and maybe more.
    pub(super) fn held_of(&mut self, bans: &[(Measure, IpNet)]) -> io::Result<Vec<Held>> {
        match self {
            Self::Kernel(this) => this.kernel.held_of(bans),
            Self::DryRun(..) => self.held(),
        }
    }

    /// Who can list on another thread what is held; none where it is only remembered.
    pub(super) fn lister(&self) -> Option<Lister> {
        match self {
            Self::Kernel(this) => Some(this.kernel.lister()),
            Self::DryRun(..) => None,
        }
    }

    /// Adds to what was `held` what is there of the `known` bans although the listing lacks it.
    pub(super) fn complete(&mut self, held: &mut Vec<Held>, known: &[(Measure, IpNet)]) -> io::Result<()> {
        match self {
            Self::Kernel(this) => this.kernel.complete(held, known),
            Self::DryRun(..) => Ok(()),
        }
    }

    /// Puts back a half of what the kernel has lost.
    pub(super) fn restore(&mut self, changes: &[Change], half: Half) -> Vec<Outcome> {
        let Self::Kernel(this) = self else { return self.apply(changes) };
        let outcomes = this.kernel.restore(changes, half);
        if half == Half::Drops {
            self.disconnect_done(changes, &outcomes);
        }
        outcomes
    }

    /// Sets up again what is missing of the table, or all of it if its rules or lists are `altered`. Tells whether it did.
    pub(super) fn mend(&mut self, altered: bool) -> io::Result<bool> {
        match self {
            Self::Kernel(this) => this.kernel.mend(altered).map_err(io::Error::other),
            Self::DryRun(..) => Ok(false),
        }
    }

    /// What is held now in the sets that `wanted` says.
    pub(super) fn held_in(&mut self, wanted: impl Fn(Place) -> bool) -> io::Result<Vec<Held>> {
        match self {
            Self::Kernel(this) => this.kernel.held_in(wanted),
            Self::DryRun(..) => self.held(),
        }
    }

    /// Where no set was found at the start, or an administrator's that held nothing of ours.
    pub(super) fn made(&self) -> &[Place] {
        match self {
            Self::Kernel(this) => this.kernel.made(),
            Self::DryRun(..) => &[],
        }
    }

    /// Hears of what others do to the table; none where nothing is enforced.
    pub(super) fn watch(&self) -> io::Result<Option<Watch>> {
        match self {
            Self::Kernel(this) => this.kernel.watch().map(Some),
            Self::DryRun(..) => Ok(None),
        }
    }

    /// What others have done to the table: `all` of it, or a part.
    pub(super) fn notice(&self, watch: &mut Watch, all: bool) -> Noticed {
        match self {
            Self::Kernel(this) => this.kernel.notice(watch, all),
            Self::DryRun(..) => Noticed::default(),
        }
    }

    /// Has `watch` hear nothing for a while.
    pub(super) fn ignore(&mut self, watch: &mut Watch) {
        if let Self::Kernel(this) = self {
            // It only costs time to hear all.
            let _ = this.kernel.ignore(watch);
        }
    }

    /// Has `watch` hear again, if others did something meanwhile or in any case. Tells whether it missed something.
    pub(super) fn heed(&mut self, watch: &mut Watch, in_any_case: bool) -> bool {
        let Self::Kernel(this) = self else { return false };
        (in_any_case || this.kernel.is_disturbed(watch)) && !this.kernel.heed(watch)
    }

    fn enforcer(&mut self) -> &mut dyn Enforcer {
        match self {
            Self::Kernel(this) => &mut this.kernel,
            Self::DryRun(dry_run, _) => {
                dry_run.advance(super::clock::now().boot);
                &mut **dry_run
            }
        }
    }

    /// What was redirected to the listener of traps; `None` where nothing is.
    pub(super) fn redirected(&mut self) -> Option<Redirected> {
        match self {
            Self::Kernel(this) if this.kernel.trap().is_some() => this.kernel.redirected().ok(),
            _ => None,
        }
    }

    /// What was dropped, by set; nothing where no table is ours, or the kernel does not tell.
    pub(super) fn dropped(&mut self) -> Vec<Dropped> {
        match self {
            Self::Kernel(this) => this.kernel.dropped().unwrap_or_default(),
            Self::DryRun(..) => Vec::new(),
        }
    }

    /// How often the table had to be installed again.
    pub(super) fn reinstalled(&self) -> u64 {
        match self {
            Self::Kernel(this) => this.kernel.reinstalled(),
            Self::DryRun(..) => 0,
        }
    }

    /// Takes everything out of the kernel. In a dry run nothing is there.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Kernel(this) => this.kernel.remove(),
            Self::DryRun(..) => Ok(()),
        }
    }

    /// Leaves the place to another enforcer. Where nothing is to be enforced any more, nothing stays in the kernel.
    fn retire(self, new: Mode) {
        if let (mut this @ Self::Kernel(_), Mode::Watch) = (self, new)
            && let Err(error) = this.flush()
        {
            warn!("cannot remove the table: {error}");
        }
    }
}

fn settings(config: &Config, host: &HostFacts) -> Settings {
    Settings {
        table: config.nftables.table.name.clone(),
        services: setup::services(config),
        protected: setup::protected(config, host),
        conntrack: config.nftables.conntrack != Conntrack::Never,
        trap: setup::trap(config),
        owner: config.nftables.owner,
        // The kernel counts an expired element until it collects it, some seconds later, and a full set is a refusal.
        size: config.ban.max.saturating_add(config.ban.max / 8).saturating_add(1024),
    }
}

fn disconnector() -> Result<Disconnector, StartError> {
    Disconnector::start().map_err(|error| StartError::needs("start the thread of conntrack", error))
}

/// Takes everything that a configuration has put into the kernel out of it, whichever daemon did it.
pub(super) fn flush(config: &Config) -> Result<(), StartError> {
    let table = &config.nftables.table;
    let kernel = match given(config) {
        Some(given) => Kernel::open_given(&given),
        None => Kernel::open(&Settings {
            table: table.name.clone(),
            services: Vec::new(),
            protected: Vec::new(),
            conntrack: true,
            trap: None,
            owner: false,
            size: 0,
        }),
    };
    let removed = kernel.and_then(|mut kernel| kernel.remove());
    removed.map_err(|error| refused("empty", &table.to_string(), error.into()))
}

/// The administrator's sets, where those are to be filled.
fn given(config: &Config) -> Option<Given> {
    let names = config.nftables.sets.clone()?;
    Some(Given { table: config.nftables.table.clone(), names })
}

fn refused(doing: &str, table: &str, error: InstallError) -> StartError {
    let what = format!("{doing} table {table}");
    let errno = match &error {
        InstallError::Ask(error) | InstallError::Refused { error, .. } => error.raw_os_error(),
        InstallError::Incompatible { .. } | InstallError::Owned { .. } | InstallError::Unfit { .. } => None,
    };
    match errno {
        Some(libc::EPERM | libc::EACCES) => StartError::NoPermission {
            what: format!("{what} (it takes root or CAP_NET_ADMIN)"),
            source: error.into(),
        },
        _ => StartError::needs(what, error),
    }
}
