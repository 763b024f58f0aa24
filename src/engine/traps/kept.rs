//! Touches outlive the process: somebody may touch his first trap before a restart and his second one after it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use ipnet::IpNet;

use super::{MOST, Traps};
use crate::engine::Engine;
use crate::event::IncidentId;

/// The most traps that are kept of a source: the latest. A threshold above that is reached anew after a restart.
const KEPT: usize = 16;

/// The ports of traps with the boot times of their latest touches.
type Ports = BTreeMap<u16, Duration>;

/// What a source has done, for keeping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptTouches {
    /// Who.
    pub source: IpNet,
    /// Its incident, which goes on: an answer that becomes harder after a restart is one to the same offence.
    pub incident: IncidentId,
    /// The latest traps it has touched, and when last (boot time). None where what it did is over.
    pub ports: Vec<(u16, Duration)>,
}

/// What is handed over for keeping, and what was.
#[derive(Debug, Default)]
pub(super) struct Keeping {
    /// What an earlier process knew of those who have touched nothing since.
    earlier: HashMap<IpNet, (IncidentId, Ports)>,
    /// Who has touched something, or is forgotten, since it was last handed over; none where nobody keeps it.
    changed: Option<BTreeSet<IpNet>>,
}

impl Keeping {
    /// What an earlier process knew of a source, which goes on now.
    pub(super) fn resume(&mut self, net: IpNet) -> Option<(IncidentId, Ports)> {
        self.earlier.remove(&net)
    }

    pub(super) fn mark(&mut self, net: IpNet) {
        if let Some(changed) = &mut self.changed {
            changed.insert(net);
        }
    }

    pub(super) fn forget(&mut self, net: IpNet) {
        self.earlier.retain(|source, _| !net.contains(source));
        if let Some(changed) = &mut self.changed {
            changed.retain(|source| !net.contains(source));
        }
    }
}

impl Traps {
    fn kept(&self, source: IpNet) -> KeptTouches {
        let known = self.touched.get(&source).map(|touched| (touched.id, &touched.ports));
        let earlier = || self.keeping.earlier.get(&source).map(|(incident, ports)| (*incident, ports));
        let Some((incident, ports)) = known.or_else(earlier) else {
            return KeptTouches { source, incident: IncidentId(0), ports: Vec::new() };
        };
        let mut ports: Vec<_> = ports.iter().map(|(port, last)| (*port, *last)).collect();
        ports.sort_unstable_by_key(|(_, last)| std::cmp::Reverse(*last));
        ports.truncate(KEPT);
        KeptTouches { source, incident, ports }
    }
}

impl Engine {
    /// How long the touch of a trap counts; nothing where no rule speaks of traps.
    #[must_use]
    pub fn trap_window(&self) -> Duration {
        self.traps.terms.map_or(Duration::ZERO, |terms| terms.window)
    }

    /// Takes back, at the start, touches that an earlier process saw.
    pub fn recall_touches(&mut self, touches: impl Iterator<Item = KeptTouches>) {
        let earlier = &mut self.traps.keeping.earlier;
        for KeptTouches { source, incident, ports } in touches {
            if !ports.is_empty() && (earlier.len() < MOST || earlier.contains_key(&source)) {
                earlier.entry(source).or_insert((incident, Ports::new())).1.extend(ports);
            }
        }
    }

    /// Notes from now on who touches traps, for whoever keeps it; all who have so far are noted. Or notes nothing any more.
    pub fn track_touches(&mut self, keeps: bool) {
        let Traps { touched, keeping, .. } = &mut self.traps;
        let all = || touched.keys().chain(keeping.earlier.keys()).copied().collect();
        keeping.changed = keeps.then(all);
    }

    /// Whether somebody was noted.
    #[must_use]
    pub fn has_changed_touches(&self) -> bool {
        self.traps.keeping.changed.as_ref().is_some_and(|changed| !changed.is_empty())
    }

    /// What those have done who were noted since the last time.
    pub fn take_changed_touches(&mut self) -> Vec<KeptTouches> {
        let changed = self.traps.keeping.changed.as_mut().map(std::mem::take).unwrap_or_default();
        changed.into_iter().map(|source| self.traps.kept(source)).collect()
    }
}
