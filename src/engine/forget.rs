//! Forgetting somebody, because a person asks for it.

use ipnet::IpNet;

use super::{Engine, Refusal};

impl Engine {
    /// What is known of `net` as it is counted: an IPv6 address by its /64, where that is nobody else's.
    #[must_use]
    pub fn known_as(&self, net: IpNet) -> IpNet {
        if net.prefix_len() == net.max_prefix_len() { self.widths.source(net.addr(), "").net() } else { net }
    }

    /// Forgets what sources within `net` have done: counts, open incidents, repetitions, and the packets of decisions. Nothing
    /// is told of it. What wider prefixes have done stays.
    ///
    /// # Errors
    /// Where it is banned, or with all of a wider prefix: that must be lifted first.
    pub fn forget(&mut self, net: IpNet) -> Result<(), Refusal> {
        let within = self.ledger.iter().map(|ban| ban.target).filter(|target| net.contains(target)).min();
        if let Some(target) = within.or_else(|| Some(self.ledger.covering(net)?.target)) {
            return Err(Refusal::Banned(net, target));
        }
        self.detector.forget_sources(net);
        self.traps.forget(net);
        if let Some(web) = &mut self.web {
            web.sources.forget(net);
        }
        self.firings.forget(net);
        self.exempted.forget(net);
        self.ledger.forget(net);
        Ok(())
    }
}
