//! The default engine: an append-only log, snapshots, and the state in memory.
//!
//! ```text
//! data directory
//!   lock                             flock: one process at a time
//!   identity                         a UUID
//!   reserve                          nothing: space for deletions and a snapshot on a full device
//!   0000000000000040.snapshot        the state at the oldest revision of the history
//!   0000000000000001.log ...         every commit since (and a little before)
//! ```
//!
//! A commit costs one append and a share of one fdatasync. Reads never touch the device: the current state is a
//! persistent map in memory, older states within the window are the current one with recent commits undone. Memory is
//! what the values need, a few hundred bytes per key, and the history's bound ([`Retention`]).
//!
//! What it does not do: hold more data than fits in memory. The API server's objects do.

mod check;
pub(crate) mod frame;
mod identity;
mod new;
mod recovery;
mod reserve;
mod segment;
mod snapshot;
mod writer;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

use crate::committer::Committer;
use crate::contract::Store;
use crate::error::{OpenError, StoreError};
use crate::feed::{Feed, Undo};
use crate::memory::Memory;
use crate::model::{Committed, Entry, ListRequest, Listing, Revision, Write};
use crate::retention::Retention;
use crate::watch::Watch;
pub use check::{FileReport, Hole, Report, check};
pub(crate) use new::{NewStore, beside};
use recovery::Recovered;
pub(crate) use snapshot::entry_size;
use writer::{Wrap, Writer};

/// The tunables of the engine; the defaults suit a control plane.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// How much history is kept.
    pub retention: Retention,
    /// A segment that has reached this size is closed.
    pub segment_bytes: u64,
    /// A snapshot is taken when segments of at least this size, and of at least the last snapshot's size, hold nothing
    /// but compacted history. So the directory has at most about twice this, twice the state, and the history.
    pub garbage_bytes: u64,
    /// Space kept for deletions on a full device, beside the space for a snapshot; on a small device it is less, and 0
    /// keeps none at all.
    pub reserve_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            retention: Retention::default(),
            segment_bytes: 8 << 20,
            garbage_bytes: 32 << 20,
            reserve_bytes: 8 << 20,
        }
    }
}

/// A store in a directory; see the module. Dropping it waits for the commits under way and unlocks the directory.
pub struct LogStore {
    // First, so that the thread has ended when the rest is dropped.
    committer: Committer,
    memory: Arc<Memory>,
    feed: Arc<Feed>,
    identity: String,
}

impl fmt::Debug for LogStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogStore")
            .field("revision", &self.memory.revision())
            .finish_non_exhaustive()
    }
}

impl LogStore {
    /// Opens the store in a directory, which is created (mode 0700) if it does not exist. Blocks while it reads the
    /// snapshot and the log.
    ///
    /// # Errors
    /// [`OpenError::Locked`] if it is open already; [`OpenError::Corrupt`] if acknowledged data is damaged, which an
    /// interrupted write is not.
    pub fn open(directory: impl AsRef<Path>, options: Options) -> Result<Self, OpenError> {
        Self::open_on(directory.as_ref(), options, Arc::new(|file| Box::new(file)))
    }

    fn open_on(directory: &Path, options: Options, wrap: Wrap) -> Result<Self, OpenError> {
        let Recovered { view, feed, files } = recovery::recover(directory, options.retention)?;
        let identity = identity::read_or_create(directory)?;
        let (memory, feed) = (Arc::new(Memory::new(view)), Arc::new(feed));
        let writer = Writer::new(
            directory,
            options,
            wrap,
            files,
            Arc::clone(&memory),
            Arc::clone(&feed),
        )?;
        let committer = Committer::start(writer, Arc::clone(&feed))
            .map_err(OpenError::io("start the committer of", directory))?;
        Ok(Self {
            committer,
            memory,
            feed,
            identity,
        })
    }

    /// What tells this store from every other, also from one restored from its backup: a UUID.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.identity
    }
}

#[async_trait]
impl Store for LogStore {
    async fn get(&self, key: &str) -> Result<(Option<Entry>, Revision), StoreError> {
        Ok(self.memory.get(key))
    }

    async fn list(&self, request: ListRequest) -> Result<Listing, StoreError> {
        let view = self.memory.view();
        let at = request.at.unwrap_or(view.revision);
        if at > view.revision {
            return Err(StoreError::Future {
                asked: at,
                current: view.revision,
            });
        }
        if at == view.revision {
            return Ok(view.list(&request, at, &Undo::new()));
        }
        let (view, undo) = self.feed.undo(&request.prefix, at, || self.memory.view())?;
        Ok(view.list(&request, at, &undo))
    }

    async fn commit(&self, write: Write) -> Result<Committed, StoreError> {
        self.committer.commit(write).await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        let current = self.memory.revision();
        if after > current {
            return Err(StoreError::Future {
                asked: after,
                current,
            });
        }
        Watch::new(&self.feed, prefix, after)
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        Ok(self.memory.revision())
    }

    async fn compact(&self, through: Revision) -> Result<(), StoreError> {
        self.committer.compact(through).await
    }
}

/// The revision in a file's name, `<16 hex digits>.<extension>`.
fn parse_revision(path: &Path, extension: &str) -> Option<Revision> {
    let stem = path
        .extension()
        .filter(|found| *found == extension)
        .and(path.file_stem())?
        .to_str()?;
    let canonical = stem.len() == 16
        && stem
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    canonical
        .then(|| u64::from_str_radix(stem, 16).ok())
        .flatten()
        .map(Revision)
}
