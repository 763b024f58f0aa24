//! `nfban ban`: by hand.

use std::time::Duration;

use super::exit::{Exit, Failure};
use super::{Session, ssh};
use crate::control::protocol::{Reply, Request};
use crate::report::target::Target;
use crate::time::{format_duration, parse_duration};

/// Ban an address or a prefix by hand: every packet of it is dropped
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Whom to ban
    #[arg(value_name = "ADDR|PREFIX")]
    pub target: Target,
    /// How long, such as 90s, 10m, 1h, 7d [default: until it is lifted]
    #[arg(long = "for", value_name = "DURATION", value_parser = timeout)]
    pub timeout: Option<Duration>,
    /// Why, for whoever looks at the list later
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub reason: Option<String>,
    /// Even if your own SSH session comes from there
    #[arg(long)]
    pub force: bool,
}

pub(super) fn run(arguments: &Arguments, session: &mut Session) -> Result<Exit, Failure> {
    if let Some(own) = ssh::peer().filter(|own| !arguments.force && arguments.target.0.contains(own)) {
        let target = arguments.target;
        let what = if target.0.addr() == own && target.0.prefix_len() == target.0.max_prefix_len() {
            format!("your SSH session comes from {own}")
        } else {
            format!("your SSH session comes from {own} in {target}")
        };
        return Err(Failure::new(Exit::No, format!("{what}: to ban it all the same, add --force")));
    }
    let request = Request::Ban {
        target: arguments.target,
        timeout_s: arguments.timeout.map(|timeout| timeout.as_secs()),
        reason: arguments.reason.clone(),
    };
    let Reply::Banned { ban } = session.ask(&request)? else { return Err(Failure::off_topic()) };
    let how_long = match ban.timeout_s {
        Some(seconds) => format!("for {}", format_duration(Duration::from_secs(seconds))),
        None => "until it is lifted".to_owned(),
    };
    let verb = if ban.enforced { "is banned" } else { "would be banned if nfban enforced," };
    session.show(|out, _| writeln!(out, "{} {verb} {how_long}", ban.target))
}

fn timeout(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(Duration::ZERO) => Err("a ban of no time is none; to lift one, use nfban unban".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(error.to_string()),
    }
}

fn reason(text: &str) -> Result<String, String> {
    if text.len() > Request::REASON {
        return Err(format!("a reason has at most {} octets", Request::REASON));
    }
    Ok(text.to_owned())
}
