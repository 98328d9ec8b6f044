//! How much memory there is, and how much this process has taken.

use std::fs;
use std::path::Path;

/// The share of the memory there is that is taken when nobody says how much.
const DEFAULT_SHARE: f64 = 0.8;

/// What is taken where the system does not say how much there is.
const FALLBACK_BYTES: u64 = 1 << 30;

/// 80 % of the smaller of the control group's limit and the memory available.
pub fn default_memory_bytes() -> u64 {
    let available = available_bytes().unwrap_or(FALLBACK_BYTES);
    let limit = cgroup_limit_bytes().map_or(available, |limit| limit.min(available));
    (limit as f64 * DEFAULT_SHARE) as u64
}

/// `MemAvailable` of /proc/meminfo.
fn available_bytes() -> Option<u64> {
    kib_field(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")
}

/// The limit of this process' control group: `memory.max` of version 2, `memory.limit_in_bytes` of version 1.
fn cgroup_limit_bytes() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mut limits = Vec::new();
    for line in groups.lines() {
        let (names, group) = line.split_once(':').and_then(|(_, rest)| rest.split_once(':'))?;
        let (root, file) = match names {
            "" => ("/sys/fs/cgroup", "memory.max"),
            names if names.split(',').any(|n| n == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        // In a container the group's own folder may be the root, whatever its name outside; a parent's limit counts too.
        let group = Path::new(group.trim_start_matches('/'));
        for folder in group.ancestors() {
            let text = fs::read_to_string(Path::new(root).join(folder).join(file));
            limits.extend(text.ok().and_then(|t| t.trim().parse::<u64>().ok()));
        }
    }
    limits.into_iter().min()
}

/// The most resident memory this process ever had: `VmHWM` of /proc/self/status.
pub fn peak_resident_bytes() -> Option<u64> {
    kib_field(&fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

fn kib_field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_proc() {
        assert_eq!(kib_field("VmPeak:\t  10 kB\nVmHWM:\t  2048 kB\n", "VmHWM:"), Some(2 << 20));
        assert_eq!(kib_field("VmHWM: x kB", "VmHWM:"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_has_a_peak_and_a_default() {
        assert!(peak_resident_bytes().unwrap() > 100_000);
        assert!(default_memory_bytes() > 1 << 20);
    }
}
