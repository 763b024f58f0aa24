//! Two machines and a cable: the victim's network is this process's own, the attacker's is one more.
//!
//! The attacker sits behind the gateway, so its addresses are not on the victim's link, and its whole IPv6 /64 is one
//! source. All addresses are of the ranges for documentation (RFC 5737, RFC 3849).

#![forbid(unsafe_code)]

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::thread;

use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::program::{self, Input};
use super::unshare::{Leave, unshare};
use super::{DemoError, Firewall};

pub(super) const VICTIM4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
pub(super) const VICTIM6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1));
pub(super) const ATTACKER4: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));
pub(super) const ATTACKER6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xbad, 0, 0, 0, 0, 7));
/// Another address of the attacker's /64.
pub(super) const ATTACKER6_TOO: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xbad, 0, 0, 0, 0, 8));

/// Ports of the victim on which somebody listens. Both rulesets publish 443 as well.
pub(super) const OPEN: [u16; 2] = [22, 80];
/// What whoever listens says to a client.
pub(super) const GREETING: &str = "hello from the victim\n";

/// In the victim's network, which is that of the whole process.
const VICTIM: &str = "\
    ip link set lo up
    ip link set up0 addrgenmode none
    ip addr add 192.0.2.1/24 dev up0
    ip addr add 2001:db8:1::1/64 dev up0 nodad
    ip addr add fe80::1/64 dev up0 nodad
    ip link set up0 up
    ip route add default via 192.0.2.254
    ip -6 route add default via 2001:db8:1::fe";

/// In the attacker's network, which holds the victim's gateway as well.
const ATTACKER: &str = "\
    ip link set lo up
    ip link set up1 addrgenmode none
    ip addr add 192.0.2.254/24 dev up1
    ip addr add 2001:db8:1::fe/64 dev up1 nodad
    ip addr add fe80::fe/64 dev up1 nodad
    ip addr add 198.51.100.7/32 dev lo
    ip addr add 2001:db8:bad::7/64 dev lo nodad
    ip addr add 2001:db8:bad::8/64 dev lo nodad
    ip link set up1 up
    ip route add 192.0.2.1/32 dev up1 src 198.51.100.7
    ip -6 route add 2001:db8:1::1/128 dev up1 src 2001:db8:bad::7";

/// What the kernel must know: what it is, where it comes from, and a ruleset that needs it.
const NEEDED: [(&str, &str, &str); 4] = [
    ("nf_tables (CONFIG_NF_TABLES, CONFIG_NF_TABLES_INET)", "nf_tables", "table inet t { }\n"),
    (
        "logging to user space (CONFIG_NFT_LOG, CONFIG_NETFILTER_NETLINK_LOG)",
        "-a nft_log nfnetlink_log",
        "table inet t {\nchain c {\nlog group 100\n}\n}\n",
    ),
    (
        "connection tracking in nf_tables (CONFIG_NFT_CT)",
        "nft_ct",
        "table inet t {\nchain c {\nct state new\n}\n}\n",
    ),
    (
        "rate limits in nf_tables (CONFIG_NFT_LIMIT)",
        "nft_limit",
        "table inet t {\nchain c {\nlimit rate 1/second\n}\n}\n",
    ),
];

/// A network namespace besides the process's own; it lasts as long as this, or a socket in it.
#[derive(Debug)]
pub(super) struct Network(OwnedFd);

impl Network {
    fn make() -> Result<Self, DemoError> {
        let making = |error| DemoError::step("make the attacker's network namespace", error);
        // A thread of its own, because leaving is for good.
        let made = thread::spawn(|| {
            unshare(Leave::Network)?;
            rustix::fs::open("/proc/thread-self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        });
        made.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).map(Self).map_err(making)
    }

    /// Does `work` in this network: sockets it opens and programs it starts belong here.
    pub(super) fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, DemoError> {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network)).map(|()| work())
            });
            inside
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                .map_err(|error| DemoError::step("enter the attacker's network namespace", error))
        })
    }
}

/// Complains about the first thing that this kernel does not have.
pub(super) fn kernel_suffices() -> Result<(), DemoError> {
    if !Path::new("/proc/sys/net/ipv6").exists() {
        return Err(DemoError::Lacking {
            what: "this kernel has no IPv6".to_owned(),
            remedy: "boot it without ipv6.disable=1".to_owned(),
        });
    }
    for (what, modules, ruleset) in NEEDED {
        // Checked as `nft -c` does: the kernel makes it all, and then takes none of it.
        program::run("nft", &["-c", "-f", "-"], Input::Text(ruleset))
            .map_err(|error| lacking(what, modules, &error))?;
    }
    Ok(())
}

fn lacking(what: &str, modules: &str, error: &str) -> DemoError {
    if error.contains("Operation not permitted") {
        return DemoError::Forbidden {
            what: format!("root of these namespaces may not change their firewall: {error}"),
            remedy:
                "something such as AppArmor or a container's seccomp filter forbids it; use the host's root"
                    .to_owned(),
        };
    }
    DemoError::Lacking {
        what: format!("this kernel lacks {what}: {error}"),
        remedy: format!("try: sudo modprobe {modules}"),
    }
}

/// Makes the attacker's network and joins it to the victim's.
pub(super) fn connect() -> Result<Network, DemoError> {
    let attacker = Network::make()?;
    let end = attacker.0.try_clone().map_err(|error| DemoError::step("hold a network namespace", error))?;
    let cable = "link add up0 type veth peer name up1 netns /proc/self/fd/0";
    let arguments: Vec<&str> = cable.split(' ').collect();
    program::run("ip", &arguments, Input::Descriptor(end)).map_err(|error| {
        if error.contains("Unknown device type") || error.contains("Operation not supported") {
            DemoError::Lacking {
                what: format!("this kernel lacks virtual Ethernet pairs (CONFIG_VETH): {error}"),
                remedy: "try: sudo modprobe veth".to_owned(),
            }
        } else {
            DemoError::step("join the two networks", error)
        }
    })?;
    let all = |lines: &str| lines.lines().try_for_each(|line| program::run_line(line).map(drop));
    all(VICTIM)
        .and_then(|()| attacker.enter(|| all(ATTACKER)).map_err(|error| error.to_string())?)
        .map_err(|error| DemoError::step("set the networks up", error))?;
    Ok(attacker)
}

/// Listens on the open ports of the victim and greets whoever connects, as long as the process lives.
pub(super) fn listen() -> Result<(), DemoError> {
    for port in OPEN {
        for address in [VICTIM4, VICTIM6] {
            let address = SocketAddr::new(address, port);
            let listener = TcpListener::bind(address)
                .map_err(|error| DemoError::step(format!("listen on {address}"), error))?;
            thread::spawn(move || {
                for client in listener.incoming() {
                    // A client that is gone already has seen enough.
                    let _ = client.and_then(|mut client| client.write_all(GREETING.as_bytes()));
                }
            });
        }
    }
    Ok(())
}

/// Loads one of the examples, word for word, into the victim's network, and gives its name.
pub(super) fn load_firewall(firewall: Firewall, folder: &Path) -> Result<&'static str, DemoError> {
    let (name, loaded) = match firewall {
        Firewall::Nft => {
            let ruleset = include_str!("../../examples/nftables/server.nft");
            ("examples/nftables/server.nft", program::run("nft", &["-f", "-"], Input::Text(ruleset)))
        }
        Firewall::Iptables => {
            let script = include_str!("../../examples/nftables/server-iptables.sh");
            // The script starts programs that lock a file which only root of the machine may write.
            let lock = folder.join("xtables.lock");
            let lock = format!("XTABLES_LOCKFILE={}", lock.display());
            let arguments = [lock.as_str(), "sh", "-s", "load"];
            ("examples/nftables/server-iptables.sh", program::run("env", &arguments, Input::Text(script)))
        }
    };
    loaded.map_err(|error| DemoError::step(format!("load {name}"), error))?;
    Ok(name)
}
