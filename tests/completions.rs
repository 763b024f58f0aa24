//! What bash, fish and zsh complete, asked of the shells themselves.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test states its expectations by panicking")]

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

const NFBAN: &str = env!("CARGO_BIN_EXE_nfban");

/// A folder with the completions of `shell` in a file of this name.
fn completions(shell: &str, file: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    let output = Command::new(NFBAN).args(["completions", shell]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    std::fs::write(folder.path().join(file), output.stdout).unwrap();
    folder
}

/// What a shell says to a script that is given the folder as `$1` and a command line as `$2`.
fn say(program: &[&str], script: &str, folder: &Path, line: &str) -> String {
    let output = Command::new("timeout")
        .args(["-k", "1", "20"])
        .args(program)
        .args([script, "sh"])
        .arg(folder)
        .arg(line)
        .env("HOME", folder)
        .output()
        .expect("coreutils' timeout runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && output.stderr.is_empty(), "{program:?}: {output:?}");
    said
}

/// Command lines that are begun, and how their last word goes on.
const BEGUN: [(&str, &str); 4] = [
    ("nfban stat", "status"),
    ("nfban replay --timez", "--timezone"),
    ("nfban demo --ruleset ipt", "iptables"),
    ("nfban status --inst", "--instance"),
];

#[test]
fn bash_completes_commands_options_and_their_values() {
    let folder = completions("bash", "nfban");
    let script = r#". "$1/nfban"; read -ra COMP_WORDS <<<"$2"; COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        function=$(complete -p nfban | sed 's/.*-F \([^ ]*\).*/\1/')
        "$function" nfban "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"; printf '%s\n' "${COMPREPLY[@]}""#;
    for (line, word) in BEGUN {
        let said = say(&["bash", "--norc", "-c"], script, folder.path(), line);
        assert!(said.lines().any(|found| found == word), "{line}: {said}");
    }
}

#[test]
fn fish_completes_commands_options_and_their_values() {
    let folder = completions("fish", "nfban.fish");
    let script = "source $argv[2]/nfban.fish; complete --do-complete $argv[3]";
    for (line, word) in BEGUN {
        let said = say(&["fish", "--no-config", "-c"], script, folder.path(), line);
        assert!(said.lines().any(|found| found.split('\t').next() == Some(word)), "{line}: {said}");
    }
}

#[test]
fn zsh_completes_commands_options_and_their_values() {
    let folder = completions("zsh", "_nfban");
    // Completion is there in an interactive shell alone, so one is started on a terminal, and the tab key pressed.
    let script = r#"zmodload zsh/zpty; zpty shell "TERM=dumb PS1= zsh -f -i"
        zpty -w shell "fpath=($1 \$fpath); autoload -Uz compinit; compinit -u -D; echo rea''dy"
        zpty -r shell line '*ready*'
        zpty -w -n shell "$2"$'\t'
        zpty -r shell line "*$3*"; print -r -- "$line"; zpty -d shell"#;
    for (line, word) in BEGUN {
        let script = script.replace("$3", word);
        let said = say(&["zsh", "-f", "-c"], &script, folder.path(), line);
        assert!(said.contains(word), "{line}: {said}");
    }
}
