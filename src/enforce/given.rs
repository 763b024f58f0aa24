//! Sets of the administrator's: found, compared, and left as they were.

use std::collections::BTreeMap;
use std::io;

use super::found::{Found, none_if_missing};
use super::kernel::{InstallError, Kernel, Settings};
use super::sets::{Given, Sets};
use super::{Change, Outcome};
use crate::report::target::Target;

impl Kernel {
    /// Opens a socket for sets of the administrator's, and changes nothing. Of what is in them only elements with a
    /// comment of nfban's are touched.
    ///
    /// # Errors
    /// See [`Kernel::open`].
    pub fn open_given(given: &Given) -> io::Result<Self> {
        let sets = Sets::given(given);
        let table = given.table.name.clone();
        let settings = Settings {
            table,
            services: Vec::new(),
            protected: Vec::new(),
            conntrack: false,
            trap: None,
            owner: false,
            size: 0,
        };
        Self::with(settings, sets)
    }

    /// Opens a socket and compares the administrator's sets with what they must be.
    ///
    /// # Errors
    /// See [`Kernel::set_up`].
    pub fn fill(given: &Given) -> Result<Self, InstallError> {
        let mut kernel = Self::open_given(given)?;
        kernel.set_up()?;
        Ok(kernel)
    }

    /// As [`Kernel::fill`], without changing anything.
    ///
    /// # Errors
    /// See [`Kernel::set_up`].
    pub fn rehearse_given(given: &Given) -> Result<Self, InstallError> {
        Self::open_given(given)?.rehearsing()
    }

    /// Compares the sets with what they must be, and remembers which ones they are.
    pub(super) fn compare_given(&mut self) -> Result<(), InstallError> {
        let (found, identity) = self.found_given()?;
        self.sets.compare(&found).map_err(|wrong| InstallError::Unfit {
            table: self.sets.describe(&self.settings.table),
            wrong,
        })?;
        self.identity = identity;
        self.made.clear();
        for place in self.sets.places() {
            // The end of an interval does not say whose it is.
            if self.elements_at(place)?.iter().all(|read| read.is_end) {
                self.made.push(place);
            }
        }
        Ok(())
    }

    /// The administrator's table: its sets, and which ones they are.
    fn found_given(&mut self) -> io::Result<(BTreeMap<String, Found>, Vec<u64>)> {
        let table = self.found_table()?;
        let found = self.found_sets()?;
        let sets = self.sets.places().into_iter().filter_map(|place| found.get(self.sets.set(place)?));
        let identity =
            table.into_iter().map(|table| table.handle).chain(sets.map(|set| set.handle)).collect();
        Ok((found, identity))
    }

    /// Whether the administrator's sets are still those that were filled.
    pub(super) fn are_the_same(&mut self) -> io::Result<bool> {
        Ok(self.found_given()?.1 == self.identity)
    }

    /// Takes in that the administrator's sets were made anew, once all of them are there.
    pub(super) fn look_again(&mut self) {
        if !self.sets.are_own() && self.are_the_same().is_ok_and(|same| !same) {
            // Why they cannot be filled shows when they are.
            let _ = self.reinstall();
        }
    }

    /// Deletes our elements from the administrator's sets.
    pub(super) fn withdraw(&mut self) -> io::Result<()> {
        self.identity = self.found_given()?.1;
        let mut lifts = Vec::new();
        for place in self.sets.places() {
            let mut held = Vec::new();
            none_if_missing(self.held_at(place, &mut held).map(|()| Vec::<()>::new()))?;
            lifts.extend(
                held.into_iter().map(|held| Change::Lift { measure: held.measure, target: held.target }),
            );
        }
        let refused = self.apply_all(&lifts).into_iter().find_map(|outcome| match outcome {
            Outcome::Refused(errno) if errno != libc::ENOENT => Some(errno),
            _ => None,
        });
        refused.map_or(Ok(()), |errno| Err(io::Error::from_raw_os_error(errno)))
    }

    /// A change in nft's words, as `nft` would take it.
    #[must_use]
    pub fn in_words(&self, change: &Change) -> String {
        let table = self.sets.describe(&self.settings.table);
        let set = self.sets.set(change.place()).unwrap_or("?");
        let target = Target(change.target());
        match change {
            Change::Put { timeout, comment, .. } => {
                let timeout = timeout.map(|timeout| format!(" timeout {}s", timeout.as_secs()));
                let timeout = timeout.unwrap_or_default();
                let comment = self.sets.comment(comment);
                format!("add element {table} {set} {{ {target}{timeout} comment \"{comment}\" }}")
            }
            Change::Lift { .. } => format!("delete element {table} {set} {{ {target} }}"),
        }
    }
}
