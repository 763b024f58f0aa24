use std::fs;

use super::*;

/// The name servers of a file system with these files.
fn resolvers_of(files: &[(&str, &str)]) -> Vec<String> {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    resolvers(root.path()).unwrap().iter().map(ToString::to_string).collect()
}

const UPSTREAMS: (&str, &str) =
    ("run/systemd/resolve/resolv.conf", "nameserver 192.0.2.53\nnameserver fe80::53%2\n");

#[test]
fn name_servers_are_those_of_resolv_conf() {
    let text = "# nameserver 192.0.2.9\nsearch example\n\tnameserver\t192.0.2.1 # first\nnameserver 2001:db8::1\n\
                nameserver fe80::1%eth0\nnameserver nonsense\nnameserver\noptions edns0\nnameserver 192.0.2.1";
    assert_eq!(
        resolvers_of(&[("etc/resolv.conf", text), UPSTREAMS]),
        ["192.0.2.1", "2001:db8::1", "fe80::1"],
        "without a stub nobody else is asked"
    );
}

#[test]
fn behind_a_stub_they_are_those_the_stub_asks() {
    let stub = ("etc/resolv.conf", "nameserver 127.0.0.53\noptions edns0 trust-ad\n");
    assert_eq!(resolvers_of(&[stub, UPSTREAMS]), ["192.0.2.53", "fe80::53"]);
    let manager = ("run/NetworkManager/no-stub-resolv.conf", "nameserver 198.51.100.53\n");
    assert_eq!(resolvers_of(&[("etc/resolv.conf", "nameserver ::1\n"), manager]), ["198.51.100.53"]);
}

#[test]
fn no_resolv_conf_names_nobody() {
    assert_eq!(resolvers_of(&[]), [""; 0]);
    assert_eq!(resolvers_of(&[("etc/resolv.conf", "nameserver 127.0.0.53\n")]), [""; 0]);
}
