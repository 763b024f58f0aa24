//! `nfban check`: what is wrong in all files at once, what is odd, and whose files are taken.

#![expect(clippy::unwrap_used, reason = "a test states its expectations by panicking")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

/// A configuration with all that may stand beside it.
struct Bed {
    folder: TempDir,
}

impl Bed {
    fn new(configuration: &str) -> Self {
        let bed = Self { folder: TempDir::new().unwrap() };
        for folder in ["etc/conf.d", "etc/rules.d"] {
            fs::create_dir_all(bed.at(folder)).unwrap();
        }
        let rules = bed.at("etc/rules.d");
        bed.write("nfban.yaml", &format!("rules: {{directory: {}}}\n{configuration}", rules.display()));
        bed
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.at("etc").join(name), text).unwrap();
        // Whatever the umask is.
        self.set(name, 0o644);
    }

    fn set(&self, name: &str, mode: u32) {
        fs::set_permissions(self.at("etc").join(name), Permissions::from_mode(mode)).unwrap();
    }

    /// The exit status and both streams, the folder's name taken out.
    fn check(&self, more: &[&str]) -> (Option<i32>, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nfban"));
        command.arg("check").arg("-c").arg(self.at("etc/nfban.yaml")).args(more);
        let output = command.env_remove("NFBAN_SOCKET").output().unwrap();
        let folder = format!("{}/", self.at("etc").display());
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).replace(&folder, "");
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }
}

#[test]
fn a_pipe_among_the_files_is_told_and_not_waited_for() {
    let bed = Bed::new("");
    for pipe in ["conf.d/10.yaml", "rules.d/10.yaml"] {
        let path = bed.at("etc").join(pipe);
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        let (exit, _, errors) = bed.check(&[]);
        assert_eq!(exit, Some(78), "{errors}");
        assert!(errors.contains(&format!("{pipe}: error: is a pipe")), "{errors}");
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn every_problem_of_every_file_is_told_at_once_with_its_place() {
    let bed = Bed::new("mode: Watch\n");
    bed.write("conf.d/10-web.yaml", "services: [80, https, 443/tcp]\nalow: [192.0.2.7]\n");
    bed.write("conf.d/20-home.yaml", "home: [10.0.0.1/8]\n");
    bed.write(
        "rules.d/mine.yaml",
        "- {id: mine, match: {class: sny}, count: packets, threshold: 3, window: 60}\n",
    );
    let (exit, out, err) = bed.check(&[]);
    assert_eq!((exit, out.as_str()), (Some(78), ""));
    for told in [
        "nfban.yaml:2:7: error: unknown word `Watch`\n  2 | mode: Watch\n    |       ^^^^^\n    = did you mean `watch`?\n",
        "conf.d/10-web.yaml:1:23: error: `443/tcp` is the wrong way round\n",
        "conf.d/10-web.yaml:2:1: error: unknown key `alow`\n  2 | alow: [192.0.2.7]\n    | ^^^^\n    = did you mean `allow`?\n",
        "conf.d/20-home.yaml:1:8: error: 10.0.0.1/8 has bits set behind its prefix length",
        "rules.d/mine.yaml:1:29: error: unknown word `sny`",
        "rules.d/mine.yaml:1:73: error: the duration `60` has no unit",
        "nfban: 6 errors; nothing of this configuration would be used\n",
    ] {
        assert!(err.contains(told), "{told}\n\n{err}");
    }
}

#[test]
fn a_warning_changes_the_exit_status_with_strict_alone() {
    let bed = Bed::new("mode: enforce\n");
    assert_eq!(bed.check(&["--strict"]).0, Some(0));
    bed.write("conf.d/allow.yaml", "allow: [0.0.0.0/0]\n");
    bed.write(
        "rules.d/mine.yaml",
        "- id: mine\n  match: {class: syn, dport: traps}\n  count: packets\n  threshold: 3\n  window: 60s\n",
    );
    let (exit, out, err) = bed.check(&[]);
    assert_eq!(exit, Some(0), "{err}");
    assert!(out.contains("2 warnings"), "{out}");
    assert!(err.contains("conf.d/allow.yaml:1:9: warning: 0.0.0.0/0 is everybody"), "{err}");
    assert!(
        err.contains("rules.d/mine.yaml:1:7: warning: this rule never fires: there are no `traps`"),
        "{err}"
    );
    let (exit, _, err) = bed.check(&["--strict"]);
    assert_eq!(exit, Some(1));
    assert!(err.ends_with("nfban: 2 warnings; without --strict it would be used\n"), "{err}");
}

/// What others may write, each in turn.
const FILES: [&str; 3] = ["nfban.yaml", "conf.d/more.yaml", "rules.d/mine.yaml"];

fn whole() -> Bed {
    let bed = Bed::new("");
    bed.write("conf.d/more.yaml", "services: [22]\n");
    bed.write("rules.d/mine.yaml", "- {id: slow-scan, enabled: false}\n");
    assert_eq!(bed.check(&["--strict"]).0, Some(0), "{:?}", bed.check(&[]));
    bed
}

#[test]
fn a_file_that_others_may_write_is_refused() {
    let bed = whole();
    for file in FILES {
        for mode in [0o664, 0o646] {
            bed.set(file, mode);
            let (exit, _, err) = bed.check(&[]);
            assert_eq!(exit, Some(78), "{file}: {err}");
            let told = format!("{file}: error: writable by users other than root (mode {mode:04o})");
            assert!(err.contains(&told) && err.contains(&format!("= run `chmod go-w {file}`")), "{err}");
        }
        bed.set(file, 0o644);
    }
}

#[test]
fn a_directory_that_others_may_write_in_is_refused() {
    let bed = whole();
    for (directory, mode) in [("conf.d", 0o777), ("rules.d", 0o775), ("", 0o757)] {
        bed.set(directory, mode);
        let (exit, _, err) = bed.check(&[]);
        assert_eq!(exit, Some(78), "{directory}: {err}");
        assert!(err.contains(": error: a directory that users other than root may write in"), "{err}");
        assert!(
            err.contains("they can replace what is read from there") && err.contains("run `chmod go-w "),
            "{err}"
        );
        bed.set(directory, 0o755);
    }
    // What leads there, too.
    fs::set_permissions(bed.folder.path(), Permissions::from_mode(0o777)).unwrap();
    assert_eq!(bed.check(&[]).0, Some(78));
    fs::set_permissions(bed.folder.path(), Permissions::from_mode(0o1777)).unwrap();
    assert_eq!(bed.check(&[]).0, Some(0), "as /tmp");
}

#[test]
fn a_file_or_directory_of_another_user_is_refused() {
    let bed = whole();
    for path in FILES.into_iter().chain(["conf.d", "rules.d", ""]) {
        if chown(bed.at("etc").join(path), Some(4242), None).is_err() {
            // The only user of a namespace is root by name alone, and nobody else can own anything there.
            let map = fs::read_to_string("/proc/self/uid_map").unwrap();
            assert_eq!(map.split_whitespace().nth(2), Some("1"), "root must be able to give files away");
            return;
        }
        let (exit, _, err) = bed.check(&[]);
        assert_eq!(exit, Some(78), "{path}: {err}");
        assert!(
            err.contains("error: owned by user 4242, not by root") && err.contains("chown root:root"),
            "{err}"
        );
        chown(bed.at("etc").join(path), Some(0), None).unwrap();
    }
    let outside = bed.at("elsewhere.yaml");
    fs::write(&outside, "mode: watch\n").unwrap();
    std::os::unix::fs::symlink(&outside, bed.at("etc/conf.d/link.yaml")).unwrap();
    assert_eq!(bed.check(&[]).0, Some(0), "a link to what root has");
    chown(&outside, Some(4242), None).unwrap();
    assert_eq!(bed.check(&[]).0, Some(78));
}
