//! A table that only one socket may change.
//!
//! The kernel refuses every change of a table with an owner but over the owner's socket, and leaves it out of what
//! others flush (`nft_table_lookup` and `nft_flush` in nf_tables_api.c). When that socket is closed, the
//! table goes with it, unless it is persistent: then it stays without an owner, and the next one can claim it
//! (`nft_rcv_nl_event`, `nf_tables_updtable`). Neither flag of a table that has the other kind can be changed later.

use std::io;

use super::kernel::{InstallError, Kernel};
use super::uapi::*;
use super::{Change, Half, Held, Outcome};

/// The flags of a table that is ours alone and outlives us.
pub(super) const OWNED: u32 = NFT_TABLE_F_OWNER | NFT_TABLE_F_PERSIST;

/// Bans put back at a time.
const PART: usize = 1000;

/// A table as the kernel tells of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct FoundTable {
    /// Its number, which no other table of the network namespace ever has.
    pub(super) handle: u64,
    flags: u32,
    /// The port of the socket that owns it.
    owner: Option<u32>,
}

impl FoundTable {
    /// Whether it has to be made anew to have these flags.
    pub(super) const fn differs(self, flags: u32) -> bool {
        (self.flags ^ flags) & NFT_TABLE_F_PERSIST != 0
    }
}

impl Kernel {
    /// Whether nobody else can change the table.
    #[must_use]
    pub const fn is_owner(&self) -> bool {
        self.settings.owner && self.ownable && self.sets.are_own()
    }

    /// The flags that the table is to have.
    pub(super) const fn table_flags(&self) -> u32 {
        if self.is_owner() { OWNED } else { 0 }
    }

    /// The table, if there is one.
    pub(super) fn found_table(&mut self) -> io::Result<Option<FoundTable>> {
        let table = &self.settings.table;
        let tables = self.connection.dump(
            NFT_MSG_GETTABLE,
            |_| (),
            |m, list| {
                let (mut ours, mut found) = (false, FoundTable::default());
                for attribute in m.attributes(4) {
                    match attribute.kind {
                        NFTA_TABLE_NAME => ours = attribute.text() == table.as_bytes(),
                        NFTA_TABLE_FLAGS => found.flags = attribute.be32().unwrap_or_default(),
                        NFTA_TABLE_HANDLE => found.handle = attribute.be64().unwrap_or_default(),
                        NFTA_TABLE_OWNER => found.owner = attribute.be32(),
                        _ => {}
                    }
                }
                list.extend(ours.then_some(found));
            },
        )?;
        Ok(tables.first().copied())
    }

    /// The table, if there is one and it may be changed.
    pub(super) fn table_to_change(&mut self) -> Result<Option<FoundTable>, InstallError> {
        let found = self.found_table()?;
        let port = self.connection.port();
        match found.and_then(|found| found.owner).filter(|owner| *owner != port) {
            Some(owner) => Err(InstallError::Owned { table: self.settings.table.clone(), owner }),
            None => Ok(found),
        }
    }

    /// Takes note that this kernel knows no owners that a table outlives, if that is why it `refused` the table.
    pub(super) fn cannot_own(&mut self, refused: &InstallError) -> bool {
        // For a flag that the kernel does not know; older ones say EINVAL.
        let unknown = matches!(refused, InstallError::Refused { error, .. }
            if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EINVAL)));
        if !self.is_owner() || !unknown {
            return false;
        }
        self.ownable = false;
        tracing::warn!(
            table = self.settings.table,
            "the kernel has no tables with an owner that outlive him (`nftables.owner` takes Linux 6.9): what others do to the \
             table is undone instead"
        );
        true
    }

    /// Puts what a table `held` into the one that has replaced it. Its counts begin anew.
    pub(super) fn carry_over(&mut self, held: Vec<Held>) {
        let put = |held: Held| Change::Put {
            measure: held.measure,
            target: held.target,
            timeout: held.expires,
            comment: held.comment,
        };
        let mut changes: Vec<Change> = held.into_iter().map(put).collect();
        let mut refused = 0;
        for half in [Half::Drops, Half::Limits] {
            for part in changes.chunks(PART) {
                let outcomes = self.restore(part, half);
                refused += outcomes.iter().filter(|outcome| **outcome != Outcome::Done).count();
            }
            changes.retain(Change::is_restriction);
        }
        if refused > 0 {
            tracing::warn!(
                table = self.settings.table,
                refused,
                "not all bans fit into the table that was made anew"
            );
        }
    }
}
