//! Crashes and rot, byte by byte: what a crash can leave behind is recovered, everything else is refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{entries, files, open, tiny};
use crate::log::segment::{self, Read, Rot};
use crate::log::{LogStore, Options};
use crate::model::Event;
use crate::{Entry, OpenError, Revision, Store, Write};

/// A store's only segment after some acknowledged writes, with the state and the length after each.
pub(super) struct Recorded {
    pub(super) log: Vec<u8>,
    pub(super) acknowledged: Vec<(usize, Revision, Vec<Entry>)>,
}

pub(super) async fn record(writes: u64) -> Recorded {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(segment::file_name(Revision(1)));
    let store = open(directory.path());
    let mut acknowledged = Vec::new();
    for n in 1..=writes {
        let key = format!("/k/{}", n % 3);
        let write = match store.get(&key).await.unwrap().0 {
            Some(entry) if n % 4 == 0 => Write::delete(key, entry.modified),
            _ => Write::put(key, format!("value {n} {}", "x".repeat(n as usize * 5))),
        };
        let revision = store.commit(write).await.unwrap().revision;
        let length = fs::metadata(&path).unwrap().len() as usize;
        acknowledged.push((length, revision, entries(&store).await));
    }
    Recorded {
        log: fs::read(path).unwrap(),
        acknowledged,
    }
}

fn directory_with(log: &[u8]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join(segment::file_name(Revision(1))), log).unwrap();
    directory
}

#[tokio::test]
async fn a_log_cut_at_any_byte_has_every_write_before_the_cut() {
    let recorded = record(12).await;
    let last_frames = recorded.acknowledged[7].0;
    for cut in last_frames..=recorded.log.len() {
        let (_, revision, state) = recorded
            .acknowledged
            .iter()
            .rfind(|(length, _, _)| *length <= cut)
            .unwrap();
        let directory = directory_with(&recorded.log[..cut]);
        let store = open(directory.path());
        assert_eq!(
            (store.revision().await.unwrap(), &entries(&store).await),
            (*revision, state),
            "cut at {cut}"
        );
        // The store goes on from there, and the cut leaves no trace.
        let next = store
            .commit(Write::put("/after", "cut"))
            .await
            .unwrap()
            .revision;
        assert_eq!(next, revision.next());
        let state = entries(&store).await;
        drop(store);
        assert_eq!(
            entries(&open(directory.path())).await,
            state,
            "cut at {cut}"
        );
    }
}

#[tokio::test]
async fn a_log_cut_in_its_first_bytes_is_a_new_store() {
    let recorded = record(1).await;
    for cut in 0..=segment::HEADER {
        let directory = directory_with(&recorded.log[..cut]);
        assert_eq!(
            open(directory.path()).revision().await.unwrap(),
            Revision::ZERO,
            "cut at {cut}"
        );
    }
}

fn read(log: &[u8]) -> Result<(Read, Vec<Revision>), Rot> {
    let mut revisions = Vec::new();
    let read = segment::read(log, Revision(1), true, |record| {
        revisions.push(record.revision);
    })?;
    Ok((read, revisions))
}

#[tokio::test]
async fn a_flipped_byte_anywhere_is_found() {
    let recorded = record(12).await;
    let (whole, _) = read(&recorded.log).unwrap();
    assert_eq!(
        whole,
        Read {
            end: recorded.log.len(),
            last: Revision(12)
        }
    );
    for flipped in 0..recorded.log.len() {
        for mask in [0xff, 0x01, 0x80] {
            let mut log = recorded.log.clone();
            log[flipped] ^= mask;
            let rot = read(&log).expect_err(&format!("flipped {flipped}"));
            assert!(
                rot.offset <= flipped,
                "flipped {flipped}, found at {}",
                rot.offset
            );
        }
    }
}

#[tokio::test]
async fn rot_names_the_file_and_the_offset() {
    let recorded = record(12).await;
    let frame = recorded.acknowledged[4].0;
    let mut log = recorded.log.clone();
    log[frame + 30] ^= 4;
    let directory = directory_with(&log);
    let error = LogStore::open(directory.path(), Options::default()).unwrap_err();
    let OpenError::Corrupt { path, offset, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(
        (path.file_name().unwrap(), *offset),
        ("0000000000000001.log".as_ref(), frame as u64)
    );
    assert!(
        error
            .to_string()
            .contains(&format!("0000000000000001.log at offset {frame}")),
        "{error}"
    );
    let refused = fs::read(directory.path().join(segment::file_name(Revision(1)))).unwrap();
    assert!(refused == log, "nothing was changed");
}

/// A batch of several records behind an acknowledged one.
fn batch() -> (Vec<u8>, usize) {
    let event = |revision: u64| Event {
        revision: Revision(revision),
        key: format!("/k/{revision}").into(),
        value: Some(Bytes::from(vec![b'v'; 200 * revision as usize])),
        previous: None,
    };
    let mut log = segment::header(Revision(1)).to_vec();
    segment::encode(&mut log, &event(1), segment::HEADER as u64);
    let start = log.len();
    for revision in 2..=8 {
        segment::encode(&mut log, &event(revision), start as u64);
    }
    (log, start)
}

#[test]
fn any_sectors_of_the_last_batch_may_be_missing() {
    let (log, start) = batch();
    let sectors: Vec<_> = (start / 512..log.len().div_ceil(512)).collect();
    for missing in (1u32..1 << sectors.len()).step_by(101) {
        let mut torn = log.clone();
        for (bit, sector) in sectors.iter().enumerate() {
            if missing & (1 << bit) != 0 {
                let end = torn.len().min((sector + 1) * 512);
                torn[start.max(sector * 512)..end].fill(0);
            }
        }
        let (read, revisions) = read(&torn).unwrap();
        assert!(read.end >= start, "the record before the batch survives");
        assert_eq!(
            revisions,
            (1..=read.last.0).map(Revision).collect::<Vec<_>>()
        );
        assert!(read.last < Revision(8));
        assert!(log[..read.end] == torn[..read.end], "only whole records");
    }
}

#[test]
fn a_missing_sector_before_a_later_batch_is_rot() {
    let (mut log, start) = batch();
    let later = log.len() as u64;
    let event = Event {
        revision: Revision(9),
        key: "/k".into(),
        value: None,
        previous: None,
    };
    segment::encode(&mut log, &event, later);
    let sector = start.div_ceil(512) * 512;
    log[sector..sector + 512].fill(0);
    assert!(read(&log).unwrap_err().offset >= start);
}

#[test]
fn a_closed_segment_must_be_whole() {
    let (log, start) = batch();
    for cut in [0, 5, segment::HEADER + 1, start - 1, log.len() - 1] {
        segment::read(&log[..cut], Revision(1), false, |_| {}).unwrap_err();
    }
    segment::read(&log, Revision(2), false, |_| {}).unwrap_err();
    segment::read(&log, Revision(1), false, |_| {}).unwrap();
}

/// A directory with a snapshot and several segments.
pub(super) async fn big() -> (tempfile::TempDir, Vec<Entry>) {
    let directory = tempfile::tempdir().unwrap();
    let mut state = Vec::new();
    // The snapshot is taken in the background; opening and closing waits for none, so go on until there is one.
    while files(directory.path(), "snapshot").is_empty() || files(directory.path(), "log").len() < 3
    {
        let store = LogStore::open(directory.path(), tiny()).unwrap();
        for n in 0..60 {
            store
                .commit(Write::put(format!("/k/{}", n % 17), "v".repeat(90)))
                .await
                .unwrap();
        }
        state = entries(&store).await;
    }
    (directory, state)
}

pub(super) fn copy(directory: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for item in fs::read_dir(directory).unwrap() {
        let path = item.unwrap().path();
        fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    copy
}

fn refused(directory: &Path) -> (PathBuf, String) {
    match LogStore::open(directory, tiny()).unwrap_err() {
        OpenError::Corrupt { path, what, .. } => (path, what),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_missing_file_is_found() {
    let (directory, state) = big().await;
    assert_eq!(
        entries(&LogStore::open(directory.path(), tiny()).unwrap()).await,
        state
    );
    let (logs, snapshots) = (
        files(directory.path(), "log"),
        files(directory.path(), "snapshot"),
    );
    for gone in logs[..logs.len() - 1].iter().chain(&snapshots) {
        let copy = copy(directory.path());
        fs::remove_file(copy.path().join(gone.file_name().unwrap())).unwrap();
        refused(copy.path());
    }
    let copy = copy(directory.path());
    for gone in &logs {
        fs::remove_file(copy.path().join(gone.file_name().unwrap())).unwrap();
    }
    refused(copy.path());
}

#[tokio::test]
async fn a_damaged_snapshot_is_found() {
    let (directory, _) = big().await;
    let snapshot = files(directory.path(), "snapshot").pop().unwrap();
    let copy = copy(directory.path());
    let path = copy.path().join(snapshot.file_name().unwrap());
    let bytes = fs::read(&snapshot).unwrap();
    for flipped in (0..60)
        .chain((60..bytes.len()).step_by(7))
        .chain(bytes.len() - 30..bytes.len())
    {
        let mut damaged = bytes.clone();
        damaged[flipped] ^= 0x10;
        fs::write(&path, damaged).unwrap();
        assert_eq!(refused(copy.path()).0, path, "flipped {flipped}");
    }
    for cut in (0..60).chain(bytes.len() - 60..bytes.len()) {
        fs::write(&path, &bytes[..cut]).unwrap();
        assert_eq!(refused(copy.path()).0, path, "cut at {cut}");
    }
}

#[tokio::test]
async fn a_crash_between_the_steps_of_a_snapshot_leaves_a_whole_store() {
    let (directory, state) = big().await;
    let logs = files(directory.path(), "log");
    let snapshot = files(directory.path(), "snapshot").pop().unwrap();

    // While it was being written.
    let unfinished = copy(directory.path());
    let temporary = unfinished.path().join("00000000000000ff.tmp");
    fs::write(&temporary, &fs::read(&snapshot).unwrap()[..99]).unwrap();
    assert_eq!(
        entries(&LogStore::open(unfinished.path(), tiny()).unwrap()).await,
        state
    );
    assert!(!temporary.exists());

    // Renamed, but what it replaces is still there: an older snapshot, and a segment of revisions before it.
    let undeleted = copy(directory.path());
    let first = u64::from_str_radix(logs[0].file_stem().unwrap().to_str().unwrap(), 16).unwrap();
    let older = undeleted.path().join("0000000000000001.snapshot");
    let obsolete = undeleted.path().join("0000000000000001.log");
    fs::write(&older, b"it is not even read").unwrap();
    fs::write(&obsolete, b"nor is this").unwrap();
    assert!(first > 1);
    assert_eq!(
        entries(&LogStore::open(undeleted.path(), tiny()).unwrap()).await,
        state
    );
    assert!(!older.exists() && !obsolete.exists());

    // A new segment was created, but nothing is in it, not even its whole header.
    for length in [0, 7, segment::HEADER] {
        let rotated = copy(directory.path());
        let store = LogStore::open(rotated.path(), tiny()).unwrap();
        let next = store.revision().await.unwrap().next();
        drop(store);
        let header = segment::header(next);
        fs::write(
            rotated.path().join(segment::file_name(next)),
            &header[..length],
        )
        .unwrap();
        let store = Arc::new(LogStore::open(rotated.path(), tiny()).unwrap());
        assert_eq!(entries(&*store).await, state);
        assert_eq!(
            store
                .commit(Write::put("/next", "x"))
                .await
                .unwrap()
                .revision,
            next
        );
    }
}

#[tokio::test]
async fn a_second_snapshot_of_one_revision_replaces_the_first() {
    let directory = tempfile::tempdir().unwrap();
    let store = LogStore::open(directory.path(), tiny()).unwrap();
    let write = async || {
        store
            .commit(Write::put("/k", "v".repeat(400)))
            .await
            .unwrap()
            .revision
    };
    let gone = async |path: &Path| {
        let started = Instant::now();
        while path.exists() {
            assert!(
                started.elapsed() < Duration::from_secs(30),
                "{} stays",
                path.display()
            );
            tokio::task::yield_now().await;
        }
    };
    // Three records fill a segment. After six, two segments: one is closed, the next write will close the other.
    for _ in 0..6 {
        write().await;
    }
    let [first, second] = &files(directory.path(), "log")[..] else {
        panic!("not two segments")
    };
    store.compact(Revision(6)).await.unwrap();
    gone(first).await;
    // The second segment ends with revision 6 too, and so does the history. The snapshot's end is noticed by whatever
    // the committer does next, so keep it busy.
    write().await;
    let started = Instant::now();
    while second.exists() && started.elapsed() < Duration::from_secs(30) {
        store.compact(Revision(6)).await.unwrap();
    }
    gone(second).await;
    let state = entries(&store).await;
    drop(store);
    assert_eq!(files(directory.path(), "snapshot").len(), 1);
    assert_eq!(
        entries(&LogStore::open(directory.path(), tiny()).unwrap()).await,
        state
    );
}
