//! `ban` of the address that one's own SSH session comes from.

use std::process::{Command, Output};

use rustix::process::Signal;

use crate::support::Pair;
use crate::support::daemon::{Daemon, NFBAN};

#[test]
fn a_ban_of_ones_own_ssh_session_asks_for_force() {
    let pair = Pair::new();
    let daemon = Daemon::start(&pair.home, "");
    let socket = daemon.setup().socket();
    // As a shell of a session runs it, or as sudo does, which clears the environment.
    let ban = |before: &str, arguments: &str| -> Output {
        let line = format!("{before} {NFBAN} --socket {} ban {arguments}; exit $?", socket.display());
        Command::new("sh")
            .args(["-c", &line])
            .env("SSH_CONNECTION", "198.51.100.7 50022 192.0.2.1 22")
            .output()
            .unwrap()
    };
    for before in ["", "env -i"] {
        for (target, what) in [
            ("198.51.100.7", "your SSH session comes from 198.51.100.7"),
            ("198.51.100.0/24", "your SSH session comes from 198.51.100.7 in 198.51.100.0/24"),
        ] {
            let answer = ban(before, target);
            assert_eq!(answer.status.code(), Some(1), "{answer:?}");
            let expected = format!("nfban: {what}: to ban it all the same, add --force\n");
            assert_eq!(String::from_utf8_lossy(&answer.stderr), expected);
        }
        assert!(daemon.bans().is_empty());
        assert_eq!(ban(before, "198.51.100.8").status.code(), Some(0));
        assert_eq!(ban(before, "198.51.100.7 --force").status.code(), Some(0));
        assert_eq!(daemon.targets(), ["198.51.100.7", "198.51.100.8"]);
        assert_eq!(daemon.ask("unban --all").exit, Some(0));
    }
    daemon.stop(Signal::TERM);
}
