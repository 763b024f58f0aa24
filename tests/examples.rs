//! The rulesets of `examples/nftables`, loaded by the kernel as their headers say, and scanned.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test states its expectations by panicking"
)]

mod support;

use std::collections::BTreeSet;
use std::net::{IpAddr, TcpListener, TcpStream};
use std::path::Path;
use std::thread;

use nfban::capture::nflog::{Capture, Progress, RECEIVE_BUFFER, Settings};
use nfban::config::Config;
use nfban::config::yaml::Source;
use nfban::decode;
use nfban::packet::Packet;
use support::daemon::Daemon;
use support::{HOME4, HOME6, Namespace, PEER4, PEER6, Pair, wait_until};

/// A table and rules of somebody else: no example may touch them. And the chain and the device that some ask for.
const NEIGHBOURS: &str = "
nft add table inet neighbour
nft add chain inet neighbour input '{ type filter hook input priority 10; }'
nft add rule inet neighbour input ip saddr 198.51.100.1 drop
iptables -A INPUT -s 198.51.100.1 -j DROP
ip6tables -A INPUT -s 2001:db8:5::1 -j DROP
iptables -A OUTPUT -d 198.51.100.1 -j DROP
ip6tables -A OUTPUT -d 2001:db8:5::1 -j DROP
iptables -t mangle -A PREROUTING -s 198.51.100.1 -j DROP
ip6tables -t mangle -A PREROUTING -s 2001:db8:5::1 -j DROP
iptables -N DOCKER-USER
ip6tables -N DOCKER-USER
ip link add eth0 type veth peer name eth1
";

/// Prints all rules in the kernel, without counters and policies.
const RULESET: &str = "nft --stateless list ruleset | grep -v '^#'; iptables-save | grep -v '^[#:]'; ip6tables-save | grep -v '^[#:]'";

/// Every kind of probe that nmap has for a port, as its arguments.
const SCANS: [&str; 13] = [
    "-sS",
    "-sT",
    "-sA",
    "-sW",
    "-sM",
    "-sF",
    "-sN",
    "-sX",
    "-sU",
    "--scanflags SYNFIN",
    "--scanflags SYNRST",
    "--scanflags SYNURG",
    "--scanflags 0xff",
];

/// A file of `examples/nftables`, and the shell commands that its header gives.
struct Example {
    name: String,
    /// The lines of nfban.yaml in its header.
    configuration: String,
    load: String,
    remove: String,
}

fn examples() -> Vec<Example> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/nftables");
    let examples: Vec<Example> = std::fs::read_dir(&folder)
        .expect("examples/nftables is a folder")
        .map(|entry| {
            let path = entry.expect("the folder can be read").path();
            let name = path.display().to_string();
            let text = std::fs::read_to_string(&path).expect("an example is text");
            let header = |key: &str| {
                let value = text.lines().find_map(|line| line.strip_prefix(&format!("# {key}:")));
                value.unwrap_or_else(|| panic!("{name} has no `# {key}:`")).trim()
            };
            for key in ["Purpose", "Prerequisites", "Expect"] {
                header(key);
            }
            let yaml = text.lines().skip_while(|line| !line.starts_with("# Prerequisites:"));
            let yaml = yaml.take_while(|line| !line.starts_with("# Load:"));
            let yaml = yaml.filter_map(|line| line.strip_prefix("#                     "));
            let configuration = yaml.map(|line| format!("{line}\n")).collect();
            let command = |key| format!("cd {} && {}", folder.display(), header(key));
            Example { load: loadable(command("Load")), remove: command("Remove"), name, configuration }
        })
        .collect();
    assert!(
        examples.len() >= 3,
        "there are examples for a server, in nftables and in iptables, and for a router"
    );
    examples
}

/// The command that loads an example. A kernel without nftables' `queue` statement takes all but this of it; the whole is
/// tried by `tests/inline/run`.
fn loadable(load: String) -> String {
    let asked =
        "nft 'add table t; add chain t c { type filter hook input priority 0; }; add rule t c queue num 1'";
    match load.strip_suffix("nft -f inline.nft") {
        Some(before) if !Namespace::new().try_sh(asked).0 => {
            format!("{before}sed 's/queue flags bypass to 100/accept/' inline.nft | nft -f -")
        }
        _ => load,
    }
}

/// Those for a server: they refuse at the input hook.
fn servers() -> impl Iterator<Item = Example> {
    examples().into_iter().filter(|example| example.name.contains("/server"))
}

#[test]
fn every_header_shows_a_good_configuration_for_the_groups_that_the_rules_log_to() {
    for Example { name, configuration, .. } in examples() {
        let read = Config::read(&Source::new("nfban.yaml", &configuration));
        let (config, warnings) = read.unwrap_or_else(|problems| panic!("{name}: {problems:?}"));
        assert!(warnings.is_empty(), "{name}: {warnings:?}");
        assert!(config.capture.len() >= 3, "{name}: {configuration}");
    }
}

#[test]
fn every_example_loads_twice_and_goes_without_touching_anybody_elses_rules() {
    for Example { name, load, remove, .. } in examples() {
        let home = Namespace::new();
        home.sh(&format!("set -e; {NEIGHBOURS}"));
        let after = |command: &str| {
            home.sh(command);
            home.sh(RULESET)
        };

        let before = after(":");
        let loaded = after(&load);
        assert_ne!(before, loaded, "{name} does nothing");
        for line in
            before.lines().filter(|line| line.contains("198.51.100.1") || line.contains("2001:db8:5::1"))
        {
            assert!(loaded.contains(line), "{name} removed a neighbour's rule: {line}");
        }
        assert_eq!(loaded, after(&load), "{name} loaded twice is not the same as once");
        assert_eq!(before, after(&remove), "{name} leaves something behind, or took something with it");
    }
}

#[test]
fn every_probe_but_an_honest_syn_to_a_published_port_reaches_group_100() {
    thread::scope(|scope| {
        for example in servers() {
            scope.spawn(move || scan_behind(&example));
        }
    });
}

/// Scans a home behind `example` in every way, and holds what the peer sent against what the rules logged.
fn scan_behind(Example { name, load, .. }: &Example) {
    let pair = Pair::new();
    // Counted before all other chains: what the peer sends, and which of it is an honest SYN to a published port.
    pair.home.sh(&format!(
        "nft -f - <<'RULES'
table inet wire {{
    counter sent {{ }}
    counter honest {{ }}
    chain prerouting {{
        type filter hook prerouting priority -500;
        ip saddr {PEER4} meta l4proto {{ tcp, udp }} counter name sent
        ip6 saddr {PEER6} meta l4proto {{ tcp, udp }} counter name sent
        iifname up0 tcp flags & (fin | syn | rst | psh | ack | urg) == syn tcp dport {{ 22, 80, 443 }} counter name honest
    }}
}}
RULES"
    ));
    pair.home.sh(load);

    let (mut sent, mut logged) = (0, 0);
    for scan in SCANS {
        for to in [HOME4.to_owned(), format!("-6 {HOME6}")] {
            // One probe for each of 40 ports, three of which are published.
            pair.peer.sh(&format!(
                "nmap -n -Pn -T5 --max-retries 0 --host-timeout 15 -p 1-37,80,443,8080 {scan} {to}"
            ));
            let counter = |name| counted(&pair.home.sh(&format!("nft list counter inet wire {name}")));
            let (sent_now, honest, logged_now) = (counter("sent"), counter("honest"), logged_by(&pair.home));

            assert!(sent_now >= sent + 40, "{name}: {scan} {to} sent only {} packets", sent_now - sent);
            assert!(
                logged_now >= logged + 37,
                "{name}: {scan} {to}: only {} were logged",
                logged_now - logged
            );
            assert_eq!(sent_now - honest, logged_now, "{name}: {scan} {to}: sent, and logged to group 100");
            (sent, logged) = (sent_now, logged_now);
        }
    }
}

/// The packets that rules of either program have handed to group 100.
fn logged_by(home: &Namespace) -> u64 {
    let rules = home.sh("nft list tables | grep -q 'inet server' && nft list table inet server; iptables-save -c; ip6tables-save -c");
    rules.lines().filter(|rule| rule.contains("group 100 ")).map(counted).sum()
}

/// The packets of nft's `counter packets N bytes M` or of iptables-save's `[N:M]`.
fn counted(text: &str) -> u64 {
    let number = text.rsplit_once("packets ").or_else(|| text.split_once('['));
    let number = number.and_then(|(_, rest)| rest.split([' ', ':']).next());
    number.and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("no counter in {text}"))
}

/// A packet that a rule handed to a group.
#[derive(Debug, Clone)]
struct Logged {
    group: u16,
    prefix: String,
    packet: Packet,
    /// Whether NFLOG told when it came.
    timed: bool,
}

/// The four groups of the examples, opened in a namespace.
struct Evidence(Capture);

impl Evidence {
    /// Opens the groups in the namespace of the calling thread.
    fn open() -> Self {
        let groups: Vec<_> = (100..=103).map(Settings::new).collect();
        Self(Capture::open(&groups, RECEIVE_BUFFER).unwrap())
    }

    /// All that was logged since it was last asked, by what the peer did meanwhile. Every packet is of the one `group`, and
    /// its prefix says `verdict`.
    fn of(&mut self, group: u16, verdict: &str) -> Vec<Packet> {
        let logged = self.all();
        for Logged { group: to, prefix, packet, .. } in &logged {
            assert_eq!((*to, prefix.as_str()), (group, &*format!("nfban:{verdict}")), "{packet:?}");
        }
        logged.into_iter().map(|logged| logged.packet).collect()
    }

    /// All that was logged since it was last asked. A rule hands over its packet while the packet is being filtered.
    fn all(&mut self) -> Vec<Logged> {
        let mut logged = Vec::new();
        let mut each = |delivery: nfban::capture::nflog::Delivery<'_>| {
            logged.push(Logged {
                group: delivery.group,
                prefix: String::from_utf8(delivery.prefix.to_vec()).unwrap(),
                packet: decode::ip(delivery.payload, None).unwrap(),
                timed: delivery.received_us.is_some(),
            });
        };
        while self.0.receive(&mut each).unwrap() == Progress::More {}
        logged
    }
}

/// How many different values there are.
fn distinct<T: Ord>(values: impl Iterator<Item = T>) -> usize {
    values.collect::<BTreeSet<T>>().len()
}

/// The destination port.
fn dport(packet: &Packet) -> u16 {
    packet.ports().map_or(0, |(_, dport)| dport)
}

#[test]
fn a_sweep_and_a_flood_of_an_open_port_are_seen_and_so_is_what_a_server_opens_itself() {
    thread::scope(|scope| {
        for example in servers() {
            scope.spawn(move || accepted_and_outbound(&example));
        }
    });
}

fn accepted_and_outbound(Example { name, load, .. }: &Example) {
    let pair = Pair::new();
    pair.home.sh(load);
    pair.home.sh("ip route add local 198.51.100.0/24 dev lo");
    pair.peer.sh(&format!("ip route add 198.51.100.0/24 via {HOME4}"));
    let listener = pair.home.enter(|| TcpListener::bind(("0.0.0.0", 80)).unwrap());
    let elsewhere = pair.peer.enter(|| TcpListener::bind((PEER4, 8080)).unwrap());
    pair.home.enter(|| {
        let mut evidence = Evidence::open();

        let (served, _) = pair.peer.enter(|| {
            let client = TcpStream::connect((HOME4, 80)).unwrap();
            (client, listener.accept().unwrap())
        });
        drop(served);
        let first = evidence.of(101, "accepted");
        assert_eq!(first.len(), 1, "{name}: one packet for a whole connection: {first:?}");

        pair.peer.sh("nmap -n -Pn -T5 --max-retries 0 --min-rate 300 -sS -p 22 198.51.100.0/24");
        let swept = distinct(evidence.of(101, "accepted").iter().map(|packet| packet.daddr));
        assert_eq!(swept, 256, "{name}: of a sweep of one open port");

        pair.peer.sh(&format!("hping3 -q -S -p 80 -i u500 -c 3000 {HOME4} 2>/dev/null || true"));
        let flood = evidence.of(101, "accepted").len();
        assert!((1000..=3000).contains(&flood), "{name}: {flood} of a flood of 3000 SYNs on an open port");

        let opened = (TcpStream::connect((PEER4, 8080)).unwrap(), elsewhere.accept().unwrap());
        drop(opened);
        let first = evidence.all();
        assert_eq!(first.len(), 1, "{name}: one packet for a whole connection: {first:?}");
        assert_eq!((first[0].group, first[0].prefix.as_str()), (103, "nfban:outbound"));
        assert!(!first[0].timed, "nothing came in, so the kernel has no time of arrival");
        assert_eq!(first[0].packet.saddr, HOME4.parse::<IpAddr>().unwrap());

        for (scan, to) in [("-sS", PEER4), ("-sT", PEER4), ("-sF", PEER4), ("-sX", PEER4), ("-sA", PEER4)]
            .into_iter()
            .chain([("-6 -sS", PEER6), ("-6 -sN", PEER6), ("--scanflags SYNFIN", PEER4)])
        {
            pair.home.sh(&format!("nmap -n -Pn -T5 --max-retries 0 --send-ip -p 1-40 {scan} {to}"));
            // Answers to what begins no connection are invalid themselves.
            let sent = evidence.all().into_iter().filter(|logged| logged.prefix != "nfban:invalid");
            let sent: Vec<_> = sent.inspect(|logged| assert_eq!(logged.group, 103, "{logged:?}")).collect();
            let ports = distinct(sent.iter().map(|logged| dport(&logged.packet)));
            assert_eq!(ports, 40, "{name}: {scan} {to} from this host");
        }
    });
}

#[test]
fn fragments_are_logged_before_they_are_put_together_and_after_the_bans() {
    let pair = Pair::new();
    let server = servers().find(|example| example.name.ends_with(".nft")).unwrap();
    // nfban's own chain, whichever of both was loaded first.
    let banned = "nft -f - <<'RULES'
table inet banned
delete table inet banned
table inet banned {
    chain ban {
        type filter hook prerouting priority -450;
        ip saddr 198.51.100.9 drop
    }
}
RULES";
    pair.peer_has("198.51.100.9");
    pair.home.enter(|| {
        let mut evidence = Evidence::open();
        for load in [format!("{banned}\n{}", server.load), banned.to_owned()] {
            pair.home.sh(&load);
            for (from, to) in [(PEER4, HOME4), (PEER6, HOME6)] {
                pair.peer.sh(&format!("ping -q -c 2 -i 0.2 -W 2 -s 4000 -I {from} {to}"));
                let fragments = evidence.of(102, "fragment");
                assert_eq!(fragments.len(), 6, "2 times 4008 octets, 1500 at a time: {fragments:?}");
                assert!(fragments.iter().all(|packet| packet.fragment.is_some()), "{fragments:?}");
            }
            let (answered, _) =
                pair.peer.try_sh(&format!("ping -q -c 1 -W 1 -s 4000 -I 198.51.100.9 {HOME4}"));
            assert!(!answered, "it is banned");
            assert_eq!(evidence.of(102, "fragment"), [], "and costs no logging");

            pair.peer.sh(&format!("nmap -n -Pn -T5 --max-retries 0 -sS -f -p 1-10 {HOME4}"));
            let logged = evidence.all();
            let of = |group: u16| logged.iter().filter(move |logged| logged.group == group);
            assert_eq!(of(102).count(), 30, "the TCP header of each probe in three pieces");
            let whole = of(100).map(|logged| dport(&logged.packet)).collect::<BTreeSet<_>>();
            assert_eq!(whole, (1..=10).collect(), "a scan in fragments is the scan it is");
        }
    });
}

/// A router between the world and hosts of its own.
struct Site {
    outside: Namespace,
    router: Namespace,
    inside: Namespace,
}

const OUTSIDE4: &str = "198.51.100.2";
const OUTSIDE6: &str = "2001:db8:1::2";
const INSIDE4: &str = "203.0.113.5";
const INSIDE6: &str = "2001:db8:cafe::5";
const PRIVATE4: &str = "192.168.10.2";

impl Site {
    fn new() -> Self {
        let site = Self { outside: Namespace::new(), router: Namespace::new(), inside: Namespace::new() };
        site.router.sh(&format!(
            "ip link add eth0 type veth peer name wan netns {} && ip link add eth1 type veth peer name lan netns {}",
            site.outside.path(),
            site.inside.path()
        ));
        let router4 = "198.51.100.1/24 dev eth0|203.0.113.1/24 dev eth1|192.168.10.1/24 dev eth1";
        let router6 = "2001:db8:1::1/64 dev eth0 nodad|2001:db8:cafe::1/64 dev eth1 nodad";
        let inside = format!("{INSIDE4}/24 dev lan|{PRIVATE4}/24 dev lan|{INSIDE6}/64 dev lan nodad");
        let outside = format!("{OUTSIDE4}/24 dev wan|{OUTSIDE6}/64 dev wan nodad");
        for (side, links, addresses, gateways) in [
            (&site.router, "eth0 eth1", format!("{router4}|{router6}"), None),
            (&site.inside, "lan", inside, Some(("203.0.113.1", "2001:db8:cafe::1"))),
            (&site.outside, "wan", outside, Some(("198.51.100.1", "2001:db8:1::1"))),
        ] {
            for link in links.split(' ') {
                side.sh(&format!("ip link set {link} up"));
            }
            for address in addresses.split('|') {
                side.sh(&format!("ip addr add {address}"));
            }
            if let Some((four, six)) = gateways {
                side.sh(&format!("ip route add default via {four} && ip -6 route add default via {six}"));
            }
        }
        site.router.sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
        for address in [INSIDE4, INSIDE6] {
            wait_until("the router forwards", || {
                site.outside.try_sh(&format!("ping -q -c 1 -W 1 {address}")).0
            });
        }
        site
    }
}

#[test]
fn a_router_tells_refused_accepted_and_outbound_packets_apart_for_the_hosts_behind_it() {
    let router = examples().into_iter().find(|example| example.name.ends_with("router.nft")).unwrap();
    let site = Site::new();
    site.router.sh(&router.load);
    let nmap = |from: &Namespace, what: &str| {
        from.sh(&format!("nmap -n -Pn -T5 --max-retries 0 --min-rate 300 --send-ip {what}"));
    };
    let web = site.inside.enter(|| TcpListener::bind((PRIVATE4, 80)).unwrap());
    site.router.enter(|| {
        let mut evidence = Evidence::open();

        for to in [INSIDE4.to_owned(), format!("-6 {INSIDE6}")] {
            nmap(&site.outside, &format!("-sS -p 1-40 {to}"));
            let refused = evidence.of(100, "refused");
            assert_eq!(distinct(refused.iter().map(dport)), 40, "of a scan of {to}");
            nmap(&site.outside, &format!("-sF -p 1-40 {to}"));
            assert_eq!(distinct(evidence.of(100, "invalid").iter().map(dport)), 40, "FIN probes of {to}");
            nmap(&site.outside, &format!("-sA -p 1-40 {to}"));
            assert_eq!(distinct(evidence.of(100, "refused").iter().map(dport)), 40, "ACK probes of {to}");
        }

        nmap(&site.outside, "-sS -p 443 203.0.113.2-254");
        let swept = evidence.of(101, "accepted");
        assert_eq!(distinct(swept.iter().map(|packet| packet.daddr)), 253, "of a sweep of one open port");
        site.outside.sh(&format!("hping3 -q -S -p 80 -i u500 -c 3000 {INSIDE4} 2>/dev/null || true"));
        let flood = evidence.of(101, "accepted").len();
        assert!((1000..=3000).contains(&flood), "{flood} of a flood of 3000 SYNs on an open port");

        let served = site
            .outside
            .enter(|| (TcpStream::connect(("198.51.100.1", 8080)).unwrap(), web.accept().unwrap()));
        drop(served);
        let translated = evidence.of(101, "accepted");
        assert_eq!(translated.len(), 1, "one packet for a whole connection: {translated:?}");
        assert_eq!(dport(&translated[0]), 8080, "the port as the client sees it");
        assert_eq!(translated[0].daddr, "198.51.100.1".parse::<IpAddr>().unwrap());

        for (scan, from, to) in [
            ("-sS", PRIVATE4, OUTSIDE4),
            ("-sT", INSIDE4, OUTSIDE4),
            ("-sX", INSIDE4, OUTSIDE4),
            ("-6 -sS", INSIDE6, OUTSIDE6),
        ] {
            nmap(&site.inside, &format!("-p 1-40 -e lan -S {from} {scan} {to}"));
            let opened = evidence.of(103, "outbound");
            assert_eq!(distinct(opened.iter().map(dport)), 40, "{scan} from {from} to {to}");
            assert!(
                opened.iter().all(|packet| packet.saddr == from.parse::<IpAddr>().unwrap()),
                "the host behind, and not what its address is translated to: {opened:?}"
            );
        }

        // A forged address of ours from outside, and one that is not ours from inside, accuse nobody.
        for (side, forged, to) in
            [(&site.outside, "203.0.113.77", INSIDE4), (&site.inside, "192.0.2.77", OUTSIDE4)]
        {
            side.sh(&format!("hping3 -q -S -p ++1 -i u500 -c 20 -a {forged} {to} 2>/dev/null || true"));
        }
        let forged = evidence.all();
        assert!(forged.is_empty(), "{forged:?}");
    });
}

#[test]
fn a_flood_of_pings_with_one_echo_id_is_refused_and_told_and_an_honest_ping_is_answered() {
    thread::scope(|scope| {
        for example in servers() {
            scope.spawn(move || {
                let pair = Pair::new();
                pair.peer_has("198.51.100.9");
                pair.peer_has("2001:db8:9::9");
                let sources = [("198.51.100.9", HOME4), ("2001:db8:9::9", HOME6)];
                pinged_behind(&example, &pair.home, &pair.peer, sources);
            });
        }
        scope.spawn(|| {
            let router = examples().into_iter().find(|example| example.name.ends_with("router.nft")).unwrap();
            let site = Site::new();
            let sources = [(OUTSIDE4, INSIDE4), (OUTSIDE6, INSIDE6)];
            pinged_behind(&router, &site.router, &site.outside, sources);
        });
    });
}

fn pinged_behind(example: &Example, home: &Namespace, peer: &Namespace, sources: [(&str, &str); 2]) {
    let Example { name, load, configuration, .. } = example;
    home.sh(load);
    let daemon = Daemon::start(home, configuration);
    let refused = || daemon.status()["captures"][0]["packets"].as_u64().unwrap();

    for (from, to) in sources {
        for honest in ["-c 3", "-c 30 -i 0.2"] {
            let told = peer.sh(&format!("ping -n {honest} -W 2 -I {from} {to}"));
            assert!(told.contains(" 0% packet loss"), "{name}: {told}");
        }
    }
    assert_eq!(refused(), 0, "{name}: no honest ping is refused");
    assert_eq!(daemon.status()["incidents_total"], 0, "{name}");

    for (number, (from, to)) in (1..).zip(sources) {
        let before = refused();
        let told = peer.sh(&format!("ping -n -q -f -c 1500 -i 0.002 -W 1 -I {from} {to}"));
        wait_until("the flood is told", || daemon.status()["incidents_total"] == number);
        let seen = refused() - before;
        assert!(seen >= 300, "{name}: {seen} pings of a flood were refused: {told}");
    }
    assert_eq!(daemon.rules(), ["icmp-ping-flood", "icmp-ping-flood"], "{name}");
}

#[test]
fn the_daemon_beside_an_example_tells_a_sweep_and_a_flood_of_an_open_port() {
    thread::scope(|scope| {
        for example in servers() {
            scope.spawn(move || told_behind(&example));
        }
    });
}

fn told_behind(Example { name, load, configuration, .. }: &Example) {
    let pair = Pair::new();
    pair.home.sh(load);
    pair.home.sh("ip route add local 198.51.100.0/24 dev lo");
    pair.peer.sh(&format!("ip route add 198.51.100.0/24 via {HOME4}"));
    let daemon = Daemon::start(&pair.home, configuration);

    // Nothing is refused in either: what is accepted alone tells of them.
    pair.peer.sh("hping3 -q -S -p 443 -i u500 -c 3000 -a 203.0.113.8 192.0.2.1 2>/dev/null || true");
    wait_until("the flood is told", || daemon.rules().contains(&"syn-flood".to_owned()));
    pair.peer_has("203.0.113.7");
    pair.peer.sh(
        "nmap -n -Pn -T5 --max-retries 0 --min-rate 300 -sS -p 22 -e peer0 -S 203.0.113.7 198.51.100.0/24",
    );
    wait_until("the sweep is told", || daemon.rules().contains(&"host-sweep".to_owned()));
    assert_eq!(daemon.rules(), ["host-sweep", "syn-flood"], "{name}");
}
