//! What happens, in order. Whatever is told was looked at first; the kernel's side is read from the kernel.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::attacker::{self, Attacker, MOMENT, Reply};
use super::daemon::Daemon;
use super::lab::{self, ATTACKER4, ATTACKER6, ATTACKER6_TOO, Network, OPEN, VICTIM4, VICTIM6};
use super::sandbox::Inside;
use super::sets::{self, Element};
use super::story::{Story, Who};
use super::wire::Flags;
use super::{DemoError, Options};
use crate::control::protocol::Count;
use crate::decide::Measure;
use crate::enforce::{Enforcer as _, Kernel, Settings};
use crate::event::runs;
use crate::report::json::Incident;
use crate::report::ports::PortRanges;
use crate::report::target::Target;
use crate::report::text::count;
use crate::time::format_duration;

/// For how long a source is restricted here: long enough to look at, short enough to wait for.
const BAN: Duration = Duration::from_secs(4);
/// How long anything may take that is expected to come, besides the ban's own time.
const LIMIT: Duration = Duration::from_secs(3);
/// The kernel's timeouts run on ticks (HZ is 100 at least), and the first look is a moment after the element came.
const TICKS: Duration = Duration::from_millis(50);

/// One act: who probes whom how, and what must come of it.
struct Act {
    title: &'static str,
    /// A probe, in a word.
    probe: &'static str,
    flags: Flags,
    /// Closed ports that are not yet enough.
    first: &'static [u16],
    /// The one that is.
    last: u16,
    /// Others, once it is too late for them.
    further: &'static [u16],
    rule: &'static str,
    /// The rule that counts them, and what each port weighs in it.
    counter: &'static str,
    weight: u64,
    /// The set the element goes into, and whom it stands for.
    set: &'static str,
    source: &'static str,
}

/// Each port weighs 3 of the 24 that make a scan, and the published ones that are tried first are two of the eight: a SYN
/// that is made by hand counts even where it is answered, once three closed ports have been tried.
const IPV4: Act = Act {
    title: "IPv4: a half-open scan (SYN and never a connection, as nmap -sS does)",
    probe: "SYN",
    flags: Flags::SYN,
    first: &[21, 23, 53, 111, 135],
    last: 445,
    further: &[25, 143, 993, 1433, 1723, 3306, 3389, 5432, 5900, 6379, 8080, 8443],
    rule: "tcp-syn-scan",
    counter: "tcp-port-scan",
    weight: 3,
    set: "restrict4",
    source: "198.51.100.7",
};

/// Three such segments are enough: no honest stack sends even one.
const IPV6: Act = Act {
    title: "IPv6: a NULL scan (segments without any flag, as nmap -sN does)",
    probe: "NULL segments",
    flags: Flags::NULL,
    first: &[21, 23],
    last: 25,
    further: &[53, 110, 143, 445, 3389, 8080],
    rule: "tcp-null-scan",
    counter: "tcp-null-scan",
    weight: 1,
    set: "restrict6",
    source: "2001:db8:bad::/64",
};

const PICTURE: &str = "
     attacker                 gateway                  victim
     198.51.100.7        ─────────┴─────────      192.0.2.1
     2001:db8:bad::7                              2001:db8:1::1";

/// Plays it all.
pub(super) fn play(options: &Options, inside: &Inside, out: &mut dyn Write) -> Result<(), DemoError> {
    let mut story = Story::new(out, options.screen);
    story.say(
        "nfban demo: two port scans, their detection, what becomes of the scanner, and its end. The packets, the \
         firewall and the bans are real, on this machine's kernel, in private network namespaces.",
    )?;
    story.draw(PICTURE)?;
    story.scene("The stage")?;
    lab::kernel_suffices()?;
    let network = lab::connect()?;
    lab::listen()?;
    let ruleset = lab::load_firewall(options.firewall, inside.folder())?;
    story.tell(
        Who::Victim,
        &format!(
            "loads {ruleset}: publishes tcp 22, 80 and 443 and refuses the rest; NFLOG group 100 gets what it \
             refuses, 101 the first packets of what it accepts"
        ),
    )?;
    let daemon = Daemon::start(inside.folder(), BAN)?;
    story.tell(Who::Victim, "starts nfban run, which answers on its control socket")?;
    let mut stage = Stage { story, daemon, kernel: open_kernel()?, slowest: Duration::ZERO };
    let mut four = Attacker::new(&network, ATTACKER4, VICTIM4)?;
    let mut six = Attacker::new(&network, ATTACKER6, VICTIM6)?;
    stage.first_look(&mut [&mut four, &mut six])?;

    let ban4 = stage.scan(&IPV4, &mut four)?;
    let ban6 = stage.scan(&IPV6, &mut six)?;
    stage.not_from_next_door(&network)?;

    stage.story.scene("The end of it, without anybody acting")?;
    stage.wait_for_end(&IPV4, ban4, &mut four)?;
    stage.wait_for_end(&IPV6, ban6, &mut six)?;
    stage.nothing_is_held()?;
    stage.close()
}

fn open_kernel() -> Result<Kernel, DemoError> {
    // Only the name of the table matters for looking at it.
    let settings = Settings {
        owner: false,
        table: "nfban".to_owned(),
        services: Vec::new(),
        protected: Vec::new(),
        conntrack: true,
        trap: None,
        size: 0,
    };
    Kernel::open(&settings).map_err(|error| DemoError::step("open a netlink socket", error))
}

/// What all acts are played with.
struct Stage<'a> {
    story: Story<'a>,
    daemon: Daemon,
    kernel: Kernel,
    /// The longest time from a deciding probe to the element.
    slowest: Duration,
}

impl Stage<'_> {
    /// Before anything happened: what is published answers, and so do pings.
    fn first_look(&mut self, attackers: &mut [&mut Attacker<'_>]) -> Result<(), DemoError> {
        for attacker in attackers {
            let start = Instant::now();
            // The cable needs a moment until it carries packets.
            while !attacker.ping(MOMENT)? {
                holds(start.elapsed() < LIMIT, || format!("{} is reached by ping", attacker.victim))?;
            }
            for port in OPEN {
                holds(attacker.connects(port)?, || {
                    format!("{} accepts connections to port {port}", attacker.victim)
                })?;
            }
        }
        self.story.tell(
            Who::Attacker,
            "can ping the victim and connects to its ports 22 and 80, over IPv4 and IPv6",
        )?;
        Ok(())
    }

    /// One scan from its first probe to the packets that are dropped. Gives the moment when the element was seen.
    fn scan(&mut self, act: &Act, attacker: &mut Attacker<'_>) -> Result<Instant, DemoError> {
        self.story.scene(act.title)?;
        self.probe_below_the_threshold(act, attacker)?;
        let sent = attacker.send(act.last, act.flags)?;
        let seen = self.wait_for_element(act)?;
        self.story.tell(Who::Attacker, &format!("sends one more, to port {}", act.last))?;
        self.tell_incident(act)?;
        let delay = seen - sent;
        self.slowest = self.slowest.max(delay);
        let element = held_element(act)?;
        self.story.tell(
            Who::Kernel,
            &format!("holds in set {}, within {} of that probe:", act.set, milliseconds(delay)),
        )?;
        self.story.quote(&element.text)?;
        self.probe_in_vain(act, attacker, &element)?;
        self.connect_all_the_same(attacker)?;
        Ok(seen)
    }

    fn probe_below_the_threshold(&mut self, act: &Act, attacker: &Attacker<'_>) -> Result<(), DemoError> {
        for &port in act.open() {
            let reply = attacker.probe(port, act.flags, attacker::LIMIT)?;
            holds(reply == Reply::Open, || {
                format!("port {port} answers {} with SYN+ACK: {reply:?}", act.probe)
            })?;
        }
        if !act.open().is_empty() {
            self.story
                .tell(Who::Attacker, &format!("sends {} to ports {}: open", act.probe, ports(act.open())))?;
        }
        all_silent(act, attacker, act.first)?;
        self.story
            .tell(Who::Attacker, &format!("sends {} to ports {}: no answer", act.probe, ports(act.first)))?;
        let sent = number(act.open().len() + act.first.len()) * act.weight;
        let counted = |stage: &mut Self| Ok(stage.count(act)?.is_some_and(|count| count.count == sent));
        self.wait(counted, || format!("nfban counts the ports as {sent} of a {}", act.counter))?;
        let threshold = self.count(act)?.map_or(0, |count| count.threshold);
        holds(sent < threshold, || format!("{sent} of {threshold} make no {}", act.rule))?;
        holds(self.incident(act)?.is_none(), || "these ports are no incident yet".to_owned())?;
        holds(sets::element(act.set)?.is_none(), || format!("these ports put nothing into {}", act.set))?;
        let counted = act.below_the_threshold();
        self.story.tell(
            Who::Nfban,
            &format!("has counted {counted}: {sent} of {threshold}, no scan yet, nothing is done"),
        )?;
        Ok(())
    }

    fn tell_incident(&mut self, act: &Act) -> Result<(), DemoError> {
        let told = |stage: &mut Self| Ok(stage.incident(act)?.is_some());
        self.wait(told, || format!("nfban reports a {} from {}", act.rule, act.source))?;
        let Some(incident) = self.incident(act)? else { return Ok(()) };
        let mut expected = [act.open(), act.first, &[act.last]].concat();
        expected.sort_unstable();
        holds(incident.ports == expected, || {
            format!("the incident's ports are {}: they are {}", ports(&expected), ports(&incident.ports))
        })?;
        self.story.tell(
            Who::Nfban,
            &format!(
                "incident {} from {}: {}, {}; restricts it for {}",
                incident.rule,
                incident.source,
                count(incident.packets, "packet", "packets"),
                format_args!("ports {}", ports(&incident.ports)),
                format_duration(BAN),
            ),
        )?;
        Ok(())
    }

    /// Everything from the source that is not published is dropped, and the kernel has counted it.
    fn probe_in_vain(
        &mut self,
        act: &Act,
        attacker: &mut Attacker<'_>,
        before: &Element,
    ) -> Result<(), DemoError> {
        all_silent(act, attacker, act.further)?;
        holds(!attacker.ping(MOMENT)?, || format!("a ping from {} is dropped", attacker.address))?;
        let probes = number(act.further.len());
        self.story.tell(
            Who::Attacker,
            &format!("sends {} to {probes} other ports, and a ping: no answer to any", act.probe),
        )?;
        let sent = probes + 1;
        self.wait_until_dropped(act, before, sent)?;
        let (from, to) = (before.packets, before.packets + sent);
        self.story.tell(
            Who::Kernel,
            &format!("has dropped those {sent} packets: the element's counter went from {from} to {to}"),
        )?;
        Ok(())
    }

    /// The element's counter has gone up by just what was `sent` since `before`.
    fn wait_until_dropped(&mut self, act: &Act, before: &Element, sent: u64) -> Result<(), DemoError> {
        let dropped = || Ok::<_, DemoError>(held_element(act)?.packets - before.packets);
        self.wait(
            |_| Ok(dropped()? >= sent),
            || format!("the kernel drops {sent} packets of {}", act.source),
        )?;
        let dropped = dropped()?;
        holds(dropped == sent, || {
            format!("the kernel drops {sent} packets and no others: it dropped {dropped}")
        })
    }

    /// The point of `restrict`: a source address can be forged, and its owner must not lose what is published.
    fn connect_all_the_same(&mut self, attacker: &Attacker<'_>) -> Result<(), DemoError> {
        for port in OPEN {
            holds(attacker.connects(port)?, || {
                format!("the restricted {} still connects to the published port {port}", attacker.address)
            })?;
        }
        self.story
            .tell(Who::Victim, "still serves 22 and 80 to that address: a forged source locks nobody out")?;
        Ok(())
    }

    /// An IPv6 source is a /64: its other addresses are no way round.
    fn not_from_next_door(&mut self, network: &Network) -> Result<(), DemoError> {
        let mut neighbour = Attacker::new(network, ATTACKER6_TOO, VICTIM6)?;
        let before = held_element(&IPV6)?;
        holds(!neighbour.ping(MOMENT)?, || format!("a ping from {ATTACKER6_TOO} is dropped"))?;
        self.wait_until_dropped(&IPV6, &before, 1)?;
        self.story
            .tell(Who::Attacker, &format!("pings from {ATTACKER6_TOO}, of the same /64: dropped too"))?;
        Ok(())
    }

    fn wait_for_end(
        &mut self,
        act: &Act,
        since: Instant,
        attacker: &mut Attacker<'_>,
    ) -> Result<(), DemoError> {
        while self.holds_element(act)? {
            let late = since.elapsed() > BAN + LIMIT;
            holds(!late, || format!("the element of {} is gone after {}", act.source, format_duration(BAN)))?;
            thread::sleep(Duration::from_millis(5));
        }
        let lasted = since.elapsed();
        holds(lasted + TICKS >= BAN, || {
            format!(
                "the element of {} stays {}: it stayed {}",
                act.source,
                format_duration(BAN),
                seconds(lasted)
            )
        })?;
        holds(sets::element(act.set)?.is_none(), || format!("set {} is empty again", act.set))?;
        let gone =
            format!("no longer holds {}: gone by itself, {} after it came", act.source, seconds(lasted));
        self.story.tell(Who::Kernel, &gone)?;
        holds(attacker.ping(attacker::LIMIT)?, || {
            format!("a ping from {} is answered again", attacker.address)
        })?;
        self.story.tell(Who::Attacker, &format!("pings from {}: answered again", attacker.address))?;
        Ok(())
    }

    fn nothing_is_held(&mut self) -> Result<(), DemoError> {
        let none = |stage: &mut Self| Ok(stage.daemon.bans()?.is_empty());
        self.wait(none, || "nfban lists no bans any more".to_owned())?;
        self.story.tell(Who::Nfban, "lists no bans any more")?;
        Ok(())
    }

    fn close(&mut self) -> Result<(), DemoError> {
        let took = self.story.elapsed().as_secs_f64();
        self.story.scene(&format!("Shown in {took:.1} s, each line checked before it was told"))?;
        self.story.say(&format!(
            "Two scans seen and named, each source cut off within {} of the probe that decided it, what is \
             published served all the same, and both let in again on time. Nothing of it stays on this machine.",
            milliseconds(self.slowest)
        ))?;
        self.story.draw("")?;
        self.story.say(
            "Next: give your firewall the log rules of examples/nftables, write `mode: watch` into \
             /etc/nfban/nfban.yaml, start nfban run, and look at nfban status.",
        )?;
        Ok(())
    }

    /// How near the daemon says this act's source is to a scan.
    fn count(&self, act: &Act) -> Result<Option<Count>, DemoError> {
        let counts = self.daemon.known_of(act.target())?.counts;
        Ok(counts.into_iter().find(|count| count.rule == act.counter))
    }

    /// The incident that the daemon reports of this act.
    fn incident(&self, act: &Act) -> Result<Option<Incident>, DemoError> {
        let incidents = self.daemon.status()?.recent_incidents;
        Ok(incidents
            .into_iter()
            .find(|incident| incident.source == act.target() && incident.rule == act.rule))
    }

    /// Whether the kernel holds the act's source, asked in the fastest way.
    fn holds_element(&mut self, act: &Act) -> Result<bool, DemoError> {
        let held = self.kernel.held().map_err(|error| DemoError::step("read the kernel's sets", error))?;
        let source = act.target().0;
        Ok(held.iter().any(|held| held.target == source && held.measure == Measure::Restrict))
    }

    fn wait_for_element(&mut self, act: &Act) -> Result<Instant, DemoError> {
        let start = Instant::now();
        while !self.holds_element(act)? {
            holds(start.elapsed() < LIMIT, || {
                format!("the kernel holds {} after the last probe", act.source)
            })?;
            // Short, because what is measured is told.
            thread::sleep(Duration::from_micros(50));
        }
        Ok(Instant::now())
    }

    fn wait(
        &mut self,
        mut condition: impl FnMut(&mut Self) -> Result<bool, DemoError>,
        what: impl Fn() -> String,
    ) -> Result<(), DemoError> {
        let start = Instant::now();
        while !condition(self)? {
            holds(start.elapsed() < LIMIT, &what)?;
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }
}

impl Act {
    /// The open ports that are tried first: only a SYN is answered there.
    fn open(&self) -> &'static [u16] {
        if self.flags == Flags::SYN { &OPEN } else { &[] }
    }

    /// What was tried so far, in words.
    fn below_the_threshold(&self) -> String {
        match (self.open().len(), self.first.len()) {
            (0, closed) => format!("{closed} closed ports"),
            (open, closed) => format!("{open} open ports and {closed} closed ones"),
        }
    }

    fn target(&self) -> Target {
        // The texts above are addresses and prefixes; a test says so.
        self.source.parse().unwrap_or(Target(IpNet::from(ATTACKER4)))
    }
}

/// A fact that is shown; what it says when it is none.
fn holds(fact: bool, what: impl FnOnce() -> String) -> Result<(), DemoError> {
    if fact { Ok(()) } else { Err(DemoError::NotSo(what())) }
}

fn held_element(act: &Act) -> Result<Element, DemoError> {
    sets::element(act.set)?
        .ok_or_else(|| DemoError::NotSo(format!("nft lists {} in set {}", act.source, act.set)))
}

fn all_silent(act: &Act, attacker: &Attacker<'_>, ports: &[u16]) -> Result<(), DemoError> {
    for &port in ports {
        let reply = attacker.probe(port, act.flags, MOMENT)?;
        holds(reply == Reply::Silence, || format!("port {port} does not answer {}: {reply:?}", act.probe))?;
    }
    Ok(())
}

fn ports(ports: &[u16]) -> String {
    let sorted: Vec<u16> = ports.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
    PortRanges(runs(&sorted).collect()).describe(number(sorted.len()), sorted.len())
}

fn seconds(duration: Duration) -> String {
    format!("{:.2}\u{a0}s", duration.as_secs_f64())
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.1}\u{a0}ms", duration.as_secs_f64() * 1000.0)
}

fn number(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_acts_name_sources_that_their_attackers_have() {
        for (act, address) in [(IPV4, ATTACKER4), (IPV6, ATTACKER6), (IPV6, ATTACKER6_TOO)] {
            let target: Target = act.source.parse().unwrap();
            assert_eq!(target, act.target());
            assert!(target.0.contains(&address));
        }
    }

    #[test]
    fn no_act_probes_a_port_twice_or_a_published_one() {
        for act in [IPV4, IPV6] {
            let mut ports = [act.first, &[act.last], act.further, &[22, 80, 443]].concat();
            let all = ports.len();
            ports.sort_unstable();
            ports.dedup();
            assert_eq!(ports.len(), all, "{}", act.title);
        }
    }
}
