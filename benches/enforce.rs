//! What a ban costs the kernel: a dropped packet, at prerouting and at a device's ingress; and ending connections among
//! as many as a table holds.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a bench stops where its premises fail, and its numbers are small"
)]

mod measure;
#[path = "../tests/support/mod.rs"]
mod support;

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use measure::{machine, ms, quantile};
use nfban::config::{Family, Sets, Table};
use nfban::decide::Measure;
use nfban::enforce::conntrack::{Disconnector, delete_entries_of};
use nfban::enforce::{Change, Enforcer as _, Given, Kernel, Outcome, Settings};
use nfban::netlink::{Batch, Header, Socket};
use support::{HOME4, Namespace, Pair};

/// Datagrams in a round, and rounds of each kind, in turns.
const PACKETS: u32 = 300_000;
const ROUNDS: usize = 7;
/// Others that are banned as well.
const BANNED: u32 = 100_000;
/// Entries in the table of connections: the kernel's own limit on a machine of 4 GiB or more.
const ENTRIES: u32 = 262_144;
/// Of these the banned source has so many.
const ITS_ENTRIES: u32 = 1_000;

const BAD: &str = "203.0.113.7";

fn main() {
    println!("{}", machine());
    drops();
    connections();
}

/// nfban's own table, but for conntrack, with everybody banned.
fn settings() -> Settings {
    Settings {
        owner: false,
        table: "nfban".to_owned(),
        services: vec![(6, 22..=22), (6, 443..=443)],
        protected: ["127.0.0.0/8", "::1/128", "192.0.2.1/32", "224.0.0.0/3"]
            .map(|net| net.parse().unwrap())
            .to_vec(),
        conntrack: true,
        trap: None,
        size: 200_000,
    }
}

fn ban(target: IpNet) -> Change {
    let timeout = Some(Duration::from_secs(3600));
    Change::Put { measure: Measure::Ban, target, timeout, comment: "tcp-port-scan".to_owned() }
}

fn everybody() -> Vec<Change> {
    let others =
        (0..BANNED).map(|n| IpNet::from(std::net::IpAddr::from(Ipv4Addr::from_bits(0x0a00_0000 + n))));
    others.chain([format!("{BAD}/32").parse().unwrap()]).map(ban).collect()
}

fn apply(kernel: &mut Kernel, changes: &[Change]) {
    assert!(kernel.apply(changes).iter().all(|outcome| *outcome == Outcome::Done));
}

/// Nanoseconds of CPU that a datagram takes from sendto(2) to where it ends: a veth pair delivers in the sender's time.
/// (Not with CONFIG_IRQ_TIME_ACCOUNTING, which takes softirqs out of it.)
fn send(socket: &UdpSocket) -> f64 {
    let spent = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
    };
    let began = spent();
    for _ in 0..PACKETS {
        socket.send(b"knock").unwrap();
    }
    (spent() - began) / f64::from(PACKETS)
}

fn drops() {
    let pair = Pair::new();
    pair.peer_has(BAD);
    let socket = pair.peer.enter(|| {
        let socket = UdpSocket::bind((BAD, 0)).unwrap();
        socket.connect((HOME4, 7000)).unwrap();
        socket
    });
    let home = pair.home.sh("ip -o link show up0 | grep -o 'link/ether [0-9a-f:]*' | cut -d' ' -f2");
    let neighbour = |address: &str| {
        pair.peer.sh(&format!("ip neigh replace {HOME4} lladdr {} dev peer0", address.trim()));
    };
    let example = include_str!("../examples/nftables/netdev-ingress.nft").replace("= eth0", "= up0");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), example).unwrap();

    let at_prerouting = || {
        pair.home.enter(|| apply(&mut Kernel::install(&settings()).unwrap(), &everybody()));
    };
    let at_ingress = || {
        pair.home.sh(&format!("nft -f {}", file.path().display()));
        let table = Table { family: Family::Inet, name: "edge".to_owned() };
        let names = Sets { ban4: Some("ban4".to_owned()), ..Sets::default() };
        pair.home.enter(|| apply(&mut Kernel::fill(&Given { table, names }).unwrap(), &everybody()));
    };
    // Connection tracking is on in all of them, as it is where a firewall is.
    let refused = || {
        pair.home.sh("nft 'add table inet f; add chain inet f i { type filter hook input priority 0; }'");
        pair.home.sh("nft 'add rule inet f i ct state established accept; add rule inet f i drop'");
    };
    let clean = || {
        pair.home.sh("for table in nfban edge f; do nft delete table inet $table 2>/dev/null; done; true");
        neighbour(&home);
    };
    let mut times: [Vec<f64>; 4] = Default::default();
    for _ in 0..ROUNDS {
        let kinds: [&dyn Fn(); 4] =
            [&|| neighbour("02:00:00:00:00:99"), &at_ingress, &at_prerouting, &refused];
        for (kind, times) in kinds.iter().zip(&mut times) {
            clean();
            kind();
            times.push(pair.peer.enter(|| send(&socket)));
        }
    }
    clean();
    // Others only ever add to it.
    let least = |times: Vec<f64>| times.into_iter().fold(f64::INFINITY, f64::min);
    let [received, ingress, prerouting, refused] = times.map(least);
    println!(
        "\ndropping a packet of a banned source ({BANNED} others are banned), CPU time of a packet, the least of {ROUNDS} rounds of {PACKETS}"
    );
    println!("sent, received and not for us (thrown away at once)   {received:6.0} ns");
    for (what, time) in [
        ("banned, at the device's ingress (netdev-ingress.nft)", ingress),
        ("banned, at prerouting -450 (nfban's own table)      ", prerouting),
        ("not banned, refused at the input hook               ", refused),
    ] {
        println!("{what}  {time:6.0} ns, {:+5.0} ns", time - received);
    }
    println!(
        "a drop at ingress costs {:.2} of one at prerouting, {:.2} with sending and receiving included",
        (ingress - received) / (prerouting - received),
        ingress / prerouting
    );
}

fn connections() {
    let home = Namespace::new();
    home.enter(|| {
        let mut kernel = Kernel::install(&settings()).unwrap();
        fill();
        let entries: u32 = std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count")
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        let one = |kernel: &mut Kernel, n: u32| {
            let target = IpNet::from(std::net::IpAddr::from(Ipv4Addr::from_bits(0x0b00_0000 + n)));
            let began = Instant::now();
            apply(kernel, &[ban(target)]);
            began.elapsed()
        };
        let mut quiet: Vec<_> = (0..1000).map(|n| one(&mut kernel, n)).collect();

        let disconnector = Disconnector::start().unwrap();
        let began = Instant::now();
        disconnector.disconnect([format!("{BAD}/32").parse().unwrap()]);
        let mut busy = Vec::new();
        while disconnector.done() == 0 {
            busy.push(one(&mut kernel, 1000 + busy.len() as u32));
        }
        let took = began.elapsed();
        assert_eq!(disconnector.done(), u64::from(ITS_ENTRIES));
        let began = Instant::now();
        let nobody = [IpNet::from(std::net::IpAddr::from([198, 51, 100, 99]))].into_iter().collect();
        assert_eq!(delete_entries_of(&nobody).unwrap(), 0);
        let alone = began.elapsed();

        quiet.sort_unstable();
        busy.sort_unstable();
        println!("\nending {ITS_ENTRIES} connections of a banned source among {entries}");
        println!("from the ban to the last of them       {} ms", ms(took));
        println!("reading the table, nothing else going on  {} ms", ms(alone));
        for (what, times) in [("before", &quiet), ("during", &busy)] {
            println!(
                "other bans {what}: {} of them, p50 {} ms, p99 {} ms, most {} ms",
                times.len(),
                ms(quantile(times, 0.5)),
                ms(quantile(times, 0.99)),
                ms(times[times.len() - 1])
            );
        }
    });
}

/// Fills the table of connections with UDP from many sources, and from the banned one.
fn fill() {
    // linux/netfilter/nfnetlink_conntrack.h
    const NEW: u16 = 1 << 8;
    const CREATE: u16 = 0x400 | 0x1;
    let socket = Socket::open(mnl::Bus::Netfilter, 0).unwrap();
    let tuple = |batch: &mut Batch, kind, [from, to]: [u32; 2], [sport, dport]: [u16; 2]| {
        batch.nest(kind, |tuple| {
            tuple.nest(1, |ip| {
                ip.be32(1, from);
                ip.be32(2, to);
            });
            tuple.nest(2, |protocol| {
                protocol.attribute(1, &[17]);
                protocol.attribute(2, &sport.to_be_bytes());
                protocol.attribute(3, &dport.to_be_bytes());
            });
        });
    };
    let bad = BAD.parse::<Ipv4Addr>().unwrap().to_bits();
    let home = HOME4.parse::<Ipv4Addr>().unwrap().to_bits();
    let entries: Vec<(u32, u16)> = (0..ENTRIES - ITS_ENTRIES)
        .map(|n| (0x1000_0000 + n, 5353))
        .chain((0..ITS_ENTRIES).map(|n| (bad, n as u16 + 1024)))
        .collect();
    for some in entries.chunks(64) {
        let mut batch = Batch::default();
        for &(source, sport) in some {
            let header = Header { kind: NEW, flags: CREATE, sequence: 1 };
            batch.message(header, &[2, 0, 0, 0], |m| {
                tuple(m, 1, [source, home], [sport, 53]);
                tuple(m, 2, [home, source], [53, sport]);
                m.be32(7, 600);
            });
        }
        socket.send(&batch).unwrap();
    }
}
