//! Incidents as a picture (SVG 1.1): time against port, a colour a source. It explains itself: a title, axes with units, a
//! legend, and a text for each mark that a pointer or a screen reader finds.
//!
//! Ports are on a logarithmic scale: the ones below 1024, where most services are, get three fifths of the height, and 50000 is
//! on it as well. What has no ports (ICMP, requests in logs) has a lane below.

mod axis;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use self::axis::{Across, Down};
use super::escape::escape;
use super::json::Incident;
use super::target::Target;
use super::text::{count, span};
use crate::store::reader::Past;
use crate::time::Wall;

/// The most incidents in one picture.
pub const MOST: u32 = 5_000;

/// All lengths are in pixels at the picture's own size.
const WIDTH: f64 = 960.0;
const PLOT_LEFT: f64 = 150.0;
const PLOT_RIGHT: f64 = WIDTH - 24.0;
const PLOT_TOP: f64 = 84.0;
const PLOT_BOTTOM: f64 = 504.0;
/// The lane of what has no ports.
const LANE: f64 = PLOT_BOTTOM + 26.0;
const LEGEND_TOP: f64 = LANE + 76.0;
const ROW: f64 = 22.0;
/// No mark is smaller: a dot that can be seen.
const DOT: f64 = 5.0;

/// Colours that people who see few colours tell apart, dark enough on white (Okabe and Ito 2008, "Color Universal Design",
/// without yellow; the light ones darkened). One more is for all others.
const COLOURS: [&str; 8] =
    ["#0072b2", "#d55e00", "#007d5a", "#a03a78", "#2b2b2b", "#8a6a00", "#2a8bc0", "#7b4b94"];
const OTHERS: &str = "#8c8c8c";

/// What one source did, over all its incidents.
struct Deeds {
    rules: Vec<String>,
    incidents: u64,
    ports: u64,
    packets: u64,
}

/// Draws incidents, and says that there are more where there are. `since` and `until` are the ends of the time that was asked
/// for; without them the picture holds all.
#[must_use]
pub fn draw(incidents: &[Past], since: Option<Wall>, until: Option<Wall>, has_more: bool) -> String {
    let mut sources: BTreeMap<Target, Deeds> = BTreeMap::new();
    for Past { incident, .. } in incidents {
        let deeds = sources.entry(incident.source).or_insert_with(Deeds::none);
        deeds.add(incident);
    }
    let mut ranked: Vec<(Target, Deeds)> = sources.into_iter().collect();
    ranked.sort_by_key(|(source, deeds)| (std::cmp::Reverse((deeds.ports, deeds.packets)), *source));
    let first = since.or_else(|| incidents.iter().map(|past| past.incident.first_seen).min());
    let last = until.or_else(|| incidents.iter().map(|past| past.incident.last_seen).max());
    let across = Across::new(first, last, PLOT_LEFT, PLOT_RIGHT);
    let down = Down::new(incidents.iter().map(|past| &past.incident), PLOT_TOP, PLOT_BOTTOM);

    let mut svg = String::new();
    head(&mut svg, incidents, &ranked, &across, has_more);
    axes(&mut svg, &across, &down);
    // The oldest first, so that what is new lies above.
    for past in incidents.iter().rev() {
        mark(&mut svg, past, colour(&ranked, past.incident.source), &across, &down);
    }
    legend(&mut svg, &ranked);
    svg.push_str("</svg>\n");
    svg
}

impl Deeds {
    const fn none() -> Self {
        Self { rules: Vec::new(), incidents: 0, ports: 0, packets: 0 }
    }

    fn add(&mut self, incident: &Incident) {
        if !self.rules.contains(&incident.rule) {
            self.rules.push(incident.rule.clone());
            self.rules.sort_unstable();
        }
        self.incidents += 1;
        self.ports = self.ports.max(incident.distinct_ports);
        self.packets = self.packets.saturating_add(incident.packets);
    }

    /// `tcp-syn-scan, udp-scan: 2 incidents, up to 1000 ports, 1004 packets`.
    fn sentence(&self) -> String {
        const RULES: usize = 4;
        let mut rules = self.rules.iter().take(RULES).cloned().collect::<Vec<_>>().join(", ");
        if self.rules.len() > RULES {
            rules.push_str(" …");
        }
        let up_to = if self.incidents > 1 && self.ports > 1 { "up to " } else { "" };
        let ports = match self.ports {
            0 => String::new(),
            ports => format!(", {up_to}{}", count(ports, "port", "ports")),
        };
        let incidents = count(self.incidents, "incident", "incidents");
        format!("{rules}: {incidents}{ports}, {}", count(self.packets, "packet", "packets"))
    }
}

fn colour(ranked: &[(Target, Deeds)], source: Target) -> &'static str {
    let rank = ranked.iter().position(|(known, _)| *known == source);
    rank.and_then(|rank| COLOURS.get(rank)).copied().unwrap_or(OTHERS)
}

fn head(svg: &mut String, incidents: &[Past], ranked: &[(Target, Deeds)], across: &Across, has_more: bool) {
    let rows = ranked.len().min(COLOURS.len() + 1).max(1);
    let height = LEGEND_TOP + ROW * f64::from(u8::try_from(rows).unwrap_or(u8::MAX)) + 8.0;
    let number = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
    let what = match incidents.len() {
        0 => "no incidents".to_owned(),
        many => format!(
            "{} from {}",
            count(number(many), "incident", "incidents"),
            count(number(ranked.len()), "source", "sources")
        ),
    };
    let latest = if has_more { ", the latest of more" } else { "" };
    let title = format!("nfban: {what}{latest}");
    let when = format!("{} (UTC)", from_to(across.first, across.last));
    let _ = write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         role=\"img\" aria-labelledby=\"title desc\" font-family=\"DejaVu Sans, Verdana, sans-serif\" font-size=\"12\" \
         fill=\"#1a1a1a\">\n\
         <title id=\"title\">{title}</title>\n\
         <desc id=\"desc\">Time from left to right, {when}. Destination ports from top, 65535, to bottom, 1, on a logarithmic \
         scale. Each mark is a run of ports that one source probed in one incident, from its first packet to its \
         last; sources are told apart by colour and listed below.</desc>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"24\" y=\"34\" font-size=\"19\" font-weight=\"bold\">{title}</text>\n\
         <text x=\"24\" y=\"56\" fill=\"#555555\">{when}. A mark: ports that one source probed, from its first packet to its \
         last</text>\n",
        title = xml(&title),
    );
}

fn axes(svg: &mut String, across: &Across, down: &Down) {
    let _ = write!(
        svg,
        "<g stroke=\"#e2e2e2\" stroke-width=\"1\">\n<rect x=\"{PLOT_LEFT}\" y=\"{PLOT_TOP}\" width=\"{}\" height=\"{}\" \
         fill=\"#fafafa\" stroke=\"#9a9a9a\"/>\n",
        PLOT_RIGHT - PLOT_LEFT,
        PLOT_BOTTOM - PLOT_TOP,
    );
    for (y, _) in &down.ticks {
        let _ = writeln!(svg, "<line x1=\"{PLOT_LEFT}\" y1=\"{y:.1}\" x2=\"{PLOT_RIGHT}\" y2=\"{y:.1}\"/>");
    }
    for (x, _) in &across.ticks {
        let _ =
            writeln!(svg, "<line x1=\"{x:.1}\" y1=\"{PLOT_TOP}\" x2=\"{x:.1}\" y2=\"{:.1}\"/>", LANE + 8.0);
    }
    svg.push_str("</g>\n<g fill=\"#333333\" text-anchor=\"end\">\n");
    for (y, label) in &down.ticks {
        let _ = writeln!(svg, "<text x=\"{}\" y=\"{:.1}\">{}</text>", PLOT_LEFT - 8.0, y + 4.0, xml(label));
    }
    let _ = writeln!(svg, "<text x=\"{}\" y=\"{:.1}\">no port</text>", PLOT_LEFT - 8.0, LANE + 4.0);
    svg.push_str("</g>\n<g fill=\"#333333\" text-anchor=\"middle\">\n");
    for (x, label) in &across.ticks {
        let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{:.1}\">{}</text>", LANE + 26.0, xml(label));
    }
    let middle = f64::midpoint(PLOT_LEFT, PLOT_RIGHT);
    let _ = writeln!(
        svg,
        "<text x=\"{middle:.1}\" y=\"{:.1}\" font-weight=\"bold\">time (UTC)</text>",
        LANE + 46.0
    );
    let centre = f64::midpoint(PLOT_TOP, PLOT_BOTTOM);
    let _ = writeln!(
        svg,
        "<text transform=\"translate(20 {centre:.1}) rotate(-90)\" font-weight=\"bold\">destination port</text>\n</g>"
    );
}

/// One incident: a rectangle for each run of ports, with a text that says what it is.
fn mark(svg: &mut String, past: &Past, colour: &str, across: &Across, down: &Down) {
    let incident = &past.incident;
    let from = across.x(incident.first_seen);
    let width = (across.x(incident.last_seen) - from).max(DOT);
    // A dot lies around its moment, and stays in the picture.
    let x = if width > DOT { from } else { (from - DOT / 2.0).clamp(PLOT_LEFT, PLOT_RIGHT - DOT) };
    let _ =
        write!(svg, "<g fill=\"{colour}\" fill-opacity=\"0.7\"><title>{}</title>", xml(&explain(incident)));
    let mut rectangle = |top: f64, bottom: f64| {
        let height = (bottom - top).max(DOT);
        let y = f64::midpoint(top, bottom) - height / 2.0;
        let _ = write!(
            svg,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"1.5\"/>"
        );
    };
    for run in &incident.port_ranges.0 {
        rectangle(down.y(*run.end()), down.y(*run.start()));
    }
    if incident.port_ranges.0.is_empty() {
        rectangle(LANE, LANE);
    }
    svg.push_str("</g>\n");
}

/// `192.0.2.7, tcp-syn-scan: 12 ports (22, 23, 80-82 …), 12 packets in 3.2 s from 2026-01-02 03:04:05`.
fn explain(incident: &Incident) -> String {
    const PORTS: usize = 12;
    let ports = match incident.distinct_ports {
        0 => String::new(),
        distinct => {
            let listed = incident.port_ranges.describe(distinct, PORTS);
            format!("{} ({listed}), ", count(distinct, "port", "ports"))
        }
    };
    format!(
        "{}, {}: {ports}{} in {} from {}",
        incident.source,
        incident.rule,
        count(incident.packets, "packet", "packets"),
        span(incident.duration_s.0),
        incident.first_seen.timestamp().strftime("%Y-%m-%d %H:%M:%S"),
    )
}

fn legend(svg: &mut String, ranked: &[(Target, Deeds)]) {
    let mut y = LEGEND_TOP;
    let mut row = |colour: &str, name: &str, what: &str| {
        let _ = writeln!(
            svg,
            "<rect x=\"24\" y=\"{:.1}\" width=\"14\" height=\"12\" rx=\"1.5\" fill=\"{colour}\"/>\
             <text x=\"46\" y=\"{y:.1}\" font-weight=\"bold\">{}</text><text x=\"300\" y=\"{y:.1}\">{}</text>",
            y - 11.0,
            xml(name),
            xml(what)
        );
        y += ROW;
    };
    for ((source, deeds), colour) in ranked.iter().zip(COLOURS) {
        row(colour, &source.to_string(), &deeds.sentence());
    }
    let others = ranked.get(COLOURS.len()..).unwrap_or_default();
    if !others.is_empty() {
        let number = u64::try_from(others.len()).unwrap_or(u64::MAX);
        let incidents = others.iter().map(|(_, deeds)| deeds.incidents).sum();
        let packets = others.iter().map(|(_, deeds)| deeds.packets).fold(0, u64::saturating_add);
        let what =
            format!("{}, {}", count(incidents, "incident", "incidents"), count(packets, "packet", "packets"));
        row(OTHERS, &count(number, "other source", "other sources"), &what);
    }
}

/// `2026-01-02 03:04 to 05:30`: the day once where it is the same, seconds where minutes say little.
fn from_to(first: Wall, last: Wall) -> String {
    const SHORT: i64 = 600_000_000;
    let show = |time: Wall, form: &str| time.timestamp().strftime(form).to_string();
    let clock = if last.0.saturating_sub(first.0) < SHORT { "%H:%M:%S" } else { "%H:%M" };
    let whole = format!("%Y-%m-%d {clock}");
    let is_same_day = show(first, "%F") == show(last, "%F");
    format!("{} to {}", show(first, &whole), show(last, if is_same_day { clock } else { &whole }))
}

/// Text as it stands in SVG: nothing that acts on who reads it, and nothing that is markup.
fn xml(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in escape(text).chars() {
        match c {
            '&' => shown.push_str("&amp;"),
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            '"' => shown.push_str("&quot;"),
            '\'' => shown.push_str("&#39;"),
            c => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;
    use crate::report::ports::PortRanges;
    use crate::report::text::tests::{examples, stamp};

    fn past(source: &str, rule: &str, ports: &str, from_s: u64, lasting_s: u64) -> Past {
        let Some(Event::Incident(incident)) = examples().into_iter().next() else { unreachable!() };
        let at = |seconds: u64| Wall::from(stamp(seconds * 1_000_000));
        let port_ranges: PortRanges = ports.parse().unwrap_or_default();
        let incident = Incident {
            source: source.parse().unwrap(),
            rule: rule.to_owned(),
            first_seen: at(from_s),
            last_seen: at(from_s + lasting_s),
            distinct_ports: port_ranges.0.iter().map(|run| run.len() as u64).sum(),
            port_ranges,
            ..Incident::from(&*incident)
        };
        Past { incident, ended: None, interrupted: false, origin: "local".to_owned(), bans: Vec::new() }
    }

    /// The picture with its texts alone, and that it is whole XML.
    fn texts(svg: &str) -> Vec<String> {
        let mut texts = Vec::new();
        let mut open: Vec<String> = Vec::new();
        for piece in svg.split('<').skip(1) {
            let (tag, text) = piece.split_once('>').expect("each tag is closed");
            match tag.strip_prefix('/') {
                Some(name) => assert_eq!(open.pop().as_deref(), Some(name)),
                None if tag.ends_with('/') => {}
                None => open.push(tag.split(' ').next().unwrap().to_owned()),
            }
            assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
            if !text.trim().is_empty() {
                texts.push(text.to_owned());
            }
        }
        assert!(open.is_empty(), "{open:?}");
        texts
    }

    #[test]
    fn a_picture_says_what_it_shows_in_words() {
        let svg = draw(
            &[
                past("203.0.113.9", "tcp-syn-scan", "1-1000,50000", 90, 3),
                past("192.0.2.7", "udp-scan", "22-23", 30, 30),
                past("192.0.2.7", "icmp-ping-flood", "", 0, 10),
            ],
            None,
            None,
            false,
        );
        let texts = texts(&svg);
        for expected in [
            "nfban: 3 incidents from 2 sources",
            "time (UTC)",
            "destination port",
            "22 ssh",
            "50000",
            "no port",
            "203.0.113.9",
            "tcp-syn-scan: 1 incident, 1001 ports, 12 packets",
            "icmp-ping-flood, udp-scan: 2 incidents, up to 2 ports, 24 packets",
            "203.0.113.9, tcp-syn-scan: 1001 ports (1-1000, 50000), 12 packets in 3.2 s from 2026-01-02 03:05:35",
        ] {
            assert!(texts.iter().any(|text| text == expected), "{expected}: {texts:#?}");
        }
        assert!(svg.contains(COLOURS[0]) && svg.contains(COLOURS[1]) && !svg.contains(COLOURS[2]));
    }

    #[test]
    fn the_time_it_spans_is_told_as_exactly_as_it_needs() {
        let from = Wall(1_767_323_045_000_006);
        for (seconds, told) in [
            (30, "2026-01-02 03:04:05 to 03:04:35"),
            (3_600, "2026-01-02 03:04 to 04:04"),
            (86_400, "2026-01-02 03:04 to 2026-01-03 03:04"),
        ] {
            assert_eq!(from_to(from, Wall(from.0 + seconds * 1_000_000)), told);
        }
    }

    #[test]
    fn many_sources_share_a_colour_and_are_counted() {
        let many: Vec<_> =
            (0..20).map(|last| past(&format!("192.0.2.{last}"), "udp-scan", "53", last, 1)).collect();
        let texts = texts(&draw(&many, None, None, true));
        assert!(texts.contains(&"12 other sources".to_owned()), "{texts:?}");
        assert!(texts.contains(&"nfban: 20 incidents from 20 sources, the latest of more".to_owned()));
    }

    #[test]
    fn text_from_outside_is_text_and_a_picture_of_nothing_is_one() {
        let svg = draw(&[past("192.0.2.7", "</title><script>\"\u{202e}&'", "0", 0, 0)], None, None, false);
        assert!(!svg.contains("<script") && !svg.contains('\u{202e}'), "{svg}");
        assert!(
            texts(&svg)
                .iter()
                .any(|text| text.contains("&lt;/title&gt;&lt;script&gt;&quot;\\u{202e}&amp;&#39;"))
        );
        assert!(texts(&draw(&[], None, None, false)).contains(&"nfban: no incidents".to_owned()));
    }

    #[test]
    fn every_mark_lies_within_the_picture_whatever_was_asked_for() {
        let all = [
            past("192.0.2.7", "udp-scan", "0-65535", 0, 0),
            past("192.0.2.8", "udp-scan", "65535", 100_000, 7 * 86_400),
        ];
        let at = |seconds: u64| Some(Wall::from(stamp(seconds * 1_000_000)));
        for (since, until) in [(None, None), (at(50), at(60)), (at(60), at(50)), (Some(Wall(0)), None)] {
            let svg = draw(&all, since, until, false);
            for rect in svg.split("<rect x=\"").skip(2).filter(|rect| rect.contains("rx")) {
                let number = |name: &str| -> f64 {
                    let text = format!("x=\"{rect}");
                    text.split(&format!("{name}=\""))
                        .nth(1)
                        .unwrap()
                        .split('"')
                        .next()
                        .unwrap()
                        .parse()
                        .unwrap()
                };
                let (x, y) = (number("x"), number("y"));
                assert!(x >= 24.0 && x + number("width") <= WIDTH, "{rect}");
                assert!(y >= PLOT_TOP - DOT, "{rect}");
            }
        }
    }
}
