//! The writing half of the log engine: append, sync, rotate, and snapshots in the background.
//!
//! ```text
//! persist(batch): [rotate] -> append -> fdatasync -> visible
//!                    |           |          +-- failed: poisoned, for ever: after a failed fsync the kernel may have
//!                    |           |              dropped the pages and forgotten, so a retry proves nothing
//!                    |           +-- no space: cut the partial batch, sync, refuse as Full
//!                    +-- a full segment is closed; it was synced with its last batch
//! tidy: enough closed segments hold compacted history only -> snapshot of the oldest revision -> delete them
//! ```

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::recovery::{self, Active, Closed, Files};
use super::{Options, segment, snapshot};
use crate::committer::Backend;
use crate::error::{OpenError, StoreError};
use crate::feed::{Feed, Undo};
use crate::memory::{Memory, View};
use crate::model::{Entry, Event, Revision};

/// What the writer needs of a file; tests put faults between.
pub(super) trait Medium: Send {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts the file to a length and goes on writing there.
    fn cut(&mut self, length: u64) -> io::Result<()>;
}

impl Medium for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        use std::io::Seek as _;
        self.set_len(length)?;
        self.seek(io::SeekFrom::Start(length)).map(drop)
    }
}

/// How segments are opened: the identity, except in tests of faults.
pub(super) type Wrap = Arc<dyn Fn(File) -> Box<dyn Medium> + Send + Sync>;

/// See the module.
pub(super) struct Writer {
    directory: PathBuf,
    options: Options,
    wrap: Wrap,
    memory: Arc<Memory>,
    feed: Arc<Feed>,
    medium: Box<dyn Medium>,
    path: PathBuf,
    bytes: u64,
    closed: Vec<Closed>,
    snapshot: Option<PathBuf>,
    snapshot_bytes: u64,
    job: Option<Job>,
    poisoned: Option<Arc<str>>,
    buffer: Vec<u8>,
    _lock: File,
}

/// A snapshot being written.
struct Job {
    thread: JoinHandle<io::Result<Done>>,
    /// What it replaces.
    segments: Vec<Closed>,
    cancel: Arc<AtomicBool>,
}

struct Done {
    path: PathBuf,
    bytes: u64,
}

impl Writer {
    pub(super) fn new(
        directory: &Path,
        options: Options,
        wrap: Wrap,
        files: Files,
        memory: Arc<Memory>,
        feed: Arc<Feed>,
    ) -> Result<Self, OpenError> {
        let Files {
            closed,
            active,
            snapshot,
            snapshot_bytes,
            lock,
        } = files;
        let Active { path, file, bytes } = active;
        let mut medium = wrap(file);
        medium.cut(bytes).map_err(OpenError::io("seek in", &path))?;
        Ok(Self {
            directory: directory.to_owned(),
            options,
            wrap,
            memory,
            feed,
            medium,
            path,
            bytes,
            closed,
            snapshot,
            snapshot_bytes,
            job: None,
            poisoned: None,
            buffer: Vec::new(),
            _lock: lock,
        })
    }

    fn poison(&mut self, doing: &'static str, source: io::Error) -> StoreError {
        let error = StoreError::io(doing, &self.path, source);
        let cause = format!(
            "{error}: {}",
            std::error::Error::source(&error)
                .map(ToString::to_string)
                .unwrap_or_default()
        );
        tracing::error!(cause, "the store refuses writes from now on");
        self.poisoned = Some(cause.into());
        error
    }

    /// Closes the active segment and begins the next one. On failure the active one stays the active one, but it is
    /// full, so that the next write tries again.
    fn rotate(&mut self) -> Result<(), StoreError> {
        let last = self.memory.revision();
        let first = last.next();
        let path = self.directory.join(segment::file_name(first));
        let mut file = recovery::create_file(&path).map_err(|error| match is_full(&error) {
            true => StoreError::Full,
            false => StoreError::io("create", &path, error),
        })?;
        match recovery::begin(&mut file, &self.directory, first) {
            Ok(()) => {}
            Err(error) if is_full(&error) => return Err(StoreError::Full),
            // The directory could not be opened: nothing was lost, and connections that end free some.
            Err(error) if is_out_of_descriptors(&error) => {
                return Err(StoreError::io("open the directory of", &path, error));
            }
            Err(error) => return Err(self.poison("begin the segment after", error)),
        }
        let path = std::mem::replace(&mut self.path, path);
        self.closed.push(Closed {
            path,
            last,
            bytes: self.bytes,
        });
        self.medium = (self.wrap)(file);
        self.bytes = segment::HEADER as u64;
        Ok(())
    }

    fn append(&mut self, events: &[Event]) -> Result<(), StoreError> {
        self.buffer.clear();
        for event in events {
            segment::encode(&mut self.buffer, event, self.bytes);
        }
        if let Err(error) = self.medium.append(&self.buffer) {
            if !is_full(&error) {
                return Err(self.poison("write", error));
            }
            // Part of the batch may be in the file. It is refused, so it must not come back after a crash.
            let undone = self
                .medium
                .cut(self.bytes)
                .and_then(|()| self.medium.sync());
            return Err(match undone {
                Ok(()) => StoreError::Full,
                Err(error) => self.poison("undo a partial write to", error),
            });
        }
        if let Err(error) = self.medium.sync() {
            return Err(self.poison("sync", error));
        }
        self.bytes += self.buffer.len() as u64;
        if self.buffer.capacity() > 2 * crate::limits::BATCH_BYTES {
            self.buffer = Vec::new();
        }
        Ok(())
    }

    /// Starts a snapshot if it would free more than it costs.
    fn start_snapshot(&mut self, compacted: Revision) {
        let garbage = self
            .closed
            .partition_point(|segment| segment.last <= compacted);
        let bytes: u64 = self.closed[..garbage]
            .iter()
            .map(|segment| segment.bytes)
            .sum();
        if bytes == 0 || bytes < self.options.garbage_bytes.max(self.snapshot_bytes) {
            return;
        }
        let segments: Vec<_> = self.closed.drain(..garbage).collect();
        let undo = self.feed.undo("", compacted, || self.memory.view());
        let cancel = Arc::new(AtomicBool::new(false));
        let started = undo
            .map_err(|error| error.to_string())
            .and_then(|(newest, undo)| {
                let (directory, cancel) = (self.directory.clone(), Arc::clone(&cancel));
                let (doomed, stale) = (segments.clone(), self.snapshot.clone());
                std::thread::Builder::new()
                    .name("store-snapshot".to_owned())
                    .spawn(move || {
                        take_snapshot(
                            &directory,
                            newest,
                            undo,
                            compacted,
                            &cancel,
                            &doomed,
                            stale.as_deref(),
                        )
                    })
                    .map_err(|error| error.to_string())
            });
        match started {
            Ok(thread) => {
                self.job = Some(Job {
                    thread,
                    segments,
                    cancel,
                });
            }
            Err(error) => {
                tracing::warn!(error, "cannot start a snapshot");
                self.closed.splice(0..0, segments);
            }
        }
    }

    /// Collects a snapshot that was finished.
    fn finish_snapshot(&mut self) {
        let Some(job) = self.job.take_if(|job| job.thread.is_finished()) else {
            return;
        };
        match job.thread.join() {
            Ok(Ok(done)) => {
                self.snapshot = Some(done.path);
                self.snapshot_bytes = done.bytes;
            }
            Ok(Err(error)) => {
                tracing::warn!(directory = %self.directory.display(), %error,
                    "a snapshot failed; the log keeps growing until one succeeds");
                self.closed.splice(0..0, job.segments);
            }
            Err(_) => drop(self.closed.splice(0..0, job.segments)), // Its panic was reported.
        }
    }
}

/// The body of a snapshot's thread: rewinds the view to `at`, writes it, and deletes what it replaces.
fn take_snapshot(
    directory: &Path,
    mut view: View,
    undo: Undo,
    at: Revision,
    cancel: &AtomicBool,
    segments: &[Closed],
    stale: Option<&Path>,
) -> io::Result<Done> {
    for (key, entry) in undo {
        view.set(&key, entry);
    }
    view.revision = at;
    let (path, bytes) = snapshot::write(directory, &view, cancel)?;
    // From here on the snapshot stands. What cannot be deleted now is deleted when the store is opened again.
    let stale = stale.filter(|stale| *stale != path);
    for doomed in segments
        .iter()
        .map(|segment| segment.path.as_path())
        .chain(stale)
    {
        if let Err(error) = fs::remove_file(doomed) {
            tracing::warn!(path = %doomed.display(), %error, "cannot remove a file that a snapshot replaced");
        }
    }
    Ok(Done { path, bytes })
}

impl Backend for Writer {
    fn revision(&self) -> Revision {
        self.memory.revision()
    }

    fn current(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        Ok(self.memory.get(key).0)
    }

    fn persist(&mut self, events: &[Event]) -> Result<(), StoreError> {
        if let Some(cause) = &self.poisoned {
            return Err(StoreError::Poisoned {
                cause: Arc::clone(cause),
            });
        }
        if self.bytes >= self.options.segment_bytes {
            self.rotate()?;
        }
        self.append(events)
    }

    fn show(&self, events: &[Event]) {
        self.memory.apply(events);
    }

    fn tidy(&mut self, compacted: Revision) {
        self.finish_snapshot();
        if self.job.is_none() && self.poisoned.is_none() {
            self.start_snapshot(compacted);
        }
    }
}

impl Drop for Writer {
    /// The lock is released only when the snapshot's thread cannot touch the directory any more.
    fn drop(&mut self) {
        if let Some(job) = self.job.take() {
            job.cancel.store(true, Ordering::Relaxed);
            // Its outcome does not matter: both are consistent.
            let _ = job.thread.join();
        }
    }
}

/// Errors that more space would cure: no space, over quota, over the file size limit.
fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge
    )
}

/// EMFILE and ENFILE come of opening only, never of writing or syncing.
fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(23 | 24))
}
