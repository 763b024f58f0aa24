//! The view on the screen.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{
    Block, Cell, Clear, Paragraph, RenderDirection, Row, Sparkline, Table, TableState, Wrap,
};

use super::super::bans::{action, left};
use super::super::status::{headline, short};
use super::view::{Dialog, Sort, View};
use crate::control::protocol::{Capture, Offender, Status};
use crate::report::escape::escape;
use crate::report::screen::{Screen, cut};

/// From so many lines on, the sparklines are tall.
const TALL: u16 = 36;

/// The column that is there where there is room for it.
const PORTS: &str = "LATEST PORTS";

const KEYS: &str = "q quit  ↑↓ select  s sort  b ban  u unban  e explain  h help";

const HELP: &str = "\
↑ ↓ PgUp PgDn Home End   select a source
s           sort by the next column: packets, dropped, ports, incidents,
            time left, source
b           ban the source for an hour: every packet of it is dropped
u           lift its ban
e or Enter  all that is known of it, as `nfban status ADDR` tells
q or Esc    quit

Packets are those that counted for an incident, dropped those that the
ban has dropped since. The list holds the forty sources with most of both
within a day. Only root and the daemon's own user may ban and unban.";

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
    offenders(frame, list, view);
    let line = match view.message() {
        Some(message) => {
            Span::styled(escape(message).into_owned(), Style::new().add_modifier(Modifier::BOLD))
        }
        None => Span::styled(KEYS, Style::new().add_modifier(Modifier::DIM)),
    };
    frame.render_widget(line, foot);
    dialog(frame, view);
}

fn head(status: &Status, view: &View, width: usize) -> Vec<Line<'static>> {
    let strong = Style::new().add_modifier(Modifier::BOLD);
    let line = |text: String| Line::raw(cut(&text, width));
    let mut lines =
        vec![Line::styled(cut(&headline(status, Screen { width: None, color: false }), width), strong)];
    if let Some(why) = &view.trouble {
        lines.push(Line::styled(cut(&format!("NO ANSWER: {}", escape(why)), width), tone(view, Color::Red)));
    }
    lines.push(line(format!("captures   {}", captures(&status.captures))));
    lines.extend(short(status).into_iter().map(|(name, what)| line(format!("{name:<11}{what}"))));
    if let Some(alarm) = status.alarms.first() {
        let text = format!("ALARM {}", escape(&alarm.what));
        lines.push(Line::styled(cut(&text, width), tone(view, Color::Red)));
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

/// A colour, where colours are shown; else bold, so that it stands out all the same.
fn tone(view: &View, color: Color) -> Style {
    let style = Style::new().add_modifier(Modifier::BOLD);
    if view.color { style.fg(color) } else { style }
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
            .style(if view.color { Style::new().fg(Color::Cyan) } else { Style::new() });
        frame.render_widget(line, area);
    }
}

fn offenders(frame: &mut Frame<'_>, area: Rect, view: &View) {
    if view.offenders().is_empty() {
        frame.render_widget("nobody has done anything yet", area);
        return;
    }
    let longest = |text: fn(&Offender) -> usize| {
        let longest = view.offenders().iter().map(text).max().unwrap_or(0);
        u16::try_from(longest).unwrap_or(u16::MAX).max(8)
    };
    let (source, rule) =
        (longest(|one| one.source.to_string().len()), longest(|one| escape(&one.rule).len()));
    let widths = [source, rule, 8, 8, 6, 4, 9];
    // What the other columns and their gaps leave.
    let taken = widths.iter().map(|width| usize::from(*width) + 1).sum();
    let room = usize::from(area.width).saturating_sub(taken);
    let room = if room < PORTS.len() { 0 } else { room };
    let widths = widths.map(Constraint::Length).into_iter().chain([Constraint::Fill(1)]);
    let mark = |name: &str, sort: Sort| format!("{name}{}", if view.sort == sort { "▼" } else { "" });
    let heading = Row::new([
        Cell::from(mark("SOURCE", Sort::Source)),
        Cell::from("RULE"),
        right(mark("PACKETS", Sort::Packets)),
        right(mark("DROPPED", Sort::Dropped)),
        right(mark("PORTS", Sort::Ports)),
        right(mark("INC", Sort::Incidents)),
        Cell::from(mark("LEFT", Sort::Left)),
        Cell::from(if room > 0 { PORTS } else { "" }),
    ]);
    let rows = view.offenders().iter().map(|one| row(one, room, view));
    let table = Table::new(rows, widths)
        .header(heading.style(Style::new().add_modifier(Modifier::BOLD)))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::default().with_selected(view.selected());
    frame.render_stateful_widget(table, area, &mut state);
}

fn right(text: String) -> Cell<'static> {
    Cell::from(Line::from(text).right_aligned())
}

fn row(one: &Offender, room: usize, view: &View) -> Row<'static> {
    let (time, style) = match &one.ban {
        Some(ban) if !ban.enforced => (action(ban).replace("would ", "(") + ")", Style::new()),
        Some(ban) if ban.expires_s.is_none() => ("for ever".to_owned(), tone(view, Color::Red)),
        Some(ban) => (left(ban.expires_s), tone(view, Color::Red)),
        None => ("-".to_owned(), Style::new()),
    };
    let list = (1..=64).rev().map(|most| one.port_ranges.describe(one.distinct_ports, most));
    let list = list.into_iter().find(|list| list.chars().count() <= room).unwrap_or_default();
    Row::new([
        Cell::from(one.source.to_string()),
        Cell::from(escape(&one.rule).into_owned()),
        right(one.packets.to_string()),
        right(one.dropped.to_string()),
        right(one.distinct_ports.to_string()),
        right(one.incidents.to_string()),
        Cell::from(time).style(style),
        Cell::from(list),
    ])
}

fn dialog(frame: &mut Frame<'_>, view: &View) {
    let Some(dialog) = &view.dialog else { return };
    let (title, lines, hint, from) = match dialog {
        Dialog::Confirm { question, .. } => {
            ("Sure?", vec![question.clone()], "y does it, any other key does not", 0)
        }
        Dialog::Text { title, lines, from } => {
            (title.as_str(), lines.clone(), "↑↓ scroll, any other key closes", *from)
        }
        Dialog::Help => ("Keys", HELP.lines().map(str::to_owned).collect(), "any key closes", 0),
    };
    let whole = frame.area();
    let width = whole.width.min(80);
    let inner = usize::from(width.saturating_sub(2)).max(1);
    // Lines that are too long are wrapped.
    let tall: usize = lines.iter().map(|line| line.chars().count().div_ceil(inner).max(1)).sum();
    let height = u16::try_from(tall + 2).unwrap_or(u16::MAX).min(whole.height);
    let area = whole.centered(Constraint::Length(width), Constraint::Length(height));
    let text: Vec<Line<'_>> = lines.into_iter().map(Line::raw).collect();
    let block = Block::bordered().title(format!(" {title} ")).title_bottom(format!(" {hint} "));
    let paragraph = Paragraph::new(text).block(block).wrap(Wrap { trim: false });
    frame.render_widget(Clear, area);
    frame.render_widget(paragraph.scroll((u16::try_from(from).unwrap_or(u16::MAX), 0)), area);
}
