//! Kernel LOG text, a line a packet.

use super::{Place, Replay, ReplayError, broken};
use crate::capture::input::Input;
use crate::capture::log_text::{Decoder, Lines, Outcome, Reason};
use crate::detect::class::Exemption;

impl Replay<'_> {
    pub(super) fn lines(&mut self, text: Input) -> Result<(), ReplayError> {
        let name = &text.name().to_owned();
        let mut lines = Lines::new(text);
        let mut decoder = Decoder::new();
        let (mut read, mut of_a_log) = (0, false);
        while let Some(line) = lines.next_line().map_err(|error| broken(name, &error))? {
            self.tick();
            read = line.number;
            if line.text.is_some_and(|text| text.trim_ascii().is_empty()) {
                continue;
            }
            let place = Place { input: name, unit: "line", number: line.number };
            self.begun |= of_a_log;
            match decoder.decode_line(line) {
                Outcome::Decoded(logged) => {
                    let wall_us = self.line_clock.wall_us(logged.time);
                    let at = self.stamp(wall_us.saturating_mul(1000));
                    self.observe(&logged.observation, at)?;
                    of_a_log = true;
                }
                Outcome::NoEvidence(logged) => {
                    let wall_us = self.line_clock.wall_us(logged.time);
                    let at = self.stamp(wall_us.saturating_mul(1000));
                    self.pass_over(Exemption::Unjudged, at)?;
                    of_a_log = true;
                }
                Outcome::NotOurs => of_a_log = true,
                Outcome::Malformed(Reason::NotALog) => self.undecoded(&place, &Reason::NotALog)?,
                Outcome::Malformed(why) => {
                    self.undecoded(&place, &why)?;
                    of_a_log = true;
                }
            }
        }
        if read > 0 && !of_a_log {
            return Err(ReplayError::NotALog { input: name.to_owned(), lines: read });
        }
        self.begun = true;
        Ok(())
    }
}
