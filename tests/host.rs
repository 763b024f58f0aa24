//! Who this host is, as the running kernel tells it, each test in a network namespace of its own.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test states its expectations by panicking"
)]

mod support;

use std::net::{IpAddr, Ipv4Addr};

use nfban::capture::nflog::Interfaces;
use nfban::host::{HostFacts, Watch, listeners};
use rustix::event::{PollFd, PollFlags, Timespec};
use support::{Namespace, Pair};

fn facts(namespace: &Namespace) -> HostFacts {
    namespace.enter(|| HostFacts::read().unwrap())
}

/// The addresses as `ADDRESS/LENGTH INTERFACE`.
fn addresses(namespace: &Namespace, facts: &HostFacts) -> Vec<String> {
    let told = facts.addresses.iter().map(|a| (format!("{}/{}", a.address, a.prefix_length), a.ifindex));
    with_names(namespace, told.collect())
}

/// The on-link prefixes as `PREFIX INTERFACE`.
fn on_link(namespace: &Namespace, facts: &HostFacts) -> Vec<String> {
    with_names(namespace, facts.on_link.iter().map(|(net, ifindex)| (net.to_string(), *ifindex)).collect())
}

fn with_names(namespace: &Namespace, told: Vec<(String, u32)>) -> Vec<String> {
    namespace.enter(|| {
        let mut interfaces = Interfaces::open().unwrap();
        told.iter().map(|(what, ifindex)| format!("{what} {}", interfaces.name(*ifindex))).collect()
    })
}

fn gateways(facts: &HostFacts) -> Vec<String> {
    facts.gateways.iter().map(ToString::to_string).collect()
}

#[test]
fn addresses_come_with_their_prefix_their_interface_and_their_broadcast() {
    let pair = Pair::new();
    pair.home.sh("ip addr add 198.51.100.7/25 broadcast 198.51.100.99 dev up0");
    let facts = facts(&pair.home);
    assert_eq!(
        addresses(&pair.home, &facts),
        [
            "127.0.0.1/8 lo",
            "192.0.2.1/24 up0",
            "198.51.100.7/25 up0",
            "::1/128 lo",
            "2001:db8:1::1/64 up0",
            "fe80::1/64 up0"
        ]
    );
    for broadcast in ["192.0.2.255", "198.51.100.99", "198.51.100.127"] {
        let broadcast: Ipv4Addr = broadcast.parse().unwrap();
        assert!(facts.broadcasts.contains(&broadcast), "{broadcast} in {:?}", facts.broadcasts);
    }
    assert_eq!(
        on_link(&pair.home, &facts),
        ["127.0.0.0/8 lo", "192.0.2.0/24 up0", "198.51.100.0/25 up0", "2001:db8:1::/64 up0", "fe80::/64 up0"]
    );
}

#[test]
fn of_a_point_to_point_link_our_end_is_ours_and_the_other_is_on_link() {
    let pair = Pair::new();
    pair.home.sh("ip addr add 198.51.100.1 peer 198.51.100.2 dev up0");
    pair.home.sh("ip addr add 2001:db8:9::1 peer 2001:db8:9::2 dev up0 nodad");
    let facts = facts(&pair.home);
    let addresses = addresses(&pair.home, &facts);
    for ours in ["198.51.100.1/32 up0", "2001:db8:9::1/128 up0"] {
        assert!(addresses.iter().any(|address| address == ours), "{addresses:?}");
    }
    assert!(!addresses.iter().any(|address| address.starts_with("198.51.100.2/")), "{addresses:?}");
    let on_link = on_link(&pair.home, &facts);
    for peer in ["198.51.100.2/32 up0", "2001:db8:9::2/128 up0"] {
        assert!(on_link.iter().any(|net| net == peer), "{on_link:?}");
    }
}

#[test]
fn gateways_of_all_tables_and_all_ways_to_write_them_are_found() {
    let pair = Pair::new();
    pair.home.sh("ip route add 198.18.0.0/24 via 192.0.2.10 table 1000
         ip route add 198.18.1.0/24 nexthop via 192.0.2.11 dev up0 nexthop via 192.0.2.12 dev up0
         ip route add 198.18.2.0/24 via inet6 fe80::13 dev up0
         ip -6 route add 2001:db8:a::/48 nexthop via fe80::14 dev up0 nexthop via fe80::15 dev up0
         ip route add blackhole 198.18.3.0/24");
    assert_eq!(
        gateways(&facts(&pair.home)),
        [
            "192.0.2.2",
            "192.0.2.10",
            "192.0.2.11",
            "192.0.2.12",
            "2001:db8:1::2",
            "fe80::13",
            "fe80::14",
            "fe80::15"
        ]
    );
}

#[test]
fn gateways_in_nexthop_objects_are_found_where_a_route_leads_to_them() {
    let pair = Pair::new();
    pair.home.sh("ip nexthop add id 1 via 192.0.2.21 dev up0
         ip nexthop add id 2 via 192.0.2.22 dev up0
         ip nexthop add id 3 via fe80::23 dev up0
         ip nexthop add id 4 via 192.0.2.24 dev up0
         ip nexthop add id 5 dev up0
         ip nexthop add id 10 group 1/2
         ip route add 198.18.0.0/24 nhid 10
         ip route add 198.18.1.0/24 nhid 3
         ip route add 198.18.2.0/24 nhid 5");
    // With and without the kernel's repeating them in the old way.
    for compatible in ["1", "0"] {
        pair.home.sh(&format!("echo {compatible} > /proc/sys/net/ipv4/nexthop_compat_mode"));
        let facts = facts(&pair.home);
        assert_eq!(
            gateways(&facts),
            ["192.0.2.2", "192.0.2.21", "192.0.2.22", "2001:db8:1::2", "fe80::23"],
            "nexthop_compat_mode {compatible}"
        );
        let on_link = on_link(&pair.home, &facts);
        assert!(on_link.iter().any(|net| net == "198.18.2.0/24 up0"), "{on_link:?}");
    }
}

#[test]
fn routes_without_a_gateway_are_on_link_where_there_are_neighbours() {
    let pair = Pair::new();
    pair.home.sh("ip -6 route add 2001:db8:5::/64 dev up0
         ip link add tunnel0 type veth peer name tunnel1
         ip link set tunnel1 up
         ip link set tunnel0 arp off up
         ip route add 198.18.0.0/15 dev tunnel0
         ip route add default dev up0 table 1000
         ip route add local 203.0.113.0/24 dev lo");
    let facts = facts(&pair.home);
    let on_link = on_link(&pair.home, &facts);
    assert!(on_link.iter().any(|net| net == "2001:db8:5::/64 up0"), "{on_link:?}");
    assert!(!on_link.iter().any(|net| net.starts_with("198.18.") || net.contains("/0 ")), "{on_link:?}");
    assert!(facts.local.contains(&"203.0.113.0/24".parse().unwrap()), "{:?}", facts.local);
}

#[test]
fn a_host_without_networks_has_facts_too() {
    let facts = facts(&Namespace::new());
    assert!(facts.addresses.iter().any(|own| own.address == IpAddr::from([127, 0, 0, 1])));
    assert!(facts.gateways.is_empty());
}

#[test]
fn a_change_of_links_addresses_routes_or_next_hops_is_noticed_once() {
    let pair = Pair::new();
    pair.home.enter(|| {
        let mut watch = Watch::open().unwrap();
        for change in [
            "ip link add veth0 type veth peer name veth1",
            "ip addr add 198.51.100.1/24 dev up0",
            "ip -6 addr add 2001:db8:7::1/64 dev up0 nodad",
            "ip route add 198.18.0.0/24 via 192.0.2.10",
            "ip -6 route add 2001:db8:8::/64 via fe80::2 dev up0",
            "ip nexthop add id 1 via 192.0.2.21 dev up0",
        ] {
            while watch.changed() {}
            pair.home.sh(change);
            let limit = Timespec::try_from(support::LIMIT).unwrap();
            let readable =
                rustix::event::poll(&mut [PollFd::new(&watch, PollFlags::IN)], Some(&limit)).unwrap();
            assert!(readable == 1 && watch.changed(), "{change}");
        }
    });
}

#[test]
fn more_changes_than_the_socket_holds_are_a_change_and_it_drains() {
    let pair = Pair::new();
    pair.home.enter(|| {
        let mut watch = Watch::open().unwrap();
        while watch.changed() {}
        rustix::net::sockopt::set_socket_recv_buffer_size(&watch, 1).unwrap();
        pair.home
            .sh("for n in $(seq 0 99); do echo route add 198.18.$n.0/24 via 192.0.2.10; done | ip -batch -");
        assert!(watch.changed());
        while watch.changed() {}
    });
}

#[test]
fn what_listens_is_told_and_what_only_talks_is_not() {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    let home = Namespace::new();
    home.sh("ip link set lo up");
    home.enter(|| {
        assert_eq!(listeners().unwrap(), []);
        let four = TcpListener::bind("127.0.0.1:0").unwrap();
        let six = TcpListener::bind("[::1]:0").unwrap();
        let server = UdpSocket::bind("[::]:0").unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(("127.0.0.1", server.local_addr().unwrap().port())).unwrap();
        let _conversation = TcpStream::connect(four.local_addr().unwrap()).unwrap();
        let mut expected = vec![
            (6, four.local_addr().unwrap().port()),
            (6, six.local_addr().unwrap().port()),
            (17, server.local_addr().unwrap().port()),
        ];
        expected.sort_unstable();
        assert_eq!(listeners().unwrap(), expected);
    });
}
