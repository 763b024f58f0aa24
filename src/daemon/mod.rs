//! `nfban run`: packets in from the kernel, decisions out to it, questions answered in between.
//!
//! One thread owns the capture sockets, the engine and the nftables socket, so that between a packet and its ban lies
//! no hand-over: it polls, takes in what there is, enforces what follows in one transaction, and polls again. The
//! control socket has a thread of its own and only leaves requests.

mod answer;
mod backend;
mod capture;
mod clock;
mod drops;
mod forget;
mod history;
mod keeping;
mod latest;
mod listing;
mod loaded;
mod memory;
mod metrics;
mod offenders;
mod outbound;
mod queues;
mod rates;
mod reload;
mod saving;
mod signals;
mod surroundings;
pub mod switch;
mod texts;
mod trap;
mod unbanning;
mod wait;
mod watchdog;
mod webhooks;
mod why;

use std::path::PathBuf;
use std::time::Duration;

use tracing::{error, info, warn};

use self::backend::Backend;
use self::capture::Captures;
use self::drops::Drops;
use self::history::History;
use self::keeping::Keeping;
use self::latest::Latest;
use self::listing::Listings;
use self::loaded::Loaded;
use self::memory::Memory;
use self::metrics::Metrics;
use self::offenders::Offenders;
use self::outbound::Searches;
use self::rates::Rates;
use self::saving::Saving;
use self::signals::{Signal, Signals};
use self::trap::Traps;
use self::unbanning::Unbannings;
use self::watchdog::Watchdog;
use crate::config::{Control, Problems};
use crate::control::archive::Archive;
use crate::control::inbox::Inbox;
use crate::control::listener::{BindError, Listener};
use crate::control::protocol::Off;
use crate::control::server::{Limits, Server};
use crate::decide::Mode;
use crate::detect::{Capacity, Seed};
use crate::engine::{Action, Engine};
use crate::host::{HostFacts, Watch};
use crate::instance::Instance;
use crate::log::{self, Log};
use crate::report::screen::Screen;
use crate::setup;
use crate::store::bans::Kept;
use crate::time::Stamp;

/// How `nfban run` was asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// The configuration file.
    pub config: PathBuf,
    /// Decide everything, change nothing in the kernel.
    pub dry_run: bool,
    /// Take everything out of the kernel when stopped.
    pub flush: bool,
    /// A name of its own for table and socket, beside another daemon.
    pub instance: Option<Instance>,
    /// In place of what the configuration says of the log.
    pub log_format: Option<log::Format>,
}

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration or a rule has errors.
    #[error("{}: the configuration has errors; `nfban check` shows them", .0.display())]
    Configuration(PathBuf, Problems),
    /// Something it needs is not to be had.
    #[error("{what}: {source}")]
    Needs {
        /// What was being done.
        what: String,
        /// What stood in the way.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The system does not allow it.
    #[error("{what}: {source}")]
    NoPermission {
        /// What was being done.
        what: String,
        /// What stood in the way.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StartError {
    fn needs(what: impl Into<String>, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Needs { what: what.into(), source: source.into() }
    }

    /// Whether RestrictAddressFamilies= of the unit stands in the way. No kernel that filters packets lacks the family itself.
    fn is_sandbox(error: &std::io::Error) -> bool {
        error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
    }

    fn no_internet_sockets(what: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let remedy = "the service may open no internet sockets until /usr/share/doc/nfban/examples/systemd/network.conf \
                      lets it";
        Self::NoPermission { what: format!("{what} ({remedy})"), source: source.into() }
    }
}

/// Changes of addresses and routes come in bursts; they are gathered for this long.
const GATHER: Duration = Duration::from_millis(200);

/// How often the resolvers are looked up again: no kernel tells of changes to resolv.conf.
const RESOLVERS_EVERY: Duration = Duration::from_secs(30);

/// How often, at most, it is looked up what listens here, while packets come for which that matters.
const LISTENERS_EVERY: Duration = Duration::from_secs(1);

/// The daemon's whole state.
struct Daemon {
    options: Options,
    loaded: Loaded,
    /// While somebody has switched it off.
    off: Option<Off>,
    host: HostFacts,
    engine: Engine,
    backend: Backend,
    keeping: Keeping,
    captures: Captures,
    searches: Searches,
    listings: Listings,
    unbannings: Unbannings,
    traps: Traps,
    /// None where there is no state directory, and in a dry run.
    memory: Option<Memory>,
    /// None while bans are not saved: where nothing is remembered, and while watching only.
    saving: Option<Saving>,
    /// None where nothing is remembered.
    history: Option<History>,
    watch: Watch,
    inbox: Inbox,
    metrics: Metrics,
    /// Boot time at which the host's facts are to be read again.
    refresh_at: Option<Duration>,
    /// Whether the latest facts of the host have not reached the kernel.
    unprotected: bool,
    /// Boot time at which the resolvers are to be read again.
    resolvers_at: Duration,
    /// Boot time from which what listens here may be looked up again.
    listeners_at: Duration,
    /// Boot time from which the host's facts may be read again.
    refresh_from: Duration,
    started: Stamp,
    reinstalled: u64,
    drops: Drops,
    latest: Latest,
    offenders: Offenders,
    rates: Rates,
    actions: Vec<Action>,
}

/// Runs until SIGTERM or SIGINT. The log is in colour where `screen` has it.
///
/// # Errors
/// When it cannot start. What goes wrong later is reported and retried.
pub fn run(options: Options, screen: Screen) -> Result<(), StartError> {
    // Before any thread exists, so that none of them is chosen for a signal's default action.
    let signals = Signals::install().map_err(|error| StartError::needs("catch signals", error))?;
    let log = Log::new();
    let loaded = Loaded::read(&options)
        .map_err(|problems| StartError::Configuration(options.config.clone(), problems))?;
    // Until it is dropped, which is the last that is done here.
    let _writing = log
        .begin(loaded.config.log.format, screen)
        .map_err(|error| StartError::needs("start the thread of the log", error))?;
    // The socket first: a second daemon on it must not touch the kernel.
    let (_server, inbox) = serve(&options, &loaded.config.control)?;
    let mut daemon = Daemon::start(options, loaded, inbox, log)?;
    daemon.announce();
    daemon.carry_out();
    notify(&[sd_notify::NotifyState::Ready]);
    daemon.work(&signals);
    // Before anything that takes time: nobody would give verdicts meanwhile.
    daemon.captures.queues().close();
    notify(&[sd_notify::NotifyState::Stopping]);
    if let Some(memory) = daemon.memory.take() {
        let now = clock::now();
        let bans = daemon.saving.take().map(|mut saving| saving.rest(&mut daemon.engine, now));
        daemon.gather_packets();
        let history = daemon.history.take().map(|history| history.rest(&daemon.engine));
        memory.finish(&daemon.engine, bans.unwrap_or_default(), history.unwrap_or_default(), now);
    }
    daemon.latest.finish();
    match daemon.loaded.config.mode {
        Mode::Enforce if daemon.options.flush => match daemon.backend.flush() {
            Ok(()) => info!("stopped; nothing is left in the kernel"),
            Err(error) => error!("stopped, and cannot empty the kernel: {error}; try `nfban flush`"),
        },
        Mode::Enforce => {
            info!("stopped; {} bans stay in the kernel until they expire", daemon.engine.ledger().len())
        }
        Mode::Watch => info!("stopped"),
    }
    Ok(())
}

/// Takes everything out of the kernel that a daemon with these options has put there and left.
///
/// # Errors
/// Where the configuration is bad, a daemon runs that would put it back, or the kernel refuses.
pub fn flush(options: &Options) -> Result<(), StartError> {
    let loaded = Loaded::read(options)
        .map_err(|problems| StartError::Configuration(options.config.clone(), problems))?;
    let socket = &loaded.config.control.socket;
    if std::os::unix::net::UnixStream::connect(socket).is_ok() {
        let what = "empty the kernel";
        return Err(StartError::needs(
            what,
            format!(
                "nfban runs at {}: stop it first, or let everybody in with `nfban off`",
                socket.display()
            ),
        ));
    }
    backend::flush(&loaded.config)
}

fn serve(options: &Options, control: &Control) -> Result<(Server, Inbox), StartError> {
    let Control { socket, group } = control;
    let what = || format!("open the control socket {}", socket.display());
    // The group may not exist where nfban runs without its package; then the socket keeps the process's own group.
    let gid = crate::host::group_id(group);
    let listener = Listener::bind(socket, gid).map_err(|error| match &error {
        BindError::System { error: cause, .. } if cause.kind() == std::io::ErrorKind::PermissionDenied => {
            StartError::NoPermission { what: what(), source: error.into() }
        }
        _ => StartError::needs(what(), error),
    })?;
    let archive = Archive((!options.dry_run).then(|| memory::file(options)));
    Server::start(listener, Limits::default(), archive).map_err(|error| StartError::needs(what(), error))
}

/// Tells the service manager, where there is one.
fn notify(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!("cannot tell the service manager: {error}");
    }
}

impl Daemon {
    fn start(options: Options, loaded: Loaded, inbox: Inbox, log: Log) -> Result<Self, StartError> {
        let (loaded, off, troubles) = switch::begin(&options, loaded);
        let config = &loaded.config;
        // Changes are watched for before the facts are read: none falls in between.
        let watch = Watch::open().map_err(|error| StartError::needs("watch addresses and routes", error))?;
        let host =
            HostFacts::read().map_err(|error| StartError::needs("read addresses and routes", error))?;
        let rules = setup::ruleset(config, &loaded.rules)
            .map_err(|error| StartError::needs("compile the rules", error))?;
        let settings = setup::engine(config, &host);
        let mut engine = Engine::new(rules, settings, Capacity::of(config.sources), Seed::Random);
        // Before anything is changed in the kernel: another daemon may have the groups.
        let mut captures = Captures::open(&config.capture)?;
        captures.reconfigure(config);
        // Before anything leads there.
        let traps = Traps::open(config)?;
        engine.set_trap_rule(&loaded.rules);
        let backend = Backend::open(config, &host)?;
        // Before what is held is read: nothing that others do falls in between.
        let keeping = Keeping::new(&backend);
        let listings =
            Listings::new().map_err(|error| StartError::needs("be told of finished listings", error))?;
        let searches =
            Searches::new().map_err(|error| StartError::needs("be told of searches for processes", error))?;
        let started = clock::now();
        let mut actions = Vec::new();
        engine.judge_requests(&loaded.web, started, &mut actions);
        let saving = Saving::new(started);
        let (memory, kept, alarms) = Memory::open(&options, &mut engine, saving.boot(), started);
        let kept = switch::spare(&options, off.is_some(), kept);
        let saves = loaded.asked == Mode::Enforce;
        let saving = (saves && memory.is_some()).then_some(saving);
        let history = memory.is_some().then(|| History::new(started));
        let metrics = Metrics::open(config)?;
        webhooks::can_be_posted(&config.hooks)?;
        let mut latest = Latest::new(log);
        latest
            .set_hooks(&config.hooks)
            .map_err(|error| StartError::needs("start the thread of hooks", error))?;
        troubles.into_iter().chain(alarms).for_each(|what| latest.alarm(what, config.mode));
        let mut daemon = Self {
            options,
            loaded,
            off,
            host,
            engine,
            backend,
            keeping,
            captures,
            searches,
            listings,
            unbannings: Unbannings::default(),
            traps,
            memory,
            saving,
            history,
            watch,
            inbox,
            metrics,
            refresh_at: None,
            unprotected: false,
            resolvers_at: started.boot + RESOLVERS_EVERY,
            listeners_at: started.boot,
            refresh_from: started.boot,
            started,
            reinstalled: 0,
            drops: Drops::default(),
            latest,
            offenders: Offenders::default(),
            rates: Rates::new(started.boot),
            actions,
        };
        // Who was banned before shows in what would be done now; no ban of then stands.
        daemon.recall_bans(if saves {
            kept
        } else {
            Kept { repetitions: kept.repetitions, ..Kept::default() }
        });
        Ok(daemon)
    }

    fn announce(&self) {
        let config = &self.loaded.config;
        let doing = match config.mode {
            Mode::Enforce => format!("filling table {}", config.nftables.table),
            Mode::Watch if self.off.is_some() => {
                "switched off: nothing is enforced until `nfban on`".to_owned()
            }
            Mode::Watch => "watching: nothing in the kernel is changed".to_owned(),
        };
        info!("nfban {} runs: {} rules, {}", env!("CARGO_PKG_VERSION"), self.loaded.count(), doing);
        for line in self.captures.describe() {
            info!("{line}");
        }
    }

    fn work(&mut self, signals: &Signals) {
        let mut watchdog = Watchdog::of_service(clock::now().boot);
        self.do_due();
        // From here on there is somebody to give verdicts.
        if let Err(error) = self.captures.queues().begin() {
            error!("{error}; new connections pass unseen; trying again");
            self.captures.queues().close();
        }
        // What came while groups were still being bound waits in memory, where poll does not see it.
        self.take_packets();
        loop {
            let woken = self.wait(signals, watchdog.next_deadline());
            watchdog.went_round(clock::now().boot);
            for signal in signals.pending() {
                match signal {
                    Signal::Stop => return,
                    // It has told of its outcome.
                    Signal::Reload => drop(self.reload()),
                }
            }
            if woken.queued {
                self.take_queued();
            }
            if woken.table {
                self.notice_part(false);
            }
            if woken.packets {
                self.take_packets();
            }
            if woken.traps {
                self.traps.take(&self.loaded.config, &mut self.engine, &mut self.actions);
                self.carry_out();
            }
            if woken.text {
                self.take_text();
            }
            if woken.host && self.watch.changed() {
                let soonest = (clock::now().boot + GATHER).max(self.refresh_from);
                self.refresh_at.get_or_insert(soonest);
            }
            // One at a time: an answer can take long, and packets wait. While others wait, poll returns at once.
            if let Some((request, responder)) = self.inbox.try_next() {
                self.take_request(request, responder);
            }
            self.do_due();
        }
    }

    fn take_packets(&mut self) {
        // Where more wait than one round takes, poll returns at once: requests and signals get their turn under flood.
        let received = self.captures.receive(&mut self.engine, &mut self.actions);
        self.carry_out();
        if let Err(error) = received {
            error!("reading packets failed: {error}; opening the groups again");
            self.captures.reopen(&self.loaded.config.capture);
        }
    }

    /// Verdicts first, and what follows from the packets when all have theirs.
    fn take_queued(&mut self) {
        let received = self.captures.receive_queued(&mut self.engine, &mut self.actions);
        if let Err(error) = received {
            error!("giving verdicts failed: {error}; opening the queues again");
            self.captures.queues().reopen();
        }
        self.carry_out();
    }

    fn take_text(&mut self) {
        self.captures.receive_text(&mut self.engine, &mut self.actions);
        self.carry_out();
    }

    fn do_due(&mut self) {
        let now = clock::now();
        if self.refresh_at.is_some_and(|at| at <= now.boot) {
            self.refresh_at = None;
            self.refresh_host();
        }
        if self.resolvers_at <= now.boot {
            self.resolvers_at = now.boot + RESOLVERS_EVERY;
            self.refresh_resolvers();
            self.try_again();
            // Whoever removes the table takes little with it that was not counted.
            self.drops.read(&mut self.backend);
            let alarm = self.traps.alarm(self.backend.redirected());
            alarm.into_iter().for_each(|what| self.latest.alarm(what, self.loaded.config.mode));
        }
        if self.listeners_at <= now.boot && self.captures.take_undecided() {
            self.listeners_at = now.boot + LISTENERS_EVERY;
            self.refresh_listeners();
        }
        if self.rates.is_due(now.boot) {
            self.rates.note(&self.captures.all(), self.engine.counts().evidence, now.boot);
        }
        if let Some(what) = self.searches.ended() {
            self.latest.alarm(what, self.loaded.config.mode);
        }
        if let Some(memory) = &mut self.memory {
            memory.go_on(&self.engine, now);
            memory.alarms().for_each(|what| self.latest.alarm(what, self.loaded.config.mode));
        }
        self.latest.mind_hooks(self.loaded.config.mode);
        self.repair();
        self.list_on();
        self.unban_on();
        self.engine.advance(now, &mut self.actions);
        self.carry_out();
        self.save_bans(now);
        self.add_history(now);
        self.publish(now);
    }

    /// Does what the engine asked for until it asks for nothing more.
    fn carry_out(&mut self) {
        loop {
            let Self { engine, actions, backend, searches, host, history, latest, offenders, loaded, .. } =
                self;
            let mode = loaded.config.mode;
            engine.settle(
                actions,
                |changes| backend.apply(changes),
                clock::now,
                |event| {
                    let alarm = searches.begin(&event, host);
                    if let Some(history) = history {
                        history.note(&event, mode == Mode::Enforce);
                    }
                    offenders.note(&event);
                    latest.tell(event, mode);
                    alarm.into_iter().for_each(|what| latest.alarm(what, mode));
                },
            );
            let reinstalled = backend.reinstalled();
            if reinstalled == std::mem::replace(&mut self.reinstalled, reinstalled) {
                return;
            }
            self.table_was_gone();
        }
    }
}
