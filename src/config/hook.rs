//! `hooks`: programs and web addresses that are told of events.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::Duration;

use super::problem::Problems;
use super::read::Report;
use super::trust::{Exposed, Trust};
use super::values::{self, Wrong};
use super::yaml::{Node, Source};
use crate::hooks::{Hook, Occasion, Way};

/// The most hooks there can be.
const MOST: usize = 32;

pub(super) fn read(node: &Node, report: &mut Report<'_>) -> Vec<Hook> {
    if report.items(node).len() > MOST {
        report.error(node.place, &format!("more than {MOST} hooks"), "let one program tell several others");
    }
    report.list(node, hook)
}

fn hook(node: &Node, report: &mut Report<'_>) -> Option<Hook> {
    let mut keys = report.keys(node, "a hook")?;
    let place = keys.place();
    let on = keys.require("on", report).map(|node| occasions(node, report));
    let ways = (keys.entry("command"), keys.entry("webhook"));
    let timeout = keys.take("timeout").and_then(|node| report.parse(node, "a duration such as 10s", timeout));
    keys.finish(report);
    let (way, place) = match ways {
        (Some(entry), None) => (command(&entry.node, report)?, entry.node.place),
        (None, Some(entry)) => (webhook(&entry.node, report)?, entry.node.place),
        _ => {
            report.error(
                place,
                "a hook has exactly one of `command` and `webhook`",
                "write `- {on: ban, command: [/usr/local/bin/tell]}`",
            );
            return None;
        }
    };
    Some(Hook { on: on?, way, timeout: timeout.unwrap_or(Duration::from_secs(10)), place })
}

fn occasions(node: &Node, report: &mut Report<'_>) -> Vec<Occasion> {
    if report.items(node).is_empty() {
        report.error(node.place, "no event is named", "write `on: [incident, ban]`");
    }
    report.list(node, |node, report| report.word(node, &Occasion::NAMES))
}

fn command(node: &Node, report: &mut Report<'_>) -> Option<Way> {
    let mut words = report.list(node, |node, report| report.text(node, "a word").map(str::to_owned));
    if words.is_empty() {
        report.error(node.place, "no program is named", "write `command: [/usr/local/bin/tell, ARGUMENT]`");
        return None;
    }
    if words.iter().any(|word| word.contains('\0')) {
        report.error(node.place, "an argument holds a zero octet", "take it out");
        return None;
    }
    let program = words.remove(0);
    // There is no shell and no search: what is run is what stands here.
    if !program.starts_with('/') || program.contains(' ') && words.is_empty() {
        let place = report.items(node).first().map_or(node.place, |first| first.place);
        report.error(
            place,
            &format!("`{program}` is no absolute path of a program"),
            "write program and arguments as a list: `command: [/usr/local/bin/tell, ARGUMENT]`; no shell reads them",
        );
        return None;
    }
    Some(Way::Command(PathBuf::from(program), words))
}

fn webhook(node: &Node, report: &mut Report<'_>) -> Option<Way> {
    let url = report.parse(node, "a web address such as https://example.org/hook", url)?;
    if let Some(host) = url.strip_prefix("http://").map(host).filter(|host| !HERE.contains(host)) {
        report.warn(
            node.place,
            &format!("everybody on the way to {host} can read what it is told"),
            "write https://",
        );
    }
    Some(Way::Webhook(url))
}

/// Names of this host.
const HERE: [&str; 3] = ["127.0.0.1", "localhost", "[::1]"];

/// The host of what stands behind a scheme: without user, port, path and query.
fn host(rest: &str) -> &str {
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    match host.rsplit_once(':') {
        Some((before, port)) if !port.contains(']') => before,
        _ => host,
    }
}

fn url(text: &str) -> Result<String, Wrong> {
    let rest = ["https://", "http://"].into_iter().find_map(|scheme| text.strip_prefix(scheme));
    let good = |c: char| c.is_ascii_graphic() && !"\"\\<>^`{|}".contains(c);
    match rest {
        Some(rest)
            if !rest.is_empty() && !rest.starts_with('/') && text.chars().all(good) && text.len() <= 2048 =>
        {
            Ok(text.to_owned())
        }
        _ => Err(Wrong::new(
            format!("`{text}` is no web address"),
            "write https://HOST/PATH, at most 2048 characters; others than those of RFC 3986 as %XX",
        )),
    }
}

fn timeout(text: &str) -> Result<Duration, Wrong> {
    let timeout = values::duration(text)?;
    if !(1..=600).contains(&timeout.as_secs()) {
        return Err(Wrong::new(format!("`{text}` is no time limit for a hook"), "write 1s to 10m"));
    }
    Ok(timeout)
}

/// Looks at the programs: what others could have written is an error, what is not there a warning.
pub(super) fn check(hooks: &[Hook], sources: &[Source], trust: Trust) -> Problems {
    let mut report = Report::of_all(sources);
    if trust == Trust::OwnOrRoots {
        hooks.iter().for_each(|hook| check_program(hook, &mut report));
    }
    report.finish()
}

fn check_program(hook: &Hook, report: &mut Report<'_>) {
    let program = hook.way.program();
    let shown = program.display();
    // The program itself, whatever links lead to it.
    let found = program.canonicalize().and_then(|path| Ok((fs::metadata(&path)?, path)));
    let (metadata, path) = match found {
        Ok(found) => found,
        Err(error) => {
            let hint = match hook.way {
                Way::Webhook(_) => "webhooks are sent by curl: run `apt install curl`",
                Way::Command(..) => {
                    "check the path; nfban runs without it, and says so when it should be told"
                }
            };
            return report.warn(hook.place, &format!("the hook cannot be run: {shown}: {error}"), hint);
        }
    };
    if !metadata.is_file() || metadata.mode() & 0o111 == 0 {
        let hint = format!("run `chmod +x {shown}`, if it is a program");
        return report.warn(hook.place, &format!("the hook cannot be run: {shown} is not executable"), &hint);
    }
    let own = rustix::process::geteuid().as_raw();
    for folder in path.ancestors() {
        let exposed = fs::metadata(folder).ok().and_then(|metadata| Exposed::found(&metadata, own));
        let Some(exposed) = exposed else { continue };
        let why = match exposed {
            Exposed::Owned(owner) => format!("owned by user {owner}, not by root"),
            Exposed::Writable(mode) => format!("writable by others (mode {mode:04o})"),
        };
        let folder = folder.display();
        let hint = format!(
            "whoever may write it commands nfban's hooks: run `chown root {folder}; chmod go-w {folder}`"
        );
        return report.error(hook.place, &format!("{folder} is {why}"), &hint);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::Config;
    use super::*;

    fn hooks(text: &str) -> Result<Vec<Hook>, String> {
        let source = Source::new("nfban.yaml", text);
        Config::read(&source).map(|(config, _)| config.hooks).map_err(|problems| problems.to_string())
    }

    #[test]
    fn a_command_is_a_program_with_its_arguments_as_they_stand() {
        let text = "hooks: [{on: [incident, ban-end], command: [/bin/tell, '$HOME; rm'], timeout: 3s}]";
        let [hook] = &hooks(text).unwrap()[..] else { panic!() };
        assert_eq!(hook.on, [Occasion::Incident, Occasion::BanEnd]);
        assert_eq!(hook.way, Way::Command("/bin/tell".into(), vec!["$HOME; rm".into()]));
        assert_eq!(hook.timeout, Duration::from_secs(3));
        let [hook] = &hooks("hooks: {on: alarm, webhook: 'https://example.org/x?y=1'}").unwrap()[..] else {
            panic!()
        };
        assert_eq!(hook.way, Way::Webhook("https://example.org/x?y=1".into()));
    }

    #[test]
    fn only_this_host_may_be_told_in_clear() {
        for (rest, expected) in [
            ("user:secret@127.0.0.1:8080/x", "127.0.0.1"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
            ("example.org?a=b:c@localhost", "example.org"),
            ("localhost", "localhost"),
        ] {
            assert_eq!(host(rest), expected);
        }
    }

    #[test]
    fn what_is_no_hook_is_an_error_that_says_what_to_write() {
        for (text, says) in [
            ("{on: ban}", "exactly one of `command` and `webhook`"),
            ("{on: ban, command: [/a], webhook: 'https://b'}", "exactly one"),
            ("{command: [/a]}", "`on`"),
            ("{on: [], command: [/a]}", "no event is named"),
            ("{on: bans, command: [/a]}", "ban"),
            ("{on: ban, command: [tell]}", "no absolute path"),
            ("{on: ban, command: /bin/tell everybody}", "as a list"),
            ("{on: ban, command: []}", "no program is named"),
            ("{on: ban, webhook: 'ftp://example.org'}", "no web address"),
            ("{on: ban, webhook: 'https://exa\"mple.org'}", "no web address"),
            ("{on: ban, command: [/a], timeout: 1h}", "no time limit"),
            ("{on: ban, command: [/a], shell: true}", "shell"),
        ] {
            let problem = hooks(&format!("hooks: [{text}]")).unwrap_err();
            assert!(problem.contains(says), "{text}: {problem}");
        }
    }

    #[test]
    fn a_program_that_others_may_write_is_refused_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let programs = folder.path().join("programs");
        let (program, config) = (programs.join("tell"), folder.path().join("nfban.yaml"));
        fs::create_dir(&programs).unwrap();
        fs::write(&program, "#!/bin/sh\n").unwrap();
        fs::write(&config, format!("hooks:\n  - {{on: ban, command: [{}]}}\n", program.display())).unwrap();
        let mode = |mode| fs::set_permissions(&program, PermissionsExt::from_mode(mode)).unwrap();
        let load = || Config::load_from(&config, Trust::OwnOrRoots);
        mode(0o755);
        assert!(load().unwrap().1.is_empty());
        mode(0o644);
        assert!(load().unwrap().1[0].message.contains("not executable"));
        mode(0o775);
        let problems = load().unwrap_err().to_string();
        assert!(problems.contains("nfban.yaml:2:") && problems.contains("writable by others"), "{problems}");
        fs::remove_file(&program).unwrap();
        let (_, warnings) = load().unwrap();
        assert!(warnings[0].message.contains("cannot be run"), "{warnings:?}");
        // A folder in which others may replace it.
        fs::write(&program, "#!/bin/sh\n").unwrap();
        mode(0o755);
        fs::set_permissions(&programs, PermissionsExt::from_mode(0o777)).unwrap();
        assert!(load().unwrap_err().to_string().contains("writable by others"));
    }
}
