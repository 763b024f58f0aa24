//! Captures: NFLOG records as the daemon sees them, frames of an interface as nobody has judged them.

use std::time::Duration;

use ipnet::IpNet;

use super::conversations::{Conversations, OpenPorts};
use super::spool::Capture;
use super::{Place, Replay, ReplayError, broken};
use crate::address::AddressSet;
use crate::capture::pcap::reassembly::{Outcome, Reassembly};
use crate::capture::pcap::{Record, Records};
use crate::decode::{self, Frame, LinkType, Undecoded};
use crate::detect::class::Exemption;
use crate::packet::{Observation, Packet, Verdict};
use crate::time::Stamp;

/// What is kept of the packets of interfaces, over all inputs: tcpdump -C and -G write one capture into several files.
#[derive(Default)]
pub(super) struct Interface {
    conversations: Conversations,
    reassembly: Reassembly,
    open: OpenPorts,
    /// What is ours.
    home: AddressSet,
}

impl Interface {
    /// With the prefixes that are ours.
    pub(super) fn new(home: &[IpNet]) -> Self {
        Self { home: home.iter().copied().collect(), ..Self::default() }
    }

    /// What a packet that opens something is to us.
    fn verdict(&self, packet: &Packet) -> Verdict {
        let leaves = self.home.contains(packet.saddr) && !self.home.contains(packet.daddr);
        if leaves { Verdict::Outbound } else { Verdict::Undecided }
    }

    /// The packet of a frame, put together where it is a fragment; none while others are missing.
    fn whole(&mut self, frame: &Frame<'_>, at: Duration) -> Result<Option<Packet>, Undecoded> {
        if frame.packet.fragment.is_none() {
            return Ok(Some(frame.packet));
        }
        match self.reassembly.insert(frame.octets, &frame.packet, at) {
            Outcome::Whole(whole) => decode::ip(&whole.octets, Some(whole.wire_length)).map(Some),
            Outcome::Waiting | Outcome::Discarded(_) => Ok(None),
        }
    }
}

impl Replay<'_> {
    /// Reads a capture.
    pub(super) fn frames(&mut self, capture: &Capture) -> Result<(), ReplayError> {
        let mut input = capture.open()?;
        let name = input.name().to_owned();
        let progress = input.progress();
        self.audience.opened(&name, progress.clone());
        let mut records = Records::new(&mut input).map_err(|error| broken(&name, &error))?;
        let mut looked_ahead = false;
        while let Some(record) = records.read().map_err(|error| broken(&name, &error))? {
            if record.link_type != LinkType::NFLOG && !looked_ahead {
                looked_ahead = true;
                self.look_ahead(capture)?;
                self.audience.opened(&name, progress.clone());
            }
            let at = self.stamp(record.wall_ns);
            self.record(&name, &record, at)?;
        }
        Ok(())
    }

    /// Learns the ports that answer anywhere in the capture, before the first packet to one of them is judged.
    fn look_ahead(&mut self, capture: &Capture) -> Result<(), ReplayError> {
        let input = capture.open()?;
        self.audience.opened(input.name(), input.progress());
        let mut interface = Interface::default();
        // Where the file breaks off, the pass that judges says so.
        let Ok(mut records) = Records::new(input) else { return Ok(()) };
        while let Ok(Some(record)) = records.read() {
            self.tick();
            let at = Duration::from_nanos(u64::try_from(record.wall_ns).unwrap_or_default());
            if let Ok(frame) = decode::frame(record.link_type, record.octets, Some(record.wire_length))
                && let Ok(Some(packet)) = interface.whole(&frame, at)
            {
                let reply = interface.conversations.is_reply(&packet);
                self.interface.open.learn(&packet, reply);
            }
        }
        Ok(())
    }

    fn record(&mut self, name: &str, record: &Record<'_>, at: Stamp) -> Result<(), ReplayError> {
        self.tick();
        let place = Place { input: name, unit: "record", number: record.number };
        let frame = match decode::frame(record.link_type, record.octets, Some(record.wire_length)) {
            Ok(frame) => frame,
            // ARP, LLDP and the like are understood well enough: as lines of other programs are.
            Err(Undecoded::NotIp) => return Ok(()),
            Err(why) => return self.undecoded(&place, &why.as_str()),
        };
        self.packets += 1;
        let observe = |packet, verdict| Observation {
            packet,
            verdict,
            pkttype: frame.pkttype,
            iif: "",
            oif: "",
            prefix: frame.prefix.unwrap_or_default(),
            fault: None,
        };
        if record.link_type == LinkType::NFLOG {
            let verdict = Verdict::from_prefix(frame.prefix.unwrap_or_default()).unwrap_or_default();
            return self.observe(&observe(frame.packet, verdict), at);
        }
        if frame.packet.fragment.is_some() {
            // As a group before defragmentation sees it, and like there before the packet that it may complete.
            self.observe(&observe(frame.packet, Verdict::Fragment), at)?;
        }
        let seen = &mut self.interface;
        match seen.whole(&frame, at.boot) {
            Ok(Some(packet)) if seen.conversations.is_reply(&packet) => self.pass_over(Exemption::Answer, at),
            Ok(Some(packet)) => match seen.verdict(&packet) {
                Verdict::Undecided if seen.open.contains(&packet) => self.pass_over(Exemption::Listening, at),
                verdict => self.observe(&observe(packet, verdict), at),
            },
            Ok(None) => Ok(()),
            Err(why) => self.undecoded(&place, &why.as_str()),
        }
    }
}
