use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// Writes a log as Docker does.
struct Engine {
    path: PathBuf,
    files: u32,
    time: i64,
}

impl Engine {
    fn new(folder: &Path, files: u32) -> Self {
        let engine = Self {
            path: folder.join("c-json.log"),
            files,
            time: 0,
        };
        File::create(&engine.path).unwrap();
        engine
    }

    fn raw(&self, bytes: &[u8]) {
        let mut file = OpenOptions::new().append(true).open(&self.path).unwrap();
        file.write_all(bytes).unwrap();
    }

    fn entry(&mut self, stderr: bool, text: &str) -> String {
        self.time += 1;
        let time = jiff::Timestamp::from_nanosecond(self.time.into()).unwrap();
        let stream = if stderr { "stderr" } else { "stdout" };
        format!(
            "{{\"log\":{},\"stream\":\"{stream}\",\"time\":\"{time}\"}}\n",
            serde_json::to_string(text).unwrap()
        )
    }

    fn print(&mut self, stderr: bool, text: &str) {
        let entry = self.entry(stderr, text);
        self.raw(entry.as_bytes());
    }

    fn numbered(&self, number: u32) -> PathBuf {
        PathBuf::from(format!("{}.{number}", self.path.display()))
    }

    fn rotate(&self, compress: bool) {
        for number in (1..self.files).rev() {
            for gz in ["", ".gz"] {
                let from = PathBuf::from(format!("{}{gz}", self.numbered(number).display()));
                let to = format!("{}{gz}", self.numbered(number + 1).display());
                if from.exists() {
                    match number + 1 < self.files {
                        true => fs::rename(&from, to).unwrap(),
                        false => fs::remove_file(&from).unwrap(),
                    }
                }
            }
        }
        fs::rename(&self.path, self.numbered(1)).unwrap();
        File::create(&self.path).unwrap();
        if compress {
            let gz = File::create(format!("{}.gz", self.numbered(1).display())).unwrap();
            let mut encoder = flate2::write::GzEncoder::new(gz, flate2::Compression::fast());
            encoder.write_all(&fs::read(self.numbered(1)).unwrap()).unwrap();
            encoder.finish().unwrap();
            fs::remove_file(self.numbered(1)).unwrap();
        }
    }
}

fn container() -> Container {
    Container {
        id: "c".into(),
        service: "a/b/c".into(),
        replica: "v1.0".into(),
    }
}

fn reader(engine: &Engine, position: &Position) -> Reader {
    let file = LogFile {
        path: engine.path.clone(),
        format: FileFormat::Json,
        hide: None,
        after: None,
    };
    Reader::open(file, *position).unwrap()
}

/// Reads all there is; answers lines as `stdout text`.
fn drain(reader: &mut Reader) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let mut lines = Lines::new(&container());
        let more = reader.parse(&mut lines);
        all.extend(lines.batch().iter().map(|record| {
            format!(
                "{} {}",
                record.source.stream.name(),
                String::from_utf8_lossy(record.line)
            )
        }));
        if !more && reader.fill().unwrap() != Filled::Read {
            return all;
        }
    }
}

#[test]
fn positions_hold_over_rotation_and_compression() {
    for compress in [false, true] {
        let temp = tempfile::tempdir().unwrap();
        let mut engine = Engine::new(temp.path(), 3);
        engine.print(false, "one\n");
        let mut first = reader(&engine, &Position::default());
        assert_eq!(drain(&mut first), ["stdout one"]);
        let position = first.position();
        engine.print(false, "two\n");
        engine.rotate(compress);
        engine.print(true, "three\n");
        engine.rotate(compress);
        engine.print(false, "four\n");
        let want = ["stdout two", "stderr three", "stdout four"];
        // Whoever has them open, and whoever comes anew.
        assert_eq!(drain(&mut first), want);
        let mut second = reader(&engine, &position);
        assert_eq!(drain(&mut second), want);
        assert_eq!(second.position(), first.position());
    }
}

#[test]
fn what_was_read_in_another_way_is_not_read_again() {
    let temp = tempfile::tempdir().unwrap();
    let mut engine = Engine::new(temp.path(), 3);
    for n in 1..=5 {
        engine.print(false, &format!("{n}\n"));
    }
    let file = LogFile {
        path: engine.path.clone(),
        format: FileFormat::Json,
        hide: Some("5\n"),
        after: Some(2),
    };
    let mut open = Reader::open(file.clone(), Position::default()).unwrap();
    assert_eq!(drain(&mut open), ["stdout 3", "stdout 4"]);
    // With a position it is not asked.
    engine.time = 0;
    engine.print(false, "6\n");
    let mut open = Reader::open(file, open.position()).unwrap();
    assert_eq!(drain(&mut open), ["stdout 6"]);
}

#[test]
fn lines_that_were_removed_before_they_were_read_are_told() {
    let temp = tempfile::tempdir().unwrap();
    let mut engine = Engine::new(temp.path(), 3);
    engine.print(false, "one\n");
    let mut first = reader(&engine, &Position::default());
    drain(&mut first);
    for _ in 0..3 {
        engine.rotate(false);
        engine.print(false, "x\n");
    }
    for mut reader in [reader(&engine, &first.position()), first] {
        let lines = drain(&mut reader);
        assert!(
            lines[0].starts_with("proxy lines of this replica were lost"),
            "{lines:?}"
        );
        assert_eq!(&lines[1..], ["stdout x", "stdout x", "stdout x"]);
    }
}

#[test]
fn a_log_that_was_made_shorter_is_read_from_its_start() {
    let temp = tempfile::tempdir().unwrap();
    let mut engine = Engine::new(temp.path(), 3);
    engine.print(false, "a long first line\n");
    engine.print(false, "another\n");
    let mut open = reader(&engine, &Position::default());
    assert_eq!(drain(&mut open).len(), 2);
    File::create(&engine.path).unwrap();
    engine.print(false, "new\n");
    for mut reader in [reader(&engine, &open.position()), open] {
        let lines = drain(&mut reader);
        assert!(lines[0].starts_with("proxy "), "{lines:?}");
        assert_eq!(&lines[1..], ["stdout new"]);
    }
}

#[test]
fn torn_entries_wait_for_their_rest_and_damaged_ones_are_told() {
    let temp = tempfile::tempdir().unwrap();
    let mut engine = Engine::new(temp.path(), 3);
    engine.print(false, "one\n");
    let entry = engine.entry(false, "two\n");
    let (start, rest) = entry.split_at(20);
    engine.raw(start.as_bytes());
    let mut open = reader(&engine, &Position::default());
    assert_eq!(drain(&mut open), ["stdout one"]);
    let mut again = reader(&engine, &open.position());
    engine.raw(rest.as_bytes());
    assert_eq!(drain(&mut open), ["stdout two"]);
    assert_eq!(drain(&mut again), ["stdout two"]);
    // A power failure leaves zeros.
    engine.raw(&[0; 100]);
    engine.raw(b"\n");
    engine.print(false, "three\n");
    let lines = drain(&mut open);
    assert!(lines[0].starts_with("proxy 101 bytes"), "{lines:?}");
    assert_eq!(lines[1], "stdout three");
    // A file that never gets its last entry whole.
    engine.raw(b"{\"log\":\"half");
    engine.rotate(false);
    engine.print(false, "four\n");
    let lines = drain(&mut open);
    assert!(lines[0].starts_with("proxy 12 bytes"), "{lines:?}");
    assert_eq!(lines[1], "stdout four");
}

#[test]
fn pieces_of_long_lines_are_joined_over_rotation() {
    let temp = tempfile::tempdir().unwrap();
    let mut engine = Engine::new(temp.path(), 3);
    let piece = "x".repeat(16 * 1024);
    engine.print(false, &piece);
    engine.print(true, "between\n");
    let mut open = reader(&engine, &Position::default());
    assert_eq!(drain(&mut open), ["stderr between"]);
    let position = open.position();
    engine.rotate(false);
    engine.print(true, "after\n");
    engine.print(false, "end\n");
    for mut reader in [open, reader(&engine, &position)] {
        assert_eq!(
            drain(&mut reader),
            ["stderr after".to_owned(), format!("stdout {piece}end")]
        );
    }
}

#[tokio::test]
async fn what_a_removed_container_printed_last_is_read() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().join("c");
    fs::create_dir(&folder).unwrap();
    let mut engine = Engine::new(&folder, 3);
    engine.print(false, "one\n");
    let files = EngineFiles::new();
    let file = LogFile {
        path: engine.path.clone(),
        format: FileFormat::Json,
        hide: None,
        after: None,
    };
    let mut output = files.open(&container(), file.clone(), None).await.unwrap();
    let mut lines = Lines::new(&container());
    assert_eq!(output.read(&mut lines).await.unwrap(), Read::More);
    // It waits, and is woken by what is written.
    let writing = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        engine.print(false, "two\n");
    };
    let (read, ()) = tokio::join!(output.read(&mut lines), writing);
    assert_eq!((read.unwrap(), lines.batch().len()), (Read::More, 2));
    for n in 0..50_000 {
        let entry = engine.entry(false, &format!("{n}\n"));
        if n == 0 {
            fs::write(temp.path().join("last"), "").unwrap();
        }
        let mut last = OpenOptions::new()
            .append(true)
            .open(temp.path().join("last"))
            .unwrap();
        last.write_all(entry.as_bytes()).unwrap();
    }
    engine.raw(&fs::read(temp.path().join("last")).unwrap());
    engine.print(false, "no end");
    fs::remove_dir_all(&folder).unwrap();
    let mut seen = 0;
    loop {
        let mut lines = Lines::new(&container());
        let read = output.read(&mut lines).await.unwrap();
        seen += lines.batch().len();
        if read == Read::End {
            assert_eq!(lines.batch().get(0).unwrap().line, b"no end");
            break;
        }
    }
    assert_eq!(seen, 50_001);
    // What is gone has ended.
    let mut gone = files.open(&container(), file, None).await.unwrap();
    assert_eq!(gone.read(&mut lines).await.unwrap(), Read::End);
}

#[derive(Debug, Clone)]
enum Act {
    Print(bool, bool),
    Rotate(bool),
    Read,
    /// The process ends without what it read last being kept.
    Crash,
    /// It ends behind what was kept.
    Restart,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (any::<bool>(), any::<bool>()).prop_map(|(stderr, whole)| Act::Print(stderr, whole)),
        1 => any::<bool>().prop_map(Act::Rotate),
        3 => Just(Act::Read),
        1 => Just(Act::Crash),
        1 => Just(Act::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn each_line_comes_once(acts in proptest::collection::vec(act(), 1..60)) {
        let temp = tempfile::tempdir().unwrap();
        // So many files that none is removed.
        let mut engine = Engine::new(temp.path(), 99);
        let mut kept = (Vec::new(), Position::default());
        let mut open = reader(&engine, &kept.1);
        let mut unkept = Vec::new();
        let mut want: [String; 2] = Default::default();
        for (n, act) in acts.iter().enumerate() {
            match act {
                Act::Print(stderr, whole) => {
                    let text = format!("{n}{}", if *whole { "\n" } else { "," });
                    want[usize::from(*stderr)] += &text;
                    engine.print(*stderr, &text);
                }
                Act::Rotate(compress) => engine.rotate(*compress),
                Act::Read => unkept.extend(drain(&mut open)),
                Act::Crash => {
                    unkept.clear();
                    open = reader(&engine, &kept.1);
                }
                Act::Restart => {
                    kept.0.append(&mut unkept);
                    kept.1 = open.position();
                    open = reader(&engine, &kept.1);
                }
            }
        }
        kept.0.append(&mut unkept);
        kept.0.extend(drain(&mut open));
        for (stderr, text) in want.iter().enumerate() {
            let name = ["stdout ", "stderr "][stderr];
            let got: Vec<_> = kept.0.iter().filter_map(|line| line.strip_prefix(name)).collect();
            let mut lines: Vec<_> = text.split('\n').collect();
            lines.pop();
            prop_assert_eq!(&got, &lines);
        }
        prop_assert!(!kept.0.iter().any(|line| line.starts_with("proxy")));
    }
}
