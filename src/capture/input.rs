//! Opening what `replay` reads: files or standard input, compressed or not, and telling captures from text.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::capture::pcap;

/// Octets looked at to tell what an input is; also the size of a read.
const PEEK: usize = 64 * 1024;

/// The most memory an xz stream may make its decoder take. `xz -9` needs 65 MiB, and nothing more is common.
const XZ_MEMORY: u64 = 128 << 20;
/// The largest window a zstd frame may ask for, as a power of two: 128 MiB, which is also zstd's own limit unless told.
const ZSTD_WINDOW_LOG: u32 = 27;

/// What an input holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A pcap capture.
    Pcap,
    /// A pcapng capture.
    PcapNg,
    /// Lines of text; also an empty input, which has none.
    Text,
}

/// Why an input cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// It cannot be opened.
    #[error("cannot open {name}: {source}")]
    Open {
        /// What was asked for.
        name: String,
        /// The system's reason.
        source: io::Error,
    },
    /// Its beginning cannot be read or decompressed.
    #[error("cannot read {name}: {source}")]
    Read {
        /// What was asked for.
        name: String,
        /// The system's, or the decompressor's, reason.
        source: io::Error,
    },
    /// It is binary, and no capture.
    #[error("{name} is neither a capture (pcap, pcapng) nor text")]
    NeitherFormat {
        /// What was asked for.
        name: String,
    },
}

/// How far an input has been read; a cheap handle for a progress bar, also from another thread.
#[derive(Debug, Clone)]
pub struct Progress {
    read: Arc<AtomicU64>,
    total: Option<u64>,
}

impl Progress {
    /// Octets read so far, as they are stored: compressed ones count as such.
    #[must_use]
    pub fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Octets in all, where the input is a regular file.
    #[must_use]
    pub const fn total(&self) -> Option<u64> {
        self.total
    }
}

/// An opened input, read decompressed.
pub struct Input {
    name: String,
    format: Format,
    progress: Progress,
    reader: Box<dyn BufRead + Send>,
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Input")
            .field("name", &self.name)
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}

impl Input {
    /// Opens a file, or standard input for `-`.
    ///
    /// # Errors
    /// If it cannot be opened or read, or is neither a capture nor text.
    pub fn open(path: &Path) -> Result<Self, InputError> {
        if path == Path::new("-") {
            let stdin = io::stdin();
            let total = rustix::fs::fstat(&stdin).ok().and_then(|stat| {
                rustix::fs::FileType::from_raw_mode(stat.st_mode)
                    .is_file()
                    .then(|| u64::try_from(stat.st_size).ok())
                    .flatten()
            });
            return Self::new("standard input", stdin, total);
        }
        let name = path.display().to_string();
        match File::open(path).and_then(|file| file.metadata().map(|metadata| (file, metadata))) {
            Ok((file, metadata)) => {
                let total = metadata.is_file().then_some(metadata.len());
                Self::new(&name, file, total)
            }
            Err(source) => Err(InputError::Open { name, source }),
        }
    }

    /// Looks at the beginning of `reader`, of `total` octets if that is known, to tell what it is.
    ///
    /// # Errors
    /// If it cannot be read, or is neither a capture nor text.
    pub fn new(
        name: &str,
        reader: impl Read + Send + 'static,
        total: Option<u64>,
    ) -> Result<Self, InputError> {
        let unreadable = |source| InputError::Read { name: name.to_owned(), source };
        let progress = Progress { read: Arc::default(), total };
        let counting = Counting { inner: reader, read: Arc::clone(&progress.read) };
        let (magic, stored) = peek(counting, 6).map_err(unreadable)?;
        let plain = decompress(&magic, stored).map_err(unreadable)?;
        let (beginning, reader) = peek(plain, 4).map_err(unreadable)?;
        let format =
            recognise(&beginning).ok_or_else(|| InputError::NeitherFormat { name: name.to_owned() })?;
        Ok(Self { name: name.to_owned(), format, progress, reader: Box::new(reader) })
    }

    /// The file's name for messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the input holds.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.format
    }

    /// A handle that tells how far it has been read.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }
}

impl BufRead for Input {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.reader.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.reader.consume(amount);
    }
}

/// Counts what is read through it.
struct Counting<R> {
    inner: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.read.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}

/// A reader whose beginning was looked at.
type Peeked<R> = io::Chain<Cursor<Vec<u8>>, BufReader<R>>;

/// Reads until `least` octets are there, or the end, and gives what came together with a reader that begins with it.
/// A pipe is not made to fill a buffer first: what follows live is shown live.
fn peek<R: Read>(mut reader: R, least: usize) -> io::Result<(Vec<u8>, Peeked<R>)> {
    let mut buffer = vec![0; PEEK];
    let mut filled = 0;
    while filled < least {
        match reader.read(buffer.get_mut(filled..).unwrap_or_default()) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer.truncate(filled);
    let chain = Cursor::new(buffer.clone()).chain(BufReader::with_capacity(PEEK, reader));
    Ok((buffer, chain))
}

/// Undoes the compression that `magic` tells, if any.
fn decompress(magic: &[u8], stored: impl BufRead + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
    Ok(match magic {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(stored)),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            let stream =
                liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, liblzma::stream::CONCATENATED)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(stored, stream))
        }
        // A frame, or a skippable one before it as parallel compressors write.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(stored)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
        _ => Box::new(stored),
    })
}

/// What an input that begins so is.
fn recognise(beginning: &[u8]) -> Option<Format> {
    match beginning.first_chunk().and_then(|magic| pcap::Format::of_magic(*magic)) {
        Some(pcap::Format::Pcap) => Some(Format::Pcap),
        Some(pcap::Format::PcapNg) => Some(Format::PcapNg),
        None => is_text(beginning).then_some(Format::Text),
    }
}

/// A log may hold octets that are no UTF-8, from a prefix or a broken line, but not many control characters: of random
/// octets one in nine is one. NULs come in runs where a file system lost what was being written when the power went, and
/// then the rest is whole lines; elsewhere they are the mark of a binary file.
fn is_text(octets: &[u8]) -> bool {
    let is_control =
        |octet: &u8| octet.is_ascii_control() && !matches!(octet, 0 | b'\t' | b'\n' | b'\r' | 0x1b);
    let nuls = octets.iter().filter(|octet| **octet == 0).count();
    let control = octets.iter().filter(|octet| is_control(octet)).count();
    let text = octets.len() - nuls;
    if nuls == 0 { control <= text / 20 } else { control == 0 && octets.contains(&b'\n') }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn open(octets: Vec<u8>) -> Result<Input, InputError> {
        Input::new("test", Cursor::new(octets), None)
    }

    fn gzip(octets: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(octets).unwrap();
        encoder.finish().unwrap()
    }

    fn xz(octets: &[u8]) -> Vec<u8> {
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
        encoder.write_all(octets).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(octets: &[u8]) -> Vec<u8> {
        zstd::encode_all(octets, 1).unwrap()
    }

    fn content(mut input: Input) -> Vec<u8> {
        let mut octets = Vec::new();
        input.read_to_end(&mut octets).unwrap();
        octets
    }

    #[test]
    fn each_compression_is_undone_also_when_streams_are_joined() {
        let halves: [&[u8]; 2] = [b"kernel: IN=eth0 OUT= ", b"SRC=192.0.2.7\n"];
        for compress in [<[u8]>::to_vec, gzip, xz, zstd] {
            let input = open([compress(halves[0]), compress(halves[1])].concat()).unwrap();
            assert_eq!(input.format(), Format::Text);
            assert_eq!(content(input), halves.concat());
        }
        let skippable = [0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 0, 0];
        assert_eq!(content(open([&skippable, &zstd(halves[0])[..]].concat()).unwrap()), halves[0]);
    }

    #[test]
    fn each_format_is_told_by_its_beginning() {
        for (beginning, format) in [
            (vec![0xa1, 0xb2, 0xc3, 0xd4, 0], Format::Pcap),
            (vec![0x4d, 0x3c, 0xb2, 0xa1, 0], Format::Pcap),
            (vec![0x34, 0xcd, 0xb2, 0xa1, 0], Format::Pcap),
            (vec![0x0a, 0x0d, 0x0d, 0x0a, 0], Format::PcapNg),
            (b"Nov 22 01:20:49 host kernel: [UFW BLOCK] IN=".to_vec(), Format::Text),
            ("受信 \x1b[1mIN=eth0\x1b[0m\r\n".into(), Format::Text),
            (b"a line of latin-1: \xe9\xe8\xfc\n".to_vec(), Format::Text),
            (b"\n".to_vec(), Format::Text),
        ] {
            for compress in [<[u8]>::to_vec, gzip, xz, zstd] {
                assert_eq!(open(compress(&beginning)).unwrap().format(), format);
            }
        }
    }

    #[test]
    fn an_empty_input_is_text_without_lines() {
        for octets in [Vec::new(), gzip(b""), xz(b""), zstd(b"")] {
            let input = open(octets).unwrap();
            assert_eq!(input.format(), Format::Text);
            assert_eq!(input.lines().count(), 0);
        }
    }

    #[test]
    fn what_is_neither_is_an_error_that_names_the_file() {
        let noise: Vec<u8> = (1..=255).collect();
        for octets in [b"\x7fELF\x02\x01\x01\0".to_vec(), b"text, then a NUL\0".to_vec(), noise] {
            let error = open(octets).unwrap_err().to_string();
            assert_eq!(error, "test is neither a capture (pcap, pcapng) nor text");
        }
    }

    #[test]
    fn a_broken_or_unopenable_input_is_an_error_that_names_the_file() {
        let mut broken = gzip(b"");
        broken.truncate(8);
        assert!(open(broken).unwrap_err().to_string().starts_with("cannot read test: "));
        let missing = Path::new("/nonexistent/capture.pcap");
        let error = Input::open(missing).unwrap_err().to_string();
        assert!(error.starts_with("cannot open /nonexistent/capture.pcap: "), "{error}");
        let directory = tempfile::tempdir().unwrap();
        assert!(matches!(Input::open(directory.path()), Err(InputError::Read { .. })));
    }

    #[test]
    fn a_decoder_is_refused_more_memory_than_its_share() {
        // The dictionary's size is one octet of the block header: a small file that asks for a gibibyte.
        let mut octets = xz(b"text\n");
        // Block header: size, flags, filter id 0x21, properties size 1, dictionary size, padding, CRC32.
        assert_eq!(octets[14..16], [0x21, 1]);
        octets[16] = 36;
        let mut crc = flate2::Crc::new();
        crc.update(&octets[12..20]);
        octets[20..24].copy_from_slice(&crc.sum().to_le_bytes());
        let refused = |octets| open(octets).unwrap_err().to_string();
        assert!(refused(octets).contains("memory"));
        // Window descriptor of a zstd frame without a content size: exponent 31 - 10.
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0, 21 << 3, 1, 0, 0];
        assert!(refused(frame.to_vec()).contains("memory"));
    }

    #[test]
    fn progress_counts_octets_as_they_are_stored() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log.gz");
        let stored = gzip(&b"a line that repeats\n".repeat(20_000));
        std::fs::write(&path, &stored).unwrap();
        let input = Input::open(&path).unwrap();
        let progress = input.progress();
        assert_eq!(progress.total(), Some(stored.len() as u64));
        assert_eq!(input.lines().count(), 20_000);
        assert_eq!(progress.read(), stored.len() as u64);
    }

    /// Gives one octet a read, as a slow pipe does.
    struct Trickle(Cursor<Vec<u8>>);

    impl Read for Trickle {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = buffer.len().min(1);
            self.0.read(&mut buffer[..length])
        }
    }

    #[test]
    fn a_pipe_that_trickles_is_recognised_all_the_same() {
        for compress in [<[u8]>::to_vec, gzip, xz, zstd] {
            let octets = compress(&[0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0]);
            let input = Input::new("pipe", Trickle(Cursor::new(octets)), None).unwrap();
            assert_eq!(input.format(), Format::Pcap);
            assert_eq!(content(input).len(), 8);
        }
    }

    #[test]
    fn a_log_that_lost_its_end_to_a_power_cut_is_still_text() {
        let line = b"May  7 18:21:49 host kernel: usb 1-1: new device\n";
        let torn = [&line[..], &[0; 4096], line].concat();
        assert_eq!(open(torn).unwrap().format(), Format::Text);
        assert!(open(vec![0; 4096]).is_err());
        assert!(open(b"\x7fELF\x02\x01\x01\0\0\0\n".to_vec()).is_err());
    }
}
