//! `nfban off`: all bans lifted at once, and none made until `nfban on`.

use std::path::{Path, PathBuf};

use super::Session;
use super::exit::{Exit, Failure};
use super::run::failure;
use crate::control::client::{AskError, ask};
use crate::control::protocol::{Reply, Request};
use crate::daemon::{self, Options};
use crate::report::text::count;

/// Lift all bans at once and enforce nothing, over restarts too, until `nfban on`
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The configuration, which says what table or sets are meant [default: /etc/nfban/nfban.yaml, or NAME.yaml there of the instance]
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// What says where the daemon and its state are.
pub(super) fn switch_options(config: Option<&Path>, session: &Session) -> Options {
    Options {
        config: session.config(config),
        dry_run: false,
        flush: false,
        instance: session.global.instance.clone(),
        log_format: None,
    }
}

/// What the daemon answers; none where none runs.
pub(super) fn ask_if_running(
    request: &Request,
    options: &Options,
    session: &Session,
) -> Result<Option<Reply>, Failure> {
    let socket = session.global.socket.clone().unwrap_or_else(|| daemon::switch::socket(options));
    match ask(&socket, request) {
        Ok(Reply::Refused { refusal, message }) => Err(Failure::new(refusal.into(), message)),
        Ok(reply) => Ok(Some(reply)),
        Err(AskError::NotRunning(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn run(arguments: &Arguments, session: &mut Session) -> Result<Exit, Failure> {
    let options = switch_options(arguments.config.as_deref(), session);
    if let Some(reply) = ask_if_running(&Request::Off, &options, session)? {
        return done(&reply, session);
    }
    let by = rustix::process::geteuid().as_raw();
    daemon::switch::off(&options, by).map_err(|error| failure(&error, session))?;
    // One that began in between may not have seen it.
    if let Some(reply) = ask_if_running(&Request::Off, &options, session)? {
        return done(&reply, session);
    }
    let problems = daemon::switch::empty(&options).map_err(|error| failure(&error, session))?;
    if let Some(problems) = problems {
        session.show_problems(&problems);
        let message =
            "the configuration does not say which sets are filled: only nfban's own table was removed";
        return Err(Failure::new(Exit::BadConfiguration, format!("nfban is off, but {message}")));
    }
    session.show(|out, _| {
        writeln!(
            out,
            "nfban is off: nothing of it is left in the kernel, and the next start enforces nothing"
        )
    })
}

fn done(reply: &Reply, session: &mut Session) -> Result<Exit, Failure> {
    let Reply::Off { lifted, waiting, was_off, forgotten, .. } = reply else {
        return Err(Failure::off_topic());
    };
    let shown = session.show(|out, _| {
        if *was_off {
            return writeln!(out, "nfban was off already: nobody is banned until `nfban on`");
        }
        let lifted = count(*lifted, "ban", "bans");
        let waiting = match waiting {
            0 => String::new(),
            1 => ", 1 by hand waits".to_owned(),
            _ => format!(", {waiting} by hand wait"),
        };
        writeln!(out, "nfban is off: {lifted} lifted{waiting}, and nobody is banned until `nfban on`")
    })?;
    match forgotten {
        None => Ok(shown),
        Some(why) => Err(Failure::new(
            Exit::No,
            format!("the next start enforces again, as this cannot be kept: {why}"),
        )),
    }
}
