//! Whose word a file is: what commands the firewall must be nobody's to write but root's and the daemon's own, nor must
//! the directories that lead to it, in which whoever may write puts another file in its place.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use super::problem::{Problem, Problems};

/// Whose files are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// Anybody's: `replay` and `ruleset` of an ordinary user.
    Anybody,
    /// Files of root, or of the process's own user, that nobody else can write or replace: a daemon that changes the
    /// firewall. For a daemon that runs as root that is root alone.
    OwnOrRoots,
}

/// Judges an open file by its owner and mode.
///
/// # Errors
/// Somebody other than root could have written it.
pub(super) fn check(file: &str, metadata: &Metadata, trust: Trust) -> Result<(), Problems> {
    match trust {
        Trust::Anybody => Ok(()),
        Trust::OwnOrRoots => {
            let own = rustix::process::geteuid().as_raw();
            distrust(file, metadata.uid(), metadata.mode(), own).map_or(Ok(()), |problem| Err(problem.into()))
        }
    }
}

/// As many symbolic links as the kernel follows (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// Judges the directories that lead to a file, those that symbolic links lead through included, or to a directory and
/// itself. It goes the way of the path as the kernel does; what cannot be looked at is for whoever opens it to tell.
///
/// # Errors
/// Somebody other than root could have put another file there.
pub(super) fn check_path(path: &Path, trust: Trust) -> Result<(), Problems> {
    let Ok(absolute) = std::path::absolute(path) else { return Ok(()) };
    if trust == Trust::Anybody {
        return Ok(());
    }
    let own = rustix::process::geteuid().as_raw();
    let mut problems = Problems::default();
    let (mut here, mut links) = (PathBuf::from("/"), 0);
    let mut ahead: VecDeque<OsString> = names(&absolute).collect();
    look(&here, own, &mut problems);
    while let Some(name) = ahead.pop_front() {
        if name == ".." {
            here.pop();
            continue;
        }
        let next = here.join(name);
        let Ok(found) = fs::symlink_metadata(&next) else { break };
        if found.is_dir() {
            here = next;
            look(&here, own, &mut problems);
        } else if found.is_symlink() {
            links += 1;
            let Some(target) = fs::read_link(&next).ok().filter(|_| links <= MOST_LINKS) else { break };
            if found.uid() != 0 && found.uid() != own && !is_unmapped_root(found.uid()) {
                problems.push(stranger(&next, found.uid(), "where this link leads"));
            }
            if target.is_absolute() {
                here = PathBuf::from("/");
            }
            names(&target).collect::<Vec<_>>().into_iter().rev().for_each(|name| ahead.push_front(name));
        } else {
            break;
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

fn names(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

fn look(directory: &Path, own: u32, problems: &mut Problems) {
    if let Ok(found) = fs::symlink_metadata(directory) {
        distrust_directory(directory, owner(&found), found.mode(), own)
            .into_iter()
            .for_each(|problem| problems.push(problem));
    }
}

/// Whose something is; root's, where it may be.
fn owner(metadata: &fs::Metadata) -> u32 {
    if is_unmapped_root(metadata.uid()) { 0 } else { metadata.uid() }
}

/// Whether a user id may be root's of the machine, seen from a user namespace that has no number for him: whoever is root
/// in there alone commands the firewall of a namespace of his own.
fn is_unmapped_root(owner: u32) -> bool {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let whole_machine = || read("/proc/self/uid_map").split_whitespace().eq(["0", "0", "4294967295"]);
    owner != 0 && read("/proc/sys/kernel/overflowuid").trim() == owner.to_string() && !whole_machine()
}

/// The write permission of group and others (inode(7)).
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Files of a directory with this bit are renamed and removed by their owners alone (inode(7)): /tmp.
const STICKY: u32 = 0o1000;

/// How others than root and the daemon's own user could put something else in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exposed {
    /// This user owns it.
    Owned(u32),
    /// Its mode lets others write.
    Writable(u32),
}

impl Exposed {
    /// Of a file or directory that is there, for a process of the user `own`.
    pub(super) fn found(metadata: &fs::Metadata, own: u32) -> Option<Self> {
        Self::of(owner(metadata), metadata.mode(), own, metadata.is_dir())
    }

    const fn of(owner: u32, mode: u32, own: u32, is_directory: bool) -> Option<Self> {
        if owner != 0 && owner != own {
            return Some(Self::Owned(owner));
        }
        let sticky = is_directory && mode & STICKY != 0;
        if mode & WRITABLE_BY_OTHERS != 0 && !sticky { Some(Self::Writable(mode & 0o7777)) } else { None }
    }
}

/// Why a file of this owner and mode is not to be trusted.
fn distrust(file: &str, owner: u32, mode: u32, own: u32) -> Option<Problem> {
    Some(match Exposed::of(owner, mode, own, false)? {
        Exposed::Owned(owner) => stranger(Path::new(file), owner, "it"),
        Exposed::Writable(mode) => {
            let message = format!(
                "writable by users other than root (mode {mode:04o}): whoever may write it commands the firewall"
            );
            Problem::of_file(file, message, format!("run `chmod go-w {file}`"))
        }
    })
}

/// Why files in a directory of this owner and mode are not to be trusted.
fn distrust_directory(directory: &Path, owner: u32, mode: u32, own: u32) -> Option<Problem> {
    Some(match Exposed::of(owner, mode, own, true)? {
        Exposed::Owned(owner) => stranger(directory, owner, "in this directory"),
        Exposed::Writable(mode) => {
            let name = directory.display();
            let message = format!(
                "a directory that users other than root may write in (mode {mode:04o}): they can replace what is read from there"
            );
            Problem::of_file(name.to_string(), message, format!("run `chmod go-w {name}`"))
        }
    })
}

fn stranger(path: &Path, owner: u32, what: &str) -> Problem {
    let name = path.display();
    let message =
        format!("owned by user {owner}, not by root: whoever may write {what} commands the firewall");
    let remedy = if path.is_symlink() { "chown -h" } else { "chown" };
    Problem::of_file(name.to_string(), message, format!("run `{remedy} root:root {name}`"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_file_of_root_that_only_root_writes_is_trusted() {
        assert_eq!(distrust("f", 0, 0o100_644, 0), None);
        assert_eq!(distrust("f", 0, 0o100_600, 0), None);
        assert_eq!(distrust("f", 0, 0o100_644, 998), None);
        assert_eq!(distrust("f", 998, 0o100_644, 998), None, "a daemon's own user");
    }

    #[test]
    fn a_file_that_somebody_else_could_have_written_is_not() {
        assert!(distrust("f", 1000, 0o100_600, 0).unwrap().message.starts_with("owned by user 1000"));
        assert!(distrust("f", 0, 0o100_664, 0).unwrap().message.contains("mode 0664"));
        assert!(distrust("f", 0, 0o100_646, 0).unwrap().hint.unwrap().contains("chmod go-w f"));
    }

    #[test]
    fn a_directory_that_somebody_else_may_write_in_is_not_trusted_unless_it_is_sticky() {
        let judged = |owner, mode| distrust_directory(Path::new("/d"), owner, mode, 998);
        for (owner, mode) in [(0, 0o40_755), (998, 0o40_700), (0, 0o41_777)] {
            assert_eq!(judged(owner, mode), None, "{owner} {mode:o}");
        }
        assert!(judged(1000, 0o40_755).unwrap().message.contains("owned by user 1000"));
        assert!(judged(0, 0o40_775).unwrap().hint.unwrap().contains("chmod go-w /d"));
        assert!(judged(0, 0o40_757).is_some());
    }

    #[test]
    fn every_directory_on_the_way_is_looked_at_and_those_behind_links_too() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        let set = |path: &str, mode| fs::set_permissions(at(path), fs::Permissions::from_mode(mode)).unwrap();
        fs::create_dir_all(at("etc/nfban")).unwrap();
        fs::create_dir_all(at("srv/real")).unwrap();
        fs::write(at("srv/real/nfban.yaml"), "").unwrap();
        symlink("../../srv/real/nfban.yaml", at("etc/nfban/nfban.yaml")).unwrap();
        let link = at("etc/nfban/nfban.yaml");
        assert!(check_path(&link, Trust::OwnOrRoots).is_ok());
        for open in ["etc", "etc/nfban", "srv", "srv/real"] {
            set(open, 0o777);
            let problems = check_path(&link, Trust::OwnOrRoots).unwrap_err();
            let told: Vec<_> = problems.iter().map(|problem| problem.file.clone()).collect();
            assert_eq!(told, [at(open).display().to_string()]);
            assert!(check_path(&link, Trust::Anybody).is_ok());
            set(open, 0o1777);
            assert!(check_path(&link, Trust::OwnOrRoots).is_ok(), "sticky");
            set(open, 0o755);
        }
        symlink(at("etc/loop"), at("etc/loop")).unwrap();
        assert!(check_path(&at("etc/loop"), Trust::OwnOrRoots).is_ok(), "for whoever opens it to tell");
    }
}
