//! Taking what is known of a source from elsewhere: of a newcomer, of a member of a prefix, of an earlier process.

use super::sighting::{Cold, Hot, seconds};
use super::{Context, Newcomer, PURGE_AT, Source, number};
use crate::detect::incident::earlier;
use crate::detect::memory::Remembered;
use crate::detect::probe::{Sighting, nanoseconds};
use crate::detect::shape::Share;

impl Source {
    /// Goes on from what is known of a newcomer.
    pub(in crate::detect) fn resume(&mut self, newcomer: &Newcomer, context: Context<'_>) {
        self.previous_ack = newcomer.previous_ack;
        let Some(first) = newcomer.first else { return };
        let shape = context.shapes.get(first.shape);
        let Some(share) = shape.and_then(|shape| shape.shares.get(context.key)) else { return };
        match newcomer.recalled() {
            Some(kept) => self.take_back(share, &kept, kept.last, context),
            // A rule that one packet fires does not let its source be a newcomer.
            None => self.begin(share, first, context),
        }
    }

    /// Counts a packet that came when nothing else was known of the source, and makes no rule fire.
    fn begin(&mut self, share: &Share, first: Cold, context: Context<'_>) {
        let now = nanoseconds(first.first);
        for &index in &share.rates {
            if let Some(rule) = context.rules.rules.get(index) {
                self.rates.add(number(index), first.length, now, rule.window);
            }
        }
        self.add(context.key_of(share, first.shape, first.ends()), first, now);
    }

    /// Takes over the sightings of a member that count here.
    pub(in crate::detect) fn take_over(&mut self, member: &Self, context: Context<'_>) {
        self.unripe = Default::default();
        for (hot, cold) in member.hot.iter().zip(&member.cold) {
            let shape = context.shapes.get(cold.shape);
            let Some(share) = shape.and_then(|shape| shape.shares.get(context.key)) else { continue };
            if share.is_empty() {
                continue;
            }
            let key = context.key_of(share, cold.shape, cold.ends());
            match self.hot.iter_mut().find(|hot| hot.key == key) {
                Some(own) => own.last = own.last.max(hot.last),
                None => {
                    self.hot.push(Hot { key, ..*hot });
                    self.cold.push(*cold);
                }
            }
        }
    }

    /// All that is kept of it.
    pub(in crate::detect) fn kept(&self) -> impl Iterator<Item = Remembered> {
        self.hot.iter().zip(&self.cold).map(|(hot, cold)| Remembered {
            sighting: Sighting {
                first: cold.first,
                probe: cold.probe(hot.raw),
                packets: u64::from(hot.packets),
                bytes: hot.bytes,
            },
            last: hot.last,
            shape: cold.shape,
        })
    }

    /// Takes back what was kept of it before; time may have gone on by then.
    pub(in crate::detect) fn take_back(
        &mut self,
        share: &Share,
        kept: &Remembered,
        now: i64,
        context: Context<'_>,
    ) {
        let Remembered { sighting: Sighting { first, probe, packets, bytes }, last, shape } = *kept;
        self.unripe = Default::default();
        let key = context.key_of(share, shape, probe.ends());
        let packets = u32::try_from(packets).unwrap_or(u32::MAX);
        if let Some(at) = self.hot.iter().position(|hot| hot.key == key) {
            let (Some(hot), Some(cold)) = (self.hot.get_mut(at), self.cold.get_mut(at)) else { return };
            hot.last = hot.last.max(last);
            hot.packets = hot.packets.saturating_add(packets);
            hot.bytes = hot.bytes.saturating_add(bytes);
            cold.first = earlier(cold.first, first);
            return;
        }
        if self.hot.len() >= PURGE_AT.max(self.purge_at as usize) {
            self.purge(now, context);
        }
        self.hot.push(Hot { key, last, bytes, packets, told: seconds(last), raw: probe.raw, closed: false });
        self.cold.push(Cold::new(&probe, shape));
    }
}
