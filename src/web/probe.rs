//! What only scanners ask a web server for.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::{Request, RequestLine, Spelling};
use crate::decide::Response;

/// How many kinds of probe there may be.
pub const MAX_PROBES: usize = 1024;

/// How many distinct kinds a rule may ask for.
pub const MAX_THRESHOLD: u64 = 64;

/// What the rules files say of web requests.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rules {
    /// The rule `web-probe`; none where no file has it.
    pub rule: Option<Rule>,
    /// The kinds of probe it counts; the first that matches is the request's.
    pub probes: Vec<Probe>,
}

/// How many distinct kinds of probe from one source are enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// A few words for people.
    pub title: String,
    /// Whether it is used.
    pub enabled: bool,
    /// Fires when so many distinct kinds were asked for; 1–[`MAX_THRESHOLD`].
    pub threshold: usize,
    /// A kind counts while its latest request is younger than this; more than zero, at most 30 days.
    pub window: Duration,
    /// How long an incident stays open without a probe.
    pub quiet: Duration,
    /// Overrides the configured response.
    pub respond: Option<Response>,
}

/// One kind of probe: every part that is not empty must hold, and the values of a part are alternatives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Probe {
    /// Its name; two enabled ones never share one.
    pub name: String,
    /// Whether it is used.
    pub enabled: bool,
    /// The form of the request; none is any that is HTTP.
    pub form: Option<Form>,
    /// Methods, as they are sent.
    pub method: Vec<String>,
    /// The path.
    pub path: Vec<Pattern>,
    /// The query.
    pub query: Vec<Pattern>,
    /// The status that was answered.
    pub status: Vec<RangeInclusive<u16>>,
}

/// The form of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// For another server, through this one: CONNECT, or a target with a scheme.
    Proxy,
    /// No HTTP: a TLS handshake, another protocol.
    NotHttp,
}

impl Probe {
    /// Whether `request`, whose target is spelled `spelling`, is one of these.
    fn matches(&self, request: &Request<'_>, method: &[u8], spelling: &Spelling) -> bool {
        let form = match request.line {
            RequestLine::Http { .. } if spelling.to_proxy => Some(Form::Proxy),
            RequestLine::Http { .. } => None,
            RequestLine::NotHttp => Some(Form::NotHttp),
            RequestLine::Nothing => return false,
        };
        let is_form = match self.form {
            None => form != Some(Form::NotHttp),
            asked => form == asked,
        };
        let any = |patterns: &[Pattern], text: &[u8]| {
            patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(text))
        };
        is_form
            && (self.status.is_empty() || self.status.iter().any(|range| range.contains(&request.status)))
            && (self.method.is_empty() || self.method.iter().any(|known| known.as_bytes() == method))
            && any(&self.path, &spelling.path)
            && any(&self.query, &spelling.query)
    }
}

/// The enabled kinds of probe.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Probes(Vec<Probe>);

impl Probes {
    /// The enabled ones of `probes`, in their order.
    #[must_use]
    pub fn new(probes: &[Probe]) -> Self {
        Self(probes.iter().filter(|probe| probe.enabled).cloned().collect())
    }

    /// Which kind of probe a request is; the first one that matches.
    #[must_use]
    pub fn of(&self, request: &Request<'_>) -> Option<usize> {
        let (method, spelling) = match request.line {
            RequestLine::Http { method, target } => (method, Spelling::of(method, target)),
            RequestLine::Nothing | RequestLine::NotHttp => (&b""[..], Spelling::default()),
        };
        self.0.iter().position(|probe| probe.matches(request, method, &spelling))
    }

    /// A kind.
    #[must_use]
    pub fn get(&self, kind: usize) -> Option<&Probe> {
        self.0.get(kind)
    }

    /// The kind that is the same as `probe`, under the same name.
    #[must_use]
    pub fn kind_of(&self, probe: &Probe) -> Option<usize> {
        self.0.iter().position(|other| other == probe)
    }

    /// The name of a kind.
    #[must_use]
    pub fn name(&self, kind: usize) -> Option<&str> {
        self.0.get(kind).map(|probe| probe.name.as_str())
    }
}

/// Text with `*` for any octets, none too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// What stands between the stars, in lower case; never empty.
    parts: Vec<Vec<u8>>,
    /// Whether a star stands at the beginning.
    any_before: bool,
    /// Whether a star stands at the end.
    any_behind: bool,
}

impl Pattern {
    /// Reads a pattern; none where nothing but stars is in it.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let parts: Vec<Vec<u8>> =
            text.split('*').filter(|part| !part.is_empty()).map(|part| part.as_bytes().to_vec()).collect();
        let (any_before, any_behind) = (text.starts_with('*'), text.ends_with('*'));
        (!parts.is_empty()).then_some(Self { parts, any_before, any_behind })
    }

    /// Whether all of `text` is what the pattern says. The first place that fits is taken for each part but the last,
    /// so the time is that of looking for each part once.
    #[must_use]
    pub fn matches(&self, text: &[u8]) -> bool {
        let Some((last, before)) = self.parts.split_last() else { return true };
        let mut rest = text;
        let mut anchored = !self.any_before;
        for part in before {
            let found = if anchored {
                rest.strip_prefix(part.as_slice())
            } else {
                super::find(rest, part).and_then(|at| rest.get(at + part.len()..))
            };
            let Some(behind) = found else { return false };
            (rest, anchored) = (behind, false);
        }
        match (anchored, self.any_behind) {
            (true, true) => rest.starts_with(last),
            (true, false) => rest == last.as_slice(),
            (false, true) => super::find(rest, last).is_some(),
            (false, false) => rest.ends_with(last),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a pattern means, in as few words as there can be.
    fn naive(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|at| naive(rest, &text[at..])),
            Some((first, rest)) => {
                text.split_first().is_some_and(|(octet, text)| octet == first && naive(rest, text))
            }
        }
    }

    proptest! {
        #[test]
        fn a_pattern_means_what_its_definition_says(pattern in "[ab*]{1,8}", text in "[ab]{0,12}") {
            let Some(compiled) = Pattern::new(&pattern) else { return Ok(()) };
            prop_assert_eq!(compiled.matches(text.as_bytes()), naive(pattern.as_bytes(), text.as_bytes()));
        }
    }

    #[test]
    fn every_part_of_a_probe_must_hold() {
        let pattern = |text| Pattern::new(text).unwrap();
        let probe = Probe {
            name: "p".to_owned(),
            enabled: true,
            method: vec!["GET".to_owned()],
            path: vec![pattern("/a/*"), pattern("*.env")],
            query: vec![pattern("*x*")],
            status: vec![400..=499],
            ..Probe::default()
        };
        let off = Probe { enabled: false, ..probe.clone() };
        let probes = Probes::new(&[off, probe]);
        let request = |method: &'static str, target: &'static str, status| Request {
            source: [192, 0, 2, 7].into(),
            wall_us: 0,
            line: RequestLine::Http { method: method.as_bytes(), target: target.as_bytes() },
            status,
            referer: None,
        };
        assert_eq!(probes.of(&request("GET", "/b/.ENV?ax", 404)), Some(0));
        assert_eq!(probes.name(0), Some("p"));
        for (method, target, status) in [
            ("POST", "/b/.env?x", 404),
            ("GET", "/b/.envx?x", 404),
            ("GET", "/b/.env?y", 404),
            ("GET", "/b/.env?x", 200),
        ] {
            assert_eq!(probes.of(&request(method, target, status)), None, "{method} {target} {status}");
        }
    }
}
