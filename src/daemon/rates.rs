//! How many packets a second come, over the last minute.
//!
//! The loop wakes every thirty seconds at least; where it does, what was counted is noted, and no more often than every
//! five. So a rate spans a minute under load, up to half a minute more when it is quiet, and costs nothing in between.

use std::collections::VecDeque;
use std::time::Duration;

use crate::control::protocol::Capture;
use crate::report::rate::PerSecond;

/// The least time between two samples.
const EVERY: Duration = Duration::from_secs(5);

/// What a rate spans at least, once the daemon runs that long.
const WINDOW: Duration = Duration::from_secs(60);

/// What had been counted at times of the last minute.
#[derive(Debug)]
pub(super) struct Rates {
    /// The oldest first; of those that are older than the window, the latest one.
    samples: VecDeque<Sample>,
}

#[derive(Debug)]
struct Sample {
    /// Since boot.
    at: Duration,
    evidence: u64,
    /// By the capture's name.
    packets: Vec<(String, u64)>,
}

impl Rates {
    /// Begins when nothing has been counted yet.
    pub(super) fn new(now: Duration) -> Self {
        Self { samples: VecDeque::from([Sample { at: now, evidence: 0, packets: Vec::new() }]) }
    }

    /// Whether another sample is wanted.
    pub(super) fn is_due(&self, now: Duration) -> bool {
        self.samples.back().is_none_or(|latest| latest.at + EVERY <= now)
    }

    /// Notes what has been counted since the start.
    pub(super) fn note(&mut self, captures: &[Capture], evidence: u64, now: Duration) {
        let packets = captures.iter().map(|capture| (capture.source.clone(), capture.packets)).collect();
        self.samples.push_back(Sample { at: now, evidence, packets });
        while self.samples.get(1).is_some_and(|next| next.at + WINDOW <= now) {
            self.samples.pop_front();
        }
    }

    /// Fills in the captures' rates; gives those of all packets and of evidence.
    pub(super) fn fill(
        &self,
        captures: &mut [Capture],
        evidence: u64,
        now: Duration,
    ) -> Option<[PerSecond; 2]> {
        let base = self.samples.front()?;
        let within = now.saturating_sub(base.at);
        let mut all = 0;
        for capture in captures {
            // A capture that was not there then has counted from nothing.
            let before = base.packets.iter().find(|(name, _)| *name == capture.source).map_or(0, |one| one.1);
            let packets = capture.packets.saturating_sub(before);
            capture.packets_per_s = Some(PerSecond::of(packets, within));
            all += packets;
        }
        let evidence = evidence.saturating_sub(base.evidence);
        Some([PerSecond::of(all, within), PerSecond::of(evidence, within)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Verdict;

    fn capture(packets: u64) -> Capture {
        Capture {
            source: "nflog:100".into(),
            verdict: Verdict::Refused,
            packets,
            lost: 0,
            overruns: 0,
            undecoded: 0,
            verdicts: None,
            packets_per_s: None,
        }
    }

    fn rates(rates: &Rates, packets: u64, at: u64) -> [String; 3] {
        let mut captures = [capture(packets)];
        let [all, evidence] = rates.fill(&mut captures, packets / 2, Duration::from_secs(at)).unwrap();
        [captures[0].packets_per_s.unwrap(), all, evidence].map(|rate| rate.to_string())
    }

    #[test]
    fn a_rate_is_of_the_last_minute_and_of_the_run_before_that() {
        let start = Duration::from_secs(1000);
        let mut known = Rates::new(start);
        assert_eq!(rates(&known, 40, 1020), ["2.0", "2.0", "1.0"]);
        // Ten a second for two minutes, then nothing.
        for second in (1005..=1120).step_by(5) {
            let now = Duration::from_secs(second);
            assert!(known.is_due(now), "{second}");
            known.note(&[capture((second - 1000) * 10)], (second - 1000) * 5, now);
            assert!(!known.is_due(now + Duration::from_secs(4)));
        }
        assert_eq!(rates(&known, 1200, 1120), ["10", "10", "5.0"]);
        assert!(known.samples.len() <= 14, "{}", known.samples.len());
        for second in (1150..=1300).step_by(30) {
            known.note(&[capture(1200)], 600, Duration::from_secs(second));
        }
        assert_eq!(rates(&known, 1200, 1300), ["0", "0", "0"]);
    }

    #[test]
    fn a_capture_that_is_new_counts_from_nothing_and_one_that_began_anew_never_backwards() {
        let mut known = Rates::new(Duration::ZERO);
        known.note(&[], 0, Duration::from_secs(5));
        assert_eq!(rates(&known, 100, 10)[0], "10");
        let mut known = Rates::new(Duration::ZERO);
        known.note(&[capture(1000)], 500, Duration::from_secs(70));
        known.note(&[capture(1000)], 500, Duration::from_secs(140));
        assert_eq!(rates(&known, 7, 150), ["0", "0", "0"]);
    }
}
