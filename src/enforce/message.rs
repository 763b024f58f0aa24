//! The messages that make a table, and those that fill and read its sets.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::expression::{Counts, Expression, write_value};
use super::layout::{Chain, Set};
use super::stretches::after;
use super::uapi::*;
use crate::netlink::{Attribute, Attributes, Batch, Message};

/// libnftnl's `NFTNL_UDATA_SET_MERGE_ELEMENTS`.
const UDATA_MERGE_ELEMENTS: u8 = 2;
/// libnftnl's `NFTNL_UDATA_SET_ELEM_COMMENT`.
const UDATA_COMMENT: u8 = 0;
/// The prefix length of the target that a stretch of an interval set belongs to. nft skips types it does not know.
const UDATA_TARGET_LENGTH: u8 = 0x6e;
/// libnftnl's `NFTNL_UDATA_COMMENT_MAXLEN`, with the terminating NUL.
const COMMENT: usize = 128;
/// The longest time the kernel takes (`nf_msecs_to_jiffies64` turns it into nanoseconds first).
const LONGEST_MS: u128 = (u64::MAX / 1_000_000 - 1) as u128;

/// `NFT_MSG_DELTABLE`.
pub(super) fn table(batch: &mut Batch, table: &str) {
    batch.text(NFTA_TABLE_NAME, table);
}

/// `NFT_MSG_NEWTABLE`. Without `flags` (`NFT_TABLE_F_…`) those of a table that exists stay as they are.
pub(super) fn new_table(batch: &mut Batch, name: &str, flags: u32) {
    table(batch, name);
    if flags != 0 {
        batch.be32(NFTA_TABLE_FLAGS, flags);
    }
}

/// `NFT_MSG_NEWSET`. `id` is the set's number within the transaction, which the kernel wants from everybody.
pub(super) fn new_set(batch: &mut Batch, table: &str, set: &Set, id: u32) {
    named_set(batch, table, set.name);
    batch.be32(NFTA_SET_FLAGS, set.flags);
    batch.be32(NFTA_SET_KEY_TYPE, set.key.number());
    batch.be32(NFTA_SET_KEY_LEN, set.key.length());
    batch.be32(NFTA_SET_ID, id);
    batch.nest(NFTA_SET_DESC, |desc| {
        if set.size > 0 {
            desc.be32(NFTA_SET_DESC_SIZE, set.size);
        }
        if !set.key.fields().is_empty() {
            desc.nest(NFTA_SET_DESC_CONCAT, |concat| {
                for &length in set.key.fields() {
                    concat.nest(NFTA_LIST_ELEM, |field| field.be32(NFTA_SET_FIELD_LEN, length));
                }
            });
        }
    });
    match set.expressions.as_slice() {
        [] => {}
        [one] => one.write(batch, NFTA_SET_EXPR),
        several => batch.nest(NFTA_SET_EXPRESSIONS, |list| {
            several.iter().for_each(|expression| expression.write(list, NFTA_LIST_ELEM));
        }),
    }
}

/// What names a set in `NFT_MSG_GETSET` and `NFT_MSG_DELSET`.
pub(super) fn named_set(batch: &mut Batch, table: &str, set: &str) {
    batch.text(NFTA_SET_TABLE, table);
    batch.text(NFTA_SET_NAME, set);
}

/// `NFT_MSG_NEWCHAIN`.
pub(super) fn new_chain(batch: &mut Batch, table: &str, chain: &Chain) {
    named_chain(batch, table, chain.name);
    batch.nest(NFTA_CHAIN_HOOK, |hook| {
        hook.be32(NFTA_HOOK_HOOKNUM, chain.hook);
        hook.be32(NFTA_HOOK_PRIORITY, chain.priority.cast_unsigned());
    });
    batch.be32(NFTA_CHAIN_POLICY, NF_ACCEPT);
    batch.text(NFTA_CHAIN_TYPE, chain.kind);
}

/// What names a chain in `NFT_MSG_DELCHAIN`.
pub(super) fn named_chain(batch: &mut Batch, table: &str, chain: &str) {
    batch.text(NFTA_CHAIN_TABLE, table);
    batch.text(NFTA_CHAIN_NAME, chain);
}

/// `NFT_MSG_DELRULE` for all rules of a chain.
pub(super) fn all_rules(batch: &mut Batch, table: &str, chain: &str) {
    batch.text(NFTA_RULE_TABLE, table);
    batch.text(NFTA_RULE_CHAIN, chain);
}

/// `NFT_MSG_NEWRULE`.
pub(super) fn new_rule(batch: &mut Batch, table: &str, chain: &str, rule: &[Expression]) {
    all_rules(batch, table, chain);
    batch.nest(NFTA_RULE_EXPRESSIONS, |list| {
        rule.iter().for_each(|expression| expression.write(list, NFTA_LIST_ELEM));
    });
}

/// What an element of a set of addresses is found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    /// In a hash set.
    One(IpAddr),
    /// In an interval set: the first and the last address.
    Stretch(IpAddr, IpAddr),
}

/// An element to be added.
#[derive(Debug, Clone)]
pub(super) struct Element<'a> {
    pub(super) key: Key,
    pub(super) timeout: Option<Duration>,
    pub(super) comment: Cow<'a, str>,
    /// In an interval set: the prefix length of the target.
    pub(super) target_length: Option<u8>,
    /// To begin with; `None` where the set's own expressions start fresh.
    pub(super) counts: Option<Counts>,
}

impl Element<'_> {
    /// The element as a list's member, and with it the end of its interval.
    pub(super) fn write(&self, list: &mut Batch) {
        let (Key::One(first) | Key::Stretch(first, _)) = self.key;
        list.nest(NFTA_LIST_ELEM, |element| {
            write_address(element, first);
            if let Some(timeout) = self.timeout {
                element.be64(NFTA_SET_ELEM_TIMEOUT, milliseconds(timeout));
            }
            if !self.comment.is_empty() || self.target_length.is_some() {
                element.attribute(NFTA_SET_ELEM_USERDATA, &userdata(&self.comment, self.target_length));
            }
            if let Some(counts) = self.counts {
                Expression::Counter(counts).write(element, NFTA_SET_ELEM_EXPR);
            }
        });
        self.key.write_end(list);
    }
}

impl Key {
    /// The element that is meant, as a list's member, and the end of its interval.
    pub(super) fn write(self, list: &mut Batch) {
        self.write_start(list);
        self.write_end(list);
    }

    /// The element without the end of its interval: a question for both would have two answers.
    pub(super) fn write_start(self, list: &mut Batch) {
        let (Self::One(first) | Self::Stretch(first, _)) = self;
        list.nest(NFTA_LIST_ELEM, |element| write_address(element, first));
    }

    /// An interval's end is an element of its own, the address after the last; the end of all addresses has none.
    fn write_end(self, list: &mut Batch) {
        let Self::Stretch(_, last) = self else { return };
        if let Some(after) = after(last) {
            list.nest(NFTA_LIST_ELEM, |element| {
                write_address(element, after);
                element.be32(NFTA_SET_ELEM_FLAGS, NFT_SET_ELEM_INTERVAL_END);
            });
        }
    }
}

/// Writes one published service: its protocol and ports, as the two ends of a range of concatenated values.
pub(super) fn write_service(list: &mut Batch, protocol: u8, first: u16, last: u16) {
    let value = |port: u16| {
        let [high, low] = port.to_be_bytes();
        [protocol, 0, 0, 0, high, low, 0, 0]
    };
    list.nest(NFTA_LIST_ELEM, |element| {
        write_value(element, NFTA_SET_ELEM_KEY, &value(first));
        write_value(element, NFTA_SET_ELEM_KEY_END, &value(last));
    });
}

/// The body of `NFT_MSG_NEWSETELEM`, `NFT_MSG_GETSETELEM` and `NFT_MSG_DELSETELEM`.
pub(super) fn elements(batch: &mut Batch, table: &str, set: &str, list: impl FnOnce(&mut Batch)) {
    all_elements(batch, table, set);
    batch.nest(NFTA_SET_ELEM_LIST_ELEMENTS, list);
}

/// The same without naming elements: all of them.
pub(super) fn all_elements(batch: &mut Batch, table: &str, set: &str) {
    batch.text(NFTA_SET_ELEM_LIST_TABLE, table);
    batch.text(NFTA_SET_ELEM_LIST_SET, set);
}

fn write_address(element: &mut Batch, address: IpAddr) {
    match address {
        IpAddr::V4(address) => write_value(element, NFTA_SET_ELEM_KEY, &address.octets()),
        IpAddr::V6(address) => write_value(element, NFTA_SET_ELEM_KEY, &address.octets()),
    }
}

/// No time at all would be for ever, so it is a millisecond at least.
fn milliseconds(timeout: Duration) -> u64 {
    u64::try_from(timeout.as_millis().clamp(1, LONGEST_MS)).unwrap_or(u64::MAX)
}

/// The octets that the kernel keeps with an element and never looks at: type, length, value.
fn userdata(comment: &str, target_length: Option<u8>) -> Vec<u8> {
    // nft prints a comment between quotes and has no way to escape one.
    let printable = comment.chars().map(|c| if c.is_control() || c == '"' { '_' } else { c });
    let mut text = String::new();
    for c in printable {
        if text.len() + c.len_utf8() >= COMMENT {
            break;
        }
        text.push(c);
    }
    let mut octets = vec![UDATA_COMMENT, u8::try_from(text.len() + 1).unwrap_or(u8::MAX)];
    octets.extend_from_slice(text.as_bytes());
    octets.push(0);
    octets.extend(target_length.into_iter().flat_map(|length| [UDATA_TARGET_LENGTH, 1, length]));
    octets
}

/// An element as the kernel tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) address: IpAddr,
    /// The end of an interval, its address not included.
    pub(super) is_end: bool,
    pub(super) expires: Option<Duration>,
    pub(super) counts: Counts,
    pub(super) comment: String,
    pub(super) target_length: Option<u8>,
}

/// The elements that an `NFT_MSG_NEWSETELEM` tells of. One that is not keyed by an address is left out.
pub(super) fn read_elements<'a>(message: &Message<'a>) -> impl Iterator<Item = Read> + use<'a> {
    message
        .attributes(4)
        .filter(|attribute| attribute.kind == NFTA_SET_ELEM_LIST_ELEMENTS)
        .flat_map(|list| list.nested())
        .filter_map(|element| read_element(element.nested()))
}

fn read_element(attributes: Attributes<'_>) -> Option<Read> {
    let mut address = None;
    let mut read = Read {
        address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        is_end: false,
        expires: None,
        counts: Counts::default(),
        comment: String::new(),
        target_length: None,
    };
    for attribute in attributes {
        match attribute.kind {
            NFTA_SET_ELEM_KEY => address = read_address(attribute),
            NFTA_SET_ELEM_FLAGS => {
                read.is_end = attribute.be32().is_some_and(|flags| flags & NFT_SET_ELEM_INTERVAL_END != 0);
            }
            NFTA_SET_ELEM_EXPIRATION => read.expires = attribute.be64().map(Duration::from_millis),
            NFTA_SET_ELEM_USERDATA => read_userdata(attribute.value, &mut read),
            NFTA_SET_ELEM_EXPR => read_counter(attribute, &mut read.counts),
            NFTA_SET_ELEM_EXPRESSIONS => {
                attribute.nested().for_each(|expression| read_counter(expression, &mut read.counts));
            }
            _ => {}
        }
    }
    Some(Read { address: address?, ..read })
}

fn read_address(key: Attribute<'_>) -> Option<IpAddr> {
    let value = key.nested().find(|attribute| attribute.kind == NFTA_DATA_VALUE)?.value;
    match value.len() {
        4 => value.first_chunk::<4>().map(|octets| IpAddr::from(*octets)),
        16 => value.first_chunk::<16>().map(|octets| IpAddr::from(*octets)),
        _ => None,
    }
}

/// Adds what a counter expression has counted; any other expression adds nothing.
pub(super) fn read_counter(expression: Attribute<'_>, counts: &mut Counts) {
    let part = |kind| expression.nested().find(|attribute| attribute.kind == kind);
    if part(NFTA_EXPR_NAME).is_none_or(|name| name.text() != b"counter") {
        return;
    }
    for attribute in part(NFTA_EXPR_DATA).into_iter().flat_map(|data| data.nested()) {
        match attribute.kind {
            NFTA_COUNTER_BYTES => counts.bytes = attribute.be64().unwrap_or_default(),
            NFTA_COUNTER_PACKETS => counts.packets = attribute.be64().unwrap_or_default(),
            _ => {}
        }
    }
}

fn read_userdata(octets: &[u8], read: &mut Read) {
    for (kind, value) in userdata_of(octets) {
        match (kind, value) {
            (UDATA_COMMENT, [text @ .., 0]) => read.comment = String::from_utf8_lossy(text).into_owned(),
            (UDATA_TARGET_LENGTH, [length]) => read.target_length = Some(*length),
            _ => {}
        }
    }
}

/// Whether a set's userdata says that nft joins adjacent elements.
pub(super) fn merges(octets: &[u8]) -> bool {
    userdata_of(octets)
        .any(|(kind, value)| kind == UDATA_MERGE_ELEMENTS && value.iter().any(|&octet| octet != 0))
}

/// Types and values, up to the first length that is a lie.
fn userdata_of(mut octets: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let [kind, length, rest @ ..] = octets else { return None };
        let (value, rest) = rest.split_at_checked(usize::from(*length))?;
        octets = rest;
        Some((*kind, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::{Header, Messages};

    fn told(elements: &[Element<'_>]) -> Vec<Read> {
        let mut batch = Batch::default();
        batch.message(Header { kind: 0, flags: 0, sequence: 1 }, &[0; 4], |body| {
            super::elements(body, "nfban", "ban4", |list| elements.iter().for_each(|e| e.write(list)));
        });
        Messages::new(batch.as_bytes()).flat_map(|message| read_elements(&message)).collect()
    }

    fn element(key: Key) -> Element<'static> {
        Element { key, timeout: None, comment: "tcp-syn-scan".into(), target_length: None, counts: None }
    }

    #[test]
    fn an_element_reads_back_as_it_was_written() {
        let counts = Counts { packets: 3, bytes: 180 };
        let address = "2001:db8::".parse().unwrap();
        let put = Element { counts: Some(counts), target_length: Some(48), ..element(Key::One(address)) };
        let read = told(&[put]).remove(0);
        assert_eq!((read.address, read.counts, read.is_end), (address, counts, false));
        assert_eq!((read.comment.as_str(), read.target_length), ("tcp-syn-scan", Some(48)));
    }

    #[test]
    fn a_stretch_ends_before_the_address_after_it_and_the_last_one_of_all_has_no_end() {
        let stretch = |first: &str, last: &str| {
            told(&[element(Key::Stretch(first.parse().unwrap(), last.parse().unwrap()))])
        };
        let read = stretch("192.0.2.0", "192.0.2.255");
        assert_eq!(
            read.iter().map(|r| (r.address.to_string(), r.is_end)).collect::<Vec<_>>(),
            [("192.0.2.0".to_owned(), false), ("192.0.3.0".to_owned(), true)]
        );
        assert_eq!(stretch("240.0.0.0", "255.255.255.255").len(), 1);
        assert_eq!(stretch("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff").len(), 1);
    }

    #[test]
    fn a_comment_is_cut_to_what_nft_shows_and_can_print_again() {
        let long = "é".repeat(100);
        let read = told(&[Element {
            comment: long.as_str().into(),
            ..element(Key::One(IpAddr::from([192, 0, 2, 1])))
        }]);
        assert_eq!(read[0].comment, "é".repeat(63));
        let quoted =
            Element { comment: "a \"b\"\n".into(), ..element(Key::One(IpAddr::from([192, 0, 2, 1]))) };
        assert_eq!(told(&[quoted])[0].comment, "a _b__");
    }

    #[test]
    fn userdata_that_lies_about_its_length_is_left_alone() {
        let mut read = told(&[element(Key::One(IpAddr::from([192, 0, 2, 1])))]).remove(0);
        read_userdata(&[0, 200, 1], &mut read);
        read_userdata(&[0], &mut read);
        assert_eq!(read.comment, "tcp-syn-scan");
    }

    #[test]
    fn a_timeout_of_nothing_is_not_for_ever_and_one_beyond_the_kernels_reach_is_cut() {
        assert_eq!(milliseconds(Duration::ZERO), 1);
        assert_eq!(milliseconds(Duration::from_secs(600)), 600_000);
        assert!(u128::from(milliseconds(Duration::MAX)) == LONGEST_MS);
    }
}
