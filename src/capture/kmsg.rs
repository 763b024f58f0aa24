//! The kernel's own messages, LOG text among them, where journald reads them too: /dev/kmsg
//! (Documentation/ABI/testing/dev-kmsg).
//!
//! A record's facility says who wrote it. The kernel gives its own messages facility 0, and whoever writes to the device
//! gets another one, so nobody can forge a LOG line here; records of other facilities are not handed out.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;

use rustix::fs::OFlags;

/// Where the kernel has its messages.
pub const DEVICE: &str = "/dev/kmsg";

/// The longest record with its dictionary (PRINTKRB_RECORD_MAX is 1024, CONSOLE_EXT_LOG_MAX 8192).
const LONGEST: usize = 16 * 1024;

/// Records that one [`Kmsg::read`] takes, so that packets and requests get their turn.
const BUDGET: usize = 256;

/// Why the kernel's messages cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// sysctl kernel.dmesg_restrict is 1, as in Debian.
    #[error(
        "no permission to read the kernel's messages ({DEVICE}): as a service nfban lacks CAP_SYSLOG and the device, which \
         /usr/share/doc/nfban/examples/systemd/kernel-log.conf gives it"
    )]
    NotPermitted,
    /// There is no such device, as in the private /dev of a service (PrivateDevices= in systemd.exec(5)) and in containers.
    #[error(
        "there is no {DEVICE} to read the kernel's messages from: a service has none until \
         /usr/share/doc/nfban/examples/systemd/kernel-log.conf lets it, and a container has none at all"
    )]
    Absent,
    /// Anything else.
    #[error("cannot read the kernel's messages: {DEVICE}: {0}")]
    System(#[source] io::Error),
}

/// The kernel's messages from now on.
#[derive(Debug)]
pub struct Kmsg {
    device: File,
    /// The sequence number that the next record has if none is lost.
    next: Option<u64>,
    lost: u64,
    buffer: Box<[u8]>,
}

impl Kmsg {
    /// Begins behind the latest message.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open() -> Result<Self, OpenError> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::PermissionDenied => OpenError::NotPermitted,
            io::ErrorKind::NotFound => OpenError::Absent,
            _ => OpenError::System(error),
        };
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
        let mut device = File::options().read(true).custom_flags(flags).open(DEVICE).map_err(failed)?;
        device.seek(SeekFrom::End(0)).map_err(failed)?;
        Ok(Self { device, next: None, lost: 0, buffer: vec![0; LONGEST].into() })
    }

    /// How many records the kernel had overwritten before they were read, from gaps in their sequence numbers.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.lost
    }

    /// Hands out the kernel's records that wait, a bounded number, each as `LEVEL,SEQUENCE,TIME,FLAGS;MESSAGE`. While
    /// more wait the descriptor is readable.
    ///
    /// # Errors
    /// Those of reading.
    pub fn read(&mut self, each: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        for _ in 0..BUDGET {
            let length = match self.device.read(&mut self.buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // EPIPE: the record was overwritten, and the next read begins with the oldest that is left.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EPIPE | libc::EINTR)) => continue,
                Err(error) => return Err(error),
            };
            let record = self.buffer.get(..length).unwrap_or_default();
            // Behind the message come lines of its dictionary, each beginning with a blank.
            let line = record.split(|&octet| octet == b'\n').next().unwrap_or_default();
            let Some((priority, sequence)) = header(line) else { continue };
            self.lost += self.next.map_or(0, |next| sequence.saturating_sub(next));
            self.next = Some(sequence.saturating_add(1));
            if priority >> 3 == 0 {
                each(line);
            }
        }
        Ok(())
    }
}

impl AsFd for Kmsg {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

/// Facility and level in one number, and the sequence number.
fn header(line: &[u8]) -> Option<(u64, u64)> {
    let mut fields = line.split(|&octet| octet == b',');
    let mut number = || std::str::from_utf8(fields.next()?).ok()?.parse().ok();
    Some((number()?, number()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_tells_facility_and_sequence() {
        assert_eq!(header(b"4,3662,22273165692,-;nfban:refused IN=lo"), Some((4, 3662)));
        assert_eq!(header(b"12,3663,22274205827,-,caller=T1;forged IN=lo"), Some((12, 3663)));
        for other in [&b""[..], b"4", b"4,;", b"a,1,2;x", b"-1,1,2;x"] {
            assert_eq!(header(other), None, "{other:?}");
        }
    }
}
