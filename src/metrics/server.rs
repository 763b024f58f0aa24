//! HTTP, as much of it as a scrape takes: one client after the other, each with a bounded request and little time.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

use super::{Board, Listen, render};
use crate::control::listener::{BindError, Listener};

/// The longest request.
const REQUEST: usize = 8192;

/// How long a client may take to ask, and to read the answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why metrics cannot be asked for.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no such port to be had.
    #[error("cannot listen at {address}: {error}")]
    Tcp {
        /// The address.
        address: SocketAddr,
        /// What came back.
        error: io::Error,
    },
    /// There is no such socket to be had.
    #[error(transparent)]
    Unix(#[from] BindError),
    /// There can be no more threads or descriptors.
    #[error("cannot start the thread of metrics: {0}")]
    Thread(io::Error),
}

enum Socket {
    Tcp(TcpListener),
    Unix(Listener),
}

/// Answers until it is dropped.
#[derive(Debug)]
pub struct Server {
    bell: Arc<OwnedFd>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Server {
    /// Begins to answer with the latest picture of `board`. A socket in the file system is for `group`, as the control
    /// socket is.
    ///
    /// # Errors
    /// Where it cannot listen.
    pub fn start(listen: &Listen, group: Option<u32>, board: Board) -> Result<Self, StartError> {
        let socket = match listen {
            Listen::Tcp(address) => {
                let failed = |error| StartError::Tcp { address: *address, error };
                let listener = TcpListener::bind(address).map_err(failed)?;
                listener.set_nonblocking(true).map_err(failed)?;
                Socket::Tcp(listener)
            }
            Listen::Unix(path) => Socket::Unix(Listener::bind(path, group)?),
        };
        let bell = eventfd(0, EventfdFlags::CLOEXEC).map_err(|error| StartError::Thread(error.into()))?;
        let bell = Arc::new(bell);
        let rung = Arc::clone(&bell);
        let answer = move || {
            while wait(&socket, &rung) {
                serve(&socket, &board);
            }
        };
        let thread =
            thread::Builder::new().name("metrics".to_owned()).spawn(answer).map_err(StartError::Thread)?;
        Ok(Self { bell, thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = rustix::io::write(&*self.bell, &1u64.to_ne_bytes());
        // The place is free only when the thread has let go of it, which takes no longer than a client may.
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }
}

/// Waits for a client; not, if it is time to end.
fn wait(socket: &Socket, bell: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(bell, PollFlags::IN), PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN)];
    if poll(&mut fds, None).is_err() {
        thread::sleep(Duration::from_millis(10));
    }
    fds.first().is_some_and(|bell| bell.revents().is_empty())
}

/// Answers one client. What goes wrong is the client's trouble.
fn serve(socket: &Socket, board: &Board) {
    match socket {
        Socket::Tcp(listener) => {
            if let Ok((stream, _)) = listener.accept() {
                let _ = stream.set_nonblocking(false);
                answer(stream, board);
            }
        }
        Socket::Unix(listener) => {
            if let Ok(stream) = listener.accept() {
                let _ = stream.set_nonblocking(false);
                answer(stream, board);
            }
        }
    }
}

/// A connection whose waits have a limit.
trait Limited: Read + Write {
    fn limit(&self, wait: Duration) -> io::Result<()>;
}

impl Limited for TcpStream {
    fn limit(&self, wait: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(wait)).and_then(|()| self.set_write_timeout(Some(wait)))
    }
}

impl Limited for UnixStream {
    fn limit(&self, wait: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(wait)).and_then(|()| self.set_write_timeout(Some(wait)))
    }
}

fn answer(mut stream: impl Limited, board: &Board) {
    let ends = Instant::now() + PATIENCE;
    let Ok(head) = request(&mut stream, ends) else { return };
    let response = respond(&head, board);
    let mut rest = response.as_bytes();
    while !rest.is_empty() {
        let left = ends.saturating_duration_since(Instant::now());
        if left.is_zero() || stream.limit(left).is_err() {
            return;
        }
        match stream.write(rest) {
            Ok(written @ 1..) => rest = rest.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            _ => return,
        }
    }
}

/// Reads up to the empty line behind the header fields.
fn request(stream: &mut impl Limited, ends: Instant) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut octets = [0; 1024];
    loop {
        let left = ends.saturating_duration_since(Instant::now());
        if left.is_zero() || head.len() > REQUEST {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.limit(left)?;
        let read = stream.read(&mut octets)?;
        head.extend_from_slice(octets.get(..read).unwrap_or_default());
        if read == 0 || head.windows(4).any(|end| end == b"\r\n\r\n") {
            return Ok(head);
        }
    }
}

fn respond(head: &[u8], board: &Board) -> String {
    let line = head.split(|octet| *octet == b'\r').next().unwrap_or_default();
    let mut words = line.split(|octet| *octet == b' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = target.split(|octet| *octet == b'?').next().unwrap_or_default();
    let (status, kind, body) = match (method, path) {
        (b"GET", b"/metrics") => {
            ("200 OK", "text/plain; version=0.0.4; charset=utf-8", render(&board.latest()))
        }
        (b"GET", _) => ("404 Not Found", "text/plain", "ask for /metrics\n".to_owned()),
        _ => ("405 Method Not Allowed", "text/plain", "ask with GET\n".to_owned()),
    };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
