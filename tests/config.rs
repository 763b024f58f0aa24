//! What is said about broken files, word for word: `tests/data/{config,rules}/NAME.yaml` with `NAME.txt` beside it.
//!
//! `UPDATE_GOLDEN=1 cargo test --test config` writes the texts anew; read the difference before committing it.

#![expect(clippy::expect_used, reason = "a test states its expectations by panicking")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use nfban::config::{Config, Problems, rules, yaml::Source};

/// Compares what `judge` says about every YAML file of a directory with the text beside it.
fn golden(directory: &str, judge: impl Fn(&str, &str) -> String) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(directory);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&directory)
        .expect("the directory is there")
        .map(|entry| entry.expect("it can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    let mut wrong = String::new();
    for path in files {
        let text = std::fs::read_to_string(&path).expect("it is readable");
        let name = path.file_name().expect("it has a name").to_string_lossy();
        let said = judge(&name, &text);
        let golden = path.with_extension("txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &said).expect("the text can be written");
        } else if std::fs::read_to_string(&golden).unwrap_or_default() != said {
            let _ = writeln!(wrong, "{} differs; now it is\n{said}", golden.display());
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

fn verdict(problems: &Problems) -> String {
    format!("{problems}{} problems\n", problems.len())
}

#[test]
fn what_is_wrong_with_a_configuration_is_told_with_its_place_and_remedy() {
    golden("config", |name, text| match Config::read(&Source::new(name, text)) {
        Ok((_, warnings)) => warnings.iter().map(ToString::to_string).collect::<String>() + "good\n",
        Err(problems) => verdict(&problems),
    });
}

#[test]
fn what_is_wrong_with_rules_is_told_with_its_place_and_remedy() {
    golden("rules", |name, text| {
        let files: Vec<_> = rules::SHIPPED.iter().copied().chain([(name, text)]).collect();
        match rules::load(&files, Path::new("/nonexistent")) {
            Ok(_) => "good\n".to_owned(),
            Err(problems) => verdict(&problems),
        }
    });
}

#[test]
fn traps_are_no_ports_of_an_ignore_filter() {
    let text = "traps: [23]\nignore: [{protocol: tcp, dport: [22, traps]}]";
    let problems = Config::read(&Source::new("c.yaml", text)).expect_err("nothing puts the traps in there");
    let said = problems.to_string();
    assert!(said.contains("c.yaml:2:38") && said.contains("list the ports themselves"), "{said}");
}
