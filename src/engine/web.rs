//! Requests to a web server: which are probes, and when it is enough.

use super::validated::{CAPACITY, Sources, Threshold, Touched};
use super::{Action, Engine};
use crate::decide::Shielded;
use crate::detect::class::Exemption;
use crate::event::Event;
use crate::event::firing::{LINE, What};
use crate::time::Stamp;
use crate::web::probe::{Probes, Rule, Rules};
use crate::web::{Request, RequestLine};

/// The id of the rule, and of its incidents.
pub const WEB_PROBE: &str = "web-probe";

/// What is asked of a web server, and by whom.
#[derive(Debug)]
pub(super) struct Web {
    probes: Probes,
    pub(super) sources: Sources<usize>,
}

fn threshold(rule: &Rule) -> Threshold {
    Threshold {
        id: WEB_PROBE.to_owned(),
        things: rule.threshold,
        window: rule.window,
        quiet: rule.quiet,
        respond: rule.respond,
        protocol: "http",
    }
}

impl Engine {
    /// Judges requests by these rules from now on. Open incidents go on, and so do the counts of the kinds of probe that are
    /// what they were; without the rule both end.
    pub fn judge_requests(&mut self, rules: &Rules, now: Stamp, actions: &mut Vec<Action>) {
        let Some(rule) = rules.rule.as_ref().filter(|rule| rule.enabled) else {
            self.finish_requests(now, actions);
            self.web = None;
            return;
        };
        let (threshold, probes) = (threshold(rule), Probes::new(&rules.probes));
        match &mut self.web {
            Some(web) => {
                web.sources.carry_over(threshold, |before| probes.kind_of(web.probes.get(before)?));
                web.probes = probes;
            }
            None => self.web = Some(Web { probes, sources: Sources::new(threshold, CAPACITY) }),
        }
    }

    /// Ends all incidents of requests.
    pub(super) fn finish_requests(&mut self, now: Stamp, actions: &mut Vec<Action>) {
        while let Some(end) = self.web.as_mut().and_then(|web| web.sources.end_first(now)) {
            actions.push(Action::Tell(Event::IncidentEnd(Box::new(end))));
        }
    }

    /// Takes in one request. Time must not go back. `at` is when it was read, or the time in the log.
    ///
    /// Whoever sent it has completed a handshake, so the address is proven; whether its owner meant it is another
    /// question, so a request that a page led to is no probe.
    pub fn request(&mut self, request: &Request<'_>, at: Stamp, actions: &mut Vec<Action>) {
        self.advance(at, actions);
        self.counts.packets += 1;
        let key = self.widths.source(request.source, "");
        match self.shield.covers(key.net()) {
            Some(Shielded::Nobody) => return self.exempt(Exemption::NobodysAddress),
            Some(Shielded::Protected) => return self.exempt(Exemption::Protected),
            Some(Shielded::Allowed) | None => {}
        }
        let Some(web) = self.web.as_mut().filter(|_| !request.was_led_there()) else { return };
        let Some(probe) = web.probes.of(request) else { return };
        self.counts.evidence += 1;
        let name = web.probes.name(probe).unwrap_or_default();
        let asked = || asked(request, name);
        let Touched { displaced, told, grounds } = web.sources.touch(key, request.source, probe, at, asked);
        self.counts.incidents += u64::from(matches!(told, Some(Event::Incident(_))));
        self.counts.incidents_displaced += u64::from(displaced.is_some());
        actions.extend(displaced.map(|end| Action::Tell(Event::IncidentEnd(Box::new(end)))));
        actions.extend(told.map(Action::Tell));
        if let Some(grounds) = grounds {
            self.answer(grounds, request.source, at, actions);
        }
    }
}

/// A request as it is shown: octets from outside.
fn asked(request: &Request<'_>, probe: &str) -> What {
    let line = match request.line {
        RequestLine::Http { method, target } => {
            let whole = [method, b" ", target].concat();
            match whole.get(..LINE) {
                Some(start) if whole.len() > LINE => format!("{}…", String::from_utf8_lossy(start)),
                _ => String::from_utf8_lossy(&whole).into_owned(),
            }
        }
        RequestLine::Nothing | RequestLine::NotHttp => "no HTTP".to_owned(),
    };
    What::Request { probe: probe.to_owned(), line, status: request.status }
}
