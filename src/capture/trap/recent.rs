//! Who has just been told of: a client that connects in a loop is told once a second, and not a million times.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::Touch;

/// How long connections are gathered after the first has been told.
const GATHER: Duration = Duration::from_secs(1);
/// The most pairs of source and trap that are gathered; of more, each connection is told.
const MOST: usize = 1024;

/// The touches of the last second.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// When the pair is told again, and what there is to tell by then.
    pairs: HashMap<(IpAddr, SocketAddr), (Instant, Touch)>,
    /// The earliest of those times, or one before it.
    next: Option<Instant>,
}

impl Recent {
    /// Notes a connection. Gives it back if it is to be told now.
    pub(super) fn note(&mut self, touch: Touch, now: Instant) -> Option<Touch> {
        let key = (touch.source, touch.trap);
        if let Some((_, gathered)) = self.pairs.get_mut(&key) {
            gathered.connections = gathered.connections.saturating_add(touch.connections);
            (gathered.source_port, gathered.arrival) = (touch.source_port, touch.arrival);
            return None;
        }
        if self.pairs.len() < MOST {
            let at = now + GATHER;
            self.pairs.insert(key, (at, Touch { connections: 0, ..touch }));
            self.next.get_or_insert(at);
        }
        Some(touch)
    }

    /// When there may be something to tell.
    pub(super) const fn next_due(&self) -> Option<Instant> {
        self.next
    }

    /// What has gathered and is to be told by `now`. Pairs that nothing came of are forgotten.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Touch> {
        if self.next.is_none_or(|next| next > now) {
            return Vec::new();
        }
        let mut due = Vec::new();
        self.pairs.retain(|_, (at, touch)| {
            if *at > now {
                return true;
            }
            let gathered = std::mem::replace(touch, Touch { connections: 0, ..*touch });
            *at = now + GATHER;
            due.extend(Some(gathered).filter(|touch| touch.connections > 0));
            gathered.connections > 0
        });
        self.next = self.pairs.values().map(|(at, _)| *at).min();
        due
    }
}

#[cfg(test)]
mod tests {
    use super::super::Arrival;
    use super::*;

    fn touch(last: u8) -> Touch {
        let trap = SocketAddr::from(([192, 0, 2, 1], 23));
        let source = [203, 0, 113, last].into();
        Touch { source, source_port: 40_000, trap, connections: 1, arrival: Arrival::default() }
    }

    #[test]
    fn the_first_connection_is_told_at_once_and_the_rest_of_the_second_together() {
        let mut recent = Recent::default();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(recent.note(touch(1), at(0)), Some(touch(1)));
        for ms in 1..1000 {
            assert_eq!(recent.note(touch(1), at(ms)), None);
            assert_eq!(recent.due(at(ms)), []);
        }
        assert_eq!(recent.next_due(), Some(at(1000)));
        assert_eq!(recent.due(at(1000)), [Touch { connections: 999, ..touch(1) }]);
        assert_eq!(recent.note(touch(1), at(1500)), None);
        assert_eq!(recent.due(at(2000)), [touch(1)]);
        assert_eq!((recent.due(at(3000)), recent.next_due()), (vec![], None));
        assert_eq!(recent.note(touch(1), at(3001)), Some(touch(1)));
    }

    #[test]
    fn of_more_pairs_than_are_gathered_each_connection_is_told() {
        let mut recent = Recent::default();
        let now = Instant::now();
        for port in 0..2000 {
            let trap = SocketAddr::from(([192, 0, 2, 1], port));
            assert!(recent.note(Touch { trap, ..touch(1) }, now).is_some());
        }
        assert_eq!(recent.pairs.len(), MOST);
    }
}
