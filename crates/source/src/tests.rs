use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use nonna_engine::error::Code;
use nonna_model::context::{ContextLimits, EntryKind, FrameDecoder, FrameEvent};

use super::*;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("app")
    }

    fn cache(&self) -> PathBuf {
        self.0.path().join("cache")
    }

    fn with(self, files: &[(&str, &str)]) -> Self {
        fs::create_dir_all(self.path()).unwrap();
        for (path, content) in files {
            let path = self.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        self
    }

    fn options(&self) -> ScanOptions {
        ScanOptions {
            cache: Some(self.cache()),
            ..ScanOptions::default()
        }
    }

    fn scan(&self) -> nonna_engine::error::Result<Scanned> {
        scan(&self.path(), &self.options())
    }

    fn paths(&self) -> Vec<String> {
        paths(&self.scan().unwrap())
    }
}

fn paths(scanned: &Scanned) -> Vec<String> {
    scanned.manifest.entries.iter().map(|e| e.path.clone()).collect()
}

#[test]
fn everything_belongs_to_it_but_git_and_the_manifest() {
    let folder = Folder::new().with(&[
        (".git/config", ""),
        ("sub/.git", "gitdir: x"),
        (".hidden", ""),
        ("nonna.toml", ""),
        ("sub/nonna.toml", ""),
        ("a b/c", ""),
    ]);
    assert_eq!(folder.paths(), [".hidden", "a b/c", "sub/nonna.toml"]);
    fs::write(folder.path().join(".dockerignore"), "!nonna.toml").unwrap();
    assert!(folder.paths().contains(&"nonna.toml".to_owned()));
}

#[test]
fn dockerignore_s_last_matching_line_decides() {
    let folder = Folder::new().with(&[
        (".dockerignore", "# a comment\n*.md\n!README*.md\nREADME-secret.md\n/docs\n!docs/keep/*.txt\n**/tmp\nDockerfile\n .dockerignore \n"),
        ("Dockerfile", ""),
        ("x.md", ""),
        ("sub/x.md", ""),
        ("README.md", ""),
        ("README-secret.md", ""),
        ("docs/a.txt", ""),
        ("docs/keep/a.txt", ""),
        ("docs/keep/a.png", ""),
        ("sub/tmp/x", ""),
        ("tmp", ""),
    ]);
    assert_eq!(
        folder.paths(),
        [
            ".dockerignore",
            "Dockerfile",
            "README.md",
            "docs/keep/a.txt",
            "sub/x.md"
        ]
    );
}

#[test]
fn everything_out_and_some_back_in() {
    let folder = Folder::new().with(&[
        (".dockerignore", "*\n!src\n!**/*.lock\nsrc/target\n"),
        ("src/main.rs", ""),
        ("src/target/x", ""),
        ("deep/down/a.lock", ""),
        ("deep/down/a.txt", ""),
    ]);
    assert_eq!(
        folder.paths(),
        [".dockerignore", "deep/down/a.lock", "src/main.rs"]
    );
}

#[test]
fn a_dockerfile_brings_its_own_rules() {
    let folder = Folder::new().with(&[
        (".dockerignore", "b"),
        ("docker/web.Dockerfile", ""),
        ("docker/web.Dockerfile.dockerignore", "a\ndocker\n"),
        ("a", ""),
        ("b", ""),
    ]);
    let options = ScanOptions {
        dockerfile: "docker/web.Dockerfile".into(),
        ..folder.options()
    };
    assert_eq!(
        paths(&scan(&folder.path(), &options).unwrap()),
        [
            ".dockerignore",
            "b",
            "docker/web.Dockerfile",
            "docker/web.Dockerfile.dockerignore"
        ]
    );
}

#[test]
fn gitignore_counts_where_there_is_no_dockerignore() {
    let folder = Folder::new().with(&[
        (".gitignore", "node_modules/\n*.log\n!keep.log\n"),
        ("node_modules/x/index.js", ""),
        ("a.log", ""),
        ("keep.log", ""),
        ("sub/.gitignore", "!b.log\nbuild\n"),
        ("sub/b.log", ""),
        ("sub/c.log", ""),
        ("sub/build/x", ""),
        ("index.js", ""),
    ]);
    assert_eq!(
        folder.paths(),
        [
            ".gitignore",
            "index.js",
            "keep.log",
            "sub/.gitignore",
            "sub/b.log"
        ]
    );
}

#[test]
fn rules_from_above_count_within_one_repository() {
    let folder = Folder::new().with(&[
        (".git/info/exclude", "*.local\n"),
        (".gitignore", "*.log\n/dist/\n"),
        ("web/a.log", ""),
        ("web/a.local", ""),
        ("web/a.txt", ""),
        ("dist/index.html", ""),
        ("dist/x.log", ""),
    ]);
    let scan = |sub: &str| paths(&scan(&folder.path().join(sub), &folder.options()).unwrap());
    assert_eq!(scan("web"), ["a.txt"]);
    // Whoever deploys the very folder that is left out means it.
    assert_eq!(scan("dist"), ["index.html", "x.log"]);
}

#[test]
fn links_and_modes_are_kept_and_special_files_are_not() {
    let folder = Folder::new().with(&[("run.sh", "x"), ("plain", "y"), ("sub/z", "")]);
    fs::set_permissions(folder.path().join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("../plain", folder.path().join("sub/link")).unwrap();
    symlink("missing", folder.path().join("dangling")).unwrap();
    fs::create_dir(folder.path().join("empty")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("s")).unwrap();
    let scanned = folder.scan().unwrap();
    let kind = |path: &str| scanned.manifest.get(path).map(|e| e.kind.clone());
    assert!(matches!(
        kind("run.sh"),
        Some(EntryKind::File {
            executable: true,
            size: 1,
            ..
        })
    ));
    assert!(matches!(
        kind("plain"),
        Some(EntryKind::File {
            executable: false,
            ..
        })
    ));
    assert_eq!(
        kind("sub/link"),
        Some(EntryKind::Symlink {
            target: "../plain".into()
        })
    );
    assert_eq!(
        kind("dangling"),
        Some(EntryKind::Symlink {
            target: "missing".into()
        })
    );
    assert_eq!(kind("empty"), Some(EntryKind::Directory));
    assert_eq!(kind("sub"), None);
    assert_eq!(kind("s"), None);
    assert_eq!(
        scanned.warnings,
        ["s is a socket: left out of the build context."]
    );
}

#[test]
fn a_link_out_of_the_folder_is_refused_by_name() {
    let folder = Folder::new().with(&[("a", "")]);
    symlink("/etc/passwd", folder.path().join("sly")).unwrap();
    let error = folder.scan().unwrap_err();
    assert_eq!(error.code, Code::InvalidContext);
    assert!(
        error.message.contains("`sly`") && error.message.contains("/etc/passwd"),
        "{error}"
    );
    assert!(error.hint.is_some());
    fs::write(folder.path().join(".dockerignore"), "sly").unwrap();
    assert_eq!(folder.paths(), [".dockerignore", "a"]);
}

#[test]
fn too_much_is_refused_before_it_is_read() {
    let folder = Folder::new().with(&[("big", "123456"), ("small", "1")]);
    let options = ScanOptions {
        limits: ContextLimits {
            entries: 10,
            total_size: 6,
        },
        ..folder.options()
    };
    let error = scan(&folder.path(), &options).unwrap_err();
    assert_eq!(error.code, Code::InvalidContext);
    assert_eq!(error.details.first().map(String::as_str), Some("6 bytes: big"));
}

#[test]
fn what_is_no_folder_is_said_so() {
    let folder = Folder::new().with(&[("a", "")]);
    assert_eq!(
        scan(&folder.path().join("b"), &folder.options())
            .unwrap_err()
            .code,
        Code::NotFound
    );
    assert_eq!(
        scan(&folder.path().join("a"), &folder.options())
            .unwrap_err()
            .code,
        Code::InvalidInput
    );
}

#[test]
fn a_bad_pattern_is_named_with_its_line() {
    let folder = Folder::new().with(&[(".dockerignore", "ok\n\na[\n")]);
    let error = folder.scan().unwrap_err();
    assert_eq!(
        error.message,
        "`a[` in .dockerignore, line 3, is no pattern: a `[` is not closed."
    );
}

#[test]
fn the_digest_depends_on_the_files_alone() {
    let files = [("b", "2"), ("a/x", "1"), ("c", "")];
    let mut turned = files;
    turned.reverse();
    let one = Folder::new().with(&files).scan().unwrap();
    let other = Folder::new().with(&turned).scan().unwrap();
    assert_eq!(one.digest, other.digest);
    let changed = Folder::new()
        .with(&[("b", "2"), ("a/x", "1"), ("c", "!")])
        .scan()
        .unwrap();
    assert_ne!(one.digest, changed.digest);
}

/// Sets a file's times into the past, as they are for source that was not
/// just written. The change time cannot be set, so this waits for it.
fn settle() {
    std::thread::sleep(std::time::Duration::from_millis(130));
}

#[test]
fn unchanged_files_are_not_read_again_and_changed_ones_are() {
    let folder = Folder::new().with(&[("a", "1234"), ("b", "5678")]);
    settle();
    let first = folder.scan().unwrap();
    assert_eq!(first.read, 8);
    let again = folder.scan().unwrap();
    assert_eq!((again.read, &again.digest), (0, &first.digest));
    fs::write(folder.path().join("a"), "4321").unwrap();
    let changed = folder.scan().unwrap();
    assert_eq!(changed.read, 4);
    assert_ne!(changed.digest, first.digest);
    assert!(fs::read_dir(folder.cache()).unwrap().count() == 1);
}

#[test]
fn an_edit_in_the_same_tick_is_seen() {
    // Same size, and often the same times: many rounds, so that some fall
    // within one tick of the file system's clock.
    let folder = Folder::new().with(&[("a", "0")]);
    let mut before = folder.scan().unwrap().digest;
    for round in 1..200 {
        fs::write(folder.path().join("a"), format!("{}", round % 10)).unwrap();
        let now = folder.scan().unwrap().digest;
        assert_ne!(now, before, "round {round}");
        before = now;
    }
}

#[test]
fn an_edit_that_keeps_the_modification_time_is_seen() {
    let folder = Folder::new().with(&[("a", "1")]);
    let path = folder.path().join("a");
    let old = fs::metadata(&path).unwrap().modified().unwrap();
    settle();
    let before = folder.scan().unwrap();
    fs::write(&path, "2").unwrap();
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(old)
        .unwrap();
    assert_ne!(folder.scan().unwrap().digest, before.digest);
}

#[test]
fn a_damaged_cache_is_no_harm() {
    let folder = Folder::new().with(&[("a", "1")]);
    settle();
    let before = folder.scan().unwrap().digest;
    for entry in fs::read_dir(folder.cache()).unwrap() {
        fs::write(entry.unwrap().path(), "nonna files 1\njunk\n\0\n").unwrap();
    }
    assert_eq!(folder.scan().unwrap().digest, before);
}

fn unpack(mut stream: &[u8]) -> Vec<Vec<u8>> {
    let mut decoder = FrameDecoder::new();
    let mut found = Vec::new();
    while let Some(event) = decoder.next(&mut stream).unwrap() {
        match event {
            FrameEvent::Begin { .. } => found.push(Vec::new()),
            FrameEvent::Data(data) => found.last_mut().unwrap().extend_from_slice(data),
            FrameEvent::End => {}
        }
    }
    decoder.finish().unwrap();
    found
}

fn shas(scanned: &Scanned) -> Vec<String> {
    scanned
        .manifest
        .blobs()
        .keys()
        .map(|sha| (*sha).to_owned())
        .collect()
}

#[test]
fn frames_carry_each_content_once() {
    let big = "x".repeat(700_000);
    let folder = Folder::new().with(&[("a", "1"), ("b", "1"), ("c", ""), ("d", &big)]);
    let scanned = folder.scan().unwrap();
    let shas = shas(&scanned);
    assert_eq!(shas.len(), 3);
    let mut frames = scanned.frames(&shas);
    let length = frames.remaining();
    let mut stream = Vec::new();
    frames.read_to_end(&mut stream).unwrap();
    assert_eq!(stream.len() as u64, length);
    let mut sizes: Vec<usize> = unpack(&stream).iter().map(Vec::len).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [0, 1, 700_000]);
}

#[tokio::test]
async fn the_stream_is_the_same_as_the_reader() {
    use futures_util::TryStreamExt;
    let big = "y".repeat(700_000);
    let folder = Folder::new().with(&[("a", "1"), ("d", &big)]);
    let scanned = folder.scan().unwrap();
    let shas = shas(&scanned);
    let mut expected = Vec::new();
    scanned.frames(&shas).read_to_end(&mut expected).unwrap();
    let pieces: Vec<bytes::Bytes> = scanned.frame_stream(&shas).try_collect().await.unwrap();
    assert_eq!(pieces.concat(), expected);
}

#[test]
fn a_file_that_changed_meanwhile_is_not_sent() {
    let folder = Folder::new().with(&[("a", "1234")]);
    let scanned = folder.scan().unwrap();
    for content in ["4321", "12"] {
        fs::write(folder.path().join("a"), content).unwrap();
        let error = scanned
            .frames(&shas(&scanned))
            .read_to_end(&mut Vec::new())
            .unwrap_err();
        assert!(
            error.to_string().contains("changed while it was being sent"),
            "{error}"
        );
    }
    assert!(scanned.open_blob("nothing").is_err());
}

#[test]
fn a_folder_where_nothing_may_be_read_is_named() {
    // Root may read anything, so this takes a name that is no UTF-8.
    use std::os::unix::ffi::OsStrExt;
    let folder = Folder::new().with(&[("a", "")]);
    let name = std::ffi::OsStr::from_bytes(b"b\xff");
    fs::write(folder.path().join(name), "").unwrap();
    let error = folder.scan().unwrap_err();
    assert_eq!(error.code, Code::InvalidContext);
    assert!(error.message.contains("not valid UTF-8"), "{error}");
    fs::write(folder.path().join(".dockerignore"), "b*").unwrap();
    assert_eq!(folder.paths(), [".dockerignore", "a"]);
}
