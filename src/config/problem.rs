//! What is wrong with a file, where, and how that is shown.

use crate::report::escape::escape;
use std::fmt::{self, Write as _};

use unicode_width::UnicodeWidthChar as _;

/// So many problems are kept of one reading; the rest is counted. A file of garbage must not fill the terminal.
const MOST_PROBLEMS: usize = 100;
/// Lines longer than this are shown in part, around the place that is meant.
const LONGEST_SNIPPET: usize = 120;

/// Whether a file can be used all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is used; somebody should look at it.
    Warning,
}

/// A stretch of one line of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Which of the files that are read as one, the first is 0.
    pub file: usize,
    /// Line, the first is 1.
    pub line: usize,
    /// Column in characters, the first is 1.
    pub column: usize,
    /// Characters that are meant; at least 1.
    pub length: usize,
}

/// One thing that is wrong, with its remedy where there is one to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file's name as it was given; text from outside, escaped when shown.
    pub file: String,
    /// Where in it; none if the file as a whole is meant.
    pub place: Option<Place>,
    /// Whether the file can be used all the same.
    pub severity: Severity,
    /// What is wrong; may hold text of the file, escaped when shown.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The line that is meant, as it stands in the file.
    pub snippet: Option<String>,
}

impl Problem {
    /// An error about a file as a whole.
    #[must_use]
    pub fn of_file(file: impl Into<String>, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            place: None,
            severity: Severity::Error,
            message: message.into(),
            hint: Some(hint.into()),
            snippet: None,
        }
    }

    /// `FILE:LINE:COLUMN: error: MESSAGE`, then the line with the place underlined and the hint. Ends in a newline.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        let (label, paint) = match self.severity {
            Severity::Error => ("error", "\x1b[1;31m"),
            Severity::Warning => ("warning", "\x1b[1;33m"),
        };
        let (bold, paint, reset) = if colour { ("\x1b[1m", paint, "\x1b[0m") } else { ("", "", "") };
        let mut out = format!("{bold}{}", escape(&self.file));
        if let Some(place) = self.place {
            let _ = write!(out, ":{}:{}", place.line, place.column);
        }
        let _ = writeln!(out, ":{reset} {paint}{label}:{reset} {bold}{}{reset}", escape(&self.message));
        let gutter = self.place.map_or(0, |place| place.line.to_string().len());
        if let (Some(place), Some(snippet)) = (self.place, &self.snippet) {
            let (text, indent, width) = excerpt(snippet, place);
            let _ = writeln!(out, "  {} | {text}", place.line);
            let _ = writeln!(out, "  {:gutter$} | {:indent$}{paint}{:^<width$}{reset}", "", "", "");
        }
        if let Some(hint) = &self.hint {
            let _ = writeln!(out, "  {:gutter$} = {}", "", escape(hint));
        }
        out
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

/// Everything that is wrong with a reading, in the order of the files and of the lines in them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Problems {
    list: Vec<Problem>,
    dropped: usize,
}

impl Problems {
    /// Adds one, unless it is there already (an alias repeats what is wrong with its anchor).
    pub fn push(&mut self, problem: Problem) {
        if self.list.contains(&problem) {
            return;
        }
        if self.list.len() < MOST_PROBLEMS {
            self.list.push(problem);
            return;
        }
        // An error takes the place of a warning, so that a flood never hides that the file is refused.
        self.dropped += 1;
        let warning = self.list.iter_mut().rev().find(|kept| kept.severity == Severity::Warning);
        if let Some(warning) = warning.filter(|_| problem.severity == Severity::Error) {
            *warning = problem;
        }
    }

    /// Counts one more instead of adding it, if it would not be kept: what is not shown need not be put together.
    pub(super) fn only_counts(&mut self, severity: Severity) -> bool {
        let full = self.list.len() >= MOST_PROBLEMS;
        let only_counts = full
            && (severity == Severity::Warning
                || self.list.iter().all(|kept| kept.severity == Severity::Error));
        self.dropped += usize::from(only_counts);
        only_counts
    }

    /// Adds those of another reading behind these.
    pub fn append(&mut self, other: Self) {
        self.dropped += other.dropped;
        other.list.into_iter().for_each(|problem| self.push(problem));
    }

    /// Whether any of them is an error.
    #[must_use]
    pub fn any_error(&self) -> bool {
        self.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many there are, those not kept included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len() + self.dropped
    }

    /// Those that were kept.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.list.iter()
    }

    /// All of them for a terminal, or for a file if `colour` is off.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        let mut out: String = self.iter().map(|problem| problem.render(colour)).collect();
        if self.dropped > 0 {
            let _ = writeln!(out, "... and {} more", self.dropped);
        }
        out
    }

    /// Puts the problems of a reading in the order of the files and of the lines in them.
    pub(super) fn sort(&mut self) {
        self.list.sort_by_key(|problem| problem.place);
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self { list: vec![problem], dropped: 0 }
    }
}

impl IntoIterator for Problems {
    type Item = Problem;
    type IntoIter = std::vec::IntoIter<Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.into_iter()
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Problems {}

/// A line as it is shown, the columns before the place, and the columns the place takes.
fn excerpt(line: &str, place: Place) -> (String, usize, usize) {
    let before = place.column.saturating_sub(1);
    let length = line.chars().count();
    let from = if length > LONGEST_SNIPPET { before.saturating_sub(LONGEST_SNIPPET / 2) } else { 0 };
    let shown: String = line.chars().skip(from).take(LONGEST_SNIPPET).collect();
    let (head, tail) =
        (if from > 0 { "..." } else { "" }, if length > from + LONGEST_SNIPPET { "..." } else { "" });
    let left: String = shown.chars().take(before - from).collect();
    let marked: String = shown.chars().skip(before - from).take(place.length).collect();
    let text = format!("{head}{}{tail}", escape(&shown));
    (text, head.len() + columns(&escape(&left)), columns(&escape(&marked)).max(1))
}

/// Terminal columns of a text without control characters.
fn columns(text: &str) -> usize {
    text.chars().filter_map(char::width).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(line: &str, column: usize, length: usize) -> Problem {
        Problem {
            file: "nfban.yaml".into(),
            place: Some(Place { file: 0, line: 7, column, length }),
            severity: Severity::Error,
            message: "unknown key `modd`".into(),
            hint: Some("did you mean `mode`?".into()),
            snippet: Some(line.into()),
        }
    }

    #[test]
    fn the_line_is_shown_with_its_place_underlined() {
        assert_eq!(
            problem("modd: watch", 1, 4).to_string(),
            "nfban.yaml:7:1: error: unknown key `modd`\n  7 | modd: watch\n    | ^^^^\n    = did you mean `mode`?\n"
        );
    }

    #[test]
    fn the_underline_follows_wide_and_escaped_characters() {
        let shown = problem("a: 日本\t\x1b[31mred", 7, 3).to_string();
        assert!(shown.contains("\n  7 | a: 日本\\t\\u{1b}[31mred\n"), "{shown}");
        assert!(shown.contains(&format!("\n    | {}{}\n", " ".repeat(9), "^".repeat(8))), "{shown}");
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let line = format!("{}bad{}", "x".repeat(5000), "y".repeat(5000));
        let shown = problem(&line, 5001, 3).to_string();
        assert!(shown.lines().all(|line| line.len() < 140), "{shown}");
        let (text, marks) = (shown.lines().nth(1).unwrap(), shown.lines().nth(2).unwrap());
        assert_eq!(text.find("bad"), marks.find("^^^"));
    }

    #[test]
    fn a_flood_of_problems_is_counted_and_an_error_is_never_lost_in_it() {
        let mut problems = Problems::default();
        for column in 1..=500 {
            problems.push(Problem { severity: Severity::Warning, ..problem("", column, 1) });
        }
        problems.push(problem("", 501, 1));
        assert!(problems.any_error());
        assert_eq!((problems.iter().count(), problems.len()), (MOST_PROBLEMS, 501));
        assert!(problems.to_string().ends_with("... and 401 more\n"));
    }
}
