//! Kernel LOG text, a line a packet.

use super::{Place, Replay, ReplayError, broken};
use crate::capture::input::Input;
use crate::capture::log_text::{Decoder, LineTime, Lines, Outcome, Reason};
use crate::detect::class::Exemption;
use crate::time::Stamp;

impl Replay<'_> {
    pub(super) fn lines(&mut self, text: Input) -> Result<(), ReplayError> {
        let name = &text.name().to_owned();
        let mut lines = Lines::new(text);
        let mut decoder = Decoder::new();
        let (mut said_something, mut is_a_log) = (0, false);
        while let Some(line) = lines.next_line().map_err(|error| broken(name, &error))? {
            self.tick();
            if line.text.is_some_and(|text| text.trim_ascii().is_empty()) {
                continue;
            }
            said_something += 1;
            let place = Place { input: name, unit: "line", number: line.number };
            let outcome = decoder.decode_line(line);
            let of_a_log = !matches!(outcome, Outcome::Malformed(Reason::NotALog));
            is_a_log |= of_a_log;
            self.begun |= of_a_log;
            match outcome {
                Outcome::Decoded(logged) => {
                    let at = self.line_stamp(logged.time);
                    self.observe(&logged.observation, at)?;
                }
                Outcome::NoEvidence(logged) => {
                    let at = self.line_stamp(logged.time);
                    self.pass_over(Exemption::Unjudged, at)?;
                }
                Outcome::NotOurs => {}
                Outcome::Malformed(why) => self.undecoded(&place, &why)?,
            }
        }
        if said_something > 0 && !is_a_log {
            return Err(ReplayError::NotALog { input: name.to_owned(), lines: said_something });
        }
        self.begun = true;
        Ok(())
    }

    fn line_stamp(&mut self, time: Option<LineTime>) -> Stamp {
        let wall_us = self.line_clock.wall_us(time);
        self.stamp(wall_us.saturating_mul(1000))
    }
}
