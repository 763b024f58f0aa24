//! What is known of a source, when the rules become others.

use super::{Hot, Newcomer, Source};
use crate::detect::reload::{Keys, Passage};

impl Source {
    /// Goes on with other rules, for which it is counted per `keys`. What counts for none of them goes. Two sightings may be
    /// alike now; each is as old as it is, and a value counts once.
    pub(in crate::detect) fn carry_over(&mut self, passage: &Passage<'_>, keys: &Keys) {
        self.unripe = Default::default();
        self.rates.carry_over(|rule| {
            let heir = passage.heir(rule)?;
            Some((super::number(heir.rule), heir.window_before, heir.window))
        });
        let shapes: Vec<_> = self.cold.iter().map(|cold| passage.shape(cold.shape, keys)).collect();
        for ((hot, cold), shape) in self.hot.iter_mut().zip(&mut self.cold).zip(&shapes) {
            let Some((id, context)) = shape else { continue };
            let share = context.shapes.get(*id).and_then(|shape| shape.shares.get(context.key));
            cold.shape = *id;
            if let Some(share) = share.filter(|_| !hot.closed) {
                hot.key = context.key_of(share, *id, cold.ends());
            }
        }
        let mut counts = shapes.iter();
        self.hot.retain(|_: &mut Hot| counts.next().is_some_and(Option::is_some));
        let mut counts = shapes.iter();
        self.cold.retain(|_| counts.next().is_some_and(Option::is_some));
    }
}

impl Newcomer {
    /// As [`Source::carry_over`].
    pub(in crate::detect) fn carry_over(&mut self, passage: &Passage<'_>, keys: &Keys) {
        self.first = self.first.take().and_then(|mut first| {
            (first.shape, _) = passage.shape(first.shape, keys)?;
            Some(first)
        });
    }
}
