//! What syslog, journalctl and dmesg put before a kernel message: the time, the host, the program.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::Offset;

use super::scan::Scan;
use super::time::LineTime;

/// A line without its carrier.
pub(super) enum Carried<'a> {
    /// The kernel's message, or one of which nothing says that it is another program's.
    Kernel { time: Option<LineTime>, message: &'a [u8] },
    /// Another program printed it.
    OtherProgram,
}

/// Which words stand between time and message.
enum Follows {
    /// The message itself.
    Message,
    /// Perhaps a host, perhaps a program with a colon.
    HostAndProgram,
    /// Host, program, process, message id and structured data (RFC 5424).
    Syslog5424,
}

/// Takes the carrier off. Without a time at the beginning all of the line is the message: a prefix may be any text.
pub(super) fn split(line: &[u8]) -> Carried<'_> {
    let mut scan = Scan::new(line);
    let _ = attempt(&mut scan, level);
    let (time, follows) = match attempt(&mut scan, stamp) {
        Some(found) => found,
        None => (None, Follows::Message),
    };
    match follows {
        Follows::Message => of_kernel(time, scan.rest),
        Follows::HostAndProgram => after_host(time, scan.rest),
        Follows::Syslog5424 => after_5424(time, scan),
    }
}

/// The kernel's own message: without its program name, its time since boot (`CONFIG_PRINTK_TIME`), and the brackets
/// rsyslog puts around a message it has seen before. That counts as one packet more, whatever their number.
pub(super) fn of_kernel(time: Option<LineTime>, message: &[u8]) -> Carried<'_> {
    let mut scan = Scan::new(message);
    if is_kernel(Scan::new(message).word().unwrap_or_default()) {
        let _ = scan.word();
    }
    if attempt(&mut scan, repeated).is_some() {
        scan.rest = scan.rest.strip_suffix(b"]").unwrap_or(scan.rest);
    }
    let since_boot = attempt(&mut scan, since_boot);
    Carried::Kernel { time: time.or(since_boot), message: scan.rest }
}

fn after_host(time: Option<LineTime>, text: &[u8]) -> Carried<'_> {
    let mut scan = Scan::new(text);
    let (Some(first), after_first) = (scan.word(), scan.rest) else { return Carried::OtherProgram };
    // `journalctl --no-hostname`, or a relay that writes the message right after the time.
    if is_kernel(first) || first.starts_with(b"[") || contains_equals(first) {
        return of_kernel(time, text);
    }
    let second = scan.word().unwrap_or_default();
    if is_kernel(second) {
        return of_kernel(time, after_first);
    }
    // RFC 3164's program name ends with a colon; ulogd's file output writes host and LOG prefix without one between.
    let names_a_program = first.ends_with(b":") || second.ends_with(b":");
    if names_a_program { Carried::OtherProgram } else { of_kernel(time, after_first) }
}

/// HOST APP-NAME PROCID MSGID STRUCTURED-DATA MSG (RFC 5424 section 6).
fn after_5424(time: Option<LineTime>, mut scan: Scan<'_>) -> Carried<'_> {
    let mut message = || {
        let _host = scan.word()?;
        let program = scan.word()?;
        let (_process, _id) = (scan.word()?, scan.word()?);
        structured_data(&mut scan)?;
        let _ = scan.literal(b"\xef\xbb\xbf");
        is_program(program, b"kernel").then_some(scan.rest)
    };
    message().map_or(Carried::OtherProgram, |message| of_kernel(time, message))
}

/// `-`, or elements in brackets whose values are quoted (RFC 5424 section 6.3), and the blank after it.
fn structured_data(scan: &mut Scan<'_>) -> Option<()> {
    if scan.literal(b"-").is_none() {
        let (mut quoted, mut escaped) = (false, false);
        let mut open = false;
        let end = scan.rest.iter().position(|&octet| {
            match octet {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b'[' if !quoted => open = true,
                b']' if !quoted => open = false,
                _ => return octet == b' ' && !quoted && !open,
            }
            false
        })?;
        scan.rest = scan.rest.get(end..)?;
    }
    scan.blanks()
}

fn contains_equals(word: &[u8]) -> bool {
    word.contains(&b'=')
}

/// `kernel:` as syslog writes it; ulogd's syslog output has the same text.
fn is_kernel(word: &[u8]) -> bool {
    let Some(name) = word.strip_suffix(b":") else { return false };
    is_program(name, b"kernel") || is_program(name, b"ulogd")
}

/// The name, or the name with a process id in brackets.
fn is_program(word: &[u8], name: &[u8]) -> bool {
    word.strip_prefix(name)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"[") && rest.ends_with(b"]"))
}

/// Runs a step; where it fails, nothing is read.
fn attempt<'a, T>(scan: &mut Scan<'a>, step: impl FnOnce(&mut Scan<'a>) -> Option<T>) -> Option<T> {
    let mut ahead = *scan;
    let result = step(&mut ahead)?;
    *scan = ahead;
    Some(result)
}

/// `<4>` of syslog and of the kernel, or `kern  :warn  : ` of `dmesg -x`.
fn level(scan: &mut Scan<'_>) -> Option<()> {
    if scan.literal(b"<").is_some() {
        scan.number(1..=3)?;
        return scan.literal(b">");
    }
    scan.literal(b"kern")?;
    scan.blanks()?;
    scan.literal(b":")?;
    scan.until(b':')?;
    scan.blanks()
}

/// `message repeated 2 times: [ ` of rsyslog.
fn repeated(scan: &mut Scan<'_>) -> Option<()> {
    scan.literal(b"message repeated ")?;
    scan.number(1..=10)?;
    scan.literal(b" times: [")?;
    let _ = scan.blanks();
    Some(())
}

fn stamp(scan: &mut Scan<'_>) -> Option<(Option<LineTime>, Follows)> {
    let (time, follows) = match *scan.rest.first()? {
        b'[' => bracketed(scan)?,
        b'1' if scan.rest.starts_with(b"1 ") => return rfc5424(scan),
        b'0'..=b'9' => numeric(scan)?,
        first if first.is_ascii_uppercase() => attempt(scan, classic).or_else(|| attempt(scan, weekday))?,
        _ => return None,
    };
    Some((Some(time), follows))
}

/// The version, 1, and a time that may be `-` (RFC 5424 section 6.2).
fn rfc5424(scan: &mut Scan<'_>) -> Option<(Option<LineTime>, Follows)> {
    scan.literal(b"1 ")?;
    let time = match scan.literal(b"- ") {
        Some(()) => None,
        None => Some(iso(scan)?.0),
    };
    Some((time, Follows::Syslog5424))
}

/// dmesg: `[   12.345678] `, or `[Sun May  5 12:00:00 2024] ` with -T. journalctl -o short-monotonic writes the first and
/// a host after it.
fn bracketed(scan: &mut Scan<'_>) -> Option<(LineTime, Follows)> {
    if let Some(time) = attempt(scan, since_boot) {
        let mut ahead = *scan;
        let _host = ahead.word();
        let has_host = ahead.word().is_some_and(is_kernel);
        return Some((time, if has_host { Follows::HostAndProgram } else { Follows::Message }));
    }
    scan.literal(b"[")?;
    let time = ctime(scan)?;
    scan.literal(b"]")?;
    scan.blanks()?;
    Some((time, Follows::Message))
}

/// `[12345.678901] `, with dmesg -d `[12345.678901 <    0.000123>] `, with `CONFIG_PRINTK_CALLER` `[12345.678901][  T123] `.
fn since_boot(scan: &mut Scan<'_>) -> Option<LineTime> {
    scan.literal(b"[")?;
    let _ = scan.blanks();
    let seconds = scan.number(1..=10)?;
    scan.literal(b".")?;
    let microseconds = scan.microseconds()?;
    let _ = attempt(scan, |scan| {
        scan.blanks()?;
        scan.literal(b"<")?;
        scan.until(b'>')
    });
    scan.literal(b"]")?;
    let _ = attempt(scan, |scan| {
        scan.literal(b"[")?;
        let _ = scan.blanks();
        scan.one_of(b"TC")?;
        scan.number(1..=10)?;
        scan.literal(b"]")
    });
    scan.blanks()?;
    Some(LineTime::Boot(seconds * 1_000_000 + microseconds))
}

/// A time that begins with a digit: RFC 3339 and ISO 8601, seconds since 1970 (journalctl -o short-unix), or a record
/// of /dev/kmsg.
fn numeric(scan: &mut Scan<'_>) -> Option<(LineTime, Follows)> {
    if let Some((time, has_comma)) = attempt(scan, iso) {
        // Only dmesg --time-format=iso has a comma, and no host.
        return Some((time, if has_comma { Follows::Message } else { Follows::HostAndProgram }));
    }
    let number = scan.number(1..=12)?;
    match scan.one_of(b".,")? {
        b'.' => {
            let microseconds = scan.microseconds()?;
            scan.blanks()?;
            Some((LineTime::Instant(number * 1_000_000 + microseconds), Follows::HostAndProgram))
        }
        // Level and facility, sequence number, microseconds since boot, flags; message (Documentation/ABI/testing/dev-kmsg).
        _ => {
            scan.number(1..=18)?;
            scan.literal(b",")?;
            let since = scan.number(1..=18)?;
            scan.until(b';')?;
            Some((LineTime::Boot(since), Follows::Message))
        }
    }
}

/// `Mar 21 16:02:05 `, `May  7 18:21:49.123456 `, `May  7 2024 18:21:49 `.
fn classic(scan: &mut Scan<'_>) -> Option<(LineTime, Follows)> {
    let month = month(scan)?;
    scan.blanks()?;
    let day = scan.small(1..=2)?;
    scan.blanks()?;
    let year = attempt(scan, |scan| {
        let year = scan.number(4..=4)?;
        scan.blanks()?;
        Some(year)
    });
    let time = time_of_day(scan)?.0;
    // Some devices write the program's colon here.
    let _ = scan.literal(b":");
    scan.blanks()?;
    let time = match year {
        Some(year) => LineTime::Civil(date(year, month, day)?.to_datetime(time)),
        // A leap year: whether 29 February exists is for the year to say.
        None => {
            date(2024, month, day)?;
            LineTime::Yearless { month, day, time }
        }
    };
    Some((time, Follows::HostAndProgram))
}

/// `Sun 2024-05-05 12:00:00 JST ` (journalctl -o short-full, with-unit), `Sun May  5 12:00:00 2024 kern.warn ` (OpenWrt).
fn weekday(scan: &mut Scan<'_>) -> Option<(LineTime, Follows)> {
    if let Some(time) = attempt(scan, ctime) {
        scan.blanks()?;
        return Some((time, Follows::HostAndProgram));
    }
    weekday_name(scan)?;
    let (date, time) = (iso_date(scan)?, {
        scan.blanks()?;
        time_of_day(scan)?.0
    });
    scan.blanks()?;
    let civil = date.to_datetime(time);
    // The abbreviation of a zone is not unique: only UTC and a bare offset are understood, all else is the host's zone.
    let time = match scan.word()? {
        b"UTC" | b"GMT" => instant(civil, Offset::UTC),
        zone => offset(&mut Scan::new(zone)).and_then(|offset| instant(civil, offset)),
    };
    Some((time.unwrap_or(LineTime::Civil(civil)), Follows::HostAndProgram))
}

/// `Sun May  5 12:00:00 2024`.
fn ctime(scan: &mut Scan<'_>) -> Option<LineTime> {
    weekday_name(scan)?;
    let month = month(scan)?;
    scan.blanks()?;
    let day = scan.small(1..=2)?;
    scan.blanks()?;
    let time = time_of_day(scan)?.0;
    scan.blanks()?;
    let year = scan.number(4..=4)?;
    Some(LineTime::Civil(date(year, month, day)?.to_datetime(time)))
}

/// `2024-05-07T18:21:49.123456+09:00 `: fraction and offset may be missing, the T may be a blank. Tells whether the
/// fraction began with a comma.
fn iso(scan: &mut Scan<'_>) -> Option<(LineTime, bool)> {
    let date = iso_date(scan)?;
    scan.one_of(b"T ")?;
    let (time, has_comma) = time_of_day(scan)?;
    let civil = date.to_datetime(time);
    let offset = attempt(scan, offset);
    scan.blanks()?;
    let time = match offset {
        Some(offset) => instant(civil, offset)?,
        None => LineTime::Civil(civil),
    };
    Some((time, has_comma))
}

fn iso_date(scan: &mut Scan<'_>) -> Option<Date> {
    let year = scan.number(4..=4)?;
    scan.literal(b"-")?;
    let month = scan.small(2..=2)?;
    scan.literal(b"-")?;
    date(year, month, scan.small(2..=2)?)
}

fn date(year: i64, month: i8, day: i8) -> Option<Date> {
    Date::new(i16::try_from(year).ok()?, month, day).ok()
}

/// `18:21:49`, with a fraction perhaps; and whether that began with a comma. A leap second is the second before it.
fn time_of_day(scan: &mut Scan<'_>) -> Option<(Time, bool)> {
    let hour = scan.small(1..=2)?;
    scan.literal(b":")?;
    let minute = scan.small(2..=2)?;
    scan.literal(b":")?;
    let second = scan.small(2..=2)?;
    let second = if second == 60 { 59 } else { second };
    let (microseconds, has_comma) = match scan.one_of(b".,") {
        Some(point) => (scan.microseconds()?, point == b','),
        None => (0, false),
    };
    let nanoseconds = i32::try_from(microseconds * 1_000).ok()?;
    Some((Time::new(hour, minute, second, nanoseconds).ok()?, has_comma))
}

/// `Z`, `+09:00`, `+0900` or `+09`.
fn offset(scan: &mut Scan<'_>) -> Option<Offset> {
    let sign = match scan.one_of(b"Zz+-")? {
        b'Z' | b'z' => return Some(Offset::UTC),
        b'-' => -1,
        _ => 1,
    };
    let (hours, minutes) = match scan.rest.iter().take_while(|octet| octet.is_ascii_digit()).count() {
        4 => {
            let both = scan.number(4..=4)?;
            (both / 100, both % 100)
        }
        _ => {
            let hours = scan.number(2..=2)?;
            (hours, if scan.literal(b":").is_some() { scan.number(2..=2)? } else { 0 })
        }
    };
    Offset::from_seconds(i32::try_from(sign * (hours * 3_600 + minutes * 60)).ok()?).ok()
}

fn instant(civil: DateTime, offset: Offset) -> Option<LineTime> {
    Some(LineTime::Instant(offset.to_timestamp(civil).ok()?.as_microsecond()))
}

/// 1 to 12. Syslog writes the C locale's names whatever the language.
fn month(scan: &mut Scan<'_>) -> Option<i8> {
    const NAMES: [&[u8]; 12] =
        [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
    let at = NAMES.iter().position(|name| scan.literal(name).is_some())?;
    i8::try_from(at + 1).ok()
}

fn weekday_name(scan: &mut Scan<'_>) -> Option<()> {
    const NAMES: [&[u8]; 7] = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"];
    NAMES.iter().find_map(|name| scan.literal(name))?;
    scan.blanks()
}
