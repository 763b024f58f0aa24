//! What of the ledger has changed, for whoever writes it down, and what an earlier process wrote.

use std::collections::BTreeSet;
use std::time::Duration;

use ipnet::IpNet;

use super::Ledger;

impl Ledger {
    /// Notes from now on whose ban or repetitions change.
    pub fn track(&mut self) {
        self.changed.get_or_insert_default();
    }

    /// Does not note it any more.
    pub fn untrack(&mut self) {
        self.changed = None;
    }

    /// Whether something has changed that nobody has taken.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        self.changed.as_ref().is_some_and(|changed| !changed.is_empty())
    }

    /// Takes at most so many of the targets whose ban began, changed or ended.
    pub fn take_changed(&mut self, most: usize) -> Vec<IpNet> {
        let Some(changed) = &mut self.changed else { return Vec::new() };
        let rest = changed.iter().nth(most).copied().map(|next| changed.split_off(&next));
        std::mem::replace(changed, rest.unwrap_or_default()).into_iter().collect()
    }

    /// Notes these as changed.
    pub fn mark(&mut self, targets: impl IntoIterator<Item = IpNet>) {
        if let Some(changed) = &mut self.changed {
            changed.extend(targets);
        }
    }

    /// Notes everything as changed.
    pub fn mark_all(&mut self) {
        let all: BTreeSet<IpNet> =
            self.bans.keys().copied().chain(self.history.keys().map(|(target, _)| *target)).collect();
        self.mark(all);
    }

    /// How often `target` was banned on validated evidence, or not, and when last (boot time), if that is remembered.
    #[must_use]
    pub fn repetition(&self, target: IpNet, validated: bool) -> Option<(u32, Duration)> {
        self.history.get(&(target, validated)).copied()
    }

    /// Forgets how often those within `net` were banned.
    pub fn forget(&mut self, net: IpNet) {
        self.history.retain(|(target, _), _| !net.contains(target));
        self.forgettable.retain(|(.., target)| !net.contains(target));
        if let Some(changed) = &mut self.changed {
            changed.retain(|target| !net.contains(target));
        }
    }

    /// Takes back how often `target` was banned, and when last (boot time; zero for what was before).
    pub fn recall(&mut self, target: IpNet, validated: bool, times: u32, last: Duration) {
        self.remember(target, validated, times, last);
    }
}
