//! Limits and rights, read back from inside a replica.

use nonna_model::units::Bytes;

use super::setting::Setting;

/// Control groups of version 1 and of version 2 have other names.
async fn group_file(
    setting: &Setting,
    launch: &nonna_engine::ports::runtime::Launch,
    files: [&str; 2],
) -> String {
    let script = format!(
        "cat /sys/fs/cgroup/{} 2>/dev/null || cat /sys/fs/cgroup/{}",
        files[0], files[1]
    );
    let done = setting.exec(launch, &["sh", "-c", &script]).await;
    assert_eq!(done.code, 0, "{done:?}");
    done.stdout.trim().to_owned()
}

pub async fn memory_processor_and_processes_are_limited(setting: &Setting) {
    let mut web = setting.launch("web", &[]);
    web.spec.resources.memory = Some(Bytes(64 * 1024 * 1024));
    web.spec.resources.cpu_millis = Some(500);
    web.spec.resources.pids = 33;
    setting.start(&web, 1).await.unwrap();
    let memory = group_file(setting, &web, ["memory.max", "memory/memory.limit_in_bytes"]).await;
    assert_eq!(memory, (64 * 1024 * 1024).to_string());
    let pids = group_file(setting, &web, ["pids.max", "pids/pids.max"]).await;
    assert_eq!(pids, "33");
    let cpu = group_file(setting, &web, ["cpu.max", "cpu/cpu.cfs_quota_us"]).await;
    assert!(cpu == "50000 100000" || cpu == "50000", "{cpu}");
}

pub async fn replicas_have_few_rights(setting: &Setting) {
    let web = setting.launch("web", &[]);
    setting.start(&web, 1).await.unwrap();
    let script = "cat /proc/$(pidof app)/status";
    let status = setting.exec(&web, &["sh", "-c", script]).await.stdout;
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_ascii_whitespace().nth(1))
            .unwrap_or_else(|| panic!("no {name} in {status}"))
            .to_owned()
    };
    assert_eq!(field("NoNewPrivs:"), "1");
    // CHOWN 0, DAC_OVERRIDE 1, FOWNER 3, KILL 5, SETGID 6, SETUID 7,
    // NET_BIND_SERVICE 10, and no other.
    let bits: u64 = [0, 1, 3, 5, 6, 7, 10].iter().map(|bit| 1_u64 << bit).sum();
    assert_eq!(u64::from_str_radix(&field("CapBnd:"), 16), Ok(bits));
    // Its first process is not the app: somebody buries the dead.
    assert_ne!(field("Pid:"), "1");
}
