//! Which tool a capture was made with (`tests/data/captures`), by the captures' names.

use super::bed::{Bed, data, run, run_piped};
use super::wire::{HOME, Link, PORTS, SCANNER, SYN, ipv4, pcap, tcp, timed};

/// What the incidents of a capture must be told to be made with. Unknown names are other tools', or honest traffic.
fn tool(name: &str) -> Option<&'static str> {
    let (scene, _) = name.split_once('.').unwrap();
    let by_the_kernel =
        ["nmap-sT", "nmap-connect", "nmap-high-ports"].iter().any(|kind| scene.starts_with(kind));
    match scene.split_once('-').map_or(scene, |(tool, _)| tool) {
        // Nothing over IPv6 is certain; a connect scan is the kernel's.
        _ if scene.contains("ipv6") || by_the_kernel => None,
        "nmap" => Some("nmap"),
        // Its identification is made of the TCP sequence number; a datagram has none.
        "masscan" if !scene.starts_with("masscan-udp") => Some("masscan"),
        "zmap" => Some("zmap"),
        _ => None,
    }
}

#[test]
fn scanners_are_named_where_their_packets_give_them_away_and_nothing_else_is() {
    let mut named = 0;
    for entry in std::fs::read_dir(data("captures")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if !name.trim_end_matches(".xz").ends_with(".pcap") {
            continue;
        }
        for end in run(&["--json", path.to_str().unwrap()]).done().all("incident-end") {
            assert_eq!(end["tool"].as_str(), tool(&name), "{name}: {end}");
            named += u32::from(end["tool"].is_string());
        }
    }
    assert!(named >= 20, "{named}");
}

#[test]
fn mirai_is_named_by_its_sequence_numbers() {
    let probe = |port| {
        let mut segment = tcp(40000, port, SYN, &[]);
        segment[4..8].copy_from_slice(&HOME.octets());
        ipv4(SCANNER, HOME, 6, 0, &segment)
    };
    let told = Bed::new().replay(pcap(Link::Raw, &timed(PORTS.map(probe))), &[]).done();
    assert_eq!(told.all("incident")[0]["tool"], "mirai");
    assert_eq!(told.all("incident-end")[0]["tool"], "mirai");
}

#[test]
fn log_text_with_sequence_numbers_gives_masscan_away() {
    let line = |port: u16| {
        let sequence = u32::from(port).wrapping_mul(0x9e37_79b9);
        let identification = (HOME.to_bits() ^ u32::from(port) ^ sequence) & 0xffff;
        format!(
            "kernel: IN=eth0 OUT= MAC= SRC={SCANNER} DST={HOME} LEN=40 TOS=0x00 PREC=0x00 TTL=242 ID={identification} \
             PROTO=TCP SPT=41263 DPT={port} SEQ={sequence} ACK=0 WINDOW=1024 RES=0x00 SYN URGP=0\n"
        )
    };
    let log = |line: &dyn Fn(u16) -> String| PORTS.iter().map(|&port| line(port)).collect::<String>();
    let tool =
        |log: String| run_piped(&["--json"], log.as_bytes()).done().all("incident-end")[0]["tool"].clone();
    assert_eq!(tool(log(&line)), "masscan");
    let without = |port: u16| line(port).replace(" ACK=0", "").replace("SEQ=", "NO=");
    assert!(tool(log(&without)).is_null());
}
