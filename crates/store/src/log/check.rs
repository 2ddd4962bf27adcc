//! Looking through the files of a store without opening it: what is whole, what is damaged, what of it can be read.
//!
//! Behind a damaged place the next valid record is looked for, byte by byte: its revision tells how many writes are
//! between. Nothing is changed, and nothing of this is used by opening, which refuses a damaged store.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::frame::{self, Damage};
use super::{recovery, segment, snapshot};
use crate::error::OpenError;
use crate::model::Revision;

/// What was found in a store's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The files, snapshots first, each kind in order of revision.
    pub files: Vec<FileReport>,
    /// Files that must be there and are not, and whatever else forbids opening.
    pub missing: Vec<String>,
}

/// What was found in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileReport {
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// How many whole records it has.
    pub records: u64,
    /// The revisions of its first and last whole record; those of a snapshot are both its own.
    pub revisions: Option<(Revision, Revision)>,
    /// Damaged places.
    pub holes: Vec<Hole>,
    /// Bytes at its end of a write that was interrupted; opening cuts them off.
    pub torn: u64,
}

/// A damaged place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hole {
    /// Where it begins, in bytes.
    pub offset: u64,
    /// What is wrong there.
    pub what: String,
    /// What it costs.
    pub lost: String,
}

impl Report {
    /// Whether the store can be opened.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.missing.is_empty() && self.files.iter().all(|file| file.holes.is_empty())
    }

    /// A line for everything that is wrong.
    pub fn damage(&self) -> impl Iterator<Item = String> {
        let holes = self.files.iter().flat_map(|file| {
            file.holes.iter().map(|hole| {
                format!(
                    "{}, byte {}: {}; lost: {}",
                    file.name, hole.offset, hole.what, hole.lost
                )
            })
        });
        holes.chain(self.missing.iter().cloned())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for file in &self.files {
            write!(
                f,
                "{}: {} bytes, {} records",
                file.name, file.bytes, file.records
            )?;
            if let Some((first, last)) = file.revisions {
                write!(f, ", revisions {first} to {last}")?;
            }
            if file.torn > 0 {
                write!(f, ", {} bytes of an interrupted write", file.torn)?;
            }
            writeln!(f)?;
        }
        for line in self.damage() {
            writeln!(f, "{line}")?;
        }
        match self.is_whole() {
            true => f.write_str("the store is whole"),
            false => Ok(()),
        }
    }
}

/// Looks through the store in a directory; it must not be in use.
///
/// # Errors
/// [`OpenError::Locked`], or an error of the device.
pub fn check(directory: &Path) -> Result<Report, OpenError> {
    let _lock = recovery::lock_existing(directory)?;
    let found = recovery::Found::scan(directory)?;
    let mut report = Report {
        files: Vec::new(),
        missing: Vec::new(),
    };
    let base = found.snapshots.last().map_or(Revision::ZERO, |(at, _)| *at);
    if let Some((revision, path)) = found.snapshots.last() {
        report.files.push(check_snapshot(path, *revision)?);
    }
    let needed = found
        .segments
        .partition_point(|(first, _)| *first <= base.next())
        .saturating_sub(1);
    let segments = &found.segments[needed..];
    let mut expected = None;
    for (index, (first, path)) in segments.iter().enumerate() {
        let is_last = index + 1 == segments.len();
        let bytes = fs::read(path).map_err(OpenError::io("read", path))?;
        let file = check_segment(name(path), &bytes, *first, is_last);
        match expected {
            Some(expected) if expected < *first => report.missing.push(format!(
                "the log has no segment for revisions {expected} to {}",
                first.previous()
            )),
            None if *first > base.next() => report.missing.push(format!(
                "the log has no segment for revisions {} to {}",
                base.next(),
                first.previous()
            )),
            _ => {}
        }
        expected = Some(file.revisions.map_or(*first, |(_, last)| last.next()));
        report.files.push(file);
    }
    match expected {
        None if base > Revision::ZERO => report.missing.push(format!(
            "the log has no segment for revision {}",
            base.next()
        )),
        Some(end) if end <= base => report.missing.push(format!(
            "the log ends at revision {}, but the snapshot is of revision {base}",
            end.previous()
        )),
        _ => {}
    }
    Ok(report)
}

fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    PathBuf::from(name).display().to_string()
}

fn check_snapshot(path: &Path, revision: Revision) -> Result<FileReport, OpenError> {
    let bytes = fs::metadata(path).map_err(OpenError::io("read the size of", path))?;
    let mut report = FileReport {
        name: name(path),
        bytes: bytes.len(),
        records: 0,
        revisions: Some((revision, revision)),
        holes: Vec::new(),
        torn: 0,
    };
    match snapshot::read(path, revision) {
        Ok((view, _)) => report.records = view.map.len() as u64,
        Err(OpenError::Corrupt { offset, what, .. }) => report.holes.push(Hole {
            offset,
            what,
            lost: format!(
                "the objects behind it that were not written again after revision {revision}"
            ),
        }),
        Err(error) => return Err(error),
    }
    Ok(report)
}

fn check_segment(name: String, bytes: &[u8], first: Revision, is_last: bool) -> FileReport {
    let mut report = FileReport {
        name,
        bytes: bytes.len() as u64,
        records: 0,
        revisions: None,
        holes: Vec::new(),
        torn: 0,
    };
    let read = segment::read(bytes, first, is_last, |record| {
        report.records += 1;
        let begin = report.revisions.map_or(record.revision, |(begin, _)| begin);
        report.revisions = Some((begin, record.revision));
    });
    let rot = match read {
        Ok(read) => {
            report.torn = (bytes.len() - read.end) as u64;
            return report;
        }
        Err(rot) => rot,
    };
    let mut hole = Some(rot);
    while let Some(rot) = hole.take() {
        let last = report.revisions.map_or(first.previous(), |(_, last)| last);
        let from = rot.offset.max(segment::HEADER);
        let next = (from..bytes.len()).find_map(|at| {
            let record = segment::record_at(bytes, at)?;
            (record.revision > last).then_some((at, record.revision))
        });
        let lost = match next {
            Some((_, found)) if found == last.next() => "nothing but the header".to_owned(),
            Some((_, found)) if found == last.next().next() => {
                format!("the write of revision {}", last.next())
            }
            Some((_, found)) => {
                format!(
                    "the writes of revisions {} to {}",
                    last.next(),
                    found.previous()
                )
            }
            None => format!("the writes from revision {} on in this file", last.next()),
        };
        report.holes.push(Hole {
            offset: rot.offset as u64,
            what: rot.what,
            lost,
        });
        let Some((mut at, _)) = next else { break };
        // On from there, to the next damaged place.
        let mut expected = None;
        while let Some(record) = segment::record_at(bytes, at)
            .filter(|record| expected.is_none_or(|expected| record.revision == expected))
        {
            report.records += 1;
            let begin = report.revisions.map_or(record.revision, |(begin, _)| begin);
            report.revisions = Some((begin, record.revision));
            expected = Some(record.revision.next());
            at += frame::HEADER + record.length;
        }
        if at < bytes.len() {
            let what = match frame::decode(&bytes[at..]) {
                Ok(_) => "a record does not follow the one before it",
                Err(Damage::Cut) if is_last => {
                    report.torn = (bytes.len() - at) as u64;
                    break;
                }
                Err(damage) => damage.what(),
            };
            hole = Some(segment::Rot {
                offset: at,
                what: what.to_owned(),
            });
        }
    }
    report
}
