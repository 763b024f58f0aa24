//! What an attacker can do to others by forging their addresses, behind `examples/nftables/server.nft`.
//!
//! A switch joins the server, its gateway and the attacker, who sends in anybody's name. Behind the gateway are a customer
//! of the server's and its resolver.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test states its expectations by panicking"
)]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

use support::daemon::{Daemon, NFBAN, Setup, text};
use support::{Namespace, wait_until};

const SERVER4: &str = "192.0.2.1";
const SERVER6: &str = "2001:db8:1::1";
const GATEWAY4: &str = "192.0.2.2";
const GATEWAY6: &str = "2001:db8:1::2";
const CUSTOMER4: &str = "198.51.100.9";
const CUSTOMER6: &str = "2001:db8:9::9";
const RESOLVER4: &str = "198.51.100.53";
const RESOLVER6: &str = "2001:db8:5::53";
/// Whose ban says that the daemon has seen all that was sent before.
const MARKER: &str = "203.0.113.99";
const NMAP: &str =
    "nmap -n -Pn -T5 --max-retries 0 --max-rtt-timeout 100ms --host-timeout 8 --min-rate 300 -e at0";
/// Nobody waits longer for an answer that must come.
const PATIENCE: Duration = Duration::from_secs(10);

const CONFIG: &str = "
capture:
  - nflog: {group: 100}
  - nflog: {group: 101, verdict: accepted}
  - nflog: {group: 102, verdict: fragment}
  - nflog: {group: 103, verdict: outbound}
services: [22, 80, 443, udp/443]
traps: [23, 3389, 5900]
";

/// The networks and the daemon.
struct World {
    daemon: Daemon,
    server: Namespace,
    _gateway: Namespace,
    others: Namespace,
    attacker: Namespace,
    _switch: Namespace,
}

impl World {
    fn new() -> Self {
        let [switch, server, gateway, others, attacker] = std::array::from_fn(|_| Namespace::new());
        switch.sh("ip link add br0 type bridge && ip link set br0 up");
        for (side, link, four, six, local) in [
            (&server, "up0", "192.0.2.1/24", "2001:db8:1::1/64", "fe80::1"),
            (&gateway, "gw0", "192.0.2.2/24", "2001:db8:1::2/64", "fe80::2"),
            (&attacker, "at0", "192.0.2.66/24", "2001:db8:1::66/64", "fe80::66"),
        ] {
            switch.sh(&format!(
                "ip link add {link} type veth peer name {link} netns {} && ip link set {link} master br0 up",
                side.path()
            ));
            side.sh(&format!(
                "ip link set {link} addrgenmode none && ip addr add {four} dev {link} && \
                 ip addr add {six} dev {link} nodad && ip addr add {local}/64 dev {link} nodad && ip link set {link} up"
            ));
        }
        gateway.sh(&format!("ip link add in0 type veth peer name cu0 netns {}", others.path()));
        gateway.sh(
            "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 && ip link set in0 up && \
             ip addr add 198.51.100.1/24 dev in0 && ip addr add 2001:db8:9::1/64 dev in0 nodad && \
             ip addr add 2001:db8:5::1/64 dev in0 nodad",
        );
        others.sh(&format!(
            "ip link set cu0 up && ip addr add {CUSTOMER4}/24 dev cu0 && ip addr add {CUSTOMER6}/64 dev cu0 nodad && \
             ip addr add {RESOLVER4}/24 dev cu0 && ip addr add {RESOLVER6}/64 dev cu0 nodad && \
             ip route add default via 198.51.100.1 && ip -6 route add default via 2001:db8:9::1"
        ));
        server.sh(&format!("ip route add default via {GATEWAY4} && ip -6 route add default via {GATEWAY6}"));
        // What others are asked, they answer; the attacker answers for nobody whose address it has taken.
        attacker.sh("sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2");
        for (from, to) in [(&others, SERVER4), (&others, SERVER6), (&attacker, SERVER4), (&attacker, SERVER6)]
        {
            wait_until("the networks carry", || from.try_sh(&format!("ping -q -c 1 -W 1 {to}")).0);
        }
        server.sh(&format!("nft -f {}/examples/nftables/server.nft", env!("CARGO_MANIFEST_DIR")));
        server.sh("nft add element inet server services '{ udp . 443 }'");
        let daemon = daemon(&server);
        Self { daemon, server, _gateway: gateway, others, attacker, _switch: switch }
    }

    /// Everything that is sent in somebody's name: scans of all kinds, floods, and handshakes with made-up numbers.
    fn attack_as(&self, four: &str, six: &str) {
        let attacker = &self.attacker;
        attacker.sh(&format!("ip addr add {four}/32 dev lo; ip addr add {six}/128 dev lo nodad"));
        let mut lines = Vec::new();
        for (from, nmap, to) in [(four, NMAP.to_owned(), SERVER4), (six, format!("{NMAP} -6"), SERVER6)] {
            let scans = ["-sS", "-sF", "-sX", "-sA", "-sU"];
            lines.push(
                scans.map(|scan| format!("{nmap} {scan} -p 20-60,3389,5900 -S {from} {to}")).join("; "),
            );
            lines.push(format!("ping -n -q -f -c 600 -i 0.002 -W 1 -I {from} {to}"));
        }
        for port in [23, 3389, 80] {
            let handshake = [
                "-S -c 1 -M 1000",
                "-A -c 300 -i u1000 -M 1001 -L 77",
                "-P -A -d 20 -c 50 -i u1000 -M 1001 -L 78",
            ];
            let hping =
                handshake.map(|what| format!("hping3 -q -n {what} -s 4000 -k -p {port} -a {four} {SERVER4}"));
            lines.push(hping.join("; "));
        }
        let all: String = lines.iter().map(|line| format!("({line}) & ")).collect();
        // hping3 and ping call it a failure that nobody answers.
        attacker.sh(&format!("{all} wait"));
        attacker.sh(&format!("ip addr del {four}/32 dev lo; ip addr del {six}/128 dev lo"));
    }

    /// Waits until the daemon has seen all that came before.
    fn all_seen(&self) {
        let forged = format!("hping3 -q -n -F -U -P -p ++1 -c 60 -i u1000 -a {MARKER} {SERVER4}");
        self.attacker.try_sh(&forged);
        wait_until("the marker is restricted", || self.bans().iter().any(|ban| ban.0 == MARKER));
    }

    /// All bans: target, action, seconds.
    fn bans(&self) -> Vec<(String, String, u64)> {
        let ban = |ban: &serde_json::Value| {
            (text(&ban["target"]), text(&ban["action"]), ban["timeout_s"].as_u64().unwrap())
        };
        self.daemon.bans().iter().map(ban).collect()
    }

    /// A TCP connection between two namespaces that carries data in both directions.
    fn conversation(from: (&Namespace, &str), listener: &TcpListener) -> (TcpStream, TcpStream) {
        let to = listener.local_addr().unwrap();
        let client = from.0.enter(|| connect(from.1.parse().unwrap(), to).expect("it is let in"));
        let (server, _) = listener.accept().unwrap();
        goes_on(&(client, server))
    }
}

/// nfban at the server, whose resolv.conf names the resolver.
fn daemon(server: &Namespace) -> Daemon {
    let setup = Setup::new(CONFIG);
    let resolvers = setup.folder().join("resolv.conf");
    std::fs::write(&resolvers, format!("nameserver {RESOLVER4}\nnameserver {RESOLVER6}\n")).unwrap();
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "sh",
        "-c",
        "mount --bind \"$1\" /etc/resolv.conf && exec \"$2\" run -c \"$3\"",
        "sh",
    ]);
    command.arg(resolvers).arg(NFBAN).arg(setup.config());
    Daemon::spawn(server, setup, command)
}

fn connect(from: IpAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with, sockopt};
    let family = if to.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    bind(&socket, &SocketAddr::new(from, 0))?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(PATIENCE))?;
    connect(&socket, &to)?;
    Ok(TcpStream::from(socket))
}

/// Data passes in both directions; gives the connection back.
fn goes_on((client, server): &(TcpStream, TcpStream)) -> (TcpStream, TcpStream) {
    for (mut from, mut to) in [(client, server), (server, client)] {
        from.write_all(b"hello").unwrap();
        to.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut said = [0; 5];
        to.read_exact(&mut said).expect("what was said arrives");
        assert_eq!(&said, b"hello");
    }
    (client.try_clone().unwrap(), server.try_clone().unwrap())
}

/// A question by UDP is answered.
fn is_answered(asker: (&Namespace, SocketAddr), answerer: (&Namespace, SocketAddr)) {
    let answering = answerer.0.enter(|| UdpSocket::bind(answerer.1).unwrap());
    let asking = asker.0.enter(|| UdpSocket::bind(asker.1).unwrap());
    for socket in [&answering, &asking] {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    let mut octets = [0; 8];
    asking.send_to(b"question", answerer.1).unwrap();
    let (length, from) = answering.recv_from(&mut octets).expect("the question arrives");
    answering.send_to(&octets[..length], from).unwrap();
    assert_eq!(asking.recv(&mut octets).expect("the answer arrives"), 8);
}

fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), port)
}

#[test]
fn an_impersonated_customer_keeps_its_connections_and_everything_published() {
    let world = World::new();
    let World { server, others, .. } = &world;
    let web = [(SERVER4, CUSTOMER4), (SERVER6, CUSTOMER6)]
        .map(|(to, from)| (server.enter(|| TcpListener::bind(at(to, 80)).unwrap()), from));
    let ssh = server.enter(|| TcpListener::bind(at(SERVER4, 22)).unwrap());
    let before = web.each_ref().map(|(listener, from)| World::conversation((others, from), listener));
    let opened = server.enter(|| {
        let listener = others.enter(|| TcpListener::bind(at(CUSTOMER4, 8080)).unwrap());
        World::conversation((server, SERVER4), &listener)
    });

    world.attack_as(CUSTOMER4, CUSTOMER6);
    world.all_seen();
    let bans = world.bans();
    for target in [CUSTOMER4, "2001:db8:9::/64"] {
        let ban = bans.iter().find(|ban| ban.0 == target).expect("the attack is seen");
        assert_eq!((ban.1.as_str(), ban.2), ("restrict", 600), "{bans:?}");
    }
    assert!(bans.iter().all(|ban| ban.1 == "restrict"), "{bans:?}");
    let traps = world.daemon.status()["traps"].clone();
    assert!(traps["arrived"].as_u64().unwrap() >= 3, "{traps}");
    assert_eq!(traps["accepted"], 0, "no made-up number completes a handshake: {traps}");

    // While it is restricted: what was open goes on, in both directions.
    before.iter().chain([&opened]).for_each(|connection| drop(goes_on(connection)));
    for (listener, from) in &web {
        for _ in 0..10 {
            World::conversation((others, from), listener);
        }
    }
    World::conversation((others, CUSTOMER4), &ssh);
    for (from, to) in [(CUSTOMER4, SERVER4), (CUSTOMER6, SERVER6)] {
        is_answered((others, at(from, 0)), (server, at(to, 443)));
        // What the server opens to it is answered.
        let listener = others.enter(|| TcpListener::bind(at(from, 8081)).unwrap());
        World::conversation((server, to), &listener);
        is_answered((server, at(to, 0)), (others, at(from, 5353)));
        others.sh(&format!("ping -q -c 1 -W 5 {to} || true"));
        server.sh(&format!("ping -q -c 1 -W 5 -I {to} {from}"));
    }
}

#[test]
fn an_impersonated_gateway_or_resolver_loses_nothing() {
    let world = World::new();
    let World { server, others, .. } = &world;
    world.attack_as(GATEWAY4, GATEWAY6);
    world.attack_as(RESOLVER4, RESOLVER6);
    world.all_seen();
    assert_eq!(world.bans(), [(MARKER.to_owned(), "restrict".to_owned(), 600)]);
    let sets = server
        .sh("nft list sets inet | grep -v protect; nft list table inet nfban | sed '/set protect/,/^\\t}/d'");
    for address in [GATEWAY4, GATEWAY6, RESOLVER4, RESOLVER6, "2001:db8:5::", "2001:db8:1::"] {
        assert!(!sets.contains(&format!("{address} ")), "{address} is in a set:\n{sets}");
    }
    assert!(sets.contains(MARKER), "{sets}");

    for (from, to) in [(RESOLVER4, SERVER4), (RESOLVER6, SERVER6)] {
        is_answered((server, at(to, 0)), (others, at(from, 53)));
    }
    server.sh(&format!("ping -q -c 1 -W 5 {GATEWAY4} && ping -q -c 1 -W 5 {GATEWAY6}"));
    // Neighbours have to be found anew.
    server.sh("ip neigh flush all; ip -6 neigh flush all");
    for (from, to) in [(CUSTOMER4, SERVER4), (CUSTOMER6, SERVER6)] {
        let listener = server.enter(|| TcpListener::bind(at(to, 80)).unwrap());
        World::conversation((others, from), &listener);
    }
}

#[test]
fn an_impersonated_neighbour_is_still_found_and_still_gives_addresses() {
    let world = World::new();
    let World { server, attacker, .. } = &world;
    // The attacker's own addresses are those of a neighbour that is no gateway.
    let nmap = format!("{NMAP} -sS -p 20-60");
    attacker.sh(&format!(
        "{nmap} {SERVER4}; {nmap} -6 -S 2001:db8:1::66 {SERVER6}; {nmap} -6 -S fe80::66 fe80::1"
    ));
    let restricted = |target: &str| world.bans().iter().any(|ban| ban.0 == target && ban.1 == "restrict");
    for target in ["192.0.2.66", "2001:db8:1::66", "fe80::66"] {
        wait_until("the neighbour is restricted", || restricted(target));
    }
    server.sh("ip neigh flush all; ip -6 neigh flush all");
    attacker.sh("ip neigh flush all; ip -6 neigh flush all");
    // Each finds the other: neither answer nor question of neighbour discovery is dropped.
    server.sh(
        "ping -q -c 1 -W 5 192.0.2.66 && ping -q -c 1 -W 5 2001:db8:1::66 && ping -q -c 1 -W 5 fe80::66%up0",
    );
    let web = server.enter(|| TcpListener::bind(at(SERVER6, 80)).unwrap());
    attacker.sh("ip -6 neigh flush all");
    World::conversation((attacker, "2001:db8:1::66"), &web);
    // DHCPv6 (RFC 8415) comes from a link-local address.
    let index = |of: &Namespace, link: &str| -> u32 {
        of.sh(&format!("ip -o link show {link} | cut -d: -f1")).trim().parse().unwrap()
    };
    let local = |address: &str, port: u16, scope: u32| {
        SocketAddr::V6(SocketAddrV6::new(address.parse::<Ipv6Addr>().unwrap(), port, 0, scope))
    };
    let (client, agent) = (index(server, "up0"), index(attacker, "at0"));
    let listening = server.enter(|| UdpSocket::bind(local("fe80::1", 546, client)).unwrap());
    let offering = attacker.enter(|| UdpSocket::bind(local("fe80::66", 547, agent)).unwrap());
    listening.set_read_timeout(Some(PATIENCE)).unwrap();
    offering.send_to(b"advertise", local("fe80::1", 546, agent)).unwrap();
    assert_eq!(listening.recv(&mut [0; 16]).expect("it arrives"), 9);
}
