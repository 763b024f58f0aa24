//! The rulesets of `examples/nftables`, loaded by the kernel as their headers say, and scanned.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test states its expectations by panicking"
)]

mod support;

use std::path::Path;
use std::thread;

use support::{HOME4, HOME6, Namespace, PEER4, PEER6, Pair};

/// A table and a rule of somebody else: no example may touch them.
const NEIGHBOURS: &str = "
nft add table inet neighbour
nft add chain inet neighbour input '{ type filter hook input priority 10; }'
nft add rule inet neighbour input ip saddr 198.51.100.1 drop
iptables -A INPUT -s 198.51.100.1 -j DROP
ip6tables -A INPUT -s 2001:db8:5::1 -j DROP
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
            let command = |key| format!("cd {} && {}", folder.display(), header(key));
            Example { load: command("Load"), remove: command("Remove"), name }
        })
        .collect();
    assert!(examples.len() >= 2, "there is an example for nftables and one for iptables");
    examples
}

#[test]
fn every_example_loads_twice_and_goes_without_touching_anybody_elses_rules() {
    for Example { name, load, remove } in examples() {
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
        for example in examples() {
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
