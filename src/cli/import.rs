//! `nfban import`: the configuration of iplog, PortSentry, psad or fail2ban as ours.

mod database;

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::Session;
use super::exit::{Exit, Failure};
use crate::import::{self, Form, Input};
use crate::report::text::count;

/// No file of the programs that are known is larger, and nothing that is made of them may be: a configuration of
/// nfban has at most 1 MiB.
const LARGEST: usize = 1 << 20;

/// Convert the configuration of iplog, PortSentry, psad or fail2ban, and print it as one for nfban
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Arguments {
    /// Whose configuration it is
    #[arg(value_name = "PROGRAM")]
    pub form: Program,
    /// Its files, read one after the other; `-` is standard input
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
}

const HELP: &str = "\
What can be said in /etc/nfban/nfban.yaml is printed on standard output. Each
setting that cannot, or that nfban needs no word for, is a comment there with
its file, its line and the reason. Nothing is installed, no name of a host is
looked up, and no file is read that another names.

  nfban import iplog /etc/iplog.conf > nfban.yaml
  nfban import portsentry portsentry.conf portsentry.ignore > nfban.yaml
  nfban import psad /etc/psad/psad.conf /etc/psad/auto_dl > nfban.yaml
  nfban import fail2ban /etc/fail2ban/jail.conf /etc/fail2ban/jail.local \\
    /var/lib/fail2ban/fail2ban.sqlite3 > nfban.yaml
  nfban check -c nfban.yaml

iplog       `log` and `ignore` lines become `ignore`, `promisc` becomes `home`;
            detections that are switched off become a rules file in a comment
portsentry  TCP_PORTS and UDP_PORTS become `traps`, ADVANCED_EXCLUDE_* become
            `ignore`, the ignore file becomes `allow`, BLOCK_* decide the `mode`;
            of portsentry.blocked.* commands that ban whom it had blocked
psad        HOME_NET becomes `home`, IGNORE_* and danger level 0 of auto_dl become
            `ignore` and `allow`, ENABLE_AUTO_IDS decides the `mode`, the block
            timeouts become `ban.times`; of auto_blocked_iptables, commands
fail2ban    the recidive jail and jails about scans: `ignoreip` becomes `allow`,
            the ban times `ban.times`; of its database, commands for their bans

Exit status: 0 whatever was left out, 66 a file cannot be read, 2 wrong usage";

/// Whose configuration.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Program {
    /// iplog.conf of iplog 2.2
    Iplog,
    /// portsentry.conf of PortSentry 1 or 2, portsentry.ignore and portsentry.blocked.*
    Portsentry,
    /// psad.conf, auto_dl, signatures and auto_blocked_iptables of psad 2
    Psad,
    /// jail.conf, jail.local, jail.d/* and the database of fail2ban
    Fail2ban,
}

impl From<Program> for Form {
    fn from(program: Program) -> Self {
        match program {
            Program::Iplog => Self::Iplog,
            Program::Portsentry => Self::Portsentry,
            Program::Psad => Self::Psad,
            Program::Fail2ban => Self::Fail2ban,
        }
    }
}

pub(super) fn run(arguments: &Arguments, session: &mut Session) -> Result<Exit, Failure> {
    let read = |path: &PathBuf| match arguments.form {
        Program::Fail2ban if database::is_one(path) => database::read(path),
        _ => read(path),
    };
    let inputs = arguments.files.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let converted = import::convert(arguments.form.into(), &inputs);
    if converted.yaml.len() > LARGEST {
        return Err(Failure::new(
            Exit::Unreadable,
            "more than 1 MiB would follow from it, which is no configuration; take fewer filters",
        ));
    }
    let done = session.show(|out, _| out.write_all(converted.yaml.as_bytes()))?;
    let settings = |number: usize| count(u64::try_from(number).unwrap_or(u64::MAX), "setting", "settings");
    let left = match converted.left {
        0 => String::new(),
        left => format!(", {} not: the comments say why", settings(left)),
    };
    // Where standard error is closed, the exit status must do.
    let _ = writeln!(io::stderr(), "nfban: {} carried over{left}", settings(converted.carried));
    Ok(done)
}

fn read(path: &Path) -> Result<Input, Failure> {
    let name = path.display().to_string();
    let unreadable = |why: String| Failure::new(Exit::Unreadable, format!("{name}: {why}"));
    let mut octets = Vec::new();
    let most = LARGEST as u64 + 1;
    let end = if path == Path::new("-") {
        io::stdin().lock().take(most).read_to_end(&mut octets)
    } else {
        File::open(path).and_then(|file| file.take(most).read_to_end(&mut octets))
    };
    end.map_err(|error| unreadable(format!("cannot be read: {error}")))?;
    if octets.len() > LARGEST {
        return Err(unreadable("larger than 1 MiB: this is no configuration".to_owned()));
    }
    if octets.contains(&0) {
        return Err(unreadable("this is no text".to_owned()));
    }
    // In the encodings of their time, comments may be no UTF-8; settings are ASCII.
    Ok(Input { name: name.clone(), text: String::from_utf8_lossy(&octets).into_owned() })
}
