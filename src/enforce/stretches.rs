//! Prefixes that overlap, in sets whose elements must not.
//!
//! Two prefixes are apart or one holds the other, and the kernel takes neither twice (EEXIST). So an element is a
//! stretch of addresses and says which target it belongs to: every address belongs to the target that holds it the
//! longest, and what another one would hold longer is cut out of the wider one. Each address is then dropped exactly
//! until the last of its targets ends.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};

use super::expression::Counts;
use super::message::Read;

/// An element of an interval set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) first: IpAddr,
    pub(super) last: IpAddr,
    /// Whose it is; several only where an element that was not written by us covers no single prefix.
    pub(super) targets: Vec<IpNet>,
    pub(super) expires: Option<Duration>,
    pub(super) counts: Counts,
    pub(super) comment: String,
}

/// A target with what is held for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) target: IpNet,
    pub(super) expires: Option<Duration>,
    pub(super) counts: Counts,
    pub(super) comment: String,
}

/// The ends whose starts have expired, which the kernel does not tell any more and has not collected yet.
pub(super) fn stale_ends(elements: &[Read]) -> Vec<IpAddr> {
    let mut order: Vec<(IpAddr, bool)> =
        elements.iter().map(|element| (element.address, !element.is_end)).collect();
    order.sort_unstable();
    let mut open = false;
    let mut stale = Vec::new();
    for (address, is_start) in order {
        if !is_start && !open {
            stale.push(address);
        }
        open = is_start;
    }
    stale
}

/// Puts starts and ends of intervals together.
pub(super) fn pair(mut elements: Vec<Read>) -> Vec<Stretch> {
    // An interval's end may be the start of the next.
    elements.sort_by_key(|element| (element.address, !element.is_end));
    let mut stretches = Vec::new();
    let mut open: Option<Read> = None;
    for element in elements {
        if let Some(start) = open.take() {
            stretches.extend(before(element.address).map(|last| stretch(start, last)));
        }
        // An end without a start belongs to an interval that has expired.
        open = (!element.is_end).then_some(element);
    }
    stretches.extend(open.map(|start| {
        let last = match start.address {
            IpAddr::V4(_) => Ipv4Addr::BROADCAST.into(),
            IpAddr::V6(_) => Ipv6Addr::from_bits(u128::MAX).into(),
        };
        stretch(start, last)
    }));
    stretches
}

fn stretch(start: Read, last: IpAddr) -> Stretch {
    let first = start.address;
    let known = start.target_length.and_then(|length| IpNet::new(first, length).ok());
    let targets = match (known, first, last) {
        (Some(target), ..) if target.contains(&last) => vec![target.trunc()],
        (_, IpAddr::V4(first), IpAddr::V4(last)) => Ipv4Subnets::new(first, last, 0).map(IpNet::V4).collect(),
        (_, IpAddr::V6(first), IpAddr::V6(last)) => Ipv6Subnets::new(first, last, 0).map(IpNet::V6).collect(),
        _ => Vec::new(),
    };
    Stretch { first, last, targets, expires: start.expires, counts: start.counts, comment: start.comment }
}

/// The targets that stretches belong to, each with the sum of its counts.
pub(super) fn entries(stretches: &[Stretch]) -> BTreeMap<IpNet, Entry> {
    let mut entries = BTreeMap::new();
    for stretch in stretches {
        let mut counts = stretch.counts;
        for &target in &stretch.targets {
            let entry = entries.entry(target).or_insert_with(|| Entry {
                target,
                expires: stretch.expires,
                counts: Counts::default(),
                comment: stretch.comment.clone(),
            });
            entry.counts += std::mem::take(&mut counts);
        }
    }
    entries
}

/// Whether stretches, in the order of their addresses, hold every address of `target`.
pub(super) fn cover(stretches: &[Stretch], target: IpNet) -> bool {
    let mut next = target.network();
    for stretch in stretches.iter().skip_while(|stretch| stretch.last < target.network()) {
        if stretch.first > next {
            return false;
        }
        match after(stretch.last) {
            Some(after) if stretch.last < target.broadcast() => next = after,
            _ => return true,
        }
    }
    false
}

/// Shares the addresses out: stretches (first, last, index of the target) that do not overlap.
pub(super) fn share_out(targets: &[(IpNet, Option<Duration>)]) -> Vec<(IpAddr, IpAddr, usize)> {
    let mut order: Vec<usize> = (0..targets.len()).collect();
    let of = |index: usize| targets.get(index).copied().unwrap_or_default();
    order.sort_by_key(|&index| (of(index).0.network(), of(index).0.prefix_len()));
    let mut shares = Vec::new();
    // The targets around the present place, widest first, each with what is left of it.
    let mut around: Vec<Share> = Vec::new();
    for index in order {
        let (target, expires) = of(index);
        while around.pop_if(|wider| wider.last < target.network()).is_some_and(|done| {
            done.finish(&mut shares);
            true
        }) {}
        // A target that some wider one outlasts owns nothing.
        if around.last().is_some_and(|wider| !outlasts(expires, wider.expires)) {
            continue;
        }
        if let Some(wider) = around.last_mut() {
            wider.step_over(target, &mut shares);
        }
        around.push(Share { index, expires, next: Some(target.network()), last: target.broadcast() });
    }
    around.into_iter().rev().for_each(|share| share.finish(&mut shares));
    shares
}

struct Share {
    index: usize,
    expires: Option<Duration>,
    /// The first address not given out yet; `None` when all are.
    next: Option<IpAddr>,
    last: IpAddr,
}

impl Share {
    /// Gives out what lies before a narrower target and goes on after it.
    fn step_over(&mut self, hole: IpNet, shares: &mut Vec<(IpAddr, IpAddr, usize)>) {
        if let (Some(next), Some(before)) = (self.next, before(hole.network()))
            && next <= before
        {
            shares.push((next, before, self.index));
        }
        self.next = after(hole.broadcast()).filter(|next| *next <= self.last);
    }

    fn finish(self, shares: &mut Vec<(IpAddr, IpAddr, usize)>) {
        shares.extend(self.next.map(|next| (next, self.last, self.index)));
    }
}

/// Whether something outlasts something else; no end outlasts any.
fn outlasts(one: Option<Duration>, other: Option<Duration>) -> bool {
    other.is_some_and(|other| one.is_none_or(|one| one > other))
}

/// The address before this one, if there is one.
pub(super) fn before(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => address.to_bits().checked_sub(1).map(|bits| Ipv4Addr::from_bits(bits).into()),
        IpAddr::V6(address) => address.to_bits().checked_sub(1).map(|bits| Ipv6Addr::from_bits(bits).into()),
    }
}

/// The address after this one, if there is one.
pub(super) fn after(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => address.to_bits().checked_add(1).map(|bits| Ipv4Addr::from_bits(bits).into()),
        IpAddr::V6(address) => address.to_bits().checked_add(1).map(|bits| Ipv6Addr::from_bits(bits).into()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shares(targets: &[(&str, u64)]) -> Vec<String> {
        let targets: Vec<_> = targets
            .iter()
            .map(|(target, seconds)| (target.parse().unwrap(), Some(Duration::from_secs(*seconds))))
            .collect();
        share_out(&targets)
            .iter()
            .map(|(first, last, index)| format!("{first}-{last} {}", targets[*index].0))
            .collect()
    }

    #[test]
    fn a_longer_ban_is_cut_out_of_a_shorter_one_around_it() {
        assert_eq!(
            shares(&[("192.0.2.0/24", 60), ("192.0.2.64/26", 600)]),
            [
                "192.0.2.0-192.0.2.63 192.0.2.0/24",
                "192.0.2.64-192.0.2.127 192.0.2.64/26",
                "192.0.2.128-192.0.2.255 192.0.2.0/24",
            ]
        );
        assert_eq!(
            shares(&[("192.0.2.0/24", 60), ("192.0.2.64/26", 60)]),
            ["192.0.2.0-192.0.2.255 192.0.2.0/24"]
        );
    }

    proptest! {
        #[test]
        fn every_address_belongs_to_the_target_that_holds_it_longest(
            targets in prop::collection::btree_map((0u32..32, 27u8..=32), prop::option::of(1u64..6), 0..8)
        ) {
            let targets: std::collections::BTreeMap<IpNet, Option<Duration>> = targets
                .into_iter()
                .map(|((host, length), seconds)| {
                    // The last 32 addresses of all, so that the end of the address space is met as well.
                    let address = Ipv4Addr::from_bits(u32::MAX - host);
                    (IpNet::new(address.into(), length).unwrap().trunc(), seconds.map(Duration::from_secs))
                })
                .collect();
            let targets: Vec<_> = targets.into_iter().collect();
            let shares = share_out(&targets);
            for bits in u32::MAX - 31..=u32::MAX {
                let address = IpAddr::from(Ipv4Addr::from_bits(bits));
                // The naive way: the longest, and of equals the widest.
                let expected = targets
                    .iter()
                    .enumerate()
                    .filter(|(_, (target, _))| target.contains(&address))
                    .max_by_key(|(_, (target, expires))| {
                        (expires.unwrap_or(Duration::MAX), std::cmp::Reverse(target.prefix_len()))
                    })
                    .map(|(index, _)| index);
                let owners: Vec<_> = shares
                    .iter()
                    .filter(|(first, last, _)| (*first..=*last).contains(&address))
                    .map(|share| share.2)
                    .collect();
                prop_assert_eq!(owners, expected.into_iter().collect::<Vec<_>>(), "{}", address);
            }
        }
    }

    #[test]
    fn starts_and_ends_of_intervals_are_put_together_in_whatever_order_the_kernel_tells_them() {
        let element = |address: &str, is_end, target_length| Read {
            address: address.parse().unwrap(),
            is_end,
            expires: None,
            counts: Counts { packets: 1, bytes: 60 },
            comment: "manual".to_owned(),
            target_length,
        };
        let stretches = pair(vec![
            element("240.0.0.0", false, None),
            element("192.0.2.128", true, None),
            element("192.0.2.64", false, Some(24)),
            element("192.0.2.128", false, None),
            element("192.0.3.64", true, None),
            element("10.0.0.0", true, None),
        ]);
        let told: Vec<_> =
            stretches.iter().map(|s| format!("{}-{} {:?}", s.first, s.last, s.targets)).collect();
        assert_eq!(
            told,
            [
                "192.0.2.64-192.0.2.127 [192.0.2.0/24]",
                "192.0.2.128-192.0.3.63 [192.0.2.128/25, 192.0.3.0/26]",
                "240.0.0.0-255.255.255.255 [240.0.0.0/4]",
            ]
        );
        let entries = entries(&stretches);
        assert_eq!(entries.len(), 4);
        assert_eq!(entries.values().map(|entry| entry.counts.packets).sum::<u64>(), 3, "counted once each");
    }
}
