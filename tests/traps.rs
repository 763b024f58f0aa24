//! Traps: connections led to the daemon's listener, behind the rulesets of `examples/nftables`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test states its expectations by panicking"
)]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use rustix::process::Signal;
use serde_json::Value;
use support::daemon::{Daemon, NFBAN, Setup, text};
use support::{HOME4, HOME6, PEER4, PEER6, Pair, wait_until};

/// Addresses of the peer's that nothing protects, unlike its own: it is the gateway.
const VISITOR4: &str = "198.51.100.9";
const VISITOR6: &str = "2001:db8:9::9";
/// How long a connection that nobody answers is waited for: a SYN that was lost is sent again after a second.
const MOMENT: Duration = Duration::from_millis(1_300);

const TRAPS: &str = "services: [22, 80, 443]\ntraps: [23, 3389, 5900, 2000-5000, udp/161]\n";

fn world() -> Pair {
    let pair = Pair::new();
    pair.peer_has(VISITOR4);
    pair.peer_has(VISITOR6);
    pair
}

fn example(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/nftables");
    match name.rsplit_once('.') {
        Some((_, "nft")) => format!("nft -f {}", folder.join(name).display()),
        _ => format!("sh {} load", folder.join(name).display()),
    }
}

/// A connection from an address of the peer's.
fn connect(pair: &Pair, from: &str, to: &str, port: u16) -> std::io::Result<TcpStream> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with, sockopt};
    let (from, to): (IpAddr, IpAddr) = (from.parse().unwrap(), to.parse().unwrap());
    pair.peer.enter(|| {
        let family = if to.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
        let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        bind(&socket, &SocketAddr::new(from, 0))?;
        // It limits connect(2), too (socket(7)).
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(MOMENT))?;
        connect(&socket, &SocketAddr::new(to, port))?;
        Ok(TcpStream::from(socket))
    })
}

/// The bans of all kinds, as target and action, sorted.
fn bans(daemon: &Daemon) -> Vec<(String, String)> {
    let mut bans: Vec<_> =
        daemon.bans().iter().map(|ban| (text(&ban["target"]), text(&ban["action"]))).collect();
    bans.sort_unstable();
    bans
}

fn of(target: &str, action: &str) -> (String, String) {
    (target.to_owned(), action.to_owned())
}

fn traps(daemon: &Daemon) -> Value {
    daemon.status()["traps"].clone()
}

#[test]
fn a_touched_trap_restricts_its_source_and_a_second_one_bans_it_behind_every_example_for_a_server() {
    for name in ["server.nft", "server-iptables.sh"] {
        let pair = world();
        pair.home.sh(&example(name));
        let daemon = Daemon::start(&pair.home, TRAPS);
        let sources = [(VISITOR4, HOME4, VISITOR4), (VISITOR6, HOME6, "2001:db8:9::/64")];
        for (from, to, target) in sources {
            let first = connect(&pair, from, to, 23).expect("the trap takes the connection");
            wait_until("it is restricted", || bans(&daemon).contains(&of(target, "restrict")));
            assert!(connect(&pair, from, to, 28023).is_err(), "the listener is nobody's to reach");
            let second = connect(&pair, from, to, 4711).expect("who is restricted still reaches the traps");
            wait_until("it is banned", || bans(&daemon).contains(&of(target, "ban")));
            assert!(connect(&pair, from, to, 5900).is_err(), "and no more once it is banned");
            drop((first, second));

            let known = daemon.ask(&format!("status {from} --json")).lines().remove(0);
            let incident = &known["open_incidents"][0];
            assert_eq!(text(&incident["rule"]), "trap-port", "{name}: {known}");
            assert_eq!(text(&incident["evidence"]), "validated");
            assert_eq!(incident["ports"], serde_json::json!([23, 4711]), "as the client sees them");
            assert_eq!(incident["destinations"], serde_json::json!([to]));
            assert_eq!(known["bans"][0]["timeout_s"], 600, "one offence, and the first");

            let why = daemon.ask(&format!("why {from} --json")).lines().remove(0);
            let touches = why["firings"][0]["packets"].as_array().unwrap();
            let told: Vec<_> = touches
                .iter()
                .map(|touch| (touch["port"].as_u64(), text(&touch["interface"]), touch["ttl"].as_u64()))
                .collect();
            let known = |port| (Some(port), "up0".to_owned(), Some(64));
            assert_eq!(told, [known(23), known(4711)], "{why}");
            let shown = daemon.ask(&format!("why {from}")).out;
            let line =
                |port: u16| format!("{}  tcp handshake   64", SocketAddr::new(to.parse().unwrap(), port));
            assert!(shown.contains(&line(4711)) && shown.contains("  up0  "), "{shown}");
            assert!(!shown.contains("does not tell the interface"), "{shown}");
        }
        assert_eq!(bans(&daemon).len(), 2, "{name}: {:?}", bans(&daemon));
        let traps = traps(&daemon);
        assert_eq!(
            (&traps["accepted"], &traps["redirected"], &traps["arrived"]),
            (&4.into(), &4.into(), &4.into())
        );
        assert_eq!((&traps["trouble"], &traps["ports"]), (&Value::Null, &3004.into()));
    }
}

#[test]
fn a_firewall_that_does_not_let_traps_be_reached_is_found_out() {
    let pair = world();
    pair.home.sh("nft 'add table inet filter; add chain inet filter input { type filter hook input priority filter; policy drop; }'");
    let daemon = Daemon::start(&pair.home, TRAPS);
    assert_eq!(traps(&daemon)["trouble"], Value::Null, "nobody has come yet");
    assert!(connect(&pair, VISITOR4, HOME4, 23).is_err());
    let told = traps(&daemon);
    assert!(text(&told["trouble"]).contains("the firewall lacks the rule"), "{told}");
    assert_eq!((&told["arrived"], &told["accepted"]), (&0.into(), &0.into()));
    let check = |daemon: &Daemon| {
        let config = daemon.setup().config();
        pair.home.enter(|| {
            let mut command = Command::new(NFBAN);
            command.arg("check").arg("-c").arg(config).arg("--socket").arg(daemon.setup().socket());
            String::from_utf8(command.output().unwrap().stdout).unwrap()
        })
    };
    assert!(check(&daemon).contains("the firewall lacks the rule"), "{}", check(&daemon));

    // The rule that the ruleset of `nfban ruleset` has.
    let ruleset = pair.home.enter(|| {
        let mut command = Command::new(NFBAN);
        command.arg("ruleset").arg("-c").arg(daemon.setup().config());
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    });
    let rule = ruleset.lines().find(|line| line.contains("ct status dnat")).unwrap().trim();
    pair.home.sh(&format!(
        "nft 'add rule inet filter input {rule}; add rule inet filter input ct state established accept'"
    ));
    let _held = connect(&pair, VISITOR4, HOME4, 23).expect("now it is let in");
    wait_until("the daemon has it", || traps(&daemon)["accepted"] == 1);
    assert_eq!(traps(&daemon)["trouble"], Value::Null);
    assert!(!check(&daemon).contains("lacks"), "{}", check(&daemon));
}

#[test]
fn no_service_is_ever_hidden_by_a_trap_published_or_not() {
    let pair = world();
    // 80 is published, and 5900 served though it is a trap; 3389 is served on another address of this host.
    pair.home.sh("ip addr add 203.0.113.1/32 dev lo");
    pair.peer.sh(&format!("ip route add 203.0.113.1 via {HOME4}"));
    let config = "services: [22, 80, 443]\ntraps: [1-200, 3389, 5900]\ntrap: {banner: \"trapped\"}";
    let daemon = Daemon::start(&pair.home, config);
    let serve = |address: &str, port: u16| {
        let listener = pair.home.enter(|| TcpListener::bind((address, port)).unwrap());
        std::thread::spawn(move || {
            listener.incoming().for_each(|client| drop(client.unwrap().write_all(b"service")));
        });
    };
    let answer = |to: &str, port: u16| {
        let mut client = connect(&pair, VISITOR4, to, port).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut said = [0; 7];
        client.read_exact(&mut said).unwrap();
        String::from_utf8(said.to_vec()).unwrap()
    };
    // Begun after the daemon: no look at what listens is too old.
    serve(HOME4, 80);
    serve("0.0.0.0", 5900);
    serve("203.0.113.1", 3389);
    serve("127.0.0.1", 23);
    assert_eq!(answer(HOME4, 80), "service");
    assert_eq!(answer(HOME4, 5900), "service");
    assert_eq!(answer("203.0.113.1", 3389), "service");
    let told = traps(&daemon);
    assert_eq!(told["redirected"], 0, "{told}");
    let taken: Vec<String> = told["taken"].as_array().unwrap().iter().map(text).collect();
    assert_eq!(taken, ["tcp/1-200", "tcp/3389", "tcp/5900"], "the first for ports 22 and 80");
    assert_eq!(answer(HOME4, 3389), "trapped", "nothing listens at this address");
    wait_until("it is restricted", || bans(&daemon) == [of(VISITOR4, "restrict")]);
    assert!(
        connect(&pair, VISITOR4, HOME4, 5900).is_err(),
        "what listens at a trap is not open to who is restricted"
    );
    assert_eq!(answer(HOME4, 80), "service");
    assert_eq!(answer(HOME4, 23), "trapped", "what this host alone can reach is no service");
    let own = pair.home.enter(|| {
        TcpStream::connect(("127.0.0.1", 23)).map(|mut client| {
            let mut said = [0; 7];
            client.read_exact(&mut said).map(|()| said)
        })
    });
    assert_eq!(&own.unwrap().unwrap(), b"service");
}

#[test]
fn a_million_connects_are_a_bounded_number_held_and_a_handful_of_touches() {
    let pair = world();
    let config = format!("{TRAPS}trap: {{hold: 10m, connections: 4}}\nallow: [{VISITOR4}]");
    let daemon = Daemon::start(&pair.home, &config);
    let clients: Vec<_> = (0..300).map(|_| connect(&pair, VISITOR4, HOME4, 23).unwrap()).collect();
    wait_until("all are accepted", || traps(&daemon)["accepted"] == 300);
    assert_eq!(traps(&daemon)["held"], 4);
    let mut first = &clients[0];
    first.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert_eq!(first.read(&mut [0; 1]).unwrap(), 0, "the oldest ones are closed");
    let incident =
        || daemon.ask(&format!("status {VISITOR4} --json")).lines().remove(0)["open_incidents"][0].clone();
    wait_until("all are counted", || incident()["packets"] == 300);
    assert_eq!(bans(&daemon), [], "who is allowed is told and never acted against");
}

#[test]
fn a_held_connection_is_closed_when_its_time_is_over() {
    let pair = world();
    let daemon = Daemon::start(&pair.home, &format!("{TRAPS}trap: {{hold: 1s, banner: \"login: \"}}"));
    let mut client = connect(&pair, VISITOR6, HOME6, 23).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut said = Vec::new();
    client.read_to_end(&mut said).expect("the listener hangs up");
    assert_eq!(said, b"login: ");
    wait_until("nothing is held", || traps(&daemon)["held"] == 0);
}

#[test]
fn nothing_but_a_handshake_of_its_own_validates_an_address() {
    let pair = world();
    // Every socket takes data with a SYN, of anybody (tcp_fastopen: client, server, no cookie asked for, unasked).
    pair.home.sh("sysctl -qw net.ipv4.tcp_fastopen=1539");
    let daemon = Daemon::start(&pair.home, TRAPS);
    for to in [23, 3389, 28023] {
        // A SYN with data, then ACKs with made-up numbers: the address is not the peer's, and never answers.
        pair.peer.sh(&format!(
            "hping3 -q -c 20 -i u2000 -S -d 64 -p {to} -a 203.0.113.66 {HOME4} 2>/dev/null || true"
        ));
        pair.peer.sh(&format!("hping3 -q -c 200 -i u500 -A -p {to} -s 40000 -k -M 7 -L 1234 -a 203.0.113.66 {HOME4} 2>/dev/null || true"));
    }
    wait_until("they were redirected", || traps(&daemon)["redirected"].as_u64().unwrap() >= 2);
    let told = traps(&daemon);
    assert_eq!(told["accepted"], 0, "{told}");
    assert!(!daemon.rules().contains(&"trap-port".to_owned()), "{:?}", daemon.rules());
    assert!(bans(&daemon).iter().all(|(_, action)| action == "restrict"), "{:?}", bans(&daemon));
    // The listener does work.
    let _held = connect(&pair, VISITOR4, HOME4, 23).unwrap();
    wait_until("it is told", || daemon.rules().contains(&"trap-port".to_owned()));
    // A connection to the listener itself was at no trap.
    let _direct = connect(&pair, "198.51.100.9", HOME4, 28023);
    assert_eq!(traps(&daemon)["accepted"], 1);
}

#[test]
fn half_open_probes_of_traps_still_count_as_refused() {
    let pair = world();
    pair.home.sh(&example("server.nft"));
    let daemon = Daemon::start(&pair.home, TRAPS);
    pair.peer.sh(&format!("nmap -n -Pn -T5 --max-retries 0 -sS -p 2000-2019 -e peer0 -S {VISITOR4} {HOME4}"));
    pair.peer
        .sh(&format!("nmap -n -Pn -T5 --max-retries 0 -sA -p 2000-2004 -e peer0 -S 203.0.113.9 {HOME4}"));
    wait_until("the scan is told", || daemon.rules().contains(&"tcp-syn-scan".to_owned()));
    assert_eq!(bans(&daemon), [of(VISITOR4, "restrict")]);
    let told = traps(&daemon);
    assert_eq!((&told["redirected"], &told["arrived"]), (&20.into(), &20.into()), "SYNs alone: {told}");
    assert_eq!(told["accepted"], 0);
}

#[test]
fn reload_moves_the_listener_and_takes_it_away_and_watching_redirects_nothing() {
    let pair = world();
    let daemon = Daemon::start(&pair.home, TRAPS);
    let listen = || traps(&daemon)["listen"].clone();
    let reload = |config: &str| {
        daemon.setup().configure(config);
        daemon.ask("reload")
    };
    assert_eq!(listen(), 28023);
    assert_eq!(reload(&format!("{TRAPS}trap: {{listen: 4001, banner: hello}}")).exit, Some(0));
    assert_eq!(listen(), 4001);
    let mut client = connect(&pair, VISITOR4, HOME4, 23).unwrap();
    let mut said = [0; 5];
    client.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"hello");

    let taken = pair.home.enter(|| TcpListener::bind(("0.0.0.0", 4002)).unwrap());
    let refused = reload(&format!("{TRAPS}trap: {{listen: 4002}}"));
    assert!(refused.err.contains("listen on tcp/4002"), "{refused:?}");
    assert_eq!(listen(), 4001, "the old one goes on");
    drop(taken);

    for without in [
        "services: [22]",
        &format!("mode: watch\n{TRAPS}"),
        &format!("{TRAPS}nftables: {{conntrack: never}}"),
    ] {
        assert_eq!(reload(without).exit, Some(0));
        let listening =
            pair.home.sh("ss -Hltn; nft list tables | grep -q nfban && nft list table inet nfban; true");
        assert!(!listening.contains("4001") && !listening.contains("dnat"), "{without}: {listening}");
        assert_eq!(reload(TRAPS).exit, Some(0));
        assert_eq!(listen(), 28023);
    }
}

#[test]
fn a_listeners_port_that_is_taken_is_an_error_at_start() {
    let pair = Pair::new();
    let _taken = pair.home.enter(|| TcpListener::bind(("0.0.0.0", 28023)).unwrap());
    let refused = Daemon::refuses_to_start(&pair.home, &Setup::new(TRAPS), Command::new(NFBAN));
    assert_eq!(refused.exit, Some(1), "{refused:?}");
    assert!(
        refused.err.contains("listen on tcp/28023") && refused.err.contains("`trap: {listen: PORT}`"),
        "{refused:?}"
    );
    assert!(!pair.home.sh("nft list tables").contains("nfban"), "and nothing is left in the kernel");
    let _ = (PEER4, PEER6);
}

#[test]
fn an_own_user_with_cap_net_admin_alone_is_enough() {
    let pair = world();
    let setup = Setup::new(TRAPS);
    let user = "nobody";
    pair.home.sh(&format!("chown -R {user} {0} && chmod 755 {0}", setup.folder().display()));
    let mut command = Command::new("setpriv");
    command.args(["--reuid", user, "--clear-groups", "--no-new-privs", "--bounding-set", "-all,+net_admin"]);
    command.args(["--inh-caps", "-all,+net_admin", "--ambient-caps", "-all,+net_admin"]);
    command.arg(NFBAN).args(["run", "-c"]).arg(setup.config());
    let daemon = Daemon::spawn(&pair.home, setup, command);
    let _held =
        [(VISITOR4, HOME4), (VISITOR6, HOME6)].map(|(from, to)| connect(&pair, from, to, 23).unwrap());
    wait_until("both are told", || bans(&daemon).len() == 2);
}

/// Whether a SYN to a published port is answered, be it that nothing listens there.
fn is_answered(pair: &Pair, from: &str) -> bool {
    let refused = |error: std::io::Error| error.kind() == std::io::ErrorKind::ConnectionRefused;
    connect(pair, from, HOME6, 80).map_or_else(refused, |_| true)
}

#[test]
fn proven_offences_from_one_network_widen_to_its_56_and_its_48_and_no_further() {
    let pair = world();
    pair.home.sh(&example("server.nft"));
    // Two /64 of one /56, one of another in the same /48, and one beside all of these.
    let [first, second, third, stranger] =
        ["2001:db8:9:101::9", "2001:db8:9:1ff::9", "2001:db8:9:200::9", "2001:db8:a::9"];
    [first, second, third, stranger, "2001:db8:b::9"].iter().for_each(|address| pair.peer_has(address));
    let mut daemon = Daemon::start(&pair.home, TRAPS);
    let rows = [
        (first, "2001:db8:9:101::/64", 600, [second, third]),
        (first, "2001:db8:9:100::/56", 3_600, [third, stranger]),
        (second, "2001:db8:9::/48", 86_400, [stranger, "2001:db8:b::9"]),
        (third, "2001:db8:9::/48", 604_800, [stranger, "2001:db8:b::9"]),
    ];
    for (from, target, timeout_s, others) in rows {
        let _first = connect(&pair, from, HOME6, 23).expect("the trap takes it");
        // Whoever touched both within the hour is banned by the next one, and may not get to this.
        let _second = connect(&pair, from, HOME6, 3389);
        wait_until(&format!("{target} is banned"), || bans(&daemon) == [of(target, "ban")]);
        assert_eq!(daemon.bans()[0]["timeout_s"], timeout_s, "{target}");
        assert!(!is_answered(&pair, from));
        assert!(others.iter().all(|other| is_answered(&pair, other)), "{target} and nobody besides");
        assert_eq!(daemon.ask(&format!("unban {target}")).exit, Some(0));
        assert!(is_answered(&pair, from));
        // How often that was outlives the process.
        let setup = daemon.stop(Signal::TERM);
        daemon = Daemon::start_with(&pair.home, setup, &[]);
    }
    // Among all these offenders, one trap is still one trap: a web page can make anybody's browser touch it.
    let innocent = "2001:db8:9:102::9";
    pair.peer_has(innocent);
    let _one = connect(&pair, innocent, HOME6, 23).expect("the trap takes it");
    wait_until("it is restricted", || bans(&daemon) == [of("2001:db8:9:102::/64", "restrict")]);
    assert!([innocent, first, second, third].iter().all(|from| is_answered(&pair, from)));
    daemon.stop(Signal::TERM);
}

/// Rows of touches in the state database.
fn saved_touches(setup: &Setup) -> i64 {
    let path = setup.folder().join("state.db");
    let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    database.query_row("SELECT count(*) FROM touch", [], |row| row.get(0)).unwrap()
}

#[test]
fn a_first_trap_before_a_kill_and_a_second_one_after_it_are_two_within_the_hour() {
    let pair = world();
    let daemon = Daemon::start(&pair.home, TRAPS);
    for (from, to) in [(VISITOR4, HOME4), (VISITOR6, HOME6)] {
        connect(&pair, from, to, 23).unwrap();
    }
    wait_until("both are restricted", || bans(&daemon).len() == 2);
    wait_until("their touches are saved", || saved_touches(daemon.setup()) == 2);
    let setup = daemon.kill();
    // One of them was two hours ago.
    let path = setup.folder().join("state.db");
    let older = format!("UPDATE touch SET last_us = last_us - 7200000000 WHERE source = '{VISITOR4}/32'");
    Connection::open(path).unwrap().execute_batch(&older).unwrap();
    let daemon = Daemon::start_with(&pair.home, setup, &[]);
    for (from, to) in [(VISITOR4, HOME4), (VISITOR6, HOME6)] {
        connect(&pair, from, to, 3389).unwrap();
    }
    let expected = [of(VISITOR4, "restrict"), of("2001:db8:9::/64", "ban")];
    wait_until("the second one is banned", || bans(&daemon) == expected);
    let known = daemon.ask(&format!("status {VISITOR6} --json")).lines().remove(0);
    assert_eq!(known["open_incidents"][0]["ports"], serde_json::json!([23, 3389]));
    // Whoever is forgotten begins anew.
    for request in ["unban --all".to_owned(), format!("forget {VISITOR4}")] {
        let answer = daemon.ask(&request);
        assert_eq!(answer.exit, Some(0), "{answer:?}");
    }
    wait_until("one's touches are left", || saved_touches(daemon.setup()) == 2);
    let setup = daemon.stop(Signal::TERM);
    assert_eq!(saved_touches(&setup), 2);
    let daemon = Daemon::start_with(&pair.home, setup, &[]);
    connect(&pair, VISITOR4, HOME4, 5900).unwrap();
    wait_until("that is one trap", || bans(&daemon) == [of(VISITOR4, "restrict")]);
}
