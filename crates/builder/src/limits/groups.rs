//! The control groups of BuildKit's steps.
//!
//! BuildKit inside Docker ignores the limits in the API's call, so they are
//! set from outside, where Nonna is root on the engine's machine. With the
//! `cgroupfs` driver every step runs in `PARENT/buildkit/ID`, where PARENT is
//! the engine's `--cgroup-parent` (`docker`): the group `PARENT/buildkit` is
//! given the limits, and all steps share them. With the `systemd` driver each
//! step is a scope of its own, `system.slice/docker-ID.scope`, whose ID has 25
//! letters and digits where a container's has 64 hexadecimal ones: each is
//! given the limits when it appears.
//!
//! All builds on the engine have these limits, also those of others.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::BuildLimits;

/// The processor share of a group that nobody said anything of: version 1.
const NORMAL_SHARES: u64 = 1024;
/// The same in version 2.
const NORMAL_WEIGHT: u64 = 100;
/// The period of a quota, in microseconds: the kernel's own default.
const PERIOD: u64 = 100_000;
/// How long BuildKit's ids are.
const ID: usize = 25;
/// The controllers that limits need, in version 2.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];

/// How the engine makes groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Driver {
    /// By writing to the file system.
    Cgroupfs,
    /// By asking systemd.
    Systemd,
}

/// Whether limits hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// They do.
    Yes,
    /// They do not, and why.
    No(String),
}

/// The groups of the builds of one engine.
#[derive(Debug, Clone)]
pub struct ControlGroups {
    root: PathBuf,
    parent: String,
    driver: Driver,
    limits: BuildLimits,
}

/// One step's group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    /// Where its processes are listed.
    pids: PathBuf,
    memory: PathBuf,
}

impl ControlGroups {
    /// Of an engine with this parent group and driver.
    pub(crate) fn new(root: &Path, parent: &str, driver: Driver, limits: BuildLimits) -> Self {
        Self {
            root: root.to_owned(),
            parent: parent.trim_matches('/').to_owned(),
            driver,
            limits,
        }
    }

    fn is_unified(&self) -> bool {
        self.root.join("cgroup.controllers").exists()
    }

    /// The folder of a group, of one controller.
    fn folder(&self, controller: &str, group: &str) -> PathBuf {
        if self.is_unified() {
            self.root.join(group)
        } else {
            self.root.join(controller).join(group)
        }
    }

    fn group(&self) -> String {
        format!("{}/buildkit", self.parent)
    }

    /// Sets the limits, of what is there and of what will be.
    pub fn apply(&self) -> Held {
        let result = match self.driver {
            Driver::Cgroupfs => self.make_group().and_then(|()| self.limit(&self.group())),
            Driver::Systemd => self
                .scopes()
                .iter()
                .try_for_each(|scope| self.limit(&format!("system.slice/{scope}"))),
        };
        match result {
            Ok(()) => Held::Yes,
            Err(why) => Held::No(why),
        }
    }

    fn make_group(&self) -> Result<(), String> {
        let fail = |path: &Path, error: &io::Error| format!("{}: {error}", path.display());
        if !self.is_unified() {
            for controller in CONTROLLERS {
                if !self.root.join(controller).is_dir() {
                    return Err(format!("there is no controller `{controller}`"));
                }
                let folder = self.folder(controller, &self.group());
                fs::create_dir_all(&folder).map_err(|error| fail(&folder, &error))?;
            }
            return Ok(());
        }
        let folder = self.root.join(self.group());
        fs::create_dir_all(&folder).map_err(|error| fail(&folder, &error))?;
        // A group has the controllers that all above it pass on.
        let mut above: Vec<&Path> = folder
            .ancestors()
            .skip(1)
            .take_while(|path| path.starts_with(&self.root))
            .collect();
        above.reverse();
        for path in above {
            let file = path.join("cgroup.subtree_control");
            let have = fs::read_to_string(&file).unwrap_or_default();
            for controller in CONTROLLERS {
                if !have.split_whitespace().any(|word| word == controller) {
                    write(&file, &format!("+{controller}"))?;
                }
            }
        }
        Ok(())
    }

    fn limit(&self, group: &str) -> Result<(), String> {
        let limits = &self.limits;
        let share = u64::from(limits.cpu_share.clamp(1, 100));
        let cpu = self.folder("cpu", group);
        let memory = self.folder("memory", group);
        let pids = self.folder("pids", group);
        let most = |limit: Option<String>, none: &str| limit.unwrap_or_else(|| none.to_owned());
        if self.is_unified() {
            write(
                &cpu.join("cpu.weight"),
                &(NORMAL_WEIGHT * share / 100).max(1).to_string(),
            )?;
            let quota = limits
                .cpu_millis
                .map(|millis| format!("{} {PERIOD}", u64::from(millis) * PERIOD / 1000));
            write(&cpu.join("cpu.max"), &most(quota, &format!("max {PERIOD}")))?;
            write(
                &memory.join("memory.max"),
                &most(limits.memory.map(|m| m.to_string()), "max"),
            )?;
        } else {
            write(
                &cpu.join("cpu.shares"),
                &(NORMAL_SHARES * share / 100).max(2).to_string(),
            )?;
            let quota = limits
                .cpu_millis
                .map(|millis| (u64::from(millis) * PERIOD / 1000).to_string());
            write(&cpu.join("cpu.cfs_quota_us"), &most(quota, "-1"))?;
            write(
                &memory.join("memory.limit_in_bytes"),
                &most(limits.memory.map(|m| m.to_string()), "-1"),
            )?;
        }
        write(
            &pids.join("pids.max"),
            &most(limits.processes.map(|p| p.to_string()), "max"),
        )
    }

    /// The systemd scopes of steps that run now.
    fn scopes(&self) -> Vec<String> {
        let folder = self.folder("pids", "system.slice");
        names(&folder)
            .into_iter()
            .filter(|name| {
                name.strip_prefix("docker-")
                    .and_then(|rest| rest.strip_suffix(".scope"))
                    .is_some_and(is_buildkit_id)
            })
            .collect()
    }

    /// The steps that run now, of all builds.
    pub(super) fn steps(&self) -> Vec<Step> {
        let groups: Vec<String> = match self.driver {
            Driver::Cgroupfs => {
                let group = self.group();
                names(&self.folder("pids", &group))
                    .into_iter()
                    .filter(|name| is_buildkit_id(name))
                    .map(|name| format!("{group}/{name}"))
                    .collect()
            }
            Driver::Systemd => self
                .scopes()
                .into_iter()
                .map(|scope| format!("system.slice/{scope}"))
                .collect(),
        };
        groups
            .iter()
            .map(|group| Step {
                pids: self.folder("pids", group),
                memory: self.folder("memory", group),
            })
            .collect()
    }

    /// With the `systemd` driver new steps must be given their limits.
    pub(super) fn must_follow(&self) -> bool {
        self.driver == Driver::Systemd
    }

    /// The most processes of all steps together.
    pub(super) fn processes(&self) -> Option<u64> {
        self.limits.processes.map(u64::from)
    }

    /// The most that a build may write.
    pub(super) fn disk(&self) -> Option<u64> {
        self.limits.disk
    }
}

impl Step {
    /// How many processes it has.
    pub(super) fn count(&self) -> u64 {
        number(&self.pids.join("pids.current"))
    }

    /// Its processes, at most so many.
    pub(super) fn processes(&self, most: usize) -> Vec<u32> {
        let text = fs::read_to_string(self.pids.join("cgroup.procs")).unwrap_or_default();
        text.lines()
            .filter_map(|line| line.parse().ok())
            .take(most)
            .collect()
    }

    /// How many of its processes were killed for want of memory.
    pub(super) fn killed(&self) -> u64 {
        let text = fs::read_to_string(self.memory.join("memory.oom_control"))
            .or_else(|_| fs::read_to_string(self.memory.join("memory.events")))
            .unwrap_or_default();
        text.lines()
            .find_map(|line| line.strip_prefix("oom_kill "))
            .and_then(|count| count.trim().parse().ok())
            .unwrap_or(0)
    }
}

fn is_buildkit_id(name: &str) -> bool {
    name.len() == ID && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

fn number(file: &Path) -> u64 {
    fs::read_to_string(file)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0)
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    // What stands there already is not written again: others may read along.
    if fs::read_to_string(file).is_ok_and(|now| now.trim() == text) {
        return Ok(());
    }
    fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(file)
        .and_then(|mut open| io::Write::write_all(&mut open, text.as_bytes()))
        .map_err(|error| format!("{}: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> BuildLimits {
        BuildLimits {
            cpu_share: 10,
            cpu_millis: Some(1500),
            memory: Some(1 << 30),
            processes: Some(100),
            disk: None,
        }
    }

    /// A kernel's files, as far as they are written.
    fn touch(root: &Path, files: &[&str]) {
        for file in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
    }

    fn read(root: &Path, file: &str) -> String {
        fs::read_to_string(root.join(file)).unwrap()
    }

    #[test]
    fn version_1_gets_shares_quota_memory_and_processes() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        touch(
            root,
            &[
                "cpu/docker/buildkit/cpu.shares",
                "cpu/docker/buildkit/cpu.cfs_quota_us",
                "memory/docker/buildkit/memory.limit_in_bytes",
                "pids/docker/buildkit/pids.max",
                "pids/docker/buildkit/fbxb2cuvu4douc5kq8r676d11/pids.current",
                "pids/docker/buildkit/other/pids.current",
            ],
        );
        let groups = ControlGroups::new(root, "/docker", Driver::Cgroupfs, limits());
        assert_eq!(groups.apply(), Held::Yes);
        assert_eq!(read(root, "cpu/docker/buildkit/cpu.shares"), "102");
        assert_eq!(read(root, "cpu/docker/buildkit/cpu.cfs_quota_us"), "150000");
        assert_eq!(
            read(root, "memory/docker/buildkit/memory.limit_in_bytes"),
            "1073741824"
        );
        assert_eq!(read(root, "pids/docker/buildkit/pids.max"), "100");
        assert_eq!(groups.steps().len(), 1);
        let open = ControlGroups::new(
            root,
            "docker",
            Driver::Cgroupfs,
            BuildLimits {
                cpu_millis: None,
                memory: None,
                processes: None,
                ..limits()
            },
        );
        assert_eq!(open.apply(), Held::Yes);
        assert_eq!(read(root, "cpu/docker/buildkit/cpu.cfs_quota_us"), "-1");
        assert_eq!(read(root, "pids/docker/buildkit/pids.max"), "max");
    }

    #[test]
    fn version_2_passes_the_controllers_on_first() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        touch(
            root,
            &[
                "cgroup.controllers",
                "cgroup.subtree_control",
                "docker/cgroup.subtree_control",
                "docker/buildkit/cpu.weight",
                "docker/buildkit/cpu.max",
                "docker/buildkit/memory.max",
                "docker/buildkit/pids.max",
            ],
        );
        fs::write(root.join("docker/cgroup.subtree_control"), "cpu pids\n").unwrap();
        let groups = ControlGroups::new(root, "docker", Driver::Cgroupfs, limits());
        assert_eq!(groups.apply(), Held::Yes);
        assert_eq!(read(root, "cgroup.subtree_control"), "+pids");
        assert_eq!(read(root, "docker/cgroup.subtree_control"), "+memory");
        assert_eq!(read(root, "docker/buildkit/cpu.weight"), "10");
        assert_eq!(read(root, "docker/buildkit/cpu.max"), "150000 100000");
        assert_eq!(read(root, "docker/buildkit/memory.max"), "1073741824");
    }

    #[test]
    fn with_systemd_each_step_gets_them_and_no_container() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let step = "system.slice/docker-fbxb2cuvu4douc5kq8r676d11.scope";
        let container = format!("system.slice/docker-{}.scope", "a".repeat(64));
        for group in [step, container.as_str()] {
            for file in ["cpu.weight", "cpu.max", "memory.max", "pids.max"] {
                touch(root, &[&format!("{group}/{file}")]);
            }
        }
        touch(root, &["cgroup.controllers"]);
        let groups = ControlGroups::new(root, "docker", Driver::Systemd, limits());
        assert_eq!(groups.apply(), Held::Yes);
        assert_eq!(read(root, &format!("{step}/pids.max")), "100");
        assert_eq!(read(root, &format!("{container}/pids.max")), "");
        assert_eq!(groups.steps().len(), 1);
    }

    #[test]
    fn what_does_not_hold_says_why() {
        let root = tempfile::tempdir().unwrap();
        let groups = ControlGroups::new(root.path(), "docker", Driver::Cgroupfs, limits());
        assert_eq!(
            groups.apply(),
            Held::No("there is no controller `cpu`".to_owned())
        );
    }
}
