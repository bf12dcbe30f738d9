//! A backup restores to what was; anything else restores to nothing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test that cannot go on has failed, and says where"
)]

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use nonna_engine::{Code, Error};
use nonna_store::backup::{BackupOptions, Restored, restore};
use nonna_store::records::NewAudit;
use nonna_store::{DataFolder, SealKey, SqliteStore, Store};
use secrecy::SecretString;
use tempfile::TempDir;

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

async fn source() -> (SqliteStore, DataFolder, TempDir) {
    let temp = tempfile::tempdir().unwrap();
    let folder = DataFolder::lock(&temp.path().join("data")).unwrap();
    let store = SqliteStore::open_in(&folder, None).unwrap();
    store.installation().await.unwrap();
    store.put_blob("certificate", "a.example", b"pem").await.unwrap();
    (store, folder, temp)
}

fn options(passphrase: Option<&str>) -> BackupOptions {
    BackupOptions {
        passphrase: passphrase.map(SecretString::from),
        without_key: false,
    }
}

async fn take(store: &SqliteStore, options: BackupOptions) -> Vec<u8> {
    let sink = Sink::default();
    store.backup(options, sink.clone()).await.unwrap();
    std::mem::take(&mut *sink.0.lock().unwrap())
}

fn put_back(backup: &[u8], into: &Path, passphrase: Option<&str>) -> Result<Restored, Error> {
    let passphrase = passphrase.map(SecretString::from);
    restore(backup, into, passphrase.as_ref())
}

/// What is in a folder, but for its lock.
fn left(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let names = entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned());
    names.filter(|name| name != "nonna.lock").collect()
}

async fn assert_same(store: &SqliteStore, folder: &Path) {
    let folder = DataFolder::lock(folder).unwrap();
    let restored = SqliteStore::open_in(&folder, None).unwrap();
    assert_eq!(
        restored.installation().await.unwrap(),
        store.installation().await.unwrap()
    );
    let blob = restored
        .get_blob("certificate", "a.example")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(*blob, b"pem");
}

#[tokio::test]
async fn a_backup_restores_with_and_without_a_passphrase() {
    let (store, _folder, temp) = source().await;
    for passphrase in [None, Some("correct horse")] {
        let backup = take(&store, options(passphrase)).await;
        let into = temp.path().join(format!("restored-{}", passphrase.is_some()));
        let restored = put_back(&backup, &into, passphrase).unwrap();
        assert!(restored.with_key);
        assert_eq!(restored.manifest.nonna, env!("CARGO_PKG_VERSION"));
        assert_same(&store, &into).await;
    }
    assert!(
        left(&temp.path().join("data"))
            .iter()
            .all(|name| !name.starts_with('.')),
        "no copy is left"
    );
}

#[tokio::test]
async fn an_encrypted_backup_holds_nothing_in_the_clear_and_wants_its_passphrase() {
    let (store, folder, temp) = source().await;
    let backup = take(&store, options(Some("correct horse"))).await;
    let key = std::fs::read(folder.seal_key()).unwrap();
    let key = &key[..44];
    assert!(!backup.windows(key.len()).any(|w| w == key));
    let into = temp.path().join("restored");
    for passphrase in [None, Some("wrong horse")] {
        let error = put_back(&backup, &into, passphrase).unwrap_err();
        assert_eq!(error.code, Code::InvalidInput);
        assert!(!format!("{error:?}").contains("horse"));
        assert_eq!(left(&into), [] as [&str; 0]);
    }
    put_back(&backup, &into, Some("correct horse")).unwrap();
}

#[tokio::test]
async fn a_backup_without_the_key_opens_with_the_key() {
    let (store, folder, temp) = source().await;
    let key = SealKey::load(&folder.seal_key()).unwrap().unwrap();
    let without = BackupOptions {
        without_key: true,
        ..options(None)
    };
    let backup = take(&store, without).await;
    let into = temp.path().join("restored");
    assert!(!put_back(&backup, &into, None).unwrap().with_key);
    let folder = DataFolder::lock(&into).unwrap();
    assert_eq!(
        SqliteStore::open_in(&folder, None).unwrap_err().code,
        Code::SealBroken
    );
    SqliteStore::open_in(&folder, Some(key)).unwrap();
}

#[tokio::test]
async fn nothing_is_restored_over_something() {
    let (store, folder, temp) = source().await;
    let backup = take(&store, options(None)).await;
    let error = put_back(&backup, folder.path(), None).unwrap_err();
    assert_eq!(error.code, Code::Conflict, "a server uses it");
    let used = temp.path().join("used");
    std::fs::create_dir(&used).unwrap();
    std::fs::write(used.join("precious"), "x").unwrap();
    let error = put_back(&backup, &used, None).unwrap_err();
    assert_eq!(error.code, Code::Conflict);
    assert!(error.message.contains("precious"), "{error}");
    assert_eq!(left(&used), ["precious"]);
}

#[tokio::test]
async fn what_is_damaged_or_cut_off_restores_nothing() {
    let (store, _folder, temp) = source().await;
    let into = temp.path().join("restored");
    for passphrase in [None, Some("p")] {
        let backup = take(&store, options(passphrase)).await;
        for cut in [0, 3, 20, 60, backup.len() / 2, backup.len() - 200] {
            let error = put_back(&backup[..cut], &into, passphrase).unwrap_err();
            assert_eq!(error.code, Code::InvalidInput, "cut at {cut}: {error:?}");
            assert_eq!(left(&into), [] as [&str; 0]);
        }
        for at in [0, 10, 100, backup.len() / 3, backup.len() / 2] {
            let mut damaged = backup.clone();
            damaged[at] ^= 0x55;
            damaged[at + 1] ^= 0x55;
            assert!(put_back(&damaged, &into, passphrase).is_err(), "byte {at}");
            assert_eq!(left(&into), [] as [&str; 0]);
        }
    }
}

fn forged(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append(&header, *content).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

fn manifest(format: u32, file: &str, bytes: u64) -> Vec<u8> {
    format!(
        r#"{{"format":{format},"nonna":"9","schema":1,"created_at":0,
            "files":[{{"name":"{file}","bytes":{bytes},"sha256":"00"}}]}}"#
    )
    .into_bytes()
}

#[test]
fn forged_archives_restore_nothing_and_write_nowhere_else() {
    let temp = tempfile::tempdir().unwrap();
    let into = temp.path().join("a/b");
    let honest = manifest(1, "nonna.db", 1);
    let elsewhere = manifest(1, "../../evil", 1);
    let newer = manifest(2, "nonna.db", 1);
    let bomb = vec![0; 64 * 1024 * 1024];
    let archives = [
        forged(&[]),
        forged(&[("nonna.db", b"x")]),
        forged(&[("manifest.json", b"{}")]),
        forged(&[("manifest.json", &elsewhere), ("../../evil", b"x")]),
        forged(&[("manifest.json", &honest), ("../../evil", b"x")]),
        forged(&[("manifest.json", &honest), ("nonna.db", b"x")]),
        forged(&[("manifest.json", &honest), ("nonna.db", &bomb)]),
        forged(&[("manifest.json", &bomb)]),
        forged(&[("manifest.json", &newer), ("nonna.db", b"x")]),
    ];
    for (n, archive) in archives.iter().enumerate() {
        let error = put_back(archive, &into, None).unwrap_err();
        assert_eq!(error.code, Code::InvalidInput, "{n}: {error:?}");
        assert_eq!(left(&into), [] as [&str; 0], "{n}");
    }
    assert!(!temp.path().join("evil").exists());
}

#[tokio::test]
async fn a_backup_is_of_one_moment_while_others_write() {
    let (store, _folder, temp) = source().await;
    let store = Arc::new(store);
    let writer = tokio::spawn({
        let store = Arc::clone(&store);
        async move {
            for n in 1..=300_i64 {
                let entry = NewAudit {
                    at: n,
                    actor: "a".to_owned(),
                    address: None,
                    action: "b".to_owned(),
                    target: "c".repeat(500),
                    detail: None,
                };
                store.append_audit(entry).await.unwrap();
            }
        }
    });
    for n in 0..3 {
        let before = store
            .list_audit(None, 1)
            .await
            .unwrap()
            .first()
            .map_or(0, |a| a.sequence);
        let backup = take(&store, options(None)).await;
        let into = temp.path().join(n.to_string());
        put_back(&backup, &into, None).unwrap();
        let folder = DataFolder::lock(&into).unwrap();
        let restored = SqliteStore::open_in(&folder, None).unwrap();
        let all = restored.list_audit(None, u32::MAX).await.unwrap();
        assert!(all.len() as u64 >= before);
        assert!(all.iter().rev().zip(1..).all(|(a, n)| a.sequence == n), "no gap");
    }
    writer.await.unwrap();
}

#[tokio::test]
async fn a_reader_that_goes_away_is_an_error_and_leaves_no_copy() {
    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let (store, folder, _temp) = source().await;
    assert!(store.backup(options(None), Gone).await.is_err());
    assert!(left(folder.path()).iter().all(|name| !name.starts_with('.')));
}
