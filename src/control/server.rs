//! The thread that serves the socket: it reads requests, judges who asks, hands them to the engine and writes replies.
//!
//! Everything a client can make it hold is bounded: how many there are, what each may send, how long each may take.

#![forbid(unsafe_code)]

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};
use rustix::process::geteuid;

use super::archive::Archive;
use super::inbox::{Answer, Inbox, Pending, Responder, Wake};
use super::listener::Listener;
use super::peer::{Peer, Rights};
use super::protocol::{Refusal, Reply, Request};
use crate::report::json;

/// What clients may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Clients at a time. A quarter of them is kept for those who may change something, so that readers cannot lock
    /// the administrator out.
    pub clients: usize,
    /// Octets of a request, its newline included.
    pub request: usize,
    /// How long a client may take to ask, the engine to answer, and the client to take the answer: each.
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { clients: 16, request: 64 * 1024, patience: Duration::from_secs(5) }
    }
}

/// How long no connection is accepted when the process is out of file descriptors: the waiting one would only wake us
/// again and again.
const PAUSE: Duration = Duration::from_millis(500);

/// The running thread. Dropping it ends the thread and removes the socket.
#[derive(Debug)]
pub struct Server {
    thread: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    wake: Wake,
}

impl Server {
    /// Starts serving. Requests come out of the [`Inbox`], but for those about the past, which `archive` answers.
    ///
    /// # Errors
    /// Where no thread or descriptor is to be had.
    pub fn start(listener: Listener, limits: Limits, archive: Archive) -> io::Result<(Self, Inbox)> {
        // Clients that hang up leave their request behind, so their number alone would not bound the queue.
        let (requests, waiting) = sync_channel(limits.clients);
        let (answers, answered) = channel();
        let inbox = Inbox { requests: waiting, wake: Wake::new()? };
        let wake = Wake::new()?;
        let stop = Arc::new(AtomicBool::new(false));
        let desk = Desk {
            listener,
            limits,
            archive,
            own_uid: geteuid().as_raw(),
            requests,
            engine: inbox.wake.clone(),
            answers,
            answered,
            wake: wake.clone(),
            clients: Vec::new(),
            next: 0,
            accept_from: Instant::now(),
        };
        let stopped = Arc::clone(&stop);
        let thread =
            std::thread::Builder::new().name("control".to_owned()).spawn(move || desk.run(&stopped))?;
        Ok((Self { thread: Some(thread), stop, wake }, inbox))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.wake.ring();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the thread has before it.
struct Desk {
    listener: Listener,
    limits: Limits,
    archive: Archive,
    own_uid: u32,
    requests: SyncSender<Pending>,
    engine: Wake,
    answers: Sender<Answer>,
    answered: Receiver<Answer>,
    wake: Wake,
    clients: Vec<Client>,
    next: u64,
    accept_from: Instant,
}

struct Client {
    id: u64,
    stream: UnixStream,
    peer: Peer,
    rights: Rights,
    stage: Stage,
    deadline: Instant,
}

enum Stage {
    /// The request so far.
    Asking(Vec<u8>),
    /// The engine has it, and knows by this that it is still waited for.
    Waiting { _awaits: Arc<()> },
    /// The reply, and how much of it is sent.
    Answering(Vec<u8>, usize),
    /// Served, or gone.
    Done,
}

impl Desk {
    fn run(mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let ready = self.wait();
            self.wake.clear();
            while let Ok((id, reply)) = self.answered.try_recv() {
                self.hand_over(id, &reply);
            }
            for (index, events) in ready.clients.into_iter().enumerate() {
                if !events.is_empty() {
                    self.attend(index);
                }
            }
            self.remind();
            self.clients.retain(|client| !matches!(client.stage, Stage::Done));
            if ready.listener {
                self.accept();
            }
        }
    }

    fn wait(&self) -> Ready {
        let now = Instant::now();
        let accepting = self.accept_from <= now;
        let until = self.clients.iter().map(|client| client.deadline);
        let until = until.chain((!accepting).then_some(self.accept_from)).min();
        let timeout = until.map(|until| timespec(until.saturating_duration_since(now)));

        let listening = if accepting { PollFlags::IN } else { PollFlags::empty() };
        let mut fds =
            vec![PollFd::new(&self.wake, PollFlags::IN), PollFd::new(&self.listener.socket, listening)];
        fds.extend(self.clients.iter().map(|client| PollFd::new(&client.stream, client.stage.interest())));
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            // Nothing is ready then; EINTR comes with signals, ENOMEM with better times.
            Err(_) => return Ready { listener: false, clients: Vec::new() },
        }
        let mut fds = fds.iter().map(PollFd::revents).skip(1);
        Ready {
            listener: fds.next().is_some_and(|events| events.contains(PollFlags::IN)),
            clients: fds.collect(),
        }
    }

    fn accept(&mut self) {
        let stream = match accept_with(&self.listener.socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok(stream) => UnixStream::from(stream),
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => return,
            Err(_) => {
                self.accept_from = Instant::now() + PAUSE;
                return;
            }
        };
        // A peer the kernel cannot name is nobody.
        let Ok(peer) = Peer::of(&stream) else { return };
        let rights = peer.rights(self.own_uid, self.listener.group);
        let room = match rights {
            Rights::Nothing => {
                let message = "only root and members of the socket's group may ask: try sudo";
                return turn_away(stream, &Reply::refused(Refusal::NoPermission, message));
            }
            Rights::Read => self.limits.clients - self.limits.clients / 4,
            Rights::Reload | Rights::Change => self.limits.clients,
        };
        if self.clients.len() >= room {
            return turn_away(
                stream,
                &Reply::refused(Refusal::Busy, "too many others are asking; try again"),
            );
        }
        let deadline = Instant::now() + self.limits.patience;
        let stage = Stage::Asking(Vec::new());
        self.clients.push(Client { id: self.next, stream, peer, rights, stage, deadline });
        self.next += 1;
    }

    /// Does what a client that is ready lets us do.
    fn attend(&mut self, index: usize) {
        let Some(client) = self.clients.get_mut(index) else { return };
        match &mut client.stage {
            Stage::Asking(octets) => match read_line(&mut client.stream, octets, self.limits.request) {
                Ok(Line::Partial) => {}
                Ok(Line::TooLong) => {
                    let message = format!("a request has at most {} octets", self.limits.request);
                    client.answer(&Reply::refused(Refusal::BadRequest, message), self.limits.patience);
                }
                Ok(Line::Whole) => {
                    let line = std::mem::take(octets);
                    self.ask(index, &line);
                }
                Err(_) => client.stage = Stage::Done,
            },
            Stage::Answering(octets, sent) => {
                match client.stream.write(octets.get(*sent..).unwrap_or_default()) {
                    Ok(written) => {
                        *sent += written;
                        if *sent >= octets.len() {
                            client.stage = Stage::Done;
                        }
                    }
                    Err(error) if again(&error) => {}
                    Err(_) => client.stage = Stage::Done,
                }
            }
            // Only a hang-up is told to us here.
            Stage::Waiting { .. } | Stage::Done => client.stage = Stage::Done,
        }
    }

    /// Hands a request to the engine, if it is one and the peer may ask it.
    fn ask(&mut self, index: usize, line: &[u8]) {
        let Some(client) = self.clients.get_mut(index) else { return };
        let patience = self.limits.patience;
        let request: Request = match serde_json::from_slice(line) {
            Ok(request) => request,
            Err(error) => {
                let message = format!("the request is not understood (is the daemon older?): {error}");
                return client.answer(&Reply::refused(Refusal::BadRequest, message), patience);
            }
        };
        let needed = match &request {
            Request::Reload => Rights::Reload,
            request if request.changes() => Rights::Change,
            _ => Rights::Read,
        };
        if client.rights < needed {
            let message = "only root may change anything; try sudo";
            return client.answer(&Reply::refused(Refusal::NoPermission, message), patience);
        }
        if let Some(reply) = self.archive.answer(&request) {
            return client.answer(&reply, patience);
        }
        let waits = Arc::new(());
        let waiting = Arc::downgrade(&waits);
        client.stage = Stage::Waiting { _awaits: waits };
        client.deadline = Instant::now() + patience;
        let responder = Responder {
            client: client.id,
            peer: client.peer.clone(),
            waiting,
            answers: Some(self.answers.clone()),
            wake: self.wake.clone(),
        };
        // Where the engine is gone or the queue is full, the responder is dropped and answers for it.
        let _ = self.requests.try_send((request, responder));
        self.engine.ring();
    }

    fn hand_over(&mut self, id: u64, reply: &Reply) {
        let waiting = self
            .clients
            .iter_mut()
            .find(|client| client.id == id && matches!(client.stage, Stage::Waiting { .. }));
        if let Some(client) = waiting {
            client.answer(reply, self.limits.patience);
        }
    }

    /// Sees to the clients whose time is over.
    fn remind(&mut self) {
        let now = Instant::now();
        let patience = self.limits.patience;
        for client in self.clients.iter_mut().filter(|client| client.deadline <= now) {
            let message = match client.stage {
                Stage::Asking(_) => "no whole request came in time",
                Stage::Waiting { .. } => "the daemon is busy and did not answer in time; try again",
                Stage::Answering(..) | Stage::Done => {
                    client.stage = Stage::Done;
                    continue;
                }
            };
            client.answer(&Reply::refused(Refusal::Busy, message), patience);
        }
    }
}

impl Client {
    fn answer(&mut self, reply: &Reply, patience: Duration) {
        self.stage = Stage::Answering(line(reply), 0);
        self.deadline = Instant::now() + patience;
    }
}

impl Stage {
    const fn interest(&self) -> PollFlags {
        match self {
            Self::Asking(_) => PollFlags::IN,
            Self::Answering(..) => PollFlags::OUT,
            Self::Waiting { .. } | Self::Done => PollFlags::empty(),
        }
    }
}

/// What poll said; clients in the order of the desk's list, none where it failed.
struct Ready {
    listener: bool,
    clients: Vec<PollFlags>,
}

enum Line {
    Partial,
    Whole,
    TooLong,
}

/// Reads on until the line is whole, too long, or nothing more is there.
fn read_line(stream: &mut UnixStream, octets: &mut Vec<u8>, most: usize) -> io::Result<Line> {
    let mut chunk = [0; 4096];
    loop {
        let read = match stream.read(&mut chunk) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => chunk.get(..read).unwrap_or_default(),
            Err(error) if again(&error) => return Ok(Line::Partial),
            Err(error) => return Err(error),
        };
        let end = read.iter().position(|&octet| octet == b'\n');
        octets.extend_from_slice(read.get(..end.unwrap_or(read.len())).unwrap_or_default());
        match end {
            Some(_) if octets.len() < most => return Ok(Line::Whole),
            None if octets.len() < most => {}
            _ => return Ok(Line::TooLong),
        }
    }
}

/// One try to say why, without waiting: whoever is turned away must not cost anything.
fn turn_away(mut stream: UnixStream, reply: &Reply) {
    let _ = stream.write(&line(reply));
}

fn line(reply: &Reply) -> Vec<u8> {
    let mut octets = Vec::new();
    // Writing to memory does not fail, and no reply holds what JSON has no form for.
    let _ = json::write_line(&mut octets, reply);
    octets
}

fn again(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// Rounded up to a millisecond: poll that returns a little early would spin until the deadline.
fn timespec(duration: Duration) -> Timespec {
    Timespec::try_from(duration + Duration::from_millis(1)).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 })
}
