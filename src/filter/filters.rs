//! Many filters asked at once.

use super::mask::Mask;
use super::part::{DPORT, Part, READINGS, Reading};
use super::{Class, Filter};
use crate::packet::Observation;

/// Filters of which one must match. What a packet costs hardly grows with those that ask for another protocol, port
/// or network: they are put aside many at a time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filters {
    bundles: Vec<Bundle>,
}

impl FromIterator<Filter> for Filters {
    fn from_iter<I: IntoIterator<Item = Filter>>(filters: I) -> Self {
        let mut filters = filters.into_iter().peekable();
        let mut bundles = Vec::new();
        while filters.peek().is_some() {
            bundles.push(Bundle::new(filters.by_ref().take(Mask::CAPACITY).collect()));
        }
        Self { bundles }
    }
}

impl Filters {
    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bundles.is_empty()
    }

    /// Whether one of them matches a packet, given the class that the packet has been found to be of.
    #[must_use]
    pub fn matches(&self, observation: &Observation<'_>, class: Option<Class>) -> bool {
        self.bundles.iter().any(|bundle| bundle.matches(observation, class))
    }
}

/// As many filters as a set holds.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Bundle {
    filters: Vec<Filter>,
    every: Mask,
    /// One for each of [`readings`]; none where no filter asks.
    parts: Vec<Option<Part>>,
}

fn readings() -> impl Iterator<Item = &'static Reading> {
    std::iter::once(&DPORT).chain(&READINGS)
}

impl Bundle {
    fn new(filters: Vec<Filter>) -> Self {
        let part = |reading: &Reading| {
            let allowed: Vec<_> = filters.iter().map(reading.allowed).collect();
            Part::new(&allowed)
        };
        Self { parts: readings().map(part).collect(), every: (0..filters.len()).collect(), filters }
    }

    /// What the numbers leave is asked for all else.
    fn matches(&self, observation: &Observation<'_>, class: Option<Class>) -> bool {
        let mut left = self.every;
        for (reading, part) in readings().zip(&self.parts) {
            let Some(part) = part else { continue };
            left = left.and(part.of((reading.value)(observation)));
            if left.is_empty() {
                return false;
            }
        }
        left.iter()
            .any(|place| self.filters.get(place).is_some_and(|filter| filter.matches(observation, class)))
    }
}
