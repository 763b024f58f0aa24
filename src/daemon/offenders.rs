//! Who did most within a day: what `status` and `top` list.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use ipnet::IpNet;

use super::answer::{InKernel, Named};
use super::{Daemon, clock};
use crate::control::protocol::{Offender, Status};
use crate::decide::Standing;
use crate::event::{Event, Incident, IncidentId};
use crate::report::json;
use crate::report::ports::PortRanges;
use crate::report::target::Target;
use crate::time::{Stamp, Wall};

/// How many sources are remembered. The one with the fewest packets gives way.
const CAPACITY: usize = 512;

/// How long after its latest packet.
const DAY: Duration = Duration::from_secs(86_400);

/// Open incidents by source.
pub(super) type OpenIncidents = HashMap<IpNet, Vec<Incident>>;

/// The sources of incidents.
#[derive(Debug, Default)]
pub(super) struct Offenders {
    /// Keyed at random; nothing depends on its order.
    known: HashMap<IpNet, Known>,
}

#[derive(Debug)]
struct Known {
    /// Incidents that are over, and their packets.
    ended: (u64, u64),
    /// Packets of those that are open, as they were last told.
    open: Vec<(IncidentId, u64)>,
    latest: Latest,
}

/// Of the latest incident.
#[derive(Debug, Clone)]
struct Latest {
    seen: Stamp,
    rule: String,
    ports: PortRanges,
    distinct_ports: u64,
    protocols: Vec<String>,
}

impl From<&Incident> for Latest {
    fn from(incident: &Incident) -> Self {
        Self {
            seen: incident.last_seen,
            rule: incident.rule.clone(),
            ports: PortRanges(incident.port_ranges.clone()),
            distinct_ports: incident.distinct_ports,
            protocols: incident.protocols.clone(),
        }
    }
}

impl Known {
    fn packets(&self) -> u64 {
        self.open.iter().fold(self.ended.1, |sum, (_, packets)| sum.saturating_add(*packets))
    }
}

impl Offenders {
    /// Takes in what was told.
    pub(super) fn note(&mut self, event: &Event) {
        let (incident, over) = match event {
            Event::Incident(incident) | Event::IncidentUpdate(incident) => (&**incident, false),
            Event::IncidentEnd(end) => (&end.incident, true),
            _ => return,
        };
        if !self.known.contains_key(&incident.source) {
            self.make_room(incident.last_seen);
        }
        let known = self.known.entry(incident.source).or_insert_with(|| Known {
            ended: (0, 0),
            open: Vec::new(),
            latest: incident.into(),
        });
        known.open.retain(|(id, _)| *id != incident.id);
        if over {
            known.ended.0 += 1;
            known.ended.1 = known.ended.1.saturating_add(incident.packets);
        } else {
            known.open.push((incident.id, incident.packets));
        }
        if known.latest.seen.boot <= incident.last_seen.boot {
            known.latest = incident.into();
        }
    }

    fn make_room(&mut self, now: Stamp) {
        if self.known.len() < CAPACITY {
            return;
        }
        self.known.retain(|_, known| !known.open.is_empty() || is_of_today(known, now));
        if self.known.len() >= CAPACITY {
            let least = self.known.iter().min_by_key(|(_, known)| (known.packets(), known.latest.seen.boot));
            let least = least.map(|(source, _)| *source);
            least.and_then(|source| self.known.remove(&source));
        }
    }

    /// Forgets those within `net`.
    pub(super) fn forget(&mut self, net: IpNet) {
        self.known.retain(|source, _| !net.contains(source));
    }

    /// Those with most packets.
    fn foremost(&self, most: usize, now: Stamp) -> Vec<IpNet> {
        let recent = |(_, known): &(&IpNet, &Known)| !known.open.is_empty() || is_of_today(known, now);
        let mut known: Vec<_> = self.known.iter().filter(recent).collect();
        known.sort_by_key(|(source, known)| (Reverse((known.packets(), known.latest.seen.boot)), **source));
        known.into_iter().take(most).map(|(source, _)| *source).collect()
    }
}

fn is_of_today(known: &Known, now: Stamp) -> bool {
    now.boot.saturating_sub(known.latest.seen.boot) <= DAY
}

impl Daemon {
    /// Whom `status` asks about: those with most packets, those of the latest incidents, and the latest banned, of whom
    /// maybe nothing else is known.
    pub(super) fn suspects(&self) -> HashSet<IpNet> {
        let foremost = self.offenders.foremost(Status::OFFENDERS, clock::now());
        let lately = self.latest.incidents.iter().map(|incident| incident.source);
        let banned = self.latest_bans().into_iter().map(|(_, target)| target);
        foremost.into_iter().chain(lately).chain(banned).collect()
    }

    /// What the suspects are doing.
    pub(super) fn open_incidents_of(&self, suspects: &HashSet<IpNet>) -> OpenIncidents {
        let mut open = OpenIncidents::new();
        for incident in self.engine.incidents_among(suspects) {
            open.entry(incident.source).or_default().push(incident);
        }
        open
    }

    /// The latest incidents with what they have come to by now.
    pub(super) fn latest_incidents(&self, open: &OpenIncidents) -> Vec<json::Incident> {
        let now = |told: &Incident| {
            let of_source = open.get(&told.source)?;
            of_source.iter().find(|incident| incident.id == told.id).map(json::Incident::from)
        };
        self.latest.incidents.iter().map(|told| now(told).unwrap_or_else(|| told.into())).collect()
    }

    /// The bans that `status` shows.
    pub(super) fn shown_bans(&self, suspects: &HashSet<IpNet>) -> Vec<Named> {
        let of_suspects = suspects.iter().filter_map(|source| self.engine.ledger().covering(*source));
        let bans: HashSet<Named> = of_suspects.map(Self::name).chain(self.latest_bans()).collect();
        bans.into_iter().collect()
    }

    /// The suspects with what they did, as of now.
    pub(super) fn offenders(
        &self,
        suspects: &HashSet<IpNet>,
        open: &OpenIncidents,
        held: &InKernel,
    ) -> Vec<Offender> {
        let offender = |source: &IpNet| {
            let ban = self.engine.ledger().covering(*source);
            self.offender(*source, open.get(source).map_or(&[], Vec::as_slice), ban, held)
        };
        let mut offenders: Vec<Offender> = suspects.iter().filter_map(offender).collect();
        let weight = |one: &Offender| one.packets.saturating_add(one.dropped);
        offenders.sort_by_key(|one| (Reverse((weight(one), one.last_seen)), one.source.0));
        offenders.truncate(Status::OFFENDERS);
        offenders
    }

    fn offender(
        &self,
        source: IpNet,
        open: &[Incident],
        ban: Option<&Standing>,
        held: &InKernel,
    ) -> Option<Offender> {
        let known = self.offenders.known.get(&source);
        let (ended, packets) = known.map_or((0, 0), |known| known.ended);
        let latest = open.iter().max_by_key(|incident| incident.last_seen.boot).map(Latest::from);
        let latest = latest.or_else(|| known.map(|known| known.latest.clone()));
        let ban = ban.and_then(|standing| self.row(standing, held));
        let rule = match (&latest, &ban) {
            (Some(latest), _) => latest.rule.clone(),
            (None, Some(ban)) => ban.rule.clone(),
            (None, None) => return None,
        };
        let open_incidents = open.len() as u64;
        let latest = latest.as_ref();
        Some(Offender {
            source: Target(source),
            rule,
            incidents: ended + open_incidents,
            open_incidents,
            packets: open.iter().fold(packets, |sum, incident| sum.saturating_add(incident.packets)),
            dropped: ban.as_ref().map_or(0, |ban| ban.packets),
            port_ranges: latest.map(|latest| latest.ports.clone()).unwrap_or_default(),
            distinct_ports: latest.map_or(0, |latest| latest.distinct_ports),
            protocols: latest.map(|latest| latest.protocols.clone()).unwrap_or_default(),
            last_seen: latest.map(|latest| Wall::from(latest.seen)),
            ban,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::IncidentEnd;
    use crate::report::text::tests::examples;

    fn incident(source: [u8; 4], id: u64, packets: u64, at: u64) -> Incident {
        let Some(Event::Incident(example)) = examples().into_iter().next() else { panic!() };
        let last_seen = Stamp { boot: Duration::from_secs(at), wall_us: 0 };
        let source = IpNet::from(std::net::IpAddr::from(source));
        Incident { source, id: IncidentId(id), packets, last_seen, ..*example }
    }

    fn told(incident: Incident) -> Event {
        Event::Incident(Box::new(incident))
    }

    fn grown(incident: Incident) -> Event {
        Event::IncidentUpdate(Box::new(incident))
    }

    fn over(incident: Incident) -> Event {
        Event::IncidentEnd(Box::new(IncidentEnd { time: incident.last_seen, incident }))
    }

    #[test]
    fn the_packets_of_a_source_are_those_of_all_its_incidents_each_once() {
        let mut offenders = Offenders::default();
        let source = [192, 0, 2, 7];
        offenders.note(&told(incident(source, 1, 10, 5)));
        offenders.note(&grown(incident(source, 1, 20, 6)));
        offenders.note(&told(incident(source, 2, 3, 7)));
        assert_eq!(offenders.known.values().next().unwrap().packets(), 23);
        offenders.note(&over(incident(source, 1, 25, 6)));
        let known = offenders.known.values().next().unwrap();
        assert_eq!((known.packets(), known.ended, known.open.len()), (28, (1, 25), 1));
        assert_eq!(
            known.latest.seen.boot,
            Duration::from_secs(7),
            "the end of an older one is not the latest"
        );
    }

    #[test]
    fn where_there_are_too_many_the_least_gives_way() {
        let mut offenders = Offenders::default();
        for number in 0..=u16::try_from(CAPACITY).unwrap() {
            let [high, low] = number.to_be_bytes();
            offenders.note(&over(incident([10, 0, high, low], number.into(), 1000 - u64::from(number), 5)));
        }
        assert_eq!(offenders.known.len(), CAPACITY);
        let first = offenders.foremost(2, Stamp { boot: Duration::from_secs(5), wall_us: 0 });
        assert_eq!(first, ["10.0.0.0/32", "10.0.0.1/32"].map(|net| net.parse::<IpNet>().unwrap()));
    }

    #[test]
    fn after_a_day_of_quiet_a_source_is_no_longer_listed() {
        let mut offenders = Offenders::default();
        offenders.note(&over(incident([192, 0, 2, 7], 1, 10, 5)));
        offenders.note(&told(incident([192, 0, 2, 8], 2, 10, 5)));
        let at = |seconds| Stamp { boot: Duration::from_secs(seconds), wall_us: 0 };
        assert_eq!(offenders.foremost(9, at(86_405)).len(), 2);
        let left = offenders.foremost(9, at(86_406));
        assert_eq!(left, ["192.0.2.8/32".parse::<IpNet>().unwrap()], "one whose incident is open stays");
    }
}
