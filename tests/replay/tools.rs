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

/// Whether the script that made a capture uses a tool; `probe` is nmap there.
fn made_with(name: &str, tool: &str) -> bool {
    let (scene, _) = name.split_once('.').unwrap();
    std::fs::read_dir(data("captures/scenes")).unwrap().any(|script| {
        let script = std::fs::read_to_string(script.unwrap().path()).unwrap();
        script.contains(&format!(" {scene}"))
            && (script.contains(&format!("{tool} ")) || tool == "nmap" && script.contains("probe "))
    })
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
            let (told, expected) = (end["tool"].as_str(), tool(&name));
            let right =
                told == expected || (expected.is_none() && told.is_some_and(|tool| made_with(&name, tool)));
            assert!(right, "{name}: {end}");
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
