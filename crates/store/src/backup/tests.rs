//! Backups, whole and damaged.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{BackupError, Contents, Item, REVISIONS_SKIPPED, read, restore, verify, write};
use crate::log::{LogStore, Options};
use crate::{ListRequest, Revision, Store, StoreError, Write};

struct Fixture {
    directory: tempfile::TempDir,
    contents: Contents,
}

impl Fixture {
    async fn new(writes: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = open(&directory.path().join("before"));
        for n in 0..writes {
            let key = format!("/k/{}", n % 7);
            let value = format!("value {n}, {}", "x".repeat(n % 50));
            store.commit(Write::put(key, value)).await.unwrap();
        }
        let listing = store.list(ListRequest::default()).await.unwrap();
        let contents = Contents {
            revision: listing.revision,
            entries: listing.entries,
            files: vec![("ca.key".to_owned(), b"secret".to_vec())],
            identity: store.identity().to_owned(),
            taken: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000),
        };
        Self {
            directory,
            contents,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn file(&self, bytes: &[u8]) -> PathBuf {
        let path = self.path("backup");
        fs::write(&path, bytes).unwrap();
        path
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut bytes, &self.contents).unwrap();
        bytes
    }
}

fn open(directory: &Path) -> LogStore {
    LogStore::open(directory, Options::default()).unwrap()
}

fn no_file(_: &str, _: &[u8]) -> io::Result<()> {
    Ok(())
}

#[tokio::test]
async fn a_backup_holds_everything() {
    let fixture = Fixture::new(40).await;
    let path = fixture.file(&fixture.bytes());
    let mut items = Vec::new();
    let summary = read(&path, |item| {
        items.push(item);
        Ok(())
    })
    .unwrap();
    let contents = &fixture.contents;
    let expected: Vec<_> = (contents.entries.iter().cloned().map(Item::Entry))
        .chain(
            contents
                .files
                .iter()
                .cloned()
                .map(|(n, d)| Item::File(n, d)),
        )
        .collect();
    assert_eq!(items, expected);
    assert_eq!(
        (summary.revision, summary.entries, summary.files),
        (Revision(40), 7, 1)
    );
    assert_eq!(summary.identity, contents.identity);
    assert_eq!(summary.taken, contents.taken);
}

#[tokio::test]
async fn a_byte_changed_anywhere_is_found() {
    let fixture = Fixture::new(10).await;
    let bytes = fixture.bytes();
    for at in 0..bytes.len() {
        for mask in [0x01, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] ^= mask;
            let error = verify(&fixture.file(&damaged)).unwrap_err();
            match error {
                BackupError::Foreign => assert!(at < 8, "{at}"),
                BackupError::Damaged { .. } => assert!(at >= 8, "{at}"),
                other => panic!("{at}: {other}"),
            }
        }
    }
}

#[tokio::test]
async fn a_backup_that_was_cut_or_grew_is_found() {
    let fixture = Fixture::new(10).await;
    let bytes = fixture.bytes();
    for length in 0..bytes.len() {
        let error = verify(&fixture.file(&bytes[..length])).unwrap_err();
        let expected = match error {
            BackupError::Foreign => length < 8,
            BackupError::Damaged { .. } => length >= 8,
            _ => false,
        };
        assert!(expected, "{length}: {error}");
    }
    let mut longer = bytes;
    longer.push(0);
    verify(&fixture.file(&longer)).unwrap_err();
}

#[tokio::test]
async fn a_restored_store_has_the_state_and_a_later_revision() {
    let fixture = Fixture::new(40).await;
    let path = fixture.file(&fixture.bytes());
    let directory = fixture.path("after");
    // What an interrupted restore leaves is no obstacle, nor is an empty directory.
    fs::create_dir(&directory).unwrap();
    fs::create_dir(fixture.path("after.restoring")).unwrap();
    let mut files = Vec::new();
    restore(&path, &directory, |name, data| {
        files.push((name.to_owned(), data.to_vec()));
        Ok(())
    })
    .unwrap();
    assert_eq!(files, fixture.contents.files);
    for _ in 0..2 {
        let store = open(&directory);
        let listing = store.list(ListRequest::default()).await.unwrap();
        assert_eq!(listing.entries, fixture.contents.entries);
        assert_eq!(listing.revision, Revision(40 + REVISIONS_SKIPPED));
        assert_ne!(store.identity(), fixture.contents.identity);
    }
    // Whatever a client knows from before, also from after the backup, is too old.
    let store = open(&directory);
    for old in [0, 1, 40, 41, 1_000_000, REVISIONS_SKIPPED] {
        let watch = store.watch("", Revision(old)).await;
        assert!(matches!(watch, Err(StoreError::Compacted { .. })), "{old}");
        let list = ListRequest {
            at: Some(Revision(old)),
            ..ListRequest::default()
        };
        let list = store.list(list).await;
        assert!(matches!(list, Err(StoreError::Compacted { .. })), "{old}");
    }
    let next = store.commit(Write::put("/k", "v")).await.unwrap();
    assert_eq!(next.revision, Revision(41 + REVISIONS_SKIPPED));
    // An update that has seen a later version than the backup's is a conflict.
    let late = store
        .commit(Write::update("/k/0", Revision(41), "late"))
        .await;
    assert!(matches!(late, Err(StoreError::Conflict { .. })));
}

#[tokio::test]
async fn a_place_that_is_taken_and_a_damaged_backup_change_nothing() {
    let fixture = Fixture::new(10).await;
    let path = fixture.file(&fixture.bytes());
    let before = fixture.path("before");
    assert!(matches!(
        restore(&path, &before, no_file),
        Err(BackupError::Occupied { .. })
    ));
    assert_eq!(open(&before).revision().await.unwrap(), Revision(10));
    let mut damaged = fixture.bytes();
    damaged[100] ^= 4;
    let path = fixture.file(&damaged);
    let after = fixture.path("after");
    restore(&path, &after, no_file).unwrap_err();
    assert!(!after.exists() && !fixture.path("after.restoring").exists());
}

#[tokio::test]
async fn an_identity_stays() {
    let directory = tempfile::tempdir().unwrap();
    let identity = open(directory.path()).identity().to_owned();
    assert_eq!(open(directory.path()).identity(), identity);
    fs::write(directory.path().join("identity"), "x").unwrap();
    LogStore::open(directory.path(), Options::default()).unwrap_err();
    fs::remove_file(directory.path().join("identity")).unwrap();
    assert_ne!(open(directory.path()).identity(), identity);
}
