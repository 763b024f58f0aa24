use proptest::prelude::*;

use super::*;

const COMMON: &str =
    r#"127.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] "GET /apache_pb.gif HTTP/1.0" 200 2326"#;

fn decoded(line: &str) -> Result<(String, u16, String, Option<String>), Reason> {
    let mut decoder = Decoder::new();
    let request = decoder.decode(line.as_bytes())?;
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    let asked = match request.line {
        RequestLine::Http { method, target } => format!("{} {}", text(method), text(target)),
        RequestLine::Nothing => "nothing".to_owned(),
        RequestLine::NotHttp => "not http".to_owned(),
    };
    Ok((request.source.to_string(), request.status, asked, request.referer.map(text)))
}

fn good(line: &str) -> (String, u16, String, Option<String>) {
    decoded(line).unwrap_or_else(|why| panic!("{line}: {why}"))
}

#[test]
fn the_common_the_combined_and_the_vhost_format_are_read() {
    let asked = "GET /apache_pb.gif".to_owned();
    assert_eq!(good(COMMON), ("127.0.0.1".to_owned(), 200, asked.clone(), None));
    let combined =
        format!(r#"{COMMON} "http://www.example.com/start.html" "Mozilla/4.08 [en] (Win98; I ;Nav)""#);
    let referer = Some("http://www.example.com/start.html".to_owned());
    assert_eq!(good(&combined), ("127.0.0.1".to_owned(), 200, asked.clone(), referer.clone()));
    for host in ["www.example.com:443", "[2001:db8::80]:80", "_:80"] {
        let line = format!("{host} {combined}");
        assert_eq!(good(&line), ("127.0.0.1".to_owned(), 200, asked.clone(), referer.clone()), "{host}");
    }
    let mut decoder = Decoder::new();
    assert_eq!(decoder.decode(COMMON.as_bytes()).unwrap().wall_us, 971_211_336_000_000);
}

#[test]
fn addresses_of_both_families_are_read_and_mapped_ones_are_ipv4() {
    for (word, address) in [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::1"),
        ("\x00\x00\x00192.0.2.7", "192.0.2.7"),
    ] {
        assert_eq!(good(&COMMON.replacen("127.0.0.1", word, 1)).0, address, "{word}");
    }
}

#[test]
fn escapes_are_undone_and_hide_no_quotation_mark() {
    let with = |request: &str| {
        good(&format!(r#"192.0.2.7 - - [10/Oct/2000:13:55:36 -0700] "{request}" 404 1 "-" "-""#))
    };
    assert_eq!(with(r#"GET /\"?q=\\\x22\xe3\x81 HTTP/1.1"#).2, "GET /\"?q=\\\"\u{fffd}");
    assert_eq!(with(r#"GET /a\x20b c HTTP/1.1"#).2, "GET /a b c");
    assert_eq!(with(r"GET /\xz\q\t HTTP/1.1").2, "GET /xzq\t");
    // Apache before 2.4.25 took this; the line behind the escaped mark is no line.
    let forged = r#"GET / HTTP/1.1\" 200 1\n198.51.100.1 - - [10/Oct/2000:13:55:36 -0700] \"GET /.env"#;
    let (source, status, asked, _) = with(forged);
    assert_eq!((source.as_str(), status), ("192.0.2.7", 404));
    assert!(asked.starts_with("GET / HTTP/1.1\" 200 1\n198.51.100.1"), "{asked}");
}

#[test]
fn requests_that_are_none_are_told_apart() {
    let with = |request: &str| {
        good(&format!(r#"192.0.2.7 - - [10/Oct/2000:13:55:36 -0700] "{request}" 400 0 "-" "-""#))
    };
    for request in ["-", ""] {
        assert_eq!(with(request).2, "nothing");
    }
    for request in [
        r"\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03",
        "SSH-2.0-Go",
        "GET",
        "get / HTTP/1.1",
        "GET ",
        r"\x00 /",
    ] {
        assert_eq!(with(request).2, "not http", "{request}");
    }
    assert_eq!(with("GET /").2, "GET /");
    assert_eq!(with("CONNECT example.net:443 HTTP/1.1").2, "CONNECT example.net:443");
    assert_eq!(with("OPTIONS * HTTP/1.1").2, "OPTIONS *");
}

#[test]
fn a_name_that_a_client_chose_is_never_the_source() {
    // nginx escapes the quotation marks of a user's name, and nothing else.
    let user = r"198.51.100.1 - - [10/Oct/2000:13:55:36 -0700] \x22GET /.env HTTP/1.1\x22 200 1 ";
    let line = COMMON.replacen("frank", user, 1).replacen("127.0.0.1", "192.0.2.7", 1);
    assert_eq!((good(&line).0.as_str(), good(&line).2.as_str()), ("192.0.2.7", "GET /apache_pb.gif"));
    // A host name, as HostnameLookups writes it, with an ident of the client's choice behind it.
    let line = COMMON.replacen("127.0.0.1 -", "scanner.example 198.51.100.1", 1);
    assert_eq!(decoded(&line), Err(Reason::NoAddress));
}

#[test]
fn what_is_no_such_line_says_why() {
    let reason = |line: &str| decoded(line).unwrap_err();
    assert_eq!(reason(""), Reason::NoRequest);
    assert_eq!(reason("192.0.2.7 - - [10/Oct/2000:13:55:36 -0700]"), Reason::NoRequest);
    assert_eq!(reason(r#"192.0.2.7 - - [10/Oct/2000:13:55:36 -0700] "GET /"#), Reason::NoRequest);
    assert_eq!(reason(&COMMON.replace("127.0.0.1", "localhost")), Reason::NoAddress);
    assert_eq!(reason(&COMMON.replace("127.0.0.1", "300.0.0.1")), Reason::NoAddress);
    assert_eq!(reason(&COMMON.replace("Oct", "Okt")), Reason::NoTime);
    assert_eq!(reason(&COMMON.replace("[10/Oct/2000:13:55:36 -0700] ", "")), Reason::NoTime);
    assert_eq!(reason(&COMMON.replace(" 200 2326", "")), Reason::NoStatus);
    assert_eq!(reason(&COMMON.replace(" 200 ", " 2000 ")), Reason::NoStatus);
    assert_eq!(reason(r#"{"remote_addr":"192.0.2.7","request":"GET / HTTP/1.1"}"#), Reason::NoAddress);
}

#[test]
fn what_is_behind_the_status_may_be_cut() {
    let line = format!(r#"{COMMON} "http://www.example.com/start.html" "Mozilla""#);
    let status = line.find(" 200").unwrap() + 4;
    for end in status..line.len() {
        assert_eq!(good(&line[..end]).1, 200, "{}", &line[..end]);
    }
}

proptest! {
    #[test]
    fn any_octets_are_read_or_refused(line in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = Decoder::new().decode(&line);
    }

    #[test]
    fn any_change_of_a_good_line_is_read_or_refused(at in 0..COMMON.len(), octet: u8, length in 0..4_usize) {
        let mut line = format!(r#"{COMMON} "http://a/" "b""#).into_bytes();
        line.splice(at..at + length.min(line.len() - at), [octet]);
        let _ = Decoder::new().decode(&line);
    }

    /// As Apache writes it (`ap_escape_logitem`), and as nginx does.
    #[test]
    fn what_a_server_escapes_comes_back(target in proptest::collection::vec(any::<u8>(), 1..200), apache: bool) {
        let target: Vec<u8> = target.into_iter().filter(|octet| *octet != b' ').collect();
        prop_assume!(!target.is_empty());
        let mut escaped = String::new();
        for &octet in &target {
            match octet {
                b'"' | b'\\' if apache => escaped.extend(['\\', char::from(octet)]),
                b'\n' if apache => escaped.push_str("\\n"),
                b'"' | b'\\' | 0..0x20 | 0x7f.. => escaped.push_str(&format!("\\x{octet:02X}")),
                _ => escaped.push(char::from(octet)),
            }
        }
        let line = COMMON.replace("/apache_pb.gif", &escaped);
        let mut decoder = Decoder::new();
        let request = decoder.decode(line.as_bytes()).unwrap();
        prop_assert_eq!(request.line, RequestLine::Http { method: b"GET", target: &target });
    }
}
