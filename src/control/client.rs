//! Asking the daemon.

#![forbid(unsafe_code)]

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::protocol::{Reply, Request};
use crate::report::json;

/// Longer than the server's own patience in each of its steps, so that its word for what is wrong arrives.
const PATIENCE: Duration = Duration::from_secs(12);

/// No reply is this long; a program that is no nfban might say anything.
const REPLY: u64 = 256 << 20;

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens at the socket.
    #[error(
        "the daemon is not running: nobody listens on {} (start it with: systemctl start nfban)", .0.display()
    )]
    NotRunning(PathBuf),
    /// The socket is not for us.
    #[error(
        "no permission to use {}: try sudo; to look without it, join its group (usermod -aG nfban YOU) and log in anew",
        .0.display()
    )]
    NoPermission(PathBuf),
    /// Somebody listens and does not answer.
    #[error("the daemon does not answer on {}: {error}; look at: systemctl status nfban", path.display())]
    Silent {
        /// The socket.
        path: PathBuf,
        /// What came instead of an answer.
        error: io::Error,
    },
    /// The answer is none of ours.
    #[error("what answers on {} is no nfban of this version: {error}", path.display())]
    Garbled {
        /// The socket.
        path: PathBuf,
        /// What is wrong with it.
        error: serde_json::Error,
    },
}

/// Sends `request` to the daemon at `path` and waits for its reply.
///
/// # Errors
/// [`AskError`]; a refusal by the daemon is a [`Reply`].
pub fn ask(path: &Path, request: &Request) -> Result<Reply, AskError> {
    let stream = open(path).map_err(|error| match error {
        Errno::NOENT | Errno::CONNREFUSED | Errno::NOTDIR => AskError::NotRunning(path.to_owned()),
        Errno::ACCESS | Errno::PERM => AskError::NoPermission(path.to_owned()),
        other => AskError::Silent { path: path.to_owned(), error: other.into() },
    })?;
    let line = exchange(&stream, request)
        .map_err(|error| AskError::Silent { path: path.to_owned(), error: in_words(error) })?;
    serde_json::from_slice(&line).map_err(|error| AskError::Garbled { path: path.to_owned(), error })
}

fn open(path: &Path) -> rustix::io::Result<UnixStream> {
    let address = SocketAddrUnix::new(path)?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // The time to send bounds connect() too, where the backlog is full.
    set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE))?;
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    connect(&socket, &address)?;
    Ok(UnixStream::from(socket))
}

fn exchange(mut stream: &UnixStream, request: &Request) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    json::write_line(&mut line, request)?;
    match stream.write_all(&line) {
        // Whoever is turned away has been told why before the connection was closed.
        Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {}
        other => other?,
    }
    let mut reply = Vec::new();
    BufReader::new(stream).take(REPLY).read_until(b'\n', &mut reply)?;
    if reply.last() != Some(&b'\n') {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it hung up"));
    }
    Ok(reply)
}

/// A socket whose time is over says "resource temporarily unavailable", which tells a person nothing.
fn in_words(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::Error::new(io::ErrorKind::TimedOut, "it takes too long"),
        _ => error,
    }
}
