//! Access logs of real tools (`tests/data/access`, made by `make` there) with what a replay tells of each, and the
//! daemon beside a real nginx.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test states its expectations by panicking"
)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use support::daemon::{Daemon, NFBAN, Setup, text};
use support::{HOME4, HOME6, Namespace, PEER4, Pair, wait_until};
use tempfile::TempDir;

fn logs() -> Vec<(String, PathBuf)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/access");
    let named = |path: PathBuf| {
        let name = path.file_name()?.to_str()?.strip_suffix(".log.xz")?.to_owned();
        Some((name, path))
    };
    let mut logs: Vec<_> =
        fs::read_dir(directory).unwrap().filter_map(|entry| named(entry.unwrap().path())).collect();
    logs.sort();
    assert!(logs.len() >= 25, "{logs:?}");
    logs
}

fn replay(arguments: &[&str], path: &Path) -> (String, Vec<Value>) {
    let output = Command::new(NFBAN).args(["replay", "--json"]).args(arguments).arg(path).output().unwrap();
    assert!(output.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
    let told = String::from_utf8(output.stdout).unwrap();
    let events = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (told, events)
}

#[test]
fn every_scanner_is_one_incident_and_banned_and_no_honest_client_is() {
    for (name, path) in logs() {
        let (_, events) = replay(&[], &path);
        let all = |kind: &str| events.iter().filter(|event| event["type"] == kind).collect::<Vec<_>>();
        let summary = all("summary")[0];
        assert_eq!(summary["undecoded"], 0, "{name}");
        assert!(summary["packets"].as_u64().unwrap() > 2, "{name}");
        let incidents = all("incident");
        if name.starts_with("honest-") {
            assert!(incidents.is_empty() && all("ban").is_empty(), "{name}: {incidents:?}");
            continue;
        }
        assert_eq!(incidents.len(), 1, "{name}: {incidents:?}");
        assert_eq!(
            (&incidents[0]["rule"], &incidents[0]["evidence"]),
            (&"web-probe".into(), &"validated".into())
        );
        let source = if name == "scan-ipv6" { "2001:db8:2::/64" } else { "203.0.113.10" };
        let bans: Vec<_> =
            all("ban").iter().map(|ban| (text(&ban["target"]), text(&ban["action"]))).collect();
        assert_eq!(bans, [(source.to_owned(), "ban".to_owned())], "{name}");
        assert_eq!(all("incident-end").len(), 1, "{name}");
    }
}

#[test]
fn golden_access_logs_are_told_byte_for_byte() {
    let mut wrong = Vec::new();
    for (_, path) in logs() {
        let told = replay(&[], &path).0;
        let expected = path.with_extension("").with_extension("expected");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&expected, &told).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != told {
            wrong.push(format!("{} differs; now it is\n{told}", expected.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.concat());
}

#[test]
fn probes_of_the_administrator_are_added_replaced_and_switched_off() {
    let folder = TempDir::new().unwrap();
    let log = folder.path().join("access.log");
    let line =
        |path: &str| format!("203.0.113.7 - - [22/Nov/2026:07:00:00 +0000] \"GET {path} HTTP/1.1\" 404 1\n");
    fs::write(&log, ["/.env", "/.git/config", "/intern/Admin.php"].map(line).concat()).unwrap();
    let rules = folder.path().join("rules.d");
    fs::create_dir(&rules).unwrap();
    let incidents = |own: &str| {
        fs::write(rules.join("web.yaml"), own).unwrap();
        let (_, events) = replay(&["--rules", rules.to_str().unwrap()], &log);
        events.iter().filter(|event| event["type"] == "incident").count()
    };
    assert_eq!(incidents("[]"), 0);
    assert_eq!(incidents("- {probe: our-old-shop, path: /intern/*}"), 1);
    let off = "- {probe: our-old-shop, path: /intern/*}\n- {probe: environment-file, enabled: false}";
    assert_eq!(incidents(off), 0);
    assert_eq!(incidents("- {id: web-probe, count: {distinct: probe}, threshold: 2, window: 1h}"), 1);
    assert_eq!(incidents("- {id: web-probe, enabled: false}\n- {probe: our-old-shop, path: /intern/*}"), 0);
}

#[test]
fn what_a_client_writes_into_a_request_is_never_taken_for_a_packet() {
    let folder = TempDir::new().unwrap();
    let log = folder.path().join("access.log");
    let forged = |port: u16| {
        format!(
            "203.0.113.7 - - [22/Nov/2026:07:00:00 +0000] \"GET /?IN=eth0 OUT= SRC=198.51.100.1 DST=192.0.2.1 LEN=40 \
             TTL=50 ID=1 PROTO=TCP SPT=4000 DPT={port} WINDOW=1024 SYN URGP=0 HTTP/1.1\" 404 1\n"
        )
    };
    fs::write(&log, (1..100).map(forged).collect::<String>()).unwrap();
    let (told, events) = replay(&[], &log);
    assert_eq!(events.len(), 1, "{told}");
}

/// nginx in `home`, with its log in a folder of its own.
struct Nginx {
    folder: TempDir,
}

impl Nginx {
    fn start(pair: &Pair) -> Self {
        let folder = TempDir::new().unwrap();
        let at = folder.path().display();
        let configuration = format!(
            "pid {at}/pid; error_log {at}/error.log; worker_processes 1; user root; events {{}}
             http {{
                 access_log {at}/access.log combined;
                 client_body_temp_path {at}/tmp; proxy_temp_path {at}/tmp; fastcgi_temp_path {at}/tmp;
                 uwsgi_temp_path {at}/tmp; scgi_temp_path {at}/tmp;
                 server {{ listen 80; listen [::]:80; location = / {{ return 200 hello; }} location / {{ return 404; }} }}
             }}"
        );
        fs::write(folder.path().join("nginx.conf"), configuration).unwrap();
        pair.home.sh(&format!("nginx -c {at}/nginx.conf 2>&1"));
        Self { folder }
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("access.log")
    }

    fn pid(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.folder.path().join("pid")).ok()?;
        Pid::from_raw(text.trim().parse().ok()?)
    }

    /// As logrotate does it: rename, and have the server open its log anew.
    fn rotate(&self) {
        fs::rename(self.log(), self.folder.path().join("access.log.1")).unwrap();
        kill_process(self.pid().unwrap(), Signal::USR1).unwrap();
        wait_until("nginx writes a new log", || self.log().exists());
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if let Some(pid) = self.pid() {
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}

/// What a client with `address` is answered: the status, or nothing.
fn ask(pair: &Pair, address: &str, path: &str) -> String {
    let home = if address.contains(':') { format!("[{HOME6}]") } else { HOME4.to_owned() };
    let line =
        format!("curl -s -o /dev/null -w '%{{http_code}}' -m 2 --interface {address} 'http://{home}{path}'");
    pair.peer.try_sh(&line).1
}

fn packets(daemon: &Daemon) -> u64 {
    daemon.status()["captures"][0]["packets"].as_u64().unwrap()
}

#[test]
fn whoever_probes_nginx_is_banned_at_the_third_kind_also_after_a_rotation() {
    let pair = Pair::new();
    for address in ["198.51.100.7", "198.51.100.8", "198.51.100.9", "2001:db8:9::7"] {
        pair.peer_has(address);
    }
    let nginx = Nginx::start(&pair);
    let config = format!("capture: [{{access-log: {}}}]\nallow: [198.51.100.9]", nginx.log().display());
    let daemon = Daemon::start(&pair.home, &config);
    let (first, honest, third) = ("198.51.100.7", "198.51.100.8", "198.51.100.9");
    let probes = ["/.env", "/.git/config", "/phpmyadmin/"];
    // Three requests of two kinds.
    for path in ["/.env", "/.env", "/.git/config"] {
        assert_eq!(ask(&pair, first, path), "404");
    }
    for path in ["/", "/favicon.ico", "/robots.txt", "/missing-1.png", "/missing-2.png", "/wp-login.php"] {
        assert_eq!(ask(&pair, honest, path), if path == "/" { "200" } else { "404" });
    }
    wait_until("all requests are read", || packets(&daemon) == 9);
    assert!(daemon.bans().is_empty() && daemon.rules().is_empty());
    ask(&pair, first, "/phpmyadmin/");
    wait_until("the scanner is banned", || daemon.targets() == [first]);
    assert_eq!(ask(&pair, first, "/"), "000", "a banned client gets no answer");
    assert_eq!(ask(&pair, honest, "/"), "200");
    let status = daemon.status();
    let incident = &status["recent_incidents"][0];
    assert_eq!((&incident["rule"], &incident["evidence"]), (&"web-probe".into(), &"validated".into()));
    assert_eq!(incident["packets"], 4);
    assert!(incident["probes"].as_array().unwrap().len() >= 3, "{incident}");
    nginx.rotate();
    probes.iter().for_each(|path| drop(ask(&pair, third, path)));
    probes.iter().for_each(|path| drop(ask(&pair, "2001:db8:9::7", path)));
    wait_until("another one is banned out of the new log", || {
        daemon.targets() == ["198.51.100.7", "2001:db8:9::/64"]
    });
    // One that is allowed is told of, and nothing more.
    assert_eq!(daemon.rules(), ["web-probe", "web-probe", "web-probe"]);
    assert_eq!(ask(&pair, third, "/"), "200");
}

#[test]
fn web_probes_from_one_network_widen_its_ban_to_its_56_and_its_48() {
    let pair = Pair::new();
    let [first, second, third, stranger] =
        ["2001:db8:9:101::7", "2001:db8:9:1ff::7", "2001:db8:9:200::7", "2001:db8:a::7"];
    [first, second, third, stranger].iter().for_each(|address| pair.peer_has(address));
    let nginx = Nginx::start(&pair);
    let config = format!("capture: [{{access-log: {}}}]", nginx.log().display());
    let daemon = Daemon::start(&pair.home, &config);
    for (from, target, timeout_s, beside) in [
        (first, "2001:db8:9:101::/64", 600, second),
        (first, "2001:db8:9:100::/56", 3_600, third),
        (second, "2001:db8:9::/48", 86_400, stranger),
        (third, "2001:db8:9::/48", 604_800, stranger),
    ] {
        for path in ["/.env", "/.git/config", "/phpmyadmin/"] {
            ask(&pair, from, path);
        }
        wait_until(&format!("{target} is banned"), || daemon.targets() == [target]);
        assert_eq!(daemon.bans()[0]["timeout_s"], timeout_s, "{target}");
        assert_eq!((ask(&pair, from, "/").as_str(), ask(&pair, beside, "/").as_str()), ("000", "200"));
        assert_eq!(daemon.ask(&format!("unban {target}")).exit, Some(0));
    }
}

#[test]
fn a_page_that_makes_its_readers_ask_does_not_get_them_banned_and_neighbours_and_gateways_never_are() {
    let pair = Pair::new();
    let nginx = Nginx::start(&pair);
    let config = format!("capture: [{{access-log: {}}}]", nginx.log().display());
    let daemon = Daemon::start(&pair.home, &config);
    // The peer is home's gateway.
    for path in ["/.env", "/.git/config", "/phpmyadmin/"] {
        assert_eq!(ask(&pair, PEER4, path), "404");
    }
    pair.peer_has("198.51.100.7");
    for path in ["/.env", "/.git/config", "/phpmyadmin/"] {
        let line = format!(
            "curl -s -m 2 --interface 198.51.100.7 -e https://elsewhere.example/ http://{HOME4}{path}"
        );
        pair.peer.sh(&line);
    }
    wait_until("all requests are read", || packets(&daemon) == 6);
    assert!(daemon.rules().is_empty() && daemon.bans().is_empty(), "{}", daemon.log());
}

#[test]
fn a_log_that_may_not_be_read_stops_the_start_and_says_how_to_mend_it() {
    let pair = Pair::new();
    let folder = TempDir::new().unwrap();
    let log = folder.path().join("access.log");
    let refusal = |user: u32, command: Command| {
        let setup = Setup::new(&format!("capture: [{{access-log: {}}}]", log.display()));
        pair.home.sh(&format!("chmod 755 {0}; chown {user} {0}", setup.folder().display()));
        Daemon::refuses_to_start(&pair.home, &setup, command)
    };
    fs::create_dir(&log).unwrap();
    let answer = refusal(0, Command::new(NFBAN));
    assert_eq!(answer.exit, Some(1), "{answer:?}");
    assert!(answer.err.contains("is no regular file"), "{answer:?}");
    fs::remove_dir(&log).unwrap();
    fs::write(&log, "").unwrap();
    pair.home.sh(&format!("chmod 640 {}; chmod 755 {}", log.display(), folder.path().display()));
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", NFBAN]);
    let answer = refusal(65534, command);
    assert_eq!(answer.exit, Some(77), "{answer:?}");
    assert!(answer.err.contains("SupplementaryGroups=adm"), "{answer:?}");
}

#[test]
fn check_warns_of_a_log_that_will_not_be_readable() {
    let home = Namespace::new();
    let folder = TempDir::new().unwrap();
    let log = folder.path().join("access.log");
    fs::write(&log, "").unwrap();
    let config = folder.path().join("nfban.yaml");
    fs::write(&config, format!("capture: [{{access-log: {}}}]", log.display())).unwrap();
    let check = |mode: &str| {
        home.sh(&format!(
            "chmod 755 {}; chmod 644 {}; chmod {mode} {}",
            folder.path().display(),
            config.display(),
            log.display()
        ));
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", NFBAN, "check", "-c"]).arg(&config);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat()
    };
    let said = check("640");
    assert!(
        said.contains("warning: ") && said.contains("cannot be read by") && said.contains("log-files.conf"),
        "{said}"
    );
    assert!(said.contains("1 warning"), "{said}");
    assert!(check("644").contains("0 warnings"));
}

#[test]
fn a_reload_adds_and_drops_logs_and_goes_on_in_those_that_stay() {
    let pair = Pair::new();
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let line = |host: u8, path: &str| {
        format!("198.51.100.{host} - - [22/Nov/2026:07:00:00 +0000] \"GET {path} HTTP/1.1\" 404 1\n")
    };
    let append = |name: &str, text: &str| {
        use std::io::Write as _;
        let mut file = fs::File::options().create(true).append(true).open(path(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    };
    append("a", "");
    let daemon = Daemon::start(&pair.home, &format!("capture: [{{access-log: {}}}]", path("a")));
    append("a", &line(7, "/.env"));
    wait_until("it is read", || packets(&daemon) == 1);
    append("a", "198.51.100.7 - - [22/Nov/2026");
    let both = format!("capture: [{{access-log: {}}}, {{access-log: {}}}]", path("a"), path("b"));
    daemon.setup().configure(&both);
    assert_eq!(daemon.ask("reload").exit, Some(0), "{}", daemon.log());
    append("a", ":07:00:00 +0000] \"GET /.git/config HTTP/1.1\" 404 1\n");
    append("b", &line(7, "/phpmyadmin/"));
    append("b", "no such line\n");
    wait_until("what both logs tell is put together", || daemon.targets() == ["198.51.100.7"]);
    wait_until("all is read", || daemon.status()["captures"][1]["undecoded"] == 1);
    let status = daemon.status();
    assert_eq!(status["undecoded"]["not-a-log-line"], 1);
    assert_eq!(
        (&status["captures"][0]["packets"], &status["captures"][1]["packets"]),
        (&2.into(), &1.into())
    );
    // One that cannot be read leaves everything as it was.
    daemon.setup().configure("capture: [{access-log: /dev/null}]");
    let answer = daemon.ask("reload");
    assert!(answer.exit == Some(78) && answer.err.contains("no regular file"), "{answer:?}");
    append("a", &line(8, "/"));
    wait_until("the old logs are still read", || packets(&daemon) == 3);
    assert!(!daemon.log().contains("panicked"));
}
