//! One line of a web server's access log becomes a [`Request`]: the common and the combined format of Apache and nginx,
//! and either with a virtual host in front (Apache's `vhost_combined`).
//!
//! ```text
//! [HOST:PORT ]ADDRESS IDENT USER [10/Oct/2000:13:55:36 -0700] "GET /a HTTP/1.1" 200 2326[ "REFERER" "AGENT"]
//! ```
//!
//! Most of a line is what a client sent. Both servers escape quotes, backslashes and control characters within it
//! (`\"`, `\xHH`), so the first quotation mark of a line begins the request, and the first one that is not escaped
//! ends it. Only what the server itself put in front of the user's name counts as the source: the address at the
//! beginning of the line, never `X-Forwarded-For`.

#![forbid(unsafe_code)]

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use crate::web::{Request, RequestLine, hexadecimal};

/// Why a line is not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
pub enum Reason {
    /// The first word, or the one behind `HOST:PORT`, is no address: host names are looked up (`HostnameLookups`), or
    /// the log is of another format.
    #[error("it does not begin with an address (or HOST:PORT and an address)")]
    NoAddress,
    /// No request in quotation marks, or none that ends.
    #[error("no request in quotation marks")]
    NoRequest,
    /// Something else stands before the request.
    #[error("no time such as [10/Oct/2000:13:55:36 -0700] before the request")]
    NoTime,
    /// No number of three digits behind the request.
    #[error("no status behind the request")]
    NoStatus,
}

/// Reads lines. Holds what had escapes in it.
#[derive(Debug, Default)]
pub struct Decoder {
    request: Vec<u8>,
    referer: Vec<u8>,
}

impl Decoder {
    /// A decoder; one serves any number of lines.
    #[must_use]
    pub const fn new() -> Self {
        Self { request: Vec::new(), referer: Vec::new() }
    }

    /// Reads one line, with or without its line end. Takes any octets. What is behind the status may be missing or cut.
    ///
    /// # Errors
    /// Why it is no such line.
    pub fn decode(&mut self, line: &[u8]) -> Result<Request<'_>, Reason> {
        let begin = line.iter().position(|&octet| octet == b'"').ok_or(Reason::NoRequest)?;
        let (before, quoted) = line.split_at_checked(begin).ok_or(Reason::NoRequest)?;
        let source = source(before).ok_or(Reason::NoAddress)?;
        let wall_us = time(before).ok_or(Reason::NoTime)?;
        let rest = text(quoted, &mut self.request).ok_or(Reason::NoRequest)?;
        let (status, rest) = status(rest).ok_or(Reason::NoStatus)?;
        self.referer.clear();
        // The size, or `-`; then the referer, in the combined format.
        let referer = rest.iter().position(|&octet| octet == b'"').and_then(|at| rest.get(at..));
        let has_referer = referer.is_some_and(|quoted| text(quoted, &mut self.referer).is_some());
        let referer = (has_referer && self.referer != b"-").then_some(self.referer.as_slice());
        Ok(Request { source, wall_us, line: request_line(&self.request), status, referer })
    }
}

/// The address at the beginning; behind a word that ends in a port if it is that of a virtual host. A host name that a
/// name server made up has no port, and what stands behind it may be made up too.
fn source(before: &[u8]) -> Option<IpAddr> {
    // A file system that lost power, or a writer whose file was truncated, leaves NUL octets.
    let filler = before.iter().take_while(|&&octet| octet == 0).count();
    let mut words = before.get(filler..)?.split(|&octet| octet == b' ').filter(|word| !word.is_empty());
    let first = std::str::from_utf8(words.next()?).ok()?;
    if let Some(address) = address(first) {
        return Some(address);
    }
    let port = first.rsplit_once(':')?.1;
    port.parse::<u16>().ok()?;
    address(std::str::from_utf8(words.next()?).ok()?)
}

/// A link-local address may name its interface (`fe80::1%eth0`), which the log is not needed for.
fn address(word: &str) -> Option<IpAddr> {
    let word = word.split_once('%').map_or(word, |(address, _)| address);
    word.parse().ok().map(|address: IpAddr| address.to_canonical())
}

/// `[10/Oct/2000:13:55:36 -0700]`, the last word but for blanks.
fn time(before: &[u8]) -> Option<i64> {
    let text = before.trim_ascii_end().strip_suffix(b"]")?;
    let begin = text.iter().rposition(|&octet| octet == b'[')?;
    let text = std::str::from_utf8(text.get(begin + 1..)?).ok()?;
    let time = jiff::fmt::strtime::parse("%d/%b/%Y:%H:%M:%S %z", text).ok()?;
    Some(time.to_timestamp().ok()?.as_microsecond())
}

/// Takes the text in quotation marks at the beginning of `quoted` into `out`, its escapes undone; gives what follows.
fn text<'a>(quoted: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    out.clear();
    let mut rest = quoted.strip_prefix(b"\"")?;
    loop {
        let (&octet, after) = rest.split_first()?;
        rest = after;
        match octet {
            b'"' => return Some(rest),
            b'\\' => {
                let (&escaped, after) = rest.split_first()?;
                rest = after;
                match (escaped, hexadecimal(after)) {
                    (b'x', Some(octet)) => {
                        out.push(octet);
                        rest = after.get(2..)?;
                    }
                    (b'n', _) => out.push(b'\n'),
                    (b'r', _) => out.push(b'\r'),
                    (b't', _) => out.push(b'\t'),
                    _ => out.push(escaped),
                }
            }
            octet => out.push(octet),
        }
    }
}

/// The number behind the request, and what follows it.
fn status(rest: &[u8]) -> Option<(u16, &[u8])> {
    let rest = rest.strip_prefix(b" ")?;
    let (digits, rest) = rest.split_at_checked(3)?;
    if !digits.iter().all(u8::is_ascii_digit) || !matches!(rest.first(), None | Some(b' ' | b'\r' | b'\n')) {
        return None;
    }
    Some((std::str::from_utf8(digits).ok()?.parse().ok()?, rest))
}

/// METHOD TARGET [HTTP/VERSION]. A target with blanks in it is one all the same: clients do send such.
fn request_line(text: &[u8]) -> RequestLine<'_> {
    if text == b"-" || text.is_empty() {
        return RequestLine::Nothing;
    }
    let parsed = || {
        let space = text.iter().position(|&octet| octet == b' ')?;
        let (method, rest) = (text.get(..space)?, text.get(space + 1..)?);
        let is_method = (1..=32).contains(&method.len())
            && method.iter().all(|octet| octet.is_ascii_uppercase() || matches!(octet, b'-' | b'_'));
        let target = match rest.iter().rposition(|&octet| octet == b' ') {
            Some(at) if rest.get(at + 1..).is_some_and(|version| version.starts_with(b"HTTP/")) => {
                rest.get(..at)?
            }
            _ => rest,
        };
        (is_method && !target.is_empty()).then_some(RequestLine::Http { method, target })
    };
    parsed().unwrap_or(RequestLine::NotHttp)
}
