//! Connections to traps: one listener for all of them, and one thread that accepts, says its banner and holds.
//!
//! accept() is what proves a source address: the client has answered a SYN+ACK with a number that only the address it
//! claims was sent (RFC 9293 section 3.5). Two doors around that are shut. TCP Fast Open hands out a connection before
//! its handshake (RFC 7413 section 4.2), so it is switched off here whatever net.ipv4.tcp_fastopen says. And what came
//! straight to the listener's own port was at no trap.

mod arrival;
mod recent;
mod socket;

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use rustix::net::SendFlags;

pub use self::arrival::Arrival;
use self::recent::Recent;
use self::socket::{Connection, Listener};

/// How the listener treats those who come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// What is said to them.
    pub banner: Vec<u8>,
    /// How long a connection is held before it is closed.
    pub hold: Duration,
    /// The most connections held: beyond that the oldest is closed.
    pub connections: usize,
}

/// Completed handshakes of one source with one trap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Touch {
    /// Whose address is proven.
    pub source: IpAddr,
    /// The port of the latest one.
    pub source_port: u16,
    /// The address and port that it was sent to, before translation.
    pub trap: SocketAddr,
    /// How many: those within a second are told together.
    pub connections: u64,
    /// Where the latest one came in.
    pub arrival: Arrival,
}

/// What has been counted since the listener was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Connections accepted that had been redirected.
    pub accepted: u64,
    /// Connections straight to the listener's port, which were closed at once.
    pub direct: u64,
    /// Connections held now.
    pub held: u64,
}

#[derive(Debug, Default)]
struct Shared {
    accepted: AtomicU64,
    direct: AtomicU64,
    held: AtomicU64,
}

/// The listener. Dropping it closes its sockets and all it holds.
///
/// Readable when [`Trap::touches`] has something. Whoever takes touches slower than they come makes clients wait and
/// loses nothing: then nothing is accepted.
#[derive(Debug)]
pub struct Trap {
    port: u16,
    settings: Arc<Mutex<Settings>>,
    counts: Arc<Shared>,
    touches: Option<Receiver<Touch>>,
    ring: Arc<OwnedFd>,
    /// The thread ends when this is closed.
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

/// Touches that wait to be taken.
const QUEUE: usize = 64;
/// Connections accepted in a row before what is due is looked at again.
const IN_A_ROW: usize = 64;
/// How long to wait after the process or the system has run out of descriptors.
const BREATH: Duration = Duration::from_millis(100);

impl Trap {
    /// Listens on `port` at all addresses of both families (of IPv4 alone where the kernel has no IPv6).
    ///
    /// # Errors
    /// As bind(2): `EADDRINUSE` where something else has the port.
    pub fn open(port: u16, settings: Settings) -> io::Result<Self> {
        let listeners = socket::listeners(port)?;
        let (tell, touches) = sync_channel(QUEUE);
        let ring = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (stop, stopped) = UnixStream::pair()?;
        let settings = Arc::new(Mutex::new(settings));
        let counts = Arc::new(Shared::default());
        let accepting = Accepting {
            listeners,
            port,
            settings: Arc::clone(&settings),
            counts: Arc::clone(&counts),
            tell,
            ring: Arc::clone(&ring),
            stopped,
            held: VecDeque::new(),
            recent: Recent::default(),
        };
        let thread = std::thread::Builder::new().name("trap".to_owned()).spawn(move || accepting.run())?;
        let (touches, stop, thread) = (Some(touches), Some(stop), Some(thread));
        Ok(Self { port, settings, counts, touches, ring, stop, thread })
    }

    /// The port it listens on.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Treats those who come from now on in another way.
    pub fn set(&self, settings: Settings) {
        *self.settings.lock().unwrap_or_else(PoisonError::into_inner) = settings;
    }

    /// What has come since this was last asked; a bounded number, and the listener is readable again while there is more.
    pub fn touches(&self) -> Vec<Touch> {
        // Everything sent before this is within the first QUEUE; what comes later rings again.
        let mut rung = [0; 8];
        let _ = rustix::io::read(&self.ring, &mut rung);
        self.touches.iter().flat_map(|touches| touches.try_iter().take(QUEUE)).collect()
    }

    /// What has been counted.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let Shared { accepted, direct, held } = &*self.counts;
        Counts { accepted: accepted.load(Relaxed), direct: direct.load(Relaxed), held: held.load(Relaxed) }
    }
}

impl AsFd for Trap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

impl Drop for Trap {
    fn drop(&mut self) {
        // A thread that waits to tell is not woken by `stop`, but by there being nobody to tell.
        drop((self.touches.take(), self.stop.take()));
        if let Some(thread) = self.thread.take() {
            // It has panicked where this fails, and has said so.
            let _ = thread.join();
        }
    }
}

/// The thread's side.
struct Accepting {
    listeners: Vec<Listener>,
    port: u16,
    settings: Arc<Mutex<Settings>>,
    counts: Arc<Shared>,
    tell: SyncSender<Touch>,
    ring: Arc<OwnedFd>,
    stopped: UnixStream,
    /// With the time they are closed at, the oldest first.
    held: VecDeque<(Instant, OwnedFd)>,
    recent: Recent,
}

/// Nobody takes what is told any more.
struct Over;

impl Accepting {
    fn run(mut self) {
        let mut breathe = false;
        while !self.wait(breathe) {
            let Ok(done) = self.accept_some() else { return };
            breathe = !done;
            let now = Instant::now();
            self.close_due(now);
            for touch in self.recent.due(now) {
                if self.told(touch).is_err() {
                    return;
                }
            }
        }
    }

    /// Waits for connections (unless out of `breathe`) and for what is due. Whether this is the end.
    fn wait(&self, breathe: bool) -> bool {
        let now = Instant::now();
        let due =
            [self.held.front().map(|(at, _)| *at), self.recent.next_due(), breathe.then(|| now + BREATH)];
        let timeout = due.into_iter().flatten().min().map(|at| at.saturating_duration_since(now));
        let timeout = timeout.and_then(|wait| Timespec::try_from(wait).ok());
        let mut fds = vec![PollFd::new(&self.stopped, PollFlags::IN)];
        if !breathe {
            fds.extend(self.listeners.iter().map(|listener| PollFd::new(listener, PollFlags::IN)));
        }
        // Interrupted is as good as timed out; nothing else can go wrong with descriptors that are open.
        let _ = poll(&mut fds, timeout.as_ref());
        fds.first().is_some_and(|stopped| !stopped.revents().is_empty())
    }

    /// Accepts what waits, a bounded number. False when there was no descriptor to be had.
    fn accept_some(&mut self) -> Result<bool, Over> {
        for at in 0..self.listeners.len() {
            for _ in 0..IN_A_ROW {
                let Some(listener) = self.listeners.get(at) else { break };
                match listener.accept() {
                    Ok(None) => break,
                    Ok(Some(connection)) => self.came(connection)?,
                    Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                        self.held.pop_front();
                        self.count_held();
                        return Ok(false);
                    }
                    // Whatever befell that one connection; accept(2) says to try again.
                    Err(_) => {}
                }
            }
        }
        Ok(true)
    }

    fn came(&mut self, Connection { socket, source, original, arrival }: Connection) -> Result<(), Over> {
        let Some(trap) = original.filter(|trap| trap.port() != self.port) else {
            self.counts.direct.fetch_add(1, Relaxed);
            return Ok(());
        };
        self.counts.accepted.fetch_add(1, Relaxed);
        let now = Instant::now();
        let touch = Touch { source: source.ip(), source_port: source.port(), trap, connections: 1, arrival };
        if let Some(touch) = self.recent.note(touch, now) {
            self.told(touch)?;
        }
        self.hold(socket, now);
        Ok(())
    }

    fn hold(&mut self, connection: OwnedFd, now: Instant) {
        let settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        if !settings.banner.is_empty() {
            // A client that has gone, or takes nothing, gets none.
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            let _ = rustix::net::send(&connection, &settings.banner, flags);
        }
        let (hold, most) = (settings.hold, settings.connections);
        drop(settings);
        if !hold.is_zero() {
            self.held.push_back((now + hold, connection));
            let surplus = self.held.len().saturating_sub(most);
            self.held.drain(..surplus);
            self.count_held();
        }
    }

    fn close_due(&mut self, now: Instant) {
        // Where the time was made shorter, later ones may be due before the first; they wait for it.
        while self.held.front().is_some_and(|(at, _)| *at <= now) {
            self.held.pop_front();
        }
        self.count_held();
    }

    fn count_held(&self) {
        self.counts.held.store(u64::try_from(self.held.len()).unwrap_or(u64::MAX), Relaxed);
    }

    fn told(&self, touch: Touch) -> Result<(), Over> {
        self.tell.send(touch).map_err(|_| Over)?;
        // The counter of an eventfd holds more than can ever be written to it here.
        let _ = rustix::io::write(&self.ring, &1u64.to_ne_bytes());
        Ok(())
    }
}
