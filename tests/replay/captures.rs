//! What packets of a capture mean.

use super::bed::{Bed, Told, data, run, run_piped};
use super::wire::{
    HOME, HOME6, Link, PORTS, RST_ACK, SCANNER, SCANNER6, SECOND, START, SYN, SYN_ACK, Timed, answer,
    connect, ipv4, ipv6, pcap, pcapng, scan, syn, tcp, timed, udp,
};

/// What a replay of an Ethernet capture of these packets tells.
fn ethernet(packets: impl IntoIterator<Item = Vec<u8>>, options: &[&str]) -> Told {
    Bed::new().replay(pcap(Link::Ethernet, &timed(packets)), options).done()
}

const NOTHING: [&str; 0] = [];

#[test]
fn every_link_type_in_both_formats_tells_the_same() {
    let mut first = None;
    for link in Link::ALL {
        for write in [pcap, pcapng] {
            let told = Bed::new().replay(write(link, &timed(scan())), &[]).done();
            assert_eq!(told.rules(), ["tcp-syn-scan"], "{link:?}");
            assert_eq!((told.summary("packets"), told.summary("undecoded")), (10, 0), "{link:?}");
            assert_eq!(&told.stdout, first.get_or_insert(told.stdout.clone()), "{link:?}");
        }
    }
}

#[test]
fn interfaces_of_several_link_types_in_one_capture_are_each_read_as_what_they_are() {
    let mut file = pcapng(Link::Ethernet, &timed(scan().into_iter().take(5)));
    file.extend(pcapng(Link::Nflog(""), &timed(scan().into_iter().skip(5))));
    let told = Bed::new().replay(file, &[]).done();
    assert_eq!((told.rules(), told.summary("packets")), (vec!["tcp-syn-scan".to_owned()], 10));
}

#[test]
fn the_prefix_of_an_nflog_record_is_its_verdict() {
    for (prefix, expected) in [
        ("", &["tcp-syn-scan"][..]),
        ("nfban:refused", &["tcp-syn-scan"]),
        ("nfban:refused ", &["tcp-syn-scan"]),
        ("nfban:invalid", &["tcp-syn-scan"]),
        ("nfban:undecided", &["tcp-syn-scan"]),
        ("dropped: ", &["tcp-syn-scan"]),
        ("nfban:accepted", &[]),
        ("nfban:fragment", &[]),
    ] {
        let told = Bed::new().replay(pcap(Link::Nflog(prefix), &timed(scan())), &[]).done();
        assert_eq!(told.rules(), expected, "{prefix:?}");
        assert_eq!(told.summary("packets"), 10);
    }
}

#[test]
fn ports_that_answer_anywhere_in_an_interface_capture_are_open() {
    // The answer to a port's first SYN comes after all the SYNs.
    let knocks = PORTS.iter().map(|&port| connect(40000, port));
    let open = PORTS.iter().map(|&port| answer(port, 40000, SYN_ACK));
    assert_eq!(ethernet(knocks.clone().chain(open.clone()), &[]).rules(), NOTHING);
    assert_eq!(ethernet(open.chain(knocks.clone()), &[]).rules(), NOTHING);
    let closed = PORTS.iter().map(|&port| answer(port, 40000, RST_ACK));
    assert_eq!(ethernet(knocks.chain(closed), &[]).rules(), ["tcp-port-scan"]);
}

#[test]
fn a_udp_port_that_answers_is_open() {
    let ask = |port| ipv4(SCANNER, HOME, 17, 0, &udp(40000, port, b"?"));
    let reply = |port| ipv4(HOME, SCANNER, 17, 0, &udp(port, 40000, b"!"));
    assert_eq!(ethernet(PORTS.map(ask), &[]).rules(), ["udp-scan"]);
    assert_eq!(ethernet(PORTS.map(ask).into_iter().chain(PORTS.map(reply)), &[]).rules(), NOTHING);
}

#[test]
fn replies_are_never_evidence() {
    // Home asks one port of a server from ten ports of its own; the answers alone would be a scan.
    let ask = |port| ipv4(HOME, SCANNER, 17, 0, &udp(port, 111, b"?"));
    let reply = |port| ipv4(SCANNER, HOME, 17, 0, &udp(111, port, b"!"));
    assert_eq!(ethernet(PORTS.map(reply), &[]).rules(), ["udp-scan"]);
    assert_eq!(ethernet(PORTS.iter().flat_map(|&port| [ask(port), reply(port)]), &[]).rules(), NOTHING);
    // Likewise the segments of connections from low ports, as NFS and rsh make them.
    let sent = |port| ipv4(HOME, SCANNER, 6, 0, &tcp(port, 2049, 0x10, &[]));
    let came = |port| ipv4(SCANNER, HOME, 6, 0, &tcp(2049, port, 0x10, &[]));
    assert_eq!(ethernet(PORTS.map(came), &[]).rules(), ["tcp-ack-scan"]);
    assert_eq!(ethernet(PORTS.iter().flat_map(|&port| [sent(port), came(port)]), &[]).rules(), NOTHING);
}

#[test]
fn the_reset_of_a_closed_port_does_not_excuse_the_next_probe() {
    // One SYN and its RST each; five minutes later Xmas probes from the same port of the scanner.
    let before: Vec<_> =
        PORTS[..5].iter().flat_map(|&port| [syn(port), answer(port, 40000, RST_ACK)]).collect();
    let later = PORTS[..5].iter().map(|&port| ipv4(SCANNER, HOME, 6, 0, &tcp(40000, port, 0x29, &[])));
    let mut packets = timed(before);
    packets.extend((START + 310 * SECOND..).zip(later));
    let told = Bed::new().replay(pcap(Link::Ethernet, &packets), &[]).done();
    assert_eq!(told.rules(), ["tcp-xmas-scan"]);
}

#[test]
fn fragments_are_put_together_before_a_rule_on_tcp_sees_them() {
    let packets = PORTS.iter().flat_map(|&port| {
        let segment = tcp(40000, port, SYN, &[2, 4, 5, 0xb4]);
        let fragment = |from: usize, to: usize, more: u16| {
            let mut packet =
                ipv4(SCANNER, HOME, 6, more << 13 | u16::try_from(from / 8).unwrap(), &segment[from..to]);
            packet[4..6].copy_from_slice(&port.to_be_bytes());
            packet
        };
        // The last one first.
        [fragment(16, 24, 0), fragment(0, 8, 1), fragment(8, 16, 1)]
    });
    let told = ethernet(packets, &[]);
    assert_eq!(told.rules(), ["tcp-syn-scan"]);
    assert_eq!((told.summary("packets"), told.summary("undecoded")), (30, 0));
    assert_eq!(told.all("incident-end")[0]["packets"], 10);
}

#[test]
fn ipv6_is_scanned_by_its_64_and_jumbo_hops_hide_nothing() {
    let plain = |port| ipv6(SCANNER6, HOME6, 6, &tcp(40000, port, SYN, &[]));
    // Hop-by-hop options of padding alone, and a payload length of zero: Linux takes the packet.
    let jumbo = |port| {
        let mut packet =
            ipv6(SCANNER6, HOME6, 0, &[&[6, 0, 1, 4, 0, 0, 0, 0], &tcp(40000, port, SYN, &[])[..]].concat());
        packet[4..6].fill(0);
        packet
    };
    for packets in [PORTS.map(plain), PORTS.map(jumbo)] {
        for link in [Link::Ethernet, Link::Nflog("nfban:refused")] {
            let told = Bed::new().replay(pcap(link, &timed(packets.clone())), &[]).done();
            assert_eq!((told.rules(), told.summary("undecoded")), (vec!["tcp-syn-scan".to_owned()], 0));
            assert_eq!(told.all("incident")[0]["source"], "2001:db8:7::/64");
        }
    }
}

#[test]
fn a_client_that_opens_one_port_again_and_again_is_no_scan() {
    // What an old detector took for a scan: a proxy's port from ascending source ports, and once a mail server's.
    let client = (1228..1328).map(|sport| connect(sport, 3128));
    let with_another = [connect(1227, 110)].into_iter().chain(client.clone());
    let refused = (1228..1328).flat_map(|sport| [connect(sport, 3128), answer(3128, sport, RST_ACK)]);
    assert_eq!(ethernet(client, &[]).rules(), NOTHING);
    assert_eq!(ethernet(with_another.clone(), &[]).rules(), NOTHING);
    assert_eq!(ethernet(refused, &[]).rules(), NOTHING);
    let told = Bed::new().replay(pcap(Link::Nflog(""), &timed(with_another)), &[]).done();
    assert_eq!((told.rules(), told.summary("packets")), (vec![], 101));
}

#[test]
fn a_half_open_scan_is_one_incident_however_long_it_goes_on() {
    let ports = [967, 32771, 77, 1396, 900, 1377, 5, 212, 1458, 206];
    let told = ethernet(ports.map(syn).into_iter().chain((2000..2500).map(syn)), &[]);
    assert_eq!(told.rules(), ["tcp-syn-scan"]);
    assert_eq!(told.all("incident-end")[0]["distinct_ports"], 510);
    assert_eq!(told.summary("bans"), 1);
    // The ten alone suffice.
    assert_eq!(ethernet(ports.map(syn), &[]).rules(), ["tcp-syn-scan"]);
}

#[test]
fn a_name_servers_answers_are_no_udp_scan() {
    let answers = (1025..1061).map(|port| ipv4(SCANNER, HOME, 17, 0, &udp(53, port, &[0; 150])));
    assert_eq!(ethernet(answers.clone(), &[]).rules(), NOTHING);
    let told = Bed::new().replay(pcap(Link::Nflog(""), &timed(answers)), &[]).done();
    assert_eq!(told.rules(), NOTHING);
}

#[test]
fn time_that_steps_back_by_two_seconds_is_raised_and_by_more_starts_the_windows_anew() {
    let stepping = |back: i64| {
        let mut packets = timed(scan());
        let last = packets[4].0;
        for (number, packet) in (0..).zip(&mut packets[5..]) {
            packet.0 = last - back + number * 100_000;
        }
        Bed::new().replay(pcap(Link::Ethernet, &packets), &[]).done()
    };
    let told = stepping(2 * SECOND);
    assert_eq!((told.rules(), told.summary("time_jumps")), (vec!["tcp-syn-scan".to_owned()], 0));
    // Raised to the latest: the eighth port was seen no later than the fifth.
    assert_eq!(told.all("incident")[0]["time"], "2024-05-07T18:00:00.400000Z");
    let told = stepping(2 * SECOND + 1);
    assert_eq!((told.rules(), told.summary("time_jumps")), (vec![], 1));
}

#[test]
fn what_is_not_understood_is_counted_and_no_packet() {
    let mut packets = timed(scan());
    let mut lie = syn(80);
    lie[0] = 0x41;
    packets.insert(3, (packets[3].0, lie));
    let told = Bed::new().replay(pcap(Link::Raw, &packets), &[]).done();
    assert_eq!((told.summary("packets"), told.summary("undecoded")), (10, 1));
    assert_eq!(told.rules(), ["tcp-syn-scan"]);
}

#[test]
fn frames_of_other_protocols_are_passed_over() {
    let arp = [&[0xff; 6][..], &[0x52, 0x54, 0, 0, 0, 7, 8, 6], &[0; 46]].concat();
    let mut capture = pcap(Link::Ethernet, &timed(scan()));
    let length = u32::try_from(arp.len()).unwrap().to_le_bytes();
    let time = u32::try_from(START / SECOND + 2).unwrap().to_le_bytes();
    capture.extend([time, [0; 4], length, length].concat());
    capture.extend(arp);
    let told = Bed::new().replay(capture, &["-v"]).done();
    assert_eq!((told.summary("packets"), told.summary("undecoded")), (10, 0));
}

#[test]
fn a_capture_in_several_files_is_one_capture() {
    let bed = Bed::new();
    let parts = [scan()[..5].to_vec(), scan()[5..].to_vec()];
    let half = |part: usize| {
        let packets: Timed =
            (START + i64::try_from(part).unwrap() * SECOND..).zip(parts[part].clone()).collect();
        bed.file(&format!("capture{part}"), pcap(Link::Ethernet, &packets))
    };
    let files = [half(0), half(1)];
    let told = super::bed::run(&["--json", &files[0], &files[1]]).done();
    assert_eq!((told.rules(), told.summary("packets")), (vec!["tcp-syn-scan".to_owned()], 10));

    // A question in one file, its answers in the next.
    let ask = |port| ipv4(HOME, SCANNER, 17, 0, &udp(port, 111, b"?"));
    let reply = |port| ipv4(SCANNER, HOME, 17, 0, &udp(111, port, b"!"));
    let asked = bed.file("asked", pcap(Link::Ethernet, &timed(PORTS.map(ask))));
    let later = (START + 10 * SECOND..).zip(PORTS.map(reply)).collect();
    let answered = bed.file("answered", pcapng(Link::Ethernet, &later));
    assert_eq!(super::bed::run(&["--json", &asked, &answered]).done().rules(), NOTHING);
}

#[test]
fn a_capture_through_a_pipe_is_read_whole_and_twice() {
    // Longer than any buffer; that the ports are open shows at the very end.
    let knocks = (0..20_000).map(|number| connect(number, PORTS[usize::from(number) % 10]));
    let answers = PORTS.iter().map(|&port| answer(port, port, SYN_ACK));
    let capture = pcap(Link::Ethernet, &timed(knocks.clone().chain(answers)));
    let told = run_piped(&["--json"], &capture).done();
    assert_eq!((told.rules(), told.summary("packets")), (vec![], 20_010));
    let told = run_piped(&["--json", "-"], &pcapng(Link::Ethernet, &timed(knocks))).done();
    assert_eq!((told.rules(), told.summary("packets")), (vec!["tcp-port-scan".to_owned()], 20_000));
    // The same by a path, as a shell's <(…) gives it.
    let told = run_piped(&["--json", "/dev/stdin"], &capture).done();
    assert_eq!((told.rules(), told.summary("packets")), (vec![], 20_010));
}

#[test]
fn a_scan_by_one_of_ours_in_an_interface_capture_is_outbound_and_nobody_is_banned_for_it() {
    let capture = data("captures/nmap-sS.ether.pcap");
    let told = run(&["--json", "--home", "198.51.100.7/32", capture.to_str().unwrap()]).done();
    assert_eq!(told.rules(), ["outbound-scan"]);
    assert_eq!((&told.all("incident")[0]["source"], told.all("ban").len()), (&"198.51.100.7".into(), 0));
}
