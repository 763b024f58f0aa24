//! The thread that owns the state database.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{io, thread};

use super::{Store, StoreError};
use crate::detect::memory::Memory;
use crate::time::{Stamp, Wall};

/// What counted at a moment.
struct Snapshot {
    at: Wall,
    memories: Vec<Memory>,
}

/// Writes snapshots, one after the other. Nobody waits for it but who calls [`Keeper::finish`].
#[derive(Debug)]
pub struct Keeper {
    snapshots: SyncSender<Snapshot>,
    alarms: Receiver<String>,
    thread: JoinHandle<()>,
}

impl Keeper {
    /// Begins with a thread for `store`.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub fn start(store: Store) -> io::Result<Self> {
        // One waits while one is written; a disk that is slower than that loses the older ones, which the next replaces.
        let (snapshots, incoming) = sync_channel(1);
        let (outgoing, alarms) = channel();
        let thread = thread::Builder::new().name("store".to_owned()).spawn(move || {
            let mut work = Work { store, failing: None, alarm: |what| drop(outgoing.send(what)) };
            while let Ok(Snapshot { at, memories }) = incoming.recv() {
                work.save(&memories, at);
            }
        })?;
        Ok(Self { snapshots, alarms, thread })
    }

    /// Hands a snapshot over. Tells whether it was taken: not while two others wait for the disk.
    pub fn save(&self, memories: Vec<Memory>, at: Stamp) -> bool {
        self.snapshots.try_send(Snapshot { at: at.into(), memories }).is_ok()
    }

    /// What people must hear since the last time.
    pub fn alarms(&self) -> impl Iterator<Item = String> {
        self.alarms.try_iter()
    }

    /// Writes a last snapshot and waits for all to be written, for `at_most` so long. Tells what people must hear.
    pub fn finish(self, memories: Vec<Memory>, at: Stamp, at_most: Duration) -> Vec<String> {
        let Self { snapshots, alarms, thread } = self;
        let began = std::time::Instant::now();
        let mut last = Snapshot { at: at.into(), memories };
        let mut told = Vec::new();
        // A snapshot that still waits is older than this one, and may be all that a slow disk takes.
        while let Err(TrySendError::Full(back)) = snapshots.try_send(last) {
            last = back;
            if began.elapsed() > at_most {
                told.push(
                    "the disk is too slow: what was counted in the last minutes is not saved".to_owned(),
                );
                return told;
            }
            thread::sleep(Duration::from_millis(10));
        }
        drop(snapshots);
        // The thread's end closes the channel.
        loop {
            match alarms.recv_timeout(at_most.saturating_sub(began.elapsed())) {
                Ok(alarm) => told.push(alarm),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    told.push("the disk is too slow: what was counted lately may not be saved".to_owned());
                    return told;
                }
            }
        }
        if thread.join().is_err() {
            told.push("the state database was not closed".to_owned());
        }
        told
    }
}

/// What the thread does.
struct Work<F: Fn(String)> {
    store: Store,
    /// What stood in the way last time: one alarm for each kind.
    failing: Option<String>,
    alarm: F,
}

impl<F: Fn(String)> Work<F> {
    fn save(&mut self, memories: &[Memory], at: Wall) {
        match self.try_save(memories, at) {
            Ok(()) => self.failing = None,
            Err(error) => {
                let why = error.to_string();
                if self.failing.as_ref() != Some(&why) {
                    let path = self.store.path.display();
                    (self.alarm)(format!(
                        "cannot write the state database {path}: {why}; until that is mended a restart forgets what is \
                         counted of slow scans"
                    ));
                }
                self.failing = Some(why);
            }
        }
    }

    fn try_save(&mut self, memories: &[Memory], at: Wall) -> Result<(), StoreError> {
        match self.store.save(memories) {
            Err(error) if error.is_damage() => {
                self.store.renew(at, &error)?.into_iter().for_each(&self.alarm);
                self.store.save(memories)
            }
            saved => saved,
        }
    }
}
