//! The values that cross the store's boundary.
//!
//! Everything is cheap to clone: keys are `Arc<str>`, values are [`Bytes`], so that a list, a watch and the history
//! share one copy of an object.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

/// The number of a commit.
///
/// Strictly increasing, never reused, never reset: the `resourceVersion` of the Kubernetes API. It grows by one per
/// commit, but for an engine that shares its database, where others use up revisions too.
/// `Revision(0)` is before everything.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Revision(pub u64);

impl Revision {
    /// Before the first commit.
    pub const ZERO: Self = Self(0);

    /// The revision of the commit after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The revision of the commit before this one; zero stays zero.
    #[must_use]
    pub const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One key with its value.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Arc<str>,
    /// The stored bytes, exactly as they were put.
    pub value: Bytes,
    /// The commit that created the key (since it was last absent).
    pub created: Revision,
    /// The commit that wrote this value.
    pub modified: Revision,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values are objects, secrets among them: never print them.
        f.debug_struct("Entry")
            .field("key", &self.key)
            .field("bytes", &self.value.len())
            .field("created", &self.created.0)
            .field("modified", &self.modified.0)
            .finish()
    }
}

/// What must hold for a write to be committed; it is checked by the one writer, so nothing can come in between.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Precondition {
    /// No condition. (A delete still needs something to delete.)
    Any,
    /// The key does not exist: a create.
    Absent,
    /// The key exists and its `modified` is this revision: compare and swap.
    At(Revision),
}

/// What a write does to its key.
#[derive(Clone, PartialEq, Eq)]
pub enum Op {
    /// Create or replace.
    Put(Bytes),
    /// Remove.
    Delete,
}

impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put(value) => write!(f, "Put({} bytes)", value.len()),
            Self::Delete => f.write_str("Delete"),
        }
    }
}

/// Which space a write may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Space {
    /// What the device has.
    #[default]
    Ordinary,
    /// On a full device, also what an engine keeps for freeing space: for a write on the way to a deletion. A put is
    /// taken for one only if it grows its value by no more than [`crate::limits::RESERVED_GROWTH`]. Deletions always
    /// may.
    Reserve,
}

/// A request to change one key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Write {
    /// The key to change.
    pub key: Arc<str>,
    /// What must hold.
    pub precondition: Precondition,
    /// The change.
    pub op: Op,
    /// Which space it may take.
    pub space: Space,
}

impl Write {
    /// Puts a key that must not exist yet.
    #[must_use]
    pub fn create(key: impl Into<Arc<str>>, value: impl Into<Bytes>) -> Self {
        Self {
            key: key.into(),
            precondition: Precondition::Absent,
            op: Op::Put(value.into()),
            space: Space::Ordinary,
        }
    }

    /// Replaces the value that was written at `modified`.
    #[must_use]
    pub fn update(key: impl Into<Arc<str>>, modified: Revision, value: impl Into<Bytes>) -> Self {
        Self {
            key: key.into(),
            precondition: Precondition::At(modified),
            op: Op::Put(value.into()),
            space: Space::Ordinary,
        }
    }

    /// Puts whatever was there before.
    #[must_use]
    pub fn put(key: impl Into<Arc<str>>, value: impl Into<Bytes>) -> Self {
        Self {
            key: key.into(),
            precondition: Precondition::Any,
            op: Op::Put(value.into()),
            space: Space::Ordinary,
        }
    }

    /// Deletes the value that was written at `modified`.
    #[must_use]
    pub fn delete(key: impl Into<Arc<str>>, modified: Revision) -> Self {
        Self {
            key: key.into(),
            precondition: Precondition::At(modified),
            op: Op::Delete,
            space: Space::Ordinary,
        }
    }
}

/// The receipt of a durable write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Committed {
    /// The write's own revision; the new entry's `modified`.
    pub revision: Revision,
    /// What the key held before.
    pub previous: Option<Entry>,
}

/// Which entries to list.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ListRequest {
    /// Keys that begin with these bytes; empty lists everything. No separator is implied: end it with `/`.
    pub prefix: String,
    /// Only keys that sort after this one (the last key of the page before).
    pub after: Option<String>,
    /// At most so many entries; `None` is all, `Some(0)` counts only.
    pub limit: Option<usize>,
    /// The state as of this revision; `None` is the newest. Pages of one list all use the first page's revision.
    pub at: Option<Revision>,
}

impl ListRequest {
    /// Everything below a prefix, newest state.
    #[must_use]
    pub fn prefix(prefix: impl Into<String>) -> Self {
        Self {
            prefix: prefix.into(),
            ..Self::default()
        }
    }
}

/// A consistent list, sorted by the bytes of the key.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Listing {
    /// The entries of this page.
    pub entries: Vec<Entry>,
    /// The revision whose state this is: the one asked for, or the newest.
    pub revision: Revision,
    /// How many matching entries sort after the last one of this page.
    pub remaining: u64,
}

/// One commit as a watcher sees it.
#[derive(Clone, PartialEq, Eq)]
pub struct Event {
    /// The commit's revision.
    pub revision: Revision,
    /// The key that changed.
    pub key: Arc<str>,
    /// The new value; `None` means deleted.
    pub value: Option<Bytes>,
    /// What the key held before; `None` means created.
    pub previous: Option<Entry>,
}

impl Event {
    /// The entry as it is after this event; `None` if it was deleted.
    #[must_use]
    pub fn entry(&self) -> Option<Entry> {
        self.value.as_ref().map(|value| Entry {
            key: Arc::clone(&self.key),
            value: value.clone(),
            created: self
                .previous
                .as_ref()
                .map_or(self.revision, |previous| previous.created),
            modified: self.revision,
        })
    }

    /// What it costs to remember this event, in bytes; the unit of the history's bound.
    ///
    /// History pins old values only: a new value is either current, or the old value of a later event.
    pub(crate) fn weight(&self) -> u64 {
        let pinned = self
            .previous
            .as_ref()
            .map_or(0, |previous| previous.value.len());
        (size_of::<Self>() + self.key.len() + pinned) as u64
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("revision", &self.revision.0)
            .field("key", &self.key)
            .field("bytes", &self.value.as_ref().map(Bytes::len))
            .field("previous", &self.previous)
            .finish()
    }
}
