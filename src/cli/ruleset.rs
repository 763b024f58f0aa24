//! `nfban ruleset`: what the firewall needs to hand us its packets.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::exit::{Exit, Failure};
use super::{Session, ssh};
use crate::config::{Capture, Config, Nflog, Service};
use crate::decide::Mode;
use crate::packet::Verdict;
use crate::packet::protocol::TCP;
use crate::setup;

/// Print the nftables text that pairs with the configuration
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The configuration [default: /etc/nfban/nfban.yaml, or NAME.yaml there of the instance]
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments, session: &mut Session) -> Result<Exit, Failure> {
    let file = session.config(arguments.config.as_deref());
    let config = match Config::load(&file) {
        Ok((config, _)) => config,
        Err(problems) => {
            session.show_problems(&problems);
            return Err(Failure::new(
                Exit::BadConfiguration,
                "the configuration has errors; no ruleset follows from it",
            ));
        }
    };
    let text = paired(&config, &file).ok_or_else(|| {
        Failure::new(Exit::No, "no NFLOG group for refused packets is captured: nothing to pair with")
    })?;
    let notes: Vec<String> = locks_out(&config, ssh::port()).into_iter().collect();
    session.note(&notes);
    session.show(|out, _| out.write_all(text.as_bytes()))
}

/// What somebody who loads the ruleset over SSH must hear first: that the next session will not get in.
fn locks_out(config: &Config, ssh: Option<u16>) -> Option<String> {
    let port = ssh?;
    let is_published = |service: &Service| service.protocol == TCP && service.ports.contains(&port);
    (!config.services.iter().any(is_published)).then(|| {
        format!(
            "your SSH session came to port {port}, which `services` does not have: this ruleset would refuse the next one"
        )
    })
}

/// The ruleset that is shipped as an example, and tested as such.
const EXAMPLE: &str = include_str!("../../examples/nftables/server.nft");

/// The example with this configuration's services and groups; none where no group takes refused packets.
fn paired(config: &Config, path: &Path) -> Option<String> {
    let groups: Vec<(u16, &Nflog)> = config
        .capture
        .iter()
        .filter_map(|capture| if let Capture::Nflog(nflog) = capture { Some(nflog) } else { None })
        .flat_map(|nflog| nflog.groups.iter().map(move |&group| (group, nflog)))
        .collect();
    let of = |verdict: Verdict| groups.iter().find(|(_, nflog)| nflog.verdict == verdict);
    let refused = of(Verdict::Refused)?;
    let invalid = of(Verdict::Invalid).unwrap_or(refused);
    let services: Vec<String> = config
        .services
        .iter()
        .map(|service| {
            let name = protocol_name(service.protocol);
            let (first, last) = (service.ports.start(), service.ports.end());
            if first == last { format!("{name} . {first}") } else { format!("{name} . {first}-{last}") }
        })
        .collect();

    let mut text = format!(
        "#!/usr/sbin/nft -f\n#\n\
         # Made by `nfban ruleset` for {}: accepts new connections to its `services` and refuses all others.\n#\n\
         # Load:    nft -f FILE. Loading it again replaces it. It owns the table `inet server` alone.\n\
         # Keep:    over a reboot as /etc/nftables.conf, with `systemctl enable nftables`.\n\
         # Remove:  nft delete table inet server\n\n",
        path.display()
    );
    let header = |line: &&str| line.starts_with('#') || line.is_empty();
    let body = EXAMPLE.lines().skip_while(header);
    let body = with_listener(body, config);
    for line in without_idle_hooks(body.iter().map(String::as_str), |verdict| of(verdict).is_some()) {
        let with_group = |(group, nflog): &(u16, &Nflog)| {
            let logged = line.split(" group ").next().unwrap_or_default();
            format!("{logged} group {group} snaplen {}", nflog.snaplen)
        };
        let line = if line.trim_start().starts_with("elements =") {
            match services.is_empty() {
                true => continue,
                false => format!("\t\telements = {{ {} }}", services.join(", ")),
            }
        } else if line.trim() == "type inet_proto . inet_service"
            && config.services.iter().any(|s| s.ports.len() > 1)
        {
            format!("{line}\n\t\tflags interval")
        } else {
            match logged_as(line) {
                None => line.to_owned(),
                Some(Verdict::Refused) => with_group(refused),
                Some(Verdict::Invalid) => with_group(invalid),
                Some(verdict) => match of(verdict) {
                    Some(group) => with_group(group),
                    None => continue,
                },
            }
        };
        // Writing to a String does not fail.
        let _ = writeln!(text, "{line}");
    }
    Some(text)
}

/// The lines with the port of this configuration's listener in the rule that accepts connections to traps, or without that
/// rule and its comment, where nothing is redirected.
fn with_listener<'a>(lines: impl Iterator<Item = &'a str>, config: &Config) -> Vec<String> {
    let redirects = setup::trap(&Config { mode: Mode::Enforce, ..config.clone() }).is_some();
    let port = config.trap.listen.to_string();
    let usual = crate::config::Trap::default().listen.to_string();
    let lines: Vec<&str> = lines.collect();
    let mut kept = Vec::new();
    for paragraph in lines.split_inclusive(|line| line.is_empty()) {
        if !paragraph.iter().any(|line| line.contains("ct status dnat tcp dport")) {
            kept.extend(paragraph.iter().map(|line| (*line).to_owned()));
        } else if redirects {
            kept.extend(paragraph.iter().map(|line| line.replace(&usual, &port)));
        }
    }
    kept
}

/// The verdict of a rule that logs.
fn logged_as(line: &str) -> Option<Verdict> {
    let (_, prefix) = line.split_once("log prefix \"")?;
    Verdict::from_prefix(prefix.as_bytes())
}

/// The lines without the chains that look at packets only to log them, where nobody captures those: fragments, and what
/// this host sends. Such chains stand behind one another at the end, each after its comment, up to the blank line before the
/// next.
fn without_idle_hooks<'a>(
    lines: impl Iterator<Item = &'a str>,
    captured: impl Fn(Verdict) -> bool,
) -> Vec<&'a str> {
    let lines: Vec<&str> = lines.collect();
    let paragraphs = lines.split_inclusive(|line| line.is_empty());
    let is_idle = |paragraph: &&[&str]| {
        let mut logged = paragraph.iter().filter_map(|line| logged_as(line));
        logged.any(|verdict| matches!(verdict, Verdict::Fragment | Verdict::Outbound) && !captured(verdict))
    };
    let mut kept = paragraphs.filter(|paragraph| !is_idle(paragraph)).flatten().copied().collect::<Vec<_>>();
    // The last paragraph closes the table, too.
    if kept.last() != Some(&"}") {
        while kept.last().is_some_and(|line| line.is_empty()) {
            kept.pop();
        }
        kept.push("}");
    }
    kept
}

fn protocol_name(number: u8) -> String {
    use crate::packet::protocol::{SCTP, UDP, UDPLITE};
    match number {
        TCP => "tcp".to_owned(),
        UDP => "udp".to_owned(),
        SCTP => "sctp".to_owned(),
        UDPLITE => "udplite".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::yaml::Source;

    fn ruleset(yaml: &str) -> Option<String> {
        let (config, _) = Config::read(&Source::new("nfban.yaml", yaml)).unwrap();
        paired(&config, Path::new("nfban.yaml"))
    }

    #[test]
    fn it_has_the_services_and_groups_of_the_configuration() {
        let text = ruleset(
            "services: [25, udp/51820, tcp/40000-40010]\n\
             capture: [{nflog: {group: 7, snaplen: 256}}, {nflog: {group: 8, verdict: accepted}}]",
        )
        .unwrap();
        assert!(text.contains("elements = { tcp . 25, udp . 51820, tcp . 40000-40010 }"), "{text}");
        assert!(text.contains("flags interval"));
        assert!(text.contains("prefix \"nfban:refused\" group 7 snaplen 256"), "{text}");
        assert!(text.contains("prefix \"nfban:invalid\" group 7 snaplen 256"));
        assert!(text.contains("prefix \"nfban:accepted\" group 8 snaplen 128"));
        assert!(!text.contains("group 10"));
    }

    #[test]
    fn who_would_lock_himself_out_over_ssh_hears_of_it() {
        let (config, _) = Config::read(&Source::new("nfban.yaml", "services: [22, udp/2222]")).unwrap();
        assert_eq!((locks_out(&config, None), locks_out(&config, Some(22))), (None, None));
        assert!(
            locks_out(&config, Some(2222))
                .unwrap()
                .contains("came to port 2222, which `services` does not have")
        );
    }

    #[test]
    fn connections_to_traps_are_accepted_where_there_are_any_and_on_the_listeners_port() {
        let rule = |port: u16| format!("ct status dnat tcp dport {port} tcp flags");
        let text = ruleset("traps: [23]").unwrap();
        assert!(text.contains(&rule(28023)), "{text}");
        let text = ruleset("mode: watch\ntraps: [23]\ntrap: {listen: 4000}").unwrap();
        assert!(
            text.contains(&rule(4000)) && text.contains("listen: 4000") && !text.contains("28023"),
            "{text}"
        );
        for without in ["", "traps: [udp/161]", "traps: [23]\nnftables: {conntrack: never}"] {
            let text = ruleset(without).unwrap();
            assert!(!text.contains("dnat") && !text.contains("28023"), "{without}: {text}");
        }
    }

    #[test]
    fn what_is_not_captured_is_not_logged() {
        let text = ruleset("").unwrap();
        assert!(!text.contains("nfban:accepted") && !text.contains("elements ="), "{text}");
        assert!(!text.contains("hook prerouting") && !text.contains("hook output"), "{text}");
        assert!(text.contains("hook input") && text.ends_with("\t}\n}\n"), "{text}");
        for (verdict, hook) in [("fragment", "prerouting"), ("outbound", "output")] {
            let text = ruleset(&format!(
                "capture: [{{nflog: {{group: 7}}}}, {{nflog: {{group: 9, verdict: {verdict}}}}}]"
            ));
            let text = text.unwrap();
            assert!(text.contains(&format!("prefix \"nfban:{verdict}\" group 9 snaplen 128")), "{text}");
            assert!(text.contains(&format!("hook {hook}")) && text.matches(" hook ").count() == 2, "{text}");
            assert!(text.ends_with("\t}\n}\n"), "{text}");
        }
        assert_eq!(ruleset("capture: [{nflog: {group: 8, verdict: accepted}}]"), None);
    }
}
