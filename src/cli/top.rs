//! `nfban top`: what goes on, as it goes on.
//!
//! A thread asks the daemon, so that keys are answered while it takes its time; the screen belongs to this one. The
//! terminal is put back whatever ends the view: a key, a signal, an error or a panic.

mod asker;
mod draw;
mod explanation;
mod list;
mod namer;
mod view;

#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use self::asker::Asker;
use self::namer::Namer;
use self::view::{After, View};
use super::Session;
use super::exit::{Exit, Failure};
use super::names::Choice;
use crate::control::protocol::{Reply, Request};
use crate::report::screen::moves_its_cursor;

/// How long a key may wait for an answer of the daemon to be taken in, and a signal for its effect.
const TICK: Duration = Duration::from_millis(100);

/// Watch it live: rates, offenders, their ports and time left; keys to ban, lift and explain
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Whether to begin with names; a key switches them on and off.
    #[command(flatten)]
    pub names: Choice,
}

pub(super) fn run(arguments: &Arguments, session: &mut Session) -> Result<Exit, Failure> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(Failure::new(Exit::Usage, "top needs a terminal; `nfban status` does not"));
    }
    let term = std::env::var("TERM").unwrap_or_default();
    if !moves_its_cursor(&term) {
        let why = format!("top needs a terminal whose cursor moves, and TERM={term} says it does not");
        return Err(Failure::new(Exit::Usage, format!("{why}; `nfban status` does not need that")));
    }
    // Before the screen is taken: whoever may not ask, or has no daemon, gets the line that every command gives.
    let Reply::Status(status) = session.ask(&Request::Status { address: None })? else {
        return Err(Failure::off_topic());
    };
    let stop = signals().map_err(|error| failed("catch signals", &error))?;
    let thread = |error| failed("start a thread", &error);
    let asker = Asker::start(&session.socket()).map_err(thread)?;
    let namer = Namer::start(arguments.names.clone()).map_err(thread)?;
    let mut view = View::new(session.screen, arguments.names.names);
    view.is_plain = session.is_plain;
    view.take_status(*status, std::time::Instant::now());
    // From here on it is put back.
    let screen = Taken;
    let mut terminal = ratatui::try_init().map_err(|error| failed("use the terminal", &error))?;
    let ended = watch(&mut terminal, &mut view, (&asker, &namer), &stop);
    drop(screen);
    ended.map_err(|error| failed("use the terminal", &error))?;
    Ok(Exit::Done)
}

fn failed(what: &str, error: &io::Error) -> Failure {
    Failure::new(Exit::No, format!("cannot {what}: {error}"))
}

/// The terminal while it is ours. A panic puts it back before its message (ratatui's hook).
struct Taken;

impl Drop for Taken {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Raised by what ends the view from outside. A key cannot: it comes as one.
fn signals() -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}

/// Waits for a key, for so long at most. Whether the terminal has gone instead: crossterm would read its end again and again,
/// and for ever.
fn is_gone(limit: Duration) -> io::Result<bool> {
    let limit = Timespec::try_from(limit).map_err(io::Error::other)?;
    let stdin = io::stdin();
    let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
    match rustix::event::poll(&mut fds, Some(&limit)) {
        Ok(_) => Ok(fds.iter().any(|fd| fd.revents().intersects(PollFlags::HUP | PollFlags::ERR))),
        // A signal, which the caller looks for.
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn watch(
    terminal: &mut DefaultTerminal,
    view: &mut View,
    (asker, namer): (&Asker, &Namer),
    stop: &AtomicBool,
) -> io::Result<()> {
    let mut changed = true;
    while !stop.load(Ordering::Acquire) {
        if changed {
            if let Some(sources) = view.nameless() {
                namer.want(sources);
            }
            view.fit(terminal.size()?);
            terminal.draw(|frame| draw::draw(frame, view))?;
        }
        changed = asker.told().fold(false, |_, told| {
            view.take(told);
            true
        });
        if let Some(names) = namer.found() {
            view.take_names(names);
            changed = true;
        }
        // Keys that were read together wait in crossterm, and a new size is told to it alone.
        if is_gone(Duration::ZERO)? {
            return Ok(());
        }
        if !event::poll(Duration::ZERO)? {
            is_gone(TICK)?;
            continue;
        }
        changed = true;
        let Event::Key(key) = event::read()? else { continue };
        if key.kind != KeyEventKind::Press {
            continue;
        }
        match view.press(key.code, key.modifiers) {
            After::Nothing => {}
            After::Quit => return Ok(()),
            After::Ask(question) => asker.ask(question),
        }
    }
    Ok(())
}
