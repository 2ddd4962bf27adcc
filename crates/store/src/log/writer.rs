//! The writing half of the log engine: append, sync, rotate, and snapshots in the background.
//!
//! ```text
//! persist(batch): [rotate] -> append -> fdatasync -> visible
//!                    |           |          +-- failed: poisoned, for ever: after a failed fsync the kernel may have
//!                    |           |              dropped the pages and forgotten, so a retry proves nothing
//!                    |           +-- no space: cut the partial batch, sync, refuse as Full; relieve
//!                    +-- a full segment is closed; it was synced with its last batch
//! tidy: enough closed segments hold compacted history only -> snapshot of the oldest revision -> delete them
//! relieve (the device is full): what is on it is much more than the state -> forget the history, close the segment,
//!       snapshot of the newest revision into the reserve -> delete everything else
//! ```

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::recovery::{self, Active, Closed, Files};
use super::reserve::{Reserve, Taken};
use super::{Options, segment, snapshot};
use crate::committer::Backend;
use crate::error::{OpenError, StoreError};
use crate::feed::{Feed, Undo};
use crate::memory::{Memory, View};
use crate::model::{Entry, Event, Revision, Space};

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

/// What the reserve is cut by at a time, at least: some hundred deletions.
const CUT: u64 = 64 << 10;

/// Space is made on a full device when that frees this much, and a quarter of what remains.
const RELIEF: u64 = 256 << 10;

/// Between two attempts to make space on a full device.
const RELIEVE_AGAIN: Duration = Duration::from_millis(500);

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
    reserve: Reserve,
    /// The device was full when it was last written to.
    short: bool,
    relieved: Option<Instant>,
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
        let reserve = Reserve::open(directory, options.reserve_bytes);
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
            reserve,
            short: false,
            relieved: None,
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

    /// A write that takes space: what deletions need must be there too.
    fn persist_ordinary(&mut self, events: &[Event]) -> Result<(), StoreError> {
        let live = self.memory.bytes() + added(events);
        // While a snapshot is made of the reserve, there is none.
        if self.short && self.job.is_some() || !self.reserve.hold(live) {
            return Err(StoreError::Full);
        }
        if self.bytes >= self.options.segment_bytes {
            self.rotate()?;
        }
        self.append(events)?;
        self.short = false;
        Ok(())
    }

    /// A write on the way to free space. A full segment is no reason to refuse it.
    fn persist_reserved(&mut self, events: &[Event]) -> Result<(), StoreError> {
        let live = self.memory.bytes();
        loop {
            match self.append(events) {
                Err(StoreError::Full) if self.reserve.release(CUT.max(2 * added(events)), live) => {
                }
                other => return other,
            }
        }
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
        self.snapshot_instead_of(garbage, compacted, None);
    }

    /// Starts a snapshot of a revision that replaces the oldest closed segments, so many.
    fn snapshot_instead_of(&mut self, garbage: usize, compacted: Revision, space: Option<Taken>) {
        let segments: Vec<_> = self.closed.drain(..garbage).collect();
        let undo = self.feed.undo("", compacted, || self.memory.view());
        let cancel = Arc::new(AtomicBool::new(false));
        let started = undo
            .map_err(|error| error.to_string())
            .and_then(|(newest, undo)| {
                let snapshot = Snapshot {
                    directory: self.directory.clone(),
                    view: newest,
                    undo,
                    at: compacted,
                    cancel: Arc::clone(&cancel),
                    segments: segments.clone(),
                    stale: self.snapshot.clone(),
                    space,
                };
                std::thread::Builder::new()
                    .name("store-snapshot".to_owned())
                    .spawn(move || snapshot.take())
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

    /// Makes space on a full device, if much of what the store has there is history.
    fn relieve(&mut self) {
        self.finish_snapshot();
        let now = Instant::now();
        let live = self.memory.bytes();
        let logged: u64 = self.closed.iter().map(|closed| closed.bytes).sum();
        let gain = (logged + self.bytes + self.snapshot_bytes).saturating_sub(live);
        let again = self
            .relieved
            .is_none_or(|last| now.duration_since(last) > RELIEVE_AGAIN);
        if self.job.is_some() || self.poisoned.is_some() || !again || gain < RELIEF.max(live / 4) {
            return;
        }
        self.relieved = Some(now);
        if self.bytes > segment::HEADER as u64 {
            self.reserve.release(CUT, live);
            if let Err(error) = self.rotate() {
                tracing::warn!(%error, "the device is full, and no segment can be begun to make space");
                return;
            }
        }
        tracing::warn!(directory = %self.directory.display(), bytes = gain,
            "the device is full: the history is given up, watches and lists that need it begin anew");
        let compacted = self.feed.compact(self.memory.revision());
        let garbage = self
            .closed
            .partition_point(|segment| segment.last <= compacted);
        let space = self.reserve.take();
        self.snapshot_instead_of(garbage, compacted, Some(space));
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

/// What a snapshot's thread needs.
struct Snapshot {
    directory: PathBuf,
    view: View,
    undo: Undo,
    at: Revision,
    cancel: Arc<AtomicBool>,
    segments: Vec<Closed>,
    stale: Option<PathBuf>,
    space: Option<Taken>,
}

impl Snapshot {
    /// The body of the thread: rewinds the view, writes it, and deletes what it replaces.
    fn take(self) -> io::Result<Done> {
        let mut view = self.view;
        for (key, entry) in self.undo {
            view.set(&key, entry);
        }
        view.revision = self.at;
        let (path, bytes) =
            snapshot::write(&self.directory, &view, &self.cancel, self.space.as_ref())?;
        // From here on the snapshot stands. What cannot be deleted now is deleted when the store is opened again.
        let stale = self.stale.filter(|stale| *stale != path);
        let segments = self.segments.into_iter().map(|segment| segment.path);
        for doomed in segments.chain(stale) {
            if let Err(error) = fs::remove_file(&doomed) {
                tracing::warn!(path = %doomed.display(), %error, "cannot remove a file that a snapshot replaced");
            }
        }
        Ok(Done { path, bytes })
    }
}

impl Backend for Writer {
    fn revision(&self) -> Revision {
        self.memory.revision()
    }

    fn current(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        Ok(self.memory.get(key).0)
    }

    fn persist(&mut self, events: &[Event], space: Space) -> Result<(), StoreError> {
        if let Some(cause) = &self.poisoned {
            return Err(StoreError::Poisoned {
                cause: Arc::clone(cause),
            });
        }
        if self.short {
            self.finish_snapshot();
        }
        let written = match space {
            Space::Ordinary => self.persist_ordinary(events),
            Space::Reserve => self.persist_reserved(events),
        };
        if matches!(written, Err(StoreError::Full)) {
            self.short = true;
            self.relieve();
        }
        written
    }

    fn show(&self, events: &[Event]) {
        self.memory.apply(events);
    }

    fn tidy(&mut self, compacted: Revision) {
        self.finish_snapshot();
        if self.short {
            self.relieve();
        }
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

/// What events add to the state at most, in bytes.
fn added(events: &[Event]) -> u64 {
    events
        .iter()
        .filter_map(|event| Some((event, event.value.as_ref()?)))
        .map(|(event, value)| snapshot::entry_size(&event.key, value))
        .sum()
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
