//! The view on the screen.

use super::super::status::{headline, now, short};
use super::explanation::WIDEST;
use super::list;
use super::view::{Dialog, View};
use crate::control::protocol::{Capture, Status};
use crate::report::escape::escape;
use crate::report::moment::ago;
use crate::report::screen::{Screen, cut, in_ascii};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, RenderDirection, Sparkline, Wrap};
use unicode_width::UnicodeWidthStr as _;

/// From so many lines on, the sparklines are tall.
const TALL: u16 = 36;

const KEYS: &str = "q quit  ↑↓ select  s sort  b ban  u unban  e explain  n names  h help";

const HELP: &str = "\
↑ ↓ PgUp PgDn Home End   select a source
s           sort by the next column: packets, dropped, ports, incidents,
            time left, source
b           ban the source for an hour: every packet of it is dropped
u           lift its ban
e or Enter  why it is banned, or is not: the packets, as `nfban why` tells
n           names on and off: of hosts, countries and networks
q or Esc    quit

Packets are those that counted for an incident, dropped those that the
ban has dropped since. The list holds the forty sources with most of both
within a day. Only root may ban and unban.";

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, view: &View) {
    let Some(status) = &view.status else { return };
    let width = usize::from(frame.area().width);
    let head = head(status, view, width);
    let lines = u16::try_from(head.len()).unwrap_or(u16::MAX);
    let graph = if frame.area().height >= TALL { 7 } else { 3 };
    let parts = [lines, graph, 0, 1].map(Constraint::Length);
    let [top, graphs, list, foot] =
        Layout::vertical([parts[0], parts[1], Constraint::Min(3), parts[3]]).areas(frame.area());
    frame.render_widget(Paragraph::new(head), top);
    rates(frame, graphs, view);
    list::draw(frame, list, view);
    let line = match view.message() {
        Some(message) => {
            Span::styled(escape(message).into_owned(), Style::new().add_modifier(Modifier::BOLD))
        }
        None => Span::styled(KEYS, Style::new().add_modifier(Modifier::DIM)),
    };
    frame.render_widget(line, foot);
    dialog(frame, view);
    if view.is_plain {
        for cell in &mut frame.buffer_mut().content {
            let plain = in_ascii(cell.symbol()).chars().next().unwrap_or(' ');
            cell.set_char(plain);
        }
    }
}

fn head(status: &Status, view: &View, width: usize) -> Vec<Line<'static>> {
    let strong = Style::new().add_modifier(Modifier::BOLD);
    let line = |text: String| Line::raw(cut(&text, width));
    let mut lines =
        vec![Line::styled(cut(&headline(status, Screen { width: None, color: false }), width), strong)];
    if let Some(why) = &view.trouble {
        lines.push(Line::styled(cut(&format!("NO ANSWER: {}", escape(why)), width), view.tone(Color::Red)));
    }
    lines.push(line(format!("captures   {}", captures(&status.captures))));
    lines.extend(short(status).into_iter().map(|(name, what)| line(format!("{name:<11}{what}"))));
    if let Some(alarm) = status.alarms.first() {
        let text = format!("ALARM {} ago: {}", ago(alarm.time, now(status)), escape(&alarm.what));
        lines.push(Line::styled(cut(&text, width), view.tone(Color::Red)));
    }
    lines
}

fn captures(captures: &[Capture]) -> String {
    let one = |capture: &Capture| {
        let rate = capture.packets_per_s.map_or_else(|| "?".to_owned(), |rate| rate.to_string());
        let lost = match capture.lost {
            0 => String::new(),
            lost => format!(" ({lost} lost)"),
        };
        format!("{} {rate}/s{lost}", escape(&capture.source))
    };
    captures.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn rates(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let halves = Layout::horizontal([Constraint::Fill(1); 2]).spacing(2).areas::<2>(area);
    let parts = [("packets/s", &view.rates.packets), ("evidence/s", &view.rates.evidence)];
    for (area, (name, rates)) in halves.into_iter().zip(parts) {
        let shown = || rates.iter().take(usize::from(area.width)).copied();
        let (now, most) = (shown().next().unwrap_or(0), shown().max().unwrap_or(0));
        let title = format!("{name} {now}, at most {most}");
        let block = Block::new().title(Span::styled(title, Style::new().add_modifier(Modifier::BOLD)));
        // The latest at the right: time goes as people read.
        let line = Sparkline::default()
            .block(block)
            .data(shown().collect::<Vec<_>>())
            .max(most.max(1))
            .direction(RenderDirection::RightToLeft)
            .style(if view.screen.color { Style::new().fg(Color::Cyan) } else { Style::new() });
        frame.render_widget(line, area);
    }
}

fn dialog(frame: &mut Frame<'_>, view: &View) {
    let Some(dialog) = &view.dialog else { return };
    let (title, lines, hint) = match dialog {
        Dialog::Confirm { question, .. } => {
            ("Sure?".to_owned(), vec![question.as_str()], "y does it, any other key does not".to_owned())
        }
        Dialog::Explanation(text) => {
            let (all, last) = (text.lines.len(), text.lines.len().min(text.from + text.room));
            let shown = text.lines.iter().skip(text.from).take(text.room).map(String::as_str).collect();
            let place = format!("{}-{last} of {all}", text.from + 1);
            (text.title(), shown, format!("{place}: ↑↓ PgUp PgDn scroll, any other key closes"))
        }
        Dialog::Help => ("Keys".to_owned(), HELP.lines().collect(), "any key closes".to_owned()),
    };
    let whole = frame.area();
    let most = if matches!(dialog, Dialog::Explanation(_)) { WIDEST } else { 80 };
    let width = whole.width.min(most);
    let inner = usize::from(width.saturating_sub(2)).max(1);
    // Lines that are too long are wrapped.
    let tall: usize = lines.iter().map(|line| line.width().div_ceil(inner).max(1)).sum();
    let height = u16::try_from(tall + 2).unwrap_or(u16::MAX).min(whole.height);
    let area = whole.centered(Constraint::Length(width), Constraint::Length(height));
    let text: Vec<Line<'_>> = lines.into_iter().map(Line::raw).collect();
    let block = Block::bordered().title(format!(" {title} ")).title_bottom(format!(" {hint} "));
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(text).block(block).wrap(Wrap { trim: false }), area);
}
