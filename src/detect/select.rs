//! Which rules a packet matches, at a price that does not grow with the number of rules that do not match it.
//!
//! Every part of a packet that some rule asks for (its class and verdict, its ports, its addresses …) maps to the set of
//! rules that its value satisfies, as a bit mask; the rules of a packet are the intersection. Numbers are looked up in
//! sorted ranges, names are remembered; an exception (`not`) counts as a rule that takes another one out.

use crate::filter::mask::{Mask, Masks};
use crate::filter::part::{Allowed, Part, READINGS, Value, ranges};
use crate::filter::{Class, Filter, is_named};
use crate::packet::{Observation, Packet, Verdict, protocol};

/// A name that filters ask for.
struct Naming {
    value: for<'a> fn(&Observation<'a>) -> &'a [u8],
    asked: fn(&Filter) -> &[String],
    is: fn(&[u8], &str) -> bool,
}

fn is_interface(name: &[u8], wanted: &str) -> bool {
    std::str::from_utf8(name).is_ok_and(|name| is_named(name, wanted))
}

const NAMINGS: [Naming; 3] = [
    Naming { value: |o| o.iif.as_bytes(), asked: |f| &f.iif, is: is_interface },
    Naming { value: |o| o.oif.as_bytes(), asked: |f| &f.oif, is: is_interface },
    Naming {
        value: |o| o.prefix,
        asked: |f| &f.log_prefix,
        is: |prefix, wanted| prefix.starts_with(wanted.as_bytes()),
    },
];

/// The rules that the names seen lately satisfy. There are few interfaces and few log prefixes, but a prefix comes from
/// outside: so a handful for each, the oldest forgotten first.
#[derive(Debug, Default)]
pub(super) struct Names([Vec<(Box<[u8]>, Mask)>; NAMINGS.len()]);

const REMEMBERED_NAMES: usize = 8;

/// All that decides which rules a packet matches, in numbers: packets with the same ones match the same rules.
pub(super) type Signature = [u16; 8];

/// In a signature: the packet has no such value.
const ABSENT: u16 = u16::MAX;

/// Of the rules for one class and verdict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Kind {
    mask: Mask,
    /// The numbers that any of them asks for, as places in [`Selector::parts`].
    parts: Vec<usize>,
    /// Whether any of them asks for a destination port, or for a name.
    ported: bool,
    named: bool,
    /// Those with exceptions that such a packet may be.
    excepting: Mask,
}

/// The filters of all rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Selector {
    /// By class and verdict.
    kinds: Vec<[Kind; Verdict::ALL.len()]>,
    /// Destination port of TCP, then of the other protocols that have ports → number of a set; empty where no rule asks.
    by_dport: Vec<u32>,
    port_masks: Masks,
    /// The rules that ask for a destination port.
    ported: Mask,
    parts: Vec<(usize, Part)>,
    /// Exceptions stand behind the rules as filters of their own: which one takes which rule out.
    exceptions: Vec<(usize, usize)>,
    /// The rules, without those.
    rules: Mask,
    /// The rules that ask for each of the names.
    named: [Mask; NAMINGS.len()],
    filters: Vec<Filter>,
}

impl Selector {
    /// Of the filters of all rules; `traps` are pairs of protocol and port.
    pub(super) fn new(mut filters: Vec<Filter>, traps: &[(u8, u16)]) -> Self {
        let rules: Mask = (0..filters.len()).collect();
        let exceptions = set_apart(&mut filters);
        let ported = places(&filters, |filter| !filter.dport.is_empty() || filter.dport_traps);
        let (mut by_dport, mut port_masks) = (Vec::new(), Masks::default());
        if !ported.is_empty() {
            for tcp in [true, false] {
                let traps: Vec<_> =
                    traps.iter().filter(|trap| (trap.0 == protocol::TCP) == tcp).map(|trap| trap.1).collect();
                by_dport.extend(by_port(&filters, &traps, &mut port_masks));
            }
        }
        let parts = READINGS.iter().enumerate().filter_map(|(number, reading)| {
            let allowed: Vec<_> = filters.iter().map(reading.allowed).collect();
            Part::new(&allowed).map(|part| (number, part))
        });
        let parts: Vec<(usize, Part)> = parts.collect();
        let named = NAMINGS.map(|naming| places(&filters, |filter| !(naming.asked)(filter).is_empty()));
        let kinds = Class::ALL.map(|class| {
            Verdict::ALL.map(|verdict| {
                let mask = places(&filters, |filter| filter.may_match(class, verdict));
                let asking = |(_, (_, part)): &(usize, &(usize, Part))| mask.meets(&part.restricted);
                Kind {
                    parts: parts.iter().enumerate().filter(asking).map(|(at, _)| at).collect(),
                    ported: mask.meets(&ported),
                    named: named.iter().any(|asking| mask.meets(asking)),
                    excepting: mask.and(&places(&filters, |filter| {
                        filter.not.iter().any(|not| not.may_match(class, verdict))
                    })),
                    mask,
                }
            })
        });
        // What the sets say already need not be asked again.
        for filter in &mut filters {
            *filter = Filter {
                not: std::mem::take(&mut filter.not),
                iif: std::mem::take(&mut filter.iif),
                oif: std::mem::take(&mut filter.oif),
                log_prefix: std::mem::take(&mut filter.log_prefix),
                ..Filter::default()
            };
        }
        Self { kinds: kinds.to_vec(), exceptions, rules, by_dport, port_masks, ported, parts, named, filters }
    }

    fn kind(&self, class: Class, verdict: Verdict) -> Option<&Kind> {
        self.kinds.get(class as usize)?.get(verdict as usize)
    }

    /// The number of the set of rules that a destination port satisfies.
    fn by_port(&self, packet: &Packet) -> Option<u32> {
        let (_, dport) = packet.ports()?;
        let table = usize::from(packet.protocol != protocol::TCP) << 16;
        self.by_dport.get(table | usize::from(dport)).copied()
    }

    /// What decides which rules a packet matches; none where that cannot be told in a few numbers: rules that ask for
    /// names, or for very many things.
    pub(super) fn signature(&self, observation: &Observation<'_>, class: Class) -> Option<Signature> {
        let kind = self.kind(class, observation.verdict)?;
        if kind.named {
            return None;
        }
        let mut signature = [ABSENT; 8];
        let [kinds, dport, parts @ ..] = &mut signature;
        *kinds = (class as u16) << 8 | observation.verdict as u16;
        let known = |number: u32| u16::try_from(number).ok().filter(|number| *number != ABSENT);
        if kind.ported
            && let Some(number) = self.by_port(&observation.packet)
        {
            *dport = known(number)?;
        }
        if kind.parts.len() > parts.len() {
            return None;
        }
        for (place, &at) in parts.iter_mut().zip(&kind.parts) {
            let (reading, part) = self.parts.get(at)?;
            if let Some(number) = part.number((READINGS.get(*reading)?.value)(observation)) {
                *place = known(number)?;
            }
        }
        Some(signature)
    }

    /// Whether some of the rules have exceptions that such a packet may be: then its signature does not decide.
    pub(super) fn excepts(&self, mask: &Mask, observation: &Observation<'_>, class: Class) -> bool {
        self.kind(class, observation.verdict).is_some_and(|kind| mask.meets(&kind.excepting))
    }

    /// The rules that a packet of `class` matches, exceptions apart.
    pub(super) fn select(&self, observation: &Observation<'_>, class: Class, names: &mut Names) -> Mask {
        let Some(kind) = self.kind(class, observation.verdict) else { return Mask::EMPTY };
        let mut mask = kind.mask;
        if kind.ported {
            mask = match self.by_port(&observation.packet) {
                Some(number) => mask.and(self.port_masks.set(number)),
                None => mask.without(&self.ported),
            };
        }
        for &at in &kind.parts {
            if let Some((reading, part)) = self.parts.get(at)
                && mask.meets(&part.restricted)
                && let Some(reading) = READINGS.get(*reading)
            {
                mask = mask.and(part.of((reading.value)(observation)));
            }
        }
        for (at, asking) in self.named.iter().enumerate() {
            if mask.meets(asking) {
                mask = mask.and(&self.by_name(at, observation, names));
            }
        }
        for &(rule, exception) in &self.exceptions {
            if mask.contains(exception) {
                mask.remove(rule);
            }
        }
        mask.and(&self.rules)
    }

    /// Takes those rules out of `mask` that except the packet.
    pub(super) fn except(&self, mask: &mut Mask, observation: &Observation<'_>, class: Class) {
        let Some(kind) = self.kind(class, observation.verdict) else { return };
        for rule in mask.and(&kind.excepting).iter() {
            let excepts =
                |filter: &Filter| filter.not.iter().any(|not| not.matches(observation, Some(class)));
            if self.filters.get(rule).is_some_and(excepts) {
                mask.remove(rule);
            }
        }
    }

    fn by_name(&self, at: usize, observation: &Observation<'_>, names: &mut Names) -> Mask {
        let (Some(naming), Some(known)) = (NAMINGS.get(at), names.0.get_mut(at)) else {
            return Mask::default();
        };
        let name = (naming.value)(observation);
        if let Some((_, mask)) = known.iter().find(|(known, _)| **known == *name) {
            return *mask;
        }
        let mask = places(&self.filters, |filter| {
            let asked = (naming.asked)(filter);
            asked.is_empty() || asked.iter().any(|wanted| (naming.is)(name, wanted))
        });
        if known.len() >= REMEMBERED_NAMES {
            known.remove(0);
        }
        known.push((name.into(), mask));
        mask
    }
}

/// Puts the exceptions of filters behind them, as far as there is room for more; where there is none, or an exception has
/// exceptions, they stay where they are.
fn set_apart(filters: &mut Vec<Filter>) -> Vec<(usize, usize)> {
    let mut apart = Vec::new();
    for rule in 0..filters.len() {
        let Some(filter) = filters.get_mut(rule) else { continue };
        let nots = std::mem::take(&mut filter.not);
        if filters.len() + nots.len() > Mask::CAPACITY || nots.iter().any(|not| !not.not.is_empty()) {
            if let Some(filter) = filters.get_mut(rule) {
                filter.not = nots;
            }
            continue;
        }
        for not in nots {
            apart.push((rule, filters.len()));
            filters.push(not);
        }
    }
    apart
}

fn places(filters: &[Filter], holds: impl Fn(&Filter) -> bool) -> Mask {
    filters.iter().enumerate().filter(|(_, filter)| holds(filter)).map(|(at, _)| at).collect()
}

/// For each port the number of the set of rules that it satisfies.
fn by_port(filters: &[Filter], traps: &[u16], masks: &mut Masks) -> Vec<u32> {
    let allowed: Vec<Allowed> = filters
        .iter()
        .map(|filter| {
            let traps = traps.iter().filter(|_| filter.dport_traps).map(|&port| port.into()..=port.into());
            // Traps where there are none: no port at all.
            let none = filter.dport_traps.then_some(u128::MAX..=u128::MAX);
            ranges(&filter.dport).into_iter().chain(traps).chain(none).collect()
        })
        .collect();
    let part = Part::new(&allowed);
    let of = |port: u16| part.as_ref().map(|part| *part.of(Value::Small(port.into()))).unwrap_or_default();
    (0..=u16::MAX).map(|port| masks.number(of(port))).collect()
}
