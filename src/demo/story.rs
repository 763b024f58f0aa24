//! How the story is told: a line as each thing happens, with the time since the beginning and who did it.

#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::time::{Duration, Instant};

use crate::report::screen::{Screen, Tone};

/// No line is longer, on a terminal or not, so that what was shown can be pasted anywhere.
const WIDTH: usize = 80;
/// Where the text of a line begins, after the time and who.
const INDENT: usize = 21;
/// Where a quotation begins.
const QUOTE: usize = INDENT + 2;

/// Who did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    Victim,
    Attacker,
    Nfban,
    Kernel,
}

impl Who {
    const fn name(self) -> &'static str {
        match self {
            Self::Victim => "victim",
            Self::Attacker => "attacker",
            Self::Nfban => "nfban",
            Self::Kernel => "kernel",
        }
    }

    const fn tone(self) -> Tone {
        match self {
            Self::Victim => Tone::Strong,
            Self::Attacker => Tone::Bad,
            Self::Nfban => Tone::Good,
            Self::Kernel => Tone::Warn,
        }
    }
}

/// The story so far has been written to `out`.
pub(super) struct Story<'a> {
    out: &'a mut dyn Write,
    screen: Screen,
    start: Instant,
}

impl<'a> Story<'a> {
    pub(super) fn new(out: &'a mut dyn Write, screen: Screen) -> Self {
        Self { out, screen, start: Instant::now() }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Text over the whole width.
    pub(super) fn say(&mut self, text: &str) -> io::Result<()> {
        for line in wrap(text, WIDTH) {
            writeln!(self.out, "{line}")?;
        }
        self.out.flush()
    }

    /// Text as it is: its lines are known to be short.
    pub(super) fn draw(&mut self, lines: &str) -> io::Result<()> {
        writeln!(self.out, "{lines}")?;
        self.out.flush()
    }

    /// A new part of the story.
    pub(super) fn scene(&mut self, title: &str) -> io::Result<()> {
        writeln!(self.out, "\n{}", self.screen.paint(Tone::Strong, title))?;
        self.out.flush()
    }

    /// What somebody did, just now.
    pub(super) fn tell(&mut self, who: Who, text: &str) -> io::Result<()> {
        let time = format!("{:7.2} s", self.elapsed().as_secs_f64());
        let name = format!("{:<8}", who.name());
        let mut lines = wrap(text, WIDTH - INDENT).into_iter();
        let first = lines.next().unwrap_or_default();
        let (time, name) = (self.screen.paint(Tone::Faint, &time), self.screen.paint(who.tone(), &name));
        writeln!(self.out, "{time}  {name}  {first}")?;
        for line in lines {
            writeln!(self.out, "{:INDENT$}{line}", "")?;
        }
        self.out.flush()
    }

    /// Somebody's own words; a line that is too long goes on in the next.
    pub(super) fn quote(&mut self, text: &str) -> io::Result<()> {
        for line in wrap(text, WIDTH - QUOTE) {
            writeln!(self.out, "{:QUOTE$}{}", "", self.screen.paint(Tone::Strong, &line))?;
        }
        self.out.flush()
    }
}

/// Breaks `text` at spaces into lines of at most `width` characters; a word that is longer has a line of its own. A
/// no-break space, as between a number and its unit, comes out as a plain one.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ').filter(|word| !word.is_empty()).map(|word| word.replace('\u{a0}', " ")) {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_spaces_and_never_in_a_word() {
        assert_eq!(wrap("one two  three", 7), ["one two", "three"]);
        assert_eq!(wrap("a long-word b", 4), ["a", "long-word", "b"]);
        assert_eq!(wrap("lasts 4\u{a0}s", 7), ["lasts", "4 s"]);
        assert!(wrap(" ", 4).is_empty());
    }

    #[test]
    fn a_line_says_when_and_who_and_stays_within_80_columns() {
        let mut out = Vec::new();
        let mut story = Story::new(&mut out, Screen::default());
        story.scene("A scene").unwrap();
        story.tell(Who::Nfban, &"word ".repeat(30)).unwrap();
        story.quote(&"word ".repeat(30)).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(text.starts_with("\nA scene\n   0.0"), "{text}");
        assert_eq!(text.lines().nth(2).unwrap().find("word"), Some(INDENT));
        assert_eq!(text.lines().nth(3).unwrap().find("word"), Some(INDENT));
    }
}
