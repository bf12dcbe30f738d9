use std::fs;
use std::io::{Cursor, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use data_encoding::HEXLOWER;
use futures_util::{StreamExt, TryStreamExt};
use nonna_engine::{Code, Error};
use nonna_model::context::{ContextEntry, ContextLimits, ContextManifest, EntryKind, frame_header};
use proptest::prelude::*;
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use super::*;

fn sha(content: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(content))
}

fn file(path: &str, content: &[u8]) -> ContextEntry {
    ContextEntry {
        path: path.into(),
        kind: EntryKind::File {
            size: content.len() as u64,
            sha256: sha(content),
            executable: path.ends_with(".sh"),
        },
    }
}

fn store() -> (tempfile::TempDir, ContextStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = ContextStore::open(dir.path(), ContextLimits::default()).unwrap();
    (dir, store)
}

fn frames(contents: &[&[u8]]) -> Vec<u8> {
    let mut stream = Vec::new();
    for content in contents {
        stream.extend_from_slice(&frame_header(&sha(content), content.len() as u64).unwrap());
        stream.extend_from_slice(content);
    }
    stream
}

/// Every file below the store that is not a manifest.
fn blobs(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for sub in fs::read_dir(dir.join("contexts/blobs")).unwrap() {
        for blob in fs::read_dir(sub.unwrap().path()).unwrap() {
            found.push(blob.unwrap().file_name().into_string().unwrap());
        }
    }
    found.sort();
    found
}

fn temps(dir: &Path) -> usize {
    fs::read_dir(dir.join("contexts/temp")).unwrap().count()
}

async fn collect(store: &ContextStore, digest: &str, options: TarOptions) -> Vec<u8> {
    let pieces: Vec<bytes::Bytes> = store
        .stream_tar(digest, options)
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    pieces.concat()
}

#[tokio::test]
async fn only_what_is_lacking_has_to_be_sent() {
    let (dir, store) = store();
    let first = ContextManifest::new(vec![file("a", b"1"), file("b", b"2"), file("c", b"1")]);
    let announced = store.announce(&first).unwrap();
    assert_eq!(announced.missing.len(), 2, "each content once");
    assert!(!store.has(&announced.digest));
    let body = frames(&[b"1", b"2"]);
    let pieces = body
        .chunks(50)
        .map(|c| Ok::<_, std::io::Error>(bytes::Bytes::copy_from_slice(c)));
    let digest = store
        .receive(&announced.digest, futures_util::stream::iter(pieces))
        .await
        .unwrap();
    assert_eq!(digest, first.digest());
    assert!(store.has(&digest));
    assert_eq!(store.announce(&first).unwrap().missing, Vec::<String>::new());

    let second = ContextManifest::new(vec![file("a", b"1"), file("b", b"3")]);
    assert_eq!(store.announce(&second).unwrap().missing, [sha(b"3")]);
    // All contents are known, only the paths are new: nothing is sent at all.
    let third = ContextManifest::new(vec![file("x", b"1"), file("y", b"2")]);
    let announced = store.announce(&third).unwrap();
    assert!(announced.missing.is_empty() && store.has(&announced.digest));
    assert_eq!(temps(dir.path()), 0);
}

#[test]
fn an_upload_that_is_not_what_was_announced_is_refused() {
    let (dir, store) = store();
    let manifest = ContextManifest::new(vec![file("a", b"hello")]);
    let digest = store.announce(&manifest).unwrap().digest;
    let push = |stream: &[u8]| -> Result<String, Error> {
        let mut upload = store.upload(&digest)?;
        upload.push(stream)?;
        upload.finish()
    };
    let mut wrong = frames(&[b"hello"]);
    *wrong.last_mut().unwrap() = b'!';
    let whole = frames(&[b"hello"]);
    let cut = whole.split_at(whole.len() - 1).0;
    for (stream, what) in [
        (wrong.as_slice(), "not what was announced"),
        (&frames(&[b"other"]), "not announced"),
        (&[b'?'; 80], "cannot be read"),
        (cut, "cut off"),
        (&[], "were not sent"),
    ] {
        let error = push(stream).unwrap_err();
        assert_eq!(error.code, Code::InvalidContext);
        assert!(error.message.contains(what), "{error}");
        assert!(blobs(dir.path()).is_empty());
        assert_eq!(temps(dir.path()), 0);
    }
    assert_eq!(store.upload("sha256:00").unwrap_err().code, Code::NotFound);
    assert_eq!(
        store
            .upload(&format!("sha256:{}", "../".repeat(21) + "x"))
            .unwrap_err()
            .code,
        Code::NotFound
    );
    assert_eq!(push(&whole).unwrap(), digest);
}

#[test]
fn put_blob_keeps_only_what_is_right() {
    let (dir, store) = store();
    let put = |content: &[u8], sha: &str, size| store.put_blob(&mut Cursor::new(content), sha, size);
    assert!(put(b"hello", &sha(b"hello"), 4).is_err());
    assert!(put(b"hello", &sha(b"hello"), 6).is_err());
    assert!(put(b"hello", &sha(b"hallo"), 5).is_err());
    assert!(put(b"hello", "../../etc/x", 5).is_err());
    assert!(blobs(dir.path()).is_empty());
    put(b"hello", &sha(b"hello"), 5).unwrap();
    put(b"hello", &sha(b"hello"), 5).unwrap();
    assert_eq!(blobs(dir.path()), [sha(b"hello")]);
    assert_eq!(temps(dir.path()), 0);
}

#[test]
fn a_process_killed_while_writing_leaves_no_part_of_a_content() {
    // The child writes contents for ever; it is killed at many moments. What
    // is there afterwards must be what its name says.
    if let Ok(dir) = std::env::var("NONNA_TEST_WRITE_BLOBS_TO") {
        let store = ContextStore::open(Path::new(&dir), ContextLimits::default()).unwrap();
        for round in 0_u64.. {
            let content: Vec<u8> = round.to_le_bytes().repeat(100_000);
            store
                .put_blob(&mut Cursor::new(&content), &sha(&content), content.len() as u64)
                .unwrap();
            if round == 0 {
                println!("ready");
            }
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let mut seen = 0;
    for round in 0..6 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "--nocapture",
                "context::tests::a_process_killed_while_writing_leaves_no_part_of_a_content",
            ])
            .env("NONNA_TEST_WRITE_BLOBS_TO", dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Past the harness's own words, until it writes.
        let mut out = child.stdout.take().unwrap();
        let mut text = String::new();
        while !text.contains("ready") {
            let mut byte = [0];
            out.read_exact(&mut byte).unwrap();
            text.push(char::from(byte[0]));
        }
        std::thread::sleep(Duration::from_millis(20 + round * 17));
        child.kill().unwrap();
        child.wait().unwrap();
        for name in blobs(dir.path()) {
            let path = dir.path().join("contexts/blobs").join(&name[..2]).join(&name);
            assert_eq!(sha(&fs::read(path).unwrap()), name);
            seen += 1;
        }
        ContextStore::open(dir.path(), ContextLimits::default()).unwrap();
        assert_eq!(temps(dir.path()), 0, "what was half written is removed");
    }
    assert!(seen > 0, "the child wrote nothing");
}

#[tokio::test]
async fn the_tar_is_the_context_and_always_the_same() {
    let (_dir, store) = store();
    let long = format!("{}/file", "d".repeat(150));
    let mut entries = vec![
        file("run.sh", b"#!"),
        file("sub/a", b"1"),
        file("sub/.env", b"1"),
        file(&long, b"long"),
        file("Dockerfile", b"old"),
    ];
    entries.push(ContextEntry {
        path: "sub/link".into(),
        kind: EntryKind::Symlink { target: "a".into() },
    });
    entries.push(ContextEntry {
        path: "empty".into(),
        kind: EntryKind::Directory,
    });
    let manifest = ContextManifest::new(entries);
    for content in [b"#!".as_slice(), b"1", b"long", b"old"] {
        store
            .put_blob(&mut Cursor::new(content), &sha(content), content.len() as u64)
            .unwrap();
    }
    let digest = store.commit(&manifest).unwrap();
    let options = TarOptions {
        prefix: String::new(),
        extra: vec![ExtraFile {
            path: "Dockerfile".into(),
            content: "new".into(),
        }],
        without_hidden: true,
    };
    let tar = collect(&store, &digest, options.clone()).await;
    assert_eq!(tar, collect(&store, &digest, options).await);
    let mut found = Vec::new();
    for entry in tar::Archive::new(tar.as_slice()).entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut content = String::new();
        entry.read_to_string(&mut content).unwrap();
        let header = entry.header();
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
        assert_eq!(header.mtime().unwrap(), 315_619_200);
        found.push(format!(
            "{} {:o} {:?} {content}",
            entry.path().unwrap().display(),
            header.mode().unwrap(),
            header.entry_type()
        ));
    }
    found.sort();
    let d = "d".repeat(150);
    assert_eq!(
        found,
        [
            "Dockerfile 644 Regular new".to_owned(),
            format!("{d}/ 755 Directory "),
            format!("{d}/file 644 Regular long"),
            "empty/ 755 Directory ".to_owned(),
            "run.sh 755 Regular #!".to_owned(),
            "sub/ 755 Directory ".to_owned(),
            "sub/a 644 Regular 1".to_owned(),
            "sub/link 777 Symlink ".to_owned(),
        ]
    );

    // The other way round: the same context from its own tar.
    let again = store
        .put_tar(collect(&store, &digest, TarOptions::default()).await.as_slice())
        .unwrap();
    assert_eq!(again, digest);
}

#[tokio::test]
async fn a_content_that_the_disk_damaged_is_noticed_and_asked_for_again() {
    let (dir, store) = store();
    let manifest = ContextManifest::new(vec![file("a", b"hello")]);
    for damage in [b"hallo".as_slice(), b"hell"] {
        store
            .put_blob(&mut Cursor::new(b"hello"), &sha(b"hello"), 5)
            .unwrap();
        let digest = store.commit(&manifest).unwrap();
        let name = sha(b"hello");
        fs::write(
            dir.path().join("contexts/blobs").join(&name[..2]).join(&name),
            damage,
        )
        .unwrap();
        let pieces: Vec<_> = store
            .stream_tar(&digest, TarOptions::default())
            .unwrap()
            .collect()
            .await;
        assert!(pieces.last().unwrap().is_err());
        assert_eq!(store.missing(&manifest), [name]);
    }
}

#[test]
fn a_file_is_read_through_links() {
    let (_dir, store) = store();
    let link = |path: &str, target: &str| ContextEntry {
        path: path.into(),
        kind: EntryKind::Symlink {
            target: target.into(),
        },
    };
    let manifest = ContextManifest::new(vec![
        file("docker/Dockerfile", b"FROM x"),
        link("Dockerfile", "d/../docker/Dockerfile"),
        link("d", "docker"),
    ]);
    store
        .put_blob(&mut Cursor::new(b"FROM x"), &sha(b"FROM x"), 6)
        .unwrap();
    let read = |path: &str| store.read_file(&manifest, path, 100).unwrap();
    assert_eq!(read("Dockerfile").as_deref(), Some(b"FROM x".as_slice()));
    assert_eq!(read("d/Dockerfile").as_deref(), Some(b"FROM x".as_slice()));
    assert_eq!(read("docker"), None);
    assert_eq!(read("none"), None);
    assert_eq!(read("docker/Dockerfile/x"), None);
    assert_eq!(
        store.read_file(&manifest, "Dockerfile", 5).unwrap_err().code,
        Code::InvalidContext
    );
}

fn tar_with(entries: &[(EntryType, &str, &str, &[u8])]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for (kind, path, link, content) in entries {
        let mut header = Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        // Past the checks of the library, which would not write such paths.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        tar.append(&header, *content).unwrap();
    }
    tar.into_inner().unwrap()
}

#[test]
fn tars_that_reach_out_are_refused_and_leave_nothing() {
    use EntryType::{Block, Char, Fifo, GNUSparse, Link, Regular, Symlink};
    let (dir, store) = store();
    let ok = (Regular, "ok", "", b"content".as_slice());
    for (entry, words) in [
        ((Regular, "/etc/passwd", "", b"x".as_slice()), "absolute"),
        ((Regular, "../x", "", b"x"), "`..`"),
        ((Regular, "a/../../x", "", b"x"), "`..`"),
        ((Regular, "a\nb", "", b"x"), "control"),
        ((Symlink, "l", "/etc", b""), "leads out"),
        ((Symlink, "l", "../..", b""), "leads out"),
        ((Link, "l", "/etc/passwd", b""), "hard link"),
        ((Link, "l", "../ok", b""), "hard link"),
        ((Link, "l", "later", b""), "hard link"),
        ((Fifo, "f", "", b""), "named pipe"),
        ((Char, "f", "", b""), "device"),
        ((Block, "f", "", b""), "device"),
        ((GNUSparse, "f", "", b""), ""),
        ((Regular, "ok", "", b"again"), "twice"),
        ((Regular, "ok/below", "", b"x"), "not a folder"),
    ] {
        let error = store.put_tar(tar_with(&[ok, entry]).as_slice()).unwrap_err();
        assert_eq!(error.code, Code::InvalidContext, "{error}");
        assert!(error.message.contains(words), "{error} lacks {words}");
        assert!(blobs(dir.path()).is_empty(), "{words}");
        assert_eq!(temps(dir.path()), 0);
    }
    let fine = tar_with(&[
        ok,
        (Link, "hard", "ok", b""),
        (EntryType::Directory, "./d/", "", b""),
    ]);
    let digest = store.put_tar(fine.as_slice()).unwrap();
    let manifest = store.manifest(&digest).unwrap();
    let paths: Vec<&str> = manifest.entries.iter().map(|e| e.path.as_str()).collect();
    assert_eq!(paths, ["d", "hard", "ok"]);
}

#[test]
fn tar_bombs_are_refused_while_they_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let limits = ContextLimits {
        entries: 10,
        total_size: 1000,
    };
    let store = ContextStore::open(dir.path(), limits).unwrap();
    let put = |tar: &[u8]| store.put_tar(tar).unwrap_err();

    // A header that promises much: refused before its content is read.
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_size(1 << 40);
    header.set_path("big").unwrap();
    header.set_cksum();
    let error = put(header.as_bytes());
    assert!(error.message.contains("more than 1000 bytes"), "{error}");

    // Many small files, many hard links to one, many empty folders.
    let names: Vec<String> = (0..200).map(|n| format!("f{n}")).collect();
    let many: Vec<_> = names
        .iter()
        .map(|n| (EntryType::Regular, n.as_str(), "", b"".as_slice()))
        .collect();
    assert!(put(&tar_with(&many)).message.contains("entries"));
    let content = [b'x'; 400];
    let mut links = vec![(EntryType::Regular, "a", "", content.as_slice())];
    links.extend(
        names
            .iter()
            .take(4)
            .map(|n| (EntryType::Link, n.as_str(), "a", b"".as_slice())),
    );
    assert!(put(&tar_with(&links)).message.contains("bytes"));

    // A long name longer than any path: a terabyte that must not be read
    // into memory.
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::GNULongName);
    header.set_size(1 << 40);
    header.set_cksum();
    let endless = Cursor::new(header.as_bytes().to_vec()).chain(std::io::repeat(b'x'));
    let error = store.put_tar(endless).unwrap_err();
    assert!(error.message.contains("too long"), "{error}");

    // Cut off in the middle of a file.
    let whole = tar_with(&[(EntryType::Regular, "a", "", content.as_slice())]);
    let error = put(whole.split_at(700).0);
    assert!(error.message.contains("cut off"), "{error}");
    assert!(blobs(dir.path()).is_empty());
}

#[test]
fn contexts_nobody_uses_are_removed_and_the_others_are_not() {
    let (dir, store) = store();
    for content in [b"1".as_slice(), b"2", b"3"] {
        store
            .put_blob(&mut Cursor::new(content), &sha(content), 1)
            .unwrap();
    }
    let kept = store
        .commit(&ContextManifest::new(vec![file("a", b"1"), file("b", b"2")]))
        .unwrap();
    let old = store
        .commit(&ContextManifest::new(vec![file("a", b"2"), file("b", b"3")]))
        .unwrap();
    let none = Freed::default();
    assert_eq!(
        store.retain(&[], Duration::from_secs(3600), false).unwrap(),
        none,
        "the grace period"
    );
    let would = store
        .retain(std::slice::from_ref(&kept), Duration::ZERO, true)
        .unwrap();
    let freed = store
        .retain(std::slice::from_ref(&kept), Duration::ZERO, false)
        .unwrap();
    assert_eq!(would, freed);
    assert_eq!(
        freed,
        Freed {
            contexts: vec![old.clone()],
            blobs: 1,
            bytes: 1
        }
    );
    assert!(store.has(&kept) && !store.has(&old));
    let mut left = vec![sha(b"1"), sha(b"2")];
    left.sort();
    assert_eq!(blobs(dir.path()), left);
    assert_eq!(store.retain(&[kept], Duration::ZERO, false).unwrap(), none);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever comes, as a tar or as frames: an answer, never a panic, and
    /// nothing under a wrong name.
    #[test]
    fn no_input_makes_a_wrong_content(mut noise in proptest::collection::vec(any::<u8>(), 0..2000), at in 0..512_usize) {
        let (dir, store) = store();
        let _ = store.put_tar(noise.as_slice());
        // A real tar with some bytes of noise in its header.
        let mut tar = tar_with(&[(EntryType::Regular, "a/b", "", b"content"), (EntryType::Symlink, "l", "a", b"")]);
        noise.truncate(8);
        for (byte, new) in tar.iter_mut().skip(at).zip(&noise) {
            *byte = *new;
        }
        if let Ok(digest) = store.put_tar(tar.as_slice()) {
            prop_assert!(store.manifest(&digest).unwrap().validate(&ContextLimits::default()).is_ok());
        }
        for name in blobs(dir.path()) {
            let path = dir.path().join("contexts/blobs").join(&name[..2]).join(&name);
            prop_assert_eq!(sha(&fs::read(path).unwrap()), name);
        }
        prop_assert_eq!(temps(dir.path()), 0);
    }
}
