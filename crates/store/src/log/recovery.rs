//! Opening: from the files of a directory to the state, the history, and the place where writing goes on.
//!
//! ```text
//! lock -> remove temporary files -> newest snapshot -> segments after it, in order -> cut the torn end -> sync
//! ```
//!
//! Guarantees:
//! - Every acknowledged write is recovered, or opening fails with [`OpenError::Corrupt`] and nothing is changed.
//! - What is recovered is synced before it is shown: a record may have been complete in the page cache only.
//! - Opening can be interrupted anywhere and done again.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{segment, snapshot};
use crate::error::OpenError;
use crate::feed::Feed;
use crate::memory::View;
use crate::model::{Event, Revision};
use crate::retention::Retention;

/// A segment that is complete and will not be written any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Closed {
    pub(super) path: PathBuf,
    pub(super) last: Revision,
    pub(super) bytes: u64,
}

/// The segment that is written to.
pub(super) struct Active {
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) bytes: u64,
}

/// What was found: the state, and the files to go on with.
pub(super) struct Recovered {
    pub(super) view: View,
    pub(super) feed: Feed,
    pub(super) files: Files,
}

/// The files of an open store.
pub(super) struct Files {
    pub(super) closed: Vec<Closed>,
    pub(super) active: Active,
    pub(super) snapshot: Option<PathBuf>,
    pub(super) snapshot_bytes: u64,
    /// Held as long as the store is open.
    pub(super) lock: File,
}

/// See the module.
pub(super) fn recover(directory: &Path, retention: Retention) -> Result<Recovered, OpenError> {
    create_directory(directory)?;
    let lock = lock(directory)?;
    let found = Found::scan(directory)?;

    let (mut view, snapshot_bytes) = match found.snapshots.last() {
        Some((revision, path)) => snapshot::read(path, *revision)?,
        None => (View::default(), 0),
    };
    let base = view.revision;
    // A segment is needed if it, or the one before it, can hold the revision after the snapshot.
    let needed = found
        .segments
        .partition_point(|(first, _)| *first <= base.next())
        .saturating_sub(1);
    let (obsolete, segments) = found.segments.split_at(needed);
    match segments.first() {
        Some((first, _)) if *first <= base.next() => {}
        None if base == Revision::ZERO => {}
        other => {
            return Err(OpenError::Corrupt {
                path: directory.to_owned(),
                offset: 0,
                what: match other {
                    Some((first, _)) => format!(
                        "the log has no segment for revisions {} to {}",
                        base.next(),
                        first.previous()
                    ),
                    None => format!("the log has no segment for revision {}", base.next()),
                },
            });
        }
    }

    let feed = Feed::new(retention, base);
    let mut closed = Vec::new();
    let mut end = None;
    for (index, (first, path)) in segments.iter().enumerate() {
        let is_last = index + 1 == segments.len();
        let bytes = fs::read(path).map_err(OpenError::io("read", path))?;
        if index > 0 && *first != view.revision.next() {
            let what = format!(
                "the segment begins at revision {first}, but the one before it ends at {}",
                view.revision
            );
            return Err(OpenError::Corrupt {
                path: path.clone(),
                offset: 0,
                what,
            });
        }
        let read = segment::read(&bytes, *first, is_last, |record| {
            replay(&mut view, &feed, record);
        });
        let read = read.map_err(|rot| OpenError::Corrupt {
            path: path.clone(),
            offset: rot.offset as u64,
            what: rot.what,
        })?;
        if read.last < view.revision && is_last {
            let what = format!(
                "the log ends at revision {}, but the snapshot is of revision {}",
                read.last, view.revision
            );
            return Err(OpenError::Corrupt {
                path: path.clone(),
                offset: read.end as u64,
                what,
            });
        }
        if is_last {
            end = Some((path, *first, read.end));
        } else {
            closed.push(Closed {
                path: path.clone(),
                last: read.last,
                bytes: bytes.len() as u64,
            });
        }
    }

    // Everything acknowledged is accounted for: now the directory may be changed.
    let active = match end {
        Some((path, _, end)) if end > 0 => reopen(path, end as u64)?,
        Some((_, first, _)) => create(directory, first)?,
        None => create(directory, Revision::ZERO.next())?,
    };
    let (snapshot, stale) = match found.snapshots.split_last() {
        Some(((_, path), stale)) => (Some(path.clone()), stale),
        None => (None, &[][..]),
    };
    let leftovers = stale
        .iter()
        .chain(obsolete)
        .map(|(_, path)| path)
        .chain(&found.temporary);
    for path in leftovers {
        fs::remove_file(path).map_err(OpenError::io("remove", path))?;
    }
    let files = Files {
        closed,
        active,
        snapshot,
        snapshot_bytes,
        lock,
    };
    Ok(Recovered { view, feed, files })
}

fn replay(view: &mut View, feed: &Feed, record: segment::Record<'_>) {
    if record.revision <= view.revision {
        return; // The snapshot has it.
    }
    let previous = view.get(record.key);
    // One allocation per key, however many records it has.
    let key = previous.as_ref().map_or_else(
        || Arc::from(record.key),
        |previous| Arc::clone(&previous.key),
    );
    let event = Event {
        revision: record.revision,
        key,
        value: record.value,
        previous,
    };
    view.apply(&event);
    feed.replay(event);
}

/// Creates an empty segment, durably.
fn create(directory: &Path, first: Revision) -> Result<Active, OpenError> {
    let path = directory.join(segment::file_name(first));
    let mut file = create_file(&path).map_err(OpenError::io("create", &path))?;
    begin(&mut file, directory, first).map_err(OpenError::io("begin the segment", &path))?;
    Ok(Active {
        path,
        file,
        bytes: segment::HEADER as u64,
    })
}

/// The first half of creating a segment; when it fails nothing has happened.
pub(super) fn create_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .open(path)
}

/// The second half: header and directory entry are durable before the first record is written.
pub(super) fn begin(file: &mut File, directory: &Path, first: Revision) -> io::Result<()> {
    file.write_all(&segment::header(first))?;
    file.sync_all()?;
    File::open(directory)?.sync_all()
}

/// Opens the last segment for writing after `end`, and cuts what is beyond.
fn reopen(path: &Path, end: u64) -> Result<Active, OpenError> {
    let file = OpenOptions::new()
        .write(true)
        .open(path)
        .map_err(OpenError::io("open", path))?;
    let length = file
        .metadata()
        .map_err(OpenError::io("read the size of", path))?
        .len();
    if length > end {
        tracing::warn!(path = %path.display(), offset = end, bytes = length - end,
            "cutting an interrupted write, which was never acknowledged, from the end of the log");
        file.set_len(end).map_err(OpenError::io("truncate", path))?;
    }
    file.sync_all().map_err(OpenError::io("sync", path))?;
    Ok(Active {
        path: path.to_owned(),
        file,
        bytes: end,
    })
}

fn create_directory(directory: &Path) -> Result<(), OpenError> {
    use std::os::unix::fs::DirBuilderExt as _;
    if directory.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700) // Secrets are in there.
        .create(directory)
        .map_err(OpenError::io("create the directory", directory))?;
    match directory.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_directory(parent),
        _ => Ok(()),
    }
}

/// flock(2): it ends with the process, however that ends, and is not inherited by the programs we start.
fn lock(directory: &Path) -> Result<File, OpenError> {
    let path = directory.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(false)
        .open(&path)
        .map_err(OpenError::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked {
            path: directory.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(OpenError::Io {
            doing: "lock",
            path,
            source,
        }),
    }
}

/// Locks a store that is there, for looking only; one that was never opened has no lock.
pub(super) fn lock_existing(directory: &Path) -> Result<Option<File>, OpenError> {
    match fs::metadata(directory.join("lock")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        _ => lock(directory).map(Some),
    }
}

fn sync_directory(directory: &Path) -> Result<(), OpenError> {
    File::open(directory)
        .and_then(|file| file.sync_all())
        .map_err(OpenError::io("sync the directory", directory))
}

/// The files of a store's directory, each kind sorted by revision.
#[derive(Default)]
pub(super) struct Found {
    pub(super) snapshots: Vec<(Revision, PathBuf)>,
    pub(super) segments: Vec<(Revision, PathBuf)>,
    temporary: Vec<PathBuf>,
}

impl Found {
    pub(super) fn scan(directory: &Path) -> Result<Self, OpenError> {
        let mut found = Self::default();
        for item in fs::read_dir(directory).map_err(OpenError::io("list", directory))? {
            let path = item.map_err(OpenError::io("list", directory))?.path();
            if let Some(revision) = segment::parse_name(&path) {
                found.segments.push((revision, path));
            } else if let Some(revision) = snapshot::parse_name(&path) {
                found.snapshots.push((revision, path));
            } else if path
                .extension()
                .is_some_and(|extension| extension == snapshot::TEMPORARY)
            {
                found.temporary.push(path);
            }
        }
        found.segments.sort();
        found.snapshots.sort();
        Ok(found)
    }
}
