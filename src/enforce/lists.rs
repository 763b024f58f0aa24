//! The lists of the table: protected addresses, published services and traps. They are replaced whole.

use std::io;
use std::ops::RangeInclusive;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::kernel::Kernel;
use super::layout::{PROTECT4, PROTECT6, SERVICES, TRAPS};
use super::message::{self, Key};
use super::table::Part;
use super::transaction::Transaction;
use super::uapi::*;
use crate::netlink::Batch;
use crate::packet::protocol::TCP;

/// Elements in one message: all of them are one attribute, whose length has 16 bits.
pub(super) const ELEMENTS: usize = 256;

impl Kernel {
    /// Replaces the published services.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn publish(&mut self, services: &[(u8, RangeInclusive<u16>)]) -> io::Result<()> {
        self.settings.services = services.to_vec();
        self.replace(|this, transaction| {
            this.write_services(transaction);
            // What is published now is no trap any more.
            if this.settings.conntrack {
                this.write_traps(transaction);
            }
        })
    }

    /// Replaces what stands in some sets; sets the whole table up if it is gone.
    pub(super) fn replace(&mut self, write: impl Fn(&Self, &mut Transaction<Part>)) -> io::Result<()> {
        if !self.sets.are_own() {
            // The administrator's chain says what is published and protected.
            return Ok(());
        }
        let mut transaction = Transaction::begin(&mut self.connection, 1 << 16);
        write(self, &mut transaction);
        match transaction.commit(&mut self.connection) {
            Ok(()) => Ok(()),
            Err(refusal) if refusal.errno() == libc::ENOENT => self.reinstall().map_err(io::Error::other),
            Err(refusal) => Err(io::Error::from_raw_os_error(refusal.errno())),
        }
    }

    pub(super) fn write_protected(&self, transaction: &mut Transaction<Part>) {
        let (mut four, mut six) = (Vec::new(), Vec::new());
        for net in &self.settings.protected {
            match net {
                IpNet::V4(net) => four.push(net.trunc()),
                IpNet::V6(net) => six.push(net.trunc()),
            }
        }
        // Intervals must not overlap, and nothing joins them on the way to the kernel.
        let four = Ipv4Net::aggregate(&four).into_iter().map(IpNet::V4).collect();
        let six = Ipv6Net::aggregate(&six).into_iter().map(IpNet::V6).collect();
        let lists: [(_, Vec<IpNet>); 2] = [(PROTECT4, four), (PROTECT6, six)];
        for (set, nets) in lists {
            self.write_list(transaction, set, &nets, |list, net| {
                let stretch = message::Element {
                    key: Key::Stretch(net.network(), net.broadcast()),
                    timeout: None,
                    comment: "".into(),
                    target_length: None,
                    counts: None,
                };
                stretch.write(list);
            });
        }
    }

    pub(super) fn write_services(&self, transaction: &mut Transaction<Part>) {
        let services = disjoint(&self.settings.services);
        self.write_list(transaction, SERVICES, &services, |list, (protocol, first, last)| {
            message::write_service(list, *protocol, *first, *last);
        });
    }

    pub(super) fn write_traps(&self, transaction: &mut Transaction<Part>) {
        let ports = self.settings.trap.iter().flat_map(|trap| trap.ports.iter().cloned());
        let traps: Vec<_> = ports.map(|ports| (TCP, ports)).collect();
        let traps = without(&disjoint(&traps), &disjoint(&self.settings.services));
        self.write_list(transaction, TRAPS, &traps, |list, (protocol, first, last)| {
            message::write_service(list, *protocol, *first, *last);
        });
    }

    /// Replaces all elements of a set.
    fn write_list<T>(
        &self,
        transaction: &mut Transaction<Part>,
        set: &'static str,
        elements: &[T],
        write: impl Fn(&mut Batch, &T),
    ) {
        let table = &self.settings.table;
        let part = Part::Elements(set);
        transaction.push(part, NFT_MSG_DELSETELEM, 0, |m| message::all_elements(m, table, set));
        for some in elements.chunks(ELEMENTS) {
            transaction.push(part, NFT_MSG_NEWSETELEM, NLM_F_CREATE, |m| {
                message::elements(m, table, set, |list| some.iter().for_each(|element| write(list, element)));
            });
        }
    }
}

/// Joins ranges of ports of one protocol that overlap or touch.
fn disjoint(services: &[(u8, RangeInclusive<u16>)]) -> Vec<(u8, u16, u16)> {
    let mut sorted: Vec<_> = services
        .iter()
        .filter(|(_, ports)| !ports.is_empty())
        .map(|(protocol, ports)| (*protocol, *ports.start(), *ports.end()))
        .collect();
    sorted.sort_unstable();
    sorted.dedup_by(|next, kept| {
        let joins = next.0 == kept.0 && next.1 <= kept.2.saturating_add(1);
        if joins {
            kept.2 = kept.2.max(next.2);
        }
        joins
    });
    sorted
}

/// The ports of `ranges` that none of `others` has; both as [`disjoint`] gives them.
fn without(ranges: &[(u8, u16, u16)], others: &[(u8, u16, u16)]) -> Vec<(u8, u16, u16)> {
    let mut left = Vec::new();
    for &(protocol, first, last) in ranges {
        let mut from = Some(first);
        for &(_, low, high) in others.iter().filter(|o| o.0 == protocol && o.1 <= last && first <= o.2) {
            left.extend(from.filter(|&from| from < low).map(|from| (protocol, from, low - 1)));
            from = high.checked_add(1);
        }
        left.extend(from.filter(|&from| from <= last).map(|from| (protocol, from, last)));
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_overlap_or_touch_become_one_range() {
        let services =
            [(6, 80..=90), (17, 53..=53), (6, 22..=22), (6, 85..=95), (6, 96..=96), (6, 65535..=65535)];
        assert_eq!(disjoint(&services), [(6, 22, 22), (6, 80, 96), (6, 65535, 65535), (17, 53, 53)]);
    }

    #[test]
    fn what_is_published_is_cut_out_of_the_traps() {
        let services = [(6, 80, 89), (6, 443, 443), (17, 1, 65535)];
        let of = |first, last| without(&[(6, first, last)], &services);
        assert_eq!(of(1, 65535), [(6, 1, 79), (6, 90, 442), (6, 444, 65535)]);
        assert_eq!((of(80, 89), of(85, 90), of(70, 80)), (vec![], vec![(6, 90, 90)], vec![(6, 70, 79)]));
        assert_eq!(of(23, 23), [(6, 23, 23)]);
        assert_eq!(without(&[(6, 1, 65535)], &[(6, 60000, 65535)]), [(6, 1, 59999)]);
    }
}
