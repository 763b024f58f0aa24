//! `nfban demo`: the main job on this machine's own kernel, where nothing outside can see it.
//!
//! Three processes take part. [`sandbox`] is the one the user started: it leaves the machine's namespaces, starts this
//! program again as the first process of new ones, and cleans up after it; when that one ends, however it ends, the
//! kernel ends all others with it and takes the networks away. The second tells the [`plot`]: the victim's network is its
//! own, the attacker's another one ([`lab`]). The third is the daemon, started as anybody would ([`daemon`]).
//!
//! It is also a test: each line is told after it was checked, and what does not hold ends it with an error.

#![deny(unsafe_code)]

mod attacker;
mod daemon;
mod lab;
mod plot;
mod program;
mod sandbox;
mod sets;
mod story;
mod unshare;
mod wire;

use std::io::{self, Write};

use crate::report::screen::Screen;

/// What is shown, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Which firewall the victim has.
    pub firewall: Firewall,
    /// Whether to use colour. The width is 80 columns everywhere.
    pub screen: Screen,
}

/// The two firewalls there are examples for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firewall {
    /// `examples/nftables/server.nft`.
    Nft,
    /// `examples/nftables/server-iptables.sh`.
    Iptables,
}

/// Why the demonstration did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// Something is not there that the demonstration needs.
    #[error("{what}; {remedy}")]
    Lacking {
        /// What is not there.
        what: String,
        /// What to do about it.
        remedy: String,
    },
    /// This user may not make namespaces.
    #[error("{what}; {remedy}")]
    Forbidden {
        /// What forbids it.
        what: String,
        /// What to do about it.
        remedy: String,
    },
    /// A step of the preparation failed.
    #[error("cannot {step}: {error}")]
    Step {
        /// What was to be done.
        step: String,
        /// What went wrong.
        error: String,
    },
    /// What was to be shown is not so.
    #[error("this did not hold: {0}")]
    NotSo(String),
    /// The second process has told the user why.
    #[error("the demonstration failed")]
    Told,
    /// The second process was ended by this signal.
    #[error("the demonstration was ended by signal {0}; nothing of it is left")]
    Ended(i32),
    /// It took far too long.
    #[error("the demonstration took more than {0} seconds and was ended; nothing of it is left")]
    TooLong(u64),
    /// Standard output took no more.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

impl DemoError {
    fn step(step: impl Into<String>, error: impl ToString) -> Self {
        Self::Step { step: step.into(), error: error.to_string() }
    }
}

/// Shows it.
///
/// It must be called before the process starts any thread. SIGINT, SIGTERM and SIGHUP end the process as they do by
/// default, but after everything is cleaned up.
///
/// # Errors
/// [`DemoError`]; [`DemoError::Told`] has been explained to the user already.
pub fn run(options: &Options, out: &mut dyn Write) -> Result<(), DemoError> {
    match sandbox::Inside::entered()? {
        Some(inside) => plot::play(options, &inside, out),
        None => sandbox::run(options),
    }
}
