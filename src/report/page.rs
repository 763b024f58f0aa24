//! A page for people: lines, headed sections, paragraphs and tables, as wide as the terminal and no wider.

use std::io::{self, Write};

use unicode_width::UnicodeWidthStr as _;

use super::screen::{Screen, Tone, broken};
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

    /// A line, broken between words where the terminal ends; what goes on below stands as far in as its beginning.
    ///
    /// # Errors
    /// The output's, here as everywhere below.
    pub fn line(&mut self, text: &str) -> io::Result<()> {
        fitting(text, self.screen).iter().try_for_each(|line| writeln!(self.out, "{line}"))
    }

    /// A line in a tone.
    ///
    /// # Errors
    /// The output's.
    pub fn toned(&mut self, tone: Tone, text: &str) -> io::Result<()> {
        let Self { out, screen } = self;
        fitting(text, *screen).iter().try_for_each(|line| writeln!(out, "{}", screen.paint(tone, line)))
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
        table.lines().iter().try_for_each(|line| writeln!(self.out, "{line}"))
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
                writeln!(self.out, "{line}")?;
                (line, columns) = (String::from(INDENT), INDENT.len());
            }
            if columns > INDENT.len() {
                line.push(' ');
                columns += 1;
            }
            line.push_str(word);
            columns += word.width();
        }
        writeln!(self.out, "{line}")
    }
}

/// `text` in lines that fit, each as far in as the first.
fn fitting(text: &str, screen: Screen) -> Vec<String> {
    let Some(width) = screen.width.map(usize::from).filter(|&width| text.width() > width) else {
        return vec![text.to_owned()];
    };
    let words = text.trim_start_matches(' ');
    let indent = " ".repeat((text.len() - words.len()).min(width / 2));
    broken(words, width - indent.len()).iter().map(|line| format!("{indent}{line}")).collect()
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
    fn a_line_breaks_between_words_on_a_terminal_alone_and_keeps_its_indent() {
        let shown = |text: &str, width| {
            let mut out = Vec::new();
            let mut page = Page::new(&mut out, Screen { width, color: true });
            page.line(text).unwrap();
            page.toned(Tone::Bad, text).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            shown("  one two three", Some(9)),
            "  one two\n  three\n\x1b[31m  one two\x1b[0m\n\x1b[31m  three\x1b[0m\n"
        );
        assert_eq!(shown("  one two three", None), "  one two three\n\x1b[31m  one two three\x1b[0m\n");
        assert_eq!(shown("      one", Some(4)), "  on\n  e\n\x1b[31m  on\x1b[0m\n\x1b[31m  e\x1b[0m\n");
    }

    #[test]
    fn a_paragraph_breaks_where_the_terminal_ends_and_never_loses_a_word() {
        assert_eq!(paragraph("one two three", 9), "  one two\n  three\n");
        assert_eq!(paragraph("遮断 遮断 遮断", 12), "  遮断 遮断\n  遮断\n", "by columns, not by characters");
        assert_eq!(paragraph("longer than that", 4), "  longer\n  than\n  that\n");
    }
}
