//! The lines that wait to be written: bounded, so that a log nobody reads costs lines and never packets.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::throttle::{Key, Kind, Throttle, Withheld};
use super::{Format, Line};

/// How many lines wait at most. One is some hundred octets, with all ports and hosts of an incident some thousand.
pub(super) const LINES: usize = 1024;

/// A line, and since when it waits.
#[derive(Debug)]
pub(super) struct Entry {
    /// Wall time in microseconds since 1970.
    pub(super) wall_us: i64,
    pub(super) line: Line,
}

/// What the thread that writes is to do next.
#[derive(Debug)]
pub(super) enum Next {
    Write(Entry),
    Become(Format),
    End,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<Next>,
    throttle: Throttle,
    /// Lines that were lost and are yet to be told of.
    untold: u64,
    /// Lines that were lost in all.
    lost: u64,
    /// Whether a line is being written.
    writing: bool,
    closed: bool,
}

/// Lines on their way from who logs to the thread that writes. The lock is never held while anything is written.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Wakes the thread that writes.
    bell: Condvar,
    /// Tells that all is written.
    drained: Condvar,
    began: Instant,
}

impl Queue {
    pub(super) fn new() -> Self {
        let state = Mutex::default();
        Self { state, bell: Condvar::new(), drained: Condvar::new(), began: Instant::now() }
    }

    /// Takes a line in, if not too many of its kind were told lately. `about` is whom it is about.
    pub(super) fn offer(&self, key: Key, kind: Kind, about: Option<IpNet>, line: impl FnOnce() -> Line) {
        let now = self.began.elapsed();
        let mut state = self.lock();
        if let Err(withheld) = state.throttle.admit(key, now) {
            withheld.count(kind, about);
            if kind == Kind::Other
                && let Line::Words { level, words } = line()
            {
                withheld.words = Some((level, words));
            }
        } else {
            state.push(Next::Write(Entry { wall_us: wall_us(), line: line() }));
        }
        drop(state);
        self.bell.notify_one();
    }

    /// From the lines that come now on, another format.
    pub(super) fn switch(&self, format: Format) {
        // Not subject to the bound: it is rare, and must not be lost.
        self.lock().lines.push_back(Next::Become(format));
        self.bell.notify_one();
    }

    /// A line that was taken out could not be written.
    pub(super) fn lose(&self) {
        self.lock().lose();
    }

    /// Lines that were lost so far.
    pub(super) fn lost(&self) -> u64 {
        self.lock().lost
    }

    /// Lines that wait.
    pub(super) fn waiting(&self) -> usize {
        self.lock().lines.len()
    }

    /// What to do next. Waits until there is anything.
    pub(super) fn next(&self) -> Next {
        let mut state = self.lock();
        state.writing = false;
        loop {
            let now = self.began.elapsed();
            if let Some(next) = state.next(now) {
                state.writing = true;
                return next;
            }
            if state.closed {
                self.drained.notify_all();
                return Next::End;
            }
            let due = state.throttle.next_due().map(|due| due.saturating_sub(now));
            state = match due {
                Some(wait) => self.bell.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0,
                None => self.bell.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Takes in nothing more, and waits until all is written, but no longer than `at_most`. What was withheld is told.
    pub(super) fn close(&self, at_most: Duration) {
        let mut state = self.lock();
        for (key, withheld) in state.throttle.take_all() {
            state.push(Next::Write(entry(key, withheld)));
        }
        state.closed = true;
        self.bell.notify_one();
        let busy = |state: &mut State| state.writing || !state.lines.is_empty() || state.untold > 0;
        // What is left after that time is lost, and there is nobody to tell.
        drop(self.drained.wait_timeout_while(state, at_most, busy));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn push(&mut self, next: Next) {
        if self.closed {
            return;
        }
        if self.lines.len() >= LINES {
            return self.lose();
        }
        if self.lines.len() + 1 < LINES {
            // In the order of what happened: before the line that found room again.
            let lost = self.tell_lost();
            self.lines.extend(lost.map(Next::Write));
        }
        self.lines.push_back(next);
    }

    const fn lose(&mut self) {
        self.lost += 1;
        self.untold += 1;
    }

    fn tell_lost(&mut self) -> Option<Entry> {
        let lines = std::mem::take(&mut self.untold);
        (lines > 0).then(|| Entry { wall_us: wall_us(), line: Line::Lost { lines } })
    }

    fn next(&mut self, now: Duration) -> Option<Next> {
        // What waits is older than what was withheld since.
        if let Some(next) = self.lines.pop_front() {
            return Some(next);
        }
        if let Some(lost) = self.tell_lost() {
            return Some(Next::Write(lost));
        }
        let (key, withheld) = self.throttle.take_due(now)?;
        Some(Next::Write(entry(key, withheld)))
    }
}

fn entry(key: Key, withheld: Withheld) -> Entry {
    let rule = match key {
        Key::Rule(rule) => Some(rule),
        Key::Alarms | Key::Place(_) => None,
    };
    Entry { wall_us: wall_us(), line: Line::Withheld { rule, withheld } }
}

fn wall_us() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    fn words(queue: &Queue, number: usize) {
        let line = || Line::Words { level: Level::INFO, words: number.to_string() };
        queue.offer(Key::Place(number), Kind::Other, None, line);
    }

    fn written(next: Next) -> String {
        match next {
            Next::Write(Entry { line: Line::Words { words, .. }, .. }) => words,
            Next::Write(Entry { line: Line::Lost { lines }, .. }) => format!("{lines} lost"),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn what_there_is_no_room_for_is_counted_and_told_of_where_it_is_missing() {
        let queue = Queue::new();
        (0..LINES + 10).for_each(|number| words(&queue, number));
        assert_eq!((queue.waiting(), queue.lost()), (LINES, 10));
        (0..LINES - 5).for_each(|number| assert_eq!(written(queue.next()), number.to_string()));
        words(&queue, 1_000_000);
        (LINES - 5..LINES).for_each(|number| assert_eq!(written(queue.next()), number.to_string()));
        assert_eq!(written(queue.next()), "10 lost");
        assert_eq!(written(queue.next()), "1000000");
        assert_eq!(queue.lost(), 10, "in all");
        queue.lose();
        assert_eq!(written(queue.next()), "1 lost", "also where no other line comes");
    }

    #[test]
    fn the_end_waits_no_longer_than_it_is_told_to() {
        let queue = Queue::new();
        words(&queue, 1);
        queue.close(Duration::from_millis(1));
        words(&queue, 2);
        assert_eq!(written(queue.next()), "1");
        assert!(matches!(queue.next(), Next::End));
    }
}
