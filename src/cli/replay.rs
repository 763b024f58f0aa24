//! `nfban replay`: recorded packets through the daemon's own engine.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::exit::{Exit, Failure};
use super::names::Names;
use super::{Session, why};
use crate::capture::input::Progress;
use crate::config::rules::{self, Rules};
use crate::config::{Config, Problems, Trust};
use crate::event::{self, Event};
use crate::replay::{self, Audience, Options, Place, ReplayError};
use crate::report::escape::escape;
use crate::report::firing::Firing;
use crate::report::page::Page;
use crate::report::screen::Screen;
use crate::report::target::Target;
use crate::report::{json, text};
use crate::setup;

/// Run pcap, pcapng, kernel LOG text or access logs through the same engine, changing nothing
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// What to read, also compressed with gzip, xz or zstd; `-` or nothing is standard input
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// A configuration that says who we are and what is published [default: none, whatever is installed]
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A prefix that is ours; may be given several times
    #[arg(long, value_name = "PREFIX")]
    pub home: Vec<Target>,
    /// One JSON object a line: incidents, bans, their ends, and a summary
    #[arg(long)]
    pub json: bool,
    /// Show the packets that led to each decision, as `nfban why` does; with --json in objects of the type `firing`
    #[arg(long)]
    pub why: bool,
    /// Show each record that is not understood, with its place, on standard error
    #[arg(short, long)]
    pub verbose: bool,
    /// The year of the first line of LOG text, where its times have none
    #[arg(long, value_name = "YEAR", value_parser = clap::value_parser!(i16).range(1970..=9999))]
    pub year: Option<i16>,
    /// The time zone of LOG text whose times have none: a name such as Asia/Tokyo, or +09:00
    #[arg(long, value_name = "ZONE", allow_hyphen_values = true, default_value = "UTC", value_parser = zone)]
    pub timezone: TimeZone,
    /// A folder of rules read after the shipped ones
    #[arg(long, value_name = "DIR")]
    pub rules: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments, session: &mut Session) -> Result<Exit, Failure> {
    let options = options(arguments, session)?;
    let inputs = if arguments.files.is_empty() { vec![PathBuf::from("-")] } else { arguments.files.clone() };
    let mut listener = Listener {
        out: io::stdout(),
        json: arguments.json,
        why: arguments.why,
        screen: session.screen,
        verbose: arguments.verbose,
        bar: ProgressBar::hidden(),
        // JSON on a terminal is for copying, and not to be written over.
        bar_due: (io::stderr().is_terminal() && !(arguments.json && io::stdout().is_terminal()))
            .then(|| Instant::now() + MOMENT),
        progress: None,
    };
    let result = replay::run(options, &inputs, &mut listener);
    listener.bar.finish_and_clear();
    match result {
        Ok(_) => listener.out.flush().map(|()| Exit::Done).map_err(Failure::output),
        Err(ReplayError::Output(error)) => Err(Failure::output(error)),
        Err(error) => {
            listener.out.flush().map_err(Failure::output)?;
            Err(Failure::new(Exit::Unreadable, error.to_string()))
        }
    }
}

/// Configuration and rules. What is installed on this machine is not read: a replay means the same everywhere.
fn options(arguments: &Arguments, session: &Session) -> Result<Options, Failure> {
    let shown = |problems: &Problems| {
        session.show_problems(problems);
        Failure::new(Exit::BadConfiguration, "the configuration has errors; nothing was replayed")
    };
    let config = match &arguments.config {
        Some(path) => Config::load(path).map_err(|problems| shown(&problems))?.0,
        None => Config::default(),
    };
    let none = PathBuf::from("/nonexistent");
    let directory =
        arguments.rules.as_ref().or(arguments.config.is_some().then_some(&config.rules.directory));
    let Rules { packets: rules, web, .. } =
        rules::load_from(rules::SHIPPED, directory.unwrap_or(&none), Trust::Anybody)
            .map_err(|problems| shown(&problems))?;
    let rules = setup::ruleset(&config, &rules)
        .map_err(|error| Failure::new(Exit::BadConfiguration, error.to_string()))?;
    let home = arguments.home.iter().map(|target| target.0).collect();
    let (year, timezone) = (arguments.year, arguments.timezone.clone());
    Ok(Options { config, rules, web, home, year, timezone })
}

/// An input that takes less time gets no progress bar.
const MOMENT: Duration = Duration::from_millis(300);

/// Tells what the replay finds.
struct Listener {
    /// Flushed with every line: what is read from a pipe may come as it happens.
    out: io::Stdout,
    json: bool,
    why: bool,
    screen: Screen,
    verbose: bool,
    /// On standard error, where that is a terminal.
    bar: ProgressBar,
    /// When the bar appears.
    bar_due: Option<Instant>,
    progress: Option<Progress>,
}

/// What `--why` adds to the objects of `--json`.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum Line<'a> {
    Firing(&'a Firing),
}

impl Audience for Listener {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        let Self { out, bar, .. } = self;
        match self.json {
            true => bar.suspend(|| json::write(out, event)),
            false => bar.suspend(|| text::write(out, event)),
        }
    }

    fn fired(&mut self, firing: &event::firing::Firing) -> io::Result<()> {
        if !self.why {
            return Ok(());
        }
        let Self { out, bar, screen, json, .. } = self;
        let firing = Firing::from(firing);
        bar.suspend(|| {
            if *json {
                return json::write_line(out, &Line::Firing(&firing));
            }
            let mut page = Page::new(out, *screen);
            why::firing(&mut page, &firing, &Names::default())?;
            page.blank()
        })
    }

    fn not_understood(&mut self, place: &Place<'_>, why: &dyn Display) -> io::Result<()> {
        if self.verbose {
            let line = format!("nfban: {}: {} {}: {why}", escape(place.input), place.unit, place.number);
            self.bar.suspend(|| writeln!(io::stderr(), "{line}"))?;
        }
        Ok(())
    }

    fn opened(&mut self, name: &str, progress: Progress) {
        let template = match progress.total() {
            Some(_) => "{msg} {wide_bar} {bytes}/{total_bytes} {eta}",
            None => "{msg} {bytes}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
        match progress.total() {
            Some(total) => self.bar.set_length(total),
            None => self.bar.unset_length(),
        }
        self.bar.set_message(escape(name).into_owned());
        self.bar.reset_eta();
        self.progress = Some(progress);
    }

    fn tick(&mut self) {
        if self.bar_due.take_if(|due| *due <= Instant::now()).is_some() {
            self.bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(5));
        }
        if let Some(progress) = &self.progress {
            self.bar.set_position(progress.read());
        }
    }
}

fn zone(text: &str) -> Result<TimeZone, &'static str> {
    let named = || TimeZone::get(text).ok();
    let offset = || Some(TimeZone::fixed(strtime::parse("%:z", text).ok()?.offset()?));
    named().or_else(offset).ok_or("a time zone is expected, such as UTC, Asia/Tokyo or +09:00")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_zone_is_a_name_or_an_offset() {
        for text in ["UTC", "+09:00", "-03:30", "+00:00"] {
            assert!(zone(text).is_ok(), "{text}");
        }
        for text in ["", "Mars/Olympus", "9", "+99:00"] {
            assert!(zone(text).is_err(), "{text:?}");
        }
    }
}
