//! Where decisions go: into the kernel, or nowhere.

use std::io;
use std::ops::RangeInclusive;

use ipnet::IpNet;
use tracing::warn;

use super::StartError;
use crate::config::{Config, Conntrack, Family, Mode};
use crate::decide::Place;
use crate::enforce::{
    Change, DryRun, Enforcer, Half, Held, InstallError, Kernel, Noticed, Outcome, Redirected, Settings, Watch,
};
use crate::host::HostFacts;
use crate::setup;

/// The enforcer in use.
pub(super) enum Backend {
    /// The table in the kernel.
    Kernel(Box<Kernel>, Vec<(u8, RangeInclusive<u16>)>, Vec<IpNet>),
    /// Watching: what would be done is remembered, and nothing is done.
    DryRun(Box<DryRun>),
}

impl Backend {
    /// Sets up what the configuration asks for.
    pub(super) fn open(config: &Config, host: &HostFacts) -> Result<Self, StartError> {
        if config.mode == Mode::Watch {
            return Ok(Self::DryRun(Box::default()));
        }
        let table = &config.nftables.table;
        if table.family != Family::Inet || config.nftables.sets.is_some() {
            return Err(StartError::needs(
                format!("use table {table}"),
                "sets of the administrator cannot be filled yet: leave `nftables.table` to `inet NAME` and `nftables.sets` out",
            ));
        }
        let settings = Settings {
            table: table.name.clone(),
            services: setup::services(config),
            protected: setup::protected(config, host),
            conntrack: config.nftables.conntrack != Conntrack::Never,
            trap: setup::trap(config),
            // The kernel counts an expired element until it collects it, some seconds later, and a full set is a refusal.
            size: config.ban.max.saturating_add(config.ban.max / 8).saturating_add(1024),
        };
        let kernel =
            Kernel::install(&settings).map_err(|error| refused(&config.nftables.table.to_string(), error))?;
        Ok(Self::Kernel(Box::new(kernel), settings.services, settings.protected))
    }

    /// Brings published services and protected addresses in the kernel up to date.
    pub(super) fn reconfigure(&mut self, config: &Config, host: &HostFacts) -> io::Result<()> {
        let (services, protected) = (setup::services(config), setup::protected(config, host));
        match self {
            Self::Kernel(kernel, now_published, now_protected) => {
                if *now_protected != protected {
                    kernel.protect(&protected)?;
                    *now_protected = protected;
                }
                if *now_published != services {
                    kernel.publish(&services)?;
                    *now_published = services;
                }
                let trap = setup::trap(config);
                if kernel.trap() != trap.as_ref() {
                    kernel.set_trap(trap).map_err(io::Error::other)?;
                }
                Ok(())
            }
            Self::DryRun(dry_run) => dry_run.protect(&protected),
        }
    }

    /// Makes the changes.
    pub(super) fn apply(&mut self, changes: &[Change]) -> Vec<Outcome> {
        self.enforcer().apply(changes)
    }

    /// What is held now.
    pub(super) fn held(&mut self) -> io::Result<Vec<Held>> {
        self.enforcer().held()
    }

    /// Puts back a half of what the kernel has lost.
    pub(super) fn restore(&mut self, changes: &[Change], half: Half) -> Vec<Outcome> {
        match self {
            Self::Kernel(kernel, ..) => kernel.restore(changes, half),
            Self::DryRun(_) => self.apply(changes),
        }
    }

    /// Sets up again what is missing of the table, or all of it if its rules or lists are `altered`. Tells whether it did.
    pub(super) fn mend(&mut self, altered: bool) -> io::Result<bool> {
        match self {
            Self::Kernel(kernel, ..) => kernel.mend(altered).map_err(io::Error::other),
            Self::DryRun(_) => Ok(false),
        }
    }

    /// What is held now in the sets that `wanted` says.
    pub(super) fn held_in(&mut self, wanted: impl Fn(Place) -> bool) -> io::Result<Vec<Held>> {
        match self {
            Self::Kernel(kernel, ..) => kernel.held_in(wanted),
            Self::DryRun(_) => self.held(),
        }
    }

    /// Where no set was found at the start.
    pub(super) fn made(&self) -> &[Place] {
        match self {
            Self::Kernel(kernel, ..) => kernel.made(),
            Self::DryRun(_) => &[],
        }
    }

    /// Hears of what others do to the table; none where there is no table.
    pub(super) fn watch(&self) -> io::Result<Option<Watch>> {
        match self {
            Self::Kernel(kernel, ..) => kernel.watch().map(Some),
            Self::DryRun(_) => Ok(None),
        }
    }

    /// What others have done to the table.
    pub(super) fn notice(&self, watch: &mut Watch) -> Noticed {
        match self {
            Self::Kernel(kernel, ..) => kernel.notice(watch),
            Self::DryRun(_) => Noticed::default(),
        }
    }

    fn enforcer(&mut self) -> &mut dyn Enforcer {
        match self {
            Self::Kernel(kernel, ..) => &mut **kernel,
            Self::DryRun(dry_run) => {
                dry_run.advance(super::clock::now().boot);
                &mut **dry_run
            }
        }
    }

    /// What was redirected to the listener of traps; `None` where nothing is.
    pub(super) fn redirected(&mut self) -> Option<Redirected> {
        match self {
            Self::Kernel(kernel, ..) if kernel.trap().is_some() => kernel.redirected().ok(),
            _ => None,
        }
    }

    /// How often the table had to be installed again.
    pub(super) fn reinstalled(&self) -> u64 {
        match self {
            Self::Kernel(kernel, ..) => kernel.reinstalled(),
            Self::DryRun(_) => 0,
        }
    }

    /// Leaves the place to another enforcer. Where nothing is to be enforced any more, nothing stays in the kernel.
    pub(super) fn retire(self, new: Mode) {
        if let (Self::Kernel(mut kernel, ..), Mode::Watch) = (self, new)
            && let Err(error) = kernel.remove()
        {
            warn!("cannot remove the table: {error}");
        }
    }
}

fn refused(table: &str, error: InstallError) -> StartError {
    let what = format!("set up table {table}");
    let errno = match &error {
        InstallError::Ask(error) | InstallError::Refused { error, .. } => error.raw_os_error(),
        InstallError::Incompatible { .. } => None,
    };
    match errno {
        Some(libc::EPERM | libc::EACCES) => StartError::NoPermission {
            what: format!("{what} (it takes root or CAP_NET_ADMIN)"),
            source: error.into(),
        },
        _ => StartError::needs(what, error),
    }
}
