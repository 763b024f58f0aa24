//! What is held of some targets alone: of 100,000 a listing takes the kernel more than a second.

use std::collections::BTreeSet;
use std::io;

use ipnet::IpNet;

use super::apply::LookedUp;
use super::kernel::Kernel;
use super::{Change, Held};
use crate::decide::{Measure, Place};

impl Kernel {
    /// What is held now of these bans. Those that are not held are left out.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn held_of(&mut self, bans: &[(Measure, IpNet)]) -> io::Result<Vec<Held>> {
        let is_prefix = |ban: &(Measure, IpNet)| Place::of(ban.0, ban.1).prefix;
        let (prefixes, single): (Vec<_>, Vec<_>) = bans.iter().copied().partition(is_prefix);
        let mut held = self.held_single(&single)?;
        // Whose a stretch of an interval set is shows only among all of them, and there are few.
        let places: BTreeSet<Place> =
            prefixes.iter().map(|(measure, target)| Place::of(*measure, *target)).collect();
        if !places.is_empty() {
            let all = self.held_in(|place| places.contains(&place))?;
            held.extend(all.into_iter().filter(|held| prefixes.contains(&(held.measure, held.target))));
        }
        Ok(held)
    }

    /// The same of bans in hash sets, each of which is asked for by itself.
    pub(super) fn held_single(&mut self, bans: &[(Measure, IpNet)]) -> io::Result<Vec<Held>> {
        let questions: Vec<Change> =
            bans.iter().map(|&(measure, target)| Change::Lift { measure, target }).collect();
        let mut held = Vec::new();
        for (question, [own, beside]) in questions.iter().zip(self.look_up(&questions)) {
            let read = match own.ok_or(io::ErrorKind::Interrupted)? {
                LookedUp::Found(read) => read,
                LookedUp::Missing => continue,
            };
            let mut counts = read.counts;
            if let Some(LookedUp::Found(beside)) = beside {
                counts += beside.counts;
            }
            held.push(Held {
                measure: question.place().measure,
                target: question.target(),
                expires: read.expires,
                packets: counts.packets,
                bytes: counts.bytes,
                comment: read.comment,
            });
        }
        Ok(held)
    }
}
