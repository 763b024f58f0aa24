//! `nfban replay`: recorded packets through the daemon's own engine.

use std::path::PathBuf;

use jiff::fmt::strtime;
use jiff::tz::TimeZone;

use super::Session;
use super::exit::{Exit, Failure};
use crate::report::target::Target;

/// Run pcap, pcapng or kernel LOG text through the same engine, changing nothing
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// What to read, also compressed with gzip, xz or zstd; `-` or nothing is standard input
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// A configuration that says who we are and what is published [default: none, whatever is installed]
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A prefix that is ours; may be given several times
    #[arg(long, value_name = "PREFIX")]
    pub home: Vec<Target>,
    /// One JSON object a line: incidents, bans, their ends, and a summary
    #[arg(long)]
    pub json: bool,
    /// Show each record that is not understood, with its place, on standard error
    #[arg(short, long)]
    pub verbose: bool,
    /// The year of the first line of LOG text, where its times have none
    #[arg(long, value_name = "YEAR", value_parser = clap::value_parser!(i16).range(1970..=9999))]
    pub year: Option<i16>,
    /// The time zone of LOG text whose times have none: a name such as Asia/Tokyo, or +09:00
    #[arg(long, value_name = "ZONE", default_value = "UTC", value_parser = zone)]
    pub timezone: TimeZone,
    /// A folder of rules read after the shipped ones
    #[arg(long, value_name = "DIR")]
    pub rules: Option<PathBuf>,
}

pub(super) fn run(_arguments: &Arguments, _session: &mut Session) -> Result<Exit, Failure> {
    Err(Failure::not_yet("replay"))
}

fn zone(text: &str) -> Result<TimeZone, &'static str> {
    let named = || TimeZone::get(text).ok();
    let offset = || Some(TimeZone::fixed(strtime::parse("%:z", text).ok()?.offset()?));
    named().or_else(offset).ok_or("a time zone is expected, such as UTC, Asia/Tokyo or +09:00")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_zone_is_a_name_or_an_offset() {
        for text in ["UTC", "+09:00", "-03:30", "+00:00"] {
            assert!(zone(text).is_ok(), "{text}");
        }
        for text in ["", "Mars/Olympus", "9", "+99:00"] {
            assert!(zone(text).is_err(), "{text:?}");
        }
    }
}
