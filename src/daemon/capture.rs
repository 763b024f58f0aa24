//! The configured captures: NFLOG groups on one socket, their packets decoded and given to the engine; queues; and text.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use tracing::{error, warn};

use super::queues::Queues;
use super::texts::Texts;
use super::{StartError, clock};
use crate::capture::nflog::{
    Capture, Delivery, Interfaces, OpenError, Progress, Receiver, Settings, Statistics,
};
use crate::config::{self, Config};
use crate::control::protocol;
use crate::decode::{self, Undecoded};
use crate::engine::{Action, Engine};
use crate::packet::{Observation, Verdict};

/// How long a group that another process holds is asked for again: a child between fork and exec holds ours for a moment.
const PATIENCE: Duration = Duration::from_millis(500);

/// One group with what the configuration says of it.
#[derive(Debug, Clone)]
struct Group {
    settings: Settings,
    verdict: Verdict,
    undecoded: u64,
}

/// All captures.
pub(super) struct Captures {
    capture: Option<Capture>,
    groups: Vec<Group>,
    interfaces: Interfaces,
    undecoded: [u64; Undecoded::ALL.len()],
    /// Whether packets came that nobody has judged, since it was last asked.
    undecided: bool,
    /// What earlier sockets of this run had counted, when groups were opened again.
    before: Statistics,
    queues: Queues,
    texts: Texts,
}

impl Captures {
    pub(super) fn open(captures: &[config::Capture]) -> Result<Self, StartError> {
        let interfaces =
            Interfaces::open().map_err(|error| StartError::needs("look up interface names", error))?;
        let groups = groups_of(captures);
        let texts = Texts::open(captures, None)?;
        let queues = Queues::open(captures)?;
        let capture = bind(captures, &groups).map_err(|error| match &error {
            error if error.is_permission() => StartError::NoPermission {
                what: "open the NFLOG groups".to_owned(),
                source: error.to_string().into(),
            },
            _ => StartError::needs("open the NFLOG groups", error),
        })?;
        // Such packets will come: what listens here is wanted before the first of them.
        let undecided = !queues.is_empty() || groups.iter().any(|group| group.verdict == Verdict::Undecided);
        let before = Statistics::default();
        Ok(Self { capture, groups, interfaces, undecoded: [0; _], undecided, before, queues, texts })
    }

    /// Captures something else; on failure what was captured before goes on.
    pub(super) fn replace(
        &mut self,
        new: &[config::Capture],
        old: &[config::Capture],
    ) -> Result<(), StartError> {
        let groups = groups_of(new);
        let texts = Texts::open(new, Some(&self.texts))?;
        self.queues.replace(new)?;
        self.undecided |= !self.queues.is_empty();
        self.close();
        match bind(new, &groups) {
            Ok(capture) => {
                self.capture = capture;
                self.groups = groups;
                self.texts.become_those(texts);
                Ok(())
            }
            Err(error) => {
                self.reopen(old);
                if let Err(error) = self.queues.replace(old) {
                    error!("cannot go back to the queues of the old configuration: {error}");
                }
                Err(StartError::needs("open the NFLOG groups", error))
            }
        }
    }

    /// Opens the same groups anew.
    pub(super) fn reopen(&mut self, captures: &[config::Capture]) {
        self.close();
        match bind(captures, &self.groups) {
            Ok(capture) => self.capture = capture,
            Err(error) => {
                error!(
                    "cannot open the NFLOG groups: {error}; no packets are seen until that succeeds; trying again"
                )
            }
        }
    }

    /// Whether groups are configured and none is bound.
    pub(super) fn is_closed(&self) -> bool {
        self.capture.is_none() && !self.groups.is_empty()
    }

    fn close(&mut self) {
        let Some(capture) = self.capture.take() else { return };
        let last = capture.statistics();
        self.before.overruns += last.overruns;
        for group in last.groups {
            match self.before.groups.iter_mut().find(|known| known.group == group.group) {
                Some(known) => {
                    known.packets += group.packets;
                    known.lost += group.lost;
                }
                None => self.before.groups.push(group),
            }
        }
    }

    pub(super) fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.capture.as_ref().map(AsFd::as_fd)
    }

    /// The captures whose packets wait for a verdict.
    pub(super) const fn queues(&mut self) -> &mut Queues {
        &mut self.queues
    }

    /// Readable when packets wait for a verdict.
    pub(super) fn queues_fd(&self) -> Option<BorrowedFd<'_>> {
        self.queues.as_fd()
    }

    /// Gives packets that wait their verdict, at most a bounded number of them.
    pub(super) fn receive_queued(
        &mut self,
        engine: &mut Engine,
        actions: &mut Vec<Action>,
    ) -> io::Result<()> {
        let Self { queues, interfaces, undecoded, undecided, .. } = self;
        let packets = queues.receive(interfaces, undecoded, engine, actions)?;
        *undecided |= packets > 0;
        Ok(())
    }

    /// What the configuration says of verdicts.
    pub(super) fn reconfigure(&mut self, config: &Config) {
        self.queues.reconfigure(config);
    }

    /// The captures that are text.
    pub(super) const fn texts(&self) -> &Texts {
        &self.texts
    }

    /// Takes in what there is of text, a bounded part of it.
    pub(super) fn receive_text(&mut self, engine: &mut Engine, actions: &mut Vec<Action>) {
        self.texts.receive(engine, actions);
    }

    /// Interfaces may have been renamed.
    pub(super) fn forget_interfaces(&mut self) {
        self.interfaces.forget();
    }

    /// Takes in what waits, at most a bounded number of datagrams, and tells whether more may wait.
    pub(super) fn receive(&mut self, engine: &mut Engine, actions: &mut Vec<Action>) -> io::Result<Progress> {
        let Self { capture, groups, interfaces, undecoded, undecided, .. } = self;
        let Some(capture) = capture else { return Ok(Progress::Drained) };
        let mut intake = Intake { groups, interfaces, undecoded, undecided, engine, actions };
        capture.receive(&mut intake)
    }

    /// Whether packets came that nobody has judged, since this was last asked.
    pub(super) const fn take_undecided(&mut self) -> bool {
        std::mem::replace(&mut self.undecided, false)
    }

    /// What was received so far, a line each.
    pub(super) fn all(&self) -> Vec<protocol::Capture> {
        self.groups_received().chain(self.queues.received()).chain(self.texts.received()).collect()
    }

    fn groups_received(&self) -> impl Iterator<Item = protocol::Capture> {
        let now = self.capture.as_ref().map(Capture::statistics).unwrap_or_default();
        let overruns = now.overruns + self.before.overruns;
        self.groups.iter().map(move |group| {
            let number = group.settings.group;
            let parts = now.groups.iter().chain(&self.before.groups).filter(|part| part.group == number);
            let (packets, lost) = parts.fold((0, 0), |sum, part| (sum.0 + part.packets, sum.1 + part.lost));
            protocol::Capture {
                source: format!("nflog:{number}"),
                verdict: group.verdict,
                packets,
                lost,
                overruns,
                undecoded: group.undecoded,
                verdicts: None,
                packets_per_s: None,
            }
        })
    }

    /// Packets that could not be decoded, by reason.
    pub(super) fn undecoded(&self) -> impl Iterator<Item = (Undecoded, u64)> {
        Undecoded::ALL.into_iter().zip(self.undecoded).filter(|(_, count)| *count > 0)
    }

    /// A line a capture for the log.
    pub(super) fn describe(&self) -> Vec<String> {
        let groups = self.groups.iter().map(|group| {
            let what = match group.verdict {
                Verdict::Refused => "packets that the firewall refuses",
                Verdict::Accepted => "first packets of connections that it accepts",
                Verdict::Invalid => "packets that connection tracking calls invalid",
                Verdict::Fragment => "fragments",
                Verdict::Outbound => "connections that this host opens",
                Verdict::Undecided => "packets before a verdict",
            };
            format!("NFLOG group {}: {what}", group.settings.group)
        });
        groups.chain(self.queues.describe()).chain(self.texts.describe()).collect()
    }
}

fn groups_of(captures: &[config::Capture]) -> Vec<Group> {
    let mut groups = Vec::new();
    for capture in captures {
        let config::Capture::Nflog(nflog) = capture else { continue };
        groups.extend(nflog.groups.iter().map(|&group| Group {
            settings: Settings {
                snaplen: u16::try_from(nflog.snaplen).unwrap_or(u16::MAX - 4),
                queue_threshold: nflog.queue_threshold,
                flush_timeout_cs: u32::try_from(nflog.flush_timeout.as_millis() / 10).unwrap_or(u32::MAX),
                ..Settings::new(group)
            },
            verdict: nflog.verdict,
            undecoded: 0,
        }));
    }
    groups
}

fn bind(captures: &[config::Capture], groups: &[Group]) -> Result<Option<Capture>, OpenError> {
    if groups.is_empty() {
        return Ok(None);
    }
    // One socket has one buffer: the largest that was asked for.
    let buffers = captures.iter().filter_map(|capture| match capture {
        config::Capture::Nflog(nflog) => usize::try_from(nflog.buffer).ok(),
        _ => None,
    });
    let buffer = buffers.max().unwrap_or(crate::capture::nflog::RECEIVE_BUFFER);
    let settings: Vec<Settings> = groups.iter().map(|group| group.settings.clone()).collect();
    let deadline = clock::now().boot + PATIENCE;
    let capture = loop {
        match Capture::open(&settings, buffer) {
            Err(OpenError::Taken { .. }) if clock::now().boot < deadline => {
                std::thread::sleep(Duration::from_millis(20));
            }
            result => break result?,
        }
    };
    let granted = capture.receive_buffer();
    if granted.granted < granted.asked {
        warn!(
            "the receive buffer is {} octets and not {}: packets of a burst may be lost (raise sysctl net.core.rmem_max)",
            granted.granted, granted.asked
        );
    }
    Ok(Some(capture))
}

/// Packets on their way from the kernel to the engine.
struct Intake<'a> {
    groups: &'a mut [Group],
    interfaces: &'a mut Interfaces,
    undecoded: &'a mut [u64],
    undecided: &'a mut bool,
    engine: &'a mut Engine,
    actions: &'a mut Vec<Action>,
}

impl Receiver for Intake<'_> {
    fn announce(&mut self, packets: &mut dyn Iterator<Item = Delivery<'_>>) {
        self.engine.anticipate(packets.filter_map(|delivery| decode::source(delivery.payload)));
    }

    fn packet(&mut self, delivery: Delivery<'_>) {
        let group = self.groups.iter_mut().find(|group| group.settings.group == delivery.group);
        let packet = match decode::ip(delivery.payload, None) {
            Ok(packet) => packet,
            Err(why) => {
                if let Some(count) = self.undecoded.get_mut(why.index()) {
                    *count += 1;
                }
                if let Some(group) = group {
                    group.undecoded += 1;
                }
                return;
            }
        };
        let by_group = group.map_or(Verdict::Refused, |group| group.verdict);
        let (iif, oif) = self.interfaces.names(delivery.iif, delivery.oif);
        let observation = Observation {
            packet,
            verdict: Verdict::from_prefix(delivery.prefix).unwrap_or(by_group),
            pkttype: delivery.pkttype(),
            iif,
            oif,
            prefix: delivery.prefix,
            fault: None,
        };
        *self.undecided |= observation.verdict == Verdict::Undecided;
        self.engine.observe(&observation, clock::now(), self.actions);
    }
}
