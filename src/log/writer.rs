//! Where lines go. The thread that owns this may wait for the reader as long as it likes.

use std::io::{self, Write};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

use super::Format;
use super::journal::{self, Journal};
use super::queue::Entry;
use super::render;
use crate::report::screen::Screen;

pub(super) enum Writer {
    /// Lines for which there is no journal any more go to standard error.
    Journal(Journal, Screen),
    Text(Screen),
    Json,
}

impl Writer {
    pub(super) fn new(format: Format, screen: Screen) -> Self {
        let wanted = match format {
            Format::Auto => journal::is_standard_error(),
            Format::Journal => true,
            Format::Text => return Self::Text(screen),
            Format::Json => return Self::Json,
        };
        if !wanted {
            return Self::Text(screen);
        }
        match Journal::open(journal::SOCKET) {
            Ok(journal) => Self::Journal(journal, screen),
            Err(error) => {
                if format == Format::Journal {
                    let at = journal::SOCKET;
                    // Not a line of the log: this is the thread that writes it.
                    let _ = complete(
                        format!("nfban: no journal at {at} ({error}): the log goes to standard error\n")
                            .as_bytes(),
                    );
                }
                Self::Text(screen)
            }
        }
    }

    pub(super) fn write(&mut self, entry: &Entry) -> io::Result<()> {
        match self {
            Self::Journal(journal, screen) => {
                let sent = journal.send(&render::fields(entry));
                sent.or_else(|_| write_text(entry, *screen))
            }
            Self::Text(screen) => write_text(entry, *screen),
            Self::Json => {
                let mut line = Vec::new();
                render::json(entry, &mut line)?;
                complete(&line)
            }
        }
    }
}

fn write_text(entry: &Entry, screen: Screen) -> io::Result<()> {
    complete(render::text(entry, screen, journal::is_standard_error()).as_bytes())
}

/// Writes all of a line to standard error, also where somebody who shares it has made it non-blocking.
fn complete(mut line: &[u8]) -> io::Result<()> {
    let mut out = io::stderr();
    while !line.is_empty() {
        match out.write(line) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => line = line.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let mut ready = [PollFd::new(&out, PollFlags::OUT)];
                if poll(&mut ready, None).is_err() {
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
