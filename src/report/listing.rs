//! Tables whose rows are a line each: what does not fit is cut, and the last column takes what room there is.

use unicode_width::UnicodeWidthStr as _;

use super::screen::{Screen, Tone, cut};
use super::table::{Align, Table};

/// Lays out rows, a line each, heading first; nothing where there are none. The last column has what the others leave of the
/// terminal's width: `last` is asked for a row's cell, no wider than it is told, and where all of them are empty there is
/// no such column.
#[must_use]
pub fn one_line_each(
    columns: &[(&str, Align)],
    rows: Vec<Vec<String>>,
    screen: Screen,
    last: impl Fn(usize, usize) -> String,
) -> Vec<String> {
    const GAP: usize = 2;
    if rows.is_empty() {
        return Vec::new();
    }
    let others = columns.iter().take(columns.len().saturating_sub(1));
    let taken: usize = others
        .enumerate()
        .map(|(at, (name, _))| {
            let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.width());
            cells.chain([name.width()]).max().unwrap_or(0) + GAP
        })
        .sum();
    let width = screen.width.map_or(usize::MAX, usize::from);
    let room = screen.width.map_or(usize::MAX, |_| width.saturating_sub(taken));
    let cells: Vec<String> = (0..rows.len()).map(|at| last(at, room)).collect();
    let empty = cells.iter().all(String::is_empty);
    let columns = columns.get(..columns.len() - usize::from(empty)).unwrap_or(columns);
    let mut table = Table::new(columns, Screen { width: None, color: false });
    for (mut row, cell) in rows.into_iter().zip(cells) {
        row.extend((!empty).then_some(cell));
        table.row(row);
    }
    let mut lines: Vec<String> = table.lines().iter().map(|line| cut(line, width)).collect();
    if let Some(heading) = lines.first_mut() {
        *heading = screen.paint(Tone::Strong, heading).into_owned();
    }
    lines
}
