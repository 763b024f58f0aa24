//! What stands, as the ledger knows it. What others do to the table is heard, so most questions need no listing of the
//! sets: one of 100,000 bans takes seconds, in which no packet is looked at.

use std::collections::HashSet;
use std::io;
use std::time::Duration;

use ipnet::IpNet;

use super::super::{Daemon, clock};
use crate::decide::{Measure, Standing, State};
use crate::enforce::Held;

/// What others have removed is put back for so long before an answer, which then tells what stands by then.
const WAIT: Duration = Duration::from_millis(500);

/// The kernel is asked about so many bans one by one, some milliseconds' worth. A question about more is a listing.
pub(in super::super) const FEW: usize = 1_000;

impl Daemon {
    /// Has the ledger agree with the kernel: takes in what others have done, and puts back what they have removed, as far
    /// as there is time.
    pub(in super::super) fn catch_up(&mut self) -> io::Result<()> {
        if self.keeping.watch.is_none() {
            return self.held().map(drop);
        }
        self.notice();
        let until = clock::now().boot + WAIT;
        while self.keeping.repair_at.is_some() && clock::now().boot < until && self.repair_now() {}
        self.engine.advance(clock::now(), &mut self.actions);
        self.carry_out();
        Ok(())
    }

    /// What the kernel holds of these bans, and maybe more.
    pub(in super::super) fn held_of(&mut self, bans: &[(Measure, IpNet)]) -> io::Result<Vec<Held>> {
        if bans.len() > FEW { self.backend.held() } else { self.backend.held_of(bans) }
    }

    /// The bans that stand in the kernel: not those that it has refused, or that are to be put back.
    pub(in super::super) fn standing(&self) -> impl Iterator<Item = &Standing> {
        let missing: HashSet<IpNet> = self.keeping.lost.iter().copied().collect();
        let stands = move |ban: &&Standing| ban.state == State::Held && !missing.contains(&ban.target);
        self.engine.ledger().iter().filter(stands)
    }
}
