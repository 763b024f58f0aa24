//! The packets behind what was decided lately, for whoever asks why.

use std::collections::VecDeque;
use std::sync::Arc;

use ipnet::IpNet;

use crate::event::firing::{Answer, FIRINGS, Firing};

/// How many packets all firings together keep in memory, some 200 octets each; the oldest firings give way.
const KEPT: usize = 16_384;

/// The latest firings, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Firings {
    kept: VecDeque<Arc<Firing>>,
    packets: usize,
    /// How many of the latest have not been taken yet.
    fresh: usize,
    /// How many gave way before they were taken.
    pub(super) missed: u64,
}

impl Firings {
    /// Keeps a firing that is worth telling of: it opened an incident, or somebody is kept out for it.
    pub(super) fn keep(&mut self, firing: Option<Box<Firing>>, answer: Answer) {
        let Some(mut firing) = firing else { return };
        if !firing.opened && !matches!(answer, Answer::Acted { .. }) {
            return;
        }
        firing.answer = answer;
        if !firing.opened {
            let earlier = self.kept.iter().rev().find(|kept| kept.incident == firing.incident);
            firing.number = earlier.map_or(1, |earlier| (earlier.number + 1).min(FIRINGS - 1));
        }
        self.packets += firing.packets.len();
        self.kept.push_back(Arc::from(firing));
        self.fresh += 1;
        while self.packets > KEPT
            && let Some(oldest) = self.kept.pop_front()
        {
            self.packets -= oldest.packets.len();
            if self.fresh > self.kept.len() {
                self.fresh = self.kept.len();
                self.missed += 1;
            }
        }
    }

    /// Those of `net`, of what holds it and of what it holds, the latest first.
    pub(super) fn of(&self, net: IpNet) -> impl Iterator<Item = &Arc<Firing>> {
        let about = move |firing: &&Arc<Firing>| firing.source.contains(&net) || net.contains(&firing.source);
        self.kept.iter().rev().filter(about)
    }

    /// Forgets those of sources within `net`, and what others name of them.
    pub(super) fn forget(&mut self, net: IpNet) {
        let old = self.kept.len() - self.fresh;
        let mut fresh = 0;
        for (at, firing) in std::mem::take(&mut self.kept).into_iter().enumerate() {
            if let Some(firing) = firing.without(net) {
                fresh += usize::from(at >= old);
                self.kept.push_back(firing);
            }
        }
        self.fresh = fresh;
        self.packets = self.kept.iter().map(|firing| firing.packets.len()).sum();
    }

    /// The oldest ones that have not been taken yet, at most so many.
    pub(super) fn take(&mut self, at_most: usize) -> Vec<Arc<Firing>> {
        let from = self.kept.len() - self.fresh;
        let taken: Vec<_> = self.kept.iter().skip(from).take(at_most).cloned().collect();
        self.fresh -= taken.len();
        taken
    }
}

/// The answer to all targets of a firing: what was done about any, else why not about the first.
pub(super) fn sum(sum: Option<Answer>, one: Answer) -> Answer {
    match (sum, one) {
        (Some(Answer::Acted { measure, timeout, before, targets }), Answer::Acted { .. }) => {
            Answer::Acted { measure, timeout, before, targets: targets.saturating_add(1) }
        }
        (Some(known @ Answer::Acted { .. }), _) => known,
        (_, Answer::Acted { .. }) | (None, _) => one,
        (Some(known), _) => known,
    }
}
