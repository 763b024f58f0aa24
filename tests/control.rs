//! Server and client of the control socket, with a stub in the engine's place.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test states its expectations by panicking")]

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nfban::control::archive::Archive;
use nfban::control::client::{AskError, ask};
use nfban::control::inbox::{Inbox, Responder};
use nfban::control::listener::Listener;
use nfban::control::protocol::{BanRow, Mode, Refusal, Reply, Request};
use nfban::control::server::{Limits, Server};
use nfban::decide::Measure;
use nfban::report::target::Target;
use nfban::time::Wall;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Gid, Uid, geteuid};

const RELOADED: Reply = Reply::Reloaded { mode: Mode::Enforce, off: false };

/// A server in a folder that everybody may enter, as /run/nfban is.
struct Running {
    _server: Server,
    inbox: Option<Inbox>,
    socket: PathBuf,
    _folder: tempfile::TempDir,
}

fn start(limits: Limits, group: Option<u32>) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("control.sock");
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let listener = Listener::bind(&socket, group).unwrap();
    let (server, inbox) = Server::start(listener, limits, Archive::default()).unwrap();
    Running { _server: server, inbox: Some(inbox), socket, _folder: folder }
}

impl Running {
    /// Answers every request with `handle` until the server is gone or nothing came for ten seconds.
    fn serve(&mut self, mut handle: impl FnMut(Request, Responder) + Send + 'static) {
        let inbox = self.inbox.take().unwrap();
        std::thread::spawn(move || {
            while readable(&inbox) {
                while let Some((request, responder)) = inbox.try_next() {
                    handle(request, responder);
                }
            }
        });
    }
}

fn readable(inbox: &Inbox) -> bool {
    let limit = Timespec { tv_sec: 10, tv_nsec: 0 };
    poll(&mut [PollFd::new(inbox, PollFlags::IN)], Some(&limit)) == Ok(1)
}

fn row(number: u32) -> BanRow {
    BanRow {
        time: Wall(0),
        target: Target(std::net::IpAddr::from(std::net::Ipv4Addr::from(0x0a00_0000 + number)).into()),
        action: Measure::Restrict,
        rule: "tcp-syn-scan".into(),
        incident: None,
        timeout_s: Some(600),
        expires_s: Some(581),
        packets: 3,
        bytes: 180,
        reason: None,
        enforced: true,
    }
}

fn refusal(reply: Reply) -> Refusal {
    match reply {
        Reply::Refused { refusal, .. } => refusal,
        other => panic!("no refusal: {other:?}"),
    }
}

/// Sends `octets` as they are and reads what comes back until the server hangs up.
fn raw(socket: &Path, octets: &[u8]) -> Reply {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let _ = stream.write_all(octets);
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Asks as somebody else. A thread of Linux has credentials of its own, and SO_PEERCRED reports those of the thread
/// that connected. `None` where this process may not become somebody else: never as root.
fn ask_as(uid: u32, groups: &[u32], socket: &Path, request: Request) -> Option<Result<Reply, AskError>> {
    let socket = socket.to_owned();
    let groups: Vec<Gid> = groups.iter().map(|&group| Gid::from_raw(group)).collect();
    let (uid, nogroup) = (Uid::from_raw(uid), Gid::from_raw(65_534));
    let asked = std::thread::spawn(move || {
        rustix::thread::set_thread_groups(&groups).ok()?;
        rustix::thread::set_thread_res_gid(nogroup, nogroup, nogroup).ok()?;
        rustix::thread::set_thread_res_uid(uid, uid, uid).ok()?;
        Some(ask(&socket, &request))
    });
    let answer = asked.join().unwrap();
    assert!(answer.is_some() || !mapped(), "root must be able to become another user");
    answer
}

/// Whether other users exist for us: not so for an ordinary user, nor for the only user of a namespace.
fn mapped() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap();
    geteuid().is_root()
        && map.split_whitespace().nth(2).is_some_and(|count| count.parse::<u32>().unwrap() > 65_534)
}

#[test]
fn a_request_reaches_the_engine_and_its_reply_the_client() {
    let mut running = start(Limits::default(), None);
    running.serve(|request, responder| {
        assert_eq!(responder.peer().uid, geteuid().as_raw());
        let Request::Unban { target } = request else { panic!("{request:?}") };
        responder.send(Reply::Unbanned { targets: vec![target] });
    });
    for text in ["192.0.2.7", "2001:db8::/48"] {
        let target: Target = text.parse().unwrap();
        let reply = ask(&running.socket, &Request::Unban { target }).unwrap();
        assert_eq!(reply, Reply::Unbanned { targets: vec![target] });
    }
}

#[test]
fn a_reply_of_a_hundred_thousand_bans_arrives_whole() {
    let mut running = start(Limits { patience: Duration::from_secs(60), ..Limits::default() }, None);
    running.serve(|_, responder| responder.send(Reply::Bans { bans: (0..100_000).map(row).collect() }));
    let Reply::Bans { bans } = ask(&running.socket, &Request::Bans).unwrap() else { panic!() };
    assert_eq!(bans.len(), 100_000);
    assert_eq!(bans.last(), Some(&row(99_999)));
}

#[test]
fn a_question_of_a_client_that_has_gone_reaches_nobody_and_a_command_is_carried_out() {
    let mut running = start(Limits { clients: 4, ..Limits::default() }, None);
    let ask_and_go = |request: &[u8]| {
        let mut stream = UnixStream::connect(&running.socket).unwrap();
        stream.write_all(request).unwrap();
    };
    for _ in 0..3 {
        ask_and_go(b"{\"request\":\"bans\"}\n");
    }
    ask_and_go(b"{\"request\":\"unban-all\"}\n");
    // One that is there still; that it was let in shows that the others are gone.
    let socket = running.socket.clone();
    let last = std::thread::spawn(move || {
        loop {
            match ask(&socket, &Request::Bans).unwrap() {
                Reply::Refused { refusal: Refusal::Busy, .. } => std::thread::yield_now(),
                reply => return reply,
            }
        }
    });
    let inbox = running.inbox.take().unwrap();
    let mut asked = Vec::new();
    while asked.last() != Some(&Request::Bans) {
        assert!(readable(&inbox));
        while let Some((request, responder)) = inbox.try_next() {
            asked.push(request);
            responder.send(Reply::Bans { bans: vec![] });
        }
    }
    assert_eq!(asked, [Request::UnbanAll, Request::Bans]);
    assert_eq!(last.join().unwrap(), Reply::Bans { bans: vec![] });
}

#[test]
fn whoever_is_neither_root_nor_in_the_group_may_not_even_connect() {
    let running = start(Limits::default(), None);
    if let Some(answer) = ask_as(65_534, &[], &running.socket, Request::Bans) {
        assert!(matches!(answer, Err(AskError::NoPermission(_))), "{answer:?}");
    }
}

#[test]
fn a_stranger_who_could_open_the_socket_is_still_refused() {
    let running = start(Limits::default(), None);
    std::fs::set_permissions(&running.socket, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    for request in [Request::Bans, Request::UnbanAll] {
        if let Some(answer) = ask_as(65_534, &[], &running.socket, request) {
            assert_eq!(refusal(answer.unwrap()), Refusal::NoPermission);
        }
    }
}

#[test]
fn a_member_of_the_group_may_read_and_not_change() {
    const GROUP: u32 = 54_321;
    if !mapped() {
        return;
    }
    let mut running = start(Limits::default(), Some(GROUP));
    running.serve(|request, responder| {
        assert_eq!(request, Request::Bans, "nothing else may reach the engine");
        assert!(responder.peer().groups.contains(&GROUP));
        responder.send(Reply::Bans { bans: vec![] });
    });
    let groups = [100, GROUP];
    let answer = ask_as(65_534, &groups, &running.socket, Request::Bans).unwrap();
    assert_eq!(answer.unwrap(), Reply::Bans { bans: vec![] });
    for request in [
        Request::Ban { target: "192.0.2.7".parse().unwrap(), timeout_s: None, reason: None },
        Request::Unban { target: "192.0.2.7".parse().unwrap() },
        Request::UnbanAll,
        Request::Reload,
    ] {
        let answer = ask_as(65_534, &groups, &running.socket, request).unwrap();
        assert_eq!(refusal(answer.unwrap()), Refusal::NoPermission);
    }
}

#[test]
fn what_is_no_request_is_refused_and_the_server_goes_on() {
    let mut running = start(Limits::default(), None);
    running.serve(|_, responder| responder.send(RELOADED));
    for octets in [&b"\n"[..], b"flush\n", b"{\"request\":\"flush\"}\n", b"\xff\xfe\0\n"] {
        assert_eq!(refusal(raw(&running.socket, octets)), Refusal::BadRequest);
    }
    assert_eq!(ask(&running.socket, &Request::Reload).unwrap(), RELOADED);
}

#[test]
fn a_request_over_the_limit_is_refused_and_one_at_the_limit_is_not() {
    let limits = Limits { request: 1000, ..Limits::default() };
    let mut running = start(limits, None);
    running.serve(|_, responder| responder.send(RELOADED));
    let mut request = br#"{"request":"reload"}"#.to_vec();
    request.resize(limits.request - 1, b' ');
    request.push(b'\n');
    assert_eq!(raw(&running.socket, &request), RELOADED);
    request.insert(0, b' ');
    assert_eq!(refusal(raw(&running.socket, &request)), Refusal::BadRequest);
    assert_eq!(
        refusal(raw(&running.socket, &vec![b'x'; 10_000_000])),
        Refusal::BadRequest,
        "without a newline"
    );
}

#[test]
fn too_many_clients_are_turned_away_and_let_in_when_others_leave() {
    let limits = Limits { clients: 4, patience: Duration::from_secs(60), ..Limits::default() };
    let mut running = start(limits, None);
    running.serve(|_, responder| responder.send(RELOADED));
    let idle: Vec<_> = (0..limits.clients).map(|_| UnixStream::connect(&running.socket).unwrap()).collect();
    assert_eq!(refusal(ask(&running.socket, &Request::Reload).unwrap()), Refusal::Busy);
    drop(idle);
    let limit = Instant::now() + Duration::from_secs(10);
    while ask(&running.socket, &Request::Reload).unwrap() != RELOADED {
        assert!(Instant::now() < limit, "nobody is let in again");
    }
}

#[test]
fn readers_cannot_lock_the_administrator_out() {
    const GROUP: u32 = 54_321;
    if !mapped() {
        return;
    }
    let limits = Limits { clients: 4, patience: Duration::from_secs(60), ..Limits::default() };
    let mut running = start(limits, Some(GROUP));
    let (held, holding) = mpsc::channel();
    running.serve(move |request, responder| match request {
        Request::Bans => held.send(responder).unwrap(),
        _ => responder.send(RELOADED),
    });
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let socket = running.socket.clone();
            std::thread::spawn(move || ask_as(65_534, &[GROUP], &socket, Request::Bans).unwrap())
        })
        .collect();
    let held: Vec<_> = (0..3).map(|_| holding.recv_timeout(Duration::from_secs(10)).unwrap()).collect();
    let fourth = ask_as(65_534, &[GROUP], &running.socket, Request::Bans).unwrap();
    assert_eq!(refusal(fourth.unwrap()), Refusal::Busy);
    assert_eq!(ask(&running.socket, &Request::Reload).unwrap(), RELOADED);
    for responder in held {
        responder.send(Reply::Bans { bans: vec![] });
    }
    for reader in readers {
        assert_eq!(reader.join().unwrap().unwrap(), Reply::Bans { bans: vec![] });
    }
}

#[test]
fn a_client_that_does_not_ask_in_time_is_told_and_dropped() {
    let running = start(Limits { patience: Duration::from_millis(50), ..Limits::default() }, None);
    assert_eq!(refusal(raw(&running.socket, b"{\"request\":")), Refusal::Busy);
}

#[test]
fn a_client_that_does_not_read_its_reply_keeps_nobody_waiting() {
    let limits = Limits { clients: 1, patience: Duration::from_millis(300), ..Limits::default() };
    let mut running = start(limits, None);
    running.serve(|request, responder| {
        responder.send(match request {
            Request::Bans => Reply::Bans { bans: (0..20_000).map(row).collect() },
            _ => RELOADED,
        });
    });
    let mut deaf = UnixStream::connect(&running.socket).unwrap();
    deaf.write_all(b"{\"request\":\"bans\"}\n").unwrap();
    let limit = Instant::now() + Duration::from_secs(10);
    while ask(&running.socket, &Request::Reload).unwrap() != RELOADED {
        assert!(Instant::now() < limit, "the deaf client still holds the only place");
    }
}

#[test]
fn an_engine_that_does_not_answer_is_spoken_for() {
    let mut running = start(Limits { patience: Duration::from_millis(50), ..Limits::default() }, None);
    assert_eq!(refusal(ask(&running.socket, &Request::Reload).unwrap()), Refusal::Busy, "nobody looks");
    let (forgotten, remembered) = mpsc::channel();
    running.serve(move |request, responder| match request {
        Request::Reload => forgotten.send(responder).unwrap(),
        _ => drop(responder),
    });
    assert_eq!(refusal(ask(&running.socket, &Request::Bans).unwrap()), Refusal::Busy, "dropped");
    assert_eq!(refusal(ask(&running.socket, &Request::Reload).unwrap()), Refusal::Busy, "kept");
    // The first was still in the queue, its client long gone; answering it late harms nobody.
    for late in remembered.try_iter() {
        late.send(RELOADED);
    }
    drop(running.inbox.take());
    assert_eq!(refusal(ask(&running.socket, &Request::Bans).unwrap()), Refusal::Busy, "the server goes on");
}

#[test]
fn clients_that_hang_up_do_not_fill_the_engines_queue() {
    let limits = Limits { clients: 4, ..Limits::default() };
    let running = start(limits, None);
    for _ in 0..100 {
        let mut stream = UnixStream::connect(&running.socket).unwrap();
        let _ = stream.write_all(b"{\"request\":\"bans\"}\n");
    }
    // Whoever is answered now came after all of those.
    let limit = Instant::now() + Duration::from_secs(10);
    let told = loop {
        match raw(&running.socket, b"?\n") {
            Reply::Refused { refusal: Refusal::BadRequest, message } => break message,
            _ => assert!(Instant::now() < limit, "the places of those who left stay taken"),
        }
    };
    assert!(told.contains("not understood"), "{told}");
    let inbox = running.inbox.as_ref().unwrap();
    let waiting = std::iter::from_fn(|| inbox.try_next()).count();
    assert!(waiting <= limits.clients, "{waiting} requests waited");
}

#[test]
fn without_a_daemon_the_client_says_how_to_start_it() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("control.sock");
    let nobody_there = ask(&socket, &Request::Bans).unwrap_err();
    assert!(matches!(nobody_there, AskError::NotRunning(_)));
    assert!(nobody_there.to_string().contains("systemctl start nfban"), "{nobody_there}");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    assert!(matches!(ask(&socket, &Request::Bans), Err(AskError::NotRunning(_))), "a dead daemon's socket");
}

#[test]
fn whoever_answers_something_else_is_no_daemon_of_ours() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("control.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let answering = std::thread::spawn(move || {
        listener.accept().unwrap().0.write_all(b"220 mail.example.org ESMTP\r\n").unwrap();
        drop(listener.accept().unwrap());
    });
    assert!(matches!(ask(&socket, &Request::Bans), Err(AskError::Garbled { .. })));
    assert!(matches!(ask(&socket, &Request::Bans), Err(AskError::Silent { .. })));
    answering.join().unwrap();
}

#[test]
fn dropping_the_server_removes_the_socket() {
    let Running { _server: server, inbox, socket, _folder } = start(Limits::default(), None);
    assert!(socket.exists());
    drop(server);
    assert!(!socket.exists());
    assert!(inbox.unwrap().try_next().is_none());
}
