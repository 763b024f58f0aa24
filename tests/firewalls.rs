//! nfban beside Docker's rules, and its bans at a device's ingress: the examples as their headers say, with the daemon.
//!
//! Docker itself does not run here. Its rules are those that Docker 20.10 to 27 makes for one container with
//! `--publish 8080:80`, as iptables-save prints them.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test states its expectations by panicking"
)]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use support::daemon::{Daemon, text};
use support::{HOME4, HOME6, Namespace, PEER4, Pair, wait_until};

const BAD: &str = "203.0.113.7";
const BAD6: &str = "2001:db8:bad::7";

const DOCKER: &str = "iptables-restore <<'RULES'
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A POSTROUTING -s 172.17.0.2/32 -d 172.17.0.2/32 -p tcp -m tcp --dport 80 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i docker0 -o docker0 -j ACCEPT
-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -j RETURN
COMMIT
RULES";

/// An example with home's device in place of its own, and the configuration of its header.
fn example(name: &str) -> (String, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/nftables").join(name);
    let example = std::fs::read_to_string(path).unwrap();
    let yaml = example.lines().skip_while(|line| !line.starts_with("# Prerequisites:"));
    let yaml = yaml.take_while(|line| !line.starts_with("# Load:"));
    let yaml = yaml.filter_map(|line| line.strip_prefix("#                     "));
    let configuration = yaml.map(|line| format!("{line}\n")).collect();
    (example.replace("eth0", "up0"), configuration)
}

fn load(home: &Namespace, name: &str, with: &str) -> String {
    let (text, configuration) = example(name);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    home.sh(&with.replace("FILE", &file.path().display().to_string()));
    configuration
}

/// Packets that a group has received.
fn received(daemon: &Daemon, group: u16) -> u64 {
    let status = daemon.status();
    let captures = status["captures"].as_array().unwrap();
    let of = captures.iter().find(|capture| capture["source"] == format!("nflog:{group}")).unwrap();
    of["packets"].as_u64().unwrap()
}

/// The open incident of a source.
fn incident(daemon: &Daemon, rule: &str) -> Value {
    let status = daemon.status();
    let incidents = status["recent_incidents"].as_array().unwrap();
    incidents.iter().find(|incident| incident["rule"] == rule).unwrap().clone()
}

fn connect(from: &Namespace, source: &str, to: (&str, u16)) -> Option<TcpStream> {
    use rustix::net::{AddressFamily, SocketType, bind, socket, sockopt};
    from.enter(|| {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&socket, &std::net::SocketAddr::new(source.parse().unwrap(), 0)).unwrap();
        // Also the limit of connect(2).
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(Duration::from_millis(500)))
            .unwrap();
        let to = std::net::SocketAddr::new(to.0.parse().unwrap(), to.1);
        rustix::net::connect(&socket, &to).ok().map(|()| TcpStream::from(socket))
    })
}

#[test]
fn containers_of_docker_are_covered_and_ports_are_the_clients() {
    let pair = Pair::new();
    let container = Namespace::new();
    let home = &pair.home;
    home.sh(&format!(
        "ip link add docker0 type veth peer name eth0 netns {} && ip addr add 172.17.0.1/16 dev docker0 && \
         ip link set docker0 up && sysctl -qw net.ipv4.ip_forward=1",
        container.path()
    ));
    container.sh(
        "ip addr add 172.17.0.2/16 dev eth0 && ip link set eth0 up && ip route add default via 172.17.0.1",
    );
    pair.peer_has(BAD);
    pair.peer.sh(&format!("ip route add 172.17.0.0/16 via {HOME4}"));
    home.sh(DOCKER);
    let configuration = load(home, "docker-iptables.sh", "sh FILE load");
    let daemon = Daemon::start(home, &configuration);
    let web = container.enter(|| TcpListener::bind(("172.17.0.2", 80)).unwrap());

    // A published port, as the client sees it.
    let mut client = connect(&pair.peer, BAD, (HOME4, 8080)).expect("published");
    let (mut served, _) = web.accept().unwrap();
    wait_until("its first packet is told", || received(&daemon, 101) == 1);
    assert_eq!(received(&daemon, 100), 0);

    // What goes to the container by another way is refused, and is a scan.
    pair.peer.sh(&format!("nmap -n -Pn -T5 --max-retries 0 -sS -p 1-40 -e peer0 -S {BAD} 172.17.0.2"));
    wait_until("the scan is told", || daemon.targets().contains(&BAD.to_owned()));
    let scan = incident(&daemon, "tcp-syn-scan");
    assert_eq!(text(&scan["destinations"][0]), "172.17.0.2", "{scan}");
    // Restricted, it keeps what is published and what is open.
    client.write_all(b"?").unwrap();
    served.read_exact(&mut [0]).unwrap();
    let again = connect(&pair.peer, BAD, (HOME4, 8080)).expect("still published");
    drop((again, web.accept().unwrap()));
    // Ports for the networks inside alone tell what the client has asked for.
    assert!(connect(&pair.peer, PEER4, (HOME4, 5432)).is_none());
    assert!(received(&daemon, 100) > 0);

    // What a container opens.
    let outside = pair.peer.enter(|| TcpListener::bind((PEER4, 8081)).unwrap());
    let opened = connect(&container, "172.17.0.2", (PEER4, 8081)).expect("containers may connect");
    drop((opened, outside.accept().unwrap()));
    wait_until("it is told", || received(&daemon, 103) == 1);

    // A ban covers the container, and ends the translated connection.
    assert_eq!(daemon.ask(&format!("ban {BAD} --for 1h")).exit, Some(0));
    wait_until("the connection has ended", || {
        !home.sh("conntrack -L 2>/dev/null").contains(&format!("src={BAD} "))
    });
    assert!(connect(&pair.peer, BAD, (HOME4, 8080)).is_none());
    assert!(connect(&pair.peer, PEER4, (HOME4, 8080)).is_some(), "nobody else is");
}

#[test]
fn banned_sources_are_dropped_at_ingress_and_restricted_ones_at_prerouting() {
    let pair = Pair::new();
    let home = &pair.home;
    for address in [BAD, "203.0.114.9", BAD6] {
        pair.peer_has(address);
    }
    load(home, "server.nft", "nft -f FILE");
    let configuration = load(home, "netdev-ingress.nft", "nft -f FILE");
    let daemon = Daemon::start(home, &configuration);
    assert!(!home.sh("nft list tables").contains("inet nfban"), "no table of its own");
    let ssh = home.enter(|| TcpListener::bind((HOME4, 22)).unwrap());

    pair.peer.sh(&format!("nmap -n -Pn -T5 --max-retries 0 -sS -p 1-40 -e peer0 -S {BAD} {HOME4}"));
    wait_until("the scanner is restricted", || daemon.targets() == [BAD]);
    assert!(home.sh("nft list set inet edge restrict4").contains("nfban: tcp-syn-scan"));
    drop((connect(&pair.peer, BAD, (HOME4, 22)).expect("published"), ssh.accept().unwrap()));
    let before = received(&daemon, 100);
    assert!(connect(&pair.peer, BAD, (HOME4, 23)).is_none());
    assert_eq!(received(&daemon, 100), before, "dropped, and not logged again");

    let knock = |from: &str, to: &str| {
        pair.peer.enter(|| UdpSocket::bind((from, 0)).unwrap().send_to(b"knock", (to, 7000)).unwrap())
    };
    for (target, from, to, set) in [
        (BAD, BAD, HOME4, "ban4"),
        ("203.0.114.0/24", "203.0.114.9", HOME4, "ban4_prefix"),
        ("2001:db8:bad::/64", BAD6, HOME6, "ban6"),
    ] {
        assert_eq!(daemon.ask(&format!("ban {target} --for 1h")).exit, Some(0));
        let entries = || home.sh("conntrack -L 2>/dev/null; conntrack -L -f ipv6 2>/dev/null");
        wait_until("its entries have gone", || !entries().contains(&format!("src={from} ")));
        knock(from, to);
        let listed = home.sh(&format!("nft list set inet edge {set}"));
        assert!(listed.contains("counter packets 1 "), "{listed}");
        assert!(!entries().contains(&format!("src={from} ")), "before connection tracking");
    }
    assert!(connect(&pair.peer, BAD, (HOME4, 22)).is_none());
    pair.peer.sh(&format!("ping -q -c 1 -W 2 {HOME4}"));
    // The table is made anew, as the header says.
    load(home, "netdev-ingress.nft", "nft -f FILE");
    assert_eq!(daemon.ask("bans").exit, Some(0));
    assert_eq!(daemon.targets().len(), 3);
    assert_eq!(home.sh("nft list table inet edge").matches("nfban: manual").count(), 3);
}
