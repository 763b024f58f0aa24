//! The packets behind a count, for people.

use std::cmp::Reverse;

use super::{Cold, Context, Hot, Source};
use crate::detect::probe::nanoseconds;
use crate::detect::ruleset::{Compiled, Counting};
use crate::event::firing::{Counted, LISTED, What};
use crate::packet::{TcpFlags, Verdict, protocol};
use crate::time::Stamp;

/// What a rule counts of a source.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::detect) struct Tally {
    pub(in crate::detect) count: u64,
    /// Where the rule fires: of a threshold for each of some values, that times the values.
    pub(in crate::detect) threshold: u64,
    /// The latest of what was counted, in the order of their first packets.
    pub(in crate::detect) packets: Vec<Counted>,
    pub(in crate::detect) left_out: u64,
}

impl Source {
    /// What a rule counts of it at the moment `at`.
    pub(in crate::detect) fn tally(
        &self,
        index: usize,
        rule: &Compiled,
        at: Stamp,
        context: Context<'_>,
    ) -> Tally {
        let now = nanoseconds(at);
        let mut alive: Vec<_> = self.alive(index, rule.window, now, context.shapes).collect();
        let left_out = alive.len().saturating_sub(LISTED);
        if left_out > 0 {
            alive.select_nth_unstable_by_key(LISTED, |(hot, _)| Reverse(hot.last));
            alive.truncate(LISTED);
        }
        let mut packets: Vec<Counted> =
            alive.into_iter().map(|(hot, cold)| cold.counted(hot, at, context)).collect();
        packets.sort_by_key(|counted| (counted.first.wall_us, counted.last.wall_us));
        Tally {
            count: self.come_to(index, rule, now, context),
            threshold: rule.threshold.saturating_mul(self.times(index, rule, now, context)),
            packets,
            left_out: u64::try_from(left_out).unwrap_or(u64::MAX),
        }
    }

    /// What a rule's count is.
    pub(super) fn come_to(&self, index: usize, rule: &Compiled, now: i64, context: Context<'_>) -> u64 {
        match rule.counting {
            Counting::Distinct { .. } => self.distinct(index, rule, now, context).0,
            Counting::Packets => self.totals(index, rule, now).0,
            Counting::Bytes => self.totals(index, rule, now).1,
        }
    }

    /// How many times over a rule's threshold is asked.
    pub(super) fn times(&self, index: usize, rule: &Compiled, now: i64, context: Context<'_>) -> u64 {
        let Some(fields) = rule.for_each else { return 1 };
        let alive = self.alive(index, rule.window, now, context.shapes);
        let mut values: Vec<u64> = alive.map(|(_, cold)| context.value_of(fields, cold)).collect();
        values.sort_unstable();
        values.dedup();
        u64::try_from(values.len()).unwrap_or(u64::MAX).max(1)
    }
}

/// The moment of a boot time in nanoseconds, `now` being known by both clocks.
pub(super) fn stamp(boot: i64, now: Stamp) -> Stamp {
    let ago_us = nanoseconds(now).saturating_sub(boot) / 1000;
    Stamp {
        // What was seen before the boot has no boot time.
        boot: std::time::Duration::from_nanos(u64::try_from(boot).unwrap_or_default()),
        wall_us: now.wall_us.saturating_sub(ago_us),
    }
}

impl Cold {
    fn counted(&self, hot: &Hot, now: Stamp, context: Context<'_>) -> Counted {
        let last = stamp(hot.last, now);
        Counted {
            first: self.first,
            // Of a lone packet the one clock must not say otherwise than the other did when it came.
            last: if hot.packets == 1 { self.first } else { last },
            packets: u64::from(hot.packets),
            interface: context.interfaces.name(self.interface),
            saddr: self.saddr,
            daddr: Some(self.daddr),
            protocol: self.protocol,
            what: self.what(),
            ttl: Some(self.ttl),
            length: Some(self.length),
            verdict: Some(self.verdict),
        }
    }

    fn what(&self) -> What {
        let Self { sport, dport, .. } = *self;
        let cut_off = self.verdict == Verdict::Fragment && (sport, dport) == (0, 0);
        match self.protocol {
            _ if cut_off => What::Other,
            protocol::TCP => What::Tcp { sport, dport, flags: TcpFlags(self.flags) },
            protocol::UDP | protocol::UDPLITE => What::Udp { sport, dport },
            protocol::ICMP | protocol::ICMPV6 => {
                let [kind, code] = self.message.to_be_bytes();
                What::Icmp { kind, code }
            }
            _ => What::Other,
        }
    }
}
