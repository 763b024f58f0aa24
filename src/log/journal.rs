//! journald's native protocol: a datagram a line, of fields (systemd's "Native Journal Protocol").

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;

use rustix::net::sockopt;

/// Where journald listens.
pub const SOCKET: &str = "/run/systemd/journal/socket";

/// What the kernel keeps of lines that journald has not read yet; a line has some hundred octets.
const BUFFER: usize = 8 * 1024 * 1024;

/// A socket to journald.
#[derive(Debug)]
pub(super) struct Journal {
    socket: UnixDatagram,
    path: String,
}

impl Journal {
    /// A socket to who listens at `path`.
    pub(super) fn open(path: &str) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        // As sd-journal does; where it is refused the default holds some hundred lines.
        let _ = sockopt::set_socket_send_buffer_size(socket.as_fd(), BUFFER);
        // Whether anybody is there. Each line is sent by the path: a journald that is started anew has a new socket.
        UnixDatagram::unbound()?.connect(path)?;
        Ok(Self { socket, path: path.to_owned() })
    }

    /// Sends a line. Waits while journald does not read.
    pub(super) fn send(&self, fields: &Fields) -> io::Result<()> {
        loop {
            match self.socket.send_to(&fields.0, &self.path) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result.map(drop),
            }
        }
    }
}

/// Whether standard error leads to the journal: systemd says which stream it made (JOURNAL_STREAM of systemd.exec(5)).
pub(super) fn is_standard_error() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let Ok(of) = rustix::fs::fstat(io::stderr()) else { return false };
    stream == format!("{}:{}", of.st_dev, of.st_ino)
        // Where /dev has no node for it.
        || std::fs::metadata("/proc/self/fd/2").is_ok_and(|of| stream == format!("{}:{}", of.dev(), of.ino()))
}

/// The fields of a line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Fields(Vec<u8>);

impl Fields {
    /// Adds a field. Names have capital letters, digits and `_`.
    pub(super) fn add(&mut self, name: &str, value: &str) {
        self.0.extend_from_slice(name.as_bytes());
        if value.contains('\n') {
            // A value of several lines is given with its length, so that none can pass for a field.
            self.0.push(b'\n');
            self.0.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            self.0.push(b'=');
        }
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(b'\n');
    }

    #[cfg(test)]
    pub(super) fn lines(&self) -> Vec<String> {
        String::from_utf8_lossy(&self.0).lines().map(str::to_owned).collect()
    }

    /// Adds a field, if there is a value.
    pub(super) fn add_some(&mut self, name: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.add(name, &value.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_several_lines_cannot_pass_for_a_field() {
        let mut fields = Fields::default();
        fields.add("MESSAGE", "one\nPRIORITY=0");
        fields.add("PRIORITY", "6");
        assert_eq!(fields.0, b"MESSAGE\n\x0e\0\0\0\0\0\0\0one\nPRIORITY=0\nPRIORITY=6\n");
    }

    #[test]
    fn where_nobody_listens_there_is_no_journal() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        assert_eq!(Journal::open(path.to_str().unwrap()).unwrap_err().kind(), io::ErrorKind::NotFound);
        drop(UnixDatagram::bind(&path).unwrap());
        assert_eq!(
            Journal::open(path.to_str().unwrap()).unwrap_err().kind(),
            io::ErrorKind::ConnectionRefused
        );
    }

    #[test]
    fn a_journal_that_was_started_anew_gets_the_next_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let mut fields = Fields::default();
        fields.add("MESSAGE", "hello");
        let first = UnixDatagram::bind(&path).unwrap();
        let journal = Journal::open(path.to_str().unwrap()).unwrap();
        journal.send(&fields).unwrap();
        drop(first);
        journal.send(&fields).unwrap_err();
        std::fs::remove_file(&path).unwrap();
        let second = UnixDatagram::bind(&path).unwrap();
        journal.send(&fields).unwrap();
        let mut octets = [0; 64];
        let length = second.recv(&mut octets).unwrap();
        assert_eq!(&octets[..length], b"MESSAGE=hello\n");
    }
}
