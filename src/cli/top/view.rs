//! What the view knows and how keys change it. It neither asks nor draws.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use ratatui::crossterm::event::{KeyCode, KeyModifiers};
use ratatui::layout::Size;
use ratatui::style::{Color, Modifier, Style};

use super::super::names::Names;
use super::super::ssh;
use super::asker::{Question, Told};
use super::explanation::Explanation;
use crate::control::protocol::{Offender, Reply, Request, Status};
use crate::report::escape::escape;
use crate::report::screen::Screen;
use crate::report::target::Target;
use crate::time::format_duration;

/// How many seconds the sparklines reach back at most: the width of a very wide terminal.
const HISTORY: usize = 400;

/// How long a ban by key lasts. Whoever wants another time has `nfban ban --for`.
const BAN_FOR: Duration = Duration::from_secs(3600);

/// How long a message stands.
const MESSAGE: Duration = Duration::from_secs(8);

/// By what the offenders are sorted; the most, or the first, on top.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    Packets,
    Dropped,
    Ports,
    Incidents,
    Left,
    Source,
}

impl Sort {
    const ALL: [Self; 6] =
        [Self::Packets, Self::Dropped, Self::Ports, Self::Incidents, Self::Left, Self::Source];

    /// What its column is called.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Packets => "PACKETS",
            Self::Dropped => "DROPPED",
            Self::Ports => "PORTS",
            Self::Incidents => "INC",
            Self::Left => "LEFT",
            Self::Source => "SOURCE",
        }
    }

    fn next(self) -> Self {
        let after = Self::ALL.into_iter().cycle().skip_while(|one| *one != self).nth(1);
        after.unwrap_or(self)
    }
}

/// What stands before the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Dialog {
    /// Asks before it does something.
    Confirm {
        question: String,
        request: Request,
    },
    /// All about one of them.
    Explanation(Explanation),
    Help,
}

/// What follows from a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum After {
    Nothing,
    Quit,
    Ask(Question),
}

/// Events a second, the latest first.
#[derive(Debug, Default)]
pub(super) struct Rates {
    pub(super) packets: VecDeque<u64>,
    pub(super) evidence: VecDeque<u64>,
}

/// All that is shown.
#[derive(Debug)]
pub(super) struct View {
    pub(super) screen: Screen,
    /// Whether the terminal may know ASCII alone.
    pub(super) is_plain: bool,
    size: Size,
    pub(super) status: Option<Status>,
    /// When it came.
    at: Option<Instant>,
    /// Why there is no newer one.
    pub(super) trouble: Option<String>,
    pub(super) rates: Rates,
    pub(super) sort: Sort,
    selected: Option<Target>,
    pub(super) dialog: Option<Dialog>,
    names_wanted: bool,
    /// What has been found out while they were.
    found: Names,
    none: Names,
    message: Option<(String, Instant)>,
}

impl View {
    pub(super) fn new(screen: Screen, names_wanted: bool) -> Self {
        Self {
            screen,
            is_plain: false,
            size: Size::new(80, 24),
            status: None,
            at: None,
            trouble: None,
            rates: Rates::default(),
            sort: Sort::Packets,
            selected: None,
            dialog: None,
            names_wanted,
            found: Names::default(),
            none: Names::default(),
            message: None,
        }
    }

    /// Takes in what the daemon said, or that it says nothing.
    pub(super) fn take(&mut self, told: Told) {
        let (reply, at) = match told {
            Told::Reply(reply, at) => (*reply, at),
            Told::Trouble(why) => {
                self.trouble = Some(why);
                return;
            }
            Told::Case(case) => {
                let mut text = Explanation::new(case);
                text.fit(self.size, self.names());
                self.dialog = Some(Dialog::Explanation(text));
                return;
            }
            Told::NoCase(why) => return self.say(why),
        };
        if self.trouble.take().is_some() {
            self.say("the daemon answers again".to_owned());
        }
        match reply {
            Reply::Status(status) => self.take_status(*status, at),
            Reply::Banned { ban } => {
                let verb = if ban.enforced { "is banned" } else { "would be banned if nfban enforced," };
                self.say(format!("{} {verb} for {}", ban.target, format_duration(BAN_FOR)));
            }
            Reply::Unbanned { targets } => {
                let targets: Vec<String> = targets.iter().map(ToString::to_string).collect();
                self.say(format!("{} is let in again", targets.join(", ")));
            }
            Reply::Refused { message, .. } => self.say(message),
            _ => self.say("the daemon answered something else; it is of another version".to_owned()),
        }
    }

    pub(super) fn take_status(&mut self, status: Status, at: Instant) {
        let same = |old: &&Status| (old.pid, old.since) == (status.pid, status.since);
        if let (Some(old), Some(before)) = (self.status.as_ref().filter(same), self.at) {
            let per_second = |old: u64, new: u64| {
                let milliseconds =
                    u64::try_from(at.saturating_duration_since(before).as_millis()).unwrap_or(0);
                new.saturating_sub(old).saturating_mul(1000).checked_div(milliseconds).unwrap_or(0)
            };
            let packets = per_second(old.packets, status.packets);
            let evidence = per_second(old.evidence, status.evidence);
            for (rates, rate) in [(&mut self.rates.packets, packets), (&mut self.rates.evidence, evidence)] {
                rates.truncate(HISTORY - 1);
                rates.push_front(rate);
            }
        }
        (self.status, self.at) = (Some(status), Some(at));
        self.order();
    }

    /// Takes in what has been found out.
    pub(super) fn take_names(&mut self, names: Names) {
        if let Some(note) = names.notes.first() {
            self.say(note.clone());
        }
        self.found = names;
    }

    /// The names to show: none while they are not wanted.
    pub(super) const fn names(&self) -> &Names {
        if self.names_wanted { &self.found } else { &self.none }
    }

    /// Whether names are to be shown once they are known.
    pub(super) const fn wants_names(&self) -> bool {
        self.names_wanted
    }

    /// Whose names are wanted, if any are.
    pub(super) fn nameless(&self) -> Option<Vec<IpNet>> {
        let sources = || self.offenders().iter().map(|one| one.source.0).collect();
        self.names_wanted.then(sources)
    }

    /// A colour, where colours are shown; else bold, so that it stands out all the same.
    pub(super) const fn tone(&self, color: Color) -> Style {
        let style = Style::new().add_modifier(Modifier::BOLD);
        if self.screen.color { style.fg(color) } else { style }
    }

    /// Takes in how large the terminal is.
    pub(super) fn fit(&mut self, size: Size) {
        self.size = size;
        let names = if self.names_wanted { &self.found } else { &self.none };
        if let Some(Dialog::Explanation(text)) = &mut self.dialog {
            text.fit(size, names);
        }
    }

    fn say(&mut self, what: String) {
        self.message = Some((what, Instant::now()));
    }

    /// What was said lately.
    pub(super) fn message(&self) -> Option<&str> {
        let lately = |(_, at): &&(String, Instant)| at.elapsed() < MESSAGE;
        self.message.as_ref().filter(lately).map(|(what, _)| what.as_str())
    }

    pub(super) fn offenders(&self) -> &[Offender] {
        self.status.as_ref().map_or(&[], |status| &status.offenders)
    }

    /// The row that is selected. The selection stays with its source, wherever that moves to.
    pub(super) fn selected(&self) -> Option<usize> {
        let at = self.offenders().iter().position(|one| Some(one.source) == self.selected);
        at.or_else(|| (!self.offenders().is_empty()).then_some(0))
    }

    fn order(&mut self) {
        let sort = self.sort;
        let Some(status) = &mut self.status else { return };
        // Those that are lifted by hand alone stand for ever.
        let left = |one: &Offender| one.ban.as_ref().map(|ban| ban.expires_s.unwrap_or(u64::MAX));
        status.offenders.sort_by_key(|one| {
            let number = match sort {
                Sort::Packets => one.packets.saturating_add(one.dropped),
                Sort::Dropped => one.dropped,
                Sort::Ports => one.distinct_ports,
                Sort::Incidents => one.incidents,
                Sort::Left => left(one).unwrap_or(0),
                Sort::Source => 0,
            };
            (Reverse(number), one.source.0)
        });
    }

    /// Does what a key asks for.
    pub(super) fn press(&mut self, code: KeyCode, modifiers: KeyModifiers) -> After {
        if code == KeyCode::Char('c') && modifiers.contains(KeyModifiers::CONTROL) {
            return After::Quit;
        }
        match self.dialog.take() {
            Some(Dialog::Confirm { request, .. }) => self.confirm(code, request),
            Some(Dialog::Explanation(mut text)) => {
                self.dialog = text.press(code).then_some(Dialog::Explanation(text));
                After::Nothing
            }
            Some(Dialog::Help) => After::Nothing,
            None => self.command(code),
        }
    }

    fn confirm(&mut self, code: KeyCode, request: Request) -> After {
        if code == KeyCode::Char('y') {
            return After::Ask(Question::Of(request));
        }
        self.say("nothing was done".to_owned());
        After::Nothing
    }

    fn command(&mut self, code: KeyCode) -> After {
        match code {
            KeyCode::Char('q') | KeyCode::Esc => return After::Quit,
            KeyCode::Char('h' | '?') | KeyCode::F(1) => self.dialog = Some(Dialog::Help),
            KeyCode::Down | KeyCode::Char('j') => self.step(1, true),
            KeyCode::Up | KeyCode::Char('k') => self.step(1, false),
            KeyCode::PageDown => self.step(10, true),
            KeyCode::PageUp => self.step(10, false),
            KeyCode::Home => self.step(usize::MAX, false),
            KeyCode::End => self.step(usize::MAX, true),
            KeyCode::Char('s') => {
                self.sort = self.sort.next();
                self.order();
            }
            KeyCode::Char('b') => self.ask_to_ban(),
            KeyCode::Char('u') => self.ask_to_unban(),
            KeyCode::Char('e') | KeyCode::Enter => {
                let about = self.one().map(|one| Question::Why(one.source));
                return about.map_or(After::Nothing, After::Ask);
            }
            KeyCode::Char('n') => self.switch_names(),
            _ => {}
        }
        After::Nothing
    }

    fn switch_names(&mut self) {
        self.names_wanted = !self.names_wanted;
        self.say(if self.names_wanted { "names are looked up" } else { "no names" }.to_owned());
    }

    fn step(&mut self, rows: usize, down: bool) {
        let Some(at) = self.selected() else { return };
        let last = self.offenders().len().saturating_sub(1);
        let to = if down { at.saturating_add(rows).min(last) } else { at.saturating_sub(rows) };
        self.selected = self.offenders().get(to).map(|one| one.source);
    }

    fn one(&self) -> Option<&Offender> {
        self.offenders().get(self.selected()?)
    }

    fn ask_to_ban(&mut self) {
        let Some(target) = self.one().map(|one| one.source) else { return };
        self.selected = Some(target);
        if let Some(own) = ssh::peer().filter(|own| target.0.contains(own)) {
            return self
                .say(format!("your SSH session comes from {own}: only `nfban ban --force` bans that"));
        }
        let question = format!("Ban {target} for {}: drop every packet of it?", format_duration(BAN_FOR));
        let reason = Some("by nfban top".to_owned());
        let request = Request::Ban { target, timeout_s: Some(BAN_FOR.as_secs()), reason };
        self.dialog = Some(Dialog::Confirm { question, request });
    }

    fn ask_to_unban(&mut self) {
        let Some(one) = self.one() else { return };
        let source = one.source;
        // That of a wider prefix covers it, too.
        let Some((target, rule)) = one.ban.as_ref().map(|ban| (ban.target, escape(&ban.rule).into_owned()))
        else {
            return self.say(format!("{source} is not banned"));
        };
        self.selected = Some(source);
        let question = format!("Lift the ban of {target} ({rule})?");
        self.dialog = Some(Dialog::Confirm { question, request: Request::Unban { target } });
    }
}
