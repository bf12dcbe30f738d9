//! Output through pipes on a real engine: in any image, for any user, over the
//! restart of the engine, and of a container that is gone at once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test that cannot go on has failed, and says where"
)]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nonna_e2e::second_engine::SecondEngine;
use nonna_e2e::{Installation, Options, engine};
use nonna_logs::capture::engine::{EngineFiles, FileFormat, LogFile};
use nonna_logs::capture::pipe::{
    HINT, HolderOptions, LAUNCHER_IN_CONTAINER, PIPES_IN_CONTAINER, Pipes, hold,
};
use nonna_logs::capture::{Container, Lines, Output, Read};
use serde_json::{Value, json};

/// An engine, and a holder in a thread.
struct Setting {
    engine: SecondEngine,
    folder: tempfile::TempDir,
    pipes: Pipes,
}

impl Setting {
    fn start() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("nonna-pipes-").tempdir()?;
        let root = folder.path().to_owned();
        std::thread::spawn(move || hold(&root, HolderOptions::default()));
        // It takes a moment; a program to start one is not given.
        let deadline = Instant::now() + Duration::from_secs(10);
        let pipes = loop {
            match Pipes::start(folder.path(), Vec::new()) {
                Ok(pipes) => break pipes,
                Err(error) if Instant::now() > deadline => return Err(error.into()),
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        let engine = SecondEngine::start(256)?;
        engine.load("busybox:latest")?;
        Ok(Self {
            engine,
            folder,
            pipes,
        })
    }

    /// Makes a container that prints into pipes; answers its id and their key.
    fn container(&self, command: &[&str], more: &Value) -> anyhow::Result<(String, String)> {
        let prepared = self.pipes.make_ready()?;
        let mut body = json!({
            "Image": "busybox:latest",
            "Entrypoint": [LAUNCHER_IN_CONTAINER],
            "Cmd": command,
            "HostConfig": {
                "Init": true,
                "NetworkMode": "none",
                "SecurityOpt": ["no-new-privileges"],
                "CapDrop": ["ALL"],
                "LogConfig": {"Type": "json-file"},
                "Binds": [
                    format!("{}:{LAUNCHER_IN_CONTAINER}:ro", prepared.launcher.display()),
                    format!("{}:{PIPES_IN_CONTAINER}:ro", prepared.pipes.display()),
                ],
            },
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            match value.as_object() {
                Some(inner) => inner
                    .iter()
                    .for_each(|(name, value)| body[key][name] = value.clone()),
                None => body[key] = value.clone(),
            }
        }
        let answer = self
            .engine
            .post("/containers/create", &serde_json::to_vec(&body)?)?;
        let answer: Value = serde_json::from_str(&answer)?;
        Ok((answer["Id"].as_str().unwrap().to_owned(), prepared.key))
    }

    fn start_container(&self, id: &str) -> anyhow::Result<()> {
        self.engine
            .post(&format!("/containers/{id}/start"), b"")
            .map(drop)
    }

    /// Its exit code, when it has ended.
    fn wait(&self, id: &str) -> anyhow::Result<i64> {
        let answer: Value = serde_json::from_str(&self.engine.post(&format!("/containers/{id}/wait"), b"")?)?;
        Ok(answer["StatusCode"].as_i64().unwrap())
    }

    fn remove(&self, id: &str, key: &str) -> anyhow::Result<()> {
        self.engine.delete(&format!("/containers/{id}?force=true"))?;
        self.pipes.mark_removed(key);
        Ok(())
    }

    /// What the engine itself has kept.
    fn engines_own(&self, id: &str) -> anyhow::Result<Vec<String>> {
        let answer: Value = serde_json::from_str(&self.engine.get(&format!("/containers/{id}/json"))?)?;
        let text = std::fs::read_to_string(answer["LogPath"].as_str().unwrap())?;
        let entries = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        Ok(entries
            .map(|entry| entry["log"].as_str().unwrap().to_owned())
            .collect())
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        // The holder ends with its folder, or when it is asked.
        let _ = std::fs::write(self.folder.path().join("holder.stop"), []);
    }
}

fn container(id: &str) -> Container {
    Container {
        id: id.into(),
        service: "shop/production/web".into(),
        replica: "v1.0".into(),
    }
}

/// Reads so many lines, or to the end.
fn read(output: &mut dyn Output, count: usize) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let reading = async {
        let mut all = Vec::new();
        while all.len() < count {
            let mut lines = Lines::new(&container("x"));
            let read = output.read(&mut lines).await.unwrap();
            output.kept();
            all.extend(lines.batch().iter().map(|record| {
                format!(
                    "{} {}",
                    record.source.stream.name(),
                    String::from_utf8_lossy(record.line)
                )
            }));
            if read == Read::End {
                break;
            }
        }
        all
    };
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(60), reading)
            .await
            .expect("lines come")
    })
}

#[test]
fn any_image_and_any_user_prints_into_pipes() -> anyhow::Result<()> {
    let setting = Setting::start()?;
    // An image that holds one static program and nothing else, not even a
    // folder.
    let folder = tempfile::tempdir()?;
    std::fs::write(
        folder.path().join("p.c"),
        "#include <unistd.h>\nint main(void){return write(1,\"alone\\n\",6)!=6|write(2,\"bad\\n\",4)!=4;}\n",
    )?;
    let status = Command::new("cc")
        .args(["-static", "-o"])
        .arg(folder.path().join("p"))
        .arg(folder.path().join("p.c"))
        .status()?;
    assert!(status.success());
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_path_with_name(folder.path().join("p"), "p")?;
    setting.engine.post(
        "/images/create?fromSrc=-&repo=alone&tag=latest",
        &archive.into_inner()?,
    )?;
    for user in ["0:0", "12345:777"] {
        for read_only in [false, true] {
            let more =
                json!({"Image": "alone:latest", "User": user, "HostConfig": {"ReadonlyRootfs": read_only}});
            let (id, key) = setting.container(&["/p"], &more)?;
            let mut output = setting.pipes.open(&key, &container(&id), None)?;
            setting.start_container(&id)?;
            assert_eq!(setting.wait(&id)?, 0, "{user} {read_only}");
            assert_eq!(setting.engines_own(&id)?, [HINT], "{user} {read_only}");
            setting.remove(&id, &key)?;
            let mut lines = read(&mut *output, 99);
            lines.sort();
            assert_eq!(lines, ["stderr bad", "stdout alone"], "{user} {read_only}");
        }
    }
    // Apps that open their output by its name, as nginx does.
    let script = "echo one > /dev/stdout; echo two >> /proc/self/fd/1; echo three > /dev/stderr; readlink /proc/$$/fd/1 | grep -c output";
    let (id, key) = setting.container(&["sh", "-c", script], &json!({"User": "12345"}))?;
    let mut output = setting.pipes.open(&key, &container(&id), None)?;
    setting.start_container(&id)?;
    setting.wait(&id)?;
    setting.remove(&id, &key)?;
    let mut lines = read(&mut *output, 99);
    lines.sort();
    assert_eq!(lines, ["stderr three", "stdout 1", "stdout one", "stdout two"]);
    Ok(())
}

#[test]
fn a_command_that_is_not_there_ends_as_it_would_without_us() -> anyhow::Result<()> {
    let setting = Setting::start()?;
    for (command, code, why) in [
        ("no-such-program", 127, "No such file or directory"),
        ("/etc/passwd", 126, "Permission denied"),
    ] {
        let (id, _) = setting.container(&[command], &json!({}))?;
        setting.start_container(&id)?;
        assert_eq!(setting.wait(&id)?, code, "{command}");
        let said = setting.engines_own(&id)?.concat();
        assert!(
            said.contains(&format!("[FATAL nonna] exec {command} failed: {why}")),
            "{said}"
        );
    }
    Ok(())
}

#[test]
fn nobody_holds_the_pipes_and_the_engine_keeps_the_output() -> anyhow::Result<()> {
    let setting = Setting::start()?;
    let (id, key) = setting.container(&["echo", "while the machine starts"], &json!({}))?;
    // The holder is gone.
    std::fs::write(setting.folder.path().join("holder.stop"), [])?;
    let err = setting.folder.path().join(&key).join("pipes/err");
    let deadline = Instant::now() + Duration::from_secs(10);
    let is_read = |pipe: &Path| {
        let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::NONBLOCK;
        rustix::fs::open(pipe, flags, rustix::fs::Mode::empty()).is_ok()
    };
    while is_read(&err) {
        assert!(Instant::now() < deadline, "the holder does not end");
        std::thread::sleep(Duration::from_millis(10));
    }
    setting.start_container(&id)?;
    assert_eq!(setting.wait(&id)?, 0);
    assert_eq!(setting.engines_own(&id)?, ["while the machine starts\n"]);
    Ok(())
}

/// Prints numbered lines as fast as a shell can.
const BURST: &str = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); echo line $i; done";

fn numbered(lines: &[String], count: usize) {
    let want: Vec<String> = (1..=count).map(|n| format!("stdout line {n}")).collect();
    assert_eq!(lines.len(), want.len());
    assert!(lines == want);
}

#[test]
fn a_container_that_is_removed_at_once_after_a_burst_loses_nothing() -> anyhow::Result<()> {
    let setting = Setting::start()?;
    let (id, key) = setting.container(&["sh", "-c", BURST], &json!({}))?;
    setting.start_container(&id)?;
    setting.wait(&id)?;
    setting.remove(&id, &key)?;
    // Nobody has read a line until now.
    let mut output = setting.pipes.open(&key, &container(&id), None)?;
    numbered(&read(&mut *output, usize::MAX), 20_000);
    Ok(())
}

#[test]
fn the_engines_files_are_read_over_its_restart_and_a_removal() -> anyhow::Result<()> {
    let mut setting = Setting::start()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let log = json!({"HostConfig": {"LogConfig": {"Type": "json-file", "Config": {"max-size": "300k", "max-file": "30"}}}, "Entrypoint": []});
    let script = format!("{BURST}; sleep 1000");
    let (id, _) = setting.container(&["sh", "-c", &script], &log)?;
    setting.start_container(&id)?;
    let answer: Value = serde_json::from_str(&setting.engine.get(&format!("/containers/{id}/json"))?)?;
    let file = LogFile {
        path: answer["LogPath"].as_str().unwrap().into(),
        format: FileFormat::Json,
        hide: None,
        after: None,
    };
    let files = EngineFiles::new();
    let mut output = runtime.block_on(files.open(&container(&id), file.clone(), None))?;
    let mut lines = read(&mut *output, 5_000);
    let position = output.position();
    drop(output);
    // The engine takes its containers with it, and starts this one again.
    while setting
        .engines_own(&id)
        .is_ok_and(|own| own.last().is_none_or(|last| last != "line 20000\n"))
    {
        std::thread::sleep(Duration::from_millis(50));
    }
    setting.engine.stop_daemon()?;
    setting.engine.start_daemon()?;
    setting.start_container(&id)?;
    let mut output = runtime.block_on(files.open(&container(&id), file, Some(&position)))?;
    let rest = read(&mut *output, 40_000 - lines.len());
    lines.extend(rest);
    numbered(&lines[..20_000], 20_000);
    numbered(&lines[20_000..], 20_000);
    setting.engine.delete(&format!("/containers/{id}?force=true"))?;
    assert_eq!(read(&mut *output, 1), Vec::<String>::new());
    Ok(())
}

/// The processes that hold an installation's pipes.
fn holders(nonna: &Installation) -> Vec<String> {
    let root = nonna.data().join("output").display().to_string();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let is_holder = |entry: &std::fs::DirEntry| {
        let arguments = std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        arguments.contains("\0hold-output\0") && arguments.contains(&root)
    };
    processes
        .filter(is_holder)
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// The numbers that were kept of what the worker counted.
fn counted(nonna: &Installation) -> anyhow::Result<Vec<u64>> {
    let ran = nonna
        .nonna_in("shop", &["logs", "--json", "worker", "--since", "1h"])?
        .ok()?;
    let lines = ran.stdout.lines().map(serde_json::from_str::<Value>);
    let lines: Vec<Value> = lines.collect::<Result<_, _>>()?;
    let number = |line: &Value| line["line"].as_str()?.strip_prefix("count ")?.parse().ok();
    Ok(lines.iter().filter_map(number).collect())
}

#[test]
fn by_every_way_each_line_is_kept_once_though_the_server_is_killed() -> anyhow::Result<()> {
    for way in ["auto", "engine", "pipes"] {
        let mut nonna = Installation::with(Options {
            arguments: vec!["--logs-capture".into(), way.into()],
            ..Options::default()
        })?;
        let script = "i=0; while :; do i=$((i+1)); echo \"count $i\"; usleep 4000; done";
        let manifest = format!(
            "project = \"shop\"\n[services.worker]\nimage = \"nonna-test/app:v1\"\nport = false\n\
             command = [\"sh\", \"-c\", '''{script}''']\nstop_timeout = \"1s\"\n"
        );
        nonna.project("shop", &[("nonna.toml", &manifest)])?;
        nonna.nonna_in("shop", &["deploy"])?.ok()?;
        let held = holders(&nonna);
        assert_eq!(held.len(), usize::from(way == "pipes"), "{way}");
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(700));
            nonna.kill_server()?;
            std::thread::sleep(Duration::from_millis(700));
            nonna.start_server()?;
        }
        let deadline = Instant::now() + Duration::from_secs(30);
        let numbers = loop {
            let numbers = counted(&nonna)?;
            if numbers.len() > 700 {
                break numbers;
            }
            assert!(
                Instant::now() < deadline,
                "{way}: {} lines came\n{}",
                numbers.len(),
                nonna.log()
            );
            std::thread::sleep(Duration::from_millis(200));
        };
        let want: Vec<u64> = (1..=numbers.len() as u64).collect();
        assert!(numbers == want, "{way}: not once each");
        // It is the same process as before.
        assert_eq!(holders(&nonna), held, "{way}");
        if way == "pipes" {
            let containers = engine::containers(nonna.id())?;
            let id = containers[0]["Id"].as_str().unwrap();
            let own = engine::call("GET", &format!("/containers/{id}/logs?stdout=1&stderr=1"))?;
            assert!(own.contains("nonna logs") && !own.contains("count"), "{own}");
        }
        nonna.nonna_in("shop", &["destroy", "--yes"])?.ok()?;
        let output = nonna.data().join("output");
        let left = || {
            let entries = std::fs::read_dir(&output).into_iter().flatten().flatten();
            entries
                .filter(|entry| entry.path().join("pipes").exists())
                .count()
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        while left() > 0 {
            assert!(Instant::now() < deadline, "{way}: pipes of what is gone stay");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    Ok(())
}
