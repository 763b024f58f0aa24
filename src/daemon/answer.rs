//! Answers to what the command line asks.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use ipnet::IpNet;

use super::keeping::known::FEW;
use super::listing::Question;
use super::{Daemon, clock};
use crate::control::inbox::Responder;
use crate::control::protocol::{
    self, Address, BanCounts, BanRow, Kernel, Limit, Occupancy, Refusal, Reply, Request, Status, TopPort,
};
use crate::decide::Mode;
use crate::decide::{Measure, Standing};
use crate::detect::MAX_OPEN;
use crate::enforce::{Held, Redirected};
use crate::engine::{CapUse, PortCount};
use crate::packet;
use crate::report::json;
use crate::report::target::Target;
use crate::time::{Wall, seconds_rounded_up};

/// What the kernel holds, by what was asked for.
pub(super) type InKernel = HashMap<(IpNet, Measure), Held>;

/// What tells a ban from others.
pub(super) type Named = (Measure, IpNet);

impl Daemon {
    /// Answers a request, or has it answered when that takes no packet's time any more.
    pub(super) fn take_request(&mut self, request: Request, responder: Responder) {
        let question = match &request {
            // The thread of the state database answers when it is done.
            Request::Forget { target, copies } => return self.forget(target.0, *copies, responder),
            Request::UnbanAll => return self.unban_all(responder),
            Request::Bans => Some(Question::Bans),
            Request::Status { address: Some(Target(net)) } if self.bans_about(*net).len() > FEW => {
                Some(Question::About(*net))
            }
            _ => None,
        };
        match question.filter(|_| self.can_list_later()) {
            Some(question) => self.list_later(question, responder),
            None => {
                let reply = self.answer(request, responder.peer().uid);
                responder.send(reply);
            }
        }
    }

    /// Answers what the user `by` asks for, who may.
    fn answer(&mut self, request: Request, by: u32) -> Reply {
        match request {
            Request::Status { address: None } => {
                let redirected = self.backend.redirected();
                self.drops.read(&mut self.backend);
                let suspects = self.suspects();
                let bans = |this: &Self| this.shown_bans(&suspects);
                self.with_held(bans, |this, held| this.status(&suspects, held, redirected))
            }
            Request::Status { address: Some(target) } => {
                let bans = |this: &Self| this.bans_about(target.0).into_iter().map(Self::name).collect();
                self.with_held(bans, |this, held| this.address(target.0, this.rows_about(target.0, held)))
            }
            // The thread of the control socket answers these, but that of the state database forgets.
            Request::Incidents(_) | Request::Record { .. } | Request::Forget { .. } | Request::UnbanAll => {
                Reply::refused(Refusal::Busy, "the history is not read here")
            }
            Request::Open { mut ids } => {
                ids.truncate(Request::OPEN);
                let incidents = self.engine.incidents_with(&ids);
                Reply::Open { incidents: incidents.map(|incident| (&incident).into()).collect() }
            }
            Request::Why { address } => {
                let bans = |this: &Self| this.bans_to_explain(address.0).map(Self::name).collect();
                self.with_held(bans, |this, held| this.why(address.0, held))
            }
            Request::Bans => self.list_now(Question::Bans),
            Request::Ban { target, timeout_s, reason } => self.ban(target.0, timeout_s, reason),
            Request::Unban { target } => self.unban(target.0),
            Request::Reload => match self.reload() {
                Ok(()) => Reply::Reloaded { mode: self.loaded.config.mode, off: self.off.is_some() },
                Err(why) => Reply::refused(Refusal::BadConfiguration, why),
            },
            Request::Off => self.switch_off(by),
            Request::On => self.switch_on(by),
        }
    }

    /// Lists bans while everything else waits.
    pub(super) fn list_now(&mut self, question: Question) -> Reply {
        self.with_kernel(|this, held| match question {
            Question::Bans => Reply::Bans { bans: this.rows(held) },
            Question::About(net) => this.address(net, this.rows_about(net, held)),
        })
    }

    /// Asks the kernel first, so that no answer claims what it does not hold.
    fn with_kernel(&mut self, answer: impl FnOnce(&Self, &InKernel) -> Reply) -> Reply {
        let held = match self.held() {
            Ok(held) => held,
            Err(error) => return kernel_is_silent(&error),
        };
        let held = held.into_iter().map(|held| ((held.target, held.measure), held)).collect();
        answer(self, &held)
    }

    /// The same of those bans alone that `wanted` names.
    fn with_held(
        &mut self,
        wanted: impl Fn(&Self) -> Vec<Named>,
        answer: impl FnOnce(&Self, &InKernel) -> Reply,
    ) -> Reply {
        let held = self.catch_up().and_then(|()| self.held_of(&wanted(self)));
        let held = match held {
            Ok(held) => held,
            Err(error) => return kernel_is_silent(&error),
        };
        let held = held.into_iter().map(|held| ((held.target, held.measure), held)).collect();
        answer(self, &held)
    }

    fn ban(&mut self, target: IpNet, timeout_s: Option<u64>, reason: Option<String>) -> Reply {
        let timeout = timeout_s.map(Duration::from_secs);
        if let Err(why) = self.engine.ban(target, timeout, reason, clock::now(), &mut self.actions) {
            return Reply::refused(Refusal::No, why.to_string());
        }
        self.carry_out();
        let ban = |this: &Self| this.engine.ledger().find(target).map(Self::name).into_iter().collect();
        self.with_held(ban, |this, held| {
            let row = this.engine.ledger().find(target).and_then(|standing| this.row(standing, held));
            match row {
                Some(ban) => Reply::Banned { ban },
                None => Reply::refused(
                    Refusal::Busy,
                    "the kernel has refused the ban; it is tried again (see `nfban status`)",
                ),
            }
        })
    }

    fn unban(&mut self, target: IpNet) -> Reply {
        if let Err(why) = self.engine.unban(target, &mut self.actions) {
            return Reply::refused(Refusal::No, why.to_string());
        }
        self.carry_out();
        if self.engine.ledger().find(target).is_some() {
            return Reply::refused(
                Refusal::Busy,
                "the kernel has refused to lift the ban; it is tried again (see `nfban status`)",
            );
        }
        Reply::Unbanned { targets: vec![Target(target)] }
    }

    fn status(&self, suspects: &HashSet<IpNet>, held: &InKernel, redirected: Option<Redirected>) -> Reply {
        let (counts, now) = (self.engine.counts(), clock::now());
        let open = self.open_incidents_of(suspects);
        let mut captures = self.captures.all();
        let rates = self.rates.fill(&mut captures, counts.evidence, now.boot);
        let mut recent_bans = self.rows(held);
        recent_bans.truncate(Status::LATEST);
        let mut bans = BanCounts { ban: 0, restrict: 0 };
        for ban in self.standing() {
            match ban.measure {
                Measure::Ban => bans.ban += 1,
                Measure::Restrict => bans.restrict += 1,
            }
        }
        Reply::Status(Box::new(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            instance: self.options.instance.as_ref().map(ToString::to_string),
            mode: self.loaded.config.mode,
            off: self.off,
            since: Wall::from(self.started),
            uptime_s: now.boot.saturating_sub(self.started.boot).as_secs(),
            packets: captures.iter().map(|capture| capture.packets).sum(),
            captures,
            evidence: counts.evidence,
            undecoded: self.undecoded(),
            tables: self.tables(),
            open_incidents: self.engine.open_incidents() as u64,
            incidents_total: counts.incidents,
            bans,
            limits: self.limits(),
            traps: self.traps.status(&self.loaded.config, redirected),
            kernel: self.kernel(),
            log: self.latest.log().fares(),
            hooks: self.latest.hooks(),
            alarms: self.latest.alarms.iter().map(json::Alarm::from).collect(),
            recent_incidents: self.latest_incidents(&open),
            recent_bans,
            packets_per_s: rates.map(|[packets, _]| packets),
            evidence_per_s: rates.map(|[_, evidence]| evidence),
            offenders: self.offenders(suspects, &open, held),
            top_ports: self.top_ports(),
        }))
    }

    fn top_ports(&self) -> Vec<TopPort> {
        let name = |protocol| if protocol == packet::protocol::UDP { "udp" } else { "tcp" };
        let counts = self.engine.top_ports(Status::LATEST, clock::now()).into_iter();
        counts
            .map(|PortCount { protocol, port, packets }| TopPort {
                protocol: name(protocol).to_owned(),
                port,
                packets,
            })
            .collect()
    }

    /// What could not be decoded, by reason.
    pub(super) fn undecoded(&self) -> BTreeMap<String, u64> {
        let lines = Some(self.captures.texts().undecoded()).filter(|count| *count > 0);
        self.captures
            .undecoded()
            .map(|(why, count)| (why.as_str().to_owned(), count))
            .chain(lines.map(|count| ("not-a-log-line".to_owned(), count)))
            .collect()
    }

    /// How full the engine's tables are.
    pub(super) fn tables(&self) -> BTreeMap<String, Occupancy> {
        let [sources, prefixes] = self.engine.occupancy();
        let row = |name: &str, used: u32, capacity: u32, evicted: u64| {
            (name.to_owned(), Occupancy { used: used.into(), capacity: capacity.into(), evicted })
        };
        let open = Occupancy {
            used: self.engine.open_incidents() as u64,
            capacity: MAX_OPEN as u64,
            evicted: self.engine.counts().incidents_displaced,
        };
        let mut tables = BTreeMap::from([("incidents".to_owned(), open)]);
        let (used, capacity, evicted) = self.engine.trap_occupancy();
        let traps = Occupancy { used: used as u64, capacity: capacity as u64, evicted };
        tables.insert("trap-sources".to_owned(), traps);
        if let Some((used, capacity, evicted)) = self.engine.web_occupancy() {
            let web = Occupancy { used: used as u64, capacity: capacity as u64, evicted };
            tables.insert("web-sources".to_owned(), web);
        }
        for (name, of) in [("sources", sources), ("prefixes", prefixes)] {
            let once = format!("{name}-seen-once");
            let seen = format!("{name}-sightings");
            tables.extend([
                row(name, of.tracked, of.capacity.tracked, of.evicted),
                row(&once, of.probation, of.capacity.probation, of.evicted_once),
                row(&seen, of.sightings, of.capacity.sightings, 0),
            ]);
        }
        tables
    }

    /// The caps on bans.
    pub(super) fn limits(&self) -> BTreeMap<String, Limit> {
        let limit = |one: CapUse| Limit {
            used: one.used as u64,
            capacity: one.limit as u64,
            refused: one.tally.refused,
            evicted: one.tally.evicted,
            reached: one.tally.reached,
        };
        self.engine.caps(clock::now()).map(|one| (one.cap.to_string(), limit(one))).collect()
    }

    fn kernel(&self) -> Kernel {
        let enforces = self.loaded.config.mode == Mode::Enforce;
        Kernel {
            table: enforces.then(|| self.loaded.config.nftables.table.to_string()),
            owned: self.backend.is_owner(),
            refused: self.engine.counts().refused,
            last_error: self
                .engine
                .counts()
                .last_refusal
                .map(|errno| std::io::Error::from_raw_os_error(errno).to_string()),
            reinstalled: self.reinstalled,
            connections_ended: self.backend.disconnected(),
            dropped: self.drops.total(),
        }
    }

    /// What is known of an address or prefix, which has these bans.
    pub(super) fn address(&self, net: IpNet, mut bans: Vec<BanRow>) -> Reply {
        let now = clock::now();
        bans.sort_by_key(|ban| std::cmp::Reverse(ban.target.0.prefix_len()));
        let mut incidents: Vec<_> = self.engine.incidents_of(net).collect();
        incidents.sort_unstable_by_key(|incident| std::cmp::Reverse(incident.time.boot));
        let seen = self.engine.seen(net, now);
        Reply::Address(Box::new(Address {
            address: Target(net),
            protected: self.engine.shielded(net).map(|why| why.reason(net).to_owned()),
            bans,
            incidents_total: incidents.len() as u64,
            open_incidents: incidents.iter().map(json::Incident::from).collect(),
            repetitions: self.engine.repetitions(net, now),
            firings: self.firings(net),
            first_seen: seen.first.map(Wall::from),
            last_seen: seen.last.map(Wall::from),
            counts: seen
                .counts
                .into_iter()
                .map(|count| protocol::Count {
                    rule: count.rule,
                    count: count.count,
                    threshold: count.threshold,
                    window_s: seconds_rounded_up(count.window),
                })
                .collect(),
        }))
    }

    /// The bans of an address, of what covers it and of what it covers.
    pub(super) fn bans_about(&self, net: IpNet) -> Vec<&Standing> {
        self.engine.ledger().iter().filter(|ban| is_about(net, ban.target)).collect()
    }

    fn rows_about(&self, net: IpNet, held: &InKernel) -> Vec<BanRow> {
        self.bans_about(net).into_iter().filter_map(|standing| self.row(standing, held)).collect()
    }

    /// The latest bans that stand.
    pub(super) fn latest_bans(&self) -> Vec<Named> {
        let mut bans: Vec<&Standing> = self.standing().collect();
        let newest = |ban: &&Standing| (std::cmp::Reverse(ban.since.boot), ban.target);
        if bans.len() > Status::LATEST {
            bans.select_nth_unstable_by_key(Status::LATEST, newest);
        }
        bans.into_iter().take(Status::LATEST).map(Self::name).collect()
    }

    pub(super) const fn name(ban: &Standing) -> Named {
        (ban.measure, ban.target)
    }

    /// The bans that are among what is held, newest first.
    fn rows(&self, held: &InKernel) -> Vec<BanRow> {
        let is_held = |ban: &&Standing| held.contains_key(&(ban.target, ban.measure));
        let mut standing: Vec<_> = self.engine.ledger().iter().filter(is_held).collect();
        standing.sort_unstable_by_key(|ban| (std::cmp::Reverse(ban.since.boot), ban.target));
        standing.into_iter().filter_map(|ban| self.row(ban, held)).collect()
    }

    /// A ban as a listing shows it; none where the kernel does not hold it.
    pub(super) fn row(&self, standing: &Standing, held: &InKernel) -> Option<BanRow> {
        held.get(&(standing.target, standing.measure)).map(|held| self.row_of(standing, held))
    }

    /// A ban that the kernel holds, as a listing shows it.
    pub(super) fn row_of(&self, standing: &Standing, held: &Held) -> BanRow {
        BanRow {
            time: Wall::from(standing.since),
            target: Target(standing.target),
            action: standing.measure,
            rule: standing.rule.clone(),
            incident: standing.incident,
            timeout_s: standing.timeout.map(seconds_rounded_up),
            expires_s: held.expires.map(seconds_rounded_up),
            packets: held.packets,
            bytes: held.bytes,
            reason: standing.reason.clone(),
            enforced: self.loaded.config.mode == Mode::Enforce,
        }
    }
}

/// Whether a ban of `target` is one of `net`, of what covers it or of what it covers.
pub(super) fn is_about(net: IpNet, target: IpNet) -> bool {
    target.contains(&net) || net.contains(&target)
}

pub(super) fn kernel_is_silent(error: &std::io::Error) -> Reply {
    Reply::refused(Refusal::Busy, format!("the kernel does not tell what it holds: {error}"))
}
