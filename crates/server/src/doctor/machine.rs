//! Disk, memory, control groups.

use std::path::{Path, PathBuf};

use nonna_api::Finding;
use nonna_model::units::Bytes;

use super::{failed, ok, warning};
use crate::config::Config;

/// Where engines keep images and volumes.
const ENGINE_ROOTS: [&str; 2] = ["/var/lib/docker", "/var/lib/containers"];
/// Less free than this share, or this many bytes, is nearly full.
const LITTLE_SHARE: f64 = 0.10;
const LITTLE: u64 = 2_000_000_000;
/// Less free than this is full.
const NOTHING: u64 = 200_000_000;
/// What a machine should have left for services.
const LITTLE_MEMORY: u64 = 128_000_000;

pub(super) fn disks(config: &Config) -> Vec<Finding> {
    let mut places = vec![("disk of the data folder", config.data.clone())];
    if let Some(root) = ENGINE_ROOTS.iter().map(PathBuf::from).find(|p| p.is_dir()) {
        places.push(("disk of the container engine", root));
    }
    places.iter().map(|(check, path)| disk(check, path)).collect()
}

fn disk(check: &str, path: &Path) -> Finding {
    let stat = match rustix::fs::statvfs(path) {
        Ok(stat) => stat,
        Err(error) => {
            return failed(
                check,
                format!("{} cannot be looked at: {error}.", path.display()),
                "See that it exists and that the server may read it.",
            );
        }
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let all = stat.f_blocks.saturating_mul(stat.f_frsize);
    let inodes = (stat.f_files > 0).then(|| share(stat.f_favail, stat.f_files));
    judge_disk(check, path, free, all, inodes)
}

#[expect(clippy::cast_precision_loss, reason = "a share for people")]
fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

fn judge_disk(check: &str, path: &Path, free: u64, all: u64, inodes: Option<f64>) -> Finding {
    const HINT: &str = "`nonna gc --dry-run` shows what builds left and nobody needs, `nonna gc` removes it. Else remove what others left on it (`docker system df`), or enlarge the disk.";
    let said = format!("{} free of {} at {}", Bytes(free), Bytes(all), path.display());
    if free < NOTHING {
        failed(check, format!("It is full: {said}."), HINT)
    } else if share(free, all) < LITTLE_SHARE && free < LITTLE * 5 || free < LITTLE {
        warning(check, format!("It is nearly full: {said}."), HINT)
    } else if inodes.is_some_and(|left| left < 0.05) {
        warning(
            check,
            format!("It can hardly hold more files: {said}, but less than 5 % of its inodes."),
            "Remove folders with very many small files, such as old dependencies.",
        )
    } else {
        ok(check, format!("{said}."))
    }
}

pub(super) fn memory() -> Finding {
    const CHECK: &str = "memory";
    let Ok(text) = std::fs::read_to_string("/proc/meminfo") else {
        return warning(CHECK, "/proc/meminfo cannot be read.", "Mount /proc.");
    };
    judge_memory(CHECK, field(&text, "MemAvailable:"), field(&text, "MemTotal:"))
}

/// A line of `/proc/meminfo` in bytes.
fn field(text: &str, name: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse::<u64>().ok())
        .unwrap_or(0)
        .saturating_mul(1024)
}

fn judge_memory(check: &str, available: u64, total: u64) -> Finding {
    let said = format!("{} available of {}.", Bytes(available), Bytes(total));
    if available < LITTLE_MEMORY {
        warning(
            check,
            said,
            "Replicas may be killed. Lower `memory` in nonna.toml, scale down, or add memory.",
        )
    } else {
        ok(check, said)
    }
}

pub(super) fn cgroups() -> Finding {
    const CHECK: &str = "control groups";
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        let controllers = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
        let missing: Vec<&str> = ["cpu", "memory", "pids"]
            .into_iter()
            .filter(|c| !controllers.split_whitespace().any(|have| have == *c))
            .collect();
        return if missing.is_empty() {
            ok(
                CHECK,
                "Version 2, with limits on processor time, memory and processes.",
            )
        } else {
            warning(
                CHECK,
                format!(
                    "Version 2 without {}: those limits do not hold.",
                    missing.join(", ")
                ),
                "Boot the kernel with these controllers on.",
            )
        };
    }
    if Path::new("/sys/fs/cgroup/memory").exists() {
        ok(
            CHECK,
            "Version 1: limits hold. Version 2 is what engines are made for now.",
        )
    } else {
        warning(
            CHECK,
            "None are mounted: limits on memory and processor time do not hold.",
            "Mount them, or run on a kernel that has them.",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_judged_by_what_is_free() {
        let at = Path::new("/");
        let gb = 1_000_000_000;
        assert_eq!(judge_disk("d", at, 50 * gb, 100 * gb, Some(0.9)).state, "ok");
        assert_eq!(judge_disk("d", at, gb, 100 * gb, None).state, "warning");
        assert_eq!(judge_disk("d", at, 5 * gb, 100 * gb, None).state, "warning");
        assert_eq!(judge_disk("d", at, 100 * gb, 4_000 * gb, None).state, "ok");
        assert_eq!(judge_disk("d", at, 1_000, 100 * gb, None).state, "failed");
        assert_eq!(
            judge_disk("d", at, 50 * gb, 100 * gb, Some(0.01)).state,
            "warning"
        );
    }

    #[test]
    fn memory_is_read_from_the_kernels_text() {
        let text = "MemTotal:       24683520 kB\nMemFree: 1 kB\nMemAvailable:   100 kB\n";
        assert_eq!(field(text, "MemAvailable:"), 102_400);
        assert_eq!(
            judge_memory("m", field(text, "MemAvailable:"), field(text, "MemTotal:")).state,
            "warning"
        );
    }
}
