use std::fs::{File, OpenOptions};
use std::io::Write;
use std::thread::JoinHandle;

use super::*;
use crate::capture::Read;

/// A holder in a thread, ended with it.
struct Held {
    root: PathBuf,
    thread: Option<JoinHandle<()>>,
}

impl Held {
    fn start(root: &Path, quota: u64) -> Self {
        let folder = root.to_owned();
        let thread = std::thread::spawn(move || hold(&folder, HolderOptions { quota }).unwrap());
        Self {
            root: root.to_owned(),
            thread: Some(thread),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        fs::write(self.root.join(STOP), []).unwrap();
        self.thread.take().unwrap().join().unwrap();
    }
}

fn pipes(root: &Path) -> Pipes {
    let pipes = Pipes {
        root: root.to_owned(),
        watcher: Watcher::new(),
        holder: Vec::new(),
        starting: Mutex::new(()),
    };
    while !pipes.is_held().unwrap() {
        std::thread::sleep(Duration::from_millis(1));
    }
    pipes
}

/// As the launcher opens it.
fn writer(prepared: &Prepared, name: &str) -> File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(prepared.pipes.join(name))
        .unwrap()
}

fn container() -> Container {
    Container {
        id: "c".into(),
        service: "a/b/c".into(),
        replica: "v1.0".into(),
    }
}

/// Reads until so many lines were seen, or the end.
async fn read(output: &mut dyn Output, count: usize) -> Vec<String> {
    let mut all = Vec::new();
    while all.len() < count {
        let mut lines = Lines::new(&container());
        let read = output.read(&mut lines).await.unwrap();
        all.extend(lines.batch().iter().map(|record| {
            let stream = record.source.stream.name();
            format!("{stream} {}", String::from_utf8_lossy(record.line))
        }));
        if read == Read::End {
            break;
        }
    }
    all
}

#[test]
fn the_launcher_says_what_is_left_out() {
    assert!(
        LAUNCHER
            .windows(HINT.len())
            .any(|window| window == HINT.as_bytes())
    );
    for path in [
        format!("{PIPES_IN_CONTAINER}/{OUT}"),
        format!("{PIPES_IN_CONTAINER}/{ERR}"),
    ] {
        assert!(
            LAUNCHER
                .windows(path.len())
                .any(|window| window == path.as_bytes()),
            "{path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_container_prints_comes_out_and_ends_with_it() {
    let temp = tempfile::tempdir().unwrap();
    let _held = Held::start(temp.path(), 1 << 30);
    let pipes = pipes(temp.path());
    let prepared = pipes.make_ready().unwrap();
    let mut output = pipes.open(&prepared.key, &container(), None).unwrap();
    let (mut out, mut err) = (writer(&prepared, OUT), writer(&prepared, ERR));
    out.write_all(b"one\ntw").unwrap();
    assert_eq!(read(&mut *output, 1).await, ["stdout one"]);
    err.write_all(b"an error\n").unwrap();
    assert_eq!(read(&mut *output, 1).await, ["stderr an error"]);
    // It goes on where it was, in the middle of a line.
    let mut output = pipes
        .open(&prepared.key, &container(), Some(&output.position()))
        .unwrap();
    out.write_all(b"o\nthr").unwrap();
    assert_eq!(read(&mut *output, 1).await, ["stdout two"]);
    drop((out, err));
    assert_eq!(read(&mut *output, 1).await, ["stdout thr"]);
    // The container is started again.
    let mut out = writer(&prepared, OUT);
    out.write_all(b"four\nlast").unwrap();
    assert_eq!(read(&mut *output, 1).await, ["stdout four"]);
    assert_eq!(pipes.newest_lines(&prepared.key, 2), [b"thr", &b"four"[..]]);
    drop(out);
    pipes.mark_removed(&prepared.key);
    assert_eq!(read(&mut *output, 9).await, ["stdout last"]);
    let all = pipes.all().unwrap();
    assert_eq!(all, [(prepared.key.clone(), Some(container()))]);
    pipes.forget(&prepared.key);
    assert_eq!(pipes.all().unwrap(), []);
}

/// Writes numbered lines; answers the longest a write took.
fn print(file: &mut File, numbers: std::ops::Range<u64>) -> Duration {
    let mut longest = Duration::ZERO;
    for n in numbers {
        let line = format!("{n:08} {}\n", "x".repeat(90));
        let begun = Instant::now();
        file.write_all(line.as_bytes()).unwrap();
        longest = longest.max(begun.elapsed());
    }
    longest
}

#[tokio::test(flavor = "multi_thread")]
async fn each_line_comes_once_over_restarts_of_reader_and_holder() {
    const LINES: u64 = 200_000;
    let temp = tempfile::tempdir().unwrap();
    let mut held = Some(Held::start(temp.path(), 1 << 30));
    let pipes = pipes(temp.path());
    let prepared = pipes.make_ready().unwrap();
    let mut file = writer(&prepared, OUT);
    let printing = std::thread::spawn(move || print(&mut file, 0..LINES));
    let mut position: Option<Vec<u8>> = None;
    let mut seen = 0;
    let mut most = 0;
    for round in 0.. {
        let mut output = pipes
            .open(&prepared.key, &container(), position.as_deref())
            .unwrap();
        for _ in 0..10 {
            if seen == LINES {
                break;
            }
            let mut lines = Lines::new(&container());
            output.read(&mut lines).await.unwrap();
            for record in lines.batch().iter() {
                assert!(
                    record.line.starts_with(format!("{seen:08} ").as_bytes()),
                    "{seen}"
                );
                seen += 1;
            }
            position = Some(output.position());
            output.kept();
        }
        most = most.max(
            spool::segments(&spool_of(&temp.path().join(&prepared.key)))
                .unwrap()
                .len(),
        );
        if seen == LINES {
            break;
        }
        // What was read after the last position is read again by the next.
        let mut lines = Lines::new(&container());
        let _ = tokio::time::timeout(Duration::from_millis(1), output.read(&mut lines)).await;
        if round == 3 {
            // A new holder takes over from the one that is there.
            let next = Held::start(temp.path(), 1 << 30);
            held.as_mut().unwrap().thread.take().unwrap().join().unwrap();
            std::mem::forget(held.replace(next));
        }
    }
    printing.join().unwrap();
    let left = spool::segments(&spool_of(&temp.path().join(&prepared.key)))
        .unwrap()
        .len();
    assert!(left <= 3, "{left} segments are left of at most {most}");
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_quota_every_line_is_counted_and_nobody_waits() {
    const LINES: u64 = 100_000;
    let temp = tempfile::tempdir().unwrap();
    let _held = Held::start(temp.path(), 4 << 20);
    let pipes = pipes(temp.path());
    let prepared = pipes.make_ready().unwrap();
    let mut file = writer(&prepared, OUT);
    print(&mut file, 0..LINES);
    let mut output = pipes.open(&prepared.key, &container(), None).unwrap();
    let (mut whole, mut told) = (0_u64, 0_u64);
    let mut print_more = Some(file);
    loop {
        let mut lines = Lines::new(&container());
        let read = output.read(&mut lines).await.unwrap();
        for record in lines.batch().iter() {
            let line = String::from_utf8_lossy(record.line);
            match record.source.stream.name() {
                "proxy" => {
                    assert!(line.contains("lines"), "{line}");
                    told += line.split(' ').next().unwrap().parse::<u64>().unwrap();
                }
                // The head of a line whose end was dropped is shown, and
                // counted there.
                _ => whole += u64::from(!line.ends_with("was dropped]")),
            }
        }
        output.kept();
        if read == Read::End {
            break;
        }
        // There is room again, after what was kept was read.
        if told > 0
            && let Some(mut file) = print_more.take()
        {
            print(&mut file, LINES..LINES + 10);
            drop(file);
            pipes.mark_removed(&prepared.key);
        }
    }
    assert!(told > 0 && whole > 10);
    assert_eq!(whole + told, LINES + 10);
}
