//! The enforcer that puts decisions into the kernel.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::io;
use std::ops::RangeInclusive;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::counted;
use super::covered::Covered;
use super::layout::{self, Chain, PROTECT4, PROTECT6, RESTRICT, SERVICES, Set, TRAPS};
use super::message::{self, Key};
use super::sets::Sets;
use super::socket::Connection;
use super::transaction::{Refusal, Transaction};
use super::trap::{self, ARRIVED, TRAP, Trap};
use super::uapi::*;
use super::watch::{Noticed, Watch};
use super::{Change, Enforcer, Held, Outcome};
use crate::decide::{Measure, Place};
use crate::packet::protocol::TCP;

/// Elements in one message: all of them are one attribute, whose length has 16 bits.
pub(super) const ELEMENTS: usize = 256;

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

/// Parts of the table, for errors.
#[derive(Debug, Clone, Copy)]
enum Part {
    Table,
    Set(&'static str),
    Chain(&'static str),
    Rule(&'static str, usize),
    Elements(&'static str),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table => write!(f, "the making"),
            Self::Set(name) => write!(f, "set {name}"),
            Self::Chain(name) => write!(f, "chain {name}"),
            Self::Rule(chain, number) => write!(f, "rule {} of chain {chain}", number + 1),
            Self::Elements(set) => write!(f, "the elements of set {set}"),
        }
    }
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

    fn make(&mut self) -> Result<(), InstallError> {
        let sets = layout::sets(self.settings.size, self.settings.conntrack);
        let mut chains = self.chains();
        let flags = self.table_flags();
        let replaced = self.table_to_change()?.filter(|table| table.differs(flags));
        let mut found = self.found_sets()?;
        let incompatible = sets.iter().find(|set| found.get(set.name).is_some_and(|found| !found.is(set)));
        if let Some(set) = incompatible {
            return Err(InstallError::Incompatible { table: self.settings.table.clone(), set: set.name });
        }
        let is_new = |place: &Place| !found.contains_key(place.set());
        self.made = layout::places(self.settings.conntrack).filter(is_new).collect();
        let carried = match replaced {
            Some(_) => self.held_in(|place| found.contains_key(place.set()))?,
            None => Vec::new(),
        };
        if replaced.is_some() {
            found.clear();
        }
        let counted = self.counted_rules()?;
        let had_traps = replaced.is_none() && counted.iter().any(|rule| rule.chain == TRAP.as_bytes());
        if self.counting {
            counted::carry_on(&mut chains, &counted);
        }
        let mut transaction = Transaction::begin(&mut self.connection, 1 << 16);
        let table = &self.settings.table;
        if replaced.is_some() {
            transaction.push(Part::Table, NFT_MSG_DELTABLE, 0, |m| message::table(m, table));
        }
        transaction
            .push(Part::Table, NFT_MSG_NEWTABLE, NLM_F_CREATE, |m| message::new_table(m, table, flags));
        for (id, set) in (1..).zip(&sets) {
            transaction.push(Part::Set(set.name), NFT_MSG_NEWSET, NLM_F_CREATE, |m| {
                message::new_set(m, table, set, id)
            });
        }
        self.write_chains(&mut transaction, &chains);
        if had_traps && !chains.iter().any(|chain| chain.name == TRAP) {
            self.write_without_traps(&mut transaction);
        }
        if !self.settings.conntrack {
            self.write_without_restrict(&mut transaction, &found);
        }
        self.write_protected(&mut transaction);
        self.write_services(&mut transaction);
        if self.settings.conntrack {
            self.write_traps(&mut transaction);
        }
        transaction.commit(&mut self.connection).map_err(|refusal| {
            let what = match &refusal {
                Refusal::Parts(parts) => parts.first().map_or(Part::Table, |(part, _)| *part),
                Refusal::Whole(_) => Part::Table,
            };
            InstallError::Refused {
                table: self.settings.table.clone(),
                what: what.to_string(),
                error: io::Error::from_raw_os_error(refusal.errno()),
            }
        })?;
        self.counting = true;
        self.carry_over(carried);
        Ok(())
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

    /// Replaces the published services.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn publish(&mut self, services: &[(u8, RangeInclusive<u16>)]) -> io::Result<()> {
        self.settings.services = services.to_vec();
        self.replace(|this, transaction| {
            this.write_services(transaction);
            // What is published now is no trap any more.
            if this.settings.conntrack {
                this.write_traps(transaction);
            }
        })
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

    fn is_whole(&mut self) -> io::Result<bool> {
        if !self.sets.are_own() {
            return self.are_the_same();
        }
        let found = self.found_sets()?;
        let sets = layout::sets(self.settings.size, self.settings.conntrack);
        Ok(sets.iter().all(|set| found.contains_key(set.name)) && self.has_its_rules()?)
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

    /// Hears, from now on, of what others do to the table.
    ///
    /// # Errors
    /// As socket(2) and setsockopt(2).
    pub fn watch(&self) -> io::Result<Watch> {
        Watch::open(&self.settings.table, &self.sets, self.connection.port())
    }

    /// What others have done to the table since the last time, as far as `watch` has heard of it: `all` of that, or a part that
    /// takes some milliseconds to read.
    pub fn notice(&self, watch: &mut Watch, all: bool) -> Noticed {
        watch.notice(self.connection.port(), all)
    }

    /// Has `watch` hear nothing until [`Self::heed`]: the kernel tells every element that is added to whoever listens, and that
    /// is a quarter of the work of adding many. What others do meanwhile still shows, if not what it was.
    ///
    /// # Errors
    /// Where the kernel does not say how many commits there were. All is heard then.
    pub fn ignore(&mut self, watch: &mut Watch) -> io::Result<()> {
        // Asked first: a commit between the two is both heard and counted.
        let commits = self.connection.foreign_commits()?;
        watch.close_ears(commits)
    }

    /// Whether `watch` hears nothing and others did something since.
    pub fn is_disturbed(&mut self, watch: &Watch) -> bool {
        let disturbed = |commits| self.connection.foreign_commits().ok() != Some(commits);
        watch.deaf_since().is_some_and(disturbed)
    }

    /// Has `watch` hear again. Tells whether it missed nothing.
    pub fn heed(&mut self, watch: &mut Watch) -> bool {
        match watch.open_ears() {
            Ok(None) => true,
            Ok(commits) => self.connection.foreign_commits().ok() == commits,
            Err(_) => false,
        }
    }

    /// Replaces what stands in some sets; sets the whole table up if it is gone.
    fn replace(&mut self, write: impl Fn(&Self, &mut Transaction<Part>)) -> io::Result<()> {
        if !self.sets.are_own() {
            // The administrator's chain says what is published and protected.
            return Ok(());
        }
        let mut transaction = Transaction::begin(&mut self.connection, 1 << 16);
        write(self, &mut transaction);
        match transaction.commit(&mut self.connection) {
            Ok(()) => Ok(()),
            Err(refusal) if refusal.errno() == libc::ENOENT => self.reinstall().map_err(io::Error::other),
            Err(refusal) => Err(io::Error::from_raw_os_error(refusal.errno())),
        }
    }

    /// The chains of the table.
    fn chains(&self) -> Vec<Chain> {
        let mut chains = layout::chains(self.settings.conntrack, self.settings.trap.is_some());
        if let Some(trap) = self.settings.trap.as_ref().filter(|_| self.settings.conntrack) {
            chains.extend(trap::chains(trap));
        }
        chains
    }

    fn write_chains(&self, transaction: &mut Transaction<Part>, chains: &[Chain]) {
        let table = &self.settings.table;
        for chain in chains {
            let part = Part::Chain(chain.name);
            transaction.push(part, NFT_MSG_NEWCHAIN, NLM_F_CREATE, |m| message::new_chain(m, table, chain));
            transaction.push(part, NFT_MSG_DELRULE, 0, |m| message::all_rules(m, table, chain.name));
            for (number, rule) in chain.rules.iter().enumerate() {
                let part = Part::Rule(chain.name, number);
                transaction.push(part, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, |m| {
                    message::new_rule(m, table, chain.name, rule);
                });
            }
        }
    }

    /// Takes away the chains of traps, which the table has.
    fn write_without_traps(&self, transaction: &mut Transaction<Part>) {
        let table = &self.settings.table;
        for chain in [TRAP, ARRIVED] {
            let part = Part::Chain(chain);
            transaction.push(part, NFT_MSG_DELRULE, 0, |m| message::all_rules(m, table, chain));
            transaction.push(part, NFT_MSG_DELCHAIN, 0, |m| message::named_chain(m, table, chain));
        }
    }

    /// Takes away what an earlier table with conntrack had more.
    fn write_without_restrict(&self, transaction: &mut Transaction<Part>, found: &BTreeMap<String, Found>) {
        let table = &self.settings.table;
        let restricted = Place::ALL.into_iter().filter(|place| place.measure == Measure::Restrict);
        let sets = restricted.flat_map(|place| [Some(place.set()), place.rate_set()]).flatten();
        let sets = sets.chain([TRAPS]);
        let mut sets = sets.filter(|set| found.contains_key(*set)).peekable();
        // The chain is there exactly when its sets are; made anew first, so that deleting it cannot fail.
        if sets.peek().is_some() {
            let part = Part::Chain(RESTRICT);
            let chains = layout::chains(true, false);
            for chain in chains.iter().filter(|chain| chain.name == RESTRICT) {
                transaction
                    .push(part, NFT_MSG_NEWCHAIN, NLM_F_CREATE, |m| message::new_chain(m, table, chain));
            }
            transaction.push(part, NFT_MSG_DELRULE, 0, |m| message::all_rules(m, table, RESTRICT));
            transaction.push(part, NFT_MSG_DELCHAIN, 0, |m| message::named_chain(m, table, RESTRICT));
        }
        for set in sets {
            transaction.push(Part::Set(set), NFT_MSG_DELSET, 0, |m| message::named_set(m, table, set));
        }
    }

    fn write_protected(&self, transaction: &mut Transaction<Part>) {
        let (mut four, mut six) = (Vec::new(), Vec::new());
        for net in &self.settings.protected {
            match net {
                IpNet::V4(net) => four.push(net.trunc()),
                IpNet::V6(net) => six.push(net.trunc()),
            }
        }
        // Intervals must not overlap, and nothing joins them on the way to the kernel.
        let four = Ipv4Net::aggregate(&four).into_iter().map(IpNet::V4).collect();
        let six = Ipv6Net::aggregate(&six).into_iter().map(IpNet::V6).collect();
        let lists: [(_, Vec<IpNet>); 2] = [(PROTECT4, four), (PROTECT6, six)];
        for (set, nets) in lists {
            self.write_list(transaction, set, &nets, |list, net| {
                let stretch = message::Element {
                    key: Key::Stretch(net.network(), net.broadcast()),
                    timeout: None,
                    comment: "".into(),
                    target_length: None,
                    counts: None,
                };
                stretch.write(list);
            });
        }
    }

    fn write_services(&self, transaction: &mut Transaction<Part>) {
        let services = disjoint(&self.settings.services);
        self.write_list(transaction, SERVICES, &services, |list, (protocol, first, last)| {
            message::write_service(list, *protocol, *first, *last);
        });
    }

    fn write_traps(&self, transaction: &mut Transaction<Part>) {
        let ports = self.settings.trap.iter().flat_map(|trap| trap.ports.iter().cloned());
        let traps: Vec<_> = ports.map(|ports| (TCP, ports)).collect();
        let traps = without(&disjoint(&traps), &disjoint(&self.settings.services));
        self.write_list(transaction, TRAPS, &traps, |list, (protocol, first, last)| {
            message::write_service(list, *protocol, *first, *last);
        });
    }

    /// Replaces all elements of a set.
    fn write_list<T>(
        &self,
        transaction: &mut Transaction<Part>,
        set: &'static str,
        elements: &[T],
        write: impl Fn(&mut crate::netlink::Batch, &T),
    ) {
        let table = &self.settings.table;
        let part = Part::Elements(set);
        transaction.push(part, NFT_MSG_DELSETELEM, 0, |m| message::all_elements(m, table, set));
        for some in elements.chunks(ELEMENTS) {
            transaction.push(part, NFT_MSG_NEWSETELEM, NLM_F_CREATE, |m| {
                message::elements(m, table, set, |list| some.iter().for_each(|element| write(list, element)));
            });
        }
    }

    /// The sets that the table has.
    pub(super) fn found_sets(&mut self) -> io::Result<BTreeMap<String, Found>> {
        let table = &self.settings.table;
        let found = self.connection.dump(
            NFT_MSG_GETSET,
            |m| m.text(NFTA_SET_TABLE, table),
            |m, list| list.extend(Found::read(m, table)),
        );
        Ok(none_if_missing(found)?.into_iter().collect())
    }

    /// Whether no rule of the chains is missing: `nft flush table` takes them all and leaves the sets, whose elements
    /// then drop nothing.
    fn has_its_rules(&mut self) -> io::Result<bool> {
        let found = self.counted_rules()?;
        Ok(self.chains().iter().all(|chain| {
            chain.rules.len() <= found.iter().filter(|rule| rule.chain == chain.name.as_bytes()).count()
        }))
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

/// A set that the table has.
pub(super) struct Found {
    pub(super) key: Option<u32>,
    pub(super) length: Option<u32>,
    pub(super) flags: u32,
    /// Whether nft joins adjacent elements of it.
    pub(super) merges: bool,
    /// Its number within the table.
    pub(super) handle: u64,
    /// What each of its elements carries: the expressions' names.
    expressions: Vec<Vec<u8>>,
}

impl Found {
    /// A set of `table`, from an `NFT_MSG_NEWSET`.
    fn read(message: &crate::netlink::Message<'_>, table: &str) -> Option<(String, Self)> {
        let mut name = None;
        let mut ours = false;
        let mut found =
            Self { key: None, length: None, flags: 0, merges: false, handle: 0, expressions: Vec::new() };
        for attribute in message.attributes(4) {
            match attribute.kind {
                NFTA_SET_TABLE => ours = attribute.text() == table.as_bytes(),
                NFTA_SET_NAME => name = Some(String::from_utf8_lossy(attribute.text()).into_owned()),
                NFTA_SET_FLAGS => found.flags = attribute.be32().unwrap_or_default(),
                NFTA_SET_KEY_TYPE => found.key = attribute.be32(),
                NFTA_SET_HANDLE => found.handle = attribute.be64().unwrap_or_default(),
                NFTA_SET_USERDATA => found.merges = message::merges(attribute.value),
                NFTA_SET_KEY_LEN => found.length = attribute.be32(),
                NFTA_SET_EXPR => found.expressions.extend(expression_name(attribute)),
                NFTA_SET_EXPRESSIONS => {
                    found.expressions.extend(attribute.nested().filter_map(expression_name))
                }
                _ => {}
            }
        }
        name.filter(|_| ours).map(|name| (name, found))
    }

    /// Whether its elements count what they match, and do nothing else.
    pub(super) fn counts_alone(&self) -> bool {
        self.expressions == [b"counter"]
    }

    /// Whether it is the set we would make.
    fn is(&self, set: &Set) -> bool {
        self.key == Some(set.key.number())
            && self.length == Some(set.key.length())
            && self.flags == set.flags
            && self
                .expressions
                .iter()
                .map(Vec::as_slice)
                .eq(set.expressions.iter().map(|e| e.name().as_bytes()))
    }
}

fn expression_name(expression: crate::netlink::Attribute<'_>) -> Option<Vec<u8>> {
    let name = expression.nested().find(|attribute| attribute.kind == NFTA_EXPR_NAME);
    name.map(|name| name.text().to_vec())
}

/// The kernel's ENOENT for a list of what does not exist is an empty list.
pub(super) fn none_if_missing<T>(list: io::Result<Vec<T>>) -> io::Result<Vec<T>> {
    match list {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(Vec::new()),
        list => list,
    }
}

/// Joins ranges of ports of one protocol that overlap or touch.
fn disjoint(services: &[(u8, RangeInclusive<u16>)]) -> Vec<(u8, u16, u16)> {
    let mut sorted: Vec<_> = services
        .iter()
        .filter(|(_, ports)| !ports.is_empty())
        .map(|(protocol, ports)| (*protocol, *ports.start(), *ports.end()))
        .collect();
    sorted.sort_unstable();
    sorted.dedup_by(|next, kept| {
        let joins = next.0 == kept.0 && next.1 <= kept.2.saturating_add(1);
        if joins {
            kept.2 = kept.2.max(next.2);
        }
        joins
    });
    sorted
}

/// The ports of `ranges` that none of `others` has; both as [`disjoint`] gives them.
fn without(ranges: &[(u8, u16, u16)], others: &[(u8, u16, u16)]) -> Vec<(u8, u16, u16)> {
    let mut left = Vec::new();
    for &(protocol, first, last) in ranges {
        let mut from = Some(first);
        for &(_, low, high) in others.iter().filter(|o| o.0 == protocol && o.1 <= last && first <= o.2) {
            left.extend(from.filter(|&from| from < low).map(|from| (protocol, from, low - 1)));
            from = high.checked_add(1);
        }
        left.extend(from.filter(|&from| from <= last).map(|from| (protocol, from, last)));
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_overlap_or_touch_become_one_range() {
        let services =
            [(6, 80..=90), (17, 53..=53), (6, 22..=22), (6, 85..=95), (6, 96..=96), (6, 65535..=65535)];
        assert_eq!(disjoint(&services), [(6, 22, 22), (6, 80, 96), (6, 65535, 65535), (17, 53, 53)]);
    }

    #[test]
    fn what_is_published_is_cut_out_of_the_traps() {
        let services = [(6, 80, 89), (6, 443, 443), (17, 1, 65535)];
        let of = |first, last| without(&[(6, first, last)], &services);
        assert_eq!(of(1, 65535), [(6, 1, 79), (6, 90, 442), (6, 444, 65535)]);
        assert_eq!((of(80, 89), of(85, 90), of(70, 80)), (vec![], vec![(6, 90, 90)], vec![(6, 70, 79)]));
        assert_eq!(of(23, 23), [(6, 23, 23)]);
        assert_eq!(without(&[(6, 1, 65535)], &[(6, 60000, 65535)]), [(6, 1, 59999)]);
    }
}
