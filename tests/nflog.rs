//! NFLOG against the running kernel, each test in a network namespace of its own.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test states its expectations by panicking"
)]

mod support;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nfban::capture::nflog::{Capture, Delivery, Interfaces, OpenError, Progress, RECEIVE_BUFFER, Settings};
use nfban::packet::Pkttype;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::thread::{CapabilitySet, CapabilitySets};
use support::{HOME4, HOME6, LIMIT, Namespace, PEER4, Pair, wait_until};

/// What a test keeps of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    group: u16,
    hw_protocol: u16,
    payload: Vec<u8>,
    prefix: String,
    iif: u32,
    oif: u32,
    pkttype: Pkttype,
    stamped: bool,
}

/// Receives until `enough` holds for what was received, or fails.
fn receive_until(capture: &mut Capture, enough: impl Fn(&[Seen]) -> bool) -> Vec<Seen> {
    let start = Instant::now();
    let mut seen = Vec::new();
    while !enough(&seen) {
        let progress = capture
            .receive(&mut |packet: Delivery<'_>| {
                seen.push(Seen {
                    group: packet.group,
                    hw_protocol: packet.hw_protocol,
                    payload: packet.payload.to_vec(),
                    prefix: String::from_utf8(packet.prefix.to_vec()).unwrap(),
                    iif: packet.iif,
                    oif: packet.oif,
                    pkttype: packet.pkttype(),
                    stamped: packet.received_us.is_some(),
                });
            })
            .unwrap();
        if progress == Progress::Drained {
            assert!(start.elapsed() < LIMIT, "received only {} packets", seen.len());
            wait(capture, Duration::from_millis(50));
        }
    }
    seen
}

/// Waits until the capture is readable, at most `limit`.
fn wait(capture: &Capture, limit: Duration) -> bool {
    let limit = Timespec::try_from(limit).unwrap();
    rustix::event::poll(&mut [PollFd::new(capture, PollFlags::IN)], Some(&limit)).unwrap() > 0
}

/// Opens groups that a capture of this test had before. A child that another test is just starting holds a copy of
/// every descriptor until it executes its program, and so keeps the dropped capture's groups for a moment.
fn reopen(groups: &[Settings], receive_buffer: usize) -> Result<Capture, OpenError> {
    let mut opened = Capture::open(groups, receive_buffer);
    wait_until("the dropped capture's groups are free", || {
        if matches!(opened, Err(OpenError::Taken { .. })) {
            opened = Capture::open(groups, receive_buffer);
        }
        !matches!(opened, Err(OpenError::Taken { .. }))
    });
    opened
}

/// Logs UDP datagrams that come in: to port 9 + n into group 100 + n.
fn log_rules(namespace: &Namespace, groups: u16) {
    let rules: String = (0..groups)
        .map(|n| format!("udp dport {} log prefix \"nfban:refused g{n} \" group {}\n", 9 + n, 100 + n))
        .collect();
    namespace.sh(&format!(
        "nft -f - <<'END'\ntable inet t {{\nchain c {{\ntype filter hook input priority 0;\n{rules}}}\n}}\nEND"
    ));
}

/// Sends `count` datagrams to `port` of `address`, of which nobody takes notice but the log rules.
fn send(address: &str, port: u16, count: usize) {
    let address: IpAddr = address.parse().unwrap();
    let any: IpAddr = if address.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).unwrap();
    for _ in 0..count {
        socket.send_to(b"probe", SocketAddr::new(address, port)).unwrap();
    }
}

#[test]
fn both_families_and_several_groups_come_over_one_socket() {
    let namespace = Namespace::new();
    log_rules(&namespace, 2);
    namespace.enter(|| {
        let groups = [Settings::new(100), Settings::new(101)];
        let mut capture = Capture::open(&groups, RECEIVE_BUFFER).unwrap();
        send("127.0.0.1", 9, 1);
        send("::1", 10, 1);
        let seen = receive_until(&mut capture, |seen| seen.len() >= 2);
        let told: Vec<_> = seen.iter().map(|s| (s.group, s.hw_protocol, s.prefix.as_str())).collect();
        assert_eq!(told, [(100, 0x0800, "nfban:refused g0 "), (101, 0x86dd, "nfban:refused g1 ")]);
        assert_eq!((seen[0].payload[0] >> 4, seen[1].payload[0] >> 4), (4, 6));
        assert_eq!((seen[0].payload.len(), seen[1].payload.len()), (20 + 8 + 5, 40 + 8 + 5));
        let statistics = capture.statistics();
        let counted: Vec<_> = statistics.groups.iter().map(|g| (g.group, g.packets, g.lost)).collect();
        assert_eq!(counted, [(100, 1, 0), (101, 1, 0)]);
        assert_eq!((statistics.overruns, statistics.malformed), (0, 0));
    });
}

#[test]
fn the_receive_buffer_is_granted_whole_or_told_to_be_less() {
    Namespace::new().enter(|| {
        let buffer = Capture::open(&[Settings::new(100)], RECEIVE_BUFFER).unwrap().receive_buffer();
        assert_eq!(buffer.asked, RECEIVE_BUFFER);
        // In a user namespace of its own a process is bound by net.core.rmem_max.
        let users = std::fs::read_to_string("/proc/self/uid_map").unwrap();
        if users.split_ascii_whitespace().eq(["0", "0", "4294967295"]) {
            assert_eq!(buffer.granted, RECEIVE_BUFFER);
        } else {
            assert!((1..=RECEIVE_BUFFER).contains(&buffer.granted), "{buffer:?}");
        }
    });
}

#[test]
fn groups_are_bound_while_packets_of_the_first_ones_already_fill_the_buffer() {
    let namespace = Namespace::new();
    log_rules(&namespace, 1);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            namespace.enter(|| {
                while !done.load(Ordering::Relaxed) {
                    send("127.0.0.1", 9, 100);
                }
            });
        });
        namespace.enter(|| {
            let groups: Vec<_> = (100..120).map(Settings::new).collect();
            let opened = (0..50).try_for_each(|_| {
                let mut capture = reopen(&groups, 1)?;
                let seen = receive_until(&mut capture, |seen| seen.len() >= 10);
                assert!(seen.iter().all(|packet| packet.group == 100));
                assert_eq!(capture.statistics().malformed, 0);
                Ok::<_, OpenError>(())
            });
            done.store(true, Ordering::Relaxed);
            opened.unwrap();
        });
    });
}

#[test]
fn a_packet_off_the_wire_tells_its_interface_its_time_and_whom_the_link_addressed() {
    let pair = Pair::new();
    log_rules(&pair.home, 1);
    pair.home.enter(|| {
        let mut capture = Capture::open(&[Settings::new(100)], RECEIVE_BUFFER).unwrap();
        pair.peer.enter(|| {
            for address in [HOME4, HOME6] {
                send(address, 9, 1);
            }
            let socket = UdpSocket::bind((PEER4, 0)).unwrap();
            socket.set_broadcast(true).unwrap();
            socket.send_to(b"probe", "192.0.2.255:9").unwrap();
        });
        let seen = receive_until(&mut capture, |seen| seen.len() >= 3);
        let mut interfaces = Interfaces::open().unwrap();
        for packet in &seen {
            assert_eq!((interfaces.name(packet.iif), packet.oif), ("up0", 0));
            assert!(packet.stamped);
        }
        let pkttypes: Vec<_> = seen.iter().map(|s| s.pkttype).collect();
        assert_eq!(pkttypes, [Pkttype::Unicast, Pkttype::Unicast, Pkttype::Broadcast]);
    });
}

#[test]
fn at_the_ingress_hook_the_protocol_is_told_although_the_family_is_not() {
    let pair = Pair::new();
    pair.home.sh(
        "nft -f - <<'END'\ntable netdev t {\nchain c {\ntype filter hook ingress device up0 priority 0;\n\
         udp dport 9 log group 100\n}\n}\nEND",
    );
    pair.home.enter(|| {
        let mut capture = Capture::open(&[Settings::new(100)], RECEIVE_BUFFER).unwrap();
        pair.peer.enter(|| {
            send(HOME4, 9, 1);
            send(HOME6, 9, 1);
        });
        let seen = receive_until(&mut capture, |seen| seen.len() >= 2);
        let told: Vec<_> =
            seen.iter().map(|s| (s.hw_protocol, s.payload[0] >> 4, s.prefix.as_str())).collect();
        assert_eq!(told, [(0x0800, 4, ""), (0x86dd, 6, "")]);
    });
}

#[test]
fn no_more_than_the_snaplen_is_copied() {
    let namespace = Namespace::new();
    log_rules(&namespace, 1);
    namespace.enter(|| {
        let settings = Settings { snaplen: 29, ..Settings::new(100) };
        let mut capture = Capture::open(&[settings], RECEIVE_BUFFER).unwrap();
        send("127.0.0.1", 9, 1);
        assert_eq!(receive_until(&mut capture, |seen| !seen.is_empty())[0].payload.len(), 29);
    });
}

#[test]
fn what_does_not_fit_the_receive_buffer_is_counted_exactly_and_is_no_error() {
    const BURST: usize = 20_000;
    let namespace = Namespace::new();
    log_rules(&namespace, 2);
    namespace.enter(|| {
        let mut capture = Capture::open(&[Settings::new(100), Settings::new(101)], 16 * 1024).unwrap();
        send("127.0.0.1", 9, BURST);
        let mut received = 0;
        while capture.receive(&mut |_: Delivery<'_>| received += 1).unwrap() == Progress::More {}
        // The gap shows with the next packet that gets through.
        send("127.0.0.1", 9, 1);
        received += receive_until(&mut capture, |seen| !seen.is_empty()).len();
        let statistics = capture.statistics();
        assert!(received < BURST, "a buffer of 16 KiB held everything");
        assert_eq!(statistics.groups[0].packets, received as u64);
        assert_eq!(statistics.groups[0].lost, (BURST + 1 - received) as u64);
        assert_eq!(statistics.groups[1].lost, 0, "the other group lost nothing");
        assert!(statistics.overruns >= 1);
    });
}

#[test]
fn a_batching_kernel_delivers_every_packet_and_needs_less_buffer() {
    const BURST: usize = 20_000;
    let namespace = Namespace::new();
    log_rules(&namespace, 1);
    namespace.enter(|| {
        // Too little for 20,000 datagrams of one packet, as the other half of this test shows.
        let lost = |queue_threshold| {
            let settings = Settings { queue_threshold, ..Settings::new(100) };
            let mut capture = reopen(&[settings], 4 * 1024 * 1024).unwrap();
            send("127.0.0.1", 9, BURST);
            while capture.receive(&mut |_: Delivery<'_>| ()).unwrap() == Progress::More {}
            send("127.0.0.1", 9, 1);
            receive_until(&mut capture, |seen| !seen.is_empty());
            let statistics = capture.statistics();
            assert_eq!(statistics.malformed, 0);
            assert_eq!(statistics.groups[0].packets + statistics.groups[0].lost, BURST as u64 + 1);
            statistics.groups[0].lost
        };
        assert!(lost(1) > 0);
        assert_eq!(lost(64), 0);
        assert_eq!(lost(10_000), 0, "datagrams as large as the kernel makes them are read whole");
    });
}

#[test]
fn a_lone_packet_is_delivered_at_once() {
    let namespace = Namespace::new();
    log_rules(&namespace, 1);
    namespace.enter(|| {
        let mut capture = Capture::open(&[Settings::new(100)], RECEIVE_BUFFER).unwrap();
        let mut delays: Vec<_> = (0..11)
            .map(|_| {
                let sent = Instant::now();
                send("127.0.0.1", 9, 1);
                receive_until(&mut capture, |seen| !seen.is_empty());
                sent.elapsed()
            })
            .collect();
        delays.sort();
        // The kernel's own defaults would take up to a second; the limit is for a busy machine.
        assert!(delays[5] < Duration::from_millis(100), "median of {delays:?}");
    });
}

#[test]
fn a_group_another_program_receives_is_told_from_a_lack_of_rights() {
    let namespace = Namespace::new();
    namespace.enter(|| {
        let first = Capture::open(&[Settings::new(100)], RECEIVE_BUFFER).unwrap();
        let both = [Settings::new(99), Settings::new(100)];
        let error = Capture::open(&both, RECEIVE_BUFFER).unwrap_err();
        assert!(matches!(error, OpenError::Taken { group: 100 }), "{error}");
        assert!(!error.is_permission());
        reopen(&[Settings::new(99)], RECEIVE_BUFFER).expect("a failure leaves nothing bound");
        drop(first);
        reopen(&both, RECEIVE_BUFFER).unwrap();
    });
}

#[test]
fn group_0_is_received_only_when_forced() {
    Namespace::new().enter(|| {
        assert!(matches!(Capture::open(&[Settings::new(0)], 4096), Err(OpenError::ReservedGroup)));
        Capture::open(&[Settings { allow_group_0: true, ..Settings::new(0) }], 4096).unwrap();
    });
}

/// Makes the calling thread an ordinary user's that holds only `capabilities` and can gain no more.
fn keep_only(capabilities: CapabilitySet) {
    let nobody = rustix::process::Uid::from_raw(65_534);
    rustix::thread::set_keep_capabilities(true).unwrap();
    rustix::thread::set_no_new_privs(true).unwrap();
    // Refused (EINVAL) where the test runs in a user namespace that has no such user: the capabilities are what counts.
    let _unmapped = rustix::thread::set_thread_res_uid(nobody, nobody, nobody);
    let sets = CapabilitySets {
        effective: capabilities,
        permitted: capabilities,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, sets).unwrap();
}

#[test]
fn an_ordinary_user_with_cap_net_admin_alone_receives_packets() {
    let namespace = Namespace::new();
    log_rules(&namespace, 1);
    namespace.enter(|| {
        keep_only(CapabilitySet::NET_ADMIN);
        let mut capture = Capture::open(&[Settings::new(100)], RECEIVE_BUFFER).unwrap();
        send("127.0.0.1", 9, 1);
        assert_eq!(receive_until(&mut capture, |seen| !seen.is_empty()).len(), 1);
    });
}

#[test]
fn without_cap_net_admin_the_error_says_what_is_missing() {
    Namespace::new().enter(|| {
        keep_only(CapabilitySet::empty());
        let error = Capture::open(&[Settings::new(100)], RECEIVE_BUFFER).unwrap_err();
        assert!(matches!(error, OpenError::NotPermitted), "{error}");
        assert!(error.is_permission() && error.to_string().contains("CAP_NET_ADMIN"), "{error}");
    });
}
