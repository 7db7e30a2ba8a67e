//! The machine that numbers come from.

use crate::harness::network;

/// One sentence about it.
pub(super) fn describe() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let models = cpus
        .lines()
        .filter_map(|line| line.strip_prefix("model name"));
    let models: Vec<&str> = models
        .map(|line| line.trim_start_matches([' ', '\t', ':']))
        .collect();
    let load = read("/proc/loadavg");
    let load: Vec<&str> = load.split(' ').take(3).collect();
    format!(
        "{} × {}, Linux {}, load average after the run {}, {}",
        models.len(),
        models.first().copied().unwrap_or("unknown CPU"),
        read("/proc/sys/kernel/osrelease").trim(),
        load.join(" "),
        network::describe()
    )
}
