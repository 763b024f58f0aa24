//! The manual pages say all there is and nothing else: subcommands, options, keys, rules, exit statuses. What is new has
//! its line in `docs/man/`.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test states its expectations by panicking")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{CommandFactory as _, Parser as _};
use nfban::cli::Arguments;
use nfban::config::rules::{self, SHIPPED};
use nfban::config::yaml::Source;
use nfban::config::{Config, Problems};
use nfban::detect::rule::Rule;

type Names = BTreeSet<String>;

fn path(page: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/man").join(page)
}

/// The source of a page.
fn page(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap()
}

/// The lines from the heading `macro title` on to the next heading of its kind or above.
fn part<'p>(page: &'p str, heading: &str) -> Vec<&'p str> {
    let kind = heading.split_at(3).0;
    let lines =
        page.lines().skip_while(|line| !(format!("{line} ")).starts_with(&format!("{heading} "))).skip(1);
    let found: Vec<_> = lines
        .take_while(|line| !line.starts_with(".Sh") && (kind != ".Ss" || !line.starts_with(".Ss")))
        .collect();
    assert!(!found.is_empty(), "there is no `{heading}`");
    found
}

/// What the items of a list are about, as `.It Cm NAME …` has it.
fn items(lines: &[&str]) -> Names {
    let items = lines.iter().filter_map(|line| line.strip_prefix(".It Cm "));
    names(items.filter_map(|rest| rest.split(' ').next()))
}

/// The literal blocks of a page.
fn examples(page: &str) -> Vec<String> {
    let blocks = page.split(".Bd -literal -offset indent\n").skip(1);
    blocks.map(|block| block.split(".Ed").next().unwrap().to_owned()).collect()
}

fn names<T: AsRef<str>>(words: impl IntoIterator<Item = T>) -> Names {
    words.into_iter().map(|word| word.as_ref().to_owned()).collect()
}

/// The long options in the items of a list.
fn options(lines: &[&str]) -> Names {
    let items = lines.iter().filter(|line| line.starts_with(".It Fl "));
    items
        .flat_map(|line| line.split(' ').filter_map(|word| word.strip_prefix('-')))
        .map(str::to_owned)
        .collect()
}

fn long_options(command: &clap::Command, global: bool) -> Names {
    let asked = |argument: &&clap::Arg| argument.is_global_set() == global && !argument.is_hide_set();
    let long = command.get_arguments().filter(asked).filter_map(clap::Arg::get_long);
    names(long.filter(|name| *name != "help" && *name != "version"))
}

#[test]
fn nfban_8_has_every_subcommand_with_its_options_and_no_other() {
    let page = page("nfban.8");
    let command = Arguments::command();
    let shown: Vec<_> = command.get_subcommands().filter(|command| !command.is_hide_set()).collect();
    let headed = part(&page, ".Sh COMMANDS");
    let headings = headed.iter().filter_map(|line| line.strip_prefix(".Ss "));
    let headings = names(headings.map(|rest| rest.split(' ').next().unwrap()));
    assert_eq!(headings, names(shown.iter().map(|command| command.get_name())), "`.Ss` in docs/man/nfban.8");
    for subcommand in shown {
        let name = subcommand.get_name();
        let told = options(&part(&page, &format!(".Ss {name}")));
        assert_eq!(told, long_options(subcommand, false), "options of `.Ss {name}` in docs/man/nfban.8");
    }
    let mut global = long_options(&command, true);
    global.extend(names(["help", "version"]));
    assert_eq!(
        options(&part(&page, ".Sh DESCRIPTION")),
        global,
        "options of every command in docs/man/nfban.8"
    );
}

#[test]
fn nfban_8_has_the_exit_statuses_of_the_help() {
    let page = page("nfban.8");
    let help = Arguments::command().render_help().to_string();
    let listed = help.split("Exit status:\n").nth(1).unwrap();
    let statuses = names(listed.lines().filter_map(|line| line.split_whitespace().next()));
    let told = part(&page, ".Sh EXIT STATUS");
    assert_eq!(names(told.iter().filter_map(|line| line.strip_prefix(".It "))), statuses);
}

/// The keys that the parser offers in place of one that it does not know.
fn offered(problems: &Problems) -> Names {
    let Some(unknown) = problems.iter().find(|problem| problem.message == "unknown key `no-such-key`") else {
        return Names::new();
    };
    let hint = unknown.hint.clone().unwrap();
    let words = hint.strip_prefix("it is one of ").expect("the hint lists the keys");
    names(words.replace(" or ", ", ").split(", "))
}

/// The keys of the mapping that stands at `before … after` in a configuration.
fn keys_at(before: &str, after: &str) -> Names {
    let text = format!("{before}{{no-such-key: 1}}{after}");
    Config::read(&Source::new("man", text)).err().as_ref().map(offered).unwrap_or_default()
}

#[test]
fn nfban_yaml_5_has_every_key_and_no_other() {
    let page = page("nfban.yaml.5");
    let mut keys = Names::new();
    for key in keys_at("", "") {
        let within = keys_at(&format!("{key}: "), "");
        if ["capture", "ignore"].contains(&key.as_str()) || within.is_empty() {
            keys.insert(key);
        } else {
            keys.extend(within.iter().map(|inner| format!("{key}.{inner}")));
        }
    }
    assert_eq!(items(&part(&page, ".Sh KEYS")), keys, "`.It Cm` in KEYS of docs/man/nfban.yaml.5");
    for name in keys_at("nftables: {sets: ", "}") {
        assert!(page.split([' ', '\n']).any(|word| word == name), "nftables.sets.{name}");
    }

    let mut captures = Names::new();
    for key in keys_at("capture: [", "]") {
        let within = keys_at(&format!("capture: [{{{key}: "), "}]");
        match within.is_empty() {
            true => captures.insert(key),
            false => {
                captures.extend(within.iter().map(|inner| format!("{key}.{inner}")));
                continue;
            }
        };
    }
    assert_eq!(items(&part(&page, ".Sh CAPTURE")), captures, "`.It Cm` in CAPTURE of docs/man/nfban.yaml.5");
}

/// The keys of the mapping that stands at `before … after` in a rules file.
fn rule_keys_at(before: &str, after: &str) -> Names {
    let text = format!("{before}no-such-key: 1}}{after}");
    rules::load(&[("man", &text)], Path::new("/nonexistent")).err().as_ref().map(offered).unwrap_or_default()
}

#[test]
fn nfban_rules_5_has_every_key_of_rules_matches_and_probes() {
    let page = page("nfban-rules.5");
    assert_eq!(items(&part(&page, ".Sh KEYS OF A RULE")), rule_keys_at("- {", ""));
    assert_eq!(items(&part(&page, ".Sh MATCH")), rule_keys_at("- {id: a, match: {", "}"));
    assert_eq!(items(&part(&page, ".Sh WEB PROBES")), rule_keys_at("- {probe: a, ", ""));
    for name in rule_keys_at("- {id: a, count: {", "}") {
        assert!(page.contains(&format!(".Cm {name}\n")), "count.{name}");
    }
}

/// What stands in the shipped files, with `id` or `probe` in front.
fn shipped(kind: &str) -> Vec<String> {
    let lines = SHIPPED.iter().flat_map(|(_, text)| text.lines());
    lines
        .filter_map(|line| line.strip_prefix(&format!("- {kind}: ")))
        .map(|name| name.trim().to_owned())
        .collect()
}

#[test]
fn nfban_rules_5_has_every_shipped_rule_with_its_threshold_and_window_and_every_probe() {
    let page = page("nfban-rules.5");
    let told = part(&page, ".Sh SHIPPED RULES");
    assert_eq!(items(&told), names(shipped("id")), "`.It Cm` in SHIPPED RULES of docs/man/nfban-rules.5");
    let loaded =
        rules::load(SHIPPED, Path::new("/nonexistent")).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(loaded.len() >= 30, "only {} rules", loaded.len());
    for Rule { id, title, threshold, window, .. } in &loaded {
        let at = told.iter().position(|line| *line == format!(".It Cm {id}")).unwrap();
        let said = told.get(at + 1).unwrap();
        assert!(said.starts_with(&format!("{title}: {threshold} in ")), "{id}: {said}");
        let span = said.rsplit(" in ").next().unwrap().trim_end_matches('.');
        assert_eq!(nfban::time::parse_duration(span).as_ref(), Ok(window), "{id}: {said}");
    }
    let probes = part(&page, ".Sh WEB PROBES");
    let listed = probes.iter().skip_while(|line| !line.starts_with("Those that are shipped")).skip(1);
    let listed = listed.filter_map(|line| line.strip_prefix(".Cm "));
    assert_eq!(names(listed.map(|rest| rest.split(' ').next().unwrap())), names(shipped("probe")));
}

#[test]
fn the_examples_of_the_manual_pages_are_good() {
    let mut commands = 0;
    for line in examples(&page("nfban.8")).iter().flat_map(|block| block.lines()) {
        let Some(line) = line.strip_prefix("nfban ") else { continue };
        let line = line.split('>').next().unwrap().replace('"', "").replace("scans daily", "scans-daily");
        let words = ["nfban"].into_iter().chain(line.split_whitespace());
        assert!(Arguments::try_parse_from(words).is_ok(), "{line}");
        commands += 1;
    }
    assert!(commands >= 10, "only {commands} found");

    for text in examples(&page("nfban.yaml.5")) {
        Config::read(&Source::new("nfban.yaml.5", text)).unwrap_or_else(|problems| panic!("{problems}"));
    }
    for text in examples(&page("nfban-rules.5")) {
        let files: Vec<_> = SHIPPED.iter().copied().chain([("nfban-rules.5", text.as_str())]).collect();
        rules::load(&files, Path::new("/nonexistent")).unwrap_or_else(|problems| panic!("{problems}"));
    }
}

#[test]
fn the_manual_pages_are_set_without_a_warning() {
    for name in ["nfban.8", "nfban.yaml.5", "nfban-rules.5"] {
        let commands: [&[&str]; 2] =
            [&["mandoc", "-Tlint", "-Wwarning"], &["man", "--warnings", "-EUTF-8", "-Tutf8", "-Z", "-l"]];
        for words in commands {
            let (program, arguments) = words.split_first().unwrap();
            let output = Command::new(program).args(arguments).arg(path(name)).output();
            let output =
                output.unwrap_or_else(|error| panic!("{program}: {error}; scripts/setup test installs it"));
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let lint = if *program == "mandoc" {
                String::from_utf8_lossy(&output.stdout).into_owned()
            } else {
                String::new()
            };
            assert!(
                output.status.success() && said.is_empty() && lint.is_empty(),
                "{program} {name}: {said}{lint}"
            );
        }
    }
}
