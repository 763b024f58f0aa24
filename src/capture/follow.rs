//! Follows a text file that other programs write, across its rotation: the lines that are added from now on.
//!
//! Two ways to rotate are in use (logrotate(8)). *Rename and create*: the path leads to another file from one moment
//! on, and the writer goes on with the old one until it is told to open the new one; both are read for a while. With
//! *copytruncate* the same file becomes shorter, and is read from its beginning. A file that is not there is waited
//! for, and read whole once it is: all of it is news then.
//!
//! What is read is decided by looking at the files, never by what a notification says; see [`bell`] for when to look.

#![forbid(unsafe_code)]

pub mod bell;

#[cfg(test)]
mod tests;

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The longest line that is handed out whole, in octets. A web server that escapes what it was sent (`\xHH`) makes
/// lines of four times that; what matters of a longer one stands at its beginning.
pub const MAX_LINE: usize = 64 * 1024;

/// Octets that one [`Follower::read`] takes of a file, so that packets and requests get their turn.
const CHUNK: usize = 64 * 1024;

/// How long a file is read on that was replaced: nginx and Apache write into it until their postrotate script, and
/// workers that still serve a request until that is done.
const READ_ON: Duration = Duration::from_secs(60);

/// A line of a followed file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// Any octets but the line feed: NUL and what is no UTF-8 included.
    pub text: &'a [u8],
    /// Whether it is only the first [`MAX_LINE`] octets of a longer one.
    pub cut: bool,
}

/// Something about the file that its administrator should know.
#[derive(Debug)]
pub enum Notice {
    /// There is no file any more; it is waited for.
    Vanished,
    /// There is a file again, or at last.
    Appeared,
    /// The new file cannot be read; it is tried again.
    Unreadable(io::Error),
}

/// Why a file cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The process may not read it, or not search a directory on the way.
    #[error(
        "no permission to read {}: as a service nfban is the user nfban, who reads what its groups may (for Debian's logs \
         SupplementaryGroups=adm, as /usr/share/doc/nfban/examples/systemd/log-files.conf has it)",
        .0.display()
    )]
    NotPermitted(PathBuf),
    /// A directory, a pipe, a device.
    #[error("{} is no regular file: name the file that the log is written to", .0.display())]
    NotAFile(PathBuf),
    /// Anything else.
    #[error("cannot read {}: {}", .0.display(), .1)]
    System(PathBuf, #[source] io::Error),
}

/// A file that is followed.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    current: Option<Tail>,
    /// The file that stood at the path before, and until when (since boot) it is read.
    replaced: Option<(Tail, Duration)>,
    /// Whether the latest look found a readable file at the path.
    there: bool,
    notices: Vec<Notice>,
    cut: u64,
    buffer: Box<[u8]>,
}

impl Follower {
    /// Follows the file at `path` from its present end on, or from its beginning where there is none yet.
    ///
    /// # Errors
    /// When there is one and it cannot be read.
    pub fn open(path: &Path) -> Result<Self, FollowError> {
        let current = match Tail::open(path) {
            Ok(tail) => Some(tail.at_end().map_err(|error| FollowError::System(path.to_owned(), error))?),
            Err(FollowError::System(_, error)) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let there = current.is_some();
        Ok(Self {
            path: path.to_owned(),
            current,
            replaced: None,
            there,
            notices: Vec::new(),
            cut: 0,
            buffer: vec![0; CHUNK].into(),
        })
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there was a file at the latest look.
    #[must_use]
    pub const fn is_there(&self) -> bool {
        self.there
    }

    /// How many lines were longer than [`MAX_LINE`].
    #[must_use]
    pub const fn cut(&self) -> u64 {
        self.cut
    }

    /// What has happened to the file since this was last asked.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// Hands out lines that were completed since the last time, a bounded number of octets of them, and tells whether
    /// more wait. `now` is time since boot.
    ///
    /// # Errors
    /// Those of reading; the next call goes on behind.
    pub fn read(&mut self, now: Duration, each: &mut dyn FnMut(Line<'_>)) -> io::Result<bool> {
        let Self { current, replaced, buffer, cut, .. } = self;
        let mut counted = |line: Line<'_>| {
            *cut += u64::from(line.cut);
            each(line);
        };
        // The older lines first.
        if let Some((tail, until)) = replaced {
            if tail.read(buffer, &mut counted)? {
                return Ok(true);
            }
            if *until <= now {
                *replaced = None;
            }
        }
        if let Some(tail) = current
            && tail.read(buffer, &mut counted)?
        {
            return Ok(true);
        }
        Ok(self.look(now))
    }

    /// Looks which file is at the path, and tells whether it is another one.
    fn look(&mut self, now: Duration) -> bool {
        let known = self.current.as_ref().map(|tail| tail.identity);
        match std::fs::metadata(&self.path) {
            Ok(metadata) if Some(identity(&metadata)) == known => {
                self.found();
                false
            }
            Ok(_) => match Tail::open(&self.path) {
                Ok(tail) => {
                    self.found();
                    let before = self.current.replace(tail);
                    self.replaced = before.map(|tail| (tail, now.saturating_add(READ_ON)));
                    true
                }
                Err(error) => {
                    self.lost(Notice::Unreadable(io::Error::other(error)));
                    false
                }
            },
            // Between the rename and the creation; the one that is open is still written to.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.lost(Notice::Vanished);
                false
            }
            Err(error) => {
                self.lost(Notice::Unreadable(error));
                false
            }
        }
    }

    fn found(&mut self) {
        if !std::mem::replace(&mut self.there, true) {
            self.notices.push(Notice::Appeared);
        }
    }

    fn lost(&mut self, notice: Notice) {
        if std::mem::replace(&mut self.there, false) {
            self.notices.push(notice);
        }
    }
}

/// Device and inode: an inode's number is not given to another file while this one is open.
fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// An open file, how far it has been read, and the line that is not complete yet.
#[derive(Debug)]
struct Tail {
    file: File,
    identity: (u64, u64),
    position: u64,
    partial: Vec<u8>,
    /// Whether the rest of the line that stands at the position is not wanted.
    skipping: bool,
}

impl Tail {
    fn open(path: &Path) -> Result<Self, FollowError> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::PermissionDenied => FollowError::NotPermitted(path.to_owned()),
            _ => FollowError::System(path.to_owned(), error),
        };
        // O_NONBLOCK: opening a pipe would wait for its writer.
        let flags = (rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY).bits();
        let flags = i32::try_from(flags).unwrap_or_default();
        let file = File::options().read(true).custom_flags(flags).open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(FollowError::NotAFile(path.to_owned()));
        }
        Ok(Self { file, identity: identity(&metadata), position: 0, partial: Vec::new(), skipping: false })
    }

    /// Behind all that is there: old lines are no news, nor is the rest of one that is being written.
    fn at_end(mut self) -> io::Result<Self> {
        self.position = self.file.metadata()?.len();
        let mut last = [b'\n'];
        if let Some(before) = self.position.checked_sub(1) {
            self.file.read_at(&mut last, before)?;
        }
        self.skipping = last != [b'\n'];
        Ok(self)
    }

    /// Reads once, and tells whether there may be more.
    fn read(&mut self, buffer: &mut [u8], each: &mut impl FnMut(Line<'_>)) -> io::Result<bool> {
        let length = match self.file.read_at(buffer, self.position) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
            result => result?,
        };
        if length == 0 {
            let shorter = self.file.metadata()?.len() < self.position;
            if shorter {
                (self.position, self.skipping) = (0, false);
                self.partial.clear();
            }
            return Ok(shorter);
        }
        self.position += length as u64;
        self.take(buffer.get(..length).unwrap_or_default(), each);
        Ok(true)
    }

    /// Cuts octets into lines.
    fn take(&mut self, octets: &[u8], each: &mut impl FnMut(Line<'_>)) {
        for piece in octets.split_inclusive(|&octet| octet == b'\n') {
            let (text, complete) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            if self.skipping {
                self.skipping = !complete;
                continue;
            }
            let whole = self.partial.len() + text.len();
            if whole > MAX_LINE {
                let (room, _) = text.split_at(MAX_LINE.saturating_sub(self.partial.len()).min(text.len()));
                self.partial.extend_from_slice(room);
                each(Line { text: &self.partial, cut: true });
                self.partial.clear();
                self.skipping = !complete;
            } else if complete && self.partial.is_empty() {
                each(Line { text, cut: false });
            } else {
                self.partial.extend_from_slice(text);
                if complete {
                    each(Line { text: &self.partial, cut: false });
                    self.partial.clear();
                }
            }
        }
    }
}
