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

/// The limit of this process' control group.
fn cgroup_limit_bytes() -> Option<u64> {
    limit_of_groups(&fs::read_to_string("/proc/self/cgroup").ok()?, Path::new("/sys/fs/cgroup"))
}

/// The smallest limit of the control groups in `groups`, which is the text of /proc/self/cgroup: `memory.max` and
/// `memory.high` of version 2, `memory.limit_in_bytes` of version 1. Groups are folders in `root`.
fn limit_of_groups(groups: &str, root: &Path) -> Option<u64> {
    let mut limits = Vec::new();
    for line in groups.lines() {
        let Some((names, group)) = line.split_once(':').and_then(|(_, rest)| rest.split_once(':')) else {
            continue;
        };
        let (root, files) = match names {
            "" => (root.to_path_buf(), &["memory.max", "memory.high"][..]),
            names if names.split(',').any(|n| n == "memory") => {
                (root.join("memory"), &["memory.limit_in_bytes"][..])
            }
            _ => continue,
        };
        // In a container the group's own folder may be the root, whatever its name outside; a parent's limit counts too.
        let group = Path::new(group.trim_start_matches('/'));
        for (folder, file) in
            group.ancestors().flat_map(|folder| files.iter().map(move |file| (folder, file)))
        {
            let text = fs::read_to_string(root.join(folder).join(file));
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
    fn limits_of_control_groups() {
        let root = std::env::temp_dir().join(format!("tightfit-cgroup-{}", std::process::id()));
        let put = |path: &str, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        assert_eq!(limit_of_groups("0::/\n", &root), None);
        put("memory.max", "max\n");
        assert_eq!(limit_of_groups("0::/\n", &root), None);
        put("memory.max", "536870912\n");
        put("a/memory.max", "1073741824\n");
        put("a/b/memory.high", "805306368\n");
        // A parent's limit holds, and one for a group that is not mapped here is that of the root.
        assert_eq!(limit_of_groups("0::/a/b\n", &root), Some(512 << 20));
        assert_eq!(limit_of_groups("0::/elsewhere\n", &root), Some(512 << 20));
        fs::remove_file(root.join("memory.max")).unwrap();
        assert_eq!(limit_of_groups("0::/a/b\n", &root), Some(768 << 20));
        assert_eq!(limit_of_groups("0::/a\n", &root), Some(1 << 30));
        put("memory/docker/x/memory.limit_in_bytes", "268435456\n");
        let groups = "broken\n5:cpu,cpuacct:/docker/x\n4:memory:/docker/x\n";
        assert_eq!(limit_of_groups(groups, &root), Some(256 << 20));
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_has_a_peak_and_a_default() {
        assert!(peak_resident_bytes().unwrap() > 100_000);
        assert!(default_memory_bytes() > 1 << 20);
    }
}
