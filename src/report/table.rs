//! Tables for people: columns and a heading, no frame, no wider than the terminal.

use comfy_table::{CellAlignment, ContentArrangement, presets};

use super::screen::{Screen, Tone};

/// On which side a column's cells stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A table being filled. Cells are shown as they are given: text from outside is escaped before.
#[derive(Debug)]
pub struct Table {
    table: comfy_table::Table,
    columns: Vec<Align>,
    screen: Screen,
}

impl Table {
    /// An empty table with a heading over these columns, for this screen.
    #[must_use]
    pub fn new(columns: &[(&str, Align)], screen: Screen) -> Self {
        let mut table =
            Self::without_heading(&columns.iter().map(|&(_, align)| align).collect::<Vec<_>>(), screen);
        table.table.set_header(columns.iter().map(|(name, _)| *name));
        table
    }

    /// An empty table of columns that need no names.
    #[must_use]
    pub fn without_heading(columns: &[Align], screen: Screen) -> Self {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING);
        match screen.width {
            // Cells wrap. Where nobody watches, a row stays one line, so that grep and awk find what belongs together.
            Some(width) => table.set_width(width).set_content_arrangement(ContentArrangement::Dynamic),
            None => table.set_content_arrangement(ContentArrangement::Disabled),
        };
        Self { table, columns: columns.to_vec(), screen }
    }

    /// Adds a row with a cell for each column.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.table.add_row(cells.into_iter().collect::<Vec<_>>());
    }

    /// The lines, heading first, without blanks at their ends.
    #[must_use]
    pub fn lines(mut self) -> Vec<String> {
        for (column, align) in self.table.column_iter_mut().zip(self.columns) {
            column.set_padding((0, 2)).set_cell_alignment(match align {
                Align::Left => CellAlignment::Left,
                Align::Right => CellAlignment::Right,
            });
        }
        let mut lines: Vec<String> = self.table.lines().map(|line| line.trim_end().to_owned()).collect();
        if let (Some(_), Some(heading)) = (self.table.header(), lines.first_mut()) {
            *heading = self.screen.paint(Tone::Strong, heading).into_owned();
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(screen: Screen) -> Vec<String> {
        let mut table = Table::new(&[("TARGET", Align::Left), ("DROPPED", Align::Right)], screen);
        table.row(["192.0.2.7".to_owned(), "12".to_owned()]);
        table.row(["2001:db8:1:2::/64 since the day before yesterday".to_owned(), "1204".to_owned()]);
        table.lines()
    }

    #[test]
    fn columns_line_up_without_a_frame() {
        assert_eq!(
            sample(Screen::default()),
            [
                "TARGET                                            DROPPED",
                "192.0.2.7                                              12",
                "2001:db8:1:2::/64 since the day before yesterday     1204",
            ]
        );
    }

    #[test]
    fn a_table_is_never_wider_than_the_terminal() {
        for width in [20, 30, 40, 80] {
            for line in sample(Screen { width: Some(width), color: false }) {
                assert!(line.chars().count() <= usize::from(width), "{width}: {line:?}");
            }
        }
    }

    #[test]
    fn only_the_heading_is_painted() {
        let lines = sample(Screen { width: None, color: true });
        assert!(lines[0].starts_with("\x1b[1mTARGET"));
        assert!(!lines[1].contains('\x1b'));
    }
}
