//! The terminal somebody reads on, if it is one: its width, and whether it shows colour.

use std::borrow::Cow;
use std::fmt;
use std::io::IsTerminal as _;
use std::os::fd::AsFd;
use std::str::FromStr;

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Color {
    /// On a terminal that has colours, by its TERM, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// The words for it.
    pub const NAMES: [&str; 3] = ["auto", "always", "never"];
}

impl fmt::Display for Color {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Always => "always",
            Self::Never => "never",
        })
    }
}

impl FromStr for Color {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "auto" => Ok(Self::Auto),
            "always" => Ok(Self::Always),
            "never" => Ok(Self::Never),
            _ => Err("auto, always or never is expected"),
        }
    }
}

/// How a piece of text stands out (ECMA-48 select graphic rendition, 8 colours: every terminal has them).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Headings.
    Strong,
    /// What can wait.
    Faint,
    /// As it should be.
    Good,
    /// Worth a look.
    Warn,
    /// Needs somebody.
    Bad,
}

impl Tone {
    const fn sequence(self) -> &'static str {
        match self {
            Self::Strong => "\x1b[1m",
            Self::Faint => "\x1b[2m",
            Self::Good => "\x1b[32m",
            Self::Warn => "\x1b[33m",
            Self::Bad => "\x1b[31m",
        }
    }
}

/// What the output goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Screen {
    /// Columns of the terminal; `None` where it is none, and lines may be as long as they like.
    pub width: Option<u16>,
    /// Whether to send colour.
    pub color: bool,
}

impl Screen {
    /// Looks at what `output` is and at the environment. `Color::Always` and `Never` win over NO_COLOR, as
    /// no-color.org asks of command line options.
    #[must_use]
    pub fn of(output: &impl AsFd, color: Color) -> Self {
        let terminal = output.as_fd().is_terminal();
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let term = std::env::var("TERM").unwrap_or_default();
        Self {
            width: terminal.then(|| columns(output)).flatten(),
            color: match color {
                Color::Always => true,
                Color::Never => false,
                Color::Auto => terminal && has_color(&term) && !set("NO_COLOR"),
            },
        }
    }

    /// `text` in a tone, where colour is shown.
    #[must_use]
    pub fn paint<'a>(self, tone: Tone, text: &'a str) -> Cow<'a, str> {
        if self.color && !text.is_empty() {
            Cow::Owned(format!("{}{text}\x1b[0m", tone.sequence()))
        } else {
            Cow::Borrowed(text)
        }
    }
}

/// Whether a terminal of this name has colours: not those that nobody knows, DEC's (VT100 to VT420), and the ones whose
/// name says so (term(7): `-m`, `-mono`).
fn has_color(term: &str) -> bool {
    let monochrome = term.starts_with("vt") || term.ends_with("-m") || term.ends_with("-mono");
    moves_its_cursor(term) && !monochrome
}

/// Whether a terminal of this name can show a view that is drawn again and again.
#[must_use]
pub fn moves_its_cursor(term: &str) -> bool {
    !matches!(term, "" | "dumb" | "unknown")
}

/// Whether `output` is a terminal that may know nothing but ASCII: whoever sits at it has a locale without UTF-8. As in
/// locale(7), the first of the three that is set decides, and without any it is `C`.
#[must_use]
pub fn is_plain(output: &impl AsFd) -> bool {
    let values = ["LC_ALL", "LC_CTYPE", "LANG"].map(|name| std::env::var(name).unwrap_or_default());
    output.as_fd().is_terminal() && !is_utf8(values.iter().map(String::as_str))
}

fn is_utf8<'a>(values: impl IntoIterator<Item = &'a str>) -> bool {
    let locale = values.into_iter().find(|value| !value.is_empty()).unwrap_or("C").to_ascii_uppercase();
    locale.contains("UTF-8") || locale.contains("UTF8")
}

/// The same in ASCII and as wide, for a terminal that is [plain](is_plain): what has no likeness there is `?`.
#[must_use]
pub fn in_ascii(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_ascii() {
            plain.push(letter);
            continue;
        }
        let like = match letter {
            '…' => '~',
            '↑' => '^',
            '↓' | '▼' => 'v',
            '─' => '-',
            '│' => '|',
            '┌' | '┐' | '└' | '┘' => '+',
            // A sparkline's bars, the lowest first.
            '▁' => '_',
            '▂' => '.',
            '▃' => ':',
            '▄' => '-',
            '▅' => '=',
            '▆' => '+',
            '▇' => '*',
            '█' => '#',
            _ => '?',
        };
        plain.extend(std::iter::repeat_n(like, letter.width().unwrap_or(0)));
    }
    Cow::Owned(plain)
}

/// Lines of the terminal that `output` is; none where it is none.
#[must_use]
pub fn height(output: &impl AsFd) -> Option<u16> {
    let asked = || rustix::termios::tcgetwinsize(output).ok().map(|size| size.ws_row);
    let terminal = output.as_fd().is_terminal();
    terminal.then(asked).flatten().filter(|&lines| lines > 0)
}

/// A window of no columns is one that nobody has told the size of.
fn columns(output: &impl AsFd) -> Option<u16> {
    let told = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    let asked = rustix::termios::tcgetwinsize(output).ok().map(|size| size.ws_col);
    told.or(asked).filter(|&columns| columns > 0)
}

/// `text` in `room` columns; what is cut off leaves an ellipsis.
#[must_use]
pub fn cut(text: &str, room: usize) -> String {
    if text.width() <= room {
        return text.to_owned();
    }
    let mut free = room.saturating_sub(1);
    let fits = |letter: &char| {
        let width = letter.width().unwrap_or(0);
        free.checked_sub(width).map(|left| free = left).is_some()
    };
    let mut shown: String = text.chars().take_while(fits).collect();
    if room > 0 {
        shown.push('…');
    }
    shown
}

/// `text` in lines of `room` columns at most, broken at a blank where there is one; a blank line stays a line.
#[must_use]
pub fn broken(text: &str, room: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for letter in text.chars() {
        let begins_anew = line.is_empty() && !lines.is_empty();
        if line.width() + letter.width().unwrap_or(0) > room && !line.is_empty() {
            if letter == ' ' {
                lines.push(std::mem::take(&mut line));
                continue;
            }
            let blank =
                line.rfind(' ').filter(|at| line.get(..*at).is_some_and(|head| !head.trim().is_empty()));
            let rest = blank.map(|at| line.split_off(at));
            lines.push(std::mem::replace(&mut line, rest.unwrap_or_default().trim_start().to_owned()));
        } else if begins_anew && letter == ' ' {
            continue;
        }
        line.push(letter);
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_gets_no_colour_and_no_width_unless_asked_for() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(Screen::of(&file, Color::Auto), Screen { width: None, color: false });
        assert_eq!(Screen::of(&file, Color::Always), Screen { width: None, color: true });
    }

    #[test]
    fn every_name_of_a_colour_choice_reads_back() {
        for name in Color::NAMES {
            assert_eq!(name.parse::<Color>().unwrap().to_string(), name);
        }
    }

    #[test]
    fn paint_adds_nothing_where_there_is_no_colour() {
        assert_eq!(Screen::default().paint(Tone::Bad, "lost"), "lost");
        assert_eq!(Screen { width: None, color: true }.paint(Tone::Bad, "lost"), "\x1b[31mlost\x1b[0m");
    }

    #[test]
    fn a_terminal_without_colours_is_known_by_its_name() {
        for (term, cursor, color) in [
            ("xterm-256color", true, true),
            ("linux", true, true),
            ("vt100", true, false),
            ("vt220", true, false),
            ("linux-m", true, false),
            ("dumb", false, false),
            ("", false, false),
        ] {
            assert_eq!((moves_its_cursor(term), has_color(term)), (cursor, color), "{term}");
        }
    }

    #[test]
    fn the_first_locale_that_is_set_decides_and_none_is_ascii() {
        for (values, utf8) in [
            (["", "", "en_GB.UTF-8"], true),
            (["", "", "ja_JP.utf8"], true),
            (["C", "", "en_GB.UTF-8"], false),
            (["", "de_DE.ISO-8859-1", "en_GB.UTF-8"], false),
            (["C.UTF-8", "C", "C"], true),
            (["", "", ""], false),
        ] {
            assert_eq!(is_utf8(values), utf8, "{values:?}");
        }
    }

    #[test]
    fn ascii_is_as_wide_as_what_it_stands_for() {
        for text in ["22, 23 …", "SOURCE▼", "▁▂▃▄▅▆▇█", "┌─┐│└┘", "é 遮断", "plain"]
        {
            let plain = in_ascii(text);
            assert!(plain.is_ascii(), "{plain}");
            assert_eq!(plain.width(), text.width(), "{plain}");
        }
        assert_eq!(in_ascii("é 遮…"), "? ??~");
    }

    #[test]
    fn what_is_broken_loses_nothing_and_is_never_wider() {
        assert_eq!(broken("", 4), [""]);
        assert_eq!(broken("abcdefghi", 4), ["abcd", "efgh", "i"]);
        assert_eq!(broken("遮断遮断", 5), ["遮断", "遮断"]);
        assert_eq!(broken("one two three", 8), ["one two", "three"]);
        assert_eq!(broken("  one-two three", 9), ["  one-two", "three"]);
        assert_eq!(broken("one two", 3), ["one", "two"]);
        assert_eq!(broken("one two  three", 7), ["one two", "three"]);
    }

    #[test]
    fn what_is_cut_ends_in_an_ellipsis_and_is_never_wider() {
        for (text, room, shown) in [
            ("abcd", 4, "abcd"),
            ("abcde", 4, "abc…"),
            ("遮断遮断", 5, "遮断…"),
            ("ab", 1, "…"),
            ("ab", 0, ""),
        ] {
            assert_eq!(cut(text, room), shown);
            assert!(cut(text, room).width() <= room);
        }
    }
}
