//! The thread that owns the state database.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{io, thread};

use ipnet::IpNet;

use super::bans::Changes;
use super::forget::Forgotten;
use super::history::Happened;
use super::{Store, StoreError};
use crate::detect::memory::Memory;
use crate::time::{Stamp, Wall};

/// What is to be written.
enum Job {
    /// All that counted at a moment.
    Snapshot { at: Wall, memories: Vec<Memory> },
    /// What has changed of the bans.
    Bans { at: Wall, changes: Changes },
    /// What is to be kept for people to read.
    History { at: Wall, happened: Happened },
    /// Whom to forget, and whom to tell.
    Forget { net: IpNet, copies: bool, told: Told },
}

impl Job {
    /// When it was handed over.
    const fn time(&self) -> Option<Wall> {
        match self {
            Self::Snapshot { at, .. } | Self::Bans { at, .. } | Self::History { at, .. } => Some(*at),
            Self::Forget { .. } => None,
        }
    }
}

/// Takes the answer to a request to forget somebody. It waits for nothing.
pub type Told = Box<dyn FnOnce(Result<Forgotten, StoreError>) + Send>;

/// Writes one thing after the other. Nobody waits for it but who calls [`Keeper::finish`].
#[derive(Debug)]
pub struct Keeper {
    jobs: SyncSender<Job>,
    alarms: Receiver<String>,
    incomplete: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Keeper {
    /// Begins with a thread for `store`.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub fn start(store: Store) -> io::Result<Self> {
        // Two wait while one is written; whoever finds them waiting comes again.
        let (jobs, incoming) = sync_channel(2);
        let (outgoing, alarms) = channel();
        let incomplete = Arc::new(AtomicBool::new(false));
        let lost = Arc::clone(&incomplete);
        let thread = thread::Builder::new().name("store".to_owned()).spawn(move || {
            let mut work = Work { store, failing: None, alarm: |what| drop(outgoing.send(what)), lost };
            while let Ok(job) = incoming.recv() {
                match job {
                    Job::Forget { net, copies, told } => told(work.store.forget(net, copies)),
                    Job::Snapshot { .. } | Job::Bans { .. } | Job::History { .. } => work.write(&job),
                }
            }
        })?;
        Ok(Self { jobs, alarms, incomplete, thread })
    }

    /// Hands a snapshot over. Tells whether it was taken: not while two others wait for the disk.
    pub fn save(&self, memories: Vec<Memory>, at: Stamp) -> bool {
        self.jobs.try_send(Job::Snapshot { at: at.into(), memories }).is_ok()
    }

    /// Hands over what has changed of the bans. Gives it back while two others wait for the disk.
    ///
    /// # Errors
    /// The changes.
    pub fn keep(&self, changes: Changes, at: Stamp) -> Result<(), Box<Changes>> {
        match self.jobs.try_send(Job::Bans { at: at.into(), changes }) {
            Err(
                TrySendError::Full(Job::Bans { changes, .. })
                | TrySendError::Disconnected(Job::Bans { changes, .. }),
            ) => Err(Box::new(changes)),
            _ => Ok(()),
        }
    }

    /// Hands over what happened. Gives it back while two others wait for the disk.
    ///
    /// # Errors
    /// What happened.
    pub fn add(&self, happened: Happened, at: Stamp) -> Result<(), Happened> {
        match self.jobs.try_send(Job::History { at: at.into(), happened }) {
            Err(
                TrySendError::Full(Job::History { happened, .. })
                | TrySendError::Disconnected(Job::History { happened, .. }),
            ) => Err(happened),
            _ => Ok(()),
        }
    }

    /// Has what is known of sources within `net` forgotten, with `copies` of the database too, after all that was handed over
    /// before, and has it `told`. Gives that back while two others wait for the disk.
    ///
    /// # Errors
    /// Whom to tell.
    pub fn forget(&self, net: IpNet, copies: bool, told: Told) -> Result<(), Told> {
        match self.jobs.try_send(Job::Forget { net, copies, told }) {
            Err(
                TrySendError::Full(Job::Forget { told, .. })
                | TrySendError::Disconnected(Job::Forget { told, .. }),
            ) => Err(told),
            _ => Ok(()),
        }
    }

    /// Whether some of what was handed over could not be written since the last time: all bans are to be handed over anew.
    pub fn is_incomplete(&self) -> bool {
        self.incomplete.swap(false, Ordering::AcqRel)
    }

    /// What people must hear since the last time.
    pub fn alarms(&self) -> impl Iterator<Item = String> {
        self.alarms.try_iter()
    }

    /// Writes the last changes of bans, what happened last and a last snapshot, and waits for all to be written, for `at_most`
    /// so long. Tells what people must hear.
    pub fn finish(
        self,
        changes: Vec<Changes>,
        happened: Vec<Happened>,
        memories: Vec<Memory>,
        at: Stamp,
        at_most: Duration,
    ) -> Vec<String> {
        let Self { jobs, alarms, thread, incomplete: _ } = self;
        let began = std::time::Instant::now();
        let mut told = Vec::new();
        let at = Wall::from(at);
        let bans = changes.into_iter().map(|changes| Job::Bans { at, changes });
        let happened = happened.into_iter().map(|happened| Job::History { at, happened });
        for mut last in bans.chain(happened).chain([Job::Snapshot { at, memories }]) {
            // What still waits is older, and may be all that a slow disk takes.
            while let Err(TrySendError::Full(back)) = jobs.try_send(last) {
                last = back;
                if began.elapsed() > at_most {
                    told.push(
                        "the disk is too slow: what was counted and decided last is not saved".to_owned(),
                    );
                    return told;
                }
                thread::sleep(Duration::from_millis(10));
            }
        }
        drop(jobs);
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
    /// Raised when saved bans are not what was handed over.
    lost: Arc<AtomicBool>,
}

impl<F: Fn(String)> Work<F> {
    fn write(&mut self, job: &Job) {
        match self.try_write(job) {
            Ok(()) => self.failing = None,
            Err(error) => {
                if let Job::Bans { .. } = job {
                    self.lost.store(true, Ordering::Release);
                }
                let why = error.to_string();
                if self.failing.as_ref() != Some(&why) {
                    let path = self.store.path.display();
                    (self.alarm)(format!(
                        "cannot write the state database {path}: {why}; bans stand in the kernel, but until that is mended \
                         a reboot loses the new ones and a restart what is counted of slow scans, and incidents are not kept"
                    ));
                }
                self.failing = Some(why);
            }
        }
    }

    fn try_write(&mut self, job: &Job) -> Result<(), StoreError> {
        match self.write_once(job) {
            Err(error) if error.is_damage() => {
                let Some(at) = job.time() else { return Err(error) };
                self.store.renew(at, &error)?.into_iter().for_each(&self.alarm);
                // The fresh file knows none of the bans that were saved before.
                self.lost.store(true, Ordering::Release);
                self.write_once(job)
            }
            written => written,
        }
    }

    fn write_once(&mut self, job: &Job) -> Result<(), StoreError> {
        match job {
            Job::Snapshot { memories, .. } => self.store.save(memories),
            Job::Bans { changes, .. } => self.store.keep(changes),
            Job::History { happened, .. } => self.store.add(happened),
            // Not written by this way.
            Job::Forget { .. } => Ok(()),
        }
    }
}
