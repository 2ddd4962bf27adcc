//! What can go wrong, said once.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::model::{Entry, Revision};

/// A request to the store that failed.
///
/// Cloneable, because one failed batch answers many writers.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The write's precondition does not hold; nothing was changed.
    #[error("the write's precondition does not hold: {}", describe(current.as_ref()))]
    Conflict {
        /// What the key holds: `None` if it is absent.
        current: Option<Entry>,
    },
    /// The history before `oldest` was forgotten; list again and start from there (HTTP 410 in the Kubernetes API).
    #[error("the requested revision has been compacted; the oldest one available is {oldest}")]
    Compacted {
        /// The oldest revision that can be listed at, or watched after.
        oldest: Revision,
    },
    /// A revision that has not happened yet was asked for.
    #[error("revision {asked} is in the future; the newest is {current}")]
    Future {
        /// The revision asked for.
        asked: Revision,
        /// The newest revision.
        current: Revision,
    },
    /// A key or value is beyond the limits of [`crate::limits`]; nothing was changed.
    #[error(
        "the {what} has {size} bytes; at most {limit} are allowed, and a key must not be empty"
    )]
    TooLarge {
        /// `key` or `value`.
        what: &'static str,
        /// Its size.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// The database takes only smaller writes (the `etcd` engine, whose server knows the limit). Nothing was changed.
    #[error("the database takes only smaller values: {why}")]
    Oversized {
        /// Its words.
        why: Arc<str>,
    },
    /// No space left for the write. Nothing was changed; reads go on, and writes succeed again once there is space.
    #[error("no space left on the store's device")]
    Full,
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// The device failed. The write was not acknowledged and may or may not exist after a restart.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: Arc<io::Error>,
    },
    /// An earlier sync or write failed, so what is on the device is unknown: no write is accepted until the store is
    /// opened again. Reads go on.
    #[error(
        "writes are refused since an earlier failure ({cause}); the store must be opened again"
    )]
    Poisoned {
        /// The first failure.
        cause: Arc<str>,
    },
    /// The database does not answer (the `etcd` engine). Nothing was changed; the same call may succeed later.
    #[error("the database does not answer: {why}")]
    Unavailable {
        /// The last failure.
        why: Arc<str>,
    },
    /// The connection to the database was cut, or time ran out, while the write was under way (the `etcd` engine): it
    /// was done or it was not. Reading tells.
    #[error("the outcome of the write is open, read to find it out: {why}")]
    Undecided {
        /// What cut it.
        why: Arc<str>,
    },
    /// The database answers that it will not do this (the `etcd` engine), for want of permission most likely. Nothing
    /// was changed, and asking again does not help.
    #[error("the database refuses: {why}")]
    Refused {
        /// Its words.
        why: Arc<str>,
    },
    /// The database library failed (the `redb` engine).
    #[error("cannot {doing} the database")]
    Database {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
}

impl StoreError {
    pub(crate) fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            doing,
            path: path.to_owned(),
            source: Arc::new(source),
        }
    }
}

fn describe(current: Option<&Entry>) -> String {
    match current {
        Some(entry) => format!(
            "{} was last modified at revision {}",
            entry.key, entry.modified
        ),
        None => "the key does not exist".to_owned(),
    }
}

/// The end of a watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// The watcher was so slow that events it had not read were compacted: list again and watch from there.
    #[error(
        "the watch fell behind: revisions after {position} were compacted, the oldest one available is {oldest}"
    )]
    Lagged {
        /// The last revision that this watch has dealt with.
        position: Revision,
        /// The oldest revision that can be watched after.
        oldest: Revision,
    },
    /// The store was closed; every event before that was delivered.
    #[error("the store is closed")]
    Closed,
}

/// A store that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process (or another handle of this one) has the store open.
    #[error("the store in {} is in use by another process", path.display())]
    Locked {
        /// The store's directory or file.
        path: PathBuf,
    },
    /// Acknowledged data is damaged or missing. Nothing was changed on the device.
    #[error("the store is damaged: {} at offset {offset}: {what}", path.display())]
    Corrupt {
        /// The damaged file.
        path: PathBuf,
        /// Where in the file.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// The device failed.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The database does not answer, or refuses (the `etcd` engine).
    #[error("cannot open the store in etcd at {endpoints}: {why}")]
    Unreachable {
        /// Where it was looked for.
        endpoints: String,
        /// The last failure.
        why: Arc<str>,
    },
    /// The options make no sense (the `etcd` engine).
    #[error("{what}")]
    Options {
        /// Which, and why.
        what: String,
    },
    /// The database library failed (the `redb` engine).
    #[error("cannot open the database {}", path.display())]
    Database {
        /// The database file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl OpenError {
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            doing,
            path,
            source,
        }
    }
}
