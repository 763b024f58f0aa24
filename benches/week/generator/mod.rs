//! A week of packets that a firewall hands to nfban: honest traffic of many kinds with fifty scans hidden in it.
//!
//! The same seed gives the same octets on every machine. `docs/benchmarks.md` says what is in it and why.

#![allow(dead_code, reason = "the bench and the test each take the part they need")]

pub(crate) mod capture;
pub(crate) mod clients;
pub(crate) mod local;
pub(crate) mod noise;
pub(crate) mod packet;
pub(crate) mod random;
pub(crate) mod scans;
pub(crate) mod stage;

use self::packet::Parcel;
use self::random::{Random, mix};
use self::scans::Scan;
use self::stage::{SLOT, SLOTS, Slots, Stage};

/// When a kind of traffic comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rhythm {
    /// Machines: at all hours alike.
    Even,
    /// People: by day, and less at the weekend.
    Daily,
}

/// How much of a day's traffic of people comes in each hour.
const HOURS: [u64; 24] =
    [10, 7, 5, 4, 4, 5, 9, 18, 30, 40, 44, 45, 42, 43, 45, 45, 44, 42, 40, 42, 44, 40, 30, 18];

/// A kind of honest traffic.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// How often it happens in the week.
    pub(crate) episodes: u64,
    pub(crate) rhythm: Rhythm,
    play: fn(&mut Stage<'_>, u64),
}

const fn kind(name: &'static str, episodes: u64, rhythm: Rhythm, play: fn(&mut Stage<'_>, u64)) -> Kind {
    Kind { name, episodes, rhythm, play }
}

/// All of it. A kind's number here is a part of its seed: add at the end.
pub(crate) const HONEST: &[Kind] = &[
    kind("single probes of bots", 2_150_000, Rhythm::Even, noise::bots),
    kind("search for amplifiers", 520_000, Rhythm::Even, noise::amplifiers),
    kind("peers of a former tenant", 5_200, Rhythm::Daily, noise::swarm),
    kind("clients of a former time server", 380_000, Rhythm::Even, noise::clocks),
    kind("backscatter of floods", 380, Rhythm::Even, noise::backscatter),
    kind("single probes over IPv6", 90_000, Rhythm::Even, noise::bots6),
    kind("forgotten tunnels", 10_080, Rhythm::Even, noise::tunnels),
    kind("visits of web sites", 115_000, Rhythm::Daily, clients::visits),
    kind("crawlers", 5_000, Rhythm::Even, clients::crawlers),
    kind("last words of servers", 80_000, Rhythm::Daily, clients::last_words),
    kind("late answers of name servers", 190_000, Rhythm::Daily, clients::late_names),
    kind("late QUIC", 42_000, Rhythm::Daily, clients::late_quic),
    kind("clients that ask for ever", 1_000, Rhythm::Daily, clients::hammering),
    kind("set-ups of mail programs", 260, Rhythm::Daily, clients::mail_setup),
    kind("strays behind translators", 8_000, Rhythm::Daily, clients::strays),
    kind("offices with an IPv6 network", 1_500, Rhythm::Daily, clients::offices),
    kind("lecture halls", 60, Rhythm::Daily, clients::lecture),
    kind("monitors that ping", 10_080, Rhythm::Even, clients::monitors),
    kind("monitors that ping five times a second", 10, Rhythm::Even, clients::close_watch),
    kind("health checks", 20_160, Rhythm::Even, clients::health_checks),
    kind("traced routes", 340, Rhythm::Even, clients::traced_routes),
    kind("knocking", 400, Rhythm::Daily, clients::knocks),
    kind("telephony", 2_400, Rhythm::Daily, clients::telephony),
    kind("administration by SSH", 170, Rhythm::Daily, clients::administration),
    kind("transfers by FTP", 1_200, Rhythm::Daily, clients::transfers),
    kind("fragments of large answers", 62_000, Rhythm::Daily, clients::large_answers),
    kind("pages that our people read", 13_500, Rhythm::Daily, local::pages),
    kind("questions of our resolver", 160_000, Rhythm::Daily, local::resolution),
    kind("BitTorrent of ours", 520, Rhythm::Daily, local::peers),
    kind("newsletters", 900, Rhythm::Daily, local::mail),
    kind("chores", 500, Rhythm::Daily, local::chores),
    kind("neighbours on the link", 430_000, Rhythm::Even, local::neighbours),
    kind("offices that change their mail", 24, Rhythm::Daily, clients::moves),
    kind("calls between browsers", 7_000, Rhythm::Daily, clients::calls),
    kind("active FTP", 250, Rhythm::Daily, clients::active_transfers),
    kind("restarts of our router", 3, Rhythm::Even, clients::restarts),
];

/// The week, slot by slot.
pub(crate) struct Week {
    seed: u64,
    slots: Slots,
    next: usize,
    /// Packets sent so far, by kind.
    pub(crate) sent: Vec<u64>,
    pub(crate) scans: Vec<Scan>,
}

impl Week {
    pub(crate) fn new(seed: u64) -> Self {
        let mut slots = Slots::new();
        let scans = scans::hide(seed, &mut slots);
        Self { seed, slots, next: 0, sent: vec![0; HONEST.len()], scans }
    }

    /// What `kind` is called; those behind the honest ones are the scans.
    pub(crate) fn name_of(&self, kind: u16) -> &'static str {
        let kind = usize::from(kind);
        HONEST.get(kind).map_or_else(|| self.scans[kind - HONEST.len()].name, |honest| honest.name)
    }
}

impl Iterator for Week {
    type Item = Vec<Parcel>;

    /// The packets of the next ten minutes in the order of their times.
    fn next(&mut self) -> Option<Vec<Parcel>> {
        let slot = self.next;
        if slot == SLOTS {
            return None;
        }
        self.next += 1;
        for (number, kind) in HONEST.iter().enumerate() {
            let random = Random::new(self.seed ^ mix((slot as u64) << 16 | number as u64));
            let mut stage = Stage::new(random, number as u16, &mut self.slots);
            let (before, until) = (share(kind, slot), share(kind, slot + 1));
            for _ in before..until {
                let at = slot as u64 * SLOT + stage.random.below(SLOT);
                (kind.play)(&mut stage, at);
            }
            self.sent[number] += stage.sent;
        }
        Some(self.slots.take(slot))
    }
}

/// How many of a kind's episodes have begun before `slot`: none before the first, all before the one after the last.
fn share(kind: &Kind, slot: usize) -> u64 {
    let weight = |slot: usize| match kind.rhythm {
        Rhythm::Even => 1,
        Rhythm::Daily => HOURS[slot / 6 % 24] * if slot / 144 >= 5 { 3 } else { 5 },
    };
    let upto = |slot: usize| (0..slot).map(weight).sum::<u64>();
    kind.episodes * upto(slot) / upto(SLOTS)
}
