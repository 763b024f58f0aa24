//! Captures: NFLOG records as the daemon sees them, frames of an interface as nobody has judged them.

use std::io::{self, BufRead};

use super::conversations::{Conversations, OpenPorts};
use super::{Place, Replay, ReplayError, broken};
use crate::capture::pcap::reassembly::{Outcome, Reassembly};
use crate::capture::pcap::{Record, Records};
use crate::decode::{self, Frame, LinkType, Undecoded};
use crate::detect::class::Exemption;
use crate::packet::{Observation, Packet, Verdict};
use crate::time::Stamp;

/// What one pass over a capture of an interface keeps.
#[derive(Default)]
struct Interface {
    conversations: Conversations,
    reassembly: Reassembly,
}

impl Interface {
    /// The packet of a frame, put together where it is a fragment; none while others are missing.
    fn whole(&mut self, frame: &Frame<'_>, at: std::time::Duration) -> Result<Option<Packet>, Undecoded> {
        if frame.packet.fragment.is_none() {
            return Ok(Some(frame.packet));
        }
        match self.reassembly.insert(frame.octets, &frame.packet, at) {
            Outcome::Whole(whole) => decode::ip(&whole.octets, Some(whole.wire_length)).map(Some),
            Outcome::Waiting | Outcome::Discarded(_) => Ok(None),
        }
    }
}

/// The ports that answer anywhere in the capture.
fn open_ports(capture: impl BufRead) -> OpenPorts {
    let (mut open, mut interface) = (OpenPorts::default(), Interface::default());
    let Ok(mut records) = Records::new(capture) else { return open };
    // Where the file breaks off, the pass that counts says so.
    while let Ok(Some(record)) = records.read() {
        let at = std::time::Duration::from_nanos(u64::try_from(record.wall_ns).unwrap_or_default());
        if let Ok(frame) = decode::frame(record.link_type, record.octets, Some(record.wire_length))
            && let Ok(Some(packet)) = interface.whole(&frame, at)
        {
            let reply = interface.conversations.is_reply(&packet);
            open.learn(&packet, reply);
        }
    }
    open
}

impl Replay<'_> {
    /// Reads a capture; `again` opens it a second time.
    pub(super) fn frames<R: BufRead, S: BufRead>(
        &mut self,
        name: &str,
        capture: R,
        again: impl FnOnce() -> io::Result<S>,
    ) -> Result<(), ReplayError> {
        let mut records = Records::new(capture).map_err(|error| broken(name, &error))?;
        let mut interface = Interface::default();
        let mut again = Some(again);
        let mut open = OpenPorts::default();
        while let Some(record) = records.read().map_err(|error| broken(name, &error))? {
            let of_nflog = record.link_type == LinkType::NFLOG;
            if let (false, Some(again)) = (of_nflog, again.take_if(|_| !of_nflog)) {
                open = open_ports(again().map_err(|error| broken(name, &error))?);
            }
            let at = self.stamp(record.wall_ns);
            self.record(name, &record, at, &mut interface, &open)?;
        }
        Ok(())
    }

    fn record(
        &mut self,
        name: &str,
        record: &Record<'_>,
        at: Stamp,
        interface: &mut Interface,
        open: &OpenPorts,
    ) -> Result<(), ReplayError> {
        let place = Place { input: name, unit: "record", number: record.number };
        let frame = match decode::frame(record.link_type, record.octets, Some(record.wire_length)) {
            Ok(frame) => frame,
            Err(why) => return self.undecoded(&place, &why.as_str()),
        };
        let observe = |packet, verdict| Observation {
            packet,
            verdict,
            pkttype: frame.pkttype,
            iif: "",
            oif: "",
            prefix: frame.prefix.unwrap_or_default(),
        };
        if record.link_type == LinkType::NFLOG {
            let verdict = Verdict::from_prefix(frame.prefix.unwrap_or_default()).unwrap_or_default();
            return self.observe(&observe(frame.packet, verdict), at);
        }
        match interface.whole(&frame, at.boot) {
            Ok(Some(packet)) if interface.conversations.is_reply(&packet) => {
                self.pass_over(Exemption::Answer, at)
            }
            Ok(Some(packet)) if open.contains(&packet) => self.pass_over(Exemption::Listening, at),
            Ok(Some(packet)) => self.observe(&observe(packet, Verdict::Undecided), at),
            Ok(None) => self.pass_over(Exemption::Fragment, at),
            Err(why) => self.undecoded(&place, &why.as_str()),
        }
    }
}
