//! Which tool a capture was made with (`tests/data/captures`), by the captures' names.

use super::bed::{data, run};

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
