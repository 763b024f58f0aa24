//! Which sightings of a source may be forgotten before their time.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Cold, Context, Hot, Source};
use crate::detect::rule::Fields;
use crate::detect::ruleset::{Compiled, Counting};

/// How many sightings are kept to show beside a count of packets or octets.
const SHOWN: usize = 16;

impl Source {
    /// Drops the sightings that no rule needs: those too old, and those that newer ones stand for. What is left answers
    /// every question as before: for each rule the newest values that reach its threshold, and the newest sources.
    pub(super) fn purge(&mut self, now: i64, context: Context<'_>) {
        let mut order: Vec<usize> = (0..self.hot.len()).collect();
        order.sort_unstable_by_key(|&at| std::cmp::Reverse(self.hot.get(at).map(|hot| hot.last)));
        let mut kept: Vec<Kept> = Vec::new();
        let mut needed = vec![false; self.hot.len()];
        for at in order {
            let (Some(hot), Some(cold)) = (self.hot.get(at), self.cold.get(at)) else { continue };
            let Some(shape) = context.shapes.get(cold.shape) else { continue };
            let Some(share) = shape.shares.get(context.key) else { continue };
            for index in share.mask.iter() {
                let Some(rule) = context.rules.rules.get(index) else { continue };
                if now - hot.last >= rule.window {
                    continue;
                }
                let known =
                    kept.iter().position(|kept| kept.rule == index && kept.accepted == shape.accepted);
                let number = known.unwrap_or_else(|| {
                    kept.push(Kept {
                        rule: index,
                        accepted: shape.accepted,
                        values: Vec::new(),
                        sources: Vec::new(),
                    });
                    kept.len() - 1
                });
                if let Some(kept) = kept.get_mut(number)
                    && kept.takes(rule, cold, context)
                    && let Some(needed) = needed.get_mut(at)
                {
                    *needed = true;
                }
            }
        }
        let mut flags = needed.iter();
        self.hot.retain(|_: &mut Hot| flags.next().copied().unwrap_or(false));
        let mut flags = needed.iter();
        self.cold.retain(|_| flags.next().copied().unwrap_or(false));
        self.purge_at = u32::try_from(self.hot.len().saturating_mul(2)).unwrap_or(u32::MAX);
    }

    /// Drops the sightings of those within `net`.
    pub(in crate::detect) fn forget_senders(&mut self, net: IpNet) {
        let before = self.cold.len();
        let flags: Vec<bool> = self.cold.iter().map(|cold| !net.contains(&cold.saddr)).collect();
        let mut keep = flags.iter();
        self.hot.retain(|_: &mut Hot| keep.next().copied().unwrap_or(false));
        let mut keep = flags.iter();
        self.cold.retain(|_| keep.next().copied().unwrap_or(false));
        if self.cold.len() < before {
            self.unripe = Default::default();
        }
    }
}

/// What [`Source::purge`] keeps for one rule, of accepted packets or of others.
struct Kept {
    rule: usize,
    accepted: bool,
    values: Vec<u64>,
    sources: Vec<IpAddr>,
}

impl Kept {
    /// Whether a rule needs a sighting, the newer ones having been asked before.
    fn takes(&mut self, rule: &Compiled, cold: &Cold, context: Context<'_>) -> bool {
        let (fields, limit) = match rule.counting {
            Counting::Distinct { fields, limit, .. } => (fields, limit),
            // Of packets and octets only what is shown with them.
            Counting::Packets | Counting::Bytes => {
                (Fields { dport: true, daddr: true, saddr: true, protocol: true }, SHOWN)
            }
        };
        let mut takes = false;
        let value = context.value_of(fields, cold);
        if self.values.len() < limit && !self.values.contains(&value) {
            self.values.push(value);
            takes = true;
        }
        if rule.from_at_least > 1
            && self.sources.len() < rule.from_at_least
            && !self.sources.contains(&cold.saddr)
        {
            self.sources.push(cold.saddr);
            takes = true;
        }
        takes
    }
}
