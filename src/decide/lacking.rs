//! Targets that there is no set for: an administrator who has sets of his own filled may name fewer than there can be.

use ipnet::IpNet;

use super::Measure;

/// The sets that are missing. The default lacks none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lacking(Vec<Kind>);

/// What a set is for: in which way the sources are held, whether they are IPv6, and whether they are of any length but
/// the usual one (IPv4 /32, IPv6 /64).
pub type Kind = (Measure, bool, bool);

impl Lacking {
    /// Whether there is no set for a target.
    #[must_use]
    pub fn lacks(&self, measure: Measure, target: IpNet) -> bool {
        let (ipv6, usual) = match target {
            IpNet::V4(_) => (false, 32),
            IpNet::V6(_) => (true, 64),
        };
        self.0.contains(&(measure, ipv6, target.prefix_len() != usual))
    }

    /// What can be done about a target where `measure` is to be: that, or in place of a ban a restriction.
    #[must_use]
    pub fn instead(&self, measure: Measure, target: IpNet) -> Option<Measure> {
        // Never the other way: whoever may be impersonated must not be banned.
        let weaker = (measure == Measure::Ban).then_some(Measure::Restrict);
        [Some(measure), weaker].into_iter().flatten().find(|measure| !self.lacks(*measure, target))
    }
}

impl FromIterator<Kind> for Lacking {
    fn from_iter<T: IntoIterator<Item = Kind>>(kinds: T) -> Self {
        Self(kinds.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ban_becomes_a_restriction_and_a_restriction_nothing() {
        let lacking: Lacking = [
            (Measure::Ban, false, false),
            (Measure::Restrict, true, false),
            (Measure::Ban, true, true),
            (Measure::Restrict, true, true),
        ]
        .into_iter()
        .collect();
        let instead = |measure, target: &str| lacking.instead(measure, target.parse().unwrap());
        assert_eq!(instead(Measure::Ban, "192.0.2.7/32"), Some(Measure::Restrict));
        assert_eq!(instead(Measure::Ban, "192.0.2.0/24"), Some(Measure::Ban));
        assert_eq!(instead(Measure::Restrict, "192.0.2.7/32"), Some(Measure::Restrict));
        assert_eq!(instead(Measure::Restrict, "2001:db8::/64"), None);
        assert_eq!(instead(Measure::Ban, "2001:db8::/64"), Some(Measure::Ban));
        assert_eq!(instead(Measure::Ban, "2001:db8::1/128"), None);
    }
}
