//! Why one of the list is banned, or is not: a text that may be longer than the screen.

use ratatui::crossterm::event::KeyCode;
use ratatui::layout::Size;

use super::super::names::Names;
use super::super::why::Case;

/// How wide an explanation is at most, frame and all: longer lines are hard to follow.
pub(super) const WIDEST: u16 = 120;

/// A text that may be longer than the screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Explanation {
    case: Box<Case>,
    /// What it says at this width.
    pub(super) lines: Vec<String>,
    /// The first line of these that is shown.
    pub(super) from: usize,
    /// How many are shown.
    pub(super) room: usize,
}

impl Explanation {
    pub(super) fn new(case: Box<Case>) -> Self {
        Self { case, lines: Vec::new(), from: 0, room: 1 }
    }

    pub(super) fn title(&self) -> String {
        self.case.address().to_string()
    }

    /// Breaks it anew for a terminal of this size.
    pub(super) fn fit(&mut self, size: Size, names: &Names) {
        const FRAME: u16 = 2;
        self.lines = self.case.lines(names, size.width.min(WIDEST).saturating_sub(FRAME).max(1));
        self.room = usize::from(size.height.saturating_sub(FRAME)).max(1);
        self.go(self.from);
    }

    /// Goes to a line; the end of the text stays at the end of the screen.
    fn go(&mut self, from: usize) {
        self.from = from.min(self.lines.len().saturating_sub(self.room));
    }

    /// Scrolls; false where the key is for something else.
    pub(super) fn press(&mut self, code: KeyCode) -> bool {
        let page = self.room.saturating_sub(1).max(1);
        match code {
            KeyCode::Down | KeyCode::Char('j') => self.go(self.from.saturating_add(1)),
            KeyCode::Up | KeyCode::Char('k') => self.go(self.from.saturating_sub(1)),
            KeyCode::PageDown | KeyCode::Char(' ') => self.go(self.from.saturating_add(page)),
            KeyCode::PageUp => self.go(self.from.saturating_sub(page)),
            KeyCode::Home => self.go(0),
            KeyCode::End => self.go(usize::MAX),
            _ => return false,
        }
        true
    }
}
