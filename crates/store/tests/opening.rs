//! Opening what is old, new, damaged, somebody else's or under another key.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test that cannot go on has failed, and says where"
)]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nonna_engine::{Code, Error};
use nonna_model::{ConnectionId, OrganizationId};
use nonna_store::forge::{Connection, ConnectionSecrets};
use nonna_store::records::{NewAudit, Owner, VariablesChange};
use nonna_store::{DataFolder, SealKey, SqliteStore, Store};
use rusqlite::Connection as Sqlite;
use secrecy::ExposeSecret;

fn connection(organization: &OrganizationId) -> Connection {
    Connection {
        id: ConnectionId::generate(),
        organization: organization.clone(),
        project: "shop".parse().unwrap(),
        url: "https://forge.example/a/b".to_owned(),
        forge: "gitea".to_owned(),
        api: None,
        branches: BTreeMap::new(),
        public_key: None,
        has_token: false,
        host_keys: None,
        created_by: "tester".to_owned(),
        created_at: 5,
    }
}

async fn connect(store: &SqliteStore, organization: &OrganizationId) {
    let secrets = ConnectionSecrets {
        webhook: "hunter3".into(),
        key: None,
        token: None,
    };
    store
        .create_connection(connection(organization), secrets)
        .await
        .unwrap();
}

async fn assert_connected(store: &SqliteStore, organization: &OrganizationId) {
    let connections = store.list_connections(organization, None).await.unwrap();
    let secrets = store.connection_secrets(&connections[0].id).await.unwrap();
    assert_eq!(secrets.unwrap().webhook.expose_secret(), "hunter3");
}

async fn with_a_secret(folder: &DataFolder) -> (SqliteStore, Owner) {
    let store = SqliteStore::open_in(folder, None).unwrap();
    let organization = store.installation().await.unwrap().organization;
    connect(&store, &organization).await;
    let owner = Owner::Organization(organization);
    let mut change = VariablesChange::of(owner.clone(), "tester");
    change.set_secrets.insert("KEY".into(), "hunter2".into());
    store.change_variables(change).await.unwrap();
    store.put_blob("certificate", "a.example", b"pem").await.unwrap();
    (store, owner)
}

async fn assert_opens(store: &SqliteStore, owner: &Owner) {
    if let Owner::Organization(organization) = owner {
        assert_connected(store, organization).await;
    }
    let secret = store.open_secret(owner, "KEY").await.unwrap().unwrap();
    assert_eq!(secret.expose_secret(), "hunter2");
    let blob = store.get_blob("certificate", "a.example").await.unwrap().unwrap();
    assert_eq!(blob.as_slice(), b"pem");
}

fn refused(path: &Path) -> Error {
    SqliteStore::open(path, SealKey::generate().unwrap()).unwrap_err()
}

#[tokio::test]
async fn a_file_of_the_first_version_opens() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("nonna.db");
    let old = Sqlite::open(&path).unwrap();
    old.execute_batch(include_str!("../src/sqlite/schema_v1.sql"))
        .unwrap();
    old.execute_batch(
        "PRAGMA application_id = 0x4e6f6e61;
         PRAGMA user_version = 1;
         INSERT INTO organizations VALUES ('org-aaaaaaaaaaaaaaaa', 'default', 5);
         INSERT INTO installation VALUES (1, 'nna-aaaaaaaaaaaaaaaa', 'org-aaaaaaaaaaaaaaaa', 5);
         INSERT INTO audit VALUES (7, 5, 'ann', NULL, 'deploy', 'shop', NULL);",
    )
    .unwrap();
    drop(old);
    let store = SqliteStore::open(&path, SealKey::generate().unwrap()).unwrap();
    assert_eq!(
        store.installation().await.unwrap().id.as_str(),
        "nna-aaaaaaaaaaaaaaaa"
    );
    assert_eq!(store.list_audit(None, 10).await.unwrap()[0].sequence, 7);
    // What later versions keep can be kept in it.
    let organization = store.installation().await.unwrap().organization;
    connect(&store, &organization).await;
    assert_connected(&store, &organization).await;
    drop(store);
    let version: u32 = Sqlite::open(&path)
        .unwrap()
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .unwrap();
    assert!(version >= 2);
}

#[test]
fn a_file_of_a_newer_version_is_refused_and_left_as_it_is() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("nonna.db");
    drop(SqliteStore::open(&path, SealKey::generate().unwrap()).unwrap());
    let newer = Sqlite::open(&path).unwrap();
    newer.execute_batch("PRAGMA user_version = 999").unwrap();
    drop(newer);
    let before = std::fs::read(&path).unwrap();
    let error = refused(&path);
    assert_eq!(error.code, Code::StoreUnavailable);
    assert!(error.message.contains("newer Nonna"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn files_that_are_not_ours_are_refused() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("other.db");
    Sqlite::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE t (a)")
        .unwrap();
    let error = refused(&path);
    assert_eq!(error.code, Code::StoreUnavailable);
    assert!(error.message.contains("not one of Nonna's"), "{error}");

    let text = temp.path().join("text.db");
    std::fs::write(
        &text,
        "this is not a database at all, but it is long enough to be read\n".repeat(100),
    )
    .unwrap();
    let error = refused(&text);
    assert_eq!(error.code, Code::StoreUnavailable);
    assert!(error.message.contains("damaged"), "{error}");
    assert!(error.details[0].contains("text.db"), "{error:?}");

    let target = temp.path().join("target.db");
    std::fs::write(&target, "").unwrap();
    let link = temp.path().join("link.db");
    std::os::unix::fs::symlink(&target, &link).unwrap();
    assert_eq!(refused(&link).code, Code::StoreUnavailable);
}

#[tokio::test]
async fn damage_in_the_file_is_found_at_the_start() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("nonna.db");
    let key = SealKey::generate().unwrap();
    let store = SqliteStore::open(&path, key.clone()).unwrap();
    for n in 0..2_000 {
        let entry = NewAudit {
            at: n,
            actor: "somebody".to_owned(),
            address: None,
            action: "something".to_owned(),
            target: "a target that takes some room".to_owned(),
            detail: None,
        };
        if n % 500 == 0 {
            store.append_audit(entry).await.unwrap();
        } else {
            drop(store.append_audit(entry).await);
        }
    }
    drop(store);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    for byte in &mut bytes[middle..middle + 8192] {
        *byte = 0xa5;
    }
    std::fs::write(&path, bytes).unwrap();
    let error = SqliteStore::open(&path, key).unwrap_err();
    assert_eq!(error.code, Code::StoreUnavailable);
    assert!(error.hint.unwrap().contains("nonna restore"));
}

#[tokio::test]
async fn only_its_owner_reads_the_state() {
    let temp = tempfile::tempdir().unwrap();
    let folder = DataFolder::lock(&temp.path().join("data")).unwrap();
    let (store, _) = with_a_secret(&folder).await;
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.file_name());
    }
    for name in ["nonna.db", "nonna.db-wal"] {
        let bytes = std::fs::read(folder.path().join(name)).unwrap();
        assert!(
            !bytes.windows(7).any(|w| w == b"hunter2"),
            "{name} holds a secret in the clear"
        );
    }
    drop(store);
}

#[tokio::test]
async fn another_key_is_refused_and_a_missing_one_is_not_made_anew() {
    let temp = tempfile::tempdir().unwrap();
    let folder = DataFolder::lock(temp.path()).unwrap();
    drop(with_a_secret(&folder).await);
    let error = SqliteStore::open_in(&folder, Some(SealKey::generate().unwrap())).unwrap_err();
    assert_eq!(error.code, Code::SealBroken);

    let key = std::fs::read_to_string(folder.seal_key()).unwrap();
    std::fs::remove_file(folder.seal_key()).unwrap();
    let error = SqliteStore::open_in(&folder, None).unwrap_err();
    assert_eq!(error.code, Code::SealBroken);
    assert!(error.message.contains("missing"), "{error}");
    assert!(!folder.seal_key().exists());
    SqliteStore::open_in(&folder, Some(SealKey::parse(&key).unwrap())).unwrap();

    std::fs::write(folder.seal_key(), &key).unwrap();
    std::fs::set_permissions(folder.seal_key(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = SqliteStore::open_in(&folder, None).unwrap_err();
    assert!(error.message.contains("Everybody"), "{error}");
}

#[tokio::test]
async fn a_rotated_key_replaces_the_old_one() {
    let temp = tempfile::tempdir().unwrap();
    let folder = DataFolder::lock(temp.path()).unwrap();
    let (store, owner) = with_a_secret(&folder).await;
    let old = SealKey::load(&folder.seal_key()).unwrap().unwrap();
    assert_eq!(store.rotate_key(&folder).await.unwrap(), 3);
    assert_opens(&store, &owner).await;
    store.put_blob("certificate", "b.example", b"new").await.unwrap();
    drop(store);
    assert_eq!(
        SqliteStore::open_in(&folder, Some(old)).unwrap_err().code,
        Code::SealBroken
    );
    let store = SqliteStore::open_in(&folder, None).unwrap();
    assert_opens(&store, &owner).await;
    assert_eq!(
        *store.get_blob("certificate", "b.example").await.unwrap().unwrap(),
        b"new"
    );
}

#[tokio::test]
async fn a_rotation_that_was_cut_short_is_finished_or_forgotten() {
    let temp = tempfile::tempdir().unwrap();
    let folder = DataFolder::lock(temp.path()).unwrap();
    let (store, owner) = with_a_secret(&folder).await;
    let next = folder.path().join("seal.key.next");

    // Before the database was sealed anew.
    SealKey::generate().unwrap().save_new(&next).unwrap();
    drop(store);
    let store = SqliteStore::open_in(&folder, None).unwrap();
    assert_opens(&store, &owner).await;
    assert!(!next.exists());

    // After it was, before the key's file was replaced.
    let new = SealKey::generate().unwrap();
    new.save_new(&next).unwrap();
    store.reseal(new.clone()).await.unwrap();
    drop(store);
    let store = SqliteStore::open_in(&folder, None).unwrap();
    assert_opens(&store, &owner).await;
    assert!(!next.exists());
    assert_eq!(SealKey::load(&folder.seal_key()).unwrap(), Some(new));
}

#[tokio::test]
async fn a_sealed_value_in_the_wrong_place_does_not_open() {
    let temp = tempfile::tempdir().unwrap();
    let folder = DataFolder::lock(temp.path()).unwrap();
    let (store, owner) = with_a_secret(&folder).await;
    let mut change = VariablesChange::of(owner.clone(), "tester");
    change.set_secrets.insert("OTHER".into(), "other".into());
    store.change_variables(change).await.unwrap();
    drop(store);
    Sqlite::open(folder.database())
        .unwrap()
        .execute_batch(
            "UPDATE secret_versions SET sealed = (SELECT sealed FROM secret_versions WHERE name = 'KEY')
             WHERE name = 'OTHER'",
        )
        .unwrap();
    let store = SqliteStore::open_in(&folder, None).unwrap();
    let error = store.open_secret(&owner, "OTHER").await.unwrap_err();
    assert_eq!(error.code, Code::SealBroken);
    assert_opens(&store, &owner).await;
}

/// A file system of one megabyte.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let done = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(temp.path())
            .status()
            .unwrap();
        assert!(
            done.success(),
            "this test mounts a small file system: run it as root"
        );
        Self(temp)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_full_disk_is_said_to_be_full_and_loses_nothing() {
    let disk = SmallDisk::mount();
    let folder = DataFolder::lock(disk.0.path()).unwrap();
    let store = SqliteStore::open_in(&folder, None).unwrap();
    let bytes = vec![1; 50_000];
    let mut kept = 0;
    let error = loop {
        match store.put_blob("filler", &kept.to_string(), &bytes).await {
            Ok(()) => kept += 1,
            Err(error) => break error,
        }
        assert!(kept < 100, "the disk never got full");
    };
    assert_eq!(error.code, Code::DiskFull);
    assert!(kept > 0);
    // Those who write together fail together, and each is told.
    let many = (0..8).map(|n| store.put_blob("more", if n % 2 == 0 { "a" } else { "b" }, &bytes));
    for result in futures_util::future::join_all(many).await {
        assert_eq!(result.unwrap_err().code, Code::DiskFull);
    }
    assert_eq!(store.list_blobs("filler").await.unwrap().len(), kept);
    drop(store);
    let store = SqliteStore::open_in(&folder, None);
    // Without any room not even the files of the write-ahead log can be made.
    match store {
        Ok(store) => assert_eq!(store.list_blobs("filler").await.unwrap().len(), kept),
        Err(error) => assert_eq!(error.code, Code::DiskFull),
    }
}
