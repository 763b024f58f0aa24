//! An enforcer that changes nothing: for replay, and for watching before enforcing.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use ipnet::IpNet;

use super::{Change, Enforcer, Held, Outcome};
use crate::decide::Measure;

/// Holds in memory what a kernel would hold, and lets it expire. It drops and counts no packet.
///
/// It reads no clock: time is what [`DryRun::advance`] says, so a replay is the same every time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DryRun {
    now: Duration,
    elements: BTreeMap<(Measure, IpNet), Element>,
    /// When elements expire; one that was put again or lifted since is met here once more, and passed over.
    expiries: BTreeSet<(Duration, Measure, IpNet)>,
    protected: Vec<IpNet>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Element {
    /// When it expires; `None` is never.
    until: Option<Duration>,
    comment: String,
}

impl DryRun {
    /// Makes it `now`, a time since boot as events are stamped with: what has expired by then is gone. Time does not
    /// step back.
    pub fn advance(&mut self, now: Duration) {
        self.now = self.now.max(now);
        while let Some(&(until, measure, target)) = self.expiries.first()
            && until <= self.now
        {
            self.expiries.pop_first();
            if self.elements.get(&(measure, target)).is_some_and(|element| element.until == Some(until)) {
                self.elements.remove(&(measure, target));
            }
        }
    }

    /// The addresses that are never dropped.
    #[must_use]
    pub fn protected(&self) -> &[IpNet] {
        &self.protected
    }
}

impl Enforcer for DryRun {
    fn apply(&mut self, changes: &[Change]) -> Vec<Outcome> {
        for change in changes {
            match change {
                Change::Put { measure, target, timeout, comment } => {
                    let until = timeout.map(|timeout| self.now.saturating_add(timeout));
                    let element = Element { until, comment: comment.clone() };
                    self.expiries.extend(until.map(|until| (until, *measure, target.trunc())));
                    self.elements.insert((*measure, target.trunc()), element);
                }
                Change::Lift { measure, target } => drop(self.elements.remove(&(*measure, target.trunc()))),
            }
        }
        vec![Outcome::Done; changes.len()]
    }

    fn held(&mut self) -> io::Result<Vec<Held>> {
        let held = self.elements.iter().map(|((measure, target), element)| Held {
            measure: *measure,
            target: *target,
            expires: element.until.map(|until| until.saturating_sub(self.now)),
            packets: 0,
            bytes: 0,
            comment: element.comment.clone(),
        });
        Ok(held.collect())
    }

    fn protect(&mut self, protected: &[IpNet]) -> io::Result<()> {
        self.protected = protected.to_vec();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_is_held_until_its_time_is_over() {
        let mut enforcer = DryRun::default();
        enforcer.advance(Duration::from_secs(100));
        let put = |target: &str, timeout| Change::Put {
            measure: Measure::Restrict,
            target: target.parse().unwrap(),
            timeout,
            comment: "tcp-syn-scan".to_owned(),
        };
        let changes = [put("192.0.2.7/32", Some(Duration::from_secs(10))), put("192.0.2.8/32", None)];
        assert_eq!(enforcer.apply(&changes), [Outcome::Done; 2]);
        enforcer.advance(Duration::from_secs(109));
        let expires: Vec<_> = enforcer.held().unwrap().into_iter().map(|held| held.expires).collect();
        assert_eq!(expires, [Some(Duration::from_secs(1)), None]);
        enforcer.advance(Duration::from_secs(110));
        assert_eq!(enforcer.held().unwrap().len(), 1);
        let lift = Change::Lift { measure: Measure::Restrict, target: "192.0.2.8/32".parse().unwrap() };
        assert_eq!(enforcer.apply(&[lift.clone(), lift]), [Outcome::Done; 2]);
        assert!(enforcer.held().unwrap().is_empty());
    }
}
