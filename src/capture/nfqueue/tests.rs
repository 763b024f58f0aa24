use proptest::prelude::*;

use super::message::{self, NFQA_PACKET_HDR, NFQA_PAYLOAD, NFQA_VERDICT_HDR, NFQNL_MSG_PACKET};
use super::verdicts::Verdicts;
use super::*;
use crate::netlink::{Header, Messages, NLMSG_ERROR};

/// A packet of queue 100.
fn packet(id: u32, payload: Option<&[u8]>) -> Vec<u8> {
    let mut batch = Batch::default();
    batch.message(Header { kind: NFQNL_MSG_PACKET, flags: 0, sequence: 0 }, &[2, 0, 0, 100], |m| {
        let [a, b, c, d] = id.to_be_bytes();
        m.attribute(NFQA_PACKET_HDR, &[a, b, c, d, 8, 0, 1]);
        m.be32(message::NFQA_IFINDEX_INDEV, 3);
        payload.into_iter().for_each(|payload| m.attribute(NFQA_PAYLOAD, payload));
    });
    batch.as_bytes().to_vec()
}

fn events(datagram: &[u8]) -> Vec<Event<Queued<'_>>> {
    parse(datagram).collect()
}

#[test]
fn a_packet_without_payload_still_waits_for_its_verdict() {
    let queued = |payload| Queued { queue: 100, id: 7, payload, iif: 3, oif: 0 };
    assert_eq!(events(&packet(7, Some(&[0x45, 0]))), [Event::Packet(queued(&[0x45, 0]))]);
    assert_eq!(events(&packet(7, None)), [Event::Packet(queued(&[]))]);
}

#[test]
fn a_message_without_a_number_is_malformed() {
    let mut batch = Batch::default();
    batch.message(Header { kind: NFQNL_MSG_PACKET, flags: 0, sequence: 0 }, &[2, 0, 0, 100], |m| {
        m.attribute(NFQA_PAYLOAD, &[0x45]);
    });
    assert_eq!(events(batch.as_bytes()), [Event::Malformed]);
    assert_eq!(events(&[7; 40]), [Event::Malformed]);
}

#[test]
fn answers_are_told() {
    let mut batch = Batch::default();
    let errno = (-libc::ENOENT).to_ne_bytes();
    batch.message(Header { kind: NLMSG_ERROR, flags: 0, sequence: 9 }, &errno, |_| {});
    assert_eq!(events(batch.as_bytes()), [Event::Answer { request: 9, errno: libc::ENOENT }]);
}

proptest! {
    #[test]
    fn no_octets_make_it_panic_or_go_on_for_ever(octets in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(parse(&octets).count() <= octets.len() / 16 + 1);
    }

    #[test]
    fn a_changed_octet_never_makes_it_panic(at in 0..48usize, value: u8) {
        let mut octets = packet(3, Some(&[0x45; 20])).repeat(2);
        octets[at] = value;
        prop_assert!(parse(&octets).count() <= 3);
    }

    #[test]
    fn every_packet_gets_the_verdict_that_was_given_and_no_other(
        given in proptest::collection::vec((0..2u16, proptest::bool::weighted(0.8)), 1..80), first: u32,
    ) {
        let mut verdicts = Verdicts::default();
        let mut kernel = Kernel::default();
        let mut next = [first, first.wrapping_add(77)];
        let mut expected = Vec::new();
        for (number, &(queue, accept)) in given.iter().enumerate() {
            let next = &mut next[usize::from(queue)];
            let id = *next;
            // Now and then a number is lost.
            *next = id.wrapping_add(1 + u32::from(number % 3 == 0));
            kernel.waiting.push((queue, id));
            expected.push((queue, id, accept));
            let ruling = if accept { Ruling::Accept } else { Ruling::Drop };
            if verdicts.push(queue, id, ruling) {
                kernel.take(&verdicts.take().unwrap());
            }
        }
        verdicts.take().iter().for_each(|rest| kernel.take(rest));
        prop_assert_eq!(verdicts.take(), None);
        prop_assert_eq!(&kernel.waiting, &[]);
        kernel.ruled.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(kernel.ruled, expected);
    }
}

/// What the kernel makes of verdicts (`nfqnl_recv_verdict`, `nfqnl_recv_verdict_batch`).
#[derive(Default)]
struct Kernel {
    waiting: Vec<(u16, u32)>,
    ruled: Vec<(u16, u32, bool)>,
}

impl Kernel {
    fn take(&mut self, batch: &Batch) {
        for message in Messages::new(batch.as_bytes()) {
            let queue = u16::from_be_bytes([message.payload[2], message.payload[3]]);
            let header = message.attributes(message::NFGENMSG).next().unwrap();
            assert_eq!((header.kind, header.value.len()), (NFQA_VERDICT_HDR, 8));
            let number = |at: usize| u32::from_be_bytes(header.value[at..at + 4].try_into().unwrap());
            let (accept, id) = (number(0) == 1, number(4));
            let means = |of: &(u16, u32)| match message.kind {
                message::NFQNL_MSG_VERDICT => *of == (queue, id),
                message::NFQNL_MSG_VERDICT_BATCH => of.0 == queue && id.wrapping_sub(of.1) <= u32::MAX / 2,
                other => panic!("{other}"),
            };
            let meant: Vec<_> = self.waiting.extract_if(.., |of| means(of)).collect();
            assert!(!meant.is_empty(), "a verdict on nothing");
            self.ruled.extend(meant.into_iter().map(|(queue, id)| (queue, id, accept)));
        }
    }
}

#[test]
fn accepted_packets_in_a_row_are_one_message_and_a_dropped_one_is_sent_at_once() {
    let mut verdicts = Verdicts::default();
    let kinds = |batch: Option<Batch>| {
        let batch = batch.unwrap();
        Messages::new(batch.as_bytes()).map(|message| message.kind).collect::<Vec<_>>()
    };
    assert!(!verdicts.push(100, 1, Ruling::Accept));
    assert!(!verdicts.push(100, 2, Ruling::Accept));
    assert!(verdicts.push(100, 3, Ruling::Drop));
    assert_eq!(kinds(verdicts.take()), [message::NFQNL_MSG_VERDICT_BATCH, message::NFQNL_MSG_VERDICT]);
    assert!((4..19).all(|id| !verdicts.push(100, id, Ruling::Accept)));
    assert!(verdicts.push(100, 19, Ruling::Accept), "nobody waits for more than a few others");
    assert_eq!(kinds(verdicts.take()), [message::NFQNL_MSG_VERDICT_BATCH]);
}

#[test]
fn what_passed_unseen_is_counted_from_the_first_packet_on_and_over_the_wrap() {
    let mut counts = Counts { queues: vec![Queue::new(100)], ..Counts::default() };
    for id in [3, 4, 6] {
        let datagram = packet(id, None);
        events(&datagram).into_iter().for_each(|event| assert!(counts.event(event).is_some()));
    }
    assert_eq!(counts.queues[0].statistics.lost, 2 + 1);
    let mut queue = Queue { next: u32::MAX, ..Queue::new(100) };
    [u32::MAX, 1].into_iter().for_each(|id| queue.number(id));
    assert_eq!(queue.statistics.lost, 1);
}

#[test]
fn a_packet_of_a_queue_nobody_bound_is_counted() {
    let mut counts = Counts { queues: vec![Queue::new(5)], ..Counts::default() };
    let datagram = packet(1, None);
    assert!(events(&datagram).into_iter().all(|event| counts.event(event).is_none()));
    assert_eq!(counts.trouble.malformed, 1);
}
