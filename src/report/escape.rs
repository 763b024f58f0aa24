//! Text from outside made harmless: log prefixes, reasons, names of files, error texts.
//!
//! A terminal obeys control characters (the C1 ones too, in 8-bit mode), and bidirectional or invisible characters let
//! a line show something else than it says. All of them become `\u{…}`; a backslash is doubled, so that what is shown
//! has one reading.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether `c` acts instead of showing: controls, line and paragraph separators, bidirectional formatting
/// (Unicode Standard Annex 9), characters without width, tags and annotations.
#[must_use]
pub fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{3164}' | '\u{ffa0}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// `text` for a terminal or a log line; borrowed where nothing had to be changed.
#[must_use]
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(|c: char| acts(c) || c == '\\') {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        push(&mut shown, c);
    }
    Cow::Owned(shown)
}

/// The same for text whose parts from outside are escaped already, or may not be: a backslash stays as it is.
#[must_use]
pub fn disarm(text: &str) -> Cow<'_, str> {
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if c == '\\' { shown.push(c) } else { push(&mut shown, c) }
    }
    Cow::Owned(shown)
}

/// The same for octets that may be no UTF-8: what is not becomes `\x..`.
#[must_use]
pub fn escape_octets(octets: &[u8]) -> String {
    let mut shown = String::with_capacity(octets.len());
    for chunk in octets.utf8_chunks() {
        for c in chunk.valid().chars() {
            push(&mut shown, c);
        }
        for octet in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(shown, "\\x{octet:02x}");
        }
    }
    shown
}

fn push(shown: &mut String, c: char) {
    match c {
        '\n' => shown.push_str("\\n"),
        '\r' => shown.push_str("\\r"),
        '\t' => shown.push_str("\\t"),
        '\\' => shown.push_str("\\\\"),
        _ if acts(c) => {
            let _ = write!(shown, "\\u{{{:x}}}", u32::from(c));
        }
        _ => shown.push(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_of_any_script_is_left_alone() {
        for text in ["IN=eth0 OUT=", "遮断しました", "naïve — “quoted”", ""] {
            assert!(matches!(escape(text), Cow::Borrowed(same) if same == text));
        }
    }

    #[test]
    fn what_a_terminal_would_obey_is_spelled_out() {
        assert_eq!(escape("\u{1b}]0;owned\u{7}"), r"\u{1b}]0;owned\u{7}");
        assert_eq!(escape("\u{9b}2J"), r"\u{9b}2J");
        assert_eq!(escape("a\nb\tc\rd\\e\0"), r"a\nb\tc\rd\\e\u{0}");
        assert_eq!(escape("user\u{202e}txt.exe\u{2066}"), r"user\u{202e}txt.exe\u{2066}");
        assert_eq!(escape("ad\u{200b}min\u{e0041}"), r"ad\u{200b}min\u{e0041}");
    }

    #[test]
    fn what_is_escaped_already_stays_so() {
        let text = escape("a\\b\u{1b}[2J").into_owned();
        assert_eq!(disarm(&text), text);
        assert_eq!(disarm("a\\b\u{1b}[2J\n"), r"a\b\u{1b}[2J\n");
    }

    #[test]
    fn octets_that_are_no_utf8_are_spelled_out_one_by_one() {
        assert_eq!(
            escape_octets(b"nfban:\xff\x9brefused \xe9\x81\xae\x1b"),
            "nfban:\\xff\\x9brefused 遮\\u{1b}"
        );
    }
}
