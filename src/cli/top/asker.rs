//! The thread that asks the daemon: once a second, and whatever a key asks for.

use std::io;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use super::super::why::{self, Case};
use crate::control::client::ask;
use crate::control::protocol::{Reply, Request};
use crate::report::target::Target;

/// The least time between two questions of how things are.
const EVERY: Duration = Duration::from_secs(1);

/// The daemon answers in the thread that takes packets in: looking on must not take more than a fiftieth of its time.
const PATIENCE: u32 = 50;

/// What a key asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// One request.
    Of(Request),
    /// Everything that `nfban why` tells.
    Why(Target),
}

/// What came back.
#[derive(Debug)]
pub(super) enum Told {
    /// All about one of them.
    Case(Box<Case>),
    /// There is nothing about him, and why.
    NoCase(String),
    /// An answer, of the status or of what was asked besides.
    Reply(Box<Reply>, Instant),
    /// Why there is none.
    Trouble(String),
}

/// The other end of the thread.
pub(super) struct Asker {
    requests: Sender<Question>,
    told: Receiver<Told>,
}

impl Asker {
    /// Begins to ask at `socket`.
    pub(super) fn start(socket: &Path) -> io::Result<Self> {
        let (requests, asked) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        let socket = socket.to_owned();
        thread::Builder::new().name("asker".to_owned()).spawn(move || work(&socket, &asked, &tell))?;
        Ok(Self { requests, told })
    }

    /// Asks for something besides; its answer is told like the others.
    pub(super) fn ask(&self, question: Question) {
        // The thread ends only when this end is gone.
        let _ = self.requests.send(question);
    }

    /// What has come back since this was last asked.
    pub(super) fn told(&self) -> impl Iterator<Item = Told> {
        self.told.try_iter()
    }
}

fn work(socket: &Path, asked: &Receiver<Question>, tell: &Sender<Told>) {
    let mut next = Instant::now() + EVERY;
    loop {
        let question = match asked.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok(question) => question,
            Err(RecvTimeoutError::Timeout) => Question::Of(Request::Status { address: None }),
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let began = Instant::now();
        if tell.send(answer(socket, &question)).is_err() {
            return;
        }
        match question {
            // What follows from it is to be seen at once.
            Question::Of(request) if request.changes() => next = Instant::now(),
            Question::Of(_) => next = Instant::now() + EVERY.max(began.elapsed() * PATIENCE),
            Question::Why(_) => {}
        }
    }
}

fn answer(socket: &Path, question: &Question) -> Told {
    match question {
        Question::Of(request) => match ask(socket, request) {
            Ok(reply) => Told::Reply(Box::new(reply), Instant::now()),
            Err(error) => Told::Trouble(error.to_string()),
        },
        Question::Why(address) => match why::inquire(socket, *address) {
            Ok(case) => Told::Case(Box::new(case)),
            Err(failure) => Told::NoCase(failure.message.unwrap_or_default()),
        },
    }
}
