//! Reverse DNS, forward-confirmed, through the system's own resolver: /etc/hosts and nsswitch.conf count as well.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::IpAddr;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::tame;

/// How many questions are under way at once.
const WORKERS: usize = 16;

/// A host's name (RFC 1035 section 2.3.4: 255 octets with lengths, 253 as text).
const LONGEST: usize = 253;

/// What a reverse lookup says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Host {
    /// The name has the address.
    Confirmed(String),
    /// The name does not: whoever has the address chose it, and may have chosen anybody's.
    Claimed(String),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Confirmed(name) => f.write_str(&tame(name)),
            Self::Claimed(name) => write!(f, "{} (unconfirmed)", tame(name)),
        }
    }
}

/// Asks about all `addresses` and puts the answers into `hosts`, until `limit` is over. Tells how many went unanswered.
///
/// The C library's resolver cannot be interrupted: a question that is still under way then is left to its thread, which
/// asks nothing more.
pub(super) fn resolve(
    addresses: Vec<IpAddr>,
    limit: Duration,
    hosts: &mut HashMap<IpAddr, Option<Host>>,
) -> usize {
    let deadline = Instant::now() + limit;
    let (mut left, workers) = (addresses.len(), addresses.len().min(WORKERS));
    let waiting = Arc::new(Mutex::new(VecDeque::from(addresses)));
    let (answers, answered) = mpsc::channel();
    for _ in 0..workers {
        let (waiting, answers) = (Arc::clone(&waiting), answers.clone());
        // Where there are no more threads to be had, those that there are do it.
        let _ = thread::Builder::new().spawn(move || work(&waiting, &answers, deadline));
    }
    drop(answers);
    while left > 0 {
        match answered.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok((address, host)) => {
                left -= 1;
                hosts.insert(address, host);
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    left
}

fn work(waiting: &Mutex<VecDeque<IpAddr>>, answers: &Sender<(IpAddr, Option<Host>)>, deadline: Instant) {
    while Instant::now() < deadline {
        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some(address) = next else { return };
        if answers.send((address, ask(address))).is_err() {
            return;
        }
    }
}

fn ask(address: IpAddr) -> Option<Host> {
    let name = dns_lookup::lookup_addr(&address).ok()?;
    let name = hostname(&name)?;
    let confirmed = dns_lookup::lookup_host(name).is_ok_and(|mut all| all.any(|one| one == address));
    let name = name.to_owned();
    Some(if confirmed { Host::Confirmed(name) } else { Host::Claimed(name) })
}

/// The name in what a name server answered, if it can be one. A name that ends in a number is an address to the
/// resolver (`0x7f.1`, `2130706433`), which would confirm itself.
fn hostname(answer: &str) -> Option<&str> {
    let name = answer.strip_suffix('.').unwrap_or(answer);
    let last = name.rsplit('.').next().unwrap_or_default();
    let number = last.chars().all(|letter| letter.is_ascii_digit())
        || last.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("0x"));
    let address = number || name.contains(':');
    (!name.is_empty() && name.len() <= LONGEST && !address).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_resolver_would_take_for_an_address_is_no_name() {
        for text in
            ["", ".", "192.0.2.7", "2130706433", "0x7f.1", "a.0X7F000001", "2001:db8::1", "1.example.7"]
        {
            assert_eq!(hostname(text), None, "{text}");
        }
        assert_eq!(hostname(&"a.".repeat(127)), None.or(Some("a.".repeat(127).trim_end_matches('.'))));
        assert_eq!(hostname(&"a".repeat(254)), None);
        for (text, name) in [("www.example.org.", "www.example.org"), ("-", "-"), ("x0x", "x0x")] {
            assert_eq!(hostname(text), Some(name));
        }
    }

    #[test]
    fn an_unconfirmed_name_says_so_and_none_can_act_on_the_terminal() {
        let host = |name: &str| Host::Claimed(name.to_owned()).to_string();
        assert_eq!(host("www.example.org"), "www.example.org (unconfirmed)");
        assert_eq!(host("\u{1b}]0;x\u{7}\u{202e}"), r"\u{1b}]0;x\u{7}\u{202e} (unconfirmed)");
        assert_eq!(Host::Confirmed("a".repeat(253)).to_string().chars().count(), 64);
    }

    #[test]
    fn the_loopback_address_has_a_name_that_leads_back_and_many_questions_are_all_answered() {
        let mut hosts = HashMap::new();
        let local = IpAddr::from([127, 0, 0, 1]);
        assert_eq!(resolve(vec![local], Duration::from_secs(20), &mut hosts), 0);
        let Some(Some(Host::Confirmed(name))) = hosts.get(&local) else { panic!("{hosts:?}") };
        assert!(name.starts_with("localhost"), "{name}");
    }

    #[test]
    fn after_the_limit_nobody_is_waited_for() {
        let mut hosts = HashMap::new();
        let many = (0..200).map(|number| IpAddr::from([127, 0, 0, number])).collect();
        assert_eq!(resolve(many, Duration::ZERO, &mut hosts) + hosts.len(), 200);
    }
}
