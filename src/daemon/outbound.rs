//! An alarm for each scan that begins here: which of our hosts it is and, of this host, which process.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use tracing::warn;

use crate::event::{Event, Incident};
use crate::host::{Culprit, HostFacts};
use crate::report::target::Target;

/// The id under which such scans are told.
const RULE: &str = "outbound-scan";

/// The searches for processes. They take a second each, so they have a thread; one at a time, so that scans cannot make
/// the host search all the time. Readable when one has ended.
pub(super) struct Searches {
    wake: UnixStream,
    ring: UnixStream,
    found: Receiver<String>,
    tell: Sender<String>,
    running: bool,
}

impl AsFd for Searches {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

impl Searches {
    pub(super) fn new() -> io::Result<Self> {
        let (wake, ring) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        ring.set_nonblocking(true)?;
        let (tell, found) = channel();
        Ok(Self { wake, ring, found, tell, running: false })
    }

    /// What is to be told at once of an incident that opens. `None` if it is no scan of ours, or the process is looked for.
    pub(super) fn begin(&mut self, event: &Event, host: &HostFacts) -> Option<String> {
        let Event::Incident(incident) = event else { return None };
        if incident.rule != RULE {
            return None;
        }
        let who = format!("{RULE} from {}", Target(incident.source));
        if !host.addresses.iter().any(|ours| incident.source.contains(&ours.address)) {
            return Some(format!("{who}, a host behind this one"));
        }
        if self.running {
            return Some(format!("{who}, this host; another scan's process is still being looked for"));
        }
        match self.search(incident.as_ref().clone(), who) {
            Ok(()) => {
                self.running = true;
                None
            }
            Err(error) => {
                warn!("cannot start a thread that looks for the process: {error}");
                Some(format!("{RULE} from {}, this host", Target(incident.source)))
            }
        }
    }

    fn search(&self, incident: Incident, who: String) -> io::Result<()> {
        let (tell, mut ring) = (self.tell.clone(), self.ring.try_clone()?);
        let search = move || {
            let what = match Culprit::find(&incident) {
                Some(culprit) => format!("{who}, this host: {culprit}"),
                None => format!("{who}, this host; no socket of the scan is left to find its process by"),
            };
            // The daemon has ended where nobody takes it.
            let _ = tell.send(what);
            let _ = ring.write(&[0]);
        };
        thread::Builder::new().name("culprit".to_owned()).spawn(search).map(drop)
    }

    /// What a search has found, once it has ended.
    pub(super) fn ended(&mut self) -> Option<String> {
        let what = self.found.try_recv().ok()?;
        let mut drain = [0; 8];
        while matches!(self.wake.read(&mut drain), Ok(1..)) {}
        self.running = false;
        Some(what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::Evidence;
    use crate::event::IncidentId;
    use crate::host::Address;
    use crate::time::Stamp;

    fn incident(rule: &str, source: &str) -> Event {
        let now = Stamp { boot: std::time::Duration::ZERO, wall_us: 0 };
        Event::Incident(Box::new(Incident {
            id: IncidentId(1),
            rule: rule.to_owned(),
            source: source.parse().unwrap(),
            evidence: Evidence::Spoofable,
            first_seen: now,
            last_seen: now,
            time: now,
            destinations: Vec::new(),
            distinct_destinations: 0,
            ports: Vec::new(),
            distinct_ports: 0,
            protocols: Vec::new(),
            addresses: 1,
            packets: 1,
            bytes: 60,
            port_ranges: Vec::new(),
            source_ports: Vec::new(),
            distinct_source_ports: 0,
            tool: None,
            probes: Vec::new(),
        }))
    }

    #[test]
    fn a_host_behind_is_told_at_once_and_of_this_one_a_process_is_looked_for_once_at_a_time() {
        let address = Address { address: [192, 0, 2, 5].into(), prefix_length: 24, ifindex: 2 };
        let host = HostFacts { addresses: vec![address], ..HostFacts::default() };
        let mut searches = Searches::new().unwrap();
        assert_eq!(searches.begin(&incident("tcp-syn-scan", "192.0.2.5/32"), &host), None);
        assert!(!searches.running);
        assert_eq!(
            searches.begin(&incident(RULE, "192.0.2.77/32"), &host).unwrap(),
            "outbound-scan from 192.0.2.77, a host behind this one"
        );
        assert_eq!(searches.begin(&incident(RULE, "192.0.2.5/32"), &host), None);
        assert!(searches.running);
        let second = searches.begin(&incident(RULE, "192.0.2.5/32"), &host).unwrap();
        assert!(second.starts_with("outbound-scan from 192.0.2.5, this host;"), "{second}");
    }
}
