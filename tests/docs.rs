//! What the documents show is true: their configurations and rules load, their commands parse, their links lead somewhere.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test states its expectations by panicking")]

use std::path::{Path, PathBuf};

use clap::Parser as _;
use nfban::cli::Arguments;
use nfban::config::rules::{self, SHIPPED};
use nfban::config::yaml::Source;
use nfban::config::{Config, Severity};

/// Every document, by its path in the repository.
fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found: Vec<PathBuf> =
        ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"].map(|name| root.join(name)).to_vec();
    for directory in ["docs", "docs/decisions"] {
        let entries = std::fs::read_dir(root.join(directory)).expect("the documents are there");
        found.extend(entries.map(|entry| entry.unwrap().path()));
    }
    found.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    found
}

/// The fenced blocks of a document: what stands behind the fence, and the text.
fn blocks(document: &Path) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(document).unwrap();
    let mut blocks = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in text.lines() {
        match (line.strip_prefix("```"), open.take()) {
            (Some(kind), None) => open = Some((kind.to_owned(), String::new())),
            (Some(_), Some(block)) => blocks.push(block),
            (None, Some((kind, text))) => open = Some((kind, text + line + "\n")),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "{}: a fence is left open", document.display());
    blocks
}

/// The blocks of one kind in all documents.
fn all_of(kind: &str) -> Vec<Source> {
    let mut found = Vec::new();
    for document in documents() {
        for (number, (_, text)) in blocks(&document).into_iter().filter(|(of, _)| of == kind).enumerate() {
            found.push(Source::new(format!("{} block {}", document.display(), number + 1), text));
        }
    }
    found
}

#[test]
fn every_configuration_that_is_shown_is_good() {
    let shown = all_of("yaml configuration");
    assert!(shown.len() >= 4, "only {} found", shown.len());
    for source in shown {
        let (_, warnings) = Config::read(&source).unwrap_or_else(|problems| panic!("{problems}"));
        // That `restrict` is not to be had is what an example of it is there to say.
        assert!(warnings.iter().all(|problem| problem.severity == Severity::Warning));
    }
}

#[test]
fn every_rule_that_is_shown_is_good() {
    let mut shown = 0;
    for document in documents() {
        for (_, text) in blocks(&document).into_iter().filter(|(of, _)| of == "yaml rules") {
            let name = document.display().to_string();
            let files: Vec<_> = SHIPPED.iter().copied().chain([(name.as_str(), text.as_str())]).collect();
            let loaded = rules::load(&files, Path::new("/nonexistent"));
            let all = loaded.unwrap_or_else(|problems| panic!("{problems}"));
            nfban::detect::Ruleset::compile(&all, &[]).unwrap();
            shown += 1;
        }
    }
    assert!(shown >= 2, "only {shown} found");
}

/// The words of a command line up to what belongs to the shell; quotes hold words together.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for letter in line.chars() {
        match letter {
            '"' => quoted = !quoted,
            '#' | '|' | ';' | '<' | '>' if !quoted => break,
            ' ' if !quoted => words.push(String::new()),
            other => words.last_mut().expect("there is always one").push(other),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// What the documents tell a reader to type: in `sh` blocks, behind the prompt of `console` blocks, and in running text.
fn command_lines(document: &Path) -> Vec<Vec<String>> {
    let mut lines = Vec::new();
    for (kind, text) in blocks(document) {
        for line in text.lines() {
            let typed = match kind.as_str() {
                "sh" => Some(line),
                "console" => line.strip_prefix("# ").or_else(|| line.strip_prefix("$ ")),
                _ => None,
            };
            lines.extend(typed.and_then(|line| line.find("nfban ").and_then(|at| line.get(at..))).map(words));
        }
    }
    let text = std::fs::read_to_string(document).unwrap();
    let placed = |text: &str| text.replace("FILE", "a.pcap").replace("ADDR", "192.0.2.7");
    for code in text.split('`').skip(1).step_by(2).filter(|code| code.starts_with("nfban ")) {
        lines.push(words(&placed(code)));
    }
    lines
}

/// Commands that the documents name as not there yet.
const PLANNED: &[&str] = &["report"];

#[test]
fn every_command_line_that_is_shown_parses() {
    let lines = command_lines(&Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md"));
    assert!(lines.len() >= 20, "only {} found", lines.len());
    for line in lines {
        if line.get(1).is_some_and(|command| PLANNED.contains(&command.as_str())) {
            continue;
        }
        if let Err(error) = Arguments::try_parse_from(&line) {
            panic!("{line:?}: {error}");
        }
    }
}

#[test]
fn what_is_said_to_be_missing_is_missing() {
    for command in PLANNED {
        assert!(Arguments::try_parse_from(["nfban", command, "192.0.2.7"]).is_err(), "{command} is there");
        assert!(Arguments::try_parse_from(["nfban", command]).is_err(), "{command} is there");
    }
}

#[test]
fn every_link_within_the_repository_leads_to_a_file_and_its_heading() {
    for document in documents() {
        let text = std::fs::read_to_string(&document).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.starts_with("http") {
                continue;
            }
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let path = match file {
                "" => document.clone(),
                file => document.parent().unwrap().join(file),
            };
            assert!(path.exists(), "{}: {target}", document.display());
            let named = |line: &str| anchor(line.trim_start_matches('#')) == heading;
            let there = || {
                std::fs::read_to_string(&path)
                    .unwrap()
                    .lines()
                    .any(|line| line.starts_with('#') && named(line))
            };
            assert!(heading.is_empty() || there(), "{}: {target} names no heading", document.display());
        }
    }
}

/// The anchor that GitHub gives a heading.
fn anchor(heading: &str) -> String {
    let kept = |c: char| c.is_alphanumeric() || c == '-' || c == '_' || c == ' ';
    heading
        .trim()
        .to_lowercase()
        .chars()
        .filter(|c| kept(*c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[test]
fn the_readme_lists_every_target_of_the_makefile_and_every_subcommand() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let makefile = std::fs::read_to_string(root.join("Makefile")).unwrap();
    let targets =
        makefile.lines().find_map(|line| line.strip_prefix(".PHONY:")).expect("it names its targets");
    for target in targets.split_whitespace().filter(|target| *target != "help") {
        assert!(readme.contains(&format!("`make {target}`")), "make {target}");
    }
    use clap::CommandFactory as _;
    for subcommand in Arguments::command().get_subcommands().filter(|command| !command.is_hide_set()) {
        let name = subcommand.get_name();
        assert!(readme.contains(&format!("| `nfban {name}")), "nfban {name}");
    }
}
