//! The list of sources: which columns there are, and what stands in them.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Cell, Row, Table, TableState};
use unicode_width::UnicodeWidthStr as _;

use super::super::bans::{action, left};
use super::view::{Sort, View};
use crate::control::protocol::Offender;
use crate::report::escape::escape;
use crate::report::screen::cut;

/// From so many columns on, names stand beside everything else; with fewer, rules, ports and numbers give way to them.
const WIDE: u16 = 120;

/// The column that is there where there is room for it.
const PORTS: &str = "LATEST PORTS";

/// A name takes so much at most while ports stand behind it.
const NAME: usize = 40;

/// And so much a country and network.
const ORIGIN: usize = 28;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Source,
    Rule,
    /// One that the list can be sorted by.
    Number(Sort),
    Left,
    Origin,
    Name,
    /// Has what the others leave.
    Ports,
}

/// The list as it is drawn this time.
struct List<'a> {
    view: &'a View,
    wide: bool,
}

/// Draws the list.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, view: &View) {
    if view.offenders().is_empty() {
        frame.render_widget("nobody has done anything yet", area);
        return;
    }
    let list = List { view, wide: area.width >= WIDE };
    let columns = list.columns();
    // The last has what the others and their gaps leave.
    let mut room = usize::from(area.width);
    let mut widths = Vec::new();
    for (at, column) in columns.iter().enumerate() {
        let width = if at + 1 == columns.len() { room } else { list.width(*column) };
        room = room.saturating_sub(width + 1);
        widths.push(width);
    }
    let row = |cell: &dyn Fn(Column, usize) -> Cell<'static>| {
        Row::new(columns.iter().zip(&widths).map(|(column, width)| cell(*column, *width)).collect::<Vec<_>>())
    };
    let heading = row(&|column, room| list.heading(column, room));
    let rows: Vec<Row<'_>> =
        view.offenders().iter().map(|one| row(&|column, room| list.cell(column, one, room))).collect();
    let lengths = widths.iter().map(|width| Constraint::Length(u16::try_from(*width).unwrap_or(u16::MAX)));
    let table = Table::new(rows, lengths)
        .header(heading.style(Style::new().add_modifier(Modifier::BOLD)))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::default().with_selected(view.selected());
    frame.render_stateful_widget(table, area, &mut state);
}

impl List<'_> {
    fn columns(&self) -> Vec<Column> {
        use Column as C;
        let Self { view, wide } = *self;
        let origin = view.names().have_origins().then_some(C::Origin);
        let named = view.wants_names().then(|| origin.into_iter().chain([C::Name]));
        if let Some(named) = named.clone().filter(|_| !wide) {
            // What the list is sorted by stays.
            let number = match view.sort {
                Sort::Left | Sort::Source => Sort::Packets,
                number => number,
            };
            return [C::Source, C::Number(number), C::Left].into_iter().chain(named).collect();
        }
        let numbers = [Sort::Packets, Sort::Dropped, Sort::Ports, Sort::Incidents].map(C::Number);
        let known = [C::Source, C::Rule].into_iter().chain(numbers).chain([C::Left]);
        known.chain(named.into_iter().flatten()).chain([C::Ports]).collect()
    }

    /// How many columns of the terminal it takes.
    fn width(&self, column: Column) -> usize {
        let offenders = self.view.offenders();
        let longest = |text: &dyn Fn(&Offender) -> usize| offenders.iter().map(text).max().unwrap_or(0);
        match column {
            Column::Source => longest(&|one| one.source.to_string().len()).max(8),
            Column::Rule => longest(&|one| escape(&one.rule).width()).max(8),
            Column::Number(Sort::Ports) => 6,
            Column::Number(Sort::Incidents) => 4,
            Column::Number(_) => 8,
            Column::Left => 9,
            Column::Origin => longest(&|one| self.origin(one).width()).clamp(6, ORIGIN),
            Column::Name => longest(&|one| self.name(one).width()).clamp(4, NAME),
            Column::Ports => 0,
        }
    }

    fn heading(&self, column: Column, room: usize) -> Cell<'static> {
        let (name, by) = match column {
            Column::Source => (Sort::Source.name(), Some(Sort::Source)),
            Column::Rule => ("RULE", None),
            Column::Number(by) => (by.name(), Some(by)),
            Column::Left => (Sort::Left.name(), Some(Sort::Left)),
            Column::Origin => ("ORIGIN", None),
            Column::Name => ("NAME", None),
            // Half a heading says nothing.
            Column::Ports => (Some(PORTS).filter(|ports| ports.len() <= room).unwrap_or_default(), None),
        };
        let name = format!("{name}{}", if by == Some(self.view.sort) { "▼" } else { "" });
        if matches!(column, Column::Number(_)) { right(name) } else { Cell::from(name) }
    }

    fn cell(&self, column: Column, one: &Offender, room: usize) -> Cell<'static> {
        match column {
            Column::Source => Cell::from(one.source.to_string()),
            Column::Rule => Cell::from(escape(&one.rule).into_owned()),
            Column::Number(Sort::Dropped) => right(one.dropped.to_string()),
            Column::Number(Sort::Ports) => right(one.distinct_ports.to_string()),
            Column::Number(Sort::Incidents) => right(one.incidents.to_string()),
            Column::Number(_) => right(one.packets.to_string()),
            Column::Left => self.left(one),
            Column::Origin => Cell::from(cut(&self.origin(one), room)),
            Column::Name => Cell::from(cut(&self.name(one), room)),
            Column::Ports => Cell::from(self.ports(one, room)),
        }
    }

    fn left(&self, one: &Offender) -> Cell<'static> {
        let (time, style) = match &one.ban {
            Some(ban) if !ban.enforced => (action(ban).replace("would ", "(") + ")", Style::new()),
            Some(ban) if ban.expires_s.is_none() => ("for ever".to_owned(), self.view.tone(Color::Red)),
            Some(ban) => (left(ban.expires_s), self.view.tone(Color::Red)),
            None => ("-".to_owned(), Style::new()),
        };
        Cell::from(time).style(style)
    }

    fn origin(&self, one: &Offender) -> String {
        let origin = self.view.names().origin(one.source.0);
        origin.map_or_else(String::new, |origin| if self.wide { origin.to_string() } else { origin.short() })
    }

    fn name(&self, one: &Offender) -> String {
        self.view.names().host(one.source.0).unwrap_or_default()
    }

    /// As many as there is room for.
    fn ports(&self, one: &Offender, room: usize) -> String {
        if room < PORTS.len() {
            return String::new();
        }
        let names = self.view.names();
        let list = |most| names.ports(&one.port_ranges, &one.protocols, one.distinct_ports, most);
        (1..=64).rev().map(list).find(|list| list.width() <= room).unwrap_or_default()
    }
}

fn right(text: String) -> Cell<'static> {
    Cell::from(Line::from(text).right_aligned())
}
