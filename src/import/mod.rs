//! Configurations of other programs as ours: iplog's, PortSentry's, psad's and fail2ban's, and whom they had banned.
//!
//! Text in, text out. Nothing is asked of the machine: no name is looked up, and no file that another names is read.
//! What cannot be carried over becomes a comment that says why.

mod draft;
mod fail2ban;
mod iplog;
mod network;
mod portsentry;
mod psad;
#[cfg(test)]
mod tests;

use self::draft::Draft;

/// Whose configuration it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `iplog.conf` of iplog 2.2.
    Iplog,
    /// `portsentry.conf` of PortSentry 1 and 2, `portsentry.ignore` and lists of whom it had blocked; a line tells which of
    /// them it is of.
    Portsentry,
    /// `psad.conf` of psad 2, `auto_dl`, signatures and `auto_blocked_iptables`, told apart in the same way.
    Psad,
    /// `jail.conf`, `jail.local` and files of `jail.d` of fail2ban from 0.9 on, and bans as [`LEFT_BANS`] has them.
    Fail2ban,
}

/// The first line of an [`Input`] that holds bans of fail2ban's database. Each line that follows has a jail, an address and
/// the seconds that are left (no number is for ever), with tabs between.
pub const LEFT_BANS: &str = "# bans of fail2ban that stand";

impl Form {
    /// The word on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Iplog => "iplog",
            Self::Portsentry => "portsentry",
            Self::Psad => "psad",
            Self::Fail2ban => "fail2ban",
        }
    }
}

/// A file, and the name it goes by in comments.
#[derive(Debug, Clone)]
pub struct Input {
    /// The name; text from outside.
    pub name: String,
    /// What is in it; text from outside.
    pub text: String,
}

/// What became of the files.
#[derive(Debug, Clone)]
pub struct Converted {
    /// A configuration for `/etc/nfban/nfban.yaml`, with its comments.
    pub yaml: String,
    /// Settings that are in it, or that hold in nfban anyway.
    pub carried: usize,
    /// Settings that are not; each is a comment.
    pub left: usize,
}

/// Converts files of one form, read one after the other.
#[must_use]
pub fn convert(form: Form, inputs: &[Input]) -> Converted {
    let mut draft = Draft::new(form, inputs);
    match form {
        Form::Iplog => iplog::convert(inputs, &mut draft),
        Form::Portsentry => portsentry::convert(inputs, &mut draft),
        Form::Psad => psad::convert(inputs, &mut draft),
        Form::Fail2ban => fail2ban::convert(inputs, &mut draft),
    }
    draft.finish()
}

/// A setting, by where it stands.
#[derive(Debug, Clone, Copy)]
struct Place<'a> {
    file: &'a str,
    /// The first line is 1.
    line: usize,
    /// Over all files.
    order: usize,
}

/// The lines of all files with their places.
fn lines(inputs: &[Input]) -> impl Iterator<Item = (Place<'_>, &str)> {
    let all = inputs.iter().flat_map(|input| input.text.lines().zip(1..).map(move |line| (input, line)));
    all.enumerate().map(|(order, (input, (text, line)))| (Place { file: &input.name, line, order }, text))
}
