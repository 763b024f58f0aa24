//! The thread that asks for names. Name servers are slow, and the screen waits for none of them.

use std::collections::HashMap;
use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::super::names::{Choice, Names};

/// How long it takes until somebody who had no answer is asked about again.
const AGAIN: Duration = Duration::from_secs(60);

/// The other end of the thread.
pub(super) struct Namer {
    wanted: Sender<Vec<IpNet>>,
    found: Receiver<Names>,
}

impl Namer {
    /// Begins to wait; nothing is read and nobody is asked before names are wanted.
    pub(super) fn start(choice: Choice) -> io::Result<Self> {
        let (wanted, asked) = mpsc::channel();
        let (tell, found) = mpsc::channel();
        thread::Builder::new().name("namer".to_owned()).spawn(move || work(&choice, &asked, &tell))?;
        Ok(Self { wanted, found })
    }

    /// Wants the names of these, and of nobody else any more.
    pub(super) fn want(&self, sources: Vec<IpNet>) {
        // The thread ends only when this end is gone.
        let _ = self.wanted.send(sources);
    }

    /// All that is known, if there is more than when this was last asked.
    pub(super) fn found(&self) -> Option<Names> {
        self.found.try_iter().last()
    }
}

fn work(choice: &Choice, wanted: &Receiver<Vec<IpNet>>, tell: &Sender<Names>) {
    let Ok(mut sources) = wanted.recv() else { return };
    let mut names = Names::open(choice);
    // Countries need no asking.
    if tell.send(names.clone()).is_err() {
        return;
    }
    names.notes.clear();
    let mut asked: HashMap<IpNet, Instant> = HashMap::new();
    loop {
        asked.retain(|source, at| sources.contains(source) && at.elapsed() < AGAIN);
        names.keep(&sources);
        let new: Vec<IpNet> = sources.iter().filter(|source| !asked.contains_key(*source)).copied().collect();
        if !new.is_empty() {
            names.add(new.iter().copied());
            asked.extend(new.into_iter().map(|source| (source, Instant::now())));
            // That some do not answer shows in the list.
            names.notes.clear();
            if tell.send(names.clone()).is_err() {
                return;
            }
        }
        let Ok(next) = wanted.recv() else { return };
        // What was wanted while name servers took their time is old.
        sources = wanted.try_iter().last().unwrap_or(next);
    }
}
