//! Where one's own SSH session comes from and to which port, so that nobody locks himself out by mistake.

use std::ffi::OsString;
use std::net::IpAddr;
use std::os::unix::ffi::OsStringExt as _;

/// What sshd tells a session of its client; the client's address is the first word of both, the port of sshd the last
/// (ssh(1), ENVIRONMENT).
const VARIABLES: [&str; 2] = ["SSH_CONNECTION", "SSH_CLIENT"];

/// Between a login shell and a command lie a few processes, and no chain of parents is without end.
const GENERATIONS: usize = 64;

/// The address that this process's SSH session comes from.
pub(super) fn peer() -> Option<IpAddr> {
    session(address)
}

/// The port that this process's SSH session came to.
pub(super) fn port() -> Option<u16> {
    session(|value| value.split_whitespace().last()?.parse().ok())
}

/// What `read` makes of the variables of this process's SSH session. Where sudo or su have cleared the environment, the
/// nearest of the processes that led to this one has them: they began with the session's.
fn session<T>(read: impl Fn(&str) -> Option<T>) -> Option<T> {
    let own = VARIABLES.iter().find_map(|name| read(&std::env::var(name).ok()?));
    own.or_else(|| {
        let mut process = parent("self")?;
        for _ in 0..GENERATIONS {
            // That of another user cannot be read, its parent's perhaps can.
            let environment = std::fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
            if let Some(found) = within(&environment, &read) {
                return Some(found);
            }
            process = parent(&process.to_string())?;
        }
        None
    })
}

/// The process id of the parent: the second field after the name in proc_pid_stat(5). The name may hold anything.
fn parent(process: &str) -> Option<u32> {
    let stat = std::fs::read(format!("/proc/{process}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(1)?.parse().ok().filter(|parent| *parent > 0)
}

/// What `read` makes of the variables in an environment, `NAME=value` with a NUL after each.
fn within<T>(environment: &[u8], read: impl Fn(&str) -> Option<T>) -> Option<T> {
    VARIABLES.iter().find_map(|name| {
        environment.split(|octet| *octet == 0).find_map(|entry| {
            let entry = OsString::from_vec(entry.to_vec()).into_string().ok()?;
            let (known, value) = entry.split_once('=')?;
            (known == *name).then(|| read(value))?
        })
    })
}

/// The client's address, without the zone of a link-local one.
fn address(value: &str) -> Option<IpAddr> {
    let word = value.split_whitespace().next()?;
    let word = word.split_once('%').map_or(word, |(address, _)| address);
    word.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_is_the_first_word_of_what_sshd_says() {
        let read = |value| address(value).map(|address| address.to_string());
        assert_eq!(read("192.0.2.7 50022 203.0.113.5 22").as_deref(), Some("192.0.2.7"));
        assert_eq!(read("2001:db8::7 50022 22").as_deref(), Some("2001:db8::7"));
        assert_eq!(read("fe80::7%eth0 50022 fe80::1%eth0 22").as_deref(), Some("fe80::7"));
        assert_eq!(read("::ffff:192.0.2.7 50022 22").as_deref(), Some("192.0.2.7"));
        assert_eq!((read(""), read("UNKNOWN 65535 UNKNOWN 65535")), (None, None));
    }

    #[test]
    fn an_environment_is_searched_by_whole_names() {
        let found = |environment: &[u8]| within(environment, address).map(|address| address.to_string());
        assert_eq!(found(b"X=1\0SSH_CLIENT=192.0.2.7 1 22\0").as_deref(), Some("192.0.2.7"));
        assert_eq!(found(b"MY_SSH_CLIENT=192.0.2.7 1 22\0SSH_CLIENT\0\xff=\0"), None);
        assert_eq!(found(b""), None);
    }

    #[test]
    fn everybody_has_a_parent_but_the_first_process() {
        assert!(parent("self").is_some());
        assert_eq!(parent("1"), None);
    }
}
