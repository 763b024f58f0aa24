//! The rulesets of `examples/nftables`, loaded by the kernel as their headers say, and scanned.
//!
//! Each test has network namespaces of its own and needs root, or a kernel that lets users make user namespaces. It fails
//! where it cannot have them.

#![expect(clippy::expect_used, clippy::panic, reason = "a test states its expectations by panicking")]

use std::path::Path;
use std::process::Command;

/// A table and a rule of somebody else: no example may touch them.
const NEIGHBOURS: &str = "
nft add table inet neighbour
nft add chain inet neighbour input '{ type filter hook input priority 10; }'
nft add rule inet neighbour input ip saddr 192.0.2.1 drop
iptables -A INPUT -s 192.0.2.1 -j DROP
ip6tables -A INPUT -s 2001:db8::1 -j DROP
";

/// Prints everything that the kernel's ruleset holds, without counters.
const RULESET: &str = "nft --stateless list ruleset 2>&1 | grep -v '^#'; iptables-save | grep -v '^[#:]'; ip6tables-save | grep -v '^[#:]'";

/// A scanner at 10.0.0.1 and fd00::1, whose shell is `scanner`; a server at 10.0.0.2 and fd00::2, where the script runs.
///
/// The table `inet wire` counts, before all other chains, what the scanner sends (`sent`) and which of it is an honest SYN to
/// a published port (`honest`).
const SCANNED: &str = "
unshare -n sleep 300 & peer=$!
trap 'kill $peer' EXIT
wait_for() { for _ in $(seq 500); do if \"$@\"; then return; fi; sleep 0.01; done; echo \"waited 5 s for $*\" >&2; exit 1; }
apart() { [ \"$(readlink /proc/$peer/ns/net)\" != \"$(readlink /proc/$$/ns/net)\" ]; }
wait_for apart
scanner() { nsenter --net=/proc/$peer/ns/net \"$@\"; }
ip link add wire type veth peer name wire netns $peer
ip address add 10.0.0.2/24 dev wire
ip address add fd00::2/64 dev wire nodad
ip link set wire up
scanner ip address add 10.0.0.1/24 dev wire
scanner ip address add fd00::1/64 dev wire nodad
scanner ip link set wire up
up() { ip -brief link show wire | grep -q ' UP '; }
wait_for up
nft -f - <<'RULES'
table inet wire {
	counter sent { }
	counter honest { }
	chain prerouting {
		type filter hook prerouting priority -500;
		ip saddr 10.0.0.1 meta l4proto { tcp, udp } counter name sent
		ip6 saddr fd00::1 meta l4proto { tcp, udp } counter name sent
		iifname wire tcp flags & (fin | syn | rst | psh | ack | urg) == syn tcp dport { 22, 80, 443 } counter name honest
	}
}
RULES
counter() { nft list counter inet wire $1 | sed -n 's/.*packets \\([0-9]*\\).*/\\1/p'; }
logged() { # the packets that rules have handed to group 100, by either program
    { nft list table inet server 2>/dev/null || :; iptables-save -c -t filter; ip6tables-save -c -t filter; } |
        sed -n -e '/group 100 /!d' -e 's/.*counter packets \\([0-9]*\\).*/\\1/p' -e 's/^\\[\\([0-9]*\\):.*/\\1/p' |
        { sum=0; while read -r n; do sum=$((sum + n)); done; echo $sum; }
}
";

/// Every kind of probe that nmap has for a port, its arguments.
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

struct Example {
    name: String,
    load: String,
    remove: String,
}

/// Runs `script` in `examples/nftables`, as root of fresh network and mount namespaces, and returns what it prints.
fn in_namespace(script: &str) -> String {
    let root = rustix::process::geteuid().is_root();
    let output = Command::new("timeout")
        .args(["120", "unshare", if root { "-mn" } else { "-Urmn" }])
        .args(["sh", "-euc", script])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/nftables"))
        .output()
        .expect("timeout is part of every Debian");
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}\n{stdout}\n{stderr}");
    stdout
}

/// Every file of `examples/nftables`, with the commands that its header gives.
fn examples() -> Vec<Example> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/nftables");
    let mut examples: Vec<Example> = std::fs::read_dir(folder)
        .expect("examples/nftables is a folder")
        .map(|entry| {
            let path = entry.expect("the folder can be read").path();
            let text = std::fs::read_to_string(&path).expect("an example is text");
            let header = |key: &str| -> String {
                let line = text.lines().find_map(|line| line.strip_prefix(&format!("# {key}:")));
                line.unwrap_or_else(|| panic!("{} has no `# {key}:`", path.display())).trim().to_owned()
            };
            for key in ["Purpose", "Prerequisites", "Expect"] {
                header(key);
            }
            Example { name: path.display().to_string(), load: header("Load"), remove: header("Remove") }
        })
        .collect();
    examples.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(examples.len() >= 2, "there is an example for nftables and one for iptables");
    examples
}

#[test]
fn every_example_loads_twice_and_goes_without_touching_anybody_elses_rules() {
    for Example { name, load, remove } in examples() {
        let states = in_namespace(&format!(
            "{NEIGHBOURS} {RULESET}; echo =; {load}; {RULESET}; echo =; {load}; {RULESET}; echo =; {remove}; {RULESET}"
        ));
        let states: Vec<&str> = states.split("=\n").collect();
        let &[before, loaded, again, removed] = states.as_slice() else { panic!("{name}: {states:?}") };
        assert_ne!(before, loaded, "{name} does nothing");
        assert_eq!(loaded, again, "{name} is not the same when loaded twice");
        assert_eq!(before, removed, "{name} leaves something behind, or took something with it");
        for line in before.lines().filter(|line| line.contains("192.0.2.1") || line.contains("2001:db8::1")) {
            assert!(loaded.contains(line), "{name} removed a neighbour's rule: {line}");
        }
    }
}

#[test]
fn every_probe_but_an_honest_syn_to_a_published_port_reaches_group_100() {
    std::thread::scope(|scope| {
        for example in examples() {
            scope.spawn(move || scan_behind(&example));
        }
    });
}

/// Scans a server behind `example` in every way, and compares what the scanner sent with what the rules logged.
fn scan_behind(Example { name, load, .. }: &Example) {
    let mut script = format!("{SCANNED} {load} >/dev/null\n");
    for scan in SCANS {
        for to in ["10.0.0.2", "-6 fd00::2"] {
            // One probe for each port: 40 of them, three of which are published.
            script += &format!(
                "scanner nmap -n -Pn -T5 --max-retries 0 --host-timeout 20 -p 1-37,80,443,8080 {scan} {to} >/dev/null
                 echo {scan} {to}: $(counter sent) $(counter honest) $(logged)\n"
            );
        }
    }
    let (mut sent, mut logged) = (0, 0);
    for line in in_namespace(&script).lines() {
        let (scan, counts) = line.split_once(": ").expect("a scan and its counts");
        let counts: Vec<u64> = counts.split(' ').map(|n| n.parse().expect("a counter")).collect();
        let &[sent_now, honest, logged_now] = counts.as_slice() else { panic!("{line}") };
        assert!(sent_now >= sent + 40, "{name}: {scan} sent only {}", sent_now - sent);
        assert!(
            logged_now >= logged + 37,
            "{name}: {scan}: only {} packets reached group 100",
            logged_now - logged
        );
        assert_eq!(
            sent_now - honest,
            logged_now,
            "{name}: {scan}: packets sent, packets that reached group 100"
        );
        (sent, logged) = (sent_now, logged_now);
    }
}
