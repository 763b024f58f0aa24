//! A week of mixed traffic with fifty scans hidden in it, replayed: how many are found, and what else is told.
//!
//! `cargo bench --bench week` does all of it; `-- seed NUMBER` does it with another week, `-- rules DIR` with other rules,
//! and `-- write FILE` only writes the capture, compressed with zstd, with its configuration beside it.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::panic,
    reason = "a bench stops where its premises fail, and its numbers are small"
)]

mod generator;
#[path = "../measure/mod.rs"]
mod measure;
mod score;

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use generator::{Week, capture};
use measure::machine;
use nfban::report::json::{Record, Summary};
use score::{Score, Told, print_kinds};

/// What the figures in `docs/benchmarks.md` were taken with.
const SEED: u64 = 1;

/// Who we are, what we publish, and what nobody should touch.
const CONFIG: &str = "mode: watch
home: [198.51.100.0/24, \"2001:db8:51::/56\"]
services: [21, 22, 53, 80, 443, 40000-40100, udp/53, udp/443, udp/16384-32766]
traps: [23, 3389, 5900]
";

/// Writes the week as a compressed capture: what it is made of, and its octets before compression.
fn write(path: &Path, seed: u64) -> io::Result<Week> {
    // The least compression keeps pace with the generator, and the file small enough to stay in memory.
    let mut out = zstd::Encoder::new(File::create(path)?, 1)?;
    let (mut week, mut record) = (Week::new(seed), Vec::new());
    capture::begin(&mut out)?;
    for parcels in week.by_ref() {
        for parcel in &parcels {
            capture::write(&mut out, parcel, &mut record)?;
        }
    }
    out.finish()?;
    Ok(week)
}

/// The most memory that a process has had, in KiB, looked at until it ends.
fn peak_of(child: &Child, peak: &AtomicU64) {
    let status = format!("/proc/{}/status", child.id());
    loop {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let Some(line) = text.lines().find_map(|line| line.strip_prefix("VmHWM:")) else { return };
        let kib = line.trim().trim_end_matches(" kB").parse().expect("a number of KiB");
        peak.fetch_max(kib, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(20));
    }
}

/// Replays a capture with the program as it is installed.
fn replay(capture: &Path, config: &Path, rules: Option<&str>, peak: &AtomicU64) -> (Vec<Told>, Summary) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_nfban"))
        .args(["replay", "--json", "-c"])
        .arg(config)
        .args(rules.map(|directory| ["--rules", directory]).into_iter().flatten())
        .arg(capture)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let out = BufReader::new(child.stdout.take().expect("a pipe"));
    let (mut told, mut summary) = (Vec::new(), None);
    thread::scope(|scope| {
        scope.spawn(|| peak_of(&child, peak));
        for line in out.lines() {
            match serde_json::from_str(&line.unwrap()).expect("a record of ours") {
                Record::Incident(incident) => told.push(Told::new(&incident)),
                Record::Summary(last) => summary = Some(last),
                _ => {}
            }
        }
    });
    assert!(child.wait().unwrap().success(), "the replay succeeds");
    (told, summary.expect("a summary"))
}

/// Makes the week, replays it and prints how well it was understood.
fn measure(seed: u64, rules: Option<&str>) {
    println!("\nA week of traffic with scans in it, seed {seed}: {}", machine());
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (path, config) = (folder.path().join("week.pcap.zst"), folder.path().join("nfban.yaml"));
    fs::write(&config, CONFIG).unwrap();
    let start = Instant::now();
    let week = write(&path, seed).unwrap();
    let taken = start.elapsed().as_secs_f64();
    print_kinds(&week);
    let megabytes = fs::metadata(&path).unwrap().len() as f64 / 1e6;
    println!("  written in {taken:.0} s, {megabytes:.0} MB compressed");
    let peak = AtomicU64::new(0);
    let start = Instant::now();
    let (told, summary) = replay(&path, &config, rules, &peak);
    let taken = start.elapsed().as_secs_f64();
    println!(
        "  replayed {} packets ({} not decoded) in {taken:.1} s: {:.2} million a second, {:.0} MiB at most",
        summary.packets,
        summary.undecoded,
        summary.packets as f64 / taken / 1e6,
        peak.into_inner() as f64 / 1024.0
    );
    let score = Score::new(&week.scans, &told);
    score.print();
    score.print_false(seed);
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let ["write", path] = arguments.as_slice() {
        let path = Path::new(path);
        print_kinds(&write(path, SEED).unwrap());
        return fs::write(path.with_extension("yaml"), CONFIG).unwrap();
    }
    let (mut seed, mut rules) = (SEED, None);
    for pair in arguments.chunks(2) {
        match pair {
            ["seed", number] => seed = number.parse().expect("a number"),
            ["rules", directory] => rules = Some(*directory),
            other => panic!("{other:?}: `seed NUMBER`, `rules DIR` or `write FILE` is expected"),
        }
    }
    measure(seed, rules);
}
