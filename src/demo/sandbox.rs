//! A place of its own for the demonstration, and that nothing is left of it, whatever happens.
//!
//! The second process is the first one of a process id namespace: when it ends the kernel kills all others there, and
//! its end is told only after theirs (`zap_pid_ns_processes` in kernel/pid_namespace.c). The network namespaces go with
//! the last process. What remains is one folder for the configuration and the control socket: whichever of the two
//! processes outlives the other removes it.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{getegid, geteuid, getpid};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level};

use super::unshare::{Leave, unshare};
use super::{DemoError, Options, program};

/// Tells the second process that it is the second, and which folder is for it.
const FOLDER: &str = "NFBAN_DEMO_FOLDER";
/// Many times what it takes on a slow machine.
const LIMIT: Duration = Duration::from_secs(60);
/// The longest path of the folder: with a file name it must fit into `sockaddr_un`, 108 octets.
const LONGEST: usize = 90;
/// This program, whatever became of the file it was started from.
pub(super) const THIS_PROGRAM: &str = "/proc/self/exe";

/// Shows the demonstration in a second process and waits for its end.
pub(super) fn run(options: &Options) -> Result<(), DemoError> {
    program::all_installed(options.firewall)?;
    let signals = Signals::catch().map_err(|error| DemoError::step("wait for signals", error))?;
    let folder = Folder::make()?;
    leave()?;
    let ended = signals.wait_for(second_process(&folder)?);
    drop(folder);
    if let Some(signal) = signals.caught() {
        // The user's shell learns that it was the signal. It is a clean end, so nothing is left to say but this.
        let _ = writeln!(io::stderr(), "nfban: interrupted; nothing of the demonstration is left");
        let _ = low_level::emulate_default_handler(signal);
    }
    let status = ended?;
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(()),
        (Some(_), _) => Err(DemoError::Told),
        (None, signal) => Err(DemoError::Ended(signal.unwrap_or_default())),
    }
}

fn second_process(folder: &Folder) -> Result<Child, DemoError> {
    Command::new(THIS_PROGRAM)
        .args(std::env::args_os().skip(1))
        .env(FOLDER, &folder.0)
        // Its standard input ends when this process does.
        .stdin(Stdio::piped())
        .spawn()
        .map_err(|error| DemoError::step(format!("start {THIS_PROGRAM}"), error))
}

/// Leaves the machine's network and process ids; root needs no user namespace for it, others do.
fn leave() -> Result<(), DemoError> {
    let (user, group) = (geteuid(), getegid());
    if user.is_root() {
        return unshare(Leave::NetworkAndProcesses).map_err(forbidden_to_root);
    }
    unshare(Leave::UsersNetworkAndProcesses).map_err(forbidden)?;
    // Without `deny` the kernel takes no map of groups from an ordinary user (user_namespaces(7)).
    [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("0 {user} 1")),
        ("/proc/self/gid_map", format!("0 {group} 1")),
    ]
    .into_iter()
    .try_for_each(|(file, text)| fs::write(file, text))
    .map_err(|error| forbidden(Errno::from_io_error(&error).unwrap_or(Errno::PERM)))
}

fn forbidden_to_root(error: Errno) -> DemoError {
    let what = format!("no namespaces can be made here ({error})");
    let remedy = match error {
        Errno::PERM => {
            "a container needs CAP_SYS_ADMIN for them (docker run --privileged); else use the host"
        }
        Errno::NOSPC | Errno::USERS => {
            "raise user.max_net_namespaces and user.max_pid_namespaces with sysctl"
        }
        _ => "use a kernel with CONFIG_NET_NS and CONFIG_PID_NS",
    };
    DemoError::Forbidden { what, remedy: remedy.to_owned() }
}

/// What keeps an ordinary user from making user namespaces, as the kernel's settings tell.
fn forbidden(error: Errno) -> DemoError {
    let setting = |name: &str| fs::read_to_string(format!("/proc/sys/{name}")).unwrap_or_default();
    let is = |name: &str, value: &str| setting(name).trim() == value;
    let (what, setting) = if is("kernel/unprivileged_userns_clone", "0") {
        ("kernel.unprivileged_userns_clone is 0", "kernel.unprivileged_userns_clone=1")
    } else if is("kernel/apparmor_restrict_unprivileged_userns", "1") {
        (
            "kernel.apparmor_restrict_unprivileged_userns is 1",
            "kernel.apparmor_restrict_unprivileged_userns=0",
        )
    } else if is("user/max_user_namespaces", "0") {
        ("user.max_user_namespaces is 0", "user.max_user_namespaces=1000")
    } else {
        return DemoError::Forbidden {
            what: format!("an ordinary user may not make namespaces here ({error})"),
            remedy: "run it as root: sudo nfban demo".to_owned(),
        };
    };
    DemoError::Forbidden {
        what: format!("ordinary users may not make namespaces here: {what}"),
        remedy: format!("run it as root (sudo nfban demo) or allow it (sudo sysctl {setting})"),
    }
}

/// What a user may do to end it, caught so that it ends cleanly.
struct Signals {
    caught: Arc<AtomicUsize>,
    wakes: UnixStream,
}

impl Signals {
    fn catch() -> io::Result<Self> {
        let (wakes, wake) = UnixStream::pair()?;
        wakes.set_nonblocking(true)?;
        let caught = Arc::new(AtomicUsize::new(0));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let number = usize::try_from(signal).unwrap_or_default();
            flag::register_usize(signal, Arc::clone(&caught), number)?;
        }
        for signal in [SIGINT, SIGTERM, SIGHUP, SIGCHLD] {
            low_level::pipe::register(signal, wake.try_clone()?)?;
        }
        Ok(Self { caught, wakes })
    }

    fn caught(&self) -> Option<i32> {
        i32::try_from(self.caught.load(Ordering::SeqCst)).ok().filter(|&signal| signal != 0)
    }

    /// Waits for the child's end, and ends it on a signal or after [`LIMIT`].
    fn wait_for(&self, mut child: Child) -> Result<ExitStatus, DemoError> {
        let start = Instant::now();
        let waiting = |error: io::Error| DemoError::step("wait for the second process", error);
        loop {
            if let Some(status) = child.try_wait().map_err(waiting)? {
                return Ok(status);
            }
            let left = LIMIT.saturating_sub(start.elapsed());
            if self.caught().is_some() || left.is_zero() {
                child.kill().and_then(|()| child.wait()).map_err(waiting)?;
                return Err(DemoError::TooLong(LIMIT.as_secs()));
            }
            self.sleep(left);
        }
    }

    /// Sleeps until a signal, at most so long.
    fn sleep(&self, limit: Duration) {
        let timeout = Timespec { tv_sec: i64::try_from(limit.as_secs()).unwrap_or(1), tv_nsec: 1 };
        // Whatever this says, the caller looks again.
        let _ = poll(&mut [PollFd::new(&self.wakes, PollFlags::IN)], Some(&timeout));
        let _ = (&self.wakes).read(&mut [0; 64]);
    }
}

/// A folder that nobody else can read, removed with what is in it when this is dropped.
struct Folder(PathBuf);

impl Folder {
    fn make() -> Result<Self, DemoError> {
        let place = std::env::temp_dir();
        for number in 0..100 {
            let folder = place.join(format!("nfban-demo-{}-{number}", getpid()));
            if folder.as_os_str().len() > LONGEST {
                break;
            }
            match DirBuilder::new().mode(0o700).create(&folder) {
                Ok(()) => return Ok(Self(folder)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(DemoError::step(
                        format!("make the folder {}", folder.display()),
                        format!("{error}; set TMPDIR to one you may write to"),
                    ));
                }
            }
        }
        Err(DemoError::Lacking {
            what: format!("a control socket cannot be made below {}", place.display()),
            remedy: "set TMPDIR to a folder with a shorter name, such as /tmp".to_owned(),
        })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // The other process may have been first.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The second process's view: where it may put files.
#[derive(Debug)]
pub(super) struct Inside {
    folder: PathBuf,
}

impl Inside {
    /// Whether this is the second process; `None` in the first.
    pub(super) fn entered() -> Result<Option<Self>, DemoError> {
        let Some(folder) = std::env::var_os(FOLDER) else { return Ok(None) };
        // Whoever sets the variable by hand would have the victim's firewall loaded on the machine itself.
        let networks = fs::read_to_string("/proc/self/net/dev").unwrap_or_default();
        let (header, loopback) = (2, 1);
        if !getpid().is_init() || networks.lines().count() != header + loopback {
            return Err(DemoError::Lacking {
                what: format!(
                    "the environment variable {FOLDER} is set, but these are no private namespaces"
                ),
                remedy: format!("unset {FOLDER}"),
            });
        }
        end_with_the_first(folder.clone());
        Ok(Some(Self { folder: folder.into() }))
    }

    /// A folder that is gone after the demonstration.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Ends this process, and so all others of the namespace, when the first one is gone without having done it.
fn end_with_the_first(folder: OsString) {
    thread::spawn(move || {
        let _ = io::stdin().read(&mut [0]);
        drop(Folder(folder.into()));
        std::process::exit(1);
    });
}
