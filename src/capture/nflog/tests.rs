use netlink_packet_core::{NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_netfilter::nflog::ConfigNla;
use netlink_packet_netfilter::nflog::{
    ConfigCmd, ConfigFlags, ConfigMode, PacketHdr, PacketNla, TimeStamp, Timeout, ULogMessage,
};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use proptest::prelude::*;

use super::*;
use crate::netlink::{Batch, Header, NLM_F_ACK, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NLMSG_OVERRUN};
use crate::packet::Pkttype;

/// The message of one packet as another implementation writes it.
fn written_by_others(delivery: &Delivery<'_>, link_type: u16, link_header: &[u8]) -> Vec<u8> {
    let [high, low] = delivery.hw_protocol.to_be_bytes();
    let mut attributes = vec![
        PacketNla::PacketHdr(PacketHdr::parse(&[high, low, 1, 0]).unwrap()),
        PacketNla::Mark(delivery.mark),
        PacketNla::IfIndexInDev(delivery.iif),
        PacketNla::IfIndexOutDev(delivery.oif),
        PacketNla::HwType(link_type),
        PacketNla::HwHeaderLen(u16::try_from(link_header.len()).unwrap()),
        PacketNla::HwHeader(link_header.to_vec()),
        PacketNla::Uid(0),
    ];
    if !delivery.prefix.is_empty() {
        attributes.push(PacketNla::Prefix(std::ffi::CString::new(delivery.prefix).unwrap()));
    }
    if let Some(micros) = delivery.received_us {
        let part = |value: i64| u64::try_from(value).unwrap().to_be_bytes();
        let octets = [part(micros / 1_000_000), part(micros % 1_000_000)].concat();
        attributes.push(PacketNla::Timestamp(TimeStamp::parse(&octets).unwrap()));
    }
    attributes.extend(delivery.sequence.map(PacketNla::Seq));
    attributes.push(PacketNla::Payload(delivery.payload.to_vec()));
    let header = NetfilterHeader::new(NetfilterProtoFamily::IPv4, 0, delivery.group);
    let message = NetfilterMessage::new(header, ULogMessage::Packet(attributes));
    let mut message = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::from(message));
    message.finalize();
    let mut octets = vec![0; message.buffer_len()];
    message.serialize(&mut octets);
    octets
}

/// A message of ours: kind and body.
fn datagram(kind: u16, fixed: &[u8], body: impl FnOnce(&mut Batch)) -> Vec<u8> {
    let mut batch = Batch::default();
    batch.message(Header { kind, flags: 0, sequence: 9 }, fixed, body);
    batch.as_bytes().to_vec()
}

/// A packet of group 100 whose first attributes are `first`.
fn packet(sequence: Option<u32>, first: impl FnOnce(&mut Batch)) -> Vec<u8> {
    datagram(message::NFULNL_MSG_PACKET, &[2, 0, 0, 100], |m| {
        first(m);
        m.attribute(message::NFULA_PACKET_HDR, &[8, 0, 1, 0]);
        if let Some(sequence) = sequence {
            m.be32(message::NFULA_SEQ, sequence);
        }
        m.attribute(message::NFULA_PAYLOAD, &[0x45, 0, 0]);
    })
}

fn only_packet(datagram: &[u8]) -> Delivery<'_> {
    let events: Vec<_> = parse(datagram).collect();
    let [Event::Packet(delivery)] = events[..] else { panic!("{events:?}") };
    delivery
}

fn counting(groups: &[u16]) -> Counts {
    Counts { groups: groups.iter().copied().map(Group::new).collect(), ..Counts::default() }
}

proptest! {
    #[test]
    fn what_another_implementation_writes_is_read_alike(
        (group, hw_protocol, iif, oif, mark) in any::<(u16, u16, u32, u32, u32)>(),
        payload in proptest::collection::vec(any::<u8>(), 0..200),
        prefix in proptest::collection::vec(1..=255u8, 0..127),
        received_us in proptest::option::of(0..i64::MAX / 2),
        sequence in any::<Option<u32>>(),
        link_header in proptest::collection::vec(any::<u8>(), 14),
        copies in 1..5usize,
    ) {
        let delivery = Delivery {
            group, hw_protocol, payload: &payload, prefix: &prefix, iif, oif,
            link_destination: link_header.first_chunk().copied(),
            received_us, mark, sequence,
        };
        let mut octets = written_by_others(&delivery, 1, &link_header).repeat(copies);
        if copies > 1 {
            octets.extend(datagram(NLMSG_DONE, &[0; 4], |_| {}));
        }
        let events: Vec<_> = parse(&octets).collect();
        prop_assert_eq!(events, vec![Event::Packet(delivery); copies]);
    }

    #[test]
    fn no_octets_make_it_panic_or_go_on_for_ever(octets in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(parse(&octets).count() <= octets.len() / 16 + 1);
    }

    #[test]
    fn a_changed_octet_never_makes_it_panic(at in 0..60usize, value: u8) {
        let mut octets = packet(Some(3), |_| {}).repeat(2);
        octets[at] = value;
        prop_assert!(parse(&octets).count() <= 3);
    }

    #[test]
    fn gaps_add_up_to_what_was_dropped_wherever_the_numbers_start(
        kept in proptest::collection::vec(any::<bool>(), 1..200), start: u32,
    ) {
        let mut group = Group { next: start, ..Group::new(100) };
        let mut sequence = start;
        for &kept in &kept {
            if kept {
                group.count(Some(sequence));
            }
            sequence = sequence.wrapping_add(1);
        }
        group.count(Some(sequence));
        let dropped = kept.iter().filter(|&&kept| !kept).count();
        prop_assert_eq!(group.statistics.lost, dropped as u64);
        prop_assert_eq!(group.statistics.packets, (kept.len() - dropped + 1) as u64);
    }
}

#[test]
fn the_link_layer_destination_is_told_for_ethernet_alone() {
    let with_link = |kind: u16, header: &[u8]| {
        packet(None, |m| {
            m.attribute(message::NFULA_HWTYPE, &kind.to_be_bytes());
            m.attribute(message::NFULA_HWHEADER, header);
        })
    };
    let header = [0x33, 0x33, 0, 0, 0, 1, 2, 2, 2, 2, 2, 2, 0x86, 0xdd];
    let ethernet = with_link(1, &header);
    assert_eq!(only_packet(&ethernet).link_destination, Some([0x33, 0x33, 0, 0, 0, 1]));
    assert_eq!(only_packet(&ethernet).pkttype(), Pkttype::Multicast);
    assert_eq!(only_packet(&with_link(1, &[0xff; 14])).pkttype(), Pkttype::Broadcast);
    assert_eq!(only_packet(&with_link(772, &[0; 14])).link_destination, Some([0; 6]));
    assert_eq!(only_packet(&with_link(1, &header[..13])).link_destination, None, "a header cut short");
    assert_eq!(only_packet(&with_link(512, &[0xff; 14])).pkttype(), Pkttype::Unicast, "PPP has no addresses");
}

#[test]
fn a_message_without_packet_header_or_payload_is_malformed() {
    for missing in [message::NFULA_PACKET_HDR, message::NFULA_PAYLOAD] {
        let octets = datagram(message::NFULNL_MSG_PACKET, &[2, 0, 0, 100], |m| {
            for kind in [message::NFULA_PACKET_HDR, message::NFULA_PAYLOAD] {
                if kind != missing {
                    m.attribute(kind, &[8, 0, 1, 0]);
                }
            }
        });
        assert_eq!(parse(&octets).collect::<Vec<_>>(), [Event::Malformed]);
    }
}

#[test]
fn octets_that_are_no_message_are_malformed_once() {
    let mut octets = packet(None, |_| {});
    octets.extend([7; 40]);
    let events: Vec<_> = parse(&octets).collect();
    assert!(matches!(events[..], [Event::Packet(_), Event::Malformed]), "{events:?}");
}

#[test]
fn answers_and_overruns_are_told_and_the_end_of_a_batch_is_not() {
    let answer = datagram(NLMSG_ERROR, &(-libc::EPERM).to_ne_bytes(), |_| {});
    assert_eq!(parse(&answer).collect::<Vec<_>>(), [Event::Answer { request: 9, errno: libc::EPERM }]);
    let overrun = datagram(NLMSG_OVERRUN, &[], |_| {});
    assert_eq!(parse(&overrun).collect::<Vec<_>>(), [Event::Overrun]);
    assert_eq!(parse(&datagram(NLMSG_DONE, &[0; 4], |_| {})).count(), 0);
    assert_eq!(parse(&datagram(NLMSG_ERROR, &[], |_| {})).collect::<Vec<_>>(), [Event::Malformed]);
}

#[test]
fn losses_are_counted_from_the_first_packet_on() {
    let mut counts = counting(&[100]);
    let mut seen = 0;
    for sequence in [2, 3, 7] {
        counts.datagram(&packet(Some(sequence), |_| {}), &mut |_: Delivery<'_>| seen += 1);
    }
    let expected = GroupStatistics { group: 100, packets: 3, lost: 2 + 3 };
    assert_eq!((seen, counts.groups[0].statistics), (3, expected));
}

#[test]
fn a_number_that_goes_back_is_no_loss() {
    let mut group = Group::new(100);
    for sequence in [Some(0), Some(1), Some(0), Some(1), None, Some(2)] {
        group.count(sequence);
    }
    assert_eq!(group.statistics, GroupStatistics { group: 100, packets: 6, lost: 0 });
}

#[test]
fn a_packet_of_a_group_nobody_bound_is_counted_and_not_delivered() {
    let mut counts = counting(&[5]);
    counts.datagram(&packet(Some(0), |_| {}), &mut |_: Delivery<'_>| panic!("delivered"));
    assert_eq!((counts.trouble.malformed, counts.groups[0].statistics.packets), (1, 0));
}

#[test]
fn what_the_kernel_would_not_honour_is_refused_before_it_is_asked() {
    let refused = |settings: &[Settings]| Capture::open(settings, RECEIVE_BUFFER).unwrap_err().to_string();
    let settings = Settings::new(100);
    assert!(refused(&[Settings::new(0)]).contains("group 0"));
    assert!(refused(&[settings.clone(), settings.clone()]).contains("twice"));
    assert!(refused(&[Settings { snaplen: 0, ..settings.clone() }]).contains("snaplen"));
    assert!(refused(&[Settings { snaplen: 0xffff, ..settings.clone() }]).contains("snaplen"));
    assert!(refused(&[Settings { queue_threshold: 0, ..settings.clone() }]).contains("queue-threshold"));
    assert!(refused(&[Settings { nlbufsiz: Some(131_073), ..settings }]).contains("131072"));
}

#[test]
fn a_datagram_has_room_for_the_whole_queue() {
    let settings = Settings { queue_threshold: 64, ..Settings::new(100) };
    assert_eq!(settings.datagram_size(), 64 * 512);
    let settings = Settings { queue_threshold: u32::MAX, ..settings };
    assert_eq!(settings.datagram_size(), 131_072, "as much as the kernel honours");
}

#[test]
fn another_implementation_reads_the_binding_request_as_it_is_meant() {
    let settings = Settings { flush_timeout_cs: 3, nlbufsiz: Some(5_000), ..Settings::new(0x0102) };
    let request = message::bind(&settings, 7);
    let read: NetlinkMessage<NetfilterMessage> = NetlinkMessage::deserialize(request.as_bytes()).unwrap();
    assert_eq!((read.header.sequence_number, read.header.flags), (7, NLM_F_REQUEST | NLM_F_ACK));
    let NetlinkPayload::InnerMessage(message) = read.payload else { panic!("{:?}", read.payload) };
    assert_eq!(message.header.res_id, 0x0102);
    let NetfilterMessageInner::ULog(ULogMessage::Config(attributes)) = message.inner else {
        panic!("{:?}", message.inner)
    };
    assert_eq!(
        attributes,
        [
            ConfigNla::from(ConfigCmd::Bind),
            ConfigMode::new_packet(128).into(),
            Timeout::new(3).into(),
            ConfigNla::NlBufSiz(5_000),
            ConfigNla::QThresh(1),
            ConfigFlags::SEQ.into(),
        ]
    );
}
