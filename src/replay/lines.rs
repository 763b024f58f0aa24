//! Text, a line a packet or a request: kernel LOG text, or the access log of a web server.

use super::{Place, Replay, ReplayError, broken};
use crate::capture::access_log;
use crate::capture::input::Input;
use crate::capture::log_text::{Decoder, LineTime, Lines, Outcome, Reason};
use crate::detect::class::Exemption;
use crate::time::Stamp;
use crate::web::Request;

/// What the lines of an input tell of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Packets,
    Requests,
}

impl Replay<'_> {
    pub(super) fn lines(&mut self, text: Input) -> Result<(), ReplayError> {
        let name = &text.name().to_owned();
        let mut lines = Lines::new(text);
        let mut decoder = Decoder::new();
        let mut requests = access_log::Decoder::new();
        let mut kind = None;
        let (mut said_something, mut is_a_log) = (0, false);
        while let Some(line) = lines.next_line().map_err(|error| broken(name, &error))? {
            self.tick();
            if line.text.is_some_and(|text| text.trim_ascii().is_empty()) {
                continue;
            }
            said_something += 1;
            let place = Place { input: name, unit: "line", number: line.number };
            // The first line that is understood says what all are: what a client put into a request is never a packet.
            if kind != Some(Kind::Packets)
                && let Some(text) = line.text
            {
                match requests.decode(text) {
                    Ok(request) => {
                        kind = Some(Kind::Requests);
                        (is_a_log, self.begun) = (true, true);
                        self.request(&request)?;
                        continue;
                    }
                    Err(why) if kind == Some(Kind::Requests) => {
                        self.undecoded(&place, &why)?;
                        continue;
                    }
                    Err(_) => {}
                }
            }
            let outcome = decoder.decode_line(line);
            let of_a_log = !matches!(outcome, Outcome::Malformed(Reason::NotALog));
            is_a_log |= of_a_log;
            kind = kind.or(of_a_log.then_some(Kind::Packets));
            self.begun |= of_a_log;
            match (outcome, line.text) {
                // Copied out of a page or a terminal, several entries stand on one line.
                (Outcome::Malformed(Reason::TwoPackets), Some(mut rest)) if split_entry(rest).is_some() => {
                    while let Some((entry, later)) = split_entry(rest) {
                        self.entry(&place, decoder.decode(entry))?;
                        rest = later;
                    }
                    self.entry(&place, decoder.decode(rest))?;
                }
                (outcome, _) => self.entry(&place, outcome)?,
            }
        }
        if said_something > 0 && !is_a_log {
            return Err(ReplayError::NotALog { input: name.to_owned(), lines: said_something });
        }
        self.begun = true;
        Ok(())
    }

    fn entry(&mut self, place: &Place<'_>, outcome: Outcome<'_>) -> Result<(), ReplayError> {
        match outcome {
            Outcome::Decoded(logged) => {
                let at = self.line_stamp(logged.time);
                self.packets += 1;
                self.observe(&logged.observation, at)
            }
            Outcome::NoEvidence(logged) => {
                let at = self.line_stamp(logged.time);
                self.packets += 1;
                self.pass_over(Exemption::Unjudged, at)
            }
            Outcome::NotOurs => Ok(()),
            Outcome::Malformed(why) => self.undecoded(place, &why),
        }
    }

    fn request(&mut self, request: &Request<'_>) -> Result<(), ReplayError> {
        let at = self.request_stamp(request.wall_us.saturating_mul(1000));
        self.packets += 1;
        self.engine.request(request, at, &mut self.actions);
        self.settle(at)
    }

    fn line_stamp(&mut self, time: Option<LineTime>) -> Stamp {
        let wall_us = self.line_clock.wall_us(time);
        self.stamp(wall_us.saturating_mul(1000))
    }
}

/// The first entry and the rest of a line on which another entry of classic syslog begins: ` Mar 21 16:03:03 `.
fn split_entry(line: &[u8]) -> Option<(&[u8], &[u8])> {
    const MONTHS: &[u8] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    /// A digit where a 0 stands; before a day below ten one or two blanks.
    const AFTER_MONTH: [&[u8]; 3] = [b" 00 00:00:00 ", b"  0 00:00:00 ", b" 0 00:00:00 "];
    let begins = |text: &[u8]| {
        let Some((b" ", rest)) = text.split_at_checked(1) else { return false };
        let Some((name, after)) = rest.split_at_checked(3) else { return false };
        let like = |(octet, shape): (&u8, &u8)| octet == shape || (*shape == b'0' && octet.is_ascii_digit());
        let has_shape = |shape: &&[u8]| after.len() >= shape.len() && after.iter().zip(*shape).all(like);
        MONTHS.chunks(3).any(|month| month == name) && AFTER_MONTH.iter().any(has_shape)
    };
    let at = (0..line.len()).find(|&at| line.get(at..).is_some_and(begins))?;
    Some((line.get(..at)?, line.get(at + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_that_stand_on_one_line_are_told_apart_by_their_times() {
        let line =
            b"Mar 21 16:02:05 host kernel: a Mar  1 16:03:03 host kernel: b May 7 18:21:49 host kernel: c";
        let (first, rest) = split_entry(line).unwrap();
        assert_eq!(first, b"Mar 21 16:02:05 host kernel: a");
        let (second, rest) = split_entry(rest).unwrap();
        assert_eq!(second, b"Mar  1 16:03:03 host kernel: b");
        assert_eq!((rest, split_entry(rest)), (&b"May 7 18:21:49 host kernel: c"[..], None));
        assert_eq!(split_entry(b"Mar 21 16:02:05 host kernel: Foo 21 16:03:03 host"), None);
    }
}
