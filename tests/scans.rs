//! Scanners and honest clients against the daemon, over the running kernel and the rulesets of `examples/nftables`.
//!
//! A machine that publishes 22, 80 and 443 and has something listening on 8080 besides; a peer behind its gateway.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test states its expectations by panicking"
)]

mod support;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener, TcpStream, UdpSocket};
use std::sync::Mutex;
use std::thread;

use rustix::process::Signal;
use support::daemon::{Daemon, text};
use support::{HOME4, HOME6, PEER4, Pair, wait_until};

/// Who scans: behind the gateway, as a gateway itself is never banned.
const SCANNER4: &str = "203.0.113.7";
const SCANNER6: &str = "2001:db8:9::7";
/// What is banned for it: IPv6 sources are told apart by /64.
const SCANNER6_NET: &str = "2001:db8:9::/64";

const CONFIG: &str = "
capture:
  - nflog: {group: 100}
  - nflog: {group: 101, verdict: accepted}
services: [22, 80, 443]
";

/// How an example is loaded.
#[derive(Debug, Clone, Copy)]
enum Ruleset {
    Nft,
    Iptables,
}

/// A protected machine with its daemon and its listeners.
struct Site {
    // Fields drop in this order: the daemon goes before the namespace it is in.
    daemon: Daemon,
    pair: Pair,
    /// What is published and listens, by port.
    published: [(u16, TcpListener); 2],
    _secret: (TcpListener, UdpSocket),
}

impl Site {
    fn new(ruleset: Ruleset) -> Self {
        let pair = Pair::new();
        pair.peer_has(SCANNER4);
        pair.peer_has(SCANNER6);
        pair.peer.sh(&format!(
            "ip route change 192.0.2.0/24 dev peer0 src {SCANNER4} &&
             ip -6 route replace 2001:db8:1::/64 dev peer0 metric 1 src {SCANNER6}"
        ));
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/nftables");
        pair.home.sh(&match ruleset {
            Ruleset::Nft => format!("nft -f {folder}/server.nft"),
            Ruleset::Iptables => format!("sh {folder}/server-iptables.sh load"),
        });
        // What a scanner could learn of unpublished ports: counted after all else, on its way out.
        pair.home.sh("nft -f - <<'RULES'
table inet wire {
    counter told { }
    chain postrouting {
        type filter hook postrouting priority 500;
        oifname up0 tcp sport != { 22, 80, 443 } counter name told
        oifname up0 meta l4proto udp counter name told
        oifname up0 icmp type destination-unreachable counter name told
        oifname up0 icmpv6 type destination-unreachable counter name told
    }
}
RULES");
        let listen = |port| TcpListener::bind(("::", port)).unwrap();
        let (published, secret) = pair.home.enter(|| {
            let published = [22, 443].map(|port| (port, listen(port)));
            (published, (listen(8080), UdpSocket::bind(("::", 1900)).unwrap()))
        });
        let daemon = Daemon::start(&pair.home, CONFIG);
        Self { daemon, pair, published, _secret: secret }
    }

    /// Runs nmap at the peer. Gives the ports it found to be open or closed, of any number, as `8080/open`.
    fn nmap(&self, arguments: &str) -> BTreeSet<String> {
        // Every probe is dropped, and nmap would wait for answers: it is told not to wait long.
        let ping = if arguments.contains("-PE") { "" } else { "-Pn" };
        let report = self.pair.peer.sh(&format!("nmap -n {ping} -T5 --host-timeout 12 -oG - {arguments}"));
        let ports = report.lines().filter_map(|line| line.split_once("Ports: "));
        ports
            .flat_map(|(_, ports)| ports.split('\t').next().unwrap_or_default().split(", "))
            .filter_map(|port| {
                let (number, rest) = port.split_once('/')?;
                let state = rest.split('/').next()?;
                (!state.contains("filtered") || state == "unfiltered").then(|| format!("{number}/{state}"))
            })
            .collect()
    }

    /// The targets of all bans, each of which must be a `restrict`.
    fn restricted(&self) -> Vec<String> {
        let bans = self.daemon.bans();
        assert!(bans.iter().all(|ban| ban["action"] == "restrict"), "{bans:#?}");
        self.daemon.targets()
    }

    /// Asks, as somebody who is restricted by now, what a scanner would most like to know.
    fn learns_nothing_by(&self, arguments: &str) {
        let received = self.daemon.packets();
        let ports = if arguments.contains("-sU") { "53,123,161,1900" } else { "21-25,80,443,3306,8080" };
        let learnt = self.nmap(&format!("{arguments} -p {ports}"));
        let secret = |port: &&String| !["22/", "80/", "443/"].iter().any(|known| port.starts_with(known));
        let secret: Vec<_> = learnt.iter().filter(secret).collect();
        assert!(secret.is_empty(), "{arguments} learnt {secret:?}");
        assert_eq!(self.told(), 0, "{arguments}: the machine told of unpublished ports");
        // What still comes is of published ports alone: SYNs that are accepted, other probes that are refused.
        let more = self.daemon.packets() - received;
        assert!(more <= 3 * 3, "{arguments}: {more} packets still reached the firewall's own rules");
    }

    /// How many packets told anybody about unpublished ports.
    fn told(&self) -> u64 {
        let counter = self.pair.home.sh("nft list counter inet wire told");
        let number = counter.split_once("packets ").unwrap().1.split(' ').next().unwrap();
        number.parse().unwrap()
    }
}

/// Runs `work` for each item, a few at a time: nmap mostly waits.
fn side_by_side<T: Copy + Send + Sync>(items: &[T], work: impl Fn(T) + Sync) {
    let next = Mutex::new(items.iter());
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                loop {
                    let Some(&item) = next.lock().unwrap().next() else { return };
                    work(item);
                }
            });
        }
    });
}

/// A scan in one family, and what it must be called.
#[derive(Debug, Clone, Copy)]
struct Scan {
    arguments: &'static str,
    rule: &'static str,
    ipv6: bool,
}

impl Scan {
    fn both(arguments: &'static str, rule: &'static str) -> [Self; 2] {
        [false, true].map(|ipv6| Self { arguments, rule, ipv6 })
    }

    fn target(self) -> String {
        if self.ipv6 { format!("-6 {HOME6}") } else { HOME4.to_owned() }
    }

    /// One incident of the right name, one ban, and a scanner that learns nothing more.
    fn is_seen_once_and_stopped(self, ruleset: Ruleset) {
        let site = Site::new(ruleset);
        let Self { arguments, rule, ipv6 } = self;
        let about = |site: &Site| {
            format!("{arguments} ipv6={ipv6} {ruleset:?}\n{:#}\n{}", site.daemon.status(), site.daemon.log())
        };
        let hold = |site: &Site| {
            let status = site.daemon.status();
            assert_eq!(site.daemon.rules(), [rule], "{}", about(site));
            assert_eq!(status["incidents_total"], 1, "{}", about(site));
            let scanner = if ipv6 { SCANNER6_NET } else { SCANNER4 };
            assert_eq!(site.restricted(), [scanner], "{}", about(site));
            assert_eq!(text(&site.daemon.bans()[0]["rule"]), rule);
        };
        site.nmap(&format!("{arguments} {}", self.target()));
        hold(&site);

        let kind = arguments.split(" -p").next().unwrap().replace(" -F", "").replace(" -O", "");
        site.learns_nothing_by(&format!("{kind} {}", self.target()));
        hold(&site);
        let dropped = site.daemon.bans()[0]["packets"].as_u64().unwrap();
        assert!(dropped > 0, "nothing was dropped by the ban\n{}", about(&site));
        site.daemon.stop(Signal::TERM);
    }
}

/// Every scan of nmap's, over the thousand ports that it scans unless told otherwise.
fn scans() -> Vec<Scan> {
    [
        ("-sS --max-retries 1", "tcp-syn-scan"),
        ("-sT --max-retries 1", "tcp-port-scan"),
        ("-sF --max-retries 1", "tcp-fin-scan"),
        ("-sN --max-retries 1", "tcp-null-scan"),
        ("-sX --max-retries 1", "tcp-xmas-scan"),
        ("-sM --max-retries 1", "tcp-maimon-scan"),
        ("-sA --max-retries 1", "tcp-ack-scan"),
        ("-sW --max-retries 1", "tcp-ack-scan"),
        ("-sU --max-retries 1 -p 1-20,53,67,69,123,161,500,514,520,1900,5353", "udp-scan"),
        ("--scanflags SYNFIN --max-retries 1", "tcp-bogus-flags"),
        ("--scanflags SYNRST --max-retries 1", "tcp-bogus-flags"),
        ("--scanflags 0xff --max-retries 1", "tcp-bogus-flags"),
    ]
    .into_iter()
    .flat_map(|(arguments, rule)| Scan::both(arguments, rule))
    .collect()
}

#[test]
fn every_scan_of_nmap_is_one_incident_and_one_ban_after_which_it_learns_nothing() {
    side_by_side(&scans(), |scan| scan.is_seen_once_and_stopped(Ruleset::Nft));
}

#[test]
fn the_same_holds_behind_iptables_and_for_evasive_scans() {
    let behind_iptables: Vec<Scan> = [
        ("-sS --max-retries 1", "tcp-syn-scan"),
        ("-sT --max-retries 1", "tcp-port-scan"),
        ("-sA --max-retries 1", "tcp-ack-scan"),
        ("-sF --max-retries 1", "tcp-fin-scan"),
        ("-sU --max-retries 1 -p 1-20,53,123,161,1900", "udp-scan"),
        ("--scanflags SYNFIN --max-retries 1", "tcp-bogus-flags"),
    ]
    .into_iter()
    .flat_map(|(arguments, rule)| Scan::both(arguments, rule))
    .collect();
    let evasive: Vec<Scan> = [
        // With no more options than a user gives who has read no manual.
        ("-sS -T3", "tcp-syn-scan"),
        ("-sS -PE -PS443 -PA80", "tcp-syn-scan"),
        ("-sS -F -r --max-retries 2", "tcp-syn-scan"),
        ("-sS -F -g 443 --max-retries 1", "tcp-syn-scan"),
        ("-sS -F -g 53 --max-retries 1", "tcp-syn-scan"),
        ("-sS -O --max-retries 1 -p 1-100", "tcp-syn-scan"),
        ("-sS --max-retries 0 -p 50000-50040", "tcp-syn-scan"),
        ("-sA -F -g 443 --max-retries 1", "tcp-ack-scan"),
        ("-sM -F -g 443 --max-retries 1", "tcp-maimon-scan"),
        ("--scanflags URGPSH -F --max-retries 1", "tcp-xmas-scan"),
        ("--scanflags SYNURG -F --max-retries 1", "tcp-bogus-flags"),
        ("--scanflags FINRST -F --max-retries 0", "tcp-bogus-flags"),
        ("--scanflags SYNPSH -F --max-retries 0", "tcp-syn-scan"),
        ("--scanflags ACKPSH -F --max-retries 0", "tcp-ack-scan"),
        ("-sW --max-retries 0 -p 40000-40100", "tcp-ack-scan"),
        ("-sM -g 443 --max-retries 0 -p 33000-33100", "tcp-maimon-scan"),
        ("-sS -sU --max-retries 0 -p T:1-30,U:1-30", "tcp-syn-scan"),
        ("-sU --max-retries 0 -p 33434-33500", "udp-scan"),
        ("-sU -F -g 53 --max-retries 0", "udp-scan"),
        ("-sU -g 53 --data-length 20 --max-retries 0 -p 1-40", "udp-scan"),
    ]
    .into_iter()
    .flat_map(|(arguments, rule)| Scan::both(arguments, rule))
    .collect();
    // nmap cannot do these over IPv6, or leaves the packets unsent.
    let over_ipv4 = [
        ("-sS -F -f --max-retries 1", "tcp-syn-scan"),
        ("-sS -F --ttl 9 --max-retries 1", "tcp-syn-scan"),
        ("-sS -F --badsum --max-retries 1", "tcp-syn-scan"),
        ("-sS -F --data-length 20", "tcp-syn-scan"),
        ("-sF -F -g 53 -f --max-retries 1", "tcp-fin-scan"),
    ]
    .map(|(arguments, rule)| Scan { arguments, rule, ipv6: false });
    let scans: Vec<(Scan, Ruleset)> = behind_iptables
        .into_iter()
        .map(|scan| (scan, Ruleset::Iptables))
        .chain(evasive.into_iter().chain(over_ipv4).map(|scan| (scan, Ruleset::Nft)))
        .collect();
    side_by_side(&scans, |(scan, ruleset)| scan.is_seen_once_and_stopped(ruleset));
}

#[test]
fn a_scan_whose_packets_have_hardly_any_ttl_left_is_told_as_a_scan_alone() {
    let site = Site::new(Ruleset::Nft);
    site.nmap(&format!("-sS -F --ttl 3 --max-retries 1 {HOME4}"));
    assert_eq!(site.daemon.rules(), ["tcp-syn-scan"], "{}", site.daemon.log());
    assert_eq!(site.daemon.status()["incidents_total"], 1, "{}", site.daemon.log());
    assert_eq!(site.restricted(), [SCANNER4]);
    assert_eq!(text(&site.daemon.bans()[0]["rule"]), "tcp-syn-scan");
    assert_eq!(site.told(), 0);
}

#[test]
fn hping_scans_are_one_incident_each() {
    let scans = [
        ("-S --scan 1-400 -q", "tcp-syn-scan"),
        ("-S -p ++1 -c 200 -i u2000 -q", "tcp-syn-scan"),
        ("-F -p ++1 -c 50 -i u2000 -q", "tcp-fin-scan"),
        ("-S -F -p ++1 -c 50 -i u2000 -q", "tcp-bogus-flags"),
        ("-A -p ++1 -c 200 -i u2000 -q", "tcp-ack-scan"),
        ("-2 -p ++1 -c 200 -i u2000 -q", "udp-scan"),
    ];
    side_by_side(&scans, |(arguments, rule)| {
        let site = Site::new(Ruleset::Nft);
        // It waits for answers after its last packet, and says by its exit status that none came.
        let _ =
            site.pair.peer.try_sh(&format!("timeout 5 hping3 -n -I peer0 -a {SCANNER4} {arguments} {HOME4}"));
        assert_eq!(site.daemon.rules(), [rule], "{arguments}\n{}", site.daemon.log());
        assert_eq!(site.daemon.status()["incidents_total"], 1, "{arguments}\n{}", site.daemon.log());
        assert_eq!(site.restricted(), [SCANNER4], "{arguments}");
        assert_eq!(site.told(), 0, "{arguments}");
    });
}

#[test]
fn decoys_are_restricted_but_never_the_gateway_or_an_address_of_this_host() {
    let site = Site::new(Ruleset::Nft);
    let decoys = format!("203.0.113.20,198.51.100.21,{PEER4},{HOME4},ME");
    site.nmap(&format!("-sS -F --max-retries 1 -D {decoys} {HOME4}"));
    assert_eq!(site.daemon.rules(), ["tcp-syn-scan"; 3], "{}", site.daemon.log());
    assert_eq!(site.restricted(), ["198.51.100.21", "203.0.113.20", SCANNER4]);
    site.learns_nothing_by(&format!("-sS {HOME4}"));
}

#[test]
fn three_scanners_in_a_row_are_three_incidents_and_neighbours_are_told_apart() {
    let site = Site::new(Ruleset::Nft);
    for scanner in ["203.0.113.11", "203.0.113.12", "192.0.2.77"] {
        site.pair.peer.sh(&format!("ip addr add {scanner}/32 dev peer0"));
        site.nmap(&format!("-sS -F --max-retries 1 -S {scanner} -e peer0 {HOME4}"));
    }
    for scanner in ["2001:db8:1::77", "2001:db8:77::1"] {
        site.pair.peer.sh(&format!("ip addr add {scanner}/128 dev peer0 nodad"));
        site.nmap(&format!("-6 -sF -F --max-retries 1 -S {scanner} -e peer0 {HOME6}"));
    }
    assert_eq!(site.daemon.status()["incidents_total"], 5, "{}", site.daemon.log());
    // Of those on the same link each is its own /128: the gateway shares their /64.
    assert_eq!(
        site.restricted(),
        ["192.0.2.77", "2001:db8:1::77", "2001:db8:77::/64", "203.0.113.11", "203.0.113.12"]
    );
}

/// TCP with the kernel's own connect(), which sends one SYN: the socket is closed before it would repeat it.
fn knock(to: SocketAddr) {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::NONBLOCK, None).unwrap();
    assert_eq!(connect(&socket, &to), Err(rustix::io::Errno::INPROGRESS));
}

/// Both of home's addresses with a port.
fn home(port: u16) -> [SocketAddr; 2] {
    [HOME4, HOME6].map(|address| SocketAddr::new(address.parse().unwrap(), port))
}

impl Site {
    /// Sends honest traffic, of which at least `packets` reach the daemon; nobody is suspected for it.
    fn suspects_nobody(&self, traffic: &str, packets: u64, send: impl FnOnce()) {
        // Lost ones too: an ordinary user's receive buffer is small.
        let logged = || {
            let captures = self.daemon.status()["captures"].clone();
            let captures = captures.as_array().unwrap().iter();
            captures.map(|c| c["packets"].as_u64().unwrap() + c["lost"].as_u64().unwrap()).sum::<u64>()
        };
        let before = logged();
        send();
        wait_until(traffic, || logged() >= before + packets);
        let status = self.daemon.status();
        assert_eq!(status["incidents_total"], 0, "{traffic}: {:#}", status["recent_incidents"]);
        assert!(self.daemon.bans().is_empty(), "{traffic}");
    }

    /// Runs a tool at the peer that may say by its exit status that nobody answered.
    fn tool(&self, line: &str) {
        let _ = self.pair.peer.try_sh(&format!("timeout 15 {line}"));
    }
}

#[test]
fn a_client_that_opens_one_closed_port_5000_times_beside_another_is_no_scanner() {
    let site = Site::new(Ruleset::Nft);
    site.suspects_nobody("a proxy that is gone, and one other port", 10_002, || {
        site.pair.peer.enter(|| {
            for _ in 0..5000 {
                home(3128).into_iter().for_each(knock);
            }
            home(8443).into_iter().for_each(knock);
        });
    });
    site.suspects_nobody("one SYN again and again", 100, || {
        site.tool(&format!(
            "hping3 -q -n -I peer0 -a {SCANNER4} -S -s 40000 -k -p 8080 -c 100 -i u5000 {HOME4}"
        ));
    });
}

#[test]
fn clients_and_servers_whose_last_segments_come_late_are_no_scanners() {
    let site = Site::new(Ruleset::Nft);
    let connections = || {
        let served: Vec<TcpStream> = site
            .published
            .iter()
            .flat_map(|(port, listener)| (0..100).map(move |_| (port, listener)))
            .flat_map(|(port, listener)| {
                home(*port).map(|to| {
                    // Home closes one half of them first, and the peer the other.
                    let client = site.pair.peer.enter(|| TcpStream::connect(to).unwrap());
                    let server = listener.accept().unwrap().0;
                    if to.is_ipv4() { server } else { client }
                })
            })
            .collect();
        drop(served);
    };
    site.suspects_nobody("connections to published services that end at once", 400, connections);

    // Home as a client of the peer's web server, with the firewall forgetting everything while they are connected.
    let late = || {
        let ours = site.pair.peer.enter(|| [443, 8080].map(|port| TcpListener::bind(("::", port)).unwrap()));
        let from = [SCANNER4, SCANNER6];
        let connected: Vec<(TcpStream, TcpStream)> = (0..100)
            .flat_map(|number| {
                let (server, port) = if number % 2 == 0 { (&ours[0], 443) } else { (&ours[1], 8080) };
                from.map(|address| {
                    let to = SocketAddr::new(address.parse().unwrap(), port);
                    let client = site.pair.home.enter(|| TcpStream::connect(to).unwrap());
                    (client, server.accept().unwrap().0)
                })
            })
            .collect();
        site.pair.home.sh("conntrack -D -p tcp -f ipv4; conntrack -D -p tcp -f ipv6; true");
        let (clients, servers): (Vec<_>, Vec<_>) = connected.into_iter().unzip();
        drop(servers);
        // Their clients wait for data that will never come.
        drop(clients);
    };
    site.suspects_nobody("the end of connections that the firewall has forgotten", 200, late);
}

#[test]
fn answers_echoes_and_broadcasts_are_no_scans() {
    let site = Site::new(Ruleset::Nft);
    let answers = || {
        site.pair.peer.enter(|| {
            for (port, length) in [(53, 40), (123, 48), (443, 1200)] {
                for (from, to) in [(SCANNER4, HOME4), (SCANNER6, HOME6)] {
                    let socket = UdpSocket::bind((from.parse::<IpAddr>().unwrap(), port)).unwrap();
                    for dport in 33_000..33_100 {
                        socket.send_to(&[0; 1200][..length], (to, dport)).unwrap();
                    }
                }
            }
        });
    };
    site.suspects_nobody("answers of name, time and web servers over UDP, too late", 600, answers);

    // To every port, as floods with our address forged into them cause.
    for (what, flags, six) in
        [("RST", "-R", "rst"), ("RST+ACK", "-R -A", "rst,ack"), ("SYN+ACK", "-S -A", "syn,ack")]
    {
        site.suspects_nobody(&format!("a storm of {what}"), 600, || {
            site.tool(&format!(
                "hping3 -q -n -I peer0 -a {SCANNER4} {flags} -s 443 -k -p ++1 -c 400 -i u1000 {HOME4}"
            ));
            site.tool(&format!(
                "nping -q -N -6 --tcp --flags {six} -g 443 -p 1-200 --rate 2000 -c 1 {HOME6}"
            ));
        });
    }

    let echoes = || {
        site.tool(&format!("ping -n -q -i 0.005 -c 200 -W 1 -I {SCANNER4} {HOME4}"));
        site.tool(&format!("ping -n -q -i 0.005 -c 200 -W 1 -I {SCANNER6} {HOME6}"));
        // Neighbours that have forgotten each other solicit and advertise anew.
        site.pair.peer.sh("ip -6 neigh flush dev peer0; ip neigh flush dev peer0");
        site.pair.home.sh("ip -6 neigh flush dev up0; ip neigh flush dev up0");
        site.tool(&format!("ping -n -q -c 1 -W 1 -I {SCANNER6} {HOME6}"));
    };
    // Of each family 200 within a second, of which it answers 40 at once and 20 later on.
    site.suspects_nobody("pings faster than the firewall answers", 200, echoes);

    let groups = [Ipv4Addr::new(224, 0, 0, 251), Ipv4Addr::new(239, 255, 255, 250)];
    let _member = site.pair.home.enter(|| {
        let member = UdpSocket::bind((HOME4, 0)).unwrap();
        groups.iter().for_each(|group| member.join_multicast_v4(group, &HOME4.parse().unwrap()).unwrap());
        member
    });
    let announcements = || {
        site.pair.peer.enter(|| {
            let socket = UdpSocket::bind((PEER4, 0)).unwrap();
            socket.set_broadcast(true).unwrap();
            let six = UdpSocket::bind(("::", 0)).unwrap();
            let ports = [67, 68, 137, 138, 161, 500, 631, 1900, 3702, 5353, 5355, 6771, 9956, 17500, 27036];
            for port in ports {
                for group in ["192.0.2.255", "255.255.255.255", "224.0.0.251", "239.255.255.250"] {
                    socket.send_to(b"is anybody there?", (group, port)).unwrap();
                }
                six.send_to(b"is anybody there?", SocketAddrV6::new(ALL_NODES, port, 0, peer0())).unwrap();
            }
        });
    };
    site.suspects_nobody("announcements to everybody", 60, announcements);
}

/// ff02::1.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// The index of the peer's interface, in its namespace.
fn peer0() -> u32 {
    let index = std::fs::read_to_string("/proc/thread-self/net/dev_mcast").unwrap();
    let line = index.lines().find(|line| line.contains("peer0")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
