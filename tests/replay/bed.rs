//! Runs the built command in a folder of its own.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

pub const NFBAN: &str = env!("CARGO_BIN_EXE_nfban");

pub struct Bed(tempfile::TempDir);

/// What a replay said.
pub struct Told {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Bed {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file and gives its path.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// What a replay of one file with these options told, as JSON.
    pub fn replay(&self, content: impl AsRef<[u8]>, options: &[&str]) -> Told {
        let file = self.file("input", content);
        let mut arguments = vec!["--json", file.as_str()];
        arguments.extend(options);
        run(&arguments)
    }
}

pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(NFBAN);
    command.arg("replay").args(arguments).stdin(Stdio::null());
    for name in ["NO_COLOR", "COLUMNS", "CLICOLOR_FORCE", "TZ"] {
        command.env_remove(name);
    }
    command
}

pub fn run(arguments: &[&str]) -> Told {
    Told::of(&command(arguments).output().unwrap())
}

/// With `input` coming through a pipe.
pub fn run_piped(arguments: &[&str], input: &[u8]) -> Told {
    let mut child = command(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        // It may have seen enough.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    Told::of(&output)
}

impl Told {
    pub fn of(output: &Output) -> Self {
        Self {
            status: output.status.code().unwrap_or_else(|| panic!("killed: {output:?}")),
            stdout: String::from_utf8(output.stdout.clone()).unwrap(),
            stderr: String::from_utf8(output.stderr.clone()).unwrap(),
        }
    }

    /// That it was done, and nothing said about it.
    pub fn done(self) -> Self {
        assert_eq!((self.status, self.stderr.as_str()), (0, ""), "{}", self.stdout);
        self
    }

    /// That it failed with this status and one line of explanation.
    pub fn failed(self, status: i32, saying: &str) -> Self {
        assert_eq!(self.status, status, "{} {}", self.stdout, self.stderr);
        let last = self.stderr.lines().last().unwrap_or_default();
        assert!(last.starts_with("nfban: ") && last.contains(saying), "{}", self.stderr);
        self
    }

    pub fn events(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The events of a type.
    pub fn all(&self, kind: &str) -> Vec<Value> {
        self.events().into_iter().filter(|event| event["type"] == kind).collect()
    }

    /// The rules of its incidents.
    pub fn rules(&self) -> Vec<String> {
        self.all("incident").iter().map(|event| event["rule"].as_str().unwrap().to_owned()).collect()
    }

    /// A number of the summary, which is the last line.
    pub fn summary(&self, field: &str) -> u64 {
        let last = self.events().pop().unwrap_or_else(|| panic!("nothing was told: {}", self.stderr));
        assert_eq!(last["type"], "summary");
        last[field].as_u64().unwrap()
    }
}

/// A file of `tests/data`.
pub fn data(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(path)
}
