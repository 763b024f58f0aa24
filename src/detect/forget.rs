//! Forgetting what somebody has done, because a person asks for it.

use ipnet::IpNet;

use super::Detector;

impl Detector {
    /// Forgets what sources within `net` have done: their counts, and their open incidents, which end without a word. What
    /// wider prefixes have counted of them goes too; incidents of these stay.
    pub fn forget_sources(&mut self, net: IpNet) {
        let theirs = |slot: &u32| {
            let open = self.open.get(*slot as usize).and_then(Option::as_ref);
            open.filter(|open| net.contains(&open.key.net())).map(|open| (*slot, open.last_stamp()))
        };
        let slots = 0..u32::try_from(self.open.len()).unwrap_or(u32::MAX);
        let ended: Vec<_> = slots.filter_map(|slot| theirs(&slot)).collect();
        for (slot, time) in ended {
            let _ = self.close(slot, time);
        }
        self.open.iter_mut().flatten().for_each(|open| open.forget_senders(net));
        self.grown.retain(|incident| !net.contains(&incident.source));
        self.sources.forget_senders(net);
        self.groups.forget_senders(net);
    }
}
