use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tempfile::TempDir;

use super::bell::Bell;
use super::*;

/// A log in a folder of its own, and who follows it.
struct Bed {
    folder: TempDir,
    now: Duration,
}

impl Bed {
    fn new() -> Self {
        Self { folder: TempDir::new().unwrap(), now: Duration::ZERO }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("access.log")
    }

    fn write(&self, octets: &[u8]) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.path()).unwrap();
        file.write_all(octets).unwrap();
    }

    fn follow(&self) -> Follower {
        Follower::open(&self.path()).unwrap()
    }

    /// All lines there are; a cut one is told by its length.
    fn lines(&self, follower: &mut Follower) -> Vec<String> {
        let mut lines = Vec::new();
        let mut each = |line: Line<'_>| {
            lines.push(match line.cut {
                true => format!("cut {}", line.text.len()),
                false => String::from_utf8_lossy(line.text).into_owned(),
            });
        };
        while follower.read(self.now, &mut each).unwrap() {}
        lines
    }
}

fn notices(follower: &mut Follower) -> Vec<&'static str> {
    let word = |notice| match notice {
        Notice::Vanished => "vanished",
        Notice::Appeared => "appeared",
        Notice::Unreadable(_) => "unreadable",
    };
    follower.take_notices().into_iter().map(word).collect()
}

#[test]
fn old_lines_are_no_news_and_new_ones_come_once_each_when_they_are_complete() {
    let bed = Bed::new();
    bed.write(b"old\nolder, cut in the middle");
    let mut follower = bed.follow();
    assert!(bed.lines(&mut follower).is_empty());
    bed.write(b" and its rest\nfirst\nsec");
    assert_eq!(bed.lines(&mut follower), ["first"]);
    bed.write(b"ond\n\n");
    assert_eq!(bed.lines(&mut follower), ["second", ""]);
    assert!(bed.lines(&mut follower).is_empty());
}

#[test]
fn a_file_that_is_not_there_is_waited_for_and_read_whole() {
    let bed = Bed::new();
    let mut follower = bed.follow();
    assert!(!follower.is_there());
    assert!(bed.lines(&mut follower).is_empty() && notices(&mut follower).is_empty());
    bed.write(b"first\n");
    assert_eq!(bed.lines(&mut follower), ["first"]);
    assert_eq!(notices(&mut follower), ["appeared"]);
}

#[test]
fn after_rename_and_create_both_files_are_read_for_a_minute() {
    let mut bed = Bed::new();
    bed.write(b"old\n");
    let mut follower = bed.follow();
    let mut writer = OpenOptions::new().append(true).open(bed.path()).unwrap();
    writer.write_all(b"before\npart").unwrap();
    fs::rename(bed.path(), bed.folder.path().join("access.log.1")).unwrap();
    assert_eq!(bed.lines(&mut follower), ["before"]);
    assert_eq!(notices(&mut follower), ["vanished"]);
    writer.write_all(b"ly\n").unwrap();
    bed.write(b"new\n");
    assert_eq!(bed.lines(&mut follower), ["partly", "new"]);
    assert_eq!(notices(&mut follower), ["appeared"]);
    writer.write_all(b"late\n").unwrap();
    bed.write(b"newer\n");
    assert_eq!(bed.lines(&mut follower), ["late", "newer"]);
    bed.now = READ_ON;
    assert!(bed.lines(&mut follower).is_empty());
    writer.write_all(b"too late\n").unwrap();
    bed.write(b"newest\n");
    assert_eq!(bed.lines(&mut follower), ["newest"]);
    assert!(notices(&mut follower).is_empty());
}

#[test]
fn a_truncated_file_is_read_from_its_beginning() {
    let bed = Bed::new();
    bed.write(b"old\nand more of it\n");
    let mut follower = bed.follow();
    bed.write(b"left unfini");
    assert!(bed.lines(&mut follower).is_empty());
    fs::copy(bed.path(), bed.folder.path().join("access.log.1")).unwrap();
    OpenOptions::new().write(true).open(bed.path()).unwrap().set_len(0).unwrap();
    bed.write(b"new\n");
    assert_eq!(bed.lines(&mut follower), ["new"]);
    assert!(notices(&mut follower).is_empty());
}

#[test]
fn a_file_that_vanishes_is_told_once_and_picked_up_again() {
    let bed = Bed::new();
    bed.write(b"old\n");
    let mut follower = bed.follow();
    fs::remove_file(bed.path()).unwrap();
    for _ in 0..3 {
        assert!(bed.lines(&mut follower).is_empty());
    }
    assert_eq!(notices(&mut follower), ["vanished"]);
    bed.write(b"again\n");
    assert_eq!(bed.lines(&mut follower), ["again"]);
    assert_eq!(notices(&mut follower), ["appeared"]);
    // What stands there now is no log.
    fs::remove_file(bed.path()).unwrap();
    fs::create_dir(bed.path()).unwrap();
    assert!(bed.lines(&mut follower).is_empty());
    assert_eq!(notices(&mut follower), ["unreadable"]);
}

#[test]
fn long_lines_are_cut_and_counted_and_the_next_one_is_whole() {
    let bed = Bed::new();
    let mut follower = bed.follow();
    for length in [MAX_LINE, MAX_LINE + 1, 3 * MAX_LINE + 5] {
        bed.write(&vec![b'x'; length]);
        bed.write(b"\n");
    }
    bed.write(b"next\n");
    let lines = bed.lines(&mut follower);
    assert_eq!(lines[0].len(), MAX_LINE);
    let cut = format!("cut {MAX_LINE}");
    assert_eq!(lines[1..], [&cut, &cut, "next"]);
    assert_eq!(follower.cut(), 2);
}

#[test]
fn a_line_is_the_same_however_it_is_written() {
    let bed = Bed::new();
    let mut follower = bed.follow();
    let octets = b"\0\xff\xfe one\r\n\0\0\n\x16\x03\x01 two\n";
    let mut lines = Vec::new();
    for octet in octets {
        bed.write(&[*octet]);
        lines.extend(bed.lines(&mut follower));
    }
    let whole = octets.strip_suffix(b"\n").unwrap().split(|&octet| octet == b'\n');
    assert_eq!(lines, whole.map(|line| String::from_utf8_lossy(line).into_owned()).collect::<Vec<_>>());
}

#[test]
fn a_read_is_bounded_and_says_that_more_waits() {
    let bed = Bed::new();
    let mut follower = bed.follow();
    bed.write(&b"a line of twenty oct\n".repeat(20_000));
    let (mut rounds, mut lines) = (0, 0);
    while follower.read(Duration::ZERO, &mut |_| lines += 1).unwrap() {
        rounds += 1;
    }
    assert_eq!(lines, 20_000);
    assert!(rounds >= 20_000 * 21 / CHUNK, "{rounds}");
}

#[test]
fn what_cannot_be_followed_says_why() {
    let bed = Bed::new();
    let error = |path: &Path| Follower::open(path).unwrap_err();
    assert!(matches!(error(bed.folder.path()), FollowError::NotAFile(_)));
    assert!(matches!(error(Path::new("/dev/null")), FollowError::NotAFile(_)));
    bed.write(b"");
    fs::set_permissions(bed.path(), fs::Permissions::from_mode(0o000)).unwrap();
    // Root may read everything: then there is nothing to refuse.
    if File::open(bed.path()).is_err() {
        let error = error(&bed.path());
        assert!(matches!(error, FollowError::NotPermitted(_)));
        assert!(error.to_string().contains("SupplementaryGroups=adm"), "{error}");
    }
}

#[test]
fn the_bell_rings_for_the_file_and_its_successors_and_for_no_other() {
    let bed = Bed::new();
    let path = bed.path();
    let bell = Bell::new([path.as_path()].into_iter()).unwrap();
    let waits = |bell: &Bell| {
        let wait = Timespec { tv_sec: 10, tv_nsec: 0 };
        poll(&mut [PollFd::new(bell, PollFlags::IN)], Some(&wait)).unwrap() == 1
    };
    assert!(!bell.has_rung());
    fs::write(bed.folder.path().join("error.log"), b"x").unwrap();
    assert!(waits(&bell) && !bell.has_rung());
    for _ in 0..2 {
        bed.write(b"a line\n");
        assert!(waits(&bell) && bell.has_rung());
        assert!(!bell.has_rung());
        fs::rename(&path, bed.folder.path().join("access.log.1")).unwrap();
    }
    // A directory that is made anew is watched again.
    fs::remove_dir_all(bed.folder.path()).unwrap();
    fs::create_dir(bed.folder.path()).unwrap();
    while bell.has_rung() {}
    bell.hang();
    bed.write(b"a line\n");
    assert!(waits(&bell) && bell.has_rung());
}
