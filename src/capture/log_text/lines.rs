//! Cuts input into lines without trusting it: bounded length, any octets, any line end.

use std::io::{self, BufRead, Read};

/// The longest line that is read, in octets without its line end. The kernel's own limit is 1 KiB and a journal entry
/// with all its fields stays below 4 KiB; beyond this it is no log.
pub const MAX_LINE: usize = 64 * 1024;

/// A line and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// Counted from 1.
    pub number: u64,
    /// Its octets without the line end; `None` if it was longer than [`MAX_LINE`] and skipped.
    pub text: Option<&'a [u8]>,
}

/// The lines of a reader.
#[derive(Debug)]
pub struct Lines<R> {
    input: R,
    buffer: Vec<u8>,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    /// Starts at line 1.
    pub const fn new(input: R) -> Self {
        Self { input, buffer: Vec::new(), number: 0 }
    }

    /// The next line; `None` at the end of input. The last line needs no line end.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn next_line(&mut self) -> io::Result<Option<Line<'_>>> {
        self.buffer.clear();
        let limit = MAX_LINE as u64 + 1;
        if self.input.by_ref().take(limit).read_until(b'\n', &mut self.buffer)? == 0 {
            return Ok(None);
        }
        self.number += 1;
        let number = self.number;
        if self.buffer.len() > MAX_LINE && self.buffer.last() != Some(&b'\n') {
            self.input.skip_until(b'\n')?;
            return Ok(Some(Line { number, text: None }));
        }
        Ok(Some(Line { number, text: Some(trim(&self.buffer)) }))
    }
}

/// Without line end and blanks around, and without the NUL octets a file system leaves in a log after a power loss.
pub(super) fn trim(mut line: &[u8]) -> &[u8] {
    let is_filler = |octet: &u8| octet.is_ascii_whitespace() || *octet == 0;
    while let Some((first, rest)) = line.split_first()
        && is_filler(first)
    {
        line = rest;
    }
    while let Some((last, rest)) = line.split_last()
        && is_filler(last)
    {
        line = rest;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(input: &[u8]) -> Vec<(u64, Option<Vec<u8>>)> {
        let mut lines = Lines::new(input);
        let mut out = Vec::new();
        while let Some(line) = lines.next_line().unwrap() {
            out.push((line.number, line.text.map(<[u8]>::to_vec)));
        }
        out
    }

    #[test]
    fn line_ends_nul_octets_and_invalid_utf8_are_tolerated() {
        let lines = all(b"a\r\n\0\0b\n\n\xff\xfe\nlast");
        let expected: [&[u8]; 5] = [b"a", b"b", b"", b"\xff\xfe", b"last"];
        let expected: Vec<_> = (1..).zip(expected).map(|(n, text)| (n, Some(text.to_vec()))).collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_line_above_the_limit_is_skipped_whole_and_the_next_one_is_read() {
        let mut input = vec![b'x'; MAX_LINE];
        input.extend_from_slice(b"\n");
        input.extend(std::iter::repeat_n(b'y', 3 * MAX_LINE));
        input.extend_from_slice(b"\nnext\n");
        let lines = all(&input);
        assert_eq!(lines[0].1.as_ref().map(Vec::len), Some(MAX_LINE));
        assert_eq!(lines[1], (2, None));
        assert_eq!(lines[2], (3, Some(b"next".to_vec())));
        assert_eq!(lines.len(), 3);
    }
}
