//! A picture in Prometheus' text exposition format 0.0.4. Names and labels are a public interface: `docs/metrics.md`.

use std::fmt::{Display, Write as _};

use super::Picture;
use crate::control::protocol::{Capture, Mode};
use crate::enforce::{Counts, Dropped};

/// Every metric there can be: its name, its type and its help.
pub const NAMES: &[(&str, &str, &str)] = &[
    ("nfban_build_info", "gauge", "Always 1; the labels tell the version and whether it enforces."),
    ("nfban_start_time_seconds", "gauge", "When the daemon started, in seconds since 1970."),
    ("nfban_packets_total", "counter", "Packets, lines or requests received."),
    ("nfban_packets_lost_total", "counter", "Packets the kernel had no room for."),
    ("nfban_overruns_total", "counter", "How often a capture's buffer was full."),
    ("nfban_verdicts_total", "counter", "Packets that waited for a verdict, by what became of them."),
    ("nfban_undecoded_total", "counter", "Packets and lines that could not be decoded."),
    ("nfban_evidence_total", "counter", "Packets that counted for some rule."),
    ("nfban_incidents_total", "counter", "Incidents opened, by rule."),
    ("nfban_open_incidents", "gauge", "Incidents open now."),
    ("nfban_bans_begun_total", "counter", "Bans that took effect, by action and rule."),
    ("nfban_bans_ended_total", "counter", "Bans that ended, by reason."),
    ("nfban_bans", "gauge", "Bans that stand now, by action."),
    ("nfban_table_used", "gauge", "Entries of a bounded table."),
    ("nfban_table_capacity", "gauge", "How many entries a bounded table can have."),
    ("nfban_table_evicted_total", "counter", "Entries that gave way to others."),
    ("nfban_limit_used", "gauge", "How much of a cap on bans is used."),
    ("nfban_limit_capacity", "gauge", "The most that a cap on bans allows."),
    ("nfban_limit_refused_total", "counter", "Bans not made because of a cap."),
    ("nfban_limit_evicted_total", "counter", "Bans that ended early because of a cap."),
    ("nfban_alarms_total", "counter", "Alarms raised."),
    ("nfban_kernel_refused_total", "counter", "Changes of the sets that the kernel refused."),
    ("nfban_table_reinstalled_total", "counter", "How often the table was put back after others removed it."),
    ("nfban_connections_ended_total", "counter", "Conntrack entries of banned sources that were deleted."),
    (
        "nfban_dropped_packets_total",
        "counter",
        "Packets of banned and restricted sources that were dropped, by set.",
    ),
    ("nfban_dropped_bytes_total", "counter", "The same in bytes, as IP counts them."),
    ("nfban_log_lines_lost_total", "counter", "Lines of the daemon's log that nobody read in time."),
    ("nfban_hook_runs_total", "counter", "How often a hook was told of an event."),
    ("nfban_hook_failures_total", "counter", "How often a hook failed."),
    ("nfban_hook_events_lost_total", "counter", "Events that no hook was told of for want of room."),
];

/// A label's name and value.
type Label<'a> = (&'static str, &'a str);

/// Gathers the samples of one metric after the other, in the order of [`NAMES`].
struct Page(String);

impl Page {
    /// All samples of a metric; none at all where there are no samples.
    fn metric<'a, V: Display>(
        &mut self,
        name: &'static str,
        samples: impl IntoIterator<Item = (Vec<Label<'a>>, V)>,
    ) {
        let mut samples = samples.into_iter().peekable();
        let Some((_, kind, help)) = NAMES.iter().find(|(known, ..)| *known == name) else { return };
        if samples.peek().is_none() {
            return;
        }
        // Writing to a String does not fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        for (labels, value) in samples {
            let labels: Vec<String> =
                labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            let _ = writeln!(self.0, "{name}{labels} {value}");
        }
    }

    fn one(&mut self, name: &'static str, value: u64) {
        self.metric(name, [(vec![], value)]);
    }
}

/// The whole page.
#[must_use]
pub fn render(picture: &Picture) -> String {
    let mut page = Page(String::with_capacity(8192));
    let mode = if picture.mode == Mode::Watch { "watch" } else { "enforce" };
    page.metric("nfban_build_info", [(vec![("version", env!("CARGO_PKG_VERSION")), ("mode", mode)], 1)]);
    page.one("nfban_start_time_seconds", picture.started);
    captures(picture, &mut page);
    page.one("nfban_evidence_total", picture.evidence);
    page.metric(
        "nfban_incidents_total",
        picture.incidents.iter().map(|(rule, count)| (vec![("rule", &**rule)], count)),
    );
    page.one("nfban_open_incidents", picture.open_incidents);
    bans(picture, &mut page);
    tables(picture, &mut page);
    page.one("nfban_alarms_total", picture.alarms);
    page.one("nfban_kernel_refused_total", picture.refused);
    page.one("nfban_table_reinstalled_total", picture.reinstalled);
    page.one("nfban_connections_ended_total", picture.connections_ended);
    dropped(picture, &mut page);
    page.one("nfban_log_lines_lost_total", picture.log.lost);
    page.one("nfban_hook_runs_total", picture.hooks.told);
    page.one("nfban_hook_failures_total", picture.hooks.failed);
    page.one("nfban_hook_events_lost_total", picture.hooks.lost);
    page.0
}

fn captures(picture: &Picture, page: &mut Page) {
    let each = |of: fn(&Capture) -> u64| {
        picture.captures.iter().map(move |capture| (vec![("capture", &*capture.source)], of(capture)))
    };
    page.metric("nfban_packets_total", each(|capture| capture.packets));
    page.metric("nfban_packets_lost_total", each(|capture| capture.lost));
    page.metric("nfban_overruns_total", each(|capture| capture.overruns));
    let verdicts = picture.captures.iter().filter_map(|capture| Some((&*capture.source, capture.verdicts?)));
    page.metric(
        "nfban_verdicts_total",
        verdicts.flat_map(|(source, verdicts)| {
            [("accepted", verdicts.accepted), ("dropped", verdicts.dropped)]
                .map(|(verdict, count)| (vec![("capture", source), ("verdict", verdict)], count))
        }),
    );
    page.metric(
        "nfban_undecoded_total",
        picture.undecoded.iter().map(|(reason, count)| (vec![("reason", &**reason)], count)),
    );
}

fn bans(picture: &Picture, page: &mut Page) {
    page.metric(
        "nfban_bans_begun_total",
        picture
            .bans_begun
            .iter()
            .map(|((action, rule), count)| (vec![("action", *action), ("rule", &**rule)], count)),
    );
    page.metric(
        "nfban_bans_ended_total",
        picture.bans_ended.iter().map(|(reason, count)| (vec![("reason", *reason)], count)),
    );
    let bans = [("ban", picture.bans.ban), ("restrict", picture.bans.restrict)];
    page.metric("nfban_bans", bans.map(|(action, count)| (vec![("action", action)], count)));
}

fn tables(picture: &Picture, page: &mut Page) {
    let tables = || picture.tables.iter().map(|(name, table)| (vec![("table", &**name)], table));
    page.metric("nfban_table_used", tables().map(|(labels, table)| (labels, table.used)));
    page.metric("nfban_table_capacity", tables().map(|(labels, table)| (labels, table.capacity)));
    page.metric("nfban_table_evicted_total", tables().map(|(labels, table)| (labels, table.evicted)));
    let limits = || picture.limits.iter().map(|(name, limit)| (vec![("limit", &**name)], limit));
    page.metric("nfban_limit_used", limits().map(|(labels, limit)| (labels, limit.used)));
    page.metric("nfban_limit_capacity", limits().map(|(labels, limit)| (labels, limit.capacity)));
    page.metric("nfban_limit_refused_total", limits().map(|(labels, limit)| (labels, limit.refused)));
    page.metric("nfban_limit_evicted_total", limits().map(|(labels, limit)| (labels, limit.evicted)));
}

fn dropped(picture: &Picture, page: &mut Page) {
    let each = |of: fn(Counts) -> u64| {
        picture.dropped.iter().map(move |Dropped { set, place, counts }| {
            let family = if place.ipv6 { "ipv6" } else { "ipv4" };
            (vec![("action", place.measure.as_str()), ("family", family), ("set", *set)], of(*counts))
        })
    };
    page.metric("nfban_dropped_packets_total", each(|counts| counts.packets));
    page.metric("nfban_dropped_bytes_total", each(|counts| counts.bytes));
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::protocol::{Limit, Occupancy, Verdicts};
    use crate::decide::{Measure, Place};
    use crate::packet::Verdict;

    /// A picture in which there is something of everything.
    fn full() -> Picture {
        let mut picture = Picture { started: 1_767_323_045, evidence: 7, ..Picture::default() };
        picture.captures.push(Capture {
            source: "log:/var/log/\"odd\\name\n".into(),
            verdict: Verdict::Refused,
            packets: 12,
            lost: 1,
            overruns: 2,
            undecoded: 0,
            packets_per_s: None,
            verdicts: Some(Verdicts { accepted: 3, dropped: 4, dropped_by_kernel: None }),
        });
        picture.undecoded.insert("truncated".into(), 5);
        picture.incidents.insert("tcp-syn-scan".into(), 2);
        picture.bans_begun.insert(("restrict", "tcp-syn-scan".into()), 2);
        picture.bans_ended.insert("expired", 1);
        picture.tables.insert("sources".into(), Occupancy { used: 1, capacity: 2, evicted: 0 });
        let limit = Limit { used: 1, capacity: 2, refused: 3, evicted: 4, reached: false };
        picture.limits.insert("bans".into(), limit);
        let place = Place { measure: Measure::Restrict, ipv6: true, prefix: false };
        let counts = Counts { packets: 3, bytes: 180 };
        picture.dropped.push(Dropped { set: "restrict6", place, counts });
        picture
    }

    #[test]
    fn a_full_picture_has_every_metric_once_and_in_order() {
        let page = render(&full());
        let types: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        let expected: Vec<String> = NAMES.iter().map(|(name, kind, _)| format!("{name} {kind}")).collect();
        assert_eq!(types, expected);
    }

    #[test]
    fn every_line_is_a_comment_or_a_sample_of_the_metric_above_it() {
        let page = render(&full());
        let mut current = "";
        for line in page.lines() {
            if let Some(of) = line.strip_prefix("# TYPE ") {
                current = of.split(' ').next().unwrap();
            } else if !line.starts_with("# HELP ") {
                let (sample, value) = line.rsplit_once(' ').unwrap();
                assert_eq!(sample.split('{').next().unwrap(), current, "{line}");
                value.parse::<u64>().unwrap();
                assert!(!sample.contains('{') || sample.ends_with("\"}"), "{line}");
            }
        }
        assert!(page.contains(r#"nfban_packets_total{capture="log:/var/log/\"odd\\name\n"} 12"#), "{page}");
        let dropped = r#"nfban_dropped_bytes_total{action="restrict",family="ipv6",set="restrict6"} 180"#;
        assert!(page.contains(dropped), "{page}");
        assert!(page.ends_with('\n'));
    }

    #[test]
    fn names_are_as_prometheus_wants_them() {
        for (name, kind, help) in NAMES {
            assert_eq!(name.ends_with("_total"), *kind == "counter", "{name}");
            assert!(name.starts_with("nfban_") && name.chars().all(|c| c.is_ascii_lowercase() || c == '_'));
            assert!(help.ends_with('.') && !help.contains(['\\', '\n']), "{name}");
        }
    }
}
