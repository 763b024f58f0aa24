//! The enforcer against the real kernel, each test in network namespaces of its own.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test states its expectations by panicking"
)]

mod support;

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nfban::decide::Measure::{self, Ban, Restrict};
use nfban::enforce::{Change, Enforcer, Held, InstallError, Kernel, Outcome, Settings, Trap};
use support::{Conversation, HOME4, HOME6, Namespace, PEER4, PEER6, Pair, wait_until};

const MINUTES: Duration = Duration::from_secs(600);

fn settings() -> Settings {
    Settings {
        owner: false,
        table: "nfban".to_owned(),
        services: vec![(6, 22..=22), (6, 443..=443), (17, 8000..=8100)],
        protected: ["127.0.0.0/8", "::1/128", "192.0.2.1/32", "224.0.0.0/3", "ff00::/8"]
            .map(|net| net.parse().unwrap())
            .to_vec(),
        conntrack: true,
        trap: Some(Trap { ports: vec![23..=23, 400..=500], listen: 28023, log: Some((100, 128)) }),
        size: 100_000,
    }
}

fn put(measure: Measure, target: &str, timeout: Duration) -> Change {
    let comment = "tcp-syn-scan".to_owned();
    Change::Put { measure, target: target.parse().unwrap(), timeout: Some(timeout), comment }
}

fn lift(measure: Measure, target: &str) -> Change {
    Change::Lift { measure, target: target.parse().unwrap() }
}

/// Every change is to be done.
fn apply(kernel: &mut Kernel, changes: &[Change]) {
    assert_eq!(kernel.apply(changes), vec![Outcome::Done; changes.len()]);
}

fn held(kernel: &mut Kernel, target: &str) -> Option<Held> {
    let target = target.parse().unwrap();
    kernel.held().unwrap().into_iter().find(|held| held.target == target)
}

/// Sends an IPv4 packet of a protocol without ports and without a single octet after the IP header.
fn send_without_ports(pair: &Pair) {
    use rustix::net::{AddressFamily, Protocol, RawProtocol, SendFlags, SocketType, sendto, socket};
    let experiment = Protocol::from_raw(RawProtocol::new(253).unwrap()); // RFC 3692
    pair.peer.enter(|| {
        let raw = socket(AddressFamily::INET, SocketType::RAW, Some(experiment)).unwrap();
        let home = SocketAddrV4::new(HOME4.parse().unwrap(), 0);
        assert_eq!(sendto(&raw, &[], SendFlags::empty(), &home).unwrap(), 0);
    });
}

#[test]
fn the_table_is_the_one_of_the_golden_file() {
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/enforce/table.nft");
    let home = Namespace::new();
    home.enter(|| drop(Kernel::install(&settings()).unwrap()));
    let listed = home.sh("nft list table inet nfban");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(golden, &listed).unwrap();
    }
    // nft reads the file and lists both, so that it does not matter in which words this version of it does.
    let expected = Namespace::new();
    expected.sh(&format!("nft -f {golden}"));
    let expected = expected.sh("nft list table inet nfban");
    assert_eq!(listed, expected, "UPDATE_GOLDEN=1 cargo test --test enforce writes the file anew");
}

#[test]
fn nft_reads_back_what_it_lists_elements_included() {
    let home = Namespace::new();
    home.enter(|| {
        let mut kernel = Kernel::install(&settings()).unwrap();
        apply(
            &mut kernel,
            &[
                put(Ban, "203.0.113.7/32", MINUTES),
                put(Ban, "2001:db8:bad::/64", MINUTES),
                put(Ban, "198.51.100.0/24", MINUTES),
                put(Ban, "240.0.0.0/4", MINUTES),
                put(Restrict, "203.0.113.8/32", MINUTES),
                put(Restrict, "fe80::7/128", MINUTES),
                put(Restrict, "::/1", MINUTES),
            ],
        );
    });
    let listed = home.sh("nft list ruleset");
    assert!(listed.contains("comment \"tcp-syn-scan\""), "{listed}");
    let elsewhere = Namespace::new();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &listed).unwrap();
    elsewhere.sh(&format!("nft -f {}", file.path().display()));
    let without_times = |text: &str| {
        let words = text.split_whitespace().collect::<Vec<_>>();
        words.windows(2).filter(|pair| pair[0] != "expires").map(|pair| pair[1]).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(without_times(&elsewhere.sh("nft list ruleset")), without_times(&listed));
    // Not written by us any more, and understood all the same.
    let mut targets = elsewhere.enter(|| {
        let mut kernel = Kernel::install(&settings()).unwrap();
        kernel.held().unwrap().iter().map(|held| held.target.to_string()).collect::<Vec<_>>()
    });
    targets.sort();
    assert_eq!(
        targets,
        [
            "198.51.100.0/24",
            "2001:db8:bad::/64",
            "203.0.113.7/32",
            "203.0.113.8/32",
            "240.0.0.0/4",
            "::/1",
            "fe80::7/128",
        ]
    );
}

#[test]
fn installing_again_keeps_the_elements_and_drops_without_a_gap() {
    let pair = Pair::new();
    pair.home.enter(|| {
        let mut kernel = Kernel::install(&settings()).unwrap();
        apply(&mut kernel, &[put(Ban, "192.0.2.2/32", MINUTES), put(Restrict, "203.0.113.8/32", MINUTES)]);
        let before = kernel.held().unwrap();
        let listed = pair.home.sh("nft -s list chain inet nfban ban");
        let mut again = Settings { size: 200_000, services: vec![(6, 80..=80)], ..settings() };
        again.protected.push("198.51.100.0/24".parse().unwrap());
        let mut kernel = Kernel::install(&again).unwrap();
        let after = kernel.held().unwrap();
        assert_eq!(before.len(), 2);
        assert_eq!(
            before.iter().map(|held| (held.target, &held.comment)).collect::<Vec<_>>(),
            after.iter().map(|held| (held.target, &held.comment)).collect::<Vec<_>>()
        );
        assert_eq!(pair.home.sh("nft -s list chain inet nfban ban"), listed, "no rule twice");
        assert!(pair.home.sh("nft list set inet nfban services").contains("{ tcp . 80 }"));
        assert!(pair.home.sh("nft list set inet nfban protect4").contains("198.51.100.0/24"));
    });
    // While the peer sends as fast as it can, the table is made anew again and again.
    let server = pair.home.enter(|| UdpSocket::bind((HOME4, 7000)).unwrap());
    let client = pair.peer.enter(|| UdpSocket::bind((PEER4, 0)).unwrap());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                client.send_to(b"knock", (HOME4, 7000)).unwrap();
            }
        });
        pair.home.enter(|| (0..20).for_each(|_| drop(Kernel::install(&settings()).unwrap())));
        done.store(true, Ordering::Relaxed);
        sender.join().unwrap();
    });
    server.set_nonblocking(true).unwrap();
    assert!(server.recv(&mut [0; 8]).is_err(), "something got through");
}

#[test]
fn a_banned_address_is_dropped_and_counted_and_let_in_again_when_its_time_is_over() {
    let pair = Pair::new();
    pair.home.enter(|| {
        let mut kernel = Kernel::install(&settings()).unwrap();
        apply(&mut kernel, &[put(Ban, "192.0.2.2/32", Duration::from_secs(2))]);
        assert!(!pair.answers(PEER4, HOME4, 7000, 3));
        assert!(pair.answers(PEER6, HOME6, 7000, 3), "nobody else is");
        let banned = held(&mut kernel, "192.0.2.2/32").unwrap();
        // 3 datagrams of 14 octets in UDP and IPv4.
        assert_eq!((banned.packets, banned.bytes), (3, 3 * 42));
        assert_eq!((banned.measure, banned.comment.as_str()), (Ban, "tcp-syn-scan"));
        assert!(banned.expires.unwrap() <= Duration::from_secs(2));
        wait_until("the ban expires", || pair.answers(PEER4, HOME4, 7000, 1));
        assert_eq!(kernel.held().unwrap(), []);
    });
}

#[test]
fn a_ban_of_a_slash_64_drops_all_of_it_and_nothing_else() {
    let pair = Pair::new();
    pair.peer_has("2001:db8:bad::7");
    pair.peer_has("2001:db8:bad::ffff:0:1");
    pair.peer_has("2001:db8:bad:1::7");
    pair.home.enter(|| {
        let mut kernel = Kernel::install(&settings()).unwrap();
        apply(&mut kernel, &[put(Ban, "2001:db8:bad::/64", MINUTES)]);
        assert!(!pair.answers("2001:db8:bad::7", HOME6, 7000, 1));
        assert!(!pair.answers("2001:db8:bad::ffff:0:1", HOME6, 7000, 1));
        assert!(pair.answers("2001:db8:bad:1::7", HOME6, 7000, 3));
        assert_eq!(held(&mut kernel, "2001:db8:bad::/64").unwrap().packets, 2);
        apply(&mut kernel, &[lift(Ban, "2001:db8:bad::/64")]);
        assert!(pair.answers("2001:db8:bad::7", HOME6, 7000, 3));
    });
}

#[test]
fn neighbour_discovery_survives_the_ban_of_a_neighbour() {
    let pair = Pair::new();
    pair.home.enter(|| {
        let mut kernel = Kernel::install(&settings()).unwrap();
        apply(
            &mut kernel,
            &[put(Ban, "2001:db8:1::2/128", MINUTES), put(Restrict, "2001:db8:1::2/128", MINUTES)],
        );
        pair.home.sh("ip neigh flush dev up0");
        pair.peer.sh("ip neigh flush dev peer0");
        assert!(!pair.answers(PEER6, HOME6, 7000, 1));
        let known = || pair.peer.sh(&format!("ip neigh show {HOME6} dev peer0")).contains("lladdr");
        wait_until("the peer knows home's link-layer address", known);
        assert_eq!(
            held(&mut kernel, "2001:db8:1::2/128").unwrap().packets,
            1,
            "the datagram and no solicitation"
        );
    });
}

#[test]
fn dhcp_survives_a_ban_in_both_directions_and_no_other_port_does() {
    let pair = Pair::new();
    pair.home.enter(|| {
        let mut kernel = Kernel::install(&settings()).unwrap();
        for measure in [Ban, Restrict] {
            apply(
                &mut kernel,
                &[put(measure, "192.0.2.2/32", MINUTES), put(measure, "2001:db8:1::/64", MINUTES)],
            );
        }
        let passes = |from, to| Conversation::between(&pair, from, to).goes_on();
        assert!(passes((PEER4, 67), (HOME4, 68)) && passes((PEER4, 68), (HOME4, 67)));
        assert!(passes((PEER6, 547), (HOME6, 546)) && passes((PEER6, 546), (HOME6, 547)));
        assert!(!passes((PEER4, 67), (HOME4, 69)));
        assert!(!passes((PEER4, 547), (HOME4, 546)));
        assert!(!passes((PEER6, 67), (HOME6, 68)));
    });
}

#[test]
fn a_protected_source_is_never_dropped() {
    let pair = Pair::new();
    pair.home.enter(|| {
        let mut kernel = Kernel::install(&settings()).unwrap();
        apply(&mut kernel, &[put(Ban, "192.0.2.2/32", MINUTES), put(Ban, "2001:db8:1::/64", MINUTES)]);
        assert!(!pair.answers(PEER4, HOME4, 7000, 1));
        kernel.protect(&["192.0.2.0/24".parse().unwrap(), "2001:db8:1::2/128".parse().unwrap()]).unwrap();
        assert!(pair.answers(PEER4, HOME4, 7000, 3));
        assert!(pair.answers(PEER6, HOME6, 7000, 3));
        // Overlapping and touching ones are no trouble.
        let nets = ["192.0.2.0/24", "192.0.2.128/25", "192.0.3.0/24", "0.0.0.0/0", "::/0"];
        kernel.protect(&nets.map(|net| net.parse().unwrap())).unwrap();
        kernel.protect(&[]).unwrap();
        assert!(!pair.answers(PEER4, HOME4, 7000, 1));
    });
}

#[test]
fn a_restricted_source_keeps_its_conversations_and_the_services_at_a_bounded_rate() {
    let pair = Pair::new();
    pair.home.enter(|| {
        let mut kernel =
            Kernel::install(&Settings { services: vec![(17, 8000..=8100)], ..settings() }).unwrap();
        let talk = Conversation::new(&pair, PEER4, HOME4, 7000);
        assert!(talk.goes_on());
        apply(&mut kernel, &[put(Restrict, "192.0.2.2/32", MINUTES)]);
        assert!(talk.goes_on(), "established");
        assert!(!pair.answers(PEER4, HOME4, 7001, 2), "a port that is not published");
        assert_eq!(held(&mut kernel, "192.0.2.2/32").unwrap().packets, 2);
        assert!(pair.answers(PEER4, HOME4, 8000, 3), "a published one");
        assert_eq!(held(&mut kernel, "192.0.2.2/32").unwrap().packets, 2, "counts what it drops only");
        send_without_ports(&pair);
        assert_eq!(
            held(&mut kernel, "192.0.2.2/32").unwrap().packets,
            3,
            "a protocol without ports is no service"
        );
        // New conversations one after another: the burst gets through, of the rest only 20 a second.
        let server = pair.home.enter(|| UdpSocket::bind((HOME4, 8001)).unwrap());
        let clients: Vec<_> =
            pair.peer.enter(|| (0..200).map(|_| UdpSocket::bind((PEER4, 0)).unwrap()).collect());
        for client in &clients {
            client.send_to(b"new", (HOME4, 8001)).unwrap();
        }
        server.set_nonblocking(true).unwrap();
        let arrived = (0..200).take_while(|_| server.recv(&mut [0; 8]).is_ok()).count();
        assert!((39..100).contains(&arrived), "{arrived} of 200");
        let mut dropped = || held(&mut kernel, "192.0.2.2/32").unwrap().packets;
        assert_eq!(dropped(), 3 + 200 - u64::try_from(arrived).unwrap());
        assert!(talk.goes_on(), "and the old one is not held up");
        apply(&mut kernel, &[lift(Restrict, "192.0.2.2/32")]);
        assert!(pair.answers(PEER4, HOME4, 7001, 3));
        assert!(!pair.home.sh("nft list table inet nfban").contains("192.0.2.2"), "no trace is left");
    });
}

#[test]
fn a_renewal_gives_the_new_time_and_keeps_the_counts() {
    let pair = Pair::new();
    pair.home.enter(|| {
        let mut kernel = Kernel::install(&settings()).unwrap();
        for (measure, target) in [
            (Ban, "192.0.2.2/32"),
            (Ban, "192.0.2.0/30"),
            (Restrict, "192.0.2.2/32"),
            (Restrict, "192.0.2.2/31"),
        ] {
            apply(&mut kernel, &[put(measure, target, Duration::from_secs(60))]);
            assert!(!pair.answers(PEER4, HOME4, 7000, 2));
            apply(&mut kernel, &[put(measure, target, MINUTES)]);
            let renewed = held(&mut kernel, target).unwrap();
            assert_eq!(renewed.packets, 2, "{measure:?} {target}");
            assert!(renewed.expires.unwrap() > Duration::from_secs(599), "{renewed:?}");
            apply(
                &mut kernel,
                &[
                    put(measure, target, Duration::from_secs(30)),
                    put(measure, target, Duration::from_secs(20)),
                ],
            );
            let shorter = held(&mut kernel, target).unwrap();
            assert!(shorter.expires.unwrap() <= Duration::from_secs(20), "{shorter:?}");
            assert_eq!(shorter.packets, 2);
            apply(&mut kernel, &[lift(measure, target)]);
        }
        assert_eq!(kernel.held().unwrap(), []);
    });
}

#[test]
fn a_thousand_and_more_changes_go_in_at_once_new_ones_and_renewals_mixed() {
    Namespace::new().enter(|| {
        let mut kernel = Kernel::install(&settings()).unwrap();
        let targets =
            |count: u32| (0..count).map(|number| format!("{}/32", Ipv4Addr::from_bits(0x0a00_0000 + number)));
        let puts =
            |measure, count| targets(count).map(|target| put(measure, &target, MINUTES)).collect::<Vec<_>>();
        apply(&mut kernel, &puts(Ban, 5000));
        assert_eq!(kernel.held().unwrap().len(), 5000);
        apply(&mut kernel, &puts(Restrict, 1500));
        apply(&mut kernel, &puts(Restrict, 3000));
        assert_eq!(kernel.held().unwrap().len(), 8000);
        let lifts: Vec<_> = targets(6000).map(|target| lift(Ban, &target)).collect();
        apply(&mut kernel, &lifts);
        apply(&mut kernel, &targets(3001).map(|target| lift(Restrict, &target)).collect::<Vec<_>>());
        assert_eq!(kernel.held().unwrap(), []);
    });
}

#[test]
fn changes_of_one_target_take_effect_in_order() {
    Namespace::new().enter(|| {
        let mut kernel = Kernel::install(&settings()).unwrap();
        for target in ["203.0.113.7/32", "203.0.113.0/28", "2001:db8::/64", "2001:db8::7/128"] {
            apply(&mut kernel, &[lift(Ban, target), put(Ban, target, MINUTES)]);
            assert!(held(&mut kernel, target).is_some(), "{target}");
            apply(&mut kernel, &[put(Ban, target, MINUTES), lift(Ban, target)]);
            assert_eq!(held(&mut kernel, target), None);
            apply(&mut kernel, &[put(Ban, target, MINUTES), lift(Ban, target), put(Ban, target, MINUTES)]);
            assert!(held(&mut kernel, target).is_some(), "{target}");
            apply(&mut kernel, &[lift(Ban, target), lift(Ban, target)]);
        }
        assert_eq!(kernel.held().unwrap(), []);
    });
}

#[test]
fn a_full_set_refuses_what_is_too_much_and_takes_the_rest() {
    Namespace::new().enter(|| {
        let mut kernel = Kernel::install(&Settings { size: 4, ..settings() }).unwrap();
        for measure in [Ban, Restrict] {
            let changes: Vec<_> =
                (1..=6).map(|n| put(measure, &format!("203.0.113.{n}/32"), MINUTES)).collect();
            let outcomes = kernel.apply(&changes);
            let full = Outcome::Refused(libc::ENFILE);
            let done = Outcome::Done;
            assert_eq!(outcomes, [done, done, done, done, full, full]);
            let many: Vec<_> = (0..2000u32)
                .map(|n| put(measure, &format!("{}/32", Ipv4Addr::from_bits(n)), MINUTES))
                .collect();
            assert_eq!(kernel.apply(&many), vec![full; many.len()]);
            // A full set can still be renewed and lifted from, and says so of what was never in it.
            apply(
                &mut kernel,
                &[changes[0].clone(), lift(measure, "203.0.113.2/32"), lift(measure, "203.0.113.6/32")],
            );
            apply(&mut kernel, &[changes[5].clone()]);
        }
        assert_eq!(kernel.held().unwrap().len(), 8);
    });
}

#[test]
fn what_a_listing_lacks_is_asked_for_and_told_as_it_was_listed_before() {
    Namespace::new().enter(|| {
        let mut kernel = Kernel::install(&settings()).unwrap();
        let targets =
            ["203.0.113.1/32", "203.0.113.2/32", "203.0.113.3/32", "2001:db8:1::/64", "198.51.100.0/24"];
        let changes: Vec<_> =
            targets.iter().flat_map(|target| [Ban, Restrict].map(|of| put(of, target, MINUTES))).collect();
        apply(&mut kernel, &changes);
        let sorted = |mut held: Vec<Held>| {
            held.sort_by_key(|held| (held.measure, held.target));
            held
        };
        let whole = sorted(kernel.held().unwrap());
        let known: Vec<_> = whole.iter().map(|held| (held.measure, held.target)).collect();
        apply(&mut kernel, &[lift(Restrict, "203.0.113.3/32")]);
        let mut listed = whole.clone();
        listed.retain(|held| held.target.to_string() == "203.0.113.1/32");
        kernel.complete(&mut listed, &known).unwrap();
        let told: Vec<_> = sorted(listed)
            .iter()
            .map(|held| (held.measure, held.target.to_string(), held.comment.clone(), held.expires.is_some()))
            .collect();
        let expected: Vec<_> = [(Restrict, 1), (Restrict, 2), (Ban, 1), (Ban, 2), (Ban, 3)]
            .map(|(measure, n)| (measure, format!("203.0.113.{n}/32"), "tcp-syn-scan".to_owned(), true))
            .into();
        assert_eq!(told, expected, "one is lifted; of sets of which nothing was listed nothing is asked");
    });
}

#[test]
fn no_ban_is_missing_from_a_listing_of_a_set_that_grows_meanwhile() {
    Namespace::new().enter(|| {
        let mut kernel = Kernel::install(&Settings { size: 1 << 20, ..settings() }).unwrap();
        let address = |n: u32| Ipv4Addr::from_bits(0x0b00_0000 + n);
        let ours: Vec<_> = (0..1000).map(|n| put(Ban, &format!("{}/32", address(n)), MINUTES)).collect();
        apply(&mut kernel, &ours);
        let known: Vec<_> = kernel.held().unwrap().iter().map(|held| (held.measure, held.target)).collect();
        assert_eq!(known.len(), 1000);
        let more: Vec<String> = (1000..101_000).map(|n| format!("{} timeout 1h", address(n))).collect();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("add element inet nfban ban4 {{ {} }}", more.join(","))).unwrap();
        let mut nft = std::process::Command::new("nft").arg("-f").arg(file.path()).spawn().unwrap();
        let (mut lacked, mut listings, mut after) = (0, 0, 0);
        while after < 3 {
            after += usize::from(nft.try_wait().unwrap().is_some());
            let Ok(mut held) = kernel.held() else { continue };
            let listed = held.len();
            kernel.complete(&mut held, &known).unwrap();
            listings += 1;
            lacked += held.len() - listed;
            let held: HashSet<_> = held.iter().map(|held| (held.measure, held.target)).collect();
            assert!(known.iter().all(|ban| held.contains(ban)), "{listed} were listed");
        }
        assert!(nft.wait().unwrap().success());
        println!("{lacked} elements were missing from {listings} listings");
    });
}

#[test]
fn prefixes_that_overlap_hold_each_address_as_long_as_the_longest_of_them() {
    Namespace::new().enter(|| {
        let mut kernel = Kernel::install(&settings()).unwrap();
        for measure in [Ban, Restrict] {
            let hour = Duration::from_secs(3600);
            apply(
                &mut kernel,
                &[put(measure, "198.51.100.0/24", MINUTES), put(measure, "198.51.100.64/28", hour)],
            );
            let mut both: Vec<_> = kernel.held().unwrap();
            both.retain(|held| held.measure == measure);
            both.sort_by_key(|held| held.target);
            assert_eq!(
                both.iter().map(|held| held.target.to_string()).collect::<Vec<_>>(),
                ["198.51.100.0/24", "198.51.100.64/28"]
            );
            assert!(both[0].expires.unwrap() <= MINUTES && both[1].expires.unwrap() > MINUTES);
            // One that a wider one outlasts is in good hands, and stands by itself once the wider one is lifted.
            apply(&mut kernel, &[put(measure, "198.51.100.128/25", Duration::from_secs(60))]);
            assert!(
                held(&mut kernel, "198.51.100.0/24").unwrap().expires.unwrap() > Duration::from_secs(590)
            );
            // Lifting the wider leaves the narrower; lifting the narrower leaves no hole in the wider.
            apply(&mut kernel, &[lift(measure, "198.51.100.64/28")]);
            assert_eq!(kernel.held().unwrap().iter().filter(|held| held.measure == measure).count(), 2);
            apply(&mut kernel, &[put(measure, "198.51.100.64/28", hour), lift(measure, "198.51.100.0/24")]);
            assert_eq!(held(&mut kernel, "198.51.100.0/24"), None);
            assert!(held(&mut kernel, "198.51.100.64/28").is_some());
            let narrow = held(&mut kernel, "198.51.100.128/25").unwrap();
            assert!(narrow.expires.unwrap() <= Duration::from_secs(60));
            apply(&mut kernel, &[lift(measure, "198.51.100.64/28"), lift(measure, "198.51.100.128/25")]);
            // The ends of the address spaces, and a prefix in the widest of all.
            let widest = ["0.0.0.0/0", "::/0", "255.255.255.254/31", "::/128"];
            apply(
                &mut kernel,
                &widest
                    .map(|target| put(measure, target, if target.ends_with("/0") { MINUTES } else { hour })),
            );
            for target in widest {
                assert!(held(&mut kernel, target).is_some(), "{target}");
            }
            apply(&mut kernel, &widest.map(|target| lift(measure, target)));
        }
        assert_eq!(kernel.held().unwrap(), []);
    });
}

#[test]
fn what_has_just_expired_is_put_again_and_lifted_without_ado() {
    Namespace::new().enter(|| {
        let mut kernel = Kernel::install(&settings()).unwrap();
        let targets =
            ["203.0.113.7/32", "203.0.113.8/30", "203.0.113.0/28", "2001:db8::/64", "2001:db8::7/128"];
        let moment = Duration::from_millis(2);
        for round in 0..50 {
            apply(&mut kernel, &targets.map(|target| put(Ban, target, moment)));
            if round % 2 == 0 {
                wait_until("all have expired", || kernel.held().unwrap().is_empty());
            }
            apply(&mut kernel, &targets.map(|target| put(Ban, target, MINUTES)));
            assert!(held(&mut kernel, "203.0.113.0/28").is_some());
            apply(&mut kernel, &targets.map(|target| put(Ban, target, moment)));
            apply(&mut kernel, &targets.map(|target| lift(Ban, target)));
            assert_eq!(kernel.held().unwrap(), []);
        }
    });
}

#[test]
fn a_table_that_was_deleted_comes_back_with_the_next_change() {
    let home = Namespace::new();
    home.enter(|| {
        let mut kernel = Kernel::install(&settings()).unwrap();
        apply(&mut kernel, &[put(Ban, "203.0.113.1/32", MINUTES)]);
        home.sh("nft flush ruleset");
        apply(&mut kernel, &[lift(Ban, "203.0.113.1/32"), lift(Restrict, "203.0.113.0/24")]);
        assert_eq!(kernel.reinstalled(), 0, "nothing to put, nothing to install");
        let error = kernel.held().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT), "it cannot be told what would be held");
        apply(&mut kernel, &[put(Ban, "203.0.113.2/32", MINUTES), put(Restrict, "203.0.113.3/32", MINUTES)]);
        assert_eq!((kernel.held().unwrap().len(), kernel.reinstalled()), (2, 1));
        home.sh("nft delete table inet nfban");
        kernel.protect(&["203.0.113.9/32".parse().unwrap()]).unwrap();
        assert_eq!(kernel.reinstalled(), 2);
        assert!(home.sh("nft list set inet nfban protect4").contains("203.0.113.9"));
    });
}

#[test]
fn another_programs_table_survives_and_one_of_our_name_with_other_sets_is_an_error() {
    let home = Namespace::new();
    home.sh("nft add table inet filter '{ set ban4 { type ipv4_addr; }; \
         chain input { type filter hook input priority 0; }; }'");
    let theirs = home.sh("nft list table inet filter");
    home.enter(|| {
        let mut kernel = Kernel::install(&settings()).unwrap();
        let taken = Kernel::install(&Settings { table: "filter".to_owned(), ..settings() });
        assert!(matches!(taken, Err(InstallError::Incompatible { set: "ban4", .. })), "{taken:?}");
        kernel.remove().unwrap();
        kernel.remove().unwrap();
    });
    assert_eq!(home.sh("nft list ruleset"), theirs);
}

/// How many connections home's conntrack knows.
fn tracked(pair: &Pair) -> u32 {
    let count = pair.home.sh("cat /proc/sys/net/netfilter/nf_conntrack_count 2>/dev/null || echo 0");
    count.trim().parse().unwrap()
}

#[test]
fn where_conntrack_may_not_be_used_nothing_switches_it_on() {
    let pair = Pair::new();
    // What an earlier run with conntrack left behind goes, but for its bans.
    pair.home.enter(|| {
        let mut kernel = Kernel::install(&settings()).unwrap();
        apply(&mut kernel, &[put(Ban, "192.0.2.9/32", MINUTES), put(Restrict, "192.0.2.9/32", MINUTES)]);
        assert!(pair.answers(PEER4, HOME4, 7000, 3));
        assert!(tracked(&pair) > 0);
    });
    pair.home.enter(|| {
        let mut kernel = Kernel::install(&Settings { conntrack: false, ..settings() }).unwrap();
        let restrict = put(Restrict, "192.0.2.2/32", MINUTES);
        assert_eq!(kernel.apply(&[restrict]), [Outcome::Refused(libc::EOPNOTSUPP)]);
        apply(&mut kernel, &[lift(Restrict, "192.0.2.9/32")]);
        assert_eq!(kernel.held().unwrap().len(), 1);
        let table = pair.home.sh("nft list table inet nfban");
        assert!(!table.contains("ct ") && !table.contains("restrict"), "{table}");
        let known = tracked(&pair);
        assert!(pair.answers(PEER4, HOME4, 7000, 3));
        assert!(tracked(&pair) <= known, "no connection is tracked any more");
        Kernel::install(&Settings { conntrack: false, ..settings() }).unwrap();
    });
}

#[test]
fn a_table_that_is_gone_is_not_an_empty_one() {
    let home = Namespace::new();
    home.enter(|| {
        let mut kernel = Kernel::install(&settings()).unwrap();
        apply(&mut kernel, &[put(Ban, "203.0.113.7/32", MINUTES)]);
        home.sh("nft delete table inet nfban");
        // Else whoever keeps a ledger would take every ban in it for one that a person has lifted.
        assert_eq!(kernel.held().unwrap_err().raw_os_error(), Some(libc::ENOENT));
        kernel.reinstall().unwrap();
        assert_eq!(kernel.held().unwrap(), []);
    });
}

#[test]
fn elements_that_no_rule_looks_up_are_not_held() {
    let pair = Pair::new();
    pair.home.enter(|| {
        let mut kernel = Kernel::install(&settings()).unwrap();
        apply(&mut kernel, &[put(Ban, &format!("{PEER4}/32"), MINUTES)]);
        assert_eq!(kernel.held().unwrap().len(), 1);
        pair.home.sh("nft flush table inet nfban");
        assert_eq!(kernel.held().unwrap_err().raw_os_error(), Some(libc::ENOENT));
        kernel.reinstall().unwrap();
        assert_eq!(kernel.held().unwrap().len(), 1, "the sets were left as they were");
        pair.home.sh("nft delete chain inet nfban restrict");
        assert_eq!(kernel.held().unwrap_err().raw_os_error(), Some(libc::ENOENT));
    });
}

#[test]
fn single_bans_are_asked_for_without_listing_their_sets_and_tell_the_same() {
    let pair = Pair::new();
    pair.home.enter(|| {
        let mut kernel = Kernel::install(&settings()).unwrap();
        let hour = Duration::from_secs(3600);
        let bans = [
            (Ban, "192.0.2.7/32"),
            (Restrict, "192.0.2.8/32"),
            (Restrict, "2001:db8:1::/64"),
            (Ban, "198.51.100.0/24"),
            (Restrict, "2001:db8:2::/56"),
        ];
        apply(&mut kernel, &bans.map(|(measure, target)| put(measure, target, hour)));
        let named: Vec<_> =
            bans.iter().map(|(measure, target)| (*measure, target.parse().unwrap())).collect();
        let order = |mut held: Vec<Held>| {
            held.iter_mut().for_each(|held| held.expires = None);
            held.sort_by_key(|held| held.target);
            held
        };
        assert_eq!(order(kernel.held_of(&named).unwrap()), order(kernel.held().unwrap()));
        let others = [(Restrict, "192.0.2.7/32"), (Ban, "192.0.2.9/32"), (Ban, "198.51.0.0/16")];
        let others = others.map(|(measure, target)| (measure, target.parse().unwrap()));
        assert_eq!(kernel.held_of(&others).unwrap(), []);
    });
}
