//! A terminal that somebody sits at: tmux plays it.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::daemon::NFBAN;
use super::{LIMIT, wait_until};

/// A terminal of its own, which ends with the test.
pub struct Terminal {
    folder: TempDir,
}

impl Terminal {
    /// One of so many columns and lines that runs a shell.
    pub fn new(columns: u16, lines: u16) -> Self {
        let terminal = Self { folder: TempDir::new().unwrap() };
        let (columns, lines) = (columns.to_string(), lines.to_string());
        let size = ["-x", &columns, "-y", &lines];
        terminal.tmux(
            &[&["-f", "/dev/null", "new-session", "-d"], &size[..], &["env", "PS1=ready$ ", "sh"]].concat(),
        );
        terminal.sees("ready$");
        terminal
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("tmux")
    }

    pub fn tmux(&self, arguments: &[&str]) -> String {
        let mut tmux = Command::new("tmux");
        tmux.arg("-S").arg(self.socket()).args(arguments);
        // Whoever runs the test in tmux, over SSH or without colours must not change it.
        for name in ["TMUX", "SSH_CONNECTION", "SSH_CLIENT", "NO_COLOR"] {
            tmux.env_remove(name);
        }
        let output = tmux.env("LC_ALL", "C.UTF-8").env("TERM", "xterm-256color").output().expect("tmux runs");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Types a line.
    pub fn types(&self, line: &str) {
        self.tmux(&["send-keys", "-l", line]);
        self.tmux(&["send-keys", "Enter"]);
    }

    pub fn resizes(&self, columns: u16, lines: u16) {
        self.tmux(&["resize-window", "-x", &columns.to_string(), "-y", &lines.to_string()]);
    }

    pub fn presses(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }

    pub fn shown(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// The same with the terminal's sequences.
    pub fn painted(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-e"])
    }

    pub fn sees(&self, what: &str) {
        self.waits(what, |shown| shown.contains(what));
    }

    pub fn waits(&self, what: &str, condition: impl Fn(&str) -> bool) {
        let begin = std::time::Instant::now();
        while !condition(&self.shown()) {
            assert!(begin.elapsed() < LIMIT, "waited in vain for {what}; there is:\n{}", self.shown());
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// Whether the alternate screen is on, which a view takes and must give back.
    pub fn is_taken(&self) -> bool {
        self.tmux(&["display-message", "-p", "#{alternate_on}"]).trim() == "1"
    }

    /// The view has ended, and the terminal obeys the shell again.
    pub fn is_the_shells(&self) {
        wait_until("the screen is given back", || !self.is_taken());
        self.types("stty -a | grep -o ' icanon'; echo again");
        self.waits("the shell's own settings", |shown| {
            shown.lines().any(|line| line.ends_with(" icanon")) && shown.lines().any(|line| line == "again")
        });
        self.types("clear");
        self.waits("a cleared screen", |shown| !shown.contains("again"));
    }

    pub fn top(&self, socket: &Path) {
        self.types(&format!("{NFBAN} --socket {} top", socket.display()));
        self.sees("q quit");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = Command::new("tmux").arg("-S").arg(self.socket()).arg("kill-server").output();
    }
}
