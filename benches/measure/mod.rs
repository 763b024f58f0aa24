//! What the benches share: quantiles, and the machine a figure was taken on.
#![allow(dead_code, reason = "every bench takes the part it needs")]

use std::fs;
use std::time::Duration;

/// The value below which the part `q` (0–1) of `sorted` lies: the nearest rank.
pub(crate) fn quantile<T: Copy>(sorted: &[T], q: f64) -> T {
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

/// The median of samples in any order.
pub(crate) fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_unstable_by(f64::total_cmp);
    quantile(&samples, 0.5)
}

/// Milliseconds with three decimals.
pub(crate) fn ms(duration: Duration) -> String {
    format!("{:.3}", duration.as_secs_f64() * 1e3)
}

/// One line: kernel, processors, and how busy others keep them.
pub(crate) fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or("?");
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    let mut line = format!("kernel {}, {cpus} processors, load average {load}", kernel.trim());
    if load.parse().is_ok_and(|load: f64| load > 0.5) {
        line += " (this machine is not idle: the tails are its neighbours')";
    }
    line
}

/// `VmRSS` of this process in KiB.
pub(crate) fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("proc is mounted");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process has memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number of KiB")
}
