//! A page for people: lines, headed sections, paragraphs and tables, as wide as the terminal and no wider.

use std::io::{self, Write};

use unicode_width::UnicodeWidthStr as _;

use super::screen::{Screen, Tone};
use super::table::Table;

/// How far paragraphs and what belongs to a line above are indented.
const INDENT: &str = "  ";

/// A page being written. Text is shown as it is given: what came from outside is escaped before.
pub struct Page<'a> {
    out: &'a mut dyn Write,
    screen: Screen,
}

impl<'a> Page<'a> {
    /// Nothing is on it yet.
    pub fn new(out: &'a mut dyn Write, screen: Screen) -> Self {
        Self { out, screen }
    }

    /// What a table that stands at the margin is made for.
    #[must_use]
    pub const fn screen(&self) -> Screen {
        self.screen
    }

    /// What a table that [`Page::indented`] takes is made for.
    #[must_use]
    pub fn narrower(&self) -> Screen {
        Screen { width: self.screen.width.map(|width| width.saturating_sub(2)), ..self.screen }
    }

    /// A line; one that is too long is the terminal's to break.
    ///
    /// # Errors
    /// The output's, here as everywhere below.
    pub fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{text}")
    }

    /// A line in a tone.
    ///
    /// # Errors
    /// The output's.
    pub fn toned(&mut self, tone: Tone, text: &str) -> io::Result<()> {
        writeln!(self.out, "{}", self.screen.paint(tone, text))
    }

    /// A blank line.
    ///
    /// # Errors
    /// The output's.
    pub fn blank(&mut self) -> io::Result<()> {
        writeln!(self.out)
    }

    /// A heading, and a blank line above it.
    ///
    /// # Errors
    /// The output's.
    pub fn section(&mut self, name: &str) -> io::Result<()> {
        self.blank()?;
        self.toned(Tone::Strong, name)
    }

    /// A table at the margin.
    ///
    /// # Errors
    /// The output's.
    pub fn table(&mut self, table: Table) -> io::Result<()> {
        table.lines().iter().try_for_each(|line| self.line(line))
    }

    /// A table that belongs to the line above it.
    ///
    /// # Errors
    /// The output's.
    pub fn indented(&mut self, table: Table) -> io::Result<()> {
        table.lines().iter().try_for_each(|line| writeln!(self.out, "{INDENT}{line}"))
    }

    /// Words, indented and broken where the terminal ends.
    ///
    /// # Errors
    /// The output's.
    pub fn paragraph(&mut self, text: &str) -> io::Result<()> {
        let width = usize::from(self.screen.width.unwrap_or(u16::MAX));
        let (mut line, mut columns) = (String::from(INDENT), INDENT.len());
        for (at, word) in text.split(' ').enumerate() {
            if at > 0 && columns + 1 + word.width() > width {
                self.line(&line)?;
                (line, columns) = (String::from(INDENT), INDENT.len());
            }
            if columns > INDENT.len() {
                line.push(' ');
                columns += 1;
            }
            line.push_str(word);
            columns += word.width();
        }
        self.line(&line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paragraph(text: &str, width: u16) -> String {
        let mut out = Vec::new();
        Page::new(&mut out, Screen { width: Some(width), color: false }).paragraph(text).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_paragraph_breaks_where_the_terminal_ends_and_never_loses_a_word() {
        assert_eq!(paragraph("one two three", 9), "  one two\n  three\n");
        assert_eq!(paragraph("遮断 遮断 遮断", 12), "  遮断 遮断\n  遮断\n", "by columns, not by characters");
        assert_eq!(paragraph("longer than that", 4), "  longer\n  than\n  that\n");
    }
}
