//! What a look at a damaged store says.

use std::fs;
use std::path::Path;

use super::crash::{big, copy, record};
use super::{files, open, tiny};
use crate::log::{LogStore, Report, check, segment};
use crate::{OpenError, Revision, Store, Write};

fn checked(directory: &Path) -> Report {
    check(directory).unwrap()
}

#[tokio::test]
async fn a_whole_store_is_whole() {
    let (directory, state) = big().await;
    let report = checked(directory.path());
    assert!(report.is_whole(), "{report}");
    assert_eq!(report.damage().count(), 0);
    let snapshot = &report.files[0];
    assert!(snapshot.name.ends_with(".snapshot") && snapshot.records > 0);
    let store = LogStore::open(directory.path(), tiny()).unwrap();
    let (_, last) = report
        .files
        .iter()
        .filter_map(|file| file.revisions)
        .next_back()
        .unwrap();
    assert_eq!(last, store.revision().await.unwrap());
    assert_eq!(super::entries(&store).await, state);
    assert!(matches!(
        check(directory.path()),
        Err(OpenError::Locked { .. })
    ));
}

#[tokio::test]
async fn every_flipped_byte_is_found_where_opening_finds_it() {
    let (directory, _) = big().await;
    let damaged = copy(directory.path());
    for kind in ["snapshot", "log"] {
        for path in files(damaged.path(), kind) {
            let bytes = fs::read(&path).unwrap();
            for at in (0..bytes.len()).step_by(if kind == "log" { 13 } else { 29 }) {
                let mut flipped = bytes.clone();
                flipped[at] ^= 0x20;
                fs::write(&path, &flipped).unwrap();
                let report = checked(damaged.path());
                let error = LogStore::open(damaged.path(), tiny()).unwrap_err();
                let OpenError::Corrupt {
                    path: found,
                    offset,
                    ..
                } = &error
                else {
                    panic!("{error}")
                };
                assert_eq!(found, &path, "{at}");
                let name = path.file_name().unwrap().to_str().unwrap();
                let file = report.files.iter().find(|file| file.name == name).unwrap();
                assert_eq!(file.holes[0].offset, *offset, "{at} of {name}: {report}");
                assert!(*offset <= at as u64);
                assert!(fs::read(&path).unwrap() == flipped, "something was changed");
            }
            fs::write(&path, &bytes).unwrap();
        }
    }
    assert!(checked(damaged.path()).is_whole());
}

#[tokio::test]
async fn it_says_which_writes_are_lost() {
    let recorded = record(12).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(segment::file_name(Revision(1)));
    let (fifth, seventh) = (recorded.acknowledged[3].0, recorded.acknowledged[6].0);
    let mut log = recorded.log.clone();
    log[fifth + 30] ^= 4;
    log[seventh + 2] ^= 4;
    fs::write(&path, &log).unwrap();
    let report = checked(directory.path());
    let damage: Vec<String> = report.damage().collect();
    assert_eq!(
        damage,
        [
            format!(
                "0000000000000001.log, byte {fifth}: the checksum of a frame's body does not match; lost: the write of revision 5"
            ),
            format!(
                "0000000000000001.log, byte {seventh}: the checksum of a frame's header does not match; lost: the write of revision 8"
            ),
        ]
    );
    assert_eq!(report.files[0].records, 10);
    // A whole stretch, and one up to the end.
    log[fifth..seventh].fill(7);
    fs::write(&path, &log[..log.len() - 1]).unwrap();
    let report = checked(directory.path());
    let damage: Vec<String> = report.damage().collect();
    assert_eq!(damage.len(), 1, "{report}");
    assert!(
        damage[0].ends_with("lost: the writes of revisions 5 to 8"),
        "{report}"
    );
    assert!(report.files[0].torn > 0);
}

#[tokio::test]
async fn a_missing_file_is_named() {
    let (directory, _) = big().await;
    let logs = files(directory.path(), "log");
    for gone in &logs[..logs.len() - 1] {
        let copy = copy(directory.path());
        fs::remove_file(copy.path().join(gone.file_name().unwrap())).unwrap();
        let report = checked(copy.path());
        assert!(!report.is_whole() && report.missing.len() == 1, "{report}");
        LogStore::open(copy.path(), tiny()).unwrap_err();
    }
    let all_gone = copy(directory.path());
    for gone in &logs {
        fs::remove_file(all_gone.path().join(gone.file_name().unwrap())).unwrap();
    }
    assert!(!checked(all_gone.path()).is_whole());
}

#[tokio::test]
async fn an_interrupted_write_is_no_damage() {
    let recorded = record(3).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(segment::file_name(Revision(1)));
    let cut = recorded.log.len() - 5;
    fs::write(&path, &recorded.log[..cut]).unwrap();
    let report = checked(directory.path());
    assert!(report.is_whole(), "{report}");
    assert_eq!(
        report.files[0].torn,
        (cut - recorded.acknowledged[1].0) as u64
    );
    assert_eq!(fs::metadata(&path).unwrap().len(), cut as u64, "it was cut");
    let store = open(directory.path());
    store.commit(Write::put("/k", "v")).await.unwrap();
}
