//! The thread that asks the daemon: once a second, and whatever a key asks for.

use std::io;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use crate::control::client::ask;
use crate::control::protocol::{Reply, Request};

/// The least time between two questions of how things are.
const EVERY: Duration = Duration::from_secs(1);

/// The daemon answers in the thread that takes packets in: looking on must not take more than a fiftieth of its time.
const PATIENCE: u32 = 50;

/// What came back.
#[derive(Debug)]
pub(super) enum Told {
    /// An answer, of the status or of what was asked besides.
    Reply(Box<Reply>, Instant),
    /// Why there is none.
    Trouble(String),
}

/// The other end of the thread.
pub(super) struct Asker {
    requests: Sender<Request>,
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
    pub(super) fn ask(&self, request: Request) {
        // The thread ends only when this end is gone.
        let _ = self.requests.send(request);
    }

    /// What has come back since this was last asked.
    pub(super) fn told(&self) -> impl Iterator<Item = Told> {
        self.told.try_iter()
    }
}

fn work(socket: &Path, asked: &Receiver<Request>, tell: &Sender<Told>) {
    let mut next = Instant::now() + EVERY;
    loop {
        let request = match asked.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok(request) => request,
            Err(RecvTimeoutError::Timeout) => Request::Status { address: None },
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let (began, changes) = (Instant::now(), request.changes());
        let told = match ask(socket, &request) {
            Ok(reply) => Told::Reply(Box::new(reply), Instant::now()),
            Err(error) => Told::Trouble(error.to_string()),
        };
        if tell.send(told).is_err() {
            return;
        }
        if changes {
            // What follows from it is to be seen at once.
            next = Instant::now();
        } else if matches!(request, Request::Status { address: None }) {
            next = Instant::now() + EVERY.max(began.elapsed() * PATIENCE);
        }
    }
}
