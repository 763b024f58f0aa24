//! Signals, turned into something to poll.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP.
    Reload,
}

/// The signals that have come. Readable while one may be pending.
#[derive(Debug)]
pub(super) struct Signals {
    wake: UnixStream,
    stop: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
}

impl Signals {
    pub(super) fn install() -> io::Result<Self> {
        let (wake, ring) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        ring.set_nonblocking(true)?;
        let (stop, reload) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        for (signal, flag) in [(SIGTERM, &stop), (SIGINT, &stop), (SIGHUP, &reload)] {
            // The flag first: when the descriptor wakes the loop, the flag must be up.
            signal_hook::flag::register(signal, Arc::clone(flag))?;
            signal_hook::low_level::pipe::register(signal, ring.try_clone()?)?;
        }
        // What rotates logs is used to sending one of these, and they would end the process. Caught and not ignored:
        // programs that are run from here inherit what is ignored.
        for signal in [SIGUSR1, SIGUSR2] {
            signal_hook::flag::register(signal, Arc::default())?;
        }
        Ok(Self { wake, stop, reload })
    }

    pub(super) fn pending(&self) -> impl Iterator<Item = Signal> {
        let mut drain = [0; 64];
        while matches!(io::Read::read(&mut &self.wake, &mut drain), Ok(1..)) {}
        // A reload that came together with the order to stop is moot.
        [(&self.stop, Signal::Stop), (&self.reload, Signal::Reload)]
            .into_iter()
            .filter(|(flag, _)| flag.swap(false, Ordering::AcqRel))
            .map(|(_, signal)| signal)
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}
