//! The line at the top of every table: where and when.

use std::fs;
use std::path::Path;

/// Cores, processor, kernel, congestion control, date; and a warning where the client is not a release build.
pub(crate) fn described(bin: &Path) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown processor");
    let kernel = first_line("/proc/sys/kernel/osrelease");
    let congestion = first_line("/proc/sys/net/ipv4/tcp_congestion_control");
    let load = first_line("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or("?");
    let date = jiff::Zoned::now().strftime("%Y-%m-%d").to_string();
    let model = model.trim_start_matches([' ', '\t', ':']);
    let debug = bin.iter().any(|part| part == "debug");
    let warning = if debug { " (DEBUG BUILD: a smoke test, no measurement)" } else { "" };
    format!("{cores} cores, {model}, Linux {kernel}, {congestion}, load {load}, {date}{warning}")
}

fn first_line(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}
