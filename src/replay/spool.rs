//! Captures that can be read twice.

use std::fs::File;
use std::io::{self, BufRead as _, Read, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::{ReplayError, broken};
use crate::capture::input::Input;

/// A capture, to be read as often as one likes.
pub(super) enum Capture {
    /// A regular file.
    File(PathBuf),
    /// What came through a pipe.
    Spooled {
        /// What it was.
        name: String,
        /// The octets, uncompressed. The file has no name and goes with its last descriptor.
        octets: File,
        /// Why it could not be read further, if so.
        broken: Option<(io::ErrorKind, String)>,
    },
}

impl Capture {
    /// Of the input that was opened by `path`; `tick` is called while a pipe is read.
    pub(super) fn new(path: &Path, mut input: Input, mut tick: impl FnMut()) -> Result<Self, ReplayError> {
        if path != Path::new("-") && input.progress().total().is_some() {
            return Ok(Self::File(path.to_owned()));
        }
        let name = input.name().to_owned();
        let cannot_spool = |error| broken(&name, &format!("cannot copy it to a temporary file: {error}"));
        let mut octets = tempfile::tempfile().map_err(cannot_spool)?;
        let broken = loop {
            let length = match input.fill_buf() {
                Ok([]) => break None,
                Ok(read) => octets.write_all(read).map(|()| read.len()).map_err(cannot_spool)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => break Some((error.kind(), error.to_string())),
            };
            input.consume(length);
            tick();
        };
        Ok(Self::Spooled { name, octets, broken })
    }

    /// Opens it at its beginning.
    pub(super) fn open(&self) -> Result<Input, ReplayError> {
        match self {
            Self::File(path) => Ok(Input::open(path)?),
            Self::Spooled { name, octets, broken: end } => {
                let length = octets.metadata().map_err(|error| broken(name, &error))?.len();
                let octets = octets.try_clone().map_err(|error| broken(name, &error))?;
                Ok(Input::new(name, Reading { octets, offset: 0, end: end.clone() }, Some(length))?)
            }
        }
    }
}

/// Reads a spooled capture. Descriptors of one file share its offset, so each reading keeps its own.
struct Reading {
    octets: File,
    offset: u64,
    /// What stands at the end of the octets, if not simply the end.
    end: Option<(io::ErrorKind, String)>,
}

impl Read for Reading {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.octets.read_at(buffer, self.offset)?;
        self.offset += length as u64;
        match self.end.take_if(|_| length == 0 && !buffer.is_empty()) {
            Some((kind, why)) => Err(io::Error::new(kind, why)),
            None => Ok(length),
        }
    }
}
