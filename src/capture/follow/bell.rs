//! When to look at followed files: at once when the kernel says that one was written or created (inotify(7)), and
//! [every second](LOOK_EVERY) all the same.
//!
//! inotify is a hint and no more. It watches the files' directories, which one watch each tells of all that happens to
//! a file and to its successors. It is silent for what another host writes (NFS), for the target of a symbolic link,
//! and for a directory that may be searched and not read; then a line is up to a second late, and none is lost.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};

/// A look takes two system calls a file; nobody should wait longer for a line that no notification announced.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Rings when one of some files has changed.
#[derive(Debug)]
pub struct Bell {
    inotify: OwnedFd,
    directories: BTreeSet<PathBuf>,
    names: BTreeSet<OsString>,
}

impl Bell {
    /// A bell for the files at `paths`, which need not be there.
    ///
    /// # Errors
    /// When the kernel has no inotify instance left for this user (fs.inotify.max_user_instances).
    pub fn new<'p>(paths: impl Iterator<Item = &'p Path> + Clone) -> io::Result<Self> {
        let bell = Self {
            inotify: inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?,
            directories: paths.clone().filter_map(Path::parent).map(Path::to_owned).collect(),
            names: paths.filter_map(Path::file_name).map(ToOwned::to_owned).collect(),
        };
        bell.hang();
        Ok(bell)
    }

    /// Watches the directories as they are now. One that is watched stays so; one that was made anew is watched again.
    pub fn hang(&self) {
        let flags = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
        for directory in &self.directories {
            // Whatever stands in the way, the files are looked at every second.
            let _ = inotify::add_watch(&self.inotify, directory, flags);
        }
    }

    /// Takes in what the kernel has said, a bounded part of it, and tells whether it was about one of the files.
    pub fn has_rung(&self) -> bool {
        let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        let mut rung = false;
        while let Ok(event) = reader.next() {
            let name = event.file_name().map(|name| std::ffi::OsStr::from_bytes(name.to_bytes()));
            rung |= event.events().contains(ReadFlags::QUEUE_OVERFLOW)
                || name.is_some_and(|name| self.names.contains(name));
            if reader.is_buffer_empty() {
                break;
            }
        }
        rung
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}
