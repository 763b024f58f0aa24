//! The socket in the file system: born with the right owner and mode, and never stolen from a daemon that lives.

#![forbid(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, chmod, chown, fchmod, flock};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};
use rustix::process::Gid;

/// Owner and group may connect; what they may ask is decided by their credentials.
const MODE: Mode = Mode::from_raw_mode(0o660);

/// Connections the kernel keeps until the server's thread, which only ever accepts, takes them.
const BACKLOG: i32 = 64;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another daemon answers there.
    #[error("another nfban is already running: it holds {}", .0.display())]
    AlreadyRunning(PathBuf),
    /// Something stands there that is no socket, and it is not ours to remove.
    #[error("{} is in the way and no socket; move it elsewhere", .0.display())]
    InTheWay(PathBuf),
    /// The system refused.
    #[error("cannot {doing} {}: {error}", path.display())]
    System {
        /// What was tried, as a verb.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// What came back.
        error: io::Error,
    },
}

/// The bound socket. Removed from the file system when dropped.
#[derive(Debug)]
pub struct Listener {
    pub(super) socket: UnixListener,
    /// The group whose members may read.
    pub(super) group: u32,
    path: PathBuf,
    /// Held as long as the socket is ours: of two daemons that start at once, one sees the other.
    _lock: File,
}

impl Listener {
    /// Listens at `path`, replacing the socket of a daemon that is dead. The folder is made if only it is missing.
    /// `group` is whose members may read, if it is not the process's own (changing it takes root).
    ///
    /// # Errors
    /// [`BindError::AlreadyRunning`] beside a living daemon, and what else is in the way.
    pub fn bind(path: &Path, group: Option<u32>) -> Result<Self, BindError> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            match std::fs::DirBuilder::new().mode(0o755).create(folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(system("make the folder", folder)(error));
                }
                _ => {}
            }
        }
        let lock = lock(path)?;
        refuse_the_living(path)?;

        // Under another name until it is ready: whoever finds the socket at `path` can connect to it.
        let unready = with_suffix(path, ".new");
        remove(&unready)?;
        let socket = bound(&unready, group)?;
        std::fs::rename(&unready, path).map_err(system("put the socket at", path))?;
        let group = std::fs::symlink_metadata(path).map_err(system("look at", path))?.gid();
        Ok(Self { socket: UnixListener::from(socket), group, path: path.to_owned(), _lock: lock })
    }

    /// The next client, if one waits.
    ///
    /// # Errors
    /// `WouldBlock` where none does, and what accept() fails with.
    pub fn accept(&self) -> io::Result<UnixStream> {
        self.socket.accept().map(|(stream, _)| stream)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // While the lock is held nobody else puts a socket here. Nobody is left to tell of an error.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn system(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BindError {
    move |error| BindError::System { doing, path: path.to_owned(), error }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn remove(path: &Path) -> Result<(), BindError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(system("remove", path)(error)),
        _ => Ok(()),
    }
}

/// The lock file stays when the daemon ends: removing a lock file lets two processes hold "the" lock.
fn lock(path: &Path) -> Result<File, BindError> {
    let name = with_suffix(path, ".lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&name)
        .map_err(system("open", &name))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(BindError::AlreadyRunning(path.to_owned())),
        Err(error) => Err(system("lock", &name)(error.into())),
    }
}

/// A socket that nobody listens on refuses connections; any other answer means that somebody lives there.
fn refuse_the_living(path: &Path) -> Result<(), BindError> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(system("look at", path)(error)),
        Ok(found) if !found.file_type().is_socket() => return Err(BindError::InTheWay(path.to_owned())),
        Ok(_) => {}
    }
    let address = SocketAddrUnix::new(path).map_err(|error| system("use", path)(error.into()))?;
    // Non-blocking: a daemon with a full backlog would keep us waiting (EAGAIN instead).
    let probe = socket().map_err(|error| system("open a socket for", path)(error.into()))?;
    match connect(&probe, &address) {
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(()),
        _ => Err(BindError::AlreadyRunning(path.to_owned())),
    }
}

fn socket() -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

fn bound(path: &Path, group: Option<u32>) -> Result<OwnedFd, BindError> {
    let failed = |doing| move |error: Errno| system(doing, path)(error.into());
    let address = SocketAddrUnix::new(path).map_err(failed("use"))?;
    let socket = socket().map_err(failed("open a socket for"))?;
    // bind() gives the file the mode of the socket's own inode less the umask (unix_bind_bsd in net/unix/af_unix.c),
    // so there is no moment in which others may connect; chmod() gives back what the umask took.
    fchmod(&socket, MODE).map_err(failed("set the mode of"))?;
    bind(&socket, &address).map_err(failed("bind"))?;
    if let Some(group) = group {
        chown(path, None, Some(Gid::from_raw(group))).map_err(failed("set the group of"))?;
    }
    chmod(path, MODE).map_err(failed("set the mode of"))?;
    listen(&socket, BACKLOG).map_err(failed("listen on"))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_socket_is_for_owner_and_group_and_goes_when_the_daemon_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/control.sock");
        let listener = Listener::bind(&path, None).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o660);
        UnixStream::connect(&path).unwrap();
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn a_dead_daemons_socket_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "std leaves the file behind, as a killed daemon does");
        let _listener = Listener::bind(&path, None).unwrap();
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn a_living_daemons_socket_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let listener = Listener::bind(&path, None).unwrap();
        assert!(matches!(Listener::bind(&path, None), Err(BindError::AlreadyRunning(_))));
        drop(listener);

        // One that holds no lock of ours but answers.
        let _stranger = UnixListener::bind(&path).unwrap();
        let error = Listener::bind(&path, None).unwrap_err();
        assert!(error.to_string().starts_with("another nfban is already running"), "{error}");
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(Listener::bind(&path, None), Err(BindError::InTheWay(_))));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn what_cannot_be_bound_names_the_path() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().join("no/such/control.sock"), folder.path().join("x".repeat(120))] {
            let error = Listener::bind(&path, None).unwrap_err().to_string();
            assert!(error.contains(path.parent().unwrap().to_str().unwrap()), "{error}");
        }
    }
}
