//! Nested prefixes, put, lifted and expiring in any order: what is dropped is the union of what stands, and no address
//! more or less.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use ipnet::IpNet;
use nfban::decide::Measure::{self, Ban, Restrict};
use nfban::enforce::{Change, Enforcer, Kernel, Outcome, Settings};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::support::{HOME4, HOME6, Namespace, PEER4, PEER6, Pair, wait_until};

/// As many addresses as are tried, from each of the two on.
const ADDRESSES: u8 = 32;
const FIRST4: &str = "10.9.8.0";
const FIRST6: &str = "2001:db8:9::";
const PORT: u16 = 7000;

/// A prefix within those addresses.
#[derive(Debug, Clone, Copy)]
struct Prefix {
    ipv6: bool,
    host: u8,
    /// How much longer it is than the prefix that holds all of them.
    longer: u8,
}

impl Prefix {
    fn net(self) -> IpNet {
        let shortest = if self.ipv6 { 123 } else { 27 };
        IpNet::new(address(self.ipv6, self.host), shortest + self.longer).unwrap().trunc()
    }
}

fn address(ipv6: bool, host: u8) -> IpAddr {
    let first: IpAddr = if ipv6 { FIRST6 } else { FIRST4 }.parse().unwrap();
    match first {
        IpAddr::V4(first) => IpAddr::V4((first.to_bits() + u32::from(host)).into()),
        IpAddr::V6(first) => IpAddr::V6((first.to_bits() + u128::from(host)).into()),
    }
}

/// What may be done to the sets.
#[derive(Debug, Clone)]
enum Step {
    /// In one go: hold for so many hundred seconds or, where there are none, until it is lifted.
    Put(Vec<(Measure, Prefix, Option<u8>)>),
    /// In one go: lift those of the standing ones, counted round.
    Lift(Vec<usize>),
    /// Let one of the standing ones expire.
    Expire(usize),
}

fn measures() -> impl Strategy<Value = Measure> {
    prop_oneof![Just(Ban), Just(Restrict)]
}

fn prefixes() -> impl Strategy<Value = Prefix> {
    (any::<bool>(), 0..ADDRESSES, 0..=5u8).prop_map(|(ipv6, host, longer)| Prefix { ipv6, host, longer })
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => prop::collection::vec((measures(), prefixes(), prop::option::of(1..5u8)), 1..5).prop_map(Step::Put),
        1 => prop::collection::vec(any::<usize>(), 1..4).prop_map(Step::Lift),
        1 => any::<usize>().prop_map(Step::Expire),
    ]
}

type Standing = BTreeMap<(Measure, IpNet), ()>;

/// The world's sockets, one for each address, and home's.
struct Wire {
    clients: Vec<(IpAddr, UdpSocket)>,
    servers: [UdpSocket; 2],
    markers: [UdpSocket; 2],
}

impl Wire {
    fn new(pair: &Pair) -> Self {
        let hosts = || (0..ADDRESSES).flat_map(|host| [address(false, host), address(true, host)]);
        let add: Vec<_> = hosts().map(|address| format!("addr add {address} dev lo")).collect();
        pair.peer.sh(&format!("printf '{}\\n' | sed 's/:.*/& nodad/' | ip -batch -", add.join("\\n")));
        let bind = |at: SocketAddr| UdpSocket::bind(at).unwrap();
        let home =
            |address: &str| pair.home.enter(|| bind((address.parse::<IpAddr>().unwrap(), PORT).into()));
        let peer = |address: IpAddr| pair.peer.enter(|| bind((address, 0).into()));
        let wire = Self {
            clients: hosts().map(|address| (address, peer(address))).collect(),
            servers: [home(HOME4), home(HOME6)],
            markers: [PEER4, PEER6].map(|marker| peer(marker.parse().unwrap())),
        };
        wire.servers.iter().for_each(|server| server.set_nonblocking(true).unwrap());
        wire
    }

    /// The addresses whose datagrams reach home, where those of `expected` are to.
    fn arriving(&self, expected: &BTreeSet<IpAddr>) -> BTreeSet<IpAddr> {
        for (address, client) in &self.clients {
            client.send_to(b"", (if address.is_ipv4() { HOME4 } else { HOME6 }, PORT)).unwrap();
        }
        let mut arrived = BTreeSet::new();
        let read = |arrived: &mut BTreeSet<IpAddr>| {
            for server in &self.servers {
                while let Ok((_, from)) = server.recv_from(&mut []) {
                    arrived.insert(from.ip());
                }
            }
        };
        wait_until("whoever is not banned gets through", || {
            read(&mut arrived);
            expected.is_subset(&arrived)
        });
        // What was sent before these two has arrived with them, or never will.
        for (marker, home) in self.markers.iter().zip([HOME4, HOME6]) {
            marker.send_to(b"", (home, PORT)).unwrap();
        }
        let markers = [PEER4, PEER6].map(|marker| marker.parse().unwrap());
        wait_until("the last datagrams arrive", || {
            read(&mut arrived);
            markers.iter().all(|marker| arrived.contains(marker))
        });
        arrived.retain(|address| !markers.contains(address));
        arrived
    }
}

fn settings() -> Settings {
    Settings {
        owner: false,
        table: "nfban".to_owned(),
        services: Vec::new(),
        protected: Vec::new(),
        conntrack: true,
        size: 100_000,
        trap: None,
    }
}

fn put(measure: Measure, target: IpNet, timeout: Option<Duration>) -> Change {
    Change::Put { measure, target, timeout, comment: "manual".to_owned() }
}

fn apply(kernel: &mut Kernel, changes: &[Change]) {
    assert_eq!(kernel.apply(changes), vec![Outcome::Done; changes.len()], "{changes:?}");
}

fn take(kernel: &mut Kernel, standing: &mut Standing, step: &Step) {
    let nth = |standing: &Standing, n: usize| {
        (!standing.is_empty()).then(|| *standing.keys().nth(n % standing.len()).unwrap())
    };
    match step {
        Step::Put(puts) => {
            let timeout = |hundreds: &u8| Duration::from_secs(100 * u64::from(*hundreds));
            let changes: Vec<_> = puts
                .iter()
                .map(|(measure, prefix, hundreds)| {
                    put(*measure, prefix.net(), hundreds.as_ref().map(timeout))
                })
                .collect();
            apply(kernel, &changes);
            standing.extend(puts.iter().map(|(measure, prefix, _)| ((*measure, prefix.net()), ())));
        }
        Step::Lift(which) => {
            let mut lifts = Vec::new();
            for (measure, target) in which.iter().filter_map(|n| nth(standing, *n)) {
                lifts.push(Change::Lift { measure, target });
            }
            apply(kernel, &lifts);
            for lift in lifts {
                let Change::Lift { measure, target } = lift else { unreachable!() };
                standing.remove(&(measure, target));
            }
        }
        Step::Expire(n) => {
            let Some((measure, target)) = nth(standing, *n) else { return };
            apply(kernel, &[put(measure, target, Some(Duration::from_millis(20)))]);
            wait_until("its time is over", || {
                !kernel.held().unwrap().iter().any(|held| (held.measure, held.target) == (measure, target))
            });
            standing.remove(&(measure, target));
        }
    }
}

#[test]
fn what_is_dropped_is_the_union_of_what_stands_whatever_overlaps_begins_and_ends() {
    let pair = Pair::new();
    let wire = Wire::new(&pair);
    let settings = settings();
    let all: BTreeSet<IpAddr> = wire.clients.iter().map(|(address, _)| *address).collect();
    let mut runner = TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() });
    let cases = prop::collection::vec(steps(), 1..12);
    let outcome = runner.run(&cases, |steps| {
        pair.home.enter(|| {
            let mut kernel = Kernel::open(&settings).unwrap();
            // Of a case that failed, while a smaller one is looked for.
            kernel.remove().unwrap();
            kernel.set_up().unwrap();
            let mut standing = Standing::new();
            for step in &steps {
                take(&mut kernel, &mut standing, step);
                let held: Standing =
                    kernel.held().unwrap().iter().map(|held| ((held.measure, held.target), ())).collect();
                prop_assert_eq!(&held, &standing, "after {:?}", step);
                let banned = |address: &IpAddr| standing.keys().any(|(_, net)| net.contains(address));
                let expected: BTreeSet<IpAddr> = all.iter().filter(|a| !banned(a)).copied().collect();
                prop_assert_eq!(wire.arriving(&expected), expected, "after {:?}", step);
            }
            Ok(())
        })
    });
    outcome.unwrap();
}

#[test]
fn what_expired_around_a_prefix_a_moment_ago_is_no_overlap() {
    Namespace::new().enter(|| {
        let mut kernel = Kernel::install(&settings()).unwrap();
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        let minutes = Some(Duration::from_secs(600));
        for measure in [Ban, Restrict] {
            apply(&mut kernel, &[put(measure, net("10.9.8.4/30"), minutes)]);
            apply(&mut kernel, &[put(measure, net("10.9.8.0/28"), Some(Duration::from_millis(20)))]);
            let holds = |kernel: &mut Kernel, target| {
                kernel.held().unwrap().iter().any(|held| (held.measure, held.target) == (measure, target))
            };
            wait_until("the wider one is over", || !holds(&mut kernel, net("10.9.8.0/28")));
            // The kernel has collected neither of its two stretches by now, and counts the end of the second.
            apply(&mut kernel, &[put(measure, net("10.9.8.0/27"), None)]);
            assert!(holds(&mut kernel, net("10.9.8.0/27")) && holds(&mut kernel, net("10.9.8.4/30")));
        }
    });
}
