//! The enforcer that puts decisions into the kernel.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::ops::RangeInclusive;

use ipnet::IpNet;

use super::covered::Covered;
use super::message;
use super::sets::Sets;
use super::socket::Connection;
use super::table::Part;
use super::transaction::Transaction;
use super::trap::Trap;
use super::uapi::*;
use super::{Change, Enforcer, Held, Outcome};
use crate::decide::{Measure, Place};

/// What the table is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The table's name, in family `inet`.
    pub table: String,
    /// Published services: protocol number and ports.
    pub services: Vec<(u8, RangeInclusive<u16>)>,
    /// Sources that are never dropped.
    pub protected: Vec<IpNet>,
    /// Whether conntrack may be used. Without it nothing of the table switches it on, and [`Measure::Restrict`] is
    /// refused with EOPNOTSUPP.
    pub conntrack: bool,
    /// The traps; none where nothing is redirected. Without conntrack nothing can be.
    pub trap: Option<Trap>,
    /// Whether nobody else may change the table, where the kernel can do that (Linux 6.9).
    pub owner: bool,
    /// The most single sources in each set. A set that exists keeps the size it was made with on older kernels.
    pub size: u32,
}

/// Why the table could not be set up. Nothing of it was changed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// No netlink socket, or the kernel cannot be asked what is there.
    #[error("nf_tables cannot be asked: {0}")]
    Ask(#[from] io::Error),
    /// The table exists and is not ours.
    #[error(
        "table inet {table} has a set {set} of another kind; choose another table or delete this one: \
         nft delete table inet {table}"
    )]
    Incompatible {
        /// The table.
        table: String,
        /// The first set that is different.
        set: &'static str,
    },
    /// Another process has the table for itself.
    #[error(
        "table inet {table} belongs to a socket of another process (netlink port {owner}, most often its process id): end that \
         process, or choose another table"
    )]
    Owned {
        /// The table.
        table: String,
        /// The port of the socket that owns it.
        owner: u32,
    },
    /// The administrator's sets cannot be filled.
    #[error("table {table}: {wrong}")]
    Unfit {
        /// The table, with its family.
        table: String,
        /// Everything that is wrong with its sets, and how they must be.
        wrong: String,
    },
    /// The kernel refused.
    #[error("the kernel refuses {what} of table inet {table}: {error}")]
    Refused {
        /// The table.
        table: String,
        /// Which part of it.
        what: String,
        /// Why.
        error: io::Error,
    },
}

/// The table `inet nfban` (or as it was named) in the network namespace of the thread that made this, or the sets that
/// the administrator gave.
///
/// Bans stay in the kernel when this is dropped. The kernel is the only memory: what is held is asked, not remembered,
/// but for prefixes that others cover.
/// A full set is [`Outcome::Refused`] with ENFILE, and an expensive one (10 to 20 ms): keep a count, and stay below.
pub struct Kernel {
    pub(super) connection: Connection,
    pub(super) settings: Settings,
    pub(super) sets: Sets,
    /// Which sets of the administrator's these are: the handles of the table and of each set. Somebody who loads his
    /// ruleset anew makes others of the same names, which are empty.
    pub(super) identity: Vec<u64>,
    /// Targets that stand without an element of their own.
    pub(super) covered: Covered,
    pub(super) reinstalled: u64,
    /// Whether the kernel lets a table have an owner; so until it refuses.
    pub(super) ownable: bool,
    /// Whether the table's rules have counted for us: what an earlier process had dropped is not told as ours.
    pub(super) counting: bool,
    /// The places one of whose sets the latest set-up has made, or found made anew.
    pub(super) made: Vec<Place>,
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kernel").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Kernel {
    /// Opens a socket to nf_tables and changes nothing.
    ///
    /// # Errors
    /// When there is no such socket. Missing permission shows only with the first change.
    pub fn open(settings: &Settings) -> io::Result<Self> {
        Self::with(settings.clone(), Sets::Own { conntrack: settings.conntrack })
    }

    pub(super) fn with(settings: Settings, sets: Sets) -> io::Result<Self> {
        Ok(Self {
            connection: Connection::open(sets.family())?,
            settings,
            sets,
            identity: Vec::new(),
            covered: Covered::default(),
            reinstalled: 0,
            ownable: true,
            counting: false,
            made: Vec::new(),
        })
    }

    /// As [`Kernel::install`], but every transaction is made and none is sent: what the kernel holds is asked, what cannot
    /// be is refused, and nothing is changed.
    ///
    /// # Errors
    /// See [`Kernel::set_up`], except what only the kernel could have refused.
    pub fn rehearse(settings: &Settings) -> Result<Self, InstallError> {
        Self::open(settings)?.rehearsing()
    }

    pub(super) fn rehearsing(mut self) -> Result<Self, InstallError> {
        self.connection.rehearse();
        self.set_up()?;
        Ok(self)
    }

    /// Opens a socket and sets the table up.
    ///
    /// # Errors
    /// See [`Kernel::set_up`].
    pub fn install(settings: &Settings) -> Result<Self, InstallError> {
        let mut kernel = Self::open(settings)?;
        kernel.set_up()?;
        Ok(kernel)
    }

    /// Makes the table, or makes of an earlier one what the settings say, in one transaction. Elements that stand in
    /// its sets stay and are dropped without a gap. Sets of the administrator's are only looked at.
    ///
    /// # Errors
    /// When a table of this name has other sets than ours, or the kernel refuses; nothing is changed then.
    pub fn set_up(&mut self) -> Result<(), InstallError> {
        if !self.sets.are_own() {
            return self.compare_given();
        }
        match self.make() {
            Err(refused) if self.cannot_own(&refused) => self.make(),
            made => made,
        }
    }

    /// As [`Kernel::set_up`] with other settings, or with those it had if that fails. The table's name stays.
    ///
    /// # Errors
    /// See [`Kernel::set_up`].
    pub fn set_up_as(&mut self, settings: Settings) -> Result<(), InstallError> {
        let sets = Sets::Own { conntrack: settings.conntrack };
        let (old_settings, old_sets) =
            (std::mem::replace(&mut self.settings, settings), std::mem::replace(&mut self.sets, sets));
        let made = self.set_up();
        if made.is_err() {
            (self.settings, self.sets) = (old_settings, old_sets);
        }
        made
    }

    /// Deletes the table and with it everything that is held; of sets of the administrator's our elements. That there
    /// is none is no error.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn remove(&mut self) -> io::Result<()> {
        if !self.sets.are_own() {
            return self.withdraw();
        }
        self.table_to_change().map_err(|error| match error {
            InstallError::Ask(error) => error,
            other => io::Error::other(other),
        })?;
        let mut transaction = Transaction::begin(&mut self.connection, 1);
        let table = &self.settings.table;
        transaction.push(Part::Table, NFT_MSG_DELTABLE, 0, |m| message::table(m, table));
        match transaction.commit(&mut self.connection) {
            Err(refusal) if refusal.errno() != libc::ENOENT => {
                Err(io::Error::from_raw_os_error(refusal.errno()))
            }
            _ => Ok(()),
        }
    }

    /// Where the latest set-up found no set and made one, or an administrator's that holds nothing of ours: nothing that is
    /// missing there was lifted.
    #[must_use]
    pub fn made(&self) -> &[Place] {
        &self.made
    }

    /// How often the table was found gone and set up again by [`Enforcer::apply`] and its like. What stood in it is
    /// lost to the kernel, so whoever keeps a ledger puts it again when this grows.
    #[must_use]
    pub const fn reinstalled(&self) -> u64 {
        self.reinstalled
    }

    /// Sets the table up after it was found gone.
    ///
    /// # Errors
    /// See [`Kernel::set_up`].
    pub fn reinstall(&mut self) -> Result<(), InstallError> {
        self.set_up()?;
        self.reinstalled += 1;
        if self.sets.are_own() {
            tracing::warn!(table = self.settings.table, "the table was gone and is set up again");
        } else {
            tracing::warn!(table = self.settings.table, "the sets were made anew and are filled again");
        }
        Ok(())
    }

    /// Sets the table up again if something of it is missing, or anyway if its rules or lists are `altered`. Tells whether it did.
    ///
    /// # Errors
    /// See [`Kernel::set_up`].
    pub fn mend(&mut self, altered: bool) -> Result<bool, InstallError> {
        if !altered && self.is_whole()? {
            return Ok(false);
        }
        self.reinstall()?;
        Ok(true)
    }

    /// What is held now in the sets that `wanted` says.
    ///
    /// # Errors
    /// When the kernel cannot be asked; ENOENT when a set is gone.
    pub fn held_in(&mut self, wanted: impl Fn(Place) -> bool) -> io::Result<Vec<Held>> {
        let mut held = Vec::new();
        for place in self.sets.places().into_iter().filter(|place| wanted(*place)) {
            self.held_at(place, &mut held)?;
        }
        Ok(held)
    }

    /// Adds to what was `held` those of the `known` bans that the listing lacks and the kernel holds nevertheless: they are
    /// asked for one by one. While a hash set is being resized a listing can lack elements, and nothing in it tells
    /// (`rhashtable_walk_enter` in lib/rhashtable.c promises no more). Of a set of which nothing was held, nothing is asked.
    ///
    /// # Errors
    /// When an answer does not come.
    pub fn complete(&mut self, held: &mut Vec<Held>, known: &[(Measure, IpNet)]) -> io::Result<()> {
        let listed: HashSet<_> = held.iter().map(|held| (held.measure, held.target)).collect();
        let filled: HashSet<_> =
            listed.iter().map(|(measure, target)| Place::of(*measure, *target)).collect();
        let is_doubtful = |(measure, target): &&(Measure, IpNet)| {
            let place = Place::of(*measure, *target);
            !place.prefix && filled.contains(&place) && !listed.contains(&(*measure, *target))
        };
        let doubtful = known.iter().filter(is_doubtful);
        let doubtful: Vec<_> = doubtful.copied().collect();
        held.extend(self.held_single(&doubtful)?);
        Ok(())
    }
}

impl Enforcer for Kernel {
    fn apply(&mut self, changes: &[Change]) -> Vec<Outcome> {
        self.apply_all(changes)
    }

    fn held(&mut self) -> io::Result<Vec<Held>> {
        let is_there = if self.sets.are_own() { self.has_its_rules()? } else { self.are_the_same()? };
        if !is_there {
            return Err(io::Error::from_raw_os_error(libc::ENOENT));
        }
        self.held_in(|_| true)
    }

    fn protect(&mut self, protected: &[IpNet]) -> io::Result<()> {
        self.settings.protected = protected.to_vec();
        self.replace(Self::write_protected)
    }
}
