//! A new configuration while running.

use sd_notify::NotifyState;
use tracing::{error, info, warn};

use super::loaded::{Loaded, in_a_line};
use super::{Daemon, clock, notify, webhooks};
use crate::capture::nflog::Progress;
use crate::decide::Mode;
use crate::detect::Capacity;
use crate::setup;

impl Daemon {
    /// Takes a new configuration if it is good; else everything stays as it is. The service manager is told of both ends,
    /// and the log of the outcome, whoever asked.
    pub(super) fn reload(&mut self) -> Result<(), String> {
        // Without the time, a manager that waits for the reload takes the message for one of an earlier reload (sd_notify(3)).
        let begin = NotifyState::monotonic_usec_now().map(|now| [NotifyState::Reloading, now]);
        begin.iter().for_each(|begin| notify(begin));
        let taken = self.take_configuration();
        // When it began nowhere, its end changes nothing.
        notify(&[NotifyState::Ready]);
        match &taken {
            Ok(()) => info!("configuration reloaded: {}", self.stance()),
            Err(why) => warn!("configuration not reloaded, the old one goes on: {why}"),
        }
        taken
    }

    /// What is done about offenders, in a word or two.
    const fn stance(&self) -> &'static str {
        match (self.off.is_some(), self.loaded.config.mode) {
            (true, _) => "switched off",
            (false, Mode::Enforce) => "enforcing",
            (false, Mode::Watch) => "watching",
        }
    }

    fn take_configuration(&mut self) -> Result<(), String> {
        let new = Loaded::read(&self.options).map_err(|problems| {
            for problem in problems.iter() {
                warn!("{}", in_a_line(problem));
            }
            format!("{} or a rule has errors; `nfban check` shows them", self.options.config.display())
        })?;
        self.take(new.switched(self.off.is_some()))
    }

    /// Takes in the packets that wait on sockets which are about to be closed; of a flood, which never ends, no more than their
    /// buffers hold.
    fn take_what_waits(&mut self) {
        const ROUNDS: usize = 1_000;
        for _ in 0..ROUNDS {
            let received = self.captures.receive(&mut self.engine, &mut self.actions);
            self.carry_out();
            if !matches!(received, Ok(Progress::More)) {
                break;
            }
        }
    }

    /// Goes on with another configuration; where that cannot be, everything stays as it is.
    pub(super) fn take(&mut self, new: Loaded) -> Result<(), String> {
        let old = &self.loaded;
        if new.config.control != old.config.control
            || (&new.config.nftables.table, &new.config.nftables.sets)
                != (&old.config.nftables.table, &old.config.nftables.sets)
        {
            return Err("the control socket, the table or its sets changed; restart for that".to_owned());
        }
        let rules = setup::ruleset(&new.config, &new.rules).map_err(|error| error.to_string())?;
        // The size of the sets follows `ban.max`.
        let rebuild_backend = (new.config.mode, &new.config.nftables, new.config.ban.max)
            != (old.config.mode, &old.config.nftables, old.config.ban.max);
        webhooks::can_be_posted(&new.config.hooks).map_err(|error| error.to_string())?;
        let other_metrics = self.metrics.replacement(&new.config).map_err(|error| error.to_string())?;
        let other_traps = self.traps.replacement(&new.config).map_err(|error| error.to_string())?;
        let replace_captures = new.config.capture != old.config.capture || self.captures.is_closed();
        if replace_captures {
            // Under the configuration that it came under.
            self.take_what_waits();
            self.captures
                .replace(&new.config.capture, &self.loaded.config.capture)
                .map_err(|error| error.to_string())?;
        }
        let old = &self.loaded;
        let other_rules = new.rules != old.rules
            || (&new.config.traps, new.config.sources) != (&old.config.traps, old.config.sources);
        if rebuild_backend {
            self.drops.read(&mut self.backend);
            if let Err(error) = self.backend.replace(&new.config, &self.host) {
                if replace_captures
                    && let Err(error) = self.captures.replace(&old.config.capture, &new.config.capture)
                {
                    error!("cannot go back to the captures of the old configuration: {error}");
                }
                return Err(error.to_string());
            }
            self.keeping.follow(&self.backend);
        }
        if new.config.hooks != self.loaded.config.hooks
            && let Err(error) = self.latest.set_hooks(&new.config.hooks)
        {
            warn!("cannot start the thread of hooks, so those before go on: {error}");
        }
        if new.config.log != self.loaded.config.log {
            self.latest.log().switch(new.config.log.format);
        }
        self.loaded = new;
        if let Some(metrics) = other_metrics {
            self.metrics = metrics;
        }
        // The old listener is closed only when nothing leads there any more: `apply_settings` below sees to that.
        let old_traps = other_traps.map(|traps| std::mem::replace(&mut self.traps, traps));
        self.traps.reconfigure(&self.loaded.config);
        self.engine.set_trap_rule(&self.loaded.rules);
        self.engine.judge_requests(&self.loaded.web, clock::now(), &mut self.actions);
        if other_rules {
            let settings = setup::engine(&self.loaded.config, &self.host);
            let capacity = Capacity::of(self.loaded.config.sources);
            self.engine.replace_rules(rules, settings, capacity, clock::now(), &mut self.actions);
        }
        self.apply_settings();
        drop(old_traps);
        if rebuild_backend {
            self.engine.reassert(clock::now(), &mut self.actions);
            self.carry_out();
        }
        self.save_as_configured();
        self.tidy_history();
        if let Some(memory) = &mut self.memory {
            memory.save();
        }
        Ok(())
    }
}
