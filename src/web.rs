//! Requests to a web server, and which of them only a scanner makes.

#![forbid(unsafe_code)]

pub mod probe;

use std::net::IpAddr;

/// A request, as a line of a web server's access log tells of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// Who asked. An IPv4 address is one, also where the log has it mapped into IPv6.
    pub source: IpAddr,
    /// When it was logged, in microseconds since 1970-01-01T00:00:00Z.
    pub wall_us: i64,
    /// What was asked.
    pub line: RequestLine<'a>,
    /// The status that was answered; nginx makes up 499 and 444 where none was.
    pub status: u16,
    /// The page that led there, where the log tells and the client said so.
    pub referer: Option<&'a [u8]>,
}

/// The first line of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestLine<'a> {
    /// HTTP (RFC 9112 section 3), with or without a version.
    Http {
        /// Such as `GET`.
        method: &'a [u8],
        /// As it was sent.
        target: &'a [u8],
    },
    /// The client closed the connection, or was too slow, before it had sent one.
    Nothing,
    /// Anything else: a TLS handshake, another protocol.
    NotHttp,
}

impl Request<'_> {
    /// Whether a page of some site made the browser ask: it then names the page, with its scheme (RFC 9110 section 10.1.3).
    /// Anybody can put an image into a page, and have its readers ask for anything.
    #[must_use]
    pub fn was_led_there(&self) -> bool {
        let begins = |scheme: &[u8]| {
            self.referer
                .and_then(|referer| referer.get(..scheme.len()))
                .is_some_and(|beginning| beginning.eq_ignore_ascii_case(scheme))
        };
        begins(b"http://") || begins(b"https://")
    }
}

/// What a request asks for, in one spelling, so that a pattern matches whatever way it was written: lower case,
/// `%2e` decoded (twice: scanners encode twice), in the query `+` as a blank, in the path backslashes as slashes, `//` and `/./` as `/`. `..` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spelling {
    /// From the first slash on, without the query. Empty where there is no path.
    pub path: Vec<u8>,
    /// Behind the first question mark.
    pub query: Vec<u8>,
    /// Whether the target has a scheme or is an authority alone: the client takes the server for a proxy.
    pub to_proxy: bool,
}

/// So much of a target is looked at. Probes are short; the bound is for the time that patterns take.
const LONGEST: usize = 2048;

impl Spelling {
    /// Spells `target` anew.
    #[must_use]
    pub fn of(method: &[u8], target: &[u8]) -> Self {
        let target = target.get(..LONGEST).unwrap_or(target);
        let is_authority = method == b"CONNECT";
        let (to_proxy, origin) = match find(target, b"://") {
            _ if is_authority => (true, &b""[..]),
            // A question mark before it: the address is an argument, as of a redirection.
            Some(at)
                if !target
                    .get(..at)
                    .is_some_and(|scheme| scheme.contains(&b'?') || scheme.contains(&b'/')) =>
            {
                let authority = target.get(at + 3..).unwrap_or_default();
                let path = authority.iter().position(|&octet| octet == b'/').unwrap_or(authority.len());
                (true, authority.get(path..).unwrap_or_default())
            }
            _ => (false, target),
        };
        let (path, query) = match origin.iter().position(|&octet| octet == b'?') {
            Some(at) => (origin.get(..at).unwrap_or_default(), origin.get(at + 1..).unwrap_or_default()),
            None => (origin, &b""[..]),
        };
        // In a form's values a plus stands for a blank.
        let query: Vec<u8> = query.iter().map(|&octet| if octet == b'+' { b' ' } else { octet }).collect();
        Self { path: with_plain_slashes(&decoded(path)), query: decoded(&query), to_proxy }
    }
}

/// Percent-decoded twice, in lower case.
fn decoded(text: &[u8]) -> Vec<u8> {
    let mut text = unescaped(&unescaped(text));
    text.make_ascii_lowercase();
    text
}

fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let escaped = (first == b'%').then(|| hexadecimal(after)).flatten();
        out.push(escaped.unwrap_or(first));
        rest = if escaped.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    out
}

/// The octet that two hexadecimal digits make.
pub(crate) fn hexadecimal(text: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*text.get(at)?).to_digit(16);
    u8::try_from(digit(0)? << 4 | digit(1)?).ok()
}

/// One slash where several stand, or where a part is a lone dot.
fn with_plain_slashes(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    for part in path.split_inclusive(|&octet| matches!(octet, b'/' | b'\\')) {
        let (name, slash) = match part.split_last() {
            Some((b'/' | b'\\', name)) => (name, true),
            _ => (part, false),
        };
        if out.last() == Some(&b'/') && (name == b"." || name.is_empty()) {
            continue;
        }
        out.extend_from_slice(name);
        if slash {
            out.push(b'/');
        }
    }
    out
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spelled(target: &str) -> (String, String, bool) {
        let Spelling { path, query, to_proxy } = Spelling::of(b"GET", target.as_bytes());
        let text = |octets| String::from_utf8(octets).unwrap();
        (text(path), text(query), to_proxy)
    }

    #[test]
    fn one_target_has_one_spelling() {
        for target in
            ["/.env", "//.env", "/./.ENV", "/%2eenv", "/%252Eenv", "\\.env", "///.//.env", "/%2F.env"]
        {
            assert_eq!(spelled(target), ("/.env".to_owned(), String::new(), false), "{target}");
        }
        assert_eq!(
            spelled("/a/..%2f..\\etc?X=%41+%2b"),
            ("/a/../../etc".to_owned(), "x=a +".to_owned(), false)
        );
        assert_eq!(spelled("/%zz%4"), ("/%zz%4".to_owned(), String::new(), false));
        assert_eq!(spelled("/a/."), ("/a/".to_owned(), String::new(), false));
    }

    #[test]
    fn a_proxy_is_asked_for_a_scheme_or_an_authority() {
        assert_eq!(spelled("http://example.net/.env?a"), ("/.env".to_owned(), "a".to_owned(), true));
        assert_eq!(spelled("http://example.net"), (String::new(), String::new(), true));
        assert!(Spelling::of(b"CONNECT", b"example.net:443").to_proxy);
        assert!(!spelled("/go?to=https://example.net/").2);
        assert!(!spelled("/proxy/https://example.net/").2);
    }

    proptest! {
        #[test]
        fn any_target_has_a_spelling_which_is_no_longer(target in proptest::collection::vec(any::<u8>(), 0..4096)) {
            let spelling = Spelling::of(b"GET", &target);
            prop_assert!(spelling.path.len() + spelling.query.len() <= target.len().min(LONGEST));
            prop_assert!(!spelling.path.windows(2).any(|pair| pair == b"//"));
        }
    }
}
